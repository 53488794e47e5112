//! A form that is sent before pages are asked for, and again when a page shows that it has to be.
//!
//! A wrong password is not tried again and again: after a first failure the source waits, after the third it stops, so
//! that no account is locked by it.
//!
//! A session outlasts a restart. Its cookies are as good as the password while it lasts: they are saved enclosed (`seal`), and
//! opened for this login alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::HeaderValue;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use url::Url;

use super::css::Css;
use super::follow::linked;
use super::form::{asks_for_password, filled};
use super::page::Page;
use super::paging::target;
use super::refusal;
use super::select::{Watch, matches};
use super::text::shown_text;
use crate::auth;
use crate::context::Context;
use crate::fetch::{
    Answer, Body, Fetcher, Payload, Request, Validator, block, charset, decode, page_url, source_error,
};
use crate::seal::Seals;
use crate::source::{Problem, SourceError};

/// The form of a login, where the file names none.
const FORM: &str = "form:has(input[type=password])";
/// What is looked at of a page for whether it is one for somebody who is logged in, decoded.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// The part of what is saved that has the session. Those of `unique` count from 0.
pub(super) const PART: u32 = u32::MAX;
/// Cookies of the same value are saved again after so long: they may last longer now.
const SAVED_AGAIN: TimeDelta = TimeDelta::minutes(10);
/// How long is waited after each failure in a row. After as many the source stops.
const WAITS: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(10)];

/// A login by a form.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The address of the page with the form.
    pub url: String,
    /// A CSS selector of the form; by default the first with a password in it. Its hidden fields are sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// What is written into its fields, by their names: `{ user: me, password: "${PASSWORD}" }`.
    pub fields: BTreeMap<String, String>,
    /// What is only there when logged in: a CSS selector, or `{ text: "Log out" }`. Without it, a page that has the form is
    /// one that is not logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// What is only there when logged in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a CSS selector, or `{ text: \"Log out\" }`")]
pub enum Check {
    /// A CSS selector.
    Css(String),
    /// A text that the page shows.
    Text(CheckText),
}

/// A text that the page shows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckText {
    /// A part of what it shows; capitals matter.
    pub text: String,
}

impl Login {
    /// What is wrong with it.
    pub(super) fn problems(&self, takes_cookies: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| problems.push(Problem::new(["login", key], message));
        if let Err(message) = page_url(&self.url) {
            wrong("url", message);
        }
        if let Some(Err(message)) = self.form.as_deref().map(Css::new) {
            wrong("form", message);
        }
        match &self.check {
            Some(Check::Css(css)) => {
                if let Err(message) = Css::new(css) {
                    wrong("check", message);
                }
            }
            Some(Check::Text(CheckText { text })) if text.trim().is_empty() => {
                wrong("check", "an empty text is on every page".into());
            }
            _ => {}
        }
        if self.fields.is_empty() {
            wrong("fields", "a login needs fields, such as `{ user: me, password: \"${PASSWORD}\" }`".into());
        }
        if !takes_cookies {
            problems.push(Problem::new(["cookies"], "a login is kept by cookies; leave this out"));
        }
        problems
    }

    /// Its address, where that is one.
    pub(super) fn address(&self) -> Option<Url> {
        page_url(&self.url).ok()
    }
}

/// How the login stands.
pub(super) struct Session {
    login: Login,
    rules: Arc<Rules>,
    is_in: bool,
    /// Failures in a row.
    failures: usize,
    /// Which cookies are saved, and since when.
    saved: Option<(blake3::Hash, DateTime<Utc>)>,
}

/// The cookies as they are saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    sealed: String,
}

/// What is looked for on pages.
struct Rules {
    form: Css,
    base: Css,
    check: Option<Wanted>,
}

/// What is only there when logged in.
enum Wanted {
    Css(Css),
    Text(String),
}

/// What a page says about the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    In,
    Out,
    /// Nothing, either way.
    Nothing,
}

