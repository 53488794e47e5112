//! What is wrong with a YAML file: where, what, what is allowed, what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::yaml::Place;

/// Of something longer only the beginning and the end are said: it quotes what stands in the file, which may be a
/// megabyte, and what to do about it comes last.
const BYTES_MAX: usize = 1000;

/// One thing that is wrong with a YAML file. Its text is `file:line:column: key: message`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, counted from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// The column in characters, counted from 1.
    pub column: u64,
    /// The key, as a path with dots; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong, what is allowed, what to do.
    pub message: String,
}

impl Diagnostic {
    pub(super) fn new(file: &Path, place: Place, path: &[String], message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            key: shortened(path.join(".")),
            message: shortened(message.into()),
        }
    }

    /// Something about a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self::new(file, Place::default(), &[], message)
    }
}

impl Diagnostic {
    /// Where it is: `file:line:column`.
    pub fn place(&self) -> String {
        let file = self.file.display();
        if self.line > 0 { format!("{file}:{}:{}", self.line, self.column) } else { file.to_string() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.place())?;
        if !self.key.is_empty() {
            write!(out, ": {}", harmless(&self.key))?;
        }
        write!(out, ": {}", harmless(&self.message))
    }
}

fn shortened(text: String) -> String {
    if text.len() <= BYTES_MAX {
        return text;
    }
    let start = text.floor_char_boundary(BYTES_MAX / 2);
    let end = text.ceil_char_boundary(text.len() - BYTES_MAX / 2);
    format!("{} … {}", &text[..start], &text[end..])
}

/// A file may say anything, and this is shown on a terminal.
fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|character| -> Box<dyn Iterator<Item = char>> {
            if character.is_control() {
                Box::new(character.escape_default())
            } else {
                Box::new(std::iter::once(character))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_quotation_keeps_its_beginning_and_its_end() {
        let message = format!("`{}` is not a kind of source; there are: scrape", "é".repeat(1_000_000));
        let said = Diagnostic::of_file(Path::new("one.yaml"), message).to_string();
        assert!(said.len() < 1_100, "{}", said.len());
        assert!(said.starts_with("one.yaml: `éé") && said.ends_with("éé` is not a kind of source; there are: scrape"));
    }
}
