//! The service: which sources run, and what happens when one of them comes, changes, goes or fails.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, LocalPoolHandle};

use crate::alert::Kind;
use crate::config::{self, SourceConfig};
use crate::context::Context;
use crate::normalise::Normaliser;
use crate::sinks::segments::{Damage, Spec};

use super::commit::{Append, stream_key};
use super::driver::{CHANGED, Driver, End, Streams, changed_spec};
use super::incidents::Condition;
use super::ledger;
use super::schedule::Scheduler;
use super::writer::{Ended, Writer};

/// The name that the service's own entries of the ledger have as their source.
const OWN_NAME: &str = "_service";

/// The key of the data folder's identity.
pub const FOLDER_KEY: &str = "folder";

/// How long a source that failed in an unforeseen way is left alone before it is started again.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// Writes the service's own entries to the ledger.
#[derive(Clone)]
pub struct ServiceLedger {
    writer: Writer,
    context: Context,
    normaliser: Normaliser,
    last: Arc<AtomicU64>,
}

impl ServiceLedger {
    /// A ledger over the writer, whose ledger stream has been opened.
    pub fn new(writer: Writer, context: Context) -> Self {
        Self { writer, context, normaliser: Normaliser::new(OWN_NAME.into()), last: Arc::default() }
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn note(&self, kind: &str, data: &impl serde::Serialize) -> Result<(), Ended> {
        let mut line = Vec::new();
        self.line_of(kind, data, &mut line);
        self.writer.append(Append { lines: vec![(ledger::STREAM.into(), line)], state: Vec::new() }).await?;
        Ok(())
    }

    /// Adds the line of one entry to `lines`, which their owner appends with what they say.
    pub fn line_of(&self, kind: &str, data: &impl serde::Serialize, lines: &mut Vec<u8>) {
        let now = self.context.now();
        // The time makes the number, so that no later run repeats it.
        let micros = u64::try_from(now.timestamp_micros()).unwrap_or_default();
        let number = self.last.fetch_max(micros, Ordering::Relaxed).max(micros);
        self.last.fetch_add(1, Ordering::Relaxed);
        let data = to_raw_value(data).expect("invariant: entries are made of strings and numbers");
        self.normaliser.ledger(kind.to_owned(), data, number, now).write_line(lines);
    }
}

/// What all sources share.
#[derive(Clone)]
pub struct Shared {
    /// Time, chance, HTTP.
    pub context: Context,
    /// Ticks.
    pub scheduler: Arc<Scheduler>,
    /// Where everything is written.
    pub writer: Writer,
    /// The service's own entries.
    pub ledger: ServiceLedger,
    /// The service's settings, which a source may override.
    pub settings: Arc<config::Service>,
    /// Whether sources end after one tick.
    pub once: bool,
    /// What recovery found missing, until somebody takes it to tell of it.
    pub damage: Arc<Mutex<Vec<Condition>>>,
}

impl Shared {
    /// Opens a stream, and says what recovery found in it. `source` is the one that asks for it, of several that share
    /// it the first.
    async fn take_up(&self, spec: Spec, source: Option<&str>) -> anyhow::Result<()> {
        let stream = Arc::clone(&spec.name);
        let found = self.writer.open(spec).await?;
        if found.kept_lines > 0 || found.cut_bytes > 0 {
            tracing::info!(%stream, kept_lines = found.kept_lines, cut_bytes = found.cut_bytes, "recovered after a crash");
        }
        let Some(Damage { segment, from, to }) = found.damage else { return Ok(()) };
        tracing::error!(%stream, segment, from_byte = from, to_byte = to, "committed lines are missing: the disk lost them, or somebody changed the files");
        let entry = json!({
            "stream": &*stream, "source": source, "segment": segment, "from_byte": from, "to_byte": to,
            "why": "committed lines are missing",
        });
        self.ledger.note("damage", &entry).await?;
        let why = format!("committed lines of segment {segment} are missing, from byte {from} to {to}");
        let now = Some(self.context.now());
        let damage = Condition {
            kind: Kind::Damage,
            name: stream.to_string(),
            since: now,
            last: None,
            count: 0,
            enough: None,
            why,
        };
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).push(damage);
        Ok(())
    }

