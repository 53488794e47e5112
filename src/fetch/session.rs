//! What a source and a site remember of each other while tapline runs: cookies, and what a server asked of a password.

use std::collections::BTreeSet;

use cookie_store::{CookieStore, RawCookie};
use digest_auth::{AuthContext, HttpMethod, WwwAuthenticateHeader};
use http::HeaderMap;
use http::Method;
use http::header::{COOKIE, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE};
use url::{Position, Url};

use crate::auth::Login;

/// More cookies than that are nobody's: browsers keep 180 for one site.
const COOKIES_MAX: usize = 200;
/// A longer one is not kept; RFC 6265 asks for 4096 bytes.
const COOKIE_BYTES_MAX: usize = 8192;
/// More than that is not saved: it is written again and again.
const SAVED_BYTES_MAX: usize = 64 << 10;

/// One source's session with the sites that it asks.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// `None` where the source takes no cookies.
    cookies: Option<CookieStore>,
    /// What the server asked last, with the count of answers to it.
    challenge: Option<WwwAuthenticateHeader>,
}

impl Session {
    pub(super) fn new(takes_cookies: bool) -> Self {
        Self { cookies: takes_cookies.then(CookieStore::default), challenge: None }
    }

    /// Adds the cookies of this URL to the headers of a request, behind those that the user wrote.
    pub(super) fn add_cookies(&self, url: &Url, headers: &mut HeaderMap) {
        let Some(cookies) = &self.cookies else { return };
        let kept = cookies.get_request_values(url).map(|(name, value)| format!("{name}={value}"));
        let own = headers.get(COOKIE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let all: Vec<String> = own.into_iter().chain(kept).collect();
        if let (false, Ok(mut value)) = (all.is_empty(), HeaderValue::from_str(&all.join("; "))) {
            value.set_sensitive(true);
            headers.insert(COOKIE, value);
        }
    }

    /// Keeps what an answer sets.
    pub(super) fn keep_cookies(&mut self, url: &Url, headers: &HeaderMap) {
        let Some(cookies) = &mut self.cookies else { return };
        let set = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let set = set.filter(|text| text.len() <= COOKIE_BYTES_MAX);
        let set: Vec<RawCookie<'static>> = set.filter_map(|text| RawCookie::parse(text.to_owned()).ok()).collect();
        if set.is_empty() {
            return;
        }
        cookies.store_response_cookies(set.into_iter(), url);
        if cookies.iter_any().count() > COOKIES_MAX {
            cookies.clear();
        }
    }

    /// The cookies that count now, as they can be taken up again, and a hash of their names and values. `None` where there are
    /// none, or more than a session has.
    pub(super) fn cookies(&self) -> Option<(blake3::Hash, Vec<u8>)> {
        let cookies = self.cookies.as_ref()?;
        // A set, because they come in any order.
        let shown = cookies
            .iter_unexpired()
            .map(|cookie| format!("{:?} {:?} {}={}\n", cookie.domain, cookie.path, cookie.name(), cookie.value()));
        let shown: BTreeSet<String> = shown.collect();
        let mut saved = Vec::new();
        cookie_store::serde::json::save_incl_expired_and_nonpersistent(cookies, &mut saved).ok()?;
        let mark = blake3::hash(shown.into_iter().collect::<String>().as_bytes());
        (cookies.iter_unexpired().next().is_some() && saved.len() <= SAVED_BYTES_MAX).then_some((mark, saved))
    }

    /// Takes up cookies that were saved, but for those that count no more. Whether there are any.
    pub(super) fn take_up(&mut self, saved: &[u8]) -> bool {
        let Some(cookies) = &mut self.cookies else { return false };
        // What cannot be read is as if it were not there.
        *cookies = cookie_store::serde::json::load(saved).unwrap_or_default();
        cookies.iter_unexpired().next().is_some()
    }

    /// Takes note of what a server asks with a 401; whether that is something new that can be answered.
    pub(super) fn challenged(&mut self, headers: &HeaderMap) -> bool {
        let asked = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut digest = asked.filter(|text| text.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("digest")));
        // Of several the first that is understood: servers put the strongest first (RFC 7616, 3.7).
        let challenge = digest.find_map(|text| digest_auth::parse(text).ok());
        let is_new = challenge.is_some();
        self.challenge = challenge.or(self.challenge.take());
        is_new
    }

