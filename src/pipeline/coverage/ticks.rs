//! The ticks of a polled source as time: each stands for the time from its slot to the next.
//!
//! The ledger says from which slot to which a run of ticks went, and how many they were. What the last of them stood
//! for is the period: that of the source's file where it is the one that ran, else the one that the entries show.

use std::collections::BTreeMap;

use super::entry::Entry;
use super::intervals::Interval;

/// The word for ticks that passed while tapline was not running, or that a clock leapt over.
pub const MISSED: &str = "missed";

/// Ticks in a row that were not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    /// From the first slot to the end of what the last stands for.
    pub(super) time: Interval,
    pub(super) outcome: String,
    pub(super) why: String,
    pub(super) count: u64,
}

/// The first and the last slot of some ticks, and how many they are.
#[derive(Debug, Clone, Copy)]
struct Slots {
    from: i64,
    to: i64,
    count: u64,
}

impl Slots {
    /// How far apart they are, in microseconds.
    fn period(self) -> Option<i64> {
        let steps = i64::try_from(self.count.checked_sub(1)?).ok().filter(|steps| *steps > 0)?;
        Some((self.to - self.from) / steps).filter(|period| *period > 0)
    }
}

/// Every tick that the ledger tells of.
#[derive(Debug, Default, Clone)]
pub(super) struct Ticks {
    /// The source's own period, in microseconds, while the file that is there is the one that ran.
    declared: Option<i64>,
    /// The period that entries have shown last.
    shown: Option<i64>,
    /// The runs since the last good ticks: the next ones show how far apart theirs were.
    waiting: Vec<(Slots, Bad)>,
    pub(super) bad: Vec<Bad>,
    pub(super) counts: BTreeMap<String, u64>,
    /// The first and the last slot that is counted.
    pub(super) counted: Option<(i64, i64)>,
    /// The last slot of all.
    last: Option<i64>,
}

impl Ticks {
    /// A driver has started, with this period if it is known: what was shown before need not hold any more.
    pub(super) fn begin(&mut self, declared: Option<i64>) {
        self.settle();
        (self.declared, self.shown) = (declared, None);
    }

    /// Takes an entry of `outcomes`, `outcome`, or a `gap` with ticks. Ticks are counted unless all are before `since`
    /// or none before `until`. Returns the first slot.
    pub(super) fn read(&mut self, entry: &Entry<'_>, within: Interval) -> Option<i64> {
        let (from, to) = (entry.time("from")?, entry.time("to")?);
        let is_counted = to >= within.from && from < within.to;
        let mut slots = Slots { from, to, count: 0 };
        if entry.kind == "outcomes" {
            for (outcome, count) in entry.data.iter().filter_map(|(key, value)| Some((key, value.as_u64()?))) {
                slots.count = slots.count.saturating_add(count);
                self.count(outcome, count, is_counted);
            }
            self.show(slots);
            self.settle();
        } else {
            let (outcome, why, key) = match &*entry.kind {
                "gap" => (MISSED, entry.text("why"), "missed"),
                _ => (entry.text("outcome"), entry.text("reason"), "count"),
            };
            slots.count = entry.count(key).unwrap_or(1);
            self.count(outcome, slots.count, is_counted);
            let time = Interval::new(from, to);
            let bad = Bad { time, outcome: outcome.to_owned(), why: why.to_owned(), count: slots.count };
            self.waiting.push((slots, bad));
        }
        if is_counted {
            let (first, last) = self.counted.unwrap_or((from, to));
            self.counted = Some((first.min(from), last.max(to)));
        }
        self.last = Some(self.last.map_or(to, |last| last.max(to)));
        Some(from)
    }

    fn count(&mut self, outcome: &str, count: u64, is_counted: bool) {
        if is_counted {
            let sum = self.counts.entry(outcome.to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Good ticks show the period, together with the runs among them.
    fn show(&mut self, mut good: Slots) {
        let among = |slots: &&Slots| slots.from >= good.from && slots.to <= good.to;
        let bad: u64 = self.waiting.iter().map(|(slots, _)| slots).filter(among).map(|slots| slots.count).sum();
        good.count = good.count.saturating_add(bad);
        self.shown = good.period().or(self.shown);
    }

    /// Gives the runs that wait their ends. One whose period nobody knows stands for no time.
    fn settle(&mut self) {
        for (slots, mut bad) in std::mem::take(&mut self.waiting) {
            let period = self.declared.or_else(|| slots.period()).or(self.shown).unwrap_or(0);
            bad.time.to = bad.time.to.saturating_add(period);
            self.bad.push(bad);
        }
    }

    /// There are no more entries. Returns the end of what the last tick stands for.
    pub(super) fn finish(&mut self) -> Option<i64> {
        let own = self.waiting.last().and_then(|(slots, _)| slots.period());
        self.settle();
        let period = self.declared.or(own).or(self.shown).unwrap_or(0);
        self.last.map(|last| last.saturating_add(period))
    }
}
