//! The text of an element as a browser shows it, within a limit.

use ego_tree::NodeRef;
use ego_tree::iter::Edge;
use scraper::node::Element;
use scraper::{ElementRef, Node};

/// The most text one field may have. What is longer is no field but the page.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// The text of an element: what scripts and styles contain is left out, white space is collapsed as a browser does,
/// and a line break or a block's edge is a space. A no-break space stays, because numbers are grouped with it.
///
/// `None` when it is longer than [`TEXT_BYTES_MAX`].
pub(super) fn shown_text(element: ElementRef<'_>) -> Option<String> {
    let mut text = Collapsed::default();
    // Who asks for a script by its own selector gets its text.
    text.add(*element, true)?;
    Some(text.out)
}

/// The same of several nodes that follow each other.
pub(super) fn shown_text_of<'a>(nodes: impl Iterator<Item = NodeRef<'a, Node>>) -> Option<String> {
    let mut text = Collapsed::default();
    for node in nodes {
        text.add(node, false)?;
    }
    Some(text.out)
}

/// The text of an element without that of the elements within, where there is a gap.
pub(super) fn own_text(element: ElementRef<'_>) -> Option<String> {
    let mut text = Collapsed::default();
    for node in element.children() {
        match node.value() {
            Node::Text(piece) => text.push(piece),
            Node::Element(_) => text.gap(),
            _ => {}
        }
    }
    (text.out.len() <= TEXT_BYTES_MAX).then_some(text.out)
}

/// Text whose white space is collapsed as it comes in, in pieces that know nothing of each other.
#[derive(Default)]
struct Collapsed {
    out: String,
    has_gap: bool,
}

impl Collapsed {
    /// `None` when it becomes too long. With `always` the node itself counts as shown.
    fn add(&mut self, node: NodeRef<'_, Node>, always: bool) -> Option<()> {
        let mut hidden: usize = 0;
        // How many closed `details` are open tags here: what is in them has to be looked at twice.
        let mut closed: usize = 0;
        for edge in node.traverse() {
            match edge {
                Edge::Open(inner) => match inner.value() {
                    Node::Text(piece) if hidden == 0 && (closed == 0 || !is_folded(inner)) => self.push(piece),
                    Node::Element(tag) => {
                        if is_hidden(tag) && !(always && inner == node) || closed > 0 && is_folded(inner) {
                            hidden += 1;
                        } else if hidden == 0 && is_block(tag.name()) {
                            self.gap();
                        }
                        closed += usize::from(is_closed(tag));
                    }
                    _ => {}
                },
                Edge::Close(inner) => {
                    if let Node::Element(tag) = inner.value() {
                        closed -= usize::from(is_closed(tag));
                        if is_hidden(tag) && !(always && inner == node) || closed > 0 && is_folded(inner) {
                            hidden -= 1;
                        } else if hidden == 0 && is_block(tag.name()) {
                            self.gap();
                        }
                    }
                }
            }
            if self.out.len() > TEXT_BYTES_MAX {
                return None;
            }
        }
        Some(())
    }

    fn push(&mut self, piece: &str) {
        if piece.starts_with(is_space) {
            self.gap();
        }
        for word in piece.split(is_space).filter(|word| !word.is_empty()) {
            if self.has_gap && !self.out.is_empty() {
                self.out.push(' ');
            }
            self.out.push_str(word);
            self.has_gap = true;
        }
        // After the last word comes a gap only if the piece says so.
        self.has_gap = piece.is_empty() && self.has_gap || piece.ends_with(is_space);
    }

    fn gap(&mut self) {
        self.has_gap = true;
    }
}

/// What HTML calls white space, which is less than Unicode does.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r')
}

/// Whether a browser shows nothing of an element: by what it is, or by its own attributes. Style sheets are not read.
pub(super) fn is_hidden(tag: &Element) -> bool {
    match tag.name() {
        "script" | "style" | "template" | "noscript" | "head" | "datalist" | "rp" | "textarea" | "iframe"
        | "progress" | "meter" | "video" | "audio" | "canvas" | "title" | "desc" => true,
        "dialog" if tag.attr("open").is_none() => true,
        // A page that waits for its script to show it is one all the same.
        "html" | "body" => false,
        _ => tag.attrs().any(|(name, value)| match name {
            "hidden" => true,
            "style" => hides(value),
            _ => false,
        }),
    }
}

fn hides(style: &str) -> bool {
    style.split(';').filter_map(|rule| rule.split_once(':')).any(|(name, value)| {
        let value = value.trim().split([' ', '!']).next().unwrap_or_default();
        let is =
            |wanted: [&str; 2]| name.trim().eq_ignore_ascii_case(wanted[0]) && value.eq_ignore_ascii_case(wanted[1]);
        is(["display", "none"]) || is(["visibility", "hidden"])
    })
}

fn is_closed(tag: &Element) -> bool {
    tag.name() == "details" && tag.attr("open").is_none()
}

/// Whether a node is what closed `details` do not show: all but their first `summary`.
fn is_folded(node: NodeRef<'_, Node>) -> bool {
    let is_summary = |node: &NodeRef<'_, Node>| node.value().as_element().is_some_and(|tag| tag.name() == "summary");
    let Some(parent) = node.parent() else { return false };
    parent.value().as_element().is_some_and(is_closed) && parent.children().find(is_summary) != Some(node)
}

/// Whether an element begins and ends a line, or a cell.
pub(super) fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "br"
            | "caption"
            | "center"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hgroup"
            | "hr"
            | "legend"
            | "li"
            | "main"
            | "menu"
            | "nav"
            | "ol"
            | "option"
            | "p"
            | "pre"
            | "search"
            | "section"
            | "summary"
            | "table"
            | "tbody"
            | "td"
            // Of a drawing.
            | "text"
            | "tfoot"
            | "th"
            | "thead"
            | "tr"
            | "ul"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraper::Html;

    fn text(html: &str) -> String {
        shown_text(Html::parse_document(html).root_element()).unwrap()
    }

    #[test]
    fn text_is_what_a_browser_shows() {
        for (html, expected) in [
            ("<b>59,465</b>.68", "59,465.68"),
            ("  a \n\t b  ", "a b"),
            ("<i>a </i> <b> b</b>", "a b"),
            ("a<br>b", "a b"),
            ("<p>a</p><p>b</p>", "a b"),
            ("<table><tr><td>1<td>2<tr><td>3</table>", "1 2 3"),
            ("a<script>var x</script>b<style>p{}</style>c<!-- d -->", "abc"),
            ("<title>hidden</title>a", "a"),
            ("1&nbsp;234&#8239;567", "1\u{a0}234\u{202f}567"),
            ("&lt;b&gt; &amp; &euro;", "<b> & €"),
            ("a<span></span>b", "ab"),
            ("a<i hidden>x</i>b<i style='color:red; Display: NONE'>x</i>c", "abc"),
            (
                "<details>x<summary>s<b>b</b></summary><summary>x</summary><p>x<details open>x</details></details>a",
                "sb a",
            ),
            ("<details open>a<summary>s</summary></details>", "a s"),
            ("", ""),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn a_script_asked_for_by_itself_has_text() {
        let page = Html::parse_document("<script>var price = 1;</script>");
        let script = page.select(&scraper::Selector::parse("script").unwrap()).next().unwrap();
        assert_eq!(shown_text(script).unwrap(), "var price = 1;");
    }

    #[test]
    fn text_has_a_limit() {
        let long = Html::parse_document(&"word ".repeat(TEXT_BYTES_MAX / 4));
        assert_eq!(shown_text(long.root_element()), None);
    }
}
