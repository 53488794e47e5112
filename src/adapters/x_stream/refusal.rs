//! What an answer means that is not a stream. The status alone does not tell: a 429 is four different things, and only
//! the body says which (facts from docs.x.com, "Response codes", and from reports of users).

use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::source::SourceError;

/// How long a source rests whose posts for the month, or credits, are used up: an attempt in an hour is no loop.
const USED_UP: Duration = Duration::from_hours(1);

/// The least wait after a rate limit, even one that ends sooner.
const LIMITED_MIN: Duration = Duration::from_mins(1);

/// A window of X's rate limits is a quarter of an hour; a longer wait would be a mistake of somebody's clock.
const LIMITED_MAX: Duration = Duration::from_mins(16);

/// How long until rules that were just added are in force (docs.x.com: about 20 s).
const ACTIVATION: Duration = Duration::from_secs(20);

/// How many characters of a body's own words are shown.
const WORDS_MAX: usize = 300;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Until when a rate limit holds, from its header.
    reset: Option<DateTime<Utc>>,
    problem: Problem,
    /// The body, when it is not JSON.
    text: String,
}

/// X's problems, in all the forms that bodies have been seen in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    connection_issue: Option<String>,
    period: Option<String>,
    error: Option<serde_json::Value>,
    errors: Vec<Inner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inner {
    message: Option<String>,
    detail: Option<String>,
    title: Option<String>,
    code: Option<i64>,
}

impl Refusal {
    /// Reads an answer.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let reset = headers.get("x-rate-limit-reset").and_then(|reset| reset.to_str().ok()?.trim().parse().ok());
        let problem = serde_json::from_slice(body).ok();
        let text = if problem.is_some() { String::new() } else { text_of(&String::from_utf8_lossy(body)) };
        let reset = reset.and_then(|reset| DateTime::from_timestamp(reset, 0));
        Self { status, reset, problem: problem.unwrap_or_default(), text }
    }

    /// Whether the answer is of X's own making, and not of something on the way to it.
    fn is_json(&self) -> bool {
        let Problem { title, errors, error, detail, .. } = &self.problem;
        title.is_some() || detail.is_some() || error.is_some() || !errors.is_empty()
    }

    /// The account has no rules, or none that are in force.
    pub(super) fn is_without_rules(&self) -> bool {
        let issue = self.problem.connection_issue.as_deref();
        let is_about_rules = matches!(issue, Some("RuleConfigurationIssue" | "RulesInvalidIssue"));
        is_about_rules || (self.status == StatusCode::CONFLICT && issue.is_none())
    }

    /// What it says, for a person.
    pub(super) fn words(&self) -> String {
        let Problem { title, detail, reason, connection_issue, period, errors, error, .. } = &self.problem;
        let named = connection_issue.as_ref().or(title.as_ref()).cloned();
        let inner = errors.iter().flat_map(|inner| {
            let code = inner.code.map(|code| format!("code {code}"));
            [inner.title.clone(), inner.message.clone(), inner.detail.clone(), code]
        });
        let error = error.as_ref().map(ToString::to_string);
        let all = [named, period.clone(), reason.clone(), detail.clone(), error].into_iter().chain(inner);
        let mut words: Vec<String> = all.flatten().collect();
        words.dedup();
        if !self.text.is_empty() {
            words.push(format!("\"{}\"", self.text));
        }
        let words: String = words.join(", ").chars().take(WORDS_MAX).collect();
        if words.is_empty() { self.status.to_string() } else { format!("{}: {words}", self.status) }
    }

    /// The driver's instruction. `what` was asked for.
    pub(super) fn into_error(self, what: &str, now: DateTime<Utc>) -> SourceError {
        let because = |advice: &str| anyhow!("{what}: upstream answered {}{advice}", self.words());
        match self.status.as_u16() {
            402 => SourceError::Throttled {
                wait: USED_UP,
                cause: because("; the account's credits are used up: add some, it is tried again each hour"),
            },
            429 | 420 => self.limited(because, now),
            409 if self.is_without_rules() => {
                SourceError::Throttled { wait: ACTIVATION, cause: because("; the account has no rule in force yet") }
            }
            401 => SourceError::Refused(because("; check `auth`")),
            403 if self.is_json() => SourceError::Refused(because(self.advice_on_403())),
            // A page in between, such as a firewall's.
            403 | 404 if !self.is_json() && !self.text.is_empty() => SourceError::Blocked(because("")),
            400 | 404 | 405 | 406 | 410 | 413 | 414 | 416 => SourceError::Refused(because("")),
            300..400 => SourceError::Refused(because("; a redirect is not followed: set `base_url` to where it leads")),
            _ => SourceError::Failing(because("")),
        }
    }

    fn limited(&self, because: impl Fn(&str) -> anyhow::Error, now: DateTime<Utc>) -> SourceError {
        let Problem { title, kind, connection_issue, .. } = &self.problem;
        let is = |word: &str| {
            [title, connection_issue].into_iter().flatten().any(|text| text == word)
                || kind.as_deref().and_then(|kind| kind.rsplit('/').next()) == Some(word)
        };
        if is("UsageCapExceeded") || is("usage-capped") {
            let cause = because("; no more posts until the cap is reset or raised: it is tried again each hour");
            return SourceError::Throttled { wait: USED_UP, cause };
        }
        // Comes with plenty of requests left, and the header's time means nothing here.
        if is("TooManyConnections") || is("ConnectionException") || is("streaming-connection") {
            return SourceError::Limited(because(
                "; another connection of this account is open, or X has not noticed yet that it is gone",
            ));
        }
        match self.reset {
            Some(reset) => {
                let wait = (reset - now).to_std().unwrap_or_default().clamp(LIMITED_MIN, LIMITED_MAX);
                SourceError::Throttled { wait, cause: because("; the rate limit is used up") }
            }
            None => SourceError::Limited(because("")),
        }
    }

    fn advice_on_403(&self) -> &'static str {
        let kind = self.problem.kind.as_deref().and_then(|kind| kind.rsplit('/').next());
        match (kind, self.problem.reason.as_deref()) {
            (Some("unsupported-authentication"), _) => {
                "; the v2 stream takes a bearer token alone: set `auth: { bearer }`"
            }
            (_, Some("client-not-enrolled")) => "; attach the app to a project with access to this endpoint",
            _ => "; the account may not use this endpoint, field or parameter",
        }
    }
}

