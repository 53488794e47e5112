//! What stands at several places of a message, found in one pass over its text.
//!
//! The text is read by serde's own parser, which passes over everything that nobody asked for; of what is found the piece
//! of text is handed out. Of several members with one name the last counts, as everywhere.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::place::{Place, Step};

/// Places as a tree, so that what several have in common is passed once.
#[derive(Debug, Clone, Default)]
pub struct Places {
    root: Node,
    count: usize,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The numbers of the places that end here.
    ends: Vec<usize>,
    named: Vec<(String, Node)>,
    every: Option<Box<Node>>,
}

/// What was found, by the number of the place: none, one, or with `*` many.
#[derive(Debug)]
pub struct Found<'t>(Vec<Vec<&'t RawValue>>);

impl<'t> Found<'t> {
    /// What stands at this place; the last of several.
    pub fn one(&self, number: usize) -> Option<&'t RawValue> {
        self.0.get(number)?.last().copied()
    }

    /// Everything that stands at this place, in the message's order.
    pub fn all(&self, number: usize) -> &[&'t RawValue] {
        self.0.get(number).map_or(&[], Vec::as_slice)
    }
}

impl Places {
    /// Adds a place. Returns its number.
    pub fn add(&mut self, place: &Place) -> usize {
        let number = self.count;
        self.count += 1;
        let mut node = &mut self.root;
        for step in place.steps() {
            node = match step {
                Step::Every => node.every.get_or_insert_default(),
                Step::Name(name) => {
                    let known = node.named.iter().position(|(known, _)| known == name);
                    let at = known.unwrap_or_else(|| {
                        node.named.push((name.clone(), Node::default()));
                        node.named.len() - 1
                    });
                    &mut node.named[at].1
                }
            };
        }
        node.ends.push(number);
        number
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Looks at all places of a message.
    pub fn find<'t>(&self, message: &'t RawValue) -> Found<'t> {
        let mut found = Found(vec![Vec::new(); self.count]);
        self.root.look(message, &mut found);
        found
    }
}

impl Node {
    fn look<'t>(&self, value: &'t RawValue, found: &mut Found<'t>) {
        for number in &self.ends {
            found.0[*number].push(value);
        }
        if self.named.is_empty() && self.every.is_none() {
            return;
        }
        let text = value.get();
        let mut reader = serde_json::Deserializer::from_str(text);
        let within = Within { node: self, found };
        // The text is JSON already, so that nothing can go wrong but depth, and then nothing is found.
        let result = match text.as_bytes().first() {
            Some(b'{') => reader.deserialize_map(within),
            Some(b'[') => reader.deserialize_seq(within),
            _ => Ok(()),
        };
        result.ok();
    }

    /// Forgets what was found below, for another member with the same name.
    fn forget(&self, found: &mut Found<'_>) {
        for number in &self.ends {
            found.0[*number].clear();
        }
        let below = self.named.iter().map(|(_, node)| node).chain(self.every.as_deref());
        below.for_each(|node| node.forget(found));
    }
}

/// The members or elements of a value.
struct Within<'n, 'f, 't> {
    node: &'n Node,
    found: &'f mut Found<'t>,
}

/// What a member's name means here.
enum Wanted {
    Named(usize),
    Other,
}

struct Name<'n>(&'n Node);

impl<'t> DeserializeSeed<'t> for Name<'_> {
    type Value = Wanted;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Wanted, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Wanted;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Wanted, E> {
        let known = self.0.named.iter().position(|(known, _)| known == name);
        Ok(known.map_or(Wanted::Other, Wanted::Named))
    }
}

impl<'t> Visitor<'t> for Within<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = vec![false; self.node.named.len()];
        while let Some(name) = map.next_key_seed(Name(self.node))? {
            let (named, every) = (&self.node.named, self.node.every.as_deref());
            let node = match name {
                Wanted::Named(at) => {
                    if std::mem::replace(&mut seen[at], true) {
                        named[at].1.forget(self.found);
                    }
                    Some(&named[at].1)
                }
                Wanted::Other => None,
            };
            if node.is_none() && every.is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &'t RawValue = map.next_value()?;
            node.into_iter().chain(every).for_each(|node| node.look(value, self.found));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<(), A::Error> {
        let numbered: Vec<(usize, &Node)> =
            self.node.named.iter().filter_map(|(name, node)| Some((index(name)?, node))).collect();
        let mut at = 0;
        while let Some(value) = list.next_element::<&'t RawValue>()? {
            let here = numbered.iter().filter(|(number, _)| *number == at).map(|(_, node)| *node);
            here.chain(self.node.every.as_deref()).for_each(|node| node.look(value, self.found));
            at += 1;
        }
        Ok(())
    }
}

/// A name as the number of an element: without leading zeros (RFC 6901, section 4).
fn index(name: &str) -> Option<usize> {
    let is_number = name == "0" || (name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0'));
    name.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn find(text: &str, places: &[&str]) -> Vec<String> {
        let mut all = Places::default();
        for place in places {
            all.add(&Place::new(place).unwrap());
        }
        let found = all.find(serde_json::from_str(text).unwrap());
        (0..places.len()).map(|at| found.all(at).iter().map(|raw| raw.get()).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn what_stands_there_is_found_as_it_stands() {
        let text = r#" { "a" : 1.50, "b": { "c": [ 10, { "d": "x\u00e9" }, 12345678901234567890123 ] }, "a/b": null, "": 7 } "#;
        for (place, expected) in [
            ("/a", "1.50"),
            ("/b/c/0", "10"),
            ("/b/c/1/d", r#""x\u00e9""#),
            ("/b/c/2", "12345678901234567890123"),
            ("/b/c/*", r#"10 { "d": "x\u00e9" } 12345678901234567890123"#),
            ("/b/c/*/d", r#""x\u00e9""#),
            ("/b/*/1/d", r#""x\u00e9""#),
            ("/a~1b", "null"),
            ("/", "7"),
            ("/b/c/00", ""),
            ("/b/c/3", ""),
            ("/a/c", ""),
            ("/nothing", ""),
        ] {
            assert_eq!(find(text, &[place]), [expected], "{place}");
        }
        assert_eq!(find(text, &["/b/c/0", "/b/c/*/d", "/a", "/b/c"])[..3], ["10", r#""x\u00e9""#, "1.50"]);
        assert_eq!(find("[1,2]", &["", "/1"]), ["[1,2]", "2"]);
        assert_eq!(find("3", &["", "/1"]), ["3", ""]);
        assert_eq!(find(r#"{"a":1e999}"#, &["/a/b"]), [""]);
    }

    #[test]
    fn of_members_with_one_name_the_last_counts() {
        let text = r#"{"a":{"b":1,"c":2},"a":{"b":3}}"#;
        assert_eq!(find(text, &["/a/b", "/a/c", "/a"]), ["3", "", r#"{"b":3}"#]);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), "[a-c/~é\"]{0,3}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c0-1/~]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_pointer_finds_what_serde_json_finds(tree in tree(), pointers in prop::collection::vec("(/([a-c0-1]|~0|~1){0,2}){0,4}", 1..4)) {
            let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
            for (pointer, found) in pointers.iter().zip(find(&tree.to_string(), &pointers)) {
                let expected = tree.pointer(pointer).map(ToString::to_string).unwrap_or_default();
                prop_assert_eq!(found, expected, "{}", pointer);
            }
        }
    }
}
