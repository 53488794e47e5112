//! A data folder that the first format's version wrote, killed at work: it is read, and it is gone on with, for ever.
//!
//! `tests/fixtures/data-format-1` is that folder as it was, with what is in it beside it. It is never written again: a
//! later version that cannot go on with it breaks what was promised. When the format changes, this module is copied for
//! the next one, whose folder is written by
//! `TAPLINE_WRITE_FIXTURE=tests/fixtures/data-format-2 cargo test --test it format_two::write`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tapline::config::{Compress, Durability, Retain, Rotate};
use tapline::fs::Disk;
use tapline::pipeline::commit::{Commits, kept_key};
use tapline::report::committed::Committed;
use tapline::simulator::Running as _;
use tapline::simulator::quote::{Exchange, Quote};
use tapline::simulator::x::{Settings, X};
use tapline::sinks::segments::Spec;
use tapline::units::{Size, Span};

use crate::support::tap::{PATIENCE, Process, Tap, pause, wait_until};
use crate::torture_kill::run_child;

/// What is in the folder, as the version that wrote it read it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Contents {
    /// By stream.
    streams: BTreeMap<String, Lines>,
    /// Records that are in the files though their source had not got so far when it was killed, by source.
    kept: BTreeMap<String, Vec<String>>,
    /// Records that the service's loader had brought to its store, and those that `tapline load` had.
    loaded: usize,
    loaded_by_hand: usize,
}

/// The committed lines of a stream.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Lines {
    count: usize,
    /// Of all of them, with their line feeds.
    sha256: String,
}

const STREAMS: [&str; 5] = ["_ledger", "_rejected/index", "index", "prices", "x"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-format-1")
}

fn settings(tap: &Tap) {
    tap.settings(&format!(
        "rotate: {{ size: 4KiB, every: 1h }}\ncommit: {{ every: 40ms, size: 1MiB }}\nloaders: [{{ name: out, to: 'sqlite:{}', \
         streams: [index, x] }}]\n",
        tap.path("out.db").display()
    ));
}

fn sources(tap: &Tap, exchange: &Exchange, x: &X) {
    let price = "fields: { price: { css: span.red14px, type: number, locale: en-IN } }";
    tap.source("index", &format!("kind: scrape\nurl: {}\nevery: 100ms\n{price}\n", exchange.url("/")));
    tap.source(
        "prices",
        &format!(
            "kind: scrape\nurl: {}\nevery: 200ms\n{price}\noutput: {{ link: prices.txt, format: '{{id}} {{price}}', compress: gzip }}\n",
            exchange.url("/")
        ),
    );
    tap.source(
        "x",
        &format!(
            "kind: x_stream\nbase_url: http://{}\nauth: {{ bearer: simulated-token }}\nconnects: {{ max: 100000, per: 1m }}\n\
             rules: [{{ value: cat, tag: cats }}]\ntweet_fields: [created_at, author_id]\n",
            x.address()
        ),
    );
}

async fn upstreams(faults: &str) -> (Exchange, X) {
    let exchange = Quote::new().step(Duration::ZERO).faults(faults.parse().unwrap()).start(0).await.unwrap();
    let settings = Settings {
        keep_alive: Duration::from_millis(300),
        connects_max: 1_000_000,
        connections_max: 9,
        ..Settings::default()
    };
    (exchange, X::start(0, settings).await.unwrap())
}

/// What a folder holds, by way of the program's own reader.
fn contents(tap: &Tap) -> Contents {
    let committed = Committed::look(&tap.data()).unwrap();
    let streams = STREAMS.iter().map(|stream| {
        let (mut hash, mut count) = (Sha256::new(), 0);
        committed
            .lines(stream, None, &mut |line| {
                hash.update(line);
                hash.update(b"\n");
                count += 1;
            })
            .unwrap();
        let sha256 = data_encoding::HEXLOWER.encode(&hash.finalize());
        ((*stream).to_owned(), Lines { count, sha256 })
    });
    let kept = ["index", "x"].iter().filter_map(|source| {
        let ids = committed.state().get(&kept_key(source))?;
        Some(((*source).to_owned(), serde_json::from_str(ids.get()).unwrap()))
    });
    Contents {
        streams: streams.collect(),
        kept: kept.collect(),
        loaded: rows(&tap.path("out.db"), &["index", "x"]).len(),
        loaded_by_hand: rows(&tap.path("by-hand.db"), &["index"]).len(),
    }
}

