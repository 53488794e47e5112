//! What a person is told: the real program, and those who are told on real sockets.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapline::cli::Cli;
use tapline::fs::Fs;
use tapline::simulator::quote::{Exchange, Quote};
use tapline::simulator::server::{Delivery, Reply, Request, Server as Http};
use tokio_util::sync::CancellationToken;

use crate::canary::{CANARIES, assert_silent, command, everything};
use crate::service::{fill, mount};
use crate::support::server::Server;
use crate::support::stuck_fs::StuckFs;
use crate::support::tap::{PATIENCE, Process, Tap, pause, wait_until};

/// Incidents within seconds.
const SOON: &str = "incidents: { name: web-3, after: 1s, ticks: 2, at_latest: 1s, store_after: 1s, over_after: 1s, disk_free: 1MiB }\n";

/// A webhook that keeps what it gets, and answers as it is told.
struct Hook {
    server: Http,
    answer: Arc<Mutex<Reply>>,
}

impl Hook {
    async fn start() -> Self {
        let answer = Arc::new(Mutex::new(Reply::new(200, "text/plain", "ok")));
        let now = Arc::clone(&answer);
        let server = Http::start(0, Arc::new(move |_: &Request| now.lock().unwrap().clone().into())).await.unwrap();
        Self { server, answer }
    }

