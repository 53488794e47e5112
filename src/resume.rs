//! Where a stream was read to, and whether upstream has gone on from there: one set of rules for every adapter whose upstream
//! sends again what was missed.
//!
//! A server that knows nothing of being asked to go on passes over it, and its answer looks the same. So that is called filled
//! which the messages themselves show to be, and what they cannot show is not spoken of.

use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record::time_text;
use crate::source::Note;

/// Upstream is done with what was missed when the connection is older than the time that it was missed in, by so much: one
/// that takes longer would never be.
const LATENESS: TimeDelta = TimeDelta::seconds(10);

/// What the driver calls a gap begins when the connection was last heard, and that may be a moment before what is known here.
/// Everything from before was read.
const BEFORE: TimeDelta = TimeDelta::seconds(1);

/// Where a source stands, as its cursor has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spot {
    /// The place of the last message, or the greatest, as upstream wrote it.
    #[serde(alias = "last_event_id", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<DateTime<Utc>>,
    /// From when on upstream is sending again what was missed, while it is not done: a connection may break meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_from: Option<DateTime<Utc>>,
}

impl Spot {
    /// Stands at the place of the last message, whatever it is.
    pub fn stand_at(&mut self, place: &str, now: DateTime<Utc>) {
        if self.place.as_deref() != Some(place) {
            self.place = Some(place.to_owned());
            self.heard_at = Some(now);
        }
    }

    /// Takes the place of a message, where the greatest number counts. A text takes the place of another, not of a number.
    pub fn reach(&mut self, place: &str, now: DateTime<Utc>) {
        let is_further = match (self.place.as_deref().map(number), number(place)) {
            (Some(Some(known)), Some(new)) => new > known,
            (Some(Some(_)), None) => false,
            _ => true,
        };
        if is_further {
            self.stand_at(place, now);
        }
    }

    /// What upstream is asked to go on from: a number less `rewind`, or the text.
    pub fn asked(&self, rewind: u64) -> Option<String> {
        let place = self.place.as_ref()?;
        match number(place) {
            Some(number) if rewind > 0 => Some(number.saturating_sub(rewind.into()).to_string()),
            _ => Some(place.clone()),
        }
    }
}

/// A number of plain digits.
fn number(place: &str) -> Option<u128> {
    let is_number = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| place.parse().ok()).flatten()
}

/// What the first message shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Upstream has gone on from where it was asked to.
    GoesOn,
    /// It went on behind it: what was between has not come, if there was anything.
    Later,
    /// Its numbers are less than they were, and what they number is new: it counts anew.
    Anew,
    /// It shows nothing.
    Unknown,
}

/// A connection that was asked for what was missed.
#[derive(Debug, Clone)]
pub struct Resumed {
    last: String,
    /// Upstream begins with the last place, or so much before it; `None` where it begins after it.
    rewind: Option<u64>,
    /// From then on it was missed.
    from: DateTime<Utc>,
    /// The same, where a connection before this one was sent some of it.
    carried: Option<DateTime<Utc>>,
    connected_at: DateTime<Utc>,
    /// What the first message was, when it happened, and how many signs of life there were before it.
    first: Option<(First, Option<DateTime<Utc>>, u64)>,
}

/// What a connection has brought.
#[derive(Debug, Clone, Copy)]
pub struct SoFar {
    /// The time now.
    pub now: DateTime<Utc>,
    /// When the last record happened.
    pub published_at: Option<DateTime<Utc>>,
    /// Signs of life that only come when there is nothing else to send.
    pub signs: u64,
    /// There was a pause between two of its messages.
    pub was_quiet: bool,
}

impl Resumed {
    /// A connection that was made at `connected_at`, and asked for what comes from the spot on, less `rewind`; after the spot
    /// where that is `None`.
    pub fn new(spot: &Spot, rewind: Option<u64>, connected_at: DateTime<Utc>) -> Option<Self> {
        let from = spot.missed_from.or(spot.heard_at)?;
        let last = spot.place.clone()?;
        Some(Self { last, rewind, from, carried: spot.missed_from, connected_at, first: None })
    }

    /// From when on upstream is sending again, as far as it is known to.
    pub fn missed_from(&self) -> Option<DateTime<Utc>> {
        match self.first {
            None => self.carried,
            Some((first, ..)) => (first == First::GoesOn).then_some(self.from),
        }
    }

