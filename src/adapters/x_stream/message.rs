//! What a message of the stream is: a post, a control message, or something that nobody has told us of.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The epoch of X's ids, in milliseconds: an id is the time since then, shifted by 22 bits (twarc reads it so too).
const IDS_SINCE_MILLIS: i64 = 1_288_834_974_657;

/// Ids before this one, of November 2010, were counted and tell no time.
const IDS_WITH_TIME_SINCE: i64 = 30_000_000_000;

/// A message, understood as far as tapline has to.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// A post. It may come with errors about parts that could not be had.
    Post {
        /// The post's id, as its digits.
        id: Cow<'a, str>,
        /// When it was made, by its own word or else by its id.
        created_at: Option<DateTime<Utc>>,
    },
    /// X says that it ends the connection, and how it calls that.
    Disconnect(String),
    /// X says something about the connection that does not end it.
    Notice(String),
    /// JSON of a kind that is not known.
    Unknown,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    // The same control messages have been seen without their wrapping (twitter-api-typescript-sdk#69).
    #[serde(borrow, default)]
    disconnect_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    connection_issue: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    detail: Option<Cow<'a, str>>,
}

/// What is to be known of a post.
#[derive(Default)]
struct Post<'a> {
    id: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Control<'a> {
    #[serde(borrow)]
    disconnect_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    connection_issue: Option<Cow<'a, str>>,
    #[serde(borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

impl Control<'_> {
    /// What X calls the end of the connection, when this is one.
    fn disconnect(&self) -> Option<String> {
        let by_kind = || self.kind.as_deref().and_then(|kind| kind.rsplit('/').next());
        let named = self.disconnect_type.as_deref().or(self.connection_issue.as_deref());
        let ends = ["operational-disconnect", "streaming-connection", "client-disconnected"];
        named.or_else(|| by_kind().filter(|kind| ends.contains(kind))).map(str::to_owned)
    }

    fn words(&self) -> String {
        let words = [self.title.as_deref(), self.detail.as_deref()];
        words.into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

/// Understands a message.
pub(super) fn classify(message: &RawValue) -> Message<'_> {
    let json = message.get();
    let post = peek(json);
    if let Some(id) = post.id.and_then(digits) {
        let said = post.created_at.and_then(|at| DateTime::parse_from_rfc3339(at.get().trim_matches('"')).ok());
        let created_at = said.map(|at| at.to_utc());
        return Message::Post { created_at: created_at.or_else(|| time_of(&id)), id };
    }
    // A struct would take a list for its fields in order.
    let envelope = json.starts_with('{').then(|| serde_json::from_str::<Envelope<'_>>(json).ok()).flatten();
    envelope.map_or(Message::Unknown, control)
}

/// What is to be known of a post, which comes before everything else in its message: what follows is not read. The message
/// has been found to be JSON before, and a second look at all of it would cost half as much again as all else does.
fn peek(json: &str) -> Post<'_> {
    let mut post = Post::default();
    // An error where the rest was not read.
    drop(Peek { post: &mut post, is_inside: false }.deserialize(&mut serde_json::Deserializer::from_str(json)));
    post
}

/// Looks through a message, and from there into its `data`.
struct Peek<'f, 'a> {
    post: &'f mut Post<'a>,
    is_inside: bool,
}

/// A name in a message.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    Data,
    Id,
    CreatedAt,
    #[serde(other)]
    Other,
}

impl<'a> DeserializeSeed<'a> for Peek<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Peek<'_, 'a> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let done = || A::Error::custom("the rest is not read");
        while let Some(name) = map.next_key()? {
            match name {
                Name::Data if !self.is_inside => {
                    map.next_value_seed(Peek { post: self.post, is_inside: true })?;
                    return Err(done());
                }
                Name::Id if self.is_inside => self.post.id = Some(map.next_value()?),
                Name::CreatedAt if self.is_inside => self.post.created_at = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if self.post.id.is_some() && self.post.created_at.is_some() {
                return Err(done());
            }
        }
        Ok(())
    }
}

