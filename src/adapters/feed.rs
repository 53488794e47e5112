//! RSS, Atom and JSON Feed, polled: each item is written once, however often the feed shows it.
//!
//! The cursor is upstream's validator (`ETag`, `Last-Modified`) of the feed, from when it was last wholly understood; it is
//! saved with the records of that feed and never before. Which items were written is saved beside it (`unique`), in the same
//! frame: over restarts, and over a crash between records and cursor, each is there once.
//!
//! `token` reads whatever stands there as tags and texts, `split` takes a document apart into items that are in order, the crate
//! feed-rs reads each of them, `story` is what a record has, and `once` says which are new.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod date;
mod entity;
mod guard;
mod html;
mod json_feed;
mod names;
mod once;
mod read;
mod split;
mod story;
#[cfg(test)]
mod tests;
mod token;
mod write;

use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use encoding_rs::Encoding;
use http::header::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use self::once::{Edits, pick};
use self::read::{Reading, read};
use crate::context::Context;
use crate::cursor::{Cursor, Recall};
use crate::fetch::{Answer, AskKeys, Body, Fetcher, Filled, Names, Request, Validator, Values, block, charset, decode};
use crate::fetch::{page_url, plain_words, source_error};
use crate::item::Finding;
use crate::parts::Parts;
use crate::source::{Batch, Outcome, Problem, Settings, Source, SourceError};
use crate::unique::{Limits, REMEMBER, Seen, made_hash};
use crate::units::Span;

/// What is asked for.
const ACCEPT: HeaderValue = HeaderValue::from_static(
    "application/atom+xml,application/rss+xml,application/feed+json;q=0.9,application/rdf+xml;q=0.9,application/xml;q=0.8,*/*;q=0.5",
);

/// Reads a feed (RSS, Atom or JSON Feed) at set times, and writes each of its items once. [polling.md](../polling.md) says
/// what records have, and what becomes of feeds that are not in order.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// The feed's address, http or https. `{date:%Y-%m-%d}` is the day of the tick in the source's zone.
    pub url: String,
    /// How it is asked for.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub ask: AskKeys,
    /// Whether an item whose content is another than it was is written again, as a record of type `edit` with an id of its own.
    /// `false` by default.
    #[serde(default)]
    pub edits: bool,
    /// Whether the feed is left alone for as long as it says (`ttl`, `sy:updatePeriod`, `Cache-Control: max-age`), at most a
    /// day, also where `every` is shorter. `true` by default.
    #[serde(default = "yes")]
    pub ttl: bool,
    /// How many items are remembered at least: 100000 by default.
    #[serde(default = "default_remember")]
    #[schemars(range(min = 1000, max = 1_000_000))]
    pub remember: u32,
    /// How long an item is remembered that the feed does not show any more: `30d`. Then it is written as a new one if it comes
    /// again. Without it, for as long as `remember` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Span>,
    /// The feed's encoding, such as `windows-1251`, where it says a wrong one that cannot be recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The records' `type`; `item` by default.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
}

fn yes() -> bool {
    true
}

fn default_remember() -> u32 {
    REMEMBER
}

impl Feed {
    /// Where it asks at this scheduled time, and how.
    fn request(&self, at: DateTime<Utc>, timezone: chrono_tz::Tz) -> Result<Request, Vec<Problem>> {
        let names = Names { variables: &[], has_page: false };
        let values = Values { variables: &[], at, timezone, page: 1 };
        let fill = |text: &str| Filled::loose(text, names).map(|filled| filled.text(&values));
        let url = Filled::strict(&self.url, names).and_then(|filled| filled.address(&values));
        self.ask.request(url, ACCEPT, &fill)
    }

    fn limits(&self) -> Limits {
        Limits { remember: self.remember, keep: self.keep }
    }

    fn encoding(&self) -> Option<&'static Encoding> {
        self.encoding.as_deref().and_then(|label| Encoding::for_label(label.as_bytes()))
    }
}

