//! The driver: one task per source, and the one place that waits, retries, stops, counts and saves cursors.
//!
//! A life: take up the saved state, open the source, run its loop (`poll` for a source with a schedule, `stream` for
//! one without) until told to stop, close the books. Whatever the loop brings goes to the writer in one piece: lines,
//! rejects, ledger entries and the cursor after them, committed together.

mod kept;
mod poll;
mod seen;
mod stream;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Compress, Retain, Rotate, SourceConfig};
use crate::context::Context;
use crate::cursor::{Cursor, Recall};
use crate::item::Change;
use crate::normalise::Normaliser;
use crate::sinks::segments::Spec;
use crate::source::{Batch, Note, Source};
use crate::units::{Size, Span};

use super::commit::{Append, REJECTED, part_prefix, source_key};
use super::ledger::{self, Book};
use super::schedule::Scheduler;
use super::writer::{Ended, Status, Writer};
use kept::Kept;
use seen::Seen;
use tally::{State, Tally};

/// A call of an adapter that takes longer has gone wrong in a way that its own limits do not know.
const CALL_MAX: Duration = Duration::from_mins(5);

/// Who waits longer for the writer has a slow disk.
const SLOW: Duration = Duration::from_secs(1);

/// What changed upstream is kept at most so often, of each source.
const CHANGE_EVERY: Duration = Duration::from_mins(10);

/// How the names of such streams begin.
pub const CHANGED: &str = "_changed/";

/// How much is kept of such a stream: whole pages are large, and of interest while somebody mends a source.
const CHANGES_KEPT: Retain = Retain { age: Some(Span(Duration::from_hours(90 * 24))), size: Some(Size(16 << 20)) };

/// What a driver saves with each commit.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<Cursor>,
    /// The last scheduled time that had its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<DateTime<Utc>>,
    /// When a stream was last known to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alive_at: Option<DateTime<Utc>>,
    #[serde(default)]
    book: Book,
    #[serde(default)]
    tally: Tally,
}

/// Why a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// The source has nothing more to give.
    Finished,
    /// Upstream refuses for good: the source waits for an edit of its file.
    Refused,
}

/// Everything that a driver works with.
pub struct Driver {
    config: Arc<SourceConfig>,
    context: Context,
    scheduler: Arc<Scheduler>,
    writer: Writer,
    normaliser: Normaliser,
    stream: Arc<str>,
    rejected: Arc<str>,
    changed: Arc<str>,
    /// When a change was last kept.
    changed_at: Option<Instant>,
    ledger: Arc<str>,
    saved: Saved,
    kept: Kept,
    /// The last ids, of a source whose upstream may send them again.
    seen: Option<Seen>,
    /// The last lines waited long for the writer, which has been said.
    is_slow: bool,
    stop: CancellationToken,
    /// Ends after one tick, or with the first batch of a stream.
    once: bool,
}

/// The streams that a driver writes to. They are opened before it starts.
#[derive(Debug, Clone)]
pub struct Streams {
    /// The source's own, or the one it shares.
    pub records: Arc<str>,
    /// Its rejects.
    pub rejected: Arc<str>,
    /// What changed upstream when it broke. It is opened when that happens.
    pub changed: Arc<str>,
}

impl Streams {
    /// The streams of a source.
    pub fn of(config: &SourceConfig) -> Self {
        let records = config.output.stream.as_deref().map_or_else(|| Arc::clone(&config.name), Arc::from);
        Self {
            records,
            rejected: format!("{REJECTED}{}", config.name).into(),
            changed: format!("{CHANGED}{}", config.name).into(),
        }
    }
}

impl Driver {
    /// A driver for one source, with what the last one saved.
    ///
    /// # Errors
    /// When the writer has ended, or the end of the source's stream cannot be read back.
    pub async fn new(
        config: Arc<SourceConfig>,
        context: Context,
        scheduler: Arc<Scheduler>,
        writer: Writer,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let source = &config.name;
        let saved: Option<Saved> = read(&writer, &source_key(source)).await?;
        let kept = Kept::read(&writer, source).await?;
        let mut saved = saved.unwrap_or_default();
        saved.book.restored();
        if let Some(uncounted) = &kept.uncounted {
            saved.tally.take_up(uncounted);
        }
        let streams = Streams::of(&config);
        let seen = if config.settings.replays() { Some(read_back(&config, &streams, &writer).await?) } else { None };
        Ok(Self {
            seen,
            is_slow: false,
            normaliser: Normaliser::new(Arc::clone(source)),
            stream: streams.records,
            rejected: streams.rejected,
            changed: streams.changed,
            changed_at: None,
            ledger: ledger::STREAM.into(),
            saved,
            kept,
            config,
            context,
            scheduler,
            writer,
            stop,
            once: false,
        })
    }

