//! A document as items: pure, and whatever is wrong with one of them is a reject of that one.

use std::time::Duration;

use feed_rs::parser::{Builder, Parser};
use url::Url;

use super::date::moment;
use super::html::{alternates, plain};
use super::json_feed;
use super::split::Head;
use super::split::{Form, NoFeed, Piece, Split, split};
use super::story::{Author, FeedWords, Story, text, whole};
use crate::item::Reject;
use crate::source::Outcome;

/// A feed is left alone for no longer than this, whatever it says.
const REST_MAX: Duration = Duration::from_hours(24);
/// What an item may have, as it is written out anew.
const ITEM_BYTES_MAX: usize = 1 << 20;

/// What a document says.
#[derive(Default)]
pub(crate) struct Reading {
    pub(super) stories: Vec<Story>,
    pub(super) rejects: Vec<Reject>,
    /// For how long the feed wants to be left alone (`ttl`, `sy:updatePeriod`); zero where it does not say.
    pub(super) rest: Duration,
}

/// Reads a document that came from `url`.
pub(super) fn read(document: &str, url: &Url) -> Reading {
    // What stands before a document is of no use to anybody: marks, blank lines, warnings of a server's scripts.
    let start = document.trim_start_matches(|next: char| next.is_whitespace() || next == '\u{feff}');
    if start.is_empty() {
        return Reading::refused("empty_feed: the answer has nothing in it", "");
    }
    if start.starts_with(['{', '[']) {
        return read_json(start, url);
    }
    let Some(at) = start.find('<') else {
        return Reading::refused("no_feed: the answer is neither XML nor JSON", start);
    };
    match split(&start[at..]) {
        Ok(split) => {
            let is_whole = !split.is_cut;
            let mut reading = read_items(&split, url);
            if !is_whole {
                let taken = reading.stories.len();
                let reason = format!("feed_cut_off: the feed ends before its end; {taken} items before that are taken");
                reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, ""));
            }
            if split.is_flood {
                reading.flood();
            }
            reading.rest = rest(&split.head);
            reading
        }
        Err(NoFeed::Deep) => {
            Reading::refused("feed_too_deep: the feed nests elements deeper than any feed does", &start[at..])
        }
        Err(NoFeed::Other(name)) => no_feed(name.as_deref(), &start[at..], url),
    }
}

impl Reading {
    fn refused(reason: &str, raw: &str) -> Self {
        Self { rejects: vec![Reject::new(Outcome::Invalid, None, reason, raw)], ..Self::default() }
    }

    fn flood(&mut self) {
        let most = super::split::ITEMS_MAX;
        let reason = format!("feed_too_long: of a feed the first {most} items are taken; it has more");
        self.rejects.push(Reject::new(Outcome::Invalid, None, reason, ""));
    }
}

/// What is said of a document that is none.
fn no_feed(root: Option<&str>, document: &str, url: &Url) -> Reading {
    let Some(root) = root else { return Reading::refused("no_feed: there is no element in the document", document) };
    let is_page = root.eq_ignore_ascii_case("html")
        || ["head", "body", "meta", "script", "div", "title"].iter().any(|tag| root.eq_ignore_ascii_case(tag));
    if !is_page {
        let reason = format!("no_feed: the document's first element is `{}`, which is no feed's", root.escape_debug());
        return Reading::refused(&reason, document);
    }
    let found = alternates(document, url);
    let hint =
        if found.is_empty() { "it names no feed".to_owned() } else { format!("its feeds are {}", found.join(", ")) };
    Reading::refused(&format!("page_instead_of_feed: this is an HTML page; {hint}"), document)
}

