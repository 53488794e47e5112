//! `tapline doctor`: what of the machine, the data and the network would make trouble, and what to do about it.
//!
//! Each check is a file of its own and one line of `CHECKS`. A check looks at the `Case` and says what it found in
//! words; it changes nothing that stays, takes no lock, and may run beside the service.

mod abilities;
mod case;
mod certificate;
mod clock;
mod disk;
mod endpoint;
mod files;
mod finding;
mod folder;
mod limits;
mod loaders;
mod memory;
mod network;
mod page;
mod permissions;
mod probe;
mod scratch;
mod syncs;
mod versions;
mod zones;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::cli::Global;
use crate::secrets;

use super::terminal::harmless;
use case::Case;
use finding::{Finding, Level};

/// A check.
struct Check {
    /// Its name, in one word.
    name: &'static str,
    /// What it looks at.
    about: &'static str,
    run: Run,
}

/// How a check runs.
enum Run {
    /// On a thread that may wait for the disk.
    Here(fn(&Case) -> Vec<Finding>),
    /// Over the network, beside the others; left out with `--offline`.
    Network(fn(&Case) -> BoxFuture<'_, Vec<Finding>>),
}

/// Every check, in the order in which they are said.
const CHECKS: &[Check] = &[
    Check { name: "versions", about: "this program", run: Run::Here(versions::check) },
    Check { name: "files", about: "the service's file and the sources", run: Run::Here(files::check) },
    Check { name: "permissions", about: "who may read and write what", run: Run::Here(permissions::check) },
    Check { name: "clock", about: "whether the time is right", run: Run::Here(clock::check) },
    Check { name: "zones", about: "data of time zones", run: Run::Here(zones::check) },
    Check { name: "disk", about: "file system and free space", run: Run::Here(disk::check) },
    Check { name: "abilities", about: "what the file system can do", run: Run::Here(abilities::check) },
    Check { name: "syncs", about: "whether the disk keeps its word", run: Run::Here(syncs::check) },
    Check { name: "data", about: "the data folder", run: Run::Here(folder::check) },
    Check { name: "limits", about: "files, ports, sizes", run: Run::Here(limits::check) },
    Check { name: "memory", about: "memory, processors, container", run: Run::Here(memory::check) },
    Check { name: "page", about: "the live page", run: Run::Here(page::check) },
    Check { name: "sources", about: "where sources connect to", run: Run::Network(network::check) },
    Check { name: "loaders", about: "stores", run: Run::Network(loaders::check) },
];

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every finding is ok, warn or bad, and says what to do. The exit code is 1 when one is bad. It may run beside the
service, and changes nothing: what it tries on the disk is in a folder that it removes again, and of a source's host it asks
for the head of /robots.txt, no page. Run it as the user that the service runs as.

Examples:
  tapline doctor
  tapline doctor --offline                             without the network
  tapline doctor --only disk,syncs                     some of it
  tapline doctor --json | jq 'select(.level != \"ok\")'"
)]
pub struct Doctor {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Leave out what goes over the network
    #[arg(long)]
    offline: bool,
    /// Only these checks
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
}

fn names() -> clap::builder::PossibleValuesParser {
    let values = CHECKS.iter().map(|check| clap::builder::PossibleValue::new(check.name).help(check.about));
    values.collect::<Vec<_>>().into()
}

impl Doctor {
    /// Carries out the command. The exit code is 1 when a finding is bad.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(self.examine(Arc::new(Case::of(global))));
        // A name that is still being looked up must not keep the process.
        runtime.shutdown_background();
        code
    }

    async fn examine(self, case: Arc<Case>) -> anyhow::Result<ExitCode> {
        let mut out = Out { json: self.json, is_terminal: io::stdout().is_terminal(), counts: [0; 3] };
        let is_asked = |check: &&Check| self.only.is_empty() || self.only.iter().any(|name| name == check.name);
        let is_left_out = |check: &&Check| self.offline && matches!(check.run, Run::Network(_));
        let checks: Vec<&'static Check> =
            CHECKS.iter().filter(|check| is_asked(check) && !is_left_out(check)).collect();
        // What waits for the network waits beside all that does not.
        let mut running = Vec::new();
        for check in &checks {
            let case = Arc::clone(&case);
            running.push(match check.run {
                Run::Here(_) => None,
                Run::Network(run) => Some(tokio::spawn(async move { run(&case).await })),
            });
        }
        for (check, running) in checks.into_iter().zip(running) {
            let case = Arc::clone(&case);
            let findings = match (check.run_here(), running) {
                (Some(run), _) => tokio::task::spawn_blocking(move || run(&case)).await,
                (None, Some(running)) => running.await,
                (None, None) => continue,
            };
            out.say(check, &findings?)?;
        }
        out.finish()
    }
}

impl Check {
    fn run_here(&self) -> Option<fn(&Case) -> Vec<Finding>> {
        match self.run {
            Run::Here(run) => Some(run),
            Run::Network(_) => None,
        }
    }
}

/// Standard output, and what was said so far.
struct Out {
    json: bool,
    is_terminal: bool,
    /// By level.
    counts: [usize; 3],
}

impl Out {
    fn say(&mut self, check: &Check, findings: &[Finding]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for finding in findings {
            self.counts[finding.level as usize] += 1;
            if self.json {
                let line = secrets::hide(&finding.json(check.name)).into_owned();
                writeln!(out, "{}", if self.is_terminal { harmless(&line) } else { line.into() })?;
            } else {
                for line in finding.lines(check.name, self.is_terminal) {
                    writeln!(out, "{line}")?;
                }
            }
        }
        out.flush()
    }

    fn finish(self) -> anyhow::Result<ExitCode> {
        let [ok, warn, bad] = self.counts;
        if !self.json {
            writeln!(io::stdout(), "{ok} ok, {warn} to look at, {bad} bad")?;
        }
        Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

const _: () = assert!(Level::Bad as usize == 2, "counts are by level");
