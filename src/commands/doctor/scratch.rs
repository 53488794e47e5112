//! A folder in the data folder in which things are tried, and which goes with everything in it, also when a try fails.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the names of such folders begin: hidden, and no name that a stream can have.
const PREFIX: &str = ".doctor-";

/// One that is older was left behind by a process that was killed.
const AGE_MAX: Duration = Duration::from_hours(1);

/// The folder; it is removed when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in a folder, for one check.
    pub(super) fn make(place: &Path, check: &str) -> io::Result<Self> {
        remove_old(place);
        let dir = place.join(format!("{PREFIX}{}-{check}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Self(dir))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        fs::remove_dir_all(&self.0).ok();
    }
}

fn remove_old(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_ours && age().is_some_and(|age| age > AGE_MAX) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_and_what_was_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join(".doctor-1-disk");
        fs::create_dir(&old).unwrap();
        fs::write(old.join("file"), "x").unwrap();
        let hours_ago = fs::metadata(&old).unwrap().modified().unwrap() - Duration::from_hours(2);
        fs::File::open(&old).unwrap().set_modified(hours_ago).unwrap();
        fs::create_dir(dir.path().join(".doctor-2-disk")).unwrap();
        let failed = std::panic::catch_unwind(|| {
            let scratch = Scratch::make(dir.path(), "test").unwrap();
            fs::write(scratch.path("file"), "x").unwrap();
            panic!("on purpose");
        });
        assert!(failed.is_err());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".doctor-2-disk"], "another that runs is left alone");
    }
}
