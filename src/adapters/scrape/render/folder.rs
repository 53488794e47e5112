//! The folder of a browser of ours: made for it, and removed with it; at the latest by the next browser, where tapline was killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

/// How the names of such folders begin, among others' in the folder for what is temporary.
const PREFIX: &str = "tapline-browser-";
/// Somebody who sweeps may take a folder before it is locked. Not each time.
const TRIES_MAX: usize = 8;
/// How long the processes of a browser that was ended may go on writing, as so many pauses of this length.
const ENDING_PAUSES_MAX: usize = 100;
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// A folder. As long as it is used it is locked, and the lock ends with the process, however that ends.
pub(super) struct Folder {
    dir: TempDir,
    _lock: File,
}

impl Folder {
    /// Makes one, and removes those that nobody uses any more.
    ///
    /// # Errors
    /// When there is no room, or no right to make one.
    pub(super) fn make() -> anyhow::Result<Self> {
        let within = std::env::temp_dir();
        sweep(&within);
        for _ in 0..TRIES_MAX {
            if let Some(folder) = Self::make_in(&within).context("no folder for the browser")? {
                return Ok(folder);
            }
        }
        Err(anyhow!("no folder for the browser: another process removes each that is made in {}", within.display()))
    }

    fn make_in(within: &Path) -> io::Result<Option<Self>> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(within)?;
        let lock = lock_of(dir.path())?;
        // Between the two it may have been swept away.
        let is_there = dir.path().is_dir();
        Ok(lock.filter(|_| is_there).map(|lock| Self { dir, _lock: lock }))
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Folder {
    /// Its browser was ended just now.
    fn drop(&mut self) {
        let (_nobody, says) = mpsc::channel::<()>();
        for _ in 0..ENDING_PAUSES_MAX {
            // What cannot be removed is tried again, and left to the next browser in the end.
            fs::remove_dir_all(self.dir.path()).ok();
            says.recv_timeout(ENDING_PAUSE).ok();
            if !self.dir.path().exists() {
                break;
            }
        }
    }
}

/// The lock of a folder, unless somebody else has it, or it is gone.
fn lock_of(dir: &Path) -> io::Result<Option<File>> {
    let file = match File::open(dir) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes the folders of browsers whose tapline was killed. What cannot be removed now is left to the next.
fn sweep(within: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            // Of the entry itself: a link of somebody else leads nowhere.
            && entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == user);
        if !is_ours {
            continue;
        }
        let dir = entry.path();
        if let Ok(Some(_lock)) = lock_of(&dir) {
            let removed = fs::remove_dir_all(&dir);
            tracing::debug!("the folder of a browser that was left behind, {}: {removed:?}", dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_swept_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let within = temp.path();
        let used = Folder::make_in(within).unwrap().unwrap();
        let made = |name: &str| {
            let dir = within.join(name);
            fs::create_dir_all(dir.join("Default")).unwrap();
            fs::write(dir.join("Default/Cookies"), "x").unwrap();
            dir
        };
        let (left, other) = (made("tapline-browser-left"), made("somebody-else"));
        let link = within.join("tapline-browser-link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        sweep(within);
        assert!(!left.exists(), "its process is gone");
        assert!(used.path().is_dir(), "it is in use");
        assert!(other.join("Default/Cookies").exists() && link.is_symlink(), "a link is no folder of ours");
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }
}
