//! The dictionary of compressed messages: read from a file, or fetched, and asked for by its number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use url::Url;

use super::settings::{DictionaryKeys, DictionaryMap};
use crate::context::{Context, shown_url};
use crate::fetch::{Answer, AskKeys, Failure, Manners, Robots, Timeout, plain_words};
use crate::units::{Size, Span};

/// The longest that is taken. Those that are in use have a tenth of a megabyte.
const BYTES_MAX: u64 = 4 << 20;

/// How long it is waited for: messages that come as they are come sooner.
const FETCH_MAX: Duration = Duration::from_secs(10);

/// What a dictionary begins with (RFC 8878, 5); its number stands behind it.
const MAGIC: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();

/// The dictionary of a source.
pub(super) struct Dictionary {
    keys: Option<DictionaryMap>,
    ask: AskKeys,
    held: Mutex<Option<Held>>,
}

/// A dictionary that is there.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) bytes: Arc<Vec<u8>>,
    /// By what messages are asked for that are compressed with it.
    pub(super) parameter: Option<(String, String)>,
}

impl Dictionary {
    /// # Errors
    /// When its file cannot be read, or has no number and is to be asked for by it.
    pub(super) fn new(keys: Option<&DictionaryKeys>, ask: &AskKeys) -> anyhow::Result<Self> {
        let keys = keys.map(|keys| keys.0.clone());
        let held = match &keys {
            Some(keys) if keys.address().is_none() => {
                let file = &keys.from;
                let bytes = std::fs::read(file).with_context(|| format!("the dictionary {file} cannot be read"))?;
                Some(Held::new(keys, bytes).map_err(|why| anyhow::anyhow!("the dictionary {file}: {why}"))?)
            }
            _ => None,
        };
        // Another site may have it: nothing that proves who asks goes there.
        let robots = Robots::Ignore("somebody has written down this one address, as that of the stream".to_owned());
        let ask = AskKeys {
            user_agent: ask.user_agent.clone(),
            proxy: ask.proxy.clone(),
            tls_verify: ask.tls_verify,
            redirects: ask.redirects,
            timeout: Timeout { total: Span(ask.timeout.total.0.min(FETCH_MAX)), ..ask.timeout },
            max_body: Size(BYTES_MAX),
            cookies: false,
            manners: Manners { robots, ..ask.manners.clone() },
            ..AskKeys::default()
        };
        Ok(Self { keys, ask, held: Mutex::new(held) })
    }

    /// Whether compressed messages come only if they are asked for.
    pub(super) fn is_asked_for(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.query.is_some())
    }

    /// The dictionary, fetched where it is not here yet; `None` where there is to be none.
    ///
    /// # Errors
    /// In words, when it cannot be had.
    pub(super) async fn held(&self, context: &Context) -> Result<Option<Held>, String> {
        let held = self.lock().clone();
        if held.is_some() { Ok(held) } else { self.anew(context).await }
    }

    /// The dictionary as it is now.
    ///
    /// # Errors
    /// In words, when it cannot be had.
    pub(super) async fn anew(&self, context: &Context) -> Result<Option<Held>, String> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let Some(address) = keys.address() else { return Ok(self.lock().clone()) };
        let address = address?;
        let held = Held::new(keys, self.fetched(&address, context).await?);
        let held = held.map_err(|why| format!("{}: {why}", shown_url(&address)))?;
        *self.lock() = Some(held.clone());
        Ok(Some(held))
    }

    async fn fetched(&self, address: &Url, context: &Context) -> Result<Vec<u8>, String> {
        let request =
            self.ask.request(Ok(address.clone()), HeaderValue::from_static("*/*"), &|text| Ok(text.to_owned()));
        let request = request.map_err(|_| "the dictionary cannot be asked for".to_owned())?;
        let fetcher = self.ask.fetcher(context, Some(address));
        let mut fetcher = fetcher.map_err(|error| format!("the dictionary cannot be asked for: {error:#}"))?;
        match fetcher.fetch(&request, None).await {
            Ok(Answer::Page(body)) if body.bytes.starts_with(&MAGIC) => Ok(body.bytes),
            Ok(Answer::Page(_)) => Err(format!("what {} brings is no dictionary of zstd", shown_url(address))),
            Ok(Answer::Refused(status, _)) => Err(format!("the dictionary at {} answers {status}", shown_url(address))),
            Ok(Answer::NotModified { .. }) => Err("the dictionary was not asked for so".to_owned()),
            Err(Failure::Lost(cause) | Failure::Forbidden(cause) | Failure::Resting { cause, .. }) => {
                Err(format!("there is no dictionary: {}", plain_words(&format!("{cause:#}"))))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(keys: &DictionaryMap, bytes: Vec<u8>) -> Result<Self, String> {
        let parameter = match (&keys.query, &keys.value) {
            (None, _) => None,
            (Some(name), Some(value)) => Some((name.clone(), value.clone())),
            (Some(name), None) => {
                let number = number(&bytes).ok_or("it has no number by which it could be asked for; write `value`")?;
                Some((name.clone(), number.to_string()))
            }
        };
        Ok(Self { bytes: Arc::new(bytes), parameter })
    }
}

/// The number of a dictionary; one that was not trained has none.
fn number(dictionary: &[u8]) -> Option<u32> {
    let number = dictionary.strip_prefix(&MAGIC)?.first_chunk()?;
    Some(u32::from_le_bytes(*number)).filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_asked_for_by_its_number_or_by_a_word() {
        let keys = |query: Option<&str>, value: Option<&str>| DictionaryMap {
            from: "f".into(),
            query: query.map(Into::into),
            value: value.map(Into::into),
        };
        let trained = [&MAGIC[..], &1_612_007_021_u32.to_le_bytes(), b"tables"].concat();
        let asked = |keys: &DictionaryMap, bytes: &[u8]| {
            Held::new(keys, bytes.to_vec()).map(|held| held.parameter.map(|(name, value)| format!("{name}={value}")))
        };
        assert_eq!(asked(&keys(None, None), b"words"), Ok(None));
        assert_eq!(asked(&keys(Some("compress"), Some("true")), b"words"), Ok(Some("compress=true".into())));
        assert_eq!(asked(&keys(Some("d"), None), &trained), Ok(Some("d=1612007021".into())));
        assert!(asked(&keys(Some("d"), None), b"words").unwrap_err().contains("no number"));
        assert!(asked(&keys(Some("d"), None), &trained[..6]).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let keys = DictionaryKeys(DictionaryMap { from: "/nowhere".into(), query: None, value: None });
        assert!(Dictionary::new(Some(&keys), &AskKeys::default()).is_err());
        assert!(Dictionary::new(None, &AskKeys::default()).is_ok());
    }
}
