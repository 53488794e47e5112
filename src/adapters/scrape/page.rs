//! The tree of a page, built under limits: what a hostile page may cost is bounded, whatever it contains.

use std::borrow::Cow;
use std::cell::{Cell, Ref};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ego_tree::NodeId;
use html5ever::tendril::{StrTendril, TendrilSink as _};
use html5ever::tokenizer::TokenizerOpts;
use html5ever::tree_builder::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::{Attribute, ParseOpts, QualName, driver};
use scraper::{ElementRef, Html, HtmlTreeSink};

use super::{gate, plain};

/// How deep elements may stand in each other: what browsers allow. The tree builder's time grows with the square of it.
const DEPTH_MAX: usize = 512;
/// The most elements and comments of one page, about 100 MB of tree; each has at most one text before it. A page of
/// 8 MiB that people look at has a fifth of it.
const NODES_MAX: usize = 500_000;
/// A backstop for what the limits above do not see; a page of 8 MiB takes a third of it.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The limits are looked at between pieces of this many bytes.
const PIECE_BYTES: usize = 1024;

/// Why a page was not parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// See [`DEPTH_MAX`].
    #[error("page_too_deep: the page nests elements more than {DEPTH_MAX} deep")]
    Depth,
    /// See [`NODES_MAX`].
    #[error("page_too_large: the page has more than {NODES_MAX} elements")]
    Nodes,
    /// See [`gate`].
    #[error("too_many_attributes: a tag of the page has more attributes than any page needs")]
    Attributes,
    /// See [`TIME_MAX`].
    #[error("page_too_slow: parsing the page took more than {}", humantime::format_duration(TIME_MAX))]
    Time,
}

#[cfg(test)]
thread_local! {
    /// How many pages this thread has parsed.
    pub(super) static PARSED: Cell<usize> = const { Cell::new(0) };
}

/// A parsed page.
pub(super) struct Page {
    tree: Html,
    /// Whether it was read to its end.
    pub(super) is_whole: bool,
}

impl Page {
    /// Builds the tree as a browser does, in time that is linear in the page's length.
    pub(super) fn parse(html: &str) -> Result<Self, Refused> {
        Self::parse_until(html, None)
    }

    /// The same, and reads no further than needed, see [`plain::parse`].
    pub(super) fn parse_until(html: &str, enough: Option<(usize, plain::Enough<'_>)>) -> Result<Self, Refused> {
        #[cfg(test)]
        PARSED.set(PARSED.get() + 1);
        match plain::parse(html, enough) {
            Some(plain::Built { html, is_whole }) => Ok(Self { tree: html, is_whole }),
            None => Self::parse_within(html, TIME_MAX),
        }
    }

    /// Without the shorter way for plain pages, which is to come to the same.
    #[cfg(any(test, fuzzing))]
    pub(super) fn parse_by_all_rules(html: &str) -> Result<Self, Refused> {
        Self::parse_within(html, TIME_MAX)
    }

    fn parse_within(html: &str, time_max: Duration) -> Result<Self, Refused> {
        if !gate::attributes_are_bounded(html) {
            return Err(Refused::Attributes);
        }
        let start = Instant::now();
        let limits = Rc::new(Limits::default());
        let sink = Guarded {
            tree: HtmlTreeSink::new(Html::new_document()),
            limits: Rc::clone(&limits),
            last: Cell::new(None),
        };
        let mut parser = driver::parse_document(sink, rules());
        let mut rest = without_mark(html);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            parser.process(StrTendril::from_slice(piece));
            if let Some(refused) = limits.exceeded.get() {
                return Err(refused);
            }
            if start.elapsed() > time_max {
                return Err(Refused::Time);
            }
            rest = after;
        }
        let tree = parser.finish();
        limits.exceeded.get().map_or(Ok(Self { tree, is_whole: true }), Err)
    }

    /// The `html` element, which every page has.
    pub(super) fn root(&self) -> ElementRef<'_> {
        self.tree.root_element()
    }
}

/// The rules of the parser. It is not to take off the mark of UTF-8, which it would do wherever a piece begins, and after
/// each script: within a page that is a character.
pub(super) fn rules() -> ParseOpts {
    ParseOpts { tokenizer: TokenizerOpts { discard_bom: false, ..TokenizerOpts::default() }, ..ParseOpts::default() }
}

