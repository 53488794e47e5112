//! The adapter at the socket: what is asked, what comes back, and the words for what is wrong.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::Scrape;
use crate::context::{Context, SystemClock};
use crate::fetch::USER_AGENT;
use crate::source::{Outcome, Settings, Source, SourceError};

/// What the server does with one request.
enum Reply {
    /// Sends this, and keeps the connection.
    Say(Vec<u8>),
    /// Sends this, and hangs up.
    Close(Vec<u8>),
    /// Sends this, and then nothing.
    Stall(Vec<u8>),
    /// Sends the first, then the second for ever.
    Endless(Vec<u8>, Vec<u8>),
}

/// A request: its head as it came, and the number of the connection it came by.
#[derive(Clone)]
struct Seen {
    head: String,
    connection: usize,
}

struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { address, seen }
    }

    async fn page(page: &'static str) -> Self {
        Self::start(move |_, _| Reply::Say(ok("", page.as_bytes()))).await
    }

    fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.head.clone()).collect()
    }

    fn source(&self, more: &serde_json::Value) -> Box<dyn Source> {
        let mut value = json!({
            "url": format!("http://{}/", self.address), "timeout": "1m", "manners": { "robots": { "ignore": "a test" } },
            "fields": { "price": { "css": "b", "type": "number" } },
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings = Scrape::read(value).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(settings.problems(), []);
        Settings::open(settings, &Context::new(Arc::new(SystemClock))).unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    answer: Arc<impl Fn(&str, usize) -> Reply>,
    log: Arc<Mutex<Vec<Seen>>>,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let count = {
            let mut log = log.lock().unwrap();
            log.push(Seen { head: head.clone(), connection });
            log.len()
        };
        match answer(&head, count) {
            Reply::Say(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => return stream.write_all(&bytes).await,
            Reply::Stall(bytes) => {
                stream.write_all(&bytes).await?;
                sleep(Duration::from_hours(1)).await;
            }
            Reply::Endless(first, again) => {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&again).await?;
                }
            }
        }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    answer("200 OK", headers, body)
}

fn moved(to: &str) -> Reply {
    Reply::Say(answer("302 Found", &format!("Location: {to}\r\n"), b"moved"))
}

/// The first words of a failure's causes: its kind, and what is said about it.
async fn failure(source: &mut dyn Source) -> String {
    // Busy machines have nearly a minute for what takes no time; what stalls or never ends takes longer than that.
    let error = timeout(Duration::from_secs(50), source.next()).await.unwrap().unwrap_err();
    let (kind, cause) = match error {
        SourceError::Lost(cause) => ("lost".to_owned(), cause),
        SourceError::Blocked(cause) => ("blocked".to_owned(), cause),
        // What is not asked for is left to chance, within bounds.
        SourceError::Throttled { wait, cause } if wait.subsec_nanos() > 0 => {
            assert!((30..38).contains(&wait.as_secs()), "{wait:?}");
            ("throttled 30s or more".to_owned(), cause)
        }
        SourceError::Throttled { wait, cause } => (format!("throttled {wait:?}"), cause),
        other => panic!("{other:?}"),
    };
    format!("{kind}: {cause}")
}

#[tokio::test]
async fn sixty_fetches_use_one_connection() {
    let server = Server::start(|_, count| Reply::Say(ok("", format!("<b>{count}</b>").as_bytes()))).await;
    let mut source = server.source(&json!({}));
    source.connect(None).await.unwrap();
    for count in 1..=60 {
        let batch = source.next().await.unwrap();
        assert_eq!(batch.outcome(), Outcome::Ok);
        assert_eq!(batch.items[0].data.get(), format!("{{\"price\":{count}}}"));
    }
    let connections: HashSet<usize> = server.seen.lock().unwrap().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 1);
}

