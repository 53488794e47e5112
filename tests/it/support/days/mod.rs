//! A day of a preset in paused time: the preset's own file, the real adapter and driver, over real sockets, against a server that
//! has the habits of the real one.
//!
//! Time that is paused would run ahead while bytes are in the kernel. So nobody here ever waits for it: it is moved on in small
//! steps, and only once nothing stirs any more. Everything that a server does at its time it does when it is told the time.

pub mod account;
pub mod frames;
pub mod net;
mod sockets;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tapline::adapters::ADAPTERS;
use tapline::config::{Outside, SourceConfig, read_source};
use tapline::context::{Clock, Context};
use tapline::fs::Disk;
use tapline::pipeline::driver::{Driver, End, Streams};
use tapline::pipeline::ledger;
use tapline::pipeline::schedule::Scheduler;
use tapline::pipeline::writer::Writer;
use tapline::sinks::segments::Spec;
use tokio::time::advance;
use tokio_util::sync::CancellationToken;

use self::net::{Asked, Door, Net, Reply};
use crate::driver::{TestClock, start_writer};

/// When each day begins.
pub const BEGIN: &str = "2026-11-23T07:00:00Z";

/// The steps of time: while something has just gone wrong, and while nothing has.
const RESTLESS: Duration = Duration::from_millis(100);
/// How long a connection that came or went is something that has just gone wrong.
const RESTLESS_FOR: TimeDelta = TimeDelta::seconds(20);

/// So many turns of the runtime without a byte, and nothing stirs: while something has, and while nothing has.
const TURNS: usize = 12;
const TURNS_IDLE: usize = 6;

/// What a server is, beside its sockets.
pub trait Upstream: Send + 'static {
    /// Answers a request.
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply;

    /// A connection that was asked for is open now.
    fn opened(&mut self, _line: usize, _asked: &Asked, _net: &mut Net) {}

    /// A client of a websocket has said something.
    fn said(&mut self, _line: usize, _text: &str, _net: &mut Net) {}

    /// It is this late now.
    fn tick(&mut self, net: &mut Net);
}

/// A server and its sockets.
pub struct World<U> {
    pub net: Net,
    pub upstream: U,
}

/// What happens to a server at a time.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Who comes from now on is treated so.
    Door(Door),
    /// Every connection ends as at a restart: with this close, or the end of its body.
    Restart(u16),
    /// Every connection breaks.
    Reset,
    /// Every connection is there no more, and nobody says so.
    HalfOpen,
}

/// What a day is made of.
pub struct Plan<'p> {
    /// The source's file; `URL` in it is the server's address.
    pub file: &'p str,
    /// How long it is.
    pub length: TimeDelta,
    /// The longest step of time.
    pub step: Duration,
    /// Whether answers are worked on by other threads, as those of polls are.
    pub is_polled: bool,
    /// What happens, by the second of the day.
    pub acts: Vec<(i64, Act)>,
}

impl<'p> Plan<'p> {
    /// So many hours of a stream.
    pub fn of(file: &'p str, hours: i64, acts: Vec<(i64, Act)>) -> Self {
        Self { file, length: TimeDelta::hours(hours), step: Duration::from_secs(1), is_polled: false, acts }
    }
}

impl<'p> Plan<'p> {
    /// A day of a source that asks each minute, with an hour in between in which it is to be left alone for some minutes.
    pub fn of_polls(file: &'p str) -> Self {
        let mut acts: Vec<_> = misfortunes()
            .into_iter()
            .filter(|(_, act)| matches!(act, Act::Door(door) if *door != Door::Flap))
            .collect();
        let at = 12 * 3600 + 1800;
        acts.extend([(at, Act::Door(Door::Status(429, Some(150)))), (at + 300, Act::Door(Door::Open))]);
        acts.sort_by_key(|(at, _)| *at);
        Self { file, length: TimeDelta::hours(24), step: Duration::from_secs(5), is_polled: true, acts }
    }
}

/// What came of a day.
pub struct Day<U> {
    pub world: World<U>,
    pub begin: DateTime<Utc>,
    pub end: DateTime<Utc>,
    dir: tempfile::TempDir,
}

