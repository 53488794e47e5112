//! `alerts:` and `incidents:` of the service's file: who is told, and of what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alert::{Kind, Wrong};
use crate::source::Problem;
use crate::units::{Size, Span};

use super::common::check_name;

/// With fewer there would be no room for the message that says so, and for a disk that is full.
const PER_HOUR_MIN: usize = 3;

/// A destination that takes longer has gone wrong.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// Where a person is told that something is broken.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Where: `https://…` (a webhook), `slack+https://…`, `smtp://…` or `smtps://…`, `command:/path/of/a/program`.
    pub to: String,
    /// What the destination is called in logs and commands; made of the address by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kinds of incident that are told there; all of them by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Kind>,
    /// How long it may take; 30s by default. A command that takes longer is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// E-mail: the sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// E-mail: who gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Webhook: headers that are sent too, such as `Authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Command: what the program is called with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// The address, the headers and the arguments may have secrets in them.
impl fmt::Debug for Alert {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Alert").field("name", &self.name).field("only", &self.only).finish_non_exhaustive()
    }
}

impl Alert {
    /// A destination of which nothing but the address is said.
    pub fn new(to: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            name: None,
            only: Vec::new(),
            timeout: None,
            from: None,
            recipients: Vec::new(),
            headers: BTreeMap::new(),
            args: Vec::new(),
        }
    }

    /// The keys that are set of those that only some destinations have.
    pub fn own_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("from", self.from.is_some()),
            ("recipients", !self.recipients.is_empty()),
            ("headers", !self.headers.is_empty()),
            ("args", !self.args.is_empty()),
        ];
        keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key)
    }
}

/// When something is an incident, and how often anybody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Incidents {
    /// What this tapline is called in messages; by default the name of its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was wrong for so long is an incident, and `ticks` ticks in a row of a source that asks at set times. 5m by
    /// default.
    pub after: Span,
    /// How many ticks in a row must have failed; 3 by default.
    #[schemars(range(min = 1))]
    pub ticks: u64,
    /// A source that asks so seldom that `ticks` ticks take longer than this: its failure is an incident after so long.
    /// 2h by default.
    pub at_latest: Span,
    /// A store that did not take records for so long is an incident; 15m by default. Nothing is lost meanwhile.
    pub store_after: Span,
    /// A loader whose next record was seen so long ago is an incident; 1h by default.
    pub behind: Span,
    /// With less free space than this the disk is nearly full; 1GiB by default, and never less than twice
    /// `limits.disk_free`.
    pub disk_free: Size,
    /// An incident is over when all has been well for so long; 5m by default. Each time that it comes back soon, twice
    /// as long as before.
    pub over_after: Span,
    /// An incident that goes on is said again after so long, and each time so long after; 24h by default.
    pub remind_every: Span,
    /// The most messages in any hour; 10 by default. What is more is told later, in one.
    #[schemars(range(min = 3))]
    pub per_hour: usize,
}

impl Default for Incidents {
    fn default() -> Self {
        Self {
            name: None,
            after: Span(Duration::from_mins(5)),
            ticks: 3,
            at_latest: Span(Duration::from_hours(2)),
            store_after: Span(Duration::from_mins(15)),
            behind: Span(Duration::from_hours(1)),
            disk_free: Size(1 << 30),
            over_after: Span(Duration::from_mins(5)),
            remind_every: Span(Duration::from_hours(24)),
            per_hour: 10,
        }
    }
}

/// What is wrong with alerts that the types alone cannot say. `name_of` gives the default name of a destination, or says
/// what is wrong with it.
pub(super) fn check(alerts: &[Alert], name_of: &dyn Fn(&Alert) -> Result<String, Wrong>) -> Vec<Problem> {
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for (index, alert) in alerts.iter().enumerate() {
        let mut wrong = |key: &str, why: String| {
            problems.push(Problem::new(["alerts", &index.to_string(), key], why));
        };
        if alert.timeout.is_some_and(|timeout| timeout.0.is_zero() || timeout.0 > TIMEOUT_MAX) {
            wrong("timeout", "from 1ms to 10m is possible".to_owned());
        }
        let name = match (&alert.name, name_of(alert)) {
            (_, Err((key, why))) => {
                wrong(key, format!("{why:#}"));
                continue;
            }
            (Some(name), Ok(_)) => name.clone(),
            (None, Ok(name)) => name,
        };
        if let (Some(name), Err(why)) = (&alert.name, check_name(&name)) {
            wrong("name", format!("`{name}` cannot be a destination's name: {why}"));
        }
        if !names.insert(name.clone()) {
            wrong("name", format!("there is a destination `{name}` already; give this one a `name` of its own"));
        }
    }
    problems
}

/// What is wrong with the thresholds.
pub(super) fn check_incidents(incidents: &Incidents) -> Vec<Problem> {
    let Incidents { after, at_latest, ticks, per_hour, remind_every, .. } = incidents;
    let hour = Duration::from_hours(1);
    let wrong = [
        ("ticks", *ticks == 0, "0 is too small; at least 1".to_owned()),
        ("at_latest", at_latest < after, format!("{at_latest} is less than `after`, which is {after}")),
        ("remind_every", remind_every.0 < hour, "at least 1h: it is for what goes on for days".to_owned()),
        ("per_hour", *per_hour < PER_HOUR_MIN, format!("{per_hour} is too small; at least {PER_HOUR_MIN}")),
    ];
    let wrong = wrong.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
    wrong.map(|(key, _, why)| Problem::new(["incidents", key], why)).collect()
}
