//! From a page's text to items: pure, so that it can be tested, benchmarked and fuzzed by itself.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use scraper::ElementRef;
use serde_json::value::RawValue;

use super::compounds::how_far;
use super::convert::json_string;
use super::css::Css;
use super::early::Early;
use super::embedded::{Embedded, Found};
use super::field::Fault;
use super::looks;
use super::page::Page;
use super::place::Json;
use super::plan::{FieldPlan, Plan, RowsPlan};
use super::select::{TooSlow, Watch, matches};
use super::settings::OnMissing;
use super::text::shown_text;
use crate::item::{Finding, Item, Reject};
use crate::source::Outcome;

/// The most that one page may become. A selector that takes nested elements with their HTML would multiply it.
const DATA_BYTES_MAX: usize = 16 << 20;
/// Rejects of one page that are kept each; the rest are counted. A changed layout makes all rows alike.
const REJECTS_MAX: usize = 100;

/// A record to be, and where it leads.
#[derive(Debug, Clone)]
pub struct Row {
    /// The record.
    pub item: Item,
    /// The link that is followed for it, as the page has it.
    pub(super) link: Option<String>,
}

impl Row {
    /// How much it is, in bytes.
    pub(super) fn len(&self) -> usize {
        self.item.data.get().len() + self.link.as_ref().map_or(0, String::len)
    }
}

/// What a page became.
#[derive(Debug, Default)]
pub struct Extraction {
    /// The records to be, in the page's order.
    pub rows: Vec<Row>,
    /// What was not what it was declared to be.
    pub rejects: Vec<Reject>,
    /// Of each field with fall-backs, which rule served, in the page's worst row; `None` where none did.
    pub(super) served: Vec<Option<usize>>,
    /// Whether every field was at its first place, and right: then more of the page would change nothing.
    pub(super) is_final: bool,
}

impl Extraction {
    /// Takes a reject in, unless there are as many as are kept each: then `false`.
    pub(super) fn reject(&mut self, reject: Reject) -> bool {
        let has_room = self.rejects.len() < REJECTS_MAX;
        if has_room {
            self.rejects.push(reject);
        }
        has_room
    }
}

/// Extracts what `plan` says from a page.
///
/// With `findings`, it also tells for each field how its value came about.
///
/// # Errors
/// When the page cannot be parsed or searched within its limits.
pub fn extract(plan: &Plan, html: &str, findings: Option<&mut Vec<Finding>>) -> anyhow::Result<Extraction> {
    if findings.is_none()
        && let Some(early) = Early::of(plan, html)
    {
        let page = Page::parse_until(html, Some((early.from, &|tree, is_open| early.is_enough(tree, is_open))))?;
        let extraction = extract_from(plan, &page, None)?;
        if page.is_whole || extraction.is_final {
            return Ok(extraction);
        }
    }
    extract_from(plan, &Page::parse(html)?, findings)
}

pub(super) fn extract_from(
    plan: &Plan,
    page: &Page,
    findings: Option<&mut Vec<Finding>>,
) -> anyhow::Result<Extraction> {
    let watch = Watch::start();
    let embedded = Embedded::new(page, plan.scripts);
    let mut work = Work {
        plan,
        page,
        embedded: &embedded,
        watch: &watch,
        out: Extraction { served: vec![None; plan.fallbacks.len()], is_final: true, ..Extraction::default() },
        bytes: 0,
        more_rejects: 0,
        findings,
    };
    match &plan.rows {
        None => work.record(Scope::Element(page.root()), None),
        Some(RowsPlan::Css(css)) => work.rows_of(css),
        Some(RowsPlan::Json(json)) => work.rows_in(json),
    }
    if watch.is_over() {
        return Err(TooSlow.into());
    }
    if work.more_rejects > 0 {
        let reason = format!("{} more records of the page were rejected", work.more_rejects);
        let outcome = work.out.rejects.last().map_or(Outcome::Invalid, |reject| reject.outcome);
        work.out.rejects.push(Reject::new(outcome, None, reason, ""));
    }
    work.out.is_final &= work.out.rejects.is_empty();
    Ok(work.out)
}

/// What a field is looked for within.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    Element(ElementRef<'a>),
    Json(Found<'a>),
}

pub(super) struct Work<'a, 'f> {
    plan: &'a Plan,
    pub(super) page: &'a Page,
    pub(super) embedded: &'a Embedded<'a>,
    pub(super) watch: &'a Watch,
    pub(super) out: Extraction,
    /// What the items take so far.
    bytes: usize,
    /// Rejects beyond [`REJECTS_MAX`].
    more_rejects: usize,
    pub(super) findings: Option<&'f mut Vec<Finding>>,
}

/// What became of some fields: an object, unless there are faults or it is dropped.
pub(super) struct Object {
    pub(super) json: String,
    pub(super) published_at: Option<DateTime<Utc>>,
    pub(super) faults: Vec<Fault>,
    pub(super) is_dropped: bool,
}

