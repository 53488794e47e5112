//! From a field's text to its typed value, as the JSON that stands in the record.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use super::amount::{Amount, Amounts, Place, Scales, Unit};
use super::currency;
use super::locale::{APOSTROPHES, Locale, SPACES};
use super::number::{self, Decimal, Grouping, Style};
use super::settings::{Bound, Field, FieldType, Format, NumberFormat, NumberGrouping};
use crate::moment::Moments;
use crate::source::Problem;

/// What a field's text is made into.
#[derive(Debug, Clone)]
pub(super) enum Convert {
    Text,
    Number { amounts: Amounts, integer: bool, least: Option<Decimal>, greatest: Option<Decimal> },
    Bool { true_words: Vec<String>, false_words: Vec<String> },
    Moment(Moments),
}

/// A typed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// As it stands in the record.
    pub(super) json: String,
    /// The moment, where it is one.
    pub(super) moment: Option<DateTime<Utc>>,
}

impl Convert {
    /// Reads what a field declares, and collects what does not go together into `problems`.
    pub(super) fn new(field: &Field, path: &[&str], problems: &mut Vec<Problem>) -> Self {
        let mut wrong = |key: &str, message: String| {
            let path = path.iter().copied().chain([key]);
            problems.push(Problem::new(path, message));
        };
        let is_money = field.kind == FieldType::Money;
        let is_number = is_money || matches!(field.kind, FieldType::Number | FieldType::Integer | FieldType::Percent);
        let is_datetime = field.kind == FieldType::Datetime;
        let is_bool = field.kind == FieldType::Bool;
        for (key, is_there, fits, kinds) in [
            ("locale", field.locale.is_some(), is_number, NUMBERS),
            ("range", field.range.is_some(), is_number, NUMBERS),
            ("format", field.format.is_some(), is_number || is_datetime, "number, integer, percent, money or datetime"),
            ("scale", field.scale.is_some(), is_number && field.kind != FieldType::Percent, "number, integer or money"),
            ("currency", field.currency.is_some(), is_money, "money"),
            ("timezone", field.timezone.is_some(), is_datetime, "datetime"),
            ("clocks", field.clocks.is_some(), is_datetime, "datetime"),
            ("keep_offset", field.keep_offset, is_datetime, "datetime"),
            ("true", field.true_words.is_some(), is_bool, "bool"),
            ("false", field.false_words.is_some(), is_bool, "bool"),
        ] {
            if is_there && !fits {
                wrong(key, format!("`{key}` needs `type: {kinds}`"));
            }
        }
        match field.kind {
            FieldType::Text => Self::Text,
            FieldType::Number | FieldType::Integer | FieldType::Percent | FieldType::Money => {
                let (least, greatest) = range(field.range.as_ref()).unwrap_or_else(|message| {
                    wrong("range", message);
                    (None, None)
                });
                let amounts = amounts(field, &mut wrong);
                Self::Number { amounts, integer: field.kind == FieldType::Integer, least, greatest }
            }
            FieldType::Bool => words(field).unwrap_or_else(|message| {
                wrong("true", message);
                Self::Text
            }),
            FieldType::Datetime => moments(field).map_or_else(
                |message| {
                    wrong("format", message);
                    Self::Text
                },
                Self::Moment,
            ),
        }
    }

