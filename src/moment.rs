//! Dates with times as upstreams write them, read by declared formats and zones.

use std::fmt::{self, Write as _};

use chrono::format::{Fixed, Item, StrftimeItems};
use chrono::{
    DateTime, Datelike, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, SecondsFormat, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::time_text;

/// How upstream writes its moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    forms: Vec<Form>,
    zone: Zone,
    keep_offset: bool,
}

/// Which offset a local time has that the clocks show twice or skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Clocks {
    /// The one from before the change.
    Before,
    /// The one from after it.
    After,
}

/// Where local times are local.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Zone {
    timezone: Option<Tz>,
    clocks: Option<Clocks>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Rfc3339,
    Rfc2822,
    EpochSeconds,
    EpochMillis,
    EpochMicros,
    EpochNanos,
    /// chrono's own notation.
    Pattern(String),
}

impl Moments {
    /// Reads the formats of a source's file; without any it is RFC 3339, which says all of it itself.
    pub fn new(
        formats: &[String],
        timezone: Option<Tz>,
        clocks: Option<Clocks>,
        keep_offset: bool,
    ) -> Result<Self, String> {
        if clocks.is_some() && timezone.is_none() {
            return Err("`clocks` needs the `timezone` whose clocks they are".into());
        }
        let zone = Zone { timezone, clocks };
        let forms: Result<Vec<Form>, _> = formats.iter().map(|format| Form::new(format, timezone.is_some())).collect();
        let forms = if formats.is_empty() { vec![Form::Rfc3339] } else { forms? };
        Ok(Self { forms, zone, keep_offset })
    }

    /// Reads a whole text as one moment, with the text that stands in the record, or says why it is none.
    ///
    /// Every format is tried: a text that two of them read as different moments is refused, not decided by order.
    pub fn read(&self, text: &str) -> Result<(DateTime<Utc>, String), String> {
        let text = text.trim();
        let mut found: Option<DateTime<FixedOffset>> = None;
        for form in &self.forms {
            let Some(moment) = form.read(text, self.zone)? else { continue };
            if found.is_some_and(|earlier| earlier != moment) {
                return Err("is read differently by two of its formats".into());
            }
            found = Some(moment);
        }
        let local = in_whole_minutes(found.ok_or("is not in the declared format")?);
        let moment = local.to_utc();
        if !(1..=9999).contains(&moment.year()) || !(1..=9999).contains(&local.year()) {
            return Err("is outside the years 1 to 9999".into());
        }
        let text =
            if self.keep_offset { local.to_rfc3339_opts(SecondsFormat::Micros, false) } else { time_text(&moment) };
        Ok((moment, text))
    }
}

impl Form {
    fn new(format: &str, has_timezone: bool) -> Result<Self, String> {
        match format {
            "rfc3339" => Ok(Self::Rfc3339),
            "rfc2822" => Ok(Self::Rfc2822),
            "epoch_s" => Ok(Self::EpochSeconds),
            "epoch_ms" => Ok(Self::EpochMillis),
            "epoch_us" => Ok(Self::EpochMicros),
            "epoch_ns" => Ok(Self::EpochNanos),
            pattern => check_pattern(pattern, has_timezone).map(|()| Self::Pattern(pattern.to_owned())),
        }
    }

    /// `None` when the text has another form; an error when it has this one and still names no moment.
    fn read(&self, text: &str, zone: Zone) -> Result<Option<DateTime<FixedOffset>>, String> {
        Ok(match self {
            Self::Rfc3339 => DateTime::parse_from_rfc3339(text).ok(),
            Self::Rfc2822 => rfc2822(text)?,
            Self::EpochSeconds => epoch(text, 9),
            Self::EpochMillis => epoch(text, 6),
            Self::EpochMicros => epoch(text, 3),
            Self::EpochNanos => epoch(text, 0),
            Self::Pattern(pattern) => {
                if let Ok(moment) = DateTime::parse_from_str(text, pattern) {
                    return Ok(Some(moment));
                }
                match (NaiveDateTime::parse_from_str(text, pattern), zone.timezone) {
                    (Ok(local), Some(timezone)) => Some(in_zone(&local, timezone, zone.clocks)?),
                    _ => None,
                }
            }
        })
    }
}

