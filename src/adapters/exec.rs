//! A program whose lines are records: JSON, text, or the messages of a Singer tap.
//!
//! Facts: the Singer specification (hub.meltano.com/singer/spec). The cursor is the last STATE of a tap, which is given back
//! to it by `--state`; it is saved with the records before it. Of other programs there is none.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod child;
mod ending;
mod files;
mod known;
mod left;
mod lines;
mod singer;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::ending::Programs;
use self::stream::Stream;
use crate::context::Context;
use crate::message::MessageKeys;
use crate::parts::Parts;
use crate::source::{Problem, Settings, Source};
use crate::units::{Size, Span};

/// The longest line that may be allowed.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// What the lines of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A value in JSON each.
    #[default]
    Json,
    /// Any text.
    Text,
    /// Messages of a Singer tap: SCHEMA, RECORD, STATE.
    Singer,
}

/// A program that runs as long as the source does. Each line of its standard output is a record; what it writes to its
/// standard error is in the log. It is started again when it ends, later and later when it fails.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments: `[tail, -F, /var/log/app.log]`. No shell is in between. Everybody on the machine can see
    /// arguments (`ps`): secrets go into `env`, or into a tap's `config`.
    pub command: Vec<String>,
    /// What its environment has beside `PATH`, `HOME`, `LANG`, `TZ`, and a mark of tapline's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The folder that it runs in; tapline's own by default.
    #[serde(default)]
    pub folder: Option<String>,
    /// What its lines are: `json`, the default, `text`, or `singer`, for a Singer tap.
    #[serde(default)]
    pub format: Format,
    /// The configuration of a Singer tap, which it gets as a file by `--config`. What it writes into that is lost: name a file of
    /// your own in `command` for a tap that does.
    #[serde(default)]
    pub config: Option<Value>,
    /// The catalog of a Singer tap, which it gets as a file by `--catalog`: what it prints by `--discover`, with the streams that
    /// are wanted `selected`.
    #[serde(default)]
    pub catalog: Option<Value>,
    /// How long after a good end (status 0) it is started again. Without it an end is as a broken connection, and it is started
    /// again soon, and later and later when that happens often.
    #[serde(default)]
    pub again: Option<Span>,
    /// After how long without a whole line, or an empty one, it is ended and started again. Never, by default.
    #[serde(default)]
    pub idle: Option<Span>,
    /// The longest line; 4MiB by default. A longer one becomes a reject with its beginning.
    #[serde(default = "default_max_line")]
    pub max_line: Size,
    /// What its lines are made into, where they are JSON.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub message: MessageKeys,
}

fn default_max_line() -> Size {
    Size(4 << 20)
}

/// Ends the programs that a tapline left running which was killed.
pub(crate) async fn sweep(context: &Context) {
    context.shared::<Programs>().sweep().await;
}

impl Exec {
    fn own_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: &str| problems.push(Problem::new([key], message));
        if self.command.first().is_none_or(String::is_empty) {
            wrong("command", "name the program and its arguments, such as `[tail, -F, /var/log/app.log]`");
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            wrong("command", "a NUL cannot stand in an argument");
        }
        if self.env.iter().any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
            wrong("env", "a name has no `=`, and neither a name nor a value has a NUL");
        }
        if self.idle.is_some_and(|idle| idle.0 < Duration::from_secs(1)) {
            wrong("idle", "too short; at least 1s");
        }
        if self.again.is_some_and(|again| again.0 < Duration::from_secs(1)) {
            wrong("again", "too short; at least 1s");
        }
        if !(1..=LINE_BYTES_MAX).contains(&self.max_line.0) {
            wrong("max_line", "from 1 byte to 64MiB");
        }
        if self.format != Format::Singer {
            let given = [("config", self.config.is_some()), ("catalog", self.catalog.is_some())];
            given
                .into_iter()
                .filter(|(_, given)| *given)
                .for_each(|(key, _)| wrong(key, "this belongs to `format: singer`"));
        }
        problems
    }
}

impl Settings for Exec {
    const KIND: &'static str = "exec";
    const ABOUT: &'static str = "the lines of a program, or the records of a Singer tap";
    const EXAMPLE: &'static str = include_str!("exec/example.yaml");
    const POLLED: bool = false;
    const REPLAYS: bool = true;
    const RUNS_PROGRAMS: bool = true;

    fn read(value: Value) -> Result<Self, Vec<Problem>> {
        let mut parts = Parts::of(value);
        let message = parts.take();
        let own: Option<Self> = parts.rest();
        parts.end(message.zip(own).map(|(message, own)| Self { message, ..own }))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.message.problems();
        problems.extend(self.own_problems());
        problems
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        Ok(Box::new(Stream::new(self, context)?))
    }
}