impl Settings for Feed {
    const KIND: &'static str = "feed";
    const ABOUT: &'static str = "a feed (RSS, Atom, JSON Feed), read at set times; each item once";
    const EXAMPLE: &'static str = include_str!("feed/example.yaml");
    const POLLED: bool = true;

    fn read(value: serde_json::Value) -> Result<Self, Vec<Problem>> {
        let mut parts = Parts::of(value);
        let ask = parts.take();
        let own: Option<Self> = parts.rest();
        parts.end(ask.zip(own).map(|(ask, own)| Self { ask, ..own }))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.request(DateTime::UNIX_EPOCH, chrono_tz::Tz::UTC).err().unwrap_or_default();
        problems.extend(self.limits().problems("").into_iter().map(|mut problem| {
            problem.path.remove(0);
            problem
        }));
        if self.encoding.is_some() && self.encoding().is_none() {
            problems
                .push(Problem::new(["encoding"], "no encoding of the web; write one such as utf-8 or windows-1251"));
        }
        if self.record_type.as_ref().is_some_and(|name| name.trim().is_empty() || name == "edit") {
            problems.push(Problem::new(["type"], "the records' type is a word such as item, and not `edit`"));
        }
        problems
    }

    fn upstream(&self) -> Vec<Url> {
        self.request(DateTime::UNIX_EPOCH, chrono_tz::Tz::UTC).map(|request| request.url).into_iter().collect()
    }

    fn data_names(&self) -> Option<Vec<String>> {
        Some(story::NAMES.map(str::to_owned).to_vec())
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let json = serde_json::to_vec(&self)?;
        let site = page_url(&self.url).ok();
        Ok(Box::new(Polled {
            fetcher: self.ask.fetcher(context, site.as_ref())?,
            fingerprint: blake3::hash(&json).to_hex()[..16].to_owned(),
            seen: Seen::new("feed", context.source(), self.limits()),
            context: context.clone(),
            slot: None,
            position: Position::default(),
            last: None,
            feed: self,
        }))
    }
}

/// What is saved.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// After an edit the same feed may mean other records.
    settings: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    validator: Option<Validator>,
    /// For how long the feed wants to be left alone, in seconds.
    rest: u64,
    /// Whether the contents of items are known, too.
    edits: bool,
}

/// A source of this kind.
struct Polled {
    feed: Feed,
    fetcher: Fetcher,
    context: Context,
    fingerprint: String,
    seen: Seen,
    slot: Option<DateTime<Utc>>,
    position: Position,
    /// The last document that was wholly understood, and what it shows.
    last: Option<(blake3::Hash, Vec<u64>)>,
}

#[async_trait]
impl Source for Polled {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        let position: Position = cursor.and_then(|cursor| cursor.read().ok()).unwrap_or_default();
        let is_same = position.settings == self.fingerprint;
        self.position = Position { validator: position.validator.clone().filter(|_| is_same), ..position };
        Ok(())
    }

    fn recall(&mut self, recall: Recall) {
        let written = recall.written.iter().filter_map(|id| made_hash(id));
        self.seen.recall(&recall.parts, written, self.context.now());
    }

    fn slot(&mut self, slot: DateTime<Utc>) {
        self.slot = Some(slot);
        self.fetcher.slot(slot);
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        let now = self.context.now();
        self.seen.begin(now);
        let request = self.feed.request(self.slot.unwrap_or(now), self.context.timezone()).map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            SourceError::Lost(anyhow!("{}", messages.join("; ")))
        })?;
        // Where items are forgotten after a time, what is shown has to be known.
        let may_ask = self.feed.keep.is_none() || self.last.is_some();
        let condition = self.position.validator.as_ref().filter(|_| may_ask);
        match self.fetcher.fetch(&request, condition).await? {
            Answer::NotModified { validator, fresh, .. } => {
                self.position.validator = Some(validator);
                self.again(Outcome::NotModified, fresh)
            }
            Answer::Refused(status, body) => {
                let error = self.context.compute(move || source_error(status, body, plain_words)).await;
                Err(error.unwrap_or_else(SourceError::Lost))
            }
            Answer::Page(body) => self.page(body).await,
        }
    }

    async fn explain(&mut self) -> Result<(Batch, Vec<Finding>), SourceError> {
        Ok((self.next().await?, Vec::new()))
    }
}

