//! Everything that these servers know: what has happened, and who is connected.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc::UnboundedSender;

use super::faults::{Fault, Faults};
use super::line::Out;
use super::{Settings, lock, mastodon, plain, wikimedia};
use crate::simulator::server::Reply;
use crate::simulator::stream::Piece;

/// How many events are remembered.
const LOG_MAX: usize = 2_000_000;

/// 10 MB.
const HUGE: usize = 10_000_000;

/// Something that happened. What it looks like follows from its number, its time and the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// Counted from 1.
    pub number: u64,
    /// When it was sent, or would have been: whole milliseconds.
    pub at: DateTime<Utc>,
}

impl Logged {
    /// Whether Wikimedia's stream has a canary in its place.
    pub fn is_canary(&self) -> bool {
        self.number.is_multiple_of(10)
    }
}

/// A connection, as a test sees it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// What was asked for, with its query.
    pub path: String,
    /// What it was to go on after.
    pub last_event_id: Option<String>,
    /// When it was accepted.
    pub opened_at: DateTime<Utc>,
    /// When it ended, as far as the server has noticed.
    pub closed_at: Option<DateTime<Utc>>,
    /// Why.
    pub why: Option<String>,
    /// How many events were sent on it.
    pub events: u64,
}

/// What a stream looks like.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Plain,
    Mastodon,
    Wikimedia(wikimedia::Assignment),
}

pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) shape: Shape,
    pub(super) sender: UnboundedSender<Out>,
    /// An event that comes after the next one.
    pub(super) late: Option<Vec<u8>>,
}

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) log: VecDeque<Logged>,
    pub(super) lines: Vec<Line>,
    pub(super) faults: Faults,
    pub(super) refusals: VecDeque<Reply>,
    pub(super) flood: Option<u64>,
    number: u64,
    /// Where things are torn.
    random: StdRng,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            random: StdRng::seed_from_u64(settings.seed),
            settings,
            log: VecDeque::new(),
            lines: Vec::new(),
            faults: Faults::default(),
            refusals: VecDeque::new(),
            flood: None,
            number: 0,
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        let now = (self.settings.clock)();
        DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
    }

    /// Makes an event, and delivers it to every open stream, with what goes wrong.
    pub(super) fn publish(&mut self) -> u64 {
        self.number += 1;
        let logged = Logged { number: self.number, at: self.now() };
        self.log.push_back(logged);
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
        self.notice_gone();
        // A fault goes with an event that somebody gets.
        let is_wanted = self.lines.iter().any(Line::is_open);
        let fault = if is_wanted { self.faults.next() } else { None };
        let (settings, now, cut) = (self.settings.clone(), self.now(), self.random.random());
        for line in self.lines.iter_mut().filter(|line| line.is_open()) {
            line.deliver(&settings, logged, fault, now, cut);
        }
        self.number
    }

    /// Sends what a client has missed. What goes wrong goes wrong here too.
    pub(super) fn replay(&mut self, line: &mut Line, missed: impl Fn(&Logged) -> bool) {
        let (settings, now) = (self.settings.clone(), self.now());
        let missed: Vec<Logged> = self.log.iter().filter(|logged| missed(logged)).copied().collect();
        for logged in missed {
            if !line.is_open() {
                return;
            }
            let (fault, cut) = (self.faults.next(), self.random.random());
            line.deliver(&settings, logged, fault, now, cut);
        }
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        for line in self.lines.iter().filter(|line| line.is_open()) {
            line.send(Out::Bytes(bytes.to_vec()));
        }
    }

    pub(super) fn fault_now(&mut self, fault: Fault) {
        let (now, cut) = (self.now(), self.random.random());
        for line in self.lines.iter_mut().filter(|line| line.is_open()) {
            line.go_wrong(fault, b"data: torn\n\n".to_vec(), now, cut);
        }
    }

    /// Notices clients that have gone away.
    pub(super) fn notice_gone(&mut self) {
        let now = self.now();
        for line in &mut self.lines {
            if line.connection.closed_at.is_none() && line.sender.is_closed() {
                line.close(now, "the client went away");
            }
        }
    }

    pub(super) fn connections(&mut self) -> Vec<Connection> {
        self.notice_gone();
        self.lines.iter().map(|line| line.connection.clone()).collect()
    }
}

