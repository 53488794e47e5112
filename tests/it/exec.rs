//! The adapter `exec` in the real program: programs that talk, fail, hang, and a Singer tap.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::support::tap::{PATIENCE, Tap, pause, wait_until};

/// Nothing here is about how fast a machine is.
const LONG: Duration = Duration::from_mins(2);

fn shell(script: &str, more: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!("kind: exec\ncommand: [sh, -c, {script}]\nconnects: {{ max: 100000, per: 1m }}\n{more}")
}

fn entries(tap: &Tap, kind: &str) -> Vec<Value> {
    tap.ledger_so_far("s").into_iter().filter(|entry| entry["type"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_become_records_as_they_are() {
    let tap = Tap::new();
    let script = r#"printf '{"a":1.10,"id":12345678901234567890}\n\nnot JSON\n{"a":"%s"}\n\377\n{"a":2}' "$(head -c 300 /dev/zero | tr '\0' x)"; sleep 0.2; exec sleep 1000"#;
    // The last line has no end, and the program no end either: it is told to end.
    tap.source("s", &shell(script, "max_line: 200\nid: /id\n"));
    let mut process = tap.run();
    wait_until("the first is there", LONG, || tap.count("s") == 1);
    wait_until("the others are rejects", LONG, || tap.count("_rejected/s") == 3);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert!(
        tap.lines("s")[0].contains(r#""type":"line","data":{"a":1.10,"id":12345678901234567890}"#),
        "{:?}",
        tap.lines("s")
    );
    let why: Vec<String> =
        tap.records("_rejected/s").iter().map(|reject| reject["data"]["reason"].as_str().unwrap().to_owned()).collect();
    assert!(why[0].contains("not JSON") && why[1].contains("too long") && why[2].contains("UTF-8"), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_started_again_and_its_words_are_kept() {
    let tap = Tap::new();
    tap.source("s", &shell("echo line; echo 'no such thing' >&2; exit 3", "format: text\n"));
    let missing = Tap::new();
    missing.source("s", "kind: exec\ncommand: [/no/such/program]\n");
    let (mut process, mut other) = (tap.run(), missing.run());
    wait_until("it has run twice", LONG, || tap.count("s") >= 2);
    wait_until("the other is refused", LONG, || !entries(&missing, "refused").is_empty());
    assert_eq!((process.terminate().0, other.terminate().0), (Some(0), Some(0)), "{}", tap.log());
    let why = entries(&tap, "lost")[0]["data"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("exit status: 3") && why.contains("no such thing"), "{why}");
    assert_eq!(tap.records("s")[0]["data"], "line");
    assert!(missing.log().contains("/no/such/program"), "{}", missing.log());
}

/// A program sees no secret that it was not given, and ends with tapline, with everything that it has started.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_its_own_environment_and_ends_with_tapline() {
    let tap = Tap::new();
    tap.source(
        "s",
        &shell(
            "trap '' TERM; env; sleep 4242 & echo child $!; wait; sleep 4242",
            "format: text\nenv: { OWN: yes it is }\n",
        ),
    );
    let mut process = tap.run();
    let lines =
        || tap.records_so_far("s").iter().map(|record| record["data"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    wait_until("it has said everything", LONG, || lines().iter().any(|line| line.starts_with("child ")));
    let said = lines();
    assert!(
        said.contains(&"OWN=yes it is".to_owned()) && said.iter().any(|line| line.starts_with("PATH=")),
        "{said:?}"
    );
    let own: Vec<&String> =
        said.iter().filter(|line| line.starts_with("TAPLINE_") || line.starts_with("CARGO")).collect();
    assert!(own.len() == 1 && own[0].starts_with("TAPLINE_PROGRAM=tapline-program-"), "only its mark: {own:?}");
    let child = said.iter().find_map(|line| line.strip_prefix("child ")).unwrap().to_owned();
    let is_there = || Path::new("/proc").join(&child).join("cmdline").exists();
    assert!(is_there());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    wait_until("its child has ended too", LONG, || !is_there());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_fast_is_written() {
    let tap = Tap::new();
    tap.source("s", &shell("seq 1 100000; sleep 1000", "format: text\n"));
    let mut process = tap.run();
    wait_until("all are there", LONG, || tap.count("s") == 100_000);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let lines: Vec<u64> =
        tap.records("s").iter().map(|record| record["data"].as_str().unwrap().parse().unwrap()).collect();
    assert!(lines.into_iter().eq(1..=100_000), "each once, in order");
}

fn singer(config: &str) -> String {
    let tap = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exec/tap.py");
    format!(
        "kind: exec\ncommand: [python3, {}]\nformat: singer\nconfig: {config}\nconnects: {{ max: 100000, per: 1m }}\n",
        tap.display()
    )
}

fn numbers(tap: &Tap) -> Vec<u64> {
    tap.records_so_far("s").iter().map(|record| record["data"]["n"].as_u64().unwrap()).collect()
}

/// A tap that breaks off in the middle, again and again, and one that ends in order and is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_goes_on_from_its_state() {
    for (config, more) in
        [("{ each: 7, pause: 0.001, breaks: true }", ""), ("{ each: 7, pause: 0.001 }", "again: 1s\n")]
    {
        let tap = Tap::new();
        tap.source("s", &format!("{}{more}", singer(config)));
        let mut process = tap.run();
        wait_until("it has gone on", LONG, || numbers(&tap).len() >= 22);
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
        let found = numbers(&tap);
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>(), "each once, in order");
        let line = &tap.lines("s")[0];
        assert!(
            line.contains(r#""type":"numbers","data":{"n": 1, "price": 0.1}"#)
                && line.contains("\"id\":\"m_numbers%2F1%2F"),
            "{line}"
        );
    }
}

/// Killed at random moments in the middle of everything: each record is there once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_run_it_loses_and_doubles_nothing() {
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 8 } else { 60 };
    let tap = Tap::new();
    tap.source("s", &singer("{ each: 100000, pause: 0.002 }"));
    let mut random = StdRng::seed_from_u64(31);
    let mut process = tap.run();
    for kill in 0..kills {
        let before = tap.count("s");
        let until = Instant::now() + Duration::from_millis(random.random_range(0..600));
        while Instant::now() < until || (kill % 2 == 1 && tap.count("s") <= before) {
            pause(Duration::from_millis(5));
            assert!(until.elapsed() < PATIENCE, "nothing comes: {}", tap.log());
        }
        process.kill();
        process = tap.run();
    }
    let before = tap.count("s");
    wait_until("it goes on", LONG, || tap.count("s") > before + 20);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let found = numbers(&tap);
    println!("{kills} kills, {} records", found.len());
    assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>(), "each once, in order");
    tap.assert_counted("s");
}
