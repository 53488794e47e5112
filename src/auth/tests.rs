//! Every published vector of OAuth 1.0a signatures, and what no vector covers.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use oauth1_request::signature_method::Sign;
use proptest::prelude::*;

use super::*;
use crate::context::{Clock, SystemClock};

/// The keys of X's own documentation, vectors 1 to 3, 9 and 10.
const X: [&str; 4] = [
    "xvz1evFS4wEEPTGEFPHBog",
    "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
    "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
    "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
];
const X_NONCE: &str = "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg";
const X_TIME: u64 = 1_318_622_958;
const STATUS: &[(&str, &str)] = &[("status", "Hello Ladies + Gentlemen, a signed OAuth request!")];

/// A signature method that keeps the base string instead of hashing it.
struct BaseString(String);

impl SignatureMethod for BaseString {
    type Sign = Self;

    fn sign_with(self, _: &str, _: Option<&str>) -> Self {
        self
    }
}

impl Sign for BaseString {
    type Signature = String;

    fn get_signature_method_name(&self) -> &'static str {
        "HMAC-SHA1"
    }

    fn request_method(&mut self, method: &str) {
        write!(self.0, "{method}&").unwrap();
    }

    fn uri<T: Display>(&mut self, uri: T) {
        write!(self.0, "{uri}&").unwrap();
    }

    fn parameter<V: Display>(&mut self, key: &str, value: V) {
        write!(self.0, "{key}%3D{value}").unwrap();
    }

    fn delimiter(&mut self) {
        self.0.push_str("%26");
    }

    fn end(self) -> String {
        self.0
    }
}

/// A published request.
struct Vector<'a> {
    method: Method,
    url: &'a str,
    form: &'a [(&'a str, &'a str)],
    /// Consumer key and secret, token and secret; empty where there is no token yet.
    keys: [&'a str; 4],
    options: Options<'a>,
}

impl Vector<'_> {
    fn with<M: SignatureMethod>(&self, signature_method: M) -> String {
        let [consumer_key, consumer_secret, token, token_secret] = self.keys;
        let form: Vec<_> = self.form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let token = (!token.is_empty()).then(|| Credentials::new(token, token_secret));
        let client = Credentials::new(consumer_key, consumer_secret);
        let url = self.url.parse().unwrap();
        authorization(&self.method, &url, &form, client, token, &self.options, signature_method)
    }

    /// The signature of the header, decoded.
    fn signature(&self) -> String {
        let header = self.with(HMAC_SHA1);
        let (_, signature) = header.rsplit_once("oauth_signature=\"").unwrap();
        String::from_utf8(decode(signature.trim_end_matches('"'))).unwrap()
    }

    fn base_string(&self) -> String {
        let header = self.with(BaseString(String::new()));
        header.rsplit_once("oauth_signature=\"").unwrap().1.trim_end_matches('"').to_owned()
    }
}

fn options(nonce: &str, time: u64, version: bool) -> Options<'_> {
    let mut options = Options::new();
    options.nonce(nonce).timestamp(NonZeroU64::new(time)).version(version);
    options
}

fn of_x<'a>(method: Method, url: &'a str, form: &'a [(&'a str, &'a str)]) -> Vector<'a> {
    Vector { method, url, form, keys: X, options: options(X_NONCE, X_TIME, true) }
}

#[test]
fn vectors_of_the_x_documentation_and_of_the_crate() {
    for (name, vector, expected) in [
        (
            "1",
            of_x(Method::POST, "https://api.x.com/1.1/statuses/update.json?include_entities=true", STATUS),
            "Ls93hJiZbQ3akF3HF3x1Bz8/zU4=",
        ),
        (
            "2",
            of_x(Method::POST, "https://api.twitter.com/1.1/statuses/update.json?include_entities=true", STATUS),
            "hCtSmYh+iHYCEqBWrE7C7hYmtUk=",
        ),
        (
            "3",
            of_x(Method::POST, "https://api.twitter.com/1/statuses/update.json?include_entities=true", STATUS),
            "tnnArxj06cWHq44gCs1OSKk/jLY=",
        ),
        (
            "9",
            of_x(Method::GET, "https://stream.twitter.com/1.1/statuses/sample.json?stall_warnings=true", &[]),
            "OGQqcy4l5xWBFX7t0DrkP5/D0rM=",
        ),
        (
            "10",
            of_x(Method::GET, "https://example.com/get.json?bar=%E9%85%92%E5%A0%B4&foo=ふー", &[]),
            "Xp35hf3T21yhpEuxez7p6bV62Bw=",
        ),
        (
            "without parameters",
            of_x(Method::POST, "https://example.com/post.json", &[]),
            "pN52L1gJ6sOyYOyv23cwfWFsIZc=",
        ),
    ] {
        assert_eq!(vector.signature(), expected, "vector {name}");
    }
}

