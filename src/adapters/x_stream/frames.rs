//! From bytes to messages: X ends each message with CRLF, and sends an empty one as a sign of life (docs.x.com,
//! "Consuming streaming data").
//!
//! Chunks of the transport have nothing to do with messages: a message, a character, even a CRLF may be cut anywhere.
//! A line feed alone may stand inside a message; the other line ends of Unicode mean nothing here.

/// A longer message is not one of X's, which have some kilobytes with everything expanded.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// How much is kept of a message that is too long.
const HEAD_BYTES: usize = 4 * 1024;

/// One thing that the stream brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// An empty line: the connection lives, and nothing is on its way.
    KeepAlive,
    /// A message, without its CRLF.
    Message(&'a [u8]),
    /// A message that was too long, so long, and its beginning.
    TooLong(usize, &'a [u8]),
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pending: Vec<u8>,
    /// Where the next message begins in `pending`.
    start: usize,
    /// Up to where `pending` has been searched for an end.
    searched: usize,
    /// How many bytes of a message that is too long have been dropped.
    dropped: usize,
}

impl Frames {
    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.pending.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The next message that is whole.
    pub(super) fn next(&mut self) -> Option<Frame<'_>> {
        let Some(end) = self.find_end() else {
            self.drop_what_is_too_long();
            return None;
        };
        let start = std::mem::replace(&mut self.start, end + 2);
        self.searched = self.start;
        let message = &self.pending[start..end];
        let len = message.len() + std::mem::take(&mut self.dropped);
        Some(match message {
            [] => Frame::KeepAlive,
            _ if len > MESSAGE_BYTES_MAX => Frame::TooLong(len, &message[..message.len().min(HEAD_BYTES)]),
            _ => Frame::Message(message),
        })
    }

    /// What has come of a message that did not end.
    pub(super) fn rest(&self) -> &[u8] {
        &self.pending[self.start..]
    }

    fn find_end(&mut self) -> Option<usize> {
        while let Some(at) = memchr::memchr(b'\r', &self.pending[self.searched..]) {
            let at = self.searched + at;
            match self.pending.get(at + 1) {
                Some(b'\n') => return Some(at),
                // White space between two tokens.
                Some(_) => self.searched = at + 1,
                None => {
                    self.searched = at;
                    return None;
                }
            }
        }
        self.searched = self.pending.len();
        None
    }

    /// Keeps the head of a message that is too long, and counts the rest.
    fn drop_what_is_too_long(&mut self) {
        let len = self.pending.len() - self.start;
        if len + self.dropped > MESSAGE_BYTES_MAX && len > HEAD_BYTES {
            // A CR at the end may be half of the end.
            let tail = usize::from(self.pending.ends_with(b"\r"));
            let (from, to) = (self.start + HEAD_BYTES, self.pending.len() - tail);
            if to > from {
                self.pending.drain(from..to);
                self.dropped += to - from;
                self.searched = self.pending.len() - tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a stream brings when its bytes come in these pieces.
    fn all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            frames.push(piece);
            while let Some(frame) = frames.next() {
                found.push(match frame {
                    Frame::KeepAlive => "-".to_owned(),
                    Frame::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Frame::TooLong(len, head) => format!("too long: {len}, {}", head.len()),
                });
            }
        }
        (found, frames.rest().to_vec())
    }

    const STREAM: &str = "\r\n{\"a\":1}\r\n{\"text\":\"é\u{2028}\u{85}\"}\r\n\r\n{\"b\"\n:\r 2}\r\n{\"torn\":";

    #[test]
    fn every_cut_gives_the_same_messages() {
        let bytes = STREAM.as_bytes();
        let expected = ["-", "{\"a\":1}", "{\"text\":\"é\u{2028}\u{85}\"}", "-", "{\"b\"\n:\r 2}"].map(str::to_owned);
        for cut in 0..=bytes.len() {
            let (found, rest) = all([&bytes[..cut], &bytes[cut..]]);
            assert_eq!((found.as_slice(), &rest[..]), (&expected[..], &b"{\"torn\":"[..]), "cut at {cut}");
        }
        assert_eq!(all(bytes.chunks(1)).0, expected, "byte by byte");
    }

    #[test]
    fn a_message_without_end_takes_bounded_memory() {
        let mut frames = Frames::default();
        for _ in 0..20_000 {
            frames.push(&[b'x'; 1024]);
            assert!(frames.next().is_none());
            assert!(frames.pending.len() <= MESSAGE_BYTES_MAX + 2048);
        }
        frames.push(b"\r");
        assert!(frames.next().is_none());
        frames.push(b"\n{}\r\n");
        assert_eq!(frames.next(), Some(Frame::TooLong(20_000 * 1024, &[b'x'; HEAD_BYTES])));
        assert_eq!(frames.next(), Some(Frame::Message(b"{}")));
    }

    proptest! {
        #[test]
        fn no_cut_matters(text in "(\r\n|\r|\n|[a-c]{0,5}){0,20}", cuts in proptest::collection::vec(0_usize..60, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(all(pieces), all([bytes]));
        }
    }
}
