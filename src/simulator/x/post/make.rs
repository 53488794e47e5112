//! How posts come about.

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::entities::{self, Link, Short};
use super::words::{self, CASHTAGS, COUNTRIES, EMOJI, LANGUAGES, LINKS, NAMES, PLACES, POLLS, SOURCES};
use super::{Media, MediaKind, Note, Place, Poll, Post, Reference, User, index, mix, snowflake, whole_millis};

/// How many code points of a post are delivered as its text.
const TEXT_MAX: usize = 280;

/// How many code points of a repeated post are delivered as the text of the repetition.
const RETWEET_MAX: usize = 140;

impl Post {
    /// The `number`th post of a seed, made at `at`: posts, replies, quotes and retweets, in several languages, with
    /// whatever people put into them.
    #[must_use]
    pub fn make(seed: u64, number: u64, at: DateTime<Utc>) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ mix(number));
        let earlier = at - TimeDelta::seconds(random.random_range(20..90_000));
        match random.random_range(0..100) {
            0..25 => Self::retweet(&mut random, number, at, earlier),
            25..35 => {
                let quoted = Self::original(&mut random, mix(number), earlier, None);
                Self::original(&mut random, number, at, Some((Reference::Quote, Box::new(quoted))))
            }
            35..58 => {
                let answered = Self::original(&mut random, mix(number), earlier, None);
                Self::original(&mut random, number, at, Some((Reference::Reply, Box::new(answered))))
            }
            _ => Self::original(&mut random, number, at, None),
        }
    }

    /// An original post with just this text, however long; hashtags, mentions, cashtags and links in it are found.
    #[must_use]
    pub fn with_text(number: u64, at: DateTime<Utc>, text: &str) -> Self {
        let mut random = StdRng::seed_from_u64(mix(number));
        let author = someone(&mut random);
        Self::plain(number, at, author, text.to_owned(), &[])
    }

    /// A later version of this post: a new number, another text, and the numbers of the versions before it.
    #[must_use]
    pub fn edited(&self, number: u64, at: DateTime<Utc>, text: &str) -> Self {
        let shorts: Vec<Short> = self.entities.links.iter().map(Link::short).collect();
        let id = snowflake(at.timestamp_millis(), number);
        let mut versions = self.versions.clone();
        versions.push(id);
        Self {
            id,
            at: whole_millis(at),
            text: text.to_owned(),
            note: None,
            entities: entities::find(text, &shorts),
            versions,
            ..self.clone()
        }
    }

    fn plain(number: u64, at: DateTime<Utc>, author: User, text: String, shorts: &[Short]) -> Self {
        let id = snowflake(at.timestamp_millis(), number);
        Self {
            id,
            at: whole_millis(at),
            entities: entities::find(&text, shorts),
            text,
            note: None,
            author,
            lang: LANGUAGES[0].tag,
            referenced: None,
            media: Vec::new(),
            place: None,
            point: None,
            poll: None,
            versions: vec![id],
            likes: 0,
            sensitive: false,
            withheld: Vec::new(),
            source: SOURCES[0],
        }
    }

    fn retweet(random: &mut StdRng, number: u64, at: DateTime<Utc>, earlier: DateTime<Utc>) -> Self {
        let original = Self::original(random, mix(number), earlier, None);
        let mut text = format!("RT @{}: {}", original.author.username, original.text);
        cut(&mut text, RETWEET_MAX);
        let shorts: Vec<Short> = original.entities.links.iter().map(Link::short).collect();
        let mut post = Self::plain(number, at, someone(random), text, &shorts);
        post.lang = original.lang;
        post.source = *pick(random, SOURCES);
        post.sensitive = original.sensitive;
        post.referenced = Some((Reference::Retweet, Box::new(original)));
        post
    }

    fn original(
        random: &mut StdRng,
        number: u64,
        at: DateTime<Utc>,
        referenced: Option<(Reference, Box<Self>)>,
    ) -> Self {
        let language = if random.random_bool(0.5) { &LANGUAGES[0] } else { pick(random, LANGUAGES) };
        let id = snowflake(at.timestamp_millis(), number);
        let author = someone(random);
        let mut shorts = Vec::new();
        let mut text = body(random, language, &mut shorts);
        if let Some((reference, other)) = &referenced {
            let name = &other.author.username;
            match reference {
                Reference::Reply => text.insert_str(0, &format!("@{name} ")),
                _ => attach(random, &mut text, &mut shorts, format!("https://twitter.com/{name}/status/{}", other.id)),
            }
        }
        let media = media(random, id);
        for one in &media {
            let path = if one.kind == MediaKind::Photo { "photo" } else { "video" };
            let expanded = format!("https://twitter.com/{}/status/{id}/{path}/1", author.username);
            text.push(' ');
            text.push_str(&one.link);
            shorts.push(Short {
                url: one.link.clone(),
                expanded,
                display: Some(format!("pic.twitter.com/{}", &one.link[13..])),
                media_key: Some(one.key.clone()),
            });
        }
        let mut post = Self::plain(number, at, author, text, &shorts);
        post.lang = language.tag;
        post.referenced = referenced;
        post.media = media;
        post.adorn(random);
        post.shorten(random, &shorts);
        post
    }

    /// Gives it what only some posts have.
    fn adorn(&mut self, random: &mut StdRng) {
        if random.random_bool(0.06) {
            let place = place(random);
            let [west, south, east, north] = place.bounds;
            if random.random_bool(0.3) {
                // To a thousandth, as telephones that mean it well round it.
                let within = |low: f64, high: f64, share: f64| ((low + (high - low) * share) * 1000.0).round() / 1000.0;
                self.point = Some([within(west, east, random.random()), within(south, north, random.random())]);
            }
            self.place = Some(place);
        }
        if self.media.is_empty() && random.random_bool(0.03) {
            let minutes = *pick(random, &[5, 60, 1_440, 10_080]);
            self.poll = Some(Poll {
                id: self.id + 1,
                options: pick(random, POLLS).iter().map(|option| (*option, random.random_range(0..500))).collect(),
                minutes,
                ends: self.at + TimeDelta::minutes(i64::from(minutes)),
            });
        }
        if random.random_bool(0.02) {
            let first =
                snowflake(self.at.timestamp_millis() - random.random_range(10_000..1_700_000), self.id.cast_unsigned());
            self.versions.insert(0, first);
        }
        if random.random_bool(0.01) {
            self.withheld.push(word(random, COUNTRIES));
        }
        self.likes = if random.random_bool(0.6) { 0 } else { random.random_range(1..5_000) };
        self.sensitive = random.random_bool(0.02);
        self.source = *pick(random, SOURCES);
    }

    /// Moves a text that is too long into a note.
    fn shorten(&mut self, random: &mut StdRng, shorts: &[Short]) {
        if self.text.len() <= TEXT_MAX || self.text.chars().count() <= TEXT_MAX {
            return;
        }
        // A link to itself follows what is left: 23 code points and a space.
        let mut text = self.text.clone();
        cut(&mut text, TEXT_MAX - 24);
        let mut shorts = shorts.to_vec();
        attach(random, &mut text, &mut shorts, format!("https://twitter.com/i/web/status/{}", self.id));
        let found = entities::find(&text, &shorts);
        self.note = Some(Note {
            text: std::mem::replace(&mut self.text, text),
            entities: std::mem::replace(&mut self.entities, found),
        });
    }
}

