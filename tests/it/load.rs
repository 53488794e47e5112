//! The loader loop against a store that does what a script says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tapline::commands::parts::Parts;
use tapline::config;
use tapline::fs::Disk;
use tapline::pipeline::load::{
    Health, Loaded, Loader, LoaderEnd, Own, Plan, Redrive, Select, dead_stream, loaded_key, loader_key,
};
use tapline::sink::Position;
use tapline::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::loading::Pile;

/// What a store is asked, and what it has.
#[derive(Default)]
struct Kept {
    records: BTreeMap<String, u32>,
    /// When each call came, and how many records it had.
    calls: Vec<(Instant, usize)>,
    /// The bounds of batches that it took.
    taken: BTreeSet<(Position, Position)>,
    mark: Option<Position>,
}

type Answer = Box<dyn FnMut(&Batch, &mut Kept) -> Result<Sent, StoreError> + Send + Sync>;

/// A store that keeps what its script does not refuse.
struct Scripted {
    kept: Arc<Mutex<Kept>>,
    answer: Answer,
    keeps_positions: bool,
    by_batch: bool,
}

#[async_trait]
impl Store for Scripted {
    async fn connect(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn begin(&mut self, _: &Feed) -> Result<Mark, StoreError> {
        let mark = self.kept.lock().unwrap().mark;
        Ok(if self.keeps_positions { mark.map_or(Mark::Nothing, Mark::At) } else { Mark::Unknown })
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        tokio::task::yield_now().await;
        let sent = self.take(batch);
        // Whoever is dropped here never hears of it.
        tokio::task::yield_now().await;
        sent
    }

    fn preview(&self, _: &Batch) -> String {
        String::new()
    }

    fn is_by_batch(&self) -> bool {
        self.by_batch
    }
}

impl Scripted {
    fn take(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let kept = &mut *self.kept.lock().unwrap();
        kept.calls.push((Instant::now(), batch.len()));
        let bounds = (batch.from(), batch.to());
        if self.by_batch && kept.taken.contains(&bounds) {
            return Ok(Sent { exists: batch.len() as u64, ..Sent::default() });
        }
        let mut sent = (self.answer)(batch, kept)?;
        kept.taken.insert(bounds);
        let not: BTreeSet<usize> = sent.retry.iter().chain(&sent.dead).map(|(index, _)| *index).collect();
        for (_, entry) in batch.iter().enumerate().filter(|(index, _)| !not.contains(index)) {
            let times = kept.records.entry(entry.id().unwrap().into_owned()).or_default();
            *times += 1;
            sent.exists += u64::from(*times > 1);
        }
        kept.mark = Some(batch.to());
        Ok(sent)
    }
}

/// A folder, its writer, and a store.
struct Bench {
    parts: Parts,
    kept: Arc<Mutex<Kept>>,
    dir: tempfile::TempDir,
    pile: Pile,
    limits: Limits,
    keeps_positions: bool,
    by_batch: bool,
}

const NAME: &str = "scripted";

impl Bench {
    async fn new(data: impl IntoIterator<Item = String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut pile = Pile::new(dir.path(), "pile");
        pile.add_data(data);
        let parts = parts(dir.path()).await;
        let limits = Limits { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO, closed: false };
        Self { parts, kept: Arc::default(), dir, pile, limits, keeps_positions: false, by_batch: false }
    }

    /// Records of which these are bad.
    async fn with_bad(count: usize, bad: &[usize]) -> Self {
        let data =
            (0..count).map(|number| if bad.contains(&number) { "\"bad\"".to_owned() } else { number.to_string() });
        Self::new(data).await
    }

    async fn loader(&self, park: Option<Duration>, answer: Answer, stop: &CancellationToken) -> Loader {
        let shared = &self.parts.shared;
        let over = CancellationToken::new();
        over.cancel();
        let supply = Own::new(shared.writer.clone(), "here".into(), watch::channel(None).1, over);
        self.loader_of(supply, park, answer, stop).await
    }

    async fn loader_of(&self, supply: Own, park: Option<Duration>, answer: Answer, stop: &CancellationToken) -> Loader {
        let shared = &self.parts.shared;
        let store = Scripted {
            kept: Arc::clone(&self.kept),
            answer,
            keeps_positions: self.keeps_positions,
            by_batch: self.by_batch,
        };
        let plan = Plan {
            name: NAME.into(),
            to: "scripted://".into(),
            streams: Select(vec!["*".into()]),
            limits: self.limits,
            between: (None, None),
            park,
        };
        let (writer, context) = (shared.writer.clone(), shared.context.clone());
        Loader::new(plan, Box::new(store), Box::new(supply), writer, context, stop.clone()).await.unwrap()
    }

