//! `tapline loaders`: how far each store is, and how it does.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde_json::json;

use crate::cli::Global;
use crate::loaders::STORES;
use crate::pipeline::commit::OWN_DIR;

use super::sources;
use super::terminal::harmless;
use crate::report::committed::Committed;
use crate::report::loaders;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 1 when a loader is parked, or does not run though the service does.

Examples:
  tapline loaders
  tapline loaders --json | jq 'select(.lag_records > 0)'
  tapline loaders --stores                which stores there are, and their addresses")]
pub struct Loaders {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// The stores that this program can load into
    #[arg(long)]
    stores: bool,
}

impl Loaders {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout().lock();
        if self.stores {
            write_stores(&mut out, self.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let committed = Committed::look(&settings.data)?;
        let mut found = loaders::of_service(&committed, u64::MAX)?;
        found.extend(loaders::of_loads(&committed, &settings.data.join(OWN_DIR).join("load"))?);
        for loader in &found {
            if self.json {
                let line = loader.json(committed.now).to_string();
                writeln!(out, "{}", if out.is_terminal() { harmless(&line) } else { line.into() })?;
            } else {
                for line in loader.words(committed.now) {
                    writeln!(out, "{}", harmless(&line))?;
                }
            }
        }
        if found.is_empty() && !self.json {
            writeln!(
                out,
                "no loaders yet; declare them under `loaders:` in {}, or run tapline load",
                global.config.display()
            )?;
        }
        let is_well = found.iter().all(|loader| loader.is_well);
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn write_stores(out: &mut impl io::Write, as_json: bool) -> io::Result<()> {
    for kind in STORES {
        if as_json {
            let options =
                kind.options.iter().map(|(name, about)| (*name, *about)).collect::<std::collections::BTreeMap<_, _>>();
            let store = json!({ "store": kind.name, "schemes": kind.schemes, "about": kind.about, "once": kind.once, "example": kind.example, "options": options });
            writeln!(out, "{store}")?;
        } else {
            writeln!(out, "{:<14}  {}\n{:16}{}", kind.name, kind.about, "", kind.example)?;
        }
    }
    Ok(())
}
