//! The service under systemd: what it tells it, and the unit that is shipped.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::tap::{PATIENCE, Process, Tap};

/// What comes next, if anything does in time.
fn hear(socket: &UnixDatagram, at_most: Duration) -> Option<String> {
    socket.set_read_timeout(Some(at_most)).unwrap();
    let mut said = [0; 64];
    let length = socket.recv(&mut said).ok()?;
    Some(String::from_utf8(said[..length].to_vec()).unwrap())
}

#[test]
fn systemd_hears_that_it_runs_makes_progress_and_ends() {
    let tap = Tap::new();
    let address = tap.path("notify");
    let socket = UnixDatagram::bind(&address).unwrap();
    let mut command = tap.command(&["run"]);
    command.env("NOTIFY_SOCKET", &address).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    assert_eq!(hear(&socket, PATIENCE).as_deref(), Some("READY=1"));
    for _ in 0..2 {
        assert_eq!(hear(&socket, PATIENCE).as_deref(), Some("WATCHDOG=1"), "without a source, too");
    }
    let signal = |process: &Process, signal| kill_process(Pid::from_child(&process.0), signal).unwrap();
    signal(&process, Signal::STOP);
    // What it said before it stood still.
    while hear(&socket, Duration::from_millis(100)).is_some() {}
    assert_eq!(hear(&socket, Duration::from_secs(12)), None, "a frozen one says nothing");
    signal(&process, Signal::CONT);
    assert_eq!(hear(&socket, PATIENCE).as_deref(), Some("WATCHDOG=1"), "it goes on");
    signal(&process, Signal::TERM);
    let mut last = String::new();
    while last != "STOPPING=1" {
        last = hear(&socket, PATIENCE).expect("it says that it ends");
    }
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

/// What systemd says of a unit, and whether it finds nothing wrong.
fn analyze(arguments: &[&str]) -> (String, bool) {
    let output = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).join("\n");
    (said, output.status.success())
}

/// The most exposure that the unit may have, in tenths, by systemd's own count from 0 to 100: what is left is the network, a
/// socket and system calls for limits.
const EXPOSURE_MAX: u32 = 15;

#[test]
fn the_unit_is_right_and_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/tapline.service");
    // A system with the program and the unit where the unit says, beside systemd's own.
    let root = tempfile::tempdir().unwrap();
    let place = |name: &str| root.path().join(name);
    for folder in ["usr/local/bin", "usr/lib/systemd", "etc/systemd/system"] {
        fs::create_dir_all(place(folder)).unwrap();
    }
    let copied =
        Command::new("cp").args(["-r", "/usr/lib/systemd/system"]).arg(place("usr/lib/systemd/")).status().unwrap();
    assert!(copied.success());
    fs::copy(env!("CARGO_BIN_EXE_tapline"), place("usr/local/bin/tapline")).unwrap();
    fs::copy(&unit, place("etc/systemd/system/tapline.service")).unwrap();
    let rooted = format!("--root={}", root.path().display());
    let (said, is_right) = analyze(&[&rooted, "--man=no", "verify", "tapline.service"]);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tapline")).collect();
    assert!(is_right && ours.is_empty(), "{said}");

    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let (said, is_hardened) =
        analyze(&["security", "--offline=true", "--no-pager", &threshold, unit.to_str().unwrap()]);
    assert!(is_hardened, "{said}");
    println!("{}", said.lines().find(|line| line.contains("Overall exposure")).unwrap());
}
