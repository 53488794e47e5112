//! What a source's file asks for, checked and compiled once, so that a tick only has to run it.

use regex::{Regex, RegexBuilder};
use scraper::Selector;

use super::Scrape;
use super::convert::Convert;
use super::settings::{Field, HtmlPart, OnMissing};
use crate::source::Problem;

/// Longer selectors are generated, and would be matched against every element.
const SELECTOR_BYTES_MAX: usize = 1024;
/// What a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;
const REGEX_NEST_MAX: u32 = 50;

/// How items are extracted from a page.
pub struct Plan {
    /// What one record is; `None` for the whole page.
    pub(super) rows: Option<Css>,
    pub(super) fields: Vec<FieldPlan>,
    /// The records' `type`.
    pub(super) kind: String,
    /// The index of the field that is the records' `published_at`.
    pub(super) published_at: Option<usize>,
}

/// One field.
pub(super) struct FieldPlan {
    pub(super) name: String,
    /// `None` is the row itself.
    pub(super) css: Option<Css>,
    pub(super) take: Take,
    pub(super) pick: Pick,
    pub(super) regex: Option<Regex>,
    pub(super) convert: Convert,
    pub(super) on_missing: OnMissing,
}

/// A selector with its text, which messages show.
pub(super) struct Css {
    pub(super) text: String,
    pub(super) selector: Selector,
    /// Whether a page can make it take the square of its length: siblings are counted or walked, or descendants are
    /// looked for. Taking a harmless selector for such a one costs little.
    pub(super) is_costly: bool,
}

/// What is taken of an element.
pub(super) enum Take {
    Text,
    Attribute(String),
    InnerHtml,
    OuterHtml,
}

/// Which matches are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// The match with this index from the start.
    FromStart(usize),
    /// The match with this index from the end.
    FromEnd(usize),
    All,
}

impl Plan {
    /// Compiles what the file says about extraction.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(settings: &Scrape) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let rows = settings.records.as_deref().and_then(|css| or_problem(Css::new(css), ["records"], &mut problems));
        if settings.fields.0.is_empty() {
            problems
                .push(Problem::new(["fields"], "a source needs at least one field, such as `price: \"span.price\"`"));
        }
        let fields: Vec<FieldPlan> = settings
            .fields
            .0
            .iter()
            .filter_map(|(name, field)| FieldPlan::compile(name, field, settings.records.is_some(), &mut problems))
            .collect();
        let published_at = settings.published_at.as_deref().and_then(|name| {
            let found = fields.iter().position(|field| field.name == name);
            let fits = found.filter(|&index| fields[index].convert.is_moment() && fields[index].pick != Pick::All);
            if fits.is_none() && problems.is_empty() {
                let message = format!("`{}` is not a field with `type: datetime` and one value", name.escape_debug());
                problems.push(Problem::new(["published_at"], message));
            }
            fits
        });
        let default_kind = if settings.records.is_some() { "row" } else { "page" };
        let kind = settings.record_type.clone().unwrap_or_else(|| default_kind.to_owned());
        if kind.is_empty() || kind.chars().any(char::is_control) {
            problems.push(Problem::new(["type"], "the records' type is a word such as quote"));
        }
        if problems.is_empty() { Ok(Self { rows, fields, kind, published_at }) } else { Err(problems) }
    }
}

impl FieldPlan {
    fn compile(name: &str, field: &Field, has_rows: bool, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let path = ["fields", name];
        let css = match &field.css {
            Some(css) => or_problem(Css::new(css), ["fields", name, "css"], problems),
            None if has_rows => None,
            None => or_problem(Err("a field of a page needs a `css` selector".into()), path, problems),
        };
        let regex = field
            .regex
            .as_deref()
            .and_then(|regex| or_problem(compile_regex(regex), ["fields", name, "regex"], problems));
        let take = match (&field.attr, field.html) {
            (Some(_), Some(_)) => or_problem(Err("a field is either an `attr` or `html`".into()), path, problems),
            (Some(attribute), None) => Some(Take::Attribute(attribute.to_ascii_lowercase())),
            (None, Some(HtmlPart::Inner)) => Some(Take::InnerHtml),
            (None, Some(HtmlPart::Outer)) => Some(Take::OuterHtml),
            (None, None) => Some(Take::Text),
        };
        let pick = or_problem(pick(field), ["fields", name, "nth"], problems);
        let convert = Convert::new(field, &path, problems);
        let on_missing = match (field.on_missing, field.required) {
            (Some(_), Some(_)) => {
                let both = "`required` and `on_missing` say the same thing; leave one out";
                or_problem(Err(both.into()), ["fields", name, "required"], problems)
            }
            (Some(on_missing), None) => Some(on_missing),
            (None, Some(false)) => Some(OnMissing::Null),
            (None, Some(true) | None) => Some(OnMissing::Reject),
        };
        if problems.len() > before {
            return None;
        }
        Some(Self { name: name.to_owned(), css, take: take?, pick: pick?, regex, convert, on_missing: on_missing? })
    }