    fn answers(&self, reply: Reply) {
        *self.answer.lock().unwrap() = reply;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    fn bodies(&self) -> Vec<Value> {
        self.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    /// What was told of this kind, as `event title`.
    fn said(&self) -> Vec<String> {
        self.bodies()
            .iter()
            .map(|body| format!("{} {}", body["event"].as_str().unwrap(), body["title"].as_str().unwrap()))
            .collect()
    }

    fn wait_for(&self, line: &str) {
        wait_until(&format!("{line}, of {:?}", self.said()), PATIENCE, || self.said().iter().any(|said| said == line));
    }
}

async fn exchange() -> Exchange {
    Quote::new().step(Duration::ZERO).start(0).await.unwrap()
}

fn index(exchange: &Exchange, more: &str) -> String {
    format!(
        "kind: scrape\nurl: {}\nevery: 100ms\nfields:\n  price: {{ css: span.red14px, type: number, locale: en-IN }}\n{more}",
        exchange.url("/")
    )
}

/// What `tapline alerts` says, and its exit code.
fn alerts(tap: &Tap, arguments: &[&str]) -> (String, Option<i32>) {
    let output = tap.command(&[&["alerts"], arguments].concat()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (said, output.status.code())
}

/// A program that a test calls with the message.
fn script(tap: &Tap, name: &str, text: &str) -> PathBuf {
    let path = tap.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A source breaks, its service is killed and started again, and it mends: two messages, one incident.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_breaks_is_told_once_and_its_end_once_over_a_kill() {
    let (exchange, hook) = (exchange().await, Hook::start().await);
    let tap = Tap::new();
    tap.source("bse", &index(&exchange, ""));
    tap.settings(&format!(
        "alerts: [{{ to: '{}', headers: {{ Authorization: 'Bearer t0k3n' }} }}]\n{SOON}",
        hook.url("/in?x=1")
    ));
    assert_eq!(alerts(&tap, &[]), ("no incident is open\n".to_owned(), Some(0)));
    let mut process = tap.run();
    tap.wait_for_lines("bse", 3);
    exchange.set_faults("100%:500".parse().unwrap());
    hook.wait_for("opened bse is broken");
    process.kill();
    let (said, code) = alerts(&tap, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("! broken bse, since ") && said.contains("http_status: upstream answered 500"), "{said}");
    let mut process = tap.run();
    pause(Duration::from_secs(4));
    let open: Value = serde_json::from_str(alerts(&tap, &["--json"]).0.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&open["kind"], &open["about"][0]["name"], &open["told"]),
        (&json!("broken"), &json!("bse"), &json!(true))
    );
    exchange.set_faults("0%:500".parse().unwrap());
    hook.wait_for("over bse is well again");
    wait_until("all is well", PATIENCE, || alerts(&tap, &[]).1 == Some(0));
    let (said, _) = alerts(&tap, &[]);
    assert!(said.contains("is told everything\nno incident is open"), "{said}");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());

    let bodies = hook.bodies();
    // A kill between the telling and its being noted may bring a message again, under its own id.
    let ids: BTreeSet<&str> = bodies.iter().map(|body| body["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{:?}", hook.said());
    let (opened, over) = (&bodies[0], bodies.last().unwrap());
    let keys: Vec<&str> = opened.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["shape", "id", "event", "kind", "incident", "at", "since", "until", "count", "about", "title", "text", "from"]
    );
    assert_eq!((&opened["shape"], &opened["kind"], &opened["count"]), (&json!(1), &json!("broken"), &json!(1)));
    assert_eq!((&opened["until"], &opened["from"]["name"]), (&Value::Null, &json!("web-3")));
    assert!(opened["text"].as_str().unwrap().contains("tapline try "), "{opened}");
    assert_eq!(opened["incident"], over["incident"]);
    assert!(over["since"].as_str().unwrap() < over["until"].as_str().unwrap(), "{over}");
    assert!(over["about"][0]["missed"].as_u64().unwrap() > 10, "{over}");
    let request = &hook.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/in?x=1"));
    assert_eq!(request.header("authorization"), Some("Bearer t0k3n"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("idempotency-key"), opened["id"].as_str());
    // What was told is on record.
    let entries: Vec<Value> = tap.ledger("_service").into_iter().filter(|entry| entry["type"] == "alert").collect();
    let said: Vec<&Value> = entries.iter().map(|entry| &entry["data"]["event"]).collect();
    assert_eq!(said, [&json!("opened"), &json!("over")], "{entries:?}");
    assert_eq!((&entries[0]["data"]["names"], &entries[0]["data"]["message"]), (&json!(["bse"]), &opened["id"]));
    assert!(!tap.log().contains("t0k3n"), "{}", tap.log());
}

/// Everything else that a person must act on: a page that changed, a file that cannot be read, a store that is gone; and who
/// wants to hear of one kind only hears of no other.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_comes_to_who_wants_it() {
    let (exchange, hook, only) = (exchange().await, Hook::start().await, Hook::start().await);
    let tap = Tap::new();
    tap.source("bse", &index(&exchange, "")).source("edited", &index(&exchange, ""));
    tap.settings(&format!(
        "alerts: [{{ to: '{}' }}, {{ to: '{}', name: layouts, only: [layout_changed] }}]\nloaders: [{{ to: 'redis://127.0.0.1:1/0', name: redis }}]\n{SOON}",
        hook.url("/"), only.url("/")
    ));
    let mut process = tap.run();
    tap.wait_for_lines("bse", 3);
    tap.source("edited", "kind: scrape\nurl: [\n");
    hook.wait_for("opened edited: its YAML cannot be read");
    hook.wait_for("opened loader redis: the store takes nothing");
    tap.remove("edited");
    exchange.set_faults("100%:layout".parse().unwrap());
    hook.wait_for("opened bse: the page has changed");
    exchange.set_faults("100%:block".parse().unwrap());
    pause(Duration::from_secs(3));
    exchange.set_faults("0%:500".parse().unwrap());
    hook.wait_for("over bse is well again");
    hook.wait_for("over edited: the YAML is in order");
    wait_until("the other has heard both", PATIENCE, || only.said().len() == 2);
    assert_eq!(only.said(), ["opened bse: the page has changed", "over bse is well again"]);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    // What turns from one kind into another is one incident.
    assert_eq!(hook.said().iter().filter(|said| said.contains("bse")).count(), 2, "{:?}", hook.said());
    let edited = hook.bodies().into_iter().find(|body| body["kind"] == "broken_file").unwrap();
    assert!(edited["about"][0]["why"].as_str().unwrap().contains("edited.yaml:"), "{edited}");
}

/// One that hangs, one that refuses, one that is not there, a program that never ends: nobody else waits for them, and each
/// is said once. When they are there again, they hear what they missed in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_destination_keeps_nobody() {
    let (exchange, good, hangs, busy) =
        (exchange().await, Hook::start().await, Hook::start().await, Hook::start().await);
    hangs.answers(Reply::new(200, "text/plain", "ok").delivered(Delivery::Never));
    busy.answers(Reply::new(503, "text/plain", "come \u{1b}[31m later").with("Retry-After", "1"));
    let tap = Tap::new();
    let calls =
        script(&tap, "calls", "cat >> \"$1\"; echo >> \"$1\"; env | grep ^TAPLINE_ALERT | sort >> \"$1.env\"\n");
    let sleeps = script(&tap, "sleeps", &format!("sleep 600 & echo $! >> {}; wait\n", tap.path("children").display()));
    let fails = script(&tap, "fails", "echo 'no credit left' >&2; exit 3\n");
    tap.source("bse", &index(&exchange, ""));
    tap.settings(&format!(
        "alerts:\n- {{ to: '{}' }}\n- {{ to: '{}', name: hangs, timeout: 1s }}\n- {{ to: 'slack+{}', name: busy }}\n- {{ to: 'command:{}', args: ['{}'] }}\n\
         - {{ to: 'command:{}', timeout: 1s }}\n- {{ to: 'command:{}' }}\n- {{ to: 'https://127.0.0.1:1/x', name: gone }}\n{SOON}",
        good.url("/"), hangs.url("/"), busy.url("/services/T0/B0/x"), calls.display(), tap.path("called").display(),
        sleeps.display(), fails.display()
    ));
    let mut process = tap.run();
    tap.wait_for_lines("bse", 3);
    exchange.set_faults("100%:500".parse().unwrap());
    good.wait_for("opened bse is broken");
    for name in ["hangs", "busy", "command-sleeps", "command-fails", "gone"] {
        wait_until(name, PATIENCE, || tap.log().contains(&format!("destination={name} ")));
    }
    // Each tries again and again meanwhile.
    wait_until("they are tried again", PATIENCE, || busy.requests().len() > 3 && hangs.requests().len() > 2);
    for _ in 0..3 {
        exchange.set_faults("0%:500".parse().unwrap());
        let before = good.said().len();
        wait_until("it is over", PATIENCE, || good.said().len() > before);
        exchange.set_faults("100%:500".parse().unwrap());
        wait_until("it is broken again", PATIENCE, || good.said().len() > before + 1);
    }
    busy.answers(Reply::new(200, "text/plain", "ok"));
    let told = || tap.log().contains("alerts arrive again");
    wait_until("it is reached", PATIENCE, told);
    let last = busy.bodies().last().unwrap()["text"].as_str().unwrap().to_owned();
    assert!(last.starts_with("*7 messages that could not be delivered before*\n"), "{last}");
    let (said, code) = alerts(&tap, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("! command-fails  command:") && said.contains("no credit left"), "{said}");
    assert!(said.contains("  busy  slack+http://127.0.0.1:") && !said.contains("services/T0"), "{said}");
    process.terminate();
    let log = tap.log();
    assert_eq!(log.matches("alerts do not arrive; they wait, and are tried again: ").count(), 5, "each once: {log}");
    // The program had the message, and its parts.
    let called = fs::read_to_string(tap.path("called")).unwrap();
    let first: Value = serde_json::from_str(called.lines().next().unwrap()).unwrap();
    assert_eq!(first, good.bodies()[0]);
    let environment = fs::read_to_string(tap.path("called.env")).unwrap();
    for line in [
        "TAPLINE_ALERT_EVENT=opened",
        "TAPLINE_ALERT_KIND=broken",
        "TAPLINE_ALERT_NAMES=bse",
        "TAPLINE_ALERT_TITLE=bse is broken",
    ] {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
    // What the program had started is gone with it.
    let children = fs::read_to_string(tap.path("children")).unwrap();
    wait_until("its children end", PATIENCE, || children.lines().all(|child| !is_running(child)));
    assert!(children.lines().count() > 1, "it was tried again");
}

/// Whether a process of that number sleeps on; one that is dead and not yet buried does not.
fn is_running(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/cmdline")).is_ok_and(|line| line.contains("sleep"))
}

/// A mail server of aiosmtpd, and what it got.
struct Mail {
    server: Server,
    dir: tempfile::TempDir,
}

impl Mail {
    fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, root) = (dir.path().join("mails"), Path::new(env!("CARGO_MANIFEST_DIR")).to_owned());
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let server = Server::start(move |_, port| {
            let mut command = Command::new(root.join("target/python/bin/python"));
            command.arg(root.join("tests/fixtures/alerts/smtp.py")).arg(port.to_string()).arg(&file).args(&arguments);
            command
        });
        Self { server, dir }
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("mails")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn mails(&self) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == "mail").collect()
    }
}

