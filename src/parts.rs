//! Keys of several structs that stand side by side in one map, as a source's file has them.
//!
//! serde's `flatten` would do that too, and lose the place of what is wrong in them (serde issues 1600 and 1183). What a
//! part takes are the keys of its JSON Schema, so that nothing is listed twice.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::source::Problem;

/// A map that is read part by part.
#[derive(Debug)]
pub struct Parts {
    left: Map<String, Value>,
    problems: Vec<Problem>,
}

/// Reads a whole value as one struct.
///
/// # Errors
/// What is wrong with it, at its place.
pub fn whole<T: DeserializeOwned>(value: Value) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(value).map_err(|error| vec![Problem::from(error)])
}

impl Parts {
    /// The parts of this map.
    pub fn of(value: Value) -> Self {
        match value {
            Value::Object(left) => Self { left, problems: Vec::new() },
            _ => Self { left: Map::new(), problems: vec![Problem::new(Vec::<String>::new(), "a map is wanted")] },
        }
    }

    /// The part that has the keys of this struct. `None` when something is wrong with it, which is kept.
    pub fn take<T: DeserializeOwned + JsonSchema>(&mut self) -> Option<T> {
        let schema = schemars::schema_for!(T).to_value();
        let names = schema.get("properties").and_then(Value::as_object);
        let part = names.into_iter().flat_map(Map::keys).filter_map(|name| self.left.remove_entry(name)).collect();
        self.read(part)
    }

    /// What is left, as the last part.
    pub fn rest<T: DeserializeOwned>(&mut self) -> Option<T> {
        let part = std::mem::take(&mut self.left);
        self.read(part)
    }

    fn read<T: DeserializeOwned>(&mut self, part: Map<String, Value>) -> Option<T> {
        whole(Value::Object(part)).map_err(|problems| self.problems.extend(problems)).ok()
    }

    /// The whole, made of its parts. `all` is `None` where one of them is missing.
    ///
    /// # Errors
    /// Everything that was wrong with any part.
    pub fn end<T>(self, all: Option<T>) -> Result<T, Vec<Problem>> {
        match all {
            Some(all) if self.problems.is_empty() => Ok(all),
            _ => Err(self.problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Left {
        #[serde(rename = "type", default)]
        kind: Option<String>,
        count: u8,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Right {
        url: String,
    }

    fn read(value: Value) -> Result<(Left, Right), Vec<Problem>> {
        let mut parts = Parts::of(value);
        let (left, right) = (parts.take(), parts.rest());
        parts.end(left.zip(right))
    }

    #[test]
    fn each_part_has_its_keys_and_all_that_is_wrong_is_said_at_its_place() {
        let (left, right) = read(json!({ "url": "u", "type": "t", "count": 3 })).unwrap();
        assert_eq!((left, right), (Left { kind: Some("t".into()), count: 3 }, Right { url: "u".into() }));
        let wrong = read(json!({ "url": 7, "count": "many" })).unwrap_err();
        let paths: Vec<&[String]> = wrong.iter().map(|problem| problem.path.as_slice()).collect();
        assert_eq!(paths, [["count".to_owned()], ["url".to_owned()]]);
        let unknown = read(json!({ "url": "u", "count": 3, "more": 1 })).unwrap_err();
        assert!(unknown[0].message.contains("unknown field `more`"), "{unknown:?}");
        assert!(!read(json!([])).unwrap_err().is_empty());
    }
}
