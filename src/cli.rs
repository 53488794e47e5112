//! The command line: what the user typed, before anything is read or opened.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::config::Http;

/// Where the service's file is, unless something else is said.
pub const DEFAULT_CONFIG: &str = "config/tapline.yaml";

/// Collects live data: one YAML file per source in, timestamped JSON lines out, every gap accounted for.
#[derive(Debug, Parser)]
#[command(name = "tapline", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The service's file; without one there are defaults for everything
    #[arg(long, global = true, value_name = "FILE", env = "TAPLINE_CONFIG", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The folder of sources, one YAML file each
    #[arg(long, global = true, value_name = "DIR", env = "TAPLINE_SOURCES", default_value = "sources")]
    pub sources: PathBuf,
    /// The folder that records are written to; overrides `data` in the service's file
    #[arg(long, global = true, value_name = "DIR", env = "TAPLINE_DATA")]
    pub data: Option<PathBuf>,
    /// Where the live page, metrics and health answers are: `off` or an address; overrides `http.listen` in the service's file
    #[arg(long, global = true, value_name = "ADDRESS", env = "TAPLINE_HTTP")]
    pub http: Option<Http>,
    /// A file with the token that the page wants, made if it is not there; `http.token` in the service's file comes first
    #[arg(long, global = true, value_name = "FILE", env = "TAPLINE_HTTP_TOKEN_FILE")]
    pub http_token_file: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORM", env = "TAPLINE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// How much is logged: error, warn, info, debug, or a filter such as `tapline=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "TAPLINE_LOG", default_value = "info")]
    pub log: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands, each in its own file of `commands/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try everything on loopback: a simulated exchange and a simulated X, three sources, lines as they come
    Demo(commands::demo::Demo),
    /// Run the service
    Run(commands::run::Run),
    /// Check every YAML file, and say every error at once
    Check(commands::check::Check),
    /// Fetch once and show what each field matched, and the record
    Try(commands::try_source::Try),
    /// Make the records again of what `run --record` has kept, without asking anybody
    Replay(commands::replay::Replay),
    /// Write a first file for a source, made of what you see on its page
    New(commands::new::New),
    /// Compare what sources make of saved pages with what their files expect
    Test(commands::test::Test),
    /// Follow a stream's lines as they are committed
    Tail(commands::tail::Tail),
    /// What was collected and what was not: time, gaps with their causes, ticks, records
    Coverage(commands::coverage::Coverage),
    /// What runs, since when, and how it is
    Status(commands::status::Status),
    /// What of the machine, the data and the network would make trouble, and what to do about it
    Doctor(commands::doctor::Doctor),
    /// Where the live page is, with the token that it wants
    Page(commands::page::Page),
    /// Whether the service makes progress: for containers and for whoever restarts what hangs
    Health(commands::health::Health),
    /// Carry streams, or files of JSON lines, into a store
    Load(commands::load::Load),
    /// Write closed segments as Parquet, CSV or compressed lines, with a manifest
    Export(commands::export::Export),
    /// How far each store is, and how it does
    Loaders(commands::loaders::Loaders),
    /// What is broken and whom that was told, and a test of those who are told
    Alerts(commands::alerts::Alerts),
    /// Bring a loader's dead letters to its store again
    Redrive(commands::redrive::Redrive),
    /// Run a fake upstream, for tests and for trying things
    Simulate(commands::simulate::Simulate),
    /// Print what a shell needs to complete command lines of tapline
    Completions(commands::completions::Completions),
    /// Print man pages, or the reference of all commands
    Manual(commands::manual::Manual),
    /// Print the JSON Schema of the YAML files
    Schema(commands::schema::Schema),
    /// List the kinds of source
    Adapters(commands::adapters::Adapters),
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// Whatever the command could not do, with its chain of causes.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Demo(command) => command.run(&self.global),
            Command::Run(command) => command.run(&self.global),
            Command::Check(command) => command.run(&self.global),
            Command::Try(command) => command.run(&self.global),
            Command::Replay(command) => command.run(&self.global),
            Command::New(command) => command.run(&self.global),
            Command::Test(command) => command.run(&self.global),
            Command::Tail(command) => command.run(&self.global),
            Command::Coverage(command) => command.run(&self.global),
            Command::Status(command) => command.run(&self.global),
            Command::Doctor(command) => command.run(&self.global),
            Command::Page(command) => command.run(&self.global),
            Command::Health(command) => command.run(&self.global),
            Command::Load(command) => command.run(&self.global),
            Command::Export(command) => command.run(&self.global),
            Command::Loaders(command) => command.run(&self.global),
            Command::Alerts(command) => command.run(&self.global),
            Command::Redrive(command) => command.run(&self.global),
            Command::Simulate(command) => command.run(&self.global),
            Command::Completions(command) => command.run(&self.global),
            Command::Manual(command) => command.run(&self.global),
            Command::Schema(command) => command.run(&self.global),
            Command::Adapters(command) => command.run(&self.global),
        }
    }
}
