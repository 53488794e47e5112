//! One connection of a client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::compress::{offer, packer};
use super::shapes::{Logged, Shape};
use super::wire::{self, Asked};
use super::{Connection, Fault, Shared};

/// Bytes of a flood's message.
const FLOOD_BYTES: usize = 1024;

/// Messages of a flood that are written at once.
const FLOOD_AT_ONCE: u64 = 64;

/// What a client has sent.
enum Heard {
    Frame(u8, Vec<u8>),
    Gone,
}

struct Session {
    shared: Arc<Shared>,
    socket: OwnedWriteHalf,
    shape: Shape,
    /// Its place in the list of connections.
    index: usize,
    /// The next event that it is to get; `None` until the stream has begun.
    next: Option<u64>,
    from: Option<u64>,
    sequence: u64,
    /// One that comes after the next.
    late: Option<Logged>,
    seen_now: u64,
    piece: usize,
    packer: Option<zstd::bulk::Compressor<'static>>,
}

pub(super) async fn run(socket: TcpStream, shared: Arc<Shared>) {
    socket.set_nodelay(true).ok();
    let (mut reading, socket) = socket.into_split();
    let index = shared.lock().connections.len();
    let Ok(Ok(asked)) = timeout(Duration::from_secs(10), Asked::read(&mut reading)).await else { return };
    let offered = offer(&asked, &shared.lock().settings);
    if let Some(offered) = offered {
        let mut socket = socket;
        return drop(socket.write_all(&offered).await);
    }
    let index = {
        let mut state = shared.lock();
        state.connections.push(Connection {
            target: asked.target.clone(),
            headers: asked.headers.clone(),
            ..Connection::default()
        });
        index.max(state.connections.len() - 1)
    };
    // A client that is gone is no failure of the server.
    session(reading, socket, &asked, Arc::clone(&shared), index).await.ok();
    shared.lock().connections[index].is_over = true;
}

async fn session(
    reading: OwnedReadHalf,
    mut socket: OwnedWriteHalf,
    asked: &Asked,
    shared: Arc<Shared>,
    index: usize,
) -> io::Result<()> {
    let shape = Shape::of(asked.path());
    let (refusal, from, settings, seen_now) = {
        let mut state = shared.lock();
        let refusal = state.refusals.pop_front();
        let log: Vec<Logged> = state.log.iter().copied().collect();
        let from = shape.map_or(Err((404, "not found".to_owned())), |shape| {
            let packer = packer(shape, asked, &state.settings)?;
            let from = if state.settings.forgets { None } else { shape.from(asked, &log)? };
            Ok((from, packer))
        });
        let settings = state.settings.clone();
        // It comes once.
        state.settings.flood = 0;
        (refusal, from, settings, state.now)
    };
    let (shape, (from, packer)) = match (refusal, shape, from) {
        (Some((status, body)), ..) | (None, _, Err((status, body))) => return refuse(&mut socket, status, &body).await,
        (None, Some(shape), Ok(from)) => (shape, from),
        (None, None, Ok(_)) => return Ok(()),
    };
    socket.write_all(&wire::agreement(asked)).await?;
    if settings.flood > 0 {
        return flood(&mut socket, settings.flood).await;
    }
    let mut session = Session {
        shared,
        socket,
        shape,
        index,
        next: None,
        from,
        sequence: 0,
        late: None,
        seen_now,
        piece: settings.piece,
        packer,
    };
    if !shape.waits() {
        session.begin();
    }
    let (hearing, heard) = mpsc::unbounded_channel();
    let listening = tokio::spawn(listen(reading, hearing)).abort_handle();
    let result = session.live(heard).await;
    listening.abort();
    result
}

async fn refuse(socket: &mut OwnedWriteHalf, status: u16, body: &str) -> io::Result<()> {
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} No\r\nContent-Type: {kind}\r\n{retry}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await
}

