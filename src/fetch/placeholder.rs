//! Texts with placeholders in what is asked: `https://example.com/quote/{symbol}?day={date:%Y%m%d,-1d}&page={page}`.
//!
//! An address is read strictly: each brace means something, as in the text renderings. Headers and bodies are full of
//! braces of their own (JSON, GraphQL), so that there only what is a placeholder is one, and all else stays as it is.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use url::Url;

use crate::config::nearest;
use crate::template::{Piece, is_time_format, pieces};

/// How a date is written where the file does not say.
const DATE_FORMAT: &str = "%Y-%m-%d";
/// The farthest that a date is from the tick's, in the unit that is written.
const OFFSET_MAX: u32 = 100_000;

/// What may stand in braces, beside dates.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The names of `for_each`.
    pub variables: &'a [String],
    /// Whether pages are counted.
    pub has_page: bool,
}

/// What is put in.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// In the order of the names.
    pub variables: &'a [String],
    /// The scheduled time of the tick.
    pub at: DateTime<Utc>,
    /// The source's.
    pub timezone: Tz,
    /// The number of the page.
    pub page: i64,
}

/// A text with placeholders.
#[derive(Debug, PartialEq, Eq)]
pub struct Filled {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The variable with this index.
    Variable(usize),
    Page,
    Date {
        format: String,
        offset: Option<Offset>,
    },
}

/// How far a date is from the tick's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset {
    is_back: bool,
    count: u32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Minutes,
    Hours,
    Days,
    Weeks,
    Months,
    Years,
}

impl Filled {
    /// Reads an address, in which each brace means something.
    ///
    /// # Errors
    /// In words, with the place in the text.
    pub fn strict(text: &str, names: Names<'_>) -> Result<Self, String> {
        let mut parts = Vec::new();
        for piece in pieces(text)? {
            match piece {
                Piece::Text(plain) => parts.push(Part::Text(plain)),
                Piece::Slot { inner, at } => {
                    parts.push(part(inner, names).map_err(|why| format!("`{{{inner}}}` at character {at} {why}"))?);
                }
            }
        }
        Ok(Self { parts })
    }

    /// Reads a text in which only what is a placeholder is one.
    ///
    /// # Errors
    /// When something is nearly one.
    pub fn loose(text: &str, names: Names<'_>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let (mut plain, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('{') {
            let (before, found) = rest.split_at(at);
            plain.push_str(before);
            let end = found[1..].find(['{', '}']).map(|end| end + 1).filter(|end| found[*end..].starts_with('}'));
            let Some(end) = end else {
                plain.push('{');
                rest = &found[1..];
                continue;
            };
            let inner = &found[1..end];
            match part(inner, names) {
                Ok(part) => {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(part);
                }
                Err(why) if is_nearly(inner, names) => {
                    let at = text[..text.len() - found.len()].chars().count() + 1;
                    return Err(format!("`{{{inner}}}` at character {at} {why}"));
                }
                Err(_) => plain.push_str(&found[..=end]),
            }
            rest = &found[end + 1..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }

    /// Whether this variable stands in it.
    pub fn has_variable(&self, index: usize) -> bool {
        self.parts.contains(&Part::Variable(index))
    }

    /// Whether the number of the page stands in it.
    pub fn has_page(&self) -> bool {
        self.parts.contains(&Part::Page)
    }

    fn has_placeholder(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// The text with values put in as they are.
    pub fn text(&self, values: &Values<'_>) -> String {
        let put = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(index) => values.variables.get(*index).cloned().unwrap_or_default(),
            Part::Page => values.page.to_string(),
            Part::Date { format, offset } => date(format, *offset, values),
        };
        self.parts.iter().map(put).collect()
    }

    /// The address with values put in, each encoded so that it stays one part of a path or one value of a query. What an
    /// address is of, and how many parts its path has, no value can change.
    ///
    /// # Errors
    /// In words, when the text with values is no address, or a value would lead elsewhere.
    pub fn address(&self, values: &Values<'_>) -> Result<Url, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                _ if !has_site(&text) => {
                    return Err("a placeholder cannot be in the site's name; write a source for each site".into());
                }
                Part::Variable(index) => {
                    push_encoded(&mut text, values.variables.get(*index).map_or("", String::as_str), "");
                }
                Part::Page => text.push_str(&values.page.to_string()),
                // The marks between the numbers of a date are the file's own.
                Part::Date { format, offset } => push_encoded(&mut text, &date(format, *offset, values), "/:,@"),
            }
        }
        let url = super::page_url(&text)?;
        // A site's name alone has the path `/`.
        let slashes = |text: &str| text.matches('/').count().max(1);
        let end = text.find(['?', '#']).unwrap_or(text.len());
        let path = text[..end].split_once("://").map_or("", |(_, path)| path);
        if self.has_placeholder() && slashes(path) != slashes(url.path()) {
            return Err("a part of a path that is `.` or `..` would lead to another page".into());
        }
        Ok(url)
    }
}

