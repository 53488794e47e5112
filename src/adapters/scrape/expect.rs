//! Tests in the source's own file: pages that were saved, and what they must become.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Scrape;
use super::asks::Ask;
use super::contract::STAND_INS;
use super::extract::{Row, extract};
use super::history::{History, ROWS_MAX, Scope};
use super::page::Page;
use super::plan::Plan;
use super::rows::merged;
use super::trust::Scalar;
use crate::fetch::charset;
use crate::item::{Finding, Reject};
use crate::source::{Batch, Outcome, PageTest, Problem, SavedPage};

/// A page that was saved, and what it must become.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestKeys {
    /// The page's file, from the folder of this one: `fixtures/nifty.html`. `tapline try FILE --save PAGE` makes one.
    pub page: String,
    /// The values of `for_each` that the page is asked for with, which its records then have: `{ symbol: NIFTY50 }`.
    #[serde(default)]
    pub values: BTreeMap<String, Scalar>,
    /// Files of pages that it links to, by the link as the page has it: `{ /news/1: fixtures/news-1.html }`. Then its records are
    /// those of both, of the links that stand here.
    #[serde(default)]
    pub follow: BTreeMap<String, String>,
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
        let values = self.values.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        PageTest { page: self.page.clone(), values, follow: self.follow.clone(), expect: self.expect.0.clone() }
    }

    /// The names that its records have.
    fn names<'a>(&self, settings: &'a Scrape) -> Vec<&'a str> {
        let follow = settings.follow.as_ref().filter(|_| !self.follow.is_empty());
        let fields = settings.fields.0.iter().chain(follow.iter().flat_map(|follow| &follow.fields.0));
        let mut names: Vec<&str> = fields.map(|(name, _)| name.as_str()).chain([STAND_INS]).collect();
        if let Some(for_each) = settings.for_each.as_ref().filter(|_| !self.values.is_empty()) {
            let put = for_each.in_data(settings.values_in_data.as_ref());
            names.extend(put.into_iter().map(|index| for_each.names[index].as_str()));
        }
        names
    }

    /// What is wrong with what it says of the page.
    fn page_problems(&self, settings: &Scrape, at: impl Fn(&[&str]) -> Vec<String>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let names = settings.for_each.as_ref().map_or(&[][..], |for_each| &for_each.names);
        for name in self.values.keys().filter(|name| !names.contains(name)) {
            let message = format!("`{}` is no name of `for_each`", name.escape_debug());
            problems.push(Problem::new(at(&["values", name]), message));
        }
        let missing = names.iter().find(|name| !self.values.is_empty() && !self.values.contains_key(*name));
        if let Some(name) = missing {
            problems.push(Problem::new(at(&["values"]), format!("`{name}` of `for_each` is missing")));
        }
        if !self.follow.is_empty() && settings.follow.is_none() {
            problems.push(Problem::new(at(&["follow"]), "this source follows no links; leave it out"));
        }
        problems
    }
}

/// What is wrong with the tests, with its places.
pub(super) fn problems(settings: &Scrape) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, test) in settings.tests.iter().enumerate() {
        let of_test = |more: &[&str]| {
            let path = ["tests".to_owned(), index.to_string()];
            path.into_iter().chain(more.iter().map(|key| (*key).to_owned())).collect::<Vec<_>>()
        };
        let at = |more: &[&str]| of_test(&[&["expect"], more].concat());
        problems.extend(test.page_problems(settings, of_test));
        let fields = &test.names(settings);
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

fn is_field(fields: &[&str], name: &str) -> bool {
    fields.contains(&name)
}

fn unknown(fields: &[&str], name: &str, path: Vec<String>) -> Option<Problem> {
    let message = || format!("`{}` is no field of this source", name.escape_debug());
    (!is_field(fields, name)).then(|| Problem::new(path, message()))
}

/// What the settings ask for, compiled.
pub(super) fn plan(settings: &Scrape) -> anyhow::Result<Plan> {
    plans(settings).map(|(plan, _)| plan)
}

fn plans(settings: &Scrape) -> anyhow::Result<(Plan, Option<Plan>)> {
    settings.plans().map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        anyhow::Error::msg(messages.join("; "))
    })
}

/// What a source makes of a page that was saved, without anything that it remembers.
pub(super) fn read_page(settings: &Scrape, page: &SavedPage) -> anyhow::Result<(Batch, Vec<Finding>)> {
    let (plan, detail) = plans(settings)?;
    let encoding = settings.encoding.as_deref().and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    let text = |bytes: &[u8]| charset::text(bytes, encoding, None);
    let (mut findings, mut rejects) = (Vec::new(), Vec::new());
    let mut read = |plan: &Plan, html: &str, page: Option<&str>| -> anyhow::Result<Vec<Row>> {
        let mut found = Vec::new();
        let mut extraction = extract(plan, html, Some(&mut found))?;
        let scope = Scope { contracts: &plan.contracts, page: "", rows_max: ROWS_MAX };
        History::default().judge(&scope, &mut extraction, |_, _| None);
        let named = || page.map(str::to_owned);
        findings.extend(found.into_iter().map(|finding| Finding { page: named(), ..finding }));
        rejects.extend(extraction.rejects.into_iter().map(|reject| Reject { page: named(), ..reject }));
        Ok(extraction.rows)
    };
    let html = text(&page.bytes);
    let mut rows = read(&plan, &html, None)?;
    if let Some(detail) = detail.filter(|_| !page.follow.is_empty()) {
        let mut merged_rows = Vec::new();
        let mut left: Vec<&str> = page.follow.keys().map(String::as_str).collect();
        for Row { item, link } in linked_rows(settings, &html, rows)? {
            let Some((link, bytes)) = link.and_then(|link| page.follow.get_key_value(&link)) else { continue };
            left.retain(|known| known != link);
            let followed = read(&detail, &text(bytes), Some(link))?.into_iter();
            merged_rows.extend(followed.map(|row| Row { item: merged(&item, &row.item), link: None }));
        }
        if let Some(link) = left.first() {
            anyhow::bail!("the page has no link `{}` that is followed", link.escape_debug());
        }
        rows = merged_rows;
    }
    let ask = Ask::with(settings, &page.values);
    let items = rows.into_iter().map(|Row { item, .. }| match &ask {
        Some(ask) => ask.put_into(item),
        None => item,
    });
    Ok((Batch { items: items.collect(), rejects, ..Batch::default() }, findings))
}

/// The rows of a page with their links: of a page without rows what it says, once for each link.
fn linked_rows(settings: &Scrape, html: &str, rows: Vec<Row>) -> anyhow::Result<Vec<Row>> {
    let links = settings.links().filter(|_| settings.records.is_none());
    let (Some(links), Some(first)) = (links, rows.first()) else { return Ok(rows) };
    let leads = links.find(&Page::parse(html)?, settings.follow.as_ref().map_or(0, |follow| follow.max.into()))?;
    Ok(leads.follow.into_iter().map(|link| Row { item: first.item.clone(), link: Some(link) }).collect())
}
