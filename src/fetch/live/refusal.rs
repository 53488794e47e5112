//! What an answer means that is not the live stream that was asked for.
//!
//! The rules of WHATWG (HTML, "server-sent events", 9.2.3), as far as they are about what cannot help: a status other than 200
//! and another type of content end it for good, 204 is how a server says so. But a server that is asked for months is also in
//! between two versions, behind a guard, or overloaded, and what passes is tried again.

use std::time::Duration;

use anyhow::anyhow;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::context::shown_url;
use crate::fetch::{block, plain_words};
use crate::source::SourceError;

/// How many characters of a body's own words are shown.
const WORDS_MAX: usize = 300;

/// How much of a body is looked at for them.
const BYTES_LOOKED_AT: usize = 16 * 1024;

/// An answer that is not what was asked for.
pub(in super::super) struct Refusal<'a> {
    /// Where it came from.
    pub(in super::super) url: &'a Url,
    pub(in super::super) status: StatusCode,
    pub(in super::super) headers: &'a HeaderMap,
    /// What there is of its body.
    pub(in super::super) body: &'a [u8],
    /// What it asks for by `Retry-After`.
    pub(in super::super) retry_after: Option<Duration>,
    /// What it should have been.
    pub(in super::super) media_type: &'static str,
}

/// Whether an answer is of this type; what else stands there, such as a charset, counts for nothing.
pub(in super::super) fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    content_type(headers).eq_ignore_ascii_case(media_type)
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

impl Refusal<'_> {
    /// The driver's instruction.
    pub(in super::super) fn into_error(self) -> SourceError {
        let page = String::from_utf8_lossy(self.body);
        let from = shown_url(self.url);
        let because = |advice: &str| anyhow!("{from} answered {}{advice}", self.words(&page));
        let blocked = |guard: block::Block| SourceError::Blocked(because(&format!("; {guard} guards the site")));
        let status = self.status.as_u16();
        if let (429 | 503, Some(wait)) = (status, self.retry_after) {
            return SourceError::Throttled { wait, cause: because("") };
        }
        if let Some(guard) = block::instead(self.headers, &page) {
            return blocked(guard);
        }
        match status {
            200 => SourceError::Refused(because(&format!("; `{}` is wanted", self.media_type))),
            204 => SourceError::Refused(because(", which says that there is no more to come")),
            401 | 403 => match block::named(self.headers, &page) {
                Some(guard) => blocked(guard),
                // A page for people, where an API would have answered in its own way.
                None if status == 403 && self.is_page() => SourceError::Blocked(because("")),
                None => SourceError::Refused(because("; check `auth`")),
            },
            429 => SourceError::Limited(because("")),
            408 | 425 | 500.. => SourceError::Failing(because("")),
            404 | 410 => SourceError::Refused(because("; check `url`")),
            _ => SourceError::Refused(because("")),
        }
    }

    fn is_page(&self) -> bool {
        ["text/html", "application/xhtml+xml"].iter().any(|page| is_of_type(self.headers, page))
    }

    /// What it says, for a person.
    fn words(&self, page: &str) -> String {
        let kind: String = content_type(self.headers).chars().take(WORDS_MAX).collect();
        let words = match (self.status, kind.as_str()) {
            (StatusCode::OK, "") => format!("{} without a content type", self.status),
            (StatusCode::OK, kind) => format!("{} with `{kind}`", self.status),
            _ => self.status.to_string(),
        };
        // Mastodon refuses a websocket with an empty body, and says why in a header.
        let header = self.headers.get("x-error-message").and_then(|value| value.to_str().ok());
        let said = header.map_or_else(|| said(page), said);
        if said.is_empty() { words } else { format!("{words}: \"{}\"", said.escape_debug()) }
    }
}

