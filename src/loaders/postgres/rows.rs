//! Rows as `COPY … FROM STDIN` takes them in its text format
//! (<https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>).

use bytes::Bytes;

use crate::store::{Batch, Sent};

/// Rows are made and sent so many bytes at a time: the server reads some while the next are made.
const PIECE_BYTES: usize = 256 << 10;

/// The rows of a batch, made piece by piece.
pub(super) struct Rows<'a> {
    batch: &'a Batch,
    next: usize,
    /// Which of the records cannot be rows, once all are made.
    pub(super) sent: Sent,
}

impl<'a> Rows<'a> {
    pub(super) fn new(batch: &'a Batch) -> Self {
        Self { batch, next: 0, sent: Sent::default() }
    }

    fn row(&mut self, index: usize, out: &mut Vec<u8>) {
        let entry = self.batch.get(index);
        let parts = match entry.parts() {
            Ok(parts) => parts,
            Err(why) => {
                self.sent.dead.push((index, why));
                return;
            }
        };
        let data = parts.data.get();
        // The server would refuse the whole batch for it (22P05), and name no record.
        if has_nul(data) || parts.id.contains('\0') {
            self.sent.dead.push((index, "PostgreSQL stores no text with the character \\u0000".to_owned()));
            return;
        }
        column(out, Some(&parts.id));
        for text in [&parts.observed_at, &parts.source, &parts.kind, &parts.published_at] {
            out.push(b'\t');
            column(out, text.as_deref());
        }
        out.push(b'\t');
        column(out, Some(data));
        out.push(b'\n');
    }
}

impl Iterator for Rows<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while self.next < self.batch.len() && out.len() < PIECE_BYTES {
            self.row(self.next, &mut out);
            self.next += 1;
        }
        (!out.is_empty()).then(|| out.into())
    }
}

fn column(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return out.extend_from_slice(b"\\N") };
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Whether a JSON text has the escape of NUL in it: `\u0000` after an even number of backslashes.
fn has_nul(json: &str) -> bool {
    let bytes = json.as_bytes();
    memchr::memmem::find_iter(bytes, b"\\u0000").any(|at| {
        let before = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        before % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::Position;
    use crate::store::{Feed, Ids};

    fn of(lines: &str, ids: Ids) -> (String, Sent) {
        let feed = Arc::new(Feed { stream: "s".into(), origin: "o".into() });
        let batch = Batch::new(feed, Position::start_of(1), Bytes::copy_from_slice(lines.as_bytes()), ids);
        let mut rows = Rows::new(&batch);
        let pieces: Vec<u8> = rows.by_ref().flatten().collect();
        (String::from_utf8(pieces).unwrap(), rows.sent)
    }

    #[test]
    fn a_record_is_a_row() {
        let line = r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b\ts","id":"r_1","type":"q","data":{"a":"x\n\\"}}"#;
        let (rows, sent) = of(&format!("{line}\n"), Ids::Record);
        assert_eq!(rows, "r_1\t2026-11-23T07:04:05.123456Z\tb\\ts\tq\t\\N\t{\"a\":\"x\\\\n\\\\\\\\\"}\n");
        assert_eq!(sent, Sent::default());
    }

    #[test]
    fn pieces_are_whole_rows() {
        let before = r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b","id":"r_1","type":"q","data":{"a":""#;
        let line = format!("{before}{}\"}}}}\n", "x".repeat(1000));
        let feed = Arc::new(Feed { stream: "s".into(), origin: "o".into() });
        let lines = Bytes::from(line.repeat(1000));
        let batch = Batch::new(feed, Position::start_of(1), lines, Ids::Record);
        let pieces: Vec<Bytes> = Rows::new(&batch).collect();
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.ends_with(b"\n")));
        assert_eq!(pieces.concat(), Rows::new(&batch).flatten().collect::<Vec<u8>>());
        assert_eq!(pieces.concat().split(|byte| *byte == b'\n').count(), 1001);
    }

    #[test]
    fn nul_is_told_from_its_look_alike() {
        let (rows, sent) = of("{\"a\":\"\\u0000\"}\n{\"a\":\"\\\\u0000\"}\n", Ids::Position("f".into()));
        assert_eq!(rows, "f_15\t\\N\t\\N\t\\N\t\\N\t{\"a\":\"\\\\\\\\u0000\"}\n");
        assert_eq!(sent.dead, [(0, "PostgreSQL stores no text with the character \\u0000".to_owned())]);
    }
}
