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
use super::place;
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

/// How a field stands among the others.
#[derive(Clone, Copy)]
struct Stand {
    /// It is in a list: there is no such thing as its last value.
    in_list: bool,
    /// It is what a group of an expression matched.
    in_regex: bool,
}

impl Contracts {
    /// Compiles what the file says, and notes what is wrong with it.
    pub(super) fn compile(settings: &Scrape, problems: &mut Vec<Problem>) -> Self {
        let mut contracts = Self { watched: Vec::new(), key: settings.emit.key.clone() };
        contracts.take(&settings.fields, &[], Stand { in_list: false, in_regex: false }, problems);
        let remembered = contracts.watched.iter().find(|watched| watched.is_remembered());
        if let Some(watched) = remembered.filter(|_| settings.records.is_some() && settings.emit.key.is_none()) {
            let key = if watched.jump.is_some() { "max_jump" } else { "on_missing" };
            let path = watched.path.split('.').chain([key]);
            let message =
                "of rows one must know which is which: name the field that tells, as `emit: { on: all, key: symbol }`";
            problems.push(Problem::new(path, message));
        }
        if contracts.watched.iter().any(|watched| watched.stand_in.is_some())
            && settings.fields.0.iter().any(|(name, _)| name == STAND_INS)
        {
            let message =
                "`stand_ins` is where a record says which of its values were not on the page; choose another name";
            problems.push(Problem::new(["fields", STAND_INS], message));
        }
        contracts
    }

    fn take(&mut self, fields: &Fields, above: &[&str], stand: Stand, problems: &mut Vec<Problem>) {
        for (name, field) in &fields.0 {
            let names = [above, &[name.as_str()]].concat();
            self.field(field, &names, stand, problems);
            if let Some(within) = &field.fields {
                let stand = Stand { in_list: stand.in_list || field.all, in_regex: field.regex.is_some() };
                self.take(within, &names, stand, problems);
            }
        }
    }

    fn field(&mut self, field: &Field, names: &[&str], stand: Stand, problems: &mut Vec<Problem>) {
        let path: Vec<&str> = names.iter().flat_map(|name| ["fields", *name]).collect();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::new(path.iter().copied().chain([key]), message));
        };
        let jump = field.max_jump.as_ref().and_then(|jump| match jump_of(field, &jump.by, stand) {
            Ok(limit) => Some((limit, jump.accept_after)),
            Err(message) => {
                wrong("max_jump", message);
                None
            }
        });
        let stand_in = stand_in(field, stand).unwrap_or_else(|(key, message)| {
            wrong(key, message);
            None
        });
        let is_null = field.on_missing == Some(OnMissing::Null) || field.required == Some(false);
        let is_optional = stand_in.is_some() || is_null && !stand.in_list && !stand.in_regex;
        if jump.is_some() || is_optional {
            self.watched.push(Watched {
                path: path.join("."),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                rule: place::shown(field),
                jump,
                stand_in,
                is_optional,
            });
        }
    }
}

fn jump_of(field: &Field, by: &str, stand: Stand) -> Result<Limit, String> {
    let is_number =
        matches!(field.kind, FieldType::Number | FieldType::Integer | FieldType::Percent | FieldType::Money);
    if !is_number || field.fields.is_some() {
        return Err("`max_jump` needs `type: number, integer, percent or money`".into());
    }
    if stand.in_list || field.all && field.join.is_none() {
        return Err("`max_jump` is of one value, and this is a list".into());
    }
    Limit::new(by)
}

/// What stands in for a field; on error also the key that is wrong.
fn stand_in(field: &Field, stand: Stand) -> Result<Option<StandIn>, (&'static str, String)> {
    let refuse = |message: &str| Err(("on_missing", message.to_owned()));
    match (field.on_missing, &field.default) {
        (Some(OnMissing::Last | OnMissing::Default), _) if stand.in_regex => {
            refuse("nothing stands in for a group of a `regex`; say it of the whole field")
        }
        (Some(OnMissing::Last | OnMissing::Default), _) if stand.in_list => {
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
