//! What a user may write about fields, row by row as it stands in the YAML.

use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms;
use super::locale::Locale;
use super::trust::{Jump, Scalar};
pub use crate::moment::Clocks;
use crate::words::{Texts, Words};

/// The fields of a record, in the order of the file, which is the order of their keys in `data`.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Fields(pub(super) Vec<(String, Field)>);

impl Fields {
    /// Whether there is a field of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }
}

/// One field: a CSS selector alone, or a map.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Field {
    /// Where the field is: a CSS selector, within the row where there are `records`; or a list of them, which are
    /// fall-backs in their order. Without a place a field of a row is the row itself.
    pub css: Option<Texts>,
    /// Where it is: beside this label, such as `"Last price"`, or `{ label, pick }`.
    pub near: Option<Near>,
    /// Where it is: a path (RFC 9535, `JSONPath`) into the page's blocks of JSON-LD, such as
    /// `$.offers.price`, tried on each thing in them.
    pub jsonld: Option<String>,
    /// Where it is: a property of an item in microdata, such as `Product.offers.price`.
    pub microdata: Option<String>,
    /// Where it is: the content of the `meta` with this `name`, `property` or `itemprop`, such as `og:price:amount`.
    pub meta: Option<String>,
    /// Where it is: a path into the data of a page made by Next.js, such as `$.props.pageProps.price`.
    pub next_data: Option<String>,
    /// Where it is: in JSON that a script has, `{ find, path }`.
    pub script: Option<Script>,
    /// Where it is within a row that is JSON: a path from there, such as `$.price`.
    pub json: Option<String>,
    /// What is found within, by name: the field is then an object, or with `all` a list of objects. Beside a `regex` with
    /// several named groups: what these are.
    pub fields: Option<Fields>,
    /// Takes the value of this attribute instead of the text; of a list the first that is there and not empty.
    pub attr: Option<Texts>,
    /// Which text is taken: `shown` is all that a browser shows (the default), `own` leaves out that of elements within.
    pub text: Option<TextPart>,
    /// Takes the HTML instead of the text: `inner`, or `outer` with the element's own tags.
    pub html: Option<HtmlPart>,
    /// Which match is meant: 1 is the first (and the default), -1 the last. Of `near` it is which label.
    pub nth: Option<i32>,
    /// Takes every match, as a list.
    pub all: bool,
    /// Makes one text of what `all` takes, with this between.
    pub join: Option<String>,
    /// Picks a part of the text: what the group named `value` or the first group matched, else the whole match. Several
    /// named groups make an object of them.
    pub regex: Option<String>,
    /// What the text is: `text`, `number` (an exact decimal), `integer`, `percent` (as written: `-0.45%` is -0.45),
    /// `money` (`{"amount":1234.50,"currency":"INR"}`), `bool` or `datetime`. Numbers keep their digits, and a text that
    /// may mean two numbers is refused.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// How it is written. For numbers: `{ decimal, group, grouping }`. For a datetime, one of or a list of: `rfc3339`
    /// (the default), `rfc2822`, `epoch_s`, `epoch_ms`, a pattern of chrono's such as `%d-%b-%Y %H:%M:%S`.
    pub format: Option<Format>,
    /// How numbers are written, by the custom of a place: a language, with its country where that matters. Without `locale` and `format`, `1234.5` and `1,234.50` are
    /// read, but `1,234` is refused, because in half of Europe it is not a thousand.
    pub locale: Option<Locale>,
    /// The currency of money, as its code of ISO 4217, such as `USD`. It is needed where the page writes none, or a sign
    /// such as `$` that several countries use; money in another currency is refused.
    pub currency: Option<String>,
    /// Reads the scale after a number, as `2.94T` or `3,45,000 Cr`, and writes the number out: `true` for those that mean
    /// the same everywhere, or those that the page uses: `[K, M, Cr]`.
    pub scale: Option<Words>,
    /// The zone of a datetime whose format has none, such as `Asia/Kolkata`.
    #[schemars(with = "Option<String>")]
    pub timezone: Option<Tz>,
    /// What a local time means that the clocks of the `timezone` show twice or skip: read with the offset from `before`
    /// or `after` they change. By default such a time is refused.
    pub clocks: Option<Clocks>,
    /// Writes a datetime with the offset that the page had, as `…T12:34:05.000000+05:30`, and not in UTC.
    pub keep_offset: bool,
    /// The words for true; `true` by default. Capitals do not matter.
    #[serde(rename = "true")]
    pub true_words: Option<Words>,
    /// The words for false; `false` by default. Capitals do not matter.
    #[serde(rename = "false")]
    pub false_words: Option<Words>,
    /// `false` is short for `on_missing: "null"`.
    pub required: Option<bool>,
    /// What becomes of a record whose field is not on the page: `reject` (the default: no record, and the tick counts
    /// as missing), `"null"` (the record has null), `drop` (no record, and nothing is wrong), `last` (the record has the
    /// last value), `default` (it has that of `default`). Of the last two the record says so in `stand_ins`.
    #[serde(deserialize_with = "forms::on_missing_or_null")]
    pub on_missing: Option<OnMissing>,
    /// What stands in for a field that is not on the page, where `on_missing: default`: a value of the field's type, with plain
    /// digits, and as RFC 3339 for a datetime.
    pub default: Option<Scalar>,
    /// A regular expression that the whole text must match, before `regex` picks a part of it. What does not is refused.
    pub pattern: Option<String>,
    /// The least and the greatest number that is believed, such as `[0, 100000]`; null leaves an end open. Anything
    /// outside is refused.
    pub range: Option<[Bound; 2]>,
    /// How far a number may be from the last one that was written, such as `10%` or `500`; of rows, from the last one with the
    /// same `emit.key`. Anything further is refused until it is a new level: `{ by: 10%, accept_after: 5 moves }`, which is
    /// the default, `20 pages` or `never`.
    pub max_jump: Option<Jump>,
}

