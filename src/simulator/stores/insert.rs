//! Stores that go by batches: what came under a name that is known is not taken again.

use super::{State, parts};
use crate::simulator::server::{Reply, Request};

fn says(status: u16, words: &str) -> Reply {
    Reply::new(status, "text/plain", words)
}

/// Queries over HTTP: the version, tables, and inserts that have a token.
pub(super) fn clickhouse(state: &mut State, request: &Request) -> Reply {
    let (_, query) = parts(request);
    let asked = query.get("query").map_or("", String::as_str);
    if asked == "SELECT version()" {
        return says(200, "24.3.5.46\n");
    }
    if let Some(rest) = asked.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
        let table = rest.split_whitespace().next().unwrap_or_default();
        state.rows.entry(table.to_owned()).or_default();
        return says(200, "");
    }
    let Some(table) = asked.strip_prefix("INSERT INTO ").and_then(|rest| rest.strip_suffix(" FORMAT JSONEachRow"))
    else {
        return says(400, "Code: 62. DB::Exception: Syntax error").with("X-ClickHouse-Exception-Code", "62");
    };
    let Some(rows) = state.rows.get_mut(table) else {
        let words = format!("Code: 60. DB::Exception: Table default.{table} does not exist");
        return says(404, &words).with("X-ClickHouse-Exception-Code", "60");
    };
    let lines: Vec<&[u8]> = request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    // All of an insert or nothing.
    if lines.iter().any(|line| {
        serde_json::from_slice::<serde_json::Value>(line).is_err() || contains(line, b"strict_number\\\":\\\"")
    }) {
        return says(400, "Code: 27. DB::Exception: Cannot parse input").with("X-ClickHouse-Exception-Code", "27");
    }
    if let Some(token) = query.get("insert_deduplication_token")
        && state.tokens.insert(token.clone(), request.body.clone()).is_some()
    {
        return says(200, "");
    }
    rows.extend(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()));
    says(200, "")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Somebody's receiver, which takes each key once, and answers for nothing but the whole.
pub(super) fn webhook(state: &mut State, request: &Request) -> Reply {
    let (path, _) = parts(request);
    let body = match request.header("content-encoding") {
        Some("gzip") => {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&request.body[..]);
            if std::io::Read::read_to_end(&mut decoder, &mut plain).is_err() {
                return says(400, "this is no gzip");
            }
            plain
        }
        Some("zstd") => match zstd::stream::decode_all(&request.body[..]) {
            Ok(plain) => plain,
            Err(_) => return says(400, "this is no zstd"),
        },
        _ => request.body.clone(),
    };
    let lines: Vec<String> = if request.header("content-type") == Some("application/json") {
        let read: Result<Vec<Box<serde_json::value::RawValue>>, _> = serde_json::from_slice(&body);
        match read {
            Ok(all) => all.iter().map(|one| one.get().to_owned()).collect(),
            Err(_) => return says(400, "this is no array"),
        }
    } else {
        String::from_utf8_lossy(&body).lines().map(str::to_owned).collect()
    };
    if lines.iter().any(|line| line.contains("\"strict_number\":\"")) {
        return says(422, "strict_number is a number");
    }
    let key = request.header("idempotency-key").unwrap_or_default().to_owned();
    if state.tokens.insert(key, body).is_none() {
        state.rows.entry(path).or_default().extend(lines);
    }
    says(204, "")
}
