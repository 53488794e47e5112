//! What a message of the older protocol is: a status, one of the notices about statuses and the connection, or
//! something that nobody has told us of.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How `created_at` is written: `Wed Oct 10 20:19:24 +0000 2018`.
const CREATED_AT: &str = "%a %b %d %H:%M:%S %z %Y";
/// An id has at most as many digits as 64 bits need.
const ID_DIGITS_MAX: usize = 20;

/// A message, understood as far as tapline has to. Ids are their digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Message<'a> {
    /// A status.
    Status {
        /// Its id.
        id: &'a str,
        /// When it was made: `timestamp_ms`, or else `created_at`.
        created_at: Option<DateTime<Utc>>,
    },
    /// A status was deleted; this may come before the status itself.
    Delete {
        /// The status.
        id: &'a str,
        /// Whose it was.
        user_id: Option<&'a str>,
        /// When it was deleted.
        deleted_at: Option<DateTime<Utc>>,
    },
    /// A user took back where the statuses up to an id were made.
    ScrubGeo {
        /// The user.
        user_id: &'a str,
        /// The last status concerned.
        up_to_id: Option<&'a str>,
    },
    /// More statuses matched than are delivered.
    Limit {
        /// How many were not delivered since the connection was made; a sum, not an increase.
        undelivered: u64,
        /// As of when.
        counted_at: Option<DateTime<Utc>>,
    },
    /// The server ends the connection.
    Disconnect {
        /// Its number for why.
        code: Option<u64>,
        /// Its words for why.
        reason: Option<Cow<'a, str>>,
    },
    /// The server warns, such as of a reader that is too slow.
    Warning {
        /// Its word for it, such as `FALLING_BEHIND`.
        code: Option<Cow<'a, str>>,
        /// Its sentence.
        message: Option<Cow<'a, str>>,
        /// How full its queue for this connection is, as it writes it.
        percent_full: Option<&'a str>,
    },
    /// A status is withheld in some countries.
    StatusWithheld {
        /// The status.
        id: &'a str,
        /// Whose it is.
        user_id: Option<&'a str>,
        /// Where, as codes of two letters.
        countries: Vec<Cow<'a, str>>,
    },
    /// A user is withheld in some countries.
    UserWithheld {
        /// The user.
        id: &'a str,
        /// Where, as codes of two letters.
        countries: Vec<Cow<'a, str>>,
    },
    /// Text instead of JSON that refuses the connection, though it began well: to be met like a status 420.
    Refused(Cow<'a, str>),
    /// Other text.
    Text(Cow<'a, str>),
    /// JSON of a kind that is not known.
    Unknown,
}

/// Every key that tells one message from another. Values stay text until they are wanted.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    id_str: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    full_text: Option<&'a RawValue>,
    #[serde(borrow)]
    delete: Option<&'a RawValue>,
    #[serde(borrow)]
    scrub_geo: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    disconnect: Option<&'a RawValue>,
    #[serde(borrow)]
    warning: Option<&'a RawValue>,
    #[serde(borrow)]
    status_withheld: Option<&'a RawValue>,
    #[serde(borrow)]
    user_withheld: Option<&'a RawValue>,
}

/// The keys of all notices.
#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    id_str: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id_str: Option<&'a RawValue>,
    #[serde(borrow)]
    up_to_status_id: Option<&'a RawValue>,
    #[serde(borrow)]
    up_to_status_id_str: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    track: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    percent_full: Option<&'a RawValue>,
    #[serde(borrow)]
    withheld_in_countries: Option<&'a RawValue>,
}

/// What the message is. Never fails: what cannot be read is [`Message::Unknown`], and is still kept as it came.
pub(in super::super) fn classify(message: &[u8]) -> Message<'_> {
    if !matches!(message.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return text(message);
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(message) else { return Message::Unknown };
    envelope.status().or_else(|| envelope.notice()).unwrap_or(Message::Unknown)
}

/// What the server means by the number of a disconnect message.
pub(in super::super) fn disconnect_in_words(code: u64) -> &'static str {
    match code {
        1 => "the server shuts down or moves the connection (shutdown)",
        2 => "the same account opened the same stream again elsewhere (duplicate stream)",
        3 => "the connection was ended by hand (control request)",
        4 => "this reader was too slow (stall)",
        5 => "the end of what was asked for (normal)",
        6 => "the token was withdrawn (token revoked)",
        7 => "the same keys logged in elsewhere, and this was the oldest connection (admin logout)",
        9 => "as many messages as the connection may have (max message limit)",
        10 => "a fault inside the server (stream exception)",
        11 => "a part of the server was too slow (broker stall)",
        12 => "the server has too much to do (shed load)",
        _ => "a reason that tapline does not know",
    }
}

