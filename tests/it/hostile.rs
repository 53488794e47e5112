//! Upstreams that would break it: each is one clear outcome, memory stays flat, and neighbours lose nothing by it.

use std::time::Duration;

use tapline::simulator::faults::Faults;
use tapline::simulator::quote::{Exchange, Quote};

use crate::service::lost;
use crate::support::tap::{PATIENCE, Process, Tap, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// What upstream does, the outcome that it must have, and a word of the reason.
const CASES: &[(&str, &str, &str)] = &[
    ("nested", "error", "deep"),
    ("bomb=gzip", "error", "body_too_large"),
    ("bomb=deflate", "error", "body_too_large"),
    ("bomb=br", "error", "body_too_large"),
    ("bomb=zstd", "error", "body_too_large"),
    ("endless", "error", "body_too_large"),
    ("line", "error", "body_too_large"),
    ("huge-header", "error", "header"),
    ("torn", "error", ""),
    ("torn-chunked", "error", ""),
    ("reset", "error", ""),
    ("redirect-loop", "error", "redirect"),
    ("charset", "missing", "matched nothing"),
    ("empty", "missing", "matched nothing"),
    ("layout", "missing", "matched nothing"),
    ("garbled", "invalid", "`--`"),
    ("block", "blocked", "403"),
    ("404", "error", "404"),
    // These two end only when the time is over.
    ("hang", "error", "no_answer"),
    ("drip", "error", "body_stalled"),
];

fn source(exchange: &Exchange, timeout: &str) -> String {
    format!(
        "kind: scrape\nurl: {}\nevery: 250ms\ntimeout: {timeout}\nfields:\n  price: {{ css: span.red14px, type: number, locale: en-IN }}\n",
        exchange.url("/")
    )
}

fn peak_memory_mib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// A second tapline without a victim runs beside it, so that what neighbours may lose is measured by what the machine
/// costs anybody. A hostile answer that held them up would do so at each of a few hundred ticks.
#[tokio::test(flavor = "multi_thread")]
async fn n6_every_hostile_answer_is_one_outcome_and_nobody_else_is_late() {
    let good = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let bad = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let (tap, control) = (Tap::new(), Tap::new());
    for neighbour in ["left", "right"] {
        tap.source(neighbour, &source(&good, "1m"));
        control.source(neighbour, &source(&good, "1m"));
    }
    tap.source("victim", &source(&bad, "1m"));
    let (mut process, mut beside) = (tap.start(), control.start());
    tap.wait_for_lines("victim", 1);
    let before = peak_memory_mib(&process);
    for (fault, outcome, word) in CASES {
        if *fault == "hang" {
            // No busy machine must be taken for a slow upstream before this.
            tap.source("victim", &source(&bad, "1s"));
        }
        let earlier = reasons(&tap, outcome).len();
        bad.set_faults(format!("every 1:{fault}").parse().unwrap());
        // A run of the same is one entry, written when something else follows.
        let asked = bad.requests().len();
        wait_until(fault, PATIENCE, || bad.requests().len() >= asked + 2);
        bad.set_faults(Faults::none());
        wait_until(&format!("{fault} is {outcome} with `{word}`"), PATIENCE, || {
            reasons(&tap, outcome)[earlier..].iter().any(|reason| reason.contains(word))
        });
    }
    tap.wait_for_lines("victim", tap.count("victim") + 1);
    let after = peak_memory_mib(&process);
    assert_eq!((process.terminate().0, beside.terminate().0), (Some(0), Some(0)), "{}", tap.log());
    for neighbour in ["left", "right"] {
        tap.assert_accounted(neighbour, SECOND / 4);
        let (sums, sums_beside) = (tap.sums(neighbour), control.sums(neighbour));
        println!("{neighbour} of a victim: {sums:?}, beside it: {sums_beside:?}");
        assert!(sums.keys().all(|outcome| ["ok", "skipped"].contains(&outcome.as_str())), "{neighbour}: {sums:?}");
        assert!(lost(&sums) <= lost(&sums_beside) + 0.25, "{neighbour} lost ticks: {sums:?}, {sums_beside:?}");
    }
    tap.assert_accounted("victim", SECOND / 4);
    println!("peak memory: {before} MiB before, {after} MiB after");
    // One page at its limit, its tree, and one body being decoded.
    assert!(after < before + 192, "{before} MiB before, {after} MiB after");
}

/// The reasons of an outcome of the victim that are in the ledger so far, in lower case.
fn reasons(tap: &Tap, outcome: &str) -> Vec<String> {
    let entries = tap.ledger_so_far("victim").into_iter().filter(|entry| entry["data"]["outcome"] == outcome);
    entries.filter_map(|entry| entry["data"]["reason"].as_str().map(str::to_lowercase)).collect()
}

/// A value full of line feeds, terminal escapes and NULs is one line, and a terminal does not obey it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_value_stays_in_its_line() {
    let bad = Quote::new().faults("every 1:hostile".parse().unwrap()).start(0).await.unwrap();
    let tap = Tap::new();
    tap.source(
        "victim",
        &format!(
            "kind: scrape\nurl: {}\nevery: 1s\nfields: {{ price: span.red14px }}\noutput: {{ format: '{{price}}' }}\n",
            bad.url("/")
        ),
    );
    let once = tap.command(&["run", "--once"]).output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let records = tap.records("victim");
    assert_eq!(records.len(), 1);
    assert!(records[0]["data"]["price"].as_str().unwrap().contains('\u{1b}'), "nothing of it is lost: {}", records[0]);
    let text = std::fs::read_to_string(tap.data().join("victim.out")).unwrap();
    assert_eq!(text.lines().count(), 1, "{text:?}");
    let shown = tap.command(&["tail", "victim", "--no-follow"]).output().unwrap();
    for output in [text.as_bytes(), &shown.stdout, &shown.stderr, &once.stderr] {
        let harmful = |byte: &u8| *byte < 0x20 && *byte != b'\n';
        assert!(!output.iter().any(harmful), "{}", String::from_utf8_lossy(output));
        assert!(!String::from_utf8_lossy(output).contains(['\u{9b}', '\u{2028}']));
    }
}
