//! What a source's file asks for, checked and compiled once, so that a tick only has to run it.

use regex::{Regex, RegexBuilder};

use super::Scrape;
use super::contract::Contracts;
use super::convert::Convert;
use super::css::Css;
use super::paging::Follow;
use super::place::{self, Json, Place, Within};
use super::settings::{Field, FieldType, OnMissing, Rows};
use super::take::Take;
use crate::source::Problem;

/// What a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;
const REGEX_NEST_MAX: u32 = 50;

/// How items are extracted from a page.
pub struct Plan {
    /// What one record is; `None` for the whole page.
    pub(super) rows: Option<RowsPlan>,
    pub(super) fields: Vec<FieldPlan>,
    /// Where a row has the link that is followed.
    pub(super) link: Option<FieldPlan>,
    /// The records' `type`.
    pub(super) kind: String,
    /// The index of the field that is the records' `published_at`.
    pub(super) published_at: Option<usize>,
    /// How many JSON values are looked for in scripts; each has its number.
    pub(super) scripts: usize,
    /// The fields that may be served by more than one rule, by their number.
    pub(super) fallbacks: Vec<Fallback>,
    /// What is promised from one page to the next.
    pub(super) contracts: Contracts,
}

/// What the records of a page are.
pub(super) enum RowsPlan {
    Css(Css),
    Json(Json),
}

impl RowsPlan {
    /// The selector of rows that are elements.
    pub(super) fn css(rows: Option<&Self>) -> Option<&Css> {
        if let Some(Self::Css(css)) = rows { Some(css) } else { None }
    }
}

/// A field with fall-backs.
pub(super) struct Fallback {
    /// The field's place in the file.
    pub(super) path: String,
    /// Its rules in their order, for people.
    pub(super) rules: Vec<String>,
}

/// One field.
pub(super) struct FieldPlan {
    pub(super) name: String,
    /// The field's place in the file.
    pub(super) path: String,
    /// Where it is, and where else if it is not there.
    pub(super) places: Vec<Place>,
    pub(super) take: Take,
    pub(super) pick: Pick,
    /// Whether the file says which match is meant.
    pub(super) has_nth: bool,
    pub(super) make: Make,
    /// What the whole text must be.
    pub(super) pattern: Option<Regex>,
    pub(super) on_missing: OnMissing,
    /// Its number among those with fall-backs.
    pub(super) fallback: Option<usize>,
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

/// What is made of that.
pub(super) enum Make {
    /// A value of each text, or of all of them joined.
    Value { regex: Option<Regex>, convert: Convert, join: Option<String> },
    /// An object of what the groups of an expression matched.
    Groups { regex: Regex, members: Vec<Member>, join: Option<String> },
    /// An object of what is found within.
    Fields(Vec<FieldPlan>),
}

/// A named group of a regular expression.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) convert: Convert,
    pub(super) pattern: Option<Regex>,
    pub(super) on_missing: OnMissing,
}

/// What is counted, and what is wrong, while a plan is compiled.
#[derive(Default)]
pub(super) struct Compiling {
    pub(super) problems: Vec<Problem>,
    pub(super) scripts: usize,
    fallbacks: Vec<Fallback>,
}

