//! Websockets (RFC 6455): any server that sends messages in JSON, such as those of exchanges, Bluesky's Jetstream, Mastodon.
//!
//! Frames are tungstenite's, which passes Autobahn's suite; that a connection lives is for us to find out, because the
//! library neither pings nor ends what is silent. The cursor is the place by which upstream can go on (`resume`), with the
//! last numbers of sequences that outlive a connection. Without `resume`, what is missed stays a gap.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod decode;
mod dictionary;
mod open;
mod sequence;
mod settings;
mod socket;
mod stream;

use std::time::Duration;

use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use self::open::Terms;
pub use self::settings::{
    Binary, DictionaryKeys, DictionaryMap, Format, ResumeKeys, SequenceKeys, SequenceMap, SequenceScope,
};
use self::stream::Stream;
use crate::context::Context;
use crate::fetch::{AskKeys, Request, page_url};
use crate::message::{ConditionKeys, MessageKeys};
use crate::parts::Parts;
use crate::source::{Problem, Settings, Source};
use crate::units::{Size, Span};

/// The least time that makes sense of those that watch over a connection.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// The longest message that may be allowed.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// A websocket whose messages are records. It is kept alive, made again when it breaks, and told again what is subscribed to;
/// holes in upstream's own numbers stand in the ledger.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Websocket {
    /// The address, `wss://…` or `ws://…`.
    pub url: String,
    /// The protocols spoken above it, the preferred one first (`Sec-WebSocket-Protocol`).
    #[serde(default)]
    pub protocols: Vec<String>,
    /// Messages sent after each connection, in this order: a map or list is sent as JSON, a text as it is. Whatever proves who
    /// asks can stand there too: `{ type: auth, key: "${KEY}" }`.
    #[serde(default)]
    pub subscribe: Vec<Value>,
    /// By which messages upstream agrees to each of those sent, such as `{ /result: null, /id: { exists: true } }`. They are no
    /// records. Without it nothing is waited for.
    #[serde(default)]
    pub ack: Option<ConditionKeys>,
    /// How long is waited for that; 10s by default.
    #[serde(default = "settings::default_ack_within")]
    pub ack_within: Span,
    /// By which messages upstream says that something is wrong, such as `{ /type: error }`. The connection is given up, and made
    /// again later and later.
    #[serde(default)]
    pub errors: Vec<ConditionKeys>,
    /// After how long without any frame a ping is sent: 20s by default.
    #[serde(default = "settings::default_ping")]
    pub ping: Span,
    /// A message sent in place of a ping, for servers with a ping of their own: `{ method: ping }`.
    #[serde(default)]
    pub ping_message: Option<Value>,
    /// After how long without any frame the connection is dead: 30s by default. An answer to a ping is a frame.
    #[serde(default = "settings::default_idle")]
    pub idle: Span,
    /// The longest message, before and after decompression; 4MiB by default. A longer one ends the connection.
    #[serde(default = "settings::default_max_message")]
    pub max_message: Size,
    /// What messages are: `json`, the default, or `text`, which becomes a JSON string.
    #[serde(default)]
    pub format: Format,
    /// What binary messages are: the same as those of text (`plain`, the default), compressed with `zstd` or `gzip`, or `ignore`.
    #[serde(default)]
    pub binary: Binary,
    /// The dictionary that `binary: zstd` is made with: a file, an address that it is fetched from, or `{ from: https://…, query:
    /// zstdDictionary }`, where compressed messages come only from a server that is asked by this parameter for them.
    #[serde(default)]
    pub dictionary: Option<DictionaryKeys>,
    /// A number that goes up by one with each message, by which a hole is seen: `/sequence_num`, or `{ at: /t, per: /s, across:
    /// stream }` for one that outlives connections, of each `/s`.
    #[serde(default)]
    pub sequence: Option<SequenceKeys>,
    /// How upstream goes on after a break: `{ query: cursor, from: /time_us }` sends the greatest value of the place as this
    /// parameter. `rewind` is subtracted from it, for what comes out of order.
    #[serde(default)]
    pub resume: Option<ResumeKeys>,
    /// At which age a connection is replaced by a new one, before a server closes it that does so at a known age, such as `23h`.
    /// The old one ends once the new one delivers. It needs an `id`, because meanwhile messages come twice.
    #[serde(default)]
    pub rotate: Option<Span>,
    /// By which messages upstream announces that it will close, such as `{ /e: serverShutdown }`: the connection is replaced
    /// likewise.
    #[serde(default)]
    pub rotate_on: Option<ConditionKeys>,
    /// How the connection is asked for.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub ask: AskKeys,
    /// What its messages are made into.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub message: MessageKeys,
}

