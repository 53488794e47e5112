//! `tapline tail`: follows a stream's lines as they are committed, from another process, across rotation.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCandidates;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::fs::{Disk, Fs};
use crate::pipeline::commit::{OWN_DIR, stream_key};
use crate::pipeline::state::Watch;
use crate::record::Line;
use crate::sink::{Committed, Position};
use crate::sinks::segments::Saved;
use crate::sinks::segments::name::{self, Form, Name};
use crate::sinks::segments::read::Reader;

use super::terminal::harmless;
use super::{completions, signals, sources};

/// How often the commit log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How far back the last lines are looked for, in bytes.
const LAST_BYTES: u64 = 1 << 20;

const CHUNK_BYTES: usize = 64 * 1024;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline tail bseindex                 the last ten lines, then each new one
  tapline tail bseindex --json | jq .   the lines as they are in the file
  tapline tail _ledger --last 50 --no-follow")]
pub struct Tail {
    /// The stream: a source's name, `_ledger`, or `_rejected/NAME`
    #[arg(add = ArgValueCandidates::new(completions::of_streams))]
    name: String,
    /// The lines as they are in the file
    #[arg(long)]
    json: bool,
    /// How many lines of the active segment to begin with
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: usize,
    /// End after those
    #[arg(long)]
    no_follow: bool,
}

impl Tail {
    /// Carries out the command.
    ///
    /// # Errors
    /// When the data folder cannot be read.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(settings) = sources::load_service(global) else { return Ok(ExitCode::FAILURE) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stop = signals::stop_token()?;
            match self.follow(&settings.data, &stop).await {
                // Whoever read the pipe has seen enough.
                Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
                result => result,
            }
        })
    }

    async fn follow(&self, root: &Path, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let mut watch = Watch::new(Arc::clone(&fs), &root.join(OWN_DIR));
        watch.refresh()?;
        let stream: Arc<str> = self.name.as_str().into();
        let mut out = Out { to: io::stdout().lock(), json: self.json, is_terminal: io::stdout().is_terminal() };
        let mut reader = None;
        if let Some(saved) = committed(&watch, &stream)? {
            let last = last_lines(&*fs, root, &stream, &saved, self.last)?;
            out.write(&last)?;
            reader = Some(Reader::new(Arc::clone(&fs), root, Arc::clone(&stream), Committed::from(&saved).end));
        } else {
            self.say_unknown(&watch, root);
        }
        if self.no_follow {
            return Ok(if reader.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let mut lines = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if !watch.refresh()? {
                continue;
            }
            let Some(saved) = committed(&watch, &stream)? else { continue };
            let reader = reader.get_or_insert_with(|| {
                Reader::new(Arc::clone(&fs), root, Arc::clone(&stream), Position::start_of(saved.first))
            });
            while reader.read(Committed::from(&saved), CHUNK_BYTES, &mut lines)?.is_some() {
                out.write(&lines)?;
                lines.clear();
            }
        }
    }

    /// A name that no commit knows may be one that is about to come, or a slip: the others are named.
    #[expect(clippy::print_stderr, reason = "a word to the user, apart from the lines")]
    fn say_unknown(&self, watch: &Watch, root: &Path) {
        let known: Vec<&str> = watch.state().keys().filter_map(|key| key.strip_prefix("stream/")).collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        eprintln!("tapline: {} has no lines in {} (streams there: {known})", self.name, root.display());
    }
}

fn committed(watch: &Watch, stream: &str) -> anyhow::Result<Option<Saved>> {
    let saved = watch.state().get(&stream_key(stream)).map(|saved| serde_json::from_str(saved.get()));
    saved.transpose().with_context(|| format!("the commit log's entry of {stream} is damaged"))
}

/// The last lines of the active segment.
fn last_lines(fs: &dyn Fs, root: &Path, stream: &str, saved: &Saved, count: usize) -> anyhow::Result<Vec<u8>> {
    let path: PathBuf = name::path(root, stream, Name { number: saved.segment, day: saved.day, form: Form::Plain });
    let from = saved.len.saturating_sub(LAST_BYTES);
    let mut bytes = Vec::new();
    match fs.read_from(&path, from) {
        Ok(file) => file.take(saved.len - from).read_to_end(&mut bytes)?,
        // Closed and compressed: what comes next is in another.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    // Behind the line feed before the first of them; without one that many lines back, behind the first line feed,
    // because what is before it may be the end of a longer line.
    let start = memchr::memrchr_iter(b'\n', &bytes).nth(count).map(|feed| feed + 1);
    let start =
        start.unwrap_or_else(|| if from == 0 { 0 } else { memchr::memchr(b'\n', &bytes).map_or(0, |feed| feed + 1) });
    Ok(bytes.split_off(start))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Out<W> {
    to: W,
    json: bool,
    is_terminal: bool,
}

impl<W: Write> Out<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            let text = text.trim_end_matches('\n');
            let shown = if self.json { text.into() } else { plain(text) };
            let shown = if self.is_terminal || !self.json { harmless(&shown) } else { shown.as_ref().into() };
            writeln!(self.to, "{shown}")?;
        }
        self.to.flush()
    }
}

/// A line for people: time, type and data.
fn plain(line: &str) -> std::borrow::Cow<'_, str> {
    match Line::parse(line.as_bytes()) {
        Ok(read) => format!("{}  {}  {}", read.observed_at, read.kind, read.data.get()).into(),
        Err(_) => line.into(),
    }
}
