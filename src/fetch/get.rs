//! The way of a request: redirects checked hop by hop, manners at each, a deadline, and a limit on what is read.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, Utc};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::gate::{Gates, Heard, Member, Turn};
use super::live::{Live, NotOpen, Refusal, Wants, is_of_type};
use super::manners::{Manners, Robots};
use super::request::{Answer, Body, Request, Validator, fresh};
use super::robots::Asker;
use super::session::Session;
use super::tape::Tape;
use super::way::{Way, redirect_target};
use super::{Failure, cause};
use crate::context::{Context, shown_url};
use crate::retry_after::retry_after;
use crate::source::SourceError;

/// How much is read of an answer that brings no page: enough for its title.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;
/// How long the body of what is no live stream is waited for.
const REFUSAL_MAX: Duration = Duration::from_secs(5);
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

/// What is asked for.
pub(super) enum Purpose<'a> {
    /// A page, or nothing where it is still what this says.
    Page(Option<&'a Validator>),
    /// A body without an end.
    Live(&'a Wants),
    /// The connection itself, for another protocol; with these headers.
    Upgrade(&'a HeaderMap),
}

/// Where a request was answered.
pub(super) struct Arrival {
    open: Open,
    url: Url,
    deadline: Deadline,
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
        let Arrival { open, url, deadline } = self.travel(request, &Purpose::Page(validator)).await?;
        read_answer(open, &url, validator, request.body_max, &deadline).await.map_err(Failure::Lost)
    }

    /// Opens a live stream, whose headers are to come within the request's deadline.
    ///
    /// The turn at its host's gate ends once they are there: a stream that lives for days must not keep its place from
    /// those who ask for pages. `robots.txt` is not asked: it is about crawlers, which find addresses by themselves (RFC
    /// 9309, 1); here somebody has written down one address of an API, which is asked for once and then stays.
    ///
    /// # Errors
    /// When there is no answer, or one that is no such stream. What it means is told apart by its status and its body.
    pub async fn open(&mut self, request: &Request, wants: &Wants) -> Result<Live, NotOpen> {
        if let Tape::Play(_) = &self.tape {
            // Whoever replays is promised that nobody is asked.
            return Err(SourceError::Refused(anyhow!("a live stream is not recorded, and cannot be replayed")).into());
        }
        let arrival = self.travel(request, &Purpose::Live(wants)).await.map_err(SourceError::from)?;
        match arrival.accepted(|response| {
            response.status() == StatusCode::OK && is_of_type(response.headers(), wants.media_type)
        }) {
            Ok(response) => Ok(Live::new(response, wants.idle)?),
            Err(arrival) => Err(self.refused(*arrival, wants.media_type).await),
        }
    }

    /// What an answer means that is not what was asked for.
    pub(super) async fn refused(&self, arrival: Arrival, media_type: &'static str) -> NotOpen {
        let Arrival { open: Open { mut response, .. }, url, deadline } = arrival;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let deadline = Deadline { at: deadline.at.min(Instant::now() + REFUSAL_MAX), total: REFUSAL_MAX };
        let body = read_some(&mut response, &deadline).await;
        let body = super::decode::decode(body, &codings(&headers), REFUSAL_BYTES_MAX).unwrap_or_default();
        let retry_after = self.retry_after(&headers);
        let refusal = Refusal { url: &url, status, headers: &headers, body: &body, retry_after, media_type };
        NotOpen { status: Some(status), error: refusal.into_error() }
    }

    /// Goes the way of a request, over redirects, to where it is answered.
    pub(super) async fn travel(&mut self, request: &Request, purpose: &Purpose<'_>) -> Result<Arrival, Failure> {
        let mut way = Way::new(request);
        let mut left = request.total;
        loop {
            let turn = self.turn(&way.url, &request.user_agent, purpose).await?;
            // What was waited for at the gate is nobody's slowness.
            let deadline = Deadline { at: Instant::now() + left, total: request.total };
            let hop = self.hop(request, &way, purpose);
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
                return Ok(Arrival { open, url: way.url, deadline });
            }
            // The connection is only used again when the answer was read to its end, which is worth a moment and no more.
            let drain = Deadline { at: deadline.at.min(Instant::now() + DRAIN_MAX), total: DRAIN_MAX };
            read_body(&mut open.response, REFUSAL_BYTES_MAX, &drain).await.ok();
            left = deadline.at.saturating_duration_since(Instant::now());
        }
    }

    /// One request of the way.
    fn hop(&mut self, request: &Request, way: &Way, purpose: &Purpose<'_>) -> reqwest::Request {
        let mut hop = reqwest::Request::new(way.method.clone(), way.url.clone());
        match purpose {
            Purpose::Page(validator) => {
                let known = validator.filter(|known| known.is_of(&way.url) && way.method == Method::GET);
                *hop.headers_mut() = request.headers(way.is_own, known);
            }
            Purpose::Live(wants) => {
                *hop.headers_mut() = request.headers(way.is_own, None);
                hop.headers_mut().insert(ACCEPT_ENCODING, wants.coding());
            }
            Purpose::Upgrade(headers) => {
                *hop.headers_mut() = request.headers(way.is_own, None);
                hop.headers_mut().remove(ACCEPT_ENCODING);
                hop.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
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
    async fn turn(&mut self, url: &Url, user_agent: &HeaderValue, purpose: &Purpose<'_>) -> Result<Turn, Failure> {
        self.context.check(url).map_err(|error| Failure::Lost(error.into()))?;
        let host = self.gates.host(url);
        if self.members.len() >= MEMBERSHIPS_MAX && !self.members.contains_key(&host.name) {
            self.members.clear();
        }
        let member = &*self.members.entry(host.name.clone()).or_insert_with(|| host.join(&self.manners));
        if let Purpose::Live(_) | Purpose::Upgrade(_) = purpose {
            return Ok(member.turn().await?.for_live());
        }
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
        let retry_after = self.retry_after(response.headers());
        let status = response.status().as_u16();
        let rest = turn.heard(Heard { status, retry_after, chance: self.context.chance() });
        Ok(Open { response, turn, rest })
    }

    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        asked.and_then(|value| retry_after(value, self.context.now()))
    }
}

impl Arrival {
    /// The answer, if it is what was asked for. The turn at the host's gate ends then.
    pub(super) fn accepted(self, is_it: impl FnOnce(&Response) -> bool) -> Result<Response, Box<Self>> {
        if is_it(&self.open.response) { Ok(self.open.response) } else { Err(Box::new(self)) }
    }
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

/// What comes of a refusal's body while it is waited for: its own faults do not hide the status, and one without an end
/// is no reason to wait.
async fn read_some(response: &mut Response, deadline: &Deadline) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline.at, response.chunk()).await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 >= REFUSAL_BYTES_MAX {
            break;
        }
    }
    bytes
}

fn codings(headers: &HeaderMap) -> Vec<String> {
    let coded: Vec<&str> =
        headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    super::decode::codings(&coded.join(","))
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
