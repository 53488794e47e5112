//! Frames of RFC 6455, as a server writes and reads them.

use data_encoding::BASE64;
use sha1::{Digest as _, Sha1};

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// What a server answers to the nonce of a handshake (RFC 6455, 4.2.2).
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(&hash.finalize())
}

/// A whole frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        length @ ..126 => out.push(u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            out.push(126);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// The payload of a close.
pub fn close(code: u16) -> Vec<u8> {
    code.to_be_bytes().to_vec()
}

/// Takes a client's frame from the beginning of what has come, if it is whole. Clients mask, and nobody here sends long ones.
pub fn take(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    assert!(head & 0x80 != 0, "a client of ours does not fragment");
    assert!(length & 0x80 != 0, "a client masks (RFC 6455, 5.1)");
    let (length, at) = match length & 0x7f {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => panic!("too long a frame"),
        length => (length, 2),
    };
    let end = at + 4 + length;
    if bytes.len() < end {
        return None;
    }
    let mask: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
    let payload = bytes[at + 4..end].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    bytes.drain(..end);
    Some((head & 0x0f, payload))
}
