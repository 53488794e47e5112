//! The program: reads the command line, sets up logging, and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tapline::cli::Cli;

fn main() -> ExitCode {
    tapline::commands::completions::answer();
    let cli = Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the program's last word, whatever the log level")]
            {
                eprintln!("tapline: {}", tapline::secrets::hide(&format!("{error:#}")));
            }
            ExitCode::FAILURE
        }
    }
}
