//! A disk in memory that can be crashed at any step, filled, and made to fail.
//!
//! Every file has the bytes that programs see and the bytes that are on the platter, with the writes between the two;
//! every folder the same of its names. A crash of the process keeps what programs see. A loss of power keeps what was
//! synced, and of everything else whatever a seeded generator leaves: nothing, all, a part up to a sector, sectors of
//! zeros between good ones; each name on its own.

#![expect(clippy::print_stderr, reason = "a trace is for whoever reads the output")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Cursor, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tapline::fs::{File, Fs};

/// What a program asks of the disk. Each is one step, before, in and after which a crash can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Create,
    Open,
    Append,
    Sync,
    Truncate,
    SyncDir,
    Rename,
    Remove,
    MakeDir,
    RemoveDir,
    Link,
}

/// What goes wrong at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// No room after this many bytes.
    Full(usize),
    /// The device fails. Of an append, this many bytes arrive all the same.
    Broken(usize),
    /// The process, or the machine, ends. Of an append, this many bytes arrive.
    Crash(usize),
}

/// How the end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is killed: the kernel still has all that was written.
    Process,
    /// The power goes: what was not synced is in doubt.
    Power,
}

/// The simulated disk. A clone is the same disk.
#[derive(Clone)]
pub(crate) struct SimFs(Arc<Mutex<State>>);

