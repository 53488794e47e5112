//! Where a field may have gone: elements of a page as it is now that are most like the one that the field was, with
//! selectors for them. Only ever proposed: a value that is quietly taken from somewhere else is worse than none.

use std::collections::BTreeSet;

use scraper::ElementRef;

use super::super::elsewhere::texts;
use super::super::extract::extract;
use super::super::near::{labels, plain};
use super::super::page::Page;
use super::super::place::Place;
use super::super::plan::{FieldPlan, Make, Plan, RowsPlan};
use super::super::select::{Watch, matches};
use super::super::settings::Rows;
use super::super::text::{is_hidden, shown_text};
use super::super::{Scrape, expect};
use super::moved;
use super::spot::{Spot, element_rules, is_same, label_of};
use crate::item::{Finding, Proposal, Suggestion};

/// Longer texts are no values.
const TEXT_BYTES_MAX: usize = 200;
/// More elements than this are not compared.
const ELEMENTS_MAX: usize = 50_000;
/// Rows in which a field is looked for.
const ROWS_MAX: usize = 10;
/// Elements that are proposed for one field, and rules for each.
const ELEMENTS_SHOWN: usize = 3;
const RULES_SHOWN: usize = 2;
/// Elements around one that are compared.
const AROUND_MAX: usize = 6;
/// With less in common than this an element is not proposed.
const SCORE_MIN: f64 = 2.0;

/// What an element is like.
struct Traits {
    tag: String,
    id: Option<String>,
    classes: BTreeSet<String>,
    attributes: BTreeSet<(String, String)>,
    text: String,
    shape: String,
    label: Option<String>,
    around: BTreeSet<String>,
    depth: usize,
}

/// Where a field is looked for: on the page, or in each of its rows.
struct Within<'a, 'p> {
    scopes: Vec<ElementRef<'a>>,
    /// The selector of the rows.
    rows: Option<String>,
    html: &'p str,
    watch: &'p Watch,
}

/// Proposes rules for the fields that `now` lacks, and for rows that it lacks. `was` is a page on which they were; `values`
/// are texts that somebody sees on the page now, by the field's name.
///
/// # Errors
/// When a page cannot be parsed.
pub(in super::super) fn suggest(
    settings: &Scrape,
    now: &str,
    was: Option<&str>,
    values: &[(String, String)],
) -> anyhow::Result<Vec<Suggestion>> {
    let plan = expect::plan(settings)?;
    let mut found = findings(&plan, now)?;
    let page = Page::parse(now)?;
    let old = was.map(Page::parse).transpose()?;
    let known = was.map(|was| texts(&plan, was)).unwrap_or_default();
    let (watch, old_watch) = (Watch::start(), Watch::start());
    let old_root = old.as_ref().map(Page::root);
    let old_rows = old_root.map_or_else(Vec::new, |root| moved::rows_of(root, &plan, &old_watch));
    let mut suggestions = Vec::new();
    let mut rows = moved::rows_of(page.root(), &plan, &watch);
    let mut rows_css = RowsPlan::css(plan.rows.as_ref()).map(|css| css.text.clone());
    if rows_css.is_some() && rows.is_empty() {
        let lists = moved::lists(page.root(), &plan, &old_rows, values, &watch);
        suggestions.push(moved::suggestion(&lists, old_rows.len()));
        rows_css = lists.first().map(|list| list.css.clone());
        if let Some(list) = lists.first() {
            // Most rules within rows are still right.
            let records = Some(Rows { css: Some(list.css.clone()), ..Rows::default() });
            found = findings(&expect::plan(&Scrape { records, ..settings.clone() })?, now)?;
            rows = list.rows().to_vec();
        }
    }
    rows.truncate(ROWS_MAX);
    let scopes = if rows.is_empty() { vec![page.root()] } else { rows };
    let within = Within { scopes, rows: rows_css, html: now, watch: &watch };
    let is_gone = |field: &FieldPlan| {
        let mut of = found.iter().filter(|finding: &&Finding| finding.field == field.path).peekable();
        // Of rows that are gone there are no findings.
        of.peek().is_none() || of.all(|finding| finding.value.is_none())
    };
    for field in &plan.fields {
        let value = values.iter().find(|(name, _)| *name == field.name).map(|(_, text)| text.as_str());
        if value.is_none() && !is_gone(field) || matches!(field.make, Make::Fields(_)) {
            continue;
        }
        let was = known.iter().find(|(path, _)| *path == field.path).map(|(_, text)| text.clone());
        let scope = old_rows.first().copied().or(old_root);
        let wanted = scope.and_then(|scope| {
            let by_text = || labels(scope, &plain(was.as_deref()?), &old_watch).into_iter().next();
            Some(traits(element_in(scope, field, &old_watch).or_else(by_text)?, scope))
        });
        let proposals = within.proposals(field, wanted.as_ref(), value);
        suggestions.push(Suggestion { field: field.path.clone(), was, proposals });
    }
    Ok(suggestions)
}

fn findings(plan: &Plan, html: &str) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    extract(plan, html, Some(&mut found))?;
    Ok(found)
}

/// The element that a field is, on a page or in a row that has it.
pub(super) fn element_in<'a>(scope: ElementRef<'a>, field: &FieldPlan, watch: &Watch) -> Option<ElementRef<'a>> {
    let element = |id| scope.tree().get(id).and_then(ElementRef::wrap);
    field.places.iter().find_map(|place| match place {
        Place::Css(css) => matches(scope, css, true, watch).next().map(|found| found.id()).and_then(element),
        Place::Row => Some(scope),
        _ => None,
    })
}

