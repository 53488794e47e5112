//! What holds of every record: its line is one line, and reads back.

use chrono::{DateTime, Timelike as _, Utc};

use super::{Line, Record};

/// Any bytes as a line.
pub(crate) fn any(bytes: &[u8]) {
    let Ok(line) = Line::parse(bytes) else { return };
    let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
    let Some(observed_at) = time(&line.observed_at) else { return };
    let published_at = line.published_at.as_deref().and_then(time);
    let record = Record {
        observed_at,
        source: line.source.as_ref().into(),
        id: line.id.into_owned(),
        kind: line.kind.into_owned().into(),
        published_at,
        data: line.data.to_owned(),
    };
    reads_back(&record);
}

/// A record as its line.
pub(super) fn reads_back(record: &Record) {
    let text = record.to_line();
    assert_eq!(text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count(), 1, "{text}");
    let line = Line::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let read = (&*line.source, &*line.id, &*line.kind, line.published_at.is_some());
    assert_eq!(read, (&*record.source, &*record.id, &*record.kind, record.published_at.is_some()), "{text}");
    // A line has microseconds, of the years that its form has.
    let at: DateTime<Utc> = line.observed_at.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let is_leap = record.observed_at.nanosecond() >= 1_000_000_000;
    let is_near = (record.observed_at - at).num_microseconds() == Some(0);
    let is_clamped = line.observed_at.starts_with("0000") || line.observed_at.starts_with("9999");
    assert!(is_near || is_leap || is_clamped, "{text} of {}", record.observed_at);
    // White space between tokens may go, and nothing else.
    let tokens = |json: &str| -> serde_json::Result<String> {
        let value: &serde_json::value::RawValue = serde_json::from_str(json)?;
        Ok(without_space(value.get()))
    };
    assert_eq!(tokens(line.data.get()).ok(), tokens(record.data.get()).ok(), "{text}");
}

/// JSON without the white space between its tokens, by another way than the one that is checked.
fn without_space(json: &str) -> String {
    let mut out = String::new();
    for (index, part) in json.replace("\\\\", "\\u005c").replace("\\\"", "\\u0022").split('"').enumerate() {
        let is_string = index % 2 == 1;
        out.push('"');
        out.extend(part.chars().filter(|c| is_string || !matches!(c, ' ' | '\t' | '\n' | '\r')));
    }
    out
}
