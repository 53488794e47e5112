//! `tapline try --suggest`: what a source could say where its page has changed. Only proposed, and nothing is written.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::cli::Global;
use crate::config::SourceConfig;
use crate::item::Suggestion;
use crate::pipeline::driver::Streams;
use crate::record::Line;
use crate::report::committed::Committed;

use super::terminal::harmless;
use super::{saved, sources};

/// A page that had the fields.
pub(super) struct Was {
    /// Where it comes from, for people.
    pub(super) from: String,
    pub(super) page: String,
}

/// What a change keeps, as its record has it.
#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    before: Option<(DateTime<Utc>, String)>,
}

/// The last good page: the one that is named, or the one that the data folder kept when the source broke last.
///
/// # Errors
/// When the file that is named cannot be read.
pub(super) fn was(config: &SourceConfig, named: Option<&Path>, global: &Global) -> anyhow::Result<Option<Was>> {
    if let Some(file) = named {
        return Ok(Some(Was { from: file.display().to_string(), page: saved::text(file)? }));
    }
    let data = match (&global.data, sources::read_service(global)) {
        (Some(data), _) => data.clone(),
        (None, Ok(service)) => service.data,
        (None, Err(_)) => return Ok(None),
    };
    // Without a data folder there is nothing that was kept.
    let Ok(committed) = Committed::look(&data) else { return Ok(None) };
    let stream = Streams::of(config).changed;
    let mut last: Option<(DateTime<Utc>, String)> = None;
    let mut take = |line: &[u8]| {
        let kept = Line::parse(line).ok().and_then(|line| serde_json::from_str::<Kept>(line.data.get()).ok());
        if let Some(before) = kept.and_then(|kept| kept.before) {
            last = Some(before);
        }
    };
    if committed.saved(&stream)?.is_some() {
        committed.lines(&stream, None, &mut take)?;
    }
    let from =
        |at: DateTime<Utc>| format!("the page of {} that {} has kept", at.format("%Y-%m-%d %H:%M:%S"), data.display());
    Ok(last.map(|(at, page)| Was { from: from(at), page }))
}

/// What is proposed for the fields that the page lacks.
///
/// # Errors
/// When there is nothing to go by, or a page cannot be parsed.
pub(super) fn suggestions(
    config: &SourceConfig,
    now: &str,
    was: Option<&Was>,
    values: &[(String, String)],
) -> anyhow::Result<Vec<Suggestion>> {
    if was.is_none() && values.is_empty() {
        bail!(
            "no page is known that had the fields; name one with --was, or what is on the page now with --value NAME=TEXT"
        );
    }
    let made = config.settings.suggest(now, was.map(|was| was.page.as_str()), values);
    made.with_context(|| format!("a source of kind {} reads no pages; leave --suggest out", config.kind))?
}

/// For people.
pub(super) fn to_text(found: &[Suggestion], was: Option<&Was>) -> String {
    let mut out = String::new();
    write_text(&mut out, found, was).expect("invariant: a string takes all that is written");
    out
}

fn write_text(out: &mut String, found: &[Suggestion], was: Option<&Was>) -> std::fmt::Result {
    if let Some(was) = was {
        writeln!(out, "beside {}:", harmless(&was.from))?;
    }
    if found.is_empty() {
        return writeln!(out, "every field is where it should be; there is nothing to suggest");
    }
    for suggestion in found {
        let text = suggestion.was.as_ref().map_or_else(String::new, |was| format!(", which was {}", harmless(was)));
        writeln!(out, "{}{text}", harmless(&suggestion.field))?;
        if suggestion.proposals.is_empty() {
            writeln!(out, "  nothing on the page is like it; name its text with --value")?;
        }
        let name = suggestion.field.rsplit('.').next().unwrap_or_default();
        for proposal in &suggestion.proposals {
            writeln!(out, "  {}: {}", harmless(name), harmless(&proposal.rule))?;
            writeln!(out, "    finds  {}", harmless(&proposal.text))?;
        }
    }
    writeln!(out, "none of this has been changed: see which is right, and write it into the file")
}
