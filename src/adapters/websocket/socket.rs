//! One connection, and whether it lives.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use reqwest::Upgraded;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::source::SourceError;

/// What is read from the connection at once. It is had for each connection, also one that is silent.
const READ_BYTES: usize = 8 << 10;

/// How long the other side may leave what was written lying.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// How long is waited for the other side's own close.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How many characters of what the other side says are shown.
const WORDS_MAX: usize = 300;

/// How a connection is watched.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// After how long without a frame something is sent that has to be answered.
    pub(super) ping: Duration,
    /// What is sent, where that is no ping.
    pub(super) ping_message: Option<String>,
    /// After how long without a frame it is dead.
    pub(super) idle: Duration,
}

/// A connection.
pub(super) struct Socket {
    stream: WebSocketStream<Upgraded>,
    watch: Watch,
    /// When a frame came last.
    heard: Instant,
    /// Whether something was sent since then that has to be answered.
    is_asked: bool,
}

/// What came.
pub(super) enum Incoming {
    /// A message of text.
    Text(tokio_tungstenite::tungstenite::Utf8Bytes),
    /// A binary one.
    Binary(Bytes),
}

impl Incoming {
    /// Its bytes, with what it costs to keep it.
    pub(super) fn len(&self) -> usize {
        let bytes = match self {
            Self::Text(text) => text.as_str().len(),
            Self::Binary(bytes) => bytes.len(),
        };
        bytes + std::mem::size_of::<Self>()
    }
}

impl Socket {
    pub(super) async fn new(upgraded: Upgraded, watch: Watch, message_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_max))
            .max_frame_size(Some(message_max));
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        Self { stream, watch, heard: Instant::now(), is_asked: false }
    }

    /// Says something.
    ///
    /// # Errors
    /// When the connection is broken, or the other side does not take it.
    pub(super) async fn say(&mut self, text: &str) -> Result<(), SourceError> {
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), SourceError> {
        match timeout(WRITE_MAX, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(|error| lost(&error)),
            Err(_) => Err(SourceError::Lost(anyhow!("the server takes nothing for {} s", WRITE_MAX.as_secs()))),
        }
    }

    /// The next message. Cancel-safe. `None` when `until` is there first.
    ///
    /// # Errors
    /// When the connection breaks, is closed, or is dead.
    pub(super) async fn next(&mut self, until: Option<Instant>) -> Result<Option<Incoming>, SourceError> {
        loop {
            let watched = if self.is_asked { self.watch.idle } else { self.watch.ping };
            let wake = self.heard + watched;
            let at = until.map_or(wake, |until| wake.min(until));
            match timeout_at(at, self.stream.next()).await {
                Ok(frame) => {
                    self.heard = Instant::now();
                    self.is_asked = false;
                    if let Some(incoming) = taken(frame)? {
                        return Ok(Some(incoming));
                    }
                }
                Err(_) if until.is_some_and(|until| until < wake) => return Ok(None),
                Err(_) if self.is_asked => return Err(SourceError::Silent { quiet: self.heard.elapsed() }),
                Err(_) => {
                    self.is_asked = true;
                    let ping = self.watch.ping_message.as_ref();
                    let ping = ping.map_or_else(|| Message::Ping(Bytes::new()), |text| Message::text(text.as_str()));
                    self.send(ping).await?;
                }
            }
        }
    }

    /// The next message, if it is there already.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(super) fn ready(&mut self) -> Result<Option<Incoming>, SourceError> {
        while let Some(frame) = self.stream.next().now_or_never() {
            self.heard = Instant::now();
            self.is_asked = false;
            if let Some(incoming) = taken(frame)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// Ends the connection in good order, without waiting long.
    pub(super) async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let closing = async {
            // Nobody is left to tell that it went wrong.
            self.stream.close(Some(frame)).await.ok();
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        timeout(CLOSE_MAX, closing).await.ok();
    }
}

/// What a frame brings; `None` where that is only life.
fn taken(frame: Option<Result<Message, Error>>) -> Result<Option<Incoming>, SourceError> {
    match frame {
        None => Err(SourceError::Lost(anyhow!("the server ended the connection without a close"))),
        Some(Err(error)) => Err(lost(&error)),
        Some(Ok(Message::Text(text))) => Ok(Some(Incoming::Text(text))),
        Some(Ok(Message::Binary(bytes))) => Ok(Some(Incoming::Binary(bytes))),
        Some(Ok(Message::Close(frame))) => Err(closed(frame.as_ref())),
        // A ping is answered by the library, with the next read.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
    }
}

/// What a close means for the driver (RFC 6455, 7.4.1, and the registry of IANA).
fn closed(frame: Option<&CloseFrame>) -> SourceError {
    let Some(frame) = frame else { return SourceError::Lost(anyhow!("the server closed the connection")) };
    let code = u16::from(frame.code);
    let reason: String = frame.reason.chars().take(WORDS_MAX).collect();
    let words = anyhow!("the server closed the connection: {code} {}", reason.escape_debug());
    match code {
        1013 => SourceError::Limited(words),
        // Its own failure, or something that it does not like in what was said: soon would be in vain.
        1002 | 1003 | 1007..=1011 | 1014 | 3000..=4999 => SourceError::Failing(words),
        _ => SourceError::Lost(words),
    }
}

fn lost(error: &Error) -> SourceError {
    match error {
        Error::Capacity(_) => SourceError::Failing(anyhow!("{error}; allow more with `max_message`")),
        Error::Protocol(_) | Error::Utf8(_) => SourceError::Failing(anyhow!("what came is no websocket's: {error}")),
        _ => SourceError::Lost(anyhow!("the connection broke: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_close_means() {
        for (code, expected) in [
            (1000, "lost"),
            (1001, "lost"),
            (1006, "lost"),
            (1008, "failing"),
            (1012, "lost"),
            (1013, "limited"),
            (4001, "failing"),
        ] {
            let frame = CloseFrame { code: code.into(), reason: "because".into() };
            let found = match closed(Some(&frame)) {
                SourceError::Lost(cause) => ("lost", cause),
                SourceError::Failing(cause) => ("failing", cause),
                SourceError::Limited(cause) => ("limited", cause),
                other => panic!("{other}"),
            };
            assert_eq!(found.0, expected, "{code}");
            assert!(found.1.to_string().contains(&format!("{code} because")), "{}", found.1);
        }
    }
}
