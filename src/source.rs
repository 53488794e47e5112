//! The contract between an adapter and the driver.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde_json::value::RawValue;
use url::Url;

use crate::context::Context;
use crate::cursor::{Cursor, Recall};
use crate::item::{Change, Finding, Ignored, Item, Reject, Suggestion};
pub use crate::opener::{Adapter, Opener, ParseSettings};
pub use crate::outcome::Outcome;

/// A place that records come from.
///
/// An adapter only speaks its protocol. Waiting, retrying, stopping, counting and saving cursors belong to the
/// driver: an adapter has no retry loop, no sleep, no metric and no shutdown branch.
#[async_trait]
pub trait Source: Send {
    /// Opens the connection, continuing after `cursor` if upstream can.
    ///
    /// Called before the first [`next`](Self::next), and again, after a back-off, when a call returned
    /// [`SourceError::Lost`]. A polled adapter that keeps no connection only takes up its cursor here.
    ///
    /// # Errors
    /// Each variant of [`SourceError`] is an instruction to the driver.
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError>;

    /// Where the connection that was just made begins, if upstream can go on from there.
    ///
    /// The driver asks after the very first [`connect`](Self::connect) of a source, and saves it before it reads: a
    /// process that is killed before its first batch is committed knows what it missed all the same. Later positions
    /// come with the batches.
    fn cursor(&self) -> Option<Cursor> {
        None
    }

    /// Takes up what was saved beside the cursor, once, before the first [`connect`](Self::connect).
    fn recall(&mut self, _recall: Recall) {}

    /// Says for which scheduled time the next call of [`next`](Self::next) is: what is asked for may depend on it.
    fn slot(&mut self, _slot: DateTime<Utc>) {}

    /// Returns the next batch: for a polled source what one tick brought, for a stream what has arrived.
    ///
    /// Cancel-safe: when the future is dropped, nothing is lost that a later call would not bring.
    ///
    /// # Errors
    /// Each variant of [`SourceError`] is an instruction to the driver.
    async fn next(&mut self) -> Result<Batch, SourceError>;

    /// Does what [`next`](Self::next) does, and tells how each field came about, for `tapline try`.
    ///
    /// An adapter that hands on what upstream sends has nothing to explain and keeps this.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    async fn explain(&mut self) -> Result<(Batch, Vec<Finding>), SourceError> {
        Ok((self.next().await?, Vec::new()))
    }

    /// How long upstream wants to be left alone after a connection that ended, where it has said so. A stream waits at least
    /// this long before it connects again, also where it would do so at once.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }

    /// What there is to say about the source itself since the last call: rules changed, a part of a gap filled.
    ///
    /// The driver asks after every [`connect`](Self::connect), also one that failed, and after every
    /// [`next`](Self::next) that brought a batch, and writes the notes to the ledger in the same commit.
    fn notes(&mut self) -> Vec<Note> {
        Vec::new()
    }

    /// The page that the last [`explain`](Self::explain) fetched, for those who save it.
    fn fetched(&mut self) -> Option<String> {
        None
    }

    /// What is not as it should be at this moment, though records come. The driver asks after every
    /// [`next`](Self::next) that brought a batch, and a person is told, mildly.
    fn ailments(&self) -> Vec<Ailment> {
        Vec::new()
    }
}

/// Something that is not as it should be, though records come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ailment {
    /// What it is about, such as the path of a field.
    pub about: String,
    /// What is wrong, in words.
    pub why: String,
}

/// A page that somebody saved, and what a source is expected to make of it.
#[derive(Debug, Clone)]
pub struct PageTest {
    /// The page's file, from the folder of the source's own.
    pub page: String,
    /// The values that it is asked for with, by the names that the source's file gives them.
    pub values: BTreeMap<String, String>,
    /// The files of pages that it links to, by the links as the page has them.
    pub follow: BTreeMap<String, String>,
    /// What is expected: fields by name, a list of records, `outcome` or `rejects`.
    pub expect: serde_json::Value,
}

