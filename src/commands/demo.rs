//! `tapline demo`: everything on loopback, in a folder of its own, with nothing to configure.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::config;
use crate::fs::Disk;
use crate::simulator::Running as _;
use crate::simulator::faults::Faults;
use crate::simulator::quote::{Exchange, Quote};

use super::run::Run;
use super::{logging, signals};

/// The demo's sources, with `{address}` for where the simulated exchange listens.
const SOURCES: [(&str, &str); 2] =
    [("bseindex.yaml", include_str!("demo/bseindex.yaml")), ("stocks.yaml", include_str!("demo/stocks.yaml"))];

/// The exchange's port, if it is free: the same each time, so that a source edited yesterday still finds it.
const PORT: u16 = 8098;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline demo                              in the folder tapline-demo, until ctrl-c
  tapline demo --dir /tmp/try               in another; started again, it goes on where it was
  tapline demo --faults '5%:500, 2%:layout' an exchange that fails now and then")]
pub struct Demo {
    /// The folder to work in
    #[arg(long, value_name = "DIR", default_value = "tapline-demo")]
    dir: PathBuf,
    /// What goes wrong at the exchange, as for `tapline simulate quote`
    #[arg(long, value_name = "FAULTS", default_value = "")]
    faults: Faults,
}

impl Demo {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the folder cannot be written, or the exchange cannot open.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        logging::start(global)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(async {
            let stop = signals::stop_token()?;
            self.show(global, stop).await
        });
        runtime.shutdown_background();
        code
    }

    async fn show(self, global: &Global, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let exchange = open(self.faults).await?;
        let sources = self.dir.join("sources");
        let data = self.dir.join("data");
        write_sources(&sources, &exchange).with_context(|| format!("cannot write {}", sources.display()))?;
        say_where(&self.dir, &exchange)?;
        let global = Global { sources, data: Some(data.clone()), ..global.clone() };
        let settings = config::Service { data, ..config::Service::default() };
        Run { stdout: true, ..Run::default() }.serve(Arc::new(Disk), &global, settings, stop).await
    }
}

async fn open(faults: Faults) -> anyhow::Result<Exchange> {
    let quote = Quote::new().faults(faults);
    match quote.clone().start(PORT).await {
        Ok(exchange) => Ok(exchange),
        Err(_) => quote.start(0).await.context("the simulated exchange cannot listen on 127.0.0.1"),
    }
}

/// Writes the sources that are not there yet: one that was edited is the user's.
fn write_sources(dir: &Path, exchange: &Exchange) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let address = format!("http://{}", exchange.address());
    for (name, text) in SOURCES {
        let path = dir.join(name);
        if !path.exists() {
            std::fs::write(path, text.replace("{address}", &address))?;
        }
    }
    Ok(())
}

fn say_where(dir: &Path, exchange: &Exchange) -> io::Result<()> {
    let dir = dir.display();
    writeln!(
        io::stderr().lock(),
        "A simulated exchange is open at {}. Its lines follow; ctrl-c ends.\n\
         Meanwhile, in another terminal:\n\
         \x20 tail -F {dir}/data/bseindex.out          the index, each second\n\
         \x20 $EDITOR {dir}/sources/bseindex.yaml      change it, and see it change within two seconds\n\
         \x20 tail -F {dir}/data/_ledger/dt=*/*.jsonl  what became of every tick\n",
        exchange.url("/")
    )
}
