//! A secret in every place of the YAML that takes a text, one after the other: it comes out nowhere.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tapline::simulator::Running as _;
use tapline::simulator::api::Api;
use tapline::simulator::feed::News;
use tapline::simulator::quote::Quote;
use tapline::simulator::sse::{self, Sse};
use tapline::simulator::x::{self, X};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::tap::{PATIENCE, Process, Tap, pause, wait_until};

/// One that any place takes, and one with signs that change where they are put into an address, JSON or a page.
pub const CANARIES: [&str; 2] = ["canary5e9c2f7a1b", "canary+5e9c/2f7a \"1b\""];

/// Every form in which it could stand somewhere.
fn forms() -> impl Iterator<Item = String> {
    CANARIES.iter().flat_map(|canary| {
        let encoded: String = url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
        let json = Value::from(*canary).to_string();
        let html = canary.replace('"', "&#34;");
        [(*canary).to_owned(), encoded.replace('+', "%20"), encoded, json[1..json.len() - 1].to_owned(), html]
    })
}

pub fn assert_silent(what: &str, text: &str) {
    for form in forms() {
        if let Some(at) = text.find(&form) {
            let around: String = text[at.saturating_sub(300)..].chars().take(600).collect();
            panic!("{what} has the secret: …{around}…");
        }
    }
}

/// A scrape source with every key that takes a text.
fn scrape(base: &str) -> Value {
    json!({
        "kind": "scrape", "url": format!("{base}?key=1"), "every": "500ms", "offset": "0s", "timezone": "Asia/Kolkata",
        "headers": { "X-Key": "a" }, "user_agent": "me", "timeout": { "connect": "5s", "total": "10s" }, "max_body": "1MiB",
        "encoding": "utf-8", "type": "quote", "records": "body", "published_at": "at",
        "auth": { "oauth1": { "consumer_key": "a", "consumer_secret": "b", "token": "c", "token_secret": "d" } },
        "active": { "days": "mon-sun", "from": "00:00", "to": "00:00", "timezone": "UTC", "holidays": ["2020-01-26"] },
        "fields": {
            "price": { "css": "span.red14px", "type": "number", "locale": "en-IN" },
            "own": { "css": "span.red14px", "type": "number", "format": { "decimal": ".", "group": ",", "grouping": "indian" } },
            "word": { "css": "span.red14px", "regex": "([0-9,.]+)", "attr": "class", "on_missing": "null", "pattern": ".*" },
            "stand": { "css": "span.gone", "on_missing": "default", "default": "nothing" },
            "is": { "css": "span.gone", "type": "bool", "true": "yes", "false": ["no"], "on_missing": "null" },
            "at": { "css": "span.gone", "type": "datetime", "format": ["%d %b %Y %H:%M"], "timezone": "UTC", "on_missing": "null" },
        },
        "drift": { "hit_rate": "95%/20", "alert_after": 6 },
        "tests": [{ "page": "fixtures/page.html", "expect": { "word": "1", "rejects": ["nothing"] } }],
        "output": {
            "stream": "STREAM", "link": "STREAM.out", "format": "{observed_at:%H:%M:%S}, {price}",
            "rotate": { "size": "1MiB", "every": "1h" }, "compress": "zstd", "retain": { "age": "90d", "size": "1GiB" },
        },
    })
}

/// A scrape source that asks for many pages, behind a login.
fn scrape_many(base: &str) -> Value {
    json!({
        "kind": "scrape", "url": format!("{base}?a={{s}}&p={{page}}"), "every": "500ms", "offset": "0s", "values_in_data": false,
        "for_each": { "s": ["b"] }, "records": "body", "unique": ["price"], "headers": { "X-Key": "a" },
        "pages": { "max": 2, "stop": "b.none" },
        "follow": { "css": "a", "attr": "href", "fields": { "last": { "css": "b", "on_missing": "null" } } },
        "fields": { "price": { "css": "span.red14px", "type": "number", "locale": "en-IN" } },
        "login": {
            "url": format!("{base}login"), "form": "form", "check": "span", "fields": { "user": "me", "password": "word" },
        },
        "output": { "stream": "STREAM" },
    })
}

/// The same by links, without a login.
fn scrape_linked(base: &str) -> Value {
    json!({
        "kind": "scrape", "url": base, "every": "500ms", "offset": "0s", "values_in_data": false, "for_each": [{ "s": "b" }],
        "body": { "form": { "s": "{s}" } }, "pages": { "next": "a" }, "records": "body", "unique": { "key": "price" },
        "fields": { "price": "span.red14px", "gone": { "css": ["b.none", "span.red14px"] } },
        "output": { "stream": "STREAM" },
    })
}

