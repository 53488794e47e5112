//! From a page's text to items: pure, so that it can be tested, benchmarked and fuzzed by itself.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use scraper::ElementRef;
use serde_json::value::RawValue;

use super::convert::{Value, json_string};
use super::page::Page;
use super::plan::{Css, FieldPlan, Pick, Plan, Take};
use super::select::{TooSlow, Watch, matches};
use super::settings::OnMissing;
use super::text::{TEXT_BYTES_MAX, shown_text};
use crate::item::{Finding, Item, Reject, cut_raw};
use crate::source::Outcome;

/// The most that one page may become. A selector that takes nested elements with their HTML would multiply it.
const DATA_BYTES_MAX: usize = 16 << 20;
/// The most text that one field may have in a list.
const LIST_BYTES_MAX: usize = 4 << 20;
/// Rejects of one page that are kept each; the rest are counted. A changed layout makes all rows alike.
const REJECTS_MAX: usize = 100;
/// Below this much text, a page with scripts is likely to be filled by them.
const SHELL_TEXT_BYTES: usize = 1024;
/// From this many scripts on, the reader is told that they may be what fills the page.
const SCRIPTS_MANY: usize = 10;

/// What a page became.
#[derive(Debug, Default)]
pub struct Extraction {
    /// The records to be, in the page's order.
    pub items: Vec<Item>,
    /// What was not what it was declared to be.
    pub rejects: Vec<Reject>,
}

/// Extracts what `plan` says from a page.
///
/// With `findings`, it also tells for each field how its value came about.
///
/// # Errors
/// When the page cannot be parsed or searched within its limits.
pub fn extract(plan: &Plan, html: &str, findings: Option<&mut Vec<Finding>>) -> anyhow::Result<Extraction> {
    let page = Page::parse(html)?;
    let watch = Watch::start();
    let mut work =
        Work { plan, page: &page, watch: &watch, out: Extraction::default(), bytes: 0, more_rejects: 0, findings };
    match &plan.rows {
        None => work.record(page.root(), None),
        Some(css) => work.records(css),
    }
    if watch.is_over() {
        return Err(TooSlow.into());
    }
    if work.more_rejects > 0 {
        let reason = format!("{} more records of the page were rejected", work.more_rejects);
        let outcome = work.out.rejects.last().map_or(Outcome::Invalid, |reject| reject.outcome);
        work.out.rejects.push(Reject::new(outcome, None, reason, ""));
    }
    Ok(work.out)
}

struct Work<'a> {
    plan: &'a Plan,
    page: &'a Page,
    watch: &'a Watch,
    out: Extraction,
    /// What the items take so far.
    bytes: usize,
    /// Rejects beyond [`REJECTS_MAX`].
    more_rejects: usize,
    findings: Option<&'a mut Vec<Finding>>,
}

/// Why a field has no value.
struct Fault {
    outcome: Outcome,
    reason: String,
    raw: String,
}

