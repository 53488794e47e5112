//! Numbers as pages write them, read into exact decimals by a declared style. Nothing goes through a float.

use std::cmp::Ordering;
use std::fmt;

/// The most characters a number may have; a longer text is not a number but a page.
const CHARS_MAX: usize = 100;

/// An exact decimal. Its text is a JSON number with the digits of the page: `59,465.60` stays `59465.60`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// At least one digit, without leading zeros.
    integer: String,
    /// May be empty.
    fraction: String,
}

impl Decimal {
    /// Reads plain digits with at most one dot and a minus, as in a YAML file.
    pub(super) fn plain(text: &str) -> Result<Self, String> {
        read(text, &Style { decimal: '.', groups: String::new(), grouping: Grouping::None, declared: true })
    }

    /// Reads a number of JSON with all its digits; an exponent only moves the decimal mark.
    pub(super) fn of_json(token: &str) -> Result<Self, String> {
        let (digits, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
        let exponent: i32 = exponent.trim_start_matches('+').parse().unwrap_or(i32::MAX);
        if exponent.unsigned_abs() as usize > CHARS_MAX {
            return Err("has an exponent that no price has".into());
        }
        Ok(Self::plain(digits)?.shift(exponent))
    }

    /// Moves the decimal mark to the right, or with less than zero to the left: no digit is rounded.
    pub(super) fn shift(self, places: i32) -> Self {
        let count = places.unsigned_abs() as usize;
        let (integer, fraction) = if places >= 0 {
            let moved = self.fraction.len().min(count);
            let zeros = "0".repeat(count - moved);
            (self.integer + &self.fraction[..moved] + &zeros, self.fraction[moved..].to_owned())
        } else {
            let padded = "0".repeat(count) + &self.integer;
            let (integer, moved) = padded.split_at(padded.len() - count);
            (integer.to_owned(), moved.to_owned() + &self.fraction)
        };
        Self { negative: self.negative, integer: strip_zeros(&integer).to_owned(), fraction }
    }

    /// The same with the sign that stood apart from the digits.
    pub(super) fn with_sign(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    /// Whether it has no digits after its decimal mark.
    pub(super) fn is_integer(&self) -> bool {
        self.fraction.is_empty()
    }

    /// Compares by value: 1.5 equals 1.50, and 0 equals -0.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self.negative && !self.is_zero(), other.negative && !other.is_zero()) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
        }
    }

    /// How many digits it has after its decimal mark.
    pub(super) fn places(&self) -> usize {
        self.fraction.len()
    }

    /// Whether it has a minus, which zero may have too.
    pub(super) fn is_negative(&self) -> bool {
        self.negative
    }

    /// Its digits without sign and mark, the least first, with so many decimals, which are not fewer than it has.
    pub(super) fn digits(&self, places: usize) -> Vec<u8> {
        let fill = places.saturating_sub(self.fraction.len());
        let digits = self.integer.bytes().chain(self.fraction.bytes()).rev().map(|digit| digit - b'0');
        std::iter::repeat_n(0, fill).chain(digits).collect()
    }

    fn is_zero(&self) -> bool {
        self.integer == "0" && self.fraction.bytes().all(|digit| digit == b'0')
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        let by_integer = self.integer.len().cmp(&other.integer.len()).then_with(|| self.integer.cmp(&other.integer));
        // Digits compare as text once the zeros at the end, which mean nothing, are gone.
        by_integer.then_with(|| self.fraction.trim_end_matches('0').cmp(other.fraction.trim_end_matches('0')))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(out, "{sign}{}{point}{}", self.integer, self.fraction)
    }
}

/// How a page writes its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Style {
    /// The decimal mark.
    pub(super) decimal: char,
    /// The marks that may stand between groups; one number uses only one of them.
    pub(super) groups: String,
    /// Where they stand.
    pub(super) grouping: Grouping,
    /// Whether the source's file says so. Otherwise what could be meant in two ways is refused.
    pub(super) declared: bool,
}

