//! JSON Feed (versions 1 and 1.1), item by item.
//!
//! What is not of the type that the standard says is left out, and a number that stands for a text is its digits. Of a
//! document that is cut off, the items before the cut are read.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use url::Url;

use super::date::moment;
use super::html;
use super::split::ITEMS_MAX;
use super::story::{Author, Enclosure, FeedWords, Story, categories, text, whole};

/// What was read of a document, as far as it goes.
#[derive(Default)]
pub(super) struct JsonFeed {
    /// Everything but the items.
    pub(super) head: Map<String, Value>,
    pub(super) items: Vec<Value>,
    pub(super) has_items: bool,
    pub(super) is_flood: bool,
}

/// Reads a document. `Err` beside it says where it ends before its end.
pub(super) fn read(json: &str) -> (JsonFeed, Result<(), serde_json::Error>) {
    let feed = RefCell::new(JsonFeed::default());
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let result = deserializer.deserialize_map(Whole(&feed)).and_then(|()| deserializer.end());
    (feed.into_inner(), result)
}

struct Whole<'a>(&'a RefCell<JsonFeed>);

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON Feed")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "items" {
                self.0.borrow_mut().has_items = true;
                map.next_value_seed(Items(self.0))?;
            } else {
                let value = map.next_value()?;
                self.0.borrow_mut().head.insert(name, value);
            }
        }
        Ok(())
    }
}

struct Items<'a>(&'a RefCell<JsonFeed>);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element()? {
            let mut feed = self.0.borrow_mut();
            if feed.items.len() < ITEMS_MAX {
                feed.items.push(item);
            } else {
                feed.is_flood = true;
            }
        }
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl JsonFeed {
    /// Whether it says that it is one.
    pub(super) fn is_one(&self) -> bool {
        let version = self.head.get("version").and_then(Value::as_str);
        version.is_some_and(|version| version.contains("jsonfeed.org/version/"))
            || (self.has_items && self.head.contains_key("title"))
    }

    /// What it says of itself.
    pub(super) fn words(&self, base: &Url) -> FeedWords {
        FeedWords {
            title: word(&self.head, "title"),
            link: word(&self.head, "home_page_url").and_then(|url| whole(&url, base)),
        }
    }

    /// An item.
    ///
    /// # Errors
    /// When it is no object.
    pub(super) fn story(&self, item: &Value, base: &Url) -> Result<Story, String> {
        let Value::Object(item) = item else { return Err("an item of a JSON Feed is an object".into()) };
        let address = |name: &str| word(item, name).and_then(|url| whole(&url, base));
        let (html, plain) = (word(item, "content_html"), word(item, "content_text"));
        let content_type = if html.is_some() { Some("text/html") } else { plain.as_ref().map(|_| "text/plain") };
        let own = authors(item);
        Ok(Story {
            id: word(item, "id"),
            title: word(item, "title").map(|title| html::plain(&title, false)).and_then(text),
            link: address("url").or_else(|| address("external_url")),
            authors: if own.is_empty() { authors(&self.head) } else { own },
            summary: word(item, "summary").or_else(|| plain.clone().filter(|_| html.is_some())),
            content: html.or(plain),
            content_type: content_type.map(str::to_owned),
            published: word(item, "date_published").and_then(|date| moment(&date)),
            updated: word(item, "date_modified").and_then(|date| moment(&date)),
            categories: categories(list(item, "tags").iter().filter_map(scalar)),
            enclosures: list(item, "attachments").iter().filter_map(|file| enclosure(file, base)).collect(),
            image: address("image").or_else(|| address("banner_image")),
            language: word(item, "language").or_else(|| word(&self.head, "language")),
            ..Story::default()
        })
    }
}

fn authors(map: &Map<String, Value>) -> Vec<Author> {
    let one = map.get("author").into_iter();
    let all = list(map, "authors").iter().chain(one).filter_map(Value::as_object);
    let all = all.map(|author| Author { name: word(author, "name"), email: None, url: word(author, "url") });
    all.filter(|author| *author != Author::default()).collect()
}

fn enclosure(file: &Value, base: &Url) -> Option<Enclosure> {
    let file = file.as_object()?;
    Some(Enclosure {
        url: whole(&word(file, "url")?, base)?,
        kind: word(file, "mime_type"),
        bytes: file.get("size_in_bytes").and_then(Value::as_u64),
        seconds: file
            .get("duration_in_seconds")
            .and_then(Value::as_f64)
            .filter(|found| (0.0..1e9).contains(found))
            .map(whole_seconds),
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
fn whole_seconds(seconds: f64) -> u64 {
    seconds as u64
}

fn list<'a>(map: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    map.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn word(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name).and_then(scalar)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(word) => text(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
