//! Mastodon's streaming API: `:)` at first, `:thump` while it is quiet, no ids, and so nothing that is ever sent again.

use serde_json::json;

use super::state::Logged;
use crate::simulator::server::Reply;

/// What comes first.
pub(super) const HELLO: &[u8] = b":)\n";
/// What is said on a quiet stream. No empty line follows.
pub(super) const THUMP: &str = ":thump\n";

const ID: u64 = 109_000_000_000_000_000;

/// The event as it goes over the wire: mostly posts, and what else there is on a user's stream.
pub(super) fn event(seed: u64, logged: Logged) -> Vec<u8> {
    let Logged { number, .. } = logged;
    let post = |number: u64| status(seed, Logged { number, ..logged });
    let (kind, data) = match number {
        // The payload is a bare id, which is a number of 18 digits.
        _ if number.is_multiple_of(5) => ("delete", (ID + number - 1).to_string()),
        _ if number.is_multiple_of(7) => {
            let mut edited = post(number - 1);
            edited["edited_at"] = logged.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into();
            ("status.update", edited.to_string())
        }
        _ if number.is_multiple_of(11) => {
            let notification = json!({
                "id": number.to_string(), "type": "favourite", "created_at": logged.at.to_rfc3339(), "status": post(number - 1),
            });
            ("notification", notification.to_string())
        }
        _ if number.is_multiple_of(13) => ("filters_changed", "undefined".to_owned()),
        _ => ("update", post(number).to_string()),
    };
    format!("event: {kind}\ndata: {data}\n\n").into_bytes()
}

fn status(seed: u64, logged: Logged) -> serde_json::Value {
    let Logged { number, at } = logged;
    let id = (ID + number).to_string();
    let author = seed.wrapping_mul(31).wrapping_add(number) % 97;
    json!({
        "id": id, "created_at": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), "in_reply_to_id": null,
        "sensitive": false, "spoiler_text": "", "visibility": "public", "language": "en",
        "uri": format!("https://simulated.example/users/u{author}/statuses/{id}"),
        "url": format!("https://simulated.example/@u{author}/{id}"),
        "content": format!("<p>number {number} é \u{1f408}</p>"), "edited_at": null,
        "account": { "id": author.to_string(), "username": format!("u{author}"), "acct": format!("u{author}") },
        "media_attachments": [], "tags": [{ "name": "rust" }],
    })
}

/// Who has no token.
pub(super) fn unauthorized() -> Reply {
    Reply::new(401, "application/json", r#"{"error":"Missing access token"}"#)
}
