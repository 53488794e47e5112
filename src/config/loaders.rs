//! `loaders:` of the service's file: which streams go into which stores.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::source::Problem;
use crate::store::Limits;
use crate::units::{Size, Span};

use super::common::check_name;

/// A loader: streams, and the store that they are carried into.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The store's address, such as `redis://localhost` or `mongodb://user:${MONGO_PASSWORD}@localhost/live`.
    pub to: String,
    /// What the loader is called in logs and commands; made of the address by default. Its positions are kept under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which streams: a name, or a list of names; `*` stands for any letters. All but tapline's own by default.
    #[serde(default)]
    pub streams: Patterns,
    /// How batches are made; each store has its own defaults.
    #[serde(default)]
    pub batch: BatchKeys,
}

/// The address may have a password in it.
impl fmt::Debug for Load {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Load").field("name", &self.name).field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// How batches are made: whichever comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchKeys {
    /// The most records in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub records: Option<usize>,
    /// About the most bytes in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// How long one that is not full waits for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

impl BatchKeys {
    /// What is said here, and for the rest what the store's kind says.
    pub fn over(self, limits: Limits) -> Limits {
        Limits {
            records: self.records.unwrap_or(limits.records),
            bytes: self.size.map_or(limits.bytes, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
            wait: self.every.map_or(limits.wait, |every| every.0),
            closed: limits.closed,
        }
    }
}

/// Names of streams, with `*` for any letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Patterns(pub Vec<String>);

impl Default for Patterns {
    fn default() -> Self {
        Self(vec!["*".to_owned()])
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a name of a stream, or a list of names, is wanted")]
        enum Form {
            One(String),
            Several(Vec<String>),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::One(one) => vec![one],
            Form::Several(several) => several,
        }))
    }
}

impl JsonSchema for Patterns {
    fn schema_name() -> Cow<'static, str> {
        "Patterns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// What is wrong with loaders that the types alone cannot say. `name_of` gives the default name of an address, or says
/// what is wrong with it.
pub(super) fn check(loaders: &[Load], name_of: &dyn Fn(&str) -> Result<String, String>) -> Vec<Problem> {
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for (index, loader) in loaders.iter().enumerate() {
        let mut wrong = |key: &str, why: String| {
            problems.push(Problem::new(["loaders", &index.to_string(), key], why));
        };
        let name = match (&loader.name, name_of(&loader.to)) {
            (_, Err(why)) => {
                wrong("to", why);
                continue;
            }
            (Some(name), Ok(_)) => name.clone(),
            (None, Ok(name)) => name,
        };
        if let (Some(name), Err(why)) = (&loader.name, check_name(&name)) {
            wrong("name", format!("`{name}` cannot be a loader's name: {why}"));
        }
        if !names.insert(name.clone()) {
            wrong("name", format!("there is a loader `{name}` already; give this one a `name` of its own"));
        }
        if loader.streams.0.is_empty() {
            wrong("streams", "the list is empty; name streams, or leave the key out for all of them".to_owned());
        }
        if loader.batch.records == Some(0) {
            wrong("batch", "0 records are no batch; at least 1".to_owned());
        }
    }
    problems
}
