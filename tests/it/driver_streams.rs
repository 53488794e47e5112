//! How the driver keeps a stream: ladders, flaps, gaps, budgets and duplicates, attempt by attempt on paused time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tapline::pipeline::driver::End;
use tapline::source::Budget;

use crate::driver::{Script, Step, drive, drive_on, numbers, records};
use crate::support::stuck_fs::StuckFs;
use crate::support::tap::{PATIENCE, pause, wait_until};

/// The waits between attempts, in milliseconds.
fn waits(script: &Script) -> Vec<u64> {
    let tried = script.tried.lock().unwrap();
    tried.windows(2).map(|pair| u64::try_from((pair[1] - pair[0]).as_millis()).unwrap()).collect()
}

/// Each wait is its rung, or up to a quarter more.
fn assert_rungs(waits: &[u64], rungs: &[u64]) {
    assert_eq!(waits.len(), rungs.len(), "{waits:?}");
    for (wait, rung) in waits.iter().zip(rungs) {
        assert!(*wait >= *rung && *wait <= rung + rung / 4 + 5, "{wait} is not {rung}: {waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_class_of_failure_has_its_ladder_attempt_by_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let steps = [
        vec![Step::NoConnection; 70],
        vec![Step::Unavailable; 8],
        vec![Step::NoConnection; 2],
        vec![Step::Limited; 5],
        vec![Step::Give(1), Step::Lose, Step::Give(1), Step::End],
    ];
    let script = Script::new(steps.concat());
    assert_eq!(drive(dir.path(), &script, None).await, End::Finished);
    let network = |attempts: u64| (1..=attempts).map(|attempt| (attempt * 250).min(16_000)).collect::<Vec<_>>();
    let seconds = |rungs: &[u64]| rungs.iter().map(|rung| rung * 1000).collect::<Vec<_>>();
    let rungs = [
        network(70),
        seconds(&[5, 10, 20, 40, 80, 160, 320, 320]),
        network(2),
        seconds(&[60, 120, 240, 480, 960]),
        // One that had delivered is made again at once.
        vec![0],
    ];
    assert_rungs(&waits(&script), &rungs.concat());
}

/// An hour of a server that accepts and closes, and of one that says a word before it does.
#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_closes_is_left_alone() {
    for (what, cycle) in [("closes", vec![Step::Lose]), ("says a word", vec![Step::Give(1), Step::Lose])] {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::new([cycle.repeat(60), vec![Step::End]].concat());
        drive(dir.path(), &script, None).await;
        let tried = script.tried.lock().unwrap();
        let quarter = Duration::from_mins(15);
        for (index, at) in tried.iter().enumerate() {
            let within = tried[index..].iter().filter(|other| **other - *at < quarter).count();
            assert!(within <= 15, "{what}: {within} connections in 15 minutes");
        }
        let took = *tried.last().unwrap() - tried[0];
        assert!(took < Duration::from_hours(8), "{what}: it goes on trying: {took:?}");
    }
}

/// Who asks to be left alone after each connection is, and no longer than that where a ladder says more.
#[tokio::test(start_paused = true)]
async fn what_upstream_asks_for_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let steps = [Step::Give(1), Step::Lose, Step::Give(1), Step::Silent(Duration::from_secs(25)), Step::NoConnection];
    let mut script = Script::new([&steps[..], &[Step::Unavailable, Step::End]].concat());
    script.rest = Duration::from_secs(3);
    drive(dir.path(), &script, None).await;
    let waits = waits(&script);
    assert_eq!(waits[0], 3_000, "in place of at once: {waits:?}");
    assert_eq!(waits[1], 28_000, "after the silence: {waits:?}");
    assert_eq!(waits[2], 3_000, "in place of a quarter of a second: {waits:?}");
    assert!((5_000..6_300).contains(&waits[3]), "the ladder is longer: {waits:?}");
}

