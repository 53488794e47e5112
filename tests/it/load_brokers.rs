//! Brokers, the real ones: mosquitto and `RabbitMQ`. They keep nothing that could be asked for, so what is shown is that
//! nothing is lost, and that what comes twice is no more than a batch for each kill.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::relay::Relay;
use crate::support::server::{Server, kill_soon, stop_soon};
use crate::support::tap::{PATIENCE, Process, wait_until};

const BATCH: usize = 100;

/// Each line is one of the pile's, none is missing, and so many are there more than once.
fn check(found: &str, pile: &Pile) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in found.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let text = pile.text();
    let all: BTreeSet<&str> = text.lines().collect();
    let lost = all.iter().filter(|line| !counts.contains_key(**line)).count();
    assert_eq!(lost, 0, "of {}", all.len());
    assert!(counts.keys().all(|line| all.contains(line)), "nothing else is there");
    counts.values().map(|count| count - 1).sum()
}

fn mosquitto(more: &'static str) -> Server {
    Server::start(move |dir, port| {
        let config = format!(
            "user root\nlistener {port} 127.0.0.1\npersistence true\npersistence_location {}/\nmax_queued_messages 1000000\n{more}\n",
            dir.display()
        );
        std::fs::write(dir.join("conf"), config).unwrap();
        let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let mut command = Command::new(program);
        command.arg("-c").arg(dir.join("conf"));
        command
    })
}

/// Somebody who listens on a topic in a session that outlives its connections.
fn subscriber(server: &Server, to: &Path) -> Process {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-p", &server.port().to_string(), "-h", "127.0.0.1", "-V", "mqttv5", "-x", "3600"]);
    command.args(["-c", "-i", "listener", "-q", "1", "-t", "live/#"]);
    let child: Child = command.stdin(Stdio::null()).stdout(File::create(to).unwrap()).spawn().unwrap();
    Process(child)
}

#[test]
fn mqtt_killed_a_hundred_times_and_the_broker_restarted_nothing_is_lost() {
    let broker = Arc::new(Mutex::new(mosquitto("allow_anonymous true")));
    let dir = tempfile::tempdir().unwrap();
    let (root, heard) = (dir.path().join("data"), dir.path().join("heard"));
    let mut relay = Relay::start(&format!("127.0.0.1:{}", broker.lock().unwrap().port()));
    let to = format!("mqtt://{}?topic=live/{{stream}}", relay.address());
    let listener = subscriber(&broker.lock().unwrap(), &heard);
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    // The subscription must stand before anything is published.
    let mut pile = Pile::new(&root, "pile");
    let probe = dir.path().join("probe");
    Pile::new(&probe, "probe").add(1);
    wait_until("the listener hears", PATIENCE, || {
        load_all(&probe, &to, &["--name", &format!("probe-{}", number())]);
        std::fs::read_to_string(&heard).unwrap().contains("\"probe\"")
    });
    let mut restarting: Option<std::thread::JoinHandle<()>> = None;
    let found = killed(&mut pile, &to, &["--batch-records", &BATCH.to_string()], kills, each, |round| {
        if let Some(before) = restarting.take() {
            before.join().unwrap();
        }
        // Mosquitto keeps what it has when it is told to end; killed, it forgets what it had acknowledged.
        if round % 20 == 0 {
            restarting = Some(stop_soon(&broker, Duration::from_millis(round as u64 % 17)));
        } else {
            relay.each_time(round);
        }
    });
    println!("{found:?}, {} kills of the other side", relay.kills());
    assert!(relay.kills() * 10 > kills, "{}: most runs in which it is to be killed have to do with it", relay.kills());
    let of_pile = || -> String {
        let text = std::fs::read_to_string(&heard).unwrap();
        text.lines().filter(|line| !line.contains("\"probe\"")).map(|line| format!("{line}\n")).collect()
    };
    wait_until("all is heard", PATIENCE, || of_pile().lines().collect::<BTreeSet<_>>().len() >= pile.len());
    let twice = check(&of_pile(), &pile);
    println!("{twice} of {} came twice", pile.len());
    assert!(twice <= (kills + kills / 5 + 10) * BATCH, "{twice} came twice: more than a batch for each kill");
    drop(listener);
}

