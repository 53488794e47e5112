//! Dates of feeds, in whatever way somebody wrote them.
//!
//! RSS wants those of e-mail (RFC 822, and later ones), Atom and JSON Feed those of RFC 3339; either is found in any, with names
//! of days in other languages, wrong names of days, zones without a number, or no zone at all, which is taken for UTC.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Zones that feeds name, with their minutes from UTC.
const ZONES: [(&str, i64); 26] = [
    ("UT", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("MET", 60),
    ("CEST", 120),
    ("MEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("IST", 330),
    ("SGT", 480),
    ("HKT", 480),
    ("JST", 540),
    ("KST", 540),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("PST", -480),
    ("PDT", -420),
];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// A longer text is no date.
const BYTES_MAX: usize = 100;

/// The moment that a text names. `None` where it names none, or one that no feed can mean.
pub(super) fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if text.len() > BYTES_MAX {
        return None;
    }
    let found = numeric(text).or_else(|| in_words(text)).or_else(|| seconds(text))?;
    (1970..=2100).contains(&found.year()).then_some(found)
}

/// `2026-11-23T10:00:00.5+05:30`, with less of it, a space instead of the `T`, slashes, or nothing between.
fn numeric(text: &str) -> Option<DateTime<Utc>> {
    let digits_end = text.find(|next: char| !next.is_ascii_digit())?;
    let year = Some(&text[..digits_end]).filter(|year| year.len() == 4)?.parse().ok()?;
    let rest = text[digits_end..].strip_prefix(['-', '/', '.'])?;
    let (month, rest) = number(rest)?;
    let (day, rest) = number(rest.strip_prefix(['-', '/', '.'])?)?;
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    let rest = rest.strip_prefix(['T', 't', ' ', '_']).unwrap_or(rest).trim_start();
    at(date, rest)
}

/// `Mon, 23 Nov 2026 10:00:00 +0530`, `Nov 23, 2026 10:00 PM EST`, `Mon Nov 23 10:00:00 2026`.
fn in_words(text: &str) -> Option<DateTime<Utc>> {
    let (mut day, mut month, mut year) = (None, None, None);
    let mut rest = text;
    let mut time = None;
    while !(day.is_some() && month.is_some() && year.is_some()) {
        rest = rest.trim_start_matches(|next: char| next.is_whitespace() || ",.-/".contains(next));
        let end = rest.find(|next: char| next.is_whitespace() || ",-/".contains(next)).unwrap_or(rest.len());
        let word = Some(&rest[..end]).filter(|word| !word.is_empty())?;
        let lower = word.to_ascii_lowercase();
        if word.contains(':') {
            // The year comes behind the time, as in C.
            time = Some(word);
        } else if let Some(index) = lower.get(..3).and_then(|start| MONTHS.iter().position(|month| *month == start)) {
            month.get_or_insert(u32::try_from(index).ok()? + 1);
        } else if word.starts_with(|next: char| next.is_ascii_digit()) {
            let number: u32 = word.trim_end_matches(|next: char| !next.is_ascii_digit()).parse().ok()?;
            if number > 31 || (day.is_some() && year.is_none()) {
                year = Some(if number < 70 {
                    number + 2000
                } else if number < 100 {
                    number + 1900
                } else {
                    number
                });
            } else {
                day.get_or_insert(number);
            }
        }
        // Any other word is the name of a day, right or wrong.
        rest = &rest[end..];
    }
    let year = i32::try_from(year?).ok().filter(|year| *year <= 9999)?;
    let date = NaiveDate::from_ymd_opt(year, month?, day?)?;
    let rest = rest.trim_start_matches(|next: char| next.is_whitespace() || ",".contains(next));
    match time {
        Some(time) => at(date, &format!("{time} {rest}")),
        None => at(date, rest.strip_prefix("at ").unwrap_or(rest)),
    }
}

/// Seconds or milliseconds since 1970.
fn seconds(text: &str) -> Option<DateTime<Utc>> {
    let number: i64 = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    match text.len() {
        9 | 10 => DateTime::from_timestamp(number, 0),
        13 => DateTime::from_timestamp_millis(number),
        _ => None,
    }
}

/// The date with the time that stands here, and its zone; without one, at midnight.
fn at(date: NaiveDate, text: &str) -> Option<DateTime<Utc>> {
    if text.is_empty() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    let Some((hour, rest)) = number(text) else {
        return zone(text).map(|minutes| date.and_time(NaiveTime::MIN).and_utc() - minutes);
    };
    let (minute, rest) = number(rest.strip_prefix([':', '.'])?)?;
    let (second, mut rest) = match rest.strip_prefix([':']) {
        Some(rest) => number(rest)?,
        None => (0, rest),
    };
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let end = fraction.find(|next: char| !next.is_ascii_digit()).unwrap_or(fraction.len());
        nanos = format!("{:0<9}", &fraction[..end])[..9].parse().ok()?;
        rest = &fraction[end..];
    }
    let mut rest = rest.trim();
    let mut hour = hour;
    let half = rest.get(..2).map(str::to_ascii_lowercase);
    if let Some(half @ ("am" | "pm")) = half.as_deref() {
        hour = hour % 12 + if half == "pm" { 12 } else { 0 };
        rest = rest[2..].trim();
    }
    // The end of a day, and a second that is put in, are the moments after.
    let (hour, days) = if hour == 24 { (0, 1) } else { (hour, 0) };
    let (second, more) = if second == 60 { (59, 1) } else { (second, 0) };
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?;
    let local = date.and_time(time) + TimeDelta::days(days) + TimeDelta::seconds(more);
    local.and_utc().checked_sub_signed(zone(rest)?)
}

