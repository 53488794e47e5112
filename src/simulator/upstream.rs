//! What the fakes of endless streams share: the log of what happened, the streams that are open, what goes wrong on them, and
//! what a test sees and does. What is sent, to whom and in which form is each one's own.
//!
//! Everything goes to the log, whether anybody is connected or not: it is the truth that a client is measured against, and
//! what is replayed.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;

use super::faults::streams::{Faults, OfStream};
use super::line::{self, Manner, Out};
use super::server::{Answer, Reply, Request, Server};
use super::stream::Piece;
use super::{Options, Running, Starting, starting};

/// How many records are remembered.
const LOG_MAX: usize = 2_000_000;

/// 10 MB: more than a client should take.
pub(super) const HUGE: usize = 10_000_000;

/// One of these fakes: what it has beside what all have.
pub trait Kind: Sized + Send + 'static {
    /// How it is.
    type Settings: Send;
    /// What may go wrong.
    type Fault: OfStream;
    /// What is remembered of a record.
    type Logged: Clone + Send;
    /// What is remembered of whoever reads a stream.
    type Reader: Send;

    /// Before anything has happened.
    fn new(settings: &Self::Settings) -> Self;

    /// For the command line: what is made of this seed, so often.
    fn settings(seed: u64, every: Duration) -> Self::Settings;

    /// How often a record is made; `None` when only tests make them.
    fn every(settings: &Self::Settings) -> Option<Duration>;

    /// The time of day.
    fn now(settings: &Self::Settings) -> DateTime<Utc>;

    /// Answers a request.
    fn answer(state: &Shared<Self>, request: &Request) -> Answer;

    /// Makes the next record of the seed.
    fn publish_next(state: &mut State<Self>);

    /// Makes this happen now on every open stream.
    fn fault_now(state: &mut State<Self>, fault: Self::Fault);
}

/// What requests and tests see of one.
pub type Shared<K> = Arc<Mutex<State<K>>>;

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
}

/// A stream, as the server has it.
pub struct Line<K: Kind> {
    pub(super) connection: Connection,
    pub(super) reader: K::Reader,
    sender: UnboundedSender<Out>,
}

impl<K: Kind> Line<K> {
    pub(super) fn is_open(&self) -> bool {
        self.connection.closed_at.is_none() && !self.sender.is_closed()
    }

    pub(super) fn send(&self, out: Out) {
        // A client that is gone is noticed elsewhere.
        self.sender.send(out).ok();
    }

    pub(super) fn write(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.send(Out::Bytes(bytes));
        }
    }

    fn close(&mut self, now: DateTime<Utc>, why: &str) {
        self.connection.closed_at = Some(now);
        self.connection.why = Some(why.to_owned());
    }

    pub(super) fn end(&mut self, piece: Piece, now: DateTime<Utc>, why: &str) {
        self.send(Out::End(piece));
        self.close(now, why);
    }

    /// Ends in the middle of a message, behind these bytes of it.
    pub(super) fn tear(&mut self, bytes: Vec<u8>, piece: Piece, now: DateTime<Utc>, why: &str) {
        self.send(Out::Torn(bytes, piece));
        self.close(now, why);
    }
}

/// Everything that one knows: what has happened, and who is connected.
pub struct State<K: Kind> {
    pub(super) settings: K::Settings,
    pub(super) log: VecDeque<K::Logged>,
    pub(super) lines: Vec<Line<K>>,
    pub(super) faults: Faults<K::Fault>,
    pub(super) flood: Option<u64>,
    pub(super) own: K,
    refusals: VecDeque<Reply>,
    number: u64,
}

impl<K: Kind> State<K> {
    pub(super) fn new(settings: K::Settings) -> Self {
        Self {
            own: K::new(&settings),
            settings,
            log: VecDeque::new(),
            lines: Vec::new(),
            faults: Faults::default(),
            flood: None,
            refusals: VecDeque::new(),
            number: 0,
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        K::now(&self.settings)
    }

    /// The number of the record that is made next, counted from 1.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn remember(&mut self, logged: K::Logged) {
        self.log.push_back(logged);
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }

    /// The answer in place of a stream, where a test or a fault has one.
    pub(super) fn refusal(&mut self, fault: Option<K::Fault>) -> Option<Reply> {
        self.refusals.pop_front().or_else(|| fault?.refusal())
    }

