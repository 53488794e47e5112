//! `tapline health`: whether the service makes progress, for a container's health check and whoever else restarts what
//! hangs. It asks the data folder, so it needs no port, no shell, and nothing that can be written.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::record::time_text;
use crate::report::committed::Committed;
use crate::report::health::{Trouble, progress_at, seconds, troubles};
use crate::report::source::moment;
use crate::report::sources::states;
use crate::units::Span;

use super::simulate::parse_span;
use super::sources;
use super::status::files;
use super::terminal::harmless;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 when the service holds the data folder and makes progress, and 1 when it does \
not: it does not run, it stands still, a source of it has stalled, or the disk is full. A site that fails or a store \
that refuses is no such reason, because a restart mends neither; `tapline status` and `tapline loaders` tell of these.

Examples:
  tapline health
  tapline health --json
  HEALTHCHECK CMD [\"/usr/local/bin/tapline\", \"health\"]"
)]
pub struct Health {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The longest that nothing may be committed; the service commits something every 10s
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_span)]
    within: Span,
}

impl Health {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let committed = Committed::look(&settings.data)?;
        let states = states(&committed, files(global));
        let still = TimeDelta::from_std(self.within.0).unwrap_or(TimeDelta::MAX);
        let found = troubles(&committed, &states, settings.limits.disk_free, still);
        let line = if self.json { json_of(&committed, &found).to_string() } else { words_of(&committed, &found) };
        let mut out = io::stdout().lock();
        // A program that reads it reads it as it is.
        let is_shown = !self.json || out.is_terminal();
        writeln!(out, "{}", if is_shown { harmless(&line) } else { line.into() })?;
        Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn words_of(committed: &Committed, found: &[Trouble]) -> String {
    if !found.is_empty() {
        let found: Vec<String> = found.iter().map(Trouble::words).collect();
        return format!("not healthy: {}", found.join("; "));
    }
    let since = committed.service.as_ref().and_then(|service| service.since);
    let since = since.map_or_else(String::new, |at| format!(" since {}", moment(at, committed.now)));
    let last = progress_at(committed);
    let last = last.map_or_else(String::new, |at| format!(", last progress {} ago", seconds(committed.now - at)));
    format!("healthy: running{since}{last}")
}

fn json_of(committed: &Committed, found: &[Trouble]) -> Value {
    let service = committed.service.as_ref();
    json!({
        "healthy": found.is_empty(),
        "troubles": found.iter().map(|trouble| json!({ "trouble": trouble.word(), "words": trouble.words() })).collect::<Vec<_>>(),
        "pid": service.and_then(|service| service.pid),
        "since": service.and_then(|service| service.since).as_ref().map(time_text),
        "progress_at": progress_at(committed).as_ref().map(time_text),
        "free_bytes": committed.free().ok(),
    })
}
