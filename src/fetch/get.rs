//! The way of a request: redirects checked hop by hop, manners at each, a deadline, and a limit on what is read.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::Response;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::gate::{Gates, Heard, Member, Turn};
use super::manners::{Manners, Robots};
use super::request::{Answer, Body, Request, Validator, fresh};
use super::robots::Asker;
use super::session::Session;
use super::tape::Tape;
use super::{Failure, cause};
use crate::context::{Context, shown_url};
use crate::retry_after::retry_after;

/// How much is read of an answer that brings no page: enough for its title.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;
/// How long a redirect's body is waited for.
const DRAIN_MAX: Duration = Duration::from_millis(200);
/// Hosts that one source is a member of at once. Redirects may lead to ever new ones.
const MEMBERSHIPS_MAX: usize = 32;

/// Asks for one source.
pub struct Fetcher {
    client: reqwest::Client,
    context: Context,
    gates: Arc<Gates>,
    manners: Manners,
    /// By the host's name: while a source asks a host, its manners count there.
    members: HashMap<String, Member>,
    session: Session,
    tape: Tape,
}

/// An answer whose body is still to be read, and the turn that ends when it has been.
struct Open {
    response: Response,
    turn: Turn,
    rest: Option<Duration>,
}

impl Fetcher {
    /// With this client, and these manners; what sites set as cookies is sent back to them, or not.
    pub fn new(client: reqwest::Client, context: &Context, manners: Manners, takes_cookies: bool) -> Self {
        Self {
            client,
            context: context.clone(),
            gates: context.shared(),
            manners,
            members: HashMap::new(),
            session: Session::new(takes_cookies),
            tape: Tape::of(context),
        }
    }

    /// What is asked for from now on is for the tick of this scheduled time.
    pub fn slot(&mut self, slot: DateTime<Utc>) {
        self.tape.slot(slot);
    }

    /// The cookies that sites have set, for a later start, and a hash of their names and values. They are secrets.
    pub fn cookies(&self) -> Option<(blake3::Hash, Vec<u8>)> {
        self.session.cookies()
    }

    /// Takes up cookies of an earlier start. Whether any of them still counts.
    pub fn take_up_cookies(&mut self, saved: &[u8]) -> bool {
        self.session.take_up(saved)
    }

    /// Asks for a page, within the request's deadline.
    ///
    /// # Errors
    /// When there is no answer, or one that may not be asked for. An answer of any status is none.
    pub async fn fetch(&mut self, request: &Request, validator: Option<&Validator>) -> Result<Answer, Failure> {
        if let Tape::Play(player) = &mut self.tape {
            return player.answer(request, validator);
        }
        let answer = self.fetch_now(request, validator).await;
        self.tape.keep(&self.context, request, &answer).await;
        answer
    }

    async fn fetch_now(&mut self, request: &Request, validator: Option<&Validator>) -> Result<Answer, Failure> {
        let mut way = Way::new(request);
        let mut left = request.total;
        loop {
            let turn = self.turn(&way.url, &request.user_agent).await?;
            // What was waited for at the gate is nobody's slowness.
            let deadline = Deadline { at: Instant::now() + left, total: request.total };
            let hop = self.hop(request, &way, validator);
            let mut open = self.ask(hop, turn, &deadline).await?;
            self.session.keep_cookies(&way.url, open.response.headers());
            let goes_on = if way.may_answer(request, &open.response) && self.session.challenged(open.response.headers())
            {
                way.has_answered = true;
                true
            } else if let Some(target) = redirect_target(&open.response) {
                way.follow(&target?, open.response.status(), request.redirects_max)?;
                true
            } else {
                false
            };
            if !goes_on {
                return read_answer(open, &way.url, validator, request.body_max, &deadline)
                    .await
                    .map_err(Failure::Lost);
            }
            // The connection is only used again when the answer was read to its end, which is worth a moment and no more.
            let drain = Deadline { at: deadline.at.min(Instant::now() + DRAIN_MAX), total: DRAIN_MAX };
            read_body(&mut open.response, REFUSAL_BYTES_MAX, &drain).await.ok();
            left = deadline.at.saturating_duration_since(Instant::now());
        }
    }

