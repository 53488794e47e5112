//! A small tapline around [`Commits`] on a simulated disk, and an oracle that knows what its files must hold.
//!
//! The oracle reads the files with a parser of its own. It knows what was committed, what was on its way when the end
//! came, and what upstream has; nothing that the code under test says of itself counts as evidence.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::value::RawValue;
use tapline::config::{Compress, Durability, Retain, Rotate};
use tapline::pipeline::commit::{Append, CommitError, Commits, Found, kept_key, source_key};
use tapline::record::Record;
use tapline::sinks::segments::name::Form;
use tapline::sinks::segments::{Spec, compress, read, retain};
use tapline::units::{Size, Span};

use super::sim_fs::{Crash, SimFs};

/// The data folder on the simulated disk.
pub(crate) const ROOT: &str = "/srv/data";

const LEDGER: &str = "_ledger";

/// A source of the model: numbered records, which upstream can send again or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) replays: bool,
}

pub(crate) const SOURCES: [Source; 5] = [
    Source { name: "alpha", stream: "alpha", replays: true },
    Source { name: "beta", stream: "beta", replays: true },
    Source { name: "gamma", stream: "both", replays: true },
    Source { name: "delta", stream: "both", replays: true },
    Source { name: "live", stream: "live", replays: false },
];

const STREAMS: [&str; 5] = ["alpha", "beta", "both", "live", LEDGER];

/// What a source's driver knows: the last number it took, and the ids that it drops when they come again.
#[derive(Debug, Default, Clone)]
struct Driver {
    cursor: u64,
    kept: HashSet<String>,
}

/// What the oracle knows of one stream.
#[derive(Debug, Default, Clone)]
struct Known {
    /// Committed lines that must be there, in order.
    lines: Vec<String>,
    /// Committed lines that were given up since, and may be gone.
    given_up: HashSet<String>,
    /// Lines handed over and not committed yet.
    on_the_way: Vec<String>,
}

/// How a life of the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As asked.
    Done,
    /// No room.
    Full,
    /// The disk fails, or the end came.
    Dead,
}

/// The process, its disk, its upstreams, and what must be true.
pub(crate) struct World {
    pub(crate) fs: SimFs,
    pub(crate) durability: Durability,
    commits: Option<Commits>,
    drivers: BTreeMap<&'static str, Driver>,
    known: BTreeMap<&'static str, Known>,
    /// How far a source that cannot be replayed has been read, which no crash undoes.
    passed: BTreeMap<&'static str, u64>,
    pub(crate) now: DateTime<Utc>,
    rotate_size: u64,
    line_bytes: u64,
    /// What taking up the streams found, since the world was made.
    pub(crate) found: Vec<Found>,
    /// The lines that stood in the files when the process was killed: somebody may have read them.
    visible: BTreeMap<&'static str, Vec<String>>,
    log_bytes_min: u64,
    /// Whether the power has stayed on since the last judgement.
    sound: bool,
}

impl World {
    pub(crate) fn new(fs: SimFs, durability: Durability, rotate_size: u64, line_bytes: u64) -> Self {
        Self {
            fs,
            durability,
            commits: None,
            drivers: BTreeMap::new(),
            known: STREAMS.iter().map(|stream| (*stream, Known::default())).collect(),
            passed: BTreeMap::new(),
            now: "2026-11-23T17:34:05.123456Z".parse().expect("a time"),
            rotate_size,
            line_bytes,
            found: Vec::new(),
            visible: BTreeMap::new(),
            log_bytes_min: 3_000,
            sound: true,
        }
    }

    /// Opens the data folder as the service does: every stream taken up and committed, then the drivers' state.
    pub(crate) fn start(&mut self) -> Outcome {
        self.commits = None;
        let failed = |fs: &SimFs, error: &anyhow::Error| {
            if tapline::fs::is_full_within(error) && !fs.crashed() { Outcome::Full } else { Outcome::Dead }
        };
        let mut commits = match Commits::open(Arc::new(self.fs.clone()), Path::new(ROOT), self.durability, self.now) {
            Ok(commits) => commits,
            Err(error) => return failed(&self.fs, &error),
        };
        commits.set_log_bytes_min(self.log_bytes_min);
        for stream in STREAMS {
            match commits.add_stream(self.spec(stream)) {
                Ok(found) => self.found.push(found),
                Err(error) => return failed(&self.fs, &error),
            }
            match commits.commit(self.now) {
                Ok(_) => {}
                Err(CommitError::Full(_)) => return Outcome::Full,
                Err(CommitError::Broken(_)) => return Outcome::Dead,
            }
        }
        for source in SOURCES {
            let state = commits.state();
            let cursor = state.get(&source_key(source.name)).map_or(0, |value| value.get().parse().expect("a number"));
            let kept = state.get(&kept_key(source.name)).map(|ids| serde_json::from_str(ids.get()).expect("ids"));
            self.drivers.insert(source.name, Driver { cursor, kept: kept.unwrap_or_default() });
        }
        self.commits = Some(commits);
        Outcome::Done
    }

