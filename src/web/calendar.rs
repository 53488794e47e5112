//! A year of days, each with how much of it was collected.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Utc};

use crate::pipeline::coverage::intervals::Interval;
use crate::pipeline::coverage::{Coverage, Gap};
use crate::report::lengths::{many, percent, time, words};
use crate::report::source::moment;

/// So many weeks are shown.
const WEEKS: u64 = 53;

/// From one square to the next, and where the first row begins.
const STEP: u64 = 15;
const TOP: u64 = 14;

/// How many gaps are listed.
const GAPS_MAX: usize = 20;

const DAY: i64 = 86_400_000_000;

/// A year as a picture, and in words.
#[derive(Debug, Default)]
pub(super) struct Year {
    pub(super) words: String,
    pub(super) width: u64,
    pub(super) months: Vec<Month>,
    pub(super) days: Vec<Day>,
    pub(super) gaps: Vec<Listed>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Month {
    pub(super) x: u64,
    pub(super) name: String,
}

/// A square.
#[derive(Debug, PartialEq)]
pub(super) struct Day {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) class: &'static str,
    pub(super) words: String,
}

/// A gap in words.
#[derive(Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) length: String,
    pub(super) why: String,
    pub(super) filled: String,
}

/// The year that ends today.
pub(super) fn year(coverage: &Coverage, now: DateTime<Utc>) -> Year {
    let today = now.date_naive();
    let monday = today - Days::new(u64::from(today.weekday().num_days_from_monday()));
    let first = monday - Days::new(7 * (WEEKS - 1));
    let count = usize::try_from((today - first).num_days() + 1).unwrap_or(0);
    let sums = sums(coverage, first, count, now.timestamp_micros());
    let mut year = Year { words: in_words(coverage), width: WEEKS * STEP, ..Year::default() };
    for (index, (day, sum)) in first.iter_days().zip(&sums).enumerate() {
        let (week, row) = ((index / 7) as u64, (index % 7) as u64);
        if day.day() == 1 {
            year.months.push(Month { x: week * STEP, name: day.format("%b").to_string() });
        }
        let (class, words) = sum.words();
        year.days.push(Day { x: week * STEP, y: TOP + row * STEP, class, words: format!("{day}: {words}") });
    }
    let gaps = coverage.gaps.iter().rev().take(GAPS_MAX);
    year.gaps = gaps.map(|gap| listed(gap, now)).collect();
    year
}

/// What of the time between two moments is missing, in microseconds.
pub(super) fn missed(coverage: &Coverage, from: i64, to: i64) -> i64 {
    let within = Interval::new(from, to);
    let parts = coverage.gaps.iter().flat_map(|gap| &gap.unfilled);
    parts.map(|part| part.clipped(within).length()).sum()
}

/// What a day comes to, in microseconds.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    known: i64,
    missing: i64,
    filled: i64,
}

impl Sum {
    fn words(self) -> (&'static str, String) {
        if self.known == 0 {
            return ("none", "nothing was to be collected".to_owned());
        }
        let covered = percent(wide(self.known - self.missing), wide(self.known));
        let missing = if self.missing > 0 { format!(", {} missing", words(self.missing)) } else { String::new() };
        let filled = if self.filled > 0 { format!(", {} got after all", words(self.filled)) } else { String::new() };
        let text = format!("{covered} covered{missing}{filled}");
        let class = match self.missing * 1_000 / self.known {
            0 if self.missing == 0 && self.filled > 0 => "filled",
            0 if self.missing == 0 => "full",
            0..10 => "gap1",
            10..100 => "gap2",
            100..1_000 => "gap3",
            _ => "gap4",
        };
        (class, text)
    }
}

fn wide(length: i64) -> u128 {
    u128::try_from(length).unwrap_or(0)
}

fn sums(coverage: &Coverage, first: NaiveDate, count: usize, now: i64) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); count];
    let start = first.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc().timestamp_micros();
    let mut add = |time: Interval, to: fn(&mut Sum) -> &mut i64| {
        let mut from = time.from.max(start);
        let end = time.to.min(now);
        while from < end {
            let index = (from - start) / DAY;
            let until = (start + (index + 1) * DAY).min(end);
            if let Some(sum) = usize::try_from(index).ok().and_then(|index| sums.get_mut(index)) {
                *to(sum) += until - from;
            }
            from = until;
        }
    };
    if let Some(span) = coverage.span {
        add(span, |sum| &mut sum.known);
    }
    for gap in &coverage.gaps {
        for part in &gap.unfilled {
            add(*part, |sum| &mut sum.missing);
        }
        for part in &gap.filled {
            add(part.time, |sum| &mut sum.filled);
        }
    }
    sums
}

