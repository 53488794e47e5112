//! `x_stream` with `api: v1.1`, against a simulated server that checks each signature itself.

use std::time::Duration;

use serde_json::Value;
use tapline::simulator::Running as _;
use tapline::simulator::x::{Coding, Fault, Settings, X, enhance_your_calm};

use crate::support::tap::{PATIENCE, Tap, pause, wait_until};

const KEYS: &str = "{ consumer_key: simulated-key, consumer_secret: simulated-secret, token: 1-simulated-access, token_secret: simulated-access-secret }";

fn source(x: &X, more: &str) -> String {
    format!(
        "kind: x_stream\napi: v1.1\nbase_url: http://{}\nauth: {{ oauth1: {KEYS} }}\nconnects: {{ max: 100000, per: 1m }}\n{more}",
        x.address()
    )
}

async fn x() -> X {
    let settings = Settings { keep_alive: Duration::from_millis(200), coding: Coding::Random, ..Settings::default() };
    X::start(0, settings).await.unwrap()
}

fn open(x: &X) -> usize {
    x.connections().iter().filter(|connection| connection.closed_at.is_none()).count()
}

fn entries(tap: &Tap, kind: &str) -> Vec<Value> {
    tap.ledger_so_far("x").into_iter().filter(|entry| entry["type"] == kind).collect()
}

fn of_kind(tap: &Tap, kind: &str) -> Vec<Value> {
    tap.records_so_far("x").into_iter().filter(|record| record["type"] == kind).collect()
}

/// Lengths are counted in bytes, whatever the script, and however the bytes arrive.
#[tokio::test(flavor = "multi_thread")]
async fn posts_and_all_other_messages_have_their_place() {
    let x = x().await;
    let tap = Tap::new();
    tap.source("x", &source(&x, "filter: { track: [cat, 'big dog'], follow: [12], locations: [[-10, 40, 10, 60]] }\n"));
    let mut process = tap.run();
    let asked =
        || x.requests().iter().find(|request| request.path.contains("filter")).map(|request| request.body.clone());
    wait_until("it is connected", PATIENCE, || open(&x) == 1 && asked().is_some());
    let form = asked().unwrap();
    let form = String::from_utf8(form).unwrap();
    assert_eq!(
        form,
        "follow=12&track=cat%2Cbig%20dog&locations=-10.0000%2C40.0000%2C10.0000%2C60.0000&delimited=length"
    );
    let mut expected = Vec::new();
    for number in 0..150 {
        x.publish("a bird");
        let text = format!(
            "the {} \u{1f408} n\u{e9} <{number}> https://a.b/c",
            if number % 2 == 0 { "cat" } else { "dog is BIG" }
        );
        expected.push(format!("x_{}", x.publish(&text)));
        match number {
            20 => x.say(r#"{"delete":{"status":{"id":1234,"id_str":"1234","user_id":3,"user_id_str":"3"},"timestamp_ms":"1795417500000"}}"#),
            40 => x.say(r#"{"limit":{"track":542,"timestamp_ms":"1795417500000"}}"#),
            60 => x.say(r#"{"warning":{"code":"FALLING_BEHIND","message":"Your connection is falling behind","percent_full":60}}"#),
            80 => x.say(r#"{"status_withheld":{"id":1234,"user_id":3,"withheld_in_countries":["DE"]}}"#),
            100 => x.say(r#"{"what_is_this":[1,2.50]}"#),
            _ => {}
        }
    }
    wait_until("all are there", PATIENCE, || of_kind(&tap, "post").len() == 150);
    let posts = of_kind(&tap, "post");
    assert_eq!(
        posts.iter().map(|post| post["id"].as_str().unwrap()).collect::<Vec<_>>(),
        expected,
        "each once, in order"
    );
    assert_eq!(posts[3]["data"]["text"], "the dog is BIG \u{1f408} n\u{e9} <3> https://a.b/c");
    assert_eq!(of_kind(&tap, "delete")[0]["id"], "x_1234_delete");
    assert_eq!(of_kind(&tap, "status_withheld").len(), 1);
    assert_eq!(of_kind(&tap, "unknown")[0]["data"].to_string(), r#"{"what_is_this":[1,2.5]}"#);
    wait_until("the ledger has them", PATIENCE, || {
        !entries(&tap, "limit").is_empty() && !entries(&tap, "control").is_empty()
    });
    assert_eq!(entries(&tap, "limit")[0]["data"]["undelivered_since_connected"], 542);
    assert_eq!(entries(&tap, "control")[0]["data"]["percent_full"], 60);

    // What ends a connection is a gap; the next connection has a signature of its own.
    for fault in [Fault::End, Fault::TornReset, Fault::TornClose] {
        let before = x.connections().len();
        x.fault_now(fault);
        wait_until("it is connected again", PATIENCE, || x.connections().len() > before && open(&x) == 1);
        let id = format!("x_{}", x.publish("one more cat"));
        wait_until("posts come again", PATIENCE, || of_kind(&tap, "post").iter().any(|post| post["id"] == *id));
    }
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(entries(&tap, "gap").len(), 3, "one for each: {:?}", tap.ledger("x"));
    assert!(tap.lines("_rejected/x").concat().contains("the connection ended in the middle of this message"));
    assert!(!tap.log().contains("simulated-secret") && !tap.log().contains("oauth_signature"), "{}", tap.log());
}

/// Of two clients of one account the newer wins; the older one says so, and does not fight for the stream.
#[tokio::test(flavor = "multi_thread")]
async fn two_clients_do_not_throw_each_other_out_for_ever() {
    let x = x().await;
    let (first, second) = (Tap::new(), Tap::new());
    for tap in [&first, &second] {
        tap.source("x", &source(&x, "filter: { track: [cat] }\n"));
    }
    let _first = first.run();
    wait_until("the first is connected", PATIENCE, || open(&x) == 1);
    let _second = second.run();
    wait_until("the first is thrown out", PATIENCE, || !entries(&first, "control").is_empty());
    assert_eq!(entries(&first, "control")[0]["data"]["code"], 7);
    let connections = x.connections().len();
    pause(Duration::from_secs(3));
    assert_eq!((x.connections().len(), open(&x)), (connections, 1), "nobody came back at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    let x = x().await;
    let tap = Tap::new();
    x.refuse_next([enhance_your_calm()]);
    tap.source("x", &source(&x, "filter: { track: [cat] }\n"));
    let mut process = tap.run();
    wait_until("it waits", PATIENCE, || tap.ledger_so_far("x").iter().any(|entry| entry.to_string().contains("420")));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());

    let tap = Tap::new();
    tap.source("x", &source(&x, "filter: { track: [cat] }\n").replace("simulated-secret", "another-secret"));
    let mut process = tap.run();
    wait_until("it is refused", PATIENCE, || !entries(&tap, "refused").is_empty());
    let why = entries(&tap, "refused")[0]["data"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("401") && why.contains("`auth`"), "{why}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}
