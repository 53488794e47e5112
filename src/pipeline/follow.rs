//! Followers: sinks on a thread of their own, woken by each commit.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::sink::{Committed, Sink};

use super::writer::{Positions, Status, Writer};

/// A sink that failed is tried again after this time, though nothing was committed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// A follower: what it follows, and the sink itself.
struct Follower {
    /// `None` is every stream of records: not the ledger, not rejects.
    stream: Option<Arc<str>>,
    sink: Box<dyn Sink>,
    failing: bool,
}

type Map = Arc<Mutex<HashMap<String, Follower>>>;

/// Sinks that share a thread.
#[derive(Clone)]
pub struct Followers {
    map: Map,
    positions: Positions,
}

impl Followers {
    /// Starts the thread. It ends after the writer has, when everything committed has been followed.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(writer: &Writer, name: &str) -> io::Result<(Self, std::thread::JoinHandle<()>)> {
        let followers = Self { map: Map::default(), positions: writer.positions() };
        let thread = followers.clone();
        let (mut committed, mut status) = (writer.committed(), writer.status());
        let runtime = Handle::current();
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                let ended = runtime.block_on(async {
                    tokio::select! {
                        // A writer that is gone leaves nothing to wait for.
                        changed = tokio::time::timeout(RETRY_EVERY, committed.changed()) => matches!(changed, Ok(Err(_))),
                        _ = status.wait_for(|status| *status == Status::Ended) => true,
                    }
                });
                thread.follow_all();
                if ended {
                    return;
                }
            }
        })?;
        Ok((followers, handle))
    }

    /// Adds a sink under a name, in the place of an earlier one of that name.
    pub fn add(&self, name: &str, stream: Option<Arc<str>>, sink: Box<dyn Sink>) {
        self.lock().insert(name.to_owned(), Follower { stream, sink, failing: false });
    }

    /// Brings a sink up to what is committed now, and takes it out.
    pub fn remove(&self, name: &str) {
        let removed = self.lock().remove(name);
        if let Some(mut follower) = removed {
            follower.follow(name, &self.snapshot());
        }
    }

    fn follow_all(&self) {
        let positions = self.snapshot();
        // A sink whose reader has gone away is done.
        self.lock().retain(|name, follower| follower.follow(name, &positions));
    }

    fn snapshot(&self) -> HashMap<Arc<str>, Committed> {
        self.positions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Follower>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Whether the sink wants more.
    fn follow(&mut self, name: &str, positions: &HashMap<Arc<str>, Committed>) -> bool {
        let follow = |(stream, committed): (&Arc<str>, &Committed)| self.sink.follow(stream, *committed);
        let result = match &self.stream {
            Some(stream) => positions.get_key_value(stream).map_or(Ok(()), follow),
            None => positions.iter().filter(|(stream, _)| !stream.starts_with('_')).try_for_each(follow),
        };
        match result {
            Ok(()) => self.failing = false,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(sink = name, error = %error, "a sink cannot go on; it is tried again, and misses nothing");
                }
            }
        }
        true
    }
}
