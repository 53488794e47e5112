//! Rows of a page: when two texts stand in siblings that are alike, each of those is a record.

use scraper::ElementRef;

use super::super::css::Css;
use super::super::select::{Watch, matches};
use super::super::selector;
use super::rule::Rule;
use super::spot::{Spot, element_rules, is_same};

/// What rows are made of. Cells of one row are siblings too, and are none.
const ROWS: [&str; 8] = ["tr", "li", "div", "article", "section", "a", "p", "figure"];

/// Rows, and how they are selected.
pub(super) struct List<'a> {
    pub(super) css: String,
    pub(super) count: usize,
    rows: Vec<ElementRef<'a>>,
}

/// The rows that some of the elements stand in, if two of them stand in different ones.
pub(super) fn list<'a>(root: ElementRef<'a>, elements: &[ElementRef<'a>], watch: &Watch) -> Option<List<'a>> {
    for (index, one) in elements.iter().enumerate() {
        for other in &elements[index + 1..] {
            let Some((around, row)) = rows_of(*one, *other) else { continue };
            let alike = alike_of(around, row);
            let wanted: Vec<ElementRef<'a>> =
                elements.iter().copied().filter(|element| within(*element, &alike)).collect();
            if let Some(list) = selected(root, around, row, &alike, &wanted, watch) {
                return Some(list);
            }
        }
    }
    None
}

/// What two elements stand in together, and in it the child that has the first, if both are in children that are alike.
fn rows_of<'a>(one: ElementRef<'a>, other: ElementRef<'a>) -> Option<(ElementRef<'a>, ElementRef<'a>)> {
    let line = |element: ElementRef<'a>| -> Vec<ElementRef<'a>> {
        std::iter::once(element).chain(element.ancestors().filter_map(ElementRef::wrap)).collect()
    };
    let (a, b) = (line(one), line(other));
    let (at, around) = a.iter().enumerate().find(|(_, above)| b.contains(above))?;
    let there = b.iter().position(|above| above == around)?;
    let (row, other) = (*a.get(at.checked_sub(1)?)?, *b.get(there.checked_sub(1)?)?);
    (row != other && ROWS.contains(&row.value().name()) && is_alike(other, row)).then_some((*around, row))
}

/// The children of an element that are like this one of them, where rows may be made of such.
pub(super) fn alike_of<'a>(around: ElementRef<'a>, row: ElementRef<'a>) -> Vec<ElementRef<'a>> {
    let is_row = ROWS.contains(&row.value().name());
    around.child_elements().filter(|child| is_row && is_alike(*child, row)).collect()
}

fn is_alike(one: ElementRef<'_>, other: ElementRef<'_>) -> bool {
    let classes = |element: ElementRef<'_>| element.value().classes().map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (classes(one), classes(other));
    let shares = a.iter().any(|class| b.contains(class));
    one.value().name() == other.value().name() && (shares || a.is_empty() && b.is_empty() || one.value().name() == "tr")
}

fn within(element: ElementRef<'_>, rows: &[ElementRef<'_>]) -> bool {
    rows.iter().any(|row| *row == element || element.ancestors().any(|above| above == **row))
}

/// A selector that matches the rows, and only rows that have what is looked for.
pub(super) fn selected<'a>(
    root: ElementRef<'a>,
    around: ElementRef<'a>,
    row: ElementRef<'a>,
    alike: &[ElementRef<'a>],
    wanted: &[ElementRef<'a>],
    watch: &Watch,
) -> Option<List<'a>> {
    let tag = row.value().name();
    let classes: Vec<String> = row
        .value()
        .classes()
        .filter(|class| alike.iter().all(|row| row.value().classes().any(|other| other == *class)))
        .filter(|class| class.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
        .filter(|class| class.starts_with(|first: char| first.is_ascii_alphabetic()))
        .map(|class| format!(".{class}"))
        .collect();
    let holder = selector::best(root, around, watch);
    let above = around.ancestors().filter_map(ElementRef::wrap).find(|above| above.value().name() == "table");
    let table = above.and_then(|table| selector::best(root, table, watch));
    let mut tries: Vec<String> = classes.iter().flat_map(|class| [class.clone(), format!("{tag}{class}")]).collect();
    // A row of headings is no record.
    let ends: &[&str] = if tag == "tr" { &["", ":has(td)"] } else { &[""] };
    for from in table.iter().chain(holder.iter()) {
        tries.extend(ends.iter().map(|end| format!("{from} {tag}{end}")));
        tries.extend(ends.iter().map(|end| format!("{from} > {tag}{end}")));
    }
    tries.extend(ends.iter().map(|end| format!("{tag}{end}")));
    let with_cells = |found: &[ElementRef<'_>]| {
        tag != "tr" || found.iter().all(|row| row.child_elements().any(|cell| cell.value().name() == "td"))
    };
    // In this order, a name outlasts a place.
    let mut found = tries.into_iter().filter_map(|css| {
        let compiled = Css::new(&css).ok()?;
        let found: Vec<ElementRef<'a>> = {
            let ids: Vec<_> = matches(root, &compiled, true, watch).map(|element| element.id()).collect();
            ids.into_iter().filter_map(|id| root.tree().get(id).and_then(ElementRef::wrap)).collect()
        };
        let is_right =
            found.iter().all(|row| alike.contains(row)) && wanted.iter().all(|element| within(*element, &found));
        (is_right && with_cells(&found) && found.len() > 1).then_some((css, found))
    });
    let (css, rows) = found.next()?;
    Some(List { css, count: rows.len(), rows })
}

impl<'a> List<'a> {
    pub(super) fn rows(&self) -> &[ElementRef<'a>] {
        &self.rows
    }

    /// Its selector as it would stand in a file.
    pub(super) fn rule_of_rows(&self) -> String {
        Rule::new("css", self.css.as_str()).yaml()
    }

    /// The row that an element stands in.
    pub(super) fn row_of(&self, element: ElementRef<'a>) -> Option<ElementRef<'a>> {
        self.rows.iter().copied().find(|row| within(element, &[*row]))
    }

    /// The best rule for what stands in one row, which finds something in the others too; and in how many.
    pub(super) fn rule(&self, html: &str, spot: &Spot<'a>, wanted: &str, watch: &Watch) -> Option<(Rule, usize)> {
        let row = self.row_of(spot.element)?;
        let rules = if row == spot.element { vec![Rule::default()] } else { element_rules(row, spot, watch) };
        let tried = rules.into_iter().filter_map(|rule| {
            let texts = rule.texts(html, Some(&self.css));
            texts.iter().any(|text| is_same(text, wanted)).then_some((rule, texts.len()))
        });
        // The first of those that serve most rows.
        let tried: Vec<(Rule, usize)> = tried.collect();
        let most = tried.iter().map(|(_, count)| *count).max()?;
        tried.into_iter().find(|(_, count)| *count == most)
    }
}
