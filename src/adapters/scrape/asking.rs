//! The part of the settings that is about asking for the page, checked and made into a request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::DateTime;
use chrono_tz::Tz;
use encoding_rs::Encoding;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use url::Url;

use super::Scrape;
use super::paging::Paging;
use super::placeholder::{Filled, Names, Values};
use crate::auth;
use crate::context::{Context, HttpOptions};
use crate::fetch::{Fetcher, Payload, Request};
use crate::source::Problem;

/// What is asked for.
const ACCEPT: HeaderValue = HeaderValue::from_static("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
/// What tapline calls itself.
pub(super) const USER_AGENT: &str = concat!("tapline/", env!("CARGO_PKG_VERSION"));
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

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum MethodName {
    /// Without a body.
    Get,
    /// With a body, as forms and queries are sent.
    Post,
    /// With a body; few sites want it.
    Put,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Get => Self::GET,
            MethodName::Post => Self::POST,
            MethodName::Put => Self::PUT,
        }
    }
}

/// What is sent along: one of `form`, `json` and `text`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BodyKeys {
    /// Parameters, sent as a form is.
    pub form: Option<BTreeMap<String, String>>,
    /// A value, sent as JSON.
    pub json: Option<Value>,
    /// A text, sent as it is.
    pub text: Option<String>,
    /// The `Content-Type` of `text`; `text/plain; charset=utf-8` by default.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
}

impl BodyKeys {
    /// Its texts that may have placeholders.
    fn texts<'a>(&'a self, texts: &mut Vec<&'a str>) {
        texts.extend(self.form.iter().flat_map(BTreeMap::values).map(String::as_str));
        texts.extend(self.text.as_deref());
        self.json.iter().for_each(|json| json_texts(json, texts));
    }

    /// What is sent, with each of its texts as `fill` makes it.
    fn payload(&self, fill: &dyn Fn(&str) -> Result<String, String>) -> Result<Payload, String> {
        let plain = |content_type: &'static str, text: String| Payload {
            content_type: HeaderValue::from_static(content_type),
            bytes: text.into(),
            form: Vec::new(),
        };
        if self.content_type.is_some() && self.text.is_none() {
            return Err("`type` is for `text`; form and json have their own".into());
        }
        match (&self.form, &self.json, &self.text) {
            (Some(form), None, None) => {
                let filled = form.iter().map(|(name, value)| Ok((name.clone(), fill(value)?)));
                let form = filled.collect::<Result<Vec<(String, String)>, String>>()?;
                let payload = plain("application/x-www-form-urlencoded", auth::form_body(&form));
                Ok(Payload { form, ..payload })
            }
            (None, Some(json), None) => {
                let mut json = json.clone();
                fill_json(&mut json, fill)?;
                Ok(plain("application/json", json.to_string()))
            }
            (None, None, Some(text)) => {
                let payload = plain("text/plain; charset=utf-8", fill(text)?);
                let Some(content_type) = &self.content_type else { return Ok(payload) };
                let content_type =
                    HeaderValue::from_str(content_type).map_err(|_| "`type` is one line of plain text")?;
                Ok(Payload { content_type, ..payload })
            }
            _ => Err("write one of `form: { name: value }`, `json: …` and `text: \"…\"`".into()),
        }
    }
}

fn json_texts<'a>(json: &'a Value, texts: &mut Vec<&'a str>) {
    match json {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| json_texts(item, texts)),
        Value::Object(entries) => entries.values().for_each(|value| json_texts(value, texts)),
        _ => {}
    }
}

/// Fills each text within a value.
fn fill_json(json: &mut Value, fill: &dyn Fn(&str) -> Result<String, String>) -> Result<(), String> {
    match json {
        Value::String(text) => *text = fill(text)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_json(item, fill))?,
        Value::Object(entries) => entries.values_mut().try_for_each(|value| fill_json(value, fill))?,
        _ => {}
    }
    Ok(())
}

/// A proxy's address, which may have a user and a password in it.
#[derive(Clone)]
pub struct ProxyUrl(pub(super) Url);

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for ProxyUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is not shown, because it may hold a password.
        let text = String::deserialize(deserializer)?;
        let url = Url::parse(&text).map_err(|error| de::Error::custom(format!("not a URL ({error})")))?;
        let is_known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks5" | "socks5h");
        if !is_known || url.host_str().is_none() {
            let message = "a proxy is written as http://proxy:3128, https://… or socks5h://127.0.0.1:1080";
            return Err(de::Error::custom(message));
        }
        Ok(Self(url))
    }
}

impl JsonSchema for ProxyUrl {
    fn schema_name() -> Cow<'static, str> {
        "ProxyUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(https?|socks4|socks5h?)://" })
    }
}

