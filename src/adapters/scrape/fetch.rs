//! One GET: redirects checked hop by hop, a deadline over all of it, and a limit on what is read.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{Method, StatusCode};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::decode;
use crate::auth::Auth;
use crate::context::{Context, shown_url};

const ACCEPTED: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
const ACCEPTED_CODINGS: &str = "gzip, deflate, br, zstd";
/// How much is read of an answer that brings no page: enough for its title.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;
/// How long a redirect's body is waited for.
const DRAIN_MAX: Duration = Duration::from_millis(200);
/// A longer validator is not kept: it would stand in the cursor and in every request.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// What is asked, every time.
pub(super) struct Request {
    pub(super) url: Url,
    /// The user's own; marked sensitive, so that no debug text shows them.
    pub(super) headers: HeaderMap,
    /// Makes the `Authorization` of each request to the page's own origin.
    pub(super) auth: Option<Auth>,
    pub(super) user_agent: HeaderValue,
    /// Until the last byte of the page is there.
    pub(super) total: Duration,
    /// The most bytes of a body, as it comes.
    pub(super) body_max: u64,
    /// The most redirects that are followed.
    pub(super) redirects_max: usize,
}

/// What upstream calls the version of a page that it sent: sent back as it came, to be told "not modified".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validator {
    /// A hash of the address that it came from, because behind a redirect another page may have the same tag.
    url: String,
    /// Opaque, with its quotes and `W/` (RFC 9110, 8.8.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
}

/// What came back.
pub(super) enum Answer {
    /// A page.
    Page(Body),
    /// The page that was sent last has not changed.
    NotModified(Validator),
    /// Any other status.
    Refused(StatusCode, Body),
}

/// A body as it came, still coded.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) codings: Vec<String>,
    pub(super) content_type: Option<String>,
    pub(super) validator: Option<Validator>,
    pub(super) retry_after: Option<String>,
}

/// Asks for the page, within the request's deadline.
pub(super) async fn fetch(
    client: &reqwest::Client,
    request: &Request,
    validator: Option<&Validator>,
    context: &Context,
) -> anyhow::Result<Answer> {
    let deadline = Deadline { at: Instant::now() + request.total, total: request.total };
    let mut url = request.url.clone();
    let mut visited = vec![url.clone()];
    let mut headers = request.headers.clone();
    let mut auth = request.auth.as_ref();
    loop {
        let mut hop = reqwest::Request::new(Method::GET, url.clone());
        *hop.headers_mut() = all_headers(&headers, &request.user_agent, validator.filter(|known| known.is_of(&url)));
        if let Some(proof) = auth.and_then(|auth| auth.authorize(context, &Method::GET, &url, &[])) {
            hop.headers_mut().insert(AUTHORIZATION, proof);
        }
        let mut response = deadline
            .wait("no_answer: there was no answer", client.execute(hop))
            .await?
            .map_err(|error| cause(error, &url))?;
        let Some(target) = redirect_target(&response) else {
            return read_answer(response, &url, validator, request.body_max, &deadline).await;
        };
        let next = check_redirect(&url, &target?, &visited, request.redirects_max)?;
        // The connection is only used again when the answer was read to its end, which is worth a moment and no more.
        let drain = Deadline { at: deadline.at.min(Instant::now() + DRAIN_MAX), total: DRAIN_MAX };
        read_body(&mut response, REFUSAL_BYTES_MAX, &drain).await.ok();
        if next.origin() != url.origin() {
            headers = for_other_origin(&headers);
            auth = None;
        }
        visited.push(next.clone());
        url = next;
    }
}

impl Validator {
    fn new(url: &Url, headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= VALIDATOR_BYTES_MAX).then(|| value.to_owned())
        };
        let (etag, last_modified) = (text(ETAG), text(LAST_MODIFIED));
        (etag.is_some() || last_modified.is_some()).then(|| Self { url: url_hash(url), etag, last_modified })
    }

    fn is_of(&self, url: &Url) -> bool {
        self.url == url_hash(url)
    }

    /// A 304 may bring a new tag; what it leaves out stays.
    fn updated(&self, headers: &HeaderMap, url: &Url) -> Self {
        let Some(new) = Self::new(url, headers) else { return self.clone() };
        Self {
            url: new.url,
            etag: new.etag.or_else(|| self.etag.clone()),
            last_modified: new.last_modified.or_else(|| self.last_modified.clone()),
        }
    }
}

/// A hash, because a query may hold a key, and the validator is saved.
fn url_hash(url: &Url) -> String {
    blake3::hash(url.as_str().as_bytes()).to_hex()[..16].to_owned()
}

fn all_headers(own: &HeaderMap, user_agent: &HeaderValue, validator: Option<&Validator>) -> HeaderMap {
    let mut headers = own.clone();
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static(ACCEPTED));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODINGS));
    headers.entry(USER_AGENT).or_insert_with(|| user_agent.clone());
    let mut condition = |name, text: Option<&String>| {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    };
    condition(IF_NONE_MATCH, validator.and_then(|validator| validator.etag.as_ref()));
    condition(IF_MODIFIED_SINCE, validator.and_then(|validator| validator.last_modified.as_ref()));
    headers
}