/// How digits before the decimal mark are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grouping {
    /// By three: `1,234,567`.
    Thousands,
    /// Three at the end, two before: `12,34,567`.
    Indian,
    /// Not at all.
    None,
}

impl Style {
    /// What is taken when the source's file says nothing: English, where there is no doubt.
    pub(super) fn undeclared() -> Self {
        Self { decimal: '.', groups: ",".into(), grouping: Grouping::Thousands, declared: false }
    }
}

/// Reads a whole text as one number, or says why it is none.
pub(super) fn read(text: &str, style: &Style) -> Result<Decimal, String> {
    let text = trimmed(text)?;
    let (negative, digits) = peel_sign(text).unwrap_or((false, text));
    Ok(read_digits(digits, style)?.with_sign(negative))
}

/// The text without the space around it, if it may be a number at all. What only says in which direction text runs is
/// space too: Hebrew and Arabic pages put it beside a sign.
pub(super) fn trimmed(text: &str) -> Result<&str, String> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}'));
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        return Err(format!("is longer than {CHARS_MAX} characters; pick the digits with `regex`"));
    }
    Ok(text)
}

/// Reads digits and marks without a sign.
pub(super) fn read_digits(digits: &str, style: &Style) -> Result<Decimal, String> {
    if let Some(wrong) =
        digits.chars().find(|&c| !c.is_ascii_digit() && c != style.decimal && !style.groups.contains(c))
    {
        return Err(refuse_character(wrong, style));
    }
    let (integer, fraction) = match digits.split_once(style.decimal) {
        None => (digits, None),
        Some((_, fraction)) if fraction.contains(style.decimal) => {
            return Err(with_hint(format!("has more than one `{}`", style.decimal), style));
        }
        Some((integer, fraction)) => (integer, Some(fraction)),
    };
    if integer.is_empty() && fraction.is_none_or(str::is_empty) {
        return Err("has no digits".into());
    }
    if fraction == Some("") {
        return Err(format!("ends with its decimal mark `{}`", style.decimal));
    }
    let fraction = fraction.unwrap_or_default();
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(with_hint("has a group mark after its decimal mark".into(), style));
    }
    let grouped = ungroup(integer, style)?;
    if !style.declared && grouped.marks == 1 && fraction.is_empty() {
        return Err(format!(
            "may be {} or a decimal with a comma; declare `locale` or `format`",
            strip_zeros(&grouped.digits)
        ));
    }
    Ok(Decimal { negative: false, integer: strip_zeros(&grouped.digits).to_owned(), fraction: fraction.to_owned() })
}

/// Every sign that stands for a minus, by the lenient rules of CLDR: hyphens, dashes up to the en dash, minus, raised and
/// lowered minus, and the wide forms. A longer dash means that there is no number.
pub(super) fn is_minus(c: char) -> bool {
    matches!(
        c,
        '-' | '\u{2010}'..='\u{2013}' | '\u{207b}' | '\u{208b}' | '\u{2212}' | '\u{2796}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// Every sign that stands for a plus.
pub(super) fn is_plus(c: char) -> bool {
    matches!(c, '+' | '\u{207a}' | '\u{2795}' | '\u{fe62}' | '\u{ff0b}')
}

/// Takes one sign off: before, after, or brackets around. A second sign stays, and is refused with the digits.
pub(super) fn peel_sign(text: &str) -> Option<(bool, &str)> {
    if let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some((true, inner))
    } else if let Some(rest) = text.strip_prefix(is_minus) {
        Some((true, rest))
    } else if let Some(rest) = text.strip_prefix(is_plus) {
        Some((false, rest))
    } else {
        text.strip_suffix(is_minus).map(|rest| (true, rest))
    }
}

struct Grouped {
    digits: String,
    marks: usize,
}

fn ungroup(integer: &str, style: &Style) -> Result<Grouped, String> {
    let Some(mark) = integer.chars().find(|c| !c.is_ascii_digit()) else {
        return Ok(Grouped { digits: integer.to_owned(), marks: 0 });
    };
    let groups: Vec<&str> = integer.split(mark).collect();
    let digits = groups.concat();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("mixes two kinds of group mark".into());
    }
    let last = groups.len() - 1;
    let fits = groups.iter().enumerate().all(|(index, group)| match (style.grouping, index) {
        (Grouping::None, _) => false,
        (Grouping::Thousands, 0) => (1..=3).contains(&group.len()) && !group.starts_with('0'),
        (Grouping::Indian, 0) => (1..=2).contains(&group.len()) && !group.starts_with('0'),
        (Grouping::Indian, _) if index < last => group.len() == 2,
        (Grouping::Thousands | Grouping::Indian, _) => group.len() == 3,
    });
    if fits { Ok(Grouped { digits, marks: last }) } else { Err(refuse_groups(&groups, style)) }
}

