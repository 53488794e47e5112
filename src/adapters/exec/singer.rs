//! The messages of a Singer tap.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::message::{Identity, Made, Place, Places, Reader};

/// More streams are not known by their keys.
const STREAMS_MAX: usize = 10_000;

/// A message, as far as it is looked at.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    key_properties: Vec<String>,
}

/// What is known of a tap's streams.
pub(crate) struct Singer {
    reader: Reader,
    source: String,
    keys: BTreeMap<String, (Places, Identity)>,
    /// The identity of a record whose stream has no keys.
    plain: Identity,
}

/// What a message was.
#[derive(Debug)]
pub(crate) enum Said {
    /// A record was added, or there was nothing to add.
    Nothing,
    /// The state after everything before it.
    State(Box<RawValue>),
}

impl Singer {
    pub(crate) fn new(reader: Reader, source: &str) -> Self {
        let plain = Identity::new(&[], source, &mut Places::default());
        Self { reader, source: source.to_owned(), keys: BTreeMap::new(), plain }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// In words, when it is none.
    pub(crate) fn take(&mut self, text: &str, made: &mut Made) -> Result<Said, String> {
        let message: Message<'_> =
            serde_json::from_str(text).map_err(|error| format!("this is no message of a Singer tap: {error}"))?;
        let stream = message.stream.as_deref().unwrap_or_default();
        match &*message.kind {
            "STATE" => {
                let value = message.value.ok_or("a STATE has a `value`")?;
                return Ok(Said::State(value.to_owned()));
            }
            "SCHEMA" => self.learn(stream, &message.key_properties)?,
            "RECORD" => self.add(stream, message.record.ok_or("a RECORD has a `record`")?, made),
            // What replaces a whole table, and files that are left somewhere else, mean nothing in a log of records.
            "ACTIVATE_VERSION" => {}
            "BATCH" => {
                return Err(
                    "BATCH is not understood: its records are in a file of the tap; configure it to send RECORD".into(),
                );
            }
            other => return Err(format!("`{}` is no type of message of a Singer tap", other.escape_debug())),
        }
        Ok(Said::Nothing)
    }

    fn learn(&mut self, stream: &str, names: &[String]) -> Result<(), String> {
        let escaped = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let places: Result<Vec<Place>, String> = names.iter().map(|name| Place::new(&escaped(name))).collect();
        if self.keys.len() < STREAMS_MAX || self.keys.contains_key(stream) {
            let mut looked_for = Places::default();
            let identity = Identity::new(&places?, &self.source, &mut looked_for);
            self.keys.insert(stream.to_owned(), (looked_for, identity));
        }
        Ok(())
    }

    /// A tap sends again what came after its last STATE, and whole tables at each run: a record is known by its stream, its keys
    /// and what it says, so that it is written once and each change of it too.
    fn add(&self, stream: &str, record: &RawValue, made: &mut Made) {
        let before = made.items.len();
        self.reader.take(record, &Cow::Owned(stream.to_owned()), made);
        let known = self.keys.get(stream).and_then(|(places, identity)| identity.text_of(&places.find(record)));
        let known = known.unwrap_or_default();
        for item in made.items[before..].iter_mut().filter(|item| item.id.is_none()) {
            let hash = blake3::hash(item.data.get().as_bytes()).to_hex();
            item.id = Some(self.plain.of_text(&format!("{stream}/{known}/{}", &hash[..16])));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageKeys;

    #[test]
    fn a_tap_is_understood() {
        let mut singer = Singer::new(MessageKeys::default().reader("s", &[]).unwrap(), "s");
        let mut made = Made::default();
        let mut said = Vec::new();
        for line in [
            r#"{"type":"SCHEMA","stream":"users","schema":{},"key_properties":["id"]}"#,
            r#"{"type":"RECORD","stream":"users","record":{"id":1,"n":1.50},"time_extracted":"2026-11-23T07:04:05Z"}"#,
            r#"{"type":"STATE","value":{"bookmarks":{"users":1}}}"#,
            r#"{"type":"RECORD","stream":"users","record":{"id":1,"n":1.51}}"#,
            r#"{"type":"RECORD","stream":"other","record":{"a":"b"}}"#,
            r#"{"type":"ACTIVATE_VERSION","stream":"users","version":1}"#,
            r#"{"type":"BATCH","stream":"users"}"#,
            r#"{"type":"RECORD","stream":"users"}"#,
            r#"{"type":"X"}"#,
            "INFO no message",
        ] {
            said.push(match singer.take(line, &mut made) {
                Ok(Said::State(state)) => format!("state {state}"),
                Ok(Said::Nothing) => "-".into(),
                Err(why) => format!("wrong: {}", why.split(':').next().unwrap()),
            });
        }
        assert_eq!(said[2], r#"state {"bookmarks":{"users":1}}"#);
        assert_eq!(said.iter().filter(|said| said.starts_with("wrong")).count(), 4, "{said:?}");
        let ids: Vec<&str> = made.items.iter().map(|item| item.id.as_deref().unwrap()).collect();
        assert!(
            ids[0].starts_with("m_users%2F1%2F") && ids[1].starts_with("m_users%2F1%2F") && ids[0] != ids[1],
            "{ids:?}"
        );
        assert_eq!(made.items[0].data.get(), r#"{"id":1,"n":1.50}"#);
        assert_eq!(made.items[2].kind, "other");
    }
}
