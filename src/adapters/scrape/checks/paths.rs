//! Paths into the JSON of a page: what is found is what the path means, with the digits that stand there.

use serde_json::Value;
use serde_json_path::JsonPath;

use super::super::embedded::{Embedded, Scalar};
use super::super::page::Page;
use super::super::place::json_of;
use super::super::plan::Compiling;
use super::super::settings::Script;

/// What a path finds in a JSON text that stands in a page's script, as it stands there.
pub(in super::super) fn find(json: &str, path: &str) -> Result<Vec<String>, String> {
    let script = Script { find: "data = ".into(), path: path.to_owned() };
    let place = json_of(None, None, Some(&script), &mut Compiling::default())?.expect("a script is named");
    let page = Page::parse(&format!("<script>data = {};</script>", json.replace('<', "\\u003c")))
        .map_err(|refused| refused.to_string())?;
    let embedded = Embedded::new(&page, 1);
    let found = embedded.find(&place, None)?;
    for one in &found {
        let value: Value = serde_json::from_str(one.raw()).expect("what is found is JSON");
        let is_same = match one.scalar() {
            Scalar::Text(text) => value.as_str() == Some(&*text) || value.is_boolean() && text == value.to_string(),
            Scalar::Number(token) => value.is_number() && token == one.raw(),
            Scalar::Null => value.is_null(),
            Scalar::Many(_) => value.is_array() || value.is_object(),
        };
        assert!(is_same, "{path} in {json} finds {}", one.raw());
    }
    Ok(found.into_iter().map(|one| one.raw().to_owned()).collect())
}

/// The same as the library finds in a tree of its own.
pub(in super::super) fn found(path: &str, json: &str) {
    let Ok(found) = find(json, path) else { return };
    // Of text that only begins like JSON the beginning is taken.
    let Ok(value) = serde_json::from_str::<Value>(json) else { return };
    let parsed = JsonPath::parse(path).expect("it was one");
    let read = |raw: &String| serde_json::from_str(raw).expect("what is found is JSON");
    let found: Vec<Value> = found.iter().map(read).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), parsed.query(&value).all(), "{path} in {json}");
}
