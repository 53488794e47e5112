//! The source: what is asked at a tick, page by page, and what is remembered of it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::header::HeaderMap;
use serde::{Deserialize, Serialize};
use url::Url;

use super::settings::Json;
use super::since::compare;
use super::split::{Answered, Plan};
use crate::context::Context;
use crate::cursor::{Cursor, Recall};
use crate::fetch::{
    Answer, Body, Fetcher, Request, Validator, block, charset, decode, page_url, plain_words, source_error,
};
use crate::item::{Ignored, Item, Reject};
use crate::source::{Ailment, Batch, Outcome, Source, SourceError};
use crate::unique::{self, Seen};

/// The most bytes of the answers of one tick, as they come.
const BYTES_MAX: usize = 256 << 20;

/// What is saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// After an edit the same answer may mean other records.
    settings: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    validator: Option<Validator>,
    /// The last value that was given, and what it is the value of.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_of: Option<String>,
}

/// A source of this kind.
pub(super) struct Polled {
    json: Json,
    plan: Arc<Plan>,
    fetcher: Fetcher,
    context: Context,
    fingerprint: String,
    /// What was written, where each record is once.
    seen: Option<Seen>,
    slot: Option<DateTime<Utc>>,
    position: Position,
    /// The last answer that was wholly understood, where it has one page, and the hashes of its records.
    last: Option<(blake3::Hash, Vec<u64>)>,
    undated: Option<String>,
}

/// What a tick has brought so far.
#[derive(Default)]
struct Round {
    items: Vec<Item>,
    rejects: Vec<Reject>,
    ignored: Ignored,
    /// The values of each page to ask from.
    since: Vec<String>,
    /// Pages did not come, or were left out.
    is_part: bool,
    hash: Option<blake3::Hash>,
    validator: Option<Validator>,
    fresh: Duration,
    wait: Duration,
    bytes: usize,
}

/// An answer.
enum Page {
    NotModified(Validator, Duration),
    Again(Option<Validator>, Duration),
    Read(Box<Read>),
}

/// An answer that was read.
struct Read {
    answered: Answered,
    hash: blake3::Hash,
    validator: Option<Validator>,
    fresh: Duration,
    headers: HeaderMap,
    url: Url,
    bytes: usize,
}

impl Polled {
    pub(super) fn new(json: Json, context: &Context) -> anyhow::Result<Self> {
        let settings = serde_json::to_vec(&json)?;
        let site = page_url(&json.url).ok();
        Ok(Self {
            plan: Arc::new(Plan::new(&json, context.source())?),
            fetcher: json.ask.fetcher(context, site.as_ref())?,
            context: context.clone(),
            fingerprint: blake3::hash(&settings).to_hex()[..16].to_owned(),
            seen: json.once().map(|limits| Seen::new("id", context.source(), limits)),
            slot: None,
            position: Position::default(),
            last: None,
            undated: None,
            json,
        })
    }

    /// What `since` is of: at another address, or from another place, it would mean something else. A hash, because there may
    /// be keys in it.
    fn since_of(&self) -> Option<String> {
        let since = self.json.since.as_ref()?;
        let own = (&self.json.url, &self.json.ask.query, &self.json.ask.body, &since.from);
        let json = serde_json::to_vec(&own).unwrap_or_default();
        Some(blake3::hash(&json).to_hex()[..16].to_owned())
    }

    /// Whether an answer may be said to be the last one.
    fn is_single(&self) -> bool {
        self.json.pages.is_none()
    }

    async fn page(&mut self, request: &Request, is_first: bool) -> Result<Page, SourceError> {
        // Where ids are forgotten after a time, those that are sent have to be known.
        let keeps = self.json.once().is_some_and(|limits| limits.keep.is_some());
        let may_ask = self.is_single() && (!keeps || self.last.is_some());
        let condition = self.position.validator.as_ref().filter(|_| may_ask);
        let mut body = match self.fetcher.fetch(request, condition).await? {
            Answer::NotModified { validator, fresh, .. } => return Ok(Page::NotModified(validator, fresh)),
            Answer::Refused(status, body) => {
                let error = self.context.compute(move || source_error(status, body, plain_words)).await;
                return Err(error.unwrap_or_else(SourceError::Lost));
            }
            Answer::Page(body) => body,
        };
        let (hash, validator, fresh) = (blake3::hash(&body.bytes), body.validator.take(), body.fresh);
        if self.is_single() && self.last.as_ref().is_some_and(|(last, _)| *last == hash) {
            return Ok(Page::Again(validator, fresh));
        }
        let (headers, url, bytes) = (body.headers.clone(), body.url.clone(), body.bytes.len());
        let (plan, bytes_max) = (Arc::clone(&self.plan), self.json.ask.max_body.0);
        let answered = self.context.compute(move || read(&plan, body, bytes_max, is_first)).await;
        let answered = answered.and_then(|answered| answered).map_err(SourceError::Lost)?;
        if let Some(error) = &answered.error {
            return Err(SourceError::Lost(anyhow!("api_error: upstream says: {error}")));
        }
        Ok(Page::Read(Box::new(Read { answered, hash, validator, fresh, headers, url, bytes })))
    }

