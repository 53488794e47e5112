//! Where a field is: by selector, beside a label, or in data that the page carries.

use std::fmt;

use regex::Regex;
use serde_json_path::JsonPath;

use super::css::Css;
use super::microdata::Property;
use super::plan::{Compiling, compile_regex};
use super::settings::{Field, Script};

/// Longer paths are generated.
const PATH_BYTES_MAX: usize = 512;
/// A list of names that repeats itself doubles what it finds with each level.
const PATH_COMMAS_MAX: usize = 6;

/// One place.
pub(super) enum Place {
    /// The row itself.
    Row,
    Css(Css),
    Near(NearPlan),
    Meta(String),
    Microdata(Property),
    Json(Json),
}

/// See [`super::near`].
pub(super) struct NearPlan {
    /// As it is compared.
    pub(super) label: String,
    pub(super) pick: Option<Css>,
}

/// A place in JSON.
pub(super) struct Json {
    pub(super) from: JsonFrom,
    pub(super) path: JsonPath,
    /// The path as written.
    text: String,
}

/// Which JSON.
pub(super) enum JsonFrom {
    /// The row, which is JSON itself.
    Row,
    Linked,
    Next,
    /// What the expression finds; with its number among those of the plan.
    Script(usize, Regex),
}

/// What a field is looked for within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    Page,
    /// An element.
    Row,
    /// A value.
    Json,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row => out.write_str("the row itself"),
            Self::Css(css) => out.write_str(&css.text),
            Self::Near(NearPlan { label, pick: None }) => write!(out, "near \"{label}\""),
            Self::Near(NearPlan { label, pick: Some(pick) }) => write!(out, "near \"{label}\": {}", pick.text),
            Self::Meta(name) => write!(out, "meta {name}"),
            Self::Microdata(property) => write!(out, "microdata {}", property.text),
            Self::Json(json) => json.fmt(out),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match &self.from {
            JsonFrom::Row => "json",
            JsonFrom::Linked => "jsonld",
            JsonFrom::Next => "next_data",
            JsonFrom::Script(_, find) => return write!(out, "script {find} {}", self.text),
        };
        write!(out, "{from} {}", self.text)
    }
}

/// Whether the file says nothing about where the field is, nor what of it is taken.
pub(super) fn is_nowhere(field: &Field) -> bool {
    named(field).is_empty()
        && !field.all
        && field.nth.is_none()
        && field.regex.is_none()
        && field.fields.is_none()
        && field.attr.is_none()
        && field.html.is_none()
        && field.text.is_none()
        && field.join.is_none()
}

/// The keys that say where the field is.
fn named(field: &Field) -> Vec<&'static str> {
    let keys = [
        ("css", field.css.is_some()),
        ("near", field.near.is_some()),
        ("jsonld", field.jsonld.is_some()),
        ("microdata", field.microdata.is_some()),
        ("meta", field.meta.is_some()),
        ("next_data", field.next_data.is_some()),
        ("script", field.script.is_some()),
        ("json", field.json.is_some()),
    ];
    keys.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key).collect()
}

/// Where a field is first looked for, for people.
pub(super) fn shown(field: &Field) -> String {
    if let Some(css) = field.css.as_ref().and_then(|list| list.0.first()) {
        return css.clone();
    }
    if let Some(near) = &field.near {
        return format!("near \"{}\"", near.label);
    }
    let named = [("jsonld", &field.jsonld), ("microdata", &field.microdata), ("meta", &field.meta)];
    let named = named.into_iter().chain([("next_data", &field.next_data), ("json", &field.json)]);
    let found = named.into_iter().find_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?)));
    let script = || field.script.as_ref().map(|script| format!("script {}", script.path));
    found.or_else(script).unwrap_or_else(|| "the row".into())
}

/// Compiles where a field is. What is wrong is noted in `state`.
pub(super) fn places(field: &Field, path: &[&str], within: Within, state: &mut Compiling) -> Vec<Place> {
    let key = match (&named(field)[..], within) {
        ([], Within::Page) => {
            let message = "a field of a page needs a place, such as a `css` selector";
            state.keep::<()>(Err(message.into()), path, "");
            return Vec::new();
        }
        ([], _) => return vec![Place::Row],
        (&[key], _) => key,
        ([first, second, ..], _) => {
            state.keep::<()>(Err(format!("has `{first}` and `{second}`; a field is in one place")), path, "");
            return Vec::new();
        }
    };
    let wrong = match (key, within) {
        ("css" | "near", Within::Json) => Some("the row is JSON; `json` has a path from there"),
        ("json", Within::Page | Within::Row) => Some(
            "`json` is within a row that is JSON; for the page's data there is \
                                                       `jsonld`, `next_data` or `script`",
        ),
        ("near", _) if field.all => Some("is one value; leave `all` out"),
        _ => None,
    };
    if let Some(message) = wrong {
        state.keep::<()>(Err(message.into()), path, key);
        return Vec::new();
    }
    compile(field, path, key, state)
}

