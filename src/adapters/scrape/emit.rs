//! Which of the records that a page became are written: all, or those that say something new.
//!
//! What was written last is remembered by hashes, in the cursor: it is saved with the records that it is about, so that a
//! restart neither repeats one nor takes one for written that is not.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_untagged::UntaggedEnumVisitor;

use crate::item::Item;
use crate::source::Problem;
use crate::units::Span;

/// Rows that are remembered one by one. The cursor is saved with every tick, so that it must stay small; of more rows
/// all are written, or none.
pub(super) const KEYS_MAX: usize = 2000;
/// Digits of a hash: 64 bits, so that two of two thousand rows are hardly ever alike.
const HASH_DIGITS: usize = 16;

/// Which records are written.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Emit {
    /// `all`, the default: every record of every tick; or `change`: those that are not what they were.
    pub on: EmitOn,
    /// The fields that are looked at for a change; all of them by default.
    pub fields: Option<Vec<String>>,
    /// The field by which a row is known again, such as a symbol. Without it a change in any row writes all of them.
    pub key: Option<String>,
    /// The longest time without a record: all are written then, changed or not.
    pub heartbeat: Option<Span>,
}

/// When a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmitOn {
    /// At each tick.
    #[default]
    All,
    /// When it is not what it was.
    Change,
}

impl<'de> Deserialize<'de> for Emit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The long form; one that names nothing else means changes.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            on: Option<EmitOn>,
            fields: Option<Vec<String>>,
            key: Option<String>,
            heartbeat: Option<Span>,
        }
        UntaggedEnumVisitor::new()
            .expecting("`all`, `change`, or `{ on: change, fields, key, heartbeat }`")
            .string(|word| Ok(Self { on: EmitOn::deserialize(StrDeserializer::new(word))?, ..Self::default() }))
            .map(|map| {
                let Long { on, fields, key, heartbeat } = map.deserialize()?;
                Ok(Self { on: on.unwrap_or(EmitOn::Change), fields, key, heartbeat })
            })
            .deserialize(deserializer)
    }
}

impl Emit {
    /// What is wrong with it, with its paths.
    pub(super) fn problems(&self, known: &[String], has_rows: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let is_known = |name: &String| known.contains(name);
        for (index, name) in self.fields.iter().flatten().enumerate().filter(|(_, name)| !is_known(name)) {
            let message = format!("`{}` is no field of this source", name.escape_debug());
            problems.push(Problem::new(["emit".into(), "fields".into(), index.to_string()], message));
        }
        if let Some(key) = self.key.as_ref().filter(|key| !is_known(key)) {
            problems
                .push(Problem::new(["emit", "key"], format!("`{}` is no field of this source", key.escape_debug())));
        }
        if self.key.is_some() && !has_rows {
            problems.push(Problem::new(["emit", "key"], "one record a page needs no key; it is for `records`"));
        }
        // The key says which row is which, which is of use to others too.
        if self.on == EmitOn::All && (self.fields.is_some() || self.heartbeat.is_some()) {
            problems
                .push(Problem::new(["emit", "on"], "`all` writes every record; leave the rest out, or write `change`"));
        }
        if self.heartbeat.is_some_and(|heartbeat| heartbeat.0 < Duration::from_secs(1)) {
            problems.push(Problem::new(["emit", "heartbeat"], "at least 1s"));
        }
        problems
    }
}

/// What was written last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Emitted {
    /// A hash of each row that has a key, by a hash of that; of each page without keys one hash, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hashes: BTreeMap<String, String>,
    /// When all were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all_at: Option<DateTime<Utc>>,
}

impl Emitted {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is time to write all, whatever has changed.
    pub(super) fn is_beat(&self, emit: &Emit, now: DateTime<Utc>) -> bool {
        let Some(heartbeat) = emit.heartbeat else { return self.all_at.is_none() };
        let since = self.all_at.map(|at| now - at);
        // A clock that was set back is no reason to be silent.
        since.is_none_or(|since| {
            since.to_std().is_ok_and(|since| since >= heartbeat.0) || since < chrono::TimeDelta::zero()
        })
    }

    /// Takes note that all are written now.
    pub(super) fn beaten(&mut self, now: DateTime<Utc>) {
        self.all_at = Some(now);
    }

    /// Forgets what was written: then all is new once more.
    pub(super) fn forget(&mut self) {
        self.hashes.clear();
    }

    /// How many rows and pages are remembered.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Those of a page's records that are to be written: all of them, where it is time for that. What the page is called
    /// tells it from the others of the same table.
    pub(super) fn pick(&mut self, emit: &Emit, page: &str, items: Vec<Item>, is_beat: bool) -> Vec<Item> {
        if emit.on == EmitOn::All {
            return items;
        }
        let new = hashes(emit, &items);
        let changed: Vec<bool> = match &new {
            Hashes::Rows(rows) => rows.iter().map(|(key, hash)| self.hashes.get(key) != Some(hash)).collect(),
            Hashes::Page(hash) => vec![self.hashes.get(page) != Some(hash); items.len()],
        };
        match new {
            Hashes::Rows(rows) => self.hashes.extend(rows),
            Hashes::Page(hash) => drop(self.hashes.insert(page.to_owned(), hash)),
        }
        // Rows that were there once are forgotten before the cursor grows: then all are new once more.
        if self.hashes.len() > KEYS_MAX {
            self.hashes.clear();
        }
        if is_beat {
            return items;
        }
        items.into_iter().zip(changed).filter_map(|(item, is_changed)| is_changed.then_some(item)).collect()
    }
}

