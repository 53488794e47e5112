//! A websocket as a source.

mod rotate;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use super::open::{Open, Terms, open, said_no};
use super::sequence::{HOLES_MAX, Seen, Sequences};
use super::settings::SequenceScope;
use super::socket::Incoming;
use crate::context::Context;
use crate::cursor::Cursor;
use crate::fetch::live::NotOpen;
use crate::item::{Reject, cut_raw};
use crate::message::{Found, Made, text_of, undated};
use crate::outcome::Outcome;
use crate::resume::{First, Resumed, SoFar, Spot, is_about_the_place, not_filled};
use crate::source::{Ailment, Batch, Note, Source, SourceError};

/// The most messages of one batch, and about so many bytes.
const MESSAGES_MAX: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;

/// How long the old connection is kept once there is a new one that delivers.
const OVERLAP: Duration = Duration::from_secs(2);

/// A server that sends nothing for so long has nothing more to send again.
const QUIET: Duration = Duration::from_secs(3);

type Opening = Pin<Box<dyn Future<Output = Result<Open, NotOpen>> + Send>>;

/// Where the source stands: the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Standing {
    #[serde(flatten)]
    spot: Spot,
    /// The last numbers of sequences that outlive a connection.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sequences: BTreeMap<String, u64>,
}

/// The source.
pub(super) struct Stream {
    context: Context,
    terms: Arc<Terms>,
    spot: Spot,
    open: Option<Open>,
    /// The connection that is being made to replace it.
    opening: Option<Opening>,
    /// The one that it replaces, and until when that is kept.
    old: Option<(Open, Instant)>,
    /// When the last message came.
    heard: Instant,
    /// When the connection is to be replaced.
    rotate_at: Option<Instant>,
    /// Of a sequence that outlives connections.
    sequences: Sequences,
    /// What the next call says: how the connection ended, after what came before.
    ending: Option<SourceError>,
    notes: Vec<Note>,
    undated: Option<String>,
    /// It was not said yet that there are too many sequences.
    is_watching_all: bool,
    /// Why messages were not compressed on the connection before.
    plain_because: Option<String>,
}

/// What is made of messages.
#[derive(Default)]
struct Taking {
    made: Made,
    holes: usize,
    messages: usize,
    bytes: usize,
    rotates: bool,
    /// Nothing came for long before it.
    was_quiet: bool,
}

#[async_trait]
impl Source for Stream {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        (self.open, self.old, self.opening, self.ending) = (None, None, None, None);
        let standing: Standing = cursor.and_then(|cursor| cursor.read().ok()).unwrap_or_default();
        self.spot = standing.spot;
        self.sequences = Sequences::of(&standing.sequences, self.context.now());
        let refused = match self.make(self.spot.clone()).await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        // A place that upstream does not know any more would be refused for ever.
        if self.spot.place.is_none() || self.terms.resume.is_none() || !refused.status.is_some_and(is_about_the_place) {
            return Err(refused.error);
        }
        if self.make(Spot::default()).await.is_err() {
            return Err(refused.error);
        }
        let now = self.context.now();
        self.notes.push(not_filled(self.spot.heard_at.unwrap_or(now), now, &refused.words()));
        self.spot = Spot::default();
        Ok(())
    }

    fn cursor(&self) -> Option<Cursor> {
        let across = self.terms.sequence.as_ref().map(|(.., across)| *across);
        let goes_on = across == Some(SequenceScope::Stream);
        let sequences = if goes_on { self.sequences.saved() } else { BTreeMap::new() };
        let standing = Standing { spot: self.spot.clone(), sequences };
        if standing == Standing::default() { None } else { Cursor::new(&standing).ok() }
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        if let Some(error) = self.ending.take() {
            self.open = None;
            return Err(error);
        }
        self.rotate();
        self.let_go();
        let Some((incoming, is_old)) = self.incoming().await? else {
            let was_quiet = self.was_quiet();
            self.end_replay(&Taking { was_quiet, ..Taking::default() });
            return Ok(Batch { cursor: self.cursor(), ..Batch::default() });
        };
        if let Some((_, until)) = self.old.as_mut().filter(|_| !is_old) {
            // The new one delivers: what the old one still has on its way is there in a moment.
            *until = (*until).min(Instant::now() + OVERLAP);
        }
        Ok(self.take(incoming, is_old))
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn ailments(&self) -> Vec<Ailment> {
        self.undated.as_deref().map(undated).into_iter().collect()
    }
}

