//! What puts nodes into the tree.

use ego_tree::NodeId;
use html5ever::tendril::StrTendril;
use html5ever::tree_builder::QuirksMode;
use html5ever::{Attribute, LocalName, Namespace, QualName, local_name, ns};
use scraper::Node;
use scraper::node::{Comment, Element, Text as TextNode};

use super::name::{Kind, Name};
use super::token::{Tag, Text};
use super::{Builder, Count, Mode, NotPlain, Open};

impl Builder<'_> {
    pub(super) fn top(&self) -> &Open {
        self.open.last().expect("invariant: there is always the html element")
    }

    pub(super) fn append(&mut self, node: Node) -> NodeId {
        self.nodes += 1;
        let parent = self.top().id;
        self.tree.tree.get_mut(parent).expect("invariant: it is in the tree").append(node).id()
    }

    /// Puts an HTML element below the one that is open, and opens it.
    pub(super) fn insert(&mut self, name: Name, attributes: Vec<Attribute>) -> NodeId {
        let id = self.leaf(&name.local, ns!(html), attributes);
        self.count.change(name.kind, 1);
        self.open.push(Open { id, local: name.local, kind: name.kind });
        id
    }

    /// Puts an element below the one that is open.
    pub(super) fn leaf(&mut self, local: &LocalName, namespace: Namespace, attributes: Vec<Attribute>) -> NodeId {
        self.append(Node::Element(Element::new(QualName::new(None, namespace, local.clone()), attributes)))
    }

    /// An element with text alone in it.
    pub(super) fn with_content(&mut self, tag: Tag) -> Result<(), NotPlain> {
        let name = tag.name.clone();
        self.insert(tag.name, tag.attributes);
        let text = self.tokens.content(&name)?;
        if !text.is_empty() {
            self.append(Node::Text(TextNode { text }));
        }
        self.pop();
        Ok(())
    }

    /// An element of `head`.
    pub(super) fn head_element(&mut self, tag: Tag) -> Result<(), NotPlain> {
        if tag.name.kind == Kind::Meta {
            self.leaf(&tag.name.local, ns!(html), tag.attributes);
            return Ok(());
        }
        self.with_content(tag)
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm among others that may find the page not plain")]
    pub(super) fn text(&mut self, text: Text) -> Result<(), NotPlain> {
        // What follows upon text is text only where something between was left out, as nothing is here but line feeds.
        if text.text.is_empty() {
            return Ok(());
        }
        let parent = self.top().id;
        let mut parent = self.tree.tree.get_mut(parent).expect("invariant: it is in the tree");
        if let Some(mut last) = parent.last_child()
            && let Node::Text(before) = last.value()
        {
            before.text.push_tendril(&text.text);
            return Ok(());
        }
        parent.append(Node::Text(TextNode { text: text.text }));
        self.nodes += 1;
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm among others that may find the page not plain")]
    pub(super) fn comment(&mut self, comment: StrTendril) -> Result<(), NotPlain> {
        self.append(Node::Comment(Comment { comment }));
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm among others that may find the page not plain")]
    pub(super) fn comment_of_document(&mut self, comment: StrTendril) -> Result<(), NotPlain> {
        self.tree.tree.root_mut().append(Node::Comment(Comment { comment }));
        Ok(())
    }

    pub(super) fn pop(&mut self) {
        let open = self.open.pop().expect("invariant: what is closed is open");
        self.count.change(open.kind, -1);
    }

    /// Closes what is open from this index on. What a browser would open again, or go on remembering, is not plain.
    pub(super) fn close_from(&mut self, index: usize) -> Result<(), NotPlain> {
        let is_remembered = |open: &Open| matches!(open.kind, Kind::Format | Kind::Anchor | Kind::Form | Kind::Button);
        if self.open[index + 1..].iter().any(is_remembered) {
            return Err(NotPlain);
        }
        while self.open.len() > index {
            self.pop();
        }
        Ok(())
    }

    /// At the end of the page whatever is open stays as it is.
    pub(super) fn finish(&mut self) {
        if self.mode == Mode::Initial {
            self.tree.quirks_mode = QuirksMode::Quirks;
        }
        if matches!(self.mode, Mode::Initial | Mode::BeforeHtml) {
            self.root(Vec::new());
        }
        if self.mode == Mode::BeforeHead {
            self.insert(Name { local: local_name!("head"), kind: Kind::Head }, Vec::new());
            self.mode = Mode::InHead;
        }
        if self.mode == Mode::InHead {
            self.pop();
            self.mode = Mode::AfterHead;
        }
        if self.mode == Mode::AfterHead {
            self.insert(Name { local: local_name!("body"), kind: Kind::Body }, Vec::new());
        }
    }
}

impl Count {
    pub(super) fn change(&mut self, kind: Kind, by: isize) {
        let count = match kind {
            Kind::Paragraph => &mut self.paragraphs,
            Kind::Anchor => &mut self.anchors,
            Kind::Format => &mut self.formats,
            Kind::Table => &mut self.tables,
            Kind::Select => &mut self.selects,
            Kind::Button => &mut self.buttons,
            Kind::Form => &mut self.forms,
            Kind::Drawing | Kind::Described => &mut self.drawings,
            _ => return,
        };
        *count = count.saturating_add_signed(by);
    }
}
