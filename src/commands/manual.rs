//! `tapline manual`: man pages, and the reference in `docs/`, made of the same table as the help.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, Global};

/// Begins the last part of a command's help.
const EXAMPLES: &str = "Examples:";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline manual run | man -l -                   the page of one command
  tapline manual --write /usr/local/share/man/man1   a page for each command
  tapline manual --reference                      all of them in Markdown, as docs/reference.md has them")]
pub struct Manual {
    /// The command; without one, the page of the program
    #[arg(value_name = "COMMAND")]
    of: Option<String>,
    /// Write a page for each command into this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["of", "reference"])]
    write: Option<PathBuf>,
    /// Print every command and its options in Markdown
    #[arg(long, conflicts_with = "of")]
    reference: bool,
}

impl Manual {
    /// Carries out the command.
    ///
    /// # Errors
    /// When there is no such command, or a file or standard output cannot be written.
    pub fn run(self, _global: &Global) -> anyhow::Result<ExitCode> {
        if let Some(dir) = &self.write {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            for (name, page) in pages()? {
                let path = dir.join(name);
                std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = std::io::stdout().lock();
        if self.reference {
            out.write_all(reference().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let name = self.of.map_or_else(|| "tapline.1".to_owned(), |of| format!("tapline-{of}.1"));
        let page = pages()?.into_iter().find(|(file, _)| *file == name);
        let (_, page) =
            page.with_context(|| format!("there is no page {name}; `tapline --help` lists the commands"))?;
        out.write_all(&page)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The program's table of commands, built. The command `help` is left out: it says what `--help` says.
fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

/// The commands that are shown.
fn shown(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

/// Every man page, by file name.
///
/// # Errors
/// Never, as long as memory takes what is written.
pub fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let program = program();
    let all = std::iter::once(&program).chain(shown(&program));
    all.map(|command| {
        let is_program = command.get_name() == program.get_name();
        Ok((format!("{}.1", display_name(command)), page(command, is_program.then_some(&program))?))
    })
    .collect()
}

fn display_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// One man page. That of the program has the commands, too.
fn page(command: &Command, program: Option<&Command>) -> std::io::Result<Vec<u8>> {
    // What every command takes comes after what this one takes.
    let hidden = |argument: Arg| if argument.is_global_set() { argument.hide(true) } else { argument };
    let own = if program.is_some() { command.clone() } else { command.clone().mut_args(hidden) };
    let man = Man::new(own);
    let mut page = Vec::new();
    // The version is the only date that a page has.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, ".TH \"{}\" \"1\" \"\" \"tapline {version}\" \"tapline\"", display_name(command).to_uppercase())?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    rest(command, program).to_writer(&mut page)?;
    // Two breaks in a row are one empty line.
    Ok(String::from_utf8_lossy(&page).replace(".br\n\n.br\n", ".sp\n").into_bytes())
}

/// What follows the options.
fn rest(command: &Command, program: Option<&Command>) -> Roff {
    let mut roff = Roff::default();
    if let Some(program) = program {
        roff.control("SH", ["COMMANDS"]);
        for command in shown(program) {
            roff.control("TP", []);
            roff.text([roman(format!("{}(1)", display_name(command)))]);
            roff.text([roman(about(command))]);
        }
    } else {
        roff.control("SH", ["OPTIONS OF EVERY COMMAND"]);
        for argument in command.get_arguments().filter(|argument| argument.is_global_set()) {
            let otherwise: Vec<String> = otherwise(argument);
            let otherwise =
                if otherwise.is_empty() { String::new() } else { format!(" (otherwise {})", otherwise.join(", ")) };
            roff.control("TP", []);
            roff.text([bold(written(argument))]);
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            roff.text([roman(format!("{help}{otherwise}"))]);
        }
    }
    let (notes, examples) = split(command);
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        roff.text([roman(notes)]);
    }
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in examples.lines() {
            roff.text([roman(unindented(line))]);
        }
        roff.control("fi", []);
    }
    if program.is_none() {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman("tapline(1)")]);
    }
    roff
}

/// Where an argument's value comes from when it is not given.
fn otherwise(argument: &Arg) -> Vec<String> {
    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
    let takes_value = argument.get_num_args().is_some_and(|count| count.takes_values());
    let default = argument.get_default_values().iter().filter(|value| takes_value && !value.is_empty());
    variable.into_iter().chain(default.map(|value| value.to_string_lossy().into_owned())).collect()
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// What stands behind a command's options: notes, and examples.
fn split(command: &Command) -> (String, String) {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = text.split_once(EXAMPLES).unwrap_or((&text, ""));
    let examples = examples.trim_start_matches('\n').trim_end();
    (notes.trim().replace('\n', " "), examples.to_owned())
}

/// Every command and its options in Markdown.
pub fn reference() -> String {
    let program = program();
    let mut page = "# Commands\n\nGenerated from the program: `tapline manual --reference`. Man pages of the same: `tapline manual --write DIR`. \
                    `tapline COMMAND --help` says what stands here.\n\n"
        .to_owned();
    for command in shown(&program) {
        let name = command.get_name();
        put(&mut page, &format!("- [`tapline {name}`](#tapline-{name}): {}\n", cell(&about(command))));
    }
    put(&mut page, "\n## Everywhere\n\n");
    table(&mut page, program.get_arguments().filter(|argument| argument.is_global_set()));
    for command in shown(&program) {
        let name = command.get_name();
        put(&mut page, &format!("\n## tapline {name}\n\n{}.\n", about(command)));
        let own: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_global_set()).collect();
        let is_help = |argument: &&Arg| ["help", "version"].contains(&argument.get_id().as_str());
        let own: Vec<&Arg> = own.into_iter().filter(|argument| !is_help(argument) && !argument.is_hide_set()).collect();
        if !own.is_empty() {
            put(&mut page, "\n");
            table(&mut page, own.into_iter());
        }
        let (notes, examples) = split(command);
        if !notes.is_empty() {
            put(&mut page, &format!("\n{notes}\n"));
        }
        if !examples.is_empty() {
            put(
                &mut page,
                &format!("\n```sh\n{}\n```\n", examples.lines().map(unindented).collect::<Vec<_>>().join("\n")),
            );
        }
    }
    page
}

fn unindented(line: &str) -> &str {
    line.strip_prefix("  ").unwrap_or(line)
}

/// A row for each argument: how it is written, what it is, what it is otherwise.
fn table<'a>(page: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    put(page, "| | | otherwise |\n|---|---|---|\n");
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let values = argument.get_possible_values();
        let is_switch = !argument.get_num_args().is_some_and(|count| count.takes_values());
        let values = if is_switch || values.is_empty() {
            String::new()
        } else {
            let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
            format!(": {}", names.join(", "))
        };
        let otherwise: Vec<String> = otherwise(argument).iter().map(|value| format!("`{value}`")).collect();
        put(page, &format!("| `{}` | {}{values} | {} |\n", written(argument), cell(&help), otherwise.join(", ")));
    }
}

/// An argument as it is written: `--to URL`, `[PATH]...`.
fn written(argument: &Arg) -> String {
    let takes_value = argument.get_num_args().is_some_and(|count| count.takes_values());
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.first().map_or_else(|| argument.get_id().to_string().to_uppercase(), ToString::to_string);
    match argument.get_long() {
        Some(long) if takes_value => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    }
}

/// A text that stands in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn put(page: &mut String, text: &str) {
    page.write_str(text).expect("invariant: writing to a string cannot fail");
}
