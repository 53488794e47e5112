//! `tapline export`: read with duckdb and pandas, made twice, cut off, looked through.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::support::loading::Pile;
use crate::support::tap::pause;

const FORMATS: [&str; 3] = ["parquet", "csv", "jsonl.zst"];

fn export(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
    command.arg("export").args(arguments).arg("--data").arg(root);
    command.arg("--config").arg(root.join("tapline.yaml")).stdin(Stdio::null());
    command
}

fn export_to(root: &Path, format: &str, out: &Path, more: &[&str]) -> Output {
    export(root, &["--to", format, "--out", out.to_str().unwrap()]).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(output: &Output) -> String {
    let said = said(output);
    assert!(output.status.success(), "{said}");
    said
}

/// Every file of an export, hidden ones apart.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if !entry.file_name().to_str().unwrap().starts_with('.') {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    found
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("MANIFEST.json")).unwrap()).unwrap()
}

fn python(arguments: &[&str], dir: &Path) -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    assert!(python.exists(), "duckdb and pandas are not installed; run scripts/setup");
    let output = Command::new(python).args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of the segments that are closed.
fn closed(root: &Path, pile: &Pile) -> Vec<String> {
    let text = pile.text();
    let state = tapline::report::committed::Committed::look(root).unwrap();
    let open = state.saved("pile").unwrap().unwrap().lines;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.truncate(lines.len() - usize::try_from(open).unwrap());
    lines
}

/// The one code block of a language in a page.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    page.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap().0
}

/// A half of a pair of surrogates: JSON allows it (RFC 8259, section 8.2), duckdb's reader of JSON does not.
const LONE: &str = r#"{"lone":"\ud800"}"#;

