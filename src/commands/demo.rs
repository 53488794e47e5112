//! `tapline demo`: everything on loopback, in a folder of its own, with nothing to configure.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::fs::Disk;
use crate::simulator::Running as _;
use crate::simulator::faults::Faults;
use crate::simulator::quote::{Exchange, Quote};
use crate::simulator::x::{self, X};

use super::run::Run;
use super::{logging, signals, sources};

/// The demo's sources, with `{address}` for where the simulated exchange listens, and `{x}` for the simulated X.
const SOURCES: [(&str, &str); 3] = [
    ("bseindex.yaml", include_str!("demo/bseindex.yaml")),
    ("stocks.yaml", include_str!("demo/stocks.yaml")),
    ("x-research.yaml", include_str!("demo/x-research.yaml")),
];

/// Their ports, if they are free: the same each time, so that a source edited yesterday still finds them.
const EXCHANGE_PORT: u16 = 8098;
const X_PORT: u16 = 8096;

/// How often somebody posts something; about one in six matches a rule.
const POST_EVERY: Duration = Duration::from_millis(400);

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
        let x = open_x().await?;
        let (folder, data) = (self.dir.join("sources"), self.dir.join("data"));
        write_sources(&folder, &exchange, &x).with_context(|| format!("cannot write {}", folder.display()))?;
        say_where(&self.dir, &exchange, &x)?;
        let global = Global { sources: folder, data: Some(data), ..global.clone() };
        let settings = sources::default_service(&global)?;
        Run { stdout: true, ..Run::default() }.serve(Arc::new(Disk), &global, settings, stop).await
    }
}

async fn open(faults: Faults) -> anyhow::Result<Exchange> {
    let quote = Quote::new().faults(faults);
    match quote.clone().start(EXCHANGE_PORT).await {
        Ok(exchange) => Ok(exchange),
        Err(_) => quote.start(0).await.context("the simulated exchange cannot listen on 127.0.0.1"),
    }
}

async fn open_x() -> anyhow::Result<X> {
    let settings = x::Settings { every: Some(POST_EVERY), ..x::Settings::default() };
    match X::start(X_PORT, settings.clone()).await {
        Ok(x) => Ok(x),
        Err(_) => X::start(0, settings).await.context("the simulated X cannot listen on 127.0.0.1"),
    }
}

/// Writes the sources that are not there yet: one that was edited is the user's.
fn write_sources(dir: &Path, exchange: &Exchange, x: &X) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let [address, x] = [exchange.address(), x.address()].map(|address| format!("http://{address}"));
    for (name, text) in SOURCES {
        let path = dir.join(name);
        if !path.exists() {
            std::fs::write(path, text.replace("{address}", &address).replace("{x}", &x))?;
        }
    }
    Ok(())
}

fn say_where(dir: &Path, exchange: &Exchange, x: &X) -> io::Result<()> {
    let dir = dir.display();
    writeln!(
        io::stderr().lock(),
        "A simulated exchange is open at {}, a simulated X at {}. Their lines follow; ctrl-c ends.\n\
         Meanwhile, in another terminal:\n\
         \x20 tail -F {dir}/data/bseindex.out          the index, each second\n\
         \x20 tail -F {dir}/data/x-research.out        posts, as they come\n\
         \x20 $EDITOR {dir}/sources/bseindex.yaml      change it, and see it change within two seconds\n\
         \x20 tail -F {dir}/data/_ledger/dt=*/*.jsonl  what became of every tick and every connection\n\
         \x20 tapline status --data {dir}/data --sources {dir}/sources\n",
        exchange.url("/"),
        x.url("/")
    )
}
