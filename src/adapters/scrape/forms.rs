//! The forms in which settings may be written: short and long, one and many. For serde, and for the JSON Schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_untagged::UntaggedEnumVisitor;

use super::settings::{Bound, Field, Fields, Format, Near, NumberFormat, OnMissing, Rows, Script};
use crate::pairs::Pairs;
use crate::words::{Texts, Words};

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a map of fields, such as `price: \"span.price\"`")
            .map(|map| {
                let Pairs(fields) = map.deserialize::<Pairs<_, ShortOrLong>>()?;
                Ok(Self(fields.into_iter().map(|(name, ShortOrLong(field))| (name, field)).collect()))
            })
            .deserialize(deserializer)
    }
}

/// A field as written: its selector alone, or a map.
struct ShortOrLong(Field);

impl<'de> Deserialize<'de> for ShortOrLong {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a CSS selector, or a map with `css`")
            .string(|css| Ok(Self(Field { css: Some(Texts(vec![css.to_owned()])), ..Field::default() })))
            .map(|map| map.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a datetime's format, a list of them, or a number's `{ decimal, group, grouping }`")
            .string(|format| Ok(Self::Moments(vec![format.to_owned()])))
            .seq(|list| list.deserialize().map(Self::Moments))
            .map(|map| map.deserialize().map(Self::Number))
            .deserialize(deserializer)
    }
}

/// A label, and what is taken near it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Label {
    /// The whole text of the label. White space and a colon at its end do not matter.
    label: String,
    /// A CSS selector: its first match in the closest element around the label that has one.
    #[serde(default)]
    pick: Option<String>,
}

impl<'de> Deserialize<'de> for Near {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a label, or `{ label, pick }`")
            .string(|label| Ok(Self { label: label.to_owned(), pick: None }))
            .map(|map| {
                let Label { label, pick } = map.deserialize()?;
                Ok(Self { label, pick })
            })
            .deserialize(deserializer)
    }
}

/// What one record is: one of these.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Records {
    /// A CSS selector of the rows.
    css: Option<String>,
    /// A path into the page's blocks of JSON-LD, tried on each thing in them.
    jsonld: Option<String>,
    /// A path into the data of a page made by Next.js, such as `$.props.pageProps.items[*]`.
    next_data: Option<String>,
    /// JSON within a script, `{ find, path }`.
    script: Option<Script>,
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a CSS selector of rows, or a map such as `{ next_data: \"$.props.items[*]\" }`")
            .string(|css| Ok(Self { css: Some(css.to_owned()), ..Self::default() }))
            .map(|map| {
                let Records { css, jsonld, next_data, script } = map.deserialize()?;
                Ok(Self { css, jsonld, next_data, script })
            })
            .deserialize(deserializer)
    }
}

/// Takes a bare `null` for the word: `on_missing: null` must not silently mean the opposite of what it says.
pub(super) fn on_missing_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OnMissing>, D::Error> {
    match Option::<Cow<'de, str>>::deserialize(deserializer)?.as_deref() {
        None | Some("null") => Ok(Some(OnMissing::Null)),
        Some("reject") => Ok(Some(OnMissing::Reject)),
        Some("drop") => Ok(Some(OnMissing::Drop)),
        Some("last") => Ok(Some(OnMissing::Last)),
        Some("default") => Ok(Some(OnMissing::Default)),
        Some(word) => Err(de::Error::custom(format!("`{word}` is not one of reject, \"null\", drop, last, default"))),
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Words(mut words) = Words::deserialize(deserializer)?;
        Ok(Self(words.pop()))
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let field = generator.subschema_for::<Field>();
        json_schema!({
            "type": "object",
            "additionalProperties": { "anyOf": [{ "type": "string", "description": "A CSS selector." }, field] }
        })
    }
}

impl JsonSchema for Format {
    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = generator.subschema_for::<NumberFormat>();
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }, number] })
    }
}

impl JsonSchema for Near {
    fn schema_name() -> Cow<'static, str> {
        "Near".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let both = generator.subschema_for::<Label>();
        json_schema!({ "anyOf": [{ "type": "string" }, both] })
    }
}

impl JsonSchema for Rows {
    fn schema_name() -> Cow<'static, str> {
        "Rows".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<Records>();
        json_schema!({ "anyOf": [{ "type": "string" }, map] })
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> Cow<'static, str> {
        "Bound".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string", "null"] })
    }
}
