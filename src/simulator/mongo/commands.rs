//! What the simulated `MongoDB` does.

use std::net::SocketAddr;

use mongodb::bson::{Bson, Document, doc, serialize_to_vec};

use super::scram::Scram;
use super::{Faults, Peer, State};

/// The most bytes of a document, and how many a write may have.
const DOCUMENT_MAX: i32 = 16_777_216;
const BATCH_MAX: i32 = 100_000;

/// How many levels a document may have in the server.
const LEVELS_MAX: usize = 180;

/// A document of a collection of this name whose `data` has this field with anything but a number in it is not valid.
const STRICT: &str = "strict_number";

pub(super) fn is_hello(name: &str) -> bool {
    matches!(name, "hello" | "isMaster" | "ismaster")
}

/// Carries out a command.
pub(super) fn answer(
    state: &mut State,
    peer: &mut Peer,
    command: &Document,
    address: SocketAddr,
    faults: &Faults,
    chance: &mut dyn FnMut(u32) -> bool,
) -> Document {
    let Some((name, value)) = command.iter().next() else { return error(9, "FailedToParse", "an empty command") };
    let free = is_hello(name) || name.starts_with("sasl");
    if !free && !state.users.is_empty() && !peer.is_known {
        return error(13, "Unauthorized", &format!("Command {name} requires authentication"));
    }
    match name.as_str() {
        "hello" | "isMaster" | "ismaster" => hello(state.announced.unwrap_or(address)),
        "ping" | "endSessions" | "killCursors" => doc! { "ok": 1.0 },
        "buildInfo" | "buildinfo" => doc! { "version": "7.0.14", "versionArray": [7, 0, 14, 0], "ok": 1.0 },
        "saslStart" => {
            let scram = Scram::start(&state.users, command);
            scram.map_or_else(refused, |(scram, payload)| {
                peer.login = Some(scram);
                doc! { "conversationId": 1, "done": false, "payload": payload, "ok": 1.0 }
            })
        }
        "saslContinue" => match peer.login.as_mut().and_then(|login| login.go_on(command)) {
            Some((payload, done)) => {
                peer.is_known |= done;
                doc! { "conversationId": 1, "done": done, "payload": payload, "ok": 1.0 }
            }
            None => refused(),
        },
        "insert" => numbered(state, command, |state| insert(state, command, value, faults, chance)),
        "find" => find(state, command, value),
        _ => error(59, "CommandNotFound", &format!("no such command: '{name}'")),
    }
}

fn error(code: i32, name: &str, message: &str) -> Document {
    doc! { "ok": 0.0, "errmsg": message, "code": code, "codeName": name }
}

fn refused() -> Document {
    error(18, "AuthenticationFailed", "Authentication failed.")
}

fn hello(address: SocketAddr) -> Document {
    let me = address.to_string();
    doc! {
        "helloOk": true, "isWritablePrimary": true, "ismaster": true, "secondary": false, "setName": "rs0", "setVersion": 1,
        "hosts": [&me], "primary": &me, "me": &me, "maxBsonObjectSize": DOCUMENT_MAX, "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": BATCH_MAX, "logicalSessionTimeoutMinutes": 30, "minWireVersion": 0, "maxWireVersion": 21,
        "readOnly": false, "saslSupportedMechs": ["SCRAM-SHA-256"], "ok": 1.0,
    }
}

/// A write that a driver sends again under the same number is not carried out again.
fn numbered(state: &mut State, command: &Document, carry_out: impl FnOnce(&mut State) -> Document) -> Document {
    let session = command.get_document("lsid").ok().and_then(|session| session.get("id")).map(ToString::to_string);
    let (Some(session), Ok(number)) = (session, command.get_i64("txnNumber")) else { return carry_out(state) };
    if let Some((_, answer)) = state.answered.get(&session).filter(|(last, _)| *last == number) {
        return answer.clone();
    }
    let answer = carry_out(state);
    if answer.get_f64("ok").is_ok_and(|ok| ok > 0.0) {
        state.answered.insert(session, (number, answer.clone()));
    }
    answer
}

