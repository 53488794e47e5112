//! A body without an end, for every adapter of live streams: read as it comes, decoded as far as it has come, and given
//! up when not a byte has come for too long.

mod refusal;

use std::future::poll_fn;
use std::io::Write as _;
use std::task::Poll;
use std::time::Duration;

use anyhow::anyhow;
use flate2::write::MultiGzDecoder;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderValue};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

pub(super) use self::refusal::{Refusal, is_of_type};
use crate::source::SourceError;

/// What is read at once at most, as long as it is there already: large batches cost less.
const READ_BYTES_MAX: usize = 256 << 10;

/// A chunk of gzip that decodes to more is no text.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// How a body without an end is asked for, beside what every request has.
#[derive(Debug, Clone)]
pub struct Wants {
    /// After how long without a byte the connection is dead.
    pub idle: Duration,
    /// Whether the server may compress it. One that does not flush what it compresses is silent for long.
    pub gzip: bool,
    /// What it has to be, as `Content-Type` calls it: anything else is a refusal.
    pub media_type: &'static str,
}

impl Wants {
    /// The value of `Accept-Encoding`.
    pub(super) fn coding(&self) -> HeaderValue {
        HeaderValue::from_static(if self.gzip { "gzip" } else { "identity" })
    }
}

/// Why there is no such body.
#[derive(Debug)]
pub struct NotOpen {
    /// The status of the answer, where there was one.
    pub status: Option<StatusCode>,
    /// The driver's instruction.
    pub error: SourceError,
}

impl NotOpen {
    /// Why, without what the driver is told to do.
    pub fn words(&self) -> String {
        std::error::Error::source(&self.error).map_or_else(|| self.error.to_string(), ToString::to_string)
    }
}

impl From<SourceError> for NotOpen {
    fn from(error: SourceError) -> Self {
        Self { status: None, error }
    }
}

/// The body of a stream, and when it was last heard.
pub struct Live {
    response: Response,
    gunzip: Option<MultiGzDecoder<Vec<u8>>>,
    idle: Duration,
    heard: Instant,
    bytes: Vec<u8>,
    /// How the body ended, when that was seen while looking ahead.
    end: Option<Result<(), SourceError>>,
}

impl Live {
    /// The body of an answer.
    ///
    /// # Errors
    /// When it is coded in a way that was not asked for.
    pub fn new(response: Response, idle: Duration) -> Result<Self, SourceError> {
        let coding = response.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase());
        let gunzip = match coding.as_deref() {
            None | Some(b"identity") => None,
            Some(b"gzip") => Some(MultiGzDecoder::new(Vec::new())),
            Some(other) => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(SourceError::Failing(anyhow!("the stream comes in the coding `{other}`, not asked for")));
            }
        };
        Ok(Self { response, gunzip, idle, heard: Instant::now(), bytes: Vec::new(), end: None })
    }

    /// What has come, as far as it is there: at least a byte of the transport's, though it may decode to none. `None` at
    /// the end of the body. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, or not a byte comes for too long.
    pub async fn read(&mut self) -> Result<Option<&[u8]>, SourceError> {
        if let Some(end) = self.end.take() {
            return end.map(|()| None);
        }
        self.bytes.clear();
        let chunk = timeout_at(self.heard + self.idle, self.response.chunk()).await;
        let Ok(chunk) = chunk else { return Err(SourceError::Silent { quiet: self.heard.elapsed() }) };
        let Some(chunk) = chunk.map_err(|error| lost(&error, "the stream broke"))? else { return Ok(None) };
        self.heard = Instant::now();
        self.bytes.extend_from_slice(&chunk);
        // What is there already is taken along; an error or the end is for the next call.
        while self.end.is_none() && self.bytes.len() < READ_BYTES_MAX && self.take_ready().await {}
        if let Some(gunzip) = &mut self.gunzip {
            decode(gunzip, &mut self.bytes)?;
        }
        Ok(Some(&self.bytes))
    }
}

impl Live {
    /// Takes the next chunk, or the end, if it is there already. The connection is a task of its own, and hands over one
    /// chunk at a time: it is given a turn before there is said to be none.
    async fn take_ready(&mut self) -> bool {
        let mut chunk = std::pin::pin!(self.response.chunk());
        for turn in 0..2 {
            match poll_fn(|context| Poll::Ready(chunk.as_mut().poll(context))).await {
                Poll::Ready(Ok(Some(chunk))) => self.bytes.extend_from_slice(&chunk),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(error)) => self.end = Some(Err(lost(&error, "the stream broke"))),
                Poll::Pending if turn == 0 => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Poll::Pending => return false,
            }
            return true;
        }
        false
    }
}

/// Decodes in place what can be decoded so far.
fn decode(gunzip: &mut MultiGzDecoder<Vec<u8>>, bytes: &mut Vec<u8>) -> Result<(), SourceError> {
    let broken = |error: &std::io::Error| SourceError::Lost(anyhow!("the stream's gzip is broken: {error}"));
    // Piece by piece, so that a bomb is seen before it has gone off.
    for piece in bytes.chunks(4096) {
        gunzip.write_all(piece).map_err(|error| broken(&error))?;
        if gunzip.get_ref().len() > DECODED_BYTES_MAX {
            return Err(SourceError::Lost(anyhow!("the stream's gzip swells beyond {DECODED_BYTES_MAX} bytes")));
        }
    }
    gunzip.flush().map_err(|error| broken(&error))?;
    *bytes = std::mem::take(gunzip.get_mut());
    Ok(())
}

/// The words of an error of the transport, which names no secret: URLs are left out.
pub fn lost(error: &reqwest::Error, what: &str) -> SourceError {
    let mut words = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str(if words.is_empty() { "" } else { ": " });
            words.push_str(&text);
        }
        cause = error.source();
    }
    if words.is_empty() {
        words.push_str("the connection failed");
    }
    SourceError::Lost(anyhow!("{what}: {words}"))
}
