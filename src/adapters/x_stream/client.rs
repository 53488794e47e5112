//! Requests to X: small answers, bounded in size and time, and the streams that do not end.

use std::future::poll_fn;
use std::io::Write as _;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use flate2::write::MultiGzDecoder;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::refusal::Refusal;
use crate::auth::{TOKEN_REQUEST_BODY, TOKEN_REQUEST_TYPE, TokenError, basic_credential, read_token};
use crate::context::{Context, HttpOptions};
use crate::source::SourceError;

/// How the adapter calls itself: X wants a name with a version.
const AGENT: &str = concat!("tapline/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// How long a small answer may take, to its last byte.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The largest small answer: a thousand rules of two thousand characters, or a page of search with everything expanded.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How much of an error's body is read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// What is read at once at most, as long as it is there already: large batches cost less.
const READ_BYTES_MAX: usize = 256 << 10;

/// A chunk of gzip that decodes to more is no text.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// Asks one account's endpoints.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    context: Context,
    base: Url,
    gzip: bool,
}

/// An answer that did not bring what was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// Upstream answered something else.
    Refused(Box<Refusal>),
    /// There was no answer, or it cannot be read.
    Error(SourceError),
}

impl Failure {
    /// The driver's instruction. `what` was asked for.
    pub(super) fn into_error(self, what: &str, context: &Context) -> SourceError {
        match self {
            Self::Refused(refusal) => refusal.into_error(what, context.now()),
            Self::Error(error) => error,
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Error(_) => None,
        }
    }
}

/// What is asked for.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a [(String, String)],
    /// The value of `Authorization`.
    pub(super) authorization: HeaderValue,
    /// `Content-Type` and body.
    pub(super) body: Option<(&'static str, String)>,
}

impl Client {
    /// # Errors
    /// When the machine has no usable certificate store.
    pub(super) fn new(context: &Context, base: Url, gzip: bool) -> anyhow::Result<Self> {
        let http = context.http(HttpOptions::plain(CONNECT_MAX))?;
        Ok(Self { http, context: context.clone(), base, gzip })
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The address of an endpoint.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn request(&self, ask: Ask<'_>) -> reqwest::RequestBuilder {
        let mut url = self.url(ask.path);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let mut request = self.http.request(ask.method, url).header(USER_AGENT, AGENT);
        request = request.header(AUTHORIZATION, ask.authorization);
        match ask.body {
            Some((content_type, body)) => request.header(CONTENT_TYPE, content_type).body(body),
            None => request,
        }
    }

    /// A small answer in JSON.
    ///
    /// # Errors
    /// Whatever else comes.
    pub(super) async fn json<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Failure> {
        let what = ask.path.to_owned();
        let (status, headers, body) = self.answer(ask, ANSWER_BYTES_MAX).await.map_err(Failure::Error)?;
        if !status.is_success() {
            return Err(Failure::Refused(Box::new(Refusal::new(status, &headers, &body))));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{what}: the answer is not what it is documented to be"))
            .map_err(|error| Failure::Error(SourceError::Failing(error)))
    }

    /// A bearer token for an app's key and secret (docs.x.com, "OAuth 2.0 Bearer Token").
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) async fn mint(&self, key: &str, secret: &str) -> Result<String, SourceError> {
        let ask = Ask {
            method: Method::POST,
            path: "/oauth2/token",
            query: &[],
            authorization: basic_credential(key, secret),
            body: Some((TOKEN_REQUEST_TYPE, TOKEN_REQUEST_BODY.to_owned())),
        };
        let (status, headers, body) = self.answer(ask, ERROR_BYTES_MAX).await?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Refusal::new(status, &headers, &body).into_error("/oauth2/token", self.context.now()));
        }
        read_token(status, &body).map_err(|error| {
            let is_final = matches!(error, TokenError::Refused(_));
            let cause = anyhow::Error::new(error).context("/oauth2/token");
            if is_final {
                SourceError::Refused(cause.context("check `auth.consumer_key` and `auth.consumer_secret`"))
            } else {
                SourceError::Failing(cause)
            }
        })
    }

    async fn answer(&self, ask: Ask<'_>, at_most: usize) -> Result<(StatusCode, HeaderMap, Vec<u8>), SourceError> {
        let what = ask.path.to_owned();
        let request = self.request(ask);
        let answer = async {
            let response = request.send().await.map_err(|error| lost(&error, &what))?;
            read_small(response, at_most, &what).await
        };
        timeout(ANSWER_MAX, answer)
            .await
            .unwrap_or_else(|_| Err(SourceError::Lost(anyhow!("{what}: no answer within {} s", ANSWER_MAX.as_secs()))))
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When upstream answers anything but 200, or nothing for as long as `idle`.
    pub(super) async fn stream(&self, ask: Ask<'_>, idle: Duration) -> Result<Body, Failure> {
        let what = ask.path.to_owned();
        let coding = if self.gzip { "gzip" } else { "identity" };
        let request = self.request(ask).header(ACCEPT_ENCODING, coding);
        let answer = timeout(idle, request.send()).await;
        let lost_after = || SourceError::Lost(anyhow!("{what}: no answer within {} s", idle.as_secs()));
        let response =
            answer.map_err(|_| Failure::Error(lost_after()))?.map_err(|error| Failure::Error(lost(&error, &what)))?;
        if response.status() != StatusCode::OK {
            let body = timeout(ANSWER_MAX, read_small(response, ERROR_BYTES_MAX, &what)).await;
            let (status, headers, body) = body.map_err(|_| Failure::Error(lost_after()))?.map_err(Failure::Error)?;
            return Err(Failure::Refused(Box::new(Refusal::new(status, &headers, &body))));
        }
        Body::new(response, idle).map_err(Failure::Error)
    }
}

