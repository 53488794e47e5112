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
use crate::sink::{Committed, Position};
use crate::sinks::segments::name::Form;
use crate::sinks::segments::retain::GiveUp;
use crate::sinks::segments::{Saved, Spec, compress, read, retain};

use super::load::{Loaded, Select, loaded_key};
use super::service::ServiceLedger;
use super::writer::{Ended, Writer};

/// How often streams are looked at. A look at one whose active segment is still the same costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How many bytes are read at a time to count what was never loaded.
const COUNT_BYTES: usize = 1 << 20;

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
    /// The loaders that are declared.
    loaders: Vec<Needs>,
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
        loaders: Vec<Needs>,
    ) -> Self {
        Self { fs, root: root.to_owned(), context, writer, ledger, retain, loaders, compressed: HashMap::new() }
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
        let passed = self.passed().await?;
        let needed = |stream: &str| passed.iter().filter_map(|passed| Some(passed.of(stream)?.segment)).min();
        for (retain, names) in groups(streams, self.retain) {
            let (fs, root) = (Arc::clone(&self.fs), self.root.clone());
            let closed = spawn_blocking(move || {
                let closed = names
                    .into_iter()
                    .map(|(name, active)| Ok((Arc::clone(&name), retain::closed(&*fs, &root, &name, active)?)));
                closed.collect::<std::io::Result<Vec<_>>>()
            });
            let plan = match closed.await.map_err(std::io::Error::other).and_then(|closed| closed) {
                Ok(closed) => retain::plan(&closed, &needed, retain, self.context.now()),
                Err(error) => {
                    tracing::warn!(error = %error, "closed segments could not be weighed; nothing is deleted this time");
                    continue;
                }
            };
            for give_up in plan {
                let unloaded =
                    if give_up.is_forced { self.unloaded(&give_up, &passed, streams).await } else { Vec::new() };
                self.delete(give_up.stream, give_up.first, &unloaded).await?;
            }
        }
        Ok(())
    }

    /// How far each loader is with each stream.
    async fn passed(&self) -> Result<Vec<Passed>, Ended> {
        let mut all = Vec::new();
        for needs in &self.loaders {
            let prefix = loaded_key(&needs.loader, "");
            let state = self.writer.state(prefix.clone()).await?;
            let at = state.iter().filter_map(|(key, value)| {
                let loaded: Loaded = serde_json::from_str(value.get()).ok()?;
                Some((key.strip_prefix(&prefix)?.to_owned(), loaded.at))
            });
            all.push(Passed { needs: needs.clone(), at: at.collect() });
        }
        Ok(all)
    }

    /// How many records that are to be deleted each loader has not loaded.
    async fn unloaded(&self, give_up: &GiveUp, passed: &[Passed], streams: &[(Spec, Saved)]) -> Vec<Unloaded> {
        let mut found = Vec::new();
        let Some((_, saved)) = streams.iter().find(|(spec, _)| spec.name == give_up.stream) else { return found };
        let committed = Committed { end: Position::start_of(give_up.first), ..Committed::from(saved) };
        for passed in passed {
            let Some(at) = passed.of(&give_up.stream).filter(|at| at.segment < give_up.first) else { continue };
            let mut reader = self.writer.reader(Arc::clone(&give_up.stream), at.max(Position::start_of(saved.first)));
            let count = spawn_blocking(move || {
                let (mut lines, mut records) = (Vec::new(), 0);
                while reader.read(committed, COUNT_BYTES, &mut lines)?.is_some() {
                    records += memchr::memchr_iter(b'\n', &lines).count() as u64;
                    lines.clear();
                }
                Ok::<_, std::io::Error>(records)
            });
            // What cannot be read cannot be counted; that it goes is said all the same.
            let records = count.await.ok().and_then(Result::ok);
            found.push(Unloaded { loader: Arc::clone(&passed.needs.loader), records });
        }
        found
    }

    /// Deletes a stream's segments before `first`: the intent is in the commit log before the first file goes.
    async fn delete(&self, stream: Arc<str>, first: u64, unloaded: &[Unloaded]) -> Result<(), Ended> {
        self.writer.give_up_before(Arc::clone(&stream), first).await?;
        let mut entry = json!({ "stream": &*stream, "before_segment": first, "why": "retain" });
        if !unloaded.is_empty() {
            entry["unloaded"] = json!(unloaded);
            for Unloaded { loader, records } in unloaded {
                tracing::error!(stream = %stream, loader = %loader, records, before_segment = first,
                    "records are deleted that were never loaded, because `retain.size` leaves no room for them");
            }
        }
        self.ledger.note("deleted", &entry).await?;
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

/// A loader that is declared: what it has not passed is kept as long as there is room.
#[derive(Clone)]
pub struct Needs {
    /// Its name.
    pub loader: Arc<str>,
    /// Its streams.
    pub streams: Select,
}

struct Passed {
    needs: Needs,
    at: HashMap<String, Position>,
}

impl Passed {
    /// How far the loader is with a stream that it loads.
    fn of(&self, stream: &str) -> Option<Position> {
        let at = self.at.get(stream).copied().unwrap_or(Position::start_of(1));
        self.needs.streams.takes(stream).then_some(at)
    }
}

/// What a loader will never load.
#[derive(serde::Serialize)]
struct Unloaded {
    loader: Arc<str>,
    records: Option<u64>,
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
