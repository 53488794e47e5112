//! How something is asked for, as the file of any source that fetches may say it: checked, and made into a request.

mod body;
mod forms;

use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::body::{BodyKeys, MethodName};
pub use self::forms::{ProxyUrl, Timeout};
use super::{Fetcher, Manners, Request};
use crate::auth::Auth;
use crate::context::{Context, HttpOptions};
use crate::source::Problem;
use crate::units::Size;
use crate::words::Words;

/// What tapline calls itself.
pub const USER_AGENT: &str = concat!("tapline/", env!("CARGO_PKG_VERSION"));
/// Headers that belong to the connection or to tapline itself.
const HEADERS_RESERVED: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-modified-since",
    "if-none-match",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What becomes of a text with placeholders.
pub type Fill<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// The keys of a source's file that say how it asks.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskKeys {
    /// How the page is asked for: `GET`, the default without a body, `POST`, the default with one, or `PUT`.
    pub method: Option<MethodName>,
    /// Parameters that are added to the address, by name: `{ limit: 100, tag: [a, b] }`. They are encoded, and several values are
    /// several parameters of one name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Words>,
    /// What is sent along: `{ form: { … } }`, `{ json: … }` or `{ text: "…", type: "text/plain" }`.
    pub body: Option<BodyKeys>,
    /// Headers sent with the request, by name. Those that could be keys are not sent to another site on a redirect.
    pub headers: BTreeMap<String, String>,
    /// Proves who asks: `{ basic: { user, password } }`, `{ bearer: "${TOKEN}" }`, `{ digest: { user, password } }` or
    /// `{ oauth1: { consumer_key, consumer_secret, token, token_secret } }`. To another site nothing of it is sent.
    pub auth: Option<Auth>,
    /// What the source calls itself; `tapline/` and the version by default. A site's owner should be able to see who
    /// asks: add an address where you can be reached.
    pub user_agent: Option<String>,
    /// Whether cookies that sites set are sent back to them. They are this source's own, and forgotten at its end, unless there
    /// is a `login`. `true` by default.
    pub cookies: bool,
    /// Goes through this proxy, such as `http://user:${PASSWORD}@proxy:3128` or `socks5h://127.0.0.1:1080`.
    pub proxy: Option<ProxyUrl>,
    /// Whether the site's certificate is checked. With `false` anybody in between can read and change everything, which is
    /// said at each start. `true` by default.
    pub tls_verify: bool,
    /// How long a fetch may take: `30s` in all, or `{ connect: 10s, total: 30s }`, which is the default.
    pub timeout: Timeout,
    /// The most bytes of a page, before and after decoding.
    pub max_body: Size,
    /// How many redirects are followed. A redirect from https to http never is.
    #[schemars(range(max = 20))]
    pub redirects: u8,
    /// How the source behaves towards the sites that it asks: robots.txt, how often, how much at once.
    pub manners: Manners,
}

impl Default for AskKeys {
    fn default() -> Self {
        Self {
            method: None,
            query: BTreeMap::new(),
            body: None,
            headers: BTreeMap::new(),
            auth: None,
            user_agent: None,
            cookies: true,
            proxy: None,
            tls_verify: true,
            timeout: Timeout::default(),
            max_body: Size(8 << 20),
            redirects: 5,
            manners: Manners::default(),
        }
    }
}

impl AskKeys {
    /// Who asks, for as long as the source runs. `site` is where, as far as that is known: it is named when its
    /// certificate is not checked.
    ///
    /// # Errors
    /// When the machine has no usable certificate store, or the proxy cannot be used.
    pub fn fetcher(&self, context: &Context, site: Option<&Url>) -> anyhow::Result<Fetcher> {
        self.fetcher_over(context, site, false)
    }

    /// The same, over connections that can become websockets.
    ///
    /// # Errors
    /// As [`fetcher`](Self::fetcher).
    pub fn fetcher_of_websockets(&self, context: &Context, site: Option<&Url>) -> anyhow::Result<Fetcher> {
        self.fetcher_over(context, site, true)
    }

    fn fetcher_over(&self, context: &Context, site: Option<&Url>, only_http1: bool) -> anyhow::Result<Fetcher> {
        if !self.tls_verify {
            let site = site.map(|url| url.origin().ascii_serialization()).unwrap_or_default();
            tracing::warn!(%site, "the certificate is not checked (tls_verify: false): anybody in between can read and change everything");
        }
        let proxy = self.proxy.as_ref().map(|proxy| proxy.0.clone());
        let options =
            HttpOptions { connect_timeout: self.timeout.connect.0, proxy, unverified: !self.tls_verify, only_http1 };
        Ok(Fetcher::new(context.http(options)?, context, self.manners.clone(), self.cookies))
    }

