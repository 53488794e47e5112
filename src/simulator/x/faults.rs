//! What goes wrong on a stream, and after how many posts. Seeded, so that a run can be repeated.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Something that goes wrong on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The body ends in order.
    End,
    /// The connection ends in the middle of a message.
    TornClose,
    /// The connection is reset in the middle of a chunk.
    TornReset,
    /// Nothing comes any more, and the connection stays open.
    HalfOpen,
    /// Signs of life, and posts are held back for good.
    OnlyKeepAlives,
    /// A message says that the stream is ended, and then it is. The name is X's `disconnect_type`.
    Disconnect(&'static str),
    /// The same, not wrapped in `errors`.
    BareDisconnect(&'static str),
    /// The next post comes with an error about a part of it.
    PartialError,
    /// A message of a kind that nobody knows.
    Unknown,
    /// The next post's ids are numbers.
    NumericIds,
    /// The next post's rule has `null` for a tag.
    NullTag,
    /// A line of 10 MB.
    HugeLine,
    /// A line that is not UTF-8.
    InvalidUtf8,
    /// A line that is not JSON.
    BadJson,
    /// A line with half of a surrogate pair in it.
    LoneSurrogate,
    /// The next post ends with a line feed alone, and another follows.
    BareLineFeed,
    /// The next post comes twice.
    Twice,
    /// Five signs of life at once.
    KeepAlives,
}

impl Fault {
    /// Every fault that loses nothing while the connection lives.
    pub const HARMLESS: [Self; 12] = [
        Self::PartialError,
        Self::Unknown,
        Self::NumericIds,
        Self::NullTag,
        Self::HugeLine,
        Self::InvalidUtf8,
        Self::BadJson,
        Self::LoneSurrogate,
        Self::BareLineFeed,
        Self::Twice,
        Self::KeepAlives,
        Self::PartialError,
    ];

    /// Every fault that ends the connection, but for the ones that only silence tells.
    pub const ENDS: [Self; 12] = [
        Self::End,
        Self::TornClose,
        Self::TornReset,
        Self::Disconnect("OperationalDisconnect"),
        Self::Disconnect("UpstreamOperationalDisconnect"),
        Self::Disconnect("ForceDisconnect"),
        Self::Disconnect("UpstreamUncleanDisconnect"),
        Self::Disconnect("SlowReader"),
        Self::Disconnect("InternalError"),
        Self::Disconnect("ClientApplicationStateDegraded"),
        Self::Disconnect("InvalidRules"),
        Self::BareDisconnect("OperationalDisconnect"),
    ];
}

/// Which faults come, and how often.
#[derive(Debug)]
pub struct Faults {
    /// After how many posts the next one comes.
    every: Range<u64>,
    kinds: Vec<Fault>,
    random: StdRng,
    left: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new(0, u64::MAX - 1..u64::MAX, [])
    }
}

impl Faults {
    /// One of `kinds` after every so many posts.
    pub fn new(seed: u64, every: Range<u64>, kinds: impl IntoIterator<Item = Fault>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let left = random.random_range(every.clone());
        Self { every, kinds: kinds.into_iter().collect(), random, left }
    }

    /// The fault that goes with the next post.
    pub(super) fn next(&mut self) -> Option<Fault> {
        if self.kinds.is_empty() {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        self.left = self.random.random_range(self.every.clone()).max(1);
        Some(self.kinds[self.random.random_range(0..self.kinds.len())])
    }
}
