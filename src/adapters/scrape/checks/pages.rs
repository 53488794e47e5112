//! Pages: their text as a browser shows it, and what a plan makes of them, whether they are read in part or whole.

use std::sync::LazyLock;

use scraper::Html;
use serde_json::{Map, Value, json};

use super::super::css::Css;
use super::super::early::Early;
use super::super::extract::{Extraction, Row, extract, extract_from};
use super::super::form::filled;
use super::super::page::Page;
use super::super::plain::Enough;
use super::super::plan::Plan;
use super::super::text::{own_text, shown_text, shown_text_of};

/// The texts of so many elements are looked at.
const ELEMENTS_MAX: usize = 50;
/// Selectors of fields for which a page may be read in part.
pub(in super::super) const FORWARD: [&str; 10] =
    [".a", "i", "div .a", "body > .a", "#z", "p + .a", "i:first-child", "[class=a]", "html", "b, .a"];

pub(in super::super) fn plan(records: &Value, fields: &Value) -> Plan {
    let settings = json!({ "url": "http://localhost/", "records": records, "fields": fields });
    let settings = serde_json::from_value(settings).expect("the settings are settings");
    Plan::compile(&settings).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Plans of one field for [`FORWARD`], first the first match of each and then the second.
static PARTS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let nth = |nth: u32| FORWARD.map(|css| plan(&Value::Null, &json!({ "f": { "css": css, "nth": nth } })));
    nth(1).into_iter().chain(nth(2)).collect()
});

const KEYS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

/// Plans with fields of every kind, of a page and of its rows.
static RECORDS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let fields = json!({
        "a": { "css": "td", "all": true, "type": "number", "on_missing": "null" },
        "b": { "css": ".x", "html": "outer", "required": false },
        "c": { "css": ["[title]", "b"], "attr": ["title", "class"], "nth": -1, "required": false },
        "d": { "near": "text", "required": false, "nth": 1 },
        "e": { "css": "b", "all": true, "fields": { "x": { "css": "td", "text": "own", "required": false } }, "required": false },
        "f": { "script": { "find": "" }, "required": false },
        "g": { "microdata": "Product.offers.price", "required": false },
        "h": { "meta": "price", "required": false },
        "i": { "jsonld": "$..price", "all": true, "required": false },
    });
    [Value::Null, json!("tr")].iter().map(|records| plan(records, &fields)).collect()
});

pub(super) fn any_part(choice: u8, html: &str) {
    part(&PARTS[usize::from(choice) % PARTS.len()], html);
}

/// What a page became, without the sizes and times of it.
fn told(extraction: &Extraction) -> String {
    let items: Vec<_> = extraction.rows.iter().map(|row| row.item.data.get()).collect();
    let rejects: Vec<_> =
        extraction.rejects.iter().map(|reject| (&reject.field, &reject.reason, &reject.raw)).collect();
    format!("{items:?} {rejects:?} {:?}", extraction.served)
}

/// Whether a page is left early; what it becomes has to be the same.
pub(in super::super) fn part(plan: &Plan, html: &str) -> bool {
    let early = Early::of(plan, html).is_some_and(|early| {
        let enough: Enough<'_> = &|tree, is_open| early.is_enough(tree, is_open);
        Page::parse_until(html, Some((early.from, enough))).is_ok_and(|page| !page.is_whole)
    });
    if let Ok(page) = Page::parse_by_all_rules(html)
        && let Ok(whole) = extract_from(plan, &page, None)
    {
        let extraction = extract(plan, html, None).expect("the whole page was read as well");
        assert_eq!(told(&extraction), told(&whole), "{html}");
    }
    early
}

/// The text of each element is what its parts show, collapsed, and text that is shown shows itself.
pub(in super::super) fn texts(html: &str) {
    let Ok(page) = Page::parse(html) else { return };
    for element in page.root().descendent_elements().take(ELEMENTS_MAX) {
        let (Some(shown), Some(own)) = (shown_text(element), own_text(element)) else { continue };
        let all: String = element.text().collect();
        for text in [&shown, &own] {
            is_collapsed(text);
            assert!(is_within(text, &all), "{text:?} of {all:?} in {html}");
        }
        let folds = element.value().name() == "details";
        let parts = element.children().filter_map(|child| shown_text_of(std::iter::once(child)));
        assert!(folds || without_space(&parts.collect::<String>()) == without_space(&shown), "{shown:?} in {html}");
        let escaped = shown.replace('&', "&amp;").replace('<', "&lt;").replace('\0', "");
        let again = Html::parse_document(&format!("<p>{escaped}</p>"));
        assert_eq!(shown_text(again.root_element()).as_deref(), Some(&*shown.replace('\0', "")), "{html}");
    }
}

fn is_collapsed(text: &str) {
    let is_other = |c: char| matches!(c, '\t' | '\n' | '\x0c' | '\r');
    let is_open = text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") || text.contains(is_other);
    assert!(!is_open, "{text:?}");
}

fn without_space(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r')).collect()
}

/// Whether the characters of `part` stand in `whole`, in their order.
fn is_within(part: &str, whole: &str) -> bool {
    let mut whole = whole.chars();
    without_space(part).chars().all(|c| whole.any(|other| other == c))
}

/// Whatever a page is, its records are JSON on one line, with every key; and that it is explained changes nothing.
pub(in super::super) fn records(html: &str) {
    for plan in &*RECORDS {
        let Ok(extraction) = extract(plan, html, None) else {
            assert!(Page::parse(html).is_err(), "{html}");
            continue;
        };
        for Row { item, .. } in &extraction.rows {
            let data: Map<String, Value> = serde_json::from_str(item.data.get()).expect("data is JSON");
            assert!(data.keys().eq(KEYS), "{}", item.data);
            assert!(!item.data.get().contains(['\n', '\r']), "{}", item.data);
        }
        let explained = extract(plan, html, Some(&mut Vec::new())).expect("it can be read");
        assert_eq!(told(&explained), told(&extraction), "{html}");
    }
}

/// Any page may be taken for one with a form.
pub(in super::super) fn form(html: &str) {
    let css = |text: &str| Css::new(text).expect("it is a selector");
    let values = [("a".to_owned(), "mine".to_owned())];
    if let Ok(form) = filled(html, &css("form"), &css("base[href]"), &values) {
        let own: Vec<_> = form.fields.iter().filter(|(name, _)| name == "a").collect();
        assert_eq!(own, [&values[0]], "{html}");
    }
}
