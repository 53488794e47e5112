//! Segments: the files that records are written to, and the truth that everything else reads.
//!
//! A stream is written in groups. Each group goes through three steps for every stream that it touches: its lines are
//! held in memory, written, and made durable; then the writer puts the new lengths into the commit log, and the group
//! is forgotten. Any step may fail and be repeated; until the log has the group, nobody reads it.
//!
//! - **No room**: the file is cut back to where the group began, and the same step is repeated later.
//! - **Any other failure**: the kernel may have dropped what it could not write, so the file is never synced again. The
//!   segment ends at its committed length, and the group, still held, goes to the next one.

pub mod compress;
mod cut;
pub mod name;
pub mod read;

mod recover;
pub mod retain;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use recover::{Damage, Kept, Known, Recovered};
pub use stream::{Saved, Spec, StepError};

use crate::fs::Fs;
use name::{Form, Name};
use stream::{Phase, Stream};

/// How many file handles are kept open between groups, unless the limit of the process is lower.
const OPEN_FILES_MAX: usize = 512;

/// So many files are synced one after the other: threads would cost more than they save.
const TOGETHER_MIN: usize = 16;

/// How many threads sync at once.
const SYNC_THREADS: usize = 8;

/// The streams of one data folder.
pub struct Segments {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    sync: bool,
    /// In the order of their names, so that a simulated disk sees the same steps for the same seed.
    streams: BTreeMap<Arc<str>, Stream>,
    /// The streams that the group touches, in the order of their first lines.
    touched: Vec<Arc<str>>,
    held_bytes: usize,
}

impl Segments {
    /// The streams under `root`, none of them added yet. `sync` is whether files are made durable.
    pub fn new(fs: Arc<dyn Fs>, root: &Path, sync: bool) -> Self {
        Self { fs, root: root.to_owned(), sync, streams: BTreeMap::new(), touched: Vec::new(), held_bytes: 0 }
    }

    /// Takes up a stream as the commit log has it, after looking at what is really on the disk.
    ///
    /// Lines behind the committed length that are whole are kept, and an unfinished one is cut.
    ///
    /// # Errors
    /// When its files cannot be read or cut.
    pub fn add(&mut self, spec: Spec, known: Known) -> io::Result<Recovered> {
        self.make_way(&spec.name)?;
        let recovered = recover::recover(&*self.fs, &self.root, &spec.name, known)?;
        self.streams.insert(Arc::clone(&spec.name), Stream::new(&self.root, spec, recovered.saved, self.sync));
        Ok(recovered)
    }

    /// A link of a stream that had it once may stand where a stream's folder goes now. One that leads to a folder is somebody's
    /// who keeps it elsewhere.
    fn make_way(&self, stream: &str) -> io::Result<()> {
        let place = self.root.join(stream);
        let Some(target) = self.fs.link_target(&place) else { return Ok(()) };
        let day = target.parent().and_then(Path::file_name).and_then(std::ffi::OsStr::to_str);
        if target.is_relative() && day.is_some_and(|day| name::parse_day(day).is_some()) {
            tracing::info!(link = %place.display(), target = %target.display(), "a link of before makes way for a stream");
            self.fs.remove(&place)?;
        }
        Ok(())
    }

    /// Whether the stream has been added.
    pub fn has(&self, stream: &str) -> bool {
        self.streams.contains_key(stream)
    }

    /// What the stream is declared to be.
    pub fn spec(&self, stream: &str) -> Option<&Spec> {
        self.streams.get(stream).map(|stream| &stream.spec)
    }

    /// Changes what a stream is declared to be, from its next segment on.
    pub fn set_spec(&mut self, spec: Spec) {
        if let Some(stream) = self.streams.get_mut(&spec.name) {
            stream.spec = spec;
        }
    }

    /// The committed state of a stream, once it has one.
    pub fn saved(&self, stream: &str) -> Option<Saved> {
        self.streams.get(stream)?.saved
    }

