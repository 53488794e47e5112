//! `tapline simulate`: a fake upstream on loopback.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::Global;
use crate::simulator::faults::Faults;
use crate::simulator::{Options, SIMULATORS, Simulator};
use crate::units::Span;

use super::signals;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline simulate quote --port 8099
  tapline simulate quote --port 8099 --step 200ms --faults '5%:500, 3%:503=2s, every 50:layout'
  tapline simulate --list")]
pub struct Simulate {
    /// Which one
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Where it listens on 127.0.0.1; 0 is any free port
    #[arg(long, default_value_t = 8099)]
    port: u16,
    /// What its data and its chances are made of
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often its data changes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_span)]
    step: Span,
    /// What goes wrong, such as '5%:500, #17:404, every 10:torn'; a wrong one lists them all
    #[arg(long, value_name = "FAULTS", default_value = "")]
    faults: Faults,
    /// Of a stream: so many prepared records at once, as fast as they are taken, and the end
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    flood: u64,
    /// List the simulators
    #[arg(long)]
    list: bool,
}

/// A length of time on the command line.
///
/// # Errors
/// In words, when it is not one.
pub fn parse_span(text: &str) -> Result<Span, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

impl Simulate {
    /// Carries out the command.
    ///
    /// # Errors
    /// When there is no such simulator, or its port is taken.
    pub fn run(self, _global: &Global) -> anyhow::Result<ExitCode> {
        let Some(name) = self.name.as_deref().filter(|_| !self.list) else { return list() };
        let simulator = SIMULATORS.iter().find(|simulator| simulator.name == name);
        let simulator =
            simulator.with_context(|| format!("there is no simulator {name}; `tapline simulate --list` shows them"))?;
        let Self { port, seed, step, faults, flood, .. } = self;
        let options = Options { port, seed, step: step.0, faults, flood };
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(simulate(simulator, options))
    }
}

fn list() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for simulator in SIMULATORS {
        writeln!(out, "{:<12} {}", simulator.name, simulator.about)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn simulate(simulator: &Simulator, options: Options) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_token()?;
    let port = options.port;
    let running = (simulator.start)(options).await;
    let running = running.with_context(|| format!("cannot listen on port {port}; choose another with --port"))?;
    let pages: Vec<String> = simulator.paths.iter().map(|path| format!("http://{}{path}", running.address())).collect();
    writeln!(io::stdout().lock(), "{} runs until ctrl-c: {}", simulator.name, pages.join(" "))?;
    stop.cancelled().await;
    Ok(ExitCode::SUCCESS)
}
