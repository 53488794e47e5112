//! Where a stream was read to, and whether a server has gone on from there.

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::source::Note;

/// Where the source stands: the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    /// The last id, as it came. The server alone knows what it means.
    pub(super) last_event_id: Option<String>,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heard_at: Option<DateTime<Utc>>,
    /// From when on the server is sending again what was missed, while it is not done: a connection may break meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missed_from: Option<DateTime<Utc>>,
}

impl Place {
    /// The id as it is sent back; `None` for one that no header can carry, which an id with a control character is.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let id = self.last_event_id.as_ref().filter(|id| !id.is_empty())?;
        HeaderValue::from_bytes(id.as_bytes()).ok()
    }
}

/// A server is done with what was missed when the connection is older than the time that it was missed in, by so much: one
/// that takes longer would never be.
const LATENESS: TimeDelta = TimeDelta::seconds(10);

/// A connection that was asked for what was missed.
///
/// A server that knows nothing of `Last-Event-ID` passes over it, and its answer looks the same. So that is only called
/// filled which the events show to be: the first of them is the one that was sent as the last, because the server begins with it,
/// or has the number after it.
#[derive(Debug)]
pub(super) struct Resumed {
    sent: String,
    /// From then on it was missed.
    from: DateTime<Utc>,
    /// The same, where a connection before this one was sent some of it.
    carried: Option<DateTime<Utc>>,
    /// When the connection was made.
    connected_at: DateTime<Utc>,
    /// How many comments there were before the first event that has an id.
    comments: Option<u64>,
    is_honoured: bool,
}

/// What a connection has brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoFar {
    pub(super) now: DateTime<Utc>,
    /// When the last event happened.
    pub(super) published_at: Option<DateTime<Utc>>,
    pub(super) comments: u64,
    /// There was a pause between two of its events.
    pub(super) was_quiet: bool,
}

impl Resumed {
    /// A connection that was made now.
    pub(super) fn new(place: &Place, connected_at: DateTime<Utc>) -> Option<Self> {
        let Place { last_event_id, heard_at, missed_from } = place.clone();
        let from = missed_from.or(heard_at)?;
        Some(Self {
            sent: last_event_id?,
            from,
            carried: missed_from,
            connected_at,
            comments: None,
            is_honoured: false,
        })
    }

    /// From when on the server is sending again, as far as it is known to.
    pub(super) fn missed_from(&self) -> Option<DateTime<Utc>> {
        if self.has_begun() { self.is_honoured.then_some(self.from) } else { self.carried }
    }

    /// Whether an event has come.
    pub(super) fn has_begun(&self) -> bool {
        self.comments.is_some()
    }

    /// An event with this id has come, after so many comments.
    pub(super) fn saw(&mut self, id: &str, comments: u64) {
        if self.comments.is_none() {
            self.comments = Some(comments);
            self.is_honoured = id == self.sent || follows(id, &self.sent);
        }
    }

    /// Whether everything that was missed has come: what came last is of after the connection, or the server had a pause, or
    /// has had as long as it may need.
    pub(super) fn is_over(&self, so_far: &SoFar) -> bool {
        let Some(before) = self.comments else { return false };
        so_far.was_quiet
            || so_far.comments > before
            || so_far.published_at.is_some_and(|at| at >= self.connected_at)
            || so_far.now - self.connected_at >= self.connected_at - self.from + LATENESS
    }

    /// What there is to be said once it is over.
    pub(super) fn note(&self, now: DateTime<Utc>) -> Option<Note> {
        self.is_honoured.then(|| Note::filled(self.from, now, "replay"))
    }
}

/// Whether one number is the next after another.
fn follows(id: &str, before: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.parse::<u128>().ok().filter(|_| is_number(text));
    number(before).and_then(|before| before.checked_add(1)).is_some_and(|next| number(id) == Some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        format!("2026-11-23T07:04:{second:02}Z").parse().unwrap()
    }

    /// The notes of a connection at 20 s whose events have these ids, after `sent`, which was heard at 10 s.
    fn note(sent: &str, ids: &[&str]) -> Option<String> {
        let place = Place { last_event_id: Some(sent.to_owned()), heard_at: Some(at(10)), missed_from: None };
        let mut resumed = Resumed::new(&place, at(20)).unwrap();
        for id in ids {
            resumed.saw(id, 1);
        }
        resumed.note(at(30)).map(|note| note.data.to_string())
    }

    #[test]
    fn only_what_is_shown_is_called_filled() {
        let array = r#"[{"topic":"a","partition":0,"timestamp":1}]"#;
        let filled = r#"{"from":"2026-11-23T07:04:10.000000Z","to":"2026-11-23T07:04:30.000000Z","by":"replay"}"#;
        for (sent, ids, is_filled) in [
            (array, &[array][..], true),
            ("7", &["8"], true),
            ("7", &["7", "8"], true),
            ("0099", &["0100"], true),
            ("7", &["9", "8", "7"], false),
            ("7", &[], false),
            ("a7", &["a8"], false),
            ("7", &["+8"], false),
            ("", &["1"], false),
        ] {
            assert_eq!(note(sent, ids).as_deref(), is_filled.then_some(filled), "{sent} {ids:?}");
        }
    }

    #[test]
    fn a_replay_is_over_when_there_is_nothing_left_of_it() {
        let place = Place { last_event_id: Some("7".into()), heard_at: Some(at(10)), missed_from: Some(at(5)) };
        let mut resumed = Resumed::new(&place, at(20)).unwrap();
        let so_far = |now, published_at, comments, was_quiet| SoFar { now: at(now), published_at, comments, was_quiet };
        assert!(!resumed.is_over(&so_far(50, Some(at(25)), 3, true)), "nothing has come yet");
        assert_eq!(resumed.missed_from(), Some(at(5)), "as it was");
        resumed.saw("8", 1);
        assert_eq!(resumed.missed_from(), Some(at(5)), "since before the last connection broke");
        let mut other = Resumed::new(&place, at(20)).unwrap();
        other.saw("99", 1);
        assert_eq!(other.missed_from(), None, "it does not go on");
        for (so_far, expected) in [
            (so_far(21, None, 1, false), false),
            (so_far(21, Some(at(19)), 1, false), false),
            (so_far(21, Some(at(20)), 1, false), true),
            (so_far(21, None, 2, false), true),
            (so_far(21, None, 1, true), true),
            (so_far(44, None, 1, false), false),
            (so_far(45, None, 1, false), true),
        ] {
            assert_eq!(resumed.is_over(&so_far), expected, "{so_far:?}");
        }
    }

    #[test]
    fn an_id_goes_back_as_it_came() {
        let header = |id: &str| Place { last_event_id: Some(id.into()), ..Place::default() }.header();
        for id in ["[{\"topic\":\"a b\",\"timestamp\":1}]", "é\u{1f408}", "a\tb", " 1"] {
            assert_eq!(header(id).unwrap().as_bytes(), id.as_bytes());
        }
        assert!(header("").is_none() && header("a\u{1}b").is_none());
    }
}
