//! The folder of a browser of ours: made for it, and removed with it; at the latest by the next browser, where tapline was killed.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;

use crate::scratch::{self, Left, Scratch};

/// How the names of such folders begin, among others' in the folder for what is temporary.
const PREFIX: &str = "tapline-browser-";
/// How long the processes of a browser that was ended may go on writing, as so many pauses of this length.
const ENDING_PAUSES_MAX: usize = 100;
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// A folder.
pub(super) struct Folder(Scratch);

impl Folder {
    /// Makes one, and removes those that nobody uses any more.
    ///
    /// # Errors
    /// When there is no room, or no right to make one.
    pub(super) fn make() -> anyhow::Result<Self> {
        scratch::left(PREFIX).into_iter().for_each(Left::remove);
        Scratch::make(PREFIX).map(Self).context("no folder for the browser")
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    /// Its browser was ended just now.
    fn drop(&mut self) {
        let (_nobody, says) = mpsc::channel::<()>();
        for _ in 0..ENDING_PAUSES_MAX {
            // What cannot be removed is tried again, and left to the next browser in the end.
            fs::remove_dir_all(self.path()).ok();
            says.recv_timeout(ENDING_PAUSE).ok();
            if !self.path().exists() {
                break;
            }
        }
    }
}