/// A certificate for loopback, and its key.
fn certificate(dir: &Path) -> (String, String) {
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl is installed; scripts/setup does it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert.display().to_string(), key.display().to_string())
}

fn mail_to(tap: &Tap, to: &str) -> (String, Option<i32>) {
    tap.settings(&format!("alerts: [{{ to: '{to}', from: tap@example.org, recipients: [me@example.org, you@example.org], timeout: 10s }}]\n{SOON}"));
    alerts(tap, &["--test"])
}

/// Mail goes over TLS and with a login, or not at all.
#[test]
fn mail_is_sent_over_tls_with_a_login_or_not_at_all() {
    let tap = Tap::new();
    let (cert, key) = certificate(&tap.path(""));
    let mail = Mail::start(&["--starttls", &cert, &key, "--auth", "me", "p@ss word"]);
    let port = mail.server.port();
    let (said, code) = mail_to(&tap, &format!("smtp://me:p%40ss%20word@127.0.0.1:{port}?tls=required&ca={cert}"));
    assert_eq!((said.as_str(), code), (&*format!("smtp-127-0-0-1-{port}  smtp://127.0.0.1:{port}  told\n"), Some(0)));
    let sent = &mail.mails()[0];
    assert_eq!(
        (&sent["tls"], &sent["login"], &sent["to"]),
        (&json!(true), &json!(true), &json!(["me@example.org", "you@example.org"]))
    );
    let text = sent["text"].as_str().unwrap();
    for header in [
        "From: tap@example.org",
        "To: me@example.org, you@example.org",
        "Subject: [tapline web-3] a test of tapline's alerts",
        "Auto-Submitted: auto-generated",
        "Message-ID: <a_",
    ] {
        assert!(text.lines().any(|line| line.starts_with(header)), "{header}: {text}");
    }
    // A wrong password, a certificate that nobody signed, a server that offers no TLS: nothing is sent.
    let (said, code) = mail_to(&tap, &format!("smtp://me:wrong@127.0.0.1:{port}?tls=required&ca={cert}"));
    assert!(code == Some(1) && said.contains("NOT TOLD: permanent error (535)") && !said.contains("wrong"), "{said}");
    let (said, code) = mail_to(&tap, &format!("smtp://me:p%40ss%20word@127.0.0.1:{port}?tls=required"));
    assert!(code == Some(1) && said.contains("certificate") && !said.contains("word"), "{said}");
    let plain = Mail::start(&[]);
    let (said, code) =
        mail_to(&tap, &format!("smtp://me:p%40ss%20word@127.0.0.1:{}?tls=required", plain.server.port()));
    assert!(code == Some(1) && said.contains("STARTTLS is not supported"), "{said}");
    assert!(plain.events().is_empty());
    assert_eq!(mail.mails().len(), 1);
    // On this machine it goes in the open; with `smtps:` in TLS from the start.
    assert_eq!(mail_to(&tap, &format!("smtp://127.0.0.1:{}", plain.server.port())).1, Some(0));
    assert_eq!(plain.mails()[0]["tls"], false);
    let tls = Mail::start(&["--smtps", &cert, &key]);
    let (said, code) = mail_to(&tap, &format!("smtps://127.0.0.1:{}?ca={cert}", tls.server.port()));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(tls.mails()[0]["tls"], true);
}

