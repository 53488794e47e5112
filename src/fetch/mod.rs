//! Asking a site, as every adapter of pages and documents does: with manners, within limits, hop by hop.
//!
//! `asking` and `manners` are what a source's file says about that, `gate` the one gate per host, `robots` its robots.txt,
//! `request` what is asked and what is remembered of the answer, `get` the way of a request and `way` its redirects, `decode`
//! and `charset` what becomes of a body, `live` a body without an end, `session` cookies and passwords, `tape` answers that are
//! kept and given again, `block` who guards a site, `refusal` what an answer without a page means.

mod asking;
pub mod block;
pub(crate) mod charset;
#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
pub(crate) mod decode;
mod gate;
mod get;
pub mod live;
mod manners;
mod placeholder;
mod refusal;
mod request;
mod robots;
mod session;
pub mod tape;
pub mod upgrade;
mod way;

use std::error::Error;
use std::time::Duration;

use anyhow::anyhow;
use url::Url;

pub use self::asking::{AskKeys, BodyKeys, Fill, MethodName, ProxyUrl, Timeout, USER_AGENT, page_url};
use self::gate::Closed;
pub use self::gate::Gates;
pub use self::get::Fetcher;
pub use self::manners::{Manners, Robots};
pub use self::placeholder::{Filled, Names, Values};
pub use self::refusal::{plain_words, source_error};
pub use self::request::{Answer, Body, LAST_EVENT_ID, Payload, Request, Validator};
use crate::context::shown_url;
use crate::source::SourceError;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection, the answer or where it leads is not in order.
    Lost(anyhow::Error),
    /// The site does not want this to be asked.
    Forbidden(anyhow::Error),
    /// The site wants to be left alone for now.
    Resting {
        /// For how long.
        wait: Duration,
        /// Why.
        cause: anyhow::Error,
    },
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Resting { wait, .. } => Self::Resting { wait, cause: closed.into() },
            Closed::Crowded { .. } => Self::Lost(closed.into()),
        }
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(cause) => Self::Lost(cause),
            Failure::Forbidden(cause) => Self::Blocked(cause),
            Failure::Resting { wait, cause } => Self::Throttled { wait, cause },
        }
    }
}

/// A failed request in words, with its causes, and without what is secret in its URL.
fn cause(error: reqwest::Error, url: &Url) -> anyhow::Error {
    let mut inner: Option<&(dyn Error + 'static)> = error.source();
    let mut is_flood = false;
    while let Some(source) = inner {
        is_flood |= source.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large);
        if let Some(forbidden) = source.downcast_ref::<crate::reach::Forbidden>() {
            return anyhow!("{forbidden}");
        }
        inner = source.source();
    }
    let shown = shown_url(url);
    let what = if is_flood {
        format!("header_flood: {shown} answers with too many headers")
    } else if error.is_connect() {
        format!("cannot_connect: no connection to {shown}")
    } else {
        format!("bad_answer: no usable answer from {shown}")
    };
    anyhow::Error::new(error.without_url()).context(what)
}
