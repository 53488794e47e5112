//! The driver against a source that does what a script says, on paused time: every kind of error, replay, cursors.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tapline::config::{Compress, Durability, Output, Retain, Rotate, Schedule, SourceConfig, When};
use tapline::context::{Clock, Context, SystemClock};
use tapline::cursor::Cursor;
use tapline::fs::{Disk, Fs};
use tapline::item::{Item, Reject};
use tapline::pipeline::commit::Commits;
use tapline::pipeline::driver::{Driver, End, Streams};
use tapline::pipeline::ledger;
use tapline::pipeline::schedule::Scheduler;
use tapline::pipeline::writer::{Options, Writer, WriterThread};
use tapline::report::committed::Committed;
use tapline::sinks::segments::Spec;
use tapline::source::{Batch, Budget, Note, Opener, Outcome, Source, SourceError};
use tokio_util::sync::CancellationToken;

/// What upstream does at one call.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Refuses the connection.
    NoConnection,
    /// Answers the connection with an error that may pass.
    Unavailable,
    /// Answers the connection with a limit.
    Limited,
    /// Says nothing for so long, until the adapter takes the connection for dead.
    Silent(Duration),
    /// A sign of life.
    Alive,
    /// Nothing for so long, and then a sign of life.
    Quiet(Duration),
    /// Says something about the source.
    Note(&'static str),
    /// Gives the next records of its endless numbered series.
    Give(u64),
    /// Gives something that cannot become a record.
    Reject,
    Lose,
    Throttle(Duration),
    Block,
    Refuse,
    End,
    /// Takes this long to answer.
    Slow(Duration),
}

/// An upstream that can replay: record `n` has the id `s_n`, and the cursor is the next number.
#[derive(Clone)]
pub(crate) struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    connects: Arc<Mutex<Vec<u64>>>,
    /// When each connection was tried.
    pub(crate) tried: Arc<Mutex<Vec<tokio::time::Instant>>>,
    pub(crate) budget: Budget,
    /// Upstream repeats itself.
    pub(crate) replays: bool,
    /// It has no cursors.
    pub(crate) forgetful: bool,
    /// How long it wants to be left alone after a connection.
    pub(crate) rest: Duration,
}

struct Scripted {
    script: Script,
    next: u64,
    notes: Vec<Note>,
    /// When the step is over that is being made. A call may be given up, and the next one goes on with it.
    until: Option<tokio::time::Instant>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: Arc::new(Mutex::new(steps.into_iter().collect())),
            connects: Arc::default(),
            tried: Arc::default(),
            budget: Budget::default(),
            replays: false,
            forgetful: false,
            rest: Duration::ZERO,
        }
    }

    /// How many steps are left.
    pub(crate) fn left(&self) -> usize {
        self.steps.lock().unwrap().len()
    }

    fn step(&self) -> Option<Step> {
        self.steps.lock().unwrap().pop_front()
    }
}

impl Opener for Script {
    fn open(&self, _: &Context) -> anyhow::Result<Box<dyn Source>> {
        Ok(Box::new(Scripted { script: self.clone(), next: 0, notes: Vec::new(), until: None }))
    }

    fn replays(&self) -> bool {
        self.replays
    }

    fn budget(&self) -> Budget {
        self.budget
    }
}

fn item(number: u64) -> Item {
    let data = serde_json::value::to_raw_value(&number).unwrap();
    Item { id: Some(format!("s_{number}")), kind: "number".into(), published_at: None, data }
}

#[async_trait]
impl Source for Scripted {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        self.next = cursor.map_or(0, |cursor| cursor.read().unwrap());
        self.script.connects.lock().unwrap().push(self.next);
        self.script.tried.lock().unwrap().push(tokio::time::Instant::now());
        let front = self.script.steps.lock().unwrap().front().copied();
        let error = match front {
            Some(Step::NoConnection) => SourceError::Lost(anyhow::anyhow!("connection refused")),
            Some(Step::Unavailable) => SourceError::Failing(anyhow::anyhow!("503")),
            Some(Step::Limited) => SourceError::Limited(anyhow::anyhow!("429")),
            _ => return Ok(()),
        };
        self.script.step();
        Err(error)
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn rest(&self) -> Duration {
        self.script.rest
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        let why = || anyhow::anyhow!("as the script says");
        let front = self.script.steps.lock().unwrap().front().copied();
        if let Some(Step::Slow(time) | Step::Silent(time) | Step::Quiet(time)) = front {
            tokio::time::sleep_until(*self.until.get_or_insert_with(|| tokio::time::Instant::now() + time)).await;
            self.until = None;
        }
        match self.script.step() {
            Some(Step::Give(count)) => {
                let items = (self.next..self.next + count).map(item).collect();
                self.next += count;
                let cursor = (!self.script.forgetful).then(|| Cursor::new(&self.next).unwrap());
                Ok(Batch { items, cursor, ..Batch::default() })
            }
            Some(Step::Reject) => {
                let reject = Reject::new(Outcome::Invalid, Some("fields.price".into()), "not a number", "n.a.");
                Ok(Batch { rejects: vec![reject], ..Batch::default() })
            }
            Some(Step::Slow(_)) => Ok(Batch { items: vec![item(self.next + 1_000_000)], ..Batch::default() }),
            Some(Step::Silent(quiet)) => Err(SourceError::Silent { quiet }),
            Some(Step::Quiet(_) | Step::Alive) => Ok(Batch::default()),
            Some(Step::Note(kind)) => {
                self.notes.push(Note::new(kind, serde_json::json!({})));
                Ok(Batch::default())
            }
            Some(Step::Lose | Step::NoConnection | Step::Unavailable | Step::Limited) => Err(SourceError::Lost(why())),
            Some(Step::Throttle(wait)) => Err(SourceError::Throttled { wait, cause: why() }),
            Some(Step::Block) => Err(SourceError::Blocked(why())),
            Some(Step::Refuse) => Err(SourceError::Refused(why())),
            Some(Step::End) | None => Err(SourceError::Ended),
        }
    }
}

