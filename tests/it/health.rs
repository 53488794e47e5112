//! `tapline health`: green while there is progress, red when that stops, and not only when the process does.

use std::fs;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Timelike as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tapline::config::Durability;
use tapline::context::{Clock as _, SystemClock};
use tapline::fs::{Disk, Fs, Lock};
use tapline::pipeline::commit::{Append, Commits};
use tapline::simulator::quote::Quote;

use crate::support::tap::{PATIENCE, Process, Tap, wait_until};

/// Longer than the time between two beats, with room for a busy machine.
const WITHIN: [&str; 3] = ["health", "--within", "20s"];

/// What it says on one line, and its exit code.
fn health(tap: &Tap, arguments: &[&str]) -> (String, Option<i32>) {
    let output = tap.command(arguments).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches('\n').count(), 1, "one line: {said}");
    (said.trim_end().to_owned(), output.status.code())
}

fn as_json(tap: &Tap) -> (Value, Option<i32>) {
    let (said, code) = health(tap, &["health", "--json"]);
    (serde_json::from_str(&said).unwrap(), code)
}

fn time(value: &Value) -> DateTime<chrono::Utc> {
    value.as_str().unwrap().parse().unwrap()
}

fn send(process: &Process, signal: Signal) {
    kill_process(Pid::from_child(&process.0), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn red_when_the_process_stops_and_when_progress_does() {
    let exchange = Quote::new().start(0).await.unwrap();
    let tap = Tap::new();
    let url = exchange.url("/");
    let fields = "fields: { price: { css: span.red14px, type: number, locale: en-IN } }";
    tap.source("one", &format!("kind: scrape\nurl: {url}\nevery: 1s\n{fields}\n"));
    let (said, code) = health(&tap, &["health"]);
    assert_eq!((said.as_str(), code), ("not healthy: the service does not run: nobody holds the data folder", Some(1)));

    let mut process = tap.start();
    tap.wait_for_lines("one", 1);
    let (said, code) = health(&tap, &["health"]);
    assert!(said.starts_with("healthy: running since ") && code == Some(0), "{said}");
    let (found, code) = as_json(&tap);
    assert_eq!((&found["healthy"], &found["troubles"], code), (&json!(true), &json!([]), Some(0)));
    assert_eq!(found["pid"], process.0.id());
    assert!(found["free_bytes"].as_u64().unwrap() > 0);

    // Frozen: it is there, holds its folder, and does nothing.
    send(&process, Signal::STOP);
    assert_eq!(health(&tap, &["health"]).1, Some(0), "a short stop is none");
    wait_until("it is noticed", PATIENCE, || health(&tap, &WITHIN).1 == Some(1));
    let (said, _) = health(&tap, &WITHIN);
    assert!(said.starts_with("not healthy: the service stands still: nothing was committed for "), "{said}");
    send(&process, Signal::CONT);
    wait_until("it goes on", PATIENCE, || health(&tap, &WITHIN).1 == Some(0));

    process.kill();
    let (found, code) = as_json(&tap);
    assert_eq!((&found["troubles"][0]["trouble"], code), (&json!("not_running"), Some(1)), "{found}");
    assert_eq!((&found["healthy"], &found["progress_at"], &found["pid"]), (&json!(false), &Value::Null, &Value::Null));
}

/// Without any source there is nothing to write, and it shows life all the same; no longer, once nothing can be written.
#[test]
fn idle_is_healthy_and_a_full_disk_is_not() {
    let tap = Tap::new();
    let mut process = tap.run();
    wait_until("there is a beat", PATIENCE, || {
        let (found, _) = as_json(&tap);
        !found["since"].is_null() && time(&found["progress_at"]) > time(&found["since"])
    });
    assert_eq!(health(&tap, &WITHIN).1, Some(0));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());

    fs::write(tap.path("tapline.yaml"), "limits: { disk_free: 1PiB }\n").unwrap();
    let mut process = tap.run();
    wait_until("it is said", PATIENCE, || tap.log().contains("the disk is full"));
    let (found, code) = as_json(&tap);
    assert_eq!((&found["troubles"][0]["trouble"], code), (&json!("full"), Some(1)), "{found}");
    let words = found["troubles"][0]["words"].as_str().unwrap();
    assert!(words.contains("limits.disk_free keeps 1.0 PiB"), "{words}");
    assert!(process.is_running(), "it waits for room");
    // To whom the disk does not look full, its writer shows that it takes nothing.
    tap.settings("");
    wait_until("it is noticed", PATIENCE, || health(&tap, &WITHIN).1 == Some(1));
    let (said, _) = health(&tap, &WITHIN);
    assert!(said.contains("stands still"), "{said}");
}

/// One driver hangs in a service that is well otherwise.
#[test]
fn a_source_that_hangs_is_named() {
    let tap = Tap::new();
    let now = SystemClock.now();
    // The same time tomorrow, give or take the seconds.
    let tomorrow = format!("1d\noffset: {}s", (now - TimeDelta::hours(2)).num_seconds_from_midnight());
    for (name, every) in [("hangs", "1s"), ("waits", &*tomorrow)] {
        let fields = "fields: { a: { css: b } }";
        tap.source(name, &format!("kind: scrape\nurl: http://127.0.0.1:1/\nevery: {every}\n{fields}\n"));
    }
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    fs.create_dir(&tap.path("data/.tapline")).unwrap();
    let text = |ago: TimeDelta| tapline::record::time_text(&(now - ago));
    let mut lock = Lock::take(&tap.path("data/.tapline/lock")).unwrap();
    lock.sign(&json!({ "pid": 7, "since": text(TimeDelta::hours(5)) }).to_string()).unwrap();
    let mut commits = Commits::open(fs, &tap.data(), Durability::Process, now).unwrap();
    let saved = json!({ "slot": text(TimeDelta::hours(2)), "tally": { "state": "scheduled" } });
    let states = [("source/hangs", &saved), ("source/waits", &saved), ("pulse", &json!(text(TimeDelta::zero())))]
        .map(|(key, value)| (key.to_owned(), Some(serde_json::value::to_raw_value(value).unwrap())));
    commits.hold(Append { lines: Vec::new(), state: states.to_vec() });
    commits.commit(now).unwrap();
    let (said, code) = health(&tap, &["health"]);
    assert_eq!((said.as_str(), code), ("not healthy: hangs: stalled: no tick for 2h", Some(1)));
    let (found, _) = as_json(&tap);
    assert_eq!(found["troubles"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["troubles"][0]["trouble"], "stalled");
    // A file that says not to run it is an answer.
    tap.source(
        "hangs",
        "kind: scrape\nenabled: false\nurl: http://127.0.0.1:1/\nevery: 1s\nfields: { a: { css: b } }\n",
    );
    let (said, code) = health(&tap, &["health"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("healthy: running since "), "{said}");
}
