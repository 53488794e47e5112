//! What is asked of the older stream: the settings, their limits, and the request's form.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::source::Problem;

/// The limits of an ordinary account.
const PHRASES_MAX: usize = 400;
const PHRASE_BYTES_MAX: usize = 60;
const USERS_MAX: usize = 5000;
const BOXES_MAX: usize = 25;

/// What the older stream is to bring. A status comes when any one of `track`, `follow` and `locations` fits it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Phrases, at most 400 of 1 to 60 bytes. A phrase fits when all its words are in the status, in any order;
    /// capitals do not matter.
    pub track: Vec<String>,
    /// Ids of users, at most 5,000: their statuses, retweets of them, and replies to them.
    pub follow: Vec<UserId>,
    /// Boxes on the map, at most 25, each `[west, south, east, north]` in degrees.
    pub locations: Vec<Vec<f64>>,
    /// How much is left out of what is unfit to be shown in public: `none` (the default), `low` or `medium`.
    pub filter_level: Option<FilterLevel>,
    /// Only statuses in these languages, as codes such as `en`.
    pub language: Vec<String>,
    /// Asks for a warning when this reader falls behind.
    pub stall_warnings: bool,
}

/// How much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterLevel {
    /// Nothing.
    None,
    /// Some.
    Low,
    /// Most.
    Medium,
}

