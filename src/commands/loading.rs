//! The loaders of a running service.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::context::{Context, SystemClock};
use crate::loaders;
use crate::pipeline::load::{Loader, LoaderEnd, Own, Plan, Progress, Select, dead_stream};
use crate::pipeline::service::Shared;
use crate::pipeline::upkeep::Needs;
use crate::pipeline::writer::Ended;

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
}

impl Loading {
    /// Starts the service's loaders. What keeps one of them from starting is said, and keeps no other.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn start(shared: &Shared) -> anyhow::Result<Self> {
        let mut loading = Self::default();
        for config in &shared.settings.loaders {
            let loader = loader(shared, config, &loading).await?;
            loading.progress.push(loader.progress());
            loading.tasks.spawn(loader.run());
        }
        Ok(loading)
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

/// What the service's loaders need to be kept.
///
/// # Errors
/// When an address is none.
pub fn needs(settings: &config::Service) -> anyhow::Result<Vec<Needs>> {
    let context = Context::new(Arc::new(SystemClock));
    let needs = settings.loaders.iter().map(|config| {
        let name = config.name.clone().map_or_else(|| Ok(loaders::open(&config.to, &context)?.name), anyhow::Ok)?;
        Ok(Needs { loader: name.into(), streams: Select(config.streams.0.clone()) })
    });
    needs.collect()
}

async fn loader(shared: &Shared, config: &config::Load, loading: &Loading) -> anyhow::Result<Loader> {
    let opened = loaders::open(&config.to, &shared.context)?;
    let name: Arc<str> = config.name.clone().unwrap_or(opened.name).into();
    shared.open_own_stream(&dead_stream(&name)).await?;
    let supply = Box::new(Own::new(shared.writer.clone(), shared.folder_id().await?, loading.over.clone()));
    let plan = Plan {
        name,
        to: opened.shown,
        streams: Select(config.streams.0.clone()),
        limits: config.batch.over(opened.kind.limits),
        between: (None, None),
        park: Plan::PARK,
    };
    Ok(Loader::new(plan, opened.store, supply, shared.writer.clone(), shared.context.clone(), loading.stop.clone())
        .await?)
}
