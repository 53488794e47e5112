//! A loader's own writing: positions and dead letters, in one frame of the commit log.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::context::Context;
use crate::pipeline::commit::Append;
use crate::pipeline::metrics::Metrics;
use crate::pipeline::state::Change;
use crate::pipeline::writer::{Ended, Writer};
use crate::record::Record;
use crate::secrets;
use crate::sink::Position;

use super::saved::{Health, Loaded, dead_stream, loaded_key, loader_key};
use super::tracker::Dead;

/// What is kept of a reason, in bytes: stores put whole documents into their messages.
const REASON_BYTES_MAX: usize = 1_000;

/// Where a loader writes.
pub(super) struct Journal {
    writer: Writer,
    context: Context,
    loader: Arc<str>,
    dead: Arc<str>,
}

/// The `data` of a dead letter.
#[derive(Serialize)]
struct Letter<'a> {
    stream: &'a str,
    /// What the position is a place in, where that is not the stream: a file, or a stream of dead letters.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    of: Option<&'a str>,
    position: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    reason: &'a str,
    /// The line: as it is where it is JSON, else as a text.
    record: Box<RawValue>,
}

impl Journal {
    pub(super) fn new(writer: Writer, context: Context, loader: Arc<str>) -> Self {
        let dead = dead_stream(&loader).into();
        Self { writer, context, loader, dead }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn metrics(&self) -> &Metrics {
        self.writer.metrics()
    }

    /// Saves how far a lane is loaded, with the dead letters that this passes. These are durable when this returns, because
    /// the store may keep positions itself, and would never be asked for these records again; and so is the position if it
    /// `must_last`.
    pub(super) async fn save(
        &self,
        key: &str,
        stream: &str,
        loaded: &Loaded,
        dead: &[Dead<'_>],
        must_last: bool,
    ) -> Result<(), Ended> {
        let mut lines = Vec::new();
        for letter in dead {
            self.letter(key, stream, letter).write_line(&mut lines);
        }
        let lines = if lines.is_empty() { Vec::new() } else { vec![(Arc::clone(&self.dead), lines)] };
        let must_last = must_last || !lines.is_empty();
        let state = vec![change(loaded_key(&self.loader, key), loaded)];
        self.writer.append(Append { lines, state }).await?;
        if must_last { self.writer.flush().await } else { Ok(()) }
    }

    /// Saves how the loader is.
    pub(super) async fn say(&self, health: &Health) -> Result<(), Ended> {
        let state = vec![change(loader_key(&self.loader), health)];
        self.writer.append(Append { lines: Vec::new(), state }).await.map(drop)
    }

    fn letter(&self, key: &str, stream: &str, dead: &Dead<'_>) -> Record {
        let text = String::from_utf8_lossy(dead.line);
        let record = serde_json::from_slice::<Box<RawValue>>(dead.line)
            .unwrap_or_else(|_| to_raw_value(&text).expect("invariant: a text has a JSON form"));
        let position = dead.position;
        let of = (key != stream).then_some(key);
        let reason = secrets::hide(cut(&dead.reason));
        let letter = Letter { stream, of, position, id: dead.id.clone(), reason: &reason, record };
        let place = blake3::hash(format!("{}/{key}", self.loader).as_bytes()).to_hex();
        Record {
            observed_at: self.context.now(),
            source: Arc::clone(&self.loader),
            id: format!("d_{:x}_{:x}_{}", position.segment, position.offset, &place[..12]),
            kind: "dead".into(),
            published_at: None,
            data: to_raw_value(&letter).expect("invariant: our own types have a JSON form"),
        }
    }
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

fn change(key: String, value: &impl Serialize) -> Change {
    (key, Some(to_raw_value(value).expect("invariant: our own types have a JSON form")))
}
