//! Slots: the times that a schedule names, without any waiting. A slot outside the active windows does not exist.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};

use super::active::Window;
use super::expression::Expression;
use crate::config::{Active, Schedule, When};

/// The most by which sources of equal period are spread.
const SPREAD: Duration = Duration::from_mins(1);
/// The smallest step of time here. Slots lie at whole microseconds.
pub(super) const STEP: TimeDelta = TimeDelta::microseconds(1);
/// How often the windows and the rhythm may miss each other before they are said never to meet: more than the nights
/// of the four years after which every calendar has shown its leap day.
const MISSES: usize = 5 * 366;

/// The slots of one source.
#[derive(Debug, Clone)]
pub struct Slots {
    rhythm: Rhythm,
    active: Option<Active>,
}

/// The rhythm, without the windows.
#[derive(Debug, Clone)]
pub(super) enum Rhythm {
    /// At `n * every + offset` microseconds after 1970.
    Every {
        every: i64,
        offset: i64,
    },
    Cron(Arc<Expression>),
}

/// Some slots that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first slot.
    pub from: DateTime<Utc>,
    /// The last slot.
    pub to: DateTime<Utc>,
    /// How many there are, both ends included.
    pub count: u64,
}

/// The slots of `source` after `after` and before `until`; `None` when there are none.
///
/// # Errors
/// When the schedule has no slots at all, as [`Slots::new`] says.
pub fn slots_between(
    schedule: &Schedule,
    source: &str,
    after: DateTime<Utc>,
    until: DateTime<Utc>,
) -> anyhow::Result<Option<Run>> {
    Ok(Slots::new(source, schedule)?.between(after, until))
}

impl Slots {
    /// The slots of `source` by this schedule. Without an `offset:`, sources of equal period are spread by a hash of
    /// their names over the period, or over a minute of it, in whole milliseconds.
    ///
    /// # Errors
    /// When the cron expression cannot be read, or names a day that no year has.
    pub fn new(source: &str, schedule: &Schedule) -> anyhow::Result<Self> {
        let rhythm = match &schedule.when {
            When::Every(every) => {
                let offset = schedule.offset.unwrap_or_else(|| spread(source, *every));
                Rhythm::Every { every: micros(*every).max(1), offset: micros(offset) }
            }
            When::Cron { expression, timezone } => Rhythm::Cron(Arc::new(Expression::parse(expression, *timezone)?)),
        };
        Ok(Self { rhythm, active: schedule.active.clone() })
    }

    pub(super) fn rhythm(&self) -> &Rhythm {
        &self.rhythm
    }

    pub(super) fn rhythm_mut(&mut self) -> &mut Rhythm {
        &mut self.rhythm
    }

    /// Whether the source may ask at this time.
    pub(super) fn is_active(&self, time: DateTime<Utc>) -> bool {
        self.active.as_ref().is_none_or(|active| active.contains(time))
    }

    /// The first slot after `after`; `None` when no slot ever falls into an active window.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut slot = self.rhythm.next(after)?;
        let Some(active) = &self.active else { return Some(slot) };
        for _ in 0..MISSES {
            let open = active.next_open(slot)?;
            if open == slot {
                return Some(slot);
            }
            slot = self.rhythm.next(open - STEP)?;
        }
        None
    }

    /// The slots after `after` and before `until`; `None` when there are none.
    ///
    /// By arithmetic on each window, or on each day of a cron expression: a year of seconds takes no longer than a year
    /// of days.
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<Run> {
        let Some(active) = &self.active else { return self.rhythm.between(after, until) };
        active
            .windows(after, until)
            .filter_map(|Window { open, close }| self.rhythm.between(after.max(open - STEP), until.min(close)))
            .reduce(|all, run| Run { from: all.from, to: run.to, count: all.count + run.count })
    }
}

impl Rhythm {
    /// The first slot after `after`, inside or outside the windows.
    pub(super) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every { every, offset } => {
                let periods = after.timestamp_micros().checked_sub(*offset)?.div_euclid(*every);
                time_of(periods + 1, *every, *offset)
            }
            Self::Cron(expression) => expression.next(after),
        }
    }

    fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<Run> {
        if after >= until {
            return None;
        }
        match self {
            Self::Every { every, offset } => {
                // A slot before `until` is at most one microsecond before it, unless `until` has a finer part.
                let last = until.timestamp_micros() - i64::from(until.nanosecond().is_multiple_of(1000));
                let periods = |micros: i64| micros.saturating_sub(*offset).div_euclid(*every);
                let (first, last) = (periods(after.timestamp_micros()) + 1, periods(last));
                let count = u64::try_from(last - first + 1).ok().filter(|count| *count > 0)?;
                Some(Run { from: time_of(first, *every, *offset)?, to: time_of(last, *every, *offset)?, count })
            }
            Self::Cron(expression) => {
                let from = expression.next(after).filter(|slot| *slot < until)?;
                let to = expression.last(after, until)?;
                Some(Run { from, to, count: expression.count(after, until) })
            }
        }
    }
}

/// Where in the period this source asks, the same in every process and version.
fn spread(source: &str, every: Duration) -> Duration {
    let hash = blake3::hash(source.as_bytes());
    let number = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let span = u64::try_from(every.min(SPREAD).as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(number % span)
}

fn micros(span: Duration) -> i64 {
    // A thousandth of what fits, so that the arithmetic on times cannot overflow: three hundred years.
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 1000)
}

