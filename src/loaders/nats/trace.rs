//! What the messages of a subject tell of how far it is.
//!
//! Messages are published many at a time. When the connection breaks among them, the server may have some that come later
//! and not some that come earlier, so the last message alone says too much. Each message therefore carries, in one header:
//! the data folder that its record is of, where the record ends, where the one that is published before it ends, where its
//! batch begins, and the number in the stream behind which all messages of the batch stand. From the last message of a
//! subject the batch is found, and from the messages of the batch what there is of it.

use std::collections::BTreeSet;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind, Stream};
use bytes::Bytes;

use crate::sink::Position;
use crate::store::{Batch, Feed, Mark, Sent};

use super::Message;

/// The header that says it.
pub(super) const HEADER: &str = "Tapline-Position";

/// What is known of a subject.
pub(super) struct Trace {
    pub(super) subject: String,
    /// Where the batch begins, and behind which message its own are.
    base: (Position, u64),
    /// The number of the last message that is known to be there.
    last: u64,
    /// Where the records of the batch begin that are there already.
    there: BTreeSet<Position>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    origin: String,
    begins: Position,
    ends: Position,
    /// Where the record ends that was published before it.
    before: Position,
    base: (Position, u64),
}

/// The last message of a subject.
pub(super) struct Found {
    last: u64,
    said: Option<Said>,
}

impl Trace {
    pub(super) fn new(subject: String) -> Self {
        let start = Position { segment: 0, offset: 0 };
        Self { subject, base: (start, 0), last: 0, there: BTreeSet::new() }
    }

    /// A message for each record that is not there yet; those that cannot be one are dead.
    pub(super) fn messages(
        &mut self,
        batch: &Batch,
        most: usize,
        sent: &mut Sent,
    ) -> impl Iterator<Item = Message> + use<> {
        let from = batch.from();
        if self.base.0 != from {
            self.there = self.there.split_off(&from);
            // What is there already must be found again, so its batch is behind the same message as before.
            let behind = if self.there.is_empty() { self.last } else { self.base.1 };
            self.base = (from, behind);
        }
        let (feed, mut before) = (batch.feed(), from);
        let mut messages = Vec::with_capacity(batch.len());
        for (index, entry) in batch.iter().enumerate() {
            let id = match entry.id() {
                // The subject makes it one of this stream: two streams may have a record of one id.
                Ok(id) => format!("{}:{id}", feed.stream),
                Err(why) => {
                    sent.dead.push((index, why));
                    continue;
                }
            };
            let said = Said {
                origin: feed.origin.to_string(),
                begins: entry.position,
                ends: entry.next,
                before,
                base: self.base,
            };
            let header = said.header();
            let length = entry.line.len() + header.len() + id.len() + 64;
            if length > most {
                sent.dead.push((index, format!("as a message it has {length} bytes, and the server takes {most}")));
                continue;
            }
            before = entry.next;
            if self.there.contains(&entry.position) {
                sent.exists += 1;
                continue;
            }
            messages.push(Message {
                position: entry.position,
                id: header_text(&id),
                header,
                payload: Bytes::copy_from_slice(entry.line),
            });
        }
        messages.into_iter()
    }

    /// A record that begins here is there, as the message of this number.
    pub(super) fn stored(&mut self, begins: Position, number: u64) {
        self.last = self.last.max(number);
        self.there.insert(begins);
    }
}

/// An id as a value of a header, which no line feed may be in.
fn header_text(id: &str) -> String {
    if id.contains(|next: char| next.is_control()) {
        blake3::hash(id.as_bytes()).to_hex().to_string()
    } else {
        id.to_owned()
    }
}

impl Said {
    fn header(&self) -> String {
        let at = |position: Position| format!("{}-{}", position.segment, position.offset);
        let (base, behind) = self.base;
        let Self { origin, begins, ends, before, .. } = self;
        format!("{origin} {} {} {} {} {behind}", at(*begins), at(*ends), at(*before), at(base))
    }

    fn parse(header: &str) -> Option<Self> {
        let at = |text: &str| -> Option<Position> {
            let (segment, offset) = text.split_once('-')?;
            Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
        };
        let parts: Vec<&str> = header.split(' ').collect();
        let [origin, begins, ends, before, base, behind] = parts[..] else { return None };
        Some(Self {
            origin: origin.to_owned(),
            begins: at(begins)?,
            ends: at(ends)?,
            before: at(before)?,
            base: (at(base)?, behind.parse().ok()?),
        })
    }

