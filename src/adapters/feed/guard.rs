//! What would make the parser panic, kept from it (feed-rs 3.0).

/// Whether a text is a length of time that the parser can read: it panics at numbers that are too large, and at digits of other
/// scripts.
pub(super) fn is_duration(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit() || b":.".contains(&byte))
}

/// The text with spaces around what looks like an address for e-mail: the parser takes off a byte on each side, which may be a
/// part of a character.
pub(super) fn person(text: &str) -> String {
    if !text.contains('@') || text.is_ascii() {
        return if text.contains('@') { format!(" {text} ") } else { text.to_owned() };
    }
    let is_address = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-@".contains(&byte);
    let mut out = String::from(" ");
    let has_address = is_part_of_address(text);
    let mut before = None;
    for next in text.chars() {
        let is_inside = |next: char| u8::try_from(next).is_ok_and(|byte| byte.is_ascii() && is_address(byte));
        let is_edge = before
            .is_some_and(|before| (is_inside(before) && !next.is_ascii()) || (is_inside(next) && !before.is_ascii()));
        if is_edge && has_address {
            out.push(' ');
        }
        out.push(next);
        before = Some(next);
    }
    out.push(' ');
    out
}

/// Whether there is an address in it at all, and not only an `@`.
fn is_part_of_address(text: &str) -> bool {
    text.split('@').skip(1).any(|after| after.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_alone() {
        assert_eq!(person("名前・me@example.com・x").trim(), "名前・ me@example.com ・ x");
        assert_eq!(person("名前 @twitter").trim(), "名前 @twitter");
        assert_eq!(person("Ann"), "Ann");
        assert!(is_duration("1:02:03.5") && !is_duration("٣٣") && !is_duration("9999999999999999999999"));
    }
}
