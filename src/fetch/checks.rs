//! What holds of every body, whoever made it up; see `adapters::scrape::checks`.

use encoding_rs::{Encoding, ISO_8859_2, KOI8_U, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1251, WINDOWS_1252};

use super::charset::{PRESCAN_BYTES, prescan, text};
pub(crate) use super::decode::checks::any as any_body;
pub(crate) use super::robots::checks::any as any_robots;
pub(crate) use super::tape::any_recording;

const CONTENT_TYPES: [Option<&str>; 6] = [
    None,
    Some("text/html"),
    Some("text/html; charset=utf-8"),
    Some("text/html;charset=\"windows-1251\""),
    Some("text/html; x=y; CHARSET = shift_jis"),
    Some("text/html; charset=none"),
];
/// Encodings in which whatever can be written reads back.
const EXACT: [&Encoding; 5] = [WINDOWS_1251, WINDOWS_1252, ISO_8859_2, KOI8_U, UTF_8];

/// Any bytes as text, under one of several headers.
pub(crate) fn any_charset(choice: u8, bytes: &[u8]) {
    let choice = usize::from(choice);
    let (content_type, exact) = (CONTENT_TYPES[choice % CONTENT_TYPES.len()], EXACT[choice % EXACT.len()]);
    is_text(bytes, content_type);
    reads_back(&String::from_utf8_lossy(bytes), exact);
}

/// Whatever the bytes are, they are text, and what nothing calls otherwise and is UTF-8 is read as it is.
pub(super) fn is_text(bytes: &[u8], content_type: Option<&str>) {
    let read = text(bytes, None, content_type);
    assert!(read.len() <= 3 * bytes.len() + 3, "{} of {}", read.len(), bytes.len());
    let said = prescan(bytes);
    assert!(said != Some(UTF_16LE) && said != Some(UTF_16BE));
    assert_eq!(said, prescan(&bytes[..bytes.len().min(PRESCAN_BYTES)]), "browsers look no further");
    // What stands before the page's own word, and says nothing, changes nothing.
    for before in ["<!-- c -->", "<p a='<meta charset=big5>'>", "x > y", "<!-->", "</x y=\">\">"] {
        let longer = [before.as_bytes(), bytes].concat();
        assert!(longer.len() > PRESCAN_BYTES || prescan(&longer) == said, "{before} before {bytes:?}");
    }
    let is_marked = Encoding::for_bom(bytes).is_some();
    if let Ok(utf8) = std::str::from_utf8(bytes)
        && (said.is_none() && content_type.is_none_or(|kind| !kind.to_ascii_lowercase().contains("charset")))
        && !is_marked
    {
        assert_eq!(read, utf8);
    }
}

/// What is written in an encoding that the file, or the header, names is read as it was.
fn reads_back(page: &str, encoding: &'static Encoding) {
    let (bytes, used, is_lossy) = encoding.encode(page);
    if is_lossy || used != encoding || Encoding::for_bom(&bytes).is_some() {
        return;
    }
    assert_eq!(text(&bytes, Some(encoding), Some("text/html; charset=utf-16")), page);
    assert_eq!(text(&bytes, None, Some(&format!("text/html; charset={}", encoding.name()))), page);
}
