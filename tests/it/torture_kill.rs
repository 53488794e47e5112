//! Promises 1 and 2 under kill -9: no torn line, nothing lost that was in a file, no slot twice, every slot accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tapline::cli::{Cli, Global};
use tapline::simulator::quote::{Exchange, Quote};
use tokio_util::sync::CancellationToken;

use crate::support::kill_fs::KillFs;
use crate::support::tap::{Tap, pause};

const EVERY: Duration = Duration::from_millis(100);

/// Small segments, so that rotation and compression are in every run.
const SETTINGS: &str = "rotate: { size: 4KiB, every: 1h }\ncommit: { every: 40ms, size: 1MiB }\n";

fn sources(tap: &Tap, exchange: &Exchange) {
    tap.source("index", &format!("kind: scrape\nurl: {}\nevery: 100ms\nfields: {{ price: {{ css: span.red14px, type: number, locale: en-IN }} }}\n", exchange.url("/")));
    tap.source(
        "stocks",
        &format!(
            "kind: scrape\nurl: {}\nevery: 100ms\nrecords: 'table#stocks tbody tr'\nfields: {{ symbol: td.symbol, price: {{ css: td.last, type: number, locale: en-IN }} }}\n",
            exchange.url("/stocks")
        ),
    );
}

/// What was in the files before, and must be there for ever.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, Vec<String>>);

impl Seen {
    /// The whole lines that are there now begin with those that were.
    fn check(&mut self, tap: &Tap, context: &str) {
        for stream in ["index", "stocks", "_ledger"] {
            let text: String = tap
                .segments(stream)
                .values()
                .flat_map(|segment| segment.split_inclusive('\n'))
                .filter(|line| line.ends_with('\n'))
                .collect();
            let now: Vec<String> = text.lines().map(str::to_owned).collect();
            let before = self.0.entry(stream).or_default();
            assert!(
                now.len() >= before.len() && now[..before.len()] == before[..],
                "{context}: {stream} lost or changed lines"
            );
            *before = now;
        }
    }
}

/// After a clean end: every line whole and a record, no id twice, every slot accounted for once.
fn check_whole(tap: &Tap, context: &str) {
    for stream in ["index", "stocks", "_ledger"] {
        let mut ids = BTreeSet::new();
        for record in tap.records(stream) {
            let id = format!("{}/{}", record["source"], record["id"]);
            assert!(ids.insert(id.clone()), "{context}: {id} is twice in {stream}");
        }
    }
    tap.assert_accounted("index", EVERY);
    tap.assert_accounted("stocks", EVERY);
    // A tick that a kill cut off is an error, and what was written of it was kept. Other errors have no records: nothing
    // goes wrong upstream, but a machine may be too busy for a page.
    for (source, rows) in [("index", 1), ("stocks", 30)] {
        tap.assert_counted(source);
        let sums = tap.sums(source);
        let good = sums.get("ok").copied().unwrap_or(0);
        let is_cut = |entry: &serde_json::Value| {
            entry["data"]["reason"].as_str().is_some_and(|reason| reason.contains("was killed before"))
        };
        let cut_off: u64 = tap
            .ledger(source)
            .iter()
            .filter(|entry| is_cut(entry))
            .map(|entry| entry["data"]["count"].as_u64().unwrap())
            .sum();
        let mut slots: BTreeMap<String, u64> = BTreeMap::new();
        for record in tap.records(source) {
            *slots.entry(record["id"].as_str().unwrap().split('_').nth(1).unwrap().to_owned()).or_default() += 1;
        }
        let partial = slots.values().filter(|count| **count != rows).count() as u64;
        assert_eq!(
            slots.len() as u64,
            good + cut_off,
            "{context}: {source} has records of each good tick, {sums:?} with {cut_off} cut off"
        );
        assert!(partial <= cut_off, "{context}: {partial} ticks of {source} are not whole, and {sums:?}");
    }
}

