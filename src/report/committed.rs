//! The committed data of a folder as it is at one moment, read from another process than the one that writes it.
//!
//! One frame of the commit log names how long every stream is and what every source has saved, so both are of the same
//! moment: what is open in a source's saved counts is exactly what its ledger does not say yet.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::context::{Clock as _, SystemClock};
use crate::fs::{Disk, Fs, Lock};
use crate::pipeline::commit::{OWN_DIR, stream_key};
use crate::pipeline::state::{State, Watch};
use crate::sink::{self, Position};
use crate::sinks::segments::Saved;
use crate::sinks::segments::read::{Reader, files};

/// About how much is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// A log that is replaced between two looks is found at one of the next.
const LOOKS_MAX: usize = 10;

/// A data folder at one moment.
pub struct Committed {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    state: State,
    /// The service that writes it.
    pub service: Option<Running>,
    /// When it was looked at.
    pub now: DateTime<Utc>,
}

/// A service that runs, as far as its lock tells.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Running {
    /// Its process.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When it took the folder.
    #[serde(default)]
    pub since: Option<DateTime<Utc>>,
}

impl Committed {
    /// Looks at the data folder `root`, which need not be there.
    ///
    /// # Errors
    /// When the commit log cannot be read, or is of a later version of tapline.
    pub fn look(root: &Path) -> anyhow::Result<Self> {
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let own = root.join(OWN_DIR);
        let holder = Lock::holder(&own.join("lock")).with_context(|| format!("cannot look at {}", own.display()))?;
        // What a version before this one has left in it is nothing.
        let service = holder.map(|said| serde_json::from_str(&said).unwrap_or_default());
        let mut watch = Watch::new(Arc::clone(&fs), &own);
        for _ in 0..LOOKS_MAX {
            if watch.refresh()? {
                break;
            }
        }
        Ok(Self { fs, root: root.to_owned(), state: watch.state().clone(), service, now: SystemClock.now() })
    }

    /// A data folder as the service that writes it knows it: its committed state at the time `now`.
    pub fn of(fs: Arc<dyn Fs>, root: &Path, state: State, service: Option<Running>, now: DateTime<Utc>) -> Self {
        Self { fs, root: root.to_owned(), state, service, now }
    }

    /// The committed state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The data folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bytes that may still be written to its file system.
    ///
    /// # Errors
    /// When the folder is not there.
    pub fn free(&self) -> io::Result<u64> {
        self.fs.free(&self.root)
    }

    /// The names that have an entry under `prefix`, such as `stream/`.
    pub fn names(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.state.keys().filter_map(move |key| key.strip_prefix(prefix))
    }

    /// Gives every committed line of a stream to `take`, in order, without its line feed. With `since`, files are left
    /// out that end, by the days in their folders' names, well before it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn lines(&self, stream: &str, since: Option<DateTime<Utc>>, take: &mut dyn FnMut(&[u8])) -> anyhow::Result<()> {
        let Some(saved) = self.saved(stream)? else { return Ok(()) };
        self.lines_from(stream, Position::start_of(self.first(stream, &saved, since)?), take)
    }

    /// As [`lines`](Self::lines), from a position on.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn lines_from(&self, stream: &str, from: Position, take: &mut dyn FnMut(&[u8])) -> anyhow::Result<()> {
        self.lines_while(stream, from, &mut |line| {
            take(line);
            true
        })
    }

    /// As [`lines_from`](Self::lines_from), for as long as `take` says that it wants more.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn lines_while(&self, stream: &str, from: Position, take: &mut dyn FnMut(&[u8]) -> bool) -> anyhow::Result<()> {
        let Some(saved) = self.saved(stream)? else { return Ok(()) };
        self.read(stream, from, sink::Committed::from(&saved), take)
            .with_context(|| format!("cannot read the stream {stream}"))
    }

    /// What is committed of a stream.
    ///
    /// # Errors
    /// When the commit log's entry is damaged.
    pub fn saved(&self, stream: &str) -> anyhow::Result<Option<Saved>> {
        let saved = self.state.get(&stream_key(stream)).map(|saved| serde_json::from_str(saved.get()));
        saved.transpose().with_context(|| format!("the commit log's entry of {stream} is damaged"))
    }

    /// A reader of a stream's lines.
    pub fn reader(&self, stream: &str, from: Position) -> Reader {
        Reader::new(Arc::clone(&self.fs), &self.root, stream.into(), from)
    }

    /// The first segment that may have lines from `since` on.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn first(&self, stream: &str, saved: &Saved, since: Option<DateTime<Utc>>) -> anyhow::Result<u64> {
        let Some(since) = since else { return Ok(saved.first) };
        // A day is one of the stream's zone, and a segment ends where the next begins: two days leave room for both.
        let day = since.date_naive() - chrono::Days::new(2);
        let found = files(&*self.fs, &self.root, stream)
            .with_context(|| format!("cannot read the folder of the stream {stream}"))?;
        let begun_before = found.values().filter(|name| name.day < day).map(|name| name.number).max();
        Ok(begun_before.map_or(saved.first, |number| number.max(saved.first)))
    }

    fn read(
        &self,
        stream: &str,
        from: Position,
        to: sink::Committed,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let mut reader = self.reader(stream, from);
        let mut lines = Vec::new();
        while reader.read(to, CHUNK_BYTES, &mut lines)?.is_some() {
            let mut begin = 0;
            for feed in memchr::memchr_iter(b'\n', &lines) {
                if !take(&lines[begin..feed]) {
                    return Ok(());
                }
                begin = feed + 1;
            }
            lines.clear();
        }
        Ok(())
    }
}
