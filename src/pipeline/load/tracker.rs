//! What has become of each record of a batch, and how far that goes without a hole.

use crate::sink::Position;
use crate::store::{Batch, Sent};

/// A batch and the fate of each of its records.
pub(super) struct Tracker {
    batch: Batch,
    fates: Vec<Fate>,
    /// The records before this one have passed.
    head: usize,
}

enum Fate {
    /// It is not to be sent.
    Left,
    Open,
    Done,
    Dead(String),
}

/// A record that the store will never take.
pub(super) struct Dead<'a> {
    pub(super) position: Position,
    pub(super) line: &'a [u8],
    pub(super) id: Option<String>,
    pub(super) reason: String,
}

/// What has passed since it was last asked.
pub(super) struct Passed<'a> {
    /// Everything before this is decided.
    pub(super) at: Position,
    pub(super) records: u64,
    pub(super) dead: Vec<Dead<'a>>,
}

impl Tracker {
    /// A batch as it was read, of which `wanted` is to be sent.
    pub(super) fn new(batch: Batch, wanted: &Batch) -> Self {
        let mut fates: Vec<Fate> = std::iter::repeat_with(|| Fate::Left).take(batch.len()).collect();
        for index in 0..wanted.len() {
            fates[wanted.place(index)] = Fate::Open;
        }
        Self { batch, fates, head: 0 }
    }

    /// The store has answered for a part of the batch.
    pub(super) fn sent(&mut self, piece: &Batch, sent: Sent) {
        for index in 0..piece.len() {
            self.fates[piece.place(index)] = Fate::Done;
        }
        for (index, _) in &sent.retry {
            self.fates[piece.place(*index)] = Fate::Open;
        }
        for (index, reason) in sent.dead {
            self.fates[piece.place(index)] = Fate::Dead(reason);
        }
    }

    /// Moves over what is decided without a hole.
    pub(super) fn pass(&mut self) -> Passed<'_> {
        let decided = self.fates[self.head..].iter().take_while(|fate| !matches!(fate, Fate::Open)).count();
        let range = self.head..self.head + decided;
        self.head = range.end;
        let mut passed = Passed { at: self.batch.to(), records: 0, dead: Vec::new() };
        if self.head < self.batch.len() {
            passed.at = self.batch.get(self.head).position;
        }
        for index in range {
            match &mut self.fates[index] {
                Fate::Dead(reason) => {
                    let entry = self.batch.get(index);
                    let (id, reason) = (entry.id().ok().map(Into::into), std::mem::take(reason));
                    passed.dead.push(Dead { position: entry.position, line: entry.line, id, reason });
                }
                Fate::Left => {}
                Fate::Open | Fate::Done => passed.records += 1,
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{Feed, Ids};

    #[test]
    fn a_position_moves_only_over_what_is_decided_without_a_hole() {
        let feed = Arc::new(Feed { stream: "s".into(), origin: "o".into() });
        let batch = Batch::new(feed, Position::start_of(1), "a\nb\nc\nd\ne\n".into(), Ids::Position("f".into()));
        let mut tracker = Tracker::new(batch.clone(), &batch);
        tracker.sent(
            &batch,
            Sent {
                retry: vec![(1, "busy".into()), (3, "busy".into())],
                dead: vec![(2, "bad".into())],
                ..Sent::default()
            },
        );
        let passed = tracker.pass();
        assert_eq!((passed.at.offset, passed.records, passed.dead.len()), (2, 1, 0), "the dead one waits for its turn");
        let again = batch.pick(&[1, 3]);
        tracker.sent(&again, Sent { retry: vec![(1, "busy".into())], ..Sent::default() });
        let passed = tracker.pass();
        assert_eq!((passed.at.offset, passed.records, passed.dead.len()), (6, 1, 1));
        assert_eq!((passed.dead[0].line, &*passed.dead[0].reason), (&b"c"[..], "bad"));
        tracker.sent(&again.pick(&[1]), Sent { dead: vec![(0, "worse".into())], ..Sent::default() });
        let passed = tracker.pass();
        assert_eq!((passed.at.offset, passed.records, passed.dead.len()), (10, 1, 1));
    }
}
