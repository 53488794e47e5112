//! The same event as each of these servers would send it, and what they answer to what is said to them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::wire::Asked;

/// An event of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// Its number, from 1.
    pub number: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
}

/// Which server a path is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    Jetstream,
    JetstreamV2,
    Binance,
    Coinbase,
    Finnhub,
    Mastodon,
}

impl Shape {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/plain" => Self::Plain,
            "/subscribe" => Self::Jetstream,
            "/xrpc/network.bsky.jetstream.subscribeEvents" => Self::JetstreamV2,
            "/ws" => Self::Binance,
            "/coinbase" => Self::Coinbase,
            "/finnhub" => Self::Finnhub,
            "/api/v1/streaming" => Self::Mastodon,
            _ => return None,
        })
    }

    /// Whether nothing comes before something was said.
    pub(super) fn waits(self) -> bool {
        matches!(self, Self::Binance | Self::Coinbase | Self::Finnhub)
    }

    /// The event, as the message of this number on its connection.
    pub(super) fn event(self, Logged { number, at }: Logged, sequence: u64) -> String {
        let time = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let (us, ms) = (at.timestamp_micros(), at.timestamp_millis());
        let text = format!("number {number}, é \u{1f408} \u{2028} \"quoted\"");
        let did = format!("did:plc:{:024x}", number % 7);
        let price = format!("{}.{:02}0", 100 + number % 50, number % 100);
        let commit = || {
            json!({ "rev": format!("3k{number:011}"), "operation": "create", "collection": "app.bsky.feed.post",
                "rkey": format!("3l{number:011}"), "record": { "text": text, "createdAt": time }, "cid": format!("bafy{number}") })
        };
        let value = match self {
            Self::Plain => json!({ "n": number, "at": time, "text": text, "id": 9_007_199_254_740_993_u64 + number }),
            Self::Jetstream if number.is_multiple_of(11) => {
                json!({ "did": did, "time_us": us, "kind": "identity", "identity": { "did": did, "seq": number, "time": time } })
            }
            Self::Jetstream => json!({ "did": did, "time_us": us, "kind": "commit", "commit": commit() }),
            Self::JetstreamV2 => {
                let mut payload = json!({ "$type": "network.bsky.jetstream.subscribeEvents#commit", "seq": number, "did": did, "time": time });
                // What is a map of its own in version 1 stands in the event itself.
                if let (Value::Object(payload), Value::Object(commit)) = (&mut payload, commit()) {
                    payload.extend(commit);
                }
                json!({ "$type": "message", "payload": payload })
            }
            Self::Binance => {
                json!({ "e": "trade", "E": ms, "s": "BTCUSDT", "t": number, "p": price, "q": "0.00100000", "T": ms, "m": true, "M": true })
            }
            Self::Coinbase => {
                let trade = |part: u64| json!({ "trade_id": format!("{}", number * 2 + part), "product_id": "BTC-USD", "price": price, "size": "0.1", "side": "BUY", "time": time });
                json!({ "channel": "market_trades", "client_id": "", "timestamp": time, "sequence_num": sequence,
                    "events": [{ "type": "update", "trades": [trade(0), trade(1)] }] })
            }
            Self::Finnhub => {
                json!({ "type": "trade", "data": [{ "s": "BINANCE:BTCUSDT", "p": 100.5, "t": ms, "v": number, "c": null }] })
            }
            Self::Mastodon => {
                let status = json!({ "id": number.to_string(), "uri": format!("https://social.example/users/a/statuses/{number}"),
                    "created_at": at.to_rfc3339_opts(SecondsFormat::Millis, true), "content": format!("<p>{text}</p>"), "edited_at": null });
                let (event, payload) = if number.is_multiple_of(10) {
                    ("delete", (number - 1).to_string())
                } else {
                    ("update", status.to_string())
                };
                json!({ "stream": ["public"], "event": event, "payload": payload })
            }
        };
        value.to_string()
    }

    /// From which number on a client is to be sent what it has missed, and whether what it asks is right.
    pub(super) fn from(self, asked: &Asked, log: &[Logged]) -> Result<Option<u64>, (u16, String)> {
        let Some(cursor) = asked.parameters("cursor").pop() else { return Ok(None) };
        let Ok(cursor) = cursor.parse::<i64>() else { return Err((400, "invalid cursor".into())) };
        let first = log.first().map_or(1, |first| first.number);
        match self {
            Self::Plain | Self::JetstreamV2 if cursor < i64::try_from(first).unwrap_or(0) => {
                Err((400, json!({ "error": "CursorTooOld", "message": format!("the floor is {first}") }).to_string()))
            }
            Self::Plain | Self::JetstreamV2 => Ok(u64::try_from(cursor).ok()),
            // An old one is taken for the oldest, and nothing is said of it.
            Self::Jetstream => {
                Ok(log.iter().find(|logged| logged.at.timestamp_micros() >= cursor).map(|logged| logged.number))
            }
            _ => Ok(None),
        }
    }

    /// What is answered to a message, and whether the stream begins by it.
    pub(super) fn answer(self, said: &Value) -> (Option<String>, bool) {
        match self {
            Self::Binance => match said["params"].as_array() {
                Some(params) if !params.is_empty() => {
                    (Some(json!({ "result": null, "id": said["id"] }).to_string()), true)
                }
                _ => (Some(json!({ "code": 2, "msg": "Invalid request: missing field `params`" }).to_string()), false),
            },
            Self::Coinbase if said["type"] == "subscribe" && said["channel"] == "heartbeats" => (None, false),
            Self::Coinbase if said["type"] == "subscribe" && said["product_ids"].is_array() => {
                let events = json!([{ "subscriptions": { "market_trades": said["product_ids"] } }]);
                (Some(json!({ "channel": "subscriptions", "events": events }).to_string()), true)
            }
            Self::Coinbase => {
                (Some(json!({ "type": "error", "message": "authentication failure" }).to_string()), false)
            }
            Self::Finnhub if said["symbol"].is_string() => (None, true),
            Self::Finnhub => (Some(json!({ "type": "error", "msg": "Invalid symbol" }).to_string()), false),
            Self::Plain => (Some(json!({ "ok": true, "op": said["op"] }).to_string()), false),
            Self::Jetstream | Self::JetstreamV2 | Self::Mastodon => (None, false),
        }
    }

    /// What such a server says when nothing happens.
    pub(super) fn heartbeat(self, count: u64) -> Option<String> {
        match self {
            Self::Coinbase => {
                Some(json!({ "channel": "heartbeats", "events": [{ "heartbeat_counter": count }] }).to_string())
            }
            Self::Finnhub => Some(json!({ "type": "ping" }).to_string()),
            _ => None,
        }
    }
}
