//! `unique`: each row of a page is written once, however long the page shows it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_untagged::UntaggedEnumVisitor;

use super::emit::members;
use crate::item::Item;
use crate::source::Problem;
use crate::unique::{Limits, REMEMBER, Seen};
use crate::units::Span;
use crate::words::Texts;

/// By what a record is known again: a field, several, or `{ key, remember, keep }`.
#[derive(Debug, Clone, Serialize)]
pub struct Unique {
    /// The fields that together name it.
    pub(super) key: Vec<String>,
    /// How much is remembered.
    #[serde(flatten)]
    limits: Limits,
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UniqueKeys {
    /// The field that names a record, or several that do together.
    key: Texts,
    /// How many keys are remembered at least: 100000 by default.
    #[serde(default = "default_remember")]
    #[schemars(range(min = 1000, max = 1_000_000))]
    remember: u32,
    /// How long a key is remembered that is not shown any more: `30d`. Then a record with it is written as a new one. Without
    /// it, for as long as `remember` says.
    #[serde(default)]
    keep: Option<Span>,
}

fn default_remember() -> u32 {
    REMEMBER
}

impl Unique {
    /// What is wrong with it, beside these names that records have.
    pub(super) fn problems(&self, known: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for name in self.key.iter().filter(|name| !known.contains(name)) {
            let message = format!("`{}` is no field of this source", name.escape_debug());
            problems.push(Problem::new(["unique"], message));
        }
        if self.key.is_empty() {
            problems
                .push(Problem::new(["unique"], "name the field that tells one record from another, such as `link`"));
        }
        problems.extend(self.limits.problems("unique"));
        problems
    }

    /// Where what was written is remembered.
    pub(super) fn seen(&self, source: &str) -> Seen {
        Seen::new(&self.key.join("\0"), source, self.limits)
    }

    /// The record's key, of its data.
    pub(super) fn of(&self, seen: &Seen, item: &Item) -> Key {
        let members = members(item.data.get());
        let mut values = Vec::new();
        for name in &self.key {
            match members.get(name.as_str()).map_or("null", |value| value.get()) {
                "null" => return Key::Missing(name.clone()),
                value => values.push(value),
            }
        }
        let (id, hash) = seen.made(values);
        Key::Of(id, hash)
    }
}

/// What a record's key is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// With the record's id.
    Of(String, u64),
    /// The field of this name is null.
    Missing(String),
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a field's name such as `link`, a list of names, or `{ key, remember, keep }`")
            .string(|name| Ok(Self { key: vec![name.to_owned()], limits: Limits::default() }))
            .seq(|list| Ok(Self { key: list.deserialize()?, limits: Limits::default() }))
            .map(|map| {
                let UniqueKeys { key, remember, keep } = map.deserialize()?;
                Ok(Self { key: key.0, limits: Limits { remember, keep } })
            })
            .deserialize(deserializer)
    }
}

impl JsonSchema for Unique {
    fn schema_name() -> Cow<'static, str> {
        "Unique".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<UniqueKeys>();
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }, long] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use serde_json::value::to_raw_value;

    fn item(data: &serde_json::Value) -> Item {
        Item { id: None, kind: "row".into(), published_at: None, data: to_raw_value(data).unwrap() }
    }

    #[test]
    fn a_key_is_of_its_fields_and_its_source() {
        let two: Unique = serde_json::from_value(json!(["a", "b"])).unwrap();
        let [one, other] = ["one", "other"].map(|source| two.seen(source));
        let id = |seen: &Seen, data| match two.of(seen, &item(&data)) {
            Key::Of(id, _) => id,
            Key::Missing(name) => name,
        };
        let first = id(&one, json!({ "a": "x", "b": 1, "c": 5 }));
        assert_eq!(first, id(&one, json!({ "b": 1, "c": 6, "a": "x" })));
        assert!(first.starts_with("u_") && first.len() == 18, "{first}");
        assert_ne!(first, id(&other, json!({ "a": "x", "b": 1 })));
        assert_ne!(first, id(&one, json!({ "a": "x", "b": 2 })));
        assert_eq!(id(&one, json!({ "a": "x", "b": null })), "b");
        assert_eq!(id(&one, json!({ "b": 1 })), "a");
    }
}
