//! The pulse of a running service: every few seconds it commits what time it is. Who looks from another process sees by
//! this that the service's loop turns, its writer takes and its disk commits, also where no source has anything to say.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::to_raw_value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::context::Context;
use crate::record::time_text;

use super::commit::Append;
use super::state::State;
use super::writer::{Ended, Writer};

/// The key of the last beat in the commit log.
pub const PULSE_KEY: &str = "pulse";

/// The time between two beats. Each is one commit, if nothing else is to be committed then.
pub const BEAT_EVERY: Duration = Duration::from_secs(10);

/// The beats of one service.
pub struct Pulse {
    writer: Writer,
    context: Context,
    /// When the last one was begun; at first, when the service was started, which its lock says.
    last: Instant,
    beat: Option<JoinHandle<Result<(), Ended>>>,
}

impl Pulse {
    /// A pulse whose first beat is due in [`BEAT_EVERY`].
    pub fn new(writer: Writer, context: Context) -> Self {
        Self { writer, context, last: Instant::now(), beat: None }
    }

    /// Commits what time it is, when a beat is due. It never waits: while one is not committed, because the disk is
    /// full or hangs, there is no other. Returns whether one was committed since the last call.
    pub fn beat(&mut self) -> bool {
        let is_committed = self.beat.take_if(|beat| beat.is_finished()).is_some();
        if self.beat.is_none() && self.last.elapsed() >= BEAT_EVERY {
            self.last = Instant::now();
            let (writer, now) = (self.writer.clone(), self.context.now());
            self.beat = Some(tokio::spawn(async move { commit(&writer, now).await }));
        }
        is_committed
    }
}

async fn commit(writer: &Writer, now: DateTime<Utc>) -> Result<(), Ended> {
    let now = to_raw_value(&time_text(&now)).expect("invariant: a text has a JSON form");
    let mut committed = writer.committed();
    let number = writer.append(Append { lines: Vec::new(), state: vec![(PULSE_KEY.to_owned(), Some(now))] }).await?;
    committed.wait_for(|committed| *committed >= number).await.map(drop).map_err(|_| Ended)
}

/// The last beat that is committed; `None` in a folder whose service has not lived long enough for one.
pub fn last_beat(state: &State) -> Option<DateTime<Utc>> {
    serde_json::from_str(state.get(PULSE_KEY)?.get()).ok()
}
