//! The lines themselves, byte for byte, under Zstandard.

use std::io::Write as _;

use super::part::{Hashed, Row, Rows};

/// Better than segments are compressed, because an export is read more often than it is written.
const ZSTD_LEVEL: i32 = 6;

/// A file of lines that is being written.
pub(super) struct Lines(zstd::Encoder<'static, Hashed>);

impl Lines {
    /// Begins a file.
    pub(super) fn new(file: Hashed) -> anyhow::Result<Self> {
        let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self(encoder))
    }
}

impl Rows for Lines {
    fn put(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        Ok(self.0.write_all(row.text)?)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<Hashed> {
        Ok(self.0.finish()?)
    }
}
