//! `CouchDB`: `_bulk_docs` with the record's id as `_id` and no revision, so that an id that is there is a conflict, which
//! is a success (<https://docs.couchdb.org/en/stable/api/database/bulk-api.html>).

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use url::Url;

use crate::context::Context;
use crate::store::{Batch, Feed, Limits, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use super::{Answer, Flavour, HttpStore, Making, Request, basic, flag, scheme};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "couchdb",
    schemes: &["couchdb+http", "couchdb+https"],
    about: "CouchDB: a document for each record, in a database for each stream.",
    once: "`_id` without a revision: a conflict is a success",
    example: "couchdb+http://admin:secret@localhost:5984?database={stream}",
    options: OPTIONS,
    limits: Limits { records: 1_000, bytes: 4 << 20, wait: Duration::from_millis(500), closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] =
    &[("database", "the database of a stream; `{stream}` by default"), ("create", "`false` makes no database")];

struct Couch {
    url: Url,
    database: String,
    creates: bool,
}

fn open(mut target: Target, context: &Context) -> anyhow::Result<Box<dyn Store>> {
    let database = target.take("database").unwrap_or_else(|| "{stream}".to_owned());
    let creates = flag(&mut target, "create", true)?;
    target.finish(OPTIONS)?;
    let login = basic(&target);
    let url = target.url(&scheme(&target))?;
    Ok(HttpStore::boxed(Couch { url, database, creates }, context, login))
}

impl Couch {
    /// Databases have small letters, digits and `_$()+/-`, and begin with a letter.
    fn at(&self, stream: &str, path: &str) -> Url {
        let name = expand_stream(&self.database, stream, "_").to_lowercase();
        let allowed = |next: char| next.is_ascii_lowercase() || next.is_ascii_digit() || "_$()+-".contains(next);
        let mut name: String = name.chars().map(|next| if allowed(next) { next } else { '_' }).collect();
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            name.insert(0, 's');
        }
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{name}{path}"));
        url
    }
}

impl Flavour for Couch {
    const NAME: &'static str = "CouchDB";

    fn begin(&self, feed: &Feed) -> Vec<Making> {
        if !self.creates {
            return vec![(Request::get(self.at(&feed.stream, "")), |_| false)];
        }
        // 412: it is there.
        vec![(Request::new(Method::PUT, self.at(&feed.stream, ""), "application/json", ""), |answer| {
            answer.status == 412
        })]
    }

    fn request(&self, batch: &Batch) -> (Request, Vec<(usize, String)>) {
        let mut body = b"{\"docs\":[".to_vec();
        let mut dead = Vec::new();
        for (index, entry) in batch.iter().enumerate() {
            match (entry.id(), entry.line.strip_prefix(b"{")) {
                (Ok(id), Some(rest)) if !id.starts_with('_') => {
                    body.extend_from_slice(if body.ends_with(b"[") { b"{\"_id\":" } else { b",{\"_id\":" });
                    body.extend_from_slice(serde_json::Value::from(id.as_ref()).to_string().as_bytes());
                    if !rest.trim_ascii_start().starts_with(b"}") {
                        body.push(b',');
                    }
                    body.extend_from_slice(rest);
                }
                (Ok(id), Some(_)) => {
                    dead.push((index, format!("CouchDB keeps ids that begin with `_` for itself: {id}")));
                }
                (Ok(_), None) => dead.push((index, "the line is no JSON object".to_owned())),
                (Err(why), _) => dead.push((index, why)),
            }
        }
        body.extend_from_slice(b"]}");
        (Request::new(Method::POST, self.at(batch.stream(), "/_bulk_docs"), "application/json", body), dead)
    }

    fn sort(&self, answer: &Answer, places: &[usize]) -> Result<Sent, StoreError> {
        answer.ok()?;
        let read: Vec<Item<'_>> = serde_json::from_slice(&answer.body).map_err(|error| {
            StoreError::busy(answer.cause().context(format!("not the answer of _bulk_docs: {error}")))
        })?;
        if read.len() != places.len() {
            let words = format!("{} records were sent, and {} answered for", places.len(), read.len());
            return Err(StoreError::busy(answer.cause().context(words)));
        }
        let mut sent = Sent::default();
        for (place, item) in places.iter().zip(read) {
            let Some(error) = item.error else { continue };
            let why = format!("{error}: {}", item.reason);
            match &*error {
                "conflict" => sent.exists += 1,
                "unauthorized" => return Err(StoreError::Stop(anyhow::anyhow!("{}: {why}", answer.what))),
                "internal_server_error" | "timeout" | "too_many_requests" => sent.retry.push((*place, why)),
                _ => sent.dead.push((*place, why)),
            }
        }
        Ok(sent)
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::answer;
    use super::*;
    use crate::sink::Position;
    use crate::store::Ids;

    fn couch() -> Couch {
        Couch { url: "http://localhost:5984".parse().unwrap(), database: "{stream}".into(), creates: true }
    }

    #[test]
    fn each_document_has_its_outcome() {
        let body = r#"[{"ok":true,"id":"a","rev":"1-x"},{"id":"b","error":"conflict","reason":"Document update conflict."},{"id":"c","error":"forbidden","reason":"no"}]"#;
        let sent = couch().sort(&answer(201, body), &[0, 1, 2]).unwrap();
        assert_eq!((sent.exists, sent.dead), (1, vec![(2, "forbidden: no".to_owned())]));
        assert!(matches!(couch().sort(&answer(401, ""), &[0]), Err(StoreError::Stop(_))));
        assert!(matches!(couch().sort(&answer(201, "[]"), &[0]), Err(StoreError::Busy { .. })));
    }

    #[test]
    fn documents_are_the_lines_with_their_ids() {
        let feed = Arc::new(Feed { stream: "_rejected/Bse.1".into(), origin: "o".into() });
        let lines = "{\"k\":\"a\\\"b\",\"n\":1}\n{\"k\":\"_x\"}\n[1]\n{\"k\":2}\n";
        let batch = Batch::new(feed, Position::start_of(1), lines.into(), Ids::Field("k".into()));
        let (request, dead) = couch().request(&batch);
        assert_eq!(&*request.body, br#"{"docs":[{"_id":"a\"b","k":"a\"b","n":1},{"_id":"2","k":2}]}"#);
        assert_eq!(dead.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(request.url.as_str(), "http://localhost:5984/s_rejected_bse_1/_bulk_docs");
    }
}
