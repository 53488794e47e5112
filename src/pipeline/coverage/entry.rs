//! One entry of the ledger, read with patience: a key that is absent, or of another form, is only not known.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// An entry of the ledger, whoever wrote it and in which version.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Its id; empty for counts that are still open and have none yet.
    pub id: Cow<'a, str>,
    /// When it was written, in microseconds since 1970.
    pub at: i64,
    /// What it says happened.
    pub kind: Cow<'a, str>,
    /// The particulars.
    pub data: Map<String, Value>,
}

impl<'a> Entry<'a> {
    /// An entry of these parts; `None` when the time is not one. Data that is no object counts as empty.
    pub fn new(id: &'a str, at: &str, kind: &'a str, data: &str) -> Option<Self> {
        let data = serde_json::from_str(data).unwrap_or_default();
        Some(Self { id: id.into(), at: micros(at)?, kind: kind.into(), data })
    }

    /// The time under `key`, in microseconds since 1970.
    pub fn time(&self, key: &str) -> Option<i64> {
        micros(self.data.get(key)?.as_str()?)
    }

    /// The text under `key`; empty when there is none.
    pub fn text(&self, key: &str) -> &str {
        self.data.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The count under `key`.
    pub fn count(&self, key: &str) -> Option<u64> {
        self.data.get(key)?.as_u64()
    }

    /// The number in an id such as `l_1f_…`, which counts a source's entries.
    pub fn number(&self) -> Option<i64> {
        let (number, _) = self.id.strip_prefix("l_")?.split_once('_')?;
        i64::from_str_radix(number, 16).ok().filter(|number| *number < i64::MAX)
    }
}

/// A time of RFC 3339 in microseconds since 1970.
pub fn micros(text: &str) -> Option<i64> {
    text.parse::<DateTime<Utc>>().ok().map(|at| at.timestamp_micros())
}