async fn read_small(
    mut response: reqwest::Response,
    at_most: usize,
    what: &str,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), SourceError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error, what))? {
        body.extend_from_slice(&chunk);
        if body.len() > at_most {
            if status.is_success() {
                return Err(SourceError::Failing(anyhow!("{what}: the answer is larger than {at_most} bytes")));
            }
            break;
        }
    }
    Ok((status, headers, body))
}

/// The words of an error of the transport, which names no secret: URLs are left out.
fn lost(error: &reqwest::Error, what: &str) -> SourceError {
    let mut words = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str(if words.is_empty() { "" } else { ": " });
            words.push_str(&text);
        }
        cause = error.source();
    }
    if words.is_empty() {
        words.push_str("the connection failed");
    }
    SourceError::Lost(anyhow!("{what}: {words}"))
}

/// The body of a stream, and when it was last heard.
pub(super) struct Body {
    response: reqwest::Response,
    gunzip: Option<MultiGzDecoder<Vec<u8>>>,
    idle: Duration,
    heard: Instant,
    bytes: Vec<u8>,
    /// How the body ended, when that was seen while looking ahead.
    end: Option<Result<(), SourceError>>,
}

impl Body {
    fn new(response: reqwest::Response, idle: Duration) -> Result<Self, SourceError> {
        let coding = response.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase());
        let gunzip = match coding.as_deref() {
            None | Some(b"identity") => None,
            Some(b"gzip") => Some(MultiGzDecoder::new(Vec::new())),
            Some(other) => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(SourceError::Failing(anyhow!("the stream comes in the coding `{other}`, not asked for")));
            }
        };
        Ok(Self { response, gunzip, idle, heard: Instant::now(), bytes: Vec::new(), end: None })
    }

    /// What has come, as far as it is there: at least a byte of the transport's, though it may decode to none. `None` at
    /// the end of the body. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, or not a byte comes for too long.
    pub(super) async fn read(&mut self) -> Result<Option<&[u8]>, SourceError> {
        if let Some(end) = self.end.take() {
            return end.map(|()| None);
        }
        self.bytes.clear();
        let chunk = timeout_at(self.heard + self.idle, self.response.chunk()).await;
        let Ok(chunk) = chunk else { return Err(SourceError::Silent { quiet: self.heard.elapsed() }) };
        let Some(chunk) = chunk.map_err(|error| lost(&error, "the stream broke"))? else { return Ok(None) };
        self.heard = Instant::now();
        self.bytes.extend_from_slice(&chunk);
        // What is there already is taken along; an error or the end is for the next call.
        while self.end.is_none() && self.bytes.len() < READ_BYTES_MAX && self.take_ready().await {}
        if let Some(gunzip) = &mut self.gunzip {
            decode(gunzip, &mut self.bytes)?;
        }
        Ok(Some(&self.bytes))
    }
}

impl Body {
    /// Takes the next chunk, or the end, if it is there already. The connection is a task of its own, and hands over one
    /// chunk at a time: it is given a turn before there is said to be none.
    async fn take_ready(&mut self) -> bool {
        let mut chunk = std::pin::pin!(self.response.chunk());
        for turn in 0..2 {
            match poll_fn(|context| Poll::Ready(chunk.as_mut().poll(context))).await {
                Poll::Ready(Ok(Some(chunk))) => self.bytes.extend_from_slice(&chunk),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(error)) => self.end = Some(Err(lost(&error, "the stream broke"))),
                Poll::Pending if turn == 0 => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Poll::Pending => return false,
            }
            return true;
        }
        false
    }
}

/// Decodes in place what can be decoded so far.
fn decode(gunzip: &mut MultiGzDecoder<Vec<u8>>, bytes: &mut Vec<u8>) -> Result<(), SourceError> {
    let broken = |error: &std::io::Error| SourceError::Lost(anyhow!("the stream's gzip is broken: {error}"));
    // Piece by piece, so that a bomb is seen before it has gone off.
    for piece in bytes.chunks(4096) {
        gunzip.write_all(piece).map_err(|error| broken(&error))?;
        if gunzip.get_ref().len() > DECODED_BYTES_MAX {
            return Err(SourceError::Lost(anyhow!("the stream's gzip swells beyond {DECODED_BYTES_MAX} bytes")));
        }
    }
    gunzip.flush().map_err(|error| broken(&error))?;
    *bytes = std::mem::take(gunzip.get_mut());
    Ok(())
}
