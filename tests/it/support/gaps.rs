//! Gaps of a ledger against what an upstream knows of its connections.

use std::fs;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::tap::Stalls;

/// A moment in an entry.
pub fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

/// How much later than on an idle machine something may be seen: a second for each that wants to run on a core.
fn crowding() -> TimeDelta {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let cores =
        std::thread::available_parallelism().map_or(1.0, |cores| f64::from(u32::try_from(cores.get()).unwrap()));
    TimeDelta::from_std(Duration::from_secs_f64((load / cores).clamp(0.0, 5.0))).unwrap()
}

/// Every gap lies where the upstream knows that there was no connection, to the second: one was `closed` at its beginning,
/// which may lie `before` that, and one `opened` at its end.
pub fn check(gaps: &[Value], opened: &[DateTime<Utc>], closed: &[DateTime<Utc>], before: TimeDelta, stalls: &Stalls) {
    // The simulator, tapline and what wakes them may each have been due and not run, several times in a row.
    let stall = TimeDelta::from_std(stalls.worst() * 10).unwrap();
    println!("the machine let threads wait for up to {:?}", stalls.worst());
    // Nor is anybody at once where more wants to run than there are cores, though each is woken soon.
    let stall = stall + crowding();
    let (second, before) = (TimeDelta::seconds(1) + stall, before + stall);
    assert!(!gaps.is_empty());
    for gap in gaps {
        let (from, to) = (time(&gap["data"]["from"]), time(&gap["data"]["to"]));
        let off = opened.iter().map(|opened| (*opened - to).abs()).min();
        assert!(
            off.is_some_and(|off| off <= second),
            "no connection was opened at the end of {gap}: {off:?}, {second}"
        );
        let near = closed.iter().any(|closed| *closed - from <= before && *closed >= from - TimeDelta::seconds(3));
        assert!(near, "no connection was closed at the beginning of {gap}");
    }
}
