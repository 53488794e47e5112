//! `transform`, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::edit::{Edit, Pick};
use super::jq::Program;
use super::{Step, Transform};
use crate::message::{ConditionKeys, Place, Places};
use crate::source::Problem;

/// What becomes of items before they are written: one step, or a list of steps, each over what the one before it made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TransformKeys {
    /// Several.
    Many(Vec<StepKeys>),
    /// One.
    One(Box<StepKeys>),
}

/// A step of a transform. Of several keys they count in this order.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StepKeys {
    /// Which items go on: those in which all of this is so, `{ /lang: en, /likes: { min: 10 } }`. The others are left out.
    pub filter: Option<ConditionKeys>,
    /// What is taken, and nothing else: a list of names and places, `[text, /user/name]`, or a map of new names to places,
    /// `{ name: /user/name }`. Values keep their text.
    pub pick: Option<PickKeys>,
    /// Members of the object that are left out.
    pub drop: Vec<String>,
    /// New names of members, by their old ones.
    pub rename: BTreeMap<String, String>,
    /// An expression of jq over each item. Each value that it makes is an item; one that makes none leaves it out. It cannot
    /// see the environment.
    pub jq: Option<String>,
}

/// What is taken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PickKeys {
    /// Under the names that they have.
    Names(Vec<String>),
    /// Under new ones, in their order.
    Places(#[schemars(with = "BTreeMap<String, Place>")] Map<String, Value>),
}

impl TransformKeys {
    fn steps(&self) -> &[StepKeys] {
        match self {
            Self::Many(steps) => steps,
            Self::One(step) => std::slice::from_ref(step),
        }
    }

    /// What is wrong with it; paths begin at its own keys.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.steps().is_empty() {
            problems.push(Problem::new(Vec::<String>::new(), "the list of steps is empty; leave the key out"));
        }
        for (index, step) in self.steps().iter().enumerate() {
            let before = match self {
                Self::Many(_) => vec![index.to_string()],
                Self::One(_) => Vec::new(),
            };
            problems.extend(
                step.problems()
                    .into_iter()
                    .map(|problem| Problem::new(before.iter().cloned().chain(problem.path), problem.message)),
            );
        }
        problems
    }

    /// Makes it ready.
    ///
    /// # Errors
    /// When something is wrong that [`problems`](Self::problems) says.
    pub fn compile(&self) -> Result<Transform, String> {
        let mut steps = Vec::new();
        for (index, keys) in self.steps().iter().enumerate() {
            let name = |key: &str| match self {
                Self::Many(_) => format!("{index}.{key}"),
                Self::One(_) => key.to_owned(),
            };
            keys.compile(name, &mut steps)?;
        }
        Ok(Transform::new(steps))
    }
}

impl StepKeys {
    fn problems(&self) -> Vec<Problem> {
        let Self { filter, pick, drop, rename, jq } = self;
        let mut problems = Vec::new();
        let condition = filter.iter().flat_map(ConditionKeys::problems);
        problems.extend(
            condition
                .map(|problem| Problem::new(["filter".to_owned()].into_iter().chain(problem.path), problem.message)),
        );
        match pick.as_ref().map(PickKeys::places) {
            Some(Ok(places)) if places.is_empty() => {
                problems.push(Problem::new(["pick"], "name what is taken, such as `[price]`"));
            }
            Some(Err(problem)) => problems.push(problem),
            _ => {}
        }
        if let Some(Err(message)) = jq.as_deref().map(Program::new) {
            problems.push(Problem::new(["jq"], message));
        }
        let names: Vec<&String> = rename.values().collect();
        if let Some((at, _)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            problems
                .push(Problem::new(["rename"], format!("two members would be called `{}`", names[at].escape_debug())));
        }
        let is_empty = filter.is_none() && pick.is_none() && drop.is_empty() && rename.is_empty() && jq.is_none();
        if is_empty {
            let message = "a step does something: write `filter`, `pick`, `drop`, `rename` or `jq`";
            problems.push(Problem::new(Vec::<String>::new(), message));
        }
        problems
    }

    fn compile(&self, name: impl Fn(&str) -> String, steps: &mut Vec<(String, Step)>) -> Result<(), String> {
        if let Some(filter) = &self.filter {
            let mut places = Places::default();
            let condition = filter.compile(&mut places);
            steps.push((name("filter"), Step::Filter(places, condition)));
        }
        if let Some(keys) = &self.pick {
            let mut pick = Pick::default();
            for (name, place) in keys.places().map_err(|problem| problem.message)? {
                pick.add(&name, &place);
            }
            steps.push((name("pick"), Step::Pick(pick)));
        }
        if !self.drop.is_empty() || !self.rename.is_empty() {
            let edit = Edit { dropped: self.drop.iter().cloned().collect(), renamed: self.rename.clone() };
            let key = if self.rename.is_empty() { "drop" } else { "rename" };
            steps.push((name(key), Step::Edit(edit)));
        }
        if let Some(code) = &self.jq {
            steps.push((name("jq"), Step::Jq(Program::new(code)?)));
        }
        Ok(())
    }
}

impl PickKeys {
    /// The new names, and where each is found.
    fn places(&self) -> Result<Vec<(String, Place)>, Problem> {
        let mut places: Vec<(String, Place)> = Vec::new();
        match self {
            Self::Places(named) => {
                for (name, place) in named {
                    let wrong = |message: String| Problem::new(["pick", name], message);
                    let text = place.as_str().ok_or_else(|| wrong("a place is a text, such as `/user/name`".into()))?;
                    places.push((name.clone(), Place::new(text).map_err(wrong)?));
                }
            }
            Self::Names(names) => {
                for (index, text) in names.iter().enumerate() {
                    let wrong = |message: String| Problem::new(["pick".to_owned(), index.to_string()], message);
                    let is_place = text.starts_with(['/', '$']);
                    let pointer = if is_place {
                        text.clone()
                    } else {
                        format!("/{}", text.replace('~', "~0").replace('/', "~1"))
                    };
                    let place = Place::new(&pointer).map_err(wrong)?;
                    let name = place.last_name().map(str::to_owned);
                    let name =
                        name.ok_or_else(|| wrong(format!("`{text}` has no name; write `{{ name: {text} }}`")))?;
                    if places.iter().any(|(known, _)| *known == name) {
                        return Err(wrong(format!("two values would be called `{name}`; write a map of new names")));
                    }
                    places.push((name, place));
                }
            }
        }
        Ok(places)
    }
}
