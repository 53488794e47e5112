//! How programs of `exec` end, in the real program: by themselves, by their silence, with tapline, and after it was killed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tap::{Process, Tap, wait_until};

/// Nothing here is about how fast a machine is.
const LONG: Duration = Duration::from_mins(2);

fn shell(script: &str, more: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!("kind: exec\ncommand: [sh, -c, {script}]\nformat: text\nconnects: {{ max: 100000, per: 1m }}\n{more}")
}

fn entries(tap: &Tap, source: &str, kind: &str) -> Vec<Value> {
    tap.ledger_so_far(source).into_iter().filter(|entry| entry["type"] == kind).collect()
}

fn texts(tap: &Tap) -> Vec<String> {
    tap.records_so_far("s").iter().map(|record| record["data"].as_str().unwrap().to_owned()).collect()
}

/// Whether a process runs; one that only waits to be looked at does not.
fn is_there(id: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// What stands behind this word in the lines, in order.
fn after(lines: &[String], word: &str) -> Vec<String> {
    lines.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(str::to_owned).collect()
}

/// A program ends, and what it has started keeps its output open.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_program_is_noticed_though_its_child_goes_on() {
    let tap = Tap::new();
    let script = r#"sh -c 'trap "" TERM; echo child $$; sleep 4343' & sleep 0.5; seq 1 5000; echo last; exit 3"#;
    tap.source("s", &shell(script, ""));
    let mut process = tap.run();
    wait_until("its end is noticed", LONG, || !entries(&tap, "s", "lost").is_empty());
    let lines = texts(&tap);
    let child = after(&lines, "child").swap_remove(0);
    wait_until("its child is ended", LONG, || !is_there(&child));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let why = entries(&tap, "s", "lost")[0]["data"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("exit status: 3"), "{why}");
    let last = lines.iter().position(|line| line == "last").expect("what was in the pipe was read");
    assert_eq!(lines[..last].iter().filter(|line| line.parse::<u32>().is_ok()).count(), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_program_are_in_the_ledger() {
    let tap = Tap::new();
    // In one that it has started they are said after its own end, of which that one learns before anybody tells it to end.
    let scripts = [
        "seq 1 12000 >&2; echo the very last words >&2; exit 3",
        "trap '' TERM; seq 11998 12000 >&2; \
         (exec >&-; while kill -0 $$; do :; done; echo the very last words >&3) 3>&2 2>/dev/null & exit 3",
    ];
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        tap.source(name, &shell(scripts[number % 2], ""));
    }
    let mut process = tap.run();
    for name in &names {
        wait_until("it has failed", LONG, || !entries(&tap, name, "lost").is_empty());
        let why = entries(&tap, name, "lost")[0]["data"]["why"].as_str().unwrap().to_owned();
        assert!(why.ends_with("11999 | 12000 | the very last words"), "{why}");
    }
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_without_an_end_is_a_line() {
    let tap = Tap::new();
    tap.source("s", &shell(r"printf 'one\ntwo\r\nthree'", "again: 1h\n"));
    let mut process = tap.run();
    wait_until("all are there", LONG, || tap.count("s") == 3);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    assert_eq!(texts(&tap), ["one", "two", "three"]);
}

/// Half a line is none, and an empty one is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_silent_is_ended() {
    for (script, is_silent) in [
        ("echo child $$; exec sleep 4444", true),
        ("echo child $$; while :; do printf x; sleep 0.1; done", true),
        ("echo child $$; while :; do echo; sleep 0.1; done", false),
    ] {
        let tap = Tap::new();
        tap.source("s", &shell(script, "idle: 1s\n"));
        let mut process = tap.run();
        wait_until("it has begun", LONG, || tap.count("s") > 0);
        if is_silent {
            wait_until("it runs again", LONG, || tap.count("s") > 1 && !entries(&tap, "s", "lost").is_empty());
            let why = entries(&tap, "s", "lost")[0]["data"]["why"].as_str().unwrap().to_owned();
            assert!(why.starts_with("silent for 1"), "{script}: {why}");
            assert!(!is_there(&after(&texts(&tap), "child")[0]), "{script}");
        } else {
            let until = Instant::now() + Duration::from_secs(4);
            wait_until("some time has gone", LONG, || Instant::now() > until);
            assert_eq!(tap.count("s"), 1, "{}", tap.log());
        }
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    }
}

/// Each of many takes a second to end: nobody waits for another, and in the end none is there.
#[tokio::test(flavor = "multi_thread")]
async fn many_programs_end_together() {
    let tap = Tap::new();
    for number in 0..40 {
        tap.source(
            &format!("s{number}"),
            &shell("trap '' TERM; echo child $$; while :; do sleep 1; done", "output: { stream: s }\n"),
        );
    }
    let mut process = tap.run();
    wait_until("all run", LONG, || tap.count("s") == 40);
    let (code, took) = process.terminate();
    assert_eq!(code, Some(0), "{}", tap.log());
    // One after the other on each of two threads they would take twenty.
    assert!(took < Duration::from_secs(12), "{took:?}");
    let left: Vec<String> = after(&texts(&tap), "child").into_iter().filter(|child| is_there(child)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Who tries a source and has seen enough leaves no program running.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_what_is_tried() {
    let tap = Tap::new();
    let file = tap.path("child");
    tap.source("s", &shell(&format!("echo $$ > {}; exec sleep 4646", file.display()), ""));
    let mut command = tap.command(&["try", tap.path("sources/s.yaml").to_str().unwrap(), "--listen", "1h"]);
    let mut process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let child = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("it runs", LONG, || child().ends_with('\n'));
    let id = rustix::process::Pid::from_child(&process.0);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    wait_until("it ends", LONG, || !process.is_running());
    assert!(!is_there(child().trim()));
}

/// An edited source has one program at a time.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_program_waits_for_the_one_before() {
    let tap = Tap::new();
    let script =
        "trap '' TERM; mkdir held || echo two; echo child $$; while :; do sleep 0.1; [ -d held ] || exit; done";
    let source = |more: &str| shell(script, &format!("folder: {}\n{more}", tap.path("").display()));
    tap.source("s", &source(""));
    let mut process = tap.run();
    wait_until("it runs", LONG, || tap.count("s") == 1);
    let first = after(&texts(&tap), "child").swap_remove(0);
    tap.source("s", &source("idle: 1h\n"));
    wait_until("the next runs", LONG, || tap.count("s") >= 3);
    assert!(!is_there(&first), "the one before has ended");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// The folders of programs in this one.
fn folders(within: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(within).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tapline-program-")).collect()
}

/// Tapline is killed. The next ends what it left, also who has left the group, or has another environment; and takes away what a
/// tap was given. Who is not of it is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_tapline_left_is_ended_and_removed() {
    let tap = Tap::new();
    let temp = tap.path("temp");
    std::fs::create_dir(&temp).unwrap();
    // Their own errors go nowhere: nothing tells them that tapline is gone.
    let script = r#"exec 2>/dev/null; setsid sleep 4545 >/dev/null & echo "child $!"; env -i sh -c 'trap "" TERM; while :; do sleep 1; done' >/dev/null & echo "child $!"; echo "child $$"; exec env -i sleep 4546"#;
    let singer = shell("", "").replace("format: text", "format: singer\nconfig: { token: something }");
    tap.source("s", &shell(script, ""));
    tap.source("t", &singer.replace("\"\"", "\"exec sleep 4547\""));
    let start = || {
        let log = std::fs::File::options().create(true).append(true).open(tap.path("log")).unwrap();
        let mut command = tap.command(&["run"]);
        Process(command.env("TMPDIR", &temp).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    };
    let mut process = start();
    wait_until("they run", LONG, || tap.count("s") == 3 && folders(&temp).len() == 2);
    let config = || folders(&temp).into_iter().map(|folder| folder.join("config")).find(|file| file.exists());
    wait_until("the tap has its file", LONG, || config().is_some());
    let file = config().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let children = after(&texts(&tap), "child");
    process.kill();
    assert!(children.iter().all(|child| is_there(child)), "they did not notice");
    // Somebody whose number it could be, and somebody who knows the name of the folder.
    let mut other = Process(std::process::Command::new("sleep").arg("4548").spawn().unwrap());
    process = start();
    wait_until("the next runs", LONG, || tap.count("s") == 6);
    let left: Vec<&String> = children.iter().filter(|child| is_there(child)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!file.exists(), "what the tap was given is gone");
    assert!(other.is_running());
    // Of a source that is there no more, too.
    let children = after(&texts(&tap), "child").split_off(3);
    process.kill();
    tap.remove("s");
    tap.remove("t");
    process = start();
    wait_until("they are ended", LONG, || !children.iter().any(|child| is_there(child)) && folders(&temp).is_empty());
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}