enum Hashes {
    /// Of each row, in their order: of its key, and of what is looked at.
    Rows(Vec<(String, String)>),
    /// Of all together.
    Page(String),
}

fn hashes(emit: &Emit, items: &[Item]) -> Hashes {
    if let Some(key) = &emit.key
        && items.len() <= KEYS_MAX
    {
        let row = |item: &Item| {
            let members = members(item.data.get());
            let key = members.get(key.as_str()).map_or("null", |value| value.get());
            (hash(&[key]), hash(&looked_at(emit, item.data.get())))
        };
        return Hashes::Rows(items.iter().map(row).collect());
    }
    let all: Vec<&str> = items.iter().flat_map(|item| looked_at(emit, item.data.get())).collect();
    Hashes::Page(hash(&all))
}

/// The parts of a record that are looked at.
fn looked_at<'a>(emit: &Emit, data: &'a str) -> Vec<&'a str> {
    match &emit.fields {
        None => vec![data],
        Some(fields) => {
            let members = members(data);
            fields.iter().map(|name| members.get(name.as_str()).map_or("", |value| value.get())).collect()
        }
    }
}

/// The members of an object, each as it stands there.
pub(super) fn members(data: &str) -> BTreeMap<std::borrow::Cow<'_, str>, &RawValue> {
    /// A key may have escapes, and then is not a part of the text.
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Name<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
    let members = serde_json::from_str::<BTreeMap<Name<'_>, &RawValue>>(data).unwrap_or_default();
    members.into_iter().map(|(name, value)| (name.0, value)).collect()
}

/// A short hash of parts.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..HASH_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn emit(value: serde_json::Value) -> Emit {
        serde_json::from_value(value).unwrap()
    }

    fn items(all: &[serde_json::Value]) -> Vec<Item> {
        let item = |value: &serde_json::Value| Item {
            id: None,
            kind: "row".into(),
            published_at: None,
            data: serde_json::value::to_raw_value(value).unwrap(),
        };
        all.iter().map(item).collect()
    }

    /// What is written of pages that come one each second.
    fn written(emit: &Emit, pages: &[&[serde_json::Value]]) -> Vec<usize> {
        let (mut emitted, began) = (Emitted::default(), "2026-11-23T07:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let mut counts = Vec::new();
        for (second, page) in pages.iter().enumerate() {
            // As over a restart, each time.
            let saved = serde_json::to_string(&emitted).unwrap();
            emitted = serde_json::from_str(&saved).unwrap();
            let now = began + chrono::TimeDelta::seconds(i64::try_from(second).unwrap());
            let is_beat = emitted.is_beat(emit, now);
            counts.push(emitted.pick(emit, "", items(page), is_beat).len());
            if is_beat {
                emitted.beaten(now);
            }
        }
        counts
    }

    #[test]
    fn g15_what_did_not_change_is_not_written_again() {
        let [a, b, c] = [
            json!({ "s": "A", "p": 1, "at": 1 }),
            json!({ "s": "A", "p": 1, "at": 2 }),
            json!({ "s": "A", "p": 2, "at": 2 }),
        ];
        let pages: [&[serde_json::Value]; 6] = [&a, &a, &b, &c, &c, &a].map(std::slice::from_ref);
        assert_eq!(written(&emit(json!("all")), &pages), [1, 1, 1, 1, 1, 1]);
        assert_eq!(written(&emit(json!("change")), &pages), [1, 0, 1, 1, 0, 1]);
        assert_eq!(written(&emit(json!({ "fields": ["p"] })), &pages), [1, 0, 0, 1, 0, 1]);
        assert_eq!(written(&emit(json!({ "fields": ["p"], "heartbeat": "2s" })), &pages), [1, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn rows_are_known_by_their_key() {
        let row = |symbol: &str, price: i32| json!({ "s": symbol, "p": price });
        let pages: [&[serde_json::Value]; 4] = [
            &[row("A", 1), row("B", 2)],
            &[row("B", 2), row("A", 3)],
            &[row("A", 3), row("B", 2), row("C", 9)],
            &[row("C", 9)],
        ];
        assert_eq!(written(&emit(json!({ "key": "s" })), &pages), [2, 1, 1, 0]);
        assert_eq!(written(&emit(json!("change")), &pages), [2, 2, 3, 1]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let emit = emit(json!({ "key": "s" }));
        let mut emitted = Emitted::default();
        for number in 0..5 * KEYS_MAX {
            emitted.pick(&emit, "", items(&[json!({ "s": number })]), false);
            assert!(emitted.hashes.len() <= KEYS_MAX);
        }
    }

    #[test]
    fn words_for_what_is_wrong() {
        let fields = ["price".to_owned()];
        let said = |value, has_rows| {
            let problems = emit(value).problems(&fields, has_rows);
            let words = problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message));
            words.collect::<Vec<_>>().join("; ")
        };
        assert_eq!(said(json!({ "fields": ["price"], "heartbeat": "1m" }), false), "");
        insta::assert_snapshot!(said(json!({ "fields": ["prize"] }), false), @"emit.fields.0: `prize` is no field of this source");
        insta::assert_snapshot!(said(json!({ "key": "price" }), false), @"emit.key: one record a page needs no key; it is for `records`");
        insta::assert_snapshot!(said(json!({ "on": "all", "heartbeat": "1ms" }), true), @"emit.on: `all` writes every record; leave the rest out, or write `change`; emit.heartbeat: at least 1s");
        assert!(serde_json::from_value::<Emit>(json!("sometimes")).is_err());
    }
}
