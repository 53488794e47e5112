//! Waiting for `every:`, on fixed deadlines of the steady clock.
//!
//! A slot is named by the wall clock, but the wall clock may jump; so the steady clock says when the next tick may be
//! earliest (one period after the last deadline), and the wall clock only which slot that is and where in the period it
//! lies. With a wall clock that runs true, the two agree and each slot is fired at its own time. Whatever the wall clock
//! does, two deadlines are at least nine tenths of a period apart, and never two periods (windows aside).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep_until};

use super::slots::Slots;
use super::{Due, LOOK, Mark};
use crate::context::Clock;

/// How far the two clocks may disagree, and how late the last tick may have ended, before a slot is given up. A tenth
/// of a period is far more than a clock is slewed by, and keeps the deadlines apart.
pub(super) fn slack(every: Duration) -> Duration {
    every / 10
}

/// Waits for the next tick. Called later than it was due, it waits for a new slot; woken late, it fires the old one.
pub(super) async fn wait(every: Duration, slots: &Slots, clock: &dyn Clock, mark: Option<&Mark>) -> Due {
    let entered = Instant::now();
    let (mut earliest, slack) = match mark {
        None => (entered, Duration::ZERO),
        Some(mark) => {
            let (due, slack) = (mark.deadline + every, slack(every));
            (if entered > due + slack { entered } else { due }, slack)
        }
    };
    loop {
        let now = Instant::now();
        // Woken more than a period late: only the newest slot is still fired.
        earliest = now.checked_sub(every).map_or(earliest, |recent| recent.max(earliest));
        let wall = clock.now();
        let after = wall + between(now, earliest) - TimeDelta::from_std(slack).unwrap_or_default();
        let Some(slot) = slots.next(after) else { std::future::pending().await };
        let deadline = match (slot - wall).to_std() {
            Ok(ahead) => now.checked_add(ahead).unwrap_or(now + LOOK),
            Err(_) => now.checked_sub((wall - slot).to_std().unwrap_or_default()).unwrap_or(now),
        };
        if deadline <= now {
            return Due { slot, deadline, late: now - deadline };
        }
        sleep_until(deadline.min(now + LOOK)).await;
    }
}

/// From one instant to another, which may be before it.
fn between(from: Instant, to: Instant) -> TimeDelta {
    let span = |span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    if to >= from { span(to - from) } else { -span(from - to) }
}

/// Whether the wall clock went further than the steady clock did since the last tick, by more than it is slewed.
pub(super) fn stepped(mark: &Mark, at: Instant, wall: DateTime<Utc>, tolerance: Duration) -> bool {
    (wall - mark.wall) - between(mark.at, at) > TimeDelta::from_std(tolerance).unwrap_or(TimeDelta::MAX)
}