fn read_items(split: &Split<'_>, url: &Url) -> Reading {
    let Split { head, items, form, .. } = split;
    let base = head.base.as_ref().and_then(|base| url.join(base).ok()).unwrap_or_else(|| url.clone());
    let words = words(head, &base);
    let language =
        ["language", "dc:language"].iter().find_map(|name| head.texts.get(*name).cloned()).or(head.language.clone());
    let mut reading = Reading::default();
    for piece in items {
        if piece.is_torn {
            let reason = "item_cut_off: the feed ends within this item";
            reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, piece.raw));
            continue;
        }
        match story(piece, &base) {
            Ok(story) if story.is_empty() => {
                let reason = "empty_item: the item has neither id, title, link nor text";
                reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, piece.raw));
            }
            Ok(mut story) => {
                // The parser copies one to the other where RSS has only one.
                if *form == Form::Rss && story.updated == story.published {
                    story.updated = None;
                }
                if let (true, Some(name)) = (story.authors.is_empty(), &head.author) {
                    story.authors.push(Author { name: Some(name.clone()), ..Author::default() });
                }
                story.language = story.language.or_else(|| language.clone());
                reading.stories.push(Story { feed: words.clone(), ..story });
            }
            Err(reason) => reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, piece.raw)),
        }
    }
    reading
}

/// One for each item: after an item that it refuses, a parser would panic at the next.
fn parser(base: &Url) -> Parser {
    // An id that is not there is not made up here: the parser would throw dice for it.
    Builder::new()
        .base_uri(Some(base.as_str()))
        .id_generator(|_, _, _| String::new())
        .sanitize_content(false)
        .timestamp_parser(moment)
        .build()
}

fn story(piece: &Piece<'_>, base: &Url) -> Result<Story, String> {
    if piece.xml.len() > ITEM_BYTES_MAX {
        return Err(format!("item_too_large: the item has more than {}", bytesize::ByteSize(ITEM_BYTES_MAX as u64)));
    }
    let feed = parser(base).parse(piece.xml.as_bytes()).map_err(|error| format!("bad_item: {error}"))?;
    let entry = feed.entries.into_iter().next().ok_or("bad_item: there is nothing in the item")?;
    Ok(Story::of(entry, base))
}

fn words(head: &Head, base: &Url) -> FeedWords {
    let atom = head.links.iter().find(|(rel, _)| rel.as_deref().is_none_or(|rel| rel == "alternate"));
    let link = head.texts.get("link").or(atom.map(|(_, href)| href));
    FeedWords {
        title: head.texts.get("title").map(|title| plain(title, false)).and_then(text),
        link: link.and_then(|link| whole(link, base)),
    }
}

/// For how long the feed wants to be left alone.
fn rest(head: &Head) -> Duration {
    let number = |name: &str| head.texts.get(name).and_then(|text| text.parse::<u64>().ok());
    let minutes = number("ttl").unwrap_or(0);
    let period = match head.texts.get("sy:updatePeriod").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        Some("hourly") => 3600,
        Some("daily") => 86_400,
        Some("weekly") => 7 * 86_400,
        Some("monthly") => 30 * 86_400,
        Some("yearly") => 365 * 86_400,
        _ => 0,
    };
    let period = period / number("sy:updateFrequency").unwrap_or(1).max(1);
    Duration::from_secs(minutes.saturating_mul(60).max(period)).min(REST_MAX)
}

fn read_json(document: &str, url: &Url) -> Reading {
    let (feed, end) = json_feed::read(document);
    if !feed.is_one() {
        let why = end.err().map_or(String::new(), |error| format!(" ({error})"));
        return Reading::refused(&format!("no_feed: the answer is JSON, and no JSON Feed{why}"), document);
    }
    let mut reading = Reading::default();
    let words = feed.words(url);
    for item in &feed.items {
        match feed.story(item, url) {
            Ok(story) if story.is_empty() => {
                let reason = "empty_item: the item has neither id, title, link nor text";
                reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, &item.to_string()));
            }
            Ok(story) => reading.stories.push(Story { feed: words.clone(), ..story }),
            Err(reason) => reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, &item.to_string())),
        }
    }
    if let Err(error) = end {
        let taken = reading.stories.len();
        let reason = format!("feed_cut_off: the feed is not whole ({error}); {taken} items before that are taken");
        reading.rejects.push(Reject::new(Outcome::Invalid, None, reason, ""));
    }
    if feed.is_flood {
        reading.flood();
    }
    reading
}
