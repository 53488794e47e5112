//! Everything that takes records over HTTP, through one loader: each flavour builds its request, and sorts its answer.
//!
//! What is the same for all of them is here: connection, authentication, the cap on answers, and what a status means when
//! a flavour does not know better (RFC 9110, RFC 6585).

pub mod clickhouse;
pub mod couchdb;
pub mod elasticsearch;
pub mod webhook;

use std::fmt::{self, Write as _};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{Method, StatusCode};
use url::Url;

use crate::auth;
use crate::context::{Context, HttpOptions, shown_url};
use crate::retry_after::retry_after;
use crate::store::{Batch, Feed, Mark, Sent, Store, StoreError, Target};

const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The most of an answer that is read, in bytes. A bulk answer has a line for each record.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How much of an answer's own words is shown.
const WORDS_MAX: usize = 300;

/// How much of a body a preview shows, in bytes.
const PREVIEW_BYTES: usize = 1_500;

const INFALLIBLE: &str = "invariant: writing to a string cannot fail";

/// What a store over HTTP is asked and what it answers.
pub(super) trait Flavour: Send + Sync + 'static {
    /// The store's name, for messages.
    const NAME: &'static str;
    /// Whether the store knows a batch by its bounds.
    const BY_BATCH: bool = false;

    /// What is asked once a connection is to be made, to see that the store is what it should be.
    fn hello(&self) -> Option<Request> {
        None
    }

    /// Looks at the answer to [`hello`](Self::hello).
    fn heard(&mut self, answer: &Answer) -> Result<(), StoreError> {
        answer.ok()
    }

    /// What is asked before the first batch of a stream, one after the other, each with whether an answer is as good as a
    /// success.
    fn begin(&self, _: &Feed) -> Vec<Making> {
        Vec::new()
    }

    /// The request for a batch, and which of its records cannot be in one.
    fn request(&self, batch: &Batch) -> (Request, Vec<(usize, String)>);

    /// What the answer to a batch means, of which `places` are the indices that were sent.
    fn sort(&self, answer: &Answer, places: &[usize]) -> Result<Sent, StoreError>;
}

/// A request that makes something, and whether an answer that is no success is as good as one.
pub(super) type Making = (Request, fn(&Answer) -> bool);

/// A request, without what all requests of a store have.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn new(method: Method, url: Url, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { method, url, headers, body: body.into() }
    }

    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new() }
    }
}

/// What a store answered.
pub(super) struct Answer {
    pub(super) what: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    wait: Option<Duration>,
}

impl Answer {
    /// Its first words, fit for a log line.
    pub(super) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let plain: String = text.chars().filter(|next| !next.is_control()).take(WORDS_MAX).collect();
        plain.trim().to_owned()
    }

    /// The error that says this answer.
    pub(super) fn cause(&self) -> anyhow::Error {
        let words = self.words();
        let words = if words.is_empty() { words } else { format!(": {words}") };
        anyhow::anyhow!("{} answered {}{words}", self.what, self.status)
    }

    /// What an answer that is no success means, where the flavour does not know better.
    pub(super) fn error(&self) -> StoreError {
        let cause = self.cause();
        match self.status.as_u16() {
            408 | 425 | 429 | 500..=599 => StoreError::Busy { wait: self.wait, cause },
            413 => StoreError::Shrink(cause),
            // No login, no right, nothing there, or somewhere else: dropping records would not mend that.
            300..=399 | 401..=405 | 407 | 410 | 421 | 426 => StoreError::Stop(cause),
            _ if self.status.is_client_error() => StoreError::Refused(cause),
            _ => StoreError::busy(cause),
        }
    }

    /// That it is a success.
    pub(super) fn ok(&self) -> Result<(), StoreError> {
        if self.status.is_success() { Ok(()) } else { Err(self.error()) }
    }
}

/// A store over HTTP.
pub(super) struct HttpStore<F> {
    flavour: F,
    context: Context,
    /// Sent with every request; some of it is secret.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl<F> fmt::Debug for HttpStore<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpStore").finish_non_exhaustive()
    }
}

impl<F: Flavour> HttpStore<F> {
    /// A store of this flavour, that shows who it is as the address says.
    pub(super) fn boxed(flavour: F, context: &Context, login: Option<HeaderValue>) -> Box<dyn Store> {
        let agent = HeaderValue::from_static(concat!("tapline/", env!("CARGO_PKG_VERSION")));
        let mut headers = vec![(USER_AGENT, agent)];
        if let Some(mut login) = login {
            login.set_sensitive(true);
            headers.push((AUTHORIZATION, login));
        }
        Box::new(Self { flavour, context: context.clone(), headers })
    }

