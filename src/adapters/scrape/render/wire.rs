//! The Chrome `DevTools` Protocol over a websocket or a pipe: commands with their answers, and events by session.
//!
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// A message has at most so many bytes: a whole page comes in one.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Events of one page that wait to be looked at. More come only where a page floods its browser.
const EVENTS_MAX: usize = 4096;
/// Commands that wait to be sent.
const COMMANDS_MAX: usize = 256;

/// Something that happened in a page.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) method: String,
    pub(super) params: Value,
}

/// A connection to a browser. Cheap to clone; it lives until the browser hangs up.
#[derive(Clone)]
pub(super) struct Wire {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<String>,
}

struct Shared {
    last: AtomicU64,
    is_closed: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Result<Value, String>>>,
    /// By session.
    events: HashMap<String, mpsc::Sender<Event>>,
}

/// What comes: an answer or an event.
#[derive(Deserialize)]
struct Incoming {
    id: Option<u64>,
    result: Option<Value>,
    error: Option<Refusal>,
    method: Option<String>,
    params: Option<Value>,
    #[serde(rename = "sessionId")]
    session: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Wire {
    /// Connects to a browser's websocket.
    pub(super) async fn connect(address: &str) -> anyhow::Result<Self> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (socket, _) = tokio_tungstenite::connect_async_with_config(address, Some(config), true)
            .await
            .context("cannot_connect: no websocket to the browser")?;
        let (mut sender, mut receiver) = socket.split();
        let (wire, mut queue) = Self::new();
        let of_reader = Arc::clone(&wire.shared);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    command = queue.recv() => {
                        let Some(command) = command else { break };
                        if sender.send(Message::text(command)).await.is_err() {
                            break;
                        }
                    }
                    message = receiver.next() => match message {
                        Some(Ok(Message::Text(text))) => of_reader.take(&text),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                        Some(Ok(_)) => {}
                    }
                }
            }
            of_reader.close();
        });
        Ok(wire)
    }

    /// Over a pipe, on which a zero byte ends each message. It is closed once nobody has this any more.
    pub(super) fn over(pipe: UnixStream) -> Self {
        let (reader, mut writer) = pipe.into_split();
        let (wire, mut queue) = Self::new();
        tokio::spawn(async move {
            while let Some(command) = queue.recv().await {
                if writer.write_all(format!("{command}\0").as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        let of_reader = Arc::clone(&wire.shared);
        tokio::spawn(async move {
            let mut reader = BufReader::new(reader);
            let mut message = Vec::new();
            loop {
                message.clear();
                let one = (&mut reader).take(MESSAGE_BYTES_MAX as u64).read_until(0, &mut message).await;
                // One that does not end is cut off, or too long.
                if one.is_err() || message.pop() != Some(0) {
                    break;
                }
                of_reader.take(&String::from_utf8_lossy(&message));
            }
            of_reader.close();
        });
        wire
    }

    /// With the commands that are to be sent.
    fn new() -> (Self, mpsc::Receiver<String>) {
        let (outgoing, queue) = mpsc::channel(COMMANDS_MAX);
        let shared = Shared { last: AtomicU64::new(0), is_closed: AtomicBool::new(false), waiting: Mutex::default() };
        (Self { shared: Arc::new(shared), outgoing }, queue)
    }

    /// Whether the browser has hung up.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Tells the browser something, and waits for its answer.
    ///
    /// # Errors
    /// When it refuses, or hangs up.
    pub(super) async fn command(&self, session: Option<&str>, method: &str, params: Value) -> anyhow::Result<Value> {
        let id = self.shared.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, answered) = oneshot::channel();
        self.shared.waiting().answers.insert(id, answer);
        // After it is in the list: who closes it empties that.
        if self.is_closed() {
            return Err(gone());
        }
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        self.outgoing.send(command.to_string()).await.map_err(|_| gone())?;
        match answered.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(reason)) => Err(anyhow!("browser_refused: {method}: {reason}")),
            Err(_) => Err(gone()),
        }
    }

    /// The events of a session from now on.
    pub(super) fn listen(&self, session: &str) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        self.shared.waiting().events.insert(session.to_owned(), sender);
        receiver
    }

    /// Nobody listens to this session any longer.
    pub(super) fn forget(&self, session: &str) {
        self.shared.waiting().events.remove(session);
    }
}

fn gone() -> anyhow::Error {
    anyhow!("browser_gone: the browser has ended, or hung up")
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, text: &str) {
        let Ok(incoming) = serde_json::from_str::<Incoming>(text) else { return };
        let mut waiting = self.waiting();
        if let Some(answer) = incoming.id.and_then(|id| waiting.answers.remove(&id)) {
            let result = match incoming.error {
                Some(refusal) => Err(refusal.message),
                None => Ok(incoming.result.unwrap_or_default()),
            };
            // Who asked may have given up.
            answer.send(result).ok();
        } else if let (Some(method), Some(session)) = (incoming.method, incoming.session)
            && let Some(events) = waiting.events.get(&session)
        {
            let event = Event { method, params: incoming.params.unwrap_or_default() };
            if events.try_send(event).is_err() {
                // Its page is given up: whoever listens finds the end.
                waiting.events.remove(&session);
            }
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let mut waiting = self.waiting();
        waiting.answers.clear();
        waiting.events.clear();
    }
}
