//! Secrets: what came into a YAML file by `${NAME}` or `${file:…}`, so that it is never shown again.
//!
//! Adapters and stores leave secrets out of what they say. This is the second line: whatever goes out as a log line, an
//! entry of the ledger, a reject, a page or a metric passes here, and a value that was put in is replaced. Records are
//! not touched: they are upstream's own.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// A shorter value is no secret, and would tear holes into words.
const LEN_MIN: usize = 4;

/// A longer one is a list, or a certificate, and nothing that a message repeats as a whole.
const LEN_MAX: usize = 8 * 1024;

/// What stands where a secret was.
const INSTEAD: &str = "${…}";

/// One set for the process, because the log is one for the process.
static KNOWN: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Remembers a value that must not be shown: as it is, and as it stands in an address, in JSON and on a page.
pub fn keep(value: &str) {
    let value = value.trim();
    if !(LEN_MIN..=LEN_MAX).contains(&value.len()) {
        return;
    }
    let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = Value::from(value).to_string();
    let html = value.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;");
    let html = html.replace('"', "&#34;").replace('\'', "&#39;");
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.extend([value.to_owned(), html, encoded.replace('+', "%20"), encoded, json[1..json.len() - 1].to_owned()]);
}

/// The text without any secret.
pub fn hide(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut hidden = Cow::Borrowed(text);
    // The longest first: one may be a part of another.
    let mut found: Vec<&String> = known.iter().filter(|secret| text.contains(secret.as_str())).collect();
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in found {
        hidden = Cow::Owned(hidden.replace(secret.as_str(), INSTEAD));
    }
    hidden
}

/// JSON whose texts are without any secret.
pub fn hide_json(json: Box<RawValue>) -> Box<RawValue> {
    if matches!(hide(json.get()), Cow::Borrowed(_)) {
        return json;
    }
    let mut value: Value = serde_json::from_str(json.get()).expect("invariant: it is JSON already");
    hide_in(&mut value);
    to_raw_value(&value).expect("invariant: a value has a JSON form")
}

fn hide_in(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(hidden) = hide(text) {
                *text = hidden;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_in),
        Value::Object(entries) => entries.values_mut().for_each(hide_in),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all, because the set is one for the process.
    #[test]
    fn what_was_put_in_is_not_shown() {
        keep("hush \"hush\" ünder/1");
        keep("hush-longer-secret");
        keep("hush-longer");
        keep("abc");
        keep("918273645");
        for (text, expected) in [
            ("nothing here", "nothing here"),
            ("is hush \"hush\" ünder/1!", "is ${…}!"),
            ("http://h/?a=hush+%22hush%22+%C3%BCnder%2F1", "http://h/?a=${…}"),
            ("http://h/hush%20%22hush%22%20%C3%BCnder%2F1", "http://h/${…}"),
            ("hush-longer-secret and hush-longer", "${…} and ${…}"),
            ("abc is too short", "abc is too short"),
        ] {
            assert_eq!(hide(text), expected);
        }
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let hidden = hide_json(json(r#"{"why":"hush \"hush\" ünder/1","n":918273645,"list":["918273645"]}"#));
        assert_eq!(hidden.get(), r#"{"why":"${…}","n":918273645,"list":["${…}"]}"#);
        assert_eq!(hide_json(json(r#"{"a" : 1}"#)).get(), r#"{"a" : 1}"#, "token for token");
    }
}
