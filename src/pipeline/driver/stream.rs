//! The loop of a source without a schedule: connect, read, and connect again with back-off, for as long as it takes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::cursor::Cursor;
use crate::pipeline::backoff::{Backoff, Class, Connects, STEADY};
use crate::pipeline::commit::Append;
use crate::pipeline::ledger::text;
use crate::pipeline::writer::Ended;
use crate::source::{Batch, Outcome, Source, SourceError};

use super::tally::State;
use super::{CALL_MAX, Driver, End};

/// How often a silent stream saves that it is alive.
const ALIVE_EVERY: Duration = Duration::from_mins(1);

/// A new connection that is silent is called alive after this; and what the ledger has to say waits no longer for a record
/// that it could be written with.
const ALIVE_FIRST: Duration = Duration::from_secs(5);

/// Before a longer wait the ledger's entries are written.
const LONG: Duration = Duration::from_secs(2);

/// What the loop knows between two connections.
struct Line {
    backoff: Backoff,
    connects: Connects,
    /// Since when there is no connection, and why.
    lost: Option<Lost>,
}

/// A connection that is not there.
struct Lost {
    /// When it was last known to be there.
    since: DateTime<Utc>,
    why: String,
}

/// One connection, from the moment that upstream accepted it.
struct Connection {
    at: DateTime<Utc>,
    since: Instant,
    /// It has shown life: what came before it is over.
    is_alive: bool,
    /// It has delivered, or lived for long.
    is_success: bool,
}

/// How a connection ended.
enum Over {
    /// The source was told to stop, or a run that wanted one batch has it.
    End(End),
    /// It failed; `accepted` tells how far it had come.
    Failed { error: SourceError, accepted: Option<Connection> },
    /// The budget is used up.
    Spent,
}

/// What to do after a failure.
enum Next {
    Wait(Duration),
    End(End),
}

impl Driver {
    pub(super) async fn stream(&mut self, mut source: Box<dyn Source>) -> anyhow::Result<End> {
        let connects = self.config.connects;
        let mut line = Line {
            backoff: Backoff::new(seed_of(&self.config.name)),
            connects: Connects::new(connects.max as usize, connects.per.0),
            lost: self.saved.alive_at.map(|since| Lost { since, why: "tapline was not running".into() }),
        };
        loop {
            if let Some((until, why)) = self.saved.tally.over(self.config.settings.budget(), self.context.now()) {
                // The connection is closed: what came on it would be billed.
                drop(source);
                if self.rest_until(until, why, &mut line).await?.is_none() {
                    return Ok(End::Stopped);
                }
                source = self.config.open(&self.context)?;
            }
            let wait = match self.connection(&mut *source, &mut line).await? {
                Over::End(end) => return Ok(end),
                Over::Spent => continue,
                Over::Failed { error, accepted } => match self.failed_connection(error, accepted.as_ref(), &mut line) {
                    Next::Wait(wait) => wait.max(source.rest()).max(line.connects.wait(Instant::now())),
                    Next::End(end) => return Ok(end),
                },
            };
            let until = (wait > Duration::ZERO).then(|| self.context.now() + wait);
            let why = line.lost.as_ref().map(|lost| lost.why.clone());
            self.saved.tally.enter(State::Waiting, why, until, self.context.now());
            self.append(Append::default()).await?;
            let wait = self.settle_before(wait).await?;
            if self.unless_stopped(tokio::time::sleep(wait)).await.is_none() {
                return Ok(End::Stopped);
            }
        }
    }

    /// Waits for a new budget. What is missed meanwhile is missed on purpose: no cursor asks for it.
    async fn rest_until(&mut self, until: DateTime<Utc>, why: String, line: &mut Line) -> Result<Option<()>, Ended> {
        let now = self.context.now();
        tracing::warn!(source.name = %self.config.name, until = %until, "the source rests: {why}");
        self.saved.book.note("over_budget", &json!({ "until": text(until), "why": why }), now);
        self.saved.tally.enter(State::OverBudget, Some(why.clone()), Some(until), now);
        self.saved.tally.lost = None;
        self.saved.cursor = None;
        self.note_lost(line, now, why);
        let rest = self.settle_before((until - now).to_std().unwrap_or_default()).await?;
        Ok(self.unless_stopped(tokio::time::sleep(rest)).await)
    }

    /// Writes the ledger's entries before a long wait, in which nothing else would; and returns what is left of the wait.
    async fn settle_before(&mut self, wait: Duration) -> Result<Duration, Ended> {
        let began = Instant::now();
        if wait >= LONG {
            self.settle().await?;
        }
        Ok(wait.saturating_sub(began.elapsed()))
    }

