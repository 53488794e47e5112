//! The members of a map or of an object in their order, and as often as they stand there.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Keys with their values.
#[derive(Debug)]
pub(crate) struct Pairs<K, V>(pub(crate) Vec<(K, V)>);

/// An object of JSON: its keys, with the text of their values.
#[derive(Debug)]
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

/// A text of JSON, borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> Object<'a> {
    /// Nothing, if it is no object.
    pub(crate) fn read(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The value of a key; the last one where it stands twice, as most readers of JSON have it.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Pairs(members) = Pairs::<Text<'de>, &'de RawValue>::deserialize(deserializer)?;
        Ok(Self(members.into_iter().map(|(Text(key), value)| (key, value)).collect()))
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Pairs<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect(PhantomData))
    }
}

struct Collect<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Collect<K, V> {
    type Value = Pairs<K, V>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<K, V>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_there_in_their_order_as_they_are_written() {
        let object = serde_json::from_str::<Object<'_>>(r#"{"z":1.50,"a\u0062":{"x": []},"z":"2"}"#).unwrap();
        let members: Vec<(&str, &str)> = object.0.iter().map(|(name, value)| (&**name, value.get())).collect();
        assert_eq!(members, [("z", "1.50"), ("ab", r#"{"x": []}"#), ("z", r#""2""#)]);
        assert_eq!(object.get("z").unwrap().get(), r#""2""#);
        assert!(serde_json::from_str::<Object<'_>>("[1]").unwrap_err().to_string().contains("expected an object"));
    }
}
