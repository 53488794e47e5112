//! The clock: whether it was set, whether it goes, and who keeps it right. Records are named and ordered by it.
//!
//! How far it is from the clocks of sources is said with these, in `network`.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use crate::context::Clock;
use crate::record::time_text;
use crate::report::lengths;
use crate::report::saved::SavedSource;

use super::case::{Case, Machine};
use super::finding::Finding;

/// A clock before this was never set: tapline did not exist.
const SET_FROM: &str = "2025-01-01T00:00:00Z";

/// And one behind this was set wrong.
const SET_UNTIL: &str = "2100-01-01T00:00:00Z";

/// The newest record may be ahead by so much: clocks are slewed.
const AHEAD_MAX: TimeDelta = TimeDelta::seconds(2);

/// How long the clock is watched, and how much it may differ from the steady one in that time.
const WATCHED: Duration = Duration::from_millis(300);
const DRIFT_MAX: TimeDelta = TimeDelta::milliseconds(20);

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let newest = newest(case);
    let mut findings = vec![set(case.now(), newest)];
    let began = Instant::now();
    let (_held, nothing) = mpsc::channel::<()>();
    let wait = |time| {
        nothing.recv_timeout(time).ok();
    };
    findings.extend(steady(&*case.clock, &|| began.elapsed(), &wait));
    findings.push(kept(&case.machine));
    findings
}

/// The newest time that the data knows.
fn newest(case: &Case) -> Option<DateTime<Utc>> {
    let committed = case.committed.as_ref().ok()?;
    let of_sources = committed.names("source/").filter_map(|name| {
        let saved = SavedSource::read(committed.state().get(&format!("source/{name}"))?);
        saved.tally.record_at.max(saved.alive_at).max(saved.slot)
    });
    let of_streams = committed.names("stream/").filter_map(|name| Some(committed.saved(name).ok()??.begun_at));
    of_sources.chain(of_streams).max()
}

/// Whether the time is one that can be.
fn set(now: DateTime<Utc>, newest: Option<DateTime<Utc>>) -> Finding {
    let time = |text: &str| text.parse::<DateTime<Utc>>().expect("invariant: a time is written there");
    let shown = now.format("%Y-%m-%d %H:%M:%S UTC");
    if now < time(SET_FROM) || now > time(SET_UNTIL) {
        return Finding::bad(
            format!("it is {shown}, says the clock, which was never set"),
            "set it, and have a time service keep it (systemd-timesyncd, chrony), before anything is collected: every record bears its time",
        );
    }
    match newest {
        Some(newest) if newest - now > AHEAD_MAX => Finding::bad(
            format!(
                "it is {shown}, and the newest record in the data is of {}, {} later",
                time_text(&newest),
                words(newest - now)
            ),
            "find out which clock was wrong, then and now; until this one has passed that time, sources at set times do not ask",
        ),
        _ => Finding::ok(format!("it is {shown}")),
    }
}

/// Whether the time of day goes on as steadily as the machine's own count.
fn steady(clock: &dyn Clock, count: &dyn Fn() -> Duration, wait: &dyn Fn(Duration)) -> Option<Finding> {
    let (before, counted) = (clock.now(), count());
    wait(WATCHED);
    let (after, counted) = (clock.now(), count().saturating_sub(counted));
    let drift = (after - before) - TimeDelta::from_std(counted).unwrap_or_default();
    (drift.abs() > DRIFT_MAX).then(|| {
        let way = if drift < TimeDelta::zero() { "back" } else { "forward" };
        Finding::warn(
            format!("the clock went {way} by {} while it was looked at for {}", words(drift.abs()), humantime::format_duration(WATCHED)),
            "see what sets it in steps: a time service that has just begun, or two of them; ticks that a step jumps over are missed, and said in the ledger",
        )
    })
}

