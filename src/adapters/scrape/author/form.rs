//! How a text is written: the type and the format that a field of it would declare.

use serde_json::{Value, json};

use super::super::convert::Convert;
use super::super::currency;
use super::super::locale::Locale;
use super::super::settings::Field;

/// A longer text is no number.
const NUMBER_CHARS_MAX: usize = 40;
/// Customs that are tried where nobody says which one it is. Of the first that reads the text the reader is told that it
/// is a guess.
const GUESSED: [&str; 4] = ["en", "en-IN", "de", "fr"];

/// What a field of this text declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Form {
    pub(super) keys: Vec<(&'static str, Value)>,
    /// What somebody should look at.
    pub(super) note: Option<String>,
}

/// How `text` is written, on a page in the language `lang`, by the custom of `asked` where somebody says it.
pub(super) fn form(text: &str, lang: Option<&str>, asked: Option<&str>) -> Form {
    if chrono::DateTime::parse_from_rfc3339(text.trim()).is_ok() {
        return Form { keys: vec![("type", json!("datetime"))], note: None };
    }
    let is_short = text.chars().count() <= NUMBER_CHARS_MAX;
    if !is_short || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Form::default();
    }
    let of_page = lang.and_then(locale_of);
    for keys in kinds(text) {
        if let Some(form) = by_custom(text, &keys, of_page.as_deref(), asked) {
            return form;
        }
    }
    Form::default()
}

/// What it may be, the plainest first.
fn kinds(text: &str) -> Vec<Vec<(&'static str, Value)>> {
    let kind = |word: &str| ("type", json!(word));
    let mut found = vec![
        vec![kind("percent")],
        vec![kind("number")],
        vec![kind("number"), ("scale", json!(true))],
        vec![kind("money")],
        vec![kind("money"), ("scale", json!(true))],
    ];
    if let Some(code) = guessed_currency(text) {
        found.push(vec![kind("money"), ("currency", json!(code))]);
        found.push(vec![kind("money"), ("currency", json!(code)), ("scale", json!(true))]);
    }
    found
}

fn by_custom(text: &str, keys: &[(&'static str, Value)], of_page: Option<&str>, asked: Option<&str>) -> Option<Form> {
    let with = |locale: Option<&str>| {
        let mut keys = keys.to_vec();
        keys.extend(locale.map(|locale| ("locale", json!(locale))));
        Some((keys.clone(), read(text, &keys)?))
    };
    let shown: String = text.trim().chars().take(NUMBER_CHARS_MAX).collect();
    let shown = shown.escape_debug();
    let mut notes: Vec<String> = Vec::new();
    if keys.iter().any(|(key, _)| *key == "currency") {
        let meanings = signs(text).map(|(_, meanings)| meanings.join(", ")).unwrap_or_default();
        notes.push(format!("`{shown}` may be in {meanings}: `currency` is a guess"));
    }
    let plain = with(None);
    let keys = match (asked.and_then(|asked| with(Some(asked))), of_page.and_then(|lang| with(Some(lang)))) {
        (Some((keys, _)), _) => keys,
        (None, Some((keys, value))) => {
            if plain.as_ref().is_none_or(|(_, other)| *other != value) {
                notes.push(format!("`{shown}` is {value} by the page's language, and may be another number elsewhere"));
            }
            keys
        }
        (None, None) => {
            if let Some((keys, _)) = plain {
                keys
            } else {
                let (keys, value) = GUESSED.iter().find_map(|guess| with(Some(*guess)))?;
                notes.push(format!("`{shown}` is read as {value}: `locale` is a guess, say which it is"));
                keys
            }
        }
    };
    Some(Form { keys, note: (!notes.is_empty()).then(|| notes.join("; ")) })
}

/// The value that a field with these keys reads, if it reads one.
fn read(text: &str, keys: &[(&'static str, Value)]) -> Option<String> {
    let map: serde_json::Map<String, Value> =
        keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let field: Field = serde_json::from_value(Value::Object(map)).ok()?;
    let mut problems = Vec::new();
    let convert = Convert::new(&field, &[], &mut problems);
    problems.is_empty().then(|| convert.convert(text).ok())?.map(|value| value.json)
}

/// The custom of a language as pages name it, such as `en-IN` or `de-DE`.
fn locale_of(lang: &str) -> Option<String> {
    let is_known = |word: &str| serde_json::from_value::<Locale>(json!(word)).is_ok();
    let lang = lang.trim().replace('_', "-");
    let (language, country) = lang.split_once('-').unwrap_or((&lang, ""));
    let (language, country) = (language.to_ascii_lowercase(), country.to_ascii_uppercase());
    let exact = format!("{language}-{country}");
    match country.as_str() {
        "CH" | "LI" if is_known("ch") => Some("ch".into()),
        _ if is_known(&exact) => Some(exact),
        _ => is_known(&language).then_some(language),
    }
}

/// The sign of a currency in a text that several countries use, and whose it may be.
fn signs(text: &str) -> Option<(&str, Vec<&'static str>)> {
    let is_mark =
        |c: char| c.is_ascii_digit() || c.is_whitespace() || matches!(c, ',' | '.' | '-' | '+' | '\'' | '(' | ')');
    text.split(is_mark).filter(|part| !part.is_empty()).find_map(|sign| {
        let meanings = currency::meanings(sign);
        (meanings.len() > 1).then_some((sign, meanings))
    })
}

fn guessed_currency(text: &str) -> Option<&'static str> {
    signs(text)?.1.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_what_they_are() {
        let of = |text: &str, lang: Option<&str>, asked: Option<&str>| {
            let form = form(text, lang, asked);
            let keys: Vec<String> =
                form.keys.iter().map(|(key, value)| format!("{key}: {value}").replace('"', "")).collect();
            keys.join(", ") + &form.note.map_or_else(String::new, |note| format!(" # {note}"))
        };
        assert_eq!(of("59,465.68", None, None), "type: number");
        assert_eq!(of("59,465.68", Some("en-IN"), None), "type: number, locale: en-IN");
        assert_eq!(
            of("1,23,456.78", None, None),
            "type: number, locale: en-IN # `1,23,456.78` is read as 123456.78: `locale` is a guess, say which it is"
        );
        assert_eq!(of("1,234", None, Some("de")), "type: number, locale: de");
        assert_eq!(
            of("1,234", None, None),
            "type: number, locale: en # `1,234` is read as 1234: `locale` is a guess, say which it is"
        );
        assert_eq!(
            of("1.234", Some("de-DE"), None),
            "type: number, locale: de # `1.234` is 1234 by the page's language, and may be another number elsewhere"
        );
        assert_eq!(
            of("1’234.50", Some("de-CH"), None),
            "type: number, locale: ch # `1’234.50` is 1234.50 by the page's language, and may be another number elsewhere"
        );
        assert_eq!(of("-0.45%", None, None), "type: percent");
        assert_eq!(of("₹1,234.50", None, None), "type: money");
        assert_eq!(of("2.94T", None, None), "type: number, scale: true");
        assert!(of("$5.00", None, None).starts_with("type: money, currency: USD # `$5.00` may be in USD, CAD"));
        assert_eq!(of("2026-11-23T07:04:05Z", None, None), "type: datetime");
        for text in ["NIFTY 50", "", "Reliance", "23-Nov-2026", "a 1 b 2"] {
            assert_eq!(of(text, Some("en"), None), "", "{text}");
        }
    }
}
