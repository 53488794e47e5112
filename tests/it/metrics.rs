//! Metrics: what an official parser makes of them, whether they are what everything else says, and whether what is
//! built on them knows their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tapline::simulator::Running as _;
use tapline::simulator::faults::Faults;
use tapline::simulator::quote::Quote;
use tapline::simulator::x::{self, X};

use crate::support::tap::{PATIENCE, Tap, wait_until};
use crate::web::{get, start};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The samples as Prometheus's own parser reads them: a name with its labels, and a value.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "prometheus-client is not installed; run scripts/setup");
    let mut child = Command::new(python)
        .arg(root().join("tests/fixtures/web/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names of families in the text.
fn families(text: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let ending = if kind == "counter" {
            "_total"
        } else if kind == "info" {
            "_info"
        } else {
            ""
        };
        Some(format!("{name}{ending}"))
    };
    text.lines().filter_map(name).collect()
}

/// Every name in backticks in the table of the page.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(',').map(str::to_owned).collect::<Vec<_>>());
    names.map(|name| name.trim().trim_matches('`').to_owned()).collect()
}

/// A source of which nothing is wanted.
fn add_unwanted(tap: &Tap, url: &str, fields: &str) {
    let filter = "transform: { filter: { /price: { max: 0 } } }\n";
    tap.source("unwanted", &format!("kind: scrape\nurl: {url}\nevery: 1s\n{fields}{filter}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_what_everything_else_says_and_never_fall() {
    let faults: Faults = "20%:500, 10%:layout".parse().unwrap();
    let exchange = Quote::new().faults(faults).step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    let file = tap.path("out.db");
    tap.settings(&format!("loaders:\n  - {{ to: 'sqlite:{}', name: store }}\n", file.display()));
    let fields = "fields:\n  price: { css: span.red14px, type: number, locale: en-IN }\n";
    tap.source("bse", &format!("kind: scrape\nurl: {}\nevery: 100ms\n{fields}", exchange.url("/")));
    add_unwanted(&tap, &exchange.url("/"), fields);
    let settings = x::Settings { every: Some(Duration::from_millis(20)), ..x::Settings::default() };
    let x = X::start(0, settings).await.unwrap();
    let rules = "auth: { bearer: simulated-token }\nrules: [{ value: rain OR train OR bridge }]\n";
    tap.source(
        "posts",
        &format!("kind: x_stream\nbase_url: http://{}\n{rules}tweet_fields: [created_at]\n", x.address()),
    );
    let mut before = BTreeMap::<String, f64>::new();
    for round in 0..3 {
        let (mut process, address) = start(&tap, &[]);
        let had = tap.count("bse");
        tap.wait_for_lines("bse", had + 30);
        tap.wait_for_lines("posts", round + 1);
        let text = get(address, "/metrics", &[]).1;
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        let found = parsed(&text);
        for (name, value) in &found {
            // Counters of the process begin anew with it.
            let is_ours = name.starts_with("tapline_source") || name.starts_with("tapline_loader");
            if is_ours && name.contains("_total") {
                let was = before.get(name).copied().unwrap_or(0.0);
                assert!(*value >= was, "round {round}: {name} fell from {was} to {value}");
            }
        }
        before = found;
        process.kill();
    }
    let (mut process, address) = start(&tap, &[]);
    // It never has all: the next lines are committed before the store has these.
    let there = tap.count("bse") + tap.count("posts");
    let loaded = || parsed(&get(address, "/metrics", &[]).1).remove("tapline_loader_records_total{loader=store}");
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    wait_until("what is there is loaded", PATIENCE, || loaded().is_some_and(|loaded| loaded >= there as f64));
    // What is measured of ticks and of what is sent is there once there was one.
    let names = || families(&get(address, "/metrics", &[]).1);
    wait_until("everything has happened once", PATIENCE, || names().len() >= documented().len());
    assert_eq!(names(), documented(), "docs/metrics.md says what there is");
    // Stopped in order, everything that was counted is in the ledger: the sums are the same.
    let last = |address| parsed(&get(address, "/metrics", &[]).1);
    let seen = last(address);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let saved = tap.status("bse");
    assert!(saved["records"].as_f64().unwrap() >= seen["tapline_source_records_total{source=bse}"]);
    let (_process, address) = {
        tap.source("bse", &format!("kind: scrape\nurl: {}\nevery: 1h\noffset: 59m\n{fields}", exchange.url("/")));
        start(&tap, &[])
    };
    let found = last(address);
    let sums = tap.sums("bse");
    for (outcome, count) in &sums {
        let name = match outcome.as_str() {
            "missed" => "tapline_source_ticks_missed_total{source=bse}".to_owned(),
            outcome => format!("tapline_source_ticks_total{{outcome={outcome},source=bse}}"),
        };
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let count = *count as f64;
        assert_eq!(found.get(&name), Some(&count), "{name}: {sums:?}");
    }
    assert!(sums.len() >= 4, "{sums:?}");
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let written = tap.count("bse") as f64;
    assert_eq!(found.get("tapline_source_records_total{source=bse}"), Some(&written));
}

/// Every metric that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|next: char| !next.is_ascii_alphanumeric() && next != '_');
    let metrics = words.filter(|word| word.starts_with("tapline_") || word.starts_with("process_"));
    metrics.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value.as_str() {
                    Some(text) if ["expr", "query"].contains(&key.as_str()) => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_rules_name_what_there_is() {
    let known = documented();
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(root().join("docs/grafana-dashboard.json")).unwrap()).unwrap();
    let rules: Value =
        serde_saphyr::from_str(&fs::read_to_string(root().join("docs/alert-rules.yml")).unwrap()).unwrap();
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    let shown = all.len();
    expressions(&rules, &mut all);
    assert!(shown > 20 && all.len() >= shown + 12, "{shown} of {}", all.len());
    for expression in &all {
        for metric in named(expression) {
            assert!(known.contains(&metric), "{metric} of {expression:?} is not in docs/metrics.md");
        }
    }
}

#[test]
fn each_rule_fires_when_it_should() {
    let promtool = |arguments: &[&str]| {
        let output = Command::new("promtool").args(arguments).current_dir(root().join("docs")).output();
        let output = output.expect("promtool is installed by scripts/setup");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    };
    promtool(&["check", "rules", "alert-rules.yml"]);
    promtool(&["test", "rules", "alert-rules.test.yml"]);
    let rules = fs::read_to_string(root().join("docs/alert-rules.yml")).unwrap();
    let tests = fs::read_to_string(root().join("docs/alert-rules.test.yml")).unwrap();
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.matches(name).count() >= 2, "{name} is tested both ways");
    }
    assert!(Path::new(&root()).join("docs/metrics.md").exists());
}
