//! JSON that a page carries for machines: JSON-LD, the data of Next.js, what a script assigns.
//!
//! Paths run over a tree of `serde_json`, whose numbers are floats. So that no digit is lost, only the place of what they
//! find is taken from that tree: each value is then looked up at the same place in the page's own text. (The feature
//! `arbitrary_precision` would keep digits too, but it changes the type of every number in the whole program.)

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use regex::Regex;
use scraper::ElementRef;
use serde::Deserialize as _;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::{JsonPath, PathElement};

use super::page::Page;
use super::place::{Json, JsonFrom};

/// A JSON text may have so many values; each takes a hundred bytes as a tree.
const VALUES_MAX: usize = 300_000;

/// What was found in a page so far; nothing is parsed before it is asked for, nor twice.
pub(super) struct Embedded<'p> {
    page: &'p Page,
    linked: OnceCell<Result<Vec<Document>, String>>,
    next: OnceCell<Result<Vec<Document>, String>>,
    scripts: Vec<OnceCell<Result<Vec<Document>, String>>>,
}

/// One JSON text.
pub(super) struct Document {
    text: String,
    value: Value,
    root: Node,
}

/// Where a value stands in its text.
struct Node {
    range: Range<usize>,
    /// Known once somebody looks within.
    within: OnceCell<Inner>,
}

enum Inner {
    Members(BTreeMap<String, Node>),
    Elements(Vec<Node>),
    Nothing,
}

/// One value of a document.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    document: &'a Document,
    value: &'a Value,
    node: &'a Node,
}

