//! Which keys a file may have, read off the JSON Schema of the settings structs, so that nothing is listed twice.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::source::Problem;

use super::yaml::{Kind, Node};

/// A name this far from a right one is a slip of it, in edits.
const SLIP_MAX: usize = 3;

/// What a map may hold: named keys, and whether it takes others.
#[derive(Default)]
struct Shape<'a> {
    named: BTreeMap<&'a str, &'a Value>,
    others: Option<&'a Value>,
}

/// Takes every key that is not in the schema out of the tree, and says so.
pub(super) fn take_unknown(node: &mut Node, schema: &Value, path: &mut Vec<String>, wrong: &mut Vec<Problem>) {
    take(node, &[schema], schema, path, wrong);
}

fn take(node: &mut Node, schemas: &[&Value], root: &Value, path: &mut Vec<String>, wrong: &mut Vec<Problem>) {
    match &mut node.kind {
        Kind::Map(entries) => {
            let Some(shape) = best_shape(schemas, root, entries.iter().map(|entry| entry.key.as_str())) else { return };
            entries.retain_mut(|entry| {
                path.push(entry.key.clone());
                let below = shape.named.get(entry.key.as_str()).copied().or(shape.others);
                match below {
                    Some(below) => take(&mut entry.value, &[below], root, path, wrong),
                    None => wrong.push(Problem::new(path.clone(), unknown(&entry.key, shape.named.keys().copied()))),
                }
                path.pop();
                below.is_some()
            });
        }
        Kind::List(items) => {
            let below: Vec<&Value> = schemas
                .iter()
                .flat_map(|schema| alternatives(schema, root))
                .filter_map(|schema| schema.get("items"))
                .collect();
            // serde would take a list for a map whose keys it knows by their order; nobody means that.
            if below.is_empty() && best_shape(schemas, root, std::iter::empty()).is_some() {
                wrong.push(Problem::new(path.clone(), "this is a list, but a map of keys and values is wanted"));
            }
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                take(item, &below, root, path, wrong);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Of the forms that a map may have, the one that knows most of its keys.
fn best_shape<'a, 'k>(
    schemas: &[&'a Value],
    root: &'a Value,
    keys: impl Iterator<Item = &'k str>,
) -> Option<Shape<'a>> {
    let keys: Vec<&str> = keys.collect();
    let shapes =
        schemas.iter().flat_map(|schema| alternatives(schema, root)).filter_map(|schema| shape_of(schema, root));
    shapes.max_by_key(|shape| {
        keys.iter().filter(|key| shape.named.contains_key(*key)).count() + usize::from(shape.others.is_some())
    })
}

fn shape_of<'a>(schema: &'a Value, root: &'a Value) -> Option<Shape<'a>> {
    let mut shape = Shape::default();
    let mut is_map = false;
    let parts = std::iter::once(schema).chain(list(schema, "allOf").iter().map(|part| resolve(part, root)));
    for part in parts {
        if let Some(properties) = part.get("properties").and_then(Value::as_object) {
            is_map = true;
            shape.named.extend(properties.iter().map(|(key, below)| (key.as_str(), below)));
        }
        if let Some(others) = part.get("additionalProperties").filter(|others| **others != Value::Bool(false)) {
            is_map = true;
            shape.others = Some(others);
        }
    }
    is_map.then_some(shape)
}

/// The schema itself and everything that it allows instead.
fn alternatives<'a>(schema: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    let schema = resolve(schema, root);
    let mut found = vec![schema];
    for word in ["anyOf", "oneOf"] {
        found.extend(list(schema, word).iter().flat_map(|schema| alternatives(schema, root)));
    }
    found
}

fn list<'a>(schema: &'a Value, word: &str) -> &'a [Value] {
    schema.get(word).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => format!("unknown key; allowed here: {}", known.join(", ")),
    }
}

/// The name that is meant by one that is not quite right.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let near = known.map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), known)).min()?;
    // In a short name few edits make another word.
    (near.0 <= SLIP_MAX.min(name.chars().count() / 2)).then_some(near.1)
}