impl Websocket {
    /// The address as the request for the websocket has it.
    fn address(&self) -> Result<Url, String> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" => "http",
            "wss" => "https",
            _ => return Err("a websocket's address begins with wss:// or ws://".into()),
        };
        page_url(&format!("{scheme}://{rest}"))
    }

    fn request(&self) -> Result<Request, Vec<Problem>> {
        self.ask.request(self.address(), HeaderValue::from_static("*/*"), &|text| Ok(text.to_owned()))
    }

    /// Keys of asking that mean nothing here.
    fn foreign_problems(&self) -> Vec<Problem> {
        let given = [("method", self.ask.method.is_some()), ("body", self.ask.body.is_some())];
        let wrong = given.into_iter().filter(|(_, is_given)| *is_given);
        wrong
            .map(|(key, _)| {
                Problem::new([key], "a websocket is asked for by GET; what is said to it goes into `subscribe`")
            })
            .collect()
    }

    fn condition_problems(&self) -> Vec<Problem> {
        let one = |key: &'static str, condition: Option<&ConditionKeys>| {
            let problems = condition.into_iter().flat_map(ConditionKeys::problems);
            problems
                .map(move |problem| Problem::new([key.to_owned()].into_iter().chain(problem.path), problem.message))
                .collect::<Vec<_>>()
        };
        let mut problems = one("ack", self.ack.as_ref());
        problems.extend(one("rotate_on", self.rotate_on.as_ref()));
        for (index, condition) in self.errors.iter().enumerate() {
            problems.extend(condition.problems().into_iter().map(|problem| {
                Problem::new(["errors".to_owned(), index.to_string()].into_iter().chain(problem.path), problem.message)
            }));
        }
        problems
    }

    fn stream_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: &str| problems.push(Problem::new([key], message));
        if self.ping.0 < WATCH_MIN {
            wrong("ping", "too short; at least 1s");
        }
        if self.idle.0 <= self.ping.0 {
            wrong("idle", "it must be longer than `ping`, or every quiet connection is dead before it is asked");
        }
        if self.ack_within.0 < WATCH_MIN {
            wrong("ack_within", "too short; at least 1s");
        }
        if self.ack.is_some() && self.subscribe.is_empty() {
            wrong("ack", "nothing is sent that could be agreed to; write `subscribe`");
        }
        if !(1..=MESSAGE_BYTES_MAX).contains(&self.max_message.0) {
            wrong("max_message", "from 1 byte to 64MiB");
        }
        if self
            .protocols
            .iter()
            .any(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','))
        {
            wrong("protocols", "a protocol is one word of plain text");
        }
        if self.rotate.is_some_and(|age| age.0 < Duration::from_mins(1)) {
            wrong("rotate", "too short; at least 1m");
        }
        let rotates = self.rotate.is_some() || self.rotate_on.is_some();
        if rotates && self.message.id.is_none() {
            let key = if self.rotate.is_some() { "rotate" } else { "rotate_on" };
            wrong(key, "while a connection is replaced messages come twice; write the `id` that tells them");
        }
        if self.resume.is_some() && self.message.id.is_none() {
            wrong("resume", "what is sent again is known by its id; write the `id` that tells one record from another");
        }
        if self.dictionary.is_some() && self.binary != Binary::Zstd {
            wrong("dictionary", "a dictionary belongs to `binary: zstd`");
        }
        if self.format == Format::Text {
            let places =
                [("sequence", self.sequence.is_some()), ("resume", self.resume.is_some()), ("ack", self.ack.is_some())];
            places
                .into_iter()
                .filter(|(_, given)| *given)
                .for_each(|(key, _)| wrong(key, "a text has no places; leave it out, or write `format: json`"));
        }
        problems
    }
}

impl Settings for Websocket {
    const KIND: &'static str = "websocket";
    const ABOUT: &'static str = "messages of a websocket as they come, kept alive and subscribed";
    const EXAMPLE: &'static str = include_str!("websocket/example.yaml");
    const POLLED: bool = false;
    const REPLAYS: bool = true;

    fn read(value: Value) -> Result<Self, Vec<Problem>> {
        let mut parts = Parts::of(value);
        let (ask, message) = (parts.take(), parts.take());
        let own: Option<Self> = parts.rest();
        parts.end(ask.zip(message).zip(own).map(|((ask, message), own)| Self { ask, message, ..own }))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.request().err().unwrap_or_default();
        problems.extend(self.foreign_problems());
        problems.extend(self.message.problems());
        problems.extend(self.condition_problems());
        problems.extend(self.dictionary.iter().flat_map(DictionaryKeys::problems));
        problems.extend(self.sequence.iter().flat_map(SequenceKeys::problems));
        problems.extend(self.resume.iter().flat_map(ResumeKeys::problems));
        problems.extend(self.stream_problems());
        problems
    }

    fn upstream(&self) -> Vec<Url> {
        let dictionary = self.dictionary.iter().filter_map(|keys| keys.0.address());
        [self.address()].into_iter().chain(dictionary).flatten().collect()
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let terms = Terms::new(self, context)?;
        Ok(Box::new(Stream::new(context.clone(), terms)))
    }
}