    /// Whether a message has come.
    pub fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// A message with this place has come, which happened then, after so many signs of life. Only the first shows anything,
    /// and only then is that returned.
    pub fn saw(&mut self, place: &str, published_at: Option<DateTime<Utc>>, signs: u64) -> Option<First> {
        if self.first.is_some() {
            return None;
        }
        let first = self.judge(place, published_at);
        self.first = Some((first, published_at, signs));
        Some(first)
    }

    fn judge(&self, place: &str, published_at: Option<DateTime<Utc>>) -> First {
        let (Some(first), Some(last)) = (number(place), number(&self.last)) else {
            // Only upstream knows what these mean. It begins with the one that it was told, or shows nothing.
            return if place == self.last { First::GoesOn } else { First::Unknown };
        };
        if first > last.saturating_add(1) {
            // One that begins after the last may count in steps: nothing says then what is between.
            return if self.rewind.is_some() { First::Later } else { First::Unknown };
        }
        if first >= last.saturating_sub(self.rewind.unwrap_or_default().into()) {
            return First::GoesOn;
        }
        // Before what it was asked for: what it sends again is old, or its numbers are not those that they were.
        match published_at {
            Some(at) if at <= self.from => First::GoesOn,
            Some(_) => First::Anew,
            None => First::Unknown,
        }
    }

    /// Whether there is nothing more to be seen: everything that was missed has come, because what came last is of after the
    /// connection, or upstream had a pause, or has had as long as it may need; or it is clear that it will not come.
    pub fn is_over(&self, so_far: &SoFar) -> bool {
        let Some((first, _, signs)) = self.first else { return false };
        first != First::GoesOn
            || so_far.was_quiet
            || so_far.signs > signs
            || so_far.published_at.is_some_and(|at| at >= self.connected_at)
            || so_far.now - self.connected_at >= self.connected_at - self.from + LATENESS
    }

    /// What there is to be said once it is over.
    pub fn note(&self, now: DateTime<Utc>) -> Option<Note> {
        let (first, published_at, _) = self.first?;
        let why = match first {
            First::GoesOn => return Some(Note::filled(self.from - BEFORE, now, "replay")),
            First::Later => "upstream went on later than it was asked to",
            First::Anew => "upstream did not go on from where it was asked to: it counts anew",
            First::Unknown => return None,
        };
        let until = published_at.filter(|at| *at > self.from).unwrap_or(self.connected_at).min(self.connected_at);
        Some(not_filled(self.from, until, why))
    }
}

/// What was missed is missed.
pub fn not_filled(from: DateTime<Utc>, to: DateTime<Utc>, why: &str) -> Note {
    let data = json!({ "from": time_text(&from), "to": time_text(&to), "by": "replay", "why": why, "again": false });
    Note::new("not_filled", data)
}

