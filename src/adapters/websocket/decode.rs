//! Binary messages: compressed text, each whole in its own frame.

use std::borrow::Cow;
use std::io::Read as _;

use anyhow::anyhow;
use flate2::read::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::settings::Binary;
use crate::source::SourceError;

/// The largest window that any decoder should have (RFC 8878, 3.1.1.1.2), as a power of two; and the largest that is.
const WINDOW_LOG: u32 = 23;
const WINDOW_LOG_MAX: u32 = 27;

/// Makes text of a connection's messages.
pub(super) struct Decode {
    binary: Binary,
    /// It is kept from one message to the next, because to read in a dictionary takes longer than a message.
    zstd: Option<Decoder<'static>>,
    bytes_max: usize,
}

impl Decode {
    /// # Errors
    /// When the dictionary cannot be used.
    pub(super) fn new(binary: Binary, dictionary: Option<&[u8]>, bytes_max: usize) -> Result<Self, SourceError> {
        let made = || {
            let mut decoder = Decoder::with_dictionary(dictionary.unwrap_or_default())?;
            let window_log = (usize::BITS - bytes_max.leading_zeros()).clamp(WINDOW_LOG, WINDOW_LOG_MAX);
            decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
            Ok(decoder)
        };
        let zstd = (binary == Binary::Zstd).then(made).transpose();
        let zstd = zstd.map_err(|error: std::io::Error| {
            SourceError::Refused(anyhow!("the dictionary cannot be used: {error}; see `dictionary`"))
        })?;
        Ok(Self { binary, zstd, bytes_max })
    }

    /// The text of a binary message; `None` where such are not looked at.
    ///
    /// # Errors
    /// In words, when there is none in it.
    pub(super) fn text<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<Cow<'b, str>>, String> {
        let decoded = match (self.binary, &mut self.zstd) {
            (Binary::Ignore, _) => return Ok(None),
            (Binary::Gzip, _) => Cow::Owned(gunzip(bytes, self.bytes_max)?),
            (Binary::Zstd, Some(zstd)) => Cow::Owned(unzstd(zstd, bytes, self.bytes_max)?),
            (Binary::Plain | Binary::Zstd, _) => Cow::Borrowed(bytes),
        };
        let text = match decoded {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.utf8_error()),
        };
        text.map(Some).map_err(|error| format!("this is not UTF-8 from byte {}", error.valid_up_to() + 1))
    }
}

fn corrupt(error: &std::io::Error) -> String {
    format!("this cannot be decompressed: {error}; see `binary`")
}

fn too_long(bytes_max: usize) -> String {
    format!("decompressed it is longer than {bytes_max} bytes; allow more with `max_message`")
}

/// Piece by piece, so that a bomb is seen before it has gone off.
fn gunzip(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(bytes_max as u64 + 1);
    decoder.read_to_end(&mut whole).map_err(|error| corrupt(&error))?;
    if whole.len() > bytes_max { Err(too_long(bytes_max)) } else { Ok(whole) }
}

/// Likewise.
fn unzstd(decoder: &mut Decoder<'static>, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    decoder.reinit().map_err(|error| corrupt(&error))?;
    let mut input = InBuffer::around(bytes);
    let (mut whole, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let mut output = OutBuffer::around(&mut piece[..]);
        let left = decoder.run(&mut input, &mut output).map_err(|error| corrupt(&error))?;
        whole.extend_from_slice(output.as_slice());
        if whole.len() > bytes_max {
            return Err(too_long(bytes_max));
        }
        let is_read = input.pos() == bytes.len();
        if is_read && left == 0 {
            return Ok(whole);
        }
        if is_read && output.pos() < output.capacity() {
            return Err("this cannot be decompressed: it ends in the middle; see `binary`".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn decode(binary: Binary, bytes: &[u8]) -> Result<Option<String>, String> {
        let mut decode = Decode::new(binary, None, 1000).unwrap();
        decode.text(bytes).map(|text| text.map(Cow::into_owned))
    }

    #[test]
    fn compressed_messages_are_read_and_bombs_are_not() {
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
        let gzip = |text: &str| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(text.as_bytes()).unwrap();
            out.finish().unwrap()
        };
        let text = r#"{"a":"é"}"#;
        assert_eq!(decode(Binary::Plain, text.as_bytes()), Ok(Some(text.into())));
        assert_eq!(decode(Binary::Zstd, &zstd(text)), Ok(Some(text.into())));
        assert_eq!(decode(Binary::Gzip, &gzip(text)), Ok(Some(text.into())));
        assert_eq!(decode(Binary::Ignore, b"\xff"), Ok(None));
        let bomb = "a".repeat(1_000_000);
        for (binary, bytes) in [
            (Binary::Plain, vec![b'a', 0xff]),
            (Binary::Zstd, b"plain".to_vec()),
            (Binary::Gzip, zstd(text)),
            (Binary::Zstd, zstd(&bomb)),
            (Binary::Gzip, gzip(&bomb)),
            (Binary::Zstd, zstd(text)[..10].to_vec()),
        ] {
            assert!(decode(binary, &bytes).is_err(), "{binary:?}");
        }
    }

    #[test]
    fn a_dictionary_is_used() {
        let dictionary = r#"{"did":"did:plc:","time_us":17,"kind":"commit"}"#.repeat(20);
        let text = r#"{"did":"did:plc:abc","time_us":1795417445250000,"kind":"commit"}"#;
        let mut compressor = zstd::bulk::Compressor::with_dictionary(3, dictionary.as_bytes()).unwrap();
        let bytes = compressor.compress(text.as_bytes()).unwrap();
        let mut decode = Decode::new(Binary::Zstd, Some(dictionary.as_bytes()), 1000).unwrap();
        let mut without = Decode::new(Binary::Zstd, None, 1000).unwrap();
        for _ in 0..3 {
            assert_eq!(decode.text(&bytes).unwrap().as_deref(), Some(text));
            // What is broken changes nothing for what comes next.
            assert!(decode.text(&bytes[..bytes.len() - 3]).is_err() && without.text(&bytes).is_err());
        }
        let broken = [&0xEC30_A437_u32.to_le_bytes()[..], b"no tables"].concat();
        assert!(Decode::new(Binary::Zstd, Some(&broken), 1000).is_err());
    }
}
