//! A real server of another project's, on a free port and in a folder of its own; killed and started again at will, and
//! ended when dropped.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::tap::{PATIENCE, pause, wait_until};

type Make = Box<dyn Fn(&Path, u16) -> Command + Send + Sync>;

/// A running server.
pub struct Server {
    dir: tempfile::TempDir,
    port: u16,
    make: Make,
    child: Option<Child>,
}

impl Server {
    /// Starts what `make` makes of a folder and a port, and waits until it listens.
    pub fn start(make: impl Fn(&Path, u16) -> Command + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self { dir, port: 0, make: Box::new(make), child: None };
        // A free port may be taken by somebody else before the server binds it; then it ends, and another is tried.
        for _ in 0..20 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.try_start() {
                return server;
            }
        }
        panic!("it does not start: {}", server.log())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills it as kill -9 does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            child.wait().unwrap();
        }
    }

    /// Starts it again in its folder and on its port.
    pub fn restart(&mut self) {
        self.kill();
        wait_until("the server listens again", PATIENCE, || self.try_start());
    }

    fn try_start(&mut self) -> bool {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = (self.make)(self.dir.path(), self.port);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir(self.dir.path());
        let name = command.get_program().to_owned();
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}; scripts/setup installs it", name.display()));
        let mut ended = false;
        wait_until("the server listens", PATIENCE, || {
            ended = child.try_wait().unwrap().is_some();
            ended || TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        self.child = Some(child);
        !ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells a server to end a moment from now, and starts it again, beside whatever else happens.
pub fn stop_soon(server: &Arc<Mutex<Server>>, after: Duration) -> std::thread::JoinHandle<()> {
    let server = Arc::clone(server);
    std::thread::spawn(move || {
        pause(after);
        let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.stop();
        server.restart();
    })
}

/// Kills a server a moment from now and starts it again, beside whatever else happens.
pub fn kill_soon(server: &Arc<Mutex<Server>>, after: Duration) -> std::thread::JoinHandle<()> {
    let server = Arc::clone(server);
    std::thread::spawn(move || {
        pause(after);
        server.lock().unwrap_or_else(PoisonError::into_inner).restart();
    })
}
