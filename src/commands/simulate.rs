//! `tapline simulate`: a fake upstream, on loopback unless it is told otherwise.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::Global;
use crate::simulator::{Options, SIMULATORS, Simulator, Starting};
use crate::units::Span;

use super::signals;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline simulate quote --port 8099
  tapline simulate quote --port 8099 --step 200ms --faults '5%:500, 3%:503=2s, every 50:layout'
  tapline simulate sse --step 20ms --faults '1%:end, every 300:reset, 20%:503=2'
  tapline simulate x --step 100ms --faults '0.5%:torn, every 300:disconnect, 20%:503'
  tapline simulate --list")]
pub struct Simulate {
    /// Which one
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// The port it listens on; 0 is any free one [default: the simulator's own, see --list]
    #[arg(long)]
    port: Option<u16>,
    /// The address it listens on; with 0.0.0.0 other containers and machines reach it
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// What its data and its chances are made of
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often its data changes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_span)]
    step: Span,
    /// What goes wrong, such as '5%:500, #17:404, every 10:torn'; a wrong one lists them all
    #[arg(long, value_name = "FAULTS", default_value = "")]
    faults: String,
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
        let Self { port, listen, seed, step, faults, flood, .. } = self;
        let listen = SocketAddr::new(listen, port.unwrap_or(simulator.port));
        let options = Options { listen, seed, step: step.0, faults, flood };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match (simulator.start)(&options) {
            Ok(starting) => runtime.block_on(simulate(simulator, listen, starting)),
            Err(why) => Ok(wrong_faults(&why)),
        }
    }
}

fn list() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for simulator in SIMULATORS {
        writeln!(out, "{:<8} port {}, {}", simulator.name, simulator.port, simulator.about)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A wrong command line, as the parser of command lines has it: which faults there are is each simulator's own.
#[expect(clippy::print_stderr, reason = "a word to the user")]
fn wrong_faults(why: &str) -> ExitCode {
    eprintln!("error: invalid value for '--faults <FAULTS>': {why}");
    ExitCode::from(2)
}

async fn simulate(simulator: &Simulator, listen: SocketAddr, starting: Starting) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_token()?;
    let running = starting.await;
    let running = running.with_context(|| format!("cannot listen on {listen}; choose another port with --port"))?;
    let pages: Vec<String> = simulator.paths.iter().map(|path| format!("http://{}{path}", running.address())).collect();
    writeln!(io::stdout().lock(), "{} runs until ctrl-c: {}", simulator.name, pages.join(" "))?;
    stop.cancelled().await;
    Ok(ExitCode::SUCCESS)
}
