//! Whether the disk keeps its word: how long a sync takes, and whether that can be true.
//!
//! A commit rests on `fdatasync`: when it returns, the bytes are where a loss of power does not reach. No disk answers
//! in no time; what does has not asked one. What is slow is honest, and is said with what it means for `commit.every`.

use std::io;
use std::time::{Duration, Instant};

use humantime::format_duration;

use crate::config::Durability;
use crate::fs::{Disk, File, Fs};

use super::case::{Case, Machine};
use super::finding::Finding;
use super::scratch::Scratch;

/// How often it is measured, and for how long at most.
const TIMES: usize = 200;
const MEASURED_MAX: Duration = Duration::from_secs(2);

/// As much as a commit of a few records.
const BYTES: usize = 4096;

/// The quickest disks with power-loss protection take longer than the second; no disk is asked within the first.
const NOTHING_WAS_ASKED: Duration = Duration::from_micros(10);
const HARDLY_A_DISK: Duration = Duration::from_micros(50);

/// What makes syncs do nothing, by the name of its library.
const LIAR: &str = "libeatmydata";

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let place = case.place();
    let (process, whose) = case.process();
    let mut findings: Vec<Finding> = preloaded(&case.machine, &process, whose).into_iter().collect();
    let began = Instant::now();
    let measured = Scratch::make(&place.dir, "syncs").and_then(|scratch| measure(&Disk, &scratch, &|| began.elapsed()));
    findings.extend(match measured {
        Ok(syncs) => judge(&syncs, case.settings.commit.every.0, case.settings.durability),
        Err(error) => vec![Finding::bad(
            format!("nothing can be written and synced in {}: {error}", place.name()),
            "see what `permissions` and `disk` say of it; a disk that fails is said by the system (dmesg)",
        )],
    });
    findings
}

/// Whether a process has what makes syncs do nothing.
fn preloaded(machine: &Machine, process: &str, whose: &str) -> Option<Finding> {
    let has = |process: &str| machine.read(&format!("proc/{process}/maps")).is_some_and(|maps| maps.contains(LIAR));
    (has(process) || has("self")).then(|| {
        Finding::bad(
            format!("{whose} runs under eatmydata: no sync does anything, and a loss of power may take everything since the last minutes"),
            "start tapline without eatmydata (LD_PRELOAD, /etc/ld.so.preload)",
        )
    })
}

/// How long each sync of a short write took, shortest first.
fn measure(disk: &dyn Fs, scratch: &Scratch, elapsed: &dyn Fn() -> Duration) -> io::Result<Vec<Duration>> {
    let mut file = disk.create(&scratch.path("synced"))?;
    measure_file(&mut *file, elapsed)
}

fn measure_file(file: &mut dyn File, elapsed: &dyn Fn() -> Duration) -> io::Result<Vec<Duration>> {
    let bytes = [b'x'; BYTES];
    let (began, mut syncs) = (elapsed(), Vec::new());
    while syncs.len() < TIMES && elapsed().saturating_sub(began) < MEASURED_MAX {
        file.append(&bytes)?;
        let before = elapsed();
        file.sync()?;
        syncs.push(elapsed().saturating_sub(before));
    }
    syncs.sort_unstable();
    Ok(syncs)
}

fn judge(syncs: &[Duration], every: Duration, durability: Durability) -> Vec<Finding> {
    let (Some(median), Some(slow)) = (syncs.get(syncs.len() / 2), syncs.get(syncs.len() * 99 / 100)) else {
        return Vec::new();
    };
    let shown = format!(
        "a sync takes {} ({} were tried, and 99 in 100 took no more than {})",
        short(*median),
        syncs.len(),
        short(*slow)
    );
    if durability == Durability::Process {
        return vec![Finding::ok(format!(
            "{shown}; with `durability: process` nothing waits for it, nor is safe from a loss of power"
        ))];
    }
    if *median < NOTHING_WAS_ASKED {
        return vec![Finding::bad(
            format!("{shown}: no disk was asked, and what is committed is not safe from a loss of power"),
            "find out who answers for the disk: a file system in memory, eatmydata, a virtual disk whose host is told to ignore syncs (cache=unsafe); or say `durability: process`, which promises no more",
        )];
    }
    if *median < HARDLY_A_DISK {
        return vec![Finding::warn(
            format!("{shown}: hardly a disk is so quick, unless it has a battery or capacitors for its cache"),
            "see whether it has (power-loss protection), or whether a host or a controller answers for it and may lose its cache",
        )];
    }
    // A commit syncs the segments that have grown, and then the log.
    let commit = *median * 2;
    if commit > every {
        let per_second = 1.0 / commit.as_secs_f64();
        return vec![Finding::warn(
            format!(
                "{shown}: a commit takes about {}, longer than `commit.every` ({}); there are about {per_second:.0} commits a second, of more records each, and records are seen later",
                short(commit),
                format_duration(every)
            ),
            "nothing is lost by that; a quicker disk helps, or a longer `commit.every`, and `durability: each` should not be used here",
        )];
    }
    if *slow * 2 > every {
        return vec![Finding::warn(
            format!("{shown}: now and then a commit takes longer than `commit.every` ({})", format_duration(every)),
            "nothing is lost by that; see what else writes to this disk",
        )];
    }
    vec![Finding::ok(shown)]
}

