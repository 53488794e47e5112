//! What is secret and has to outlast a restart, such as a session of a login, enclosed for the commit log.
//!
//! The files of the data folder may be read by their group, and are copied into backups. Whoever reads them learns nothing of
//! what is enclosed without the key, which is in a file that its owner alone may read.

use std::sync::OnceLock;

use anyhow::anyhow;
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// How long a key is.
pub const KEY_BYTES: usize = 32;

/// A key.
pub type Key = [u8; KEY_BYTES];

type Source = Box<dyn Fn() -> anyhow::Result<Key> + Send + Sync>;

/// Encloses what is secret, for all who share a context.
#[derive(Default)]
pub struct Seals {
    source: OnceLock<Source>,
    /// `None` where it could not be had, which is said once.
    key: OnceLock<Option<LessSafeKey>>,
}

impl Seals {
    /// Where the key comes from, once one is needed. Where nobody says that, nothing is kept.
    pub fn set_source(&self, source: impl Fn() -> anyhow::Result<Key> + Send + Sync + 'static) {
        // It is said once, by the command.
        self.source.set(Box::new(source)).ok();
    }

    fn key(&self) -> Option<&LessSafeKey> {
        let make = || {
            let key = self.source.get()?().and_then(|key| {
                let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| anyhow!("it is not a key"))?;
                Ok(LessSafeKey::new(key))
            });
            let said = |error: &anyhow::Error| {
                tracing::warn!(
                    "sessions of logins do not outlast a restart, because there is no key for them: {error:#}"
                );
            };
            key.inspect_err(said).ok()
        };
        self.key.get_or_init(make).as_ref()
    }

    /// Encloses something. `about` says what it is: it opens for the same alone. `random` never comes twice.
    pub fn seal(&self, what: &[u8], about: &str, random: &str) -> Option<String> {
        let random = HEXLOWER.decode(random.as_bytes()).ok()?;
        let nonce: [u8; NONCE_LEN] = random.get(..NONCE_LEN)?.try_into().ok()?;
        let mut sealed = what.to_vec();
        let about = Aad::from(about.as_bytes());
        self.key()?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), about, &mut sealed).ok()?;
        Some(BASE64_NOPAD.encode(&[&nonce[..], &sealed].concat()))
    }

    /// What was enclosed, if it was by this key and is about this.
    pub fn open(&self, sealed: &str, about: &str) -> Option<Vec<u8>> {
        let mut sealed = BASE64_NOPAD.decode(sealed.as_bytes()).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(sealed.get(..NONCE_LEN)?).ok()?;
        let about = Aad::from(about.as_bytes());
        self.key()?.open_within(nonce, about, &mut sealed, NONCE_LEN..).ok().map(|opened| opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(key: u8) -> Seals {
        let seals = Seals::default();
        seals.set_source(move || Ok([key; KEY_BYTES]));
        seals
    }

    #[test]
    fn it_opens_for_whom_it_is_and_nobody_else() {
        let random = "00112233445566778899aabbccddeeff";
        let sealed = seals(1).seal(b"sid=1", "news", random).unwrap();
        assert!(!sealed.contains("sid") && !BASE64_NOPAD.decode(sealed.as_bytes()).unwrap().starts_with(b"sid"));
        assert_eq!(seals(1).open(&sealed, "news").as_deref(), Some(&b"sid=1"[..]));
        assert_eq!(seals(2).open(&sealed, "news"), None, "another key");
        assert_eq!(seals(1).open(&sealed, "other"), None, "about something else");
        let mut bytes = BASE64_NOPAD.decode(sealed.as_bytes()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(seals(1).open(&BASE64_NOPAD.encode(&bytes), "news"), None, "a bit has flipped");
        for torn in ["", "AAAA", "!", &sealed[..20]] {
            assert_eq!(seals(1).open(torn, "news"), None, "{torn}");
        }
        assert_eq!(Seals::default().seal(b"sid=1", "news", random), None, "nobody keeps anything here");
        let failing = Seals::default();
        failing.set_source(|| Err(anyhow!("no room")));
        assert_eq!(failing.seal(b"sid=1", "news", random), None);
    }
}
