//! What goes wrong on a stream.

use std::str::FromStr;

use super::wikimedia;
use crate::simulator::faults::streams::{self, OfStream, Refusal, find, names};
use crate::simulator::line::Coding;
use crate::simulator::server::Reply;

/// Something that goes wrong on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The body ends in order, before the event.
    End,
    /// The connection ends in the middle of the event.
    TornClose,
    /// The connection is reset in the middle of the event.
    TornReset,
    /// Nothing comes any more, and the connection stays open.
    HalfOpen,
    /// Comments, and events are held back for good.
    OnlyComments,
    /// An event `error` comes instead, and the end, as Wikimedia's server has it.
    ErrorEvent,
    /// The event comes twice.
    Twice,
    /// The event comes after the next one.
    Late,
    /// Before it an event whose data is not UTF-8.
    InvalidUtf8,
    /// Before it an event of 10 MB.
    Huge,
    /// Before it a line of 10 MB that means nothing.
    HugeComment,
    /// Before it fields that nobody knows, empty events and comments.
    Odd,
    /// Before it a time of reconnection.
    Retry,
    /// A connection is refused. The name is a status, or one with more to it: `429=2`.
    Refuse(&'static str),
    /// A connection is accepted, and ended at once.
    Flap,
    /// A connection is written in this way.
    Written(Coding),
    /// A connection's gzip is never flushed.
    Unflushed,
    /// A connection begins with a byte order mark.
    Mark,
}

/// The ways in which a connection is refused.
const REFUSALS: [(&str, Refusal); 15] = [
    ("204", || Reply::new(204, "text/plain", "")),
    ("400", || Reply::new(400, "text/plain", "bad request")),
    ("401", || Reply::new(401, "application/json", r#"{"error":"The access token is invalid"}"#)),
    ("403", || Reply::new(403, "application/json", r#"{"error":"This action is not allowed"}"#)),
    ("404", || Reply::new(404, "text/plain", "not found")),
    ("410", || Reply::new(410, "text/plain", "gone")),
    ("429", wikimedia::too_many_connections),
    ("429=2", || Reply::new(429, "text/plain", "slow down").with("Retry-After", "2")),
    ("500", || Reply::new(500, "text/plain", "internal error")),
    ("502", || Reply::new(502, "text/html", "<html><body><h1>Bad gateway</h1></body></html>")),
    ("503", || Reply::new(503, "text/plain", "unavailable")),
    ("503=2", || Reply::new(503, "text/plain", "unavailable").with("Retry-After", "2")),
    ("json", || Reply::new(200, "application/json", r#"{"streams":["recentchange"]}"#)),
    ("plain", || Reply::new(200, "text/plain", "data: 1\n\n")),
    ("block", || Reply::new(200, "text/html", "<title>Just a moment...</title>").with("cf-mitigated", "challenge")),
];

/// What may go wrong, by the names of the command line; the refusals beside.
const NAMES: [(&str, Fault); 19] = [
    ("end", Fault::End),
    ("torn", Fault::TornClose),
    ("reset", Fault::TornReset),
    ("half-open", Fault::HalfOpen),
    ("only-comments", Fault::OnlyComments),
    ("error", Fault::ErrorEvent),
    ("twice", Fault::Twice),
    ("late", Fault::Late),
    ("invalid-utf8", Fault::InvalidUtf8),
    ("huge", Fault::Huge),
    ("huge-comment", Fault::HugeComment),
    ("odd", Fault::Odd),
    ("retry", Fault::Retry),
    ("flap", Fault::Flap),
    ("bytes", Fault::Written(Coding::Bytes)),
    ("random", Fault::Written(Coding::Random)),
    ("drip", Fault::Written(Coding::Drip)),
    ("unflushed", Fault::Unflushed),
    ("mark", Fault::Mark),
];

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = find(&NAMES, text).map(|(_, fault)| fault);
        let refusal = || find(&REFUSALS, text).map(|(name, _)| Self::Refuse(name));
        fault.or_else(refusal).ok_or_else(|| {
            format!(
                "`{text}` is no fault; there are, of events and connections: {}; of connections that are refused: {}",
                names(&NAMES),
                names(&REFUSALS)
            )
        })
    }
}

impl Fault {
    /// Those that spoil no event and end no connection.
    pub const HARMLESS: [Self; 5] = [Self::Twice, Self::InvalidUtf8, Self::Odd, Self::Late, Self::HugeComment];

    /// Those that end a connection.
    pub const ENDS: [Self; 4] = [Self::End, Self::TornClose, Self::TornReset, Self::ErrorEvent];
}

impl OfStream for Fault {
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::Refuse(_) | Self::Flap | Self::Written(_) | Self::Unflushed | Self::Mark)
    }

    fn refusal(self) -> Option<Reply> {
        let Self::Refuse(name) = self else { return None };
        find(&REFUSALS, name).map(|(_, reply)| reply())
    }
}

/// What goes wrong, and when.
pub type Faults = streams::Faults<Fault>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::faults as schedule;

    #[test]
    fn names_are_read_and_dealt_out() {
        let faults = "#2:torn, every 3:end, #1:429=2, #2:drip".parse().unwrap();
        let mut faults = Faults::named(1, &faults);
        let events: Vec<Option<Fault>> = (0..4).map(|_| faults.next()).collect();
        assert_eq!(events, [None, Some(Fault::TornClose), Some(Fault::End), None]);
        let connections: Vec<Option<Fault>> = (0..3).map(|_| faults.next_of_connections()).collect();
        assert_eq!(connections, [Some(Fault::Refuse("429=2")), Some(Fault::Written(Coding::Drip)), None]);
        assert_eq!(connections[0].unwrap().refusal().map(|reply| reply.status), Some(429));
        for (name, fault) in NAMES {
            assert_eq!(name.parse(), Ok(fault));
        }
        let nothing = "1%:teapot".parse::<schedule::Faults<Fault>>().unwrap_err();
        assert!(nothing.starts_with("`1%:teapot`: `teapot` is no fault; there are, of events"), "{nothing}");
        assert!(nothing.contains("half-open") && nothing.contains("503=2"), "{nothing}");
    }
}
