//! Members of an object picked, dropped and renamed, as text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use crate::message::{Place, Places};
use crate::pairs::Object;

/// Makes an object of what stands at some places.
#[derive(Debug, Clone, Default)]
pub(super) struct Pick {
    places: Places,
    /// The name of each as JSON, and whether it is a list of what is found.
    names: Vec<(String, bool)>,
    shown: String,
}

/// Leaves members out, and calls others differently.
#[derive(Debug, Clone, Default)]
pub(super) struct Edit {
    pub(super) dropped: BTreeSet<String>,
    pub(super) renamed: BTreeMap<String, String>,
}

impl Pick {
    pub(super) fn add(&mut self, name: &str, place: &Place) {
        self.places.add(place);
        self.names.push((quoted(name), place.is_many()));
        self.shown.push_str(if self.shown.is_empty() { "" } else { ", " });
        self.shown.push_str(place.as_str());
    }

    pub(super) fn apply(&self, data: &RawValue) -> Result<Box<RawValue>, String> {
        let found = self.places.find(data);
        let mut object = String::from("{");
        for (number, (name, is_many)) in self.names.iter().enumerate() {
            let values = found.all(number);
            if values.is_empty() {
                continue;
            }
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(name);
            object.push(':');
            let texts: Vec<&str> = values.iter().map(|value| value.get()).collect();
            if let (false, [.., last]) = (is_many, texts.as_slice()) {
                object.push_str(last);
            } else {
                object.push('[');
                object.push_str(&texts.join(","));
                object.push(']');
            }
        }
        if object.len() == 1 {
            return Err(format!("there is none of what is picked: {}", self.shown));
        }
        object.push('}');
        finish(object)
    }
}

impl Edit {
    pub(super) fn apply(&self, data: &RawValue) -> Result<Box<RawValue>, String> {
        let Object(members) = Object::read(data).ok_or("only members of an object can be dropped and renamed")?;
        let mut object = String::with_capacity(data.get().len());
        object.push('{');
        for (name, value) in members.iter().filter(|(name, _)| !self.dropped.contains(&**name)) {
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(&quoted(self.renamed.get(&**name).map_or(&**name, String::as_str)));
            object.push(':');
            object.push_str(value.get());
        }
        object.push('}');
        finish(object)
    }
}

fn quoted(name: &str) -> String {
    serde_json::to_string(name).expect("invariant: a text has a JSON form")
}

fn finish(object: String) -> Result<Box<RawValue>, String> {
    RawValue::from_string(object).map_err(|error| format!("what was made is not JSON: {error}"))
}
