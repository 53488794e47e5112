//! Lines and messages of programs: whatever the bytes and the cuts, the same lines, in bounded memory, and no panic.

use super::lines::{Line, Lines};
use super::singer::Singer;
use crate::message::{Made, MessageKeys};

/// The same lines come of the whole as of any two pieces.
pub(crate) fn lines(bytes: &[u8], at: usize) {
    const MAX: usize = 64;
    let at = at % (bytes.len() + 1);
    let cut = |pieces: &[&[u8]]| {
        let (mut lines, mut found) = (Lines::new(MAX), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut found);
        }
        found.extend(lines.end());
        found
    };
    let whole = cut(&[bytes]);
    assert_eq!(whole, cut(&[&bytes[..at], &bytes[at..]]));
    for line in &whole {
        let Line::Whole(line) = line else { continue };
        assert!(line.len() <= MAX && !line.contains(&b'\n') && !line.is_empty());
    }
}

/// Records of a tap are its own text, and have an id.
pub(crate) fn singer(text: &str) {
    let reader = MessageKeys::default().reader("s", &[]).expect("no keys are never wrong");
    let (mut singer, mut made) = (Singer::new(reader, "s"), Made::default());
    for line in text.lines() {
        singer.take(line, &mut made).ok();
    }
    for item in &made.items {
        assert!(text.contains(item.data.get()) && item.id.as_ref().is_some_and(|id| id.starts_with("m_")));
    }
}