/// How far the clocks of a zone are from UTC.
fn zone(text: &str) -> Option<TimeDelta> {
    let text = text.split('(').next().unwrap_or_default().trim();
    let name_end = text.find(|next: char| !next.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, offset) = text.split_at(name_end);
    let offset = offset.trim();
    if offset.is_empty() {
        let found = ZONES.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(name));
        // A zone that nobody knows is taken for UTC, as one that is not named.
        return Some(TimeDelta::minutes(found.map_or(0, |(_, minutes)| *minutes)));
    }
    let (sign, digits): (i64, &str) = match offset.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, offset.strip_prefix('+')?),
    };
    let digits = Some(digits.replace(':', "")).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (hours, minutes): (i64, i64) = match digits.len() {
        1 | 2 => (digits.parse().ok()?, 0),
        3 => (digits[..1].parse().ok()?, digits[1..].parse().ok()?),
        4 => (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse::<i64>().ok()?),
        _ => return None,
    };
    let minutes: i64 = sign * (hours * 60 + minutes);
    TimeDelta::try_minutes(minutes).filter(|delta| delta.num_hours().abs() <= 24)
}

/// The number of one or two digits that stands here.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_as_they_are_written() {
        for (text, expected) in [
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
            ("2026-11-23T10:00:00.250+05:30", "2026-11-23T04:30:00.250Z"),
            ("2026-11-23 10:00:00 +0530", "2026-11-23T04:30:00Z"),
            ("2026-11-23T10:00", "2026-11-23T10:00:00Z"),
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("2026/11/23 10:00:00", "2026-11-23T10:00:00Z"),
            ("2026-11-23T24:00:00Z", "2026-11-24T00:00:00Z"),
            ("2026-06-30T23:59:60Z", "2026-07-01T00:00:00Z"),
            ("Mon, 23 Nov 2026 10:00:00 GMT", "2026-11-23T10:00:00Z"),
            ("Fri, 23 Nov 2026 10:00:00 +0530", "2026-11-23T04:30:00Z"),
            ("Thurs, 3 November 2026 7:05:00 PST", "2026-11-03T15:05:00Z"),
            ("23 Nov 26 10:00 EST", "2026-11-23T15:00:00Z"),
            ("Lun, 23 Nov 2026 10:00:00 CET", "2026-11-23T09:00:00Z"),
            ("Mon, 23-Nov-2026 10:00:00 GMT", "2026-11-23T10:00:00Z"),
            ("Mon, 23 Nov 2026 10:00:00 GMT+0530", "2026-11-23T04:30:00Z"),
            ("Mon, 23 Nov 2026 10:00:00 +05:30", "2026-11-23T04:30:00Z"),
            ("Mon, 23 Nov 2026 10:00:00", "2026-11-23T10:00:00Z"),
            ("Mon, 23 Nov 2026", "2026-11-23T00:00:00Z"),
            ("Nov 23, 2026 10:00 PM", "2026-11-23T22:00:00Z"),
            ("November 23, 2026 12:30 am EST", "2026-11-23T05:30:00Z"),
            ("Mon Nov 23 10:00:00 2026", "2026-11-23T10:00:00Z"),
            ("Mon Nov 23 10:00:00 +0100 2026", "2026-11-23T10:00:00Z"),
            ("Mon, 23 Nov 2026 10:00:00 -0000", "2026-11-23T10:00:00Z"),
            ("Mon, 23 Nov 2026 10:00:00 +0100 (CET)", "2026-11-23T09:00:00Z"),
            ("1795428000", "2026-11-23T10:00:00Z"),
            ("1795428000000", "2026-11-23T10:00:00Z"),
        ] {
            assert_eq!(moment(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "soon",
            "23",
            "0000-00-00T00:00:00Z",
            "2026-02-30",
            "Mon, 32 Nov 2026 10:00:00 GMT",
            "3026-01-01",
            "1970",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_date_or_none(text in "([0-9]{1,4}|[-+:/,. T]|[A-Za-zé]{1,5}){0,12}") {
            moment(&text);
        }
    }
}
