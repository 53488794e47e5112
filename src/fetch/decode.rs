//! Undoing `Content-Encoding`, with a limit on what comes out.

#[cfg(any(test, fuzzing))]
pub(super) mod checks;

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Codings laid over each other. One is usual, two happen by a misconfigured proxy, more is an attack.
const LAYERS_MAX: usize = 3;
/// The largest window that a zstd frame may ask for, as the exponent of two: 8 MiB, which RFC 8878 recommends.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Why a body could not be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// More came out than is allowed.
    #[error("body_too_large: the page has more than {} when decoded; allow more with `max_body`", bytesize::ByteSize(*.0))]
    TooLarge(u64),
    /// The coded body ended before its end.
    #[error("body_truncated: the {0} body ends in the middle")]
    Truncated(String),
    /// The coded body is not what it says.
    #[error("body_corrupt: the body is not valid {0}")]
    Corrupt(String, #[source] io::Error),
    /// A coding that was not asked for.
    #[error("unknown_coding: the body is coded as `{}`; known are gzip, deflate, br, zstd", .0.escape_debug())]
    Unknown(String),
    /// More codings than anyone needs.
    #[error("too_many_codings: the body is coded {0} times; the most is {LAYERS_MAX}")]
    TooManyLayers(usize),
}

/// The codings of a `Content-Encoding` header, in the order in which they were applied.
pub(crate) fn codings(header: &str) -> Vec<String> {
    let names = header.split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty() && name != "identity").collect()
}

/// The decoded body, of at most `bytes_max`.
pub(crate) fn decode(body: Vec<u8>, codings: &[String], bytes_max: u64) -> Result<Vec<u8>, DecodeError> {
    if codings.is_empty() || body.is_empty() {
        return if body.len() as u64 > bytes_max { Err(DecodeError::TooLarge(bytes_max)) } else { Ok(body) };
    }
    if codings.len() > LAYERS_MAX {
        return Err(DecodeError::TooManyLayers(codings.len()));
    }
    let named = codings.join(", ");
    let exceeded = Rc::new(Cell::new(false));
    let mut reader: Box<dyn Read> = Box::new(io::Cursor::new(body));
    for coding in codings.iter().rev() {
        // A layer inside is limited too: one that swells and then shrinks again would take the time unseen.
        let layer = layer(coding, reader).map_err(|error| fault(&named, error))?;
        let layer = layer.ok_or_else(|| DecodeError::Unknown(coding.clone()))?;
        reader = Box::new(Capped { inner: layer, left: bytes_max, exceeded: Rc::clone(&exceeded) });
    }
    let mut decoded = Vec::new();
    match reader.read_to_end(&mut decoded) {
        Ok(_) => Ok(decoded),
        Err(_) if exceeded.get() => Err(DecodeError::TooLarge(bytes_max)),
        Err(error) => Err(fault(&named, error)),
    }
}

fn fault(codings: &str, error: io::Error) -> DecodeError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        DecodeError::Truncated(codings.to_owned())
    } else {
        DecodeError::Corrupt(codings.to_owned(), error)
    }
}

fn layer(coding: &str, mut inner: Box<dyn Read>) -> io::Result<Option<Box<dyn Read>>> {
    Ok(Some(match coding {
        "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(inner)),
        "br" => Box::new(Brotli(brotli::Decompressor::new(Watched { inner, ended: false }, BROTLI_BUFFER_BYTES))),
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::new(inner)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        "deflate" => {
            // The standard means zlib's form, some servers send the bare one; zlib's first two bytes tell.
            let mut head = Vec::with_capacity(2);
            inner.by_ref().take(2).read_to_end(&mut head)?;
            let is_zlib =
                matches!(head[..], [cmf, flg] if cmf & 0x0f == 8 && (u16::from(cmf) << 8 | u16::from(flg)) % 31 == 0);
            let whole = io::Cursor::new(head).chain(inner);
            if is_zlib { Box::new(ZlibDecoder::new(whole)) } else { Box::new(DeflateDecoder::new(whole)) }
        }
        _ => return Ok(None),
    }))
}

/// Brotli calls a body that ends early invalid, as if it were another's; having asked for more tells them apart.
struct Brotli(brotli::Decompressor<Watched>);

struct Watched {
    inner: Box<dyn Read>,
    ended: bool,
}

impl Read for Brotli {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.0.read(buffer);
        result.map_err(|error| if self.0.get_ref().ended { io::ErrorKind::UnexpectedEof.into() } else { error })
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// Reads at most `left` bytes; one more is an error, and is remembered, because a layer above may hide the error's kind.
struct Capped {
    inner: Box<dyn Read>,
    left: u64,
    exceeded: Rc<Cell<bool>>,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            self.exceeded.set(true);
            return Err(io::Error::other("too large"));
        };
        self.left = left;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::checks::{encode, is_bounded};
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    const MIB: u64 = 1 << 20;

