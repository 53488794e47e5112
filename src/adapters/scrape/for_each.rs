//! `for_each`: the values for which one file asks, page by page.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_untagged::UntaggedEnumVisitor;

use super::settings::Fields;
use crate::pairs::Pairs;
use crate::source::Problem;
use crate::words::Words;

/// The most pages that one file is written out to. At ten requests a second, which is what manners allow by default,
/// they take a minute.
const PAGES_MAX: usize = 500;
/// The longest value. A longer one is no symbol.
const VALUE_CHARS_MAX: usize = 200;
/// Names that mean something else in braces.
const RESERVED: [&str; 2] = ["date", "page"];

/// The values for which pages are asked: lists by name, of which all combinations are, or a list of maps.
#[derive(Debug, Clone, Default)]
pub struct ForEach {
    /// In the order of the file.
    pub(super) names: Vec<String>,
    /// The values of each page, in the order of the names. Of too many there are none.
    pub(super) all: Vec<Vec<String>>,
    /// How many pages the file asks for.
    count: usize,
    /// Below `for_each`.
    problems: Vec<Problem>,
}

/// Whether the values of `for_each` are put into the records: all of them, none, or those that are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum InData {
    /// All, or none.
    All(bool),
    /// Those of these names.
    Named(Vec<String>),
}

impl ForEach {
    /// What a page is called: `symbol=NIFTY50`.
    pub(super) fn label(&self, values: &[String]) -> String {
        let pairs = self.names.iter().zip(values).map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// The indexes of the names whose values are put into the records.
    pub(super) fn in_data(&self, which: Option<&InData>) -> Vec<usize> {
        let is_put = |name: &String| match which {
            None => true,
            Some(InData::All(all)) => *all,
            Some(InData::Named(names)) => names.contains(name),
        };
        (0..self.names.len()).filter(|index| is_put(&self.names[*index])).collect()
    }

    /// What is wrong with it, with its paths.
    pub(super) fn problems(&self, which: Option<&InData>, fields: &Fields) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        if self.count > PAGES_MAX {
            let message = format!(
                "these are {} pages, and at most {PAGES_MAX} are asked for at one tick; write several sources",
                self.count
            );
            problems.push(Problem::new(["for_each"], message));
        }
        if let Some(InData::Named(names)) = which {
            let unknown = names.iter().enumerate().filter(|(_, name)| !self.names.contains(name));
            problems.extend(unknown.map(|(index, name)| {
                let message = format!("`{}` is no name of `for_each`", name.escape_debug());
                Problem::new(["values_in_data".to_owned(), index.to_string()], message)
            }));
        }
        let put = self.in_data(which);
        let twice = put.iter().map(|index| &self.names[*index]).filter(|name| fields.has(name));
        problems.extend(twice.map(|name| {
            let message = format!(
                "`for_each` puts its `{name}` into each record already; rename one, or write `values_in_data: false`"
            );
            Problem::new(["fields", name], message)
        }));
        problems
    }
}

/// Lists by name become all combinations.
fn combined(lists: Vec<(String, Vec<String>)>) -> ForEach {
    let count = lists.iter().fold(1_usize, |count, (_, values)| count.saturating_mul(values.len()));
    let mut problems = Vec::new();
    for (name, values) in &lists {
        check_name(name, &["for_each", name], &mut problems);
        let mut seen = BTreeSet::new();
        for (index, value) in values.iter().enumerate() {
            let path = ["for_each".to_owned(), name.clone(), index.to_string()];
            check_value(value, seen.insert(value), &path, &mut problems);
        }
        if values.is_empty() {
            problems.push(Problem::new(["for_each", name], "the list is empty, so that nothing would be asked for"));
        }
    }
    let mut all = vec![Vec::new()];
    if count <= PAGES_MAX {
        for (_, values) in &lists {
            let with = |before: &Vec<String>| {
                let before = before.clone();
                values.iter().map(move |value| [before.as_slice(), std::slice::from_ref(value)].concat())
            };
            all = all.iter().flat_map(with).collect();
        }
    } else {
        all.clear();
    }
    ForEach { names: lists.into_iter().map(|(name, _)| name).collect(), all, count, problems }
}

