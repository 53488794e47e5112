//! Where a request is on its way over redirects, and which of them are followed.

use anyhow::{Context as _, anyhow};
use http::header::LOCATION;
use http::{Method, StatusCode};
use reqwest::Response;
use url::Url;

use super::request::Request;
use crate::context::shown_url;

/// Where a request is on its way over redirects.
pub(super) struct Way {
    pub(super) method: Method,
    pub(super) url: Url,
    visited: Vec<Url>,
    /// Whether it is still at the origin that the user's headers and keys are for.
    pub(super) is_own: bool,
    pub(super) sends_payload: bool,
    /// Whether what the server asked was answered already: a second 401 means that the answer is wrong.
    pub(super) has_answered: bool,
}

impl Way {
    pub(super) fn new(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            visited: vec![request.url.clone()],
            is_own: true,
            sends_payload: request.payload.is_some(),
            has_answered: false,
        }
    }

    pub(super) fn may_answer(&self, request: &Request, response: &Response) -> bool {
        let has_login = request.auth.as_ref().is_some_and(|auth| auth.digest.is_some());
        has_login && self.is_own && !self.has_answered && response.status() == StatusCode::UNAUTHORIZED
    }

    /// Goes where an answer sends it. What becomes of the method is what browsers do (RFC 9110, 15.4).
    pub(super) fn follow(&mut self, target: &str, status: StatusCode, redirects_max: usize) -> anyhow::Result<()> {
        let next = check_redirect(&self.url, target, &self.visited, redirects_max)?;
        let keeps_method = matches!(status.as_u16(), 307 | 308) || matches!(self.method, Method::GET | Method::HEAD);
        if !keeps_method {
            self.method = Method::GET;
            self.sends_payload = false;
        }
        self.is_own &= next.origin() == self.url.origin();
        if self.sends_payload && !self.is_own {
            let (from, to) = (shown_url(&self.url), shown_url(&next));
            return Err(anyhow!("bad_redirect: {from} wants the request's body sent to another site, {to}"));
        }
        self.visited.push(next.clone());
        self.url = next;
        Ok(())
    }
}

/// Where the answer sends us, if it does.
pub(super) fn redirect_target(response: &Response) -> Option<anyhow::Result<String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    // Some servers send UTF-8 here; the URL parser escapes it.
    let text = std::str::from_utf8(location.as_bytes()).map(str::to_owned);
    Some(text.context("bad_redirect: the redirect's address is not text"))
}

/// The address of the next hop, or why it is not gone to.
fn check_redirect(from: &Url, target: &str, visited: &[Url], redirects_max: usize) -> anyhow::Result<Url> {
    let mut next =
        from.join(target).with_context(|| format!("bad_redirect: {} redirects to no URL", shown_url(from)))?;
    let (shown_from, shown_next) = (shown_url(from), shown_url(&next));
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
        return Err(anyhow!("bad_redirect: {shown_from} redirects to `{}:`, which is not followed", next.scheme()));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(anyhow!("insecure_redirect: {shown_from} redirects from https to {shown_next}"));
    }
    // A name and password in a redirect would be sent as if they were ours; a fragment is never sent.
    let refused = next.set_username("").is_err() || next.set_password(None).is_err();
    next.set_fragment(None);
    if refused {
        return Err(anyhow!("bad_redirect: {shown_from} redirects to {shown_next}"));
    }
    if visited.contains(&next) {
        return Err(anyhow!("redirect_loop: {shown_from} redirects to {shown_next}, where we come from"));
    }
    if visited.len() > redirects_max {
        return Err(anyhow!(
            "too_many_redirects: more than {redirects_max}, the last from {shown_from} to {shown_next}; allow more with \
             `redirects`"
        ));
    }
    Ok(next)
}
