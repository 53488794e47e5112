//! A line as a document: every number keeps its value, every text its characters, every object the order of its keys.

use std::borrow::Cow;

use chrono::DateTime;
use mongodb::bson::raw::CString;
use mongodb::bson::{self, Decimal128, RawArrayBuf, RawBson, RawDocumentBuf};
use serde_json::value::RawValue;

use crate::pairs::{Object, Text};
use crate::store::Entry;

/// What the times of the envelope become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// A date of BSON, which has milliseconds.
    Date,
    /// The text of the line.
    Text,
}

/// How many levels a document may have
/// (<https://www.mongodb.com/docs/manual/reference/limits/#nested-depth-for-bson-documents>).
const LEVELS_MAX: usize = 100;

/// A line as the document that it becomes: the id as `_id`, then the rest in its order.
///
/// # Errors
/// Why it cannot be one, in words.
pub(super) fn document(entry: &Entry<'_>, times: Times) -> Result<RawDocumentBuf, String> {
    let parts = entry.parts()?;
    let mut document = RawDocumentBuf::new();
    document.append(key("_id")?, &*parts.id);
    let Some(observed_at) = &parts.observed_at else {
        // Somebody else's line: its own fields. An `_id` of its own is the id, or none.
        let Value::Object(fields) = Value::of(parts.data)? else { return Err("the line is no JSON object".into()) };
        for (name, value) in fields.iter().filter(|(name, _)| name != "_id") {
            document.append(key(name)?, bson(value, 2)?);
        }
        return Ok(document);
    };
    document.append(key("observed_at")?, time(observed_at, times));
    for (name, value) in [("source", &parts.source), ("type", &parts.kind)] {
        document.append(key(name)?, value.as_deref().unwrap_or_default());
    }
    if let Some(published_at) = &parts.published_at {
        document.append(key("published_at")?, time(published_at, times));
    }
    document.append(key("data")?, bson(parts.data, 2)?);
    Ok(document)
}

fn time(text: &str, times: Times) -> RawBson {
    let date = (times == Times::Date).then(|| DateTime::parse_from_rfc3339(text).ok()).flatten();
    date.map_or_else(
        || RawBson::String(text.to_owned()),
        |date| RawBson::DateTime(bson::DateTime::from_millis(date.timestamp_millis())),
    )
}

fn key(name: &str) -> Result<CString, String> {
    CString::try_from(name.to_owned()).map_err(|_| format!("MongoDB takes no name with a NUL in it: {name:?}"))
}

fn bson(value: &RawValue, level: usize) -> Result<RawBson, String> {
    if level > LEVELS_MAX {
        return Err(format!("it is nested deeper than {LEVELS_MAX} levels, which MongoDB does not take"));
    }
    Ok(match Value::of(value)? {
        Value::Object(fields) => {
            let mut document = RawDocumentBuf::new();
            for (name, value) in fields {
                document.append(key(&name)?, bson(value, level + 1)?);
            }
            RawBson::Document(document)
        }
        Value::Array(items) => {
            let mut array = RawArrayBuf::new();
            for item in items {
                array.push(bson(item, level + 1)?);
            }
            RawBson::Array(array)
        }
        Value::Text(text) => RawBson::String(text.into_owned()),
        Value::Number(token) => number(token)?,
        Value::Boolean(value) => RawBson::Boolean(value),
        Value::Null => RawBson::Null,
    })
}

/// The smallest type that has the number's value: what a double would round becomes a decimal.
fn number(token: &str) -> Result<RawBson, String> {
    if let Ok(whole) = token.parse::<i64>() {
        return Ok(i32::try_from(whole).map_or(RawBson::Int64(whole), RawBson::Int32));
    }
    let double: f64 = token.parse().map_err(|_| format!("{token} is no number"))?;
    if double.is_finite() && is_same(token, double) {
        return Ok(RawBson::Double(double));
    }
    let decimal: Result<Decimal128, _> = token.parse();
    decimal
        .map(RawBson::Decimal128)
        .map_err(|_| format!("MongoDB has no number that is {token}: 34 digits are its most"))
}

/// Whether the shortest text that stands for a double says the same digits as a token.
fn is_same(token: &str, double: f64) -> bool {
    digits(token) == digits(&format!("{double:e}"))
}

/// A decimal number as its digits, without zeros around, and the power of ten of the first.
fn digits(token: &str) -> (bool, Vec<u8>, i64) {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (is_negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let zeros = all.iter().take_while(|digit| **digit == b'0').count();
    let last = all.iter().rposition(|digit| *digit != b'0').map_or(zeros, |last| last + 1);
    if zeros >= last {
        return (is_negative, Vec::new(), 0);
    }
    let power = exponent.parse::<i64>().unwrap_or(i64::MAX / 2);
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX / 4);
    let leading = length(whole) - i64::try_from(zeros).unwrap_or(0);
    (is_negative, all[zeros..last].to_vec(), power.saturating_add(leading))
}

