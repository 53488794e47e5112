//! The program that runs.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::task::{JoinHandle, unconstrained};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Exec;
use super::ending::{Group, PATIENCE, Programs};
use super::files;
use crate::context::Context;
use crate::secrets;

/// What a program has of our own environment: what it needs to run at all, and none of the secrets that may be there.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// So many lines of its standard error are kept for a person, of so many characters.
const SAID_MAX: usize = 5;
const SAID_CHARS_MAX: usize = 300;

/// How much is read of a program that has ended; no pipe holds as much. Somebody else may go on writing into it for ever.
const REST_MAX: usize = 4 << 20;

/// The last lines of a standard error.
type Said = Arc<Mutex<VecDeque<String>>>;

/// A program. It ends with this, and everything that it has started in its process group.
pub(super) struct Running {
    group: Option<Group>,
    context: Context,
    out: ChildStdout,
    said: Said,
    listening: Option<JoinHandle<()>>,
    /// Of its standard error only what is there already is still read.
    enough: CancellationToken,
    over: Option<Over>,
}

/// How and when the program itself ended. What it has started may still have its output.
struct Over {
    status: io::Result<ExitStatus>,
    at: Instant,
    /// How many bytes came since.
    rest: usize,
    is_killed: bool,
}

impl Running {
    /// Starts it, once the one before has ended.
    ///
    /// # Errors
    /// When it cannot be started, or the one before does not end.
    pub(super) async fn start(exec: &Exec, context: &Context, state: Option<&RawValue>) -> anyhow::Result<Self> {
        let place = context.shared::<Programs>().place(context.source()).await?;
        let (program, arguments) = exec.command.split_first().context("no program is named")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command.envs(std::env::vars_os().filter(|(name, _)| PASSED_ON.iter().any(|known| name == known)));
        command.envs(&exec.env);
        if let Some(folder) = &exec.folder {
            // What the system says would be that the program is not there.
            let about = std::fs::metadata(Path::new(folder));
            let about =
                about.and_then(|about| if about.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
            about.with_context(|| format!("see `folder`: {folder} is no folder that tapline may look into"))?;
            command.current_dir(folder);
        }
        let files = files::give(&mut command, exec, state)?;
        let mut child = command.spawn().with_context(|| not_started(program))?;
        let out = child.stdout.take().context("it has no standard output")?;
        let (said, enough) = (Said::default(), CancellationToken::new());
        let listen =
            |error| listen(BufReader::new(error), context.source().to_owned(), Arc::clone(&said), enough.clone());
        let listening = child.stderr.take().map(|error| tokio::spawn(listen(error)));
        let group = Some(Group::new(child, files, place)?);
        Ok(Self { group, context: context.clone(), out, said, listening, enough, over: None })
    }

    /// What it has written next; nothing at its end. Once the program itself has ended, whoever else of its group has its
    /// output is told to end, and only what is there by then is read. Cancel-safe.
    ///
    /// # Errors
    /// When the pipe breaks.
    pub(super) async fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let Some(group) = &mut self.group else { return Ok(0) };
        loop {
            let Some(over) = &mut self.over else {
                let status = tokio::select! {
                    biased;
                    read = self.out.read_buf(bytes) => return read,
                    status = group.wait() => status,
                };
                self.over = Some(Over { status, at: Instant::now(), rest: 0, is_killed: false });
                group.tell(Signal::TERM);
                continue;
            };
            let until = over.at + if over.is_killed { 2 * PATIENCE } else { PATIENCE };
            // What is there already is read at once, also after that, and however long it was not asked for.
            let read = timeout_at(until, unconstrained(self.out.read_buf(bytes))).await;
            let is_much = over.rest > REST_MAX;
            match read {
                Ok(read) if !is_much => {
                    over.rest += *read.as_ref().unwrap_or(&0);
                    return read;
                }
                _ if over.is_killed => return Ok(0),
                read => {
                    group.tell(Signal::KILL);
                    (over.is_killed, over.rest) = (true, 0);
                    if let Ok(read) = read {
                        return read;
                    }
                }
            }
        }
    }

    /// Waits for its end, and says how it was: nothing if it was good. Cancel-safe.
    pub(super) async fn end(&mut self) -> Option<anyhow::Error> {
        let group = self.group.as_mut()?;
        if self.over.is_none() {
            let status = group.wait().await;
            self.over = Some(Over { status, at: Instant::now(), rest: 0, is_killed: false });
            group.tell(Signal::TERM);
        }
        // Its last words are still on their way. Somebody else may have its standard error, and keep it.
        if let Some(listening) = &mut self.listening {
            if timeout(PATIENCE, &mut *listening).await.is_err() {
                self.enough.cancel();
                listening.await.ok();
            }
            self.listening = None;
        }
        let said: Vec<String> = self.said.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(" | ")) };
        match self.over.take()?.status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(anyhow!("the program ended with {status}{said}")),
            Err(error) => Some(anyhow!(error).context("the program's end cannot be waited for")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            group.end(&self.context);
        }
    }
}

/// Why a program may not have been started, beside what the system says of it.
fn not_started(program: &str) -> String {
    let why = if program.contains(char::is_whitespace) {
        "each argument is an element of its own, as in `[ls, -l]`"
    } else {
        "write its whole path, if it is in no folder of `PATH`"
    };
    format!("see `command`: `{program}` cannot be started; {why}")
}

/// Puts what a program says on its standard error into the log: all of it, and once that is enough, what is there by then.
async fn listen(error: impl AsyncBufRead + Unpin, source: String, said: Said, enough: CancellationToken) {
    let mut error = error;
    let mut line = Vec::new();
    let mut rest = 0;
    let mut is_over = false;
    while !is_over && rest <= REST_MAX {
        line.clear();
        // Bounded: a line without an end is taken in pieces.
        let mut piece = (&mut error).take(64 << 10);
        let read = tokio::select! {
            biased;
            read = piece.read_until(b'\n', &mut line) => Ok(read),
            () = enough.cancelled() => timeout(Duration::ZERO, unconstrained(piece.read_until(b'\n', &mut line))).await,
        };
        is_over = matches!(read, Ok(Ok(0) | Err(_)) | Err(_));
        if enough.is_cancelled() {
            rest += line.len();
        }
        // What is secret is hidden before anything is cut: half of it would not be known any more.
        let hidden = secrets::hide(String::from_utf8_lossy(&line).trim_end()).to_string();
        let text: String = hidden.chars().take(SAID_CHARS_MAX).collect();
        if text.is_empty() {
            continue;
        }
        let text = text.escape_debug().to_string();
        tracing::info!(source.name = %source, "the program says: {text}");
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == SAID_MAX {
            said.pop_front();
        }
        said.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A busy machine comes late to what a program said, and somebody else may keep the pipe for ever.
    #[tokio::test]
    async fn what_is_there_is_heard_once_it_is_enough() {
        let (mut program, pipe) = tokio::io::duplex(1 << 20);
        let text = "word\n".repeat(5_000) + "the last\n";
        program.write_all(text.as_bytes()).await.unwrap();
        let (said, enough) = (Said::default(), CancellationToken::new());
        enough.cancel();
        listen(BufReader::new(pipe), "s".to_owned(), Arc::clone(&said), enough).await;
        assert_eq!(said.lock().unwrap().back().map(String::as_str), Some("the last"));
        drop(program);
    }
}
