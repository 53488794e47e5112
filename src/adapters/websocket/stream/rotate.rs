//! A connection that is replaced by a new one before its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Open, Stream, open};
use crate::fetch::live::NotOpen;
use crate::source::Note;

/// How long the old connection is kept once there is a new one, at most.
const OVERLAP_MAX: Duration = Duration::from_secs(10);

/// When a new connection could not be made, it is tried again after this.
const ROTATE_AGAIN: Duration = Duration::from_secs(30);

impl Stream {
    /// Says that messages are not compressed, once for each reason.
    pub(super) fn say_plain(&mut self, made: &Open) {
        if self.plain_because != made.plain_because {
            let why = made.plain_because.as_ref().map(|why| format!("messages are not compressed: {why}"));
            self.notes.extend(why.map(|why| Note::new("control", json!({ "why": why, "ends": false }))));
            self.plain_because.clone_from(&made.plain_because);
        }
    }

    /// Begins to make a new connection once this one is old.
    pub(super) fn rotate(&mut self) {
        if self.opening.is_some() || self.old.is_some() || self.rotate_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.rotate_at = None;
        self.opening = Some(Box::pin(open(Arc::clone(&self.terms), self.context.clone(), self.spot.clone())));
    }

    pub(super) fn replace(&mut self, made: Result<Open, NotOpen>) {
        match made {
            Ok(new) => {
                self.rotate_at = self.terms.rotate.map(|age| new.since + age);
                self.say_plain(&new);
                let old = self.open.replace(new);
                self.old = old.map(|old| (old, Instant::now() + OVERLAP_MAX));
                self.notes.push(Note::new(
                    "control",
                    json!({ "why": "the connection was replaced before its end", "ends": false }),
                ));
            }
            Err(not_open) => {
                let why = format!("the connection could not be replaced yet: {:#}", anyhow::Error::new(not_open.error));
                self.notes.push(Note::new("control", json!({ "why": why, "ends": false })));
                self.rotate_at = Some(Instant::now() + ROTATE_AGAIN);
            }
        }
    }

    /// Ends the connection that was replaced, if its time has come.
    pub(super) fn let_go(&mut self) {
        if let Some((old, _)) = self.old.take_if(|(_, until)| *until <= Instant::now()) {
            tokio::spawn(old.socket.close());
        }
    }
}
