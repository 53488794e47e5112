//! A small HTTP/1.1 server written down to the socket, because its faults are there: bodies that end too soon,
//! connections that are reset, bytes that never come. It shares no code with the client that it tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::Running;
use super::stream::Stream;

/// A request whose head is longer is no request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A longer body is not taken.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No more requests are remembered.
const REMEMBERED_MAX: usize = 200_000;

/// How long a body that comes in drops waits between two of them.
const DRIP_EVERY: Duration = Duration::from_millis(100);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Counted from 1 over all connections.
    pub number: u64,
    /// Which connection it came by, counted from 1.
    pub connection: u64,
    /// `GET`, `HEAD`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What came after the head, as long as `Content-Length` said.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether an answer may be compressed with gzip.
    pub fn accepts_gzip(&self) -> bool {
        self.header("accept-encoding").is_some_and(|coding| coding.contains("gzip"))
    }
}

/// An answer, and how it is delivered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beside `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body as it goes over the wire.
    pub body: Arc<Vec<u8>>,
    /// How it is delivered.
    pub delivery: Delivery,
}

/// How an answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delivery {
    /// At once and whole.
    Whole,
    /// Whole, after this time.
    After(Duration),
    /// A byte at a time.
    Drip,
    /// Never.
    Never,
    /// Half of the body, and the end of the connection.
    Torn,
    /// Half of a chunked body, and the end of the connection.
    TornChunked,
    /// A reset.
    Reset,
    /// The body again and again without end.
    Endless,
}

impl Reply {
    /// An answer with a body, delivered whole.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: Arc::new(body.into()), delivery: Delivery::Whole }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same, delivered so.
    #[must_use]
    pub fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

/// What a handler makes of a request.
#[derive(Debug)]
pub enum Answer {
    /// An answer with an end.
    Whole(Reply),
    /// One without.
    Stream(Stream),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Whole(reply)
    }
}

/// What answers requests.
pub type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// A running server; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: AbortHandle,
}

impl Server {
    /// Listens on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, handler: Handler) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, port).into(), handler).await
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// When the port is taken, or the machine does not have the address.
    pub async fn start_at(address: SocketAddr, handler: Handler) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let accepting = tokio::spawn(accept(listener, handler, log)).abort_handle();
        Ok(Self { address, requests, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Running for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, handler: Handler, log: Arc<Mutex<Vec<Request>>>) {
    // Connections end with this task: dropping the set aborts them.
    let mut connections = tokio::task::JoinSet::new();
    let numbers = Arc::new(AtomicU64::new(1));
    for connection in 1.. {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of handles: wait for some to be given back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let serving =
            Serving { handler: Arc::clone(&handler), log: Arc::clone(&log), numbers: Arc::clone(&numbers), connection };
        connections.spawn(async move {
            // A client that goes away is no fault of the server's.
            serving.serve(stream).await.ok();
        });
    }
}

struct Serving {
    handler: Handler,
    log: Arc<Mutex<Vec<Request>>>,
    numbers: Arc<AtomicU64>,
    connection: u64,
}

impl Serving {
    async fn serve(self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut pending = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut pending).await? {
            let Some(mut request) = self.parse(&head) else {
                let bad = Reply::new(400, "text/plain", "not a request");
                return deliver(stream, &bad, false).await.map(drop);
            };
            if !read_body(&mut stream, &mut pending, &mut request).await? {
                return Ok(());
            }
            let (handler, asked) = (Arc::clone(&self.handler), request.clone());
            // Making a page may take long, and other connections must not wait for it.
            let answer = tokio::task::spawn_blocking(move || handler(&asked)).await?;
            let keep = request.header("connection") != Some("close");
            let is_head = request.method == "HEAD";
            self.remember(request);
            let reply = match answer {
                Answer::Whole(reply) => reply,
                Answer::Stream(answer) => return answer.deliver(stream).await,
            };
            match deliver(stream, &reply, is_head).await? {
                Some(open) if keep => stream = open,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn parse(&self, head: &str) -> Option<Request> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        Some(Request { number, connection: self.connection, method, path, headers, body: Vec::new() })
    }

    fn remember(&self, request: Request) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() < REMEMBERED_MAX {
            log.push(request);
        }
    }
}

/// The next request's head, or `None` when the client is done.
async fn read_head(stream: &mut TcpStream, pending: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = pending.split_off(end + 4);
            let head = std::mem::replace(pending, rest);
            return Ok(Some(String::from_utf8_lossy(&head[..end]).into_owned()));
        }
        if pending.len() > HEAD_BYTES_MAX || stream.read_buf(pending).await? == 0 {
            return Ok(None);
        }
    }
}

/// Reads a request's body; `false` when the client goes away, or announces more than is taken.
async fn read_body(stream: &mut TcpStream, pending: &mut Vec<u8>, request: &mut Request) -> io::Result<bool> {
    let len = request.header("content-length").and_then(|len| len.parse::<usize>().ok()).unwrap_or(0);
    if len > BODY_BYTES_MAX {
        return Ok(false);
    }
    while pending.len() < len {
        if stream.read_buf(pending).await? == 0 {
            return Ok(false);
        }
    }
    let rest = pending.split_off(len);
    request.body = std::mem::replace(pending, rest);
    Ok(true)
}

/// Delivers an answer, and gives the connection back where it can go on.
async fn deliver(mut stream: TcpStream, reply: &Reply, is_head: bool) -> io::Result<Option<TcpStream>> {
    match reply.delivery {
        Delivery::Never => {
            // Until the client gives up.
            while stream.read(&mut [0; 1024]).await? > 0 {}
            return Ok(None);
        }
        Delivery::Reset => {
            stream.set_zero_linger()?;
            return Ok(None);
        }
        Delivery::After(wait) => tokio::time::sleep(wait).await,
        _ => {}
    }
    let chunked = matches!(reply.delivery, Delivery::TornChunked | Delivery::Endless);
    stream.write_all(head_of(reply, chunked).as_bytes()).await?;
    if is_head {
        return Ok(Some(stream));
    }
    let body = &reply.body[..];
    let half = &body[..body.len() / 2];
    match reply.delivery {
        Delivery::Torn => stream.write_all(half).await?,
        Delivery::TornChunked => write_chunk(&mut stream, half).await?,
        Delivery::Endless => loop {
            write_chunk(&mut stream, body).await?;
        },
        Delivery::Drip => {
            for byte in body {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(DRIP_EVERY).await;
            }
        }
        _ => stream.write_all(body).await?,
    }
    let is_torn = matches!(reply.delivery, Delivery::Torn | Delivery::TornChunked);
    Ok((!is_torn).then_some(stream))
}

async fn write_chunk(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.write_all(b"\r\n").await
}

fn head_of(reply: &Reply, chunked: bool) -> String {
    use std::fmt::Write as _;
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        write!(head, "{name}: {value}\r\n").expect("invariant: writing to a string cannot fail");
    }
    match (reply.status, chunked) {
        (304, _) => head.push_str("\r\n"),
        (_, true) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        (_, false) => {
            write!(head, "Content-Length: {}\r\n\r\n", reply.body.len())
                .expect("invariant: writing to a string cannot fail");
        }
    }
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        406 => "Not Acceptable",
        409 => "Conflict",
        420 => "Enhance Your Calm",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