/// A clock that goes with tokio's paused time.
pub(crate) struct TestClock(pub(crate) chrono::DateTime<chrono::Utc>, pub(crate) tokio::time::Instant);

impl Clock for TestClock {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.0 + chrono::TimeDelta::from_std(self.1.elapsed()).unwrap()
    }
}

pub(crate) fn start_writer(fs: Arc<dyn Fs>, dir: &Path) -> (Writer, WriterThread) {
    let commits = Commits::open(Arc::clone(&fs), dir, Durability::Process, SystemClock.now()).unwrap();
    let options =
        Options { every: Duration::from_millis(5), bytes: 1 << 20, durability: Durability::Process, disk_free_min: 0 };
    Writer::start(commits, fs, dir, Arc::new(SystemClock), options).unwrap()
}

fn config(script: &Script, every: Option<Duration>) -> SourceConfig {
    SourceConfig {
        name: "scripted".into(),
        path: "scripted.yaml".into(),
        kind: "scripted",
        enabled: true,
        schedule: every.map(|every| Schedule { when: When::Every(every), offset: Some(Duration::ZERO), active: None }),
        output: Output::default(),
        timezone: chrono_tz::Tz::UTC,
        connects: tapline::config::Connects::default(),
        drift: tapline::config::Drift::default(),
        transform: None,
        allow_private: false,
        settings: Arc::new(script.clone()),
        fingerprint: "test".into(),
    }
}

/// Runs the driver on the data folder `dir` until the script ends it.
pub(crate) async fn drive(dir: &Path, script: &Script, every: Option<Duration>) -> End {
    drive_on(Arc::new(Disk), dir, script, every).await
}

/// Opens the streams of a source.
async fn open_streams(writer: &Writer, config: &SourceConfig) {
    let streams = Streams::of(config);
    for name in [streams.records, streams.rejected, ledger::STREAM.into()] {
        let spec = Spec {
            name,
            rotate: Rotate::default(),
            compress: Compress::Off,
            retain: Retain::default(),
            timezone: chrono_tz::Tz::UTC,
            link: None,
        };
        writer.open(spec).await.unwrap();
    }
}

/// The same on another disk.
pub(crate) async fn drive_on(fs: Arc<dyn Fs>, dir: &Path, script: &Script, every: Option<Duration>) -> End {
    let (writer, thread) = start_writer(fs, dir);
    let config = Arc::new(config(script, every));
    open_streams(&writer, &config).await;
    let clock = Arc::new(TestClock("2026-11-23T07:00:00Z".parse().unwrap(), tokio::time::Instant::now()));
    let scheduler = Arc::new(Scheduler::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let context = Context::new(clock);
    let stop = CancellationToken::new();
    let driver = Driver::new(config, context, scheduler, writer.clone(), stop).await.unwrap();
    let end = driver.run().await.unwrap();
    writer.flush().await.unwrap();
    writer.stop();
    thread.join().unwrap();
    end
}

pub(crate) fn records(dir: &Path, stream: &str) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join(stream))
        .map(|days| {
            days.flat_map(|day| std::fs::read_dir(day.unwrap().path()).unwrap())
                .map(|file| file.unwrap().path())
                .collect()
        })
        .unwrap_or_default();
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn numbers(dir: &Path) -> Vec<u64> {
    records(dir, "scripted").iter().map(|record| record["data"].as_u64().unwrap()).collect()
}

