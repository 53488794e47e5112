//! The adapter `websocket` in the real program, against the simulated servers and one that nobody here wrote.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tapline::simulator::websocket::{Connection, Fault, Settings, Websocket, dictionary};
use tokio_tungstenite::tungstenite::Message;

use crate::support::gaps::time;
use crate::support::tap::{PATIENCE, Process, Tap, pause, wait_until};

/// Nothing here is about how fast a machine is.
const LONG: Duration = Duration::from_mins(2);

/// The plain server, which goes on from a number.
const PLAIN: &str = "id: /n\npublished_at: /at\nresume: { query: cursor, from: /n }\n";

/// Bluesky's Jetstream, as its preset has it.
const JETSTREAM: &str = "id: [/did, /time_us, /commit/rev]\npublished_at: { at: /time_us, format: epoch_us }\ntype: /kind\n\
    resume: { query: cursor, from: /time_us, rewind: 5000000 }\n";

fn source(server: &Websocket, path: &str, more: &str) -> String {
    format!("kind: websocket\nurl: {}\nconnects: {{ max: 100000, per: 1m }}\n{more}", server.url(path))
}

async fn server(settings: Settings) -> Websocket {
    Websocket::start(0, settings).await.unwrap()
}

fn is_connected(server: &Websocket) -> bool {
    server.connections().iter().any(|connection| !connection.is_over)
}

fn entries(tap: &Tap, kind: &str) -> Vec<Value> {
    tap.ledger_so_far("s").into_iter().filter(|entry| entry["type"] == kind).collect()
}

fn numbers(tap: &Tap) -> Vec<u64> {
    tap.records_so_far("s").iter().filter_map(|record| record["data"]["n"].as_u64()).collect()
}

/// The numbers of what Jetstream sent.
fn of_jetstream(tap: &Tap) -> Vec<u64> {
    let number = |record: &Value| {
        let data = &record["data"];
        let rev = || data["commit"]["rev"].as_str().unwrap_or_default().trim_start_matches("3k").parse().unwrap();
        data["identity"]["seq"].as_u64().unwrap_or_else(rev)
    };
    tap.records_so_far("s").iter().map(number).collect()
}