/// A list of maps: each is a page.
fn listed(maps: &[Vec<(String, Vec<String>)>]) -> ForEach {
    let names: Vec<String> = maps.first().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mut problems = Vec::new();
    for name in &names {
        check_name(name, &["for_each", "0", name], &mut problems);
    }
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, map) in maps.iter().enumerate() {
        let at = |name: &str| ["for_each".to_owned(), index.to_string(), name.to_owned()];
        for (name, _) in map.iter().filter(|(name, _)| !names.contains(name)) {
            problems.push(Problem::new(at(name), "the first of the list has no such name; all have the same"));
        }
        let mut values = Vec::new();
        for name in &names {
            match map.iter().find(|(own, _)| own == name).map(|(_, own)| own.as_slice()) {
                Some([value]) => {
                    check_value(value, true, &at(name), &mut problems);
                    values.push(value.clone());
                }
                Some(_) => problems.push(Problem::new(at(name), "one value is wanted here")),
                None => {
                    let message = format!("`{name}` is missing; all of the list have the same names");
                    problems.push(Problem::new(["for_each".to_owned(), index.to_string()], message));
                }
            }
        }
        if !seen.insert(values.clone()) {
            let path = ["for_each".to_owned(), index.to_string()];
            problems.push(Problem::new(path, "this is in the list twice; leave one out"));
        }
        all.push(values);
    }
    let count = all.len();
    if count == 0 {
        problems.push(Problem::new(["for_each"], "the list is empty, so that nothing would be asked for"));
    }
    ForEach { names, all: if count > PAGES_MAX { Vec::new() } else { all }, count, problems }
}

fn check_name(name: &str, path: &[&str], problems: &mut Vec<Problem>) {
    let is_plain = |next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | '-');
    let message = if RESERVED.contains(&name) {
        format!("`{{{name}}}` means something else already; choose another name")
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.chars().all(is_plain) {
        "a name has letters, digits, `_` and `-`, and begins with a letter".to_owned()
    } else {
        return;
    };
    problems.push(Problem::new(path.iter().copied(), message));
}

fn check_value(value: &str, is_new: bool, path: &[String], problems: &mut Vec<Problem>) {
    let message = if !is_new {
        "this is in the list twice; leave one out".to_owned()
    } else if value.is_empty() {
        "an empty value names no page".to_owned()
    } else if value.chars().any(char::is_control) {
        "a value is one line of plain text".to_owned()
    } else if value.chars().count() > VALUE_CHARS_MAX {
        format!("a value has at most {VALUE_CHARS_MAX} characters")
    } else {
        return;
    };
    problems.push(Problem::new(path.iter().cloned(), message));
}

/// A list's values: of a text with several lines each line is one, but for empty ones and those that begin with `#`.
fn values(Words(words): Words) -> Vec<String> {
    let lines = |word: String| -> Vec<String> {
        if !word.contains('\n') {
            return vec![word];
        }
        let lines = word.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    words.into_iter().flat_map(lines).collect()
}

/// A map's entries in the order of the file.
struct Entries(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a map of names and values, such as `{ symbol: NIFTY50 }`")
            .map(|map| {
                let Pairs(entries) = map.deserialize::<Pairs<_, _>>()?;
                Ok(Self(entries.into_iter().map(|(name, words)| (name, values(words))).collect()))
            })
            .deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for ForEach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("lists of values by name, such as `{ symbol: [NIFTY50, BANKNIFTY] }`, or a list of maps")
            .map(|map| {
                let Entries(lists) = map.deserialize()?;
                if lists.is_empty() {
                    return Err(de::Error::custom("a name with its values is wanted, such as `{ symbol: [NIFTY50] }`"));
                }
                Ok(combined(lists))
            })
            .seq(|list| {
                let maps = list.deserialize::<Vec<Entries>>()?;
                Ok(listed(&maps.into_iter().map(|map| map.0).collect::<Vec<_>>()))
            })
            .deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for InData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("true, false, or a list of the names that are put into records")
            .bool(|all| Ok(Self::All(all)))
            .seq(|list| list.deserialize().map(Self::Named))
            .deserialize(deserializer)
    }
}