/// A server that is busy is asked again; one recipient whom it does not know keeps it from no other; and all of an incident
/// is one thread.
#[tokio::test(flavor = "multi_thread")]
async fn mail_reaches_whom_it_can_and_is_a_thread() {
    let exchange = exchange().await;
    let tap = Tap::new();
    let mail = Mail::start(&["--refuse", "gone@example.org", "--busy", "2"]);
    tap.source("bse", &index(&exchange, ""));
    tap.settings(&format!(
        "alerts: [{{ to: 'smtp://localhost:{}', from: 'tapline <tap@example.org>', recipients: [gone@example.org, me@example.org] }}]\n{SOON}",
        mail.server.port()
    ));
    let mut process = tap.run();
    tap.wait_for_lines("bse", 3);
    exchange.set_faults("100%:500".parse().unwrap());
    wait_until("the mail is there", PATIENCE, || mail.mails().len() == 1);
    exchange.set_faults("0%:500".parse().unwrap());
    wait_until("the other mail is there", PATIENCE, || mail.mails().len() == 2);
    assert_eq!(process.terminate().0, Some(0));
    let mails = mail.mails();
    assert!(mails.iter().all(|mail| mail["to"] == json!(["me@example.org"])), "{mails:?}");
    let header = |mail: &Value, name: &str| {
        mail["text"].as_str().unwrap().lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    assert_eq!(header(&mails[0], "Subject:"), "[tapline web-3] bse is broken");
    assert_eq!(header(&mails[1], "Subject:"), "[tapline web-3] bse is well again");
    assert_eq!(header(&mails[0], "References:"), header(&mails[1], "References:"));
    assert_ne!(header(&mails[0], "Message-ID:"), header(&mails[1], "Message-ID:"));
    assert_eq!(mail.events().iter().filter(|event| event["event"] == "busy").count(), 2);
    assert!(
        tap.log().contains("an alert did not reach everybody there: gone@example.org: permanent error (550)"),
        "{}",
        tap.log()
    );
}

/// The disk fills, and has room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_though_nothing_can_be_saved() {
    let (exchange, hook) = (exchange().await, Hook::start().await);
    let tap = Tap::new();
    let Some(_unmount) = mount(&tap) else { return };
    tap.source("bse", &index(&exchange, ""));
    let soon = SOON.replace("disk_free: 1MiB", "disk_free: 200KiB");
    fs::write(
        tap.path("tapline.yaml"),
        format!("limits: {{ disk_free: 1B }}\nalerts: [{{ to: '{}' }}]\n{soon}", hook.url("/")),
    )
    .unwrap();
    let mut process = tap.run();
    tap.wait_for_lines("bse", 6);
    let ballast = fill(&tap);
    hook.wait_for("opened the disk is full: nothing is collected");
    fs::remove_file(&ballast).unwrap();
    hook.wait_for("over there is room again: collecting goes on");
    let almost = tap.data().join("almost");
    fs::write(&almost, vec![0; 700_000]).unwrap();
    hook.wait_for("opened the disk is nearly full");
    fs::remove_file(&almost).unwrap();
    hook.wait_for("over the disk is not nearly full any more");
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    // The source that was skipped meanwhile is not what is broken.
    assert_eq!(hook.said().len(), 4, "{:?}", hook.said());
    let told: Vec<Value> = tap.ledger("_service").into_iter().filter(|entry| entry["type"] == "alert").collect();
    assert_eq!(told.len(), 4, "{told:?}");
}

