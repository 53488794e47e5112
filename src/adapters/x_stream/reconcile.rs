//! Bringing the account's rules to what the YAML says, over the network.

use anyhow::anyhow;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Failure;
use super::rules::{Added, Counts, Existing, Plan, RuleRefused, plan};
use super::v2::V2;
use crate::source::{Note, Problem, SourceError};

const RULES: &str = "/2/tweets/search/stream/rules";
const COUNTS: &str = "/2/tweets/search/stream/rules/counts";
const USAGE: &str = "/2/usage/tweets";

/// The most rules in one request.
const PAGE: &str = "1000";

/// More pages than any account has rules.
const PAGES_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RulesPage {
    // Absent when there are none.
    data: Vec<Existing>,
    meta: PageMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageMeta {
    next_token: Option<String>,
}

impl V2 {
    /// Reads the account's rules, and changes them to what the YAML says: add before delete, tried before done.
    pub(super) async fn reconcile(&mut self) -> Result<(), Failure> {
        let existing = self.existing_rules().await?;
        let wanted = self.settings.rules.clone();
        let own = self.place().own_rules.clone();
        let mut plan = plan(&wanted, &existing, &own, self.settings.exclusive);
        let mut refused = Vec::new();
        if !plan.add.is_empty() {
            self.keep_to_the_caps(&mut plan).await;
            // Tried first, so that a rule that is refused changes nothing. A duplicate of what is to be replaced is none.
            let tried = self.add(&plan.add, true).await?.refused(&wanted, &plan.add);
            for rule in tried {
                let is_replaced = rule.duplicate_of.as_ref().is_some_and(|id| plan.delete_first.contains(id));
                if !is_replaced {
                    plan.add.retain(|index| Some(*index) != rule.index);
                    refused.push(rule);
                }
            }
        }
        self.delete(&plan.delete_first).await?;
        let mut added = Vec::new();
        if !plan.add.is_empty() {
            let answer = self.add(&plan.add, false).await?;
            refused.extend(answer.refused(&wanted, &plan.add));
            added = answer.data;
        }
        self.delete(&plan.delete).await?;
        self.finish(&plan, existing, added, &refused)
    }

    fn finish(
        &mut self,
        plan: &Plan,
        existing: Vec<Existing>,
        added: Vec<Existing>,
        refused: &[RuleRefused],
    ) -> Result<(), Failure> {
        let deleted: Vec<&String> = plan.delete_first.iter().chain(&plan.delete).collect();
        if !(added.is_empty() && deleted.is_empty()) {
            let values: Vec<&str> = added.iter().map(|rule| rule.value.as_str()).collect();
            let data =
                json!({ "added": values, "deleted": deleted.len(), "kept": plan.kept.len(), "foreign": plan.foreign });
            self.notes.push(Note::new("rules", data));
        }
        let problems: Vec<Problem> =
            plan.problems.iter().cloned().chain(refused.iter().map(RuleRefused::problem)).collect();
        let reasons: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect();
        self.notes.extend(problems.into_iter().map(Note::problem));
        self.place().own_rules = plan.kept.iter().cloned().chain(added.iter().map(|rule| rule.id.clone())).collect();
        let mut rules: Vec<Existing> = existing.into_iter().filter(|rule| !deleted.contains(&&rule.id)).collect();
        rules.extend(added);
        self.rules = rules;
        if self.rules.is_empty() && !self.settings.rules.is_empty() {
            let cause = anyhow!("X refuses every rule: {}", reasons.join("; "));
            return Err(Failure::Error(SourceError::Refused(cause)));
        }
        self.reconciled = true;
        Ok(())
    }

    async fn existing_rules(&self) -> Result<Vec<Existing>, Failure> {
        let mut all = Vec::new();
        let mut query = vec![("max_results".to_owned(), PAGE.to_owned())];
        for _ in 0..PAGES_MAX {
            let page: RulesPage = self.client.json(self.ask(Method::GET, RULES, &query)).await?;
            all.extend(page.data);
            let Some(next) = page.meta.next_token else { break };
            query.truncate(1);
            query.push(("pagination_token".to_owned(), next));
        }
        Ok(all)
    }

    /// Leaves out what the account has no room for. An account that does not tell its caps is left to refuse.
    async fn keep_to_the_caps(&self, plan: &mut Plan) {
        let Ok(counts) = self.client.json::<Counts>(self.ask(Method::GET, COUNTS, &[])).await else { return };
        let Some(room) = counts.room() else { return };
        let room = usize::try_from(room).unwrap_or(usize::MAX).saturating_add(plan.delete_first.len());
        for index in plan.add.split_off(room.min(plan.add.len())) {
            let message = format!(
                "the account has room for {room} more rules, and this is one too many; delete others, or have the cap raised"
            );
            plan.problems.push(Problem::new(["rules".to_owned(), index.to_string()], message));
        }
    }

    async fn add(&self, indexes: &[usize], dry_run: bool) -> Result<Added, Failure> {
        let rules: Vec<Value> = indexes.iter().map(|index| json!(self.settings.rules[*index])).collect();
        let query: &[(String, String)] = if dry_run { &[("dry_run".to_owned(), "true".to_owned())] } else { &[] };
        self.post(query, &json!({ "add": rules })).await
    }

    async fn delete(&self, ids: &[String]) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        self.post::<Value>(&[], &json!({ "delete": { "ids": ids } })).await.map(drop)
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        query: &[(String, String)],
        body: &Value,
    ) -> Result<T, Failure> {
        let mut ask = self.ask(Method::POST, RULES, query);
        ask.body = Some(("application/json", body.to_string()));
        self.client.json(ask).await
    }

    /// What the account has used of its posts, where it tells.
    pub(super) async fn note_usage(&mut self) {
        let Ok(usage) = self.client.json::<Value>(self.ask(Method::GET, USAGE, &[])).await else { return };
        // X writes numbers as strings.
        let get = |key: &str| {
            let value = usage.pointer(&format!("/data/{key}"))?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let (used, cap) = (get("project_usage"), get("project_cap"));
        if let (Some(used), Some(cap)) = (used, cap) {
            self.notes
                .push(Note::new("usage", json!({ "posts": used, "cap": cap, "reset_day": get("cap_reset_day") })));
        }
    }
}
