//! What the file promises of fields from one page to the next: how far a value may jump, and what stands in for one that
//! is not there. Compiled here; `history.rs` holds records against it.

use std::ops::Range;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::Scrape;
use super::convert::json_string;
use super::currency;
use super::emit::members;
use super::number::Decimal;
use super::place::shown;
use super::settings::{Field, FieldType, Fields, OnMissing};
use super::trust::{AcceptAfter, Limit};
use crate::record::time_text;
use crate::source::Problem;

/// The key of a record's data that says which of its values were not on the page.
pub(super) const STAND_INS: &str = "stand_ins";

/// The fields with such promises.
#[derive(Default)]
pub(super) struct Contracts {
    pub(super) watched: Vec<Watched>,
    /// The field by which a row is known again.
    pub(super) key: Option<String>,
}

/// One of them.
pub(super) struct Watched {
    /// Its place in the file.
    pub(super) path: String,
    /// Its place in a record's data.
    pub(super) names: Vec<String>,
    /// Where it is looked for, for people.
    pub(super) rule: String,
    pub(super) jump: Option<(Limit, AcceptAfter)>,
    pub(super) stand_in: Option<StandIn>,
    /// Whether a record may do without it.
    pub(super) is_optional: bool,
}

/// What stands in for a value that is not there.
pub(super) enum StandIn {
    /// The last one.
    Last,
    /// This JSON.
    Default(String),
}

impl StandIn {
    /// The word for it in the record.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Default(_) => "default",
        }
    }
}

impl Watched {
    /// Whether its last value has to be remembered.
    pub(super) fn is_remembered(&self) -> bool {
        self.jump.is_some() || matches!(self.stand_in, Some(StandIn::Last))
    }

    /// Where its value stands in a record's data.
    pub(super) fn range_in(&self, data: &str) -> Option<Range<usize>> {
        let mut at = 0..data.len();
        for name in &self.names {
            let within = &data[at.clone()];
            let inner = members(within);
            let value: &RawValue = inner.get(name.as_str()).copied()?;
            // A member is a part of its object's text.
            let start = at.start + (value.get().as_ptr().addr() - within.as_ptr().addr());
            at = start..start + value.get().len();
        }
        Some(at)
    }
}

/// Where a field is.
struct Place<'a> {
    /// In the file.
    file: Vec<&'a str>,
    /// In a record's data.
    names: Vec<&'a str>,
    /// It is in a list: there is no such thing as its last value.
    in_list: bool,
    /// It is what a group of an expression matched.
    in_regex: bool,
}

impl Contracts {
    /// Compiles what the file says of fields that stand below `path` in it, and notes what is wrong with that.
    pub(super) fn compile(settings: &Scrape, path: &[&str], problems: &mut Vec<Problem>) -> Self {
        // The key may be of what is put in, or of the other page of two.
        let key = settings.emit.key.clone().filter(|key| settings.fields.has(key));
        let mut contracts = Self { watched: Vec::new(), key };
        let place = Place { file: path.to_vec(), names: Vec::new(), in_list: false, in_regex: false };
        contracts.take(&settings.fields, &place, problems);
        let remembered = contracts.watched.iter().find(|watched| watched.is_remembered());
        if let Some(watched) = remembered.filter(|_| settings.records.is_some() && contracts.key.is_none()) {
            let key = if watched.jump.is_some() { "max_jump" } else { "on_missing" };
            let path = watched.path.split('.').chain([key]);
            let message =
                "of rows one must know which is which: name the field that tells, as `emit: { on: all, key: symbol }`";
            problems.push(Problem::new(path, message));
        }
        contracts
    }

    fn take(&mut self, fields: &Fields, place: &Place<'_>, problems: &mut Vec<Problem>) {
        for (name, field) in &fields.0 {
            let file = [&place.file[..], &["fields", name]].concat();
            let names = [&place.names[..], &[name.as_str()]].concat();
            let place = Place { file, names, ..*place };
            self.field(field, &place, problems);
            if let Some(within) = &field.fields {
                let (in_list, in_regex) = (place.in_list || field.all, field.regex.is_some());
                self.take(within, &Place { in_list, in_regex, ..place }, problems);
            }
        }
    }

