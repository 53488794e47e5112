//! Time as fakes tell it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

#[expect(clippy::disallowed_methods, reason = "a fake shares nothing with what it tests, not even the clock")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// How fast what a fake shows moves.
pub(super) struct Pace {
    step: Duration,
    opened: Instant,
}

impl Pace {
    /// One step in so much time from now on; zero is for what moves when it is asked for.
    pub(super) fn new(step: Duration) -> Self {
        Self { step, opened: Instant::now() }
    }

    /// How many steps there have been, where it is time that makes them.
    pub(super) fn steps(&self) -> Option<u64> {
        let steps = self.opened.elapsed().as_nanos().checked_div(self.step.as_nanos())?;
        Some(u64::try_from(steps).unwrap_or(u64::MAX))
    }
}
