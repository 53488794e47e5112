//! The way over the pages of one tick.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use super::drift::Broken;
use super::emit::EmitOn;
use super::extract::{Extraction, Row};
use super::follow::linked;
use super::history::{History, ROWS_MAX};
use super::keep::Kept;
use super::memory::{Known, address};
use super::paging::{Leads, Paging, is_same_site, target};
use super::plan::Plan;
use super::reading::Reading;
use super::render::{self, Drawing};
use super::round::{Content, Read, Round, Visit};
use super::{Pages, Scrape, refusal, same};
use crate::context::Context;
use crate::fetch::{Answer, Body, Fetcher, Request, Values, source_error};
use crate::item::{Finding, Reject};
use crate::secrets;
use crate::source::{Outcome, SourceError};

/// Rows whose values are remembered of all pages that the file is written out to: the cursor is saved with every tick.
const ROWS_ALL_MAX: usize = 20_000;

/// What goes along on the way over the pages of a tick.
pub(super) struct Trip<'a> {
    /// The scheduled time of the tick.
    at: DateTime<Utc>,
    now: DateTime<Utc>,
    pub(super) round: Round,
    /// What findings are collected in, where somebody looks at them.
    findings: Option<&'a mut Vec<Finding>>,
}

/// A page to ask for.
pub(super) struct Target<'a> {
    pub(super) ask: usize,
    pub(super) request: &'a Request,
    /// What it is called.
    pub(super) page: Option<&'a str>,
    pub(super) is_detail: bool,
    /// Whether a list that is counted may end before it.
    pub(super) may_end: bool,
}

impl Pages {
    /// Asks for all pages of a tick.
    ///
    /// # Errors
    /// When none of them came.
    pub(super) async fn round(
        &mut self,
        now: DateTime<Utc>,
        findings: Option<&mut Vec<Finding>>,
    ) -> Result<Round, SourceError> {
        let round = Round::begin(self.asks.len());
        let mut trip = Trip { at: self.slot.unwrap_or(now), now, round, findings };
        for ask in 0..self.asks.len() {
            if !self.list(ask, &mut trip).await? {
                break;
            }
        }
        trip.round.end()
    }

    /// Asks for one page that the file is written out to, with those that follow from it. Whether others are asked for.
    async fn list(&mut self, ask: usize, trip: &mut Trip<'_>) -> Result<bool, SourceError> {
        let (mut visited, mut last) = (HashSet::new(), None);
        let mut request = self.request_of(ask, trip.at, 0)?;
        for index in 0.. {
            let name = self.name_of(ask, index);
            let page = name.as_deref();
            // Where we come from: that is how some sites end a list.
            if !visited.insert(address(&request)) {
                break;
            }
            if !trip.round.takes_one(page) {
                return Ok(false);
            }
            let target = Target { ask, request: &request, page, is_detail: false, may_end: index > 0 && self.counts() };
            let visit = match self.visit(&target, trip).await {
                Ok(Some(visit)) => visit,
                Ok(None) => break,
                Err(error) => return Ok(trip.round.failed(error, page)),
            };
            // A site that has no more pages may send the last one again.
            let hash = self.hash_of(&visit);
            if index > 0 && hash.is_some() && hash == last {
                break;
            }
            last = hash;
            let (leads, from) = (self.leads_of(&visit), visit.url.clone());
            let is_old = self.brings_nothing_new(&visit);
            if !self.take_visit(visit, &request, trip).await {
                return Ok(false);
            }
            if is_old {
                break;
            }
            match self.next_page(ask, trip.at, index, &leads, &from, &request) {
                Ok(Some(next)) => request = next,
                Ok(None) => break,
                Err(why) => {
                    trip.round.reject(Outcome::Error, why, page);
                    return Ok(true);
                }
            }
        }
        trip.round.is_whole[ask] = true;
        Ok(true)
    }

