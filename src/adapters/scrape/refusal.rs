//! What an answer that brings no page means for the driver.

use std::time::Duration;

use anyhow::anyhow;
use http::{HeaderMap, StatusCode};
use scraper::Selector;

use super::extract::Extraction;
use super::page::Page;
use super::text::shown_text;
use crate::fetch::{Body, block, charset, decode};
use crate::source::{Outcome, SourceError};

/// How long to wait when the gate does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// How much of the answer's own words is shown.
const SNIPPET_CHARS: usize = 120;
/// The most that a refusal may be when decoded; only its beginning is shown.
const BYTES_MAX: u64 = 256 * 1024;

/// The driver's instruction for an answer with this status.
pub(super) fn source_error(status: StatusCode, body: Body) -> SourceError {
    let rest = body.rest;
    let html = decode::decode(body.bytes, &body.codings, BYTES_MAX).unwrap_or_default();
    let html = charset::text(&html, None, body.content_type.as_deref());
    let words = snippet(&html);
    let words = if words.is_empty() { words } else { format!(": \"{words}\"") };
    let guard = block::named(&body.headers, &html).filter(|_| block::is_refusal(status.as_u16()));
    let cause = match guard {
        Some(guard) => anyhow!("blocked_by: {guard} guards the site, and answered {status}{words}"),
        None => anyhow!("http_status: upstream answered {status}{words}"),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            SourceError::Throttled { wait: rest.unwrap_or(WAIT_DEFAULT), cause }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SourceError::Blocked(cause),
        _ if guard.is_some() => SourceError::Blocked(cause),
        _ => SourceError::Lost(cause),
    }
}

/// A page with nothing of what was looked for may be a guard's instead of the site's own: then that is what is said of
/// it, and what became of the tick.
pub(super) fn name_guard(extraction: &mut Extraction, headers: &HeaderMap, html: &str) {
    if extraction.rejects.is_empty() || !extraction.rows.is_empty() {
        return;
    }
    let Some(guard) = block::instead(headers, html) else { return };
    for reject in &mut extraction.rejects {
        reject.outcome = Outcome::Blocked;
        reject.reason = format!("blocked_by: {guard} sent a page instead of the site's; {}", reject.reason);
    }
}

/// The first words of an answer, its title before its text, fit for a log line.
fn snippet(html: &str) -> String {
    let Ok(page) = Page::parse(html) else { return String::new() };
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
            status: StatusCode::OK,
            bytes: text.as_bytes().to_vec(),
            codings: vec![],
            content_type: None,
            headers: http::HeaderMap::new(),
            validator: None,
            url: "http://a.example/".parse().unwrap(),
            fresh: Duration::ZERO,
            rest: None,
        };
        let error = |status: u16, text: &str| source_error(StatusCode::from_u16(status).unwrap(), body(text));
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
