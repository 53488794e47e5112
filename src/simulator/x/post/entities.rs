//! What X finds in a text: hashtags, mentions, cashtags and links, each with the code points that it takes up.

/// What was found in a text, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entities {
    /// Without the `#`.
    pub hashtags: Vec<Span>,
    /// Without the `@`.
    pub mentions: Vec<Span>,
    /// Without the `$`.
    pub cashtags: Vec<Span>,
    /// Links, shortened or not.
    pub links: Vec<Link>,
}

/// A part of a text; its sign counts as a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The code point that it begins at.
    pub start: usize,
    /// The code point after it.
    pub end: usize,
    /// What it says, without the sign.
    pub text: String,
}

/// A link in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The code point that it begins at.
    pub start: usize,
    /// The code point after it.
    pub end: usize,
    /// As it stands in the text.
    pub url: String,
    /// Where it leads.
    pub expanded: String,
    /// How it is shown.
    pub display: String,
    /// The picture or film that it stands for.
    pub media_key: Option<String>,
}

/// A shortened link and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Short {
    pub(super) url: String,
    pub(super) expanded: String,
    pub(super) display: Option<String>,
    pub(super) media_key: Option<String>,
}

impl Link {
    /// What was shortened to this.
    pub(super) fn short(&self) -> Short {
        Short {
            url: self.url.clone(),
            expanded: self.expanded.clone(),
            display: Some(self.display.clone()),
            media_key: self.media_key.clone(),
        }
    }
}

/// Finds them. Links that are not in `shorts` stand for themselves.
pub(super) fn find(text: &str, shorts: &[Short]) -> Entities {
    let mut found = Entities::default();
    let mut before = ' ';
    let mut done = 0;
    for (start, (at, character)) in text.char_indices().enumerate() {
        let free = at >= done && !in_word(before) && before != '&';
        before = character;
        if !free {
            continue;
        }
        let rest = &text[at..];
        let taken = match character {
            '#' => taken(rest, &mut found.hashtags, start, hashtag),
            '@' => taken(rest, &mut found.mentions, start, mention),
            '$' => taken(rest, &mut found.cashtags, start, cashtag),
            'h' => link(rest, start, shorts).map_or(0, |link| {
                let length = link.url.len();
                found.links.push(link);
                length
            }),
            _ => 0,
        };
        done = at + taken;
    }
    found
}

/// Letters of any script, digits, the underscore; the virama joins letters and is none by itself.
pub(in crate::simulator::x) fn in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '\u{94d}'
}

/// Puts what `read` accepts after the sign into the list; returns the bytes that it takes up, sign included.
fn taken(rest: &str, list: &mut Vec<Span>, start: usize, read: fn(&str) -> Option<&str>) -> usize {
    let Some(text) = read(&rest[1..]) else { return 0 };
    list.push(Span { start, end: start + 1 + text.chars().count(), text: text.to_owned() });
    1 + text.len()
}

fn hashtag(rest: &str) -> Option<&str> {
    let text = &rest[..rest.find(|character| !in_word(character)).unwrap_or(rest.len())];
    text.chars().any(char::is_alphabetic).then_some(text)
}

fn mention(rest: &str) -> Option<&str> {
    let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let text = &rest[..end.unwrap_or(rest.len())];
    (1..=15).contains(&text.len()).then_some(text)
}

fn cashtag(rest: &str) -> Option<&str> {
    let end = rest.find(|character| !in_word(character)).unwrap_or(rest.len());
    let text = &rest[..end];
    ((1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic())).then_some(text)
}

/// A link that was cut off with the text is none.
fn link(rest: &str, start: usize, shorts: &[Short]) -> Option<Link> {
    let host = rest.strip_prefix("https://").or_else(|| rest.strip_prefix("http://"))?;
    let end = rest.find(|character: char| character.is_whitespace() || "\"<>…".contains(character));
    if end.is_some_and(|end| rest[end..].starts_with('…')) || !host.starts_with(in_word) {
        return None;
    }
    let url = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '\'']);
    let short = shorts.iter().find(|short| short.url == url);
    let expanded = short.map_or(url, |short| &short.expanded);
    let display = short.and_then(|short| short.display.clone()).unwrap_or_else(|| display(expanded));
    Some(Link {
        start,
        end: start + url.chars().count(),
        url: url.to_owned(),
        expanded: expanded.to_owned(),
        display,
        media_key: short.and_then(|short| short.media_key.clone()),
    })
}

/// Without scheme and `www.`, cut after 26 characters.
fn display(url: &str) -> String {
    let bare = bare(url);
    match bare.char_indices().nth(26) {
        Some((end, _)) => format!("{}…", &bare[..end]),
        None => bare.to_owned(),
    }
}

/// A link without scheme and `www.`.
pub(in crate::simulator::x) fn bare(url: &str) -> &str {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    host.strip_prefix("www.").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_and_what_is_not() {
        for (text, expected) in [
            ("no signs at all", ""),
            ("#cat and #犬_1", "#cat#犬_1"),
            ("#123 a#b &#39; # #", ""),
            ("#1st #प्यार", "#1st#प्यार"),
            ("@one, @Two_2: a@b.c @", "@one@Two_2"),
            ("@sixteen_chars_16", ""),
            ("$AAPL up $5 $TOOLONGX $F", "$AAPL$F"),
            ("see (https://a.b/c#d@e), http://x.y!", "https://a.b/c#d@ehttp://x.y"),
            ("cut https://t.co/ab…", ""),
            ("https:// xhttps://a.b", ""),
        ] {
            let found = find(text, &[]);
            let mut all: Vec<(usize, usize, String)> = Vec::new();
            for (sign, spans) in [("#", found.hashtags), ("@", found.mentions), ("$", found.cashtags)] {
                all.extend(spans.into_iter().map(|span| (span.start, span.end, format!("{sign}{}", span.text))));
            }
            all.extend(found.links.into_iter().map(|link| (link.start, link.end, link.url)));
            all.sort();
            let characters: Vec<char> = text.chars().collect();
            for (start, end, words) in &all {
                assert_eq!(&characters[*start..*end].iter().collect::<String>(), words, "{text}");
            }
            assert_eq!(all.into_iter().map(|(.., words)| words).collect::<String>(), expected, "{text}");
        }
    }

    #[test]
    fn a_short_link_stands_for_a_long_one() {
        let short = Short {
            url: "https://t.co/a".to_owned(),
            expanded: "https://www.example.com/a/rather/long/path".to_owned(),
            display: None,
            media_key: None,
        };
        let found = find("é https://t.co/a", &[short]);
        assert_eq!(found.links.len(), 1);
        assert_eq!((found.links[0].start, found.links[0].end), (2, 16));
        assert_eq!(found.links[0].expanded, "https://www.example.com/a/rather/long/path");
        assert_eq!(found.links[0].display, "example.com/a/rather/long/…");
    }
}