    /// Loads all there is.
    async fn load(&self, answer: Answer) -> LoaderEnd {
        let end = self.loader(None, answer, &CancellationToken::new()).await.run().await.unwrap();
        self.parts.shared.writer.flush().await.unwrap();
        end
    }

    fn stored(&self) -> Vec<String> {
        self.kept.lock().unwrap().records.keys().cloned().collect()
    }

    fn dead(&self) -> Vec<Value> {
        dead(self.dir.path())
    }

    async fn loaded(&self) -> Loaded {
        let state = self.parts.shared.writer.state(loaded_key(NAME, "pile")).await.unwrap();
        serde_json::from_str(state[&loaded_key(NAME, "pile")].get()).unwrap()
    }

    async fn health(&self) -> Health {
        let state = self.parts.shared.writer.state(loader_key(NAME)).await.unwrap();
        serde_json::from_str(state[&loader_key(NAME)].get()).unwrap()
    }

    fn ids_but(&self, not: &[usize]) -> Vec<String> {
        let all = self.pile.ids().enumerate();
        all.filter(|(number, _)| !not.contains(number)).map(|(_, id)| id).collect()
    }

    /// Where the record of a number begins.
    fn position(&self, number: usize) -> Position {
        let reader = tapline::sinks::segments::read::files(&Disk, self.dir.path(), "pile").unwrap();
        let id = format!("\"id\":\"{}\"", crate::support::loading::id(number));
        for segment in reader.keys() {
            let mut lines = self.parts.shared.writer.reader("pile".into(), Position::start_of(*segment));
            let (mut text, mut more) = (Vec::new(), Vec::new());
            let committed = self.parts.shared.writer.position("pile").unwrap();
            while lines.read(committed, 1 << 20, &mut more).unwrap().is_some_and(|at| at.segment == *segment) {
                text.append(&mut more);
            }
            let text = String::from_utf8(text).unwrap();
            if let Some(at) = text.find(&id) {
                let offset = text[..at].rfind('\n').map_or(0, |feed| feed + 1) as u64;
                return Position { segment: *segment, offset };
            }
        }
        panic!("no record {number}")
    }
}

async fn parts(root: &Path) -> Parts {
    let mut settings =
        config::Service { data: root.to_owned(), durability: config::Durability::Process, ..Default::default() };
    settings.limits.disk_free.0 = 1 << 20;
    let parts = Parts::start(Arc::new(Disk), settings, false, &CancellationToken::new()).await.unwrap().unwrap();
    parts.shared.open_own_stream("pile").await.unwrap();
    parts.shared.open_own_stream(&dead_stream(NAME)).await.unwrap();
    parts
}

/// The dead letters of a folder, in order.
fn dead(root: &Path) -> Vec<Value> {
    let committed = tapline::report::committed::Committed::look(root).unwrap();
    let mut found = Vec::new();
    committed.lines(&dead_stream(NAME), None, &mut |line| found.push(serde_json::from_slice(line).unwrap())).unwrap();
    found
}

fn is_bad(line: &[u8]) -> bool {
    line.ends_with(b"\"data\":\"bad\"}")
}

fn refused() -> StoreError {
    StoreError::Refused(anyhow::anyhow!("a record is bad"))
}

#[tokio::test(start_paused = true)]
async fn one_bad_record_is_found_wherever_it_is() {
    for bad in [&[0][..], &[500], &[999], &[1_999], &[0, 1], &[998, 999, 1_000]] {
        let bench = Bench::with_bad(2_000, bad).await;
        let answer: Answer =
            Box::new(
                |batch, _| {
                    if batch.iter().any(|entry| is_bad(entry.line)) { Err(refused()) } else { Ok(Sent::default()) }
                },
            );
        assert!(matches!(bench.load(answer).await, LoaderEnd::Finished), "{bad:?}");
        assert_eq!(bench.stored(), bench.ids_but(bad));
        assert!(bench.kept.lock().unwrap().records.values().all(|times| *times == 1), "nothing good was sent twice");
        let dead = bench.dead();
        assert_eq!(dead.len(), bad.len());
        for (letter, number) in dead.iter().zip(bad) {
            let position = bench.position(*number);
            assert_eq!(letter["data"]["position"]["segment"], position.segment);
            assert_eq!(letter["data"]["position"]["offset"], position.offset);
            assert_eq!(letter["data"]["reason"], "a record is bad");
            assert_eq!(letter["data"]["stream"], "pile");
            assert_eq!(letter["data"]["record"]["data"], "bad");
        }
        let loaded = bench.loaded().await;
        assert_eq!((loaded.records, loaded.dead), (2_000 - bad.len() as u64, bad.len() as u64));
        assert_eq!(loaded.at, bench.parts.shared.writer.position("pile").unwrap().end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_is_halved() {
    let bench = Bench::with_bad(3_000, &[1_234]).await;
    let answer: Answer = Box::new(|batch, _| {
        let is_too_large = batch.len() > 300 || batch.iter().any(|entry| is_bad(entry.line));
        if is_too_large { Err(StoreError::Shrink(anyhow::anyhow!("413"))) } else { Ok(Sent::default()) }
    });
    assert!(matches!(bench.load(answer).await, LoaderEnd::Finished));
    assert_eq!(bench.stored(), bench.ids_but(&[1_234]));
    assert_eq!(bench.dead().len(), 1, "the one that is too large by itself");
}

#[tokio::test(start_paused = true)]
async fn each_record_has_its_own_outcome() {
    let bench = Bench::with_bad(100, &[7, 8]).await;
    let mut call = 0;
    let answer: Answer = Box::new(move |batch, _| {
        call += 1;
        let mut sent = Sent::default();
        for (index, entry) in batch.iter().enumerate() {
            if is_bad(entry.line) {
                sent.dead.push((index, "400".to_owned()));
            } else if call < 4 && entry.id().unwrap().ends_with('3') {
                sent.retry.push((index, "429".to_owned()));
            }
        }
        Ok(sent)
    });
    assert!(matches!(bench.load(answer).await, LoaderEnd::Finished));
    assert_eq!(bench.stored(), bench.ids_but(&[7, 8]));
    assert!(bench.kept.lock().unwrap().records.values().all(|times| *times == 1));
    let sizes: Vec<usize> = bench.kept.lock().unwrap().calls.iter().map(|(_, len)| *len).collect();
    assert_eq!(sizes, [100, 10, 10, 10], "only those that were to come again");
    assert_eq!(bench.dead().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_is_refused_parks_and_goes_on_by_itself() {
    let bench = Bench::with_bad(50, &[]).await;
    let mut calls = 0;
    let answer: Answer = Box::new(move |_, _| {
        calls += 1;
        if calls <= 5 { Err(StoreError::Stop(anyhow::anyhow!("403 Forbidden"))) } else { Ok(Sent::default()) }
    });
    let loader = bench.loader(Plan::PARK, answer, &CancellationToken::new()).await;
    assert!(matches!(loader.run().await.unwrap(), LoaderEnd::Finished));
    bench.parts.shared.writer.flush().await.unwrap();
    assert_eq!(bench.stored(), bench.ids_but(&[]));
    assert!(bench.dead().is_empty(), "nothing is dropped");
    let calls: Vec<Instant> = bench.kept.lock().unwrap().calls.iter().map(|(at, _)| *at).collect();
    for pair in calls.windows(2) {
        assert!(pair[1] - pair[0] >= Plan::PARK.unwrap(), "it looks again now and then, no oftener");
    }
    let health = bench.health().await;
    assert_eq!((health.retries, health.error.as_deref()), (5, Some("refused until somebody acts: 403 Forbidden")));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_asks_for_is_waited() {
    let bench = Bench::with_bad(10, &[]).await;
    let asked = Duration::from_secs(17);
    let mut calls = 0;
    let answer: Answer = Box::new(move |_, _| {
        calls += 1;
        match calls {
            1 => Err(StoreError::Busy { wait: Some(asked), cause: anyhow::anyhow!("429") }),
            2 => Ok(Sent { retry: vec![(0, "429".into())], wait: Some(asked), ..Sent::default() }),
            3..=40 => Err(StoreError::Lost(anyhow::anyhow!("reset"))),
            _ => Ok(Sent::default()),
        }
    });
    assert!(matches!(bench.load(answer).await, LoaderEnd::Finished));
    let calls: Vec<Instant> = bench.kept.lock().unwrap().calls.iter().map(|(at, _)| *at).collect();
    assert!(calls[1] - calls[0] >= asked && calls[2] - calls[1] >= asked);
    let waits: Vec<Duration> = calls[2..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits.iter().all(|wait| *wait >= Duration::from_millis(50) && *wait <= Duration::from_secs(61)),
        "{waits:?}"
    );
    assert!(waits.iter().sum::<Duration>() > Duration::from_mins(10), "no tight loop: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn when_most_are_bad_it_is_not_they_that_are_wrong() {
    let bad: Vec<usize> = (0..2_000).collect();
    let bench = Bench::with_bad(2_000, &bad).await;
    for by_item in [true, false] {
        let answer: Answer = Box::new(move |batch, _| {
            if by_item {
                let dead = (0..batch.len()).map(|index| (index, "mapping".to_owned())).collect();
                Ok(Sent { dead, ..Sent::default() })
            } else {
                Err(refused())
            }
        });
        let LoaderEnd::Parked(error) = bench.load(answer).await else { panic!("it goes on") };
        let error = format!("{:#}", anyhow::Error::new(error));
        assert!(error.contains("more than half of the last records cannot be stored"), "{error}");
    }
    let few = bench.dead().len();
    assert!(few < 20, "{few} dead letters");
    // Somebody mends the mapping.
    assert!(matches!(bench.load(Box::new(|_, _| Ok(Sent::default()))).await, LoaderEnd::Finished));
    assert_eq!(bench.stored().len() + few, 2_000);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_come_again_once_what_was_wrong_is_mended() {
    let bad = [3, 500, 999];
    let mut bench = Bench::with_bad(1_000, &bad).await;
    bench.keeps_positions = true;
    let refuse_bad = || -> Answer {
        Box::new(
            |batch, _| if batch.iter().any(|entry| is_bad(entry.line)) { Err(refused()) } else { Ok(Sent::default()) },
        )
    };
    bench.load(refuse_bad()).await;
    assert_eq!(bench.dead().len(), 3);
    bench.kept.lock().unwrap().mark = None;
    let before = bench.loaded().await.at;
    let redrive = |answer: Answer| async {
        let writer = bench.parts.shared.writer.clone();
        let redrive = Redrive::of(&writer, NAME).unwrap().unwrap();
        let supply = Own::only_redrive(writer, "here".into(), redrive);
        let stop = CancellationToken::new();
        assert!(matches!(bench.loader_of(supply, None, answer, &stop).await.run().await.unwrap(), LoaderEnd::Finished));
        bench.parts.shared.writer.flush().await.unwrap();
    };
    // Nothing is mended yet: each is a dead letter once more, of the same stream and record.
    redrive(refuse_bad()).await;
    let dead = bench.dead();
    assert_eq!(dead.len(), 6);
    assert_eq!(dead[3]["data"]["record"], dead[0]["data"]["record"]);
    assert_eq!((&dead[3]["data"]["stream"], &dead[3]["data"]["in"]), (&"pile".into(), &"_dead/scripted#pile".into()));
    redrive(Box::new(|_, _| Ok(Sent::default()))).await;
    assert_eq!(bench.stored(), bench.ids_but(&[]));
    let calls = bench.kept.lock().unwrap().calls.len();
    redrive(Box::new(|_, _| panic!("there is nothing left to bring"))).await;
    assert_eq!((bench.kept.lock().unwrap().calls.len(), bench.dead().len()), (calls, 6));
    assert_eq!(bench.loaded().await.at, before, "the stream's own position is as it was");
}

/// A store that keeps positions says where to go on, also when it has less than it had.
#[tokio::test(start_paused = true)]
async fn the_store_is_asked_where_it_is() {
    let mut bench = Bench::with_bad(1_000, &[500]).await;
    bench.keeps_positions = true;
    bench.limits.records = 100;
    let refuse_bad = || -> Answer {
        Box::new(
            |batch, _| if batch.iter().any(|entry| is_bad(entry.line)) { Err(refused()) } else { Ok(Sent::default()) },
        )
    };
    bench.load(refuse_bad()).await;
    assert_eq!((bench.stored().len(), bench.dead().len()), (999, 1));
    let end = bench.kept.lock().unwrap().mark;
    // It has more than tapline knows: taken over.
    let to = bench.position(900);
    let state = vec![(
        loaded_key(NAME, "pile"),
        Some(serde_json::value::to_raw_value(&Loaded::from(bench.position(100))).unwrap()),
    )];
    bench.parts.shared.writer.append(tapline::pipeline::commit::Append { lines: vec![], state }).await.unwrap();
    bench.kept.lock().unwrap().records.clear();
    bench.kept.lock().unwrap().mark = Some(to);
    bench.load(refuse_bad()).await;
    assert_eq!(bench.stored(), bench.ids_but(&(0..900).collect::<Vec<_>>()));
    assert_eq!(bench.kept.lock().unwrap().mark, end);
    // It has less, because a backup was restored: what it lacks comes again, and the dead one with it.
    bench.kept.lock().unwrap().records.clear();
    bench.kept.lock().unwrap().mark = Some(bench.position(400));
    bench.load(refuse_bad()).await;
    assert_eq!(bench.stored(), bench.ids_but(&(0..400).chain([500]).collect::<Vec<_>>()));
    // It has nothing any more.
    bench.kept.lock().unwrap().records.clear();
    bench.kept.lock().unwrap().mark = None;
    bench.load(refuse_bad()).await;
    assert_eq!(bench.stored(), bench.ids_but(&[500]));
}

/// The loader is dropped at random moments, as when its process is killed, against a store that answers as it likes.
async fn torture(seed: u64, keeps_positions: bool, by_batch: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let bad: BTreeSet<usize> = (0..6).map(|_| random.random_range(0..600)).collect();
    let bad: Vec<usize> = bad.into_iter().collect();
    let mut bench = Bench::with_bad(600, &bad).await;
    (bench.keeps_positions, bench.by_batch) = (keeps_positions, by_batch);
    let mut restarts = 0;
    loop {
        bench.limits.records = random.random_range(1..200);
        let mut chance = StdRng::seed_from_u64(random.random());
        // Stores that keep positions, or go by batches, take a batch whole or not at all.
        let is_whole = keeps_positions || by_batch;
        let answer: Answer = Box::new(move |batch, _| {
            let is_any_bad = batch.iter().any(|entry| is_bad(entry.line));
            match chance.random_range(0..10) {
                0 => return Err(StoreError::Lost(anyhow::anyhow!("cut"))),
                1 => return Err(StoreError::busy(anyhow::anyhow!("busy"))),
                2 if batch.len() > 1 => return Err(StoreError::Shrink(anyhow::anyhow!("large"))),
                3.. if is_whole && is_any_bad => return Err(refused()),
                _ if is_whole => return if is_any_bad { Err(refused()) } else { Ok(Sent::default()) },
                _ => {}
            }
            let mut sent = Sent::default();
            for (index, entry) in batch.iter().enumerate() {
                if is_bad(entry.line) {
                    sent.dead.push((index, "bad".to_owned()));
                } else if chance.random_range(0..20) == 0 {
                    sent.retry.push((index, "later".to_owned()));
                }
            }
            Ok(sent)
        });
        let loader = bench.loader(Plan::PARK, answer, &CancellationToken::new()).await;
        let mut run = std::pin::pin!(loader.run());
        let mut polls = random.random_range(1..400);
        let ended = std::future::poll_fn(|context| {
            polls -= 1;
            match run.as_mut().poll(context) {
                std::task::Poll::Ready(end) => std::task::Poll::Ready(Some(end)),
                std::task::Poll::Pending if polls == 0 => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        });
        if let Some(end) = ended.await {
            assert!(matches!(end.unwrap(), LoaderEnd::Finished));
            break;
        }
        restarts += 1;
        assert!(restarts < 2_000, "seed {seed}: it does not come to an end");
    }
    bench.parts.shared.writer.flush().await.unwrap();
    assert_eq!(bench.stored(), bench.ids_but(&bad), "seed {seed}: each good record is there");
    let mut dead: Vec<String> = bench.dead().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
    dead.sort();
    let all = dead.len();
    dead.dedup();
    assert_eq!((dead.len(), all), (bad.len(), bad.len()), "seed {seed}: each bad record is a dead letter once");
    if by_batch {
        let kept = bench.kept.lock().unwrap();
        let twice: Vec<&String> = kept.records.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id).collect();
        assert!(twice.is_empty(), "seed {seed}: a store that knows batches by their bounds has these twice: {twice:?}");
    }
}

#[test]
fn dropped_at_random_moments_nothing_is_missing_and_no_dead_letter_is_there_twice() {
    let seeds = if std::env::var_os("TAPLINE_QUICK").is_some() { 5 } else { 40 };
    let first = std::env::var("TAPLINE_SEED").ok().map(|seed| seed.parse().unwrap());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    for seed in first.map_or(0..seeds, |seed| seed..seed + 1) {
        println!("TAPLINE_SEED={seed}");
        for (keeps_positions, by_batch) in [(false, false), (true, false), (false, true)] {
            runtime().block_on(torture(seed, keeps_positions, by_batch));
        }
    }
}
