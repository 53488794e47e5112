//! The adapter `x_stream` in the real program, against the simulated X.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::Value;
use tapline::simulator::Running as _;
use tapline::simulator::x::{Coding, Fault, Faults, Policy, Settings, X, answers};

use crate::support::gaps::{self, time};
use crate::support::tap::{Stalls, Tap, pause, wait_until};

/// Nothing here is about how fast a machine is.
const LONG: Duration = Duration::from_mins(2);

fn source(x: &X, more: &str) -> String {
    format!(
        "kind: x_stream\nbase_url: http://{}\nauth: {{ bearer: simulated-token }}\nconnects: {{ max: 100000, per: 1m }}\n{more}",
        x.address()
    )
}

const CATS: &str = "rules:\n  - { value: cat, tag: cats }\ntweet_fields: [created_at, author_id]\n";

async fn x(settings: Settings) -> X {
    X::start(0, settings).await.unwrap()
}

/// Quick where X is slow, so that a test is.
fn quick() -> Settings {
    Settings { keep_alive: Duration::from_millis(300), connects_max: 1_000_000, ..Settings::default() }
}

fn ids(tap: &Tap) -> Vec<String> {
    let records = tap.records_so_far("x");
    records
        .iter()
        .filter(|record| record["type"] == "post")
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

fn truth(x: &X) -> Vec<String> {
    x.truth().iter().map(|post| format!("x_{}", post.id)).collect()
}

fn connected(x: &X) -> bool {
    x.connections().iter().any(|connection| connection.closed_at.is_none())
}

fn entries(tap: &Tap, kind: &str) -> Vec<Value> {
    tap.ledger_so_far("x").into_iter().filter(|entry| entry["type"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_become_records_as_they_came() {
    let x = x(Settings { coding: Coding::Bytes, ..quick() }).await;
    let tap = Tap::new();
    tap.source("x", &source(&x, CATS));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    x.publish("no dog here");
    for number in 0..20 {
        x.publish(&format!("a cat \u{1f408} number {number}\u{2028} \"quoted\""));
    }
    wait_until("all are there", LONG, || ids(&tap).len() == 20);
    assert_eq!(ids(&tap), truth(&x), "each once, in order");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let record = &tap.records("x")[0];
    assert_eq!(record["data"]["matching_rules"][0]["tag"], "cats");
    assert_eq!(record["data"]["data"]["text"], "a cat \u{1f408} number 0\u{2028} \"quoted\"");
    assert_eq!(time(&record["published_at"]), time(&record["data"]["data"]["created_at"]));
    assert!(record["data"]["data"]["author_id"].is_string());
    assert!(!tap.log().contains("simulated-token"), "the token is nowhere");
    let rules = &entries(&tap, "rules")[0]["data"];
    assert_eq!((&rules["added"][0], &rules["deleted"]), (&"cat".into(), &0.into()));
}

/// The YAML's rules are made the account's, at the start and at each edit; others' are left alone.
#[tokio::test(flavor = "multi_thread")]
async fn rules_follow_the_file() {
    let x = x(quick()).await;
    x.add_rule("foreign", Some("theirs"));
    let tap = Tap::new();
    tap.source("x", &source(&x, "rules:\n  - { value: cat, tag: cats }\n  - value: dog\n  - value: 'lang:en'\n"));
    let mut process = tap.run();
    let rules = || x.rules().iter().map(|rule| rule.value.clone()).collect::<Vec<_>>();
    wait_until("rules are added", LONG, || rules() == ["foreign", "cat", "dog"] && connected(&x));
    wait_until("a refusal is said", LONG, || entries(&tap, "problem").len() == 1);
    let problem = &entries(&tap, "problem")[0]["data"];
    assert_eq!(problem["key"], "rules.2");
    assert!(problem["at"].as_str().unwrap().ends_with("x.yaml:8:5"), "{problem}");
    assert!(problem["why"].as_str().unwrap().starts_with("X refuses the rule: "), "{problem}");
    assert!(tap.log().contains("x.yaml:8:5"), "{}", tap.log());

    let before = x.requests().len();
    tap.source("x", &source(&x, "rules:\n  - { value: cat, tag: animals }\n  - value: bird\n"));
    wait_until("rules are changed", LONG, || rules() == ["foreign", "cat", "bird"]);
    let tag = x.rules().iter().find(|rule| rule.value == "cat").unwrap().tag.clone();
    assert_eq!(tag.as_deref(), Some("animals"));
    let posts: Vec<(String, String)> = x.requests()[before..]
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| (request.path.clone(), String::from_utf8(request.body.clone()).unwrap()))
        .collect();
    assert!(posts[0].0.ends_with("?dry_run=true"), "tried first: {posts:?}");
    let last = &posts.last().unwrap().1;
    assert!(last.contains("delete"), "what is not wanted goes last: {posts:?}");

    wait_until("it is connected", LONG, || connected(&x));
    tap.source("x", &source(&x, "exclusive: true\nrules:\n  - value: bird\n"));
    wait_until("only its own are left", LONG, || rules() == ["bird"]);
    let changes = x.requests().iter().filter(|request| request.method == "POST").count();
    tap.source("x", &source(&x, "exclusive: true\nrules:\n  - value: bird # the same\n"));
    let connects = x.connections().len();
    wait_until("it is connected again", LONG, || x.connections().len() > connects && connected(&x));
    assert_eq!(x.requests().iter().filter(|request| request.method == "POST").count(), changes, "nothing to do");
    assert_eq!(process.terminate().0, Some(0));
}

/// A key and a secret are enough, and a token that was made invalid is made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_is_made_of_keys_and_made_again() {
    let x = x(quick()).await;
    let tap = Tap::new();
    let yaml = source(&x, CATS)
        .replace("{ bearer: simulated-token }", "{ consumer_key: simulated-key, consumer_secret: simulated-secret }");
    tap.source("x", &yaml);
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    x.publish("cat one");
    wait_until("a post is there", LONG, || ids(&tap).len() == 1);
    x.set(|settings| settings.token = "another%2Ftoken%3D".into());
    x.fault_now(Fault::End);
    wait_until("it is connected again", LONG, || connected(&x));
    x.publish("cat two");
    wait_until("the second is there", LONG, || ids(&tap).len() == 2);
    assert_eq!(process.terminate().0, Some(0));
    for secret in ["simulated-secret", "another%2Ftoken", "simulated-token"] {
        assert!(!tap.log().contains(secret), "{}", tap.log());
        assert!(!tap.lines("_ledger").concat().contains(secret));
    }
}

/// Refusals that end a source do it at once, in words; those that pass do not.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let x = x(quick()).await;
    for (reply, words) in [
        (answers::unauthorized(), "check `auth`"),
        (answers::not_enrolled(), "attach the app to a project"),
        (answers::invalid("tweet.fields", "x", "no such field"), "no such field"),
    ] {
        let tap = Tap::new();
        tap.source("x", &source(&x, CATS));
        x.refuse_next([reply]);
        let mut process = tap.run();
        wait_until("it is refused", LONG, || !entries(&tap, "refused").is_empty());
        let why = entries(&tap, "refused")[0]["data"]["why"].as_str().unwrap().to_owned();
        assert!(why.contains(words), "{why}");
        assert_eq!(process.terminate().0, Some(0));
    }
    let tap = Tap::new();
    tap.source("x", &source(&x, CATS));
    x.refuse_next([answers::usage_capped()]);
    let mut process = tap.run();
    wait_until("it rests", LONG, || !entries(&tap, "throttled").is_empty());
    let entry = &entries(&tap, "throttled")[0];
    let rest = time(&entry["data"]["until"]) - time(&entry["observed_at"]);
    assert_eq!(rest.num_minutes(), 60, "no more than an attempt an hour: {entry}");
    assert_eq!(process.terminate().0, Some(0));
}

/// An account has one connection: who is refused waits, and who is thrown out for a newer one says so.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_not_fought_for() {
    let x = x(quick()).await;
    let (first, second) = (Tap::new(), Tap::new());
    first.source("x", &source(&x, CATS));
    let _first = first.run();
    wait_until("the first is connected", LONG, || connected(&x));
    second.source("x", &source(&x, CATS));
    let mut process = second.run();
    wait_until("the second is refused", LONG, || !entries(&second, "lost").is_empty());
    let why = entries(&second, "lost")[0]["data"]["why"].to_string();
    assert!(why.contains("maximum allowed connection limit"), "{why}");
    pause(Duration::from_secs(2));
    assert_eq!(x.connections().len(), 1, "it waits a minute");
    assert_eq!(process.terminate().0, Some(0), "{}", second.log());

    x.set(|settings| settings.policy = Policy::CloseOld);
    let _second = second.run();
    wait_until("the first is told why", LONG, || !entries(&first, "control").is_empty());
    let why = entries(&first, "control")[0]["data"]["why"].to_string();
    assert!(why.contains("ForceDisconnect"), "{why}");
}

