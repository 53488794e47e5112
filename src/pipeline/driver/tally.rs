//! What a source has done so far, in numbers, and what state it is in: what `tapline status` shows. It is part of the
//! saved state, so that another process can read it and a restart continues it.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use crate::config::HitRate;
use crate::item::Ignored;
use crate::pipeline::commit::Uncounted;
use crate::secrets;
use crate::source::{Ailment, Budget, Outcome};

/// How many minutes are counted one by one.
const MINUTES: usize = 15;

/// What a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// A stream is making its connection.
    #[default]
    Connecting,
    /// A stream is connected, and the connection has shown life.
    Streaming,
    /// A polled source asks at its set times.
    Scheduled,
    /// A stream waits before it connects again.
    Waiting,
    /// A source has brought as much as it may.
    OverBudget,
    /// Told to stop.
    Stopped,
    /// Upstream refuses it; its file must be edited.
    Refused,
    /// There is nothing more to come.
    Finished,
}

/// The numbers and the state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    /// When the state began.
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) state: State,
    /// Why, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// Until when, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<DateTime<Utc>>,
    /// Since when a stream has tried in vain to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<LostLine>,
    /// Records written, since the source was first started.
    pub(super) records: u64,
    pub(super) rejects: u64,
    /// Records that upstream sent again and that were not written again.
    pub(super) duplicates: u64,
    /// What came and is not wanted, by the key that says so.
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    pub(super) ignored: Ignored,
    /// Ticks of a polled source by their outcome, and those that nobody was there for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) outcomes: BTreeMap<Outcome, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) missed: u64,
    /// Connections of a stream that showed life.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) connects: u64,
    /// When the last record was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) record_at: Option<DateTime<Utc>>,
    /// When upstream says that the last record happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published_at: Option<DateTime<Utc>>,
    /// Records of the last minutes that had any: the minute (unix time / 60) and how many, newest last.
    pub(super) minutes: VecDeque<(i64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spent: Option<Spent>,
    /// Of the last ticks that asked, `+` for each good one and `-` for the others, the newest last.
    #[serde(skip_serializing_if = "String::is_empty")]
    hits: String,
    /// What the last of them was that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    /// Since when too few of them are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreliable: Option<Unreliable>,
    /// What is not as it should be though records come, by what it is about.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ailments: BTreeMap<String, Ailing>,
}

/// A tick that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    outcome: Outcome,
    reason: String,
}

/// That too few of the last ticks are good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unreliable {
    since: DateTime<Utc>,
    failed: usize,
    of: usize,
    /// What the last failure was.
    outcome: Outcome,
    reason: String,
}

/// Something that is not as it should be though records come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ailing {
    since: DateTime<Utc>,
    why: String,
}

/// A stream that has no connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LostLine {
    /// When it was first tried again in vain, or lost.
    at: DateTime<Utc>,
    /// What the failures are, as the ticks of a polled source have it: an error, or a block.
    outcome: Outcome,
}

