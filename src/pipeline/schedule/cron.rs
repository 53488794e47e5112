//! Waiting for `cron:`: the cron service wakes a ticker, and the ticker decides by its own clock.
//!
//! Times of day are the wall clock's, so this follows it: where that stands still, no time of day comes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep};

use super::service::Ear;
use super::slots::{STEP, Slots};
use super::{Due, LOOK};
use crate::context::Clock;

/// How late the cron service may be: its loop looks twice a second.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// How long after a slot its ticker stops relying on the cron service.
const PATIENCE: TimeDelta = TimeDelta::seconds(2);

/// Waits for the next tick. `done` is the slot fired last; on the `first` call, the one before the restart.
pub(super) async fn wait(
    ear: &mut Ear,
    slots: &Slots,
    clock: &dyn Clock,
    done: Option<DateTime<Utc>>,
    first: bool,
) -> Due {
    // A tick that ended just after a slot still gets that slot: the service might as well have fired it now.
    let grace = if first { Duration::ZERO } else { GRACE };
    let mut after = clock.now() - grace;
    let mut rang = false;
    loop {
        let wall = clock.now();
        after = after.min(wall);
        let Some(target) = aim(slots, after, done) else { std::future::pending().await };
        if wall >= target + if rang { TimeDelta::zero() } else { PATIENCE } {
            if !rang {
                ear.complain();
            }
            if slots.is_active(wall) {
                let slot = slots.between(target - STEP, wall + STEP).map_or(target, |run| run.to);
                return Due { slot, deadline: Instant::now(), late: (wall - slot).to_std().unwrap_or_default() };
            }
            // Asleep until the window had closed, with the machine or by a jump of the clock.
            after = wall;
        }
        let rest = (target + PATIENCE - wall).to_std().unwrap_or_default();
        rang = tokio::select! {
            () = ear.ring() => true,
            () = sleep(rest.min(LOOK)) => false,
        };
    }
}

/// The next slot by the wall clock.
///
/// Where the clock was put back over `done`, by less than the rhythm's own distance, it is waited for to catch up.
/// Further back it is followed at once, so that the source never falls silent: the slots then get later names.
fn aim(slots: &Slots, after: DateTime<Utc>, done: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match done {
        Some(done) if done > after => {
            let distance = slots.rhythm().next(done).map_or(TimeDelta::zero(), |next| next - done);
            slots.next(if done - after <= distance { done } else { after })
        }
        _ => slots.next(after),
    }
}
