//! What an answer that brings no page means for the driver.

use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, NaiveDateTime, Utc};
use http::StatusCode;
use scraper::Selector;

use super::charset;
use super::decode;
use super::fetch::Body;
use super::page::Page;
use super::text::shown_text;
use crate::source::SourceError;

/// The longest that an upstream can silence a source. Longer waits are asked for by mistake.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// How long to wait when upstream says "later" and not when.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
const WAIT_MIN: Duration = Duration::from_secs(1);
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

/// `Retry-After` in both its forms (RFC 9110, 10.2.3), within limits.
pub(super) fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are certainly more than the limit.
        value.parse().map_or(WAIT_MAX, Duration::from_secs)
    } else {
        // A moment that has passed asks for nothing more than the least wait.
        (http_date(value)? - now).to_std().unwrap_or(WAIT_MIN)
    };
    Some(wait.clamp(WAIT_MIN, WAIT_MAX))
}

/// A date of HTTP in its three forms: the present one, RFC 850's and asctime's.
fn http_date(value: &str) -> Option<DateTime<Utc>> {
    if let Ok(moment) = DateTime::parse_from_rfc2822(value) {
        return Some(moment.to_utc());
    }
    let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(value, form).ok()).map(|moment| moment.and_utc())
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
    fn retry_after_table() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("0", Some(1)),
            ("86400", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(1)),
            ("Sat, 06 Nov 2094 08:48:00 GMT", Some(3600)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

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
