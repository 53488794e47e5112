//! Cron expressions: which instants they name in a time zone, and how many there are between two.
//!
//! `croner` searches along a calendar without changes of the clock; what those changes mean is decided here, because
//! `croner`'s own search may go back in time inside a repeated hour, and fires twice for `30 1,13 * * *`:
//!
//! - An expression that names hours (`30 2 * * *`, `*/5 9-15 * * *`) fires once. Where the clock is put forward over
//!   its time, it fires at the first moment after; where the hour is repeated, only in the first pass.
//! - An expression of every hour (`*/5 * * * *`) is a rhythm: it goes on through a repeated hour, and a left-out hour
//!   leaves out its times.
//!
//! Days of the month and of the week must both match (`0 9 1 * mon` is a Monday that is the first), as
//! `tokio-cron-scheduler` has it.

use anyhow::{anyhow, ensure};
use chrono::{
    DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Timelike as _,
    Utc,
};
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use super::zone;

const SECOND: TimeDelta = TimeDelta::seconds(1);
/// Less than any distance between two instants here.
const STEP: TimeDelta = TimeDelta::nanoseconds(1);

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    /// Always six fields.
    text: String,
    timezone: Tz,
    cron: Cron,
    hours: Vec<u32>,
    minutes: Vec<u32>,
    seconds: Vec<u32>,
}

impl Expression {
    /// Reads five fields, six with seconds first, or a name such as `@daily`.
    pub(super) fn parse(expression: &str, timezone: Tz) -> anyhow::Result<Self> {
        let fields = expression.split_whitespace().count();
        let text = if fields == 5 { format!("0 {}", expression.trim()) } else { expression.trim().to_owned() };
        // The very options of tokio-cron-scheduler, so that both mean the same; it also takes a year, which we do not.
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .dom_and_dow(true)
            .build()
            .parse(&text)
            .map_err(|error| {
                let reason = match error {
                    // The number of fields is wrong, which the rest of the sentence says better.
                    CronError::InvalidPattern(_) | CronError::EmptyPattern => String::new(),
                    other => format!(" ({})", other.to_string().trim_end_matches('.').to_lowercase()),
                };
                anyhow!(
                    "`{expression}` is not a cron expression{reason}; write five fields (minute, hour, day of month, \
                     month, day of week) or six with seconds first, such as `*/5 9-15 * * mon-fri`"
                )
            })?;
        let pattern = &cron.pattern;
        let hours = (0..24).filter(|hour| pattern.hour_match(*hour).unwrap_or(false)).collect();
        let minutes = (0..60).filter(|minute| pattern.minute_match(*minute).unwrap_or(false)).collect();
        let seconds = (0..60).filter(|second| pattern.second_match(*second).unwrap_or(false)).collect();
        let read = Self { text, timezone, cron, hours, minutes, seconds };
        ensure!(
            read.next(DateTime::UNIX_EPOCH).is_some(),
            "`{expression}` names a day that no year has; no time would ever come"
        );
        Ok(read)
    }

    /// The expression with six fields.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The zone that it is meant in.
    pub(super) fn timezone(&self) -> Tz {
        self.timezone
    }

