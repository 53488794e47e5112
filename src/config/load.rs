//! One source file, and the service's file.

use std::path::Path;
use std::time::Duration;

use chrono_tz::Tz;
use serde_json::Value;

use crate::alert::Wrong;
use crate::source::{Adapter, Opener, Problem};
use crate::template::Template;
use crate::transform::TransformKeys;

use super::common::{Common, check_name};
use super::diagnostic::Diagnostic;
use super::keys;
use super::read::{Reading, deserialize};
use super::yaml::{Kind, Node};
use super::{Active, Alert, Output, Schedule, Service, SourceConfig, When};

/// A shorter period is a mistake or an attack.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// A longer one is a mistake too; a cron expression says what is meant.
const EVERY_MAX: Duration = Duration::from_hours(366 * 24);
/// Smaller segments would be more folder than file.
const ROTATE_SIZE_MIN: u64 = 4 * 1024;

/// What reading a file needs from outside.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Every adapter.
    pub adapters: &'static [Adapter],
    /// The environment, by name.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a schedule of the source of this name ever falls due, or why not.
    pub schedule: &'a dyn Fn(&str, &Schedule) -> Result<(), String>,
}

/// Reads a source file. Its name is the source's.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load_source(file: &Path, outside: &Outside<'_>) -> Result<SourceConfig, Vec<Diagnostic>> {
    let name = source_name(file).map_err(|message| vec![Diagnostic::of_file(file, message)])?;
    let reading = Reading::begin(file, outside.environment)?;
    source_of(file, name, reading, outside)
}

/// As [`load_source`], of a text that somebody has typed: `file` is only what it is called. References are refused,
/// because whoever types it need not be allowed to read this machine's secrets.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn read_source(file: &Path, text: &str, outside: &Outside<'_>) -> Result<SourceConfig, Vec<Diagnostic>> {
    let name = source_name(file).map_err(|message| vec![Diagnostic::of_file(file, message)])?;
    if text.contains("${") {
        let message = "references (`${…}`) are not looked up here; write the value itself";
        return Err(vec![Diagnostic::of_file(file, message)]);
    }
    let mut reading = Reading::begin_text(file, text.to_owned(), outside.environment)?;
    let kind = reading.tree.entries().iter().find(|entry| entry.key == "kind").map(|entry| entry.value.to_json());
    if outside.adapters.iter().any(|adapter| adapter.runs_programs && kind == Some(adapter.kind.into())) {
        let message = "a source that runs programs is not tried here; write its file";
        reading.add([Problem::new(["kind"], message)]);
        return Err(reading.diagnostics());
    }
    source_of(file, name, reading, outside)
}

fn source_of(
    file: &Path,
    name: String,
    mut reading: Reading<'_>,
    outside: &Outside<'_>,
) -> Result<SourceConfig, Vec<Diagnostic>> {
    super::preset::expand(&mut reading);
    if !reading.is_right() && reading.tree.entries().iter().any(|entry| entry.key == "preset") {
        return Err(reading.diagnostics());
    }
    let Some(adapter) = find_adapter(&mut reading, outside.adapters) else { return Err(reading.diagnostics()) };
    let schema = super::schema::of_source(adapter);
    let mut unknown = Vec::new();
    keys::take_unknown(&mut reading.tree, &schema, &mut Vec::new(), &mut unknown);
    reading.add(unknown);
    let (common, own) = split(&reading.tree);
    let common = reading.parse_all(common, deserialize::<Common>);
    let settings = reading.parse_all(own, adapter.parse);
    let schedule = common.as_ref().map(|common| {
        let schedule = schedule_of(common, adapter, &mut reading);
        check_output(common, settings.as_deref(), &mut reading);
        check_connects(common, adapter, &mut reading);
        check_drift(common, adapter, &mut reading);
        let transform = common.transform.iter().flat_map(TransformKeys::problems);
        reading
            .add(transform.map(|problem| {
                Problem::new(["transform".to_owned()].into_iter().chain(problem.path), problem.message)
            }));
        let key = if common.cron.is_some() { "cron" } else { "every" };
        if let Some(Err(message)) =
            schedule.as_ref().filter(|_| reading.is_right()).map(|schedule| (outside.schedule)(&name, schedule))
        {
            reading.add([Problem::new([key], message)]);
        }
        schedule
    });
    let (Some(common), Some(settings), Some(schedule), true) = (common, settings, schedule, reading.is_right()) else {
        return Err(reading.diagnostics());
    };
    Ok(SourceConfig {
        name: name.into(),
        path: file.to_owned(),
        kind: adapter.kind,
        enabled: common.enabled,
        schedule,
        timezone: common.timezone.0,
        connects: common.connects.unwrap_or_default(),
        drift: common.drift.unwrap_or_default(),
        transform: common.transform.as_ref().and_then(|keys| keys.compile().ok()),
        allow_private: common.allow_private,
        output: output_of(common),
        settings: settings.into(),
        fingerprint: fingerprint(&reading),
    })
}

