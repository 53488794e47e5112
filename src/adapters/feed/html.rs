//! What is looked for in HTML: the text of a title, and the feeds that a page names.

use url::Url;

use super::entity;
use super::token::{Token, Tokens};

/// Feeds of a page that are named.
const ALTERNATES_MAX: usize = 5;

/// The text of something that may be HTML, on one line. `is_html` says that it is.
pub(super) fn plain(text: &str, is_html: bool) -> String {
    let has_tag = || {
        let last = text.rfind('>');
        let is_tag = |rest: &str| rest.starts_with(|next: char| next.is_ascii_alphabetic() || next == '/');
        text.match_indices('<').any(|(at, _)| is_tag(&text[at + 1..]) && Some(at) < last)
    };
    let mut out = String::new();
    if is_html || has_tag() || entity::has_reference(text) {
        for token in Tokens::of(text) {
            match token {
                Token::Text(text) => out.push_str(&text),
                Token::Start { name, .. } | Token::End { name, .. } if is_block(name) => out.push(' '),
                Token::Start { .. } | Token::End { .. } => {}
            }
        }
    } else {
        out.push_str(text);
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_block(name: &str) -> bool {
    ["br", "p", "div", "li", "td"].iter().any(|block| name.eq_ignore_ascii_case(block))
}

/// The feeds that a page names (`<link rel="alternate">`), whole.
pub(super) fn alternates(html: &str, url: &Url) -> Vec<String> {
    let feeds = Tokens::of(html).filter_map(|token| {
        let Token::Start { name, attributes, .. } = token else { return None };
        let value = |wanted: &str| {
            let found = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim().to_ascii_lowercase())
        };
        let is_feed = value("type")
            .is_some_and(|kind| ["rss", "atom", "feed+json", "rdf"].iter().any(|feed| kind.contains(feed)));
        if !name.eq_ignore_ascii_case("link") || !is_feed || value("rel").as_deref() != Some("alternate") {
            return None;
        }
        let href = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case("href"))?;
        url.join(href.1.trim()).ok().map(String::from)
    });
    feeds.take(ALTERNATES_MAX).collect()
}
