//! A program: the message as JSON on its standard input, and its parts in the environment. No shell.
//!
//! It gets so long and no longer: then it is killed, with whatever it has started. What it prints is said when it fails.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::alert::{Destination, DestinationKind, Message, TellError, Wrong, plain};
use crate::config::Alert;
use crate::context::Context;
use crate::record::time_text;
use crate::store::Target;

/// The line of the list.
pub const KIND: DestinationKind = DestinationKind {
    name: "command",
    schemes: &["command"],
    about: "A program of yours: the message as JSON on its standard input, its parts in the environment.",
    example: r#"{ to: "command:/usr/local/bin/page-me", args: ["--urgent"], timeout: 10s }"#,
    keys: &["args"],
    options: &[],
    has_query: false,
    shown,
    open,
};

/// How much of what it prints is read, in bytes; and shown, in characters.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
const WORDS_MAX: usize = 300;

struct Program {
    path: PathBuf,
    args: Vec<String>,
}

fn shown(target: &Target) -> String {
    format!("command:{}", target.path())
}

fn open(alert: &Alert, mut target: Target, _: &Context) -> Result<Box<dyn Destination>, Wrong> {
    if !target.hosts().is_empty() || !target.path().starts_with('/') {
        return Err((
            "to",
            anyhow::anyhow!(
                "write the whole path of the program, as in `command:/usr/local/bin/page-me`; what it is called with goes into `args`"
            ),
        ));
    }
    let path = PathBuf::from(format!("/{}", target.take_path()));
    if let Some(arg) = alert.args.iter().position(|arg| arg.contains('\0')) {
        return Err(("args", anyhow::anyhow!("argument {arg} has a NUL in it")));
    }
    Ok(Box::new(Program { path, args: alert.args.clone() }))
}

/// A program that runs, in a group of its own. Dropped, all of the group is killed.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            // One that has ended by itself is not there any more.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

#[async_trait]
impl Destination for Program {
    async fn tell(&mut self, message: &Message) -> Result<(), TellError> {
        self.run(message).await.map_err(TellError::again)
    }
}

impl Program {
    async fn run(&self, message: &Message) -> anyhow::Result<()> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).envs(environment(message)).kill_on_drop(true).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let path = self.path.display();
        let child = command.spawn().with_context(|| format!("cannot run {path}"))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut running = Running { child, group };
        let (input, out, err) = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let json = message.json().to_string();
        let give = async {
            if let Some(mut input) = input {
                // A program that does not want it may leave it.
                input.write_all(json.as_bytes()).await.ok();
            }
        };
        let (status, (), out, err) = tokio::join!(running.child.wait(), give, read(out), read(err));
        let status = status.with_context(|| format!("cannot wait for {path}"))?;
        running.group = None;
        if status.success() {
            return Ok(());
        }
        let said = if err.trim().is_empty() { out } else { err };
        let said = plain(said.trim(), WORDS_MAX);
        let said = if said.is_empty() { said.into_owned() } else { format!(": {said}") };
        anyhow::bail!("{path} ended with {status}{said}")
    }
}

/// What a program prints, up to a limit; the rest is read and forgotten, so that it does not wait for us.
async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut bytes = Vec::new();
    (&mut from).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await.ok();
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The message's parts, for programs that read no JSON.
fn environment(message: &Message) -> [(&'static str, String); 10] {
    let names: Vec<&str> = message.about.iter().map(|about| about.name.as_str()).collect();
    let time = |at: Option<_>| at.as_ref().map(time_text).unwrap_or_default();
    [
        ("TAPLINE_ALERT_ID", message.id.clone()),
        ("TAPLINE_ALERT_EVENT", message.event.word().to_owned()),
        ("TAPLINE_ALERT_KIND", message.kind.map(|kind| kind.word().to_owned()).unwrap_or_default()),
        ("TAPLINE_ALERT_INCIDENT", message.incident.clone().unwrap_or_default()),
        ("TAPLINE_ALERT_NAMES", names.join(" ")),
        ("TAPLINE_ALERT_COUNT", message.count.to_string()),
        ("TAPLINE_ALERT_SINCE", time(message.since)),
        ("TAPLINE_ALERT_UNTIL", time(message.until)),
        ("TAPLINE_ALERT_TITLE", message.title.replace('\0', " ")),
        ("TAPLINE_ALERT_TEXT", message.text.replace('\0', " ")),
    ]
}
