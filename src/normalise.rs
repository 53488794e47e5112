//! From items to records: identity and the envelope. Pure, and it never fails a batch.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use data_encoding::BASE32HEX_NOPAD;
use serde_json::value::{RawValue, to_raw_value};

use crate::item::{Change, Item, Reject};
use crate::record::Record;
use crate::secrets;

/// Makes the records of one source.
#[derive(Debug, Clone)]
pub struct Normaliser {
    source: Arc<str>,
    /// A hash of the source's name, so that equal ticks of two sources never have one id, whatever store they meet in.
    mark: String,
}

impl Normaliser {
    /// A normaliser for the source of this name.
    pub fn new(source: Arc<str>) -> Self {
        let mark = mark(&source);
        Self { source, mark }
    }

    /// The source's name.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// The record of an item. Its id is upstream's, or is made of the moment (the scheduled time of a polled source) and
    /// the item's place in its batch, so that the same tick gives the same id.
    pub fn record(&self, item: Item, moment: DateTime<Utc>, ordinal: usize, observed_at: DateTime<Utc>) -> Record {
        Record {
            observed_at,
            source: Arc::clone(&self.source),
            id: item.id.unwrap_or_else(|| self.id('r', moment, ordinal)),
            kind: item.kind,
            published_at: item.published_at,
            data: item.data,
        }
    }

    /// The record that keeps a reject, for the stream `_rejected/<source>`.
    pub fn rejected(
        &self,
        reject: &Reject,
        moment: DateTime<Utc>,
        ordinal: usize,
        observed_at: DateTime<Utc>,
    ) -> Record {
        self.own('j', "reject", secrets::hide_json(raw(reject)), moment, ordinal, observed_at)
    }

    /// The record that keeps what changed upstream, for the stream `_changed/<source>`.
    pub fn changed(&self, change: &Change, moment: DateTime<Utc>, observed_at: DateTime<Utc>) -> Record {
        self.own('c', "change", secrets::hide_json(raw(change)), moment, 0, observed_at)
    }

    /// A record of tapline's own: of the ledger, where `ordinal` is the entry's number.
    pub fn ledger(&self, kind: String, data: Box<RawValue>, number: u64, at: DateTime<Utc>) -> Record {
        Record {
            observed_at: at,
            source: Arc::clone(&self.source),
            id: format!("l_{number:x}_{}", self.mark),
            kind: Cow::Owned(kind),
            published_at: None,
            data: secrets::hide_json(data),
        }
    }

    fn own(
        &self,
        letter: char,
        kind: &'static str,
        data: Box<RawValue>,
        moment: DateTime<Utc>,
        ordinal: usize,
        observed_at: DateTime<Utc>,
    ) -> Record {
        let id = self.id(letter, moment, ordinal);
        Record { observed_at, source: Arc::clone(&self.source), id, kind: kind.into(), published_at: None, data }
    }

    fn id(&self, letter: char, moment: DateTime<Utc>, ordinal: usize) -> String {
        format!("{letter}_{:x}_{ordinal:x}_{}", moment.timestamp_micros(), self.mark)
    }

    /// The scheduled time that an id of this source was made of; `None` for an id of upstream's or another source's.
    pub fn moment_of(&self, id: &str) -> Option<DateTime<Utc>> {
        let mut parts = id.strip_prefix("r_")?.split('_');
        let moment = i64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next()?;
        (parts.next()? == self.mark && parts.next().is_none()).then(|| DateTime::from_timestamp_micros(moment))?
    }
}

/// What tells ids of one source from those of all others.
pub fn mark(source: &str) -> String {
    let hash = blake3::hash(source.as_bytes());
    BASE32HEX_NOPAD.encode(&hash.as_bytes()[..8]).to_ascii_lowercase()
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("invariant: our own types have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: Option<&str>) -> Item {
        Item { id: id.map(str::to_owned), kind: "page".into(), published_at: None, data: raw(&1) }
    }

    #[test]
    fn the_same_tick_has_the_same_id_and_no_other_has() {
        let at: DateTime<Utc> = "2026-11-23T07:04:05Z".parse().unwrap();
        let later = at + chrono::TimeDelta::milliseconds(100);
        let one = Normaliser::new("one".into());
        let two = Normaliser::new("two".into());
        let id = |normaliser: &Normaliser, moment, ordinal| normaliser.record(item(None), moment, ordinal, later).id;
        assert_eq!(id(&one, at, 0), id(&one, at, 0));
        let all = [id(&one, at, 0), id(&one, at, 1), id(&one, later, 0), id(&two, at, 0)];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
        assert_eq!(one.record(item(Some("x_17")), at, 0, later).id, "x_17");
    }

    #[test]
    fn an_id_tells_its_tick() {
        let at: DateTime<Utc> = "2026-11-23T07:04:05.1Z".parse().unwrap();
        let one = Normaliser::new("one".into());
        let id = one.record(item(None), at, 3, at).id;
        assert_eq!(one.moment_of(&id), Some(at));
        assert_eq!(Normaliser::new("two".into()).moment_of(&id), None);
        for other in ["x_1789", "r_", "r_zz_0_abc", "r_1_0_abc_d"] {
            assert_eq!(one.moment_of(other), None, "{other}");
        }
    }
}