/// A page that somebody saved, with what belongs to it.
#[derive(Debug, Clone, Default)]
pub struct SavedPage {
    /// The page.
    pub bytes: Vec<u8>,
    /// See [`PageTest::values`].
    pub values: BTreeMap<String, String>,
    /// The pages that it links to, by the links as it has them.
    pub follow: BTreeMap<String, Vec<u8>>,
}

impl From<Vec<u8>> for SavedPage {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// Something about the source itself that belongs in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// The entry's `type`, such as `filled`.
    pub kind: &'static str,
    /// The entry's `data`, an object.
    pub data: serde_json::Value,
    /// For something wrong with a value of the YAML file: its path. The driver adds file, line and column, and warns.
    pub path: Option<Vec<String>>,
}

impl Note {
    /// An entry.
    pub fn new(kind: &'static str, data: serde_json::Value) -> Self {
        Self { kind, data, path: None }
    }

    /// Upstream has sent again everything from `from` until `to`, the bounds of what was asked for. Where that covers a
    /// gap, the gap is filled. `by` is how, in one word: `backfill`, `recovery`, `search`.
    pub fn filled(from: DateTime<Utc>, to: DateTime<Utc>, by: &str) -> Self {
        let [from, to] = [from, to].map(|at| crate::record::time_text(&at));
        Self::new("filled", serde_json::json!({ "from": from, "to": to, "by": by }))
    }

    /// Upstream does not take a value of the YAML file.
    pub fn problem(problem: Problem) -> Self {
        Self { kind: "problem", data: serde_json::json!({ "why": problem.message }), path: Some(problem.path) }
    }
}

/// How many records a source may bring. Where upstream bills them, that is what they may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// In one day of UTC.
    pub per_day: Option<u64>,
    /// In one month of UTC.
    pub per_month: Option<u64>,
}

/// What one call of [`Source::next`] brought.
#[derive(Debug, Default)]
pub struct Batch {
    /// What was extracted, in upstream's order.
    pub items: Vec<Item>,
    /// What could not be extracted. Parsing never fails a batch.
    pub rejects: Vec<Reject>,
    /// The position after these items; saved once they are durable. `None` leaves the last one.
    pub cursor: Option<Cursor>,
    /// What is saved beside the cursor, being too large for it: changed parts by their numbers; `None` forgets one.
    pub parts: Vec<(u32, Option<Box<RawValue>>)>,
    /// How long upstream wants to be left alone before the next call; zero for a live stream. A schedule waits
    /// for its own next tick, or for this where it is longer.
    pub wait: Duration,
    /// What became of the tick, when items and rejects do not tell: [`Outcome::NotModified`],
    /// [`Outcome::Unchanged`]. `None` lets the driver derive it.
    pub outcome: Option<Outcome>,
    /// What changed upstream, at the first tick that is not as it should be.
    pub change: Option<Box<Change>>,
    /// What came and is not wanted.
    pub ignored: Ignored,
}

impl Batch {
    /// What became of the tick that brought this batch.
    ///
    /// The worst of what happened, so that a page with one missing field is never counted as ok.
    pub fn outcome(&self) -> Outcome {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        let worst = [Outcome::Blocked, Outcome::Error, Outcome::Missing, Outcome::Invalid];
        let is = |outcome: &Outcome| self.rejects.iter().any(|reject| reject.outcome == *outcome);
        worst.into_iter().find(is).unwrap_or(Outcome::Ok)
    }
}

