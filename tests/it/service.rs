//! The service as its user meets it: a live folder, an orderly end, a disk that fills, a link to tail.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tapline::simulator::quote::{Exchange, Quote};

use crate::support::tap::{PATIENCE, Process, Tap, last_line, pause, wait_until};

const TENTH: Duration = Duration::from_millis(100);
const QUARTER: Duration = Duration::from_millis(250);

fn index(exchange: &Exchange, more: &str) -> String {
    format!(
        "kind: scrape\nurl: {}\nevery: 100ms\nfields:\n  price: {{ css: span.red14px, type: number, locale: en-IN }}\n{more}",
        exchange.url("/")
    )
}

async fn exchange() -> Exchange {
    Quote::new().step(Duration::ZERO).start(0).await.unwrap()
}

/// A hundred edits of one source, of every kind: its neighbour is not touched, and loses no tick to them.
///
/// A busy machine makes anybody lose ticks, so a second tapline without edits runs beside it: what the neighbour may
/// lose is measured by what is lost there. An edit comes twice in a tick, so that one that held the neighbour up would
/// cost nearly all of them.
#[tokio::test(flavor = "multi_thread")]
async fn g19_edits_touch_nobody_else() {
    let exchange = exchange().await;
    let (tap, control) = (Tap::new(), Tap::new());
    let neighbour = index(&exchange, "timeout: 1m\n").replace("100ms", "250ms");
    tap.source("neighbour", &neighbour).source("edited", &index(&exchange, ""));
    control.source("neighbour", &neighbour);
    let (mut process, mut beside) = (tap.start(), control.start());
    for (tap, source) in [(&tap, "neighbour"), (&tap, "edited"), (&control, "neighbour")] {
        tap.wait_for_lines(source, 1);
    }
    for edit in 0..100 {
        match edit % 5 {
            0 => tap.source("edited", &index(&exchange, "  # a comment\n")),
            1 => tap.source("edited", "kind: scrape\nurl: [broken\n"),
            2 => tap.source("edited", &index(&exchange, "output: { format: '{price}' }\n")),
            3 => {
                tap.remove("edited");
                &tap
            }
            _ => tap.source("edited", &index(&exchange, &format!("user_agent: edit-{edit}\n"))),
        };
        pause(Duration::from_millis(130));
    }
    assert_eq!((process.terminate().0, beside.terminate().0), (Some(0), Some(0)), "{}", tap.log());
    tap.assert_accounted("neighbour", QUARTER);
    tap.assert_accounted("edited", TENTH);
    let (sums, sums_beside) = (tap.sums("neighbour"), control.sums("neighbour"));
    println!("the neighbour of edits: {sums:?}, beside it: {sums_beside:?}");
    assert!(sums.keys().all(|outcome| ["ok", "skipped"].contains(&outcome.as_str())), "{sums:?}\n{}", tap.log());
    assert!(lost(&sums) <= lost(&sums_beside) + 0.25, "{sums:?}, and beside it {sums_beside:?}\n{}", tap.log());
    let restarted = tap.ledger("_service").into_iter().filter(|entry| entry["data"]["source"] != "edited");
    assert_eq!(restarted.collect::<Vec<_>>(), Vec::<serde_json::Value>::new(), "only the edited one is restarted");
}

/// The share of a source's ticks that were skipped.
#[expect(clippy::cast_precision_loss, reason = "a test has few ticks")]
pub fn lost(sums: &BTreeMap<String, u64>) -> f64 {
    sums.get("skipped").copied().unwrap_or(0) as f64 / sums.values().sum::<u64>().max(1) as f64
}

