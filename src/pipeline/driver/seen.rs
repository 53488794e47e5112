//! The ids of a source's last records, so that what upstream sends again is not written again.
//!
//! The files are what they are read from: a restarted driver reads the end of its stream back, and so knows exactly what
//! stands there, whatever a crash did to everything else. Only hashes are kept, in bounded memory.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::io;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use crate::pipeline::writer::Writer;
use crate::sink::{Committed, Position};
use crate::sinks::segments::read::Reader;

/// How many ids make a generation: what fills a hash table of half a million places, 5 MB. The last two generations are
/// remembered. At 250 records a second, which is what X grants, one is half an hour; what upstream repeats is the last
/// minutes before a loss.
const GENERATION: usize = (1 << 19) / 8 * 7;

/// How far before the last record the files are read back.
const READ_BACK: TimeDelta = TimeDelta::minutes(15);

/// No more segments are read back: a start is not to take minutes.
const SEGMENTS_MAX: u64 = 8;

/// How much is read at once.
const READ_BYTES: usize = 1 << 20;

/// The ids of the last records.
pub(super) struct Seen {
    hasher: RandomState,
    /// The generation that grows, and the one before it. A table from which the oldest are taken one by one would double
    /// for the places that they leave behind.
    young: Hashes,
    old: Hashes,
}

type Hashes = HashSet<u64, BuildHasherDefault<Itself>>;

/// A hash needs no hashing.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("invariant: only numbers of 64 bits are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is read of a line. Keys come in the order of the envelope; the data is passed over.
#[derive(Deserialize)]
struct Identity<'a> {
    observed_at: DateTime<Utc>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

impl Seen {
    fn empty() -> Self {
        Self { hasher: RandomState::new(), young: Hashes::default(), old: Hashes::default() }
    }

    /// Reads the end of a source's stream back. Blocks.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub(super) fn read_back(writer: &Writer, stream: &Arc<str>, source: &str) -> io::Result<Self> {
        let mut seen = Self::empty();
        let Some(committed) = writer.position(stream) else { return Ok(seen) };
        let last_segment = committed.end.segment;
        let first = last_segment.saturating_sub(SEGMENTS_MAX - 1).max(1);
        let mut parts = Vec::new();
        let mut last = None;
        for number in (first..=last_segment).rev() {
            let end = if number == last_segment { committed.end } else { Position::start_of(number + 1) };
            let reader = writer.reader(Arc::clone(stream), Position::start_of(number));
            let part = seen.read_segment(reader, Committed { end, ..committed }, source)?;
            let began = part.first().map(|(at, _)| *at);
            last = last.or_else(|| part.last().map(|(at, _)| *at));
            parts.push(part);
            if began.zip(last).is_some_and(|(began, last)| began < last - READ_BACK) {
                break;
            }
        }
        for (_, hash) in parts.into_iter().rev().flatten() {
            seen.remember(hash);
        }
        Ok(seen)
    }

    fn read_segment(&self, mut reader: Reader, end: Committed, source: &str) -> io::Result<Vec<(DateTime<Utc>, u64)>> {
        let mut found = Vec::new();
        let mut lines = Vec::new();
        while reader.read(end, READ_BYTES, &mut lines)?.is_some() {
            // A line that is none has been damaged since; it is no record, and has no id.
            let identities = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            found.extend(
                identities
                    .filter(|line: &Identity<'_>| line.source == source)
                    .map(|line| (line.observed_at, self.hasher.hash_one(&*line.id))),
            );
            lines.clear();
        }
        Ok(found)
    }

    /// Whether the id is new. It is not the next time.
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        self.remember(hash)
    }

    fn remember(&mut self, hash: u64) -> bool {
        if self.young.contains(&hash) || self.old.contains(&hash) {
            return false;
        }
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_and_memory_is_bounded() {
        let mut seen = Seen::empty();
        assert!(seen.is_new("x_1"));
        assert!(!seen.is_new("x_1"));
        for id in 2..=2 * GENERATION + 1 {
            assert!(seen.is_new(&format!("x_{id}")));
        }
        assert!(!seen.is_new(&format!("x_{}", GENERATION + 2)), "the last ones are remembered");
        assert!(seen.is_new("x_1"), "the oldest are forgotten");
        assert!(seen.young.capacity() <= GENERATION && seen.old.capacity() <= GENERATION, "no table has grown");
    }
}
