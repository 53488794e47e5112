//! `docs/troubleshooting.md` against the code: every message stands there, and nothing else does.
//!
//! A message is a text of the code with `…` for what is put in. The page has patterns in the first cell of each row, in
//! which `…` stands for anything; backticks count for nothing, so that a pattern may do without those of the message.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use regex::Regex;

/// What says something to people when it fails.
const CALLS: &[&str] = &[
    "tracing::warn!(",
    "tracing::error!(",
    "bail!(",
    "ensure!(",
    "anyhow!(",
    ".context(",
    "with_context(",
    "#[error(",
];

/// What has fewer letters only carries another message.
const MESSAGE_MIN: usize = 8;

/// A pattern that has fewer would explain anything.
const PATTERN_MIN: usize = 4;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The code of the program, by file, without its tests and without what is only there for tests and says its own words.
fn code() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            // What `doctor` finds has what to do beside it.
            if ["src/simulator", "src/commands/doctor"].contains(&name.as_str()) || name.ends_with("/tests.rs") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                found.push((name, product));
            }
        }
    }
    assert!(found.len() > 100, "{}", found.len());
    found
}

/// The literals from `at`, the beginning of a parenthesis, to its end.
fn literals(text: &str, at: usize) -> Vec<String> {
    let letters: Vec<char> = text[at..].chars().collect();
    let (mut index, mut depth, mut found) = (0, 0_i32, Vec::new());
    while index < letters.len() {
        match letters[index] {
            '"' => {
                let (literal, len) = literal(&letters[index..]);
                found.push(literal);
                index += len;
                continue;
            }
            'r' if letters[index + 1..].starts_with(&['#', '"']) => {
                let end = letters[index..].windows(2).position(|end| end == ['"', '#']).expect("a raw literal ends");
                // The first of these is where it begins, where there is none in between.
                index += end + 2;
                continue;
            }
            // A letter, and no lifetime.
            '\'' if letters.get(index + 2) == Some(&'\'') => index += 2,
            '\'' if letters.get(index + 1) == Some(&'\\') && letters.get(index + 3) == Some(&'\'') => index += 3,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        index += 1;
        if depth == 0 {
            break;
        }
    }
    found
}

/// A literal as it is read, and how long it is in the code.
fn literal(letters: &[char]) -> (String, usize) {
    let (mut out, mut index) = (String::new(), 1);
    while letters[index] != '"' {
        if letters[index] == '\\' {
            match letters[index + 1] {
                '\n' => {
                    index += 2;
                    while letters[index].is_whitespace() {
                        index += 1;
                    }
                    continue;
                }
                'n' => out.push(' '),
                other => out.push(other),
            }
            index += 2;
        } else {
            out.push(letters[index]);
            index += 1;
        }
    }
    (out, index + 1)
}

/// A text with `…` for what is put in, and without backticks.
fn message(literal: &str) -> String {
    let put_in = Regex::new(r"\{[^{}]*\}").unwrap();
    let text = literal.replace("{{", "\u{1}").replace("}}", "\u{2}");
    put_in.replace_all(&text, "…").replace('\u{1}', "{").replace('\u{2}', "}").replace('`', "").trim().to_owned()
}

fn letters(text: &str) -> usize {
    text.chars().filter(char::is_ascii_alphanumeric).count()
}

fn is_message(text: &str) -> bool {
    letters(text) >= MESSAGE_MIN && text.contains(' ') && !text.starts_with("invariant")
}

/// Every message, and a file that has it.
fn messages() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let reason = Regex::new(r"^[a-z]+(_[a-z]+)+: ").unwrap();
    for (file, text) in code() {
        let mut add = |literal: &str| {
            let message = message(literal);
            if is_message(&message) {
                found.insert(message, file.clone());
            }
        };
        for call in CALLS {
            for (at, _) in text.match_indices(call) {
                for literal in literals(&text, at + call.len() - 1) {
                    add(&literal);
                }
            }
        }
        // Reasons of outcomes begin with their names, wherever they are made.
        if ["src/adapters", "src/fetch", "src/auth"].iter().any(|part| file.starts_with(part)) {
            for literal in all_literals(&text).iter().filter(|literal| reason.is_match(literal)) {
                add(literal);
            }
        }
    }
    found
}

fn all_literals(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
    let inside = format!("({code})");
    literals(&inside, 0)
}

/// The patterns of the page: what stands in code in the first cell of a row.
fn patterns() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let spans = Regex::new(r"`` ?(.+?) ?``|`([^`]+)`").unwrap();
    let mut found = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("| ")) {
        let (cell, _) = line.split_once(" | ").unwrap();
        for span in spans.captures_iter(cell) {
            let pattern = span.get(1).or(span.get(2)).unwrap().as_str().replace('`', "");
            assert!(letters(&pattern) >= PATTERN_MIN, "`{pattern}` would explain anything");
            found.insert(pattern.trim().to_owned());
        }
    }
    assert!(found.len() > 100, "{}", found.len());
    found
}

fn matcher(pattern: &str) -> Regex {
    let parts: Vec<String> = pattern.split('…').map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).unwrap()
}

#[test]
fn every_message_is_explained() {
    let patterns: Vec<Regex> = patterns().iter().map(|pattern| matcher(pattern)).collect();
    let unexplained: Vec<String> = messages()
        .into_iter()
        .filter(|(message, _)| !patterns.iter().any(|pattern| pattern.is_match(message)))
        .map(|(message, file)| format!("| `{message}` | … | … |        ({file})"))
        .collect();
    assert!(unexplained.is_empty(), "docs/troubleshooting.md lacks these rows:\n{}", unexplained.join("\n"));
}

#[test]
fn nothing_is_explained_that_nobody_says() {
    let said: BTreeSet<String> =
        code().iter().flat_map(|(_, text)| all_literals(text)).map(|literal| message(&literal)).collect();
    let stale: Vec<String> = patterns()
        .into_iter()
        .filter(|pattern| {
            let matcher = matcher(pattern);
            !said.iter().any(|message| matcher.is_match(message))
        })
        .collect();
    assert!(stale.is_empty(), "the code does not say these any more:\n{}", stale.join("\n"));
}

/// The rules themselves can fail.
#[test]
fn messages_are_found_in_code() {
    let code = "fn f() { bail!(\"no {what} in {{stream}}, \\\"{}\\\" and \\\n    more\", x('('), \")\"); }";
    let at = code.find("bail!(").unwrap() + 5;
    let found = literals(code, at);
    assert_eq!(
        found.iter().map(|literal| message(literal)).collect::<Vec<_>>(),
        ["no … in {stream}, \"…\" and more", ")"]
    );
    assert!(matcher("no … and more").is_match("no … in {stream}, \"…\" and more"));
    assert!(!matcher("no … and").is_match("no … in {stream}, \"…\" and more"));
    let messages = messages();
    assert!(messages.len() > 200, "{}", messages.len());
    assert!(messages.contains_key("the disk is slow: reading waits for it"));
    assert!(messages.contains_key("cannot_connect: no connection to …"));
}
