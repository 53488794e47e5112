//! Posts of the simulated X. A post is a pure function of seed, number and time, so that a test can say what must have
//! been seen.

mod asked;
mod entities;
mod make;
mod v11;
mod v2;
mod words;

use chrono::{DateTime, Utc};

pub use asked::Asked;
pub use entities::{Entities, Link, Span};
pub(super) use entities::{bare, in_word};

use words::{EMOJI, LOCATIONS};

/// When the numbers of posts begin, in milliseconds since 1970.
const EPOCH_MILLIS: i64 = 1_288_834_974_657;

/// A post of the simulated X.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// Milliseconds since X counts, shifted by 22 bits, and a number below that.
    pub id: i64,
    /// When it was made, to the millisecond.
    pub at: DateTime<Utc>,
    /// As it is delivered: markup escaped, links shortened, cut when it is long.
    pub text: String,
    /// The whole text where `text` was cut.
    pub note: Option<Note>,
    /// Who made it.
    pub author: User,
    /// As X tags it.
    pub lang: &'static str,
    /// What it answers, quotes or repeats.
    pub referenced: Option<(Reference, Box<Post>)>,
    /// Pictures and films.
    pub media: Vec<Media>,
    /// Where its author says that it was made.
    pub place: Option<Place>,
    /// Where exactly: longitude and latitude.
    pub point: Option<[f64; 2]>,
    /// What it asks.
    pub poll: Option<Poll>,
    /// What was found in `text`.
    pub entities: Entities,
    /// The numbers of its versions, the oldest first, its own last.
    pub versions: Vec<i64>,
    /// How often it was liked; the other counts follow from it.
    pub likes: u32,
    /// Whether it may offend.
    pub sensitive: bool,
    /// The countries where it is not shown.
    pub withheld: Vec<&'static str>,
    /// The name and the page of what it was written with.
    pub source: (&'static str, &'static str),
}

/// How a post refers to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// It answers it.
    Reply,
    /// It quotes it.
    Quote,
    /// It repeats it.
    Retweet,
}

/// A text that was too long to be delivered in one piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// All of it.
    pub text: String,
    /// What was found in it.
    pub entities: Entities,
}

/// Somebody on the simulated X; everything follows from the username.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Small for old accounts, beyond 2⁵³ for new ones.
    pub id: i64,
    /// Without the `@`.
    pub username: String,
    /// As shown.
    pub name: String,
    /// When the account was opened.
    pub created_at: DateTime<Utc>,
    /// Whether it has a mark.
    pub verified: bool,
    /// How many follow it.
    pub followers: u32,
    /// What its owner says.
    pub location: Option<&'static str>,
}

/// A picture or film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// As v2 names it: kind, underscore, number.
    pub key: String,
    /// The number in the key.
    pub id: i64,
    /// What it is.
    pub kind: MediaKind,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// What it shows, said by its author.
    pub alt_text: Option<&'static str>,
    /// The link in the text that stands for it.
    pub link: String,
}

/// What a [`Media`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Photo,
    /// A film.
    Video,
    /// A short film without sound.
    AnimatedGif,
}

/// A place on the map.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Sixteen hexadecimal digits.
    pub id: &'static str,
    /// Short.
    pub name: &'static str,
    /// With what it lies in.
    pub full_name: &'static str,
    /// As named there.
    pub country: &'static str,
    /// Two letters.
    pub country_code: &'static str,
    /// `city`, `country` …
    pub kind: &'static str,
    /// West, south, east, north, in degrees.
    pub bounds: [f64; 4],
}

/// A question with answers to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// Its own number.
    pub id: i64,
    /// Answers and votes.
    pub options: Vec<(&'static str, u32)>,
    /// How long one may vote.
    pub minutes: u32,
    /// Until when.
    pub ends: DateTime<Utc>,
}

impl User {
    /// The one of this name; capitals make no difference to the number.
    #[must_use]
    pub fn named(username: &str) -> Self {
        let hash =
            username.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| mix(hash ^ u64::from(byte.to_ascii_lowercase())));
        let millis = 1_262_304_000_000 + part(hash, 0, 500_000_000_000);
        // Accounts of the last ten years have numbers like posts; the others were counted.
        let id = if millis > 1_450_000_000_000 { snowflake(millis, hash) } else { 12 + part(hash, 7, 3_000_000_000) };
        Self {
            id,
            username: username.to_owned(),
            name: format!("{} {}", username.replace('_', " "), EMOJI[index(hash >> 11, EMOJI.len() - 1)]),
            created_at: DateTime::from_timestamp_millis(millis).unwrap_or_default(),
            verified: hash.is_multiple_of(5),
            followers: u32::try_from(part(hash, 3, 90_000)).unwrap_or_default(),
            location: hash.is_multiple_of(3).then(|| LOCATIONS[index(hash >> 5, LOCATIONS.len())]),
        }
    }
}

impl Post {
    /// The number of the post that began the conversation.
    #[must_use]
    pub fn conversation(&self) -> i64 {
        match &self.referenced {
            Some((Reference::Reply, answered)) => answered.conversation(),
            _ => self.versions.first().copied().unwrap_or(self.id),
        }
    }

    /// The post that this one refers to in this way.
    #[must_use]
    pub fn refers(&self, how: Reference) -> Option<&Self> {
        self.referenced.as_ref().filter(|(reference, _)| *reference == how).map(|(_, post)| &**post)
    }
}

/// The number of what is made at this time.
fn snowflake(millis: i64, sequence: u64) -> i64 {
    ((millis - EPOCH_MILLIS) << 22) | (sequence & 0x3f_ffff).cast_signed()
}

fn whole_millis(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}

/// A number below `below` from other bits of a hash.
fn part(hash: u64, which: u64, below: u64) -> i64 {
    (mix(hash ^ which) % below).cast_signed()
}

fn index(bits: u64, length: usize) -> usize {
    usize::try_from(bits % length as u64).unwrap_or_default()
}

/// A number that looks like any other (splitmix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
