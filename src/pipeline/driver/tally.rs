//! What a source has done so far, in numbers, and what state it is in: what `tapline status` shows. It is part of the
//! saved state, so that another process can read it and a restart continues it.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use crate::secrets;
use crate::source::{Budget, Outcome};

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