    /// Takes what recovery found missing since this was last asked.
    pub fn take_damage(&self) -> Vec<Condition> {
        std::mem::take(&mut self.damage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Takes up a stream of tapline's own.
    ///
    /// # Errors
    /// When its files cannot be read or mended, or the writer has ended.
    pub async fn open_own_stream(&self, name: &str) -> anyhow::Result<()> {
        self.take_up(own_stream(name.into(), &self.settings), None).await
    }

    /// The identity of the data folder, made when it is asked for the first time: stores tell by it whose positions they
    /// keep.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn folder_id(&self) -> Result<Arc<str>, Ended> {
        loop {
            let state = self.writer.state(FOLDER_KEY).await?;
            let saved: Option<String> = state.get(FOLDER_KEY).and_then(|id| serde_json::from_str(id.get()).ok());
            match saved {
                Some(id) => return Ok(id.into()),
                None => self.make_folder_id().await?,
            }
        }
    }

    /// Makes the identity of a folder that has none.
    async fn make_folder_id(&self) -> Result<(), Ended> {
        let id = to_raw_value(&self.context.random_token()).expect("invariant: a text has a JSON form");
        let state = vec![(FOLDER_KEY.to_owned(), Some(id))];
        self.writer.append(Append { lines: Vec::new(), state }).await.map(drop)
    }
}

struct Running {
    config: Arc<SourceConfig>,
    stop: CancellationToken,
    task: Option<Id>,
}

/// The sources that run.
pub struct Service {
    shared: Shared,
    running: HashMap<Arc<str>, Running>,
    tasks: JoinSet<(Arc<str>, anyhow::Result<End>)>,
    names: HashMap<Id, Arc<str>>,
    /// Where streams run, once there is one.
    pool: Option<LocalPoolHandle>,
}

impl Service {
    /// A service without sources, and the streams that every service has.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub async fn new(shared: Shared) -> anyhow::Result<Self> {
        shared.take_up(own_stream(ledger::STREAM.into(), &shared.settings), None).await?;
        shared.folder_id().await?;
        Ok(Self { shared, running: HashMap::new(), tasks: JoinSet::new(), names: HashMap::new(), pool: None })
    }

    /// Makes the running sources those that are wanted: starts, restarts with the saved cursor, stops. A source whose
    /// file has not changed is not touched.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn apply(&mut self, wanted: &[Arc<SourceConfig>]) -> anyhow::Result<()> {
        let wanted_by_name: HashMap<&str, &Arc<SourceConfig>> =
            wanted.iter().map(|config| (&*config.name, config)).collect();
        let is_wanted = |running: &Running| {
            wanted_by_name
                .get(&*running.config.name)
                .is_some_and(|wanted| wanted.fingerprint == running.config.fingerprint)
        };
        let over: Vec<Arc<str>> = self
            .running
            .values()
            .filter(|running| !is_wanted(running))
            .map(|running| Arc::clone(&running.config.name))
            .collect();
        self.stop(&over).await?;
        for name in &over {
            let kind = if wanted_by_name.contains_key(&**name) { "edited" } else { "removed" };
            tracing::info!(source.name = %name, "source {kind}");
            self.shared.ledger.note(kind, &json!({ "source": &**name })).await?;
        }
        for config in wanted {
            if !self.running.contains_key(&config.name) {
                self.start(Arc::clone(config)).await?;
            }
        }
        Ok(())
    }

    /// Takes up the streams that the data folder has and no source asks for, so that what a crash left in them is
    /// mended, and what is kept of them is weighed.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn take_up_rest(&self) -> anyhow::Result<()> {
        let writer = &self.shared.writer;
        let taken: HashSet<Arc<str>> = writer.streams().await?.into_iter().map(|(spec, _)| spec.name).collect();
        let known = writer.state(stream_key("")).await?;
        for name in
            known.keys().filter_map(|key| key.strip_prefix(&stream_key(""))).filter(|name| !taken.contains(*name))
        {
            self.shared.take_up(own_stream(name.into(), &self.shared.settings), None).await?;
        }
        Ok(())
    }

    async fn start(&mut self, config: Arc<SourceConfig>) -> anyhow::Result<()> {
        if let Err(error) = self.open_streams(&config).await {
            tracing::error!(source.name = %config.name, "the source does not start: {error:#}");
            let stop = CancellationToken::new();
            self.running.insert(Arc::clone(&config.name), Running { config, stop, task: None });
            return Ok(());
        }
        self.spawn(config, Duration::ZERO);
        Ok(())
    }

    fn spawn(&mut self, config: Arc<SourceConfig>, wait: Duration) {
        let name = Arc::clone(&config.name);
        let stop = CancellationToken::new();
        let driven = drive(self.shared.clone(), Arc::clone(&config), stop.clone(), wait);
        let task_name = Arc::clone(&name);
        let task = if config.schedule.is_some() {
            self.tasks.spawn(async move { (task_name, driven.await) }).id()
        } else {
            let pool = self.pool.get_or_insert_with(|| LocalPoolHandle::new(threads())).clone();
            self.tasks.spawn(async move { (task_name, drive_pinned(pool, driven).await) }).id()
        };
        self.names.insert(task, Arc::clone(&name));
        self.running.insert(name, Running { config, stop, task: Some(task) });
    }

    /// Opens a source's streams, and says what recovery found in them.
    async fn open_streams(&self, config: &SourceConfig) -> anyhow::Result<()> {
        let streams = Streams::of(config);
        let settings = &self.shared.settings;
        let records = Spec {
            rotate: config.output.rotate.unwrap_or(settings.rotate),
            compress: config.output.compress.unwrap_or(settings.compress),
            retain: config.output.retain.unwrap_or(settings.retain),
            timezone: config.timezone,
            // A text rendering has the link to itself.
            link: config.output.format.is_none().then(|| link_of(config)),
            name: Arc::clone(&streams.records),
        };
        for spec in [records, own_stream(streams.rejected, settings)] {
            self.shared.take_up(spec, Some(&config.name)).await?;
        }
        Ok(())
    }

    /// Waits until a source ends by itself, and does what is to be done then. Never ready while none does.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn supervise(&mut self) -> anyhow::Result<()> {
        let Some(joined) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let (task, result) = match joined {
            Ok((task, (_, result))) => (task, result),
            Err(error) => (error.id(), Err(anyhow::anyhow!("a defect of tapline: {error}"))),
        };
        let Some(name) = self.names.remove(&task) else { return Ok(()) };
        let Some(running) = self.running.get_mut(&name).filter(|running| running.task == Some(task)) else {
            return Ok(());
        };
        running.task = None;
        match result {
            Ok(End::Stopped) => {}
            Ok(End::Finished) => tracing::info!(source.name = %name, "source finished"),
            Ok(End::Refused) => {
                tracing::error!(source.name = %name, "source stopped: upstream refuses it; edit its file to try again");
            }
            Err(error) if error.is::<Ended>() => return Err(error),
            Err(error) if running.stop.is_cancelled() => {
                tracing::error!(source.name = %name, "source failed: {error:#}");
            }
            Err(error) => {
                tracing::error!(source.name = %name, again_in = ?RESTART_AFTER, "source failed: {error:#}");
                self.shared.ledger.note("failed", &json!({ "source": &*name, "why": format!("{error:#}") })).await?;
                let config = Arc::clone(&running.config);
                self.spawn(config, RESTART_AFTER);
            }
        }
        Ok(())
    }

    /// Whether any source still runs.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Stops these sources, together, and waits until they have closed their books.
    async fn stop(&mut self, names: &[Arc<str>]) -> anyhow::Result<()> {
        for running in names.iter().filter_map(|name| self.running.get(name)) {
            running.stop.cancel();
        }
        while names.iter().any(|name| self.running.get(name).is_some_and(|running| running.task.is_some())) {
            self.supervise().await?;
        }
        for name in names {
            self.running.remove(name);
        }
        Ok(())
    }

    /// Stops every source.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn stop_all(&mut self) -> anyhow::Result<()> {
        let all: Vec<Arc<str>> = self.running.keys().cloned().collect();
        self.stop(&all).await
    }
}

