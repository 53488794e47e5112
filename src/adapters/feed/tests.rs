//! Feeds as they are found, and what comes of them; the adapter at the socket is tested with a simulator in `tests/it/feed.rs`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::checks;
use super::once::{Edits, pick};
use super::read::{Reading, read};
use crate::fetch::charset;
use crate::source::{Problem, Settings as _};
use crate::unique::{Limits, Seen};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/feed");
    let is_feed = |path: &PathBuf| path.extension().is_some_and(|end| end != "txt");
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_feed).collect();
    all.sort();
    all
}

fn reading(bytes: &[u8]) -> Reading {
    read(&charset::document(bytes, None, None), &"https://example.com/feed".parse().unwrap())
}

fn seen() -> Seen {
    Seen::new("feed", "news", Limits::default())
}

/// A record without what it does not have.
fn shown(data: &str) -> String {
    let mut value: Value = serde_json::from_str(data).unwrap();
    let map = value.as_object_mut().unwrap();
    map.retain(|_, value| !value.is_null() && !value.as_array().is_some_and(Vec::is_empty));
    map.remove("feed");
    value.to_string()
}

/// `TAPLINE_ACCEPT=1` writes what comes now; look at the difference before it is kept.
#[test]
fn feeds_as_they_are_found() {
    let mut all = String::new();
    for path in fixtures() {
        let bytes = fs::read(&path).unwrap();
        let Reading { stories, rejects, rest } = reading(&bytes);
        writeln!(all, "# {}", path.file_name().unwrap().to_str().unwrap()).unwrap();
        if let Some(story) = stories.first() {
            writeln!(all, "feed {}", serde_json::to_string(&story.feed).unwrap()).unwrap();
        }
        if !rest.is_zero() {
            writeln!(all, "rest {rest:?}").unwrap();
        }
        let (items, _) = pick(&mut seen(), "item", stories, Edits::Ignore);
        for item in items {
            let at = item.published_at.map(|at| crate::record::time_text(&at)).unwrap_or_default();
            writeln!(all, "{} {at} {}", item.id.unwrap(), shown(item.data.get())).unwrap();
        }
        for reject in rejects {
            writeln!(all, "reject {}: {}", reject.outcome.as_str(), reject.reason).unwrap();
        }
    }
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/feed/expected.txt");
    if std::env::var_os("TAPLINE_ACCEPT").is_some() {
        fs::write(&expected, &all).unwrap();
    }
    assert_eq!(fs::read_to_string(expected).unwrap(), all);
}

/// A document cut off anywhere gives the items before the cut, as they are in the whole one, and says that it is cut.
#[test]
fn a_feed_cut_off_anywhere_gives_the_items_before() {
    for path in fixtures() {
        let bytes = fs::read(&path).unwrap();
        let whole = reading(&bytes);
        if !whole.rejects.is_empty() || whole.stories.is_empty() {
            continue;
        }
        let known: Vec<String> = whole.stories.iter().map(|story| serde_json::to_string(story).unwrap()).collect();
        let text = charset::document(&bytes, None, None);
        let end = text.trim_end().len();
        for cut in (0..end).filter(|cut| text.is_char_boundary(*cut)) {
            let part = read(&text[..cut], &"https://example.com/feed".parse().unwrap());
            assert!(!part.rejects.is_empty(), "{} cut at {cut}", path.display());
            for story in &part.stories {
                let story = serde_json::to_string(story).unwrap();
                assert!(known.contains(&story), "{} cut at {cut}: {story}", path.display());
            }
        }
    }
}

#[test]
fn any_fixture_holds_what_any_feed_does() {
    for path in fixtures() {
        checks::any(&charset::document(&fs::read(&path).unwrap(), None, None));
    }
}

fn rss(items: &str) -> Vec<super::story::Story> {
    reading(format!("<rss version='2.0'><channel><title>T</title>{items}</channel></rss>").as_bytes()).stories
}

fn item(guid: &str, title: &str) -> String {
    format!("<item><guid>{guid}</guid><title>{title}</title><link>https://example.com/{guid}</link></item>")
}