#[derive(Clone)]
struct State {
    nodes: Vec<Node>,
    dirs: Vec<Dir>,
    /// What the next loss of power is made of.
    seed: u64,
    ops: u64,
    faults: BTreeMap<u64, Fault>,
    nth: BTreeMap<(Op, u64), Fault>,
    capacity: Option<u64>,
    crashed: bool,
    /// Whether each step is printed.
    trace: bool,
    /// How often each kind of step was asked for since the disk was made.
    counts: BTreeMap<Op, u64>,
    /// How often each kind of step was made to fail.
    failed: BTreeMap<(Op, &'static str), u64>,
}

#[derive(Clone, Default)]
struct Node {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    sync_failed: bool,
    modified: i64,
}

#[derive(Clone)]
enum Write {
    Append(Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Default)]
struct Dir {
    live: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    pending: Vec<Rename>,
}

/// One change of a folder: a name that goes, a name that comes, or both at once.
#[derive(Clone)]
struct Rename {
    gone: Option<String>,
    come: Option<(String, Entry)>,
}

#[derive(Clone, PartialEq)]
enum Entry {
    File(usize),
    Dir(usize),
    Link(PathBuf),
}

impl SimFs {
    /// A disk with nothing on it but the empty folder `/srv`.
    pub(crate) fn new(seed: u64) -> Self {
        let names = BTreeMap::from([("srv".to_owned(), Entry::Dir(1))]);
        let root = Dir { live: names.clone(), durable: names, pending: Vec::new() };
        Self(Arc::new(Mutex::new(State {
            nodes: Vec::new(),
            dirs: vec![root, Dir::default()],
            seed,
            ops: 0,
            faults: BTreeMap::new(),
            nth: BTreeMap::new(),
            capacity: None,
            crashed: false,
            trace: false,
            counts: BTreeMap::new(),
            failed: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk that is as this one is now.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Prints each step from now on, for a reader who looks for the cause of a failure.
    pub(crate) fn trace(&self) {
        self.state().trace = true;
    }

    /// How many steps were taken.
    pub(crate) fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Makes the step of this number (counted from 1 since the disk was made) fail.
    pub(crate) fn fail_at(&self, op: u64, fault: Fault) {
        self.state().faults.insert(op, fault);
    }

    /// Makes the `nth` step of one kind (counted from 1 since the disk was made) fail.
    pub(crate) fn fail_nth(&self, op: Op, nth: u64, fault: Fault) {
        self.state().nth.insert((op, nth), fault);
    }

    /// Takes back what [`fail_nth`](Self::fail_nth) planned.
    pub(crate) fn forget_nth(&self, op: Op, nth: u64) {
        self.state().nth.remove(&(op, nth));
    }

    /// Limits what all files may hold together, in bytes.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The bytes that all files hold.
    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    /// Whether the end has come.
    pub(crate) fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// How often there was no room.
    pub(crate) fn full_count(&self) -> u64 {
        self.state().failed.get(&(Op::Append, "capacity")).copied().unwrap_or(0)
    }

    /// How often each kind of step was taken.
    pub(crate) fn counts(&self) -> BTreeMap<Op, u64> {
        self.state().counts.clone()
    }

    /// How often each kind of step failed, and how.
    pub(crate) fn failed(&self) -> BTreeMap<(Op, &'static str), u64> {
        self.state().failed.clone()
    }

    /// Ends whatever runs, and starts the machine again. No fault is planned afterwards.
    pub(crate) fn restart(&self, crash: Crash) {
        let mut state = self.state();
        if state.trace {
            eprintln!("     {crash:?} ends");
        }
        state.faults.clear();
        state.nth.clear();
        state.crashed = false;
        if crash == Crash::Power {
            state.lose_power();
        }
        // What the kernel knows of a failed sync is gone with the power; after the end of a process alone it would not
        // be, but then no program can tell, so nothing is asked of one.
        for node in &mut state.nodes {
            node.sync_failed = false;
        }
    }

    /// Every file with its content, by path.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let mut files = BTreeMap::new();
        let mut dirs = vec![(PathBuf::from("/"), 0)];
        while let Some((path, dir)) = dirs.pop() {
            for (name, entry) in &state.dirs[dir].live {
                match entry {
                    Entry::File(node) => drop(files.insert(path.join(name), state.nodes[*node].live.clone())),
                    Entry::Dir(dir) => dirs.push((path.join(name), *dir)),
                    Entry::Link(_) => {}
                }
            }
        }
        files
    }

    /// Changes a file behind everybody's back, as bad memory or a person would.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let node = state.file(path).expect("a file to tamper with");
        let node = &mut state.nodes[node];
        change(&mut node.live);
        node.durable = node.live.clone();
        node.pending.clear();
    }

    /// Deletes a file behind everybody's back.
    pub(crate) fn delete(&self, path: &Path) {
        let mut state = self.state();
        let (dir, name) = state.split(path).expect("a file to delete");
        state.dirs[dir].live.remove(&name);
        state.dirs[dir].durable.remove(&name);
        state.dirs[dir].pending.clear();
        state.dirs[dir].durable = state.dirs[dir].live.clone();
    }
}

impl State {
    fn used(&self) -> u64 {
        let mut used = 0;
        for dir in &self.dirs {
            for entry in dir.live.values() {
                if let Entry::File(node) = entry {
                    used += self.nodes[*node].live.len() as u64;
                }
            }
        }
        used
    }

    /// Counts a step, and fails it where that is planned. `Err` carries how many bytes of an append arrive.
    fn step(&mut self, op: Op, on: &dyn Debug) -> Result<(), (usize, io::Error)> {
        if self.crashed {
            return Err((0, crashed()));
        }
        let result = self.take_step(op);
        if self.trace {
            let error = result.as_ref().err().map(|(bytes, error)| format!("{error} after {bytes} bytes"));
            eprintln!("{:4} {op:?} {on:?} {}", self.ops, error.unwrap_or_default());
        }
        result
    }

    fn take_step(&mut self, op: Op) -> Result<(), (usize, io::Error)> {
        self.ops += 1;
        let nth = self.counts.entry(op).or_default();
        *nth += 1;
        let nth = self.nth.remove(&(op, *nth));
        let Some(fault) = self.faults.remove(&self.ops).or(nth) else { return Ok(()) };
        let (bytes, error, what) = match fault {
            // Only what needs room can find none.
            Fault::Full(_) if !matches!(op, Op::Create | Op::Append | Op::MakeDir | Op::Link | Op::Sync) => {
                return Ok(());
            }
            Fault::Full(bytes) => (bytes, io::ErrorKind::StorageFull.into(), "full"),
            Fault::Broken(bytes) => (bytes, io::Error::other("the device fails"), "broken"),
            Fault::Crash(bytes) => {
                self.crashed = true;
                (bytes, crashed(), "crash")
            }
        };
        *self.failed.entry((op, what)).or_default() += 1;
        Err((bytes, error))
    }

    fn simple(&mut self, op: Op, on: &dyn Debug) -> io::Result<()> {
        self.step(op, on).map_err(|(_, error)| error)
    }

    fn dir(&self, path: &Path) -> io::Result<usize> {
        let mut dir = 0;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            match self.dirs[dir].live.get(name.to_str().expect("UTF-8")) {
                Some(Entry::Dir(found)) => dir = *found,
                Some(_) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(dir)
    }

    fn split(&self, path: &Path) -> io::Result<(usize, String)> {
        let dir = self.dir(path.parent().expect("not the root"))?;
        Ok((dir, path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned()))
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        let (dir, name) = self.split(path)?;
        match self.dirs[dir].live.get(&name) {
            Some(Entry::File(node)) => Ok(*node),
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, dir: usize, gone: Option<String>, come: Option<(String, Entry)>) {
        let change = Rename { gone, come };
        change.apply(&mut self.dirs[dir].live);
        self.dirs[dir].pending.push(change);
    }

    fn write(&mut self, node: usize, write: Write) {
        self.nodes[node].modified = i64::try_from(self.ops).expect("small");
        let node = &mut self.nodes[node];
        write.apply(&mut node.live);
        node.pending.push(write);
    }

    fn append(&mut self, node: usize, bytes: &[u8]) -> io::Result<()> {
        let (fits, result) = match self.step(Op::Append, &(node, bytes.len())) {
            Ok(()) => {
                let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
                if room < bytes.len() as u64 {
                    *self.failed.entry((Op::Append, "capacity")).or_default() += 1;
                    (usize::try_from(room).expect("less than what is written"), Err(full()))
                } else {
                    (bytes.len(), Ok(()))
                }
            }
            Err((fits, error)) => (fits.min(bytes.len()), Err(error)),
        };
        if fits > 0 {
            self.write(node, Write::Append(bytes[..fits].to_vec()));
        }
        result
    }

    fn sync(&mut self, node: usize) -> io::Result<()> {
        let stepped = self.simple(Op::Sync, &node);
        assert!(!self.nodes[node].sync_failed, "a file was synced again after its sync had failed");
        if stepped.is_err() && !self.crashed {
            self.nodes[node].sync_failed = true;
        }
        stepped?;
        let node = &mut self.nodes[node];
        node.durable = node.live.clone();
        node.pending.clear();
        Ok(())
    }

    fn sync_dir(&mut self, dir: usize) -> io::Result<()> {
        self.simple(Op::SyncDir, &dir)?;
        let dir = &mut self.dirs[dir];
        dir.durable = dir.live.clone();
        dir.pending.clear();
        Ok(())
    }

    fn lose_power(&mut self) {
        self.seed = self.seed.wrapping_mul(31).wrapping_add(1);
        let rng = &mut StdRng::seed_from_u64(self.seed);
        let Self { nodes, dirs, .. } = self;
        for node in nodes {
            if !node.pending.is_empty() {
                node.durable = node.after_power_loss(rng);
            }
            node.live = node.durable.clone();
            node.pending.clear();
        }
        for dir in dirs {
            let all = rng.random_range(0..4_u8);
            for change in std::mem::take(&mut dir.pending) {
                if all == 0 || (all != 1 && rng.random()) {
                    change.apply(&mut dir.durable);
                }
            }
            dir.live = dir.durable.clone();
        }
    }
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<String, Entry>) {
        if let Some(name) = &self.gone {
            names.remove(name);
        }
        if let Some((name, entry)) = &self.come {
            names.insert(name.clone(), entry.clone());
        }
    }
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Append(more) => bytes.extend_from_slice(more),
            Self::Truncate(len) => bytes.resize(*len, 0),
        }
    }
}

impl Node {
    /// What is found of the file when the power comes back.
    fn after_power_loss(&self, rng: &mut StdRng) -> Vec<u8> {
        let sector = if rng.random() { 512 } else { 4096 };
        let mut bytes = self.durable.clone();
        let mut doubtful = bytes.len();
        let arrived = match rng.random_range(0..4_u8) {
            0 => return bytes,
            1 => self.pending.len(),
            _ => rng.random_range(0..=self.pending.len()),
        };
        for write in &self.pending[..arrived] {
            if let Write::Truncate(len) = write {
                doubtful = doubtful.min(*len);
            }
            write.apply(&mut bytes);
        }
        if let Some(Write::Append(more)) = self.pending.get(arrived) {
            // The write on its way ends at a sector.
            let whole = (bytes.len() + rng.random_range(0..=more.len())) / sector * sector;
            let part = whole.saturating_sub(bytes.len()).min(more.len());
            bytes.extend_from_slice(&more[..part]);
        }
        if rng.random() {
            // The length is known to the disk before some of the content is.
            for start in (0..bytes.len()).step_by(sector) {
                let end = (start + sector).min(bytes.len());
                if end > doubtful && rng.random() {
                    bytes[start.max(doubtful)..end].fill(0);
                }
            }
        }
        bytes
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.simple(Op::Create, &path)?;
        let (dir, name) = state.split(path)?;
        if state.dirs[dir].live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.nodes.len();
        if state.trace {
            eprintln!("     file {node} is {}", path.display());
        }
        state.nodes.push(Node::default());
        state.change(dir, None, Some((name, Entry::File(node))));
        Ok(Box::new(SimFile(self.clone(), node)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.simple(Op::Open, &path)?;
        Ok(Box::new(SimFile(self.clone(), state.file(path)?)))
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let mut bytes = Cursor::new(state.nodes[state.file(path)?].live.clone());
        bytes.set_position(offset);
        Ok(Box::new(bytes))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.nodes[state.file(path)?].live.len() as u64)
    }

    fn modified(&self, path: &Path) -> io::Result<DateTime<Utc>> {
        let state = self.state();
        let modified = state.nodes[state.file(path)?].modified;
        Ok(DateTime::from_timestamp(modified, 0).expect("a small number of seconds"))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        match state.dir(dir) {
            Ok(dir) => Ok(state.dirs[dir].live.keys().cloned().collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn has_names(&self, dir: &Path) -> io::Result<bool> {
        Ok(!self.list(dir)?.is_empty())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple(Op::MakeDir, &dir)?;
        let (at, name) = state.split(dir)?;
        if state.dirs[at].live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let made = state.dirs.len();
        state.dirs.push(Dir::default());
        state.change(at, None, Some((name, Entry::Dir(made))));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let dir = state.dir(dir)?;
        state.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple(Op::Rename, &(from, to))?;
        let ((dir, from), (to_dir, to)) = (state.split(from)?, state.split(to)?);
        assert_eq!(dir, to_dir, "a rename between folders is not one step");
        let entry = state.dirs[dir].live.get(&from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.change(dir, Some(from), Some((to, entry)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple(Op::Remove, &path)?;
        if state.file(path).is_ok() {
            let (dir, name) = state.split(path)?;
            state.change(dir, Some(name), None);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple(Op::RemoveDir, &path)?;
        if state.dir(path).is_ok_and(|dir| state.dirs[dir].live.is_empty()) {
            let (dir, name) = state.split(path)?;
            state.change(dir, Some(name), None);
        }
        Ok(())
    }

    fn link(&self, target: &Path, link: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple(Op::Link, &link)?;
        let (dir, name) = state.split(link)?;
        state.change(dir, None, Some((name, Entry::Link(target.to_owned()))));
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}

struct SimFile(SimFs, usize);

impl File for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.state().append(self.1, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.state().sync(self.1)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.simple(Op::Truncate, &(self.1, len))?;
        let len = usize::try_from(len).expect("small");
        state.write(self.1, Write::Truncate(len));
        let node = &mut state.nodes[self.1];
        // What the kernel had dropped is cut off: all that is left was on the disk before.
        node.sync_failed &= !node.durable.starts_with(&node.live);
        Ok(())
    }
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}
