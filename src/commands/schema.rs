//! `tapline schema`: the JSON Schemas of the YAML files, for editors.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use crate::adapters::ADAPTERS;
use crate::cli::Global;
use crate::config::schema;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline schema > source.schema.json       for the files in sources/
  tapline schema service                    for config/tapline.yaml
  tapline schema --write docs/schema        both, as files

An editor with a YAML language server checks and completes a file whose first line names its schema:
  # yaml-language-server: $schema=../docs/schema/source.schema.json")]
pub struct Schema {
    /// Which file the schema is for
    #[arg(value_enum, default_value = "source")]
    of: Of,
    /// Write both into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Which file a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// A file in the folder of sources
    Source,
    /// The service's file
    Service,
}

impl Schema {
    /// Carries out the command.
    ///
    /// # Errors
    /// When a file or standard output cannot be written.
    pub fn run(self, _global: &Global) -> anyhow::Result<ExitCode> {
        if let Some(dir) = self.write {
            for (name, schema) in files() {
                let path = dir.join(name);
                std::fs::write(&path, schema).with_context(|| format!("cannot write {}", path.display()))?;
            }
        } else {
            let schema = if self.of == Of::Source { schema::of_sources(ADAPTERS) } else { schema::of_service() };
            std::io::stdout().lock().write_all(pretty(&schema).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Both schemas as the files that are shipped, by name.
pub fn files() -> [(&'static str, String); 2] {
    [
        ("source.schema.json", pretty(&schema::of_sources(ADAPTERS))),
        ("tapline.schema.json", pretty(&schema::of_service())),
    ]
}

fn pretty(schema: &Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).expect("invariant: a value always has a JSON form");
    text.push('\n');
    text
}
