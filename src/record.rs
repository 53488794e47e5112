//! The record: the one JSON shape that is a promise.
//!
//! A record is one line of a segment. Its keys, their order and their form are versioned by
//! [`SHAPE_VERSION`] and held by a snapshot test; everything that reads segments relies on them.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The version of the line's shape. A change of keys, order or form raises it.
pub const SHAPE_VERSION: u32 = 1;

/// One record, before it becomes a line.
///
/// ```
/// use tapline::record::Record;
/// let record = Record {
///     observed_at: "2026-11-23T07:04:05.123456Z".parse().unwrap(),
///     source: "bseindex".into(),
///     id: "r_1".into(),
///     kind: "quote".into(),
///     published_at: None,
///     data: serde_json::value::RawValue::from_string(r#"{"price":59465.68}"#.into()).unwrap(),
/// };
/// assert_eq!(
///     record.to_line(),
///     "{\"observed_at\":\"2026-11-23T07:04:05.123456Z\",\"source\":\"bseindex\",\
///      \"id\":\"r_1\",\"type\":\"quote\",\"data\":{\"price\":59465.68}}\n"
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Record {
    /// When tapline saw it; written with six decimals.
    pub observed_at: DateTime<Utc>,
    /// The name of the source, which is the name of its YAML file.
    pub source: Arc<str>,
    /// Deterministic identity: a letter, `_`, then what upstream or the schedule gives.
    pub id: String,
    /// What kind of thing `data` is; written as `type`.
    pub kind: Cow<'static, str>,
    /// When upstream says that it happened; left out where upstream says nothing.
    pub published_at: Option<DateTime<Utc>>,
    /// Upstream's own object, token for token.
    pub data: Box<RawValue>,
}

impl Record {
    /// Appends the record's line, with its line feed, to `out`.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"observed_at\":\"");
        write_time(out, &self.observed_at);
        out.extend_from_slice(b"\",\"source\":");
        write_string(out, &self.source);
        out.extend_from_slice(b",\"id\":");
        write_string(out, &self.id);
        out.extend_from_slice(b",\"type\":");
        write_string(out, &self.kind);
        if let Some(published_at) = &self.published_at {
            out.extend_from_slice(b",\"published_at\":\"");
            write_time(out, published_at);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"data\":");
        write_compact(out, self.data.get());
        out.extend_from_slice(b"}\n");
    }

    /// The record's line as text, with its line feed.
    pub fn to_line(&self) -> String {
        let mut line = Vec::new();
        self.write_line(&mut line);
        String::from_utf8(line).expect("invariant: every part of a line is UTF-8")
    }
}

/// A line read back, borrowing from it.
#[derive(Debug, Clone, Deserialize)]
pub struct Line<'a> {
    /// See [`Record::observed_at`].
    #[serde(borrow)]
    pub observed_at: Cow<'a, str>,
    /// See [`Record::source`].
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// See [`Record::id`].
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// See [`Record::kind`].
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// See [`Record::published_at`].
    #[serde(borrow, default)]
    pub published_at: Option<Cow<'a, str>>,
    /// See [`Record::data`].
    #[serde(borrow)]
    pub data: &'a RawValue,
}

