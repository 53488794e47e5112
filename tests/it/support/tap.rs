//! A tapline under test: a folder of its own, its files, its process, and what it wrote, read without its code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

/// The longest that a test waits for anything. It is there to end a test that hangs, and measures nothing: a machine
/// that is busy with something else may take most of it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with sources and data.
pub struct Tap {
    dir: PathBuf,
    /// Deletes the folder in the end, where it is this one's.
    _own: Option<tempfile::TempDir>,
}

impl Tap {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sources")).unwrap();
        fs::write(dir.path().join("tapline.yaml"), "limits: { disk_free: 1MiB }\n").unwrap();
        Self { dir: dir.path().to_owned(), _own: Some(dir) }
    }

    /// The folder of another, as from a second process.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir, _own: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn settings(&self, yaml: &str) -> &Self {
        fs::write(self.path("tapline.yaml"), format!("limits: {{ disk_free: 1MiB }}\n{yaml}")).unwrap();
        self
    }

    /// Writes a source as an editor does: aside, and put in place.
    pub fn source(&self, name: &str, yaml: &str) -> &Self {
        let aside = self.path("aside");
        fs::write(&aside, yaml).unwrap();
        fs::rename(aside, self.path("sources").join(format!("{name}.yaml"))).unwrap();
        self
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path("sources").join(format!("{name}.yaml"))).unwrap();
    }

    /// The real program with this folder's files.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
        command.args(arguments);
        if arguments[0] == "run" && !arguments.contains(&"--stop-within") {
            // How soon it ends is asserted where that is the question; elsewhere a busy machine must not cut it off.
            command.args(["--stop-within", "1m"]);
        }
        command.args(["--config", self.path("tapline.yaml").to_str().unwrap()]);
        command.args(["--sources", self.path("sources").to_str().unwrap()]);
        command.args(["--data", self.data().to_str().unwrap()]);
        // Tests of the page say where it is; all others would fight for one port.
        command.env("TAPLINE_HTTP", "off");
        command.stdin(Stdio::null());
        command
    }

    /// Starts the service; what it says goes to `log`, behind what earlier ones said.
    pub fn run(&self) -> Process {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["run"]);
        command.stdout(Stdio::null()).stderr(log);
        Process(command.spawn().unwrap())
    }

    /// Starts the service, and waits until it has read its sources: from then on it obeys signals.
    pub fn start(&self) -> Process {
        let starts = || self.log().matches("  INFO running sources=").count();
        let before = starts();
        let process = self.run();
        wait_until("the service runs", PATIENCE, || starts() > before);
        process
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Every record of a stream, in order.
    pub fn records(&self, stream: &str) -> Vec<Value> {
        self.lines(stream)
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Every line of a stream, in order; panics at one that is not whole. For a folder that nobody writes: see
    /// [`count`](Self::count) for the other.
    pub fn lines(&self, stream: &str) -> Vec<String> {
        let text = self.segments(stream).into_values().collect::<String>();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line at the end of {stream}");
        text.lines().map(str::to_owned).collect()
    }

    /// How many whole lines a stream has so far, while it may be written: of a line that is being written, a reader
    /// may see a part.
    pub fn count(&self, stream: &str) -> usize {
        self.segments(stream).values().map(|text| text.matches('\n').count()).sum()
    }

    /// Waits until a stream has so many lines.
    pub fn wait_for_lines(&self, stream: &str, count: usize) {
        wait_until(&format!("{count} lines of {stream}"), PATIENCE, || self.count(stream) >= count);
    }

    /// The content of each segment by number, of several forms of one the plain. A folder that is written is read
    /// again when a file of it was compressed or deleted meanwhile.
    pub fn segments(&self, stream: &str) -> BTreeMap<u64, String> {
        let mut found = None;
        wait_until("the files stay while they are read", PATIENCE, || match self.read_segments(stream) {
            Ok(segments) => {
                found = Some(segments);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => panic!("{stream}: {error}"),
        });
        found.unwrap()
    }

    fn read_segments(&self, stream: &str) -> io::Result<BTreeMap<u64, String>> {
        let mut found = BTreeMap::new();
        for file in self.files(stream)? {
            let name = file.file_name().unwrap().to_str().unwrap();
            let Some((number, ending)) = name.rsplit_once('-').unwrap().1.split_once('.') else { continue };
            let mut bytes = Vec::new();
            let opened = fs::File::open(&file)?;
            match ending {
                "jsonl" => (&opened).read_to_end(&mut bytes)?,
                "jsonl.zst" => zstd::Decoder::new(opened)?.read_to_end(&mut bytes)?,
                "jsonl.gz" => flate2::read::MultiGzDecoder::new(opened).read_to_end(&mut bytes)?,
                _ => continue,
            };
            found.entry(number.parse().unwrap()).or_insert(String::from_utf8(bytes).unwrap());
        }
        Ok(found)
    }

    /// Every file of a stream, in the order of their names: the plain form of a segment before the compressed.
    ///
    /// # Errors
    /// When one of its folders went meanwhile.
    pub fn files(&self, stream: &str) -> io::Result<Vec<PathBuf>> {
        let days = match fs::read_dir(self.data().join(stream)) {
            Ok(days) => days,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for day in days {
            for file in fs::read_dir(day?.path())? {
                files.push(file?.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// How many files of a stream have this ending.
    pub fn files_ending(&self, stream: &str, ending: &str) -> usize {
        let files = self.files(stream).unwrap_or_default();
        files.iter().filter(|file| file.extension().is_some_and(|found| found == ending)).count()
    }

    /// What `status --json` says of a source; nothing where it does not know it.
    pub fn status(&self, source: &str) -> Value {
        let lines = String::from_utf8(self.command(&["status", "--json"]).output().unwrap().stdout).unwrap();
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["source"] == source).unwrap_or_default()
    }

    /// That what is counted of a source is what stands in its streams, whatever was killed.
    pub fn assert_counted(&self, source: &str) {
        let status = self.status(source);
        for (counted, stream) in [("records", source), ("rejects", &format!("_rejected/{source}"))] {
            assert_eq!(status[counted], self.count(stream), "{counted} of {stream}: {status}");
        }
    }

    /// The entries of the ledger about a source.
    pub fn ledger(&self, source: &str) -> Vec<Value> {
        self.records("_ledger").into_iter().filter(|entry| entry["source"] == source).collect()
    }

    /// The same while it may be written: the entries that are whole so far.
    pub fn ledger_so_far(&self, source: &str) -> Vec<Value> {
        self.records_so_far("_ledger").into_iter().filter(|entry| entry["source"] == source).collect()
    }

    /// The records of a stream that are whole so far, while it may be written.
    pub fn records_so_far(&self, stream: &str) -> Vec<Value> {
        let text = self.segments(stream).into_values().collect::<String>();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// How many ticks the ledger accounts for, by outcome; `missed` are those of gaps.
    pub fn sums(&self, source: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for entry in &self.ledger(source) {
            let data = entry["data"].as_object().unwrap();
            match entry["type"].as_str().unwrap() {
                "outcome" => {
                    *sums.entry(data["outcome"].as_str().unwrap().to_owned()).or_default() +=
                        data["count"].as_u64().unwrap();
                }
                "gap" => *sums.entry("missed".to_owned()).or_default() += data["missed"].as_u64().unwrap(),
                "outcomes" => {
                    for (outcome, count) in data.iter().filter(|(_, value)| value.is_u64()) {
                        *sums.entry(outcome.clone()).or_default() += count.as_u64().unwrap();
                    }
                }
                _ => {}
            }
        }
        sums
    }

    /// That every slot from the first to the last of a source with this period is accounted for exactly once.
    pub fn assert_accounted(&self, source: &str, every: Duration) {
        let times = |key: &str| {
            let entries = self
                .ledger(source)
                .into_iter()
                .filter(|entry| ["outcome", "outcomes", "gap"].contains(&entry["type"].as_str().unwrap()));
            entries
                .map(|entry| entry["data"][key].as_str().unwrap().parse::<DateTime<Utc>>().unwrap())
                .collect::<BTreeSet<_>>()
        };
        let (first, last) = (*times("from").first().unwrap(), *times("to").last().unwrap());
        let slots =
            u64::try_from((last - first).num_milliseconds()).unwrap() / u64::try_from(every.as_millis()).unwrap() + 1;
        let sums = self.sums(source);
        assert_eq!(
            sums.values().sum::<u64>(),
            slots,
            "{source}: slots from {first} to {last}, and {sums:?}\n{}",
            self.ledger_text(source)
        );
    }

    fn ledger_text(&self, source: &str) -> String {
        self.ledger(source).iter().map(|entry| format!("{entry}\n")).collect()
    }
}

/// A running tapline; killed when dropped.
pub struct Process(pub Child);

impl Process {
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end, and returns its exit code and how long it took.
    pub fn terminate(&mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut status = None;
        wait_until("the process ends", PATIENCE, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap().code(), asked.elapsed())
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A test that fails takes its folder with it: what was said last is what its reader needs.
impl Drop for Tap {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let ledger = self.read_segments("_ledger").unwrap_or_default().into_values().collect::<String>();
        for (what, text) in [("log", self.log()), ("ledger", ledger)] {
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(12)..] {
                eprintln!("{what}: {}", line.chars().take(600).collect::<String>());
            }
        }
    }
}

/// Waits until something is so; never less long than [`PATIENCE`], whatever a test asks for.
pub fn wait_until(what: &str, at_most: Duration, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    let at_most = at_most.max(PATIENCE);
    while !is_so() {
        assert!(began.elapsed() < at_most, "{what}: not within {at_most:?}");
        pause(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Measures how long this machine lets a thread wait that is due: what is said to the second can be checked to the second
/// only where it runs at all.
pub struct Stalls {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Stalls {
    /// Begins to measure.
    pub fn watch() -> Self {
        let stalls = Self { worst: Arc::default(), over: Arc::default() };
        let (worst, over) = (Arc::clone(&stalls.worst), Arc::clone(&stalls.over));
        std::thread::spawn(move || {
            let step = Duration::from_millis(10);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                pause(step);
                let late = began.elapsed().saturating_sub(step);
                worst.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        stalls
    }

    /// The longest so far.
    pub fn worst(&self) -> Duration {
        Duration::from_millis(self.worst.load(Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The last line of a file, if there is a whole one.
pub fn last_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.ends_with('\n').then(|| text.lines().last().map(str::to_owned))?
}
