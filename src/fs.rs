//! The seam to the disk: every byte that tapline keeps goes through [`Fs`].
//!
//! It exists so that a simulated disk can be crashed ten thousand times in a minute. [`Disk`] is the real one: plain
//! `std::fs` on the calling thread. `tokio::fs` is not used, because it reports a failed write only at the next call
//! (tokio issue 6325), which on a full disk loses data in silence.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, OFlags};

/// Files are readable by the group, so that another user's `tail` and shippers work, and by nobody else.
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;
/// Files with what is secret are readable by nobody else.
const PRIVATE_MODE: u32 = 0o600;

/// What tapline needs of a file system. Paths are absolute or relative to the working folder, as given.
pub trait Fs: Send + Sync {
    /// Creates a file that must not exist yet, for appending.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// The same for a file that its owner alone may read.
    fn create_private(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.create(path)
    }
    /// Opens an existing regular file for appending. A symbolic link is refused.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a file for reading from `offset` on.
    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>>;
    /// The length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// When a file was last written.
    fn modified(&self, path: &Path) -> io::Result<DateTime<Utc>>;
    /// The names in a folder, in no order; a folder that is not there has none.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether there is anything in a folder; in one that is not there, nothing is.
    fn has_names(&self, dir: &Path) -> io::Result<bool>;
    /// Creates one folder, in one that is there.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Puts `from` in the place of `to` in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. One that is not there is a success: the step may be repeated after a crash.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder; one that is not empty, or not there, is left as it is.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Points the symbolic link `link` at `target`, in one step. Something else of that name is refused.
    fn link(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// What a symbolic link points at; `None` where there is something else or nothing.
    fn link_target(&self, _link: &Path) -> Option<PathBuf> {
        None
    }
    /// The bytes that may still be written to the file system of `dir`.
    fn free(&self, dir: &Path) -> io::Result<u64>;

    /// Creates a folder and what is missing above it, and makes the new names durable.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        // Nothing is put into a folder before its name is durable. One that is empty may be what an end between the
        // two steps has left, so being there is not enough.
        if self.has_names(dir)? {
            return Ok(());
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), |parent| self.create_dir(parent))?;
        match self.make_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.sync_dir(parent.unwrap_or(Path::new("."))),
        }
    }
}

/// A file open for appending.
pub trait File: Send {
    /// Appends all of `bytes`. After an error the file may have grown by any part of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content durable. After an error the file must not be synced again: the kernel has dropped its
    /// knowledge of what was not written, and a second call would lie.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The real file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct Disk;

impl Fs for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        create(path, FILE_MODE)
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn File>> {
        create(path, PRIVATE_MODE)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().append(true).custom_flags(no_follow()).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(DiskFile(file)))
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        use std::io::{Seek as _, SeekFrom};
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.size())
    }

    fn modified(&self, path: &Path) -> io::Result<DateTime<Utc>> {
        Ok(fs::metadata(path)?.modified()?.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // A name that is not UTF-8 is not one of ours.
        entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
    }

    fn has_names(&self, dir: &Path) -> io::Result<bool> {
        match fs::read_dir(dir) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(DIR_MODE).create(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir(dir) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn link(&self, target: &Path, link: &Path) -> io::Result<()> {
        match fs::symlink_metadata(link) {
            Ok(found) if !found.is_symlink() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a link has this name"));
            }
            Ok(_) if fs::read_link(link)? == target => return Ok(()),
            _ => {}
        }
        let mut aside = link.as_os_str().to_owned();
        aside.push(".tmp");
        self.remove(Path::new(&aside))?;
        std::os::unix::fs::symlink(target, &aside)?;
        fs::rename(&aside, link)
    }

    fn link_target(&self, link: &Path) -> Option<PathBuf> {
        fs::read_link(link).ok()
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(dir)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

/// Holds a folder for this process until dropped, so that two processes never write one folder.
#[derive(Debug)]
pub struct Lock(fs::File);

/// Who only looks whether a lock is held has it for a moment: who wants it tries this often, and waits so long between.
const TRIES: u32 = 4;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(15);

impl Lock {
    /// Takes the lock file at `path`, creating it if need be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process holds it.
    pub fn take(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(no_follow())
            .open(path)?;
        let (_held, nothing) = std::sync::mpsc::channel::<()>();
        let mut tries = 1;
        while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK || tries == TRIES {
                return Err(error.into());
            }
            tries += 1;
            nothing.recv_timeout(TRY_AGAIN_AFTER).ok();
        }
        Ok(Self(file))
    }

    /// Writes down who holds it, for those who look.
    ///
    /// # Errors
    /// When the file cannot be written. The lock is held all the same.
    pub fn sign(&mut self, holder: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(holder.as_bytes(), 0)
    }

    /// What the holder of the lock at `path` has written down; `None` when nobody holds it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn holder(path: &Path) -> io::Result<Option<String>> {
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            // Closing the file gives it back.
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut said = Vec::new();
                file.read_to_end(&mut said)?;
                Ok(Some(String::from_utf8_lossy(&said).into_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn create(path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
    let file = OpenOptions::new().append(true).create_new(true).mode(mode).custom_flags(no_follow()).open(path)?;
    Ok(Box::new(DiskFile(file)))
}

fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).expect("invariant: a flag of open(2), which takes an int")
}

/// Whether anything in a chain of causes is a want of room; see [`is_full`].
pub fn is_full_within(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_full))
}

/// Whether writing failed for want of room: it may succeed later, by itself.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_sees_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(Lock::holder(&path).unwrap(), None, "no file");
        let mut lock = Lock::take(&path).unwrap();
        assert_eq!(Lock::holder(&path).unwrap().as_deref(), Some(""));
        lock.sign("a longer text").unwrap();
        lock.sign("short").unwrap();
        assert_eq!(Lock::holder(&path).unwrap().as_deref(), Some("short"));
        assert_eq!(Lock::take(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        assert_eq!(Lock::holder(&path).unwrap(), None, "what it signed is of the past");
        Lock::take(&path).unwrap();
    }
}