/// The page without the mark of UTF-8 that stands before it.
pub(super) fn without_mark(html: &str) -> &str {
    html.strip_prefix('\u{feff}').unwrap_or(html)
}

#[derive(Default)]
struct Limits {
    nodes: Cell<usize>,
    exceeded: Cell<Option<Refused>>,
}

impl Limits {
    fn count_node(&self) {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX {
            self.exceeded.set(Some(Refused::Nodes));
        }
    }
}

/// scraper's own tree, watched as it grows.
struct Guarded {
    tree: HtmlTreeSink,
    limits: Rc<Limits>,
    /// What was appended last, because the next node most often goes beside or below it.
    last: Cell<Option<Appended>>,
}

#[derive(Clone, Copy)]
struct Appended {
    parent: NodeId,
    child: NodeId,
    /// The depth of `parent`.
    depth: usize,
}

impl Guarded {
    /// Takes note of a node that is put below `parent`. Measuring from the node upwards stays right however the
    /// parser moves elements, and costs little, since nothing is ever deep.
    fn watch(&self, parent: NodeId, child: &NodeOrText<NodeId>) {
        let NodeOrText::AppendNode(child) = child else { return };
        let depth = match self.last.get() {
            Some(last) if last.parent == parent => last.depth,
            Some(last) if last.child == parent => last.depth + 1,
            _ => self.tree.0.borrow().tree.get(parent).map_or(0, |node| node.ancestors().take(DEPTH_MAX).count()),
        };
        self.last.set(Some(Appended { parent, child: *child, depth }));
        if depth >= DEPTH_MAX {
            self.limits.exceeded.set(Some(Refused::Depth));
        }
    }

    /// Elements move, so that what was measured may no longer be so.
    fn forget(&self) {
        self.last.set(None);
    }
}

/// Hands everything on; only the errors, which a page can make by the million, are dropped.
impl TreeSink for Guarded {
    type Handle = NodeId;
    type Output = Html;
    type ElemName<'a> = Ref<'a, QualName>;

    fn finish(self) -> Html {
        self.tree.finish()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        self.tree.get_document()
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> Ref<'a, QualName> {
        self.tree.elem_name(target)
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, flags: ElementFlags) -> NodeId {
        self.limits.count_node();
        self.tree.create_element(name, attributes, flags)
    }

    fn create_comment(&self, text: StrTendril) -> NodeId {
        self.limits.count_node();
        self.tree.create_comment(text)
    }

    fn create_pi(&self, target: StrTendril, data: StrTendril) -> NodeId {
        self.limits.count_node();
        self.tree.create_pi(target, data)
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        self.watch(*parent, &child);
        self.tree.append(parent, child);
    }

    fn append_before_sibling(&self, sibling: &NodeId, child: NodeOrText<NodeId>) {
        self.forget();
        self.watch(*sibling, &child);
        self.forget();
        self.tree.append_before_sibling(sibling, child);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        self.forget();
        self.watch(*element, &child);
        self.forget();
        self.tree.append_based_on_parent_node(element, previous, child);
    }