/// A day of a server that ends each connection after a quarter of an hour, as the edge of Wikimedia does, while events come
/// all the time; it has an hour of maintenance, and its replays repeat what came last.
#[tokio::test(start_paused = true)]
async fn a_day_of_cuts_loses_nothing_and_hammers_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    for quarter in 0..96 {
        for _ in 0..90 {
            steps.extend([Step::Quiet(Duration::from_secs(10)), Step::Give(3)]);
        }
        // The end of the body, which is in good order.
        steps.push(Step::Lose);
        if quarter == 50 {
            steps.extend([Step::Unavailable; 18]);
        }
    }
    steps.extend([Step::Alive, Step::End]);
    let mut script = Script::new(steps);
    script.replays = true;
    let began = tokio::time::Instant::now();
    assert_eq!(drive(dir.path(), &script, None).await, End::Finished);
    assert!(began.elapsed() >= Duration::from_hours(24), "{:?}", began.elapsed());
    assert_eq!(numbers(dir.path()), (0..96 * 90 * 3).collect::<Vec<_>>(), "each once, in order");
    let tried = script.tried.lock().unwrap().clone();
    assert_eq!(tried.len(), 1 + 96 + 18);
    for (index, at) in tried.iter().enumerate() {
        let within = tried[index..].iter().filter(|other| **other - *at < Duration::from_mins(1)).count();
        assert!(within <= 5, "{within} connections within a minute");
    }
    let ledger = records(dir.path(), "_ledger");
    let gaps: Vec<_> = ledger.iter().filter(|entry| entry["type"] == "gap").collect();
    assert_eq!(gaps.len(), 96, "each cut is a gap");
    let long = |gap: &&&serde_json::Value| {
        time(&gap["data"]["to"]) - time(&gap["data"]["from"]) > chrono::TimeDelta::seconds(1)
    };
    assert_eq!(gaps.iter().filter(long).count(), 1, "and only the maintenance is a long one");
}

fn time(value: &serde_json::Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// A connection that is there and silent is called alive in seconds, and so is the gap before it.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_a_gap_in_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new([Step::Give(1), Step::Lose, Step::Quiet(Duration::from_hours(1)), Step::End]);
    drive(dir.path(), &script, None).await;
    let entries = records(dir.path(), "_ledger");
    let gap = entries.iter().find(|entry| entry["type"] == "gap").unwrap();
    let late = time(&gap["observed_at"]) - time(&gap["data"]["to"]);
    assert!(late <= chrono::TimeDelta::seconds(6), "{late}: {gap}");
}

/// A gap begins with the last sign of life and ends with the connection that was alive, not with its first record.
#[tokio::test(start_paused = true)]
async fn a_gap_has_exact_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new([
        Step::Give(1),
        Step::Silent(Duration::from_secs(25)),
        // Accepted and closed: no end of the gap.
        Step::Lose,
        Step::Unavailable,
        Step::Alive,
        Step::Slow(Duration::from_secs(40)),
        Step::End,
    ]);
    drive(dir.path(), &script, None).await;
    let entries = records(dir.path(), "_ledger");
    let of = |kind: &str| entries.iter().filter(|entry| entry["type"] == kind).collect::<Vec<_>>();
    let tried = script.tried.lock().unwrap().clone();
    let began = time(&of("connected")[0]["data"]["since"]);
    let at = |attempt: usize| began + chrono::TimeDelta::from_std(tried[attempt] - tried[0]).unwrap();
    let gaps = of("gap");
    assert_eq!(gaps.len(), 1, "{entries:?}");
    let (from, to) = (time(&gaps[0]["data"]["from"]), time(&gaps[0]["data"]["to"]));
    let near = |left: DateTime<Utc>, right: DateTime<Utc>| (left - right).abs() < chrono::TimeDelta::milliseconds(50);
    assert!(near(from, began), "where it was last heard: {from} and not {began}");
    assert!(near(to, at(3)), "when the connection was made: {to} and not {}", at(3));
    assert_eq!(of("lost").len(), 1);
    assert_eq!(time(&of("connected")[1]["data"]["since"]), to);
}

