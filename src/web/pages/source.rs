//! One source: its state, its values over time, its lines as they come, what was collected and what was not.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE64;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::pipeline::commit::REJECTED;
use crate::pipeline::driver::CHANGED;
use crate::record::Line as Record;
use crate::report::lengths::many;
use crate::report::source::{moment, per_minute};
use crate::report::sources::State as SourceState;
use crate::web::calendar::{Year, year};
use crate::web::chart::{self, Chart};
use crate::web::difference::{Line, difference};
use crate::web::live;
use crate::web::site::Site;
use crate::web::tail::{backwards, last_lines};
use crate::web::view::View;

use super::fields::{cut, number, scalars};
use super::ledger::{Entry, entries};
use super::{Part, SPANS, Shared, aside, down, gone, show, unreadable};

/// So many charts are shown.
const CHARTS_MAX: usize = 12;

/// So much of a stream is read for charts, in bytes.
const CHART_BYTES_MAX: u64 = 48 << 20;

/// So many lines stand there before the live ones come.
const LINES_SHOWN: usize = 10;

/// So many rejects and entries are shown.
const REJECTS_MAX: usize = 20;
const ENTRIES_MAX: usize = 30;

/// So much is looked through for them, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// So much is read for the last change: it holds two pages and a picture.
const CHANGE_BYTES_MAX: u64 = 4 << 20;

/// So much of a page is shown, in characters.
const PAGE_SHOWN: usize = 20_000;

/// How a PNG begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A longer text of a reject is cut, in characters.
const RAW_MAX: usize = 1_500;

struct Facts {
    words: String,
    is_well: bool,
    list: Vec<(&'static str, String)>,
}

struct Charts {
    note: String,
    all: Vec<Chart>,
}

/// What changed upstream when it broke last.
struct Change {
    at: String,
    before: String,
    /// What was wrong.
    why: String,
    lines: Vec<Line>,
    page: String,
    /// Where the picture of it is, if there is one.
    screen: String,
}

struct Reject {
    at: String,
    field: String,
    outcome: String,
    reason: String,
    raw: String,
}

#[derive(Template)]
#[template(path = "source.html", config = "src/web/askama.toml")]
struct Page {
    here: &'static str,
    name: String,
    span_word: String,
    state: Option<Facts>,
    charts: Option<Charts>,
    show_live: bool,
    lines: Vec<String>,
    year: Option<Year>,
    change: Option<Change>,
    rejects: Option<Vec<Reject>>,
    entries: Option<Vec<Entry>>,
}

/// What a browser may ask for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    span: String,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn page(State(site): Shared, Path(name): Path<String>, Query(asked): Query<Asked>) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(why) => return down(&why),
    };
    if view.source(&name).is_none() {
        return gone(StatusCode::NOT_FOUND, "There is no such source");
    }
    let made = aside(&site, move |site| make(site, &view, &name, &asked)).await;
    made.map_or_else(|error| unreadable(&error), |page| show(&page))
}

/// What a browser showed of the page when the source broke last.
pub(super) async fn screen(State(site): Shared, Path(name): Path<String>) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(why) => return down(&why),
    };
    let picture = aside(&site, move |_| match view.source(&name) {
        Some(_) => Ok(last_change(&view, &name)?.and_then(|(_, kept)| kept.picture())),
        None => Ok(None),
    });
    match picture.await {
        Ok(Some(picture)) => ([(header::CONTENT_TYPE, "image/png")], picture).into_response(),
        Ok(None) => gone(StatusCode::NOT_FOUND, "There is no such picture"),
        Err(error) => unreadable(&error),
    }
}

/// The lines of a source as they are committed.
pub(super) async fn lines(
    State((site, watchers)): State<(Arc<Site>, Arc<Semaphore>)>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(why) => return down(&why),
    };
    if view.source(&name).is_none() {
        return gone(StatusCode::NOT_FOUND, "There is no such source");
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    live::watch(&site, &watchers, name.clone(), view.stream_of(&name), last)
}

