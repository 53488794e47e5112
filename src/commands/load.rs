//! `tapline load`: streams, or files of lines, into a store; goes on where it was.
//!
//! It is the loader loop of the service, in a process of its own: it reads the data folder like everybody else, and keeps
//! its positions and dead letters in a folder of its own, so that it may run beside the service and from a volume that
//! it cannot write.

mod files;
pub(super) mod folder;
mod shown;

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use clap_complete::engine::ArgValueCandidates;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::config;
use crate::context::{Context, SystemClock};
use crate::fs::Disk;
use crate::loaders::{self, Opened};
use crate::pipeline::commit::OWN_DIR;
use crate::pipeline::load::{Loaded, Loader, LoaderEnd, Plan, Select, Supply, dead_stream, loaded_key};
use crate::pipeline::writer::{Ended, Writer};
use crate::record::time_text;
use crate::sink::Position;
use crate::store::Batch;
use crate::units::{Size, Span};

use super::parts::{Held, Parts};
use super::{completions, logging, signals, sources};
use files::Files;
use folder::Folder;

/// The exit code when another process loads under the same name (`EX_TEMPFAIL` of sysexits.h).
const EXIT_HELD: u8 = 75;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline load --to sqlite:live.db                          every stream, from where it was
  tapline load --to redis://localhost --stream bseindex     one stream
  tapline load --to mongodb://localhost/live --from 2026-11-01 --follow
  tapline load --to 'postgres://me:${PGPASSWORD}@db/live'   the single quotes leave the password out of the process list
  tapline load --to es+http://localhost:9200 --dry-run      the first request, and nothing is sent
  tapline load --to sqlite:old.db --id id_str old/*.jsonl.gz   lines that something else has written")]
pub struct Load {
    /// The store's address; `${NAME}` and `${file:/path}` in it are replaced
    #[arg(long, value_name = "URL")]
    to: String,
    /// Only these streams, `*` for any letters; for files, the stream that they become
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completions::of_streams))]
    stream: Vec<String>,
    /// Only what was observed from this day or time on
    #[arg(long, value_name = "DATE", value_parser = moment)]
    from: Option<DateTime<Utc>>,
    /// Only what was observed before this day or time
    #[arg(long, value_name = "DATE", value_parser = moment)]
    to_date: Option<DateTime<Utc>>,
    /// Go on with what is committed while this runs, until told to stop
    #[arg(long)]
    follow: bool,
    /// What this loader is called; its positions are kept under the name. Made of the address by default
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where positions and dead letters are kept; a folder in the data folder by default
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The field of a line that is its id, for files that tapline has not written
    #[arg(long, value_name = "FIELD", requires = "paths")]
    id: Option<String>,
    /// The most records in one batch
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    batch_records: Option<u32>,
    /// About the most bytes in one batch
    #[arg(long, value_name = "SIZE", value_parser = size)]
    batch_size: Option<Size>,
    /// Show the first request, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Files of JSON lines, plain, .gz or .zst, instead of the data folder
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Load {
    /// Carries out the command. The exit code is 1 when the store refuses, or a record could not be stored.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        logging::start(global)?;
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(async {
            let stop = signals::stop_token()?;
            self.load(settings, stop).await
        });
        runtime.shutdown_background();
        code
    }

    async fn load(self, settings: config::Service, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let context = Context::new(Arc::new(SystemClock));
        let to = sources::expand(&self.to).map_err(|why| anyhow::anyhow!("--to: {why}"))?;
        let opened = loaders::open(&to, &context).context("--to")?;
        let supply = self.supply(&settings.data)?;
        if self.dry_run {
            return self.show_first(supply, &opened).await;
        }
        let name = self.name.clone().unwrap_or_else(|| opened.name.clone());
        config::check_name(&name).map_err(|why| anyhow::anyhow!("--name {name}: {why}"))?;
        let state = self.state.clone().unwrap_or_else(|| state_dir(&settings.data, &name));
        let own = config::Service { data: state, loaders: Vec::new(), ..settings };
        let parts = match Parts::start(Arc::new(Disk), own, false, &stop).await {
            Ok(Some(parts)) => parts,
            Ok(None) => return Ok(ExitCode::FAILURE),
            Err(error) if error.is::<Held>() => {
                tracing::error!(
                    "a loader of the name {name} is running already; wait for it, or give this one a --name of its own"
                );
                return Ok(ExitCode::from(EXIT_HELD));
            }
            Err(error) => return Err(error.context("positions cannot be kept; name a folder with --state")),
        };
        let loaded = self.carry(&parts, name, opened, supply, stop).await;
        parts.end().await?;
        loaded
    }

    fn supply(&self, data: &Path) -> anyhow::Result<Box<dyn Shown>> {
        if self.paths.is_empty() {
            anyhow::ensure!(
                data.join(OWN_DIR).is_dir(),
                "{} is no data folder of tapline; name one with --data, or files to load",
                data.display()
            );
            return Ok(Box::new(Folder::new(data, self.follow)?));
        }
        let stream = match &self.stream[..] {
            [] => None,
            [stream] => Some(stream.as_str()),
            _ => anyhow::bail!(
                "files become one stream: name it with one --stream, or leave it out to name streams after the files"
            ),
        };
        Ok(Box::new(Files::new(&self.paths, stream, self.id.as_deref(), self.follow)?))
    }

    fn select(&self) -> Select {
        let patterns: &[&str] = match (self.stream.is_empty(), self.paths.is_empty()) {
            (true, true) => &["*"],
            // Whoever names a file means it.
            (_, false) => &["*", "_*"],
            (false, true) => return Select(self.stream.clone()),
        };
        Select(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    fn plan(&self, name: &str, opened: &Opened) -> Plan {
        let limits = config::BatchKeys {
            records: self.batch_records.map(|records| records as usize),
            size: self.batch_size,
            // Everything is there already: nothing is waited for.
            every: (!self.follow).then_some(Span(std::time::Duration::ZERO)),
        };
        Plan {
            name: name.into(),
            to: opened.shown.clone(),
            streams: self.select(),
            limits: limits.over(opened.kind.limits),
            between: (self.from.map(|at| time_text(&at)), self.to_date.map(|at| time_text(&at))),
            // Who waits at a terminal is told at once; who follows for months is not left behind.
            park: Plan::PARK.filter(|_| self.follow),
        }
    }

    async fn carry(
        &self,
        parts: &Parts,
        name: String,
        opened: Opened,
        supply: Box<dyn Shown>,
        stop: CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let shared = &parts.shared;
        shared.open_own_stream(&dead_stream(&name)).await?;
        let plan = self.plan(&name, &opened);
        let saved = saved(&shared.writer, &name).await?;
        let done = |stream: &str| saved.get(stream).copied().unwrap_or(Position::start_of(1));
        let total = supply.total(&|stream| plan.streams.takes(stream), &done);
        let (writer, context) = (shared.writer.clone(), shared.context.clone());
        let loader = Loader::new(plan, opened.store, supply.into_supply(), writer, context, stop).await?;
        let progress = loader.progress();
        let shown = shown::Progress::start(total, progress.clone());
        let end = loader.run().await?;
        shown.finish().await;
        let done = *progress.borrow();
        let words = shown::words(&done);
        match end {
            LoaderEnd::Finished | LoaderEnd::Stopped if done.dead == 0 => {
                tracing::info!(loader = %name, to = %opened.shown, "{words}");
                Ok(ExitCode::SUCCESS)
            }
            LoaderEnd::Finished | LoaderEnd::Stopped => {
                tracing::warn!(loader = %name, to = %opened.shown, "{words}; the dead ones are kept in {}", parts.root.join(dead_stream(&name)).display());
                Ok(ExitCode::FAILURE)
            }
            LoaderEnd::Parked(error) => {
                let why = anyhow::Error::new(error);
                tracing::error!(loader = %name, to = %opened.shown, "{words}; then the store refused, and somebody must act: {why:#}");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    /// The first request, as it would be sent.
    async fn show_first(&self, mut supply: Box<dyn Shown>, opened: &Opened) -> anyhow::Result<ExitCode> {
        let plan = self.plan("dry-run", opened);
        for (key, committed) in supply.streams()? {
            let (feed, ids) = supply.feed(&key);
            if !plan.streams.takes(&feed.stream) {
                continue;
            }
            let mut lines = supply.lines(&key, Position::start_of(committed.first));
            let limits = plan.limits;
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::new();
                lines.read(committed, limits.bytes.min(1 << 20), &mut bytes).map(|from| from.map(|from| (from, bytes)))
            });
            let Some((from, bytes)) = read.await?? else { continue };
            let batch = Batch::new(Arc::new(feed), from, Bytes::from(bytes), ids);
            let some = batch.pick(&(0..batch.len().min(limits.records)).collect::<Vec<_>>());
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", super::terminal::harmless_lines(&opened.store.preview(&some)))?;
            return Ok(ExitCode::SUCCESS);
        }
        anyhow::bail!("there is nothing to load")
    }
}

/// How far a loader is with each stream.
async fn saved(writer: &Writer, loader: &str) -> Result<HashMap<String, Position>, Ended> {
    let prefix = loaded_key(loader, "");
    let state = writer.state(prefix.clone()).await?;
    let positions = state.iter().filter_map(|(key, value)| {
        let Loaded { at, .. } = serde_json::from_str(value.get()).ok()?;
        Some((key.strip_prefix(&prefix)?.to_owned(), at))
    });
    Ok(positions.collect())
}

/// Where `load` keeps what it knows of a loader.
pub fn state_dir(data: &Path, name: &str) -> PathBuf {
    data.join(OWN_DIR).join("load").join(name)
}

/// A supply that says how much it has.
trait Shown: Supply {
    /// The bytes of lines that are left to load, before compression; `None` where that cannot be said. `takes` says
    /// which streams, `done` how far one is.
    fn total(&self, takes: &dyn Fn(&str) -> bool, done: &dyn Fn(&str) -> Position) -> Option<u64>;

    fn into_supply(self: Box<Self>) -> Box<dyn Supply>;
}

fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// A day, or a time with its zone.
pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_hms_opt(0, 0, 0).expect("invariant: every day begins").and_utc());
    }
    text.parse()
        .map_err(|_| "write a day such as 2026-11-23 (of UTC), or a time such as 2026-11-23T09:15:00+05:30".to_owned())
}

fn size(text: &str) -> Result<Size, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| error.to_string())
}
