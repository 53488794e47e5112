//! From bytes to messages with `delimited=length`: the length in bytes as decimal digits, a line end, then exactly that
//! many bytes, of which the last two are the message's own CRLF. Blank lines between messages are signs of life.
//!
//! Chunks of the transport have nothing to do with messages, and lengths count bytes, never characters.

/// The longest message that is believed. Statuses have some kilobytes; Twitter's own client refused half a megabyte.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How many lines in a row may stand where a length should before the stream is given up.
const STRAYS_MAX: u32 = 3;

/// One thing that the stream brought.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Frame<'a> {
    /// A blank line: the connection lives, and nothing is on its way.
    KeepAlive,
    /// A message, without its line end.
    Message(&'a [u8]),
    /// What stood where a length should, up to its CRLF: words of the server, or the end of a message that was longer
    /// than it said.
    Stray(&'a [u8]),
    /// The stream cannot be read on, and why. Nothing comes after it.
    Broken(String),
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(in super::super) struct Frames {
    pending: Vec<u8>,
    /// Where in `pending` the next thing begins.
    start: usize,
    /// Up to where `pending` has been searched for a line's end.
    searched: usize,
    /// The length of the message that begins at `start`, once it is known.
    length: Option<usize>,
    /// How many strays came since the last message.
    strays: u32,
    is_broken: bool,
}

impl Frames {
    /// Takes what has come.
    pub(in super::super) fn push(&mut self, bytes: &[u8]) {
        if self.is_broken {
            return;
        }
        if self.start > 0 {
            self.pending.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The next thing that is whole.
    pub(in super::super) fn next(&mut self) -> Option<Frame<'_>> {
        if self.is_broken {
            return None;
        }
        if let Some(length) = self.length {
            return self.message(length);
        }
        let Some(end) = self.find(b"\n") else { return self.wait_for_more() };
        match length_of(&self.pending[self.start..end]) {
            Line::Blank | Line::Length(0) => {
                self.advance(end + 1);
                Some(Frame::KeepAlive)
            }
            Line::Length(length) if length > MESSAGE_BYTES_MAX => Some(self.broken(format!(
                "too_long: a message of {length} bytes is announced, and the longest that is taken has {MESSAGE_BYTES_MAX}"
            ))),
            Line::Length(length) => {
                self.advance(end + 1);
                self.length = Some(length);
                self.message(length)
            }
            Line::Other => self.stray(),
        }
    }

    /// What has come of a message that did not end.
    pub(in super::super) fn rest(&self) -> &[u8] {
        &self.pending[self.start..]
    }

    fn message(&mut self, length: usize) -> Option<Frame<'_>> {
        let start = self.start;
        if self.pending.len() - start < length {
            return None;
        }
        self.length = None;
        self.strays = 0;
        self.advance(start + length);
        let message = &self.pending[start..start + length];
        let message = message.strip_suffix(b"\n").map_or(message, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        // A blank line that was counted is a sign of life too.
        Some(if message.is_empty() { Frame::KeepAlive } else { Frame::Message(message) })
    }

    /// Steps over what is no length, up to the next CRLF, which is the one place where a length can follow: a line feed
    /// alone may stand inside a message.
    fn stray(&mut self) -> Option<Frame<'_>> {
        // The line feed that was found may be the end of the CRLF that is wanted now.
        self.searched = self.searched.saturating_sub(1).max(self.start);
        let Some(end) = self.find(b"\r\n").filter(|end| end - self.start <= MESSAGE_BYTES_MAX) else {
            return self.wait_for_more();
        };
        self.strays += 1;
        if self.strays > STRAYS_MAX {
            let strays = self.strays;
            return Some(self.broken(format!(
                "lost_the_lengths: {strays} times in a row there was something else where a message's length should be"
            )));
        }
        let start = self.start;
        self.advance(end + 2);
        Some(Frame::Stray(&self.pending[start..end]))
    }

    /// Nothing is whole yet; but a line without an end is not waited for for ever.
    fn wait_for_more(&mut self) -> Option<Frame<'_>> {
        let waiting = self.pending.len() - self.start;
        (waiting > MESSAGE_BYTES_MAX).then(|| {
            self.broken(format!("too_long: {waiting} bytes came where a message's length should be, and no line's end"))
        })
    }

    /// Where the next `end` begins. What was searched once is not searched again.
    fn find(&mut self, end: &[u8]) -> Option<usize> {
        let found = memchr::memmem::find(&self.pending[self.searched..], end).map(|at| self.searched + at);
        // The last byte may be the first of an end that is not there yet.
        self.searched = found.unwrap_or_else(|| (self.pending.len() + 1).saturating_sub(end.len()).max(self.searched));
        found
    }

    fn advance(&mut self, to: usize) {
        self.start = to;
        self.searched = to;
    }

    fn broken(&mut self, why: String) -> Frame<'_> {
        *self = Self { is_broken: true, ..Self::default() };
        Frame::Broken(why)
    }
}

/// What stands where a length should.
enum Line {
    Blank,
    Length(usize),
    Other,
}