impl Scrape {
    /// Who asks, for as long as the source runs.
    ///
    /// # Errors
    /// When the machine has no usable certificate store, or the proxy cannot be used.
    pub(super) fn fetcher(&self, context: &Context) -> anyhow::Result<Fetcher> {
        if !self.tls_verify {
            let site = page_url(&self.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
            tracing::warn!(%site, "the certificate is not checked (tls_verify: false): anybody in between can read and change everything");
        }
        let proxy = self.proxy.as_ref().map(|proxy| proxy.0.clone());
        let options = HttpOptions { connect_timeout: self.timeout.connect.0, proxy, unverified: !self.tls_verify };
        Ok(Fetcher::new(context.http(options)?, context, self.manners.clone(), self.cookies))
    }

    /// The names that may stand in braces.
    pub(super) fn names(&self) -> Names<'_> {
        let variables = self.for_each.as_ref().map_or(&[][..], |for_each| &for_each.names);
        Names { variables, has_page: self.pages.as_ref().is_some_and(Paging::counts) }
    }

    /// The part of the settings that is about fetching, checked, for one page.
    pub(super) fn request(&self, values: &Values<'_>) -> Result<Request, Vec<Problem>> {
        let mut problems = Vec::new();
        let fill = |text: &str| Filled::loose(text, self.names()).map(|filled| filled.text(values));
        let url = Filled::strict(&self.url, self.names()).and_then(|filled| filled.address(values));
        let url = url.map_err(|message| problems.push(Problem::new(["url"], message))).ok();
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
        if self.timeout.connect.0.is_zero() || self.timeout.total.0.is_zero() {
            problems.push(Problem::new(["timeout"], "a time-out of nothing would let no page come"));
        }
        if self.max_body.0 == 0 {
            problems.push(Problem::new(["max_body"], "a limit of nothing would let no page come"));
        }
        if let Some(label) = &self.encoding
            && Encoding::for_label(label.as_bytes()).is_none()
        {
            let message = format!(
                "`{}` is no encoding of the web; write one such as utf-8 or windows-1251",
                label.escape_debug()
            );
            problems.push(Problem::new(["encoding"], message));
        }
        let payload = self.body.as_ref().map(|body| body.payload(&fill)).transpose();
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
                accept: ACCEPT,
                total: self.timeout.total.0,
                body_max: self.max_body.0,
                redirects_max: self.redirects.into(),
            }),
            _ => Err(problems),
        }
    }

    /// What is wrong with what is asked for, for all the pages that the file is written out to.
    pub(super) fn asking_problems(&self) -> Vec<Problem> {
        let names = self.names();
        let values = |variables| Values {
            variables,
            at: DateTime::UNIX_EPOCH,
            timezone: Tz::UTC,
            page: self.pages.as_ref().map_or(1, Paging::first),
        };
        let mut problems = self
            .for_each
            .as_ref()
            .map_or_else(Vec::new, |for_each| for_each.problems(self.values_in_data.as_ref(), &self.fields));
        let sample = vec!["x".to_owned(); names.variables.len()];
        let wrong = self.request(&values(&sample)).err();
        if let (None, true, Some(for_each)) = (&wrong, problems.is_empty(), &self.for_each) {
            // What is wrong with some values only is said with the first of them.
            let found = for_each.all.iter().find_map(|own| Some((own, self.request(&values(own)).err()?)));
            problems.extend(found.into_iter().flat_map(|(own, found)| {
                let with = for_each.label(own);
                found.into_iter().map(move |problem| Problem {
                    message: format!("{}; with {}", problem.message, with.escape_debug()),
                    ..problem
                })
            }));
        }
        problems.extend(wrong.unwrap_or_default());
        if problems.is_empty() {
            problems.extend(self.unused());
        }
        problems
    }

    /// Names that stand nowhere: the same page would be asked for again and again.
    fn unused(&self) -> Vec<Problem> {
        let names = self.names();
        let mut texts: Vec<&str> = vec![&self.url];
        texts.extend(self.headers.values().map(String::as_str));
        self.body.iter().for_each(|body| body.texts(&mut texts));
        let filled: Vec<Filled> = texts.iter().filter_map(|text| Filled::loose(text, names).ok()).collect();
        let is_unused = |(index, _): &(usize, &String)| !filled.iter().any(|filled| filled.has_variable(*index));
        let mut problems: Vec<Problem> = names
            .variables
            .iter()
            .enumerate()
            .filter(is_unused)
            .map(|(_, name)| {
                let message = format!("`{{{name}}}` stands nowhere; put it into `url`, a header or the body");
                Problem::new(["for_each", name], message)
            })
            .collect();
        if names.has_page && !filled.iter().any(Filled::has_page) {
            problems.push(Problem::new(
                ["pages"],
                "`{page}` stands nowhere; put it into `url` or the body, or write `next`",
            ));
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
pub(super) fn page_url(text: &str) -> Result<Url, String> {
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
