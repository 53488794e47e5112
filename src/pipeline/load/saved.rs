//! What a loader saves in the commit log: how far it is with each stream, and how it is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::sink::Position;

/// The key of a loader's state.
pub fn loader_key(loader: &str) -> String {
    format!("loader/{loader}")
}

/// The key of how far a loader is with a stream; with an empty stream, how all of its keys begin.
pub fn loaded_key(loader: &str, stream: &str) -> String {
    format!("loaded/{loader}/{stream}")
}

/// The stream of a loader's dead letters.
pub fn dead_stream(loader: &str) -> String {
    format!("_dead/{loader}")
}

/// How far a loader is with one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Everything before this is in the store, or among the dead letters.
    pub at: Position,
    /// What the store has said that it has, where it keeps positions itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Position>,
    /// The bounds of the batch that is being sent, where the store goes by these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<(Position, Position)>,
    /// Records that the store took.
    pub records: u64,
    /// Records that it had already.
    pub exists: u64,
    /// Records that it will never take.
    pub dead: u64,
}

impl Loaded {
    /// Nothing has been loaded, and the first will be what stands here.
    pub fn from(at: Position) -> Self {
        Self { at, stored: None, sending: None, records: 0, exists: 0, dead: 0 }
    }
}

/// How a loader is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Where it loads to, without secrets.
    pub to: String,
    /// Which streams it loads.
    pub streams: Vec<String>,
    /// The state.
    pub state: State,
    /// Since when it is in this state.
    pub since: DateTime<Utc>,
    /// Until when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// How often something was sent again, or connected again, since the loader is.
    pub retries: u64,
    /// The last error in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_at: Option<DateTime<Utc>>,
}

/// The state of a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is about to connect for the first time.
    Connecting,
    /// It loads what there is.
    Loading,
    /// The store did not take something; it is tried again soon.
    Waiting,
    /// Somebody must act. It looks again now and then.
    Parked,
    /// The service has ended.
    Stopped,
}
