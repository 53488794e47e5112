//! What a page in the browser asks for, fetched with the source's manners and handed over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::anyhow;
use data_encoding::BASE64;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName,
    HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use super::wire::Wire;
use crate::context::shown_url;
use crate::fetch::{Answer, Body, Failure, Fetcher, Payload, Request, decode};

/// More requests of one page are refused.
pub(super) const REQUESTS_MAX: usize = 256;
/// All that one page may fetch, in bodies as large as one may be.
const BODIES_MAX: u64 = 4;
/// How many failures are told in words.
const TOLD_MAX: usize = 3;

/// A request of the page that the browser holds up.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Paused {
    #[serde(rename = "requestId")]
    id: String,
    request: Asked,
    #[serde(rename = "resourceType")]
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Asked {
    url: String,
    method: String,
    headers: HashMap<String, String>,
    #[serde(rename = "postData")]
    body: Option<String>,
}

impl Paused {
    pub(super) fn read(params: &Value) -> Option<Self> {
        Self::deserialize(params).ok()
    }

    pub(super) fn refusal(&self, reason: &str) -> Value {
        json!({ "requestId": self.id, "errorReason": reason })
    }
}

/// What a page has fetched so far.
pub(super) struct Served {
    page: Url,
    document: Document,
    template: Request,
    state: Mutex<State>,
}

/// The page's own HTML, which is there already.
struct Document {
    headers: HeaderMap,
    bytes: Vec<u8>,
}

struct State {
    open: usize,
    last: Instant,
    /// Whether the browser has the page's own HTML.
    has_document: bool,
    bytes: u64,
    failures: Vec<String>,
    failed: usize,
}

impl Served {
    pub(super) fn new(body: &Body, request: &Request) -> anyhow::Result<Self> {
        let document = Document {
            headers: body.headers.clone(),
            bytes: decode::decode(body.bytes.clone(), &body.codings, request.body_max)?,
        };
        let state =
            State { open: 0, last: Instant::now(), has_document: false, bytes: 0, failures: Vec::new(), failed: 0 };
        Ok(Self { page: body.url.clone(), document, template: request.clone(), state: Mutex::new(state) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn began(&self) {
        let mut state = self.state();
        state.open += 1;
        state.last = Instant::now();
    }

    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        state.last = Instant::now();
    }

    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let state = self.state();
        state.has_document && state.open == 0 && state.last.elapsed() >= time
    }

    /// Whether it is fetched at all: what only makes a page look nice is not.
    pub(super) fn is_wanted(&self, paused: &Paused) -> bool {
        let is_seen =
            matches!(paused.kind.as_str(), "Image" | "Font" | "Media" | "Ping" | "CSPViolationReport" | "Prefetch");
        let state = self.state();
        !is_seen && state.bytes <= self.template.body_max.saturating_mul(BODIES_MAX)
    }

    /// What could not be fetched, in words.
    pub(super) fn failures(&self) -> Option<String> {
        let state = self.state();
        let more = state.failed.saturating_sub(state.failures.len());
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        (state.failed > 0).then(|| format!("the page asked in vain for {}{more}", state.failures.join(", ")))
    }

    fn failed(&self, url: &Url, error: &anyhow::Error) {
        let mut state = self.state();
        state.failed += 1;
        // What the page's own site does not give is more likely to be what is missing.
        let at = if url.origin() == self.page.origin() { 0 } else { state.failures.len() };
        state.failures.insert(at, format!("{} ({error:#})", shown_url(url)));
        state.failures.truncate(TOLD_MAX);
    }

    /// Whether this is for the page's own HTML, which is asked for once.
    fn is_document(&self, url: &Url, paused: &Paused) -> bool {
        let mut state = self.state();
        let is_it = paused.kind == "Document" && !state.has_document && *url == self.page;
        state.has_document |= is_it;
        is_it
    }
}

/// Fetches what comes through the queue, one after the other, for as long as there may come more.
pub(super) async fn all(
    served: &Served,
    mut queue: mpsc::Receiver<Paused>,
    fetcher: &mut Fetcher,
    wire: &Wire,
    session: &str,
) {
    while let Some(paused) = queue.recv().await {
        let (method, params) = match served.answer(&paused, fetcher).await {
            Ok(answer) => ("Fetch.fulfillRequest", answer),
            Err(reason) => ("Fetch.failRequest", paused.refusal(reason)),
        };
        // The page may have gone on without it.
        wire.command(Some(session), method, params).await.ok();
        served.ended();
    }
    // Nobody asks any longer; who draws the page says when it is done.
    std::future::pending::<()>().await;
}

impl Served {
    async fn answer(&self, paused: &Paused, fetcher: &mut Fetcher) -> Result<Value, &'static str> {
        let Ok(url) = Url::parse(&paused.request.url) else { return Err("Failed") };
        if self.is_document(&url, paused) {
            return Ok(fulfilment(&paused.id, StatusCode::OK, &self.document.headers, &self.document.bytes));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err("AccessDenied");
        }
        let request = self.request(paused, &url);
        let came = match fetcher.fetch(&request, None).await {
            Ok(Answer::Page(body)) => Ok((StatusCode::OK, body)),
            Ok(Answer::Refused(status, body)) => {
                self.failed(&url, &anyhow!("{status}"));
                Ok((status, body))
            }
            Ok(Answer::NotModified { .. }) => Err(anyhow!("it says not modified, and was not asked")),
            Err(Failure::Lost(cause) | Failure::Forbidden(cause) | Failure::Resting { cause, .. }) => Err(cause),
        };
        let decoded = came.and_then(|(status, body)| {
            let bytes = decode::decode(body.bytes, &body.codings, request.body_max)?;
            Ok((status, body.headers, bytes))
        });
        match decoded {
            Ok((status, headers, bytes)) => {
                self.state().bytes += bytes.len() as u64;
                Ok(fulfilment(&paused.id, status, &headers, &bytes))
            }
            Err(error) => {
                self.failed(&url, &error);
                Err("Failed")
            }
        }
    }

