//! Jetstream's compression: each message a frame of zstd, made with a dictionary that both sides have.

use serde_json::json;
use zstd::bulk::Compressor;

use super::Settings;
use super::shapes::Shape;
use super::wire::Asked;

/// A dictionary trained on messages of this simulator, by `zstd --train`.
static DICTIONARY: &[u8] = include_bytes!("jetstream.zdict");

/// The number that it has of its own.
pub(super) const NUMBER: u32 = 20_261_123;

/// The dictionary under a number. What it is made of is the same.
pub fn dictionary(number: u32) -> Vec<u8> {
    [&DICTIONARY[..4], &number.to_le_bytes(), &DICTIONARY[8..]].concat()
}

/// What is answered to who wants the dictionary; `None` to who wants something else.
pub(super) fn offer(asked: &Asked, settings: &Settings) -> Option<Vec<u8>> {
    if asked.path() != "/xrpc/network.bsky.jetstream.getZstdDictionary" {
        return None;
    }
    let wanted = asked.parameters("id").pop().and_then(|id| id.parse().ok());
    let number = settings.dictionary.filter(|number| wanted.is_none_or(|wanted: u32| wanted == *number));
    let (status, kind, body) = match number {
        Some(number) => ("200 OK", "application/octet-stream", dictionary(number)),
        None => (
            "404 Not Found",
            "application/json",
            br#"{"error":"DictionaryNotFound","message":"there is none"}"#.to_vec(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Some([head.into_bytes(), body].concat())
}

/// What compresses the messages of a client that has asked for that, in the way of its version; the refusal of what it may not ask.
pub(super) fn packer(
    shape: Shape,
    asked: &Asked,
    settings: &Settings,
) -> Result<Option<Compressor<'static>>, (u16, String)> {
    let is_old_way = asked.parameters("compress").iter().any(|value| value == "true")
        || asked.header("socket-encoding").is_some_and(|value| value.contains("zstd"));
    let refusal = |error: &str, message: String| (400, json!({ "error": error, "message": message }).to_string());
    let with = |number| {
        let made = Compressor::with_dictionary(1, &dictionary(number));
        made.map(Some).map_err(|error| (500, error.to_string()))
    };
    match shape {
        Shape::Jetstream if is_old_way => with(NUMBER),
        Shape::JetstreamV2 if is_old_way => Err(refusal("InvalidRequest", "compress=true is of version 1".to_owned())),
        Shape::JetstreamV2 => {
            let Some(id) = asked.parameters("zstdDictionary").pop() else { return Ok(None) };
            let id: u32 = id.parse().map_err(|_| refusal("InvalidRequest", "zstdDictionary is a number".to_owned()))?;
            match settings.dictionary.filter(|number| *number == id && !settings.refuses_dictionary) {
                Some(number) => with(number),
                None => Err(refusal("UnknownZstdDictionary", format!("unknown zstd dictionary id {id}"))),
            }
        }
        _ => Ok(None),
    }
}
