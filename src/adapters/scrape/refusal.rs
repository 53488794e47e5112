//! What an answer that brings no page means for the driver.

use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use http::StatusCode;
use scraper::Selector;

use super::charset;
use super::decode;
use super::fetch::Body;
use super::page::Page;
use super::text::shown_text;
use crate::retry_after::retry_after;
use crate::source::SourceError;

/// How long to wait when upstream says "later" and not when.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// How much of the answer's own words is shown.
const SNIPPET_CHARS: usize = 120;
/// The most that a refusal may be when decoded; only its beginning is shown.
const BYTES_MAX: u64 = 256 * 1024;

/// The driver's instruction for an answer with this status.
pub(super) fn source_error(status: StatusCode, body: Body, now: DateTime<Utc>) -> SourceError {
    let wait = body.retry_after.as_deref().and_then(|value| retry_after(value, now));
    let words = snippet(body);
    let words = if words.is_empty() { words } else { format!(": \"{words}\"") };
    let cause = anyhow!("http_status: upstream answered {status}{words}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            SourceError::Throttled { wait: wait.unwrap_or(WAIT_DEFAULT), cause }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SourceError::Blocked(cause),
        _ => SourceError::Lost(cause),
    }
}

/// The first words of an answer, its title before its text, fit for a log line.
fn snippet(body: Body) -> String {
    let content_type = body.content_type;
    let Ok(bytes) = decode::decode(body.bytes, &body.codings, BYTES_MAX) else { return String::new() };
    let Ok(page) = Page::parse(&charset::text(&bytes, None, content_type.as_deref())) else { return String::new() };
    let title = Selector::parse("title").ok().and_then(|title| page.root().select(&title).next());
    let words = title.and_then(shown_text).filter(|words| !words.is_empty());
    let words = words.or_else(|| shown_text(page.root())).unwrap_or_default();
    words.chars().filter(|c| !c.is_control()).take(SNIPPET_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_an_instruction_with_its_words() {
        let body = |text: &str| Body {
            bytes: text.as_bytes().to_vec(),
            codings: vec![],
            content_type: None,
            validator: None,
            retry_after: None,
        };
        let now = "2026-11-23T07:04:05Z".parse().unwrap();
        let error = |status: u16, text: &str| source_error(StatusCode::from_u16(status).unwrap(), body(text), now);
        assert!(matches!(error(429, ""), SourceError::Throttled { wait: WAIT_DEFAULT, .. }));
        assert!(matches!(error(503, ""), SourceError::Throttled { .. }));
        assert!(matches!(error(401, ""), SourceError::Blocked(_)));
        assert!(matches!(error(403, ""), SourceError::Blocked(_)));
        assert!(matches!(error(500, ""), SourceError::Lost(_)));
        let SourceError::Lost(cause) = error(404, "<title>Not\u{1b}[31m\n here</title><p>body") else { panic!() };
        insta::assert_snapshot!(cause, @r#"http_status: upstream answered 404 Not Found: "Not[31m here""#);
        let SourceError::Lost(cause) = error(500, "<p>only text</p>") else { panic!() };
        insta::assert_snapshot!(cause, @r#"http_status: upstream answered 500 Internal Server Error: "only text""#);
    }
}
