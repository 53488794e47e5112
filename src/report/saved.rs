//! What a driver has saved of its source, read for those who look, with patience: every part may be absent, or of
//! another version's form.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::item::Ignored;
use crate::pipeline::ledger::Book;
use crate::source::Outcome;

/// The saved state of a source, as far as it is known.
#[derive(Debug, Default)]
pub struct SavedSource {
    /// The last scheduled time that had its outcome.
    pub slot: Option<DateTime<Utc>>,
    /// When a stream was last known to be read.
    pub alive_at: Option<DateTime<Utc>>,
    /// The counts that are open, and the entries on their way to the ledger.
    pub book: Option<Book>,
    /// How it is.
    pub tally: Tally,
}

/// How a source is, in the words of its driver.
#[derive(Debug, Default)]
pub struct Tally {
    /// Since when it is in this state.
    pub since: Option<DateTime<Utc>>,
    /// The state: `connecting`, `streaming`, `scheduled`, `waiting`, `over_budget`, `stopped`, `refused`, `finished`.
    pub state: Option<String>,
    /// Why it is.
    pub why: Option<String>,
    /// Until when it waits.
    pub until: Option<DateTime<Utc>>,
    /// Since when a stream has no connection.
    pub lost: Option<Lost>,
    /// All records that it has written.
    pub records: Option<u64>,
    /// All rejects.
    pub rejects: Option<u64>,
    /// Records that upstream sent again.
    pub duplicates: Option<u64>,
    /// What came and is not wanted, by the key that says so.
    pub ignored: Ignored,
    /// Ticks by their outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Ticks that nobody was there for.
    pub missed: Option<u64>,
    /// Connections that showed life.
    pub connects: Option<u64>,
    /// When the last record was observed.
    pub record_at: Option<DateTime<Utc>>,
    /// When upstream says that that one happened.
    pub published_at: Option<DateTime<Utc>>,
    /// Records in each of the last minutes, by the number of the minute since 1970; the newest last.
    pub minutes: Vec<(i64, u64)>,
    /// What a billed source has spent.
    pub spent: Option<Spent>,
    /// That too few of the last ticks are good.
    pub unreliable: Option<Unreliable>,
    /// What is not as it should be though records come, by what it is about.
    pub ailments: BTreeMap<String, Ailing>,
}

/// That too few of the last ticks are good.
#[derive(Debug, Clone, Deserialize)]
pub struct Unreliable {
    /// Since when.
    pub since: DateTime<Utc>,
    /// How many failed.
    pub failed: u64,
    /// Of how many.
    pub of: u64,
    /// What the last failure was.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
}

/// Something that is not as it should be though records come.
#[derive(Debug, Clone, Deserialize)]
pub struct Ailing {
    /// Since when.
    pub since: DateTime<Utc>,
    /// What is wrong.
    pub why: String,
}

/// A stream that has no connection.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Lost {
    /// Since when.
    pub at: DateTime<Utc>,
    /// What its failures are: an error, or a block.
    pub outcome: Outcome,
}

/// What a billed source has spent.
#[derive(Debug, Clone, Deserialize)]
pub struct Spent {
    /// The day that `today` is of.
    #[serde(default)]
    pub day: String,
    /// Records of that day.
    #[serde(default)]
    pub today: u64,
    /// The month that `this_month` is of.
    #[serde(default)]
    pub month: String,
    /// Records of that month.
    #[serde(default)]
    pub this_month: u64,
}

impl SavedSource {
    /// Reads what the commit log has under a source's key.
    pub fn read(saved: &RawValue) -> Self {
        let parts: Parts = serde_json::from_str(saved.get()).unwrap_or_default();
        let tally: Parts = part(&parts, "tally").unwrap_or_default();
        Self {
            slot: part(&parts, "slot"),
            alive_at: part(&parts, "alive_at"),
            book: part(&parts, "book"),
            tally: Tally {
                since: part(&tally, "since"),
                state: part(&tally, "state"),
                why: part(&tally, "why"),
                until: part(&tally, "until"),
                lost: part(&tally, "lost"),
                records: part(&tally, "records"),
                rejects: part(&tally, "rejects"),
                duplicates: part(&tally, "duplicates"),
                ignored: part(&tally, "ignored").unwrap_or_default(),
                outcomes: part(&tally, "outcomes").unwrap_or_default(),
                missed: part(&tally, "missed"),
                connects: part(&tally, "connects"),
                record_at: part(&tally, "record_at"),
                published_at: part(&tally, "published_at"),
                minutes: part(&tally, "minutes").unwrap_or_default(),
                spent: part(&tally, "spent"),
                unreliable: part(&tally, "unreliable"),
                ailments: part(&tally, "ailments").unwrap_or_default(),
            },
        }
    }
}

/// An object's values as they are written, so that each is read for itself.
type Parts = HashMap<String, Box<RawValue>>;

fn part<T: DeserializeOwned>(parts: &Parts, key: &str) -> Option<T> {
    serde_json::from_str(parts.get(key)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_read_for_itself() {
        let state = r#"{"cursor":[1],"slot":"2026-11-23T07:04:05Z","alive_at":7,"book":{"next":3},
            "tally":{"state":"streaming","minutes":[[29916666,12]],"records":"many","until":null,"new":{}}}"#;
        let saved = SavedSource::read(&RawValue::from_string(state.to_owned()).unwrap());
        assert_eq!(saved.slot, Some("2026-11-23T07:04:05Z".parse().unwrap()));
        assert_eq!(saved.alive_at, None);
        assert!(saved.book.is_some());
        assert_eq!(saved.tally.state.as_deref(), Some("streaming"));
        assert_eq!(saved.tally.minutes, [(29_916_666, 12)]);
        assert_eq!((saved.tally.records, saved.tally.until), (None, None));
        let other = SavedSource::read(&RawValue::from_string("[]".to_owned()).unwrap());
        assert!(other.slot.is_none() && other.book.is_none());
    }
}
