//! Where on a page a text is: shown, in an attribute, or in data that the page carries.

use scraper::ElementRef;
use serde_json::Value;

use super::super::near::{labels, plain};
use super::super::select::Watch;
use super::super::selector;
use super::super::text::{is_hidden, shown_text};
use super::rule::Rule;

/// Longer texts are no values.
const TEXT_BYTES_MAX: usize = 200;
/// So many places are looked into.
const PLACES_MAX: usize = 12;
/// How deep data is looked into, and how many values.
const DEPTH_MAX: usize = 20;
const VALUES_MAX: usize = 100_000;
/// A number has at most so many letters around it.
const LETTERS_MAX: usize = 5;
/// Attributes that have values in them.
const VALUED: [&str; 12] = [
    "content",
    "value",
    "datetime",
    "data-value",
    "data-price",
    "data-last",
    "data-sort",
    "data-sort-value",
    "title",
    "alt",
    "href",
    "src",
];

/// An element that has a text, and how the text is taken of it.
#[derive(Clone)]
pub(super) struct Spot<'a> {
    pub(super) element: ElementRef<'a>,
    /// The attribute that has it.
    pub(super) attr: Option<String>,
    /// What picks it out of more.
    pub(super) regex: Option<String>,
}

/// Whether two texts are the same value, however a number is written.
pub(super) fn is_same(text: &str, wanted: &str) -> bool {
    plain(text) == plain(wanted) || number(text).is_some_and(|digits| number(wanted) == Some(digits))
}

/// The digits of a text that is a number, without what only looks differ by: zeros at the end of decimals stay.
fn number(text: &str) -> Option<String> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let is_short = text.len() <= TEXT_BYTES_MAX && text.split_whitespace().count() <= 4;
    (is_short && letters <= LETTERS_MAX && !digits.is_empty()).then(|| digits.trim_start_matches('0').to_owned())
}

/// The elements that have a text: those that show it alone first, then attributes, then those that show it among more.
pub(super) fn spots<'a>(scope: ElementRef<'a>, wanted: &str, watch: &Watch) -> Vec<Spot<'a>> {
    let of = |element, attr: Option<String>, regex| Spot { element, attr, regex };
    let mut found: Vec<Spot<'a>> =
        labels(scope, &plain(wanted), watch).into_iter().map(|element| of(element, None, None)).collect();
    if found.is_empty() {
        found = smallest(scope, watch, |text| is_same(text, wanted))
            .into_iter()
            .map(|element| of(element, None, None))
            .collect();
    }
    let is_value = |element: &ElementRef<'a>| element.value().name() != "meta" && !watch.is_over();
    for element in scope.descendent_elements().take_while(|_| !watch.is_over()).filter(is_value) {
        let valued = VALUED.iter().find(|name| element.attr(name).is_some_and(|value| is_same(value, wanted)));
        found.extend(valued.map(|name| of(element, Some((*name).to_owned()), None)));
    }
    if found.is_empty() {
        let within = smallest(scope, watch, |text| text.contains(wanted.trim()));
        found.extend(within.into_iter().filter_map(|element| {
            let text = shown_text(element)?;
            Some(of(element, None, Some(around(&text, wanted.trim())?)))
        }));
    }
    found.truncate(PLACES_MAX);
    found
}

/// The smallest elements whose text is one of those.
fn smallest<'a>(scope: ElementRef<'a>, watch: &Watch, is_one: impl Fn(&str) -> bool) -> Vec<ElementRef<'a>> {
    let mut found: Vec<ElementRef<'a>> = Vec::new();
    for element in scope.descendent_elements() {
        if watch.is_over() {
            break;
        }
        let is_seen = !is_hidden(element.value()) && !matches!(element.value().name(), "html" | "body");
        if !is_seen || !shown_text(element).is_some_and(|text| text.len() <= TEXT_BYTES_MAX && is_one(&text)) {
            continue;
        }
        if found.last().is_some_and(|last| element.ancestors().any(|above| above == **last)) {
            found.pop();
        }
        found.push(element);
    }
    found
}

/// An expression that picks a value out of a text: by the words before it, where there are some.
fn around(text: &str, wanted: &str) -> Option<String> {
    let at = text.find(wanted)?;
    let before: String = text[..at].split_whitespace().next_back().unwrap_or_default().chars().collect();
    let value = if number(wanted).is_some() { r"[-+−]?\d[\d.,]*\d|\d" } else { r"\S+(?: \S+){0,3}" };
    let value = if number(wanted).is_none() { regex::escape(wanted) } else { value.to_owned() };
    let before = if before.is_empty() { String::new() } else { format!("{}\\s*", regex::escape(&before)) };
    Some(format!("{before}({value})"))
}

