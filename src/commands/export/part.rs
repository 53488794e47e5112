//! One file of an export: rows go in, and what comes out is known by its length and its SHA-256.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::record::Line;

use super::{Format, csv, lines, parquet};

/// One record, as every format takes it.
pub(super) struct Row<'a> {
    /// When it was observed, in microseconds since 1970.
    pub(super) observed_at: i64,
    /// When it was published, in the same.
    pub(super) published_at: Option<i64>,
    /// Its parts as they are written.
    pub(super) line: Line<'a>,
    /// The whole line, with its line feed.
    pub(super) text: &'a [u8],
}

/// Writes the rows of one file.
pub(super) trait Rows {
    /// Adds a row.
    fn put(&mut self, row: &Row<'_>) -> anyhow::Result<()>;

    /// Writes what is still held, and gives the file back.
    fn finish(self: Box<Self>) -> anyhow::Result<Hashed>;
}

/// A file that counts and hashes what is written to it.
pub(super) struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
    len: u64,
}

/// What a finished file is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub(super) sha256: String,
}

impl Hashed {
    /// Creates the file, in the place of what an earlier run may have left there.
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file: BufWriter::with_capacity(128 * 1024, file), hash: Sha256::new(), len: 0 })
    }

    /// Makes it durable.
    pub(super) fn close(self) -> io::Result<Sum> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(Sum { bytes: self.len, sha256: HEXLOWER.encode(&self.hash.finalize()) })
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.len += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that takes nothing.
#[cfg(test)]
pub(super) fn full() -> Hashed {
    let file = File::options().write(true).open("/dev/full").expect("invariant: Linux has it");
    Hashed { file: BufWriter::new(file), hash: Sha256::new(), len: 0 }
}

/// Begins a file.
pub(super) fn create(path: &Path, format: Format) -> anyhow::Result<Box<dyn Rows>> {
    let file = Hashed::create(path)?;
    Ok(match format {
        Format::Parquet => Box::new(parquet::Parquet::new(file)?),
        Format::Csv => Box::new(csv::Csv::new(file)?),
        Format::Lines => Box::new(lines::Lines::new(file)?),
    })
}

/// What a file on the disk is known by.
pub(super) fn sum(path: &Path) -> io::Result<Sum> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file, &mut hash)?;
    Ok(Sum { bytes, sha256: HEXLOWER.encode(&hash.finalize()) })
}