/// What was missed is got by a window, or by search, when that is what the account has.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_got_in_the_way_that_the_account_has() {
    fills_what_was_missed("window", "recovery").await;
    fills_what_was_missed("search", "search").await;
}

async fn fills_what_was_missed(key: &str, way: &str) {
    let x = x(quick()).await;
    let tap = Tap::new();
    tap.source("x", &source(&x, &format!("{CATS}recover: [{key}]\n")));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    for number in 0..5 {
        x.publish(&format!("cat {number}"));
    }
    wait_until("they are there", LONG, || ids(&tap).len() == 5);
    process.kill();
    wait_until("X has noticed", LONG, || !connected(&x));
    for number in 5..130 {
        x.publish(&format!("cat {number}"));
    }
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    x.publish("cat 130");
    wait_until("the gap is filled", LONG, || !entries(&tap, "filled").is_empty());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let (found, all): (BTreeSet<_>, BTreeSet<_>) = (ids(&tap).into_iter().collect(), truth(&x).into_iter().collect());
    assert_eq!(found, all);
    assert_eq!(ids(&tap).len(), 131, "each once");
    let (gap, filled) = (&entries(&tap, "gap")[0]["data"], &entries(&tap, "filled")[0]["data"]);
    assert_eq!(filled["by"], way);
    assert!(time(&filled["from"]) <= time(&gap["from"]) && time(&filled["to"]) >= time(&gap["to"]), "{gap} {filled}");
    let late = tap.records("x").into_iter().find(|record| record["data"]["data"]["text"] == "cat 77").unwrap();
    assert_eq!(late["data"]["matching_rules"][0]["tag"], "cats", "as the stream would have brought it");
    // And so the report says that nothing is missing.
    let output = tap.command(&["coverage", "x", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["records"], &report["gaps"][0]["unfilled_seconds"]), (&131.into(), &0.0.into()), "{report}");
    assert!(report["filled_seconds"].as_f64().unwrap() > 0.0 && report["uncovered_seconds"] == 0.0, "{report}");
}

