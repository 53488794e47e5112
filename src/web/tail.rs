//! The end of a stream: its last lines, read back only as far as is needed.

use crate::record::Line;
use crate::report::committed::Committed;
use crate::sink::{self, Position};
use crate::sinks::segments::Saved;

/// How much is read for the last line of a source, in bytes.
const LAST_BYTES: u64 = 256 * 1024;

/// Lines of the end of a stream, each segment's in order, the newest segment first; until `take` has seen enough of a
/// segment, or `bytes_max` have been read.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn backwards(
    committed: &Committed,
    stream: &str,
    bytes_max: u64,
    mut take: impl FnMut(&[Vec<u8>]) -> bool,
) -> anyhow::Result<()> {
    let Some(saved) = committed.saved(stream)? else { return Ok(()) };
    let mut left = bytes_max;
    for segment in (saved.first..=saved.segment).rev() {
        let lines = lines_of(committed, stream, &saved, segment, left)?;
        left = left.saturating_sub(lines.iter().map(|line| line.len() as u64 + 1).sum());
        if !lines.is_empty() && (!take(&lines) || left == 0) {
            return Ok(());
        }
    }
    Ok(())
}

/// The lines of one segment; of a long one that is still written to, the last `bytes_max`.
fn lines_of(
    committed: &Committed,
    stream: &str,
    saved: &Saved,
    segment: u64,
    bytes_max: u64,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = sink::Committed::from(saved);
    let is_active = segment == saved.segment;
    let skipped = if is_active { saved.len.saturating_sub(bytes_max) } else { 0 };
    let end = if is_active { all.end } else { Position::start_of(segment + 1) };
    let mut reader = committed.reader(stream, Position { segment, offset: skipped });
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    let mut is_first = skipped > 0;
    while reader.read(sink::Committed { end, ..all }, 1 << 20, &mut bytes)?.is_some() {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Reading began somewhere within it.
            if !std::mem::take(&mut is_first) {
                lines.push(line.to_vec());
            }
        }
        bytes.clear();
        if reader.position().segment != segment {
            break;
        }
    }
    Ok(lines)
}

/// The last lines of a stream that are wanted, the newest first.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn last_lines(
    committed: &Committed,
    stream: &str,
    count: usize,
    bytes_max: u64,
    is_wanted: impl Fn(&Line<'_>) -> bool,
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    backwards(committed, stream, bytes_max, |lines| {
        let texts = lines.iter().rev().filter_map(|line| {
            let parsed = Line::parse(line).ok()?;
            is_wanted(&parsed).then(|| String::from_utf8_lossy(line).into_owned())
        });
        let room = count - found.len();
        found.extend(texts.take(room));
        found.len() < count
    })?;
    Ok(found)
}

/// The last line of a source in a stream that it may share with others.
pub(super) fn last_of(committed: &Committed, stream: &str, source: &str) -> Option<String> {
    last_lines(committed, stream, 1, LAST_BYTES, |line| line.source == source).ok()?.pop()
}
