//! Singer taps that nobody here wrote: one made with the SDK of Meltano, one with the library of Stitch.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::postgres;
use crate::support::tap::{Tap, pause, wait_until};

/// A run takes some seconds.
const LONG: Duration = Duration::from_mins(3);

/// A program of an environment that `scripts/setup` has made.
fn program(environment: &str, name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target").join(environment).join("bin").join(name);
    assert!(program.exists(), "{name} is not installed; run scripts/setup");
    program
}

/// What a tap prints by `--discover`, with the streams that are wanted, as its user would edit it.
fn catalog(tap: &Tap, program: &PathBuf, config: &Value, methods: &[(&str, &str, Option<&str>)]) -> Value {
    let file = tap.path("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let output = Command::new(program).arg("--config").arg(&file).arg("--discover").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut catalog: Value = serde_json::from_slice(&output.stdout).unwrap();
    for stream in catalog["streams"].as_array_mut().unwrap() {
        let name = stream["tap_stream_id"].as_str().unwrap().to_owned();
        let (_, method, key) = methods.iter().find(|(stream, ..)| *stream == name).unwrap();
        stream["replication_method"] = json!(method);
        let whole =
            stream["metadata"].as_array_mut().unwrap().iter_mut().find(|entry| entry["breadcrumb"] == json!([]));
        let whole = &mut whole.unwrap()["metadata"];
        whole["selected"] = json!(true);
        whole["replication-method"] = json!(method);
        if let Some(key) = key {
            whole["replication-key"] = json!(key);
            stream["replication_key"] = json!(key);
        }
    }
    catalog
}

/// What records of a type say at a place, in order.
fn said(tap: &Tap, kind: &str, place: &str) -> Vec<Value> {
    let records = tap.records_so_far("s");
    records.iter().filter(|record| record["type"] == kind).map(|record| record["data"][place].clone()).collect()
}

/// tap-postgres: what is new of one table, another whole, and one without a key; killed in the middle of everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_of_the_sdk_of_meltano() {
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 3 } else { 10 };
    let server = postgres::start();
    let ask = |query: &str| postgres::ask(&server, query);
    ask("create table events (id bigint primary key, price numeric(12, 4) not null)");
    ask("create table doors (name text primary key, state text not null)");
    ask("create table plain (word text)");
    ask("insert into events select n, n / 8.0 from generate_series(1, 20) n");
    ask("insert into doors values ('front', 'open'), ('back', 'open')");
    ask("insert into plain values ('same'), ('same'), ('other')");
    let tap = Tap::new();
    let program = program("singer-sdk", "tap-postgres");
    let config = json!({
        "host": "127.0.0.1", "port": server.port(), "user": "tapline", "password": "none", "database": "postgres",
        "filter_schemas": ["public"],
    });
    let methods = [
        ("public-events", "INCREMENTAL", Some("id")),
        ("public-doors", "FULL_TABLE", None),
        ("public-plain", "FULL_TABLE", None),
    ];
    let catalog = catalog(&tap, &program, &config, &methods);
    let source = json!({
        "kind": "exec", "command": [program], "format": "singer", "config": config, "catalog": catalog, "again": "1s",
        "connects": { "max": 100_000, "per": "1m" },
    });
    tap.source("s", &source.to_string());
    let mut process = tap.run();
    let events = || said(&tap, "public-events", "id").len();
    let front = || {
        let of = |record: &Value| record["type"] == "public-doors" && record["data"]["name"] == "front";
        let records = tap.records_so_far("s").into_iter().filter(of);
        records.map(|record| record["data"]["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    wait_until("all is there", LONG, || {
        events() == 20 && front().len() == 1 && said(&tap, "public-plain", "word").len() == 3
    });
    // It is closed and opened again.
    ask("insert into events select n, n / 8.0 from generate_series(21, 30) n");
    for (state, count) in [("closed", 2), ("open", 3)] {
        ask(&format!("update doors set state = '{state}' where name = 'front'"));
        wait_until("the change is there", LONG, || front().len() == count);
    }
    let (mut random, mut last) = (StdRng::seed_from_u64(7), 30);
    for _ in 0..kills {
        ask(&format!("insert into events select n, n / 8.0 from generate_series({}, {}) n", last + 1, last + 500));
        last += 500;
        pause(Duration::from_millis(random.random_range(0..4000)));
        process.kill();
        process = tap.run();
    }
    let began = Instant::now();
    wait_until("all the others are there", LONG, || events() >= last);
    ask("update doors set state = 'closed' where name = 'front'");
    wait_until("the last change is there", LONG, || front().len() >= 4);
    // Whole runs more, which send everything again.
    let runs = || tap.log().matches("sync_duration").count();
    let before = runs();
    wait_until("it has run again", LONG, || runs() >= before + 9);
    println!("{kills} kills, {} records, {:?} after the last", tap.count("s"), began.elapsed());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found: Vec<u64> = said(&tap, "public-events", "id").iter().map(|id| id.as_u64().unwrap()).collect();
    assert_eq!(found, (1..=last as u64).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(front(), ["open", "closed", "open", "closed"]);
    assert_eq!(said(&tap, "public-doors", "name").len(), 5, "the other is as it was");
    assert_eq!(said(&tap, "public-plain", "word"), ["same", "same", "other"]);
    assert_eq!(tap.count("_rejected/s"), 0, "{:?}", tap.lines("_rejected/s"));
    assert!(tap.lines("s")[0].contains("\"price\":0.1250"), "{}", tap.lines("s")[0]);
}
