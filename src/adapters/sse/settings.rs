//! What the keys of a stream's file are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::Problem;
use crate::units::{Size, Span};
use crate::words::Words;

pub(super) fn default_idle() -> Span {
    Span(Duration::from_mins(1))
}

pub(super) fn default_max_event() -> Size {
    Size(4 << 20)
}

/// How a stream goes on after a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// The server is told the last id.
    #[default]
    Header,
    /// It begins with what is new.
    Off,
}

/// How a stream is coded on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    Off,
    /// Compressed.
    Gzip,
}

/// Where a stream begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartKeys {
    /// The id of an event: those after it are wanted.
    pub id: Option<String>,
    /// Parameters that are added to the address until an id has come. `now` and a time before it, such as `now-1h`, become a
    /// date such as `2026-11-23T07:04:05Z`; everything else is sent as it is.
    pub query: BTreeMap<String, Words>,
}

impl StartKeys {
    /// What is wrong with them, each with its path.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let id = self.id.iter().filter(|id| id.is_empty() || HeaderValue::from_str(id).is_err());
        let id = id.map(|_| Problem::new(["start", "id"], "an id is one line of text, and not empty"));
        let is_wrong = |word: &String| before_now(word).is_some_and(|before| before.is_err());
        let wrong = self.query.iter().filter(|(_, words)| words.0.iter().any(is_wrong));
        let message = "write `now`, or a time before it such as `now-1h`, or a date";
        id.chain(wrong.map(|(name, _)| Problem::new(["start", "query", name], message))).collect()
    }

    /// The parameters, at this moment.
    pub(super) fn parameters(&self, now: DateTime<Utc>) -> Vec<(&str, String)> {
        let value = |value: &str| match before_now(value) {
            Some(Ok(before)) => (now - before).to_rfc3339_opts(SecondsFormat::Secs, true),
            _ => value.to_owned(),
        };
        let pairs = self.query.iter().flat_map(|(name, words)| words.0.iter().map(move |word| (name, word)));
        pairs.map(|(name, word)| (name.as_str(), value(word))).collect()
    }
}

/// How long before now a text means; `None` for one that is not about now.
fn before_now(text: &str) -> Option<Result<TimeDelta, ()>> {
    let rest = text.strip_prefix("now")?;
    if rest.is_empty() {
        return Some(Ok(TimeDelta::zero()));
    }
    let span = rest.strip_prefix('-')?;
    let span = humantime::parse_duration(span.trim()).ok().and_then(|span| TimeDelta::from_std(span).ok());
    Some(span.filter(|span| *span <= TimeDelta::days(36_500)).ok_or(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_date_or_what_stands_there() {
        let now = "2026-11-23T07:04:05.5Z".parse().unwrap();
        let query = [("a", "now"), ("b", "now-1h 30m"), ("c", "2026-11-23"), ("d", "nowhere"), ("e", "1795417445000")];
        let query = query.map(|(name, value)| (name.to_owned(), Words(vec![value.to_owned()])));
        let start = StartKeys { id: None, query: query.into_iter().collect() };
        assert_eq!(start.problems(), []);
        let values: Vec<String> = start.parameters(now).into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["2026-11-23T07:04:05Z", "2026-11-23T05:34:05Z", "2026-11-23", "nowhere", "1795417445000"]);
        let wrong =
            StartKeys { id: Some("a\nb".into()), query: [("since".into(), Words(vec!["now-later".into()]))].into() };
        assert_eq!(wrong.problems().len(), 2);
    }
}