#[tokio::test]
async fn g3_a_request_says_what_the_file_says() {
    let server = Server::page("<b>1</b>").await;
    server.source(&json!({ "headers": { "X-Key": "k", "Accept": "text/plain" } })).next().await.unwrap();
    server.source(&json!({ "user_agent": "me (me@example.com)" })).next().await.unwrap();
    let heads = server.heads();
    for line in ["GET / HTTP/1.1", "x-key: k", "accept: text/plain", "accept-encoding: gzip, deflate, br, zstd"] {
        assert!(heads[0].contains(&format!("{line}\r\n")), "{line} in {}", heads[0]);
    }
    assert!(heads[0].contains(&format!("user-agent: {USER_AGENT}\r\n")), "{}", heads[0]);
    assert!(heads[1].contains("user-agent: me (me@example.com)\r\n"), "{}", heads[1]);
    assert!(!heads[1].contains("if-none-match"), "{}", heads[1]);
}

#[tokio::test]
async fn g4_validators_go_back_as_they_came_and_survive_a_restart() {
    let server = Server::start(|head, count| {
        Reply::Say(match count {
            1 => ok("ETag: W/\"a\"\r\nLast-Modified: Mon, 23 Nov 2026 07:04:05 GMT\r\n", b"<b>1</b>"),
            2 => answer("304 Not Modified", "ETag: \"b\"\r\n", b""),
            3 if head.contains("if-none-match: \"b\"\r\n") => ok("ETag: \"c\"\r\n", b"<b>broken</b>"),
            _ => ok("", b"<b>2</b>"),
        })
    })
    .await;
    let mut source = server.source(&json!({}));
    source.connect(None).await.unwrap();
    let first = source.next().await.unwrap();
    let mut source = server.source(&json!({}));
    source.connect(first.cursor.as_ref()).await.unwrap();
    let second = source.next().await.unwrap();
    assert_eq!((second.outcome(), second.items.len()), (Outcome::NotModified, 0));
    let third = source.next().await.unwrap();
    assert_eq!((third.outcome(), third.items.len()), (Outcome::Invalid, 0));
    source.next().await.unwrap();
    let mut edited = server.source(&json!({ "fields": { "other": "b" } }));
    edited.connect(first.cursor.as_ref()).await.unwrap();
    edited.next().await.unwrap();

    let heads = server.heads();
    assert!(heads[1].contains("if-none-match: W/\"a\"\r\n"), "{}", heads[1]);
    assert!(heads[1].contains("if-modified-since: Mon, 23 Nov 2026 07:04:05 GMT\r\n"), "{}", heads[1]);
    assert!(heads[2].contains("if-none-match: \"b\"\r\n"), "a 304's new tag replaces the old: {}", heads[2]);
    assert!(!heads[3].contains("if-"), "a page with rejects is asked for again: {}", heads[3]);
    assert!(!heads[4].contains("if-"), "an edited file wants the page itself: {}", heads[4]);
}