    /// A stream that is not yet among the others.
    pub(super) fn line(
        &self,
        request: &Request,
        manner: Manner,
        reader: K::Reader,
    ) -> (Line<K>, UnboundedReceiver<Piece>) {
        let (sender, pieces) = line::start(manner);
        let connection = Connection {
            path: request.path.clone(),
            last_event_id: request.header("last-event-id").map(str::to_owned),
            opened_at: self.now(),
            closed_at: None,
            why: None,
        };
        (Line { connection, reader, sender }, pieces)
    }

    /// The open streams; clients that have gone away are noticed before.
    pub(super) fn open_lines(&mut self) -> impl Iterator<Item = &mut Line<K>> {
        self.notice_gone();
        self.lines.iter_mut().filter(|line| line.is_open())
    }

    pub(super) fn notice_gone(&mut self) {
        let now = self.now();
        for line in &mut self.lines {
            if line.connection.closed_at.is_none() && line.sender.is_closed() {
                line.close(now, "the client went away");
            }
        }
    }
}

/// A running one; it ends when this is dropped.
pub struct Upstream<K: Kind> {
    server: Server,
    state: Shared<K>,
    publishing: Option<AbortHandle>,
}

impl<K: Kind> Drop for Upstream<K> {
    fn drop(&mut self) {
        if let Some(publishing) = &self.publishing {
            publishing.abort();
        }
    }
}

impl<K: Kind> Running for Upstream<K> {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

pub(super) fn lock<K: Kind>(state: &Mutex<State<K>>) -> MutexGuard<'_, State<K>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One as the command line asks for it.
pub(super) fn start<K: Kind>(options: &Options) -> Result<Starting, String> {
    let faults = Faults::named(options.seed, &options.faults.parse()?);
    let settings = K::settings(options.seed, options.step);
    let (listen, flood) = (options.listen, options.flood);
    Ok(starting(async move {
        let upstream = Upstream::<K>::start_at(listen, settings).await?;
        upstream.set_faults(faults);
        if flood > 0 {
            upstream.flood(flood);
        }
        Ok(upstream)
    }))
}

impl<K: Kind> Upstream<K> {
    /// Opens on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, settings: K::Settings) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, port).into(), settings).await
    }

    /// Opens at an address.
    ///
    /// # Errors
    /// When the port is taken, or the machine does not have the address.
    pub async fn start_at(address: SocketAddr, settings: K::Settings) -> io::Result<Self> {
        let every = K::every(&settings);
        let state = Arc::new(Mutex::new(State::new(settings)));
        let answering = Arc::clone(&state);
        let runtime = tokio::runtime::Handle::current();
        let handler = move |request: &Request| {
            let _entered = runtime.enter();
            K::answer(&answering, request)
        };
        let server = Server::start_at(address, Arc::new(handler)).await?;
        let publishing = every.map(|every| tokio::spawn(publish_for_ever(Arc::clone(&state), every)).abort_handle());
        Ok(Self { server, state, publishing })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<K>> {
        lock(&self.state)
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Changes how it is.
    pub fn set(&self, change: impl FnOnce(&mut K::Settings)) {
        change(&mut self.lock().settings);
    }

    /// What goes wrong, from now on.
    pub fn set_faults(&self, faults: Faults<K::Fault>) {
        self.lock().faults = faults;
    }

    /// The next requests for a stream get these answers.
    pub fn refuse_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.lock().refusals.extend(replies);
    }

    /// Sends bytes as they are to every open stream.
    pub fn send_raw(&self, bytes: &[u8]) {
        self.lock().open_lines().for_each(|line| line.write(bytes.to_vec()));
    }

    /// Makes this happen now on every open stream.
    pub fn fault_now(&self, fault: K::Fault) {
        K::fault_now(&mut self.lock(), fault);
    }

    /// The next stream gets so many prepared records of 1 or 2 KB each, as fast as the client takes them, and then ends.
    pub fn flood(&self, records: u64) {
        self.lock().flood = Some(records);
    }

    /// Every record that somebody was to have, in order: what a client should have.
    pub fn truth(&self) -> Vec<K::Logged> {
        self.lock().log.iter().cloned().collect()
    }

    /// The streams so far.
    pub fn connections(&self) -> Vec<Connection> {
        let mut state = self.lock();
        state.notice_gone();
        state.lines.iter().map(|line| line.connection.clone()).collect()
    }
}

async fn publish_for_ever<K: Kind>(state: Shared<K>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_micros(100)));
    loop {
        ticks.tick().await;
        K::publish_next(&mut lock(&state));
    }
}
