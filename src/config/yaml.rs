//! YAML as a tree in which everything knows where it stands.
//!
//! serde-saphyr reads it, under a budget: a file of settings is small and flat, and one that is not is an attack or a
//! mistake. The tree is what the rest of `config/` works on; nothing else names the library.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

/// The largest file that is read, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A value and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map, where it stands, and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// What is not YAML, and where.
#[derive(Debug)]
pub(super) struct NotYaml {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, NotYaml> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_nodes: 20_000,
            max_events: 60_000,
            max_aliases: 100,
            max_anchors: 100,
            max_documents: 1,
            max_total_scalar_bytes: 1 << 20,
            max_merge_keys: 0,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        // YAML 1.2: `no` is a word, `true` is not.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place =
            error.location().map_or(Place { line: 1, column: 1 }, |at| Place { line: at.line(), column: at.column() });
        if let Some(place) = tab_near(text, place.line) {
            return NotYaml { place, message: TAB.to_owned() };
        }
        NotYaml { place, message: words(&error.render_with_formatter(&serde_saphyr::UserMessageFormatter)) }
    })
}

/// What is said of a tab before a key, of which the library says many things but that.
const TAB: &str = "a tab; YAML is indented with spaces";

/// The first tab in the indentation of a line at which the library can have stumbled when it gives up at `line`: of the
/// next one it has read the beginning, and what it says of a map that is not whole is said where that begins.
fn tab_near(text: &str, line: u64) -> Option<Place> {
    let mut near = (1..).zip(text.lines()).filter(|(number, _)| (line.saturating_sub(1)..=line + 1).contains(number));
    near.find_map(|(line, text)| {
        let after = text.trim_start_matches([' ', '\t']);
        let column = text[..text.len() - after.len()].find('\t')?;
        (!after.is_empty()).then_some(Place { line, column: column as u64 + 1 })
    })
}

/// The limits by the library's words for them, and ours.
const LIMITS: [(&str, &str); 6] = [
    ("Depth", "nested too deeply; at most 32 levels"),
    ("recursion limit", "nested too deeply; at most 32 levels"),
    ("Documents", "a file holds one document; take out the second `---` and what follows"),
    ("Alias", "too many aliases; at most 100"),
    ("Anchor", "too many anchors; at most 100"),
    ("limits breached", "too many values for a file of settings; at most 20,000"),
];

/// The library's message without the place, which is said elsewhere.
fn words(message: &str) -> String {
    if let Some((_, ours)) = LIMITS.iter().find(|(theirs, _)| message.contains(theirs)) {
        return (*ours).to_owned();
    }
    let first = message.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let end = first.find(" at line ").unwrap_or(first.len());
    first[..end].trim_start_matches(|next: char| next.is_ascii_digit() || matches!(next, ':' | ' ')).trim().to_owned()
}

impl Node {
    /// The value as JSON, for serde.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(flag) => (*flag).into(),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => text.as_str().into(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
        }
    }

    /// Where the value at `path` stands, or the nearest thing above it that is there. For a key that is there, the key.
    pub(super) fn place_of(&self, path: &[String]) -> Place {
        let Some((first, rest)) = path.split_first() else { return self.place };
        match &self.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == *first)
                .map_or(self.place, |entry| if rest.is_empty() { entry.place } else { entry.value.place_of(rest) }),
            Kind::List(items) => first
                .parse()
                .ok()
                .and_then(|index: usize| items.get(index))
                .map_or(self.place, |item| item.place_of(rest)),
            _ => self.place,
        }
    }

    /// The entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        let place = Place { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { place, kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Kind, E> {
        Ok(Kind::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Kind, E> {
        Ok(Kind::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Kind, E> {
        Number::from_f64(number).map(Kind::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place { line: key.referenced.line(), column: key.referenced.column() };
            entries.push(Entry { key: key.value, place, value: map.next_value()? });
        }
        Ok(Kind::Map(entries))
    }
}