impl Polled {
    /// A document that came.
    async fn page(&mut self, mut body: Body) -> Result<Batch, SourceError> {
        let (hash, validator, fresh) = (blake3::hash(&body.bytes), body.validator.take(), body.fresh);
        if self.last.as_ref().is_some_and(|(last, _)| *last == hash) {
            self.position.validator = validator;
            return self.again(Outcome::Unchanged, fresh);
        }
        let (encoding, bytes_max) = (self.feed.encoding(), self.feed.ask.max_body.0);
        let reading = self.context.compute(move || read_body(body, encoding, bytes_max)).await;
        let reading = reading.and_then(|reading| reading).map_err(SourceError::Lost)?;
        self.settle(reading, hash, validator, fresh)
    }

    /// What is to be written of a document. Nothing here waits.
    fn settle(
        &mut self,
        reading: Reading,
        hash: blake3::Hash,
        validator: Option<Validator>,
        fresh: Duration,
    ) -> Result<Batch, SourceError> {
        let Reading { stories, rejects, rest } = reading;
        let edits = match (self.feed.edits, self.position.edits) {
            (false, _) => Edits::Ignore,
            (true, false) => Edits::Learn,
            (true, true) => Edits::Write,
        };
        let kind = self.feed.record_type.as_deref().unwrap_or("item");
        let (items, shown) = pick(&mut self.seen, kind, stories, edits);
        let is_whole = rejects.is_empty();
        self.last = is_whole.then_some((hash, shown));
        self.position.validator = validator.filter(|_| is_whole);
        self.position.rest = rest.as_secs();
        self.position.edits = self.feed.edits;
        let outcome = (is_whole && items.is_empty()).then_some(Outcome::Unchanged);
        let batch = Batch { items, rejects, outcome, ..Batch::default() };
        self.ready(batch, if is_whole { fresh } else { Duration::ZERO })
    }

    /// The document is the last one.
    fn again(&mut self, outcome: Outcome, fresh: Duration) -> Result<Batch, SourceError> {
        // So that what is still shown is not forgotten.
        for hash in self.last.iter().flat_map(|(_, shown)| shown) {
            self.seen.admit(*hash);
        }
        self.ready(Batch { outcome: Some(outcome), ..Batch::default() }, fresh)
    }

    fn ready(&mut self, batch: Batch, fresh: Duration) -> Result<Batch, SourceError> {
        self.position.settings.clone_from(&self.fingerprint);
        let cursor = Cursor::new(&self.position).map_err(|error| SourceError::Lost(error.into()))?;
        let wait = if self.feed.ttl { fresh.max(Duration::from_secs(self.position.rest)) } else { Duration::ZERO };
        Ok(Batch { cursor: Some(cursor), parts: self.seen.parts(), wait, ..batch })
    }
}

/// What a body says.
fn read_body(body: Body, encoding: Option<&'static Encoding>, bytes_max: u64) -> anyhow::Result<Reading> {
    let Body { bytes, codings, content_type, headers, url, .. } = body;
    let bytes = decode::decode(bytes, &codings, bytes_max)?;
    let text = charset::document(&bytes, encoding, content_type.as_deref());
    let mut reading = read(&text, &url);
    let guard = if reading.stories.is_empty() { block::instead(&headers, &text) } else { None };
    if let Some(guard) = guard {
        for reject in &mut reading.rejects {
            reject.outcome = Outcome::Blocked;
            reject.reason = format!("blocked_by: {guard} sent a page instead of the feed; {}", reject.reason);
        }
    }
    Ok(reading)
}