    /// The first instant after `after`; `None` at the end of the calendar.
    pub(super) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = DateTime::from_timestamp(after.timestamp(), 0)?;
        if self.hours.len() == 24 { self.next_of_rhythm(after) } else { self.next_named(after) }
    }

    /// Named hours: along local time, each local time standing for its first instant.
    fn next_named(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut local = after.with_timezone(&self.timezone).naive_local();
        loop {
            local = self.search(local, false)?;
            let time = zone::earliest(self.timezone, local);
            // Not later: a local time of a repeated hour that came in its first pass.
            if time > after {
                return Some(time);
            }
        }
    }

    /// Every hour: along real time, from one change of the clock to the next.
    fn next_of_rhythm(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut from = after.checked_add_signed(SECOND)?;
        loop {
            let offset: FixedOffset = zone::offset(self.timezone, from);
            let local = self.search(from.with_timezone(&offset).naive_local(), true)?;
            let time = offset.from_local_datetime(&local).single()?.to_utc();
            match zone::transition(self.timezone, from, time) {
                None => return Some(time),
                Some(change) => from = change,
            }
        }
    }

    /// The next match on a calendar without changes of the clock.
    fn search(&self, local: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&local.and_utc(), inclusive).ok().map(|time| time.naive_utc())
    }

    /// How many instants there are after `after` and before `until`: by arithmetic on each day, so that a year of
    /// seconds takes no longer than a year of days.
    pub(super) fn count(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> u64 {
        let mut count = 0;
        // From here on both ends are whole seconds, the first included, the last not.
        let mut from = seconds_up(after + STEP);
        let until = seconds_up(until);
        while from < until {
            let date = from.with_timezone(&self.timezone).date_naive();
            let Some(tomorrow) = date.succ_opt() else { break };
            let midnight = zone::earliest(self.timezone, date.and_time(NaiveTime::MIN));
            let end = zone::earliest(self.timezone, tomorrow.and_time(NaiveTime::MIN)).max(from + SECOND);
            let part = from..end.min(until);
            count += if zone::transition(self.timezone, midnight - SECOND, end).is_some() {
                self.instants(part.start - SECOND, part.end).count() as u64
            } else if self.names_day(date) {
                self.times_before(part.end - midnight) - self.times_before(part.start - midnight)
            } else {
                0
            };
            from = end;
        }
        count
    }

    fn names_day(&self, date: NaiveDate) -> bool {
        let pattern = &self.cron.pattern;
        pattern.month_match(date.month()).unwrap_or(false)
            && pattern.day_match(date.year(), date.month(), date.day()).unwrap_or(false)
    }

    /// How many times of day match before this time since midnight.
    fn times_before(&self, time_of_day: TimeDelta) -> u64 {
        let second = time_of_day.num_seconds();
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let below = |values: &[u32], limit: i64| values.partition_point(|value| i64::from(*value) < limit) as u64;
        let has = |values: &[u32], value: i64| u64::from(values.iter().any(|own| i64::from(*own) == value));
        let per_minute = self.seconds.len() as u64;
        let per_hour = self.minutes.len() as u64 * per_minute;
        let in_hour =
            below(&self.minutes, minute) * per_minute + has(&self.minutes, minute) * below(&self.seconds, second);
        below(&self.hours, hour) * per_hour + has(&self.hours, hour) * in_hour
    }

    /// The instants after `after` and before `until`, one by one.
    fn instants(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        let all = std::iter::successors(self.next(after), |instant| self.next(*instant));
        all.take_while(move |instant| *instant < until)
    }

    /// The last instant after `after` and before `until`.
    pub(super) fn last(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Looks back over longer and longer spans, so that few instants are visited whatever the rhythm is.
        for span in [60, 3600, 86_400, 31 * 86_400, 366 * 86_400] {
            let from = after.max(until - TimeDelta::seconds(span));
            let last = self.instants(from, until).last();
            if last.is_some() || from == after {
                return last;
            }
        }
        self.instants(after, until).last()
    }
}

