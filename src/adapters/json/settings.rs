//! What a source's file says.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use http::header::HeaderValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_untagged::UntaggedEnumVisitor;
use url::Url;

use super::forms::Format;
use super::pages::{Pages, set};
use super::poll::Polled;
use super::since::Since;
use crate::context::Context;
use crate::fetch::{AskKeys, Filled, Names, Request, Values};
use crate::message::{MessageKeys, Place};
use crate::pairs::Pairs;
use crate::parts::Parts;
use crate::source::{Problem, Settings, Source};
use crate::unique::{Limits, REMEMBER};
use crate::units::Span;

/// What is asked for.
const ACCEPT: HeaderValue = HeaderValue::from_static("application/json,application/xml;q=0.9,text/csv;q=0.9,*/*;q=0.5");

/// Asks an HTTP API at set times, and writes the records of its answers as they are. [polling.md](../polling.md) has examples
/// of pages, of values that are asked from, and of answers that are tables or XML.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Json {
    /// The address, http or https. `{date:%Y-%m-%d}` is the day of the tick in the source's zone, `{date:%Y%m%d,-1d}` the one
    /// before.
    pub url: String,
    /// How it is asked for.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub ask: AskKeys,
    /// What an answer is made into.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub message: MessageKeys,
    /// What an answer is written in: `json`, the default, `jsonl`, `csv` or `xml`.
    #[serde(default)]
    pub format: Format,
    /// Of a table: what stands between two values; a comma by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// What records have, where that is not all that upstream sends: `{ price: /last, tags: "/tags/*" }`. The values stay as
    /// upstream writes them; what is not there is null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Where an answer says that there is an error, though its status is a good one: `/error`. If anything but null, false or
    /// an empty text is there, the tick has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Place>,
    /// Several pages of one answer: `{ next: /links/next }`, `{ link: next }`, `{ page: { param: page } }`,
    /// `{ offset: { param: offset, step: 100 } }` or `{ cursor: { param: cursor, from: /next_cursor } }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// Asks only for what is new: `{ param: since_id, from: /id }`. The value is kept over restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// Whether a record is written once, however often it is sent: `true` where there is an `id`, by which it is known. Or
    /// `{ remember: 100000, keep: 30d }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
}

/// What records have: places by names, in the order of the file.
#[derive(Debug, Clone)]
pub struct Fields(pub Vec<(String, Place)>);

/// Whether a record is written once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "true, false, or `{ remember, keep }`")]
pub enum Once {
    /// Whether.
    Is(bool),
    /// How much is remembered for that.
    Keys(OnceKeys),
}

/// How much is remembered of what was written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnceKeys {
    /// How many ids are remembered at least: 100000 by default.
    #[serde(default = "default_remember")]
    #[schemars(range(min = 1000, max = 1_000_000))]
    pub remember: u32,
    /// How long one is remembered that is not sent any more: `30d`. Without it, for as long as `remember` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Span>,
}

fn default_remember() -> u32 {
    REMEMBER
}

impl Json {
    /// Where it asks at this scheduled time, from this value on.
    pub(super) fn request(
        &self,
        at: DateTime<Utc>,
        timezone: Tz,
        since: Option<&str>,
    ) -> Result<Request, Vec<Problem>> {
        let names = Names { variables: &[], has_page: false };
        let values = Values { variables: &[], at, timezone, page: 1 };
        let fill = |text: &str| Filled::loose(text, names).map(|filled| filled.text(&values));
        let url = Filled::strict(&self.url, names).and_then(|filled| filled.address(&values));
        let mut request = self.ask.request(url, ACCEPT, &fill)?;
        if let Some(keys) = &self.since {
            let start = keys.start.as_deref().map(fill).transpose();
            let start = start.map_err(|message| vec![Problem::new(["since", "start"], message)])?;
            let value = since.map(|known| keys.sent(known)).or(start.map(Cow::Owned));
            if let Some(value) = value {
                let value = keys.written(&value).map_err(|message| vec![Problem::new(["since", "as"], message)])?;
                set(&mut request.url, &keys.param, &value);
            }
        }
        if let Some(pages) = &self.pages {
            request.url = pages.first(request.url);
        }
        Ok(request)
    }

    /// How much is remembered of what was written; `None` where nothing is.
    pub(super) fn once(&self) -> Option<Limits> {
        match &self.once {
            None | Some(Once::Is(true)) => self.message.id.as_ref().map(|_| Limits::default()),
            Some(Once::Is(false)) => None,
            Some(Once::Keys(OnceKeys { remember, keep })) => Some(Limits { remember: *remember, keep: *keep }),
        }
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok()).unwrap_or(b',')
    }
}

impl Settings for Json {
    const KIND: &'static str = "json";
    const ABOUT: &'static str = "an HTTP API (JSON, CSV, XML), asked at set times; its records as they are";
    const EXAMPLE: &'static str = include_str!("example.yaml");
    const POLLED: bool = true;

    fn read(value: serde_json::Value) -> Result<Self, Vec<Problem>> {
        let mut parts = Parts::of(value);
        let (ask, message) = (parts.take(), parts.take());
        let own: Option<Self> = parts.rest();
        let all = ask.zip(message).zip(own);
        parts.end(all.map(|((ask, message), own)| Self { ask, message, ..own }))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.request(DateTime::UNIX_EPOCH, Tz::UTC, None).err().unwrap_or_default();
        problems.extend(self.message.problems());
        problems.extend(self.pages.iter().flat_map(Pages::problems));
        problems.extend(self.once().iter().flat_map(|limits| limits.problems("once")));
        if self.message.id.is_none() && !matches!(self.once, None | Some(Once::Is(false))) {
            problems.push(Problem::new(["once"], "a record is known by its `id`; say where that is"));
        }
        if self.fields.as_ref().is_some_and(|fields| fields.0.is_empty()) {
            problems.push(Problem::new(["fields"], "name a field, or leave this out for all that upstream sends"));
        }
        let is_letter = |delimiter: &char| delimiter.is_ascii() && !"\"\r\n".contains(*delimiter);
        if self.delimiter.is_some() && (self.format != Format::Csv || !self.delimiter.as_ref().is_some_and(is_letter)) {
            problems.push(Problem::new(
                ["delimiter"],
                "it is one ASCII character between values of a table (`format: csv`)",
            ));
        }
        let form = self.since.as_ref().and_then(Since::form_problem);
        if let Some(message) = form.filter(|_| problems.is_empty()) {
            problems.push(Problem::new(["since", "as"], message));
        }
        for (key, place) in [("error", self.error.as_ref()), ("since", self.since.as_ref().map(|since| &since.from))] {
            if place.is_some_and(Place::is_many) {
                problems.push(Problem::new([key], "this is one value; leave the `*` out"));
            }
        }
        problems
    }

    fn upstream(&self) -> Vec<Url> {
        let request = self.request(DateTime::UNIX_EPOCH, Tz::UTC, None);
        request.map(|request| request.url).into_iter().collect()
    }

    fn data_names(&self) -> Option<Vec<String>> {
        self.fields.as_ref().map(|fields| fields.0.iter().map(|(name, _)| name.clone()).collect())
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        Ok(Box::new(Polled::new(self, context)?))
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, place) in &self.0 {
            map.serialize_entry(name, place)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a map of places by names, such as `{ price: /last }`")
            .map(|map| Ok(Self(map.deserialize::<Pairs<_, _>>()?.0)))
            .deserialize(deserializer)
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Places".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let place = generator.subschema_for::<Place>();
        json_schema!({ "type": "object", "additionalProperties": place })
    }
}