    /// Whether an element without any text is as good as no element. An empty text is a text, but no number.
    pub(super) fn takes_empty(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// Whether it makes moments.
    pub(super) fn is_moment(&self) -> bool {
        matches!(self, Self::Moment(_))
    }

    /// The typed value, or why the text is none: the end of a sentence that begins with the text.
    pub(super) fn convert(&self, text: &str) -> Result<Value, String> {
        let json = match self {
            Self::Text => json_string(text),
            Self::Number { amounts, .. } => self.checked(amounts.read(text)?)?,
            Self::Bool { true_words, false_words } => {
                let word = text.trim().to_lowercase();
                match (true_words.contains(&word), false_words.contains(&word)) {
                    (true, false) => "true".into(),
                    (false, true) => "false".into(),
                    _ => return Err("is none of the words for true and false".into()),
                }
            }
            Self::Moment(moments) => {
                let (moment, text) = moments.read(text)?;
                return Ok(Value { json: json_string(&text), moment: Some(moment) });
            }
        };
        Ok(Value { json, moment: None })
    }

    /// The same of a number of JSON: its form is known, whatever is declared for texts.
    pub(super) fn convert_number(&self, token: &str) -> Result<Value, String> {
        match self {
            Self::Number { amounts, .. } => Ok(Value { json: self.checked(amounts.of_json(token)?)?, moment: None }),
            _ => self.convert(token),
        }
    }

    /// The amount as it stands in the record, if it is one that may be.
    fn checked(&self, amount: Amount) -> Result<String, String> {
        let Self::Number { integer, least, greatest, .. } = self else { unreachable!("invariant: only numbers are") };
        let value = amount.value;
        if *integer && !value.is_integer() {
            return Err("has decimals, and `type: integer` has none".into());
        }
        if least.as_ref().is_some_and(|least| value.compare(least) == Ordering::Less) {
            return Err("is below its `range`".into());
        }
        if greatest.as_ref().is_some_and(|greatest| value.compare(greatest) == Ordering::Greater) {
            return Err("is above its `range`".into());
        }
        Ok(match amount.currency {
            Some(currency) => format!("{{\"amount\":{value},\"currency\":\"{currency}\"}}"),
            None => value.to_string(),
        })
    }
}

const NUMBERS: &str = "number, integer, percent or money";

/// A string as JSON.
pub(super) fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("invariant: a string always has a JSON form")
}

fn amounts(field: &Field, wrong: &mut impl FnMut(&str, String)) -> Amounts {
    let style = style(field).unwrap_or_else(|message| {
        wrong("format", message);
        Style::undeclared()
    });
    let scales = Scales::new(field.scale.as_ref().map_or(&[], |words| &words.0)).unwrap_or_else(|message| {
        wrong("scale", message);
        Scales::None
    });
    let declared = field.currency.as_deref().and_then(|text| {
        let code = currency::code(text);
        if code.is_none() {
            wrong("currency", format!("`{}` is no currency; write a code such as USD or INR", text.escape_debug()));
        }
        code
    });
    let unit = match field.kind {
        FieldType::Percent => Unit::Percent,
        FieldType::Money => Unit::Money(declared),
        _ => Unit::None,
    };
    Amounts { style, unit, scales, place: field.locale.map_or(Place::Unknown, Locale::place) }
}

fn style(field: &Field) -> Result<Style, String> {
    match (&field.locale, &field.format) {
        (Some(_), Some(_)) => Err("`locale` and `format` say the same thing; leave one out".into()),
        (None, None) => Ok(Style::undeclared()),
        (Some(locale), None) => Ok(locale.style()),
        (None, Some(Format::Number(format))) => style_of_format(format),
        (None, Some(Format::Moments(_))) => {
            Err("a number's format is a map such as `{ decimal: \",\", group: \".\" }`".into())
        }
    }
}

