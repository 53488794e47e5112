//! From an account to sums: the span, its gaps, what of them was filled, and what was not.

use std::collections::BTreeMap;

use super::intervals::{Interval, Intervals};
use super::{Account, Known, Loss, NOT_RUNNING};

/// What is known of the time of one source. Times are microseconds since 1970, lengths microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The kind of source, as it was started last.
    pub kind: Option<String>,
    /// Whether the service runs it now.
    pub runs: bool,
    /// From the first that is known of it to the last; `None` when nothing is.
    pub span: Option<Interval>,
    /// Every time in which it was not read, in order. They do not overlap.
    pub gaps: Vec<Gap>,
    /// Ticks by outcome, and those that were missed.
    pub ticks: BTreeMap<String, u64>,
    /// The first and the last slot of those.
    pub ticks_counted: Option<(i64, i64)>,
    /// Records that upstream has replayed to fill gaps.
    pub filled_records: u64,
    /// How often the source was started.
    pub starts: u64,
    /// How often upstream asked to be left alone.
    pub throttled: u64,
    /// How many problems were noted.
    pub problems: u64,
    /// How many holes there were in upstream's own numbers.
    pub holes: u64,
    /// How many numbers were missing in those. What came late, or again, was counted as missing before.
    pub missing: u64,
}

/// A time in which a source was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// From when to when.
    pub time: Interval,
    /// What became of its ticks, for a polled source.
    pub outcome: Option<String>,
    /// Why, in the words of the ledger.
    pub why: String,
    /// How many ticks it has, for a polled source.
    pub ticks: u64,
    /// Whether it goes on.
    pub is_open: bool,
    /// What upstream has replayed of it, and by what means.
    pub filled: Vec<Part>,
    /// What is missing for good, as far as is known.
    pub unfilled: Vec<Interval>,
}

/// A part of a gap that was filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From when to when.
    pub time: Interval,
    /// By what: `backfill`, `recovery`, `search`.
    pub by: String,
}

impl Gap {
    /// How much of it was filled, in microseconds.
    pub fn filled_length(&self) -> i64 {
        self.filled.iter().map(|part| part.time.length()).sum()
    }

    /// How much of it was not, in microseconds.
    pub fn unfilled_length(&self) -> i64 {
        self.unfilled.iter().map(|part| part.length()).sum()
    }

    fn of(loss: Loss, is_open: bool) -> Self {
        let Loss { time, why } = loss;
        Self { time, outcome: None, why, ticks: 0, is_open, filled: Vec::new(), unfilled: Vec::new() }
    }
}

impl Coverage {
    /// The whole span.
    pub fn length(&self) -> i64 {
        self.span.map_or(0, Interval::length)
    }

    /// The time for which there are no records, and never were.
    pub fn uncovered(&self) -> i64 {
        self.gaps.iter().map(Gap::unfilled_length).sum()
    }

    /// The time in gaps that was filled afterwards.
    pub fn filled(&self) -> i64 {
        self.gaps.iter().map(Gap::filled_length).sum()
    }

    /// The time for which there is everything: read as it happened, or filled afterwards.
    pub fn covered(&self) -> i64 {
        self.length() - self.uncovered()
    }

    /// The time that was read as it happened.
    pub fn live(&self) -> i64 {
        self.covered() - self.filled()
    }

    /// All ticks.
    pub fn ticks_total(&self) -> u64 {
        self.ticks.values().sum()
    }
}

impl Account {
    /// Sums up.
    pub fn finish(mut self, known: &Known) -> Coverage {
        let ticks_end = self.ticks.finish();
        let stream_end = self.stream_end(known);
        let runs = self.runs(known);
        let end = ticks_end.max(stream_end.as_ref().map(|(end, _)| *end));
        let mut losses = self.losses();
        losses.extend(stream_end.and_then(|(_, open)| open).map(|loss| Gap::of(loss, true)));
        let span = self.from.zip(end).and_then(|(from, last)| {
            let mut span = Interval::new(from, last.min(known.now)).clipped(self.within);
            let until = self.within.to.min(known.now);
            if self.within.to < i64::MAX && !runs && span.to < until && last < until {
                // A time was asked for that is behind the last moment known: nobody read then.
                let time = Interval::new(last, until);
                losses.push(Gap::of(Loss { time, why: NOT_RUNNING.to_owned() }, false));
                span.to = until;
            }
            (!span.is_empty()).then_some(span)
        });
        let gaps = span.map_or_else(Vec::new, |span| apart(losses, span));
        Coverage {
            kind: self.kind,
            runs,
            gaps: fill(gaps, &self.filled),
            span,
            ticks: self.ticks.counts,
            ticks_counted: self.ticks.counted,
            filled_records: self.filled_records,
            starts: self.starts,
            throttled: self.throttled,
            problems: self.problems,
            holes: self.holes,
            missing: self.missing,
        }
    }

    /// Every loss. What comes first counts where two tell of the same time.
    fn losses(&mut self) -> Vec<Gap> {
        let named: Intervals = self.gaps.iter().map(|loss| loss.time).collect();
        self.guessed.retain(|loss| named.inside(loss.time).is_empty());
        let lost = [&mut self.gaps, &mut self.derived, &mut self.guessed].map(std::mem::take);
        let mut all: Vec<Gap> = lost.into_iter().flatten().map(|loss| Gap::of(loss, false)).collect();
        all.extend(std::mem::take(&mut self.ticks.bad).into_iter().map(|bad| Gap {
            outcome: Some(bad.outcome),
            ticks: bad.count,
            ..Gap::of(Loss { time: bad.time, why: bad.why }, false)
        }));
        all
    }
}

/// The losses within the span, cut so that no two overlap, in order; of neighbours with one cause, one.
fn apart(losses: Vec<Gap>, span: Interval) -> Vec<Gap> {
    let mut seen = Intervals::default();
    let mut apart: Vec<Gap> = Vec::new();
    for loss in losses {
        let mut ticks = loss.ticks;
        for time in seen.insert(loss.time.clipped(span)) {
            // The ticks are of the run as a whole: they go with its first part.
            apart.push(Gap { time, ticks: std::mem::take(&mut ticks), ..loss.clone() });
        }
    }
    apart.sort_by_key(|gap| gap.time);
    let mut merged: Vec<Gap> = Vec::with_capacity(apart.len());
    for gap in apart {
        match merged.last_mut() {
            Some(last) if last.time.to == gap.time.from && last.outcome == gap.outcome && last.why == gap.why => {
                last.time.to = gap.time.to;
                last.ticks += gap.ticks;
                last.is_open |= gap.is_open;
            }
            _ => merged.push(gap),
        }
    }
    merged
}

/// Says of each gap what was filled. What was replayed twice counts for the first.
fn fill(mut gaps: Vec<Gap>, filled: &[(Interval, String)]) -> Vec<Gap> {
    let mut all = Intervals::default();
    let mut parts: Vec<Part> = Vec::new();
    for (time, by) in filled {
        parts.extend(all.insert(*time).into_iter().map(|time| Part { time, by: by.clone() }));
    }
    parts.sort_by_key(|part| part.time);
    for gap in &mut gaps {
        gap.unfilled = all.outside(gap.time);
        let first = parts.partition_point(|part| part.time.to <= gap.time.from);
        for part in parts[first..].iter().take_while(|part| part.time.from < gap.time.to) {
            let time = part.time.clipped(gap.time);
            match gap.filled.last_mut() {
                Some(last) if last.time.to == time.from && last.by == part.by => last.time.to = time.to,
                _ => gap.filled.push(Part { time, by: part.by.clone() }),
            }
        }
    }
    gaps
}