/// Who keeps it right.
fn kept(machine: &Machine) -> Finding {
    if machine.has("run/systemd/timesync/synchronized") {
        return Finding::ok("systemd-timesyncd keeps the clock, and says that it is right");
    }
    let others = [
        ("run/chrony/chronyd.pid", "chrony", "chronyc tracking"),
        ("run/chronyd.pid", "chrony", "chronyc tracking"),
        ("run/chrony", "chrony", "chronyc tracking"),
        ("run/ntpd.pid", "ntpd", "ntpq -p"),
        ("run/ntp.pid", "ntpd", "ntpq -p"),
        ("run/ntpsec", "ntpsec", "ntpq -p"),
        ("run/openntpd", "openntpd", "ntpctl -s status"),
    ];
    if let Some((_, name, command)) = others.into_iter().find(|(path, ..)| machine.has(path)) {
        return Finding::ok(format!(
            "{name} keeps the clock; whether it is right is not seen from here (`{command}` says it)"
        ));
    }
    if let Some(container) = machine.container() {
        return Finding::ok(format!(
            "the clock is that of the machine that has this container ({container}); who keeps it is not seen from here"
        ));
    }
    Finding::warn(
        "no time service was found; whether somebody keeps the clock right cannot be told",
        "have one run (systemd-timesyncd, chrony), unless the machine is a guest whose clock its host keeps",
    )
}

pub(super) fn words(length: TimeDelta) -> String {
    lengths::words(length.num_microseconds().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::super::case::machine;
    use super::super::finding::text;
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_that_cannot_be_right() {
        let now = at("2026-11-23T07:04:05Z");
        let found = [
            set(at("1970-01-01T00:03:00Z"), None),
            set(at("2106-02-07T06:28:16Z"), None),
            set(now, None),
            set(now, Some(now + TimeDelta::seconds(1))),
            set(now, Some(now + TimeDelta::minutes(90))),
        ];
        insta::assert_snapshot!(text(&found), @"
            bad: it is 1970-01-01 00:03:00 UTC, says the clock, which was never set
                do: set it, and have a time service keep it (systemd-timesyncd, chrony), before anything is collected: every record bears its time
            bad: it is 2106-02-07 06:28:16 UTC, says the clock, which was never set
                do: set it, and have a time service keep it (systemd-timesyncd, chrony), before anything is collected: every record bears its time
            ok: it is 2026-11-23 07:04:05 UTC
            ok: it is 2026-11-23 07:04:05 UTC
            bad: it is 2026-11-23 07:04:05 UTC, and the newest record in the data is of 2026-11-23T08:34:05.000000Z, 1h 30m later
                do: find out which clock was wrong, then and now; until this one has passed that time, sources at set times do not ask
        ");
    }

    /// A clock that gains so much each time that it is looked at.
    struct Gains(Mutex<(DateTime<Utc>, TimeDelta)>);

    impl Clock for Gains {
        fn now(&self) -> DateTime<Utc> {
            let mut now = self.0.lock().unwrap();
            let (at, gain) = *now;
            now.0 = at + gain;
            at
        }
    }

    #[test]
    fn a_clock_that_is_set_while_it_is_looked_at() {
        let found = |milliseconds| {
            let clock = Gains(Mutex::new((at("2026-11-23T07:04:05Z"), TimeDelta::milliseconds(milliseconds))));
            let count = Cell::new(Duration::from_secs(100));
            steady(&clock, &|| count.get(), &|time| count.set(count.get() + time))
        };
        assert_eq!(found(300), None);
        assert_eq!(found(310), None);
        let found: Vec<Finding> = [-3_300, 60_300, 200].into_iter().filter_map(found).collect();
        insta::assert_snapshot!(text(&found), @"
            warn: the clock went back by 3.6s while it was looked at for 300ms
                do: see what sets it in steps: a time service that has just begun, or two of them; ticks that a step jumps over are missed, and said in the ledger
            warn: the clock went forward by 1m while it was looked at for 300ms
                do: see what sets it in steps: a time service that has just begun, or two of them; ticks that a step jumps over are missed, and said in the ledger
            warn: the clock went back by 100ms while it was looked at for 300ms
                do: see what sets it in steps: a time service that has just begun, or two of them; ticks that a step jumps over are missed, and said in the ledger
        ");
    }

    #[test]
    fn who_keeps_it() {
        let found = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            kept(&machine(dir.path(), files))
        };
        let found = [
            found(&[("run/systemd/timesync/synchronized", "")]),
            found(&[("run/chrony/chronyd.pid", "7")]),
            found(&[(".dockerenv", "")]),
            found(&[]),
        ];
        insta::assert_snapshot!(text(&found), @"
            ok: systemd-timesyncd keeps the clock, and says that it is right
            ok: chrony keeps the clock; whether it is right is not seen from here (`chronyc tracking` says it)
            ok: the clock is that of the machine that has this container (docker); who keeps it is not seen from here
            warn: no time service was found; whether somebody keeps the clock right cannot be told
                do: have one run (systemd-timesyncd, chrony), unless the machine is a guest whose clock its host keeps
        ");
    }
}
