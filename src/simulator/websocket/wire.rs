//! The bytes of a websocket as a server sends and reads them (RFC 6455), written by hand: so that they can be wrong.

use std::io;

use data_encoding::BASE64;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What a client asked with.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// The address, with its parameters.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of the address, with what is escaped in it.
    pub(super) fn parameters(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned()).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Reads what a client asks.
    pub(super) async fn read(socket: &mut OwnedReadHalf) -> io::Result<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 64 << 10 {
                return Err(io::Error::other("the head is too long"));
            }
            head.push(socket.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let header =
            |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        Ok(Self { target, headers: lines.filter_map(header).collect() })
    }
}

/// Agrees to a websocket.
pub(super) fn agreement(asked: &Asked) -> Vec<u8> {
    let key = asked.header("sec-websocket-key").unwrap_or_default();
    let accept = BASE64.encode(&Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(protocol) = asked.header("sec-websocket-protocol").and_then(|list| list.split(',').next()) {
        head.extend(["Sec-WebSocket-Protocol: ", protocol.trim(), "\r\n"]);
    }
    (head + "\r\n").into_bytes()
}

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A frame; a server's are not masked.
pub(super) fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_last { 0x80 } else { 0 }];
    let len = payload.len();
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..126), _) => bytes.push(len),
        (_, Ok(len)) => {
            bytes.push(126);
            bytes.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A message in three frames, with a ping between.
pub(super) fn fragments(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let (first, rest) = payload.split_at(payload.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [frame(opcode, false, first), frame(PING, true, b"between"), frame(0, false, second), frame(0, true, third)]
        .concat()
}

/// The close frame of this code.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, true, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The next frame of a client: its opcode and payload, unmasked.
pub(super) async fn read_frame(socket: &mut OwnedReadHalf) -> io::Result<(u8, Vec<u8>)> {
    let first = socket.read_u8().await?;
    let second = socket.read_u8().await?;
    if second & 0x80 == 0 {
        return Err(io::Error::other("a client's frame is not masked"));
    }
    let len = match second & 0x7f {
        126 => u64::from(socket.read_u16().await?),
        127 => socket.read_u64().await?,
        len => u64::from(len),
    };
    let len = usize::try_from(len).ok().filter(|len| *len <= 1 << 20);
    let len = len.ok_or_else(|| io::Error::other("a client's frame is too long"))?;
    let mut mask = [0; 4];
    socket.read_exact(&mut mask).await?;
    let mut payload = vec![0; len];
    socket.read_exact(&mut payload).await?;
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    Ok((first & 0x0f, payload))
}

/// Writes bytes in pieces, so that a client sees them cut anywhere.
pub(super) async fn write_cut(socket: &mut OwnedWriteHalf, bytes: &[u8], piece: usize) -> io::Result<()> {
    if piece == 0 {
        return socket.write_all(bytes).await;
    }
    for piece in bytes.chunks(piece) {
        socket.write_all(piece).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
