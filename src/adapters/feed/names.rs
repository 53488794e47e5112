//! What an element is, whatever prefix its document has for that.

use std::collections::HashMap;

/// What a rebuilt item stands in. Only these prefixes are in it.
pub(super) const RSS_HEAD: &str = concat!(
    r#"<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom" xmlns:dc="http://purl.org/dc/elements/1.1/" "#,
    r#"xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:media="http://search.yahoo.com/mrss/" "#,
    r#"xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:podcast="https://podcastindex.org/namespace/1.0" "#,
    r#"xmlns:wfw="http://wellformedweb.org/CommentAPI/" xmlns:x="urn:other""#
);
pub(super) const ATOM_HEAD: &str = concat!(
    r#"<feed xmlns="http://www.w3.org/2005/Atom" xmlns:dc="http://purl.org/dc/elements/1.1/" "#,
    r#"xmlns:media="http://search.yahoo.com/mrss/" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:x="urn:other""#
);

/// The prefixes that a document declares. Which element declares one does not matter: none means two things by it.
#[derive(Default)]
pub(super) struct Prefixes<'a> {
    declared: HashMap<&'a str, &'static str>,
}

/// How many are taken note of.
const PREFIXES_MAX: usize = 100;

impl<'a> Prefixes<'a> {
    /// Takes note of what a tag declares. What its default namespace is, where it says so.
    pub(super) fn declare(&mut self, attributes: &[(&'a str, String)]) -> Option<&'static str> {
        let mut default = None;
        for (name, uri) in attributes {
            if *name == "xmlns" {
                default = Some(of_uri(uri));
            } else if let Some(prefix) = name.strip_prefix("xmlns:")
                && self.declared.len() < PREFIXES_MAX
            {
                self.declared.entry(prefix).or_insert_with(|| of_uri(uri));
            }
        }
        default
    }

    /// What the element of this name is: its own prefix here, and its local name. `default` is for those without one.
    pub(super) fn resolve<'b>(&self, name: &'b str, default: &'static str) -> (&'static str, &'b str) {
        match name.split_once(':') {
            None => (default, name),
            Some((prefix, local)) => (self.declared.get(prefix).copied().unwrap_or_else(|| of_prefix(prefix)), local),
        }
    }
}

/// What a namespace is called here; nothing, for that of RSS, and `x` for any other. They are often written wrongly.
fn of_uri(uri: &str) -> &'static str {
    let uri = uri.trim().to_ascii_lowercase();
    let has = |part: &str| uri.contains(part);
    if has("w3.org/2005/atom") || has("purl.org/atom/ns") {
        "atom"
    } else if has("rss/1.0/modules/content") {
        "content"
    } else if has("rss/1.0/modules/syndication") {
        "sy"
    } else if has("purl.org/dc/") {
        "dc"
    } else if has("search.yahoo.com/mrss") || has("mrss") {
        "media"
    } else if has("itunes.com/dtds") {
        "itunes"
    } else if has("podcastindex.org/namespace") {
        "podcast"
    } else if has("wellformedweb.org/commentapi") {
        "wfw"
    } else if has("purl.org/rss/1.0/modules") {
        "x"
    } else if uri.is_empty()
        || has("purl.org/rss")
        || has("netscape.com/rdf")
        || has("userland.com/rss")
        || has("channel.netscape.com")
    {
        ""
    } else if has("22-rdf-syntax-ns") {
        "rdf"
    } else if has("w3.org/1999/xhtml") {
        "xhtml"
    } else {
        "x"
    }
}

/// What somebody means by a prefix who declares none.
fn of_prefix(prefix: &str) -> &'static str {
    let known = ["atom", "content", "dc", "itunes", "media", "podcast", "rdf", "sy", "wfw"];
    known.into_iter().find(|known| prefix.eq_ignore_ascii_case(known)).unwrap_or("x")
}
