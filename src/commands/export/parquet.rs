//! Rows as a Parquet file: times as timestamps in UTC with microseconds, everything else as text.
//!
//! `data` is the record's object as text, token for token: no reader can lose a digit of what it does not parse.
//! Times are delta-packed, names come from dictionaries, and all of it is under Zstandard: all of that has been readable
//! for years by everything that reads Parquet.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::part::{Hashed, Row, Rows};

/// The columns, in the order of the line.
const SCHEMA: &str = "message record {
  REQUIRED INT64 observed_at (TIMESTAMP(MICROS, true));
  REQUIRED BYTE_ARRAY source (STRING);
  REQUIRED BYTE_ARRAY id (STRING);
  REQUIRED BYTE_ARRAY type (STRING);
  OPTIONAL INT64 published_at (TIMESTAMP(MICROS, true));
  REQUIRED BYTE_ARRAY data (STRING);
}";

/// A row group is written when its texts are this long: readers take several at once, and we hold one.
const GROUP_BYTES: usize = 16 << 20;

/// Better than segments are compressed, because an export is read more often than it is written.
const ZSTD_LEVEL: i32 = 6;

/// A Parquet file that is being written.
pub(super) struct Parquet {
    file: SerializedFileWriter<Hashed>,
    observed_at: Vec<i64>,
    published_at: Vec<Option<i64>>,
    source: Texts,
    id: Texts,
    kind: Texts,
    data: Texts,
}

impl Parquet {
    /// Begins a file.
    pub(super) fn new(file: Hashed) -> anyhow::Result<Self> {
        let schema = parse_message_type(SCHEMA).expect("invariant: the schema is right");
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties()))?;
        Ok(Self {
            file,
            observed_at: Vec::new(),
            published_at: Vec::new(),
            source: Texts::default(),
            id: Texts::default(),
            kind: Texts::default(),
            data: Texts::default(),
        })
    }

    fn held(&self) -> usize {
        let rows = self.observed_at.len() * (size_of::<i64>() + size_of::<Option<i64>>());
        rows + [&self.source, &self.id, &self.kind, &self.data].map(Texts::held).iter().sum::<usize>()
    }

    /// Writes what is held as one row group.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.observed_at.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        column::<Int64Type>(&mut group, &std::mem::take(&mut self.observed_at), None)?;
        column::<ByteArrayType>(&mut group, &self.source.take(), None)?;
        column::<ByteArrayType>(&mut group, &self.id.take(), None)?;
        column::<ByteArrayType>(&mut group, &self.kind.take(), None)?;
        let published_at = std::mem::take(&mut self.published_at);
        let is_there: Vec<i16> = published_at.iter().map(|at| i16::from(at.is_some())).collect();
        let known: Vec<i64> = published_at.into_iter().flatten().collect();
        column::<Int64Type>(&mut group, &known, Some(&is_there))?;
        column::<ByteArrayType>(&mut group, &self.data.take(), None)?;
        group.close().context("a row group could not be written")?;
        Ok(())
    }
}

impl Rows for Parquet {
    fn put(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        self.observed_at.push(row.observed_at);
        self.published_at.push(row.published_at);
        self.source.push(&row.line.source);
        self.id.push(&row.line.id);
        self.kind.push(&row.line.kind);
        self.data.push(row.line.data.get());
        if self.held() >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<Hashed> {
        self.flush()?;
        Ok(self.file.into_inner()?)
    }
}

fn properties() -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("invariant: a level that there is");
    let mut properties = WriterProperties::builder()
        // The same bytes from every version that writes the same: a version here would be all that differs.
        .set_created_by("tapline".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false);
    for name in ["source", "type"] {
        properties = properties.set_column_dictionary_enabled(path(name), true);
    }
    for name in ["observed_at", "published_at"] {
        properties = properties.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Hashed>,
    values: &[T::T],
    is_there: Option<&[i16]>,
) -> anyhow::Result<()> {
    let mut column = group.next_column()?.expect("invariant: the schema has as many columns as are written");
    column.typed::<T>().write_batch(values, is_there, None)?;
    Ok(column.close()?)
}

/// The texts of one column, one behind the other.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len());
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    /// Gives them as values that share one memory.
    fn take(&mut self) -> Vec<ByteArray> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut begin = 0;
        let cut = |end| ByteArray::from(bytes.slice(std::mem::replace(&mut begin, end)..end));
        std::mem::take(&mut self.ends).into_iter().map(cut).collect()
    }
}
