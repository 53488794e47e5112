//! The writer's own thread: takes what comes, commits it in groups, and waits when there is no room.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::config::Durability;
use crate::context::Clock;
use crate::fs::{Fs, is_full_within};
use crate::pipeline::commit::{CommitError, Commits};
use crate::pipeline::metrics::Metrics;
use crate::sink::Committed;

use super::{Message, Options, Positions, Status};

/// How often closed segments and free space are looked at, and a full disk is tried again.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// What is held between two commits, beside the lines themselves.
#[derive(Default)]
struct Group {
    begun: Option<Instant>,
    last: Option<u64>,
    room: Vec<OwnedSemaphorePermit>,
    replies: Vec<oneshot::Sender<()>>,
}

/// What the thread has to do with: the disk, the clock, and the other ends of its channels.
pub(super) struct Ends {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) root: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    pub(super) receiver: Receiver<Message>,
    pub(super) committed: watch::Sender<u64>,
    pub(super) status: watch::Sender<Status>,
    pub(super) positions: Positions,
    pub(super) metrics: Metrics,
}

pub(super) struct Thread {
    commits: Commits,
    ends: Ends,
    group: Group,
    /// What came while there was no room, in order. Its memory is bounded by the room that it holds.
    backlog: VecDeque<Message>,
    blocked: bool,
    stopping: bool,
    upkeep_at: Instant,
}

impl Thread {
    pub(super) fn new(commits: Commits, ends: Ends) -> Self {
        Self {
            commits,
            ends,
            group: Group::default(),
            backlog: VecDeque::new(),
            blocked: false,
            stopping: false,
            upkeep_at: Instant::now(),
        }
    }

