//! Batches: lines on their way into a store, with their positions and ids.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::Line;
use crate::sink::Position;

use super::Feed;

/// Where the id of a line is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// The line is a record: in its `id`.
    Record,
    /// The line is somebody else's: in this field, a text or a number.
    Field(Arc<str>),
    /// The line is somebody else's, and is known by where it stands: this word, `_`, and the offset.
    Position(Arc<str>),
    /// The line is a dead letter: what it keeps is the record, and a letter of another stream is none of this batch's.
    Letter,
}

/// Lines of one segment, in order, though not always next to each other.
#[derive(Debug, Clone)]
pub struct Batch {
    feed: Arc<Feed>,
    segment: u64,
    /// The offset of the first byte of `bytes`.
    base: u64,
    bytes: Bytes,
    lines: Arc<[Place]>,
    /// Which of the lines are picked.
    picked: Picked,
    ids: Ids,
}

/// Where a line is, from the first byte of a batch on.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where its line in the file begins.
    at: u32,
    /// The line itself: in a dead letter only a part of that.
    begin: u32,
    end: u32,
    /// Where the next line in the file begins.
    next: u32,
}

#[derive(Debug, Clone)]
enum Picked {
    Range(usize, usize),
    Some(Arc<[usize]>),
}

impl Batch {
    /// All the lines in `bytes`, which ends with a line feed, and begins at `from`. Empty lines are not lines.
    pub fn new(feed: Arc<Feed>, from: Position, bytes: Bytes, ids: Ids) -> Self {
        let mut lines = Vec::with_capacity(bytes.len() / 256 + 1);
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', &bytes) {
            let line = match ids {
                Ids::Letter => letter(&bytes[begin..end], &feed.stream).map(|(from, to)| (begin + from, begin + to)),
                _ => (end > begin).then_some((begin, end)),
            };
            if let Some((from, to)) = line {
                lines.push(Place { at: small(begin), begin: small(from), end: small(to), next: small(end + 1) });
            }
            begin = end + 1;
        }
        let picked = Picked::Range(0, lines.len());
        Self { feed, segment: from.segment, base: from.offset, bytes, lines: lines.into(), picked, ids }
    }

    /// The stream that the lines are of.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The stream's name.
    pub fn stream(&self) -> &Arc<str> {
        &self.feed.stream
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        match &self.picked {
            Picked::Range(from, to) => to - from,
            Picked::Some(picked) => picked.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The line at an index.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, index: usize) -> Entry<'_> {
        let Place { at, begin, end, next } = self.lines[self.place(index)];
        let line = &self.bytes[begin as usize..end as usize];
        Entry { position: self.at(at), next: self.at(next), line, ids: &self.ids }
    }

    /// Every line, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Where the first line begins; of a batch from its first line on, with what is before it and is no line.
    pub fn from(&self) -> Position {
        match self.picked {
            Picked::Range(0, _) => self.at(0),
            _ if self.is_empty() => self.at(0),
            _ => self.get(0).position,
        }
    }

    /// Where the last line ends, its line feed included; of a batch to its last line, with what is behind it and is no
    /// line.
    pub fn to(&self) -> Position {
        let all = self.at(small(self.bytes.len()));
        if matches!(self.picked, Picked::Range(_, to) if to == self.lines.len()) {
            return all;
        }
        let Some(last) = self.len().checked_sub(1) else { return all };
        self.at(self.lines[self.place(last)].next)
    }

    /// The lines as they stand in the file, each with its line feed, where they stand next to each other.
    pub fn text(&self) -> Bytes {
        if let (Picked::Range(from, to), false) = (&self.picked, self.ids == Ids::Letter) {
            let Some(last) = to.checked_sub(1).filter(|last| last >= from) else { return Bytes::new() };
            return self.bytes.slice(self.lines[*from].at as usize..self.lines[last].next as usize);
        }
        let mut text = Vec::new();
        for entry in self.iter() {
            text.extend_from_slice(entry.line);
            text.push(b'\n');
        }
        text.into()
    }

    /// Only the lines at these indices, which grow.
    #[must_use]
    pub fn pick(&self, indices: &[usize]) -> Self {
        let picked = Picked::Some(indices.iter().map(|index| self.place(*index)).collect());
        Self { picked, ..self.clone() }
    }

    /// The first half and the second.
    pub fn halves(&self) -> (Self, Self) {
        let middle = self.len() / 2;
        let (first, second) = match &self.picked {
            Picked::Range(from, to) => (Picked::Range(*from, from + middle), Picked::Range(from + middle, *to)),
            Picked::Some(picked) => (Picked::Some(picked[..middle].into()), Picked::Some(picked[middle..].into())),
        };
        (Self { picked: first, ..self.clone() }, Self { picked: second, ..self.clone() })
    }

    /// Where a line of this batch is among all the lines that it was once made of.
    pub fn place(&self, index: usize) -> usize {
        match &self.picked {
            Picked::Range(from, _) => from + index,
            Picked::Some(picked) => picked[index],
        }
    }

    fn at(&self, offset: u32) -> Position {
        Position { segment: self.segment, offset: self.base + u64::from(offset) }
    }
}