impl Field {
    /// Whether something may stand in for it, or for a part of it.
    pub(super) fn has_stand_in(&self) -> bool {
        let within = self.fields.as_ref().is_some_and(|fields| fields.0.iter().any(|(_, field)| field.has_stand_in()));
        within || matches!(self.on_missing, Some(OnMissing::Last | OnMissing::Default))
    }
}

/// A label, and what is taken near it: the label alone, or a map.
#[derive(Debug, Clone, Serialize)]
pub struct Near {
    /// The whole text of the label. White space and a colon at its end do not matter.
    pub label: String,
    /// A CSS selector: its first match in the closest element around the label that has one. Without it, the next cell of
    /// the row, the `dd` after the `dt`, or the next text.
    pub pick: Option<String>,
}

/// JSON within a script.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// A regular expression: the JSON begins where it ends, or where its first group begins, and ends by itself.
    pub find: String,
    /// The path of what is taken; `$` by default, which is all of it.
    #[serde(default = "whole")]
    pub path: String,
}

fn whole() -> String {
    "$".into()
}

/// What one record is: a CSS selector alone, or a map with one of these.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rows {
    /// A CSS selector of the rows.
    pub css: Option<String>,
    /// A path of JSON into the page's blocks of JSON-LD.
    pub jsonld: Option<String>,
    /// A path of JSON into the data of a page made by Next.js, such as `$.props.pageProps.items[*]`.
    pub next_data: Option<String>,
    /// JSON within a script.
    pub script: Option<Script>,
}

/// Which text of an element is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextPart {
    /// All that a browser shows.
    Shown,
    /// Without that of the elements within.
    Own,
}

/// Which HTML of an element is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HtmlPart {
    /// What is between the element's tags.
    Inner,
    /// The element with its tags.
    Outer,
}

/// What a field's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text as a browser shows it.
    #[default]
    Text,
    /// An exact decimal.
    Number,
    /// A number without decimals.
    Integer,
    /// A number with a percent mark, as written.
    Percent,
    /// An amount with its currency.
    Money,
    /// One of two words.
    Bool,
    /// A date with a time of day.
    Datetime,
}

/// How a number or a datetime is written.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Format {
    /// Of a datetime, in the order they were written.
    Moments(Vec<String>),
    /// Of a number.
    Number(NumberFormat),
}

/// How a number is written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NumberFormat {
    /// The decimal mark.
    pub decimal: char,
    /// The mark between groups; without one there are no groups.
    pub group: Option<char>,
    /// Where groups end: `thousands` (the default where there is a `group`), `indian`, `none`.
    pub grouping: Option<NumberGrouping>,
}

impl Default for NumberFormat {
    fn default() -> Self {
        Self { decimal: '.', group: None, grouping: None }
    }
}

/// Where groups of digits end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumberGrouping {
    /// `1,234,567`.
    Thousands,
    /// `12,34,567`.
    Indian,
    /// `1234567`.
    None,
}

/// What becomes of a record whose field is not on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// There is no record, and the tick counts as missing.
    Reject,
    /// The record has null.
    Null,
    /// There is no record, and nothing is wrong.
    Drop,
    /// The record has the last value.
    Last,
    /// The record has the value that the file says.
    Default,
}

/// An end of a range: a number as its text, or open.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Bound(pub(super) Option<String>);
