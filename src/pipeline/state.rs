//! The commit log: what has been committed, in one append-only file.
//!
//! The state is a map from keys to JSON values: the cursor of each source, the committed length of each stream, the
//! position of each loader. One frame is one commit: the entries that it changes, under a checksum, all or none. A
//! log begins with a frame of the whole map; when it has grown to several times that size, the map is written to the
//! next log and the old one is removed. A frame carries only what changed, so that ten thousand sources do not make
//! each commit as long as all of them together.
//!
//! ```text
//! frame: length (u32, little endian) · CRC-32 of the payload (u32) · payload
//! payload: {"frame":7,"at":"2026-11-23T07:04:05.123456Z","set":{"cursor/bseindex":{…},"stream/old":null}}
//! ```
//!
//! A frame that is not whole ends the log: it was never committed. Nothing is ever written over.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fs::{File, Fs};
use crate::record;

use super::format;

pub use watch::Watch;

/// The form of a frame: the format of the data folder that it was written in. One of a later format is refused, with
/// words, also where the folder has lost the file that says its format.
const FORM: u32 = format::OURS.format;

/// See [`StateLog::set_bytes_min`].
const COMPACT_BYTES_MIN: u64 = 4 << 20;

/// A log is replaced when it is this many times as long as the frame that it began with.
const COMPACT_FACTOR: u64 = 4;

/// No frame is longer: a length beyond this is damage, not a frame to make room for.
const FRAME_BYTES_MAX: usize = 1 << 30;

const HEADER_BYTES: usize = 8;

/// The committed state: keys to JSON values.
pub type State = BTreeMap<String, Box<RawValue>>;

/// A change of the state: a value, or `None` to forget the key.
pub type Change = (String, Option<Box<RawValue>>);

#[derive(Serialize)]
struct Frame<'a> {
    #[serde(rename = "frame")]
    number: u64,
    form: u32,
    at: String,
    set: BTreeMap<&'a str, Option<&'a RawValue>>,
}

#[derive(Deserialize)]
struct FrameRead {
    #[serde(rename = "frame")]
    number: u64,
    form: u32,
    set: BTreeMap<String, Option<Box<RawValue>>>,
}

/// The commit log, open for writing.
pub struct StateLog {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    number: u64,
    file: Box<dyn File>,
    /// The length of what is known to be whole; what is behind it is cut before the next frame.
    len: u64,
    first_frame_len: u64,
    frame: u64,
    state: State,
    sync: bool,
    /// The log is not replaced before it has this many bytes, however small the map is.
    bytes_min: u64,
    was_there: bool,
    /// A frame may be in the file that was never confirmed: the file is not to be trusted with another sync.
    poisoned: bool,
}

impl StateLog {
    /// Opens the log in `dir`, or begins one. `sync` is whether frames are made durable.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or the log is of a later version of tapline.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, sync: bool, now: DateTime<Utc>) -> anyhow::Result<Self> {
        fs.create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let newest = read_newest(&*fs, dir)?;
        let was_there = newest.is_some();
        let (number, state, frame) = newest.map_or((0, State::new(), 0), |log| (log.number, log.state, log.frame));
        // Every start begins a new log: nothing is appended to a file whose end may be torn.
        let begun = begin(&*fs, dir, number + 1, frame + 1, &state, sync, now)
            .with_context(|| format!("cannot write the commit log in {}", dir.display()))?;
        let log = Self {
            fs,
            dir: dir.to_owned(),
            number: number + 1,
            file: begun.file,
            len: begun.len,
            first_frame_len: begun.len,
            frame: frame + 1,
            state,
            sync,
            bytes_min: COMPACT_BYTES_MIN,
            was_there,
            poisoned: false,
        };
        log.remove_older();
        Ok(log)
    }

    /// Sets how many bytes the log has at least before it is replaced, however small the map is; 4 MiB if never set.
    pub fn set_bytes_min(&mut self, bytes: u64) {
        self.bytes_min = bytes;
    }

    /// Whether there was a log when this one was opened.
    pub fn was_there(&self) -> bool {
        self.was_there
    }

    /// The committed state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Commits `changes` in one frame: when this returns they are durable, all of them, and the list is empty.
    ///
    /// # Errors
    /// When the disk is full, nothing has changed and the call may be repeated. After any other failure of the file
    /// the same call goes on in a new log; an error then means that this failed too.
    pub fn commit(&mut self, changes: &mut Vec<Change>, now: DateTime<Utc>) -> io::Result<()> {
        if !self.poisoned && self.len < self.compact_at() {
            match self.append(changes, now) {
                Ok(()) => {
                    apply(&mut self.state, changes.drain(..));
                    return Ok(());
                }
                Err(error) if crate::fs::is_full(&error) && !self.poisoned => return Err(error),
                Err(error) => {
                    self.poisoned = true;
                    tracing::warn!(error = %error, "the commit log could not be written; beginning a new one");
                }
            }
        }
        match self.replace(changes, now) {
            Err(error) if !crate::fs::is_full(&error) => {
                tracing::warn!(error = %error, "a new commit log could not be written; trying once more");
                self.replace(changes, now)
            }
            replaced => replaced,
        }
    }

    fn compact_at(&self) -> u64 {
        self.bytes_min.max(self.first_frame_len * COMPACT_FACTOR)
    }

    fn append(&mut self, changes: &[Change], now: DateTime<Utc>) -> io::Result<()> {
        let set = changes.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let bytes = encode(self.frame + 1, set, now);
        if let Err(error) = self.file.append(&bytes) {
            // A part of the frame may be there. Were it left, the next frame would stand behind garbage, unseen.
            self.poisoned = self.file.truncate(self.len).is_err();
            return Err(error);
        }
        if self.sync
            && let Err(error) = self.file.sync()
        {
            // Even for want of room: what was not written is forgotten, and a second sync would not say so.
            self.poisoned = true;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.frame += 1;
        Ok(())
    }

    fn replace(&mut self, changes: &mut Vec<Change>, now: DateTime<Utc>) -> io::Result<()> {
        let mut state = self.state.clone();
        apply(&mut state, changes.iter().cloned());
        let begun = begin(&*self.fs, &self.dir, self.number + 1, self.frame + 1, &state, self.sync, now)?;
        self.number += 1;
        self.frame += 1;
        self.file = begun.file;
        self.len = begun.len;
        self.first_frame_len = begun.len;
        self.state = state;
        self.poisoned = false;
        changes.clear();
        self.remove_older();
        Ok(())
    }

    /// Removes the logs before this one. One that stays does no harm: the newest whole log is the one that counts.
    fn remove_older(&self) {
        let older = self.fs.list(&self.dir).unwrap_or_default();
        for name in older {
            let is_older = number_of(&name).is_some_and(|number| number < self.number);
            let is_aside =
                name.starts_with("commit-") && Path::new(&name).extension().is_some_and(|ending| ending == "tmp");
            if (is_older || is_aside)
                && let Err(error) = self.fs.remove(&self.dir.join(&name))
            {
                tracing::debug!(file = %name, error = %error, "an old commit log stays");
            }
        }
    }
}

