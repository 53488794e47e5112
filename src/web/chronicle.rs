//! The ledger, read once and then followed: what was collected of each source, and what was not, for as long as there
//! has been one.

use std::collections::BTreeMap;

use crate::normalise::Normaliser;
use crate::pipeline::coverage::entry::Entry;
use crate::pipeline::coverage::{ALWAYS, Account, Coverage, Known};
use crate::pipeline::ledger;
use crate::record::{Line, time_text};
use crate::report::committed::Committed;
use crate::sink::{self, Position};

use super::view::View;

/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// What the ledger comes to, up to a position.
#[derive(Default)]
pub(super) struct Chronicle {
    accounts: BTreeMap<String, Account>,
    at: Option<Position>,
}

impl Chronicle {
    /// Reads what the ledger has said since the last time. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn advance(&mut self, view: &View) -> anyhow::Result<()> {
        let committed = &view.committed;
        let Some(saved) = committed.saved(ledger::STREAM)? else { return Ok(()) };
        let mut reader = committed.reader(ledger::STREAM, self.at.unwrap_or(Position::start_of(saved.first)));
        let mut lines = Vec::new();
        while reader.read(sink::Committed::from(&saved), CHUNK_BYTES, &mut lines)?.is_some() {
            for line in lines.split(|byte| *byte == b'\n') {
                self.take(line, view);
            }
            lines.clear();
            self.at = Some(reader.position());
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8], view: &View) {
        // A line that is none is `tapline coverage`'s to count.
        let Ok(line) = Line::parse(line) else { return };
        if line.source.starts_with('_') {
            return;
        }
        if let Some(entry) = Entry::new(&line.id, &line.observed_at, &line.kind, line.data.get()) {
            self.account(&line.source, view).read(&entry);
        }
    }

    fn account(&mut self, source: &str, view: &View) -> &mut Account {
        let declared = view.period_of(source);
        let account = self.accounts.entry(source.to_owned()).or_insert_with(|| Account::new(ALWAYS, declared.clone()));
        account.declare(declared);
        account
    }

    /// What was collected of a source, and what was not, up to now.
    pub(super) fn coverage(&self, source: &str, view: &View) -> Option<Coverage> {
        let Committed { now, service, .. } = &view.committed;
        let mut account = self.accounts.get(source)?.clone();
        let saved = view.source(source).and_then(|state| state.facts.saved.as_ref());
        let normaliser = Normaliser::new(source.into());
        let book = saved.and_then(|saved| saved.book.as_ref());
        for record in book.map(|book| book.unwritten(&normaliser, *now)).unwrap_or_default() {
            let at = time_text(&record.observed_at);
            if let Some(entry) = Entry::new(&record.id, &at, &record.kind, record.data.get()) {
                account.read(&entry);
            }
        }
        let service_since = service.as_ref().map(|service| service.since.map_or(0, |since| since.timestamp_micros()));
        let alive_at = saved.and_then(|saved| saved.alive_at).map(|at| at.timestamp_micros());
        Some(account.finish(&Known { now: now.timestamp_micros(), service_since, alive_at }))
    }
}