impl Session {
    /// Of settings that were checked.
    pub(super) fn new(login: &Login) -> Option<Self> {
        let check = match &login.check {
            Some(Check::Css(css)) => Some(Wanted::Css(Css::new(css).ok()?)),
            Some(Check::Text(CheckText { text })) => Some(Wanted::Text(text.clone())),
            None => None,
        };
        let form = Css::new(login.form.as_deref().unwrap_or(FORM)).ok()?;
        let base = Css::new("base[href]").ok()?;
        let rules = Arc::new(Rules { form, base, check });
        Some(Self { login: login.clone(), rules, is_in: false, failures: 0, saved: None })
    }

    /// Takes up the session of an earlier start. Whether it still counts the site says, with the first page.
    pub(super) fn recall(&mut self, part: &RawValue, fetcher: &mut Fetcher, context: &Context) {
        let saved: Option<Saved> = serde_json::from_str(part.get()).ok();
        let opened = saved.and_then(|saved| context.shared::<Seals>().open(&saved.sealed, &self.about(context)));
        self.is_in = opened.is_some_and(|cookies| fetcher.take_up_cookies(&cookies));
    }

    /// The session, for a later start, where there is one and that is to be saved anew.
    pub(super) fn part(&mut self, fetcher: &Fetcher, context: &Context) -> Option<Box<RawValue>> {
        let (mark, cookies) = fetcher.cookies().filter(|_| self.is_in)?;
        let now = context.now();
        let is_saved =
            |(saved, at): (blake3::Hash, DateTime<Utc>)| saved == mark && (at..at + SAVED_AGAIN).contains(&now);
        if self.saved.is_some_and(is_saved) {
            return None;
        }
        self.saved = Some((mark, now));
        let sealed = context.shared::<Seals>().seal(&cookies, &self.about(context), &context.random_token())?;
        Some(to_raw_value(&Saved { sealed }).expect("invariant: our own types have a JSON form"))
    }

    /// What a session is of: with another user, or another password, it is none.
    fn about(&self, context: &Context) -> String {
        let login = serde_json::to_string(&self.login).expect("invariant: our own types have a JSON form");
        format!("the session of {} by {login}", context.source())
    }

    /// Asks for a page as somebody who is logged in. What the page says decides, and at most one login is tried for it.
    ///
    /// # Errors
    /// As the fetcher, and when the login fails.
    pub(super) async fn fetch(
        &mut self,
        fetcher: &mut Fetcher,
        context: &Context,
        request: &Request,
        condition: Option<&Validator>,
    ) -> Result<Answer, SourceError> {
        if self.is_in {
            let answer = fetcher.fetch(request, condition).await?;
            if self.is_of_somebody(context, &request.url, &answer).await? {
                return Ok(answer);
            }
            self.is_in = false;
        }
        self.log_in(fetcher, context, request).await?;
        let answer = fetcher.fetch(request, condition).await?;
        if !self.is_of_somebody(context, &request.url, &answer).await? {
            return Err(self.failed(if self.rules.check.is_some() {
                "after it the page has not what `check` says"
            } else {
                "after it the page wants a login again; `check` says by what a page is told to be one that is logged in"
            }));
        }
        (self.is_in, self.failures) = (true, 0);
        Ok(answer)
    }

    /// What to do about a login that failed: wait, each time longer, and in the end stop.
    fn failed(&mut self, why: &str) -> SourceError {
        self.failures += 1;
        let times = if self.failures == 1 { "once".into() } else { format!("{} times", self.failures) };
        match WAITS.get(self.failures - 1) {
            Some(wait) => {
                let wait = *wait;
                let again = humantime::format_duration(wait);
                let cause = anyhow!("login_failed: {why}; it has failed {times}, and is tried again in {again}");
                SourceError::Throttled { wait, cause }
            }
            None => SourceError::Refused(anyhow!(
                "login_refused: {why}; it has failed {times}, and is not tried again, so that the account is not locked; \
                 mend `login` in the source's file"
            )),
        }
    }

