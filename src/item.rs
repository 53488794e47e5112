//! What an adapter extracts: items, and rejects, which are items that could not become records.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::source::Outcome;

/// The most raw text that a reject keeps, in bytes. Enough to see what the page said; a whole body would let
/// one broken page fill the disk.
pub const REJECT_RAW_BYTES_MAX: usize = 4 * 1024;

/// One thing that an adapter extracted.
#[derive(Debug, Clone)]
pub struct Item {
    /// Upstream's own identity with its letter, such as `x_1789…`. `None` where upstream has none: the driver then
    /// makes an id of source, scheduled time and ordinal.
    pub id: Option<String>,
    /// The record's `type`.
    pub kind: Cow<'static, str>,
    /// When upstream says that it happened.
    pub published_at: Option<DateTime<Utc>>,
    /// What it is about; for upstream JSON its own text, token for token.
    pub data: Box<RawValue>,
}

/// An item that could not become a record, kept with its reason.
#[derive(Debug, Clone, Serialize)]
pub struct Reject {
    /// Which outcome the tick gets from it: [`Outcome::Missing`] or [`Outcome::Invalid`]; of a page among several that did
    /// not come at all, [`Outcome::Error`] or [`Outcome::Blocked`].
    pub outcome: Outcome,
    /// Which field, as its path in the source's YAML (`fields.price`), where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong, in words, without secrets.
    pub reason: String,
    /// The text as it came, cut to [`REJECT_RAW_BYTES_MAX`].
    pub raw: String,
    /// Which page it is of, where one tick asks for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

impl Reject {
    /// Makes a reject whose raw text is cut at a character, never in one.
    pub fn new(outcome: Outcome, field: Option<String>, reason: impl Into<String>, raw: &str) -> Self {
        Self { outcome, field, reason: reason.into(), raw: cut_raw(raw).to_owned(), page: None }
    }
}

/// What a source's file says is not wanted: messages and items that become neither records nor rejects, counted by the key
/// that says so. A filter that lets nothing pass would else look like an upstream that says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ignored(BTreeMap<String, u64>);

impl Ignored {
    /// Counts some more by this key.
    pub fn add(&mut self, key: &str, count: u64) {
        match self.0.get_mut(key) {
            Some(known) => *known = known.saturating_add(count),
            None if count > 0 => drop(self.0.insert(key.to_owned(), count)),
            None => {}
        }
    }

    /// Counts those of another.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|(key, count)| self.add(key, count));
    }

    /// Each key with its count, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(key, count)| (key.as_str(), *count))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.iter().map(|(key, count)| format!("{count} by `{key}`")).collect();
        out.write_str(&each.join(", "))
    }
}

/// What upstream gave before and after it was no longer what the source expects; kept so that somebody can see what
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When something good was last kept, and what that was; `None` where nothing good was seen since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<(DateTime<Utc>, String)>,
    /// What it is now.
    pub after: String,
    /// What a browser showed of that, where one has drawn it: a PNG in base 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<String>,
    /// What is wrong with it, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// How one field of an item came about: what `tapline try` shows.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which page it is of, where one tick asks for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// Which record it belongs to, counted from 1, where one answer brings many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// Which field, as its path in the source's YAML (`fields.price`).
    pub field: String,
    /// Where the adapter looked, in the words of the YAML, such as a selector.
    pub rule: String,
    /// How many places matched.
    pub matched: usize,
    /// The text that was found, before it got a type; cut to [`REJECT_RAW_BYTES_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The typed value as JSON; `None` when there is none, and then `reason` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is proposed for a field that a page lacks.
#[derive(Debug, Clone, Serialize)]
pub struct Suggestion {
    /// Which field, as its path in the source's YAML.
    pub field: String,
    /// Its text on the page that had it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// The likeliest first.
    pub proposals: Vec<Proposal>,
}

/// A rule, and what it finds.
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    /// As it would stand in the file.
    pub rule: String,
    /// The text that it finds on the page as it is now.
    pub text: String,
}

/// Upstream's JSON as it came, for [`Item::data`].
///
/// # Errors
/// In words, when it is not JSON, or has half of a surrogate pair in it: `\ud83d` alone is no character, and most
/// readers and stores refuse the whole record for it.
pub fn raw_json(text: &str) -> Result<Box<RawValue>, String> {
    let json = serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?;
    keep_json(json)
}

/// The same of what has been read as JSON already.
///
/// # Errors
/// In words, when it has half of a surrogate pair in it.
pub fn keep_json(json: &RawValue) -> Result<Box<RawValue>, String> {
    match lone_surrogate(json.get()) {
        Some(at) => Err(format!("there is half of a surrogate pair at byte {at}, which is no character")),
        None => Ok(json.to_owned()),
    }
}

/// Where an escape stands that is half of a surrogate pair.
fn lone_surrogate(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&bytes[from..], b"\\u").map(|at| from + at) {
        let is_escaped = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        from = at + 2;
        match (is_escaped, escape(bytes, at)) {
            (false, Some(0xd800..0xdc00)) => match escape(bytes, at + 6) {
                Some(0xdc00..0xe000) => from = at + 12,
                _ => return Some(at),
            },
            (false, Some(0xdc00..0xe000)) => return Some(at),
            _ => {}
        }
    }
    None
}

/// The number of the escape `\uXXXX` that begins at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Cuts text to at most [`REJECT_RAW_BYTES_MAX`] bytes, at a character.
pub fn cut_raw(text: &str) -> &str {
    &text[..text.floor_char_boundary(REJECT_RAW_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_found_and_nothing_else() {
        for (json, expected) in [
            (r#"{"a":"plain é \u00e9 \ud83d\udc08"}"#, None),
            (r#"{"a":"\ud83d"}"#, Some(6)),
            (r#"{"a":"\ud83d\ud83d\udc08"}"#, Some(6)),
            (r#"{"a":"\uDC08"}"#, Some(6)),
            (r#"{"a":"\\ud83d"}"#, None),
            (r#"{"a":"\\\ud83d"}"#, Some(8)),
            (r#"{"a":"\ud83d\n"}"#, Some(6)),
        ] {
            assert_eq!(lone_surrogate(json), expected, "{json}");
            assert_eq!(raw_json(json).is_ok(), expected.is_none(), "{json}");
        }
    }
}
