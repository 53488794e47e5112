//! A real disk that stands still while a test wants it to: whatever appends waits until it may go on. Or it fails.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use chrono::{DateTime, Utc};
use tapline::fs::{Disk, File, Fs};

/// The disk.
#[derive(Clone, Default)]
pub struct StuckFs(Arc<Gate>);

#[derive(Default)]
struct Gate {
    is_broken: AtomicBool,
    is_stuck: Mutex<bool>,
    changed: Condvar,
}

impl StuckFs {
    /// From now on nothing is written.
    pub fn fail(&self) {
        self.0.is_broken.store(true, Ordering::SeqCst);
    }

    /// From now on nothing is appended, or what was stuck goes on.
    pub fn stick(&self, is_stuck: bool) {
        *self.0.is_stuck.lock().unwrap() = is_stuck;
        self.0.changed.notify_all();
    }
}

impl Gate {
    fn pass(&self) -> io::Result<()> {
        drop(self.changed.wait_while(self.is_stuck.lock().unwrap(), |is_stuck| *is_stuck).unwrap());
        if self.is_broken.load(Ordering::SeqCst) { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }
}

struct StuckFile {
    file: Box<dyn File>,
    gate: Arc<Gate>,
}

impl File for StuckFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gate.pass()?;
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.gate.pass()?;
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

impl Fs for StuckFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(StuckFile { file: Disk.create(path)?, gate: Arc::clone(&self.0) }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(StuckFile { file: Disk.open(path)?, gate: Arc::clone(&self.0) }))
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
        Disk.make_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }

    fn link(&self, target: &Path, link: &Path) -> io::Result<()> {
        Disk.link(target, link)
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        Disk.free(dir)
    }
}
