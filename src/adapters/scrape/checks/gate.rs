//! The look at a page before it is parsed: a tag that the parser sees is one that it has seen.

use super::super::gate::{ATTRIBUTES_MAX, are_bounded};
use super::trees::by_all_rules;

/// So few attributes are allowed here that every page is at the limit.
const FEW: usize = 2;
/// Elements in which, or after which, the parser takes some elements for others than they are outside: of these pages
/// nothing is said. `html` and `body` take up the attributes of all tags of that name.
const OTHERWISE: [&str; 5] = ["<svg", "<math", "<select", "<template", "<frameset"];

/// No element of a page has more attributes than the look at it has allowed.
pub(in super::super) fn is_right(html: &str) {
    let bounded = are_bounded(html, FEW);
    assert!(!bounded || are_bounded(html, ATTRIBUTES_MAX), "{html:?}");
    let small = html.to_ascii_lowercase();
    if !bounded || OTHERWISE.iter().any(|tag| small.contains(tag)) {
        return;
    }
    let tree = by_all_rules(html);
    for element in tree.tree.values().filter_map(|node| node.as_element()) {
        let is_merged = matches!(element.name(), "html" | "body");
        assert!(is_merged || element.attrs.len() <= FEW, "{element:?} was not seen in {html:?}");
    }
}
