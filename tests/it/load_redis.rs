//! Redis, the real one: ids that are positions, and a server that is killed too.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::server::{Server, kill_soon};
use crate::support::tap::{PATIENCE, Tap, wait_until};

fn server(more: &'static [&'static str]) -> Server {
    Server::start(move |dir, port| {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--dir",
            dir.to_str().unwrap(),
            "--save",
            "",
            "--bind",
            "127.0.0.1",
        ]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]).args(more);
        command
    })
}

fn url(server: &Server, rest: &str) -> String {
    format!("redis://127.0.0.1:{}{rest}", server.port())
}

/// What the server's own client says.
fn ask(server: &Server, arguments: &[&str]) -> String {
    let output =
        Command::new("redis-cli").args(["-p", &server.port().to_string(), "--raw"]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Every record of a Redis stream, in order.
fn records(server: &Server, key: &str) -> Vec<String> {
    let said = ask(server, &["XRANGE", key, "-", "+"]);
    let lines: Vec<&str> = said.lines().collect();
    lines.chunks(3).filter(|entry| entry.len() == 3).map(|entry| entry[2].to_owned()).collect()
}

#[test]
fn killed_a_hundred_times_and_the_server_twenty_every_record_is_there_once() {
    let server = Arc::new(Mutex::new(server(&[])));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let to = url(&server.lock().unwrap(), "");
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let mut restarting = None;
    let found = killed(&mut pile, &to, &["--batch-records", "100"], kills, each, |round| {
        if let Some(before) = restarting.take() {
            let before: std::thread::JoinHandle<()> = before;
            before.join().unwrap();
        }
        if round % 5 == 0 {
            restarting = Some(kill_soon(&server, Duration::from_millis(round as u64 % 17)));
        }
    });
    println!("{found:?}");
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    let server = server.lock().unwrap();
    assert!(records(&server, "pile").join("\n") + "\n" == pile.text(), "each record once, in order, as it was");
    // What the store says counts, also when it was trimmed to nothing.
    ask(&server, &["XTRIM", "pile", "MAXLEN", "0"]);
    for _ in 0..3 {
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
        load_all(&root, &to, &[]);
    }
    assert_eq!(ask(&server, &["XLEN", "pile"]), "0", "what was there once is not stored again");
}

#[test]
fn another_folder_of_the_same_name_is_not_taken_for_this_one() {
    let server = server(&[]);
    let dir = tempfile::tempdir().unwrap();
    for (folder, code) in [("one", 0), ("two", 1)] {
        let root = dir.path().join(folder);
        Pile::new(&root, "pile").add(10);
        let output = load(&root, &url(&server, "/0?key=live:{stream}"), &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        if code == 1 {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("the key `live:pile` has records of another data folder"), "{said}");
        }
    }
    assert_eq!(ask(&server, &["XLEN", "live:pile"]), "10");
}

#[test]
fn records_as_keys() {
    let server = server(&[]);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add(2_500);
    load_all(&root, &url(&server, "/1?mode=string"), &[]);
    assert_eq!(ask(&server, &["-n", "1", "DBSIZE"]), "2500");
    let line = ask(&server, &["-n", "1", "GET", "pile:t_00000007"]);
    assert_eq!(line, pile.text().lines().nth(7).unwrap());
    load_all(&root, &url(&server, "/2?mode=hash&key=h:"), &[]);
    assert_eq!(ask(&server, &["-n", "2", "HGET", "h:t_00000008", "source"]), "pile");
    assert_eq!(ask(&server, &["-n", "2", "HKEYS", "h:t_00000007"]), "observed_at\nsource\ntype\ndata");
    // The module is not there: parked, and no record is a dead letter for it.
    let output = load(&root, &url(&server, "/3?mode=json"), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the module is not loaded") && said.contains("0 records loaded;"), "{said}");
}

#[test]
fn a_key_of_another_type_parks_and_a_wrong_password_is_not_shown() {
    let server = server(&["--requirepass", "right-word"]);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(10);
    for (login, word) in [("", "NOAUTH"), (":wrong-word@", "WRONGPASS")] {
        let to = format!("redis://{login}127.0.0.1:{}", server.port());
        let output = load(&root, &to, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.to_lowercase().contains("auth") || said.contains(word), "{said}");
        assert!(!said.contains("wrong-word"), "{said}");
    }
    let to = format!("redis://:${{REDIS_WORD}}@127.0.0.1:{}", server.port());
    ask(&server, &["-a", "right-word", "SET", "pile", "taken"]);
    let output = load(&root, &to, &[]).env("REDIS_WORD", "right-word").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("WRONGTYPE") && !said.contains("right-word"), "{said}");
    ask(&server, &["-a", "right-word", "DEL", "pile"]);
    let output = load(&root, &to, &[]).env("REDIS_WORD", "right-word").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ask(&server, &["-a", "right-word", "XLEN", "pile"]), "10");
}

#[test]
fn a_server_without_memory_is_waited_for_and_nothing_is_passed_over() {
    let server = server(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let tap = Tap::new();
    let mut pile = Pile::new(&tap.data(), "pile");
    pile.add(30_000);
    tap.settings(&format!("loaders: [{{ to: '{}', name: redis }}]\n", url(&server, "")));
    let process = tap.run();
    wait_until("the server has no room", PATIENCE, || {
        let output = tap.command(&["loaders", "--json"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("OOM")
    });
    let before: usize = ask(&server, &["XLEN", "pile"]).parse().unwrap();
    assert!(before < 30_000, "{before}");
    ask(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    wait_until("everything is there", PATIENCE, || ask(&server, &["XLEN", "pile"]) == "30000");
    assert!(records(&server, "pile").join("\n") + "\n" == pile.text(), "in order, with no hole");
    drop(process);
}
