//! Templates: how a line looks to people, such as `{observed_at:%I:%M:%S%p}, {price}`.
//!
//! In braces stands what is put in: `observed_at`, `published_at`, `source`, `id`, `type`, or the path of a value in
//! `data` (`price`, `quote.last`, `items.0.name`). Behind a colon a time's format, in chrono's letters; behind a bar what
//! is written where there is no value: `{published_at:%H:%M|--}`. `{{` and `}}` are the braces themselves.

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::record::Line;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Slot { what: What, format: Option<String>, default: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    ObservedAt,
    PublishedAt,
    Source,
    Id,
    Kind,
    Data(Vec<String>),
}

impl Template {
    /// What it can put in beside the values of `data`.
    pub const ENVELOPE: [&str; 5] = ["observed_at", "published_at", "source", "id", "type"];

    /// Reads a template.
    ///
    /// # Errors
    /// In words, with the place in the template, when it is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for piece in pieces(text)? {
            parts.push(match piece {
                Piece::Text(plain) => Part::Text(plain),
                Piece::Slot { inner, .. } => slot(inner)?,
            });
        }
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self { parts })
    }

    /// The names in `data` that it asks for, and whether it says what is written where there is no such value.
    pub fn data_names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Slot { what: What::Data(path), default, .. } => Some((path.first()?.as_str(), default.is_some())),
            _ => None,
        })
    }

    /// Appends a line's rendering and a line feed: exactly one line, whatever the record says.
    pub fn render(&self, line: &Line<'_>, timezone: Tz, out: &mut Vec<u8>) {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Slot { what, format, default } => match value_of(what, line) {
                    Some(value) => put(&mut text, &value, format.as_deref(), timezone),
                    None => text.push_str(default.as_deref().unwrap_or_default()),
                },
            }
        }
        push_harmless(out, &text);
        out.push(b'\n');
    }
}

/// A piece of a text with values in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// What stands there as it is.
    Text(String),
    /// What stands between two braces, the first of which is the character with this number, counted from 1.
    Slot { inner: &'a str, at: usize },
}

/// Takes a text apart at its braces; `{{` and `}}` are the braces themselves.
///
/// # Errors
/// In words, with the place, when braces do not match.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let found = &rest[at..];
        if let Some(after) = found.strip_prefix("{{").or_else(|| found.strip_prefix("}}")) {
            plain.push_str(&found[..1]);
            rest = after;
            continue;
        }
        let at = text[..text.len() - found.len()].chars().count() + 1;
        let inner = found
            .strip_prefix('{')
            .ok_or_else(|| format!("`}}` at character {at} closes nothing; write `}}}}` for the brace itself"))?;
        let end = inner
            .find('}')
            .ok_or_else(|| format!("`{{` at character {at} is not closed; write `{{{{` for the brace itself"))?;
        pieces.push(Piece::Text(std::mem::take(&mut plain)));
        pieces.push(Piece::Slot { inner: &inner[..end], at });
        rest = &inner[end + 1..];
    }
    plain.push_str(rest);
    pieces.push(Piece::Text(plain));
    Ok(pieces)
}

/// Whether chrono can write a time in this format: it is tried, because some of its letters are there for reading alone.
pub(crate) fn is_time_format(format: &str) -> bool {
    let mut text = String::new();
    write!(text, "{}", DateTime::UNIX_EPOCH.format(format)).is_ok()
}

fn slot(inner: &str) -> Result<Part, String> {
    let (inner, default) = inner.split_once('|').map_or((inner, None), |(inner, default)| (inner, Some(default)));
    let (name, format) = inner.split_once(':').map_or((inner, None), |(name, format)| (name, Some(format)));
    let what = match name.trim() {
        "" => return Err("`{}` names no value; write `{observed_at}` or the name of a field".to_owned()),
        "observed_at" => What::ObservedAt,
        "published_at" => What::PublishedAt,
        "source" => What::Source,
        "id" => What::Id,
        "type" => What::Kind,
        path => What::Data(path.strip_prefix("data.").unwrap_or(path).split('.').map(str::to_owned).collect()),
    };
    if let Some(format) = format.filter(|format| !is_time_format(format)) {
        return Err(format!("`{format}` is not a time format; write letters such as %Y-%m-%d %H:%M:%S"));
    }
    Ok(Part::Slot { what, format: format.map(str::to_owned), default: default.map(str::to_owned) })
}

fn value_of<'a>(what: &What, line: &'a Line<'_>) -> Option<Cow<'a, str>> {
    match what {
        What::ObservedAt => Some(Cow::Borrowed(&line.observed_at)),
        What::PublishedAt => line.published_at.as_deref().map(Cow::Borrowed),
        What::Source => Some(Cow::Borrowed(&line.source)),
        What::Id => Some(Cow::Borrowed(&line.id)),
        What::Kind => Some(Cow::Borrowed(&line.kind)),
        What::Data(path) => in_data(line.data, path),
    }
}

