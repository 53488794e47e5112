//! What holds of every commit log: the frames up to the first that is not whole are what it says, wherever it is cut, and the
//! state that they make reads back.

use super::{FORM, FrameRead, State, apply, encode, frames};

/// Any bytes as a log, and each line of them as a frame of one. A line that begins with `!` is damaged.
pub(crate) fn any(bytes: &[u8]) {
    is_cut_anywhere(bytes);
    let mut log = Vec::new();
    let mut whole = 0;
    let mut is_whole = true;
    for line in bytes.split(|byte| *byte == b'\n') {
        let damaged = line.strip_prefix(b"!");
        let payload = damaged.unwrap_or(line);
        let checksum = crc32fast::hash(payload) ^ u32::from(damaged.is_some());
        log.extend_from_slice(&u32::try_from(payload.len()).expect("it is short").to_le_bytes());
        log.extend_from_slice(&checksum.to_le_bytes());
        log.extend_from_slice(payload);
        is_whole &= damaged.is_none() && serde_json::from_slice::<FrameRead>(payload).is_ok();
        whole += usize::from(is_whole);
    }
    assert_eq!(frames(&log).count(), whole, "{:?}", String::from_utf8_lossy(bytes));
    is_cut_anywhere(&log);
    reads_back(&log);
}

/// What is cut off takes only itself along.
fn is_cut_anywhere(log: &[u8]) {
    let lengths =
        |bytes: &[u8]| -> Vec<Option<u64>> { frames(bytes).map(|frame| frame.ok().map(|(_, len)| len)).collect() };
    let whole = lengths(log);
    let cuts = [log.len() / 3, log.len() / 2, log.len().saturating_sub(1)];
    for cut in cuts {
        let some = lengths(&log[..cut]);
        assert!(whole.starts_with(&some), "cut at {cut} of {}", log.len());
        let read: u64 = some.iter().flatten().sum();
        assert!(read <= cut as u64);
    }
}

/// The state that a log makes is the one that is read from a log of it.
fn reads_back(log: &[u8]) {
    let mut state = State::new();
    for frame in frames(log) {
        let Ok((frame, _)) = frame else { return };
        assert!(frame.form <= FORM);
        apply(&mut state, frame.set);
    }
    let set = state.iter().map(|(key, value)| (key.as_str(), Some(&**value))).collect();
    let bytes = encode(7, set, chrono::DateTime::UNIX_EPOCH);
    let mut read = frames(&bytes);
    let (frame, len) = read.next().expect("it was written").expect("it is of this form");
    assert_eq!((frame.number, len, read.next().is_none()), (7, bytes.len() as u64, true));
    let mut again = State::new();
    apply(&mut again, frame.set);
    let entries =
        |state: &State| -> Vec<String> { state.iter().map(|(key, value)| format!("{key}={value}")).collect() };
    assert_eq!(entries(&again), entries(&state));
}