/// RFC 3339 has no seconds in an offset, as local times had before they were agreed upon: then the moment stays, and its
/// offset is the next one that can be written.
fn in_whole_minutes(moment: DateTime<FixedOffset>) -> DateTime<FixedOffset> {
    let seconds = moment.offset().local_minus_utc();
    let offset = FixedOffset::east_opt(seconds - seconds % 60);
    offset.map_or(moment, |offset| moment.with_timezone(&offset))
}

/// A moment of a mail or a feed, as the RFC has it, and with `UTC`, which many write.
///
/// The RFC lets readers of mails take any other word for UTC. That would make `12:00 IST` five hours wrong, so only the
/// names count that it gives an offset, whatever chrono takes.
fn rfc2822(text: &str) -> Result<Option<DateTime<FixedOffset>>, String> {
    let without_comment = text.split('(').next().unwrap_or_default().trim_end();
    let (rest, zone) = without_comment.rsplit_once([' ', '\t']).unwrap_or_default();
    let is_one_of = |names: &[&str]| names.iter().any(|name| zone.eq_ignore_ascii_case(name));
    if is_one_of(&["UTC", "Z"]) {
        return Ok(DateTime::parse_from_rfc2822(&format!("{rest} GMT")).ok());
    }
    if zone.starts_with(['+', '-']) || is_one_of(&["GMT", "UT", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT"])
    {
        return Ok(DateTime::parse_from_rfc2822(text).ok());
    }
    if DateTime::parse_from_rfc2822(&format!("{rest} GMT")).is_err() {
        return Ok(None);
    }
    let zone = zone.escape_debug();
    Err(format!("has the zone `{zone}`, which may be any of several; declare a pattern without it, and `timezone`"))
}

/// A local time that the clocks skip or show twice names no one moment, unless it is declared which.
fn in_zone(local: &NaiveDateTime, timezone: Tz, clocks: Option<Clocks>) -> Result<DateTime<FixedOffset>, String> {
    match (timezone.from_local_datetime(local), clocks) {
        (MappedLocalTime::Single(moment), _) => Ok(moment.fixed_offset()),
        (MappedLocalTime::Ambiguous(before, _), Some(Clocks::Before)) => Ok(before.fixed_offset()),
        (MappedLocalTime::Ambiguous(_, after), Some(Clocks::After)) => Ok(after.fixed_offset()),
        (MappedLocalTime::None, Some(clocks)) => {
            in_gap(local, timezone, clocks).ok_or("is in no year that counts".into())
        }
        (MappedLocalTime::Ambiguous(..), None) => {
            Err(format!("is there twice in {timezone}, where the clocks go back; declare `clocks: before` or `after`"))
        }
        (MappedLocalTime::None, None) => Err(format!(
            "does not exist in {timezone}, where the clocks go forward; declare `clocks: before` or `after`"
        )),
    }
}

/// A skipped time by the offset of the side that is declared; a day away the clocks have not changed yet, or long ago.
fn in_gap(local: &NaiveDateTime, timezone: Tz, clocks: Clocks) -> Option<DateTime<FixedOffset>> {
    let day = if clocks == Clocks::Before { TimeDelta::days(-1) } else { TimeDelta::days(1) };
    let beside = timezone.from_utc_datetime(&local.checked_add_signed(day)?);
    let utc = local.checked_sub_offset(beside.offset().fix())?;
    Some(timezone.from_utc_datetime(&utc).fixed_offset())
}

/// Reads an epoch whose unit is `10^places` nanoseconds.
fn epoch(text: &str, places: u32) -> Option<DateTime<FixedOffset>> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = if are_digits(fraction) { fraction.trim_end_matches('0') } else { return None };
    if !are_digits(integer.strip_prefix('-').unwrap_or(integer)) || fraction.len() > places as usize {
        return None;
    }
    let digits = format!("{integer}{fraction:0<width$}", width = places as usize);
    let nanos: i128 = digits.parse().ok()?;
    let second = 1_000_000_000;
    let nanos_in_second = u32::try_from(nanos.rem_euclid(second)).ok()?;
    let moment = DateTime::from_timestamp(i64::try_from(nanos.div_euclid(second)).ok()?, nanos_in_second)?;
    Some(moment.fixed_offset())
}

/// A moment in a pattern. What is there for reading alone, `%#z`, is written as what it also reads.
pub fn written<Z: TimeZone>(moment: &DateTime<Z>, pattern: &str) -> Option<String>
where
    Z::Offset: fmt::Display,
{
    let pattern = pattern.replace("%#z", "%z");
    let mut text = String::new();
    write!(text, "{}", moment.format(&pattern)).is_ok().then_some(text)
}

/// A pattern is right when it reads back what it wrote, to the minute.
fn check_pattern(pattern: &str, has_timezone: bool) -> Result<(), String> {
    let sample = DateTime::from_timestamp(981_209_106, 0).expect("invariant: a moment of 2001");
    let text = written(&sample, pattern).ok_or_else(|| {
        format!(
            "`{pattern}` is not a format; write rfc3339, rfc2822, epoch_s, epoch_ms, epoch_us, epoch_ns or a pattern such as \
             `%d-%b-%Y %H:%M:%S`"
        )
    })?;
    if StrftimeItems::new(pattern).any(|item| item == Item::Fixed(Fixed::TimezoneName)) {
        return Err("`%Z` cannot be read, because names such as IST mean several zones; leave it out and declare \
                    `timezone`"
            .into());
    }
    let minute = |moment: NaiveDateTime| moment.and_utc().timestamp().div_euclid(60);
    let wanted = minute(sample.naive_utc());
    if DateTime::parse_from_str(&text, pattern).is_ok_and(|moment| minute(moment.naive_utc()) == wanted) {
        return Ok(());
    }
    if NaiveDateTime::parse_from_str(&text, pattern).is_ok_and(|moment| minute(moment) == wanted) {
        return if has_timezone { Ok(()) } else { Err(format!("`{pattern}` has no zone; declare `timezone`")) };
    }
    Err(format!("`{pattern}` does not name one moment; it needs a date and a time of day (with %I also %p)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::scrape::checks::moments::by_pattern;
    use proptest::prelude::*;

    fn moments(formats: &[&str], timezone: Option<&str>) -> Result<Moments, String> {
        let formats: Vec<String> = formats.iter().map(|&format| format.to_owned()).collect();
        Moments::new(&formats, timezone.map(|timezone| timezone.parse().unwrap()), None, false)
    }

    #[test]
    fn n9_moments_that_are_read() {
        let india = Some("Asia/Kolkata");
        for (formats, timezone, text, expected) in [
            (&[][..], None, "2026-11-23T12:34:05+05:30", "2026-11-23T07:04:05Z"),
            (&["rfc3339"], None, "2026-11-23 07:04:05.123456Z", "2026-11-23T07:04:05.123456Z"),
            (&["%Y-%m-%d %H:%M %#z"], None, "2026-11-23 12:34 +0530", "2026-11-23T07:04:00Z"),
            (&["%Y-%m-%d %H:%M %#z"], None, "2026-11-23 12:34 +05", "2026-11-23T07:34:00Z"),
            (&["rfc2822"], None, "Mon, 23 Nov 2026 07:04:05 GMT", "2026-11-23T07:04:05Z"),
            (&["epoch_s"], None, "1795417445", "2026-11-23T07:04:05Z"),
            (&["epoch_s"], None, "1795417445.25", "2026-11-23T07:04:05.250Z"),
            (&["epoch_ms"], None, "1795417445250", "2026-11-23T07:04:05.250Z"),
            (&["epoch_s"], None, "-0.5", "1969-12-31T23:59:59.500Z"),
            (&["%d-%b-%Y %H:%M:%S"], india, "23-Nov-2026 12:34:05", "2026-11-23T07:04:05Z"),
            (&["%d %B %Y, %I:%M %p"], india, " 23 november 2026, 12:34 PM ", "2026-11-23T07:04:00Z"),
            (&["%d/%m/%Y %H:%M %z"], None, "23/11/2026 12:34 +0530", "2026-11-23T07:04:00Z"),
            (&["%d/%m/%Y %H:%M", "rfc3339"], india, "2026-11-23T07:04:05Z", "2026-11-23T07:04:05Z"),
            (&["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"], india, "11/11/2026 12:00", "2026-11-11T06:30:00Z"),
        ] {
            let read = moments(formats, timezone).unwrap().read(text).map(|(moment, _)| moment);
            assert_eq!(read, Ok(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn moments_that_are_refused() {
        let read = |formats: &[&str], timezone, text| moments(formats, timezone).unwrap().read(text).unwrap_err();
        let berlin = Some("Europe/Berlin");
        insta::assert_snapshot!(read(&["%Y-%m-%d %H:%M"], berlin, "2026-10-25 02:30"), @"is there twice in Europe/Berlin, where the clocks go back; declare `clocks: before` or `after`");
        insta::assert_snapshot!(read(&["%Y-%m-%d %H:%M"], berlin, "2026-03-29 02:30"), @"does not exist in Europe/Berlin, where the clocks go forward; declare `clocks: before` or `after`");
        insta::assert_snapshot!(read(&["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"], berlin, "01/02/2026 12:00"), @"is read differently by two of its formats");
        insta::assert_snapshot!(read(&["%d/%m/%Y %H:%M"], berlin, "31/02/2026 12:00"), @"is not in the declared format");
        insta::assert_snapshot!(read(&["epoch_s"], None, "99999999999999"), @"is not in the declared format");
        insta::assert_snapshot!(read(&["epoch_s"], None, "999999999999"), @"is outside the years 1 to 9999");
        insta::assert_snapshot!(read(&[], None, "yesterday"), @"is not in the declared format");
    }

    /// After the table of feedparser for RFC 822, less what it takes beyond the RFC: those are refused and not guessed.
    #[test]
    fn dates_of_mails_and_feeds() {
        let read =
            |text: &str| moments(&["rfc2822"], None).unwrap().read(text).ok().map(|(_, text)| text[..19].to_owned());
        for (text, expected) in [
            ("Thu, 01 Jan 04 19:48:21 GMT", Some("2004-01-01T19:48:21")),
            ("Thu, 01 Jan 2004 19:48:21 GMT", Some("2004-01-01T19:48:21")),
            ("Thu,  5 Apr 2012 10:00:00 GMT", Some("2012-04-05T10:00:00")),
            ("05 Apr 2012 10:00:00 +0000", Some("2012-04-05T10:00:00")),
            ("Thu, 01 Jan 2004 00:00 GMT", Some("2004-01-01T00:00:00")),
            ("Sun, 19 Feb 2012 22:40:00 -0101", Some("2012-02-19T23:41:00")),
            ("Sun, 19 Feb 2012 22:40:00 EST", Some("2012-02-20T03:40:00")),
            ("Sun, 19 Feb 2012 22:40:00 pdt", Some("2012-02-20T05:40:00")),
            ("Sun, 19 Feb 2012 22:40:00 UTC", Some("2012-02-19T22:40:00")),
            ("Sun, 19 Feb 2012 22:40:00 +0000 (GMT)", Some("2012-02-19T22:40:00")),
            // Words that chrono reads as UTC.
            ("Thu, 30 Apr 2015 08:57:00 MET", None),
            ("Thu, 30 Apr 2015 08:57:00 MEST", None),
            ("Thu, 30 Apr 2015 08:57:00 IST", None),
            ("Thu, 30 Apr 2015 08:57:00 A", None),
            ("Mon, 26 Jan 2004 16:31:00 ET", None),
            ("Wed, 19 Aug 2009 18:28:00 Etc/GMT", None),
            ("Sun, 19 Feb 2012 22:40:00 GMT-01:01", None),
            ("Sun, 19 Feb 2012 22:40:00", None),
            ("Wed, 19 Feb 2012 22:40:00 GMT", None),
            ("Thu, 01 Jan 2004", None),
            ("Thu Aug 30 2012 17:26:16 +0200", None),
            ("Sun, 16 Dec 2012 1:2:3:4 GMT", None),
            ("Sun, 16 zzz 2012 11:47:32 GMT", None),
            ("Sun, 16 Dec 2012 11:47:32 +zz:00", None),
            ("Sun, 99 Jun 2009 12:00:00 GMT", None),
            ("Sun, 31 Dec 9999 23:59:59 -9999", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
        let ist = moments(&["rfc2822"], None).unwrap().read("Thu, 30 Apr 2015 08:57:00 IST").unwrap_err();
        insta::assert_snapshot!(ist, @"has the zone `IST`, which may be any of several; declare a pattern without it, and `timezone`");
    }

    #[test]
    fn n9_a_declared_side_decides_when_the_clocks_change() {
        let read = |clocks, zone: &str, text: &str| {
            let formats = ["%Y-%m-%d %H:%M".to_owned()];
            let moments = Moments::new(&formats, Some(zone.parse().unwrap()), Some(clocks), true).unwrap();
            moments.read(text).unwrap().1
        };
        for (zone, text, before, after) in [
            (
                "Europe/Berlin",
                "2026-10-25 02:30",
                "2026-10-25T02:30:00.000000+02:00",
                "2026-10-25T02:30:00.000000+01:00",
            ),
            (
                "Europe/Berlin",
                "2026-03-29 02:30",
                "2026-03-29T03:30:00.000000+02:00",
                "2026-03-29T01:30:00.000000+01:00",
            ),
            (
                "America/New_York",
                "2026-03-08 02:00",
                "2026-03-08T03:00:00.000000-04:00",
                "2026-03-08T01:00:00.000000-05:00",
            ),
            (
                "Australia/Lord_Howe",
                "2026-10-04 02:15",
                "2026-10-04T02:45:00.000000+11:00",
                "2026-10-04T01:45:00.000000+10:30",
            ),
            (
                "Asia/Kolkata",
                "2026-11-23 12:34",
                "2026-11-23T12:34:00.000000+05:30",
                "2026-11-23T12:34:00.000000+05:30",
            ),
        ] {
            assert_eq!(read(Clocks::Before, zone, text), before, "{zone}");
            assert_eq!(read(Clocks::After, zone, text), after, "{zone}");
        }
        let without_zone = Moments::new(&[], None, Some(Clocks::After), false).unwrap_err();
        insta::assert_snapshot!(without_zone, @"`clocks` needs the `timezone` whose clocks they are");
        // Before there was a common time the offset had seconds, for which its text has no place.
        let formats = ["%Y-%m-%d %H:%M:%S".to_owned()];
        let long_ago = Moments::new(&formats, Some(Tz::Asia__Kolkata), None, true).unwrap();
        assert_eq!(long_ago.read("1850-01-01 00:00:00").unwrap().1, "1849-12-31T23:59:32.000000+05:53");
        let kept = Moments::new(&[], None, None, true).unwrap();
        assert_eq!(kept.read("2026-11-23T12:34:05+05:30").unwrap().1, "2026-11-23T12:34:05.000000+05:30");
    }

    #[test]
    fn formats_that_are_refused() {
        let wrong = |format| moments(&[format], Some("UTC")).unwrap_err();
        insta::assert_snapshot!(wrong("%Q"), @"`%Q` is not a format; write rfc3339, rfc2822, epoch_s, epoch_ms, epoch_us, epoch_ns or a pattern such as `%d-%b-%Y %H:%M:%S`");
        insta::assert_snapshot!(wrong("iso"), @"`iso` does not name one moment; it needs a date and a time of day (with %I also %p)");
        insta::assert_snapshot!(wrong("%d %b %Y"), @"`%d %b %Y` does not name one moment; it needs a date and a time of day (with %I also %p)");
        insta::assert_snapshot!(wrong("%d %b %Y %I:%M"), @"`%d %b %Y %I:%M` does not name one moment; it needs a date and a time of day (with %I also %p)");
        insta::assert_snapshot!(wrong("%d %b %Y %H:%M %Z"), @"`%Z` cannot be read, because names such as IST mean several zones; leave it out and declare `timezone`");
        insta::assert_snapshot!(moments(&["%d %b %Y %H:%M"], None).unwrap_err(), @"`%d %b %Y %H:%M` has no zone; declare `timezone`");
        insta::assert_snapshot!(wrong("%#z"), @"`%#z` does not name one moment; it needs a date and a time of day (with %I also %p)");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}", format in "(%[a-zA-Z+.0-9]|[-/: ])\\PC{0,12}", digits in "-?[0-9]{0,30}(\\.[0-9]{0,12})?") {
            for format in ["rfc3339", "rfc2822", "epoch_s", "epoch_ms", "%d-%b-%Y %H:%M:%S", &format] {
                for text in [&text, &digits] {
                    by_pattern(format, text);
                }
            }
        }

        #[test]
        fn what_is_written_reads_back(seconds in 0_i64..4_000_000_000) {
            let moment = DateTime::from_timestamp(seconds, 0).unwrap();
            for format in ["%d-%b-%Y %H:%M:%S", "%A %e %B %Y %I:%M:%S %p", "%s", "%Y-%m-%dT%H:%M:%S%:z"] {
                let text = moment.format(format).to_string();
                prop_assert_eq!(moments(&[format], Some("UTC")).unwrap().read(&text).map(|read| read.0), Ok(moment));
            }
            prop_assert_eq!(moments(&["epoch_ms"], None).unwrap().read(&format!("{seconds}000")).map(|read| read.0), Ok(moment));
        }
    }
}