    /// Whether an answer is one for somebody who is logged in.
    async fn is_of_somebody(&self, context: &Context, asked: &Url, answer: &Answer) -> Result<bool, SourceError> {
        match answer {
            Answer::NotModified { .. } => Ok(true),
            // A guard of the site refuses whoever asks, logged in or not.
            Answer::Refused(StatusCode::FORBIDDEN, body) => Ok(block::instead(&body.headers, "").is_some()),
            Answer::Refused(status, _) => Ok(*status != StatusCode::UNAUTHORIZED),
            Answer::Page(body) => {
                let seen = self.look(context, body).await?;
                // A page may have the form itself, for those who are not logged in.
                let is_sent_there = self.is_login_page(&body.url) && !self.is_login_page(asked);
                Ok(!is_sent_there && (seen == Seen::In || (seen == Seen::Nothing && self.rules.check.is_none())))
            }
        }
    }

    /// Whether that is where the form is: a site sends those there who are not logged in.
    fn is_login_page(&self, url: &Url) -> bool {
        self.login.address().is_some_and(|login| login.origin() == url.origin() && login.path() == url.path())
    }

    async fn log_in(&mut self, fetcher: &mut Fetcher, context: &Context, like: &Request) -> Result<(), SourceError> {
        let login = self.login.address().ok_or_else(|| SourceError::Lost(anyhow!("the login's address is none")))?;
        let ask = linked(like, login.clone());
        let body = match fetcher.fetch(&ask, None).await? {
            Answer::Page(body) => body,
            Answer::Refused(status, body) => return Err(source_error(status, body, refusal::words)),
            Answer::NotModified { .. } => return Err(SourceError::Lost(anyhow!("bad_answer: the login page is 304"))),
        };
        let from = body.url.clone();
        let values: Vec<(String, String)> = self.login.fields.clone().into_iter().collect();
        let (rules, body_max) = (Arc::clone(&self.rules), ask.body_max);
        let form = context.compute(move || {
            let html = text_of(&body, body_max)?;
            filled(&html, &rules.form, &rules.base, &values).map_err(|why| anyhow!("{why}"))
        });
        let form = form.await.and_then(|form| form).map_err(SourceError::Lost)?;
        // What is a secret goes to the login's own site and no other.
        let action = if form.action.is_empty() {
            Ok(from.clone())
        } else {
            target(&form.action, form.base.as_deref(), &from, &login, false)
        };
        let action = action.map_err(|why| SourceError::Lost(anyhow!("{why}")))?;
        let payload = Payload {
            content_type: HeaderValue::from_static("application/x-www-form-urlencoded"),
            bytes: auth::form_body(&form.fields).into(),
            form: form.fields,
        };
        let send = Request { method: Method::POST, payload: Some(payload), ..linked(like, action) };
        match fetcher.fetch(&send, None).await? {
            Answer::Refused(status, _) if matches!(status.as_u16(), 400 | 401 | 403 | 422) => {
                Err(self.failed(&format!("the site answered {status} to the form")))
            }
            Answer::Refused(status, body) => Err(source_error(status, body, refusal::words)),
            Answer::Page(body) if self.look(context, &body).await? == Seen::Out => {
                Err(self.failed("the site shows the form again"))
            }
            _ => Ok(()),
        }
    }

    /// What a page says about the login.
    async fn look(&self, context: &Context, body: &Body) -> Result<Seen, SourceError> {
        let (rules, body) = (Arc::clone(&self.rules), body.clone());
        let look = context.compute(move || rules.look(&text_of(&body, BODY_BYTES_MAX)?));
        look.await.and_then(|seen| seen).map_err(SourceError::Lost)
    }
}

impl Rules {
    fn look(&self, html: &str) -> anyhow::Result<Seen> {
        let page = Page::parse(html)?;
        let watch = Watch::start();
        let is_there = match &self.check {
            Some(Wanted::Css(css)) => matches(page.root(), css, true, &watch).next().is_some(),
            Some(Wanted::Text(text)) => shown_text(page.root()).is_some_and(|shown| shown.contains(text)),
            None => false,
        };
        Ok(if is_there {
            Seen::In
        } else if asks_for_password(&page, &self.form, &watch) {
            Seen::Out
        } else {
            Seen::Nothing
        })
    }
}

/// A page's text.
fn text_of(body: &Body, body_max: u64) -> anyhow::Result<String> {
    let bytes = decode::decode(body.bytes.clone(), &body.codings, body_max)?;
    Ok(charset::text(&bytes, None, body.content_type.as_deref()))
}