impl<U> Day<U> {
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The usual misfortunes: restarts, sockets that are half open, an hour of maintenance, a server that accepts and closes.
pub fn misfortunes() -> Vec<(i64, Act)> {
    let hour = |hour: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "a second of the day")]
        let second = (hour * 3600.0) as i64;
        second
    };
    let mut acts = Vec::new();
    // A restart: the connections end, and nobody listens for a while.
    for at in [2.1, 11.3, 19.7] {
        acts.extend([
            (hour(at), Act::Door(Door::Gone)),
            (hour(at), Act::Restart(1001)),
            (hour(at) + 12, Act::Door(Door::Status(503, None))),
            (hour(at) + 30, Act::Door(Door::Open)),
        ]);
    }
    acts.extend([(hour(4.2), Act::HalfOpen), (hour(16.6), Act::HalfOpen)]);
    acts.extend([(hour(5.5), Act::Reset), (hour(5.52), Act::Reset), (hour(14.9), Act::Reset)]);
    // Maintenance.
    acts.extend([
        (hour(8.0), Act::Door(Door::Reset)),
        (hour(8.0), Act::Restart(1012)),
        (hour(8.1), Act::Door(Door::Status(503, None))),
        (hour(8.6), Act::Door(Door::Status(503, Some(300)))),
        (hour(8.9), Act::Door(Door::Gone)),
        (hour(9.0), Act::Door(Door::Open)),
    ]);
    // A release that goes wrong.
    acts.extend([(hour(21.0), Act::Door(Door::Flap)), (hour(21.0), Act::Reset), (hour(21.1), Act::Door(Door::Open))]);
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// Lives a day.
pub fn live<U: Upstream>(plan: &Plan<'_>, upstream: U) -> Day<U> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One thread for what blocks: whoever asks for a turn of it comes after what was asked before.
    let runtime = runtime.enable_all().start_paused(true).max_blocking_threads(1).build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let begin: DateTime<Utc> = BEGIN.parse().unwrap();
    let world = Arc::new(Mutex::new(World { net: Net::new(begin), upstream }));
    runtime.block_on(run(plan, &world, dir.path(), begin));
    drop(runtime);
    let world = Arc::into_inner(world).expect("nobody is left").into_inner().unwrap();
    let end = world.net.now;
    Day { world, begin, end, dir }
}

pub fn lock<U>(world: &Mutex<World<U>>) -> MutexGuard<'_, World<U>> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run<U: Upstream>(plan: &Plan<'_>, world: &Arc<Mutex<World<U>>>, dir: &Path, begin: DateTime<Utc>) {
    let address = sockets::listen(world).await;
    let config = Arc::new(config(&plan.file.replace("URL", &address.to_string())));
    let (writer, thread) = start_writer(Arc::new(Disk), dir);
    open_streams(&config, &writer).await;
    let clock = Arc::new(TestClock(begin, tokio::time::Instant::now()));
    let scheduler = Arc::new(Scheduler::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let stop = CancellationToken::new();
    let context = Context::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let driver = Driver::new(config, context, scheduler, writer.clone(), stop.clone()).await.unwrap();
    let driven = tokio::spawn(driver.run());
    let (mut acts, mut steps) = (plan.acts.iter().peekable(), 0);
    loop {
        let now = clock.now();
        let is_restless = {
            let mut world = lock(world);
            world.net.now = now;
            while let Some((_, act)) = acts.next_if(|(at, _)| now - begin >= TimeDelta::seconds(*at)) {
                world.net.act(*act);
            }
            let World { net, upstream } = &mut *world;
            upstream.tick(net);
            net.keep_alive();
            net.stirred_at.is_some_and(|at| now - at < RESTLESS_FOR)
        };
        sockets::keep_door(world, address).await;
        // At first the source asks the writer for what is saved.
        steps += 1;
        if steps < 50 {
            flush(&writer).await;
        }
        settle(world, &writer, plan.is_polled, is_restless).await;
        if now - begin >= plan.length || driven.is_finished() {
            break;
        }
        advance(if is_restless { RESTLESS.min(plan.step) } else { plan.step }).await;
    }
    stop.cancel();
    assert_eq!(driven.await.unwrap().unwrap(), End::Stopped, "the source has ended by itself");
    writer.flush().await.unwrap();
    writer.stop();
    thread.join().unwrap();
    sockets::close(world).await;
}

/// Waits until nothing stirs: neither on sockets, nor on the threads of the writer and of what is computed aside.
async fn settle<U: Upstream>(world: &Arc<Mutex<World<U>>>, writer: &Writer, is_polled: bool, is_restless: bool) {
    loop {
        let (before, mut last) = {
            let net = &lock(world).net;
            (net.settled, net.bytes)
        };
        let mut quiet = 0;
        while quiet < if is_restless || before != last { TURNS } else { TURNS_IDLE } {
            tokio::task::yield_now().await;
            let bytes = lock(world).net.bytes;
            quiet = if bytes == last { quiet + 1 } else { 0 };
            last = bytes;
        }
        lock(world).net.settled = last;
        let has_stirred = before != last;
        if is_polled && has_stirred {
            // What was asked for before this has been computed then.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            continue;
        }
        if (is_restless || is_polled) && writer.queue().0 > 0 {
            flush(writer).await;
            continue;
        }
        return;
    }
}

/// Waits for the writer's thread.
async fn flush(writer: &Writer) {
    let (writer, runtime) = (writer.clone(), tokio::runtime::Handle::current());
    tokio::task::spawn_blocking(move || runtime.block_on(writer.flush())).await.unwrap().unwrap();
}

fn config(text: &str) -> SourceConfig {
    let outside = Outside { adapters: ADAPTERS, environment: &|_| None, schedule: &|_, _| Ok(()) };
    let config = read_source(&PathBuf::from("day.yaml"), text, &outside);
    config.unwrap_or_else(|wrong| panic!("{text}\n{}", wrong[0]))
}

async fn open_streams(config: &SourceConfig, writer: &Writer) {
    let streams = Streams::of(config);
    for name in [streams.records, streams.rejected, ledger::STREAM.into()] {
        let spec = Spec {
            name,
            rotate: config.output.rotate.unwrap_or_default(),
            compress: tapline::config::Compress::Off,
            retain: tapline::config::Retain::default(),
            timezone: chrono_tz::Tz::UTC,
            link: None,
        };
        writer.open(spec).await.unwrap();
    }
}