    /// Ends after one tick.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Runs until told to stop, or until there is nothing more to do.
    ///
    /// # Errors
    /// When the writer has ended, or the source cannot be opened.
    pub async fn run(mut self) -> anyhow::Result<End> {
        let mut source = self.config.open(&self.context)?;
        source.recall(self.recall().await?);
        let now = self.context.now();
        self.saved.book.note("started", &json!({ "kind": self.config.kind, "version": self.config.fingerprint }), now);
        let end = if self.config.schedule.is_some() {
            self.saved.tally.enter(State::Scheduled, None, None, now);
            // Its first tick may be a day away: until then it is to be seen that it runs.
            self.append(Append::default()).await?;
            self.poll(&mut *source).await?
        } else {
            self.saved.tally.enter(State::Connecting, None, None, now);
            self.stream(source).await?
        };
        self.close(end).await?;
        Ok(end)
    }

    /// What the adapter has saved beside its cursor.
    async fn recall(&self) -> Result<Recall, Ended> {
        let prefix = part_prefix(&self.config.name);
        let state = self.writer.state(&*prefix).await?;
        let number = |key: &str| key.strip_prefix(&prefix)?.parse().ok();
        let parts = state.into_iter().filter_map(|(key, part)| Some((number(&key)?, part))).collect();
        let written = self.kept.ids().iter().cloned().collect();
        Ok(Recall { parts, written })
    }

    /// Closes the books.
    async fn close(&mut self, end: End) -> Result<(), Ended> {
        let now = self.context.now();
        self.saved.book.close(now);
        let (why, state) = match end {
            End::Stopped => ("told to", State::Stopped),
            End::Finished => ("end of input", State::Finished),
            End::Refused => ("refused by upstream", State::Refused),
        };
        let before = self.saved.tally.why.take().filter(|_| end == End::Refused);
        self.saved.tally.enter(state, before, None, now);
        self.saved.book.note("stopped", &json!({ "why": why }), now);
        self.settle().await
    }

    /// Writes every entry that waits. They need two commits: one of what they say, one of their lines.
    async fn settle(&mut self) -> Result<(), Ended> {
        while self.saved.book.has_waiting() {
            let number = self.append(Append::default()).await?;
            self.writer.committed().wait_for(|committed| *committed >= number).await.map_err(|_| Ended)?;
        }
        Ok(())
    }

    /// Makes of a batch's items what the file wants of them. A batch that was taken is written: nothing in here ends early.
    async fn transform(&self, batch: &mut Batch) {
        if let Some(transform) = &self.config.transform {
            transform.apply(batch).await;
        }
    }

    /// Makes one piece of a batch. `moment` is what ids are made of where upstream gives none.
    fn lines_of(&mut self, batch: Batch, moment: DateTime<Utc>) -> Append {
        let observed_at = self.context.now();
        let mut lines = Vec::new();
        let (mut written, mut published_at) = (0, None);
        for (ordinal, item) in batch.items.into_iter().enumerate() {
            let record = self.normaliser.record(item, moment, ordinal, observed_at);
            if self.is_new(&record.id) {
                record.write_line(&mut lines);
                written += 1;
                published_at = record.published_at;
            } else {
                self.saved.tally.duplicates += 1;
            }
        }
        self.saved.tally.count(written, published_at, observed_at);
        self.saved.tally.ignored.extend(&batch.ignored);
        let mut rejects = Vec::new();
        for (ordinal, reject) in batch.rejects.iter().enumerate() {
            let record = self.normaliser.rejected(reject, moment, ordinal, observed_at);
            if !self.kept.take(&record.id) {
                record.write_line(&mut rejects);
                self.saved.tally.rejects += 1;
            }
        }
        if let Some(cursor) = batch.cursor {
            self.saved.cursor = Some(cursor);
        }
        let prefix = part_prefix(&self.config.name);
        let state = batch.parts.into_iter().map(|(number, part)| (format!("{prefix}{number}"), part)).collect();
        let parts = [(&self.stream, lines), (&self.rejected, rejects)];
        let lines = parts.into_iter().filter(|(_, lines)| !lines.is_empty());
        Append { lines: lines.map(|(stream, lines)| (Arc::clone(stream), lines)).collect(), state }
    }