fn kinds(dir: &Path) -> Vec<String> {
    records(dir, "_ledger").iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_where_it_was_after_every_kind_of_loss() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new([
        Step::Give(3),
        Step::Lose,
        Step::NoConnection,
        Step::NoConnection,
        Step::Give(2),
        Step::Throttle(Duration::from_secs(90)),
        Step::Give(1),
        Step::Block,
        Step::Give(4),
        Step::End,
    ]);
    let began = tokio::time::Instant::now();
    assert_eq!(drive(dir.path(), &script, None).await, End::Finished);
    assert_eq!(numbers(dir.path()), (0..10).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(*script.connects.lock().unwrap(), [0, 3, 3, 3, 5, 6], "each connection begins at the saved cursor");
    assert!(began.elapsed() >= Duration::from_secs(90), "a throttled source is left alone for as long as it was told");
    let kinds = kinds(dir.path());
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!((count("lost"), count("gap"), count("connected"), count("throttled")), (3, 3, 4, 1), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_refused_stops_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new([Step::Give(1), Step::Refuse, Step::Give(1)]);
    assert_eq!(drive(dir.path(), &script, None).await, End::Refused);
    assert_eq!(numbers(dir.path()), [0]);
    assert!(kinds(dir.path()).contains(&"refused".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_restart_continues_and_accounts_for_the_time_between() {
    let dir = tempfile::tempdir().unwrap();
    drive(dir.path(), &Script::new([Step::Give(2), Step::End]), None).await;
    let second = Script::new([Step::Give(2), Step::End]);
    drive(dir.path(), &second, None).await;
    assert_eq!(*second.connects.lock().unwrap(), [2]);
    assert_eq!(numbers(dir.path()), [0, 1, 2, 3]);
    let gap = records(dir.path(), "_ledger").into_iter().find(|entry| entry["type"] == "gap").unwrap();
    assert_eq!(gap["data"]["why"], "tapline was not running");
}

/// A polled source: each error is the outcome of its tick, and the next tick is the retry.
#[tokio::test(start_paused = true)]
async fn every_kind_of_error_is_the_outcome_of_its_tick() {
    let dir = tempfile::tempdir().unwrap();
    let second = Duration::from_secs(1);
    let script = Script::new([
        Step::Give(1),
        Step::Lose,
        Step::Block,
        Step::Reject,
        // Ticks 5 to 7 pass while upstream wants to be left alone, and then two while an answer is waited for.
        Step::Throttle(Duration::from_millis(3_500)),
        Step::Slow(Duration::from_millis(2_500)),
        Step::Give(1),
        Step::End,
    ]);
    assert_eq!(drive(dir.path(), &script, Some(second)).await, End::Finished);
    let mut sums = std::collections::BTreeMap::<String, u64>::new();
    for entry in records(dir.path(), "_ledger") {
        let data = &entry["data"];
        if entry["type"] == "outcome" {
            *sums.entry(data["outcome"].as_str().unwrap().to_owned()).or_default() += data["count"].as_u64().unwrap();
        } else if entry["type"] == "outcomes" {
            for outcome in ["ok", "unchanged"] {
                *sums.entry(outcome.to_owned()).or_default() += data[outcome].as_u64().unwrap_or(0);
            }
        }
    }
    // Blocked twice: the block, and the tick at which upstream asked for quiet.
    let expected = [("blocked", 2), ("error", 1), ("invalid", 1), ("ok", 3), ("skipped", 5), ("unchanged", 1)];
    assert_eq!(sums, expected.map(|(outcome, count)| (outcome.to_owned(), count)).into());
    assert_eq!(records(dir.path(), "_rejected/scripted")[0]["data"]["reason"], "not a number");
}

/// What a kill left behind the last commit is kept, and not written again when upstream sends it again.
#[tokio::test(start_paused = true)]
async fn lines_that_no_commit_knows_are_not_doubled() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    drive(dir.path(), &Script::new([Step::Give(2), Step::End]), None).await;
    // As if two more had been written, and the process killed before their commit, in the middle of a third.
    let day = std::fs::read_dir(dir.path().join("scripted")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    for number in [2, 3] {
        writeln!(file, r#"{{"observed_at":"2026-11-23T07:00:00.000000Z","source":"scripted","id":"s_{number}","type":"number","data":{number}}}"#).unwrap();
    }
    write!(file, r#"{{"observed_at":"2026-11-23T07:00"#).unwrap();
    drop(file);
    // Killed again before the driver's first commit: what was found then is still known.
    for _ in 0..2 {
        let (writer, thread) = start_writer(Arc::new(Disk), dir.path());
        open_streams(&writer, &config(&Script::new([]), None)).await;
        writer.flush().await.unwrap();
        writer.stop();
        thread.join().unwrap();
    }
    assert_eq!(saved(dir.path(), "uncounted/scripted")["records"], 2);
    assert_eq!(saved(dir.path(), "source/scripted")["tally"]["records"], 2, "of before the kill");
    let again = Script::new([Step::Give(4), Step::End]);
    drive(dir.path(), &again, None).await;
    assert_eq!(*again.connects.lock().unwrap(), [2], "the cursor is that of the last commit");
    assert_eq!(numbers(dir.path()), [0, 1, 2, 3, 4, 5], "each once");
    assert_eq!(saved(dir.path(), "source/scripted")["tally"]["records"], 6, "each is counted");
    assert_eq!(saved(dir.path(), "uncounted/scripted"), Value::Null);
}

/// An entry of the commit log.
fn saved(dir: &Path, key: &str) -> Value {
    let committed = Committed::look(dir).unwrap();
    committed.state().get(key).map_or(Value::Null, |value| serde_json::from_str(value.get()).unwrap())
}
