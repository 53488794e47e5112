//! Server-sent events: any stream of `text/event-stream`, such as those of Mastodon and Wikimedia.
//!
//! Facts: WHATWG HTML, "server-sent events"; the documents and the code of the servers that presets are for. The cursor is
//! the last event's id, as it came, with the moment at which it did: it is sent back as `Last-Event-ID`, and a server that
//! remembers goes on from there. Being in the cursor it is saved with the records before it. Of a server without ids there
//! is none, and what is missed stays a gap.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod parse;
mod records;
mod settings;
mod stream;

use std::time::Duration;

use http::HeaderValue;
use http::header::CACHE_CONTROL;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use self::records::Records;
pub use self::settings::{Compression, Resume, StartKeys};
use self::stream::{Stream, Terms};
use crate::context::Context;
use crate::fetch::live::Wants;
use crate::fetch::{AskKeys, Request, page_url};
use crate::message::MessageKeys;
use crate::parts::Parts;
use crate::source::{Problem, Settings, Source};
use crate::units::{Size, Span};

const MEDIA_TYPE: &str = "text/event-stream";

/// The least time without a byte after which a connection may be called dead.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// The longest event that may be allowed.
const EVENT_BYTES_MAX: u64 = 64 << 20;

/// A stream of server-sent events. What was missed while there was no connection is sent again by a server that gives its
/// events ids and remembers them. A record's type is its event's, and its `id` is made of its event's where the key `id` says
/// nothing; for a server that gives several events one id, say what tells them apart.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sse {
    /// The stream's address.
    pub url: String,
    /// Which types of events become records: `[update, delete]`. All by default; an event that names no type is of the type
    /// `message`. Others show that the server lives. An event `error` becomes one only where it is named here: otherwise the
    /// server says by it that it fails.
    #[serde(default)]
    pub events: Vec<String>,
    /// After how long without a byte the connection is dead: 60s by default. Comments count as life.
    #[serde(default = "settings::default_idle")]
    pub idle: Span,
    /// How it goes on after a break: by the `header`, which is the default, the server is told the id of the last event, as it
    /// was. `off` for a server that goes wrong by that.
    #[serde(default)]
    pub last_event_id: Resume,
    /// Where the stream begins when nothing was read yet: `{ query: { since: now-1h } }` or `{ id: "17" }`. Once an id has come
    /// that counts instead.
    #[serde(default)]
    pub start: StartKeys,
    /// The longest event, 4MiB by default. A longer one becomes a reject with its beginning.
    #[serde(default = "settings::default_max_event")]
    pub max_event: Size,
    /// How the stream is coded on its way: `off`, the default, or `gzip`, for a server that sends on at once what it
    /// compresses.
    #[serde(default)]
    pub compression: Compression,
    /// How the stream is asked for.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub ask: AskKeys,
    /// What its events are made into.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub message: MessageKeys,
}

impl Sse {
    fn address(&self) -> Result<Url, String> {
        page_url(&self.url)
    }

    fn request(&self) -> Result<Request, Vec<Problem>> {
        let mut request =
            self.ask.request(self.address(), HeaderValue::from_static(MEDIA_TYPE), &|text| Ok(text.to_owned()))?;
        // Some servers answer only when they have something to say.
        request.total = request.total.max(self.idle.0);
        request.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(request)
    }

    fn stream_problems(&self) -> Vec<Problem> {
        let Self { events, idle, max_event, start, last_event_id, .. } = self;
        let mut problems = Vec::new();
        if idle.0 < IDLE_MIN {
            problems.push(Problem::new(["idle"], "too short; at least 1s, and servers send a comment each 15s or so"));
        }
        if !(1..=EVENT_BYTES_MAX).contains(&max_event.0) {
            problems.push(Problem::new(["max_event"], "from 1 byte to 64MiB"));
        }
        if events.iter().any(String::is_empty) {
            problems
                .push(Problem::new(["events"], "name types of events, such as `update`; `message` is the usual one"));
        }
        problems.extend(start.problems());
        if start.id.is_some() && *last_event_id == Resume::Off {
            problems.push(Problem::new(["start", "id"], "it would be sent as Last-Event-ID, which is `off`"));
        }
        problems
    }
}

impl Settings for Sse {
    const KIND: &'static str = "sse";
    const ABOUT: &'static str = "server-sent events, gone on from where they were last read";
    const EXAMPLE: &'static str = include_str!("sse/example.yaml");
    const POLLED: bool = false;
    const REPLAYS: bool = true;

    fn read(value: serde_json::Value) -> Result<Self, Vec<Problem>> {
        let mut parts = Parts::of(value);
        let (ask, message) = (parts.take(), parts.take());
        let own: Option<Self> = parts.rest();
        parts.end(ask.zip(message).zip(own).map(|((ask, message), own)| Self { ask, message, ..own }))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.request().err().unwrap_or_default();
        problems.extend(self.message.problems());
        problems.extend(self.stream_problems());
        problems
    }

    fn upstream(&self) -> Vec<Url> {
        self.address().into_iter().collect()
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let wrong = |problems: Vec<Problem>| {
            let words: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            anyhow::anyhow!(words.join("; "))
        };
        let request = self.request().map_err(wrong)?;
        let fetcher = self.ask.fetcher(context, Some(&request.url))?;
        let records = Records::new(&self.message, context.source())?;
        let Self { events, idle, last_event_id, start, max_event, compression, .. } = self;
        let wants = Wants { idle: idle.0, gzip: compression == Compression::Gzip, media_type: MEDIA_TYPE };
        let terms = Terms {
            request,
            wants,
            events,
            resumes: last_event_id == Resume::Header,
            start,
            event_bytes_max: usize::try_from(max_event.0).unwrap_or(usize::MAX),
        };
        Ok(Box::new(Stream::new(context.clone(), fetcher, records, terms)))
    }
}
