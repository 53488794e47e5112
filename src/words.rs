//! Texts as files have them: one or several, and scalars that YAML takes for something else.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_untagged::UntaggedEnumVisitor;

/// One text, or several.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Texts(pub Vec<String>);

/// One word, or several.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a text, or a list of texts")
            .string(|text| Ok(Self(vec![text.to_owned()])))
            .seq(|list| list.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

/// Scalars as their text: YAML makes a bool of `true` and a number of `1`.
impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = |word: &dyn ToString| Ok(Self(vec![word.to_string()]));
        UntaggedEnumVisitor::new()
            .expecting("a word, or a list of words")
            .string(move |text| one(&text))
            .bool(move |value| one(&value))
            .i64(move |value| one(&value))
            .u64(move |value| one(&value))
            // The shortest text that is this float, which is what stood in the file; Rust writes it without exponent.
            .f64(move |value| one(&value))
            .unit(|| Ok(Self(Vec::new())))
            .seq(|list| Ok(Self(list.deserialize::<Vec<Self>>()?.into_iter().flat_map(|Self(words)| words).collect())))
            .deserialize(deserializer)
    }
}

/// The forms that several types take are written out once for editors.
fn one_or_many(kinds: &[&str]) -> Schema {
    json_schema!({ "anyOf": [{ "type": kinds }, { "type": "array", "items": { "type": kinds } }] })
}

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_or_many(&["string"])
    }
}

impl JsonSchema for Words {
    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_or_many(&["string", "boolean", "number"])
    }
}