fn apply(state: &mut State, changes: impl IntoIterator<Item = Change>) {
    for (key, value) in changes {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
}

struct Begun {
    file: Box<dyn File>,
    len: u64,
}

/// Writes a log whose first frame is the whole state, aside, and puts it in place.
fn begin(
    fs: &dyn Fs,
    dir: &Path,
    number: u64,
    frame: u64,
    state: &State,
    sync: bool,
    now: DateTime<Utc>,
) -> io::Result<Begun> {
    let path = dir.join(name_of(number));
    let aside = path.with_extension("log.tmp");
    fs.remove(&aside)?;
    let mut file = fs.create(&aside)?;
    let set = state.iter().map(|(key, value)| (key.as_str(), Some(&**value))).collect();
    let bytes = encode(frame, set, now);
    file.append(&bytes)?;
    if sync {
        file.sync()?;
    }
    fs.rename(&aside, &path)?;
    if sync {
        fs.sync_dir(dir)?;
    }
    Ok(Begun { file, len: bytes.len() as u64 })
}

fn name_of(number: u64) -> String {
    format!("commit-{number:012}.log")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("commit-")?.strip_suffix(".log")?.parse().ok()
}

fn encode(frame: u64, set: BTreeMap<&str, Option<&RawValue>>, now: DateTime<Utc>) -> Vec<u8> {
    let frame = Frame { number: frame, form: FORM, at: record::time_text(&now), set };
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, &frame).expect("invariant: string keys and valid JSON, into memory");
    let (header, payload) = bytes.split_at_mut(HEADER_BYTES);
    let len = u32::try_from(payload.len()).expect("invariant: the whole state is far below 4 GiB");
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes
}

struct Newest {
    number: u64,
    state: State,
    frame: u64,
}

/// The state as the newest log that has a whole first frame tells it.
fn read_newest(fs: &dyn Fs, dir: &Path) -> anyhow::Result<Option<Newest>> {
    for number in numbers(fs, dir)?.into_iter().rev() {
        let path = dir.join(name_of(number));
        let bytes = read(fs, &path)?;
        let mut state = State::new();
        let mut frame = 0;
        for read in frames(&bytes) {
            let (read, _) = read.with_context(|| format!("in {}", path.display()))?;
            frame = read.number;
            apply(&mut state, read.set);
        }
        if frame > 0 {
            return Ok(Some(Newest { number, state, frame }));
        }
        tracing::warn!(file = %path.display(), "a commit log without one whole frame is passed over");
    }
    Ok(None)
}

