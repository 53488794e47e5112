//! `tapline check`: every YAML file, every error at once.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::Global;
use crate::config::{self, Diagnostic, SourceConfig};
use crate::pipeline::taken::Taken;
use crate::source::PageTest;

use super::sources;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline check                        the service's file and every source
  tapline check sources/bseindex.yaml  one file
  tapline check --json | jq .message   for an editor or a script")]
pub struct Check {
    /// Files of sources, names of them, or folders; by default the service's file and the folder of sources
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// One JSON object for each error, on standard output
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Carries out the command. The exit code is 1 when anything is wrong.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut wrong = Vec::new();
        if self.paths.is_empty() {
            wrong.extend(sources::read_service(global).err().into_iter().flatten());
        }
        let named = self.paths.iter().map(|path| sources::file_of(path, global));
        let paths = if self.paths.is_empty() { vec![global.sources.clone()] } else { named.collect() };
        let checked = Checked::of(&paths);
        wrong.extend(checked.wrong);
        wrong.extend(checked.good.iter().flat_map(pages_gone));
        wrong.sort();
        let mut out = io::stdout().lock();
        if self.json {
            for diagnostic in &wrong {
                writeln!(out, "{}", serde_json::to_string(diagnostic)?)?;
            }
        } else {
            sources::say(&wrong);
            writeln!(
                out,
                "{} {}, {} {}",
                checked.files.len(),
                many("source", checked.files.len()),
                wrong.len(),
                many("error", wrong.len())
            )?;
        }
        Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Files of sources, checked.
pub(super) struct Checked {
    /// All of them, in order.
    pub(super) files: Vec<PathBuf>,
    /// Those that are in order.
    pub(super) good: Vec<SourceConfig>,
    /// What is wrong with the others, and with all together.
    pub(super) wrong: Vec<Diagnostic>,
}

impl Checked {
    /// Checks the sources that these paths mean.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut checked = Self { files: Vec::new(), good: Vec::new(), wrong: Vec::new() };
        for path in paths {
            match files(path) {
                Ok(files) => checked.files.extend(files),
                Err(error) => checked.wrong.push(Diagnostic::of_file(path, format!("cannot be read: {error}"))),
            }
        }
        for file in &checked.files {
            match sources::load_source(file) {
                Ok(config) => checked.good.push(config),
                Err(found) => checked.wrong.extend(found),
            }
        }
        checked.wrong.extend(conflicts(&checked.good));
        checked.wrong.sort();
        checked
    }
}

pub(super) fn many(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// The source files that a path means, in order.
pub(super) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries: io::Result<Vec<PathBuf>> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files: Vec<PathBuf> = entries?.into_iter().filter(|file| config::is_source_file(file)).collect();
    files.sort();
    Ok(files)
}

/// Pages of its tests that are not there. A source runs without them.
fn pages_gone(config: &SourceConfig) -> Vec<Diagnostic> {
    let folder = config.path.parent().unwrap_or(Path::new(""));
    let tests = config.settings.tests();
    let files = |(index, test): (usize, &PageTest)| {
        let at = |more: &[&str]| {
            let path = ["tests".to_owned(), index.to_string()].into_iter();
            path.chain(more.iter().map(|key| (*key).to_owned())).collect::<Vec<_>>()
        };
        let followed = test.follow.iter().map(|(link, file)| (at(&["follow", link]), folder.join(file)));
        std::iter::once((at(&["page"]), folder.join(&test.page))).chain(followed).collect::<Vec<_>>()
    };
    let gone = tests.iter().enumerate().flat_map(files).filter(|(_, file)| !file.is_file());
    let diagnostic = |(path, file): (Vec<String>, PathBuf)| {
        let (file, source) = (file.display(), config.path.display());
        let message = if path.len() > 3 {
            format!("there is no page {file} beside the file")
        } else {
            format!("there is no page {file} beside the file; `tapline try {source} --save {file}` makes one")
        };
        // What the file takes from elsewhere is nobody's business.
        let message = crate::secrets::hide(&message).into_owned();
        config::diagnostic_at(&config.path, &path, message)
    };
    gone.map(diagnostic).collect()
}

/// What no file alone shows: two sources of one name, or one name for two things.
fn conflicts(sources: &[SourceConfig]) -> Vec<Diagnostic> {
    let mut taken = Taken::default();
    let wrong = sources.iter().filter_map(|config| Some((config, taken.take(config).err()?)));
    wrong.map(|(config, message)| Diagnostic::of_file(&config.path, message)).collect()
}
