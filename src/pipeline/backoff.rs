//! How long to wait before connecting again.
//!
//! Three ladders, one for each class of failure, as the X platform asks of its clients (docs.x.com, "Handling
//! disconnections"; the same rungs are in Twitter's own Java client) and as any other upstream can live with. A failure
//! of another class starts its ladder at the first rung. Success is delivery, not an accepted connection: only that
//! takes a source back to the ground.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

/// A connection that lived for this long was a success even if nothing happened to be said on it.
pub const STEADY: Duration = Duration::from_mins(1);

/// What is added to a wait at most, as a part of it, so that many sources do not come back at once. A rung itself is the
/// least that upstream asks for, so nothing is taken off.
const JITTER_MAX: f64 = 0.25;

/// A class of failures that has a ladder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The connection broke or could not be made: a quarter of a second more each time, at most 16 s.
    Network,
    /// Upstream answers with an error, or accepts and closes: 5 s, doubling, at most 320 s.
    Failing,
    /// Upstream counts requests: 60 s, doubling. No bound is documented; half an hour is two of X's windows.
    Limited,
}

impl Class {
    fn rung(self, attempt: u32) -> Duration {
        let doubled = |first: u64, longest: u64| Duration::from_secs((first << (attempt - 1).min(16)).min(longest));
        match self {
            Self::Network => Duration::from_millis(250).saturating_mul(attempt).min(Duration::from_secs(16)),
            Self::Failing => doubled(5, 320),
            Self::Limited => doubled(60, 30 * 60),
        }
    }
}

/// Where a source stands on its ladder.
#[derive(Debug)]
pub struct Backoff {
    class: Class,
    attempt: u32,
    random: StdRng,
}

impl Backoff {
    /// On the ground. The seed makes a run repeatable; sources have different ones.
    pub fn new(seed: u64) -> Self {
        Self { class: Class::Network, attempt: 0, random: StdRng::seed_from_u64(seed) }
    }

    /// The wait after one more failure of this class: the rung, and up to a quarter more.
    pub fn wait(&mut self, class: Class) -> Duration {
        if class != self.class {
            self.class = class;
            self.attempt = 0;
        }
        self.attempt = self.attempt.saturating_add(1);
        class.rung(self.attempt).mul_f64(self.random.random_range(1.0..=1.0 + JITTER_MAX))
    }

    /// Back to the ground, after a success. The connection after it may be made at once.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// How many waits there were on this ladder.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// How long to leave a store alone that did not take something: any time up to a bound that doubles, so that many clients
/// of one store that was down do not come back together ("full jitter").
#[derive(Debug)]
pub struct FullJitter {
    attempt: u32,
    random: StdRng,
}

/// The bound of the first wait, and of every later one.
const JITTER_FIRST: Duration = Duration::from_millis(500);
const JITTER_LONGEST: Duration = Duration::from_mins(1);
/// A wait of nothing would be a tight loop.
const JITTER_LEAST: Duration = Duration::from_millis(50);

impl FullJitter {
    /// On the ground. The seed makes a run repeatable.
    pub fn new(seed: u64) -> Self {
        Self { attempt: 0, random: StdRng::seed_from_u64(seed) }
    }

    /// The wait after one more failure. `asked` is what the store asked for: never less than that, and up to a quarter
    /// more.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let bound = JITTER_FIRST.saturating_mul(1 << self.attempt.min(16)).min(JITTER_LONGEST);
        self.attempt = self.attempt.saturating_add(1);
        match asked {
            Some(asked) => asked.mul_f64(self.random.random_range(1.0..=1.0 + JITTER_MAX)),
            None => bound.mul_f64(self.random.random_range(0.0..=1.0)).max(JITTER_LEAST),
        }
    }

    /// Back to the ground, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// Counts the connections that upstream accepted, and says when the next may be made: whatever happens on them, a
/// source is not to use up what upstream grants in a window.
#[derive(Debug)]
pub struct Connects {
    max: usize,
    per: Duration,
    made: VecDeque<Instant>,
}

impl Connects {
    /// At most `max` in any time of length `per`.
    pub fn new(max: usize, per: Duration) -> Self {
        Self { max: max.max(1), per, made: VecDeque::new() }
    }

    /// Notes a connection.
    pub fn made(&mut self, now: Instant) {
        self.made.push_back(now);
    }

    /// How long until another may be made.
    pub fn wait(&mut self, now: Instant) -> Duration {
        while self.made.front().is_some_and(|first| now.duration_since(*first) >= self.per) {
            self.made.pop_front();
        }
        match self.made.len().checked_sub(self.max) {
            Some(over) => (self.made[over] + self.per).duration_since(now),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(backoff: &mut Backoff, class: Class, rungs: impl IntoIterator<Item = u64>) {
        for (attempt, millis) in rungs.into_iter().enumerate() {
            let (wait, rung) = (backoff.wait(class), Duration::from_millis(millis));
            assert!(
                wait >= rung && wait <= rung.mul_f64(1.0 + JITTER_MAX),
                "{class:?} {attempt}: {wait:?}, not {rung:?}"
            );
        }
    }

    #[test]
    fn the_ladders_are_those_of_the_book() {
        let backoff = &mut Backoff::new(1);
        check(backoff, Class::Network, (1..=70).map(|attempt| (attempt * 250).min(16_000)));
        check(backoff, Class::Failing, [5, 10, 20, 40, 80, 160, 320, 320, 320].map(|rung| rung * 1000));
        check(backoff, Class::Limited, [60, 120, 240, 480, 960, 1800, 1800].map(|rung| rung * 1000));
    }

    /// As the test of Twitter's own client goes.
    #[test]
    fn another_class_begins_at_the_bottom() {
        let backoff = &mut Backoff::new(2);
        check(backoff, Class::Network, [250, 500, 750, 1000]);
        check(backoff, Class::Failing, [5_000, 10_000]);
        check(backoff, Class::Network, [250, 500]);
        backoff.reset();
        check(backoff, Class::Network, [250]);
    }

    #[test]
    fn full_jitter_is_anywhere_below_its_bound_and_obeys() {
        let mut jitter = FullJitter::new(3);
        let waits: Vec<Duration> = (0..200).map(|_| jitter.wait(None)).collect();
        assert!(waits[0] <= JITTER_FIRST && waits.iter().all(|wait| (JITTER_LEAST..=JITTER_LONGEST).contains(wait)));
        let below_half = waits[10..].iter().filter(|wait| **wait < JITTER_LONGEST / 2).count();
        assert!((50..140).contains(&below_half), "{below_half} of 190 are below half of the bound");
        let asked = Duration::from_secs(7);
        assert!((0..50).map(|_| jitter.wait(Some(asked))).all(|wait| wait >= asked && wait <= asked.mul_f64(1.25)));
        jitter.reset();
        assert!(jitter.wait(None) <= JITTER_FIRST);
    }

    proptest! {
        #[test]
        fn in_no_window_are_there_more_connections_than_allowed(
            steps in proptest::collection::vec(0_u64..400, 1..200), max in 1_usize..20,
        ) {
            let per = Duration::from_mins(15);
            let mut connects = Connects::new(max, per);
            let mut now = Instant::now();
            let mut all = Vec::new();
            for step in steps {
                now += Duration::from_secs(step) + connects.wait(now + Duration::from_secs(step));
                connects.made(now);
                all.push(now);
            }
            for (index, at) in all.iter().enumerate() {
                let within = all[index..].iter().filter(|other| other.duration_since(*at) < per).count();
                prop_assert!(within <= max, "{} in one window", within);
            }
        }
    }
}