#[tokio::test(start_paused = true)]
async fn a_budget_closes_the_connection_until_the_next_day_and_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut script = Script::new([Step::Give(3), Step::Give(4), Step::Give(2), Step::Give(9), Step::End]);
    script.budget = Budget { per_day: Some(7), per_month: None };
    drive(dir.path(), &script, None).await;
    let tried = script.tried.lock().unwrap().clone();
    assert_eq!(tried.len(), 3, "one connection a day, until the script ends");
    // The test's day begins at 07:00.
    assert_eq!((tried[1] - tried[0]).as_secs(), 17 * 3600);
    assert_eq!((tried[2] - tried[1]).as_secs(), 24 * 3600);
    let over = records(dir.path(), "_ledger").into_iter().filter(|entry| entry["type"] == "over_budget").count();
    assert_eq!(over, 2);
    // The clock of the next run begins at the same time: the day's budget was spent before.
    let gap = records(dir.path(), "_ledger").into_iter().find(|entry| entry["type"] == "gap").unwrap();
    assert!(gap["data"]["why"].as_str().unwrap().starts_with("the budget of 7 records a day is used up"), "{gap}");
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let budget = Budget { per_day: None, per_month: Some(5) };
    let mut first = Script::new([Step::Give(4), Step::End]);
    first.budget = budget;
    drive(dir.path(), &first, None).await;
    let mut second = Script::new([Step::Give(1), Step::Give(1), Step::End]);
    second.budget = budget;
    drive(dir.path(), &second, None).await;
    let tried = second.tried.lock().unwrap().clone();
    let days = (tried[1] - tried[0]).as_secs_f64() / 86_400.0;
    assert!((7.0..8.0).contains(&days), "from the 23rd to the first of the next month: {days}");
}

/// What upstream sends again is written once, within a run and after a restart, whatever the cursor says.
#[tokio::test(start_paused = true)]
async fn what_comes_twice_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    for given in [5, 8, 8] {
        // A cursor that says nothing: each run begins at zero.
        let mut script = Script::new([Step::Give(given), Step::Note("control"), Step::End]);
        script.replays = true;
        script.forgetful = true;
        drive(dir.path(), &script, None).await;
    }
    assert_eq!(numbers(dir.path()), (0..8).collect::<Vec<_>>());
    let notes = records(dir.path(), "_ledger").into_iter().filter(|entry| entry["type"] == "control").count();
    assert_eq!(notes, 3);
}

