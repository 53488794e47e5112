//! A look at a page before it is parsed: refuses a tag with so many attributes that the parser would not end.
//!
//! html5ever compares each attribute of a tag with all before it, so that a million of them take hours. What it
//! does with nested elements is bounded where the tree is built, in `page.rs`.

use memchr::{memchr, memchr2, memmem};

/// The most attributes of one tag. Real pages stay below a hundred.
pub(super) const ATTRIBUTES_MAX: usize = 1000;
/// Elements whose content is text up to their own end tag, in which a `<` begins nothing.
const RAW_TEXT: [&[u8]; 8] = [b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes", b"noscript"];

/// Whether each tag of the page has a bounded number of attributes.
///
/// One pass, without a tree. It may take a tag for text in markup where the parser does not do as it does elsewhere (a raw
/// text element inside SVG, `select` or `template`), which the time limit of the parser then bounds.
pub(super) fn attributes_are_bounded(html: &str) -> bool {
    are_bounded(html, ATTRIBUTES_MAX)
}

/// The same with another limit.
pub(super) fn are_bounded(html: &str, attributes_max: usize) -> bool {
    let mut rest = html.as_bytes();
    while let Some(start) = memchr(b'<', rest) {
        rest = &rest[start + 1..];
        match rest {
            [b'!', b'-', b'-', comment @ ..] => rest = after_comment(comment),
            [b'!' | b'?', declaration @ ..] => rest = after(declaration, b">"),
            [b'/', letter, ..] | [letter, ..] if letter.is_ascii_alphabetic() => {
                let tag = rest.strip_prefix(b"/").unwrap_or(rest);
                let is_end = tag.len() < rest.len();
                let name_length = tag.iter().take_while(|&&byte| !ends_name(byte)).count();
                let name = &tag[..name_length];
                let Some(end) = tag_end(&tag[name_length..], attributes_max) else { return false };
                rest = &tag[name_length + end..];
                if is_end {
                    continue;
                }
                if name.eq_ignore_ascii_case(b"script") {
                    rest = after_script(rest);
                } else if let Some(raw) = RAW_TEXT.iter().find(|raw| name.eq_ignore_ascii_case(raw)) {
                    rest = after_raw_text(rest, raw);
                }
            }
            // What is no end tag is a comment.
            [b'/', comment @ ..] => rest = after(comment, b">"),
            _ => {}
        }
    }
    true
}

fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>')
}

fn after<'a>(bytes: &'a [u8], end: &[u8]) -> &'a [u8] {
    memmem::find(bytes, end).map_or(&[], |at| &bytes[at + end.len()..])
}

/// A comment ends with `-->`, which its beginning may be part of, or with `--!>`.
fn after_comment(mut bytes: &[u8]) -> &[u8] {
    if let [b'>', rest @ ..] | [b'-', b'>', rest @ ..] = bytes {
        return rest;
    }
    while let Some(at) = memmem::find(bytes, b"--") {
        match &bytes[at + 2..] {
            [b'>', rest @ ..] | [b'!', b'>', rest @ ..] => return rest,
            _ => bytes = &bytes[at + 1..],
        }
    }
    &[]
}

/// Whether this tag begins here.
fn is_tag(bytes: &[u8], tag: &[u8]) -> bool {
    bytes.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag))
        && bytes.get(tag.len()).is_some_and(|&byte| ends_name(byte))
}

fn after_raw_text<'a>(mut bytes: &'a [u8], name: &[u8]) -> &'a [u8] {
    while let Some(at) = memmem::find(bytes, b"</") {
        if is_tag(&bytes[at + 2..], name) {
            return &bytes[at..];
        }
        bytes = &bytes[at + 2..];
    }
    &[]
}

/// A script ends with its end tag, but for one that ends another script that began within `<!--` (WHATWG HTML, 13.2.5.20
/// and following).
fn after_script(mut bytes: &[u8]) -> &[u8] {
    let (mut in_comment, mut in_script) = (false, false);
    while let Some(at) = memchr2(b'<', b'-', bytes) {
        bytes = &bytes[at..];
        let mut length = 1;
        if bytes.starts_with(b"-->") {
            (in_comment, in_script) = (false, false);
        } else if !in_comment && bytes.starts_with(b"<!--") {
            in_comment = true;
            // Its hyphens may also be those of its end.
            length = 2;
        } else if is_tag(bytes, b"</script") {
            if !in_script {
                return bytes;
            }
            in_script = false;
        } else if in_comment && is_tag(bytes, b"<script") {
            in_script = true;
        }
        bytes = &bytes[length..];
    }
    &[]
}

