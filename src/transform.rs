//! What becomes of an item between its adapter and its record: fields picked, dropped and renamed, items filtered, and jq
//! for everything else. It is the same for all adapters, and an adapter knows nothing of it.
//!
//! What can be done without a tree of values is: a picked value keeps its text, token for token. An expression that fails
//! makes a reject of its item. Without a transform nothing is looked at.

mod edit;
mod jq;
mod keys;
mod worker;

use std::sync::Arc;

use self::edit::{Edit, Pick};
use self::jq::Program;
pub use self::keys::{PickKeys, StepKeys, TransformKeys};
use self::worker::Worker;
use crate::item::{Ignored, Item, Reject};
use crate::message::{Condition, Places};
use crate::outcome::Outcome;
use crate::source::Batch;

/// The steps that items go through, in order.
#[derive(Clone)]
pub struct Transform {
    steps: Arc<Steps>,
    /// Where expressions are worked out: they may take long, or not end at all, and no other source is to wait for it.
    worker: Option<Arc<Worker>>,
}

type Steps = [(String, Step)];

enum Step {
    Filter(Places, Condition),
    Pick(Pick),
    Edit(Edit),
    Jq(Program),
}

/// What a step makes of an item.
enum Outgoing {
    /// The same, or another in its place.
    One(Item),
    /// Those instead, or with none: nothing.
    Many(Vec<Item>),
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.steps.iter().map(|(name, _)| name)).finish()
    }
}

impl Transform {
    fn new(steps: Vec<(String, Step)>) -> Self {
        let has_jq = steps.iter().any(|(_, step)| matches!(step, Step::Jq(_)));
        Self { steps: steps.into(), worker: has_jq.then(Arc::default) }
    }

    /// Makes of a batch's items what the file wants of them. It never fails: what cannot be made is a reject.
    pub async fn apply(&self, batch: &mut Batch) {
        if batch.items.is_empty() {
            return;
        }
        let items = std::mem::take(&mut batch.items);
        let done = match &self.worker {
            None => run(&self.steps, items),
            Some(worker) => {
                let doubles = items.clone();
                match tokio::time::timeout(jq::PATIENCE, worker.run(&self.steps, items)).await {
                    Ok(Some(done)) => done,
                    Ok(None) => rejected(&doubles, "the transform broke off"),
                    Err(_) => self.give_up(&doubles),
                }
            }
        };
        done.put(batch);
    }

    /// The same at once, and for as long as it takes.
    pub fn apply_here(&self, batch: &mut Batch) {
        run(&self.steps, std::mem::take(&mut batch.items)).put(batch);
    }

    /// Of an expression that does not end, nothing more is asked.
    fn give_up(&self, items: &[Item]) -> Done {
        for (_, step) in self.steps.iter() {
            if let Step::Jq(program) = step {
                program.give_up();
            }
        }
        rejected(items, jq::ENDLESS)
    }
}

fn rejected(items: &[Item], why: &str) -> Done {
    let reject = |item: &Item| Reject::new(Outcome::Invalid, Some("transform".into()), why, item.data.get());
    Done { rejects: items.iter().map(reject).collect(), ..Done::default() }
}

/// What became of items: those that go on, those that cannot, and those that are not wanted.
#[derive(Default)]
struct Done {
    items: Vec<Item>,
    rejects: Vec<Reject>,
    ignored: Ignored,
}

impl Done {
    fn put(self, batch: &mut Batch) {
        batch.items = self.items;
        batch.rejects.extend(self.rejects);
        batch.ignored.extend(&self.ignored);
    }
}

fn run(steps: &Steps, items: Vec<Item>) -> Done {
    let mut done = Done { items: Vec::with_capacity(items.len()), ..Done::default() };
    let mut ignored = vec![0; steps.len()];
    for item in items {
        let mut waiting = vec![(0, item)];
        while let Some((at, item)) = waiting.pop() {
            let Some((name, step)) = steps.get(at) else {
                done.items.push(item);
                continue;
            };
            match step.apply(item) {
                Ok(Outgoing::One(item)) => waiting.push((at + 1, item)),
                Ok(Outgoing::Many(items)) if items.is_empty() => ignored[at] += 1,
                Ok(Outgoing::Many(items)) => waiting.extend(items.into_iter().rev().map(|item| (at + 1, item))),
                Err((item, why)) => {
                    let field = Some(format!("transform.{name}"));
                    done.rejects.push(Reject::new(Outcome::Invalid, field, why, item.data.get()));
                }
            }
        }
    }
    for ((name, _), count) in steps.iter().zip(ignored) {
        done.ignored.add(&format!("transform.{name}"), count);
    }
    done
}