impl JsonSchema for ForEach {
    fn schema_name() -> Cow<'static, str> {
        "ForEach".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = json_schema!({ "type": ["string", "number", "boolean"] });
        json_schema!({ "anyOf": [
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": { "anyOf": [value, { "type": "array", "items": value }] },
            },
            { "type": "array", "items": { "type": "object", "additionalProperties": value } },
        ] })
    }
}

impl JsonSchema for InData {
    fn schema_name() -> Cow<'static, str> {
        "InData".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(value: serde_json::Value) -> Vec<String> {
        let for_each: ForEach = serde_json::from_value(value).unwrap();
        for_each.all.iter().map(|values| for_each.label(values)).collect()
    }

    #[test]
    fn each_form_becomes_pages() {
        assert_eq!(labels(json!({ "symbol": ["A", 5, true] })), ["symbol=A", "symbol=5", "symbol=true"]);
        assert_eq!(labels(json!({ "symbol": "A" })), ["symbol=A"]);
        assert_eq!(labels(json!({ "symbol": "A\n# no\n\n B \n" })), ["symbol=A", "symbol=B"]);
        assert_eq!(
            labels(json!({ "symbol": ["A", "B"], "market": ["x", "y"] })),
            ["symbol=A market=x", "symbol=A market=y", "symbol=B market=x", "symbol=B market=y"]
        );
        assert_eq!(
            labels(json!([{ "symbol": "A", "market": "x" }, { "market": "y", "symbol": "B" }])),
            ["symbol=A market=x", "symbol=B market=y"]
        );
    }

    #[test]
    fn words_for_what_is_wrong() {
        let fields: Fields = serde_json::from_value(json!({ "price": "b" })).unwrap();
        let said = |value, in_data: Option<InData>| {
            let for_each: ForEach = serde_json::from_value(value).unwrap();
            let problems = for_each.problems(in_data.as_ref(), &fields);
            let words = problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message));
            words.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(said(json!({ "symbol": ["A"] }), None), "");
        insta::assert_snapshot!(said(json!({ "date": ["A"], "1": ["B"], "a": [] , "b": ["x", "x", "", "a\tb"] }), None), @r"
        for_each.date: `{date}` means something else already; choose another name
        for_each.1: a name has letters, digits, `_` and `-`, and begins with a letter
        for_each.a: the list is empty, so that nothing would be asked for
        for_each.b.1: this is in the list twice; leave one out
        for_each.b.2: an empty value names no page
        for_each.b.3: a value is one line of plain text
        ");
        insta::assert_snapshot!(said(json!([{ "a": "x", "b": "y" }, { "a": "x", "c": "z" }, { "a": ["x", "y"], "b": "y" }, { "a": "x", "b": "y" }]), None), @r"
        for_each.1.c: the first of the list has no such name; all have the same
        for_each.1: `b` is missing; all of the list have the same names
        for_each.2.a: one value is wanted here
        for_each.3: this is in the list twice; leave one out
        ");
        insta::assert_snapshot!(said(json!({ "price": ["A"], "b": ["x"] }), None), @"fields.price: `for_each` puts its `price` into each record already; rename one, or write `values_in_data: false`");
        assert_eq!(said(json!({ "price": ["A"] }), Some(InData::All(false))), "");
        insta::assert_snapshot!(said(json!({ "price": ["A"] }), Some(InData::Named(vec!["prize".into()]))), @"values_in_data.0: `prize` is no name of `for_each`");
        let many: Vec<usize> = (0..1000).collect();
        insta::assert_snapshot!(said(json!({ "a": many, "b": many, "c": many }), None), @"for_each: these are 1000000000 pages, and at most 500 are asked for at one tick; write several sources");
        insta::assert_snapshot!(said(json!([]), None), @"for_each: the list is empty, so that nothing would be asked for");
        assert!(serde_json::from_value::<ForEach>(json!("A")).is_err());
        assert!(serde_json::from_value::<ForEach>(json!({})).is_err());
    }
}
