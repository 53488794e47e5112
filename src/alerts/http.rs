//! A message by HTTP: what a webhook and a Slack-compatible one have in common. Redirects are not followed.

use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use url::Url;

use crate::alert::{TellError, Wrong, plain};
use crate::auth;
use crate::config::Alert;
use crate::context::{Context, HttpOptions};
use crate::retry_after::retry_after;
use crate::store::Target;

const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How much of an answer's own words is shown, in characters, and read for it, in bytes.
const WORDS_MAX: usize = 200;
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Where messages are posted to.
pub(super) struct Post {
    context: Context,
    url: Url,
    headers: HeaderMap,
    /// The address as it may be shown.
    what: String,
}

/// The address without what lets anybody in: of a webhook that is often the path.
pub(super) fn shown(target: &Target) -> String {
    let rest = if target.path().len() > 1 { "/…" } else { target.path() };
    format!("{}://{}{rest}", target.scheme(), target.hosts())
}

impl Post {
    /// Posts to an address whose scheme ends with `http` or `https`.
    pub(super) fn new(alert: &Alert, target: &Target, context: &Context) -> Result<Self, Wrong> {
        let scheme = target.scheme().rsplit('+').next().unwrap_or("https");
        target.url(scheme).map_err(|why| ("to", why))?;
        let address = target.for_driver_without_login(scheme);
        let url = address.parse().map_err(|error| ("to", anyhow::anyhow!("this is no address: {error}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tapline/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(user) = target.user() {
            headers.insert(AUTHORIZATION, auth::basic(&user, &target.password().unwrap_or_default()));
        }
        for (name, text) in &alert.headers {
            let name: HeaderName =
                name.parse().map_err(|_| ("headers", anyhow::anyhow!("`{name}` is no name of a header")))?;
            let value = value(text).map_err(|why| ("headers", anyhow::anyhow!("{name}: {why}")))?;
            headers.insert(name, value);
        }
        Ok(Self { context: context.clone(), url, headers, what: shown(target) })
    }

    /// Posts a body. `id` is the same when the same comes again.
    pub(super) async fn send(&self, body: String, id: &str) -> Result<(), TellError> {
        let client = self.context.http(HttpOptions::plain(CONNECT_MAX)).map_err(TellError::again)?;
        let mut request = client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        // The field of draft-ietf-httpapi-idempotency-key-header.
        if let Ok(id) = HeaderValue::from_str(id) {
            request = request.header("idempotency-key", id);
        }
        let lost = |error: reqwest::Error| {
            let cause = anyhow::Error::new(error.without_url());
            TellError::again(anyhow::anyhow!("{}: {cause:#}", self.what))
        };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = asked.and_then(|value| retry_after(value, self.context.now()));
        let mut answer = Vec::new();
        // What the refusal says is a help and no more.
        while answer.len() < ANSWER_BYTES_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            answer.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX)]);
        }
        Err(error(status, &answer, wait, &self.what))
    }
}

/// What an answer means that is no success.
fn error(status: StatusCode, answer: &[u8], wait: Option<Duration>, what: &str) -> TellError {
    let words = String::from_utf8_lossy(answer);
    let words = plain(words.trim(), WORDS_MAX);
    let words = if words.is_empty() { words.into_owned() } else { format!(": {words}") };
    let cause = anyhow::anyhow!("{what} answered {status}{words}");
    match status.as_u16() {
        400 | 413 | 422 => TellError::Refused(cause),
        300..=399 => TellError::again(cause.context("redirects are not followed; write the new address")),
        _ => TellError::Again { wait, cause },
    }
}

fn value(text: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| anyhow::anyhow!("there are characters in it that no header can have"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let error = |status: u16, answer: &str| {
            let wait = Some(Duration::from_secs(7));
            error(StatusCode::from_u16(status).unwrap(), answer.as_bytes(), wait, "https://h/…")
        };
        for status in [401, 403, 404, 410, 429, 500, 503] {
            assert!(matches!(error(status, ""), TellError::Again { wait: Some(_), .. }), "{status}");
        }
        for status in [400, 413, 422] {
            assert!(matches!(error(status, ""), TellError::Refused(_)), "{status}");
        }
        let TellError::Refused(cause) = error(400, " invalid_payload\u{1b}[2J\n") else { panic!() };
        assert_eq!(cause.to_string(), "https://h/… answered 400 Bad Request: invalid_payload [2J");
        let TellError::Again { wait: None, cause } = error(302, "") else { panic!() };
        assert!(format!("{cause:#}").starts_with("redirects are not followed"));
    }
}