/// The user wrote the headers for one origin. Any of them may be a key, so another origin gets only what describes
/// the client.
fn for_other_origin(headers: &HeaderMap) -> HeaderMap {
    let is_harmless = |name: &HeaderName| name.as_str().starts_with("accept") || name == USER_AGENT;
    headers.iter().filter(|(name, _)| is_harmless(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Where the answer sends us, if it does.
fn redirect_target(response: &Response) -> Option<anyhow::Result<String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    // Some servers send UTF-8 here; the URL parser escapes it.
    let text = std::str::from_utf8(location.as_bytes()).map(str::to_owned);
    Some(text.context("bad_redirect: the redirect's address is not text"))
}

/// The address of the next hop, or why it is not gone to.
fn check_redirect(from: &Url, target: &str, visited: &[Url], redirects_max: usize) -> anyhow::Result<Url> {
    let mut next =
        from.join(target).with_context(|| format!("bad_redirect: {} redirects to no URL", shown_url(from)))?;
    let (shown_from, shown_next) = (shown_url(from), shown_url(&next));
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
        return Err(anyhow!("bad_redirect: {shown_from} redirects to `{}:`, which is not followed", next.scheme()));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(anyhow!("insecure_redirect: {shown_from} redirects from https to {shown_next}"));
    }
    // A name and password in a redirect would be sent as if they were ours; a fragment is never sent.
    let refused = next.set_username("").is_err() || next.set_password(None).is_err();
    next.set_fragment(None);
    if refused {
        return Err(anyhow!("bad_redirect: {shown_from} redirects to {shown_next}"));
    }
    if visited.contains(&next) {
        return Err(anyhow!("redirect_loop: {shown_from} redirects to {shown_next}, where we come from"));
    }
    if visited.len() > redirects_max {
        return Err(anyhow!(
            "too_many_redirects: more than {redirects_max}, the last from {shown_from} to {shown_next}; allow more with \
             `redirects`"
        ));
    }
    Ok(next)
}

async fn read_answer(
    mut response: Response,
    url: &Url,
    known: Option<&Validator>,
    body_max: u64,
    deadline: &Deadline,
) -> anyhow::Result<Answer> {
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        return match known.filter(|known| known.is_of(url)) {
            Some(known) => Ok(Answer::NotModified(known.updated(response.headers(), url))),
            None => Err(anyhow!("bad_answer: {} says 304 not modified, and was not asked", shown_url(url))),
        };
    }
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let coded: Vec<&str> =
        headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    let mut body = Body {
        bytes: Vec::new(),
        codings: decode::codings(&coded.join(",")),
        content_type: text(CONTENT_TYPE),
        validator: Validator::new(url, headers),
        retry_after: text(RETRY_AFTER),
    };
    if status.is_success() {
        body.bytes = read_body(&mut response, body_max, deadline).await?;
        return Ok(Answer::Page(body));
    }
    // What the refusal says is a help and no more: its own faults do not hide the status.
    body.bytes = read_body(&mut response, REFUSAL_BYTES_MAX, deadline).await.unwrap_or_default();
    Ok(Answer::Refused(status, body))
}

/// The whole body as it comes, of at most `bytes_max`.
async fn read_body(response: &mut Response, bytes_max: u64, deadline: &Deadline) -> anyhow::Result<Vec<u8>> {
    let too_large = || {
        anyhow!("body_too_large: the page has more than {}; allow more with `max_body`", bytesize::ByteSize(bytes_max))
    };
    let announced = response.content_length();
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let so_far = bytes.len();
        let stage = format!("body_stalled: the page was not complete, with {so_far} bytes,");
        let chunk = deadline.wait(&stage, response.chunk()).await?;
        let chunk = chunk.map_err(reqwest::Error::without_url);
        let Some(chunk) = chunk.with_context(|| format!("body_cut_off: the page ended after {so_far} bytes"))? else {
            return Ok(bytes);
        };
        if (so_far + chunk.len()) as u64 > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// The moment at which a fetch is given up, whatever it is doing.
struct Deadline {
    at: Instant,
    total: Duration,
}

impl Deadline {
    async fn wait<T>(&self, stage: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
        let total = humantime::format_duration(self.total);
        timeout_at(self.at, future).await.map_err(|_| anyhow!("{stage} after {total}"))
    }
}

/// A failed request in words, with its causes, and without what is secret in its URL.
fn cause(error: reqwest::Error, url: &Url) -> anyhow::Error {
    let mut inner: Option<&(dyn Error + 'static)> = error.source();
    let mut is_flood = false;
    while let Some(source) = inner {
        is_flood |= source.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large);
        inner = source.source();
    }
    let shown = shown_url(url);
    let what = if is_flood {
        format!("header_flood: {shown} answers with too many headers")
    } else if error.is_connect() {
        format!("cannot_connect: no connection to {shown}")
    } else {
        format!("bad_answer: no usable answer from {shown}")
    };
    anyhow::Error::new(error.without_url()).context(what)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write as _;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::super::{Scrape, USER_AGENT};
    use super::*;
    use crate::context::SystemClock;
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
                "url": format!("http://{}/", self.address), "timeout": "1m",
                "fields": { "price": { "css": "b", "type": "number" } },
            });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let settings: Scrape = serde_json::from_value(value).unwrap();
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
    async fn a_request_says_what_the_file_says() {
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
    async fn validators_go_back_as_they_came_and_survive_a_restart() {
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
                    format!("HTTP/1.1 302 Found\r\nLocation: http://me:pw@{host}/page\r\nContent-Length: 9\r\n\r\n")
                        .into(),
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
            (
                "/loop",
                5,
                "lost: redirect_loop: http://SERVER/loop2 redirects to http://SERVER/loop, where we come from",
            ),
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
            ("503", "throttled 30s: http_status: upstream answered 503 Service Unavailable: \"Go away\""),
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
            let server =
                Server::start(move |_, _| reply.lock().unwrap().take().unwrap_or(Reply::Close(Vec::new()))).await;
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
        assert!(
            said.starts_with(&format!("cannot_connect: no connection to http://{address}/quote?key=***: ")),
            "{said}"
        );
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
        for (path, more) in [("/coded", json!({})), ("/header", json!({})), ("/wrong", json!({ "encoding": "cp1251" }))]
        {
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
}
