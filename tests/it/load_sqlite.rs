//! `SQLite`: a file that says by itself how far it is.

use std::path::Path;

use rusqlite::Connection;

use serde_json::Value;

use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::tap::{PATIENCE, Tap, wait_until};

fn ids(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare("SELECT id FROM pile ORDER BY rowid").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn killed_a_hundred_times_every_record_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path().join("data"), dir.path().join("out.db"));
    let to = format!("sqlite:{}", file.display());
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let found = killed(&mut pile, &to, &["--batch-records", "100"], kills, each, |_| {});
    println!("{found:?}");
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    assert!(ids(&file).into_iter().eq(pile.ids()), "each once, in order");
    // What the file says counts: without tapline's own positions nothing is loaded again.
    for _ in 0..3 {
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
        let said = load_all(&root, &to, &[]);
        assert!(String::from_utf8_lossy(&said.stderr).contains(" 0 records loaded"), "{said:?}");
    }
    // And without that too, a replay changes nothing.
    Connection::open(&file).unwrap().execute("DELETE FROM tapline_positions", []).unwrap();
    std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
    let said = load_all(&root, &to, &[]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("were there already"), "{said:?}");
    assert_eq!(ids(&file).len(), pile.len());
}

#[test]
fn what_cannot_be_a_row_is_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    let deep = "[".repeat(200) + &"]".repeat(200);
    pile.add_data([
        r#"{"big":18446744073709551615,"exact":0.10,"nul":"\u0000","lone":"\ud800"}"#.to_owned(),
        format!(r#"{{"deep":{deep}}}"#),
        r#"{"$set":{"a.b":1},"":null}"#.to_owned(),
    ]);
    let file = dir.path().join("out.db");
    load_all(&root, &format!("sqlite:{}", file.display()), &[]);
    let connection = Connection::open(&file).unwrap();
    let mut statement = connection.prepare("SELECT data FROM pile ORDER BY id").unwrap();
    let data: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let lines = pile.text();
    for (data, line) in data.iter().zip(lines.lines()) {
        assert!(line.ends_with(&format!("\"data\":{data}}}")), "token for token: {data}");
    }
    assert_eq!(data.len(), 3);
}

#[test]
fn a_file_that_is_no_database_is_said_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(3);
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "my notes, which are longer than the head of a database file is\n".repeat(20)).unwrap();
    let output = load(&root, &format!("sqlite:{}", file.display()), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("file is not a database"), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("my notes"));
}

#[test]
fn other_peoples_files_are_loaded_by_field_or_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(1);
    let (lines, out) = (dir.path().join("theirs.jsonl"), dir.path().join("out.db"));
    std::fs::write(&lines, "{\"key\":\"a\",\"n\":1}\r\n\n{\"key\":2}\nnot json\n{\"key\":\"b\"}").unwrap();
    let to = format!("sqlite:{}", out.display());
    let path = lines.to_str().unwrap();
    let output = load(&root, &to, &["--id", "key", path]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("3 records loaded, 1 could not be stored"), "{said}");
    let connection = Connection::open(&out).unwrap();
    let ids: Vec<String> = {
        let mut statement = connection.prepare("SELECT id FROM theirs ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(ids, ["2", "a", "b"]);
    // Where they have no ids, the place tells; another file of the same name is another.
    for text in ["{\"n\":1}\n{\"n\":2}\n", "{\"n\":3}\n"] {
        std::fs::write(&lines, text).unwrap();
        for _ in 0..2 {
            load_all(&root, &to, &["--stream", "by-place", path]);
        }
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM \"by-place\"", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 3);
}

/// What `tapline loaders` says of the one loader; null before there is anything.
fn said(tap: &Tap, arguments: &[&str]) -> Value {
    let output = tap.command(arguments).output().unwrap();
    if output.stdout.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_service_loads_and_its_dead_letters_come_again() {
    let tap = Tap::new();
    Pile::new(&tap.data(), "pile").add(50);
    let file = tap.path("out.db");
    let connection = Connection::open(&file).unwrap();
    let columns = "(id TEXT PRIMARY KEY, observed_at TEXT, source TEXT, type TEXT, published_at TEXT, data TEXT";
    connection.execute_batch(&format!("CREATE TABLE pile {columns}, CHECK (data NOT LIKE '%\"n\":5,%'))")).unwrap();
    tap.settings(&format!("loaders: [{{ to: 'sqlite:{}', name: out }}]\n", file.display()));
    let count = || connection.query_row("SELECT count(*) FROM pile", [], |row| row.get::<_, u64>(0)).unwrap();
    let mut process = tap.run();
    wait_until("all but one are there", PATIENCE, || count() == 49);
    wait_until("and that one is a dead letter", PATIENCE, || {
        let loader = said(&tap, &["loaders", "--json"]);
        (loader["dead"] == 1, loader["records"] == 49, loader["lag_records"] == 0) == (true, true, true)
    });
    assert_eq!(said(&tap, &["loaders", "--json"])["runs"], true);
    assert_eq!(tap.records("_dead/out")[0]["data"]["id"], "t_00000005");
    // Mended, while the service runs.
    let batch = format!(
        "BEGIN; ALTER TABLE pile RENAME TO old; CREATE TABLE pile {columns}); INSERT INTO pile SELECT * FROM old; DROP TABLE old; COMMIT"
    );
    connection.execute_batch(&batch).unwrap();
    let output = tap.command(&["redrive", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(count(), 50);
    assert_eq!(process.terminate().0, Some(0));
    // And when none runs: there is nothing left to do.
    let output = tap.command(&["redrive", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((count(), said(&tap, &["loaders", "--json"])["runs"].clone()), (50, false.into()));
    let output = tap.command(&["redrive", "none"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no loader none (declared: out"), "{output:?}");
}

#[test]
fn a_service_that_runs_once_waits_for_its_stores() {
    let tap = Tap::new();
    Pile::new(&tap.data(), "pile").add(5_000);
    let file = tap.path("out.db");
    tap.settings(&format!("loaders: [{{ to: 'sqlite:{}' }}]\n", file.display()));
    let output = tap.command(&["run", "--once"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ids(&file).len(), 5_000);
}
