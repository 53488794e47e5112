//! What a file says about which values are believed: `max_jump`, and the `default` of a field that is not there.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_untagged::UntaggedEnumVisitor;

use super::number::Decimal;
use super::settings::OnMissing;
use crate::words::Words;

/// So many different values in a row make a new level, unless the file says otherwise.
const MOVES: u32 = 5;
/// A source that waits for more pages than this has been told `never`.
const COUNT_MAX: u32 = 100_000;

/// How far a value may be from the last one that was believed: `10%`, `500`, or `{ by, accept_after }`.
#[derive(Debug, Clone, Serialize)]
pub struct Jump {
    /// The most that it may differ: a number, or a percentage of the last value.
    pub by: String,
    /// When values beyond that are a new level.
    pub accept_after: AcceptAfter,
}

/// When values that are too far from the last one are a new level, and no mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptAfter {
    /// After so many different values in a row that agree with each other. What stands still never does.
    Moves(u32),
    /// After so many pages in a row whose values agree with each other.
    Pages(u32),
    /// Not before the file is edited.
    Never,
}

impl Default for AcceptAfter {
    fn default() -> Self {
        Self::Moves(MOVES)
    }
}

impl fmt::Display for AcceptAfter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moves(count) => write!(out, "{count} moves"),
            Self::Pages(count) => write!(out, "{count} pages"),
            Self::Never => out.write_str("never"),
        }
    }
}

impl Serialize for AcceptAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AcceptAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("`{text}` is not one of `5 moves`, `20 pages`, `never`"));
        if text.trim() == "never" {
            return Ok(Self::Never);
        }
        let (count, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let count = count.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count)).ok_or_else(wrong)?;
        match unit.trim() {
            "move" | "moves" => Ok(Self::Moves(count)),
            "page" | "pages" => Ok(Self::Pages(count)),
            _ => Err(wrong()),
        }
    }
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Long {
    /// The most that a value may differ from the last one: a number, or a percentage of it such as `10%`.
    by: Scalar,
    /// When values beyond that are a new level: after `5 moves` (the default: different values in a row that agree with
    /// each other), after `20 pages` (of values that agree), or `never`.
    #[serde(default)]
    accept_after: AcceptAfter,
}

impl<'de> Deserialize<'de> for Jump {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let short = |by: &dyn ToString| Ok(Self { by: by.to_string(), accept_after: AcceptAfter::default() });
        UntaggedEnumVisitor::new()
            .expecting("a number, a percentage such as `10%`, or `{ by, accept_after }`")
            .string(move |by| short(&by))
            .u64(move |by| short(&by))
            .i64(move |by| short(&by))
            // The shortest text that is this float, which is what stood in the file.
            .f64(move |by| short(&by))
            .map(|map| {
                let Long { by, accept_after } = map.deserialize()?;
                Ok(Self { by: by.0, accept_after })
            })
            .deserialize(deserializer)
    }
}

impl JsonSchema for Jump {
    fn schema_name() -> Cow<'static, str> {
        "Jump".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<Long>();
        json_schema!({ "anyOf": [{ "type": ["number", "string"] }, long] })
    }
}

impl JsonSchema for AcceptAfter {
    fn schema_name() -> Cow<'static, str> {
        "AcceptAfter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(never|[0-9]+ (moves?|pages?))$" })
    }
}

impl JsonSchema for OnMissing {
    fn schema_name() -> Cow<'static, str> {
        "OnMissing".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["reject", "null", "drop", "last", "default", null] })
    }
}

/// One word, number or truth, as its text.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Words(mut words) = Words::deserialize(deserializer)?;
        match (words.pop(), words.is_empty()) {
            (Some(word), true) => Ok(Self(word)),
            _ => Err(de::Error::custom("one value is wanted, such as 0 or \"none\"")),
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean", "number"] })
    }
}

/// How far is too far, ready to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Limit {
    /// So much.
    By(Decimal),
    /// So many hundredths of the last value.
    Percent(Decimal),
}

impl Limit {
    /// Reads what the file says.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (digits, is_percent) = match text.strip_suffix('%') {
            Some(digits) => (digits.trim_end(), true),
            None => (text, false),
        };
        let limit = Decimal::plain(digits).map_err(|reason| {
            format!("`{}` {reason}; write plain digits, or a percentage such as `10%`", text.escape_debug())
        })?;
        let zero = Decimal::plain("0").expect("invariant: zero is a number");
        if limit.compare(&zero).is_le() {
            return Err("a jump of nothing would refuse every change; write how much is believed".into());
        }
        Ok(if is_percent { Self::Percent(limit) } else { Self::By(limit) })
    }

    /// Whether it is further from `before` to `now` than this. Of zero there is no percentage: from there on all is near.
    pub(super) fn is_exceeded(&self, before: &Decimal, now: &Decimal) -> bool {
        match self {
            Self::By(limit) => {
                let places = [before, now, limit].into_iter().map(Decimal::places).max().unwrap_or(0);
                compare(&distance(before, now, places), &limit.digits(places)).is_gt()
            }
            Self::Percent(limit) => {
                let places = before.places().max(now.places());
                let whole = before.digits(places);
                if whole.iter().all(|digit| *digit == 0) {
                    return false;
                }
                // distance / whole > limit / 100, without dividing: the mark of the limit moves to the other side.
                let hundredths = vec![0; limit.places() + 2].into_iter().chain(distance(before, now, places)).collect();
                compare(&hundredths, &product(&whole, &limit.digits(limit.places()))).is_gt()
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(limit) => limit.fmt(out),
            Self::Percent(limit) => write!(out, "{limit}%"),
        }
    }
}

