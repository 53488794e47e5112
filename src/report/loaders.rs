//! How far each store is, and how it does.

use std::io;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::pipeline::load::{Health, Loaded, Select, State, loaded_key, loader_key};
use crate::record::{Line, time_text};
use crate::sink::Position;

use super::committed::Committed;
use super::lengths::{Seconds, many, words};

/// A loader, and how far it is with each of its streams.
pub struct Found {
    /// What it is called.
    pub name: String,
    /// Whether it is one of the service's, and not of a `tapline load`.
    pub of_service: bool,
    /// Whether it runs.
    pub runs: bool,
    /// What it last said of itself.
    pub health: Health,
    /// How far it is with each.
    pub streams: Vec<Stream>,
    /// Whether nobody has to do anything.
    pub is_well: bool,
}

/// What waits to be loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lag {
    /// How many records.
    pub records: u64,
    /// How many bytes of lines.
    pub bytes: u64,
    /// When the first of them was observed.
    pub since: Option<DateTime<Utc>>,
    /// There is more than was counted.
    pub is_more: bool,
}

/// How far a loader is with a stream.
pub struct Stream {
    /// Its name.
    pub name: String,
    /// How far it is loaded.
    pub loaded: Loaded,
    /// What waits to be loaded; `None` where it cannot be told.
    pub lag: Option<Lag>,
}

/// The service's own loaders. What waits for them is counted up to so many bytes of each stream.
///
/// # Errors
/// When the data cannot be read.
pub fn of_service(committed: &Committed, at_most: u64) -> anyhow::Result<Vec<Found>> {
    all(committed, committed, true, at_most)
}

/// What `tapline load` has left in its folders.
///
/// # Errors
/// When the data cannot be read.
pub fn of_loads(committed: &Committed, dir: &Path) -> anyhow::Result<Vec<Found>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut folders = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    folders.sort();
    let mut found = Vec::new();
    for folder in folders {
        found.extend(all(&Committed::look(&folder)?, committed, false, u64::MAX)?);
    }
    Ok(found)
}

/// Every loader whose state is in `state`, beside the data in `data`.
fn all(state: &Committed, data: &Committed, of_service: bool, at_most: u64) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for name in state.names(&loader_key("")) {
        let Some(health) =
            state.state().get(&loader_key(name)).and_then(|saved| serde_json::from_str::<Health>(saved.get()).ok())
        else {
            continue;
        };
        let select = Select(health.streams.clone());
        let mut streams = Vec::new();
        for stream in data.names("stream/").filter(|stream| select.takes(stream)) {
            streams.push(stream_of(name, stream, state, data, at_most)?);
        }
        // Files that were loaded are not streams of the data folder.
        for stream in state.names(&loaded_key(name, "")).filter(|stream| stream.contains('#')) {
            let Some(loaded) = read_loaded(state, name, stream) else { continue };
            streams.push(Stream { name: stream.to_owned(), loaded, lag: None });
        }
        let runs = state.service.is_some() && health.state != State::Stopped;
        let is_well = health.state != State::Parked && (runs || !of_service || state.service.is_none());
        found.push(Found { name: name.to_owned(), of_service, runs, health, streams, is_well });
    }
    Ok(found)
}

fn read_loaded(state: &Committed, loader: &str, stream: &str) -> Option<Loaded> {
    serde_json::from_str(state.state().get(&loaded_key(loader, stream))?.get()).ok()
}

fn stream_of(name: &str, stream: &str, state: &Committed, data: &Committed, at_most: u64) -> anyhow::Result<Stream> {
    let first = data.saved(stream)?.map_or(1, |saved| saved.first);
    let nothing = Loaded::from(Position::start_of(first));
    let loaded = read_loaded(state, name, stream).unwrap_or(nothing);
    let mut lag = Lag::default();
    data.lines_while(stream, loaded.at, &mut |line| {
        if lag.bytes >= at_most {
            lag.is_more = true;
            return false;
        }
        if lag.records == 0 {
            lag.since = Line::parse(line).ok().and_then(|line| line.observed_at.parse().ok());
        }
        lag.records += 1;
        lag.bytes += line.len() as u64 + 1;
        true
    })?;
    Ok(Stream { name: stream.to_owned(), loaded, lag: Some(lag) })
}

