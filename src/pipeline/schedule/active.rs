//! Active windows: the times at which a source asks at all.
//!
//! A window belongs to the day it opens on, and so do `days` and `holidays`: one from Friday 22:00 to 04:00 is open on
//! Saturday morning although `days` says `fri`. Where the clock is put forward over one of its ends, that end is the
//! first moment after; where it is put back, the first of the two moments counts.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use super::zone;
use crate::config::Active;

/// One opening: from the first instant to the instant that is no longer inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) open: DateTime<Utc>,
    pub(super) close: DateTime<Utc>,
}

impl Active {
    /// Whether the source asks at this time.
    pub fn contains(&self, time: DateTime<Utc>) -> bool {
        self.windows(time, time).any(|window| window.open <= time)
    }

    /// The first time, not before `after`, at which the source asks; `None` when no day is active.
    pub fn next_open(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Each holiday can cost at most one week, and so can each window that a change of the clock leaves empty.
        let weeks = i64::try_from(self.holidays.len()).unwrap_or(i64::MAX / 100).saturating_add(4);
        let horizon = TimeDelta::try_weeks(weeks).and_then(|weeks| after.checked_add_signed(weeks));
        let window = self.windows(after, horizon.unwrap_or(DateTime::<Utc>::MAX_UTC)).next()?;
        Some(window.open.max(after))
    }

    /// The windows that have any time in `[from, until]`, in order. They never overlap.
    pub(super) fn windows(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = Window> + '_ {
        // Two days back: a window may reach into the next day, which a zone that crosses the date line may leave out.
        let date = from.with_timezone(&self.timezone).date_naive();
        let first = date.checked_sub_days(chrono::Days::new(2)).unwrap_or(date);
        first
            .iter_days()
            // The last days of the calendar have no local time to compute with.
            .take_while(move |date| {
                date.year() < 9999 && date.and_time(self.from).and_utc() <= until + TimeDelta::days(1)
            })
            .filter(|date| self.opens_on(*date))
            .map(|date| self.window(date))
            .filter(move |window| window.open < window.close && window.close > from)
            .take_while(move |window| window.open <= until)
    }

    fn opens_on(&self, date: NaiveDate) -> bool {
        let weekday = date.weekday().num_days_from_monday() as usize;
        self.days[weekday] && !self.holidays.contains(&date)
    }

    fn window(&self, date: NaiveDate) -> Window {
        let end = if self.to > self.from { date } else { date + TimeDelta::days(1) };
        let instant = |date: NaiveDate, time| zone::earliest(self.timezone, NaiveDateTime::new(date, time));
        Window { open: instant(date, self.from), close: instant(end, self.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America, Asia, Tz};

    fn active(days: &str, from: &str, to: &str, timezone: Tz) -> Active {
        let mut set = [false; 7];
        for (day, mark) in set.iter_mut().zip(days.chars()) {
            *day = mark == 'x';
        }
        Active { days: set, from: time(from), to: time(to), timezone, holidays: Vec::new() }
    }

    fn time(text: &str) -> chrono::NaiveTime {
        chrono::NaiveTime::parse_from_str(text, "%H:%M").unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_market_day() {
        let mut mumbai = active("xxxxx--", "09:15", "15:30", Asia::Kolkata);
        mumbai.holidays.push("2026-11-24".parse().unwrap());
        for (at, inside) in [
            ("2026-11-23T03:44:59.999999Z", false),
            ("2026-11-23T03:45:00Z", true),
            ("2026-11-23T09:59:59.999999Z", true),
            ("2026-11-23T10:00:00Z", false),
            ("2026-11-24T05:00:00Z", false), // a holiday
            ("2026-11-28T05:00:00Z", false), // a Saturday
        ] {
            assert_eq!(mumbai.contains(utc(at)), inside, "{at}");
        }
        for (after, open) in [
            ("2026-11-23T00:00:00Z", "2026-11-23T03:45:00Z"),
            ("2026-11-23T05:00:00Z", "2026-11-23T05:00:00Z"),
            ("2026-11-23T10:00:00Z", "2026-11-25T03:45:00Z"), // over the holiday
            ("2026-11-27T10:00:00Z", "2026-11-30T03:45:00Z"), // over the week-end
        ] {
            assert_eq!(mumbai.next_open(utc(after)), Some(utc(open)), "{after}");
        }
    }

    #[test]
    fn past_midnight_belongs_to_the_day_it_opened_on() {
        let friday = active("----x--", "22:00", "04:00", Tz::UTC);
        for (at, inside) in [
            ("2026-11-27T03:00:00Z", false), // Friday morning is Thursday's night
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T03:59:59Z", true),
            ("2026-11-28T04:00:00Z", false),
            ("2026-11-28T23:00:00Z", false),
        ] {
            assert_eq!(friday.contains(utc(at)), inside, "{at}");
        }
        let always = active("xxxxxxx", "06:00", "06:00", Tz::UTC);
        assert!(always.contains(utc("2026-11-28T05:59:59Z")) && always.contains(utc("2026-11-28T06:00:00Z")));
    }

    #[test]
    fn clocks_put_forward_and_back() {
        let early = active("xxxxxxx", "02:30", "03:30", America::New_York);
        let only = |at: &str| {
            let at = utc(at);
            early.windows(at, at + TimeDelta::hours(20)).next().unwrap()
        };
        let spring = Window { open: utc("2026-03-08T07:00:00Z"), close: utc("2026-03-08T07:30:00Z") };
        assert_eq!(only("2026-03-08T05:00:00Z"), spring);
        let night = active("xxxxxxx", "01:15", "01:45", America::New_York);
        assert!(night.contains(utc("2026-11-01T05:30:00Z")), "the first 01:30");
        assert!(!night.contains(utc("2026-11-01T06:30:00Z")), "the second 01:30");
        let gone = active("xxxxxxx", "02:10", "02:50", America::New_York);
        assert_eq!(gone.next_open(utc("2026-03-08T06:00:00Z")), Some(utc("2026-03-09T06:10:00Z")));
    }

    #[test]
    fn never_open() {
        assert_eq!(active("-------", "09:00", "10:00", Tz::UTC).next_open(utc("2026-01-01T00:00:00Z")), None);
    }
}
