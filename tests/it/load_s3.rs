//! S3, as `moto` has it: each closed segment is an object, once.

use std::path::Path;
use std::process::Command;

use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::relay::Relay;
use crate::support::server::Server;

const BUCKET: &str = "tapline-test";

fn python(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin").join(name)
}

fn server() -> Server {
    let server = Server::start(|_, port| {
        let mut command = Command::new(python("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    bucket(&server, "make", "");
    server
}

fn bucket(server: &Server, action: &str, prefix: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/boto3/bucket.py");
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let output = Command::new(python("python")).arg(script).args([action, &endpoint, BUCKET, prefix]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn url(server: &Server, path: &str, more: &str) -> String {
    url_at(server.port(), path, more)
}

fn url_at(port: u16, path: &str, more: &str) -> String {
    format!("s3://key:right-word@{BUCKET}/{path}?endpoint=http://127.0.0.1:{port}&compress=gzip{more}")
}

/// What stands in closed segments is there, in order; what is in the open one is not.
fn assert_closed(found: &str, pile: &Pile) {
    let all = pile.text();
    assert!(all.starts_with(found), "each line once, in order: {} of {}", found.len(), all.len());
    let open = all.len() - found.len();
    assert!(open < 200 << 10, "{open} bytes are left: more than a segment and the last commit");
}

#[test]
fn killed_a_hundred_times_every_closed_segment_is_there_once() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut relay = Relay::start(&format!("127.0.0.1:{}", server.port()));
    let to = url_at(relay.address().port(), "live", "");
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let found = killed(&mut pile, &to, &[], kills, each, |round| relay.each_time(round));
    println!("{found:?}, {} kills of the other side", relay.kills());
    assert!(relay.kills() * 7 > kills, "{}: most runs in which it is to be killed have to do with it", relay.kills());
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    let there = bucket(&server, "read", "live/pile/dt=2026-11-");
    assert_closed(&there, &pile);
    for _ in 0..3 {
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
        let output = load_all(&root, &to, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("0 records loaded"), "the objects say where to go on: {said}");
    }
    assert!(bucket(&server, "read", "live/pile/") == there);
}

#[test]
fn long_segments_go_in_parts_and_other_folders_are_refused() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add(3_000);
    load_all(&root, &url(&server, "parts", ""), &["--batch-size", "10KiB"]);
    assert_closed(&bucket(&server, "read", "parts/pile/"), &pile);
    // A pass with longer parts, that knows nothing of the first, goes on where the objects end.
    load_all(&root, &url(&server, "parts", ""), &["--batch-size", "30KiB", "--name", "again"]);
    assert_closed(&bucket(&server, "read", "parts/pile/"), &pile);
    let other = dir.path().join("other");
    Pile::new(&other, "pile").add(2_000);
    let output = load(&other, &url(&server, "parts", ""), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is of another data folder") && !said.contains("right-word"), "{said}");
    let nowhere = url(&server, "x", "").replace(BUCKET, "no-such-bucket");
    let output = load(&root, &nowhere, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("NoSuchBucket") && said.contains("somebody must act"), "{said}");
    // Somebody else's files are whole as they are.
    let file = dir.path().join("theirs.jsonl");
    std::fs::write(&file, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    let output = load(&root, &url(&server, "files", ""), &[file.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(bucket(&server, "read", "files/theirs/"), "{\"a\":1}\n{\"a\":2}\n");
}
