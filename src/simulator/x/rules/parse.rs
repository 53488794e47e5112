//! From a rule's text to its parts.

use super::{Kind, Node, Op, Part};

/// How deep parentheses may lie in each other.
const DEPTH_MAX: usize = 50;

/// Reads a rule.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let node = parser.any()?;
    match parser.rest() {
        "" => Ok(node),
        rest => Err(format!("mismatched input '{}' (at position {})", &rest[..1], parser.position())),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// What is not read yet, from its first word on.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    /// In characters, counted from 1 as X does.
    fn position(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn any(&mut self) -> Result<Node, String> {
        let mut parts = vec![self.all()?];
        while is_or(self.rest()) {
            self.at += 2;
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Node::Any))
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut parts = Vec::new();
        loop {
            let rest = self.rest();
            if rest.is_empty() || rest.starts_with(')') || is_or(rest) {
                break;
            }
            parts.push(self.one()?);
        }
        if parts.is_empty() {
            return Err(format!("no viable alternative at input '{}' (at position {})", self.rest(), self.position()));
        }
        Ok(one_or(parts, Node::All))
    }

    fn one(&mut self) -> Result<Node, String> {
        if self.rest().starts_with('(') {
            return self.group();
        }
        if self.rest().starts_with('-') {
            self.at += 1;
            if self.rest().starts_with('(') {
                return Err(format!(
                    "a group in parentheses cannot be negated, only each operator in it (at position {})",
                    self.position()
                ));
            }
            return match self.op()? {
                Op::Sample(_) => Err("The sample: operator cannot be negated".to_owned()),
                op => Ok(Node::Not(Box::new(Node::Op(op)))),
            };
        }
        match self.op()? {
            Op::Is(Kind::Nullcast) => Err("The is:nullcast operator must be negated".to_owned()),
            op => Ok(Node::Op(op)),
        }
    }

    fn group(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("parentheses are more than {DEPTH_MAX} deep (at position {})", self.position()));
        }
        self.at += 1;
        let node = self.any()?;
        if !self.rest().starts_with(')') {
            return Err(format!("missing ')' (at position {})", self.position()));
        }
        self.at += 1;
        self.depth -= 1;
        Ok(node)
    }

    fn op(&mut self) -> Result<Op, String> {
        if self.rest().starts_with('"') {
            return self.quoted().map(|words| Op::Words(words.to_lowercase()));
        }
        let (rest, position) = (self.rest(), self.position());
        let end = rest.find(|c: char| c.is_whitespace() || "()\":".contains(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        if word.is_empty() {
            let next = rest.chars().next().map_or("the end".to_owned(), |next| format!("'{next}'"));
            return Err(format!("no viable alternative at input {next} (at position {position})"));
        }
        self.at += end;
        if !rest[end..].starts_with(':') {
            return bare_word(word);
        }
        self.at += 1;
        let value = self.value()?;
        operator(word, &value).ok_or_else(|| {
            format!(
                "Reference to invalid operator '{word}:{value}' (at position {position}), or one that is not simulated"
            )
        })
    }

    fn value(&mut self) -> Result<String, String> {
        let rest = &self.text[self.at..];
        if rest.starts_with('"') {
            return self.quoted().map(str::to_owned);
        }
        let end = rest.find(|c: char| c.is_whitespace() || "()".contains(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(format!("an operator without a value (at position {})", self.position()));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn quoted(&mut self) -> Result<&'a str, String> {
        let rest = &self.text[self.at + 1..];
        match rest.find('"') {
            None => Err(format!(
                "token recognition error: a quotation mark is not closed (at position {})",
                self.position()
            )),
            Some(end) if rest[..end].trim().is_empty() => {
                Err(format!("an empty phrase (at position {})", self.position()))
            }
            Some(end) => {
                self.at += end + 2;
                Ok(rest[..end].trim())
            }
        }
    }
}

/// Whether this begins with the word `OR`.
fn is_or(rest: &str) -> bool {
    rest.strip_prefix("OR").is_some_and(|after| after.is_empty() || after.starts_with([' ', '(', ')']))
}

fn one_or(mut parts: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    if parts.len() > 1 { many(parts) } else { parts.remove(0) }
}

/// A word without a colon.
fn bare_word(word: &str) -> Result<Op, String> {
    let small = word.to_lowercase();
    let (sign, name) = small.split_at(small.chars().next().map_or(0, char::len_utf8));
    match sign {
        "#" | "@" | "$" if name.is_empty() => Err(format!("'{sign}' without a name")),
        "#" => Ok(Op::Hashtag(name.to_owned())),
        "@" => Ok(Op::Mention(name.to_owned())),
        "$" => Ok(Op::Cashtag(name.to_owned())),
        _ => Ok(Op::Words(small)),
    }
}

/// The operator of this name with this value, if there is one.
fn operator(name: &str, value: &str) -> Option<Op> {
    let small = value.to_lowercase();
    let who = || small.trim_start_matches('@').to_owned();
    Some(match name {
        "from" => Op::From(who()),
        "to" => Op::To(who()),
        "retweets_of" => Op::RetweetsOf(who()),
        "url" => Op::Url(small),
        "conversation_id" => Op::Conversation(small.parse().ok()?),
        "lang" => Op::Lang(small),
        "sample" => Op::Sample(small.parse().ok().filter(|percent| (1..=100).contains(percent))?),
        "is" => Op::Is(match &*small {
            "retweet" => Kind::Retweet,
            "reply" => Kind::Reply,
            "quote" => Kind::Quote,
            "verified" => Kind::Verified,
            "nullcast" => Kind::Nullcast,
            _ => return None,
        }),
        "has" => Op::Has(match &*small {
            "hashtags" => Part::Hashtags,
            "cashtags" => Part::Cashtags,
            "mentions" => Part::Mentions,
            "links" => Part::Links,
            "media" => Part::Media,
            "images" => Part::Images,
            "videos" | "video_link" => Part::Videos,
            "geo" => Part::Geo,
            _ => return None,
        }),
        _ => return None,
    })
}
