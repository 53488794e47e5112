//! `tapline run`: the service.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCandidates;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::adapters::exec;
use crate::cli::Global;
use crate::config;
use crate::context::random_key;
use crate::fetch::tape::Tapes;
use crate::fs::{Disk, Fs};
use crate::pipeline::commit::OWN_DIR;
use crate::pipeline::folder::{Folder, Look};
use crate::pipeline::key::read_or_make;
use crate::pipeline::pulse::Pulse;
use crate::pipeline::service::Service;
use crate::pipeline::writer::Status;
use crate::seal::Seals;

use super::alerting::Alerts;
use super::loading::Loading;
use super::notify::{Notify, READY, STOPPING, WATCHDOG};
use super::parts::{Held, LAST_LINES_MAX, Parts};
use super::renderings::Renderings;
use super::serving::Serving;
use super::{completions, loading, logging, signals, sources};

/// How often the folder of sources is looked at; a change takes effect within two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Closing the books takes two commits. What takes longer is not waited for: the process ends within two seconds.
const STOP_MAX: Duration = Duration::from_millis(1500);

const _: () = assert!(STOP_MAX.as_millis() + LAST_LINES_MAX.as_millis() < 2000, "the process ends within two seconds");
const _: () = assert!(LOOK_EVERY.as_millis() < 2000, "a change takes effect within two seconds");

/// The exit code when another process holds the data folder (`EX_TEMPFAIL` of sysexits.h).
const EXIT_HELD: u8 = 75;

/// The exit code when the disk fails (`EX_IOERR` of sysexits.h).
const EXIT_DISK: u8 = 74;

/// The command's arguments.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "Examples:
  tapline run                                   every source in sources/, until told to stop
  tapline run --source bseindex --once          one tick of one source
  tapline run --stdout | jq .data.price         committed lines as they come
  tail -F data/bseindex.out                     the same from another terminal
  tapline run --record pages                    keeps every answer as well, for `tapline replay pages`")]
pub struct Run {
    /// One tick of each source, then end; exit code 1 if a file is broken
    #[arg(long)]
    pub once: bool,
    /// Print committed lines as they come
    #[arg(long)]
    pub stdout: bool,
    /// Only this source; may be given several times
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completions::of_sources))]
    pub source: Vec<String>,
    /// Keep every answer of a site, as it came, in WARC files in this folder
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// How long sources get to close their books, on a disk or a machine that is too slow for the default
    #[arg(long, hide = true, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub stop_within: Option<Duration>,
}

