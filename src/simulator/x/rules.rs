//! The rules of the simulated X: the operators that a test or a demo needs, with the documented precedence (a space
//! binds tighter than `OR`), and the filters of v1.1.
//!
//! Facts are from X's pages "Building a rule" and "Operators", and, for v1.1, "Streaming API request parameters".

mod parse;

use super::post::{MediaKind, Post, Reference, bare, in_word, mix};

/// A rule of v2, ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule(Node);

/// A part of a rule.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Op(Op),
}

/// An operator; texts are in small letters.
#[derive(Debug, Clone, PartialEq)]
enum Op {
    /// A keyword or a quoted phrase.
    Words(String),
    Hashtag(String),
    Mention(String),
    Cashtag(String),
    From(String),
    To(String),
    RetweetsOf(String),
    Url(String),
    Conversation(i64),
    Lang(String),
    Is(Kind),
    Has(Part),
    Sample(u64),
}

/// What a post can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Retweet,
    Reply,
    Quote,
    Verified,
    Nullcast,
}

/// What a post can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Hashtags,
    Cashtags,
    Mentions,
    Links,
    Media,
    Images,
    Videos,
    Geo,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// In words of the kind that X sends, when it is longer than `max_chars` characters or no rule.
    pub fn parse(text: &str, max_chars: usize) -> Result<Self, String> {
        let chars = text.chars().count();
        if chars > max_chars {
            return Err(format!("Rule is too long: {chars} characters, and {max_chars} are allowed"));
        }
        let node = parse::parse(text)?;
        if !stands(&node) {
            return Err("Rules must contain at least one operator that can stand by itself and is not negated \
                        (a keyword, a hashtag, from: …), in each part of an OR"
                .to_owned());
        }
        Ok(Self(node))
    }

    /// Whether a post is delivered because of it.
    #[must_use]
    pub fn matches(&self, post: &Post) -> bool {
        holds(&self.0, post)
    }
}

/// Whether a part may stand by itself: one of all, or each of any.
fn stands(node: &Node) -> bool {
    match node {
        Node::All(parts) => parts.iter().any(stands),
        Node::Any(parts) => parts.iter().all(stands),
        Node::Not(_) => false,
        Node::Op(op) => !matches!(op, Op::Lang(_) | Op::Is(_) | Op::Has(_) | Op::Sample(_)),
    }
}

fn holds(node: &Node, post: &Post) -> bool {
    match node {
        Node::All(parts) => parts.iter().all(|part| holds(part, post)),
        Node::Any(parts) => parts.iter().any(|part| holds(part, post)),
        Node::Not(part) => !holds(part, post),
        Node::Op(op) => op.holds(post),
    }
}

/// The posts whose content counts as this one's: a repeated or quoted one too.
fn contents(post: &Post) -> impl Iterator<Item = &Post> {
    let other = post.refers(Reference::Retweet).or_else(|| post.refers(Reference::Quote));
    std::iter::once(post).chain(other)
}

fn whole_text(post: &Post) -> &str {
    post.note.as_ref().map_or(&post.text, |note| &note.text)
}

fn same(left: &str, small: &str) -> bool {
    left.to_lowercase() == small
}

impl Op {
    fn holds(&self, post: &Post) -> bool {
        let any = |test: &dyn Fn(&Post) -> bool| contents(post).any(test);
        match self {
            Self::Words(words) => any(&|post| has_words(whole_text(post), words)),
            Self::Hashtag(tag) => any(&|post| entities(post).hashtags.iter().any(|span| same(&span.text, tag))),
            Self::Cashtag(tag) => any(&|post| entities(post).cashtags.iter().any(|span| same(&span.text, tag))),
            Self::Mention(name) => any(&|post| entities(post).mentions.iter().any(|span| same(&span.text, name))),
            Self::From(who) => is(&post.author, who),
            Self::To(who) => post.refers(Reference::Reply).is_some_and(|answered| is(&answered.author, who)),
            Self::RetweetsOf(who) => post.refers(Reference::Retweet).is_some_and(|post| is(&post.author, who)),
            Self::Url(part) => any(&|post| {
                entities(post).links.iter().any(|link| has_words(&link.expanded, part) || has_words(&link.url, part))
            }),
            Self::Conversation(id) => post.conversation() == *id,
            Self::Lang(lang) => post.lang == lang,
            Self::Is(kind) => kind.holds(post),
            Self::Has(part) => any(&|post| part.is_in(post)),
            Self::Sample(percent) => mix(post.id.unsigned_abs()) % 100 < *percent,
        }
    }
}

