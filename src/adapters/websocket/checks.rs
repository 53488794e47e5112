//! Frames of Jetstream: whatever the bytes, no panic, no text beyond its limit, and records that are pieces of the message.

use super::decode::Decode;
use super::settings::Binary;
use crate::message::{IdKeys, Made, MessageKeys, Place};

const BYTES_MAX: usize = 1 << 16;

/// A binary frame, plain or compressed, as Jetstream sends it.
pub(crate) fn frame(bytes: &[u8], is_compressed: bool) {
    let binary = if is_compressed { Binary::Zstd } else { Binary::Plain };
    let mut decode = Decode::new(binary, None, BYTES_MAX).expect("there is no dictionary to read");
    let Ok(Some(text)) = decode.text(bytes) else { return };
    assert!(!is_compressed || text.len() <= BYTES_MAX);
    let place = |text: &str| Place::new(text).expect("it is one");
    let id = Some(IdKeys(["/did", "/time_us", "/commit/rev"].map(place).into()));
    let keys = MessageKeys { id, ..MessageKeys::default() };
    let reader = keys.reader("s", &[&place("/time_us")]).expect("nothing is wrong with the keys");
    let mut made = Made::default();
    if reader.read(&text, &"message".into(), &mut made).is_ok() {
        assert_eq!(made.items.len() + made.rejects.len(), 1);
        for item in &made.items {
            assert!(text.contains(item.data.get()));
            let id = item.id.as_deref().unwrap_or("m_");
            assert!(id.starts_with("m_") && id.bytes().all(|byte| byte.is_ascii_graphic()) && id.len() < 300, "{id}");
        }
    }
}