impl Run {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the service cannot start.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // First of all: in a container, process 1 is sent no signal that it has not asked for.
        let stop = runtime.block_on(async { signals::stop_token() })?;
        logging::start(global)?;
        sources::ensure_named(&global.sources, &self.source)?;
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let code = runtime.block_on(self.serve(Arc::new(Disk), global, settings, stop));
        // A page that is still being parsed must not keep the process.
        runtime.shutdown_background();
        code
    }

    /// Runs the service over a file system until `stop`, or until the sources have ended.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn serve(
        self,
        fs: Arc<dyn Fs>,
        global: &Global,
        settings: config::Service,
        stop: CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let mut parts = match Parts::start(fs, settings, self.once, &stop).await {
            Ok(Some(parts)) => parts,
            // Told to end while there was no room to begin: nothing was taken.
            Ok(None) => return Ok(if self.once { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
            Err(error) if error.is::<Held>() => {
                tracing::error!("{error:#}");
                return Ok(ExitCode::from(EXIT_HELD));
            }
            Err(error) => return Err(error),
        };
        let attended = self.attend(&mut parts, global, stop).await;
        let ended = parts.end().await;
        match (attended, ended) {
            (_, Err(error)) => {
                tracing::error!("{error:#}");
                Ok(ExitCode::from(EXIT_DISK))
            }
            (Err(error), Ok(())) => Err(error),
            (Ok(in_order), Ok(())) => Ok(if in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        }
    }

    /// The service's life between start and stop. With `--once`, says whether every file was in order.
    async fn attend(&self, parts: &mut Parts, global: &Global, stop: CancellationToken) -> anyhow::Result<bool> {
        if let Some(folder) = &self.record {
            parts.shared.context.shared::<Tapes>().record(folder.clone());
        }
        let (fs, own) = (Arc::clone(&parts.fs), parts.root.join(OWN_DIR));
        parts.shared.context.shared::<Seals>().set_source(move || read_or_make(&*fs, &own, random_key));
        // Also for sources that are there no more. Who starts a program waits for it.
        let context = parts.shared.context.clone();
        tokio::spawn(async move { exec::sweep(&context).await });
        let mut service = Service::new(parts.shared.clone()).await?;
        let mut renderings = Renderings::start(&parts.shared.writer)?;
        let mut folder = Folder::new(&global.sources, self.source.clone(), sources::loader());
        let notify = Notify::new(sources::environment("NOTIFY_SOCKET").as_deref()).context("NOTIFY_SOCKET")?;
        let mut pulse = Pulse::new(parts.shared.writer.clone(), parts.shared.context.clone());
        let mut status = parts.shared.writer.status();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_order = true;
        let mut is_first = true;
        let serving = Serving::start(parts, parts.shared.context.now())?;
        let mut alerts = Alerts::new();
        let mut loading: Option<Loading> = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = status.wait_for(|status| *status == Status::Ended) => break,
                supervised = service.supervise() => supervised?,
                _ = looks.tick(), if is_first || !self.once => {
                    // A full disk is waited for; to be started again would not help.
                    if pulse.beat() || *parts.shared.writer.status().borrow() == Status::Full {
                        notify.tell(WATCHDOG);
                    }
                    let (looked_at, look) = look(folder).await?;
                    folder = looked_at;
                    if let Some(look) = look {
                        serving.set_files(folder.files());
                        alerts.set_files(folder.files());
                        in_order &= look.wrong.is_empty();
                        say(&look, &global.sources);
                        service.apply(&look.wanted).await?;
                        renderings.set(parts, &look.wanted).await?;
                    }
                    if let Some(loading) = &loading {
                        loading.take_requests(parts).await?;
                    }
                    if std::mem::take(&mut is_first) {
                        service.take_up_rest().await?;
                        parts.attend_data(self.stdout, loading::needs(&parts.shared.settings)?, &stop)?;
                        loading = Some(Loading::start(&parts.shared).await?);
                        alerts.start(parts, &global.sources).await?;
                        serving.set_started();
                        notify.tell(READY);
                    }
                }
            }
            if self.once && service.is_idle() {
                break;
            }
        }
        notify.tell(STOPPING);
        let loading = loading.unwrap_or_default();
        let was_told = stop.is_cancelled() || self.once;
        let rest = self.stop(service, loading, parts, &stop);
        let ((), (), stopped) = tokio::join!(serving.stop(), alerts.stop(was_told), rest);
        stopped?;
        Ok(in_order || !self.once)
    }

    /// Sources first, so that what they bring last may still be loaded by a service that runs once.
    async fn stop(
        &self,
        mut service: Service,
        mut loading: Loading,
        parts: &Parts,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + self.stop_within.unwrap_or(STOP_MAX);
        let stop_sources = timeout_at(until, service.stop_all());
        if self.once && !stop.is_cancelled() {
            stop_sources.await.map_err(|_| anyhow::anyhow!("the sources did not stop in time"))??;
            timeout_at(until, parts.shared.context.ended()).await.ok();
            parts.shared.writer.flush().await?;
            tokio::select! {
                () = stop.cancelled() => {}
                () = loading.finish() => {}
            }
            loading.stop().await;
            return Ok(());
        }
        // What takes longer ends with the process, and the next start recovers.
        let (stopped, ()) = tokio::join!(stop_sources, loading.stop());
        stopped.map_err(|_| anyhow::anyhow!("the sources did not stop in time"))??;
        timeout_at(until, parts.shared.context.ended()).await.ok();
        Ok(())
    }
}

/// One look at the folder, on a thread that may wait for the file system.
async fn look(mut folder: Folder) -> anyhow::Result<(Folder, Option<Look>)> {
    let looked = tokio::task::spawn_blocking(move || {
        let look = folder.look();
        (folder, look)
    });
    Ok(looked.await?)
}

fn say(look: &Look, dir: &std::path::Path) {
    for wrong in &look.wrong {
        tracing::error!("{wrong}");
    }
    if look.wanted.is_empty() {
        tracing::warn!(sources = %dir.display(), "no source to run; put a YAML file there, it is noticed within two seconds");
    } else {
        tracing::info!(sources = look.wanted.len(), "running");
    }
}