    /// What the page asks, with the source's keys where it is for the page's own site.
    fn request(&self, paused: &Paused, url: &Url) -> Request {
        let is_own = url.origin() == self.page.origin() && url.origin() == self.template.url.origin();
        let mut headers = if is_own { self.template.headers.clone() } else { self.template.harmless_headers() };
        for (name, value) in &paused.request.headers {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            else {
                continue;
            };
            let is_ours = [USER_AGENT, ACCEPT_ENCODING, COOKIE, HOST, CONNECTION, CONTENT_LENGTH].contains(&name);
            if !is_ours && !name.as_str().starts_with("sec-") {
                headers.insert(name, value);
            }
        }
        let content_type = headers.remove(CONTENT_TYPE);
        let payload = paused.request.body.as_ref().map(|body| Payload {
            content_type: content_type.unwrap_or_else(|| HeaderValue::from_static("text/plain;charset=UTF-8")),
            bytes: body.clone().into(),
            form: Vec::new(),
        });
        Request {
            method: Method::try_from(paused.request.method.as_str()).unwrap_or(Method::GET),
            url: url.clone(),
            payload,
            headers,
            auth: self.template.auth.clone().filter(|_| is_own),
            ..self.template.clone()
        }
    }
}

fn fulfilment(id: &str, status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Value {
    // The body is decoded, and its length the browser sees.
    let is_kept = |name: &HeaderName| ![CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name);
    let headers: Vec<Value> = headers
        .iter()
        .filter(|(name, _)| is_kept(name))
        .filter_map(|(name, value)| Some(json!({ "name": name.as_str(), "value": value.to_str().ok()? })))
        .collect();
    json!({ "requestId": id, "responseCode": status.as_u16(), "responseHeaders": headers, "body": BASE64.encode(bytes) })
}
