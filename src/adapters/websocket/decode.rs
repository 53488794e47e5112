//! Binary messages: compressed text, each whole in its own frame.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::GzDecoder;
use zstd::stream::read::Decoder;

use super::settings::Binary;

/// Makes text of messages.
pub(super) struct Decode {
    binary: Binary,
    dictionary: Vec<u8>,
    bytes_max: usize,
}

impl Decode {
    /// # Errors
    /// When the dictionary cannot be read.
    pub(super) fn new(binary: Binary, dictionary: Option<&str>, bytes_max: usize) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let read = |file: &str| std::fs::read(file).with_context(|| format!("the dictionary {file} cannot be read"));
        let dictionary = dictionary.map(read).transpose()?.unwrap_or_default();
        Ok(Self { binary, dictionary, bytes_max })
    }

    /// The text of a binary message; `None` where such are not looked at.
    ///
    /// # Errors
    /// In words, when there is none in it.
    pub(super) fn text<'b>(&self, bytes: &'b [u8]) -> Result<Option<Cow<'b, str>>, String> {
        let decoded = match self.binary {
            Binary::Ignore => return Ok(None),
            Binary::Plain => Cow::Borrowed(bytes),
            Binary::Gzip => Cow::Owned(self.bounded(GzDecoder::new(bytes))?),
            Binary::Zstd => {
                let decoder = Decoder::with_dictionary(bytes, &self.dictionary);
                Cow::Owned(self.bounded(decoder.map_err(|error| format!("this is not zstd: {error}"))?)?)
            }
        };
        let text = match decoded {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.utf8_error()),
        };
        text.map(Some).map_err(|error| format!("this is not UTF-8 from byte {}", error.valid_up_to() + 1))
    }

    /// Piece by piece, so that a bomb is seen before it has gone off.
    fn bounded(&self, decoder: impl std::io::Read) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        decoder
            .take(self.bytes_max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("this cannot be decompressed: {error}; see `binary`"))?;
        if bytes.len() > self.bytes_max {
            return Err(format!(
                "decompressed it is longer than {} bytes; allow more with `max_message`",
                self.bytes_max
            ));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn decode(binary: Binary, bytes: &[u8]) -> Result<Option<String>, String> {
        let decode = Decode::new(binary, None, 1000).unwrap();
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
        let file = tempfile::NamedTempFile::new().unwrap();
        let dictionary = r#"{"did":"did:plc:","time_us":17,"kind":"commit"}"#.repeat(20);
        std::fs::write(file.path(), &dictionary).unwrap();
        let text = r#"{"did":"did:plc:abc","time_us":1795417445250000,"kind":"commit"}"#;
        let mut compressor = zstd::bulk::Compressor::with_dictionary(3, dictionary.as_bytes()).unwrap();
        let bytes = compressor.compress(text.as_bytes()).unwrap();
        let decode = Decode::new(Binary::Zstd, file.path().to_str(), 1000).unwrap();
        assert_eq!(decode.text(&bytes).unwrap().as_deref(), Some(text));
        assert!(Decode::new(Binary::Zstd, Some("/nowhere"), 1000).is_err());
    }
}