    fn field(&mut self, field: &Field, place: &Place<'_>, problems: &mut Vec<Problem>) {
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::new(place.file.iter().copied().chain([key]), message));
        };
        let jump = field.max_jump.as_ref().and_then(|jump| match jump_of(field, &jump.by, place) {
            Ok(limit) => Some((limit, jump.accept_after)),
            Err(message) => {
                wrong("max_jump", message);
                None
            }
        });
        let stand_in = stand_in(field, place).unwrap_or_else(|(key, message)| {
            wrong(key, message);
            None
        });
        let is_null = field.on_missing == Some(OnMissing::Null) || field.required == Some(false);
        let is_optional = stand_in.is_some() || is_null && !place.in_list && !place.in_regex;
        if jump.is_some() || is_optional {
            self.watched.push(Watched {
                path: place.file.join("."),
                names: place.names.iter().map(|name| (*name).to_owned()).collect(),
                rule: shown(field),
                jump,
                stand_in,
                is_optional,
            });
        }
    }
}

impl Scrape {
    /// What is wrong with the names of fields, where records say which values were not on the page.
    pub(super) fn stand_ins_problem(&self) -> Option<Problem> {
        let is_taken = self.names_in_data().iter().filter(|name| *name == STAND_INS).count() > 1;
        let path: &[&str] = match &self.follow {
            _ if self.fields.has(STAND_INS) => &["fields", STAND_INS],
            Some(follow) if follow.fields.has(STAND_INS) => &["follow", "fields", STAND_INS],
            _ => &["for_each", STAND_INS],
        };
        let message =
            "`stand_ins` is where a record says which of its values were not on the page; choose another name";
        is_taken.then(|| Problem::new(path.iter().copied(), message))
    }
}

fn jump_of(field: &Field, by: &str, place: &Place<'_>) -> Result<Limit, String> {
    let is_number =
        matches!(field.kind, FieldType::Number | FieldType::Integer | FieldType::Percent | FieldType::Money);
    if !is_number || field.fields.is_some() {
        return Err("`max_jump` needs `type: number, integer, percent or money`".into());
    }
    if place.in_list || field.all && field.join.is_none() {
        return Err("`max_jump` is of one value, and this is a list".into());
    }
    Limit::new(by)
}

/// What stands in for a field; on error also the key that is wrong.
fn stand_in(field: &Field, place: &Place<'_>) -> Result<Option<StandIn>, (&'static str, String)> {
    let refuse = |message: &str| Err(("on_missing", message.to_owned()));
    match (field.on_missing, &field.default) {
        (Some(OnMissing::Last | OnMissing::Default), _) if place.in_regex => {
            refuse("nothing stands in for a group of a `regex`; say it of the whole field")
        }
        (Some(OnMissing::Last | OnMissing::Default), _) if place.in_list => {
            refuse("nothing stands in for a field of a list; say it of the whole list")
        }
        (Some(OnMissing::Last), None) => Ok(Some(StandIn::Last)),
        (Some(OnMissing::Default), Some(value)) => {
            let json = default_json(field, &value.0).map_err(|message| ("default", message))?;
            Ok(Some(StandIn::Default(json)))
        }
        (Some(OnMissing::Default), None) => refuse("which value? write it as `default`"),
        (_, Some(_)) => Err(("default", "`default` goes with `on_missing: default`".into())),
        (_, None) => Ok(None),
    }
}

/// The value that the file says, as it stands in the record.
fn default_json(field: &Field, text: &str) -> Result<String, String> {
    if field.fields.is_some() || field.all && field.join.is_none() {
        return Err("a default is one value; an object or a list has none".into());
    }
    let number =
        || Decimal::plain(text).map_err(|reason| format!("`{}` {reason}; write plain digits", text.escape_debug()));
    match field.kind {
        FieldType::Text => Ok(json_string(text)),
        FieldType::Number | FieldType::Percent => number().map(|value| value.to_string()),
        FieldType::Integer => match number()? {
            value if value.is_integer() => Ok(value.to_string()),
            _ => Err("has decimals, and `type: integer` has none".into()),
        },
        FieldType::Money => {
            let code = field.currency.as_deref().and_then(currency::code);
            let code = code.ok_or("money needs its `currency` for a default")?;
            Ok(format!("{{\"amount\":{},\"currency\":\"{code}\"}}", number()?))
        }
        FieldType::Bool if matches!(text, "true" | "false") => Ok(text.to_owned()),
        FieldType::Bool => Err("the default of a bool is true or false".into()),
        FieldType::Datetime => {
            let moment = DateTime::parse_from_rfc3339(text).map_err(|_| {
                format!("`{}` is no moment of RFC 3339, such as 2026-11-23T07:04:05Z", text.escape_debug())
            })?;
            Ok(json_string(&time_text(&moment.with_timezone(&Utc))))
        }
    }
}
