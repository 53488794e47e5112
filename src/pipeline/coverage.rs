//! Coverage: what the ledger says about the time of each source, summed up so that it adds up.
//!
//! One pass over the entries of a source makes its [`Account`]; with what else is known (the time, whether it runs, when
//! it was last alive) that makes a [`Coverage`]. The span is cut into gaps and the rest, and each gap into what was
//! filled afterwards and what was not, in whole microseconds: covered and uncovered are the whole span, always.
//!
//! A stream is covered while it is connected. Of a polled source each tick stands for the time from its slot to the
//! next; time in which nothing was due counts as covered, because nothing was missed in it.

pub mod entry;
pub mod intervals;
mod summary;
mod ticks;

use std::collections::HashSet;

use entry::Entry;
use intervals::{Interval, Intervals};
use ticks::Ticks;

pub use summary::{Coverage, Gap, Part};
pub use ticks::MISSED;

/// Why a source was not read when nobody ran it.
const NOT_RUNNING: &str = "tapline was not running";

/// What is asked for: the part of all time, in microseconds since 1970.
pub const ALWAYS: Interval = Interval { from: i64::MIN, to: i64::MAX };

/// What is known of a source beside its entries. Times are microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// The time now.
    pub now: i64,
    /// When the service that runs now was started; `None` when none runs, 0 when that is not known.
    pub service_since: Option<i64>,
    /// When the source's stream was last known to be read.
    pub alive_at: Option<i64>,
}

/// Time in which a stream was not read.
#[derive(Debug, Clone)]
struct Loss {
    time: Interval,
    why: String,
}

/// A stream that is not read at the moment.
#[derive(Debug, Clone)]
struct Away {
    /// Since when; `None` when the process ended without a word.
    from: Option<i64>,
    why: String,
}

/// What the entries of one source come to.
#[derive(Debug, Clone)]
pub struct Account {
    within: Interval,
    /// The kind and the version of the source's file that is there now, and its period in microseconds.
    declared: Option<(String, i64)>,
    seen: Intervals,
    seen_ids: HashSet<String>,
    kind: Option<String>,
    version: String,
    /// Where the account begins.
    from: Option<i64>,
    /// The last moment that an entry about the connection knows of.
    evidence: Option<i64>,
    /// When the last entry was written.
    last_at: Option<i64>,
    started_at: Option<i64>,
    connected: bool,
    away: Option<Away>,
    stopped_at: Option<i64>,
    refused: bool,
    /// What entries call gaps, and what follows from others; the former count where both speak.
    gaps: Vec<Loss>,
    derived: Vec<Loss>,
    /// What follows only if no entry calls it a gap.
    guessed: Vec<Loss>,
    filled: Vec<(Interval, String)>,
    filled_records: u64,
    ticks: Ticks,
    starts: u64,
    throttled: u64,
    problems: u64,
    holes: u64,
    missing: u64,
}

impl Account {
    /// An account without entries, of the time `within`. `declared` is the version and the period, in microseconds, of
    /// the source's file as it is now.
    pub fn new(within: Interval, declared: Option<(String, i64)>) -> Self {
        Self {
            within,
            declared,
            seen: Intervals::default(),
            seen_ids: HashSet::new(),
            kind: None,
            version: String::new(),
            from: None,
            evidence: None,
            last_at: None,
            started_at: None,
            connected: false,
            away: None,
            stopped_at: None,
            refused: false,
            gaps: Vec::new(),
            derived: Vec::new(),
            guessed: Vec::new(),
            filled: Vec::new(),
            filled_records: 0,
            ticks: Ticks::default(),
            starts: 0,
            throttled: 0,
            problems: 0,
            holes: 0,
            missing: 0,
        }
    }

    /// The version and the period of the source's file have changed.
    pub fn declare(&mut self, declared: Option<(String, i64)>) {
        self.declared = declared;
    }

    /// Takes the next entry, in the order of the ledger. One that was taken before is passed over.
    pub fn read(&mut self, entry: &Entry<'_>) {
        if self.was_read(entry) {
            return;
        }
        let is_within = (self.within.from..self.within.to).contains(&entry.at);
        match &*entry.kind {
            "outcomes" | "outcome" => self.tick(entry),
            "gap" if entry.count("missed").is_some() => self.tick(entry),
            "started" => self.started(entry),
            "stopped" => self.stopped_at = Some(entry.at),
            "connected" => self.connected(entry),
            "lost" => self.lost(entry),
            "refused" => {
                self.refused = true;
                self.connected = false;
                let why = format!("refused: {}", entry.text("why"));
                self.away.get_or_insert(Away { from: Some(entry.at), why });
            }
            "gap" => self.gap(entry),
            "filled" => self.fill(entry),
            "throttled" => self.throttled += u64::from(is_within),
            "problem" => self.problems += u64::from(is_within),
            "hole" if is_within => {
                self.holes += 1;
                self.missing = self.missing.saturating_add(entry.count("missing").unwrap_or(0));
            }
            _ => {}
        }
        self.last_at = self.last_at.max(Some(entry.at));
    }

