//! From a message in JSON to records: which of its parts are records, what tells one from another, when it happened.
//!
//! It is the same for every adapter whose upstream sends JSON, and nothing of it builds a tree: a message is passed over
//! once or twice, and `data` is upstream's own text.

mod condition;
mod find;
mod identity;
mod keys;
mod place;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

pub use self::condition::{Condition, ConditionKeys, Rule, Wanted, string_of, text_of};
pub use self::find::{Found, Places};
pub use self::identity::Identity;
pub use self::keys::{IdKeys, MessageKeys, PublishedKeys, PublishedMap, TypeKeys, TypeMap};
pub use self::place::Place;
use crate::item::{Ignored, Item, Reject, cut_raw, keep_json};
use crate::moment::Moments;
use crate::outcome::Outcome;
use crate::source::Ailment;

/// What records are called, where a file does not say.
pub type Kind = Cow<'static, str>;

/// Makes records of messages, as a source's file says.
#[derive(Debug, Clone)]
pub struct Reader {
    /// What is looked for in a whole message; the caller's own places come first.
    whole: Places,
    ignored: Vec<Condition>,
    records: Option<usize>,
    payload: Option<usize>,
    record_type: Type,
    /// What is looked for in each record.
    within: Places,
    identity: Option<Identity>,
    published_at: Option<(usize, Moments)>,
}

#[derive(Debug, Clone)]
enum Type {
    /// What the adapter calls it.
    Given,
    Fixed(String),
    At(usize, Option<String>),
}

/// What a message was.
#[derive(Debug)]
pub struct Message<'t> {
    /// What was found in it, by the numbers of the caller's own places.
    pub found: Found<'t>,
    /// Whether it is of those that the file ignores: it shows that upstream lives, and is no record.
    pub is_ignored: bool,
}

/// What records were made of messages.
#[derive(Debug, Default)]
pub struct Made {
    /// The records.
    pub items: Vec<Item>,
    /// What could not become one.
    pub rejects: Vec<Reject>,
    /// The last value that should have said when something happened, and did not. The record has no `published_at`.
    pub undated: Option<String>,
    /// What is not wanted.
    pub ignored: Ignored,
}

impl Reader {
    /// Reads one message, and adds what it brings. `kind` is the records' type where the file does not say.
    ///
    /// # Errors
    /// In words, when it is not JSON.
    pub fn read<'t>(&self, text: &'t str, kind: &Kind, made: &mut Made) -> Result<Message<'t>, String> {
        let message: &RawValue = serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?;
        Ok(self.take(message, kind, made))
    }

    /// The same of what has been read as JSON already.
    pub fn take<'t>(&self, message: &'t RawValue, kind: &Kind, made: &mut Made) -> Message<'t> {
        let found = self.look(message);
        let is_ignored = !self.make(message, &found, kind, made);
        Message { found, is_ignored }
    }

    /// Everything that is looked for in a whole message, the caller's own places among it.
    pub fn look<'t>(&self, message: &'t RawValue) -> Found<'t> {
        self.whole.find(message)
    }

    /// Adds what a message brings, in which this was found. Whether it was none of those that are ignored.
    pub fn make(&self, message: &RawValue, found: &Found<'_>, kind: &Kind, made: &mut Made) -> bool {
        if self.ignored.iter().any(|condition| condition.is_met(found)) {
            made.ignored.add("ignore", 1);
            return false;
        }
        let kind = match &self.record_type {
            Type::Given => kind.clone(),
            Type::Fixed(kind) => Cow::Owned(kind.clone()),
            Type::At(number, default) => match (found.one(*number).and_then(text_of), default) {
                (Some(text), _) => Cow::Owned(text.into_owned()),
                (None, Some(default)) => Cow::Owned(default.clone()),
                (None, None) => kind.clone(),
            },
        };
        match (self.records, self.payload) {
            (Some(records), _) => found.all(records).iter().for_each(|record| self.add(record, &kind, made)),
            (None, Some(payload)) => self.unpack(message, found.one(payload), &kind, made),
            (None, None) => self.add(message, &kind, made),
        }
        true
    }

    /// A record that stands as a text within its message.
    fn unpack(&self, message: &RawValue, payload: Option<&RawValue>, kind: &Kind, made: &mut Made) {
        let Some(payload) = payload else { return self.add(message, kind, made) };
        // A text that is no object is the record as it is, such as the id of what was deleted.
        let text = string_of(payload).filter(|text| text.trim_start().starts_with(['{', '[']));
        match text.map(|text| serde_json::from_str::<Box<RawValue>>(&text)) {
            Some(Ok(record)) => self.add(&record, kind, made),
            _ => self.add(payload, kind, made),
        }
    }

    fn add(&self, record: &RawValue, kind: &Kind, made: &mut Made) {
        let data = match keep_json(record) {
            Ok(data) => data,
            Err(reason) => return made.rejects.push(Reject::new(Outcome::Invalid, None, reason, record.get())),
        };
        let (mut id, mut published_at) = (None, None);
        if !self.within.is_empty() {
            let found = self.within.find(record);
            id = self.identity.as_ref().and_then(|identity| identity.of(&found));
            published_at = self.published_at.as_ref().and_then(|(number, moments)| {
                let text = text_of(found.one(*number)?)?;
                let read = moments.read(&text);
                if read.is_err() {
                    made.undated = Some(text.into_owned());
                }
                read.ok().map(|(at, _)| at)
            });
        }
        made.items.push(Item { id, kind: kind.clone(), published_at: in_range(published_at), data });
    }
}

