//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in the values of a file, after it was parsed: what they stand for
//! can then be no YAML, and its place in the file is known.

use std::io::Read as _;
use std::path::PathBuf;

use crate::secrets;
use crate::source::Problem;

use super::yaml::{Kind, Node};

/// The largest secret that is read from a file, in bytes. Holiday lists come this way too.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What was put in, so that it is never shown and that its change is seen.
#[derive(Debug, Default)]
pub(super) struct Substituted {
    pub(super) values: Vec<String>,
}

impl Substituted {
    /// The message without any value that was put in.
    pub(super) fn hide(&self, message: &str) -> String {
        // A value of one or two characters is no secret, and would tear holes into words.
        let values = self.values.iter().filter(|value| value.len() > 2);
        let hidden = values.fold(message.to_owned(), |message, value| message.replace(value.as_str(), "${…}"));
        // In other forms, too, as messages quote them.
        secrets::hide(&hidden).into_owned()
    }
}

/// Replaces the references in every text of the tree.
pub(super) fn substitute(
    node: &mut Node,
    environment: &dyn Fn(&str) -> Option<String>,
    path: &mut Vec<String>,
    done: &mut Substituted,
    wrong: &mut Vec<Problem>,
) {
    match &mut node.kind {
        Kind::Text(text) if text.contains("${") => match replaced(text, environment, done) {
            Ok(new) => *text = new,
            Err(message) => wrong.push(Problem::new(path.clone(), message)),
        },
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                substitute(item, environment, path, done, wrong);
                path.pop();
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                substitute(&mut entry.value, environment, path, done, wrong);
                path.pop();
            }
        }
        _ => {}
    }
}

/// A single text with its references replaced.
///
/// # Errors
/// What is wrong with one of them.
pub fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    replaced(text, environment, &mut Substituted::default())
}

fn replaced(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    done: &mut Substituted,
) -> Result<String, String> {
    let mut new = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            new.push_str(before);
            new.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        new.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or("`${` without its `}`; write `$${` for the two characters themselves")?;
        let value = look_up(&rest[at + 2..at + end], environment)?;
        new.push_str(&value);
        done.values.push(value);
        rest = &rest[at + end + 1..];
    }
    new.push_str(rest);
    Ok(new)
}

/// What a reference stands for. A default stands in the YAML for all to read; everything else is a secret.
fn look_up(reference: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read(path).inspect(|value| secrets::keep(value));
    }
    let (name, default) = reference.split_once(":-").map_or((reference, None), |(name, default)| (name, Some(default)));
    if name.is_empty() || !name.chars().all(|next| next.is_ascii_alphanumeric() || next == '_') {
        return Err(format!(
            "`${{{reference}}}` is not understood; write ${{NAME}}, ${{NAME:-default}} or ${{file:/path}}"
        ));
    }
    environment(name)
        .inspect(|value| secrets::keep(value))
        .or_else(|| default.map(str::to_owned))
        .ok_or_else(|| format!("the environment has no {name}; set it, or give a default: ${{{name}:-…}}"))
}

/// The files that the references in a text name, such as `/run/secrets/x` in `${file:/run/secrets/x}`.
pub fn files_named(text: &str) -> Vec<PathBuf> {
    let references = text.split("${file:").skip(1).filter_map(|rest| rest.split_once('}'));
    references.map(|(path, _)| path.into()).collect()
}

/// The content of a file without the line feeds at its end, which editors put there.
fn read(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    opened.map_err(|error| format!("cannot read {path}: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{path} is larger than 64 KiB"));
    }
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
