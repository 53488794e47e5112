//! The older protocol, `statuses/filter` of v1.1, for servers that speak it: X itself has switched it off. There is
//! nothing to resume from, so what is missed stays a gap.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::Method;
use serde_json::json;

use super::XStream;
use super::client::{Ask, Client, Failure};
use super::legacy::{Frame, Frames, Message, classify, disconnect_in_words};
use crate::auth::{Oauth1, form_body};
use crate::cursor::Cursor;
use crate::fetch::live::Live;
use crate::item::{Item, Reject, raw_json};
use crate::source::{Batch, Note, Outcome, Source, SourceError};

const FILTER: &str = "/1.1/statuses/filter.json";

/// The source.
pub(super) struct V11 {
    settings: XStream,
    client: Client,
    oauth1: Oauth1,
    form: Vec<(String, String)>,
    notes: Vec<Note>,
    body: Option<Live>,
    frames: Frames,
    ending: Option<SourceError>,
}

#[async_trait]
impl Source for V11 {
    async fn connect(&mut self, _: Option<&Cursor>) -> Result<(), SourceError> {
        self.body = None;
        self.ending = None;
        self.frames = Frames::default();
        let url = self.client.url(FILTER);
        let ask = Ask {
            method: Method::POST,
            path: FILTER,
            query: &[],
            // Signed anew for each attempt: a nonce is good for one.
            authorization: self.oauth1.sign(self.client.context(), &Method::POST, &url, &self.form),
            body: Some(("application/x-www-form-urlencoded", form_body(&self.form))),
        };
        match self.client.stream(ask, self.settings.idle()).await {
            Ok(body) => {
                self.body = Some(body);
                Ok(())
            }
            Err(Failure::Refused(refusal)) if refusal.status == http::StatusCode::FORBIDDEN => {
                let cause = anyhow::anyhow!(
                    "{FILTER}: upstream answered {}; X has switched this API off: use `api: v2`",
                    refusal.words()
                );
                Err(SourceError::Refused(cause))
            }
            Err(failure) => Err(failure.into_error(FILTER, self.client.context())),
        }
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        if let Some(error) = self.ending.take() {
            self.body = None;
            return Err(error);
        }
        let Some(body) = &mut self.body else { return Err(SourceError::Lost(anyhow::anyhow!("not connected"))) };
        match body.read().await {
            Ok(Some(bytes)) => {
                self.frames.push(bytes);
                Ok(self.take_frames())
            }
            Ok(None) => self.broke(SourceError::Lost(anyhow::anyhow!("upstream closed the connection"))),
            Err(error) => self.broke(error),
        }
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}

impl V11 {
    /// `form` is what the request's body carries.
    pub(super) fn new(settings: XStream, client: Client, oauth1: Oauth1, form: Vec<(String, String)>) -> Self {
        let (notes, frames) = (Vec::new(), Frames::default());
        Self { settings, client, oauth1, form, notes, body: None, frames, ending: None }
    }

    fn take_frames(&mut self) -> Batch {
        let mut batch = Batch::default();
        while let Some(frame) = self.frames.next() {
            match frame {
                Frame::KeepAlive => {}
                Frame::Message(bytes) | Frame::Stray(bytes) => {
                    let message = classify(bytes);
                    match item(bytes, &message) {
                        Ok(item) => batch.items.extend(item),
                        Err(reject) => batch.rejects.push(reject),
                    }
                    self.ending = self.ending.take().or_else(|| ending(&message));
                    self.notes.extend(note(&message));
                }
                Frame::Broken(why) => self.ending = Some(SourceError::Lost(anyhow::anyhow!(why))),
            }
        }
        batch
    }

