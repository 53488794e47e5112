//! What has happened, and how each stream is told of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::faults::Fault;
use super::{Settings, endpoints, mastodon, plain, wikimedia};
use crate::simulator::line::Out;
use crate::simulator::server::{Answer, Request};
use crate::simulator::stream::Piece;
use crate::simulator::upstream::{self, HUGE, Kind, Shared, lock};

pub(super) type State = upstream::State<Events>;
pub(super) type Line = upstream::Line<Events>;

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

/// What a stream looks like.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Plain,
    Mastodon,
    Wikimedia(wikimedia::Assignment),
}

/// Who reads a stream.
pub struct Reader {
    pub(super) shape: Shape,
    /// An event that comes after the next one.
    pub(super) late: Option<Vec<u8>>,
}

/// What these servers know beside the log of events.
pub struct Events {
    /// Where they are torn.
    random: StdRng,
}

impl Kind for Events {
    type Settings = Settings;
    type Fault = Fault;
    type Logged = Logged;
    type Reader = Reader;

    fn new(settings: &Settings) -> Self {
        Self { random: StdRng::seed_from_u64(settings.seed) }
    }

    fn settings(seed: u64, every: Duration) -> Settings {
        Settings { seed, every: Some(every), ..Settings::default() }
    }

    fn every(settings: &Settings) -> Option<Duration> {
        settings.every
    }

    fn now(settings: &Settings) -> DateTime<Utc> {
        let now = (settings.clock)();
        DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
    }

    fn answer(state: &Shared<Self>, request: &Request) -> Answer {
        endpoints::answer(state, request)
    }

    fn publish_next(state: &mut State) {
        state.publish();
    }

    fn fault_now(state: &mut State, fault: Fault) {
        let (now, cut) = (state.now(), state.own.random.random());
        state.open_lines().for_each(|line| line.go_wrong(fault, b"data: torn\n\n".to_vec(), now, cut));
    }
}

impl State {
    /// Makes an event, and delivers it to every open stream, with what goes wrong.
    pub(super) fn publish(&mut self) -> u64 {
        let logged = Logged { number: self.next_number(), at: self.now() };
        self.remember(logged);
        // A fault goes with an event that somebody gets.
        let is_wanted = self.open_lines().next().is_some();
        let fault = if is_wanted { self.faults.next() } else { None };
        let (settings, now, cut) = (self.settings.clone(), self.now(), self.own.random.random());
        for line in self.open_lines() {
            line.deliver(&settings, logged, fault, now, cut);
        }
        logged.number
    }

    /// Sends what a client has missed. What goes wrong goes wrong here too.
    pub(super) fn replay(&mut self, line: &mut Line, missed: impl Fn(&Logged) -> bool) {
        let (settings, now) = (self.settings.clone(), self.now());
        let missed: Vec<Logged> = self.log.iter().filter(|logged| missed(logged)).copied().collect();
        for logged in missed {
            if !line.is_open() {
                return;
            }
            let (fault, cut) = (self.faults.next(), self.own.random.random());
            line.deliver(&settings, logged, fault, now, cut);
        }
    }
}

/// Ends a stream once its time has come, if it is still there.
pub(super) async fn cut(state: Arc<Mutex<State>>, number: usize, after: Duration) {
    tokio::time::sleep(after).await;
    let mut state = lock(&state);
    let now = state.now();
    if let Some(line) = state.lines.get_mut(number).filter(|line| line.is_open()) {
        line.end(Piece::End, now, "cut by the edge");
    }
}

impl Line {
    /// Sends an event as it is, or with what goes wrong.
    fn deliver(&mut self, settings: &Settings, logged: Logged, fault: Option<Fault>, now: DateTime<Utc>, cut: f64) {
        let event = match &mut self.reader.shape {
            Shape::Plain => plain::event(settings, logged),
            Shape::Mastodon => mastodon::event(settings.seed, logged),
            Shape::Wikimedia(assignment) => wikimedia::event(assignment, logged),
        };
        match fault {
            None => self.write(event),
            Some(Fault::Twice) => {
                self.write(event.clone());
                self.write(event);
            }
            // A server that says where it is cannot send what is before that later, and be gone on from.
            Some(Fault::Late) if matches!(self.reader.shape, Shape::Plain) => self.write(event),
            Some(Fault::Late) if self.reader.late.is_none() => {
                self.reader.late = Some(event);
                return;
            }
            Some(fault) => self.go_wrong(fault, event, now, cut),
        }
        if self.is_open()
            && let Some(late) = self.reader.late.take()
        {
            self.write(late);
        }
    }

    /// Something goes wrong, with an event at hand. `cut`, from 0 to 1, says where it is torn.
    fn go_wrong(&mut self, fault: Fault, event: Vec<u8>, now: DateTime<Utc>, cut: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place within an event"
        )]
        let torn = || event[..(event.len() as f64 * cut) as usize].to_vec();
        match fault {
            Fault::End => return self.end(Piece::End, now, "ended in order"),
            Fault::TornClose => return self.tear(torn(), Piece::Close, now, "torn"),
            Fault::TornReset => return self.tear(torn(), Piece::Reset, now, "reset"),
            Fault::HalfOpen => return self.end(Piece::Hang, now, "half-open"),
            Fault::OnlyComments => return self.send(Out::OnlyQuiet),
            Fault::ErrorEvent => {
                self.write(wikimedia::error());
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
        self.write(before);
        self.write(event);
    }
}
