//! `tapline doctor` as its user meets it: real folders, servers, certificates and limits, and what it says of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tapline::simulator::quote::{Exchange, Quote};

use crate::support::nginx::Nginx;
use crate::support::server::Server;
use crate::support::tap::{PATIENCE, Tap, wait_until};

/// A tapline on a disk: temporary files may be in memory, whose syncs are none.
struct Patient {
    tap: Tap,
    _dir: tempfile::TempDir,
}

impl Patient {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(dir.path().join("sources")).unwrap();
        let tap = Tap::at(dir.path().to_owned());
        tap.settings("http: off\n");
        Self { tap, _dir: dir }
    }

    fn source(&self, name: &str, url: &str) -> &Self {
        self.tap.source(name, &format!("kind: scrape\nurl: {url}\nevery: 100ms\nfields: {{ price: span.red14px }}\n"));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.tap.command(&["doctor", "--json"]);
        command.args(arguments);
        // What the machine of the test has set is not looked at.
        for proxy in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(proxy);
        }
        command
    }

    fn examine(&self, arguments: &[&str]) -> Findings {
        Findings::of(self.command(arguments).output().unwrap())
    }
}

/// What was found.
#[derive(Debug)]
struct Findings {
    code: Option<i32>,
    lines: Vec<Value>,
}

impl Findings {
    fn of(output: Output) -> Self {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let bad = lines.iter().any(|line| line["level"] == "bad");
        assert_eq!(output.status.code(), Some(i32::from(bad)), "1 means that something is bad: {text}");
        for line in &lines {
            assert!(line["level"] == "ok" || line["todo"].is_string(), "what is not well has something to do: {line}");
        }
        Self { code: output.status.code(), lines }
    }

    /// The findings of a check, as `level: words`.
    fn check(&self, check: &str) -> Vec<String> {
        let of_check = self.lines.iter().filter(|line| line["check"] == check);
        of_check
            .map(|line| format!("{}: {}", line["level"].as_str().unwrap(), line["words"].as_str().unwrap()))
            .collect()
    }

    fn has(&self, check: &str, begin: &str, part: &str) -> bool {
        self.check(check).iter().any(|finding| finding.starts_with(begin) && finding.contains(part))
    }

    #[track_caller]
    fn assert(&self, check: &str, begin: &str, part: &str) {
        assert!(self.has(check, begin, part), "{check}: `{begin}…{part}…` is not among {:#?}", self.check(check));
    }
}

async fn exchange() -> Exchange {
    Quote::new().step(Duration::ZERO).start(0).await.unwrap()
}

/// What is left in a folder after what was tried in it.
fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_folder_before_and_while_a_service_runs() {
    let exchange = exchange().await;
    let patient = Patient::new();
    let store = patient.tap.path("out.db");
    patient.tap.settings(&format!("http: off\nloaders: [{{ name: out, to: 'sqlite:{}' }}]\n", store.display()));
    patient.source("index", &exchange.url("/")).source("stocks", &exchange.url("/stocks"));
    let before = names(&patient.tap.path(""));
    let found = patient.examine(&[]);
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert_eq!(names(&patient.tap.path("")), before, "nothing was made, and nothing is left");
    found.assert("data", "ok: ", "holds no data of tapline yet");
    found.assert("permissions", "ok: ", "where the data folder would be made, can be read and written");

    let mut process = patient.tap.start();
    patient.tap.wait_for_lines("index", 5);
    let connected = "ok: out: the service is connected to sqlite:";
    wait_until("its loader loads", PATIENCE, || patient.examine(&["--only", "loaders"]).has("loaders", connected, ""));
    let found = patient.examine(&[]);
    assert_eq!(found.code, Some(0), "{found:#?}");
    let checks: BTreeSet<&str> = found.lines.iter().map(|line| line["check"].as_str().unwrap()).collect();
    let all = [
        "abilities",
        "clock",
        "data",
        "disk",
        "files",
        "limits",
        "loaders",
        "memory",
        "page",
        "permissions",
        "sources",
        "syncs",
        "versions",
        "zones",
    ];
    assert_eq!(checks, all.into());
    found.assert("data", "ok: ", &format!("process {} writes it since", process.0.id()));
    found.assert("data", "ok: ", "data format 1, last written by tapline");
    found.assert("data", "ok: ", "every stream ends where it was committed");
    found.assert("sources", "ok: 127.0.0.1:", "(index, stocks): reached over IPv4 in ");
    found.assert("syncs", "ok: a sync takes ", "99 in 100 took no more than");
    found.assert("limits", "ok: the service may have ", " open; 2 sources may want ");
    found.assert("abilities", "ok: tried and well: appending and cutting", "");
    assert!(process.is_running(), "{}", patient.tap.log());
    assert!(!names(&patient.tap.data()).iter().any(|name| name.starts_with(".doctor")), "nothing is left");
    patient.tap.wait_for_lines("index", patient.tap.count("index") + 3);
    assert_eq!(process.terminate().0, Some(0));
    patient.examine(&["--only", "data"]).assert("data", "ok: ", "nobody writes it just now");
}

