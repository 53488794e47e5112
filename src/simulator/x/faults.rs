//! What goes wrong on a stream, and after how many posts. Seeded, so that a run can be repeated.

use std::ops::Range;
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::answers;
use super::line::Coding;
use crate::simulator::faults as schedule;
use crate::simulator::server::Reply;

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
    /// A connection is refused. The name is a status, or one with more to it: `429=cap`.
    Refuse(&'static str),
    /// A connection is accepted, and ended at once.
    Flap,
    /// A connection is written in this way.
    Written(Coding),
    /// A connection's gzip is never flushed.
    Unflushed,
    /// A connection's signs of life are late by up to four seconds.
    LateKeepAlives,
}

type Refusal = fn() -> Reply;

/// The ways in which a connection is refused.
const REFUSALS: [(&str, Refusal); 10] = [
    ("400", || answers::invalid("tweet.fields", "x", "is not one of the known ones")),
    ("401", answers::unauthorized),
    ("402", answers::credits_depleted),
    ("403", answers::not_enrolled),
    ("409", answers::without_rules),
    ("429", answers::rate_limited),
    ("429=connections", answers::too_many_connections),
    ("429=cap", answers::usage_capped),
    ("503", answers::unavailable),
    ("html", || answers::html(502)),
];

/// What may go wrong, by the names of the command line; `disconnect` and the refusals have more to them.
const NAMES: [(&str, Fault); 23] = [
    ("end", Fault::End),
    ("torn", Fault::TornClose),
    ("reset", Fault::TornReset),
    ("half-open", Fault::HalfOpen),
    ("only-keep-alives", Fault::OnlyKeepAlives),
    ("partial-error", Fault::PartialError),
    ("unknown", Fault::Unknown),
    ("numeric-ids", Fault::NumericIds),
    ("null-tag", Fault::NullTag),
    ("huge-line", Fault::HugeLine),
    ("invalid-utf8", Fault::InvalidUtf8),
    ("bad-json", Fault::BadJson),
    ("lone-surrogate", Fault::LoneSurrogate),
    ("line-feed", Fault::BareLineFeed),
    ("twice", Fault::Twice),
    ("keep-alives", Fault::KeepAlives),
    ("flap", Fault::Flap),
    ("bytes", Fault::Written(Coding::Bytes)),
    ("random", Fault::Written(Coding::Random)),
    ("unflushed", Fault::Unflushed),
    ("late-keep-alives", Fault::LateKeepAlives),
    ("disconnect", Fault::Disconnect("OperationalDisconnect")),
    ("bare-disconnect", Fault::BareDisconnect("OperationalDisconnect")),
];

/// X's words for why it ends a stream.
const DISCONNECTS: [&str; 8] = [
    "OperationalDisconnect",
    "UpstreamOperationalDisconnect",
    "ForceDisconnect",
    "UpstreamUncleanDisconnect",
    "SlowReader",
    "InternalError",
    "ClientApplicationStateDegraded",
    "InvalidRules",
];

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, fault)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*fault);
        }
        if let Some((name, _)) = REFUSALS.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Refuse(name));
        }
        let (name, kind) = text.split_once('=').unwrap_or((text, ""));
        match (name, DISCONNECTS.into_iter().find(|known| *known == kind)) {
            ("disconnect", Some(kind)) => Ok(Self::Disconnect(kind)),
            ("bare-disconnect", Some(kind)) => Ok(Self::BareDisconnect(kind)),
            ("disconnect" | "bare-disconnect", None) => Err(format!("the kinds are {}", DISCONNECTS.join(", "))),
            _ => {
                let faults: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                let refusals: Vec<&str> = REFUSALS.iter().map(|(name, _)| *name).collect();
                Err(format!(
                    "`{text}` is no fault; there are, of posts and connections: {} (disconnect=TYPE names X's type); \
                     of connections that are refused: {}",
                    faults.join(", "),
                    refusals.join(", ")
                ))
            }
        }
    }
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

    /// Whether it goes with a connection, rather than with a post.
    fn is_of_connection(self) -> bool {
        matches!(self, Self::Refuse(_) | Self::Flap | Self::Written(_) | Self::Unflushed | Self::LateKeepAlives)
    }

    /// What a refused connection is told.
    pub(super) fn refusal(self) -> Option<Reply> {
        let Self::Refuse(wanted) = self else { return None };
        REFUSALS.iter().find(|(name, _)| *name == wanted).map(|(_, reply)| reply())
    }

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
#[derive(Debug, Default)]
pub struct Faults {
    /// Some kinds by turns, for a test that wants all of them.
    mixed: Option<Mixed>,
    seed: u64,
    of_posts: schedule::Faults<Fault>,
    posts: u64,
    of_connections: schedule::Faults<Fault>,
    connections: u64,
}

