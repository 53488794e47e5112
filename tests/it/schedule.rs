//! The schedule: no slot twice, none lost in silence, whatever the clock does.

#![expect(clippy::unwrap_used, reason = "in a test, it is the failure")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use tapline::config::{Active, Schedule, When};
use tapline::context::{Clock, SystemClock};
use tapline::pipeline::schedule::{Scheduler, Skipped, Tick, Ticker, Why, slots_between};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::support::tap::PATIENCE;

/// A wall clock that goes with tokio's paused time, and can be set and stopped.
struct Wall {
    base: DateTime<Utc>,
    start: Instant,
    skew: AtomicI64,
    stopped: Mutex<Option<DateTime<Utc>>>,
}

impl Wall {
    fn at(text: &str) -> Arc<Self> {
        let base = text.parse().unwrap();
        Arc::new(Self { base, start: Instant::now(), skew: AtomicI64::new(0), stopped: Mutex::new(None) })
    }

    fn jump(&self, by: TimeDelta) {
        self.skew.fetch_add(by.num_microseconds().unwrap(), Ordering::Relaxed);
    }

    fn set(&self, to: DateTime<Utc>) {
        self.jump(to - self.running());
    }

    fn stop(&self, stop: bool) {
        *self.stopped.lock().unwrap() = stop.then(|| self.running());
    }

    fn running(&self) -> DateTime<Utc> {
        let steady = TimeDelta::from_std(self.start.elapsed()).unwrap();
        self.base + steady + TimeDelta::microseconds(self.skew.load(Ordering::Relaxed))
    }
}

impl Clock for Wall {
    fn now(&self) -> DateTime<Utc> {
        self.stopped.lock().unwrap().unwrap_or_else(|| self.running())
    }
}

fn every(millis: u64) -> Schedule {
    let when = When::Every(Duration::from_millis(millis));
    Schedule { when, offset: Some(Duration::ZERO), active: None }
}

fn cron(expression: &str, timezone: Tz) -> Schedule {
    Schedule { when: When::Cron { expression: expression.to_owned(), timezone }, offset: None, active: None }
}

