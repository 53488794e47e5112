//! Compressing a closed segment: aside, checked by reading it back, then put in place.
//!
//! Both forms of a segment may stand side by side after a crash. They hold the same lines, readers take the plain one,
//! and the next run finishes the work: nothing has to be remembered for it.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::fs::{File, Fs};

use super::name::{self, Form, Name};

/// Fast, and within a few percent of the slower levels on lines of JSON.
const ZSTD_LEVEL: i32 = 3;

/// The longest head of a Zstandard frame, in bytes (RFC 8878, section 3.1.1.1).
const ZSTD_HEADER_MAX: u64 = 18;

/// Compresses a plain segment and removes the plain form.
///
/// # Errors
/// When it cannot be read or written, or does not read back as it was. The plain form is then still there.
pub fn compress(fs: &dyn Fs, root: &Path, stream: &str, segment: Name, form: Form) -> io::Result<()> {
    let plain = name::path(root, stream, segment);
    let done = name::path(root, stream, Name { form, ..segment });
    let aside = done.with_extension(format!("{}.tmp", if form == Form::Zstd { "zst" } else { "gz" }));
    let dir = name::day_dir(root, stream, segment.day);
    fs.remove(&aside)?;
    let mut file = fs.create(&aside)?;
    let before = encode(fs.read_from(&plain, 0)?, fs.len(&plain)?, &mut *file, form)?;
    file.sync()?;
    let after = digest(decode(fs.read_from(&aside, 0)?, form)?)?;
    if before != after {
        fs.remove(&aside)?;
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} does not read back as it was", done.display()),
        ));
    }
    fs.rename(&aside, &done)?;
    fs.sync_dir(&dir)?;
    fs.remove(&plain)?;
    fs.sync_dir(&dir)
}

/// Reads a compressed segment's lines.
///
/// # Errors
/// When the decoder cannot be set up.
pub fn decode(file: Box<dyn Read + Send>, form: Form) -> io::Result<Box<dyn Read + Send>> {
    Ok(match form {
        Form::Zstd => Box::new(zstd::Decoder::new(file)?),
        Form::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Form::Plain | Form::Text | Form::Aside => file,
    })
}

/// How long a segment's lines are, without reading them all; `None` where a compressed file does not say.
///
/// # Errors
/// When the file cannot be read.
pub fn plain_len(fs: &dyn Fs, path: &Path, form: Form) -> io::Result<Option<u64>> {
    let len = fs.len(path)?;
    match form {
        Form::Plain | Form::Text | Form::Aside => Ok(Some(len)),
        // The last four bytes are the length modulo 2^32 (RFC 1952); no segment is that long, and other files rarely.
        Form::Gzip => {
            let mut last = [0; 4];
            fs.read_from(path, len.saturating_sub(4))?.read_exact(&mut last)?;
            Ok(Some(u32::from_le_bytes(last).into()))
        }
        Form::Zstd => {
            let mut head = Vec::new();
            fs.read_from(path, 0)?.take(ZSTD_HEADER_MAX).read_to_end(&mut head)?;
            Ok(zstd::zstd_safe::get_frame_content_size(&head).ok().flatten())
        }
    }
}

/// Length and hash of all that a reader gives.
fn digest(mut from: impl Read) -> io::Result<(u64, blake3::Hash)> {
    let mut hasher = Hasher::default();
    io::copy(&mut from, &mut hasher)?;
    Ok((hasher.len, hasher.hash.finalize()))
}

/// Copies `from` compressed into `file`, and returns length and hash of what was copied.
fn encode(from: impl Read, len: u64, file: &mut dyn File, form: Form) -> io::Result<(u64, blake3::Hash)> {
    let mut from = Tee { from, hasher: Hasher::default() };
    let to = io::BufWriter::with_capacity(128 * 1024, Appending(file));
    if form == Form::Gzip {
        let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::default());
        io::copy(&mut from, &mut encoder)?;
        encoder.finish()?.flush()?;
    } else {
        let mut encoder = zstd::Encoder::new(to, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        // Readers then know how long the lines are without reading them.
        encoder.set_pledged_src_size(Some(len))?;
        io::copy(&mut from, &mut encoder)?;
        encoder.finish()?.flush()?;
    }
    Ok((from.hasher.len, from.hasher.hash.finalize()))
}

#[derive(Default)]
struct Hasher {
    len: u64,
    hash: blake3::Hasher,
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.len += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Tee<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(out)?;
        self.hasher.write_all(&out[..count])?;
        Ok(count)
    }
}

struct Appending<'a>(&'a mut dyn File);

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
