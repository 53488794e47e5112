//! The loader loop, once for all stores: reads committed lines, sends them in batches, sorts what the store answers,
//! and moves its position over what is decided.
//!
//! The segments are the queue: a store that is slow or down costs nothing but lag. A position moves only over what is
//! acknowledged without a hole, and dead letters are committed with the position that passes them, so that a loader that
//! is killed at any instant leaves no record out and no dead letter twice. What was sent and not saved is sent again,
//! which every store recognises by its own method.

mod brake;
mod deliver;
mod health;
mod journal;
mod lane;
mod plan;
mod redrive;
mod saved;
mod supply;
mod tracker;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::sink::{Committed, Position};
use crate::store::{Mark, Store, StoreError};

pub use self::plan::{Plan, Select};
pub use self::redrive::{Redrive, lane_key};
pub use self::saved::{Health, Loaded, State, dead_stream, loaded_key, loader_key};
pub use self::supply::{Lines, Own, Supply};

use self::brake::Brake;
use self::journal::Journal;
use self::lane::Lane;
use super::backoff::FullJitter;
use super::writer::{Ended, Writer};

/// How long a store may take for one answer before its connection counts as dead.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// How many lanes may have their files open, and read ahead, between their turns.
const OPEN_MAX: usize = 8;

/// Batches that may be longer than this are not read ahead, in bytes.
const AHEAD_BYTES_MAX: usize = 4 << 20;

/// What a loader has done since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that the store took or had already.
    pub records: u64,
    /// Records of these that it had already.
    pub exists: u64,
    /// Records that it will never take.
    pub dead: u64,
    /// Bytes of lines that are decided.
    pub bytes: u64,
    /// Whether the store does not take what is sent to it.
    pub is_stuck: bool,
}

/// How a loader ended.
#[derive(Debug)]
pub enum LoaderEnd {
    /// It was told to.
    Stopped,
    /// There will never be more.
    Finished,
    /// Somebody must act, and the plan says not to wait for that.
    Parked(StoreError),
}

/// Carries the streams of a supply into a store.
pub struct Loader {
    plan: Plan,
    store: Box<dyn Store>,
    supply: Box<dyn Supply>,
    journal: Journal,
    saved: BTreeMap<Arc<str>, Loaded>,
    lanes: BTreeMap<Arc<str>, Lane>,
    /// The lanes that have their turns in this round.
    round: VecDeque<Arc<str>>,
    is_connected: bool,
    pause: FullJitter,
    brake: Brake,
    health: Health,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
}