    fn append_doctype_to_document(&self, name: StrTendril, public_id: StrTendril, system_id: StrTendril) {
        self.tree.append_doctype_to_document(name, public_id, system_id);
    }

    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        self.tree.get_template_contents(target)
    }

    fn same_node(&self, x: &NodeId, y: &NodeId) -> bool {
        self.tree.same_node(x, y)
    }

    fn set_quirks_mode(&self, mode: QuirksMode) {
        self.tree.set_quirks_mode(mode);
    }

    fn add_attrs_if_missing(&self, target: &NodeId, attributes: Vec<Attribute>) {
        self.tree.add_attrs_if_missing(target, attributes);
    }

    fn remove_from_parent(&self, target: &NodeId) {
        self.forget();
        self.tree.remove_from_parent(target);
    }

    fn reparent_children(&self, node: &NodeId, new_parent: &NodeId) {
        self.forget();
        self.tree.reparent_children(node, new_parent);
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::trees::{plain, watched};
    use super::*;
    use proptest::prelude::*;
    use scraper::Selector;

    /// What is refused for another reason than the time that it takes: on a slow machine that would come first.
    fn timed(html: &str) -> Option<Refused> {
        timed_within(html, Duration::MAX)
    }

    fn timed_within(html: &str, time_max: Duration) -> Option<Refused> {
        let start = Instant::now();
        let refused = Page::parse_within(html, time_max).err();
        let taken = start.elapsed();
        // Far above the limit itself: machines that test are shared and slow. What the limits hold off takes hours.
        assert!(taken < Duration::from_mins(1), "{taken:?} for {}", &html[..html.floor_char_boundary(40)]);
        refused
    }

    #[test]
    fn hostile_pages_end_soon() {
        assert_eq!(timed(&"<div>".repeat(200_000)), Some(Refused::Depth));
        assert_eq!(timed(&"<ul><li>".repeat(65_536)), Some(Refused::Depth));
        assert_eq!(timed(&"<b>".repeat(65_536)), Some(Refused::Depth));
        let formatting: String = (0..400).flat_map(|n| ["<b a=".to_owned(), n.to_string(), ">".to_owned()]).collect();
        // On a slow machine the time is over before the nodes are.
        let is_bounded = |refused| matches!(refused, Some(Refused::Nodes | Refused::Time));
        let limited = |html: &str| timed_within(html, TIME_MAX);
        assert!(is_bounded(limited(&("<p>".to_owned() + &formatting + &"<p>x".repeat(100_000)))));
        assert_eq!(timed(&format!("<p{}>", " a".repeat(1_000_000))), Some(Refused::Attributes));
        let hidden: String = (0..1_000_000).flat_map(|n| [" a".to_owned(), n.to_string()]).collect();
        let hidden = limited(&format!("<svg><style><p{hidden}>"));
        assert!(matches!(hidden, None | Some(Refused::Time)), "{hidden:?}");
        assert_eq!(timed(&"a".repeat(8 << 20)), None);
        assert!(is_bounded(limited(&"<br>".repeat(2 << 20))));
        assert_eq!(timed(&"&amp;".repeat(1 << 17)), None);
        assert_eq!(timed(&"<table><tr><td><a href=".repeat(100_000)), None);
    }

    #[test]
    fn depth_is_measured_and_not_the_number_of_tags() {
        let nested = |depth: usize| format!("{}{}", "<div>".repeat(depth), "</div>".repeat(depth));
        assert_eq!(timed(&nested(500)), None);
        assert_eq!(timed(&nested(515)), Some(Refused::Depth));
        assert_eq!(timed(&"<p>one<li>two<tr><td>".repeat(2000)), None, "unclosed, and flat all the same");
    }

    #[test]
    fn a_mark_is_taken_off_where_a_page_begins_and_nowhere_else() {
        let filler = "x".repeat(PIECE_BYTES - "<p>".len());
        for (html, expected) in [
            (format!("<p>{filler}\u{feff}y"), format!("{filler}\u{feff}y")),
            ("<script></script>\u{feff}y".into(), "\u{feff}y".into()),
            ("\u{feff}<p>y".into(), "y".to_owned()),
        ] {
            let page = Page::parse_by_all_rules(&html).unwrap();
            assert_eq!(page.root().text().collect::<String>(), expected);
            watched(&html);
            plain(&html);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Watching changes nothing: the tree is the one that scraper builds from the whole text.
        #[test]
        fn the_tree_is_the_same(html in "(<(/)?(table|tr|td|b|a|p|div|select|option|template|svg|script|br)( x=1)?>|text |é|&lt;|<!--c-->){0,40}", filler in 0..5000_usize) {
            let html = format!("{}{html}", " ".repeat(filler));
            watched(&html);
            let page = Page::parse(&html).unwrap();
            prop_assert_eq!(page.root().html(), Html::parse_document(&html).root_element().html());
        }

        #[test]
        fn never_panics(html in "\\PC{0,100}") {
            let page = Page::parse(&html).unwrap();
            page.root().select(&Selector::parse("*").unwrap()).count();
        }
    }
}