impl Found {
    /// A sum over its streams.
    pub fn sum(&self, of: impl Fn(&Stream) -> u64) -> u64 {
        self.streams.iter().map(of).sum()
    }

    /// Records that wait to be loaded.
    pub fn lag_records(&self) -> u64 {
        self.sum(|stream| stream.lag.map_or(0, |lag| lag.records))
    }

    /// Whether more waits than was counted.
    pub fn is_more(&self) -> bool {
        self.streams.iter().any(|stream| stream.lag.is_some_and(|lag| lag.is_more))
    }

    /// Since when something has been waiting to be loaded.
    pub fn behind_since(&self) -> Option<DateTime<Utc>> {
        self.streams.iter().filter_map(|stream| stream.lag?.since).min()
    }

    /// Its state in words.
    pub fn state_words(&self, now: DateTime<Utc>) -> String {
        let since = micros(now - self.health.since);
        let wait = self.health.until.map(|until| words(micros(until - now))).unwrap_or_default();
        match self.health.state {
            _ if !self.runs => "not running".to_owned(),
            State::Connecting => "connecting".to_owned(),
            State::Loading if self.lag_records() == 0 => "caught up".to_owned(),
            State::Loading => format!("loading since {}", words(since)),
            State::Waiting => format!("waiting for the store since {}, tries again in {wait}", words(since)),
            State::Parked => format!("PARKED since {}, looks again in {wait}", words(since)),
            State::Stopped => "stopped".to_owned(),
        }
    }

    /// Lines for people.
    pub fn words(&self, now: DateTime<Utc>) -> Vec<String> {
        let mark = if self.is_well { ' ' } else { '!' };
        let kind = if self.of_service { "" } else { " (tapline load)" };
        let mut lines = vec![format!("{mark} {}{kind}  {}; to {}", self.name, self.state_words(now), self.health.to)];
        let sum = |of: fn(&Stream) -> u64| many(self.sum(of));
        lines.push(format!(
            "    {} records, {} of them were there already, {} dead, {} retries",
            sum(|stream| stream.loaded.records),
            sum(|stream| stream.loaded.exists),
            sum(|stream| stream.loaded.dead),
            many(self.health.retries)
        ));
        for stream in &self.streams {
            let Some(Lag { records, bytes, since, .. }) = stream.lag.filter(|lag| lag.records > 0) else { continue };
            let since =
                since.map_or_else(String::new, |since| format!(", the oldest seen {} ago", words(micros(now - since))));
            lines.push(format!(
                "    {}: {} records behind, {}{since}",
                stream.name,
                many(records),
                bytesize::ByteSize(bytes)
            ));
        }
        if let (Some(error), Some(at)) = (&self.health.error, self.health.error_at) {
            lines.push(format!("    last error {} ago: {error}", words(micros(now - at))));
        }
        lines
    }

    /// An object for programs.
    pub fn json(&self, now: DateTime<Utc>) -> Value {
        let streams = self.streams.iter().map(|stream| {
            let Loaded { at, records, exists, dead, .. } = stream.loaded;
            json!({
                "stream": stream.name, "segment": at.segment, "offset": at.offset,
                "records": records, "exists": exists, "dead": dead,
                "lag_records": stream.lag.map(|lag| lag.records),
                "lag_bytes": stream.lag.map(|lag| lag.bytes),
                "behind_since": stream.lag.and_then(|lag| lag.since).as_ref().map(time_text),
            })
        });
        let text = |at: Option<DateTime<Utc>>| at.as_ref().map(time_text);
        json!({
            "loader": self.name,
            "to": self.health.to,
            "of_service": self.of_service,
            "runs": self.runs,
            "well": self.is_well,
            "state": self.health.state,
            "since": time_text(&self.health.since),
            "until": text(self.health.until),
            "lag_records": self.lag_records(),
            "lag_seconds": self.behind_since().map(|since| Seconds(micros(now - since))),
            "behind_since": text(self.behind_since()),
            "records": self.sum(|stream| stream.loaded.records),
            "exists": self.sum(|stream| stream.loaded.exists),
            "dead": self.sum(|stream| stream.loaded.dead),
            "retries": self.health.retries,
            "error": self.health.error,
            "error_at": text(self.health.error_at),
            "streams": streams.collect::<Vec<_>>(),
        })
    }
}

fn micros(length: TimeDelta) -> i64 {
    length.num_microseconds().unwrap_or(i64::MAX)
}
