//! What goes wrong on a stream.

use std::str::FromStr;

use super::answers;
use crate::simulator::faults::streams::{self, OfStream, Refusal, find, names};
use crate::simulator::line::Coding;
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
        if let Some((_, fault)) = find(&NAMES, text) {
            return Ok(fault);
        }
        if let Some((name, _)) = find(&REFUSALS, text) {
            return Ok(Self::Refuse(name));
        }
        let (name, kind) = text.split_once('=').unwrap_or((text, ""));
        match (name, DISCONNECTS.into_iter().find(|known| *known == kind)) {
            ("disconnect", Some(kind)) => Ok(Self::Disconnect(kind)),
            ("bare-disconnect", Some(kind)) => Ok(Self::BareDisconnect(kind)),
            ("disconnect" | "bare-disconnect", None) => Err(format!("the kinds are {}", DISCONNECTS.join(", "))),
            _ => Err(format!(
                "`{text}` is no fault; there are, of posts and connections: {} (disconnect=TYPE names X's type); \
                 of connections that are refused: {}",
                names(&NAMES),
                names(&REFUSALS)
            )),
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

impl OfStream for Fault {
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::Refuse(_) | Self::Flap | Self::Written(_) | Self::Unflushed | Self::LateKeepAlives)
    }

    fn refusal(self) -> Option<Reply> {
        let Self::Refuse(name) = self else { return None };
        find(&REFUSALS, name).map(|(_, reply)| reply())
    }
}

/// Which faults come, and how often.
pub type Faults = streams::Faults<Fault>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::faults as schedule;

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
