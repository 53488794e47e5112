//! Folders for what is only there as long as somebody uses it: each goes with its owner, and where the process was killed, with
//! the next one that looks.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

/// Somebody who looks may take a folder before it is locked. Not each time.
const TRIES_MAX: usize = 8;

/// A folder in the one for what is temporary, which nobody else may look into. As long as it is used it is locked, and the
/// lock ends with the process, however that ends.
pub struct Scratch {
    dir: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes one, whose name begins with `prefix`.
    ///
    /// # Errors
    /// When there is no room, or no right to make one.
    pub fn make(prefix: &str) -> anyhow::Result<Self> {
        let within = std::env::temp_dir();
        for _ in 0..TRIES_MAX {
            let made = Self::make_in(&within, prefix);
            if let Some(scratch) = made.with_context(|| format!("no folder can be made in {}", within.display()))? {
                return Ok(scratch);
            }
        }
        Err(anyhow!("another process removes each folder that is made in {}", within.display()))
    }

    pub(crate) fn make_in(within: &Path, prefix: &str) -> io::Result<Option<Self>> {
        let mode = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix(prefix).rand_bytes(12).permissions(mode).tempdir_in(within)?;
        let lock = lock_of(dir.path())?;
        // Between the two it may have been taken.
        let is_there = dir.path().is_dir();
        Ok(lock.filter(|_| is_there).map(|lock| Self { dir, _lock: lock }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A folder whose process was killed. It is locked, so that nobody else takes it, until it is let go of.
pub struct Left {
    /// Where it is.
    pub path: PathBuf,
    _lock: File,
}

impl Left {
    /// Removes it. What cannot be removed is left to the next who looks.
    pub fn remove(self) {
        let removed = fs::remove_dir_all(&self.path);
        tracing::debug!("a folder that was left behind, {}: {removed:?}", self.path.display());
    }
}

/// The folders that nobody uses any more, of those whose names begin with `prefix`.
pub fn left(prefix: &str) -> Vec<Left> {
    left_in(&std::env::temp_dir(), prefix)
}

pub(crate) fn left_in(within: &Path, prefix: &str) -> Vec<Left> {
    let user = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix))
            // Of the entry itself: a link of somebody else leads nowhere.
            && entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == user);
        if !is_ours {
            continue;
        }
        let path = entry.path();
        if let Ok(Some(lock)) = lock_of(&path) {
            found.push(Left { path, _lock: lock });
        }
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_found_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let within = temp.path();
        let used = Scratch::make_in(within, "ours-").unwrap().unwrap();
        assert_eq!(fs::metadata(used.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let made = |name: &str| {
            let dir = within.join(name);
            fs::create_dir_all(dir.join("Default")).unwrap();
            fs::write(dir.join("Default/Cookies"), "x").unwrap();
            dir
        };
        let (gone, other) = (made("ours-left"), made("somebody-else"));
        let link = within.join("ours-link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let found = left_in(within, "ours-");
        assert!(found.len() == 1 && found[0].path == gone);
        assert!(left_in(within, "ours-").is_empty(), "somebody sees to it");
        found.into_iter().for_each(Left::remove);
        assert!(!gone.exists(), "its process is gone");
        assert!(used.path().is_dir(), "it is in use");
        assert!(other.join("Default/Cookies").exists() && link.is_symlink(), "a link is no folder of ours");
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }
}
