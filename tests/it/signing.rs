//! Signed fetches as a server sees them: every signature computed again from the request alone, by the simulators' code.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tapline::adapters::ADAPTERS;
use tapline::context::{Context, SystemClock};
use tapline::simulator::oauth1;
use tapline::simulator::server::Request;
use tapline::source::Source;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::tap::Tap;

const KEYS: [&str; 4] = ["the-consumer-key", "the/consumer=secret", "1-the-token", "the&token%secret"];

/// A server that keeps the head of every request: `/` redirects to a page of the same origin, `/away` to one of another.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(head);
                let answer = match path.as_str() {
                    "/" => redirect("/page?symbol=A%20B&x=a+b&x=%C3%A9&empty"),
                    "/away" => redirect(&format!("http://localhost:{port}/page")),
                    "/refused" => {
                        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".into()
                    }
                    _ => "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<b>1</b>".into(),
                };
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self { port, heads }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn open(url: &str) -> Box<dyn Source> {
    let [consumer_key, consumer_secret, token, token_secret] = KEYS;
    let keys = json!({
        "consumer_key": consumer_key, "consumer_secret": consumer_secret, "token": token, "token_secret": token_secret
    });
    let adapter = ADAPTERS.iter().find(|adapter| adapter.kind == "scrape").unwrap();
    let manners = json!({ "robots": { "ignore": "a test of other things" } });
    let settings = json!({ "url": url, "fields": { "price": "b" }, "auth": { "oauth1": keys }, "manners": manners });
    (adapter.parse)(settings).unwrap().open(&Context::new(Arc::new(SystemClock))).unwrap()
}

/// The parameters of the `Authorization` of a request, after its signature was found to be right.
fn checked(head: &str) -> BTreeMap<String, String> {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let request = Request { number: 1, connection: 1, method, path, headers, body: Vec::new() };
    let [consumer_key, consumer_secret, token, token_secret] = KEYS.map(str::to_owned);
    let keys = oauth1::Keys { consumer_key, consumer_secret, token, token_secret };
    oauth1::check(&request, &keys).unwrap_or_else(|why| panic!("{why}: {head}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_signed_for_itself() {
    let server = Server::start().await;
    let mut source = open(&server.url("/"));
    for _ in 0..3 {
        assert_eq!(source.next().await.unwrap().items.len(), 1);
    }
    let heads = server.heads();
    assert_eq!(heads.len(), 6, "three redirects of one origin");
    let given: Vec<_> = heads.iter().map(|head| checked(head)).collect();
    let nonces: HashSet<&String> = given.iter().map(|given| &given["oauth_nonce"]).collect();
    assert_eq!(nonces.len(), 6, "a nonce is used once");
    for given in &given {
        assert_eq!(given["oauth_consumer_key"], KEYS[0]);
        assert_eq!(given["oauth_token"], KEYS[2]);
        assert_eq!(given["oauth_signature_method"], "HMAC-SHA1");
        let age = chrono::DateTime::from_timestamp(given["oauth_timestamp"].parse().unwrap(), 0).unwrap();
        assert!((tapline::context::Clock::now(&SystemClock) - age).num_minutes() < 5, "{given:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_gets_no_signature() {
    let server = Server::start().await;
    assert_eq!(open(&server.url("/away")).next().await.unwrap().items.len(), 1);
    let heads = server.heads();
    checked(&heads[0]);
    assert!(heads[1].contains("host: localhost:"), "{}", heads[1]);
    assert!(!heads[1].to_lowercase().contains("authorization") && !heads[1].contains("oauth"), "{}", heads[1]);
}

/// Keys come from the environment, and stand in nothing that is written or said, whether the fetch succeeds or not.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_nowhere_to_be_read() {
    const NAMES: [&str; 4] = ["ONE", "TWO", "THREE", "FOUR"];
    let secrets = ["key-f5e1", "secret-a7b3", "token-90cc", "token-secret-d2d8"];
    let server = Server::start().await;
    let tap = Tap::new();
    for (name, path) in [("good", "/"), ("bad", "/refused")] {
        let url = server.url(path);
        let auth = "{ oauth1: { consumer_key: '${ONE}', consumer_secret: '${TWO}', token: '${THREE}', token_secret: '${FOUR}' } }";
        tap.source(name, &format!("kind: scrape\nurl: {url}\nevery: 1s\nfields: {{ price: b }}\nauth: {auth}\n"));
    }
    let mut command = tap.command(&["run", "--once", "--log", "trace,tapline=trace"]);
    command.envs(NAMES.into_iter().zip(secrets));
    let ran = command.output().unwrap();
    assert_eq!(tap.records("good").len(), 1, "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(server.heads().iter().any(|head| head.contains(secrets[0])), "the key's name was sent");
    let mut written = vec![ran.stdout, ran.stderr];
    collect(&tap.data(), &mut written);
    assert!(written.len() > 4 && !written[1].is_empty(), "segments, ledger and log were read");
    for bytes in written {
        let text = String::from_utf8_lossy(&bytes);
        for secret in secrets.iter().chain(&["oauth_signature", "oauth_nonce"]) {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let mut twice = tap.command(&["check"]);
    tap.source("good", &format!(
        "kind: scrape\nurl: {}\nevery: 1s\nfields: {{ price: b }}\nheaders: {{ authorization: x }}\nauth: {{ oauth1: {{ consumer_key: '${{ONE}}', consumer_secret: '${{TWO}} ', token: c, token_secret: '' }} }}\n",
        server.url("/")
    ));
    let checked = twice.envs(NAMES.into_iter().zip(secrets)).output().unwrap();
    let words = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    for expected in ["`auth` makes it", "has a blank", "is empty"] {
        assert!(words.contains(expected), "{expected} in {words}");
    }
    assert!(secrets.iter().all(|secret| !words.contains(secret)), "{words}");
}

/// Every file's bytes below a folder.
fn collect(dir: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() { collect(&path, found) } else { found.push(std::fs::read(&path).unwrap()) }
    }
}
