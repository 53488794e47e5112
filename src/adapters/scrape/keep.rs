//! The last good page, kept to show what changed when a page is no longer what its selectors expect.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::item::{Change, Reject};

/// A kept page is at most so old; compressing each one that comes would cost as much as a tenth of reading it.
const OLD_MAX: TimeDelta = TimeDelta::minutes(1);

/// A longer page is kept up to here, in bytes; all of one before it is compressed.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// All sources together keep so much, compressed. Who comes later keeps nothing.
const ALL_BYTES_MAX: usize = 64 << 20;

/// Fast: it is done while a tick waits.
const LEVEL: i32 = 1;

/// What all sources keep.
static ALL_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What a source keeps.
#[derive(Default)]
pub(super) struct Kept {
    good: Option<(DateTime<Utc>, Vec<u8>)>,
    /// The last page was not as it should be, and that has been shown.
    is_broken: bool,
    /// What to say of fields while it is so.
    hints: Vec<(String, String)>,
}

impl Kept {
    /// Whether a good page of this time is wanted.
    pub(super) fn wants(&self, now: DateTime<Utc>) -> bool {
        self.is_broken || self.good.as_ref().is_none_or(|(at, _)| now - *at >= OLD_MAX || now < *at)
    }

    /// A page was as it should be. `packed` is what [`pack`] has made of it, where it was wanted.
    pub(super) fn good(&mut self, packed: Option<Vec<u8>>, now: DateTime<Utc>) {
        self.is_broken = false;
        self.hints.clear();
        let Some(packed) = packed else { return };
        self.forget();
        let len = packed.len();
        let room = |all: usize| (all + len <= ALL_BYTES_MAX).then_some(all + len);
        if ALL_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
            self.good = Some((now, packed));
        }
    }

    /// A page is not as it should be: what changed, if this is the first such.
    pub(super) fn change(&self, page: &str) -> Option<Change> {
        if self.is_broken {
            return None;
        }
        let before = self.good.as_ref().and_then(|(at, packed)| Some((*at, unpack(packed)?)));
        Some(Change { before, after: cut(page).to_owned(), screen: None, why: String::new() })
    }

    /// What changed has been taken note of, and this is to be said of fields until a page is good again.
    pub(super) fn broke(&mut self, hints: Vec<(String, String)>) {
        (self.is_broken, self.hints) = (true, hints);
    }

    /// What is said of fields until a page is good again.
    pub(super) fn hints(&self) -> &[(String, String)] {
        &self.hints
    }

    fn forget(&mut self) {
        if let Some((_, packed)) = self.good.take() {
            ALL_BYTES.fetch_sub(packed.len(), Ordering::Relaxed);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget();
    }
}

/// A page, compressed.
pub(super) fn pack(page: &str) -> Option<Vec<u8>> {
    zstd::bulk::compress(cut(page).as_bytes(), LEVEL).ok()
}

fn unpack(packed: &[u8]) -> Option<String> {
    let mut page = String::new();
    let decoder = zstd::Decoder::new(packed).ok()?;
    decoder.take(PAGE_BYTES_MAX as u64).read_to_string(&mut page).ok()?;
    Some(page)
}

/// As much of a page as is kept.
pub(super) fn cut(page: &str) -> &str {
    &page[..page.floor_char_boundary(PAGE_BYTES_MAX)]
}

/// Adds to a reject what is known of its fields.
pub(super) fn hint(hints: &[(String, String)], reject: &mut Reject) {
    for (path, words) in hints {
        // Several faults of a record are told as one.
        let is_about = reject.field.as_deref() == Some(path) || reject.reason.contains(&format!("; and {path}: "));
        if is_about {
            reject.reason.push_str(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Outcome;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    #[test]
    fn n13_the_first_bad_page_comes_with_the_last_good_one() {
        let mut kept = Kept::default();
        assert!(kept.wants(at(0)));
        kept.good(pack("<p>1</p>"), at(0));
        assert!(!kept.wants(at(59)) && kept.wants(at(60)) && kept.wants(at(-1)), "a minute, or a clock set back");
        let change = kept.change("<b>1</b>").unwrap();
        kept.broke(vec![("fields.b".into(), "; it is elsewhere".into())]);
        assert_eq!(change.before, Some((at(0), "<p>1</p>".to_owned())));
        assert_eq!(change.after, "<b>1</b>");
        assert!(kept.change("<b>2</b>").is_none(), "only the first");
        let hinted = |field: &str, reason: &str| {
            let mut reject = Reject::new(Outcome::Missing, Some(field.into()), reason, "");
            hint(kept.hints(), &mut reject);
            reject.reason
        };
        assert_eq!(hinted("fields.b", "gone"), "gone; it is elsewhere");
        assert_eq!(hinted("fields.a", "gone; and fields.b: gone"), "gone; and fields.b: gone; it is elsewhere");
        assert_eq!(hinted("fields.a", "gone"), "gone");
        assert!(kept.wants(at(1)), "what is good again is kept at once");
        kept.good(pack("<b>3</b>"), at(1));
        assert_eq!(kept.change("x").unwrap().before.unwrap().1, "<b>3</b>");
        assert!(kept.hints.is_empty(), "it was good in between");
        assert!(Kept::default().change("x").unwrap().before.is_none(), "nothing good was seen yet");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "é".repeat(PAGE_BYTES_MAX);
        let mut kept = Kept::default();
        kept.good(pack(&long), at(0));
        let change = kept.change(&long).unwrap();
        assert!(change.after.len() <= PAGE_BYTES_MAX && change.before.unwrap().1.len() <= PAGE_BYTES_MAX);
    }
}
