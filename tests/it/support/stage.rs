//! A folder in which a page of the documentation is followed, line by line, with a shell as whoever reads it has one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::page::{What, chunks, has_shape};
use super::tap::{PATIENCE, pause};

/// What a line is, by what it does when it is typed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// It does something and ends.
    Ends,
    /// It runs beside what follows.
    Stays,
    /// It shows lines for as long as somebody looks.
    Shows,
}

/// A line that was typed, and runs.
struct Typed {
    line: String,
    child: Child,
    output: PathBuf,
    /// Which of our programs it has started.
    pids: PathBuf,
}

/// The folder, with what stands for the addresses of the page.
pub struct Stage {
    dir: tempfile::TempDir,
    /// What stands in the page, what it is here, and whether it was met.
    addresses: Vec<(String, String, bool)>,
    running: Vec<Typed>,
    typed: usize,
    python: PathBuf,
}

impl Stage {
    /// An empty folder. `addresses` says for what stands in the page what it is here.
    pub fn new(addresses: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut addresses: Vec<_> =
            addresses.iter().map(|(from, to)| ((*from).to_owned(), to.clone(), false)).collect();
        // The page's own port, which others have: it need not be in the page.
        addresses.push(("127.0.0.1:8080".into(), format!("127.0.0.1:{free}"), true));
        addresses.push(("0.0.0.0:8080".into(), format!("0.0.0.0:{free}"), true));
        let stage = Self {
            dir,
            addresses,
            running: Vec::new(),
            typed: 0,
            python: Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python"),
        };
        fs::create_dir_all(stage.path(".page/bin")).unwrap();
        fs::create_dir_all(stage.path("sources")).unwrap();
        // Each says who it is, so that it can be told to end as ctrl-c does.
        stage.program("tapline", &format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_tapline")));
        stage.program("tail", "exec /usr/bin/tail \"$@\"");
        stage.program(
            "cargo",
            "[ \"$1 $2\" = 'run --' ] && shift 2 && exec tapline \"$@\"\necho \"not here: $*\" >&2; exit 3",
        );
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path(".page/bin").join(name);
        fs::write(&path, format!("#!/bin/sh\necho $$ >> \"$PAGE_PIDS\"\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Does everything that a page says.
    pub fn follow(&mut self, name: &str) {
        let markdown = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let chunks = chunks(&markdown);
        assert!(!chunks.is_empty(), "{name} has nothing to do");
        for (index, chunk) in chunks.iter().enumerate() {
            let place = format!("{name}:{}", chunk.line);
            match &chunk.what {
                What::File(path, text) => self.write(path, text),
                What::Shell(lines) => {
                    let sample = match chunks.get(index + 1) {
                        Some(next) => {
                            if let What::Output(lines) = &next.what {
                                lines.as_slice()
                            } else {
                                &[]
                            }
                        }
                        None => &[],
                    };
                    for (at, line) in lines.iter().enumerate() {
                        let is_last = at + 1 == lines.len();
                        self.type_line(&place, line, if is_last { sample } else { &[] });
                    }
                }
                What::Sql(text) => self.ask_python(&place, &format!("import duckdb\nprint(duckdb.sql({text:?}))")),
                What::Python(text) => {
                    self.ask_python(&place, &format!("import pandas as pd\n{text}\nprint(len(frame))"));
                }
                What::Output(_) => {}
            }
        }
        for typed in &mut self.running {
            let ended = typed.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name}: `{}` ended: {}", typed.line, said(&typed.output));
        }
        let unmet: Vec<&str> =
            self.addresses.iter().filter(|(_, _, met)| !met).map(|(from, ..)| from.as_str()).collect();
        assert!(unmet.is_empty(), "{name} does not have {unmet:?}, which the test has an address for");
    }

    /// Writes a file as the page has it.
    fn write(&mut self, path: &str, text: &str) {
        let text = self.here(text);
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// With the addresses of this machine.
    fn here(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to, met) in &mut self.addresses {
            if text.contains(from.as_str()) {
                text = text.replace(from.as_str(), to);
                *met = true;
            }
        }
        text
    }

    /// With the addresses of the page.
    fn there(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (from, to, _)| text.replace(to.trim(), from.trim()))
    }

    fn type_line(&mut self, place: &str, line: &str, sample: &[String]) {
        let began = Instant::now();
        match kind(line) {
            _ if is_of_checkout(place, line) => {}
            Kind::Stays => self.stays(place, line),
            Kind::Shows => self.shows(place, line, sample),
            Kind::Ends => self.ends(place, line, sample),
        }
        println!("{:>6} ms  {place}: {line}", began.elapsed().as_millis());
    }

    fn spawn(&mut self, line: &str) -> Typed {
        self.typed += 1;
        let line = self.here(line);
        let output = self.path(".page").join(format!("output-{}", self.typed));
        let pids = output.with_extension("pids");
        let file = fs::File::create(&output).unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -o pipefail\n{line}")]).current_dir(self.dir.path()).process_group(0);
        let path = format!("{}:{}", self.path(".page/bin").display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env("PAGE_PIDS", &pids).env("NO_COLOR", "1");
        command.env("X_BEARER", "simulated-token").env("PGPASSWORD", "unused").env("PAGER", "cat");
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Typed { child: command.spawn().unwrap(), line, output, pids }
    }

    /// Starts something that runs beside the rest, and waits until it does. There is one service for a folder: another
    /// takes the place of the one before it.
    fn stays(&mut self, place: &str, line: &str) {
        if line.contains("tapline run") {
            let is_before = |typed: &Typed| typed.line.contains("tapline run");
            let (before, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running).into_iter().partition(is_before);
            self.running = others;
            for mut typed in before {
                end(&mut typed);
            }
        }
        let mut typed = self.spawn(line);
        let is_up = |said: &str| {
            if line.contains("tapline run") {
                said.contains(" INFO running sources=") || said.contains("no source to run")
            } else if line.contains("demo") {
                said.contains("{\"observed_at\"")
            } else {
                line.contains("--follow") || said.contains("runs until ctrl-c")
            }
        };
        let began = Instant::now();
        while !is_up(&said(&typed.output)) {
            let ended = typed.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{place}: `{line}`: {}", said(&typed.output));
            pause(Duration::from_millis(20));
        }
        self.running.push(typed);
    }

    /// Looks at something until it has shown what it should, and ends it as ctrl-c does.
    fn shows(&mut self, place: &str, line: &str, sample: &[String]) {
        let mut typed = self.spawn(line);
        // What is behind a pipe shows it in the end.
        let is_piped = line.contains(" | ");
        let began = Instant::now();
        loop {
            let shown = self.there(&said(&typed.output));
            let found = has_shape(&shown, sample);
            if found.is_ok() && !shown.trim().is_empty() {
                break;
            }
            if is_piped && began.elapsed() > Duration::from_secs(3) {
                interrupt(&typed);
            }
            let ended = typed.child.try_wait().unwrap().is_some();
            let shown = self.there(&said(&typed.output));
            let is_over = ended || began.elapsed() > PATIENCE;
            assert!(
                !is_over || (has_shape(&shown, sample).is_ok() && !shown.trim().is_empty()),
                "{place}: `{line}`: {:?}",
                has_shape(&shown, sample)
            );
            pause(Duration::from_millis(50));
        }
        end(&mut typed);
    }

    /// Types something that ends. What only looks is typed again until it shows what it should: what it looks at is on
    /// its way.
    fn ends(&mut self, place: &str, line: &str, sample: &[String]) {
        let began = Instant::now();
        loop {
            let mut typed = self.spawn(line);
            while typed.child.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < PATIENCE * 2, "{place}: `{line}` does not end: {}", said(&typed.output));
                pause(Duration::from_millis(10));
            }
            let code = typed.child.wait().unwrap().code();
            let shown = self.there(&said(&typed.output));
            let found = has_shape(&shown, sample);
            let is_right = may_end_with(line).contains(&code.unwrap_or(-1));
            if is_right && found.is_ok() {
                return;
            }
            let again = only_looks(line) && began.elapsed() < PATIENCE;
            assert!(again, "{place}: `{line}` ended with {code:?}: {}", found.err().unwrap_or(shown));
            pause(Duration::from_millis(200));
        }
    }

    fn ask_python(&self, place: &str, code: &str) {
        assert!(self.python.exists(), "duckdb and pandas are not installed; run scripts/setup");
        let output = Command::new(&self.python).args(["-c", code]).current_dir(self.path("export")).output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for typed in &mut self.running {
            end(typed);
        }
    }
}

fn said(output: &Path) -> String {
    String::from_utf8_lossy(&fs::read(output).unwrap_or_default()).into_owned()
}

/// Tells those programs to end that a line has started itself, and not those that read what they say.
fn interrupt(typed: &Typed) {
    for pid in fs::read_to_string(&typed.pids).unwrap_or_default().lines() {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT).ok();
        }
    }
}

