//! Fake servers of server-sent events: a plain one that replays, one that speaks as Mastodon's streaming API does, and one as
//! Wikimedia's `EventStreams`. Faithful to what their own code and documents say, and to what their users report.
//!
//! There is one log of events. The same event looks on each path as that server would send it.

mod endpoints;
mod faults;
mod flood;
mod mastodon;
mod plain;
mod state;
mod wikimedia;

use std::sync::Arc;
use std::time::Duration;

pub use self::faults::{Fault, Faults};
pub use self::state::{Events, Logged};
pub use super::line::Coding;
pub use super::time::Clock;
pub use super::upstream::Connection;
use super::upstream::{self, Upstream};
use super::{Simulator, time};

/// The line of the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "sse",
    about: "server-sent events: a plain stream, Mastodon's, whose token is `simulated-token`, and Wikimedia's",
    port: 8096,
    paths: &["/plain", "/api/v1/streaming/public", "/v2/stream/recentchange"],
    start: upstream::start::<Events>,
};

/// How these servers are.
#[derive(Clone)]
pub struct Settings {
    /// The token of Mastodon's path.
    pub token: String,
    /// What events are made of.
    pub seed: u64,
    /// How often an event is made; `None` when only tests make them.
    pub every: Option<Duration>,
    /// How often there is a comment on a quiet stream. Wikimedia's has none.
    pub comment_every: Duration,
    /// After how long a stream is ended in order, whatever happens on it: the edge of Wikimedia does that after a quarter of
    /// an hour.
    pub cut_after: Option<Duration>,
    /// How many streams of Wikimedia's one address may have.
    pub connections_max: usize,
    /// What the plain server says that a client should wait before it comes again, in milliseconds.
    pub retry: Option<u64>,
    /// Whether the plain server has ids, and goes on after the last one.
    pub replays: bool,
    /// Whether it sends the event of that id once more.
    pub is_inclusive: bool,
    /// How long a client may leave bytes lying in its socket before its stream is ended.
    pub patience: Duration,
    /// How streams are cut into chunks.
    pub coding: Coding,
    /// The time of day.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: "simulated-token".into(),
            seed: 1,
            every: None,
            comment_every: Duration::from_secs(15),
            cut_after: Some(Duration::from_mins(15)),
            connections_max: 2,
            retry: None,
            replays: true,
            is_inclusive: false,
            patience: Duration::from_mins(5),
            coding: Coding::default(),
            clock: Arc::new(time::now),
        }
    }
}

/// Running servers; they end when this is dropped.
pub type Sse = Upstream<Events>;

impl Sse {
    /// Makes the next event of the seed, and returns its number.
    pub fn publish(&self) -> u64 {
        self.lock().publish()
    }
}