fn small(offset: usize) -> u32 {
    u32::try_from(offset).expect("invariant: a batch is far below 4 GiB")
}

/// One line of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Where it begins.
    pub position: Position,
    /// Where the next begins: how far a store is that has everything up to this one.
    pub next: Position,
    /// The line, without its line feed.
    pub line: &'a [u8],
    ids: &'a Ids,
}

/// A line taken apart.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The id: in a store that goes by ids, this is it.
    pub id: Cow<'a, str>,
    /// When tapline saw it; `None` for somebody else's line.
    pub observed_at: Option<Cow<'a, str>>,
    /// Its source; `None` for somebody else's line.
    pub source: Option<Cow<'a, str>>,
    /// Its type; `None` for somebody else's line.
    pub kind: Option<Cow<'a, str>>,
    /// When upstream says that it happened.
    pub published_at: Option<Cow<'a, str>>,
    /// What it is about; of somebody else's line, all of it.
    pub data: &'a RawValue,
}

impl<'a> Entry<'a> {
    /// Its id, without reading the whole line where that can be.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn id(&self) -> Result<Cow<'a, str>, String> {
        match self.ids {
            Ids::Record | Ids::Letter => match quick_id(self.line) {
                Some(id) => Ok(Cow::Borrowed(id)),
                None => Ok(self.parse::<Identity<'_>>()?.id),
            },
            Ids::Field(name) => field_id(self.line, name),
            Ids::Position(word) => Ok(Cow::Owned(format!("{word}_{}", self.position.offset))),
        }
    }

    /// The line taken apart.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub fn parts(&self) -> Result<Parts<'a>, String> {
        if self.is_record() {
            let Line { observed_at, source, id, kind, published_at, data } = self.parse()?;
            let (observed_at, source, kind) = (Some(observed_at), Some(source), Some(kind));
            return Ok(Parts { id, observed_at, source, kind, published_at, data });
        }
        let data = self.parse()?;
        Ok(Parts { id: self.id()?, observed_at: None, source: None, kind: None, published_at: None, data })
    }

    /// The day on which a record was observed, as `2026-11-23`; `None` for somebody else's line.
    pub fn day(&self) -> Option<&'a str> {
        let day = self.line.strip_prefix(BEFORE_TIME)?.get(..10)?;
        let is_day = day.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        std::str::from_utf8(day).ok().filter(|_| is_day && self.is_record())
    }

    /// Whether the line is one of our records, and not somebody else's.
    fn is_record(&self) -> bool {
        matches!(self.ids, Ids::Record | Ids::Letter)
    }

    fn parse<T: Deserialize<'a>>(&self) -> Result<T, String> {
        serde_json::from_slice(self.line).map_err(|error| format!("the line is not what it should be: {error}"))
    }
}

/// What is read of a dead letter.
#[derive(Deserialize)]
struct Letter<'a> {
    #[serde(borrow)]
    data: LetterData<'a>,
}

#[derive(Deserialize)]
struct LetterData<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Where in a dead letter of this stream its record stands.
fn letter(line: &[u8], stream: &str) -> Option<(usize, usize)> {
    let letter: Letter<'_> = serde_json::from_slice(line).ok()?;
    let record = letter.data.record.get();
    let begin = record.as_ptr() as usize - line.as_ptr() as usize;
    (letter.data.stream == stream).then_some((begin, begin + record.len()))
}

/// The streams whose records are among these dead letters.
pub fn streams_of_letters(lines: &[u8]) -> std::collections::BTreeSet<Arc<str>> {
    let letters = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Letter<'_>>(line).ok());
    letters.map(|letter| Arc::from(&*letter.data.stream)).collect()
}

#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

const BEFORE_TIME: &[u8] = b"{\"observed_at\":\"";
const TIME_LEN: usize = 27;
const BEFORE_SOURCE: &[u8] = b"\",\"source\":\"";
const BEFORE_ID: &[u8] = b",\"id\":\"";

/// The id of a line that is written as all our lines are, with nothing escaped before it.
fn quick_id(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(BEFORE_TIME)?.get(TIME_LEN..)?.strip_prefix(BEFORE_SOURCE)?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    let rest = rest[end..].strip_prefix(b"\"")?.strip_prefix(BEFORE_ID)?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    (rest[end] == b'"').then(|| std::str::from_utf8(&rest[..end]).ok())?
}

