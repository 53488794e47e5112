//! The contract between a store and the loop that loads into it.
//!
//! A loader carries segments into a store. What is the same for all stores (reading, framing, retrying, bisecting, dead
//! letters, positions) is `pipeline/load`; a store only speaks its protocol, and sorts what it is told into the words
//! of this file.

mod batch;
mod target;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::context::Context;
use crate::sink::Position;

pub use self::batch::{Batch, Entry, Ids, Parts, streams_of_letters};
pub use self::target::{Target, expand_stream};

/// A place that records are carried to.
///
/// No retry loop, no sleep, no metric and no shutdown branch: those are the loop's.
#[async_trait]
pub trait Store: Send {
    /// Connects, and checks that the store is what it should be. Called before the first batch, and again after
    /// [`StoreError::Lost`] and after a park.
    ///
    /// # Errors
    /// Each variant of [`StoreError`] is an instruction to the loop.
    async fn connect(&mut self) -> Result<(), StoreError>;

    /// Finds out whether the store would take records, for those who look, and changes nothing there.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    async fn look(&mut self) -> Result<(), StoreError> {
        self.connect().await
    }

    /// Takes up a stream: makes what the store needs for it, and returns how far it has it.
    ///
    /// Called once for each stream after every [`connect`](Self::connect), before its first batch.
    ///
    /// # Errors
    /// Each variant of [`StoreError`] is an instruction to the loop.
    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError>;

    /// Sends one batch, and returns once the store has answered for all of it.
    ///
    /// The same batch may come again, whole or in part, after any failure and any restart: what the store has already
    /// is not stored twice. When the future is dropped, the batch comes again.
    ///
    /// # Errors
    /// Each variant of [`StoreError`] is an instruction to the loop, for the whole batch.
    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError>;

    /// The first request for this batch as a person reads it, for `tapline load --dry-run`. No secrets.
    fn preview(&self, batch: &Batch) -> String;

    /// Whether the store recognises what comes again by the bounds of the batch that brought it. The loop then saves
    /// the bounds before it sends, and after a restart sends the same batch again.
    fn is_by_batch(&self) -> bool {
        false
    }

    /// Whether what comes again is there twice. The loop then has its position on disk before it sends the next batch, so
    /// that no more than one comes again.
    fn doubles(&self) -> bool {
        false
    }
}

/// A stream as a store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Feed {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The identity of the data folder that the stream is in. Two folders may have streams of one name: their positions
    /// are never mixed up.
    pub origin: Arc<str>,
}

/// Ends the origin of a feed that brings dead letters again.
const REDRIVE: &str = "/redrive";

impl Feed {
    /// The feed that brings this stream's dead letters again: its positions are those of the letters, and are kept apart.
    #[must_use]
    pub fn redrive(&self) -> Self {
        let origin =
            if self.is_redrive() { Arc::clone(&self.origin) } else { format!("{}{REDRIVE}", self.origin).into() };
        Self { stream: Arc::clone(&self.stream), origin }
    }

    /// Whether it brings dead letters again. A store whose ids must grow has larger ones from the stream itself.
    pub fn is_redrive(&self) -> bool {
        self.origin.ends_with(REDRIVE)
    }
}

/// How far a store has a stream, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It cannot say: the loop's own position counts.
    Unknown,
    /// It has nothing of it.
    Nothing,
    /// It has everything before this position.
    At(Position),
}

/// What a store answered to a batch that it took. Records that are not named were stored, or were there already.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sent {
    /// How many were there already.
    pub exists: u64,
    /// Records to send again, by their index in the batch.
    pub retry: Vec<(usize, String)>,
    /// Records that the store will never take, by their index in the batch.
    pub dead: Vec<(usize, String)>,
    /// How long the store wants to be left alone before what is sent again.
    pub wait: Option<Duration>,
}

/// Why a batch was not taken, named by what the loop does about it. Every variant keeps its cause.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection broke, or could not be made: connect again, then send the same.
    #[error("connection lost")]
    Lost(#[source] anyhow::Error),
    /// The store is too busy, or not ready: send the same later.
    #[error("the store is busy")]
    Busy {
        /// How long it wants to be left alone, if it said so.
        wait: Option<Duration>,
        /// What it answered.
        #[source]
        cause: anyhow::Error,
    },
    /// The batch is too large: send it in halves. A single record that is too large is dead.
    #[error("too large")]
    Shrink(#[source] anyhow::Error),
    /// A record of the batch cannot be stored, and the store does not say which: halves find it.
    #[error("refused")]
    Refused(#[source] anyhow::Error),
    /// Sending again cannot help until somebody does something: the loader parks, and looks again now and then.
    #[error("refused until somebody acts")]
    Stop(#[source] anyhow::Error),
    /// The store's position of the stream is not where it was: somebody else has loaded. Ask it again.
    #[error("the store's position has moved")]
    Moved(#[source] anyhow::Error),
}

impl StoreError {
    /// A store that is busy and does not say for how long.
    pub fn busy(cause: impl Into<anyhow::Error>) -> Self {
        Self::Busy { wait: None, cause: cause.into() }
    }
}

/// How batches are made for a store, unless its user says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most records.
    pub records: usize,
    /// About the most bytes of lines; one line may be more.
    pub bytes: usize,
    /// How long a batch that is not full waits for more.
    pub wait: Duration,
    /// Whether only segments are taken that are closed.
    pub closed: bool,
}

/// Makes a store of where it is and of what it needs from the world. No network yet.
pub type OpenStore = fn(Target, &Context) -> anyhow::Result<Box<dyn Store>>;

/// One kind of store: a line of the list in `loaders/mod.rs`.
pub struct StoreKind {
    /// Its name, in one word.
    pub name: &'static str,
    /// The schemes of its addresses.
    pub schemes: &'static [&'static str],
    /// One sentence for lists.
    pub about: &'static str,
    /// How a record is there once.
    pub once: &'static str,
    /// An address. A test opens it, and the docs print it.
    pub example: &'static str,
    /// What may stand in the address's query that is ours: name, and what it is for.
    pub options: &'static [(&'static str, &'static str)],
    /// How batches are made.
    pub limits: Limits,
    /// Makes it.
    pub open: OpenStore,
}
