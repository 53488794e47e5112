//! From bytes to events, by the rules of WHATWG (HTML, "server-sent events", 9.2.5 and 9.2.6), to the letter.
//!
//! Nothing here waits: bytes are pushed as they come, cut anywhere, and events are taken until there is none. An event is lent
//! out of the buffer where its bytes lie; only one that is cut by the end of a push, or has several lines of data, is copied.
//! Each byte is looked at a fixed number of times. What is kept is bounded by the longest event that is allowed: a longer one
//! is said with its beginning, and the stream goes on behind it.
//!
//! Text is decoded by field: a line end, a colon and a space are never part of another character in UTF-8, and end one that is
//! broken, so that it comes to the same as to decode the whole.

#[cfg(any(test, fuzzing))]
pub(super) mod checks;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

/// How much is kept of an event that is too long.
pub(super) const HEAD_BYTES: usize = 4 * 1024;

/// Longer than what stands before the value of any field.
const NAME_BYTES: usize = 16;

/// A buffer that has grown beyond this, for once, is given back.
const KEPT_BYTES: usize = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// An event that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// Its type; `message` unless it says otherwise.
    pub(super) kind: Cow<'a, str>,
    /// Its data.
    pub(super) data: Data<'a>,
    /// The id that it has itself, which may be empty. One that it has not inherits the last, which is no identity.
    pub(super) id: Option<&'a str>,
}

/// The data of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data<'a> {
    /// All of it.
    Whole(Cow<'a, str>),
    /// It has so many bytes, which are too many, and begins like this.
    TooLong(usize, Cow<'a, str>),
}

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub(super) struct Parser {
    /// The longest data, type and id that an event may have.
    bytes_max: usize,
    pending: Vec<u8>,
    /// Where the next line begins in `pending`.
    start: usize,
    /// Up to where `pending` has been searched for a line end.
    searched: usize,
    /// How many bytes of a line that is too long have been dropped.
    dropped: usize,
    /// A mark at the beginning is still to be looked for.
    is_at_beginning: bool,
    /// The last line ended with a CR: a LF that follows belongs to it.
    after_cr: bool,
    block: Block,
    /// The event at hand has been lent out.
    is_over: bool,
    last_id: Option<String>,
    retry: Option<u64>,
    comments: u64,
}

/// What has been read of an event.
#[derive(Debug, Default)]
struct Block {
    kind: Text,
    data: Text,
    /// How many lines of data there were.
    lines: usize,
    id: Option<Text>,
    /// How many bytes its data has, once it is too long. Its text is then the beginning.
    too_long: Option<usize>,
}

/// Text in the buffer, as long as that does not move, and then a copy.
#[derive(Debug, Default)]
struct Text {
    place: Option<Range<usize>>,
    copy: Vec<u8>,
}

impl Text {
    fn set(&mut self, place: Range<usize>) {
        self.copy.clear();
        self.place = Some(place);
    }

    fn bytes<'a>(&'a self, pending: &'a [u8]) -> &'a [u8] {
        self.place.clone().map_or(&self.copy, |place| &pending[place])
    }

    fn len(&self) -> usize {
        self.place.as_ref().map_or(self.copy.len(), ExactSizeIterator::len)
    }

    /// Makes it independent of the buffer.
    fn keep(&mut self, pending: &[u8]) -> &mut Vec<u8> {
        if let Some(place) = self.place.take() {
            self.copy.clear();
            self.copy.extend_from_slice(&pending[place]);
        }
        &mut self.copy
    }

    fn clear(&mut self) {
        self.place = None;
        self.copy.clear();
        self.copy.shrink_to(KEPT_BYTES);
    }
}

/// The fields that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Event,
    Data,
    Id,
    Retry,
}