/// An edit is in force within two seconds. Each here follows the one before at once, and so waits for as long as any;
/// on a machine that is too busy to be in time for one, the next may be.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_in_force_within_two_seconds() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    let mut process = tap.start();
    let mut edit = 0;
    wait_until("an edit within two seconds", PATIENCE, || {
        let (edited, name) = (Instant::now(), format!("edit-{edit}"));
        edit += 1;
        tap.source("one", &index(&exchange, &format!("user_agent: {name}\n")));
        wait_until("an edit is in force", PATIENCE, || {
            exchange.requests().iter().any(|request| request.header("user-agent") == Some(&name))
        });
        println!("{name} took {:?}", edited.elapsed());
        edit > 2 && edited.elapsed() < Duration::from_secs(2)
    });
    tap.source("one", "kind: scrape\nurl: [broken\n");
    wait_until("a broken file is said with its place", PATIENCE, || tap.log().contains("one.yaml:2:"));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    tap.assert_accounted("one", TENTH);
}

/// A broken file leaves the last good version in force, and is said once.
#[tokio::test(flavor = "multi_thread")]
async fn g19_a_broken_file_is_said_once() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    let mut process = tap.run();
    tap.wait_for_lines("one", 1);
    tap.source("one", &index(&exchange, "colour: red\n"));
    wait_until("it is said", PATIENCE, || tap.log().contains("unknown key"));
    // Three seconds at the least, and as many looks.
    tap.wait_for_lines("one", tap.count("one") + 30);
    assert_eq!(tap.log().matches("unknown key").count(), 1, "{}", tap.log());
    assert_eq!(process.terminate().0, Some(0));
}

/// Fifty times SIGTERM under load: exit code 0, soon, and everything accounted for.
///
/// Answers that never come are waited for ten minutes: an end that waited for one would not come within the minute
/// that this test has. That the process ends within two seconds follows from its own limits, which `run.rs` holds
/// together; here the fastest of them says that it can, and the slowest is printed.
#[tokio::test(flavor = "multi_thread")]
async fn ends_in_order() {
    let exchange = exchange().await;
    exchange.set_faults("10%:hang, 10%:slow=1s".parse().unwrap());
    let tap = Tap::new();
    for source in 0..8 {
        tap.source(&format!("load{source}"), &index(&exchange, "timeout: 10m\n"));
    }
    let ends = if std::env::var_os("TAPLINE_QUICK").is_some() { 5 } else { 50 };
    let mut times = Vec::new();
    for end in 0..ends {
        let mut process = tap.start();
        pause(Duration::from_millis(37 * (end % 10)));
        let (code, took) = process.terminate();
        assert_eq!(code, Some(0), "end {end}: {}", tap.log());
        times.push(took);
    }
    times.sort();
    let (fastest, slowest) = (times[0], times[times.len() - 1]);
    println!(
        "of {ends} ends the fastest took {fastest:?}, the median {:?}, the slowest {slowest:?}",
        times[times.len() / 2]
    );
    assert!(fastest < Duration::from_secs(2), "{fastest:?}");
    for source in 0..8 {
        tap.assert_accounted(&format!("load{source}"), TENTH);
    }
}

/// What does not end in time is not waited for: the process ends, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_left() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    // No time at all, so that it is over however fast the machine is.
    let mut command = tap.command(&["run", "--stop-within", "0s"]);
    let mut process = Process(command.stderr(fs::File::create(tap.path("log")).unwrap()).spawn().unwrap());
    tap.wait_for_lines("one", 1);
    assert_eq!(process.terminate().0, Some(1), "{}", tap.log());
    assert!(tap.log().contains("did not stop in time"), "{}", tap.log());
    // The next start recovers.
    let mut process = tap.start();
    tap.wait_for_lines("one", tap.count("one") + 3);
    assert_eq!(process.terminate().0, Some(0));
    tap.assert_accounted("one", TENTH);
}

/// A second process on the same folder is refused at once, with its own exit code.
#[tokio::test(flavor = "multi_thread")]
async fn one_folder_has_one_writer() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    let _first = tap.run();
    tap.wait_for_lines("one", 1);
    let second = tap.command(&["run"]).output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another tapline writes"));
}

