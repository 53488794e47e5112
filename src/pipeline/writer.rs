//! The writer: one thread that takes lines from every driver and commits them in groups.
//!
//! It is a thread of its own because it waits for the disk, and the only thing that a source ever waits for. What is
//! on its way to it is bounded in bytes: when the disk is slow or full, drivers wait here, and nobody's memory grows.

mod thread;

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::config::Durability;
use crate::context::Clock;
use crate::fs::Fs;
use crate::sink::{Committed, Position};
use crate::sinks::segments::read::Reader;
use crate::sinks::segments::{Saved, Spec};

use super::commit::{Append, Commits, Found};
use super::metrics::Metrics;
use super::state::State;
use thread::{Ends, Thread};

/// What may be on its way to the writer, in bytes: enough for several groups, and a bound on memory when it waits.
const QUEUE_BYTES_MAX: u32 = 8 << 20;

/// How groups are made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The longest that a line waits for its commit.
    pub every: Duration,
    /// A group of this many bytes is committed at once.
    pub bytes: usize,
    /// What is promised when the machine fails.
    pub durability: Durability,
    /// Below this much free space nothing is written, in bytes: a disk filled to the last byte stops other programs too.
    pub disk_free_min: u64,
}

/// How the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Lines are committed as they come.
    Writing,
    /// There is no room; everything waits, and goes on by itself.
    Full,
    /// It has ended, in order or not: nothing is taken any more.
    Ended,
}

enum Message {
    Append { append: Append, number: u64, room: OwnedSemaphorePermit },
    Open { spec: Spec, reply: oneshot::Sender<anyhow::Result<Found>> },
    State { prefix: String, reply: oneshot::Sender<State> },
    Streams { reply: oneshot::Sender<Vec<(Spec, Saved)>> },
    Close { stream: Arc<str>, reply: oneshot::Sender<()> },
    GiveUp { stream: Arc<str>, first: u64, reply: oneshot::Sender<()> },
    Flush { reply: oneshot::Sender<()> },
    Stop,
}

/// Said when the writer has ended: there is no point in going on.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the writer has ended")]
pub struct Ended;

/// How far each stream is committed, for readers in this process.
pub type Positions = Arc<RwLock<HashMap<Arc<str>, Committed>>>;

/// The drivers' end of the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    /// The lock keeps numbers in the order of sending.
    queue: Arc<Mutex<(Sender<Message>, u64)>>,
    room: Arc<Semaphore>,
    committed: watch::Receiver<u64>,
    status: watch::Receiver<Status>,
    positions: Positions,
    metrics: Metrics,
    fs: Arc<dyn Fs>,
    root: Arc<Path>,
}

/// The thread, for the one who started it.
pub struct WriterThread(std::thread::JoinHandle<anyhow::Result<()>>);

impl WriterThread {
    /// Waits for the writer's end, which follows [`Writer::stop`] or a failure of the disk. Blocks.
    ///
    /// # Errors
    /// When what was taken could not be committed.
    pub fn join(self) -> anyhow::Result<()> {
        self.0.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the writer's thread panicked")))
    }
}

impl Writer {
    /// Starts the writer over an opened data folder.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        commits: Commits,
        fs: Arc<dyn Fs>,
        root: &Path,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> std::io::Result<(Self, WriterThread)> {
        let (sender, receiver) = mpsc::channel();
        let (committed, committed_watch) = watch::channel(0);
        let (status, status_watch) = watch::channel(Status::Writing);
        let positions = Positions::default();
        let metrics = Metrics::default();
        let ends = Ends {
            fs: Arc::clone(&fs),
            root: root.to_owned(),
            clock,
            options,
            receiver,
            committed,
            status,
            positions: Arc::clone(&positions),
            metrics: metrics.clone(),
        };
        let mut thread = Thread::new(commits, ends);
        let handle = std::thread::Builder::new().name("writer".into()).spawn(move || {
            let result = thread.run();
            thread.say_ended();
            result
        })?;
        let writer = Self {
            queue: Arc::new(Mutex::new((sender, 0))),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)),
            committed: committed_watch,
            status: status_watch,
            positions,
            metrics,
            fs,
            root: root.into(),
        };
        Ok((writer, WriterThread(handle)))
    }

    /// Hands over one piece and returns its number; it is committed when [`committed`](Self::committed) reaches that.
    /// Waits while too much is on its way. Its streams have been opened.
    ///
    /// Dropping the future before it is ready hands over nothing.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn append(&self, append: Append) -> Result<u64, Ended> {
        let size = u32::try_from(append.size()).unwrap_or(u32::MAX).min(QUEUE_BYTES_MAX);
        let mut status = self.status.clone();
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(size) => room.map_err(|_| Ended)?,
            _ = status.wait_for(|status| *status == Status::Ended) => return Err(Ended),
        };
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let number = queue.1 + 1;
        queue.0.send(Message::Append { append, number, room }).map_err(|_| Ended)?;
        queue.1 = number;
        Ok(number)
    }

    /// Takes up a stream, or changes what it is declared to be.
    ///
    /// # Errors
    /// When its files cannot be read or mended, or the writer has ended.
    pub async fn open(&self, spec: Spec) -> anyhow::Result<Found> {
        self.ask(|reply| Message::Open { spec, reply }).await?
    }

    /// The committed state's entries whose keys begin with `prefix`.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn state(&self, prefix: impl Into<String>) -> Result<State, Ended> {
        let prefix = prefix.into();
        self.ask(|reply| Message::State { prefix, reply }).await
    }

    /// Every stream that has lines, with its committed state.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn streams(&self) -> Result<Vec<(Spec, Saved)>, Ended> {
        self.ask(|reply| Message::Streams { reply }).await
    }

    /// Closes a stream's active segment: its next line begins another.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn close_segment(&self, stream: Arc<str>) -> Result<(), Ended> {
        self.ask(|reply| Message::Close { stream, reply }).await
    }

    /// Gives up a stream's segments before `first`. When this returns that is committed, and they may be deleted.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn give_up_before(&self, stream: Arc<str>, first: u64) -> Result<(), Ended> {
        self.ask(|reply| Message::GiveUp { stream, first, reply }).await
    }

    /// Waits until everything handed over so far is committed.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn flush(&self) -> Result<(), Ended> {
        self.ask(|reply| Message::Flush { reply }).await
    }

    /// Asks the writer to commit what it has taken and to end.
    pub fn stop(&self) {
        // When the thread is gone there is nothing to stop.
        self.send(Message::Stop).ok();
    }

    /// The number of the last piece that is committed; it changes with every commit.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// How the writer is.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What is measured, here and by everybody who has this handle.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many bytes are on their way to the writer, and how many may be.
    pub fn queue(&self) -> (u64, u64) {
        let most = u64::from(QUEUE_BYTES_MAX);
        (most - (self.room.available_permits() as u64).min(most), most)
    }

    /// How far each stream is committed.
    pub fn positions(&self) -> Positions {
        Arc::clone(&self.positions)
    }

    /// How far one stream is committed; `None` while it has no lines.
    pub fn position(&self, stream: &str) -> Option<Committed> {
        self.positions.read().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }

    /// A reader of a stream's lines.
    pub fn reader(&self, stream: Arc<str>, from: Position) -> Reader {
        Reader::new(Arc::clone(&self.fs), &self.root, stream, from)
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply))?;
        answer.await.map_err(|_| Ended)
    }

    fn send(&self, message: Message) -> Result<(), Ended> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).0.send(message).map_err(|_| Ended)
    }
}
