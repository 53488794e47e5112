//! How a program ends, and what waits for that: nothing but the next one of its source, and the end of tapline.

use std::collections::HashMap;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, OwnedMutexGuard};
use tokio::time::timeout;

use super::left;
use crate::context::Context;
use crate::scratch::Scratch;

/// How long those may take to end that were told to, before they are ended.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How long the program before may take to be gone. Ended, one is gone at once, unless the system itself is stuck in it.
const GONE_MAX: Duration = Duration::from_secs(10);

/// The programs of all sources.
#[derive(Default)]
pub(super) struct Programs {
    /// What a killed tapline left was ended.
    swept: OnceCell<()>,
    places: Mutex<HashMap<String, Place>>,
}

/// One for each source: two programs of one would do everything twice.
type Place = Arc<AsyncMutex<()>>;

impl Programs {
    /// Ends, once, what a tapline that was killed left running.
    pub(super) async fn sweep(&self) {
        let sweep = async || drop(tokio::task::spawn_blocking(left::end_all).await);
        self.swept.get_or_init(sweep).await;
    }

    /// Waits until no program of this source is there any more.
    ///
    /// # Errors
    /// When one does not end.
    pub(super) async fn place(&self, source: &str) -> anyhow::Result<OwnedMutexGuard<()>> {
        self.sweep().await;
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, place| Arc::strong_count(place) > 1);
            Arc::clone(places.entry(source.to_owned()).or_default())
        };
        // It may pass, and so it is not for ever that the source does without.
        let waited = timeout(GONE_MAX, place.lock_owned()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut));
        waited.context("the program that ran before is still there, though it was killed")
    }
}

/// A program, and everything that it has started in its process group. What is left of these is killed when this goes.
pub(super) struct Group {
    child: Child,
    /// As long as there may be somebody in it. It is empty once nobody hears a signal, and its number is anybody's then.
    id: Option<Pid>,
    /// Files that it was given.
    _folder: Option<Scratch>,
    _place: OwnedMutexGuard<()>,
}

impl Group {
    pub(super) fn new(child: Child, folder: Option<Scratch>, place: OwnedMutexGuard<()>) -> anyhow::Result<Self> {
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it has no number")?;
        if let Some(folder) = &folder {
            // It is known by its environment as well.
            left::sign(folder.path(), id).ok();
        }
        Ok(Self { child, id: Some(id), _folder: folder, _place: place })
    }

    /// Waits for the end of the program itself. Cancel-safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Tells all of it something.
    pub(super) fn tell(&mut self, signal: Signal) {
        self.id = self.id.filter(|id| kill_process_group(*id, signal).is_ok());
    }

    /// Ends it, so that nobody has to wait: what runs on is what the end of tapline waits for, and the next program.
    pub(super) fn end(mut self, context: &Context) {
        self.tell(Signal::TERM);
        context.ending(async move {
            timeout(PATIENCE, self.wait()).await.ok();
            self.tell(Signal::KILL);
            timeout(PATIENCE, self.wait()).await.ok();
        });
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.tell(Signal::KILL);
    }
}