/// Rules for data of the page that has a text: `meta`, JSON-LD, the data of Next.js.
pub(super) fn data_rules(root: ElementRef<'_>, wanted: &str, watch: &Watch) -> Vec<Rule> {
    let mut found = Vec::new();
    for element in root.descendent_elements().take_while(|_| !watch.is_over()) {
        let tag = element.value();
        match tag.name() {
            "meta" if tag.attr("content").is_some_and(|content| is_same(content, wanted)) => {
                let name = ["property", "name", "itemprop"].iter().find_map(|key| tag.attr(key));
                found.extend(name.map(|name| Rule::new("meta", name)));
            }
            "script" => {
                let is_linked =
                    tag.attr("type").is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/ld+json"));
                let key = match tag.attr("id") {
                    Some("__NEXT_DATA__") => "next_data",
                    _ if is_linked => "jsonld",
                    _ => continue,
                };
                let text: String = element.text().collect();
                let Ok(value) = serde_json::from_str::<Value>(text.trim()) else { continue };
                let mut walk = Walk { wanted, left: VALUES_MAX, paths: Vec::new() };
                for thing in if is_linked { things(&value) } else { vec![&value] } {
                    walk.within(thing, "$", 0);
                }
                found.extend(walk.paths.into_iter().map(|path| Rule::new(key, path)));
            }
            _ => {}
        }
        if found.len() >= PLACES_MAX {
            break;
        }
    }
    found
}

/// The things that a path of `jsonld` is tried on.
fn things(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().flat_map(things).collect(),
        other => {
            let graph = other.get("@graph").and_then(Value::as_array);
            graph.map_or_else(|| vec![other], |graph| graph.iter().collect())
        }
    }
}

struct Walk<'w> {
    wanted: &'w str,
    left: usize,
    paths: Vec<String>,
}

impl Walk<'_> {
    fn within(&mut self, value: &Value, path: &str, depth: usize) {
        if self.left == 0 || depth > DEPTH_MAX || self.paths.len() >= PLACES_MAX {
            return;
        }
        self.left -= 1;
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let mut chars = name.chars();
                    let is_plain = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
                        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
                    let step = if is_plain {
                        format!(".{name}")
                    } else {
                        format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
                    };
                    self.within(value, &format!("{path}{step}"), depth + 1);
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    self.within(value, &format!("{path}[{index}]"), depth + 1);
                }
            }
            Value::String(text) if is_same(text, self.wanted) => self.paths.push(path.to_owned()),
            Value::Number(number) if is_same(&number.to_string(), self.wanted) => self.paths.push(path.to_owned()),
            _ => {}
        }
    }
}

/// Rules for an element within `scope`, the most lasting first, and among them one by its label.
pub(super) fn element_rules(scope: ElementRef<'_>, spot: &Spot<'_>, watch: &Watch) -> Vec<Rule> {
    let candidates = selector::candidates(scope, spot.element, watch);
    let mut rules: Vec<(u8, Rule)> = candidates
        .into_iter()
        .map(|candidate| (candidate.strength as u8 * 2, Rule::new("css", candidate.css)))
        .collect();
    let label = label_of(spot.element).filter(|_| spot.attr.is_none() && spot.regex.is_none());
    // People's words outlast a tag within something, and not a name.
    rules.extend(label.map(|label| (selector::Strength::Classed as u8 * 2 + 1, Rule::new("near", label))));
    rules.sort_by_key(|(rank, _)| *rank);
    let complete = |rule: Rule| {
        let rule = match &spot.attr {
            Some(attr) => rule.with("attr", attr.as_str()),
            None => rule,
        };
        match &spot.regex {
            Some(regex) => rule.with("regex", regex.as_str()),
            None => rule,
        }
    };
    rules.into_iter().map(|(_, rule)| complete(rule)).collect()
}

/// The heading of the column that a cell stands in.
pub(super) fn heading_of(element: ElementRef<'_>) -> Option<String> {
    let line = std::iter::once(element).chain(element.ancestors().filter_map(ElementRef::wrap));
    let cell = line.take(4).find(|cell| cell.value().name() == "td")?;
    let column = cell.prev_siblings().filter_map(ElementRef::wrap).count();
    let table = cell.ancestors().filter_map(ElementRef::wrap).find(|above| above.value().name() == "table")?;
    let first = table.descendent_elements().find(|row| row.value().name() == "tr")?;
    let heading = first.child_elements().nth(column).filter(|cell| cell.value().name() == "th")?;
    shown_text(heading).filter(|text| !text.is_empty())
}

/// The words before an element that say what it is.
pub(super) fn label_of(element: ElementRef<'_>) -> Option<String> {
    let is_label = |text: &String| {
        let length = text.chars().count();
        (2..=40).contains(&length)
            && text.chars().any(char::is_alphabetic)
            && !text.bytes().any(|byte| byte.is_ascii_digit())
    };
    let mut at = element;
    for _ in 0..3 {
        let before = at.prev_siblings().filter_map(ElementRef::wrap).find(|other| !is_hidden(other.value()));
        if let Some(before) = before {
            return shown_text(before).map(|text| plain(&text)).filter(is_label);
        }
        at = at.parent().and_then(ElementRef::wrap)?;
    }
    None
}