fn refuse_groups(groups: &[&str], style: &Style) -> String {
    let looks_indian = groups.last().is_some_and(|group| group.len() == 3)
        && groups[1..groups.len() - 1].iter().all(|group| group.len() == 2);
    let wanted = match style.grouping {
        Grouping::Thousands => "groups of three",
        Grouping::Indian => "groups of two, and three at the end",
        Grouping::None => "no groups",
    };
    if looks_indian && groups.len() > 2 && style.grouping == Grouping::Thousands {
        return format!("is not in {wanted}; for Indian groups declare `locale: en-IN`");
    }
    with_hint(format!("is not in {wanted}"), style)
}

fn refuse_character(wrong: char, style: &Style) -> String {
    match wrong {
        '%' => "has a `%`; declare `type: percent`".into(),
        '(' | ')' => "has a bracket that is not around the whole number".into(),
        c if is_plus(c) => "has a `+` that does not stand first".into(),
        c if is_minus(c) => "has a second sign, or one inside".into(),
        c if c.is_whitespace() => with_hint("has white space inside".into(), style),
        '.' | ',' | '\'' | '\u{2019}' => with_hint(format!("has a `{wrong}` that its style does not know"), style),
        c if c.is_numeric() => format!("has `{c}`; only the digits 0 to 9 are read"),
        c if c.is_alphabetic() => {
            format!("has the letter `{c}`; declare `type: money` or `scale: true`, or pick the digits with `regex`")
        }
        c => format!(
            "has {}, which is no part of a number; declare `type: money`, or pick the digits with `regex`",
            c.escape_debug()
        ),
    }
}

fn with_hint(reason: String, style: &Style) -> String {
    if style.declared { reason } else { reason + "; declare `locale` or `format`" }
}

fn strip_zeros(digits: &str) -> &str {
    let stripped = digits.trim_start_matches('0');
    if stripped.is_empty() { "0" } else { stripped }
}

#[cfg(test)]
mod tests {
    use super::super::checks::numbers::{in_style, of_json, written};
    use super::*;
    use proptest::prelude::*;

    fn style(name: &str) -> Style {
        let (decimal, groups, grouping) = match name {
            "-" => return Style::undeclared(),
            "en" => ('.', ",", Grouping::Thousands),
            "en-IN" => ('.', ",", Grouping::Indian),
            "de" => (',', ".", Grouping::Thousands),
            "fr" => (',', " \u{a0}\u{202f}\u{2009}", Grouping::Thousands),
            "ch" => ('.', "'\u{2019}", Grouping::Thousands),
            "none" => ('.', "", Grouping::None),
            other => panic!("{other}"),
        };
        Style { decimal, groups: groups.into(), grouping, declared: true }
    }