impl<'a> Envelope<'a> {
    fn status(&self) -> Option<Message<'a>> {
        let id = id(self.id_str, self.id)?;
        // A notice could have an id too; a status always says something, or whose it is, or when it was.
        let parts = [self.user, self.text, self.full_text, self.created_at, self.timestamp_ms];
        parts.iter().any(Option::is_some).then(|| Message::Status {
            id,
            created_at: moment(self.timestamp_ms).or_else(|| self.created_at.and_then(created_at)),
        })
    }

    fn notice(&self) -> Option<Message<'a>> {
        let inside = |value: Option<&'a RawValue>| serde_json::from_str::<Notice<'a>>(value?.get()).ok();
        if let Some(delete) = inside(self.delete) {
            let status = inside(delete.status)?;
            Some(Message::Delete {
                id: id(status.id_str, status.id)?,
                user_id: id(status.user_id_str, status.user_id),
                deleted_at: moment(delete.timestamp_ms),
            })
        } else if let Some(scrub) = inside(self.scrub_geo) {
            Some(Message::ScrubGeo {
                user_id: id(scrub.user_id_str, scrub.user_id)?,
                up_to_id: id(scrub.up_to_status_id_str, scrub.up_to_status_id),
            })
        } else if let Some(limit) = inside(self.limit) {
            Some(Message::Limit { undelivered: number(limit.track)?, counted_at: moment(limit.timestamp_ms) })
        } else if let Some(disconnect) = inside(self.disconnect) {
            Some(Message::Disconnect { code: number(disconnect.code), reason: string(disconnect.reason) })
        } else if let Some(warning) = inside(self.warning) {
            Some(Message::Warning {
                code: string(warning.code),
                message: string(warning.message),
                percent_full: warning.percent_full.map(bare),
            })
        } else if let Some(withheld) = inside(self.status_withheld) {
            Some(Message::StatusWithheld {
                id: id(withheld.id_str, withheld.id)?,
                user_id: id(withheld.user_id_str, withheld.user_id),
                countries: strings(withheld.withheld_in_countries),
            })
        } else {
            let withheld = inside(self.user_withheld)?;
            Some(Message::UserWithheld {
                id: id(withheld.id_str, withheld.id)?,
                countries: strings(withheld.withheld_in_countries),
            })
        }
    }
}

/// The digits of an id, of the text form if there is one: the number may have gone through a float on its way.
fn id<'a>(text: Option<&'a RawValue>, number: Option<&'a RawValue>) -> Option<&'a str> {
    text.and_then(digits).or_else(|| number.and_then(digits))
}

fn digits(value: &RawValue) -> Option<&str> {
    let digits = bare(value);
    let is_id = (1..=ID_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then_some(digits)
}

/// A number or a string without escapes, as its text.
fn bare(value: &RawValue) -> &str {
    let text = value.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn number(value: Option<&RawValue>) -> Option<u64> {
    digits(value?)?.parse().ok()
}

fn moment(millis: Option<&RawValue>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(digits(millis?)?.parse().ok()?)
}

fn created_at(value: &RawValue) -> Option<DateTime<Utc>> {
    DateTime::parse_from_str(bare(value), CREATED_AT).ok().map(|moment| moment.to_utc())
}

#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

fn string<'a>(value: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    serde_json::from_str(value?.get()).ok().map(|Borrowed(text): Borrowed<'a>| text)
}

fn strings<'a>(value: Option<&'a RawValue>) -> Vec<Cow<'a, str>> {
    let list = value.and_then(|value| serde_json::from_str::<Vec<Borrowed<'a>>>(value.get()).ok());
    list.unwrap_or_default().into_iter().map(|Borrowed(text)| text).collect()
}

