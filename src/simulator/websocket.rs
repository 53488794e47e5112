//! Fake servers of websockets: a plain one, Bluesky's Jetstream in both versions, Binance, Coinbase, Finnhub, Mastodon, as
//! their documents describe them. The log of events is the truth that a client is measured against, and what is replayed.

mod compress;
mod session;
mod shapes;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

pub use self::compress::dictionary;
pub use self::shapes::Logged;
use super::time::now;
use super::{Options, Running, Simulator, Starting, faults, starting};

/// The line of the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "websocket",
    about: "websockets: a plain stream, Bluesky's Jetstream, trades of Binance, Coinbase and Finnhub, Mastodon's",
    port: 8093,
    paths: &["/plain", "/subscribe", "/ws", "/coinbase", "/finnhub", "/api/v1/streaming?stream=public"],
    start,
};

fn start(options: &Options) -> Result<Starting, String> {
    let faults = options.faults.parse()?;
    let settings =
        Settings { every: Some(options.step), seed: options.seed, flood: options.flood, ..Settings::default() };
    let listen = options.listen;
    Ok(starting(async move {
        let websocket = Websocket::start_at(listen, settings).await?;
        websocket.set_faults(faults);
        Ok(websocket)
    }))
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends in the middle of a frame.
    Torn,
    /// It is reset there.
    Reset,
    /// Nothing comes any more, nothing is read, and it stays open.
    HalfOpen,
    /// It is closed with this code.
    Close(u16),
    /// The event comes twice.
    Twice,
    /// It comes after the next one.
    Late,
    /// It does not come at all.
    Hole,
    /// Before it a text that is not JSON.
    Garbage,
    /// Before it a message of 10 MB.
    Huge,
    /// It comes in three frames, with a ping between.
    Fragments,
    /// Before it a frame that no websocket has.
    Nonsense,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "torn" => Self::Torn,
            "reset" => Self::Reset,
            "half-open" => Self::HalfOpen,
            "twice" => Self::Twice,
            "late" => Self::Late,
            "hole" => Self::Hole,
            "garbage" => Self::Garbage,
            "huge" => Self::Huge,
            "fragments" => Self::Fragments,
            "nonsense" => Self::Nonsense,
            other => match other.strip_prefix("close=").and_then(|code| code.parse().ok()) {
                Some(code) => Self::Close(code),
                None => {
                    return Err(format!(
                        "`{other}` is no fault; there are torn, reset, half-open, close=1001, twice, late, hole, garbage, huge, \
                         fragments, nonsense"
                    ));
                }
            },
        })
    }
}

/// What goes wrong with the event of a number, while it is sent the first time.
pub type Faults = faults::Faults<Fault>;

/// How these servers are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What chances are made of.
    pub seed: u64,
    /// How often an event happens; `None` when only tests make them.
    pub every: Option<Duration>,
    /// How often there is a ping, and a heartbeat where a server has one.
    pub ping_every: Duration,
    /// At which age a connection is closed, whatever happens on it.
    pub close_after: Option<Duration>,
    /// How long a client may say nothing on a server that wants to be told first.
    pub patience: Duration,
    /// Whether what is said is agreed to.
    pub agrees: bool,
    /// In pieces of how many bytes messages are written; 0 is whole.
    pub piece: usize,
    /// How many events are kept for those who ask for what they have missed.
    pub kept: usize,
    /// The next connection gets so many prepared messages of 1 KB, as fast as they are taken, and a close.
    pub flood: u64,
    /// The number of the dictionary that Jetstream v2 compresses with, where it has one.
    pub dictionary: Option<u32>,
    /// Whether it knows nothing of it when it is asked for messages.
    pub refuses_dictionary: bool,
    /// Whether it takes any place for now, as one that has lost its memory does.
    pub forgets: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            every: None,
            ping_every: Duration::from_secs(20),
            close_after: None,
            patience: Duration::from_secs(5),
            agrees: true,
            piece: 0,
            kept: 1_000_000,
            flood: 0,
            dictionary: Some(compress::NUMBER),
            refuses_dictionary: false,
            forgets: false,
        }
    }
}

/// What was asked for and said on one connection.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The address that was asked for.
    pub target: String,
    /// The headers, by name.
    pub headers: Vec<(String, String)>,
    /// The texts that were said.
    pub said: Vec<String>,
    /// How many pings came, and how many pongs.
    pub pings: u64,
    /// Pongs to our pings.
    pub pongs: u64,
    /// The code of the client's close, where it sent one.
    pub closed: Option<u16>,
    /// How many messages were sent compressed.
    pub packed: u64,
    /// Whether it is over.
    pub is_over: bool,
}

struct State {
    settings: Settings,
    faults: Faults,
    log: VecDeque<Logged>,
    /// Which events have had their fault.
    troubled: u64,
    refusals: VecDeque<(u16, String)>,
    connections: Vec<Connection>,
    /// Counts up when something is to happen at once on every connection.
    now: u64,
    fault_now: Option<Fault>,
}

/// Running servers; they end when this is dropped.
pub struct Websocket {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

struct Shared {
    state: Mutex<State>,
    news: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Websocket {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Running for Websocket {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl State {
    fn publish(&mut self) -> u64 {
        let number = self.log.back().map_or(1, |last| last.number + 1);
        // Two events never have one time.
        let at = self.log.back().map_or_else(now, |last| now().max(last.at + chrono::TimeDelta::microseconds(1)));
        self.log.push_back(Logged { number, at });
        if self.log.len() > self.settings.kept {
            self.log.pop_front();
        }
        number
    }
}

impl Websocket {
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
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let every = settings.every;
        let state = State {
            settings,
            faults: Faults::default(),
            log: VecDeque::new(),
            troubled: 0,
            refusals: VecDeque::new(),
            connections: Vec::new(),
            now: 0,
            fault_now: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Notify::new() });
        let mut tasks = vec![tokio::spawn(serve(listener, Arc::clone(&shared))).abort_handle()];
        if let Some(every) = every {
            tasks.push(tokio::spawn(publish_for_ever(Arc::clone(&shared), every)).abort_handle());
        }
        Ok(Self { address, shared, tasks })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Changes how these servers are.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.lock().settings);
    }

    /// What goes wrong, from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// The next connections are refused with this status and body.
    pub fn refuse_next(&self, refusals: impl IntoIterator<Item = (u16, String)>) {
        self.shared.lock().refusals.extend(refusals);
    }

    /// Makes the next event, and returns its number.
    pub fn publish(&self) -> u64 {
        let number = self.shared.lock().publish();
        self.shared.news.notify_waiters();
        number
    }

    /// Makes this happen now on every open connection.
    pub fn fault_now(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.fault_now = Some(fault);
        state.now += 1;
        drop(state);
        self.shared.news.notify_waiters();
    }

    /// Every event that is kept, in order: what a client should have.
    pub fn truth(&self) -> Vec<Logged> {
        self.shared.lock().log.iter().copied().collect()
    }

    /// The connections so far.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.lock().connections.clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        while sessions.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                sessions.spawn(session::run(socket, Arc::clone(&shared)));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn publish_for_ever(shared: Arc<Shared>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_micros(100)));
    loop {
        ticks.tick().await;
        shared.lock().publish();
        shared.news.notify_waiters();
    }
}
