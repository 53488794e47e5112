//! The simulated exchange at the socket: what really arrives, fault by fault, read by a client of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tapline::simulator::Running as _;
use tapline::simulator::faults::Faults;
use tapline::simulator::quote::{Exchange, Quote, price_at};

use crate::support::tap::{PATIENCE, Process};

/// How long nothing comes before a connection is called silent, where that is expected.
const SILENCE: Duration = Duration::from_millis(500);

/// What came back until the end of the connection, or until nothing came.
struct Answer {
    bytes: Vec<u8>,
    ended: Ended,
}

#[derive(Debug, PartialEq)]
enum Ended {
    Closed,
    Reset,
    Silent,
}

impl Answer {
    fn head(&self) -> String {
        let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(self.bytes.len());
        String::from_utf8_lossy(&self.bytes[..end]).into_owned()
    }

    fn body(&self) -> &[u8] {
        &self.bytes[(self.head().len() + 4).min(self.bytes.len())..]
    }

    fn status(&self) -> u16 {
        self.head().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<String> {
        let head = self.head();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    }

    fn length(&self) -> usize {
        self.header("Content-Length").unwrap().parse().unwrap()
    }
}

async fn get(exchange: &Exchange, path: &str, headers: &str) -> Answer {
    get_within(exchange, path, headers, PATIENCE).await
}

async fn get_within(exchange: &Exchange, path: &str, headers: &str, silence: Duration) -> Answer {
    let address = exchange.address();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(silence)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        let ended = loop {
            match stream.read(&mut chunk) {
                Ok(0) => break Ended::Closed,
                // A body without end has been seen to have none.
                Ok(_) if bytes.len() > 20_000_000 => break Ended::Silent,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break Ended::Reset,
                Err(_) => break Ended::Silent,
            }
        };
        Answer { bytes, ended }
    })
    .await
    .unwrap()
}