#[test]
fn an_item_is_written_once_whatever_its_feed_does_with_it() {
    let mut seen = seen();
    let mut ids = |items: &str, edits| -> Vec<String> {
        let (items, _) = pick(&mut seen, "item", rss(items), edits);
        items.iter().map(|item| format!("{} {}", item.kind, shown(item.data.get()).contains("edit_of"))).collect()
    };
    assert_eq!(ids(&(item("1", "a") + &item("2", "b")), Edits::Write).len(), 2);
    assert_eq!(ids(&(item("2", "b") + &item("1", "a")), Edits::Write), [""; 0], "in another order");
    assert_eq!(ids(&item("1", "changed"), Edits::Write), ["edit true"]);
    assert_eq!(ids(&item("1", "changed"), Edits::Write), [""; 0], "an edit is one once");
    assert_eq!(ids(&item("1", "a"), Edits::Write), [""; 0], "and so is each content");
    assert_eq!(ids(&item("1", "once more"), Edits::Ignore), [""; 0]);
    assert_eq!(ids(&(item("3", "c") + &item("1", "x")), Edits::Learn), ["item false"]);
    assert_eq!(ids(&item("1", "x"), Edits::Write), [""; 0], "what was learned is no edit");
}

/// Two items of one guid are two, also when one of them goes.
#[test]
fn a_guid_that_is_shared_tells_nothing_alone() {
    let mut seen = seen();
    let shared = |link: &str| {
        format!("<item><guid>same</guid><title>{link}</title><link>https://example.com/{link}</link></item>")
    };
    let mut count = |items: String| pick(&mut seen, "item", rss(&items), Edits::Ignore).0.len();
    assert_eq!(count(shared("a")), 1);
    assert_eq!(count(shared("b") + &shared("a")), 1);
    assert_eq!(count(shared("b")), 0);
    assert_eq!(count(shared("c") + &shared("b")), 1);
}

/// Each would take minutes if anything looked at it again and again; as they are, all take less than a second.
#[test]
fn what_is_made_to_be_slow_is_read_once() {
    let most = 900_000;
    for text in [
        "<a".repeat(most / 2),
        "&".repeat(most),
        format!("<author>{}</author>", "é@a.b".repeat(most / 6)),
        format!("<author>{}</author>", "éa".repeat(most / 3) + "@a.b"),
        "<b c=".repeat(most / 5),
        "<!--".repeat(most / 4),
        "<![CDATA[".repeat(most / 9),
        "<!DOCTYPE [".repeat(most / 11),
        "</x>".repeat(most / 4),
        "<item>".repeat(9000),
    ] {
        for (before, after) in [("<title>", "</title></item></channel></rss>"), ("", "</item></channel></rss>")] {
            reading(format!("<rss><channel><item>{before}{text}{after}").as_bytes());
        }
    }
}

#[test]
fn wrong_settings_are_said_at_their_place() {
    let problems = |value: Value| {
        let found = super::Feed::read(value).map_or_else(|problems| problems, |feed| feed.problems());
        let said = |problem: &Problem| format!("{}: {}", problem.path.join("."), problem.message);
        found.iter().map(said).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        problems(serde_json::json!({ "url": "https://example.com/feed", "query": { "n": 5 }, "edits": true })),
        ""
    );
    insta::assert_snapshot!(problems(serde_json::json!({ "url": "ftp://x/", "remember": 1, "keep": "1s", "encoding": "x", "type": "edit", "max_body": 0 })), @r"
    url: `ftp:` is not fetched; write an address with https: or http:
    max_body: a limit of nothing would let no page come
    remember: from 1000 to 1000000
    keep: from 1m to ten years; leave it out for longer
    encoding: no encoding of the web; write one such as utf-8 or windows-1251
    type: the records' type is a word such as item, and not `edit`
    ");
}

proptest! {
    #[test]
    fn any_text_is_read(text in ".{0,200}") {
        checks::any(&text);
    }

    #[test]
    fn any_markup_is_read(text in "(<rss>|<channel>|<item>|</item>|<title>|</title>|<guid>|</guid>|<feed>|<entry>|</entry>|<id>|</id>|<link href='x'/>|<content type='xhtml'>|<div xmlns='http://www.w3.org/1999/xhtml'>|<!\\[CDATA\\[|\\]\\]>|<!--|-->|&amp;|&|<|a|b|1| |é|\")\
        {0,40}") {
        checks::any(&format!("<rss>{text}"));
        checks::any(&format!("<feed>{text}"));
    }

    #[test]
    fn any_json_feed_is_read(items in proptest::collection::vec("(\\{\"id\":[0-9\"a]{0,3}\\}|1|\\{\\}|\\{\"id\":\"x\",\"title\":null,\"tags\":[1]\\})", 0..5)) {
        checks::any(&format!("{{\"version\":\"https://jsonfeed.org/version/1\",\"items\":[{}]}}", items.join(",")));
    }
}
