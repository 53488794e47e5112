//! The loaders of a running service.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::context::{Context, SystemClock};
use crate::loaders;
use crate::pipeline::commit::OWN_DIR;
use crate::pipeline::load::{Loader, LoaderEnd, Own, Plan, Progress, Redrive, Select, dead_stream};
use crate::pipeline::service::Shared;
use crate::pipeline::upkeep::Needs;
use crate::pipeline::writer::Ended;

use super::parts::Parts;

/// How long a service that runs once waits for stores that take what it has.
const ONCE_MAX: Duration = Duration::from_mins(5);

/// Loaders that run.
#[derive(Default)]
pub struct Loading {
    tasks: JoinSet<Result<LoaderEnd, Ended>>,
    stop: CancellationToken,
    /// Nothing more is committed.
    over: CancellationToken,
    progress: Vec<watch::Receiver<Progress>>,
    /// Where each loader is told to bring its dead letters again.
    redrives: HashMap<Arc<str>, watch::Sender<Option<Redrive>>>,
}

impl Loading {
    /// Starts the service's loaders. What keeps one of them from starting is said, and keeps no other.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn start(shared: &Shared) -> anyhow::Result<Self> {
        let mut loading = Self::default();
        for config in &shared.settings.loaders {
            let (redrive, asked) = watch::channel(None);
            let loader = loader(shared, config, asked, &loading).await?;
            loading.redrives.insert(Arc::clone(loader.name()), redrive);
            loading.progress.push(loader.progress());
            loading.tasks.spawn(loader.run());
        }
        Ok(loading)
    }

    /// Takes up what `tapline redrive` asks of this process.
    ///
    /// # Errors
    /// When a request or the dead letters cannot be read.
    pub async fn take_requests(&self, parts: &Parts) -> anyhow::Result<()> {
        let dir = request_dir(&parts.root);
        for name in parts.fs.list(&dir)? {
            let asked = self.redrives.get(&*name);
            if let Some(redrive) = asked {
                let (writer, loader) = (parts.shared.writer.clone(), name.clone());
                redrive.send_replace(spawn_blocking(move || Redrive::of(&writer, &loader)).await??);
                tracing::info!(loader = %name, "dead letters are brought to the store again, as was asked");
            } else {
                tracing::warn!(loader = %name, "somebody asked to redrive the dead letters of a loader that does not run here");
            }
            // Whoever asked sees by this that it was heard.
            parts.fs.remove(&dir.join(&name))?;
        }
        Ok(())
    }

    /// Nothing more is committed: waits until every loader has brought on what is there, or is stuck.
    pub async fn finish(&mut self) {
        self.over.cancel();
        let all = async {
            for progress in &mut self.progress {
                // The other end goes away with a loader that has finished.
                progress.wait_for(|progress| progress.is_stuck).await.ok();
            }
        };
        if timeout(ONCE_MAX, all).await.is_err() {
            tracing::warn!("the stores do not keep up; what is not loaded yet is loaded by the next run");
        }
    }

    /// Stops them all. What was being sent and is not acknowledged is sent again by the next run.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a defect of tapline: {error}");
            }
        }
    }
}

/// Where `tapline redrive` leaves its requests: a file of the loader's name.
pub fn request_dir(root: &Path) -> PathBuf {
    root.join(OWN_DIR).join("redrive")
}

/// What the service's loaders need to be kept.
///
/// # Errors
/// When an address is none.
pub fn needs(settings: &config::Service) -> anyhow::Result<Vec<Needs>> {
    let streams = settings.loaders.iter().map(|config| Select(config.streams.0.clone()));
    Ok(declared(settings)?.into_iter().zip(streams).map(|((loader, _), streams)| Needs { loader, streams }).collect())
}

/// The name and the address of each loader of the service.
///
/// # Errors
/// When an address is none.
pub fn declared(settings: &config::Service) -> anyhow::Result<Vec<(Arc<str>, String)>> {
    let context = Context::new(Arc::new(SystemClock));
    let named = settings.loaders.iter().map(|config| {
        let name = config.name.clone().map_or_else(|| Ok(loaders::open(&config.to, &context)?.name), anyhow::Ok)?;
        Ok((name.into(), config.to.clone()))
    });
    named.collect()
}

async fn loader(
    shared: &Shared,
    config: &config::Load,
    redrive: watch::Receiver<Option<Redrive>>,
    loading: &Loading,
) -> anyhow::Result<Loader> {
    let opened = loaders::open(&config.to, &shared.context)?;
    let name: Arc<str> = config.name.clone().unwrap_or(opened.name).into();
    shared.open_own_stream(&dead_stream(&name)).await?;
    let supply = Own::new(shared.writer.clone(), shared.folder_id().await?, redrive, loading.over.clone());
    let plan = Plan {
        name,
        to: opened.shown,
        streams: Select(config.streams.0.clone()),
        limits: config.batch.over(opened.kind.limits),
        between: (None, None),
        park: Plan::PARK,
    };
    let (writer, context) = (shared.writer.clone(), shared.context.clone());
    Ok(Loader::new(plan, opened.store, Box::new(supply), writer, context, loading.stop.clone()).await?)
}