    /// Asks for one page, and reads it. `None` where a list that is counted has ended before it.
    pub(super) async fn visit(
        &mut self,
        target: &Target<'_>,
        trip: &mut Trip<'_>,
    ) -> Result<Option<Visit>, SourceError> {
        let Target { ask, request, page, is_detail, may_end } = *target;
        let (address, follows) = (address(request), self.scrape.follow.is_some());
        let memory = &self.memory[ask];
        let none = Known::default();
        let known = memory.pages.get(&address).unwrap_or(&none);
        let emit = &self.scrape.emit;
        // "Not modified" brings no records, and so not the ones of a heartbeat.
        let is_beat = memory.emitted.is_beat(emit, trip.now);
        let asks_again = (emit.heartbeat.is_some() && is_beat && !follows) || trip.findings.is_some();
        let needs_leads = self.links.is_some() && !is_detail;
        let plan = self.detail.as_ref().filter(|_| is_detail).unwrap_or(&self.plan);
        let mut history = self.history_of(ask, is_detail, &trip.round);
        let condition = known.condition(needs_leads, follows).filter(|_| !asks_again && self.scrape.render.is_none());
        let began = Instant::now();
        let is_own = is_same_site(&self.site(), &request.url);
        let answer = match self.session.as_mut().filter(|_| is_own) {
            Some(session) => session.fetch(&mut self.fetcher, &self.context, request, condition).await?,
            None => self.fetcher.fetch(request, condition).await?,
        };
        let took = began.elapsed();
        // A page that is the one that is remembered.
        let visit = |address: String, url, validator, fresh, content, origin| {
            let page = page.map(str::to_owned);
            Some(Visit { ask, page, address, url, validator, fresh, content, followed: None, is_detail, origin })
        };
        let mut body = match answer {
            Answer::NotModified { validator, fresh, url } => {
                history.again(known.look.as_ref());
                trip.round.judged(ask, is_detail, history, Vec::new(), page);
                return Ok(visit(address, url, Some(validator), fresh, Content::NotModified, None));
            }
            Answer::Refused(StatusCode::NOT_FOUND | StatusCode::GONE, _) if may_end => return Ok(None),
            Answer::Refused(status, body) => {
                let error = self.context.compute(move || source_error(status, body, refusal::words)).await;
                return Err(error.unwrap_or_else(SourceError::Lost));
            }
            Answer::Page(body) => body,
        };
        let origin = self.scrape.provenance.then(|| self.origin(&body, trip.at, took));
        let drawing;
        (body, drawing) = drawn(&self.scrape, body, request, &mut self.fetcher, &self.context).await?;
        let (hash, validator, fresh, url) = (same::hash(&body), body.validator.take(), body.fresh, body.url.clone());
        let is_enough = known.same.rows().is_some() || (emit.on == EmitOn::Change && !is_beat && !follows);
        let has_leads = !needs_leads || known.leads.is_some();
        trip.round.count(body.bytes.len(), 0);
        if known.same.is(hash) && is_enough && has_leads && trip.findings.is_none() {
            history.again(known.look.as_ref());
            trip.round.judged(ask, is_detail, history, Vec::new(), page);
            return Ok(visit(address, url, validator, fresh, Content::Again, origin));
        }
        let (wants, explains) = (known.kept.wants(trip.now), trip.findings.is_some());
        let scope = self.scope_of(plan, is_detail, page, &address);
        let drawn = drawing.as_ref().and_then(|drawing| drawing.words.clone());
        let reading = Reading { history, scope, drawn, ..self.reading(is_detail, hash, wants, explains) };
        let Some(read) = self.read_page(target, &address, reading, body, drawing, trip).await? else { return Ok(None) };
        let content = Content::Read(Box::new(read));
        let page = page.map(str::to_owned);
        Ok(Some(Visit { ask, page, address, url, validator, fresh, content, followed: None, is_detail, origin }))
    }

