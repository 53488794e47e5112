//! Rows as CSV (RFC 4180), with a head.

use csv::{Terminator, Writer, WriterBuilder};

use super::part::{Hashed, Row, Rows};

/// The columns, in the order of the line.
const HEAD: [&str; 6] = ["observed_at", "source", "id", "type", "published_at", "data"];

/// A CSV file that is being written.
pub(super) struct Csv(Writer<Hashed>);

impl Csv {
    /// Begins a file.
    pub(super) fn new(file: Hashed) -> anyhow::Result<Self> {
        let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(file);
        writer.write_record(HEAD)?;
        Ok(Self(writer))
    }
}

impl Rows for Csv {
    fn put(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        let line = &row.line;
        let published_at = line.published_at.as_deref().unwrap_or_default();
        let cells = [&*line.observed_at, &*line.source, &*line.id, &*line.kind, published_at, line.data.get()];
        Ok(self.0.write_record(cells)?)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<Hashed> {
        self.0.into_inner().map_err(|error| error.into_error().into())
    }
}