/// A disk that stands still does not hold up the reader until 8 MiB wait for it; then it does, and the ledger says so once.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_is_noticed_when_the_buffer_is_full_and_not_before() {
    const STEPS: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let disk = StuckFs::default();
    // Each step is about 100 KB of lines, and all of them several times what may wait.
    let steps = [vec![Step::Give(1)], vec![Step::Give(1000); STEPS], vec![Step::End]].concat();
    let script = Script::new(steps);
    let (path, running, fs) = (dir.path().to_owned(), script.clone(), disk.clone());
    disk.stick(false);
    let driven = tokio::spawn(async move { drive_on(Arc::new(fs), &path, &running, None).await });
    wait_until("it has begun", PATIENCE, || script.left() <= STEPS);
    disk.stick(true);
    // It reads on, until it does not.
    let mut last = (script.left(), Instant::now());
    wait_until("the reader waits", PATIENCE, || {
        if script.left() != last.0 {
            last = (script.left(), Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(3)
    });
    let line = records(dir.path(), "scripted").first().map_or(100, |record| record.to_string().len() + 1);
    let read = (STEPS - last.0 + 1) * 1000 * line;
    assert!(last.0 > 0, "what waits has no bound");
    assert!(read > 6 << 20, "it stopped after {read} bytes, long before the buffer was full");
    pause(Duration::from_millis(500));
    disk.stick(false);
    assert_eq!(driven.await.unwrap(), End::Finished);
    let all = u64::try_from(STEPS).unwrap() * 1000 + 1;
    assert_eq!(numbers(dir.path()), (0..all).collect::<Vec<_>>(), "nothing is lost, and the order kept");
    let ledger = records(dir.path(), "_ledger");
    let slow: Vec<_> = ledger.iter().filter(|entry| entry["type"] == "slow_disk").collect();
    // Once for each time that it stands still; a machine that tests may have others.
    assert!((1..5).contains(&slow.len()), "{slow:?}");
    assert!(slow[0]["data"]["waited_seconds"].as_f64().unwrap() >= 3.0, "{slow:?}");
}

/// A day of a stream: signs of life each twenty seconds, a flood each hour, silence that is a dead connection, the
/// disconnect that X makes once a day, an outage. Every moment of it is either connected or in a gap with its cause.
#[tokio::test(start_paused = true)]
async fn a_day_is_accounted_for_to_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let silence = Duration::from_secs(25);
    let mut steps = Vec::new();
    for hour in 0..24 {
        steps.extend([Step::Quiet(Duration::from_secs(20)); 179]);
        steps.push(Step::Give(1000));
        match hour {
            3 | 9 | 15 | 21 => steps.push(Step::Silent(silence)),
            11 => steps.push(Step::Lose),
            // Nobody can be reached for a while, then the server is out of order, then it wants to be left alone.
            17 => {
                steps.push(Step::Lose);
                steps.extend([Step::NoConnection; 20]);
                steps.extend([Step::Unavailable; 5]);
                steps.extend([Step::Limited; 2]);
            }
            _ => {}
        }
    }
    steps.push(Step::End);
    let script = Script::new(steps);
    let began = tokio::time::Instant::now();
    assert_eq!(drive(dir.path(), &script, None).await, End::Finished);
    let day = began.elapsed();
    assert!(day > Duration::from_hours(23), "{day:?}");
    assert_eq!(numbers(dir.path()), (0..24_000).collect::<Vec<_>>(), "each once, in order");

    let ledger = records(dir.path(), "_ledger");
    let of = |kind: &str| {
        ledger.iter().filter(|entry| entry["type"] == kind).map(|entry| &entry["data"]).collect::<Vec<_>>()
    };
    let gaps = of("gap");
    assert_eq!(gaps.iter().filter(|gap| gap["why"].as_str().unwrap().contains("25s")).count(), 4, "{gaps:?}");
    assert_eq!((gaps.len(), of("lost").len(), of("connected").len()), (6, 6, 7), "{gaps:?}");
    let length = |gap: &serde_json::Value| (time(&gap["to"]) - time(&gap["from"])).num_milliseconds();
    for gap in &gaps {
        let why = gap["why"].as_str().unwrap();
        if why.contains("25s") {
            assert!((25_000..25_500).contains(&length(gap)), "it begins with the silence: {gap}");
        }
    }
    // The steps of the three ladders, each up to a quarter longer.
    let ladders: i64 = (1..=20).map(|attempt| attempt * 250).sum::<i64>() + 155_000 + 180_000;
    let outage = gaps.iter().map(|gap| length(gap)).max().unwrap();
    assert!((ladders..ladders * 5 / 4 + 1000).contains(&outage), "{outage} and not {ladders}");
    // Nothing of the day is left over: what was connected lies between the gaps.
    let quiet = 24 * 179 * 20_000_i64;
    let missing: i64 = gaps.iter().map(|gap| length(gap)).sum();
    assert!((i64::try_from(day.as_millis()).unwrap() - quiet - missing).abs() < 1000, "{day:?} {quiet} {missing}");
    assert_eq!(script.tried.lock().unwrap().len(), 7 + 27);
}
