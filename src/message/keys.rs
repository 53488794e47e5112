//! The keys by which a source's file says what its messages are.

use std::borrow::Cow;

use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_untagged::UntaggedEnumVisitor;

use super::condition::ConditionKeys;
use super::find::Places;
use super::identity::Identity;
use super::place::Place;
use super::{Reader, Type};
use crate::moment::{Clocks, Moments};
use crate::source::Problem;

/// What messages are made into: keys that every adapter of messages in JSON shares.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageKeys {
    /// Where the records are in a message that has several: `/data/*`, `$.events[*].trades[*]`. Without it the whole message is
    /// one record, token for token.
    pub records: Option<Place>,
    /// Where the record is in a message that has it as a text of JSON, such as `/payload`.
    pub payload: Option<Place>,
    /// What tells one record from another, within the record: a place such as `/id`, or several. The record's `id` is made
    /// of it, and one that upstream sends again is not written again.
    pub id: Option<IdKeys>,
    /// When it happened, within the record: a place whose text is in RFC 3339, or `{ at: /T, format: epoch_ms }`.
    pub published_at: Option<PublishedKeys>,
    /// The records' `type`: a word, a place in the message such as `/event`, or `{ at: /event, default: trade }`.
    #[serde(rename = "type")]
    pub record_type: Option<TypeKeys>,
    /// Which messages are no records: any that meets one of these conditions, such as `{ /type: heartbeat }`. They show
    /// that upstream lives.
    pub ignore: Vec<ConditionKeys>,
}

/// One place, or several that do together.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct IdKeys(pub Vec<Place>);

/// Where it stands when something happened, and how that is written.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct PublishedKeys(pub PublishedMap);

/// The long form.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedMap {
    /// The place.
    pub at: Place,
    /// How it is written, one of or a list of: `rfc3339` (the default), `rfc2822`, `epoch_s`, `epoch_ms`, `epoch_us`,
    /// `epoch_ns`, a pattern of chrono's such as `%d-%b-%Y %H:%M:%S`.
    #[serde(default)]
    pub format: Option<Formats>,
    /// The zone of a format that has none, such as `Asia/Kolkata`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub timezone: Option<Tz>,
    /// What a local time means that the clocks of the `timezone` show twice or skip: `before` or `after` they change.
    #[serde(default)]
    pub clocks: Option<Clocks>,
}

/// One format, or several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Formats {
    /// One.
    One(String),
    /// Several; a text that two of them read differently is refused.
    Many(Vec<String>),
}

/// What records are called.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TypeKeys {
    /// So.
    Fixed(String),
    /// As a place says.
    At(TypeMap),
}

/// The long form.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TypeMap {
    /// The place, in the message.
    pub at: Place,
    /// What they are called where nothing is there.
    #[serde(default)]
    pub default: Option<String>,
}

