//! A page that is written plainly becomes its tree several times faster than by all the rules for broken HTML.
//!
//! The rules here are those of the HTML standard (WHATWG HTML, 13.2.6) for pages in which every tag stands where it may: then
//! an element only ever goes below the one that is open. Where a browser would have to repair something, or where a rule
//! is not here, there is no tree, and [`Page`](super::page::Page) builds it by all the rules. So a tree from here is, node for
//! node, the one that html5ever builds; a property test holds the two side by side on pages of every kind.

mod body;
mod grow;
mod name;
mod refs;
mod svg;
mod table;
#[cfg(test)]
pub(super) mod tests;
mod token;

use ego_tree::{NodeId, Tree};
use html5ever::tendril::StrTendril;
use html5ever::tree_builder::QuirksMode;
use html5ever::{Attribute, LocalName, QualName, local_name, ns};
use scraper::node::{Doctype, Element};
use scraper::{Html, Node};

use self::name::{Kind, Name};
use self::token::{Tag, Token, Tokens};

/// Deeper pages are left to the builder that says what is wrong with them.
const DEPTH_MAX: usize = 256;
/// So are those with more nodes.
const NODES_MAX: usize = 400_000;
/// Whether what is read is enough is asked again after this many bytes, or after a quarter of what was read.
const LOOK_BYTES: usize = 256;

/// The page is not written plainly.
#[derive(Debug)]
pub(super) struct NotPlain;

/// A tree.
pub(super) struct Built {
    pub(super) html: Html,
    /// Whether the page was read to its end.
    pub(super) is_whole: bool,
}

/// What is asked while a page is read: whether the tree has all that is wanted. It gets the tree so far, and a way to ask
/// whether an element is still open.
pub(super) type Enough<'e> = &'e dyn Fn(&Html, &dyn Fn(NodeId) -> bool) -> bool;

/// Builds the tree of a page that is written plainly.
///
/// With `enough`, reading ends where that says so. It is asked after so many bytes, and only where nothing that comes later
/// could change what is closed.
pub(super) fn parse(html: &str, enough: Option<(usize, Enough<'_>)>) -> Option<Built> {
    if memchr::memchr2(b'\0', b'\r', html.as_bytes()).is_some() || html.starts_with('\u{feff}') {
        return None;
    }
    let (from, enough) = enough.unzip();
    Builder::new(html, from.unwrap_or(0)).ok()?.build(enough).ok()
}

/// Where in a page the next token belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Initial,
    BeforeHtml,
    BeforeHead,
    InHead,
    AfterHead,
    Body,
    AfterBody,
    AfterHtml,
}

/// An element that is open.
struct Open {
    id: NodeId,
    local: LocalName,
    kind: Kind,
}

/// How many of these are open.
#[derive(Default)]
struct Count {
    paragraphs: usize,
    anchors: usize,
    formats: usize,
    tables: usize,
    selects: usize,
    buttons: usize,
    forms: usize,
    drawings: usize,
}

struct Builder<'a> {
    tokens: Tokens<'a>,
    tree: Html,
    open: Vec<Open>,
    count: Count,
    mode: Mode,
    head: Option<NodeId>,
    nodes: usize,
    /// The length of the page that is read when `enough` is asked next.
    look_at: usize,
    length: usize,
}

impl<'a> Builder<'a> {
    fn new(html: &'a str, look_at: usize) -> Result<Self, NotPlain> {
        let mut tree = Html::new_document();
        // About as many nodes as pages have for their length, which spares moving them while they are made.
        tree.tree = Tree::with_capacity(Node::Document, html.len().min(1 << 20) / 16);
        Ok(Self {
            tokens: Tokens::new(html)?,
            tree,
            open: Vec::with_capacity(32),
            count: Count::default(),
            mode: Mode::Initial,
            head: None,
            nodes: 0,
            look_at,
            length: html.len(),
        })
    }

    fn build(mut self, mut enough: Option<Enough<'_>>) -> Result<Built, NotPlain> {
        loop {
            let token = self.tokens.next()?;
            if let Token::Eof = token {
                self.finish();
                return Ok(Built { html: self.tree, is_whole: true });
            }
            self.take(token)?;
            if self.nodes > NODES_MAX || self.open.len() > DEPTH_MAX {
                return Err(NotPlain);
            }
            if let Some(is_enough) = enough
                && self.is_settled()
                && is_enough(&self.tree, &|id| self.open.iter().any(|open| open.id == id))
            {
                if !token::has_any(self.tokens.rest(), &[b"body", b"html", b"frameset"]) {
                    return Ok(Built { html: self.tree, is_whole: false });
                }
                // They would change elements that are there already.
                enough = None;
            }
        }
    }

    /// Whether it is time to look, and nothing that is open lets later tags move or change what is closed: only tables and
    /// elements of formatting do.
    fn is_settled(&mut self) -> bool {
        let read = self.length - self.tokens.rest().len();
        let count = &self.count;
        if read < self.look_at || self.mode != Mode::Body {
            return false;
        }
        if count.tables + count.formats + count.anchors + count.selects + count.drawings > 0 {
            return false;
        }
        self.look_at = read + LOOK_BYTES.max(read / 4);
        true
    }

