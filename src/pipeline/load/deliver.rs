//! Sending one batch until all of it is decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::pipeline::writer::Ended;
use crate::sink::Position;
use crate::store::{Batch, Sent, StoreError};

use super::saved::dead_stream;
use super::tracker::Tracker;
use super::{Failure, Loader, answered};

impl Loader {
    /// Sends a batch until all of it is decided.
    pub(super) async fn deliver(&mut self, stream: &Arc<str>, batch: Batch) -> Result<(), Failure> {
        let wanted = self.wanted(&batch);
        let mut tracker = Tracker::new(batch.clone(), &wanted);
        let mut pieces = vec![wanted];
        while let Some(piece) = pieces.pop() {
            if piece.is_empty() {
                self.pass(stream, &mut tracker).await?;
                continue;
            }
            let sent = self.send(stream, &piece).await;
            match sent {
                Ok(sent) => {
                    let again = piece.pick(&sent.retry.iter().map(|(index, _)| *index).collect::<Vec<_>>());
                    let (wait, why) = (sent.wait, sent.retry.first().map(|(_, why)| why.clone()));
                    self.took(stream, &piece, &mut tracker, sent).await?;
                    if let Some(why) = why {
                        self.pause_for(
                            wait,
                            &format!("{} of {} records are to be sent again: {why}", again.len(), piece.len()),
                        )
                        .await?;
                        pieces.push(again);
                    }
                }
                Err(Failure::Store(StoreError::Shrink(_) | StoreError::Refused(_))) if piece.len() > 1 => {
                    let (first, second) = piece.halves();
                    pieces.extend([second, first]);
                }
                Err(Failure::Store(StoreError::Shrink(cause) | StoreError::Refused(cause))) => {
                    let sent = Sent { dead: vec![(0, format!("{cause:#}"))], ..Sent::default() };
                    self.took(stream, &piece, &mut tracker, sent).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        let lane = self.lanes.get(stream).expect("invariant: lanes are not removed");
        debug_assert!(lane.loaded.at >= batch.to(), "everything is decided");
        Ok(())
    }

    /// What of a batch is to be sent at all.
    fn wanted(&self, batch: &Batch) -> Batch {
        let (from, to) = &self.plan.between;
        if from.is_none() && to.is_none() {
            return batch.clone();
        }
        let is_wanted = |index: &usize| {
            let time = batch.get(*index).parts().ok().and_then(|parts| parts.observed_at);
            time.is_none_or(|time| {
                from.as_deref().is_none_or(|from| &*time >= from) && to.as_deref().is_none_or(|to| &*time < to)
            })
        };
        batch.pick(&(0..batch.len()).filter(is_wanted).collect::<Vec<_>>())
    }

    async fn send(&mut self, stream: &Arc<str>, piece: &Batch) -> Result<Sent, Failure> {
        if self.store.is_by_batch() {
            let lane = self.lanes.get_mut(stream).expect("invariant: lanes are not removed");
            lane.loaded.sending = Some((piece.from(), piece.to()));
            self.journal.save(stream, &lane.feed.stream, &lane.loaded, &[], true).await?;
        }
        let began = Instant::now();
        let sent = answered(&self.stop, self.store.send(piece)).await;
        self.journal.metrics().sent(&self.plan.name, began.elapsed());
        sent
    }

    /// The store has answered for a piece: the position moves over what is decided.
    async fn took(
        &mut self,
        stream: &Arc<str>,
        piece: &Batch,
        tracker: &mut Tracker,
        sent: Sent,
    ) -> Result<(), Failure> {
        let (dead, retry) = (sent.dead.len(), sent.retry.len());
        let taken = piece.len() - dead - retry;
        if self.brake.count(taken, dead) && dead > 0 {
            let why = sent.dead.first().map(|(_, why)| why.clone()).unwrap_or_default();
            self.brake.release();
            return Err(StoreError::Stop(anyhow::anyhow!(
                "more than half of the last records cannot be stored, so it is not they that are wrong: {why}"
            ))
            .into());
        }
        let lane = self.lanes.get_mut(stream).expect("invariant: lanes are not removed");
        lane.loaded.exists += sent.exists;
        lane.loaded.sending = None;
        // Not where the piece ends: a store that goes by its last record knows nothing of dead ones behind that.
        if let Some(last) = last_taken(piece, &sent).filter(|_| lane.keeps_positions) {
            lane.loaded.stored = Some(lane.loaded.stored.map_or(last, |stored| stored.max(last)));
        }
        self.progress.send_modify(|progress| progress.exists += sent.exists);
        tracker.sent(piece, sent);
        self.pass(stream, tracker).await?;
        Ok(())
    }

    /// Moves the position over what is decided, and saves it with the dead letters that it passes.
    async fn pass(&mut self, stream: &Arc<str>, tracker: &mut Tracker) -> Result<(), Ended> {
        let lane = self.lanes.get_mut(stream).expect("invariant: lanes are not removed");
        let passed = tracker.pass();
        let bytes = if passed.at.segment == lane.loaded.at.segment {
            passed.at.offset - lane.loaded.at.offset
        } else {
            passed.at.offset
        };
        lane.loaded.at = passed.at;
        lane.loaded.records += passed.records;
        lane.loaded.dead += passed.dead.len() as u64;
        self.progress.send_modify(|progress| {
            progress.records += passed.records;
            progress.dead += passed.dead.len() as u64;
            progress.bytes += bytes;
        });
        if let Some(dead) = passed.dead.first() {
            tracing::warn!(loader = %self.plan.name, %stream, segment = dead.position.segment, offset = dead.position.offset, count = passed.dead.len(),
                why = %dead.reason, "a record cannot be stored; it is kept in {}", dead_stream(&self.plan.name));
        }
        self.journal.save(stream, &lane.feed.stream, &lane.loaded, &passed.dead, self.store.doubles()).await
    }
}

/// Where the last record ends that the store took.
fn last_taken(piece: &Batch, sent: &Sent) -> Option<Position> {
    let not: BTreeSet<usize> = sent.retry.iter().chain(&sent.dead).map(|(index, _)| *index).collect();
    (0..piece.len()).rev().find(|index| !not.contains(index)).map(|index| piece.get(index).next)
}