fn style_of_format(format: &NumberFormat) -> Result<Style, String> {
    let is_mark =
        |c: char| !c.is_alphanumeric() && !number::is_minus(c) && !number::is_plus(c) && !matches!(c, '(' | ')' | '%');
    for mark in [Some(format.decimal), format.group].into_iter().flatten() {
        if !is_mark(mark) {
            return Err(format!("`{}` cannot be a mark inside a number", mark.escape_debug()));
        }
    }
    if format.group == Some(format.decimal) {
        return Err(format!("`decimal` and `group` are both `{}`", format.decimal));
    }
    let grouping = match (format.grouping, format.group) {
        (None | Some(NumberGrouping::Thousands), Some(_)) => Grouping::Thousands,
        (Some(NumberGrouping::Indian), Some(_)) => Grouping::Indian,
        (None | Some(NumberGrouping::None), None) => Grouping::None,
        (Some(NumberGrouping::None), Some(_)) => return Err("`grouping: none` has no `group`; leave one out".into()),
        (Some(_), None) => return Err("`grouping` needs the `group` mark".into()),
    };
    // Pages write one of several spaces, and of two apostrophes, without their readers seeing a difference.
    let groups = match format.group {
        Some(mark) if SPACES.contains(mark) => SPACES.to_owned(),
        Some(mark) if APOSTROPHES.contains(mark) => APOSTROPHES.to_owned(),
        mark => mark.map(String::from).unwrap_or_default(),
    };
    Ok(Style { decimal: format.decimal, groups, grouping, declared: true })
}

fn range(range: Option<&[Bound; 2]>) -> Result<(Option<Decimal>, Option<Decimal>), String> {
    let Some([least, greatest]) = range else { return Ok((None, None)) };
    let read = |bound: &Bound| {
        let Some(text) = &bound.0 else { return Ok(None) };
        Decimal::plain(text).map(Some).map_err(|reason| format!("`{text}` {reason}; write plain digits"))
    };
    let (least, greatest) = (read(least)?, read(greatest)?);
    if let (Some(from), Some(to)) = (&least, &greatest)
        && from.compare(to) == Ordering::Greater
    {
        return Err(format!("{from} is greater than {to}; write the least first"));
    }
    Ok((least, greatest))
}

fn words(field: &Field) -> Result<Convert, String> {
    let lower = |words: &Option<crate::words::Words>, default: &str| match words {
        Some(words) => words.0.iter().map(|word| word.trim().to_lowercase()).collect(),
        None => vec![default.to_owned()],
    };
    let true_words: Vec<String> = lower(&field.true_words, "true");
    let false_words: Vec<String> = lower(&field.false_words, "false");
    if let Some(both) = true_words.iter().find(|word| false_words.contains(word)) {
        return Err(format!("`{both}` is a word for true and for false"));
    }
    Ok(Convert::Bool { true_words, false_words })
}