impl Work<'_> {
    fn records(&mut self, css: &Css) {
        let (root, watch) = (self.page.root(), self.watch);
        let mut rows = 0;
        for element in matches(root, css, true, watch).take_while(|_| !watch.is_over()) {
            if self.bytes > DATA_BYTES_MAX {
                let limit = bytesize::ByteSize(DATA_BYTES_MAX as u64);
                let reason = format!("the records of the page take more than {limit}; narrow `records` or the fields");
                self.reject(Reject::new(Outcome::Invalid, Some("records".into()), reason, ""));
                break;
            }
            rows += 1;
            self.record(element, Some(rows));
        }
        if rows == 0 {
            let reason = format!("`{}` matched nothing; {}", css.text, self.describe_page());
            self.reject(Reject::new(Outcome::Missing, Some("records".into()), reason, &self.page_text()));
        }
        if let Some(findings) = &mut self.findings {
            let reason = (rows == 0).then(|| "matched nothing".into());
            let (field, rule) = ("records".into(), css.text.clone());
            // What the rows are is read before what is in them.
            findings.insert(0, Finding { row: None, field, rule, matched: rows, raw: None, value: None, reason });
        }
    }

    fn record(&mut self, scope: ElementRef<'_>, row: Option<usize>) {
        let plan = self.plan;
        let mut data = String::from("{");
        let mut published_at = None;
        let mut faults: Vec<(&FieldPlan, Fault)> = Vec::new();
        let mut is_dropped = false;
        for (index, field) in plan.fields.iter().enumerate() {
            let value = match self.field(field, scope, row) {
                Ok(value) => value,
                Err(fault) if fault.outcome == Outcome::Missing && field.on_missing != OnMissing::Reject => {
                    is_dropped |= field.on_missing == OnMissing::Drop;
                    Value { json: "null".into(), moment: None }
                }
                Err(fault) => {
                    faults.push((field, fault));
                    continue;
                }
            };
            if plan.published_at == Some(index) {
                published_at = value.moment;
            }
            push_key(&mut data, &field.name);
            data.push_str(&value.json);
        }
        data.push('}');
        match (is_dropped, faults.is_empty()) {
            (true, _) => {}
            (false, true) => self.item(data, published_at),
            (false, false) => self.reject(as_reject(&faults)),
        }
    }

    fn item(&mut self, data: String, published_at: Option<DateTime<Utc>>) {
        self.bytes += data.len();
        let data = RawValue::from_string(data).expect("invariant: keys and values are JSON each");
        self.out.items.push(Item { id: None, kind: Cow::Owned(self.plan.kind.clone()), published_at, data });
    }

    fn reject(&mut self, reject: Reject) {
        if self.out.rejects.len() < REJECTS_MAX {
            self.out.rejects.push(reject);
        } else {
            self.more_rejects += 1;
        }
    }

    fn find(&mut self, finding: impl FnOnce() -> Finding) {
        if let Some(findings) = &mut self.findings {
            findings.push(finding());
        }
    }

    fn field(&mut self, field: &FieldPlan, scope: ElementRef<'_>, row: Option<usize>) -> Result<Value, Fault> {
        let (matched, elements) = match &field.css {
            None => (1, vec![scope]),
            Some(css) => {
                // How many there are in all is worth counting only for somebody who looks.
                let count_all = self.findings.is_some();
                choose(matches(scope, css, row.is_none(), self.watch), field.pick, count_all)
            }
        };
        let texts = self.texts(field, scope, row, matched, &elements);
        let raw = texts.as_ref().map_or_else(|fault| fault.raw.clone(), |texts| texts.join(" | "));
        let value = texts.and_then(|texts| typed(field, &texts));
        self.find(|| Finding {
            row,
            field: field.path(),
            rule: field.rule(),
            matched,
            raw: (!elements.is_empty()).then(|| cut_raw(&raw).to_owned()),
            value: value.as_ref().ok().and_then(|value| RawValue::from_string(value.json.clone()).ok()),
            reason: value.as_ref().err().map(|fault| fault.reason.clone()),
        });
        value
    }

    /// The raw text of each element that was picked; at least one.
    fn texts(
        &self,
        field: &FieldPlan,
        scope: ElementRef<'_>,
        row: Option<usize>,
        matched: usize,
        elements: &[ElementRef<'_>],
    ) -> Result<Vec<String>, Fault> {
        let missing = |reason: String| {
            let raw = if row.is_some() { shown_text(scope).unwrap_or_default() } else { self.page_text() };
            Fault { outcome: Outcome::Missing, reason, raw }
        };
        if elements.is_empty() {
            let css = field.css.as_ref().map_or("", |css| &css.text);
            return Err(missing(match (matched, row) {
                (0, None) => format!("`{css}` matched nothing; {}", self.describe_page()),
                (0, Some(row)) => format!("`{css}` matched nothing in row {row}"),
                (count, _) => format!("`{css}` matched {count} times, and `nth` asks for more"),
            }));
        }
        let mut texts = Vec::new();
        let mut bytes = 0;
        for &element in elements {
            let text = take(&field.take, element).map_err(|reason| missing(format!("`{}` {reason}", field.rule())))?;
            bytes += text.len();
            if text.len() > TEXT_BYTES_MAX || bytes > LIST_BYTES_MAX {
                let limit = if text.len() > TEXT_BYTES_MAX { TEXT_BYTES_MAX } else { LIST_BYTES_MAX };
                let limit = bytesize::ByteSize(limit as u64);
                let reason = format!("`{}` has more than {limit} of text", field.rule());
                return Err(Fault { outcome: Outcome::Invalid, reason, raw: cut_raw(&text).to_owned() });
            }
            if text.trim().is_empty() && !field.convert.takes_empty() {
                return Err(missing(format!("`{}` is there, but empty", field.rule())));
            }
            texts.push(text);
        }
        Ok(texts)
    }

    fn page_text(&self) -> String {
        shown_text(self.page.root()).unwrap_or_default()
    }

    /// What somebody needs to know whose selector matched nothing.
    fn describe_page(&self) -> String {
        let text = self.page_text().len();
        let scripts =
            self.page.root().descendent_elements().filter(|element| element.value().name() == "script").count();
        let hint = if scripts >= SCRIPTS_MANY || (scripts > 0 && text < SHELL_TEXT_BYTES) {
            ", and may need JavaScript"
        } else {
            ""
        };
        let plural = if scripts == 1 { "" } else { "s" };
        format!("the page has {} of text and {scripts} script{plural}{hint}", bytesize::ByteSize(text as u64))
    }
}

