//! A document taken apart into its items, each written out anew as a small document that is in order.
//!
//! Items are read one by one, so that one that cannot be read takes none of the others along, and what was cut off is only what
//! was within the cut. Elements go by their namespaces, and where markup stands in an element that has text, it is text.

use std::collections::HashMap;

use super::entity::push_escaped;
use super::guard;
use super::names::{ATOM_HEAD, Prefixes, RSS_HEAD};
use super::token::{Token, Tokens};
use super::write::{close, has_text, push_attribute};

/// How deep elements may stand in each other.
const DEPTH_MAX: usize = 100;
/// The most items that are taken of one document.
pub(super) const ITEMS_MAX: usize = 10_000;
/// How much of an item's own text is kept, for a reject.
const RAW_BYTES: usize = 4096;

/// What a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Rss,
    Atom,
}

/// A document taken apart.
pub(super) struct Split<'a> {
    pub(super) form: Form,
    pub(super) head: Head,
    pub(super) items: Vec<Piece<'a>>,
    /// It ends before its end.
    pub(super) is_cut: bool,
    /// It has more items than are taken.
    pub(super) is_flood: bool,
}

/// What the document says of itself.
#[derive(Default)]
pub(super) struct Head {
    /// Texts of its own elements by their names, with a prefix where they have one: the first of each.
    pub(super) texts: HashMap<String, String>,
    /// Links of Atom: `rel` and `href`.
    pub(super) links: Vec<(Option<String>, String)>,
    /// `xml:base` and `xml:lang`.
    pub(super) base: Option<String>,
    pub(super) language: Option<String>,
    /// The name of its author, which items have that name none.
    pub(super) author: Option<String>,
}

/// An item.
pub(super) struct Piece<'a> {
    /// A document with this item alone.
    pub(super) xml: String,
    /// How it begins in the document.
    pub(super) raw: &'a str,
    /// The document ends within it.
    pub(super) is_torn: bool,
}

/// Why a document is no feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoFeed {
    /// There is no element of a feed in it; the name of its first.
    Other(Option<String>),
    /// See [`DEPTH_MAX`].
    Deep,
}

/// An open element.
struct Open {
    /// As it is written in the document.
    name: String,
    /// As it is written out.
    out: String,
    default: &'static str,
}

/// An element whose inside is text, whatever stands there.
struct Verbatim {
    name: String,
    /// Elements of its own name within it.
    nested: usize,
}

struct Splitter<'a> {
    text: &'a str,
    form: Option<Form>,
    head: Head,
    prefixes: Prefixes<'a>,
    /// Open elements outside of items, and within the one at hand.
    outer: Vec<Open>,
    inner: Vec<Open>,
    verbatim: Option<Verbatim>,
    /// The item at hand: what is written out, and where it begins.
    item: Option<(String, usize)>,
    /// The text of an element of the head.
    heading: String,
    items: Vec<Piece<'a>>,
    is_flood: bool,
}

/// Takes a document apart.
pub(super) fn split(text: &str) -> Result<Split<'_>, NoFeed> {
    let mut splitter = Splitter {
        text,
        form: None,
        head: Head::default(),
        prefixes: Prefixes::default(),
        outer: Vec::new(),
        inner: Vec::new(),
        verbatim: None,
        item: None,
        heading: String::new(),
        items: Vec::new(),
        is_flood: false,
    };
    let mut tokens = Tokens::of(text);
    let mut at = 0;
    let mut has_root = false;
    while let Some(token) = tokens.next() {
        match token {
            Token::Start { name, attributes, is_empty, raw } => {
                if !has_root {
                    has_root = true;
                    splitter.root(name, &attributes)?;
                }
                splitter.start(name, &attributes, is_empty, raw, at)?;
            }
            Token::End { name, raw } => splitter.end(name, raw, tokens.at()),
            Token::Text(text) => splitter.text(&text),
        }
        at = tokens.at();
    }
    let Some(form) = splitter.form else { return Err(NoFeed::Other(None)) };
    let is_cut = tokens.is_torn || splitter.item.is_some() || !splitter.outer.is_empty();
    splitter.finish(text.len(), true);
    let Splitter { head, items, is_flood, .. } = splitter;
    Ok(Split { form, head, items, is_cut, is_flood })
}

