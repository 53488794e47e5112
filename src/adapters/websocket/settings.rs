//! Parts of the settings, as they are written.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_untagged::UntaggedEnumVisitor;
use url::Url;

use crate::fetch::page_url;
use crate::message::Place;
use crate::source::Problem;
use crate::units::{Size, Span};

pub(super) fn default_ping() -> Span {
    Span(Duration::from_secs(20))
}

pub(super) fn default_idle() -> Span {
    Span(Duration::from_secs(30))
}

pub(super) fn default_ack_within() -> Span {
    Span(Duration::from_secs(10))
}

pub(super) fn default_max_message() -> Size {
    Size(4 << 20)
}

/// What messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// Any text.
    Text,
}

/// What binary messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Binary {
    /// Like those of text.
    #[default]
    Plain,
    /// Each compressed with Zstandard.
    Zstd,
    /// Each compressed with gzip.
    Gzip,
    /// Not looked at.
    Ignore,
}

/// The dictionary of compressed messages: where it is, or the long form.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct DictionaryKeys(pub DictionaryMap);

/// The long form.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DictionaryMap {
    /// A file, or an address (`https://…`) that it is fetched from.
    pub from: String,
    /// The parameter of the source's address that asks for messages that are compressed with it. A server that does not know
    /// the dictionary, or has none, is asked for messages as they are.
    #[serde(default)]
    pub query: Option<String>,
    /// The parameter's value; by default the number that the dictionary has of its own.
    #[serde(default)]
    pub value: Option<String>,
}

impl DictionaryMap {
    /// Where it is fetched from; `None` for a file.
    ///
    /// # Errors
    /// When it is an address that is not fetched.
    pub(super) fn address(&self) -> Option<Result<Url, String>> {
        self.from.contains("://").then(|| page_url(&self.from))
    }
}

/// Upstream's own numbers: a place alone, or the long form.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct SequenceKeys(pub SequenceMap);

/// The long form.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SequenceMap {
    /// Where the number is, in the message.
    pub at: Place,
    /// Where it says which of several sequences it belongs to.
    #[serde(default)]
    pub per: Option<Place>,
    /// How long it goes on: within a `connection`, the default, or across the whole `stream`.
    #[serde(default)]
    pub across: SequenceScope,
}

/// How long a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SequenceScope {
    /// It begins anew with each connection.
    #[default]
    Connection,
    /// It outlives connections: what was missed between two of them is seen too.
    Stream,
}

/// How upstream goes on after a break.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeKeys {
    /// The parameter of the address that says from where.
    pub query: String,
    /// Where a message has its own place: a whole number, of which the greatest is sent, or a text, of which the last.
    pub from: Place,
    /// What is subtracted from the number, because upstream sends some messages out of order, or drops some where it goes over from
    /// what was missed to what is new. What comes twice by that is written once.
    #[serde(default)]
    pub rewind: u64,
}

impl SequenceKeys {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.0.at.is_many() || self.0.per.as_ref().is_some_and(Place::is_many) {
            problems.push(Problem::new(["sequence"], "a message has one number; leave the `*` out"));
        }
        problems
    }
}

impl DictionaryKeys {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(Err(message)) = self.0.address() {
            problems.push(Problem::new(["dictionary", "from"], message));
        }
        if self.0.query.as_ref().is_some_and(String::is_empty) {
            problems.push(Problem::new(["dictionary", "query"], "name the parameter, such as `zstdDictionary`"));
        }
        if self.0.value.is_some() && self.0.query.is_none() {
            problems.push(Problem::new(["dictionary", "value"], "of which parameter? write `query`"));
        }
        problems
    }
}

impl ResumeKeys {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.query.is_empty() {
            problems.push(Problem::new(["resume", "query"], "name the parameter, such as `cursor`"));
        }
        if self.from.is_many() {
            problems.push(Problem::new(["resume", "from"], "a message has one place; leave the `*` out"));
        }
        problems
    }
}

impl<'de> Deserialize<'de> for DictionaryKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a file, an address, or `{ from: FILE, query: zstdDictionary }`")
            .string(|text| Ok(Self(DictionaryMap { from: text.to_owned(), query: None, value: None })))
            .map(|map| map.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

impl JsonSchema for DictionaryKeys {
    fn schema_name() -> Cow<'static, str> {
        "DictionaryKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<DictionaryMap>();
        json_schema!({ "anyOf": [{ "type": "string" }, map] })
    }
}

impl<'de> Deserialize<'de> for SequenceKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a place such as `/sequence_num`, or `{ at: /t, per: /s, across: stream }`")
            .string(|text| {
                let at = Place::new(text).map_err(de::Error::custom)?;
                Ok(Self(SequenceMap { at, per: None, across: SequenceScope::default() }))
            })
            .map(|map| map.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

impl JsonSchema for SequenceKeys {
    fn schema_name() -> Cow<'static, str> {
        "SequenceKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (place, map) = (generator.subschema_for::<Place>(), generator.subschema_for::<SequenceMap>());
        json_schema!({ "anyOf": [place, map] })
    }
}
