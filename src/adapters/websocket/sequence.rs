//! Holes in upstream's own numbers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::record::time_text;
use crate::source::Note;

/// A server with more sequences than these is watched in those that it had first.
const SEQUENCES_MAX: usize = 1000;

/// A batch ends with so many holes, so that each is noted and no batch has too many notes.
pub(super) const HOLES_MAX: usize = 100;

/// What a number shows.
#[derive(Debug)]
pub(super) enum Seen {
    /// It is the next, or comes again.
    Next,
    /// There is a hole before it.
    Hole(Note),
    /// It is of a sequence too many.
    Unwatched,
}

impl Seen {
    /// What is to be noted where a sequence is not watched.
    pub(super) fn unwatched() -> Note {
        let why =
            format!("upstream has more than {SEQUENCES_MAX} sequences; holes in those after the first are not seen");
        Note::new("control", json!({ "why": why, "ends": false }))
    }
}

/// The last number of each sequence, and when it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Sequences {
    last: BTreeMap<String, (u64, DateTime<Utc>)>,
}

impl Sequences {
    /// With the numbers of an earlier start.
    pub(super) fn of(saved: &BTreeMap<String, u64>, at: DateTime<Utc>) -> Self {
        Self { last: saved.iter().map(|(key, number)| (key.clone(), (*number, at))).collect() }
    }

    /// The numbers, for a later start.
    pub(super) fn saved(&self) -> BTreeMap<String, u64> {
        self.last.iter().map(|(key, (number, _))| (key.clone(), *number)).collect()
    }

    /// Takes a number. What is missing between it and the last one is a hole. One that is not greater comes again, or late.
    pub(super) fn saw(&mut self, key: &str, number: u64, now: DateTime<Utc>) -> Seen {
        let Some((last, at)) = self.last.get_mut(key) else {
            if self.last.len() >= SEQUENCES_MAX {
                return Seen::Unwatched;
            }
            self.last.insert(key.to_owned(), (number, now));
            return Seen::Next;
        };
        let (before, since) = (*last, *at);
        if number <= before {
            return Seen::Next;
        }
        (*last, *at) = (number, now);
        let missing = number - before - 1;
        if missing == 0 {
            return Seen::Next;
        }
        let key = (!key.is_empty()).then_some(key);
        let data = json!({
            "sequence": key, "first": before + 1, "last": number - 1, "missing": missing,
            "from": time_text(&since), "to": time_text(&now),
        });
        Seen::Hole(Note::new("hole", data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_seen_with_their_bounds() {
        let at: DateTime<Utc> = "2026-11-23T07:04:05Z".parse().unwrap();
        let mut sequences = Sequences::default();
        let mut seen = Vec::new();
        for (key, number) in [("A", 7), ("A", 8), ("B", 1), ("A", 8), ("A", 11), ("A", 9), ("B", 3), ("A", 12)] {
            if let Seen::Hole(note) = sequences.saw(key, number, at) {
                assert_eq!(note.kind, "hole");
                seen.push(format!(
                    "{} {} {} {}",
                    note.data["sequence"], note.data["first"], note.data["last"], note.data["missing"]
                ));
            }
        }
        assert_eq!(seen, [r#""A" 9 10 2"#, r#""B" 2 2 1"#]);
        let mut again = Sequences::of(&sequences.saved(), at);
        assert!(matches!(again.saw("A", 13, at), Seen::Next) && matches!(again.saw("B", 10, at), Seen::Hole(_)));
    }
}
