//! Character references such as `&amp;` (WHATWG HTML, 13.2.5.72 and following).

use html5ever::data::NAMED_ENTITIES;

use super::NotPlain;

/// What a reference is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    Attribute,
}

/// What `&` at the beginning of `text` means: its characters, and how many bytes it takes; `None` where it is just `&`.
pub(super) fn read(text: &str, place: Place) -> Result<Option<([char; 2], usize)>, NotPlain> {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'#') => numeric(bytes),
        Some(byte) if byte.is_ascii_alphanumeric() => named(text, place),
        Some(_) => Ok(None),
        None => Err(NotPlain),
    }
}

fn numeric(bytes: &[u8]) -> Result<Option<([char; 2], usize)>, NotPlain> {
    let (base, first) = if matches!(bytes.get(2), Some(b'x' | b'X')) { (16, 3) } else { (10, 2) };
    let mut number: u32 = 0;
    let mut at = first;
    while let Some(digit) = bytes.get(at).and_then(|byte| char::from(*byte).to_digit(base)) {
        number = number.saturating_mul(base).saturating_add(digit);
        at += 1;
    }
    match bytes.get(at) {
        None => return Err(NotPlain),
        Some(_) if at == first => return Ok(None),
        Some(b';') => at += 1,
        Some(_) => {}
    }
    // What stands for another character, or for none, is left to the browser's rules.
    let is_ordinary = number != 0 && !(0x80..=0x9F).contains(&number);
    let found = char::from_u32(number).filter(|_| is_ordinary).ok_or(NotPlain)?;
    Ok(Some(([found, '\0'], at)))
}

/// The longest name that there is.
fn named(text: &str, place: Place) -> Result<Option<([char; 2], usize)>, NotPlain> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut end = 1;
    loop {
        let Some(byte) = bytes.get(end) else { return Err(NotPlain) };
        // No name has anything else in it, and the next byte is the beginning of a character.
        if !byte.is_ascii_alphanumeric() && *byte != b';' {
            break;
        }
        end += 1;
        // The table also has the beginnings of names, without a character.
        match NAMED_ENTITIES.get(&text[1..end]) {
            None => break,
            Some((0, _)) => {}
            Some(characters) => found = Some((*characters, end)),
        }
    }
    let Some(((first, second), end)) = found else { return Ok(None) };
    let is_closed = bytes[end - 1] == b';';
    let is_parameter = bytes.get(end).is_some_and(|byte| *byte == b'=' || byte.is_ascii_alphanumeric());
    if place == Place::Attribute && !is_closed && is_parameter {
        return Ok(None);
    }
    let characters = [first, second].map(char::from_u32);
    let [Some(first), Some(second)] = characters else { return Err(NotPlain) };
    Ok(Some(([first, second], end)))
}