/// Ends a stream once its time has come, if it is still there.
pub(super) async fn cut(state: Arc<Mutex<State>>, number: usize, after: std::time::Duration) {
    tokio::time::sleep(after).await;
    let mut state = lock(&state);
    let now = state.now();
    if let Some(line) = state.lines.get_mut(number).filter(|line| line.is_open()) {
        line.end(Piece::End, now, "cut by the edge");
    }
}

impl Line {
    pub(super) fn is_open(&self) -> bool {
        self.connection.closed_at.is_none() && !self.sender.is_closed()
    }

    pub(super) fn send(&self, out: Out) {
        // A client that is gone is noticed elsewhere.
        self.sender.send(out).ok();
    }

    pub(super) fn close(&mut self, now: DateTime<Utc>, why: &str) {
        self.connection.closed_at = Some(now);
        self.connection.why = Some(why.to_owned());
    }

    pub(super) fn end(&mut self, piece: Piece, now: DateTime<Utc>, why: &str) {
        self.send(Out::End(piece));
        self.close(now, why);
    }

    /// Sends an event as it is, or with what goes wrong.
    fn deliver(&mut self, settings: &Settings, logged: Logged, fault: Option<Fault>, now: DateTime<Utc>, cut: f64) {
        let event = match &mut self.shape {
            Shape::Plain => plain::event(settings, logged),
            Shape::Mastodon => mastodon::event(settings.seed, logged),
            Shape::Wikimedia(assignment) => wikimedia::event(assignment, logged),
        };
        self.connection.events += 1;
        match fault {
            None => self.send(Out::Bytes(event)),
            Some(Fault::Twice) => {
                self.send(Out::Bytes(event.clone()));
                self.send(Out::Bytes(event));
            }
            // A server that says where it is cannot send what is before that later, and be gone on from.
            Some(Fault::Late) if matches!(self.shape, Shape::Plain) => self.send(Out::Bytes(event)),
            Some(Fault::Late) if self.late.is_none() => {
                self.late = Some(event);
                return;
            }
            Some(fault) => self.go_wrong(fault, event, now, cut),
        }
        if self.is_open()
            && let Some(late) = self.late.take()
        {
            self.send(Out::Bytes(late));
        }
    }

    /// Something goes wrong, with an event at hand. `cut`, from 0 to 1, says where it is torn.
    pub(super) fn go_wrong(&mut self, fault: Fault, event: Vec<u8>, now: DateTime<Utc>, cut: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place within an event"
        )]
        let torn = || event[..(event.len() as f64 * cut) as usize].to_vec();
        match fault {
            Fault::End => return self.end(Piece::End, now, "ended in order"),
            Fault::TornClose => {
                self.send(Out::Torn(torn(), Piece::Close));
                return self.close(now, "torn");
            }
            Fault::TornReset => {
                self.send(Out::Torn(torn(), Piece::Reset));
                return self.close(now, "reset");
            }
            Fault::HalfOpen => return self.end(Piece::Hang, now, "half-open"),
            Fault::OnlyComments => return self.send(Out::OnlyComments),
            Fault::ErrorEvent => {
                self.send(Out::Bytes(wikimedia::error()));
                return self.end(Piece::End, now, "an error");
            }
            _ => {}
        }
        let before = match fault {
            Fault::InvalidUtf8 => b"event: noise\ndata: \xff\xfe\xc3\n\n".to_vec(),
            Fault::Huge => [&b"event: noise\ndata: "[..], "x".repeat(HUGE).as_bytes(), b"\n\n"].concat(),
            Fault::HugeComment => [b":", "x".repeat(HUGE).as_bytes(), b"\n"].concat(),
            Fault::Odd => b": \r\ndatum: 1\r\nevent: noise\r\r\n\n\nevent\nunknown\n\n:\n".to_vec(),
            Fault::Retry => b"retry: 250\n".to_vec(),
            _ => Vec::new(),
        };
        for bytes in [before, event] {
            if !bytes.is_empty() {
                self.send(Out::Bytes(bytes));
            }
        }
    }
}