/// Without the cron service, which would look at the machine's clock twice in every second of paused time.
async fn ticker(clock: &Arc<Wall>, schedule: &Schedule, after: Option<DateTime<Utc>>) -> Ticker {
    let scheduler = Scheduler::new(Arc::clone(clock) as Arc<dyn Clock>);
    let ticker = scheduler.ticker("x", schedule, after).await.unwrap();
    scheduler.shutdown().await;
    ticker
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn on_time(tick: Tick) -> DateTime<Utc> {
    assert!(tick.late < Duration::from_millis(2), "{tick:?}");
    assert_eq!(tick.skipped, None);
    tick.slot
}

#[tokio::test(start_paused = true)]
async fn n1_a_tick_a_second_without_drift() {
    let clock = Wall::at("2026-11-23T10:00:00.4Z");
    let mut ticker = ticker(&clock, &every(1000), None).await;
    for second in 1..=3600 {
        assert_eq!(on_time(ticker.next().await), utc("2026-11-23T10:00:00Z") + TimeDelta::seconds(second));
        // A fetch takes its time.
        sleep(Duration::from_millis(37 * second.unsigned_abs() % 950)).await;
    }
    let since = clock.start.elapsed();
    assert!(since < Duration::from_millis(3_600_600), "{since:?}");
}

#[tokio::test(start_paused = true)]
async fn n2_a_stalled_fetch_skips_and_says_so() {
    let clock = Wall::at("2026-11-23T10:00:00.4Z");
    let mut ticker = ticker(&clock, &every(1000), None).await;
    ticker.next().await;
    sleep(Duration::from_millis(10_300)).await;
    let tick = ticker.next().await;
    assert_eq!(tick.slot, utc("2026-11-23T10:00:12Z"));
    assert!(tick.late < Duration::from_millis(2), "{tick:?}");
    let (from, to) = (utc("2026-11-23T10:00:02Z"), utc("2026-11-23T10:00:11Z"));
    assert_eq!(tick.skipped, Some(Skipped { from, to, count: 10, why: Why::Busy }));
    // Over by less than a tenth of the period: late, and not given up.
    sleep(Duration::from_millis(1050)).await;
    let tick = ticker.next().await;
    assert_eq!((tick.slot, tick.skipped), (utc("2026-11-23T10:00:13Z"), None));
    assert!((49..52).contains(&tick.late.as_millis()), "{tick:?}");
    assert_eq!(on_time(ticker.next().await), utc("2026-11-23T10:00:14Z"));
}

#[tokio::test(start_paused = true)]
async fn woken_late_the_slot_is_still_fired_and_older_ones_are_skipped() {
    let clock = Wall::at("2026-11-23T10:00:00.4Z");
    let mut ticker = ticker(&clock, &every(1000), None).await;
    ticker.next().await;
    let mut next = Box::pin(ticker.next());
    assert!(timeout(Duration::from_millis(10), &mut next).await.is_err());
    advance(Duration::from_millis(1690)).await; // 10:00:02.7
    let tick = next.await;
    assert_eq!((tick.slot, tick.skipped), (utc("2026-11-23T10:00:02Z"), None));
    assert!((699..703).contains(&tick.late.as_millis()), "{tick:?}");
    let mut next = Box::pin(ticker.next());
    assert!(timeout(Duration::from_millis(10), &mut next).await.is_err());
    advance(Duration::from_millis(4990)).await; // 10:00:07.7
    let tick = next.await;
    let (from, to) = (utc("2026-11-23T10:00:03Z"), utc("2026-11-23T10:00:06Z"));
    assert_eq!(tick.slot, utc("2026-11-23T10:00:07Z"));
    assert_eq!(tick.skipped, Some(Skipped { from, to, count: 4, why: Why::Busy }));
    assert_eq!(on_time(ticker.next().await), utc("2026-11-23T10:00:08Z"));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_nothing() {
    let clock = Wall::at("2026-11-23T10:00:00Z");
    let mut ticker = ticker(&clock, &every(1000), None).await;
    for second in 1..=50 {
        let tick = loop {
            if let Ok(tick) = timeout(Duration::from_millis(70), ticker.next()).await {
                break tick;
            }
        };
        assert_eq!(on_time(tick), utc("2026-11-23T10:00:00Z") + TimeDelta::seconds(second));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_down_comes_with_the_first_tick() {
    let clock = Wall::at("2026-11-23T10:00:00.4Z");
    for (after, count) in
        [("2026-11-23T10:00:00Z", 0), ("2026-11-23T09:59:58Z", 2), ("2025-11-23T10:00:00Z", 31_536_000)]
    {
        let mut ticker = ticker(&clock, &every(1000), Some(utc(after))).await;
        clock.set(utc("2026-11-23T10:00:00.4Z"));
        let tick = ticker.next().await;
        assert_eq!(tick.slot, utc("2026-11-23T10:00:01Z"), "{after}");
        let skipped = tick.skipped.map_or(0, |skipped| {
            assert_eq!((skipped.why, skipped.to), (Why::Down, utc("2026-11-23T10:00:00Z")));
            assert_eq!(skipped.from, utc(after) + TimeDelta::seconds(1));
            skipped.count
        });
        assert_eq!(skipped, count, "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps() {
    let clock = Wall::at("2026-11-23T10:00:00Z");
    let mut ticker = ticker(&clock, &every(1000), None).await;
    assert_eq!(on_time(ticker.next().await), utc("2026-11-23T10:00:01Z"));
    // Forward: the slots in between had no tick.
    clock.jump(TimeDelta::hours(1));
    let tick = ticker.next().await;
    assert_eq!(tick.slot, utc("2026-11-23T11:00:02Z"));
    let (from, to) = (utc("2026-11-23T10:00:02Z"), utc("2026-11-23T11:00:01Z"));
    assert_eq!(tick.skipped, Some(Skipped { from, to, count: 3600, why: Why::Clock }));
    // A little back: waited for. Far back: the names go on, and so does the pace.
    clock.jump(TimeDelta::milliseconds(-300));
    assert_eq!(on_time(ticker.next().await), utc("2026-11-23T11:00:03Z"));
    assert_eq!(clock.now(), utc("2026-11-23T11:00:03Z"));
    clock.set(utc("1970-01-01T00:00:00Z"));
    for second in 4..100 {
        assert_eq!(on_time(ticker.next().await), utc("2026-11-23T11:00:00Z") + TimeDelta::seconds(second));
    }
    assert_eq!(clock.now(), utc("1970-01-01T00:01:36Z"));
    // Stopped: the pace is the steady clock's.
    clock.stop(true);
    let before = Instant::now();
    for second in 100..110 {
        assert_eq!(on_time(ticker.next().await), utc("2026-11-23T11:00:00Z") + TimeDelta::seconds(second));
    }
    assert!((9..=11).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn g2_a_week_of_market_hours() {
    let active = Active {
        days: [true, true, true, true, true, false, false],
        from: "09:15:00".parse().unwrap(),
        to: "15:30:00".parse().unwrap(),
        timezone: Tz::Asia__Kolkata,
        holidays: vec!["2026-11-25".parse().unwrap()],
    };
    for schedule in [every(60_000), cron("* * * * *", Tz::Asia__Kolkata)] {
        let clock = Wall::at("2026-11-23T00:00:30Z");
        let schedule = Schedule { active: Some(active.clone()), ..schedule };
        let mut ticker = ticker(&clock, &schedule, Some(utc("2026-11-20T09:59:00Z"))).await;
        let mut ticks = 0;
        let monday = utc("2026-11-30T03:45:00Z");
        loop {
            let tick = ticker.next().await;
            assert_eq!(tick.skipped, None, "nights and holidays are not missed");
            assert!(active.contains(tick.slot) && active.contains(clock.now()), "{tick:?} at {}", clock.now());
            if tick.slot == monday {
                break;
            }
            ticks += 1;
        }
        // Four days of 375 minutes; a fired minute is not lost at the close, where cron wakes itself two seconds late.
        assert_eq!(ticks, 4 * 375, "{:?}", schedule.when);
    }
}

/// The cron service has ended: each ticker must go on by itself.
#[tokio::test(start_paused = true)]
async fn n2_cron_goes_on_when_the_service_is_silent() {
    let clock = Wall::at("2027-03-04T10:00:00.4Z");
    let mut ticker = ticker(&clock, &cron("*/5 * * * * *", Tz::UTC), Some(utc("2027-03-04T09:59:45Z"))).await;
    let tick = ticker.next().await;
    assert_eq!(tick.slot, utc("2027-03-04T10:00:05Z"));
    assert_eq!(tick.skipped.map(|skipped| (skipped.count, skipped.why)), Some((3, Why::Down)));
    for turn in 2..500 {
        let tick = ticker.next().await;
        assert_eq!((tick.slot, tick.skipped), (utc("2027-03-04T10:00:00Z") + TimeDelta::seconds(5 * turn), None));
        assert!((2000..2010).contains(&tick.late.as_millis()), "{tick:?}");
    }
    sleep(Duration::from_mins(1)).await;
    let tick = ticker.next().await;
    assert_eq!(tick.skipped.map(|skipped| (skipped.count, skipped.why)), Some((12, Why::Busy)));
}

#[tokio::test(start_paused = true)]
async fn n3_cron_keeps_local_time_when_the_clocks_change() {
    let clock = Wall::at("2025-03-28T12:00:00Z");
    let mut ticker = ticker(&clock, &cron("0 9 * * *", Tz::Europe__Dublin), None).await;
    for day in 0..400 {
        let tick = ticker.next().await;
        let local = tick.slot.with_timezone(&Tz::Europe__Dublin);
        assert_eq!((local.hour(), local.minute(), tick.skipped), (9, 0, None));
        assert_eq!(local.date_naive() - "2025-03-29".parse::<chrono::NaiveDate>().unwrap(), TimeDelta::days(day));
        assert!(clock.now() >= tick.slot && tick.late < Duration::from_secs(3), "{tick:?}");
    }
}

/// The one test in real time: the crate itself, on the machine's clock.
#[tokio::test]
async fn the_cron_service_wakes_all_who_share_an_expression() {
    let scheduler = Scheduler::new(Arc::new(SystemClock));
    let schedule = cron("* * * * * *", Tz::Europe__Dublin);
    let mut one = scheduler.ticker("one", &schedule, None).await.unwrap();
    let mut two = scheduler.ticker("two", &schedule, None).await.unwrap();
    assert_eq!(scheduler.cron_jobs().await, 1);
    // A ticker that nobody wakes fires by itself, two seconds late. A busy machine may be late, too, but not each time.
    for ticker in [&mut one, &mut two] {
        for _ in 0..3 {
            timeout(PATIENCE, woken(ticker)).await.expect("the service wakes it");
        }
    }
    drop((one, two));
    let gone = async {
        while scheduler.cron_jobs().await > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    scheduler.shutdown().await;
}

async fn woken(ticker: &mut Ticker) {
    while ticker.next().await.late >= Duration::from_millis(1500) {}
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sources() {
    let clock = Wall::at("2026-11-23T10:00:00Z");
    let scheduler = Scheduler::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let schedule = Schedule { offset: None, ..every(1000) };
    let mut tasks = tokio::task::JoinSet::new();
    for source in 0..10_000 {
        let mut ticker = scheduler.ticker(&format!("source-{source}"), &schedule, None).await.unwrap();
        tasks.spawn(async move {
            let mut last = ticker.next().await.slot;
            for _ in 0..10 {
                let slot = on_time(ticker.next().await);
                assert_eq!(slot - last, TimeDelta::seconds(1));
                last = slot;
            }
            last.timestamp_subsec_millis()
        });
    }
    let spread: std::collections::HashSet<_> = tasks.join_all().await.into_iter().collect();
    assert!(spread.len() > 900, "{} of 1000 milliseconds are used", spread.len());
}

#[tokio::test]
async fn schedules_that_never_come_are_refused() {
    let scheduler = Scheduler::new(Arc::new(SystemClock));
    let sunday = Active {
        days: [false, false, false, false, false, false, true],
        from: "09:00:00".parse().unwrap(),
        to: "10:00:00".parse().unwrap(),
        timezone: Tz::UTC,
        holidays: Vec::new(),
    };
    let never = Schedule { active: Some(sunday), ..cron("0 9 * * mon", Tz::UTC) };
    let error = scheduler.ticker("x", &never, None).await.err().unwrap().to_string();
    insta::assert_snapshot!(error, @"the schedule and `active` never meet: no slot falls into an active window; widen `active`, ask more often, or move the slots with `offset`");
}

/// One thing that happens to the clocks between two ticks.
#[derive(Debug, Clone)]
enum Event {
    Jump(TimeDelta),
    Set(i64),
    Stop(bool),
    Work(Duration),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    // Every size of jump is as likely as every other: from a second to ten years, half of them back.
    let size = (0_f64..8.5).prop_map(|power| 10_f64.powf(power));
    let jump = (size, any::<bool>()).prop_map(|(seconds, back)| {
        #[expect(clippy::cast_possible_truncation, reason = "below ten years of microseconds")]
        let micros = (seconds * 1e6) as i64;
        Event::Jump(TimeDelta::microseconds(if back { -micros } else { micros }))
    });
    prop_oneof![
        6 => jump,
        1 => (0_i64..4_000_000_000).prop_map(Event::Set),
        1 => any::<bool>().prop_map(Event::Stop),
        2 => (0_u64..30_000).prop_map(|millis| Event::Work(Duration::from_millis(millis))),
        1 => Just(Event::Restart),
    ]
}

/// Runs a schedule through these events, with a few ticks after each, and checks what must always hold.
async fn simulate(
    schedule: &Schedule,
    period: Duration,
    longest: Duration,
    events: &[Event],
) -> Result<(), TestCaseError> {
    let clock = Wall::at("2027-03-04T10:00:00.4Z");
    let mut ticker = ticker(&clock, schedule, None).await;
    let mut last: Option<DateTime<Utc>> = None;
    let (began, mut ticks) = (Instant::now(), 0_u32);
    for event in events {
        match event {
            Event::Jump(by) if (1980..2200).contains(&(clock.running() + *by).year()) => clock.jump(*by),
            Event::Jump(by) => clock.jump(-*by),
            Event::Set(seconds) => clock.set(DateTime::from_timestamp(*seconds, 0).unwrap()),
            Event::Stop(stop) => clock.stop(*stop),
            Event::Work(span) => sleep(*span).await,
            Event::Restart => ticker = self::ticker(&clock, schedule, last).await,
        }
        for _ in 0..3 {
            let called = Instant::now();
            let tick = ticker.next().await;
            ticks += 1;
            prop_assert!(called.elapsed() <= longest, "silent for {:?} at {:?}", called.elapsed(), tick);
            prop_assert!(last.is_none_or(|last| tick.slot > last), "{:?} after {:?}", tick, last);
            let expected = last.and_then(|last| slots_between(schedule, "x", last, tick.slot).unwrap());
            let told = tick.skipped.map(|skipped| (skipped.from, skipped.to, skipped.count));
            prop_assert_eq!(told, expected.map(|run| (run.from, run.to, run.count)));
            last = Some(tick.slot);
        }
    }
    // No storm: each restart may take up the next slot at once, and so may a tick that was waited for while busy.
    let extra = events.iter().filter(|event| matches!(event, Event::Restart)).count();
    let extra = f64::from(u32::try_from(extra).unwrap());
    let allowed = began.elapsed().as_secs_f64() / (period.as_secs_f64() * 0.9) + extra + 2.0;
    prop_assert!(f64::from(ticks) <= allowed, "{} ticks where {} are allowed", ticks, allowed);
    Ok(())
}

fn paused<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_thousand_jumps_of_the_clock(
        events in prop::collection::vec(event(), 1000),
        millis in prop::sample::select(vec![100_u64, 1000, 7000, 3_600_000]),
    ) {
        let period = Duration::from_millis(millis);
        // Two periods, and the timer's millisecond.
        let longest = period * 2 + Duration::from_millis(2);
        paused(simulate(&every(millis), period, longest, &events))?;
    }

    #[test]
    fn jumps_of_the_clock_with_cron(mut events in prop::collection::vec(event(), 100)) {
        // Cron follows the wall clock, and so stands still with it.
        events.retain(|event| !matches!(event, Event::Stop(_)));
        // Two minutes, the ticker's patience, and the longest sleep before it looks at the clock.
        let longest = Duration::from_secs(120 + 2 + 31);
        let schedule = cron("* * * * *", Tz::America__New_York);
        // A jump may bring a slot at once, so the pace is bounded by the number of events.
        paused(simulate(&schedule, Duration::from_millis(1), longest, &events))?;
    }
}
