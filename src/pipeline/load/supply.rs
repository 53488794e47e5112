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

use super::redrive::Redrive;

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

    /// What of a stream is closed, and will never be longer.
    fn closed(&self, committed: Committed) -> Committed {
        committed.closed()
    }

    /// Waits until there may be more. Returns whether more may ever come.
    async fn changed(&mut self) -> bool;
}

/// The streams that this process writes.
pub struct Own {
    writer: Writer,
    origin: Arc<str>,
    over: CancellationToken,
    redrive: watch::Receiver<Option<Redrive>>,
    only_redrive: bool,
    committed: watch::Receiver<u64>,
    status: watch::Receiver<Status>,
}

impl Own {
    /// The streams of this writer, whose data folder has this identity, and the dead letters that are asked for through
    /// `redrive`. When `over` is cancelled, nothing more is committed.
    pub fn new(
        writer: Writer,
        origin: Arc<str>,
        redrive: watch::Receiver<Option<Redrive>>,
        over: CancellationToken,
    ) -> Self {
        let (committed, status) = (writer.committed(), writer.status());
        Self { committed, status, writer, origin, over, redrive, only_redrive: false }
    }

    /// Only these dead letters, and nothing else.
    pub fn only_redrive(writer: Writer, origin: Arc<str>, redrive: Redrive) -> Self {
        let over = CancellationToken::new();
        over.cancel();
        Self { only_redrive: true, ..Self::new(writer, origin, watch::channel(Some(redrive)).1, over) }
    }
}

#[async_trait]
impl Supply for Own {
    fn streams(&mut self) -> anyhow::Result<Vec<(Arc<str>, Committed)>> {
        let mut all = Vec::new();
        if !self.only_redrive {
            let positions = self.writer.positions();
            let positions = positions.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(positions.iter().map(|(stream, committed)| (Arc::clone(stream), *committed)));
        }
        if let Some(redrive) = &*self.redrive.borrow() {
            all.extend(redrive.lanes());
        }
        Ok(all)
    }

    fn feed(&self, key: &Arc<str>) -> (Feed, Ids) {
        let redrive = self.redrive.borrow();
        let origin = Arc::clone(&self.origin);
        match redrive.as_ref().and_then(|redrive| redrive.stream_of(key)) {
            Some(stream) => (Feed { stream: Arc::clone(stream), origin }.redrive(), Ids::Letter),
            None => (Feed { stream: Arc::clone(key), origin }, Ids::Record),
        }
    }

    fn lines(&self, key: &Arc<str>, from: Position) -> Box<dyn Lines> {
        let redrive = self.redrive.borrow();
        let letters = redrive.as_ref().filter(|redrive| redrive.stream_of(key).is_some());
        let stream = letters.map_or(key, |redrive| &redrive.dead);
        Box::new(self.writer.reader(Arc::clone(stream), from))
    }

    async fn changed(&mut self) -> bool {
        tokio::select! {
            () = self.over.cancelled() => false,
            // Nobody who could ask any more is no reason to wait no longer.
            Ok(()) = self.redrive.changed() => true,
            changed = self.committed.changed() => changed.is_ok(),
            _ = self.status.wait_for(|status| *status == Status::Ended) => false,
        }
    }
}
