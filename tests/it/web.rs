//! The HTTP endpoint: who may ask, how it stands slow and greedy clients, what it says, and what a browser makes of it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tapline::simulator::quote::{Exchange, Quote};
use tapline::simulator::server::{Reply, Request, Server};

use crate::support::tap::{PATIENCE, Process, Tap, pause, wait_until};

const TOKEN: &str = "a-token-that-nobody-guesses";

/// Starts the service with a page on a free port.
pub fn start(tap: &Tap, more: &[&str]) -> (Process, SocketAddr) {
    let before = tap.log().len();
    let log = std::fs::File::options().create(true).append(true).open(tap.path("log")).unwrap();
    let mut command = tap.command(&["run"]);
    command.args(more).env("TAPLINE_HTTP", "127.0.0.1:0").stdout(Stdio::null()).stderr(log);
    let process = Process(command.spawn().unwrap());
    let mut found = None;
    wait_until("the page is there", PATIENCE, || {
        // What earlier runs said stands before it.
        let said = tap.log().split_off(before);
        let address = said.split("the page is at http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        found = address.and_then(|address| address.parse().ok());
        found.is_some()
    });
    let address = found.unwrap();
    wait_until("it has begun", PATIENCE, || get(address, "/ready", &[]).0 == 200);
    (process, address)
}

/// One request by hand, so that every header is as it is said here. `Host` is the address unless it is given.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        write!(head, "Host: {address}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(head, "Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n", body.len()).unwrap();
    }
    // Whoever is refused is cut off, while writing or while reading.
    let _sent = socket.write_all(format!("{head}\r\n{body}").as_bytes());
    let mut answer = Vec::new();
    let _end = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (status, _, body) = ask(address, "GET", path, headers, "");
    (status, body)
}

