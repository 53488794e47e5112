//! `tapline coverage` and `tapline status` beside what a test computes itself from the raw files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tapline::config::Durability;
use tapline::fs::{Disk, Fs};
use tapline::pipeline::commit::{Append, Commits};
use tapline::simulator::quote::Quote;
use tapline::sinks::segments::Spec;

use crate::support::tap::{Tap, pause, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// What a command printed, as JSON lines, and its exit code.
fn json_lines(tap: &Tap, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = tap.command(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    (lines.collect(), output.status.code())
}

fn text(tap: &Tap, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = tap.command(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (out, err, output.status.code())
}

/// A number of seconds as microseconds, from its digits: no float is exact.
fn micros(value: &Value) -> i64 {
    let text = value.to_string();
    let (seconds, fraction) = text.split_once('.').unwrap();
    let fraction = format!("{fraction:0<6}");
    seconds.parse::<i64>().unwrap() * 1_000_000 + fraction.parse::<i64>().unwrap()
}

fn time(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap().timestamp_micros()
}

/// That one object of `coverage --json` adds up, whatever it says.
fn assert_adds_up(found: &Value) {
    let sum = |key: &str| micros(&found[key]);
    assert_eq!(sum("covered_seconds") + sum("uncovered_seconds"), sum("span_seconds"), "{found}");
    assert_eq!(sum("live_seconds") + sum("filled_seconds"), sum("covered_seconds"), "{found}");
    assert_eq!(time(&found["to"]) - time(&found["from"]), sum("span_seconds"), "{found}");
    let gaps = found["gaps"].as_array().unwrap();
    let total = |key: &str| gaps.iter().map(|gap| micros(&gap[key])).sum::<i64>();
    assert_eq!(total("unfilled_seconds"), sum("uncovered_seconds"), "{found}");
    assert_eq!(total("filled_seconds"), sum("filled_seconds"), "{found}");
    assert!(gaps.windows(2).all(|pair| time(&pair[0]["to"]) <= time(&pair[1]["from"])), "{found}");
    let ticks = found["ticks"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
    assert_eq!(ticks, found["ticks_total"].as_u64().unwrap(), "{found}");
}

/// A polled source with faults, killed once, looked at while it runs and afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_polled_source_is_what_the_files_say() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    exchange.set_faults("15%:500, 10%:layout".parse().unwrap());
    let tap = Tap::new();
    tap.settings("rotate: { size: 4KiB, every: 1h }\n");
    let index = |stream: &str| {
        format!(
            "kind: scrape\nurl: {}\nevery: 100ms\noffset: 0s\nfields:\n  price: {{ css: span.red14px, type: number, locale: en-IN }}\noutput: {{ stream: {stream} }}\n",
            exchange.url("/")
        )
    };
    tap.source("one", &index("shared")).source("two", &index("shared")).source("gone", &index("other"));
    let mut process = tap.run();
    wait_until("there are segments", SOON, || tap.segments("shared").len() > 3);
    let (running, code) = json_lines(&tap, &["coverage", "--json"]);
    assert_eq!((running.len(), code), (3, Some(0)), "{running:?}");
    for found in &running {
        assert_adds_up(found);
        assert_eq!(found["runs"], true);
        // What is open in the saved counts is counted as well: every slot up to the last one that is committed.
        let slots = (time(&found["ticks_to"]) - time(&found["ticks_from"])) / 100_000 + 1;
        assert_eq!(found["ticks_total"].as_i64().unwrap(), slots, "{found}");
    }
    process.kill();
    pause(Duration::from_millis(1500));
    tap.remove("gone");
    let mut process = tap.run();
    let after_kill = tap.lines("shared").len();
    wait_until("it goes on", SOON, || tap.lines("shared").len() > after_kill + 40);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());

    let (found, _) = json_lines(&tap, &["coverage", "--json"]);
    let names: Vec<&str> = found.iter().map(|each| each["source"].as_str().unwrap()).collect();
    assert_eq!(names, ["gone", "one", "two"]);
    for (name, found) in names.iter().zip(&found) {
        assert_adds_up(found);
        assert_eq!(found["runs"], false);
        assert_eq!(found["kind"], "scrape");
        let count = |stream: &str| tap.records(stream).iter().filter(|record| record["source"] == **name).count();
        assert_eq!(found["records"], count("shared") + count("other"), "{name}");
        assert_eq!(found["rejects"], count(&format!("_rejected/{name}")), "{name}");
        if *name == "gone" {
            continue;
        }
        let sums: BTreeMap<String, u64> = serde_json::from_value(found["ticks"].clone()).unwrap();
        assert_eq!(sums, tap.sums(name));
        assert!(sums["missed"] >= 10 && sums.contains_key("error"), "{sums:?}");
        // Each tick stands for 100 ms, so ticks and time tell the same.
        let bad: u64 = ["missed", "error", "missing", "invalid", "blocked", "skipped"]
            .iter()
            .filter_map(|key| sums.get(*key))
            .sum();
        assert_eq!(micros(&found["uncovered_seconds"]), i64::try_from(bad).unwrap() * 100_000, "{found}");
        assert_eq!(micros(&found["span_seconds"]), i64::try_from(sums.values().sum::<u64>()).unwrap() * 100_000);
        let gaps = found["gaps"].as_array().unwrap();
        let down = gaps.iter().find(|gap| gap["outcome"] == "missed").unwrap();
        assert!(micros(&down["seconds"]) >= 1_000_000 && down["why"] == "tapline was not running", "{down}");
    }
    // A part of it: records by their times.
    let since = tap.records("shared")[after_kill]["observed_at"].as_str().unwrap().to_owned();
    let (part, _) = json_lines(&tap, &["coverage", "one", "--since", &since, "--json"]);
    assert_adds_up(&part[0]);
    assert_eq!(time(&part[0]["from"]), time(&json!(since)));
    let expected = tap.records("shared").into_iter().filter(|record| record["source"] == "one");
    let expected = expected.filter(|record| record["observed_at"].as_str().unwrap() >= since.as_str()).count();
    assert_eq!(part[0]["records"], expected);
}

fn moment(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
}

fn at(second: i64) -> String {
    tapline::record::time_text(&moment(second))
}

/// Commits lines and states as the service does.
fn commit(tap: &Tap, lines: &[(&str, String)], states: &[(&str, Value)]) {
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    fs.create_dir(&tap.data()).unwrap();
    let mut commits = Commits::open(fs, &tap.data(), Durability::Process, moment(0)).unwrap();
    let settings = tapline::config::Service::default();
    let mut append = Append::default();
    for (stream, line) in lines {
        let spec = Spec {
            name: (*stream).into(),
            rotate: settings.rotate,
            compress: settings.compress,
            retain: settings.retain,
            timezone: chrono_tz::Tz::UTC,
            link: None,
        };
        commits.add_stream(spec).unwrap();
        append.lines.push(((*stream).into(), format!("{line}\n").into_bytes()));
    }
    for (key, value) in states {
        append.state.push(((*key).to_owned(), Some(serde_json::value::to_raw_value(value).unwrap())));
    }
    commits.hold(append);
    commits.commit(moment(0)).unwrap();
}

fn record(second: i64, source: &str, id: &str, kind: &str, data: &Value) -> String {
    json!({"observed_at": at(second), "source": source, "id": id, "type": kind, "data": data}).to_string()
}

/// A stream that lost its connection twice, of which one gap was filled in part.
fn research() -> Vec<(&'static str, String)> {
    let entries = [
        (0, "started", json!({"kind": "x_stream", "version": "v"})),
        (1, "connected", json!({"since": at(1)})),
        (60, "lost", json!({"since": at(50), "why": "nothing came for 25s"})),
        (110, "connected", json!({"since": at(110)})),
        (110, "gap", json!({"from": at(50), "to": at(110), "why": "nothing came for 25s"})),
        (111, "filled", json!({"from": at(40), "to": at(95), "by": "backfill", "records": 2})),
        (3_000, "lost", json!({"since": at(3_000), "why": "reset \u{1b}[2J by peer"})),
        (3_060, "connected", json!({"since": at(3_060)})),
        (3_060, "gap", json!({"from": at(3_000), "to": at(3_060), "why": "reset \u{1b}[2J by peer"})),
        (3_061, "filled", json!({"from": at(2_990), "to": at(3_070), "by": "recovery", "records": 1})),
        (
            4_000,
            "hole",
            json!({"sequence": "A", "first": 8, "last": 9, "missing": 2, "from": at(3_999), "to": at(4_000)}),
        ),
        (5_000, "hole", json!({"first": 20, "last": 1_519, "missing": 1_500, "from": at(4_999), "to": at(5_000)})),
        (9_000, "stopped", json!({"why": "told to"})),
    ];
    let mut lines: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(number, (second, kind, data))| {
            ("_ledger", record(*second, "research", &format!("l_{number:x}_m"), kind, data))
        })
        .collect();
    lines.extend((0..5).map(|post| ("research", record(post, "research", &format!("x_{post}"), "post", &json!({})))));
    lines
}

/// The page that people see, and the same as JSON.
#[test]
fn of_a_stream_has_each_gap_with_what_filled_it() {
    let tap = Tap::new();
    let state = json!({"alive_at": at(8_990), "book": {"next": 13}});
    commit(&tap, &research(), &[("source/research", state)]);
    let (page, said, code) = text(&tap, &["coverage"]);
    assert_eq!((said.as_str(), code), ("", Some(0)));
    insta::assert_snapshot!(page, @r"
    research (x_stream)
      time         2026-11-18 11:06:41.000 to 2026-11-18 13:36:30.000
      covered      99.83% of 2h 29m, 1m 45s of it filled afterwards
      not covered  15s in 1 gap; 1 more filled
      records      5, 3 of them replayed into gaps
      rejects      0
      missing      1,502, by upstream's numbers; there were 2 holes
        from                     to                         length  why
        2026-11-18 11:07:30.000  2026-11-18 11:08:30.000        1m  nothing came for 25s; 45s filled by backfill, but for
        2026-11-18 11:08:15.000  2026-11-18 11:08:30.000       15s
        2026-11-18 11:56:40.000  2026-11-18 11:57:40.000        1m  reset \u001b[2J by peer; filled by recovery
    ");
    let (found, _) = json_lines(&tap, &["coverage", "research", "--json"]);
    assert_adds_up(&found[0]);
    assert_eq!(found[0]["gaps"][0]["unfilled"], json!([{"from": at(95), "to": at(110), "seconds": 15.0}]));
    assert_eq!(found[0]["records"], 5);
    assert_eq!(found[0]["filled_records"], 3);
    assert_eq!((&found[0]["holes"], &found[0]["missing"]), (&json!(2), &json!(1_502)));
    let (part, _) = json_lines(&tap, &["coverage", "research", "--since", &at(100), "--until", &at(3_010), "--json"]);
    assert_adds_up(&part[0]);
    assert_eq!((&part[0]["holes"], &part[0]["missing"]), (&json!(0), &json!(0)), "they were later");
    assert_eq!((micros(&part[0]["uncovered_seconds"]), micros(&part[0]["filled_seconds"])), (10_000_000, 10_000_000));
}

#[test]
fn says_what_is_not_there() {
    let tap = Tap::new();
    let (out, said, code) = text(&tap, &["coverage"]);
    assert_eq!((out.as_str(), code), ("", Some(0)));
    assert!(said.contains("nothing in"), "{said}");
    commit(&tap, &research(), &[]);
    let (out, said, code) = text(&tap, &["coverage", "reserch"]);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(said.contains("no source reserch") && said.contains("known: research"), "{said}");
    let (_, said, code) = text(&tap, &["coverage", "--since", "yesterday"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("write a span such as 7d"), "{said}");
}

/// The service as it runs, and as it was.
#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_runs() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    let url = exchange.url("/");
    let fields = "fields: { price: { css: span.red14px, type: number, locale: en-IN } }";
    tap.source("one", &format!("kind: scrape\nurl: {url}\nevery: 100ms\n{fields}\n"));
    let (page, _, code) = text(&tap, &["status"]);
    assert!(page.starts_with("not running; data in ") && code == Some(1), "{page}");
    assert!(page.contains("! one  not running, and has not run yet"), "{page}");

    let mut process = tap.run();
    wait_until("it runs", SOON, || !tap.lines("one").is_empty());
    let (found, code) = json_lines(&tap, &["status", "--json"]);
    assert_eq!(code, Some(0), "{found:?}");
    assert_eq!((&found[0]["service"], &found[0]["pid"]), (&json!("running"), &json!(process.0.id())));
    assert!(found[0]["since"].is_string() && found[0]["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(
        (&found[1]["source"], &found[1]["well"], &found[1]["runs"]),
        (&json!("one"), &json!(true), &json!(true))
    );
    assert_eq!((&found[1]["kind"], &found[1]["file"]), (&json!("scrape"), &json!("good")));

    tap.source("broken", "kind: scrape\nurl: [\n");
    let (page, _, code) = text(&tap, &["status"]);
    assert!(page.starts_with("running since ") && code == Some(1), "{page}");
    assert!(page.contains("! broken  its file is broken: ") && page.contains("broken.yaml:"), "{page}");
    assert!(page.contains("  one     scheduled"), "{page}");

    process.kill();
    tap.remove("broken");
    let (page, _, code) = text(&tap, &["status"]);
    assert!(page.starts_with("not running; data in ") && code == Some(1), "{page}");
    assert!(page.contains("! one  not running; was scheduled"), "{page}");
}
