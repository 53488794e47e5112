//! Standard output: committed lines as they come, for `tapline run --stdout | …`.
//!
//! It reads the segments like everybody else, so a slow reader of the pipe slows nothing and loses nothing. When the
//! reader goes away it ends quietly, as a program in a pipe should.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::Fs;
use crate::sink::{Committed, Position, Sink};

use super::segments::read::Reader;

/// How many bytes of lines are written at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Copies committed lines of several streams to one output.
pub struct Stdout<W> {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    out: W,
    /// Where each stream was when this began; what is not in it begins at its start.
    since: HashMap<Arc<str>, Position>,
    readers: HashMap<Arc<str>, Reader>,
}

impl<W: Write> Stdout<W> {
    /// Copies to `out` what is committed under the data folder `root` from the positions `since` on.
    pub fn new(fs: Arc<dyn Fs>, root: &Path, out: W, since: HashMap<Arc<str>, Position>) -> Self {
        Self { fs, root: root.to_owned(), out, since, readers: HashMap::new() }
    }
}

impl<W: Write + Send> Sink for Stdout<W> {
    fn follow(&mut self, stream: &Arc<str>, committed: Committed) -> io::Result<()> {
        let reader = self.readers.entry(Arc::clone(stream)).or_insert_with(|| {
            let since = self.since.get(stream).copied().unwrap_or(Position::start_of(1));
            Reader::new(Arc::clone(&self.fs), &self.root, Arc::clone(stream), since)
        });
        let mut lines = Vec::new();
        while reader.read(committed, CHUNK_BYTES, &mut lines)?.is_some() {
            self.out.write_all(&lines)?;
            lines.clear();
        }
        self.out.flush()
    }
}