    fn of(message: &StreamMessage) -> Option<Self> {
        Self::parse(message.headers.get(HEADER)?.as_str())
    }
}

/// The last message of a subject.
pub(super) async fn find(stream: &Stream, subject: &str) -> Result<Option<Found>, String> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(Found { last: message.sequence, said: Said::of(&message) })),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

impl Found {
    /// How far the subject is with a stream, and what is there beyond that.
    pub(super) async fn mark(
        self,
        stream: &Stream,
        subject: String,
        feed: &Feed,
        keeps_all: bool,
    ) -> Result<(Trace, Mark), String> {
        let mut trace = Trace { last: self.last, ..Trace::new(subject) };
        let ours = self.said.filter(|said| keeps_all && said.origin == *feed.origin);
        let Some(said) = ours else { return Ok((trace, Mark::Unknown)) };
        let mut batch = Vec::new();
        let mut next = said.base.1 + 1;
        while next <= self.last {
            match stream.get_first_raw_message_by_subject(&trace.subject, next).await {
                Ok(message) => {
                    next = message.sequence + 1;
                    batch.extend(Said::of(&message).filter(|other| other.origin == said.origin));
                }
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        // Those that have gone by age or for room were there.
        let has_lost_some = stream.cached_info().state.first_sequence > said.base.1 + 1;
        let mark = reach(&mut batch, said.base.0, has_lost_some);
        trace.base = said.base;
        trace.there = batch.iter().map(|said| said.begins).filter(|begins| *begins >= mark).collect();
        Ok((trace, Mark::At(mark)))
    }
}

/// How far these messages go without a hole.
fn reach(batch: &mut [Said], base: Position, has_lost_some: bool) -> Position {
    batch.sort_by_key(|said| said.begins);
    let first = batch.first().filter(|_| has_lost_some).map(|said| said.before);
    let mut reached = first.unwrap_or(base);
    for said in batch.iter() {
        if said.before > reached {
            break;
        }
        reached = reached.max(said.ends);
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Ids;

    fn at(offset: u64) -> Position {
        Position { segment: 3, offset }
    }

    fn said(begins: u64, ends: u64, before: u64) -> Said {
        Said { origin: "o".into(), begins: at(begins), ends: at(ends), before: at(before), base: (at(0), 7) }
    }

    #[test]
    fn a_header_says_what_it_was_made_of() {
        let said = said(10, 20, 5);
        assert_eq!(Said::parse(&said.header()), Some(said));
        for wrong in ["", "o 1-2", "o 1-2 3-4 5-6 7-8 nine", "o 1 3-4 5-6 7-8 9"] {
            assert_eq!(Said::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn holes_end_the_reach() {
        // The record from 20 to 30 was dead, that from 40 to 50 was lost.
        let mut batch = [said(0, 10, 0), said(10, 20, 10), said(30, 40, 20), said(50, 60, 50)];
        assert_eq!(reach(&mut batch, at(0), false), at(40));
        assert_eq!(reach(&mut batch[1..], at(0), false), at(0));
        assert_eq!(reach(&mut batch[1..], at(0), true), at(40), "the first has gone by age");
        assert_eq!(reach(&mut [], at(0), false), at(0));
    }

    #[test]
    fn what_is_there_is_not_published_again() {
        let feed = Arc::new(Feed { stream: "s".into(), origin: "o".into() });
        let batch = Batch::new(feed, at(0), "a\nb\nc\n".into(), Ids::Position("f".into()));
        let mut trace = Trace::new("t.s".into());
        trace.last = 9;
        trace.there = [at(2)].into();
        trace.base = (at(0), 5);
        let mut sent = Sent::default();
        let messages: Vec<Message> = trace.messages(&batch, 1_000, &mut sent).collect();
        assert_eq!(messages.iter().map(|message| message.position).collect::<Vec<_>>(), [at(0), at(4)]);
        assert_eq!(sent.exists, 1);
        assert_eq!(messages[1].header, "o 3-4 3-6 3-4 3-0 5");
        assert_eq!(messages[1].id, "s:f_4");
        // The next batch: nothing of it is there, so it is behind the last message.
        let next = Batch::new(Arc::clone(batch.feed()), at(6), "d\n".into(), Ids::Position("f".into()));
        let messages: Vec<Message> = trace.messages(&next, 1_000, &mut sent).collect();
        assert_eq!(messages[0].header, "o 3-6 3-8 3-6 3-6 9");
    }
}
