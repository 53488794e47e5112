//! `tapline redrive`: brings a loader's dead letters to its store again, once what was wrong has been mended.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap_complete::engine::ArgValueCandidates;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::config;
use crate::fs::{Disk, Fs as _};
use crate::loaders;
use crate::pipeline::load::{
    self, Health, Loaded, Loader, LoaderEnd, Own, Plan, Select, dead_stream, lane_key, loaded_key, loader_key,
};
use crate::sink::Position;

use super::load::folder::origin_of;
use super::load::state_dir;
use super::loading::request_dir;
use super::parts::{Held, Parts};
use super::{completions, logging, signals, sources};
use crate::report::committed::Committed;

/// How often it is looked whether the service has done what it was asked.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Dead letters are records that a store would never take; `tapline tail _dead/NAME --json` shows them, each with its \
reason. Records keep their ids, so one that is there already is not stored twice. What is refused again becomes a new dead letter.

Examples:
  tapline redrive mongodb-localhost-live
  tapline redrive sqlite-live-db --to sqlite:live.db     of a tapline load, whose address is not kept"
)]
pub struct Redrive {
    /// The loader's name, as `tapline loaders` shows it
    #[arg(value_name = "LOADER", add = ArgValueCandidates::new(completions::of_loaders))]
    name: String,
    /// The store's address, for a loader that is not declared in the service's file
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Where positions and dead letters of a `tapline load` are kept, when that is not in the data folder
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Redrive {
    /// Carries out the command. The exit code is 1 when not all of them could be stored.
    ///
    /// # Errors
    /// When there is no such loader, or the data cannot be read.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        logging::start(global)?;
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(async {
            let stop = signals::stop_token()?;
            self.redrive(settings, stop).await
        });
        runtime.shutdown_background();
        code
    }

    async fn redrive(self, settings: config::Service, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let (root, to) = self.find(&settings)?;
        // The store knows the records by the folder that they come from.
        let origin = origin_of(Committed::look(&settings.data)?.state(), &settings.data);
        let own = config::Service { data: root.clone(), ..settings };
        match Parts::start(Arc::new(Disk), own, false, &stop).await {
            Ok(Some(parts)) => {
                let code = self.here(&parts, &to, &origin, stop).await;
                parts.end().await?;
                code
            }
            Ok(None) => Ok(ExitCode::FAILURE),
            Err(error) if error.is::<Held>() => self.there(&root, stop).await,
            Err(error) => Err(error),
        }
    }