/// The value at a path of the data: a text as it is, anything else as its JSON, token for token.
fn in_data<'a>(data: &'a RawValue, path: &[String]) -> Option<Cow<'a, str>> {
    let mut found = data;
    for key in path {
        found = match found.get().as_bytes().first() {
            Some(b'{') => {
                let mut map: std::collections::HashMap<Cow<'_, str>, &RawValue> =
                    serde_json::from_str(found.get()).ok()?;
                map.remove(key.as_str())?
            }
            Some(b'[') => {
                let list: Vec<&RawValue> = serde_json::from_str(found.get()).ok()?;
                list.get(key.parse::<usize>().ok()?)?
            }
            _ => return None,
        };
    }
    match found.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
        other if other.starts_with(['{', '[']) => {
            serde_json::from_str::<Value>(other).ok().map(|value| value.to_string().into())
        }
        token => Some(Cow::Borrowed(token)),
    }
}

/// A time in its format, where one is given and the value is a time; anything else as it is.
fn put(text: &mut String, value: &str, format: Option<&str>, timezone: Tz) {
    let time = format.and_then(|format| Some((format, value.parse::<DateTime<Utc>>().ok()?)));
    match time {
        Some((format, time)) => {
            write!(text, "{}", time.with_timezone(&timezone).format(format))
                .expect("invariant: the format was checked");
        }
        None => text.push_str(value),
    }
}

/// What would break the line, or what a terminal obeys, is written as its JSON escape.
fn push_harmless(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Text with values in braces, such as {observed_at:%H:%M:%S}, {price}."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = r#"{"observed_at":"2026-11-23T03:45:01.123456Z","source":"bseindex","id":"r_1","type":"quote","data":{"price":59465.680,"text":"a\nb\u001b[2J","none":null,"deep":{"list":[{"name":"x"}]},"at":"2026-11-23T03:45:00Z"}}"#;

    fn render(template: &str) -> String {
        let mut out = Vec::new();
        Template::parse(template).unwrap().render(&Line::parse(LINE.as_bytes()).unwrap(), Tz::Asia__Kolkata, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn renders() {
        for (template, expected) in [
            ("{observed_at:%I:%M:%S%p}, {price}", "09:15:01AM, 59465.680\n"),
            ("{source} {id} {type} {observed_at}", "bseindex r_1 quote 2026-11-23T03:45:01.123456Z\n"),
            ("{deep.list.0.name}{data.price} {deep}", "x59465.680 {\"list\":[{\"name\":\"x\"}]}\n"),
            ("{none|-} {gone.far|?} {published_at:%H|--} {gone}.", "- ? -- .\n"),
            ("{{{price}}} 100%", "{59465.680} 100%\n"),
            ("{text}", "a\\u000ab\\u001b[2J\n"),
            ("{at:%H:%M} {price:%H}", "09:15 59465.680\n"),
            ("", "\n"),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let errors: Vec<String> = ["a {price", "a } b", "{}", "{observed_at:%Q}", "{at:%H:%M%#z}"]
            .map(|text| Template::parse(text).unwrap_err())
            .into();
        insta::assert_snapshot!(errors.join("\n"), @r"
        `{` at character 3 is not closed; write `{{` for the brace itself
        `}` at character 3 closes nothing; write `}}` for the brace itself
        `{}` names no value; write `{observed_at}` or the name of a field
        `%Q` is not a time format; write letters such as %Y-%m-%d %H:%M:%S
        `%H:%M%#z` is not a time format; write letters such as %Y-%m-%d %H:%M:%S
        ");
    }

    proptest! {
        #[test]
        fn any_value_makes_one_line(value in ".*", template in "[a-z{}|:%H]{0,12}") {
            let data = serde_json::json!({ "a": value }).to_string();
            let record = format!(r#"{{"observed_at":"2026-11-23T03:45:01.123456Z","source":"s","id":"r_1","type":"t","data":{data}}}"#);
            let line = Line::parse(record.as_bytes()).unwrap();
            for template in [template.as_str(), "{a}", "{a|x}"] {
                if let Ok(template) = Template::parse(template) {
                    let mut out = Vec::new();
                    template.render(&line, Tz::UTC, &mut out);
                    let text = String::from_utf8(out).unwrap();
                    prop_assert_eq!(text.chars().filter(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')).count(), 1);
                    prop_assert!(text.ends_with('\n'));
                }
            }
        }
    }
}
