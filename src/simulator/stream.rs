//! An answer without an end: pieces written to the socket as they are made, and all the ways in which that can go wrong.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

/// One step of a stream.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes as one chunk of chunked coding.
    Chunk(Vec<u8>),
    /// So many writes of chunks that are made, with their framing, by their number, when the client is ready for them.
    Flood(Maker, u64),
    /// A chunk that is announced whole and of which only this much comes; nothing may follow but an end.
    Half(Vec<u8>),
    /// Nothing for this long.
    Pause(Duration),
    /// The end of the body as HTTP has it, and of the connection.
    End,
    /// The end of the connection, and not of the body.
    Close,
    /// A reset.
    Reset,
    /// Nothing more, and the connection stays open until the client ends it.
    Hang,
}

/// Makes chunks.
#[derive(Clone)]
pub struct Maker(pub Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>);

impl std::fmt::Debug for Maker {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Maker")
    }
}

/// What makes a streamed answer.
#[derive(Debug)]
pub struct Stream {
    /// Headers beside `Transfer-Encoding`.
    pub headers: Vec<(String, String)>,
    /// What is written. When its sender is dropped the stream ends as with [`Piece::End`]; when the client goes away,
    /// this is dropped, and the sender sees it.
    pub pieces: UnboundedReceiver<Piece>,
    /// How long the client may leave what was written lying before the connection is ended.
    pub patience: Duration,
}

impl Stream {
    /// Writes until the end of either side.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn deliver(mut self, mut socket: TcpStream) -> io::Result<()> {
        let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
        for (name, value) in &self.headers {
            head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        let mut ignored = [0; 256];
        let patience = self.patience;
        loop {
            let piece = tokio::select! {
                piece = self.pieces.recv() => piece.unwrap_or(Piece::End),
                read = socket.read(&mut ignored) => match read? {
                    0 => return Ok(()),
                    _ => continue,
                },
            };
            match piece {
                Piece::Chunk(bytes) => write_chunk(&mut socket, &bytes, patience).await?,
                Piece::Flood(maker, count) => {
                    for number in 0..count {
                        write(&mut socket, &(maker.0)(number), patience).await?;
                    }
                }
                Piece::Half(bytes) => {
                    socket.write_all(format!("{:x}\r\n", bytes.len() * 2 + 1).as_bytes()).await?;
                    socket.write_all(&bytes).await?;
                    // Both have to arrive before a reset takes back what did not.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Piece::Pause(time) => tokio::time::sleep(time).await,
                Piece::End => return socket.write_all(b"0\r\n\r\n").await,
                Piece::Close => return Ok(()),
                Piece::Reset => return socket.set_zero_linger(),
                Piece::Hang => {
                    // A client that has gone to sleep is not waited for by whoever sends.
                    self.pieces.close();
                    while socket.read(&mut ignored).await? > 0 {}
                    return Ok(());
                }
            }
        }
    }
}

async fn write_chunk(socket: &mut TcpStream, bytes: &[u8], patience: Duration) -> io::Result<()> {
    if bytes.is_empty() {
        // An empty chunk is the end.
        return Ok(());
    }
    let mut chunk = Vec::with_capacity(bytes.len() + 16);
    chunk.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    write(socket, &chunk, patience).await
}

/// A slow reader is got rid of: when this fails, the socket is dropped.
async fn write(socket: &mut TcpStream, bytes: &[u8], patience: Duration) -> io::Result<()> {
    tokio::time::timeout(patience, socket.write_all(bytes)).await?
}
