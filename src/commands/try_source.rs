//! `tapline try`: one fetch, or some seconds of a stream, and how each field came about.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::cli::Global;
use crate::context::{Context, SystemClock};
use crate::item::{Finding, Reject};
use crate::normalise::Normaliser;
use crate::source::{Batch, Outcome, Source, SourceError};
use crate::units::Span;

use super::simulate::parse_span;
use super::sources;
use super::terminal::harmless;

/// How many records are shown with all their fields; of the others only what went wrong is.
const ROWS_SHOWN: usize = 3;
/// How many faults, and how many records, are shown at most.
const LINES_SHOWN: usize = 10;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tapline try sources/bseindex.yaml")]
pub struct Try {
    /// The source's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How long to listen to a stream
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span)]
    listen: Span,
    /// Print one JSON object with everything
    #[arg(long)]
    json: bool,
}

impl Try {
    /// Carries out the command. The exit code is 1 when the outcome is not a good one.
    ///
    /// # Errors
    /// When the source cannot be set up, or standard output cannot be written.
    pub fn run(self, _global: &Global) -> anyhow::Result<ExitCode> {
        let config = match sources::load_source(&self.file) {
            Ok(config) => config,
            Err(wrong) => {
                sources::say(&wrong);
                return Ok(ExitCode::FAILURE);
            }
        };
        let context = Context::new(Arc::new(SystemClock));
        let report = tokio::runtime::Runtime::new()?.block_on(async {
            let mut source = config.settings.open(&context)?;
            let listen = config.schedule.is_none().then_some(self.listen.0);
            anyhow::Ok(Report::of(&config.name, source.as_mut(), listen, &context).await)
        })?;
        let text = if self.json { serde_json::to_string(&report)? + "\n" } else { report.to_text() };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(if report.outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    source: String,
    outcome: Outcome,
    /// Why it failed, where it failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    fields: Vec<Finding>,
    records: Vec<Box<RawValue>>,
    rejects: Vec<Reject>,
}

impl Report {
    /// Asks once; or listens as long as it is told to.
    async fn of(name: &str, source: &mut dyn Source, listen: Option<Duration>, context: &Context) -> Self {
        let mut report = Self {
            source: name.into(),
            outcome: Outcome::Ok,
            error: None,
            fields: vec![],
            records: vec![],
            rejects: vec![],
        };
        let result = match listen {
            None => report.ask(source, context).await,
            Some(listen) => {
                let deadline = Instant::now() + listen;
                // Running out of time is how listening ends.
                timeout_at(deadline, report.listen(source, context)).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = result {
            report.fail(&error);
        }
        report
    }

    async fn ask(&mut self, source: &mut dyn Source, context: &Context) -> Result<(), SourceError> {
        source.connect(None).await?;
        self.take(source.explain().await?, context);
        Ok(())
    }

    async fn listen(&mut self, source: &mut dyn Source, context: &Context) -> Result<(), SourceError> {
        source.connect(None).await?;
        loop {
            self.take(source.explain().await?, context);
        }
    }

    fn take(&mut self, (batch, findings): (Batch, Vec<Finding>), context: &Context) {
        let outcome = batch.outcome();
        if self.outcome.is_good() {
            self.outcome = outcome;
        }
        self.fields.extend(findings);
        let (now, normaliser) = (context.now(), Normaliser::new(self.source.as_str().into()));
        let records = batch.items.into_iter().enumerate();
        let lines = records.map(|(ordinal, item)| normaliser.record(item, now, ordinal, now).to_line());
        self.records.extend(lines.map(|line| {
            RawValue::from_string(line.trim_end().to_owned()).expect("invariant: a record's line is JSON")
        }));
        self.rejects.extend(batch.rejects);
    }

    fn fail(&mut self, error: &SourceError) {
        self.outcome = match error {
            SourceError::Lost(_) | SourceError::Silent { .. } | SourceError::Failing(_) => Outcome::Error,
            SourceError::Limited(_)
            | SourceError::Throttled { .. }
            | SourceError::Blocked(_)
            | SourceError::Refused(_) => Outcome::Blocked,
            // A source that has said everything has not failed.
            SourceError::Ended => return,
        };
        let causes: Vec<String> = causes(error).collect();
        self.error = Some(causes.join(": "));
    }

    /// The report for people, safe on a terminal.
    fn to_text(&self) -> String {
        let mut out = String::new();
        self.write_text(&mut out).expect("invariant: a string takes all that is written");
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        for finding in self.shown_findings() {
            write_finding(out, finding)?;
        }
        for reject in self.rejects.iter().take(LINES_SHOWN) {
            let field = reject.field.as_deref().unwrap_or("page");
            writeln!(out, "reject   {}: {}", harmless(field), harmless(&reject.reason))?;
        }
        write_more(out, self.rejects.len(), "rejects")?;
        for record in self.records.iter().take(LINES_SHOWN) {
            writeln!(out, "record   {}", harmless(record.get()))?;
        }
        write_more(out, self.records.len(), "records")?;
        if let Some(error) = &self.error {
            writeln!(out, "error    {}", harmless(error))?;
        }
        writeln!(out, "outcome  {}", self.outcome.as_str())
    }

    /// The first records whole, and of the others what went wrong.
    fn shown_findings(&self) -> impl Iterator<Item = &Finding> {
        let is_first = |finding: &&Finding| finding.row.is_none_or(|row| row <= ROWS_SHOWN);
        let first = self.fields.iter().filter(is_first);
        let faults = self.fields.iter().filter(move |finding| !is_first(finding) && finding.reason.is_some());
        first.chain(faults.take(LINES_SHOWN))
    }
}

fn write_finding(out: &mut String, finding: &Finding) -> std::fmt::Result {
    match finding.row {
        Some(row) => writeln!(out, "{}, row {row}", harmless(&finding.field))?,
        None => writeln!(out, "{}", harmless(&finding.field))?,
    }
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

/// Each cause once: an error often repeats the words of the one it wraps.
fn causes(error: &SourceError) -> impl Iterator<Item = String> {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Cursor;
    use crate::item::Item;
    use anyhow::anyhow;
    use async_trait::async_trait;

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
        Finding { row, field: "fields.a".into(), rule: "b".into(), matched: 1, raw: Some(raw.into()), value, reason }
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
        Report::of("quotes", &mut Scripted(script), listen, &Context::new(Arc::new(Noon))).await
    }

    #[tokio::test]
    async fn one_fetch_is_explained_and_safe_on_a_terminal() {
        let report = report(vec![Ok((batch(1), vec![finding(None, "\u{1b}[2J\u{202e}1\n", None)]))], None).await;
        insta::assert_snapshot!(report.to_text(), @r#"
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
        let text = report.to_text();
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
        insta::assert_snapshot!(report.to_text(), @r"
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
