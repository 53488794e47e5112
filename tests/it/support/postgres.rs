//! A real `PostgreSQL`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Server;
use super::tap::{PATIENCE, wait_until};

/// The newest that Debian has installed.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed; scripts/setup does it")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is installed; scripts/setup does it")
}

/// A program of it. It does not run as root, so then it runs as the user that its package brings.
fn program(name: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(programs().join(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(programs().join(name));
    command
}

fn prepare(dir: &Path) {
    if rustix::process::geteuid().is_root() {
        assert!(Command::new("chown").arg("postgres").arg(dir).status().unwrap().success());
    }
    let mut initdb = program("initdb");
    initdb.args(["--auth=trust", "--username=tapline", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
    let output = initdb.arg(dir.join("db")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts one with an empty database `postgres` and a user `tapline`.
pub fn start() -> Server {
    Server::start(|dir, port| {
        if !dir.join("db").exists() {
            prepare(dir);
        }
        let mut command = program("postgres");
        command.arg("-D").arg(dir.join("db")).args(["-p", &port.to_string(), "-k"]).arg(dir);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=20"]);
        command
    })
}

/// What its own client says to a query: a row a line, columns with `|` between.
pub fn ask(server: &Server, query: &str) -> String {
    let mut psql = Command::new("psql");
    psql.args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "-U", "tapline", "-d", "postgres", "-AtXq", "-c"]);
    psql.arg(query);
    let mut output = psql.output().unwrap();
    // Its port is open before it answers, and after a crash it may take long.
    wait_until("the server answers", PATIENCE, || {
        let is_starting = String::from_utf8_lossy(&output.stderr).contains("the database system is starting up");
        if is_starting {
            output = psql.output().unwrap();
        }
        !is_starting
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Its address.
pub fn url(server: &Server, rest: &str) -> String {
    format!("postgres://tapline@127.0.0.1:{}/postgres{rest}", server.port())
}
