//! `ClickHouse`: `INSERT … FORMAT JSONEachRow` with a token that names the batch
//! (<https://clickhouse.com/docs/guides/developer/deduplicating-inserts-on-retries>).
//!
//! The token is the bounds of the batch, which are saved before it is sent, so that the same comes again after a crash. It
//! works on replicated tables, and on others made with `non_replicated_deduplication_window`, as the one made here is where
//! the server knows that setting. The engine is `ReplacingMergeTree` ordered by id besides: what a server without tokens
//! stores twice goes at the next merge, and at once in `SELECT … FINAL`. Error codes:
//! <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.

use std::time::Duration;

use http::Method;
use serde_json::value::RawValue;
use url::Url;

use crate::context::Context;
use crate::store::{Batch, Feed, Limits, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use super::{Answer, Flavour, HttpStore, Making, Request, basic, bounds, flag, scheme};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "clickhouse",
    schemes: &["clickhouse+http", "clickhouse+https"],
    about: "ClickHouse: a table for each stream, `data` as the JSON text; large inserts over HTTP.",
    once: "a deduplication token for each batch, and a ReplacingMergeTree by id",
    example: "clickhouse+http://default@localhost:8123?database=default&table={stream}",
    options: OPTIONS,
    // ClickHouse wants few large inserts.
    limits: Limits { records: 50_000, bytes: 8 << 20, wait: Duration::from_secs(1), closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("database", "the database; the user's own by default"),
    ("table", "the table of a stream; `{stream}` by default"),
    ("create", "`false` makes no table"),
];

/// The first versions that know the time to the microsecond, and the window for tables that are not replicated.
const WITH_MICROSECONDS: (u32, u32) = (20, 1);
const WITH_WINDOW: (u32, u32) = (22, 2);

/// How many inserts the window remembers.
const WINDOW: u32 = 10_000;

struct Clickhouse {
    url: Url,
    database: Option<String>,
    table: String,
    creates: bool,
    version: (u32, u32),
}

fn open(mut target: Target, context: &Context) -> anyhow::Result<Box<dyn Store>> {
    let database = target.take("database");
    let table = target.take("table").unwrap_or_else(|| "{stream}".to_owned());
    let creates = flag(&mut target, "create", true)?;
    target.finish(OPTIONS)?;
    let login = basic(&target);
    let url = target.url(&scheme(&target))?;
    let flavour = Clickhouse { url, database, table, creates, version: (u32::MAX, 0) };
    Ok(HttpStore::boxed(flavour, context, login))
}

impl Clickhouse {
    fn at(&self, query: &str, more: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("query", query).extend_pairs(more);
        if let Some(database) = &self.database {
            url.query_pairs_mut().append_pair("database", database);
        }
        url
    }

    fn table_of(&self, stream: &str) -> String {
        format!("`{}`", expand_stream(&self.table, stream, "_").replace('\\', "\\\\").replace('`', "\\`"))
    }
}

impl Flavour for Clickhouse {
    const NAME: &'static str = "ClickHouse";
    const BY_BATCH: bool = true;

    fn hello(&self) -> Option<Request> {
        Some(Request::get(self.at("SELECT version()", &[])))
    }

    fn heard(&mut self, answer: &Answer) -> Result<(), StoreError> {
        sorted(answer)?;
        let words = answer.words();
        let mut numbers = words.split('.').map(|number| number.parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => self.version = (major, minor),
            _ => return Err(StoreError::Stop(answer.cause().context("this is no ClickHouse"))),
        }
        Ok(())
    }

    fn begin(&self, feed: &Feed) -> Vec<Making> {
        if !self.creates {
            return Vec::new();
        }
        let time = if self.version >= WITH_MICROSECONDS { "DateTime64(6, 'UTC')" } else { "String" };
        let window = format!("SETTINGS non_replicated_deduplication_window = {WINDOW}");
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (id String, observed_at {time}, source String, type String,
             published_at Nullable({time}), data String) ENGINE = ReplacingMergeTree ORDER BY id {}",
            self.table_of(&feed.stream),
            if self.version >= WITH_WINDOW { &window } else { "" }
        );
        vec![(Request::new(Method::POST, self.at(&create, &[]), "text/plain", ""), |_| false)]
    }

    fn request(&self, batch: &Batch) -> (Request, Vec<(usize, String)>) {
        let mut body = Vec::with_capacity(batch.iter().map(|entry| entry.line.len() + 64).sum());
        let mut dead = Vec::new();
        for (index, entry) in batch.iter().enumerate() {
            match entry.parts() {
                Ok(parts) => {
                    let row = Row {
                        id: &parts.id,
                        observed_at: parts.observed_at.as_deref().unwrap_or("1970-01-01T00:00:00.000000Z"),
                        source: parts.source.as_deref().unwrap_or_default(),
                        kind: parts.kind.as_deref().unwrap_or_default(),
                        published_at: parts.published_at.as_deref(),
                        data: parts.data,
                    };
                    serde_json::to_writer(&mut body, &row)
                        .expect("invariant: texts have a JSON form, and memory takes it");
                    body.push(b'\n');
                }
                Err(why) => dead.push((index, why)),
            }
        }
        let insert = format!("INSERT INTO {} FORMAT JSONEachRow", self.table_of(batch.stream()));
        let token = bounds(batch);
        let url = if self.version >= WITH_WINDOW {
            let settings = [("insert_deduplication_token", token.as_str()), ("date_time_input_format", "best_effort")];
            self.at(&insert, &settings)
        } else if self.version >= WITH_MICROSECONDS {
            self.at(&insert, &[("date_time_input_format", "best_effort")])
        } else {
            self.at(&insert, &[])
        };
        (Request::new(Method::POST, url, "application/x-ndjson", body), dead)
    }

    fn sort(&self, answer: &Answer, _: &[usize]) -> Result<Sent, StoreError> {
        sorted(answer).map(|()| Sent::default())
    }
}