/// How many matched, and those that are meant. Without `count_all` it stops where it can.
fn choose<'a>(
    mut matches: impl Iterator<Item = ElementRef<'a>>,
    pick: Pick,
    count_all: bool,
) -> (usize, Vec<ElementRef<'a>>) {
    if let (Pick::FromStart(index), false) = (pick, count_all) {
        let mut passed = 0;
        let chosen = matches.by_ref().inspect(|_| passed += 1).nth(index);
        return (passed, chosen.into_iter().collect());
    }
    let all: Vec<_> = matches.collect();
    let one = |index: Option<usize>| index.and_then(|index| all.get(index).copied()).into_iter().collect();
    match pick {
        Pick::FromStart(index) => (all.len(), one(Some(index))),
        Pick::FromEnd(index) => (all.len(), one(all.len().checked_sub(index + 1))),
        Pick::All => (all.len(), all),
    }
}

/// The raw text of one element, or why it has none.
fn take(take: &Take, element: ElementRef<'_>) -> Result<String, String> {
    match take {
        // Text beyond the limit is handed on too long, for the caller to refuse.
        Take::Text => Ok(shown_text(element).unwrap_or_else(|| " ".repeat(TEXT_BYTES_MAX + 1))),
        Take::Attribute(name) => element.attr(name).map(str::to_owned).ok_or_else(|| "is not on the element".into()),
        Take::InnerHtml => Ok(element.inner_html()),
        Take::OuterHtml => Ok(element.html()),
    }
}