/// This time, or the whole second after it.
fn seconds_up(time: DateTime<Utc>) -> DateTime<Utc> {
    let whole = time.with_nanosecond(0).unwrap_or(time);
    if whole == time { time } else { whole + SECOND }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America, Asia, Australia, Europe};

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn check(expression: &str, zone: Tz, after: &str, want: &[&str]) {
        let expression = Expression::parse(expression, zone).unwrap();
        let slots = std::iter::successors(expression.next(utc(after)), |slot| expression.next(*slot));
        let found: Vec<_> = slots.take(want.len()).collect();
        assert_eq!(found, want.iter().map(|text| utc(text)).collect::<Vec<_>>(), "{} {zone}", expression.text);
        let end = *found.last().unwrap() + SECOND;
        assert_eq!(expression.count(utc(after), end), want.len() as u64, "count {} {zone}", expression.text);
        assert_eq!(expression.last(utc(after), end), found.last().copied(), "last {} {zone}", expression.text);
    }

    #[test]
    fn g1_plain_times() {
        check("*/5 * * * *", Tz::UTC, "2026-11-23T10:00:00.5Z", &["2026-11-23T10:05:00Z", "2026-11-23T10:10:00Z"]);
        check("*/20 * * * * *", Tz::UTC, "2026-11-23T10:00:00Z", &["2026-11-23T10:00:20Z", "2026-11-23T10:00:40Z"]);
        check(
            "15 9 * * mon-fri",
            Asia::Kolkata,
            "2026-11-27T00:00:00Z",
            &["2026-11-27T03:45:00Z", "2026-11-30T03:45:00Z"],
        );
        check("@daily", Tz::UTC, "2026-11-23T00:00:00Z", &["2026-11-24T00:00:00Z"]);
        check("0 9 1 * mon", Tz::UTC, "2026-01-01T00:00:00Z", &["2026-06-01T09:00:00Z", "2027-02-01T09:00:00Z"]);
        check("0 0 29 2 *", Tz::UTC, "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
    }

    /// Daily at 09:00 stays at 09:00 local time, as it does not with an offset that is frozen.
    #[test]
    fn daily_across_a_change() {
        let want = ["2025-03-29T09:00:00Z", "2025-03-30T08:00:00Z", "2025-03-31T08:00:00Z"];
        check("0 9 * * *", Europe::Dublin, "2025-03-28T12:00:00Z", &want);
        let want = ["2026-10-31T13:00:00Z", "2026-11-01T14:00:00Z"];
        check("0 9 * * *", America::New_York, "2026-10-31T00:00:00Z", &want);
    }

    #[test]
    fn put_forward() {
        // 02:30 does not exist: 03:00 daylight time.
        check(
            "30 2 * * *",
            America::New_York,
            "2026-03-07T12:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        );
        check("30 1 * * *", Europe::Dublin, "2025-03-29T12:00:00Z", &["2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"]);
        // Several times inside the gap are one moment after it.
        check(
            "0,20,40 2 * * *",
            America::New_York,
            "2026-03-07T12:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z"],
        );
        // Half an hour is left out at Lord Howe Island.
        check(
            "15 2 * * *",
            Australia::Lord_Howe,
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        );
        // A rhythm has nothing to make up for.
        check(
            "30 * * * *",
            America::New_York,
            "2026-03-08T06:00:00Z",
            &["2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"],
        );
    }

    #[test]
    fn put_back() {
        check(
            "30 1 * * *",
            America::New_York,
            "2026-11-01T00:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        );
        check(
            "30 1,13 * * *",
            America::New_York,
            "2026-11-01T00:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-01T18:30:00Z"],
        );
        // From within the second pass: never back to the first.
        check("30 1 * * *", America::New_York, "2026-11-01T06:10:00Z", &["2026-11-02T06:30:00Z"]);
        // A rhythm goes on through both passes.
        let want = [
            "2026-11-01T05:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:00:00Z",
            "2026-11-01T06:30:00Z",
            "2026-11-01T07:00:00Z",
        ];
        check("*/30 * * * *", America::New_York, "2026-11-01T04:30:00Z", &want);
        let want = ["2026-04-04T14:30:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"];
        check("0,30 * * * *", Australia::Lord_Howe, "2026-04-04T14:00:00Z", &want);
    }

    #[test]
    fn ten_years_of_seconds_are_counted_at_once() {
        let started = std::time::Instant::now();
        let every_second = Expression::parse("* * * * * *", America::New_York).unwrap();
        let (from, to) = (utc("2025-06-01T12:34:56.7Z"), utc("2035-06-01T12:34:56.7Z"));
        assert_eq!(every_second.count(from, to), u64::try_from((to - from).num_seconds()).unwrap());
        assert_eq!(every_second.last(from, to), Some(utc("2035-06-01T12:34:56Z")));
        // One by one they are three hundred million steps of a microsecond and more: no machine is too fast for a minute.
        println!("ten years took {:?}", started.elapsed());
        assert!(started.elapsed().as_secs() < 60, "counted one by one");
    }

    #[test]
    fn counting_agrees_with_walking() {
        for (text, zone) in [
            ("*/7 1-3 * * *", America::New_York),
            ("13 */10 * * * *", Australia::Lord_Howe),
            ("0 0,12 * * sun", Europe::Dublin),
            ("59 23 * * *", Asia::Kolkata),
        ] {
            let expression = Expression::parse(text, zone).unwrap();
            for (from, to) in [
                ("2026-03-01T00:00:00Z", "2026-04-10T00:00:00Z"),
                ("2026-10-01T13:14:15.5Z", "2026-11-10T01:02:03Z"),
                ("2026-11-01T05:59:59Z", "2026-11-01T05:59:59.5Z"),
            ] {
                let (from, to) = (utc(from), utc(to));
                assert_eq!(
                    expression.count(from, to),
                    expression.instants(from, to).count() as u64,
                    "{text} {zone} {from}"
                );
            }
        }
    }

    #[test]
    fn refusals() {
        let error = |text: &str| format!("{:#}", Expression::parse(text, Tz::UTC).unwrap_err());
        insta::assert_snapshot!(error("every day"), @"`every day` is not a cron expression; write five fields (minute, hour, day of month, month, day of week) or six with seconds first, such as `*/5 9-15 * * mon-fri`");
        insta::assert_snapshot!(error("0 61 * * * *"), @"`0 61 * * * *` is not a cron expression (component error: number out of bounds); write five fields (minute, hour, day of month, month, day of week) or six with seconds first, such as `*/5 9-15 * * mon-fri`");
        insta::assert_snapshot!(error("0 0 0 1 1 * 2030"), @"`0 0 0 1 1 * 2030` is not a cron expression; write five fields (minute, hour, day of month, month, day of week) or six with seconds first, such as `*/5 9-15 * * mon-fri`");
        insta::assert_snapshot!(error("0 0 30 2 *"), @"`0 0 30 2 *` names a day that no year has; no time would ever come");
    }
}
