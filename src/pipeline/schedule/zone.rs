//! Local time to instants: what happens where a zone's clock is put forward or back.

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

/// How far `zone` is from UTC at `time`.
pub(super) fn offset(zone: Tz, time: DateTime<Utc>) -> FixedOffset {
    zone.offset_from_utc_datetime(&time.naive_utc()).fix()
}

/// The first instant at which clocks in `zone` show `local` or, where the clock was put forward over it, the first
/// instant after that.
pub(super) fn earliest(zone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => time.to_utc(),
        MappedLocalTime::None => {
            // No zone is more than a day from UTC, and none changes twice within four days.
            let near = local.and_utc();
            transition(zone, near - TimeDelta::days(2), near + TimeDelta::days(2)).unwrap_or(near)
        }
    }
}

/// The first instant in `(after, until]` at which `zone` is at another offset than at `after`.
pub(super) fn transition(zone: Tz, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let before = offset(zone, after);
    let mut low = after;
    // In steps of a day, so that a change and the change back are never taken for no change.
    let mut high = loop {
        let next = low.checked_add_signed(TimeDelta::days(1)).map_or(until, |next| next.min(until));
        if offset(zone, next) != before {
            break next;
        }
        if next >= until {
            return None;
        }
        low = next;
    };
    while high - low > TimeDelta::seconds(1) {
        let middle = low + (high - low) / 2;
        if offset(zone, middle) == before { low = middle } else { high = middle }
    }
    // Transitions are at whole seconds: the one in `(low, high]`.
    DateTime::from_timestamp(high.timestamp(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America, Asia, Australia, Europe, Pacific};

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn local_times_that_exist_once_twice_or_never() {
        for (zone, local, want) in [
            (Europe::Dublin, "2025-03-30T00:59:59", "2025-03-30T00:59:59Z"),
            (Europe::Dublin, "2025-03-30T01:30:00", "2025-03-30T01:00:00Z"),
            (Europe::Dublin, "2025-03-30T02:00:00", "2025-03-30T01:00:00Z"),
            (America::New_York, "2026-11-01T01:30:00", "2026-11-01T05:30:00Z"),
            (Australia::Lord_Howe, "2026-10-04T02:15:00", "2026-10-03T15:30:00Z"),
            (Asia::Kolkata, "2026-06-01T09:15:00", "2026-06-01T03:45:00Z"),
            // Samoa left out a whole day to cross the date line.
            (Pacific::Apia, "2011-12-30T12:00:00", "2011-12-30T10:00:00Z"),
        ] {
            assert_eq!(earliest(zone, local.parse().unwrap()), utc(want), "{zone} {local}");
        }
    }

    #[test]
    fn transitions_are_found_to_the_second() {
        let year = |zone| transition(zone, utc("2026-01-01T00:00:00.5Z"), utc("2027-01-01T00:00:00Z"));
        assert_eq!(year(America::New_York), Some(utc("2026-03-08T07:00:00Z")));
        assert_eq!(year(Europe::Dublin), Some(utc("2026-03-29T01:00:00Z")));
        assert_eq!(year(Asia::Kolkata), None);
        let at = utc("2026-03-08T07:00:00Z");
        assert_eq!(transition(America::New_York, at - TimeDelta::seconds(1), at), Some(at));
        assert_eq!(transition(America::New_York, at, at + TimeDelta::days(1)), None);
    }
}
