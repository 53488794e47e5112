//! `tapline page`: where the live page is, with the token that it wants.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::Global;
use crate::config::Http;
use crate::context::{Context, SystemClock};

use super::serving::token_of;
use super::sources;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Whoever has the address it prints sees everything; keep it as you keep a password.

Examples:
  tapline page                              the address to open in a browser
  docker compose exec tapline tapline page  the same, of a container")]
pub struct Page {}

impl Page {
    /// Carries out the command. The exit code is 1 when there is no page.
    ///
    /// # Errors
    /// When the token's file cannot be read, or standard output cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let mut out = std::io::stdout().lock();
        let Http::On(keys) = &settings.http else {
            writeln!(out, "there is no page: {} says `http: off`", global.config.display())?;
            return Ok(ExitCode::FAILURE);
        };
        let token = token_of(keys, &Context::new(Arc::new(SystemClock)))?;
        let address = keys.listen;
        // What is listened on everywhere is reached from here by loopback.
        let host =
            if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
        match token {
            None => writeln!(out, "http://{host}/")?,
            Some(token) => {
                let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
                writeln!(out, "http://{host}/login?token={token}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