/// The ids in some tables of a store; one that is not there yet has none.
fn rows(file: &Path, tables: &[&str]) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut found = Vec::new();
    for table in tables {
        let Ok(mut statement) = connection.prepare(&format!("SELECT id FROM \"{table}\"")) else { continue };
        let ids = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        found.extend(ids.map(Result::unwrap));
    }
    found
}

fn load_by_hand(tap: &Tap) {
    let to = format!("sqlite:{}", tap.path("by-hand.db").display());
    let output = tap.command(&["load", "--to", &to, "--stream", "index", "--name", "by-hand"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Not a test: writes such a folder where it is asked to.
#[tokio::test(flavor = "multi_thread")]
async fn write() {
    let Some(to) = std::env::var_os("TAPLINE_WRITE_FIXTURE").map(PathBuf::from) else { return };
    let (exchange, x) = upstreams("10%:layout").await;
    let tap = Arc::new(Tap::new());
    settings(&tap);
    sources(&tap, &exchange, &x);
    let posting = tokio::spawn(async move {
        for number in 0.. {
            x.publish(&format!("a cat of the number {number} \u{1f408} \"quoted\""));
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    });
    let process = tap.start();
    for (stream, count) in [("index", 40), ("prices", 45), ("x", 40)] {
        tap.wait_for_lines(stream, count);
    }
    wait_until("some is compressed", PATIENCE, || {
        tap.files_ending("x", "zst") > 1 && tap.files_ending("prices", "gz") > 0
    });
    wait_until("some is loaded", PATIENCE, || rows(&tap.path("out.db"), &["index", "x"]).len() > 50);
    end(process);
    load_by_hand(&tap);
    let uncommitted = (40..400).find(|at| {
        run_child(&tap, *at);
        ["index", "x"].iter().all(|stream| whole_lines_behind(&tap, stream) > 0)
    });
    posting.abort();
    println!("killed at operation {uncommitted:?}");
    take_up(&tap);
    let contents = contents(&tap);
    assert_eq!(contents.kept.len(), 2, "{contents:?}");
    for name in ["data", "out.db", "by-hand.db"] {
        let copied = std::process::Command::new("cp").arg("-a").args([tap.path(name), to.join(name)]).status().unwrap();
        assert!(copied.success(), "into {}", to.display());
    }
    fs::write(to.join("contents.json"), serde_json::to_string_pretty(&contents).unwrap() + "\n").unwrap();
}

fn end(mut process: Process) {
    assert_eq!(process.terminate().0, Some(0));
}

/// How many whole lines stand in a stream's active segment that no commit knows.
fn whole_lines_behind(tap: &Tap, stream: &str) -> usize {
    let saved = Committed::look(&tap.data()).unwrap().saved(stream).unwrap().unwrap();
    let text = tap.segments(stream).remove(&saved.segment).unwrap_or_default();
    text.get(usize::try_from(saved.len).unwrap()..).unwrap_or_default().matches('\n').count()
}

/// Recovers every stream as a start does, and ends before a driver could look at what was kept.
fn take_up(tap: &Tap) {
    let now: DateTime<Utc> = Committed::look(&tap.data()).unwrap().now;
    let mut commits = Commits::open(Arc::new(Disk), &tap.data(), Durability::Commit, now).unwrap();
    for stream in STREAMS {
        let spec = Spec {
            name: stream.into(),
            rotate: Rotate { size: Size(4 << 10), every: Span(Duration::from_hours(1)) },
            compress: Compress::Zstd,
            retain: Retain::default(),
            timezone: chrono_tz::Tz::UTC,
            link: None,
        };
        commits.add_stream(spec).unwrap();
    }
    commits.commit(now).unwrap();
}

/// A copy of the folder, for a test to go on with.
fn copy() -> (Tap, Contents) {
    let tap = Tap::new();
    settings(&tap);
    for name in ["data", "out.db", "by-hand.db"] {
        let copied = std::process::Command::new("cp").arg("-a").args([fixture().join(name), tap.path(name)]).status();
        assert!(copied.unwrap().success());
    }
    let contents = serde_json::from_str(&fs::read_to_string(fixture().join("contents.json")).unwrap()).unwrap();
    (tap, contents)
}

/// The folder has what a long-lived one has; were something missing, the tests below would prove less.
#[test]
fn it_has_every_kind_of_thing_in_it() {
    let (tap, contents) = copy();
    assert_eq!(contents.streams.keys().collect::<Vec<_>>(), STREAMS.iter().collect::<Vec<_>>());
    assert!(contents.streams.values().all(|lines| lines.count > 0), "{contents:?}");
    assert_eq!(contents.kept.keys().collect::<Vec<_>>(), ["index", "x"], "ids that recovery kept");
    assert!(
        tap.files_ending("x", "zst") > 1
            && tap.files_ending("prices", "gz") > 0
            && tap.files_ending("prices", "txt") > 0
    );
    assert!(contents.loaded > 50 && contents.loaded_by_hand > 20, "{contents:?}");
    let kinds: BTreeSet<String> =
        tap.records("_ledger").iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect();
    for kind in ["started", "stopped", "outcomes", "outcome", "connected", "rules"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    let size: u64 = fs::read_dir(fixture()).unwrap().count() as u64;
    assert_eq!(size, 5, "the data, two stores, what is in them, and a word about it");
}

/// Whatever is only read is not changed, and says what it said.
#[test]
fn every_command_reads_it() {
    let (tap, written) = copy();
    assert_eq!(contents(&tap), written);
    let run = |arguments: &[&str]| {
        let output = tap.command(arguments).current_dir(tap.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code().is_some_and(|code| code < 2) && !said.contains("tapline:"),
            "{arguments:?}: {said}"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    let names: Vec<String> =
        json(&run(&["status", "--json"]))[1..].iter().map(|line| line["source"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["index", "prices", "x"]);
    let coverage = run(&["coverage", "index", "--json"]);
    assert!(json(&coverage).iter().any(|line| line["source"] == "index"), "{coverage}");
    let last = json(&run(&["tail", "x", "--no-follow", "--json", "--last", "2"]));
    assert_eq!(last, tap.records("x").split_off(written.streams["x"].count - 2));
    let loaders = json(&run(&["loaders", "--json"]));
    for (name, loaded) in [("out", written.loaded), ("by-hand", written.loaded_by_hand)] {
        let loader = loaders.iter().find(|line| line["loader"] == name).unwrap_or_else(|| panic!("{loaders:?}"));
        let records = usize::try_from(loader["records"].as_u64().unwrap()).unwrap();
        // The store may have one batch more than its answer was heard for.
        assert!(records > 0 && (loaded - records) < 10, "{loader}");
    }
    run(&["export", "--to", "jsonl.zst", "--out", "export"]);
    assert!(tap.path("export/MANIFEST.json").exists());
}

/// The program in `docs/format.md`, which whoever has no tapline reads the folder with.
#[test]
fn the_documentation_reads_it() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let (_, program) = page.split_once("```python\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    let (tap, _) = copy();
    // Behind the last frame there is one that was cut off.
    let log = tap.data().join(".tapline/commit-000000000003.log");
    let mut torn = fs::read(&log).unwrap();
    torn.extend_from_within(..50);
    fs::write(&log, torn).unwrap();
    let output = std::process::Command::new("python3").args(["-c", program]).arg(tap.data()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let read: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let committed = Committed::look(&tap.data()).unwrap();
    let known = committed.state().iter().map(|(key, value)| (key.clone(), serde_json::from_str(value.get()).unwrap()));
    assert_eq!(read, known.collect::<BTreeMap<String, Value>>());
    for key in read.keys() {
        let kind = key.split('/').next().unwrap();
        assert!(page.contains(&format!("| `{kind}")), "docs/format.md has the key {key}");
    }
}

/// The service goes on: nothing that was there is lost or changed, what upstream sends again is recognised, the books
/// are taken up, and both loaders load only what they have not.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_on_with_it() {
    for says_its_format in [true, false] {
        let (tap, written) = copy();
        if !says_its_format {
            // As what was written before there was such a file.
            fs::remove_file(tap.data().join(".tapline/format.json")).unwrap();
        }
        let before: BTreeMap<&str, Vec<String>> = STREAMS.iter().map(|stream| (*stream, tap.lines(stream))).collect();
        let (exchange, x) = upstreams("").await;
        sources(&tap, &exchange, &x);
        let process = tap.start();
        wait_until("it is connected", PATIENCE, || x.connections().iter().any(|line| line.closed_at.is_none()));
        // What upstream sends again after a loss: the last of what it sent, with what was kept behind it.
        let last = &before["x"][before["x"].len() - 40..];
        assert!(written.kept["x"].iter().filter(|id| id.starts_with("x_")).all(|id| last.concat().contains(&**id)));
        for line in last {
            x.say(&serde_json::from_str::<Value>(line).unwrap()["data"].to_string());
        }
        for number in 0..40 {
            x.publish(&format!("another cat, {number}"));
        }
        for (stream, more) in [("x", 40), ("index", 30), ("prices", 20)] {
            tap.wait_for_lines(stream, before[stream].len() + more);
        }
        pause(Duration::from_millis(200));
        end(process);
        for (stream, before) in &before {
            let now = tap.lines(stream);
            assert!(now.len() >= before.len() && now[..before.len()] == before[..], "{stream} lost or changed lines");
            let ids: BTreeSet<(String, String)> = tap.records(stream).iter().map(identity).collect();
            assert_eq!(ids.len(), now.len(), "{stream} has a line twice");
        }
        assert_eq!(tap.lines("x").len(), before["x"].len() + 40, "what was sent again is not there again");
        let cut_off = tap
            .ledger("index")
            .into_iter()
            .find(|entry| entry["data"]["reason"].as_str().is_some_and(|reason| reason.contains("was killed before")));
        let kept: BTreeSet<&str> =
            written.kept["index"].iter().filter_map(|id| id.strip_prefix("r_")?.split('_').next()).collect();
        assert_eq!(cut_off.expect("kept ticks are accounted for")["data"]["count"], kept.len());
        tap.assert_accounted("index", Duration::from_millis(100));
        check_texts(&tap);
        check_loaded(&tap);
    }
}

fn identity(record: &Value) -> (String, String) {
    (record["source"].to_string(), record["id"].to_string())
}

/// The rendering says what the records say.
fn check_texts(tap: &Tap) {
    let files = tap.files("prices").unwrap();
    let texts = files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "txt"));
    let text: String = texts.map(|file| fs::read_to_string(file).unwrap()).collect();
    // As it stands in the line: a float would lose the zero of 59396.70.
    let between = |line: &str, before: &str, after: char| {
        line.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(found, _)| found.to_owned()).unwrap()
    };
    let lines = tap.lines("prices");
    let expected =
        lines.iter().map(|line| [between(line, "\"id\":\"", '"'), between(line, "\"price\":", '}')].join(" ") + "\n");
    let expected: String = expected.collect();
    assert_eq!(text, expected);
    assert!(
        fs::read_to_string(tap.data().join("prices.txt")).unwrap().lines().count() > 0,
        "the link leads to the last"
    );
}

fn check_loaded(tap: &Tap) {
    let ids = |streams: &[&str]| {
        let records = streams.iter().flat_map(|stream| tap.records(stream));
        let mut ids: Vec<String> = records.map(|record| record["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let sorted = |mut rows: Vec<String>| {
        rows.sort();
        rows
    };
    // Without sources, so that what there is to load stays what it is.
    for source in ["index", "prices", "x"] {
        tap.remove(source);
    }
    let mut process = tap.run();
    let all = ids(&["index", "x"]);
    wait_until("the loader has caught up", PATIENCE, || rows(&tap.path("out.db"), &["index", "x"]).len() >= all.len());
    process.kill();
    assert_eq!(sorted(rows(&tap.path("out.db"), &["index", "x"])), all);
    load_by_hand(tap);
    assert_eq!(sorted(rows(&tap.path("by-hand.db"), &["index"])), ids(&["index"]));
}
