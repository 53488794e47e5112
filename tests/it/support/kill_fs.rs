//! A real disk that kills its own process at a given operation: in the middle of a write, or just before anything else.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use tapline::fs::{Disk, File, Fs};

/// The disk, and what is left until the end.
pub struct KillFs {
    left: Arc<Fuse>,
}

/// Counts operations down, and says each on standard output so that the parent can count what was hit.
struct Fuse(AtomicU64);

impl KillFs {
    /// Ends the process at the operation of this number, counted from 1.
    pub fn new(at: u64) -> Self {
        Self { left: Arc::new(Fuse(AtomicU64::new(at))) }
    }
}

impl Fuse {
    /// Whether this operation is the one.
    fn burn(&self, what: &str) -> bool {
        let is_it = self.0.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_it {
            println!("killed at {what}");
        }
        is_it
    }

    fn before(&self, what: &str) {
        if self.burn(what) {
            die();
        }
    }
}

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("nobody survives SIGKILL")
}

struct KillFile {
    file: Box<dyn File>,
    left: Arc<Fuse>,
}

impl File for KillFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.left.burn("write") {
            self.file.append(&bytes[..bytes.len() / 2])?;
            die();
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.left.before("sync");
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.left.before("truncate");
        self.file.truncate(len)
    }
}

impl Fs for KillFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.left.before("create");
        Ok(Box::new(KillFile { file: Disk.create(path)?, left: Arc::clone(&self.left) }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(KillFile { file: Disk.open(path)?, left: Arc::clone(&self.left) }))
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Disk.read_from(path, offset)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Disk.len(path)
    }

    fn modified(&self, path: &Path) -> io::Result<DateTime<Utc>> {
        Disk.modified(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn has_names(&self, dir: &Path) -> io::Result<bool> {
        Disk.has_names(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.left.before("make_dir");
        Disk.make_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.left.before("sync_dir");
        Disk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.left.before("rename");
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // Most removals are of files that are not there; only those of files that are count.
        if Disk.len(path).is_ok() {
            self.left.before("unlink");
        }
        Disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }

    fn link(&self, target: &Path, link: &Path) -> io::Result<()> {
        self.left.before("link");
        Disk.link(target, link)
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        Disk.free(dir)
    }
}
