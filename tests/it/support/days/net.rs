//! The sockets of a server of a day: who came, what was answered, what is open, what it is like to come now.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::frames::{self, CLOSE, PING, PONG, TEXT, frame};
use super::{Act, Upstream, World, lock};

/// What becomes of who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Nobody listens.
    Gone,
    /// Connections are broken as soon as something is asked for.
    Reset,
    /// Everything is answered so, with `Retry-After`, if any.
    Status(u16, Option<u64>),
    /// A stream is begun, and ended.
    Flap,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: DateTime<Utc>,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    /// How it was answered; 0 for a connection that was broken.
    pub status: u16,
    /// How long it was told to wait.
    pub retry_after: Option<TimeDelta>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
pub enum Reply {
    /// With an end.
    Page { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Without, which begins with this.
    Stream { headers: Vec<(&'static str, String)>, first: Vec<u8> },
    /// A websocket.
    Upgrade { protocol: Option<&'static str> },
}

impl Reply {
    pub fn status(status: u16, body: &str) -> Self {
        Self::Page { status, headers: vec![("Content-Type", "text/plain".into())], body: body.into() }
    }

    pub fn events(first: &str) -> Self {
        let headers = vec![("Content-Type", "text/event-stream; charset=utf-8".into())];
        Self::Stream { headers, first: first.into() }
    }
}

/// What is to be done with a connection.
enum Out {
    Bytes(Vec<u8>),
    End,
    Reset,
    /// It is left as it is for ever.
    Hang,
}

/// A connection without an end.
pub struct Line {
    pub opened: DateTime<Utc>,
    pub closed: Option<DateTime<Utc>>,
    /// When frames came.
    pub said: Vec<DateTime<Utc>>,
    /// The server no longer hears it, nor is heard.
    pub is_dead: bool,
    is_websocket: bool,
    out: UnboundedSender<Out>,
    /// The ping that waits for its answer, and when the last one was sent.
    asked: Option<(Vec<u8>, DateTime<Utc>)>,
    pinged: DateTime<Utc>,
}

/// All of it.
pub struct Net {
    pub now: DateTime<Utc>,
    pub lines: Vec<Line>,
    pub asked: Vec<Asked>,
    pub door: Door,
    /// What clients did that they must not.
    pub offences: Vec<String>,
    /// Pings of the server, and how long it waits for the answer.
    pub pings: Option<(TimeDelta, TimeDelta)>,
    /// How many frames of a client there may be in a second.
    pub frames_max: usize,
    /// When a connection came or went last.
    pub stirred_at: Option<DateTime<Utc>>,
    /// Counts what has come and gone over sockets.
    pub bytes: u64,
    /// The same when nothing stirred any more.
    pub settled: u64,
    accepting: Option<AbortHandle>,
}

impl Net {
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            now,
            lines: Vec::new(),
            asked: Vec::new(),
            door: Door::Open,
            offences: Vec::new(),
            pings: None,
            frames_max: usize::MAX,
            stirred_at: None,
            bytes: 0,
            settled: 0,
            accepting: None,
        }
    }

    /// The connections that the server takes for open.
    pub fn open(&self) -> Vec<usize> {
        (0..self.lines.len()).filter(|line| self.lines[*line].closed.is_none()).collect()
    }

    pub fn offend(&mut self, what: impl Into<String>) {
        self.offences.push(format!("{}: {}", self.now, what.into()));
    }

    pub fn send(&mut self, line: usize, bytes: impl Into<Vec<u8>>) {
        let line = &self.lines[line];
        if !line.is_dead && line.closed.is_none() {
            self.bytes += 1;
            line.out.send(Out::Bytes(bytes.into())).ok();
        }
    }

    pub fn send_text(&mut self, line: usize, text: &str) {
        self.send(line, frame(TEXT, text.as_bytes()));
    }

    /// Ends a connection in order, a websocket by this code.
    pub fn end(&mut self, line: usize, code: u16) {
        if self.lines[line].is_websocket {
            self.send(line, frame(CLOSE, &frames::close(code)));
        }
        self.part(line, Out::End);
    }

    fn part(&mut self, line: usize, out: Out) {
        let line = &mut self.lines[line];
        line.closed = line.closed.or(Some(self.now));
        line.out.send(out).ok();
        self.bytes += 1;
        self.stirred_at = Some(self.now);
    }

    pub fn act(&mut self, act: Act) {
        let open = self.open();
        match act {
            Act::Door(door) => self.door = door,
            Act::Restart(code) => open.into_iter().for_each(|line| self.end(line, code)),
            Act::Reset => open.into_iter().for_each(|line| self.part(line, Out::Reset)),
            Act::HalfOpen => {
                for line in open {
                    self.lines[line].is_dead = true;
                    self.lines[line].out.send(Out::Hang).ok();
                }
            }
        }
    }

    /// Sends pings, and leaves who does not answer.
    pub fn keep_alive(&mut self) {
        let Some((every, within)) = self.pings else { return };
        for line in self.open() {
            let (now, known) = (self.now, &self.lines[line]);
            let is_late = known.asked.as_ref().is_some_and(|(_, at)| now - *at > within);
            if is_late {
                if !known.is_dead {
                    self.offend("a ping was not answered");
                }
                self.part(line, Out::Reset);
            } else if now - known.pinged >= every {
                let payload = now.timestamp_millis().to_string().into_bytes();
                self.send(line, frame(PING, &payload));
                let known = &mut self.lines[line];
                known.pinged = now;
                known.asked.get_or_insert((payload, now));
            }
        }
    }

    fn add(&mut self, is_websocket: bool) -> (usize, UnboundedReceiver<Out>) {
        let (out, from) = unbounded_channel();
        let now = self.now;
        self.lines.push(Line {
            opened: now,
            closed: None,
            said: Vec::new(),
            is_dead: false,
            is_websocket,
            out,
            asked: None,
            pinged: now,
        });
        (self.lines.len() - 1, from)
    }

    /// What a frame of a client means; a text is returned.
    fn heard(&mut self, line: usize, opcode: u8, payload: Vec<u8>) -> Option<String> {
        let (now, max) = (self.now, self.frames_max);
        let known = &mut self.lines[line];
        known.said.push(now);
        let within = known.said.iter().rev().take_while(|at| now - **at < TimeDelta::seconds(1)).count();
        if within > max {
            self.offend(format!("{within} frames in a second"));
        }
        let known = &mut self.lines[line];
        match opcode {
            TEXT => return Some(String::from_utf8(payload).unwrap()),
            PING => self.send(line, frame(PONG, &payload)),
            PONG => match known.asked.take() {
                Some((expected, _)) if expected == payload => {}
                _ => self.offend("an answer to no ping"),
            },
            CLOSE => {
                self.send(line, frame(CLOSE, &payload));
                self.part(line, Out::End);
            }
            _ => self.offend(format!("a frame of kind {opcode}")),
        }
        None
    }
}

/// Begins to listen, at an address where nobody else does.
pub async fn listen<U: Upstream>(world: &Arc<Mutex<World<U>>>) -> SocketAddr {
    let number =
        std::process::id().wrapping_mul(31).wrapping_add(DAYS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let [.., a, b] = number.to_be_bytes();
    let listener = TcpListener::bind((std::net::Ipv4Addr::new(127, 77, a, b), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    accept(world, listener);
    address
}

static DAYS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Listens, or does not, as the door is.
pub async fn keep_door<U: Upstream>(world: &Arc<Mutex<World<U>>>, address: SocketAddr) {
    let (is_gone, is_listening) = {
        let net = &lock(world).net;
        (net.door == Door::Gone, net.accepting.is_some())
    };
    if is_gone && is_listening {
        close(world).await;
    } else if !is_gone && !is_listening {
        accept(world, TcpListener::bind(address).await.unwrap());
    }
}

/// Stops listening.
pub async fn close<U: Upstream>(world: &Arc<Mutex<World<U>>>) {
    let accepting = lock(world).net.accepting.take();
    accepting.into_iter().for_each(|accepting| accepting.abort());
    tokio::task::yield_now().await;
}

fn accept<U: Upstream>(world: &Arc<Mutex<World<U>>>, listener: TcpListener) {
    let shared = Arc::clone(world);
    let accepting = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // What is written is there at once, and waits for no acknowledgement of what was before it.
            socket.set_nodelay(true).unwrap();
            tokio::spawn(serve(Arc::clone(&shared), socket));
        }
    });
    lock(world).net.accepting = Some(accepting.abort_handle());
}

/// Answers requests of one connection until it ends, or becomes a stream.
async fn serve<U: Upstream>(world: Arc<Mutex<World<U>>>, mut socket: TcpStream) {
    let mut bytes = Vec::new();
    loop {
        while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            if !matches!(socket.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        }
        let mut asked = read_head(&bytes, lock(&world).net.now);
        bytes.clear();
        let (out, stream) = answer(&world, &mut asked);
        let Some(out) = out else { return socket.set_zero_linger().unwrap() };
        if socket.write_all(&out).await.is_err() {
            return;
        }
        lock(&world).net.bytes += 1;
        if let Some((line, from)) = stream {
            {
                let World { net, upstream } = &mut *lock(&world);
                net.bytes += 1;
                net.stirred_at = Some(net.now);
                if net.door == Door::Flap {
                    net.end(line, 1011);
                } else {
                    upstream.opened(line, &asked, net);
                }
            }
            return stream_to(world, socket, line, from).await;
        }
    }
}

type Begun = Option<(usize, UnboundedReceiver<Out>)>;

/// The bytes of an answer; none where the connection is to break.
fn answer<U: Upstream>(world: &Mutex<World<U>>, asked: &mut Asked) -> (Option<Vec<u8>>, Begun) {
    let World { net, upstream } = &mut *lock(world);
    net.bytes += 1;
    let reply = match net.door {
        Door::Reset => {
            net.asked.push(asked.clone());
            return (None, None);
        }
        Door::Status(status, retry_after) => {
            let mut headers = vec![("Content-Type", "text/html".to_owned())];
            headers.extend(retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
            Reply::Page { status, headers, body: b"<h1>Maintenance</h1>".to_vec() }
        }
        Door::Open | Door::Gone | Door::Flap => upstream.asked(asked, net),
    };
    let (status, headers, body, stream) = match reply {
        Reply::Page { status, mut headers, body } => {
            headers.push(("Content-Length", body.len().to_string()));
            (status, headers, body, None)
        }
        Reply::Stream { headers, first } => (200, headers, first, Some(false)),
        Reply::Upgrade { protocol } => {
            let key = frames::accept(asked.header("sec-websocket-key").expect("a websocket is asked for"));
            let mut headers = vec![("Upgrade", "websocket".into()), ("Connection", "Upgrade".into())];
            headers.push(("Sec-WebSocket-Accept", key));
            headers.extend(protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol.to_owned())));
            (101, headers, Vec::new(), Some(true))
        }
    };
    asked.status = status;
    if let Door::Status(_, Some(seconds)) = net.door {
        asked.retry_after = i64::try_from(seconds).ok().map(TimeDelta::seconds);
    }
    net.asked.push(asked.clone());
    let mut out = format!("HTTP/1.1 {status} Said\r\n").into_bytes();
    headers.iter().for_each(|(name, value)| out.extend(format!("{name}: {value}\r\n").into_bytes()));
    out.extend(b"\r\n");
    out.extend(body);
    (Some(out), stream.map(|is_websocket| net.add(is_websocket)))
}

async fn stream_to<U: Upstream>(
    world: Arc<Mutex<World<U>>>,
    mut socket: TcpStream,
    line: usize,
    mut from: UnboundedReceiver<Out>,
) {
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            out = from.recv() => match out {
                Some(Out::Bytes(out)) => if socket.write_all(&out).await.is_err() { break },
                Some(Out::Reset) => return socket.set_zero_linger().unwrap(),
                Some(Out::Hang) => { std::future::pending::<()>().await; }
                Some(Out::End) | None => {
                    socket.shutdown().await.ok();
                    return;
                }
            },
            read = socket.read_buf(&mut bytes) => {
                if !matches!(read, Ok(1..)) { break }
                let World { net, upstream } = &mut *lock(&world);
                net.bytes += 1;
                while let Some((opcode, payload)) = frames::take(&mut bytes) {
                    if let Some(text) = net.heard(line, opcode, payload) {
                        upstream.said(line, &text, net);
                    }
                }
            }
        }
        lock(&world).net.bytes += 1;
    }
    let net = &mut lock(&world).net;
    net.part(line, Out::End);
}

fn read_head(bytes: &[u8], at: DateTime<Utc>) -> Asked {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut lines = text.split("\r\n");
    let target = lines.next().unwrap().split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(':'));
    Asked {
        at,
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
        status: 0,
        retry_after: None,
    }
}