/// A scrape source that asks in other ways; `auth` and `body` are two of them.
fn scrape_asking(base: &str, auth: &Value, body: &Value) -> Value {
    json!({
        "kind": "scrape", "url": base, "every": "500ms", "method": "POST", "body": body, "auth": auth,
        "proxy": "http://user:password@127.0.0.1:1/", "tls_verify": false,
        "manners": { "robots": { "ignore": "a contract" }, "delay": "100ms" },
        "fields": { "price": { "css": ["span.red14px", "b"], "type": "money", "currency": "INR", "locale": "en-IN", "max_jump": { "by": "10%", "accept_after": "5 moves" } } },
        "output": { "stream": "STREAM" },
    })
}

/// A feed with every key of its own that takes a text.
fn feed(base: &str) -> Value {
    json!({
        "kind": "feed", "url": format!("{base}rss?key=1"), "every": "500ms", "offset": "0s", "query": { "a": "b", "c": ["d"] },
        "headers": { "X-Key": "a" }, "auth": { "bearer": "token" }, "encoding": "utf-8", "keep": "30d", "edits": true,
        "type": "item", "output": { "stream": "STREAM" },
    })
}

/// An API with every key of its own that takes a text.
fn api(base: &str) -> Value {
    json!({
        "kind": "json", "url": format!("{base}trades?key=1"), "every": "500ms", "offset": "0s", "query": { "a": "b" },
        "auth": { "basic": { "user": "me", "password": "word" } }, "records": "/data", "id": "/id",
        "published_at": { "at": "/time", "format": "rfc3339" }, "error": "/error", "fields": { "id": "/id", "price": "/price" },
        "pages": { "cursor": { "param": "cursor", "from": "/cursor" } }, "once": { "keep": "30d" },
        "since": { "param": "since", "from": "/id", "start": "1", "overlap": "10m" }, "output": { "stream": "STREAM" },
    })
}

fn x_stream(base: &str) -> Value {
    json!({
        "kind": "x_stream", "base_url": base, "auth": { "bearer": "token" }, "api": "v2",
        "rules": [{ "value": "cat", "tag": "cats" }], "tweet_fields": ["created_at"], "expansions": ["author_id"],
        "user_fields": ["name"], "media_fields": ["url"], "place_fields": ["name"], "poll_fields": ["options"],
        "recover": ["backfill"], "idle": "25s", "compression": "gzip", "connects": { "max": 15, "per": "15m" },
        "timezone": "UTC", "output": { "stream": "STREAM", "link": "STREAM.out" },
    })
}

/// A stream of events with every key that takes a text.
fn sse_stream(base: &str) -> Value {
    json!({
        "kind": "sse", "url": format!("{base}?key=1"), "headers": { "X-Key": "a" }, "auth": { "bearer": "token" },
        "user_agent": "me", "query": { "b": ["c"] }, "timeout": { "connect": "5s", "total": "10s" }, "id": "/n", "published_at": "/at", "ignore": [{ "/text": "nothing" }], "events": ["message", "update"],
        "idle": "60s", "last_event_id": "header", "max_event": "4MiB", "compression": "gzip",
        "start": { "id": "7", "query": { "since": "now-1h" } },
        "output": { "stream": "STREAM", "link": "STREAM.out" },
    })
}

/// A program with every key that takes a text.
fn program() -> Value {
    json!({
        "kind": "exec", "command": ["sh", "-c", "echo no message; echo words >&2; sleep 1000", "name"], "env": { "KEY": "a" },
        "folder": "/", "format": "singer", "config": { "key": "a" }, "catalog": { "streams": ["a"] }, "again": "1h",
        "output": { "stream": "STREAM" },
    })
}

