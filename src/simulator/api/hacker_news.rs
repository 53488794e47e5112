//! Algolia's search of Hacker News, by date: the newest first, at most a thousand, of what came after a moment.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::simulator::server::Reply;

/// What a search gives at most, however it is paged.
const FOUND_MAX: u64 = 1000;

/// Where it is asked.
pub(super) const PATH: &str = "/api/v1/search_by_date";

/// The items of each step: one a minute of its own time, which begins when it opens, at `opened` (Unix seconds).
pub(super) fn search(query: &HashMap<&str, String>, step: u64, opened: i64) -> Reply {
    let whole = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let (per_page, page) = (whole("hitsPerPage").unwrap_or(20).min(FOUND_MAX), whole("page").unwrap_or(0));
    let mut after = i64::MIN;
    if let Some(filter) = query.get("numericFilters") {
        let Some(seconds) = filter.strip_prefix("created_at_i>").and_then(|seconds| seconds.parse().ok()) else {
            let why = json!({ "message": format!("invalid numeric attribute({filter})"), "status": 400 });
            return Reply::new(400, "application/json", why.to_string());
        };
        after = seconds;
    }
    let created = |number: u64| opened + i64::try_from(number).unwrap_or(0) * 60;
    let found = || (0..=step).rev().take_while(|number| created(*number) > after);
    let tags = query.get("tags").map_or("story", String::as_str);
    let (from, most) = (page.saturating_mul(per_page), FOUND_MAX.saturating_sub(page.saturating_mul(per_page)));
    let hits = found().skip(usize::try_from(from).unwrap_or(usize::MAX));
    let hits: Vec<Value> = hits
        .take(usize::try_from(per_page.min(most)).unwrap_or(0))
        .map(|number| hit(number, created(number), tags))
        .collect();
    let count = found().count();
    let body = json!({
        "hits": hits, "nbHits": count, "page": page, "nbPages": (count as u64).min(FOUND_MAX).div_ceil(per_page.max(1)),
        "hitsPerPage": per_page, "exhaustive": { "nbHits": true }, "query": "", "params": "advancedSyntax=true", "processingTimeMS": 3,
    });
    Reply::new(200, "application/json; charset=utf-8", body.to_string())
}

fn hit(number: u64, created: i64, tags: &str) -> Value {
    let time = chrono::DateTime::from_timestamp(created, 0).unwrap_or_default();
    let id = 42_000_000 + number;
    json!({
        "_highlightResult": { "author": { "matchLevel": "none", "matchedWords": [], "value": "pg" } },
        "_tags": [tags, "author_pg", format!("story_{id}")], "author": "pg", "children": [id + 1],
        "created_at": time.format("%Y-%m-%dT%H:%M:%SZ").to_string(), "created_at_i": created, "num_comments": 1,
        "objectID": id.to_string(), "points": 3, "story_id": id, "title": format!("Story {number}"),
        "updated_at": time.format("%Y-%m-%dT%H:%M:%SZ").to_string(), "url": format!("https://a.example/{number}"),
    })
}
