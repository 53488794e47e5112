//! What holds of every recording: what is read of it is written, and read again, as it was.

use std::io::BufReader;

use chrono::SubsecRound as _;
use flate2::bufread::MultiGzDecoder;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::{Reader, Record, What};

/// Any bytes as a file that is not compressed.
pub(crate) fn any(bytes: &[u8]) {
    read(bytes);
    read(&with_lengths(bytes));
}

pub(in super::super) fn read(bytes: &[u8]) {
    let mut reader = Reader(bytes);
    while let Ok(Some(record)) = reader.next() {
        reads_back(record);
    }
}

/// A record that has an id of ours, which only what we write has.
fn reads_back(mut record: Record) {
    if record.id.len() != 32 {
        record.id = "0123456789abcdef0123456789abcdef".into();
    }
    // How long it is, and how it was cut up on its way, is said anew; times have microseconds.
    let told = |record: &mut Record| {
        record.date = record.date.trunc_subsecs(6);
        record.slot = record.slot.map(|slot| slot.trunc_subsecs(6));
        if let What::Answer { headers, .. } = &mut record.what {
            let kept = headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING);
            *headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
        format!("{record:?}")
    };
    let is_clean = |text: &str| text.trim() == text && !text.contains(char::is_control);
    let (url, kind) = match &record.what {
        What::Answer { url, .. } => (url.as_str(), ""),
        What::Failure(kind, _) => ("", kind.as_str()),
    };
    // Such characters are left out, because they would begin another field.
    if ![&record.asked, url, kind].into_iter().all(is_clean) {
        return;
    }
    let packed = record.packed().expect("invariant: a Vec takes it");
    let mut again = Reader(BufReader::new(MultiGzDecoder::new(&packed[..])));
    let mut read = again.next().expect("it was written").expect("there is one");
    assert_eq!(told(&mut read), told(&mut record));
    assert!(again.next().expect("it was written").is_none());
}

/// The file with each `Content-Length: ?` filled in, so that records that are whole are found by chance.
fn with_lengths(bytes: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"Content-Length: ?";
    const END: &[u8] = b"\r\n\r\n";
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, MARK) {
        out.extend_from_slice(&rest[..at + MARK.len() - 1]);
        rest = &rest[at + MARK.len()..];
        let block = memchr::memmem::find(rest, END).map_or(&[][..], |fields| &rest[fields + END.len()..]);
        // It ends before the next record.
        let next = memchr::memmem::find(block, b"\r\n\r\nWARC/1.").unwrap_or(block.len().saturating_sub(END.len()));
        out.extend_from_slice(next.to_string().as_bytes());
    }
    out.extend_from_slice(rest);
    out
}
