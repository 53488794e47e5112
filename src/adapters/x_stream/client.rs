//! Requests to X: small answers, bounded in size and time, and the streams that do not end.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::refusal::Refusal;
use crate::auth::{TOKEN_REQUEST_BODY, TOKEN_REQUEST_TYPE, TokenError, basic_credential, read_token};
use crate::context::{Context, HttpOptions};
use crate::fetch::live::{Live, lost};
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
    pub(super) async fn stream(&self, ask: Ask<'_>, idle: Duration) -> Result<Live, Failure> {
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
        Live::new(response, idle).map_err(Failure::Error)
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