    /// The field's place in the file.
    pub(super) fn path(&self) -> String {
        format!("fields.{}", self.name)
    }

    /// Where it looks, for people.
    pub(super) fn rule(&self) -> String {
        let css = self.css.as_ref().map_or("the row itself", |css| &css.text);
        match &self.take {
            Take::Text => css.to_owned(),
            Take::Attribute(attribute) => format!("{css} @{attribute}"),
            Take::InnerHtml => format!("{css} (inner HTML)"),
            Take::OuterHtml => format!("{css} (outer HTML)"),
        }
    }
}

impl Css {
    /// Compiles a selector.
    fn new(text: &str) -> Result<Self, String> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(format!("the selector is longer than {SELECTOR_BYTES_MAX} bytes"));
        }
        if has_nested_has(text) {
            return Err("a `:has()` within a `:has()` would be tried on every pair of elements; write it apart".into());
        }
        match Selector::parse(text) {
            Ok(selector) => Ok(Self { text: text.to_owned(), selector, is_costly: text.contains([':', '~']) }),
            Err(_) if text.contains("::") => {
                Err(format!("`{text}` has a pseudo-element; `attr: NAME` takes an attribute, and text is the default"))
            }
            Err(error) => {
                let reason = error.to_string();
                // For some mistakes scraper knows no better than to ask for a report.
                let reason = if reason.contains("report this") {
                    "there is a mistake in it".into()
                } else {
                    lower_first(&reason)
                };
                Err(format!("`{text}` is not a CSS selector: {reason}"))
            }
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Only the brackets count: a `:has(` in a quoted value makes it more careful than it needs to be, never less.
fn has_nested_has(selector: &str) -> bool {
    let lower = selector.to_ascii_lowercase();
    let mut open: Vec<bool> = Vec::new();
    for (index, byte) in lower.bytes().enumerate() {
        match byte {
            b'(' => {
                let is_has = lower[..index].ends_with(":has");
                if is_has && open.contains(&true) {
                    return true;
                }
                open.push(is_has);
            }
            b')' => drop(open.pop()),
            _ => {}
        }
    }
    false
}

fn compile_regex(regex: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(regex).size_limit(REGEX_BYTES_MAX).nest_limit(REGEX_NEST_MAX).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "the regular expression is too large when compiled; use smaller counts".into()
        }
        // The whole report has several lines; the last one says what is wrong.
        error => {
            let report = error.to_string();
            let reason = report.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", reason.trim_start_matches("error: "))
        }
    })
}

fn pick(field: &Field) -> Result<Pick, String> {
    match (field.nth, field.all) {
        (Some(_), true) => Err("a field is either `all` or one with `nth`".into()),
        (None, true) => Ok(Pick::All),
        (Some(0), false) => Err("`nth` counts from 1, or from -1 at the end".into()),
        (Some(nth), false) => {
            let index = usize::try_from(nth.unsigned_abs() - 1).expect("invariant: 32 bits fit");
            Ok(if nth > 0 { Pick::FromStart(index) } else { Pick::FromEnd(index) })
        }
        (None, false) => Ok(Pick::FromStart(0)),
    }
}

