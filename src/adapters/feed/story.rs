//! An item of a feed in the words of a record, whatever form it came in.

use chrono::{DateTime, Utc};
use feed_rs::model::{Entry, Link, LinkTarget, MediaContent, MediaObject, Person};
use serde::Serialize;
use url::Url;

use super::html;

/// The names of a record's data, in their order.
pub(super) const NAMES: [&str; 16] = [
    "id",
    "title",
    "link",
    "authors",
    "summary",
    "content",
    "content_type",
    "published",
    "updated",
    "categories",
    "enclosures",
    "image",
    "comments",
    "language",
    "feed",
    "edit_of",
];

/// An item: what a record's `data` has of it.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Story {
    pub(super) id: Option<String>,
    pub(super) title: Option<String>,
    pub(super) link: Option<String>,
    pub(super) authors: Vec<Author>,
    pub(super) summary: Option<String>,
    pub(super) content: Option<String>,
    pub(super) content_type: Option<String>,
    #[serde(serialize_with = "as_text")]
    pub(super) published: Option<DateTime<Utc>>,
    #[serde(serialize_with = "as_text")]
    pub(super) updated: Option<DateTime<Utc>>,
    pub(super) categories: Vec<String>,
    pub(super) enclosures: Vec<Enclosure>,
    pub(super) image: Option<String>,
    pub(super) comments: Option<String>,
    pub(super) language: Option<String>,
    pub(super) feed: FeedWords,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) edit_of: Option<String>,
}

/// Who wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Author {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) url: Option<String>,
}

/// A file that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Enclosure {
    pub(super) url: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) bytes: Option<u64>,
    pub(super) seconds: Option<u64>,
}

/// The feed that it is of.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct FeedWords {
    pub(super) title: Option<String>,
    pub(super) link: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde hands over a reference")]
fn as_text<S: serde::Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.as_ref().map(crate::record::time_text).serialize(serializer)
}

impl Story {
    /// What of it is its content: a change of anything else is no edit.
    pub(super) fn content_hash(&self) -> String {
        let own = (
            (&self.title, &self.link, &self.authors, &self.summary),
            (&self.content, &self.content_type, &self.categories, &self.enclosures),
        );
        let json = serde_json::to_vec(&own).unwrap_or_default();
        blake3::hash(&json).to_hex()[..32].to_owned()
    }

    /// Whether there is anything in it.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [&self.id, &self.title, &self.link, &self.summary, &self.content];
        texts.into_iter().all(Option::is_none) && self.enclosures.is_empty()
    }

    /// What feed-rs read. `base` is where addresses begin that are not whole.
    pub(super) fn of(entry: Entry, base: &Url) -> Self {
        let link = main_link(&entry.links).and_then(|href| whole(href, base));
        let comments = entry.links.iter().find(|link| link.target == Some(LinkTarget::Comments));
        let comments = comments.and_then(|link| whole(&link.href, base));
        let mut enclosures: Vec<Enclosure> = entry
            .links
            .iter()
            .filter(|link| link.rel.as_deref() == Some("enclosure"))
            .filter_map(|link| enclosed(link, base))
            .collect();
        let mut image = None;
        for object in &entry.media {
            image = image.or_else(|| object.thumbnails.first().and_then(|found| whole(&found.image.uri, base)));
            for found in object.content.iter().filter_map(|content| media(object, content)) {
                if !enclosures.iter().any(|known| known.url == found.url) {
                    enclosures.push(found);
                }
            }
        }
        let described = || entry.media.iter().find_map(|object| Some(object.description.as_ref()?.content.clone()));
        let body = entry.content.as_ref().and_then(|content| text(content.body.clone()?));
        let kind = |kind: &str| body.is_some().then(|| kind.to_owned());
        Self {
            id: text(entry.id),
            title: entry
                .title
                .map(|title| html::plain(&title.content, title.content_type.as_str() == "text/html"))
                .and_then(text),
            link,
            authors: authors(entry.authors),
            summary: entry.summary.map(|summary| summary.content).or_else(described).and_then(text),
            content_type: entry.content.as_ref().and_then(|content| kind(known_type(content.content_type.as_str()))),
            content: body,
            published: entry.published,
            updated: entry.updated,
            categories: categories(
                entry.categories.into_iter().map(|category| category.label.unwrap_or(category.term)),
            ),
            enclosures,
            image,
            comments,
            language: entry.language.and_then(text),
            ..Self::default()
        }
    }
}

/// The texts that are there, each once.
pub(super) fn categories(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in all.filter_map(text) {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

fn authors(people: Vec<Person>) -> Vec<Author> {
    let mut found: Vec<Author> = Vec::new();
    for person in people {
        let author = Author {
            name: person.name.map(|name| without_brackets(&name)).and_then(text),
            email: person.email.and_then(text),
            url: person.uri.and_then(text),
        };
        if author != Author::default() && !found.contains(&author) {
            found.push(author);
        }
    }
    found
}

/// `me@example.com (Me)` is how RSS has it.
fn without_brackets(name: &str) -> String {
    let inner = name.trim().strip_prefix('(').and_then(|name| name.strip_suffix(')'));
    inner.unwrap_or(name).to_owned()
}

/// The link to the item itself.
fn main_link(links: &[Link]) -> Option<&str> {
    let is = |link: &&Link, rel: Option<&str>| {
        link.target.is_none() && link.rel.as_deref() == rel && !link.href.trim().is_empty()
    };
    let of = |rel| links.iter().find(move |link| is(link, rel));
    of(Some("alternate")).or_else(|| of(None)).map(|link| link.href.trim())
}

/// What the parser calls XHTML is not what it is called.
fn known_type(kind: &str) -> &str {
    if kind == "application/xhtml" { "application/xhtml+xml" } else { kind }
}

fn enclosed(link: &Link, base: &Url) -> Option<Enclosure> {
    Some(Enclosure { url: whole(&link.href, base)?, kind: link.media_type.clone(), bytes: link.length, seconds: None })
}

fn media(object: &MediaObject, content: &MediaContent) -> Option<Enclosure> {
    Some(Enclosure {
        url: content.url.as_ref()?.to_string(),
        kind: content.content_type.as_ref().map(ToString::to_string),
        bytes: content.size.filter(|size| *size > 0),
        seconds: content.duration.or(object.duration).map(|duration| duration.as_secs()),
    })
}

/// An address as a whole one.
pub(super) fn whole(href: &str, base: &Url) -> Option<String> {
    let href = href.trim();
    if href.is_empty() {
        return None;
    }
    // What is no address is kept as it is: it may still tell one item from another.
    Some(base.join(href).map_or_else(|_| href.to_owned(), String::from))
}

/// A text that says something.
pub(super) fn text(text: String) -> Option<String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        None
    } else if trimmed.len() == text.len() {
        Some(text)
    } else {
        Some(trimmed.to_owned())
    }
}
