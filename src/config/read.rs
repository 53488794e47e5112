//! From a file to checked settings, with everything that is wrong said at once.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::source::Problem;

use super::diagnostic::Diagnostic;
use super::preset::Filled;
use super::substitute::{Substituted, substitute};
use super::words::plain;
use super::yaml::{self, FILE_BYTES_MAX, Kind, Node, Place};

/// No file has so many errors that a person reads them all.
const ROUNDS_MAX: usize = 50;

/// A file on its way to settings: its tree, and what is wrong with it so far.
pub(super) struct Reading<'a> {
    file: &'a Path,
    pub(super) tree: Node,
    pub(super) text: String,
    pub(super) substituted: Substituted,
    wrong: Vec<Problem>,
    /// The tree as it was written, to say where things stand; and with its preset, if it has one.
    written: Node,
    pub(super) filled: Option<Filled>,
}

impl<'a> Reading<'a> {
    /// Reads a file that is a map of keys and values.
    pub(super) fn begin(file: &'a Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Diagnostic>> {
        let text = read_text(file).map_err(|message| vec![Diagnostic::of_file(file, message)])?;
        Self::begin_text(file, text, environment)
    }

    /// As [`begin`](Self::begin), of a text that stands for the file.
    pub(super) fn begin_text(
        file: &'a Path,
        text: String,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let tree = yaml::parse(&text).map_err(|error| vec![Diagnostic::new(file, error.place, &[], error.message)])?;
        if matches!(tree.kind, Kind::Null) {
            return Err(vec![Diagnostic::of_file(file, "the file is empty")]);
        }
        if !matches!(tree.kind, Kind::Map(_)) {
            return Err(vec![Diagnostic::new(
                file,
                tree.place,
                &[],
                "the file must be a map of keys and values, such as `kind: scrape`",
            )]);
        }
        let mut reading = Self {
            file,
            written: tree.clone(),
            tree,
            text,
            substituted: Substituted::default(),
            wrong: Vec::new(),
            filled: None,
        };
        substitute(&mut reading.tree, environment, &mut Vec::new(), &mut reading.substituted, &mut reading.wrong);
        Ok(reading)
    }

    /// Notes what is wrong.
    pub(super) fn add(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.wrong.extend(problems);
    }

    /// Whether anything is wrong at or below `path`.
    pub(super) fn is_wrong(&self, path: &[String]) -> bool {
        self.wrong.iter().any(|problem| problem.path.starts_with(path))
    }

    /// Whether a key was misspelt that is meant to be this one.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        self.wrong
            .iter()
            .any(|problem| problem.path.len() == 1 && problem.message.contains(&format!("did you mean `{key}`")))
    }

    /// Reads settings with `parse`, and notes everything that is wrong with them: what is at fault is taken out, and the
    /// rest is read again.
    pub(super) fn parse_all<T>(
        &mut self,
        mut value: Value,
        parse: impl Fn(Value) -> Result<T, Vec<Problem>>,
    ) -> Option<T> {
        let mut taken: BTreeSet<Vec<String>> = BTreeSet::new();
        for problem in &self.wrong {
            if !is_gone_from_list(&value, &problem.path) {
                take_out(&mut value, &problem.path, &mut taken);
            }
        }
        for _ in 0..ROUNDS_MAX {
            let problems = match parse(value.clone()) {
                Ok(settings) => return taken.is_empty().then_some(settings),
                Err(problems) => problems,
            };
            let before = taken.len();
            for problem in problems {
                take_out(&mut value, &problem.path, &mut taken);
                let is_ours = is_about_taken(&problem, &taken, &self.wrong);
                if !is_ours && !self.wrong.contains(&problem) {
                    self.wrong.push(problem);
                }
            }
            if taken.len() == before {
                return None;
            }
        }
        None
    }

    /// Everything that was wrong, where it stands.
    pub(super) fn diagnostics(mut self) -> Vec<Diagnostic> {
        let mut all: Vec<Diagnostic> = std::mem::take(&mut self.wrong)
            .into_iter()
            .map(|mut problem| {
                let place = self.place_of(&problem.path);
                problem.path.extend(missing_key(&problem).map(str::to_owned));
                let mut message = self.substituted.hide(&plain(&problem.message));
                if let Some(filled) = self.filled.as_ref().filter(|filled| filled.place == place) {
                    message = format!("{message}; the key comes from the preset `{}`", filled.preset);
                }
                Diagnostic::new(self.file, place, &problem.path, message)
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Where a key stands; of one that a preset brought, where the preset is named.
    pub(super) fn place_of(&self, path: &[String]) -> Place {
        self.filled.as_ref().map_or(&self.written, |filled| &filled.tree).place_of(path)
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// The key that a complaint says is missing.
fn missing_key(problem: &Problem) -> Option<&str> {
    problem.message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
}

/// A complaint about something that is missing, or empty, because what was wrong there was taken out, is none.
fn is_about_taken(problem: &Problem, taken: &BTreeSet<Vec<String>>, wrong: &[Problem]) -> bool {
    let holds_taken = taken.iter().any(|taken| taken.len() > problem.path.len() && taken.starts_with(&problem.path));
    let Some(missing) = missing_key(problem) else { return holds_taken && !problem.path.is_empty() };
    let mut path = problem.path.clone();
    path.push(missing.to_owned());
    let meant = format!("did you mean `{missing}`");
    let is_misspelt = |known: &Problem| known.path.len() == path.len() && known.message.contains(&meant);
    taken.contains(&path) || wrong.iter().any(|known| known.path == path || is_misspelt(known))
}

/// Whether what stood at `path`, somewhere in a list, has been taken out before. To take out the whole list for it would
/// hide what else is wrong there.
fn is_gone_from_list(mut value: &Value, path: &[String]) -> bool {
    let mut is_in_list = false;
    for key in path {
        let below = match value {
            Value::Array(items) => {
                is_in_list = true;
                key.parse().ok().and_then(|index: usize| items.get(index))
            }
            Value::Object(entries) => entries.get(key),
            _ => None,
        };
        let Some(below) = below else { return is_in_list };
        value = below;
    }
    false
}

/// Takes the value at `path` out, or what holds it where it lies deeper than two keys or in a list, so that its
/// neighbours are still looked at.
fn take_out(value: &mut Value, path: &[String], taken: &mut BTreeSet<Vec<String>>) {
    for depth in (1..=path.len().min(2)).rev() {
        let (last, above) = (&path[depth - 1], &path[..depth - 1]);
        let holder = above.iter().try_fold(&mut *value, |value, key| value.get_mut(key));
        if holder.and_then(Value::as_object_mut).and_then(|map| map.remove(last)).is_some() {
            taken.insert(path[..depth].to_vec());
            return;
        }
    }
}

/// serde's way into settings, with the path of what it complains about.
pub(super) fn deserialize<T: DeserializeOwned>(value: Value) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(value).map_err(|error| vec![Problem::from(error)])
}

fn read_text(file: &Path) -> Result<String, String> {
    let found = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
    if !found.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 1 MiB; a file of settings is not".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("is not UTF-8: byte {} is wrong; save the file as UTF-8", error.utf8_error().valid_up_to() + 1)
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
