//! A program as a source.

use std::io::ErrorKind;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout, timeout_at};

use super::child::Running;
use super::lines::{Line, Lines};
use super::singer::{Said, Singer};
use super::{Exec, Format};
use crate::context::Context;
use crate::cursor::Cursor;
use crate::item::Reject;
use crate::message::{Made, Reader, undated};
use crate::outcome::Outcome;
use crate::source::{Ailment, Batch, Source, SourceError};

/// How long a program may take to end that has closed its output.
const END_MAX: Duration = Duration::from_secs(10);

/// What is read at once at most.
const READ_BYTES: usize = 256 << 10;

/// The source.
pub(super) struct Stream {
    exec: Exec,
    context: Context,
    reads: Reads,
    state: Option<Box<RawValue>>,
    running: Option<Running>,
    lines: Lines,
    bytes: Vec<u8>,
    /// When a line came last.
    heard: Instant,
    /// Its output is over, and its end is waited for.
    is_over: bool,
    undated: Option<String>,
}

/// How lines are read.
enum Reads {
    Json(Reader),
    Text(Reader),
    Singer(Box<Singer>),
}

#[async_trait]
impl Source for Stream {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        self.state = cursor.and_then(|cursor| cursor.read().ok());
        self.start()
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        if self.running.is_none() {
            self.start()?;
        }
        let Some(running) = &mut self.running else {
            return Err(SourceError::Lost(anyhow::anyhow!("it does not run")));
        };
        if !self.is_over {
            self.bytes.clear();
            self.bytes.reserve(READ_BYTES);
            let read = running.read(&mut self.bytes);
            let read = match self.exec.idle {
                None => read.await,
                Some(idle) => {
                    let Ok(read) = timeout_at(self.heard + idle.0, read).await else {
                        self.running = None;
                        return Err(SourceError::Silent { quiet: self.heard.elapsed() });
                    };
                    read
                }
            };
            let len = read
                .map_err(|error| SourceError::Lost(anyhow::Error::new(error).context("the program's output broke")))?;
            self.heard = Instant::now();
            self.is_over = len == 0;
            let mut lines = Vec::new();
            if self.is_over {
                lines.extend(self.lines.end());
            } else {
                self.lines.push(&self.bytes, &mut lines);
            }
            if !lines.is_empty() || !self.is_over {
                return Ok(self.batch(lines));
            }
        }
        let end = timeout(END_MAX, running.end()).await;
        self.running = None;
        let Ok(end) = end else {
            return Err(SourceError::Lost(anyhow::anyhow!("the program closed its output and went on; it was ended")));
        };
        match (end, self.exec.again) {
            (Some(why), _) => Err(SourceError::Failing(why)),
            (None, Some(again)) => Ok(Batch { wait: again.0, ..Batch::default() }),
            (None, None) => Err(SourceError::Lost(anyhow::anyhow!("the program ended"))),
        }
    }

    fn ailments(&self) -> Vec<Ailment> {
        self.undated.as_deref().map(undated).into_iter().collect()
    }
}

impl Stream {
    pub(super) fn new(exec: Exec, context: &Context) -> anyhow::Result<Self> {
        let reader = exec.message.reader(context.source(), &[])?;
        let reads = match exec.format {
            Format::Json => Reads::Json(reader),
            Format::Text => Reads::Text(reader),
            Format::Singer => Reads::Singer(Box::new(Singer::new(reader, context.source()))),
        };
        let max = usize::try_from(exec.max_line.0).unwrap_or(usize::MAX);
        Ok(Self {
            exec,
            context: context.clone(),
            reads,
            state: None,
            running: None,
            lines: Lines::new(max),
            bytes: Vec::new(),
            heard: Instant::now(),
            is_over: false,
            undated: None,
        })
    }

    fn start(&mut self) -> Result<(), SourceError> {
        // What ran before is ended first: two of it would do everything twice.
        self.running = None;
        let running = Running::start(&self.exec, self.context.source(), self.state.as_deref());
        self.running = Some(running.map_err(not_started)?);
        self.lines = Lines::new(usize::try_from(self.exec.max_line.0).unwrap_or(usize::MAX));
        (self.heard, self.is_over) = (Instant::now(), false);
        Ok(())
    }

    fn batch(&mut self, lines: Vec<Line>) -> Batch {
        let mut made = Made::default();
        let mut cursor = None;
        for line in lines {
            let text = match line {
                Line::Whole(bytes) => String::from_utf8(bytes).map_err(|error| {
                    let raw = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    ("this line is not UTF-8".to_owned(), raw)
                }),
                Line::TooLong(len, head) => {
                    let raw = String::from_utf8_lossy(&head).into_owned();
                    Err((format!("the line is too long: {len} bytes; allow more with `max_line`"), raw))
                }
            };
            let taken = text.and_then(|text| self.take(&text, &mut made, &mut cursor).map_err(|why| (why, text)));
            if let Err((why, raw)) = taken {
                made.rejects.push(Reject::new(Outcome::Invalid, None, why, &raw));
            }
        }
        if !made.items.is_empty() {
            self.undated = made.undated.take();
        }
        let Made { items, rejects, ignored, .. } = made;
        Batch { items, rejects, cursor, ignored, ..Batch::default() }
    }

    fn take(&mut self, text: &str, made: &mut Made, cursor: &mut Option<Cursor>) -> Result<(), String> {
        match &mut self.reads {
            Reads::Text(reader) => {
                let json = to_raw_value(text).expect("invariant: a text has a JSON form");
                reader.take(&json, &"line".into(), made);
            }
            Reads::Json(reader) => {
                let read = reader.read(text, &"line".into(), made);
                read.map_err(|why| format!("{why}; where that is as it should be, write `format: text`"))?;
            }
            Reads::Singer(singer) => {
                if let Said::State(state) = singer.take(text, made)? {
                    *cursor = Cursor::new(&state).ok();
                    self.state = Some(state);
                }
            }
        }
        Ok(())
    }
}

/// A program that is not there will not be there soon; that the machine has no room for one more may pass.
fn not_started(error: anyhow::Error) -> SourceError {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        Some(
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::NotADirectory,
        )
        | None => SourceError::Refused(error.context("see `command`")),
        Some(_) => SourceError::Failing(error),
    }
}
