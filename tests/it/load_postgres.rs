//! `PostgreSQL`, the real one: positions in the same transaction, no index needed.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::postgres::{ask, start, url};
use crate::support::server::kill_soon;

fn ids(server: &crate::support::server::Server, table: &str) -> Vec<String> {
    ask(server, &format!("SELECT id FROM {table} ORDER BY id")).lines().map(str::to_owned).collect()
}

#[test]
fn killed_a_hundred_times_and_the_server_twenty_every_record_is_there_once() {
    let server = Arc::new(Mutex::new(start()));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let to = url(&server.lock().unwrap(), "");
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let mut restarting: Option<JoinHandle<()>> = None;
    let found = killed(&mut pile, &to, &["--batch-records", "100"], kills, each, |round| {
        if let Some(before) = restarting.take() {
            before.join().unwrap();
        }
        if round % 5 == 0 {
            restarting = Some(kill_soon(&server, Duration::from_millis(round as u64 % 17)));
        }
    });
    println!("{found:?}");
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    let server = server.lock().unwrap();
    assert!(ids(&server, "pile").into_iter().eq(pile.ids()), "each once, though there is no index");
    for _ in 0..3 {
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
        load_all(&root, &to, &[]);
        assert_eq!(ids(&server, "pile").len(), pile.len(), "the database says where to go on");
    }
}

#[test]
fn a_replay_into_a_table_with_a_key_changes_nothing() {
    let server = start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add(3_000);
    let to = url(&server, "?mode=unique&table=public.t_{stream}");
    for round in 0..3 {
        let output = load_all(&root, &to, &["--batch-records", "500"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = if round == 0 { "3,000 records loaded" } else { "0 records loaded, 3,000 were there already" };
        assert!(said.contains(expected), "{said}");
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
    }
    assert!(ids(&server, "t_pile").into_iter().eq(pile.ids()));
    let types = ask(
        &server,
        "SELECT string_agg(data_type, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 't_pile'",
    );
    assert_eq!(types, "text,timestamp with time zone,text,text,timestamp with time zone,jsonb");
    assert_eq!(
        ask(&server, "SELECT observed_at = '2026-11-22T20:00:07.123456Z' FROM t_pile WHERE id = 't_00000007'"),
        "t"
    );
}

#[test]
fn what_cannot_be_a_row_is_a_dead_letter_and_the_rest_is_exact() {
    let server = start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    let deep = "[".repeat(100) + &"]".repeat(100);
    let good = [
        r#"{"big":18446744073709551615,"exact":0.1000,"huge":123456789012345678901234567890.5}"#.to_owned(),
        format!(r#"{{"deep":{deep}}}"#),
        r#"{"$set":{"a.b":1},"":null,"tab\t":"\\n \\u0000"}"#.to_owned(),
    ];
    let bad = [r#"{"nul":"\u0000"}"#.to_owned(), r#"{"lone":"\ud800"}"#.to_owned()];
    let all = [&bad[0], &good[0], &good[1], &bad[1], &good[2]];
    pile.add_data(all.into_iter().cloned());
    pile.add(500);
    let output = load(&root, &url(&server, ""), &["--name", "pg"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("503 records loaded, 2 could not be stored"), "{said}");
    let text = ask(&server, "SELECT data FROM pile WHERE id <= 't_00000004' ORDER BY id");
    let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept, good.map(|good| serde_json::from_str::<Value>(&good).unwrap()));
    assert!(text.contains("18446744073709551615") && text.contains("123456789012345678901234567890.5"), "{text}");
    let dead = root.join(".tapline/load/pg");
    let letters = tapline::report::committed::Committed::look(&dead).unwrap();
    let mut reasons = Vec::new();
    letters
        .lines("_dead/pg", None, &mut |line| {
            // The record in it is kept as it came, and half a character is more than this parser takes.
            let line = String::from_utf8(line.to_vec()).unwrap();
            reasons.push(line.split("\"reason\":\"").nth(1).unwrap().split("\",\"record\"").next().unwrap().to_owned());
        })
        .unwrap();
    assert!(reasons[0].contains("\\u0000") && reasons[1].contains("surrogate"), "{reasons:?}");
}

#[test]
fn two_loaders_of_one_folder_do_not_double_and_two_folders_do_not_mix() {
    let server = start();
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for folder in ["one", "two"] {
        let root = dir.path().join(folder);
        let mut pile = Pile::new(&root, "pile");
        pile.add(2_000);
        total += pile.len();
        let to = url(&server, "");
        let names = ["a", "b", "c"];
        let loads: Vec<_> = names
            .iter()
            .map(|name| load(&root, &to, &["--name", name, "--batch-records", "50"]).spawn().unwrap())
            .collect();
        for mut child in loads {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(ask(&server, "SELECT count(*) FROM pile"), total.to_string(), "{folder}");
    }
}

#[test]
fn what_somebody_must_act_on_parks() {
    let server = start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(10);
    ask(&server, "CREATE TABLE other (id text)");
    let no_database = format!("postgres://tapline@127.0.0.1:{}/nowhere", server.port());
    for (to, word) in [
        (url(&server, "?create=false"), "relation \"pile\" does not exist (42P01)"),
        (url(&server, "?table=other&create=false"), "column \"observed_at\" of relation \"other\" does not exist"),
        (no_database, "database \"nowhere\" does not exist (3D000)"),
        (url(&server, "?sslmode=require"), "server does not support TLS"),
    ] {
        let output = load(&root, &to, &[]).arg("--name").arg("x").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{to}: {said}");
        assert!(said.contains(word), "{to}: {said}");
    }
}