/// A user's id: digits, in quotes or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserId(String);

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = UserId;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a user's id, such as 2244994945")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<UserId, E> {
                Ok(UserId(id.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UserId, E> {
                let is_id = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                if is_id {
                    Ok(UserId(text.to_owned()))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for UserId {
    fn schema_name() -> Cow<'static, str> {
        "UserId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "A user's id, such as 2244994945.",
            "pattern": "^[0-9]{1,20}$",
            "minimum": 0
        })
    }
}

impl Filter {
    /// What is wrong with it; paths begin at its own keys.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &[&str], message: String| problems.push(Problem::new(path.iter().copied(), message));
        if self.track.is_empty() && self.follow.is_empty() && self.locations.is_empty() {
            wrong(&[], "nothing is asked for; write at least one of `track`, `follow` and `locations`".into());
        }
        for (key, count, max) in [
            ("track", self.track.len(), PHRASES_MAX),
            ("follow", self.follow.len(), USERS_MAX),
            ("locations", self.locations.len(), BOXES_MAX),
        ] {
            if count > max {
                wrong(&[key], format!("{count} entries, and at most {max} are taken"));
            }
        }
        for (index, phrase) in self.track.iter().enumerate() {
            if let Some(message) = phrase_problem(phrase) {
                wrong(&["track", &index.to_string()], message);
            }
        }
        for (index, corners) in self.locations.iter().enumerate() {
            if let Some(message) = box_problem(corners) {
                wrong(&["locations", &index.to_string()], message.into());
            }
        }
        for (index, language) in self.language.iter().enumerate() {
            let is_code = (2..=12).contains(&language.len())
                && language.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !is_code {
                let message = format!("`{}` is no code of a language; write one such as en", language.escape_debug());
                wrong(&["language", &index.to_string()], message);
            }
        }
        problems
    }

    /// The parameters of the request, in the order in which they are sent. Call it on settings without problems.
    pub(in super::super) fn form(&self) -> Vec<(String, String)> {
        let join = |parts: Vec<String>| parts.join(",");
        let corners = self.locations.iter().flatten().map(|degrees| format!("{degrees:.4}"));
        let level = self.filter_level.map(|level| match level {
            FilterLevel::None => "none",
            FilterLevel::Low => "low",
            FilterLevel::Medium => "medium",
        });
        let all = [
            ("follow", join(self.follow.iter().map(ToString::to_string).collect())),
            ("track", join(self.track.iter().map(|phrase| phrase.trim().to_owned()).collect())),
            ("locations", join(corners.collect())),
            ("filter_level", level.unwrap_or_default().into()),
            ("language", join(self.language.clone())),
            ("stall_warnings", if self.stall_warnings { "true" } else { "" }.into()),
            ("delimited", "length".into()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn phrase_problem(phrase: &str) -> Option<String> {
    let bytes = phrase.trim().len();
    if bytes == 0 {
        return Some("an empty phrase fits nothing; leave it out".into());
    }
    if bytes > PHRASE_BYTES_MAX {
        return Some(format!("a phrase of {bytes} bytes, and at most {PHRASE_BYTES_MAX} are taken; use fewer words"));
    }
    phrase.contains(',').then(|| "a comma stands between two phrases; write them as two entries".into())
}

fn box_problem(corners: &[f64]) -> Option<&'static str> {
    let &[west, south, east, north] = corners else {
        return Some("a box is four numbers: west, south, east, north, such as [-122.75, 36.8, -121.75, 37.8]");
    };
    let is_within = |degrees: f64, most: f64| (-most..=most).contains(&degrees);
    if ![west, east].iter().all(|degrees| is_within(*degrees, 180.0)) {
        return Some("west and east, the first and third number, are from -180 to 180");
    }
    if ![south, north].iter().all(|degrees| is_within(*degrees, 90.0)) {
        return Some("south and north, the second and fourth number, are from -90 to 90");
    }
    (west >= east || south >= north)
        .then_some("the southwest corner comes first, then the northeast; a box over the date line is written as two")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn filter(value: serde_json::Value) -> Filter {
        serde_json::from_value(value).unwrap()
    }

    fn problems(value: serde_json::Value) -> String {
        let problems = filter(value).problems();
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.path.join("."), problem.message))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_form_of_everything() {
        let all = filter(json!({
            "track": [" two words ", "#tag"], "follow": [2_244_994_945_u64, "9223372036854775807"],
            "locations": [[-122.75, 36.8, -121.75, 37.8], [-74, 40, -73, 41.000_05]],
            "filter_level": "low", "language": ["en", "pt-BR"], "stall_warnings": true,
        }));
        assert_eq!(all.problems(), []);
        let form = all.form();
        let shown: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            shown,
            [
                "follow=2244994945,9223372036854775807",
                "track=two words,#tag",
                "locations=-122.7500,36.8000,-121.7500,37.8000,-74.0000,40.0000,-73.0000,41.0001",
                "filter_level=low",
                "language=en,pt-BR",
                "stall_warnings=true",
                "delimited=length",
            ]
        );
        let least = filter(json!({ "track": ["a"] })).form();
        assert_eq!(least, [("track".to_owned(), "a".to_owned()), ("delimited".to_owned(), "length".to_owned())]);
    }

    #[test]
    fn limits_in_words() {
        insta::assert_snapshot!(problems(json!({})), @": nothing is asked for; write at least one of `track`, `follow` and `locations`");
        insta::assert_snapshot!(
            problems(json!({
                "track": ["ok", " ", "é".repeat(31), "a,b"],
                "locations": [[1, 2, 3], [-181, 0, 1, 1], [0, 0, 1, 90.5], [1, 1, 0, 0], [0, 0, 1, 1]],
                "language": ["en", "english, please"],
            })),
            @r"
        track.1: an empty phrase fits nothing; leave it out
        track.2: a phrase of 62 bytes, and at most 60 are taken; use fewer words
        track.3: a comma stands between two phrases; write them as two entries
        locations.0: a box is four numbers: west, south, east, north, such as [-122.75, 36.8, -121.75, 37.8]
        locations.1: west and east, the first and third number, are from -180 to 180
        locations.2: south and north, the second and fourth number, are from -90 to 90
        locations.3: the southwest corner comes first, then the northeast; a box over the date line is written as two
        language.1: `english, please` is no code of a language; write one such as en
        "
        );
        insta::assert_snapshot!(
            problems(json!({ "track": vec!["a"; 401], "follow": vec![1; 5001], "locations": vec![[0, 0, 1, 1]; 26] })),
            @r"
        track: 401 entries, and at most 400 are taken
        follow: 5001 entries, and at most 5000 are taken
        locations: 26 entries, and at most 25 are taken
        "
        );
        let at_the_limits = json!({
            "track": vec!["a".repeat(60); 400], "follow": vec![1; 5000], "locations": vec![[-180, -90, 180, 90]; 25]
        });
        assert_eq!(filter(at_the_limits).problems(), []);
    }

    #[test]
    fn a_user_is_digits() {
        for wrong in [json!("@someone"), json!(-1), json!(1.5), json!(""), json!("1 "), json!(null)] {
            let error = serde_json::from_value::<UserId>(wrong).unwrap_err().to_string();
            assert!(error.contains("a user's id, such as 2244994945"), "{error}");
        }
        assert!(serde_json::from_value::<Filter>(json!({ "tracks": [] })).is_err());
    }

    proptest! {
        #[test]
        fn any_settings_have_a_form_or_problems(track: Vec<String>, corners in proptest::collection::vec(any::<f64>(), 0..6)) {
            let filter = Filter { track, locations: vec![corners], ..Filter::default() };
            filter.form();
            filter.problems();
        }
    }
}