    fn take(&mut self, token: Token) -> Result<(), NotPlain> {
        match self.mode {
            Mode::Body => self.in_body(token),
            Mode::Initial => self.initial(token),
            Mode::BeforeHtml => self.before_html(token),
            Mode::BeforeHead => self.before_head(token),
            Mode::InHead => self.in_head(token),
            Mode::AfterHead => self.after_head(token),
            Mode::AfterBody => self.after_body(token),
            Mode::AfterHtml => self.after_html(token),
        }
    }

    fn initial(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => Ok(()),
            Token::Comment(comment) => self.comment_of_document(comment),
            Token::Doctype => {
                let doctype = Doctype {
                    name: StrTendril::from_slice("html"),
                    public_id: StrTendril::new(),
                    system_id: StrTendril::new(),
                };
                self.tree.tree.root_mut().append(Node::Doctype(doctype));
                self.mode = Mode::BeforeHtml;
                Ok(())
            }
            token => {
                self.tree.quirks_mode = QuirksMode::Quirks;
                self.mode = Mode::BeforeHtml;
                self.before_html(token)
            }
        }
    }

    fn before_html(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => Ok(()),
            Token::Comment(comment) => self.comment_of_document(comment),
            Token::Start(tag) if tag.name.kind == Kind::Html => {
                self.root(tag.attributes);
                Ok(())
            }
            Token::End(_) | Token::Doctype => Err(NotPlain),
            token => {
                self.root(Vec::new());
                self.before_head(token)
            }
        }
    }

    fn root(&mut self, attributes: Vec<Attribute>) {
        let name = Name { local: local_name!("html"), kind: Kind::Html };
        let element = Element::new(QualName::new(None, ns!(html), name.local.clone()), attributes);
        let id = self.tree.tree.root_mut().append(Node::Element(element)).id();
        self.open.push(Open { id, local: name.local, kind: name.kind });
        self.mode = Mode::BeforeHead;
    }

    fn before_head(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => Ok(()),
            Token::Comment(comment) => self.comment(comment),
            Token::Start(tag) if tag.name.kind == Kind::Head => {
                self.head = Some(self.insert(tag.name, tag.attributes));
                self.mode = Mode::InHead;
                Ok(())
            }
            Token::Start(tag) if tag.name.kind == Kind::Html => Err(NotPlain),
            Token::End(_) | Token::Doctype => Err(NotPlain),
            token => {
                self.head = Some(self.insert(Name { local: local_name!("head"), kind: Kind::Head }, Vec::new()));
                self.mode = Mode::InHead;
                self.in_head(token)
            }
        }
    }

    fn in_head(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => self.text(text),
            Token::Text(text) if text.text.bytes().next().is_some_and(token::is_space) => Err(NotPlain),
            Token::Comment(comment) => self.comment(comment),
            Token::Start(tag) if is_of_head(&tag) => self.head_element(tag),
            Token::Start(tag) if matches!(tag.name.kind, Kind::Html | Kind::Head | Kind::Unknown) => Err(NotPlain),
            Token::End(name) if name.kind == Kind::Head => {
                self.pop();
                self.mode = Mode::AfterHead;
                Ok(())
            }
            Token::End(_) | Token::Doctype => Err(NotPlain),
            token => {
                self.pop();
                self.mode = Mode::AfterHead;
                self.after_head(token)
            }
        }
    }

    fn after_head(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => self.text(text),
            Token::Text(text) if text.text.bytes().next().is_some_and(token::is_space) => Err(NotPlain),
            Token::Comment(comment) => self.comment(comment),
            Token::Start(tag) if tag.name.kind == Kind::Body => {
                self.insert(tag.name, tag.attributes);
                self.mode = Mode::Body;
                Ok(())
            }
            // It goes into the head all the same.
            Token::Start(tag) if is_of_head(&tag) && &*tag.name.local != "noscript" => {
                let id = self.head.ok_or(NotPlain)?;
                self.open.push(Open { id, local: local_name!("head"), kind: Kind::Head });
                let done = self.head_element(tag);
                self.open.pop();
                done
            }
            Token::Start(tag) if matches!(tag.name.kind, Kind::Html | Kind::Head | Kind::Unknown) => Err(NotPlain),
            Token::End(_) | Token::Doctype => Err(NotPlain),
            token => {
                self.insert(Name { local: local_name!("body"), kind: Kind::Body }, Vec::new());
                self.mode = Mode::Body;
                self.in_body(token)
            }
        }
    }
}

/// Whether an element belongs into `head`.
fn is_of_head(tag: &Tag) -> bool {
    match tag.name.kind {
        Kind::Meta | Kind::Title | Kind::Script => true,
        Kind::Raw => &*tag.name.local != "iframe",
        _ => false,
    }
}
