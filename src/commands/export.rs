//! `tapline export`: closed segments as files for researchers, with a manifest.
//!
//! Each segment becomes one file for each day that it has records of, and always the same: an export that was cut off is
//! made good by running it again, and one that is a month old by running it again next month. Only what is closed is
//! taken, so that no file is ever written a second time with more in it.

mod csv;
mod days;
mod lines;
mod manifest;
mod parquet;
mod part;
mod readme;
mod shown;
mod verify;
mod walk;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap_complete::engine::ArgValueCandidates;
use serde::{Deserialize, Serialize};

use crate::cli::Global;
use crate::fs::Lock;
use crate::pipeline::commit::OWN_DIR;
use crate::pipeline::load::Select;
use crate::record::time_text;

use super::load::{folder::origin_of, moment};
use super::terminal::harmless;
use super::{completions, logging, sources};
use crate::report::committed::Committed;
use crate::report::lengths::many;
use manifest::{Manifest, SUMS, Terms};
use walk::Walk;

/// What is exported when no stream is named: everything, and the ledger, which says what is not in it.
const DEFAULT_STREAMS: [&str; 2] = ["*", "_ledger"];

/// The lock that two exports into one folder meet at.
const LOCK: &str = ".lock";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only closed segments are exported: what is younger than `rotate.every` (1h by default) comes with the next export.
Run it again to go on: what is there already stays as it is, byte for byte.

Examples:
  tapline export --to parquet                               every stream and the ledger, into export/
  tapline export --to csv --stream bseindex --out bse-csv
  tapline export --to jsonl.zst --from 2026-11-01 --to-date 2026-12-01 --out november
  tapline export --verify export                            whether every file is still what it was"
)]
pub struct Export {
    /// The form of the files
    #[arg(long = "to", value_enum, value_name = "FORMAT", required_unless_present = "verify")]
    format: Option<Format>,
    /// Only these streams, `*` for any letters; by default all, and the ledger
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completions::of_streams))]
    stream: Vec<String>,
    /// Only what was observed from this day or time on
    #[arg(long, value_name = "DATE", value_parser = moment)]
    from: Option<DateTime<Utc>>,
    /// Only what was observed before this day or time
    #[arg(long, value_name = "DATE", value_parser = moment)]
    to_date: Option<DateTime<Utc>>,
    /// The folder that it is written to
    #[arg(long, value_name = "DIR", default_value = "export")]
    out: PathBuf,
    /// Look whether the export in this folder is what its manifest says, and do nothing else
    #[arg(long, value_name = "DIR", conflicts_with_all = ["format", "stream", "from", "to_date"])]
    verify: Option<PathBuf>,
}

/// The form of an export's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(super) enum Format {
    /// Typed columns, compressed: what most analysis reads best
    #[serde(rename = "parquet")]
    Parquet,
    /// Text with commas, for everything
    #[serde(rename = "csv")]
    Csv,
    /// The lines as they are, under Zstandard
    #[value(name = "jsonl.zst")]
    #[serde(rename = "jsonl.zst")]
    Lines,
}

impl Format {
    /// How its files' names end.
    fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Lines => "jsonl.zst",
        }
    }
}

impl Export {
    /// Carries out the command. The exit code is 1 when a stream could not be exported as a whole, or a file of an
    /// export is not what it was.
    ///
    /// # Errors
    /// When it cannot start, or the export cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        logging::start(global)?;
        if let Some(root) = &self.verify {
            return say_verdict(root);
        }
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        anyhow::ensure!(
            settings.data.join(OWN_DIR).is_dir(),
            "{} is no data folder of tapline; name one with --data",
            settings.data.display()
        );
        let committed = Committed::look(&settings.data)?;
        let streams = self.streams(&committed)?;
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        let _lock = Lock::take(&self.out.join(LOCK)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                anyhow::anyhow!("another export into {} is running; wait for it", self.out.display())
            }
            _ => anyhow::Error::new(error).context(format!("cannot write into {}", self.out.display())),
        })?;
        let mut manifest = Manifest::open(&self.out, self.terms(&committed))?;
        // Whatever ends this one: the next finds by it what the folder is.
        manifest.write(&self.out)?;
        let is_whole = Walk::new(&committed, &self.out, &mut manifest).all(&streams)?;
        finish(&self.out, &mut manifest)?;
        let [records, parts] =
            [manifest.streams.values().map(|stream| stream.records).sum(), manifest.parts.len() as u64];
        tracing::info!(out = %self.out.display(), "{} records are in {} files; README.md there says how to read them", many(records), many(parts));
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn streams(&self, committed: &Committed) -> anyhow::Result<Vec<String>> {
        let patterns = match &self.stream[..] {
            [] => DEFAULT_STREAMS.map(str::to_owned).to_vec(),
            named => named.to_vec(),
        };
        let select = Select(patterns);
        let known: Vec<&str> = committed.names("stream/").collect();
        let found: Vec<String> =
            known.iter().filter(|name| select.takes(name)).map(|name| (*name).to_owned()).collect();
        anyhow::ensure!(
            self.stream.is_empty() || !found.is_empty(),
            "no stream is called {}; there are: {}",
            self.stream.join(", "),
            if known.is_empty() { "none yet".to_owned() } else { known.join(", ") }
        );
        Ok(found)
    }

    fn terms(&self, committed: &Committed) -> Terms {
        Terms {
            format: self.format.expect("invariant: the command line asks for it"),
            folder: origin_of(committed.state(), committed.root()).to_string(),
            from: self.from.as_ref().map(time_text),
            to_date: self.to_date.as_ref().map(time_text),
        }
    }
}

/// The manifest, the page and the hashes of everything, the hashes last.
fn finish(root: &Path, manifest: &mut Manifest) -> anyhow::Result<()> {
    manifest.write(root)?;
    manifest::put(root, readme::README, &readme::page(manifest))?;
    let mut sums = Vec::new();
    for name in [manifest::MANIFEST, readme::README] {
        let sum = part::sum(&root.join(name)).with_context(|| format!("cannot read {name}"))?;
        sums.push(format!("{}  {name}\n", sum.sha256));
    }
    sums.extend(manifest.parts.iter().map(|part| format!("{}  {}\n", part.sha256, part.path)));
    manifest::put(root, SUMS, &sums.concat())
}

fn say_verdict(root: &Path) -> anyhow::Result<ExitCode> {
    let verdict = verify::verify(root)?;
    let mut out = std::io::stdout().lock();
    for wrong in &verdict.wrong {
        writeln!(out, "{}", harmless(wrong))?;
    }
    let (right, wrong) = (many(verdict.right as u64), many(verdict.wrong.len() as u64));
    writeln!(out, "{right} files are as they were, {wrong} are not")?;
    Ok(if verdict.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
