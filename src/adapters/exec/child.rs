//! The program that runs.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::{Exec, Format};
use crate::secrets;

/// What a program has of our own environment: what it needs to run at all, and none of the secrets that may be there.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// How long a program may take to end that was told to, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// So many lines of its standard error are kept for a person, of so many characters.
const SAID_MAX: usize = 5;
const SAID_CHARS_MAX: usize = 300;

/// A program. It ends with this, and everything that it has started in its process group.
pub(super) struct Running {
    child: Option<Child>,
    out: ChildStdout,
    group: Option<Pid>,
    /// The last lines of its standard error.
    said: Arc<Mutex<VecDeque<String>>>,
    /// Files that it was given.
    _files: Option<TempDir>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(exec: &Exec, source: &str, state: Option<&RawValue>) -> anyhow::Result<Self> {
        let (program, arguments) = exec.command.split_first().context("no program is named")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command.envs(std::env::vars_os().filter(|(name, _)| PASSED_ON.iter().any(|known| name == known)));
        command.envs(&exec.env);
        if let Some(folder) = &exec.folder {
            command.current_dir(folder);
        }
        let files = if exec.format == Format::Singer { give_files(&mut command, exec, state)? } else { None };
        let mut child = command.spawn().with_context(|| format!("`{program}` cannot be started"))?;
        let out = child.stdout.take().context("it has no standard output")?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(error) = child.stderr.take() {
            tokio::spawn(listen(BufReader::new(error), source.to_owned(), Arc::clone(&said)));
        }
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child: Some(child), out, group, said, _files: files })
    }

    /// What it has written next; nothing at its end. Cancel-safe.
    ///
    /// # Errors
    /// When the pipe breaks.
    pub(super) async fn read(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
        self.out.read_buf(bytes).await
    }

    /// Waits for its end, and says how it was: nothing if it was good. Cancel-safe.
    pub(super) async fn end(&mut self) -> Option<anyhow::Error> {
        let child = self.child.as_mut()?;
        let status = child.wait().await;
        let said: Vec<String> = self.said.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(" | ")) };
        match status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(anyhow!("the program ended with {status}{said}")),
            Err(error) => Some(anyhow!(error).context("the program's end cannot be waited for")),
        }
    }
}

impl Drop for Running {
    /// Ends it, while somebody waits: at the end of tapline nobody would be left to do it later.
    fn drop(&mut self) {
        let (Some(mut child), Some(group)) = (self.child.take(), self.group) else { return };
        let mut has_ended = || !matches!(child.try_wait(), Ok(None));
        if has_ended() {
            // What it has started may still be there; where nothing is, nobody has this number.
            kill_process_group(group, Signal::KILL).ok();
            return;
        }
        kill_process_group(group, Signal::TERM).ok();
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            if has_ended() {
                break;
            }
            #[expect(clippy::disallowed_methods, reason = "there may be no runtime any more")]
            std::thread::sleep(PAUSE);
        }
        kill_process_group(group, Signal::KILL).ok();
        // Of one that was killed nothing is left to be waited for by others.
        has_ended();
    }
}

/// The files of a Singer tap, which nobody else may read.
fn give_files(command: &mut Command, exec: &Exec, state: Option<&RawValue>) -> anyhow::Result<Option<TempDir>> {
    let given = [
        ("--config", exec.config.as_ref().map(ToString::to_string)),
        ("--catalog", exec.catalog.as_ref().map(ToString::to_string)),
        ("--state", state.map(|state| state.get().to_owned())),
    ];
    if given.iter().all(|(_, text)| text.is_none()) {
        return Ok(None);
    }
    let mode = std::fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new()
        .prefix("tapline-")
        .permissions(mode)
        .tempdir()
        .context("no folder for the tap's files")?;
    for (flag, text) in given {
        let Some(text) = text else { continue };
        let file = folder.path().join(flag.trim_start_matches('-'));
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&file);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        command.arg(flag).arg(file);
    }
    Ok(Some(folder))
}

/// Puts what a program says on its standard error into the log.
async fn listen(error: impl tokio::io::AsyncBufRead + Unpin, source: String, said: Arc<Mutex<VecDeque<String>>>) {
    // Bounded: a line without an end is taken in pieces.
    let mut error = error;
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut error).take(64 << 10).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
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