/// Sentences of the language, and what people put between them.
fn body(random: &mut StdRng, language: &words::Language, shorts: &mut Vec<Short>) -> String {
    let mut text = String::with_capacity(256);
    let sentences = if random.random_bool(0.02) { 9 } else { random.random_range(1..=3) };
    for count in 0..sentences {
        if count > 0 {
            text.push(' ');
        }
        text.push_str(word(random, language.sentences));
    }
    let mut say = |sign: &str, word: &str| {
        text.push(' ');
        text.push_str(sign);
        text.push_str(word);
    };
    if random.random_bool(0.12) {
        say("", word(random, EMOJI));
    }
    if random.random_bool(0.15) {
        say("@", &username(random));
    }
    if random.random_bool(0.3) {
        say("#", word(random, language.hashtags));
    }
    if random.random_bool(0.06) {
        say("$", word(random, CASHTAGS));
    }
    if random.random_bool(0.22) {
        let expanded = format!("{}{}", pick(random, LINKS), random.random_range(1..100_000));
        attach(random, &mut text, shorts, expanded);
    }
    text
}

/// Puts a shortened link at the end of a text.
fn attach(random: &mut StdRng, text: &mut String, shorts: &mut Vec<Short>, expanded: String) {
    let url = short_link(random);
    text.push(' ');
    text.push_str(&url);
    shorts.push(Short { url, expanded, display: None, media_key: None });
}

/// 23 characters, as all of them have.
fn short_link(random: &mut StdRng) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut link = String::with_capacity(23);
    link.push_str("https://t.co/");
    let mut bits: u64 = random.random();
    for _ in 0..10 {
        link.push(char::from(LETTERS[index(bits, LETTERS.len())]));
        bits /= 62;
    }
    link
}

fn media(random: &mut StdRng, id: i64) -> Vec<Media> {
    let kind = match random.random_range(0..100) {
        0..16 => MediaKind::Photo,
        16..21 => MediaKind::Video,
        21..23 => MediaKind::AnimatedGif,
        _ => return Vec::new(),
    };
    let link = short_link(random);
    let count = if kind == MediaKind::Photo && random.random_bool(0.2) { 2 } else { 1 };
    let (number, (width, height)) = (
        match kind {
            MediaKind::Photo => 3,
            MediaKind::Video => 7,
            MediaKind::AnimatedGif => 16,
        },
        *pick(random, &[(1200, 675), (1080, 1350), (640, 480)]),
    );
    (1..=count)
        .map(|count| Media {
            key: format!("{number}_{}", id - count),
            id: id - count,
            kind,
            width,
            height,
            alt_text: random.random_bool(0.3).then_some("a cat on a keyboard, looking \"innocent\""),
            link: link.clone(),
        })
        .collect()
}

fn place(random: &mut StdRng) -> Place {
    let (id, name, full_name, country, country_code, kind, bounds) = *pick(random, PLACES);
    Place { id, name, full_name, country, country_code, kind, bounds }
}

fn someone(random: &mut StdRng) -> User {
    User::named(&username(random))
}

fn username(random: &mut StdRng) -> String {
    format!("{}_{}{}", pick(random, NAMES.0), pick(random, NAMES.1), random.random_range(1..=20))
}

fn word(random: &mut StdRng, list: &[&'static str]) -> &'static str {
    list[random.random_range(0..list.len())]
}

fn pick<'a, T>(random: &mut StdRng, list: &'a [T]) -> &'a T {
    &list[random.random_range(0..list.len())]
}

/// Cuts a text that is longer to so many code points, the last of them an ellipsis.
fn cut(text: &mut String, code_points: usize) {
    if text.chars().nth(code_points).is_none() {
        return;
    }
    if let Some((end, _)) = text.char_indices().nth(code_points - 1) {
        text.truncate(end);
        text.push('…');
    }
}
