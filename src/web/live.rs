//! Lines as they are committed, as server-sent events.
//!
//! A browser takes them at its own pace: what is next is read when the last part was sent, so a slow one costs no
//! memory. One that is far behind is brought to the present, because that is what it wants to see.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::record::Line;
use crate::sink::Position;
use crate::sinks::segments::read::Reader;

use super::site::Site;

/// How many may watch at once.
pub(super) const WATCHERS_MAX: usize = 32;

/// How much is sent at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Who is further behind is brought to the present, in bytes of one segment.
const BEHIND_MAX: u64 = 1 << 20;

/// A word now and then, so that whoever has gone is noticed.
const HELLO_EVERY: Duration = Duration::from_secs(15);

struct Watching {
    site: Arc<Site>,
    source: String,
    stream: Arc<str>,
    reader: Option<Reader>,
    committed: tokio::sync::watch::Receiver<u64>,
    _permit: OwnedSemaphorePermit,
}

/// The lines of a source from now on, or from behind `last` on, which is the id of the last event that was seen.
pub(super) fn watch(
    site: &Arc<Site>,
    watchers: &Arc<Semaphore>,
    source: String,
    stream: Arc<str>,
    last: Option<&str>,
) -> Response {
    let Ok(permit) = Arc::clone(watchers).try_acquire_owned() else {
        return (axum::http::StatusCode::SERVICE_UNAVAILABLE, "too many are watching\n").into_response();
    };
    let end = site.parts.writer.position(&stream).map(|committed| committed.end);
    let from = last.and_then(position_of).filter(|from| end.is_some_and(|end| is_near(*from, end))).or(end);
    let reader = from.map(|from| site.parts.writer.reader(Arc::clone(&stream), from));
    let committed = site.parts.writer.committed();
    let watching = Watching { site: Arc::clone(site), source, stream, reader, committed, _permit: permit };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events(watching))).into_response()
}

fn events(watching: Watching) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let begin = stream::once(async { Ok(Bytes::from_static(b"retry: 2000\n: watching\n\n")) });
    let rest = stream::unfold(watching, |mut watching| async move {
        let bytes = watching.next().await?;
        Some((Ok(bytes), watching))
    });
    stream::StreamExt::chain(begin, rest)
}

impl Watching {
    /// What is next to be sent; `None` when the service ends, or a file cannot be read.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.committed.borrow_and_update();
            if let Some(bytes) = self.read().await? {
                return Some(bytes);
            }
            match timeout(HELLO_EVERY, self.committed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b": hello\n\n")),
            }
        }
    }

    /// Some lines, as events; `None` inside when there are no new ones.
    async fn read(&mut self) -> Option<Option<Bytes>> {
        let Some(committed) = self.site.parts.writer.position(&self.stream) else { return Some(None) };
        let stream = Arc::clone(&self.stream);
        let mut reader = self
            .reader
            .take()
            .unwrap_or_else(|| self.site.parts.writer.reader(Arc::clone(&stream), Position::start_of(committed.first)));
        if !is_near(reader.position(), committed.end) {
            reader = self.site.parts.writer.reader(stream, committed.end);
        }
        let source = self.source.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            let read = reader.read(committed, CHUNK_BYTES, &mut lines);
            let events = read.map(|_| as_events(&lines, &source, reader.position()));
            (reader, events)
        });
        let (reader, events) = reading.await.ok()?;
        self.reader = Some(reader);
        Some(events.ok()?.map(Bytes::from))
    }
}

/// The lines of one source as one event for each, the last of which says where they end.
fn as_events(lines: &[u8], source: &str, end: Position) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if Line::parse(line).is_ok_and(|parsed| parsed.source == source) {
            out.extend_from_slice(b"data: ");
            // A line has no line break in it, and a carriage return would end the field.
            out.extend(line.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }));
            out.extend_from_slice(b"\n\n");
        }
    }
    if out.is_empty() {
        return None;
    }
    out.truncate(out.len() - 1);
    out.extend_from_slice(format!("id: {}-{}\n\n", end.segment, end.offset).as_bytes());
    Some(out)
}

fn position_of(id: &str) -> Option<Position> {
    let (segment, offset) = id.split_once('-')?;
    Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
}

fn is_near(from: Position, end: Position) -> bool {
    from <= end && from.segment == end.segment && end.offset - from.offset <= BEHIND_MAX
        || from.segment + 1 == end.segment && end.offset <= BEHIND_MAX && from.segment < end.segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_events_with_a_place_to_go_on_from() {
        let line = |source: &str, n: u32| {
            format!(
                "{{\"observed_at\":\"2026-11-23T07:04:05.123456Z\",\"source\":\"{source}\",\"id\":\"a_{n}\",\"type\":\"t\",\"data\":{n}}}\n"
            )
        };
        let lines = [line("one", 1), line("two", 2), line("one", 3)].concat();
        let events = as_events(lines.as_bytes(), "one", Position { segment: 3, offset: 99 }).unwrap();
        let text = String::from_utf8(events).unwrap();
        let [one, three] = [line("one", 1), line("one", 3)];
        assert_eq!(text, format!("data: {one}\ndata: {three}id: 3-99\n\n"));
        assert!(as_events(lines.as_bytes(), "three", Position::start_of(1)).is_none());
        assert_eq!(position_of("3-99"), Some(Position { segment: 3, offset: 99 }));
        for wrong in ["", "3", "3-", "a-b", "-1-2"] {
            assert_eq!(position_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_is_far_behind_is_brought_to_the_present() {
        let end = Position { segment: 5, offset: 2 << 20 };
        assert!(is_near(Position { segment: 5, offset: (2 << 20) - 10 }, end));
        assert!(!is_near(Position { segment: 5, offset: 0 }, end));
        assert!(!is_near(Position { segment: 3, offset: 0 }, Position { segment: 5, offset: 1 }));
        assert!(is_near(Position { segment: 4, offset: 7 }, Position { segment: 5, offset: 1 }));
        assert!(!is_near(Position { segment: 6, offset: 0 }, end), "beyond the end");
    }
}