impl Step {
    fn apply(&self, mut item: Item) -> Result<Outgoing, (Item, String)> {
        let data = match self {
            Self::Filter(places, condition) => {
                let is_met = condition.is_met(&places.find(&item.data));
                return Ok(if is_met { Outgoing::One(item) } else { Outgoing::Many(Vec::new()) });
            }
            Self::Pick(pick) => pick.apply(&item.data),
            Self::Edit(edit) => edit.apply(&item.data),
            Self::Jq(program) => {
                return match program.apply(&item.data) {
                    Ok(values) => Ok(Outgoing::Many(jq::items(&item, values))),
                    Err(why) => Err((item, why)),
                };
            }
        };
        match data {
            Ok(data) => {
                item.data = data;
                Ok(Outgoing::One(item))
            }
            Err(why) => Err((item, why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    async fn apply(keys: Value, items: &[&str]) -> Vec<String> {
        let keys: TransformKeys = serde_json::from_value(keys).unwrap();
        assert_eq!(keys.problems(), []);
        let transform = keys.compile().unwrap();
        let item = |(at, text): (usize, &&str)| Item {
            id: Some(format!("m_{at}")),
            kind: "message".into(),
            published_at: None,
            data: serde_json::from_str(text).unwrap(),
        };
        let mut batch = Batch { items: items.iter().enumerate().map(item).collect(), ..Batch::default() };
        transform.apply(&mut batch).await;
        let items = batch.items.iter().map(|item| format!("{} {}", item.id.as_deref().unwrap(), item.data));
        let rejects =
            batch.rejects.iter().map(|reject| format!("{}: {}", reject.field.as_ref().unwrap(), reject.reason));
        items.chain(rejects).collect()
    }

    #[tokio::test]
    async fn values_are_picked_dropped_and_renamed_token_for_token() {
        let item = r#"{"b":1.10,"a":{"x":[1, 2],"y":"\u00e9"},"id":12345678901234567890}"#;
        for (keys, expected) in [
            (json!({ "pick": ["b", "/a/y"] }), r#"{"b":1.10,"y":"\u00e9"}"#),
            (json!({ "pick": { "text": "/a/y", "first": "/a/x/0", "none": "/z" } }), r#"{"text":"\u00e9","first":1}"#),
            (json!({ "pick": { "all": "/a/x/*" } }), r#"{"all":[1,2]}"#),
            (json!({ "drop": ["b", "z"] }), r#"{"a":{"x":[1, 2],"y":"\u00e9"},"id":12345678901234567890}"#),
            (json!({ "rename": { "b": "B\"" }, "drop": ["a"] }), r#"{"B\"":1.10,"id":12345678901234567890}"#),
            (json!([{ "pick": ["a"] }, { "pick": { "n": "/a/x/1" } }]), r#"{"n":2}"#),
            (json!({ "jq": "{n: .id, b}" }), r#"{"n":12345678901234567890,"b":1.10}"#),
        ] {
            assert_eq!(apply(keys.clone(), &[item]).await, [format!("m_0 {expected}")], "{keys}");
        }
    }

    #[tokio::test]
    async fn what_fails_is_a_reject_and_the_rest_goes_on() {
        let items = &[r#"{"a":1}"#, "[1]", r#"{"a":null}"#];
        assert_eq!(apply(json!({ "filter": { "/a": 1 } }), items).await, ["m_0 {\"a\":1}"]);
        let picked = apply(json!({ "pick": ["a"] }), items).await;
        assert_eq!(picked[..2], ["m_0 {\"a\":1}", "m_2 {\"a\":null}"]);
        assert_eq!(picked[2..], ["transform.pick: there is none of what is picked: /a"]);
        let renamed = apply(json!({ "rename": { "a": "b" } }), items).await;
        assert_eq!(renamed[..2], ["m_0 {\"b\":1}", "m_2 {\"b\":null}"]);
        assert_eq!(renamed[2..], ["transform.rename: only members of an object can be dropped and renamed"]);
        let made = apply(json!([{ "filter": { "/a": { "not": 7 } } }, { "jq": ".a + 1" }]), items).await;
        assert_eq!(made[..2], ["m_0 2", "m_2 1"]);
        assert_eq!(made[2..], ["transform.1.jq: cannot index [1] with \"a\""]);
    }

    #[tokio::test]
    async fn one_item_may_become_several_or_none() {
        let items = &[r#"{"t":[{"p":1},{"p":2.50}]}"#, r#"{"t":[]}"#, r#"{"t":[{"p":3}]}"#];
        assert_eq!(
            apply(json!({ "jq": ".t[]" }), items).await,
            [r#"m_0_0 {"p":1}"#, r#"m_0_1 {"p":2.50}"#, r#"m_2 {"p":3}"#]
        );
        assert_eq!(apply(json!({ "jq": "select(.t | length > 1)" }), items).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expression_that_does_not_end_holds_nobody_up() {
        let keys: TransformKeys = serde_json::from_value(json!({ "jq": "last(range(3e6))" })).unwrap();
        let transform = keys.compile().unwrap();
        let item = Item { id: None, kind: "a".into(), published_at: None, data: serde_json::from_str("1").unwrap() };
        for _ in 0..2 {
            let mut batch = Batch { items: vec![item.clone()], ..Batch::default() };
            transform.apply(&mut batch).await;
            assert!(batch.items.is_empty() && batch.rejects[0].reason.contains("does not end"), "{batch:?}");
        }
    }
}
