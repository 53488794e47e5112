//! Manners at the socket, as a site counts them; and places that a source is led to and must not go.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tapline::context::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::support::tap::{PATIENCE, Tap, wait_until};

const DELAY: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 2;
const REQUESTS: usize = 1000;
const REST: Duration = Duration::from_secs(2);
/// What a request may be late or early by on its way. It tells apart what lasts longer.
const SLACK: Duration = Duration::from_millis(150);

/// A site that counts how it is treated.
#[derive(Default)]
struct Scorer {
    began: Vec<Instant>,
    running: usize,
    robots: usize,
    /// From when until when it wants to be left alone.
    rests: Vec<(Instant, Instant)>,
    violations: Vec<String>,
}

async fn score(State(scorer): State<Arc<Mutex<Scorer>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let now = Instant::now();
    let number = {
        let mut scorer = scorer.lock().unwrap();
        if path == "/robots.txt" {
            scorer.robots += 1;
            return "User-agent: *\nDisallow: /private\nCrawl-delay: 0.02\n".into_response();
        }
        if scorer.robots == 0 {
            scorer.violations.push(format!("{path} before robots.txt"));
        }
        if path.starts_with("/private") {
            scorer.violations.push(format!("{path}, which robots.txt forbids"));
        }
        if let Some((from, until)) =
            scorer.rests.iter().find(|(from, until)| now > *from + SLACK && now + SLACK < *until)
        {
            let (after, before) = (now - *from, *until - now);
            scorer.violations.push(format!("{after:?} after it asked for quiet, {before:?} before it was over"));
        }
        scorer.began.push(now);
        scorer.running += 1;
        if scorer.running > AT_ONCE {
            let running = scorer.running;
            scorer.violations.push(format!("{running} at once"));
        }
        scorer.began.len()
    };
    // Sometimes longer than three delays: then more would run at once than may.
    sleep(Duration::from_millis(number as u64 * 7 % 70)).await;
    let mut scorer = scorer.lock().unwrap();
    scorer.running -= 1;
    let mut page = |status, retry_after: String| {
        scorer.rests.push((Instant::now(), Instant::now() + REST));
        (status, [("retry-after", retry_after)], "later").into_response()
    };
    match number {
        300 => page(StatusCode::TOO_MANY_REQUESTS, REST.as_secs().to_string()),
        600 => {
            // A date has whole seconds: the next one after the rest.
            let until = Clock::now(&SystemClock) + TimeDelta::from_std(REST).unwrap() + TimeDelta::milliseconds(999);
            page(StatusCode::SERVICE_UNAVAILABLE, until.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        }
        _ => format!("<b>{number}</b>").into_response(),
    }
}

/// Serves a site for as long as the test runs.
pub async fn serve(listener: TcpListener, site: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(site.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Ten sources of one host, a thousand requests: what the site asks for is what it gets.
#[tokio::test(flavor = "multi_thread")]
async fn n5_ten_sources_are_one_guest() {
    let scorer = Arc::<Mutex<Scorer>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Router::new().fallback(score).with_state(Arc::clone(&scorer));
    tokio::spawn(async move { serve(listener, site).await });
    let tap = Tap::new();
    for number in 0..10 {
        let path = if number == 9 { "private/9".to_owned() } else { format!("page/{number}") };
        // One of them says what it wants; it counts for all of them.
        let manners =
            if number == 0 { format!("manners: {{ delay: 5ms, concurrency: {AT_ONCE} }}\n") } else { String::new() };
        let fields = "fields: { n: { css: b, type: integer } }\n";
        tap.source(
            &format!("s{number}"),
            &format!("kind: scrape\nurl: http://{address}/{path}\nevery: 100ms\n{manners}{fields}"),
        );
    }
    let mut process = tap.start();
    wait_until("a thousand requests", PATIENCE * 3, || scorer.lock().unwrap().began.len() >= REQUESTS);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let scorer = scorer.lock().unwrap();
    assert_eq!(scorer.violations, Vec::<String>::new());
    assert_eq!((scorer.robots, scorer.rests.len()), (1, 2));
    // One request may be on its way for longer than the next, so that what is measured is many.
    for window in scorer.began.windows(50) {
        assert!(window[49] - window[0] + SLACK >= DELAY * 49, "{:?} for 50 requests", window[49] - window[0]);
    }
    assert_eq!(tap.count("s9"), 0);
    let said = tap.records("_ledger").iter().any(|entry| entry.to_string().contains("robots_forbidden"));
    assert!(said, "the ledger says why there is nothing of s9");
}

async fn count(State(seen): State<Arc<AtomicUsize>>) -> &'static str {
    seen.fetch_add(1, Ordering::SeqCst);
    "<b>1</b>"
}

/// A server whose requests are counted. It closes each connection, so that each request looks up its name anew.
async fn counting(address: impl Into<SocketAddr>) -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::<AtomicUsize>::default();
    let listener = TcpListener::bind(address.into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = axum::middleware::map_response(async |mut response: Response| {
        response.headers_mut().insert("connection", "close".parse().unwrap());
        response
    });
    let site = Router::new().fallback(count).with_state(Arc::clone(&seen)).layer(closing);
    tokio::spawn(async move { serve(listener, site).await });
    (address, seen)
}

fn page(url: &str) -> String {
    let manners = "manners: { robots: { ignore: \"a test of other things\" } }\n";
    format!("kind: scrape\nurl: {url}\nevery: 100ms\n{manners}fields: {{ n: b }}\n")
}

/// A page that is asked for leads to this machine in every spelling: nothing goes there.
#[tokio::test(flavor = "multi_thread")]
async fn g8_a_redirect_leads_to_no_private_place() {
    let (inside, seen) = counting((Ipv4Addr::UNSPECIFIED, 0)).await;
    let port = inside.port();
    let leads = Router::new().fallback(async move |request: Request| {
        let to = request.uri().query().unwrap().to_owned();
        (StatusCode::FOUND, [("location", format!("{to}:{port}/"))]).into_response()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(listener, leads).await });
    let tap = Tap::new();
    for (number, to) in [
        "http://127.0.0.2",
        "http://127.2",
        "http://2130706434",
        "http://0x7f000002",
        "http://0177.0.0.2",
        "http://localhost",
        "http://LOCALHOST.",
        "http://0",
        "http://0.0.0.0",
        "http://[::1]",
        "http://[::ffff:127.0.0.2]",
        "http://[::ffff:7f00:2]",
        "http://127.0.0.2.",
        "http://\u{ff11}\u{ff12}7.0.0.2",
        "http://169.254.169.254",
        "http://metadata.google.internal",
    ]
    .into_iter()
    .enumerate()
    {
        tap.source(&format!("s{number}"), &page(&format!("http://{address}/?{to}")));
        let file = tap.path(&format!("sources/s{number}.yaml"));
        let output = tap.command(&["try", file.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{to}: {said}");
        assert!(said.contains("forbidden_address: "), "{to}: {said}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    tap.source("meant", &(page(&format!("http://{address}/?http://127.0.0.2")) + "allow_private: true\n"));
    let file = tap.path("sources/meant.yaml");
    assert!(tap.command(&["try", file.to_str().unwrap()]).status().unwrap().success());
    assert_eq!(seen.load(Ordering::SeqCst), 1, "the way is there for who means it");
}

/// An address of the public internet, given to this machine in a network of its own.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// A name server that answers with a public address first and with this machine's own later, in a network that is cut off
/// from every other: who looked up a name twice would connect to what it has not checked.
#[test]
fn g8_a_name_server_that_changes_its_mind_leads_to_no_private_place() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can make a network of its own");
        return;
    }
    let names = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(names.path(), "nameserver 127.0.0.1\n").unwrap();
    let script = format!(
        "ip link set lo up && ip addr add {PUBLIC}/32 dev lo && mount --bind {} /etc/resolv.conf && exec \"$0\" --exact \
         manners::child --ignored --nocapture",
        names.path().display()
    );
    let itself = std::env::current_exe().unwrap();
    let output = Command::new("unshare").args(["--net", "--mount", "sh", "-c", &script]).arg(itself).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the test above starts it, in a network of its own"]
async fn child() {
    let (_, outside) = counting((PUBLIC, 80)).await;
    let (_, inside) = counting((Ipv4Addr::LOCALHOST, 80)).await;
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut packet) {
            let answer = answer(&packet[..len], &counted);
            socket.send_to(&answer, from).unwrap();
        }
    });
    let tap = Tap::new();
    tap.source("turns", &page("http://turns.example.com/"));
    tap.source("both", &page("http://both.example.com/"));
    let mut process = tap.start();
    wait_until("many answers", PATIENCE, || asked.load(Ordering::SeqCst) > 100 && tap.count("both") > 20);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(inside.load(Ordering::SeqCst), 0, "this machine was asked");
    assert!(outside.load(Ordering::SeqCst) > 20);
    let errors = tap.records("_ledger").iter().filter(|entry| entry.to_string().contains("forbidden_address")).count();
    assert!(errors > 0 && tap.count("turns") > 0, "{}", tap.log());
}

/// The answer to a question for an address (RFC 1035, 4): of `turns…` each time the other of two, of `both…` both.
fn answer(question: &[u8], asked: &AtomicUsize) -> Vec<u8> {
    let end = question[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let is_v4 = question[end - 4..end - 2] == [0, 1];
    let addresses = match (is_v4, question[13] == b't') {
        (false, _) => vec![],
        (true, true) if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => vec![PUBLIC],
        (true, true) => vec![Ipv4Addr::LOCALHOST],
        (true, false) => vec![Ipv4Addr::LOCALHOST, PUBLIC],
    };
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(&question[12..end]);
    for address in addresses {
        // The name again, an address of the internet, good for no time at all.
        out.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend(address.octets());
    }
    out
}
