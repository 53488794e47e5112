//! What a loader is made of, and which streams it takes.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Limits;

/// How often a parked loader looks whether somebody has acted.
const PARK: Duration = Duration::from_secs(30);

/// What a loader is made of.
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// Where it loads to, without secrets.
    pub to: String,
    /// Which streams it loads.
    pub streams: Select,
    /// How batches are made.
    pub limits: Limits,
    /// Only records observed from the first to before the second, as their times are written.
    pub between: (Option<String>, Option<String>),
    /// How long a parked loader waits; `None` ends it instead.
    pub park: Option<Duration>,
}

impl Plan {
    /// How long a parked loader of the service waits.
    pub const PARK: Option<Duration> = Some(PARK);
}

/// Which streams a loader loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select(pub Vec<String>);

impl Select {
    /// Whether it takes this stream. `*` stands for any letters; tapline's own streams, whose names begin with `_`, are
    /// taken only when that is written too.
    pub fn takes(&self, stream: &str) -> bool {
        self.0.iter().any(|pattern| stream.starts_with('_') == pattern.starts_with('_') && fits(pattern, stream))
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_taken_by_their_names() {
        for (patterns, name, expected) in [
            (&["*"][..], "bse", true),
            (&["*"], "_ledger", false),
            (&["_*"], "_ledger", true),
            (&["_rejected/*"], "_rejected/bse", true),
            (&["x-*", "bse"], "bse", true),
            (&["x-*", "bse"], "bsei", false),
            (&["x-*-r"], "x-a-b-r", true),
            (&["x-*-r"], "x-r", false),
            (&["*é*"], "café!", true),
            (&[], "bse", false),
        ] {
            let select = Select(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
            assert_eq!(select.takes(name), expected, "{patterns:?} {name}");
        }
    }
}
