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

/// How many earlier segments of a stream may end before their files do.
pub const ENDS_MAX: usize = 4;

/// How far a stream is committed. Nobody reads beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The oldest segment that is kept.
    pub first: u64,
    /// Where it ends.
    pub end: Position,
    /// Earlier segments that end here, whatever their files say: a disk failed behind these positions, and what was
    /// there stands in the next segment.
    pub ends: [Option<Position>; ENDS_MAX],
}

impl Committed {
    /// A stream that is committed up to `end`, in files that are whole.
    pub fn up_to(end: Position) -> Self {
        Self { first: 1, end, ends: [None; ENDS_MAX] }
    }

    /// Without the segment that is still written to.
    #[must_use]
    pub fn closed(self) -> Self {
        Self { end: Position::start_of(self.end.segment), ..self }
    }

    /// How much of a segment is committed; `None` for one that ends where its file does.
    pub fn len_of(&self, segment: u64) -> Option<u64> {
        let ends = self.ends.iter().flatten().chain([&self.end]);
        ends.filter(|end| end.segment == segment).map(|end| end.offset).min()
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
    fn follow(&mut self, stream: &Arc<str>, committed: Committed) -> io::Result<()>;
}
