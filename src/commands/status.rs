//! `tapline status`: what runs, since when, and how it is.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::pipeline::commit::source_key;
use crate::pipeline::schedule::Slots;
use crate::record::time_text;

use super::committed::Committed;
use super::saved::SavedSource;
use super::terminal::harmless;
use super::{signals, sources};
use words::{Facts, File};

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
        let states = states(committed, global);
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

/// What is said of one source.
struct State {
    facts: Facts,
    words: String,
    is_well: bool,
    now: DateTime<Utc>,
}

/// Every source that has a file or a saved state, by name.
fn states(committed: &Committed, global: &Global) -> Vec<State> {
    let now = committed.now;
    let saved: BTreeSet<&str> = committed.names("source/").collect();
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    for name in sources::names(&global.sources) {
        let file = match sources::load_named(&global.sources, &name) {
            None => continue,
            Some(Err(wrong)) => {
                File::Broken(wrong.first().map_or_else(|| "it cannot be read".to_owned(), ToString::to_string))
            }
            Some(Ok(config)) if !config.enabled => File::Disabled,
            Some(Ok(config)) => {
                let slots = config.schedule.as_ref().map(|schedule| Slots::new(&name, schedule));
                File::Good { kind: config.kind.to_owned(), slots: slots.and_then(Result::ok) }
            }
        };
        files.insert(name, file);
    }
    let names: BTreeSet<String> = saved.iter().map(|name| (*name).to_owned()).chain(files.keys().cloned()).collect();
    let state_of = |name: String| {
        let value = committed.state().get(&source_key(&name));
        let saved = value.map(|value| SavedSource::read(value));
        let file = files.remove(&name).unwrap_or(File::Gone);
        let facts = Facts { name, file, saved, service: committed.service.clone() };
        let (words, is_well) = facts.words(now);
        State { facts, words, is_well, now }
    };
    names.into_iter().map(state_of).collect()
}

impl State {
    fn json(&self) -> Value {
        let Facts { name, file, saved, .. } = &self.facts;
        let text = |at: Option<DateTime<Utc>>| at.as_ref().map(time_text);
        let saved = saved.as_ref();
        let tally = saved.map(|saved| &saved.tally);
        let spent = tally.and_then(|tally| tally.spent.as_ref());
        json!({
            "source": name,
            "kind": file.kind(),
            "file": file.word(),
            "runs": self.facts.runs(),
            "well": self.is_well,
            "words": self.words,
            "state": tally.and_then(|tally| tally.state.as_deref()),
            "since": text(tally.and_then(|tally| tally.since)),
            "why": tally.and_then(|tally| tally.why.as_deref()),
            "until": text(tally.and_then(|tally| tally.until)),
            "slot": text(saved.and_then(|saved| saved.slot)),
            "alive_at": text(saved.and_then(|saved| saved.alive_at)),
            "record_at": text(tally.and_then(|tally| tally.record_at)),
            "records": tally.and_then(|tally| tally.records),
            "rejects": tally.and_then(|tally| tally.rejects),
            "records_per_minute": tally.and_then(|tally| tally.rate(self.now)),
            "lag_seconds": tally.and_then(super::saved::Tally::lag),
            "spent_today": spent.map(|spent| spent.today),
            "spent_this_month": spent.map(|spent| spent.this_month),
        })
    }
}

fn service_words(committed: &Committed) -> String {
    let root = committed.root().display();
    let free = committed.free().map(bytesize::ByteSize);
    let free = free.map_or_else(|_| "not there yet".to_owned(), |free| format!("{free} free"));
    let Some(service) = &committed.service else { return format!("not running; data in {root}, {free}") };
    let pid = service.pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
    let since = service.since.map_or_else(String::new, |at| format!(" since {}", words::moment(at, committed.now)));
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
