//! `tapline status`: what runs, since when, and how it is.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Global;
use crate::record::time_text;

use crate::report::committed::Committed;
use crate::report::source::{File, moment};
use crate::report::sources::{State, states};

use super::terminal::harmless;
use super::{signals, sources};

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Moves the cursor home and clears what is below: only ever written to a terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 when all is well, and 1 when the service does not run, or when a source is \
refused, over its budget, stalled, broken, or has not started.

Examples:
  tapline status
  tapline status --json | jq 'select(.well | not)'
  tapline status --watch"
)]
pub struct Status {
    /// One JSON object a line: the service first, then each source
    #[arg(long)]
    json: bool,
    /// Again and again, until told to stop
    #[arg(long)]
    watch: bool,
}

impl Status {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        if !self.watch {
            return self.show(&Committed::look(&settings.data)?, global);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stop = signals::stop_token()?;
            loop {
                if io::stdout().is_terminal() && !self.json {
                    write!(io::stdout(), "{CLEAR}")?;
                }
                let code = self.show(&Committed::look(&settings.data)?, global)?;
                tokio::select! {
                    () = stop.cancelled() => return Ok(code),
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        })
    }

    fn show(&self, committed: &Committed, global: &Global) -> anyhow::Result<ExitCode> {
        let states = states(committed, files(global));
        let mut out = io::stdout().lock();
        if self.json {
            let is_terminal = out.is_terminal();
            for value in std::iter::once(service_json(committed)).chain(states.iter().map(State::json)) {
                let line = value.to_string();
                writeln!(out, "{}", if is_terminal { harmless(&line) } else { line.into() })?;
            }
        } else {
            writeln!(out, "{}", harmless(&service_words(committed)))?;
            let width = states.iter().map(|state| state.facts.name.len()).max().unwrap_or(0);
            for state in &states {
                let mark = if state.is_well { ' ' } else { '!' };
                writeln!(out, "{mark} {:<width$}  {}", harmless(&state.facts.name), harmless(&state.words))?;
            }
            if states.is_empty() {
                writeln!(out, "no source in {}, and none in the data", global.sources.display())?;
            }
        }
        out.flush()?;
        let is_well = committed.service.is_some() && states.iter().all(|state| state.is_well);
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The sources' files, by name.
pub(super) fn files(global: &Global) -> BTreeMap<String, File> {
    let read = |name: String| {
        let file = match sources::load_named(&global.sources, &name)? {
            Ok(config) => File::of(&config),
            Err(wrong) => {
                File::Broken(wrong.first().map_or_else(|| "it cannot be read".to_owned(), ToString::to_string))
            }
        };
        Some((name, file))
    };
    sources::names(&global.sources).into_iter().filter_map(read).collect()
}

fn service_words(committed: &Committed) -> String {
    let root = committed.root().display();
    let free = committed.free().map(bytesize::ByteSize);
    let free = free.map_or_else(|_| "not there yet".to_owned(), |free| format!("{free} free"));
    let Some(service) = &committed.service else { return format!("not running; data in {root}, {free}") };
    let pid = service.pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
    let since = service.since.map_or_else(String::new, |at| format!(" since {}", moment(at, committed.now)));
    format!("running{since}{pid}; data in {root}, {free}")
}

fn service_json(committed: &Committed) -> Value {
    let service = committed.service.as_ref();
    json!({
        "service": if service.is_some() { "running" } else { "not running" },
        "pid": service.and_then(|service| service.pid),
        "since": service.and_then(|service| service.since).as_ref().map(time_text),
        "data": committed.root().to_string_lossy(),
        "free_bytes": committed.free().ok(),
    })
}
