//! A body that is the last one again, byte for byte: recognised before it is decoded and parsed.

use super::extract::Row;
use crate::fetch::Body;

/// Records of a page that together are longer are not kept: the page is parsed again.
const BYTES_MAX: usize = 256 << 10;

/// The last page that was wholly understood.
#[derive(Default)]
pub(super) struct Same {
    hash: Option<blake3::Hash>,
    /// What it became, where that is short.
    rows: Option<Vec<Row>>,
}

/// A hash of everything that what becomes of a body depends on.
pub(super) fn hash(body: &Body) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for text in body.codings.iter().map(String::as_str).chain(body.content_type.as_deref()) {
        hasher.update(text.as_bytes());
        hasher.update(b"\n");
    }
    hasher.update(b"\n");
    hasher.update(&body.bytes);
    hasher.finalize()
}

impl Same {
    /// Whether a body is the last one again.
    pub(super) fn is(&self, hash: blake3::Hash) -> bool {
        self.hash == Some(hash)
    }

    /// The hash of the last one.
    pub(super) fn hash(&self) -> Option<blake3::Hash> {
        self.hash
    }

    /// What the page became, where that is remembered.
    pub(super) fn rows(&self) -> Option<&[Row]> {
        self.rows.as_deref()
    }

    /// Takes note of a page that was wholly understood.
    pub(super) fn understood(&mut self, hash: blake3::Hash, rows: &[Row]) {
        let is_short = rows.iter().map(Row::len).sum::<usize>() <= BYTES_MAX;
        self.hash = Some(hash);
        self.rows = is_short.then(|| rows.to_vec());
    }

    /// The next page is looked at, whatever it is.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
