//! Rules as desired state: what the YAML says and what the account has are brought together.
//!
//! Rules belong to the account's app, live longer than any connection and may be somebody else's. So only rules that
//! this source has declared are ever deleted, unless it is `exclusive`.

use serde::{Deserialize, Serialize};

use crate::source::Problem;

use super::settings::Rule;

/// A rule as the account has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Existing {
    pub(super) id: String,
    pub(super) value: String,
    #[serde(default)]
    pub(super) tag: Option<String>,
}

/// What brings the account from what it has to what is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Indexes of wanted rules that the account does not have.
    pub(super) add: Vec<usize>,
    /// Ids to delete before adding: the same rule under another tag, which would be refused as a duplicate.
    pub(super) delete_first: Vec<String>,
    /// Ids to delete once the new ones are there, so that nothing is missed in between.
    pub(super) delete: Vec<String>,
    /// Ids of wanted rules that are there.
    pub(super) kept: Vec<String>,
    /// How many rules are there that are not this source's.
    pub(super) foreign: usize,
    /// What cannot be had.
    pub(super) problems: Vec<Problem>,
}

/// Plans it. `own` are the ids of rules that this source declared before.
pub(super) fn plan(wanted: &[Rule], existing: &[Existing], own: &[String], exclusive: bool) -> Plan {
    let mut plan = Plan::default();
    let may_delete = |rule: &Existing| exclusive || own.contains(&rule.id);
    for (index, rule) in wanted.iter().enumerate() {
        match existing.iter().find(|existing| existing.value == rule.value) {
            Some(existing) if tag_of(existing.tag.as_deref()) == tag_of(rule.tag.as_deref()) => {
                plan.kept.push(existing.id.clone());
            }
            // A tag cannot be changed.
            Some(existing) if may_delete(existing) => {
                plan.delete_first.push(existing.id.clone());
                plan.add.push(index);
            }
            Some(existing) => {
                let tag = existing.tag.as_deref().unwrap_or_default();
                let message = format!(
                    "the account has this rule with the tag `{tag}`, and not from this source; it is used as it is: \
                     take that tag, or set `exclusive: true`"
                );
                plan.problems.push(Problem::new(["rules".to_owned(), index.to_string(), "tag".to_owned()], message));
            }
            None => plan.add.push(index),
        }
    }
    for rule in existing {
        let is_wanted = wanted.iter().any(|wanted| wanted.value == rule.value);
        if !is_wanted && may_delete(rule) {
            plan.delete.push(rule.id.clone());
        } else if !is_wanted {
            plan.foreign += 1;
        }
    }
    plan
}

/// An empty tag is none.
fn tag_of(tag: Option<&str>) -> Option<&str> {
    tag.filter(|tag| !tag.is_empty())
}

/// The answer to adding rules.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Added {
    pub(super) data: Vec<Existing>,
    errors: Vec<RuleError>,
}

/// Why a rule is refused. Some bodies have `details`, some `detail`, some neither.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuleError {
    value: Option<String>,
    id: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    details: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// A rule that X does not take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RuleRefused {
    /// Its index in the YAML; `None` when X does not say which one it means.
    pub(super) index: Option<usize>,
    /// X's own reason.
    pub(super) reason: String,
    /// It is there already, under this id.
    pub(super) duplicate_of: Option<String>,
}

impl Added {
    /// The rules that were refused, of those that were `asked` for.
    pub(super) fn refused(&self, wanted: &[Rule], asked: &[usize]) -> Vec<RuleRefused> {
        let refused = self.errors.iter().map(|error| {
            let value = error.value.as_deref().map(str::trim);
            let index = asked.iter().copied().find(|index| value == Some(wanted[*index].value.trim()));
            let kind = error.kind.as_deref().and_then(|kind| kind.rsplit('/').next());
            let is_duplicate = kind == Some("duplicate-rules") || error.title.as_deref() == Some("DuplicateRule");
            RuleRefused { index, reason: error.words(), duplicate_of: error.id.clone().filter(|_| is_duplicate) }
        });
        refused.collect()
    }
}

impl RuleError {
    fn words(&self) -> String {
        let words = self.title.iter().chain(&self.detail).chain(&self.details).cloned().collect::<Vec<_>>().join(": ");
        let named = || self.kind.as_deref().and_then(|kind| kind.rsplit('/').next()).unwrap_or("no reason given");
        if words.is_empty() { named().to_owned() } else { words }
    }
}

impl RuleRefused {
    /// As something wrong with the YAML file.
    pub(super) fn problem(&self) -> Problem {
        let path = ["rules".to_owned()].into_iter().chain(self.index.map(|index| index.to_string()));
        Problem::new(path, format!("X refuses the rule: {}", self.reason))
    }
}