    /// Every stream that was added.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.streams.values().map(|stream| &stream.spec)
    }

    /// Takes whole lines into the group.
    ///
    /// # Panics
    /// When the stream was not added, or the lines are not whole: both are defects of the caller that would tear a line.
    pub fn hold(&mut self, stream: &Arc<str>, lines: &[u8]) {
        assert!(lines.last() == Some(&b'\n'), "lines end with a line feed");
        let held = self.streams.get_mut(stream).expect("invariant: a stream is added before it is written to");
        if held.phase == Phase::Idle {
            self.touched.push(Arc::clone(stream));
        }
        held.hold(lines, memchr::memchr_iter(b'\n', lines).count() as u64);
        self.held_bytes += lines.len();
    }

    /// The bytes of lines in the group.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes every stream of the group one step further, until all of it is durable.
    ///
    /// # Errors
    /// See [`StepError`]. What has been done stays done: the call is repeated until it succeeds.
    pub fn flush(&mut self, now: DateTime<Utc>) -> Result<(), StepError> {
        for name in &self.touched {
            let stream = self.streams.get_mut(name).expect("invariant: touched streams were added");
            if stream.phase == Phase::Held {
                stream.write(&*self.fs, now)?;
            }
        }
        if !self.sync {
            return Ok(());
        }
        let written = self.streams.values_mut().filter(|stream| stream.phase == Phase::Written).collect();
        sync_all(&*self.fs, written)
    }

    /// How often one stream's segments were given up for the group at hand: the most of any stream. No number is
    /// larger once a stream has no way to go on.
    pub fn failures(&self) -> u32 {
        self.touched.iter().map(|name| self.streams[name].failures).max().unwrap_or(0)
    }

    /// What the commit log is to hold once the group is in it.
    pub fn changes(&self) -> Vec<(Arc<str>, Saved)> {
        let changed =
            self.touched.iter().filter_map(|name| Some((Arc::clone(name), self.streams[name].after_commit()?)));
        changed.collect()
    }

    /// The log has the group: forgets it, and points links at segments that are new.
    pub fn committed(&mut self) {
        self.held_bytes = 0;
        for name in std::mem::take(&mut self.touched) {
            let stream = self.streams.get_mut(&name).expect("invariant: touched streams were added");
            let before = stream.saved.map(|saved| saved.segment);
            stream.committed(&*self.fs);
            let after = stream.saved.map(|saved| saved.segment);
            if before != after {
                self.point_link(&name);
            }
        }
        self.release_handles();
    }

    /// Closes segments whose time is over; what it returns belongs into the commit log.
    pub fn close_due(&mut self, now: DateTime<Utc>) -> Vec<(Arc<str>, Saved)> {
        let closed =
            self.streams.iter_mut().filter_map(|(name, stream)| Some((Arc::clone(name), stream.close_if_due(now)?)));
        closed.collect()
    }

    /// Closes one stream's active segment, so that its next line begins another.
    pub fn close(&mut self, stream: &str) -> Option<Saved> {
        let stream = self.streams.get_mut(stream).filter(|stream| stream.phase == Phase::Idle)?;
        stream.close()
    }

    /// Gives up the segments of a stream before `first`.
    pub fn set_first(&mut self, stream: &str, first: u64) -> Option<Saved> {
        self.streams.get_mut(stream)?.set_first(first)
    }

    /// Takes a stream out, as when its source was removed. Its files stay.
    pub fn remove(&mut self, stream: &str) {
        self.streams.remove(stream);
    }

    /// Points a stream's link at its active segment. A link that cannot be made is said and does no other harm.
    pub fn point_link(&self, stream: &str) {
        let Some(Stream { spec: Spec { link: Some(link), name, .. }, saved: Some(saved), .. }) =
            self.streams.get(stream)
        else {
            return;
        };
        if self.has(link) {
            tracing::warn!(link = %link, stream = %name, "the link to tail would stand where a stream has its folder; give it another name by `output.link`");
            return;
        }
        let active = Name { number: saved.segment, day: saved.day, form: Form::Plain };
        let target = name::path(Path::new(""), name, active);
        if let Err(error) = self.fs.link(&target, &self.root.join(link)) {
            tracing::warn!(link = %link, stream = %name, error = %error, "the link to tail could not be set; rename what is in its place");
        }
    }

    /// Ten thousand streams must not need ten thousand handles: beyond the limit all are given back.
    fn release_handles(&mut self) {
        if self.streams.values().filter(|stream| stream.is_open()).count() > OPEN_FILES_MAX {
            self.streams.values_mut().filter(|stream| stream.phase == Phase::Idle).for_each(Stream::release);
        }
    }
}

/// Makes written groups durable: many of them at once, because a file system that is asked for several syncs together
/// writes its journal once for all.
fn sync_all(fs: &dyn Fs, mut written: Vec<&mut Stream>) -> Result<(), StepError> {
    if written.len() < TOGETHER_MIN {
        return written.into_iter().try_for_each(|stream| stream.sync(fs));
    }
    let share = written.len().div_ceil(SYNC_THREADS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = written
            .chunks_mut(share)
            .map(|streams| scope.spawn(move || streams.iter_mut().map(|stream| stream.sync(fs)).collect::<Vec<_>>()))
            .collect();
        let results = threads.into_iter().flat_map(|thread| thread.join().expect("invariant: a sync does not panic"));
        results.collect::<Vec<_>>().into_iter().collect()
    })
}