    fn run(header: &str, body: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
        decode(body, &codings(header), MIB)
    }

    #[test]
    fn each_coding_reads_back_alone_and_stacked() {
        let page = "<p>1,23,456.78</p>".repeat(500).into_bytes();
        for coding in ["gzip", "deflate", "br", "zstd"] {
            assert_eq!(run(coding, encode(coding, &page)).unwrap(), page, "{coding}");
            let twice = encode("gzip", &encode(coding, &page));
            assert_eq!(run(&format!("{coding}, GZIP"), twice).unwrap(), page, "{coding}, gzip");
        }
        assert_eq!(run("deflate", encode("raw", &page)).unwrap(), page, "raw deflate");
        assert_eq!(run("identity", page.clone()).unwrap(), page);
        assert_eq!(run("gzip", Vec::new()).unwrap(), b"", "an empty body needs no coding");
        let members = [encode("gzip", b"one "), encode("gzip", b"two")].concat();
        assert_eq!(run("gzip", members).unwrap(), b"one two");
    }

    #[test]
    fn n6_bombs_are_refused_at_once() {
        let zeros = vec![0; 64 << 20];
        // All of it is sixty-four times what is decoded before it is refused, on whatever machine.
        let (mut refused_after, mut whole_after) = (Duration::ZERO, Duration::ZERO);
        for coding in ["gzip", "deflate", "raw", "br", "zstd"] {
            let header = if coding == "raw" { "deflate" } else { coding };
            let once = encode(coding, &zeros);
            let twice = encode("gzip", &once);
            let start = Instant::now();
            assert_eq!(decode(once.clone(), &codings(header), 64 << 20).unwrap().len(), 64 << 20);
            whole_after += start.elapsed();
            for (header, bomb) in [(header.to_owned(), once), (format!("{header}, gzip"), twice)] {
                let start = Instant::now();
                let error = run(&header, bomb).unwrap_err();
                assert!(matches!(error, DecodeError::TooLarge(MIB)), "{header}: {error}");
                refused_after += start.elapsed();
            }
        }
        println!("ten bombs were refused after {refused_after:?}; to decode five takes {whole_after:?}");
        assert!(refused_after < whole_after, "{refused_after:?}, and {whole_after:?} for all of it");
        assert!(matches!(run("identity", vec![0; 1 << 21]), Err(DecodeError::TooLarge(_))));
    }

    #[test]
    fn what_swells_inside_and_shrinks_again_is_refused() {
        // Empty gzip members: 20 bytes each that decode to nothing, by the hundred million if one let them.
        let empty = encode("gzip", b"");
        let inner = empty.repeat(200_000);
        let error = run("gzip, zstd", encode("zstd", &inner)).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge(_)), "{error}");
    }

    #[test]
    fn every_fault_has_its_name() {
        let page = "<p>59,465.68</p>".repeat(500).into_bytes();
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let whole = encode(coding, &page);
            for length in [1, whole.len() / 2, whole.len() - 1] {
                let error = run(coding, whole[..length].to_vec()).unwrap_err();
                assert!(matches!(error, DecodeError::Truncated(_)), "{coding} cut to {length}: {error:?}");
            }
            let error = run(coding, vec![0xff; 100]).unwrap_err();
            assert!(matches!(error, DecodeError::Corrupt(..)), "{coding}: {error:?}");
        }
        insta::assert_snapshot!(run("compress\u{1b}", vec![1]).unwrap_err(), @r"unknown_coding: the body is coded as `compress\u{1b}`; known are gzip, deflate, br, zstd");
        insta::assert_snapshot!(run("br,br,br,br", vec![1]).unwrap_err(), @"too_many_codings: the body is coded 4 times; the most is 3");
        insta::assert_snapshot!(run("identity", vec![0; 1 << 21]).unwrap_err(), @"body_too_large: the page has more than 1.0 MiB when decoded; allow more with `max_body`");
    }

    #[test]
    fn a_zstd_frame_may_not_ask_for_a_large_window() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(b"a page").unwrap();
        let error = run("zstd", encoder.finish().unwrap()).unwrap_err();
        assert!(matches!(error, DecodeError::Corrupt(..)), "{error:?}");
    }

    proptest! {
        #[test]
        fn whatever_comes_it_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300), header in "(gzip|deflate|br|zstd|,|x){0,4}") {
            is_bounded(&header, &bytes);
        }
    }
}