impl Stream {
    pub(super) fn new(context: Context, terms: Terms) -> Self {
        Self {
            context,
            terms: Arc::new(terms),
            spot: Spot::default(),
            open: None,
            opening: None,
            old: None,
            heard: Instant::now(),
            rotate_at: None,
            sequences: Sequences::default(),
            ending: None,
            notes: Vec::new(),
            undated: None,
            is_watching_all: true,
            plain_because: None,
        }
    }

    async fn make(&mut self, spot: Spot) -> Result<(), NotOpen> {
        let made = open(Arc::clone(&self.terms), self.context.clone(), spot).await?;
        self.rotate_at = self.terms.rotate.map(|age| made.since + age);
        self.say_plain(&made);
        self.open = Some(made);
        Ok(())
    }

    /// What comes next: from the connection, or from the one that it replaces, which is then said. `None` when something
    /// else has happened.
    async fn incoming(&mut self) -> Result<Option<(Incoming, bool)>, SourceError> {
        let Some(current) = &mut self.open else { return Err(SourceError::Lost(anyhow::anyhow!("not connected"))) };
        if let Some(early) = current.early.pop_front() {
            return Ok(Some((early, false)));
        }
        // Upstream has nothing more to send again once there is a pause.
        let paused = current.resumed.as_ref().filter(|resumed| resumed.has_begun()).map(|_| self.heard + QUIET);
        let until = self.rotate_at.into_iter().chain(paused).min();
        if let Some(opening) = &mut self.opening {
            tokio::select! {
                incoming = current.socket.next(None) => match incoming {
                    Ok(incoming) => return Ok(incoming.map(|incoming| (incoming, false))),
                    // The server was faster; the new one is waited for, and it is the driver that counts the time between.
                    Err(error) => { self.opening = None; return Err(error); }
                },
                made = opening => { self.opening = None; self.replace(made); return Ok(None); }
            }
        }
        let Some((old, kept_until)) = &mut self.old else {
            return Ok(current.socket.next(until).await?.map(|incoming| (incoming, false)));
        };
        let kept_until = *kept_until;
        tokio::select! {
            incoming = current.socket.next(Some(kept_until)) => match incoming? {
                Some(incoming) => Ok(Some((incoming, false))),
                None => Ok(None),
            },
            incoming = old.socket.next(None) => {
                if let Ok(Some(incoming)) = incoming { Ok(Some((incoming, true))) } else {
                    // Its end is what the new one was made for.
                    self.old = None;
                    Ok(None)
                }
            }
        }
    }

    /// Makes a batch of what has come.
    fn take(&mut self, first: Incoming, is_old: bool) -> Batch {
        let mut taking = Taking { was_quiet: self.was_quiet(), ..Taking::default() };
        self.heard = Instant::now();
        let mut next = Some(first);
        while let Some(incoming) = next.take() {
            self.take_one(&incoming, is_old, &mut taking);
            let is_full = taking.messages >= MESSAGES_MAX || taking.bytes >= BATCH_BYTES || taking.holes >= HOLES_MAX;
            if self.ending.is_some() || is_full {
                break;
            }
            next = self.ready(is_old);
        }
        if taking.rotates && self.old.is_none() && self.opening.is_none() {
            self.rotate_at = Some(Instant::now());
        }
        self.end_replay(&taking);
        let Made { items, rejects, undated, ignored } = taking.made;
        if !items.is_empty() {
            self.undated = undated;
        }
        Batch { items, rejects, ignored, cursor: self.cursor(), ..Batch::default() }
    }

    /// What is there already.
    fn ready(&mut self, is_old: bool) -> Option<Incoming> {
        let open = if is_old { self.old.as_mut().map(|(old, _)| old) } else { self.open.as_mut() }?;
        if let Some(early) = open.early.pop_front() {
            return Some(early);
        }
        match open.socket.ready() {
            Ok(incoming) => incoming,
            Err(_) if is_old => {
                self.old = None;
                None
            }
            Err(error) => {
                self.ending = Some(error);
                None
            }
        }
    }

    fn take_one(&mut self, incoming: &Incoming, is_old: bool, taking: &mut Taking) {
        let terms = Arc::clone(&self.terms);
        taking.messages += 1;
        let text = match incoming {
            Incoming::Text(text) => Cow::Borrowed(text.as_str()),
            Incoming::Binary(bytes) => match self.decoded(bytes, is_old) {
                Ok(Some(text)) => text,
                Ok(None) => return taking.made.ignored.add("binary", 1),
                Err(why) => {
                    let raw = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
                    taking.made.rejects.push(Reject::new(Outcome::Invalid, None, why, &raw));
                    return;
                }
            },
        };
        taking.bytes += text.len();
        if terms.is_text {
            let json = to_raw_value(&*text).expect("invariant: a text has a JSON form");
            terms.reader.take(&json, &"message".into(), &mut taking.made);
            return;
        }
        match serde_json::from_str::<&RawValue>(&text) {
            Ok(message) => self.take_json(&terms, message, is_old, taking),
            Err(error) => {
                let why = format!("this is not JSON: {error}; where that is as it should be, write `format: text`");
                taking.made.rejects.push(Reject::new(Outcome::Invalid, None, why, &text));
            }
        }
    }

