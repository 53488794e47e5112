//! A connection that becomes a websocket (RFC 6455, 4.1), asked for with all that a request has: proxies, certificates, the
//! guarded dialler, redirects, authorization.

use anyhow::anyhow;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Upgraded;

use super::get::{Fetcher, Purpose};
use super::live::NotOpen;
use super::request::Request;
use crate::context::shown_url;
use crate::source::SourceError;

/// What proves that a server has understood (RFC 6455, 4.2.2).
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The nonce in base 64.
    pub key: String,
    /// What the server has to answer to it.
    pub accept: String,
    /// The protocols that are spoken above it, the preferred one first.
    pub protocols: Vec<String>,
}

impl Fetcher {
    /// Asks for a websocket, and returns its connection once the server has agreed.
    ///
    /// # Errors
    /// When there is no answer, or another one. What it means is told apart by its status and its body.
    pub async fn upgrade(&mut self, request: &Request, handshake: &Handshake) -> Result<Upgraded, NotOpen> {
        let headers = handshake.headers()?;
        let arrival = self.travel(request, &Purpose::Upgrade(&headers)).await.map_err(SourceError::from)?;
        let response = match arrival.accepted(|response| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            Ok(response) => response,
            Err(arrival) => return Err(self.refused(*arrival, "a websocket").await),
        };
        let from = shown_url(&request.url);
        let is = |name, wanted: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.trim() == wanted)
        };
        if !is(SEC_WEBSOCKET_ACCEPT, &handshake.accept) {
            return Err(SourceError::Failing(anyhow!("{from} agreed to a websocket that nobody asked for")).into());
        }
        let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
        if let Some(chosen) = chosen.filter(|chosen| !handshake.protocols.iter().any(|known| known == chosen)) {
            let why = anyhow!("{from} speaks the protocol `{}`, not asked for; see `protocols`", chosen.escape_debug());
            return Err(SourceError::Refused(why).into());
        }
        let upgraded = response.upgrade().await;
        upgraded.map_err(|error| SourceError::Lost(super::cause(error, &request.url)).into())
    }
}

impl Handshake {
    fn headers(&self) -> Result<HeaderMap, SourceError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| SourceError::Refused(anyhow!("a protocol is one word of plain text")))
        };
        headers.insert(SEC_WEBSOCKET_KEY, value(&self.key)?);
        if !self.protocols.is_empty() {
            let mut protocols = value(&self.protocols.join(", "))?;
            // Mastodon takes a token there.
            protocols.set_sensitive(true);
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols);
        }
        Ok(headers)
    }
}
