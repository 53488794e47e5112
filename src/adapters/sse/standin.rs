//! What will be shared by all adapters, until it is there.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::ptr_arg, clippy::default_constructed_unit_structs)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::item::{Item, Reject, keep_json};
use crate::outcome::Outcome;
use crate::source::Problem;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageKeys {
    pub id: Option<String>,
    pub published_at: Option<String>,
    pub ignore: Vec<BTreeMap<String, Value>>,
}

impl MessageKeys {
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    pub fn reader(&self, source: &str, _own: &[&str]) -> anyhow::Result<Reader> {
        Ok(Reader { keys: self.clone(), identity: Identity::new(&[], source, &mut Places) })
    }
}

pub struct Reader {
    keys: MessageKeys,
    identity: Identity,
}

#[derive(Debug, Default)]
pub struct Made {
    pub items: Vec<Item>,
    pub rejects: Vec<Reject>,
    pub undated: Option<String>,
}

impl Reader {
    pub fn take(&self, message: &RawValue, kind: &Cow<'static, str>, made: &mut Made) -> Option<Item> {
        let data = match keep_json(message) {
            Ok(data) => data,
            Err(why) => {
                made.rejects.push(Reject::new(Outcome::Invalid, None, why, message.get()));
                return None;
            }
        };
        let (mut id, mut published_at) = (None, None);
        if self.keys.id.is_some() || self.keys.published_at.is_some() || !self.keys.ignore.is_empty() {
            let value: Value = serde_json::from_str(message.get()).ok()?;
            let is_met = |(place, wanted): (&String, &Value)| value.pointer(place) == Some(wanted);
            if self.keys.ignore.iter().any(|condition| condition.iter().all(is_met)) {
                return None;
            }
            let text = |place: &Option<String>| value.pointer(place.as_deref()?)?.as_str().map(str::to_owned);
            id = text(&self.keys.id).map(|id| self.identity.of_text(&id));
            published_at = text(&self.keys.published_at).and_then(|at| at.parse().ok());
        }
        made.items.push(Item { id, kind: kind.clone(), published_at, data });
        None
    }
}

#[derive(Debug, Default)]
pub struct Places;

pub struct Identity(String);

impl Identity {
    pub fn new(_ids: &[&str], source: &str, _places: &mut Places) -> Self {
        Self(source.to_owned())
    }

    pub fn of_text(&self, text: &str) -> String {
        if text.len() > 200 {
            return format!("m_~{}_{}", &blake3::hash(text.as_bytes()).to_hex()[..20], self.0);
        }
        format!("m_{text}_{}", self.0)
    }
}