    /// What the pages before have said, in this tick too.
    fn history_of(&self, ask: usize, is_detail: bool, round: &Round) -> History {
        let kind = usize::from(is_detail);
        round.histories[ask][kind].as_ref().unwrap_or(&self.memory[ask].histories[kind]).clone()
    }

    /// Which pages' values are held against those of a page: a row is the same one on whichever page of its list.
    fn scope_of(&self, plan: &Plan, is_detail: bool, page: Option<&str>, address: &str) -> String {
        if is_detail {
            // What it is called has no values of its query.
            return address.to_owned();
        }
        let has_key = self.scrape.records.is_some() && plan.contracts.key.is_some();
        page.filter(|_| !has_key).unwrap_or_default().to_owned()
    }

    /// Reads a page that came. `None` where a list that is counted has ended before it.
    async fn read_page(
        &mut self,
        target: &Target<'_>,
        address: &str,
        reading: Reading,
        body: Body,
        drawing: Option<Drawing>,
        trip: &mut Trip<'_>,
    ) -> Result<Option<Read>, SourceError> {
        let Target { ask, page, is_detail, may_end, .. } = *target;
        let plan = Arc::clone(&reading.plan);
        let read = self.context.compute(move || reading.read(body)).await;
        let (mut read, found) = read.and_then(|read| read).map_err(SourceError::Lost)?;
        if may_end && is_empty(&read.extraction) {
            return Ok(None);
        }
        if let Some(html) = read.bad.take() {
            let none = Kept::default();
            let kept = self.memory[ask].pages.get(address).map_or(&none, |known| &known.kept);
            let mut change = kept.change(&html);
            // A picture cannot be searched for what must not be shown.
            let is_harmless = matches!(secrets::hide(&html), Cow::Borrowed(_));
            if let (Some(change), Some(drawing), true) = (&mut change, &drawing, is_harmless) {
                change.screen = drawing.picture().await;
            }
            let broken = self.context.compute(move || Broken::of(&plan, change, &html)).await;
            let mut broken = broken.map_err(SourceError::Lost)?;
            broken.hint(kept, &mut read.extraction.rejects);
            read.broken = Some(broken);
        }
        let (history, notes) = (std::mem::take(&mut read.history), std::mem::take(&mut read.notes));
        trip.round.judged(ask, is_detail, history, notes, page);
        if self.fetched.is_none() {
            self.fetched = read.fetched.take();
        }
        trip.round.count(0, read.extraction.rows.iter().map(Row::len).sum());
        if let Some(findings) = &mut trip.findings {
            findings.extend(found.into_iter().map(|finding| Finding { page: page.map(str::to_owned), ..finding }));
        }
        Ok(Some(read))
    }

    /// All that reading a page needs.
    fn reading(&self, is_detail: bool, hash: blake3::Hash, wants: bool, explains: bool) -> Reading {
        Reading {
            plan: Arc::clone(self.detail.as_ref().filter(|_| is_detail).unwrap_or(&self.plan)),
            links: self.links.as_ref().filter(|_| !is_detail).map(Arc::clone),
            links_max: self.scrape.follow.as_ref().map_or(0, |follow| follow.max.into()),
            encoding: self.encoding,
            body_max: self.scrape.ask.max_body.0,
            wants,
            explains,
            hash,
            history: History::default(),
            scope: String::new(),
            rows_max: (ROWS_ALL_MAX / self.asks.len().max(1)).clamp(1, ROWS_MAX),
            drawn: None,
        }
    }

    fn counts(&self) -> bool {
        self.scrape.pages.as_ref().is_some_and(Paging::counts)
    }

