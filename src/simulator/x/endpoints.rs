//! The endpoints: who may ask, what is asked, what is answered.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::answers;
use super::faults::Fault;
use super::legacy;
use super::post::Asked;
use super::state::{Account, Line, Policy, Reader, State, Wants};
use super::stored::{change_rules, counts, list_rules};
use crate::simulator::line::{Manner, Quiet};
use crate::simulator::server::{Answer, Reply, Request};
use crate::simulator::stream::{Piece, Stream};
use crate::simulator::upstream::{Shared, lock};

/// How many requests in a quarter of an hour.
const SEARCH_MAX: u64 = 450;

/// By how much signs of life are late where they are: seen at X are up to 24 s in place of 20.
const LATE: Duration = Duration::from_secs(4);

/// What the stream is asked with, beside fields.
const STREAM_PARAMETERS: [&str; 9] = [
    "backfill_minutes",
    "start_time",
    "end_time",
    "tweet.fields",
    "expansions",
    "user.fields",
    "media.fields",
    "place.fields",
    "poll.fields",
];

/// Answers a request.
pub(super) fn answer(state: &Shared<Account>, request: &Request) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path == legacy::FILTER {
        return legacy::answer(state, request);
    }
    let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut state = lock(state);
    let result = match (request.method.as_str(), path) {
        ("POST", "/oauth2/token") => return token(&state, request).into(),
        _ if !is_authorized(&state, request) => Err(Box::new(unauthorized(request))),
        ("GET", "/2/tweets/search/stream") => return stream(&mut state, request, &query),
        ("GET", "/2/tweets/search/stream/rules") => list_rules(&mut state, &query),
        ("POST", "/2/tweets/search/stream/rules") => change_rules(&mut state, request, &query),
        ("GET", "/2/tweets/search/stream/rules/counts") => Ok(counts(&state)),
        ("GET", "/2/connections") => Ok(list_connections(&mut state)),
        ("DELETE", "/2/connections/all") => Ok(end_connections(&mut state, None)),
        ("DELETE", "/2/connections") => Ok(end_connections(&mut state, Some(&request.body))),
        ("GET", "/2/usage/tweets") => Ok(usage(&state)),
        ("GET", "/2/tweets/search/recent") => search(&mut state, &query),
        _ => Err(Box::new(answers::json(404, &json!({ "title": "Not Found", "type": "about:blank", "status": 404 })))),
    };
    result.unwrap_or_else(|reply| *reply).into()
}

pub(super) type Result = std::result::Result<Reply, Box<Reply>>;

fn is_authorized(state: &State, request: &Request) -> bool {
    request.header("authorization") == Some(&format!("Bearer {}", state.settings.token))
}

fn unauthorized(request: &Request) -> Reply {
    let is_signed = request.header("authorization").is_some_and(|value| value.starts_with("OAuth "));
    if is_signed { answers::unsupported_authentication() } else { answers::unauthorized() }
}

fn token(state: &State, request: &Request) -> Reply {
    let pair = format!("{}:{}", state.settings.consumer_key, state.settings.consumer_secret);
    let expected = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    if request.header("authorization") == Some(&expected) && request.body == b"grant_type=client_credentials" {
        return answers::json(200, &json!({ "token_type": "bearer", "access_token": state.settings.token }));
    }
    let error =
        json!({ "code": 99, "label": "authenticity_token_error", "message": "Unable to verify your credentials" });
    answers::json(403, &json!({ "errors": [error] }))
}

/// Opens a stream, unless there is a reason not to.
fn stream(state: &mut State, request: &Request, query: &[(String, String)]) -> Answer {
    let limit = state.settings.connects_max;
    let (refused, left, reset) = state.count_request("stream", limit);
    let fault = state.faults.next_of_connections();
    let refused = refused.or_else(|| state.refusal(fault));
    let asked = match refused.map_or(Ok(()), Err).and_then(|()| check_stream(state, query)) {
        Ok(asked) => asked,
        Err(reply) => return answers::with_window(reply, limit, left, reset).into(),
    };
    let manner = manner(state, request, fault, state.settings.keep_alive);
    let answer = open(state, request, manner, query, Wants::V2(asked), fault);
    match answer {
        Answer::Stream(mut stream) => {
            stream.headers.push(("x-rate-limit-limit".into(), limit.to_string()));
            stream.headers.push(("x-rate-limit-remaining".into(), left.to_string()));
            stream.headers.push(("x-rate-limit-reset".into(), reset.timestamp().to_string()));
            Answer::Stream(stream)
        }
        Answer::Whole(reply) => Answer::Whole(reply),
    }
}

/// How a stream is written to whoever asks for it.
pub(super) fn manner(state: &State, request: &Request, fault: Option<Fault>, keep_alive: Duration) -> Manner {
    let settings = &state.settings;
    let late = if fault == Some(Fault::LateKeepAlives) { LATE } else { settings.keep_alive_late };
    Manner {
        quiet: Some(Quiet { text: "\r\n", every: keep_alive, late: Some(late) }),
        coding: if let Some(Fault::Written(coding)) = fault { coding } else { settings.coding },
        // Prepared posts are for measuring how they are read, not how they are unpacked.
        gzip: state.flood.is_none() && request.accepts_gzip(),
        unflushed: fault == Some(Fault::Unflushed),
        seed: settings.seed,
    }
}