fn entities(post: &Post) -> &super::post::Entities {
    post.note.as_ref().map_or(&post.entities, |note| &note.entities)
}

/// Whether this is the account with that name or number.
fn is(user: &super::post::User, who: &str) -> bool {
    same(&user.username, who) || who.parse() == Ok(user.id)
}

/// Whether words stand in a text as whole words, one after the other; capitals make no difference, accents do.
fn has_words(text: &str, small: &str) -> bool {
    let text = text.to_lowercase();
    let (begins, ends) = (small.starts_with(in_word), small.ends_with(in_word));
    text.match_indices(small).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + small.len()..]);
        !(begins && before.ends_with(in_word) || ends && behind.starts_with(in_word))
    })
}

impl Kind {
    fn holds(self, post: &Post) -> bool {
        match self {
            Self::Retweet => post.refers(Reference::Retweet).is_some(),
            Self::Reply => post.refers(Reference::Reply).is_some(),
            Self::Quote => post.refers(Reference::Quote).is_some(),
            Self::Verified => post.author.verified,
            // Advertisements are not made here.
            Self::Nullcast => false,
        }
    }
}

impl Part {
    fn is_in(self, post: &Post) -> bool {
        let entities = entities(post);
        match self {
            Self::Hashtags => !entities.hashtags.is_empty(),
            Self::Cashtags => !entities.cashtags.is_empty(),
            Self::Mentions => !entities.mentions.is_empty(),
            Self::Links => !entities.links.is_empty(),
            Self::Media => !post.media.is_empty(),
            Self::Images => post.media.iter().any(|media| media.kind == MediaKind::Photo),
            Self::Videos => post.media.iter().any(|media| media.kind != MediaKind::Photo),
            Self::Geo => post.place.is_some() || post.point.is_some(),
        }
    }
}

/// What `statuses/filter` of v1.1 is asked for; a post that matches any of it is delivered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Phrases; of each every word must be there, in any order.
    pub track: Vec<String>,
    /// Accounts: what they write, what they answer to, what repeats or answers them.
    pub follow: Vec<i64>,
    /// West, south, east, north, in degrees.
    pub locations: Vec<[f64; 4]>,
}

impl Filter {
    /// Whether a post is delivered because of it.
    #[must_use]
    pub fn matches(&self, post: &Post) -> bool {
        let followed = |user: &super::post::User| self.follow.contains(&user.id);
        self.track.iter().any(|phrase| contents(post).any(|post| tracks(phrase, post)))
            || followed(&post.author)
            || post.referenced.as_ref().is_some_and(|(how, other)| *how != Reference::Quote && followed(&other.author))
            || self.locations.iter().any(|area| lies_in(post, area))
    }
}

fn tracks(phrase: &str, post: &Post) -> bool {
    let entities = entities(post);
    phrase.to_lowercase().split_whitespace().all(|term| {
        let spans = |spans: &[super::post::Span], term: &str| spans.iter().any(|span| same(&span.text, term));
        let links = || {
            entities.links.iter().any(|link| {
                let expanded = link.expanded.to_lowercase();
                bare(&expanded) == bare(term) || link.display.to_lowercase() == term
            })
        };
        match term.chars().next() {
            Some('#') => spans(&entities.hashtags, &term[1..]),
            Some('@') => spans(&entities.mentions, &term[1..]),
            Some('$') => spans(&entities.cashtags, &term[1..]),
            _ => has_words(whole_text(post), term) || links(),
        }
    })
}

/// Its point if it has one, its place otherwise.
fn lies_in(post: &Post, [west, south, east, north]: &[f64; 4]) -> bool {
    match (post.point, &post.place) {
        (Some([x, y]), _) => (west..=east).contains(&&x) && (south..=north).contains(&&y),
        (None, Some(place)) => {
            let [left, low, right, high] = place.bounds;
            left <= *east && right >= *west && low <= *north && high >= *south
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests;
