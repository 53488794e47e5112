//! Fake servers of server-sent events: a plain one that replays, one that speaks as Mastodon's streaming API does, and one as
//! Wikimedia's `EventStreams`. Faithful to what their own code and documents say, and to what their users report.
//!
//! Every event goes to one log, whether anybody is connected or not: it is the truth that a client is measured against, and
//! what is replayed. The same event looks on each path as that server would send it.

mod endpoints;
mod faults;
mod flood;
mod line;
mod mastodon;
mod plain;
mod state;
mod wikimedia;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::AbortHandle;

pub use self::faults::{Fault, Faults};
pub use self::line::Coding;
pub use self::state::{Connection, Logged};
use super::server::{Reply, Request, Server};
use super::{Options, Running, Simulator, Starting};
use state::State;

/// The line of the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "sse",
    about: "server-sent events: a plain stream, Mastodon's, whose token is `simulated-token`, and Wikimedia's",
    port: 8096,
    paths: &["/plain", "/api/v1/streaming/public", "/v2/stream/recentchange"],
    start,
};

fn start(options: &Options) -> Result<Starting, String> {
    let faults = Faults::named(options.seed, &options.faults.parse()?);
    let settings = Settings { seed: options.seed, every: Some(options.step), ..Settings::default() };
    let (listen, flood) = (options.listen, options.flood);
    Ok(Box::pin(async move {
        let sse = Sse::start_at(listen, settings).await?;
        sse.set_faults(faults);
        if flood > 0 {
            sse.flood(flood);
        }
        Ok(Box::new(sse) as Box<dyn Running>)
    }))
}

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How these servers are.
#[derive(Clone)]
pub struct Settings {
    /// The token of Mastodon's path.
    pub token: String,
    /// What events are made of.
    pub seed: u64,
    /// How often an event is made; `None` when only tests make them.
    pub every: Option<Duration>,
    /// How often there is a comment on a quiet stream. Wikimedia's has none.
    pub comment_every: Duration,
    /// After how long a stream is ended in order, whatever happens on it: the edge of Wikimedia does that after a quarter of
    /// an hour.
    pub cut_after: Option<Duration>,
    /// How many streams of Wikimedia's one address may have.
    pub connections_max: usize,
    /// What the plain server says that a client should wait before it comes again, in milliseconds.
    pub retry: Option<u64>,
    /// Whether the plain server has ids, and goes on after the last one.
    pub replays: bool,
    /// Whether it sends the event of that id once more.
    pub is_inclusive: bool,
    /// How long a client may leave bytes lying in its socket before its stream is ended.
    pub patience: Duration,
    /// How streams are cut into chunks.
    pub coding: Coding,
    /// The time of day.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: "simulated-token".into(),
            seed: 1,
            every: None,
            comment_every: Duration::from_secs(15),
            cut_after: Some(Duration::from_mins(15)),
            connections_max: 2,
            retry: None,
            replays: true,
            is_inclusive: false,
            patience: Duration::from_mins(5),
            coding: Coding::default(),
            #[expect(
                clippy::disallowed_methods,
                reason = "a fake shares nothing with what it tests, not even the clock"
            )]
            clock: Arc::new(Utc::now),
        }
    }
}

/// Running servers; they end when this is dropped.
pub struct Sse {
    server: Server,
    state: Arc<Mutex<State>>,
    posting: Option<AbortHandle>,
}

impl Drop for Sse {
    fn drop(&mut self) {
        if let Some(posting) = &self.posting {
            posting.abort();
        }
    }
}

impl Running for Sse {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sse {
    /// Opens on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, settings: Settings) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, port).into(), settings).await
    }

    /// Opens at an address.
    ///
    /// # Errors
    /// When the port is taken, or the machine does not have the address.
    pub async fn start_at(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let every = settings.every;
        let state = Arc::new(Mutex::new(State::new(settings)));
        let answering = Arc::clone(&state);
        let runtime = tokio::runtime::Handle::current();
        let handler = move |request: &Request| {
            let _entered = runtime.enter();
            endpoints::answer(&answering, request)
        };
        let server = Server::start_at(address, Arc::new(handler)).await?;
        let posting = every.map(|every| tokio::spawn(publish_for_ever(Arc::clone(&state), every)).abort_handle());
        Ok(Self { server, state, posting })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Changes how these servers are.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.state).settings);
    }

    /// What goes wrong, from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// The next requests for a stream get these answers.
    pub fn refuse_next(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state).refusals.extend(replies);
    }

    /// Makes the next event of the seed, and returns its number.
    pub fn publish(&self) -> u64 {
        lock(&self.state).publish()
    }

    /// Sends bytes as they are to every open stream.
    pub fn send_raw(&self, bytes: &[u8]) {
        lock(&self.state).send_raw(bytes);
    }

    /// Makes this happen now on every open stream.
    pub fn fault_now(&self, fault: Fault) {
        lock(&self.state).fault_now(fault);
    }

    /// The next stream gets so many prepared events of about 1 KB each, as fast as the client takes them, and then ends.
    pub fn flood(&self, events: u64) {
        lock(&self.state).flood = Some(events);
    }

    /// Every event, in order: what a client should have.
    pub fn truth(&self) -> Vec<Logged> {
        lock(&self.state).log.iter().copied().collect()
    }

    /// The streams so far.
    pub fn connections(&self) -> Vec<Connection> {
        lock(&self.state).connections()
    }
}

async fn publish_for_ever(state: Arc<Mutex<State>>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_micros(100)));
    loop {
        ticks.tick().await;
        lock(&state).publish();
    }
}
