//! A lane: one stream on its way through a loader, read ahead while the batch before is being sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::sink::{Committed, Position};
use crate::store::{Batch, Feed, Ids, Limits};

use super::saved::Loaded;
use super::supply::Lines;

/// How much is read at once, in bytes, when the batches are smaller.
const CHUNK_BYTES: usize = 1 << 20;

/// What is made room for at once, in bytes.
const CHUNK_BYTES_MAX: usize = 16 << 20;

/// The lines, how far they were allowed to be read, and what was read.
type Read = (Box<dyn Lines>, Committed, io::Result<Option<(Position, Vec<u8>)>>);

/// One stream of a loader.
pub(super) struct Lane {
    pub(super) feed: Arc<Feed>,
    pub(super) ids: Ids,
    pub(super) loaded: Loaded,
    pub(super) committed: Committed,
    /// Whether the store has taken the stream up since it was last connected.
    pub(super) is_begun: bool,
    /// Whether the store says by itself how far it has the stream.
    pub(super) keeps_positions: bool,
    reading: Reading,
    /// What was read and is not in a batch yet.
    chunk: Option<(Position, Bytes)>,
    /// Where the next batch begins.
    next: Position,
    /// Since when there is something that waits to be in a batch.
    pending_since: Option<Instant>,
    /// The end that was found to have nothing more before it.
    dry_at: Option<Committed>,
}

enum Reading {
    /// The next read begins with opening.
    Closed,
    Idle(Box<dyn Lines>),
    Busy(JoinHandle<Read>),
}

impl Lane {
    pub(super) fn new(feed: Feed, ids: Ids, loaded: Loaded, committed: Committed) -> Self {
        Self {
            feed: Arc::new(feed),
            ids,
            loaded,
            committed,
            is_begun: false,
            keeps_positions: false,
            reading: Reading::Closed,
            chunk: None,
            next: loaded.at,
            pending_since: None,
            dry_at: None,
        }
    }

    /// Whether there is nothing to do for it: everything committed is loaded, and a store that keeps positions has been
    /// asked whether it still has all of that.
    pub(super) fn is_done(&self) -> bool {
        let is_dry = self.dry_at == Some(self.committed) || self.next >= self.committed.end;
        is_dry && (self.is_begun || self.loaded.stored.is_none())
    }

    /// How long until there is a batch that is worth sending; zero when there is one.
    pub(super) fn wait(&mut self, limits: &Limits) -> Duration {
        let is_full = self.next.segment < self.committed.end.segment
            || self.committed.end.offset.saturating_sub(self.next.offset) >= limits.bytes as u64;
        // A batch that was begun before is finished as it was.
        if limits.wait.is_zero() || is_full || self.loaded.sending.is_some() || !self.is_begun {
            return Duration::ZERO;
        }
        let since = *self.pending_since.get_or_insert_with(Instant::now);
        (since + limits.wait).saturating_duration_since(Instant::now())
    }

    /// Begins anew at the position that is loaded.
    pub(super) fn rewind(&mut self) {
        self.next = self.loaded.at;
        self.reading = Reading::Closed;
        self.chunk = None;
        self.dry_at = None;
    }

    /// Whether there is something that was read and is in no batch yet.
    pub(super) fn has_read(&self) -> bool {
        self.chunk.is_some()
    }

    /// Keeps no file open and nothing in memory until its next turn.
    pub(super) fn close(&mut self) {
        self.reading = Reading::Closed;
    }

    /// The next batch; `None` when there is nothing more yet. `open` opens the lines at a position. With `ahead`, what
    /// comes next is read meanwhile.
    ///
    /// # Errors
    /// When they cannot be read. The call may be repeated.
    pub(super) async fn batch(
        &mut self,
        limits: &Limits,
        ahead: bool,
        open: impl Fn(Position) -> Box<dyn Lines>,
    ) -> io::Result<Option<Batch>> {
        self.pending_since = None;
        // A batch whose bounds were saved comes again with the same bounds.
        let bounds = self.loaded.sending.filter(|(from, _)| *from == self.next && self.next == self.loaded.at);
        let exactly = bounds.map(|(from, to)| usize::try_from(to.offset - from.offset).unwrap_or(usize::MAX));
        let usual = limits.bytes.max(CHUNK_BYTES);
        if self.chunk.is_none() {
            self.read(exactly.unwrap_or(usual), open);
            let Reading::Busy(reading) = &mut self.reading else { return Ok(None) };
            let (lines, allowed, read) = reading.await.map_err(io::Error::other)?;
            self.reading = Reading::Idle(lines);
            match read {
                Ok(Some((from, bytes))) => self.chunk = Some((from, Bytes::from(bytes))),
                Ok(None) => self.dry_at = Some(allowed),
                Err(error) => {
                    self.rewind();
                    return Err(error);
                }
            }
        }
        let Some((from, bytes)) = self.chunk.take() else { return Ok(None) };
        let len = exactly.filter(|len| *len <= bytes.len()).unwrap_or_else(|| batch_len(&bytes, limits));
        let rest = bytes.slice(len..);
        self.next = Position { segment: from.segment, offset: from.offset + len as u64 };
        if !rest.is_empty() {
            self.chunk = Some((self.next, rest));
        } else if ahead && exactly.is_none() && self.next < self.committed.end {
            self.read(usual, |_| unreachable!("it is open"));
        }
        Ok(Some(Batch::new(Arc::clone(&self.feed), from, bytes.slice(..len), self.ids.clone())))
    }

    /// Starts reading on a thread that may wait for the disk.
    fn read(&mut self, at_most: usize, open: impl Fn(Position) -> Box<dyn Lines>) {
        let mut lines = match std::mem::replace(&mut self.reading, Reading::Closed) {
            Reading::Busy(busy) => {
                self.reading = Reading::Busy(busy);
                return;
            }
            Reading::Idle(lines) => lines,
            Reading::Closed => open(self.next),
        };
        let committed = self.committed;
        self.reading = Reading::Busy(tokio::task::spawn_blocking(move || {
            // With room for the last line too: growing would copy, and double what is held. What is not used is not there.
            let mut bytes = Vec::with_capacity(at_most.min(CHUNK_BYTES_MAX) + CHUNK_BYTES / 4);
            let read = lines.read(committed, at_most, &mut bytes);
            (lines, committed, read.map(|from| from.map(|from| (from, bytes))))
        }));
    }
}

/// How many bytes of whole lines make the next batch.
fn batch_len(bytes: &[u8], limits: &Limits) -> usize {
    let mut feeds = memchr::memchr_iter(b'\n', bytes).map(|feed| feed + 1);
    let mut len = feeds.by_ref().next().unwrap_or(bytes.len());
    // The usual batch is the whole chunk, or has as many records as may be: both are found without a step for each.
    for feed in feeds.take(limits.records.saturating_sub(1)) {
        if feed > limits.bytes {
            break;
        }
        len = feed;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_at_least_a_line_and_at_most_what_is_allowed() {
        let limits = |records, bytes| Limits { records, bytes, wait: Duration::ZERO, closed: false };
        for (text, limits, expected) in [
            ("aa\nbb\ncc\n", limits(2, 100), 6),
            ("aa\nbb\ncc\n", limits(9, 100), 9),
            ("aa\nbb\ncc\n", limits(9, 7), 6),
            ("aaaaaaaaaa\nb\n", limits(9, 7), 11),
            ("aa\n", limits(0, 0), 3),
        ] {
            assert_eq!(batch_len(text.as_bytes(), &limits), expected, "{text:?}");
        }
    }
}
