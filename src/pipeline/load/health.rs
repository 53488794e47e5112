//! How a loader is: what it does when the store, or a read, fails, and what it says of that.

use std::time::Duration;

use tokio::time::sleep;

use crate::pipeline::writer::Ended;
use crate::secrets;
use crate::store::StoreError;

use super::saved::State;
use super::{Failure, Loader, LoaderEnd};

/// The longest that a store may ask to be left alone; what asks for more is a mistake.
const ASKED_MAX: Duration = Duration::from_hours(1);

impl Loader {
    /// Everything goes its way, or does again.
    pub(super) async fn works(&mut self) -> Result<(), Ended> {
        self.pause.reset();
        if matches!(self.health.state, State::Waiting | State::Parked) {
            tracing::info!(loader = %self.plan.name, to = %self.plan.to, "the store takes records again");
        }
        self.turn_to(State::Loading, None).await
    }

    /// A store did not take something. Waits as it is to be waited, unless this is the end.
    pub(super) async fn failed(&mut self, error: StoreError) -> Result<Option<LoaderEnd>, Ended> {
        let (asked, park) = match &error {
            StoreError::Busy { wait, .. } => (*wait, None),
            StoreError::Lost(_) => {
                self.is_connected = false;
                (None, None)
            }
            StoreError::Moved(_) => {
                self.lanes.values_mut().for_each(|lane| lane.is_begun = false);
                (None, None)
            }
            // Not of one batch, which would have been sent in halves: of the store itself.
            StoreError::Stop(_) | StoreError::Shrink(_) | StoreError::Refused(_) => {
                self.is_connected = false;
                let Some(park) = self.plan.park else { return Ok(Some(LoaderEnd::Parked(error))) };
                (None, Some(park))
            }
        };
        let why = format!("{:#}", anyhow::Error::new(error));
        self.wait(asked, park, &why).await?;
        Ok(None)
    }

    /// Lines could not be read: no fault of the store's.
    pub(super) async fn cannot_read(&mut self, why: &str) -> Result<(), Ended> {
        self.wait(None, None, why).await
    }

    /// Some records of a batch are to be sent again.
    pub(super) async fn pause_for(&mut self, asked: Option<Duration>, why: &str) -> Result<(), Failure> {
        self.wait(asked, None, why).await?;
        if self.stop.is_cancelled() { Err(Failure::Stopped) } else { Ok(()) }
    }

    async fn wait(&mut self, asked: Option<Duration>, park: Option<Duration>, why: &str) -> Result<(), Ended> {
        let wait = park.unwrap_or_else(|| self.pause.wait(asked.map(|asked| asked.min(ASKED_MAX))));
        let state = if park.is_some() { State::Parked } else { State::Waiting };
        let (loader, to) = (&self.plan.name, &self.plan.to);
        // A streak of failures is said once, and once more when it becomes another kind.
        match state {
            State::Parked if self.health.state != State::Parked => {
                tracing::error!(%loader, %to, "the loader is parked, and looks again every {}: {why}", humantime::format_duration(wait));
            }
            State::Waiting if self.health.state != State::Waiting => {
                tracing::warn!(%loader, %to, "the store does not take records; nothing is lost, and it is tried again: {why}");
            }
            _ => {}
        }
        self.health.retries += 1;
        self.health.error = Some(secrets::hide(why).into_owned());
        self.health.error_at = Some(self.journal.context().now());
        self.turn_to(state, Some(wait)).await?;
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sleep(wait) => {}
        }
        Ok(())
    }

    /// Turns to a state, and saves that. With `wait` it is saved in any case, for the error that comes with it.
    pub(super) async fn turn_to(&mut self, state: State, wait: Option<Duration>) -> Result<(), Ended> {
        if self.health.state == state && wait.is_none() {
            return Ok(());
        }
        let now = self.journal.context().now();
        if self.health.state != state {
            self.health.since = now;
        }
        self.health.state = state;
        self.health.until = wait.and_then(|wait| Some(now + chrono::TimeDelta::from_std(wait).ok()?));
        let is_stuck = matches!(state, State::Waiting | State::Parked);
        self.progress.send_modify(|progress| progress.is_stuck = is_stuck);
        self.journal.say(&self.health).await
    }
}
