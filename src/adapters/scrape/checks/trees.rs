//! Trees: the shorter ways come to the tree of all the rules.

use ego_tree::NodeRef;
use html5ever::driver;
use html5ever::tendril::TendrilSink as _;
use scraper::{Html, HtmlTreeSink, Node};

use super::super::page::{Page, rules, without_mark};
use super::super::plain;

/// The tree that html5ever builds.
pub(super) fn by_all_rules(html: &str) -> Html {
    driver::parse_document(HtmlTreeSink::new(Html::new_document()), rules()).one(without_mark(html))
}

/// Everything that a tree has, a node a line.
fn outline(html: &Html) -> String {
    fn write(node: NodeRef<'_, Node>, depth: usize, out: &mut String) {
        let indent = "  ".repeat(depth);
        let line = match node.value() {
            Node::Element(element) => {
                let names: Vec<_> =
                    element.attrs.iter().map(|(name, value)| (&name.prefix, &name.ns, &name.local, &**value)).collect();
                format!("{indent}{:?} {names:?}\n", element.name)
            }
            other => format!("{indent}{other:?}\n"),
        };
        out.push_str(&line);
        node.children().for_each(|child| write(child, depth + 1, out));
    }
    let mut out = format!("{:?}\n", html.quirks_mode);
    write(html.tree.root(), 0, &mut out);
    out
}

/// Whether a page is plain; if it is, its tree has to be the one of all the rules.
pub(in super::super) fn plain(html: &str) -> bool {
    let Some(built) = plain::parse(html, None) else { return false };
    assert!(built.is_whole);
    let (ours, theirs) = (outline(&built.html), outline(&by_all_rules(html)));
    assert_eq!(ours, theirs, "{html}");
    true
}

/// Watching a tree as it grows, piece by piece, changes nothing: it is the one that is built from the whole text.
pub(in super::super) fn watched(html: &str) {
    let Ok(page) = Page::parse_by_all_rules(html) else { return };
    assert_eq!(page.root().html(), by_all_rules(html).root_element().html(), "{html}");
}
