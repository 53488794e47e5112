//! Checking of requests that are signed with OAuth 1.0a (RFC 5849, HMAC-SHA1), from nothing but the request.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXUPPER};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

use super::server::Request;

/// Who may sign.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The app.
    pub consumer_key: String,
    /// Its secret.
    pub consumer_secret: String,
    /// The account.
    pub token: String,
    /// Its secret.
    pub token_secret: String,
}

/// The parameters of the `Authorization` header, after its signature was found to be right.
///
/// # Errors
/// In words, when it is not.
pub fn check(request: &Request, keys: &Keys) -> Result<BTreeMap<String, String>, String> {
    let header = request.header("authorization").ok_or("the request is not signed")?;
    let given = given(header.strip_prefix("OAuth ").ok_or("the request is not signed with OAuth 1.0a")?)?;
    let get = |name: &str| given.get(name).map(String::as_str).ok_or(format!("{name} is missing"));
    if get("oauth_consumer_key")? != keys.consumer_key || get("oauth_token")? != keys.token {
        return Err("the key or the token is not known".into());
    }
    if get("oauth_signature_method")? != "HMAC-SHA1" {
        return Err("only HMAC-SHA1 is known".into());
    }
    get("oauth_nonce")?;
    get("oauth_timestamp")?.parse::<i64>().map_err(|_| "oauth_timestamp is not a number of seconds")?;
    let base = base(request, &given)?;
    let secret = format!("{}&{}", coded(keys.consumer_secret.as_bytes()), coded(keys.token_secret.as_bytes()));
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
    mac.update(base.as_bytes());
    if get("oauth_signature")? == BASE64.encode(&mac.finalize().into_bytes()) {
        Ok(given)
    } else {
        Err(format!("the signature is not that of {base}"))
    }
}

fn given(parameters: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = parameters.split(',').map(|pair| {
        let (name, value) = pair.trim().split_once('=').ok_or("a parameter of Authorization has no value")?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Ok((text(name)?, text(value.ok_or("a parameter of Authorization is not in quotes")?)?))
    });
    pairs.collect()
}

/// What is signed (RFC 5849, section 3.4.1): method, address, and every parameter sorted.
fn base(request: &Request, given: &BTreeMap<String, String>) -> Result<String, String> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut pairs = coded_pairs(query)?;
    let is_form =
        request.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if is_form {
        pairs.extend(coded_pairs(std::str::from_utf8(&request.body).map_err(|error| error.to_string())?)?);
    }
    let own = given.iter().filter(|(name, _)| !["oauth_signature", "realm"].contains(&name.as_str()));
    pairs.extend(own.map(|(name, value)| (coded(name.as_bytes()), coded(value.as_bytes()))));
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let host = request.header("host").ok_or("there is no Host")?.to_lowercase();
    let address = format!("http://{}{path}", host.strip_suffix(":80").unwrap_or(&host));
    Ok(format!("{}&{}&{}", request.method, coded(address.as_bytes()), coded(pairs.join("&").as_bytes())))
}

fn coded_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((coded(&plain(&name.replace('+', " "))?), coded(&plain(&value.replace('+', " "))?)))
    });
    pairs.collect()
}

/// RFC 3986: everything but letters, digits and four signs.
fn coded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            other => text.extend(["%", &HEXUPPER.encode(&[*other])]),
        }
    }
    text
}

fn plain(text: &str) -> Result<Vec<u8>, String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.ok_or(format!("% without two digits in {text}"))?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

fn text(coded: &str) -> Result<String, String> {
    String::from_utf8(plain(coded)?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5849, section 1.2: the request for a photo, as it stands there.
    #[test]
    fn the_example_of_the_rfc_is_right_and_a_changed_one_wrong() {
        let keys = Keys {
            consumer_key: "dpf43f3p2l4k3l03".into(),
            consumer_secret: "kd94hf93k423kf44".into(),
            token: "nnch734d00sl2jdk".into(),
            token_secret: "pfkkdhi9sl3r4s00".into(),
        };
        let proof = "OAuth realm=\"Photos\", oauth_consumer_key=\"dpf43f3p2l4k3l03\", oauth_token=\"nnch734d00sl2jdk\", \
                     oauth_signature_method=\"HMAC-SHA1\", oauth_timestamp=\"137131202\", oauth_nonce=\"chapoH\", \
                     oauth_signature=\"MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D\"";
        let request = |path: &str| Request {
            number: 1,
            connection: 1,
            method: "GET".into(),
            path: path.into(),
            headers: vec![("host".into(), "photos.example.net:80".into()), ("authorization".into(), proof.into())],
            body: Vec::new(),
        };
        assert_eq!(check(&request("/photos?file=vacation.jpg&size=original"), &keys).unwrap()["oauth_nonce"], "chapoH");
        let wrong = check(&request("/photos?file=vacation.jpg&size=small"), &keys).unwrap_err();
        assert!(wrong.contains("size%3Dsmall"), "{wrong}");
        let other = Keys { token_secret: "x".into(), ..keys };
        assert!(check(&request("/photos?file=vacation.jpg&size=original"), &other).is_err());
    }
}
