//! A stream of server-sent events as a source.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::parse::{Data, Event, Parser};
use super::records::Records;
use super::resume::{Place, Resumed, SoFar};
use super::settings::StartKeys;
use crate::context::Context;
use crate::cursor::Cursor;
use crate::fetch::live::{Live, NotOpen, Wants};
use crate::fetch::{Fetcher, LAST_EVENT_ID, Request};
use crate::message::{Made, undated};
use crate::record::time_text;
use crate::source::{Ailment, Batch, Note, Source, SourceError};

/// The most events of one batch.
const EVENTS_MAX: usize = 4096;

/// A server that says nothing for so long has nothing more to send again.
const QUIET: Duration = Duration::from_secs(3);

/// Times of reconnection that a server may ask for. Below is a tight loop, above an outage.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_mins(5);

/// How a server says that it fails, where that is no event like others: Wikimedia's does.
const ERROR: &str = "error";

/// How many characters of its words are shown.
const WORDS_MAX: usize = 300;

/// What a source's file says about its stream.
pub(super) struct Terms {
    pub(super) request: Request,
    pub(super) wants: Wants,
    /// Which types are wanted; all, if none is named.
    pub(super) events: Vec<String>,
    /// Whether the server is told the last id.
    pub(super) resumes: bool,
    pub(super) start: StartKeys,
    pub(super) event_bytes_max: usize,
}

/// The source.
pub(super) struct Stream {
    context: Context,
    fetcher: Fetcher,
    records: Records,
    terms: Terms,
    place: Place,
    open: Option<Open>,
    /// What the next call says: how the connection ended, after what came before.
    ending: Option<SourceError>,
    /// How long the server wants to be left alone after a connection.
    retry: Duration,
    notes: Vec<Note>,
    /// The last value that should have been a time, and was not.
    undated: Option<String>,
}

/// A connection.
struct Open {
    body: Live,
    parser: Parser,
    /// There may be events that have not been taken.
    has_more: bool,
    /// What was missed before it is being sent again, as far as that is known.
    resumed: Option<Resumed>,
    was_quiet: bool,
}

#[async_trait]
impl Source for Stream {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        self.open = None;
        self.ending = None;
        self.place = cursor.and_then(|cursor| cursor.read().ok()).unwrap_or_default();
        let refused = match self.ask().await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        // A place that the server does not know any more, or never did, would be refused for ever.
        if refused.status.is_none_or(|status| !is_about_the_place(status)) || self.place.last_event_id.is_none() {
            return Err(refused.error);
        }
        let place = std::mem::take(&mut self.place);
        if self.ask().await.is_err() {
            return Err(refused.error);
        }
        self.note_forgotten(&place, &refused.error);
        Ok(())
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        if let Some(error) = self.ending.take() {
            self.open = None;
            return Err(error);
        }
        let Some(open) = &mut self.open else { return Err(SourceError::Lost(anyhow::anyhow!("not connected"))) };
        if !open.has_more {
            let asked = Instant::now();
            match open.body.read().await {
                Ok(Some(bytes)) => open.parser.push(bytes),
                // What is left of an event is no event, and comes again where anything does.
                Ok(None) => {
                    self.open = None;
                    return Err(SourceError::Lost(anyhow::anyhow!("the server ended the stream")));
                }
                Err(error) => {
                    self.open = None;
                    return Err(error);
                }
            }
            open.was_quiet = asked.elapsed() >= QUIET;
        }
        Ok(self.take_events())
    }

    fn cursor(&self) -> Option<Cursor> {
        self.place.last_event_id.as_ref()?;
        Cursor::new(&self.place).ok()
    }

    fn rest(&self) -> Duration {
        self.retry
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn ailments(&self) -> Vec<Ailment> {
        self.undated.as_deref().map(undated).into_iter().collect()
    }
}

impl Stream {
    pub(super) fn new(context: Context, fetcher: Fetcher, records: Records, terms: Terms) -> Self {
        Self {
            context,
            fetcher,
            records,
            terms,
            place: Place::default(),
            open: None,
            ending: None,
            retry: Duration::ZERO,
            notes: Vec::new(),
            undated: None,
        }
    }

