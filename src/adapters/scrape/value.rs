//! From what was found for a field to its typed value.

use std::borrow::Cow;

use regex::{Captures, Regex};

use super::convert::{Convert, Value};
use super::embedded::Scalar;
use super::extract::push_key;
use super::field::{Fault, Target};
use super::place::Place;
use super::plan::{FieldPlan, Make, Member, Pick};
use super::settings::OnMissing;
use super::take::Take;
use super::text::{TEXT_BYTES_MAX, own_text, shown_text};
use crate::source::Outcome;

/// The most text that one field may have in a list.
pub(super) const LIST_BYTES_MAX: usize = 4 << 20;

/// The text of one.
pub(super) struct Taken<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether it is a number of JSON, whose form needs no declaration.
    is_number: bool,
}

/// The text of each thing that was picked, and the last of the ways that one was taken by.
pub(super) fn texts<'a>(
    field: &FieldPlan,
    place: &Place,
    targets: &'a [Target<'a>],
) -> Result<(Vec<Taken<'a>>, usize), Fault> {
    let mut texts = Vec::with_capacity(targets.len());
    let (mut bytes, mut last) = (0, 0);
    for target in targets {
        let (taken, way) = taken(field, target).map_err(|reason| field.missing(place, &reason))?;
        last = last.max(way);
        bytes += taken.text.len();
        if taken.text.len() > TEXT_BYTES_MAX || bytes > LIST_BYTES_MAX {
            let most = if taken.text.len() > TEXT_BYTES_MAX { TEXT_BYTES_MAX } else { LIST_BYTES_MAX };
            let reason = format!("`{}` has more than {} of text", field.rules()[0], limit(most));
            return Err(field.invalid(reason, &taken.text));
        }
        if taken.text.trim().is_empty() && !field.make.takes_empty() {
            return Err(field.missing(place, "is there, but empty"));
        }
        texts.push(taken);
    }
    Ok((texts, last))
}

pub(super) fn limit(bytes: usize) -> bytesize::ByteSize {
    bytesize::ByteSize(bytes as u64)
}

/// The text of one thing, and by which way it was taken, or why it has none.
fn taken<'a>(field: &FieldPlan, target: &'a Target<'a>) -> Result<(Taken<'a>, usize), String> {
    // Text beyond the limit is handed on too long, for the caller to refuse.
    let limited = |text: Option<String>| text.unwrap_or_else(|| " ".repeat(TEXT_BYTES_MAX + 1));
    let (text, way) = match (target, &field.take) {
        (Target::Element(element), Take::Text) => (limited(shown_text(*element)).into(), 0),
        (Target::Element(element), Take::OwnText) => (limited(own_text(*element)).into(), 0),
        (Target::Element(element), Take::Attributes(names)) => {
            let there: Vec<(usize, &str)> =
                names.iter().enumerate().filter_map(|(way, name)| Some((way, element.attr(name)?))).collect();
            let full = there.iter().find(|(_, value)| !value.trim().is_empty());
            let (way, value) = full.or(there.first()).ok_or("is not on the element")?;
            ((*value).to_owned().into(), *way)
        }
        (Target::Element(element), Take::InnerHtml) => (element.inner_html().into(), 0),
        (Target::Element(element), Take::OuterHtml) => (element.html().into(), 0),
        (Target::Text(_), Take::Attributes(_) | Take::InnerHtml | Take::OuterHtml) => {
            return Err("is text without an element of its own".into());
        }
        (Target::Text(text), _) => (Cow::Borrowed(text.as_str()), 0),
        (Target::Json(json), _) => {
            return match json.scalar() {
                Scalar::Text(text) => Ok((Taken { text, is_number: false }, 0)),
                Scalar::Number(token) => Ok((Taken { text: token.into(), is_number: true }, 0)),
                Scalar::Null => Err("is null".into()),
                Scalar::Many(what) => Err(format!("is {what}; take what is in it, by its path or by `fields`")),
            };
        }
    };
    Ok((Taken { text, is_number: false }, way))
}