/// Statuses by which a server may say that it cannot go on from there.
pub fn is_about_the_place(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 410 | 412 | 416 | 422)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_417_445 + second, 0).unwrap()
    }

    fn resumed(last: &str, rewind: impl Into<Option<u64>>) -> Resumed {
        let spot = Spot { place: Some(last.into()), heard_at: Some(at(10)), missed_from: None };
        Resumed::new(&spot, rewind.into(), at(20)).unwrap()
    }

    #[test]
    fn the_greatest_number_is_gone_on_from_and_the_last_text() {
        let mut spot = Spot::default();
        for place in ["10", "12", "11", "x"] {
            spot.reach(place, at(0));
        }
        assert_eq!([0, 5, 50].map(|rewind| spot.asked(rewind).unwrap()), ["12", "7", "0"]);
        let mut words = Spot::default();
        words.reach("b", at(0));
        words.reach("a", at(1));
        assert_eq!((words.asked(7).as_deref(), words.heard_at), (Some("a"), Some(at(1))));
        let mut padded = Spot::default();
        padded.stand_at("0099", at(0));
        assert_eq!(padded.asked(0).as_deref(), Some("0099"), "as it came");
    }

    /// Every kind of upstream: numbers, opaque ids, Wikimedia's lists, Jetstream's times with a rewind, and its numbers.
    #[test]
    fn only_what_the_first_message_shows_is_called_filled() {
        let array = r#"[{"topic":"a","partition":0,"timestamp":1}]"#;
        let other = r#"[{"topic":"a","partition":0,"timestamp":2}]"#;
        for (last, rewind, first, published_at, expected) in [
            ("7", 0, "8", None, First::GoesOn),
            ("7", 0, "7", None, First::GoesOn),
            ("0099", 0, "0100", None, First::GoesOn),
            ("7", 0, "9", Some(20), First::Later),
            ("7", 0, "+8", None, First::Unknown),
            ("a7", 0, "a7", None, First::GoesOn),
            ("a7", 0, "a8", None, First::Unknown),
            (array, 0, array, None, First::GoesOn),
            (array, 0, other, Some(5), First::Unknown),
            ("1000", 50, "950", None, First::GoesOn),
            ("1000", 50, "1000", None, First::GoesOn),
            ("1000", 50, "1400", Some(15), First::Later),
            // It goes back further than it was asked to, to what is old.
            ("1000", 50, "900", Some(9), First::GoesOn),
            // Each connection is numbered from 1, or the server lost its numbers.
            ("1000", 0, "1", Some(21), First::Anew),
            ("1000", 0, "1", None, First::Unknown),
        ] {
            let mut resumed = resumed(last, rewind);
            assert!(resumed.note(at(30)).is_none(), "nothing has come yet");
            assert_eq!(resumed.saw(first, published_at.map(at), 0), Some(expected), "{last} {first}");
            assert_eq!(resumed.saw("5000", None, 0), None);
            let kind = resumed.note(at(30)).map(|note| note.kind);
            let wanted = match expected {
                First::GoesOn => Some("filled"),
                First::Later | First::Anew => Some("not_filled"),
                First::Unknown => None,
            };
            assert_eq!(kind, wanted, "{last} {first}");
        }
        // Of one that begins after the last, numbers in steps show nothing, and the next one does.
        for (first, expected) in [("9", First::Unknown), ("8", First::GoesOn)] {
            assert_eq!(resumed("7", None).saw(first, Some(at(20)), 0), Some(expected), "{first}");
        }
    }

    #[test]
    fn a_replay_is_over_when_there_is_nothing_left_of_it() {
        let spot = Spot { place: Some("7".into()), heard_at: Some(at(10)), missed_from: Some(at(5)) };
        let mut resumed = Resumed::new(&spot, Some(0), at(20)).unwrap();
        let so_far = |now, published_at: Option<i64>, signs, was_quiet| SoFar {
            now: at(now),
            published_at: published_at.map(at),
            signs,
            was_quiet,
        };
        assert!(!resumed.is_over(&so_far(50, Some(25), 3, true)), "nothing has come yet");
        assert_eq!(resumed.missed_from(), Some(at(5)), "as it was");
        resumed.saw("8", None, 1);
        assert_eq!(resumed.missed_from(), Some(at(5)), "since before the last connection broke");
        for (so_far, expected) in [
            (so_far(21, None, 1, false), false),
            (so_far(21, Some(19), 1, false), false),
            (so_far(21, Some(20), 1, false), true),
            (so_far(21, None, 2, false), true),
            (so_far(21, None, 1, true), true),
            (so_far(44, None, 1, false), false),
            (so_far(45, None, 1, false), true),
        ] {
            assert_eq!(resumed.is_over(&so_far), expected, "{so_far:?}");
        }
        let mut other = Resumed::new(&spot, Some(0), at(20)).unwrap();
        other.saw("99", Some(at(12)), 1);
        assert_eq!(other.missed_from(), None, "it does not go on");
        assert!(other.is_over(&so_far(21, None, 1, false)), "which is said at once");
        let data = other.note(at(21)).unwrap().data;
        assert_eq!((&data["from"], &data["to"]), (&json!(time_text(&at(5))), &json!(time_text(&at(12)))));
    }

    #[test]
    fn cursors_of_both_adapters_are_read_as_they_were_written_before() {
        let sse = r#"{"last_event_id":"7","heard_at":"2026-11-23T07:04:05Z"}"#;
        let websocket = r#"{"place":"7","heard_at":"2026-11-23T07:04:05Z","missed_from":"2026-11-23T07:00:00Z"}"#;
        for (text, is_missed) in [(sse, false), (websocket, true)] {
            let spot: Spot = serde_json::from_str(text).unwrap();
            assert_eq!((spot.place.as_deref(), spot.missed_from.is_some()), (Some("7"), is_missed));
            assert!(spot.heard_at.is_some());
        }
        assert_eq!(serde_json::from_str::<Spot>(r#"{"last_event_id":null}"#).unwrap(), Spot::default());
    }
}
