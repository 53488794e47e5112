//! The id of a record whose upstream has an identity of its own.

use data_encoding::BASE32HEX_NOPAD;

use super::condition::text_of;
use super::find::{Found, Places};
use super::place::Place;

/// A longer identity is written as a hash: stores have limits for keys, the smallest of 512 bytes.
const BYTES_MAX: usize = 256;

/// Makes ids of what stands at some places.
#[derive(Debug, Clone)]
pub struct Identity {
    places: Vec<usize>,
    /// A hash of the source's name: two upstreams may count from 1, and meet in one store.
    mark: String,
}

impl Identity {
    /// Of a source. The places are added to those that are looked for.
    pub fn new(ids: &[Place], source: &str, places: &mut Places) -> Self {
        Self { places: ids.iter().map(|place| places.add(place)).collect(), mark: crate::normalise::mark(source) }
    }

    /// The id of a record in which this was found; `None` where none of the places has anything.
    pub fn of(&self, found: &Found<'_>) -> Option<String> {
        Some(self.end(format!("m_{}", self.text_of(found)?)))
    }

    /// What the id is made of: one text for each place, with what is between them.
    pub fn text_of(&self, found: &Found<'_>) -> Option<String> {
        let mut text = String::new();
        let mut is_known = false;
        for (index, number) in self.places.iter().enumerate() {
            if index > 0 {
                text.push('/');
            }
            if let Some(value) = found.one(*number).and_then(text_of) {
                is_known = true;
                push_escaped(&mut text, &value);
            }
        }
        is_known.then_some(text)
    }

    /// The id of a record whose identity is this text.
    pub fn of_text(&self, text: &str) -> String {
        let mut id = String::from("m_");
        push_escaped(&mut id, text);
        self.end(id)
    }

    fn end(&self, mut id: String) -> String {
        if id.len() > BYTES_MAX {
            let hash = blake3::hash(id.as_bytes());
            id = format!("m_~{}", BASE32HEX_NOPAD.encode(&hash.as_bytes()[..20]).to_ascii_lowercase());
        }
        id.push('_');
        id.push_str(&self.mark);
        id
    }
}

/// Letters, digits and what addresses are made of stay; everything else is written as in an address, so that ids have no
/// white space, no control characters, and no two texts one id.
fn push_escaped(id: &mut String, text: &str) {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'@' | b'_' | b'=' | b'+' | b',')
    };
    for byte in text.bytes() {
        if is_plain(byte) {
            id.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            id.push('%');
            id.push(char::from(DIGITS[usize::from(byte >> 4)]));
            id.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(places: &[&str], message: &str) -> Option<String> {
        let ids: Vec<Place> = places.iter().map(|place| Place::new(place).unwrap()).collect();
        let mut looked_for = Places::default();
        let identity = Identity::new(&ids, "a", &mut looked_for);
        let id = identity.of(&looked_for.find(serde_json::from_str(message).unwrap()))?;
        Some(id.strip_suffix(&format!("_{}", identity.mark)).unwrap().to_owned())
    }

    #[test]
    fn ids_are_made_of_what_is_there() {
        let message = r#"{"did":"did:plc:a_b","n":12345678901234567890,"uri":"https://a/b c","none":null,"list":[1]}"#;
        for (places, expected) in [
            (&["/did"][..], Some("m_did:plc:a_b")),
            (&["/n"], Some("m_12345678901234567890")),
            (&["/uri"], Some("m_https:%2F%2Fa%2Fb%20c")),
            (&["/did", "/n"], Some("m_did:plc:a_b/12345678901234567890")),
            (&["/none", "/n"], Some("m_/12345678901234567890")),
            (&["/none"], None),
            (&["/list"], None),
        ] {
            assert_eq!(id(places, message).as_deref(), expected, "{places:?}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(300));
        assert!(id(&["/a"], &long).is_some_and(|id| id.len() < 50 && id.starts_with("m_~")));
    }

    proptest! {
        #[test]
        fn different_identities_have_different_ids(one in prop::array::uniform2("[a/%~_\u{e9}]{0,3}"), two in prop::array::uniform2("[a/%~_\u{e9}]{0,3}")) {
            let of = |[a, b]: &[String; 2]| id(&["/a", "/b"], &serde_json::json!({ "a": a, "b": b }).to_string());
            prop_assert_eq!(of(&one) == of(&two), one == two);
        }
    }
}