/// What a value is as a field's text.
pub(super) enum Scalar<'a> {
    /// A string, or `true` and `false`.
    Text(Cow<'a, str>),
    /// A number with all its digits.
    Number(&'a str),
    Null,
    /// An object, or a list, which has none.
    Many(&'static str),
}

impl<'p> Embedded<'p> {
    /// Of a page whose plan looks for so many values in scripts.
    pub(super) fn new(page: &'p Page, scripts: usize) -> Self {
        let scripts = std::iter::repeat_with(OnceCell::new).take(scripts).collect();
        Self { page, linked: OnceCell::new(), next: OnceCell::new(), scripts }
    }

    /// Everything that a path finds; in JSON-LD it is tried on each thing.
    ///
    /// # Errors
    /// When the page has no such data, in words that go on after the rule.
    pub(super) fn find<'a>(&'a self, json: &Json, row: Option<Found<'a>>) -> Result<Vec<Found<'a>>, String> {
        let documents = match &json.from {
            JsonFrom::Row => return Ok(row.map_or_else(Vec::new, |row| row.query(&json.path))),
            JsonFrom::Linked => self.linked.get_or_init(|| self.linked()),
            JsonFrom::Next => self.next.get_or_init(|| self.next()),
            JsonFrom::Script(index, find) => self.scripts[*index].get_or_init(|| self.script(find)),
        };
        let documents = documents.as_ref().map_err(Clone::clone)?;
        let is_linked = matches!(json.from, JsonFrom::Linked);
        let things = documents.iter().map(Document::root);
        let things = things.flat_map(|root| if is_linked { root.things() } else { vec![root] });
        Ok(things.flat_map(|thing| thing.query(&json.path)).collect())
    }

    fn linked(&self) -> Result<Vec<Document>, String> {
        let is_linked = |kind: &str| kind.trim().eq_ignore_ascii_case("application/ld+json");
        let blocks = self.scripts_of(|script| script.attr("type").is_some_and(is_linked));
        if blocks.is_empty() {
            return Err("finds nothing, because the page has no JSON-LD".into());
        }
        // One broken block does not make the others so.
        let (good, bad): (Vec<_>, Vec<_>) =
            blocks.iter().map(|text| Document::parse(bare(text))).partition(Result::is_ok);
        match bad.into_iter().find_map(Result::err) {
            Some(reason) if good.is_empty() => Err(format!("finds nothing, because the page's JSON-LD {reason}")),
            _ => Ok(good.into_iter().flatten().collect()),
        }
    }

    fn next(&self) -> Result<Vec<Document>, String> {
        let blocks = self.scripts_of(|script| script.attr("id") == Some("__NEXT_DATA__"));
        let text = blocks.first().ok_or("finds nothing, because the page has no script `__NEXT_DATA__`")?;
        let document = Document::parse(text).map_err(|reason| format!("finds nothing, because it {reason}"))?;
        Ok(vec![document])
    }

    fn script(&self, find: &Regex) -> Result<Vec<Document>, String> {
        for text in self.scripts_of(|_| true) {
            let Some(captures) = find.captures(&text) else { continue };
            let whole = captures.get(0).expect("invariant: the whole match is there");
            let start = captures.name("value").or_else(|| captures.get(1)).map_or(whole.end(), |group| group.start());
            // Where the value ends is known only by reading it.
            let mut rest = serde_json::Deserializer::from_str(&text[start..]);
            let json = <&RawValue>::deserialize(&mut rest);
            let json = json.map_err(|_| "finds its place, and what begins there is not JSON")?.get();
            return Ok(vec![Document::parse(json)?]);
        }
        Err("finds no place in the page's scripts".into())
    }

    fn scripts_of(&self, wanted: impl Fn(ElementRef<'_>) -> bool) -> Vec<String> {
        let scripts = self.page.root().descendent_elements().filter(|element| element.value().name() == "script");
        scripts.filter(|script| wanted(*script)).map(|script| script.text().collect()).collect()
    }
}

/// JSON without what keeps it from old browsers.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("<!--").and_then(|text| text.strip_suffix("-->")).unwrap_or(text);
    let text = text.trim().strip_prefix("//<![CDATA[").and_then(|text| text.strip_suffix("//]]>")).unwrap_or(text);
    text.trim()
}

impl Document {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > VALUES_MAX {
            return Err(format!("has more than {VALUES_MAX} values"));
        }
        let value = serde_json::from_str(text).map_err(|error| {
            let mut reason = String::from("is not JSON");
            write!(reason, " ({error})").expect("invariant: a string takes all that is written");
            reason
        })?;
        let root = Node { range: 0..text.len(), within: OnceCell::new() };
        Ok(Self { text: text.to_owned(), value, root })
    }

    fn root(&self) -> Found<'_> {
        Found { document: self, value: &self.value, node: &self.root }
    }
}

impl Node {
    fn of(raw: &RawValue, text: &str) -> Self {
        // Both are of one allocation: the value was read from the text without a copy.
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        Self { range: start..start + raw.get().len(), within: OnceCell::new() }
    }

    /// What stands at an element of a path.
    fn at(&self, element: &PathElement<'_>, text: &str) -> Option<&Self> {
        let inner = self.within.get_or_init(|| {
            let own = &text[self.range.clone()];
            // As in the tree, the last of several members with one name counts.
            if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(own) {
                Inner::Members(members.into_iter().map(|(name, raw)| (name, Self::of(raw, text))).collect())
            } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(own) {
                Inner::Elements(elements.into_iter().map(|raw| Self::of(raw, text)).collect())
            } else {
                Inner::Nothing
            }
        });
        match (inner, element) {
            (Inner::Members(members), PathElement::Name(name)) => members.get(*name),
            (Inner::Elements(elements), PathElement::Index(index)) => elements.get(*index),
            _ => None,
        }
    }
}

impl<'a> Found<'a> {
    /// Everything that a path finds from here.
    fn query(self, path: &JsonPath) -> Vec<Self> {
        let found = path.query_located(self.value);
        found
            .iter()
            .filter_map(|located| {
                let mut node = self.node;
                for element in located.location().iter() {
                    node = node.at(element, &self.document.text)?;
                }
                Some(Self { document: self.document, value: located.node(), node })
            })
            .collect()
    }

