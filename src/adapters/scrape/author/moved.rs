//! Rows that have gone elsewhere: the siblings in which the texts of the old rows stand now, or else those that are most like them.

use std::collections::{BTreeMap, BTreeSet};

use scraper::ElementRef;

use super::super::near::{labels, plain};
use super::super::plan::{FieldPlan, Plan};
use super::super::select::{Watch, matches};
use super::super::text::shown_text;
use super::heal::{element_in, overlap, shape};
use super::list::{List, alike_of, list, selected};
use super::spot::spots;
use crate::item::{Proposal, Suggestion};

/// Old rows whose texts are looked for, and how many places of each text.
const TEXTS_MAX: usize = 10;
const PLACES_MAX: usize = 3;
/// Lists that are proposed.
const LISTS_MAX: usize = 3;
/// Children of an element that a list may begin with; the first ones are often headings.
const FIRSTS_MAX: usize = 4;
/// With less in common than this, rows are others.
const SCORE_MIN: f64 = 2.5;
/// Texts of a row that are compared, and how much of one is shown.
const LEAVES_MAX: usize = 20;
const SHOWN_CHARS: usize = 100;

/// Lists of a page that may be the rows which `plan` looks for, the likeliest first. `old` are the rows of a page that had
/// them; `values` are texts that somebody sees on the page now, by the field's name.
pub(super) fn lists<'a>(
    root: ElementRef<'a>,
    plan: &Plan,
    old: &[ElementRef<'_>],
    values: &[(String, String)],
    watch: &Watch,
) -> Vec<List<'a>> {
    let mut found: Vec<(usize, List<'a>)> = Vec::new();
    let mut take = |elements: &[ElementRef<'a>]| {
        let Some(list) = list(root, elements, watch) else { return };
        let has = elements.iter().filter(|element| list.row_of(**element).is_some()).count();
        match found.iter_mut().find(|(_, known)| known.css == list.css) {
            Some((all, _)) => *all += has,
            None => found.push((has, list)),
        }
    };
    let mut seen: BTreeMap<&str, Vec<ElementRef<'a>>> = BTreeMap::new();
    for (name, text) in values {
        let spots = spots(root, text, watch).into_iter().filter(|spot| spot.regex.is_none());
        seen.entry(name).or_default().extend(spots.map(|spot| spot.element).take(PLACES_MAX));
    }
    for elements in seen.values() {
        take(elements);
    }
    for field in &plan.fields {
        let texts: BTreeSet<String> =
            old.iter().filter_map(|row| text_in(*row, field, watch)).take(TEXTS_MAX).collect();
        // What is the same in all rows says nothing about where they are.
        if texts.len() > 1 {
            let places = |text: &String| labels(root, text, watch).into_iter().take(PLACES_MAX);
            take(&texts.iter().flat_map(places).collect::<Vec<_>>());
        }
    }
    found.sort_by_key(|(has, _)| std::cmp::Reverse(*has));
    let found: Vec<List<'a>> = found.into_iter().map(|(_, list)| list).take(LISTS_MAX).collect();
    if found.is_empty() { alike(root, old, watch) } else { found }
}

/// The text of a field in an old row.
fn text_in(row: ElementRef<'_>, field: &FieldPlan, watch: &Watch) -> Option<String> {
    let text = shown_text(element_in(row, field, watch)?).map(|text| plain(&text))?;
    (2..=SHOWN_CHARS).contains(&text.chars().count()).then_some(text)
}

/// What rows are like, whatever stands in them at the moment.
struct Form {
    tag: String,
    classes: BTreeSet<String>,
    /// The tags of its children, in their order.
    cells: Vec<String>,
    /// The classes of all that is in it.
    names: BTreeSet<String>,
    /// The forms of its texts.
    shapes: BTreeSet<String>,
}

impl Form {
    fn of(row: ElementRef<'_>) -> Self {
        let within = || row.descendent_elements().skip(1);
        let leaves = within().filter(|element| element.child_elements().next().is_none()).filter_map(shown_text);
        Self {
            tag: row.value().name().to_owned(),
            classes: row.value().classes().map(str::to_owned).collect(),
            cells: row.child_elements().map(|child| child.value().name().to_owned()).collect(),
            names: within().flat_map(|element| element.value().classes()).map(str::to_owned).collect(),
            shapes: leaves.filter(|text| !text.is_empty()).take(LEAVES_MAX).map(|text| shape(&text)).collect(),
        }
    }

    fn likeness(&self, other: &Self) -> f64 {
        let same = |yes: bool, weight: f64| if yes { weight } else { 0.0 };
        same(self.tag == other.tag, 0.5)
            + same(self.cells == other.cells, 1.0)
            + 2.0 * overlap(&self.classes, &other.classes)
            + 1.5 * overlap(&self.names, &other.names)
            + 2.0 * overlap(&self.shapes, &other.shapes)
    }
}

/// The lists whose rows are most like the old ones.
fn alike<'a>(root: ElementRef<'a>, old: &[ElementRef<'_>], watch: &Watch) -> Vec<List<'a>> {
    let Some(was) = old.get(old.len() / 2).map(|row| Form::of(*row)) else { return Vec::new() };
    let mut scored: Vec<(f64, ElementRef<'a>, ElementRef<'a>)> = Vec::new();
    for around in root.descendent_elements().take_while(|_| !watch.is_over()) {
        for first in around.child_elements().take(FIRSTS_MAX) {
            let rows = records_of(around, first);
            if rows.len() > 1 && scored.last().is_none_or(|(_, _, last)| !rows.contains(last)) {
                scored.push((was.likeness(&Form::of(rows[rows.len() / 2])), around, first));
            }
        }
    }
    scored.retain(|(score, ..)| *score >= SCORE_MIN);
    scored.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let lists = scored.into_iter().filter_map(|(_, around, first)| {
        selected(root, around, first, &alike_of(around, first), &records_of(around, first), watch)
    });
    lists.take(LISTS_MAX).collect()
}

/// The children that are like one of them, but for rows of headings.
fn records_of<'a>(around: ElementRef<'a>, first: ElementRef<'a>) -> Vec<ElementRef<'a>> {
    let is_record = |row: &ElementRef<'_>| {
        row.value().name() != "tr" || row.child_elements().any(|cell| cell.value().name() == "td")
    };
    alike_of(around, first).into_iter().filter(is_record).collect()
}

/// The same for people.
pub(super) fn suggestion(lists: &[List<'_>], old: usize) -> Suggestion {
    let proposal = |list: &List<'_>| {
        let first = list.rows().first().and_then(|row| shown_text(*row)).unwrap_or_default();
        let first: String = first.chars().take(SHOWN_CHARS).collect();
        Proposal { rule: list.rule_of_rows(), text: format!("{} rows, the first: {first}", list.count) }
    };
    let was = (old > 0).then(|| format!("{old} rows"));
    Suggestion { field: "records".to_owned(), was, proposals: lists.iter().map(proposal).collect() }
}

/// The rows of a page that had them.
pub(super) fn rows_of<'a>(root: ElementRef<'a>, plan: &'a Plan, watch: &'a Watch) -> Vec<ElementRef<'a>> {
    let css = super::super::plan::RowsPlan::css(plan.rows.as_ref());
    css.map_or_else(Vec::new, |css| matches(root, css, true, watch).collect())
}