/// Ends a line with all that it has started.
fn end(typed: &mut Typed) {
    let group = Pid::from_child(&typed.child);
    kill_process_group(group, Signal::TERM).ok();
    let began = Instant::now();
    while typed.child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(5) {
        pause(Duration::from_millis(10));
    }
    kill_process_group(group, Signal::KILL).ok();
    typed.child.wait().ok();
}

fn kind(line: &str) -> Kind {
    let command = line.split(" #").next().unwrap_or_default();
    let has = |word: &str| command.contains(word);
    if (command.starts_with("tail ") && has(" -F")) || command.starts_with("tapline tail") || has("run --stdout") {
        Kind::Shows
    } else if (has("tapline run") && !has("--once"))
        || (has("tapline simulate") && !has("--list"))
        || has("cargo run -- demo")
        || has("tapline demo")
        || has("--follow")
    {
        Kind::Stays
    } else {
        Kind::Ends
    }
}

/// These say by their code how something is, and what it is they do not decide.
fn may_end_with(line: &str) -> &'static [i32] {
    let says_how_it_is = ["tapline status", "tapline loaders", "tapline doctor", "tapline health", "tapline redrive"];
    if says_how_it_is.iter().any(|command| line.starts_with(command)) { &[0, 1] } else { &[0] }
}

fn only_looks(line: &str) -> bool {
    let looks = [
        "tapline status",
        "tapline loaders",
        "tapline coverage",
        "tapline health",
        "curl",
        "sqlite3",
        "redis-cli",
        "psql",
        "cat",
        "zstdcat",
        "jq",
    ];
    looks.iter().any(|command| line.starts_with(command))
}

/// What builds, tests or runs the checkout itself is not done within its own tests: only that it could be is looked at.
fn is_of_checkout(place: &str, line: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let command = line.split(" #").next().unwrap_or_default().trim();
    if command == "cargo install --path ." {
        return fs::read_to_string(root.join("Cargo.toml")).unwrap().contains("name = \"tapline\"");
    }
    if let Some(script) = command.strip_prefix("scripts/") {
        let output = Command::new("bash").arg("-n").arg(root.join("scripts").join(script)).output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
        return true;
    }
    if command.starts_with("docker ") {
        super::compose::check(root, place, command);
        return true;
    }
    command.starts_with("git clone ")
}
