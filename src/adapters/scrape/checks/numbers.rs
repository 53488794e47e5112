//! Numbers: what is read is a number of JSON with the digits that were there, and what a place writes reads back.

use std::cmp::Ordering;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::amount::Scales;
use super::super::convert::Convert;
use super::super::number::{Decimal, Grouping, Style, read};

const DECLARATIONS: [&str; 18] = [
    "type: number",
    "{type: number, locale: en}",
    "{type: number, locale: en-IN}",
    "{type: number, locale: de}",
    "{type: number, locale: fr}",
    "{type: number, locale: ch}",
    "{type: number, format: {decimal: '.'}}",
    "{type: number, format: {decimal: '·', group: '_'}}",
    "{type: integer, locale: en}",
    "type: percent",
    "{type: percent, locale: de}",
    "{type: number, scale: true}",
    "{type: number, scale: true, locale: de}",
    "{type: money, scale: true}",
    "{type: money, scale: true, locale: en-IN}",
    "{type: money, currency: USD, scale: true, locale: en-IN}",
    "{type: money, currency: EUR, scale: [T, Mrd, K], locale: de}",
    "{type: money, locale: fr}",
];

static ALL: LazyLock<Vec<Convert>> = LazyLock::new(|| DECLARATIONS.iter().map(|one| converter(one)).collect());

/// What makes a value of a text that is declared like this.
pub(in super::super) fn converter(declaration: &str) -> Convert {
    let mut problems = Vec::new();
    let convert = Convert::new(&super::declared(declaration), &["fields", "f"], &mut problems);
    assert!(problems.is_empty(), "{declaration}: {problems:?}");
    convert
}

pub(super) fn any(choice: u8, text: &str) {
    let convert = &ALL[usize::from(choice) % ALL.len()];
    converted(convert, text);
    if let Convert::Number { amounts, .. } = convert {
        in_style(text, &amounts.style);
    }
    in_style(text, &Style::undeclared());
    of_json(text);
}

/// A text as a field's value.
pub(in super::super) fn converted(convert: &Convert, text: &str) {
    let Ok(value) = convert.convert(text) else { return };
    assert_eq!(convert.convert(&format!(" {text}\u{a0}")).as_ref(), Ok(&value), "with space around {text:?}");
    let Convert::Number { amounts, integer, .. } = convert else { return };
    let token = amount_of(&value.json);
    is_number(token);
    assert!(!integer || !token.contains('.'), "{text:?} is the integer {token}");
    // A scale only makes zeros at the end, at most those of a million millions.
    let zeros = digits(token).strip_prefix(&digits(text)).map(str::to_owned);
    let most = if amounts.scales == Scales::None { 0 } else { 12 };
    let is_exact = zeros.as_ref().is_some_and(|zeros| zeros.len() <= most && zeros.bytes().all(|digit| digit == b'0'));
    assert!(is_exact, "{text:?} was read as {token}");
}

/// A text as a number in a style.
pub(in super::super) fn in_style(text: &str, style: &Style) {
    let Ok(value) = read(text, style) else { return };
    let token = value.to_string();
    is_number(&token);
    assert_eq!(digits(text), digits(&token), "{text:?} in {style:?}");
    assert_eq!(read(&format!("\u{a0}{text}\n"), style).as_ref(), Ok(&value), "with space around {text:?}");
    // What is read without a declaration is what the same style says where it is declared.
    let declared = Style { declared: true, ..style.clone() };
    assert_eq!(read(text, &declared).as_ref(), Ok(&value), "{text:?} in {declared:?}");
    let again = written(&token, &declared);
    // Marks make it longer, and there is a limit.
    if again.chars().count() <= 100 {
        assert_eq!(read(&again, &declared).as_ref(), Ok(&value), "{text:?} written again as {again:?}");
    }
}

/// A number of JSON is the same number in the record, to the last digit.
pub(in super::super) fn of_json(text: &str) {
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return };
    let token = raw.get();
    if !token.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return;
    }
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let Ok(value) = Decimal::of_json(token) else {
        let is_far = exponent.parse::<i64>().map_or(true, |exponent| exponent.abs() > 100);
        assert!(mantissa.len() > 100 || is_far, "{token} was refused");
        return;
    };
    let written = value.to_string();
    is_number(&written);
    let significant = |text: &str| digits(text).trim_end_matches('0').to_owned();
    assert_eq!(significant(&written), significant(mantissa), "{token} became {written}");
    // Where the mark stands is what a float knows for certain.
    assert_eq!(written.parse::<f64>(), token.parse::<f64>(), "{token} became {written}");
    assert_eq!(value.compare(&value), Ordering::Equal);
}

/// Writes a plain number as a place does: the oracle of the reader.
pub(in super::super) fn written(token: &str, style: &Style) -> String {
    let (negative, token) = token.strip_prefix('-').map_or((false, token), |token| (true, token));
    let (integer, fraction) = token.split_once('.').unwrap_or((token, ""));
    let mark = style.groups.chars().last();
    let mut text = String::from(if negative { "\u{2212}" } else { "" });
    for (index, digit) in integer.char_indices() {
        let left = integer.len() - index;
        let ends_group = match style.grouping {
            Grouping::Thousands => left.is_multiple_of(3),
            Grouping::Indian => left == 3 || left > 3 && left % 2 == 1,
            Grouping::None => false,
        };
        if index > 0 && ends_group {
            text.extend(mark);
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push(style.decimal);
        text.push_str(fraction);
    }
    text
}

#[derive(Deserialize)]
struct Money<'a> {
    #[serde(borrow)]
    amount: &'a RawValue,
    currency: &'a str,
}

/// The number in a value, which may be money.
fn amount_of(json: &str) -> &str {
    if !json.starts_with('{') {
        return json;
    }
    let money: Money<'_> = serde_json::from_str(json).expect("money is JSON");
    assert_eq!(money.currency.len(), 3, "{json}");
    money.amount.get()
}

fn is_number(token: &str) {
    assert!(serde_json::from_str::<&RawValue>(token).is_ok_and(|raw| raw.get() == token), "{token:?} is not JSON");
    assert!(token.ends_with(|last: char| last.is_ascii_digit()), "{token:?} is no number");
}

/// Its digits, without the zeros before them.
fn digits(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let stripped = digits.trim_start_matches('0');
    if stripped.is_empty() { "0".into() } else { stripped.into() }
}
