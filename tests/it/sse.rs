//! The adapter `sse` in the real program, against the simulated servers and one that nobody here wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tapline::simulator::server::{Reply, Request, Server};
use tapline::simulator::sse::{Coding, Fault, Faults, Settings, Sse};

use crate::support::gaps::{self, time};
use crate::support::tap::{PATIENCE, Process, Stalls, Tap, pause, wait_until};

/// Nothing here is about how fast a machine is.
const LONG: Duration = Duration::from_mins(2);

/// Wikimedia's stream, as its preset has it.
const WIKIMEDIA: &str = "id: /meta/id\npublished_at: /meta/dt\nignore: [{ /meta/domain: canary }]\n";

fn source(sse: &Sse, path: &str, more: &str) -> String {
    let url = sse.url(path);
    format!("kind: sse\nurl: {url}\nconnects: {{ max: 100000, per: 1m }}\n{more}")
}

/// Quick where servers are slow, so that a test is.
fn quick() -> Settings {
    Settings { comment_every: Duration::from_millis(300), cut_after: None, ..Settings::default() }
}

async fn sse(settings: Settings) -> Sse {
    Sse::start(0, settings).await.unwrap()
}

fn quickly() -> bool {
    std::env::var_os("TAPLINE_QUICK").is_some()
}

fn connected(sse: &Sse) -> bool {
    sse.connections().iter().any(|connection| connection.closed_at.is_none())
}

fn entries(tap: &Tap, kind: &str) -> Vec<Value> {
    tap.ledger_so_far("s").into_iter().filter(|entry| entry["type"] == kind).collect()
}

/// The numbers of the events that are there, of the plain stream.
fn numbers(tap: &Tap) -> Vec<u64> {
    let records = tap.records_so_far("s");
    records.iter().filter_map(|record| record["data"]["n"].as_u64()).collect()
}

/// The same of Wikimedia's.
fn changes(tap: &Tap) -> Vec<u64> {
    tap.records_so_far("s").iter().map(|record| record["data"]["id"].as_u64().unwrap()).collect()
}

fn all(sse: &Sse) -> Vec<u64> {
    sse.truth().iter().map(|logged| logged.number).collect()
}

