//! What a server of a day knows of its connections: who came, what was answered, what is open, what it is like to come now.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::Act;
use super::frames::{self, CLOSE, PING, PONG, TEXT, frame};

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
    /// A stream is begun, and ended a moment later, when something has been said on it.
    Brief,
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
pub(super) enum Out {
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
    pub(super) accepting: Option<AbortHandle>,
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

    pub(super) fn part(&mut self, line: usize, out: Out) {
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
        if self.door == Door::Brief {
            for line in self.open() {
                if self.now > self.lines[line].opened {
                    self.end(line, 1001);
                }
            }
        }
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

    pub(super) fn add(&mut self, is_websocket: bool) -> (usize, UnboundedReceiver<Out>) {
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
    pub(super) fn heard(&mut self, line: usize, opcode: u8, payload: Vec<u8>) -> Option<String> {
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
