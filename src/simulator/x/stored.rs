//! The account's rules: listed, added, deleted, counted.

use std::sync::Arc;

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers;
use super::endpoints::Result;
use super::rules::Rule;
use super::state::{State, StoredRule};
use crate::simulator::server::{Reply, Request};

/// How many requests in a quarter of an hour.
const LIST_MAX: u64 = 450;
const CHANGE_MAX: u64 = 100;

fn rule_json(rule: &StoredRule) -> Value {
    let mut json = json!({ "id": rule.id, "value": rule.value });
    if let Some(tag) = &rule.tag {
        json["tag"] = json!(tag);
    }
    json
}

fn sent(state: &State) -> String {
    state.now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

pub(super) fn list_rules(state: &mut State, query: &[(String, String)]) -> Result {
    let (refused, left, reset) = state.count_request("list", LIST_MAX);
    if let Some(reply) = refused {
        return Err(Box::new(reply));
    }
    let get = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let max = get("max_results").and_then(|max| max.parse().ok()).unwrap_or(1000_usize);
    let from = get("pagination_token").and_then(|token| token.trim_start_matches('t').parse().ok()).unwrap_or(0_usize);
    let ids: Option<Vec<&str>> = get("ids").map(|ids| ids.split(',').collect());
    let wanted: Vec<&StoredRule> =
        state.own.rules.iter().filter(|rule| ids.as_ref().is_none_or(|ids| ids.contains(&rule.id.as_str()))).collect();
    let page: Vec<Value> = wanted.iter().skip(from).take(max).map(|rule| rule_json(rule)).collect();
    let mut body = json!({ "meta": { "sent": sent(state), "result_count": page.len() } });
    if from + page.len() < wanted.len() {
        body["meta"]["next_token"] = json!(format!("t{:015}", from + page.len()));
    }
    // There is no key at all without rules.
    if !page.is_empty() {
        body["data"] = Value::Array(page);
    }
    Ok(answers::with_window(answers::json(200, &body), LIST_MAX, left, reset))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRule {
    value: String,
    #[serde(default)]
    tag: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Delete {
    ids: Vec<String>,
    values: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Change {
    add: Option<Vec<NewRule>>,
    delete: Option<Delete>,
}

pub(super) fn change_rules(state: &mut State, request: &Request, query: &[(String, String)]) -> Result {
    if let (Some(reply), ..) = state.count_request("change", CHANGE_MAX) {
        return Err(Box::new(reply));
    }
    // tweepy writes `True`, and X takes it.
    let is_set = |name: &str| query.iter().any(|(known, value)| known == name && value.eq_ignore_ascii_case("true"));
    let change: Change = serde_json::from_slice(&request.body)
        .map_err(|error| Box::new(answers::invalid("body", "", &error.to_string())))?;
    let is_dry = is_set("dry_run");
    match (change.add, change.delete) {
        (Some(add), None) => Ok(add_rules(state, add, is_dry)),
        (None, Some(delete)) => Ok(delete_rules(state, &delete, is_dry)),
        (None, None) if is_set("delete_all") => {
            let all = Delete { ids: state.own.rules.iter().map(|rule| rule.id.clone()).collect(), values: Vec::new() };
            Ok(delete_rules(state, &all, is_dry))
        }
        _ => Err(Box::new(answers::invalid("body", "", "either add or delete is wanted"))),
    }
}

fn add_rules(state: &mut State, add: Vec<NewRule>, is_dry: bool) -> Reply {
    let active_at = state.now() + TimeDelta::from_std(state.settings.activation).unwrap_or_default();
    let (mut created, mut errors) = (Vec::new(), Vec::new());
    for NewRule { value, tag } in add {
        let known = state.own.rules.iter().chain(&created).find(|rule: &&StoredRule| rule.value == value);
        if let Some(known) = known {
            errors.push(answers::rule_error(&value, "duplicate-rules", "DuplicateRule", None, Some(&known.id)));
            continue;
        }
        if state.own.rules.len() + created.len() >= state.settings.rules_max {
            let detail = format!("Rule cap of {} reached", state.settings.rules_max);
            errors.push(answers::rule_error(&value, "rule-cap", "RulesCapExceeded", Some(&detail), None));
            continue;
        }
        match Rule::parse(&value, state.settings.rule_chars_max) {
            Ok(parsed) => {
                let id = state.next_rule_id();
                created.push(StoredRule { id, value, tag, active_at, parsed: Arc::new(parsed) });
            }
            Err(why) => {
                errors.push(answers::rule_error(&value, "invalid-rules", "UnprocessableEntity", Some(&why), None));
            }
        }
    }
    let (good, bad) = (created.len(), errors.len());
    let made = if is_dry { 0 } else { good };
    let mut body = json!({
        "meta": { "sent": sent(state), "summary": { "created": made, "not_created": bad + good - made, "valid": good, "invalid": bad } },
    });
    if !created.is_empty() {
        body["data"] = created.iter().map(rule_json).collect();
    }
    if !errors.is_empty() {
        body["errors"] = Value::Array(errors);
    }
    if !is_dry {
        state.own.rules.extend(created);
    }
    answers::json(201, &body)
}

fn delete_rules(state: &mut State, delete: &Delete, is_dry: bool) -> Reply {
    let is_meant = |rule: &StoredRule| delete.ids.contains(&rule.id) || delete.values.contains(&rule.value);
    let deleted = state.own.rules.iter().filter(|rule| is_meant(rule)).count();
    let asked = delete.ids.len() + delete.values.len();
    if !is_dry {
        state.own.rules.retain(|rule| !is_meant(rule));
    }
    let summary = json!({ "deleted": deleted, "not_deleted": asked.saturating_sub(deleted) });
    answers::json(200, &json!({ "meta": { "sent": sent(state), "summary": summary } }))
}

/// Caps are strings, as X writes them.
pub(super) fn counts(state: &State) -> Reply {
    let (cap, count) = (state.settings.rules_max.to_string(), state.own.rules.len());
    answers::json(
        200,
        &json!({ "data": {
            "cap_per_client_app": cap, "cap_per_project": cap, "project_rules_count": count.to_string(),
            "client_app_rules_count": { "client_app_id": "1", "rule_count": count },
            "all_project_client_apps": [{ "client_app_id": "1", "rule_count": count }],
        } }),
    )
}