    /// The pages of a tick after the first. Nothing that is remembered changes here.
    async fn pages(&mut self, request: &Request, first: Page) -> Result<Round, SourceError> {
        let mut round = Round::default();
        let (mut page, mut visited, mut hashes) = (first, HashSet::new(), HashSet::new());
        visited.insert(request.url.clone());
        for index in 0.. {
            let Page::Read(read) = page else { break };
            let Read { answered, hash, validator, fresh, headers, url, bytes } = *read;
            // The last page again, or none of its own: that is how some sites end.
            let is_empty = answered.items.is_empty() && answered.rejects.is_empty();
            if !hashes.insert(hash) || (index > 0 && is_empty) {
                break;
            }
            let told = answered.told.clone();
            round.take(answered, index, self.json.pages.is_some());
            (round.hash, round.validator, round.fresh) = (Some(hash), validator, fresh);
            round.bytes += bytes;
            let Some(pages) = &self.json.pages else { break };
            let next = match pages.after(index, &request.url, &url, &headers, told.as_deref()) {
                Ok(Some(next)) if is_empty || !visited.insert(next.clone()) => break,
                Ok(Some(next)) => next,
                Ok(None) => {
                    round.is_part |= index + 1 >= pages.max && (told.is_some() || pages.place().is_none());
                    break;
                }
                Err(why) => {
                    round.fail(Outcome::Error, why, index + 1);
                    break;
                }
            };
            if round.bytes > BYTES_MAX {
                let why = format!(
                    "tick_too_large: the answers of a tick have at most {}",
                    bytesize::ByteSize(BYTES_MAX as u64)
                );
                round.fail(Outcome::Error, why, index + 1);
                break;
            }
            page = match self.page(&next_request(request, next), false).await {
                Ok(page) => page,
                // Where records are known by their ids, those that came are taken, and come to nothing the next time.
                Err(error) if self.seen.is_some() => {
                    round.failed(&error, index + 1);
                    break;
                }
                Err(error) => return Err(error),
            };
        }
        Ok(round)
    }

    /// What is to be written of a tick. Nothing here waits.
    fn settle(&mut self, round: Round) -> Result<Batch, SourceError> {
        let Round { items, mut rejects, ignored, since, is_part, hash, validator, fresh, wait, .. } = round;
        let mut shown = Vec::new();
        let items = match &mut self.seen {
            None => items,
            Some(seen) => once(seen, items, &mut rejects, &mut shown),
        };
        let is_whole = rejects.is_empty();
        // A value moves over what all came of: over what is missing only where pages go on from the least.
        let is_rising = since.windows(2).all(|pair| compare(&pair[0], &pair[1]) != Ordering::Greater);
        let has_failed = rejects.iter().any(|reject| matches!(reject.outcome, Outcome::Error | Outcome::Blocked));
        if let (Some(keys), true) = (&self.json.since, !has_failed && (!is_part || is_rising)) {
            let known = self.position.since.take();
            self.position.since = since.iter().fold(known, |known, value| Some(keys.later(known, value)));
        }
        self.last = hash.filter(|_| is_whole && self.is_single()).map(|hash| (hash, shown));
        self.position.validator = validator.filter(|_| is_whole && self.is_single());
        let outcome = (is_whole && items.is_empty()).then_some(Outcome::Unchanged);
        let fresh = if is_whole { fresh } else { Duration::ZERO };
        self.ready(Batch { items, rejects, wait, outcome, ignored, ..Batch::default() }, fresh)
    }

    /// The answer is the last one.
    fn again(&mut self, outcome: Outcome, validator: Option<Validator>, fresh: Duration) -> Result<Batch, SourceError> {
        self.position.validator = validator;
        if let (Some(seen), Some((_, shown))) = (&mut self.seen, &self.last) {
            // So that what is still sent is not forgotten.
            for hash in shown {
                seen.admit(*hash);
            }
        }
        self.ready(Batch { outcome: Some(outcome), ..Batch::default() }, fresh)
    }

    fn ready(&mut self, batch: Batch, fresh: Duration) -> Result<Batch, SourceError> {
        self.position.settings.clone_from(&self.fingerprint);
        self.position.since_of = self.since_of();
        let cursor = Cursor::new(&self.position).map_err(|error| SourceError::Lost(error.into()))?;
        let parts = self.seen.as_mut().map(Seen::parts).unwrap_or_default();
        let fresh = if self.json.ask.manners.max_age { fresh } else { Duration::ZERO };
        Ok(Batch { cursor: Some(cursor), parts, wait: batch.wait.max(fresh), ..batch })
    }
}