    /// One request of the way.
    fn hop(&mut self, request: &Request, way: &Way, validator: Option<&Validator>) -> reqwest::Request {
        let mut hop = reqwest::Request::new(way.method.clone(), way.url.clone());
        let known = validator.filter(|known| known.is_of(&way.url) && way.method == Method::GET);
        *hop.headers_mut() = request.headers(way.is_own, known);
        self.session.add_cookies(&way.url, hop.headers_mut());
        let payload = request.payload.as_ref().filter(|_| way.sends_payload);
        if let Some(payload) = payload {
            hop.headers_mut().insert(CONTENT_TYPE, payload.content_type.clone());
            *hop.body_mut() = Some(payload.bytes.clone().into());
        }
        if let Some(auth) = request.auth.as_ref().filter(|_| way.is_own) {
            let form = payload.map_or(&[][..], |payload| &payload.form);
            let proof = match &auth.digest {
                Some(login) => self.session.answer(login, &way.method, &way.url),
                None => auth.authorize(&self.context, &way.method, &way.url, form),
            };
            hop.headers_mut().extend(proof.map(|proof| (AUTHORIZATION, proof)));
        }
        hop
    }

    /// Leave to ask for this page now: it is where the source may go, its site allows it, and it is the source's turn.
    async fn turn(&mut self, url: &Url, user_agent: &HeaderValue) -> Result<Turn, Failure> {
        self.context.check(url).map_err(|error| Failure::Lost(error.into()))?;
        let host = self.gates.host(url);
        if self.members.len() >= MEMBERSHIPS_MAX && !self.members.contains_key(&host.name) {
            self.members.clear();
        }
        let member = &*self.members.entry(host.name.clone()).or_insert_with(|| host.join(&self.manners));
        if self.manners.robots == Robots::Obey {
            let asker = Asker { client: &self.client, context: &self.context, member, user_agent };
            let verdict = asker.verdict(url).await?;
            member.host().set_crawl_delay(verdict.crawl_delay);
            if let Some(why) = verdict.forbidden {
                return Err(Failure::Forbidden(anyhow!(why)));
            }
        }
        Ok(member.turn().await?)
    }

    async fn ask(&self, hop: reqwest::Request, turn: Turn, deadline: &Deadline) -> Result<Open, Failure> {
        let url = hop.url().clone();
        let response = deadline.wait("no_answer: there was no answer", self.client.execute(hop)).await?;
        let response = response.map_err(|error| cause(error, &url))?;
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| retry_after(value, self.context.now()));
        let status = response.status().as_u16();
        let rest = turn.heard(Heard { status, retry_after, chance: self.context.chance() });
        Ok(Open { response, turn, rest })
    }
}

/// Where a request is on its way over redirects.
struct Way {
    method: Method,
    url: Url,
    visited: Vec<Url>,
    /// Whether it is still at the origin that the user's headers and keys are for.
    is_own: bool,
    sends_payload: bool,
    /// Whether what the server asked was answered already: a second 401 means that the answer is wrong.
    has_answered: bool,
}

impl Way {
    fn new(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            visited: vec![request.url.clone()],
            is_own: true,
            sends_payload: request.payload.is_some(),
            has_answered: false,
        }
    }

    fn may_answer(&self, request: &Request, response: &Response) -> bool {
        let has_login = request.auth.as_ref().is_some_and(|auth| auth.digest.is_some());
        has_login && self.is_own && !self.has_answered && response.status() == StatusCode::UNAUTHORIZED
    }

    /// Goes where an answer sends it. What becomes of the method is what browsers do (RFC 9110, 15.4).
    fn follow(&mut self, target: &str, status: StatusCode, redirects_max: usize) -> anyhow::Result<()> {
        let next = check_redirect(&self.url, target, &self.visited, redirects_max)?;
        let keeps_method = matches!(status.as_u16(), 307 | 308) || matches!(self.method, Method::GET | Method::HEAD);
        if !keeps_method {
            self.method = Method::GET;
            self.sends_payload = false;
        }
        self.is_own &= next.origin() == self.url.origin();
        if self.sends_payload && !self.is_own {
            let (from, to) = (shown_url(&self.url), shown_url(&next));
            return Err(anyhow!("bad_redirect: {from} wants the request's body sent to another site, {to}"));
        }
        self.visited.push(next.clone());
        self.url = next;
        Ok(())
    }
}

