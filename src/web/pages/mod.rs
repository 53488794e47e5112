//! The pages: what each shows, made ready for its template. A template only writes what it is given, as text.

mod fields;
mod ledger;
mod loaders;
mod login;
mod overview;
mod source;
mod try_source;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::secrets;

use super::site::{Down, Site};
use super::{assets, guard, health, live, metrics};

pub(in crate::web) use loaders::LAG_BYTES_MAX;

/// The program's version, so that a browser asks anew for what has changed.
pub(in crate::web) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The pages that every page leads to.
pub(in crate::web) const NAV: [(&str, &str); 4] =
    [("/", "Sources"), ("/loaders", "Loaders"), ("/ledger", "Ledger"), ("/try", "Try")];

/// How much time charts show.
pub(in crate::web) const SPANS: [(&str, i64); 4] =
    [("1h", 3_600), ("6h", 6 * 3_600), ("24h", 24 * 3_600), ("7d", 7 * 24 * 3_600)];

/// What the colours of days mean.
pub(in crate::web) const DAYS: [(&str, &str); 7] = [
    ("full", "all collected"),
    ("filled", "gaps, all got after all"),
    ("gap1", "under 1 % missing"),
    ("gap2", "under 10 %"),
    ("gap3", "more"),
    ("gap4", "nothing collected"),
    ("none", "nothing to collect"),
];

/// Whether two texts are the same, whatever a template has of them.
pub(in crate::web) fn same(one: impl AsRef<str>, other: impl AsRef<str>) -> bool {
    one.as_ref() == other.as_ref()
}

/// Which part of a page is wanted; without one all of it.
#[derive(Debug, Default, Deserialize)]
struct Part {
    #[serde(default)]
    part: String,
}

impl Part {
    fn wants(&self, part: &str) -> bool {
        self.part.is_empty() || self.part == part
    }
}

/// Everything that can be asked for.
pub fn router(site: &Arc<Site>) -> Router {
    let watchers = Arc::new(Semaphore::new(live::WATCHERS_MAX));
    let trials = Arc::new(Semaphore::new(try_source::TRIALS_MAX));
    Router::new()
        .route("/", get(overview::page))
        .route("/source/{name}", get(source::page))
        .route("/source/{name}/screen", get(source::screen))
        .route("/live/{name}", get(source::lines).with_state((Arc::clone(site), watchers)))
        .route("/loaders", get(loaders::page))
        .route("/ledger", get(ledger::page))
        .route("/try", get(try_source::page).post(try_source::tried).with_state((Arc::clone(site), trials)))
        .route("/login", get(login::page).post(login::enter))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/assets/{name}", get(assets::asset))
        .fallback(nothing)
        .with_state(Arc::clone(site))
        .layer(middleware::from_fn_with_state(Arc::clone(site), guard::guard))
}

#[derive(Template)]
#[template(path = "gone.html", config = "src/web/askama.toml")]
struct Gone {
    here: &'static str,
    what: String,
}

/// A page that cannot be shown, and why.
fn gone(status: StatusCode, what: impl Into<String>) -> Response {
    let mut response = show(&Gone { here: "", what: what.into() });
    *response.status_mut() = status;
    response
}

async fn nothing() -> Response {
    gone(StatusCode::NOT_FOUND, "There is no such page")
}

fn down(down: &Down) -> Response {
    gone(StatusCode::SERVICE_UNAVAILABLE, down.to_string())
}

/// Data that could not be read.
fn unreadable(error: &anyhow::Error) -> Response {
    tracing::warn!("the page cannot read the data: {error:#}");
    gone(StatusCode::INTERNAL_SERVER_ERROR, format!("The data cannot be read: {error:#}"))
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let text = secrets::hide(&text).into_owned();
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!("a defect of tapline: a page cannot be written: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be written\n").into_response()
        }
    }
}

/// Reads files on a thread that may wait for them.
async fn aside<T: Send + 'static>(
    site: &Arc<Site>,
    work: impl FnOnce(&Site) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let site = Arc::clone(site);
    tokio::task::spawn_blocking(move || work(&site)).await?
}

/// The state that all handlers have.
type Shared = State<Arc<Site>>;
