//! The durable write path against a simulated disk: whatever ends the process or the machine, and whenever, what was
//! committed is there, whole, in order and once.
//!
//! `TAPLINE_SEED=123 cargo test --test it torture_disk -- --nocapture` repeats one seed.

#![expect(clippy::print_stderr, reason = "the way to repeat a failure is for whoever reads the output")]

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tapline::config::Durability;

use crate::support::model::{Outcome, ROOT, SOURCES, World};
use crate::support::sim_fs::{Crash, Fault, Op, SimFs};

const SEEDS: u64 = 10_000;
const THREADS: usize = 2;

type Failed = BTreeMap<(Op, &'static str), u64>;

/// One world from its first start to its end: several lives, each ended by a crash, with failures on the way.
fn run(seed: u64, trace: bool) -> (BTreeMap<Op, u64>, Failed) {
    let mut rng = StdRng::seed_from_u64(seed);
    let durability = if rng.random_range(0..5) == 0 { Durability::Process } else { Durability::Commit };
    let (rotate, line) = ([500, 3_000, 20_000][rng.random_range(0..3)], [40, 700, 2_000][rng.random_range(0..3)]);
    let fs = SimFs::new(seed);
    if trace {
        fs.trace();
    }
    let mut world = World::new(fs.clone(), durability, rotate, line);
    for _ in 0..rng.random_range(1..=3) {
        live(&mut world, &mut rng);
        let power = durability == Durability::Commit && rng.random();
        world.crash(if power { Crash::Power } else { Crash::Process });
        recover(&mut world, &mut rng, durability);
    }
    world.check_idempotent();
    world.finish(30);
    assert!(world.found.iter().all(|found| found.damage.is_none()), "an honest disk has no damage: {:?}", world.found);
    (fs.counts(), fs.failed())
}

/// One life: a start, and what a service does until it is stopped or something stops it.
fn live(world: &mut World, rng: &mut StdRng) {
    plan(world, rng, 120);
    if world.start() != Outcome::Done {
        return;
    }
    for _ in 0..rng.random_range(5..60) {
        if rng.random_range(0..30) == 0 {
            let room = world.fs.used() + rng.random_range(0..8_000);
            world.fs.set_capacity(Some(room));
        }
        let mut outcome = world.step(rng);
        while outcome == Outcome::Full {
            if rng.random() {
                world.fs.set_capacity(None);
            }
            outcome = world.commit();
        }
        if outcome == Outcome::Dead {
            break;
        }
    }
    world.fs.set_capacity(None);
}

/// Starts until a start succeeds; some of them are crashed, too.
fn recover(world: &mut World, rng: &mut StdRng, durability: Durability) {
    for _ in 0..rng.random_range(0..3) {
        plan(world, rng, 40);
        world.start();
        let power = durability == Durability::Commit && rng.random_range(0..3) == 0;
        world.crash(if power { Crash::Power } else { Crash::Process });
    }
    assert_eq!(world.start(), Outcome::Done, "a start on a sound disk succeeds");
    world.check();
}

/// Plans an end, and failures before it, within so many steps.
fn plan(world: &World, rng: &mut StdRng, within: u64) {
    let now = world.fs.ops();
    for _ in 0..rng.random_range(0..3) {
        let bytes = rng.random_range(0..2_000);
        let fault = if rng.random() { Fault::Broken(bytes) } else { Fault::Full(bytes) };
        world.fs.fail_at(now + rng.random_range(1..=within), fault);
    }
    if rng.random_range(0..5) > 0 {
        world.fs.fail_at(now + rng.random_range(1..=within), Fault::Crash(rng.random_range(0..6_000)));
    }
}

/// Runs one seed, and says how to repeat it when it fails.
fn run_named(seed: u64) -> Option<(BTreeMap<Op, u64>, Failed)> {
    let ran = catch_unwind(|| run(seed, false));
    if ran.is_err() {
        eprintln!("repeat with: TAPLINE_SEED={seed} cargo test --test it torture_disk -- --nocapture");
    }
    ran.ok()
}

#[test]
fn ten_thousand_worlds() {
    if let Ok(seed) = std::env::var("TAPLINE_SEED") {
        run(seed.parse().unwrap(), true);
        return;
    }
    let seeds = std::env::var("TAPLINE_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let share = |thread| move || (thread..seeds).step_by(THREADS).map(run_named).collect::<Vec<_>>();
    let ran: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64).map(|thread| scope.spawn(share(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let failures = ran.iter().filter(|ran| ran.is_none()).count();
    assert_eq!(failures, 0, "of {seeds} seeds");
    let (mut counts, mut failed) = (BTreeMap::new(), Failed::new());
    for (count, fail) in ran.into_iter().flatten() {
        for (op, count) in count {
            *counts.entry(op).or_insert(0) += count;
        }
        for (op, count) in fail {
            *failed.entry(op).or_insert(0) += count;
        }
    }
    println!("steps: {counts:?}\nfailures: {failed:?}");
    let all = [
        Op::Create,
        Op::Open,
        Op::Append,
        Op::Sync,
        Op::Truncate,
        Op::SyncDir,
        Op::Rename,
        Op::Remove,
        Op::MakeDir,
        Op::RemoveDir,
        Op::Link,
    ];
    for op in all {
        assert!(counts.contains_key(&op), "{op:?} was never asked for");
        assert!(seeds < SEEDS || failed.contains_key(&(op, "broken")), "{op:?} never failed");
        assert!(seeds < SEEDS || failed.contains_key(&(op, "crash")), "the end never came at {op:?}");
    }
}

/// One stream's line, and the disk is full after each possible number of bytes: those of the line, those of the frame.
#[test]
fn a_disk_that_fills_at_any_byte_goes_on_when_there_is_room() {
    let mut filled = 0;
    for room in 0..6_000 {
        let fs = SimFs::new(room);
        let mut world = World::new(fs.clone(), Durability::Commit, 1 << 20, 4_000);
        assert_eq!(world.start(), Outcome::Done);
        world.hold(SOURCES[0], 2);
        assert_eq!(world.commit(), Outcome::Done);
        fs.set_capacity(Some(fs.used() + room));
        world.hold(SOURCES[0], 2);
        match world.commit() {
            Outcome::Full => filled += 1,
            outcome => assert_eq!(outcome, Outcome::Done, "{room}"),
        }
        if fs.full_count() == 0 {
            break;
        }
        // Another try while there is still no room changes nothing.
        assert_eq!(world.commit(), Outcome::Full, "{room}");
        let copy = fs.copy();
        fs.set_capacity(None);
        assert_eq!(world.commit(), Outcome::Done, "{room}");
        world.finish(5);
        // And the end may come while it is full.
        copy.set_capacity(None);
        world.crash_into(copy);
        assert_eq!(world.start(), Outcome::Done, "{room}");
        world.check_all_once();
    }
    assert!(filled > 4_000, "{filled}");
}

/// A start finds the disk full, after each possible number of bytes: it says so, again and again, and starts when there
/// is room. What was there before is there then.
#[test]
fn a_start_on_a_full_disk_can_be_repeated_until_there_is_room() {
    let mut waited = 0;
    for room in (0..).step_by(7) {
        let fs = SimFs::new(room);
        let mut world = World::new(fs.clone(), Durability::Commit, 1_000, 700);
        assert_eq!(world.start(), Outcome::Done);
        for source in SOURCES {
            world.hold(source, 4);
        }
        assert_eq!(world.commit(), Outcome::Done);
        // The end comes in the middle of a group, so that there is something to mend.
        world.hold(SOURCES[0], 3);
        let counts = fs.counts();
        fs.fail_nth(Op::Append, counts[&Op::Append] + 1, Fault::Crash(900));
        assert_eq!(world.commit(), Outcome::Dead);
        world.crash(Crash::Process);
        fs.set_capacity(Some(fs.used() + room));
        let mut outcome = world.start();
        if outcome == Outcome::Done {
            break;
        }
        for _ in 0..3 {
            assert_eq!(outcome, Outcome::Full, "{room}");
            outcome = world.start();
        }
        waited += 1;
        // The end may come while it waits.
        if room % 2 == 0 {
            world.crash(Crash::Power);
        }
        fs.set_capacity(None);
        assert_eq!(world.start(), Outcome::Done, "{room}");
        world.check();
        world.finish(5);
    }
    assert!(waited > 50, "{waited}");
}

/// Each sync of a run fails in its turn: of a segment, of the log.
#[test]
fn a_sync_that_fails_loses_nothing_and_stops_nothing() {
    for (op, rounds) in [(Op::Sync, 200), (Op::SyncDir, 40), (Op::Truncate, 5)] {
        for nth in 1..=rounds {
            let fs = SimFs::new(nth);
            let mut world = World::new(fs.clone(), Durability::Commit, 3_000, 200);
            assert_eq!(world.start(), Outcome::Done);
            let at = fs.counts().get(&op).copied().unwrap_or(0) + nth;
            fs.fail_nth(op, at, Fault::Broken(0));
            for round in 0..80 {
                world.hold(SOURCES[round % SOURCES.len()], 3);
                assert_eq!(world.commit(), Outcome::Done, "{op:?} {nth}");
            }
            assert!(op == Op::Truncate || fs.failed().contains_key(&(op, "broken")), "{op:?} {nth} was never reached");
            world.crash(Crash::Power);
            assert_eq!(world.start(), Outcome::Done, "{op:?} {nth}");
            world.check();
        }
    }
}

/// Every stream of a group fails once, and is written elsewhere; only one that fails four times is a broken disk.
#[test]
fn failures_are_counted_for_each_stream() {
    for (nths, outcome) in [([1, 3, 5, 7], Outcome::Done), ([1, 2, 3, 4], Outcome::Dead)] {
        let mut world = World::new(SimFs::new(1), Durability::Commit, 1 << 20, 300);
        assert_eq!(world.start(), Outcome::Done);
        for group in 0..2 {
            if group == 1 {
                // The second try of each stream is the sync after its first.
                let before = world.fs.counts()[&Op::Sync];
                for nth in nths {
                    world.fs.fail_nth(Op::Sync, before + nth, Fault::Broken(0));
                }
            }
            for source in SOURCES {
                world.hold(source, 4);
            }
            assert_eq!(world.commit(), if group == 0 { Outcome::Done } else { outcome }, "{nths:?}");
        }
        assert_eq!(world.fs.failed().get(&(Op::Sync, "broken")), Some(&4), "{nths:?}");
        let streams = ["alpha", "beta", "both", "live", "_ledger"];
        let given_up = streams.iter().filter(|stream| world.texts(stream).len() == 2).count();
        assert!(outcome == Outcome::Dead || given_up == 4, "{given_up} of five streams go on in another segment");
        world.crash(Crash::Power);
        assert_eq!(world.start(), Outcome::Done, "{nths:?}");
        world.check();
    }
}

/// The end comes after each step of a short life, and once more at each step of the recovery.
#[test]
fn every_step_of_a_short_life_can_be_the_last() {
    let life = |world: &mut World| {
        if world.start() != Outcome::Done {
            return;
        }
        for round in 0..3 {
            world.hold(SOURCES[0], 2);
            world.hold(SOURCES[4], 1);
            if world.commit() != Outcome::Done {
                return;
            }
            if round == 1 {
                world.close("alpha");
            }
        }
    };
    let world = |seed| World::new(SimFs::new(seed), Durability::Commit, 1_000, 600);
    let mut whole = world(0);
    life(&mut whole);
    for (first, crash) in (1..=whole.fs.ops()).flat_map(|op| [(op, Crash::Process), (op, Crash::Power)]) {
        for second in 1..25 {
            let mut world = world(first * 100 + second);
            world.fs.fail_at(first, Fault::Crash(usize::try_from(second).unwrap() * 40));
            life(&mut world);
            world.crash(crash);
            world.fs.fail_at(world.fs.ops() + second, Fault::Crash(100));
            world.start();
            world.crash(if second % 2 == 0 { Crash::Process } else { Crash::Power });
            assert_eq!(world.start(), Outcome::Done);
            world.check();
            world.finish(5);
        }
    }
}

/// Bits flip in the log, and files disappear: a start never panics, always works, and says what is missing.
#[test]
fn damage_is_said_and_stops_no_start() {
    let build = |seed| {
        let mut world = World::new(SimFs::new(seed), Durability::Commit, 1_000, 300);
        assert_eq!(world.start(), Outcome::Done);
        for round in 0..20 {
            world.hold(SOURCES[round % SOURCES.len()], 3);
            assert_eq!(world.commit(), Outcome::Done);
        }
        world
    };
    let whole = build(1);
    let files = whole.fs.files();
    for (path, bytes) in &files {
        let mut world = whole.fork();
        world.fs.delete(path);
        assert_eq!(world.start(), Outcome::Done, "without {}", path.display());
        let is_active = path.extension().is_some_and(|ending| ending == "jsonl") && whole.is_active(path);
        let said = world.found.iter().any(|found| found.damage.is_some());
        assert_eq!(said, is_active, "without {}", path.display());
        let is_log = path.starts_with(Path::new(ROOT).join(".tapline"));
        for bit in (0..bytes.len() * 8).step_by(if is_log { 1 } else { 97 }) {
            let mut world = whole.fork();
            world.fs.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            assert_eq!(world.start(), Outcome::Done, "bit {bit} of {}", path.display());
        }
        if is_active {
            let mut world = whole.fork();
            let cut = bytes.len() - 10;
            world.fs.tamper(path, |bytes| bytes.truncate(cut));
            assert_eq!(world.start(), Outcome::Done);
            let damage = world.found.iter().find_map(|found| found.damage).unwrap();
            assert_eq!((damage.from, damage.to), (cut as u64, bytes.len() as u64));
        }
    }
}

/// Segments are given up, one after the other, on a disk that does not even shorten them: the end comes before any of
/// them is as short as the log says, and no line stands twice after it. One more than the log has room for is a broken
/// disk.
#[test]
fn every_cut_is_remembered_until_it_is_made() {
    for given_up in 1..=5 {
        for crash in [Crash::Process, Crash::Power] {
            let mut world = World::new(SimFs::new(1), Durability::Commit, 1 << 20, 300);
            assert_eq!(world.start(), Outcome::Done);
            world.hold(SOURCES[4], 2);
            assert_eq!(world.commit(), Outcome::Done);
            // None of the groups gets through with what it cuts: not when it is given up, and not after the commit.
            for nth in 1..100 {
                world.fs.fail_nth(Op::Truncate, nth, Fault::Broken(0));
            }
            for group in 1..=given_up {
                world.hold(SOURCES[4], 2);
                let next = world.fs.counts()[&Op::Sync] + 1;
                world.fs.fail_nth(Op::Sync, next, Fault::Broken(0));
                assert_eq!(world.commit(), if group < 5 { Outcome::Done } else { Outcome::Dead }, "{group}");
            }
            assert_eq!(world.texts("live").len(), 1 + given_up.min(4), "{given_up}");
            world.crash(crash);
            for nth in 1..100 {
                world.fs.forget_nth(Op::Truncate, nth);
            }
            assert_eq!(world.start(), Outcome::Done);
            world.check();
            world.finish(5);
        }
    }
}

/// A segment that was closed takes no more lines, also after the next start.
#[test]
fn a_closed_segment_stays_closed() {
    let mut world = World::new(SimFs::new(1), Durability::Commit, 1 << 20, 300);
    assert_eq!(world.start(), Outcome::Done);
    world.hold(SOURCES[0], 1);
    assert_eq!(world.commit(), Outcome::Done);
    world.close("alpha");
    assert_eq!(world.commit(), Outcome::Done);
    world.crash(Crash::Power);
    assert_eq!(world.start(), Outcome::Done);
    world.hold(SOURCES[0], 1);
    assert_eq!(world.commit(), Outcome::Done);
    let texts = world.texts("alpha");
    assert_eq!(texts.values().map(|text| text.lines().count()).collect::<Vec<_>>(), [1, 1]);
}

/// The clock is put back over midnight, and the end comes before the segment that this begins is committed.
#[test]
fn a_segment_in_the_folder_of_an_earlier_day_is_found() {
    let mut world = World::new(SimFs::new(1), Durability::Commit, 1 << 20, 300);
    assert_eq!(world.start(), Outcome::Done);
    world.hold(SOURCES[0], 1);
    assert_eq!(world.commit(), Outcome::Done);
    world.now -= TimeDelta::days(2);
    world.hold(SOURCES[0], 1);
    let log_is_next = world.fs.counts()[&Op::Append] + 2;
    world.fs.fail_nth(Op::Append, log_is_next, Fault::Crash(0));
    assert_eq!(world.commit(), Outcome::Dead);
    world.crash(Crash::Process);
    assert_eq!(world.start(), Outcome::Done);
    world.check();
    assert_eq!(world.texts("alpha").len(), 2);
    world.finish(5);
}

/// A group is given up, stays readable, and the end comes while it is written again: the longer copy stays.
#[test]
fn of_a_group_that_stands_in_two_segments_no_line_goes() {
    let mut world = World::new(SimFs::new(1), Durability::Commit, 1 << 20, 40);
    assert_eq!(world.start(), Outcome::Done);
    world.hold(SOURCES[4], 1);
    assert_eq!(world.commit(), Outcome::Done);
    world.hold(SOURCES[4], 4);
    let counts = world.fs.counts();
    world.fs.fail_nth(Op::Sync, counts[&Op::Sync] + 1, Fault::Broken(0));
    world.fs.fail_nth(Op::Truncate, counts.get(&Op::Truncate).unwrap_or(&0) + 1, Fault::Broken(0));
    world.fs.fail_nth(Op::Append, counts[&Op::Append] + 2, Fault::Crash(200));
    assert_eq!(world.commit(), Outcome::Dead);
    world.crash(Crash::Process);
    assert_eq!(world.texts("live").values().map(|text| text.lines().count()).collect::<Vec<_>>(), [5, 2]);
    assert_eq!(world.start(), Outcome::Done);
    world.check();
    assert_eq!(world.texts("live")[&1].lines().count(), 5);
}
