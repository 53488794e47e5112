//! What holds of every coded body: it is as long as is allowed or refused, what was coded is decoded, and what is cut off
//! is never taken for whole.

use std::io::Write as _;

use super::{DecodeError, codings, decode};

/// The body is decoded up to this, and once more up to the other.
const BYTES_MAX: u64 = 1000;
const MORE_BYTES_MAX: u64 = 1 << 20;

const HEADERS: [&str; 9] =
    ["gzip", "deflate", "br", "zstd", "x-gzip, identity", "gzip, br", "zstd, gzip", "DEFLATE ,deflate", "br, x"];
const CODINGS: [&str; 5] = ["gzip", "deflate", "raw", "br", "zstd"];

/// Any bytes as a coded body, and as one to be coded.
pub(crate) fn any(choice: u8, body: &[u8]) {
    let choice = usize::from(choice);
    is_bounded(HEADERS[choice % HEADERS.len()], body);
    reads_back(CODINGS[choice % CODINGS.len()], body);
}

/// A body under a header.
pub(in super::super) fn is_bounded(header: &str, body: &[u8]) {
    let codings = codings(header);
    let decode = |bytes_max| decode(body.to_vec(), &codings, bytes_max);
    match decode(BYTES_MAX) {
        Ok(decoded) => {
            assert!(decoded.len() as u64 <= BYTES_MAX, "{header}: {}", decoded.len());
            assert!(decode(MORE_BYTES_MAX).is_ok_and(|more| more == decoded), "{header}: {body:?}");
        }
        Err(DecodeError::TooLarge(_)) => {
            // Of several layers one within may have been too large.
            let more = decode(MORE_BYTES_MAX);
            assert!(codings.len() > 1 || more.is_err() || more.is_ok_and(|more| more.len() as u64 > BYTES_MAX));
        }
        Err(_) => {}
    }
}

/// What is coded is decoded, and what is cut off is refused.
fn reads_back(coding: &str, body: &[u8]) {
    let header = codings(if coding == "raw" { "deflate" } else { coding });
    let coded = encode(coding, body);
    // Nothing at all is an answer without a body.
    for length in [1, coded.len() / 2, coded.len() - 1].into_iter().filter(|length| (1..coded.len()).contains(length)) {
        let cut = decode(coded[..length].to_vec(), &header, MORE_BYTES_MAX);
        assert!(cut.is_err(), "{coding}: {length} of {} bytes of {body:?}", coded.len());
    }
    assert_eq!(decode(coded, &header, MORE_BYTES_MAX).expect("it was coded like this"), body, "{coding}");
}

/// Codes a body; `raw` is deflate without zlib's frame around it.
pub(in super::super) fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    const INTO_MEMORY: &str = "invariant: a Vec takes it";
    let level = flate2::Compression::default();
    match coding {
        "gzip" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(bytes).expect(INTO_MEMORY);
            out.finish().expect(INTO_MEMORY)
        }
        "deflate" => {
            let mut out = flate2::write::ZlibEncoder::new(Vec::new(), level);
            out.write_all(bytes).expect(INTO_MEMORY);
            out.finish().expect(INTO_MEMORY)
        }
        "raw" => {
            let mut out = flate2::write::DeflateEncoder::new(Vec::new(), level);
            out.write_all(bytes).expect(INTO_MEMORY);
            out.finish().expect(INTO_MEMORY)
        }
        "br" => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
            encoder.write_all(bytes).expect(INTO_MEMORY);
            drop(encoder);
            out
        }
        "zstd" => zstd::stream::encode_all(bytes, 3).expect(INTO_MEMORY),
        other => panic!("{other}"),
    }
}
