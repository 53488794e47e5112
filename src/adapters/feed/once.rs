//! Which items are new, and which were changed.
//!
//! An item is known again by its id (`guid`, `id`, `rdf:about`); without one by its link; without that by its title, date and
//! text. An id or a link that several items of one document share tells them from one another only together with what does.
//! Whichever way one is written, it is known by the other way too, so that no item is another one because its neighbour is gone.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::to_raw_value;

use super::story::Story;
use crate::item::Item;
use crate::unique::Seen;

/// What becomes of an item whose content is another than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edits {
    /// Nothing.
    Ignore,
    /// What it is now is learned.
    Learn,
    /// It is a record, once for each content.
    Write,
}

/// Its link, where it is known by its id, and its title.
type Said<'a> = (&'a Option<String>, &'a Option<String>);

/// What an item is known by.
struct Known {
    id: String,
    hash: u64,
    /// By the other way.
    other: Option<u64>,
    /// With its content.
    version: (String, u64),
}

/// The records of what is new, and the hashes of all that is shown.
pub(super) fn pick(seen: &mut Seen, kind: &str, mut stories: Vec<Story>, edits: Edits) -> (Vec<Item>, Vec<u64>) {
    let at = |story: &Story| story.published.or(story.updated);
    if stories.iter().all(|story| at(story).is_some()) {
        stories.sort_by_key(at);
    }
    let all: Vec<Known> = known(seen, &stories);
    let (mut items, mut shown) = (Vec::new(), Vec::new());
    for (story, known) in stories.into_iter().zip(all) {
        let was_known = seen.has(known.hash) || known.other.is_some_and(|other| seen.has(other));
        let had_version = seen.has(known.version.1);
        let mut hashes = vec![known.hash];
        hashes.extend(known.other);
        if edits != Edits::Ignore {
            hashes.push(known.version.1);
        }
        for hash in &hashes {
            seen.admit(*hash);
        }
        shown.extend(hashes);
        if !was_known {
            items.push(item(kind, known.id, &story));
        } else if edits == Edits::Write && !had_version {
            let (published, updated) = (story.published, story.updated);
            let story = Story { edit_of: Some(known.id), ..story };
            let edit = item("edit", known.version.0, &story);
            items.push(Item { published_at: updated.or(published), ..edit });
        }
    }
    (items, shown)
}

fn item(kind: &str, id: String, story: &Story) -> Item {
    let published_at = story.published.or(story.updated);
    let data = to_raw_value(story).expect("invariant: our own types have a JSON form");
    Item { id: Some(id), kind: Cow::Owned(kind.to_owned()), published_at, data }
}

fn known(seen: &Seen, stories: &[Story]) -> Vec<Known> {
    // By an id, and by a link where there is none: what is said under it.
    let mut under: HashMap<(bool, &str), Vec<Said<'_>>> = HashMap::new();
    for story in stories {
        if let Some(name) = name(story) {
            let own = (if name.0 { &story.link } else { &None }, &story.title);
            let all = under.entry(name).or_default();
            if !all.contains(&own) {
                all.push(own);
            }
        }
    }
    let is_shared = |name: (bool, &str), story: &Story| {
        let all = &under[&name];
        // Two items of one id and one link are one; of one id and one link without titles, too.
        all.iter().any(|(link, title)| if name.0 { **link != story.link } else { **title != story.title })
    };
    stories
        .iter()
        .map(|story| {
            let hash = story.content_hash();
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (values, other): (Vec<String>, Option<Vec<String>>) = match name(story) {
                Some((true, id)) => {
                    let alone = vec!["id".to_owned(), id.to_owned()];
                    let together = vec!["id, link".to_owned(), id.to_owned(), text(&story.link)];
                    if is_shared((true, id), story) { (together, None) } else { (alone, Some(together)) }
                }
                Some((false, link)) => {
                    let alone = vec!["link".to_owned(), link.to_owned()];
                    let together = vec!["link, title".to_owned(), link.to_owned(), text(&story.title)];
                    if is_shared((false, link), story) { (together, None) } else { (alone, Some(together)) }
                }
                None => {
                    let date = story.published.or(story.updated).map(|at| at.to_rfc3339()).unwrap_or_default();
                    (vec!["text".to_owned(), text(&story.title), date, hash.clone()], None)
                }
            };
            let made = |values: &[String]| seen.made(values.iter().map(String::as_str));
            let (id, own) = made(&values);
            let version = made(&[&["version".to_owned()], &values[..], &[hash]].concat());
            Known { id, hash: own, other: other.map(|values| made(&values).1), version }
        })
        .collect()
}

/// Its id, or else its link.
fn name(story: &Story) -> Option<(bool, &str)> {
    story.id.as_deref().map(|id| (true, id)).or(story.link.as_deref().map(|link| (false, link)))
}
