//! The listener: connections with bounds.
//!
//! Whoever opens thousands of connections and says nothing shall not keep others out: when there are too many, the one
//! goes that has been silent for longest, and not the one that has just come. Each has little memory, little time to
//! say what it wants, and an end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How long a stop waits for answers that are being sent.
const STOP_MAX: Duration = Duration::from_millis(500);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many there may be at once.
    pub connections: usize,
    /// How long one may take to send the head of a request.
    pub head_time: Duration,
    /// How many headers a request may have.
    pub headers: usize,
    /// How long the head of a request may be, in bytes.
    pub head_bytes: usize,
    /// How long a connection lives; browsers open another.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head_time: Duration::from_secs(10),
            headers: 64,
            head_bytes: 16 * 1024,
            life: Duration::from_mins(5),
        }
    }
}

/// The open connections, by number, which is the order in which they were last heard of.
#[derive(Default)]
struct Open {
    silent: Mutex<BTreeMap<u64, CancellationToken>>,
    next: AtomicU64,
}

impl Open {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection; where there are too many, ends the one that has been silent for longest.
    fn enter(&self, end: CancellationToken, most: usize) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut silent = self.lock();
        silent.insert(number, end);
        while silent.len() > most {
            if let Some((_, end)) = silent.pop_first() {
                end.cancel();
            }
        }
        number
    }

    /// A connection has asked for something: it is now the last that would be ended.
    fn heard(&self, number: &AtomicU64) {
        let mut silent = self.lock();
        if let Some(end) = silent.remove(&number.load(Ordering::Relaxed)) {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            number.store(next, Ordering::Relaxed);
            silent.insert(next, end);
        }
    }

    fn leave(&self, number: u64) {
        self.lock().remove(&number);
    }
}

/// A port that is listened on.
pub struct Listening {
    listener: TcpListener,
    /// Where, with the port that the system gave for 0.
    pub address: SocketAddr,
}

impl Listening {
    /// Takes the port.
    ///
    /// # Errors
    /// When another program has it, or it may not be taken.
    pub async fn on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

/// Answers requests until told to stop.
pub async fn serve(listening: Listening, router: Router, limits: Limits, stop: CancellationToken) {
    let open = Arc::new(Open::default());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listening.listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((socket, _)) => {
                connections.spawn(attend(socket, router.clone(), limits, Arc::clone(&open), stop.clone()));
            }
            // Out of file descriptors, or the other end is gone already: neither is for ever.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let over = async { while connections.join_next().await.is_some() {} };
    timeout(STOP_MAX, over).await.ok();
}

async fn attend(socket: TcpStream, router: Router, limits: Limits, open: Arc<Open>, stop: CancellationToken) {
    // Answers are small and written whole: waiting for more to send would only delay them.
    socket.set_nodelay(true).ok();
    let end = CancellationToken::new();
    let number = Arc::new(AtomicU64::new(open.enter(end.clone(), limits.connections)));
    let (of, heard) = (Arc::clone(&open), Arc::clone(&number));
    let service = router.map_request(move |request: Request<hyper::body::Incoming>| {
        of.heard(&heard);
        request.map(axum::body::Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong with a connection is the other end's affair.
        _ = connection.as_mut() => {}
        () = end.cancelled() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(STOP_MAX, connection).await.ok();
        }
        () = tokio::time::sleep(limits.life) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.head_time, connection).await.ok();
        }
    }
    open.leave(number.load(Ordering::Relaxed));
}