fn compile(field: &Field, path: &[&str], key: &str, state: &mut Compiling) -> Vec<Place> {
    if let Some(list) = &field.css {
        if list.0.is_empty() {
            state.keep::<()>(Err("the list of selectors is empty".into()), path, key);
        }
        let compiled = list.0.iter().enumerate().filter_map(|(index, css)| {
            let index = index.to_string();
            let (path, key) = ([path, &[key]].concat(), if list.0.len() > 1 { index.as_str() } else { "" });
            state.keep(Css::new(css), &path, key).map(Place::Css)
        });
        return compiled.collect();
    }
    let place = if let Some(near) = &field.near {
        let label = super::near::plain(&near.label);
        match (label.is_empty(), near.pick.as_deref().map(Css::new).transpose()) {
            (true, _) => Err("a label has text".into()),
            (false, pick) => pick.map(|pick| Place::Near(NearPlan { label, pick })),
        }
    } else if let Some(property) = &field.microdata {
        Property::new(property).map(Place::Microdata)
    } else if let Some(name) = &field.meta {
        Ok(Place::Meta(name.clone()))
    } else if let Some(path) = &field.json {
        Json::new(JsonFrom::Row, path).map(Place::Json)
    } else {
        let json = json_of(field.jsonld.as_ref(), field.next_data.as_ref(), field.script.as_ref(), state);
        json.map(|json| Place::Json(json.expect("invariant: one of the keys is there")))
    };
    state.keep(place, path, key).into_iter().collect()
}

/// Compiles a place in data of the page, if one is named.
pub(super) fn json_of(
    linked: Option<&String>,
    next: Option<&String>,
    script: Option<&Script>,
    state: &mut Compiling,
) -> Result<Option<Json>, String> {
    match (linked, next, script) {
        (None, None, None) => Ok(None),
        (Some(path), None, None) => Json::new(JsonFrom::Linked, path).map(Some),
        (None, Some(path), None) => Json::new(JsonFrom::Next, path).map(Some),
        (None, None, Some(script)) => {
            let find = compile_regex(&script.find)?;
            state.scripts += 1;
            Json::new(JsonFrom::Script(state.scripts - 1, find), &script.path).map(Some)
        }
        _ => Err("is one of `jsonld`, `next_data` and `script`".into()),
    }
}

impl Json {
    fn new(from: JsonFrom, text: &str) -> Result<Self, String> {
        if let Some(reason) = too_costly(text) {
            return Err(reason.into());
        }
        let path = if has_half_a_character(text) { None } else { JsonPath::parse(text).ok() };
        let shown = text.escape_debug();
        let path = path.ok_or_else(|| format!("`{shown}` is not a JSONPath (RFC 9535), such as `$.offers.price`"))?;
        Ok(Self { from, path, text: text.to_owned() })
    }
}

/// Whether a `\u` has fewer than four digits behind it. The parser panics where the path ends there.
fn has_half_a_character(path: &str) -> bool {
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'\\' && rest.next() == Some(b'u') && rest.clone().take(4).filter(u8::is_ascii_hexdigit).count() < 4
        {
            return true;
        }
    }
    false
}

/// Queries have no limit of time, and a page decides how large its data is: what would look at each value more than
/// once is refused. Marks in quoted names count too, which is more careful than it needs to be.
fn too_costly(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Some("the path is longer than 512 bytes");
    }
    if path.matches("..").count() > 1 {
        return Some("two `..` in a path would look at each value many times; write it apart");
    }
    if path.matches('?').count() > 1 && path.contains("..") || path.matches('?').count() > 2 {
        return Some("so many filters in a path would look at each value many times");
    }
    if path.matches(',').count() > PATH_COMMAS_MAX {
        return Some("a path has at most 6 commas");
    }
    None
}
