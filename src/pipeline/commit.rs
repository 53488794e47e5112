//! The group commit: lines and state become durable together, or not at all.
//!
//! This is the order that everything rests on. **A cursor is saved in the same frame as the lines before it, and the
//! frame is written after those lines are on the disk.** It is plain synchronous code over the [`Fs`] seam, so that a
//! simulated disk can be crashed at any step of it; the thread and the channel around it are in `writer.rs`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::config::Durability;
use crate::fs::Fs;
use crate::sinks::segments::{Damage, Kept, Known, Recovered, Saved, Segments, Spec, StepError};

use super::format;
use super::state::{Change, State, StateLog};

/// The folder of tapline's own files in the data folder.
pub const OWN_DIR: &str = ".tapline";

/// How the names of the streams of rejects begin.
pub const REJECTED: &str = "_rejected/";

/// How often a stream's part of a group may fail before the disk is called broken. It is counted for each stream:
/// several files that fail once each are not a disk that takes nothing.
const ATTEMPTS_MAX: u32 = 4;

/// The key of a stream's entry in the commit log.
pub fn stream_key(stream: &str) -> String {
    format!("stream/{stream}")
}

/// The key of what a source's driver saves: cursor, last slot, open counts.
pub fn source_key(source: &str) -> String {
    format!("source/{source}")
}

/// The key of the ids that recovery kept for a source.
pub fn kept_key(source: &str) -> String {
    format!("kept/{source}")
}

/// The key of what recovery kept for a source and no count has yet.
pub fn uncounted_key(source: &str) -> String {
    format!("uncounted/{source}")
}

/// Lines that recovery kept: the counts that were saved before them do not have them. The first commit of their source's
/// driver counts them, and takes this away in the same frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    /// Records in the source's stream.
    pub records: u64,
    /// Lines in its stream of rejects.
    pub rejects: u64,
    /// When the last of the records was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<DateTime<Utc>>,
}

impl Uncounted {
    /// Takes up one line of a stream. The ledger and what else tapline tells of itself is counted nowhere.
    fn add(&mut self, stream: &str, kept: &Kept) {
        if stream.starts_with(REJECTED) {
            self.rejects += 1;
        } else if !stream.starts_with('_') {
            self.records += 1;
            self.last_at = kept.observed_at.parse().ok();
        }
    }
}

/// How the keys begin of what a source's adapter saves in parts, beside its cursor.
pub fn part_prefix(source: &str) -> String {
    format!("part/{source}/")
}

/// What is written in one piece: lines of any streams, and the state that holds once they are durable.
#[derive(Debug, Default, Clone)]
pub struct Append {
    /// Whole lines, each ended by a line feed, and their stream.
    pub lines: Vec<(Arc<str>, Vec<u8>)>,
    /// What the commit log is to hold with them.
    pub state: Vec<Change>,
}

impl Append {
    /// The memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        let lines = self.lines.iter().map(|(_, lines)| lines.len()).sum::<usize>();
        let state =
            self.state.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.get().len()));
        lines + state.sum::<usize>()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.state.is_empty()
    }
}

/// Why a group could not be committed, named by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room. Everything is held; repeat when there is some.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Nothing can be written any more: end the process, and let the next start recover.
    #[error("the disk fails")]
    Broken(#[source] io::Error),
}

/// The streams and the commit log of one data folder.
pub struct Commits {
    segments: Segments,
    log: StateLog,
    /// The state that the group at hand brings, the last value of each key.
    state: BTreeMap<String, Option<Box<RawValue>>>,
    /// How often a segment was given up since the start.
    failures: u64,
}

/// What taking up a stream found that somebody should know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Lines kept that no commit knew.
    pub kept_lines: usize,
    /// Bytes of an unfinished line that were cut.
    pub cut_bytes: u64,
    /// What is not as the commit log says.
    pub damage: Option<Damage>,
}

impl Commits {
    /// Opens the data folder `root`, upgrading it where an earlier version wrote it, and takes up every stream that its
    /// commit log knows.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or a later version wrote it.
    pub fn open(fs: Arc<dyn Fs>, root: &Path, durability: Durability, now: DateTime<Utc>) -> anyhow::Result<Self> {
        format::OURS.take_up(&*fs, root)?;
        let sync = durability != Durability::Process;
        let log = StateLog::open(Arc::clone(&fs), &root.join(OWN_DIR), sync, now)?;
        Ok(Self { segments: Segments::new(fs, root, sync), log, state: BTreeMap::new(), failures: 0 })
    }

    /// Sets how many bytes the commit log has at least before it is replaced; see [`StateLog::set_bytes_min`].
    pub fn set_log_bytes_min(&mut self, bytes: u64) {
        self.log.set_bytes_min(bytes);
    }