    fn broke(&mut self, error: SourceError) -> Result<Batch, SourceError> {
        self.body = None;
        let rest = std::mem::take(&mut self.frames);
        let rest = String::from_utf8_lossy(rest.rest());
        if rest.trim().is_empty() {
            return Err(error);
        }
        self.ending = Some(error);
        let reject = Reject::new(Outcome::Invalid, None, "the connection ended in the middle of this message", &rest);
        Ok(Batch { rejects: vec![reject], ..Batch::default() })
    }
}

/// What of a message becomes a record: everything that is about posts, and what nobody knows.
fn item(bytes: &[u8], message: &Message<'_>) -> Result<Option<Item>, Reject> {
    let reject = |why: String| Reject::new(Outcome::Invalid, None, why, &String::from_utf8_lossy(bytes));
    let json = std::str::from_utf8(bytes).map_err(|error| reject(format!("the message is not UTF-8: {error}")))?;
    let (id, kind, published_at): (Option<String>, &'static str, Option<DateTime<Utc>>) = match message {
        Message::Status { id, created_at } => (Some(format!("x_{id}")), "post", *created_at),
        Message::Delete { id, deleted_at, .. } => (Some(format!("x_{id}_delete")), "delete", *deleted_at),
        Message::ScrubGeo { user_id, up_to_id } => {
            (Some(format!("x_{user_id}_scrub_geo_{}", up_to_id.unwrap_or("all"))), "scrub_geo", None)
        }
        // The same post may be withheld in more countries later: no id of upstream's tells the two apart.
        Message::StatusWithheld { .. } => (None, "status_withheld", None),
        Message::UserWithheld { .. } => (None, "user_withheld", None),
        Message::Unknown => (None, "unknown", None),
        Message::Limit { .. } | Message::Disconnect { .. } | Message::Warning { .. } => return Ok(None),
        Message::Refused(_) | Message::Text(_) => {
            return Err(reject("text where a message in JSON should be".to_owned()));
        }
    };
    let data = raw_json(json.trim()).map_err(|why| reject(format!("the message cannot be kept as it is: {why}")))?;
    Ok(Some(Item { id, kind: kind.into(), published_at, data }))
}

/// What the server says about the connection.
fn note(message: &Message<'_>) -> Option<Note> {
    match message {
        Message::Limit { undelivered, .. } => {
            Some(Note::new("limit", json!({ "undelivered_since_connected": undelivered })))
        }
        Message::Disconnect { code, reason } => {
            let why = code.map_or("no reason given", disconnect_in_words);
            Some(Note::new("control", json!({ "why": why, "code": code, "reason": reason, "ends": true })))
        }
        Message::Warning { code, message, percent_full } => {
            let percent = percent_full.and_then(|percent| percent.parse::<u64>().ok());
            let data = json!({ "why": code, "message": message, "percent_full": percent, "ends": false });
            Some(Note::new("control", data))
        }
        _ => None,
    }
}

/// How the connection ends, when the message says that it does.
fn ending(message: &Message<'_>) -> Option<SourceError> {
    match message {
        Message::Disconnect { code, reason } => {
            let why = code.map_or("no reason given", disconnect_in_words);
            let reason = reason.as_deref().unwrap_or_default();
            let cause = anyhow::anyhow!("upstream ended the stream: {why} {reason}");
            Some(match code {
                Some(6) => SourceError::Refused(cause.context("check `auth`")),
                // Two clients of one account would throw each other out for ever.
                Some(2 | 7) => SourceError::Limited(cause),
                _ => SourceError::Lost(cause),
            })
        }
        Message::Refused(words) => Some(SourceError::Limited(anyhow::anyhow!("upstream answered: {words}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_place() {
        for (json, expected) in [
            (r#"{"id":20,"id_str":"20","text":"a","timestamp_ms":"1795417500000"}"#, "record post x_20"),
            (r#"{"delete":{"status":{"id":20,"id_str":"20","user_id":3}}}"#, "record delete x_20_delete"),
            (r#"{"limit":{"track":542}}"#, "note limit"),
            (r#"{"disconnect":{"code":7,"stream_name":"s","reason":"admin logout"}}"#, "note control, ends"),
            (r#"{"warning":{"code":"FALLING_BEHIND","message":"m","percent_full":60}}"#, "note control"),
            (r#"{"user_withheld":{"id":7,"withheld_in_countries":["DE"]}}"#, "record user_withheld -"),
            (r#"{"new":1}"#, "record unknown -"),
            ("Exceeded connection limit for user", "reject, ends"),
            (r#"{"id":20,"text":"#, "reject"),
        ] {
            let message = classify(json.as_bytes());
            let mut found = match item(json.as_bytes(), &message) {
                Ok(Some(item)) => format!("record {} {}", item.kind, item.id.as_deref().unwrap_or("-")),
                Ok(None) => note(&message).map(|note| format!("note {}", note.kind)).unwrap_or_default(),
                Err(_) => "reject".to_owned(),
            };
            if ending(&message).is_some() {
                found += ", ends";
            }
            assert_eq!(found, expected, "{json}");
        }
    }
}