/// `tail -F` on the link shows every line once, across rotations and a restart.
///
/// `tail` looks at the link now and then, and would miss a segment that came and went between two looks. So the
/// exchange gives no more than ten lines before `tail` has shown what there is, and a segment has more than that.
#[tokio::test(flavor = "multi_thread")]
async fn the_link_can_be_tailed() {
    let exchange = exchange().await;
    let allow = |more: usize| {
        let last = exchange.requests().len() + more;
        exchange.set_faults(format!("#{}-{}:404", last + 1, u64::MAX).parse().unwrap());
        last
    };
    let tap = Tap::new();
    tap.settings("rotate: { size: 4KiB, every: 1h }\n").source("one", &index(&exchange, ""));
    allow(3);
    let mut process = tap.start();
    let link = tap.data().join("one.out");
    wait_until("the link is there", PATIENCE, || link.exists());
    let seen = fs::File::create(tap.path("seen")).unwrap();
    let tail = Command::new("tail")
        .args(["-n", "+1", "-s", "0.05", "-F"])
        .arg(&link)
        .stdout(seen)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _tail = Process(tail);
    let text = || fs::read_to_string(tap.path("seen")).unwrap();
    let all = || tap.segments("one").into_values().collect::<String>();
    let give = |more: usize| {
        let last = allow(more);
        wait_until("they are asked for", PATIENCE, || exchange.requests().len() > last);
        wait_until("tail has seen everything", PATIENCE, || text().len() >= all().len());
    };
    for _ in 0..200 {
        give(10);
        if tap.segments("one").len() >= 3 {
            break;
        }
    }
    assert!(tap.segments("one").len() >= 3);
    assert_eq!(process.terminate().0, Some(0));
    let mut process = tap.start();
    let before = tap.count("one");
    give(10);
    tap.wait_for_lines("one", before + 5);
    assert_eq!(process.terminate().0, Some(0));
    let expected = tap.lines("one").join("\n") + "\n";
    wait_until("tail has seen everything", PATIENCE, || text().len() >= expected.len());
    assert_eq!(text(), expected);
}

/// A text rendering has a line for each record, through kill -9, rotation and an edit of the template.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_rendering_follows_the_lines() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.settings("rotate: { size: 4KiB, every: 1h }\n")
        .source("one", &index(&exchange, "output: { link: prices.txt, format: '{id} {price}' }\n"));
    for _ in 0..10 {
        let mut process = tap.run();
        pause(Duration::from_millis(700));
        process.kill();
    }
    let mut process = tap.start();
    let before = tap.count("one");
    wait_until("it goes on", PATIENCE, || tap.segments("one").len() >= 2 && tap.count("one") > before);
    // The text follows the lines, and the last of them may come after the end: it is waited for before.
    exchange.set_faults("every 1:404".parse().unwrap());
    let count = |texts: Vec<String>| texts.concat().matches('\n').count();
    wait_until("the text has every line", PATIENCE, || count(texts(&tap)) == tap.count("one"));
    assert_eq!(process.terminate().0, Some(0));
    let rendered: String = texts(&tap).concat();
    let expected: String = tap
        .records("one")
        .iter()
        .map(|record| format!("{} {}\n", record["id"].as_str().unwrap(), record["data"]["price"]))
        .collect();
    assert_eq!(rendered.lines().count(), expected.lines().count());
    // serde_json drops the zeros at the end of a number; ids are enough to see that no line is lost, doubled or moved.
    let ids = |text: &str| text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&rendered), ids(&expected));
    let linked = fs::read_to_string(tap.data().join("prices.txt")).unwrap();
    assert!(rendered.ends_with(&linked) && !linked.is_empty());
}

