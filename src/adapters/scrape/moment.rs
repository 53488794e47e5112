//! Dates with times as pages write them, read by declared formats and zones.

use chrono::format::{Fixed, Item, StrftimeItems};
use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

use super::number::Decimal;

/// How a page writes its moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moments {
    forms: Vec<Form>,
    timezone: Option<Tz>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Rfc3339,
    Rfc2822,
    EpochSeconds,
    EpochMillis,
    /// chrono's own notation.
    Pattern(String),
}

impl Moments {
    /// Reads the formats of a source's file; without any it is RFC 3339, which says all of it itself.
    pub(super) fn new(formats: &[String], timezone: Option<Tz>) -> Result<Self, String> {
        if formats.is_empty() {
            return Ok(Self { forms: vec![Form::Rfc3339], timezone });
        }
        let forms: Result<_, _> = formats.iter().map(|format| Form::new(format, timezone.is_some())).collect();
        Ok(Self { forms: forms?, timezone })
    }

    /// Reads a whole text as one moment, or says why it is none.
    ///
    /// Every format is tried: a text that two of them read as different moments is refused, not decided by order.
    pub(super) fn read(&self, text: &str) -> Result<DateTime<Utc>, String> {
        let text = text.trim();
        let mut found: Option<DateTime<Utc>> = None;
        for form in &self.forms {
            let Some(moment) = form.read(text, self.timezone)? else { continue };
            if found.is_some_and(|earlier| earlier != moment) {
                return Err("is read differently by two of its formats".into());
            }
            found = Some(moment);
        }
        let moment = found.ok_or("is not in the declared format")?;
        if (1..=9999).contains(&moment.year()) { Ok(moment) } else { Err("is outside the years 1 to 9999".into()) }
    }
}

impl Form {
    fn new(format: &str, has_timezone: bool) -> Result<Self, String> {
        match format {
            "rfc3339" => Ok(Self::Rfc3339),
            "rfc2822" => Ok(Self::Rfc2822),
            "epoch_s" => Ok(Self::EpochSeconds),
            "epoch_ms" => Ok(Self::EpochMillis),
            pattern => check_pattern(pattern, has_timezone).map(|()| Self::Pattern(pattern.to_owned())),
        }
    }

    /// `None` when the text has another form; an error when it has this one and still names no moment.
    fn read(&self, text: &str, timezone: Option<Tz>) -> Result<Option<DateTime<Utc>>, String> {
        Ok(match self {
            Self::Rfc3339 => DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc()),
            Self::Rfc2822 => DateTime::parse_from_rfc2822(text).ok().map(|moment| moment.to_utc()),
            Self::EpochSeconds => epoch(text, 9),
            Self::EpochMillis => epoch(text, 6),
            Self::Pattern(pattern) => {
                if let Ok(moment) = DateTime::parse_from_str(text, pattern) {
                    return Ok(Some(moment.to_utc()));
                }
                match (NaiveDateTime::parse_from_str(text, pattern), timezone) {
                    (Ok(local), Some(timezone)) => Some(in_zone(&local, timezone)?),
                    _ => None,
                }
            }
        })
    }
}

/// A local time that the clocks skip or show twice names no one moment.
fn in_zone(local: &NaiveDateTime, timezone: Tz) -> Result<DateTime<Utc>, String> {
    match timezone.from_local_datetime(local) {
        MappedLocalTime::Single(moment) => Ok(moment.to_utc()),
        MappedLocalTime::Ambiguous(..) => Err(format!("is there twice in {timezone}, where the clocks go back")),
        MappedLocalTime::None => Err(format!("does not exist in {timezone}, where the clocks go forward")),
    }
}

/// Reads an epoch whose unit is `10^places` nanoseconds.
fn epoch(text: &str, places: u32) -> Option<DateTime<Utc>> {
    let token = Decimal::plain(text).ok()?.to_string();
    let (integer, fraction) = token.split_once('.').unwrap_or((&token, ""));
    if fraction.len() > places as usize {
        return None;
    }
    let digits = format!("{integer}{fraction:0<width$}", width = places as usize);
    let nanos: i128 = digits.parse().ok()?;
    let second = 1_000_000_000;
    let nanos_in_second = u32::try_from(nanos.rem_euclid(second)).ok()?;
    DateTime::from_timestamp(i64::try_from(nanos.div_euclid(second)).ok()?, nanos_in_second)
}