/// The length of a tag's rest including its `>`; `None` when it has too many attributes.
fn tag_end(tag: &[u8], attributes_max: usize) -> Option<usize> {
    let mut attributes = 0;
    let mut at = 0;
    // An equals sign that stands first is the beginning of a name.
    let mut has_name = false;
    while let Some(&byte) = tag.get(at) {
        match byte {
            b'>' => return Some(at + 1),
            b'=' if has_name => {
                at += 1 + value_length(&tag[at + 1..]);
                has_name = false;
            }
            b'/' => {
                at += 1;
                has_name = false;
            }
            _ if ends_name(byte) => at += 1,
            _ => {
                attributes += 1;
                if attributes > attributes_max {
                    return None;
                }
                at += 1 + tag[at + 1..].iter().take_while(|&&byte| !ends_name(byte) && byte != b'=').count();
                has_name = true;
            }
        }
    }
    Some(tag.len())
}

fn value_length(rest: &[u8]) -> usize {
    let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let value = &rest[blank..];
    let length = match value.first() {
        Some(&quote @ (b'"' | b'\'')) => memchr(quote, &value[1..]).map_or(value.len(), |end| end + 2),
        _ => value.iter().take_while(|&&byte| !byte.is_ascii_whitespace() && byte != b'>').count(),
    };
    blank + length
}

#[cfg(test)]
mod tests {
    use super::super::checks::gate::is_right;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_flood_is_refused() {
        let many = |count: usize| format!("<p{}>", " a='>'".repeat(count));
        assert!(attributes_are_bounded(&many(ATTRIBUTES_MAX)));
        assert!(!attributes_are_bounded(&many(ATTRIBUTES_MAX + 1)));
        assert!(!attributes_are_bounded(&format!("<p {}", "a/".repeat(5000))), "without an end");
        assert!(!attributes_are_bounded(&format!("<!-- c --><p title=\"a>b\"{}>", " b=1".repeat(5000))));
        for harmless in [
            format!("<script>if (a<b {}) {{}}</script>", "c ".repeat(5000)),
            format!("<SCRIPT>x = '</p><q {}'</SCRIPT>", "c ".repeat(5000)),
            format!("<!-- <p {}> -->", "c ".repeat(5000)),
            format!("<p>1 < 2 {}</p>", "c ".repeat(5000)),
            format!("<p title='{}'>", "c ".repeat(5000)),
            "<p a=1>".repeat(5000),
        ] {
            assert!(attributes_are_bounded(&harmless), "{}", &harmless[..40]);
        }
    }

    #[test]
    fn no_flood_hides() {
        let flood = format!("<p{}>", " a=1".repeat(5000));
        for before in [
            "<!-->",
            "<!--->",
            "<!-- c --!>",
            "</ a='>",
            "</a='>",
            "</>",
            "<noscript><p a='</noscript>",
            "<script></scripts a='></script>",
            "<script><!-- <script></script><p a='</script>",
            "<script><!-- <script></script> --> </script>",
            "<script><!--><script></script>",
        ] {
            assert!(!attributes_are_bounded(&format!("{before}{flood}")), "{before}");
            is_right(&format!("{before}<p a b c>"));
        }
        assert!(!attributes_are_bounded(&format!("<p{}>", " =a".repeat(5000))), "each is a name");
        for harmless in ["<noscript>", "<script><!-- <script></script>", "<title></titles>", "<!--->-- "] {
            let text = format!("{harmless}{}", flood.replace(['<', '>'], ""));
            assert!(attributes_are_bounded(&text), "{harmless}");
        }
    }

    proptest! {
        #[test]
        fn what_the_parser_sees_was_looked_at(html in "(<|>|/|!|-|=|'|\"| |a|script|é){0,60}") {
            prop_assert!(attributes_are_bounded(&html));
            is_right(&html);
        }
    }
}