/// Records of this day and this month, in UTC: what a budget is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    day: NaiveDate,
    today: u64,
    month: NaiveDate,
    this_month: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tally {
    /// Takes up a state. One that goes on keeps its beginning.
    pub(super) fn enter(
        &mut self,
        state: State,
        why: Option<String>,
        until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) {
        if self.state != state || self.since.is_none() {
            self.since = Some(now);
        }
        let why = why.map(|why| secrets::hide(&why).into_owned());
        (self.state, self.why, self.until) = (state, why, until);
    }

    /// A connection was lost, or could not be made.
    pub(super) fn lose(&mut self, outcome: Outcome, now: DateTime<Utc>) {
        let at = self.lost.as_ref().map_or(now, |lost| lost.at);
        self.lost = Some(LostLine { at, outcome });
    }

    /// Counts ticks towards the part of the last ones that was good. Those that did not ask tell nothing.
    pub(super) fn hit(&mut self, rate: HitRate, outcome: Outcome, reason: &str, count: u64, now: DateTime<Utc>) {
        if outcome == Outcome::Skipped {
            return;
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(rate.ticks());
        self.hits.extend(std::iter::repeat_n(if outcome.is_good() { '+' } else { '-' }, count));
        self.hits.drain(..self.hits.len().saturating_sub(rate.ticks()));
        let (failed, of) = (self.hits.bytes().filter(|hit| *hit == b'-').count(), self.hits.len());
        if failed == 0 {
            self.failure = None;
        } else if !outcome.is_good() {
            self.failure = Some(Failure { outcome, reason: secrets::hide(reason).into_owned() });
        }
        let since = self.unreliable.take().map_or(now, |before| before.since);
        if let Some(Failure { outcome, reason }) = self.failure.clone().filter(|_| rate.is_missed(failed, of)) {
            self.unreliable = Some(Unreliable { since, failed, of, outcome, reason });
        }
    }

    /// Takes up what is not as it should be.
    pub(super) fn ail(&mut self, ailments: Vec<Ailment>, now: DateTime<Utc>) {
        let mut before = std::mem::take(&mut self.ailments);
        self.ailments = ailments
            .into_iter()
            .map(|Ailment { about, why }| {
                let since = before.remove(&about).map_or(now, |before| before.since);
                (about, Ailing { since, why: secrets::hide(&why).into_owned() })
            })
            .collect();
    }

    /// Counts records that are written.
    pub(super) fn count(&mut self, records: u64, published_at: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        if records == 0 {
            return;
        }
        self.records += records;
        self.record_at = Some(now);
        self.published_at = published_at;
        let minute = now.timestamp().div_euclid(60);
        match self.minutes.back_mut() {
            Some((last, count)) if *last == minute => *count += records,
            _ => self.minutes.push_back((minute, records)),
        }
        if self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
        let spent = self.spent_at(now);
        spent.today += records;
        spent.this_month += records;
    }

    /// Counts what recovery kept.
    pub(super) fn take_up(&mut self, uncounted: &Uncounted) {
        let now = uncounted.last_at.or(self.record_at).unwrap_or_default();
        self.count(uncounted.records, None, now);
        self.rejects += uncounted.rejects;
    }

    fn spent_at(&mut self, now: DateTime<Utc>) -> &mut Spent {
        let day = now.date_naive();
        let month = day.with_day(1).expect("invariant: every month has a first day");
        let spent = self.spent.get_or_insert(Spent { day, today: 0, month, this_month: 0 });
        if spent.day != day {
            (spent.day, spent.today) = (day, 0);
        }
        if spent.month != month {
            (spent.month, spent.this_month) = (month, 0);
        }
        spent
    }

    /// Until when there is nothing left of the budget, and which part of it is used up.
    pub(super) fn over(&mut self, budget: Budget, now: DateTime<Utc>) -> Option<(DateTime<Utc>, String)> {
        let Spent { day, today, month, this_month } = *self.spent_at(now);
        let used_up = |spent: u64, limit: Option<u64>| limit.filter(|limit| spent >= *limit);
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        if let Some(limit) = used_up(this_month, budget.per_month) {
            return Some((
                midnight(month + Months::new(1)),
                format!("the budget of {limit} records a month is used up: {this_month} since {month}"),
            ));
        }
        let limit = used_up(today, budget.per_day)?;
        Some((
            midnight(day + Days::new(1)),
            format!("the budget of {limit} records a day is used up: {today} on {day} (UTC)"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_fails_each_third_time_is_unreliable() {
        let now = at("2026-11-23T12:00:00Z");
        let rate = HitRate::Of { percent: 95, ticks: 20 };
        let mut tally = Tally::default();
        let mut tick = |number: i64, fails: bool| {
            let outcome = if fails { Outcome::Missing } else { Outcome::Ok };
            tally.hit(rate, outcome, if fails { "gone" } else { "" }, 1, now + chrono::TimeDelta::seconds(number));
            // What did not ask tells nothing.
            tally.hit(rate, Outcome::Skipped, "busy", 1, now);
            tally = serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap();
            tally.unreliable.clone().map(|low| (low.since - now, low.failed, low.of, low.reason))
        };
        let firsts: Vec<_> = (1..=20).map(|number| tick(number, number % 3 == 0)).collect();
        assert!(firsts[..19].iter().all(Option::is_none), "too few to tell");
        let since = chrono::TimeDelta::seconds(20);
        assert_eq!(firsts[19], Some((since, 6, 20, "gone".to_owned())));
        assert_eq!(tick(21, true), Some((since, 7, 20, "gone".to_owned())));
        let good: Vec<_> = (22..=60).map(|number| tick(number, false)).collect();
        assert!(good[15].is_some() && good[16..].iter().all(Option::is_none), "one in twenty is allowed: {good:?}");
        tally.hit(HitRate::Off, Outcome::Error, "", u64::MAX, now);
        assert!(tally.hits.is_empty() && tally.unreliable.is_none());
    }

    #[test]
    fn what_ails_keeps_its_beginning() {
        let ailment = |about: &str| Ailment { about: about.into(), why: "gone".into() };
        let mut tally = Tally::default();
        let since = |tally: &Tally| {
            tally
                .ailments
                .iter()
                .map(|(about, ailing)| format!("{about} {}", ailing.since.timestamp()))
                .collect::<Vec<_>>()
        };
        tally.ail(vec![ailment("a")], DateTime::from_timestamp(1, 0).unwrap());
        tally.ail(vec![ailment("b"), ailment("a")], DateTime::from_timestamp(2, 0).unwrap());
        assert_eq!(since(&tally), ["a 1", "b 2"]);
        tally.ail(vec![ailment("b")], DateTime::from_timestamp(3, 0).unwrap());
        assert_eq!(since(&tally), ["b 2"]);
    }

    #[test]
    fn a_budget_ends_with_its_day_or_its_month() {
        let mut tally = Tally::default();
        let budget = Budget { per_day: Some(10), per_month: Some(15) };
        tally.count(9, None, at("2026-12-30T23:00:00Z"));
        assert_eq!(tally.over(budget, at("2026-12-30T23:00:00Z")), None);
        tally.count(1, None, at("2026-12-30T23:59:59Z"));
        let (until, why) = tally.over(budget, at("2026-12-30T23:59:59Z")).unwrap();
        assert_eq!(until, at("2026-12-31T00:00:00Z"));
        assert_eq!(why, "the budget of 10 records a day is used up: 10 on 2026-12-30 (UTC)");
        assert_eq!(tally.over(budget, until), None, "a new day");
        tally.count(5, None, until);
        let (until, why) = tally.over(budget, until).unwrap();
        assert_eq!(until, at("2027-01-01T00:00:00Z"));
        assert!(why.contains("a month"), "{why}");
        assert_eq!(tally.over(budget, until), None, "a new month");
        assert_eq!(tally.over(Budget::default(), at("2026-12-31T01:00:00Z")), None, "no budget, no end");
    }

    #[test]
    fn the_count_survives_a_restart() {
        let mut tally = Tally::default();
        let now = at("2026-12-30T23:00:00Z");
        tally.count(9, Some(now), now);
        let mut read: Tally = serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap();
        assert!(read.over(Budget { per_day: Some(9), per_month: None }, now).is_some());
        assert_eq!((read.records, read.minutes.len()), (9, 1));
    }
}