/// A message that is about the stream, or of a kind that nobody knows.
fn control(envelope: Envelope<'_>) -> Message<'_> {
    let bare = Control {
        disconnect_type: envelope.disconnect_type,
        connection_issue: envelope.connection_issue,
        title: envelope.title,
        kind: envelope.kind,
        detail: envelope.detail,
    };
    let wrapped: Vec<Control<'_>> =
        envelope.errors.and_then(|errors| serde_json::from_str(errors.get()).ok()).unwrap_or_default();
    let all = || std::iter::once(&bare).chain(&wrapped);
    if let Some((control, name)) = all().find_map(|control| Some((control, control.disconnect()?))) {
        let words = control.words();
        return Message::Disconnect(if words.is_empty() { name } else { format!("{name}: {words}") });
    }
    let is_problem = envelope.errors.is_some() || all().any(|control| control.kind.as_deref().is_some_and(is_problem));
    if is_problem {
        let words: Vec<String> = all().map(Control::words).filter(|words| !words.is_empty()).collect();
        return Message::Notice(words.join("; "));
    }
    Message::Unknown
}

fn is_problem(kind: &str) -> bool {
    kind.contains("/problems/")
}

/// An id that is a string of digits, or a number as in a capture of 2021. Never through a float.
fn digits(id: &RawValue) -> Option<Cow<'_, str>> {
    let text = id.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_id = (1..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then_some(Cow::Borrowed(digits))
}

/// When an id was made.
pub(super) fn time_of(id: &str) -> Option<DateTime<Utc>> {
    let id: i64 = id.parse().ok()?;
    let millis = (id >> 22) + IDS_SINCE_MILLIS;
    (id >= IDS_WITH_TIME_SINCE).then(|| DateTime::from_timestamp_millis(millis))?
}

/// The first id of a moment, for a search from or until there.
pub(super) fn id_at(at: DateTime<Utc>) -> i64 {
    let since = DateTime::from_timestamp_millis(IDS_SINCE_MILLIS).expect("invariant: a moment of 2010");
    (at - since).max(TimeDelta::zero()).num_milliseconds() << 22
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(json: &str) -> String {
        match classify(serde_json::from_str(json).unwrap()) {
            Message::Post { id, created_at } => {
                format!("post {id} {}", created_at.map(|at| at.to_rfc3339()).unwrap_or_default())
            }
            Message::Disconnect(why) => format!("disconnect {why}"),
            Message::Notice(what) => format!("notice {what}"),
            Message::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn each_kind_is_known() {
        for (json, expected) in [
            (
                r#"{"data":{"id":"1212092628029698048","text":"a"}}"#,
                "post 1212092628029698048 2019-12-31T19:26:16.771+00:00",
            ),
            (r#"{"data":{"created_at":"2019-12-31T19:26:16.000Z","id":"17"}}"#, "post 17 2019-12-31T19:26:16+00:00"),
            (
                r#"{"data":{"id":9223372036854775807},"errors":[{"title":"Not Found Error","type":"https://api.x.com/2/problems/resource-not-found"}]}"#,
                "post 9223372036854775807 2080-07-10T17:30:30.208+00:00",
            ),
            (r#"{"data":{"id":"1","text":"\ud83d"}}"#, "post 1 "),
            (
                r#"{"errors":[{"title":"operational-disconnect","disconnect_type":"UpstreamOperationalDisconnect","detail":"This stream has been disconnected upstream for operational reasons.","type":"https://api.x.com/2/problems/operational-disconnect"}]}"#,
                "disconnect UpstreamOperationalDisconnect: operational-disconnect: This stream has been disconnected upstream for operational reasons.",
            ),
            (
                r#"{"title":"operational-disconnect","type":"https://api.twitter.com/2/problems/operational-disconnect"}"#,
                "disconnect operational-disconnect: operational-disconnect",
            ),
            (r#"{"errors":[{"connection_issue":"TooManyConnections"}]}"#, "disconnect TooManyConnections"),
            (r#"{"errors":[{"title":"Something","detail":"else"}]}"#, "notice Something: else"),
            (r#"{"type":"connection_metadata","datacenter":"atla"}"#, "unknown"),
            (r#"{"data":{"id":"12a"}}"#, "unknown"),
            (r#"{"data":null}"#, "unknown"),
            (r#"[{"id":"1212092628029698048"}]"#, "unknown"),
            (r#"{"errors":[],"data":{"id":"17"},"data":{"id":"18"}}"#, "post 17 "),
            (r#"{"data":{"id":"17","created_at":5}}"#, "post 17 "),
            (r#"{"data":[17],"title":{}}"#, "unknown"),
        ] {
            assert_eq!(shown(json), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(json in "\\PC*|\\{\"(data|errors|id)\":[\\[\\]{}\",:0-9a-d]{0,30}\\}") {
            if let Ok(json) = serde_json::from_str::<&RawValue>(&json) {
                prop_assert!(!shown(json.get()).is_empty());
            }
        }

        #[test]
        fn an_id_and_its_time_belong_together(millis in 1_300_000_000_000_i64..3_000_000_000_000) {
            let at = DateTime::from_timestamp_millis(millis).unwrap();
            prop_assert_eq!(time_of(&id_at(at).to_string()), Some(at));
        }
    }
}