/// The words of a page, without its tags.
fn text_of(body: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for character in body.chars().take(20_000) {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            _ if character.is_control() => text.push(' '),
            _ => text.push(character),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-23T07:00:00Z";

    fn error(status: u16, headers: &[(&'static str, &str)], body: &str) -> (String, String) {
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), &headers.collect(), body.as_bytes());
        let (kind, cause) = match refusal.into_error("the stream", NOW.parse().unwrap()) {
            SourceError::Throttled { wait, cause } => (format!("throttled {}", wait.as_secs()), cause),
            SourceError::Limited(cause) => ("limited".into(), cause),
            SourceError::Failing(cause) => ("failing".into(), cause),
            SourceError::Blocked(cause) => ("blocked".into(), cause),
            SourceError::Refused(cause) => ("refused".into(), cause),
            other => panic!("{other:?}"),
        };
        (kind, cause.to_string())
    }

    /// Each row of what X is known to answer.
    #[test]
    fn every_answer_has_its_meaning() {
        let window = [("x-rate-limit-reset", "1795417500"), ("x-rate-limit-remaining", "48")];
        let not_enrolled = r#"{"client_id":"1","detail":"When authenticating requests …","title":"Client Forbidden","required_enrollment":"Appropriate Level of API Access","reason":"client-not-enrolled","type":"https://api.twitter.com/2/problems/client-forbidden"}"#;
        let unsupported = r#"{"title":"Unsupported Authentication","detail":"Authenticating with OAuth 1.0a User Context is forbidden for this endpoint.  Supported authentication types are [OAuth 2.0 Application-Only].","status":403,"type":"https://api.twitter.com/2/problems/unsupported-authentication"}"#;
        for (status, body, kind, words) in [
            (
                400,
                r#"{"errors":[{"parameters":{},"message":"bad field"}],"title":"Invalid Request","detail":"One or more parameters to your request was invalid.","type":"https://api.x.com/2/problems/invalid-request"}"#,
                "refused",
                "bad field",
            ),
            (
                401,
                r#"{"title":"Unauthorized","type":"about:blank","status":401,"detail":"Unauthorized"}"#,
                "refused",
                "check `auth`",
            ),
            (401, r#"{"errors":[{"message":"Invalid or expired token","code":89}]}"#, "refused", "code 89"),
            (402, r#"{"title":"CreditsDepleted"}"#, "throttled 3600", "credits"),
            (403, not_enrolled, "refused", "attach the app"),
            (403, unsupported, "refused", "auth: { bearer }"),
            (403, "<html><body><h1>Please use V2</h1></body></html>", "blocked", "\"Please use V2\""),
            (
                409,
                r#"{"title":"ConnectionException","detail":"You must define rules","connection_issue":"RuleConfigurationIssue","type":"https://api.twitter.com/2/problems/streaming-connection"}"#,
                "throttled 20",
                "no rule in force",
            ),
            (
                429,
                r#"{"title":"ConnectionException","detail":"This stream is currently at the maximum allowed connection limit.","connection_issue":"TooManyConnections","type":"https://api.twitter.com/2/problems/streaming-connection"}"#,
                "limited",
                "another connection",
            ),
            (
                429,
                r#"{"account_id":1,"product_name":"standard-basic","title":"UsageCapExceeded","period":"Monthly","scope":"Product","detail":"Usage cap exceeded: Monthly product cap","type":"https://api.twitter.com/2/problems/usage-capped"}"#,
                "throttled 3600",
                "Monthly",
            ),
            (
                429,
                r#"{"title":"Too Many Requests","detail":"Too Many Requests","type":"about:blank","status":429}"#,
                "throttled 300",
                "Too Many Requests",
            ),
            (420, "Easy there, Turbo. Too many requests recently. Enhance your calm.", "throttled 300", "Turbo"),
            (
                503,
                r#"{"title":"Service Unavailable","detail":"Service Unavailable","type":"about:blank","status":503}"#,
                "failing",
                "Service Unavailable",
            ),
            (503, "<html>\u{1b}[31mOver capacity</html>", "failing", "Over capacity"),
            (500, "", "failing", "500"),
            (301, "", "refused", "base_url"),
        ] {
            let (found, why) = error(status, &window, body);
            assert_eq!(found, kind, "{status} {body}");
            assert!(why.contains(words) && !why.contains('\u{1b}'), "{why}");
        }
        assert_eq!(error(429, &[], "{}").0, "limited", "without a time");
        assert_eq!(error(429, &[("x-rate-limit-reset", "1795417201")], "{}").0, "throttled 60", "never sooner");
        assert_eq!(error(429, &[("x-rate-limit-reset", "9999999999")], "{}").0, "throttled 960", "never much later");
    }
}