/// A text or a number in a field of an object, as it stands there.
fn field_id<'a>(line: &'a [u8], name: &str) -> Result<Cow<'a, str>, String> {
    let mut fields: std::collections::HashMap<Cow<'a, str>, &'a RawValue> =
        serde_json::from_slice(line).map_err(|error| format!("the line is not a JSON object: {error}"))?;
    let value = fields.remove(name).ok_or_else(|| format!("the line has no field `{name}` to take its id from"))?;
    let text = value.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).map(Cow::Owned).map_err(|error| error.to_string());
    }
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number {
        Ok(Cow::Borrowed(text))
    } else {
        Err(format!("the field `{name}` is no text and no number: it cannot be an id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Arc<Feed> {
        Arc::new(Feed { stream: "s".into(), origin: "o".into() })
    }

    fn batch(text: &str, ids: Ids) -> Batch {
        Batch::new(feed(), Position { segment: 3, offset: 100 }, Bytes::copy_from_slice(text.as_bytes()), ids)
    }

    fn record_of(data: &str) -> String {
        record("d_1", data)
    }

    fn record(id: &str, data: &str) -> String {
        let record = crate::record::Record {
            observed_at: "2026-11-23T07:04:05.123456Z".parse().unwrap(),
            source: "bse".into(),
            id: id.to_owned(),
            kind: "quote".into(),
            published_at: None,
            data: RawValue::from_string(data.to_owned()).unwrap(),
        };
        record.to_line()
    }

    #[test]
    fn lines_have_positions_and_parts_of_a_batch_keep_them() {
        let batch = batch("aa\n\nbbb\nc\ndd\n", Ids::Position("f".into()));
        assert_eq!(batch.len(), 4);
        assert_eq!((batch.from().offset, batch.to().offset), (100, 113));
        let (first, second) = batch.halves();
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_eq!(second.from(), Position { segment: 3, offset: 108 });
        assert_eq!(&*second.text(), b"c\ndd\n");
        let some = second.pick(&[1]);
        assert_eq!((some.place(0), &*some.text(), some.get(0).position.offset), (3, &b"dd\n"[..], 110));
        let of_some = batch.pick(&[0, 3]).halves().1;
        assert_eq!(of_some.get(0).line, b"dd");
        assert_eq!(of_some.get(0).id().unwrap(), "f_110");
    }

    #[test]
    fn ids_are_found_quickly_and_otherwise_slowly() {
        for id in ["r_1", "x_\u{e9}", "a\"b", "with \\ and \n"] {
            let line = record(id, r#"{"id":"other","a":[1]}"#);
            let batch = batch(&line, Ids::Record);
            assert_eq!(batch.get(0).id().unwrap(), id);
            assert_eq!(batch.get(0).parts().unwrap().id, id);
            assert_eq!(batch.get(0).day(), Some("2026-11-23"));
        }
        assert!(quick_id(record("r_1", "{}").as_bytes()).is_some(), "the quick way is the usual one");
        let odd = batch("{\"id\" : \"r_9\"}\n", Ids::Record);
        assert_eq!(odd.get(0).id().unwrap(), "r_9");
        assert!(odd.get(0).parts().is_err());
        assert_eq!(
            batch("not json\n", Ids::Record).get(0).id().unwrap_err(),
            "the line is not what it should be: expected ident at line 1 column 2"
        );
    }

    #[test]
    fn dead_letters_are_opened_and_those_of_other_streams_left() {
        let letter = |stream: &str, record: &str| {
            record_of(&format!(
                r#"{{"stream":"{stream}","position":{{"segment":1,"offset":0}},"reason":"x","record":{record}}}"#
            ))
        };
        let one = record("r_1", "1.50");
        let lines = [letter("s", one.trim_end()), letter("t", one.trim_end()), letter("s", "\"no record\"")];
        let text = lines.concat();
        let batch = batch(&text, Ids::Letter);
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.get(0).line, one.trim_end().as_bytes());
        assert_eq!((batch.get(0).id().unwrap(), batch.get(0).position.offset), ("r_1".into(), 100));
        assert_eq!(batch.get(1).position.offset, 100 + (lines[0].len() + lines[1].len()) as u64);
        assert_eq!(batch.to().offset, 100 + text.len() as u64);
        assert_eq!(&*batch.halves().0.text(), one.as_bytes());
        assert!(batch.get(1).id().is_err());
        assert_eq!(streams_of_letters(text.as_bytes()).len(), 2);
    }

    #[test]
    fn ids_of_other_peoples_lines() {
        let ids = Ids::Field("key".into());
        for (line, expected) in [
            (r#"{"key":"a\"b","x":1}"#, Ok("a\"b")),
            (r#"{"x":{"key":1},"key":12345678901234567890123}"#, Ok("12345678901234567890123")),
            (r#"{"key":null}"#, Err("the field `key` is no text and no number: it cannot be an id")),
            (r#"{"x":1}"#, Err("the line has no field `key` to take its id from")),
        ] {
            let batch = batch(&format!("{line}\n"), ids.clone());
            assert_eq!(batch.get(0).id().as_deref().map_err(String::as_str), expected);
        }
        let parts = batch("{\"key\":7}\n", ids);
        assert_eq!(parts.get(0).parts().unwrap().data.get(), "{\"key\":7}");
    }
}
