//! Reading the commit log of a running service from another process, again and again, at the cost of what is new.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::Fs;
use crate::pipeline::format;

use super::{State, apply, frames, name_of, newest_number};

/// The committed state as it is now, and how far the log has been read.
pub struct Watch {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// The log that is read; `None` before the first look, zero while there is none.
    number: Option<u64>,
    offset: u64,
    state: State,
}

impl Watch {
    /// Watches the log in `dir`, which need not be there yet.
    pub fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned(), number: None, offset: 0, state: State::new() }
    }

    /// Reads what was committed since the last call. Returns whether anything was.
    ///
    /// # Errors
    /// When the log cannot be read, or the folder is of another format.
    pub fn refresh(&mut self) -> anyhow::Result<bool> {
        let newest = newest_number(&*self.fs, &self.dir)?;
        if self.number != Some(newest) {
            // Whoever upgrades a folder begins a log.
            format::OURS.check_for_reading(&*self.fs, &self.dir)?;
            // A log begins with the whole state.
            (self.number, self.offset, self.state) = (Some(newest), 0, State::new());
        }
        if newest == 0 {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        match self.fs.read_from(&self.dir.join(name_of(newest)), self.offset) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            // Replaced between the two looks; the next one finds its successor.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let before = self.offset;
        for frame in frames(&bytes) {
            let (frame, len) = frame?;
            apply(&mut self.state, frame.set);
            self.offset += len;
        }
        Ok(self.offset != before)
    }

    /// The state as of the last [`refresh`](Self::refresh).
    pub fn state(&self) -> &State {
        &self.state
    }
}