/// Of two that want one name the one that runs goes on; the other is said, and runs once the name is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_waited_for() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    tap.source("edited", &index(&exchange, ""));
    let mut process = tap.start();
    tap.wait_for_lines("one", 3);
    tap.wait_for_lines("edited", 3);
    // Earlier in the folder, and later. What a folder and a link would have in common is a name on the disk.
    tap.source("a", &index(&exchange, "output: { link: one }\n"));
    tap.source("z", &index(&exchange, "output: { stream: one.out, link: z }\n"));
    tap.source("edited", &index(&exchange, "output: { link: one }\n"));
    wait_until("it is said", PATIENCE, || {
        let log = tap.log();
        log.contains("a.yaml: the link one would stand where the stream one of")
            && log.contains("z.yaml: the stream one.out would have its folder where the link one.out of")
            && log.contains("edited.yaml: the link one would stand where the stream one of")
    });
    for stream in ["one", "edited"] {
        tap.wait_for_lines(stream, tap.count(stream) + 5);
    }
    // Somebody new, though earlier in the folder, does not take what a last good version has.
    tap.source("b", &index(&exchange, "output: { link: edited }\n"));
    wait_until("that is said", PATIENCE, || tap.log().contains("b.yaml: the link edited would stand where the stream"));
    tap.wait_for_lines("edited", tap.count("edited") + 5);
    let place = tap.data().join("one.out");
    assert!(tap.count("a") == 0 && place.is_file());
    // What it was called by stays on the disk: its link makes way, its folder does not.
    tap.remove("one");
    wait_until("the link makes way", PATIENCE, || place.is_dir());
    tap.wait_for_lines("one.out", 3);
    assert!(tap.data().join("one").is_dir(), "{}", tap.log());
    assert_eq!(tap.log().matches("a.yaml: the link one would stand").count(), 1, "{}", tap.log());
    // Of two that waited for a name the one that runs has it; the other is told, and has it after that.
    wait_until("the other is told", PATIENCE, || tap.log().contains("a.yaml: `output.link` one already points at"));
    tap.wait_for_lines("edited", tap.count("edited") + 5);
    tap.remove("edited");
    tap.wait_for_lines("a", 3);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// The text renderings of the stream `one`, in order.
fn texts(tap: &Tap) -> Vec<String> {
    let mut files = tap.files("one").unwrap();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "txt"));
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The disk is full: nothing is torn, the ticks are counted as skipped, and it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let exchange = exchange().await;
    let tap = Tap::new();
    let Some(_unmount) = mount(&tap) else { return };
    tap.source("one", &index(&exchange, ""));
    fs::write(tap.path("tapline.yaml"), "limits: { disk_free: 1B }\n").unwrap();
    let mut process = tap.run();
    tap.wait_for_lines("one", 6);
    let ballast = fill(&tap);
    wait_until("it is said", PATIENCE, || tap.log().contains("the disk is full"));
    pause(Duration::from_secs(2));
    assert!(process.is_running());
    let stuck = tap.segments("one").values().map(String::len).sum::<usize>();
    fs::remove_file(&ballast).unwrap();
    wait_until("it goes on", PATIENCE, || tap.segments("one").values().map(String::len).sum::<usize>() > stuck + 2000);
    wait_until("that is said", PATIENCE, || tap.log().contains("there is room again"));
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    tap.assert_accounted("one", TENTH);
    let sums = tap.sums("one");
    assert_eq!(sums["ok"], tap.lines("one").len() as u64, "{sums:?}");
}

/// The disk is full before anything starts: that is waited for, too, and said once.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_waits() {
    let exchange = exchange().await;
    let tap = Tap::new();
    let Some(_unmount) = mount(&tap) else { return };
    tap.source("one", &index(&exchange, ""));
    fs::write(tap.path("tapline.yaml"), "limits: { disk_free: 1B }\n").unwrap();
    let ballast = fill(&tap);
    for is_ended_while_full in [true, false] {
        let said = tap.log().matches("the disk is full").count();
        let mut process = tap.run();
        wait_until("it is said", PATIENCE, || tap.log().contains("the disk is full"));
        // Several tries, of which nothing is said.
        pause(Duration::from_secs(3));
        assert!(process.is_running(), "{}", tap.log());
        assert!(tap.log().matches("the disk is full").count() <= said + 1, "{}", tap.log());
        if !is_ended_while_full {
            fs::remove_file(&ballast).unwrap();
            tap.wait_for_lines("one", 3);
            assert!(tap.log().contains("there is room again"));
        }
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    }
    tap.assert_accounted("one", TENTH);
}

