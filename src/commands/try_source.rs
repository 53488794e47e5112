//! `tapline try`: one fetch, or some seconds of a stream, and how each field came about.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::time::timeout;

use crate::cli::Global;
use crate::config::SourceConfig;
use crate::context::{Context, SystemClock};
use crate::item::Finding;
use crate::report::trial::Report;
use crate::secrets;
use crate::source::SavedPage;
use crate::units::Span;

use super::simulate::parse_span;
use super::sources;
use super::terminal::harmless;
use super::{saved, signals, suggest};

/// How many records are shown with all their fields; of the others only what went wrong is.
const ROWS_SHOWN: usize = 3;
/// Of so many pages; of the others, too, only what went wrong is.
const PAGES_SHOWN: usize = 3;
/// How many faults, and how many records, are shown at most.
const LINES_SHOWN: usize = 10;

/// How long a source's program may take to end.
const END_MAX: Duration = Duration::from_secs(5);

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline try sources/bseindex.yaml
  tapline try sources/bseindex.yaml --save sources/fixtures/bse.html   and keep the page, for a test
  tapline try sources/bseindex.yaml --page sources/fixtures/bse.html   of that page, without asking anybody
  tapline try sources/bseindex.yaml --suggest                          where the fields may have gone")]
pub struct Try {
    /// The source's file, or its name
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How long to listen to a stream
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span)]
    listen: Span,
    /// Read this page, which somebody saved, instead of asking the site
    #[arg(long, value_name = "PAGE", conflicts_with = "save")]
    page: Option<PathBuf>,
    /// Keep the page that was fetched in this file, which must not be there yet
    #[arg(long, value_name = "PAGE")]
    save: Option<PathBuf>,
    /// Propose selectors for the fields that the page lacks
    #[arg(long)]
    suggest: bool,
    /// With --suggest: a page that had the fields, instead of the one that the data folder has kept
    #[arg(long, value_name = "PAGE", requires = "suggest")]
    was: Option<PathBuf>,
    /// With --suggest: what a field's text is on the page now
    #[arg(long, value_name = "NAME=TEXT", requires = "suggest", value_parser = named)]
    value: Vec<(String, String)>,
    /// Print one JSON object with everything
    #[arg(long)]
    json: bool,
}

/// A name and a text.
fn named(text: &str) -> Result<(String, String), String> {
    let (name, text) = text.split_once('=').ok_or("write NAME=TEXT, such as price=59,465.68")?;
    Ok((name.trim().to_owned(), text.to_owned()))
}

