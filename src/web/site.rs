//! What the pages are made from: one look at the state a second, however many ask.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::context::Context;
use crate::fs::Fs;
use crate::pipeline::folder::Files;
use crate::pipeline::writer::{Status, Writer};
use crate::report::committed::{Committed, Running};
use crate::units::Size;

use super::chronicle::Chronicle;
use super::token::Token;
use super::trial::Trial;
use super::view::View;

/// A look at the state is good for so long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A writer that says nothing for so long is stuck.
pub(super) const WRITER_MAX: Duration = Duration::from_secs(5);

/// How many streams' last lines are remembered.
const LAST_MAX: usize = 20_000;

/// What the service gives its pages.
pub struct Parts {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The data folder.
    pub root: PathBuf,
    /// The time.
    pub context: Context,
    /// Where the committed state is asked for.
    pub writer: Writer,
    /// The files of the sources as they were last read.
    pub files: watch::Receiver<Files>,
    /// When the service took the data folder.
    pub since: DateTime<Utc>,
    /// Whether the streams have been taken up, and sources run.
    pub started: watch::Receiver<bool>,
    /// With less room than this nothing is written.
    pub disk_free: Size,
    /// Tries a source that somebody typed.
    pub trial: Arc<dyn Trial>,
    /// The names that the endpoint goes by.
    pub hosts: Vec<String>,
    /// What is asked for.
    pub token: Option<Token>,
    /// Whether other machines reach it.
    pub beyond_loopback: bool,
}

/// A look at the state, and when it was taken.
type Looked = Option<(Instant, Arc<View>)>;

/// What the pages are made from.
pub struct Site {
    pub(super) parts: Parts,
    looked: tokio::sync::Mutex<Looked>,
    pub(super) chronicle: Mutex<Chronicle>,
    /// The last record of each source, and how far its stream was then.
    pub(super) last: Mutex<HashMap<String, (crate::sink::Position, Arc<str>)>>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum Down {
    /// The writer's thread does not answer: the disk takes longer than it ever should.
    #[error("the writer says nothing: the disk is stuck, or the machine is overloaded")]
    Stuck,
    /// It has ended.
    #[error("the service is ending")]
    Ended,
}

impl Site {
    /// Pages over a running service.
    pub fn new(parts: Parts) -> Self {
        Self { parts, looked: tokio::sync::Mutex::default(), chronicle: Mutex::default(), last: Mutex::default() }
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.parts.token.as_ref()
    }

    pub(super) fn hosts(&self) -> &[String] {
        &self.parts.hosts
    }

    pub(super) fn listens_beyond_loopback(&self) -> bool {
        self.parts.beyond_loopback
    }

    /// The state as it was at most a second ago.
    ///
    /// # Errors
    /// When the writer does not answer.
    pub async fn look(&self) -> Result<Arc<View>, Down> {
        let mut looked = self.looked.lock().await;
        if let Some((at, view)) = &*looked
            && at.elapsed() < LOOK_EVERY
        {
            return Ok(Arc::clone(view));
        }
        let asked = timeout(WRITER_MAX, self.parts.writer.state(""));
        let state = asked.await.map_err(|_| Down::Stuck)?.map_err(|_| Down::Ended)?;
        let running = Running { pid: Some(std::process::id()), since: Some(self.parts.since) };
        let now = self.parts.context.now();
        let committed = Committed::of(Arc::clone(&self.parts.fs), &self.parts.root, state, Some(running), now);
        let view = Arc::new(View::new(committed, &self.parts.files.borrow()));
        *looked = Some((Instant::now(), Arc::clone(&view)));
        Ok(view)
    }

    /// How the writer is.
    pub(super) fn writer_status(&self) -> Status {
        *self.parts.writer.status().borrow()
    }

    /// The last record of a source, as its line; read again only when its stream has grown.
    pub(super) fn last_of(&self, view: &View, source: &str) -> Option<Arc<str>> {
        let stream = view.stream_of(source);
        let end = view.committed.saved(&stream).ok()??;
        let end = crate::sink::Position { segment: end.segment, offset: end.len };
        if let Some((at, line)) = self.lock_last().get(source)
            && *at == end
        {
            return Some(Arc::clone(line));
        }
        let line: Arc<str> = super::tail::last_of(&view.committed, &stream, source)?.into();
        let mut last = self.lock_last();
        if last.len() >= LAST_MAX {
            last.clear();
        }
        last.insert(source.to_owned(), (end, Arc::clone(&line)));
        Some(line)
    }

    fn lock_last(&self) -> std::sync::MutexGuard<'_, HashMap<String, (crate::sink::Position, Arc<str>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
