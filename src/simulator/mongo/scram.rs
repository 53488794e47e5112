//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for users whose passwords are plain ASCII.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use hmac::{Hmac, Mac as _};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document};
use sha2::{Digest as _, Sha256};

const ROUNDS: u32 = 4096;
const SALT: &[u8] = b"a salt of sixteen";

/// A login that is under way.
pub(crate) struct Scram {
    salted: [u8; 32],
    /// What both sides have said without the proof.
    said: String,
    nonce: String,
    is_proven: bool,
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("invariant: a key may have any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn xor(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| one[at] ^ other[at])
}

/// The one block of PBKDF2 (RFC 8018) that this needs.
fn salted(password: &str) -> [u8; 32] {
    let mut last = hmac(password.as_bytes(), &[SALT, &[0, 0, 0, 1]].concat());
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = hmac(password.as_bytes(), &last);
        sum = xor(sum, last);
    }
    sum
}

fn payload(command: &Document) -> Option<String> {
    let Some(Bson::Binary(binary)) = command.get("payload") else { return None };
    String::from_utf8(binary.bytes.clone()).ok()
}

fn binary(text: String) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: text.into_bytes() })
}

fn part<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

impl Scram {
    /// The first message of somebody who may be known.
    pub(super) fn start(users: &BTreeMap<String, String>, command: &Document) -> Option<(Self, Bson)> {
        if command.get_str("mechanism").ok() != Some("SCRAM-SHA-256") {
            return None;
        }
        let first = payload(command)?;
        let bare = first.strip_prefix("n,,")?.to_owned();
        let password = users.get(part(&bare, "n")?)?;
        let nonce = format!("{}server", part(&bare, "r")?);
        let answer = format!("r={nonce},s={},i={ROUNDS}", BASE64.encode(SALT));
        let scram = Self { salted: salted(password), said: format!("{bare},{answer}"), nonce, is_proven: false };
        Some((scram, binary(answer)))
    }

    /// The proof, and then an empty message from those who want one more; with whether that is the end.
    pub(super) fn go_on(&mut self, command: &Document) -> Option<(Bson, bool)> {
        if self.is_proven {
            return Some((binary(String::new()), true));
        }
        let last = payload(command)?;
        let (bare, proof) = last.rsplit_once(",p=")?;
        if part(bare, "r")? != self.nonce {
            return None;
        }
        let said = format!("{},{bare}", self.said);
        let stored: [u8; 32] = Sha256::digest(hmac(&self.salted, b"Client Key")).into();
        let proof: [u8; 32] = BASE64.decode(proof.as_bytes()).ok()?.try_into().ok()?;
        let key = xor(proof, hmac(&stored, said.as_bytes()));
        if <[u8; 32]>::from(Sha256::digest(key)) != stored {
            return None;
        }
        self.is_proven = true;
        let own = hmac(&hmac(&self.salted, b"Server Key"), said.as_bytes());
        Some((binary(format!("v={}", BASE64.encode(&own))), true))
    }
}
