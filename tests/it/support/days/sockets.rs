//! The sockets themselves: who comes is answered, and what is begun goes on until it ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::frames;
use super::net::{Asked, Door, Out, Reply};
use super::{Upstream, World, lock};
use crate::support::tap::pause;

static DAYS: AtomicU32 = AtomicU32::new(0);

/// Begins to listen, at an address where nobody else does.
pub async fn listen<U: Upstream>(world: &Arc<Mutex<World<U>>>) -> SocketAddr {
    let number = std::process::id().wrapping_mul(31).wrapping_add(DAYS.fetch_add(1, Ordering::Relaxed));
    let [.., a, b] = number.to_be_bytes();
    let listener = TcpListener::bind((Ipv4Addr::new(127, 77, a, b), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    accept(world, listener);
    address
}

/// Listens, or does not, as the door is.
pub async fn keep_door<U: Upstream>(world: &Arc<Mutex<World<U>>>, address: SocketAddr) {
    let (is_gone, is_listening) = {
        let net = &lock(world).net;
        (net.door == Door::Gone, net.accepting.is_some())
    };
    if is_gone && is_listening {
        close(world).await;
    } else if !is_gone && !is_listening {
        accept(world, bind_again(address).await);
    }
}

/// Between its fork and its program a process that another test starts has the listener that was closed here: it is waited for.
async fn bind_again(address: SocketAddr) -> TcpListener {
    for _ in 0..10_000 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => pause(Duration::from_millis(1)),
            listener => return listener.unwrap(),
        }
    }
    panic!("{address} is not free");
}

/// Stops listening.
pub async fn close<U: Upstream>(world: &Arc<Mutex<World<U>>>) {
    let accepting = lock(world).net.accepting.take();
    if let Some(accepting) = accepting {
        accepting.abort();
    }
    tokio::task::yield_now().await;
}

fn accept<U: Upstream>(world: &Arc<Mutex<World<U>>>, listener: TcpListener) {
    let shared = Arc::clone(world);
    let accepting = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // What is written is there at once, and waits for no acknowledgement of what was before it.
            socket.set_nodelay(true).unwrap();
            tokio::spawn(serve(Arc::clone(&shared), socket));
        }
    });
    lock(world).net.accepting = Some(accepting.abort_handle());
}

/// Answers requests of one connection until it ends, or becomes a stream.
async fn serve<U: Upstream>(world: Arc<Mutex<World<U>>>, mut socket: TcpStream) {
    let mut bytes = Vec::new();
    loop {
        while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            if !matches!(socket.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        }
        let mut asked = read_head(&bytes, lock(&world).net.now);
        bytes.clear();
        let (out, stream) = answer(&world, &mut asked);
        let Some(out) = out else { return socket.set_zero_linger().unwrap() };
        if socket.write_all(&out).await.is_err() {
            return;
        }
        lock(&world).net.bytes += 1;
        if let Some((line, from)) = stream {
            {
                let World { net, upstream } = &mut *lock(&world);
                net.bytes += 1;
                net.stirred_at = Some(net.now);
                if net.door == Door::Flap {
                    net.end(line, 1011);
                } else {
                    upstream.opened(line, &asked, net);
                }
            }
            return stream_to(world, socket, line, from).await;
        }
    }
}

type Begun = Option<(usize, UnboundedReceiver<Out>)>;

/// The bytes of an answer; none where the connection is to break.
fn answer<U: Upstream>(world: &Mutex<World<U>>, asked: &mut Asked) -> (Option<Vec<u8>>, Begun) {
    let World { net, upstream } = &mut *lock(world);
    net.bytes += 1;
    let reply = match net.door {
        Door::Reset => {
            net.asked.push(asked.clone());
            return (None, None);
        }
        Door::Status(status, retry_after) => {
            let mut headers = vec![("Content-Type", "text/html".to_owned())];
            headers.extend(retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
            Reply::Page { status, headers, body: b"<h1>Maintenance</h1>".to_vec() }
        }
        Door::Open | Door::Gone | Door::Flap | Door::Brief => upstream.asked(asked, net),
    };
    let (status, headers, body, stream) = match reply {
        Reply::Page { status, mut headers, body } => {
            headers.push(("Content-Length", body.len().to_string()));
            (status, headers, body, None)
        }
        Reply::Stream { headers, first } => (200, headers, first, Some(false)),
        Reply::Upgrade { protocol } => {
            let key = frames::accept(asked.header("sec-websocket-key").expect("a websocket is asked for"));
            let mut headers = vec![("Upgrade", "websocket".into()), ("Connection", "Upgrade".into())];
            headers.push(("Sec-WebSocket-Accept", key));
            headers.extend(protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol.to_owned())));
            (101, headers, Vec::new(), Some(true))
        }
    };
    asked.status = status;
    if let Door::Status(_, Some(seconds)) = net.door {
        asked.retry_after = i64::try_from(seconds).ok().map(TimeDelta::seconds);
    }
    net.asked.push(asked.clone());
    let mut out = format!("HTTP/1.1 {status} Said\r\n").into_bytes();
    for (name, value) in &headers {
        out.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    out.extend(b"\r\n");
    out.extend(body);
    (Some(out), stream.map(|is_websocket| net.add(is_websocket)))
}

async fn stream_to<U: Upstream>(
    world: Arc<Mutex<World<U>>>,
    mut socket: TcpStream,
    line: usize,
    mut from: UnboundedReceiver<Out>,
) {
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            out = from.recv() => match out {
                Some(Out::Bytes(out)) => if socket.write_all(&out).await.is_err() { break },
                Some(Out::Reset) => return socket.set_zero_linger().unwrap(),
                Some(Out::Hang) => { std::future::pending::<()>().await; }
                Some(Out::End) | None => {
                    socket.shutdown().await.ok();
                    return;
                }
            },
            read = socket.read_buf(&mut bytes) => {
                if !matches!(read, Ok(1..)) { break }
                let World { net, upstream } = &mut *lock(&world);
                net.bytes += 1;
                while let Some((opcode, payload)) = frames::take(&mut bytes) {
                    if let Some(text) = net.heard(line, opcode, payload) {
                        upstream.said(line, &text, net);
                    }
                }
            }
        }
        lock(&world).net.bytes += 1;
    }
    let net = &mut lock(&world).net;
    net.part(line, Out::End);
}

fn read_head(bytes: &[u8], at: DateTime<Utc>) -> Asked {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut lines = text.split("\r\n");
    let target = lines.next().unwrap().split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(':'));
    Asked {
        at,
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
        status: 0,
        retry_after: None,
    }
}
