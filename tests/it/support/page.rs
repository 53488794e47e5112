//! A page of the documentation as whoever follows it reads it: files to write, lines to type, and what they show.
//!
//! Blocks are indented by four spaces. A blank line divides one into chunks, and the first line says what a chunk is: a
//! comment with a path is a file, a program that is known is something to type, anything else is what the lines above it
//! show. What none of this fits is an error, so that nothing stands in a page that nobody runs.

use regex::Regex;
use serde_json::Value;

/// What a line to type may begin with.
const PROGRAMS: &[&str] = &[
    "tapline",
    "tail",
    "cat",
    "cp",
    "mkdir",
    "mv",
    "jq",
    "curl",
    "sqlite3",
    "zstdcat",
    "rsync",
    "redis-cli",
    "psql",
    "docker",
    "cargo",
    "scripts/test",
    "git",
    "ls",
    "export",
    "for",
    "python3",
];

/// A part of a page.
#[derive(Debug, PartialEq)]
pub struct Chunk {
    /// The number of its first line.
    pub line: usize,
    pub what: What,
}

#[derive(Debug, PartialEq)]
pub enum What {
    /// A file of this path with this text, comment and all.
    File(String, String),
    /// Lines to type, each whole.
    Shell(Vec<String>),
    /// A query for `DuckDB`, or lines of Python, about an export.
    Sql(String),
    Python(String),
    /// What the last line before it shows.
    Output(Vec<String>),
}

/// The chunks of a page, in order.
pub fn chunks(markdown: &str) -> Vec<Chunk> {
    let mut found: Vec<Chunk> = Vec::new();
    let mut held: Vec<(usize, &str)> = Vec::new();
    let mut before = "";
    for (number, line) in (1..).zip(markdown.lines().chain([""])) {
        assert!(!line.starts_with("```"), "line {number}: blocks are indented here, not fenced");
        match line.strip_prefix("    ") {
            Some(inner) if !held.is_empty() || before.is_empty() => held.push((number, inner)),
            _ if !held.is_empty() => found.push(chunk(&std::mem::take(&mut held), found.last())),
            _ => {}
        }
        before = line;
    }
    found
}

fn chunk(lines: &[(usize, &str)], before: Option<&Chunk>) -> Chunk {
    let (line, first) = lines[0];
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let file = Regex::new(r"^# ([\w./-]+\.(?:ya?ml|py))$").unwrap();
    let what = if let Some(path) = file.captures(first) {
        What::File(path[1].to_owned(), text)
    } else if is_known(first) {
        let typed = whole_lines(lines);
        let unknown = typed.iter().find(|line| !is_known(line));
        assert_eq!(unknown, None, "line {line}: nobody here knows how to type this");
        What::Shell(typed)
    } else if first.starts_with("SELECT ") {
        What::Sql(text)
    } else if first.starts_with("frame = ") {
        What::Python(text)
    } else {
        let follows = before.is_some_and(|chunk| matches!(chunk.what, What::Shell(_)));
        assert!(follows, "line {line}: neither a file, nor something to type, nor what that shows: {first}");
        What::Output(lines.iter().map(|(_, line)| (*line).to_owned()).collect())
    };
    Chunk { line, what }
}

fn is_known(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| PROGRAMS.contains(&word))
}

/// Lines with what continues them: after a backslash, or up to the end of a text that is typed in.
fn whole_lines(lines: &[(usize, &str)]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut goes_on, mut until): (bool, Option<String>) = (false, None);
    for (_, line) in lines {
        if goes_on || until.is_some() {
            let last = found.last_mut().expect("a line that goes on has begun");
            last.push('\n');
            last.push_str(line);
        } else {
            found.push((*line).to_owned());
        }
        if until.as_deref() == Some(*line) {
            until = None;
        }
        goes_on = until.is_none() && line.ends_with('\\');
        if let Some((_, end)) = line.split_once("<<'") {
            until = end.split_once('\'').map(|(end, _)| end.to_owned());
        }
    }
    found
}

/// Whether what was shown has every line of the sample, in its order and in its shape: the same words around other
/// numbers, the same keys with values of the same kinds, anything for `…`.
///
/// # Errors
/// The first line that is not there.
pub fn has_shape(shown: &str, sample: &[String]) -> Result<(), String> {
    let mut lines = shown.lines();
    for wanted in sample {
        if !lines.any(|line| is_alike(line, wanted)) {
            return Err(format!("nothing like this line was shown:\n    {wanted}\nbut this:\n{shown}"));
        }
    }
    Ok(())
}

fn is_alike(line: &str, wanted: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    match (json(line), json(wanted)) {
        (Some(line), Some(wanted)) => have_same_keys(&line, &wanted),
        (_, Some(_)) => false,
        _ => has_words(line.trim_end(), wanted.trim_end()),
    }
}

fn have_same_keys(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.keys().eq(other.keys())
                && one.values().zip(other.values()).all(|(one, other)| have_same_keys(one, other))
        }
        (Value::Array(one), Value::Array(other)) => match (one.first(), other.first()) {
            (Some(one), Some(other)) => have_same_keys(one, other),
            (one, other) => one.is_some() == other.is_some(),
        },
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

/// Whether a line has the words of another. Numbers, dates and times are any, but what was not nothing is not nothing; so
/// is how wide a column is.
fn has_words(line: &str, wanted: &str) -> bool {
    let parts = Regex::new(r"-?\d[\d.,:]*|[AP]M\b|\s+|…").unwrap();
    let (mut pattern, mut end, mut numbers) = ("^".to_owned(), 0, Vec::new());
    for part in parts.find_iter(wanted) {
        pattern.push_str(&regex::escape(&wanted[end..part.start()]));
        pattern.push_str(match part.as_str() {
            "…" => ".*",
            "AM" | "PM" => "(?:AM|PM)",
            space if space.starts_with(char::is_whitespace) => r"\s+",
            number => {
                numbers.push(number);
                r"(-?\d[\d.,:]*)"
            }
        });
        end = part.end();
    }
    pattern.push_str(&regex::escape(&wanted[end..]));
    let is_nothing = |number: &str| !number.contains(|digit: char| ('1'..='9').contains(&digit));
    let found = Regex::new(&(pattern + "$")).unwrap().captures(line);
    found.is_some_and(|found| {
        let found = found.iter().skip(1).map(|number| number.map_or("", |number| number.as_str()));
        found.zip(numbers).all(|(found, wanted)| is_nothing(wanted) || !is_nothing(found))
    })
}

/// The commands of tapline that stand within sentences and tables, with their lines.
pub fn mentioned(markdown: &str) -> Vec<(usize, String)> {
    let span = Regex::new(r"`(tapline [^`]+)`").unwrap();
    let lines = (1..).zip(markdown.lines()).filter(|(_, line)| !line.starts_with("    "));
    lines
        .flat_map(|(number, line)| {
            span.captures_iter(line).map(move |found| (number, found[1].to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

/// Where the links of a page lead, with their lines.
pub fn links(markdown: &str) -> Vec<(usize, String)> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let lines = (1..).zip(markdown.lines()).filter(|(_, line)| !line.starts_with("    "));
    lines
        .flat_map(|(number, line)| {
            link.captures_iter(line).map(move |found| (number, found[1].to_owned())).collect::<Vec<_>>()
        })
        .collect()
}