    /// What is read, per style; every other text of the table below is refused.
    #[test]
    fn n8_numbers_that_are_read() {
        for (name, text, expected) in [
            ("-", "0", "0"),
            ("-", "7", "7"),
            ("-", "007", "7"),
            ("-", "59465.68", "59465.68"),
            ("-", "59465.60", "59465.60"),
            ("-", "59,465.68", "59465.68"),
            ("-", "1.234", "1.234"),
            ("-", "12.345", "12.345"),
            ("-", "0.00000001", "0.00000001"),
            ("-", ".5", "0.5"),
            ("-", "-.5", "-0.5"),
            ("-", "1,234,567", "1234567"),
            ("-", "1,234,567.8", "1234567.8"),
            ("-", "+28.75", "28.75"),
            ("-", "-28.75", "-28.75"),
            ("-", "\u{2212}28.75", "-28.75"),
            ("-", "\u{2013}28.75", "-28.75"),
            ("-", "\u{fe63}1", "-1"),
            ("-", "\u{ff0d}1", "-1"),
            ("-", "(1,234.56)", "-1234.56"),
            ("-", "(5)", "-5"),
            ("-", "28.75-", "-28.75"),
            ("-", "28.75\u{2212}", "-28.75"),
            ("-", " 1.5 ", "1.5"),
            ("-", "\u{a0}1.5\u{202f}", "1.5"),
            ("-", "-0.00", "-0.00"),
            ("-", "12345678901234567890123456789.123456789", "12345678901234567890123456789.123456789"),
            ("en", "1,234", "1234"),
            ("en", "12,345", "12345"),
            ("en", "123,456", "123456"),
            ("en", "1234", "1234"),
            ("en", "1234.5", "1234.5"),
            ("en", "-1,234.50", "-1234.50"),
            ("en-IN", "1,23,456.78", "123456.78"),
            ("en-IN", "12,34,567", "1234567"),
            ("en-IN", "1,00,00,000", "10000000"),
            ("en-IN", "59,465.68", "59465.68"),
            ("en-IN", "123.45", "123.45"),
            ("en-IN", "(1,23,456)", "-123456"),
            ("de", "1.234,56", "1234.56"),
            ("de", "1.234", "1234"),
            ("de", "12.345", "12345"),
            ("de", "0,45", "0.45"),
            ("de", "\u{2212}1.234.567,8", "-1234567.8"),
            ("fr", "1 234,56", "1234.56"),
            ("fr", "1\u{a0}234,56", "1234.56"),
            ("fr", "1\u{202f}234\u{202f}567,89", "1234567.89"),
            ("fr", "\u{2212}0,5", "-0.5"),
            ("ch", "1\u{2019}234.50", "1234.50"),
            ("ch", "1'234'567", "1234567"),
            ("none", "1234.56", "1234.56"),
            ("none", "-1", "-1"),
        ] {
            assert_eq!(
                read(text, &style(name)).map(|value| value.to_string()),
                Ok(expected.to_owned()),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn n8_texts_that_are_refused_without_a_declaration() {
        for text in [
            "",
            " ",
            "-",
            "--",
            "\u{2014}",
            "N/A",
            "1,234",
            "1,306",
            "-1,234",
            "(1,234)",
            "1,23,456.78",
            "12,34,567",
            "1,2",
            "1,2345",
            "1234,567.8",
            "0,123.4",
            "1.234,56",
            "1.234.567",
            "1 234",
            "1\u{a0}234",
            "1'234.5",
            "1\u{2019}234.50",
            "5.",
            ".",
            ",",
            ",5",
            "1,",
            "1,,234.0",
            "5e3",
            "0x10",
            "1/2",
            "+0.45%",
            "\u{2212}0.45%",
            "$5",
            "5 €",
            "₹1.5",
            "2.94T",
            "3,45,000 Cr",
            "+-1",
            "--1",
            "-1-",
            "(-1)",
            "(1",
            "1)",
            "- 5",
            "1-2",
            "1+",
            "24,834.85 +28.75 (0.12%)",
            "१२३",
            "١٢٣٫٤٥",
            "１２",
            "NaN",
            "∞",
            "½",
            "1\u{200e}2",
            "1\u{0}",
        ] {
            refused("-", text);
        }
        assert!(read(&"1".repeat(CHARS_MAX), &style("-")).is_ok());
        refused("-", &"1".repeat(CHARS_MAX + 1));
    }

    fn refused(name: &str, text: &str) {
        let result = read(text, &style(name)).map(|value| value.to_string());
        assert!(result.is_err(), "{name}: {text:?} was read as {result:?}");
    }

    #[test]
    fn texts_that_a_place_does_not_write() {
        for (name, text) in [
            ("en", "1.234,56"),
            ("en", "12,34"),
            ("en", "1,23,456"),
            ("en", "1,234.567,8"),
            ("en-IN", "123,456"),
            ("en-IN", "1,234,567"),
            ("en-IN", "12,3456"),
            ("de", "1,234.56"),
            ("de", "1.23"),
            ("de", "1.2345"),
            ("fr", "1 234\u{a0}567"),
            ("fr", "1.5"),
            ("fr", "1  234"),
            ("ch", "1\u{2019}234'567"),
            ("ch", "1,5"),
            ("none", "1,234.5"),
        ] {
            refused(name, text);
        }
    }

    #[test]
    fn reasons_say_what_to_do() {
        let reason = |text| read(text, &style("-")).unwrap_err();
        insta::assert_snapshot!(reason("1,234"), @"may be 1234 or a decimal with a comma; declare `locale` or `format`");
        insta::assert_snapshot!(reason("1,23,456.78"), @"is not in groups of three; for Indian groups declare `locale: en-IN`");
        insta::assert_snapshot!(reason("0.45%"), @"has a `%`; declare `type: percent`");
        insta::assert_snapshot!(reason("2.94T"), @"has the letter `T`; declare `type: money` or `scale: true`, or pick the digits with `regex`");
        insta::assert_snapshot!(reason("1.234.567"), @"has more than one `.`; declare `locale` or `format`");
        insta::assert_snapshot!(reason("१२३"), @"has `१`; only the digits 0 to 9 are read");
        insta::assert_snapshot!(reason("1 234"), @"has white space inside; declare `locale` or `format`");
        insta::assert_snapshot!(reason("$5"), @"has $, which is no part of a number; declare `type: money`, or pick the digits with `regex`");
    }

    #[test]
    fn decimals_compare_by_value() {
        let order = |a: &str, b: &str| Decimal::plain(a).unwrap().compare(&Decimal::plain(b).unwrap());
        for (a, b, expected) in [
            ("1", "2", Ordering::Less),
            ("10", "9", Ordering::Greater),
            ("1.5", "1.50", Ordering::Equal),
            ("1.05", "1.5", Ordering::Less),
            ("1.50", "1.49", Ordering::Greater),
            ("-1", "1", Ordering::Less),
            ("-2", "-1", Ordering::Less),
            ("-1.5", "-1.25", Ordering::Less),
            ("0", "-0.00", Ordering::Equal),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("0.1", "0.10000000000000000001", Ordering::Less),
        ] {
            assert_eq!(order(a, b), expected, "{a} {b}");
            assert_eq!(order(b, a), expected.reverse(), "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_what_is_read_is_json(text in "[-+0-9.,' ()%\u{2212}\u{a0}a]{0,12}", any in "\\PC{0,20}") {
            for name in ["-", "en", "en-IN", "de", "fr", "ch", "none"] {
                for text in [&text, &any] {
                    in_style(text, &style(name));
                }
            }
        }

        #[test]
        fn what_a_place_writes_reads_back(negative: bool, integer in "0|[1-9][0-9]{0,17}", fraction in "[0-9]{0,6}") {
            let value = Decimal { negative, integer, fraction };
            for name in ["en", "en-IN", "de", "fr", "ch", "none"] {
                let style = style(name);
                prop_assert_eq!(read(&written(&value.to_string(), &style), &style).unwrap(), value.clone());
            }
        }

        #[test]
        fn numbers_of_json_are_the_same_numbers(token in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?") {
            of_json(&token);
        }

        #[test]
        fn comparing_agrees_with_numbers(a in -100_000_i64..100_000, b in -100_000_i64..100_000) {
            let decimal = |scaled: i64| {
                let sign = if scaled < 0 { "-" } else { "" };
                Decimal::plain(&format!("{sign}{}.{:02}", scaled.abs() / 100, scaled.abs() % 100)).unwrap()
            };
            prop_assert_eq!(decimal(a).compare(&decimal(b)), a.cmp(&b));
        }
    }
}