impl<'a> Splitter<'a> {
    /// The first element says what the document is.
    fn root(&mut self, name: &'a str, attributes: &[(&'a str, String)]) -> Result<(), NoFeed> {
        let local = name.rsplit(':').next().unwrap_or(name);
        self.form = match local.to_ascii_lowercase().as_str() {
            "rss" | "rdf" | "channel" => Some(Form::Rss),
            "feed" | "entry" => Some(Form::Atom),
            _ => return Err(NoFeed::Other(Some(local.to_owned()))),
        };
        let value = |wanted: &str| attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
        self.head.base = value("xml:base");
        self.head.language = value("xml:lang");
        Ok(())
    }

    fn is_item(&self, name: &str) -> bool {
        let local = name.rsplit(':').next().unwrap_or(name);
        match self.form {
            Some(Form::Rss) => local == "item",
            _ => local == "entry",
        }
    }

    fn start(
        &mut self,
        name: &'a str,
        attributes: &[(&'a str, String)],
        is_empty: bool,
        raw: &str,
        at: usize,
    ) -> Result<(), NoFeed> {
        // A default namespace that is nobody's is meant to be the document's own.
        let default = self.prefixes.declare(attributes).map(|found| if found == "x" { self.home() } else { found });
        // One that begins ends the one before, whatever was forgotten there.
        if self.is_item(name) && (self.item.is_none() || self.inner.len() == 1 || self.verbatim.is_some()) {
            self.finish(at, false);
            self.begin(name, attributes, default, at);
            if is_empty {
                self.finish(at + raw.len(), false);
            }
            return Ok(());
        }
        if self.outer.len() + self.inner.len() >= DEPTH_MAX {
            return Err(NoFeed::Deep);
        }
        if let Some(verbatim) = &mut self.verbatim {
            verbatim.nested += usize::from(verbatim.name == name && !is_empty);
            self.text(raw);
        } else if self.item.is_some() {
            self.start_within(name, attributes, default, is_empty);
        } else {
            self.start_outside(name, attributes, default, is_empty);
        }
        Ok(())
    }

    fn start_outside(
        &mut self,
        name: &'a str,
        attributes: &[(&'a str, String)],
        default: Option<&'static str>,
        is_empty: bool,
    ) {
        let default = default.or(self.outer.last().map(|open| open.default)).unwrap_or(self.home());
        let (prefix, local) = self.prefixes.resolve(name, default);
        let value = |wanted: &str| attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
        if local == "link" && prefix == "atom" {
            self.head.links.extend(value("href").map(|href| (value("rel"), href)));
        }
        // RSS 1.0 names its channel's items in a list of links.
        self.heading.clear();
        if !is_empty {
            let out = if prefix == self.home() { local.to_owned() } else { format!("{prefix}:{local}") };
            self.outer.push(Open { name: name.to_owned(), out, default });
        }
    }

    /// The namespace of the document's own elements.
    fn home(&self) -> &'static str {
        if self.form == Some(Form::Atom) { "atom" } else { "" }
    }

    fn begin(&mut self, name: &'a str, attributes: &[(&'a str, String)], default: Option<&'static str>, at: usize) {
        if self.items.len() >= ITEMS_MAX {
            self.is_flood = true;
        }
        let form = self.form.unwrap_or(Form::Rss);
        let default = default.or(self.outer.last().map(|open| open.default)).unwrap_or(self.home());
        let mut xml = String::from(if form == Form::Atom { ATOM_HEAD } else { RSS_HEAD });
        if let Some(base) = &self.head.base {
            push_attribute(&mut xml, "xml:base", base);
        }
        xml.push_str(if form == Form::Atom { "><entry" } else { "><channel><item" });
        for (name, value) in attributes.iter().filter(|(name, _)| name.starts_with("xml:")) {
            push_attribute(&mut xml, name, value);
        }
        xml.push('>');
        // RSS 1.0 says here what RSS 2.0 says in an element.
        if let Some((_, about)) = attributes.iter().find(|(name, _)| *name == "rdf:about" || *name == "about") {
            xml.push_str("<guid>");
            push_escaped(&mut xml, about);
            xml.push_str("</guid>");
        }
        let out = if form == Form::Atom { "entry" } else { "item" }.to_owned();
        self.inner = vec![Open { name: name.to_owned(), out, default }];
        self.item = Some((xml, at));
    }

    fn start_within(
        &mut self,
        name: &'a str,
        attributes: &[(&'a str, String)],
        default: Option<&'static str>,
        is_empty: bool,
    ) {
        let default = default.or(self.inner.last().map(|open| open.default)).unwrap_or(self.home());
        let (prefix, local) = self.prefixes.resolve(name, default);
        let prefix = if prefix == self.home() || prefix == "xhtml" { "" } else { prefix };
        let prefix = if ["podcast", "rdf", "sy"].contains(&prefix) || (prefix == "content" && self.home() == "atom") {
            "x"
        } else {
            prefix
        };
        let local = self.modern(prefix, local);
        let mut out = if prefix.is_empty() { local.to_owned() } else { format!("{prefix}:{local}") };
        let instead = match (prefix, local) {
            ("dc", "subject") => Some("category"),
            // The parser knows these of files only.
            ("itunes", "author") if self.form == Some(Form::Rss) => Some("dc:creator"),
            _ => None,
        };
        if let Some(instead) = instead {
            instead.clone_into(&mut out);
        }
        let is_direct = self.inner.len() == 1;
        let is_xhtml = attributes.iter().any(|(name, value)| *name == "type" && value == "xhtml");
        let Some((xml, _)) = &mut self.item else { return };
        xml.push('<');
        xml.push_str(&out);
        for (name, value) in attributes {
            // Atom 0.3 says in `mode` what later stands in `type`.
            let is_harmless = !["duration", "time", "start", "end"].contains(name) || guard::is_duration(value);
            let is_own = is_harmless && !name.starts_with("xmlns") && (!name.contains(':') || name.starts_with("xml:"));
            if is_own && name.chars().all(|next| next.is_ascii_alphanumeric() || "-_:".contains(next)) {
                push_attribute(xml, name, value);
            }
        }
        xml.push('>');
        if is_empty {
            close(xml, &out);
            return;
        }
        if is_direct && has_text(prefix, local) && !is_xhtml {
            self.verbatim = Some(Verbatim { name: name.to_owned(), nested: 0 });
        }
        self.inner.push(Open { name: name.to_owned(), out, default });
    }

    /// What an element of Atom 0.3 is called since.
    fn modern<'b>(&self, prefix: &str, local: &'b str) -> &'b str {
        match (self.form, prefix, local) {
            (Some(Form::Atom), "", "issued" | "created") => "published",
            (Some(Form::Atom), "", "modified") => "updated",
            (Some(Form::Rss), "", "fullitem") => "description",
            _ => local,
        }
    }

    fn end(&mut self, name: &str, raw: &str, at: usize) {
        if self.item.is_none() {
            self.end_outside(name);
            return;
        }
        if self.is_item(name) && self.inner.first().is_some_and(|open| open.name == name) {
            self.finish(at, false);
            return;
        }
        if let Some(verbatim) = &mut self.verbatim {
            if verbatim.name != name {
                self.text(raw);
                return;
            }
            if verbatim.nested > 0 {
                verbatim.nested -= 1;
                self.text(raw);
                return;
            }
            self.verbatim = None;
        }
        // An end without a beginning is none.
        let Some(open) = self.inner.iter().skip(1).rposition(|open| open.name == name).map(|at| at + 1) else {
            // The end of the whole: that of the item was forgotten.
            if self.outer.iter().any(|open| open.name == name) {
                self.finish(at - raw.len(), false);
                self.end_outside(name);
            }
            return;
        };
        let Some((xml, _)) = &mut self.item else { return };
        for open in self.inner.drain(open..).rev() {
            close(xml, &open.out);
        }
    }

    fn end_outside(&mut self, name: &str) {
        let Some(at) = self.outer.iter().rposition(|open| open.name == name) else { return };
        let parent =
            self.outer.get(at.wrapping_sub(1)).map(|open| open.out.rsplit(':').next().unwrap_or_default().to_owned());
        let heading = self.heading.trim().to_owned();
        let own = &self.outer[at].out;
        match parent.as_deref() {
            Some("channel" | "feed") if !heading.is_empty() => {
                self.head.texts.entry(own.clone()).or_insert(heading);
            }
            Some("author") if own == "name" && !heading.is_empty() => {
                self.head.author.get_or_insert(heading);
            }
            _ => {}
        }
        self.outer.truncate(at);
        self.heading.clear();
    }

    fn text(&mut self, text: &str) {
        match &mut self.item {
            Some((xml, _)) => match self.inner.last().map(|open| open.out.as_str()) {
                Some("author" | "dc:creator" | "itunes:author") => push_escaped(xml, &guard::person(text)),
                Some("itunes:duration") if !guard::is_duration(text) => {}
                _ => push_escaped(xml, text),
            },
            None if self.heading.len() < RAW_BYTES => self.heading.push_str(text),
            None => {}
        }
    }

    /// The item at hand is at its end, or the document is within it.
    fn finish(&mut self, at: usize, is_torn: bool) {
        let Some((mut xml, from)) = self.item.take() else { return };
        for open in self.inner.drain(..).rev() {
            close(&mut xml, &open.out);
        }
        xml.push_str(if self.form == Some(Form::Atom) { "</feed>" } else { "</channel></rss>" });
        self.verbatim = None;
        if !self.is_flood {
            let raw = &self.text[from..at.max(from)];
            self.items.push(Piece { xml, raw: &raw[..raw.floor_char_boundary(RAW_BYTES)], is_torn });
        }
    }
}