/// Reads the service's file. One that is not there is all defaults, unless it `is_named` on the command line.
/// `loader_name` gives the default name of a loader to an address, or says what is wrong with the address; `alert_name`
/// that of a destination, or which of its keys is wrong.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load_service(
    file: &Path,
    is_named: bool,
    environment: &dyn Fn(&str) -> Option<String>,
    loader_name: &dyn Fn(&str) -> Result<String, String>,
    alert_name: &dyn Fn(&Alert) -> Result<String, Wrong>,
) -> Result<Service, Vec<Diagnostic>> {
    if !is_named && !file.exists() {
        return Ok(Service::default());
    }
    let mut reading = Reading::begin(file, environment)?;
    let mut wrong = Vec::new();
    keys::take_unknown(&mut reading.tree, &super::schema::of_service(), &mut Vec::new(), &mut wrong);
    reading.add(wrong);
    let service = reading.parse_all(reading.tree.to_json(), deserialize::<Service>);
    if let Some(service) = &service {
        reading.add(check_rotate(&["rotate"], service.rotate));
        reading.add(super::http::check(&service.http));
        reading.add(super::loaders::check(&service.loaders, loader_name));
        reading.add(super::alerts::check(&service.alerts, alert_name));
        reading.add(super::alerts::check_incidents(&service.incidents));
    }
    service.filter(|_| reading.is_right()).ok_or_else(|| reading.diagnostics())
}

/// The name of the source in a file of this name.
fn source_name(file: &Path) -> Result<String, String> {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)
        .map(|()| name.to_owned())
        .map_err(|why| format!("`{name}` cannot be a source's name: {why}; rename the file"))
}

fn find_adapter(reading: &mut Reading<'_>, adapters: &'static [Adapter]) -> Option<&'static Adapter> {
    let all = || adapters.iter().map(|adapter| adapter.kind).collect::<Vec<_>>().join(", ");
    let kind = reading.tree.entries().iter().find(|entry| entry.key == "kind").map(|entry| entry.value.kind.clone());
    let message = match kind {
        None => format!("the key is missing; it says what kind of source this is: {}", all()),
        Some(Kind::Text(kind)) => match adapters.iter().find(|adapter| adapter.kind == kind) {
            Some(adapter) => return Some(adapter),
            None => match keys::nearest(&kind, adapters.iter().map(|adapter| adapter.kind)) {
                Some(near) => format!("`{kind}` is not a kind of source; did you mean `{near}`?"),
                None => format!("`{kind}` is not a kind of source; there are: {}", all()),
            },
        },
        Some(_) => format!("a text is wanted, one of: {}", all()),
    };
    reading.add([Problem::new(["kind"], message)]);
    None
}

/// The keys that all sources share, and the adapter's own.
fn split(tree: &Node) -> (Value, Value) {
    let shared = super::schema::of_common();
    let is_common = |key: &str| shared.pointer("/properties").and_then(|keys| keys.get(key)).is_some();
    let part = |common: bool| {
        let entries = tree.entries().iter().filter(|entry| is_common(&entry.key) == common);
        entries.map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
    };
    (part(true), part(false))
}

fn schedule_of(common: &Common, adapter: &Adapter, reading: &mut Reading<'_>) -> Option<Schedule> {
    let kind = adapter.kind;
    let every = common.every.filter(|every| {
        let is_in_range = (EVERY_MIN..=EVERY_MAX).contains(&every.0);
        if !is_in_range {
            reading
                .add([Problem::new(["every"], format!("{every} is out of range; from 100ms to 366days is possible"))]);
        }
        is_in_range
    });
    let zone = common.timezone.0;
    let when = match (every, &common.cron) {
        _ if !adapter.polled => {
            let given = [
                ("every", common.every.is_some()),
                ("cron", common.cron.is_some()),
                ("active", common.active.is_some()),
            ];
            let wrong = given.into_iter().filter(|(_, given)| *given);
            reading.add(wrong.map(|(key, _)| {
                Problem::new(
                    [key],
                    format!("a source of kind {kind} is a stream and has no schedule; leave the key out"),
                )
            }));
            return None;
        }
        (Some(_), Some(_)) => {
            reading.add([Problem::new(["cron"], "a source has `every` or `cron`, not both; leave one out")]);
            return None;
        }
        (Some(every), None) => When::Every(every.0),
        (None, Some(expression)) => When::Cron { expression: expression.clone(), timezone: zone },
        (None, None) => {
            // One that was given and is wrong has been said.
            if !["every", "cron"].iter().any(|key| reading.is_wrong(&[(*key).to_owned()]) || reading.is_misspelt(key)) {
                reading.add([Problem::new(
                    ["every"],
                    format!("a source of kind {kind} asks at set times; write `every: 1s`, or `cron: \"*/5 * * * *\"`"),
                )]);
            }
            return None;
        }
    };
    if common.offset.is_some() && common.every.is_none_or(|every| common.offset.is_some_and(|offset| offset >= every)) {
        reading.add([Problem::new(["offset"], "an offset goes with `every`, and is shorter than it")]);
    }
    Some(Schedule { when, offset: common.offset.map(|offset| offset.0), active: active_of(common, zone) })
}