/// Where the answer sends us, if it does.
fn redirect_target(response: &Response) -> Option<anyhow::Result<String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    // Some servers send UTF-8 here; the URL parser escapes it.
    let text = std::str::from_utf8(location.as_bytes()).map(str::to_owned);
    Some(text.context("bad_redirect: the redirect's address is not text"))
}

/// The address of the next hop, or why it is not gone to.
fn check_redirect(from: &Url, target: &str, visited: &[Url], redirects_max: usize) -> anyhow::Result<Url> {
    let mut next =
        from.join(target).with_context(|| format!("bad_redirect: {} redirects to no URL", shown_url(from)))?;
    let (shown_from, shown_next) = (shown_url(from), shown_url(&next));
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
        return Err(anyhow!("bad_redirect: {shown_from} redirects to `{}:`, which is not followed", next.scheme()));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(anyhow!("insecure_redirect: {shown_from} redirects from https to {shown_next}"));
    }
    // A name and password in a redirect would be sent as if they were ours; a fragment is never sent.
    let refused = next.set_username("").is_err() || next.set_password(None).is_err();
    next.set_fragment(None);
    if refused {
        return Err(anyhow!("bad_redirect: {shown_from} redirects to {shown_next}"));
    }
    if visited.contains(&next) {
        return Err(anyhow!("redirect_loop: {shown_from} redirects to {shown_next}, where we come from"));
    }
    if visited.len() > redirects_max {
        return Err(anyhow!(
            "too_many_redirects: more than {redirects_max}, the last from {shown_from} to {shown_next}; allow more with \
             `redirects`"
        ));
    }
    Ok(next)
}

async fn read_answer(
    open: Open,
    url: &Url,
    known: Option<&Validator>,
    body_max: u64,
    deadline: &Deadline,
) -> anyhow::Result<Answer> {
    // The turn lasts until the body has been read.
    let Open { mut response, turn: _turn, rest } = open;
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        return match known.filter(|known| known.is_of(url)) {
            Some(known) => {
                let headers = response.headers();
                Ok(Answer::NotModified {
                    validator: known.updated(headers, url),
                    fresh: fresh(headers),
                    url: url.clone(),
                })
            }
            None => Err(anyhow!("bad_answer: {} says 304 not modified, and was not asked", shown_url(url))),
        };
    }
    let mut body = Body::new(url.clone(), status, std::mem::take(response.headers_mut()), Vec::new(), rest);
    if status.is_success() {
        body.bytes = read_body(&mut response, body_max, deadline).await?;
        return Ok(Answer::Page(body));
    }
    // What the refusal says is a help and no more: its own faults do not hide the status.
    body.bytes = read_body(&mut response, REFUSAL_BYTES_MAX, deadline).await.unwrap_or_default();
    Ok(Answer::Refused(status, body))
}

/// The whole body as it comes, of at most `bytes_max`.
async fn read_body(response: &mut Response, bytes_max: u64, deadline: &Deadline) -> anyhow::Result<Vec<u8>> {
    let too_large = || {
        anyhow!("body_too_large: the page has more than {}; allow more with `max_body`", bytesize::ByteSize(bytes_max))
    };
    let announced = response.content_length();
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let so_far = bytes.len();
        let stage = format!("body_stalled: the page was not complete, with {so_far} bytes,");
        let chunk = deadline.wait(&stage, response.chunk()).await?;
        let chunk = chunk.map_err(reqwest::Error::without_url);
        let Some(chunk) = chunk.with_context(|| format!("body_cut_off: the page ended after {so_far} bytes"))? else {
            return Ok(bytes);
        };
        if (so_far + chunk.len()) as u64 > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// The moment at which a fetch is given up, whatever it is doing.
struct Deadline {
    at: Instant,
    total: Duration,
}

impl Deadline {
    async fn wait<T>(&self, stage: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
        let total = humantime::format_duration(self.total);
        timeout_at(self.at, future).await.map_err(|_| anyhow!("{stage} after {total}"))
    }
}
