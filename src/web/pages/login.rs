//! The token is asked for once, and kept by the browser.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use crate::web::guard::keep;
use crate::web::site::Site;

use super::{Shared, show};

#[derive(Template)]
#[template(path = "login.html", config = "src/web/askama.toml")]
struct Page {
    here: &'static str,
    is_wrong: bool,
}

/// What was typed, or stands in the link that `tapline page` prints.
#[derive(Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    token: String,
}

pub(super) async fn page(State(site): Shared, Query(typed): Query<Typed>) -> Response {
    if site.token().is_none() {
        return Redirect::to("/").into_response();
    }
    if typed.token.is_empty() { show(&Page { here: "", is_wrong: false }) } else { take(&site, &typed.token) }
}

pub(super) async fn enter(State(site): Shared, Form(typed): Form<Typed>) -> Response {
    take(&site, &typed.token)
}

fn take(site: &Site, typed: &str) -> Response {
    let typed = typed.trim();
    if site.token().is_some_and(|token| token.is(typed)) {
        return ([(header::SET_COOKIE, keep(typed))], Redirect::to("/")).into_response();
    }
    let mut response = show(&Page { here: "", is_wrong: true });
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}