/// The words of a body: of JSON what stands there, of a page what is for people.
fn said(page: &str) -> String {
    let page = &page[..page.floor_char_boundary(BYTES_LOOKED_AT)];
    let words = plain_words(page);
    words.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, headers: &[(&'static str, &str)], body: &str, retry_after: Option<u64>) -> String {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        let refusal = Refusal {
            url: &"https://me:pw@example.com/stream?key=secret".parse().unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body: body.as_bytes(),
            retry_after: retry_after.map(Duration::from_secs),
            media_type: "text/event-stream",
        };
        let (kind, cause) = match refusal.into_error() {
            SourceError::Throttled { wait, cause } => (format!("throttled {}", wait.as_secs()), cause),
            SourceError::Limited(cause) => ("limited".into(), cause),
            SourceError::Failing(cause) => ("failing".into(), cause),
            SourceError::Blocked(cause) => ("blocked".into(), cause),
            SourceError::Refused(cause) => ("refused".into(), cause),
            other => panic!("{other:?}"),
        };
        let cause = cause.to_string();
        assert!(cause.starts_with("https://example.com/stream?key=*** answered "), "{cause}");
        format!("{kind}: {}", cause.split_once(" answered ").unwrap().1)
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let html = [("content-type", "text/html; charset=utf-8")];
        let wikimedia = "Too Many Concurrent Connections From Your Client IP";
        for (status, headers, body, retry, expected) in [
            (204, &[][..], "", None, "refused: 204 No Content, which says that there is no more to come"),
            (
                200,
                &[("content-type", "application/json")],
                "{\"a\":1}",
                None,
                "refused: 200 OK with `application/json`: \"{\\\"a\\\":1}\"; `text/event-stream` is wanted",
            ),
            (200, &[], "", None, "refused: 200 OK without a content type; `text/event-stream` is wanted"),
            (
                200,
                &html,
                "<title>Just a moment...</title>",
                None,
                "blocked: 200 OK with `text/html`: \"Just a moment...\"; Cloudflare (by <title>Just a moment...</title>) guards the site",
            ),
            (
                401,
                &[],
                r#"{"error":"x"}"#,
                None,
                "refused: 401 Unauthorized: \"{\\\"error\\\":\\\"x\\\"}\"; check `auth`",
            ),
            (403, &html, "<h1>No\u{1b}[31m</h1>", None, "blocked: 403 Forbidden: \"No[31m\""),
            (403, &[("cf-ray", "8c")], "", None, "blocked: 403 Forbidden; Cloudflare (by cf-ray) guards the site"),
            (404, &[], "", None, "refused: 404 Not Found; check `url`"),
            (410, &[], "", Some(9), "refused: 410 Gone; check `url`"),
            (400, &[], "no such topic", None, "refused: 400 Bad Request: \"no such topic\""),
            (302, &[], "", None, "refused: 302 Found"),
            (429, &[], "", Some(30), "throttled 30: 429 Too Many Requests"),
            (
                429,
                &[],
                wikimedia,
                None,
                "limited: 429 Too Many Requests: \"Too Many Concurrent Connections From Your Client IP\"",
            ),
            (503, &[], "", Some(7), "throttled 7: 503 Service Unavailable"),
            (503, &[("cf-ray", "8c")], "", None, "failing: 503 Service Unavailable"),
            (500, &[], "", Some(7), "failing: 500 Internal Server Error"),
            (502, &html, "<p>Bad gateway</p>", None, "failing: 502 Bad Gateway: \"Bad gateway\""),
            (408, &[], "", None, "failing: 408 Request Timeout"),
        ] {
            assert_eq!(meaning(status, headers, body, retry), expected);
        }
    }

    #[test]
    fn a_type_has_parameters_and_any_case() {
        for (value, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream;charset=UTF-8", true),
            ("text/event-stream ; a=b", true),
            ("text/event-streams", false),
            ("text/plain", false),
            ("text/ event-stream", false),
            ("", false),
        ] {
            let headers: HeaderMap = [(CONTENT_TYPE, value.parse().unwrap())].into_iter().collect();
            assert_eq!(is_of_type(&headers, "text/event-stream"), expected, "{value}");
        }
    }
}
