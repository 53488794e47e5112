//! Elasticsearch and `OpenSearch`: the bulk API with `create`, so that an id that is there answers 409, which is a success
//! (<https://www.elastic.co/guide/en/elasticsearch/reference/current/docs-bulk.html>).
//!
//! The index is that of the record's own day, never of today: an id is unique in one index only, and a replay after
//! midnight must meet the index that it met before.

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use url::Url;

use crate::context::Context;
use crate::store::{Batch, Feed, Limits, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use super::{Answer, Flavour, HttpStore, Making, Request, basic, flag, scheme, secret};

/// The line of the list.
pub const ELASTICSEARCH: StoreKind = StoreKind {
    name: "elasticsearch",
    schemes: &["es+http", "es+https", "elasticsearch+http", "elasticsearch+https"],
    about: "Elasticsearch: an index for each stream and day, by the bulk API.",
    once: "`create` with the record's id: 409 is a success",
    example: "es+http://localhost:9200?index={stream}-{date}",
    options: OPTIONS,
    limits: LIMITS,
    open: open::<Elasticsearch>,
};

/// The line of the list.
pub const OPENSEARCH: StoreKind = StoreKind {
    name: "opensearch",
    schemes: &["opensearch+http", "opensearch+https"],
    about: "OpenSearch: an index for each stream and day, by the bulk API.",
    once: "`create` with the record's id: 409 is a success",
    example: "opensearch+https://localhost:9200?index={stream}-{date}",
    options: OPTIONS,
    limits: LIMITS,
    open: open::<Opensearch>,
};

const OPTIONS: &[(&str, &str)] = &[
    ("index", "the index of a record; `{stream}-{date}` by default, `{date}` being its own day"),
    ("template", "`false` puts no index template"),
];

/// Elastic advises 5 to 15 MB a request.
const LIMITS: Limits = Limits { records: 5_000, bytes: 5 << 20, wait: Duration::from_secs(1), closed: false };

/// The longest id that an index takes, in bytes.
const ID_BYTES_MAX: usize = 512;

/// Names a product for messages.
pub(super) trait Product: Send + Sync + 'static {
    const NAME: &'static str;
}

pub(super) struct Elasticsearch;
pub(super) struct Opensearch;

impl Product for Elasticsearch {
    const NAME: &'static str = "Elasticsearch";
}

impl Product for Opensearch {
    const NAME: &'static str = "OpenSearch";
}

struct Bulk<P> {
    url: Url,
    index: String,
    puts_template: bool,
    product: std::marker::PhantomData<P>,
}

fn open<P: Product>(mut target: Target, context: &Context) -> anyhow::Result<Box<dyn Store>> {
    let index = target.take("index").unwrap_or_else(|| "{stream}-{date}".to_owned());
    let puts_template = flag(&mut target, "template", true)?;
    let key = target.take_other("api_key").map(|key| secret("ApiKey", &key)).transpose()?;
    target.finish(OPTIONS)?;
    check_index(&index)?;
    let login = key.or_else(|| basic(&target));
    let url = target.url(&scheme(&target))?;
    Ok(HttpStore::boxed(Bulk::<P> { url, index, puts_template, product: std::marker::PhantomData }, context, login))
}

/// The rules of index names, as far as they can be seen here
/// (<https://www.elastic.co/guide/en/elasticsearch/reference/current/indices-create-index.html>).
fn check_index(index: &str) -> anyhow::Result<()> {
    let fixed = index.replace("{stream}", "s").replace("{date}", "d");
    let is_wrong = |next: char| next.is_uppercase() || " \"*\\<|,>/?#:{}".contains(next) || next.is_control();
    anyhow::ensure!(
        !fixed.is_empty() && !fixed.chars().any(is_wrong),
        "`index={index}` cannot be an index: small letters, digits, `-`, `_`, `.`, and {{stream}} and {{date}}"
    );
    anyhow::ensure!(
        !fixed.starts_with(['-', '_', '+']),
        "`index={index}` cannot be an index: it may not begin with `-`, `_` or `+`"
    );
    Ok(())
}

