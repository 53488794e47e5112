//! The ledger: what happened to each source, as records of the stream `_ledger`.
//!
//! Every tick has one outcome. Good ones are summed per minute; every other one is an entry, runs of the same folded
//! into one with `from`, `to` and `count`. The sums add up exactly, through crashes too, because the open counts are
//! part of a source's saved state, and **an entry is written only once what it says is committed**: until then it waits
//! in that same state. A crash can then repeat an entry, never change it, and its number tells that it was there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::normalise::Normaliser;
use crate::record::Record;
use crate::secrets;
use crate::source::Outcome;

/// The stream of the ledger.
pub const STREAM: &str = "_ledger";

/// A run of the same outcome is written after this time even if it goes on, so that the ledger does not keep silent
/// for as long as something is broken.
const RUN_MAX: TimeDelta = TimeDelta::hours(1);

/// A source's open counts, and its entries on their way to the ledger.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Book {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minute: Option<Minute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    /// It goes on where a run ends: over an hour, over another reason, over a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing: Option<Failing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<Entry>,
    /// The number of the next entry.
    #[serde(default)]
    next: u64,
    /// How many of the waiting entries the append of this number has put into the saved state.
    #[serde(skip)]
    saved_by: Option<(u64, usize)>,
}

/// The good outcomes of one minute.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Minute {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    counts: BTreeMap<Outcome, u64>,
}

/// Ticks in a row with the same outcome for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    outcome: Outcome,
    reason: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    count: u64,
}

/// One entry, complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    number: u64,
    at: DateTime<Utc>,
    kind: String,
    data: Box<RawValue>,
}

/// Ticks that had one outcome together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticks {
    /// What became of them.
    pub outcome: Outcome,
    /// Why, where it is not good.
    pub reason: String,
    /// The scheduled time of the first.
    pub from: DateTime<Utc>,
    /// The scheduled time of the last.
    pub to: DateTime<Utc>,
    /// How many there were.
    pub count: u64,
}

impl Ticks {
    /// One tick.
    pub fn one(outcome: Outcome, reason: impl Into<String>, at: DateTime<Utc>) -> Self {
        Self { outcome, reason: reason.into(), from: at, to: at, count: 1 }
    }
}

/// Ticks in a row of which none was good, from the first that failed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The scheduled time of the first.
    pub since: DateTime<Utc>,
    /// The scheduled time of the last so far.
    pub last: DateTime<Utc>,
    /// How many there were.
    pub count: u64,
    /// What became of the last that was not skipped.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
}

/// How a source's fortunes have turned: what deserves a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It goes on as before.
    Same,
    /// Something that was not so before is wrong now.
    Worse,
    /// All is well again, after this many ticks that were not.
    Better(u64),
}

impl Book {
    /// Counts ticks. `now` is the time of the entries that this may complete.
    pub fn ticks(&mut self, mut ticks: Ticks, now: DateTime<Utc>) -> Turn {
        if let Cow::Owned(hidden) = secrets::hide(&ticks.reason) {
            ticks.reason = hidden;
        }
        self.follow(&ticks);
        if ticks.outcome.is_good() {
            let bad = self.close_run(now);
            self.count_good(&ticks, now);
            return if bad > 0 { Turn::Better(bad) } else { Turn::Same };
        }
        self.close_minute_before(ticks.from, now);
        match &mut self.run {
            Some(run) if run.outcome == ticks.outcome && run.reason == ticks.reason => {
                run.to = ticks.to;
                run.count += ticks.count;
                if run.to - run.from >= RUN_MAX {
                    self.close_run(now);
                }
                Turn::Same
            }
            _ => {
                self.close_run(now);
                let Ticks { outcome, reason, from, to, count } = ticks;
                self.run = Some(Run { outcome, reason, from, to, count });
                Turn::Worse
            }
        }
    }

    /// Follows how long there has been no good tick.
    fn follow(&mut self, ticks: &Ticks) {
        let is_skipped = ticks.outcome == Outcome::Skipped;
        match &mut self.failing {
            _ if ticks.outcome.is_good() => self.failing = None,
            Some(failing) => {
                failing.last = ticks.to;
                failing.count += ticks.count;
                if !is_skipped {
                    failing.outcome = ticks.outcome;
                    failing.reason.clone_from(&ticks.reason);
                }
            }
            // Upstream may have asked for that, after a good tick.
            None if is_skipped => {}
            None => {
                let Ticks { outcome, reason, from, to, count } = ticks.clone();
                self.failing = Some(Failing { since: from, last: to, count, outcome, reason });
            }
        }
    }

    fn count_good(&mut self, ticks: &Ticks, now: DateTime<Utc>) {
        self.close_minute_before(ticks.from, now);
        let minute =
            self.minute.get_or_insert_with(|| Minute { from: ticks.from, to: ticks.to, counts: BTreeMap::new() });
        minute.to = ticks.to;
        *minute.counts.entry(ticks.outcome).or_default() += ticks.count;
    }

