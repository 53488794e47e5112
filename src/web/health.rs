//! Whether all is well, for those who restart what is not: red when progress stops, not only when the process does.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::pipeline::writer::Status;
use crate::secrets;

use super::site::Site;

/// How many sources are named.
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
    let now = view.committed.now;
    let stalled: Vec<&str> =
        view.states.iter().filter(|state| state.facts.is_stalled(now)).map(|state| state.facts.name.as_str()).collect();
    if stalled.is_empty() {
        return None;
    }
    let more = stalled.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("stalled: {}{more}", stalled[..stalled.len().min(NAMED_MAX)].join(", ")))
}

fn answer(why: Option<String>) -> Response {
    let (status, text) = why.map_or((StatusCode::OK, "ok".to_owned()), |why| (StatusCode::SERVICE_UNAVAILABLE, why));
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], secrets::hide(&text).into_owned() + "\n")
        .into_response()
}
