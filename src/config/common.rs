//! The keys that all sources share, as they are written.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::{TZ_VARIANTS, Tz};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::template::Template;
use crate::transform::TransformKeys;
use crate::units::Span;

use super::keys::nearest;
use super::{Compress, Connects, Drift, Retain, Rotate};

/// The keys that all sources share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Common {
    /// The kind of source; `tapline adapters` lists them.
    #[serde(rename = "kind")]
    pub(super) _kind: String,
    /// Whether the source runs; `false` keeps its file without it. `true` by default.
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    /// How often a polled source asks: from 100ms up, at fixed times of the clock.
    #[serde(default)]
    pub(super) every: Option<Span>,
    /// When a polled source asks, as a cron expression of five fields, or of six with seconds first.
    #[serde(default)]
    pub(super) cron: Option<String>,
    /// How far after each full period of `every` the source asks. By default sources of equal period are spread.
    #[serde(default)]
    pub(super) offset: Option<Span>,
    /// The time zone of `cron`, `active`, rotation, text renderings and dates in addresses, by its IANA name. UTC by default.
    #[serde(default)]
    pub(super) timezone: Zone,
    /// The times at which the source asks at all. Always, by default.
    #[serde(default)]
    pub(super) active: Option<ActiveKeys>,
    /// How often a stream may connect, whatever happens to its connections: 15 times in 15m by default.
    #[serde(default)]
    pub(super) connects: Option<Connects>,
    /// When so many ticks of a polled source fail that a person is told.
    #[serde(default)]
    pub(super) drift: Option<Drift>,
    /// Whether the source may connect to this machine and to private networks where its file names them only by a name
    /// of the public internet. What the file names by address, or by a name of a private network, is always allowed;
    /// where a redirect or a name server leads is not.
    #[serde(default)]
    pub(super) allow_private: bool,
    /// What becomes of items before they are written: `{ filter, pick, drop, rename, jq }`, or a list of such steps.
    #[serde(default)]
    pub(super) transform: Option<TransformKeys>,
    /// Where and how records are written.
    #[serde(default)]
    pub(super) output: OutputKeys,
}

fn yes() -> bool {
    true
}

/// The times at which a source asks at all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActiveKeys {
    /// Days of the week: `mon-fri`, `mon,wed,fri`, a list, or `all`, which is the default.
    #[serde(default)]
    pub(super) days: Days,
    /// The first moment of the window, as `"09:15"`.
    #[serde(default = "midnight")]
    pub(super) from: Clock,
    /// The first moment after it. Not later than `from` means past midnight, into the next day.
    #[serde(default = "midnight")]
    pub(super) to: Clock,
    /// The zone of these times; by default the source's.
    #[serde(default)]
    pub(super) timezone: Option<Zone>,
    /// Days on which the source does not ask: a list of dates such as `2026-01-26`, or one text with a date on each line.
    #[serde(default)]
    pub(super) holidays: Dates,
}

/// Where and how a source's records are written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputKeys {
    /// The stream; by default one of the source's own name. Several sources may share one.
    #[serde(default)]
    pub(super) stream: Option<Name>,
    /// The name of the link to tail, in the data folder; by default the stream's name with `.out`.
    #[serde(default)]
    pub(super) link: Option<Name>,
    /// A text rendering beside the segments, such as `"{observed_at:%H:%M:%S}, {price}"`; the link then points at it.
    #[serde(default)]
    pub(super) format: Option<Template>,
    /// When a segment is closed; overrides the service's.
    #[serde(default)]
    pub(super) rotate: Option<Rotate>,
    /// How closed segments are compressed; overrides the service's.
    #[serde(default)]
    pub(super) compress: Option<Compress>,
    /// What is kept; overrides the service's.
    #[serde(default)]
    pub(super) retain: Option<Retain>,
}

/// The most characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// The name of a stream or a link, which becomes a file's.
#[derive(Debug)]
pub(super) struct Name(pub(super) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match check_name(&name) {
            Ok(()) => Ok(Self(name)),
            Err(why) => Err(de::Error::custom(format!("this cannot be a name here: {why}"))),
        }
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" })
    }
}

/// Names of sources, streams and links become files: nothing in them may lead out of the data folder, be hidden, or be
/// taken for tapline's own.
///
/// # Errors
/// Why a name cannot be one.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |next: char| next.is_ascii_alphanumeric() || matches!(next, '.' | '_' | '-');
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err("it must begin with a letter or a digit");
    }
    if !name.chars().all(is_plain) {
        return Err("only letters, digits, `.`, `_` and `-` are allowed");
    }
    if name.len() > NAME_CHARS_MAX { Err("it has more than 64 characters") } else { Ok(()) }
}