/// The file of the service, without loaders: those come to stores that are not there.
fn service(dir: &Path) -> Value {
    json!({
        "data": dir.join("data"), "rotate": { "size": "64MiB", "every": "1h" }, "compress": "zstd",
        "retain": { "age": "90d", "size": "50GiB" }, "durability": "process", "commit": { "every": "200ms", "size": "1MiB" },
        "limits": { "disk_free": "1MiB" },
        "loaders": [
            { "to": "redis://user:password@127.0.0.1:1/0", "name": "redis", "streams": ["x*"], "batch": { "size": "1MiB", "every": "1s" } },
            { "to": "mongodb://user:password@127.0.0.1:1/db?serverSelectionTimeoutMS=500", "name": "mongo", "streams": "x*" },
            { "to": "es+http://user:password@127.0.0.1:1/?index=a", "name": "es", "streams": "x*" },
            { "to": "postgres://user:password@127.0.0.1:1/db", "name": "pg", "streams": "x*" },
            { "to": "http://127.0.0.1:1/path?key=b", "name": "hook", "streams": "x*" },
        ],
        "alerts": [
            { "to": "https://user:password@127.0.0.1:1/path?key=b", "headers": { "X-Key": "a" }, "name": "web", "only": ["broken"], "timeout": "5s" },
            { "to": "slack+https://127.0.0.1:1/services/T0/B0/x", "name": "chat" },
            { "to": "smtp://user:password@127.0.0.1:1?tls=none", "from": "a@example.org", "recipients": ["b@example.org"], "name": "mail" },
            { "to": "command:/nowhere/program", "args": ["a"], "name": "program" },
        ],
        "incidents": { "name": "here", "after": "5m", "at_latest": "2h", "disk_free": "1GiB" },
    })
}

/// The place of every text in a tree.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                places(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

/// The tree with a reference in a place: instead of what is there, and behind it.
fn with_secret(tree: &Value, place: &str) -> [Value; 4] {
    [(false, 0), (true, 0), (false, 1), (true, 1)].map(|(behind, canary)| {
        let mut tree = tree.clone();
        let at = tree.pointer_mut(place).unwrap();
        let before = if behind { at.as_str().unwrap().to_owned() } else { String::new() };
        *at = format!("{before}${{CANARY_{canary}}}").into();
        tree
    })
}

pub fn command(tap: &Tap, arguments: &[&str]) -> Command {
    let mut command = tap.command(arguments);
    for (index, canary) in CANARIES.iter().enumerate() {
        command.env(format!("CANARY_{index}"), canary);
    }
    command
}

