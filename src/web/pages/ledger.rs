//! What happened, newest first.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use crate::pipeline::ledger::STREAM;
use crate::record::Line;
use crate::web::tail::last_lines;
use crate::web::view::View;

use super::fields::in_line;
use super::{Shared, aside, down, show, unreadable};

/// So many entries are shown.
const ENTRIES_MAX: usize = 100;

/// So much of the ledger is looked through for them, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// An entry in words.
pub(super) struct Entry {
    pub(super) at: String,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) words: String,
}

#[derive(Template)]
#[template(path = "ledger.html", config = "src/web/askama.toml")]
struct Page {
    here: &'static str,
    source: String,
    kind: String,
    good: bool,
    entries: Vec<Entry>,
}

/// What a browser may ask for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    source: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    good: Option<String>,
}

pub(super) async fn page(State(site): Shared, Query(asked): Query<Asked>) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(why) => return down(&why),
    };
    let Asked { source, kind, good } = asked;
    let good = good.is_some();
    let made = aside(&site, move |_| {
        let entries = entries(&view, ENTRIES_MAX, source.trim(), kind.trim(), good)?;
        Ok(Page { here: "/ledger", source, kind, good, entries })
    });
    made.await.map_or_else(|error| unreadable(&error), |page| show(&page))
}

/// The last entries, of one source or of one type where these are not empty; with the sums of good ticks or without.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn entries(
    view: &Arc<View>,
    most: usize,
    source: &str,
    kind: &str,
    good: bool,
) -> anyhow::Result<Vec<Entry>> {
    let is_wanted = |line: &Line<'_>| {
        (source.is_empty() || line.source == source)
            && (kind.is_empty() || line.kind == kind)
            && (good || kind == "outcomes" || line.kind != "outcomes")
    };
    let lines = last_lines(&view.committed, STREAM, most, BYTES_MAX, is_wanted)?;
    let entry = |line: &String| {
        let line = Line::parse(line.as_bytes()).ok()?;
        Some(Entry {
            at: line.observed_at.get(..19).unwrap_or_default().replace('T', " "),
            source: line.source.into_owned(),
            kind: line.kind.into_owned(),
            words: in_line(line.data, 12, ": "),
        })
    };
    Ok(lines.iter().filter_map(entry).collect())
}