#[test]
fn vectors_of_rfc_5849_and_of_oauth_core() {
    const CLIENT: [&str; 2] = ["dpf43f3p2l4k3l03", "kd94hf93k423kf44"];
    const PHOTOS: &str = "http://photos.example.net/photos?file=vacation.jpg&size=original";
    let keys = |token, secret| [CLIENT[0], CLIENT[1], token, secret];
    let mut with_callback = options("wIjqoS", 137_131_200, false);
    with_callback.callback("http://printer.example.com/ready");
    let mut with_verifier = options("walatlh", 137_131_201, false);
    with_verifier.verifier("hfdp7dh39dks9884");
    let vector = |method, url, keys, options| Vector { method, url, form: &[], keys, options };
    for (name, vector, expected) in [
        (
            "4",
            vector(Method::POST, "https://photos.example.net/initiate", keys("", ""), with_callback),
            "74KNZJeDHnMBp0EMJ9ZHt/XKycU=",
        ),
        (
            "5",
            vector(
                Method::POST,
                "https://photos.example.net/token",
                keys("hh5s93j4hdidpola", "hdhd0244k9j7ao03"),
                with_verifier,
            ),
            "gKgrFCywp7rO0OXSjdot/IHF7IU=",
        ),
        (
            "6",
            vector(
                Method::GET,
                PHOTOS,
                keys("nnch734d00sl2jdk", "pfkkdhi9sl3r4s00"),
                options("chapoH", 137_131_202, false),
            ),
            "MdpQcU8iPSUjWoN/UDMsK2sui9I=",
        ),
        (
            "7",
            vector(
                Method::GET,
                PHOTOS,
                keys("nnch734d00sl2jdk", "pfkkdhi9sl3r4s00"),
                options("kllo9940pd9333jh", 1_191_242_096, true),
            ),
            "tR3+Ty81lMeYAr/Fid0kMTYa/WM=",
        ),
    ] {
        assert_eq!(vector.signature(), expected, "vector {name}");
    }
}

/// Vector 8: a name twice, an encoded name, empty values, `+` and `%20`, encoded signs of encoding.
#[test]
fn the_parameter_set_of_rfc_5849() {
    let vector = Vector {
        method: Method::POST,
        url: "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b",
        form: &[("c2", ""), ("a3", "2 q")],
        keys: ["9djdj82h48djs9d2", "j49sk3j29djd", "kkk9d7dh3k39sjv7", "dh893hdasih9"],
        options: options("7d8f3e4a", 137_131_201, false),
    };
    assert_eq!(
        vector.base_string(),
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2\
         %3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth\
         _timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    );
    assert_eq!(vector.signature(), "r6/TJjbCOr97/+UU0NsvSne7s5g=");
}

/// A parameter of the user's that sorts between OAuth's own is signed in its place.
#[test]
fn parameters_stand_between_those_of_oauth() {
    let form = [("oauth_o", "1"), ("zz", "4"), ("oauth_z", "3"), ("oauth_p", "2"), ("ZZ", "0")];
    let base = of_x(Method::POST, "https://example.com/", &form).base_string();
    let names: Vec<&str> =
        base.rsplit('&').next().unwrap().split("%26").map(|pair| pair.split("%3D").next().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), 5 + 6);
}

