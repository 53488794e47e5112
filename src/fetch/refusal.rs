//! What an answer that brings no page means for the driver: the same for every adapter.

use std::time::Duration;

use anyhow::anyhow;
use http::StatusCode;

use super::{Body, block, charset, decode};
use crate::source::SourceError;

/// How long to wait when the gate does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// How much of the answer's own words is shown.
const SNIPPET_CHARS: usize = 120;
/// The most that a refusal may be when decoded; only its beginning is shown.
const BYTES_MAX: u64 = 256 * 1024;

/// The driver's instruction for an answer with this status.
///
/// `words` makes of the answer, which is mostly a page, what is said of it: at most its beginning is shown.
pub fn source_error(status: StatusCode, body: Body, words: impl Fn(&str) -> String) -> SourceError {
    let rest = body.rest;
    let html = decode::decode(body.bytes, &body.codings, BYTES_MAX).unwrap_or_default();
    let html = charset::text(&html, None, body.content_type.as_deref());
    let words: String = words(&html).chars().filter(|c| !c.is_control()).take(SNIPPET_CHARS).collect();
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

/// The words of an answer to somebody who reads no pages: the title of a page, or else what is left without its tags.
pub fn plain_words(text: &str) -> String {
    let title = between(text, "<title", "</title").and_then(|title| title.split_once('>')).map(|(_, title)| title);
    let mut words = String::new();
    let mut rest = title.filter(|title| !title.trim().is_empty()).unwrap_or(text);
    while let Some((before, tag)) = rest.split_once('<') {
        words.extend([before, " "]);
        let end = ["script", "style"].into_iter().find(|name| starts_with(tag, name));
        rest = match end.and_then(|name| find(tag, &format!("</{name}"))) {
            Some(at) => &tag[at..],
            None => tag,
        };
        rest = rest.split_once('>').map_or("", |(_, rest)| rest);
    }
    words.push_str(rest);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between these two, in whatever case.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[find(text, start)? + start.len()..];
    Some(&rest[..find(rest, end)?])
}

fn find(text: &str, what: &str) -> Option<usize> {
    text.as_bytes().windows(what.len()).position(|window| window.eq_ignore_ascii_case(what.as_bytes()))
}

fn starts_with(text: &str, what: &str) -> bool {
    text.as_bytes().get(..what.len()).is_some_and(|start| start.eq_ignore_ascii_case(what.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_a_tree() {
        for (text, expected) in [
            ("{\"error\": \"no such thing\"}", "{\"error\": \"no such thing\"}"),
            ("<html><TITLE lang=en> Not\n here </Title><p>body", "Not here"),
            ("<style>p { color: red }</style><p>only <b>text</b></p><script>1 < 2</script>", "only text"),
            ("<title></title>a<", "a"),
            ("", ""),
        ] {
            assert_eq!(plain_words(text), expected, "{text}");
        }
    }

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
        let error =
            |status: u16, text: &str| source_error(StatusCode::from_u16(status).unwrap(), body(text), plain_words);
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
