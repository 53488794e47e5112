//! Rows as `COPY … FROM STDIN` takes them in its text format
//! (<https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>).

use bytes::Bytes;

use crate::store::{Batch, Sent};

/// The rows of a batch, and which of its records cannot be rows.
pub(super) fn rows(batch: &Batch) -> (Bytes, Sent) {
    let mut out = Vec::with_capacity(batch.iter().map(|entry| entry.line.len() + 16).sum());
    let mut sent = Sent::default();
    for (index, entry) in batch.iter().enumerate() {
        let parts = match entry.parts() {
            Ok(parts) => parts,
            Err(why) => {
                sent.dead.push((index, why));
                continue;
            }
        };
        let data = parts.data.get();
        // The server would refuse the whole batch for it (22P05), and name no record.
        if has_nul(data) || parts.id.contains('\0') {
            sent.dead.push((index, "PostgreSQL stores no text with the character \\u0000".to_owned()));
            continue;
        }
        column(&mut out, Some(&parts.id));
        for text in [&parts.observed_at, &parts.source, &parts.kind, &parts.published_at] {
            out.push(b'\t');
            column(&mut out, text.as_deref());
        }
        out.push(b'\t');
        column(&mut out, Some(data));
        out.push(b'\n');
    }
    (out.into(), sent)
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
        let (rows, sent) = rows(&batch);
        (String::from_utf8(rows.to_vec()).unwrap(), sent)
    }

    #[test]
    fn a_record_is_a_row() {
        let line = r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b\ts","id":"r_1","type":"q","data":{"a":"x\n\\"}}"#;
        let (rows, sent) = of(&format!("{line}\n"), Ids::Record);
        assert_eq!(rows, "r_1\t2026-11-23T07:04:05.123456Z\tb\\ts\tq\t\\N\t{\"a\":\"x\\\\n\\\\\\\\\"}\n");
        assert_eq!(sent, Sent::default());
    }

    #[test]
    fn nul_is_told_from_its_look_alike() {
        let (rows, sent) = of("{\"a\":\"\\u0000\"}\n{\"a\":\"\\\\u0000\"}\n", Ids::Position("f".into()));
        assert_eq!(rows, "f_15\t\\N\t\\N\t\\N\t\\N\t{\"a\":\"\\\\\\\\u0000\"}\n");
        assert_eq!(sent.dead, [(0, "PostgreSQL stores no text with the character \\u0000".to_owned())]);
    }
}
