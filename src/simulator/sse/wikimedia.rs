//! Wikimedia's `EventStreams`: an id that says for each topic up to when it was read, a replay that begins with what stands
//! there, canaries, an edge that ends every connection.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::state::Logged;
use crate::simulator::server::Reply;

/// What comes first.
pub(super) const HELLO: &[u8] = b":ok\n\n";

const SITES: [&str; 2] = ["eqiad", "codfw"];

/// Up to when each topic was read, in milliseconds; `None` where it begins with what is new.
#[derive(Debug, Clone)]
pub(super) struct Assignment(BTreeMap<String, Option<i64>>);

/// What an event is of: its topic.
fn topic(logged: &Logged) -> String {
    let site = usize::try_from(logged.number / 3 % 2).unwrap_or_default();
    format!("{}.mediawiki.recentchange", SITES[site])
}

impl Assignment {
    /// Of the streams that are asked for by a path, with what the client says where it was.
    pub(super) fn new(streams: &str, since: Option<&str>, last_event_id: Option<&str>) -> Result<Self, Reply> {
        let mut topics = BTreeMap::new();
        for stream in streams.split(',') {
            let known = ["recentchange", "mediawiki.recentchange", "mediawiki.page_change.v1"];
            if !known.contains(&stream) {
                return Err(refused(404, "not_found", &format!("{stream} is not a valid stream")));
            }
            let name = stream.strip_prefix("mediawiki.").unwrap_or(stream);
            topics.extend(SITES.iter().map(|site| (format!("{site}.mediawiki.{name}"), None)));
        }
        if let Some(id) = last_event_id {
            read_id(id, &mut topics)?;
        } else if let Some(since) = since {
            let since = moment(since).ok_or_else(|| {
                refused(400, "invalid_timestamp", &format!("since parameter {since} is not a valid timestamp"))
            })?;
            for at in topics.values_mut() {
                *at = Some(since);
            }
        }
        Ok(Self(topics))
    }

    /// Whether a client that was here is to be sent this: what stands at the moment itself comes again.
    pub(super) fn missed(&self, logged: &Logged) -> bool {
        self.0.get(&topic(logged)).copied().flatten().is_some_and(|from| logged.at.timestamp_millis() >= from)
    }

    fn id(&self) -> String {
        let topics = self.0.iter().map(|(topic, at)| match at {
            Some(at) => json!({ "topic": topic, "partition": 0, "timestamp": at }),
            None => json!({ "topic": topic, "partition": 0, "offset": -1 }),
        });
        // As the server has it: one array on one line.
        Value::from(topics.collect::<Vec<_>>()).to_string()
    }
}

/// Reads where a client was: an array with one element for each topic.
fn read_id(id: &str, topics: &mut BTreeMap<String, Option<i64>>) -> Result<(), Reply> {
    let wrong = |why: &str| refused(400, "invalid_last_event_id", why);
    let elements: Vec<Value> = serde_json::from_str(id).map_err(|_| wrong("Last-Event-ID could not be parsed"))?;
    for element in elements {
        let (Some(topic), Some(_)) = (element["topic"].as_str(), element["partition"].as_u64()) else {
            return Err(wrong("an assignment needs a topic and a partition"));
        };
        let Some(at) = topics.get_mut(topic) else {
            return Err(wrong(&format!("topic {topic} is not one of this stream's")));
        };
        *at = match (element["offset"].as_i64(), element["timestamp"].as_i64()) {
            // The offset wins where both are there.
            (Some(offset), _) if offset < 0 => None,
            (Some(_), _) => return Err(wrong("offsets are not simulated")),
            (None, Some(timestamp)) => Some(timestamp),
            (None, None) => return Err(wrong("an assignment needs an offset or a timestamp")),
        };
    }
    Ok(())
}

/// An ISO date, or milliseconds since 1970.
fn moment(text: &str) -> Option<i64> {
    let iso = || text.parse::<DateTime<Utc>>().ok().map(|at| at.timestamp_millis());
    text.parse().ok().or_else(iso)
}

/// The event as it goes over the wire.
pub(super) fn event(assignment: &mut Assignment, logged: Logged) -> Vec<u8> {
    let topic = topic(&logged);
    if let Some(at) = assignment.0.get_mut(&topic) {
        *at = Some(logged.at.timestamp_millis());
    }
    format!("event: message\nid: {}\ndata: {}\n\n", assignment.id(), change(&topic, logged)).into_bytes()
}

/// Something that was changed, or a canary in its place.
fn change(topic: &str, logged: Logged) -> Value {
    let Logged { number, at } = logged;
    let wiki = ["en", "de", "fr"][usize::try_from(number % 3).unwrap_or_default()];
    let domain = if logged.is_canary() { "canary".to_owned() } else { format!("{wiki}.wikipedia.org") };
    json!({
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": {
            "uri": format!("https://{wiki}.wikipedia.org/wiki/Page_{number}"),
            "request_id": format!("{number:08x}-1111-4111-8111-000000000000"),
            "id": uuid(number), "domain": domain, "stream": "mediawiki.recentchange",
            "dt": at.to_rfc3339_opts(SecondsFormat::Millis, true), "topic": topic, "partition": 0, "offset": number,
        },
        "id": number, "type": "edit", "namespace": 0, "title": format!("Page {number} \u{1f408}"),
        "comment": "/* History */ more", "timestamp": at.timestamp(), "user": format!("Editor {}", number % 50), "bot": false,
        "minor": false, "patrolled": true, "length": { "old": number, "new": number + 7 },
        "revision": { "old": 1_200_000_000 + number, "new": 1_200_000_001 + number },
        "server_url": format!("https://{wiki}.wikipedia.org"), "server_name": format!("{wiki}.wikipedia.org"),
        "wiki": format!("{wiki}wiki"),
    })
}

/// What tells one event from another.
fn uuid(number: u64) -> String {
    format!("{:08x}-0000-4000-8000-{number:012x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff)
}

/// What comes when something breaks behind the server. Then it ends the stream.
pub(super) fn error() -> Vec<u8> {
    b"event: error\ndata: {\"message\":\"Local: Broker transport failure\",\"origin\":\"local\",\"code\":-195}\n\n"
        .to_vec()
}

/// One stream too many.
pub(super) fn too_many_connections() -> Reply {
    Reply::new(429, "text/plain", "Too Many Concurrent Connections From Your Client IP")
}

fn refused(status: u16, name: &str, why: &str) -> Reply {
    Reply::new(status, "application/json", json!({ "name": name, "message": why, "status": status }).to_string())
}
