//! The command line's other faces: completion in shells, man pages, the reference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::CommandFactory as _;
use tapline::cli::Cli;
use tapline::commands::manual;
use tapline::simulator::quote::Quote;

use crate::support::tap::Tap;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tapline");

fn names() -> Vec<String> {
    let program = Cli::command();
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// What Bash offers behind a line, with its real completion.
fn bash(tap: &Tap, line: &str) -> Vec<String> {
    let script = format!(
        "source <({PROGRAM} completions bash) || exit 1\n\
         COMP_LINE=$1; read -ra COMP_WORDS <<<\"$1\"; [[ $1 == *' ' ]] && COMP_WORDS+=('')\n\
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9; COMP_POINT=${{#1}}\n\
         function=$(complete -p tapline | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $function tapline \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &script, "bash", line]).current_dir(tap.path("")).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(|line| line.trim().to_owned()).collect()
}

/// Commands, options, values, and the names of what there is.
#[tokio::test(flavor = "multi_thread")]
async fn bash_completes() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    tap.settings(&format!(
        "http: off\nloaders: [{{ name: store-one, to: 'sqlite:{}' }}]\n",
        tap.path("out.db").display()
    ));
    for name in ["alpha", "alphabet", "beta"] {
        let yaml =
            format!("kind: scrape\nurl: {}\nevery: 200ms\nfields: {{ price: span.red14px }}\n", exchange.url("/"));
        tap.source(name, &yaml);
    }
    let mut process = tap.start();
    tap.wait_for_lines("alpha", 1);
    tap.wait_for_lines("_ledger", 1);
    assert_eq!(process.terminate().0, Some(0));
    let offered = |line: &str| bash(&tap, line);
    assert_eq!(offered("tapline cov"), ["coverage"]);
    assert_eq!(offered("tapline run --on"), ["--once"]);
    assert_eq!(offered("tapline completions z"), ["zsh"]);
    assert_eq!(offered("tapline doctor --only sy"), ["syncs"]);
    let commands = offered("tapline ");
    assert!(names().iter().all(|name| commands.contains(name)), "{commands:?}");
    // Names: `sources` and `data` are those that the line says, or the usual ones in this folder.
    assert_eq!(offered("tapline run --source al"), ["alpha", "alphabet"]);
    let there = format!("--sources {} --data {}", tap.path("sources").display(), tap.data().display());
    assert_eq!(offered(&format!("tapline {there} coverage b")), ["beta"]);
    assert_eq!(offered(&format!("tapline {there} tail _l")), ["_ledger"]);
    assert_eq!(offered(&format!("tapline {there} export --to csv --stream alphab")), ["alphabet"]);
    assert_eq!(offered(&format!("tapline {there} redrive st")), ["store-one"]);
    assert_eq!(offered("tapline --sources /nowhere run --source "), [""; 0]);
    assert!(offered("tapline try sources/al").contains(&"sources/alpha.yaml".to_owned()), "files, too");
}

/// What each shell is given is taken by that shell.
#[test]
fn every_shell_takes_its_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(PROGRAM).args(["completions", shell]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("TAPLINE_COMPLETE") && script.contains(PROGRAM), "{shell}: {script}");
        // Those that are not there are tested where they are.
        let checked = Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut checked) = checked.inspect_err(|error| println!("{shell} is not checked: {error}")) else {
            continue;
        };
        std::io::Write::write_all(&mut checked.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let checked = checked.wait_with_output().unwrap();
        assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// Two judges: mandoc, and groff where it is, which `man` shows pages with.
#[test]
fn man_pages_are_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(PROGRAM).args(["manual", "--write"]).arg(dir.path()).status().unwrap();
    assert!(status.success());
    let mut expected: Vec<String> = names().iter().map(|name| format!("tapline-{name}.1")).collect();
    expected.push("tapline.1".to_owned());
    expected.sort();
    let mut pages: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let written: Vec<&str> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(written, expected);
    for page in &pages {
        let lint = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(page).output();
        let lint = lint.expect("mandoc is installed; scripts/setup does it");
        let said = String::from_utf8([lint.stdout, lint.stderr].concat()).unwrap();
        // The version stands in the place of a date, so that a page is the same whenever it is made.
        let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        if let Ok(groff) = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page).output() {
            let said = String::from_utf8([groff.stdout, groff.stderr].concat()).unwrap();
            assert!(groff.status.success() && said.is_empty(), "{said}");
        }
        let text = render(page);
        let begin = text.lines().take(12).collect::<Vec<_>>().join("\n");
        assert!(text.contains("SYNOPSIS") && text.contains("EXAMPLES") != page.ends_with("tapline.1"), "{begin}");
    }
    let run = render(&dir.path().join("tapline-run.1"));
    assert!(run.contains("tapline run --source bseindex --once          one tick of one source"), "{run}");
    let all = render(&dir.path().join("tapline.1"));
    assert!(names().iter().all(|name| all.contains(&format!("tapline-{name}(1)"))), "{all}");
    let printed = Command::new(PROGRAM).args(["manual", "run"]).output().unwrap();
    assert_eq!(printed.stdout, fs::read(dir.path().join("tapline-run.1")).unwrap());
    let none = Command::new(PROGRAM).args(["manual", "rum"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
}

/// A page as text.
fn render(page: &Path) -> String {
    let output = Command::new("mandoc").args(["-Tutf8", "-Owidth=100"]).arg(page).output().unwrap();
    // Bold letters are written twice, over each other.
    let text = String::from_utf8(output.stdout).unwrap();
    let mut plain = String::new();
    for letter in text.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[test]
fn every_command_has_an_example_and_stands_in_the_reference() {
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md")).unwrap();
    assert!(
        reference == manual::reference(),
        "docs/reference.md is not what the code says; run `cargo run -- manual --reference > docs/reference.md` and commit it"
    );
    for name in names() {
        let help = Command::new(PROGRAM).args([&name, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} --help has no examples"));
        assert!(examples.contains(&format!("tapline {name}")), "{name}: {examples}");
        assert!(reference.contains(&format!("\n## tapline {name}\n")), "{name}");
    }
}