impl Round {
    fn take(&mut self, answered: Answered, index: u16, has_pages: bool) {
        let page = has_pages.then(|| name(index));
        self.items.extend(answered.items);
        self.rejects.extend(answered.rejects.into_iter().map(|reject| Reject { page: page.clone(), ..reject }));
        self.since.extend(answered.since);
        self.ignored.extend(&answered.ignored);
    }

    fn fail(&mut self, outcome: Outcome, why: String, index: u16) {
        self.is_part = true;
        self.rejects.push(Reject { page: Some(name(index)), ..Reject::new(outcome, None, why, "") });
    }

    fn failed(&mut self, error: &SourceError, index: u16) {
        let (outcome, why) = match error {
            SourceError::Throttled { wait, cause } => {
                self.wait = *wait;
                (Outcome::Blocked, format!("{cause:#}"))
            }
            SourceError::Blocked(cause) | SourceError::Limited(cause) | SourceError::Refused(cause) => {
                (Outcome::Blocked, format!("{cause:#}"))
            }
            SourceError::Lost(cause) | SourceError::Failing(cause) => (Outcome::Error, format!("{cause:#}")),
            SourceError::Silent { .. } | SourceError::Ended => (Outcome::Error, error.to_string()),
        };
        self.fail(outcome, why, index);
    }
}

/// What a page is called.
fn name(index: u16) -> String {
    format!("page={}", u32::from(index) + 1)
}

/// Those of the records that were never written.
fn once(seen: &mut Seen, items: Vec<Item>, rejects: &mut Vec<Reject>, shown: &mut Vec<u64>) -> Vec<Item> {
    let mut new = Vec::new();
    for item in items {
        let Some(hash) = item.id.as_deref().map(unique::hash) else {
            let reason = "no_id: there is nothing at `id`, by which one record is told from another";
            rejects.push(Reject::new(Outcome::Missing, Some("id".into()), reason, item.data.get()));
            continue;
        };
        shown.push(hash);
        if seen.admit(hash) {
            new.push(item);
        }
    }
    new
}

/// The request for another page. Another site is told nothing that is secret.
fn next_request(request: &Request, url: Url) -> Request {
    let is_own = url.origin() == request.url.origin();
    let headers = if is_own { request.headers.clone() } else { request.harmless_headers() };
    let auth = request.auth.clone().filter(|_| is_own);
    let payload = request.payload.clone().filter(|_| is_own);
    Request { url, payload, headers, auth, ..request.clone() }
}

/// What a body says.
fn read(plan: &Plan, body: Body, bytes_max: u64, is_first: bool) -> anyhow::Result<Answered> {
    let Body { bytes, codings, content_type, headers, .. } = body;
    let bytes = decode::decode(bytes, &codings, bytes_max)?;
    let text = charset::document(&bytes, None, content_type.as_deref());
    let mut answered = plan.read(&text, is_first);
    let guard = if answered.items.is_empty() { block::instead(&headers, &text) } else { None };
    if let Some(guard) = guard {
        for reject in &mut answered.rejects {
            reject.outcome = Outcome::Blocked;
            reject.reason = format!("blocked_by: {guard} sent a page instead of the answer; {}", reject.reason);
        }
    }
    Ok(answered)
}

#[async_trait]
impl Source for Polled {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        let saved: Position = cursor.and_then(|cursor| cursor.read().ok()).unwrap_or_default();
        let is_same = saved.settings == self.fingerprint;
        self.position = Position {
            settings: self.fingerprint.clone(),
            validator: saved.validator.filter(|_| is_same),
            since: saved.since.filter(|_| saved.since_of == self.since_of()),
            since_of: self.since_of(),
        };
        Ok(())
    }

    fn recall(&mut self, recall: Recall) {
        if let Some(seen) = &mut self.seen {
            seen.recall(&recall.parts, recall.written.iter().map(|id| unique::hash(id)), self.context.now());
        }
    }

    fn slot(&mut self, slot: DateTime<Utc>) {
        self.slot = Some(slot);
        self.fetcher.slot(slot);
    }

    fn ailments(&self) -> Vec<Ailment> {
        let say = |text: &String| Ailment {
            about: "published_at".into(),
            why: format!("`{}` is no time as the file says it", text.escape_debug()),
        };
        self.undated.iter().map(say).collect()
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        let now = self.context.now();
        if let Some(seen) = &mut self.seen {
            seen.begin(now);
        }
        let request =
            self.json.request(self.slot.unwrap_or(now), self.context.timezone(), self.position.since.as_deref());
        let request = request.map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            SourceError::Lost(anyhow!("{}", messages.join("; ")))
        })?;
        match self.page(&request, true).await? {
            Page::NotModified(validator, fresh) => self.again(Outcome::NotModified, Some(validator), fresh),
            Page::Again(validator, fresh) => self.again(Outcome::Unchanged, validator, fresh),
            first @ Page::Read(_) => {
                if let Page::Read(read) = &first {
                    self.undated.clone_from(&read.answered.undated);
                }
                let round = self.pages(&request, first).await?;
                self.settle(round)
            }
        }
    }
}
