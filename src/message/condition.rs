//! Conditions on a message: what stands at its places is what was asked for, without a tree of values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::find::{Found, Places};
use super::place::Place;
use crate::config::nearest;
use crate::source::Problem;

/// What must all be so: a value for each place, a list of values of which it is one, or a map such as `{ min: 5 }`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConditionKeys(pub BTreeMap<Place, Wanted>);

/// What is wanted of one place.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Wanted {
    /// Something else than equality.
    Rule(Rule),
    /// Any of these values. Null is also what is not there.
    Any(Vec<Value>),
    /// This value.
    Is(Value),
}

/// What is wanted of one place, where that is not a value. All that is given must be so.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Whether there is anything there but null.
    pub exists: Option<bool>,
    /// None of these values; one, or a list.
    pub not: Option<Value>,
    /// A regular expression that a text, or a number as it is written, must match somewhere.
    pub matches: Option<String>,
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
}

/// A condition that is ready to be asked.
#[derive(Debug, Clone)]
pub struct Condition(Vec<(usize, Test)>);

#[derive(Debug, Clone)]
enum Test {
    Any(Vec<Value>),
    None(Vec<Value>),
    Exists(bool),
    Matches(Regex),
    Within(f64, f64),
}

impl ConditionKeys {
    /// What is wrong with it; paths begin at its own keys.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.0.is_empty() {
            problems.push(Problem::new(
                Vec::<String>::new(),
                "an empty condition is always met; write `{ /kind: commit }`",
            ));
        }
        for (place, wanted) in &self.0 {
            let mut wrong = |message: String| problems.push(Problem::new([place.as_str()], message));
            let values = match wanted {
                Wanted::Is(value) => std::slice::from_ref(value),
                Wanted::Any(values) => values,
                Wanted::Rule(rule) => {
                    if let Some(Err(error)) = rule.matches.as_deref().map(Regex::new) {
                        wrong(format!("not a regular expression: {error}"));
                    }
                    if rule.tests().is_empty() {
                        wrong("say what is wanted: `exists`, `not`, `matches`, `min` or `max`".into());
                    }
                    match &rule.not {
                        Some(Value::Array(values)) => values,
                        not => not.as_slice(),
                    }
                }
            };
            // A map that is no rule has been read as a value.
            if let Wanted::Is(Value::Object(map)) = wanted {
                wrong(Rule::why_not(map));
            } else if values.iter().any(|value| value.is_array() || value.is_object()) {
                wrong("a place is compared with texts, numbers, true, false and null".into());
            }
        }
        problems
    }

    /// Makes it ready. Its places are added to those that are looked for.
    pub fn compile(&self, places: &mut Places) -> Condition {
        let mut tests = Vec::new();
        for (place, wanted) in &self.0 {
            let number = places.add(place);
            let own = match wanted {
                Wanted::Is(value) => vec![Test::Any(vec![value.clone()])],
                Wanted::Any(values) => vec![Test::Any(values.clone())],
                Wanted::Rule(rule) => rule.tests(),
            };
            tests.extend(own.into_iter().map(|test| (number, test)));
        }
        Condition(tests)
    }
}

