//! Whether the service makes progress, and what keeps it from that: whoever watches it restarts it for nothing else.

use chrono::{DateTime, TimeDelta, Utc};

use crate::pipeline::pulse::last_beat;
use crate::units::Size;

use super::committed::Committed;
use super::lengths::words;
use super::sources::State;

/// The longest that nothing may be committed, unless something else is asked for; the service commits something every 10s.
pub const STILL_MAX: TimeDelta = TimeDelta::minutes(1);

/// Why the service is not healthy. That a site is down or a store refuses is no such reason: a restart mends neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is too little room, so nothing is written.
    Full {
        /// What is free.
        free: Size,
        /// What has to be.
        least: Size,
    },
    /// Nobody holds the data folder.
    NotRunning,
    /// The service holds its folder, and has committed nothing for so long, not even what time it is.
    Still(TimeDelta),
    /// A source has not done what is due.
    Stalled {
        /// Its name.
        source: String,
        /// What it has not done, in words.
        words: String,
    },
}

impl Trouble {
    /// The word for it in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::NotRunning => "not_running",
            Self::Still(_) => "still",
            Self::Stalled { .. } => "stalled",
        }
    }

    /// It in words.
    pub fn words(&self) -> String {
        match self {
            Self::Full { free, least } => {
                format!("the disk is full: {free} are free, and limits.disk_free keeps {least}")
            }
            Self::NotRunning => "the service does not run: nobody holds the data folder".to_owned(),
            Self::Still(length) => {
                format!("the service stands still: nothing was committed for {}", seconds(*length))
            }
            Self::Stalled { source, words } => format!("{source}: {words}"),
        }
    }
}

/// When the service last showed that it makes progress; at first, when it took the folder. `None` when it does not run.
pub fn progress_at(committed: &Committed) -> Option<DateTime<Utc>> {
    let since = committed.service.as_ref()?.since;
    // A beat of the service before this one is older.
    since.max(last_beat(committed.state()))
}

/// What keeps the service from making progress: nothing when it is healthy. With less than `least` free nothing is
/// written; it stands still when nothing was committed for longer than `still`.
pub fn troubles(committed: &Committed, states: &[State], least: Size, still: TimeDelta) -> Vec<Trouble> {
    let mut found = Vec::new();
    if let Some(free) = committed.free().ok().map(Size).filter(|free| *free < least) {
        found.push(Trouble::Full { free, least });
    }
    if committed.service.is_none() {
        found.push(Trouble::NotRunning);
    }
    // What follows would only say the same again, once for each source.
    if !found.is_empty() {
        return found;
    }
    // What an older version has signed says nothing of when.
    let length = progress_at(committed).map(|at| committed.now - at);
    if let Some(length) = length.filter(|length| *length > still) {
        return vec![Trouble::Still(length)];
    }
    let stalled = states.iter().filter_map(|state| Some((&state.facts.name, state.facts.stalled(committed.now)?)));
    stalled.map(|(source, words)| Trouble::Stalled { source: source.clone(), words }).collect()
}

/// A length in whole seconds, in words.
pub fn seconds(length: TimeDelta) -> String {
    words(length.num_seconds().max(0) * 1_000_000)
}
