//! Faults of streams: those that come with a record, and those of a whole connection.

use std::ops::Range;
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Faults as Schedule;
use crate::simulator::server::Reply;

/// What may go wrong with one kind of stream.
pub trait OfStream: FromStr<Err = String> + Copy + Send + 'static {
    /// Whether it goes with a connection, rather than with a record.
    fn is_of_connection(&self) -> bool;

    /// What a connection is told that is refused by it.
    fn refusal(self) -> Option<Reply>;
}

/// Makes the answer of a connection that is refused.
pub(in crate::simulator) type Refusal = fn() -> Reply;

/// What a table has by this name.
pub(in crate::simulator) fn find<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<(&'static str, T)> {
    table.iter().find(|(known, _)| *known == name).copied()
}

/// The names of a table, for messages.
pub(in crate::simulator) fn names<T>(table: &[(&'static str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What goes wrong on streams, and when. Seeded, so that a run can be repeated.
#[derive(Debug)]
pub struct Faults<F> {
    /// Some kinds by turns, for a test that wants all of them.
    mixed: Option<Mixed<F>>,
    seed: u64,
    of_records: Schedule<F>,
    records: u64,
    of_connections: Schedule<F>,
    connections: u64,
}

#[derive(Debug)]
struct Mixed<F> {
    /// After how many records the next one comes.
    every: Range<u64>,
    kinds: Vec<F>,
    random: StdRng,
    left: u64,
}

impl<F: OfStream> Default for Faults<F> {
    fn default() -> Self {
        Self::named(0, &Schedule::default())
    }
}

impl<F: OfStream> Faults<F> {
    /// One of `kinds` after every so many records.
    pub fn new(seed: u64, every: Range<u64>, kinds: impl IntoIterator<Item = F>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let left = random.random_range(every.clone());
        let mixed = Mixed { every, kinds: kinds.into_iter().collect(), random, left };
        Self { mixed: Some(mixed), ..Self::default() }
    }

    /// Those of the command line: `1%:torn, every 500:end, 10%:503`.
    pub fn named(seed: u64, faults: &Schedule<F>) -> Self {
        Self {
            mixed: None,
            seed,
            of_records: faults.only(|fault| !fault.is_of_connection()),
            records: 0,
            of_connections: faults.only(F::is_of_connection),
            connections: 0,
        }
    }

    /// These kinds by turns, and the others' named ones.
    #[must_use]
    pub fn and(self, named: Self) -> Self {
        Self { mixed: self.mixed, ..named }
    }

    /// The fault that goes with the next record.
    pub(in crate::simulator) fn next(&mut self) -> Option<F> {
        self.records += 1;
        let named = self.of_records.at(self.seed, self.records);
        named.or_else(|| self.mixed.as_mut()?.next())
    }

    /// The fault that goes with the next connection.
    pub(in crate::simulator) fn next_of_connections(&mut self) -> Option<F> {
        self.connections += 1;
        self.of_connections.at(self.seed, self.connections)
    }
}

impl<F: Copy> Mixed<F> {
    fn next(&mut self) -> Option<F> {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 || self.kinds.is_empty() {
            return None;
        }
        self.left = self.random.random_range(self.every.clone()).max(1);
        Some(self.kinds[self.random.random_range(0..self.kinds.len())])
    }
}
