//! Tests in the source's own file: pages that were saved, and what they must become.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Scrape;
use super::contract::STAND_INS;
use super::extract::extract;
use super::history::{History, ROWS_MAX, Scope};
use super::plan::Plan;
use super::settings::Fields;
use crate::fetch::charset;
use crate::item::Finding;
use crate::source::{Batch, Outcome, PageTest, Problem};

/// A page that was saved, and what it must become.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestKeys {
    /// The page's file, from the folder of this one: `fixtures/nifty.html`. `tapline try FILE --save PAGE` makes one.
    pub page: String,
    /// What it must become: fields with their values, as many as matter; of many records a list, in their order. `outcome` and
    /// `rejects` (how many, or a text of each) say what must be wrong with it.
    pub expect: Expected,
}

/// What a page must become.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expected(pub(super) Value);

impl JsonSchema for Expected {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expected".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let any = json_schema!({ "type": "object", "additionalProperties": true });
        json_schema!({ "anyOf": [any, { "type": "array", "items": any }] })
    }
}

impl TestKeys {
    pub(super) fn test(&self) -> PageTest {
        PageTest { page: self.page.clone(), expect: self.expect.0.clone() }
    }
}

/// What is wrong with the tests, with its places.
pub(super) fn problems(tests: &[TestKeys], fields: &Fields) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, test) in tests.iter().enumerate() {
        let at = |more: &[&str]| {
            let path = ["tests".to_owned(), index.to_string(), "expect".to_owned()];
            path.into_iter().chain(more.iter().map(|key| (*key).to_owned())).collect::<Vec<_>>()
        };
        match &test.expect.0 {
            Value::Object(record) => {
                let is_of_test = |name: &str| matches!(name, "outcome" | "rejects");
                let fields_of = |name: &&String| !is_of_test(name) || is_field(fields, name);
                problems.extend(
                    record.keys().filter(fields_of).filter_map(|name| unknown(fields, name, at(&[name.as_str()]))),
                );
                let outcome = record.get("outcome").filter(|_| !is_field(fields, "outcome"));
                if let Some(outcome) =
                    outcome.filter(|outcome| serde_json::from_value::<Outcome>((*outcome).clone()).is_err())
                {
                    let words: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
                    let message = format!("`{outcome}` is no outcome; there are: {}", words.join(", "));
                    problems.push(Problem::new(at(&["outcome"]), message));
                }
                let rejects = record.get("rejects").filter(|_| !is_field(fields, "rejects"));
                if rejects.is_some_and(|rejects| !(rejects.is_u64() || is_texts(rejects))) {
                    let message = "how many, or a list with a text of each";
                    problems.push(Problem::new(at(&["rejects"]), message));
                }
            }
            Value::Array(records) => {
                for (row, record) in records.iter().enumerate() {
                    let row = row.to_string();
                    match record {
                        Value::Object(record) => {
                            let wrong = record
                                .keys()
                                .filter_map(|name| unknown(fields, name, at(&[row.as_str(), name.as_str()])));
                            problems.extend(wrong);
                        }
                        _ => problems.push(Problem::new(at(&[row.as_str()]), "a record is a map of fields and values")),
                    }
                }
            }
            _ => problems.push(Problem::new(at(&[]), "a map of fields and values, or a list of them")),
        }
    }
    problems
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn is_field(fields: &Fields, name: &str) -> bool {
    name == STAND_INS || fields.0.iter().any(|(field, _)| field == name)
}

fn unknown(fields: &Fields, name: &str, path: Vec<String>) -> Option<Problem> {
    let message = || format!("`{}` is no field of this source", name.escape_debug());
    (!is_field(fields, name)).then(|| Problem::new(path, message()))
}

/// What the settings ask for, compiled.
pub(super) fn plan(settings: &Scrape) -> anyhow::Result<Plan> {
    settings.plans().map(|(plan, _)| plan).map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        anyhow::Error::msg(messages.join("; "))
    })
}

/// What a source makes of a page that was saved, without anything that it remembers.
pub(super) fn read_page(settings: &Scrape, page: &[u8]) -> anyhow::Result<(Batch, Vec<Finding>)> {
    let plan = plan(settings)?;
    let encoding = settings.encoding.as_deref().and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    let html = charset::text(page, encoding, None);
    let mut findings = Vec::new();
    let mut extraction = extract(&plan, &html, Some(&mut findings))?;
    let scope = Scope { contracts: &plan.contracts, page: "", rows_max: ROWS_MAX };
    History::default().judge(&scope, &mut extraction, |_, _| None);
    let items = extraction.rows.into_iter().map(|row| row.item).collect();
    Ok((Batch { items, rejects: extraction.rejects, ..Batch::default() }, findings))
}