fn said(tap: &Tap, arguments: &[&str]) -> (bool, String) {
    let output = command(tap, arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// Every file below a folder, with its name.
pub fn everything(dir: &Path) -> String {
    let (mut text, mut dirs) = (String::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            writeln!(text, "{}", path.display()).unwrap();
            if path.is_dir() {
                dirs.push(path);
            } else if path.is_file() {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            }
        }
    }
    text
}

/// Runs for some seconds, and looks at everything that comes out.
fn run_and_look(tap: &Tap, sources: &[String], look_at_files: bool) {
    let before = tap.log().len();
    let log = std::fs::File::options().create(true).append(true).open(tap.path("log")).unwrap();
    let mut command = command(tap, &["run"]);
    command.env("TAPLINE_HTTP", "127.0.0.1:0").stdout(Stdio::null()).stderr(log);
    let mut process = Process(command.spawn().unwrap());
    let mut address = None;
    wait_until("the page is there", PATIENCE, || {
        let log = tap.log().split_off(before);
        address =
            log.split("the page is at http://").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        address.is_some()
    });
    let address = address.unwrap();
    pause(Duration::from_secs(6));
    let mut pages =
        vec!["/".to_owned(), "/loaders".into(), "/ledger".into(), "/metrics".into(), "/health".into(), "/ready".into()];
    pages.extend(sources.iter().map(|name| format!("/source/{name}")));
    for page in pages {
        let (status, text) = crate::web::get(address, &page, &[]);
        assert!([200, 503].contains(&status) || page == "/metrics", "{page}: {status}");
        assert_silent(&page, &text);
    }
    for arguments in [&["status"][..], &["status", "--json"], &["coverage", "--json"], &["loaders", "--json"]] {
        assert_silent(&arguments.join(" "), &said(tap, arguments).1);
    }
    let line = std::fs::read(format!("/proc/{}/cmdline", process.0.id())).unwrap();
    assert_silent("the list of processes", &String::from_utf8_lossy(&line));
    process.terminate();
    assert_silent("the log", &tap.log());
    if look_at_files {
        assert_silent("the data folder", &everything(&tap.data()));
    }
}

/// Tries every place of a source; those that are taken run together.
fn every_place(tree: &Value) {
    let (tap, named) = (Tap::new(), Tap::new());
    for tap in [&tap, &named] {
        // The page of its tests.
        std::fs::create_dir(tap.path("sources/fixtures")).unwrap();
        std::fs::write(tap.path("sources/fixtures/page.html"), "<b>1</b>").unwrap();
    }
    let mut found = Vec::new();
    places(tree, "", &mut found);
    let (mut ran, mut refused) = (Vec::new(), 0);
    let mut in_names = Vec::new();
    for (index, place) in found.iter().enumerate() {
        for (variant, tree) in with_secret(tree, place).iter().enumerate() {
            let name = format!("s{index}-{variant}");
            let text = tree.to_string().replace("STREAM", &name);
            // What it is told to write it writes: names of files, a type, a rendering, a value. All else is silent there too.
            let told = ["/output/stream", "/output/link", "/output/format", "/type", "/fields/stand/default"];
            let is_name = told.contains(&place.as_str());
            let tap = if is_name { &named } else { &tap };
            tap.source(&name, &text);
            let file = tap.path("sources").join(format!("{name}.yaml"));
            let (is_taken, words) = said(tap, &["check", file.to_str().unwrap()]);
            assert_silent(&format!("check of {place}"), &words);
            if !is_taken {
                refused += 1;
                tap.remove(&name);
            } else if is_name {
                in_names.push(name);
            } else {
                let (_, words) = said(tap, &["try", file.to_str().unwrap(), "--listen", "1s"]);
                assert_silent(&format!("try of {place}"), &words);
                ran.push(name);
            }
        }
    }
    println!("{}: {} places, {} files ran, {refused} were refused", tree["kind"], found.len(), ran.len());
    assert!(ran.len() > 8, "{ran:?}");
    run_and_look(&tap, &ran, true);
    if !in_names.is_empty() {
        run_and_look(&named, &in_names, false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_any_place_of_a_source_comes_out_nowhere() {
    let exchange = Quote::new().start(0).await.unwrap();
    let x = X::start(0, x::Settings::default()).await.unwrap();
    let site = News::default().start(0).await.unwrap();
    let api_site = Api::default().start(0).await.unwrap();
    let events =
        Sse::start(0, sse::Settings { every: Some(Duration::from_millis(200)), ..Default::default() }).await.unwrap();
    let [page, base, stream] = [exchange.url("/"), format!("http://{}", x.address()), events.url("/plain")];
    let [news, trades] = [site.url("/"), api_site.url("/")];
    tokio::task::spawn_blocking(move || {
        every_place(&scrape(&page));
        let login = json!({ "user": "me", "password": "word" });
        every_place(&scrape_asking(&page, &json!({ "basic": login }), &json!({ "form": { "a": "b" } })));
        every_place(&scrape_asking(&page, &json!({ "digest": login }), &json!({ "text": "a", "type": "text/xml" })));
        every_place(&scrape_asking(&page, &json!({ "bearer": "token" }), &json!({ "json": { "a": ["b"] } })));
        every_place(&scrape_many(&page));
        every_place(&scrape_linked(&page));
        every_place(&x_stream(&base));
        every_place(&feed(&news));
        every_place(&api(&trades));
        every_place(&sse_stream(&stream));
    })
    .await
    .unwrap();
}

#[test]
fn a_secret_in_any_place_of_a_program_comes_out_nowhere() {
    every_place(&program());
}

/// It is told to those whom it is for.
#[test]
fn a_program_gets_the_secrets_that_it_was_given() {
    let tap = Tap::new();
    let script = r#"for said in "$KEY" "$1" "$(cat "$3")"; do echo "$said" | md5sum; done; stat -c %a "$3" "$(dirname "$3")"; exec sleep 1000"#;
    let source = json!({
        "kind": "exec", "command": ["sh", "-c", script, "sh", "${CANARY_1}"], "env": { "KEY": "${CANARY_1}" },
        "config": { "key": "${CANARY_1}" }, "format": "singer",
    });
    tap.source("s", &source.to_string());
    let log = std::fs::File::create(tap.path("log")).unwrap();
    let mut process = Process(command(&tap, &["run"]).stderr(log).stdout(Stdio::null()).spawn().unwrap());
    wait_until("it has said everything", PATIENCE, || tap.count("_rejected/s") == 5);
    process.terminate();
    let said: Vec<String> =
        tap.records("_rejected/s").iter().map(|reject| reject["data"]["raw"].as_str().unwrap().to_owned()).collect();
    let sum = |text: &str| {
        let mut md5sum = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut md5sum.stdin.take().unwrap(), text.as_bytes()).unwrap();
        String::from_utf8(md5sum.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let (plain, config) = (sum(&format!("{}\n", CANARIES[1])), sum(&format!("{}\n", json!({ "key": CANARIES[1] }))));
    assert_eq!(said, [plain.as_str(), &plain, &config, "600", "700"], "{}", tap.log());
}

#[test]
fn a_secret_in_any_place_of_the_service_comes_out_nowhere() {
    let tap = Tap::new();
    let tree = service(tap.path("").as_path());
    let mut found = Vec::new();
    places(&tree, "", &mut found);
    let (mut ran, mut refused) = (0, 0);
    for place in found {
        for tree in with_secret(&tree, &place) {
            std::fs::write(tap.path("tapline.yaml"), tree.to_string()).unwrap();
            let (is_taken, words) = said(&tap, &["check"]);
            assert_silent(&format!("check of {place}"), &words);
            refused += usize::from(!is_taken);
            // Where the data is stands in the log, and is a name.
            if is_taken && place.starts_with("/loaders") && place.ends_with("/to") {
                run_and_look(&tap, &[], true);
                ran += 1;
            }
        }
    }
    println!("the service: {ran} ran, {refused} were refused");
    assert!(ran >= 2, "{ran}");
}

/// A server of websockets that says back whatever it was told: in a redirect, a refusal, an error, a close.
#[expect(clippy::result_large_err, reason = "it is the library's")]
async fn echo() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("ws://{}/", listener.local_addr().unwrap());
    let turns = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let (mut turn, mut asked) = (0, String::new());
                let callback =
                    |request: &Request, response: Response| answer(request, response, &turns, &mut turn, &mut asked);
                let Ok(mut socket) = accept_hdr_async(socket, callback).await else { return };
                let Some(Ok(said)) = socket.next().await else { return };
                let said = said.into_text().map(|text| text.to_string()).unwrap_or_default();
                if turn.is_multiple_of(2) {
                    socket.send(Message::text(json!({ "error": said, "asked": asked }).to_string())).await.ok();
                }
                let reason: String = said.chars().take(100).collect();
                socket.close(Some(CloseFrame { code: 4001.into(), reason: reason.into() })).await.ok();
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    base
}

#[expect(clippy::result_large_err, reason = "it is the library's")]
fn answer(
    request: &Request,
    mut response: Response,
    turns: &AtomicU64,
    turn: &mut u64,
    asked: &mut String,
) -> Result<Response, ErrorResponse> {
    *turn = turns.fetch_add(1, Ordering::Relaxed);
    *asked = format!("{} {:?}", request.uri(), request.headers());
    let refusal = |status: u16| {
        let mut refusal = ErrorResponse::new(Some(asked.clone()));
        *refusal.status_mut() = status.try_into().unwrap();
        refusal
    };
    match *turn % 6 {
        0 => {
            let mut redirect = refusal(302);
            redirect.headers_mut().insert("location", format!("/again{}", request.uri()).parse().unwrap());
            Err(redirect)
        }
        1 => Err(refusal(400)),
        3 => Err(refusal(403)),
        _ => {
            let protocols = request.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
            if let Some(first) = protocols.and_then(|protocols| protocols.split(',').next()) {
                response.headers_mut().insert("sec-websocket-protocol", first.trim().parse().unwrap());
            }
            Ok(response)
        }
    }
}

/// A websocket with every key that takes a text.
fn websocket(base: &str) -> Value {
    let dictionary = format!("{}dictionary?key=1", base.replacen("ws:", "http:", 1));
    json!({
        "kind": "websocket", "url": format!("{base}?key=1"), "query": { "b": ["c"] }, "headers": { "X-Key": "a" },
        "auth": { "bearer": "token" }, "user_agent": "me", "protocols": ["v1.json", "token"],
        "subscribe": [{ "type": "auth", "key": "word" }, "hello"], "ack": { "/ok": "yes" }, "ack_within": "1s",
        "errors": [{ "/error": { "matches": ".*" } }], "ping": "1s", "ping_message": { "op": "ping", "key": "word" },
        "idle": "3s", "max_message": "1MiB", "binary": "zstd",
        "dictionary": { "from": dictionary, "query": "compress", "value": "true" }, "ignore": [{ "/text": "nothing" }],
        "id": "/n", "published_at": "/at", "sequence": "/n", "resume": { "query": "cursor", "from": "/n" },
        "rotate": "1h", "rotate_on": { "/e": "end" }, "connects": { "max": 1000, "per": "1m" },
        "output": { "stream": "STREAM", "link": "STREAM.out" },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_websocket_comes_out_nowhere_whatever_its_server_says_back() {
    let base = echo().await;
    tokio::task::spawn_blocking(move || every_place(&websocket(&base))).await.unwrap();
}