async fn drive(
    shared: Shared,
    config: Arc<SourceConfig>,
    stop: CancellationToken,
    wait: Duration,
) -> anyhow::Result<End> {
    tokio::select! {
        () = stop.cancelled() => return Ok(End::Stopped),
        () = tokio::time::sleep(wait) => {}
    }
    let driver = Driver::new(config, shared.context, shared.scheduler, shared.writer, stop).await?;
    let driver = if shared.once { driver.once() } else { driver };
    driver.run().await
}

/// Runs a stream's driver on one thread with the task that HTTP makes for its connection. The two hand over one chunk
/// at a time; on two threads each of these would wake the other one up, which costs more than all that is done with it.
async fn drive_pinned(
    pool: LocalPoolHandle,
    driven: impl Future<Output = anyhow::Result<End>> + Send + 'static,
) -> anyhow::Result<End> {
    AbortOnDropHandle::new(pool.spawn_pinned(|| driven))
        .await
        .map_err(|error| anyhow::anyhow!("a defect of tapline: {error}"))?
}

/// How many threads streams run on.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The name of the link that a source's user tails.
pub fn link_of(config: &SourceConfig) -> String {
    config.output.link.clone().unwrap_or_else(|| format!("{}.out", Streams::of(config).records))
}

/// A stream of tapline's own: no link, and the service's settings.
fn own_stream(name: Arc<str>, settings: &config::Service) -> Spec {
    if name.starts_with(CHANGED) {
        return changed_spec(name);
    }
    Spec {
        name,
        rotate: settings.rotate,
        compress: settings.compress,
        retain: settings.retain,
        timezone: chrono_tz::Tz::UTC,
        link: None,
    }
}
