//! What runs, and how well.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use crate::pipeline::schedule::Slots;
use crate::pipeline::writer::Status;
use crate::record::Line;
use crate::report::lengths::{many, words};
use crate::report::saved::Tally;
use crate::report::source::{File, moment, per_minute};
use crate::report::sources::State as SourceState;
use crate::web::calendar::missed;
use crate::web::chart::{Bar, bars};
use crate::web::site::Site;
use crate::web::view::View;

use super::{Part, Shared, aside, down, fields, show, unreadable};

/// So many sources are shown at once; the others are found by the search.
const ROWS_MAX: usize = 200;

/// So many fields of the last record are shown.
const FIELDS_SHOWN: usize = 3;

/// The minutes that a driver counts one by one.
const SPARK_MINUTES: f64 = 15.0;

const DAY_MICROS: i64 = 86_400_000_000;

#[derive(Template)]
#[template(path = "overview.html", config = "src/web/askama.toml")]
struct Page {
    here: &'static str,
    title: String,
    q: String,
    sum: Option<Sum>,
    rows: Option<Vec<Row>>,
    more: Option<String>,
}

/// The service as a whole.
struct Sum {
    sources: usize,
    troubled: usize,
    rate: String,
    loaders: String,
    since: String,
    disk: String,
    now: String,
    trouble: Option<String>,
}

/// A source in one line.
struct Row {
    name: String,
    kind: String,
    mark: &'static str,
    mark_class: &'static str,
    is_well: bool,
    words: String,
    value: String,
    rate: String,
    bars: Vec<Bar>,
    bars_words: String,
    lag: String,
    next: String,
    missed: String,
}

/// What a browser may ask for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn page(State(site): Shared, Query(asked): Query<Asked>) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(why) => return down(&why),
    };
    let made = aside(&site, move |site| Ok(make(site, &view, &asked))).await;
    made.map_or_else(|error| unreadable(&error), |page| show(&page))
}

fn make(site: &Site, view: &Arc<View>, asked: &Asked) -> Page {
    let wanted = asked.q.trim().to_lowercase();
    let takes = |state: &&SourceState| {
        wanted.is_empty()
            || state.facts.name.to_lowercase().contains(&wanted)
            || state.words.to_lowercase().contains(&wanted)
    };
    // What needs somebody comes first.
    let mut found: Vec<&SourceState> = view.states.iter().filter(takes).collect();
    found.sort_by_key(|state| state.is_well);
    let hidden = found.len().saturating_sub(ROWS_MAX);
    found.truncate(ROWS_MAX);
    let sum = sum(site, view);
    let trouble = if sum.troubled > 0 { format!("({}) ", sum.troubled) } else { String::new() };
    let rows = asked.part.wants("rows").then(|| {
        if let Ok(mut chronicle) = site.chronicle.lock()
            && let Err(error) = chronicle.advance(view)
        {
            tracing::warn!("the page cannot read the ledger: {error:#}");
        }
        found.iter().map(|state| row(site, view, state)).collect()
    });
    Page {
        here: "/",
        title: format!("{trouble}tapline"),
        q: asked.q.clone(),
        sum: asked.part.wants("sum").then_some(sum),
        rows,
        more: (hidden > 0).then(|| format!("… and {} more; search for them", many(hidden as u64))),
    }
}

fn sum(site: &Site, view: &View) -> Sum {
    let now = view.committed.now;
    let rate: f64 = view.states.iter().filter_map(|state| tally(state)?.rate(now)).sum();
    let names = view.committed.names("loader/").count();
    let trouble = (site.writer_status() == Status::Full)
        .then(|| "The disk is full: nothing is written. It goes on by itself when there is room.".to_owned());
    let free = view.committed.free().map(bytesize::ByteSize);
    Sum {
        sources: view.states.len(),
        troubled: view.states.iter().filter(|state| !state.is_well).count(),
        rate: per_minute(rate).trim_end_matches("/min").to_owned(),
        loaders: if names == 0 { "none".to_owned() } else { many(names as u64) },
        since: format!("since {}", moment(site.parts.since, now)),
        disk: free.map_or_else(|error| error.to_string(), |free| format!("{free} free")),
        now: now.format("%H:%M:%S").to_string(),
        trouble,
    }
}

fn tally(state: &SourceState) -> Option<&Tally> {
    state.facts.saved.as_ref().map(|saved| &saved.tally)
}

fn row(site: &Site, view: &View, state: &SourceState) -> Row {
    let now = view.committed.now;
    let name = &state.facts.name;
    let tally = tally(state);
    let minutes = tally.map(|tally| tally.minutes.as_slice()).unwrap_or_default();
    let (mark, mark_class) = if state.is_well { ("✓", "good") } else { ("!", "bad") };
    let value = site.last_of(view, name).and_then(|line| {
        let line = Line::parse(line.as_bytes()).ok()?;
        Some(fields::in_line(line.data, FIELDS_SHOWN, " "))
    });
    let dash = || "–".to_owned();
    let lag = tally.and_then(Tally::lag).filter(|lag| *lag >= 0.0);
    Row {
        name: name.clone(),
        kind: state.facts.file.kind().unwrap_or_default().to_owned(),
        mark,
        mark_class,
        is_well: state.is_well,
        words: state.words.clone(),
        value: value.unwrap_or_else(dash),
        rate: tally.and_then(|tally| tally.rate(now)).map_or_else(dash, per_minute),
        bars: bars(minutes, now, SPARK_MINUTES, 26.0),
        bars_words: format!(
            "{} records in the last quarter of an hour",
            many(minutes.iter().map(|(_, count)| count).sum())
        ),
        lag: lag.map_or_else(dash, |lag| format!("{lag:.1} s")),
        next: next(state, now).unwrap_or_else(dash),
        missed: missed_of_day(site, view, name).unwrap_or_else(dash),
    }
}

/// When it falls due next.
fn next(state: &SourceState, now: chrono::DateTime<chrono::Utc>) -> Option<String> {
    let File::Good { slots: Some(slots), .. } = &state.facts.file else { return None };
    let next = Slots::next(slots, now)?;
    let wait = next - now;
    // Of a source that asks every few seconds the next tick is always soon.
    Some(if wait.num_seconds() < 1 {
        "now".to_owned()
    } else if wait.num_minutes() < 10 {
        format!("in {}", words(wait.num_seconds().max(0) * 1_000_000))
    } else {
        moment(next, now)
    })
}

fn missed_of_day(site: &Site, view: &View, name: &str) -> Option<String> {
    let coverage = site.chronicle.lock().ok()?.coverage(name, view)?;
    let now = view.committed.now.timestamp_micros();
    let missing = missed(&coverage, now - DAY_MICROS, now);
    Some(if missing == 0 { "nothing".to_owned() } else { words(missing) })
}
