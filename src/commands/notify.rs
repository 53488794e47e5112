//! What systemd is told by a service that it starts with `Type=notify`: that it runs, that it makes progress, that it ends.
//! Elsewhere there is nobody to tell.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It runs, with all that it needs.
pub const READY: &str = "READY=1";
/// It makes progress; see `WatchdogSec=` of the unit.
pub const WATCHDOG: &str = "WATCHDOG=1";
/// It was told to end.
pub const STOPPING: &str = "STOPPING=1";

/// Who is told.
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// Tells the socket that `$NOTIFY_SOCKET` names.
    ///
    /// # Errors
    /// When that is no address of a socket.
    pub fn new(address: Option<&str>) -> io::Result<Self> {
        let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(Self(None)) };
        let address = match address.strip_prefix('@') {
            Some(name) => abstract_address(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some((socket, address))))
    }

    /// Says it, if there is somebody to hear. Never waits.
    pub fn tell(&self, what: &str) {
        if let Some((socket, address)) = &self.0 {
            // Who does not listen misses it, and the service goes on.
            socket.send_to_addr(what.as_bytes(), address).ok();
        }
    }
}

/// The address of a socket that has a name and no file, as Linux knows them.
#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_heard_at_both_kinds_of_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = path.to_str().unwrap();
        for (address, socket) in [
            (name.to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&abstract_address(name).unwrap()).unwrap()),
        ] {
            let notify = Notify::new(Some(&address)).unwrap();
            notify.tell(READY);
            notify.tell(WATCHDOG);
            let mut said = [0; 32];
            for expected in [READY, WATCHDOG] {
                let length = socket.recv(&mut said).unwrap();
                assert_eq!(std::str::from_utf8(&said[..length]).unwrap(), expected);
            }
            drop(socket);
            notify.tell(STOPPING);
        }
        Notify::new(None).unwrap().tell(READY);
    }
}
