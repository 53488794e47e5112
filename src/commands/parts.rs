//! The parts of a running service, and the order in which they start and end.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::context::{Clock, Context, SystemClock};
use crate::fs::{Fs, Lock, is_full_within};
use crate::pipeline::commit::{Commits, OWN_DIR};
use crate::pipeline::follow::Followers;
use crate::pipeline::format;
use crate::pipeline::schedule::Scheduler;
use crate::pipeline::service::{ServiceLedger, Shared};
use crate::pipeline::upkeep::{Needs, Upkeep};
use crate::pipeline::writer::{Options, Writer, WriterThread};
use crate::sink::Position;
use crate::sinks::stdout::Stdout;

/// The reader of a pipe gets this long to take the last lines.
pub(super) const LAST_LINES_MAX: Duration = Duration::from_millis(300);

/// How often a start is tried again while the disk is full.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// Another process holds the data folder.
#[derive(Debug, thiserror::Error)]
#[error("another tapline writes {}; stop it, or give this one a folder of its own with --data", .0.display())]
pub struct Held(PathBuf);

/// Everything that a running service is made of.
pub struct Parts {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The data folder.
    pub root: PathBuf,
    /// What all sources share.
    pub shared: Shared,
    thread: WriterThread,
    stdout: Option<JoinHandle<()>>,
    upkeep: Option<tokio::task::JoinHandle<()>>,
    _lock: Lock,
}

impl Parts {
    /// Takes the data folder, recovers it, and starts the writer. While the disk is full it waits for room, as the
    /// running writer does; `None` when `stop` comes first.
    ///
    /// # Errors
    /// [`Held`] when another process has it; anything else when it cannot be read or written.
    pub async fn start(
        fs: Arc<dyn Fs>,
        settings: config::Service,
        once: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        raise_file_limit();
        let data = settings.data.clone();
        let mut is_said = false;
        loop {
            match Self::try_start(Arc::clone(&fs), settings.clone(), once) {
                Err(error) if is_full_within(&error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::error!(data = %data.display(), why = format!("{error:#}"), "the disk is full: nothing can start, and it goes on by itself when there is room");
                    }
                }
                started => {
                    if is_said && started.is_ok() {
                        tracing::info!(data = %data.display(), "there is room again: starting");
                    }
                    return started.map(Some);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(ROOM_EVERY) => {}
            }
        }
    }

    fn try_start(fs: Arc<dyn Fs>, settings: config::Service, once: bool) -> anyhow::Result<Self> {
        let root = settings.data.clone();
        let own = root.join(OWN_DIR);
        // Before the lock, which is signed: a folder of a later version is left as it is.
        format::OURS.check_for_writing(&*fs, &own)?;
        fs.create_dir(&own).with_context(|| format!("cannot create the data folder {}", root.display()))?;
        let mut lock = match Lock::take(&own.join("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Held(root).into()),
            Err(error) => return Err(error).with_context(|| format!("cannot lock the data folder {}", root.display())),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let holder = json!({ "pid": std::process::id(), "since": crate::record::time_text(&clock.now()) });
        // It is only said for those who look: on a full disk the lock is held all the same.
        lock.sign(&format!("{holder}\n")).ok();
        let commits = Commits::open(Arc::clone(&fs), &root, settings.durability, clock.now())?;
        let options = Options {
            every: settings.commit.every.0,
            bytes: usize::try_from(settings.commit.size.0).unwrap_or(usize::MAX),
            durability: settings.durability,
            disk_free_min: settings.limits.disk_free.0,
        };
        let (writer, thread) = Writer::start(commits, Arc::clone(&fs), &root, Arc::clone(&clock), options)?;
        let context = Context::new(Arc::clone(&clock));
        let shared = Shared {
            ledger: ServiceLedger::new(writer.clone(), context.clone()),
            scheduler: Arc::new(Scheduler::new(clock)),
            context,
            writer,
            settings: Arc::new(settings),
            once,
            damage: Arc::default(),
        };
        Ok(Self { fs, root, shared, thread, stdout: None, upkeep: None, _lock: lock })
    }

    /// Starts what attends to the data once the streams have been taken up: upkeep, which keeps what loaders need, and
    /// standard output if wanted.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn attend_data(&mut self, stdout: bool, needs: Vec<Needs>, stop: &CancellationToken) -> io::Result<()> {
        let Shared { context, writer, ledger, settings, .. } = self.shared.clone();
        let upkeep =
            Upkeep::new(Arc::clone(&self.fs), &self.root, context, writer.clone(), ledger, settings.retain, needs);
        let stop = stop.clone();
        self.upkeep = Some(tokio::spawn(async move {
            // It ends with an error only when the writer has ended, which is said elsewhere.
            upkeep.run(stop).await.ok();
        }));
        if stdout {
            let since: HashMap<Arc<str>, Position> = {
                let positions = writer.positions();
                let positions = positions.read().unwrap_or_else(PoisonError::into_inner);
                positions.iter().map(|(stream, committed)| (Arc::clone(stream), committed.end)).collect()
            };
            let (followers, thread) = Followers::start(&writer, "stdout")?;
            let sink = Stdout::new(Arc::clone(&self.fs), &self.root, io::stdout(), since);
            followers.add("stdout", None, Box::new(sink));
            self.stdout = Some(thread);
        }
        Ok(())
    }

    /// Ends in the order of the data's way: what was taken is committed, and what is committed is followed.
    ///
    /// # Errors
    /// When the last moments could not be committed.
    pub async fn end(self) -> anyhow::Result<()> {
        if let Some(upkeep) = self.upkeep {
            upkeep.abort();
        }
        self.shared.scheduler.shutdown().await;
        self.shared.writer.stop();
        let ended = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        if let Some(stdout) = self.stdout {
            let last_lines = tokio::task::spawn_blocking(|| stdout.join());
            // A reader that has stopped reading does not keep the process.
            tokio::time::timeout(LAST_LINES_MAX, last_lines).await.ok();
        }
        ended
    }
}

/// Takes all the file handles that the system allows: each source may need two, and the usual limit is 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where this is refused, the limit that there is must do.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).ok();
}