/// In three digits.
fn short(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        ..1e3 => (micros, "µs"),
        ..1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::case::machine;
    use super::super::finding::text;
    use super::*;

    /// A disk whose syncs take so many nanoseconds, by a clock of its own, and do nothing.
    #[derive(Clone)]
    struct Takes {
        nanos: u64,
        calls: u64,
        now: Arc<AtomicU64>,
    }

    impl File for Takes {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            self.now.fetch_add(3_000, Ordering::SeqCst);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            // One of fifty waits for something else.
            self.calls += 1;
            self.now
                .fetch_add(if self.calls.is_multiple_of(50) { self.nanos * 20 } else { self.nanos }, Ordering::SeqCst);
            Ok(())
        }

        fn truncate(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_is_judged_by_how_long_it_takes() {
        let found = |nanos: u64, durability| {
            let now = Arc::new(AtomicU64::new(0));
            let mut file = Takes { nanos, calls: 0, now: Arc::clone(&now) };
            let elapsed = || Duration::from_nanos(now.load(Ordering::SeqCst));
            let syncs = measure_file(&mut file, &elapsed).unwrap();
            judge(&syncs, Duration::from_millis(200), durability)
        };
        let found = [
            found(300, Durability::Commit),
            found(300, Durability::Process),
            found(30_000, Durability::Each),
            found(4_000_000, Durability::Commit),
            found(6_000_000, Durability::Commit),
            found(150_000_000, Durability::Commit),
        ]
        .concat();
        insta::assert_snapshot!(text(&found), @"
            bad: a sync takes 0.3 µs (200 were tried, and 99 in 100 took no more than 6.0 µs): no disk was asked, and what is committed is not safe from a loss of power
                do: find out who answers for the disk: a file system in memory, eatmydata, a virtual disk whose host is told to ignore syncs (cache=unsafe); or say `durability: process`, which promises no more
            ok: a sync takes 0.3 µs (200 were tried, and 99 in 100 took no more than 6.0 µs); with `durability: process` nothing waits for it, nor is safe from a loss of power
            warn: a sync takes 30 µs (200 were tried, and 99 in 100 took no more than 600 µs): hardly a disk is so quick, unless it has a battery or capacitors for its cache
                do: see whether it has (power-loss protection), or whether a host or a controller answers for it and may lose its cache
            ok: a sync takes 4.0 ms (200 were tried, and 99 in 100 took no more than 80 ms)
            warn: a sync takes 6.0 ms (200 were tried, and 99 in 100 took no more than 120 ms): now and then a commit takes longer than `commit.every` (200ms)
                do: nothing is lost by that; see what else writes to this disk
            warn: a sync takes 150 ms (14 were tried, and 99 in 100 took no more than 150 ms): a commit takes about 300 ms, longer than `commit.every` (200ms); there are about 3 commits a second, of more records each, and records are seen later
                do: nothing is lost by that; a quicker disk helps, or a longer `commit.every`, and `durability: each` should not be used here
        ");
    }

    #[test]
    fn a_real_disk_is_measured() {
        let scratch_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let began = Instant::now();
        let scratch = Scratch::make(&scratch_in, "measured").unwrap();
        let syncs = measure(&Disk, &scratch, &|| began.elapsed()).unwrap();
        assert!(!syncs.is_empty() && syncs.is_sorted(), "{syncs:?}");
    }

    #[test]
    fn eatmydata_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let maps = "7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libeatmydata.so\n";
        let machine = machine(dir.path(), &[("proc/self/maps", ""), ("proc/77/maps", maps)]);
        assert_eq!(preloaded(&machine, "self", "this process"), None);
        let found: Vec<Finding> = preloaded(&machine, "77", "the service").into_iter().collect();
        insta::assert_snapshot!(text(&found), @"
            bad: the service runs under eatmydata: no sync does anything, and a loss of power may take everything since the last minutes
                do: start tapline without eatmydata (LD_PRELOAD, /etc/ld.so.preload)
        ");
    }

    #[test]
    fn times_are_short() {
        let shown: Vec<String> = [300, 12_345, 999_400, 4_310_000, 99_960_000, 2_000_000_000]
            .map(|nanos| short(Duration::from_nanos(nanos)))
            .into();
        assert_eq!(shown.join(", "), "0.3 µs, 12 µs, 999 µs, 4.3 ms, 100 ms, 2.0 s");
    }
}
