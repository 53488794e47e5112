//! What is collected is hostile, and a terminal obeys what it is shown: text is made harmless first.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces every character that a terminal would act on by its JSON escape: controls (an escape sequence begins with
/// one, in seven bits or eight) and the marks that reorder text. Inside JSON strings the result means the same.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmful(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(safe, "\\u{unit:04x}").expect("invariant: writing to a string cannot fail");
            }
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Several lines, each made harmless.
pub fn harmless_lines(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(harmless).collect::<Vec<_>>().join("\t");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_means_the_same_as_json() {
        for text in ["\u{1b}[2J", "\u{9b}31m", "a\u{202e}b", "\u{7f}", "tab\tnul\0", "line\nfeed", "\u{2028}"] {
            let safe = harmless(text);
            assert!(!safe.chars().any(is_harmful), "{safe:?}");
            assert_eq!(serde_json::from_str::<String>(&format!("\"{safe}\"")).unwrap(), text);
        }
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in ["59,465.68", "日本語 ₹ é", ""] {
            assert!(matches!(harmless(text), Cow::Borrowed(same) if same == text));
        }
    }
}
