//! How far each store is, and what it would not take.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use crate::pipeline::load::dead_stream;
use crate::record::Line;
use crate::report::lengths::{many, words};
use crate::report::loaders::{Found, of_service};
use crate::web::tail::last_lines;
use crate::web::view::View;

use super::fields::{cut, scalars};
use super::{Part, Shared, aside, down, show, unreadable};

/// So many dead letters of a loader are shown.
const LETTERS_MAX: usize = 20;

/// What waits for a loader is counted up to so many bytes of each stream.
pub(in crate::web) const LAG_BYTES_MAX: u64 = 16 << 20;

/// So much is looked through for them, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// A longer record is cut, in characters.
const RECORD_MAX: usize = 2_000;

struct Loader {
    name: String,
    to: String,
    is_well: bool,
    state: String,
    lag: String,
    records: String,
    exists: String,
    dead: String,
    retries: String,
    error: String,
}

struct Letter {
    at: String,
    loader: String,
    reason: String,
    record: String,
}

#[derive(Template)]
#[template(path = "loaders.html", config = "src/web/askama.toml")]
struct Page {
    here: &'static str,
    loaders: Option<Vec<Loader>>,
    letters: Option<Vec<Letter>>,
}

pub(super) async fn page(State(site): Shared, Query(part): Query<Part>) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(why) => return down(&why),
    };
    let made = aside(&site, move |_| {
        let found = of_service(&view.committed, LAG_BYTES_MAX)?;
        let letters = if part.wants("letters") { Some(letters(&view, &found)?) } else { None };
        let loaders = part.wants("loaders").then(|| found.iter().map(|loader| loader_of(loader, &view)).collect());
        Ok(Page { here: "/loaders", loaders, letters })
    });
    made.await.map_or_else(|error| unreadable(&error), |page| show(&page))
}

fn loader_of(found: &Found, view: &View) -> Loader {
    let now = view.committed.now;
    let lag = found.lag_records();
    let since = found.behind_since().map(|since| (now - since).num_seconds().max(0) * 1_000_000);
    Loader {
        name: found.name.clone(),
        to: found.health.to.clone(),
        is_well: found.is_well,
        state: found.state_words(now),
        lag: match since {
            Some(since) if lag > 0 => {
                let more = if found.is_more() { "over " } else { "" };
                format!("{more}{} records, {}", many(lag), words(since))
            }
            _ => "nothing".to_owned(),
        },
        records: many(found.sum(|stream| stream.loaded.records)),
        exists: many(found.sum(|stream| stream.loaded.exists)),
        dead: many(found.sum(|stream| stream.loaded.dead)),
        retries: many(found.health.retries),
        error: found.health.error.clone().unwrap_or_default(),
    }
}

fn letters(view: &View, found: &[Found]) -> anyhow::Result<Vec<Letter>> {
    let mut letters = Vec::new();
    for loader in found {
        let lines = last_lines(&view.committed, &dead_stream(&loader.name), LETTERS_MAX, BYTES_MAX, |_| true)?;
        letters.extend(lines.iter().filter_map(|line| letter(&loader.name, line)));
    }
    Ok(letters)
}

fn letter(loader: &str, line: &str) -> Option<Letter> {
    let parsed = Line::parse(line.as_bytes()).ok()?;
    let reason = scalars(parsed.data).into_iter().find(|(path, _)| path == "reason");
    let text = |json: &str| serde_json::from_str(json).unwrap_or_else(|_| json.to_owned());
    Some(Letter {
        at: parsed.observed_at.get(..19).unwrap_or_default().replace('T', " "),
        loader: loader.to_owned(),
        reason: reason.map(|(_, json)| text(json)).unwrap_or_default(),
        record: cut(parsed.data.get(), RECORD_MAX),
    })
}
