//! The cron service: `tokio-cron-scheduler`, with one job for each distinct expression and zone, whatever the number of
//! sources that share it.
//!
//! A job only wakes the tickers that share it; which slot that is, the tickers compute themselves. So the known faults
//! of the crate (0.15.1) cost at most a late tick, never a wrong or a lost one:
//!
//! - A job keeps the offset from UTC that its zone had when it was made, and fires an hour off after a change of the
//!   clock (its issue 107). Only the first time of a job is computed in the zone. So a job is made anew as soon as its
//!   next time lies at another offset.
//! - Jobs can stop firing: repeated ones by its issue 113 (there are none here), and every job when the wall clock is
//!   put back, until it has caught up. A ticker that was not woken fires by itself, and has the job made anew.
//! - Activations go through a broadcast channel of 200 places, and what does not fit is lost; worse, the tasks that
//!   add and remove jobs end for ever when they fall behind theirs. So the channels are larger, and jobs are added and
//!   removed one at a time.
//! - Its loop looks every 500 ms, so it wakes up to that much late.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::FixedOffset;
use chrono_tz::Tz;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::timeout;
use tokio_cron_scheduler::job::JobId;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::expression::Expression;
use super::zone;
use crate::context::Clock;

/// How many distinct expressions may be due in the same half second. One that finds no place is late, not lost.
const PLACES: usize = 2048;
/// The crate answers over channels, and not at all when the task behind one has ended.
const ANSWER: Duration = Duration::from_secs(10);

/// What jobs are shared by.
type Key = (String, Tz);

/// The running service. Dropping it ends its tasks.
pub(super) struct Service {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    clock: Arc<dyn Clock>,
    registry: Mutex<Registry>,
    stop: CancellationToken,
}

/// Behind one lock, so that jobs are added and removed one at a time.
struct Registry {
    scheduler: JobScheduler,
    bells: HashMap<Key, Arc<Bell>>,
}

/// What a job rings, and what connects it to its keeper.
struct Bell {
    expression: Arc<Expression>,
    ring: watch::Sender<()>,
    /// The job fired.
    rang: Notify,
    /// The job did not fire when it should have.
    silent: Notify,
}

/// A ticker's ear at a [`Bell`]. When the last one is dropped, the job is removed.
pub(super) struct Ear {
    heard: watch::Receiver<()>,
    bell: Arc<Bell>,
    /// Whether it complained since it last heard the bell.
    complained: bool,
}

impl Ear {
    fn new(heard: watch::Receiver<()>, bell: Arc<Bell>) -> Self {
        Self { heard, bell, complained: false }
    }

    /// The expression, shared by all who listen.
    pub(super) fn expression(&self) -> Arc<Expression> {
        Arc::clone(&self.bell.expression)
    }

    /// Waits until the job fires. Cancel-safe. Never returns when the service has ended.
    pub(super) async fn ring(&mut self) {
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.complained = false;
    }

    /// Tells the service that the job did not fire when it should have.
    pub(super) fn complain(&mut self) {
        if !self.complained {
            self.complained = true;
            tracing::warn!(
                cron = self.bell.expression.text(),
                "the cron service did not fire; its sources go on by their own timers"
            );
        }
        self.bell.silent.notify_one();
    }
}

impl Service {
    /// Starts the crate's tasks.
    pub(super) async fn start(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let mut scheduler =
            JobScheduler::new_with_channel_size(PLACES).await.context("cannot set up the cron service")?;
        scheduler.init().await.context("cannot set up the cron service")?;
        scheduler.start().await.context("cannot start the cron service")?;
        let stop = CancellationToken::new();
        let registry = Mutex::new(Registry { scheduler, bells: HashMap::new() });
        let shared = Arc::new(Shared { clock, registry, stop: stop.clone() });
        Ok(Self { shared, _stop: stop.drop_guard() })
    }

    /// Listens to the job of this expression, which is made for the first to listen.
    pub(super) async fn listen(&self, expression: &Arc<Expression>) -> anyhow::Result<Ear> {
        let key = (expression.text().to_owned(), expression.timezone());
        let mut registry = self.shared.registry.lock().await;
        if let Some(bell) = registry.bells.get(&key) {
            return Ok(Ear::new(bell.ring.subscribe(), Arc::clone(bell)));
        }
        let (ring, heard) = watch::channel(());
        let bell =
            Arc::new(Bell { expression: Arc::clone(expression), ring, rang: Notify::new(), silent: Notify::new() });
        let keeper = Keeper { shared: Arc::clone(&self.shared), bell: Arc::clone(&bell) };
        let job = keeper.make(&registry.scheduler).await?;
        registry.bells.insert(key, Arc::clone(&bell));
        drop(registry);
        tokio::spawn(keeper.run(job));
        Ok(Ear::new(heard, bell))
    }

    /// Ends the crate's loop and every job.
    pub(super) async fn shutdown(&self) {
        self.shared.stop.cancel();
        let mut registry = self.shared.registry.lock().await;
        registry.bells.clear();
        if let Err(error) = registry.scheduler.shutdown().await {
            tracing::warn!(%error, "the cron service did not stop");
        }
    }

    /// How many jobs there are.
    pub(super) async fn jobs(&self) -> usize {
        self.shared.registry.lock().await.bells.len()
    }
}

/// Keeps one job right for as long as somebody listens.
struct Keeper {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
}

/// A job of the crate, and the offset that it froze.
struct Made {
    id: JobId,
    offset: FixedOffset,
}

