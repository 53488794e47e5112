//! One stream's way to the socket: signs of life while it is quiet, chunks in any split, gzip.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::stream::{Maker, Piece};

/// How long a stream that comes in drops waits between two of them.
const DRIP_EVERY: Duration = Duration::from_millis(2);

/// How a stream's bytes become chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coding {
    /// Each message is a chunk.
    #[default]
    Whole,
    /// Chunks of random sizes that have nothing to do with messages: parts of one, or several.
    Random,
    /// A byte at a time.
    Bytes,
    /// A byte at a time, and slowly.
    Drip,
}

/// What a stream is told to do.
#[derive(Debug, Clone)]
pub(super) enum Out {
    /// Some of it: a message with its end.
    Bytes(Vec<u8>),
    /// So many chunks of prepared messages.
    Flood(Maker, u64),
    /// This, in the middle of a chunk, and the end.
    Torn(Vec<u8>, Piece),
    /// The end.
    End(Piece),
    /// From now on only signs of life.
    OnlyQuiet,
}

/// The sign of life on a quiet stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    pub(super) text: &'static str,
    pub(super) every: Duration,
    /// By how much it may be late, at the most, where that is left to chance.
    pub(super) late: Option<Duration>,
}

/// How a stream is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// `None` for one that says nothing while it is quiet.
    pub(super) quiet: Option<Quiet>,
    pub(super) coding: Coding,
    pub(super) gzip: bool,
    /// gzip is never flushed: nothing comes out for a long time.
    pub(super) unflushed: bool,
    pub(super) seed: u64,
}

/// Starts a stream. It ends when its sender is dropped, or the client is gone, which the sender sees.
pub(super) fn start(manner: Manner) -> (UnboundedSender<Out>, UnboundedReceiver<Piece>) {
    let (sender, outs) = unbounded_channel();
    let (pieces, receiver) = unbounded_channel();
    tokio::spawn(run(manner, outs, pieces));
    (sender, receiver)
}

async fn run(manner: Manner, mut outs: UnboundedReceiver<Out>, pieces: UnboundedSender<Piece>) {
    let mut writer = Writer {
        encoder: manner.gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        manner,
        random: StdRng::seed_from_u64(manner.seed),
        held: Vec::new(),
        pieces,
    };
    let mut is_muted = false;
    loop {
        let late = manner.quiet.and_then(|quiet| quiet.late).map(|late| late.mul_f64(writer.random.random()));
        let quiet = async {
            let Some(quiet) = manner.quiet else { return std::future::pending().await };
            tokio::time::sleep(quiet.every + late.unwrap_or_default()).await;
            quiet.text
        };
        let out = tokio::select! {
            out = outs.recv() => match out {
                Some(out) => out,
                None => return,
            },
            text = quiet => {
                writer.write(text.into(), true);
                continue;
            }
            () = writer.pieces.closed() => return,
        };
        match out {
            Out::Bytes(_) if is_muted => {}
            Out::Bytes(bytes) => writer.write(bytes, false),
            Out::Flood(maker, count) => writer.send(Piece::Flood(maker, count)),
            Out::Torn(bytes, end) => {
                writer.let_go();
                writer.send(Piece::Half(if writer.encoder.is_some() { Vec::new() } else { bytes }));
                writer.send(end);
                return;
            }
            Out::End(end) => {
                writer.let_go();
                writer.send(end);
                return;
            }
            Out::OnlyQuiet => is_muted = true,
        }
    }
}

struct Writer {
    manner: Manner,
    encoder: Option<GzEncoder<Vec<u8>>>,
    random: StdRng,
    /// What goes into a chunk with what follows.
    held: Vec<u8>,
    pieces: UnboundedSender<Piece>,
}

impl Writer {
    fn send(&self, piece: Piece) {
        // A client that is gone is seen by the loop.
        self.pieces.send(piece).ok();
    }

    /// Writes a message. Nothing is held back behind a sign of life, which would be none then.
    fn write(&mut self, bytes: Vec<u8>, is_sign_of_life: bool) {
        let bytes = match &mut self.encoder {
            None => bytes,
            Some(encoder) => {
                encoder.write_all(&bytes).expect("invariant: a Vec takes everything");
                if !self.manner.unflushed {
                    encoder.flush().expect("invariant: a Vec takes everything");
                }
                std::mem::take(encoder.get_mut())
            }
        };
        match self.manner.coding {
            Coding::Whole => self.send(Piece::Chunk(bytes)),
            Coding::Bytes => bytes.iter().for_each(|byte| self.send(Piece::Chunk(vec![*byte]))),
            Coding::Drip => {
                for byte in bytes {
                    self.send(Piece::Chunk(vec![byte]));
                    self.send(Piece::Pause(DRIP_EVERY));
                }
            }
            Coding::Random => {
                self.held.extend(bytes);
                if is_sign_of_life || self.random.random_bool(0.7) {
                    self.let_go();
                }
            }
        }
    }

    /// Sends what was held back, cut anywhere, or not at all.
    fn let_go(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while !rest.is_empty() {
            let length =
                if self.random.random_bool(0.3) { rest.len() } else { self.random.random_range(1..=rest.len()) };
            let (first, others) = rest.split_at(length);
            self.send(Piece::Chunk(first.to_vec()));
            rest = others;
        }
    }
}
