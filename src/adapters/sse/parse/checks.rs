//! What holds of every event stream: that it is what the specification says, and that no cut of its bytes changes anything.
//!
//! The specification is written down here a second time, as slowly and as literally as it reads.

use super::{Data, HEAD_BYTES, NAME_BYTES, Parser};

/// What a body comes to: its events as type, data and own id, the last id, the time of reconnection, and how many comments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) events: Vec<(String, Result<String, usize>, Option<String>)>,
    pub(super) last_id: Option<String>,
    pub(super) retry: Option<u64>,
    pub(super) comments: u64,
}

/// Limits of the parser that are tried: most inputs fit into the first.
const LIMITS: [usize; 3] = [1 << 20, 5, HEAD_BYTES + 100];

/// Any bytes, cut in several ways. The first says how.
pub(crate) fn any(choice: u8, bytes: &[u8]) {
    let whole = parsed(LIMITS[0], [bytes]);
    assert_eq!(whole, specified(bytes), "{:?}", String::from_utf8_lossy(bytes));
    let step = usize::from(choice) + 1;
    for limit in LIMITS {
        let at_once = parsed(limit, [bytes]);
        assert_eq!(parsed(limit, bytes.chunks(step)), at_once, "in pieces of {step}");
        assert_eq!(parsed(limit, bytes.chunks(1)), at_once, "byte by byte");
        let cut = step.min(bytes.len());
        assert_eq!(parsed(limit, [&bytes[..cut], &[], &bytes[cut..]]), at_once, "cut at {cut}");
        only_what_is_too_long_differs(&at_once, &whole, limit, bytes);
    }
}

/// What our parser makes of a body that comes in these pieces.
pub(super) fn parsed<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece);
        while let Some(event) = parser.next() {
            let data = match event.data {
                Data::Whole(text) => Ok(text.into_owned()),
                Data::TooLong(len, head) => {
                    // A broken character may be three bytes long instead of one.
                    assert!(head.len() <= 3 * HEAD_BYTES, "{}", head.len());
                    Err(len)
                }
            };
            events.push((event.kind.into_owned(), data, event.id.map(str::to_owned)));
        }
        let kept = parser.pending.len() - parser.start;
        assert!(kept <= limit.max(HEAD_BYTES) + 2 * NAME_BYTES, "{kept} bytes are kept of at most {limit}");
        assert!(parser.block.data.len() <= limit.max(HEAD_BYTES), "of the data, {}", parser.block.data.len());
    }
    let last_id = parser.last_id().map(str::to_owned);
    Outcome { events, last_id, retry: parser.retry(), comments: parser.comments() }
}

/// With a limit, what is longer is said to be too long, and everything else is as it was.
fn only_what_is_too_long_differs(limited: &Outcome, whole: &Outcome, limit: usize, bytes: &[u8]) {
    // Lengths are those of bytes, which what is broken loses.
    if std::str::from_utf8(bytes).is_err() {
        return;
    }
    assert_eq!(limited.events.len(), whole.events.len());
    for ((kind, data, _), (own_kind, own_data, own_id)) in limited.events.iter().zip(&whole.events) {
        let own_data = own_data.as_ref().expect("it is shorter than a megabyte");
        match data {
            Ok(data) => assert!(data == own_data && kind == own_kind && data.len() <= limit, "{data:?}"),
            // A type or an id that another of the same event took the place of counts as well.
            Err(_) if bytes.len() > limit => {}
            Err(len) => panic!("{len} bytes of {limit}: {own_kind} {own_data} {own_id:?}"),
        }
        let is_too_long = own_data.len() > limit;
        assert!(!is_too_long || data.is_err(), "{own_data:?} is not too long for {limit}");
    }
    assert_eq!(limited.comments, whole.comments);
}

/// What the specification makes of a body.
pub(super) fn specified(bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    // "Streams must be decoded using the UTF-8 decode algorithm", which strips one mark.
    let text = String::from_utf8_lossy(bytes).into_owned();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (mut data, mut kind, mut id) = (String::new(), String::new(), None);
    let mut own_id = None;
    for line in lines(text) {
        if line.is_empty() {
            // "Set the last event ID string of the event source to the value of the last event ID buffer."
            outcome.last_id.clone_from(&id);
            if !data.is_empty() {
                // "If the data buffer's last character is a U+000A LINE FEED (LF), then remove [it]."
                data.pop();
                let kind = if kind.is_empty() { "message".to_owned() } else { kind.clone() };
                outcome.events.push((kind, Ok(data.clone()), own_id.clone()));
            }
            (data, kind, own_id) = (String::new(), String::new(), None);
        } else if line.starts_with(':') {
            outcome.comments += 1;
        } else {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut kind),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => {
                    id = Some(value.to_owned());
                    own_id = Some(value.to_owned());
                }
                "retry" if !value.is_empty() && value.chars().all(|digit| digit.is_ascii_digit()) => {
                    outcome.retry = Some(value.parse().unwrap_or(u64::MAX));
                }
                _ => {}
            }
        }
    }
    // "Once the end of the file is reached, any pending data must be discarded."
    outcome
}

/// The lines that have an end: `CRLF`, `LF` or `CR`.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\r' {
            letters.next_if_eq(&'\n');
        }
        if letter == '\r' || letter == '\n' {
            lines.push(std::mem::take(&mut line));
        } else {
            line.push(letter);
        }
    }
    lines
}
