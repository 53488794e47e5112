//! Every source that there is, and how it is.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::pipeline::commit::source_key;
use crate::record::time_text;

use super::committed::Committed;
use super::saved::{SavedSource, Tally};
use super::source::{Facts, File};

/// What is said of one source.
pub struct State {
    /// What is known of it.
    pub facts: Facts,
    /// Its state in words.
    pub words: String,
    /// Whether nobody has to do anything.
    pub is_well: bool,
    now: DateTime<Utc>,
}

/// Every source that has a file or a saved state, by name.
pub fn states(committed: &Committed, mut files: BTreeMap<String, File>) -> Vec<State> {
    let now = committed.now;
    let saved = committed.names("source/").map(str::to_owned);
    let names: BTreeSet<String> = saved.chain(files.keys().cloned()).collect();
    let state_of = |name: String| {
        let value = committed.state().get(&source_key(&name));
        let saved = value.map(|value| SavedSource::read(value));
        let file = files.remove(&name).unwrap_or(File::Gone);
        let facts = Facts { name, file, saved, service: committed.service.clone() };
        let (words, is_well) = facts.words(now);
        State { facts, words, is_well, now }
    };
    names.into_iter().map(state_of).collect()
}

impl State {
    /// An object for programs.
    pub fn json(&self) -> Value {
        let Facts { name, file, saved, .. } = &self.facts;
        let text = |at: Option<DateTime<Utc>>| at.as_ref().map(time_text);
        let saved = saved.as_ref();
        let tally = saved.map(|saved| &saved.tally);
        let spent = tally.and_then(|tally| tally.spent.as_ref());
        json!({
            "source": name,
            "kind": file.kind(),
            "file": file.word(),
            "runs": self.facts.runs(),
            "well": self.is_well,
            "words": self.words,
            "state": tally.and_then(|tally| tally.state.as_deref()),
            "since": text(tally.and_then(|tally| tally.since)),
            "why": tally.and_then(|tally| tally.why.as_deref()),
            "until": text(tally.and_then(|tally| tally.until)),
            "slot": text(saved.and_then(|saved| saved.slot)),
            "alive_at": text(saved.and_then(|saved| saved.alive_at)),
            "record_at": text(tally.and_then(|tally| tally.record_at)),
            "records": tally.and_then(|tally| tally.records),
            "rejects": tally.and_then(|tally| tally.rejects),
            "ignored": tally.map(|tally| &tally.ignored),
            "records_per_minute": tally.and_then(|tally| tally.rate(self.now)),
            "lag_seconds": tally.and_then(Tally::lag),
            "spent_today": spent.map(|spent| spent.today),
            "spent_this_month": spent.map(|spent| spent.this_month),
        })
    }
}