/// The disk fails, which ends the process: its last words are that.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_by_itself_says_so_first() {
    let (exchange, hook) = (exchange().await, Hook::start().await);
    let tap = Tap::new();
    tap.source("bse", &index(&exchange, ""));
    tap.settings(&format!(
        "http: off\nalerts: [{{ to: '{}' }}, {{ to: 'http://127.0.0.1:1/', name: gone }}]\n{SOON}",
        hook.url("/")
    ));
    let path = |name: &str| tap.path(name).display().to_string();
    let arguments =
        ["tapline", "--config", &path("tapline.yaml"), "--sources", &path("sources"), "--data", &path("data"), "run"];
    let cli = <Cli as clap::Parser>::parse_from(arguments);
    let tapline::cli::Command::Run(run) = cli.command else { unreachable!("it was given") };
    let global = cli.global;
    let settings = tapline::commands::sources::load_service(&global).unwrap();
    let fs = StuckFs::default();
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    let failing = tokio::task::spawn_blocking(move || {
        tap.wait_for_lines("bse", 3);
        fs.fail();
        (tap, Instant::now())
    });
    let code = run.serve(disk, &global, settings, CancellationToken::new()).await.unwrap();
    let (_tap, began) = failing.await.unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(74)));
    assert_eq!(hook.said(), ["happened tapline has stopped"]);
    println!("one who cannot be reached kept it for {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
}

