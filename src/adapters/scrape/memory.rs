//! What is remembered of pages, and how it changes with a tick: all at once, when the tick is whole.
//!
//! Each page that the file is written out to has its own: which rules served, what was written last, and of each of its
//! addresses what upstream calls its version. A page that the file gains or loses changes nothing for the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Pages;
use super::asks::Ask;
use super::emit::{EmitOn, Emitted, KEYS_MAX};
use super::extract::Row;
use super::history::History;
use super::keep::Kept;
use super::login;
use super::paging::Leads;
use super::presence::Look;
use super::provenance;
use super::round::{Content, Read, Round, Visit};
use super::same::Same;
use super::served::Served;
use super::unique::Key;
use crate::cursor::Cursor;
use crate::fetch::{Request, Validator};
use crate::item::{Item, Reject};
use crate::source::{Batch, Outcome, SourceError};

/// The most addresses whose validators are saved; all others are fetched whole after a start.
const VALIDATORS_MAX: usize = 1000;
/// The most addresses that are remembered of one list, where it was not seen to its end.
const ADDRESSES_MAX: usize = 1000;

/// What is remembered of one page that the file is written out to, with those that follow from it.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) served: Served,
    pub(super) emitted: Emitted,
    /// What the values of its lists were, and those of the pages that are followed.
    pub(super) histories: [History; 2],
    /// By [`address`].
    pub(super) pages: HashMap<String, Known>,
}

/// What is remembered of one address.
#[derive(Default)]
pub(super) struct Known {
    pub(super) validator: Option<Validator>,
    pub(super) same: Same,
    pub(super) leads: Option<Leads>,
    pub(super) kept: Kept,
    /// What its last page has of the fields.
    pub(super) look: Option<Look>,
}

/// What is saved.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Position {
    /// After an edit the same page means other records, so that what was known of it no longer counts. The values of
    /// `for_each` are no such edit.
    settings: String,
    /// By a hash of the values: they may be secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    asks: BTreeMap<String, SavedAsk>,
}

/// What is saved of a [`Memory`].
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedAsk {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    validators: BTreeMap<String, Validator>,
    /// So that a start is no change.
    #[serde(skip_serializing_if = "Served::is_empty")]
    served: Served,
    #[serde(skip_serializing_if = "Emitted::is_empty")]
    emitted: Emitted,
    #[serde(skip_serializing_if = "History::is_empty")]
    history: History,
    #[serde(skip_serializing_if = "History::is_empty")]
    followed: History,
}

impl SavedAsk {
    fn is_empty(&self) -> bool {
        let has_history = !self.history.is_empty() || !self.followed.is_empty();
        self.validators.is_empty() && self.served.is_empty() && self.emitted.is_empty() && !has_history
    }
}

