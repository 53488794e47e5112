//! Singer taps that nobody here wrote: one made with the SDK of Meltano, one with the library of Stitch.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What a tap prints by `--discover`.
fn discovered(tap: &Tap, program: &Path, config: &Value) -> Value {
    let file = tap.path("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let output = Command::new(program).arg("--config").arg(&file).arg("--discover").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same with the streams that are wanted, as its user would edit it.
fn catalog(tap: &Tap, program: &Path, config: &Value, methods: &[(&str, &str, Option<&str>)]) -> Value {
    let mut catalog = discovered(tap, program, config);
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
    assert!(tap.lines("s").iter().any(|line| line.contains(r#""data":{"id":1,"price":0.1250}"#)), "digit for digit");
}

/// An API of numbered rows, ten on a page, of which there are more and more. All say the same.
fn rows(count: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // Who asks may be killed at any moment.
            answer(connection.unwrap(), count.load(Ordering::Relaxed)).ok();
        }
    });
    address
}

fn answer(mut connection: TcpStream, count: u64) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let asked = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let number = |name: &str| {
        let digits = asked.split(name).nth(1)?.split(|sign: char| !sign.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    let (start, offset) = (number("start=").unwrap_or(0).max(1), number("offset=").unwrap_or(0));
    let page = (start + offset..=count).take(10).map(|id| json!({ "id": id, "word": "same" }));
    let body = page.collect::<Value>().to_string();
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")?;
    write!(connection, "content-length: {}\r\n\r\n{body}", body.len())
}

/// tap-rest-api: no key, no bookmark properties, a STATE at the end of what is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_with_the_library_of_stitch() {
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 4 } else { 8 };
    let count = Arc::new(AtomicU64::new(30));
    let address = rows(Arc::clone(&count));
    let tap = Tap::new();
    let program = program("singer-python", "tap-rest-api");
    std::fs::create_dir(tap.path("schema")).unwrap();
    let schema =
        json!({ "type": "object", "properties": { "id": { "type": "integer" }, "word": { "type": "string" } } });
    std::fs::write(tap.path("schema/rows.json"), schema.to_string()).unwrap();
    let config = json!({
        "url": format!("http://{address}/rows?start={{start_index}}&offset={{current_offset}}"), "auth_method": "no_auth",
        "streams": "rows", "schema_dir": tap.path("schema"), "index_key": "id", "start_index": 0, "items_per_page": 10,
        "record_list_level": "[*]",
    });
    let mut catalog = discovered(&tap, &program, &config);
    catalog["streams"][0]["schema"]["selected"] = json!(true);
    let source = json!({
        "kind": "exec", "command": [program], "format": "singer", "config": config, "catalog": catalog, "again": "1s",
        "connects": { "max": 100_000, "per": "1m" },
    });
    tap.source("s", &source.to_string());
    let mut process = tap.run();
    let ids = || said(&tap, "rows", "id");
    wait_until("all is there", LONG, || ids().len() == 30);
    let mut random = StdRng::seed_from_u64(8);
    for kill in 0..kills {
        let more = count.fetch_add(200, Ordering::Relaxed);
        if kill % 2 == 1 {
            wait_until("some are there", LONG, || ids().len() as u64 > more);
        }
        pause(Duration::from_millis(random.random_range(0..1500)));
        process.kill();
        process = tap.run();
    }
    let all = count.load(Ordering::Relaxed);
    wait_until("all the others are there", LONG, || ids().len() as u64 >= all);
    let runs = || tap.log().matches("Completed sync").count();
    let before = runs();
    wait_until("it has run again", LONG, || runs() >= before + 3);
    println!("{kills} kills, {} records", tap.count("s"));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found: Vec<u64> = ids().iter().map(|id| id.as_u64().unwrap()).collect();
    assert_eq!(found, (1..=all).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(tap.count("_rejected/s"), 0, "{:?}", tap.lines("_rejected/s"));
}
