//! The loop of a source with a schedule: one call of the adapter and exactly one outcome for every tick.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::time::Instant;

use crate::pipeline::commit::Append;
use crate::pipeline::ledger::{Ticks, Turn, text};
use crate::pipeline::schedule::{Skipped, Tick, Why};
use crate::pipeline::writer::{Ended, Status};
use crate::source::{Batch, Outcome, Source, SourceError};

use super::{CALL_MAX, Driver, End};

/// The reason of a tick that recovery found.
const CUT_OFF: &str = "tapline was killed before this outcome was saved; what had been written of it was kept";

/// How long a source is left alone that limits requests without saying for how long.
const LIMITED: Duration = Duration::from_mins(1);

/// What a loop remembers between two ticks.
#[derive(Default)]
struct Polling {
    connected: bool,
    /// Until then upstream wants to be left alone, in its own words.
    quiet: Option<(DateTime<Utc>, String)>,
    /// The disk had no room, and that is why ticks were skipped.
    was_full: bool,
}

/// What one tick came to.
struct Ticked {
    outcome: Outcome,
    reason: String,
    append: Append,
    end: Option<End>,
}

impl Driver {
    pub(super) async fn poll(&mut self, source: &mut dyn Source) -> anyhow::Result<End> {
        let schedule = self.config.schedule.clone().expect("invariant: the caller has seen one");
        let mut ticker = self.scheduler.ticker(&self.config.name, &schedule, self.done_until()).await?;
        let mut polling = Polling::default();
        loop {
            let tick = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(End::Stopped),
                tick = ticker.next() => tick,
            };
            if let Some(skipped) = tick.skipped {
                self.account_skipped(&skipped, &polling);
            }
            self.writer.metrics().late(self.config.kind, tick.late);
            let (stop, began) = (self.stop.clone(), Instant::now());
            let done = tokio::select! {
                biased;
                // The tick is not counted: after the next start it is one that was missed.
                () = stop.cancelled() => return Ok(End::Stopped),
                done = self.tick(source, &tick, &mut polling) => done,
            };
            self.writer.metrics().called(self.config.kind, began.elapsed());
            let end = done.end;
            self.finish_tick(&tick, done, &mut polling).await?;
            match end {
                Some(end) => return Ok(end),
                None if self.once => return Ok(End::Finished),
                None => {}
            }
        }
    }

    async fn tick(&mut self, source: &mut dyn Source, tick: &Tick, polling: &mut Polling) -> Ticked {
        if let Some((until, reason)) =
            polling.quiet.take_if(|(until, _)| tick.slot >= *until).or_else(|| polling.quiet.clone())
            && tick.slot < until
        {
            return Ticked { outcome: Outcome::Skipped, reason, append: Append::default(), end: None };
        }
        let asked = tokio::time::timeout(CALL_MAX, self.ask(source, tick.slot, polling));
        let asked = asked.await.unwrap_or_else(|_| {
            polling.connected = false;
            Err(SourceError::Lost(anyhow::anyhow!("no answer within {}", humantime::format_duration(CALL_MAX))))
        });
        match asked {
            Ok(mut batch) => {
                // Before anything of the batch is counted: this waits for the writer, and may be cut off.
                let changed = self.changed(batch.change.take(), tick.slot).await;
                self.transform(&mut batch).await;
                self.take_notes(source);
                self.saved.tally.ail(source.ailments(), self.context.now());
                let (outcome, reason) = (batch.outcome(), reason_of(&batch));
                if !batch.wait.is_zero() {
                    self.be_quiet(polling, batch.wait, "upstream asked for a longer interval");
                }
                let mut append = self.lines_of(batch, tick.slot);
                append.lines.extend(changed.map(|line| (Arc::clone(&self.changed), line)));
                Ticked { outcome, reason, append, end: None }
            }
            Err(error) => self.failed(error, polling),
        }
    }

    async fn ask(
        &self,
        source: &mut dyn Source,
        slot: DateTime<Utc>,
        polling: &mut Polling,
    ) -> Result<Batch, SourceError> {
        if !polling.connected {
            source.connect(self.saved.cursor.as_ref()).await?;
            polling.connected = true;
        }
        source.slot(slot);
        source.next().await
    }

    fn failed(&mut self, error: SourceError, polling: &mut Polling) -> Ticked {
        let mut end = None;
        let (outcome, reason) = match error {
            SourceError::Lost(cause) | SourceError::Failing(cause) => (Outcome::Error, format!("{cause:#}")),
            SourceError::Silent { .. } => (Outcome::Error, error.to_string()),
            SourceError::Limited(cause) => {
                self.be_quiet(polling, LIMITED, "upstream limits how often it is asked");
                (Outcome::Blocked, format!("{cause:#}"))
            }
            SourceError::Blocked(cause) => (Outcome::Blocked, format!("{cause:#}")),
            SourceError::Throttled { wait, cause } => {
                self.be_quiet(polling, wait, "upstream asked to be left alone");
                (Outcome::Blocked, format!("{cause:#}"))
            }
            SourceError::Refused(cause) => {
                end = Some(End::Refused);
                let why = format!("{cause:#}");
                self.saved.tally.why = Some(why.clone());
                (Outcome::Blocked, why)
            }
            SourceError::Ended => {
                end = Some(End::Finished);
                (Outcome::Unchanged, String::new())
            }
        };
        Ticked { outcome, reason, append: Append::default(), end }
    }

    fn be_quiet(&mut self, polling: &mut Polling, wait: Duration, why: &str) {
        let now = self.context.now();
        let until = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1));
        let until_text = crate::record::time_text(&until);
        self.saved.book.note("throttled", &json!({ "until": until_text, "why": why }), now);
        polling.quiet = Some((until, format!("{why} until {until_text}")));
    }

    /// Counts the ticks that passed before this one, so that every scheduled time has its outcome.
    fn account_skipped(&mut self, skipped: &Skipped, polling: &Polling) {
        let now = self.context.now();
        let Skipped { from, to, count, why } = *skipped;
        // They are accounted for, even if the tick after them never ends.
        self.saved.slot = Some(to);
        match why {
            Why::Busy => {
                let reason = match polling {
                    Polling { was_full: true, .. } => "the disk was full",
                    _ => "the last fetch still ran",
                };
                let ticks = Ticks { outcome: Outcome::Skipped, reason: reason.into(), from, to, count };
                let turn = self.account(ticks, now);
                self.log_turn(&turn, Outcome::Skipped, reason);
            }
            Why::Down => self.account_downtime(from, to, count),
            Why::Clock => {
                let gap =
                    json!({ "from": text(from), "to": text(to), "missed": count, "why": "the clock was set forward" });
                self.saved.book.note("gap", &gap, now);
                self.saved.tally.missed += count;
                tracing::warn!(source.name = %self.config.name, missed = count, "the clock was set forward");
            }
        }
    }

    /// Ticks that passed while tapline was not running. Of those whose records recovery kept, nobody knows whether
    /// that was all of them: a kill in mid-write keeps the lines before it.
    fn account_downtime(&mut self, from: DateTime<Utc>, to: DateTime<Utc>, count: u64) {
        let now = self.context.now();
        let mut done = self.kept_moments();
        done.retain(|moment| (from..=to).contains(moment));
        if let (Some(&from), Some(&to)) = (done.first(), done.last()) {
            let ticks = Ticks { outcome: Outcome::Error, reason: CUT_OFF.into(), from, to, count: done.len() as u64 };
            let turn = self.account(ticks, now);
            self.log_turn(&turn, Outcome::Error, CUT_OFF);
        }
        let missed = count.saturating_sub(done.len() as u64);
        if missed > 0 {
            let gap = json!({ "from": text(from), "to": text(to), "missed": missed, "why": "tapline was not running" });
            self.saved.book.note("gap", &gap, now);
            self.saved.tally.missed += missed;
            tracing::info!(source.name = %self.config.name, missed, "ticks were missed while tapline was not running");
        }
    }

    /// Enters ticks into the ledger, and into the sums that outlive it.
    fn account(&mut self, ticks: Ticks, now: DateTime<Utc>) -> Turn {
        *self.saved.tally.outcomes.entry(ticks.outcome).or_default() += ticks.count;
        self.saved.tally.hit(self.config.drift.hit_rate, ticks.outcome, &ticks.reason, ticks.count, now);
        self.saved.book.ticks(ticks, now)
    }

    /// The scheduled time up to which ticks are accounted for. A kill before the first commit leaves only records: then
    /// the account begins with the first of those.
    fn done_until(&self) -> Option<DateTime<Utc>> {
        let before_kept = || self.kept_moments().first().map(|moment| *moment - TimeDelta::microseconds(1));
        self.saved.slot.or_else(before_kept)
    }

    /// The scheduled times of the records that recovery kept, in order.
    fn kept_moments(&self) -> std::collections::BTreeSet<DateTime<Utc>> {
        let ids = self.kept.ids().iter();
        ids.filter_map(|id| self.normaliser.moment_of(id)).collect()
    }

    async fn finish_tick(&mut self, tick: &Tick, ticked: Ticked, polling: &mut Polling) -> Result<(), Ended> {
        let now = self.context.now();
        let ticks = Ticks::one(ticked.outcome, ticked.reason.clone(), tick.slot);
        let turn = self.account(ticks, now);
        self.log_turn(&turn, ticked.outcome, &ticked.reason);
        self.saved.slot = Some(tick.slot);
        polling.was_full = *self.writer.status().borrow() == Status::Full;
        self.append(ticked.append).await?;
        Ok(())
    }

    /// One line when something goes wrong and one when it is well again, not one for each tick.
    fn log_turn(&self, turn: &Turn, outcome: Outcome, reason: &str) {
        let name = &self.config.name;
        match turn {
            Turn::Same => {}
            Turn::Worse => tracing::warn!(source.name = %name, outcome = outcome.as_str(), "{reason}"),
            Turn::Better(bad) => tracing::info!(source.name = %name, ticks = bad, "well again"),
        }
    }
}

/// The first reject's words, for the ledger; each is kept whole in the stream of rejects.
fn reason_of(batch: &Batch) -> String {
    let outcome = batch.outcome();
    let first = batch.rejects.iter().find(|reject| reject.outcome == outcome);
    first.map_or_else(String::new, |reject| {
        let field = reject.field.iter().map(|field| format!("{field}: "));
        let page = reject.page.iter().map(|page| format!("; page {page}"));
        field.chain([reject.reason.clone()]).chain(page).collect()
    })
}
