//! Whether all is well, for those who restart what is not: red when progress stops, not only when the process does.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::pipeline::writer::Status;
use crate::report::health::{STILL_MAX, Trouble, troubles};
use crate::secrets;

use super::site::Site;

/// How many troubles are named.
const NAMED_MAX: usize = 5;

/// Whether it makes progress. It says why not in words, and nothing of what it collects.
pub(super) async fn health(State(site): State<Arc<Site>>) -> Response {
    answer(stopped(&site).await)
}

/// Whether it may be relied on: it has begun, and the disk takes what comes.
pub(super) async fn ready(State(site): State<Arc<Site>>) -> Response {
    let why = if !*site.parts.started.borrow() {
        Some("starting".to_owned())
    } else if site.writer_status() == Status::Full {
        Some("the disk is full".to_owned())
    } else {
        stopped(&site).await
    };
    answer(why)
}

/// What has stopped, in words.
async fn stopped(site: &Site) -> Option<String> {
    let view = match site.look().await {
        Ok(view) => view,
        Err(down) => return Some(down.to_string()),
    };
    let found = troubles(&view.committed, &view.states, site.parts.disk_free, STILL_MAX);
    if found.is_empty() {
        return None;
    }
    let more = found.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    if site.token().is_some() {
        // Whoever may not see the page learns that something is wrong, and not what is collected.
        return Some(format!("not healthy: {}; `tapline health` says more", found[0].word()));
    }
    let words: Vec<String> = found.iter().take(NAMED_MAX).map(Trouble::words).collect();
    Some(words.join("; ") + &more)
}

fn answer(why: Option<String>) -> Response {
    let (status, text) = why.map_or((StatusCode::OK, "ok".to_owned()), |why| (StatusCode::SERVICE_UNAVAILABLE, why));
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], secrets::hide(&text).into_owned() + "\n")
        .into_response()
}
