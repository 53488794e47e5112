//! Dead letters on their way into the store again: for each stream that has some, a lane of its own over the stream of
//! dead letters, as far as that went when somebody asked.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::pipeline::writer::Writer;
use crate::sink::{Committed, Position};
use crate::store::streams_of_letters;

use super::saved::dead_stream;
use super::supply::Lines;

/// How many bytes of dead letters are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What is to be brought again.
#[derive(Debug, Clone)]
pub struct Redrive {
    /// The stream of dead letters.
    pub dead: Arc<str>,
    /// How far it went when it was asked.
    pub committed: Committed,
    /// The streams that the letters are of.
    pub streams: BTreeSet<Arc<str>>,
}

impl Redrive {
    /// Everything that is among a loader's dead letters now; `None` when there is nothing. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(writer: &Writer, loader: &str) -> io::Result<Option<Self>> {
        let dead: Arc<str> = dead_stream(loader).into();
        let Some(committed) = writer.position(&dead) else { return Ok(None) };
        let reader = writer.reader(Arc::clone(&dead), Position::start_of(committed.first));
        Self::read(dead, committed, Box::new(reader)).map(Some)
    }

    /// Finds the streams in the dead letters that `lines` gives. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(dead: Arc<str>, committed: Committed, mut lines: Box<dyn Lines>) -> io::Result<Self> {
        let (mut bytes, mut streams) = (Vec::new(), BTreeSet::new());
        while lines.read(committed, CHUNK_BYTES, &mut bytes)?.is_some() {
            streams.extend(streams_of_letters(&bytes));
            bytes.clear();
        }
        Ok(Self { dead, committed, streams })
    }

    /// The lanes that it needs: a key for each stream, and how far the letters go.
    pub fn lanes(&self) -> impl Iterator<Item = (Arc<str>, Committed)> + '_ {
        self.streams.iter().map(|stream| (lane_key(&self.dead, stream), self.committed))
    }

    /// The stream whose letters the lane of a key brings; `None` for any other lane.
    pub fn stream_of(&self, key: &str) -> Option<&Arc<str>> {
        let stream = key.strip_prefix(&*self.dead)?.strip_prefix(JOINT)?;
        self.streams.get(stream)
    }
}

/// Between the names of two streams in the key of a lane. No stream's name has it.
const JOINT: &str = "#";

/// The key of the lane that brings a stream's dead letters again.
pub fn lane_key(dead: &str, stream: &str) -> Arc<str> {
    format!("{dead}{JOINT}{stream}").into()
}