/// A number that was not there yet.
fn number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn mqtt_refusals_park_and_what_is_too_long_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    std::fs::write(&acl, "topic write live/pile\n").unwrap();
    // A leak for the sake of a plain function pointer.
    let more: &'static str =
        Box::leak(format!("allow_anonymous true\nacl_file {}\nmax_packet_size 4000", acl.display()).into_boxed_str());
    let broker = mosquitto(more);
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add(50);
    pile.add_data([format!("\"{}\"", "x".repeat(5_000))]);
    let output = load(&root, &format!("mqtt://127.0.0.1:{}?topic=other", broker.port()), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("refuses to publish on other: NotAuthorized") && said.contains("somebody must act"),
        "{said}"
    );
    let to = format!("mqtt://127.0.0.1:{}?topic=live/{{stream}}&qos=2", broker.port());
    let output = load(&root, &to, &["--name", "again"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("50 records loaded, 1 could not be stored"), "{said}");
    let closed = mosquitto("allow_anonymous false");
    let to = format!("mqtt://me:secret-word@127.0.0.1:{}", closed.port());
    let output = load(&root, &to, &["--name", "third"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("somebody must act") && !said.contains("secret-word"), "{said}");
}

/// A broker, and the daemon of Erlang by which its parts find each other, on ports of their own.
struct Rabbit {
    broker: Arc<Mutex<Server>>,
    _names: Server,
}

impl Rabbit {
    fn start() -> Self {
        let names = Server::start(|_, port| {
            let mut command = Command::new("epmd");
            command.args(["-port", &port.to_string()]);
            command
        });
        let (of_names, of_parts) =
            (names.port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let broker = Server::start(move |dir, port| {
            // The script itself, not what wraps it, which would become another user; and without a shell of Erlang.
            let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
            command.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_SERVER_START_ARGS", "-noinput");
            command.env("ERL_EPMD_PORT", of_names.to_string()).env("HOME", dir);
            command.env("RABBITMQ_NODENAME", format!("tapline-{of_parts}@localhost"));
            command.env("RABBITMQ_MNESIA_BASE", dir.join("db")).env("RABBITMQ_LOG_BASE", dir.join("logs"));
            command.env("RABBITMQ_NODE_PORT", port.to_string()).env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
            command.env("RABBITMQ_DIST_PORT", of_parts.to_string());
            command.env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"));
            command.env("RABBITMQ_CONFIG_FILE", dir.join("conf"));
            command
        });
        Self { broker: Arc::new(Mutex::new(broker)), _names: names }
    }

    fn url(&self, login: &str, rest: &str) -> String {
        format!("amqp://{login}127.0.0.1:{}{rest}", self.broker.lock().unwrap().port())
    }
}

/// Every message of a queue, as a client sees it that nobody here wrote.
fn drained(url: &str, queue: &str) -> String {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let script = here.join("tests/fixtures/pika/drain.py");
    let output = Command::new(here.join("target/python/bin/python")).arg(script).args([url, queue]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rabbitmq_killed_in_mid_load_loses_nothing_and_refusals_park() {
    let rabbit = Rabbit::start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut relay = Relay::start(&format!("127.0.0.1:{}", rabbit.broker.lock().unwrap().port()));
    let to = format!("amqp://{}?key=live.{{stream}}", relay.address());
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let mut restarting: Option<std::thread::JoinHandle<()>> = None;
    let found = killed(&mut pile, &to, &["--batch-records", &BATCH.to_string()], kills, each, |round| {
        // It takes ten seconds to be there again, so it is not killed as often as others are; its connections are.
        if round % 25 == 24 {
            restarting = Some(kill_soon(&rabbit.broker, Duration::from_millis(round as u64 % 17)));
        } else {
            if let Some(before) = restarting.take() {
                before.join().unwrap();
            }
            relay.each_time(round);
        }
    });
    println!("{found:?}, {} kills of the other side", relay.kills());
    assert!(relay.kills() * 10 > kills, "{}: most runs in which it is to be killed have to do with it", relay.kills());
    let twice = check(&drained(&rabbit.url("", ""), "live.pile"), &pile);
    println!("{twice} of {} came twice", pile.len());
    assert!(twice <= (kills + kills / 5 + 10) * BATCH, "{twice} came twice: more than a batch for each kill");

    for (to, word) in [
        (rabbit.url("", "?exchange=nobody&create=false"), "NOT_FOUND"),
        (rabbit.url("", "?exchange=amq.topic&key=nobody.{stream}"), "no queue takes the key nobody.pile of amq.topic"),
        (rabbit.url("", "/nowhere"), "NOT_ALLOWED - vhost nowhere not found"),
    ] {
        let output = load(&root, &to, &["--name", &format!("refused-{}", number())]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{to}: {said}");
        assert!(said.contains(word) && said.contains("somebody must act"), "{to}: {said}");
    }
    // A wrong login looks like a connection that broke, so it is tried again; what it may be is said.
    let said = dir.path().join("said");
    let to = rabbit.url("guest:wrong-word@", "");
    let child = load(&root, &to, &["--name", "login"]).stderr(File::create(&said).unwrap()).spawn().unwrap();
    let process = Process(child);
    let said = || std::fs::read_to_string(&said).unwrap();
    wait_until("it is said", PATIENCE, || said().contains("perhaps user or password is wrong"));
    assert!(!said().contains("wrong-word"), "{}", said());
    drop(process);
}