/// Begins a stream, with what it replays.
pub(super) fn open(
    state: &mut State,
    request: &Request,
    manner: Manner,
    query: &[(String, String)],
    wants: Wants,
    fault: Option<Fault>,
) -> Answer {
    let get = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let time = |name: &str| get(name)?.parse::<DateTime<Utc>>().ok();
    let window = time("start_time").map(|from| (from, time("end_time").unwrap_or_else(|| state.now())));
    let minutes = get("backfill_minutes").and_then(|text| text.parse().ok());
    let reader = Reader { id: state.next_line_id(), wants, is_replay: window.is_some() };
    let (mut line, pieces) = state.line(request, manner, reader);
    if let Some((from, to)) = window {
        state.window(&mut line, from, to);
    } else if let Some(posts) = state.flood.take() {
        state.flood(&mut line, posts);
    } else if let Some(minutes) = minutes.filter(|minutes| *minutes > 0) {
        let from = state.now() - TimeDelta::from_std(state.settings.minute * minutes).unwrap_or_default();
        state.backfill(&mut line, from);
    }
    if fault == Some(Fault::Flap) {
        line.end(Piece::End, state.now(), "accepted, and ended at once");
    }
    state.lines.push(line);
    let mut headers = vec![("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned())];
    if manner.gzip {
        headers.push(("Content-Encoding".into(), "gzip".into()));
    }
    Answer::Stream(Stream { headers, pieces, patience: state.settings.patience })
}

fn check_stream(state: &mut State, query: &[(String, String)]) -> std::result::Result<Asked, Reply> {
    if let Some((name, value)) = query.iter().find(|(name, _)| !STREAM_PARAMETERS.contains(&name.as_str())) {
        return Err(answers::invalid(
            name,
            value,
            &format!("The query parameter [{name}] is not one of {STREAM_PARAMETERS:?}"),
        ));
    }
    let asked = Asked::parse(query).map_err(|(name, value)| {
        answers::invalid(
            &name,
            &value,
            &format!("The `{name}` query parameter value [{value}] is not one of the known ones"),
        )
    })?;
    let get = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let is_window = get("start_time").is_some();
    if let Some(minutes) = get("backfill_minutes") {
        if !minutes.parse::<u8>().is_ok_and(|minutes| minutes <= 5) {
            return Err(answers::invalid("backfill_minutes", minutes, "must be between 0 and 5"));
        }
        if !state.settings.has_recovery {
            return Err(answers::invalid("backfill_minutes", minutes, "is not available to this account"));
        }
    }
    for name in ["start_time", "end_time"] {
        if let Some(text) = get(name) {
            let at: Option<DateTime<Utc>> = text.parse().ok();
            let is_right = at.is_some_and(|at| state.now() - at <= TimeDelta::hours(24) && at <= state.now());
            if !is_right || !state.settings.has_recovery {
                return Err(answers::invalid(name, text, "must be within the last 24 hours"));
            }
        }
    }
    if state.own.credits_gone {
        return Err(answers::credits_depleted());
    }
    if state.settings.usage_cap.is_some_and(|cap| state.own.usage >= cap) {
        return Err(answers::usage_capped());
    }
    if !state.has_rules() {
        return Err(answers::without_rules());
    }
    let (max, policy, now) = (state.settings.connections_max, state.settings.policy, state.now());
    let mut open: Vec<&mut Line> =
        state.counted_lines().filter(|line| matches!(line.reader.wants, Wants::V2(_))).collect();
    if !is_window && open.len() >= max {
        if policy == Policy::Refuse {
            return Err(answers::too_many_connections());
        }
        open[0].write(answers::disconnect("ForceDisconnect", true));
        open[0].end(Piece::End, now, "a newer connection");
    }
    Ok(asked)
}

fn list_connections(state: &mut State) -> Reply {
    let data: Vec<Value> = state
        .counted_lines()
        .map(|line| {
            json!({
                "id": line.reader.id, "endpoint_name": "filtered_stream", "client_ip": "127.0.0.1",
                "connected_at": line.connection.opened_at.to_rfc3339(), "disconnected_at": null, "disconnect_reason": null,
            })
        })
        .collect();
    answers::json(200, &json!({ "meta": { "result_count": data.len() }, "data": data }))
}

fn end_connections(state: &mut State, body: Option<&[u8]>) -> Reply {
    let ids = body.map(|body| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body["uuids"].as_array().cloned().unwrap_or_default()
    });
    let now = state.now();
    let mut ended = 0;
    for line in state.counted_lines() {
        if ids.as_ref().is_none_or(|ids| ids.iter().any(|id| *id == line.reader.id.as_str())) {
            line.end(Piece::End, now, "ended by request");
            ended += 1;
        }
    }
    answers::json(200, &json!({ "data": { "successful_kills": ended, "failed_kills": 0 } }))
}

fn usage(state: &State) -> Reply {
    let cap = state.settings.usage_cap.unwrap_or(3_000_000);
    let data = json!({
        "cap_reset_day": 1, "project_cap": cap.to_string(), "project_id": "1", "project_usage": state.own.usage.to_string(),
    });
    answers::json(200, &json!({ "data": data }))
}

fn search(state: &mut State, query: &[(String, String)]) -> Result {
    let (refused, left, reset) = state.count_request("search", SEARCH_MAX);
    if let Some(reply) = refused {
        return Err(Box::new(reply));
    }
    Ok(answers::with_window(state.search(query)?, SEARCH_MAX, left, reset))
}