#[derive(Debug)]
struct Mixed {
    /// After how many posts the next one comes.
    every: Range<u64>,
    kinds: Vec<Fault>,
    random: StdRng,
    left: u64,
}

impl Faults {
    /// One of `kinds` after every so many posts.
    pub fn new(seed: u64, every: Range<u64>, kinds: impl IntoIterator<Item = Fault>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let left = random.random_range(every.clone());
        let mixed = Mixed { every, kinds: kinds.into_iter().collect(), random, left };
        Self { mixed: Some(mixed), ..Self::default() }
    }

    /// Those of the command line: `1%:torn, every 500:end, 10%:503`.
    pub fn named(seed: u64, faults: &schedule::Faults<Fault>) -> Self {
        Self {
            seed,
            of_posts: faults.only(|fault| !fault.is_of_connection()),
            of_connections: faults.only(|fault| fault.is_of_connection()),
            ..Self::default()
        }
    }

    /// These kinds by turns, and the others' named ones.
    #[must_use]
    pub fn and(self, named: Self) -> Self {
        Self { mixed: self.mixed, ..named }
    }

    /// The fault that goes with the next post.
    pub(super) fn next(&mut self) -> Option<Fault> {
        self.posts += 1;
        let named = self.of_posts.at(self.seed, self.posts);
        named.or_else(|| self.mixed.as_mut()?.next())
    }

    /// The fault that goes with the next connection.
    pub(super) fn next_of_connections(&mut self) -> Option<Fault> {
        self.connections += 1;
        self.of_connections.at(self.seed, self.connections)
    }
}

impl Mixed {
    fn next(&mut self) -> Option<Fault> {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 || self.kinds.is_empty() {
            return None;
        }
        self.left = self.random.random_range(self.every.clone()).max(1);
        Some(self.kinds[self.random.random_range(0..self.kinds.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_dealt_out() {
        let faults = "#2:torn, every 3:disconnect=SlowReader, #1:429=cap, #2:bytes".parse().unwrap();
        let mut faults = Faults::named(1, &faults);
        let posts: Vec<Option<Fault>> = (0..4).map(|_| faults.next()).collect();
        assert_eq!(posts, [None, Some(Fault::TornClose), Some(Fault::Disconnect("SlowReader")), None]);
        let connections: Vec<Option<Fault>> = (0..3).map(|_| faults.next_of_connections()).collect();
        assert_eq!(connections, [Some(Fault::Refuse("429=cap")), Some(Fault::Written(Coding::Bytes)), None]);
        assert_eq!(connections[0].unwrap().refusal().map(|reply| reply.status), Some(429));
        for (name, fault) in NAMES {
            assert_eq!(name.parse(), Ok(fault));
        }
        let wrong = |text: &str| text.parse::<schedule::Faults<Fault>>().unwrap_err();
        let disconnects = wrong("1%:disconnect=Bored");
        assert!(disconnects.contains("the kinds are OperationalDisconnect, "), "{disconnects}");
        let nothing = wrong("1%:teapot");
        assert!(nothing.starts_with("`1%:teapot`: `teapot` is no fault; there are, of posts"), "{nothing}");
        assert!(nothing.contains("half-open") && nothing.contains("429=cap"), "{nothing}");
    }
}