/// What is wrong where this should have said when something happened.
pub fn undated(text: &str) -> Ailment {
    let text = cut_raw(text).escape_debug();
    Ailment { about: "published_at".into(), why: format!("no time can be read from `{text}`") }
}

/// A moment of a year that has four digits.
fn in_range(at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    use chrono::Datelike as _;
    at.filter(|at| (1..=9999).contains(&at.year()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(keys: Value, messages: &[&str]) -> (Made, Vec<String>) {
        let keys: MessageKeys = serde_json::from_value(keys).unwrap();
        assert_eq!(keys.problems(), []);
        let reader = keys.reader("trades", &[&Place::new("/seq").unwrap()]).unwrap();
        let mut made = Made::default();
        let mut said = Vec::new();
        for text in messages {
            said.push(match reader.read(text, &"message".into(), &mut made) {
                Ok(message) if message.is_ignored => "ignored".to_owned(),
                Ok(message) => message.found.one(0).map_or("-", RawValue::get).to_owned(),
                Err(why) => why,
            });
        }
        (made, said)
    }

    fn shown(made: &Made) -> Vec<String> {
        let items = made.items.iter().map(|item| {
            let id = item.id.as_deref().unwrap_or("-");
            let at = item.published_at.map_or("-".to_owned(), |at| crate::record::time_text(&at));
            format!("{} {id} {at} {}", item.kind, item.data)
        });
        items.collect()
    }

    #[test]
    fn a_message_is_a_record_as_it_is() {
        let (made, said) = read(json!({}), &[r#"{"b":1.10,"a":{"x":[1]}}"#, "[1,2]", "{", r#"{"a":"\ud83d"}"#]);
        assert_eq!(shown(&made), [r#"message - - {"b":1.10,"a":{"x":[1]}}"#, "message - - [1,2]"]);
        assert_eq!(said[..2], ["-", "-"]);
        assert!(said[2].starts_with("this is not JSON"), "{said:?}");
        assert_eq!(made.rejects.len(), 1, "half a surrogate pair");
    }

    #[test]
    fn records_are_taken_from_lists_with_their_id_time_and_type() {
        let keys = json!({
            "records": "/data/*", "id": ["/s", "/t"], "published_at": { "at": "/t", "format": "epoch_ms" },
            "type": { "at": "/type", "default": "other" }, "ignore": [{ "/type": "ping" }],
        });
        let (made, said) = read(
            keys,
            &[
                r#"{"type":"trade","seq":7,"data":[{"s":"A/B","t":1795417445250,"p":1.50},{"s":"C","t":"later"}]}"#,
                r#"{"type":"ping"}"#,
                r#"{"seq":8,"data":[{"p":1}]}"#,
                r#"{"seq":9}"#,
            ],
        );
        assert_eq!(
            shown(&made),
            [
                r#"trade m_A%2FB/1795417445250_kc0vssmllr19i 2026-11-23T07:04:05.250000Z {"s":"A/B","t":1795417445250,"p":1.50}"#,
                r#"trade m_C/later_kc0vssmllr19i - {"s":"C","t":"later"}"#,
                r#"other - - {"p":1}"#,
            ]
        );
        assert_eq!(said, ["7", "ignored", "8", "9"]);
        assert_eq!(made.undated.as_deref(), Some("later"));
    }

    #[test]
    fn a_payload_that_is_text_is_unpacked() {
        let keys = json!({ "payload": "/payload", "id": "/uri", "type": "/event" });
        let (made, _) = read(
            keys,
            &[
                r#"{"event":"update","payload":"{\"uri\":\"https://a/1\",\"n\":1.0}"}"#,
                r#"{"event":"delete","payload":"123"}"#,
                r#"{"event":"delete","payload":"abc"}"#,
                r#"{"event":"filters_changed"}"#,
            ],
        );
        assert_eq!(
            shown(&made),
            [
                r#"update m_https:%2F%2Fa%2F1_kc0vssmllr19i - {"uri":"https://a/1","n":1.0}"#,
                r#"delete - - "123""#,
                r#"delete - - "abc""#,
                r#"filters_changed - - {"event":"filters_changed"}"#,
            ]
        );
    }
}