    fn was_read(&mut self, entry: &Entry<'_>) -> bool {
        match entry.number() {
            // Numbers follow each other, so this stays one interval.
            Some(number) => self.seen.insert(Interval::new(number, number + 1)).is_empty(),
            None => !entry.id.is_empty() && !self.seen_ids.insert(entry.id.clone().into_owned()),
        }
    }

    fn tick(&mut self, entry: &Entry<'_>) {
        if let Some(from) = self.ticks.read(entry, self.within) {
            // The sum of a minute is written after the runs in it.
            self.from = Some(self.from.map_or(from, |known| known.min(from)));
        }
        self.away = None;
    }

    fn started(&mut self, entry: &Entry<'_>) {
        self.starts += u64::from((self.within.from..self.within.to).contains(&entry.at));
        self.started_at = Some(entry.at);
        let kind = entry.text("kind");
        if !kind.is_empty() {
            self.kind = Some(kind.to_owned());
        }
        entry.text("version").clone_into(&mut self.version);
        let declared =
            self.declared.as_ref().filter(|(version, _)| *version == self.version).map(|(_, period)| *period);
        self.ticks.begin(declared);
        if self.connected || self.stopped_at.is_some() && self.away.is_none() {
            let from = self.stopped_at;
            self.away = Some(Away { from, why: NOT_RUNNING.to_owned() });
        }
        self.connected = false;
        self.stopped_at = None;
        self.refused = false;
    }

    fn connected(&mut self, entry: &Entry<'_>) {
        let since = entry.time("since").unwrap_or(entry.at);
        self.from.get_or_insert(since);
        if let Some(Away { from, why }) = self.away.take() {
            let loss = |from| Loss { time: Interval::new(from, since), why };
            match (from, self.evidence) {
                (Some(from), _) => self.derived.push(loss(from)),
                (None, Some(evidence)) => self.guessed.push(loss(evidence)),
                (None, None) => {}
            }
        }
        self.connected = true;
        self.refused = false;
        self.stopped_at = None;
        self.know(since);
    }

    fn lost(&mut self, entry: &Entry<'_>) {
        let since = entry.time("since").unwrap_or(entry.at);
        self.from.get_or_insert(since);
        self.connected = false;
        let why = entry.text("why");
        let away = self.away.get_or_insert_with(|| Away { from: Some(since), why: why.to_owned() });
        away.from.get_or_insert(since);
        self.know(since);
    }

    fn gap(&mut self, entry: &Entry<'_>) {
        let (Some(from), Some(to)) = (entry.time("from"), entry.time("to")) else { return };
        // What was said of the run before may have been lost with it, and the gap still knows of that run.
        let begins = if from < to { from } else { to.max(entry.at) };
        self.from = Some(self.from.map_or(begins, |known| known.min(begins)));
        self.gaps.push(Loss { time: Interval::new(from, to), why: entry.text("why").to_owned() });
        self.know(to);
    }

    fn fill(&mut self, entry: &Entry<'_>) {
        let (Some(from), Some(to)) = (entry.time("from"), entry.time("to")) else { return };
        let time = Interval::new(from, to);
        self.filled.push((time, entry.text("by").to_owned()));
        if !time.clipped(self.within).is_empty() {
            self.filled_records = self.filled_records.saturating_add(entry.count("records").unwrap_or(0));
        }
    }

    fn know(&mut self, moment: i64) {
        self.evidence = self.evidence.max(Some(moment));
    }

    /// Whether the source is being run by the service that was started at this time.
    fn runs(&self, known: &Known) -> bool {
        let is_of_this_run = known.service_since.is_some_and(|since| self.started_at.is_none_or(|at| at >= since));
        is_of_this_run && (self.stopped_at.is_none() || self.refused)
    }

    /// Where the account of a stream ends, and the gap that is open there; `None` for a source that was never one.
    fn stream_end(&self, known: &Known) -> Option<(i64, Option<Loss>)> {
        let evidence = self.evidence?;
        let alive = known.alive_at.map_or(evidence, |at| at.max(evidence));
        let end = match (&self.away, self.stopped_at) {
            _ if self.runs(known) => known.now,
            (Some(_), _) => alive.max(self.last_at.unwrap_or(evidence)),
            (None, Some(stopped_at)) if known.alive_at.is_none() => evidence.max(stopped_at),
            (None, _) => alive,
        };
        let open = self.away.as_ref().map(|away| {
            let from = away.from.unwrap_or(alive);
            Loss { time: Interval::new(from, end), why: away.why.clone() }
        });
        Some((end, open))
    }
}

#[cfg(test)]
mod tests;