/// A pattern is right when it reads back what it wrote, to the minute.
fn check_pattern(pattern: &str, has_timezone: bool) -> Result<(), String> {
    let items: Vec<Item<'_>> = StrftimeItems::new(pattern).collect();
    if items.contains(&Item::Error) {
        return Err(format!(
            "`{pattern}` is not a format; write rfc3339, rfc2822, epoch_s, epoch_ms or a pattern such as \
             `%d-%b-%Y %H:%M:%S`"
        ));
    }
    if items.contains(&Item::Fixed(Fixed::TimezoneName)) {
        return Err("`%Z` cannot be read, because names such as IST mean several zones; leave it out and declare \
                    `timezone`"
            .into());
    }
    let sample = DateTime::from_timestamp(981_209_106, 0).expect("invariant: a moment of 2001");
    let text = sample.format(pattern).to_string();
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
    use proptest::prelude::*;

    fn moments(formats: &[&str], timezone: Option<&str>) -> Result<Moments, String> {
        let formats: Vec<String> = formats.iter().map(|&format| format.to_owned()).collect();
        Moments::new(&formats, timezone.map(|timezone| timezone.parse().unwrap()))
    }

    #[test]
    fn moments_that_are_read() {
        let india = Some("Asia/Kolkata");
        for (formats, timezone, text, expected) in [
            (&[][..], None, "2026-11-23T12:34:05+05:30", "2026-11-23T07:04:05Z"),
            (&["rfc3339"], None, "2026-11-23 07:04:05.123456Z", "2026-11-23T07:04:05.123456Z"),
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
            let read = moments(formats, timezone).unwrap().read(text);
            assert_eq!(read, Ok(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn moments_that_are_refused() {
        let read = |formats: &[&str], timezone, text| moments(formats, timezone).unwrap().read(text).unwrap_err();
        let berlin = Some("Europe/Berlin");
        insta::assert_snapshot!(read(&["%Y-%m-%d %H:%M"], berlin, "2026-10-25 02:30"), @"is there twice in Europe/Berlin, where the clocks go back");
        insta::assert_snapshot!(read(&["%Y-%m-%d %H:%M"], berlin, "2026-03-29 02:30"), @"does not exist in Europe/Berlin, where the clocks go forward");
        insta::assert_snapshot!(read(&["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"], berlin, "01/02/2026 12:00"), @"is read differently by two of its formats");
        insta::assert_snapshot!(read(&["%d/%m/%Y %H:%M"], berlin, "31/02/2026 12:00"), @"is not in the declared format");
        insta::assert_snapshot!(read(&["epoch_s"], None, "99999999999999"), @"is not in the declared format");
        insta::assert_snapshot!(read(&["epoch_s"], None, "999999999999"), @"is outside the years 1 to 9999");
        insta::assert_snapshot!(read(&[], None, "yesterday"), @"is not in the declared format");
    }

    #[test]
    fn formats_that_are_refused() {
        let wrong = |format| moments(&[format], Some("UTC")).unwrap_err();
        insta::assert_snapshot!(wrong("%Q"), @"`%Q` is not a format; write rfc3339, rfc2822, epoch_s, epoch_ms or a pattern such as `%d-%b-%Y %H:%M:%S`");
        insta::assert_snapshot!(wrong("iso"), @"`iso` does not name one moment; it needs a date and a time of day (with %I also %p)");
        insta::assert_snapshot!(wrong("%d %b %Y"), @"`%d %b %Y` does not name one moment; it needs a date and a time of day (with %I also %p)");
        insta::assert_snapshot!(wrong("%d %b %Y %I:%M"), @"`%d %b %Y %I:%M` does not name one moment; it needs a date and a time of day (with %I also %p)");
        insta::assert_snapshot!(wrong("%d %b %Y %H:%M %Z"), @"`%Z` cannot be read, because names such as IST mean several zones; leave it out and declare `timezone`");
        insta::assert_snapshot!(moments(&["%d %b %Y %H:%M"], None).unwrap_err(), @"`%d %b %Y %H:%M` has no zone; declare `timezone`");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}", format in "(%[a-zA-Z+.0-9]|[-/: ])\\PC{0,12}", digits in "-?[0-9]{0,30}(\\.[0-9]{0,12})?") {
            for format in ["rfc3339", "rfc2822", "epoch_s", "epoch_ms", "%d-%b-%Y %H:%M:%S", &format] {
                if let Ok(moments) = moments(&[format], Some("America/New_York")) {
                    for text in [&text, &digits] {
                        prop_assert!(moments.read(text).is_ok_and(|moment| moment.year() > 0) || moments.read(text).is_err());
                    }
                }
            }
        }

        #[test]
        fn what_is_written_reads_back(seconds in 0_i64..4_000_000_000) {
            let moment = DateTime::from_timestamp(seconds, 0).unwrap();
            for format in ["%d-%b-%Y %H:%M:%S", "%A %e %B %Y %I:%M:%S %p", "%s", "%Y-%m-%dT%H:%M:%S%:z"] {
                let text = moment.format(format).to_string();
                prop_assert_eq!(moments(&[format], Some("UTC")).unwrap().read(&text), Ok(moment));
            }
            prop_assert_eq!(moments(&["epoch_ms"], None).unwrap().read(&format!("{seconds}000")), Ok(moment));
        }
    }
}
