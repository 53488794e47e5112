//! Logs: one line on standard error for each event that is worth a human's eye.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::ChronoUtc;

use crate::cli::{Global, LogFormat};
use crate::secrets;

/// Standard error, without secrets. A line is written at once.
struct Hidden;

impl io::Write for Hidden {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::stderr().lock().write_all(secrets::hide(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts logging, once per process.
///
/// # Errors
/// When the filter is not one.
pub fn start(global: &Global) -> anyhow::Result<()> {
    // What libraries say is for their developers, unless somebody asks for it.
    let directives =
        if global.log.contains(['=', ',']) { global.log.clone() } else { format!("warn,tapline={}", global.log) };
    let filter = EnvFilter::try_new(&directives).with_context(|| {
        format!("--log {}: write error, warn, info, debug or trace, or a filter such as tapline=debug", global.log)
    })?;
    let time = ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Hidden).with_timer(time).with_target(false);
    let started = match global.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging was already started: {error}"))
}
