//! From a field's text to its typed value, as the JSON that stands in the record.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use super::moment::Moments;
use super::number::{self, Decimal, Grouping, Style};
use super::settings::{Bound, Field, FieldType, Format, Locale, NumberFormat, NumberGrouping};
use crate::record::time_text;
use crate::source::Problem;

/// What a field's text is made into.
#[derive(Debug, Clone)]
pub(super) enum Convert {
    Text,
    Number { style: Style, integer: bool, least: Option<Decimal>, greatest: Option<Decimal> },
    Bool { true_words: Vec<String>, false_words: Vec<String> },
    Moment(Moments),
}

/// A typed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// As it stands in the record.
    pub(super) json: String,
    /// The moment, where it is one.
    pub(super) moment: Option<DateTime<Utc>>,
}

impl Convert {
    /// Reads what a field declares, and collects what does not go together into `problems`.
    pub(super) fn new(field: &Field, path: &[&str], problems: &mut Vec<Problem>) -> Self {
        let mut wrong = |key: &str, message: String| {
            let path = path.iter().copied().chain([key]);
            problems.push(Problem::new(path, message));
        };
        let is_number = matches!(field.kind, FieldType::Number | FieldType::Integer);
        let is_datetime = field.kind == FieldType::Datetime;
        let is_bool = field.kind == FieldType::Bool;
        for (key, is_there, fits, kinds) in [
            ("locale", field.locale.is_some(), is_number, "number or integer"),
            ("range", field.range.is_some(), is_number, "number or integer"),
            ("format", field.format.is_some(), is_number || is_datetime, "number, integer or datetime"),
            ("timezone", field.timezone.is_some(), is_datetime, "datetime"),
            ("true", field.true_words.is_some(), is_bool, "bool"),
            ("false", field.false_words.is_some(), is_bool, "bool"),
        ] {
            if is_there && !fits {
                wrong(key, format!("`{key}` needs `type: {kinds}`"));
            }
        }
        match field.kind {
            FieldType::Text => Self::Text,
            FieldType::Number | FieldType::Integer => {
                let style = style(field).unwrap_or_else(|message| {
                    wrong("format", message);
                    Style::undeclared()
                });
                let (least, greatest) = range(field.range.as_ref()).unwrap_or_else(|message| {
                    wrong("range", message);
                    (None, None)
                });
                Self::Number { style, integer: field.kind == FieldType::Integer, least, greatest }
            }
            FieldType::Bool => words(field).unwrap_or_else(|message| {
                wrong("true", message);
                Self::Text
            }),
            FieldType::Datetime => moments(field).map_or_else(
                |message| {
                    wrong("format", message);
                    Self::Text
                },
                Self::Moment,
            ),
        }
    }

    /// Whether an element without any text is as good as no element. An empty text is a text, but no number.
    pub(super) fn takes_empty(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// Whether it makes moments.
    pub(super) fn is_moment(&self) -> bool {
        matches!(self, Self::Moment(_))
    }

    /// The typed value, or why the text is none: the end of a sentence that begins with the text.
    pub(super) fn convert(&self, text: &str) -> Result<Value, String> {
        let json = match self {
            Self::Text => json_string(text),
            Self::Number { style, integer, least, greatest } => {
                let value = number::read(text, style)?;
                if *integer && !value.is_integer() {
                    return Err("has decimals, and `type: integer` has none".into());
                }
                if least.as_ref().is_some_and(|least| value.compare(least) == Ordering::Less) {
                    return Err("is below its `range`".into());
                }
                if greatest.as_ref().is_some_and(|greatest| value.compare(greatest) == Ordering::Greater) {
                    return Err("is above its `range`".into());
                }
                value.to_string()
            }
            Self::Bool { true_words, false_words } => {
                let word = text.trim().to_lowercase();
                match (true_words.contains(&word), false_words.contains(&word)) {
                    (true, false) => "true".into(),
                    (false, true) => "false".into(),
                    _ => return Err("is none of the words for true and false".into()),
                }
            }
            Self::Moment(moments) => {
                let moment = moments.read(text)?;
                return Ok(Value { json: json_string(&time_text(&moment)), moment: Some(moment) });
            }
        };
        Ok(Value { json, moment: None })
    }
}

/// A string as JSON.
pub(super) fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("invariant: a string always has a JSON form")
}

