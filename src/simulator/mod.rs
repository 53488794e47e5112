//! Fake upstreams on real sockets, for tests and for trying things. Imports nothing of ours, so that a fake cannot
//! share a bug with what it tests.
//!
//! To add one: write `simulator/<name>.rs` with a [`Simulator`], then add its two lines here.

pub mod api;
pub mod faults;
pub mod feed;
pub mod line;
pub mod mongo;
pub mod oauth1;
pub mod quote;
pub mod server;
pub mod sse;
pub mod stores;
pub mod stream;
pub mod time;
pub mod upstream;
pub mod websocket;
pub mod x;

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

/// How a simulator is started from the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// What its data and its chances are made of.
    pub seed: u64,
    /// How often its data changes.
    pub step: Duration,
    /// What goes wrong, in the words of [`faults`] and of the simulator.
    pub faults: String,
    /// Of a stream: so many prepared records at once, as fast as they are taken. Zero is none.
    pub flood: u64,
}

/// A running simulator; it ends when this is dropped.
pub trait Running: Send {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
}

/// A simulator that is about to run.
pub type Starting = Pin<Box<dyn Future<Output = std::io::Result<Box<dyn Running>>> + Send>>;

/// One that starts so.
fn starting<R: Running + 'static>(start: impl Future<Output = std::io::Result<R>> + Send + 'static) -> Starting {
    Box::pin(async move { Ok(Box::new(start.await?) as Box<dyn Running>) })
}

/// One line of the list.
pub struct Simulator {
    /// The name that users write.
    pub name: &'static str,
    /// One sentence about it.
    pub about: &'static str,
    /// Where it listens unless told otherwise.
    pub port: u16,
    /// What to look at once it runs.
    pub paths: &'static [&'static str],
    /// Starts it.
    ///
    /// # Errors
    /// In words, when the options are not right.
    pub start: fn(&Options) -> Result<Starting, String>,
}

/// Every simulator.
pub const SIMULATORS: &[Simulator] =
    &[api::SIMULATOR, feed::SIMULATOR, quote::SIMULATOR, sse::SIMULATOR, websocket::SIMULATOR, x::SIMULATOR];
