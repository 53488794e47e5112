//! NATS `JetStream`, the real one: positions in messages, and a server that is killed too.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt as _;

use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::server::{Server, kill_soon};
use crate::support::tap::{PATIENCE, Tap, wait_until};

fn server(more: &'static str) -> Server {
    Server::start(move |dir, port| {
        let config = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{}\", max_file: 1G }}\n{more}\n",
            dir.join("js").display()
        );
        std::fs::write(dir.join("nats.conf"), config).unwrap();
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(dir.join("nats.conf"));
        command
    })
}

fn url(server: &Server, rest: &str) -> String {
    format!("nats://127.0.0.1:{}{rest}", server.port())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn context(port: u16) -> jetstream::Context {
    tapline::context::install_crypto();
    jetstream::new(async_nats::connect(format!("127.0.0.1:{port}")).await.unwrap())
}

/// Every message of the stream `tapline`, in order.
fn messages(server: &Server) -> Vec<String> {
    runtime().block_on(async {
        let stream = context(server.port()).await.get_stream("tapline").await.unwrap();
        let count = stream.cached_info().state.messages;
        let config = consumer::pull::OrderedConfig::default();
        let consumer = stream.create_consumer(config).await.unwrap();
        let messages = consumer.messages().await.unwrap();
        let texts = messages.take(usize::try_from(count).unwrap());
        texts.map(|message| String::from_utf8(message.unwrap().payload.to_vec()).unwrap()).collect().await
    })
}

#[test]
fn killed_a_hundred_times_and_the_server_twenty_every_record_is_there_once() {
    let server = Arc::new(Mutex::new(server("")));
    // A window so short that no message is known by it after a kill: what is there must be found by other means.
    let port = server.lock().unwrap().port();
    runtime().block_on(async {
        let config = stream::Config {
            name: "tapline".into(),
            subjects: vec!["tapline.>".into()],
            duplicate_window: Duration::from_millis(100),
            ..stream::Config::default()
        };
        let context = context(port).await;
        context.create_stream(config).await.unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let to = url(&server.lock().unwrap(), "");
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let mut restarting = None;
    let found = killed(&mut pile, &to, &["--batch-records", "200"], kills, each, |round| {
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
    let mut lines = messages(&server);
    // What was lost on the way in a batch comes behind the rest of it.
    lines.sort_unstable_by_key(|line| line.split("\"id\":").nth(1).unwrap().to_owned());
    assert!(lines.join("\n") + "\n" == pile.text(), "each record once: {} of {}", lines.len(), pile.len());
    for _ in 0..3 {
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
        load_all(&root, &to, &[]);
    }
    assert_eq!(messages(&server).len(), pile.len(), "the subject says where to go on");
}

#[test]
fn too_long_records_are_dead_and_a_full_stream_is_waited_for() {
    let server = server("max_payload: 4KB");
    let tap = Tap::new();
    let mut pile = Pile::new(&tap.data(), "pile");
    pile.add_data([format!("\"{}\"", "x".repeat(5_000))]);
    pile.add(500);
    pile.add_data([format!("\"{}\"", "y".repeat(5_000))]);
    runtime().block_on(async {
        let config = stream::Config {
            name: "tapline".into(),
            subjects: vec!["tapline.>".into()],
            max_messages: 100,
            discard: stream::DiscardPolicy::New,
            ..stream::Config::default()
        };
        context(server.port()).await.create_stream(config).await.unwrap();
    });
    tap.settings(&format!("loaders: [{{ to: '{}', name: nats }}]\n", url(&server, "")));
    let process = tap.run();
    let loader = || -> serde_json::Value {
        let output = tap.command(&["loaders", "--json"]).output().unwrap();
        let all = String::from_utf8(output.stdout).unwrap();
        let all = all.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        all.into_iter().find(|loader| loader["loader"] == "nats").unwrap_or_default()
    };
    wait_until("the stream is full", PATIENCE, || {
        loader()["error"].as_str().unwrap_or("").contains("maximum messages")
    });
    assert_eq!(loader()["state"], "waiting", "{}", loader());
    runtime().block_on(async {
        let context = context(server.port()).await;
        let mut config = context.get_stream("tapline").await.unwrap().cached_info().config.clone();
        config.max_messages = -1;
        context.update_stream(config).await.unwrap();
    });
    wait_until("everything is there", PATIENCE, || loader()["records"] == 500 && loader()["dead"] == 2);
    let lines = messages(&server);
    assert_eq!(lines.len(), 500);
    assert!(pile.text().contains(&(lines.join("\n") + "\n")), "in order");
    drop(process);
}

#[test]
fn who_may_not_is_told_and_drops_nothing() {
    let server = server(
        "authorization: { users: [ { user: me, password: right-word },
           { user: half, password: word, permissions: { publish: [ \"$JS.API.>\" ], subscribe: [ \"_INBOX.>\" ] } } ] }",
    );
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(10);
    let port = server.port();
    for (login, word) in [
        ("", "authorization violation"),
        ("me:wrong-word@", "authorization violation"),
        ("half:word@", "permissions violation"),
    ] {
        let output = load(&root, &format!("nats://{login}127.0.0.1:{port}"), &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word) && said.contains("somebody must act"), "{said}");
        assert!(!said.contains("wrong-word"), "{said}");
    }
    let to = format!("nats://me:right-word@127.0.0.1:{port}?jetstream=other&create=false");
    let output = load(&root, &to, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no JetStream stream `other`, and `create=false`"), "{said}");
    load_all(&root, &format!("nats://me:right-word@127.0.0.1:{port}?jetstream=other&subject=live.{{stream}}.v1"), &[]);
}