fn style(field: &Field) -> Result<Style, String> {
    let style = |decimal, groups: &str, grouping| Style { decimal, groups: groups.into(), grouping, declared: true };
    match (&field.locale, &field.format) {
        (Some(_), Some(_)) => Err("`locale` and `format` say the same thing; leave one out".into()),
        (None, None) => Ok(Style::undeclared()),
        (Some(Locale::En), None) => Ok(style('.', ",", Grouping::Thousands)),
        (Some(Locale::EnIn), None) => Ok(style('.', ",", Grouping::Indian)),
        (Some(Locale::De), None) => Ok(style(',', ".", Grouping::Thousands)),
        (Some(Locale::Fr), None) => Ok(style(',', " \u{a0}\u{202f}\u{2009}", Grouping::Thousands)),
        (Some(Locale::Ch), None) => Ok(style('.', "'\u{2019}", Grouping::Thousands)),
        (None, Some(Format::Number(format))) => style_of_format(format),
        (None, Some(Format::Moments(_))) => {
            Err("a number's format is a map such as `{ decimal: \",\", group: \".\" }`".into())
        }
    }
}

fn style_of_format(format: &NumberFormat) -> Result<Style, String> {
    let is_mark = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '+' | '(' | ')' | '%' | '\u{2212}' | '\u{2013}');
    for mark in [Some(format.decimal), format.group].into_iter().flatten() {
        if !is_mark(mark) {
            return Err(format!("`{}` cannot be a mark inside a number", mark.escape_debug()));
        }
    }
    if format.group == Some(format.decimal) {
        return Err(format!("`decimal` and `group` are both `{}`", format.decimal));
    }
    let grouping = match (format.grouping, format.group) {
        (None | Some(NumberGrouping::Thousands), Some(_)) => Grouping::Thousands,
        (Some(NumberGrouping::Indian), Some(_)) => Grouping::Indian,
        (None | Some(NumberGrouping::None), None) => Grouping::None,
        (Some(NumberGrouping::None), Some(_)) => return Err("`grouping: none` has no `group`; leave one out".into()),
        (Some(_), None) => return Err("`grouping` needs the `group` mark".into()),
    };
    let groups = format.group.map(String::from).unwrap_or_default();
    Ok(Style { decimal: format.decimal, groups, grouping, declared: true })
}

fn range(range: Option<&[Bound; 2]>) -> Result<(Option<Decimal>, Option<Decimal>), String> {
    let Some([least, greatest]) = range else { return Ok((None, None)) };
    let read = |bound: &Bound| {
        let Some(text) = &bound.0 else { return Ok(None) };
        Decimal::plain(text).map(Some).map_err(|reason| format!("`{text}` {reason}; write plain digits"))
    };
    let (least, greatest) = (read(least)?, read(greatest)?);
    if let (Some(from), Some(to)) = (&least, &greatest)
        && from.compare(to) == Ordering::Greater
    {
        return Err(format!("{from} is greater than {to}; write the least first"));
    }
    Ok((least, greatest))
}

fn words(field: &Field) -> Result<Convert, String> {
    let lower = |words: &Option<super::settings::Words>, default: &str| match words {
        Some(words) => words.0.iter().map(|word| word.trim().to_lowercase()).collect(),
        None => vec![default.to_owned()],
    };
    let true_words: Vec<String> = lower(&field.true_words, "true");
    let false_words: Vec<String> = lower(&field.false_words, "false");
    if let Some(both) = true_words.iter().find(|word| false_words.contains(word)) {
        return Err(format!("`{both}` is a word for true and for false"));
    }
    Ok(Convert::Bool { true_words, false_words })
}

fn moments(field: &Field) -> Result<Moments, String> {
    match &field.format {
        None => Moments::new(&[], field.timezone),
        Some(Format::Moments(formats)) if formats.is_empty() => Err("the list of formats is empty".into()),
        Some(Format::Moments(formats)) => Moments::new(formats, field.timezone),
        Some(Format::Number(_)) => {
            Err("a datetime's format is rfc3339, rfc2822, epoch_s, epoch_ms or a pattern such as `%d-%b-%Y %H:%M`"
                .into())
        }
    }
}