fn insert(
    state: &mut State,
    command: &Document,
    collection: &Bson,
    faults: &Faults,
    chance: &mut dyn FnMut(u32) -> bool,
) -> Document {
    state.inserts += 1;
    if let Some((code, name)) = state.refuse {
        return error(code, name, &format!("not authorized on live to execute command {{ insert: {collection} }}"));
    }
    if chance(faults.not_primary) {
        let mut answer = error(10107, "NotWritablePrimary", "not primary");
        answer.insert("errorLabels", vec!["RetryableWriteError"]);
        return answer;
    }
    let empty = Vec::new();
    let documents = command.get_array("documents").unwrap_or(&empty);
    if documents.is_empty() || documents.len() > BATCH_MAX as usize {
        let message =
            format!("Write batch sizes must be between 1 and {BATCH_MAX}. Got {} operations.", documents.len());
        return error(16, "InvalidLength", &message);
    }
    let namespace = format!("{}.{}", command.get_str("$db").unwrap_or("test"), collection.as_str().unwrap_or_default());
    let ordered = command.get_bool("ordered").unwrap_or(true);
    let (mut written, mut errors) = (0, Vec::new());
    for (index, document) in documents.iter().enumerate() {
        match document.as_document().map(|document| one(state, &namespace, document)) {
            Some(Ok(())) => written += 1,
            Some(Err(mut error)) => {
                error.insert("index", i32::try_from(index).unwrap_or(i32::MAX));
                errors.push(error);
                if ordered {
                    break;
                }
            }
            None => return error(14, "TypeMismatch", "a document is no document"),
        }
    }
    let mut answer = doc! { "n": written, "ok": 1.0 };
    if !errors.is_empty() {
        answer.insert("writeErrors", errors);
    }
    if chance(faults.write_concern) {
        let message = "waiting for replication timed out";
        answer.insert("writeConcernError", doc! { "code": 64, "codeName": "WriteConcernTimeout", "errmsg": message });
    }
    answer
}

fn one(state: &mut State, namespace: &str, document: &Document) -> Result<(), Document> {
    let item = |code: i32, message: String| doc! { "index": 0, "code": code, "errmsg": message };
    let size = serialize_to_vec(document).map_or(usize::MAX, |bytes| bytes.len());
    if size > DOCUMENT_MAX as usize {
        return Err(item(
            10334,
            format!("object to insert too large. size in bytes: {size}, max size: {DOCUMENT_MAX}"),
        ));
    }
    if levels(&Bson::Document(document.clone())) > LEVELS_MAX {
        return Err(item(15, format!("Document exceeds maximum nested object depth of {LEVELS_MAX}")));
    }
    let strict = document.get_document("data").ok().and_then(|data| data.get(STRICT));
    if strict.is_some_and(|number| !matches!(number, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_))) {
        return Err(item(121, "Document failed validation".into()));
    }
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    let key = id.to_string();
    let duplicate = |index: &str, key: String| {
        item(11000, format!("E11000 duplicate key error collection: {namespace} index: {index} dup key: {key}"))
    };
    let all = state.documents.entry(namespace.to_owned()).or_default();
    if all.contains_key(&key) {
        return Err(duplicate("_id_", format!("{{ _id: {id} }}")));
    }
    if let Some(field) = state.unique.get(namespace) {
        let value = |document: &Document| document.get_document("data").ok().and_then(|data| data.get(field)).cloned();
        if let Some(own) = value(document).filter(|own| all.values().any(|other| value(other).as_ref() == Some(own))) {
            return Err(duplicate(&format!("data.{field}_1"), format!("{{ data.{field}: {own} }}")));
        }
    }
    all.insert(key, document.clone());
    Ok(())
}

fn levels(value: &Bson) -> usize {
    match value {
        Bson::Document(document) => 1 + document.values().map(levels).max().unwrap_or(0),
        Bson::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// Everything, or what has one `_id`; in one batch.
fn find(state: &State, command: &Document, collection: &Bson) -> Document {
    let namespace = format!("{}.{}", command.get_str("$db").unwrap_or("test"), collection.as_str().unwrap_or_default());
    let wanted = command.get_document("filter").ok().and_then(|filter| filter.get("_id"));
    let all = state.documents.get(&namespace).into_iter().flat_map(|all| all.values());
    let found: Vec<Document> =
        all.filter(|document| wanted.is_none_or(|wanted| document.get("_id") == Some(wanted))).cloned().collect();
    doc! { "cursor": { "firstBatch": found, "id": 0_i64, "ns": namespace }, "ok": 1.0 }
}
