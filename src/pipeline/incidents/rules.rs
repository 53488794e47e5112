//! When something that is wrong is an incident.

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::Kind;
use crate::config;
use crate::units::Span;

use super::Condition;

/// A file that is written, or compressed, takes room for a moment.
const ROOM_AFTER: TimeDelta = TimeDelta::minutes(1);

/// Those that break together become due one after the other. The first waits for the next for a part of the time that it
/// has waited anyway, and so long at most.
const GATHER_PART: i32 = 10;
const GATHER_MAX: TimeDelta = TimeDelta::seconds(30);

/// The last is waited for no longer than so many such times.
const GATHER_TIMES: i32 = 4;

/// The thresholds. All of them are those of `incidents:` in the service's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    after: TimeDelta,
    ticks: u64,
    at_latest: TimeDelta,
    store_after: TimeDelta,
    behind: TimeDelta,
    pub(super) over_after: TimeDelta,
    pub(super) remind_every: TimeDelta,
    pub(super) per_hour: usize,
}

impl From<&config::Incidents> for Rules {
    fn from(keys: &config::Incidents) -> Self {
        let length = |span: Span| TimeDelta::from_std(span.0).unwrap_or(TimeDelta::MAX);
        Self {
            after: length(keys.after),
            ticks: keys.ticks,
            at_latest: length(keys.at_latest),
            store_after: length(keys.store_after),
            behind: length(keys.behind),
            over_after: length(keys.over_after),
            remind_every: length(keys.remind_every),
            per_hour: keys.per_hour,
        }
    }
}

impl Rules {
    /// Whether everything has come that comes together, when the first and the last of it came then.
    pub(super) fn is_whole(&self, first: DateTime<Utc>, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let gather = (self.after / GATHER_PART).min(GATHER_MAX);
        now - last >= gather || now - first >= gather * GATHER_TIMES
    }

    /// Whether a condition has held for long enough.
    pub(super) fn is_due(&self, condition: &Condition, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let held = now - since;
        match condition.kind {
            Kind::DiskFull
            | Kind::Stopped
            | Kind::Damage
            | Kind::Refused
            | Kind::Stalled
            | Kind::OverBudget
            | Kind::FieldGone => true,
            Kind::DiskNearlyFull => held >= ROOM_AFTER.min(self.after),
            Kind::LayoutChanged | Kind::Blocked | Kind::Broken if condition.enough.is_some() => {
                condition.enough.is_some_and(|enough| condition.count >= enough)
            }
            Kind::LayoutChanged | Kind::Blocked | Kind::Broken if condition.count > 0 => {
                // Only what ticks have shown counts: a market that closes with a failure is not broken all night.
                let shown = condition.last.unwrap_or(now) - since;
                if condition.count >= self.ticks { shown >= self.after } else { held >= self.at_latest }
            }
            Kind::LayoutChanged | Kind::Blocked | Kind::Broken | Kind::LoaderParked | Kind::BrokenFile => {
                held >= self.after
            }
            Kind::StoreDown => held >= self.store_after,
            Kind::LoaderBehind => held >= self.behind,
        }
    }
}

/// What waits for nothing, and is told even when more messages are held back.
pub(super) fn is_urgent(kind: Kind) -> bool {
    matches!(kind, Kind::DiskFull | Kind::Stopped | Kind::Damage)
}