    /// The folder that has the loader's dead letters, and the store's address.
    fn find(&self, settings: &config::Service) -> anyhow::Result<(PathBuf, String)> {
        let declared = super::loading::declared(settings)?;
        let address =
            self.to.as_deref().map(sources::expand).transpose().map_err(|why| anyhow::anyhow!("--to: {why}"))?;
        if let Some((_, to)) = declared.iter().find(|(name, _)| **name == *self.name) {
            return Ok((settings.data.clone(), address.unwrap_or_else(|| to.clone())));
        }
        let state = self.state.clone().unwrap_or_else(|| state_dir(&settings.data, &self.name));
        if state.is_dir() {
            let to = address.ok_or_else(|| {
                anyhow::anyhow!("{} is a loader of `tapline load`, which keeps no address: say --to URL", self.name)
            })?;
            return Ok((state, to));
        }
        let known: Vec<&str> = declared.iter().map(|(name, _)| &**name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        anyhow::bail!("there is no loader {} (declared: {known}; `tapline loaders` shows all)", self.name)
    }

    /// No process has the folder: this one does it.
    async fn here(
        &self,
        parts: &Parts,
        to: &str,
        origin: &Arc<str>,
        stop: CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let shared = &parts.shared;
        let opened = loaders::open(to, &shared.context)?;
        shared.open_own_stream(&dead_stream(&self.name)).await?;
        let (writer, name) = (shared.writer.clone(), self.name.clone());
        let redrive = tokio::task::spawn_blocking(move || load::Redrive::of(&writer, &name)).await??;
        let Some(redrive) = redrive else { return Ok(say_none(&self.name)) };
        let supply = Own::only_redrive(shared.writer.clone(), Arc::clone(origin), redrive);
        let plan = Plan {
            name: self.name.as_str().into(),
            to: opened.shown,
            streams: self.streams(parts).await?,
            limits: config::BatchKeys::default().over(opened.kind.limits),
            between: (None, None),
            park: None,
        };
        let (writer, context) = (shared.writer.clone(), shared.context.clone());
        let loader = Loader::new(plan, opened.store, Box::new(supply), writer, context, stop).await?;
        let progress = loader.progress();
        let end = loader.run().await?;
        let done = *progress.borrow();
        Ok(say_done(&self.name, done.records, done.dead, end))
    }

    /// The streams that the loader loads, so that it is shown as before.
    async fn streams(&self, parts: &Parts) -> anyhow::Result<Select> {
        let key = loader_key(&self.name);
        let state = parts.shared.writer.state(key.clone()).await?;
        let health: Option<Health> = state.get(&key).and_then(|saved| serde_json::from_str(saved.get()).ok());
        Ok(Select(health.map_or_else(|| vec!["*".to_owned(), "_*".to_owned()], |health| health.streams)))
    }

    /// The service has the folder: it is asked, and waited for.
    async fn there(&self, root: &Path, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let before = Committed::look(root)?;
        let Some(redrive) = letters(&before, &self.name)? else { return Ok(say_none(&self.name)) };
        let done_before = done(&before, &self.name, &redrive);
        let request = request_dir(root).join(&self.name);
        Disk.create_dir(&request_dir(root))?;
        match Disk.create(&request) {
            // Asked twice is asked.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        tracing::info!(loader = %self.name, "the service is asked to do it");
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    tracing::info!(loader = %self.name, "the service goes on with it; see tapline loaders");
                    return Ok(ExitCode::SUCCESS);
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = Committed::look(root)?;
            if now.service.is_none() {
                anyhow::bail!("the service has ended; ask again");
            }
            if is_passed(&now, &self.name, &redrive) {
                let done = done(&now, &self.name, &redrive);
                let (records, dead) = (done.0 - done_before.0, done.1 - done_before.1);
                return Ok(say_done(&self.name, records, dead, LoaderEnd::Finished));
            }
        }
    }
}

fn say_none(name: &str) -> ExitCode {
    tracing::info!(loader = %name, "there are no dead letters");
    ExitCode::SUCCESS
}

fn say_done(name: &str, records: u64, dead: u64, end: LoaderEnd) -> ExitCode {
    match end {
        LoaderEnd::Finished | LoaderEnd::Stopped if dead == 0 => {
            tracing::info!(loader = %name, records, "dead letters that are in the store now");
            ExitCode::SUCCESS
        }
        LoaderEnd::Finished | LoaderEnd::Stopped => {
            tracing::warn!(loader = %name, records, dead, "some are refused again; tapline tail _dead/{name} --json shows why");
            ExitCode::FAILURE
        }
        LoaderEnd::Parked(error) => {
            tracing::error!(loader = %name, records, dead, "the store refuses, and somebody must act: {:#}", anyhow::Error::new(error));
            ExitCode::FAILURE
        }
    }
}

/// The dead letters that there are now, read from another process.
fn letters(committed: &Committed, name: &str) -> anyhow::Result<Option<load::Redrive>> {
    let dead: Arc<str> = dead_stream(name).into();
    let Some(saved) = committed.saved(&dead)? else { return Ok(None) };
    let reader = committed.reader(&dead, Position::start_of(saved.first));
    Ok(Some(load::Redrive::read(dead, (&saved).into(), Box::new(reader))?))
}

fn loaded(committed: &Committed, name: &str, redrive: &load::Redrive, stream: &str) -> Option<Loaded> {
    let key = loaded_key(name, &lane_key(&redrive.dead, stream));
    serde_json::from_str(committed.state().get(&key)?.get()).ok()
}

/// Whether every letter has been brought again.
fn is_passed(committed: &Committed, name: &str, redrive: &load::Redrive) -> bool {
    let last = |stream: &Arc<str>| {
        loaded(committed, name, redrive, stream).is_some_and(|loaded| loaded.at >= redrive.committed.end)
    };
    redrive.streams.iter().all(last)
}

/// How many letters were stored, and how many refused again, ever.
fn done(committed: &Committed, name: &str, redrive: &load::Redrive) -> (u64, u64) {
    let all = redrive.streams.iter().filter_map(|stream| loaded(committed, name, redrive, stream));
    all.fold((0, 0), |(records, dead), loaded| (records + loaded.records, dead + loaded.dead))
}
