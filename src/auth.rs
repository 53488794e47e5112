//! Proving to upstream who asks: passwords, bearers, OAuth 1.0a signatures, and bearers made of an application's two
//! keys.
//!
//! Everything here is pure but for [`Oauth1::sign`], which takes the time and a nonce from the [`Context`]. The
//! signature is that of RFC 5849, section 3.4, by the crate `oauth1-request`; what it leaves to its caller (decoding the
//! query, sorting, encoding the names) is done here.

mod bearer;
mod way;

use std::fmt;
use std::num::NonZeroU64;

use http::Method;
use http::header::HeaderValue;
use oauth1_request::serializer::Serializer;
use oauth1_request::serializer::auth::{Authorizer, Options};
use oauth1_request::signature_method::SignatureMethod;
use oauth1_request::{Credentials, HMAC_SHA1};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::bearer::{
    TOKEN_REQUEST_BODY, TOKEN_REQUEST_TYPE, TokenError, basic, basic_credential, explain_errors, read_token,
};
pub use self::way::{Auth, Bearer, Login};
use crate::context::Context;
use crate::source::Problem;

/// The four keys of OAuth 1.0a. Write them as `${NAME}` or `${file:…}`, so that they stand in no YAML.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth1 {
    /// The application's key, which X calls API key.
    pub consumer_key: String,
    /// The application's secret.
    pub consumer_secret: String,
    /// The user's access token.
    pub token: String,
    /// The access token's secret.
    pub token_secret: String,
}

/// No value is shown: two of them are secrets, and the other two say whose they are.
impl fmt::Debug for Oauth1 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Oauth1").finish_non_exhaustive()
    }
}

impl Oauth1 {
    /// What is wrong with the keys; paths begin at their own names.
    pub fn problems(&self) -> Vec<Problem> {
        let keys = [
            ("consumer_key", &self.consumer_key),
            ("consumer_secret", &self.consumer_secret),
            ("token", &self.token),
            ("token_secret", &self.token_secret),
        ];
        keys.into_iter().filter_map(|(name, value)| Some(Problem::new([name], key_problem(value)?))).collect()
    }

    /// The `Authorization` of one request: with the time now and a nonce that was never used before, so that it is made
    /// anew for every attempt, every redirect and every reconnect.
    ///
    /// Signed are the method, the address with its query, and `form`, the parameters of a body that is sent as
    /// [`form_body`] makes it, as `application/x-www-form-urlencoded`. Any other body is not part of the signature.
    pub fn sign(&self, context: &Context, method: &Method, url: &Url, form: &[(String, String)]) -> HeaderValue {
        // Clocks that stand before 1970 are wrong anyway, and upstream will say so.
        let now = u64::try_from(context.now().timestamp()).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN);
        let nonce = context.random_token();
        let mut options = Options::new();
        options.nonce(nonce.as_str()).timestamp(now).version(true);
        let token = Credentials::new(self.token.as_str(), self.token_secret.as_str());
        let client = Credentials::new(self.consumer_key.as_str(), self.consumer_secret.as_str());
        let text = authorization(method, url, form, client, Some(token), &options, HMAC_SHA1);
        let mut value = HeaderValue::from_str(&text).expect("invariant: what is percent-encoded is plain ASCII");
        value.set_sensitive(true);
        value
    }
}

/// Why a key cannot be right, without showing it.
fn key_problem(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        return Some("is empty; write the key, such as `${NAME}`");
    }
    value
        .contains(|letter: char| letter.is_whitespace() || letter.is_control())
        .then_some("has a blank or a line break in it; no key does")
}

/// The body that carries `form`, encoded exactly as it was signed: every byte but letters, digits and `-._~` is
/// `%XX`, a blank too.
///
/// ```
/// let form = [("track".to_owned(), "cats & dogs".to_owned())];
/// assert_eq!(tapline::auth::form_body(&form), "track=cats%20%26%20dogs");
/// ```
pub fn form_body(form: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encode(name.as_bytes()), encode(value.as_bytes()));
    form.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// The value of the header `Authorization`.
fn authorization<M: SignatureMethod>(
    method: &Method,
    url: &Url,
    form: &[(String, String)],
    client: Credentials<&str>,
    token: Option<Credentials<&str>>,
    options: &Options<'_>,
    signature_method: M,
) -> String {
    let mut serializer =
        Authorizer::authorization(method.as_str(), base_uri(url), client, token, options, signature_method);
    let mut parameters = parameters(url, form).into_iter().peekable();
    // The crate wants everything in the order of the signature (RFC 5849, 3.4.1.3.2), its own parameters included.
    for (name, append) in oauth_parameters::<M>() {
        while let Some((key, value)) = parameters.next_if(|(key, _)| key.as_str() < name) {
            append_parameter(&mut serializer, &key, &value);
        }
        append(&mut serializer);
    }
    for (key, value) in parameters {
        append_parameter(&mut serializer, &key, &value);
    }
    serializer.end()
}

type Append<'a, M> = fn(&mut Authorizer<'a, M>);

/// OAuth's own parameters, in order; each appends itself where the options have it.
fn oauth_parameters<'a, M: SignatureMethod>() -> [(&'static str, Append<'a, M>); 8] {
    [
        ("oauth_callback", Authorizer::serialize_oauth_callback),
        ("oauth_consumer_key", Authorizer::serialize_oauth_consumer_key),
        ("oauth_nonce", Authorizer::serialize_oauth_nonce),
        ("oauth_signature_method", Authorizer::serialize_oauth_signature_method),
        ("oauth_timestamp", Authorizer::serialize_oauth_timestamp),
        ("oauth_token", Authorizer::serialize_oauth_token),
        ("oauth_verifier", Authorizer::serialize_oauth_verifier),
        ("oauth_version", Authorizer::serialize_oauth_version),
    ]
}

/// The crate encodes an encoded value once more for the signature, but takes the name as it is: so the name gets its
/// second encoding here. The order of names stays the same by it.
fn append_parameter<M: SignatureMethod>(serializer: &mut Authorizer<'_, M>, key: &str, value: &str) {
    serializer.serialize_parameter_encoded(&encode(key.as_bytes()), value);
}

/// The address without query, fragment, name and password (RFC 5849, 3.4.1.2). Scheme and host are in lower case and a
/// default port is gone since the address was parsed.
fn base_uri(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// All that is signed beside OAuth's own parameters, encoded and in order.
fn parameters(url: &Url, form: &[(String, String)]) -> Vec<(String, String)> {
    let from_query = url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (encode(&decode(name)), encode(&decode(value)))
    });
    let from_form = form.iter().map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())));
    let mut all: Vec<_> = from_query.chain(from_form).collect();
    all.sort();
    all
}

/// Percent-encoding of RFC 5849, 3.6: everything but what RFC 3986 calls unreserved.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |four_bits: u8| char::from(DIGITS[usize::from(four_bits)]);
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    text
}

/// A name or value of a query as upstream reads it: `+` is a blank, `%XX` a byte. Bytes that are no text stay as they are.
fn decode(part: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (other, _) => *other,
        });
    }
    bytes
}

#[cfg(test)]
mod tests;