fn moments(field: &Field) -> Result<Moments, String> {
    let new = |formats: &[String]| Moments::new(formats, field.timezone, field.clocks, field.keep_offset);
    match &field.format {
        None => new(&[]),
        Some(Format::Moments(formats)) if formats.is_empty() => Err("the list of formats is empty".into()),
        Some(Format::Moments(formats)) => new(formats),
        Some(Format::Number(_)) => {
            Err("a datetime's format is rfc3339, rfc2822, epoch_s, epoch_ms or a pattern such as `%d-%b-%Y %H:%M`"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checks::numbers::{converted, converter};
    use super::*;

    /// The text of a cell of the table, with what cannot be seen written as `\u{…}`.
    fn visible(cell: &str) -> String {
        let mut out = String::new();
        let mut rest = cell;
        while let Some((before, after)) = rest.split_once("\\u{") {
            let (code, after) = after.split_once('}').unwrap();
            out.push_str(before);
            out.push(u32::from_str_radix(code, 16).ok().and_then(char::from_u32).unwrap());
            rest = after;
        }
        out + rest
    }

    /// A table of texts that pages have, with what each is; nothing of it is read as something else.
    #[test]
    fn numbers_of_pages() {
        let table = include_str!("../../../tests/fixtures/scrape/numbers.tsv");
        let mut wrong = Vec::new();
        let rows: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
        for row in &rows {
            let [text, declaration, expected] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let read = converter(declaration).convert(&visible(text)).map(|value| value.json);
            match (&read, expected) {
                (Err(_), "refused") => {}
                (Ok(json), expected) if json == expected => {}
                _ => wrong.push(format!("{row} => {read:?}")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(rows.len() >= 400, "{}", rows.len());
    }

    #[test]
    fn refusals_say_what_to_declare() {
        let reason = |declaration: &str, text: &str| converter(declaration).convert(text).unwrap_err();
        insta::assert_snapshot!(reason("type: number", "1,306"), @"may be 1306 or a decimal with a comma; declare `locale` or `format`");
        insta::assert_snapshot!(reason("type: number", "0.45%"), @"has a `%`; declare `type: percent`");
        insta::assert_snapshot!(reason("type: number", "$5"), @"has $, which is no part of a number; declare `type: money`, or pick the digits with `regex`");
        insta::assert_snapshot!(reason("type: number", "2.94T"), @"has the letter `T`; declare `type: money` or `scale: true`, or pick the digits with `regex`");
        insta::assert_snapshot!(reason("type: percent", "0.45"), @"has no percent mark; where pages leave it out, declare `type: number`");
        insta::assert_snapshot!(reason("type: percent", "45 bps"), @"has `bps`; only a percent mark is read; pick the digits with `regex`");
        insta::assert_snapshot!(reason("type: percent", "4‰"), @"has a `‰`, which is not read as percent; pick the digits with `regex`");
        insta::assert_snapshot!(reason("type: money", "$5"), @"has `$`, which may be USD, CAD, AUD; declare `currency`");
        insta::assert_snapshot!(reason("type: money", "Rs. 5"), @"has `Rs.`, which may be INR, PKR, LKR; declare `currency`");
        insta::assert_snapshot!(reason("type: money", "5.00"), @"names no currency; declare `currency`, such as `currency: USD`");
        insta::assert_snapshot!(reason("type: money", "1.234 €"), @"may have its decimals after a dot or after a comma; declare `locale` or `format`");
        insta::assert_snapshot!(reason("type: money", "512 GBp"), @"has `GBp`, which is a hundredth of a currency; declare `type: number`, and pick the digits with `regex`");
        insta::assert_snapshot!(reason("type: money", "€1.2M"), @"has the scale `M`; declare `scale: true`");
        insta::assert_snapshot!(reason("type: money", "5 BTC"), @"has `BTC`, which is no currency, scale or mark known here; pick the digits with `regex`");
        insta::assert_snapshot!(reason("{type: money, currency: USD}", "€5"), @"is in `€`, and `currency` says USD");
        insta::assert_snapshot!(reason("{type: number, scale: true}", "€5"), @"has `€`; declare `type: money`");
        insta::assert_snapshot!(reason("{type: number, scale: [K]}", "5M"), @"has the scale `M`, which `scale` does not list");
        insta::assert_snapshot!(reason("{type: number, scale: true, locale: de}", "5 T"), @"has the scale `T`, which means another number in other languages; if it is 12 zeros, declare `scale: [T]`");
        insta::assert_snapshot!(reason("{type: number, scale: true}", "1.2 Mrd."), @"may have its decimals after a dot or after a comma; declare `locale` or `format`");
    }

    #[test]
    fn numbers_of_json_are_exact() {
        let json = |declaration: &str, token: &str| {
            let Convert::Number { amounts, .. } = converter(declaration) else { panic!("{declaration}") };
            amounts.of_json(token).map(|amount| amount.value.to_string())
        };
        for (token, expected) in [
            ("1234.50", "1234.50"),
            ("-0", "-0"),
            ("1e3", "1000"),
            ("1.5E+3", "1500"),
            ("1234.5e-3", "1.2345"),
            ("5e-3", "0.005"),
            ("-12.50e1", "-125.0"),
            ("12345678901234567890.123456789", "12345678901234567890.123456789"),
        ] {
            assert_eq!(json("{type: number, locale: de}", token), Ok(expected.into()), "{token}");
        }
        assert!(json("type: number", "1e999999999999").is_err() && json("type: number", "1e5000").is_err());
        assert!(json("type: percent", "0.45").is_err() && json("type: money", "5").is_err());
        assert!(json("{type: money, currency: USD}", "5").is_ok());
    }

    /// Writes digits by hand as a place does: the oracle of the reader.
    fn grouped(integer: &str, mark: &str, is_indian: bool) -> String {
        let mut out = String::new();
        for (index, digit) in integer.char_indices() {
            let left = integer.len() - index;
            let ends = if is_indian { left == 3 || left > 3 && left % 2 == 1 } else { left.is_multiple_of(3) };
            if index > 0 && ends {
                out.push_str(mark);
            }
            out.push(digit);
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_written_in_any_style_reads_back(negative: bool, integer in "0|[1-9][0-9]{0,14}", fraction in "[0-9]{0,6}", shape in 0_usize..5, zeros in 0_usize..3) {
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let plain = format!("{sign}{integer}{point}{fraction}");
            for (locale, decimal, mark, is_indian) in [
                ("en", ".", ",", false), ("en-IN", ".", ",", true), ("de", ",", ".", false), ("fr", ",", "\u{202f}", false),
                ("ch", ".", "\u{2019}", false), ("pl", ",", "\u{a0}", false), ("pt-BR", ",", ".", false), ("ja", ".", ",", false),
            ] {
                let point = if fraction.is_empty() { "" } else { decimal };
                let digits = format!("{}{point}{fraction}", grouped(&integer, mark, is_indian));
                let number = match (negative, shape) {
                    (false, 0..3) => digits.clone(),
                    (false, _) => format!("+{digits}"),
                    (true, 0) => format!("-{digits}"),
                    (true, 1) => format!("\u{2212}{digits}"),
                    (true, 2) => format!("({digits})"),
                    (true, 3) => format!("{digits}-"),
                    (true, _) => format!("\u{2013}{digits}"),
                };
                let json = |declaration: &str, text: &str| converter(declaration).convert(text).map(|value| value.json);
                prop_assert_eq!(json(&format!("{{type: number, locale: {locale}}}"), &number), Ok(plain.clone()));
                prop_assert_eq!(json(&format!("{{type: percent, locale: {locale}}}"), &format!("{number}\u{a0}%")), Ok(plain.clone()));
                let money = Ok(format!("{{\"amount\":{plain},\"currency\":\"EUR\"}}"));
                prop_assert_eq!(json(&format!("{{type: money, locale: {locale}}}"), &format!("{number} €")), money.clone());
                prop_assert_eq!(json(&format!("{{type: money, locale: {locale}}}"), &format!("EUR\u{a0}{number}")), money);
                let (word, places) = [("K", 3), ("Mio", 6), ("Cr", 7)][zeros];
                let scaled = json(&format!("{{type: number, scale: true, locale: {locale}}}"), &format!("{number} {word}")).unwrap();
                // The mark moves, and no digit is lost or made.
                let digits = |text: &str| text.replace(['.', '-'], "").trim_start_matches('0').to_owned();
                let filled = "0".repeat(places - fraction.len().min(places));
                prop_assert_eq!(digits(&scaled), digits(&format!("{integer}{fraction}{filled}")));
                let left = scaled.split_once('.').map_or(0, |(_, rest)| rest.len());
                prop_assert_eq!(left, fraction.len().saturating_sub(places));
                prop_assert_eq!(scaled.starts_with('-'), negative);
            }
        }

        #[test]
        fn never_panics_and_what_is_read_is_json(text in "[-+0-9.,' ()%$€KMTCr\u{2212}\u{a0}]{0,12}", any in "\\PC{0,20}") {
            for declaration in ["type: percent", "{type: money, scale: true}", "{type: money, currency: USD, scale: true, locale: en-IN}", "{type: number, scale: true, locale: de}"] {
                for text in [&text, &any] {
                    converted(&converter(declaration), text);
                }
            }
        }
    }
}