/// The process is killed at random moments, and started again each time on the same folder.
#[tokio::test(flavor = "multi_thread")]
async fn at_random_moments() {
    let seed = std::env::var("TAPLINE_SEED").ok().map_or(7, |seed| seed.parse().unwrap());
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 20 } else { 150 };
    println!("TAPLINE_SEED={seed} cargo test --test it torture_kill::at_random_moments -- --nocapture");
    let exchange = Arc::new(Quote::new().step(Duration::ZERO).start(0).await.unwrap());
    // Two folders at once, 300 kills in all.
    let runs = (0..2).map(|folder| {
        let exchange = Arc::clone(&exchange);
        tokio::task::spawn_blocking(move || {
            let mut random = StdRng::seed_from_u64(seed + folder);
            let tap = Tap::new();
            tap.settings(SETTINGS);
            sources(&tap, &exchange);
            let mut seen = Seen::default();
            for kill in 0..kills {
                let context = format!("seed {seed}, folder {folder}, kill {kill}");
                let before = tap.count("index");
                let mut process = tap.run();
                // Every other one while it starts, and every other one at work, however long a start takes here.
                if kill % 2 == 1 {
                    tap.wait_for_lines("index", before + 1);
                }
                pause(Duration::from_millis(random.random_range(0..500)));
                process.kill();
                seen.check(&tap, &context);
            }
            let mut process = tap.start();
            for stream in ["index", "stocks"] {
                tap.wait_for_lines(stream, tap.count(stream) + 60);
            }
            let (code, _) = process.terminate();
            assert_eq!(code, Some(0), "{}", tap.log());
            seen.check(&tap, "at the end");
            check_whole(&tap, "at the end");
            let written = tap.count("index");
            assert!(written > kills / 2, "the kills left time for only {written} ticks: they hit nothing");
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

/// The process is killed at every write, sync, rename and unlink of a short run, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn at_every_operation() {
    let exchange = Arc::new(Quote::new().step(Duration::ZERO).start(0).await.unwrap());
    let step = if std::env::var_os("TAPLINE_QUICK").is_some() { 7 } else { 1 };
    let lanes = (0..2_usize).map(|lane| {
        let exchange = Arc::clone(&exchange);
        tokio::task::spawn_blocking(move || {
            let tap = Tap::new();
            tap.settings(SETTINGS);
            sources(&tap, &exchange);
            let mut seen = Seen::default();
            let mut hit: BTreeMap<String, u64> = BTreeMap::new();
            // One kill moves the operations of the next run a little, so the first ones, where a log takes the place
            // of another, are gone through again.
            let kill = |at| run_child(&tap, at).map(|what| (at, what));
            let once_each = (1 + lane..).step_by(2 * step).map_while(kill);
            for (at, what) in once_each.chain((1..=24).step_by(step).filter_map(kill)) {
                seen.check(&tap, &format!("operation {at}"));
                *hit.entry(what).or_default() += 1;
            }
            let mut process = tap.start();
            tap.wait_for_lines("index", tap.count("index") + 5);
            assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
            seen.check(&tap, "at the end");
            check_whole(&tap, "at the end");
            hit
        })
    });
    let mut hit: BTreeMap<String, u64> = BTreeMap::new();
    for lane in lanes.collect::<Vec<_>>() {
        for (what, count) in lane.await.unwrap() {
            *hit.entry(what).or_default() += count;
        }
    }
    println!("killed at: {hit:?}");
    if step > 1 {
        return;
    }
    for what in ["write", "sync", "sync_dir", "rename", "unlink", "create", "link"] {
        assert!(hit.contains_key(what), "no kill at a {what}: {hit:?}");
    }
}

/// Runs this same test program as a service that dies at the operation `at`, and returns what that was; `None` when it
/// ended before.
pub(crate) fn run_child(tap: &Tap, at: usize) -> Option<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["torture_kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env("TAPLINE_TEST_FOLDER", tap.path(""))
        .env("TAPLINE_TEST_KILL_AT", at.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().find_map(|line| line.split("killed at ").nth(1)).map(str::to_owned)
}

/// How many ticks' lines a run of [`child`] has that is not killed before: as many operations on a slow machine as on
/// a fast one.
const TICKS_OF_CHILD: usize = 7;

/// Not a test by itself: what [`run_child`] runs, until it has written so much, unless it is killed before.
#[test]
fn child() {
    let (Ok(folder), Ok(at)) = (std::env::var("TAPLINE_TEST_FOLDER"), std::env::var("TAPLINE_TEST_KILL_AT")) else {
        return;
    };
    let tap = Tap::at(folder.into());
    let folder = tap.path("");
    let parse = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let arguments = [
        "tapline",
        "--config",
        &parse("tapline.yaml"),
        "--sources",
        &parse("sources"),
        "--data",
        &parse("data"),
        "run",
        "--stop-within",
        "1m",
    ];
    let cli = <Cli as clap::Parser>::parse_from(arguments);
    let global: Global = cli.global.clone();
    let tapline::cli::Command::Run(run) = cli.command else { unreachable!("it was given") };
    let settings = tapline::commands::sources::load_service(&global).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let fs = Arc::new(KillFs::new(at.parse().unwrap()));
        let ending = stop.clone();
        let before = tap.count("index");
        let until = tokio::task::spawn_blocking(move || {
            tap.wait_for_lines("index", before + TICKS_OF_CHILD);
            ending.cancel();
        });
        run.serve(fs, &global, settings, stop).await.unwrap();
        until.await.unwrap();
    });
}
