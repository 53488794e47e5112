//! The JSON Schemas of both kinds of file, made of the structs that read them.

use serde_json::{Map, Value, json};

use crate::source::Adapter;

use super::Service;
use super::common::Common;
use super::preset::{Parameter, Preset};

/// The schema of the keys that all sources share.
pub(super) fn of_common() -> Value {
    schemars::schema_for!(Common).to_value()
}

/// The schema of a source of one kind: the shared keys and the adapter's own, side by side.
pub fn of_source(adapter: &Adapter) -> Value {
    let mut schema = (adapter.schema)().to_value();
    let common = of_common();
    for part in ["properties", "$defs"] {
        let mut all = common.get(part).and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(schema.get(part).and_then(Value::as_object).cloned().unwrap_or_default());
        schema[part] = Value::Object(all);
    }
    schema["properties"]["kind"] = json!({ "const": adapter.kind, "description": adapter.about });
    let own = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    schema["required"] = std::iter::once(json!("kind")).chain(own).collect();
    schema["additionalProperties"] = json!(false);
    schema
}

/// The schema of the service's file.
pub fn of_service() -> Value {
    let mut schema = schemars::schema_for!(Service).to_value();
    schema["title"] = json!("tapline service");
    schema
}

/// The schema of any source file: one branch for each kind.
pub fn of_sources(adapters: &[Adapter]) -> Value {
    let mut definitions = Map::new();
    let mut branches = Vec::new();
    for adapter in adapters {
        let mut schema = of_source(adapter);
        let own = schema.as_object_mut().and_then(|schema| schema.remove("$defs"));
        definitions.extend(own.and_then(|own| own.as_object().cloned()).unwrap_or_default());
        schema.as_object_mut().map(|schema| schema.remove("$schema"));
        branches.push(schema);
    }
    branches.extend(super::preset::all().iter().map(of_preset));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tapline source",
        "oneOf": branches,
        "$defs": definitions,
    })
}

/// The schema of a source that a preset says what it is: any key of its kind may stand beside.
fn of_preset(preset: &Preset) -> Value {
    let parameter = |parameter: &Parameter| {
        let mut schema = json!({ "description": parameter.about });
        if let Some(default) = &parameter.default {
            schema["default"] = default.clone();
        }
        (parameter.name.clone(), schema)
    };
    let parameters: Map<String, Value> = preset.parameters.iter().map(parameter).collect();
    let needed: Vec<&str> =
        preset.parameters.iter().filter(|known| known.is_needed).map(|known| known.name.as_str()).collect();
    let with = json!({ "type": "object", "properties": parameters, "required": needed, "additionalProperties": false });
    let mut required = vec!["preset"];
    required.extend((!needed.is_empty()).then_some("with"));
    json!({
        "type": "object",
        "properties": { "preset": { "const": preset.name, "description": preset.about }, "with": with, "kind": false },
        "required": required,
    })
}