    /// Adds an entry of another kind: connected, lost, gap, edited.
    pub fn note(&mut self, kind: &str, data: &impl Serialize, now: DateTime<Utc>) {
        self.complete(kind, data, now);
    }

    /// Completes the sums of minutes that are over.
    fn close_minute_before(&mut self, slot: DateTime<Utc>, now: DateTime<Utc>) {
        let over = self.minute.as_ref().is_some_and(|minute| minute_of(minute.from) != minute_of(slot));
        if over {
            self.close_minute(now);
        }
    }

    fn close_minute(&mut self, now: DateTime<Utc>) {
        if let Some(minute) = self.minute.take() {
            let mut data = serde_json::Map::new();
            data.insert("from".into(), text(minute.from));
            data.insert("to".into(), text(minute.to));
            data.extend(minute.counts.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), (*count).into())));
            self.complete("outcomes", &data, now);
        }
    }

    fn close_run(&mut self, now: DateTime<Utc>) -> u64 {
        let Some(run) = self.run.take() else { return 0 };
        let data = serde_json::json!({
            "outcome": run.outcome, "reason": run.reason, "from": text(run.from), "to": text(run.to), "count": run.count,
        });
        self.complete("outcome", &data, now);
        run.count
    }

    /// Completes everything that is open, as when the source stops.
    pub fn close(&mut self, now: DateTime<Utc>) {
        self.close_run(now);
        self.close_minute(now);
    }

    fn complete(&mut self, kind: &str, data: &impl Serialize, now: DateTime<Utc>) {
        let data = to_raw_value(data).expect("invariant: entries are made of strings and numbers");
        let data = secrets::hide_json(data);
        self.waiting.push(Entry { number: self.next, at: now, kind: kind.to_owned(), data });
        self.next += 1;
    }

    /// Takes the entries whose content is committed, as lines. `committed` is the number of the last committed append.
    pub fn take_ready(&mut self, committed: u64, normaliser: &Normaliser, is_kept: impl Fn(&str) -> bool) -> Vec<u8> {
        let mut lines = Vec::new();
        if let Some((number, count)) = self.saved_by
            && number <= committed
        {
            self.saved_by = None;
            for entry in self.waiting.drain(..count) {
                let record = normaliser.ledger(entry.kind, entry.data, entry.number, entry.at);
                if !is_kept(&record.id) {
                    record.write_line(&mut lines);
                }
            }
        }
        lines
    }

    /// The book as it is was put into the append of this number.
    pub fn saved(&mut self, number: u64) {
        // An earlier mark stays: its entries become ready first.
        if self.saved_by.is_none() && !self.waiting.is_empty() {
            self.saved_by = Some((number, self.waiting.len()));
        }
    }

    /// The book was read from the committed state: what waits in it is committed.
    pub fn restored(&mut self) {
        self.saved(0);
    }

    /// What the ledger does not say yet of a book that was read from the committed state: the entries on their way to
    /// it, under their ids, and the open counts as if they were closed now.
    pub fn unwritten(&self, normaliser: &Normaliser, now: DateTime<Utc>) -> Vec<Record> {
        let mut book = self.clone();
        book.close(now);
        let entries = book.waiting.into_iter();
        entries.map(|entry| normaliser.ledger(entry.kind, entry.data, entry.number, entry.at)).collect()
    }

    /// The ticks since the last good one, if there is one that failed among them.
    pub fn failing(&self) -> Option<Failing> {
        // Of an older version.
        let of_run = || {
            let Run { outcome, reason, from, to, count } = self.run.clone()?;
            (outcome != Outcome::Skipped).then_some(Failing { since: from, last: to, count, outcome, reason })
        };
        self.failing.clone().or_else(of_run)
    }

    /// Whether entries wait.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at)
}