    /// The things of a block of JSON-LD: itself, those of its list, those of its graph.
    fn things(self) -> Vec<Self> {
        let list = |at: &str, found: Self| {
            JsonPath::parse(at).map(|path| found.query(&path)).expect("invariant: the path is one")
        };
        if self.value.is_array() {
            return list("$[*]", self).into_iter().flat_map(Self::things).collect();
        }
        let mut things = vec![self];
        things.extend(list("$['@graph'][*]", self));
        things
    }

    /// Its text in the page.
    pub(super) fn raw(self) -> &'a str {
        &self.document.text[self.node.range.clone()]
    }

    /// What it is as a field's text.
    pub(super) fn scalar(self) -> Scalar<'a> {
        match self.value {
            Value::String(text) => Scalar::Text(Cow::Borrowed(text)),
            Value::Bool(value) => Scalar::Text(Cow::Borrowed(if *value { "true" } else { "false" })),
            Value::Number(_) => Scalar::Number(self.raw()),
            Value::Null => Scalar::Null,
            Value::Array(_) => Scalar::Many("a list"),
            Value::Object(_) => Scalar::Many("an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::checks::paths::find;

    fn found(document: &Value, path: &str) -> Result<Vec<Value>, String> {
        let found = find(&document.to_string(), path)?;
        Ok(found.iter().map(|raw| serde_json::from_str(raw).unwrap()).collect())
    }

    #[test]
    fn paths_find_what_they_say() {
        let document = serde_json::json!({ "a": [{ "b": 1.10 }, { "b": 2, "c": "<é" }], "d": null });
        for (path, expected) in [
            ("$.a[*].b", "[1.1,2]"),
            ("$.a[?@.c].b", "[2]"),
            ("$..c", r#"["<é"]"#),
            ("$.a[-1:].b", "[2]"),
            ("$.d", "[null]"),
            ("$.e", "[]"),
        ] {
            assert_eq!(serde_json::to_string(&found(&document, path).unwrap()).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_ends_within_a_character_is_none() {
        for path in ["$['\\u", "$['\\u00e", "$['\\u00e']", "$['\\ud83d\\u", "$[?f(@,\"\\\\\\u0"] {
            assert!(find("{}", path).unwrap_err().contains("is not a JSONPath"), "{path}");
        }
        for path in ["$['\\u00e9']", "$['\\\\u']", "$['\\uD83D\\uDE00']"] {
            assert_eq!(find(r#"{"é":1,"\\u":1,"😀":1}"#, path), Ok(vec!["1".to_owned()]), "{path}");
        }
    }

    /// The compliance tests of RFC 9535, where they are: `TAPLINE_JSONPATH_CTS=cts.json cargo test compliance`. They are
    /// not ours to ship.
    #[test]
    fn g12_compliance() {
        let Some(file) = std::env::var_os("TAPLINE_JSONPATH_CTS") else { return };
        let suite: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
        for test in suite["tests"].as_array().unwrap() {
            let path = test["selector"].as_str().unwrap();
            let is_invalid = test["invalid_selector"].as_bool().unwrap_or(false);
            match found(&test["document"], path) {
                Err(_) if is_invalid => passed += 1,
                // What would look at each value many times is refused on purpose.
                Err(why) if !why.contains("is not a JSONPath") => refused += 1,
                Ok(values) if !is_invalid => {
                    let is_it = |result: &Value| result.as_array().is_some_and(|result| *result == values);
                    let any = test["results"].as_array().is_some_and(|results| results.iter().any(is_it));
                    if any || is_it(&test["result"]) { passed += 1 } else { wrong.push(format!("{path}: {values:?}")) }
                }
                other => wrong.push(format!("{path}: {other:?}")),
            }
        }
        assert!(wrong.is_empty(), "{passed} passed, {refused} refused; wrong: {wrong:#?}");
        println!("{passed} passed, {refused} refused");
    }
}
