//! Moments: what is read is a moment that counts, the record's text says the same, and what is written reads back.

use std::sync::LazyLock;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use chrono_tz::Tz;

use super::super::settings::{Field, Format};
use crate::moment::{Moments, written};

const DECLARATIONS: [&str; 13] = [
    "{}",
    "{keep_offset: true}",
    "{format: rfc2822}",
    "{format: epoch_s}",
    "{format: epoch_ms}",
    "{format: '%d-%b-%Y %H:%M:%S', timezone: Asia/Kolkata}",
    "{format: '%d %B %Y %I:%M %p', timezone: America/New_York, clocks: before}",
    "{format: '%Y-%m-%d %H:%M:%S%.f', timezone: Australia/Lord_Howe, clocks: after, keep_offset: true}",
    "{format: '%a %e %b %y %R', timezone: Europe/Berlin, keep_offset: true}",
    "{format: ['%d/%m/%Y %H:%M', '%m/%d/%Y %H:%M'], timezone: UTC}",
    "{format: [rfc3339, epoch_s, '%Y-%m-%dT%H:%M:%S'], timezone: Europe/London}",
    "{format: '%s', timezone: America/New_York}",
    "{format: '%Y%m%dT%H%M%S%z', keep_offset: true}",
];

/// How moments are written, and where.
pub(crate) struct Way {
    formats: Vec<String>,
    timezone: Option<Tz>,
    moments: Moments,
}

static ALL: LazyLock<Vec<Way>> = LazyLock::new(|| DECLARATIONS.iter().map(|one| way(one)).collect());

fn way(declaration: &str) -> Way {
    let Field { format, timezone, clocks, keep_offset, .. } = super::declared(declaration);
    let formats = match format {
        Some(Format::Moments(formats)) => formats,
        _ => Vec::new(),
    };
    let moments =
        Moments::new(&formats, timezone, clocks, keep_offset).unwrap_or_else(|error| panic!("{declaration}: {error}"));
    Way { formats, timezone, moments }
}

pub(super) fn any(choice: u8, text: &str) {
    if let Some(way) = ALL.get(usize::from(choice) % (ALL.len() + 1)) {
        read(way, text);
    } else {
        let (pattern, text) = text.split_once('\n').unwrap_or((text, ""));
        by_pattern(pattern, text);
    }
}

/// Any pattern, and any text.
pub(crate) fn by_pattern(pattern: &str, text: &str) {
    let formats = vec![pattern.to_owned()];
    let timezone = Some(Tz::UTC);
    if let Ok(moments) = Moments::new(&formats, timezone, None, false) {
        read(&Way { formats, timezone, moments }, text);
    }
}

pub(crate) fn read(way: &Way, text: &str) {
    let Ok((moment, record)) = way.moments.read(text) else { return };
    assert!((1..=9999).contains(&moment.year()), "{text:?}");
    let said: DateTime<Utc> = record.parse().unwrap_or_else(|error| panic!("{text:?} became {record}: {error}"));
    // A leap second is written as the last microsecond before it is over.
    let most = if moment.timestamp_subsec_nanos() < 1_000_000_000 { 1000 } else { 1_000_001_000 };
    let off = (moment - said).num_nanoseconds().expect("both are moments that count");
    assert!((0..most).contains(&off), "{text:?} is {moment}, and the record says {record}");
    let again = way.moments.read(&format!("\u{a0}{text}\n"));
    assert_eq!(again, Ok((moment, record)), "with space around {text:?}");
    for format in &way.formats {
        let alone =
            Moments::new(std::slice::from_ref(format), way.timezone, None, false).and_then(|one| one.read(text));
        assert!(alone.is_err() || alone.is_ok_and(|(one, _)| one == moment), "{text:?} by {format} alone");
        let Some(again) = in_format(moment, format, way.timezone) else { continue };
        // A time that is there twice, or is read by two formats, may be refused. A pattern may leave out the seconds.
        if let Ok((one, _)) = way.moments.read(&again) {
            assert!((one - moment).abs() < TimeDelta::minutes(1), "{text:?} is {moment}; {again:?} is {one}");
        }
    }
}

fn in_format(moment: DateTime<Utc>, format: &str, timezone: Option<Tz>) -> Option<String> {
    let nanos = i128::from(moment.timestamp()) * 1_000_000_000 + i128::from(moment.timestamp_subsec_nanos());
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    Some(match (format, timezone) {
        ("rfc3339", _) => moment.to_rfc3339(),
        ("rfc2822", _) => moment.to_rfc2822(),
        ("epoch_s", _) => format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000),
        ("epoch_ms", _) => format!("{sign}{}.{:06}", nanos / 1_000_000, nanos % 1_000_000),
        (pattern, Some(timezone)) => return written(&moment.with_timezone(&timezone), pattern),
        (pattern, None) => return written(&moment, pattern),
    })
}