/// The whole frames at the start of `bytes` with their lengths, up to the first that is not.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = anyhow::Result<(FrameRead, u64)>> {
    std::iter::from_fn(move || {
        let (frame, rest) = split_frame(bytes)?;
        let len = (bytes.len() - rest.len()) as u64;
        bytes = rest;
        if frame.form > FORM {
            return Some(Err(anyhow::anyhow!(
                "written by a later version of tapline (format {}, this version knows {FORM}): start that version",
                frame.form
            )));
        }
        Some(Ok((frame, len)))
    })
}

fn split_frame(bytes: &[u8]) -> Option<(FrameRead, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= FRAME_BYTES_MAX)?;
    let (payload, rest) = rest.split_at_checked(len)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((serde_json::from_slice(payload).ok()?, rest))
}

/// What logs tell of the form that they are written in.
pub(super) enum Form {
    NoLog,
    /// None of them has a whole frame.
    Torn,
    Of(u32),
}

/// The form of the newest log in `dir` that has a whole frame.
pub(super) fn form(fs: &dyn Fs, dir: &Path) -> anyhow::Result<Form> {
    let numbers = numbers(fs, dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for &number in numbers.iter().rev() {
        let bytes = match read(fs, &dir.join(name_of(number))) {
            // Replaced since the folder was looked at, by whoever writes it.
            Err(error) if error.downcast_ref().is_some_and(is_not_found) => continue,
            read => read?,
        };
        if let Some(frame) = frames(&bytes).next() {
            return Ok(Form::Of(frame.with_context(|| format!("in {}", dir.display()))?.0.form));
        }
    }
    Ok(if numbers.is_empty() { Form::NoLog } else { Form::Torn })
}

fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// The numbers of the logs in `dir`, in order.
fn numbers(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = fs.list(dir)?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read(fs: &dyn Fs, path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs.read_from(path, 0)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// The number of the newest log in `dir`, or zero.
fn newest_number(fs: &dyn Fs, dir: &Path) -> io::Result<u64> {
    Ok(numbers(fs, dir)?.last().copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Disk;

    fn now() -> DateTime<Utc> {
        "2026-11-23T07:04:05Z".parse().unwrap()
    }

    fn open(dir: &Path) -> anyhow::Result<StateLog> {
        StateLog::open(Arc::new(Disk), dir, false, now())
    }

    fn set(log: &mut StateLog, key: &str, value: &str) {
        log.commit(&mut vec![(key.into(), Some(RawValue::from_string(value.into()).unwrap()))], now()).unwrap();
    }

    fn text(state: &State) -> String {
        state.iter().map(|(key, value)| [key, "=", value.get(), " "].concat()).collect()
    }

    #[test]
    fn a_log_that_is_cut_at_any_byte_tells_the_last_whole_frame() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path()).unwrap();
        let mut ends = vec![(log.len, String::new())];
        for (key, value) in [("a", "1"), ("b", "{\"x\":2}"), ("a", "3")] {
            set(&mut log, key, value);
            ends.push((log.len, text(log.state())));
        }
        log.commit(&mut vec![("b".into(), None)], now()).unwrap();
        ends.push((log.len, text(log.state())));
        assert_eq!(ends.last().unwrap().1, "a=3 ");
        let bytes = std::fs::read(dir.path().join(name_of(1))).unwrap();
        assert_eq!(bytes.len() as u64, log.len);
        for len in 0..=bytes.len() {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name_of(1)), &bytes[..len]).unwrap();
            let expected = ends.iter().rev().find(|(end, _)| *end <= len as u64).map_or("", |(_, state)| state);
            let mut log = open(dir.path()).unwrap();
            assert_eq!(text(log.state()), expected, "cut at {len}");
            assert_eq!(log.was_there(), len as u64 >= ends[0].0);
            // And it can be written on.
            set(&mut log, "c", "4");
            assert_eq!(text(open(dir.path()).unwrap().state()), format!("{expected}c=4 "));
        }
    }

    #[test]
    fn a_long_log_is_replaced_and_whoever_watches_goes_on_in_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path()).unwrap();
        log.set_bytes_min(300);
        let mut watch = Watch::new(Arc::new(Disk), dir.path());
        set(&mut log, "kept", "true");
        for value in 0..40 {
            set(&mut log, "n", &value.to_string());
            assert!(watch.refresh().unwrap(), "{value}");
            assert_eq!(text(watch.state()), format!("kept=true n={value} "));
            assert!(!watch.refresh().unwrap());
        }
        assert!(log.number > 3, "{}", log.number);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the old logs are gone");
        assert_eq!(text(open(dir.path()).unwrap().state()), text(log.state()));
    }

    #[test]
    fn a_log_of_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let payload = br#"{"frame":1,"form":2,"at":"","set":{}}"#;
        let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(payload).to_le_bytes());
        bytes.extend(payload);
        std::fs::write(dir.path().join(name_of(1)), bytes).unwrap();
        let error = format!("{:#}", open(dir.path()).err().unwrap());
        let error = error.replace(&dir.path().display().to_string(), "");
        insta::assert_snapshot!(error, @"in /commit-000000000001.log: written by a later version of tapline (format 2, this version knows 1): start that version");
    }
}