impl MessageKeys {
    /// What is wrong with them, each with its path.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.records.is_some() && self.payload.is_some() {
            problems.push(Problem::new(["payload"], "a message has `records`, or one `payload`; leave one out"));
        }
        if self.id.as_ref().is_some_and(|id| id.0.is_empty()) {
            problems.push(Problem::new(["id"], "name what tells one record from another, such as `/id`"));
        }
        if self.id.iter().flat_map(|id| &id.0).any(Place::is_many) {
            problems.push(Problem::new(["id"], "an id is made of single values; leave the `*` out"));
        }
        if let Some(Err(message)) = self.published_at.as_ref().map(PublishedKeys::moments) {
            problems.push(Problem::new(["published_at", "format"], message));
        }
        if let Some(TypeKeys::Fixed(word)) = &self.record_type
            && (word.is_empty() || word.chars().any(char::is_control))
        {
            problems.push(Problem::new(["type"], "a type is a word, or a place such as `/event`"));
        }
        for (index, condition) in self.ignore.iter().enumerate() {
            problems.extend(condition.problems().into_iter().map(|problem| {
                let path = ["ignore".to_owned(), index.to_string()].into_iter().chain(problem.path);
                Problem::new(path, problem.message)
            }));
        }
        problems
    }

    /// What reads the messages of the source of this name. The caller's own places are looked for too, and are found by
    /// their numbers in this list.
    ///
    /// # Errors
    /// When something is wrong that [`problems`](Self::problems) says.
    pub fn reader(&self, source: &str, own: &[&Place]) -> anyhow::Result<Reader> {
        let mut whole = Places::default();
        for place in own {
            whole.add(place);
        }
        self.reader_with(source, whole)
    }

    /// The same, where the caller looks for these already, such as for conditions of its own.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn reader_with(&self, source: &str, mut whole: Places) -> anyhow::Result<Reader> {
        let mut within = Places::default();
        let record_type = match &self.record_type {
            None => Type::Given,
            Some(TypeKeys::Fixed(word)) => Type::Fixed(word.clone()),
            Some(TypeKeys::At(map)) => Type::At(whole.add(&map.at), map.default.clone()),
        };
        let published_at = self.published_at.as_ref().map(|keys| {
            let moments = keys.moments().map_err(|why| anyhow::anyhow!("published_at: {why}"))?;
            anyhow::Ok((within.add(&keys.0.at), moments))
        });
        Ok(Reader {
            ignored: self.ignore.iter().map(|condition| condition.compile(&mut whole)).collect(),
            records: self.records.as_ref().map(|place| whole.add(place)),
            payload: self.payload.as_ref().map(|place| whole.add(place)),
            record_type,
            published_at: published_at.transpose()?,
            identity: self.id.as_ref().map(|id| Identity::new(&id.0, source, &mut within)),
            whole,
            within,
        })
    }
}

impl PublishedKeys {
    fn moments(&self) -> Result<Moments, String> {
        let formats = match &self.0.format {
            None => &[][..],
            Some(Formats::One(format)) => std::slice::from_ref(format),
            Some(Formats::Many(formats)) => formats,
        };
        Moments::new(formats, self.0.timezone, self.0.clocks, false)
    }
}

impl<'de> Deserialize<'de> for IdKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a place such as `/id`, or a list of places")
            .string(|text| Ok(Self(vec![Place::new(text).map_err(de::Error::custom)?])))
            .seq(|list| list.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

impl JsonSchema for IdKeys {
    fn schema_name() -> Cow<'static, str> {
        "IdKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let place = generator.subschema_for::<Place>();
        json_schema!({ "anyOf": [place, { "type": "array", "items": place, "minItems": 1 }] })
    }
}

impl<'de> Deserialize<'de> for PublishedKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a place such as `/created_at`, or `{ at: /T, format: epoch_ms }`")
            .string(|text| {
                let at = Place::new(text).map_err(de::Error::custom)?;
                Ok(Self(PublishedMap { at, format: None, timezone: None, clocks: None }))
            })
            .map(|map| map.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

impl JsonSchema for PublishedKeys {
    fn schema_name() -> Cow<'static, str> {
        "PublishedKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (place, map) = (generator.subschema_for::<Place>(), generator.subschema_for::<PublishedMap>());
        json_schema!({ "anyOf": [place, map] })
    }
}

impl<'de> Deserialize<'de> for TypeKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a word, a place such as `/event`, or `{ at: /event, default: trade }`")
            .string(|text| {
                if !text.starts_with(['/', '$']) {
                    return Ok(Self::Fixed(text.to_owned()));
                }
                Ok(Self::At(TypeMap { at: Place::new(text).map_err(de::Error::custom)?, default: None }))
            })
            .map(|map| map.deserialize().map(Self::At))
            .deserialize(deserializer)
    }
}

impl JsonSchema for TypeKeys {
    fn schema_name() -> Cow<'static, str> {
        "TypeKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<TypeMap>();
        json_schema!({ "anyOf": [{ "type": "string" }, map] })
    }
}