pub(super) fn typed(field: &FieldPlan, texts: &[Taken<'_>]) -> Result<Value, Fault> {
    let join = match &field.make {
        Make::Value { join, .. } | Make::Groups { join, .. } => join.as_ref(),
        Make::Fields(_) => None,
    };
    if let Some(join) = join {
        let parts: Vec<&str> = texts.iter().map(|taken| &*taken.text).collect();
        return one_typed(field, &Taken { text: parts.join(join).into(), is_number: false });
    }
    if field.pick != Pick::All {
        return one_typed(field, &texts[0]);
    }
    let mut json = String::from("[");
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&one_typed(field, text)?.json);
    }
    json.push(']');
    Ok(Value { json, moment: None })
}

fn one_typed(field: &FieldPlan, taken: &Taken<'_>) -> Result<Value, Fault> {
    let text = &*taken.text;
    obey(field, field.pattern.as_ref(), text, text)?;
    match &field.make {
        Make::Value { regex: None, convert, .. } if taken.is_number => {
            let value = convert.convert_number(text);
            value.map_err(|reason| field.invalid(format!("{} {reason}", quoted(text)), text))
        }
        Make::Value { regex: None, convert, .. } => convert_part(field, convert, text, text),
        Make::Value { regex: Some(regex), convert, .. } => {
            let found = captures(field, regex, text)?;
            let part = found.name("value").or_else(|| found.get(1)).or_else(|| found.get(0));
            convert_part(field, convert, part.map_or("", |part| part.as_str()), text)
        }
        Make::Groups { regex, members, .. } => {
            let found = captures(field, regex, text)?;
            let mut json = String::from("{");
            for member in members {
                let value = member.value(field, &found, text)?;
                push_key(&mut json, &member.name);
                json.push_str(&value);
            }
            json.push('}');
            Ok(Value { json, moment: None })
        }
        Make::Fields(_) => unreachable!("invariant: an object has no text"),
    }
}

/// Refuses a text that is not, from its beginning to its end, what the file says.
fn obey(field: &FieldPlan, pattern: Option<&Regex>, part: &str, text: &str) -> Result<(), Fault> {
    match pattern {
        Some(pattern) if !pattern.is_match(part.trim()) => {
            Err(field.invalid(format!("{} does not match `pattern`", quoted(part)), text))
        }
        _ => Ok(()),
    }
}

fn captures<'t>(field: &FieldPlan, regex: &Regex, text: &'t str) -> Result<Captures<'t>, Fault> {
    regex.captures(text).ok_or_else(|| field.invalid(format!("{} does not match `regex`", quoted(text)), text))
}

fn convert_part(field: &FieldPlan, convert: &Convert, part: &str, text: &str) -> Result<Value, Fault> {
    convert.convert(part).map_err(|reason| field.invalid(format!("{} {reason}", quoted(part)), text))
}

impl Make {
    /// Whether an element without any text is as good as no element.
    fn takes_empty(&self) -> bool {
        !matches!(self, Self::Value { convert, .. } if !convert.takes_empty())
    }
}

impl Member {
    fn value(&self, field: &FieldPlan, found: &Captures<'_>, text: &str) -> Result<String, Fault> {
        let at = |fault: Fault| Fault { path: self.path.clone(), ..fault };
        match found.name(&self.name) {
            Some(part) => {
                obey(field, self.pattern.as_ref(), part.as_str(), text).map_err(at)?;
                convert_part(field, &self.convert, part.as_str(), text).map(|value| value.json).map_err(at)
            }
            None if self.on_missing == OnMissing::Null => Ok("null".into()),
            None => {
                let fault = field.invalid(format!("{} has no `{}`", quoted(text), self.name), text);
                Err(at(Fault { outcome: Outcome::Missing, ..fault }))
            }
        }
    }
}

/// Text from a page within a sentence: short, and without anything that a terminal would obey.
fn quoted(text: &str) -> String {
    const CHARS: usize = 60;
    let short: String = text.chars().take(CHARS).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", short.escape_debug())
}