impl<'a> Work<'a, '_> {
    fn rows_of(&mut self, css: &'a Css) {
        let (root, watch) = (self.page.root(), self.watch);
        let rows = matches(root, css, true, watch).take_while(|_| !watch.is_over());
        let count = self.rows(rows.map(Scope::Element));
        let nothing = (count == 0)
            .then(|| format!("`{}` matched nothing{}; {}", css.text, self.how_far(css, root), self.describe_page()));
        self.end_of_rows(css.text.clone(), count, nothing);
    }

    fn rows_in(&mut self, json: &'a Json) {
        let (count, nothing) = match self.embedded.find(json, None) {
            Err(reason) => (0, Some(format!("`{json}` {reason}"))),
            Ok(rows) if rows.is_empty() => (0, Some(format!("`{json}` finds nothing in the page's data"))),
            Ok(rows) => (self.rows(rows.into_iter().map(Scope::Json)), None),
        };
        self.end_of_rows(json.to_string(), count, nothing);
    }

    fn rows(&mut self, rows: impl Iterator<Item = Scope<'a>>) -> usize {
        let mut count = 0;
        for scope in rows {
            if self.bytes > DATA_BYTES_MAX {
                let limit = bytesize::ByteSize(DATA_BYTES_MAX as u64);
                let reason = format!("the records of the page take more than {limit}; narrow `records` or the fields");
                self.reject(Reject::new(Outcome::Invalid, Some("records".into()), reason, ""));
                break;
            }
            count += 1;
            self.record(scope, Some(count));
        }
        count
    }

    fn end_of_rows(&mut self, rule: String, matched: usize, nothing: Option<String>) {
        let reason = nothing.is_some().then(|| "matched nothing".into());
        if let Some(reason) = nothing {
            self.reject(Reject::new(Outcome::Missing, Some("records".into()), reason, &self.page_text()));
        }
        if let Some(findings) = &mut self.findings {
            let field = "records".into();
            // What the rows are is read before what is in them.
            findings.insert(0, Finding { page: None, row: None, field, rule, matched, raw: None, value: None, reason });
        }
    }

    fn record(&mut self, scope: Scope<'a>, row: Option<usize>) {
        let plan = self.plan;
        let mut object = self.object(&plan.fields, scope, row, plan.published_at);
        let link = plan.link.as_ref().and_then(|link| self.link(link, scope, row, &mut object.faults));
        match (object.is_dropped, object.faults.is_empty()) {
            (true, _) => {}
            (false, true) => self.row(object.json, object.published_at, link),
            (false, false) => self.reject(as_reject(object.faults)),
        }
    }

    /// Where a row leads. That it leads nowhere is for whoever follows it to say.
    fn link(
        &mut self,
        link: &'a FieldPlan,
        scope: Scope<'a>,
        row: Option<usize>,
        faults: &mut Vec<Fault>,
    ) -> Option<String> {
        match self.field(link, scope, row) {
            Ok(value) => serde_json::from_str(&value.json).ok(),
            Err(fault) if fault.outcome == Outcome::Missing => None,
            Err(fault) => {
                faults.push(fault);
                None
            }
        }
    }

    /// Builds an object of fields, as far as they are there.
    pub(super) fn object(
        &mut self,
        fields: &'a [FieldPlan],
        scope: Scope<'a>,
        row: Option<usize>,
        published_at: Option<usize>,
    ) -> Object {
        let mut object = Object { json: String::from("{"), published_at: None, faults: Vec::new(), is_dropped: false };
        for (index, field) in fields.iter().enumerate() {
            let json = match self.field(field, scope, row) {
                Ok(value) => {
                    if published_at == Some(index) {
                        object.published_at = value.moment;
                    }
                    value.json
                }
                Err(fault) if fault.outcome == Outcome::Missing && field.on_missing != OnMissing::Reject => {
                    object.is_dropped |= field.on_missing == OnMissing::Drop;
                    "null".into()
                }
                Err(fault) => {
                    object.faults.push(fault);
                    continue;
                }
            };
            push_key(&mut object.json, &field.name);
            object.json.push_str(&json);
        }
        object.json.push('}');
        object
    }

    fn row(&mut self, data: String, published_at: Option<DateTime<Utc>>, link: Option<String>) {
        let data = RawValue::from_string(data).expect("invariant: keys and values are JSON each");
        let item = Item { id: None, kind: Cow::Owned(self.plan.kind.clone()), published_at, data };
        let row = Row { item, link };
        self.bytes += row.len();
        self.out.rows.push(row);
    }

    fn reject(&mut self, reject: Reject) {
        self.more_rejects += usize::from(!self.out.reject(reject));
    }

    pub(super) fn page_text(&self) -> String {
        shown_text(self.page.root()).unwrap_or_default()
    }

    /// What somebody needs to know whose selector matched nothing.
    pub(super) fn describe_page(&self) -> String {
        looks::describe(self.page.root())
    }

    /// How far a selector gets that matches nothing, in brackets; empty where that says nothing.
    pub(super) fn how_far(&self, css: &Css, scope: ElementRef<'_>) -> String {
        let far = how_far(&css.text, self.page.root(), scope, self.watch);
        far.map_or_else(String::new, |far| format!(" ({far})"))
    }
}

/// Several faults of one record, told as one: the first, and what else.
pub(super) fn together(faults: Vec<Fault>) -> Fault {
    let is_missing = faults.iter().any(|fault| fault.outcome == Outcome::Missing);
    let outcome = if is_missing { Outcome::Missing } else { Outcome::Invalid };
    let mut faults = faults.into_iter();
    let first = faults.next().expect("invariant: there is a fault");
    let others = faults.map(|fault| format!("; and {}: {}", fault.path, fault.reason));
    let reason = first.reason.clone() + &others.collect::<String>();
    Fault { outcome, reason, ..first }
}

fn as_reject(faults: Vec<Fault>) -> Reject {
    let Fault { outcome, reason, raw, path, .. } = together(faults);
    Reject::new(outcome, Some(path), reason, &raw)
}

