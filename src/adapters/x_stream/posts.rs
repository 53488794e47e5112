//! What of a message becomes a record.

use serde_json::value::RawValue;

use super::flatten::flatten;
use super::message::{Message, classify};
use crate::item::{Item, Reject, keep_json, raw_json};
use crate::source::Outcome;

/// Makes items of messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posts {
    pub(super) flatten: bool,
}

impl Posts {
    /// Reads one message. Only posts and what nobody knows become items.
    ///
    /// # Errors
    /// The reject, when it is not JSON.
    pub(super) fn read(self, bytes: &[u8]) -> Result<(Vec<Item>, Message<'_>), Reject> {
        let reject = |why: String| Reject::new(Outcome::Invalid, None, why, &String::from_utf8_lossy(bytes));
        let json = std::str::from_utf8(bytes).map_err(|error| reject(format!("the message is not UTF-8: {error}")))?;
        let json: &RawValue =
            serde_json::from_str(json).map_err(|error| reject(format!("the message is not JSON: {error}")))?;
        let message = classify(json);
        let kept = |data: Result<Box<RawValue>, String>| {
            data.map_err(|why| reject(format!("the message cannot be kept as it is: {why}")))
        };
        let items = match &message {
            Message::Post { id, created_at } => {
                let data = if self.flatten {
                    let flat = flat(json.get());
                    kept(raw_json(&flat.map_err(|why| reject(format!("the post cannot be flattened: {why:#}")))?))?
                } else {
                    kept(keep_json(json))?
                };
                vec![Item { id: Some(format!("x_{id}")), kind: "post".into(), published_at: *created_at, data }]
            }
            Message::Unknown => {
                vec![Item { id: None, kind: "unknown".into(), published_at: None, data: kept(keep_json(json))? }]
            }
            Message::Disconnect(_) | Message::Notice(_) => Vec::new(),
        };
        Ok((items, message))
    }

    /// A server that ends messages with a line feed alone: the message is several.
    pub(super) fn in_pieces(self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), ()> {
        let mut found = Vec::new();
        for piece in bytes.split(|byte| *byte == b'\n').filter(|piece| !piece.is_empty()) {
            found.extend(self.read(piece).map_err(drop)?.0);
        }
        items.extend(found);
        Ok(())
    }
}

/// The post alone, with what it refers to put into it. What X could not include has no place in that form, and is added
/// under X's own name.
fn flat(json: &str) -> anyhow::Result<String> {
    let flattened = flatten(json)?;
    let post = flattened.posts.first().map_or("{}", |post| post.get());
    Ok(match (flattened.errors, post.trim_end().strip_suffix('}')) {
        (Some(errors), Some(open)) => format!("{open},\"errors\":{}}}", errors.get()),
        _ => post.to_owned(),
    })
}
