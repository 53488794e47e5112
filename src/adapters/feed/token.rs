//! A document's text as tags and texts, however broken it is: what is no tag is text, and nothing is refused.
//!
//! Not an XML parser, because XML parsers must refuse what is not well-formed (XML 1.0, 1.2), and many feeds are not. Document
//! types and what they declare are left out, so that no entity can grow.

use std::borrow::Cow;

use super::entity;

/// The most attributes of a tag that are taken.
const ATTRIBUTES_MAX: usize = 64;

/// A piece of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `<name a="b">`, or with its own end, `<name/>`.
    Start {
        /// With its prefix, as it is written.
        name: &'a str,
        /// With references undone.
        attributes: Vec<(&'a str, String)>,
        is_empty: bool,
        /// The tag as it is written.
        raw: &'a str,
    },
    /// `</name>`.
    End { name: &'a str, raw: &'a str },
    /// With references undone.
    Text(Cow<'a, str>),
}

/// The pieces of a document.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The document ends within a tag, a comment or a section.
    pub(super) is_torn: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0, is_torn: false }
    }

    /// How far into the document the next piece begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// What stands until `end`, from `skip` bytes on; all that is left where that never comes.
    fn section(&mut self, skip: usize, end: &str) -> &'a str {
        let inner = self.rest().get(skip..).unwrap_or_default();
        if let Some(length) = inner.find(end) {
            self.at += skip + length + end.len();
            &inner[..length]
        } else {
            self.at = self.text.len();
            self.is_torn = true;
            inner
        }
    }

    /// Goes past `<!DOCTYPE …[…]>`.
    fn skip_declaration(&mut self) {
        let rest = self.rest();
        let (mut is_within, mut quote) = (false, None);
        for (at, byte) in rest.bytes().enumerate() {
            match (quote, byte) {
                (Some(open), _) if byte == open => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'[') => is_within = true,
                (None, b']') => is_within = false,
                (None, b'>') if !is_within => {
                    self.at += at + 1;
                    return;
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        self.is_torn = true;
    }

    fn tag(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let is_end = rest.starts_with("</");
        let from = if is_end { 2 } else { 1 };
        let name_length = rest[from..].find(|next: char| !is_name(next)).unwrap_or(rest.len() - from);
        let name = &rest[from..from + name_length];
        let mut at = from + name_length;
        let (mut attributes, mut is_empty) = (Vec::new(), false);
        loop {
            at += rest[at..].len() - rest[at..].trim_start().len();
            match rest.as_bytes().get(at) {
                None => {
                    self.is_torn = true;
                    self.at = self.text.len();
                    return None;
                }
                Some(b'>') => {
                    at += 1;
                    break;
                }
                // A tag that was never closed ends where the next begins.
                Some(b'<') => break,
                Some(b'/') => {
                    is_empty = rest[at + 1..].trim_start().starts_with('>');
                    at += 1;
                }
                Some(_) => at = attribute(rest, at, &mut attributes),
            }
        }
        self.at += at;
        let raw = &rest[..at];
        Some(if is_end { Token::End { name, raw } } else { Token::Start { name, attributes, is_empty, raw } })
    }
}

/// Reads the attribute that begins at `at`; where it ends.
fn attribute<'a>(rest: &'a str, at: usize, attributes: &mut Vec<(&'a str, String)>) -> usize {
    let end = |from: usize, is_end: &dyn Fn(char) -> bool| {
        rest[from..].find(is_end).map_or(rest.len(), |length| from + length)
    };
    let name_end = end(at, &|next| next.is_whitespace() || "=/><".contains(next)).max(at + 1);
    let name_end = rest.ceil_char_boundary(name_end);
    let name = &rest[at..name_end];
    let equals = name_end + (rest[name_end..].len() - rest[name_end..].trim_start().len());
    if rest.as_bytes().get(equals) != Some(&b'=') {
        return name_end;
    }
    let from = equals + 1 + (rest[equals + 1..].len() - rest[equals + 1..].trim_start().len());
    let (value, after) = if let Some(quote @ (b'"' | b'\'')) = rest.as_bytes().get(from) {
        let close = end(from + 1, &|next| next == char::from(*quote));
        (&rest[from + 1..close], (close + 1).min(rest.len()))
    } else {
        let close = end(from, &|next| next.is_whitespace() || next == '>');
        (&rest[from..close], close)
    };
    if attributes.len() < ATTRIBUTES_MAX && !attributes.iter().any(|(known, _)| *known == name) {
        attributes.push((name, entity::decoded(value).into_owned()));
    }
    after
}

fn is_name(next: char) -> bool {
    next.is_alphanumeric() || "_-.:".contains(next)
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return None;
            }
            if rest.starts_with("<![CDATA[") {
                let text = self.section("<![CDATA[".len(), "]]>");
                return Some(Token::Text(entity::clean(text)));
            } else if rest.starts_with("<!--") {
                self.section(4, "-->");
            } else if rest.starts_with("<?") {
                self.section(2, "?>");
            } else if rest.starts_with("<!") {
                self.skip_declaration();
            } else if is_tag(rest) {
                return self.tag();
            } else {
                let length = memchr::memchr(b'<', &rest.as_bytes()[1..]).map_or(rest.len(), |length| length + 1);
                self.at += length;
                return Some(Token::Text(entity::decoded(&rest[..length])));
            }
        }
    }
}

/// Whether a tag begins here: `a < b` has none.
fn is_tag(rest: &str) -> bool {
    let name = rest.strip_prefix("</").or_else(|| rest.strip_prefix('<'));
    name.is_some_and(|name| name.starts_with(|next: char| next.is_alphabetic() || next == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut tokens = Tokens::of(text);
        let mut shown = String::new();
        for token in tokens.by_ref() {
            let piece = match token {
                Token::Start { name, attributes, is_empty, .. } => {
                    format!("<{name} {attributes:?}{}>", if is_empty { "/" } else { "" })
                }
                Token::End { name, .. } => format!("</{name}>"),
                Token::Text(text) => format!("{text:?}"),
            };
            shown.push_str(&piece);
        }
        if tokens.is_torn { shown + " torn" } else { shown }
    }

    #[test]
    fn whatever_stands_there_is_a_tag_or_a_text() {
        for (text, expected) in [
            ("<a b='1' c=\"&lt;x\">t</a>", r#"<a [("b", "1"), ("c", "<x")]>"t"</a>"#),
            ("<a:b/>", "<a:b []/>"),
            ("<a b=1 c d = e/>", r#"<a [("b", "1"), ("d", "e/")]>"#),
            ("<a b=\"1\" b=\"2\"/ >", r#"<a [("b", "1")]/>"#),
            ("1 < 2 & 3 &nbsp;&bogus; &amp;amp;", r#""1 ""< 2 & 3 \u{a0}&bogus; &amp;""#),
            ("<![CDATA[<b>&amp;]]><!-- <c> --><?php <d> ?>", r#""<b>&amp;""#),
            ("<!DOCTYPE x [<!ENTITY a \"<b>\">]>&a;", r#""&a;""#),
            ("<a <b>", "<a []><b []>"),
            ("x\u{0}\u{b}y&#0;&#x1f600;&#8;", "\"xy😀\""),
            ("<a b=\"never", " torn"),
            ("t<![CDATA[x", "\"t\"\"x\" torn"),
            ("t<a", "\"t\" torn"),
            ("t<", "\"t\"\"<\""),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
