//! From an event to records.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::parse::{Data, Event};
use crate::item::Reject;
use crate::message::{Identity, Made, MessageKeys, Places, Reader};
use crate::outcome::Outcome;

/// Makes records of events.
pub(super) struct Records {
    reader: Reader,
    /// What ids of records are made of where the file does not say: the events' own.
    identity: Option<Identity>,
    /// The last type of an event, as records have it: most are of one.
    kind: Cow<'static, str>,
}

impl Records {
    /// As a source's file says.
    ///
    /// # Errors
    /// When something is wrong with the keys, which their problems say.
    pub(super) fn new(keys: &MessageKeys, source: &str) -> anyhow::Result<Self> {
        let identity = keys.id.is_none().then(|| Identity::new(&[], source, &mut Places::default()));
        Ok(Self { reader: keys.reader(source, &[])?, identity, kind: "message".into() })
    }

    /// Adds what an event brings. Data that is JSON is kept token for token, any other text as a text.
    pub(super) fn add(&mut self, event: &Event<'_>, made: &mut Made) {
        let text = match &event.data {
            Data::Whole(text) => text,
            Data::TooLong(len, head) => {
                let why = format!("the event is too long: {len} bytes; allow more with `max_event`");
                made.rejects.push(Reject::new(Outcome::Invalid, None, why, head));
                return;
            }
        };
        if self.kind != event.kind {
            self.kind = Cow::Owned(event.kind.clone().into_owned());
        }
        let before = made.items.len();
        if let Ok(json) = serde_json::from_str::<&RawValue>(text) {
            drop(self.reader.take(json, &self.kind, made));
        } else {
            let json = to_raw_value(text).expect("invariant: a text has a JSON form");
            drop(self.reader.take(&json, &self.kind, made));
        }
        if let (Some(identity), Some(id)) = (&self.identity, event.id.filter(|id| !id.is_empty())) {
            match &mut made.items[before..] {
                [item] => item.id = Some(identity.of_text(id)),
                items => {
                    for (number, item) in items.iter_mut().enumerate() {
                        item.id = Some(identity.of_text(&format!("{id}/{number}")));
                    }
                }
            }
        }
    }
}
