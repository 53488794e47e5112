//! What is asked, what comes back, and what is remembered of it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;

use super::decode;
use crate::auth::Auth;

/// Where a client of server-sent events was (WHATWG HTML, 9.2.4).
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const ACCEPTED_CODINGS: &str = "gzip, deflate, br, zstd";
/// A longer validator is not kept: it would stand in the cursor and in every request.
const VALIDATOR_BYTES_MAX: usize = 1024;
/// A page is believed to stay as it is for no longer than this.
const FRESH_MAX: Duration = Duration::from_hours(24);

/// What is asked, every time.
#[derive(Clone)]
pub struct Request {
    /// How; a redirect may make it `GET`.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// What is sent along.
    pub payload: Option<Payload>,
    /// The user's own; marked sensitive, so that no debug text shows them.
    pub headers: HeaderMap,
    /// Makes the `Authorization` of each request to the page's own origin.
    pub auth: Option<Auth>,
    /// What the source calls itself.
    pub user_agent: HeaderValue,
    /// What is accepted, where the user's headers do not say.
    pub accept: HeaderValue,
    /// Until the last byte of the page is there, not counting the wait for a turn.
    pub total: Duration,
    /// The most bytes of a body, as it comes.
    pub body_max: u64,
    /// The most redirects that are followed.
    pub redirects_max: usize,
}

/// What is sent along with a request.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Its bytes.
    pub bytes: Bytes,
    /// The parameters that it was made of, where it is a form: they are part of a signature.
    pub form: Vec<(String, String)>,
}

/// What upstream calls the version of a page that it sent: sent back as it came, to be told "not modified".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    /// A hash of the address that it came from, because behind a redirect another page may have the same tag.
    url: String,
    /// Opaque, with its quotes and `W/` (RFC 9110, 8.8.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
}

/// What came back.
pub enum Answer {
    /// A page.
    Page(Body),
    /// The page that was sent last has not changed.
    NotModified {
        /// What it is called from now on.
        validator: Validator,
        /// How long it says that it stays as it is.
        fresh: Duration,
        /// Where it was found, behind redirects.
        url: Url,
    },
    /// Any other status.
    Refused(StatusCode, Body),
}

/// A body as it came, still coded.
#[derive(Clone)]
pub struct Body {
    /// The answer's status.
    pub status: StatusCode,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How they are coded, the outermost last.
    pub codings: Vec<String>,
    /// All headers of the answer.
    pub headers: HeaderMap,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// What upstream calls this version of it.
    pub validator: Option<Validator>,
    /// Where it was found, behind redirects.
    pub url: Url,
    /// How long it says that it stays as it is; zero where it does not.
    pub fresh: Duration,
    /// For how long the host is left alone now, because of this answer.
    pub rest: Option<Duration>,
}

impl Body {
    /// A body with what its headers say of it.
    pub(super) fn new(
        url: Url,
        status: StatusCode,
        headers: HeaderMap,
        bytes: Vec<u8>,
        rest: Option<Duration>,
    ) -> Self {
        let coded: Vec<&str> =
            headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")).collect();
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            status,
            bytes,
            codings: decode::codings(&coded.join(",")),
            content_type,
            validator: Validator::new(&url, &headers),
            url,
            fresh: fresh(&headers),
            rest,
            headers,
        }
    }
}

impl Validator {
    pub(super) fn new(url: &Url, headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= VALIDATOR_BYTES_MAX).then(|| value.to_owned())
        };
        let (etag, last_modified) = (text(ETAG), text(LAST_MODIFIED));
        (etag.is_some() || last_modified.is_some()).then(|| Self { url: url_hash(url), etag, last_modified })
    }

    pub(super) fn is_of(&self, url: &Url) -> bool {
        self.url == url_hash(url)
    }

    /// A 304 may bring a new tag; what it leaves out stays.
    pub(super) fn updated(&self, headers: &HeaderMap, url: &Url) -> Self {
        let Some(new) = Self::new(url, headers) else { return self.clone() };
        Self {
            url: new.url,
            etag: new.etag.or_else(|| self.etag.clone()),
            last_modified: new.last_modified.or_else(|| self.last_modified.clone()),
        }
    }
}

/// A hash, because a query may hold a key, and the validator is saved.
fn url_hash(url: &Url) -> String {
    blake3::hash(url.as_str().as_bytes()).to_hex()[..16].to_owned()
}

impl Request {
    /// Those headers that only describe the client, and where it was in a stream: any other may be a key, which no other
    /// site is told.
    pub fn harmless_headers(&self) -> HeaderMap {
        // An id of a stream that is somewhere else by now came from there.
        let is_harmless = |name: &HeaderName| {
            name.as_str().starts_with("accept") || [USER_AGENT, CACHE_CONTROL, LAST_EVENT_ID].contains(name)
        };
        let sent = self.headers.iter().filter(|(name, _)| is_harmless(name));
        sent.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The headers of one hop. Another origin than the page's gets only what describes the client.
    pub(super) fn headers(&self, is_own: bool, validator: Option<&Validator>) -> HeaderMap {
        let mut headers = if is_own { self.headers.clone() } else { self.harmless_headers() };
        headers.entry(ACCEPT).or_insert_with(|| self.accept.clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODINGS));
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let mut condition = |name, text: Option<&String>| {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        };
        condition(IF_NONE_MATCH, validator.and_then(|validator| validator.etag.as_ref()));
        condition(IF_MODIFIED_SINCE, validator.and_then(|validator| validator.last_modified.as_ref()));
        headers
    }
}

/// How long an answer says that it stays as it is (RFC 9111, 5.2.2): `max-age`, less the age that it came with.
pub(super) fn fresh(headers: &HeaderMap) -> Duration {
    let mut max_age = Duration::ZERO;
    for value in headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        for directive in value.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            if matches!(directive.as_str(), "no-cache" | "no-store") {
                return Duration::ZERO;
            }
            let seconds = directive.strip_prefix("max-age=").and_then(|text| text.trim_matches('"').parse().ok());
            max_age = seconds.map_or(max_age, Duration::from_secs);
        }
    }
    let age = headers.get(http::header::AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    max_age.saturating_sub(Duration::from_secs(age.unwrap_or(0))).min(FRESH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_page_stays_as_it_is() {
        for (headers, expected) in [
            (&[("cache-control", "max-age=60")][..], 60),
            (&[("cache-control", "public, Max-Age=\"60\""), ("age", "45")], 15),
            (&[("cache-control", "max-age=60, no-cache")], 0),
            (&[("cache-control", "max-age=60"), ("cache-control", "no-store")], 0),
            (&[("cache-control", "max-age=60"), ("age", "100")], 0),
            (&[("cache-control", "s-maxage=60")], 0),
            (&[("cache-control", "max-age=99999999")], 86_400),
            (&[("cache-control", "max-age=-1")], 0),
            (&[], 0),
        ] {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(fresh(&headers), Duration::from_secs(expected), "{headers:?}");
        }
    }
}