impl<P: Product> Bulk<P> {
    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }

    /// The index of a stream's records of a day. Names that an index cannot have are made ones that it can.
    fn index_of(&self, stream: &str, day: Option<&str>) -> String {
        let stream = stream.trim_start_matches('_').to_lowercase();
        let index = expand_stream(&self.index, &stream, "-");
        match day {
            Some(day) => index.replace("{date}", &day.replace('-', ".")),
            None => index.replace("-{date}", "").replace("{date}", ""),
        }
    }

    /// Types for the envelope; what is in `data` is found out as it comes, but no text is taken for a date.
    fn template(&self, stream: &str) -> (String, Vec<u8>) {
        let pattern = self.index_of(stream, Some("*"));
        let keyword = json!({ "type": "keyword" });
        let date = json!({ "type": "date_nanos" });
        let body = json!({
            "index_patterns": [pattern],
            "priority": 50,
            "template": {
                "settings": { "index.mapping.total_fields.limit": 2000, "index.mapping.ignore_malformed": true },
                "mappings": {
                    "date_detection": false,
                    "properties": {
                        "observed_at": date, "published_at": date,
                        "source": keyword, "id": keyword, "type": keyword,
                    },
                },
            },
            "_meta": { "made_by": "tapline" },
        });
        let name = format!("tapline-{}", pattern.replace(['*', '.'], "-").trim_matches('-'));
        (name, body.to_string().into_bytes())
    }
}

impl<P: Product> Flavour for Bulk<P> {
    const NAME: &'static str = P::NAME;

    fn hello(&self) -> Option<Request> {
        Some(Request::get(self.at("/")))
    }

    fn begin(&self, feed: &Feed) -> Vec<Making> {
        if !self.puts_template {
            return Vec::new();
        }
        let (name, body) = self.template(&feed.stream);
        let mut url = self.at(&format!("/_index_template/{name}"));
        // A template of that name that is there may be the user's, changed: it stays.
        url.query_pairs_mut().append_pair("create", "true");
        vec![(Request::new(Method::PUT, url, "application/json", body), |answer| {
            answer.words().contains("already exists")
        })]
    }

    fn request(&self, batch: &Batch) -> (Request, Vec<(usize, String)>) {
        let mut body = Vec::with_capacity(batch.iter().map(|entry| entry.line.len() + 80).sum());
        let mut dead = Vec::new();
        let mut last: Option<(Option<&str>, String)> = None;
        for (index, entry) in batch.iter().enumerate() {
            let id = match entry.id() {
                Ok(id) if id.len() > ID_BYTES_MAX => {
                    dead.push((index, format!("its id has {} bytes, and {ID_BYTES_MAX} are allowed", id.len())));
                    continue;
                }
                Ok(id) => id,
                Err(why) => {
                    dead.push((index, why));
                    continue;
                }
            };
            let day = entry.day();
            if last.as_ref().is_none_or(|(last, _)| *last != day) {
                last = Some((day, self.index_of(batch.stream(), day)));
            }
            let name = last.as_ref().map_or("", |(_, name)| name);
            let action = json!({ "create": { "_index": name, "_id": id } });
            body.extend_from_slice(action.to_string().as_bytes());
            body.push(b'\n');
            body.extend_from_slice(entry.line);
            body.push(b'\n');
        }
        let mut url = self.at("/_bulk");
        // A bulk answer is long; what went well is of no interest.
        url.query_pairs_mut().append_pair("filter_path", "errors,items.*.status,items.*.error");
        (Request::new(Method::POST, url, "application/x-ndjson", body), dead)
    }

