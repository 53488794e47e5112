//! `tapline coverage`: what was collected and what was not, summed up from the committed lines of the ledger.

mod count;
mod report;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use crate::cli::Global;
use crate::config::When;
use crate::normalise::Normaliser;
use crate::pipeline::commit::source_key;
use crate::pipeline::coverage::entry::Entry;
use crate::pipeline::coverage::intervals::Interval;
use crate::pipeline::coverage::{ALWAYS, Account, Known};
use crate::pipeline::ledger;
use crate::record::{Line, time_text};

use super::committed::Committed;
use super::saved::SavedSource;
use super::sources;
use super::terminal::harmless;
use count::Counter;
use report::Report;

/// How many gaps of a source are shown, unless all are asked for.
const GAPS_SHOWN: usize = 10;

/// The stream of the rejects of a source.
const REJECTED: &str = "_rejected/";

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
        let mut survey = Survey::new(&self, self.source.as_deref(), &committed, global);
        survey.read_ledger()?;
        survey.read_saved();
        survey.count()?;
        let unreadable = survey.unreadable();
        let reports = survey.reports();
        if let Some(source) = &self.source
            && reports.is_empty()
        {
            let mut others = Survey::new(&self, None, &committed, global);
            others.read_ledger()?;
            others.read_saved();
            say_unknown(source, &others.reports(), &committed, global);
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

/// What one look at the data comes to.
struct Survey<'a> {
    committed: &'a Committed,
    global: &'a Global,
    only: Option<&'a str>,
    within: Interval,
    since: Option<DateTime<Utc>>,
    accounts: BTreeMap<String, Account>,
    alive_at: BTreeMap<String, i64>,
    records: Counter,
    rejects: Counter,
    unreadable: u64,
}

impl<'a> Survey<'a> {
    fn new(asked: &Coverage, only: Option<&'a str>, committed: &'a Committed, global: &'a Global) -> Self {
        let [since, until] = [asked.since, asked.until].map(|asked| asked.map(|at| at.before(committed.now)));
        let within = Interval::new(
            since.map_or(ALWAYS.from, |at| at.timestamp_micros()),
            until.map_or(ALWAYS.to, |at| at.timestamp_micros()),
        );
        Self {
            committed,
            global,
            only,
            within,
            since,
            accounts: BTreeMap::new(),
            alive_at: BTreeMap::new(),
            records: Counter::new(since, until),
            rejects: Counter::new(since, until),
            unreadable: 0,
        }
    }

    fn is_wanted(&self, source: &str) -> bool {
        !source.starts_with('_') && self.only.is_none_or(|only| only == source)
    }

    fn account(&mut self, source: &str) -> &mut Account {
        if !self.accounts.contains_key(source) {
            let account = Account::new(self.within, declared(&self.global.sources, source));
            self.accounts.insert(source.to_owned(), account);
        }
        self.accounts.get_mut(source).expect("invariant: it has just been put there")
    }

    /// Every entry from the first on: what was so at `since` is said before it.
    fn read_ledger(&mut self) -> anyhow::Result<()> {
        let committed = self.committed;
        committed.lines(ledger::STREAM, None, &mut |line| {
            if count::head(line).is_some_and(|(_, source)| !self.is_wanted(source)) {
                return;
            }
            match Line::parse(line) {
                Ok(line) if self.is_wanted(&line.source) => {
                    match Entry::new(&line.id, &line.observed_at, &line.kind, line.data.get()) {
                        Some(entry) => self.account(&line.source).read(&entry),
                        None => self.unreadable += 1,
                    }
                }
                Ok(_) => {}
                Err(_) => self.unreadable += 1,
            }
        })
    }

    /// What the ledger does not say yet, and when each was last alive.
    fn read_saved(&mut self) {
        let committed = self.committed;
        for source in committed.names("source/") {
            let Some(saved) = committed.state().get(&source_key(source)).filter(|_| self.is_wanted(source)) else {
                continue;
            };
            let saved = SavedSource::read(saved);
            self.alive_at.extend(saved.alive_at.map(|at| (source.to_owned(), at.timestamp_micros())));
            let normaliser = Normaliser::new(source.into());
            let unwritten = saved.book.map(|book| book.unwritten(&normaliser, committed.now)).unwrap_or_default();
            let account = self.account(source);
            for record in unwritten {
                let at = time_text(&record.observed_at);
                if let Some(entry) = Entry::new(&record.id, &at, &record.kind, record.data.get()) {
                    account.read(&entry);
                }
            }
        }
    }

    /// Records may be in any stream: several sources share one, and a file may have named another before.
    fn count(&mut self) -> anyhow::Result<()> {
        for stream in self.committed.names("stream/") {
            let counter = match stream.strip_prefix(REJECTED) {
                Some(source) if self.only.is_none_or(|only| only == source) => &mut self.rejects,
                None if !stream.starts_with('_') => &mut self.records,
                _ => continue,
            };
            self.committed.lines(stream, self.since, &mut |line| counter.take(line))?;
        }
        Ok(())
    }

    fn unreadable(&self) -> u64 {
        self.unreadable + self.records.unreadable + self.rejects.unreadable
    }

    fn reports(mut self) -> Vec<Report> {
        let counted: Vec<String> = self.records.sources().chain(self.rejects.sources()).map(str::to_owned).collect();
        let in_folder = sources::names(&self.global.sources);
        for source in counted.into_iter().chain(in_folder) {
            if self.is_wanted(&source) {
                self.account(&source);
            }
        }
        let service = self.committed.service.as_ref();
        let service_since = service.map(|service| service.since.map_or(0, |at| at.timestamp_micros()));
        let report = |(source, account): (String, Account)| {
            let alive_at = self.alive_at.get(&source).copied();
            let known = Known { now: self.committed.now.timestamp_micros(), service_since, alive_at };
            let (records, rejects) = (self.records.of(&source), self.rejects.of(&source));
            Report { coverage: account.finish(&known), records, rejects, source }
        };
        self.accounts.into_iter().map(report).collect()
    }
}

/// The version of a source's file, and its period in microseconds, if it has both.
fn declared(dir: &Path, source: &str) -> Option<(String, i64)> {
    let config = sources::load_named(dir, source)?.ok()?;
    let When::Every(every) = config.schedule?.when else { return None };
    Some((config.fingerprint, i64::try_from(every.as_micros()).ok()?))
}
