//! The browser: one of this machine's, started when it is first needed, or one beside it by its address. All sources share it.
//!
//! One of ours is told what to do by a pipe, and ends when that is closed: so it ends with tapline, and be tapline killed. Nor
//! is there a port by which others on the machine could reach it.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as Pipe;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use command_fds::{CommandFdExt as _, FdMapping};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use url::Url;

use super::folder::Folder;
use super::wire::Wire;

/// Pages that are open at once, of all sources. Each takes a process of 100 MB and more.
const PAGES_MAX: usize = 4;
/// After so many pages a browser of ours is started anew: what scripts leave behind in it grows.
const PAGES_PER_BROWSER: usize = 500;
/// How long a browser may take to start, or to answer where it is.
const START_MAX: Duration = Duration::from_secs(20);
/// What scripts of one page may take of memory, in MiB.
const HEAP_MIB_MAX: usize = 512;
/// What the browser is called, where it is installed.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// The file descriptors by which a browser is told what to do, and by which it answers.
const PIPE: [i32; 2] = [3, 4];

/// Every browser in use, by its address; that of this machine has none.
#[derive(Default)]
pub(super) struct Browsers {
    known: Mutex<HashMap<Option<String>, Arc<Slot>>>,
}

struct Slot {
    pages: Arc<Semaphore>,
    running: AsyncMutex<Option<Running>>,
}

struct Running {
    wire: Wire,
    pages: usize,
    /// With its folder, which goes when it does.
    _program: Option<(Child, Folder)>,
}

/// Leave to open a page.
pub(super) struct Seat {
    pub(super) wire: Wire,
    _permit: OwnedSemaphorePermit,
}

impl Browsers {
    /// Waits for a place among the open pages, and for the browser.
    ///
    /// # Errors
    /// When there is no browser.
    pub(super) async fn seat(&self, address: Option<&str>) -> anyhow::Result<Seat> {
        let slot = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Slot { pages: Arc::new(Semaphore::new(PAGES_MAX)), running: AsyncMutex::new(None) });
            Arc::clone(known.entry(address.map(str::to_owned)).or_insert_with(new))
        };
        let permit = Arc::clone(&slot.pages).acquire_owned().await?;
        let mut running = slot.running.lock().await;
        let is_worn = |old: &Running| old.wire.is_closed() || (address.is_none() && old.pages >= PAGES_PER_BROWSER);
        if running.as_ref().is_some_and(is_worn) {
            // Its folder waits for its processes to end, which must hold up nobody.
            let worn = running.take();
            tokio::task::spawn_blocking(move || drop(worn));
        }
        let browser = match &mut *running {
            Some(browser) => browser,
            none => none.insert(match address {
                Some(address) => Running { wire: beside(address).await?, pages: 0, _program: None },
                None => start().await?,
            }),
        };
        browser.pages += 1;
        Ok(Seat { wire: browser.wire.clone(), _permit: permit })
    }
}

/// What a browser says of itself.
#[derive(Deserialize)]
struct Version {
    #[serde(rename = "webSocketDebuggerUrl")]
    websocket: String,
}

/// A browser that runs elsewhere. `http://chromium:9222` is asked for its websocket.
async fn beside(address: &str) -> anyhow::Result<Wire> {
    let connect = async {
        if address.starts_with("ws:") {
            return Wire::connect(address).await;
        }
        let url = Url::parse(address)?.join("/json/version")?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        // Chromium answers only who calls it by an address or as localhost.
        let asked = client.get(url.clone()).header(http::header::HOST, "localhost").send().await;
        let answer =
            asked.map_err(reqwest::Error::without_url)?.error_for_status().map_err(reqwest::Error::without_url)?;
        let version: Version = serde_json::from_slice(&answer.bytes().await.map_err(reqwest::Error::without_url)?)?;
        // It says where it is as it sees itself.
        let mut websocket = Url::parse(&version.websocket)?;
        websocket.set_host(url.host_str())?;
        websocket.set_port(url.port()).map_err(|()| anyhow!("the browser's answer is not usable"))?;
        Wire::connect(websocket.as_str()).await
    };
    let connected = timeout(START_MAX, connect).await.map_err(|_| anyhow!("it did not answer")).flatten();
    connected.context(
        "no_browser: the browser at `render.browser` cannot be reached; is it running, with --remote-debugging-port?",
    )
}

/// Starts a browser of this machine.
async fn start() -> anyhow::Result<Running> {
    let program = find().ok_or_else(|| {
        anyhow!(
            "no_browser: `render` needs a Chromium, and none of {} is installed; install the package chromium, or write \
             the address of one as `render.browser`",
            PROGRAMS.join(", ")
        )
    })?;
    let folder = tokio::task::spawn_blocking(Folder::make).await??;
    let (ours, theirs) = Pipe::pair().context("no pipe to the browser")?;
    ours.set_nonblocking(true)?;
    let mut child = command(&program, &folder, theirs)?
        .spawn()
        .with_context(|| format!("no_browser: {} cannot be started", program.display()))?;
    let said = listen(child.stderr.take().context("invariant: it is piped")?);
    let wire = Wire::over(UnixStream::from_std(ours)?);
    if !matches!(timeout(START_MAX, wire.command(None, "Browser.getVersion", json!({}))).await, Ok(Ok(_))) {
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        return Err(anyhow!("no_browser: {} does not start: {}", program.display(), said.trim()));
    }
    Ok(Running { wire, pages: 0, _program: Some((child, folder)) })
}

/// How a browser is started, with its end of the pipe.
fn command(program: &Path, folder: &Folder, pipe: Pipe) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .args(["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check"])
        .args(["--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"])
        .args(["--disable-default-apps", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp"])
        .arg(format!("--renderer-process-limit={PAGES_MAX}"))
        .arg(format!("--js-flags=--max-old-space-size={HEAP_MIB_MAX}"))
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg("about:blank")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if rustix::process::geteuid().is_root() {
        // It refuses to start otherwise.
        command.arg("--no-sandbox");
        tracing::warn!("the browser runs without its sandbox, because tapline runs as root; run it as another user");
    }
    let ends = [pipe.try_clone().context("no pipe to the browser")?, pipe];
    let mapping = |(end, child_fd): (Pipe, i32)| FdMapping { parent_fd: end.into(), child_fd };
    command.fd_mappings(ends.into_iter().zip(PIPE).map(mapping).collect())?;
    Ok(command)
}

/// Reads what a browser complains of, which unread would make it wait, and keeps the last line.
fn listen(errors: ChildStderr) -> Arc<Mutex<String>> {
    let said = Arc::<Mutex<String>>::default();
    let last = Arc::clone(&said);
    tokio::spawn(async move {
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if !line.trim().is_empty() {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
            }
        }
    });
    said
}

/// The first of the programs that is in a folder of `PATH`.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| Path::is_file(file)))
}