fn time_of(periods: i64, every: i64, offset: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(periods.checked_mul(every)?.checked_add(offset)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn every(millis: u64, offset: Option<u64>) -> Schedule {
        let when = When::Every(Duration::from_millis(millis));
        Schedule { when, offset: offset.map(Duration::from_millis), active: None }
    }

    fn office_hours() -> Active {
        Active {
            days: [true, true, true, true, true, false, false],
            from: "09:15:00".parse().unwrap(),
            to: "15:30:00".parse().unwrap(),
            timezone: Tz::Asia__Kolkata,
            holidays: vec!["2026-11-24".parse().unwrap()],
        }
    }

    #[test]
    fn g1_fixed_periods() {
        for (millis, offset, after, next) in [
            (1000, 0, "2026-11-23T10:00:00Z", "2026-11-23T10:00:01Z"),
            (1000, 0, "2026-11-23T10:00:00.999999999Z", "2026-11-23T10:00:01Z"),
            (1000, 250, "2026-11-23T10:00:00.1Z", "2026-11-23T10:00:00.25Z"),
            (100, 0, "2026-11-23T10:00:00.05Z", "2026-11-23T10:00:00.1Z"),
            (1500, 0, "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
            (3_600_000, 5_400_000, "2026-11-23T10:00:00Z", "2026-11-23T10:30:00Z"),
        ] {
            let slots = Slots::new("x", &every(millis, Some(offset))).unwrap();
            assert_eq!(slots.next(utc(after)), Some(utc(next)), "{millis} {offset} {after}");
        }
    }

    #[test]
    fn ends_are_left_out() {
        let schedule = every(1000, Some(0));
        let between = |after, until| slots_between(&schedule, "x", utc(after), utc(until)).unwrap();
        assert_eq!(between("2026-11-23T10:00:00Z", "2026-11-23T10:00:01Z"), None);
        assert_eq!(between("2026-11-23T10:00:02Z", "2026-11-23T10:00:01Z"), None);
        let one = utc("2026-11-23T10:00:01Z");
        let run = Some(Run { from: one, to: one, count: 1 });
        assert_eq!(between("2026-11-23T10:00:00Z", "2026-11-23T10:00:01.000000001Z"), run);
        assert_eq!(between("2026-11-23T10:00:00.5Z", "2026-11-23T10:00:02Z"), run);
    }

    #[test]
    fn windows_bound_the_slots() {
        let schedule = Schedule { active: Some(office_hours()), ..every(1000, Some(0)) };
        let slots = Slots::new("x", &schedule).unwrap();
        assert_eq!(slots.next(utc("2026-11-23T09:59:59Z")), Some(utc("2026-11-25T03:45:00Z")));
        // From Monday 12:00 local time to Wednesday 09:15:10: the rest of Monday, no Tuesday, ten seconds.
        let run = slots.between(utc("2026-11-23T06:30:00Z"), utc("2026-11-25T03:45:10Z")).unwrap();
        assert_eq!(run.count, 3 * 3600 + 30 * 60 - 1 + 10);
        assert_eq!((run.from, run.to), (utc("2026-11-23T06:30:01Z"), utc("2026-11-25T03:45:09Z")));
        assert_eq!(slots.between(utc("2026-11-23T10:00:00Z"), utc("2026-11-25T03:45:00Z")), None);
    }

    #[test]
    fn a_century_in_windows_is_counted_at_once() {
        let started = std::time::Instant::now();
        let mut open = office_hours();
        open.holidays.clear();
        let (from, to) = (utc("2000-01-01T00:00:00Z"), utc("2100-01-01T00:00:00Z"));
        let weekdays = from.date_naive().iter_days().take_while(|date| *date < to.date_naive());
        let weekdays = weekdays
            .filter(|date| !matches!(chrono::Datelike::weekday(date), chrono::Weekday::Sat | chrono::Weekday::Sun))
            .count();
        let seconds = weekdays as u64 * (6 * 3600 + 15 * 60);
        let cron = When::Cron { expression: "* * * * * *".to_owned(), timezone: Tz::America__New_York };
        for when in [When::Every(Duration::from_secs(1)), cron] {
            let schedule = Schedule { when, offset: Some(Duration::ZERO), active: Some(open.clone()) };
            let run = slots_between(&schedule, "x", from, to).unwrap().unwrap();
            assert_eq!(run.count, seconds, "{:?}", schedule.when);
        }
        // One by one they are a thousand million steps: no machine is too busy for a minute, or too fast.
        println!("a century took {:?}", started.elapsed());
        assert!(started.elapsed().as_secs() < 60, "counted one by one");
    }

    #[test]
    fn a_rhythm_that_never_meets_its_windows_has_no_slot() {
        let when = When::Cron { expression: "0 20 * * *".to_owned(), timezone: Tz::Asia__Kolkata };
        let slots = Slots::new("x", &Schedule { when, offset: None, active: Some(office_hours()) }).unwrap();
        assert_eq!(slots.next(utc("2026-11-23T10:00:00Z")), None);
    }

    #[test]
    fn sources_of_equal_period_are_spread() {
        let offset = |name: &str, millis| spread(name, Duration::from_millis(millis)).as_millis();
        // These are a promise: another hash would move every source's slots at an upgrade.
        assert_eq!(
            [offset("bseindex", 1000), offset("bseindex", 100), offset("bseindex", 3_600_000)],
            [799, 99, 25_799]
        );
        let mut tenths = [0_u32; 10];
        for source in 0..1000 {
            tenths[usize::try_from(offset(&format!("source-{source}"), 1000) / 100).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