fn active_of(common: &Common, zone: Tz) -> Option<Active> {
    let keys = common.active.as_ref()?;
    Some(Active {
        days: keys.days.0,
        from: keys.from.0,
        to: keys.to.0,
        timezone: keys.timezone.map_or(zone, |zone| zone.0),
        holidays: keys.holidays.0.clone(),
    })
}

fn check_output(common: &Common, settings: Option<&dyn Opener>, reading: &mut Reading<'_>) {
    if let Some(rotate) = common.output.rotate {
        reading.add(check_rotate(&["output", "rotate"], rotate));
    }
    reading.add(check_format(common, settings));
}

/// What a rendering asks for that no record of the source has would be missing in each of its lines.
fn check_format(common: &Common, settings: Option<&dyn Opener>) -> Option<Problem> {
    let format = common.output.format.as_ref()?;
    let names = settings?.data_names().filter(|_| common.transform.is_none())?;
    // Sources of one stream share a format: what one of them lacks is another's, where the format allows for that.
    let is_shared = common.output.stream.is_some();
    let mut asked = format.data_names().filter(|(_, has_default)| !(is_shared && *has_default));
    let (gone, _) = asked.find(|(asked, _)| !names.iter().any(|name| name == asked))?;
    let known = names.iter().map(String::as_str).chain(Template::ENVELOPE);
    let hint = match keys::nearest(gone, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Some(Problem::new(["output", "format"], format!("no field is named `{gone}`; {hint}")))
}

fn check_connects(common: &Common, adapter: &Adapter, reading: &mut Reading<'_>) {
    let Some(connects) = common.connects else { return };
    if adapter.polled {
        let message =
            format!("a source of kind {} asks at set times and keeps no connection; leave the key out", adapter.kind);
        reading.add([Problem::new(["connects"], message)]);
    } else if connects.max == 0 {
        reading.add([Problem::new(["connects", "max"], "0 is too small; at least 1")]);
    }
}

fn check_drift(common: &Common, adapter: &Adapter, reading: &mut Reading<'_>) {
    let Some(drift) = common.drift else { return };
    if !adapter.polled {
        let kind = adapter.kind;
        let message = format!("a source of kind {kind} is a stream, and has no ticks that fail; leave the key out");
        reading.add([Problem::new(["drift"], message)]);
    } else if drift.alert_after == Some(0) {
        reading.add([Problem::new(["drift", "alert_after"], "0 is too small; at least 1")]);
    }
}

/// Where a value stands in a file, as `file:line:column`; the file alone when it is not there any more.
pub fn place_of(file: &Path, key: &[String]) -> String {
    let Ok(mut reading) = Reading::begin(file, &|_| None) else { return file.display().to_string() };
    super::preset::expand(&mut reading);
    let place = reading.place_of(key);
    Diagnostic::new(file, place, &[], "").place()
}

/// Something wrong with a value of a file, at its place.
pub fn diagnostic_at(file: &Path, key: &[String], message: impl Into<String>) -> Diagnostic {
    match Reading::begin(file, &|_| None) {
        Ok(mut reading) => {
            super::preset::expand(&mut reading);
            Diagnostic::new(file, reading.place_of(key), key, message)
        }
        Err(_) => Diagnostic::of_file(file, message),
    }
}

fn check_rotate(path: &[&str], rotate: super::Rotate) -> Vec<Problem> {
    let at = |key| path.iter().copied().chain([key]).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    if rotate.size.0 < ROTATE_SIZE_MIN {
        wrong.push(Problem::new(at("size"), format!("{} is too small; at least 4KiB", rotate.size)));
    }
    if rotate.every.0 < Duration::from_secs(1) {
        wrong.push(Problem::new(at("every"), format!("{} is too short; at least 1s", rotate.every)));
    }
    wrong
}

fn output_of(common: Common) -> Output {
    let keys = common.output;
    Output {
        stream: keys.stream.map(|name| name.0),
        link: keys.link.map(|name| name.0),
        format: keys.format,
        rotate: keys.rotate,
        compress: keys.compress,
        retain: keys.retain,
    }
}

/// Changes with the file's text and with what it refers to; tells nothing about either.
fn fingerprint(reading: &Reading<'_>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in std::iter::once(&reading.text).chain(&reading.substituted.values) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Whether a file in the folder of sources is one: not hidden, not an editor's copy.
pub fn is_source_file(file: &Path) -> bool {
    let is_yaml = file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let is_hidden = file.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with(['.', '#']));
    is_yaml && !is_hidden
}