    /// Asks for the stream, from the place where it was read to.
    async fn ask(&mut self) -> Result<(), NotOpen> {
        let Terms { request, wants, start, resumes, .. } = &self.terms;
        let mut request = request.clone();
        let is_begun = self.place.last_event_id.is_some();
        let first = Place { last_event_id: start.id.clone(), ..Place::default() };
        let place = if is_begun { &self.place } else { &first };
        let id = place.header().filter(|_| *resumes);
        if !is_begun {
            let parameters = start.parameters(self.context.now());
            // Touching an address without parameters would give it an empty query.
            if !parameters.is_empty() {
                request.url.query_pairs_mut().extend_pairs(parameters);
            }
        }
        let resumed = id.is_some();
        request.headers.extend(id.map(|id| (LAST_EVENT_ID, id)));
        let body = self.fetcher.open(&request, wants).await?;
        let resumed = if resumed { Resumed::new(&self.place, self.context.now()) } else { None };
        let parser = Parser::new(self.terms.event_bytes_max);
        self.open = Some(Open { body, parser, has_more: false, resumed, was_quiet: false });
        Ok(())
    }

    /// The server does not know where we were: what was missed is missed.
    fn note_forgotten(&mut self, place: &Place, error: &SourceError) {
        let now = self.context.now();
        let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let from = time_text(&place.heard_at.unwrap_or(now));
        let data = json!({ "from": from, "to": time_text(&now), "by": "replay", "why": why, "again": false });
        self.notes.push(Note::new("not_filled", data));
    }

    /// Makes a batch of the events that are whole.
    fn take_events(&mut self) -> Batch {
        let Self { context, records, terms, place, open, ending, retry, notes, .. } = self;
        let Some(open) = open else { return Batch::default() };
        let now = context.now();
        let mut made = Made::default();
        let had_begun = open.resumed.as_ref().is_some_and(Resumed::has_begun);
        open.has_more = false;
        for number in 0..=EVENTS_MAX {
            if number == EVENTS_MAX {
                open.has_more = true;
                break;
            }
            let comments = open.parser.comments();
            let Some(event) = open.parser.next() else { break };
            if let (Some(resumed), Some(id)) = (&mut open.resumed, event.id) {
                resumed.saw(id, comments);
            }
            if event.kind == ERROR && !terms.events.iter().any(|wanted| wanted == ERROR) {
                let words = words(&event);
                notes.push(Note::new("control", json!({ "why": words, "ends": true })));
                *ending = Some(SourceError::Failing(anyhow::anyhow!("the server says that it fails: {words}")));
                break;
            }
            if terms.events.is_empty() || terms.events.iter().any(|wanted| *wanted == event.kind) {
                records.add(&event, &mut made);
            }
        }
        if let Some(id) = open.parser.last_id()
            && place.last_event_id.as_deref() != Some(id)
        {
            *place = Place { last_event_id: Some(id.to_owned()), heard_at: Some(now), ..place.clone() };
        }
        *retry = open.parser.retry().map_or(*retry, |asked| Duration::from_millis(asked).clamp(RETRY_MIN, RETRY_MAX));
        let published_at = made.items.last().and_then(|item| item.published_at);
        let was_quiet = had_begun && open.was_quiet;
        let so_far = SoFar { now, published_at, comments: open.parser.comments(), was_quiet };
        if open.resumed.as_ref().is_some_and(|resumed| resumed.is_over(&so_far)) {
            notes.extend(open.resumed.take().and_then(|resumed| resumed.note(now)));
        }
        place.missed_from = open.resumed.as_ref().and_then(Resumed::missed_from);
        if !made.items.is_empty() {
            self.undated = made.undated.take();
        }
        Batch { items: made.items, rejects: made.rejects, cursor: self.cursor(), ..Batch::default() }
    }
}

/// Statuses by which a server may say that it does not take the id.
fn is_about_the_place(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 410 | 412 | 416 | 422)
}

/// What an event says, for a person.
fn words(event: &Event<'_>) -> String {
    let (Data::Whole(text) | Data::TooLong(_, text)) = &event.data;
    text.chars().take(WORDS_MAX).collect::<String>().escape_debug().to_string()
}