#[test]
fn only_what_is_asked_for_is_looked_at() {
    let patient = Patient::new();
    patient.source("nobody", "http://127.0.0.1:9/");
    let found = patient.examine(&["--only", "versions,zones"]);
    let checks: Vec<&str> = found.lines.iter().map(|line| line["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["versions", "zones"]);
    assert_eq!(patient.examine(&["--only", "sources"]).code, Some(1));
    assert_eq!(patient.examine(&["--only", "sources", "--offline"]).lines.len(), 0);
    let wrong = patient.tap.command(&["doctor", "--only", "disks"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("similar value exists: 'disk'"));
}

/// For people: one line a finding, what to do below it, and a sum.
#[test]
fn the_words_for_people() {
    let patient = Patient::new();
    patient.source("nobody", "http://127.0.0.1:9/");
    patient.tap.source("broken", "kind: scrape\nurl: http://127.0.0.1:9/\nevery: 1s\nfeilds: { a: b }\n");
    let output = patient.tap.command(&["doctor", "--only", "files,data,page,sources,loaders"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap().replace(patient.tap.path("").to_str().unwrap(), "/");
    insta::assert_snapshot!(text, @"
        ok    files        /tapline.yaml is in order
        bad   files        /sources/broken.yaml:4:1: feilds: unknown key; did you mean `fields`?
                           do: mend the file; it is taken up within two seconds, and until then its last good version runs
        ok    data         /data holds no data of tapline yet
        ok    page         there is no page (`http: off`)
        bad   sources      127.0.0.1:9 (nobody): there is no connection: IPv4 127.0.0.1: Connection refused (os error 111)
                           do: see that the host and the port are right, and what stands between (a firewall, a network of a container)
        ok    loaders      there are no loaders
        4 ok, 0 to look at, 2 bad
    ");
}

/// As another user: what root may not be told is that it may not.
#[test]
fn a_folder_that_cannot_be_written() {
    let patient = Patient::new();
    patient.source("nobody", "http://127.0.0.1:9/");
    let data = patient.tap.data();
    fs::create_dir(&data).unwrap();
    fs::create_dir(data.join(".tapline")).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let mut command = patient.command(&["--offline"]);
    let copied = tempfile::tempdir().unwrap();
    if is_root {
        // Nobody may enter the folder of the build, so the program and the folder are where they may.
        let program = copied.path().join("tapline");
        fs::copy(env!("CARGO_BIN_EXE_tapline"), &program).unwrap();
        let moved = copied.path().join("patient");
        let status = Command::new("cp").arg("-r").args([patient.tap.path(""), moved.clone()]).status().unwrap();
        assert!(status.success());
        for path in [copied.path().to_owned(), program.clone(), moved.clone(), moved.join("sources")] {
            mode(&path, 0o755);
        }
        mode(&moved.join("data"), 0o755);
        let tap = Tap::at(moved);
        let mut other = Command::new(program);
        other.args(tap.command(&["doctor", "--json", "--offline"]).get_args()).uid(65_534).gid(65_534);
        command = other;
    } else {
        mode(&data, 0o555);
    }
    let found = Findings::of(command.output().unwrap());
    if !is_root {
        mode(&data, 0o755);
    }
    assert_eq!(found.code, Some(1));
    found.assert("permissions", "bad: the data folder ", "cannot be read and written by this user");
    found.assert("abilities", "bad: nothing can be made in the data folder", "Permission denied");
    found.assert("syncs", "bad: nothing can be written and synced in", "Permission denied");
}

/// Under eatmydata no sync does anything: said by its name, and by how quick it is.
#[test]
fn a_disk_that_lies() {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("libeatmydata.so"));
    let liar = folders.into_iter().find(|path| path.exists()).expect("scripts/setup installs libeatmydata1");
    let patient = Patient::new();
    let found = Findings::of(patient.command(&["--only", "syncs"]).env("LD_PRELOAD", liar).output().unwrap());
    assert_eq!(found.code, Some(1));
    found.assert("syncs", "bad: ", "runs under eatmydata: no sync does anything");
    found.assert("syncs", "bad: a sync takes ", "no disk was asked");
    assert_eq!(patient.examine(&["--only", "syncs"]).code, Some(0));
}

/// An authority of the test's own, in a folder.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = "[ca]\ndefault_ca = d\n[d]\nnew_certs_dir = .\ndatabase = index\nserial = serial\ndefault_md = sha256\n\
                      policy = p\nunique_subject = no\ncopy_extensions = copy\n[p]\ncommonName = optional\n";
        fs::write(dir.path().join("config"), config).unwrap();
        fs::write(dir.path().join("index"), "").unwrap();
        fs::write(dir.path().join("serial"), "01\n").unwrap();
        let authority = Self(dir);
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=authority of a test",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ]);
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output();
        let output = output.expect("openssl is installed; scripts/setup does it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server whose certificate is for these names, and ends then.
    fn server(&self, name: &str, names: &str, end: &str) -> Nginx {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        self.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &request,
            "-addext",
            &format!("subjectAltName={names}"),
        ]);
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "config",
            "-cert",
            "ca.pem",
            "-keyfile",
            "ca.key",
            "-startdate",
            "20200101000000Z",
            "-enddate",
            end,
            "-in",
            &request,
            "-out",
            &certificate,
        ]);
        let tls = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            self.path(&certificate).display(),
            self.path(&key).display()
        );
        Nginx::start_on("ssl", &[("index.html", b"<p>hello</p>")], &tls)
    }
}

