//! `tapline alerts`: what is broken, whom that was told, and a test of those who are told.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::alert::{Message, TellError};
use crate::cli::Global;
use crate::config;
use crate::context::{Clock as _, Context, SystemClock};
use crate::pipeline::incidents::Open;
use crate::pipeline::service::FOLDER_KEY;
use crate::pipeline::telling::{Listener, Place, SavedAlerts};
use crate::record::time_text;
use crate::report::committed::Committed;
use crate::report::lengths::words;
use crate::report::source::moment;
use crate::secrets;

use super::alerting::{self, listeners};
use super::sources;
use super::terminal::harmless;

/// So many of those that an incident is about are named.
const NAMED_MAX: usize = 5;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 1 when an incident is open or a destination fails, and with --test when a \
message does not arrive.

Examples:
  tapline alerts                          what is broken, and who was told
  tapline alerts --test                   sends a test to everybody, and says how it went
  tapline alerts --json | jq 'select(.incident)'")]
pub struct Alerts {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Send a test message to every destination
    #[arg(long)]
    test: bool,
}

impl Alerts {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the data cannot be read, or standard output cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let mut out = io::stdout().lock();
        if settings.alerts.is_empty() && !self.json {
            writeln!(out, "nobody is told: declare `alerts:` in {}; see docs/alerts.md", global.config.display())?;
        }
        let committed = Committed::look(&settings.data)?;
        let is_well = if self.test {
            self.test(&settings, &committed, global, &mut out)?
        } else {
            self.show(&SavedAlerts::read(committed.state()), &settings, committed.now, &mut out)?
        };
        out.flush()?;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Sends a test to everybody, and says how it went. Returns whether all of them arrived.
    fn test(
        &self,
        settings: &config::Service,
        committed: &Committed,
        global: &Global,
        out: &mut impl Write,
    ) -> anyhow::Result<bool> {
        let context = Context::new(Arc::new(SystemClock));
        let folder = committed.state().get(FOLDER_KEY).and_then(|id| serde_json::from_str(id.get()).ok());
        let folder: String = folder.unwrap_or_else(|| "none".to_owned());
        let message = alerting::words(settings, &folder, &global.sources).test(SystemClock.now());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut results = runtime.block_on(told(listeners(settings, &context)?, Arc::new(message)));
        runtime.shutdown_background();
        results.sort();
        for (name, shown, why) in &results {
            let why = why.as_deref().map(secrets::hide);
            if self.json {
                say(out, &json!({ "destination": name, "to": shown, "told": why.is_none(), "why": why }).to_string())?;
            } else {
                let what = why.as_deref().map_or("told".to_owned(), |why| format!("NOT TOLD: {why}"));
                say(out, &format!("{name}  {shown}  {what}"))?;
            }
        }
        Ok(!results.is_empty() && results.iter().all(|(_, _, why)| why.is_none()))
    }

    /// Shows what is open, and how those who are told do. Returns whether all is well.
    fn show(
        &self,
        saved: &SavedAlerts,
        settings: &config::Service,
        now: DateTime<Utc>,
        out: &mut impl Write,
    ) -> anyhow::Result<bool> {
        let open = saved.incidents.all_open();
        let context = Context::new(Arc::new(SystemClock));
        let declared: Vec<(String, String)> =
            listeners(settings, &context)?.into_iter().map(|listener| (listener.name, listener.shown)).collect();
        let places = saved.outbox.places().filter_map(|(name, place, waiting)| {
            let (_, shown) = declared.iter().find(|(declared, _)| declared == name)?;
            Some((name, shown, place, waiting))
        });
        let places: Vec<_> = places.collect();
        for incident in &open {
            say(out, &if self.json { incident_json(incident).to_string() } else { incident_words(incident, now) })?;
        }
        for (name, shown, place, waiting) in &places {
            let line = if self.json {
                let (since, why) = place.failing.clone().unzip();
                let since = since.as_ref().map(time_text);
                json!({ "destination": name, "to": shown, "waiting": waiting, "failing_since": since, "why": why })
                    .to_string()
            } else {
                place_words(name, shown, place, *waiting, now)
            };
            say(out, &line)?;
        }
        if open.is_empty() && !self.json && !settings.alerts.is_empty() {
            writeln!(out, "no incident is open")?;
        }
        Ok(open.is_empty() && places.iter().all(|(_, _, place, _)| place.failing.is_none()))
    }
}

/// How it went with each: name, address, and why it was not told.
async fn told(listeners: Vec<Listener>, message: Arc<Message>) -> Vec<(String, String, Option<String>)> {
    let mut tasks = JoinSet::new();
    for mut listener in listeners {
        let message = Arc::clone(&message);
        tasks.spawn(async move {
            let told = timeout(listener.timeout, listener.destination.tell(&message)).await;
            let why = match told {
                Ok(Ok(())) => None,
                Ok(Err(TellError::Again { cause, .. } | TellError::Refused(cause) | TellError::Partly(cause))) => {
                    Some(format!("{cause:#}"))
                }
                Err(_) => Some(format!("no answer within {}", humantime::format_duration(listener.timeout))),
            };
            (listener.name, listener.shown, why)
        });
    }
    tasks.join_all().await
}

fn say(out: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(out, "{}", if io::stdout().is_terminal() { harmless(line) } else { line.into() })
}

fn incident_words(incident: &Open, now: DateTime<Utc>) -> String {
    let mut names: Vec<&str> = incident.about.iter().take(NAMED_MAX).map(|about| about.name.as_str()).collect();
    let more = format!("and {} more", incident.about.len().saturating_sub(NAMED_MAX));
    if incident.about.len() > NAMED_MAX {
        names.push(&more);
    }
    let why = incident.about.first().map(|about| about.why.as_str()).unwrap_or_default();
    let length = words((now - incident.since).num_seconds().max(0) * 1_000_000);
    let untold = if incident.is_told { "" } else { " (not told yet)" };
    let names = names.join(", ");
    let since = moment(incident.since, now);
    format!("! {} {names}, since {since} ({length}){untold}: {why}", incident.kind.word())
}

fn incident_json(incident: &Open) -> Value {
    let about = incident.about.iter().map(|about| {
        json!({ "name": about.name, "since": time_text(&about.since), "why": about.why, "missed": about.missed })
    });
    json!({
        "incident": incident.number,
        "kind": incident.kind,
        "since": time_text(&incident.since),
        "told": incident.is_told,
        "count": incident.about.len(),
        "about": about.collect::<Vec<_>>(),
    })
}

fn place_words(name: &str, shown: &str, place: &Place, waiting: usize, now: DateTime<Utc>) -> String {
    match &place.failing {
        None if waiting == 0 => format!("  {name}  {shown}  is told everything"),
        None => format!("  {name}  {shown}  {waiting} on the way"),
        Some((since, why)) => {
            format!("! {name}  {shown}  not reached since {}, {waiting} wait: {why}", moment(*since, now))
        }
    }
}
