//! What is done with closed segments, in the background and one at a time: compressed, and in time deleted.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config::{Compress, Retain};
use crate::context::Context;
use crate::fs::Fs;
use crate::sinks::segments::name::Form;
use crate::sinks::segments::{Saved, Spec, compress, read, retain};

use super::service::ServiceLedger;
use super::writer::{Ended, Writer};

/// How often streams are looked at. A look at one whose active segment is still the same costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often what is kept is weighed, in looks.
const RETAIN_EVERY: u64 = 6;

/// Keeps the data folder in order until it is told to stop.
pub struct Upkeep {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    context: Context,
    writer: Writer,
    ledger: ServiceLedger,
    /// The service's limits, for streams without their own.
    retain: Retain,
    /// The active segment up to which each stream is done.
    compressed: HashMap<Arc<str>, u64>,
}

impl Upkeep {
    /// Upkeep of the data folder `root`.
    pub fn new(
        fs: Arc<dyn Fs>,
        root: &Path,
        context: Context,
        writer: Writer,
        ledger: ServiceLedger,
        retain: Retain,
    ) -> Self {
        Self { fs, root: root.to_owned(), context, writer, ledger, retain, compressed: HashMap::new() }
    }

    /// Runs until told to stop. A step that has begun is finished or safely begun again at the next start.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Ended> {
        for look in 0_u64.. {
            let streams = self.writer.streams().await?;
            self.compress(&streams, &stop).await;
            if look % RETAIN_EVERY == 0 {
                self.retain(&streams).await?;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        Ok(())
    }

    async fn compress(&mut self, streams: &[(Spec, Saved)], stop: &CancellationToken) {
        for (spec, saved) in streams {
            let done = self.compressed.get(&spec.name).is_some_and(|segment| *segment == saved.segment);
            let Some(form) = Form::of(spec.compress).filter(|_| !done && spec.compress != Compress::Off) else {
                continue;
            };
            let (fs, root, stream, active) =
                (Arc::clone(&self.fs), self.root.clone(), Arc::clone(&spec.name), saved.segment);
            let stop = stop.clone();
            let result = spawn_blocking(move || {
                for (_, name) in read::files(&*fs, &root, &stream)?.range(..active) {
                    if name.form == Form::Plain && !stop.is_cancelled() {
                        compress::compress(&*fs, &root, &stream, *name, form)?;
                    }
                }
                Ok::<_, std::io::Error>(())
            });
            match result.await.map_err(std::io::Error::other).and_then(|result| result) {
                Ok(()) => {
                    self.compressed.insert(Arc::clone(&spec.name), saved.segment);
                }
                Err(error) => {
                    tracing::warn!(stream = %spec.name, error = %error, "a closed segment could not be compressed; it is kept as it is, and tried again");
                }
            }
        }
    }

    async fn retain(&mut self, streams: &[(Spec, Saved)]) -> Result<(), Ended> {
        for (retain, names) in groups(streams, self.retain) {
            let (fs, root) = (Arc::clone(&self.fs), self.root.clone());
            let closed = spawn_blocking(move || {
                let closed = names
                    .into_iter()
                    .map(|(name, active)| Ok((Arc::clone(&name), retain::closed(&*fs, &root, &name, active)?)));
                closed.collect::<std::io::Result<Vec<_>>>()
            });
            let plan = match closed.await.map_err(std::io::Error::other).and_then(|closed| closed) {
                Ok(closed) => retain::plan(&closed, retain, self.context.now()),
                Err(error) => {
                    tracing::warn!(error = %error, "closed segments could not be weighed; nothing is deleted this time");
                    continue;
                }
            };
            for (stream, first) in plan {
                self.delete(stream, first).await?;
            }
        }
        Ok(())
    }

    /// Deletes a stream's segments before `first`: the intent is in the commit log before the first file goes.
    async fn delete(&self, stream: Arc<str>, first: u64) -> Result<(), Ended> {
        self.writer.give_up_before(Arc::clone(&stream), first).await?;
        self.ledger.note("deleted", &json!({ "stream": &*stream, "before_segment": first, "why": "retain" })).await?;
        let (fs, root, name) = (Arc::clone(&self.fs), self.root.clone(), Arc::clone(&stream));
        let removed = spawn_blocking(move || retain::remove_before(&*fs, &root, &name, first)).await;
        match removed.map_err(std::io::Error::other).and_then(|removed| removed) {
            Ok(files) => {
                tracing::info!(stream = %stream, files, before_segment = first, "old segments were deleted, as `retain` says");
            }
            Err(error) => {
                tracing::warn!(stream = %stream, error = %error, "old segments could not be deleted; tried again later");
            }
        }
        Ok(())
    }
}

type Group = Vec<(Arc<str>, u64)>;

/// Streams by what limits them: those with limits of their own alone, all others together.
fn groups(streams: &[(Spec, Saved)], shared: Retain) -> Vec<(Retain, Group)> {
    let mut own: BTreeMap<&str, (Retain, Group)> = BTreeMap::new();
    let mut together = Group::new();
    for (spec, saved) in streams {
        let entry = (Arc::clone(&spec.name), saved.segment);
        if spec.retain == shared {
            together.push(entry);
        } else {
            own.insert(&spec.name, (spec.retain, vec![entry]));
        }
    }
    let all = own.into_values().chain([(shared, together)]);
    all.filter(|(retain, group)| *retain != Retain::default() && !group.is_empty()).collect()
}