    /// The answer to what the server asked last (RFC 7616), if it did.
    pub(super) fn answer(&mut self, login: &Login, method: &Method, url: &Url) -> Option<HeaderValue> {
        let challenge = self.challenge.as_mut()?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let method = HttpMethod(method.as_str().to_owned().into());
        let context =
            AuthContext::new_with_method(login.user.as_str(), login.password.as_str(), path, None::<&[u8]>, method);
        let answer = challenge.respond(&context).ok()?.to_header_string();
        let mut value = HeaderValue::from_str(&answer).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn set(session: &mut Session, at: &str, cookies: &[&str]) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie.parse().unwrap());
        }
        session.keep_cookies(&url(at), &headers);
    }

    fn sent(session: &Session, to: &str, own: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(own) = own {
            headers.insert(COOKIE, own.parse().unwrap());
        }
        session.add_cookies(&url(to), &mut headers);
        headers.get(COOKIE).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn cookies_go_back_to_where_they_came_from() {
        let mut session = Session::new(true);
        set(
            &mut session,
            "https://a.example.com/x/y",
            &["s=1; Path=/; Secure; HttpOnly", "p=2; Path=/x", "d=3; Domain=example.com"],
        );
        let all = sent(&session, "https://a.example.com/x/z", Some("own=0"));
        assert!(all.starts_with("own=0; ") && ["s=1", "p=2", "d=3"].iter().all(|cookie| all.contains(cookie)), "{all}");
        assert_eq!(sent(&session, "http://a.example.com/", None), "", "what is for https stays there, and paths count");
        assert_eq!(sent(&session, "https://evil.example.org/x/", None), "");
        set(&mut session, "https://a.example.com/x/y", &["s=; Path=/; Max-Age=0", "e=4; Domain=example.org"]);
        assert!(!sent(&session, "https://a.example.com/", None).contains("s="), "an end is an end");
        assert_eq!(sent(&session, "https://example.org/", None), "", "nobody sets another's");
        assert_eq!(sent(&Session::new(false), "https://a.example.com/", None), "");
    }

    #[test]
    fn cookies_are_saved_and_taken_up() {
        let mut session = Session::new(true);
        assert!(session.cookies().is_none(), "there are none");
        set(&mut session, "https://a.example/", &["s=1; Path=/; HttpOnly", "k=2; Max-Age=3600", "x=3; Max-Age=0"]);
        let (mark, saved) = session.cookies().unwrap();
        let mut again = Session::new(true);
        assert!(again.take_up(&saved));
        let all = sent(&again, "https://a.example/", None);
        assert!(all.contains("s=1") && all.contains("k=2") && !all.contains('x'), "those without an end too: {all}");
        assert_eq!(sent(&again, "https://b.example/", None), "");
        assert_eq!(again.cookies().unwrap().0, mark);
        set(&mut again, "https://a.example/", &["k=2; Max-Age=7200"]);
        assert_eq!(again.cookies().unwrap().0, mark, "it lasts longer, and is the same");
        set(&mut again, "https://a.example/", &["k=3; Max-Age=3600"]);
        assert_ne!(again.cookies().unwrap().0, mark);
        // One that has ended by now is none.
        let ended = String::from_utf8(saved).unwrap().replace("\"SessionEnd\"", "{\"AtUtc\":\"2020-01-01T00:00:00Z\"}");
        assert!(again.take_up(ended.as_bytes()));
        assert_eq!(sent(&again, "https://a.example/", None), "k=2");
        assert!(!again.take_up(b"nonsense") && sent(&again, "https://a.example/", None).is_empty());
        let long = "a".repeat(4000);
        for number in 0..20 {
            set(&mut again, "http://a.example/", &[&format!("c{number}={long}")]);
        }
        assert!(again.cookies().is_none(), "too much to be written again and again");
        assert!(!Session::new(false).take_up(b"[]"));
    }

    #[test]
    fn cookies_have_a_limit() {
        let mut session = Session::new(true);
        for number in 0..3 * COOKIES_MAX {
            set(&mut session, "http://a.example/", &[&format!("c{number}=1")]);
        }
        assert!(session.cookies.as_ref().unwrap().iter_any().count() <= COOKIES_MAX);
        set(&mut session, "http://b.example/", &[&format!("long={}", "a".repeat(COOKIE_BYTES_MAX))]);
        assert_eq!(sent(&session, "http://b.example/", None), "");
    }

    #[test]
    fn a_challenge_is_answered_and_counted() {
        let mut session = Session::new(false);
        let login = Login { user: "Mufasa".into(), password: "Circle of Life".into() };
        let page = url("http://example.org/dir/index.html?a=b#c");
        assert!(session.answer(&login, &Method::GET, &page).is_none(), "nobody has asked");
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        assert!(!session.challenged(&headers));
        let challenge = "Digest realm=\"r\", qop=\"auth\", algorithm=SHA-256, nonce=\"n\", opaque=\"o\"";
        headers.append(WWW_AUTHENTICATE, challenge.parse().unwrap());
        assert!(session.challenged(&headers));
        let answers = [1, 2].map(|_| session.answer(&login, &Method::GET, &page).unwrap());
        for (answer, count) in answers.iter().zip(["nc=00000001", "nc=00000002"]) {
            let text = answer.to_str().unwrap();
            assert!(answer.is_sensitive() && text.contains(count) && !text.contains("Circle"), "{text}");
            assert!(text.contains("uri=\"/dir/index.html?a=b\""), "{text}");
        }
    }
}