/// A stream in gzip, cut anywhere; and one that is never flushed, which is silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_stream_is_read_as_it_comes() {
    let x = x(Settings { coding: Coding::Random, ..quick() }).await;
    let tap = Tap::new();
    tap.source("x", &source(&x, &format!("{CATS}recover: [backfill]\ncompression: gzip\nidle: 2s\n")));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    for number in 0..50 {
        x.publish(&format!("a cat \u{1f408} {number}"));
    }
    wait_until("all are there", LONG, || ids(&tap).len() == 50);
    x.set_faults(Faults::named(1, &"#1:unflushed".parse().unwrap()));
    x.fault_now(Fault::End);
    let before = x.connections().len();
    wait_until("it is connected again", LONG, || x.connections().len() > before && connected(&x));
    x.publish("a cat that nobody sees");
    wait_until("silence is noticed, and what was said in it is there", LONG, || ids(&tap).len() == 51);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(ids(&tap), truth(&x), "each once, in order");
    let lost: Vec<String> = entries(&tap, "lost").iter().map(|entry| entry["data"]["why"].to_string()).collect();
    assert!(lost.last().unwrap().contains("2s"), "{lost:?}");
    let asked = x.requests().into_iter().find(|request| request.path.starts_with("/2/tweets/search/stream?")).unwrap();
    assert_eq!(asked.header("accept-encoding"), Some("gzip"));
}

/// Posts are billed: at the end of its budget the source lets go of the stream, says so, and keeps to it over a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_kept() {
    let x = x(quick()).await;
    let tap = Tap::new();
    tap.source("x", &source(&x, &format!("{CATS}budget: {{ posts_per_day: 10 }}\n")));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    while connected(&x) && x.truth().len() < 1000 {
        x.publish("a cat");
        pause(Duration::from_millis(20));
    }
    wait_until("the budget is used up", LONG, || !entries(&tap, "over_budget").is_empty() && !connected(&x));
    let usage = &entries(&tap, "usage")[0]["data"];
    assert_eq!((&usage["posts"], &usage["cap"]), (&0.into(), &3_000_000.into()), "{usage}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let billed = ids(&tap).len();
    // What was on its way by then comes as well.
    assert!((10..1000).contains(&billed), "{billed}");

    let connections = x.connections().len();
    let mut process = tap.start();
    let status = || String::from_utf8(tap.command(&["status"]).output().unwrap().stdout).unwrap();
    wait_until("the state is clear", LONG, || status().contains("over budget until"));
    assert_eq!(x.connections().len(), connections, "it does not ask again");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(ids(&tap).len(), billed);
}