    /// One connection from its beginning to its end.
    ///
    /// What waits for upstream ends when the source is told to stop. What hands over to the writer never does: a batch
    /// that was taken is written.
    async fn connection(&mut self, source: &mut dyn Source, line: &mut Line) -> Result<Over, Ended> {
        let connect = timeout(CALL_MAX, source.connect(self.saved.cursor.as_ref()));
        let connected = self.unless_stopped(connect).await;
        self.take_notes(source);
        match connected {
            None => return Ok(Over::End(End::Stopped)),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return Ok(Over::Failed { error, accepted: None }),
            Some(Err(_)) => {
                let error = SourceError::Lost(anyhow::anyhow!("the connection was not made in time"));
                return Ok(Over::Failed { error, accepted: None });
            }
        }
        line.connects.made(Instant::now());
        let mut connection =
            Connection { at: self.context.now(), since: Instant::now(), is_alive: false, is_success: false };
        if self.saved.alive_at.is_none() {
            self.save_beginning(source.cursor(), connection.at).await?;
        }
        loop {
            let is_settled = connection.is_alive && !self.saved.book.has_waiting();
            let within = if is_settled { ALIVE_EVERY } else { ALIVE_FIRST };
            let batch = match self.unless_stopped(timeout(within, source.next())).await {
                None => return Ok(Over::End(End::Stopped)),
                Some(Ok(Ok(batch))) => batch,
                Some(Ok(Err(error))) => {
                    self.take_notes(source);
                    connection.is_success |= connection.since.elapsed() >= STEADY;
                    return Ok(Over::Failed { error, accepted: Some(connection) });
                }
                // Nothing came, and that is worth saving: a later gap begins here, not at the last record.
                Some(Err(_)) => Batch::default(),
            };
            if !std::mem::replace(&mut connection.is_alive, true) {
                self.note_connected(line.lost.take(), connection.at);
            }
            self.take_notes(source);
            connection.is_success |= !batch.items.is_empty();
            let wait = batch.wait;
            self.write(batch).await?;
            if self.once && connection.is_success {
                return Ok(Over::End(End::Finished));
            }
            if self.saved.tally.over(self.config.settings.budget(), self.context.now()).is_some() {
                return Ok(Over::Spent);
            }
            if !wait.is_zero() && self.unless_stopped(tokio::time::sleep(wait)).await.is_none() {
                return Ok(Over::End(End::Stopped));
            }
        }
    }

    /// Of a source that has never run: from here on, what is missing is missing.
    async fn save_beginning(&mut self, cursor: Option<Cursor>, at: DateTime<Utc>) -> Result<(), Ended> {
        self.saved.alive_at = Some(at);
        self.saved.cursor = cursor;
        self.append(Append::default()).await?;
        self.writer.flush().await
    }

    /// The future's output, or `None` when the source is told to stop first.
    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            output = future => Some(output),
        }
    }

    async fn write(&mut self, mut batch: Batch) -> Result<(), Ended> {
        let moment = self.context.now();
        self.transform(&mut batch).await;
        self.saved.alive_at = Some(moment);
        let append = self.lines_of(batch, moment);
        self.append(append).await?;
        Ok(())
    }

    /// Decides what follows a failure, and notes it.
    fn failed_connection(&mut self, error: SourceError, accepted: Option<&Connection>, line: &mut Line) -> Next {
        let now = self.context.now();
        let was_success = accepted.is_some_and(|connection| connection.is_success);
        if was_success {
            line.backoff.reset();
        }
        let was_flap = accepted.is_some() && !was_success;
        // An established connection that broke is made again at once; one that upstream accepts and closes is not.
        let soon = |line: &mut Line| match (was_success, was_flap) {
            (true, _) => Duration::ZERO,
            (_, true) => line.backoff.wait(Class::Failing),
            _ => line.backoff.wait(Class::Network),
        };
        let outcome = match error {
            SourceError::Blocked(_) | SourceError::Limited(_) | SourceError::Throttled { .. } => Outcome::Blocked,
            _ => Outcome::Error,
        };
        let (wait, since, why) = match error {
            SourceError::Ended => return Next::End(End::Finished),
            SourceError::Refused(cause) => {
                let why = format!("{cause:#}");
                tracing::error!(source.name = %self.config.name, "{why}; edit its file to try again");
                self.saved.book.note("refused", &json!({ "why": why }), now);
                self.saved.tally.why = Some(why.clone());
                self.note_lost(line, now, why);
                return Next::End(End::Refused);
            }
            SourceError::Lost(cause) => (soon(line), now, format!("{cause:#}")),
            SourceError::Silent { quiet } => {
                let since = now - TimeDelta::from_std(quiet).unwrap_or_default();
                (soon(line), since, SourceError::Silent { quiet }.to_string())
            }
            SourceError::Failing(cause) | SourceError::Blocked(cause) => {
                (line.backoff.wait(Class::Failing), now, format!("{cause:#}"))
            }
            SourceError::Limited(cause) => (line.backoff.wait(Class::Limited), now, format!("{cause:#}")),
            SourceError::Throttled { wait, cause } => {
                let why = format!("{cause:#}");
                self.saved.book.note("throttled", &json!({ "until": text(now + wait), "why": why }), now);
                (wait, now, why)
            }
        };
        self.saved.tally.lose(outcome, now);
        self.note_lost(line, since, why);
        Next::Wait(wait)
    }

    /// A connection has shown life: from when it was made, nothing is missing.
    fn note_connected(&mut self, lost: Option<Lost>, at: DateTime<Utc>) {
        let now = self.context.now();
        self.saved.tally.enter(State::Streaming, None, None, at);
        self.saved.tally.connects += 1;
        self.saved.tally.lost = None;
        self.saved.book.note("connected", &json!({ "since": text(at) }), now);
        if let Some(Lost { since, why }) = lost {
            self.saved.book.note("gap", &json!({ "from": text(since), "to": text(at), "why": why }), now);
            tracing::info!(source.name = %self.config.name, seconds = (at - since).num_seconds(), "connected again");
        }
    }

    fn note_lost(&mut self, line: &mut Line, since: DateTime<Utc>, why: String) {
        if let Some(lost) = &line.lost {
            let attempt = line.backoff.attempt();
            tracing::debug!(source.name = %self.config.name, attempt, "still not connected, since {}: {why}", lost.since);
        } else {
            tracing::warn!(source.name = %self.config.name, "connection lost: {why}");
            let now = self.context.now();
            self.saved.book.note("lost", &json!({ "since": text(since), "why": why }), now);
            line.lost = Some(Lost { since, why });
        }
    }
}

fn seed_of(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("invariant: a hash has 32 bytes"))
}