/// A small file system of its own for the data, if this user may have one.
pub fn mount(tap: &Tap) -> Option<Unmount<'_>> {
    fs::create_dir(tap.data()).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tapline-test"]).arg(tap.data()).status();
    if mounted.is_ok_and(|status| status.success()) {
        return Some(Unmount(tap));
    }
    println!("not run: this user may not mount a file system; the simulated disk tests the same");
    None
}

/// Fills it to the last byte, with a file that may be removed.
pub fn fill(tap: &Tap) -> PathBuf {
    let ballast = tap.data().join("ballast");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=512", &format!("of={}", ballast.display())])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!filled.success(), "the disk is full");
    ballast
}

pub struct Unmount<'a>(&'a Tap);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        Command::new("umount").args(["-l"]).arg(self.0.data()).status().ok();
    }
}

/// What goes wrong upstream is in the ledger, tick by tick, and the sums add up exactly.
#[tokio::test(flavor = "multi_thread")]
async fn n10_every_tick_has_one_outcome() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, "timeout: 1s\n"));
    let script = "20%:500, 10%:404, 10%:layout, 10%:garbled, 5%:block, 5%:torn, 2%:503=1s, 5%:reset, 1%:hang";
    exchange.set_faults(script.parse().unwrap());
    let mut process = tap.run();
    for outcome in ["error", "missing", "invalid", "blocked", "skipped"] {
        // An entry is written when another outcome follows it.
        let is_it = |entry: &serde_json::Value| entry["data"]["outcome"] == outcome;
        wait_until(outcome, PATIENCE, || tap.ledger_so_far("one").iter().any(is_it));
    }
    tap.wait_for_lines("one", 10);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    tap.assert_accounted("one", TENTH);
    let sums = tap.sums("one");
    for outcome in ["ok", "error", "missing", "invalid", "blocked", "skipped"] {
        assert!(sums.contains_key(outcome), "{outcome} is not among {sums:?}");
    }
    assert_eq!(sums["ok"], tap.lines("one").len() as u64);
    assert_eq!(sums["missing"] + sums["invalid"], tap.lines("_rejected/one").len() as u64, "{sums:?}");
}

/// Nothing new is nothing written: 304 is an outcome, and no line.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_did_not_change_is_no_record() {
    let exchange = Quote::new().step(Duration::from_hours(1)).start(0).await.unwrap();
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    for _ in 0..2 {
        let mut process = tap.start();
        let asked = exchange.requests().len() + 8;
        wait_until("it is asked for", PATIENCE, || exchange.requests().len() >= asked);
        assert_eq!(process.terminate().0, Some(0));
    }
    assert_eq!(tap.lines("one").len(), 1, "the validator is kept over a restart");
    let sums = tap.sums("one");
    // Of sixteen answers the first is the page, and the last of each run may have come too late.
    assert!(sums["not_modified"] >= 13 && sums["ok"] == 1, "{sums:?}");
    assert!(!sums.contains_key("error"), "{sums:?}");
}

