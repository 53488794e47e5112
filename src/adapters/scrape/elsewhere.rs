//! Where a text has gone that a page showed before: what somebody who mends a selector wants to know first.

use scraper::ElementRef;

use super::extract::extract;
use super::near::{labels, plain};
use super::page::Page;
use super::plan::Plan;
use super::select::Watch;
use super::selector;
use crate::item::Finding;

/// A shorter text stands everywhere, and a longer one is no value.
const TEXT_CHARS: std::ops::RangeInclusive<usize> = 2..=200;
/// A text that stands in so many places says nothing about any of them.
const PLACES_MAX: usize = 20;
/// So many fields are looked for.
const FIELDS_MAX: usize = 10;

/// For each field that a page lacks and the last good page had: what was its text, and where that is now.
pub(super) fn hints(plan: &Plan, before: &str, after: &str) -> Vec<(String, String)> {
    let missing = missing(plan, after);
    let texts = texts(plan, before);
    let Ok(page) = Page::parse(after) else { return Vec::new() };
    let watch = Watch::start();
    let mut hints = Vec::new();
    for path in missing.iter().take(FIELDS_MAX) {
        // Of rows that are gone altogether, any text of the first one tells.
        let is_it = |(field, _): &&(String, String)| field == path || path == "records";
        let place = |(_, text): &(String, String)| Some((text.clone(), place(page.root(), text, &watch)?));
        if let Some((text, place)) = texts.iter().filter(is_it).find_map(place) {
            let shown: String = text.chars().take(60).collect();
            let shown = shown.escape_debug();
            hints.push((path.clone(), format!("; the last text of {path}, `{shown}`, is now in `{place}`")));
        }
    }
    hints
}

/// The fields that a page lacks.
fn missing(plan: &Plan, page: &str) -> Vec<String> {
    let mut found = Vec::new();
    if extract(plan, page, Some(&mut found)).is_err() {
        return Vec::new();
    }
    let missing = |finding: &Finding| finding.value.is_none() && finding.raw.is_none() && finding.matched == 0;
    let is_first = |finding: &Finding| finding.row.is_none_or(|row| row == 1);
    found.into_iter().filter(|finding| is_first(finding) && missing(finding)).map(|finding| finding.field).collect()
}

/// The texts of a page's fields, of many records of the first.
pub(super) fn texts(plan: &Plan, page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if extract(plan, page, Some(&mut found)).is_err() {
        return Vec::new();
    }
    let first = found.into_iter().filter(|finding| finding.row.is_none_or(|row| row == 1) && finding.value.is_some());
    first.filter_map(|finding| Some((finding.field, finding.raw?))).collect()
}

/// Where a text stands, as a short selector.
pub(super) fn place(root: ElementRef<'_>, text: &str, watch: &Watch) -> Option<String> {
    let text = plain(text);
    if !TEXT_CHARS.contains(&text.chars().count()) {
        return None;
    }
    let found = labels(root, &text, watch);
    if let (Some(first), 1..=PLACES_MAX) = (found.first(), found.len()) {
        let css = selector::best(root, *first, watch)?;
        let more = if found.len() > 1 { format!(" (and in {} more)", found.len() - 1) } else { String::new() };
        return Some(css + &more);
    }
    let of_attribute = root.descendent_elements().take_while(|_| !watch.is_over()).find_map(|element| {
        let (name, _) = element.value().attrs().find(|(_, value)| value.trim() == text)?;
        Some((element, name.to_owned()))
    });
    let (element, name) = of_attribute?;
    Some(format!("{} @{name}", selector::best(root, element, watch)?))
}
