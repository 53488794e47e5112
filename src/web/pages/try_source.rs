//! A form that tries a source, or shows what a selector matches.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::report::trial::Report;
use crate::web::site::Site;

use super::{gone, show};

/// So many may try something at once.
pub(super) const TRIALS_MAX: usize = 2;

/// So much of a result is shown.
const FIELDS_MAX: usize = 60;
const RECORDS_MAX: usize = 20;

/// The name that the source of the form has.
const NAME: &str = "try";

/// What stands in the form at first.
const EXAMPLE: &str = "kind: scrape
url: https://www.example.com/
every: 1m
fields:
  title: h1
";

#[derive(Template)]
#[template(path = "try.html", config = "src/web/askama.toml")]
struct Page {
    here: &'static str,
    is_allowed: bool,
    url: String,
    css: String,
    yaml: String,
    /// Everything that is wrong with what was typed.
    wrong: Vec<String>,
    tried: Option<Report>,
    hidden_fields: usize,
    hidden_records: usize,
}

/// What was typed.
#[derive(Deserialize)]
pub(super) struct Typed {
    what: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    css: String,
    #[serde(default)]
    yaml: String,
}

type Shared = State<(Arc<Site>, Arc<Semaphore>)>;

pub(super) async fn page(State((site, _)): Shared) -> Response {
    let typed = Typed { what: String::new(), url: String::new(), css: String::new(), yaml: EXAMPLE.to_owned() };
    show(&with(&site, typed, None))
}

pub(super) async fn tried(State((site, trials)): Shared, Form(mut typed): Form<Typed>) -> Response {
    let Ok(_permit) = trials.try_acquire() else {
        return gone(StatusCode::SERVICE_UNAVAILABLE, "Others are trying something; again in some seconds");
    };
    if typed.what == "selector" {
        typed.yaml = selector(&typed.url, &typed.css);
    }
    let tried = site.parts.trial.try_source(NAME, &typed.yaml).await;
    show(&with(&site, typed, Some(tried)))
}

/// A source that shows every place that a selector matches.
fn selector(url: &str, css: &str) -> String {
    let [url, css] = [url.trim(), css.trim()].map(|text| serde_json::Value::from(text).to_string());
    format!("kind: scrape\nurl: {url}\nevery: 1m\nrecords: {css}\nfields:\n  text: {{ on_missing: \"null\" }}\n")
}

fn with(site: &Site, typed: Typed, tried: Option<Result<Report, Vec<String>>>) -> Page {
    let (tried, wrong) = match tried {
        Some(Ok(report)) => (Some(report), Vec::new()),
        Some(Err(wrong)) => (None, wrong),
        None => (None, Vec::new()),
    };
    let mut page = Page {
        here: "/try",
        is_allowed: site.token().is_some(),
        url: typed.url,
        css: typed.css,
        yaml: typed.yaml,
        wrong,
        tried,
        hidden_fields: 0,
        hidden_records: 0,
    };
    if let Some(tried) = &mut page.tried {
        page.hidden_fields = tried.fields.len().saturating_sub(FIELDS_MAX);
        page.hidden_records = tried.records.len().saturating_sub(RECORDS_MAX);
        tried.fields.truncate(FIELDS_MAX);
        tried.records.truncate(RECORDS_MAX);
        tried.rejects.truncate(RECORDS_MAX);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_cannot_become_another_key() {
        let yaml = selector("https://h/\" \nkind: x_stream", "a[b=\"c: d\"]\nauth: {}");
        assert_eq!(yaml.lines().count(), 6, "{yaml}");
        assert_eq!(yaml.matches("kind:").count(), 2, "one of them in a string: {yaml}");
    }
}