fn length_of(line: &[u8]) -> Line {
    let line = line.trim_ascii();
    if line.is_empty() {
        Line::Blank
    } else if line.iter().all(u8::is_ascii_digit) {
        // More digits than a number takes are a length that is too long, not a line of something else.
        let digit = |sum: usize, digit: &u8| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
        Line::Length(line.iter().fold(0, digit))
    } else {
        Line::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame that outlives its bytes.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Kept {
        KeepAlive,
        Message(Vec<u8>),
        Stray(Vec<u8>),
        Broken(String),
    }

    fn take(frames: &mut Frames, kept: &mut Vec<Kept>) {
        while let Some(frame) = frames.next() {
            kept.push(match frame {
                Frame::KeepAlive => Kept::KeepAlive,
                Frame::Message(bytes) => Kept::Message(bytes.to_vec()),
                Frame::Stray(bytes) => Kept::Stray(bytes.to_vec()),
                Frame::Broken(why) => Kept::Broken(why),
            });
        }
    }

    /// The frames of these chunks, and what was left.
    fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Kept>, Vec<u8>) {
        let (mut frames, mut kept) = (Frames::default(), Vec::new());
        for chunk in chunks {
            frames.push(chunk);
            take(&mut frames, &mut kept);
        }
        (kept, frames.rest().to_vec())
    }

    fn message(text: &str) -> Kept {
        Kept::Message(text.as_bytes().to_vec())
    }

    fn stray(text: &str) -> Kept {
        Kept::Stray(text.as_bytes().to_vec())
    }

    fn sent(text: &str) -> Vec<u8> {
        format!("{}\r\n{text}\r\n", text.len() + 2).into_bytes()
    }

    #[test]
    fn lengths_count_bytes() {
        let bytes =
            [sent("{\"text\":\"añ😀\"}"), b"\r\n\n".to_vec(), sent("{\"a\":\n\"\r\nb\"}"), b"7\n{\"a\"".to_vec()]
                .concat();
        let expected =
            [message("{\"text\":\"añ😀\"}"), Kept::KeepAlive, Kept::KeepAlive, message("{\"a\":\n\"\r\nb\"}")];
        assert_eq!(frames([&bytes[..]]), (expected.to_vec(), b"{\"a\"".to_vec()));
    }

    #[test]
    fn a_length_without_the_line_end_is_tolerated() {
        assert_eq!(frames([&b"2\r\n{}\r\n 4 \n{}\r\n"[..]]).0, [message("{}"), Kept::KeepAlive, message("{}")]);
        assert_eq!(frames([&b"2\n\r\n0\n\r\n"[..]]).0, vec![Kept::KeepAlive; 3]);
    }

    #[test]
    fn strays_are_stepped_over_and_counted() {
        let bytes =
            [b"Exceeded connection limit for user\r\n".to_vec(), b"half\na line\r\n".to_vec(), sent("{}")].concat();
        let expected = [stray("Exceeded connection limit for user"), stray("half\na line"), message("{}")];
        assert_eq!(frames([&bytes[..]]).0, expected);
        let good = [b"a\r\nb\r\nc\r\n".to_vec(), sent("{}"), b"a\r\nb\r\nc\r\n".to_vec(), sent("{}")].concat();
        assert_eq!(
            frames([&good[..]]).0.iter().filter(|kept| **kept == message("{}")).count(),
            2,
            "a message forgives"
        );
        let (bad, rest) = frames([&b"a\r\nb\r\nc\r\nd\r\n4\r\n{}\r\n"[..]]);
        assert!(matches!(&bad[..], [.., Kept::Broken(why)] if why.contains("4 times in a row")), "{bad:?}");
        assert_eq!((bad.len(), rest.len()), (4, 0));
    }

    #[test]
    fn what_is_too_long_is_refused_in_words() {
        for length in ["4194305", "99999999999999999999999999"] {
            let (kept, _) = frames([format!("{length}\r\n").as_bytes(), b"2\r\n{}"]);
            assert!(matches!(&kept[..], [Kept::Broken(why)] if why.contains("is announced")), "{kept:?}");
        }
        let mib = vec![b'x'; 1 << 20];
        let (kept, rest) = frames(std::iter::repeat_n(&mib[..], 6));
        assert!(matches!(&kept[..], [Kept::Broken(why)] if why.contains("no line's end")), "{kept:?}");
        assert_eq!(rest.len(), 0, "and no memory is kept of it");
        let (kept, _) = frames(std::iter::once(&b"x\n"[..]).chain(std::iter::repeat_n(&mib[..], 6)));
        assert!(matches!(&kept[..], [Kept::Broken(_)]), "{kept:?}");
        let longest = "x".repeat(MESSAGE_BYTES_MAX - 2);
        assert_eq!(frames([&sent(&longest)[..]]).0, [message(&longest)]);
    }

    #[test]
    fn cut_at_every_byte() {
        let bytes =
            [sent("{\"é\":1}"), b"\r\n".to_vec(), b"stray\nline\r\n".to_vec(), sent("{}\r\n\r\n{}"), b"\n".to_vec()]
                .concat();
        let whole = frames([&bytes[..]]);
        assert_eq!(whole.0.len(), 5);
        assert_eq!(frames(bytes.chunks(1)), whole);
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(frames([left, right]), whole, "cut at {at}");
        }
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            "\\PC{0,20}".prop_map(|text| sent(&text)),
            "[a-z{}:\r\n0-9 ]{0,12}".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..12),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(bytes in stream(), sizes in proptest::collection::vec(1_usize..9, 1..20)) {
            let whole = frames([&bytes[..]]);
            let (mut chunks, mut rest) = (Vec::new(), &bytes[..]);
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at(rest.len().min(*size));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(frames(chunks), whole);
        }

        #[test]
        fn whole_messages_come_through(texts in proptest::collection::vec("[^\r\n]{1,30}", 0..10)) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| sent(text)).collect();
            let expected: Vec<Kept> = texts.iter().map(|text| message(text)).collect();
            prop_assert_eq!(frames([&bytes[..]]), (expected, Vec::new()));
        }
    }
}