    fn spec(&self, stream: &str) -> Spec {
        Spec {
            name: stream.into(),
            rotate: Rotate { size: Size(self.rotate_size), every: Span(Duration::from_hours(1)) },
            compress: if stream == "beta" { Compress::Gzip } else { Compress::Zstd },
            retain: Retain::default(),
            timezone: Tz::Asia__Kolkata,
            link: (stream == "alpha").then(|| "alpha.out".to_owned()),
        }
    }

    fn commits(&mut self) -> &mut Commits {
        self.commits.as_mut().expect("started")
    }

    /// Takes the next `count` records of a source into the group, with the ledger entries that they bring.
    pub(crate) fn hold(&mut self, source: Source, count: u64) {
        let driver = self.drivers.get_mut(source.name).expect("started");
        let from = if source.replays { driver.cursor } else { self.passed.get(source.name).copied().unwrap_or(0) };
        let (mut lines, mut entries) = (Vec::new(), Vec::new());
        for number in from + 1..=from + count {
            let line = record(source.name, "r", number, self.line_bytes, self.now);
            if !driver.kept.remove(&line.id) {
                lines.push(line.to_line());
            }
            if source.replays && number % 3 == 0 {
                let entry = record(source.name, "l", number, self.line_bytes, self.now);
                if !driver.kept.remove(&entry.id) {
                    entries.push(entry.to_line());
                }
            }
        }
        driver.cursor = from + count;
        self.passed.insert(source.name, from + count);
        let mut append = Append { lines: Vec::new(), state: vec![(source_key(source.name), Some(raw(driver.cursor)))] };
        if driver.kept.is_empty() {
            append.state.push((kept_key(source.name), None));
        }
        for (stream, lines) in [(source.stream, lines), (LEDGER, entries)] {
            if !lines.is_empty() {
                append.lines.push((stream.into(), lines.concat().into_bytes()));
                self.known.get_mut(stream).expect("known").on_the_way.extend(lines);
            }
        }
        self.commits().hold(append);
    }

    /// Commits the group.
    pub(crate) fn commit(&mut self) -> Outcome {
        let now = self.now;
        match self.commits().commit(now) {
            Ok(_) => {
                for known in self.known.values_mut() {
                    known.lines.append(&mut known.on_the_way);
                }
                Outcome::Done
            }
            Err(CommitError::Full(_)) if !self.fs.crashed() => Outcome::Full,
            Err(_) => Outcome::Dead,
        }
    }

    /// One thing that a service does, chosen by the generator.
    pub(crate) fn step(&mut self, rng: &mut StdRng) -> Outcome {
        match rng.random_range(0..20_u8) {
            0..10 => {
                self.hold(SOURCES[rng.random_range(0..SOURCES.len())], rng.random_range(1..=4));
                Outcome::Done
            }
            10..15 => self.commit(),
            15 => {
                self.now += TimeDelta::minutes(rng.random_range(-50..100));
                let now = self.now;
                self.commits().close_due(now);
                Outcome::Done
            }
            16 => match self.commit() {
                Outcome::Done => {
                    let stream = STREAMS[rng.random_range(0..STREAMS.len())];
                    self.commits().close_segment(stream);
                    self.commit()
                }
                other => other,
            },
            17 => self.compress(STREAMS[rng.random_range(0..STREAMS.len())]),
            18 => self.give_up("both"),
            _ => {
                self.now += TimeDelta::milliseconds(rng.random_range(0..400));
                Outcome::Done
            }
        }
    }

    /// Compresses a stream's closed segments, as upkeep does. Where it fails, nothing is lost by that.
    fn compress(&mut self, stream: &str) -> Outcome {
        let Some(saved) = self.commits().segments().saved(stream) else { return Outcome::Done };
        let form = if stream == "beta" { Form::Gzip } else { Form::Zstd };
        let files = read::files(&self.fs, Path::new(ROOT), stream).expect("reading does not fail");
        for name in files.range(..saved.segment).map(|(_, name)| *name).filter(|name| name.form == Form::Plain) {
            if compress::compress(&self.fs, Path::new(ROOT), stream, name, form).is_err() {
                break;
            }
        }
        if self.fs.crashed() { Outcome::Dead } else { Outcome::Done }
    }