#[tokio::test]
async fn redirects_are_followed_within_limits() {
    let server = Server::start(|head, _| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
        match path.as_str() {
            "/" => moved("/page"),
            "/other" => moved(&format!("http://localhost:{}/page", host.rsplit_once(':').unwrap().1)),
            "/loop" => moved("/loop2"),
            "/loop2" => moved("loop#fragment"),
            "/file" => moved("file:///etc/passwd"),
            "/bad" => moved("http://"),
            "/slow" => Reply::Stall(
                format!("HTTP/1.1 302 Found\r\nLocation: http://me:pw@{host}/page\r\nContent-Length: 9\r\n\r\n").into(),
            ),
            "/page" => Reply::Say(ok("", b"<b>1</b>")),
            path => moved(&format!("{path}x?key=secret")),
        }
    })
    .await;
    let at = |path: &str, redirects: u8| {
        server.source(&json!({
            "url": format!("http://{}{path}", server.address), "redirects": redirects, "headers": { "X-Key": "secret" }
        }))
    };
    assert_eq!(at("/", 1).next().await.unwrap().items.len(), 1);
    assert!(server.heads().last().unwrap().contains("x-key: secret"), "the same site");
    assert_eq!(at("/slow", 1).next().await.unwrap().items.len(), 1, "a redirect is followed without its body");
    assert!(!server.heads().last().unwrap().contains("authorization"), "a redirect's password is not ours");
    assert_eq!(at("/other", 1).next().await.unwrap().items.len(), 1);
    assert!(!server.heads().last().unwrap().contains("secret"), "another site");
    for (path, redirects, expected) in [
        (
            "/",
            0,
            "lost: too_many_redirects: more than 0, the last from http://SERVER/ to http://SERVER/page; allow more with `redirects`",
        ),
        ("/loop", 5, "lost: redirect_loop: http://SERVER/loop2 redirects to http://SERVER/loop, where we come from"),
        ("/file", 5, "lost: bad_redirect: http://SERVER/file redirects to `file:`, which is not followed"),
        ("/bad", 5, "lost: bad_redirect: http://SERVER/bad redirects to no URL"),
        (
            "/a",
            1,
            "lost: too_many_redirects: more than 1, the last from http://SERVER/ax?key=*** to http://SERVER/ax?key=***x; allow more with `redirects`",
        ),
    ] {
        let failure = failure(&mut *at(path, redirects)).await.replace(&server.address, "SERVER");
        if path == "/a" {
            assert!(failure.starts_with("lost: too_many_redirects") && !failure.contains("secret"), "{failure}");
        } else {
            assert_eq!(failure, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn each_status_is_named() {
    let server = Server::start(|head, _| {
        let status = head.split(' ').nth(1).unwrap().trim_start_matches('/');
        let headers = if status.starts_with("429") { "Retry-After: 7\r\n" } else { "" };
        Reply::Say(answer(status, headers, b"<title>Go\x1b away</title>"))
    })
    .await;
    for (status, expected) in [
        ("404", "lost: http_status: upstream answered 404 Not Found: \"Go away\""),
        ("500", "lost: http_status: upstream answered 500 Internal Server Error: \"Go away\""),
        ("403", "blocked: http_status: upstream answered 403 Forbidden: \"Go away\""),
        ("401", "blocked: http_status: upstream answered 401 Unauthorized: \"Go away\""),
        ("429", "throttled 7s: http_status: upstream answered 429 Too Many Requests: \"Go away\""),
        ("503", "throttled 30s or more: http_status: upstream answered 503 Service Unavailable: \"Go away\""),
        ("302", "lost: http_status: upstream answered 302 Found: \"Go away\""),
    ] {
        let url = format!("http://{}/{status}", server.address);
        assert_eq!(failure(&mut *server.source(&json!({ "url": url }))).await, expected);
    }
    let url = format!("http://{}/304", server.address);
    let unasked = failure(&mut *server.source(&json!({ "url": url }))).await;
    assert!(unasked.starts_with("lost: bad_answer: "), "{unasked}");
}

#[tokio::test]
async fn every_fault_of_a_body_is_named_and_soon() {
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (reply, expected) in [
        (Reply::Stall(Vec::new()), "lost: no_answer: there was no answer after 2s"),
        (
            Reply::Stall(ok("", b"<b>1</b>")[..38].to_vec()),
            "lost: body_stalled: the page was not complete, with 0 bytes, after 2s",
        ),
        (
            Reply::Endless(endless.into(), [&b"10000\r\n"[..], &b"a".repeat(0x10000)[..], b"\r\n"].concat()),
            "lost: body_too_large: the page has more than 1.0 MiB; allow more with `max_body`",
        ),
        (
            Reply::Say(answer("200 OK", "", &b"a".repeat(1 << 21))),
            "lost: body_too_large: the page has more than 1.0 MiB; allow more with `max_body`",
        ),
        (
            Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<b>1".to_vec()),
            "lost: body_cut_off: the page ended after 4 bytes",
        ),
        (Reply::Close(b"SSH-2.0-OpenSSH\r\n".to_vec()), "lost: bad_answer: no usable answer from http://SERVER/"),
        (Reply::Close(Vec::new()), "lost: bad_answer: no usable answer from http://SERVER/"),
        (
            Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(1000)),
            "lost: header_flood: http://SERVER/ answers with too many headers",
        ),
        (
            Reply::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 1 << 16]),
            "lost: header_flood: http://SERVER/ answers with too many headers",
        ),
        (
            Reply::Say(ok("Content-Encoding: gzip\r\n", &b"<b>1</b>".repeat(9))),
            "lost: body_corrupt: the body is not valid gzip",
        ),
        (
            Reply::Say(ok("", "<div>".repeat(1000).as_bytes())),
            "lost: page_too_deep: the page nests elements more than 512 deep",
        ),
    ] {
        let reply = Mutex::new(Some(reply));
        let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap_or(Reply::Close(Vec::new()))).await;
        // Only what stalls waits for the deadline; for anything else it must not come too early.
        let deadline = if expected.ends_with("after 2s") { "2s" } else { "1m" };
        let failure = failure(&mut *server.source(&json!({ "max_body": "1MiB", "timeout": deadline }))).await;
        assert_eq!(failure.replace(&server.address, "SERVER"), expected);
    }
}