async fn listen(mut reading: OwnedReadHalf, hearing: mpsc::UnboundedSender<Heard>) {
    while let Ok((opcode, payload)) = wire::read_frame(&mut reading).await {
        if hearing.send(Heard::Frame(opcode, payload)).is_err() {
            return;
        }
    }
    hearing.send(Heard::Gone).ok();
}

async fn flood(socket: &mut OwnedWriteHalf, messages: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < messages {
        let mut bytes = Vec::new();
        for number in sent..(sent + FLOOD_AT_ONCE).min(messages) {
            let head = format!(r#"{{"n":{number},"time_us":{},"text":""#, 1_795_417_445_000_000 + number);
            let text = format!("{head}{}\"}}", "x".repeat(FLOOD_BYTES - head.len() - 2));
            bytes.extend(wire::frame(wire::TEXT, true, text.as_bytes()));
        }
        socket.write_all(&bytes).await?;
        sent += FLOOD_AT_ONCE;
    }
    socket.write_all(&wire::close(1000, "the end")).await?;
    sleep(Duration::from_secs(5)).await;
    Ok(())
}

impl Session {
    fn begin(&mut self) {
        let state = self.shared.lock();
        let next = state.log.back().map_or(1, |last| last.number + 1);
        self.next = Some(self.from.unwrap_or(next));
    }

    async fn live(&mut self, mut heard: mpsc::UnboundedReceiver<Heard>) -> io::Result<()> {
        let settings = self.shared.lock().settings.clone();
        let mut pings = interval_at(Instant::now() + settings.ping_every, settings.ping_every);
        let began = Instant::now();
        let shared = Arc::clone(&self.shared);
        let mut beats = 0;
        loop {
            let news = shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if !self.send_what_is_new().await? {
                return Ok(());
            }
            let close_at = settings.close_after.map_or(began + Duration::from_hours(1000), |age| began + age);
            let hungry = began + settings.patience;
            tokio::select! {
                () = news => {}
                _ = pings.tick() => {
                    beats += 1;
                    self.write(&wire::frame(wire::PING, true, &beats.to_string().into_bytes())).await?;
                    if let Some(text) = self.shape.heartbeat(beats) {
                        self.write(&wire::frame(wire::TEXT, true, text.as_bytes())).await?;
                    }
                }
                () = tokio::time::sleep_until(close_at) => {
                    self.write(&wire::close(1001, "the connection is too old")).await?;
                    return Ok(());
                }
                () = tokio::time::sleep_until(hungry), if self.next.is_none() => {
                    self.write(&wire::close(1008, "nothing was subscribed to")).await?;
                    return Ok(());
                }
                frame = heard.recv() => match frame {
                    Some(Heard::Frame(opcode, payload)) => if !self.answer(opcode, &payload).await? { return Ok(()); },
                    Some(Heard::Gone) | None => return Ok(()),
                }
            }
        }
    }

    /// Whether it goes on.
    async fn answer(&mut self, opcode: u8, payload: &[u8]) -> io::Result<bool> {
        match opcode {
            wire::PING => {
                self.shared.lock().connections[self.index].pings += 1;
                self.write(&wire::frame(wire::PONG, true, payload)).await?;
            }
            wire::PONG => self.shared.lock().connections[self.index].pongs += 1,
            wire::CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                self.shared.lock().connections[self.index].closed = code;
                self.write(&wire::frame(wire::CLOSE, true, payload)).await?;
                return Ok(false);
            }
            _ => {
                let text = String::from_utf8_lossy(payload).into_owned();
                let said = serde_json::from_str(&text).unwrap_or_default();
                let agrees = {
                    let mut state = self.shared.lock();
                    state.connections[self.index].said.push(text);
                    state.settings.agrees
                };
                let (answer, begins) = self.shape.answer(&said);
                if let Some(answer) = answer.filter(|_| agrees) {
                    self.write(&wire::frame(wire::TEXT, true, answer.as_bytes())).await?;
                }
                if begins && agrees && self.next.is_none() {
                    self.begin();
                }
            }
        }
        Ok(true)
    }

    /// Sends the events that it has not got. Whether it goes on.
    async fn send_what_is_new(&mut self) -> io::Result<bool> {
        loop {
            let (logged, fault) = {
                let mut state = self.shared.lock();
                if state.now > self.seen_now {
                    self.seen_now = state.now;
                    (None, state.fault_now)
                } else {
                    let logged = self.next.and_then(|next| {
                        let first = state.log.front()?.number;
                        let at = usize::try_from(next.max(first) - first).ok()?;
                        state.log.get(at).copied()
                    });
                    // Each event has its fault once, whoever gets it first.
                    let fault = logged.filter(|logged| logged.number > state.troubled).and_then(|logged| {
                        state.troubled = logged.number;
                        state.faults.at(state.settings.seed, logged.number)
                    });
                    (logged, fault)
                }
            };
            if logged.is_none() && fault.is_none() {
                return Ok(true);
            }
            if let Some(logged) = logged {
                self.next = Some(logged.number + 1);
            }
            if !self.send(logged, fault).await? {
                return Ok(false);
            }
        }
    }

    /// Sends an event, or what goes wrong instead. Whether it goes on.
    async fn send(&mut self, logged: Option<Logged>, fault: Option<Fault>) -> io::Result<bool> {
        let text = logged.map(|logged| {
            self.sequence += 1;
            self.shape.event(logged, self.sequence)
        });
        match fault {
            Some(Fault::Torn | Fault::Reset) => {
                let bytes = self.whole(text.as_deref());
                self.write(&bytes[..bytes.len() / 2]).await?;
                if fault == Some(Fault::Reset) {
                    self.socket.as_ref().set_zero_linger()?;
                }
                return Ok(false);
            }
            Some(Fault::HalfOpen) => {
                sleep(Duration::from_hours(1)).await;
                return Ok(false);
            }
            Some(Fault::Close(code)) => {
                self.write(&wire::close(code, "as it was told")).await?;
                sleep(Duration::from_millis(200)).await;
                return Ok(false);
            }
            Some(Fault::Hole) => return Ok(true),
            Some(Fault::Late) => {
                self.late = logged;
                return Ok(true);
            }
            Some(Fault::Garbage) => self.write(&wire::frame(wire::TEXT, true, b"this is not JSON")).await?,
            Some(Fault::Huge) => {
                let huge = format!("{{\"huge\":\"{}\"}}", "x".repeat(10 << 20));
                self.write(&wire::frame(wire::TEXT, true, huge.as_bytes())).await?;
            }
            Some(Fault::Nonsense) => self.write(&[0xff, 0x00]).await?,
            Some(Fault::Twice) => {
                let bytes = self.whole(text.as_deref());
                self.write(&bytes).await?;
            }
            Some(Fault::Fragments) => {
                let (opcode, bytes) = self.packed(text.as_deref());
                self.write(&wire::fragments(opcode, &bytes)).await?;
                return Ok(true);
            }
            None => {}
        }
        if text.is_some() {
            let bytes = self.whole(text.as_deref());
            self.write(&bytes).await?;
        }
        if let Some(late) = self.late.take() {
            self.sequence += 1;
            let text = self.shape.event(late, self.sequence);
            let bytes = self.whole(Some(&text));
            self.write(&bytes).await?;
        }
        Ok(true)
    }

    fn whole(&mut self, text: Option<&str>) -> Vec<u8> {
        let (opcode, bytes) = self.packed(text);
        wire::frame(opcode, true, &bytes)
    }

    /// An event as it goes over this connection.
    fn packed(&mut self, text: Option<&str>) -> (u8, Vec<u8>) {
        let bytes = text.unwrap_or("{}").as_bytes();
        match self.packer.as_mut().and_then(|packer| packer.compress(bytes).ok()) {
            Some(packed) => {
                self.shared.lock().connections[self.index].packed += 1;
                (wire::BINARY, packed)
            }
            None => (wire::TEXT, bytes.to_vec()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        wire::write_cut(&mut self.socket, bytes, self.piece).await
    }
}
