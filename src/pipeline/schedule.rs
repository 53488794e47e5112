//! The schedule: when a polled source asks, and what it left out.
//!
//! A source has *slots*, the times that its schedule names. A [`Ticker`] turns them into [`Tick`]s, one at a time: the
//! next is only looked for when the last one is done, so a source never overlaps itself. Slots that passed meanwhile come
//! with the next tick, counted.
//!
//! A tick's slot is its identity: strictly increasing, across restarts and across every jump of the wall clock. Where the
//! clock is put back, the slots go on increasing from the last one, at the pace of the steady clock: they then lie ahead
//! of the wall clock until that has caught up. Where it is put forward, the slots in between are skipped and said so.
//!
//! `every:` runs on the steady clock against fixed deadlines. `cron:` is woken by `tokio-cron-scheduler`, and wakes itself
//! where that does not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::config::{Schedule, When};
use crate::context::Clock;

mod active;
mod cron;
mod every;
mod expression;
mod service;
mod slots;
mod zone;

use service::{Ear, Service};
use slots::{Rhythm, STEP};
pub use slots::{Run, Slots, slots_between};

/// The longest sleep before the wall clock is looked at again, so that a jump of it does not leave a source asleep.
const LOOK: Duration = Duration::from_secs(30);

/// One turn of a polled source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The slot: this tick's identity.
    pub slot: DateTime<Utc>,
    /// How long after its time it comes.
    pub late: Duration,
    /// The slots between the last tick and this one, that had none.
    pub skipped: Option<Skipped>,
}

/// Slots that had no tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The first of them.
    pub from: DateTime<Utc>,
    /// The last of them.
    pub to: DateTime<Utc>,
    /// How many there are, both ends included.
    pub count: u64,
    /// Why.
    pub why: Why,
}

/// Why slots had no tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The last fetch still ran, or the whole process stood still.
    Busy,
    /// The wall clock was put forward over them, or the machine slept.
    Clock,
    /// tapline was not running.
    Down,
}

/// Makes tickers, and owns the cron service that they share.
pub struct Scheduler {
    clock: Arc<dyn Clock>,
    /// Started for the first cron expression: its loop wakes twice a second, for ever.
    service: OnceCell<Service>,
}

impl Scheduler {
    /// A scheduler without sources.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, service: OnceCell::new() }
    }

    /// The ticker of a source. `after` is the last slot that was done, from the saved cursor: it is never fired again.
    ///
    /// # Errors
    /// When the schedule names no time at all, or the cron service fails.
    pub async fn ticker(
        &self,
        source: &str,
        schedule: &Schedule,
        after: Option<DateTime<Utc>>,
    ) -> anyhow::Result<Ticker> {
        let mut slots = Slots::new(source, schedule)?;
        ensure!(
            slots.next(self.clock.now()).is_some(),
            "the schedule and `active` never meet: no slot falls into an active window; widen `active`, ask more often, or move the slots with `offset`"
        );
        let pace = match &schedule.when {
            When::Every(every) => Pace::Every(*every),
            When::Cron { .. } => Pace::Cron(self.listen(&mut slots).await?),
        };
        Ok(Ticker { slots, clock: Arc::clone(&self.clock), pace, last: after, mark: None })
    }

    async fn listen(&self, slots: &mut Slots) -> anyhow::Result<Ear> {
        let Rhythm::Cron(expression) = slots.rhythm_mut() else {
            anyhow::bail!("invariant: a cron schedule has an expression")
        };
        let service = self.service.get_or_try_init(|| Service::start(Arc::clone(&self.clock))).await?;
        let ear = service.listen(expression).await.context("cannot schedule the source")?;
        // Thousands of sources may share an expression, and a read one takes several kilobytes.
        *expression = ear.expression();
        Ok(ear)
    }

    /// How many cron jobs there are: one for each distinct expression and zone that has a ticker.
    pub async fn cron_jobs(&self) -> usize {
        match self.service.get() {
            Some(service) => service.jobs().await,
            None => 0,
        }
    }

    /// Ends the cron service. Tickers that are left wake themselves.
    pub async fn shutdown(&self) {
        if let Some(service) = self.service.get() {
            service.shutdown().await;
        }
    }
}

/// Tells one source when to ask.
pub struct Ticker {
    slots: Slots,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// The identity given last.
    last: Option<DateTime<Utc>>,
    mark: Option<Mark>,
}

enum Pace {
    Every(Duration),
    Cron(Ear),
}

/// When and for what the last tick was given out.
struct Mark {
    /// The slot by the wall clock, which is not the identity where the clock was put back.
    slot: DateTime<Utc>,
    /// When it was due.
    deadline: Instant,
    /// When it was given out, by both clocks.
    at: Instant,
    wall: DateTime<Utc>,
}

/// A tick that is due now, before it has an identity.
struct Due {
    slot: DateTime<Utc>,
    deadline: Instant,
    late: Duration,
}

impl Ticker {
    /// Waits for the next tick. To be called when the last one is done.
    ///
    /// Cancel-safe: when the future is dropped, no slot is lost that a later call, made in time, would not bring.
    pub async fn next(&mut self) -> Tick {
        let due = match &mut self.pace {
            Pace::Every(every) => every::wait(*every, &self.slots, &*self.clock, self.mark.as_ref()).await,
            Pace::Cron(ear) => {
                let done = self.mark.as_ref().map_or(self.last, |mark| Some(mark.slot));
                cron::wait(ear, &self.slots, &*self.clock, done, self.mark.is_none()).await
            }
        };
        self.give(&due)
    }

    /// Gives the tick its identity, and counts what was left out before it.
    fn give(&mut self, due: &Due) -> Tick {
        let (at, wall) = (Instant::now(), self.clock.now());
        let slot = match self.last {
            Some(last) if due.slot <= last => self.slots.rhythm().next(last).unwrap_or(last + STEP),
            _ => due.slot,
        };
        let skipped = self.last.and_then(|last| self.slots.between(last, slot)).map(|run| {
            let why = self.why(at, wall);
            Skipped { from: run.from, to: run.to, count: run.count, why }
        });
        self.last = Some(slot);
        self.mark = Some(Mark { slot: due.slot, deadline: due.deadline, at, wall });
        Tick { slot, late: due.late, skipped }
    }

    fn why(&self, at: Instant, wall: DateTime<Utc>) -> Why {
        let tolerance = match &self.pace {
            Pace::Every(every) => every::slack(*every),
            Pace::Cron(_) => cron::GRACE,
        };
        match &self.mark {
            None => Why::Down,
            Some(mark) if every::stepped(mark, at, wall, tolerance) => Why::Clock,
            Some(_) => Why::Busy,
        }
    }
}