fn assert_exactly(found: &[u64], truth: &[u64]) {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for number in found {
        *counts.entry(*number).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    let lost: Vec<_> = truth.iter().filter(|number| !counts.contains_key(number)).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(found.len(), truth.len());
}

fn all(server: &Websocket) -> Vec<u64> {
    server.truth().iter().map(|logged| logged.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_become_records_as_they_came() {
    let server = server(Settings { piece: 1, ..Settings::default() }).await;
    server.set_faults("every 5:fragments, #8:garbage".parse().unwrap());
    let tap = Tap::new();
    tap.source("s", &source(&server, "/plain", "id: /n\npublished_at: /at\nprotocols: [v1.json]\nheaders: { X-Key: k }\nsubscribe: [{ op: all }, plain]\nquery: { a: [b, c] }\n"));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || server.connections().first().is_some_and(|known| known.said.len() == 2));
    for _ in 0..20 {
        server.publish();
    }
    wait_until("all are there", LONG, || numbers(&tap).len() == 20);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(numbers(&tap), (1..=20).collect::<Vec<_>>(), "each once, in order");
    let records = tap.records("s");
    // What was answered to what was said is a message as any other, where no `ack` is declared.
    let line = tap.lines("s").into_iter().find(|line| line.contains("\"n\":1,")).unwrap();
    assert!(line.contains("\"id\":9007199254740994}"), "token for token: {line}");
    let first = records.iter().find(|record| record["data"]["n"] == 1).unwrap();
    assert!(
        first["id"].as_str().unwrap().starts_with("m_1_") && first["published_at"] == first["data"]["at"],
        "{first}"
    );
    assert!(tap.records("_rejected/s")[0]["data"]["reason"].as_str().unwrap().contains("not JSON"));
    let connection = &server.connections()[0];
    assert_eq!(
        (connection.target.as_str(), connection.said.as_slice()),
        ("/plain?a=b&a=c", &[r#"{"op":"all"}"#.to_owned(), "plain".to_owned()][..])
    );
    let header =
        |name: &str| connection.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((header("sec-websocket-protocol"), header("x-key")), (Some("v1.json"), Some("k")));
    wait_until("it has said goodbye", LONG, || server.connections()[0].closed == Some(1000));
}

/// G30: a server that is silent is asked, and left when it does not answer; one that answers is not.
#[tokio::test(flavor = "multi_thread")]
async fn g30_half_open_connections_are_left_and_quiet_ones_are_not() {
    let server = server(Settings { ping_every: Duration::from_hours(1), ..Settings::default() }).await;
    let tap = Tap::new();
    tap.source("s", &source(&server, "/plain", &format!("{PLAIN}ping: 1s\nidle: 3s\n")));
    let mut process = tap.run();
    wait_until("it asks", LONG, || server.connections().first().is_some_and(|known| known.pings >= 4));
    assert_eq!(server.connections().len(), 1, "a quiet one that answers is not left");
    // In seconds: whoever looks wants to know that it is connected, and not only when something comes.
    wait_until("the ledger says that it is connected", PATIENCE, || entries(&tap, "connected").len() == 1);
    server.publish();
    wait_until("the first is there", LONG, || numbers(&tap) == [1]);
    server.fault_now(Fault::HalfOpen);
    server.publish();
    wait_until("it goes on over another", LONG, || numbers(&tap) == [1, 2]);
    // Nothing comes after it, and that is how the end of what is sent again is known.
    pause(Duration::from_secs(4));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let lost = entries(&tap, "lost");
    assert!(lost[0]["data"]["why"].as_str().unwrap().contains("silent for"), "{lost:?}");
    let (gap, filled) = (&entries(&tap, "gap")[0]["data"], &entries(&tap, "filled")[0]["data"]);
    assert!(time(&filled["from"]) <= time(&gap["from"]) && time(&filled["to"]) >= time(&gap["to"]), "{gap} {filled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_the_server_are_answered_on_a_quiet_connection() {
    let server = server(Settings { ping_every: Duration::from_millis(200), ..Settings::default() }).await;
    let tap = Tap::new();
    tap.source("s", &source(&server, "/plain", PLAIN));
    let mut process = tap.run();
    wait_until("pongs come", LONG, || server.connections().first().is_some_and(|known| known.pongs >= 5));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// G32: what is subscribed to is said after each connection, and has to be agreed to; a refusal is an outcome.
#[tokio::test(flavor = "multi_thread")]
async fn g32_subscriptions_are_said_again_and_agreed_to() {
    let server = server(Settings::default()).await;
    let tap = Tap::new();
    let subscribe = "subscribe: [{ method: SUBSCRIBE, params: [btcusdt@trade], id: 1 }]\nack: { /result: null, /id: { exists: true } }\nack_within: 1s\nerrors: [{ /code: { exists: true } }]\n";
    tap.source("s", &source(&server, "/ws", subscribe));
    let wrong = Tap::new();
    wrong.source("s", &source(&server, "/ws", &subscribe.replace("[btcusdt@trade]", "[]")));
    let (mut process, mut other) = (tap.run(), wrong.run());
    wait_until("both have said it", LONG, || {
        server.connections().iter().filter(|known| !known.said.is_empty()).count() >= 2
    });
    server.publish();
    wait_until("a trade is there", LONG, || tap.count("s") == 1);
    server.fault_now(Fault::Close(1012));
    wait_until("it is connected again", LONG, || {
        !entries(&tap, "gap").is_empty() || {
            server.publish();
            pause(Duration::from_millis(50));
            false
        }
    });
    wait_until("the refusal is in the ledger", LONG, || !entries(&wrong, "lost").is_empty());
    server.set(|settings| settings.agrees = false);
    server.fault_now(Fault::Reset);
    let why = |tap: &Tap| {
        entries(tap, "lost").iter().map(|lost| lost["data"]["why"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    wait_until("it says that nobody agrees", LONG, || tap.log().contains("were not agreed to") || why(&tap).len() >= 2);
    assert_eq!((process.terminate().0, other.terminate().0), (Some(0), Some(0)), "{}", tap.log());
    assert!(why(&wrong)[0].contains("something is wrong: {\\\"code\\\":2"), "{:?}", why(&wrong));
    assert!(tap.records("s").iter().all(|record| record["data"]["e"] == "trade"), "an agreement is no record");
    assert!(wrong.records("s").is_empty() && wrong.records("_rejected/s").is_empty());
}

/// G33: holes in upstream's own numbers stand in the ledger with their bounds, also those between two connections.
#[tokio::test(flavor = "multi_thread")]
async fn g33_holes_are_in_the_ledger() {
    let server = server(Settings::default()).await;
    server.set_faults("#10-12:hole, #20:hole, #30:twice, #35:late".parse().unwrap());
    let tap = Tap::new();
    let keys = "subscribe: [{ method: SUBSCRIBE, params: [btcusdt@trade], id: 1 }]\nack: { /result: null, /id: { exists: true } }\nid: [/e, /s, /t]\ntype: /e\nsequence: { at: /t, per: /s, across: stream }\n";
    tap.source("s", &source(&server, "/ws", keys));
    let mut process = tap.run();
    let begun = |count: usize| server.connections().iter().filter(|known| !known.said.is_empty()).count() >= count;
    wait_until("it has begun", LONG, || begun(1));
    pause(Duration::from_millis(200));
    for _ in 0..40 {
        server.publish();
    }
    wait_until("what was sent is there", LONG, || tap.count("s") == 36);
    // What is killed before its commit is in a gap, and no hole.
    wait_until("the holes are there", LONG, || entries(&tap, "hole").len() == 3);
    process.kill();
    for _ in 0..5 {
        server.publish();
    }
    let mut process = tap.run();
    wait_until("it has begun again", LONG, || begun(2));
    pause(Duration::from_millis(300));
    server.publish();
    wait_until("the last is there", LONG, || tap.count("s") == 37);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let holes: Vec<_> = entries(&tap, "hole")
        .iter()
        .map(|hole| {
            let data = &hole["data"];
            (
                data["sequence"].as_str().unwrap().to_owned(),
                data["first"].as_u64().unwrap(),
                data["last"].as_u64().unwrap(),
            )
        })
        .collect();
    // The one that came late was missing when it was looked for.
    let expected = [(10, 12), (20, 20), (35, 35), (41, 45)].map(|(first, last)| ("BTCUSDT".to_owned(), first, last));
    assert_eq!(holes, expected);
}

/// G31: a connection that a server closes at a known age is replaced before, and nothing is missing or there twice.
#[tokio::test(flavor = "multi_thread")]
async fn g31_connections_are_replaced_before_their_end() {
    let server = server(Settings::default()).await;
    let tap = Tap::new();
    tap.source(
        "s",
        &source(&server, "/plain", "id: /n\nrotate_on: { /n: { exists: true }, /text: { matches: \"number 50,\" } }\n"),
    );
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&server));
    pause(Duration::from_millis(200));
    let mut published = 0;
    wait_until("the old one is left", LONG, || {
        published = server.publish();
        pause(Duration::from_millis(5));
        server.connections().len() == 2 && server.connections()[0].closed == Some(1000)
    });
    wait_until("all are there", LONG, || numbers(&tap).len() as u64 >= published - 1);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let expected: Vec<u64> = (1..=published).filter(|number| *number != 50).collect();
    assert_exactly(&numbers(&tap), &expected);
    assert!(entries(&tap, "gap").is_empty() && entries(&tap, "lost").is_empty(), "nothing was lost");
    assert!(entries(&tap, "control")[0]["data"]["why"].as_str().unwrap().contains("replaced"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let server = server(Settings::default()).await;
    for (status, body, state, words) in [
        (401, "", "refused", "check `auth`"),
        (404, "nothing here", "refused", "nothing here"),
        (200, "hello", "refused", "a websocket"),
        (503, r#"{"error":"ServiceUnavailable"}"#, "streaming", "ServiceUnavailable"),
        (500, "oops", "streaming", "oops"),
    ] {
        server.refuse_next([(status, body.to_owned())]);
        let tap = Tap::new();
        tap.source("s", &source(&server, "/plain", PLAIN));
        let mut process = tap.run();
        if state == "refused" {
            wait_until("it is refused", LONG, || !entries(&tap, "refused").is_empty());
            let refused = entries(&tap, "refused");
            assert!(refused[0]["data"]["why"].as_str().unwrap().contains(words), "{refused:?}");
        } else {
            wait_until("it is connected", LONG, || is_connected(&server));
            let known = server.publish();
            wait_until("it goes on", LONG, || {
                numbers(&tap).last() == Some(&known) || {
                    server.publish();
                    pause(Duration::from_millis(20));
                    !numbers(&tap).is_empty()
                }
            });
            assert!(tap.log().contains(words), "{}", tap.log());
        }
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    }
}

/// A cursor that is too old is refused by one server and taken for the oldest by another: both is said.
#[tokio::test(flavor = "multi_thread")]
async fn g34_a_place_that_is_gone_is_said() {
    for (path, keys) in [("/plain", PLAIN), ("/subscribe", &JETSTREAM.replace("5000000", "0"))] {
        let server = server(Settings { kept: 5, ..Settings::default() }).await;
        let tap = Tap::new();
        tap.source("s", &source(&server, path, keys));
        let mut process = tap.run();
        wait_until("it is connected", LONG, || is_connected(&server));
        pause(Duration::from_millis(300));
        server.publish();
        wait_until("the first is there", LONG, || tap.count("s") == 1);
        // Its place is committed a moment after it.
        pause(Duration::from_secs(1));
        process.kill();
        for _ in 0..20 {
            server.publish();
        }
        let mut process = tap.run();
        wait_until("it is connected again", LONG, || server.connections().len() >= 2 && is_connected(&server));
        pause(Duration::from_millis(300));
        server.publish();
        wait_until("it is said", LONG, || !entries(&tap, "not_filled").is_empty());
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
        assert!(entries(&tap, "filled").is_empty(), "{path}");
    }
}

/// Whatever goes wrong, at random moments, while messages come in pieces of some bytes: with an upstream that replays each is there once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_whatever_goes_wrong() {
    for (path, keys) in [("/plain", PLAIN), ("/subscribe", JETSTREAM)] {
        let server = server(Settings { piece: 7, ping_every: Duration::from_millis(500), ..Settings::default() }).await;
        let tap = Tap::new();
        tap.source("s", &source(&server, path, &format!("{keys}ping: 1s\nidle: 2s\n")));
        let mut process = tap.run();
        wait_until("it is connected", LONG, || is_connected(&server));
        pause(Duration::from_millis(300));
        server.publish();
        wait_until("the first is there", LONG, || tap.count("s") == 1);
        server.set_faults("1%:torn, 1%:reset, 1%:close=1001, 2%:twice, 2%:garbage, 3%:fragments, #77:half-open, #555:nonsense, #700:huge".parse().unwrap());
        for _ in 0..1500 {
            server.publish();
            pause(Duration::from_millis(1));
        }
        let truth = all(&server);
        let found = || if path == "/plain" { numbers(&tap) } else { of_jetstream(&tap) };
        wait_until("all are there", LONG * 2, || found().len() >= truth.len());
        println!("{path}: {} messages over {} connections", truth.len(), server.connections().len());
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
        assert_exactly(&found(), &truth);
        assert!(server.connections().len() > 10 && !entries(&tap, "filled").is_empty());
    }
}

/// Killed at 300 random moments in the middle of everything: each message of Jetstream is there once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_stream_it_loses_and_doubles_nothing() {
    let kills: u64 = if std::env::var_os("TAPLINE_QUICK").is_some() { 16 } else { 300 };
    let server = server(Settings { piece: 11, ..Settings::default() }).await;
    let tap = Tap::new();
    tap.source("s", &source(&server, "/subscribe", JETSTREAM));
    let mut random = StdRng::seed_from_u64(21);
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&server));
    pause(Duration::from_millis(300));
    server.publish();
    wait_until("the first is there", LONG, || tap.count("s") > 0);
    for kill in 0..kills {
        let before = tap.count("s");
        let until = Instant::now() + Duration::from_millis(random.random_range(0..500));
        while Instant::now() < until || (kill % 2 == 1 && tap.count("s") <= before) {
            server.publish();
            pause(Duration::from_millis(1 + kill % 4));
            assert!(until.elapsed() < PATIENCE, "nothing comes: {}", tap.log());
        }
        process.kill();
        process = tap.run();
    }
    wait_until("it is connected", LONG, || is_connected(&server));
    server.publish();
    let truth = all(&server);
    wait_until("all are there", LONG, || tap.count("s") >= truth.len());
    println!("{kills} kills, {} messages, {} connections", truth.len(), server.connections().len());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_exactly(&of_jetstream(&tap), &truth);
    tap.assert_counted("s");
}

/// Without a way to go on, nothing that was written is lost, and what is missing lies in a gap of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_got_again_is_in_the_ledger() {
    let server = server(Settings::default()).await;
    let tap = Tap::new();
    tap.source("s", &source(&server, "/plain", "id: /n\n"));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&server));
    for number in 0..1000 {
        if number % 200 == 100 {
            server.fault_now([Fault::Torn, Fault::Reset, Fault::Close(1001)][number / 200 % 3]);
        }
        if number == 700 {
            process.kill();
            process = tap.run();
        }
        server.publish();
        pause(Duration::from_millis(2));
    }
    wait_until("it is connected", LONG, || is_connected(&server));
    pause(Duration::from_millis(300));
    let last = server.publish();
    wait_until("the last is there", LONG, || numbers(&tap).last() == Some(&last));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found = numbers(&tap);
    assert!(found.is_sorted_by(|a, b| a < b), "each once, in order");
    let gaps: Vec<_> =
        entries(&tap, "gap").iter().map(|gap| (time(&gap["data"]["from"]), time(&gap["data"]["to"]))).collect();
    let moment = chrono::TimeDelta::milliseconds(500);
    let first = found[0];
    for logged in server.truth().into_iter().filter(|logged| logged.number > first && !found.contains(&logged.number)) {
        let is_known = gaps.iter().any(|(from, to)| logged.at >= *from - moment && logged.at <= *to + moment);
        assert!(is_known, "number {} of {} is missing, and in no gap of {gaps:?}", logged.number, logged.at);
    }
}

/// A server that says these messages on each connection, to whoever has said something first, and then waits.
async fn saying(messages: Vec<String>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let messages = messages.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
                socket.next().await;
                for message in messages {
                    if socket.send(Message::text(message)).await.is_err() {
                        return;
                    }
                }
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_an_agreement_is_kept_up_to_a_bound() {
    let large = |megabytes: usize| (0..megabytes).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(1 << 20)));
    let ack = || std::iter::once("{\"ok\":true}".to_owned());
    let kept = saying(large(5).chain(ack()).collect()).await;
    let flooded = saying(large(12).chain(ack()).collect()).await;
    let tap = Tap::new();
    for (name, url) in [("s", flooded), ("kept", kept)] {
        let keys = "id: /n\nsubscribe: [{ op: all }]\nack: { /ok: { exists: true } }\n";
        tap.source(name, &format!("kind: websocket\nurl: {url}\n{keys}"));
    }
    let mut process = tap.run();
    wait_until("what came before the agreement is there", LONG, || tap.count("kept") == 5);
    wait_until("the bound is said", LONG, || tap.log().contains("bytes came before what was said was agreed to"));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!((tap.count("s"), tap.count("kept")), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hole_of_many_is_noted() {
    let url = saying((1..=350).map(|n| format!("{{\"n\":{}}}", n * 3)).collect()).await;
    let tap = Tap::new();
    let keys = "id: /n\nsubscribe: [{ op: all }]\nsequence: /n\n";
    tap.source("s", &format!("kind: websocket\nurl: {url}\n{keys}"));
    let mut process = tap.run();
    wait_until("all are there", LONG, || tap.count("s") == 350);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let bounds: Vec<_> = entries(&tap, "hole").iter().map(|hole| hole["data"]["first"].as_u64().unwrap()).collect();
    assert_eq!(bounds, (1..350).map(|n| n * 3 + 1).collect::<Vec<u64>>());
    let output = tap.command(&["coverage", "s", "--json"]).output().unwrap();
    let coverage: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((coverage["holes"].as_u64(), coverage["missing"].as_u64()), (Some(349), Some(698)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_that_are_too_many_are_said_once_not_to_be_watched() {
    let all = |n: u64| (0..1200).map(move |key| format!("{{\"key\":\"k{key:04}\",\"n\":{n}}}"));
    let url = saying(all(1).chain(all(3)).collect()).await;
    let tap = Tap::new();
    let keys = "id: [/key, /n]\nsubscribe: [{ op: all }]\nsequence: { at: /n, per: /key }\n";
    tap.source("s", &format!("kind: websocket\nurl: {url}\n{keys}"));
    let mut process = tap.run();
    wait_until("all are there", LONG, || tap.count("s") == 2400);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(entries(&tap, "hole").len(), 1000);
    let said = entries(&tap, "control");
    assert!(
        said.len() == 1 && said[0]["data"]["why"].as_str().unwrap().contains("more than 1000 sequences"),
        "{said:?}"
    );
}

/// A server whose numbers begin anew does not fill what was missed, and its new numbers are gone on from.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_begin_anew_fill_nothing() {
    let before = server(Settings::default()).await;
    let tap = Tap::new();
    tap.source("s", &source(&before, "/plain", PLAIN));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&before));
    pause(Duration::from_millis(300));
    for _ in 0..5000 {
        before.publish();
    }
    wait_until("they are there", LONG, || tap.count("s") == 5000);
    pause(Duration::from_millis(700));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    // The same upstream, which has lost its memory: to ask it for 5000 brings what is new, from 1 on.
    let after = server(Settings { forgets: true, ..Settings::default() }).await;
    tap.source("s", &source(&after, "/plain", PLAIN));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&after));
    pause(Duration::from_millis(300));
    wait_until("it is said", LONG, || {
        after.publish();
        pause(Duration::from_millis(50));
        !entries(&tap, "not_filled").is_empty()
    });
    after.fault_now(Fault::Reset);
    wait_until("it is connected again", LONG, || after.connections().len() >= 2 && is_connected(&after));
    let target = after.connections().last().unwrap().target.clone();
    let cursor: u64 = target.rsplit_once("cursor=").unwrap().1.parse().unwrap();
    assert!(cursor < 5000, "it goes on from the new numbers: {target}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert!(entries(&tap, "not_filled")[0]["data"]["why"].as_str().unwrap().contains("counts anew"));
}

/// What a filter drops is counted by the key that says so, everywhere where somebody may look.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_counted() {
    let messages = (0..20).map(|n| format!("{{\"n\":{n},\"type\":\"{}\"}}", if n < 5 { "heartbeat" } else { "trade" }));
    let url = saying(messages.collect()).await;
    let tap = Tap::new();
    let keys =
        "id: /n\nsubscribe: [{ op: all }]\nignore: [{ /type: heartbeat }]\ntransform: { filter: { /typo: trade } }\n";
    tap.source("s", &format!("kind: websocket\nurl: {url}\n{keys}"));
    let file = tap.path("sources/s.yaml");
    let output = tap.command(&["try", file.to_str().unwrap(), "--listen", "2s"]).output().unwrap();
    let tried = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tried.contains("ignored  5 by `ignore`, 15 by `transform.filter`"), "{tried}");
    let mut process = tap.run();
    let expected = serde_json::json!({ "ignore": 5, "transform.filter": 15 });
    wait_until("status has them", LONG, || tap.status("s")["ignored"] == expected);
    let words = tap.command(&["status"]).output().unwrap().stdout;
    let words = String::from_utf8(words).unwrap();
    assert!(words.contains("ignored: 5 by `ignore`, 15 by `transform.filter`"), "{words}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!((tap.count("s"), tap.count("_rejected/s")), (0, 0));
}

/// A server that nobody here wrote: the library `websockets` for Python, which pings, and closes each connection after some
/// messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_here_wrote_is_read() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "websockets is not installed; run scripts/setup");
    let mut command = Command::new(python);
    command.arg(root.join("tests/fixtures/websocket/server.py")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _server = Process(child);
    let url = lines.next().unwrap().unwrap();
    let tap = Tap::new();
    tap.source("s", &format!("kind: websocket\nurl: {url}/stream\nconnects: {{ max: 100000, per: 1m }}\nsubscribe: [{{ op: subscribe }}]\nack: {{ /op: subscribed }}\nid: /n\nresume: {{ query: cursor, from: /n }}\n"));
    let mut process = tap.run();
    wait_until("it has gone on several times", LONG, || entries(&tap, "gap").len() >= 3);
    process.kill();
    let mut process = tap.run();
    let before = tap.count("s");
    wait_until("it goes on after a kill", LONG, || tap.count("s") > before + 50);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found = numbers(&tap);
    assert_eq!(found, (found[0]..=*found.last().unwrap()).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(tap.records("s")[0]["data"]["text"], "é \u{1f408}\nline");
}

/// Each preset of a websocket against a server that speaks as the real one does: nothing but the address is another.
#[tokio::test(flavor = "multi_thread")]
async fn presets_understand_their_servers() {
    let server = server(Settings { ping_every: Duration::from_millis(300), ..Settings::default() }).await;
    let presets = [
        ("binance", "/ws", "symbols: [btcusdt]", 1, "trade"),
        ("bluesky", "/subscribe", "collections: [app.bsky.feed.post]", 1, "commit"),
        (
            "bluesky_v2",
            "/xrpc/network.bsky.jetstream.subscribeEvents",
            "host: a.example",
            1,
            "network.bsky.jetstream.subscribeEvents#commit",
        ),
        ("coinbase", "/coinbase", "products: [BTC-USD]", 2, "trade"),
        ("finnhub", "/finnhub", "token: t0ken, symbols: [A]", 1, "trade"),
        ("mastodon", "/api/v1/streaming", "host: a.example, token: t0ken", 1, "update"),
    ];
    let tap = Tap::new();
    for (preset, path, with, ..) in presets {
        let url = server.url(path);
        tap.source(
            preset,
            &format!("preset: {preset}\nwith: {{ {with} }}\nurl: {url}\nconnects: {{ max: 100000, per: 1m }}\n"),
        );
    }
    let mut process = tap.run();
    // Connections of this or a later round of them, which have said what their server wants to hear.
    let are_connected = |round: usize| {
        let waits = |target: &str| ["/ws", "/coinbase", "/finnhub"].iter().any(|path| target.starts_with(path));
        let connections = server.connections();
        let is_ready = |known: &&Connection| !known.is_over && (!known.said.is_empty() || !waits(&known.target));
        connections.len() >= round * presets.len() && connections.iter().filter(is_ready).count() == presets.len()
    };
    wait_until("all are connected", LONG, || are_connected(1));
    pause(Duration::from_secs(1));
    for _ in 0..9 {
        server.publish();
    }
    for (preset, .., each, _) in presets {
        wait_until(preset, LONG, || tap.count(preset) >= 9 * each);
    }
    server.fault_now(Fault::Reset);
    wait_until("all are connected again", LONG, || are_connected(2));
    pause(Duration::from_secs(2));
    server.publish();
    for (preset, _, _, each, kind) in presets {
        wait_until(preset, LONG, || tap.count(preset) >= 10 * each);
        let records = tap.records_so_far(preset);
        assert_eq!(records.len(), 10 * each, "{preset}: each once: {records:?}");
        let record = &records[0];
        assert_eq!(record["type"], kind, "{preset}");
        assert!(record["published_at"].is_string(), "{preset}: {record}");
        assert_eq!(record["id"].as_str().unwrap().starts_with("m_"), preset != "finnhub", "{preset}: {record}");
        assert_eq!(tap.count(&format!("_rejected/{preset}")), 0, "{preset}");
    }
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let target =
        |path: &str| server.connections().iter().find(|known| known.target.starts_with(path)).unwrap().target.clone();
    assert_eq!(target("/subscribe"), "/subscribe?wantedCollections=app.bsky.feed.post");
    assert_eq!(target("/finnhub"), "/finnhub?token=t0ken");
    assert!(!tap.log().contains("t0ken"), "a token is nowhere");
}

/// Jetstream v1 compresses with a dictionary that its users have as a file.
#[tokio::test(flavor = "multi_thread")]
async fn jetstream_is_read_compressed_whatever_goes_wrong() {
    let server = server(Settings { piece: 13, ..Settings::default() }).await;
    let tap = Tap::new();
    let file = tap.path("jetstream.zdict");
    std::fs::write(&file, dictionary(20_261_123)).unwrap();
    let with = format!("with: {{ dictionary: {} }}\n", file.display());
    let keys =
        format!("preset: bluesky\n{with}url: {}\nconnects: {{ max: 100000, per: 1m }}\n", server.url("/subscribe"));
    tap.source("s", &keys);
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&server));
    pause(Duration::from_millis(300));
    server.publish();
    wait_until("the first is there", LONG, || tap.count("s") == 1);
    server.set_faults("2%:torn, 2%:reset, 3%:twice, 3%:fragments, 2%:garbage".parse().unwrap());
    for _ in 0..300 {
        server.publish();
        pause(Duration::from_millis(2));
    }
    wait_until("all are there", LONG, || tap.count("s") >= 301);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_exactly(&of_jetstream(&tap), &all(&server));
    let connections = server.connections();
    assert!(connections.iter().all(|known| known.target.contains("compress=true")), "{:?}", connections[0].target);
    assert!(connections.iter().map(|known| known.packed).sum::<u64>() >= 301);
}

/// Jetstream v2 has the dictionary itself. When it has another, that is fetched; when it does not take it, or has none, messages
/// come as they are; a cursor that is too old is told from both.
#[tokio::test(flavor = "multi_thread")]
async fn a_dictionary_is_fetched_and_fetched_again() {
    let server = server(Settings { kept: 5, ..Settings::default() }).await;
    let tap = Tap::new();
    let (url, base) =
        (server.url("/xrpc/network.bsky.jetstream.subscribeEvents"), server.url("").replace("ws:", "http:"));
    let from = format!("{base}/xrpc/network.bsky.jetstream.getZstdDictionary");
    tap.source("s", &format!(
        "preset: bluesky_v2\nwith: {{ host: a.example }}\nurl: {url}\ndictionary: {{ from: \"{from}\" }}\nconnects: {{ max: 100000, per: 1m }}\n"
    ));
    let mut process = tap.run();
    wait_until("it is connected", LONG, || is_connected(&server));
    pause(Duration::from_millis(300));
    let target = || server.connections().last().unwrap().clone();
    let why = |tap: &Tap| {
        let notes = entries(tap, "control");
        notes.iter().map(|note| note["data"]["why"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut sent = 0;
    let mut next = |is_packed: bool| {
        server.publish();
        sent += 1;
        wait_until("it is there", LONG, || tap.count("s") == sent);
        assert_eq!(target().packed > 0, is_packed, "{:?}", server.connections());
    };
    let again = |count: usize| {
        // What was read is committed, so that it is gone on from.
        pause(Duration::from_millis(500));
        server.fault_now(Fault::Reset);
        wait_until("it is connected again", LONG, || server.connections().len() >= count && is_connected(&server));
        pause(Duration::from_millis(300));
    };
    next(true);
    assert!(target().target.ends_with("zstdDictionary=20261123"), "{}", target().target);
    server.set(|settings| settings.dictionary = Some(77));
    again(3);
    next(true);
    assert!(target().target.contains("zstdDictionary=77") && why(&tap).is_empty(), "{:?}", why(&tap));
    server.set(|settings| settings.refuses_dictionary = true);
    again(5);
    next(false);
    assert!(why(&tap)[0].contains("does not take the dictionary") && why(&tap)[0].contains("UnknownZstdDictionary"));
    process.kill();
    server.set(|settings| (settings.dictionary, settings.refuses_dictionary) = (None, false));
    let before = server.connections().len();
    let mut process = tap.run();
    wait_until("it is connected", LONG, || server.connections().len() > before && is_connected(&server));
    pause(Duration::from_millis(300));
    next(false);
    assert!(why(&tap).last().unwrap().contains("answers 404"), "{:?}", why(&tap));
    assert!(entries(&tap, "not_filled").is_empty());
    process.kill();
    // Both are gone: the dictionary that it had, and the place.
    server.set(|settings| settings.dictionary = Some(78));
    for _ in 0..20 {
        server.publish();
    }
    let before = server.connections().len();
    let mut process = tap.run();
    wait_until("it is connected", LONG, || server.connections().len() > before && is_connected(&server));
    pause(Duration::from_millis(300));
    next(true);
    wait_until("the lost place is said", LONG, || !entries(&tap, "not_filled").is_empty());
    let not_filled = entries(&tap, "not_filled");
    assert!(not_filled[0]["data"]["why"].as_str().unwrap().contains("CursorTooOld"), "{not_filled:?}");
    assert!(server.connections().len() - before <= 3, "no tight loop: {:?}", server.connections());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(tap.count("_rejected/s"), 0);
}
