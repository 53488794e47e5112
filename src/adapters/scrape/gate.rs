//! A look at a page before it is parsed: refuses a tag with so many attributes that the parser would not end.
//!
//! html5ever compares each attribute of a tag with all before it, so that a million of them take hours. What it
//! does with nested elements is bounded where the tree is built, in `page.rs`.

use memchr::{memchr, memmem};

/// The most attributes of one tag. Real pages stay below a hundred.
const ATTRIBUTES_MAX: usize = 1000;
/// Elements whose content is text up to their own end tag, in which a `<` begins nothing.
const RAW_TEXT: [&[u8]; 8] = [b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes"];

/// Whether each tag of the page has a bounded number of attributes.
///
/// One pass, without a tree. It may take text for a tag in markup that no browser would show (a raw text element
/// inside SVG), which the time limit of the parser then bounds.
pub(super) fn attributes_are_bounded(html: &str) -> bool {
    let mut rest = html.as_bytes();
    while let Some(start) = memchr(b'<', rest) {
        rest = &rest[start + 1..];
        match rest {
            [b'!', b'-', b'-', comment @ ..] => rest = after(comment, b"-->"),
            [b'!' | b'?', declaration @ ..] => rest = after(declaration, b">"),
            [b'/', letter, ..] | [letter, ..] if letter.is_ascii_alphabetic() => {
                let name_length = rest.iter().take_while(|&&byte| !ends_name(byte)).count();
                let name = &rest[..name_length];
                let Some(end) = tag_end(&rest[name_length..]) else { return false };
                rest = &rest[name_length + end..];
                if let Some(raw) = RAW_TEXT.iter().find(|raw| name.eq_ignore_ascii_case(raw)) {
                    rest = after_raw_text(rest, raw);
                }
            }
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

fn after_raw_text<'a>(mut bytes: &'a [u8], name: &[u8]) -> &'a [u8] {
    while let Some(at) = memmem::find(bytes, b"</") {
        let found = &bytes[at + 2..];
        if found.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            return &bytes[at..];
        }
        bytes = found;
    }
    &[]
}

/// The length of a tag's rest including its `>`; `None` when it has too many attributes.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut attributes = 0;
    let mut at = 0;
    while let Some(&byte) = tag.get(at) {
        match byte {
            b'>' => return Some(at + 1),
            b'=' => at += 1 + value_length(&tag[at + 1..]),
            _ if ends_name(byte) => at += 1,
            _ => {
                attributes += 1;
                if attributes > ATTRIBUTES_MAX {
                    return None;
                }
                at += tag[at..].iter().take_while(|&&byte| !ends_name(byte) && byte != b'=').count();
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

    proptest! {
        #[test]
        fn never_panics(html in "(<|>|/|!|-|=|'|\"| |a|script|é){0,60}") {
            prop_assert!(attributes_are_bounded(&html));
        }
    }
}