    /// The request for a page that the file is written out to.
    fn request_of(&self, ask: usize, at: DateTime<Utc>, index: u16) -> Result<Request, SourceError> {
        let page = self.scrape.pages.as_ref().map_or(1, |pages| pages.number(index));
        let values = Values { variables: &self.asks[ask].values, at, timezone: self.context.timezone(), page };
        self.scrape.request(&values).map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            SourceError::Lost(anyhow!("{}", messages.join("; ")))
        })
    }

    /// What a page is called: by its values, and by its number where there are several.
    fn name_of(&self, ask: usize, index: u16) -> Option<String> {
        let label = self.asks[ask].label.clone();
        let Some(pages) = &self.scrape.pages else { return label };
        let number = if pages.counts() { pages.number(index) } else { i64::from(index) + 1 };
        Some(label.map_or_else(String::new, |label| label + " ") + &format!("page={number}"))
    }

    /// The request for the page after one, or `None` at the end.
    fn next_page(
        &self,
        ask: usize,
        at: DateTime<Utc>,
        index: u16,
        leads: &Leads,
        from: &Url,
        request: &Request,
    ) -> Result<Option<Request>, String> {
        let Some(pages) = self.scrape.pages.as_ref().filter(|pages| index + 1 < pages.max && !leads.stops) else {
            return Ok(None);
        };
        if pages.counts() {
            return self.request_of(ask, at, index + 1).map(Some).map_err(|error| error.to_string());
        }
        let Some(next) = &leads.next else { return Ok(None) };
        let url = target(next, leads.base.as_deref(), from, &self.site(), pages.other_sites)?;
        Ok(Some(linked(request, url)))
    }

    /// An address of the site that the file is about.
    pub(super) fn site(&self) -> Url {
        crate::fetch::page_url(&self.scrape.url).expect("invariant: the address was checked")
    }

    /// What a page became, as it is or as it is remembered.
    pub(super) fn records_of<'a>(&'a self, visit: &'a Visit) -> &'a [Row] {
        if let Content::Read(read) = &visit.content {
            return &read.extraction.rows;
        }
        let known = self.memory[visit.ask].pages.get(&visit.address);
        known.and_then(|known| known.same.rows()).unwrap_or_default()
    }

    /// The hash of a page's bytes, as far as it is known.
    fn hash_of(&self, visit: &Visit) -> Option<blake3::Hash> {
        match &visit.content {
            Content::Read(read) => Some(read.hash),
            _ => self.memory[visit.ask].pages.get(&visit.address)?.same.hash(),
        }
    }

    /// Where a page leads, as it is or as it is remembered.
    pub(super) fn leads_of(&self, visit: &Visit) -> Leads {
        let leads = match &visit.content {
            Content::Read(read) => read.leads.as_ref(),
            _ => self.memory[visit.ask].pages.get(&visit.address).and_then(|known| known.leads.as_ref()),
        };
        leads.cloned().unwrap_or_default()
    }

    /// Whether all that a page brings was written already: what is behind it is older.
    fn brings_nothing_new(&self, visit: &Visit) -> bool {
        let is_known = |row: &Row| self.is_known(visit.ask, &row.item).is_some();
        self.unique.is_some()
            && match &visit.content {
                Content::Read(read) => read.extraction.rejects.is_empty() && read.extraction.rows.iter().all(is_known),
                Content::NotModified | Content::Again => true,
            }
    }
}

/// A page as a browser draws it, where the file asks for that.
async fn drawn(
    scrape: &Scrape,
    body: Body,
    request: &Request,
    fetcher: &mut Fetcher,
    context: &Context,
) -> Result<(Body, Option<Drawing>), SourceError> {
    let Some(render) = &scrape.render else { return Ok((body, None)) };
    let drawn = render::page(render, body, request, fetcher, context).await;
    drawn.map(|(body, drawing)| (body, Some(drawing))).map_err(SourceError::Lost)
}

/// Whether a page of a list has no rows.
fn is_empty(extraction: &Extraction) -> bool {
    let is_rows = |reject: &Reject| reject.outcome == Outcome::Missing && reject.field.as_deref() == Some("records");
    extraction.rows.is_empty() && extraction.rejects.iter().all(is_rows)
}
