//! What was the last that upstream gave, and is asked from the next time.
//!
//! Numbers are compared as decimals of any length, times as moments, and everything else as text.

use std::borrow::Cow;
use std::cmp::Ordering;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::Place;
use crate::template::{Piece, is_time_format, pieces};
use crate::units::Span;

/// Asks only for what is new: `{ param: since_id, from: /id }`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// The parameter of the address that says from where.
    pub param: String,
    /// Where its next value is, within a record: `/id`.
    pub from: Place,
    /// Which of the records' values it is: the greatest, `max`, which is the default, or the `last` that came.
    #[serde(default)]
    pub take: Take,
    /// How the value is sent, where that is not the value alone: `created>{since}`. A time is written in UTC in the format that
    /// stands there: `created_at_i>{since:%s}`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// The value of the first time; none by default. It may have `{date:%Y-%m-%d,-1d}` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Of times: how much earlier is asked from, for what upstream learns late: `10m`. With an `id` no record comes twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Span>,
}

/// Which of the values is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// The greatest.
    #[default]
    Max,
    /// The last that came.
    Last,
}

impl Since {
    /// What is wrong with the way in which the value is sent.
    pub(super) fn form_problem(&self) -> Option<String> {
        self.form.as_ref().and_then(|form| parts(form).err())
    }

    /// A value as it is sent.
    ///
    /// # Errors
    /// In words, when it should be a time and is none.
    pub(super) fn written(&self, value: &str) -> Result<String, String> {
        let Some(form) = &self.form else { return Ok(value.to_owned()) };
        let mut out = String::new();
        for part in parts(form)? {
            match part {
                Part::Text(text) => out.push_str(&text),
                Part::Value => out.push_str(value),
                Part::Time(format) => {
                    let at = DateTime::parse_from_rfc3339(value).map_err(|_| {
                        format!("the value \"{}\" is no time, and `as` writes it as one", value.escape_debug())
                    })?;
                    out.push_str(&at.with_timezone(&Utc).format(&format).to_string());
                }
            }
        }
        Ok(out)
    }

    /// The value from which is asked where this is remembered.
    pub(super) fn sent<'a>(&self, known: &'a str) -> Cow<'a, str> {
        let overlap = self.overlap.and_then(|overlap| TimeDelta::from_std(overlap.0).ok());
        let moved = overlap
            .zip(DateTime::parse_from_rfc3339(known).ok())
            .and_then(|(overlap, at)| at.checked_sub_signed(overlap));
        moved.map_or(Cow::Borrowed(known), |at| Cow::Owned(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
    }

    /// The one of two that is remembered; `new` came later.
    pub(super) fn later(&self, known: Option<String>, new: &str) -> String {
        match known {
            Some(known) if self.take == Take::Max && compare(&known, new) != Ordering::Less => known,
            _ => new.to_owned(),
        }
    }
}

/// What `as` is made of.
enum Part {
    Text(String),
    Value,
    Time(String),
}

fn parts(form: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for piece in pieces(form)? {
        parts.push(match piece {
            Piece::Text(text) => Part::Text(text),
            Piece::Slot { inner: "since", .. } => Part::Value,
            Piece::Slot { inner, at } => match inner.strip_prefix("since:").filter(|format| is_time_format(format)) {
                Some(format) if !format.is_empty() => Part::Time(format.to_owned()),
                _ => {
                    return Err(format!(
                        "`{{{inner}}}` at character {at} is neither `{{since}}` nor, of a time, `{{since:%s}}`"
                    ));
                }
            },
        });
    }
    let has_value = parts.iter().any(|part| !matches!(part, Part::Text(_)));
    if has_value { Ok(parts) } else { Err("the value is not in it; write `{since}` where it belongs".into()) }
}

/// Which of two values is greater.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    if let (Some(one), Some(other)) = (Decimal::of(one), Decimal::of(other)) {
        return one.compare(&other);
    }
    if let (Ok(one), Ok(other)) = (DateTime::parse_from_rfc3339(one), DateTime::parse_from_rfc3339(other)) {
        return one.cmp(&other);
    }
    one.cmp(other)
}

/// A number as it is written.
struct Decimal<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        // There is one nothing.
        Some(Self { is_negative: is_negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let size = |one: &Self, other: &Self| {
            (one.whole.len(), one.whole, one.fraction).cmp(&(other.whole.len(), other.whole, other.fraction))
        };
        match (self.is_negative, other.is_negative) {
            (false, false) => size(self, other),
            (true, true) => size(other, self),
            (is_negative, _) => {
                if is_negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_compared_as_what_they_are() {
        for (less, greater) in [
            ("9", "10"),
            ("9007199254740992", "9007199254740993"),
            ("99999999999999999999999999999998", "99999999999999999999999999999999"),
            ("1.5", "1.50001"),
            ("-2", "-1"),
            ("-0.5", "0"),
            ("2026-11-23T10:00:00+05:30", "2026-11-23T05:00:00Z"),
            ("abc", "abd"),
        ] {
            assert_eq!(compare(less, greater), Ordering::Less, "{less} {greater}");
            assert_eq!(compare(greater, less), Ordering::Greater, "{less} {greater}");
        }
        for (one, other) in
            [("1.0", "1"), ("007", "7"), ("-0", "0"), ("2026-11-23T10:00:00Z", "2026-11-23T15:30:00+05:30")]
        {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn what_is_sent_may_be_earlier() {
        let since: Since = serde_json::from_str(r#"{ "param": "p", "from": "/t", "overlap": "10m" }"#).unwrap();
        assert_eq!(since.sent("2026-11-23T10:00:00Z"), "2026-11-23T09:50:00Z");
        assert_eq!(since.sent("17"), "17");
        assert_eq!(since.later(Some("9".into()), "10"), "10");
        assert_eq!(since.later(Some("10".into()), "9"), "10");
    }

    #[test]
    fn how_it_is_sent() {
        let since = |form: &str| Since {
            form: Some(form.into()),
            ..serde_json::from_str(r#"{ "param": "p", "from": "/t" }"#).unwrap()
        };
        for (form, expected) in [
            ("created_at_i>{since:%s}", Ok("created_at_i>1795417445".to_owned())),
            ("{since:%Y-%m-%d}", Ok("2026-11-23".into())),
            ("a>{since} {{b}}", Ok("a>2026-11-23T12:34:05+05:30 {b}".into())),
        ] {
            assert_eq!(since(form).form_problem(), None, "{form}");
            assert_eq!(since(form).written("2026-11-23T12:34:05+05:30"), expected, "{form}");
        }
        assert!(since("{since:%s}").written("17").is_err());
        for wrong in ["", "a>b", "{date}", "{since:}", "{since:%Q}", "{since"] {
            assert!(since(wrong).form_problem().is_some(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_in_the_order_of_numbers(one in -1_000_000_i64..1_000_000, other in -1_000_000_i64..1_000_000) {
            prop_assert_eq!(compare(&one.to_string(), &other.to_string()), one.cmp(&other));
        }
    }
}