#[test]
fn certificates_are_told_apart() {
    let authority = Authority::new();
    let good = authority.server("good", "IP:127.0.0.1,DNS:localhost", "20491231235959Z");
    let expired = authority.server("expired", "IP:127.0.0.1", "20200201000000Z");
    let other = authority.server("other", "DNS:example.com,DNS:www.example.com", "20491231235959Z");
    let patient = Patient::new();
    for (name, server) in [("good", &good), ("expired", &expired), ("other", &other)] {
        patient.source(name, &format!("https://127.0.0.1:{}/", server.port()));
    }
    // A port at which something else is spoken.
    let plain = Nginx::start(&[("index.html", b"<p>hello</p>")], "");
    patient.source("plain", &format!("https://127.0.0.1:{}/", plain.port()));
    let look = |trusted: &Path| {
        Findings::of(patient.command(&["--only", "sources"]).env("SSL_CERT_FILE", trusted).output().unwrap())
    };
    let found = look(&authority.path("ca.pem"));
    assert_eq!(found.code, Some(1));
    let place = |server: &Nginx, name: &str| format!("127.0.0.1:{} ({name}): ", server.port());
    let ok = format!("ok: {}reached over IPv4", place(&good, "good"));
    found.assert("sources", &ok, "; certificate for 127.0.0.1, localhost until 2049-12-31");
    found.assert("sources", &format!("bad: {}", place(&expired, "expired")), "its certificate has expired 2020-02-01");
    let wrong = "its certificate is for example.com, www.example.com, and not for 127.0.0.1";
    found.assert("sources", &format!("bad: {}", place(&other, "other")), wrong);
    found.assert("sources", &format!("bad: {}", place(&plain, "plain")), "TLS fails: ");
    // Somebody who trusts another authority trusts none of them.
    let found = look(&authority.path("good.pem"));
    found.assert("sources", &format!("bad: {}", place(&good, "good")), "signed by nobody whom this machine trusts");
    assert_eq!(good.log_of(1).len(), 1, "the head of one file was asked for, once it was trusted");
    assert!(good.log()[0].contains(" /robots.txt "), "{:?}", good.log());
}