    async fn ask(&self, request: Request) -> Result<Answer, StoreError> {
        let Request { method, url, headers, body } = request;
        let what = format!("{} at {}", F::NAME, shown_url(&url));
        let lost = |error: reqwest::Error| {
            // The address in it may have a password.
            let cause = anyhow::Error::new(error.without_url());
            StoreError::Lost(anyhow::anyhow!("{what}: {cause:#}"))
        };
        let client = self.context.http(HttpOptions::plain(CONNECT_MAX)).map_err(StoreError::Stop)?;
        // Some servers answer 411 to a request that may have a body and does not say that it has none.
        let is_empty = body.is_empty() && method != Method::GET;
        let mut builder = client.request(method, url).body(body);
        if is_empty {
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        for (name, value) in self.headers.iter().chain(&headers) {
            builder = builder.header(name, value);
        }
        let mut response = builder.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(StoreError::Shrink(anyhow::anyhow!("{what} answered more than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = asked.and_then(|value| retry_after(value, self.context.now()));
        Ok(Answer { what, status, headers, body, wait })
    }
}

#[async_trait]
impl<F: Flavour> Store for HttpStore<F> {
    async fn connect(&mut self) -> Result<(), StoreError> {
        let Some(hello) = self.flavour.hello() else { return Ok(()) };
        let answer = self.ask(hello).await?;
        self.flavour.heard(&answer)
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        for (request, is_good) in self.flavour.begin(feed) {
            let answer = self.ask(request).await?;
            if !is_good(&answer) {
                // What cannot be made is no fault of a record's.
                answer.ok().map_err(|error| match error {
                    StoreError::Refused(cause) | StoreError::Shrink(cause) => StoreError::Stop(cause),
                    other => other,
                })?;
            }
        }
        Ok(Mark::Unknown)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let (request, dead) = self.flavour.request(batch);
        let places: Vec<usize> = if dead.is_empty() {
            (0..batch.len()).collect()
        } else {
            (0..batch.len()).filter(|index| dead.iter().all(|(dead, _)| dead != index)).collect()
        };
        if places.is_empty() {
            return Ok(Sent { dead, ..Sent::default() });
        }
        let answer = self.ask(request).await?;
        let mut sent = self.flavour.sort(&answer, &places)?;
        sent.wait = sent.wait.or(answer.wait);
        sent.dead.extend(dead);
        Ok(sent)
    }

    fn preview(&self, batch: &Batch) -> String {
        let (Request { method, url, headers, body }, _) = self.flavour.request(batch);
        let mut text = format!("{method} {}\n", shown_url(&url));
        for (name, value) in &headers {
            writeln!(text, "{name}: {}", value.to_str().unwrap_or("…")).expect(INFALLIBLE);
        }
        let cut = &body[..body.len().min(PREVIEW_BYTES)];
        write!(text, "\n{}", String::from_utf8_lossy(cut).trim_end()).expect(INFALLIBLE);
        if cut.len() < body.len() {
            write!(text, "\n… {} bytes in all", body.len()).expect(INFALLIBLE);
        }
        text
    }

    fn is_by_batch(&self) -> bool {
        F::BY_BATCH
    }
}

/// The `Authorization` that an address's user and password make.
pub(super) fn basic(target: &Target) -> Option<HeaderValue> {
    Some(auth::basic(&target.user()?, &target.password().unwrap_or_default()))
}

/// A secret of the address as an `Authorization`.
pub(super) fn secret(kind: &str, word: &str) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(&format!("{kind} {word}"))
        .map_err(|_| anyhow::anyhow!("the {kind} in the address has characters that no header can have"))
}

/// The scheme of HTTP in a scheme of ours, such as `es+https`.
pub(super) fn scheme(target: &Target) -> String {
    target.scheme().rsplit('+').next().unwrap_or("http").to_owned()
}

/// An option that is `true` or `false`.
pub(super) fn flag(target: &mut Target, name: &str, default: bool) -> anyhow::Result<bool> {
    match target.take(name).as_deref() {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => anyhow::bail!("`{name}={other}` is not known; there are: true, false"),
    }
}

/// What identifies a batch to a store that knows it by its bounds.
pub(super) fn bounds(batch: &Batch) -> String {
    let (feed, from, to) = (batch.feed(), batch.from(), batch.to());
    format!("{}:{}:{}:{}-{}", feed.origin, feed.stream, from.segment, from.offset, to.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn answer(status: u16, body: &str) -> Answer {
        Answer {
            what: "it".into(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            wait: None,
        }
    }

    #[test]
    fn what_a_status_means() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(answer(status, "").error(), StoreError::Busy { .. }), "{status}");
        }
        for status in [301, 307, 401, 403, 404, 405, 410] {
            assert!(matches!(answer(status, "").error(), StoreError::Stop(_)), "{status}");
        }
        for status in [400, 409, 415, 422] {
            assert!(matches!(answer(status, "").error(), StoreError::Refused(_)), "{status}");
        }
        assert!(matches!(answer(413, "").error(), StoreError::Shrink(_)));
        assert_eq!(answer(400, "a\u{1b}[31m\nb").cause().to_string(), "it answered 400 Bad Request: a[31mb");
    }
}
