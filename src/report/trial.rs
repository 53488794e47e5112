//! What trying a source comes to: one fetch, or some seconds of a stream, and how each field came about.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::context::Context;
use crate::item::{Finding, Ignored, Reject};
use crate::normalise::Normaliser;
use crate::source::{Batch, Outcome, Source, SourceError};
use crate::transform::Transform;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The source's name.
    pub source: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it failed, where it failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How each field came about.
    pub fields: Vec<Finding>,
    /// The records, as lines.
    pub records: Vec<Box<RawValue>>,
    /// What could not become a record.
    pub rejects: Vec<Reject>,
    /// What came and is not wanted, by the key that says so.
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    pub ignored: Ignored,
}

impl Report {
    /// Asks once; or listens as long as it is told to.
    pub async fn of(
        name: &str,
        transform: Option<&Transform>,
        source: &mut dyn Source,
        listen: Option<Duration>,
        context: &Context,
    ) -> Self {
        let mut report = Self::new(name);
        let result = match listen {
            None => report.ask(source, transform, context).await,
            Some(listen) => {
                let deadline = Instant::now() + listen;
                // Running out of time is how listening ends.
                timeout_at(deadline, report.listen(source, transform, context)).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = result {
            report.fail(&error);
        }
        report
    }

    /// Of what a source has made of a page that somebody saved.
    pub fn of_page(
        name: &str,
        transform: Option<&Transform>,
        (mut batch, findings): (Batch, Vec<Finding>),
        context: &Context,
    ) -> Self {
        let mut report = Self::new(name);
        if let Some(transform) = transform {
            transform.apply_here(&mut batch);
        }
        report.take((batch, findings), context);
        report
    }

    fn new(name: &str) -> Self {
        let (fields, records, rejects) = (vec![], vec![], vec![]);
        Self {
            source: name.into(),
            outcome: Outcome::Ok,
            error: None,
            fields,
            records,
            rejects,
            ignored: Ignored::default(),
        }
    }

    async fn ask(
        &mut self,
        source: &mut dyn Source,
        transform: Option<&Transform>,
        context: &Context,
    ) -> Result<(), SourceError> {
        source.connect(None).await?;
        self.hear(source.explain().await?, transform, context).await;
        Ok(())
    }

    async fn listen(
        &mut self,
        source: &mut dyn Source,
        transform: Option<&Transform>,
        context: &Context,
    ) -> Result<(), SourceError> {
        source.connect(None).await?;
        loop {
            let (batch, findings) = source.explain().await?;
            let wait = batch.wait;
            self.hear((batch, findings), transform, context).await;
            // What wants to be left alone is not asked again and again.
            tokio::time::sleep(wait).await;
        }
    }

    async fn hear(
        &mut self,
        (mut batch, findings): (Batch, Vec<Finding>),
        transform: Option<&Transform>,
        context: &Context,
    ) {
        if let Some(transform) = transform {
            transform.apply(&mut batch).await;
        }
        self.take((batch, findings), context);
    }

    fn take(&mut self, (batch, findings): (Batch, Vec<Finding>), context: &Context) {
        let outcome = batch.outcome();
        self.ignored.extend(&batch.ignored);
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
