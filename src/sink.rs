//! Sinks: where lines go as they are committed, apart from the segments themselves.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in a stream: the next byte to be read.
///
/// The offset counts uncompressed bytes, so a position stays valid when its segment is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// The offset in its uncompressed bytes.
    pub offset: u64,
}

impl Position {
    /// The start of a segment.
    pub fn start_of(segment: u64) -> Self {
        Self { segment, offset: 0 }
    }
}

/// Follows committed lines. The segments are the queue: a sink reads them at its own pace, so one that is slow slows
/// nobody, and one that failed goes on where it was.
pub trait Sink: Send {
    /// Brings on everything of `stream` that is committed and that it has not brought on yet.
    ///
    /// # Errors
    /// When it cannot go on. The call is repeated later, but for [`io::ErrorKind::BrokenPipe`], which says that nobody
    /// wants more.
    fn follow(&mut self, stream: &Arc<str>, committed: Position) -> io::Result<()>;
}