/// One level of JSON, with what is below as it stands.
enum Value<'a> {
    Object(Vec<(Cow<'a, str>, &'a RawValue)>),
    Array(Vec<&'a RawValue>),
    Text(Cow<'a, str>),
    Number(&'a str),
    Boolean(bool),
    Null,
}

impl<'a> Value<'a> {
    fn of(value: &'a RawValue) -> Result<Self, String> {
        let text = value.get();
        let read = |error: serde_json::Error| format!("a part of the line is not what it should be: {error}");
        Ok(match text.as_bytes().first() {
            Some(b'{') => Self::Object(serde_json::from_str::<Object<'_>>(text).map_err(read)?.0),
            Some(b'[') => Self::Array(serde_json::from_str(text).map_err(read)?),
            Some(b'"') => Self::Text(serde_json::from_str::<Text<'_>>(text).map_err(read)?.0),
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mongodb::bson::Document;

    use super::*;
    use crate::sink::Position;
    use crate::store::{Batch, Feed, Ids};

    fn converted(line: &str, ids: Ids, times: Times) -> Result<Document, String> {
        let feed = Arc::new(Feed { stream: "s".into(), origin: "o".into() });
        let batch = Batch::new(feed, Position::start_of(1), format!("{line}\n").into(), ids);
        let document = document(&batch.get(0), times)?;
        Ok(Document::try_from(&*document).unwrap())
    }

    fn data(json: &str) -> Result<bson::Bson, String> {
        let line = format!(
            r#"{{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b","id":"r_1","type":"q","published_at":"2026-11-23T07:04:04.000001Z","data":{json}}}"#
        );
        converted(&line, Ids::Record, Times::Date).map(|mut document| document.remove("data").unwrap())
    }

    #[test]
    fn numbers_keep_their_value() {
        use bson::Bson::{Decimal128 as Decimal, Double, Int32, Int64};
        for (token, expected) in [
            ("0", Int32(0)),
            ("-2147483648", Int32(i32::MIN)),
            ("2147483648", Int64(2_147_483_648)),
            ("9223372036854775807", Int64(i64::MAX)),
            ("18446744073709551615", Decimal("18446744073709551615".parse().unwrap())),
            ("59465.68", Double(59465.68)),
            ("1.10", Double(1.1)),
            ("-0.0", Double(-0.0)),
            ("1e3", Double(1000.0)),
            ("1E-7", Double(1e-7)),
            ("0.1234567890123456789", Decimal("0.1234567890123456789".parse().unwrap())),
            ("1e400", Decimal("1e400".parse().unwrap())),
        ] {
            assert_eq!(data(token).unwrap(), expected, "{token}");
        }
        assert!(data("1234567890123456789012345678901234567890").unwrap_err().contains("34 digits"));
        assert!(data("1e9999").unwrap_err().contains("MongoDB has no number"));
    }

    #[test]
    fn everything_else_keeps_its_form() {
        let json = r#"{"b":null,"a":[true,"\u0000π",{"$x.y":{}}],"":"","c":[]}"#;
        let bson::Bson::Document(document) = data(json).unwrap() else { panic!("no document") };
        assert_eq!(document.keys().collect::<Vec<_>>(), ["b", "a", "", "c"]);
        assert_eq!(document.get_array("a").unwrap()[1].as_str().unwrap(), "\0π");
        assert!(data(r#"{"a\u0000b":1}"#).unwrap_err().contains("NUL"));
        let lone = data(r#""\ud800""#).unwrap_err();
        assert!(lone.contains("escape"), "{lone}");
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(data(&deep(98)).is_ok());
        assert!(data(&deep(100)).unwrap_err().contains("100 levels"));
    }

    #[test]
    fn times_and_other_peoples_lines() {
        let line = r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b","id":"r_1","type":"q","data":1}"#;
        let dated = converted(line, Ids::Record, Times::Date).unwrap();
        assert_eq!(
            dated.get_datetime("observed_at").unwrap().try_to_rfc3339_string().unwrap(),
            "2026-11-23T07:04:05.123Z"
        );
        assert_eq!(dated.keys().collect::<Vec<_>>(), ["_id", "observed_at", "source", "type", "data"]);
        let text = converted(line, Ids::Record, Times::Text).unwrap();
        assert_eq!(text.get_str("observed_at").unwrap(), "2026-11-23T07:04:05.123456Z");
        let theirs = converted(r#"{"n":1,"_id":"k"}"#, Ids::Field("_id".into()), Times::Date).unwrap();
        assert_eq!(theirs, bson::doc! { "_id": "k", "n": 1 });
    }
}