impl Rule {
    /// What is wrong with a map that should have been one.
    fn why_not(map: &serde_json::Map<String, Value>) -> String {
        const TESTS: [&str; 5] = ["exists", "not", "matches", "min", "max"];
        let Some(unknown) = map.keys().find(|key| !TESTS.contains(&key.as_str())) else {
            return "say `exists` by true or false, `matches` by a text, `min` and `max` by numbers".into();
        };
        let near =
            nearest(unknown, TESTS.into_iter()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        format!("`{unknown}` is no test of a place; there are `exists`, `not`, `matches`, `min` and `max`{near}")
    }

    fn tests(&self) -> Vec<Test> {
        let mut tests = Vec::new();
        tests.extend(self.exists.map(Test::Exists));
        tests.extend(self.not.clone().map(|not| match not {
            Value::Array(values) => Test::None(values),
            value => Test::None(vec![value]),
        }));
        tests.extend(self.matches.as_deref().and_then(|text| Regex::new(text).ok()).map(Test::Matches));
        if self.min.is_some() || self.max.is_some() {
            let (min, max) = (self.min.unwrap_or(f64::NEG_INFINITY), self.max.unwrap_or(f64::INFINITY));
            tests.push(Test::Within(min, max));
        }
        tests
    }
}

impl Condition {
    /// Whether a message meets it, of which this was found.
    pub fn is_met(&self, found: &Found<'_>) -> bool {
        self.0.iter().all(|(number, test)| {
            let values = found.all(*number);
            match test {
                Test::Any(wanted) if values.is_empty() => wanted.contains(&Value::Null),
                Test::Any(wanted) => values.iter().any(|value| is_any(value, wanted)),
                Test::None(unwanted) if values.is_empty() => !unwanted.contains(&Value::Null),
                Test::None(unwanted) => !values.iter().any(|value| is_any(value, unwanted)),
                Test::Exists(wanted) => values.iter().any(|value| value.get() != "null") == *wanted,
                Test::Matches(regex) => {
                    values.iter().any(|value| text_of(value).is_some_and(|text| regex.is_match(&text)))
                }
                Test::Within(min, max) => values.iter().any(|value| {
                    let number = value.get().parse::<f64>();
                    number.is_ok_and(|number| (*min..=*max).contains(&number))
                }),
            }
        })
    }
}

fn is_any(value: &RawValue, wanted: &[Value]) -> bool {
    let text = value.get();
    wanted.iter().any(|wanted| match wanted {
        Value::Null => text == "null",
        Value::Bool(flag) => text == if *flag { "true" } else { "false" },
        Value::String(wanted) => string_of(value).is_some_and(|text| text == wanted.as_str()),
        // Whole numbers are compared exactly, others as floats: 1.0 is 1.
        Value::Number(wanted) => {
            *text == wanted.to_string() || text.parse::<f64>().is_ok_and(|number| is_close(number, wanted.as_f64()))
        }
        Value::Array(_) | Value::Object(_) => false,
    })
}

/// Equal as floats, where both can be told apart as floats.
fn is_close(number: f64, wanted: Option<f64>) -> bool {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    wanted.is_some_and(|wanted| number.abs() < EXACT_MAX && number.total_cmp(&wanted).is_eq())
}

/// The text of a JSON string, borrowed where it has no escapes.
pub fn string_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// A scalar as text: a string's own, a number and a word as written. `None` of null, an object, a list.
pub fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'"' => string_of(value),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(value.get())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn is_met(condition: Value, message: &str) -> bool {
        let keys: ConditionKeys = serde_json::from_value(condition).unwrap();
        assert_eq!(keys.problems(), []);
        let mut places = Places::default();
        let condition = keys.compile(&mut places);
        condition.is_met(&places.find(serde_json::from_str(message).unwrap()))
    }

    #[test]
    fn conditions() {
        let message = r#"{"kind":"commit","n":5,"price":"1.50","big":12345678901234567890,"f":1.0,"none":null,"a":[{"l":"de"},{"l":"en"}],"esc":"a\u0062","yes":true}"#;
        for (condition, expected) in [
            (json!({ "/kind": "commit" }), true),
            (json!({ "/kind": ["identity", "commit"] }), true),
            (json!({ "/kind": "identity" }), false),
            (json!({ "/kind": "commit", "/n": 6 }), false),
            (json!({ "/n": 5, "/f": 1 }), true),
            (json!({ "/n": "5" }), false),
            (json!({ "/big": 12_345_678_901_234_567_890_u64 }), true),
            (json!({ "/big": 12_345_678_901_234_567_891_u64 }), false),
            (json!({ "/none": null, "/nothing": null }), true),
            (json!({ "/kind": null }), false),
            (json!({ "/a/*/l": "en" }), true),
            (json!({ "/a/*/l": { "not": "en" } }), false),
            (json!({ "/a/*/l": { "not": ["fr", "it"] } }), true),
            (json!({ "/nothing": { "not": "en" } }), true),
            (json!({ "/esc": "ab" }), true),
            (json!({ "/yes": true }), true),
            (json!({ "/none": { "exists": false }, "/kind": { "exists": true } }), true),
            (json!({ "/price": { "matches": "^1\\." }, "/n": { "matches": "5" } }), true),
            (json!({ "/n": { "min": 5, "max": 6 } }), true),
            (json!({ "/n": { "min": 5.5 } }), false),
            (json!({ "/price": { "min": 1 } }), false),
            (json!({ "$.a[0].l": "de" }), true),
        ] {
            assert_eq!(is_met(condition.clone(), message), expected, "{condition}");
        }
    }

    #[test]
    fn what_cannot_be_met_is_said() {
        for wrong in [
            json!({}),
            json!({ "/a": {} }),
            json!({ "/a": { "matches": "(" } }),
            json!({ "/a": [[1]] }),
            json!({ "/a": { "not": [{}] } }),
        ] {
            let keys: ConditionKeys = serde_json::from_value(wrong.clone()).unwrap();
            assert!(!keys.problems().is_empty(), "{wrong}");
        }
        let said = |wrong: Value| serde_json::from_value::<ConditionKeys>(wrong).unwrap().problems()[0].message.clone();
        assert_eq!(
            said(json!({ "/a": { "match": "x" } })),
            "`match` is no test of a place; there are `exists`, `not`, `matches`, `min` and `max`; did you mean `matches`?"
        );
        assert!(said(json!({ "/a": { "min": "5" } })).ends_with("`min` and `max` by numbers"));
    }
}