fn make(site: &Site, view: &Arc<View>, name: &str, asked: &Asked) -> anyhow::Result<Page> {
    let wants = |part| asked.part.wants(part);
    let (word, seconds) = SPANS.iter().find(|(word, _)| *word == asked.span).copied().unwrap_or(SPANS[0]);
    let state = view.source(name).filter(|_| wants("state")).map(|state| facts(state, view));
    let is_whole = asked.part.part.is_empty();
    Ok(Page {
        here: "/",
        name: name.to_owned(),
        span_word: word.to_owned(),
        state,
        charts: if wants("charts") { Some(charts(view, name, seconds)?) } else { None },
        show_live: is_whole,
        lines: if is_whole { last(view, name)? } else { Vec::new() },
        year: if wants("year") { Some(year_of(site, view, name)?) } else { None },
        change: if wants("change") { change(view, name)? } else { None },
        rejects: if wants("rejects") { Some(rejects(view, name)?) } else { None },
        entries: if wants("entries") { Some(entries(view, ENTRIES_MAX, name, "", false)?) } else { None },
    })
}

fn facts(state: &SourceState, view: &View) -> Facts {
    let now = view.committed.now;
    let saved = state.facts.saved.as_ref();
    let tally = saved.map(|saved| &saved.tally);
    let mut list = Vec::new();
    let mut add = |what, value: Option<String>| list.extend(value.map(|value| (what, value)));
    add("Kind", state.facts.file.kind().map(str::to_owned));
    add("Records", tally.and_then(|tally| tally.records).map(many));
    add("A minute", tally.and_then(|tally| tally.rate(now)).map(per_minute));
    add("Rejects", tally.and_then(|tally| tally.rejects).map(many));
    let ignored = tally.map(|tally| &tally.ignored).filter(|ignored| !ignored.is_empty());
    add("Ignored", ignored.map(ToString::to_string));
    add("Last record", tally.and_then(|tally| tally.record_at).map(|at| moment(at, now)));
    add("Behind upstream", tally.and_then(crate::report::saved::Tally::lag).map(|lag| format!("{lag:.1} s")));
    add("Last tick", saved.and_then(|saved| saved.slot).map(|at| moment(at, now)));
    add("Records today", tally.and_then(|tally| tally.spent.as_ref()).map(|spent| many(spent.today)));
    add("Stream", Some(view.stream_of(&state.facts.name).to_string()));
    Facts { words: state.words.clone(), is_well: state.is_well, list }
}

fn last(view: &View, name: &str) -> anyhow::Result<Vec<String>> {
    let is_its = |line: &Record<'_>| line.source == name;
    let mut lines = last_lines(&view.committed, &view.stream_of(name), LINES_SHOWN, BYTES_MAX, is_its)?;
    lines.reverse();
    Ok(lines)
}

/// The values of one field, in the order of their times.
#[derive(Default)]
struct Series {
    values: Vec<(f64, f64)>,
    last: String,
}

