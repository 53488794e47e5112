//! What was missed, and how to get it: pure planning, and the words of the requests.
//!
//! X offers three ways (docs.x.com, "Recovery and redundancy features"): the last minutes with the new connection
//! itself, a window of the last day on a connection of its own, and recent search. An account has some of them or none.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::settings::Recover;

/// Posts reach the stream up to seven seconds late (docs.x.com), so what is asked for begins earlier. What comes twice
/// is recognised.
const LATENESS: TimeDelta = TimeDelta::seconds(10);

/// The most that comes with a connection.
const BACKFILL_MAX_MINUTES: i64 = 5;

/// How far back a window may begin, with a minute to be safe.
const WINDOW_REACH: TimeDelta = TimeDelta::minutes(24 * 60 - 1);

/// How far back recent search goes, with a minute to be safe.
const SEARCH_REACH: TimeDelta = TimeDelta::minutes(7 * 24 * 60 - 1);

/// A job asks no sooner than this after the end of what it asks for: search refuses times less than 10 s ago, and new
/// posts take a moment to be found.
pub(super) const SETTLED: TimeDelta = TimeDelta::seconds(15);

/// A time from `from` until `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interval {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

/// Something to be got beside the stream. Part of the cursor, so that a restart goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) by: Recover,
    #[serde(flatten)]
    pub(super) interval: Interval,
    /// Search: the rule that is at hand, by its place in the account's list.
    #[serde(default)]
    pub(super) rule: usize,
    /// Search: everything from this id on has been got, because it comes newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until_id: Option<String>,
    /// How often it was tried in vain.
    #[serde(default)]
    pub(super) failures: u32,
}

/// How to get what was missed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovery {
    /// For `backfill_minutes`.
    pub(super) backfill_minutes: Option<i64>,
    /// What of it the backfill covers.
    pub(super) backfilled: Option<Interval>,
    /// The rest.
    pub(super) jobs: Vec<Job>,
}

/// Plans how to get `missed` with what the account `may` use.
pub(super) fn plan(missed: Interval, may: &[Recover]) -> Recovery {
    let mut recovery = Recovery::default();
    let now = missed.to;
    let from = missed.from - LATENESS;
    let mut rest = Interval { from, to: now };
    if may.contains(&Recover::Backfill) {
        let minutes = ((now - from).num_milliseconds() + 59_999).div_euclid(60_000).clamp(1, BACKFILL_MAX_MINUTES);
        let reach = now - TimeDelta::minutes(minutes);
        recovery.backfill_minutes = Some(minutes);
        recovery.backfilled = Some(Interval { from: reach.max(from), to: now });
        rest.to = reach;
    }
    // What one way does not reach, the next may.
    for (by, reach) in [(Recover::Window, WINDOW_REACH), (Recover::Search, SEARCH_REACH)] {
        let begin = rest.from.max(now - reach);
        if may.contains(&by) && begin < rest.to {
            let interval = Interval { from: begin, to: rest.to };
            recovery.jobs.push(Job { by, interval, rule: 0, until_id: None, failures: 0 });
            rest.to = begin;
        }
    }
    recovery
}

/// The times of a request that covers an interval: whole seconds, outwards.
pub(super) fn times(interval: Interval) -> [(String, String); 2] {
    let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let to = interval.to + TimeDelta::milliseconds(999);
    [("start_time".into(), text(interval.from)), ("end_time".into(), text(to))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Recover::{Backfill, Search, Window};
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn missed(seconds: i64) -> Interval {
        let to = at("2026-11-23T12:00:00Z");
        Interval { from: to - TimeDelta::seconds(seconds), to }
    }

    fn shown(seconds: i64, may: &[Recover]) -> String {
        let Recovery { backfill_minutes, jobs, .. } = plan(missed(seconds), may);
        let jobs = jobs.iter().map(|job| {
            let text = |at: DateTime<Utc>| at.format("%d %H:%M:%S");
            format!(" {:?} {}..{}", job.by, text(job.interval.from), text(job.interval.to))
        });
        backfill_minutes.map(|minutes| minutes.to_string()).unwrap_or_default() + &jobs.collect::<String>()
    }

    #[test]
    fn each_gap_is_got_by_what_reaches_it() {
        let all = [Backfill, Window, Search];
        assert_eq!(shown(1, &[Backfill]), "1");
        assert_eq!(shown(90, &all), "2");
        assert_eq!(shown(7 * 60, &[Backfill]), "5", "the rest stays a gap");
        assert_eq!(shown(7 * 60, &all), "5 Window 23 11:52:50..23 11:55:00");
        assert_eq!(shown(30 * 3600, &all), "5 Window 22 12:01:00..23 11:55:00 Search 22 05:59:50..22 12:01:00");
        assert_eq!(shown(9 * 86_400, &[Search]), " Search 16 12:01:00..23 12:00:00");
        assert_eq!(shown(60, &[]), "");
    }

    #[test]
    fn times_are_whole_seconds_outwards() {
        let interval = Interval { from: at("2026-11-23T11:52:50.9Z"), to: at("2026-11-23T11:55:00.001Z") };
        let [from, to] = times(interval).map(|(_, value)| value);
        assert_eq!((from.as_str(), to.as_str()), ("2026-11-23T11:52:50Z", "2026-11-23T11:55:01Z"));
    }

    proptest! {
        /// Without holes, without overlap, and nothing that no way reaches.
        #[test]
        fn the_parts_make_the_whole(seconds in 0_i64..700_000, bits in 0_usize..8) {
            let may: Vec<Recover> = [Backfill, Window, Search].into_iter().enumerate()
                .filter(|(index, _)| bits >> index & 1 == 1).map(|(_, by)| by).collect();
            let missed = missed(seconds);
            let recovery = plan(missed, &may);
            let mut covered_from = missed.to;
            let parts = recovery.backfilled.into_iter().chain(recovery.jobs.iter().map(|job| job.interval));
            for part in parts {
                prop_assert_eq!(part.to, covered_from);
                prop_assert!(part.from < part.to);
                covered_from = part.from;
            }
            let reach = if may.contains(&Search) { SEARCH_REACH } else if may.contains(&Window) { WINDOW_REACH }
                else if may.contains(&Backfill) { TimeDelta::minutes(5) } else { TimeDelta::zero() };
            prop_assert_eq!(covered_from, (missed.from - LATENESS).max(missed.to - reach));
        }
    }
}