impl<'a> Line<'a> {
    /// Reads one line; the line feed may be there or not.
    ///
    /// # Errors
    /// When it is not JSON, or a key of the envelope is absent.
    pub fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

/// Appends a time as RFC 3339 in UTC with six decimals, the form of every time in a record.
///
/// Written by hand because it runs for every record, and chrono's formatter takes ten times as long.
/// A year outside 0 to 9999 has no RFC 3339 form and is clamped to that range.
pub fn write_time(out: &mut Vec<u8>, at: &DateTime<Utc>) {
    let year = u32::try_from(at.year().clamp(0, 9999)).expect("invariant: clamped to a positive range");
    // A leap second is carried by chrono as nanoseconds past a billion; it is written as the last microsecond.
    let micros = (at.nanosecond() / 1_000).min(999_999);
    digits::<4>(out, year);
    out.push(b'-');
    digits::<2>(out, at.month());
    out.push(b'-');
    digits::<2>(out, at.day());
    out.push(b'T');
    digits::<2>(out, at.hour());
    out.push(b':');
    digits::<2>(out, at.minute());
    out.push(b':');
    digits::<2>(out, at.second());
    out.push(b'.');
    digits::<6>(out, micros);
    out.push(b'Z');
}

/// The form of [`write_time`] as a string.
pub fn time_text(at: &DateTime<Utc>) -> String {
    let mut out = Vec::with_capacity(27);
    write_time(&mut out, at);
    String::from_utf8(out).expect("invariant: digits and separators")
}

fn digits<const N: usize>(out: &mut Vec<u8>, mut value: u32) {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("invariant: a digit");
        value /= 10;
    }
    out.extend_from_slice(&text);
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("invariant: a string always has a JSON form, and a Vec takes it");
    }
}

/// Appends JSON without the line breaks that may stand between its tokens.
///
/// Inside a JSON string a raw line break cannot occur, so what is removed is white space only: no number is
/// reformatted, no key dropped or moved.
fn write_compact(out: &mut Vec<u8>, json: &str) {
    let bytes = json.as_bytes();
    if memchr::memchr2(b'\n', b'\r', bytes).is_none() {
        out.extend_from_slice(bytes);
        return;
    }
    let mut in_string = false;
    let mut escaped = false;
    for &byte in bytes {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(data: &str) -> Record {
        Record {
            observed_at: "2026-11-23T07:04:05.123456789Z".parse().unwrap(),
            source: "bseindex".into(),
            id: "r_1".into(),
            kind: "quote".into(),
            published_at: Some("2026-11-23T07:04:05Z".parse().unwrap()),
            data: RawValue::from_string(data.into()).unwrap(),
        }
    }

    #[test]
    fn shape_version_1() {
        assert_eq!(SHAPE_VERSION, 1, "a new shape needs a new snapshot beside this one");
        insta::assert_snapshot!(record(r#"{"price":59465.68}"#).to_line().trim_end(), @r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"bseindex","id":"r_1","type":"quote","published_at":"2026-11-23T07:04:05.000000Z","data":{"price":59465.68}}"#);
    }

    #[test]
    fn data_is_kept_token_for_token() {
        let data = r#"{"b":1.10,"a":12345678901234567890123,"e":1E5,"b":"\u00e9\/","s":" a  b "}"#;
        let line = record(data).to_line();
        assert!(line.contains(data), "{line}");
    }

    #[test]
    fn line_breaks_between_tokens_go_and_nothing_else() {
        let line = record("{\r\n  \"a\": \"x \\\" \\\\\",\n \"b\" : [1,\n 2.50]\n}").to_line();
        assert!(line.ends_with("\"data\":{\"a\":\"x \\\" \\\\\",\"b\":[1,2.50]}}\n"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn times_at_the_edges() {
        for (given, expected) in [
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(time_text(&given.parse().unwrap()), expected);
        }
        assert_eq!(time_text(&DateTime::<Utc>::MAX_UTC), "9999-12-31T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn a_line_reads_back(id in ".*", source in ".*", text in ".*", micros in 0_i64..4_000_000_000_000_000) {
            let original = Record {
                observed_at: DateTime::from_timestamp_micros(micros).unwrap(),
                source: source.as_str().into(),
                id,
                kind: "text".into(),
                published_at: None,
                data: serde_json::value::to_raw_value(&text).unwrap(),
            };
            checks::reads_back(&original);
            let line = original.to_line();
            prop_assert_eq!(serde_json::from_str::<String>(Line::parse(line.as_bytes()).unwrap().data.get()).unwrap(), text);
        }
    }
}
