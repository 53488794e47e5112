//! Where a stream was read to, for an upstream that can go on from there.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record::time_text;
use crate::source::Note;

/// Records that are younger than their connection by no more than this have caught up with it.
const CAUGHT_UP: TimeDelta = TimeDelta::seconds(5);

/// Where the source stands: the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Spot {
    /// The greatest number, or the last text, that a message gave as its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heard_at: Option<DateTime<Utc>>,
    /// From when on upstream is sending again what was missed, while it is not done: a connection may break meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missed_from: Option<DateTime<Utc>>,
    /// The last numbers of sequences that outlive a connection.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sequences: BTreeMap<String, u64>,
}

impl Spot {
    /// Takes the place of a message.
    pub(super) fn reach(&mut self, place: &str, now: DateTime<Utc>) {
        let is_further = match (self.place.as_deref().map(str::parse::<u64>), place.parse::<u64>()) {
            (Some(Ok(known)), Ok(new)) => new > known,
            (Some(Ok(_)), Err(_)) => false,
            _ => true,
        };
        if is_further {
            self.place = Some(place.to_owned());
            self.heard_at = Some(now);
        }
    }

    /// What upstream is asked to go on from.
    pub(super) fn asked(&self, rewind: u64) -> Option<String> {
        let place = self.place.as_ref()?;
        Some(place.parse::<u64>().map_or_else(|_| place.clone(), |number| number.saturating_sub(rewind).to_string()))
    }
}

/// A connection that was asked for what was missed.
#[derive(Debug, Clone)]
pub(super) struct Resumed {
    /// Up to where it was read before.
    place: String,
    /// From then on it was missed.
    pub(super) from: DateTime<Utc>,
    connected_at: DateTime<Utc>,
    /// Whether what came first was read before, or is that place itself: then upstream has gone on from there.
    is_honoured: Option<bool>,
}

impl Resumed {
    pub(super) fn new(spot: &Spot, connected_at: DateTime<Utc>) -> Option<Self> {
        let from = spot.missed_from.or(spot.heard_at)?;
        Some(Self { place: spot.place.clone()?, from, connected_at, is_honoured: None })
    }

    /// Takes the place of a message. Only the first tells anything.
    pub(super) fn saw(&mut self, place: &str) {
        if self.is_honoured.is_none() {
            let overlaps = match (place.parse::<u64>(), self.place.parse::<u64>()) {
                (Ok(first), Ok(last)) => first <= last,
                _ => place == self.place,
            };
            self.is_honoured = Some(overlaps);
        }
    }

    /// What there is to say once it is known: that all of it came again, or that upstream began later. `published_at` is when
    /// the last record happened.
    pub(super) fn end(&self, published_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Note> {
        if self.is_honoured? {
            let is_over = published_at.is_none_or(|at| at >= self.connected_at - CAUGHT_UP);
            return is_over.then(|| Note::filled(self.from - BEFORE, now, "replay"));
        }
        let until = published_at.filter(|at| *at > self.from).unwrap_or(self.connected_at).min(self.connected_at);
        Some(not_filled(self.from, until, "upstream did not go on from where it was asked to"))
    }
}

/// What the driver calls a gap begins when the connection was last heard, and that may be a moment before what is known here.
/// Everything from before was read.
const BEFORE: TimeDelta = TimeDelta::seconds(1);

/// What was missed is missed.
pub(super) fn not_filled(from: DateTime<Utc>, to: DateTime<Utc>, why: &str) -> Note {
    let data = json!({ "from": time_text(&from), "to": time_text(&to), "by": "replay", "why": why, "again": false });
    Note::new("not_filled", data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_417_445 + seconds, 0).unwrap()
    }

    #[test]
    fn the_greatest_place_is_gone_on_from() {
        let mut spot = Spot::default();
        for place in ["10", "12", "11", "x"] {
            spot.reach(place, at(0));
        }
        assert_eq!(
            (spot.asked(0).as_deref(), spot.asked(5).as_deref(), spot.asked(50).as_deref()),
            (Some("12"), Some("7"), Some("0"))
        );
        let mut words = Spot::default();
        words.reach("b", at(0));
        words.reach("a", at(1));
        assert_eq!(words.asked(7).as_deref(), Some("a"));
    }

    #[test]
    fn only_what_overlaps_is_called_filled() {
        let spot = Spot { place: Some("100".into()), heard_at: Some(at(0)), ..Spot::default() };
        for (first, published_at, expected) in [
            ("98", Some(at(60)), Some("filled")),
            ("100", Some(at(30)), None),
            ("100", None, Some("filled")),
            ("101", Some(at(30)), Some("not_filled")),
        ] {
            let mut resumed = Resumed::new(&spot, at(60)).unwrap();
            assert!(resumed.end(Some(at(60)), at(61)).is_none(), "nothing has come yet");
            resumed.saw(first);
            resumed.saw("500");
            assert_eq!(resumed.end(published_at, at(61)).map(|note| note.kind), expected, "{first}");
        }
    }
}