impl Parser {
    /// A parser of one body, from its first byte. `bytes_max` is how long the data of an event may be.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            pending: Vec::new(),
            start: 0,
            searched: 0,
            dropped: 0,
            is_at_beginning: true,
            after_cr: false,
            block: Block::default(),
            is_over: false,
            last_id: None,
            retry: None,
            comments: 0,
        }
    }

    /// Takes what has come. All events of before should have been taken.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.finish();
        if self.start > 0 {
            self.block.keep(&self.pending);
            self.pending.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            if self.pending.capacity() > KEPT_BYTES {
                self.pending.shrink_to(KEPT_BYTES);
            }
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The next event that is whole.
    pub(super) fn next(&mut self) -> Option<Event<'_>> {
        self.finish();
        if !self.is_past_the_mark() {
            return None;
        }
        while let Some(line) = self.next_line() {
            let dropped = std::mem::take(&mut self.dropped);
            if line.is_empty() {
                if self.dispatch() {
                    return Some(self.lend());
                }
            } else {
                self.take_line(line, dropped);
            }
        }
        None
    }

    /// The last id of this body, once one has come: what a client would be sent on from. It counts from the end of its
    /// event on, also of one without data.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How many milliseconds the server wants to be left alone after a connection, if it has said so.
    pub(super) fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// How many comments there were.
    pub(super) fn comments(&self) -> u64 {
        self.comments
    }

    /// Forgets the event that was lent out.
    fn finish(&mut self) {
        if std::mem::take(&mut self.is_over) {
            self.block.clear();
        }
    }

    /// Passes over a byte order mark at the very beginning; `false` while it cannot be told whether there is one.
    fn is_past_the_mark(&mut self) -> bool {
        if self.is_at_beginning {
            if self.pending.len() < BOM.len() && BOM.starts_with(&self.pending) {
                return false;
            }
            self.is_at_beginning = false;
            if self.pending.starts_with(BOM) {
                self.start = BOM.len();
                self.searched = self.start;
            }
        }
        true
    }

    /// Where the next line is, without its end.
    fn next_line(&mut self) -> Option<Range<usize>> {
        if self.after_cr {
            let next = *self.pending.get(self.start)?;
            self.after_cr = false;
            if next == b'\n' {
                self.start += 1;
                self.searched = self.start;
            }
        }
        let Some(at) = memchr::memchr2(b'\n', b'\r', &self.pending[self.searched..]) else {
            self.searched = self.pending.len();
            self.drop_what_is_too_long();
            return None;
        };
        let end = self.searched + at;
        let line = self.start..end;
        // A CR ends the line at once: whoever waits for what follows it would hold the event back.
        self.after_cr = self.pending[end] == b'\r';
        self.start = end + 1;
        self.searched = self.start;
        Some(line)
    }

    /// Keeps the beginning of a line that is too long, and counts the rest.
    fn drop_what_is_too_long(&mut self) {
        let len = self.pending.len() - self.start;
        let kept = HEAD_BYTES + NAME_BYTES;
        if len + self.dropped > self.bytes_max + NAME_BYTES && len > kept {
            self.pending.truncate(self.start + kept);
            self.dropped += len - kept;
            self.searched = self.pending.len();
        }
    }

    /// Does what a line says, of which so many bytes were dropped.
    fn take_line(&mut self, line: Range<usize>, dropped: usize) {
        let bytes = &self.pending[line.clone()];
        if bytes[0] == b':' {
            self.comments += 1;
            return;
        }
        let Some((field, name_len)) = field(bytes) else { return };
        let value = line.start + name_len..line.end;
        let len = value.len() + dropped;
        let (block, pending) = (&mut self.block, &self.pending[..]);
        match field {
            Field::Data => block.add(pending, value, len, self.bytes_max),
            Field::Retry if dropped == 0 => self.retry = milliseconds(&pending[value]).or(self.retry),
            Field::Retry => {}
            Field::Event | Field::Id if len > self.bytes_max => block.too_long = block.too_long.or(Some(len)),
            Field::Event => block.kind.set(value),
            Field::Id if memchr::memchr(0, &pending[value.clone()]).is_some() => {}
            Field::Id => block.id.get_or_insert_default().set(value),
        }
    }

    /// The end of a block: whether there is an event to be lent out.
    fn dispatch(&mut self) -> bool {
        if let Some(id) = &self.block.id {
            let last = self.last_id.get_or_insert_default();
            last.clear();
            last.push_str(&text(id.bytes(&self.pending)));
        }
        self.is_over = self.block.lines > 0;
        if !self.is_over {
            self.block.clear();
        }
        self.is_over
    }

    fn lend(&self) -> Event<'_> {
        let Block { kind, data, id, too_long, .. } = &self.block;
        let kind = text(kind.bytes(&self.pending));
        let data = data.bytes(&self.pending);
        Event {
            kind: if kind.is_empty() { "message".into() } else { kind },
            data: match too_long {
                Some(len) => Data::TooLong(*len, text(&data[..data.len().min(HEAD_BYTES)])),
                None => Data::Whole(text(data)),
            },
            id: id.as_ref().and(self.last_id.as_deref()),
        }
    }
}

impl Block {
    /// Adds a line of data, of which what is in the buffer may be the beginning.
    fn add(&mut self, pending: &[u8], value: Range<usize>, len: usize, bytes_max: usize) {
        self.lines += 1;
        if let Some(so_far) = &mut self.too_long {
            *so_far += len + 1;
            return;
        }
        let before = if self.lines == 1 { 0 } else { self.data.len() + 1 };
        if self.lines == 1 {
            self.data.set(value);
        } else {
            let copy = self.data.keep(pending);
            copy.push(b'\n');
            copy.extend_from_slice(&pending[value]);
        }
        if before + len > bytes_max {
            self.too_long = Some(before + len);
            let copy = self.data.keep(pending);
            copy.truncate(HEAD_BYTES);
            copy.shrink_to(KEPT_BYTES);
        }
    }

    /// Makes it independent of the buffer.
    fn keep(&mut self, pending: &[u8]) {
        self.kind.keep(pending);
        self.data.keep(pending);
        if let Some(id) = &mut self.id {
            id.keep(pending);
        }
    }

    fn clear(&mut self) {
        self.kind.clear();
        self.data.clear();
        self.lines = 0;
        self.id = None;
        self.too_long = None;
    }
}

/// Which field a line has, and where its value begins. Names are exact; of several spaces before the value one goes.
fn field(line: &[u8]) -> Option<(Field, usize)> {
    let (field, name): (Field, &[u8]) = match line[0] {
        b'd' => (Field::Data, b"data"),
        b'e' => (Field::Event, b"event"),
        b'i' => (Field::Id, b"id"),
        b'r' => (Field::Retry, b"retry"),
        _ => return None,
    };
    match line.strip_prefix(name)? {
        [] => Some((field, line.len())),
        [b':', b' ', ..] => Some((field, name.len() + 2)),
        [b':', ..] => Some((field, name.len() + 1)),
        _ => None,
    }
}

/// Bytes as text. What is UTF-8, as nearly everything is, is seen to be that many bytes at a time.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// A time of reconnection: digits and nothing else. More of them than a number holds are a long time.
fn milliseconds(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}