    /// Takes up a stream, or changes what it is declared to be.
    ///
    /// # Errors
    /// When its files cannot be read or mended.
    pub fn add_stream(&mut self, spec: Spec) -> anyhow::Result<Found> {
        if self.segments.has(&spec.name) {
            let name = Arc::clone(&spec.name);
            self.segments.set_spec(spec);
            self.segments.point_link(&name);
            return Ok(Found::default());
        }
        let key = stream_key(&spec.name);
        let saved: Option<Saved> = match self.log.state().get(&key) {
            Some(saved) => Some(
                serde_json::from_str(saved.get())
                    .with_context(|| format!("the commit log's entry {key} is damaged"))?,
            ),
            None => None,
        };
        let name = Arc::clone(&spec.name);
        let known = saved.map_or(if self.log.was_there() { Known::Nothing } else { Known::LogGone }, Known::Saved);
        let recovered = self.segments.add(spec, known).with_context(|| format!("cannot take up the stream {name}"))?;
        self.segments.point_link(&name);
        if let Some(now) = recovered.saved.filter(|now| Some(*now) != saved) {
            self.state.insert(key, Some(raw(&now)));
        }
        self.remember_kept(&name, &recovered);
        Ok(Found { kept_lines: recovered.kept.len(), cut_bytes: recovered.cut_bytes, damage: recovered.damage })
    }

    /// Kept lines are committed from now on, though the cursors before them are old: their ids go into the same frame,
    /// so that what upstream sends again is recognised, however often the process dies before it does.
    fn remember_kept(&mut self, stream: &str, recovered: &Recovered) {
        let mut by_source: BTreeMap<&str, Vec<&Kept>> = BTreeMap::new();
        for kept in &recovered.kept {
            by_source.entry(&kept.source).or_default().push(kept);
        }
        for (source, lines) in by_source {
            let key = kept_key(source);
            let mut all: Vec<String> = self.get(&key).unwrap_or_default();
            all.extend(lines.iter().map(|kept| kept.id.clone()));
            self.state.insert(key, Some(raw(&all)));
            let key = uncounted_key(source);
            let before: Uncounted = self.get(&key).unwrap_or_default();
            let mut uncounted = before.clone();
            for kept in lines {
                uncounted.add(stream, kept);
            }
            if uncounted != before {
                self.state.insert(key, Some(raw(&uncounted)));
            }
        }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.state.get(key).map_or_else(|| self.log.state().get(key), Option::as_ref)?;
        serde_json::from_str(value.get()).ok()
    }

    /// The committed state.
    pub fn state(&self) -> &State {
        self.log.state()
    }

    /// The streams.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// How often a segment was given up since the start.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Takes one piece into the group. Its streams have been added.
    pub fn hold(&mut self, append: Append) {
        for (stream, lines) in &append.lines {
            self.segments.hold(stream, lines);
        }
        self.state.extend(append.state);
    }

    /// The bytes of lines in the group.
    pub fn held_bytes(&self) -> usize {
        self.segments.held_bytes()
    }

    /// Whether the group has nothing in it.
    pub fn is_empty(&self) -> bool {
        self.held_bytes() == 0 && self.state.is_empty()
    }

    /// Commits the group: lines on the disk, then one frame of the log. Returns the streams that have grown.
    ///
    /// # Errors
    /// See [`CommitError`]. The group stays held, and the call may be repeated.
    pub fn commit(&mut self, now: DateTime<Utc>) -> Result<Vec<(Arc<str>, Saved)>, CommitError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        self.flush(now)?;
        let grown = self.segments.changes();
        self.put(&grown);
        let mut frame: Vec<Change> = self.state.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        self.log.commit(&mut frame, now).map_err(|error| {
            if crate::fs::is_full(&error) { CommitError::Full(error) } else { CommitError::Broken(error) }
        })?;
        self.state.clear();
        self.segments.committed();
        Ok(grown)
    }

    fn flush(&mut self, now: DateTime<Utc>) -> Result<(), CommitError> {
        loop {
            match self.segments.flush(now) {
                Ok(()) => return Ok(()),
                Err(StepError::Full(error)) => return Err(CommitError::Full(error)),
                Err(StepError::Poisoned(error)) if self.segments.failures() >= ATTEMPTS_MAX => {
                    return Err(CommitError::Broken(error));
                }
                // Some file systems find only at the sync that there is no room.
                Err(StepError::Poisoned(error)) if crate::fs::is_full(&error) => return Err(CommitError::Full(error)),
                Err(StepError::Poisoned(error)) => {
                    self.failures += 1;
                    tracing::warn!(error = %error, "a segment could not be written; its lines go to a new one");
                }
            }
        }
    }

    /// Closes segments whose time is over; the next commit says so.
    pub fn close_due(&mut self, now: DateTime<Utc>) {
        let closed = self.segments.close_due(now);
        self.put(&closed);
    }

    /// Closes a stream's active segment; the next commit says so. Nothing of the stream may be held.
    pub fn close_segment(&mut self, stream: &str) {
        let closed = self.segments.close(stream).map(|saved| (Arc::from(stream), saved));
        self.put(closed.as_slice());
    }

    /// Gives up the segments of a stream before `first`; once that is committed they may be deleted.
    pub fn give_up_before(&mut self, stream: &str, first: u64) {
        if let Some(saved) = self.segments.set_first(stream, first) {
            self.put(&[(Arc::from(stream), saved)]);
        }
    }

    fn put(&mut self, saved: &[(Arc<str>, Saved)]) {
        for (stream, saved) in saved {
            self.state.insert(stream_key(stream), Some(raw(saved)));
        }
    }
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("invariant: our own types have a JSON form")
}