/// A line that is not JSON. Servers are known to put what belongs to a status 420 into a stream that began well.
fn text(message: &[u8]) -> Message<'_> {
    let words = String::from_utf8_lossy(message.trim_ascii());
    let lower = words.to_ascii_lowercase();
    let refusals = ["exceeded connection limit", "enhance your calm", "easy there, turbo", "too many requests"];
    if refusals.iter().any(|refusal| lower.contains(refusal)) { Message::Refused(words) } else { Message::Text(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use proptest::prelude::*;

    fn at(text: &str) -> Option<DateTime<Utc>> {
        text.parse().ok()
    }

    #[test]
    fn statuses_by_text_or_number_and_either_time() {
        for (message, expected_id, expected_time) in [
            (
                r#"{"created_at":"Wed Oct 10 20:19:24 +0000 2018","id":1050118621198921728,"id_str":"1050118621198921728","text":"a","user":{"id":1,"id_str":"1"},"timestamp_ms":"1539202764657"}"#,
                "1050118621198921728",
                at("2018-10-10T20:19:24.657Z"),
            ),
            (
                r#"{"created_at":"Wed Oct 10 20:19:24 +0000 2018","id":9223372036854775807,"text":"a"}"#,
                "9223372036854775807",
                at("2018-10-10T20:19:24Z"),
            ),
            (r#"{"id":1.05e18,"id_str":"1050118621198921729","text":"a"}"#, "1050118621198921729", None),
            (r#"{"id":"7","user":{},"timestamp_ms":1539202764657}"#, "7", at("2018-10-10T20:19:24.657Z")),
            (r#"{"id":7,"created_at":"yesterday","timestamp_ms":"soon"}"#, "7", None),
            // A status about limits is no limit, and what is nested is not the status itself.
            (r#"{"limit":{"track":5},"retweeted_status":{"id":1},"id":7,"full_text":"\ud800"}"#, "7", None),
        ] {
            assert_eq!(
                classify(message.as_bytes()),
                Message::Status { id: expected_id, created_at: expected_time },
                "{message}"
            );
        }
        let year = at("2018-10-10T20:19:24Z").unwrap() + TimeDelta::days(365);
        let text = format!(r#"{{"id":1,"created_at":"{}"}}"#, year.format("%a %b %d %H:%M:%S +0000 %Y"));
        assert_eq!(classify(text.as_bytes()), Message::Status { id: "1", created_at: Some(year) });
    }

    #[test]
    fn notices() {
        let cases = [
            (
                r#"{"delete":{"status":{"id":1234,"id_str":"1234","user_id":3,"user_id_str":"3"},"timestamp_ms":"1539202764657"}}"#,
                Message::Delete { id: "1234", user_id: Some("3"), deleted_at: at("2018-10-10T20:19:24.657Z") },
            ),
            (r#"{"delete":{"status":{"id":1234}}}"#, Message::Delete { id: "1234", user_id: None, deleted_at: None }),
            (
                r#"{"scrub_geo":{"user_id":14,"user_id_str":"14","up_to_status_id":23,"up_to_status_id_str":"23"}}"#,
                Message::ScrubGeo { user_id: "14", up_to_id: Some("23") },
            ),
            (
                r#"{"limit":{"track":542,"timestamp_ms":"1539202764657"}}"#,
                Message::Limit { undelivered: 542, counted_at: at("2018-10-10T20:19:24.657Z") },
            ),
            (
                r#"{"disconnect":{"code":4,"stream_name":"a-statusesfilter1","reason":"too\tslow"}}"#,
                Message::Disconnect { code: Some(4), reason: Some("too\tslow".into()) },
            ),
            (
                r#"{"warning":{"code":"FALLING_BEHIND","message":"hurry","percent_full":60}}"#,
                Message::Warning {
                    code: Some("FALLING_BEHIND".into()),
                    message: Some("hurry".into()),
                    percent_full: Some("60"),
                },
            ),
            (
                r#"{"status_withheld":{"id":1234567890,"user_id":123456,"withheld_in_countries":["DE","AR"]}}"#,
                Message::StatusWithheld {
                    id: "1234567890",
                    user_id: Some("123456"),
                    countries: vec!["DE".into(), "AR".into()],
                },
            ),
            (
                r#"{"user_withheld":{"id":123456,"withheld_in_countries":["XX"]}}"#,
                Message::UserWithheld { id: "123456", countries: vec!["XX".into()] },
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(classify(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn words_and_what_nobody_knows() {
        let refused = "Exceeded connection limit for user";
        assert_eq!(classify(refused.as_bytes()), Message::Refused(refused.into()));
        let calm = b"Easy there, Turbo. Too many requests recently. Enhance your calm.\r\n";
        assert!(matches!(classify(calm), Message::Refused(_)));
        assert_eq!(classify(b"hello \xff"), Message::Text("hello \u{fffd}".into()));
        for unknown in [
            "{}",
            "[]",
            "{\"id\":1}",
            "{\"id\":1,\"id\":2,\"text\":\"\"}",
            "{\"friends\":[1]}",
            "{\"delete\":{}}",
            "{\"limit\":{\"track\":-1}}",
            "{\"id\":1e3,\"text\":\"a\"}",
            "{\"id\":123456789012345678901,\"text\":\"a\"}",
            "{\"text\":",
            "{\"delete\":null}",
        ] {
            assert_eq!(classify(unknown.as_bytes()), Message::Unknown, "{unknown}");
        }
    }

    #[test]
    fn every_code_has_its_own_words() {
        let words: std::collections::HashSet<&str> = (0..=13).map(disconnect_in_words).collect();
        assert_eq!(words.len(), 12, "0, 8 and 13 are nobody's");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, json in "[{]?(\"(id|id_str|text|user|delete|status|limit|track|created_at|timestamp_ms)\"|:|,|[{}]|\\[|\\]|[0-9\"]|null){0,30}") {
            classify(&bytes);
            classify(json.as_bytes());
        }

        #[test]
        fn every_id_survives(id in 0_u64..=i64::MAX as u64, as_text: bool) {
            let digits = id.to_string();
            let value = if as_text { format!("\"{digits}\"") } else { digits.clone() };
            let message = format!(r#"{{"id":{value},"text":"a"}}"#);
            prop_assert_eq!(classify(message.as_bytes()), Message::Status { id: &digits, created_at: None });
        }
    }
}