    /// Deletes a stream's segments before the active one, as upkeep does: the intent is committed first.
    fn give_up(&mut self, stream: &'static str) -> Outcome {
        let outcome = self.commit();
        let Some(saved) = self.commits().segments().saved(stream).filter(|_| outcome == Outcome::Done) else {
            return outcome;
        };
        // From here on they may go, whenever the end comes.
        let before = self.texts(stream).into_iter().filter(|(number, _)| *number < saved.segment);
        let going: HashSet<String> = before.flat_map(|(_, text)| lines_of(&text)).collect();
        let known = self.known.get_mut(stream).expect("known");
        known.lines.retain(|line| !going.contains(line));
        known.given_up.extend(going);
        self.commits().give_up_before(stream, saved.segment);
        match self.commit() {
            Outcome::Done => {}
            other => return other,
        }
        retain::remove_before(&self.fs, Path::new(ROOT), stream, saved.segment).ok();
        if self.fs.crashed() { Outcome::Dead } else { Outcome::Done }
    }
}

impl World {
    /// Ends the process or the machine.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.commits = None;
        self.fs.restart(crash);
        self.sound &= crash == Crash::Process;
        if self.sound {
            for stream in STREAMS {
                let seen = self.texts(stream).into_values().flat_map(|text| lines_of(&text));
                let seen: Vec<String> = seen.filter(|line| line.ends_with('\n') && ids_of(line).is_some()).collect();
                self.visible.insert(stream, seen);
            }
        } else {
            self.visible.clear();
        }
    }

    /// A stream's segments as text, by number, read with nothing of the code under test.
    pub(crate) fn texts(&self, stream: &str) -> BTreeMap<u64, String> {
        let mut texts = BTreeMap::new();
        let folder = Path::new(ROOT).join(stream);
        for (path, bytes) in self.fs.files() {
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
            let Some((number, ending)) = name.strip_prefix(&format!("{stream}-")).and_then(|name| name.split_once('.'))
            else {
                continue;
            };
            if path.parent().and_then(Path::parent) != Some(&folder) {
                continue;
            }
            let number: u64 = number.parse().expect("a number");
            let text = match ending {
                "jsonl" => bytes,
                "jsonl.zst" if !texts.contains_key(&number) => zstd::decode_all(&bytes[..]).expect("a whole file"),
                "jsonl.gz" if !texts.contains_key(&number) => {
                    let mut text = Vec::new();
                    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("a whole file");
                    text
                }
                _ => continue,
            };
            // What is torn need not be text; what is left of it is judged by whoever asks.
            texts.insert(number, String::from_utf8_lossy(&text).into_owned());
        }
        texts
    }

    /// Judges the files and the state after a start, and takes what is there as committed from now on.
    pub(crate) fn check(&mut self) {
        self.sound = true;
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for stream in STREAMS {
            let texts = self.texts(stream);
            let mut lines = Vec::new();
            for (number, text) in &texts {
                assert!(text.is_empty() || text.ends_with('\n'), "{stream} {number} ends in a torn line: {text:?}");
                lines.extend(lines_of(text));
            }
            for line in &lines {
                let (source, id) = ids_of(line).unwrap_or_else(|| panic!("a torn line in {stream}: {line:?}"));
                assert!(ids.entry(source).or_default().insert(id.clone()), "{id} stands twice in {stream}");
            }
            let known = self.known.get_mut(stream).expect("known");
            let given_up = lines.iter().take_while(|line| known.given_up.contains(*line)).count();
            let lines = lines.split_off(given_up);
            let whole = lines.len().min(known.lines.len());
            assert_eq!(lines[..whole], known.lines[..whole], "committed lines of {stream} were changed");
            assert!(lines.len() >= known.lines.len(), "{stream} lost {:?}", &known.lines[whole..]);
            let mut way = known.on_the_way.iter();
            for extra in &lines[whole..] {
                assert!(way.any(|line| line == extra), "{extra:?} in {stream} came from nowhere, or out of order");
            }
            for seen in self.visible.remove(stream).unwrap_or_default() {
                let is_there = lines.contains(&seen) || known.given_up.contains(&seen);
                assert!(is_there, "a line of {stream} that could be read is gone: {seen:?}");
            }
            known.lines = lines;
            known.on_the_way.clear();
        }
        for source in SOURCES.iter().filter(|source| source.replays) {
            self.check_cursor(*source, ids.remove(source.name).unwrap_or_default());
        }
    }

    /// Up to the cursor everything is there; behind it only what will be recognised.
    fn check_cursor(&self, source: Source, mut ids: BTreeSet<String>) {
        let driver = &self.drivers[source.name];
        let gone: HashSet<String> =
            self.known[source.stream].given_up.iter().filter_map(|line| ids_of(line)).map(|(_, id)| id).collect();
        for number in 1..=driver.cursor {
            let id = format!("r_{}-{number}", source.name);
            assert!(ids.remove(&id) || gone.contains(&id), "{id} is lost: the cursor is at {}", driver.cursor);
            let entry = format!("l_{}-{number}", source.name);
            assert!(number % 3 != 0 || ids.remove(&entry), "{entry} is lost: the cursor is at {}", driver.cursor);
        }
        for id in ids {
            assert!(driver.kept.contains(&id), "{id} will be doubled: the cursor is at {}", driver.cursor);
        }
    }

    /// Lets every upstream send a few more, and judges the end: each record once.
    pub(crate) fn finish(&mut self, count: u64) {
        for source in SOURCES {
            // More than ever is on its way at once.
            self.hold(source, count);
        }
        assert_eq!(self.commit(), Outcome::Done);
        let before = self.segments();
        self.crash(Crash::Process);
        assert_eq!(self.start(), Outcome::Done);
        self.check();
        assert_eq!(self.segments(), before, "a start after an end in order changes nothing");
    }

    /// Closes a stream's segment, as the service does when the form of its text rendering changes.
    pub(crate) fn close(&mut self, stream: &str) {
        self.commits().close_segment(stream);
    }

    /// The process on another disk, killed.
    pub(crate) fn crash_into(&mut self, fs: SimFs) {
        self.fs = fs;
        self.crash(Crash::Process);
    }

    /// Judges a disk that is a copy from before the end of this world: no line twice, none torn.
    pub(crate) fn check_all_once(&mut self) {
        let mut ids = BTreeSet::new();
        for stream in STREAMS {
            for line in self.texts(stream).into_values().flat_map(|text| lines_of(&text)) {
                assert!(ids.insert(ids_of(&line).expect("a whole line")), "twice in {stream}: {line:?}");
            }
        }
        for source in SOURCES.iter().filter(|source| source.replays) {
            let own = ids.iter().filter(|(name, _)| name == source.name).map(|(_, id)| id.clone()).collect();
            self.check_cursor(*source, own);
        }
    }

    /// The same world on a disk of its own, not started.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.fs.copy(), self.durability, self.rotate_size, self.line_bytes)
    }

    /// Whether a path is that of a stream's active segment.
    pub(crate) fn is_active(&self, path: &Path) -> bool {
        let segments = self.commits.as_ref().expect("started").segments();
        STREAMS.iter().filter_map(|stream| segments.saved(stream).map(|saved| (stream, saved.segment))).any(
            |(stream, number)| path.file_name().is_some_and(|name| name == &*format!("{stream}-{number:012}.jsonl")),
        )
    }

    /// A second recovery of what the first has left finds nothing to do.
    pub(crate) fn check_idempotent(&self) {
        let mut again = Self {
            fs: self.fs.copy(),
            commits: None,
            ..Self::new(self.fs.copy(), self.durability, self.rotate_size, self.line_bytes)
        };
        again.now = self.now;
        again.fs.restart(Crash::Process);
        assert_eq!(again.start(), Outcome::Done);
        assert_eq!(again.segments(), self.segments(), "a second recovery changed files");
        let state = |world: &Self| {
            let state = world.commits.as_ref().expect("started").state();
            state.iter().map(|(key, value)| (key.clone(), value.get().to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(state(&again), state(self), "a second recovery changed the state");
    }

    fn segments(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.fs.files().into_iter().filter(|(path, _)| !path.starts_with(Path::new(ROOT).join(".tapline"))).collect()
    }
}

fn lines_of(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// Source and id of a line, if it is whole.
fn ids_of(line: &str) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_str(line.strip_suffix('\n')?).ok()?;
    Some((value.get("source")?.as_str()?.to_owned(), value.get("id")?.as_str()?.to_owned()))
}

fn raw(value: u64) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("a number is JSON")
}

/// A record that is the same whenever upstream sends it, but for the time it is seen.
fn record(source: &str, prefix: &str, number: u64, line_bytes: u64, now: DateTime<Utc>) -> Record {
    let len = number.wrapping_mul(2_654_435_761) % line_bytes.max(1);
    let filler = "é\\n".repeat(usize::try_from(len / 4).expect("small"));
    Record {
        observed_at: now,
        source: source.into(),
        id: format!("{prefix}_{source}-{number}"),
        kind: "test".into(),
        published_at: None,
        data: RawValue::from_string(format!("{{\"number\":{number},\"filler\":\"{filler}\"}}")).expect("JSON"),
    }
}
