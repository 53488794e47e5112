//! Where a loader's lines come from: the streams of this process's own writer, or what a command gives it.

use std::io;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pipeline::writer::{Status, Writer};
use crate::sink::{Committed, Position};
use crate::sinks::segments::read::Reader;
use crate::store::{Feed, Ids};

/// Lines of one stream, in order.
pub trait Lines: Send {
    /// Appends whole lines of one segment to `out`, about `at_most` bytes of them and at least one. Returns where the
    /// first begins, or `None` when there is nothing more yet. Blocks.
    ///
    /// # Errors
    /// When they cannot be read. The call may be repeated.
    fn read(&mut self, committed: Committed, at_most: usize, out: &mut Vec<u8>) -> io::Result<Option<Position>>;
}

impl Lines for Reader {
    fn read(&mut self, committed: Committed, at_most: usize, out: &mut Vec<u8>) -> io::Result<Option<Position>> {
        Self::read(self, committed, at_most, out)
    }
}

/// Where a loader's lines come from.
#[async_trait]
pub trait Supply: Send + Sync {
    /// Every stream that there is, and how far it may be read.
    ///
    /// # Errors
    /// When that cannot be found out now.
    fn streams(&mut self) -> anyhow::Result<Vec<(Arc<str>, Committed)>>;

    /// What a store is to know one of these as, and where the ids of its lines are.
    fn feed(&self, stream: &Arc<str>) -> (Feed, Ids);

    /// A stream's lines from a position on.
    fn lines(&self, stream: &Arc<str>, from: Position) -> Box<dyn Lines>;

    /// Waits until there may be more. Returns whether more may ever come.
    async fn changed(&mut self) -> bool;
}

/// The streams that this process writes.
pub struct Own {
    writer: Writer,
    origin: Arc<str>,
    over: CancellationToken,
    committed: watch::Receiver<u64>,
    status: watch::Receiver<Status>,
}

impl Own {
    /// The streams of this writer, whose data folder has this identity. When `over` is cancelled, nothing more is
    /// committed.
    pub fn new(writer: Writer, origin: Arc<str>, over: CancellationToken) -> Self {
        Self { committed: writer.committed(), status: writer.status(), writer, origin, over }
    }
}

#[async_trait]
impl Supply for Own {
    fn streams(&mut self) -> anyhow::Result<Vec<(Arc<str>, Committed)>> {
        let positions = self.writer.positions();
        let positions = positions.read().unwrap_or_else(PoisonError::into_inner);
        Ok(positions.iter().map(|(stream, committed)| (Arc::clone(stream), *committed)).collect())
    }

    fn feed(&self, stream: &Arc<str>) -> (Feed, Ids) {
        (Feed { stream: Arc::clone(stream), origin: Arc::clone(&self.origin) }, Ids::Record)
    }

    fn lines(&self, stream: &Arc<str>, from: Position) -> Box<dyn Lines> {
        Box::new(self.writer.reader(Arc::clone(stream), from))
    }

    async fn changed(&mut self) -> bool {
        tokio::select! {
            () = self.over.cancelled() => false,
            changed = self.committed.changed() => changed.is_ok(),
            _ = self.status.wait_for(|status| *status == Status::Ended) => false,
        }
    }
}