fn typed(field: &FieldPlan, texts: &[String]) -> Result<Value, Fault> {
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

fn one_typed(field: &FieldPlan, text: &str) -> Result<Value, Fault> {
    let invalid = |reason: String| Fault { outcome: Outcome::Invalid, reason, raw: text.to_owned() };
    let part = match &field.regex {
        None => text,
        Some(regex) => {
            let found = regex.captures(text);
            let part =
                found.as_ref().and_then(|found| found.name("value").or_else(|| found.get(1)).or_else(|| found.get(0)));
            part.ok_or_else(|| invalid(format!("{} does not match `regex`", quoted(text))))?.as_str()
        }
    };
    let value = field.convert.convert(part);
    value.map_err(|reason| invalid(format!("{} {reason}", quoted(part))))
}

/// Text from a page within a sentence: short, and without anything that a terminal would obey.
fn quoted(text: &str) -> String {
    const CHARS: usize = 60;
    let short: String = text.chars().take(CHARS).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", short.escape_debug())
}

fn as_reject(faults: &[(&FieldPlan, Fault)]) -> Reject {
    let (field, first) = &faults[0];
    let is_missing = faults.iter().any(|(_, fault)| fault.outcome == Outcome::Missing);
    let outcome = if is_missing { Outcome::Missing } else { Outcome::Invalid };
    let others = faults[1..].iter().map(|(field, fault)| format!("; and {}: {}", field.path(), fault.reason));
    let reason = first.reason.clone() + &others.collect::<Vec<_>>().concat();
    Reject::new(outcome, Some(field.path()), reason, &first.raw)
}

fn push_key(data: &mut String, name: &str) {
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

    use super::*;

    const INDEX: &str = include_str!("../../../tests/fixtures/scrape/index.html");
    const STOCKS: &str = include_str!("../../../tests/fixtures/scrape/stocks.html");

    fn plan(value: serde_json::Value) -> Plan {
        Plan::compile(&serde_json::from_value(value).unwrap()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn fields(html: &str, fields: &serde_json::Value) -> Extraction {
        extract(&plan(json!({ "url": "http://localhost/", "fields": fields })), html, None).unwrap()
    }

    /// One field of a page: its value as JSON, or its outcome and reason.
    fn one(html: &str, field: &serde_json::Value) -> String {
        let extraction = fields(html, &json!({ "f": field }));
        match (&extraction.items[..], &extraction.rejects[..]) {
            ([Item { data, .. }], []) => {
                data.get().strip_prefix("{\"f\":").unwrap().strip_suffix('}').unwrap().to_owned()
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
    fn every_way_to_pick() {
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
    fn what_matched_nothing_says_what_the_page_is() {
        let shell = format!("<div id=root></div>{}", "<script src=a></script>".repeat(12));
        insta::assert_snapshot!(one(&shell, &json!("span.red14px")), @"missing: `span.red14px` matched nothing; the page has 0 B of text and 12 scripts, and may need JavaScript");
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
        let item = &extraction.items[0];
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
        let lines: Vec<&str> = extraction.items.iter().map(|item| item.data.get()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"symbol":"RELIANCE","price":2456.70,"volume":1234567}
        {"symbol":"MRF","price":123456.78,"volume":null}
        "#);
        let rejects: Vec<String> =
            extraction.rejects.iter().map(|reject| format!("{} {}", reject.outcome.as_str(), reject.reason)).collect();
        insta::assert_snapshot!(rejects.join("\n"), @r"
        missing `td:nth-child(2)` matched nothing in row 3
        invalid `n.a.` has the letter `n`; declare `type: money` or `scale: true`, or pick the digits with `regex`
        ");
        let plain = extract(&stocks, STOCKS, None).unwrap();
        assert_eq!(plain.items.len(), extraction.items.len(), "to explain changes nothing");
        let price = findings.iter().find(|finding| finding.field == "fields.price").unwrap();
        insta::assert_snapshot!(serde_json::to_string(price).unwrap(), @r#"{"row":1,"field":"fields.price","rule":"td:nth-child(2)","matched":1,"raw":"2,456.70","value":2456.70}"#);
    }

    #[test]
    fn hostile_text_stays_one_line() {
        let page = "<b>a\u{0}\u{1b}[2J\u{85}\u{2028}\"\\</b><i title='x\ny\r'>z</i>";
        let extraction = fields(page, &json!({ "b\n\"": "b", "t": { "css": "i", "attr": "title" } }));
        let data = extraction.items[0].data.get();
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
        let bytes: usize = extraction.items.iter().map(|item| item.data.get().len()).sum();
        assert!(bytes < 20 << 20 && extraction.rejects.len() == 1, "{bytes}");
        let rows = plan(json!({ "url": "http://localhost/", "records": "i", "fields": { "h": "b" } }));
        let extraction = extract(&rows, &"<i></i>".repeat(5000), None).unwrap();
        assert_eq!(extraction.rejects.len(), 101);
        insta::assert_snapshot!(extraction.rejects[100].reason, @"4900 more records of the page were rejected");
        let nothing = extract(&rows, "<p>", None).unwrap();
        insta::assert_snapshot!(nothing.rejects[0].reason, @"`i` matched nothing; the page has 0 B of text and 0 scripts");
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
        assert_eq!(extract(&plan(rows), page, None).unwrap().items[0].data.get(), r#"{"a":"3"}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn never_panics_and_data_is_json(html in "(<(/)?(table|tr|td|b|script|br)( class=x| title=\"\n\")?>|[-0-9.,% \u{a0}é\u{0}\n\"]|&lt;|text){0,60}") {
            for records in [json!(null), json!("tr")] {
                let plan = plan(json!({ "url": "http://localhost/", "records": records, "fields": {
                    "a": { "css": "td", "all": true, "type": "number", "on_missing": "null" },
                    "b": { "css": ".x", "html": "outer", "required": false },
                    "c": { "css": "[title]", "attr": "title", "nth": -1, "required": false },
                } }));
                let extraction = extract(&plan, &html, Some(&mut Vec::new())).unwrap();
                for item in extraction.items {
                    let data: serde_json::Map<String, serde_json::Value> = serde_json::from_str(item.data.get()).unwrap();
                    prop_assert_eq!(data.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
                    prop_assert!(!item.data.get().contains(['\n', '\r']));
                }
            }
        }
    }
}
