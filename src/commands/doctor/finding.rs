//! A finding: what was looked at, how it is, and what to do.

use serde_json::json;

use crate::commands::terminal::harmless;
use crate::secrets;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nobody has to do anything.
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not work, or data may be lost by it.
    Bad,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// How it is, in a sentence that begins with what was looked at.
    pub(super) words: String,
    /// What to do, where there is something.
    pub(super) todo: Option<String>,
}

impl Finding {
    pub(super) fn ok(words: impl Into<String>) -> Self {
        Self { level: Level::Ok, words: words.into(), todo: None }
    }

    pub(super) fn warn(words: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Warn, words: words.into(), todo: Some(todo.into()) }
    }

    pub(super) fn bad(words: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Bad, words: words.into(), todo: Some(todo.into()) }
    }

    /// For programs: a line of JSON.
    pub(super) fn json(&self, check: &str) -> String {
        json!({ "check": check, "level": self.level.word(), "words": self.words, "todo": self.todo }).to_string()
    }

    /// For people: a line, and one with what to do.
    pub(super) fn lines(&self, check: &str, colours: bool) -> Vec<String> {
        let plain = |text: &str| harmless(&secrets::hide(text)).into_owned();
        let mark = format!("{:<4}", self.level.word());
        let mark = if colours { format!("\u{1b}[{}m{mark}\u{1b}[0m", self.level.colour()) } else { mark };
        let mut lines = vec![format!("{mark}  {check:<11}  {}", plain(&self.words))];
        lines.extend(self.todo.iter().map(|todo| format!("{:19}do: {}", "", plain(todo))));
        lines
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// The number of its colour on a terminal: green, yellow, red.
    fn colour(self) -> u8 {
        match self {
            Self::Ok => 32,
            Self::Warn => 33,
            Self::Bad => 31,
        }
    }
}

/// A count and what is counted: `1 source`, `20 sources`.
pub(super) fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Findings as a text, for tests.
#[cfg(test)]
pub(super) fn text(findings: &[Finding]) -> String {
    let lines = |finding: &Finding| {
        let todo = finding.todo.as_ref().map_or_else(String::new, |todo| format!("\n    do: {todo}"));
        format!("{}: {}{todo}", finding.level.word(), finding.words)
    };
    findings.iter().map(lines).collect::<Vec<_>>().join("\n")
}