/// Why a turn ended early.
enum Failure {
    Store(StoreError),
    Read(Arc<str>, io::Error),
    Streams(anyhow::Error),
    Ended(Ended),
    Stopped,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

enum Turn {
    /// A batch is decided.
    Loaded,
    /// There is nothing to send, at least for so long.
    Idle(Option<Duration>),
}

impl Loader {
    /// A loader that goes on where the commit log of `writer` says. Its stream of dead letters has been opened.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn new(
        plan: Plan,
        store: Box<dyn Store>,
        supply: Box<dyn Supply>,
        writer: Writer,
        context: Context,
        stop: CancellationToken,
    ) -> Result<Self, Ended> {
        let prefix = loaded_key(&plan.name, "");
        let state = writer.state(prefix.clone()).await?;
        let saved = state.iter().filter_map(|(key, value)| {
            Some((Arc::from(key.strip_prefix(&prefix)?), serde_json::from_str(value.get()).ok()?))
        });
        let own = loader_key(&plan.name);
        let before: Option<Health> =
            writer.state(own.clone()).await?.get(&own).and_then(|value| serde_json::from_str(value.get()).ok());
        let health = Health {
            to: plan.to.clone(),
            streams: plan.streams.0.clone(),
            state: State::Connecting,
            since: context.now(),
            until: None,
            retries: before.as_ref().map_or(0, |before| before.retries),
            error: before.as_ref().and_then(|before| before.error.clone()),
            error_at: before.as_ref().and_then(|before| before.error_at),
        };
        Ok(Self {
            saved: saved.collect(),
            lanes: BTreeMap::new(),
            round: VecDeque::new(),
            is_connected: false,
            pause: FullJitter::new(seed(&plan.name)),
            brake: Brake::default(),
            health,
            progress: watch::Sender::new(Progress::default()),
            stop,
            store,
            supply,
            journal: Journal::new(writer, context, Arc::clone(&plan.name)),
            plan,
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    /// What it has done, as it goes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Loads until told to stop, or until there will never be more.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn run(mut self) -> Result<LoaderEnd, Ended> {
        self.journal.say(&self.health).await?;
        let end = self.go_on().await?;
        if !matches!(end, LoaderEnd::Parked(_)) {
            self.turn_to(State::Stopped, None).await?;
        }
        Ok(end)
    }

    async fn go_on(&mut self) -> Result<LoaderEnd, Ended> {
        let mut more = true;
        loop {
            if self.stop.is_cancelled() {
                return Ok(LoaderEnd::Stopped);
            }
            let failure = match self.turn().await {
                Ok(Turn::Loaded) => {
                    self.works().await?;
                    continue;
                }
                Ok(Turn::Idle(None)) if !more => return Ok(LoaderEnd::Finished),
                Ok(Turn::Idle(wait)) => {
                    // What waits for a fuller batch is sent at once when nothing more can come.
                    more &= self.wait_for_more(wait).await;
                    if !more {
                        self.plan.limits.wait = Duration::ZERO;
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Stopped => return Ok(LoaderEnd::Stopped),
                Failure::Ended(ended) => return Err(ended),
                Failure::Store(error) => {
                    if let Some(end) = self.failed(error).await? {
                        return Ok(end);
                    }
                }
                Failure::Read(stream, error) => {
                    self.cannot_read(&format!("the stream {stream} cannot be read: {error}")).await?;
                }
                Failure::Streams(error) => self.cannot_read(&format!("{error:#}")).await?,
            }
        }
    }

    async fn wait_for_more(&mut self, wait: Option<Duration>) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = sleep(wait.unwrap_or(Duration::MAX / 4)), if wait.is_some() => true,
            more = self.supply.changed() => more,
        }
    }

    /// Sends the next batch of the next lane that has one.
    async fn turn(&mut self) -> Result<Turn, Failure> {
        if self.round.is_empty() {
            self.look().map_err(Failure::Streams)?;
            let wait = self.new_round();
            if self.round.is_empty() {
                return Ok(Turn::Idle(wait));
            }
        }
        if !self.is_connected {
            answered(&self.stop, self.store.connect()).await?;
            self.is_connected = true;
            self.lanes.values_mut().for_each(|lane| lane.is_begun = false);
        }
        let stream = self.round.front().cloned().expect("invariant: the round is not empty");
        self.begin(&stream).await?;
        let (supply, limits) = (&self.supply, &self.plan.limits);
        let ahead = self.lanes.len() <= OPEN_MAX && limits.bytes <= AHEAD_BYTES_MAX;
        let lane = self.lanes.get_mut(&stream).expect("invariant: lanes are not removed");
        let segment = lane.loaded.at.segment;
        let read = lane.batch(limits, ahead, |from| supply.lines(&stream, from)).await;
        let batch = read.map_err(|error| Failure::Read(Arc::clone(&stream), error));
        let Some(batch) = batch.inspect_err(|_| drop(self.round.pop_front()))? else {
            self.end_turn(&stream, true);
            return Ok(Turn::Loaded);
        };
        let delivered = self.deliver(&stream, batch).await;
        if delivered.is_err() {
            self.lanes.get_mut(&stream).expect("invariant: lanes are not removed").rewind();
            self.round.pop_front();
        } else {
            self.end_turn(&stream, self.lanes.len() <= OPEN_MAX || self.lanes[&stream].loaded.at.segment != segment);
        }
        delivered.map(|()| Turn::Loaded)
    }

    /// Gives the turn to the next lane, unless what this one has read is not sent yet. Where there are many lanes, one
    /// stays at it to the end of its segment: opening each again for every batch would cost more than it does.
    fn end_turn(&mut self, stream: &Arc<str>, is_at_end: bool) {
        let is_many = self.lanes.len() > OPEN_MAX;
        let lane = self.lanes.get_mut(stream).expect("invariant: lanes are not removed");
        if lane.has_read() || !is_at_end {
            return;
        }
        if is_many {
            lane.close();
        }
        self.round.pop_front();
    }

    /// Takes up streams that are new, and how far all of them are committed.
    fn look(&mut self) -> anyhow::Result<()> {
        for (stream, committed) in self.supply.streams()? {
            let committed = if self.plan.limits.closed { self.supply.closed(committed) } else { committed };
            if let Some(lane) = self.lanes.get_mut(&stream) {
                lane.committed = committed;
            } else if self.plan.streams.takes(&self.supply.feed(&stream).0.stream) {
                let lane = self.lane(&stream, committed);
                self.lanes.insert(stream, lane);
            }
        }
        Ok(())
    }

    fn lane(&self, stream: &Arc<str>, committed: Committed) -> Lane {
        let start = Loaded::from(Position::start_of(committed.first));
        let loaded = self.saved.get(stream).copied().unwrap_or(start);
        let (feed, ids) = self.supply.feed(stream);
        Lane::new(feed, ids, loaded, committed)
    }

    /// Begins a round of all lanes that have something to send. Returns how long until one has, when none has now.
    fn new_round(&mut self) -> Option<Duration> {
        let mut least: Option<Duration> = None;
        for (stream, lane) in self.lanes.iter_mut().filter(|(_, lane)| !lane.is_done()) {
            let wait = lane.wait(&self.plan.limits);
            if wait.is_zero() {
                self.round.push_back(Arc::clone(stream));
            }
            least = Some(least.map_or(wait, |least| least.min(wait)));
        }
        least
    }

    /// Has the store take up a stream, and goes on where it says that it is.
    async fn begin(&mut self, stream: &Arc<str>) -> Result<(), Failure> {
        let lane = self.lanes.get_mut(stream).expect("invariant: lanes are not removed");
        if lane.is_begun {
            return Ok(());
        }
        let mark = answered(&self.stop, self.store.begin(&lane.feed)).await?;
        lane.is_begun = true;
        lane.keeps_positions = mark != Mark::Unknown;
        let before = lane.loaded;
        match mark {
            // Behind what it once said: a backup was restored, or its last moments were lost.
            Mark::Nothing if lane.loaded.stored.is_some() => {
                lane.loaded.at = Position::start_of(lane.committed.first);
                lane.loaded.stored = None;
            }
            Mark::Unknown | Mark::Nothing => {}
            Mark::At(mark) => {
                let is_behind = lane.loaded.stored.is_some_and(|stored| mark < stored);
                if is_behind || mark > lane.loaded.at {
                    lane.loaded.at = mark;
                }
                lane.loaded.stored = Some(mark);
            }
        }
        if lane.loaded != before {
            lane.rewind();
        }
        if lane.loaded.at < before.at {
            let (from, to) = (lane.loaded.at, before.at);
            tracing::warn!(loader = %self.plan.name, %stream, segment = from.segment, offset = from.offset, loaded_segment = to.segment, loaded_offset = to.offset,
                "the store has less than it had taken; what it lacks is loaded again");
        }
        Ok(())
    }
}

/// What the store answers, within the time that it may take, and unless the loader is told to stop.
async fn answered<T>(
    stop: &CancellationToken,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        answer = timeout(ANSWER_MAX, call) => match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Lost(anyhow::anyhow!("no answer within {}", humantime::format_duration(ANSWER_MAX))).into()),
        },
        () = stop.cancelled() => Err(Failure::Stopped),
    }
}

/// Loaders have different seeds, so that they do not come back together.
fn seed(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("invariant: a hash is longer"))
}