/// What a page is remembered by: a hash of all that makes an answer another.
pub(super) fn address(request: &Request) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(request.method.as_str().as_bytes());
    hasher.update(b"\n");
    hasher.update(request.url.as_str().as_bytes());
    if let Some(payload) = &request.payload {
        hasher.update(b"\n");
        hasher.update(&payload.bytes);
    }
    // Headers may choose the page, too; whoever writes one into `for_each` means another.
    for (name, value) in &request.headers {
        hasher.update(b"\n");
        hasher.update(name.as_str().as_bytes());
        hasher.update(b":");
        hasher.update(value.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

impl Known {
    /// The validator, where being told "not modified" is enough to go on with.
    pub(super) fn condition(&self, needs_leads: bool, needs_items: bool) -> Option<&Validator> {
        let has_all = (!needs_leads || self.leads.is_some()) && (!needs_items || self.same.rows().is_some());
        self.validator.as_ref().filter(|_| has_all)
    }
}

impl Pages {
    /// Takes up what was saved.
    pub(super) fn take_up(&mut self, cursor: Option<&Cursor>) {
        let position = cursor.and_then(|cursor| cursor.read::<Position>().ok());
        let mut position = position.filter(|position| position.settings == self.fingerprint).unwrap_or_default();
        let take_up = |ask: &Ask| {
            let SavedAsk { validators, served, emitted, history, followed } =
                position.asks.remove(&ask.key).unwrap_or_default();
            let known = |validator| Known { validator: Some(validator), ..Known::default() };
            let pages = validators.into_iter().map(|(address, validator)| (address, known(validator))).collect();
            Memory { served, emitted, histories: [history, followed], pages }
        };
        self.memory = self.asks.iter().map(take_up).collect();
    }

    /// The cursor.
    fn position(&self) -> Result<Cursor, SourceError> {
        // Where more than "not modified" is needed to go on, nothing of it is left after a start.
        let mut left = if self.needs_leads() { 0 } else { VALIDATORS_MAX };
        let mut asks = BTreeMap::new();
        for (ask, memory) in self.asks.iter().zip(&self.memory) {
            let known = memory.pages.iter().filter_map(|(address, known)| Some((address, known.validator.as_ref()?)));
            let validators: BTreeMap<String, Validator> =
                known.take(left).map(|(address, validator)| (address.clone(), validator.clone())).collect();
            left -= validators.len();
            let [history, followed] = memory.histories.clone();
            let (served, emitted) = (memory.served.clone(), memory.emitted.clone());
            let saved = SavedAsk { validators, served, emitted, history, followed };
            asks.insert(ask.key.clone(), saved);
        }
        asks.retain(|_, saved| !saved.is_empty());
        let position = Position { settings: self.fingerprint.clone(), asks };
        Cursor::new(&position).map_err(|error| SourceError::Lost(error.into()))
    }

    /// Takes up what a tick has brought, and says what is to be written of it. Nothing here waits.
    pub(super) fn settle(&mut self, round: Round, now: DateTime<Utc>) -> Result<Batch, SourceError> {
        let Round { visits, rejects, known, wait, is_whole, histories, notes, .. } = round;
        self.notes.extend(notes);
        self.remember(histories);
        let mut settling = Settling { now, batch: Batch::default(), goods: Vec::new(), fresh: None };
        let mut seen: Vec<HashSet<String>> = vec![HashSet::new(); self.asks.len()];
        // Of each, the rules of its lists and those of the pages that are followed.
        let mut served: Vec<[Vec<Option<usize>>; 2]> = vec![Default::default(); self.asks.len()];
        let beats: Vec<bool> =
            self.memory.iter().map(|memory| memory.emitted.is_beat(&self.scrape.emit, now)).collect();
        for visit in visits {
            seen[visit.ask].insert(visit.address.clone());
            if let Content::Read(read) = &visit.content {
                worst(&mut served[visit.ask][usize::from(visit.is_detail)], &read.extraction.served);
            }
            let ask = visit.ask;
            self.take(visit, &mut settling, beats[ask]);
        }
        let change = self.scrape.emit.on == EmitOn::Change;
        for (index, memory) in self.memory.iter_mut().enumerate() {
            if !seen[index].is_empty() {
                let label = self.asks[index].label.as_deref();
                let plans = [Some(&self.plan), self.detail.as_ref()];
                for (plan, served) in
                    plans.into_iter().zip(&served[index]).filter_map(|(plan, served)| Some((plan?, served)))
                {
                    self.notes.extend(memory.served.update(&plan.fallbacks, served, label));
                }
            }
            if change && beats[index] && !seen[index].is_empty() {
                memory.emitted.beaten(now);
            }
            if is_whole[index] || memory.pages.len() > ADDRESSES_MAX {
                memory.pages.retain(|address, _| seen[index].contains(address));
            }
        }
        self.bound();
        if let Some(unique) = &mut self.unique {
            // So that what is still shown is not forgotten.
            for hash in known {
                unique.admit(hash);
            }
            settling.batch.parts = unique.parts();
        }
        if std::mem::take(&mut self.has_old_session) {
            settling.batch.parts.push((login::PART, None));
        }
        let session = self.session.as_mut().and_then(|session| session.part(&self.fetcher, &self.context));
        settling.batch.parts.extend(session.map(|session| (login::PART, Some(session))));
        let Settling { mut batch, goods, fresh, .. } = settling;
        batch.rejects.extend(rejects);
        if batch.rejects.is_empty() {
            let is = |outcome: &Outcome| goods.contains(outcome);
            batch.outcome = [Outcome::Ok, Outcome::Unchanged, Outcome::NotModified].into_iter().find(is);
        }
        // A page with rejects is asked for again as soon as may be.
        let fresh = fresh.filter(|_| self.scrape.ask.manners.max_age && batch.rejects.is_empty()).unwrap_or_default();
        Ok(Batch { cursor: Some(self.position()?), wait: fresh.max(wait), ..batch })
    }

    /// Takes up one page.
    fn take(&mut self, visit: Visit, settling: &mut Settling, is_beat: bool) {
        let Visit { ask, page, address, validator, fresh, content, followed, is_detail, origin, url: _ } = visit;
        let memory = &mut self.memory[ask];
        let known = memory.pages.entry(address).or_default();
        settling.fresh = Some(settling.fresh.map_or(fresh, |least| least.min(fresh)));
        known.validator = validator;
        let (rows, rejects, good) = match content {
            Content::NotModified => (None, Vec::new(), Outcome::NotModified),
            Content::Again => (known.same.rows().map(<[Row]>::to_vec), Vec::new(), Outcome::Unchanged),
            Content::Read(read) => {
                let (rows, rejects) = known.learn(*read, settling);
                (Some(rows), rejects, Outcome::Ok)
            }
        };
        settling.batch.rejects.extend(rejects.into_iter().map(|reject| Reject { page: page.clone(), ..reject }));
        if is_detail {
            return;
        }
        let own = || rows.map(|rows| rows.into_iter().map(|row| row.item).collect());
        let Some(items): Option<Vec<Item>> = (if self.scrape.follow.is_some() { followed } else { own() }) else {
            settling.goods.push(good);
            return;
        };
        let had_items = !items.is_empty();
        let items = items.into_iter().map(|item| self.asks[ask].put_into(item)).collect();
        let scope = page.as_deref().unwrap_or_default();
        let items = memory.emitted.pick(&self.scrape.emit, &short(scope), items, is_beat);
        let items = self.once(items, page.as_deref(), &mut settling.batch.rejects);
        settling.goods.push(if had_items && items.is_empty() { Outcome::Unchanged } else { Outcome::Ok });
        // Behind everything that looks at what a record says: two of the same content are the same.
        settling.batch.items.extend(items.into_iter().map(|item| provenance::put_into(item, origin.as_deref())));
    }

    /// Those of the records that were never written, where each is written once, with ids made of their keys.
    fn once(&mut self, items: Vec<Item>, page: Option<&str>, rejects: &mut Vec<Reject>) -> Vec<Item> {
        let (Some(seen), Some(unique)) = (&mut self.unique, &self.scrape.unique) else { return items };
        let mut new = Vec::new();
        for item in items {
            match unique.of(seen, &item) {
                Key::Of(id, hash) if seen.admit(hash) => new.push(Item { id: Some(id), ..item }),
                Key::Of(..) => {}
                Key::Missing(name) => {
                    let reason = format!("`{name}` is null, and by it `unique` tells one record from another");
                    let reject = Reject::new(Outcome::Missing, Some(format!("fields.{name}")), reason, item.data.get());
                    rejects.push(Reject { page: page.map(str::to_owned), ..reject });
                }
            }
        }
        new
    }

    /// The cursor is saved with every tick, so that it must stay small.
    fn bound(&mut self) {
        if self.memory.iter().map(|memory| memory.emitted.len()).sum::<usize>() > KEYS_MAX {
            self.memory.iter_mut().for_each(|memory| memory.emitted.forget());
        }
    }
}

/// What a page is called in the cursor; nothing, where it is the only one.
fn short(page: &str) -> String {
    if page.is_empty() { String::new() } else { blake3::hash(page.as_bytes()).to_hex()[..8].to_owned() }
}

/// What becomes of a tick while its pages are taken up.
struct Settling {
    now: DateTime<Utc>,
    batch: Batch,
    /// What became of each page that is as it should be.
    goods: Vec<Outcome>,
    /// The least time that a page says that it stays as it is.
    fresh: Option<Duration>,
}

impl Known {
    /// Takes up a page that was read, and gives back what became of it.
    fn learn(&mut self, read: Read, settling: &mut Settling) -> (Vec<Row>, Vec<Reject>) {
        let Read { hash, extraction, leads, packed, broken, look, .. } = read;
        (self.leads, self.look) = (leads, Some(look));
        if let Some(broken) = broken {
            self.same.forget();
            self.validator = None;
            if let Some(hints) = broken.hints {
                self.kept.broke(hints);
            }
            settling.batch.change = settling.batch.change.take().or(broken.change);
        } else {
            self.same.understood(hash, &extraction.rows);
            self.kept.good(packed, settling.now);
        }
        (extraction.rows, extraction.rejects)
    }
}

/// Of each field the rule that serves the worst page.
fn worst(all: &mut Vec<Option<usize>>, page: &[Option<usize>]) {
    all.resize(page.len(), None);
    for (all, page) in all.iter_mut().zip(page) {
        *all = (*all).max(*page);
    }
}
