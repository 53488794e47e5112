//! The structure of the code, held by a test rather than by hope: who imports whom, sizes, what the root shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// What a newcomer sees first. Something new at the root is worth a line here.
const ROOT: &[&str] = &[
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "clippy.toml",
    "config",
    // Empty; a container can write it because it is there.
    "data",
    "deny.toml",
    "docker-compose.yml",
    "docs",
    "fuzz",
    "justfile",
    "packaging",
    "rustfmt.toml",
    "scripts",
    "sources",
    "src",
    "tests",
];

/// What each part of `src/` may import of the others, beside the vocabulary.
fn may_import(part: &str) -> &'static [&'static str] {
    match part {
        // The commit protocol is one between those files and the log.
        "pipeline" => &["pipeline", "sinks::segments"],
        "adapters" => &["adapters", "fetch"],
        "fetch" => &["fetch"],
        "loaders" => &["loaders", "sinks::segments"],
        "alerts" => &["alerts"],
        "sinks" => &["sinks"],
        "simulator" => &["simulator"],
        // What commands print and pages show.
        "report" => &["report", "pipeline", "sinks::segments"],
        "web" => &["web", "report", "pipeline", "sinks::segments"],
        "cli" => &["commands"],
        // It asks what each part says of its own parsers.
        "fuzzing" => &["adapters", "fetch", "pipeline"],
        "main" | "lib" | "commands" => &[
            "adapters",
            "alerts",
            "cli",
            "commands",
            "fetch",
            "loaders",
            "pipeline",
            "report",
            "simulator",
            "sinks",
            "web",
        ],
        _ => &[],
    }
}

const PARTS: &[&str] = &[
    "adapters",
    "alerts",
    "cli",
    "commands",
    "fetch",
    "fuzzing",
    "loaders",
    "pipeline",
    "report",
    "simulator",
    "sinks",
    "web",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 30, "the walk over src/ found only {}", found.len());
    found.sort();
    found
}

/// The code of a file before its tests; a file of tests has none.
fn product(name: &str, text: &str) -> String {
    if Path::new(name).file_name().is_some_and(|file| file == "tests.rs") {
        return String::new();
    }
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// The text with comments, strings and character literals blanked, so that braces and words are code.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let len = literal_len(rest);
        if len == 0 {
            out.push(rest[0]);
            at += 1;
        } else {
            out.extend(rest[..len].iter().map(|character| if *character == '\n' { '\n' } else { ' ' }));
            at += len;
        }
    }
    out
}

