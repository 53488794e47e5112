//! The simulated X against a client that nobody here wrote: tweepy from the Python package index, unmodified.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tapline::simulator::Running as _;
use tapline::simulator::x::{Fault, Settings, X};

use crate::support::tap::{PATIENCE, Process, wait_until};

/// A script that runs, and what it says.
struct Script {
    events: Receiver<Value>,
    process: Process,
}

impl Script {
    fn start(name: &str, x: &X) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/python/bin/python");
        assert!(python.exists(), "tweepy is not installed; run scripts/setup");
        let mut command = Command::new(python);
        command.arg(root.join("tests/fixtures/tweepy").join(name)).arg(format!("http://{}", x.address()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines {
                let line = line.unwrap();
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                // Nobody listens once the test is over.
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { events, process: Process(child) }
    }

    /// What it says next, signs of life apart. Panics when that is something else than `event`.
    fn next(&mut self, event: &str) -> Value {
        loop {
            let found = self.events.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("no {event}: {why}"));
            if found["event"] == "keep-alive" && event != "keep-alive" {
                continue;
            }
            assert_eq!(found["event"], event, "{found}");
            return found;
        }
    }

    /// It says nothing more, and ends in order.
    fn end(mut self) {
        assert_eq!(self.events.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        wait_until("the script ends", PATIENCE, || !self.process.is_running());
        assert_eq!(self.process.0.wait().unwrap().code(), Some(0));
    }
}

async fn x() -> X {
    let settings = Settings { keep_alive: Duration::from_millis(300), ..Settings::default() };
    X::start(0, settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streaming_client_of_v2() {
    let x = x().await;
    let mut script = Script::start("v2.py", &x);
    let tried = script.next("tried");
    assert_eq!(tried["meta"], json!({ "created": 0, "not_created": 2, "valid": 2, "invalid": 0 }));
    assert_eq!(tried["stored"], 0, "it was only tried");
    let added = script.next("added");
    assert_eq!(added["values"], json!(["cat", "\"big dog\" has:links"]));
    assert_eq!(added["meta"]["created"], 2);
    let again = script.next("again");
    assert_eq!((&again["titles"], &again["data"]), (&json!(["DuplicateRule"]), &Value::Null));
    let wrong = &script.next("wrong")["errors"][0];
    assert_eq!(wrong["type"], "https://api.x.com/2/problems/invalid-rules");
    assert!(wrong["details"][0].as_str().unwrap().contains("missing ')'"), "{wrong}");
    assert_eq!(script.next("deleted")["meta"], json!({ "deleted": 1, "not_deleted": 0 }));
    assert_eq!(script.next("left")["rules"], json!([["cat", "cats"]]));

    script.next("connect");
    script.next("keep-alive");
    for number in 0..20 {
        x.publish("a big dog https://a.b");
        let text = format!("cat \u{1f408} {number}\u{2028}\u{e9}");
        let id = x.publish(&text);
        let tweet = script.next("tweet");
        assert_eq!((&tweet["id"], &tweet["text"]), (&json!(id.to_string()), &json!(text)));
        assert!(tweet["created_at"].as_str().unwrap().contains("+00:00"), "{tweet}");
        assert_eq!(script.next("includes")["users"].as_array().unwrap().len(), 1);
        assert_eq!(script.next("rules")["tags"], json!(["cats"]));
    }
    // Told that the stream ends, tweepy connects again, and asks for what it may have missed.
    x.fault_now(Fault::Disconnect("OperationalDisconnect"));
    assert_eq!(script.next("errors")["titles"], json!(["operational-disconnect"]));
    script.next("connect");
    let mut again = Vec::new();
    for _ in 0..22 {
        again.push(script.next("tweet")["text"].as_str().unwrap().to_owned());
        script.next("includes");
        script.next("rules");
    }
    let distinct: BTreeSet<&String> = again.iter().collect();
    assert_eq!(distinct.len(), 20, "all of it, and some twice, as X does: {again:?}");
    x.publish("cat, stop");
    assert_eq!(script.next("tweet")["text"], "cat, stop");
    script.next("includes");
    script.next("rules");
    script.next("disconnect");
    // A token that is wrong is refused.
    assert_eq!(script.next("refused")["status"], 401);
    script.next("disconnect");
    script.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_stream_of_v11() {
    let x = x().await;
    let mut script = Script::start("v11.py", &x);
    script.next("connect");
    script.next("keep-alive");
    for number in 0..20 {
        x.publish("a bird");
        let text = format!("the CAT \u{1f408} {number}");
        let id = x.publish(&text);
        let status = script.next("status");
        assert_eq!((&status["id"], &status["text"]), (&json!(id.to_string()), &json!(text)));
        assert!(!status["user"].as_str().unwrap().is_empty());
    }
    x.say(r#"{"limit":{"track":542,"timestamp_ms":"1795417500000"}}"#);
    assert_eq!(script.next("limit")["track"], 542);
    x.say(r#"{"warning":{"code":"FALLING_BEHIND","message":"m","percent_full":60}}"#);
    assert_eq!(script.next("warning")["code"], "FALLING_BEHIND");
    x.fault_now(Fault::End);
    script.next("connect");
    // Signed anew: a nonce that came twice would have been refused.
    x.publish("big, big dog: stop");
    script.next("status");
    script.next("disconnect");
    assert_eq!(script.next("refused")["status"], 401);
    script.next("disconnect");
    script.end();
}