/// A row; `data` is a text there, the JSON as it came.
#[derive(serde::Serialize)]
struct Row<'a> {
    id: &'a str,
    observed_at: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    published_at: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    data: &'a RawValue,
}

fn as_text<S: serde::Serializer>(data: &RawValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(data.get())
}

/// The code of an error: in a header, or with old servers at the beginning of the words.
fn code(answer: &Answer) -> Option<u32> {
    let header = answer.headers.get("x-clickhouse-exception-code").and_then(|value| value.to_str().ok());
    let words = answer.words();
    let in_words = words.strip_prefix("Code: ").map(|rest| rest.split(|next: char| !next.is_ascii_digit()).next());
    header.or(in_words.flatten()).and_then(|code| code.parse().ok())
}

fn sorted(answer: &Answer) -> Result<(), StoreError> {
    if answer.status.is_success() {
        return Ok(());
    }
    let cause = answer.cause();
    Err(match code(answer) {
        // Too many parts, too many queries, memory, time, read-only for the moment.
        Some(159 | 160 | 202 | 209 | 210 | 241 | 242 | 252 | 319 | 439 | 999) => StoreError::busy(cause),
        // What stands in a row cannot be what its column is.
        Some(6 | 26 | 27 | 38 | 41 | 53 | 69 | 72 | 117 | 130) => StoreError::Refused(cause),
        // No table, database, column, login or right; another form of table.
        Some(16 | 47 | 60 | 62 | 81 | 164 | 192 | 193 | 194 | 497 | 516) => StoreError::Stop(cause),
        _ => answer.error(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::answer;
    use super::*;
    use crate::sink::Position;
    use crate::store::Ids;

    fn clickhouse(version: (u32, u32)) -> Clickhouse {
        let url = "http://localhost:8123".parse().unwrap();
        Clickhouse { url, database: Some("live".into()), table: "{stream}".into(), creates: true, version }
    }

    #[test]
    fn codes_are_sorted() {
        let of = |words: &str| sorted(&answer(500, words)).unwrap_err();
        assert!(matches!(of("Code: 252, e.displayText() = DB::Exception: Too many parts"), StoreError::Busy { .. }));
        assert!(matches!(of("Code: 117. DB::Exception: Unknown field"), StoreError::Refused(_)));
        assert!(matches!(of("Code: 60. DB::Exception: Table live.x doesn't exist"), StoreError::Stop(_)));
        assert!(matches!(of("something else"), StoreError::Busy { .. }));
    }

    #[test]
    fn a_row_keeps_the_text_and_the_batch_has_a_token() {
        let line = r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b","id":"r_1","type":"q","data":{"a":1.10,"s":"\u0000"}}"#;
        let feed = Arc::new(Feed { stream: "s`".into(), origin: "o".into() });
        let batch = Batch::new(feed, Position::start_of(7), format!("{line}\n").into(), Ids::Record);
        let (request, dead) = clickhouse((24, 3)).request(&batch);
        assert!(dead.is_empty());
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        assert!(
            body.ends_with("\"published_at\":null,\"data\":\"{\\\"a\\\":1.10,\\\"s\\\":\\\"\\\\u0000\\\"}\"}\n"),
            "{body}"
        );
        let query: Vec<(String, String)> = request.url.query_pairs().into_owned().collect();
        assert_eq!(query[0].1, "INSERT INTO `s\\`` FORMAT JSONEachRow");
        assert!(
            query.contains(&("insert_deduplication_token".into(), format!("o:s`:7:0-{}", line.len() + 1))),
            "{query:?}"
        );
        let (old, _) = clickhouse((18, 16)).request(&batch);
        assert!(!old.url.as_str().contains("token"));
    }
}