/// A time zone by its IANA name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zone(pub(super) Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Self).map_err(|_| {
            let near = nearest(&name, TZ_VARIANTS.iter().map(|zone| zone.name()));
            let hint =
                near.map_or("write an IANA name such as Asia/Kolkata".into(), |near| format!("did you mean `{near}`?"));
            de::Error::custom(format!("`{name}` is not a time zone; {hint}"))
        })
    }
}

impl JsonSchema for Zone {
    fn schema_name() -> Cow<'static, str> {
        "Zone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "An IANA time zone, such as Asia/Kolkata." })
    }
}

/// Days of the week, Monday first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Days(pub(super) [bool; 7]);

impl Default for Days {
    fn default() -> Self {
        Self([true; 7])
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = OneOrMany::deserialize(deserializer)?.0;
        let mut days = [false; 7];
        for part in texts.iter().flat_map(|text| text.split(',')).map(|part| part.trim().to_lowercase()) {
            mark_days(&part, &mut days).map_err(de::Error::custom)?;
        }
        Ok(Self(days))
    }
}

fn mark_days(part: &str, days: &mut [bool; 7]) -> Result<(), String> {
    if part == "all" {
        *days = [true; 7];
        return Ok(());
    }
    let index = |name: &str| {
        let name = name.trim();
        let found = DAYS.iter().position(|day| {
            name.len() >= 3 && FULL_DAYS.iter().any(|full| full.starts_with(name) && full.starts_with(day))
        });
        found.ok_or_else(|| {
            format!("`{name}` is not a day; write mon, tue, wed, thu, fri, sat, sun, a span such as mon-fri, or all")
        })
    };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (index(first)?, index(last)?);
    // A span may go over the end of the week: sat-mon.
    for day in (0..).map(|step| (first + step) % 7) {
        days[day] = true;
        if day == last {
            return Ok(());
        }
    }
    Ok(())
}

const FULL_DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl JsonSchema for Days {
    fn schema_name() -> Cow<'static, str> {
        "Days".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "items": { "type": "string" },
            "description": "Days of the week: mon-fri, mon,wed,fri, [sat, sun], or all."
        })
    }
}

/// A time of day: `"09:15"` or `"09:15:30"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(pub(super) NaiveTime);

fn midnight() -> Clock {
    Clock(NaiveTime::MIN)
}

impl<'de> Deserialize<'de> for Clock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed =
            NaiveTime::parse_from_str(&text, "%H:%M").or_else(|_| NaiveTime::parse_from_str(&text, "%H:%M:%S"));
        parsed
            .map(Self)
            .map_err(|_| de::Error::custom(format!("`{text}` is not a time of day; write \"09:15\" or \"09:15:30\"")))
    }
}

impl JsonSchema for Clock {
    fn schema_name() -> Cow<'static, str> {
        "Clock".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A time of day, such as \"09:15\"." })
    }
}

/// Dates, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Dates(pub(super) Vec<NaiveDate>);

impl<'de> Deserialize<'de> for Dates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = OneOrMany::deserialize(deserializer)?.0;
        // What follows `#` on a line is the holiday's name.
        let dates =
            texts.iter().flat_map(|text| text.lines()).map(|line| line.split('#').next().unwrap_or_default().trim());
        let dates: Result<BTreeSet<NaiveDate>, _> = dates
            .filter(|date| !date.is_empty())
            .map(|date| {
                date.parse().map_err(|_| de::Error::custom(format!("`{date}` is not a date; write 2026-01-26")))
            })
            .collect();
        Ok(Self(dates?.into_iter().collect()))
    }
}

impl JsonSchema for Dates {
    fn schema_name() -> Cow<'static, str> {
        "Dates".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "items": { "type": "string" },
            "description": "Dates such as 2026-01-26, as a list or one on each line."
        })
    }
}

/// One text, or a list of them.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        Either::deserialize(deserializer).map_err(|_| de::Error::custom("a text or a list of texts is wanted")).map(
            |either| match either {
                Either::One(text) => Self(vec![text]),
                Either::Many(texts) => Self(texts),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn days() {
        for (given, expected) in [
            (json!("mon-fri"), "mtwtf__"),
            (json!("sat-mon"), "m____ss"),
            (json!("Mon, Wednesday"), "m_w____"),
            (json!(["tue", "fri-sat"]), "_t__fs_"),
            (json!("all"), "mtwtfss"),
        ] {
            let days = serde_json::from_value::<Days>(given).unwrap().0;
            let shown: String = "mtwtfss".chars().zip(days).map(|(letter, on)| if on { letter } else { '_' }).collect();
            assert_eq!(shown, expected);
        }
        for wrong in [json!("m"), json!("mon-someday"), json!(""), json!("monx"), json!(5)] {
            assert!(serde_json::from_value::<Days>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates_with_names_and_empty_lines() {
        let dates = serde_json::from_value::<Dates>(json!("2026-08-15 # Independence Day\n\n2026-01-26\n")).unwrap().0;
        assert_eq!(dates.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2026-01-26", "2026-08-15"]);
    }
}