    /// The texts that may have placeholders.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.headers.values().map(String::as_str).collect();
        texts.extend(self.query.values().flat_map(|words| &words.0).map(String::as_str));
        self.body.iter().for_each(|body| body.texts(&mut texts));
        texts
    }

    /// The request for this address, with what `fill` makes of each text. `accept` is what is asked for, where the file does
    /// not say.
    ///
    /// # Errors
    /// Everything that is wrong with these keys, and with the address.
    pub fn request(
        &self,
        url: Result<Url, String>,
        accept: HeaderValue,
        fill: &Fill<'_>,
    ) -> Result<Request, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut url = url.map_err(|message| problems.push(Problem::new(["url"], message))).ok();
        self.add_query(url.as_mut(), fill, &mut problems);
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            match fill(value).and_then(|value| header(name, &value)) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(message) => problems.push(Problem::new(["headers", name], message)),
            }
        }
        problems.extend(self.auth_problems());
        problems.extend(self.manners.problems());
        let user_agent = HeaderValue::from_str(self.user_agent.as_deref().unwrap_or(USER_AGENT));
        if user_agent.is_err() {
            problems.push(Problem::new(["user_agent"], "a user agent is one line of plain text"));
        }
        problems.extend(self.limit_problems());
        let payload = self.body.as_ref().map(|body| body.payload(fill)).transpose();
        let payload = payload.map_err(|message| problems.push(Problem::new(["body"], message))).unwrap_or_default();
        let default = if payload.is_some() { MethodName::Post } else { MethodName::Get };
        let method = self.method.unwrap_or(default);
        if payload.is_some() && method == MethodName::Get {
            problems.push(Problem::new(["method"], "GET has no body; write POST, or put it into the address"));
        }
        match (url, user_agent) {
            (Some(url), Ok(user_agent)) if problems.is_empty() => Ok(Request {
                method: method.into(),
                url,
                payload,
                headers,
                auth: self.auth.clone(),
                user_agent,
                accept,
                total: self.timeout.total.0,
                body_max: self.max_body.0,
                redirects_max: self.redirects.into(),
            }),
            _ => Err(problems),
        }
    }

    /// Adds the parameters of `query` to the address.
    fn add_query(&self, url: Option<&mut Url>, fill: &Fill<'_>, problems: &mut Vec<Problem>) {
        let mut pairs = Vec::new();
        for (name, value) in self.query.iter().flat_map(|(name, words)| words.0.iter().map(move |word| (name, word))) {
            match fill(value) {
                Ok(value) => pairs.push((name, value)),
                Err(message) => problems.push(Problem::new(["query", name], message)),
            }
        }
        // Touching an address without parameters would give it an empty query.
        if let (Some(url), false) = (url, pairs.is_empty()) {
            url.query_pairs_mut().extend_pairs(pairs);
        }
    }

    fn limit_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.timeout.connect.0.is_zero() || self.timeout.total.0.is_zero() {
            problems.push(Problem::new(["timeout"], "a time-out of nothing would let no page come"));
        }
        if self.max_body.0 == 0 {
            problems.push(Problem::new(["max_body"], "a limit of nothing would let no page come"));
        }
        problems
    }

    fn auth_problems(&self) -> Vec<Problem> {
        let Some(auth) = &self.auth else { return Vec::new() };
        let mut problems = auth.problems();
        for problem in &mut problems {
            problem.path.insert(0, "auth".into());
        }
        let other = self.headers.keys().find(|name| name.eq_ignore_ascii_case("authorization"));
        problems.extend(other.map(|name| Problem::new(["headers", name], "`auth` makes it; write one of the two")));
        problems
    }
}

/// The page's address, checked. What is wrong is said without showing it, because it may hold a secret.
///
/// # Errors
/// In words, when it is no address that is fetched.
pub fn page_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("not a URL ({error}); write it whole, such as https://example.com/page"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}:` is not fetched; write an address with https: or http:", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a name and password in an address would be shown; write them as `auth: { basic: { user, password } }`"
                .into(),
        );
    }
    Ok(url)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let lower = name.to_ascii_lowercase();
    if lower == "user-agent" {
        return Err("write it as `user_agent`".into());
    }
    if HEADERS_RESERVED.contains(&lower.as_str()) {
        return Err(format!("`{lower}` is set by tapline itself; leave it out"));
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not a header's name; write letters and hyphens")?;
    // The value may be a secret, so it is not shown.
    let mut value = HeaderValue::from_str(value).map_err(|_| "a header's value is one line of plain text")?;
    value.set_sensitive(true);
    Ok((name, value))
}
