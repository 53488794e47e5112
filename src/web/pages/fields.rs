//! What stands in a record's data: its fields, with their values as upstream wrote them.

use serde_json::value::RawValue;

use crate::pairs::Object;

/// How deep objects are looked into.
const DEPTH_MAX: usize = 3;

/// How many fields are looked at.
const FIELDS_MAX: usize = 60;

/// A longer value is cut where it is shown in a line, in characters.
const SHOWN_MAX: usize = 60;

/// Every scalar in an object, by its path, as JSON.
pub(super) fn scalars(data: &RawValue) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    collect(data, "", 0, &mut found);
    found
}

fn collect<'a>(value: &'a RawValue, path: &str, depth: usize, found: &mut Vec<(String, &'a str)>) {
    let text = value.get();
    if found.len() >= FIELDS_MAX || text.starts_with('[') {
        return;
    }
    if !text.starts_with('{') {
        found.push((path.to_owned(), text));
        return;
    }
    if depth == DEPTH_MAX {
        return;
    }
    let Some(object) = Object::read(value) else { return };
    for (key, value) in object.0 {
        let path = if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") };
        collect(value, &path, depth + 1, found);
    }
}

/// The value as a number, for a picture.
pub(super) fn number(json: &str) -> Option<f64> {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then(|| json.parse().ok().filter(|value: &f64| value.is_finite()))
        .flatten()
}

/// A record's data in one line: its first scalars, under the last parts of their paths. What only names other things
/// tells a person nothing, and comes only where there is nothing else.
pub(super) fn in_line(data: &RawValue, most: usize, between: &str) -> String {
    let all = scalars(data);
    let (names, values): (Vec<_>, Vec<_>) =
        all.iter().filter(|(_, value)| *value != "null").partition(|(path, _)| is_name(last_part(path)));
    let parts = values.into_iter().chain(names).take(most).map(|(path, value)| {
        let text: String = serde_json::from_str(value).unwrap_or_else(|_| (*value).to_owned());
        let (path, text) = (last_part(path), cut(&text, SHOWN_MAX));
        if path.is_empty() { text } else { format!("{path}{between}{text}") }
    });
    parts.collect::<Vec<_>>().join(" · ")
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn is_name(key: &str) -> bool {
    key == "id" || key.ends_with("_id")
}

/// A text of at most so many characters, in one line.
pub(super) fn cut(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn scalars_have_paths_and_stay_as_they_were_written() {
        let data = raw(r#"{"price":59465.680,"of":{"open":1e3,"name":"a\"b"},"list":[1],"none":null}"#);
        assert_eq!(
            scalars(&data),
            [
                ("price".into(), "59465.680"),
                ("of.open".into(), "1e3"),
                ("of.name".into(), r#""a\"b""#),
                ("none".into(), "null")
            ]
        );
        assert_eq!(in_line(&data, 3, " "), "price 59465.680 · open 1e3 · name a\"b");
        assert_eq!(in_line(&raw("7.50"), 3, " "), "7.50");
        assert_eq!(in_line(&raw(r#"{"data":{"id":"1","text":"rain"}}"#), 3, " "), "text rain · id 1");
        assert_eq!(number("59465.680"), Some(59465.68));
        for none in ["\"1\"", "null", "true", "[1]"] {
            assert_eq!(number(none), None, "{none}");
        }
    }

    #[test]
    fn deep_and_wide_data_is_looked_at_only_so_far() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        assert!(scalars(&raw(&deep)).is_empty());
        let keys: Vec<String> = (0..1000).map(|n| format!("\"k{n}\":{n}")).collect();
        assert_eq!(scalars(&raw(&format!("{{{}}}", keys.join(",")))).len(), FIELDS_MAX);
        assert_eq!(cut("a  b\n c", 3), "a b…");
    }
}