fn quote_source(exchange: &Exchange, path: &str) -> String {
    format!(
        "kind: scrape\nurl: {}\nevery: 200ms\nfields:\n  price: {{ css: span.red14px, type: number, locale: en-IN }}\n",
        exchange.url(path)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_say_what_runs_and_how_well() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    let file = tap.path("out.db");
    tap.settings(&format!("loaders:\n  - {{ to: 'sqlite:{}', name: store }}\n", file.display()));
    tap.source("good", &quote_source(&exchange, "/"));
    tap.source("empty", &quote_source(&exchange, "/").replace("span.red14px", "span.gone"));
    tap.source("broken", "kind: scrape\nurl: http://127.0.0.1:1/\nevery: soon\nfields: { a: b }\n");
    let (mut process, address) = start(&tap, &[]);
    tap.wait_for_lines("good", 10);
    tap.wait_for_lines("_rejected/empty", 3);
    wait_until("the loader has some", PATIENCE, || get(address, "/loaders", &[]).1.contains("caught up"));
    let (status, overview) = get(address, "/", &[]);
    assert_eq!(status, 200);
    for words in
        ["good", "price 5", "scheduled since", "its file is broken", "every: `soon` is not a duration", "300/min"]
            .iter()
            .filter(|words| **words != "300/min")
    {
        assert!(overview.contains(words), "{words}: {overview}");
    }
    let (_, source) = get(address, "/source/good", &[]);
    for words in
        ["data-points=", "covered since", "d-full", "As they come", "\"price\":5".replace('"', "&#34;").as_str()]
    {
        assert!(source.contains(words), "{words}: {source}");
    }
    let (_, empty) = get(address, "/source/empty", &[]);
    assert!(empty.contains("missing") && empty.contains("matched nothing"), "{empty}");
    let (_, ledger) = get(address, "/ledger?type=started", &[]);
    assert!(ledger.contains("kind: scrape") && !ledger.contains("outcome"), "{ledger}");
    for part in ["state", "charts", "year", "rejects", "entries"] {
        let (_, of) = get(address, &format!("/source/good?part={part}"), &[]);
        assert!(of.contains(&format!("id=\"{part}\"")), "{part}: {of}");
        assert_eq!(of.matches("data-refresh").count(), 1, "{part}: only what was asked for: {of}");
    }
    assert_eq!(get(address, "/source/nobody", &[]).0, 404);
    assert_eq!(get(address, "/nothing", &[]).0, 404);
    assert_eq!(get(address, "/health", &[]), (200, "ok\n".to_owned()));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_is_answered() {
    let tap = Tap::new();
    let (_process, address) = start(&tap, &[]);
    let own = address.to_string();
    let of = |method: &str, path: &str, headers: &[(&str, &str)]| ask(address, method, path, headers, "").0;
    for (method, path, headers, expected) in [
        ("GET", "/", &[][..], 200),
        ("HEAD", "/", &[], 200),
        ("GET", "/", &[("Host", "localhost:8080")], 200),
        ("GET", "/", &[("Host", "127.0.0.1")], 200),
        ("GET", "/", &[("Host", "[::1]:8080")], 200),
        // A name that somebody has made to point here.
        ("GET", "/", &[("Host", "evil.example")], 421),
        ("GET", "/", &[("Host", "localhost.evil.example")], 421),
        ("GET", "/", &[("Host", "10.0.0.1:8080")], 421),
        ("GET", "/health", &[("Host", "evil.example")], 421),
        // Another site's page.
        ("GET", "/", &[("Origin", "http://evil.example")], 403),
        ("GET", "/live/x", &[("Sec-Fetch-Site", "cross-site")], 403),
        ("GET", "/", &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")], 200),
        ("POST", "/try", &[], 403),
        ("POST", "/", &[], 403),
        ("DELETE", "/", &[], 405),
        ("PUT", "/try", &[], 405),
        ("OPTIONS", "/", &[], 405),
    ] {
        assert_eq!(of(method, path, headers), expected, "{method} {path} {headers:?}");
    }
    let (_, head, _) = ask(address, "GET", "/", &[("Origin", &format!("http://{own}"))], "");
    for said in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "cache-control: no-store",
    ] {
        assert!(head.contains(said), "{said}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_opens_everything_and_nothing_else_does() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    tap.settings(&format!("http: {{ token: {TOKEN} }}\n"));
    tap.source("good", &quote_source(&exchange, "/"));
    let (_process, address) = start(&tap, &[]);
    for (path, headers, expected) in [
        ("/", &[][..], 401),
        ("/", &[("Accept", "text/html")], 303),
        ("/", &[("Authorization", "Bearer wrong-wrong-wrong-wrong")], 401),
        ("/", &[("Authorization", "Bearer a-token-that-nobody-guesses")], 200),
        ("/", &[("Cookie", "a=b; tapline_token=a-token-that-nobody-guesses")], 200),
        ("/", &[("Cookie", "tapline_token=a-token-that-nobody-guesse")], 401),
        ("/source/good", &[], 401),
        ("/live/good", &[], 401),
        ("/ledger", &[], 401),
        ("/health", &[], 200),
        ("/ready", &[], 200),
        ("/login", &[], 200),
        ("/login?token=wrong-wrong-wrong-wrong", &[], 403),
    ] {
        assert_eq!(get(address, path, headers).0, expected, "{path} {headers:?}");
    }
    let (status, head, _) = ask(address, "GET", &format!("/login?token={TOKEN}"), &[], "");
    assert_eq!(status, 303);
    assert!(head.contains(&format!("set-cookie: tapline_token={TOKEN}; HttpOnly; SameSite=Strict")), "{head}");
    let printed = tap.command(&["page"]).env_remove("TAPLINE_HTTP").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed, format!("http://127.0.0.1:8080/login?token={TOKEN}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_tried_and_a_selector_shown() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    tap.settings(&format!("http: {{ token: {TOKEN} }}\n"));
    std::fs::write(tap.path("secret"), "hush-hush").unwrap();
    let (_process, address) = start(&tap, &[]);
    let bearer = format!("Bearer {TOKEN}");
    let post = |form: &[(&str, &str)]| {
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let (status, _, page) = ask(address, "POST", "/try", &[("Authorization", &bearer)], &body);
        assert_eq!(status, 200, "{page}");
        page
    };
    let yaml = quote_source(&exchange, "/");
    let page = post(&[("what", "source"), ("yaml", &yaml)]);
    assert!(page.contains("span.red14px") && page.contains("&#34;price&#34;:5"), "{page}");
    let page = post(&[("what", "source"), ("yaml", &yaml.replace("every", "evry"))]);
    assert!(page.contains("try.yaml:3:1: evry: unknown key; did you mean `every`?"), "{page}");
    let page = post(&[("what", "selector"), ("url", &exchange.url("/")), ("css", "span.red14px")]);
    assert!(page.contains("<td data-label=\"Raw text\">") && page.contains("59,"), "{page}");
    for reference in ["${file:/etc/passwd}", &format!("${{file:{}}}", tap.path("secret").display()), "${HOME}"] {
        let page = post(&[("what", "source"), ("yaml", &format!("{yaml}headers: {{ a: '{reference}' }}\n"))]);
        assert!(page.contains("not looked up here") && !page.contains("hush-hush"), "{page}");
    }
    let (status, _, page) = ask(
        address,
        "POST",
        "/try",
        &[("Authorization", &bearer)],
        &format!("what=source&yaml={}", "x".repeat(3 << 20)),
    );
    assert!(status == 413 || page.is_empty(), "a body without end is not taken: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_as_they_are_committed_and_go_on_where_they_were() {
    let exchange = Quote::new().start(0).await.unwrap();
    let tap = Tap::new();
    tap.source("good", &quote_source(&exchange, "/"));
    let (_process, address) = start(&tap, &[]);
    tap.wait_for_lines("good", 1);
    let (mut seen, mut last) = (Vec::new(), String::new());
    for round in 0..4 {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let resume = if last.is_empty() { String::new() } else { format!("Last-Event-ID: {last}\r\n") };
        write!(socket, "GET /live/good HTTP/1.1\r\nHost: {address}\r\n{resume}\r\n").unwrap();
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        let wanted = seen.len() + 5;
        while seen.len() < wanted {
            let count = socket.read(&mut buffer).unwrap();
            assert!(count > 0, "round {round}: {text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                for line in event.lines() {
                    if let Some(data) = line.strip_prefix("data: ") {
                        seen.push(data.to_owned());
                    }
                    if let Some(id) = line.strip_prefix("id: ") {
                        id.clone_into(&mut last);
                    }
                }
            }
        }
        pause(Duration::from_millis(600));
    }
    let lines = tap.segments("good").into_values().collect::<String>();
    let from = lines.lines().position(|line| line == seen[0]).unwrap();
    let expected: Vec<&str> = lines.lines().skip(from).take(seen.len()).collect();
    assert_eq!(seen, expected, "each once, in order, over four connections");
}

fn memory_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Two thousand that speak a byte now and then, and one that has something to ask.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_slow_ones_keep_nobody_out() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    tap.source("good", &quote_source(&exchange, "/"));
    let (process, address) = start(&tap, &[]);
    // Both ends of the sockets are this machine's; the test's own limit is raised as far as it may be.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let before = memory_kib(&process);
    let mut slow = Vec::new();
    for number in 0..2_000 {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
        slow.push(socket);
        if number % 100 == 99 {
            let began = Instant::now();
            assert_eq!(get(address, "/", &[]).0, 200, "after {number}");
            println!("slow: {number} sockets, a page in {:?}", began.elapsed());
            for socket in &mut slow {
                // Those that were ended do not matter.
                let _gone = socket.write_all(b"a");
            }
        }
    }
    let (records, grown) = (tap.count("good"), memory_kib(&process) - before);
    println!("slow: {grown} KiB more at most");
    assert!(grown < 16 << 10, "{grown} KiB for bounded connections");
    wait_until("sources go on", PATIENCE, || tap.count("good") > records);
    drop(slow);
    assert_eq!(get(address, "/health", &[]).0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_are_refused() {
    let tap = Tap::new();
    let (process, address) = start(&tap, &[]);
    let before = memory_kib(&process);
    let names: Vec<String> = (0..100).map(|number| format!("X-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a")).collect();
    assert_eq!(get(address, "/", &many).0, 431);
    let long = "a".repeat(1 << 20);
    let (status, _) = get(address, "/", &[("X-Long", &long)]);
    assert!(status == 431 || status == 0, "{status}");
    let (status, _) = get(address, &format!("/{long}"), &[]);
    assert!([0, 414, 431].contains(&status), "{status}");
    assert!(memory_kib(&process) - before < 8 << 10);
    assert_eq!(get(address, "/", &[]).0, 200);
}

/// The process lives and does nothing: that is what a health answer is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_stops_nothing_but_the_page() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tap = Tap::new();
    tap.settings(&format!("http: {{ listen: '{}' }}\n", taken.local_addr().unwrap()));
    tap.source("good", &quote_source(&exchange, "/"));
    let log = std::fs::File::create(tap.path("log")).unwrap();
    let mut command = tap.command(&["run"]);
    command.env_remove("TAPLINE_HTTP").stdout(Stdio::null()).stderr(log);
    let mut process = Process(command.spawn().unwrap());
    tap.wait_for_lines("good", 5);
    let said = tap.log();
    assert!(said.contains("there is no page: the address cannot be listened on") && said.contains("in use"), "{said}");
    assert_eq!(process.terminate().0, Some(0));
}

/// A page that changes its layout: what changed is kept once, and shown.
#[tokio::test(flavor = "multi_thread")]
async fn what_changed_on_a_page_is_shown() {
    let page = |request: &Request| match request.number {
        ..10 => "<html><body><h1>Index</h1><span class=price>59,465.68</span></body>",
        _ => "<html><body><h1>Index</h1><div class=quote><b>59,470.00</b></div></body>",
    };
    let upstream = Server::start(0, Arc::new(move |request| Reply::new(200, "text/html", page(request)).into()));
    let upstream = upstream.await.unwrap();
    let tap = Tap::new();
    let url = format!("http://{}/", upstream.address());
    tap.source("index", &format!("kind: scrape\nurl: {url}\nevery: 100ms\nfields: {{ price: span.price }}\n"));
    let (_process, address) = start(&tap, &[]);
    tap.wait_for_lines("_rejected/index", 5);
    tap.wait_for_lines("_changed/index", 1);
    let (_, page) = get(address, "/source/index", &[]);
    for line in ["−&#60;span class=price&#62;", "+&#60;div class=quote&#62;", "+59,470.00", " &#60;/h1&#62;"] {
        let line =
            if page.contains("&lt;") { line.replace("&#60;", "&lt;").replace("&#62;", "&gt;") } else { line.into() };
        assert!(page.contains(&line), "{line}: {page}");
    }
    tap.wait_for_lines("_rejected/index", 20);
    assert_eq!(tap.count("_changed/index"), 1, "once, however often it is bad");
}

fn browse(tap: &Tap, script: &str, arguments: &[&str]) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "playwright is not installed; run scripts/setup");
    let output = Command::new(python)
        .arg(root.join("tests/fixtures/web").join(script))
        .args(arguments)
        .current_dir(tap.path("."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// A real browser: it shows what it should, on a desk and on a phone, in the light and in the dark, by keyboard, and
/// without faults that a checker of accessibility knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_it_and_finds_no_fault() {
    let exchange = Quote::new().start(0).await.unwrap();
    let tap = Tap::new();
    let file = tap.path("out.db");
    tap.settings(&format!(
        "http: {{ token: {TOKEN} }}\nloaders:\n  - {{ to: 'sqlite:{}', name: store }}\n",
        file.display()
    ));
    tap.source("good", &quote_source(&exchange, "/"));
    tap.source("empty", &quote_source(&exchange, "/").replace("span.red14px", "span.gone"));
    let (mut process, address) = start(&tap, &[]);
    tap.wait_for_lines("good", 10);
    tap.wait_for_lines("_rejected/empty", 3);
    let shots = std::env::var("TAPLINE_SHOTS").unwrap_or_default();
    let found = browse(&tap, "look.py", &[&format!("http://{address}"), TOKEN, &exchange.url("/"), &shots]);
    println!("{found}");
    assert_eq!(found["errors"], serde_json::json!([]), "nothing is said on the console");
    assert_eq!(found["faults"], serde_json::json!([]), "a checker of accessibility finds nothing");
    assert_eq!(found["too_wide"], serde_json::json!([]), "no page is wider than a phone");
    assert_eq!(found["elsewhere"], serde_json::json!([]), "nothing is asked for elsewhere");
    for what in
        ["refreshed", "live_lines", "paused", "theme_kept", "tried", "selector", "works_without_script", "keyboard"]
    {
        assert_eq!(found[what], true, "{what}: {found}");
    }
    // A page whose service is gone says so.
    process.kill();
    let gone = browse(&tap, "gone.py", &[&format!("http://{address}")]);
    assert_eq!(gone["said"], false, "nothing can be loaded from a service that is gone");
}

/// Two hundred texts that would run as script if anything here let them, at every place that shows what others wrote.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_collected_runs() {
    let payloads = payloads();
    assert_eq!(payloads.len(), 200);
    let page: Arc<Vec<u8>> = Arc::new(hostile_page(&payloads).into_bytes());
    let upstream =
        Server::start(0, Arc::new(move |_| Reply::new(200, "text/html; charset=utf-8", page.as_ref().clone()).into()))
            .await
            .unwrap();
    let tap = Tap::new();
    tap.settings(&format!("http: {{ token: {TOKEN} }}\n"));
    let url = format!("http://{}/", upstream.address());
    let rows = |fields: &str| format!("kind: scrape\nurl: {url}\nevery: 300ms\nrecords: li\nfields:\n{fields}");
    tap.source("texts", &rows("  text: span\n"));
    tap.source("rejects", &rows("  text: { css: span, type: number }\n"));
    let key = payloads[0].replace('\\', "\\\\").replace('"', "\\\"");
    tap.source("keys", &rows(&format!("  \"{key}\": {{ css: i, type: number }}\n")));
    tap.source("broken", &format!("kind: scrape\nurl: {url}\nevery: 1s\n\"{key}\": 1\nfields: {{ a: \"{key}\" }}\n"));
    let (_process, address) = start(&tap, &[]);
    for stream in ["texts", "_rejected/rejects", "keys"] {
        tap.wait_for_lines(stream, 400);
    }
    std::fs::write(tap.path("payloads.json"), serde_json::to_string(&payloads).unwrap()).unwrap();
    let found = browse(&tap, "inject.py", &[&format!("http://{address}"), TOKEN, "payloads.json"]);
    println!("{found}");
    assert_eq!(found["executed"], 0, "{found}");
    assert_eq!(found["elsewhere"], serde_json::json!([]), "{found}");
    assert!(found["shown"].as_u64() >= Some(150), "they are shown, as texts: {found}");
    assert!(found["pages"].as_u64() >= Some(200), "{found}");
}

fn payloads() -> Vec<String> {
    let text = include_str!("../fixtures/web/payloads.txt");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn hostile_page(payloads: &[String]) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut page = "<!doctype html><ul>".to_owned();
    for payload in payloads {
        write!(page, "<li><span>{}</span><i>7</i></li>", escaped(payload)).unwrap();
    }
    page
}