/// Why a call failed, named by what the driver does about it. Every variant keeps its cause.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The connection broke, or could not be made. A polled source tries again at its next tick; a stream reconnects,
    /// soon.
    #[error("connection lost")]
    Lost(#[source] anyhow::Error),
    /// Nothing has come for so long that the connection is dead. What is missing begins where it was last heard.
    #[error("silent for {}", humantime::format_duration(*quiet))]
    Silent {
        /// How long, until now.
        quiet: Duration,
    },
    /// Upstream answers, but with an error that may pass. A stream reconnects, each time later.
    #[error("upstream fails")]
    Failing(#[source] anyhow::Error),
    /// Upstream counts this client's requests, and does not say when it may come again: a stream waits for minutes.
    #[error("upstream is asked too often")]
    Limited(#[source] anyhow::Error),
    /// Upstream asked to be left alone for a while.
    #[error("told to wait {}", humantime::format_duration(*wait))]
    Throttled {
        /// How long, from now.
        wait: Duration,
        /// What it answered.
        #[source]
        cause: anyhow::Error,
    },
    /// Upstream refuses this client (a block page, a login): tried again at the next tick, and named as blocked.
    #[error("blocked")]
    Blocked(#[source] anyhow::Error),
    /// Asking again cannot help: this source stops until its file is edited.
    #[error("refused")]
    Refused(#[source] anyhow::Error),
    /// There is nothing more to come: the source is finished.
    #[error("end of input")]
    Ended,
}

/// An adapter's settings: the keys of a source's YAML that are not common to all sources.
pub trait Settings: JsonSchema + Clone + Send + Sync + 'static {
    /// The `kind:` that users write.
    const KIND: &'static str;
    /// One sentence for lists of adapters.
    const ABOUT: &'static str;
    /// A complete source file. A test parses it, and the docs print it.
    const EXAMPLE: &'static str;
    /// Whether the source asks at set times. A polled source needs `every` or `cron`; a stream takes neither.
    const POLLED: bool;
    /// Whether upstream may send again what it sent before, and its ids tell. The driver then drops what stands in the
    /// stream already, over restarts too.
    const REPLAYS: bool = false;
    /// Whether it runs programs of this machine. Who may type a source into a page need not be allowed to do that.
    const RUNS_PROGRAMS: bool = false;

    /// Reads them: [`parts::whole`](crate::parts::whole) of one struct, [`Parts`](crate::parts::Parts) of several.
    ///
    /// # Errors
    /// What is wrong with their form, each at its place.
    fn read(value: serde_json::Value) -> Result<Self, Vec<Problem>>;

    /// What is wrong that the types alone cannot say, such as a selector that does not compile.
    fn problems(&self) -> Vec<Problem>;

    /// How many records it may bring. No limit, by default.
    fn budget(&self) -> Budget {
        Budget::default()
    }

    /// The addresses that it will connect to, for those who look whether these can be reached. Only scheme, host and port
    /// of each are looked at. A source that goes nowhere by itself has none.
    fn upstream(&self) -> Vec<Url> {
        Vec::new()
    }

    /// The names that a record's `data` has, where the file alone says them. `None`, the default, is for what upstream
    /// names itself.
    fn data_names(&self) -> Option<Vec<String>> {
        None
    }

    /// What the file itself says that saved pages become.
    fn tests(&self) -> Vec<PageTest> {
        Vec::new()
    }

    /// Makes of a page that somebody saved what it would make of a fetched one. `None`, the default: it reads no pages.
    fn read_page(&self, _page: &SavedPage) -> Option<anyhow::Result<(Batch, Vec<Finding>)>> {
        None
    }

    /// Proposes rules for the fields that the page `now` lacks. `was` is a page that had them; `values` are texts that
    /// somebody sees now, by the field's name. `None`, the default: it reads no pages.
    fn suggest(
        &self,
        _now: &str,
        _was: Option<&str>,
        _values: &[(String, String)],
    ) -> Option<anyhow::Result<Vec<Suggestion>>> {
        None
    }

    /// Makes the source. No network yet: that begins with [`Source::connect`].
    ///
    /// # Errors
    /// When something outside the file is missing. What is wrong with the file itself belongs to
    /// [`problems`](Self::problems), where it gets a line and a column.
    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>>;
}

/// Something wrong with a value of a YAML file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The value's place: `["fields", "price", "css"]`. An index of a list is its number as text.
    pub path: Vec<String>,
    /// What is wrong, what is allowed, what to do. Lowercase, no final stop.
    pub message: String,
}

impl Problem {
    /// A problem of the value at `path`.
    pub fn new<S: Into<String>>(path: impl IntoIterator<Item = S>, message: impl Into<String>) -> Self {
        Self { path: path.into_iter().map(Into::into).collect(), message: message.into() }
    }
}

impl From<serde_path_to_error::Error<serde_json::Error>> for Problem {
    fn from(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        use serde_path_to_error::Segment;
        let path = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Self::new(path.collect::<Vec<_>>(), error.inner().to_string())
    }
}
