//! A fake X: the filtered stream of the API v2 with its rules, limits, errors and ways to recover, and the older
//! `statuses/filter`. Faithful where the documentation of X and the reports of its users tell what X does; where the two
//! contradict each other there is a switch.
//!
//! Posts are made at a set rate, or by a test one by one. Every post that matches a rule in force goes to a log, whether
//! anybody is connected or not: the log is the truth that a client is measured against, and what recovery replays.

mod endpoints;
mod faults;
mod legacy;
mod line;
mod replay;
mod state;
mod stored;

pub mod answers;
pub mod post;
pub mod rules;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::AbortHandle;

pub use self::faults::{Fault, Faults};
pub use self::legacy::enhance_your_calm;
pub use self::line::Coding;
pub use self::state::{Connection, Logged, Policy, StoredRule};
use super::oauth1::Keys;
use super::server::{Reply, Request, Server};
use super::{Options, Running, Simulator, Starting};
use post::Post;
use state::State;

/// The line of the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "x",
    about: "X: the filtered stream with rules, limits and recovery; the token is `simulated-token`",
    port: 8097,
    paths: &["/2/tweets/search/stream", "/2/tweets/search/stream/rules"],
    start,
};

fn start(options: &Options) -> Result<Starting, String> {
    let faults = Faults::named(options.seed, &options.faults.parse()?);
    let settings = Settings { seed: options.seed, every: Some(options.step), ..Settings::default() };
    let (listen, flood) = (options.listen, options.flood);
    Ok(Box::pin(async move {
        let x = X::start_at(listen, settings).await?;
        x.set_faults(faults);
        if flood > 0 {
            x.flood(flood);
        }
        Ok(Box::new(x) as Box<dyn Running>)
    }))
}

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How this X is.
#[derive(Clone)]
pub struct Settings {
    /// The bearer token that is right, and the keys that it is made for.
    pub token: String,
    /// An app's key.
    pub consumer_key: String,
    /// Its secret.
    pub consumer_secret: String,
    /// An account's token, and its secret, for the signed requests of v1.1.
    pub access_token: String,
    /// The secret.
    pub access_secret: String,
    /// What posts are made of.
    pub seed: u64,
    /// How often a post is made; `None` when only tests make them.
    pub every: Option<Duration>,
    /// How often there is a sign of life on a quiet stream.
    pub keep_alive: Duration,
    /// By how much a sign of life may be late, at the most.
    pub keep_alive_late: Duration,
    /// How long a client may leave bytes lying in its socket before its stream is ended.
    pub patience: Duration,
    /// How long until a new rule is in force.
    pub activation: Duration,
    /// How many streams one app may have.
    pub connections_max: usize,
    /// What becomes of one too many.
    pub policy: Policy,
    /// How many times in a quarter of an hour the stream may be asked for.
    pub connects_max: u64,
    /// How many rules there may be.
    pub rules_max: usize,
    /// How long a rule may be, in characters.
    pub rule_chars_max: usize,
    /// How many posts may be delivered at all.
    pub usage_cap: Option<u64>,
    /// Whether the account may use backfill and recovery windows.
    pub has_recovery: bool,
    /// What `backfill_minutes` counts in. A test that is in a hurry takes less than a minute.
    pub minute: Duration,
    /// How streams are cut into chunks.
    pub coding: Coding,
    /// The time of day.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: "simulated-token".into(),
            consumer_key: "simulated-key".into(),
            consumer_secret: "simulated-secret".into(),
            access_token: "1-simulated-access".into(),
            access_secret: "simulated-access-secret".into(),
            seed: 1,
            every: None,
            keep_alive: Duration::from_secs(20),
            keep_alive_late: Duration::ZERO,
            patience: Duration::from_mins(5),
            activation: Duration::ZERO,
            connections_max: 1,
            policy: Policy::Refuse,
            connects_max: 50,
            rules_max: 1000,
            rule_chars_max: 1024,
            usage_cap: None,
            has_recovery: true,
            minute: Duration::from_mins(1),
            coding: Coding::default(),
            #[expect(
                clippy::disallowed_methods,
                reason = "a fake shares nothing with what it tests, not even the clock"
            )]
            clock: Arc::new(Utc::now),
        }
    }
}

impl Settings {
    /// Who may sign requests.
    fn keys(&self) -> Keys {
        Keys {
            consumer_key: self.consumer_key.clone(),
            consumer_secret: self.consumer_secret.clone(),
            token: self.access_token.clone(),
            token_secret: self.access_secret.clone(),
        }
    }
}

/// A running X; it ends when this is dropped.
pub struct X {
    server: Server,
    state: Arc<Mutex<State>>,
    posting: Option<AbortHandle>,
}

impl Drop for X {
    fn drop(&mut self) {
        if let Some(posting) = &self.posting {
            posting.abort();
        }
    }
}

impl Running for X {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl X {
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
        let posting = every.map(|every| tokio::spawn(post_for_ever(Arc::clone(&state), every)).abort_handle());
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

    /// Changes how this X is.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.state).settings);
    }

    /// What goes wrong on streams, from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// The next requests for a stream get these answers.
    pub fn refuse_next(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state).refusals.extend(replies);
    }

    /// Makes a post with this text, and returns its id. It is delivered if a rule in force matches.
    pub fn publish(&self, text: &str) -> i64 {
        let mut state = lock(&self.state);
        let (number, now) = (state.next_number(), state.now());
        let post = Post::with_text(number, now, text);
        state.publish(post)
    }

    /// Makes the next post of the seed.
    pub fn publish_any(&self) -> i64 {
        lock(&self.state).publish_any()
    }

    /// Sends bytes as they are to every open stream.
    pub fn send_raw(&self, bytes: &[u8]) {
        lock(&self.state).send_raw(bytes);
    }

    /// Sends a message to every open stream, with what delimits it there.
    pub fn say(&self, json: &str) {
        lock(&self.state).say(json);
    }

    /// Makes this happen now on every open stream.
    pub fn fault_now(&self, fault: Fault) {
        lock(&self.state).fault_now(fault);
    }

    /// The next stream gets so many prepared posts of about 2 KB each, as fast as the client takes them, and then ends.
    pub fn flood(&self, posts: u64) {
        lock(&self.state).flood = Some(posts);
    }

    /// Adds a rule at once in force, as if somebody else had.
    pub fn add_rule(&self, value: &str, tag: Option<&str>) -> String {
        lock(&self.state).add_foreign(value, tag)
    }

    /// Deletes every rule.
    pub fn clear_rules(&self) {
        lock(&self.state).rules.clear();
    }

    /// The rules that are stored.
    pub fn rules(&self) -> Vec<StoredRule> {
        lock(&self.state).rules.clone()
    }

    /// Every post that a rule in force matched, in order: what a client should have.
    pub fn truth(&self) -> Vec<Logged> {
        lock(&self.state).log.iter().cloned().collect()
    }

    /// The connections of streams so far.
    pub fn connections(&self) -> Vec<Connection> {
        lock(&self.state).connections()
    }

    /// How many posts have been delivered.
    pub fn usage(&self) -> u64 {
        lock(&self.state).usage
    }
}

async fn post_for_ever(state: Arc<Mutex<State>>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_micros(100)));
    loop {
        ticks.tick().await;
        lock(&state).publish_any();
    }
}
