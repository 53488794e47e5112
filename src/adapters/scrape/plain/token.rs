//! From characters to tags and texts (WHATWG HTML, 13.2.5), as far as they are written without a fault.

use html5ever::tendril::StrTendril;
use html5ever::{Attribute, QualName, ns};
use memchr::{memchr, memchr_iter, memmem};

use super::NotPlain;
use super::name::{Kind, Name, Names};
use super::refs::{self, Place};

/// More attributes than any tag needs; checking them against each other takes time with the square of their number.
const ATTRIBUTES_MAX: usize = 64;

pub(super) enum Token {
    Text(Text),
    Start(Tag),
    End(Name),
    Comment(StrTendril),
    /// `<!doctype html>`.
    Doctype,
    Eof,
}

pub(super) struct Text {
    pub(super) text: StrTendril,
    /// Whether it is white space alone.
    pub(super) is_blank: bool,
}

pub(super) struct Tag {
    pub(super) name: Name,
    pub(super) attributes: Vec<Attribute>,
    pub(super) is_self_closing: bool,
}

/// A page, read from its beginning to its end.
pub(super) struct Tokens<'a> {
    html: &'a str,
    at: usize,
    /// The whole page, of which texts and values are parts.
    shared: StrTendril,
    names: Names<'a>,
}

/// The white space of HTML.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0C' | b'\r')
}

