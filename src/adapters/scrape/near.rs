//! The value beside a label: the cell next to "Last price".

use ego_tree::NodeRef;
use ego_tree::iter::Edge;
use scraper::{ElementRef, Node};

use super::place::NearPlan;
use super::plan::Pick;
use super::select::{Watch, matches};
use super::text::{is_block, is_hidden, shown_text, shown_text_of};

/// What stands near a label.
pub(super) enum Beside<'a> {
    Element(ElementRef<'a>),
    /// Text that has no element of its own, as in `<b>Last price</b> 12.50`.
    Text(String),
}

/// Why there is nothing.
pub(super) enum Nothing {
    /// No element has the label's text.
    NoLabel,
    /// Several have.
    Several(usize),
    /// `nth` asks for more than there are.
    Fewer(usize),
    /// Nothing is where it should be.
    NoValue,
}

/// A label as it is compared: white space is one space, a colon at the end is none.
pub(super) fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches([':', '\u{ff1a}']).trim_end().to_owned()
}

/// Looks for the label within `scope`, and for what stands beside it. `pick` says which label, where there are several.
pub(super) fn find<'a>(
    scope: ElementRef<'a>,
    near: &'a NearPlan,
    which: Option<Pick>,
    watch: &'a Watch,
) -> Result<Beside<'a>, Nothing> {
    let labels = labels(scope, &near.label, watch);
    let label = match (which, labels.len()) {
        (_, 0) => return Err(Nothing::NoLabel),
        (None, 1) => labels[0],
        (None, count) => return Err(Nothing::Several(count)),
        (Some(Pick::FromEnd(index)), count) => {
            *count.checked_sub(index + 1).and_then(|at| labels.get(at)).ok_or(Nothing::Fewer(count))?
        }
        (Some(Pick::FromStart(index)), count) => *labels.get(index).ok_or(Nothing::Fewer(count))?,
        (Some(Pick::All), _) => unreachable!("invariant: `near` has no `all`"),
    };
    let found = match &near.pick {
        Some(css) => around(label, scope).find_map(|element| {
            let mut found = matches(element, css, false, watch);
            found.find(|found| *found != label && !found.ancestors().any(|above| above == *label)).map(Beside::Element)
        }),
        None => beside(label, scope),
    };
    found.ok_or(Nothing::NoValue)
}

/// The smallest elements whose whole text is the label.
pub(super) fn labels<'a>(scope: ElementRef<'a>, label: &str, watch: &Watch) -> Vec<ElementRef<'a>> {
    let mut found: Vec<ElementRef<'a>> = Vec::new();
    for element in scope.descendent_elements().skip(1) {
        if watch.is_over() {
            break;
        }
        if is_hidden(element.value()) || !is_text(element, label) {
            continue;
        }
        if element.ancestors().filter_map(|above| above.value().as_element()).any(is_hidden) {
            continue;
        }
        // Elements come before what they contain: one within the last takes its place.
        if found.last().is_some_and(|last| element.ancestors().any(|above| above == **last)) {
            found.pop();
        }
        found.push(element);
    }
    found
}

/// Whether an element's text is this; most are given up at the first character.
fn is_text(element: ElementRef<'_>, label: &str) -> bool {
    let mut left = label.chars().filter(|c| !c.is_whitespace());
    let mut hidden = 0_usize;
    for edge in element.traverse() {
        match edge {
            Edge::Open(node) => match node.value() {
                Node::Element(tag) if is_hidden(tag) => hidden += 1,
                Node::Text(piece) if hidden == 0 => {
                    let is_same = |c: char| match left.next() {
                        Some(wanted) => c == wanted,
                        None => matches!(c, ':' | '\u{ff1a}'),
                    };
                    if !piece.chars().filter(|c| !c.is_whitespace()).all(is_same) {
                        return false;
                    }
                }
                _ => {}
            },
            Edge::Close(node) => hidden -= usize::from(node.value().as_element().is_some_and(is_hidden)),
        }
    }
    // Gaps did not count so far, so that only few elements have their text made.
    left.next().is_none() && shown_text(element).is_some_and(|text| plain(&text) == label)
}

/// The elements around a label, from the closest outwards, to the scope.
fn around<'a>(label: ElementRef<'a>, scope: ElementRef<'a>) -> impl Iterator<Item = ElementRef<'a>> {
    let below = label.ancestors().take_while(move |above| *above != *scope).filter_map(ElementRef::wrap);
    below.chain(std::iter::once(scope))
}

/// The next cell of the row, the `dd` after the `dt`, or the next text.
fn beside<'a>(label: ElementRef<'a>, scope: ElementRef<'a>) -> Option<Beside<'a>> {
    let is_one_of = |element: &ElementRef<'_>, names: &[&str]| names.contains(&element.value().name());
    let itself = std::iter::once(label).chain(around(label, scope)).take_while(|element| *element != scope);
    let holder = itself.into_iter().find(|element| is_one_of(element, &["td", "th", "dt"]));
    let Some(holder) = holder else { return next_text(label, scope) };
    let wanted: &[&str] = if is_one_of(&holder, &["dt"]) { &["dd"] } else { &["td", "th"] };
    let is_alone = shown_text(holder).is_some_and(|text| shown_text(label).as_deref() == Some(&text));
    if !is_alone {
        // The cell has the label and its value, or it is what the layout of the whole page stands in.
        return next_text(label, holder);
    }
    let mut next = holder.next_siblings().filter_map(ElementRef::wrap);
    next.find(|element| is_one_of(element, wanted)).map(Beside::Element)
}

/// What follows the label: text up to the end of its line, else the next element that has some.
fn next_text<'a>(label: ElementRef<'a>, scope: ElementRef<'a>) -> Option<Beside<'a>> {
    let mut from = label;
    loop {
        let mut line: Vec<NodeRef<'a, Node>> = Vec::new();
        for node in from.next_siblings() {
            match node.value() {
                Node::Element(tag)
                    if tag.name() == "br" || is_block(tag.name()) || tag.name() == from.value().name() =>
                {
                    break;
                }
                _ => line.push(node),
            }
        }
        // Bare text begins the line: all of it is the value, or half a number would be taken.
        let first = line.iter().find(|node| match node.value() {
            Node::Text(text) => !is_colon(text),
            Node::Element(_) => ElementRef::wrap(**node).and_then(shown_text).is_some_and(|text| !text.is_empty()),
            _ => false,
        });
        if first.is_some_and(|node| node.value().is_text()) {
            let text = shown_text_of(line.into_iter())?;
            return Some(Beside::Text(text.trim_start_matches([':', '\u{ff1a}', ' ']).to_owned()));
        }
        let has_text = |element: &ElementRef<'a>| {
            !is_hidden(element.value()) && shown_text(*element).is_some_and(|text| !is_colon(&text))
        };
        if let Some(found) = from.next_siblings().filter_map(ElementRef::wrap).find(has_text) {
            return Some(Beside::Element(found));
        }
        let parent = from.parent().and_then(ElementRef::wrap)?;
        if parent == scope || from == scope {
            return None;
        }
        from = parent;
    }
}

fn is_colon(text: &str) -> bool {
    text.trim().trim_matches([':', '\u{ff1a}']).trim().is_empty()
}
