//! From an answer's text to records: pure, and what of it is none is a reject.

use std::borrow::Cow;

use anyhow::anyhow;
use serde_json::value::RawValue;

use super::forms::{Format, messages};
use super::pages::told;
use super::settings::{Fields, Json};
use super::since::Since;
use crate::item::{Ignored, Item, Reject};
use crate::message::{Found, Made, MessageKeys, Place, Places, Reader};
use crate::outcome::Outcome;

/// The records' `type` where the file does not say.
const KIND: Cow<'static, str> = Cow::Borrowed("record");

/// How answers are read.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    format: Format,
    delimiter: u8,
    /// A value of which each element is a record, and one that is a record itself.
    many: Reader,
    one: Reader,
    /// Where the records are, where the file says so, and it may be a list.
    records: Option<Place>,
    /// Looked for in an answer: the error, and what says where the next page is.
    own: Vec<Place>,
    /// The records' place has a `*`.
    is_starred: bool,
    has_error: bool,
    has_next: bool,
    fields: Option<(Vec<String>, Places)>,
    since: Option<(Since, Places)>,
}

/// What an answer says.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(super) items: Vec<Item>,
    pub(super) rejects: Vec<Reject>,
    pub(super) ignored: Ignored,
    /// What stands where the next page is said.
    pub(super) told: Option<String>,
    /// The greatest or last value to ask from.
    pub(super) since: Option<String>,
    /// An error that the answer says, though its status is a good one.
    pub(super) error: Option<String>,
    /// A value that should have been a time.
    pub(super) undated: Option<String>,
}

impl Plan {
    pub(super) fn new(settings: &Json, source: &str) -> anyhow::Result<Self> {
        let records = settings.message.records.clone().filter(|records| !records.is_many());
        let next = settings.pages.as_ref().and_then(super::pages::Pages::place);
        let own: Vec<Place> = settings.error.iter().chain(next).cloned().collect();
        let list = match &settings.message.records {
            Some(records) if records.is_many() => records.clone(),
            Some(records) => each(records)?,
            None => Place::new("/*").map_err(|why| anyhow!(why))?,
        };
        let wanted: Vec<&Place> = own.iter().chain(&records).collect();
        let many = MessageKeys { records: Some(list), payload: None, ..settings.message.clone() };
        let places = |place: &Place| {
            let mut places = Places::default();
            places.add(place);
            places
        };
        let fields = settings.fields.as_ref().map(|Fields(fields)| {
            let mut places = Places::default();
            let names = fields.iter().map(|(name, place)| {
                places.add(place);
                name.clone()
            });
            (names.collect(), places)
        });
        Ok(Self {
            format: settings.format,
            delimiter: settings.delimiter(),
            many: many.reader(source, &wanted)?,
            one: settings.message.reader(source, &wanted)?,
            records,
            is_starred: settings.message.records.as_ref().is_some_and(Place::is_many),
            has_error: settings.error.is_some(),
            has_next: next.is_some(),
            own,
            fields,
            since: settings.since.clone().map(|since| (since.clone(), places(&since.from))),
        })
    }

    /// Reads an answer. `is_first` says that it is the first page of a tick, which has records, if only none.
    pub(super) fn read(&self, text: &str, is_first: bool) -> Answered {
        let mut answered = Answered::default();
        let (messages, bad) = match messages(text, self.format, self.delimiter) {
            Ok(messages) => messages,
            Err(reason) => {
                answered.rejects.push(Reject::new(Outcome::Invalid, None, reason, text));
                return answered;
            }
        };
        answered.rejects.extend(bad.into_iter().map(|(reason, raw)| Reject::new(Outcome::Invalid, None, reason, &raw)));
        let mut made = Made::default();
        for message in &messages {
            self.take(message, is_first, &mut made, &mut answered);
        }
        answered.undated = made.undated;
        answered.ignored = made.ignored;
        answered.rejects.append(&mut made.rejects);
        for item in made.items {
            self.finish(item, &mut answered);
        }
        answered
    }

    fn take(&self, message: &RawValue, is_first: bool, made: &mut Made, answered: &mut Answered) {
        let looked = self.look(message);
        if self.has_error {
            answered.error = looked.one(0).and_then(failure).or(answered.error.take());
        }
        if self.has_next {
            answered.told = told(looked.one(usize::from(self.has_error))).or(answered.told.take());
        }
        let value = match &self.records {
            Some(records) => match looked.one(self.own.len()) {
                Some(value) => value,
                None if answered.error.is_none() && is_first => {
                    let reason = format!("no_records: there is nothing at `{records}`");
                    let reject = Reject::new(Outcome::Missing, Some("records".into()), reason, message.get());
                    return answered.rejects.push(reject);
                }
                None => return,
            },
            None => message,
        };
        if self.records.is_some() && value.get() == "null" {
            return;
        }
        // A place with a `*` in it is what is read, whatever the answer is.
        let reader = if self.is_starred || value.get().starts_with('[') { &self.many } else { &self.one };
        reader.take(message, &KIND, made);
    }

    fn look<'t>(&self, message: &'t RawValue) -> Found<'t> {
        let mut places = Places::default();
        for place in self.own.iter().chain(&self.records) {
            places.add(place);
        }
        places.find(message)
    }

    /// What is remembered of a record, and the fields that it is to have.
    fn finish(&self, item: Item, answered: &mut Answered) {
        if let Some((since, places)) = &self.since {
            let data: &RawValue = &item.data;
            if let Some(value) = told(places.find(data).one(0)) {
                answered.since = Some(since.later(answered.since.take(), &value));
            }
        }
        let Some((names, places)) = &self.fields else { return answered.items.push(item) };
        let found = places.find(&item.data);
        let mut data = String::from("{");
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                data.push(',');
            }
            data.push_str(&serde_json::to_string(name).unwrap_or_default());
            data.push(':');
            match found.all(index) {
                [] => data.push_str("null"),
                [one] => data.push_str(one.get()),
                many => {
                    let many: Vec<&str> = many.iter().map(|value| value.get()).collect();
                    data.extend(["[", &many.join(","), "]"]);
                }
            }
        }
        data.push('}');
        let data = RawValue::from_string(data).expect("invariant: names and values of JSON are an object");
        answered.items.push(Item { data, ..item });
    }
}

/// Each element of what is at this place.
fn each(place: &Place) -> anyhow::Result<Place> {
    let text = place.as_str();
    let list = if text.starts_with('$') { format!("{text}[*]") } else { format!("{text}/*") };
    Place::new(&list).map_err(|why| anyhow!(why))
}

/// What an answer says of an error; `None` where it says that there is none.
fn failure(value: &RawValue) -> Option<String> {
    let text = value.get();
    let is_none = matches!(text, "null" | "false" | "0" | "\"\"" | "[]" | "{}");
    let said = || told(Some(value)).unwrap_or_else(|| text.to_owned());
    (!is_none).then(|| said().chars().filter(|next| !next.is_control()).take(200).collect())
}
