//! A fake X: the filtered stream of the API v2 with its rules, limits, errors and ways to recover, and the older
//! `statuses/filter`. Faithful where the documentation of X and the reports of its users tell what X does; where the two
//! contradict each other there is a switch.
//!
//! Posts are made at a set rate, or by a test one by one. Those that match a rule in force go to the log.

mod endpoints;
mod faults;
mod legacy;
mod replay;
mod state;
mod stored;

pub mod answers;
pub mod post;
pub mod rules;

use std::sync::Arc;
use std::time::Duration;

pub use self::faults::{Fault, Faults};
pub use self::legacy::enhance_your_calm;
pub use self::state::{Account, Logged, Policy, StoredRule};
pub use super::line::Coding;
use super::oauth1::Keys;
pub use super::time::Clock;
pub use super::upstream::Connection;
use super::upstream::{self, Upstream};
use super::{Simulator, time};
use post::Post;

/// The line of the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "x",
    about: "X: the filtered stream with rules, limits and recovery; the token is `simulated-token`",
    port: 8097,
    paths: &["/2/tweets/search/stream", "/2/tweets/search/stream/rules"],
    start: upstream::start::<Account>,
};

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
    /// How streams are cut into chunks.
    pub coding: Coding,
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
            coding: Coding::default(),
            activation: Duration::ZERO,
            connections_max: 1,
            policy: Policy::Refuse,
            connects_max: 50,
            rules_max: 1000,
            rule_chars_max: 1024,
            usage_cap: None,
            has_recovery: true,
            minute: Duration::from_mins(1),
            clock: Arc::new(time::now),
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
pub type X = Upstream<Account>;

impl X {
    /// Makes a post with this text, and returns its id. It is delivered if a rule in force matches.
    pub fn publish(&self, text: &str) -> i64 {
        let mut state = self.lock();
        let (number, now) = (state.next_number(), state.now());
        state.publish(Post::with_text(number, now, text))
    }

    /// Makes the next post of the seed.
    pub fn publish_any(&self) -> i64 {
        self.lock().publish_any()
    }

    /// Sends a message to every open stream, with what delimits it there.
    pub fn say(&self, json: &str) {
        self.lock().open_lines().for_each(|line| line.say(json));
    }

    /// Adds a rule at once in force, as if somebody else had.
    pub fn add_rule(&self, value: &str, tag: Option<&str>) -> String {
        self.lock().add_foreign(value, tag)
    }

    /// Deletes every rule.
    pub fn clear_rules(&self) {
        self.lock().own.rules.clear();
    }

    /// The rules that are stored.
    pub fn rules(&self) -> Vec<StoredRule> {
        self.lock().own.rules.clone()
    }

    /// How many posts have been delivered.
    pub fn usage(&self) -> u64 {
        self.lock().own.usage
    }
}