fn or_problem<T, const N: usize>(result: Result<T, String>, path: [&str; N], problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|message| problems.push(Problem::new(path, message))).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{STOCKS_EXAMPLE, Timeout};
    use super::*;
    use crate::source::Settings as _;

    fn problems(value: serde_json::Value) -> String {
        let found = match serde_path_to_error::deserialize::<_, Scrape>(value) {
            Ok(settings) => settings.problems(),
            Err(error) => vec![Problem::from(error)],
        };
        let lines: Vec<String> =
            found.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect();
        lines.join("\n")
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        insta::assert_snapshot!(problems(json!({
            "url": "ftp://example.com/", "headers": { "Host": "x", "a b": "c", "X-Key": "a\nb" }, "user_agent": "a\n",
            "encoding": "klingon", "published_at": "nothing", "type": "", "records": "tr:",
            "fields": {
                "a": "span..x",
                "b": { "css": "p::text", "nth": 0 },
                "c": { "css": "p:has(a:has(b))", "regex": "(" },
                "d": { "css": "p", "attr": "a", "html": "inner", "required": true, "on_missing": "null" },
                "e": { "css": "p", "type": "number", "locale": "de", "format": { "decimal": "," }, "range": [5, 1] },
                "f": { "css": "p", "type": "datetime", "format": "%d" },
                "g": { "css": "p", "timezone": "UTC", "true": "x", "range": [null, null] },
                "h": { "css": "p", "type": "bool", "true": ["a", "b"], "false": "B" },
                "i": { "css": "p", "type": "number", "format": { "decimal": ".", "group": "." } },
                "j": { "css": "p", "regex": "(\\w{1000}){1000}" },
            },
            "timeout": { "total": "0s" }, "max_body": 0
        })), @r"
        url: `ftp:` is not fetched; write an address with https: or http:
        headers.Host: `host` is set by tapline itself; leave it out
        headers.X-Key: a header's value is one line of plain text
        headers.a b: not a header's name; write letters and hyphens
        user_agent: a user agent is one line of plain text
        timeout: a time-out of nothing would let no page come
        max_body: a limit of nothing would let no page come
        encoding: `klingon` is no encoding of the web; write one such as utf-8 or windows-1251
        records: `tr:` is not a CSS selector: unexpected EOL
        fields.a.css: `span..x` is not a CSS selector: there is a mistake in it
        fields.b.css: `p::text` has a pseudo-element; `attr: NAME` takes an attribute, and text is the default
        fields.b.nth: `nth` counts from 1, or from -1 at the end
        fields.c.css: a `:has()` within a `:has()` would be tried on every pair of elements; write it apart
        fields.c.regex: not a regular expression: unclosed group
        fields.d: a field is either an `attr` or `html`
        fields.d.required: `required` and `on_missing` say the same thing; leave one out
        fields.e.range: 5 is greater than 1; write the least first
        fields.e.format: `locale` and `format` say the same thing; leave one out
        fields.f.format: `%d` does not name one moment; it needs a date and a time of day (with %I also %p)
        fields.g.range: `range` needs `type: number, integer, percent or money`
        fields.g.timezone: `timezone` needs `type: datetime`
        fields.g.true: `true` needs `type: bool`
        fields.h.true: `b` is a word for true and for false
        fields.i.format: `decimal` and `group` are both `.`
        fields.j.regex: the regular expression is too large when compiled; use smaller counts
        type: the records' type is a word such as quote
        ");
    }

    #[test]
    fn wrong_types_name_their_place() {
        let with = |field: serde_json::Value| problems(json!({ "url": "http://localhost/", "fields": { "a": field } }));
        insta::assert_snapshot!(with(json!(5)), @"fields.a: invalid type: integer `5`, expected a CSS selector, or a map with `css`");
        insta::assert_snapshot!(with(json!({ "css": "b", "type": "price" })), @"fields.a.type: unknown variant `price`, expected one of `text`, `number`, `integer`, `percent`, `money`, `bool`, `datetime`");
        insta::assert_snapshot!(with(json!({ "css": "b", "on_missing": "skip" })), @r#"fields.a.on_missing: `skip` is not one of reject, "null", drop"#);
        insta::assert_snapshot!(with(json!({ "css": "b", "timezone": "Asia/Calcuta" })), @"fields.a.timezone: failed to parse timezone: 'Asia/Calcuta'");
        insta::assert_snapshot!(with(json!({ "css": "b", "colour": "red" })), @"fields.a.colour: unknown field `colour`, expected one of `css`, `attr`, `html`, `nth`, `all`, `regex`, `type`, `format`, `locale`, `currency`, `scale`, `timezone`, `clocks`, `keep_offset`, `true`, `false`, `required`, `on_missing`, `range`");
        insta::assert_snapshot!(problems(json!({ "url": "/markets", "fields": {} })), @r#"
        url: not a URL (relative URL without a base); write it whole, such as https://example.com/page
        fields: a source needs at least one field, such as `price: "span.price"`
        "#);
        insta::assert_snapshot!(problems(json!({ "url": "http://me:hunter2@localhost/", "fields": { "a": "b" } })), @"url: a name and password in an address would be shown; write an `Authorization` under `headers`");
        insta::assert_snapshot!(problems(json!({ "url": "http://localhost/", "fields": { "a": "b" }, "timeout": 5 })), @"timeout: invalid type: integer `5`, expected a duration such as 30s, or `{ connect: 10s, total: 30s }`");
        insta::assert_snapshot!(problems(json!({ "url": "http://localhost/", "records": "tr", "fields": { "row": {} } })), @"");
    }

    #[test]
    fn the_examples_are_right() {
        for example in [Scrape::EXAMPLE, STOCKS_EXAMPLE] {
            let mut value: serde_json::Value = serde_saphyr::from_str(example).unwrap();
            for common in ["kind", "every", "output"] {
                value.as_object_mut().unwrap().remove(common);
            }
            let schema = serde_json::to_value(schemars::schema_for!(Scrape)).unwrap();
            let errors: Vec<String> = jsonschema::validator_for(&schema)
                .unwrap()
                .iter_errors(&value)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(problems(value), "");
        }
    }

    #[test]
    fn a_duration_alone_is_the_total() {
        let timeout = |value| {
            serde_json::from_value::<Scrape>(json!({ "url": "u", "fields": {}, "timeout": value })).unwrap().timeout
        };
        let millis = |timeout: Timeout| (timeout.connect.0.as_millis(), timeout.total.0.as_millis());
        assert_eq!(millis(Timeout::default()), (10_000, 30_000));
        assert_eq!(millis(timeout(json!("5s"))), (5_000, 5_000));
        assert_eq!(millis(timeout(json!({ "total": "60s" }))), (10_000, 60_000));
        assert_eq!(millis(timeout(json!({ "connect": "1s" }))), (1_000, 30_000));
    }
}
