//! A program as a source.

use std::io::ErrorKind;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout, timeout_at};

use super::child::Running;
use super::known::Parts;
use super::lines::{Line, Lines};
use super::singer::{Said, Singer};
use super::{Exec, Format};
use crate::context::Context;
use crate::cursor::{Cursor, Recall};
use crate::item::Reject;
use crate::message::{Made, Reader, undated};
use crate::outcome::Outcome;
use crate::source::{Ailment, Batch, Note, Source, SourceError};

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
    /// One has been started already.
    has_run: bool,
    lines: Lines,
    bytes: Vec<u8>,
    /// When a line came last.
    heard: Instant,
    /// When it was last left alone by who listens: a slow disk is not its silence.
    left: Option<Instant>,
    /// Its output is over, and its end is waited for.
    is_over: bool,
    undated: Option<String>,
    notes: Vec<Note>,
    /// What is to be saved beside the cursor with the next batch.
    parts: Parts,
}

/// How lines are read.
enum Reads {
    Json(Reader),
    Text(Reader),
    Singer(Box<Singer>),
}

/// The position of a tap. It says whose it is: a source may have been of another kind, with another's cursor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    state: Box<RawValue>,
}

#[async_trait]
impl Source for Stream {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        let position = cursor.map(Cursor::read::<Position>).transpose();
        self.state = position
            .unwrap_or_else(|error| {
                let why = "the saved position is none of a Singer tap: the tap begins from the start";
                tracing::warn!(source.name = %self.context.source(), error = %error, "{why}");
                self.notes.push(Note::new("cursor_unreadable", json!({ "why": why })));
                None
            })
            .map(|position| position.state);
        self.start().await
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        // Nobody was listening meanwhile.
        if let Some(left) = self.left.take() {
            self.heard += left.elapsed();
        }
        let batch = self.listen().await;
        self.left = Some(Instant::now());
        batch
    }

    fn recall(&mut self, recall: Recall) {
        if let Reads::Singer(singer) = &mut self.reads {
            singer.recall(&recall.parts);
        }
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
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
            has_run: false,
            lines: Lines::new(max),
            bytes: Vec::new(),
            heard: Instant::now(),
            left: None,
            notes: Vec::new(),
            parts: Parts::new(),
            is_over: false,
            undated: None,
        })
    }

    async fn start(&mut self) -> Result<(), SourceError> {
        // What ran before is told to end.
        self.running = None;
        let running = Running::start(&self.exec, &self.context, self.state.as_deref()).await;
        self.running = Some(running.map_err(|error| not_started(error, self.has_run))?);
        self.has_run = true;
        if let Reads::Singer(singer) = &mut self.reads {
            singer.begin(self.state.as_deref());
        }
        self.lines = Lines::new(usize::try_from(self.exec.max_line.0).unwrap_or(usize::MAX));
        (self.heard, self.left, self.is_over) = (Instant::now(), None, false);
        Ok(())
    }

    async fn listen(&mut self) -> Result<Batch, SourceError> {
        if self.running.is_none() {
            self.start().await?;
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
                Some(idle) => match timeout_at(self.heard + idle.0, read).await {
                    Ok(read) => read,
                    Err(_) => return Err(self.silent()),
                },
            };
            let len = read
                .map_err(|error| SourceError::Lost(anyhow::Error::new(error).context("the program's output broke")))?;
            self.is_over = len == 0;
            let mut lines = Vec::new();
            if self.is_over {
                lines.extend(self.lines.end());
            } else if self.lines.push(&self.bytes, &mut lines) {
                self.heard = Instant::now();
            } else if self.exec.idle.is_some_and(|idle| self.heard.elapsed() >= idle.0) {
                return Err(self.silent());
            }
            if !lines.is_empty() || !self.is_over {
                return Ok(self.batch(lines));
            }
        }
        self.ended().await
    }

    /// It is ended: nothing comes of it.
    fn silent(&mut self) -> SourceError {
        self.running = None;
        SourceError::Silent { quiet: self.heard.elapsed() }
    }

    /// What its end means.
    async fn ended(&mut self) -> Result<Batch, SourceError> {
        let end = match &mut self.running {
            Some(running) => timeout(END_MAX, running.end()).await,
            None => Ok(None),
        };
        self.running = None;
        let Ok(end) = end else {
            return Err(SourceError::Lost(anyhow::anyhow!("the program closed its output and went on; it was ended")));
        };
        if end.is_none() {
            self.settle();
        }
        match (end, self.exec.again) {
            (Some(why), _) => Err(SourceError::Failing(why)),
            (None, Some(again)) => Ok(Batch { wait: again.0, parts: self.changed(), ..Batch::default() }),
            (None, None) => Err(SourceError::Lost(anyhow::anyhow!(
                "the program ended in order; of one that does its work and ends, `again` says when next"
            ))),
        }
    }

    /// What came so far will not come again.
    fn settle(&mut self) {
        if let Reads::Singer(singer) = &mut self.reads {
            singer.settle(&mut self.parts);
        }
    }

    /// What is to be saved beside the cursor.
    fn changed(&mut self) -> Vec<(u32, Option<Box<RawValue>>)> {
        std::mem::take(&mut self.parts).into_iter().map(|(number, part)| (number, Some(part))).collect()
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
        Batch { items, rejects, cursor, parts: self.changed(), ignored, ..Batch::default() }
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
                    singer.settle(&mut self.parts);
                    let position = Position { state };
                    *cursor = Cursor::new(&position).ok();
                    self.state = Some(position.state);
                }
            }
        }
        Ok(())
    }
}

/// A program that was never there will not be there soon. One that was may just be being replaced; and that the machine has no room
/// for one more may pass.
fn not_started(error: anyhow::Error, has_run: bool) -> SourceError {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        _ if has_run => SourceError::Failing(error),
        Some(
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::NotADirectory,
        )
        | None => SourceError::Refused(error),
        Some(_) => SourceError::Failing(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::SystemClock;
    use crate::source::Settings as _;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_cursor_of_another_kind_is_not_given_to_a_tap_and_that_is_said() {
        let message = r#"{"type":"RECORD","stream":"s","record":{"arguments":"'"$*"'"}}"#;
        let yaml = json!({ "command": ["sh", "-c", format!("echo '{message}'"), "sh"], "format": "singer" });
        let context = Context::new(Arc::new(SystemClock));
        for (cursor, expected) in [
            (json!({ "last_event_id": "7" }), (1, false)),
            (json!({ "state": { "n": 7 } }), (0, true)),
            (json!("text"), (1, false)),
        ] {
            let mut stream = Exec::read(yaml.clone()).unwrap().open(&context).unwrap();
            stream.connect(Some(&Cursor::new(&cursor).unwrap())).await.unwrap();
            let notes = stream.notes().iter().filter(|note| note.kind == "cursor_unreadable").count();
            let batch = stream.next().await.unwrap();
            assert_eq!((notes, batch.items[0].data.get().contains("--state")), expected, "{cursor}");
        }
        context.ended().await;
    }

    #[test]
    fn a_program_that_has_run_may_be_there_again_soon() {
        let missing = || anyhow::Error::from(std::io::Error::from(ErrorKind::NotFound)).context("cannot be started");
        assert!(matches!(not_started(missing(), false), SourceError::Refused(_)));
        assert!(matches!(not_started(missing(), true), SourceError::Failing(_)));
        let stuck = anyhow::Error::from(std::io::Error::from(ErrorKind::TimedOut)).context("still there");
        assert!(matches!(not_started(stuck, false), SourceError::Failing(_)));
    }
}