pub(super) fn push_key(data: &mut String, name: &str) {
    if data.len() > 1 {
        data.push(',');
    }
    data.push_str(&json_string(name));
    data.push(':');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::checks::pages::{records, texts};
    use super::*;

    const INDEX: &str = include_str!("../../../tests/fixtures/scrape/index.html");
    const PRODUCT: &str = include_str!("../../../tests/fixtures/scrape/product.html");
    const STOCKS: &str = include_str!("../../../tests/fixtures/scrape/stocks.html");

    fn plan(value: serde_json::Value) -> Plan {
        Plan::compile(&serde_json::from_value(value).unwrap()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn fields(html: &str, fields: &serde_json::Value) -> Extraction {
        extract(&plan(json!({ "url": "http://localhost/", "fields": fields })), html, None).unwrap()
    }

    fn pad_comma(pad: &str) -> String {
        format!("{pad},{pad}")
    }

    /// One field of a page: its value as JSON, or its outcome and reason.
    fn one(html: &str, field: &serde_json::Value) -> String {
        let extraction = fields(html, &json!({ "f": field }));
        match (&extraction.rows[..], &extraction.rejects[..]) {
            ([Row { item, .. }], []) => {
                item.data.get().strip_prefix("{\"f\":").unwrap().strip_suffix('}').unwrap().to_owned()
            }
            ([], [Reject { outcome, reason, field, .. }]) => {
                assert_eq!(field.as_deref(), Some("fields.f"));
                format!("{}: {reason}", outcome.as_str())
            }
            ([], []) => "dropped".into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn g10_every_way_to_pick() {
        let page = "<div id=a class='x y'><i>one</i> <i title=T>t<b>w</b>o</i> <i>3</i></div><script>p = {\"last\": 12.50};</script>";
        for (field, expected) in [
            (json!("#a"), r#""one two 3""#),
            (json!({ "css": "i" }), r#""one""#),
            (json!({ "css": "i", "nth": 2 }), r#""two""#),
            (json!({ "css": "i", "nth": -1 }), r#""3""#),
            (json!({ "css": "i", "nth": -3 }), r#""one""#),
            (json!({ "css": "i", "nth": 3, "type": "integer" }), "3"),
            (json!({ "css": "i", "all": true }), r#"["one","two","3"]"#),
            (json!({ "css": "i[title]", "attr": "TITLE" }), r#""T""#),
            (json!({ "css": "i[title]", "html": "inner" }), r#""t<b>w</b>o""#),
            (json!({ "css": "i[title] b", "html": "outer" }), r#""<b>w</b>""#),
            (json!({ "css": "div:has(b) > i:last-child" }), r#""3""#),
            (json!({ "css": "html", "regex": "o.e" }), r#""one""#),
            (json!({ "css": "#a", "regex": "(t..) (\\d)" }), r#""two""#),
            (json!({ "css": "#a", "regex": "(t..) (?P<value>\\d)", "type": "number" }), "3"),
            (json!({ "css": "script", "regex": "\"last\": ([\\d.]+)", "type": "number" }), "12.50"),
        ] {
            assert_eq!(one(page, &field), expected, "{field}");
        }
    }

    #[test]
    fn typed_values_and_why_not() {
        let page = |text: &str| format!("<b>{text}</b>");
        for (text, field, expected) in [
            ("1,23,456.78", json!({ "type": "number", "locale": "en-IN" }), "123456.78"),
            ("1.234,5", json!({ "type": "number", "format": { "decimal": ",", "group": "." } }), "1234.5"),
            ("1,234", json!({ "type": "integer", "locale": "en" }), "1234"),
            ("1.5", json!({ "type": "integer" }), "invalid: `1.5` has decimals, and `type: integer` has none"),
            ("5", json!({ "type": "number", "range": [0.1, 5] }), "5"),
            ("5.01", json!({ "type": "number", "range": [0.1, "5.00"] }), "invalid: `5.01` is above its `range`"),
            ("0.09", json!({ "type": "number", "range": [0.1, null] }), "invalid: `0.09` is below its `range`"),
            ("Yes", json!({ "type": "bool", "true": "yes", "false": ["no", "never"] }), "true"),
            ("never", json!({ "type": "bool", "true": "yes", "false": ["no", "never"] }), "false"),
            ("1", json!({ "type": "bool", "true": 1, "false": 0 }), "true"),
            ("maybe", json!({ "type": "bool" }), "invalid: `maybe` is none of the words for true and false"),
            (
                "23-Nov-2026 12:34",
                json!({ "type": "datetime", "format": "%d-%b-%Y %H:%M", "timezone": "Asia/Kolkata" }),
                "\"2026-11-23T07:04:00.000000Z\"",
            ),
            ("", json!({ "type": "number" }), "missing: `b` is there, but empty"),
            ("", json!({ "type": "number", "on_missing": "null" }), "null"),
            ("", json!({ "type": "number", "on_missing": null }), "null"),
            ("", json!({ "type": "number", "required": false }), "null"),
            ("", json!({ "type": "number", "on_missing": "drop" }), "dropped"),
            ("", json!({ "type": "text" }), "\"\""),
            ("x", json!({ "regex": "\\d" }), "invalid: `x` does not match `regex`"),
            (
                "x\u{1b}[31m",
                json!({ "type": "number" }),
                "invalid: `x\\u{1b}[31m` has the letter `x`; declare `type: money` or `scale: true`, or pick the digits with `regex`",
            ),
            ("x", json!({ "attr": "title" }), "missing: `b @title` is not on the element"),
            ("x", json!({ "nth": 2 }), "missing: `b` matched 1 times, and `nth` asks for more"),
        ] {
            let mut field = field;
            field["css"] = json!("b");
            assert_eq!(one(&page(text), &field), expected, "{text} {field}");
        }
    }

    #[test]
    fn g10_fallbacks_serve_in_their_order_and_are_marked() {
        let price = json!({ "css": ["b.new", "b.old", "i"], "type": "number" });
        for (page, expected, served) in [
            ("<b class=new>1</b><b class=old>2</b>", "1", Some(0)),
            ("<b class=old>2</b><i>3</i>", "2", Some(1)),
            ("<b class=new> </b><i>3</i>", "3", Some(2)),
            (
                "<b class=new>?</b><i>3</i>",
                "invalid: `?` has ?, which is no part of a number; declare `type: money`, or pick the digits with `regex`",
                None,
            ),
            (
                "<u>1</u>",
                "missing: `b.new` matched nothing, nor do its fall-backs (`b` matches 0, `.new` matches 0); the page has 1 B of text and 0 scripts",
                None,
            ),
        ] {
            assert_eq!(one(page, &price), expected, "{page}");
            assert_eq!(fields(page, &json!({ "f": price })).served, [served], "{page}");
        }
        let image = json!({ "css": "img", "attr": ["data-src", "src"] });
        for (page, expected, served) in [
            ("<img data-src=a src=b>", r#""a""#, Some(0)),
            ("<img src=b>", r#""b""#, Some(1)),
            ("<img data-src='' src=b>", r#""b""#, Some(1)),
            ("<img data-src=''>", r#""""#, Some(0)),
            ("<img>", "missing: `img @data-src` is not on the element", None),
        ] {
            assert_eq!(one(page, &image), expected, "{page}");
            assert_eq!(fields(page, &json!({ "f": image })).served, [served], "{page}");
        }
        let both = json!({ "css": ["u", "img"], "attr": ["data-src", "src"] });
        assert_eq!(fields("<img src=b>", &json!({ "f": both })).served, [Some(3)]);
        let rows = json!({ "url": "http://localhost/", "records": "p", "fields": { "f": { "css": ["b", "i"] } } });
        let mut findings = Vec::new();
        let extraction = extract(&plan(rows), "<p><b>1</b></p><p><i>2</i></p>", Some(&mut findings)).unwrap();
        assert_eq!(extraction.served, [Some(1)], "the worst row counts");
        let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(rules, ["p", "b", "i (fall-back 1 of 1, for b)"]);
    }

    #[test]
    fn text_of_its_own_and_joined_text() {
        let page = "<p>Last <b>BSE</b> 59,465.68 <small>INR</small></p><i>a</i><i> b </i><i>3</i>";
        for (field, expected) in [
            (json!({ "css": "p" }), r#""Last BSE 59,465.68 INR""#),
            (json!({ "css": "p", "text": "shown" }), r#""Last BSE 59,465.68 INR""#),
            (json!({ "css": "p", "text": "own" }), r#""Last 59,465.68""#),
            (json!({ "css": "p", "text": "own", "regex": "[\\d,.]+", "type": "number" }), "59465.68"),
            (json!({ "css": "i", "all": true, "join": ", " }), r#""a, b, 3""#),
            (json!({ "css": "i", "all": true, "join": "", "regex": "\\d", "type": "integer" }), "3"),
            (json!({ "css": "u", "all": true, "join": "", "required": false }), "null"),
        ] {
            assert_eq!(one(page, &field), expected, "{field}");
        }
    }

    #[test]
    fn groups_make_an_object() {
        let page = "<p>24,834.85 +28.75 (0.12%)</p><p>1.5 -0.25 (-0.5%)</p><p>7</p>";
        let field = |more: serde_json::Value| {
            let mut field = json!({
                "css": "p",
                "regex": "^(?P<last>[\\d,.]+)(?: (?P<change>\\S+) \\((?P<percent>\\S+)\\))?$",
                "fields": { "last": { "type": "number", "locale": "en" }, "percent": { "type": "percent", "required": false } },
            });
            field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            field
        };
        insta::assert_snapshot!(one(page, &field(json!({}))), @r#"{"last":24834.85,"change":"+28.75","percent":0.12}"#);
        insta::assert_snapshot!(one(page, &field(json!({ "nth": 2 }))), @r#"{"last":1.5,"change":"-0.25","percent":-0.5}"#);
        let lacks = fields(page, &json!({ "f": field(json!({ "nth": 3 })) }));
        insta::assert_snapshot!(format!("{:?}", lacks.rejects[0]), @r#"Reject { outcome: Missing, field: Some("fields.f.fields.change"), reason: "`7` has no `change`", raw: "7", page: None }"#);
        let mut optional = field(json!({ "all": true }));
        optional["fields"]["change"] = json!({ "type": "number", "on_missing": null });
        insta::assert_snapshot!(one(page, &optional), @r#"[{"last":24834.85,"change":28.75,"percent":0.12},{"last":1.5,"change":-0.25,"percent":-0.5},{"last":7,"change":null,"percent":null}]"#);
    }

    #[test]
    fn g11_objects_within_objects_keep_their_cells() {
        let page = "<ul><li><b>RELIANCE</b><i>2,456.70</i><u>NSE</u><u>BSE</u><li><b>MRF</b><u>NSE</u><li><b>TCS</b><i>3,001.00</i></ul>";
        let field = json!({ "css": "li", "all": true, "fields": {
            "name": "b",
            "price": { "css": "i", "type": "number", "locale": "en", "required": false },
            "places": { "css": "u", "all": true, "fields": { "at": {} }, "required": false },
        } });
        // A list by list would give the second row the third's price.
        insta::assert_snapshot!(one(page, &field), @r#"[{"name":"RELIANCE","price":2456.70,"places":[{"at":"NSE"},{"at":"BSE"}]},{"name":"MRF","price":null,"places":[{"at":"NSE"}]},{"name":"TCS","price":3001.00,"places":null}]"#);
        let mut strict = field.clone();
        strict["fields"]["price"]["required"] = json!(true);
        let faults = fields(page, &json!({ "f": strict }));
        insta::assert_snapshot!(format!("{:?}", faults.rejects[0]), @r#"Reject { outcome: Missing, field: Some("fields.f.fields.price"), reason: "`i` matched nothing within", raw: "MRFNSE", page: None }"#);
        let mut dropped = field.clone();
        dropped["fields"]["price"] = json!({ "css": "i", "on_missing": "drop" });
        dropped["fields"].as_object_mut().unwrap().remove("places");
        insta::assert_snapshot!(one(page, &dropped), @r#"[{"name":"RELIANCE","price":"2,456.70"},{"name":"TCS","price":"3,001.00"}]"#);
        insta::assert_snapshot!(one(page, &json!({ "css": "li", "fields": { "name": "b" } })), @r#"{"name":"RELIANCE"}"#);
        assert_eq!(one(page, &json!({ "css": "ol", "fields": { "name": "b" }, "required": false })), "null");
    }

    #[test]
    fn values_beside_their_labels() {
        let near = |page: &str, label: serde_json::Value| one(page, &json!({ "near": label }));
        for (page, label, expected) in [
            ("<table><tr><th>Last  price:</th><td>12.5</td><td>x</td></tr></table>", "Last price", r#""12.5""#),
            ("<table><tr><td><b>Last price</b></td><td>12.5</td></tr></table>", "Last price", r#""12.5""#),
            ("<table><tr><td>Last&nbsp;price</td>\n<td>12.5</td></tr></table>", "Last price:", r#""12.5""#),
            ("<table><tr><td>A</td><td>Last price <b>12.5</b></td><td>x</td></tr></table>", "Last price", "missing"),
            (
                "<table><tr><td><span>Last price</span> <b>12.5</b></td><td>x</td></tr></table>",
                "Last price",
                r#""12.5""#,
            ),
            ("<dl><dt>Open<dd>1<dt>Last price<dd>12.5<dd>13</dl>", "Last price", r#""12.5""#),
            ("<div><span>Last price</span><span>12.5</span></div>", "Last price", r#""12.5""#),
            ("<div><div>Last price</div></div><div></div><div><div>12.5</div></div>", "Last price", r#""12.5""#),
            ("<p><b>Last price:</b> 12<sup>.50</sup><br><b>Open</b> 11</p>", "Last price", r#""12.50""#),
            ("<p><b>Last price</b>: 12.5 <b>Open</b>: 11</p>", "Open", r#""11""#),
            ("<p><b>Last price</b>: <i>12.5</i></p>", "Last price", r#""12.5""#),
            ("<p>La<b>st</b> price</p><p>12.5</p>", "Last price", r#""12.5""#),
            ("<p>Last price today</p><p>12.5</p>", "Last price", "missing"),
            ("<p>last price</p><p>12.5</p>", "Last price", "missing"),
            ("<p>Lastprice</p><p>12.5</p>", "Last price", "missing"),
            ("<script>Last price</script><p>12.5</p>", "Last price", "missing"),
            ("<p hidden><b>Last price</b></p><p>Last price</p><p>12.5</p>", "Last price", r#""12.5""#),
            (
                "<table><tr><td>x</td><td>Last price</td></tr><tr><td>1</td><td>2</td></tr></table>",
                "Last price",
                "missing",
            ),
            ("<p>x</p><p>Last price</p>", "Last price", "missing"),
        ] {
            let found = near(page, json!(label));
            assert_eq!(found.split(':').next(), expected.split(':').next(), "{page}: {found}");
        }
        let twice = "<p><b>Price</b> <i>1</i></p><p><b>Price</b> <i>2</i></p>";
        insta::assert_snapshot!(near(twice, json!("Price")), @r#"invalid: `near "Price"` may be 2 labels, which have the same text; say which with `nth`"#);
        insta::assert_snapshot!(near(twice, json!("Preis")), @r#"missing: `near "Preis"` matched nothing: no element has just this text; the page has 15 B of text and 0 scripts"#);
        insta::assert_snapshot!(near("<p>Price</p>", json!("Price")), @r#"missing: `near "Price"` matched its label, and there is no value beside it"#);
        for (nth, expected) in [(1, r#""1""#), (2, r#""2""#), (-1, r#""2""#)] {
            assert_eq!(one(twice, &json!({ "near": "Price", "nth": nth })), expected);
        }
        insta::assert_snapshot!(one(twice, &json!({ "near": "Price", "nth": 3 })), @r#"missing: `near "Price"` matched 2 labels, and `nth` asks for more"#);
        let card = "<div class=card><div><span>Price</span></div><p class=v data-v=7>12.5</p></div><p class=v>9</p>";
        assert_eq!(near(card, json!({ "label": "Price", "pick": ".v" })), r#""12.5""#);
        assert_eq!(one(card, &json!({ "near": { "label": "Price", "pick": ".v" }, "attr": "data-v" })), r#""7""#);
        insta::assert_snapshot!(near(card, json!({ "label": "Price", "pick": ".w" })), @r#"missing: `near "Price": .w` matched its label, and there is no value beside it"#);
        let rows = plan(
            json!({ "url": "http://localhost/", "records": "p", "fields": { "v": { "near": "Price", "type": "integer" } } }),
        );
        let lines: Vec<String> =
            extract(&rows, twice, None).unwrap().rows.iter().map(|row| row.item.data.get().to_owned()).collect();
        assert_eq!(lines, [r#"{"v":1}"#, r#"{"v":2}"#], "in a row, a label of the row");
    }

    #[test]
    fn g12_data_that_a_page_carries() {
        for (field, expected) in [
            (json!({ "jsonld": "$.offers.price", "type": "number" }), "1234.50"),
            (json!({ "jsonld": "$.offers.price", "type": "number", "nth": 2, "locale": "de" }), "1234.50"),
            (json!({ "jsonld": "$.offers.price", "all": true }), r#"["1234.50","1.234,50"]"#),
            (json!({ "jsonld": "$[?@.name=='Cable'].offers.price", "required": false }), "null"),
            (json!({ "jsonld": "$['@graph'][?@.name=='Cable'].offers.price" }), r#""1.234,50""#),
            (json!({ "jsonld": "$.name", "all": true }), r#"["A shop","Lamp","Cable"]"#),
            (
                json!({ "jsonld": "$.offers.price", "type": "money", "currency": "INR" }),
                r#"{"amount":1234.50,"currency":"INR"}"#,
            ),
            (
                json!({ "jsonld": "$.offers.seen", "type": "datetime", "format": "epoch_s" }),
                r#""2026-11-23T07:04:05.000000Z""#,
            ),
            (
                json!({ "jsonld": "$.offers", "fields": { "p": { "json": "$.price", "type": "number" }, "c": { "json": "$.priceCurrency" } } }),
                r#"{"p":1234.50,"c":"INR"}"#,
            ),
            (
                json!({ "jsonld": "$.offers" }),
                "missing: `jsonld $.offers` is an object; take what is in it, by its path or by `fields`",
            ),
            (json!({ "next_data": "$.props.pageProps.price", "type": "number" }), "12345678901234567890.10"),
            (json!({ "next_data": "$..p", "all": true }), r#"["1.10","2,000.5"]"#),
            (json!({ "next_data": "$..p", "all": true, "type": "number" }), "[1.10,2000.5]"),
            (json!({ "next_data": "$..o.ok", "type": "bool" }), "true"),
            (json!({ "next_data": "$..o.n", "required": false }), "null"),
            (json!({ "next_data": "$..o.n" }), "missing: `next_data $..o.n` is null"),
            (
                json!({ "next_data": "$.props.none" }),
                "missing: `next_data $.props.none` matched nothing; the page has 37 B of text and 4 scripts, and may need JavaScript",
            ),
            (json!({ "script": { "find": "__STATE__ = ", "path": "$.last" }, "type": "number" }), "59465.60"),
            (json!({ "script": { "find": "(\\{\"last\")", "path": "$.text" } }), r#""} ; </ \" é""#),
            (
                json!({ "script": { "find": "__STATE__ = ", "path": "$.list[*]" }, "all": true, "type": "number" }),
                "[1000,-0.0,0.0150]",
            ),
            (json!({ "script": { "find": "window\\.more = " }, "type": "integer" }), "5"),
            (
                json!({ "script": { "find": "window\\.other = ", "path": "$.a" } }),
                "missing: `script window\\.other =  $.a` finds its place, and what begins there is not JSON",
            ),
            (
                json!({ "script": { "find": "nowhere" } }),
                "missing: `script nowhere $` finds no place in the page's scripts",
            ),
            (json!({ "meta": "og:price:amount", "type": "number" }), "1234.50"),
            (json!({ "meta": "Description" }), r#""About & more""#),
            (json!({ "meta": "sku", "type": "integer" }), "4711"),
            (json!({ "meta": "og:none", "required": false }), "null"),
            (json!({ "microdata": "Product.offers.price", "type": "number" }), "1234.50"),
            (json!({ "microdata": "Offer.validFrom", "type": "datetime" }), r#""2026-11-23T07:04:05.000000Z""#),
            (json!({ "microdata": "Product.name", "all": true }), r#"["Lamp new","Cable"]"#),
            (json!({ "microdata": "Product.image" }), r#""/lamp.png""#),
            (json!({ "microdata": "Product.price", "required": false }), "null"),
            (json!({ "microdata": "Product.name.price", "required": false }), "null"),
        ] {
            assert_eq!(one(PRODUCT, &field), expected, "{field}");
        }
        insta::assert_snapshot!(one("<p>", &json!({ "jsonld": "$.a" })), @"missing: `jsonld $.a` finds nothing, because the page has no JSON-LD");
        insta::assert_snapshot!(one("<p>", &json!({ "next_data": "$.a" })), @"missing: `next_data $.a` finds nothing, because the page has no script `__NEXT_DATA__`");
        insta::assert_snapshot!(one("<script type=application/ld+json>{,}</script>", &json!({ "jsonld": "$.a" })), @"missing: `jsonld $.a` finds nothing, because the page's JSON-LD is not JSON (key must be a string at line 1 column 2)");
        let many = format!("<script id=__NEXT_DATA__>[{}1]</script>", "1,".repeat(300_000));
        insta::assert_snapshot!(one(&many, &json!({ "next_data": "$[0]" })), @"missing: `next_data $[0]` finds nothing, because it has more than 300000 values");
        let deep = format!("<script id=__NEXT_DATA__>{}</script>", "[".repeat(100_000));
        insta::assert_snapshot!(one(&deep, &json!({ "next_data": "$[0]" })), @"missing: `next_data $[0]` finds nothing, because it is not JSON (recursion limit exceeded at line 1 column 128)");
    }

    #[test]
    fn rows_may_be_data_of_the_page() {
        let rows = plan(json!({
            "url": "http://localhost/", "records": { "next_data": "$.props.pageProps.items[*]" },
            "fields": {
                "symbol": { "json": "$.s" },
                "price": { "json": "$.p", "type": "number", "on_missing": null },
                "tags": { "json": "$.tags[*]", "all": true, "required": false },
                "currency": { "jsonld": "$.offers.priceCurrency" },
            }
        }));
        let mut findings = Vec::new();
        let extraction = extract(&rows, PRODUCT, Some(&mut findings)).unwrap();
        let lines: Vec<&str> = extraction.rows.iter().map(|row| row.item.data.get()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"symbol":"A","price":1.10,"tags":["x","y"],"currency":"INR"}
        {"symbol":"B","price":2000.5,"tags":null,"currency":"INR"}
        {"symbol":"C","price":null,"tags":null,"currency":"INR"}
        "#);
        assert_eq!((findings[0].field.as_str(), findings[0].matched), ("records", 3));
        let reason = |records: serde_json::Value| {
            let rows =
                plan(json!({ "url": "http://localhost/", "records": records, "fields": { "s": { "json": "$.s" } } }));
            let reject = extract(&rows, PRODUCT, None).unwrap().rejects.remove(0);
            format!("{:?} {}: {}", reject.field, reject.reason, reject.raw.len())
        };
        insta::assert_snapshot!(reason(json!({ "next_data": "$.nothing[*]" })), @r#"Some("records") `next_data $.nothing[*]` finds nothing in the page's data: 37"#);
        insta::assert_snapshot!(reason(json!({ "script": { "find": "x = $" } })), @r#"Some("records") `script x = $ $` finds no place in the page's scripts: 37"#);
        insta::assert_snapshot!(reason(json!({ "jsonld": "$.offers" })), @r#"Some("fields.s") `json $.s` matched nothing in row 1: 73"#);
    }

    #[test]
    fn what_matched_nothing_says_what_the_page_is() {
        let shell = format!("<div id=root></div>{}", "<script src=a></script>".repeat(12));
        insta::assert_snapshot!(one(&shell, &json!("span.red14px")), @"missing: `span.red14px` matched nothing (`span` matches 0, `.red14px` matches 0); the page has 0 B of text and 12 scripts, and may need JavaScript; it looks like a shell that JavaScript fills, in `#root`");
        insta::assert_snapshot!(one(&"word ".repeat(3000), &json!("span")), @"missing: `span` matched nothing; the page has 14.6 KiB of text and 0 scripts");
        let two = fields("<b>x</b>", &json!({ "a": { "css": "b", "type": "number" }, "c": "i" }));
        let reject = &two.rejects[0];
        assert_eq!(reject.outcome, Outcome::Missing, "the worse of the two");
        insta::assert_snapshot!(reject.reason, @"`x` has the letter `x`; declare `type: money` or `scale: true`, or pick the digits with `regex`; and fields.c: `i` matched nothing; the page has 1 B of text and 0 scripts");
        assert_eq!(two.rejects.len(), 1, "one record, one reject");
    }

    #[test]
    fn the_fixtures_read_as_a_person_reads_them() {
        let index = plan(json!({
            "url": "http://localhost/", "type": "quote", "published_at": "at",
            "fields": {
                "price": { "css": "span.red14px", "type": "number", "locale": "en-IN" },
                "change": { "css": "span.chg", "type": "number", "range": [-5000, 5000] },
                "open": { "css": "#state", "type": "bool", "true": "open", "false": "closed" },
                "at": { "css": "time", "type": "datetime", "format": "%d %b %Y %H:%M:%S", "timezone": "Asia/Kolkata" },
            }
        }));
        let extraction = extract(&index, INDEX, None).unwrap();
        assert!(extraction.rejects.is_empty(), "{:?}", extraction.rejects);
        let item = &extraction.rows[0].item;
        assert_eq!((item.kind.as_ref(), item.published_at), ("quote", "2026-11-23T07:04:05Z".parse().ok()));
        insta::assert_snapshot!(item.data.get(), @r#"{"price":59465.68,"change":-112.30,"open":true,"at":"2026-11-23T07:04:05.000000Z"}"#);

        let stocks = plan(json!({
            "url": "http://localhost/", "records": "table#stocks tbody tr",
            "fields": {
                "symbol": { "attr": "data-symbol" },
                "price": { "css": "td:nth-child(2)", "type": "number", "locale": "en-IN" },
                "volume": { "css": "td:nth-child(3)", "type": "integer", "locale": "en-IN", "on_missing": "null" },
            }
        }));
        let mut findings = Vec::new();
        let extraction = extract(&stocks, STOCKS, Some(&mut findings)).unwrap();
        let lines: Vec<&str> = extraction.rows.iter().map(|row| row.item.data.get()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"symbol":"RELIANCE","price":2456.70,"volume":1234567}
        {"symbol":"MRF","price":123456.78,"volume":null}
        "#);
        let rejects: Vec<String> =
            extraction.rejects.iter().map(|reject| format!("{} {}", reject.outcome.as_str(), reject.reason)).collect();
        insta::assert_snapshot!(rejects.join("\n"), @r"
        missing `td:nth-child(2)` matched nothing (`td` matches 1, `:nth-child(2)` matches 2) in row 3
        invalid `n.a.` has the letter `n`; declare `type: money` or `scale: true`, or pick the digits with `regex`
        ");
        let plain = extract(&stocks, STOCKS, None).unwrap();
        assert_eq!(plain.rows.len(), extraction.rows.len(), "to explain changes nothing");
        let price = findings.iter().find(|finding| finding.field == "fields.price").unwrap();
        insta::assert_snapshot!(serde_json::to_string(price).unwrap(), @r#"{"row":1,"field":"fields.price","rule":"td:nth-child(2)","matched":1,"raw":"2,456.70","value":2456.70}"#);
    }

    #[test]
    fn hostile_text_stays_one_line() {
        let page = "<b>a\u{0}\u{1b}[2J\u{85}\u{2028}\"\\</b><i title='x\ny\r'>z</i>";
        let extraction = fields(page, &json!({ "b\n\"": "b", "t": { "css": "i", "attr": "title" } }));
        let data = extraction.rows[0].item.data.get();
        assert!(!data.contains(['\n', '\r', '\0', '\u{1b}']), "{data:?}");
        let read: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(read["t"], "x\ny\n");
        assert!(read["b\n\""].as_str().unwrap().contains("\u{1b}[2J"));
    }

    #[test]
    fn what_one_page_may_become_is_bounded() {
        let nested = format!("{}{}", "<div>".repeat(500), "x".repeat(1 << 20));
        let html = json!({ "css": "div", "html": "outer", "all": true });
        assert!(one(&nested, &html).starts_with("invalid: `div (outer HTML)` has more than 1.0 MiB of text"));
        let nested = format!("{}{}", "<div>".repeat(500), "x".repeat(500_000));
        let html = json!({ "css": "div", "html": "outer", "all": true });
        assert!(one(&nested, &html).starts_with("invalid: `div (outer HTML)` has more than 4.0 MiB of text"));
        let rows =
            plan(json!({ "url": "http://localhost/", "records": "div", "fields": { "h": { "html": "outer" } } }));
        let extraction = extract(&rows, &nested, None).unwrap();
        let bytes: usize = extraction.rows.iter().map(|row| row.item.data.get().len()).sum();
        assert!(bytes < 20 << 20 && extraction.rejects.len() == 1, "{bytes}");
        let rows = plan(json!({ "url": "http://localhost/", "records": "i", "fields": { "h": "b" } }));
        let extraction = extract(&rows, &"<i></i>".repeat(5000), None).unwrap();
        assert_eq!(extraction.rejects.len(), 101);
        insta::assert_snapshot!(extraction.rejects[100].reason, @"4900 more records of the page were rejected");
        let nothing = extract(&rows, "<p>", None).unwrap();
        insta::assert_snapshot!(nothing.rejects[0].reason, @"`i` matched nothing; the page has 0 B of text and 0 scripts; it looks like an empty page");
    }

    #[test]
    fn selectors_that_a_page_makes_slow_end_soon() {
        let start = std::time::Instant::now();
        let slow = |settings: serde_json::Value, html: &str| {
            extract(&plan(settings), html, None).err().map(|error| error.to_string())
        };
        let siblings = "<b></b>".repeat(100_000);
        let walking = json!({ "url": "http://localhost/", "fields": { "a": "i ~ b" } });
        insta::assert_snapshot!(slow(walking.clone(), &siblings).unwrap(), @"page_too_slow: the selectors took more than 2s on this page");
        assert_eq!(slow(walking, "<i></i><u></u><b></b>"), None);
        let nested = "<div>".repeat(500) + &"<b></b>".repeat(20_000);
        let rows = json!({ "url": "http://localhost/", "records": "div", "fields": { "a": "div i, b i, i" } });
        slow(rows, &nested);
        let counting = json!({ "url": "http://localhost/", "fields": { "a": "b:nth-child(99999)" } });
        assert!(slow(counting, &siblings).unwrap().starts_with("page_too_slow"));
        // Three pages of two seconds at most; without a limit each takes minutes.
        assert!(start.elapsed() < std::time::Duration::from_mins(1), "{:?}", start.elapsed());
    }

    #[test]
    fn walking_siblings_finds_what_others_find() {
        let page = "<i>0</i><b>1</b><p><b>2</b><i></i>x<b>3</b></p><b>4</b>";
        assert_eq!(one(page, &json!({ "css": "i ~ b", "all": true })), r#"["1","3","4"]"#);
        assert_eq!(one(page, &json!({ "css": "html ~ b, html", "attr": "x", "required": false })), "null");
        let rows =
            json!({ "url": "http://localhost/", "records": "p", "fields": { "a": { "css": ":scope > i ~ b" } } });
        assert_eq!(extract(&plan(rows), page, None).unwrap().rows[0].item.data.get(), r#"{"a":"3"}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// A number of a page's data is the same token in the record, less its exponent, wherever it stands.
        #[test]
        fn numbers_of_data_keep_their_digits(tokens in proptest::collection::vec("-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?", 1..8), pad in " {0,3}") {
            let members = tokens.iter().map(|token| format!("{pad}{{\"a\":[0.1,{pad}{{\"x\":0,\"x\":{token}}}]}}"));
            let json = format!("[{}]", members.collect::<Vec<_>>().join(&pad_comma(&pad)));
            let page = format!("<script id=__NEXT_DATA__>{json}</script>");
            let field = json!({ "next_data": "$[*].a[1].x", "all": true, "type": "number" });
            prop_assert_eq!(one(&page, &field), format!("[{}]", tokens.join(",")));
        }

        #[test]
        fn never_panics_and_data_is_json(html in "(<(/)?(table|tr|td|b|script|br)( class=x| title=\"\n\")?>|[-0-9.,% \u{a0}é\u{0}\n\"]|&lt;|text){0,60}") {
            records(&html);
            texts(&html);
        }
    }
}