impl Try {
    /// Carries out the command. The exit code is 1 when the outcome is not a good one.
    ///
    /// # Errors
    /// When the source cannot be set up, or standard output cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = match sources::load_source(&sources::file_of(&self.file, global)) {
            Ok(config) => config,
            Err(wrong) => {
                sources::say(&wrong);
                return Ok(ExitCode::FAILURE);
            }
        };
        let context = Context::new(Arc::new(SystemClock));
        let (report, fetched) = match &self.page {
            Some(page) => (saved::read(&config, page, SavedPage::default(), &context)?, Some(saved::text(page)?)),
            None => self.ask(&config, &context)?,
        };
        if self.suggest {
            return self.proposed(&config, fetched, &report, global);
        }
        let text = if self.json { serde_json::to_string(&report)? + "\n" } else { to_text(&report) };
        std::io::stdout().write_all(secrets::hide(&text).as_bytes())?;
        Ok(if report.outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Try {
    fn ask(&self, config: &SourceConfig, context: &Context) -> anyhow::Result<(Report, Option<String>)> {
        tokio::runtime::Runtime::new()?.block_on(async {
            let stop = signals::stop_token()?;
            let mut source = config.open(context)?;
            let listen = config.schedule.is_none().then_some(self.listen.0);
            let tried = Report::of(&config.name, config.transform.as_ref(), source.as_mut(), listen, context);
            let report = tokio::select! {
                report = tried => Some(report),
                () = stop.cancelled() => None,
            };
            let fetched = source.fetched();
            drop(source);
            timeout(END_MAX, context.ended()).await.ok();
            // Ended in order: it leaves no program running.
            let Some(report) = report else { std::process::exit(signals::INTERRUPTED) };
            if let Some(file) = &self.save {
                saved::save(file, fetched.as_deref())?;
            }
            Ok((report, fetched))
        })
    }

    fn proposed(
        &self,
        config: &SourceConfig,
        now: Option<String>,
        report: &Report,
        global: &Global,
    ) -> anyhow::Result<ExitCode> {
        let Some(now) = now else {
            bail!("no page came to look into: {}", report.error.as_deref().unwrap_or(report.outcome.as_str()));
        };
        let was = suggest::was(config, self.was.as_deref(), global)?;
        let found = suggest::suggestions(config, &now, was.as_ref(), &self.value)?;
        let text =
            if self.json { serde_json::to_string(&found)? + "\n" } else { suggest::to_text(&found, was.as_ref()) };
        std::io::stdout().write_all(secrets::hide(&text).as_bytes())?;
        let is_helped = found.iter().all(|suggestion| !suggestion.proposals.is_empty());
        Ok(if is_helped { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The report for people, safe on a terminal.
pub(super) fn to_text(report: &Report) -> String {
    let mut out = String::new();
    write_text(report, &mut out).expect("invariant: a string takes all that is written");
    out
}

fn write_text(report: &Report, out: &mut String) -> std::fmt::Result {
    for finding in shown_findings(report) {
        write_finding(out, finding)?;
    }
    for reject in report.rejects.iter().take(LINES_SHOWN) {
        let field = reject.field.as_deref().unwrap_or("page");
        let page = reject.page.as_ref().map_or_else(String::new, |page| format!("; page {}", harmless(page)));
        writeln!(out, "reject   {}: {}{page}", harmless(field), harmless(&reject.reason))?;
    }
    write_more(out, report.rejects.len(), "rejects")?;
    for record in report.records.iter().take(LINES_SHOWN) {
        writeln!(out, "record   {}", harmless(record.get()))?;
    }
    write_more(out, report.records.len(), "records")?;
    if !report.ignored.is_empty() {
        writeln!(out, "ignored  {}", harmless(&report.ignored.to_string()))?;
    }
    if let Some(error) = &report.error {
        writeln!(out, "error    {}", harmless(error))?;
    }
    writeln!(out, "outcome  {}", report.outcome.as_str())
}

/// The first records whole, and of the others what went wrong.
fn shown_findings(report: &Report) -> impl Iterator<Item = &Finding> {
    let mut pages: Vec<Option<&str>> = report.fields.iter().map(|finding| finding.page.as_deref()).collect();
    pages.dedup();
    pages.truncate(PAGES_SHOWN);
    let is_first = move |finding: &&Finding| {
        finding.row.is_none_or(|row| row <= ROWS_SHOWN) && pages.contains(&finding.page.as_deref())
    };
    let (first, others): (Vec<&Finding>, Vec<&Finding>) = report.fields.iter().partition(is_first);
    let faults = others.into_iter().filter(|finding| finding.reason.is_some());
    first.into_iter().chain(faults.take(LINES_SHOWN))
}

pub(super) fn write_finding(out: &mut String, finding: &Finding) -> std::fmt::Result {
    let row = finding.row.map_or_else(String::new, |row| format!(", row {row}"));
    let page = finding.page.as_ref().map_or_else(String::new, |page| format!(", page {}", harmless(page)));
    writeln!(out, "{}{row}{page}", harmless(&finding.field))?;
    writeln!(out, "  rule     {}", harmless(&finding.rule))?;
    writeln!(out, "  matched  {}", finding.matched)?;
    if let Some(raw) = &finding.raw {
        writeln!(out, "  raw      {}", harmless(raw))?;
    }
    if let Some(value) = &finding.value {
        writeln!(out, "  value    {}", harmless(value.get()))?;
    }
    if let Some(reason) = &finding.reason {
        writeln!(out, "  why not  {}", harmless(reason))?;
    }
    writeln!(out)
}

fn write_more(out: &mut String, count: usize, what: &str) -> std::fmt::Result {
    if count > LINES_SHOWN { writeln!(out, "         … and {} more {what}", count - LINES_SHOWN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::cursor::Cursor;
    use crate::item::Item;
    use crate::item::Reject;
    use crate::source::{Batch, Outcome, Source, SourceError};
    use anyhow::anyhow;
    use async_trait::async_trait;
    use serde_json::value::RawValue;

    /// Gives out what it was given, and then nothing more for ever, or an error.
    struct Scripted(Vec<Result<(Batch, Vec<Finding>), SourceError>>);

    #[async_trait]
    impl Source for Scripted {
        async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
            assert!(cursor.is_none(), "trying takes nothing up");
            Ok(())
        }

        async fn next(&mut self) -> Result<Batch, SourceError> {
            unreachable!("try asks for explanations")
        }

        async fn explain(&mut self) -> Result<(Batch, Vec<Finding>), SourceError> {
            if self.0.is_empty() { std::future::pending().await } else { self.0.remove(0) }
        }
    }

    fn finding(row: Option<usize>, raw: &str, reason: Option<&str>) -> Finding {
        let value = reason.is_none().then(|| serde_json::value::to_raw_value(raw).unwrap());
        let reason = reason.map(str::to_owned);
        Finding {
            page: None,
            row,
            field: "fields.a".into(),
            rule: "b".into(),
            matched: 1,
            raw: Some(raw.into()),
            value,
            reason,
        }
    }

    fn batch(items: usize) -> Batch {
        let item = || Item {
            id: None,
            kind: "page".into(),
            published_at: None,
            data: RawValue::from_string("{\"a\":\"\u{9b}1\"}".into()).unwrap(),
        };
        Batch { items: (0..items).map(|_| item()).collect(), ..Batch::default() }
    }

    struct Noon;

    impl crate::context::Clock for Noon {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            "2026-11-23T12:00:00Z".parse().unwrap()
        }
    }

    async fn report(script: Vec<Result<(Batch, Vec<Finding>), SourceError>>, listen: Option<Duration>) -> Report {
        Report::of("quotes", None, &mut Scripted(script), listen, &Context::new(Arc::new(Noon))).await
    }

    #[tokio::test]
    async fn one_fetch_is_explained_and_safe_on_a_terminal() {
        let report = report(vec![Ok((batch(1), vec![finding(None, "\u{1b}[2J\u{202e}1\n", None)]))], None).await;
        insta::assert_snapshot!(to_text(&report), @r#"
        fields.a
          rule     b
          matched  1
          raw      \u001b[2J\u202e1\u000a
          value    "\u001b[2J\u202e1\n"

        record   {"observed_at":"2026-11-23T12:00:00.000000Z","source":"quotes","id":"r_660f055503000_0_6b14naqfp04dk","type":"page","data":{"a":"\u009b1"}}
        outcome  ok
        "#);
        assert!(report.outcome.is_good());
    }

    #[tokio::test]
    async fn what_went_wrong_is_shown_and_is_no_good_outcome() {
        let reject = Reject::new(Outcome::Invalid, Some("fields.a".into()), "`x` is no number", "x");
        let findings = (1..=20).map(|row| finding(Some(row), "x", (row == 7).then_some("`x` is no number"))).collect();
        let report = report(vec![Ok((Batch { rejects: vec![reject; 12], ..batch(12) }, findings))], None).await;
        assert_eq!(report.outcome, Outcome::Invalid);
        let text = to_text(&report);
        for (wanted, count) in [
            ("fields.a, row", 4),
            ("row 7\n", 1),
            ("why not  `x` is no number", 1),
            ("reject   fields.a: `x` is no number", 10),
            ("… and 2 more rejects", 1),
            ("… and 2 more records", 1),
            ("outcome  invalid", 1),
        ] {
            assert_eq!(text.matches(wanted).count(), count, "{wanted} in {text}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_with_its_causes() {
        let lost = SourceError::Lost(anyhow!("reset").context("cannot_connect: no connection"));
        let report = report(vec![Err(lost)], None).await;
        insta::assert_snapshot!(to_text(&report), @r"
        error    connection lost: cannot_connect: no connection: reset
        outcome  error
        ");
        insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"source":"quotes","outcome":"error","error":"connection lost: cannot_connect: no connection: reset","fields":[],"records":[],"rejects":[]}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_listened_to_for_its_time() {
        let script = || vec![Ok((batch(2), vec![])), Ok((batch(3), vec![]))];
        let listened = report(script(), Some(Duration::from_secs(10))).await;
        assert_eq!((listened.records.len(), listened.outcome), (5, Outcome::Ok));
        let mut ending = script();
        ending.push(Err(SourceError::Ended));
        assert_eq!(report(ending, Some(Duration::from_secs(10))).await.records.len(), 5);
    }
}
