//! `tapline coverage`: what was collected and what was not, summed up from the committed lines of the ledger.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::Global;
use crate::config::When;
use crate::report::committed::Committed;
use crate::report::coverage::{Report, Survey};

use super::terminal::harmless;
use super::{completions, sources};

/// How many gaps of a source are shown, unless all are asked for.
const GAPS_SHOWN: usize = 10;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Time is covered while a stream is connected, and where upstream has replayed what was missed. \
Of a polled source each tick stands for the time from its slot to the next; time in which nothing was due counts as \
covered. Covered and not covered add up to the whole time, to the microsecond; so do ticks by outcome. Records and \
rejects are counted in the files that are there. All times are UTC.

Examples:
  tapline coverage                          every source, also those whose file is gone
  tapline coverage bseindex --since 7d --all
  tapline coverage x-research --since 2026-11-01 --until 2026-12-01 --json | jq .uncovered_seconds"
)]
pub struct Coverage {
    /// The source; by default every one that the data knows
    #[arg(add = ArgValueCandidates::new(completions::of_sources))]
    source: Option<String>,
    /// Only from this time on: a span back from now such as 7d, a date, or a date and time (UTC)
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only before this time; of a source that does not run, the time after its end is then not covered
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Every gap, not only the longest
    #[arg(long)]
    all: bool,
    /// One JSON object for each source, with every gap
    #[arg(long)]
    json: bool,
}

/// A time as it is typed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Ago(TimeDelta),
    At(DateTime<Utc>),
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let span = humantime::parse_duration(text).ok().and_then(|span| TimeDelta::from_std(span).ok());
        let full = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
        let forms = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        let local = || forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        let day = || text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
        let at = || full().or_else(|| local().or_else(day).map(|at| at.and_utc()));
        span.map(Self::Ago).or_else(|| at().map(Self::At)).ok_or_else(|| {
            "write a span such as 7d or 12h, a date such as 2026-11-23, or 2026-11-23T07:04:05Z".to_owned()
        })
    }
}

impl Moment {
    fn before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Ago(span) => now.checked_sub_signed(span).unwrap_or(DateTime::<Utc>::MIN_UTC),
            Self::At(at) => at,
        }
    }
}

impl Coverage {
    /// Carries out the command. The exit code is 1 when the source is not known.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let committed = Committed::look(&settings.data)?;
        let [since, until] = [self.since, self.until].map(|asked| asked.map(|at| at.before(committed.now)));
        let declared = |source: &str| declared(&global.sources, source);
        let mut survey = Survey::new((since, until), self.source.as_deref(), &committed, &declared);
        survey.read_ledger()?;
        survey.read_saved();
        survey.count()?;
        let unreadable = survey.unreadable();
        let reports = survey.reports(sources::names(&global.sources));
        if let Some(source) = &self.source
            && reports.is_empty()
        {
            let mut others = Survey::new((since, until), None, &committed, &declared);
            others.read_ledger()?;
            others.read_saved();
            say_unknown(source, &others.reports(sources::names(&global.sources)), &committed, global);
            return Ok(ExitCode::FAILURE);
        }
        self.print(&reports, &committed, unreadable)?;
        Ok(ExitCode::SUCCESS)
    }

    #[expect(clippy::print_stderr, reason = "a word to the user, apart from the result")]
    fn print(&self, reports: &[Report], committed: &Committed, unreadable: u64) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let is_terminal = out.is_terminal();
        for (index, report) in reports.iter().enumerate() {
            if self.json {
                let line = report.json()?;
                writeln!(out, "{}", if is_terminal { harmless(&line) } else { line.into() })?;
                continue;
            }
            if index > 0 {
                writeln!(out)?;
            }
            let page = report.page(if self.all { usize::MAX } else { GAPS_SHOWN });
            for line in page.lines() {
                writeln!(out, "{}", harmless(line))?;
            }
        }
        if reports.is_empty() {
            let root = committed.root().display();
            eprintln!("tapline: there is nothing in {root} yet; `tapline run` collects");
        }
        if unreadable > 0 {
            eprintln!("tapline: {unreadable} lines cannot be read as records, and are not counted");
        }
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "a word to the user, apart from the result")]
fn say_unknown(source: &str, others: &[Report], committed: &Committed, global: &Global) {
    let known: Vec<&str> = others.iter().map(|other| other.source.as_str()).collect();
    let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
    let (source, root) = (harmless(source), committed.root().display());
    eprintln!("tapline: no source {source} in {root} or {}; known: {}", global.sources.display(), harmless(&known));
}

/// The version of a source's file, and its period in microseconds, if it has both.
fn declared(dir: &Path, source: &str) -> Option<(String, i64)> {
    let config = sources::load_named(dir, source)?.ok()?;
    let When::Every(every) = config.schedule?.when else { return None };
    Some((config.fingerprint, i64::try_from(every.as_micros()).ok()?))
}
