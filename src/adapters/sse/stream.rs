//! A stream of server-sent events as a source.

use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use serde_json::json;
use tokio::time::Instant;

use super::parse::{Data, Event, Parser};
use super::records::Records;
use super::settings::StartKeys;
use crate::context::Context;
use crate::cursor::Cursor;
use crate::fetch::live::{Live, NotOpen, Wants};
use crate::fetch::{Fetcher, LAST_EVENT_ID, Request};
use crate::message::{Made, undated};
use crate::resume::{Resumed, SoFar, Spot, is_about_the_place, not_filled};
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
    spot: Spot,
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
        self.spot = cursor.and_then(|cursor| cursor.read().ok()).unwrap_or_default();
        let refused = match self.ask().await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        // A place that the server does not know any more, or never did, would be refused for ever.
        if refused.status.is_none_or(|status| !is_about_the_place(status)) || self.spot.place.is_none() {
            return Err(refused.error);
        }
        let spot = std::mem::take(&mut self.spot);
        if self.ask().await.is_err() {
            return Err(refused.error);
        }
        let now = self.context.now();
        self.notes.push(not_filled(spot.heard_at.unwrap_or(now), now, &refused.words()));
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
        self.spot.place.as_ref()?;
        Cursor::new(&self.spot).ok()
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
            spot: Spot::default(),
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
        let is_begun = self.spot.place.is_some();
        let place = if is_begun { &self.spot.place } else { &start.id };
        let id = place.as_deref().and_then(header).filter(|_| *resumes);
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
        let resumed = if resumed { Resumed::new(&self.spot, None, self.context.now()) } else { None };
        let parser = Parser::new(self.terms.event_bytes_max);
        self.open = Some(Open { body, parser, has_more: false, resumed, was_quiet: false });
        Ok(())
    }

    /// Makes a batch of the events that are whole.
    fn take_events(&mut self) -> Batch {
        let Self { context, records, terms, spot, open, ending, retry, notes, .. } = self;
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
            if event.kind == ERROR && !terms.events.iter().any(|wanted| wanted == ERROR) {
                let words = words(&event);
                notes.push(Note::new("control", json!({ "why": words, "ends": true })));
                *ending = Some(SourceError::Failing(anyhow::anyhow!("the server says that it fails: {words}")));
                break;
            }
            let before = made.items.len();
            if terms.events.is_empty() || terms.events.iter().any(|wanted| *wanted == event.kind) {
                records.add(&event, &mut made);
            } else {
                made.ignored.add("events", 1);
            }
            if let (Some(resumed), Some(id)) = (&mut open.resumed, event.id) {
                let published_at = made.items[before..].first().and_then(|item| item.published_at);
                resumed.saw(id, published_at, comments);
            }
        }
        if let Some(id) = open.parser.last_id() {
            spot.stand_at(id, now);
        }
        *retry = open.parser.retry().map_or(*retry, |asked| Duration::from_millis(asked).clamp(RETRY_MIN, RETRY_MAX));
        let published_at = made.items.last().and_then(|item| item.published_at);
        let was_quiet = had_begun && open.was_quiet;
        let so_far = SoFar { now, published_at, signs: open.parser.comments(), was_quiet };
        if open.resumed.as_ref().is_some_and(|resumed| resumed.is_over(&so_far)) {
            notes.extend(open.resumed.take().and_then(|resumed| resumed.note(now)));
        }
        spot.missed_from = open.resumed.as_ref().and_then(Resumed::missed_from);
        if !made.items.is_empty() {
            self.undated = made.undated.take();
        }
        let Made { items, rejects, ignored, .. } = made;
        Batch { items, rejects, ignored, cursor: self.cursor(), ..Batch::default() }
    }
}

/// An id as it is sent back; `None` for one that no header can carry, which an id with a control character is.
fn header(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(id.as_bytes()).ok().filter(|_| !id.is_empty())
}

/// What an event says, for a person.
fn words(event: &Event<'_>) -> String {
    let (Data::Whole(text) | Data::TooLong(_, text)) = &event.data;
    text.chars().take(WORDS_MAX).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_back_as_it_came() {
        for id in ["[{\"topic\":\"a b\",\"timestamp\":1}]", "é\u{1f408}", "a\tb", " 1"] {
            assert_eq!(header(id).unwrap().as_bytes(), id.as_bytes());
        }
        assert!(header("").is_none() && header("a\u{1}b").is_none());
    }
}