/// `run --stdout` prints what is committed, and ends quietly when nobody reads any more.
#[tokio::test(flavor = "multi_thread")]
async fn g20_standard_output_is_a_pipe_like_any_other() {
    use std::io::{BufRead as _, BufReader};
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, ""));
    let mut process = tap.command(&["run", "--stdout"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first: Vec<String> = lines.by_ref().take(5).map(Result::unwrap).collect();
    drop(lines);
    tap.wait_for_lines("one", 15);
    let mut process = Process(process);
    assert_eq!(process.terminate().0, Some(0));
    assert_eq!(first, tap.lines("one")[..5]);
}

/// `run --once` asks once; `tail` shows what is there, and follows.
#[tokio::test(flavor = "multi_thread")]
async fn once_and_tail() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.source("one", &index(&exchange, "")).source("two", &index(&exchange, ""));
    let once = tap.command(&["run", "--once", "--source", "two"]).output().unwrap();
    assert_eq!(once.status.code(), Some(0), "{}", String::from_utf8_lossy(&once.stderr));
    assert_eq!((tap.lines("one").len(), tap.lines("two").len()), (0, 1));
    let tail = tap.command(&["tail", "two", "--json", "--no-follow"]).output().unwrap();
    assert_eq!(String::from_utf8(tail.stdout).unwrap(), tap.lines("two").join("\n") + "\n");
    let seen = tap.path("seen");
    let follow = tap
        .command(&["tail", "two", "--json", "--last", "0"])
        .stdout(fs::File::create(&seen).unwrap())
        .spawn()
        .unwrap();
    let mut follow = Process(follow);
    let mut process = tap.run();
    wait_until("lines are followed", PATIENCE, || fs::read_to_string(&seen).unwrap().lines().count() > 10);
    assert_eq!(process.terminate().0, Some(0));
    assert_eq!(follow.terminate().0, Some(0));
    // It begins with what came after it was ready, and nothing tells when that was.
    let later = tap.lines("two")[1..].join("\n") + "\n";
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.ends_with('\n') && later.contains(&seen), "{seen}\nis not a part of\n{later}");
    let unknown = tap.command(&["tail", "three", "--no-follow"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("two"), "the streams that there are, are named");
}

/// A shared stream has the records of both, and each is in order.
#[tokio::test(flavor = "multi_thread")]
async fn sources_can_share_a_stream() {
    let exchange = exchange().await;
    let tap = Tap::new();
    for source in ["one", "two"] {
        tap.source(source, &index(&exchange, "output: { stream: both }\n"));
    }
    let mut process = tap.run();
    for source in ["\"source\":\"one\"", "\"source\":\"two\""] {
        let count = || tap.segments("both").values().map(|text| text.matches(source).count()).sum::<usize>();
        wait_until("both write", PATIENCE, || count() > 5);
    }
    assert_eq!(process.terminate().0, Some(0));
    for source in ["one", "two"] {
        let times: Vec<String> = tap
            .records("both")
            .iter()
            .filter(|record| record["source"] == source)
            .map(|record| record["observed_at"].as_str().unwrap().to_owned())
            .collect();
        assert!(times.len() > 3 && times.is_sorted(), "{source}: {times:?}");
    }
    assert!(last_line(&tap.data().join("both.out")).is_some());
}

/// Somebody shortens files: what is missing is in the ledger, stream by stream, also of those that no source asks for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_in_the_ledger() {
    let exchange = exchange().await;
    let tap = Tap::new();
    for source in ["one", "two"] {
        tap.source(source, &index(&exchange, ""));
    }
    let mut process = tap.start();
    for source in ["one", "two"] {
        tap.wait_for_lines(source, 3);
    }
    assert_eq!(process.terminate().0, Some(0));
    tap.remove("two");
    let mut expected = Vec::new();
    for (stream, source) in [("_ledger", None), ("one", Some("one")), ("two", None)] {
        let file = tap.files(stream).unwrap().pop().unwrap();
        let len = fs::metadata(&file).unwrap().len();
        fs::File::options().write(true).open(file).unwrap().set_len(len - 10).unwrap();
        expected.push(serde_json::json!({
            "stream": stream, "source": source, "segment": 1, "from_byte": len - 10, "to_byte": len,
            "why": "committed lines are missing",
        }));
    }
    let mut process = tap.start();
    let said = || {
        let entries = tap.ledger_so_far("_service").into_iter().filter(|entry| entry["type"] == "damage");
        entries.map(|entry| entry["data"].clone()).collect::<Vec<_>>()
    };
    wait_until("what is missing is said", PATIENCE, || said().len() >= 3);
    assert_eq!(said(), expected);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}

