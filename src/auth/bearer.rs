//! A bearer made of an application's key and secret: the request's parts and the reading of its answer, without the
//! network. Facts from X's pages on application-only authentication.

use data_encoding::BASE64;
use http::StatusCode;
use http::header::HeaderValue;
use serde::Deserialize;

use super::encode;

/// The body of the request for a token, exactly.
pub const TOKEN_REQUEST_BODY: &str = "grant_type=client_credentials";
/// The `Content-Type` that goes with it.
pub const TOKEN_REQUEST_TYPE: &str = "application/x-www-form-urlencoded;charset=UTF-8";
/// The longest token that is believed, in bytes. It goes into a header of every request.
const TOKEN_BYTES_MAX: usize = 4096;
/// The most of upstream's own words that is repeated, in characters.
const WORDS_MAX: usize = 200;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Upstream does not take these keys: asking again with them cannot help.
    #[error("keys_refused: {0}")]
    Refused(String),
    /// The answer is no token for another reason: asking later may help.
    #[error("no_token: {0}")]
    Unclear(String),
}

/// The `Authorization` that a user and a password make (RFC 7617).
pub fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()));
    let mut value = HeaderValue::from_str(&text).expect("invariant: base64 is plain ASCII");
    value.set_sensitive(true);
    value
}

/// The `Authorization` of the request for a token: `Basic` and both keys, each percent-encoded first.
pub fn basic_credential(consumer_key: &str, consumer_secret: &str) -> HeaderValue {
    basic(&encode(consumer_key.as_bytes()), &encode(consumer_secret.as_bytes()))
}

/// The token of an answer. It is sent back as it stands: what looks like percent-encoding in it belongs to it.
///
/// # Errors
/// When the answer brings none; what the answer says beside its errors is not shown, because it may hold the token.
pub fn read_token(status: StatusCode, body: &[u8]) -> Result<String, TokenError> {
    #[derive(Deserialize)]
    struct Answer {
        token_type: String,
        access_token: String,
    }
    if !status.is_success() {
        let words = explain_errors(body).unwrap_or_else(|| "and gives no reason".into());
        let message = format!("the request for a token was answered with {} {words}", status.as_u16());
        let for_good = matches!(status.as_u16(), 400 | 401 | 403);
        return Err(if for_good { TokenError::Refused(message) } else { TokenError::Unclear(message) });
    }
    let unclear = |message: &str| Err(TokenError::Unclear(message.into()));
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return unclear("the answer to the request for a token is not `token_type` and `access_token` in JSON");
    };
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return unclear("the answer to the request for a token brings another type of token than `bearer`");
    }
    let is_token =
        |token: &str| (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(&answer.access_token) {
        return unclear("the answer to the request for a token brings one that no header can carry");
    }
    Ok(answer.access_token)
}

/// What the errors of an answer mean, in words: `{"errors":[{"code":99,"message":"…"}]}`. `None` when it has none.
pub fn explain_errors(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: Option<u64>,
        message: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let entry = answer.errors.into_iter().next()?;
    let own_words: String = entry.message.unwrap_or_default().chars().take(WORDS_MAX).collect();
    let meaning = match entry.code {
        Some(99) => "the consumer key or the consumer secret is wrong, or the request was malformed",
        Some(89) => "the token is not valid, or was withdrawn; make a new one",
        Some(220) => "this way of proving who asks is not accepted here; another one is needed, such as a user's keys",
        Some(32) => "the signature or a key is wrong; compare all four keys",
        Some(135) => "the time of the signature is too far from upstream's; set this machine's clock",
        _ => "",
    };
    let code = entry.code.map(|code| format!("code {code}")).unwrap_or_default();
    let own_words = if own_words.is_empty() { own_words } else { format!("\"{}\"", own_words.escape_debug()) };
    let said = [code, own_words].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    match (said.is_empty(), meaning.is_empty()) {
        (true, _) => None,
        (false, true) => Some(format!("({said})")),
        (false, false) => Some(format!("({said}): {meaning}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_published_credential() {
        let value = basic_credential("xvz1evFS4wEEPTGEFPHBog", "L8qq9PZyRg6ieKGEKhZolGC0vJWLw8iEJ88DRdyOg");
        assert_eq!(
            value.to_str().unwrap(),
            "Basic eHZ6MWV2RlM0d0VFUFRHRUZQSEJvZzpMOHFxOVBaeVJnNmllS0dFS2hab2xHQzB2SldMdzhpRUo4OERSZHlPZw=="
        );
        assert!(value.is_sensitive() && !format!("{value:?}").contains("eHZ"));
        let coded = basic_credential("a:b", "c d");
        assert_eq!(BASE64.decode(&coded.as_bytes()["Basic ".len()..]).unwrap(), b"a%3Ab:c%20d");
    }

    #[test]
    fn a_token_is_taken_verbatim() {
        let body = br#"{"token_type":"bearer","access_token":"AAAA%2FAAA%3DAAAA"}"#;
        assert_eq!(read_token(StatusCode::OK, body).unwrap(), "AAAA%2FAAA%3DAAAA");
        for body in [
            r#"{"token_type":"mac","access_token":"SECRET"}"#,
            r#"{"access_token":"SECRET"}"#,
            r#"{"token_type":"bearer","access_token":"SECRET\r\nHost: x"}"#,
            r#"{"token_type":"bearer","access_token":""}"#,
            "<html>SECRET",
        ] {
            let error = read_token(StatusCode::OK, body.as_bytes()).unwrap_err();
            assert!(matches!(error, TokenError::Unclear(_)), "{error}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn refusals_in_words() {
        let body = br#"{"errors":[{"code":99,"label":"authenticity_token_error","message":"Unable to verify your credentials"}]}"#;
        let error = read_token(StatusCode::FORBIDDEN, body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "keys_refused: the request for a token was answered with 403 (code 99 \"Unable to verify your \
             credentials\"): the consumer key or the consumer secret is wrong, or the request was malformed"
        );
        let later = read_token(StatusCode::SERVICE_UNAVAILABLE, b"<html>").unwrap_err();
        assert!(matches!(later, TokenError::Unclear(_)), "{later}");
        let words = |body: &str| explain_errors(body.as_bytes());
        assert!(
            words(r#"{"errors":[{"message":"Invalid or expired token","code":89}]}"#).unwrap().contains("withdrawn")
        );
        assert!(words(r#"{"errors":[{"code":220}]}"#).unwrap().contains("not accepted here"));
        assert_eq!(words(r#"{"errors":[{"code":7,"message":"a\u001b[2J"}]}"#).unwrap(), "(code 7 \"a\\u{1b}[2J\")");
        for nothing in ["", "{}", "null", r#"{"errors":[]}"#, r#"{"errors":[{}]}"#, "<html>"] {
            assert_eq!(words(nothing), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(status in 100_u16..600, body: Vec<u8>) {
            read_token(StatusCode::from_u16(status).unwrap(), &body).ok();
        }
    }
}
