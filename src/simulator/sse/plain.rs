//! A plain server: ids that count, events of two types, data of one line or several.

use serde_json::json;

use super::Settings;
use super::state::Logged;

/// The event as it goes over the wire.
pub(super) fn event(settings: &Settings, logged: Logged) -> Vec<u8> {
    let Logged { number, at } = logged;
    let id = if settings.replays { format!("id: {number}\n") } else { String::new() };
    let kind = if number.is_multiple_of(4) { "event: update\n" } else { "" };
    let text = format!("number {number}, é \u{1f408} \u{2028} \"quoted\"");
    let data = json!({ "n": number, "at": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), "text": text });
    let lines = if number.is_multiple_of(9) {
        // White space between two tokens may be a line end.
        format!("data: {{\ndata: \"n\": {number},\ndata:\ndata:\"text\":{} }}\n\n", data["text"])
    } else {
        format!("data: {data}\n\n")
    };
    [id.as_str(), kind, lines.as_str()].concat().into_bytes()
}

/// From which number on a client is to be sent what it has missed; `None` for one that begins.
pub(super) fn from(settings: &Settings, last_event_id: Option<&str>) -> Option<u64> {
    let last: u64 = last_event_id.filter(|_| settings.replays)?.parse().ok()?;
    Some(if settings.is_inclusive { last } else { last + 1 })
}
