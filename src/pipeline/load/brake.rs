//! The brake: a mapping that is wrong must not turn a whole stream into dead letters.

use std::collections::VecDeque;

/// How many records are looked back at.
const WINDOW: usize = 1_000;

/// Fewer than this say nothing: a quiet stream may begin with a bad record.
const LEAST: usize = 20;

/// The last records, and how many of them were dead.
#[derive(Debug, Default)]
pub(super) struct Brake {
    /// Runs of records: how many, and whether dead.
    runs: VecDeque<(usize, bool)>,
    total: usize,
    dead: usize,
}

impl Brake {
    /// Counts records. Returns whether more than half of the last ones were dead.
    pub(super) fn count(&mut self, taken: usize, dead: usize) -> bool {
        for (count, is_dead) in [(taken, false), (dead, true)] {
            self.add(count.min(WINDOW), is_dead);
        }
        self.total >= LEAST && self.dead * 2 > self.total
    }

    fn add(&mut self, count: usize, is_dead: bool) {
        if count == 0 {
            return;
        }
        match self.runs.back_mut() {
            Some((last, was_dead)) if *was_dead == is_dead => *last += count,
            _ => self.runs.push_back((count, is_dead)),
        }
        self.total += count;
        self.dead += if is_dead { count } else { 0 };
        while self.total > WINDOW {
            let Some((first, was_dead)) = self.runs.front_mut() else { return };
            let over = (self.total - WINDOW).min(*first);
            *first -= over;
            self.total -= over;
            self.dead -= if *was_dead { over } else { 0 };
            if *first == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// Forgets everything, as when somebody has mended what was wrong.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_not_more_than_half() {
        let mut brake = Brake::default();
        assert!(!brake.count(0, 19), "a few say nothing");
        assert!(brake.count(0, 1));
        brake.release();
        assert!(!brake.count(500, 499));
        assert!(!brake.count(0, 1), "half");
        assert!(brake.count(0, 2));
        brake.release();
        assert!((0..5_000).all(|_| !brake.count(1, 1)), "half, for ever");
        assert!(brake.runs.len() <= WINDOW);
        assert!(!brake.count(100_000, 0));
        assert_eq!((brake.total, brake.dead), (WINDOW, 0));
    }
}
