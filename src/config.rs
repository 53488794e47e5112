//! Configuration: what the YAML files say, resolved, with a default for everything that has one.
//!
//! The types here are the vocabulary of the rest of the program. How text becomes them (positions, suggestions,
//! `${…}`, all errors at once) is in the files of `config/`.

mod alerts;
mod common;
mod diagnostic;
mod drift;
mod http;
mod keys;
mod load;
mod loaders;
pub mod preset;
mod read;
pub mod schema;
mod substitute;
mod words;
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::alerts::{Alert, Incidents};
pub use self::common::check_name;
pub use self::diagnostic::Diagnostic;
pub use self::drift::{Drift, HitRate};
pub use self::http::{Http, HttpKeys};
pub use self::keys::nearest;
pub use self::load::{Outside, diagnostic_at, is_source_file, load_service, load_source, place_of, read_source};
pub use self::loaders::{BatchKeys, Load, Patterns};
pub use self::substitute::{expand, files_named};
use crate::context::Context;
use crate::reach::Reach;
use crate::source::{Opener, Source};
use crate::template::Template;
use crate::transform::Transform;
use crate::units::{Size, Span};

/// The service: `config/tapline.yaml`. Everything in it has a default.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// The folder that records are written to.
    pub data: PathBuf,
    /// When a segment is closed and the next begun.
    pub rotate: Rotate,
    /// How closed segments are compressed: `zstd`, `gzip` or `off`.
    pub compress: Compress,
    /// What is kept. Without it everything is.
    pub retain: Retain,
    /// What is promised when the machine fails: `commit` (a group of records five times a second is on the disk),
    /// `each` (every batch is), `process` (nothing is lost when tapline is killed, but some may be when the power fails).
    pub durability: Durability,
    /// How records are gathered into commits.
    pub commit: Commit,
    /// Where it stops.
    pub limits: Limits,
    /// The live page, metrics and health answers: `off`, or where they are and who may see them.
    pub http: Http,
    /// Stores that records are carried into.
    pub loaders: Vec<Load>,
    /// Where a person is told that something is broken.
    pub alerts: Vec<Alert>,
    /// When something is an incident, and how often anybody is told.
    pub incidents: Incidents,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            data: "data".into(),
            rotate: Rotate::default(),
            compress: Compress::default(),
            retain: Retain::default(),
            durability: Durability::default(),
            commit: Commit::default(),
            limits: Limits::default(),
            http: Http::default(),
            loaders: Vec::new(),
            alerts: Vec::new(),
            incidents: Incidents::default(),
        }
    }
}

/// When a segment is closed and the next begun: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// The most uncompressed bytes in one segment.
    pub size: Size,
    /// The longest time one segment covers, aligned to the clock in the source's time zone.
    pub every: Span,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { size: Size(64 << 20), every: Span(Duration::from_hours(1)) }
    }
}

/// How closed segments are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Zstandard.
    #[default]
    Zstd,
    /// gzip, for tools that read nothing else.
    Gzip,
    /// Left as they are.
    Off,
}

/// What is kept of closed segments. A limit that is not set does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retain {
    /// Segments older than this are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// The oldest segments are deleted until all together take no more bytes on disk than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// What is promised when the machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Records are on the disk within 200 ms or 1 MiB.
    #[default]
    Commit,
    /// Every batch is on the disk before the next is taken.
    Each,
    /// Records are with the operating system: safe when tapline dies, not when the power does.
    Process,
}

/// How records are gathered into commits: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Commit {
    /// The longest that a record waits for its commit.
    pub every: Span,
    /// So many bytes are committed at once.
    pub size: Size,
}

impl Default for Commit {
    fn default() -> Self {
        Self { every: Span(Duration::from_millis(200)), size: Size(1 << 20) }
    }
}

/// Where the service stops by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// With less free space than this nothing is written until there is more.
    pub disk_free: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self { disk_free: Size(256 << 20) }
    }
}

/// One source, read from its file and checked.
#[derive(Clone)]
pub struct SourceConfig {
    /// The file's name without `.yaml`.
    pub name: Arc<str>,
    /// Where the file is.
    pub path: PathBuf,
    /// The adapter's `kind`.
    pub kind: &'static str,
    /// Whether it runs.
    pub enabled: bool,
    /// When a polled source asks; `None` for a stream.
    pub schedule: Option<Schedule>,
    /// Where and how its records are written.
    pub output: Output,
    /// The zone of rotation and of dates in addresses, and of `cron` and `active` where they name none.
    pub timezone: Tz,
    /// How often a stream may connect.
    pub connects: Connects,
    /// When its ticks fail so often that a person is told.
    pub drift: Drift,
    /// What becomes of its items before they are written.
    pub transform: Option<Transform>,
    /// Whether it may connect to private networks by names of the public internet.
    pub allow_private: bool,
    /// The adapter's part.
    pub settings: Arc<dyn Opener>,
    /// A hash of the file's text with everything it refers to, so that an edit is seen.
    pub fingerprint: String,
}

impl SourceConfig {
    /// Makes the source, which can connect only to where it may.
    ///
    /// # Errors
    /// See [`crate::source::Settings::open`].
    pub fn open(&self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let reach = Reach::of(self.settings.upstream(), self.allow_private);
        self.settings.open(&context.reaching(reach).of_source(&self.name, &self.fingerprint, self.timezone))
    }
}

/// How often a stream may connect, whatever happens to its connections: what upstream grants in a window is not used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Connects {
    /// The most connections that upstream accepts in that time; 15 by default.
    #[schemars(range(min = 1))]
    pub max: u32,
    /// That time; 15m by default.
    pub per: Span,
}

impl Default for Connects {
    fn default() -> Self {
        Self { max: 15, per: Span(Duration::from_mins(15)) }
    }
}

/// When a polled source asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The rhythm.
    pub when: When,
    /// How far after each full period it asks. `None` spreads sources of equal period by a hash of their names.
    pub offset: Option<Duration>,
    /// The times at which it asks at all. `None` is always.
    pub active: Option<Active>,
}

/// The rhythm of a polled source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At fixed deadlines this far apart; at least 100 ms.
    Every(Duration),
    /// At the times of a cron expression (five fields, or six with seconds first).
    Cron {
        /// The expression as written.
        expression: String,
        /// The zone that it is meant in.
        timezone: Tz,
    },
}

/// The times at which a source asks at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// Monday first; whether the source asks on that day.
    pub days: [bool; 7],
    /// The first moment of the window, in local time.
    pub from: NaiveTime,
    /// The first moment after it. Not later than `from` means past midnight, into the next day.
    pub to: NaiveTime,
    /// The zone of all this.
    pub timezone: Tz,
    /// Days on which the source does not ask.
    pub holidays: Vec<NaiveDate>,
}

/// Where and how a source's records are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The stream; `None` is one of the source's own name.
    pub stream: Option<String>,
    /// The name of the link to tail, in the data folder; `None` is the stream's name with `.out`.
    pub link: Option<String>,
    /// A template for a text rendering beside the segments, which the link then points at.
    pub format: Option<Template>,
    /// Overrides the service's.
    pub rotate: Option<Rotate>,
    /// Overrides the service's.
    pub compress: Option<Compress>,
    /// Overrides the service's.
    pub retain: Option<Retain>,
}
