//! From segment to segment of each stream.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::record::Line;
use crate::report::committed::Committed;
use crate::report::lengths::many;
use crate::sink::{self, Position};
use crate::sinks::segments::Saved;

use super::days::Days;
use super::manifest::{Manifest, Unreadable};
use super::part::Row;
use super::shown::Bar;

/// About how much is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// How often the manifest is written while segments are exported: what is done after that is done again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// An export that is being made.
pub(super) struct Walk<'a> {
    committed: &'a Committed,
    root: &'a Path,
    manifest: &'a mut Manifest,
    saved_at: Instant,
    bar: Bar,
}

/// One segment that is being exported.
struct Segment<'a> {
    number: u64,
    days: Days<'a>,
    unreadable: Option<Unreadable>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(committed: &'a Committed, root: &'a Path, manifest: &'a mut Manifest) -> Self {
        Self { committed, root, manifest, saved_at: Instant::now(), bar: Bar::new() }
    }

    /// Exports what is closed of every stream. One that cannot be read is said, and the others go on. Returns whether
    /// all of it is exported.
    ///
    /// # Errors
    /// When the export cannot be written.
    pub(super) fn all(&mut self, streams: &[String]) -> anyhow::Result<bool> {
        let mut is_whole = true;
        self.bar.expect(self.total(streams));
        for stream in streams {
            match self.stream(stream) {
                Ok(is_readable) => is_whole &= is_readable,
                Err(Failed::Reading(error)) => {
                    tracing::error!(stream = %stream, "the stream is exported up to where it can be read: {error:#}");
                    is_whole = false;
                }
                Err(Failed::Writing(error)) => return Err(error),
            }
        }
        self.bar.finish();
        Ok(is_whole)
    }

    /// The first segment that is not in the export yet, and the first that is not closed.
    fn bounds(&self, stream: &str) -> anyhow::Result<Option<(u64, Saved)>> {
        let Some(saved) = self.committed.saved(stream)? else { return Ok(None) };
        let from = self.manifest.terms.from.as_ref();
        let from: Option<DateTime<Utc>> = from.and_then(|from| from.parse().ok());
        let first = self.committed.first(stream, &saved, from)?;
        let done = self.manifest.streams.get(stream).map_or(0, |known| known.next_segment);
        Ok(Some((first.max(done), saved)))
    }

    /// How many segments are to be exported.
    fn total(&self, streams: &[String]) -> u64 {
        let left = |stream: &String| {
            let (next, saved) = self.bounds(stream).ok()??;
            Some(end_of(&saved).saturating_sub(next))
        };
        streams.iter().filter_map(left).sum()
    }

    fn stream(&mut self, stream: &str) -> Result<bool, Failed> {
        let Some((next, saved)) = self.bounds(stream).map_err(Failed::Reading)? else { return Ok(true) };
        // With `--from`, what is left out before is not missing.
        if next == saved.first || self.manifest.streams.contains_key(stream) {
            self.pass_over(stream, next);
        } else {
            self.manifest.streams.entry(stream.to_owned()).or_default().next_segment = next;
        }
        let end = end_of(&saved);
        let closed = sink::Committed { end: Position::start_of(end), ..sink::Committed::from(&saved) };
        let mut reader = self.committed.reader(stream, Position::start_of(next));
        let (mut bytes, mut open, mut is_readable) = (Vec::new(), None::<Segment<'_>>, true);
        let root = self.root;
        let format = self.manifest.terms.format;
        loop {
            bytes.clear();
            let read = reader.read(closed, CHUNK_BYTES, &mut bytes).with_context(|| format!("{stream} cannot be read"));
            let from = read.map_err(Failed::Reading)?;
            if let Some(done) = open.take_if(|open| from.is_none_or(|from| from.segment != open.number)) {
                is_readable &= self.end(stream, done)?;
            }
            let Some(from) = from else { break };
            if open.is_none() {
                self.pass_over(stream, from.segment);
            }
            let segment = open.get_or_insert_with(|| Segment {
                number: from.segment,
                days: Days::new(root, stream, from.segment, format),
                unreadable: None,
            });
            let terms = &self.manifest.terms;
            segment.take(&bytes, from, (terms.from.as_deref(), terms.to_date.as_deref())).map_err(Failed::Writing)?;
        }
        self.pass_over(stream, end.max(next));
        self.say(stream, &saved);
        Ok(is_readable)
    }

    /// A segment is exported. Returns whether all of it could be read.
    fn end(&mut self, stream: &str, segment: Segment<'_>) -> Result<bool, Failed> {
        let parts = segment.days.finish().map_err(Failed::Writing)?;
        let unreadable = segment.unreadable;
        if let Some(Unreadable { lines, first }) = &unreadable {
            tracing::error!(stream = %stream, segment = first.segment, offset = first.offset, "{lines} lines are no records and are left out; MANIFEST.json says where they are");
        }
        let is_readable = unreadable.is_none();
        self.manifest.add(stream, segment.number, parts, unreadable);
        self.bar.step();
        if self.saved_at.elapsed() >= SAVE_EVERY {
            self.manifest.write(self.root).map_err(Failed::Writing)?;
            self.saved_at = Instant::now();
        }
        Ok(is_readable)
    }

    /// Segments before `next` that are not exported are gone.
    fn pass_over(&mut self, stream: &str, next: u64) {
        let missing =
            |manifest: &Manifest| manifest.streams.get(stream).map_or(0, |known| known.missing_segments.len());
        let before = missing(self.manifest);
        self.manifest.pass_over(stream, next);
        if missing(self.manifest) > before {
            let (first, last) = self.manifest.streams[stream].missing_segments[before];
            tracing::warn!(stream = %stream, "segments {first} to {last} were deleted before they were exported; MANIFEST.json says so");
        }
    }

    fn say(&self, stream: &str, saved: &Saved) {
        let records = self.manifest.streams.get(stream).map_or(0, |known| known.records);
        let open = if saved.closed { 0 } else { saved.lines };
        let rest = if open > 0 {
            format!("; {} more are in the segment that is not closed yet, for the next export", many(open))
        } else {
            String::new()
        };
        tracing::info!(stream = %stream, "{} records are exported{rest}", many(records));
    }
}

/// What went wrong: the two end differently.
enum Failed {
    Reading(anyhow::Error),
    Writing(anyhow::Error),
}

/// The first segment that more may be written to.
fn end_of(saved: &Saved) -> u64 {
    saved.segment + u64::from(saved.closed)
}

impl Segment<'_> {
    fn take(&mut self, bytes: &[u8], mut at: Position, between: (Option<&str>, Option<&str>)) -> anyhow::Result<()> {
        let mut begin = 0;
        for feed in memchr::memchr_iter(b'\n', bytes) {
            let text = &bytes[begin..=feed];
            match row(text) {
                Some(row) => {
                    let at = &*row.line.observed_at;
                    let (from, to) = between;
                    if from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to) {
                        self.days.put(&row)?;
                    }
                }
                None => self.unreadable.get_or_insert(Unreadable { lines: 0, first: at }).lines += 1,
            }
            at.offset += text.len() as u64;
            begin = feed + 1;
        }
        Ok(())
    }
}

/// A line as a row; `None` where it is no record.
fn row(text: &[u8]) -> Option<Row<'_>> {
    let line = Line::parse(text).ok()?;
    let micros = |at: &str| DateTime::parse_from_rfc3339(at).ok().map(|at| at.timestamp_micros());
    let observed_at = micros(&line.observed_at)?;
    let published_at = match &line.published_at {
        Some(at) => Some(micros(at)?),
        None => None,
    };
    Some(Row { observed_at, published_at, line, text })
}