fn without_canaries(sse: &Sse) -> Vec<u64> {
    sse.truth().iter().filter(|logged| !logged.is_canary()).map(|logged| logged.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_records_as_they_came() {
    let sse = sse(Settings { coding: Coding::Bytes, ..quick() }).await;
    sse.set_faults(Faults::named(1, &"#1:mark, every 7:odd".parse().unwrap()));
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", ""));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    for _ in 0..30 {
        sse.publish();
    }
    wait_until("all are there", LONG, || numbers(&tap).len() == 30);
    sse.send_raw(b"event: note\ndata: no JSON:\ndata:  \"two\" lines\n\nid: x y\ndata: 12345678901234567890123\n\ndata: {\"a\":\"\\ud83d\"}\n\n");
    wait_until("what is no object is there too", LONG, || tap.count("s") == 32);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(numbers(&tap), (1..=30).collect::<Vec<_>>(), "each once, in order");
    let lines = tap.lines("s");
    let records = tap.records("s");
    assert!(lines[0].contains(r#""type":"message","data":{"n":1,"#), "{}", lines[0]);
    assert_eq!(records[3]["type"], "update");
    assert_eq!(records[0]["data"]["text"], "number 1, é \u{1f408} \u{2028} \"quoted\"");
    assert_eq!(records[8]["data"]["text"], "number 9, é \u{1f408} \u{2028} \"quoted\"", "of several lines");
    assert!(records[0]["id"].as_str().unwrap().starts_with("m_1_"), "{}", records[0]);
    assert_eq!((&records[30]["type"], &records[30]["data"]), (&"note".into(), &"no JSON:\n \"two\" lines".into()));
    assert!(lines[31].contains("\"data\":12345678901234567890123"), "token for token: {}", lines[31]);
    assert!(tap.records("_rejected/s")[0]["data"]["reason"].as_str().unwrap().contains("surrogate"));
}

/// Mastodon's stream: a token, a comment before the first event, payloads that are no objects, and no ids.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_mastodon_is_read_with_the_events_that_are_wanted() {
    let sse = sse(quick()).await;
    let (tap, other) = (Tap::new(), Tap::new());
    let auth = "auth: { bearer: simulated-token }\n";
    let wanted = format!("{auth}events: [update, status.update, delete]\n");
    tap.source("s", &source(&sse, "/api/v1/streaming/hashtag?tag=rust", &wanted));
    other.source("s", &source(&sse, "/api/v1/streaming/public", auth));
    let (mut process, mut second) = (tap.run(), other.run());
    wait_until("both are connected", LONG, || {
        sse.connections().iter().filter(|connection| connection.closed_at.is_none()).count() == 2
    });
    for _ in 0..26 {
        sse.publish();
    }
    wait_until("all are there", LONG, || other.count("s") == 26);
    wait_until("what is wanted is there", LONG, || tap.count("s") == 22);
    assert_eq!((process.terminate().0, second.terminate().0), (Some(0), Some(0)), "{}", tap.log());
    let records = other.records("s");
    let of = |kind: &str| records.iter().filter(|record| record["type"] == kind).collect::<Vec<_>>();
    assert_eq!(of("update").len() + of("delete").len() + of("status.update").len(), 22, "{records:?}");
    assert_eq!(of("filters_changed")[0]["data"], "undefined");
    assert!(other.lines("s").iter().any(|line| line.contains("\"type\":\"delete\",\"data\":109000000000000004}")));
    assert!(!of("status.update")[0]["data"]["edited_at"].is_null());
    let kinds: BTreeSet<String> =
        tap.records("s").iter().map(|record| record["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["delete", "status.update", "update"]);
    assert!(!tap.log().contains("simulated-token"), "the token is nowhere");
}

/// G29: what Wikimedia's edge does each quarter of an hour, ten times, while events come all the time.
#[tokio::test(flavor = "multi_thread")]
async fn g29_cuts_of_wikimedia_lose_nothing() {
    let stalls = Stalls::watch();
    let sse = sse(Settings { cut_after: Some(Duration::from_millis(700)), coding: Coding::Random, ..quick() }).await;
    let tap = Tap::new();
    for _ in 0..20 {
        sse.publish();
    }
    pause(Duration::from_millis(5));
    let start = format!("{WIKIMEDIA}start: {{ query: {{ since: now-1h }} }}\n");
    tap.source("s", &source(&sse, "/v2/stream/recentchange", &start));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    wait_until("it has been cut ten times", LONG, || {
        sse.publish();
        pause(Duration::from_millis(3));
        sse.connections().len() > 10 && connected(&sse)
    });
    let count = without_canaries(&sse).len();
    wait_until("all are there", LONG, || tap.count("s") >= count);
    wait_until("the last is said to be filled", LONG, || {
        entries(&tap, "filled").len() + 1 >= entries(&tap, "gap").len()
    });
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(changes(&tap).into_iter().collect::<BTreeSet<_>>(), without_canaries(&sse).into_iter().collect());
    assert_eq!(tap.count("s"), count, "each once");
    let connections = sse.connections();
    assert!(
        connections[0].path.contains("?since=20") && connections[0].last_event_id.is_none(),
        "{:?}",
        connections[0]
    );
    for connection in &connections[1..] {
        assert_eq!(connection.path, "/v2/stream/recentchange", "`since` is dropped");
        let id = connection.last_event_id.as_deref().unwrap();
        let topics: Vec<Value> = serde_json::from_str(id).unwrap();
        assert_eq!((topics.len(), topics[0]["partition"].as_u64()), (2, Some(0)), "as it came: {id}");
        assert!(id.starts_with(r#"[{"topic":"codfw.mediawiki.recentchange","partition":0,"timestamp":"#), "{id}");
    }
    let record = &tap.records("s")[0];
    assert_eq!(time(&record["published_at"]), time(&record["data"]["meta"]["dt"]));
    let id = record["data"]["meta"]["id"].as_str().unwrap();
    assert!(record["id"].as_str().unwrap().starts_with(&format!("m_{id}")), "{record}");
    // Each cut is a gap where it was, and filled.
    let opened: Vec<_> = connections.iter().map(|connection| connection.opened_at).collect();
    let closed: Vec<_> = connections.iter().filter_map(|connection| connection.closed_at).collect();
    gaps::check(&entries(&tap, "gap"), &opened, &closed, TimeDelta::seconds(1), &stalls);
    let output = tap.command(&["coverage", "s", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["filled_seconds"].as_f64().unwrap() > 0.0, "{report}");
    let unfilled = report["gaps"].as_array().unwrap().iter().filter(|gap| gap["unfilled_seconds"] != 0.0).count();
    assert!(unfilled <= 1, "only the last may still be being filled: {report}");
}

/// What ends a source, and what does not, in the words of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let sse = sse(quick()).await;
    let refuse = |name: &str| sse.set_faults(Faults::named(1, &format!("every 1:{name}").parse().unwrap()));
    for (fault, words) in [
        ("204", "204 No Content, which says that there is no more to come"),
        (
            "json",
            "with `application/json`: \"{\\\"streams\\\":[\\\"recentchange\\\"]}\"; `text/event-stream` is wanted",
        ),
        ("plain", "with `text/plain`"),
        ("404", "check `url`"),
        ("410", "410 Gone"),
        ("401", "The access token is invalid\\\"}\"; check `auth`"),
    ] {
        let tap = Tap::new();
        tap.source("s", &source(&sse, "/plain", ""));
        refuse(fault);
        let before = sse.requests().len();
        let mut process = tap.run();
        wait_until("it is refused", LONG, || !entries(&tap, "refused").is_empty());
        let why = entries(&tap, "refused")[0]["data"]["why"].as_str().unwrap().to_owned();
        assert!(why.contains(words), "{fault}: {why}");
        pause(Duration::from_millis(500));
        assert_eq!(sse.requests().len(), before + 1, "{fault}: it is not asked again");
        assert_eq!(process.terminate().0, Some(0));
    }
    for (fault, kind, words) in [
        ("block", "lost", "Cloudflare (by cf-mitigated) guards the site"),
        ("429", "lost", "Too Many Concurrent Connections From Your Client IP"),
        ("429=2", "throttled", "slow down"),
        ("503=2", "throttled", "unavailable"),
        ("502", "lost", "Bad gateway"),
        ("500", "lost", "internal error"),
    ] {
        let tap = Tap::new();
        tap.source("s", &source(&sse, "/plain", "manners: { concurrency: 8 }\n"));
        refuse(fault);
        let mut process = tap.run();
        wait_until("it is said", LONG, || !entries(&tap, kind).is_empty());
        let why = entries(&tap, kind)[0]["data"]["why"].as_str().unwrap().to_owned();
        assert!(why.contains(words), "{fault}: {why}");
        assert!(entries(&tap, "refused").is_empty(), "{fault}");
        assert_eq!(process.terminate().0, Some(0));
    }
}

/// A place that the server does not know any more would be refused for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_server_forgot_is_given_up_and_said() {
    let sse = sse(quick()).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", ""));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    sse.publish();
    wait_until("it is there", LONG, || numbers(&tap) == [1]);
    let (requests, connections) = (sse.requests().len(), sse.connections().len());
    sse.refuse_next([Reply::new(400, "application/json", r#"{"message":"offset is out of range"}"#)]);
    sse.fault_now(Fault::End);
    wait_until("it is connected again", LONG, || sse.connections().len() > connections && connected(&sse));
    sse.publish();
    wait_until("it goes on", LONG, || numbers(&tap) == [1, 2]);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let ids: Vec<_> =
        sse.requests()[requests..].iter().map(|request| request.header("last-event-id").map(str::to_owned)).collect();
    assert_eq!(ids, [Some("1".to_owned()), None], "asked without it once");
    let entry = &entries(&tap, "not_filled")[0]["data"];
    assert!(entry["why"].as_str().unwrap().contains("offset is out of range"), "{entry}");
    assert_eq!((&entry["by"], &entry["again"]), (&"replay".into(), &false.into()));
    assert!(time(&entry["from"]) <= time(&entries(&tap, "gap")[0]["data"]["from"]), "{entry}");
    assert!(entries(&tap, "filled").is_empty());
}

/// An event by which the server says that it fails is no record, unless the file names it.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_stream_is_said_and_the_server_left_alone() {
    let sse = sse(quick()).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/v2/stream/recentchange", WIKIMEDIA));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    sse.publish();
    sse.fault_now(Fault::ErrorEvent);
    wait_until("it is said", LONG, || !entries(&tap, "control").is_empty());
    let control = &entries(&tap, "control")[0]["data"];
    assert!(
        control["why"].as_str().unwrap().contains("Broker transport failure") && control["ends"] == true,
        "{control}"
    );
    wait_until("the end is said", LONG, || !entries(&tap, "lost").is_empty());
    let lost = &entries(&tap, "lost")[0]["data"]["why"];
    assert!(lost.as_str().unwrap().starts_with("the server says that it fails: "), "{lost}");
    sse.publish();
    wait_until("it is connected again", LONG, || sse.connections().len() == 2 && connected(&sse));
    wait_until("what was missed is there", LONG, || changes(&tap) == [1, 2]);
    let connections = sse.connections();
    let pause = connections[1].opened_at - connections[0].closed_at.unwrap();
    assert!(pause >= TimeDelta::seconds(4), "not at once: {pause}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// What the server asks for between two connections, within bounds.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_reconnection_is_kept() {
    let sse = sse(Settings { retry: Some(2_500), ..quick() }).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", ""));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    sse.publish();
    wait_until("it is there", LONG, || numbers(&tap) == [1]);
    sse.fault_now(Fault::End);
    sse.publish();
    wait_until("it is connected again", LONG, || connected(&sse));
    wait_until("what was missed is there", LONG, || numbers(&tap) == [1, 2]);
    let connections = sse.connections();
    let pause = connections[1].opened_at - connections[0].closed_at.unwrap();
    assert!(pause >= TimeDelta::milliseconds(2_400), "{pause}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// A stream in gzip, cut anywhere; one that is never flushed, which is silence; one that comes in drops, which is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_be_compressed_silent_or_slow() {
    let sse = sse(Settings { coding: Coding::Random, ..quick() }).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", "compression: gzip\nidle: 2s\n"));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    for _ in 0..50 {
        sse.publish();
    }
    wait_until("all are there", LONG, || numbers(&tap).len() == 50);
    for fault in ["unflushed", "drip"] {
        sse.set_faults(Faults::named(1, &format!("#1:{fault}").parse().unwrap()));
        let before = sse.connections().len();
        sse.fault_now(Fault::End);
        wait_until("it is connected again", LONG, || sse.connections().len() > before && connected(&sse));
        sse.publish();
        let count = all(&sse).len();
        wait_until("what was said meanwhile is there", LONG, || numbers(&tap).len() == count);
    }
    let before = entries(&tap, "lost").len();
    sse.fault_now(Fault::OnlyComments);
    pause(Duration::from_secs(3));
    assert_eq!(entries(&tap, "lost").len(), before, "comments are life");
    sse.fault_now(Fault::HalfOpen);
    wait_until("silence is noticed", LONG, || entries(&tap, "lost").len() > before);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(numbers(&tap), all(&sse), "each once, in order");
    let lost: Vec<String> = entries(&tap, "lost").iter().map(|entry| entry["data"]["why"].to_string()).collect();
    assert!(lost[0].contains("the server ended the stream"), "{lost:?}");
    assert!(lost.last().unwrap().contains("silent for 2s"), "{lost:?}");
    assert!(lost.iter().filter(|why| why.contains("silent for")).count() == 2, "{lost:?}");
    assert_eq!(sse.requests()[0].header("accept-encoding"), Some("gzip"));
    assert_eq!(sse.requests()[0].header("accept"), Some("text/event-stream"));
    assert_eq!(sse.requests()[0].header("cache-control"), Some("no-store"));
}

/// A server that sends its clients elsewhere: the id goes along, keys do not. Nobody is asked for robots.txt, and a stream
/// that is open takes no place from others.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_asked_for_with_manners() {
    let sse = sse(quick()).await;
    let target = sse.url("/plain");
    let redirect = move |_: &Request| Reply::new(307, "text/plain", "").with("Location", target.clone()).into();
    let front = Server::start(0, Arc::new(redirect)).await.unwrap();
    let tap = Tap::new();
    let keys = "headers: { X-Key: a-secret }\nauth: { bearer: another-secret }\nmanners: { concurrency: 1 }\n";
    tap.source("s", &format!("kind: sse\nurl: http://{}/stream\n{keys}", front.address()));
    tap.source(
        "other",
        &source(&sse, "/api/v1/streaming/public", "auth: { bearer: simulated-token }\nmanners: { concurrency: 1 }\n"),
    );
    let mut process = tap.run();
    let open = || sse.connections().iter().filter(|connection| connection.closed_at.is_none()).count();
    wait_until("both are connected", LONG, || open() == 2);
    sse.publish();
    wait_until("it is there", LONG, || numbers(&tap) == [1]);
    sse.fault_now(Fault::End);
    wait_until("both are connected again", LONG, || open() == 2);
    sse.publish();
    wait_until("it goes on", LONG, || numbers(&tap) == [1, 2]);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let fronted = front.requests();
    assert!(fronted.iter().all(|request| request.path == "/stream" && request.header("x-key") == Some("a-secret")));
    assert_eq!(fronted.last().unwrap().header("last-event-id"), Some("1"));
    let behind: Vec<_> = sse.requests().into_iter().filter(|request| request.path == "/plain").collect();
    assert_eq!(behind.last().unwrap().header("last-event-id"), Some("1"));
    assert!(behind.iter().all(|request| request.header("x-key").or(request.header("authorization")).is_none()));
    assert!(sse.requests().iter().all(|request| !request.path.contains("robots")));
}

/// An event that is too long is kept as a reject with its beginning, and not asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_long_ends_nothing() {
    let sse = sse(quick()).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", "max_event: 64KiB\n"));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    sse.fault_now(Fault::Huge);
    sse.publish();
    wait_until("it goes on", LONG, || numbers(&tap) == [1]);
    wait_until("the reject is there", LONG, || tap.count("_rejected/s") > 0);
    let rejects = tap.records_so_far("_rejected/s");
    assert!(
        rejects[0]["data"]["reason"].as_str().unwrap().contains("10000000 bytes"),
        "{}",
        rejects[0]["data"]["reason"]
    );
    assert_eq!(rejects[0]["data"]["raw"].as_str().unwrap().len(), 4096);
    assert_eq!(sse.connections().len(), 1, "on the same connection");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// Tens of thousands of events while everything goes wrong: none lost, none twice, and gaps with right bounds.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_whatever_goes_wrong() {
    for (path, more) in [("/plain", ""), ("/v2/stream/recentchange", WIKIMEDIA)] {
        everything_goes_wrong(path, more).await;
    }
}

async fn everything_goes_wrong(path: &str, more: &str) {
    let stalls = Stalls::watch();
    let events = if quickly() { 3_000 } else { 40_000 };
    let sse = sse(Settings { coding: Coding::Random, connections_max: 1000, ..quick() }).await;
    let tap = Tap::new();
    let filter = if path == "/plain" { "events: [message, update]\n" } else { "events: [message]\n" };
    tap.source("s", &source(&sse, path, &format!("{more}{filter}idle: 2s\nmax_event: 1MiB\n")));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    let kinds =
        Fault::HARMLESS.repeat(10).into_iter().chain(Fault::ENDS.repeat(2)).chain([Fault::HalfOpen, Fault::Retry]);
    let kinds = kinds.filter(|kind| *kind != Fault::HugeComment && *kind != Fault::ErrorEvent);
    let kinds = kinds.chain([Fault::HugeComment, Fault::Huge, Fault::ErrorEvent]);
    let of_connections = "#5:500, #9:502, #14:flap, #18:bytes, #22:mark, #25:503=2".parse().unwrap();
    sse.set_faults(Faults::new(7, 50..250, kinds).and(Faults::named(7, &of_connections)));
    let began = Instant::now();
    for number in 0..events {
        sse.publish();
        // As fast as the program takes them.
        if number % 500 == 0 {
            wait_until("it keeps up", LONG, || connected(&sse));
            pause(Duration::from_millis(20));
        }
    }
    sse.set_faults(Faults::default());
    sse.fault_now(Fault::End);
    let is_plain = path == "/plain";
    let truth = if is_plain { all(&sse) } else { without_canaries(&sse) };
    let found = || if is_plain { numbers(&tap) } else { changes(&tap) };
    wait_until("all are there", LONG, || tap.count("s") >= truth.len() && found().len() >= truth.len());
    println!("{path}: {events} events over {} connections in {:?}", sse.connections().len(), began.elapsed());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_exactly(&found(), &truth);
    if is_plain {
        assert_eq!(found(), truth, "in order");
    }
    check_gaps(&tap, &sse, TimeDelta::seconds(1), &stalls);
    assert!(!entries(&tap, "filled").is_empty());
}

/// Each event of the truth is there once.
fn assert_exactly(found: &[u64], truth: &[u64]) {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for number in found {
        *counts.entry(*number).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} are there twice: {:?}", twice.len(), &twice[..twice.len().min(5)]);
    let lost: Vec<_> = truth.iter().filter(|number| !counts.contains_key(number)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {:?}", lost.len(), truth.len(), &lost[..lost.len().min(5)]);
    assert_eq!(found.len(), truth.len());
}

fn check_gaps(tap: &Tap, sse: &Sse, before: TimeDelta, stalls: &Stalls) {
    let connections = sse.connections();
    let opened: Vec<_> = connections.iter().map(|connection| connection.opened_at).collect();
    let closed: Vec<_> = connections.iter().filter_map(|connection| connection.closed_at).collect();
    gaps::check(&entries(tap, "gap"), &opened, &closed, before, stalls);
}

/// A server without ids: nothing that was written is lost, and whatever is missing lies in a gap of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn without_ids_what_is_missing_is_in_the_ledger() {
    let sse = sse(Settings { replays: false, coding: Coding::Random, ..quick() }).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", "idle: 2s\n"));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    for number in 0..2_000 {
        if number % 200 == 100 {
            sse.fault_now([Fault::End, Fault::TornReset, Fault::HalfOpen, Fault::TornClose][number / 200 % 4]);
        }
        sse.publish();
        pause(Duration::from_millis(2));
    }
    wait_until("it is connected", LONG, || connected(&sse));
    let last = sse.publish();
    wait_until("the last is there", LONG, || numbers(&tap).last() == Some(&last));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found = numbers(&tap);
    assert!(found.is_sorted_by(|a, b| a < b), "each once, in order");
    assert!(entries(&tap, "filled").is_empty() && sse.connections().iter().all(|known| known.last_event_id.is_none()));
    let gaps: Vec<_> =
        entries(&tap, "gap").iter().map(|gap| (time(&gap["data"]["from"]), time(&gap["data"]["to"]))).collect();
    let missing: Vec<_> = sse.truth().into_iter().filter(|logged| !found.contains(&logged.number)).collect();
    println!("{} of 2001 are missing, in {} gaps", missing.len(), gaps.len());
    assert!(!missing.is_empty());
    // A moment is what passes between a server's clock and ours.
    let moment = TimeDelta::milliseconds(500);
    for logged in missing {
        let is_known = gaps.iter().any(|(from, to)| logged.at >= *from - moment && logged.at <= *to + moment);
        assert!(is_known, "number {} of {} is missing, and in no gap of {gaps:?}", logged.number, logged.at);
    }
}

/// Killed at 300 random moments in the middle of everything: each event is there once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_stream_it_loses_and_doubles_nothing() {
    let stalls = Stalls::watch();
    let kills = if quickly() { 16 } else { 150 };
    let plain = sse(Settings { coding: Coding::Random, ..quick() }).await;
    let wikimedia = sse(Settings { coding: Coding::Random, connections_max: 1000, ..quick() }).await;
    let runs = [(plain, "/plain", "", 11_u64), (wikimedia, "/v2/stream/recentchange", WIKIMEDIA, 12)].map(
        |(sse, path, more, seed)| {
            tokio::task::spawn_blocking(move || {
                let tap = Tap::new();
                let filter = if path == "/plain" { "events: [message, update]\n" } else { "events: [message]\n" };
                tap.source("s", &source(&sse, path, &format!("{more}{filter}idle: 5s\n")));
                kill_and_kill(&tap, &sse, kills, seed);
                (tap, sse)
            })
        },
    );
    for run in runs {
        let (tap, sse) = run.await.unwrap();
        let is_plain = !tap.records("s")[0]["data"]["n"].is_null();
        let (found, truth) =
            if is_plain { (numbers(&tap), all(&sse)) } else { (changes(&tap), without_canaries(&sse)) };
        println!("{kills} kills, {} events, {} connections", truth.len(), sse.connections().len());
        // What came before it was connected for the first time is nobody's.
        let truth = &truth[truth.iter().position(|number| *number == found[0]).unwrap()..];
        assert_exactly(&found, truth);
        tap.assert_counted("s");
        // What was last committed before a kill is a fifth of a second old, and more where the disk is busy.
        check_gaps(&tap, &sse, TimeDelta::seconds(5), &stalls);
    }
}

/// What is not wanted is counted once, whatever is killed: the same commit says how far was read, and what was left out.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_counted_once_over_kills() {
    let sse = sse(quick()).await;
    let tap = Tap::new();
    tap.source("s", &source(&sse, "/plain", "events: [update]\nidle: 5s\n"));
    let ignored = || tap.status("s")["ignored"].clone();
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&sse));
    for kill in 1..=20 {
        for _ in 0..25 {
            sse.publish();
            pause(Duration::from_millis(1 + kill % 7));
        }
        // Before anything was committed there is nothing to go on from.
        if kill == 1 {
            wait_until("something is committed", LONG, || ignored()["events"].is_u64());
        }
        process.kill();
        process = tap.run();
    }
    wait_until("the last is there", LONG, || numbers(&tap).last() == Some(&500));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_exactly(&numbers(&tap), &(4..=500).step_by(4).collect::<Vec<u64>>());
    assert_eq!(ignored(), json!({ "events": 375 }));
    tap.assert_counted("s");
}

fn kill_and_kill(tap: &Tap, sse: &Sse, kills: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(sse));
    sse.publish();
    wait_until("the first is there", LONG, || tap.count("s") > 0);
    let kinds = Fault::HARMLESS.into_iter().filter(|kind| *kind != Fault::HugeComment);
    sse.set_faults(Faults::new(seed, 50..300, kinds.chain([Fault::TornReset, Fault::End])));
    for kill in 0..kills {
        let before = tap.count("s");
        let until = Instant::now() + Duration::from_millis(random.random_range(0..700));
        // Every other one while it starts, and every other one at work.
        while Instant::now() < until || (kill % 2 == 1 && tap.count("s") <= before) {
            sse.publish();
            pause(Duration::from_millis(1 + kill % 4));
            assert!(until.elapsed() < PATIENCE, "nothing comes: {}", tap.log());
        }
        process.kill();
        process = tap.run();
    }
    sse.set_faults(Faults::default());
    wait_until("it is connected", LONG, || connected(sse));
    let is_plain = sse.connections()[0].path == "/plain";
    let last = loop {
        let last = sse.publish();
        if is_plain || !last.is_multiple_of(10) {
            break last;
        }
    };
    let found = || if is_plain { numbers(tap) } else { changes(tap) };
    wait_until("the last is there", LONG, || found().contains(&last));
    let count = if is_plain { all(sse).len() } else { without_canaries(sse).len() };
    wait_until("all are there", LONG, || tap.count("s") >= count);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// A server that nobody here wrote: sse-starlette on uvicorn, which pings by comments, ends lines with CRLF, and here
/// remembers its events.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_here_wrote_is_read_and_gone_on_from() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "sse-starlette is not installed; run scripts/setup");
    let mut command = Command::new(python);
    command.arg(root.join("tests/fixtures/sse/events.py")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _server = Process(child);
    let url = lines.next().unwrap().unwrap();
    let tap = Tap::new();
    tap.source("s", &format!("kind: sse\nurl: {url}/events\nconnects: {{ max: 100000, per: 1m }}\nidle: 10s\n"));
    let mut process = tap.run();
    // It ends each connection after some events.
    wait_until("it has gone on several times", LONG, || entries(&tap, "gap").len() >= 3);
    process.kill();
    let mut process = tap.run();
    let before = tap.count("s");
    wait_until("it goes on after a kill", LONG, || tap.count("s") > before + 100);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found: Vec<u64> = numbers(&tap);
    let last = *found.last().unwrap();
    assert_eq!(found, (found[0]..=last).collect::<Vec<_>>(), "each once, in order");
    let record = tap.records("s").into_iter().find(|record| record["data"]["n"] == 7).unwrap();
    assert_eq!(record["data"], json!({ "n": 7, "text": "é \u{1f408}\nline" }));
    assert_eq!(record["type"], "tick");
    assert!(!entries(&tap, "filled").is_empty(), "the number after the one that was sent");
}