/// The account's limits. Caps come as strings.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Counts {
    data: Option<CountsData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CountsData {
    cap_per_client_app: Option<Number>,
    cap_per_project: Option<Number>,
    client_app_rules_count: Option<RuleCount>,
    project_rules_count: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuleCount {
    rule_count: Option<Number>,
}

/// A number, or a string of one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Number {
    fn get(&self) -> Option<u64> {
        match self {
            Self::Plain(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Counts {
    /// How many more rules the account may have; `None` when it does not say.
    pub(super) fn room(&self) -> Option<u64> {
        let data = self.data.as_ref()?;
        let get = |number: &Option<Number>| number.as_ref().and_then(Number::get);
        let room = |cap: Option<u64>, used: Option<u64>| Some(cap?.saturating_sub(used?));
        let app = data.client_app_rules_count.as_ref().and_then(|count| get(&count.rule_count));
        let rooms = [
            room(get(&data.cap_per_client_app), app),
            room(get(&data.cap_per_project), get(&data.project_rules_count)),
        ];
        rooms.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: &str, tag: Option<&str>) -> Rule {
        Rule { value: value.into(), tag: tag.map(str::to_owned) }
    }

    fn existing(id: &str, value: &str, tag: Option<&str>) -> Existing {
        Existing { id: id.into(), value: value.into(), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn only_own_rules_are_deleted() {
        let wanted = [rule("cats", Some("c")), rule("dogs", None), rule("birds", Some("b")), rule("fish", Some("f"))];
        let there = [
            existing("1", "cats", Some("c")),
            existing("2", "mice", None),
            existing("3", "cows", None),
            existing("4", "birds", Some("old")),
            existing("5", "fish", Some("theirs")),
        ];
        let own = ["2".to_owned(), "4".to_owned()];
        let planned = plan(&wanted, &there, &own, false);
        assert_eq!((&planned.add[..], &planned.kept[..]), (&[1, 2][..], &["1".to_owned()][..]));
        assert_eq!((&planned.delete_first[..], &planned.delete[..]), (&["4".to_owned()][..], &["2".to_owned()][..]));
        assert_eq!(planned.foreign, 1);
        assert_eq!(planned.problems[0].path, ["rules", "3", "tag"]);
        let exclusive = plan(&wanted, &there, &own, true);
        assert_eq!((exclusive.delete.len(), exclusive.delete_first.len(), exclusive.foreign), (2, 2, 0));
    }

    #[test]
    fn what_is_so_already_needs_nothing() {
        let there = [existing("1", "cats", Some("")), existing("2", "dogs", Some("d"))];
        let planned = plan(&[rule("cats", None), rule("dogs", Some("d"))], &there, &[], false);
        assert_eq!(planned, Plan { kept: vec!["1".into(), "2".into()], ..Plan::default() });
    }

    #[test]
    fn refusals_name_their_rule_and_keep_the_reason() {
        let wanted = [rule("cats", None), rule("((", None), rule("dogs", None)];
        let answer = r#"{"data":[{"value":"dogs","id":"9"}],"errors":[
            {"value":"((","details":["unbalanced parenthesis"],"title":"UnprocessableEntity","type":"https://api.twitter.com/2/problems/invalid-rules"},
            {"value":"cats","id":"17","title":"DuplicateRule","type":"https://api.twitter.com/2/problems/duplicate-rules"},
            {"type":"https://api.x.com/2/problems/rule-cap"}]}"#;
        let added: Added = serde_json::from_str(answer).unwrap();
        let refused = added.refused(&wanted, &[0, 1, 2]);
        assert_eq!(refused[0].problem().message, "X refuses the rule: UnprocessableEntity: unbalanced parenthesis");
        assert_eq!(refused[0].problem().path, ["rules", "1"]);
        assert_eq!((refused[1].index, refused[1].duplicate_of.as_deref()), (Some(0), Some("17")));
        assert_eq!((refused[2].index, refused[2].reason.as_str()), (None, "rule-cap"));
    }

    #[test]
    fn room_is_read_from_strings_and_numbers() {
        let counts = |text: &str| serde_json::from_str::<Counts>(text).unwrap().room();
        assert_eq!(
            counts(r#"{"data":{"cap_per_client_app":"25","client_app_rules_count":{"rule_count":20}}}"#),
            Some(5)
        );
        assert_eq!(
            counts(
                r#"{"data":{"cap_per_client_app":"25","client_app_rules_count":{"rule_count":2},"cap_per_project":"5","project_rules_count":"5"}}"#
            ),
            Some(0)
        );
        assert_eq!(counts("{}"), None);
    }
}
