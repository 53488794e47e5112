//! The messages of a Singer tap.
//!
//! Which records are the same is nowhere written: a tap sends again what came after its last STATE, usually with the last record
//! before it; and a table that is sent whole comes again at each run. So a record is known by its stream, its key and what
//! it says, and
//! - of a stream with `bookmark_properties` that is all: whatever changes has another bookmark;
//! - of any other stream with a key, one that says what it last said is not written, and one that says what it said long
//!   ago, and something else since, is;
//! - without a key, equal records are told from one another by their number in the run; without bookmark properties
//!   also by the STATE of their stream, since then equal ones after another STATE may be new. That may write a record twice, and
//!   loses none.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::known::{Known, Parts, hash_of};
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
    key_properties: Option<Vec<String>>,
    #[serde(default)]
    bookmark_properties: Option<Value>,
}

/// What a SCHEMA says of a stream.
struct Keys {
    places: Places,
    identity: Identity,
    /// Whether its records say where in the stream they are.
    has_bookmark: bool,
}

/// What is known of a tap's streams.
pub(crate) struct Singer {
    reader: Reader,
    source: String,
    keys: BTreeMap<String, Keys>,
    /// The identity of a record whose stream has no keys.
    plain: Identity,
    known: Known,
    /// The last STATE, and what it says of streams, as hashes.
    state: Option<Value>,
    bookmarks: HashMap<String, Option<u64>>,
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
        Self {
            reader,
            source: source.to_owned(),
            keys: BTreeMap::new(),
            plain,
            known: Known::default(),
            state: None,
            bookmarks: HashMap::new(),
        }
    }

    /// Takes up what was saved beside the cursor.
    pub(super) fn recall(&mut self, parts: &Parts) {
        self.known.recall(parts);
    }

    /// A run begins after this STATE.
    pub(super) fn begin(&mut self, state: Option<&RawValue>) {
        self.known.begin();
        self.set_state(state);
    }

    /// What is to be saved beside the cursor after a STATE, or a good end.
    pub(super) fn settle(&mut self, parts: &mut Parts) {
        self.known.settle(parts);
    }

    fn set_state(&mut self, state: Option<&RawValue>) {
        self.state = state.and_then(|state| serde_json::from_str(state.get()).ok());
        self.bookmarks.clear();
    }

    /// Takes a message.
    ///
    /// # Errors
    /// In words, when it is none.
    pub(crate) fn take(&mut self, text: &str, made: &mut Made) -> Result<Said, String> {
        let message: Message<'_> =
            serde_json::from_str(text).map_err(|error| format!("this is no message of a Singer tap: {error}"))?;
        let stream = message.stream.as_deref().unwrap_or_default();
        // The case does not count, and there may be others: Singer's specification, "Output".
        match message.kind.to_ascii_uppercase().as_str() {
            "STATE" => {
                let value = message.value.ok_or("a STATE has a `value`")?;
                self.set_state(Some(value));
                return Ok(Said::State(value.to_owned()));
            }
            "SCHEMA" => self.learn(&message)?,
            "RECORD" => self.add(stream, message.record.ok_or("a RECORD has a `record`")?, made),
            "BATCH" => {
                return Err(
                    "BATCH is not understood: its records are in a file of the tap; configure it to send RECORD".into(),
                );
            }
            // ACTIVATE_VERSION, which replaces a whole table, means nothing in a log of records.
            other => tracing::debug!("a tap says `{}`, which is passed over", other.escape_debug()),
        }
        Ok(Said::Nothing)
    }

    fn learn(&mut self, message: &Message<'_>) -> Result<(), String> {
        let stream = message.stream.as_deref().unwrap_or_default();
        if self.keys.len() >= STREAMS_MAX && !self.keys.contains_key(stream) {
            return Ok(());
        }
        let escaped = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let names = message.key_properties.iter().flatten();
        let key: Vec<Place> = names.map(|name| Place::new(&escaped(name))).collect::<Result<_, _>>()?;
        let mut places = Places::default();
        let identity = Identity::new(&key, &self.source, &mut places);
        let has_bookmark = match &message.bookmark_properties {
            Some(Value::Array(names)) => !names.is_empty(),
            Some(Value::String(name)) => !name.is_empty(),
            _ => false,
        };
        self.keys.insert(stream.to_owned(), Keys { places, identity, has_bookmark });
        Ok(())
    }

    fn add(&mut self, stream: &str, record: &RawValue, made: &mut Made) {
        let before = made.items.len();
        self.reader.take(record, &Cow::Owned(stream.to_owned()), made);
        // Where the file says what tells records from one another, it is right.
        if made.items[before..].iter().all(|item| item.id.is_some()) {
            return;
        }
        let keys = self.keys.get(stream);
        let has_bookmark = keys.is_some_and(|keys| keys.has_bookmark);
        let key = keys.and_then(|keys| keys.identity.text_of(&keys.places.find(record)));
        let which = match (&key, has_bookmark) {
            (Some(_), true) => String::new(),
            (Some(key), false) => match self.known.version(hash_of(&[stream, key]), hash_of(&[record.get()])) {
                // It says what it last said.
                None => return made.items.truncate(before),
                Some(0) => String::new(),
                Some(number) => format!("/{number}"),
            },
            (None, _) => self.number(stream, record, has_bookmark),
        };
        let key = key.unwrap_or_default();
        for item in made.items[before..].iter_mut().filter(|item| item.id.is_none()) {
            let hash = blake3::hash(item.data.get().as_bytes()).to_hex();
            item.id = Some(self.plain.of_text(&format!("{stream}/{key}/{}{which}", &hash[..16])));
        }
    }

    /// What tells a record from others that have no key and say the same.
    fn number(&mut self, stream: &str, record: &RawValue, has_bookmark: bool) -> String {
        let bookmark = if has_bookmark { None } else { self.bookmark(stream) };
        let after = bookmark.map_or_else(String::new, |bookmark| format!("/s{bookmark:016x}"));
        match self.known.count(hash_of(&[stream, &after, record.get()])) {
            (0, 0) => after,
            (era, number) => format!("{after}/{era}.{number}"),
        }
    }

    /// What the last STATE says of a stream, as a hash: by the convention of the libraries for taps under `bookmarks`; else under
    /// the stream's name; else it is the whole. Nothing where it says nothing.
    fn bookmark(&mut self, stream: &str) -> Option<u64> {
        if let Some(known) = self.bookmarks.get(stream) {
            return *known;
        }
        let said = self.state.as_ref().and_then(|state| {
            let said = match state.get("bookmarks") {
                Some(bookmarks) => bookmarks.get(stream)?,
                None => state.get(stream).unwrap_or(state),
            };
            let is_nothing = said.is_null() || said.as_object().is_some_and(serde_json::Map::is_empty);
            (!is_nothing).then(|| hash_of(&[&said.to_string()]))
        });
        if self.bookmarks.len() < STREAMS_MAX {
            self.bookmarks.insert(stream.to_owned(), said);
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageKeys;

    fn singer() -> Singer {
        Singer::new(MessageKeys::default().reader("s", &[]).unwrap(), "s")
    }

    #[test]
    fn a_tap_is_understood() {
        let (mut singer, mut made) = (singer(), Made::default());
        let mut said = Vec::new();
        for line in [
            r#"{"type":"SCHEMA","stream":"users","schema":{},"key_properties":["id"]}"#,
            r#"{"type":"RECORD","stream":"users","record":{"id":1,"n":1.50},"time_extracted":"2026-11-23T07:04:05Z"}"#,
            r#"{"type":"state","value":{"bookmarks":{"users":1}}}"#,
            r#"{"type":"Record","stream":"users","record":{"id":1,"n":1.51},"version":7}"#,
            r#"{"type":"RECORD","stream":"other","record":{"a":"b"}}"#,
            r#"{"type":"ACTIVATE_VERSION","stream":"users","version":1}"#,
            r#"{"type":"BATCH","stream":"users"}"#,
            r#"{"type":"RECORD","stream":"users"}"#,
            r#"{"type":"X"}"#,
            r#"{"type":"SCHEMA","stream":"none","schema":{},"key_properties":null,"bookmark_properties":null}"#,
            "INFO no message",
        ] {
            said.push(match singer.take(line, &mut made) {
                Ok(Said::State(state)) => format!("state {state}"),
                Ok(Said::Nothing) => "-".into(),
                Err(why) => format!("wrong: {}", why.split(':').next().unwrap()),
            });
        }
        assert_eq!(said[2], r#"state {"bookmarks":{"users":1}}"#);
        assert_eq!(said.iter().filter(|said| said.starts_with("wrong")).count(), 3, "{said:?}");
        let ids: Vec<&str> = made.items.iter().map(|item| item.id.as_deref().unwrap()).collect();
        assert!(
            ids[0].starts_with("m_users%2F1%2F") && ids[1].starts_with("m_users%2F1%2F") && ids[0] != ids[1],
            "{ids:?}"
        );
        assert_eq!(made.items[0].data.get(), r#"{"id":1,"n":1.50}"#);
        assert_eq!(made.items[2].kind, "other");
    }

    /// The ids of the records that are new to who knows all before, in words of one letter each.
    fn new_ids(singer: &mut Singer, seen: &mut std::collections::HashSet<String>, schema: &str, run: &str) -> String {
        let state: Option<Box<RawValue>> =
            singer.state.as_ref().map(|state| serde_json::value::to_raw_value(state).unwrap());
        singer.begin(state.as_deref());
        let mut made = Made::default();
        singer.take(&format!(r#"{{"type":"SCHEMA","stream":"t","schema":{{}},{schema}}}"#), &mut made).unwrap();
        for letter in run.chars() {
            let line = match letter {
                '1'..='9' => format!(r#"{{"type":"STATE","value":{{"bookmarks":{{"t":{letter}}}}}}}"#),
                '.' => {
                    singer.settle(&mut Parts::new());
                    continue;
                }
                _ => format!(r#"{{"type":"RECORD","stream":"t","record":{{"k":1,"v":"{letter}"}}}}"#),
            };
            if let Said::State(_) = singer.take(&line, &mut made).unwrap() {
                singer.settle(&mut Parts::new());
            }
        }
        let new = made.items.iter().filter(|item| seen.insert(item.id.clone().unwrap()));
        new.map(|item| item.data.get().chars().rev().nth(2).unwrap()).collect()
    }

    /// Letters are what a record says, numbers STATEs, a point the good end of a run.
    #[test]
    fn each_change_is_written_and_nothing_twice() {
        let key = r#""key_properties":["k"]"#;
        let marked = r#""key_properties":["k"],"bookmark_properties":["v"]"#;
        let (none, none_marked) = (r#""key_properties":[]"#, r#""key_properties":[],"bookmark_properties":["v"]"#);
        for (schema, runs) in [
            // It goes back to what it was: in a run, over runs with and without STATE, and again.
            (key, &[("aba.", "aba"), ("a.", ""), ("b.", "b"), ("a.", "a"), ("a.", "")][..]),
            (key, &[("a1b2a3", "aba"), ("a3", ""), ("b4a5", "ba")]),
            // A run that breaks off is sent again from its last STATE.
            (key, &[("a1ba", "aba"), ("ba", ""), ("bab2", "b"), ("b2", "")]),
            (marked, &[("ab2", "ab"), ("bc3", "c"), ("c", ""), ("c", "")]),
            // Equal ones of one run are several; of the next run the same, after the same STATE.
            (none, &[("aab.", "aab"), ("aaab.", "a"), ("aab.", "")]),
            (none, &[("a1a2", "aa"), ("a3", "a")]),
            (none, &[("1ab", "ab"), ("1abb2", "b")]),
            (none_marked, &[("aa2", "aa"), ("aa", ""), ("aaa3", "a")]),
        ] {
            let (mut singer, mut seen) = (singer(), std::collections::HashSet::new());
            for (index, (run, expected)) in runs.iter().enumerate() {
                assert_eq!(new_ids(&mut singer, &mut seen, schema, run), *expected, "{schema}: {runs:?}, {index}");
            }
        }
    }
}
