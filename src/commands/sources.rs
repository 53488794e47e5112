//! Reading the YAML files for the commands that run them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::ADAPTERS;
use crate::alert::Wrong;
use crate::alerts;
use crate::cli::{DEFAULT_CONFIG, Global};
use crate::config::{self, Alert, Diagnostic, Http, Outside, Schedule, Service, SourceConfig};
use crate::context::{Clock as _, Context, SystemClock};
use crate::loaders;
use crate::pipeline::folder::Load;
use crate::pipeline::schedule::Slots;

/// The service's settings, with what the command line overrides.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn read_service(global: &Global) -> Result<Service, Vec<Diagnostic>> {
    let is_named = global.config != Path::new(DEFAULT_CONFIG);
    let mut settings = config::load_service(&global.config, is_named, &environment, &loader_name, &alert_name)?;
    if let Some(data) = &global.data {
        settings.data.clone_from(data);
    }
    override_http(&mut settings.http, global).map_err(|why| vec![Diagnostic::of_file(&global.config, why)])?;
    Ok(settings)
}

/// The settings of a service that reads no file: the defaults, with what the command line overrides.
///
/// # Errors
/// When the endpoint would be open to other machines without a token.
pub fn default_service(global: &Global) -> anyhow::Result<Service> {
    let mut settings = Service::default();
    if let Some(data) = &global.data {
        settings.data.clone_from(data);
    }
    override_http(&mut settings.http, global).map_err(anyhow::Error::msg)?;
    Ok(settings)
}

/// The command line says where the endpoint is; who may see it stands in the file, or in one of its own.
fn override_http(http: &mut Http, global: &Global) -> Result<(), String> {
    match (&mut *http, &global.http) {
        (_, None) => {}
        (Http::On(keys), Some(Http::On(asked))) => keys.listen = asked.listen,
        (http, Some(asked)) => *http = asked.clone(),
    }
    let Http::On(keys) = http else { return Ok(()) };
    if keys.token.is_none() && keys.token_file.is_none() {
        keys.token_file.clone_from(&global.http_token_file);
    }
    keys.problem().map_or(Ok(()), |(key, why)| Err(format!("http.{key}: {why}")))
}

/// A text from the command line with `${NAME}` and `${file:/path}` replaced, so that secrets stand in no process list.
///
/// # Errors
/// What is wrong with a reference.
pub fn expand(text: &str) -> Result<String, String> {
    config::expand(text, &environment)
}

/// What a loader to this address is called unless it is named.
fn loader_name(to: &str) -> Result<String, String> {
    let context = Context::new(Arc::new(SystemClock));
    loaders::open(to, &context).map(|opened| opened.name).map_err(|error| format!("{error:#}"))
}

/// What a destination is called unless it is named.
fn alert_name(alert: &Alert) -> Result<String, Wrong> {
    let context = Context::new(Arc::new(SystemClock));
    alerts::open(alert, &context).map(|opened| opened.name)
}

/// The service's settings, or `None` when the file is broken, which has been said.
pub fn load_service(global: &Global) -> Option<Service> {
    read_service(global).inspect_err(|wrong| say(wrong)).ok()
}

/// One source, or everything that is wrong with its file.
///
/// # Errors
/// Each diagnostic has file, line, column and key.
pub fn load_source(path: &Path) -> Result<SourceConfig, Vec<Diagnostic>> {
    let outside = Outside { adapters: ADAPTERS, environment: &environment, schedule: &falls_due };
    config::load_source(path, &outside)
}

/// A source that somebody has typed, or everything that is wrong with the text.
///
/// # Errors
/// Each diagnostic has line, column and key.
pub fn read_source(name: &str, text: &str) -> Result<SourceConfig, Vec<Diagnostic>> {
    let outside = Outside { adapters: ADAPTERS, environment: &|_| None, schedule: &falls_due };
    config::read_source(Path::new(&format!("{name}.yaml")), text, &outside)
}

/// Reads the files of a live folder.
pub fn loader() -> Load {
    Box::new(|path| load_source(path).map_err(|wrong| wrong.iter().map(ToString::to_string).collect()))
}

fn falls_due(name: &str, schedule: &Schedule) -> Result<(), String> {
    let slots = Slots::new(name, schedule).map_err(|error| format!("{error:#}"))?;
    let now = SystemClock.now();
    slots.next(now).map(drop).ok_or_else(|| "this never falls into `active`; change one of them".to_owned())
}

/// Prints what is wrong, one line each.
#[expect(clippy::print_stderr, reason = "what a user is to mend, whatever the log level")]
pub fn say(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        eprintln!("{diagnostic}");
    }
}

/// The one place that reads the process's environment.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The file that somebody means who names a source's file, or only the source.
pub(super) fn file_of(named: &Path, global: &Global) -> PathBuf {
    let is_name = named.components().count() == 1 && named.extension().is_none() && !named.exists();
    let files = ["yaml", "yml"].map(|end| global.sources.join(named).with_extension(end));
    files.into_iter().find(|file| is_name && file.is_file()).unwrap_or_else(|| named.to_owned())
}

/// The names of the sources in a folder, by their files' names, in order; those that are broken too.
pub fn names(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let files = files.filter(|file| config::is_source_file(file));
    let mut names: Vec<String> = files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

/// Refuses names that no file of a folder has: a service that waits for them would look like one that works.
///
/// # Errors
/// With the names that there are.
pub fn ensure_named(dir: &Path, wanted: &[String]) -> anyhow::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let known = names(dir);
    let Some(gone) = wanted.iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let there_are = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
    let hint = match config::nearest(gone, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? There are: {there_are}"),
        None => format!("there are: {there_are}"),
    };
    anyhow::bail!("there is no source `{gone}` in {}; {hint}", dir.display())
}

/// The source of this name in a folder, or what is wrong with its file; `None` when there is none.
pub fn load_named(dir: &Path, name: &str) -> Option<Result<SourceConfig, Vec<Diagnostic>>> {
    let files = ["yaml", "yml"].map(|ending| dir.join(format!("{name}.{ending}")));
    let file = files.into_iter().find(|file| config::is_source_file(file) && file.is_file())?;
    Some(load_source(&file))
}