impl Within<'_, '_> {
    fn proposals(&self, field: &FieldPlan, wanted: Option<&Traits>, value: Option<&str>) -> Vec<Proposal> {
        let mut scored = Vec::new();
        for scope in &self.scopes {
            for element in scope.descendent_elements().take(ELEMENTS_MAX).take_while(|_| !self.watch.is_over()) {
                let score = score(field, wanted, value, *scope, element);
                scored.extend(score.filter(|score| *score >= SCORE_MIN).map(|score| (score, *scope, element)));
            }
        }
        // Of elements within each other that are alike the inner one is the value.
        scored.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        let mut proposals: Vec<Proposal> = Vec::new();
        for (_, scope, element) in scored.into_iter().take(ELEMENTS_SHOWN) {
            let spot = Spot { element, attr: None, regex: None };
            let rules = element_rules(scope, &spot, self.watch).into_iter().filter_map(|rule| {
                let text = rule.texts(self.html, self.rows.as_deref()).into_iter().next()?;
                Some(Proposal { rule: rule.yaml(), text })
            });
            // The same cell of two rows has the same rules.
            for proposal in rules.take(RULES_SHOWN) {
                if proposals.iter().all(|known| known.rule != proposal.rule) {
                    proposals.push(proposal);
                }
            }
        }
        proposals
    }
}

/// How much an element is like what is wanted; nothing, where it cannot be that.
fn score(
    field: &FieldPlan,
    wanted: Option<&Traits>,
    value: Option<&str>,
    scope: ElementRef<'_>,
    element: ElementRef<'_>,
) -> Option<f64> {
    if is_hidden(element.value()) || matches!(element.value().name(), "html" | "body") {
        return None;
    }
    let text = shown_text(element).filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX)?;
    let is_value = value.is_some_and(|value| is_same(&text, value));
    if value.is_some() && !is_value || !is_typed(field, &text) {
        return None;
    }
    let alike = wanted.map_or(0.0, |wanted| likeness(wanted, &traits(element, scope)));
    Some(if is_value { alike + SCORE_MIN } else { alike })
}

/// Whether a text could be the field's at all.
fn is_typed(field: &FieldPlan, text: &str) -> bool {
    match &field.make {
        Make::Value { regex: None, convert, .. } => convert.convert(text).is_ok(),
        Make::Value { regex: Some(regex), .. } | Make::Groups { regex, .. } => regex.is_match(text),
        Make::Fields(_) => false,
    }
}

fn traits(element: ElementRef<'_>, root: ElementRef<'_>) -> Traits {
    let tag = element.value();
    let text = shown_text(element).unwrap_or_default();
    let above = element.ancestors().filter_map(ElementRef::wrap).take_while(|above| *above != root);
    let above: Vec<ElementRef<'_>> = above.collect();
    let around = above.iter().take(AROUND_MAX).flat_map(|above| {
        let tag = above.value();
        let id = tag.id().map(|id| format!("#{id}"));
        id.into_iter().chain(tag.classes().map(|class| format!(".{class}"))).chain([tag.name().to_owned()])
    });
    Traits {
        tag: tag.name().to_owned(),
        id: tag.id().map(str::to_owned),
        classes: tag.classes().map(str::to_owned).collect(),
        attributes: tag
            .attrs()
            .filter(|(name, _)| !matches!(*name, "id" | "class" | "style"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        shape: shape(&text),
        text,
        label: label_of(element),
        around: around.collect(),
        depth: above.len(),
    }
}

/// A text without its digits: `59,465.68` and `59,470.05` have one shape.
pub(super) fn shape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '9' } else { c };
        if !(c == '9' && out.ends_with('9')) {
            out.push(c);
        }
    }
    out
}

/// How much two elements have in common.
fn likeness(was: &Traits, is: &Traits) -> f64 {
    let same = |yes: bool, weight: f64| if yes { weight } else { 0.0 };
    let mut score = 0.0;
    score += same(was.text == is.text, 4.0);
    score += same(was.shape == is.shape, 1.0);
    score += closeness(&was.text, &is.text);
    score += same(was.id.is_some() && was.id == is.id, 3.0);
    score += same(was.label.is_some() && was.label == is.label, 3.0);
    score += same(was.tag == is.tag, 0.5);
    score += 2.0 * overlap(&was.classes, &is.classes);
    score += 2.0 * overlap(&was.attributes, &is.attributes);
    score += 1.5 * overlap(&was.around, &is.around);
    #[expect(clippy::cast_precision_loss, reason = "a depth is small")]
    let apart = was.depth.abs_diff(is.depth) as f64;
    score + 0.5 / (1.0 + apart)
}

/// A value that is read again some time later has changed a little.
fn closeness(was: &str, is: &str) -> f64 {
    let digits =
        |text: &str| text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect::<String>().parse::<f64>().ok();
    match (digits(was), digits(is)) {
        (Some(was), Some(is)) if was > 0.0 && (was - is).abs() <= was * 0.05 => 1.5,
        (Some(was), Some(is)) if was > 0.0 && (was - is).abs() <= was * 0.2 => 0.75,
        _ => 0.0,
    }
}

pub(super) fn overlap<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> f64 {
    let all = a.union(b).count();
    #[expect(clippy::cast_precision_loss, reason = "counts of names")]
    if all == 0 { 0.0 } else { a.intersection(b).count() as f64 / all as f64 }
}