fn in_words(coverage: &Coverage) -> String {
    let Some(span) = coverage.span else { return "The ledger does not say yet when it was read.".to_owned() };
    let covered = percent(wide(coverage.covered()), wide(coverage.length()));
    let gaps = coverage.gaps.len() as u64;
    let missing = coverage.uncovered();
    let gone = if missing == 0 { String::new() } else { format!(", {} missing", words(missing)) };
    let filled =
        if coverage.filled() == 0 { String::new() } else { format!(", {} got after all", words(coverage.filled())) };
    let since = time(span.from).format("%Y-%m-%d %H:%M");
    format!("{covered} covered since {since}: {} gap{}{gone}{filled}.", many(gaps), if gaps == 1 { "" } else { "s" })
}

fn listed(gap: &Gap, now: DateTime<Utc>) -> Listed {
    let to = if gap.is_open { "now".to_owned() } else { moment(time(gap.time.to), now) };
    let ticks = if gap.ticks > 0 { format!(" ({} ticks)", many(gap.ticks)) } else { String::new() };
    let outcome = gap.outcome.as_ref().map_or_else(String::new, |outcome| format!("{outcome}: "));
    Listed {
        from: moment(time(gap.time.from), now),
        to,
        length: format!("{}{ticks}", words(gap.time.length())),
        why: format!("{outcome}{}", gap.why),
        filled: match (gap.filled_length(), gap.unfilled_length()) {
            (0, _) => "no".to_owned(),
            (_, 0) => "all".to_owned(),
            (filled, _) => words(filled),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::coverage::Part;
    use std::collections::BTreeMap;

    fn at(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_micros()
    }

    fn gap(from: &str, to: &str, filled: &[(&str, &str)], unfilled: &[(&str, &str)]) -> Gap {
        let time = |(from, to): (&str, &str)| Interval::new(at(from), at(to));
        Gap {
            time: time((from, to)),
            outcome: None,
            why: "no network".into(),
            ticks: 0,
            is_open: false,
            filled: filled.iter().map(|part| Part { time: time(*part), by: "backfill".into() }).collect(),
            unfilled: unfilled.iter().map(|part| time(*part)).collect(),
        }
    }

    fn coverage(gaps: Vec<Gap>) -> Coverage {
        Coverage {
            kind: None,
            runs: true,
            span: Some(Interval::new(at("2026-11-20T12:00:00Z"), at("2026-11-28T06:00:00Z"))),
            gaps,
            ticks: BTreeMap::new(),
            ticks_counted: None,
            filled_records: 0,
            starts: 1,
            throttled: 0,
            problems: 0,
            holes: 0,
            missing: 0,
        }
    }

    #[test]
    fn each_day_has_what_is_missing_of_it() {
        let now: DateTime<Utc> = "2026-11-28T06:00:00Z".parse().unwrap();
        let nights = ("2026-11-22T22:00:00Z", "2026-11-23T02:00:00Z");
        let fills = ("2026-11-25T00:00:00Z", "2026-11-25T01:00:00Z");
        let all = ("2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z");
        let year = year(
            &coverage(vec![
                gap(nights.0, nights.1, &[], &[nights]),
                gap(fills.0, fills.1, &[fills], &[]),
                gap(all.0, all.1, &[], &[all]),
            ]),
            now,
        );
        assert_eq!(year.days.len(), 370, "53 weeks that end on a Saturday");
        let of = |day: &str| {
            let found = year.days.iter().find(|found| found.words.starts_with(day)).unwrap();
            (found.class, found.words.as_str())
        };
        assert_eq!(of("2026-11-19"), ("none", "2026-11-19: nothing was to be collected"));
        assert_eq!(of("2026-11-21"), ("full", "2026-11-21: 100% covered"));
        assert_eq!(of("2026-11-22"), ("gap2", "2026-11-22: 91.66% covered, 2h missing"));
        assert_eq!(of("2026-11-25"), ("filled", "2026-11-25: 100% covered, 1h got after all"));
        assert_eq!(of("2026-11-26"), ("gap4", "2026-11-26: 0.00% covered, 1d missing"));
        assert_eq!(of("2026-11-28"), ("full", "2026-11-28: 100% covered"));
        assert_eq!(year.gaps[0].filled, "no");
        assert_eq!(year.gaps[1].filled, "all");
        assert_eq!(year.gaps[2].length, "4h");
        assert!(year.words.contains("3 gaps, 1d 4h missing, 1h got after all"), "{}", year.words);
    }

    #[test]
    fn what_is_missing_of_a_time() {
        let night = ("2026-11-22T22:00:00Z", "2026-11-23T02:00:00Z");
        let coverage = coverage(vec![gap(night.0, night.1, &[], &[night])]);
        let of = |from: &str, to: &str| missed(&coverage, at(from), at(to)) / 3_600_000_000;
        assert_eq!(of("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"), 2);
        assert_eq!(of("2026-11-20T00:00:00Z", "2026-11-24T00:00:00Z"), 4);
        assert_eq!(of("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"), 0);
    }
}