/// Closed segments are compressed, and in time deleted; what is deleted is said in the ledger first.
#[tokio::test(flavor = "multi_thread")]
async fn closed_segments_are_compressed_and_deleted() {
    let exchange = exchange().await;
    let tap = Tap::new();
    tap.settings("rotate: { size: 4KiB, every: 1h }\n");
    tap.source("one", &index(&exchange, ""));
    tap.source("two", &index(&exchange, "output: { compress: gzip }\n"));
    let mut process = tap.run();
    // Each has to be seen for itself: nothing says that two sources go at one pace.
    for stream in ["one", "two"] {
        wait_until("three segments", PATIENCE, || tap.segments(stream).len() >= 3);
    }
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let before = tap.segments("one");
    tap.source("one", &index(&exchange, "output: { retain: { size: 100B } }\n"));
    let is_deletion = |entry: &serde_json::Value| entry["type"] == "deleted";
    // Upkeep looks at once when the service starts.
    let mut process = tap.run();
    wait_until("what is deleted is said", PATIENCE, || tap.ledger_so_far("_service").iter().any(is_deletion));
    let deleted = tap.ledger_so_far("_service").into_iter().find(is_deletion).unwrap();
    assert_eq!(deleted["data"]["stream"], "one");
    let first_kept = deleted["data"]["before_segment"].as_u64().unwrap();
    wait_until("it is gone", PATIENCE, || tap.segments("one").keys().all(|segment| *segment >= first_kept));
    wait_until("closed segments are compressed", PATIENCE, || tap.files_ending("two", "gz") >= 2);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let gz: Vec<_> = tap.files("two").unwrap().into_iter().filter(|file| file.extension().unwrap() == "gz").collect();
    let unzipped = Command::new("gzip").arg("-dc").arg(&gz[0]).output().unwrap();
    let unzipped = String::from_utf8(unzipped.stdout).unwrap();
    assert!(!unzipped.is_empty());
    assert!(unzipped.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{unzipped}");
    assert!(first_kept > *before.keys().next().unwrap(), "the oldest goes");
    assert!(first_kept >= *before.keys().last().unwrap(), "a hundred bytes are less than one closed segment");
    let left: Vec<u64> = tap.segments("one").into_keys().collect();
    let last = *left.last().expect("the active segment is never deleted");
    assert_eq!(left, (left[0]..=last).collect::<Vec<_>>(), "what is left is the newest");
    assert!(left[0] >= first_kept && last >= *before.keys().last().unwrap());
}

/// The demo is a service like any other: its page is where it is told to be, and not at a port that somebody else may have.
#[test]
fn the_demo_has_its_page_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let demo = |http: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
        command.args(["demo", "--http", http, "--dir"]).arg(dir.path().join("demo"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let _demo = Process(demo(&address).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the page is there", PATIENCE, || std::net::TcpStream::connect(&address).is_ok());
    let refused = demo("0.0.0.0:0").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("is reached from other machines"), "{said}");
}

/// Who starts it in the wrong folder is told so, and not only who names one that is not there.
#[test]
fn an_empty_folder_of_sources_is_said() {
    let tap = Tap::new();
    let mut process = tap.run();
    wait_until("it is said", PATIENCE, || tap.log().contains("no source to run; put a YAML file there"));
    tap.source("one", "kind: scrape\nurl: http://127.0.0.1:9/\nevery: 1s\nfields: { price: span }\n");
    wait_until("it is noticed", PATIENCE, || tap.log().contains("running sources=1"));
    assert_eq!(process.terminate().0, Some(0));
}
