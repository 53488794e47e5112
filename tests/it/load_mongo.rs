//! `MongoDB`: the simulated one, which keeps what comes by the real one's rules, and by `TAPLINE_TEST_MONGODB` a real one.

use std::collections::BTreeSet;
use std::process::Command;

use mongodb::bson::Document;
use tapline::simulator::mongo::{Faults, Mongo};

use crate::support::loading::{Pile, id, killed, load, load_all};
use crate::support::relay::Relay;
use crate::support::tap::{PATIENCE, Tap, wait_until};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn ids(mongo: &Mongo, namespace: &str) -> Vec<String> {
    let state = mongo.state();
    let all = state.documents.get(namespace).into_iter().flat_map(|all| all.values());
    all.map(|document| document.get_str("_id").unwrap().to_owned()).collect()
}

#[test]
fn killed_a_hundred_times_every_document_is_there_once() {
    let runtime = runtime();
    let faults = Faults { seed: 7, not_primary: 20, write_concern: 3, cut_before: 20, cut_after: 20 };
    let mongo = runtime.block_on(Mongo::start(0, faults)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut relay = Relay::start(&mongo.address());
    mongo.state().announced = Some(relay.address());
    let to = format!("mongodb://{}/live", relay.address());
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let found = killed(&mut pile, &to, &["--batch-records", "100"], kills, each, |round| relay.each_time(round));
    println!("{found:?}, {} kills of the other side", relay.kills());
    assert!(relay.kills() * 7 > kills, "{}: most runs in which it is to be killed have to do with it", relay.kills());
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    assert!(ids(&mongo, "live.pile").into_iter().eq(pile.ids()));
    mongo.state().is_well = true;
    let first: Vec<Document> = mongo.state().documents["live.pile"].values().cloned().collect();
    for round in 0..3 {
        load_all(&root, &to, &["--name", &format!("replay-{round}")]);
    }
    let then: Vec<Document> = mongo.state().documents["live.pile"].values().cloned().collect();
    assert!(first == then, "a replay changes nothing");
}

#[test]
fn hostile_data_is_there_or_dead_with_its_reason() {
    let runtime = runtime();
    let mongo = runtime.block_on(Mongo::start(0, Faults::default())).unwrap();
    mongo.state().unique.insert("live.pile".into(), "only".into());
    let tap = Tap::new();
    let mut pile = Pile::new(&tap.data(), "pile");
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let data: Vec<String> = vec![
        r#"{"strict_number":"first of the batch"}"#.into(),
        r#"{"big":9223372036854775807,"more":18446744073709551615,"exact":59465.68}"#.into(),
        r#"{"$set":{"a.b":1},"":2,"nul":"\u0000"}"#.into(),
        r#"{"nul\u0000in a name":1}"#.into(),
        deep(60),
        deep(120),
        r#"{"only":1}"#.into(),
        r#"{"only":1}"#.into(),
        format!("{{\"long\":\"{}\"}}", "x".repeat(17 << 20)),
        r#""\ud800""#.into(),
        r#"{"strict_number":"last of the batch"}"#.into(),
    ];
    pile.add(20);
    pile.add_data(data);
    let output =
        load(&tap.data(), &format!("mongodb://{}/live", mongo.address()), &["--name", "mongo"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let there: BTreeSet<String> = ids(&mongo, "live.pile").into_iter().collect();
    let expected: BTreeSet<String> = (0..20).chain([21, 22, 24, 26]).map(id).collect();
    assert_eq!(there, expected, "{said}");
    let state = mongo.state();
    let documents = &state.documents["live.pile"];
    let data = |number: usize| documents[&format!("\"{}\"", id(number))].get_document("data").unwrap();
    assert_eq!(data(21).get_i64("big").unwrap(), i64::MAX);
    assert_eq!(data(21).get_decimal128("more").unwrap().to_string(), "18446744073709551615");
    assert_eq!(data(21).get_f64("exact").unwrap().to_string(), "59465.68");
    assert_eq!(data(22).get_document("$set").unwrap().get_i32("a.b").unwrap(), 1);
    assert_eq!(data(22).get_str("nul").unwrap(), "\0");
}

#[test]
fn who_may_not_is_told_and_drops_nothing() {
    let runtime = runtime();
    let mongo = runtime.block_on(Mongo::start(0, Faults::default())).unwrap();
    mongo.state().users.insert("me".into(), "right-word".into());
    let tap = Tap::new();
    let mut pile = Pile::new(&tap.data(), "pile");
    pile.add(100);
    for (login, word) in [("", "requires authentication"), ("me:wrong-word@", "uthentication failed")] {
        let to = format!("mongodb://{login}{}/live", mongo.address());
        let output = load(&tap.data(), &to, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word) && said.contains("somebody must act"), "{said}");
        assert!(!said.contains("wrong-word"), "{said}");
    }
    mongo.state().refuse = Some((13, "Unauthorized"));
    let to = format!("mongodb://me:right-word@{}/live", mongo.address());
    tap.settings(&format!("loaders: [{{ to: '{to}', name: mongo }}]\n"));
    let process = tap.run();
    let loader = || -> serde_json::Value {
        let output = tap.command(&["loaders", "--json"]).output().unwrap();
        let all = String::from_utf8(output.stdout).unwrap();
        let all = all.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        all.into_iter().find(|loader| loader["loader"] == "mongo").unwrap_or_default()
    };
    wait_until("it is parked", PATIENCE, || loader()["state"] == "parked");
    assert!(loader()["error"].as_str().unwrap().contains("13 (Unauthorized)"), "{}", loader());
    mongo.state().refuse = None;
    wait_until("it goes on by itself", PATIENCE, || loader()["records"] == 100);
    assert_eq!((loader()["dead"].clone(), ids(&mongo, "live.pile").len()), (0.into(), 100));
    drop(process);
}

/// The stand-in against a client that nobody here wrote: `pymongo` sees what the loader wrote, and is refused what the
/// real server would refuse.
#[test]
fn pymongo_finds_what_was_loaded() {
    let runtime = runtime();
    let mongo = runtime.block_on(Mongo::start(0, Faults::default())).unwrap();
    mongo.state().users.insert("me".into(), "word".into());
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(300);
    let to = format!("mongodb://me:word@{}/live", mongo.address());
    load_all(&root, &to, &[]);
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("target/python/bin/python");
    let output = Command::new(python).arg(here.join("tests/fixtures/pymongo/read.py")).arg(&to).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["count"], 300);
    assert_eq!(found["first"], "t_00000000");
    assert_eq!(found["observed_at"], "2026-11-22T20:00:00.123000+00:00");
    assert_eq!(found["data"]["text"], "π ≈ 3, \"quoted\"\n");
    assert_eq!(found["duplicate"], 11000);
    assert_eq!(mongo.state().documents["live.pile"].len(), 300);
}

/// Not run unless `TAPLINE_TEST_MONGODB` names a server, such as `mongodb://localhost`.
#[test]
fn a_real_mongodb_has_each_document_once() {
    let Ok(server) = std::env::var("TAPLINE_TEST_MONGODB") else {
        println!("TAPLINE_TEST_MONGODB names no server: nothing is tested");
        return;
    };
    let database = format!("tapline_test_{}", std::process::id());
    let to = format!("{}/{database}", server.trim_end_matches('/'));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    killed(&mut pile, &to, &["--batch-records", "100"], 20, 1_000, |_| {});
    load_all(&root, &to, &["--name", "replay"]);
    runtime().block_on(async {
        let client = mongodb::Client::with_uri_str(&to).await.unwrap();
        let database = client.database(&database);
        let count = database.collection::<Document>("pile").count_documents(Document::new()).await.unwrap();
        assert_eq!(count, pile.len() as u64);
        database.drop().await.unwrap();
    });
}