/// Digits of a whole number without its sign, the least first.
type Digits = Vec<u8>;

/// How far two numbers are apart, in units of their last decimal of `places`.
fn distance(one: &Decimal, other: &Decimal, places: usize) -> Digits {
    let (a, b) = (one.digits(places), other.digits(places));
    if one.is_negative() != other.is_negative() {
        return sum(&a, &b);
    }
    if compare(&a, &b).is_ge() { difference(&a, &b) } else { difference(&b, &a) }
}

fn compare(a: &Digits, b: &Digits) -> std::cmp::Ordering {
    let len = a.len().max(b.len());
    let at = |digits: &Digits, index: usize| digits.get(index).copied().unwrap_or(0);
    (0..len)
        .rev()
        .map(|index| at(a, index).cmp(&at(b, index)))
        .find(|order| order.is_ne())
        .unwrap_or(std::cmp::Ordering::Equal)
}

fn sum(a: &Digits, b: &Digits) -> Digits {
    let mut carry = 0;
    let mut out: Digits = (0..a.len().max(b.len()))
        .map(|index| {
            let all = a.get(index).unwrap_or(&0) + b.get(index).unwrap_or(&0) + carry;
            carry = all / 10;
            all % 10
        })
        .collect();
    out.push(carry);
    out
}

/// `a` less `b`, which is not more.
fn difference(a: &Digits, b: &Digits) -> Digits {
    let mut borrow = 0;
    a.iter()
        .enumerate()
        .map(|(index, digit)| {
            let taken = b.get(index).unwrap_or(&0) + borrow;
            borrow = u8::from(*digit < taken);
            digit + 10 * borrow - taken
        })
        .collect()
}

fn product(a: &Digits, b: &Digits) -> Digits {
    let mut out = vec![0_u32; a.len() + b.len() + 1];
    for (i, one) in a.iter().enumerate() {
        for (j, other) in b.iter().enumerate() {
            // At most 81 for each of a few hundred digits.
            out[i + j] += u32::from(*one) * u32::from(*other);
        }
    }
    let mut carry = 0;
    let mut digits = Digits::with_capacity(out.len());
    for digit in out {
        let all = digit + carry;
        digits.push(u8::try_from(all % 10).expect("invariant: a digit"));
        carry = all / 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::plain(text).unwrap()
    }

    #[test]
    fn near_and_far() {
        for (limit, before, now, expected) in [
            ("10%", "100", "110", false),
            ("10%", "100", "110.0000000000000000001", true),
            ("10%", "100", "90", false),
            ("10%", "100", "89.99", true),
            ("0.5%", "24834.85", "24959.02425", false),
            ("0.5%", "24834.85", "24959.02426", true),
            ("10%", "-100", "-111", true),
            ("10%", "-100", "-109", false),
            ("150%", "-1", "0.5", false),
            ("150%", "-1", "0.51", true),
            ("10%", "0", "1000", false),
            ("10%", "0.00", "1000", false),
            ("5", "1", "6.00", false),
            ("5", "1", "6.001", true),
            ("5", "-2", "3", false),
            ("5", "-2", "3.5", true),
            ("0.05", "0.1", "0.15", false),
            ("0.05", "0.1", "0.1500001", true),
            ("1", "9007199254740993", "9007199254740992", false),
            ("0.5", "9007199254740993", "9007199254740992", true),
        ] {
            let limit = Limit::new(limit).unwrap();
            assert_eq!(limit.is_exceeded(&decimal(before), &decimal(now)), expected, "{limit} {before} {now}");
        }
        for wrong in ["0", "-5", "", "%", "ten", "5%%", "0%", "1,000"] {
            assert!(Limit::new(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Against whole numbers, of which every machine knows the arithmetic.
        #[test]
        fn agrees_with_whole_numbers(before in -1_000_000_i64..1_000_000, now in -1_000_000_i64..1_000_000, limit in 1_i64..20_000, places in 0_u32..4) {
            let text = |value: i64| {
                let power = 10_i64.pow(places);
                let sign = if value < 0 { "-" } else { "" };
                if places == 0 { value.to_string() } else {
                    format!("{sign}{}.{:0width$}", value.abs() / power, value.abs() % power, width = places as usize)
                }
            };
            let (a, b) = (decimal(&text(before)), decimal(&text(now)));
            let by = Limit::new(&text(limit)).unwrap();
            prop_assert_eq!(by.is_exceeded(&a, &b), (before - now).abs() > limit);
            let percent = Limit::new(&format!("{}.{:02}%", limit / 100, limit % 100)).unwrap();
            prop_assert_eq!(percent.is_exceeded(&a, &b), before != 0 && (before - now).abs() * 10_000 > before.abs() * limit);
        }
    }
}