/// Whether what stands before is a scheme and a whole name of a site.
fn has_site(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?', '#']))
}

fn push_encoded(text: &mut String, value: &str, kept: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("invariant: a string takes all that is written");
        }
    }
}

/// What stands between two braces, or what is wrong with it, as the rest of a sentence.
fn part(inner: &str, names: Names<'_>) -> Result<Part, String> {
    if let Some(index) = names.variables.iter().position(|name| name == inner) {
        return Ok(Part::Variable(index));
    }
    if inner == "page" {
        return if names.has_page {
            Ok(Part::Page)
        } else {
            Err("counts pages; say which with `pages: { from: 1 }`".into())
        };
    }
    let behind = inner.strip_prefix("date").filter(|rest| rest.is_empty() || rest.starts_with([':', ',']));
    if let Some(rest) = behind {
        return date_part(rest);
    }
    let known = || names.variables.iter().map(String::as_str).chain(["date", "page"]);
    let name = inner.split([':', ',']).next().unwrap_or_default();
    Err(match nearest(name, known().filter(|known| names.has_page || *known != "page")) {
        Some(near) => format!("is no placeholder; did you mean `{{{near}}}`?"),
        None => format!(
            "is no placeholder; there are {}, and `{{{{` for the brace itself",
            known().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Whether somebody who wrote this among other braces meant a placeholder.
fn is_nearly(inner: &str, names: Names<'_>) -> bool {
    let is_name = !inner.is_empty() && inner.chars().all(|next| next.is_alphanumeric() || "_-".contains(next));
    let is_date = inner.starts_with("date:%") || inner.starts_with("date,");
    is_date || (is_name && nearest(inner, names.variables.iter().map(String::as_str)).is_some())
}

/// What follows `date`: `:FORMAT`, `,OFFSET`, both or nothing.
fn date_part(rest: &str) -> Result<Part, String> {
    let (format, offset) = match rest.rsplit_once(',') {
        Some((format, offset)) if offset.trim_start().starts_with(['+', '-']) => (format, Some(offset.trim())),
        _ => (rest, None),
    };
    let format = match format.strip_prefix(':') {
        Some(format) => format,
        None if format.is_empty() => DATE_FORMAT,
        None => return Err("has no format; write `{date:%Y-%m-%d}` or `{date:%Y-%m-%d,-1d}`".into()),
    };
    if format.is_empty() || !is_time_format(format) {
        return Err(format!("has no time format; write letters such as %Y-%m-%d, and not `{format}`"));
    }
    let offset = offset.map(|text| {
        self::offset(text).ok_or(format!(
            "is moved by `{text}`, which is none of -1d, +2w, -1mo, -1y, +6h and -30m; a date is moved by one of these"
        ))
    });
    Ok(Part::Date { format: format.to_owned(), offset: offset.transpose()? })
}

fn offset(text: &str) -> Option<Offset> {
    let (is_back, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+')?),
    };
    let digits = rest.find(|next: char| !next.is_ascii_digit())?;
    let count = rest[..digits].parse().ok().filter(|count| *count <= OFFSET_MAX)?;
    let unit = match &rest[digits..] {
        "m" => Unit::Minutes,
        "h" => Unit::Hours,
        "d" => Unit::Days,
        "w" => Unit::Weeks,
        "mo" => Unit::Months,
        "y" => Unit::Years,
        _ => return None,
    };
    Some(Offset { is_back, count, unit })
}

/// The date of the tick, moved, as the clocks of the source's zone show it.
fn date(format: &str, offset: Option<Offset>, values: &Values<'_>) -> String {
    let at = values.at.with_timezone(&values.timezone);
    let moved = offset.and_then(|offset| moved(at, offset)).unwrap_or(at);
    moved.format(format).to_string()
}

/// Days and longer are those of the calendar, so that a day of 23 hours is a day, too.
fn moved(at: DateTime<Tz>, Offset { is_back, count, unit }: Offset) -> Option<DateTime<Tz>> {
    let sign = if is_back { -1 } else { 1 };
    let local = at.naive_local();
    let days = |count: u32| {
        let days = Days::new(count.into());
        if is_back { local.checked_sub_days(days) } else { local.checked_add_days(days) }
    };
    let months = |count: u32| {
        let months = Months::new(count);
        if is_back { local.checked_sub_months(months) } else { local.checked_add_months(months) }
    };
    let moved = match unit {
        Unit::Minutes => return at.checked_add_signed(TimeDelta::minutes(sign * i64::from(count))),
        Unit::Hours => return at.checked_add_signed(TimeDelta::hours(sign * i64::from(count))),
        Unit::Days => days(count),
        Unit::Weeks => days(count.checked_mul(7)?),
        Unit::Months => months(count),
        Unit::Years => months(count.checked_mul(12)?),
    };
    resolved(moved.filter(|moved| (0..=9999).contains(&moved.year()))?, at.timezone())
}

/// A time that the clocks skip is the one after, as they show it.
fn resolved(local: NaiveDateTime, timezone: Tz) -> Option<DateTime<Tz>> {
    let of = |local: &NaiveDateTime| timezone.from_local_datetime(local).earliest();
    of(&local).or_else(|| of(&(local + TimeDelta::hours(1))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(variables: &[String]) -> Names<'_> {
        Names { variables, has_page: true }
    }

    fn values<'a>(variables: &'a [String], at: &str) -> Values<'a> {
        Values { variables, at: at.parse().unwrap(), timezone: Tz::Asia__Kolkata, page: 3 }
    }

    fn filled(text: &str, value: &str) -> Result<String, String> {
        let variables = ["symbol".to_owned()];
        let filled = Filled::strict(text, names(&variables))?;
        filled.address(&values(&[value.to_owned()], "2026-11-23T20:00:00Z")).map(Into::into)
    }

    #[test]
    fn values_are_put_in_and_encoded() {
        for (text, value, expected) in [
            ("https://a.example/q/{symbol}", "NIFTY50", "https://a.example/q/NIFTY50"),
            (
                "https://a.example/q/{symbol}?s={symbol}",
                "M&M/x?#é ",
                "https://a.example/q/M%26M%2Fx%3F%23%C3%A9%20?s=M%26M%2Fx%3F%23%C3%A9%20",
            ),
            ("https://a.example?s={symbol}", "^NSEI+1", "https://a.example/?s=%5ENSEI%2B1"),
            ("https://a.example/{symbol}", "@evil.example", "https://a.example/%40evil.example"),
            ("https://a.example/{symbol}", "\\evil", "https://a.example/%5Cevil"),
            ("https://a.example/{symbol}/x", "a..b", "https://a.example/a..b/x"),
            // The day in Kolkata has begun already.
            ("https://a.example/{date:%Y/%m/%d}?p={page}", "", "https://a.example/2026/11/24?p=3"),
            ("https://a.example/{date}-{date:%d %b,-1d}", "", "https://a.example/2026-11-24-23%20Nov"),
            ("https://a.example/{{{symbol}}}", "x", "https://a.example/%7Bx%7D"),
        ] {
            assert_eq!(filled(text, value).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn no_value_leads_elsewhere() {
        for (text, value) in [
            ("https://{symbol}.example/", "a"),
            ("https://a.example{symbol}/", ".evil.example"),
            ("{symbol}://a.example/", "http"),
            ("https://a.example:{symbol}/", "81"),
        ] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(filled(text, value).unwrap_err(), @"a placeholder cannot be in the site's name; write a source for each site");
            }
        }
        for value in [".", ".."] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(filled("https://a.example/x/{symbol}/y", value).unwrap_err(), @"a part of a path that is `.` or `..` would lead to another page");
            }
        }
    }

    #[test]
    fn dates_are_moved_by_the_calendar() {
        for (text, at, expected) in [
            ("{date:%Y%m%d,-1d}", "2026-03-01T00:00:00Z", "20260228"),
            ("{date:%Y%m%d,+1w}", "2026-12-28T00:00:00Z", "20270104"),
            ("{date:%Y-%m,-1mo}", "2026-03-31T00:00:00Z", "2026-02"),
            ("{date:%Y,-1y}", "2024-02-29T00:00:00Z", "2023"),
            ("{date:%H:%M,+6h}", "2026-11-23T00:00:00Z", "11:30"),
            ("{date:%H:%M,-30m}", "2026-11-23T00:00:00Z", "05:00"),
            ("{date,-1d}", "2026-11-23T00:00:00Z", "2026-11-22"),
            ("{date:%B %d, %Y}", "2026-11-23T00:00:00Z", "November 23, 2026"),
        ] {
            let filled = Filled::loose(text, names(&[])).unwrap();
            assert_eq!(filled.text(&values(&[], at)), expected, "{text}");
        }
        // Clocks in Berlin skip 02:30 on that day; the day before has it.
        let values = Values { timezone: Tz::Europe__Berlin, ..values(&[], "2026-03-28T01:30:00Z") };
        let filled = Filled::loose("{date:%d %H:%M %z,+1d}", names(&[])).unwrap();
        assert_eq!(filled.text(&values), "29 03:30 +0200");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let variables = ["symbol".to_owned()];
        let of = |text: &str| Filled::strict(text, Names { variables: &variables, has_page: false }).unwrap_err();
        insta::assert_snapshot!(of("https://a.example/é/{symbl}"), @"`{symbl}` at character 21 is no placeholder; did you mean `{symbol}`?");
        insta::assert_snapshot!(of("https://a.example/{x}"), @"`{x}` at character 19 is no placeholder; there are `{symbol}`, `{date}`, `{page}`, and `{{` for the brace itself");
        insta::assert_snapshot!(of("https://a.example/{Date:%Y}"), @"`{Date:%Y}` at character 19 is no placeholder; did you mean `{date}`?");
        insta::assert_snapshot!(of("https://a.example/{page}"), @"`{page}` at character 19 counts pages; say which with `pages: { from: 1 }`");
        insta::assert_snapshot!(of("https://a.example/{date:%Q}"), @"`{date:%Q}` at character 19 has no time format; write letters such as %Y-%m-%d, and not `%Q`");
        insta::assert_snapshot!(of("https://a.example/{date:%Y,-1q}"), @"`{date:%Y,-1q}` at character 19 is moved by `-1q`, which is none of -1d, +2w, -1mo, -1y, +6h and -30m; a date is moved by one of these");
        insta::assert_snapshot!(of("https://a.example/{symbol"), @"`{` at character 19 is not closed; write `{{` for the brace itself");
    }

    #[test]
    fn braces_of_json_stay() {
        let variables = ["symbol".to_owned()];
        let loose = |text: &str| {
            Filled::loose(text, names(&variables))
                .map(|filled| filled.text(&values(&["M&M".into()], "2026-11-23T00:00:00Z")))
        };
        for (text, expected) in [
            (r#"{"s":"{symbol}","n":{"p":{page}}}"#, r#"{"s":"M&M","n":{"p":3}}"#),
            ("{ hero { name } } {a}{{b}}", "{ hero { name } } {a}{{b}}"),
            ("{", "{"),
            ("{{symbol}", "{M&M"),
        ] {
            assert_eq!(loose(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(loose("{\"a\": {symbl}}").unwrap_err().contains("at character 7"));
    }

    proptest! {
        /// Whatever a value is, the site and the number of parts of the path are the file's.
        #[test]
        fn a_value_changes_nothing_but_its_part(value in ".{0,20}") {
            let variables = ["v".to_owned()];
            let filled = Filled::strict("https://a.example/x/{v}/y?k={v}&z=1", names(&variables)).unwrap();
            if let Ok(url) = filled.address(&values(std::slice::from_ref(&value), "2026-11-23T00:00:00Z")) {
                prop_assert_eq!(url.host_str(), Some("a.example"));
                prop_assert_eq!(url.path_segments().unwrap().count(), 3);
                let pairs: Vec<_> = url.query_pairs().collect();
                prop_assert_eq!(pairs.len(), 2);
                prop_assert_eq!(&pairs[0].1, &value);
                prop_assert_eq!(url.fragment(), None);
            }
        }

        #[test]
        fn any_text_is_read(text in "[a-z{}:,%+\\-0-9 é]{0,30}") {
            for filled in [Filled::strict(&text, names(&[])), Filled::loose(&text, names(&[]))].into_iter().flatten() {
                filled.text(&values(&[], "2026-11-23T00:00:00Z"));
            }
        }
    }
}
