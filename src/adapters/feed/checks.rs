//! What holds of any feed.

use std::collections::BTreeSet;

use super::once::{Edits, pick};
use super::read::read;
use crate::unique::{Limits, Seen};

/// Any document: it is read, all that comes of it is bounded, and its items are the same ones when it comes again, in whatever
/// order, and each of them once.
pub(crate) fn any(document: &str) {
    let url = "https://example.com/feed".parse().expect("a URL");
    let reading = read(document, &url);
    for reject in &reading.rejects {
        assert!(!reject.reason.is_empty() && reject.raw.len() <= crate::item::REJECT_RAW_BYTES_MAX);
    }
    assert!(!reading.rejects.is_empty() || !reading.stories.is_empty() || !document.trim().is_empty());
    let ids = |stories: Vec<_>| {
        let mut seen = Seen::new("feed", "checks", Limits::default());
        let (items, shown) = pick(&mut seen, "item", stories, Edits::Write);
        let ids: BTreeSet<String> =
            items.iter().filter(|item| item.kind == "item").filter_map(|item| item.id.clone()).collect();
        for item in &items {
            serde_json::from_str::<serde_json::Map<_, _>>(item.data.get()).expect("an object");
        }
        for hash in shown {
            assert!(seen.has(hash));
        }
        (ids, seen)
    };
    let (first, mut seen) = ids(reading.stories.clone());
    let (again, _) = pick(&mut seen, "item", reading.stories.clone(), Edits::Write);
    assert!(again.is_empty(), "the same items are new again");
    let turned: Vec<_> = reading.stories.into_iter().rev().collect();
    assert_eq!(ids(turned).0, first, "the order matters");
}