async fn exchange(faults: &str) -> Exchange {
    let faults: Faults = if faults.is_empty() { Faults::none() } else { format!("every 1:{faults}").parse().unwrap() };
    Quote::new().step(Duration::ZERO).faults(faults).start(0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_say_what_the_walk_says() {
    let exchange = exchange("").await;
    for number in 1..=20 {
        let answer = get(&exchange, "/", "").await;
        let price = price_at(1, number);
        let shown = format!("{}.{:02}</span>", (price / 100) % 1000, price % 100);
        let body = String::from_utf8(answer.body().to_vec()).unwrap();
        assert!(body.contains("<span class=\"red14px\">5") && body.contains(&shown), "request {number}: {shown}");
        assert_eq!(answer.length(), body.len());
    }
    let stocks = get(&exchange, "/stocks", "").await;
    let stocks = String::from_utf8(stocks.body().to_vec()).unwrap();
    assert_eq!(stocks.matches("<tr data-symbol").count(), 30);
    assert!(stocks.contains("1,2") && stocks.contains("M&amp;M"));
    assert_eq!(get(&exchange, "/nowhere", "").await.status(), 404);
    assert_eq!(exchange.requests().len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_and_codings() {
    let exchange = Quote::new().step(Duration::from_hours(1)).start(0).await.unwrap();
    let plain = get(&exchange, "/", "").await;
    let etag = plain.header("ETag").unwrap();
    let unchanged = get(&exchange, "/", &format!("If-None-Match: \"x\", {etag}\r\n")).await;
    assert_eq!((unchanged.status(), unchanged.body().len()), (304, 0));
    assert_eq!(get(&exchange, "/", "If-None-Match: \"other\"\r\n").await.status(), 200);
    let gzip = get(&exchange, "/", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(gzip.header("Content-Encoding").as_deref(), Some("gzip"));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(gzip.body()).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body());
    for coding in ["zstd", "br", "deflate"] {
        let answer = get(&exchange, "/", &format!("Accept-Encoding: {coding}\r\n")).await;
        assert_eq!(answer.header("Content-Encoding").as_deref(), Some(coding));
        assert!(answer.body().len() < plain.body().len() / 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_status_and_page() {
    for (fault, status, header, text) in [
        ("404", 404, "", "Error 404"),
        ("500", 500, "", "Error 500"),
        ("503=7s", 503, "Retry-After: 7", ""),
        ("503=date", 503, "GMT", ""),
        ("429=1", 429, "Retry-After: 1", ""),
        ("block", 403, "cloudflare", "Checking your browser"),
        ("layout", 200, "", "value-v2"),
        ("garbled", 200, "", "<span class=\"red14px\">--</span>"),
        ("redirect-loop", 302, "Location: /", ""),
        ("charset", 200, "charset=utf-16le", "red14px"),
        ("nested", 200, "", "<div><div><div>"),
        ("hostile", 200, "", "\u{1b}[2J"),
        ("empty", 200, "Content-Length: 0", ""),
    ] {
        let answer = get(&exchange(fault).await, "/", "").await;
        assert_eq!(answer.status(), status, "{fault}");
        assert!(answer.head().contains(header), "{fault}: {}", answer.head());
        assert!(String::from_utf8_lossy(answer.body()).contains(text), "{fault}");
        assert_eq!(answer.ended, Ended::Closed, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_delivery() {
    let torn = get(&exchange("torn").await, "/", "").await;
    assert_eq!(torn.ended, Ended::Closed);
    assert_eq!(torn.body().len(), torn.length() / 2);
    let chunked = get(&exchange("torn-chunked").await, "/", "").await;
    assert!(chunked.head().contains("Transfer-Encoding: chunked") && !chunked.body().ends_with(b"0\r\n\r\n"));
    let reset = get(&exchange("reset").await, "/", "").await;
    assert_eq!((reset.ended, reset.bytes.len()), (Ended::Reset, 0));
    let hang = get_within(&exchange("hang").await, "/", "", SILENCE).await;
    assert_eq!((hang.ended, hang.bytes.len()), (Ended::Silent, 0));
    let began = Instant::now();
    let slow = get(&exchange("slow=0.3s").await, "/", "").await;
    assert!(slow.status() == 200 && began.elapsed() >= Duration::from_millis(300));
    let line = get(&exchange("line").await, "/", "").await;
    assert!(line.body().len() >= 10_000_000 && !line.body().contains(&b'\n'));
    let endless = get(&exchange("endless").await, "/", "").await;
    assert_eq!(endless.ended, Ended::Silent);
    let huge = get(&exchange("huge-header").await, "/", "").await;
    assert!(huge.head().len() > 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_small_on_the_wire() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let answer = get_within(&exchange(&format!("bomb={coding}")).await, "/", "", PATIENCE).await;
        assert_eq!(answer.header("Content-Encoding").as_deref(), Some(coding));
        assert_eq!(answer.body().len(), answer.length());
        assert!(answer.length() < 1_000_000, "{coding}: {}", answer.length());
    }
    let gzip = get_within(&exchange("bomb=gzip").await, "/", "", PATIENCE).await;
    let expanded = std::io::copy(&mut flate2::read::GzDecoder::new(gzip.body()), &mut std::io::sink()).unwrap();
    assert_eq!(expanded, 64 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_runs_it_and_ends_it() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let program = || Command::new(env!("CARGO_BIN_EXE_tapline"));
    let mut child = program().args(["simulate", "quote", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let url = said.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap();
    let port = url.split([':', '/']).nth(1).unwrap().to_owned();
    let taken = program().args(["simulate", "quote", "--port", &port]).output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(said.contains("choose another port with --port"), "{said}");
    let mut process = Process(child);
    assert_eq!(process.terminate().0, Some(0));
    let wrong = program().args(["simulate", "quote", "--faults", "5%:teapot"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`teapot` is no fault"));
}
