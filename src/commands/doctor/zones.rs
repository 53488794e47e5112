//! Data of time zones: what is compiled in, what the system has, and the zones that sources name.

use std::collections::BTreeMap;

use chrono::{DateTime, Offset as _, TimeDelta, Utc};
use chrono_tz::{OffsetComponents as _, Tz};

use crate::config::{SourceConfig, When};

use super::case::{Case, Machine};
use super::finding::Finding;

/// So many zones are shown with their time.
const SHOWN_MAX: usize = 8;

/// How far ahead a change of a zone's offset is looked for.
const AHEAD_DAYS: i64 = 200;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let zones = named(&case.sources.good);
    let mut findings = vec![data(chrono_tz::IANA_TZDB_VERSION, system(&case.machine).as_deref(), zones.len())];
    let shown = zones.values().take(SHOWN_MAX).map(|zone| now_in(*zone, case.now())).collect::<Vec<_>>();
    if !shown.is_empty() {
        let more =
            if zones.len() > SHOWN_MAX { format!("; and {} more", zones.len() - SHOWN_MAX) } else { String::new() };
        findings.push(Finding::ok(format!("sources name zones in which it is now {}{more}", shown.join("; "))));
    }
    findings
}

/// The zones that sources name beside UTC, by name.
fn named(sources: &[SourceConfig]) -> BTreeMap<&'static str, Tz> {
    let mut zones = BTreeMap::new();
    for source in sources {
        let mut named = vec![source.timezone];
        if let Some(schedule) = &source.schedule {
            named.extend(schedule.active.as_ref().map(|active| active.timezone));
            if let When::Cron { timezone, .. } = &schedule.when {
                named.push(*timezone);
            }
        }
        zones.extend(named.into_iter().filter(|zone| *zone != Tz::UTC).map(|zone| (zone.name(), zone)));
    }
    zones
}

/// The version of the system's data, where the system says it.
fn system(machine: &Machine) -> Option<String> {
    let whole = machine.read("usr/share/zoneinfo/tzdata.zi");
    let of_file = whole.as_ref().and_then(|text| text.lines().next()?.strip_prefix("# version ").map(str::to_owned));
    of_file
        .or_else(|| machine.read("usr/share/zoneinfo/+VERSION"))
        .map(|version| version.trim().split('-').next().unwrap_or_default().to_owned())
        .filter(|version| !version.is_empty())
}

/// What is compiled in beside what the system has. Versions are a year and a letter, and sort as texts.
fn data(ours: &str, system: Option<&str>, zones: usize) -> Finding {
    match system {
        Some(system) if system > ours && zones > 0 => Finding::warn(
            format!(
                "the system's data of time zones ({system}) are newer than those in this program ({ours}), and sources name {zones} zones"
            ),
            "see whether the rules of one of these zones have changed since (https://www.iana.org/time-zones); a later tapline has the later data",
        ),
        Some(system) => {
            Finding::ok(format!("data of time zones {ours} in this program, which it uses; the system has {system}"))
        }
        None => Finding::ok(format!(
            "data of time zones {ours} in this program, which it uses; the system has none, and needs none"
        )),
    }
}

/// `Asia/Kolkata 12:34 (+05:30)`, with the next change of the offset.
fn now_in(zone: Tz, now: DateTime<Utc>) -> String {
    let here = now.with_timezone(&zone);
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
    let changes = (1..=AHEAD_DAYS).map(|day| now + TimeDelta::days(day)).find(|at| offset(*at) != offset(now));
    let next = changes.map_or_else(String::new, |at| {
        let summer = if at.with_timezone(&zone).offset().dst_offset().is_zero() { "" } else { ", summer time" };
        format!(", from {} on {}{summer}", at.with_timezone(&zone).format("%Y-%m-%d"), offset(at))
    });
    format!("{zone} {} ({}{next})", here.format("%H:%M"), offset(now))
}

#[cfg(test)]
mod tests {
    use super::super::case::machine;
    use super::super::finding::text;
    use super::*;

    #[test]
    fn versions_are_compared() {
        let found = [
            data("2025b", Some("2026a"), 2),
            data("2025b", Some("2026a"), 0),
            data("2025b", Some("2025b"), 2),
            data("2025b", None, 2),
        ];
        insta::assert_snapshot!(text(&found), @"
            warn: the system's data of time zones (2026a) are newer than those in this program (2025b), and sources name 2 zones
                do: see whether the rules of one of these zones have changed since (https://www.iana.org/time-zones); a later tapline has the later data
            ok: data of time zones 2025b in this program, which it uses; the system has 2026a
            ok: data of time zones 2025b in this program, which it uses; the system has 2025b
            ok: data of time zones 2025b in this program, which it uses; the system has none, and needs none
        ");
    }

    #[test]
    fn the_system_says_its_version_in_two_ways() {
        for (files, expected) in [
            (&[("usr/share/zoneinfo/tzdata.zi", "# version 2025b\n# This zic\n")][..], Some("2025b")),
            (&[("usr/share/zoneinfo/tzdata.zi", "# version 2025b-dirty\n")][..], Some("2025b")),
            (&[("usr/share/zoneinfo/+VERSION", "2024a\n")][..], Some("2024a")),
            (&[("usr/share/zoneinfo/tzdata.zi", "garbage")][..], None),
            (&[][..], None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(system(&machine(dir.path(), files)).as_deref(), expected);
        }
    }

    #[test]
    fn the_time_in_a_zone() {
        let now = "2026-11-23T07:04:05Z".parse().unwrap();
        assert_eq!(now_in(Tz::Asia__Kolkata, now), "Asia/Kolkata 12:34 (+05:30)");
        assert_eq!(
            now_in(Tz::Europe__Berlin, now),
            "Europe/Berlin 08:04 (+01:00, from 2027-03-28 on +02:00, summer time)"
        );
        assert_eq!(now_in(Tz::America__Santiago, now), "America/Santiago 04:04 (-03:00, from 2027-04-04 on -04:00)");
    }
}