/// A time as every record writes it.
pub fn text(at: DateTime<Utc>) -> serde_json::Value {
    crate::record::time_text(&at).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_020 + second, 0).unwrap()
    }

    /// Everything that the book wrote, as (kind, data), with each append committed before the next.
    fn run(ticks: impl IntoIterator<Item = Ticks>) -> Vec<(String, serde_json::Value)> {
        let normaliser = Normaliser::new("bseindex".into());
        let mut book = Book::default();
        let mut lines = Vec::new();
        let mut number = 0;
        let mut save = |book: &mut Book| {
            number += 1;
            lines.extend(book.take_ready(number - 1, &normaliser, |_| false));
            book.saved(number);
        };
        for ticks in ticks {
            let now = ticks.to;
            book.ticks(ticks, now);
            save(&mut book);
        }
        book.close(at(1000));
        save(&mut book);
        save(&mut book);
        save(&mut book);
        let lines = String::from_utf8(lines).unwrap();
        lines
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                (line["type"].as_str().unwrap().to_owned(), line["data"].clone())
            })
            .collect()
    }

    #[test]
    fn good_ticks_are_summed_per_minute_and_others_folded() {
        let good = (0..90).map(|second| Ticks::one(Outcome::Ok, "", at(second)));
        let bad = (90..95).map(|second| Ticks::one(Outcome::Error, "status 500", at(second)));
        let other = (95..96).map(|second| Ticks::one(Outcome::Error, "status 404", at(second)));
        let better = (96..100).map(|second| Ticks::one(Outcome::NotModified, "", at(second)));
        let entries = run(good.chain(bad).chain(other).chain(better));
        let kinds: Vec<String> = entries
            .iter()
            .map(|(kind, data)| {
                format!(
                    "{kind} {} {}",
                    data["outcome"].as_str().unwrap_or("-"),
                    data["count"].as_u64().or(data["ok"].as_u64()).unwrap_or(0)
                )
            })
            .collect();
        assert_eq!(kinds, ["outcomes - 60", "outcome error 5", "outcome error 1", "outcomes - 30"]);
        assert_eq!(entries[3].1["not_modified"], 4);
        assert_eq!(entries[1].1["reason"], "status 500");
    }

    #[test]
    fn an_entry_is_not_written_before_it_is_committed() {
        let normaliser = Normaliser::new("bseindex".into());
        let mut book = Book::default();
        book.note("connected", &serde_json::json!({}), at(0));
        assert!(book.take_ready(0, &normaliser, |_| false).is_empty(), "nobody has saved it");
        book.saved(7);
        assert!(book.take_ready(6, &normaliser, |_| false).is_empty(), "append 7 is not committed");
        assert!(!book.take_ready(7, &normaliser, |_| false).is_empty());
        assert!(book.take_ready(8, &normaliser, |_| false).is_empty(), "and only once");
    }

    #[test]
    fn a_restored_book_repeats_an_entry_under_the_same_id_and_kept_ones_are_left_out() {
        let normaliser = Normaliser::new("bseindex".into());
        let mut book = Book::default();
        book.note("connected", &serde_json::json!({}), at(0));
        let state = serde_json::to_string(&book).unwrap();
        let restore = || {
            let mut book: Book = serde_json::from_str(&state).unwrap();
            book.restored();
            book
        };
        let first = restore().take_ready(0, &normaliser, |_| false);
        assert_eq!(first, restore().take_ready(0, &normaliser, |_| false));
        let id = crate::record::Line::parse(&first).unwrap().id.into_owned();
        assert!(restore().take_ready(0, &normaliser, |kept| kept == id).is_empty());
    }

    #[test]
    fn what_fails_is_followed_from_the_first_tick_to_the_next_good_one() {
        let mut book = Book::default();
        let tick = |book: &mut Book, outcome, reason: &str, second| {
            book.ticks(Ticks::one(outcome, reason, at(second)), at(second));
        };
        tick(&mut book, Outcome::Skipped, "upstream asked for it", 0);
        assert_eq!(book.failing(), None, "to be left alone is no failure");
        tick(&mut book, Outcome::Error, "status 500", 1);
        tick(&mut book, Outcome::Missing, "price: nothing matches", 2);
        tick(&mut book, Outcome::Skipped, "upstream asked for it", 3_700);
        let expected = Failing {
            since: at(1),
            last: at(3_700),
            count: 3,
            outcome: Outcome::Missing,
            reason: "price: nothing matches".to_owned(),
        };
        assert_eq!(book.failing(), Some(expected.clone()), "over another reason and the end of the hour");
        book.close(at(4_000));
        let mut read: Book = serde_json::from_str(&serde_json::to_string(&book).unwrap()).unwrap();
        read.restored();
        assert_eq!(read.failing(), Some(expected), "over a restart");
        tick(&mut read, Outcome::NotModified, "", 4_001);
        assert_eq!(read.failing(), None);
    }

    fn outcomes() -> impl Strategy<Value = Vec<(usize, u64)>> {
        proptest::collection::vec((0..Outcome::ALL.len(), 1_u64..40), 0..200)
    }

    proptest! {
        #[test]
        fn the_sums_add_up(outcomes in outcomes()) {
            let mut expected = BTreeMap::<&str, u64>::new();
            let mut second = 0;
            let ticks: Vec<Ticks> = outcomes.iter().map(|&(index, count)| {
                let outcome = Outcome::ALL[index];
                *expected.entry(outcome.as_str()).or_default() += count;
                let from = at(second);
                second += i64::try_from(count).unwrap();
                Ticks { outcome, reason: String::new(), from, to: at(second - 1), count }
            }).collect();
            let mut found = BTreeMap::<&str, u64>::new();
            let entries = run(ticks);
            for (kind, data) in &entries {
                if kind == "outcome" {
                    let outcome = Outcome::ALL.iter().find(|outcome| outcome.as_str() == data["outcome"]).unwrap();
                    *found.entry(outcome.as_str()).or_default() += data["count"].as_u64().unwrap();
                } else {
                    for outcome in Outcome::ALL.iter().filter(|outcome| data.get(outcome.as_str()).is_some()) {
                        *found.entry(outcome.as_str()).or_default() += data[outcome.as_str()].as_u64().unwrap();
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