#[test]
fn the_signed_address() {
    for (url, expected) in [
        ("HTTP://Example.COM:80/r%20v/X?id=123", "http://example.com/r%20v/X"),
        ("https://www.example.net:8080/?q=1#f", "https://www.example.net:8080/"),
        ("https://example.com:443", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://me:pw@example.com/a;b", "http://example.com/a;b"),
        ("http://[2001:DB8::1]:8080/a", "http://[2001:db8::1]:8080/a"),
        ("http://[::1]:80/", "http://[::1]/"),
    ] {
        assert_eq!(base_uri(&url.parse().unwrap()), expected);
    }
}

fn keys() -> Oauth1 {
    let [consumer_key, consumer_secret, token, token_secret] = X.map(str::to_owned);
    Oauth1 { consumer_key, consumer_secret, token, token_secret }
}

struct Stopped(i64);

impl Clock for Stopped {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0, 0).unwrap()
    }
}

#[test]
fn each_request_has_its_own_nonce_and_the_time() {
    let context = Context::new(Arc::new(Stopped(1_318_622_958)));
    let url = "https://example.com/".parse().unwrap();
    let headers: HashSet<String> = (0..100)
        .map(|_| keys().sign(&context, &Method::GET, &url, &[]).to_str().unwrap().to_owned())
        .inspect(|header| assert!(header.contains("oauth_timestamp=\"1318622958\""), "{header}"))
        .collect();
    assert_eq!(headers.len(), 100);
    let early = keys().sign(&Context::new(Arc::new(Stopped(-5))), &Method::GET, &url, &[]);
    assert!(early.to_str().unwrap().contains("oauth_timestamp=\"1\""), "the standard wants a positive number");
}

#[test]
fn no_secret_is_shown() {
    let context = Context::new(Arc::new(SystemClock));
    let header = keys().sign(&context, &Method::GET, &"https://example.com/".parse().unwrap(), &[]);
    let auth = Auth { oauth1: Some(keys()), ..Auth::default() };
    let shown = format!("{:?} {auth:?} {header:?}", keys());
    for secret in X {
        assert!(!shown.contains(secret), "{shown}");
    }
    let mut broken = keys();
    broken.token_secret.push('\n');
    broken.token.clear();
    let problems = Auth { oauth1: Some(broken), ..Auth::default() }.problems();
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.join(".")).collect();
    assert_eq!(paths, ["oauth1.token", "oauth1.token_secret"]);
    assert!(!format!("{problems:?}").contains(X[3]));
    assert_eq!(Auth::default().problems().len(), 1);
    assert_eq!(auth.problems(), []);
}

#[test]
fn unknown_keys_are_refused() {
    let read = |text| serde_json::from_str::<Auth>(text);
    assert!(read(r#"{"oauth1":{"consumer_key":"a","consumer_secret":"b","token":"c","token_secret":"d"}}"#).is_ok());
    assert!(read(r#"{"oauth1":{"consumer_key":"a","consumer_secret":"b","token":"c"}}"#).is_err());
    assert!(read(r#"{"oauth2":{}}"#).is_err());
}

proptest! {
    /// What is sent is what is signed: a query and a body with the same pairs give one list of parameters.
    #[test]
    fn a_body_reads_as_what_was_signed(form in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..6)) {
        let body = form_body(&form);
        let url: Url = format!("http://a/?{body}").parse().unwrap();
        let mut expected = parameters(&"http://a/".parse().unwrap(), &form);
        // An empty name with an empty value is `=`, and reads as itself.
        expected.sort();
        prop_assert_eq!(parameters(&url, &[]), expected);
    }

    #[test]
    fn any_address_is_signed(query in ".{0,40}", form in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..4)) {
        let mut url: Url = "https://example.com/a".parse().unwrap();
        url.set_query(Some(&query));
        let context = Context::new(Arc::new(SystemClock));
        prop_assert!(keys().sign(&context, &Method::POST, &url, &form).to_str().unwrap().starts_with("OAuth "));
    }

    #[test]
    fn encoding_is_undone_by_decoding(bytes: Vec<u8>) {
        prop_assert_eq!(decode(&encode(&bytes)), bytes);
    }
}