    fn sort(&self, answer: &Answer, places: &[usize]) -> Result<Sent, StoreError> {
        answer.ok()?;
        let read: Bulked<'_> = serde_json::from_slice(&answer.body).map_err(|error| {
            StoreError::busy(answer.cause().context(format!("not the answer of a bulk request: {error}")))
        })?;
        let mut sent = Sent::default();
        if !read.errors {
            return Ok(sent);
        }
        if read.items.len() != places.len() {
            let words = format!("{} records were sent, and {} answered for", places.len(), read.items.len());
            return Err(StoreError::busy(answer.cause().context(words)));
        }
        for (place, item) in places.iter().zip(&read.items) {
            let why = || item.create.error.map_or_else(|| format!("status {}", item.create.status), reason);
            match item.create.status {
                200..=299 => {}
                409 => sent.exists += 1,
                408 | 425 | 429 | 500..=599 => sent.retry.push((*place, why())),
                // Whoever may not write into an index, or has none, is not helped by dead letters.
                status @ (401 | 403 | 404) => {
                    return Err(StoreError::Stop(anyhow::anyhow!(
                        "{} answered {status} for an item: {}",
                        answer.what,
                        why()
                    )));
                }
                _ => sent.dead.push((*place, why())),
            }
        }
        Ok(sent)
    }
}

#[derive(Deserialize)]
struct Bulked<'a> {
    #[serde(default)]
    errors: bool,
    #[serde(borrow, default)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: Created<'a>,
}

#[derive(Deserialize)]
struct Created<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// The words of an item's error, with the cause that it names.
fn reason(error: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow, rename = "type", default)]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        reason: Cow<'a, str>,
        #[serde(borrow, default)]
        caused_by: Option<Box<Error<'a>>>,
    }
    let Ok(error) = serde_json::from_str::<Error<'_>>(error.get()) else { return error.get().to_owned() };
    let cause = error.caused_by.map(|cause| format!("; {}: {}", cause.kind, cause.reason)).unwrap_or_default();
    format!("{}: {}{cause}", error.kind, error.reason)
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    fn bulk() -> Bulk<Elasticsearch> {
        let url = "http://localhost:9200/".parse().unwrap();
        Bulk { url, index: "{stream}-{date}".into(), puts_template: true, product: std::marker::PhantomData }
    }

    #[test]
    fn each_item_has_its_outcome() {
        let body = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"document already exists"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected"}}},
            {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"failed to parse field [a]","caused_by":{"type":"illegal_argument_exception","reason":"not a number"}}}}]}"#;
        let sent = bulk().sort(&answer(200, body), &[0, 1, 3, 4]).unwrap();
        assert_eq!(sent.exists, 1);
        assert_eq!(sent.retry, [(3, "es_rejected_execution_exception: rejected".to_owned())]);
        assert_eq!(
            sent.dead,
            [(
                4,
                "document_parsing_exception: failed to parse field [a]; illegal_argument_exception: not a number"
                    .to_owned()
            )]
        );
        let forbidden = r#"{"errors":true,"items":[{"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"read-only"}}}]}"#;
        assert!(matches!(bulk().sort(&answer(200, forbidden), &[0]), Err(StoreError::Stop(_))));
        for (status, body) in [(200, "<html>"), (200, r#"{"errors":true,"items":[]}"#), (503, ""), (429, "")] {
            assert!(matches!(bulk().sort(&answer(status, body), &[0]), Err(StoreError::Busy { .. })), "{body}");
        }
        assert!(matches!(bulk().sort(&answer(413, ""), &[0]), Err(StoreError::Shrink(_))));
    }

    #[test]
    fn names_of_indices() {
        assert_eq!(bulk().index_of("X-Research", Some("2026-11-23")), "x-research-2026.11.23");
        assert_eq!(bulk().index_of("_rejected/bse", Some("2026-11-23")), "rejected-bse-2026.11.23");
        assert_eq!(bulk().index_of("theirs", None), "theirs");
        assert_eq!(bulk().template("bse").0, "tapline-bse");
        assert!(check_index("Live-{date}").is_err() && check_index("_x").is_err() && check_index("{stream}").is_ok());
    }
}
