//! What a program is given: a folder of its own, with the files of a Singer tap in it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::value::RawValue;
use tokio::process::Command;

use super::left::{MARK, PREFIX};
use super::{Exec, Format};
use crate::scratch::Scratch;

/// Makes a program's folder, and tells the program of it. One that needs none is started without, where none can be made.
///
/// # Errors
/// When a tap's files cannot be written.
pub(super) fn give(command: &mut Command, exec: &Exec, state: Option<&RawValue>) -> anyhow::Result<Option<Scratch>> {
    let files = if exec.format == Format::Singer { files(exec, state) } else { Vec::new() };
    let folder = match Scratch::make(PREFIX).context("no folder for the program") {
        Ok(folder) => folder,
        Err(error) if files.is_empty() => {
            tracing::warn!("{error:#}; should tapline be killed, the program runs on");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    for (flag, text) in files {
        let file = folder.path().join(flag.trim_start_matches('-'));
        write(&file, &text).with_context(|| format!("{} cannot be written", file.display()))?;
        command.arg(flag).arg(file);
    }
    if let Some(name) = folder.path().file_name() {
        command.env(MARK, name);
    }
    Ok(Some(folder))
}

/// What a Singer tap is told by files: the flag of each, and what is in it.
fn files(exec: &Exec, state: Option<&RawValue>) -> Vec<(&'static str, String)> {
    let given = [
        ("--config", exec.config.as_ref().map(ToString::to_string)),
        ("--catalog", exec.catalog.as_ref().map(ToString::to_string)),
        ("--state", state.map(|state| state.get().to_owned())),
    ];
    given.into_iter().filter_map(|(flag, text)| Some((flag, text?))).collect()
}

/// Nobody else may read it.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened.and_then(|mut file| file.write_all(text.as_bytes()))
}
