//! Answers kept as they came, and given again: `tapline run --record DIR`, and `tapline replay DIR`.
//!
//! What is kept is a WARC file (ISO 28500, version 1.1) of each source and each start, which other tools read too. Every answer
//! is a `response` with its headers and its body as it came; what brought no answer is a `metadata` with the reason. Fields
//! of our own say which tick it was for and what was asked. What was sent is not kept, because there are keys in it.

mod play;
mod warc;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use self::play::Player;
pub use self::play::{Recorded, recorded};
use self::warc::Writer;
#[cfg(any(test, fuzzing))]
pub(crate) use self::warc::checks::any as any_recording;
use super::Failure;
use super::request::{Answer, Request};
use crate::context::Context;
use crate::secrets;

/// What is done with answers, for all sources of a context.
#[derive(Debug, Default)]
pub struct Tapes(OnceLock<Mode>);

#[derive(Debug)]
enum Mode {
    Record(PathBuf),
    Play(PathBuf),
}

impl Tapes {
    /// Keeps every answer in a folder, for as long as the context lives. To be said before any source is made.
    pub fn record(&self, folder: PathBuf) {
        // It is said once, by the command.
        self.0.set(Mode::Record(folder)).ok();
    }

    /// Takes every answer from a folder, and asks nobody.
    pub fn play(&self, folder: PathBuf) {
        self.0.set(Mode::Play(folder)).ok();
    }
}

/// What one source does with its answers.
pub(super) enum Tape {
    Off,
    Record(Recorder),
    Play(Box<Player>),
}

/// Keeps them.
pub(super) struct Recorder {
    folder: PathBuf,
    source: String,
    slot: Option<DateTime<Utc>>,
    writer: Option<Writer>,
    /// Whether it was said that keeping fails: once is enough.
    is_failing: bool,
}

impl Tape {
    pub(super) fn of(context: &Context) -> Self {
        let source = context.source().to_string();
        match context.shared::<Tapes>().0.get() {
            None => Self::Off,
            Some(Mode::Record(folder)) => Self::Record(Recorder {
                folder: folder.join(&source),
                source,
                slot: None,
                writer: None,
                is_failing: false,
            }),
            Some(Mode::Play(folder)) => Self::Play(Box::new(Player::new(folder, &source))),
        }
    }

    /// What comes is for the tick of this time.
    pub(super) fn slot(&mut self, slot: DateTime<Utc>) {
        match self {
            Self::Off => {}
            Self::Record(recorder) => recorder.slot = Some(slot),
            Self::Play(player) => player.slot(slot),
        }
    }

    /// Keeps what came, where that is wanted. Whether that succeeds changes nothing for who asked.
    pub(super) async fn keep(&mut self, context: &Context, request: &Request, answer: &Result<Answer, Failure>) {
        let Self::Record(recorder) = self else { return };
        let record = warc::Record {
            date: context.now(),
            id: context.random_token(),
            slot: recorder.slot,
            asked: asked(request),
            what: warc::What::of(answer),
        };
        match recorder.write(context, record).await {
            Ok(()) => recorder.is_failing = false,
            Err(error) if !recorder.is_failing => {
                recorder.is_failing = true;
                let folder = recorder.folder.display();
                tracing::warn!(source.name = %recorder.source, %folder, "answers are not recorded: {error:#}");
            }
            Err(_) => {}
        }
    }
}

impl Recorder {
    async fn write(&mut self, context: &Context, record: warc::Record) -> anyhow::Result<()> {
        let writer = match self.writer.take().filter(|writer| !writer.is_full()) {
            Some(writer) => writer,
            None => Writer::create(&self.folder, &self.source, record.date)?,
        };
        // To compress a page takes longer than to send it on.
        let written = context.compute(move || writer.write(&record)).await?;
        self.writer = Some(written.context("the record cannot be written")?);
        Ok(())
    }
}

/// What is asked, in one line and without what is secret, by which an answer is found again.
fn asked(request: &Request) -> String {
    let body = request.payload.as_ref().map(|payload| blake3::hash(&payload.bytes).to_hex()[..16].to_owned());
    let body = body.map_or(String::new(), |hash| format!(" {hash}"));
    format!("{} {}{body}", request.method, secrets::hide(request.url.as_str()))
}

/// The files of a source, in the order in which they were begun.
fn files(folder: &Path, source: &str) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder.join(source))?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".warc.gz"));
    files.sort();
    Ok(files)
}
