//! The lines themselves, byte for byte, under Zstandard.

use std::io::{self, Write as _};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::anyhow;

use super::part::{Hashed, Row, Rows};

/// Better than segments are compressed, because an export is read more often than it is written.
const ZSTD_LEVEL: i32 = 6;
/// Lines are compressed so many bytes at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait to be compressed.
const PIECES_MAX: usize = 4;

/// A file of lines that is being written. Compressing takes longer than all else, and goes on beside it.
pub(super) struct Lines {
    piece: Vec<u8>,
    /// `None` once all of them are handed on.
    pieces: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<Hashed>>>,
}

impl Lines {
    /// Begins a file.
    pub(super) fn new(file: Hashed) -> anyhow::Result<Self> {
        let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        let (pieces, queue) = sync_channel::<Vec<u8>>(PIECES_MAX);
        let compress = move || {
            for piece in queue {
                encoder.write_all(&piece)?;
            }
            encoder.finish()
        };
        let thread = thread::Builder::new().name("compress".into()).spawn(compress)?;
        Ok(Self { piece: Vec::with_capacity(PIECE_BYTES), pieces: Some(pieces), thread: Some(thread) })
    }

    /// Hands on what there is.
    fn hand_on(&mut self) -> anyhow::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let is_taken = self.pieces.as_ref().is_some_and(|pieces| pieces.send(piece).is_ok());
        // Nobody takes it any more where the file could not be written.
        if is_taken { Ok(()) } else { self.end().map(drop) }
    }

    /// Waits until all is compressed.
    fn end(&mut self) -> anyhow::Result<Hashed> {
        self.pieces = None;
        let thread = self.thread.take().ok_or_else(|| anyhow!("the file has failed before"))?;
        Ok(thread.join().map_err(|_| anyhow!("compressing broke off"))??)
    }
}

impl Rows for Lines {
    fn put(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        self.piece.extend_from_slice(row.text);
        if self.piece.len() < PIECE_BYTES { Ok(()) } else { self.hand_on() }
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<Hashed> {
        self.hand_on()?;
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::part;
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_more_is_said() {
        let file = part::full();
        let mut lines = Box::new(Lines::new(file).unwrap());
        let mut chance: u64 = 1;
        let failed = (0..200).find_map(|_| {
            // What does not compress.
            let text: Vec<u8> = std::iter::repeat_with(|| {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chance.to_le_bytes()[7]
            })
            .take(64 << 10)
            .collect();
            lines.piece.extend_from_slice(&text);
            (lines.piece.len() >= PIECE_BYTES).then(|| lines.hand_on().err()).flatten()
        });
        assert!(format!("{:#}", failed.unwrap()).contains("No space left on device"));
    }
}