    /// Says that nothing is taken any more.
    pub(super) fn say_ended(&self) {
        self.ends.status.send_replace(Status::Ended);
    }

    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        while !self.stopping {
            let commit_at = self.group.begun.map(|begun| begun + self.ends.options.every).filter(|_| !self.blocked);
            let wake_at = commit_at.map_or(self.upkeep_at, |at| at.min(self.upkeep_at));
            match self.ends.receiver.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Disconnected) => self.stopping = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // One commit serves all that is waiting, which is bounded by the room in the queue.
            while let Ok(message) = self.ends.receiver.try_recv() {
                self.take(message)?;
            }
            if !self.blocked && self.is_group_due() {
                self.commit()?;
            }
            if self.upkeep_at <= Instant::now() {
                self.upkeep()?;
            }
        }
        self.commit()?;
        anyhow::ensure!(!self.blocked, "stopped while the disk was full: the last moments are not committed");
        Ok(())
    }

    fn is_group_due(&self) -> bool {
        let Options { every, bytes, .. } = self.ends.options;
        self.group.begun.is_some_and(|begun| begun.elapsed() >= every) || self.commits.held_bytes() >= bytes
    }

    fn take(&mut self, message: Message) -> anyhow::Result<()> {
        match message {
            Message::Stop => self.stopping = true,
            // Deleting is what makes room, so it must not wait for it.
            Message::GiveUp { stream, first, reply } => {
                self.commits.give_up_before(&stream, first);
                self.group.replies.push(reply);
                self.commit()?;
            }
            message if self.blocked => self.backlog.push_back(message),
            Message::Append { append, number, room } => {
                self.commits.hold(append);
                self.group.begun.get_or_insert_with(Instant::now);
                self.group.last = Some(number);
                self.group.room.push(room);
                if self.ends.options.durability == Durability::Each {
                    self.commit()?;
                }
            }
            message => {
                self.commit()?;
                if self.blocked { self.backlog.push_front(message) } else { self.answer(message)? }
            }
        }
        Ok(())
    }

    /// Answers what is asked between two groups.
    fn answer(&mut self, message: Message) -> anyhow::Result<()> {
        match message {
            Message::Open { spec, reply } => {
                let name = Arc::clone(&spec.name);
                let found = match self.commits.add_stream(spec.clone()) {
                    // Mending may want room, too: it is done again, from the beginning, when there is some.
                    Err(error) if is_full_within(&error) => {
                        self.block(&format!("{error:#}"));
                        self.backlog.push_front(Message::Open { spec, reply });
                        return Ok(());
                    }
                    found => found,
                };
                // What was kept must be known to be kept before anybody replays.
                self.commit()?;
                if let Some(saved) = self.commits.segments().saved(&name) {
                    self.publish([(name, Committed::from(&saved))]);
                }
                reply.send(found).ok();
            }
            Message::State { prefix, reply } => {
                let state = self.commits.state().range(prefix.clone()..);
                let found = state.take_while(|(key, _)| key.starts_with(&prefix));
                reply.send(found.map(|(key, value)| (key.clone(), value.clone())).collect()).ok();
            }
            Message::Streams { reply } => {
                let segments = self.commits.segments();
                let streams = segments.specs().filter_map(|spec| Some((spec.clone(), segments.saved(&spec.name)?)));
                reply.send(streams.collect()).ok();
            }
            Message::Close { stream, reply } => {
                self.commits.close_segment(&stream);
                self.group.replies.push(reply);
                self.commit()?;
            }
            Message::Flush { reply } => {
                reply.send(()).ok();
            }
            Message::Append { .. } | Message::GiveUp { .. } | Message::Stop => {}
        }
        Ok(())
    }

    /// Commits the group. When there is no room it stays held, and nothing more is taken until there is.
    fn commit(&mut self) -> anyhow::Result<()> {
        let (held, began) = (self.commits.held_bytes(), Instant::now());
        match self.commits.commit(self.ends.clock.now()) {
            Ok(grown) => {
                if held > 0 {
                    self.ends.metrics.committed(held, began.elapsed());
                }
                self.publish(grown.iter().map(|(stream, saved)| (Arc::clone(stream), Committed::from(saved))));
                let group = std::mem::take(&mut self.group);
                if let Some(last) = group.last {
                    self.ends.committed.send_replace(last);
                }
                for reply in group.replies {
                    reply.send(()).ok();
                }
                Ok(())
            }
            Err(CommitError::Full(error)) => {
                self.block(&format!("{error}"));
                Ok(())
            }
            Err(error @ CommitError::Broken(_)) => Err(anyhow::Error::new(error)
                .context("the last moments are not committed; see to the disk and start again: it recovers by itself")),
        }
    }

    fn publish(&self, grown: impl IntoIterator<Item = (Arc<str>, Committed)>) {
        self.ends.positions.write().unwrap_or_else(PoisonError::into_inner).extend(grown);
    }

    /// What is done once a second: segments whose time is over, free space, and another try when there was none.
    fn upkeep(&mut self) -> anyhow::Result<()> {
        self.upkeep_at = Instant::now() + UPKEEP_EVERY;
        let free = self.ends.fs.free(&self.ends.root).unwrap_or(u64::MAX);
        if free < self.ends.options.disk_free_min {
            let (free, least) = (crate::units::Size(free), crate::units::Size(self.ends.options.disk_free_min));
            self.block(&format!("{free} are free, and limits.disk_free keeps {least}"));
            return Ok(());
        }
        if self.blocked {
            self.unblock()?;
        }
        if !self.blocked {
            self.commits.close_due(self.ends.clock.now());
        }
        Ok(())
    }

    fn block(&mut self, why: &str) {
        // Each try to go on fails anew; it is said once.
        if *self.ends.status.borrow() != Status::Full {
            tracing::error!(data = %self.ends.root.display(), why, "the disk is full: nothing is written, and it goes on by itself when there is room");
        }
        self.blocked = true;
        self.ends.status.send_replace(Status::Full);
    }

    fn unblock(&mut self) -> anyhow::Result<()> {
        self.blocked = false;
        self.commit()?;
        while !self.blocked
            && let Some(message) = self.backlog.pop_front()
        {
            self.take(message)?;
        }
        if !self.blocked {
            tracing::info!(data = %self.ends.root.display(), "there is room again: writing goes on");
            self.ends.status.send_replace(Status::Writing);
        }
        Ok(())
    }
}
