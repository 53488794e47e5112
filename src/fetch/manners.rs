//! What a source's file says about its manners.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_untagged::UntaggedEnumVisitor;

use crate::source::Problem;
use crate::units::Span;

/// The longest delay that makes sense: beyond it a source would be asked to wait for longer than a call may take.
const DELAY_MAX: Duration = Duration::from_hours(1);

/// How a source behaves towards the sites that it asks. One gate per host holds all sources of that host to the
/// strictest of what they say.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Manners {
    /// What `robots.txt` of a site is to the source: `obey`, the default, or `{ ignore: "why" }` with the reason why it
    /// does not apply, such as a contract.
    pub robots: Robots,
    /// The least time from one request to a host to the next: `100ms` by default, nothing for a private address. A
    /// longer `Crawl-delay` of the site's robots.txt counts instead.
    pub delay: Option<Span>,
    /// The most requests to a host at once: 4 by default, 16 for a private address.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<u8>,
    /// Whether a host that answers slowly, or with errors, is asked less often. `true` by default.
    pub adapt: bool,
    /// Whether a page that says how long it stays as it is (`Cache-Control: max-age`) is left alone until then. `false` by
    /// default.
    pub max_age: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self { robots: Robots::Obey, delay: None, concurrency: None, adapt: true, max_age: false }
    }
}

impl Manners {
    /// What is wrong with them, each with its path below `manners`.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Robots::Ignore(reason) = &self.robots
            && reason.trim().chars().count() < 5
        {
            let message = "say in words why robots.txt does not apply, such as `{ ignore: \"we have a contract\" }`";
            problems.push(Problem::new(["manners", "robots"], message));
        }
        if self.delay.is_some_and(|delay| delay.0 > DELAY_MAX) {
            let message = "at most 1h; to ask less often write a longer `every`";
            problems.push(Problem::new(["manners", "delay"], message));
        }
        if !(1..=64).contains(&self.concurrency.unwrap_or(1)) {
            problems.push(Problem::new(["manners", "concurrency"], "from 1 to 64"));
        }
        problems
    }
}

/// What `robots.txt` of a site is to a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Robots {
    /// What it forbids is not fetched (RFC 9309).
    #[default]
    Obey,
    /// It is not asked, for this reason.
    Ignore(String),
}

impl Serialize for Robots {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Obey => serializer.serialize_str("obey"),
            Self::Ignore(reason) => serializer.collect_map([("ignore", reason)]),
        }
    }
}

impl<'de> Deserialize<'de> for Robots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The long form.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Ignored {
            ignore: String,
        }
        UntaggedEnumVisitor::new()
            .expecting("`obey`, or `{ ignore: \"the reason\" }`")
            .string(|word| match word {
                "obey" => Ok(Self::Obey),
                "ignore" => Err(de::Error::custom("say why it does not apply: `{ ignore: \"the reason\" }`")),
                other => Err(de::Error::custom(format!("`{other}` is not `obey`, nor `{{ ignore: \"the reason\" }}`"))),
            })
            .map(|map| map.deserialize::<Ignored>().map(|ignored| Self::Ignore(ignored.ignore)))
            .deserialize(deserializer)
    }
}

impl JsonSchema for Robots {
    fn schema_name() -> Cow<'static, str> {
        "Robots".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["obey"] },
            { "type": "object", "properties": { "ignore": { "type": "string", "minLength": 5 } },
              "required": ["ignore"], "additionalProperties": false }
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn opting_out_needs_a_reason() {
        let read = |value| serde_json::from_value::<Manners>(value).map_err(|error| error.to_string());
        let manners = read(json!({ "robots": { "ignore": "a contract of 2025" }, "delay": "2s" })).unwrap();
        assert_eq!((manners.problems(), manners.robots), (vec![], Robots::Ignore("a contract of 2025".into())));
        assert!(!read(json!({ "robots": { "ignore": " " } })).unwrap().problems().is_empty());
        insta::assert_snapshot!(read(json!({ "robots": "ignore" })).unwrap_err(), @r#"say why it does not apply: `{ ignore: "the reason" }`"#);
        insta::assert_snapshot!(read(json!({ "robots": "off" })).unwrap_err(), @r#"`off` is not `obey`, nor `{ ignore: "the reason" }`"#);
        assert_eq!(read(json!({ "delay": "2h", "concurrency": 0 })).unwrap().problems().len(), 2);
    }
}
