//! References such as `&amp;` undone, also those that XML does not know; and characters that no document may have.

use std::borrow::Cow;

use html5ever::data::NAMED_ENTITIES;

/// The longest name of a reference, with its `;`.
const NAME_BYTES_MAX: usize = 33;

/// The text with its references undone. What is nearly one is text.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return clean(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((characters, length)) = reference(rest) {
            out.extend(characters.into_iter().filter(|next| *next != '\0'));
            rest = &rest[length..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Cow::Owned(clean(&out).into_owned())
}

/// Whether there is a reference in it.
pub(super) fn has_reference(text: &str) -> bool {
    text.match_indices('&').any(|(at, _)| reference(&text[at..]).is_some())
}

/// The reference that `text` begins with: what it stands for, and how long it is.
fn reference(text: &str) -> Option<([char; 2], usize)> {
    let window = &text.as_bytes()[..text.len().min(NAME_BYTES_MAX + 1)];
    let end = memchr::memchr(b';', window)?;
    let name = &text[1..end];
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return Some(([char::from_u32(windows(code.ok()?)).unwrap_or('\u{fffd}'), '\0'], end + 1));
    }
    let (first, second) = *NAMED_ENTITIES.get(&text[1..=end])?;
    let first = char::from_u32(first).filter(|first| *first != '\0')?;
    Some(([first, char::from_u32(second).unwrap_or('\0')], end + 1))
}

/// What people mean by a number of the old Windows character set: quotes and dashes, which browsers show.
fn windows(code: u32) -> u32 {
    match u8::try_from(code) {
        Ok(byte @ 0x80..=0x9f) => {
            let bytes = [byte];
            let (text, _, _) = encoding_rs::WINDOWS_1252.decode(&bytes);
            text.chars().next().map_or(code, u32::from)
        }
        _ => code,
    }
}

/// The text without characters that no XML document may have (XML 1.0, 2.2).
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let is_allowed =
        |next: char| !matches!(next, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(is_allowed) {
        Cow::Borrowed(text)
    } else {
        text.chars().filter(|next| is_allowed(*next)).collect()
    }
}

/// Writes the text as XML has it.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    for next in text.chars() {
        match next {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A parser would make a space, or a line break, of these.
            '\r' => out.push_str("&#13;"),
            next => out.push(next),
        }
    }
}