    fn decoded<'b>(&mut self, bytes: &'b [u8], is_old: bool) -> Result<Option<Cow<'b, str>>, String> {
        let open = if is_old { self.old.as_mut().map(|(old, _)| old) } else { self.open.as_mut() };
        open.map_or(Ok(None), |open| open.decode.text(bytes))
    }

    fn take_json(&mut self, terms: &Terms, message: &RawValue, is_old: bool, taking: &mut Taking) {
        let found = terms.reader.look(message);
        if terms.errors.iter().any(|condition| condition.is_met(&found)) {
            if !is_old {
                self.ending = Some(said_no(message.get()));
                self.notes.push(Note::new("control", json!({ "why": cut_raw(message.get()), "ends": true })));
            }
            return;
        }
        if terms.rotate_on.as_ref().is_some_and(|condition| condition.is_met(&found)) {
            taking.rotates = !is_old;
            return;
        }
        if terms.ack.as_ref().is_some_and(|condition| condition.is_met(&found)) {
            return;
        }
        self.number(terms, &found, is_old, taking);
        let before = taking.made.items.len();
        terms.reader.make(message, &found, &"message".into(), &mut taking.made);
        if let Some(place) = terms.resume.as_ref().and_then(|(at, _)| text_of(found.one(*at)?)) {
            let published_at = taking.made.items[before..].first().and_then(|item| item.published_at);
            let first = self.resumed().filter(|_| !is_old).and_then(|resumed| resumed.saw(&place, published_at, 0));
            if first == Some(First::Anew) {
                // The greatest of its old numbers would be asked for for ever.
                self.spot.place = None;
            }
            self.spot.reach(&place, self.context.now());
        }
    }

    /// Looks for a hole before this message.
    fn number(&mut self, terms: &Terms, found: &Found<'_>, is_old: bool, taking: &mut Taking) {
        let Some((at, per, across)) = &terms.sequence else { return };
        let Some(number) = found.one(*at).and_then(|raw| text_of(raw)?.parse().ok()) else { return };
        let key = per.and_then(|per| text_of(found.one(per)?)).unwrap_or_default();
        let open = if is_old { self.old.as_mut().map(|(old, _)| old) } else { self.open.as_mut() };
        let sequences = match (across, open) {
            (SequenceScope::Connection, Some(open)) => &mut open.sequences,
            _ => &mut self.sequences,
        };
        match sequences.saw(&key, number, self.context.now()) {
            Seen::Hole(hole) => {
                taking.holes += 1;
                self.notes.push(hole);
            }
            Seen::Unwatched if self.is_watching_all => {
                self.is_watching_all = false;
                self.notes.push(Seen::unwatched());
            }
            Seen::Next | Seen::Unwatched => {}
        }
    }

    /// Says that what was missed has come again, once it has.
    fn end_replay(&mut self, taking: &Taking) {
        let Some(open) = &mut self.open else { return };
        let (now, published_at) = (self.context.now(), taking.made.items.last().and_then(|item| item.published_at));
        let so_far = SoFar { now, published_at, signs: 0, was_quiet: taking.was_quiet };
        if let Some(resumed) = open.resumed.take_if(|resumed| resumed.is_over(&so_far)) {
            self.notes.extend(resumed.note(now));
        }
        self.spot.missed_from = open.resumed.as_ref().and_then(Resumed::missed_from);
    }

    /// Whether there is a pause in what upstream sends again.
    fn was_quiet(&self) -> bool {
        let resumed = self.open.as_ref().and_then(|open| open.resumed.as_ref());
        resumed.is_some_and(Resumed::has_begun) && self.heard.elapsed() >= QUIET
    }

    fn resumed(&mut self) -> Option<&mut Resumed> {
        self.open.as_mut()?.resumed.as_mut()
    }
}

impl Drop for Stream {
    /// Says goodbye, where there is still somebody to do it.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for open in self.open.take().into_iter().chain(self.old.take().map(|(old, _)| old)) {
            runtime.spawn(open.socket.close());
        }
    }
}