/// Tens of thousands of posts while everything goes wrong: none lost, none twice, in order, and gaps with right bounds.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_whatever_goes_wrong() {
    let stalls = Stalls::watch();
    let posts = if std::env::var_os("TAPLINE_QUICK").is_some() { 5_000 } else { 100_000 };
    let x = x(Settings { minute: Duration::from_secs(15), coding: Coding::Random, ..quick() }).await;
    let tap = Tap::new();
    tap.source("x", &source(&x, &format!("{CATS}recover: [backfill]\nidle: 2s\n")));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(&x));
    let kinds = Fault::HARMLESS.repeat(20).into_iter().chain(Fault::ENDS).chain([Fault::HalfOpen]);
    let kinds = kinds.filter(|kind| *kind != Fault::HugeLine).chain([Fault::HugeLine]);
    let of_connections = "#5:503, #9:html, #14:flap, #18:late-keep-alives".parse().unwrap();
    x.set_faults(Faults::new(7, 50..250, kinds).and(Faults::named(7, &of_connections)));
    let began = Instant::now();
    for number in 0..posts {
        x.publish(&format!("cat {number}"));
        // As fast as the program takes them, and never so far ahead that a reconnect has a minute of posts before it.
        if number % 500 == 0 {
            wait_until("it keeps up", LONG, || connected(&x));
            pause(Duration::from_millis(20));
        }
    }
    x.set_faults(Faults::default());
    wait_until("it is connected", LONG, || connected(&x));
    x.fault_now(Fault::End);
    let count = truth(&x).len();
    wait_until("all are there", LONG, || tap.count("x") >= count && ids(&tap).len() >= count);
    println!("{posts} posts over {} connections in {:?}", x.connections().len(), began.elapsed());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_exactly(&tap, &x);
    assert_eq!(ids(&tap), truth(&x), "in order");
    check_gaps(&tap, &x, TimeDelta::seconds(1), &stalls);
}

/// Each post of the truth is there once. Posts of one connection are in their order.
fn assert_exactly(tap: &Tap, x: &X) {
    let (found, all) = (ids(tap), truth(x));
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for id in &found {
        *counts.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} are there twice: {:?}", twice.len(), &twice[..twice.len().min(5)]);
    let lost: Vec<_> = all.iter().filter(|id| !counts.contains_key(id.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {:?}", lost.len(), all.len(), &lost[..lost.len().min(5)]);
}

/// Every gap of the ledger lies where the simulator knows that there was no connection.
fn check_gaps(tap: &Tap, x: &X, before: TimeDelta, stalls: &Stalls) {
    let connections = x.connections();
    let opened: Vec<_> = connections.iter().map(|connection| connection.opened_at).collect();
    let closed: Vec<_> = connections.iter().filter_map(|connection| connection.closed_at).collect();
    gaps::check(&entries(tap, "gap"), &opened, &closed, before, stalls);
}

/// Killed again and again in the middle of everything: the same. Two at once, 180 kills in all.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_stream_it_loses_and_doubles_nothing() {
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 4 } else { 90 };
    let mut runs = Vec::new();
    for seed in [11, 12] {
        let x = x(Settings { minute: Duration::from_secs(20), coding: Coding::Random, ..quick() }).await;
        runs.push(tokio::task::spawn_blocking(move || kill_and_kill(&x, kills, seed)));
    }
    for run in runs {
        run.await.unwrap();
    }
}

fn kill_and_kill(x: &X, kills: u64, seed: u64) {
    let (stalls, tap) = (Stalls::watch(), Tap::new());
    tap.source("x", &source(x, &format!("{CATS}recover: [backfill]\nidle: 5s\n")));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || connected(x));
    x.set_faults(Faults::new(
        seed,
        100..400,
        Fault::HARMLESS.into_iter().filter(|kind| *kind != Fault::HugeLine).chain([Fault::TornReset, Fault::End]),
    ));
    let mut number = 0;
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            x.publish(&format!("cat {number}"));
            number += 1;
            pause(Duration::from_millis(1 + kill % 4));
        }
        process.kill();
        process = tap.run();
    }
    x.set_faults(Faults::default());
    wait_until("it is connected", LONG, || connected(x));
    let count = truth(x).len();
    wait_until("all are there", LONG, || tap.count("x") >= count && ids(&tap).len() >= count);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    println!("{kills} kills, {count} posts, {} connections", x.connections().len());
    assert_exactly(&tap, x);
    assert_eq!(ids(&tap), truth(x), "in order");
    tap.assert_counted("x");
    // What was last committed before a kill is a fifth of a second old, and more where the disk is busy.
    check_gaps(&tap, x, TimeDelta::seconds(5), &stalls);
}
