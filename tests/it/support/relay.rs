//! What stands between tapline and a stand-in for a store, and is killed as a server would be: whatever is on its way is
//! cut at whatever byte, half asked and half answered, and nobody is there for a while. What the stand-in has taken it
//! keeps, as a store keeps what it has acknowledged.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// For how long a killed one is gone.
const GONE_FOR: Duration = Duration::from_millis(150);

/// A running relay; it ends when this is dropped.
pub struct Relay {
    address: SocketAddr,
    fate: Arc<Fate>,
    random: StdRng,
    _runtime: Runtime,
}

struct Fate {
    is_there: watch::Sender<bool>,
    /// How many bytes still pass, in both directions together, before it is killed.
    left: AtomicI64,
    kills: AtomicUsize,
}

impl Relay {
    /// Leads to `server`, which is host and port.
    pub fn start(server: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server: SocketAddr = server.parse().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let is_there = watch::Sender::new(true);
        let fate = Arc::new(Fate { is_there, left: AtomicI64::new(i64::MAX), kills: AtomicUsize::new(0) });
        runtime.spawn(accept(listener, server, Arc::clone(&fate)));
        Self { address, fate, random: StdRng::seed_from_u64(7), _runtime: runtime }
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was killed.
    pub fn kills(&self) -> usize {
        self.fate.kills.load(Ordering::Relaxed)
    }

    /// For `killed`: in each fifth run it is killed, after some bytes or many.
    pub fn each_time(&mut self, round: usize) {
        if round.is_multiple_of(5) {
            let most = 1 << self.random.random_range(6..17);
            self.fate.left.store(self.random.random_range(1..=most), Ordering::Relaxed);
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, fate: Arc<Fate>) {
    while let Ok((socket, _)) = listener.accept().await {
        // A port without a server would be free for others meanwhile: it listens, and hangs up at once.
        if *fate.is_there.borrow() {
            tokio::spawn(pass(socket, server, Arc::clone(&fate)));
        } else {
            hang_up(socket).ok();
        }
    }
}

async fn pass(mut socket: TcpStream, server: SocketAddr, fate: Arc<Fate>) {
    let Ok(mut onward) = TcpStream::connect(server).await else { return };
    // Otherwise each of two small writes in a row would wait for the other side's delayed acknowledgement.
    for side in [&socket, &onward] {
        side.set_nodelay(true).unwrap();
    }
    let mut is_there = fate.is_there.subscribe();
    // A side that is reset leaves nothing to the other, which would wait for ever.
    let is_over = {
        let ((asked, answer), (answered, ask)) = (socket.split(), onward.split());
        tokio::select! {
            ended = async { tokio::try_join!(copy(asked, ask, &fate), copy(answered, answer, &fate)) } => ended.is_ok(),
            _ = is_there.wait_for(|is_there| !is_there) => false,
        }
    };
    if !is_over {
        hang_up(socket).ok();
        hang_up(onward).ok();
    }
}

/// Passes what comes, as far as it still may.
async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, fate: &Arc<Fate>) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let wanted = i64::try_from(length).unwrap();
        let left = fate.left.fetch_sub(wanted, Ordering::Relaxed);
        let passing = usize::try_from(left.clamp(0, wanted)).unwrap();
        to.write_all(&buffer[..passing]).await?;
        if passing < length {
            kill(fate);
        }
    }
}

fn kill(fate: &Arc<Fate>) {
    fate.kills.fetch_add(1, Ordering::Relaxed);
    fate.left.store(i64::MAX, Ordering::Relaxed);
    fate.is_there.send_replace(false);
    let fate = Arc::clone(fate);
    tokio::spawn(async move {
        tokio::time::sleep(GONE_FOR).await;
        fate.is_there.send_replace(true);
    });
}

/// A reset: what was not read yet is lost, as with a process that was killed.
fn hang_up(socket: TcpStream) -> io::Result<()> {
    socket.set_zero_linger()?;
    drop(socket);
    Ok(())
}
