//! `tapline completions`: what a shell has to know to complete a command line, and the names that it completes with.
//!
//! The shell asks this program at each press of the key, so that what it offers is never older than the program, and
//! names of sources, streams and loaders are those that there are.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;

use crate::cli::{Cli, Global};
use crate::report::committed::Committed;

use super::sources;

/// Set by the shell when it asks.
const ASKED: &str = "TAPLINE_COMPLETE";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Commands, options, and names of sources, streams and loaders are completed.

Examples:
  source <(tapline completions bash)                     in ~/.bashrc
  source <(tapline completions zsh)                      in ~/.zshrc
  tapline completions fish > ~/.config/fish/completions/tapline.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// A shell that completes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    /// GNU Bash, from version 4 on
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// Elvish
    Elvish,
    /// `PowerShell`
    Powershell,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
            Self::Powershell => "powershell",
        }
    }
}

impl Completions {
    /// Carries out the command.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(self, _global: &Global) -> anyhow::Result<ExitCode> {
        let shells = Shells::builtins();
        let shell = shells.completer(self.shell.name()).expect("invariant: each of ours is one of theirs");
        shell.write_registration(ASKED, "tapline", "tapline", &program(), &mut std::io::stdout().lock())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What the shell is to call: the name where it was called by its name, else the whole path.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_else(|| "tapline".into());
    if !called.as_encoded_bytes().contains(&b'/') {
        return called.to_string_lossy().into_owned();
    }
    std::path::absolute(&called).unwrap_or_else(|_| called.into()).to_string_lossy().into_owned()
}

/// Answers a shell that asks, and ends the process; returns where nobody asks. Nothing has been read or printed before.
pub fn answer() {
    CompleteEnv::with_factory(Cli::command).var(ASKED).complete();
}

/// The names of sources.
pub fn of_sources() -> Vec<CompletionCandidate> {
    candidates(sources::names(&global().sources))
}

/// The names of streams.
pub fn of_streams() -> Vec<CompletionCandidate> {
    candidates(of_data("stream/"))
}

/// The names of loaders.
pub fn of_loaders() -> Vec<CompletionCandidate> {
    candidates(of_data("loader/"))
}

/// What the commit log has under a prefix. Where it cannot be read there is nothing to offer, and nobody to tell.
fn of_data(prefix: &str) -> BTreeSet<String> {
    let data = sources::read_service(&global()).map(|settings| settings.data);
    let committed = data.ok().and_then(|data| Committed::look(&data).ok());
    committed.iter().flat_map(|committed| committed.names(prefix)).map(str::to_owned).collect()
}

fn candidates(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What every command takes, as far as it stands in the line that is being completed, which need not be whole.
fn global() -> Global {
    let words: Vec<_> = std::env::args_os().collect();
    let given = |option: &str| {
        let with_value = format!("{option}=");
        words.iter().enumerate().find_map(|(at, word)| {
            let joined = word.to_str().and_then(|word| word.strip_prefix(&with_value)).map(PathBuf::from);
            joined.or_else(|| (word == OsStr::new(option)).then(|| words.get(at + 1).map(PathBuf::from))?)
        })
    };
    let plain = <Cli as clap::Parser>::try_parse_from(["tapline", "adapters"]);
    let mut global = plain.expect("invariant: this is a command line").global;
    global.config = given("--config").unwrap_or(global.config);
    global.sources = given("--sources").unwrap_or(global.sources);
    global.data = given("--data").or(global.data);
    global
}