/// Committed lines that somebody has cut off.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_at_the_next_start() {
    let (exchange, hook) = (exchange().await, Hook::start().await);
    let tap = Tap::new();
    tap.source("bse", &index(&exchange, ""));
    tap.settings(&format!("alerts: [{{ to: '{}' }}]\n{SOON}", hook.url("/")));
    let mut process = tap.run();
    tap.wait_for_lines("bse", 6);
    process.terminate();
    let file = tap.files("bse").unwrap().pop().unwrap();
    let len = fs::metadata(&file).unwrap().len();
    fs::File::options().write(true).open(&file).unwrap().set_len(len - 10).unwrap();
    let mut process = tap.run();
    hook.wait_for("happened lines of bse are missing");
    process.terminate();
    assert_eq!(hook.said().len(), 1, "{:?}", hook.said());
}

#[test]
fn what_is_wrong_with_alerts_is_said_with_its_place() {
    let tap = Tap::new();
    let check = |yaml: &str| {
        tap.settings(yaml);
        let output = tap.command(&["check"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let folder = tap.path("tapline.yaml").display().to_string().replace("tapline.yaml", "");
        String::from_utf8(output.stderr).unwrap().replace(&folder, "")
    };
    let said = check(
        "alerts:\n  - { to: 'slak+https://h/x' }\n  - { to: 'smtp://h', from: nobody, recipients: [a@b.c] }\n  - { to: 'smtp://h' }\n\
         \x20 - { to: 'https://h/', recipients: [a@b.c] }\n  - { to: 'command:page-me' }\n  - { to: 'https://h/' }\n  - { to: 'https://h/', timeout: 1h }\n\
         \x20 - { to: 'https://g/', headers: { 'X Y': a }, timout: 1s }\nincidents: { per_hour: 1, at_latest: 1s, remind_every: 1m }\n",
    );
    insta::assert_snapshot!(said, @r"
    tapline.yaml:3:7: alerts.0.to: nobody is told by an address that begins so; did you mean `slack+https:`?
    tapline.yaml:4:23: alerts.1.from: `nobody` is no e-mail address
    tapline.yaml:5:5: alerts.2.from: the key is missing; it is the sender's address, such as tap@example.org
    tapline.yaml:6:25: alerts.3.recipients: a destination of the kind `webhook` has no `recipients`; leave the key out
    tapline.yaml:7:7: alerts.4.to: write the whole path of the program, as in `command:/usr/local/bin/page-me`; what it is called with goes into `args`
    tapline.yaml:9:5: alerts.6.name: there is a destination `webhook-h` already; give this one a `name` of its own
    tapline.yaml:9:25: alerts.6.timeout: from 1ms to 10m is possible
    tapline.yaml:10:25: alerts.7.headers: `X Y` is no name of a header
    tapline.yaml:10:48: alerts.7.timout: unknown key; did you mean `timeout`?
    tapline.yaml:11:14: incidents.per_hour: 1 is too small; at least 3
    tapline.yaml:11:27: incidents.at_latest: 1s is less than `after`, which is 5m
    tapline.yaml:11:42: incidents.remind_every: at least 1h: it is for what goes on for days
    ");
    let said = check("alerts: [{ to: 'https://h/', only: [brokn] }]\nincidents: { afte: 5m, disk_free: lots }\n");
    insta::assert_snapshot!(said, @r"
    tapline.yaml:2:37: alerts.0.only.0: `brokn` is not known here; allowed: disk_full, stopped, damage, disk_nearly_full, loader_parked, refused, layout_changed, blocked, broken, stalled, store_down, loader_behind, broken_file, over_budget, field_gone; did you mean `broken`?
    tapline.yaml:3:14: incidents.afte: unknown key; did you mean `after`?
    ");
    tap.settings("");
    let (said, code) = alerts(&tap, &["--test"]);
    assert!(said.starts_with("nobody is told: declare `alerts:` in ") && code == Some(1), "{said}");
}

/// Secrets in every place of `alerts:`, by reference and as they are: none comes out, while nothing arrives and while
/// everything does.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_destination_comes_out_nowhere() {
    let (exchange, hook) = (exchange().await, Hook::start().await);
    let tap = Tap::new();
    let inline = ["in1ine5ecret", "in1ine0ther"];
    let fails = script(&tap, "fails", "echo \"not with $1\" >&2; exit 1\n");
    let gone = "127.0.0.1:1";
    tap.source("bse", &index(&exchange, "").replace("/\n", "/?key=${CANARY_0}\n"));
    tap.settings(&format!(
        "alerts:\n- {{ to: '{good}', headers: {{ X-Key: \"${{CANARY_0}}\" }}, name: good }}\n- {{ to: 'https://u:${{CANARY_0}}@{gone}/${{CANARY_0}}?k=${{CANARY_0}}', name: a }}\n\
         - {{ to: 'slack+https://{gone}/services/${{CANARY_0}}', name: b }}\n- {{ to: 'smtp://u:${{CANARY_0}}@{gone}?tls=none', from: a@b.cd, recipients: [c@d.ef], name: c }}\n\
         - {{ to: 'command:{}', args: [\"${{CANARY_1}}\"], name: d }}\n- {{ to: 'https://u:{}@{gone}/{}?k={}', headers: {{ A: {} }}, name: e }}\n\
         - {{ to: 'smtp://u:{}@{gone}?tls=none', from: a@b.cd, recipients: [c@d.ef], name: f }}\nhttp: off\n{SOON}",
        fails.display(), inline[0], inline[1], inline[0], inline[1], inline[0], good = hook.url("/")
    ));
    let log = fs::File::options().create(true).append(true).open(tap.path("log")).unwrap();
    let mut run = command(&tap, &["run"]);
    run.env("TAPLINE_LOG", "debug").stdout(Stdio::null()).stderr(log);
    let mut process = Process(run.spawn().unwrap());
    tap.wait_for_lines("bse", 3);
    exchange.set_faults("100%:reset".parse().unwrap());
    hook.wait_for("opened bse is broken");
    for name in ["a", "b", "c", "d", "e", "f"] {
        wait_until(name, PATIENCE, || tap.log().contains(&format!("destination={name} ")));
    }
    let mut shown = String::new();
    for arguments in [
        &["alerts"][..],
        &["alerts", "--json"],
        &["alerts", "--test"],
        &["alerts", "--test", "--json"],
        &["check"],
        &["status"],
    ] {
        let output = command(&tap, arguments).output().unwrap();
        shown += &String::from_utf8(output.stdout).unwrap();
        shown += &String::from_utf8(output.stderr).unwrap();
    }
    process.terminate();
    let bodies: String =
        hook.requests().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    for (what, text) in [
        ("the log", tap.log()),
        ("what commands say", shown),
        ("messages", bodies),
        ("the data", everything(&tap.data())),
    ] {
        assert_silent(what, &text);
        for secret in inline {
            assert!(!text.contains(secret), "{what} has {secret}: {text}");
        }
    }
    assert_eq!(hook.requests()[0].header("x-key"), Some(CANARIES[0]), "where it belongs it is");
}