impl Plan {
    /// Compiles what the file says about extraction.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(settings: &Scrape) -> Result<Self, Vec<Problem>> {
        Self::compile_below(settings, &[])
    }

    /// The same, of fields that stand below this path in the file.
    pub(super) fn compile_below(settings: &Scrape, path: &[&str]) -> Result<Self, Vec<Problem>> {
        let mut state = Compiling::default();
        let rows = settings.records.as_ref().and_then(|rows| state.rows(rows));
        let within = match &settings.records {
            None => Within::Page,
            Some(Rows { css: Some(_), .. }) => Within::Row,
            Some(_) => Within::Json,
        };
        if settings.fields.0.is_empty() && settings.follow.is_none() {
            let message = "a source needs at least one field, such as `price: \"span.price\"`";
            state.problems.push(Problem::new([path, &["fields"]].concat(), message));
        }
        let fields: Vec<FieldPlan> = settings
            .fields
            .0
            .iter()
            .filter_map(|(name, field)| state.field(&[path, &["fields", name]].concat(), name, field, within))
            .collect();
        let link = settings.follow.as_ref().and_then(Follow::link);
        let link = link.and_then(|link| state.field(&["follow"], "follow", &link, within));
        let contracts = Contracts::compile(settings, path, &mut state.problems);
        let mut problems = std::mem::take(&mut state.problems);
        let published_at = settings.published_at.as_deref().and_then(|name| {
            let found = fields.iter().position(|field| field.name == name);
            let fits = found.filter(|&index| fields[index].is_moment());
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
        if !problems.is_empty() {
            return Err(problems);
        }
        // The links of a whole page are found otherwise: each of them is a record.
        let link = link.filter(|_| rows.is_some());
        let Compiling { scripts, fallbacks, .. } = state;
        Ok(Self { rows, fields, link, kind, published_at, scripts, fallbacks, contracts })
    }
}

impl Compiling {
    /// Keeps what is right, and notes what is wrong with the value at `path`.
    pub(super) fn keep<T>(&mut self, result: Result<T, String>, path: &[&str], key: &str) -> Option<T> {
        let path = path.iter().copied().chain((!key.is_empty()).then_some(key));
        result.map_err(|message| self.problems.push(Problem::new(path, message))).ok()
    }

    fn rows(&mut self, rows: &Rows) -> Option<RowsPlan> {
        let path = ["records"];
        let json = place::json_of(rows.jsonld.as_ref(), rows.next_data.as_ref(), rows.script.as_ref(), self);
        let json = self.keep(json, &path, "")?;
        match (&rows.css, json) {
            (Some(css), None) => self.keep(Css::new(css), &path, "").map(RowsPlan::Css),
            (None, Some(json)) => Some(RowsPlan::Json(json)),
            _ => self.keep(Err("`records` is one selector, `jsonld`, `next_data` or `script`".into()), &path, ""),
        }
    }

    fn field(&mut self, path: &[&str], name: &str, field: &Field, within: Within) -> Option<FieldPlan> {
        let before = self.problems.len();
        let places = place::places(field, path, within, self);
        let take = Take::of(field).and_then(|take| {
            let is_element = matches!(places.first(), Some(Place::Css(_) | Place::Near(_)))
                || matches!((places.first(), within), (Some(Place::Row), Within::Row));
            if matches!(take, Take::Text) || is_element || places.is_empty() {
                Ok(take)
            } else {
                Err("`attr`, `html` and `text` are of an element that `css` or `near` finds".into())
            }
        });
        let take = self.keep(take, path, "");
        let pick = self.keep(pick(field), path, "nth");
        let make = self.make(path, field, places.first(), within);
        let pattern = self.pattern(field, path);
        let on_missing = self.keep(on_missing(field), path, "required");
        if self.problems.len() > before {
            return None;
        }
        let mut plan = FieldPlan {
            name: name.to_owned(),
            path: path.join("."),
            places,
            take: take?,
            pick: pick?,
            has_nth: field.nth.is_some(),
            make: make?,
            pattern,
            on_missing: on_missing?,
            fallback: None,
        };
        let rules = plan.rules();
        if rules.len() > 1 {
            plan.fallback = Some(self.fallbacks.len());
            self.fallbacks.push(Fallback { path: plan.path.clone(), rules });
        }
        Some(plan)
    }

    /// The expression that the whole of a text must match.
    fn pattern(&mut self, field: &Field, path: &[&str]) -> Option<Regex> {
        let pattern = field.pattern.as_deref()?;
        if field.fields.is_some() && field.regex.is_none() {
            return self.keep(Err("`pattern` is of a text, and an object has none".into()), path, "pattern");
        }
        // By itself first: a bracket too many must not close the one around it.
        let compiled = compile_regex(pattern).and_then(|_| compile_regex(&format!("^(?:{pattern})$")));
        self.keep(compiled, path, "pattern")
    }

    fn make(&mut self, path: &[&str], field: &Field, place: Option<&Place>, within: Within) -> Option<Make> {
        let regex = field.regex.as_deref().map(compile_regex).transpose();
        let regex = self.keep(regex, path, "regex")?;
        let join = match (&field.join, field.all) {
            (Some(_), false) => self.keep(Err("`join` needs `all: true`".into()), path, "join")?,
            (join, _) => join.clone(),
        };
        let has_groups = regex.as_ref().is_some_and(|regex| {
            let names: Vec<&str> = regex.capture_names().flatten().collect();
            names.len() > 1 && !names.contains(&"value")
        });
        if !has_groups && field.fields.is_none() {
            let convert = Convert::new(field, path, &mut self.problems);
            return Some(Make::Value { regex, convert, join });
        }
        if field.kind != FieldType::Text {
            return self.keep(Err("an object's types belong to its own `fields`".into()), path, "type");
        }
        match regex {
            Some(regex) if has_groups => {
                let members = self.members(path, field, &regex)?;
                Some(Make::Groups { regex, members, join })
            }
            Some(_) => self.keep(Err("beside `fields` it needs several named groups".into()), path, "regex"),
            None if join.is_some() => self.keep(Err("objects are not joined; leave it out".into()), path, "join"),
            None => {
                let within = match (place, within) {
                    (Some(Place::Json(_)), _) | (Some(Place::Row), Within::Json) => Within::Json,
                    (Some(Place::Meta(_) | Place::Microdata(_)), _) => {
                        return self.keep(
                            Err("what `meta` and `microdata` find has nothing within".into()),
                            path,
                            "fields",
                        );
                    }
                    _ => Within::Row,
                };
                let fields = field.fields.as_ref().map_or(&[][..], |fields| &fields.0);
                if fields.is_empty() {
                    return self.keep(Err("an object needs at least one field".into()), path, "fields");
                }
                let plans = fields.iter().filter_map(|(name, field)| {
                    let path = [path, &["fields", name]].concat();
                    self.field(&path, name, field, within)
                });
                Some(Make::Fields(plans.collect()))
            }
        }
    }

    /// The members of an object that an expression's groups make. A group that no field declares is text.
    fn members(&mut self, path: &[&str], field: &Field, regex: &Regex) -> Option<Vec<Member>> {
        let default = Field::default();
        let declared = field.fields.as_ref().map_or(&[][..], |fields| &fields.0);
        let groups: Vec<&str> = regex.capture_names().flatten().collect();
        if let Some((name, _)) = declared.iter().find(|(name, _)| !groups.contains(&name.as_str())) {
            let message = format!("`{}` is no named group of the `regex`", name.escape_debug());
            return self.keep(Err(message), path, "fields");
        }
        let members = groups.iter().filter_map(|&name| {
            let field = declared.iter().find(|(declared, _)| declared == name).map_or(&default, |(_, field)| field);
            let path = [path, &["fields", name]].concat();
            if !place::is_nowhere(field) {
                return self.keep(Err("a group of a `regex` has a type, and no place of its own".into()), &path, "");
            }
            let convert = Convert::new(field, &path, &mut self.problems);
            let on_missing = self.keep(on_missing(field), &path, "required")?;
            let pattern = self.pattern(field, &path);
            if on_missing == OnMissing::Drop {
                let message = "a group cannot drop the record; say it of the whole field";
                return self.keep(Err(message.into()), &path, "on_missing");
            }
            Some(Member { name: name.to_owned(), path: path.join("."), convert, pattern, on_missing })
        });
        Some(members.collect())
    }
}

impl FieldPlan {
    /// Where it looks, for people, in the order in which it does.
    pub(super) fn rules(&self) -> Vec<String> {
        let how = self.take.suffixes();
        self.places.iter().flat_map(|place| how.iter().map(move |how| format!("{place}{how}"))).collect()
    }

    fn is_moment(&self) -> bool {
        let is_one = self.pick != Pick::All;
        matches!(&self.make, Make::Value { convert, join, .. } if convert.is_moment() && (is_one || join.is_some()))
    }
}

fn on_missing(field: &Field) -> Result<OnMissing, String> {
    match (field.on_missing, field.required) {
        (Some(_), Some(_)) => Err("`required` and `on_missing` say the same thing; leave one out".into()),
        (Some(on_missing), None) => Ok(on_missing),
        (None, Some(false)) => Ok(OnMissing::Null),
        (None, Some(true) | None) => Ok(OnMissing::Reject),
    }
}

pub(super) fn compile_regex(regex: &str) -> Result<Regex, String> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::STOCKS_EXAMPLE;
    use super::*;
    use crate::fetch::Timeout;
    use crate::source::Settings as _;

    fn problems(value: serde_json::Value) -> String {
        let found = Scrape::read(value).map_or_else(|problems| problems, |settings| settings.problems());
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
    fn what_does_not_go_together_is_said() {
        insta::assert_snapshot!(problems(json!({
            "url": "http://localhost/", "records": { "css": "tr", "jsonld": "$" },
            "fields": {
                "a": { "css": "p", "near": "x" },
                "b": { "json": "$.a" },
                "c": { "jsonld": "offers.price" },
                "d": { "jsonld": "$..a..b" },
                "e": { "jsonld": "$.a", "attr": "href" },
                "f": { "near": " : " },
                "g": { "near": { "label": "x", "pick": "p:" } },
                "h": { "near": "x", "all": true },
                "i": { "css": "p", "join": "," },
                "j": { "css": "p", "fields": {} },
                "k": { "css": "p", "fields": { "x": { "css": "a:" } } },
                "l": { "css": "p", "fields": { "x": "a" }, "type": "number" },
                "m": { "css": "p", "regex": "(?P<a>.)(?P<b>.)", "fields": { "c": {} } },
                "n": { "css": "p", "regex": "(?P<a>.)(?P<b>.)", "fields": { "a": { "css": "b" } } },
                "o": { "css": "p", "regex": "(.)", "fields": { "a": "b" } },
                "p": { "microdata": "price" },
                "q": { "meta": "x", "fields": { "a": "b" } },
                "r": { "script": { "find": "(" } },
                "s": { "css": [] },
                "t": { "css": "p", "text": "own", "attr": "x" },
                "u": { "css": "p", "attr": [] },
                "v": { "next_data": "$.a", "fields": { "x": "b" } },
                "w": { "css": "p", "type": "money", "currency": "usd" },
                "x": { "css": "p", "type": "number", "scale": ["K", "Q"], "currency": "USD" },
                "y": { "css": "p", "type": "datetime", "clocks": "before" },
                "z": { "css": "p", "regex": "(?P<a>.)(?P<b>.)", "fields": { "a": { "on_missing": "drop" } } },
            },
        })), @r"
        records: `records` is one selector, `jsonld`, `next_data` or `script`
        fields.a: has `css` and `near`; a field is in one place
        fields.b.json: `json` is within a row that is JSON; for the page's data there is `jsonld`, `next_data` or `script`
        fields.c.jsonld: `offers.price` is not a JSONPath (RFC 9535), such as `$.offers.price`
        fields.d.jsonld: two `..` in a path would look at each value many times; write it apart
        fields.e: `attr`, `html` and `text` are of an element that `css` or `near` finds
        fields.f.near: a label has text
        fields.g.near: `p:` is not a CSS selector: unexpected EOL
        fields.h.near: is one value; leave `all` out
        fields.i.join: `join` needs `all: true`
        fields.j.fields: an object needs at least one field
        fields.k.fields.x.css: `a:` is not a CSS selector: unexpected EOL
        fields.l.type: an object's types belong to its own `fields`
        fields.m.fields: `c` is no named group of the `regex`
        fields.n.fields.a: a group of a `regex` has a type, and no place of its own
        fields.o.regex: beside `fields` it needs several named groups
        fields.p.microdata: is the type of an item and its property, as `Product.price` or `Product.offers.price`
        fields.q.fields: what `meta` and `microdata` find has nothing within
        fields.r.script: not a regular expression: unclosed group
        fields.s.css: the list of selectors is empty
        fields.t: a field is either `text`, an `attr` or `html`
        fields.u: the list of attributes is empty
        fields.v.fields.x.css: the row is JSON; `json` has a path from there
        fields.w.currency: `usd` is no currency; write a code such as USD or INR
        fields.x.currency: `currency` needs `type: money`
        fields.x.scale: `Q` is no scale; write some of K, k, thousand, L, lac, lacs, lakh, lakhs, M, m, mn, mln, million, Cr, crore, crores, bn, bln, lakh crore, L Cr, tn, B, b, billion, T, trillion, Tsd, Mio, Mrd, Mld, mld, Md, Mds, Bio
        fields.y.format: `clocks` needs the `timezone` whose clocks they are
        fields.z.fields.a.on_missing: a group cannot drop the record; say it of the whole field
        ");
        insta::assert_snapshot!(problems(json!({ "url": "http://localhost/", "fields": { "a": {} } })), @"fields.a: a field of a page needs a place, such as a `css` selector");
        insta::assert_snapshot!(problems(json!({ "url": "http://localhost/", "fields": { "a": "b" }, "records": { "script": { "find": "x" }, "next_data": "$" } })), @r"
        records: is one of `jsonld`, `next_data` and `script`
        fields.a.css: the row is JSON; `json` has a path from there
        ");
    }

    #[test]
    fn wrong_types_name_their_place() {
        let with = |field: serde_json::Value| problems(json!({ "url": "http://localhost/", "fields": { "a": field } }));
        insta::assert_snapshot!(with(json!(5)), @"fields.a: invalid type: integer `5`, expected a CSS selector, or a map with `css`");
        insta::assert_snapshot!(with(json!({ "css": "b", "type": "price" })), @"fields.a.type: unknown variant `price`, expected one of `text`, `number`, `integer`, `percent`, `money`, `bool`, `datetime`");
        insta::assert_snapshot!(with(json!({ "css": "b", "on_missing": "skip" })), @r#"fields.a.on_missing: `skip` is not one of reject, "null", drop, last, default"#);
        insta::assert_snapshot!(with(json!({ "css": "b", "timezone": "Asia/Calcuta" })), @"fields.a.timezone: failed to parse timezone: 'Asia/Calcuta'");
        insta::assert_snapshot!(with(json!({ "css": "b", "colour": "red" })), @"fields.a.colour: unknown field `colour`, expected one of `css`, `near`, `jsonld`, `microdata`, `meta`, `next_data`, `script`, `json`, `fields`, `attr`, `text`, `html`, `nth`, `all`, `join`, `regex`, `type`, `format`, `locale`, `currency`, `scale`, `timezone`, `clocks`, `keep_offset`, `true`, `false`, `required`, `on_missing`, `default`, `pattern`, `range`, `max_jump`");
        insta::assert_snapshot!(problems(json!({ "url": "/markets", "fields": {} })), @r#"
        url: not a URL (relative URL without a base); write it whole, such as https://example.com/page
        fields: a source needs at least one field, such as `price: "span.price"`
        "#);
        insta::assert_snapshot!(problems(json!({ "url": "http://me:hunter2@localhost/", "fields": { "a": "b" } })), @"url: a name and password in an address would be shown; write them as `auth: { basic: { user, password } }`");
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
            Scrape::read(json!({ "url": "u", "fields": {}, "timeout": value })).unwrap_or_else(|_| panic!()).ask.timeout
        };
        let millis = |timeout: Timeout| (timeout.connect.0.as_millis(), timeout.total.0.as_millis());
        assert_eq!(millis(Timeout::default()), (10_000, 30_000));
        assert_eq!(millis(timeout(json!("5s"))), (5_000, 5_000));
        assert_eq!(millis(timeout(json!({ "total": "60s" }))), (10_000, 60_000));
        assert_eq!(millis(timeout(json!({ "connect": "1s" }))), (1_000, 30_000));
    }
}
