//! One stream's way to the socket: comments while it is quiet, chunks in any split, gzip.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::simulator::stream::{Maker, Piece};

/// How long a stream that comes in drops waits between two of them.
const DRIP_EVERY: Duration = Duration::from_millis(2);

/// How a stream's bytes become chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coding {
    /// Each event is a chunk.
    #[default]
    Whole,
    /// Chunks of random sizes that have nothing to do with events: parts of one, or several.
    Random,
    /// A byte at a time.
    Bytes,
    /// A byte at a time, and slowly.
    Drip,
}

/// What a stream is told to do.
#[derive(Debug, Clone)]
pub(super) enum Out {
    /// Some of it.
    Bytes(Vec<u8>),
    /// So many chunks of prepared events.
    Flood(Maker, u64),
    /// This, in the middle of a chunk, and the end.
    Torn(Vec<u8>, Piece),
    /// The end.
    End(Piece),
    /// From now on only comments.
    OnlyComments,
}

/// How a stream is written.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// What is said on a quiet stream, and how often.
    pub(super) comment: Option<(&'static str, Duration)>,
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
    let comment = manner.comment;
    let mut writer = Writer {
        encoder: manner.gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        random: StdRng::seed_from_u64(manner.seed),
        manner,
        held: Vec::new(),
        pieces,
    };
    let mut is_muted = false;
    loop {
        let quiet = async {
            match comment {
                Some((text, every)) => {
                    tokio::time::sleep(every).await;
                    text
                }
                None => std::future::pending().await,
            }
        };
        let out = tokio::select! {
            out = outs.recv() => match out {
                Some(out) => out,
                None => return,
            },
            text = quiet => {
                writer.write(text.as_bytes());
                writer.let_go();
                continue;
            }
            () = writer.pieces.closed() => return,
        };
        match out {
            Out::Bytes(_) if is_muted => {}
            Out::Bytes(bytes) => writer.write(&bytes),
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
            Out::OnlyComments => is_muted = true,
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

    fn write(&mut self, bytes: &[u8]) {
        let bytes = match &mut self.encoder {
            None => bytes.to_vec(),
            Some(encoder) => {
                encoder.write_all(bytes).expect("invariant: a Vec takes everything");
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
                if self.random.random_bool(0.7) {
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
