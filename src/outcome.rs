//! What became of one tick.

use serde::{Deserialize, Serialize};

/// What became of one tick of a polled source. Every tick has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every field was there and became a record.
    Ok,
    /// The page was fetched and says what it said before.
    Unchanged,
    /// Upstream answered that nothing changed (HTTP 304).
    NotModified,
    /// A field is not where it was.
    Missing,
    /// A field is there, but is not what was declared.
    Invalid,
    /// Upstream refuses this client: a block page, a limit, a login.
    Blocked,
    /// The fetch failed: network, status, time-out, size.
    Error,
    /// The tick came while the last fetch still ran, or while upstream had asked to be left alone.
    Skipped,
}

impl Outcome {
    /// Every outcome, in the order of this type.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Unchanged,
        Self::NotModified,
        Self::Missing,
        Self::Invalid,
        Self::Blocked,
        Self::Error,
        Self::Skipped,
    ];

    /// The word for it in YAML, ledger and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unchanged => "unchanged",
            Self::NotModified => "not_modified",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Blocked => "blocked",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }

    /// Whether the ledger sums it up per minute; every other outcome is recorded for itself.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Ok | Self::Unchanged | Self::NotModified)
    }
}