fn charts(view: &View, name: &str, seconds: i64) -> anyhow::Result<Charts> {
    let now = view.committed.now;
    let since = now - TimeDelta::seconds(seconds);
    let mut seen = Seen::default();
    let read = seen.read(view, name, since)?;
    let ends = [since, now].map(seconds_of);
    let mut all = vec![chart::rate(&seen.times, ends[0], ends[1])];
    for field in seen.order.iter().take(CHARTS_MAX) {
        let Some(of) = seen.fields.remove(field) else { continue };
        all.push(chart::line(field, &of.values, &of.last));
    }
    let first = seen.times.iter().copied().reduce(f64::min);
    let note = match first {
        None => "no record in this time".to_owned(),
        Some(_) if read < CHART_BYTES_MAX => String::new(),
        Some(_) => "the earlier part is left out: there is more than a page reads".to_owned(),
    };
    Ok(Charts { note, all })
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
fn seconds_of(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1e3
}

/// What was read of a source's records since some time.
#[derive(Default)]
struct Seen {
    /// When each was observed.
    times: Vec<f64>,
    /// Its numeric fields in the order in which they were met, and their values.
    order: Vec<String>,
    fields: HashMap<String, Series>,
}

impl Seen {
    /// Reads them, the newest segment first, and returns how many bytes that took.
    fn read(&mut self, view: &View, name: &str, since: DateTime<Utc>) -> anyhow::Result<u64> {
        let mut read = 0;
        backwards(&view.committed, &view.stream_of(name), CHART_BYTES_MAX, |lines| {
            read += lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
            let is_over = lines.first().and_then(|line| time_of(line)).is_some_and(|first| first < since);
            self.take(lines, name, since);
            !is_over
        })?;
        Ok(read)
    }

    /// The lines of a segment that is older than those before.
    fn take(&mut self, lines: &[Vec<u8>], name: &str, since: DateTime<Utc>) {
        let mut older: HashMap<String, Series> = HashMap::new();
        for line in lines {
            let Ok(line) = Record::parse(line) else { continue };
            let Some(at) = line.observed_at.parse().ok().filter(|at| *at >= since && line.source == name) else {
                continue;
            };
            self.times.push(seconds_of(at));
            for (path, json) in scalars(line.data) {
                let Some(value) = number(json) else { continue };
                let path = if path.is_empty() { "value".to_owned() } else { path };
                if !self.fields.contains_key(&path) && !older.contains_key(&path) {
                    self.order.push(path.clone());
                }
                let of = older.entry(path).or_default();
                of.values.push((seconds_of(at), value));
                json.clone_into(&mut of.last);
            }
        }
        for (path, mut series) in older {
            let newer = self.fields.remove(&path).unwrap_or_default();
            if !newer.values.is_empty() {
                series.values.extend(newer.values);
                series.last = newer.last;
            }
            self.fields.insert(path, series);
        }
    }
}

fn time_of(line: &[u8]) -> Option<DateTime<Utc>> {
    Record::parse(line).ok()?.observed_at.parse().ok()
}

fn year_of(site: &Site, view: &View, name: &str) -> anyhow::Result<Year> {
    let mut chronicle = site.chronicle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    chronicle.advance(view)?;
    let coverage = chronicle.coverage(name, view);
    Ok(coverage.map_or_else(Year::default, |coverage| year(&coverage, view.committed.now)))
}

/// A change as its record has it.
#[derive(Deserialize)]
struct Kept {
    before: Option<(DateTime<Utc>, String)>,
    after: String,
    #[serde(default)]
    screen: Option<String>,
    #[serde(default)]
    why: String,
}

impl Kept {
    /// The picture, if it is one.
    fn picture(&self) -> Option<Vec<u8>> {
        let picture = BASE64.decode(self.screen.as_deref()?.as_bytes()).ok()?;
        picture.starts_with(PNG).then_some(picture)
    }
}

/// The last change that was kept, and when it was.
fn last_change(view: &View, name: &str) -> anyhow::Result<Option<(String, Kept)>> {
    let lines = last_lines(&view.committed, &format!("{CHANGED}{name}"), 1, CHANGE_BYTES_MAX, |_| true)?;
    let Some(line) = lines.first() else { return Ok(None) };
    let line = Record::parse(line.as_bytes())?;
    let at = line.observed_at.get(..19).unwrap_or_default().replace('T', " ");
    Ok(Some((at, serde_json::from_str(line.data.get())?)))
}

/// The same, and what is different.
fn change(view: &View, name: &str) -> anyhow::Result<Option<Change>> {
    let Some((at, kept)) = last_change(view, name)? else { return Ok(None) };
    let before = match &kept.before {
        Some((at, _)) => format!("the page of {}", at.format("%Y-%m-%d %H:%M:%S")),
        None => String::new(),
    };
    // Another time makes it another address: browsers keep what they have seen.
    let screen = kept.picture().map(|_| format!("/source/{name}/screen?at={}", at.replace(' ', "T")));
    let lines = kept.before.map(|(_, page)| difference(&page, &kept.after)).unwrap_or_default();
    let page = kept.after.chars().take(PAGE_SHOWN).collect();
    Ok(Some(Change { at, before, why: kept.why, lines, page, screen: screen.unwrap_or_default() }))
}

fn rejects(view: &View, name: &str) -> anyhow::Result<Vec<Reject>> {
    let lines = last_lines(&view.committed, &format!("{REJECTED}{name}"), REJECTS_MAX, BYTES_MAX, |_| true)?;
    let reject = |line: &String| {
        let line = Record::parse(line.as_bytes()).ok()?;
        let all = scalars(line.data);
        let of = |wanted: &str| {
            let json = all.iter().find(|(path, _)| path == wanted).map(|(_, json)| *json)?;
            serde_json::from_str::<String>(json).ok()
        };
        Some(Reject {
            at: line.observed_at.get(..19).unwrap_or_default().replace('T', " "),
            field: of("field").unwrap_or_default(),
            outcome: of("outcome").unwrap_or_default(),
            reason: of("reason").unwrap_or_default(),
            raw: cut(&of("raw").unwrap_or_default(), RAW_MAX),
        })
    };
    Ok(lines.iter().filter_map(reject).collect())
}