fn hostile() -> Vec<String> {
    let deep = "[".repeat(100) + &"]".repeat(100);
    let mut data = vec![
        r#"{"big":18446744073709551615,"exact":0.10,"more":123456789012345678901234567890.1e-7}"#.to_owned(),
        r#"{"nul":"\u0000","escaped":"a\",\"b\r\n\t\\","real":"é 日本 😀 '' ;"}"#.to_owned(),
        r#"{"$set":{"a.b":1},"":null,"=cmd|' /C calc'!A0":"@SUM(1)"}"#.to_owned(),
        format!(r#"{{"deep":{deep}}}"#),
        format!(r#"{{"long":"{}"}}"#, "x, \\\"y\\\" ".repeat(20_000)),
        "{}".to_owned(),
    ];
    data.extend((0..200).map(|n| format!(r#"{{"n":{n}}}"#)));
    data
}

#[test]
fn duckdb_and_pandas_read_what_was_collected() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/export/read.py");
    for format in FORMATS {
        let root = dir.path().join("data").join(format);
        let mut pile = Pile::new(&root, "pile");
        let lone = (format != "jsonl.zst").then(|| LONE.to_owned());
        pile.add_data(hostile().into_iter().chain(lone));
        pile.add(20_000);
        let expected = closed(&root, &pile);
        assert!(expected.len() > 15_000);
        let out = dir.path().join(format);
        done(&export_to(&root, format, &out, &[]));
        let found = python(&[script.to_str().unwrap(), format, "pile"], &out);
        assert_eq!(found.lines().count(), expected.len(), "{format}");
        for (found, expected) in found.lines().zip(&expected) {
            assert_eq!(found, expected, "{format}");
        }
        let manifest = manifest(&out);
        assert_eq!(manifest["streams"]["pile"]["records"], expected.len(), "{format}");
        let parts = manifest["parts"].as_array().unwrap();
        let of_parts: u64 = parts.iter().map(|part| part["records"].as_u64().unwrap()).sum();
        assert_eq!(of_parts, expected.len() as u64, "{format}");
        assert!(parts.iter().any(|part| part["dt"] == "2026-11-23"), "a segment has records of two days");
        // What the page in the export says is typed as it stands there.
        let page = fs::read_to_string(out.join("README.md")).unwrap();
        let counted = python(&["-c", block(&page, "python")], &out);
        assert!(counted.contains(&expected.len().to_string()), "{format}: {counted}");
        let ask =
            format!("import duckdb\nfor row in duckdb.execute({:?}).fetchall():\n  print(row[3])", block(&page, "sql"));
        let days: usize = python(&["-c", &ask], &out).lines().map(|count| count.parse::<usize>().unwrap()).sum();
        assert_eq!(days, expected.len(), "{format}");
        let sums = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&out).status().unwrap();
        assert!(sums.success());
    }
}

#[test]
fn the_same_segments_become_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add_data(hostile());
    pile.add(2_000);
    let mut early = BTreeMap::new();
    for format in FORMATS {
        let out = dir.path().join(format);
        done(&export_to(&root, format, &out, &[]));
        early.insert(format, files(&out));
        let again = done(&export_to(&root, format, &out, &[]));
        assert!(files(&out) == early[format], "{format}: nothing was to be done: {again}");
    }
    pile.add(3_000);
    for format in FORMATS {
        let (grown, fresh) = (dir.path().join(format), dir.path().join(format!("fresh-{format}")));
        done(&export_to(&root, format, &grown, &[]));
        done(&export_to(&root, format, &fresh, &[]));
        let (grown, fresh) = (files(&grown), files(&fresh));
        assert!(grown == fresh, "{format}: in two steps it is what it is in one");
        let is_part = |path: &&PathBuf| path.starts_with("pile");
        assert!(fresh.keys().filter(is_part).count() > early[format].keys().filter(is_part).count());
        let kept = early[format].iter().filter(|(path, _)| path.starts_with("pile"));
        assert!(kept.into_iter().all(|(path, bytes)| fresh[path] == *bytes), "{format}: nothing was written again");
    }
}

#[test]
fn an_export_that_was_killed_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add(if std::env::var_os("TAPLINE_QUICK").is_some() { 20_000 } else { 100_000 });
    let mut rng = StdRng::seed_from_u64(7);
    let mut at_work = 0;
    for format in FORMATS {
        let (out, clean) = (dir.path().join(format), dir.path().join(format!("clean-{format}")));
        done(&export_to(&root, format, &clean, &[]));
        for _ in 0..10 {
            let mut command = export(&root, &["--to", format, "--out", out.to_str().unwrap()]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            pause(Duration::from_millis(rng.random_range(1..150)));
            at_work += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        done(&export_to(&root, format, &out, &[]));
        assert!(files(&out) == files(&clean), "{format}");
        done(&export(&root, &["--verify", out.to_str().unwrap()]).output().unwrap());
    }
    println!("{at_work} of 30 were killed at work");
    assert!(at_work > 10, "{at_work} of 30 were killed at work");
}

#[test]
fn what_was_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("data"), dir.path().join("out"));
    Pile::new(&root, "pile").add(4_000);
    done(&export_to(&root, "csv", &out, &[]));
    let look = || export(&root, &["--verify", out.to_str().unwrap()]).output().unwrap();
    assert!(done(&look()).contains(" 0 are not"));
    let parts: Vec<PathBuf> = files(&out).into_keys().filter(|path| path.starts_with("pile")).collect();
    let mut bytes = fs::read(out.join(&parts[0])).unwrap();
    bytes[300] ^= 1;
    fs::write(out.join(&parts[0]), &bytes).unwrap();
    fs::File::options().write(true).open(out.join(&parts[1])).unwrap().set_len(100).unwrap();
    fs::remove_file(out.join(&parts[2])).unwrap();
    fs::write(out.join("pile/notes.csv"), "mine").unwrap();
    let found = look();
    assert_eq!(found.status.code(), Some(1));
    let found = said(&found);
    for (path, words) in [
        (parts[0].to_str().unwrap(), "was changed"),
        (parts[1].to_str().unwrap(), "has 100 bytes, and had"),
        (parts[2].to_str().unwrap(), "is missing"),
        ("pile/notes.csv", "is not in the manifest"),
    ] {
        assert!(found.contains(&format!("{path} {words}")), "{path}: {found}");
    }
    assert!(found.contains(" 4 are not"), "{found}");
    let nothing = export(&root, &["--verify", root.to_str().unwrap()]).output().unwrap();
    assert!(said(&nothing).contains("holds no export"), "{}", said(&nothing));
}

#[test]
fn only_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("data"), dir.path().join("out"));
    let mut pile = Pile::new(&root, "pile");
    pile.add(20_000);
    let more = ["--from", "2026-11-22T21:00:00Z", "--to-date", "2026-11-23", "--stream", "pi*"];
    done(&export_to(&root, "jsonl.zst", &out, &more));
    let pile_of = &manifest(&out)["streams"]["pile"];
    assert_eq!(pile_of["records"], 3 * 3600);
    assert_eq!(pile_of["first_observed_at"], "2026-11-22T21:00:00.123456Z");
    assert_eq!(pile_of["last_observed_at"], "2026-11-22T23:59:59.123456Z");
    assert!(pile_of["missing_segments"].is_null());
    for (more, words) in [
        (&["--stream", "pile"][..], "holds an export as jsonl.zst of the data folder"),
        (&["--stream", "bse"], "no stream is called bse; there are: pile"),
    ] {
        let refused = export_to(&root, "jsonl.zst", &out, more);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(words), "{}", said(&refused));
    }
    let refused = export_to(&root, "csv", &root, &[]);
    assert!(said(&refused).contains("is not empty, and holds no export"), "{}", said(&refused));
}

#[test]
fn what_is_damaged_or_gone_is_said_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("data"), dir.path().join("out"));
    let mut pile = Pile::new(&root, "pile");
    pile.add(5_000);
    let names = tapline::sinks::segments::read::files(&tapline::fs::Disk, &root, "pile").unwrap();
    let path = |number: u64| tapline::sinks::segments::name::path(&root, "pile", names[&number]);
    // A line of the third is no record, and the fifth is gone.
    let text = fs::read_to_string(path(3)).unwrap();
    let line = text.lines().nth(10).unwrap();
    let offset = text.find(line).unwrap();
    fs::write(path(3), text.replacen(line, &"#".repeat(line.len()), 1)).unwrap();
    let gone = fs::read_to_string(path(5)).unwrap().lines().count();
    fs::remove_file(path(5)).unwrap();
    let before = closed(&root, &pile).len();
    let output = export_to(&root, "parquet", &out, &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    assert!(words.contains("1 lines are no records") && words.contains("segments 5 to 5 were deleted"), "{words}");
    let stream = &manifest(&out)["streams"]["pile"];
    assert_eq!(stream["unreadable"][0]["first"]["segment"], 3);
    assert_eq!(stream["unreadable"][0]["first"]["offset"], offset);
    assert_eq!(stream["missing_segments"], serde_json::json!([[5, 5]]));
    assert_eq!(stream["records"], before - 1, "{gone} are gone and one is damaged");
    done(&export(&root, &["--verify", out.to_str().unwrap()]).output().unwrap());
}
