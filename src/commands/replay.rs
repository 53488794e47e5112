//! `tapline replay`: the records of answers that were kept, made again by the sources' files as they are now.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::Global;
use crate::config::SourceConfig;
use crate::context::{Clock, Context};
use crate::fetch::tape::{Recorded, Tapes, recorded};
use crate::normalise::Normaliser;
use crate::source::{Batch, Outcome, SourceError};

use super::{completions, logging, sources};

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The records are the same, but for when they were observed: that is when the answer was kept. A file that was \
edited since makes other records of the same pages, which is what this is for.\n
Examples:
  tapline replay pages                          every source of which there is a recording
  tapline replay pages bseindex > again.jsonl   one source"
)]
pub struct Replay {
    /// The folder that `tapline run --record` has written
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only these sources
    #[arg(value_name = "SOURCE", add = ArgValueCandidates::new(completions::of_sources))]
    source: Vec<String>,
}

impl Replay {
    /// Carries out the command. The exit code is 1 when a tick did not come to a good outcome.
    ///
    /// # Errors
    /// When there is no recording, a file is broken, or standard output cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        logging::start(global)?;
        sources::ensure_named(&global.sources, &self.source)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut out = BufWriter::new(io::stdout().lock());
        let (mut is_good, mut count) = (true, 0);
        for name in self.names()? {
            let config = match sources::load_source(&global.sources.join(format!("{name}.yaml"))) {
                Ok(config) => config,
                Err(wrong) => {
                    sources::say(&wrong);
                    is_good = false;
                    continue;
                }
            };
            count += 1;
            is_good &= runtime.block_on(self.replay(&config, &mut out))?;
        }
        out.flush()?;
        anyhow::ensure!(count > 0 || !is_good, "there is no recording in {}", self.folder.display());
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The sources of which there is a recording, or those that are asked for.
    fn names(&self) -> anyhow::Result<Vec<String>> {
        if !self.source.is_empty() {
            return Ok(self.source.clone());
        }
        let found = std::fs::read_dir(&self.folder);
        let found = found.map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", self.folder.display()))?;
        let folders = found.flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Writes the records of one source, and says what came of its ticks. Whether all were good.
    async fn replay(&self, config: &SourceConfig, out: &mut impl io::Write) -> anyhow::Result<bool> {
        let ticks = recorded(&self.folder, &config.name)?;
        let clock = Arc::new(Then::default());
        let context = Context::new(Arc::clone(&clock) as Arc<dyn Clock>);
        context.shared::<Tapes>().play(self.folder.clone());
        let mut source = config.open(&context)?;
        source.connect(None).await?;
        let normaliser = Normaliser::new(Arc::clone(&config.name));
        let (mut records, mut bad) = (0, 0);
        let total = ticks.len();
        for Recorded { slot, date } in ticks {
            clock.set(date);
            source.slot(slot);
            match source.next().await {
                Ok(mut batch) => {
                    if let Some(transform) = &config.transform {
                        transform.apply(&mut batch).await;
                    }
                    bad += usize::from(!batch.outcome().is_good());
                    say_rejects(config, slot, &batch);
                    for (ordinal, item) in batch.items.into_iter().enumerate() {
                        out.write_all(normaliser.record(item, slot, ordinal, date).to_line().as_bytes())?;
                        records += 1;
                    }
                }
                Err(error) => {
                    bad += 1;
                    say_error(config, slot, error);
                }
            }
        }
        tracing::info!(source.name = %config.name, ticks = total, records, bad, "replayed");
        Ok(bad == 0)
    }
}

fn say_rejects(config: &SourceConfig, slot: DateTime<Utc>, batch: &Batch) {
    for reject in &batch.rejects {
        let (field, outcome) = (reject.field.as_deref().unwrap_or_default(), reject.outcome.as_str());
        tracing::warn!(source.name = %config.name, %slot, field, outcome, "{}", reject.reason);
    }
}

fn say_error(config: &SourceConfig, slot: DateTime<Utc>, error: SourceError) {
    let outcome = Outcome::Error.as_str();
    tracing::warn!(source.name = %config.name, %slot, outcome, "{:#}", anyhow::Error::new(error));
}

/// The time at which an answer came.
#[derive(Default)]
struct Then(Mutex<DateTime<Utc>>);

impl Then {
    fn set(&self, at: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Clock for Then {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