/// How long the comment or literal is that begins here; zero for code.
fn literal_len(rest: &[char]) -> usize {
    let until = |end: &str, from: usize| {
        let end: Vec<char> = end.chars().collect();
        (from..rest.len()).find(|at| rest[*at..].starts_with(&end)).map_or(rest.len(), |at| at + end.len())
    };
    match rest {
        ['/', '/', ..] => until("\n", 2).saturating_sub(1),
        ['/', '*', ..] => until("*/", 2),
        ['r', '"', ..] => until("\"", 2),
        ['r', '#', '"', ..] => until("\"#", 3),
        ['"', ..] => {
            let mut at = 1;
            while at < rest.len() && rest[at] != '"' {
                at += if rest[at] == '\\' { 2 } else { 1 };
            }
            at + 1
        }
        ['\'', '\\', ..] => until("'", 3),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
    .min(rest.len())
}

fn part_of(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Every `crate::a::b` that a file names, as `a::b`, with lists in braces taken apart. What it names by way of `super::`
/// is among them.
fn imports(name: &str, code: &str) -> BTreeSet<String> {
    let code = from_the_root(name, code);
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        take_apart("", &code[at + "crate::".len()..], &mut found);
    }
    found
}

/// The code with each run of `super::` written out from the root, as seen from this file.
fn from_the_root(name: &str, code: &str) -> String {
    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let modules: Vec<&str> = path.split('/').filter(|module| !["lib", "main"].contains(module)).collect();
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("super::") {
        let is_word = rest[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let after = rest[at..].trim_start_matches("super::");
        let up = (rest.len() - at - after.len()) / "super::".len();
        out.push_str(&rest[..at]);
        if is_word {
            out.push_str("super::");
        } else {
            let left = &modules[..modules.len().saturating_sub(up)];
            out.push_str("crate::");
            for module in left {
                out.extend([module, "::"]);
            }
        }
        rest = after;
    }
    out + rest
}

/// Adds the path that stands here, or each of those in its braces.
fn take_apart(before: &str, text: &str, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    let end = text.find(|next: char| !next.is_alphanumeric() && !"_:".contains(next)).unwrap_or(text.len());
    let path = format!("{before}{}", &text[..end]);
    let Some(list) = text[end..].strip_prefix('{').filter(|_| path.is_empty() || path.ends_with("::")) else {
        if !path.is_empty() {
            found.insert(path);
        }
        return;
    };
    let (mut depth, mut start) = (0_i32, 0);
    for (at, next) in list.char_indices() {
        if depth == 0 && [',', '}'].contains(&next) {
            take_apart(&path, &list[start..at], found);
            start = at + 1;
        }
        depth += i32::from(next == '{') - i32::from(next == '}');
        if depth < 0 {
            return;
        }
    }
}

fn forbidden_imports(name: &str, code: &str) -> Vec<String> {
    let part = part_of(name);
    let allowed = may_import(part);
    let is_forbidden = |import: &String| {
        let first = import.split(':').next().unwrap_or_default();
        PARTS.contains(&first)
            && !allowed.iter().any(|allowed| import == allowed || import.starts_with(&format!("{allowed}::")))
    };
    let mut wrong: Vec<String> = imports(name, code)
        .into_iter()
        .filter(|import| is_forbidden(import) || (part == "simulator" && !import.starts_with("simulator")))
        .map(|import| {
            format!("src/{name} imports crate::{import}: {part} may not; see the code map in ARCHITECTURE.md")
        })
        .collect();
    // An adapter may import its own folder only.
    let own = name.strip_prefix("adapters/").map(|rest| rest.split(['/', '.']).next().unwrap_or_default());
    wrong.extend(own.filter(|own| *own != "mod").into_iter().flat_map(|own| {
        let other = move |import: &String| {
            import.strip_prefix("adapters::").is_some_and(|import| import.split(':').next() != Some(own))
        };
        imports(name, code)
            .into_iter()
            .filter(other)
            .map(move |import| format!("src/{name} imports crate::{import}: adapters do not import each other"))
    }));
    wrong
}

/// The functions of a file: name and number of lines.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = at == 0 || !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let name: String = code[at + 3..].chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect();
        let Some(open) = code[at..].find(['{', ';']).map(|open| at + open) else { continue };
        if !starts_word || name.is_empty() || code[open..].starts_with(';') {
            continue;
        }
        let mut depth = 0_i32;
        let close = code[open..].char_indices().find_map(|(index, character)| {
            depth += i32::from(character == '{') - i32::from(character == '}');
            (depth == 0).then_some(open + index)
        });
        let close = close.expect("braces match");
        found.push((name, code[at..close].matches('\n').count() + 1));
    }
    found
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn imports_go_one_way() {
    let wrong: Vec<String> =
        sources().iter().flat_map(|(name, text)| forbidden_imports(name, &code_only(&product(name, text)))).collect();
    assert_none(&wrong);
}

#[test]
fn files_and_functions_are_small_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let product = product(&name, &text);
        let lines = product.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("src/{name}: {lines} lines before its tests; split it (at most {FILE_LINES_MAX})"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("src/{name}: begin with `//!` and what the file is for"));
        }
        for (function, lines) in functions(&code_only(&product)) {
            if lines > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "src/{name}: fn {function} has {lines} lines; split it (at most {FUNCTION_LINES_MAX})"
                ));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn nothing_is_left_undone() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let code = code_only(&product(&name, &text));
        for word in [".unwrap()", "todo!", "unimplemented!", "macro_rules!", "unsafe "] {
            if code.contains(word) {
                wrong.push(format!("src/{name}: {word} has no place outside tests"));
            }
        }
        if code_only(&text).contains("#[ignore") {
            wrong.push(format!("src/{name}: a test that is ignored is no test"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_root_shows_what_it_should() {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git is there");
    assert!(listed.status.success(), "git ls-files works in a checkout");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let found: BTreeSet<&str> = listed.lines().map(|path| path.split('/').next().unwrap()).collect();
    let expected: BTreeSet<&str> = ROOT.iter().copied().collect();
    assert_eq!(found, expected, "the root changed; is it what a newcomer must see?");
}

#[test]
fn every_adapter_has_what_comes_with_it() {
    let mut wrong = Vec::new();
    let examples: BTreeMap<String, String> = fs::read_dir(root().join("sources"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    for adapter in tapline::adapters::ADAPTERS {
        let kind = adapter.kind;
        for needed in [format!("tests/fixtures/{kind}"), format!("docs/adapters/{kind}.md")] {
            if !root().join(&needed).exists() {
                wrong.push(format!("{kind}: {needed} is not there"));
            }
        }
        if !examples.values().any(|text| text.lines().any(|line| line.trim() == format!("kind: {kind}"))) {
            wrong.push(format!("{kind}: no file in sources/ shows it"));
        }
    }
    assert!(!tapline::adapters::ADAPTERS.is_empty());
    assert_none(&wrong);
}

/// The rules themselves can fail.
mod rules {
    use super::*;

    #[test]
    fn a_wrong_import_is_seen() {
        for (name, code) in [
            ("adapters/one.rs", "use crate::pipeline::writer::Writer;"),
            ("adapters/one.rs", "use crate::adapters::two::Two;"),
            ("pipeline/driver.rs", "use crate::adapters::ADAPTERS;"),
            ("pipeline/driver.rs", "use crate::sinks::stdout::Stdout;"),
            ("record.rs", "fn f() { crate::pipeline::run() }"),
            ("simulator/quote.rs", "use crate::record::Record;"),
            ("sinks/text.rs", "use crate::{commands, record};"),
            ("sinks/text.rs", "use crate::{record::{self, Line}, commands::{run, tail}};"),
            ("pipeline/driver/poll.rs", "use super::super::super::adapters::ADAPTERS;"),
            ("pipeline/driver/poll.rs", "use super::super::super::{record, sinks::{stdout::Stdout}};"),
            ("pipeline/mod.rs", "use super::commands::run::Run;"),
            ("adapters/one.rs", "use super::two::Two;"),
            ("adapters/one/parse.rs", "use super::super::{two, Adapter};"),
            ("record.rs", "fn f() { super::pipeline::run() }"),
        ] {
            assert!(!forbidden_imports(name, code).is_empty(), "{name}: {code}");
        }
        for (name, code) in [
            ("adapters/one.rs", "use crate::source::Source; use crate::adapters::one::parse::parse;"),
            ("pipeline/commit.rs", "use crate::sinks::segments::Segments;"),
            ("commands/run.rs", "use crate::pipeline::service::Service;"),
            ("pipeline/driver/poll.rs", "use super::super::writer::{Ended, Writer}; use super::{Driver, End};"),
            ("adapters/one/parse.rs", "use super::super::one::plan; use super::{plan::Plan, text};"),
            ("simulator/quote/pages.rs", "use super::super::faults::{Coding, Fault};"),
            ("record.rs", "pub(super) fn f() { my_super::pipeline::run() }"),
        ] {
            assert_none(&forbidden_imports(name, code));
        }
    }

    #[test]
    fn code_is_told_from_text() {
        let code =
            code_only("let a = \"crate::pipeline \\\" {\"; // {\nlet b = '{'; /* } */ let c = r#\"}\"#; 'a: loop {}");
        assert_eq!(code.matches('{').count(), 1, "{code}");
        assert_eq!(code.matches('}').count(), 1, "{code}");
        assert!(code.contains("loop") && !code.contains("pipeline"));
    }

    #[test]
    fn functions_are_measured() {
        assert_eq!(
            functions("fn one() {\n  a\n}\nfn two();\nfn three() -> X\nwhere Y {\n}"),
            [("one".into(), 3), ("three".into(), 3)]
        );
    }
}