    /// Whether a record is not in the files yet.
    fn is_new(&mut self, id: &str) -> bool {
        // Both are asked: each has to learn of it.
        let was_kept = self.kept.take(id);
        self.seen.as_mut().is_none_or(|seen| seen.is_new(id)) && !was_kept
    }

    /// Enters what the adapter has to say into the ledger.
    fn take_notes(&mut self, source: &mut dyn Source) {
        for Note { kind, mut data, path } in source.notes() {
            if let Some(path) = path {
                let place = config::place_of(&self.config.path, &path);
                let why = data["why"].as_str().unwrap_or_default();
                tracing::warn!(source.name = %self.config.name, "{place}: {}: {why}", path.join("."));
                data["at"] = place.into();
                data["key"] = path.join(".").into();
            }
            self.saved.book.note(kind, &data, self.context.now());
        }
    }

    /// The line of what changed upstream, for its stream. It comes now and then: a source that breaks again and again
    /// would fill a disk.
    async fn changed(&mut self, change: Option<Box<Change>>, moment: DateTime<Utc>) -> Option<Vec<u8>> {
        let change = change.filter(|_| self.changed_at.is_none_or(|at| at.elapsed() >= CHANGE_EVERY))?;
        self.changed_at = Some(Instant::now());
        if let Err(error) = self.writer.open(changed_spec(Arc::clone(&self.changed))).await {
            tracing::warn!(source.name = %self.config.name, "what changed upstream cannot be kept: {error:#}");
            return None;
        }
        let mut line = Vec::new();
        self.normaliser.changed(&change, moment, self.context.now()).write_line(&mut line);
        Some(line)
    }

    /// Hands a piece to the writer, with the ledger entries that are ready and with the state after it.
    async fn append(&mut self, mut append: Append) -> Result<u64, Ended> {
        let committed = *self.writer.committed().borrow();
        let is_kept = |id: &str| self.kept.ids().contains(id);
        let entries = self.saved.book.take_ready(committed, &self.normaliser, is_kept);
        if !entries.is_empty() {
            append.lines.push((Arc::clone(&self.ledger), entries));
        }
        let source = &self.config.name;
        let state = to_raw_value(&self.saved).expect("invariant: the saved state is our own type");
        append.state.push((source_key(source), Some(state)));
        append.state.extend(self.kept.changes(source));
        let began = Instant::now();
        let number = self.writer.append(append).await?;
        self.saved.book.saved(number);
        let waited = began.elapsed();
        self.writer.metrics().wait.observe(waited.as_secs_f64());
        self.note_slow(waited);
        Ok(number)
    }

    /// Says when lines had to wait for the disk, once until they do not any more. A full disk is said by the writer.
    fn note_slow(&mut self, waited: Duration) {
        let is_slow = waited >= SLOW && *self.writer.status().borrow() != Status::Full;
        if is_slow && !self.is_slow {
            let seconds = waited.as_secs_f64();
            tracing::warn!(source.name = %self.config.name, seconds, "the disk is slow: reading waits for it");
            self.saved.book.note("slow_disk", &json!({ "waited_seconds": seconds }), self.context.now());
        }
        self.is_slow = is_slow;
    }
}

/// The stream of what changed upstream of one source.
pub fn changed_spec(name: Arc<str>) -> Spec {
    Spec {
        name,
        rotate: Rotate::default(),
        compress: Compress::default(),
        retain: CHANGES_KEPT,
        timezone: chrono_tz::Tz::UTC,
        link: None,
    }
}

/// The ids at the end of the source's stream.
async fn read_back(config: &SourceConfig, streams: &Streams, writer: &Writer) -> anyhow::Result<Seen> {
    let (stream, source, writer) = (Arc::clone(&streams.records), Arc::clone(&config.name), writer.clone());
    let reading = tokio::task::spawn_blocking(move || {
        Seen::read_back(&writer, &stream, &source).with_context(|| format!("cannot read back the end of {stream}"))
    });
    reading.await?
}

async fn read<T: serde::de::DeserializeOwned>(writer: &Writer, key: &str) -> Result<Option<T>, Ended> {
    let state = writer.state(key).await?;
    Ok(state.get(key).and_then(|value| {
        serde_json::from_str(value.get())
            .inspect_err(
                |error| tracing::error!(key, error = %error, "a saved entry cannot be read; going on without it"),
            )
            .ok()
    }))
}