#[test]
fn names_and_ports_that_lead_nowhere() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    let patient = Patient::new();
    patient
        .source("typo", "https://nowhere.invalid/page")
        .source("down", &format!("http://127.0.0.1:{closed}/?key=hush-hush"));
    patient.tap.source("off", "kind: scrape\nenabled: false\nurl: http://127.0.0.1:9/\nevery: 1s\nfields: { a: b }\n");
    let found = patient.examine(&["--only", "sources"]);
    found.assert("sources", "bad: nowhere.invalid:443 (typo): the name is not found: ", "");
    found.assert(
        "sources",
        &format!("bad: 127.0.0.1:{closed} (down): there is no connection: IPv4 127.0.0.1: Connection refused"),
        "",
    );
    assert_eq!(found.lines.len(), 2, "one that is disabled is not looked at: {found:#?}");
    assert!(!format!("{found:?}").contains("hush-hush"));
}

#[test]
fn stores_that_are_there_and_that_refuse() {
    let redis = Server::start(|dir, port| {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--requirepass",
            "the-right-word",
        ]);
        command.args(["--dir", dir.to_str().unwrap()]);
        command
    });
    let nginx = Nginx::start(&[], "");
    let patient = Patient::new();
    let port = redis.port();
    patient.tap.settings(&format!(
        "http: off\nloaders:\n  - {{ name: good, to: 'redis://:${{RIGHT}}@127.0.0.1:{port}' }}\n  \
         - {{ name: refused, to: 'redis://:${{WRONG}}@127.0.0.1:{port}/1' }}\n  - {{ name: away, to: 'postgres://me:${{WRONG}}@127.0.0.1:9/live' }}\n  \
         - {{ name: hook, to: 'http://127.0.0.1:{}/hook?token=hush-hush-token' }}\n  - {{ name: file, to: 'sqlite:{}' }}\n",
        nginx.port(),
        patient.tap.path("new.db").display()
    ));
    let mut command = patient.command(&["--only", "loaders,files"]);
    let output = command.env("RIGHT", "the-right-word").env("WRONG", "a-wrong-word").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = Findings::of(output);
    found.assert("loaders", &format!("ok: good: redis at redis://127.0.0.1:{port} answers"), "");
    found.assert("loaders", "bad: refused: it refuses: ", "");
    found.assert("loaders", "bad: away: it is not reached: ", "refused");
    found.assert("loaders", "ok: file: sqlite at ", "");
    found.assert("loaders", &format!("ok: 127.0.0.1:{} (hook): reached", nginx.port()), "");
    assert!(!patient.tap.path("new.db").exists(), "a store that is looked at is not made");
    for secret in ["the-right-word", "a-wrong-word", "hush-hush-token"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// S3, as `moto` has it: connecting is nothing there, so the first object is asked for.
#[test]
fn a_bucket_that_is_there_and_one_that_is_not() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin");
    let moto = python.join("moto_server");
    let server = Server::start(move |_, port| {
        let mut command = Command::new(&moto);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/boto3/bucket.py");
    let made = Command::new(python.join("python")).arg(script).args(["make", &endpoint, "there", ""]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let patient = Patient::new();
    let to = |bucket: &str| format!("s3://key:hush-hush@{bucket}/live?endpoint={endpoint}");
    patient.tap.settings(&format!(
        "http: off\nloaders: [{{ name: good, to: '{}' }}, {{ name: gone, to: '{}' }}]\n",
        to("there"),
        to("not-there")
    ));
    let found = patient.examine(&["--only", "loaders"]);
    found.assert("loaders", "ok: good: s3 at s3://there/live", "answers");
    found.assert("loaders", "bad: gone: it refuses: ", "NoSuchBucket");
    assert!(!format!("{found:?}").contains("hush-hush"));
}

#[test]
fn few_files_for_many_sources() {
    let patient = Patient::new();
    for number in 0..20 {
        patient.source(&format!("s{number}"), "http://127.0.0.1:9/");
    }
    let limited = |most: &str| {
        let command = patient.command(&["--only", "limits"]);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
            .arg(command.get_program())
            .args(command.get_args());
        Findings::of(limited.output().unwrap())
    };
    let found = limited("64");
    assert_eq!(found.code, Some(1));
    found.assert("limits", "bad: a process of this user may have 64 files open; 20 sources may want ", "");
    assert_eq!(limited("1000").code, Some(0));
}

#[test]
fn secrets_that_everybody_reads() {
    let patient = Patient::new();
    let (open, closed) = (patient.tap.path("open"), patient.tap.path("closed"));
    for (file, mode) in [(&open, 0o644), (&closed, 0o600)] {
        fs::write(file, "a-secret-word\n").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let yaml = |file: &Path| {
        format!(
            "kind: scrape\nurl: http://127.0.0.1:9/\nevery: 1s\nheaders: {{ Authorization: '${{file:{}}}' }}\nfields: {{ a: b }}\n",
            file.display()
        )
    };
    patient.tap.source("closed", &yaml(&closed));
    let found = patient.examine(&["--only", "permissions"]);
    found.assert("permissions", "ok: 1 file with secrets can be read by whom it is for", "");
    patient.tap.source("open", &yaml(&open));
    patient.tap.source("gone", &yaml(&patient.tap.path("no-such-file")));
    let found = patient.examine(&["--only", "permissions"]);
    if !Path::new("/.dockerenv").exists() {
        found.assert(
            "permissions",
            &format!("warn: the secret in {} can be read by everybody", open.display()),
            "(mode 644)",
        );
    }
    found.assert("permissions", "bad: the secret in ", "no-such-file is not there");
    assert!(!format!("{found:?}").contains("a-secret-word"));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_somebody_has_changed() {
    let exchange = exchange().await;
    let patient = Patient::new();
    patient.tap.settings("http: off\nrotate: { size: 4KiB, every: 1h }\ncompress: off\n");
    patient.source("index", &exchange.url("/"));
    let mut process = patient.tap.start();
    patient.tap.wait_for_lines("index", 100);
    assert_eq!(process.terminate().0, Some(0));
    let files = patient.tap.files("index").unwrap();
    assert!(files.len() >= 3, "{files:?}");
    assert_eq!(patient.examine(&["--only", "data"]).code, Some(0));
    fs::remove_file(&files[0]).unwrap();
    let found = patient.examine(&["--only", "data"]);
    assert_eq!(found.code, Some(0), "what is gone was closed: it is a warning");
    found.assert("data", "warn: segments are not there that `retain:` has not deleted: of index (1)", "");
    let active = files.last().unwrap();
    let text = fs::read(active).unwrap();
    fs::write(active, &text[..text.len() - 10]).unwrap();
    let found = patient.examine(&["--only", "data"]);
    let number = files.len();
    found.assert(
        "data",
        &format!(
            "bad: the segment {number} of the stream index has {} bytes, and {} were committed",
            text.len() - 10,
            text.len()
        ),
        "",
    );
    // The next start recovers, and the ledger remembers.
    let mut process = patient.tap.start();
    patient.tap.wait_for_lines("index", patient.tap.count("index") + 5);
    assert_eq!(process.terminate().0, Some(0));
    let found = patient.examine(&["--only", "data"]);
    found.assert(
        "data",
        "warn: the ledger says that committed lines were missing, 1 time in the last 30 days",
        "\"stream\":\"index\"",
    );
    let stamp = patient.tap.data().join(".tapline/format.json");
    let later = "{\"format\":9,\"tapline\":\"7.0.0\"";
    fs::write(&stamp, format!("{later},\"crc32\":\"{:08x}\"}}\n", crc32fast::hash(later.as_bytes()))).unwrap();
    let found = patient.examine(&["--only", "data"]);
    found.assert("data", "bad: the commit log cannot be read: ", "has the data format 9, which tapline 7.0.0 wrote");
}
