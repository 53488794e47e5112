//! What was collected and what was not, summed up from the committed lines of the ledger.

mod count;
mod page;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::normalise::Normaliser;
use crate::pipeline::commit::REJECTED;
use crate::pipeline::commit::source_key;
use crate::pipeline::coverage::entry::Entry;
use crate::pipeline::coverage::intervals::Interval;
use crate::pipeline::coverage::{ALWAYS, Account, Coverage, Known};
use crate::pipeline::ledger;
use crate::record::{Line, time_text};

use super::committed::Committed;
use super::saved::SavedSource;
use count::Counter;

/// Everything that is known of one source.
#[derive(Debug)]
pub struct Report {
    /// Its name.
    pub source: String,
    /// Its time and its ticks.
    pub coverage: Coverage,
    /// Records in the files that are there.
    pub records: u64,
    /// Rejects in the files that are there.
    pub rejects: u64,
}

/// What one look at the data comes to.
pub struct Survey<'a> {
    committed: &'a Committed,
    declared: &'a dyn Fn(&str) -> Option<(String, i64)>,
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
    /// Nothing is read yet. `declared` gives the version of a source's file, and its period in microseconds, if it has
    /// both.
    pub fn new(
        (since, until): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
        only: Option<&'a str>,
        committed: &'a Committed,
        declared: &'a dyn Fn(&str) -> Option<(String, i64)>,
    ) -> Self {
        let within = Interval::new(
            since.map_or(ALWAYS.from, |at| at.timestamp_micros()),
            until.map_or(ALWAYS.to, |at| at.timestamp_micros()),
        );
        Self {
            committed,
            declared,
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
            let account = Account::new(self.within, (self.declared)(source));
            self.accounts.insert(source.to_owned(), account);
        }
        self.accounts.get_mut(source).expect("invariant: it has just been put there")
    }

    /// Every entry from the first on: what was so at `since` is said before it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read_ledger(&mut self) -> anyhow::Result<()> {
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
    pub fn read_saved(&mut self) {
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
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn count(&mut self) -> anyhow::Result<()> {
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

    /// How many lines are no records.
    pub fn unreadable(&self) -> u64 {
        self.unreadable + self.records.unreadable + self.rejects.unreadable
    }

    /// What is known of each source, and of those `in_folder`, by name.
    pub fn reports(mut self, in_folder: Vec<String>) -> Vec<Report> {
        let counted: Vec<String> = self.records.sources().chain(self.rejects.sources()).map(str::to_owned).collect();
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