impl Keeper {
    async fn run(self, mut job: Made) {
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = self.bell.ring.closed() => {
                    if self.remove(&job).await {
                        return;
                    }
                }
                () = self.bell.rang.notified() => {
                    if self.next_offset() != job.offset {
                        self.renew(&mut job).await;
                    }
                }
                () = self.bell.silent.notified() => self.renew(&mut job).await,
            }
        }
    }

    /// The offset from UTC at the expression's next time.
    fn next_offset(&self) -> FixedOffset {
        let now = self.shared.clock.now();
        zone::offset(self.bell.expression.timezone(), self.bell.expression.next(now).unwrap_or(now))
    }

    async fn make(&self, scheduler: &JobScheduler) -> anyhow::Result<Made> {
        // Read before the crate reads it: should the clock be changed in between, the job is made once too often.
        let offset = zone::offset(self.bell.expression.timezone(), self.shared.clock.now());
        let bell = Arc::clone(&self.bell);
        let job = Job::new_tz(self.bell.expression.text(), self.bell.expression.timezone(), move |_, _| {
            bell.ring.send_replace(());
            bell.rang.notify_one();
        });
        let job = job.with_context(|| format!("the cron service refuses `{}`", self.bell.expression.text()))?;
        let id = timeout(ANSWER, scheduler.add(job))
            .await
            .context("the cron service does not answer; restart tapline")?
            .context("the cron service cannot add a job")?;
        Ok(Made { id, offset })
    }

    /// Removes the job unless somebody listens again; whether it did.
    async fn remove(&self, job: &Made) -> bool {
        let mut registry = self.shared.registry.lock().await;
        if self.bell.ring.receiver_count() > 0 {
            return false;
        }
        registry.bells.remove(&(self.bell.expression.text().to_owned(), self.bell.expression.timezone()));
        self.unmake(&registry.scheduler, job).await;
        true
    }

    /// Makes the job anew. When that fails the tickers still fire, late, and complain again.
    async fn renew(&self, job: &mut Made) {
        let registry = self.shared.registry.lock().await;
        self.unmake(&registry.scheduler, job).await;
        match self.make(&registry.scheduler).await {
            Ok(made) => *job = made,
            Err(error) => tracing::warn!("cannot renew the cron job `{}`: {error:#}", self.bell.expression.text()),
        }
    }

    async fn unmake(&self, scheduler: &JobScheduler, job: &Made) {
        if !matches!(timeout(ANSWER, scheduler.remove(&job.id)).await, Ok(Ok(()))) {
            tracing::warn!("cannot remove the cron job `{}`", self.bell.expression.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use std::sync::Mutex as Lock;

    struct At(Lock<DateTime<Utc>>);

    impl Clock for At {
        fn now(&self) -> DateTime<Utc> {
            *self.0.lock().unwrap()
        }
    }

    async fn ids(service: &Service) -> Vec<(u64, u64)> {
        let context = service.shared.registry.lock().await.scheduler.context();
        let ticks = context.metadata_storage.write().await.list_next_ticks().await.unwrap();
        ticks.iter().filter_map(|tick| tick.id.as_ref().map(|id| (id.id1, id.id2))).collect()
    }

    /// Lets every other task run until it waits.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Its issue 107: the job must not live on with the offset that it froze.
    #[tokio::test(start_paused = true)]
    async fn a_job_is_made_anew_when_its_next_time_has_another_offset() {
        let clock = Arc::new(At(Lock::new("2025-03-28T12:00:00Z".parse().unwrap())));
        let service = Service::start(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        let expression = Arc::new(Expression::parse("0 9 * * *", chrono_tz::Europe::Dublin).unwrap());
        let ear = service.listen(&expression).await.unwrap();
        let first = ids(&service).await;
        assert_eq!(first.len(), 1);
        ear.bell.rang.notify_one();
        settle().await;
        assert_eq!(ids(&service).await, first, "tomorrow is still winter time");
        *clock.0.lock().unwrap() = "2025-03-29T09:00:00.2Z".parse().unwrap();
        ear.bell.rang.notify_one();
        settle().await;
        let second = ids(&service).await;
        assert_eq!(second.len(), 1);
        assert_ne!(second, first, "the next time is in summer time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_job_is_made_anew() {
        let clock = Arc::new(At(Lock::new("2026-11-23T12:00:00Z".parse().unwrap())));
        let service = Service::start(clock).await.unwrap();
        let expression = Arc::new(Expression::parse("0 9 * * *", Tz::UTC).unwrap());
        let mut ear = service.listen(&expression).await.unwrap();
        let first = ids(&service).await;
        ear.complain();
        settle().await;
        assert_ne!(ids(&service).await, first);
    }

    #[tokio::test(start_paused = true)]
    async fn one_job_for_all_who_listen_and_none_when_they_are_gone() {
        let clock = Arc::new(At(Lock::new("2026-11-23T12:00:00Z".parse().unwrap())));
        let service = Service::start(clock).await.unwrap();
        let read = |text: &str, zone| Arc::new(Expression::parse(text, zone).unwrap());
        for _ in 0..20 {
            let mut ears = Vec::new();
            for minute in 0..50 {
                for zone in [Tz::UTC, Tz::Asia__Kolkata] {
                    ears.push(service.listen(&read(&format!("{minute} 9 * * *"), zone)).await.unwrap());
                    ears.push(service.listen(&read(&format!("0 {minute} 9 * * *"), zone)).await.unwrap());
                }
            }
            assert_eq!((ids(&service).await.len(), service.jobs().await), (100, 100));
            drop(ears);
            settle().await;
            assert_eq!((ids(&service).await.len(), service.jobs().await), (0, 0));
        }
    }
}
