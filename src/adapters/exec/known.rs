//! What is remembered of a tap's records, so that each is written once and each change of it too.
//!
//! A tap sends again what came after the STATE that it is given; and whole tables, at each run. So everything in here is as it was
//! at the last STATE when a run begins: what is sent again then gets the same ids again, and is known by them. With each
//! STATE, and with a good end, it moves on, and what has changed is saved beside the cursor.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64_NOPAD;
use serde_json::value::{RawValue, to_raw_value};

/// So many keys of tables are remembered, of all streams of a source: some 20 MB, and 5 MB beside the cursor.
pub(super) const KEYS_MAX: usize = 200_000;

/// So many records without a key are counted.
const COUNTED_MAX: usize = 1 << 17;

/// Keys whose hashes begin with the same bits are saved together: of 200,000 some 200, in 5 KB.
const PART_BITS: u32 = 10;

/// A key's hash, a content's, and how often that has changed.
const ENTRY_BYTES: usize = 20;

/// Changed parts of what is saved, by their numbers.
pub(super) type Parts = BTreeMap<u32, Box<RawValue>>;

/// What a record said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    content: u64,
    /// How often it had become another.
    number: u32,
}

/// The last content of each key of streams that are sent whole, and how often a record without a key came in this run.
#[derive(Debug, Default)]
pub(super) struct Known {
    versions: BTreeMap<u64, Version>,
    /// What was there at the last STATE of what has changed since.
    before: HashMap<u64, Option<Version>>,
    counts: HashMap<u64, u32>,
    /// How often the counts were full.
    era: u32,
}

/// A hash of some texts, none of which runs into the next.
pub(super) fn hash_of(texts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&text.len().to_le_bytes());
        hasher.update(text.as_bytes());
    }
    u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().expect("invariant: a hash has 32 bytes"))
}

impl Known {
    /// Takes up what was saved. What cannot be read is of another kind of source, and counts for nothing.
    pub(super) fn recall(&mut self, parts: &BTreeMap<u32, Box<RawValue>>) {
        for part in parts.values() {
            let text: Option<String> = serde_json::from_str(part.get()).ok();
            let bytes = text.and_then(|text| BASE64_NOPAD.decode(text.as_bytes()).ok()).unwrap_or_default();
            for entry in bytes.chunks_exact(ENTRY_BYTES) {
                let number =
                    |from: usize| u64::from_le_bytes(*entry[from..].first_chunk().expect("invariant: 20 bytes"));
                let last = u32::from_le_bytes(*entry[16..].first_chunk().expect("invariant: 20 bytes"));
                self.versions.insert(number(0), Version { content: number(8), number: last });
            }
        }
    }

    /// A run begins, after the last STATE.
    pub(super) fn begin(&mut self) {
        for (key, before) in self.before.drain() {
            match before {
                Some(before) => self.versions.insert(key, before),
                None => self.versions.remove(&key),
            };
        }
        self.counts.clear();
        self.era = 0;
    }

    /// Everything so far is before the STATE that has just come, or before the end of a good run. What is to be saved of it.
    pub(super) fn settle(&mut self, parts: &mut Parts) {
        let mut changed: Vec<u32> = self.before.drain().map(|(key, _)| part_of(key)).collect();
        changed.sort_unstable();
        changed.dedup();
        for number in changed {
            let first = u64::from(number) << (u64::BITS - PART_BITS);
            let last = first | (u64::MAX >> PART_BITS);
            let mut bytes = Vec::new();
            for (key, version) in self.versions.range(first..=last) {
                bytes.extend(key.to_le_bytes());
                bytes.extend(version.content.to_le_bytes());
                bytes.extend(version.number.to_le_bytes());
            }
            let part = to_raw_value(&BASE64_NOPAD.encode(&bytes)).expect("invariant: a text has a JSON form");
            parts.insert(number, part);
        }
    }

    /// How often the record of this key had become another before it became what it says now; nothing where it says what it
    /// said last. Of more keys than are remembered, each content is taken for the first.
    pub(super) fn version(&mut self, key: u64, content: u64) -> Option<u32> {
        let before = self.versions.get(&key).copied();
        let number = match before {
            Some(before) if before.content == content => return None,
            Some(before) => before.number.wrapping_add(1),
            None if self.versions.len() >= KEYS_MAX => return Some(0),
            None => 0,
        };
        self.versions.insert(key, Version { content, number });
        self.before.entry(key).or_insert(before);
        Some(number)
    }

    /// How often this came in this run, without what came now.
    pub(super) fn count(&mut self, content: u64) -> (u32, u32) {
        if self.counts.len() >= COUNTED_MAX && !self.counts.contains_key(&content) {
            self.counts.clear();
            self.era += 1;
        }
        let count = self.counts.entry(content).or_default();
        *count += 1;
        (self.era, *count - 1)
    }
}

fn part_of(key: u64) -> u32 {
    u32::try_from(key >> (u64::BITS - PART_BITS)).expect("invariant: some bits of 64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_known_again_and_a_broken_run_is_not() {
        let mut known = Known::default();
        assert_eq!(known.version(1, 10), Some(0));
        assert_eq!(known.version(u64::MAX, 10), Some(0));
        let mut parts = Parts::new();
        known.settle(&mut parts);
        assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [0, 1023]);
        for _ in 0..2 {
            // The same each time that it is begun after the same STATE.
            assert_eq!(known.version(1, 10), None);
            assert_eq!(known.version(1, 11), Some(1));
            assert_eq!(known.version(1, 10), Some(2));
            assert_eq!(known.version(2, 10), Some(0));
            known.begin();
        }
        assert_eq!(known.version(1, 11), Some(1));
        known.settle(&mut parts);
        let mut next = Known::default();
        next.recall(&parts);
        assert_eq!(next.versions, known.versions);
        assert_eq!((next.version(1, 11), next.version(1, 10), next.version(2, 10)), (None, Some(2), Some(0)));
        next.recall(&BTreeMap::from([(0, to_raw_value(&vec!["of another kind"]).unwrap())]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::default();
        for key in 0..KEYS_MAX as u64 + 1000 {
            known.version(key, 1);
        }
        assert_eq!(known.versions.len(), KEYS_MAX);
        assert_eq!((known.version(0, 1), known.version(u64::MAX, 1)), (None, Some(0)), "the first are remembered");
        for content in 0..3 * COUNTED_MAX as u64 {
            assert_eq!(known.count(content).1, 0);
        }
        assert!(known.counts.len() <= COUNTED_MAX && known.era == 2);
    }
}
