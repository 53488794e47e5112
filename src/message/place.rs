//! A place in a message: a JSON Pointer (RFC 6901), in which `*` stands for every element, or a `JSONPath` (RFC 9535) of the
//! same reach.
//!
//! Both come down to the same steps, which are taken through a message's own text: no tree of values is built, and what
//! is found is a piece of that text, token for token.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// No message has what is wanted so deep, and each step costs another look.
const STEPS_MAX: usize = 32;

/// A place in a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    text: String,
    steps: Vec<Step>,
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    /// The member of this name; of a list the element of this number.
    Name(String),
    /// Every element of a list, or every member of an object.
    Every,
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let steps = match text.as_bytes().first() {
            None | Some(b'/') => pointer(text)?,
            Some(b'$') => path(&text[1..]).ok_or_else(|| {
                let shown = text.escape_debug();
                format!("`{shown}` is not a path of names, numbers and `*`, such as `$.data[*].price`")
            })?,
            Some(_) => {
                let shown = text.escape_debug();
                return Err(format!("`{shown}` is no place in a message; write `/{shown}`, or `$.{shown}`"));
            }
        };
        if steps.len() > STEPS_MAX {
            return Err(format!("a place has at most {STEPS_MAX} steps"));
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it may find several values.
    pub fn is_many(&self) -> bool {
        self.steps.contains(&Step::Every)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of what it finds, for a place that ends with one.
    pub fn last_name(&self) -> Option<&str> {
        match self.steps.last() {
            Some(Step::Name(name)) => Some(name),
            _ => None,
        }
    }
}

/// RFC 6901, section 3 and 4.
fn pointer(text: &str) -> Result<Vec<Step>, String> {
    let step = |token: &str| {
        if token == "*" {
            return Ok(Step::Every);
        }
        let mut rest = token.split('~');
        let mut name = rest.next().unwrap_or_default().to_owned();
        for part in rest {
            let (letter, part) = match part.as_bytes().first() {
                Some(b'0') => ('~', &part[1..]),
                Some(b'1') => ('/', &part[1..]),
                _ => return Err(format!("`{}`: after `~` comes 0 or 1 (RFC 6901)", token.escape_debug())),
            };
            name.push(letter);
            name.push_str(part);
        }
        Ok(Step::Name(name))
    };
    text.split('/').skip(1).map(step).collect()
}

/// What comes after `$`.
fn path(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            let is_name = name.chars().enumerate().all(|(at, next)| {
                next.is_alphabetic() || next == '_' || !next.is_ascii() || (at > 0 && next.is_ascii_digit())
            });
            step = match name {
                "*" => Step::Every,
                "" => return None,
                _ if is_name => Step::Name(name.to_owned()),
                _ => return None,
            };
            rest = &after[end..];
        } else {
            let after = rest.strip_prefix('[')?;
            (step, rest) = bracket(after)?;
        }
        steps.push(step);
    }
    Some(steps)
}

/// What comes after `[`, and what is left after its `]`.
fn bracket(text: &str) -> Option<(Step, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let Some(quote) = quote else {
        let (inner, rest) = text.split_once(']')?;
        let is_number = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
        return match inner {
            "*" => Some((Step::Every, rest)),
            _ if is_number && (inner == "0" || !inner.starts_with('0')) => Some((Step::Name(inner.to_owned()), rest)),
            _ => None,
        };
    };
    let mut name = String::new();
    let mut letters = text[1..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == quote => {
                let rest = text[1 + at + 1..].strip_prefix(']')?;
                return Some((Step::Name(name), rest));
            }
            // Of the escapes only those of what needs one here: others are refused rather than misread.
            '\\' => name.push(letters.next().map(|(_, next)| next).filter(|next| "'\"\\/".contains(*next))?),
            _ => name.push(letter),
        }
    }
    None
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Place {
    fn schema_name() -> Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A place in a message: a JSON Pointer such as `/data/price`, `/trades/*/id`, or a path such as `$.trades[*].id`.",
            "pattern": "^$|^[/$]"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let place = Place::new(text)?;
        let steps = place.steps().iter().map(|step| match step {
            Step::Name(name) => format!("{name:?}"),
            Step::Every => "*".to_owned(),
        });
        Ok(steps.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn places_are_read() {
        for (text, expected) in [
            ("", ""),
            ("/", r#""""#),
            ("/a/b", r#""a" "b""#),
            ("/a~1b/~0/~01", r#""a/b" "~" "~1""#),
            ("/trades/*/0", r#""trades" * "0""#),
            ("$", ""),
            ("$.a.b_1", r#""a" "b_1""#),
            ("$.é", r#""é""#),
            ("$['a b'][\"c\"][0][*].*", r#""a b" "c" "0" * *"#),
            (r"$['it\'s']", r#""it's""#),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "a",
            "a/b",
            "/~",
            "/~2",
            "$a",
            "$.",
            "$..a",
            "$.a[",
            "$[-1]",
            "$[01]",
            "$[?@.a]",
            "$['a",
            "$.1a",
            r"$['\u0041']",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
        assert!(shown("price").unwrap_err().contains("write `/price`"));
        assert!(shown(&"/a".repeat(33)).is_err());
    }
}
