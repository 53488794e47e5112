//! A data folder full of records, and a tapline that is killed while it loads them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tapline::config::{Compress, Durability, Retain, Rotate};
use tapline::fs::Disk;
use tapline::pipeline::commit::{Append, Commits};
use tapline::record::Record;
use tapline::sinks::segments::name::Form;
use tapline::sinks::segments::{Spec, compress, read};
use tapline::units::{Size, Span};

use super::tap::pause;

/// How many records one commit has.
const GROUP: usize = 500;

/// A data folder that grows. Its closed segments are small, and every second one is compressed.
pub struct Pile {
    root: PathBuf,
    stream: Arc<str>,
    written: usize,
}

impl Pile {
    /// An empty folder with one stream to come.
    pub fn new(root: &Path, stream: &str) -> Self {
        std::fs::create_dir_all(root).unwrap();
        std::fs::write(root.join("tapline.yaml"), "limits: { disk_free: 1MiB }\n").unwrap();
        Self { root: root.to_owned(), stream: stream.into(), written: 0 }
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.written
    }

    /// The id of each record, in order.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        (0..self.written).map(id)
    }

    /// Adds records that are like any others.
    pub fn add(&mut self, count: usize) {
        let first = self.written;
        self.add_data(
            (first..first + count).map(|number| json!({ "n": number, "text": "π ≈ 3, \"quoted\"\n" }).to_string()),
        );
    }

    /// Adds records with these data.
    pub fn add_data(&mut self, data: impl IntoIterator<Item = String>) {
        let mut commits = Commits::open(Arc::new(Disk), &self.root, Durability::Process, now(self.written)).unwrap();
        let rotate = Rotate { size: Size(64 << 10), every: Span(Duration::from_hours(10_000)) };
        let spec = Spec {
            name: Arc::clone(&self.stream),
            rotate,
            compress: Compress::Zstd,
            retain: Retain::default(),
            timezone: chrono_tz::Tz::UTC,
            link: None,
        };
        commits.add_stream(spec).unwrap();
        let mut lines = Vec::new();
        let mut held = 0;
        for data in data {
            self.record(&data).write_line(&mut lines);
            self.written += 1;
            held += 1;
            if held == GROUP {
                commit(&mut commits, &self.stream, std::mem::take(&mut lines), now(self.written));
                held = 0;
            }
        }
        if held > 0 {
            commit(&mut commits, &self.stream, lines, now(self.written));
        }
        drop(commits);
        self.compress_some();
    }

    fn record(&self, data: &str) -> Record {
        Record {
            observed_at: now(self.written),
            source: Arc::clone(&self.stream),
            id: id(self.written),
            kind: "test".into(),
            published_at: self.written.is_multiple_of(2).then(|| now(self.written)),
            data: serde_json::value::RawValue::from_string(data.to_owned()).unwrap(),
        }
    }

    fn compress_some(&self) {
        let files = read::files(&Disk, &self.root, &self.stream).unwrap();
        let last = files.keys().max().copied().unwrap_or_default();
        for file in files.values().filter(|file| file.form == Form::Plain && file.number < last && file.number % 2 == 0)
        {
            let form = if file.number % 4 == 0 { Form::Gzip } else { Form::Zstd };
            compress::compress(&Disk, &self.root, &self.stream, *file, form).unwrap();
        }
    }

    /// The lines of the stream as they stand in its files.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        let state = tapline::report::committed::Committed::look(&self.root).unwrap();
        let mut take = |line: &[u8]| {
            text.extend_from_slice(line);
            text.push(b'\n');
        };
        state.lines(&self.stream, None, &mut take).unwrap();
        String::from_utf8(text).unwrap()
    }
}

fn commit(commits: &mut Commits, stream: &Arc<str>, lines: Vec<u8>, now: DateTime<Utc>) {
    commits.hold(Append { lines: vec![(Arc::clone(stream), lines)], state: Vec::new() });
    commits.commit(now).unwrap();
}

/// The id of the record of a number.
pub fn id(number: usize) -> String {
    format!("t_{number:08}")
}

/// A record a second, so that a day ends now and then.
fn now(number: usize) -> DateTime<Utc> {
    "2026-11-22T20:00:00.123456Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(i64::try_from(number).unwrap())
}

/// `tapline load` of a data folder into a store.
pub fn load(root: &Path, to: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
    command.args(["load", "--to", to]).args(more);
    command.arg("--config").arg(root.join("tapline.yaml")).arg("--data").arg(root);
    command.stdin(Stdio::null());
    command
}

/// Loads all there is, and panics when that fails.
pub fn load_all(root: &Path, to: &str, more: &[&str]) -> Output {
    let output = load(root, to, more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What befell a load that was killed again and again.
#[derive(Debug)]
pub struct Kills {
    /// Runs that were killed while they had something to do.
    pub at_work: usize,
    /// Runs that had ended before they were killed.
    pub too_late: usize,
}

/// Loads a pile that grows by `each` records before each of `kills` runs, each of which is killed at a random moment, and
/// then to its end. `each_time` is called between runs, as to kill the server.
pub fn killed(
    pile: &mut Pile,
    to: &str,
    more: &[&str],
    kills: usize,
    each: usize,
    mut each_time: impl FnMut(usize),
) -> Kills {
    let root = pile.root.clone();
    let seed = std::env::var("TAPLINE_SEED").ok().map_or(7, |seed| seed.parse().unwrap());
    println!("TAPLINE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    pile.add(each);
    let began = Instant::now();
    load_all(&root, to, more);
    let mut usual = began.elapsed();
    let mut found = Kills { at_work: 0, too_late: 0 };
    for round in 0..kills {
        pile.add(each);
        each_time(round);
        let began = Instant::now();
        let mut child = load(&root, to, more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = usual.mul_f64(random.random_range(0.0..1.2));
        while began.elapsed() < until && child.try_wait().unwrap().is_none() {
            pause(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_some() {
            found.too_late += 1;
            // A machine that has become quicker than it was.
            usual = usual.mul_f64(0.9);
        } else {
            found.at_work += 1;
            usual = usual.mul_f64(1.02);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    load_all(&root, to, more);
    found
}
