//! Stores that go by ids, with an outcome for each document.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Faults, State, parts};
use crate::simulator::server::{Reply, Request};

/// A document whose `data` has this field with anything but a number in it does not fit the mapping.
const STRICT: &str = "strict_number";

fn says(status: u16, body: &Value) -> Reply {
    Reply::new(status, "application/json", body.to_string())
}

/// The bulk API, templates, and who it is.
pub(super) fn elasticsearch(faults: &Faults, random: &mut StdRng, state: &mut State, request: &Request) -> Reply {
    let (path, query) = parts(request);
    match (request.method.as_str(), path.as_str()) {
        ("GET", "/") => says(200, &json!({ "version": { "number": "8.15.0" }, "tagline": "You Know, for Search" })),
        ("PUT", path) if path.starts_with("/_index_template/") => {
            let templates = state.documents.entry("_templates".into()).or_default();
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let only_new = query.get("create").is_some_and(|create| create == "true");
            if only_new && templates.contains_key(path) {
                let reason = format!("index template [{path}] already exists");
                return says(
                    400,
                    &json!({ "error": { "type": "illegal_argument_exception", "reason": reason }, "status": 400 }),
                );
            }
            templates.insert(path.to_owned(), body);
            says(200, &json!({ "acknowledged": true }))
        }
        ("GET", path) if path.ends_with("/_count") => {
            says(200, &json!({ "count": count(state, path.trim_matches('/').trim_end_matches("/_count")) }))
        }
        ("POST", "/_bulk") => bulk(faults, random, state, &request.body),
        _ => says(404, &json!({ "error": "no such thing", "status": 404 })),
    }
}

/// How many documents the indices have that an expression such as `bseindex-*` names.
fn count(state: &State, indices: &str) -> usize {
    let is_meant = |name: &str| match indices.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == indices,
    };
    let meant = state.documents.iter().filter(|(name, _)| !name.starts_with('_') && is_meant(name));
    meant.map(|(_, documents)| documents.len()).sum()
}

fn bulk(faults: &Faults, random: &mut StdRng, state: &mut State, body: &[u8]) -> Reply {
    if body.last() != Some(&b'\n') {
        let reason = "The bulk request must be terminated by a newline [\\n]";
        return says(
            400,
            &json!({ "error": { "type": "illegal_argument_exception", "reason": reason }, "status": 400 }),
        );
    }
    let mut lines = body.split(|byte| *byte == b'\n');
    let (mut items, mut errors) = (Vec::new(), false);
    while let (Some(action), Some(document)) = (lines.next().filter(|line| !line.is_empty()), lines.next()) {
        let Ok(action) = serde_json::from_slice::<Value>(action) else {
            return says(
                400,
                &json!({ "error": { "type": "parse_exception", "reason": "malformed action" }, "status": 400 }),
            );
        };
        let (index, id) = (&action["create"]["_index"], &action["create"]["_id"]);
        let (Some(index), Some(id)) = (index.as_str(), id.as_str()) else {
            return says(400, &json!({ "error": { "type": "action_request_validation_exception" }, "status": 400 }));
        };
        let is_busy = random.random_range(0..1_000) < faults.item_busy;
        let item = create(state, index, id, document, is_busy);
        errors |= item["status"] != 201;
        items.push(json!({ "create": item }));
    }
    says(200, &json!({ "errors": errors, "items": items }))
}

fn create(state: &mut State, index: &str, id: &str, document: &[u8], is_busy: bool) -> Value {
    let error = |status: u16, kind: &str, reason: &str| json!({ "status": status, "error": { "type": kind, "reason": reason } });
    if is_busy {
        return error(429, "es_rejected_execution_exception", "rejected execution of coordinating operation");
    }
    let read: Result<Value, _> = serde_json::from_slice(document);
    let fits = read.as_ref().is_ok_and(|read| read["data"].get(STRICT).is_none_or(Value::is_number));
    if !fits {
        return error(400, "document_parsing_exception", "failed to parse field [data.strict_number] of type [long]");
    }
    let documents = state.documents.entry(index.to_owned()).or_default();
    if documents.contains_key(id) {
        return error(409, "version_conflict_engine_exception", "version conflict, document already exists");
    }
    documents.insert(id.to_owned(), String::from_utf8_lossy(document).into_owned());
    json!({ "status": 201 })
}

/// Databases and `_bulk_docs`.
pub(super) fn couchdb(state: &mut State, request: &Request) -> Reply {
    let (path, _) = parts(request);
    let database = path.trim_matches('/').split('/').next().unwrap_or_default().to_owned();
    match request.method.as_str() {
        "PUT" if state.documents.contains_key(&database) => says(
            412,
            &json!({ "error": "file_exists", "reason": "The database could not be created, the file already exists." }),
        ),
        "PUT" => {
            state.documents.insert(database, std::collections::BTreeMap::new());
            says(201, &json!({ "ok": true }))
        }
        "POST" if path.ends_with("/_bulk_docs") => bulk_docs(state, &database, &request.body),
        _ => says(404, &json!({ "error": "not_found", "reason": "missing" })),
    }
}

fn bulk_docs(state: &mut State, database: &str, body: &[u8]) -> Reply {
    let Some(documents) = state.documents.get_mut(database) else {
        return says(404, &json!({ "error": "not_found", "reason": "Database does not exist." }));
    };
    let Ok(read) = serde_json::from_slice::<Value>(body) else {
        return says(400, &json!({ "error": "bad_request", "reason": "invalid UTF-8 JSON" }));
    };
    let results = read["docs"].as_array().into_iter().flatten().map(|document| {
        let id = document["_id"].as_str().unwrap_or_default().to_owned();
        if document["data"].get(STRICT).is_some_and(|number| !number.is_number()) {
            return json!({ "id": id, "error": "forbidden", "reason": "strict_number is a number" });
        }
        if documents.contains_key(&id) {
            return json!({ "id": id, "error": "conflict", "reason": "Document update conflict." });
        }
        documents.insert(id.clone(), document.to_string());
        json!({ "ok": true, "id": id, "rev": "1-0" })
    });
    let results: Vec<Value> = results.collect();
    says(201, &Value::from(results))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_an_expression_names() {
        let mut state = State::default();
        for (index, id) in [("a-1", "x"), ("a-1", "y"), ("a-2", "x"), ("b", "x")] {
            create(&mut state, index, id, b"{}", false);
        }
        state.documents.insert("_templates".into(), [("t".to_owned(), String::new())].into());
        let counts: Vec<usize> = ["a-1", "a-*", "*", "b", "c"].iter().map(|index| count(&state, index)).collect();
        assert_eq!(counts, [2, 3, 4, 1, 0]);
    }
}