#[tokio::test]
async fn nobody_at_home_is_named_without_secrets() {
    // Bound and not listening, so that nobody else gets the port.
    let home = tokio::net::TcpSocket::new_v4().unwrap();
    home.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = home.local_addr().unwrap();
    let server = Server::page("").await;
    let url = format!("http://{address}/quote?key=hunter2");
    let mut source = server.source(&json!({ "url": url, "headers": { "X-Key": "hunter2" } }));
    let SourceError::Lost(cause) = source.next().await.unwrap_err() else { panic!() };
    let said = format!("{cause:#} {cause:?}");
    assert!(said.starts_with(&format!("cannot_connect: no connection to http://{address}/quote?key=***: ")), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn codings_charsets_and_types_of_content() {
    let server = Server::start(|head, _| {
        let page = "<title>Курс</title><b>1</b><i>цена</i>";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(page.as_bytes()).unwrap();
        let coded = zstd::stream::encode_all(&gzip.finish().unwrap()[..], 1).unwrap();
        let (russian, _, _) = encoding_rs::WINDOWS_1251.encode(page);
        Reply::Say(match head.split(' ').nth(1).unwrap() {
            "/coded" => ok(
                "Content-Encoding: gzip\r\nContent-Encoding: zstd\r\nContent-Type: text/html; charset=utf-8\r\n",
                &coded,
            ),
            "/header" => ok("Content-Type: text/html; charset=windows-1251\r\n", &russian),
            _ => ok("Content-Type: image/png\r\n", &russian),
        })
    })
    .await;
    for (path, more) in [("/coded", json!({})), ("/header", json!({})), ("/wrong", json!({ "encoding": "cp1251" }))] {
        let mut more = more;
        more["url"] = json!(format!("http://{}{path}", server.address));
        more["fields"] = json!({ "word": "i" });
        let batch = server.source(&more).next().await.unwrap();
        assert_eq!(batch.items[0].data.get(), r#"{"word":"цена"}"#, "{path}");
    }
    let url = format!("http://{}/wrong", server.address);
    let batch = server.source(&json!({ "url": url, "fields": { "a": "span" } })).next().await.unwrap();
    assert!(
        batch.rejects[0].reason.ends_with("; upstream calls it image/png, not HTML"),
        "{}",
        batch.rejects[0].reason
    );
}

#[tokio::test]
async fn explaining_fetches_once_and_tells_each_field() {
    let server = Server::page("<b>1</b><b>2</b>").await;
    let (batch, findings) = server.source(&json!({})).explain().await.unwrap();
    assert_eq!((batch.items.len(), findings.len(), server.heads().len()), (1, 1, 1));
    insta::assert_snapshot!(serde_json::to_string(&findings[0]).unwrap(), @r#"{"field":"fields.price","rule":"b","matched":2,"raw":"1","value":1}"#);
}

#[tokio::test]
async fn a_dropped_fetch_loses_nothing() {
    let server = Server::start(|_, count| match count {
        1 => Reply::Say(ok("ETag: \"a\"\r\n", b"<b>1</b>")),
        2 => Reply::Stall(Vec::new()),
        _ => Reply::Say(ok("", b"<b>2</b>")),
    })
    .await;
    let mut source = server.source(&json!({}));
    source.next().await.unwrap();
    let asked = async {
        while server.heads().len() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = source.next() => panic!("there is no answer"),
        () = asked => {}
    }
    assert_eq!(source.next().await.unwrap().items.len(), 1);
    assert!(server.heads()[2].contains("if-none-match: \"a\""), "{}", server.heads()[2]);
}

#[tokio::test]
async fn what_is_sent_along_is_what_the_file_says() {
    let server = Server::start(|head, _| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/303" => Reply::Close(answer("303 See Other", "Location: /page\r\n", b"")),
            "/307" => Reply::Close(answer("307 Temporary Redirect", "Location: /page\r\n", b"")),
            _ => Reply::Close(ok("", b"<b>1</b>")),
        }
    })
    .await;
    let at = |path: &str, body: serde_json::Value| {
        server.source(&json!({ "url": format!("http://{}{path}", server.address), "body": body }))
    };
    for (body, content_type, length) in [
        (json!({ "form": { "q": "a b&c", "n": "1" } }), "application/x-www-form-urlencoded", "q=a%20b%26c&n=1".len()),
        (json!({ "json": { "symbol": "X" } }), "application/json", r#"{"symbol":"X"}"#.len()),
        (json!({ "text": "<q/>", "type": "text/xml" }), "text/xml", 4),
    ] {
        assert_eq!(at("/", body).next().await.unwrap().items.len(), 1);
        let head = server.heads().pop().unwrap();
        assert!(head.starts_with("POST / "), "{head}");
        for line in [format!("content-type: {content_type}"), format!("content-length: {length}")] {
            assert!(head.contains(&line), "{line} in {head}");
        }
    }
    for (path, method) in [("/303", "GET"), ("/307", "POST")] {
        at(path, json!({ "text": "a" })).next().await.unwrap();
        let head = server.heads().pop().unwrap();
        assert!(head.starts_with(&format!("{method} /page ")), "{path}: {head}");
        assert_eq!(head.contains("content-length: 1\r\n"), method == "POST", "{head}");
    }
}

#[tokio::test]
async fn a_session_is_kept_and_goes_to_nobody_else() {
    let server = Server::start(|head, count| match count {
        1 => Reply::Close(answer("302 Found", "Location: /in\r\nSet-Cookie: sid=abc; Path=/; HttpOnly\r\n", b"")),
        _ if head.contains("cookie: sid=abc\r\n") => Reply::Close(ok("", b"<b>1</b>")),
        _ => Reply::Close(answer("403 Forbidden", "", b"no session")),
    })
    .await;
    let mut source = server.source(&json!({}));
    assert_eq!(source.next().await.unwrap().items.len(), 1, "on the way");
    assert_eq!(source.next().await.unwrap().items.len(), 1, "and later");
    let other = failure(&mut *server.source(&json!({}))).await;
    assert!(other.starts_with("blocked"), "a session is one source's: {other}");
    let without = failure(&mut *server.source(&json!({ "cookies": false }))).await;
    assert!(without.starts_with("blocked"), "{without}");
}

#[tokio::test]
async fn each_way_to_prove_who_asks() {
    let challenge = "WWW-Authenticate: Digest realm=\"r\", qop=\"auth\", nonce=\"n1\", algorithm=MD5\r\n";
    let server = Server::start(move |head, _| {
        let is_digest = head.contains("authorization: Digest ") && head.contains("nonce=\"n1\"");
        let is_known = ["Basic bWU6d29yZA==", "Bearer a-token"].iter().any(|way| head.contains(way));
        if is_digest || is_known {
            Reply::Say(ok("", b"<b>1</b>"))
        } else {
            Reply::Say(answer("401 Unauthorized", challenge, b"who?"))
        }
    })
    .await;
    let login = json!({ "user": "me", "password": "word" });
    for auth in [json!({ "basic": login }), json!({ "bearer": "a-token" }), json!({ "digest": login })] {
        let mut source = server.source(&json!({ "auth": auth }));
        for _ in 0..2 {
            assert_eq!(source.next().await.unwrap().items.len(), 1, "{auth}");
        }
    }
    let asked = server.heads().iter().filter(|head| head.contains("authorization: Digest")).count();
    assert_eq!((asked, server.heads().len()), (2, 7), "a challenge is asked for once");
    let wrong = failure(&mut *server.source(&json!({ "auth": { "bearer": "another" } }))).await;
    assert!(wrong.starts_with("blocked: http_status: upstream answered 401"), "{wrong}");
}

#[tokio::test]
async fn a_proxy_is_asked_instead_of_the_site() {
    let proxy = Server::page("<b>7</b>").await;
    let address = proxy.address.clone();
    let settings = json!({ "url": "http://nowhere.invalid/page?a=b", "proxy": format!("http://me:word@{address}") });
    let batch = proxy.source(&settings).next().await.unwrap();
    assert_eq!(batch.items[0].data.get(), r#"{"price":7}"#);
    let head = &proxy.heads()[0];
    assert!(head.starts_with("GET http://nowhere.invalid/page?a=b HTTP/1.1"), "{head}");
    assert!(head.contains("proxy-authorization: Basic bWU6d29yZA=="), "{head}");
}

#[test]
fn requests_that_cannot_be_meant_are_refused() {
    let problems = |more: serde_json::Value| {
        let mut value = json!({ "url": "http://localhost/", "fields": { "price": "b" } });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let problems = Scrape::read(value).map_or_else(|problems| problems, |settings| settings.problems());
        let said: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect();
        said.join("; ")
    };
    assert_eq!(problems(json!({ "body": { "form": { "a": "b" } } })), "");
    insta::assert_snapshot!(problems(json!({ "method": "GET", "body": { "text": "a" } })), @"method: GET has no body; write POST, or put it into the address");
    insta::assert_snapshot!(problems(json!({ "body": { "text": "a", "json": 1 } })), @r#"body: write one of `form: { name: value }`, `json: …` and `text: "…"`"#);
    insta::assert_snapshot!(problems(json!({ "body": { "json": 1, "type": "text/xml" } })), @"body: `type` is for `text`; form and json have their own");
    insta::assert_snapshot!(problems(json!({ "proxy": "proxy:3128" })), @"proxy: a proxy is written as http://proxy:3128, https://… or socks5h://127.0.0.1:1080");
    insta::assert_snapshot!(problems(json!({ "auth": { "basic": { "user": "a:b", "password": "c" } } })), @"auth.basic.user: has a colon in it, which cannot be sent this way");
}

#[tokio::test]
async fn only_what_changed_is_emitted_also_after_a_restart() {
    let server =
        Server::start(|_, count| Reply::Say(ok("", if count < 5 { b"<b>1</b><i>x</i>" } else { b"<b>2</b>" }))).await;
    let more = json!({ "emit": "change" });
    let mut source = server.source(&more);
    source.connect(None).await.unwrap();
    let mut cursor = None;
    for expected in [Outcome::Ok, Outcome::Unchanged, Outcome::Unchanged] {
        let batch = source.next().await.unwrap();
        assert_eq!((batch.outcome(), batch.items.len()), (expected, usize::from(expected == Outcome::Ok)));
        cursor = batch.cursor;
    }
    let mut source = server.source(&more);
    source.connect(cursor.as_ref()).await.unwrap();
    for expected in [Outcome::Unchanged, Outcome::Ok, Outcome::Unchanged] {
        assert_eq!(source.next().await.unwrap().outcome(), expected);
    }
    let mut all = server.source(&json!({}));
    for _ in 0..3 {
        let batch = all.next().await.unwrap();
        assert_eq!(
            (batch.outcome(), batch.items[0].data.get()),
            (Outcome::Ok, r#"{"price":2}"#),
            "every tick has its record"
        );
    }
}

#[tokio::test]
async fn a_heartbeat_does_not_ask_whether_something_changed() {
    let server = Server::start(|head, _| {
        Reply::Say(if head.contains("if-none-match") {
            answer("304 Not Modified", "", b"")
        } else {
            ok("ETag: \"a\"\r\n", b"<b>1</b>")
        })
    })
    .await;
    let mut source = server.source(&json!({ "emit": { "heartbeat": "1s" } }));
    assert_eq!(source.next().await.unwrap().outcome(), Outcome::Ok);
    assert_eq!(source.next().await.unwrap().outcome(), Outcome::NotModified);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(source.next().await.unwrap().items.len(), 1);
}