impl<'a> Tokens<'a> {
    /// `html` has neither NUL nor carriage returns.
    pub(super) fn new(html: &'a str) -> Result<Self, NotPlain> {
        // Longer than a tendril may be.
        u32::try_from(html.len()).map_err(|_| NotPlain)?;
        Ok(Self { html, at: 0, shared: StrTendril::from_slice(html), names: Names::new() })
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a str {
        &self.html[self.at..]
    }

    fn part(&self, from: usize, to: usize) -> StrTendril {
        let [from, length] = [from, to - from].map(|number| u32::try_from(number).expect("invariant: looked at above"));
        self.shared.subtendril(from, length)
    }

    pub(super) fn next(&mut self) -> Result<Token, NotPlain> {
        let bytes = self.html.as_bytes();
        match (bytes.get(self.at), bytes.get(self.at + 1)) {
            (None, _) => Ok(Token::Eof),
            (Some(b'<'), Some(byte)) if byte.is_ascii_alphabetic() => self.start_tag().map(Token::Start),
            (Some(b'<'), Some(b'/')) => self.end_tag().map(Token::End),
            (Some(b'<'), Some(b'!')) => self.declaration(),
            (Some(b'<'), Some(b'?')) => Err(NotPlain),
            _ => self.text(),
        }
    }

    fn text(&mut self) -> Result<Token, NotPlain> {
        let end = self.end_of_text();
        let text = self.decoded(self.at, end, Place::Text)?;
        self.at = end;
        let is_blank = text.bytes().all(is_space);
        Ok(Token::Text(Text { text, is_blank }))
    }

    /// Where the next tag or comment begins. A `<` before anything else is only a character.
    fn end_of_text(&self) -> usize {
        let bytes = self.html.as_bytes();
        let mut from = self.at;
        while let Some(found) = memchr(b'<', &bytes[from..]) {
            let at = from + found;
            match bytes.get(at + 1) {
                Some(b'/' | b'!' | b'?') => return at,
                Some(byte) if byte.is_ascii_alphabetic() => return at,
                _ => from = at + 1,
            }
        }
        bytes.len()
    }

    /// A part of the page with its character references replaced.
    fn decoded(&self, from: usize, to: usize, place: Place) -> Result<StrTendril, NotPlain> {
        let part = &self.html[from..to];
        let Some(mut next) = memchr(b'&', part.as_bytes()) else { return Ok(self.part(from, to)) };
        let mut text = StrTendril::new();
        let mut done = 0;
        loop {
            // One that would go on behind the part is not read further: a quote or a `<` ends every reference.
            if let Some((characters, length)) = refs::read(&self.html[from + next..], place)? {
                text.push_slice(&part[done..next]);
                text.push_char(characters[0]);
                if characters[1] != '\0' {
                    text.push_char(characters[1]);
                }
                done = next + length;
            }
            let after = done.max(next + 1);
            match part.get(after..).and_then(|rest| memchr(b'&', rest.as_bytes())) {
                Some(found) => next = after + found,
                None => break,
            }
        }
        text.push_slice(part.get(done..).ok_or(NotPlain)?);
        Ok(text)
    }

    fn start_tag(&mut self) -> Result<Tag, NotPlain> {
        let name = self.tag_name(self.at + 1)?;
        let bytes = self.html.as_bytes();
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut is_self_closing = false;
        loop {
            match bytes.get(self.at) {
                None => return Err(NotPlain),
                Some(b'>') => {
                    self.at += 1;
                    return Ok(Tag { name, attributes, is_self_closing });
                }
                Some(b'/') => {
                    is_self_closing = true;
                    self.at += 1;
                }
                Some(byte) if is_space(*byte) => {
                    is_self_closing = false;
                    self.at += 1;
                }
                Some(_) => {
                    is_self_closing = false;
                    let attribute = self.attribute()?;
                    // Of two with one name the first counts.
                    if attributes.iter().all(|other| other.name != attribute.name) {
                        attributes.push(attribute);
                    }
                    if attributes.len() > ATTRIBUTES_MAX {
                        return Err(NotPlain);
                    }
                }
            }
        }
    }

    fn tag_name(&mut self, from: usize) -> Result<Name, NotPlain> {
        let bytes = self.html.as_bytes();
        let length = bytes[from..].iter().position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>' | b'<'));
        let end = from + length.ok_or(NotPlain)?;
        if bytes[end] == b'<' {
            return Err(NotPlain);
        }
        self.at = end;
        Ok(self.names.get(&self.html[from..end]))
    }

    fn attribute(&mut self) -> Result<Attribute, NotPlain> {
        let bytes = self.html.as_bytes();
        let from = self.at;
        let is_end = |byte: &u8| is_space(*byte) || matches!(byte, b'/' | b'>' | b'=' | b'<' | b'"' | b'\'');
        let end = from + bytes[from..].iter().position(is_end).ok_or(NotPlain)?;
        if end == from || matches!(bytes[end], b'<' | b'"' | b'\'') {
            return Err(NotPlain);
        }
        let name = self.names.get(&self.html[from..end]).local;
        self.at = end;
        let mut next = end;
        while bytes.get(next).copied().is_some_and(is_space) {
            next += 1;
        }
        let value = if bytes.get(next) == Some(&b'=') {
            self.at = next + 1;
            self.value()?
        } else {
            StrTendril::new()
        };
        Ok(Attribute { name: QualName::new(None, ns!(), name), value })
    }

    fn value(&mut self) -> Result<StrTendril, NotPlain> {
        let bytes = self.html.as_bytes();
        while bytes.get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
        let from = self.at;
        match bytes.get(from) {
            None | Some(b'>') => Err(NotPlain),
            Some(quote @ (b'"' | b'\'')) => {
                let end = from + 1 + memchr(*quote, &bytes[from + 1..]).ok_or(NotPlain)?;
                self.at = end + 1;
                self.decoded(from + 1, end, Place::Attribute)
            }
            Some(_) => {
                let end =
                    from + bytes[from..].iter().position(|byte| is_space(*byte) || *byte == b'>').ok_or(NotPlain)?;
                self.at = end;
                self.decoded(from, end, Place::Attribute)
            }
        }
    }

    fn end_tag(&mut self) -> Result<Name, NotPlain> {
        let bytes = self.html.as_bytes();
        if !bytes.get(self.at + 2).is_some_and(u8::is_ascii_alphabetic) {
            return Err(NotPlain);
        }
        let name = self.tag_name(self.at + 2)?;
        while bytes.get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
        if bytes.get(self.at) != Some(&b'>') {
            return Err(NotPlain);
        }
        self.at += 1;
        Ok(name)
    }

    /// A comment or a document type.
    fn declaration(&mut self) -> Result<Token, NotPlain> {
        let rest = self.rest().as_bytes();
        if let Some(comment) = rest.strip_prefix(b"<!--") {
            if comment.starts_with(b">") || comment.starts_with(b"->") {
                return Err(NotPlain);
            }
            let length = memmem::find(comment, b"-->").ok_or(NotPlain)?;
            // Which also ends a comment.
            if memmem::find(&comment[..length + 2], b"--!").is_some() || comment[..length].ends_with(b"<!") {
                return Err(NotPlain);
            }
            let from = self.at + 4;
            self.at = from + length + 3;
            return Ok(Token::Comment(self.part(from, from + length)));
        }
        let end = memchr(b'>', rest).ok_or(NotPlain)?;
        let words: Vec<&[u8]> = rest[2..end].split(|byte| is_space(*byte)).filter(|word| !word.is_empty()).collect();
        let is_html = |words: &[&[u8]]| matches!(words, [doctype, html] if doctype.eq_ignore_ascii_case(b"doctype") && html.eq_ignore_ascii_case(b"html"));
        if !is_html(&words) || rest[2].is_ascii_whitespace() {
            return Err(NotPlain);
        }
        self.at += end + 1;
        Ok(Token::Doctype)
    }

    /// The content of an element that has only text, and its end tag.
    pub(super) fn content(&mut self, name: &Name) -> Result<StrTendril, NotPlain> {
        if name.kind == Kind::Textarea {
            self.skip_line_feed()?;
        }
        let from = self.at;
        let end = self.end_of_content(&name.local).ok_or(NotPlain)?;
        let text = if matches!(name.kind, Kind::Title | Kind::Textarea) {
            self.decoded(from, end, Place::Text)?
        } else {
            self.part(from, end)
        };
        if name.kind == Kind::Script && hides_its_end(&self.html[from..end]) {
            return Err(NotPlain);
        }
        self.at = end;
        self.end_tag()?;
        Ok(text)
    }

    fn end_of_content(&self, name: &str) -> Option<usize> {
        let bytes = self.html.as_bytes();
        let mut from = self.at;
        loop {
            let at = from + memmem::find(&bytes[from..], b"</")?;
            let end = at + 2 + name.len();
            let written = bytes.get(at + 2..end)?;
            let is_end = bytes.get(end).is_some_and(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'));
            if is_end && written.eq_ignore_ascii_case(name.as_bytes()) {
                return Some(at);
            }
            from = at + 2;
        }
    }

    /// The first line feed in some elements is no text.
    pub(super) fn skip_line_feed(&mut self) -> Result<(), NotPlain> {
        match self.rest().as_bytes() {
            // It may be written as a reference.
            [b'&', b'#' | b'N', ..] => Err(NotPlain),
            [b'\n', ..] => {
                self.at += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether one of these tags may begin somewhere in `html`.
pub(super) fn has_any(html: &str, tags: &[&[u8]]) -> bool {
    let bytes = html.as_bytes();
    let begins = |after: &[u8], tag: &[u8]| after.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    memchr_iter(b'<', bytes).any(|at| tags.iter().any(|tag| begins(&bytes[at + 1..], tag)))
}

/// Whether a script has a comment in it in which another script begins: then its own end is no end.
fn hides_its_end(script: &str) -> bool {
    memmem::find(script.as_bytes(), b"<!--").is_some_and(|at| has_any(&script[at..], &[b"script"]))
}
