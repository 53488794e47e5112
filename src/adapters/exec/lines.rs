//! From bytes to lines, in bounded memory.

use memchr::memchr;

/// How much is kept of a line that is too long.
const HEAD_BYTES: usize = 4 * 1024;

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole one.
    Whole(Vec<u8>),
    /// One that was too long: how long, and its beginning.
    TooLong(usize, Vec<u8>),
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    max: usize,
    pending: Vec<u8>,
    /// How many bytes of a line that is too long were dropped.
    dropped: usize,
}

impl Lines {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, pending: Vec::new(), dropped: 0 }
    }

    /// Takes what has come, and adds the lines that are whole by it; an empty one is none. A carriage return before a line's
    /// end belongs to it. Says whether a line ended, be it empty.
    pub(crate) fn push(&mut self, mut bytes: &[u8], lines: &mut Vec<Line>) -> bool {
        let mut has_ended = false;
        while let Some(at) = memchr(b'\n', bytes) {
            self.take(&bytes[..at]);
            lines.extend(self.end());
            bytes = &bytes[at + 1..];
            has_ended = true;
        }
        self.take(bytes);
        has_ended
    }

    /// The last line, of a program that has ended without one.
    pub(crate) fn end(&mut self) -> Option<Line> {
        let (mut line, dropped) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.dropped));
        if dropped == 0 && line.last() == Some(&b'\r') {
            line.pop();
        }
        let len = line.len() + dropped;
        if len > self.max {
            line.truncate(HEAD_BYTES);
            return Some(Line::TooLong(len, line));
        }
        (!line.is_empty()).then_some(Line::Whole(line))
    }

    /// One byte more than a line may have is kept: it may be the carriage return.
    fn take(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min((self.max + 1).saturating_sub(self.pending.len()));
        self.pending.extend_from_slice(&bytes[..kept]);
        self.dropped += bytes.len() - kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_bytes_are() {
        let bytes = b"a\r\n\nbcd\n12345678\nx\r";
        for at in 0..=bytes.len() {
            let (mut lines, mut found) = (Lines::new(6), Vec::new());
            lines.push(&bytes[..at], &mut found);
            lines.push(&bytes[at..], &mut found);
            found.extend(lines.end());
            let whole = |text: &[u8]| Line::Whole(text.to_vec());
            assert_eq!(found[..2], [whole(b"a"), whole(b"bcd")], "{at}");
            assert!(matches!(&found[2], Line::TooLong(8, head) if b"12345678".starts_with(head)), "{at}: {found:?}");
            assert_eq!(found[3..], [whole(b"x")], "{at}");
        }
    }
}
