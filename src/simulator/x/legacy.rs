//! `statuses/filter` of v1.1: signed requests, three predicates, messages that may be delimited by their length, and a
//! newer stream that throws out the oldest.
//!
//! Facts are from X's pages "Consuming streaming data", "Connecting to a streaming endpoint" and "Streaming message
//! types", which have been kept by others since X took them away.

use chrono::TimeDelta;
use serde_json::json;

use super::endpoints::{manner, open};
use super::rules::Filter;
use super::state::{Account, Line, State, Wants};
use crate::simulator::oauth1;
use crate::simulator::server::{Answer, Reply, Request};
use crate::simulator::stream::Piece;
use crate::simulator::upstream::{Shared, lock};

/// The path.
pub(super) const FILTER: &str = "/1.1/statuses/filter.json";

/// The limits of an ordinary account.
const TRACK_MAX: usize = 400;
const FOLLOW_MAX: usize = 5000;
const LOCATIONS_MAX: usize = 25;

/// A clock may be wrong by this much.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// Answers a request for a stream.
pub(super) fn answer(state: &Shared<Account>, request: &Request) -> Answer {
    let mut state = lock(state);
    let fault = state.faults.next_of_connections();
    let limit = state.settings.connects_max;
    let checked = check(&mut state, request).and_then(|wants| {
        let (refused, ..) = state.count_request("filter", limit);
        match refused.map(|_| enhance_your_calm()).or_else(|| state.refusal(fault)) {
            Some(reply) => Err(reply),
            None => Ok(wants),
        }
    });
    let wants = match checked {
        Ok(wants) => wants,
        Err(reply) => return reply.into(),
    };
    make_room(&mut state);
    // A sign of life each half minute, where v2 has one in twenty seconds.
    let manner = manner(&state, request, fault, state.settings.keep_alive * 3 / 2);
    open(&mut state, request, manner, &[], wants, fault)
}

/// Asked too often.
pub fn enhance_your_calm() -> Reply {
    Reply::new(420, "text/plain", "Easy there, Turbo. Too many requests recently. Enhance your calm.\n")
}

fn check(state: &mut State, request: &Request) -> Result<Wants, Reply> {
    let unauthorized = |why: &str| {
        let page = format!(
            "<html>\n<head><title>Error 401 Unauthorized</title></head>\n<body><h2>HTTP ERROR: 401</h2><p>Problem accessing \
             '{FILTER}'. Reason: <pre>Unauthorized: {why}</pre></body>\n</html>\n"
        );
        Reply::new(401, "text/html", page)
    };
    let given = oauth1::check(request, &state.settings.keys()).map_err(|why| unauthorized(&why))?;
    let at: i64 = given["oauth_timestamp"].parse().unwrap_or_default();
    if (state.now().timestamp() - at).abs() > SKEW.num_seconds() {
        return Err(unauthorized("the timestamp is out of bounds"));
    }
    if !state.own.nonces.insert(given["oauth_nonce"].clone()) {
        return Err(unauthorized("the nonce was used before"));
    }
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let parts = [query.as_bytes(), &request.body];
    let all: Vec<_> = parts.into_iter().flat_map(|part| url::form_urlencoded::parse(part).into_owned()).collect();
    filter(&all)
}

fn filter(parameters: &[(String, String)]) -> Result<Wants, Reply> {
    let refuse = |status, words: &str| Reply::new(status, "text/html", format!("{words}\n"));
    let get = |name: &str| parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let list = |name: &str| get(name).split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
    let track: Vec<String> = list("track").collect();
    let follow: Option<Vec<i64>> = list("follow").map(|id| id.parse().ok()).collect();
    let corners: Option<Vec<f64>> = list("locations").map(|number| number.parse().ok()).collect();
    let (Some(follow), Some(corners)) = (follow, corners) else {
        return Err(refuse(406, "Parameter follow or locations: not numbers"));
    };
    let locations: Vec<[f64; 4]> = corners.chunks(4).filter_map(|chunk| chunk.try_into().ok()).collect();
    let is_box = |[west, south, east, north]: &[f64; 4]| west < east && south < north;
    if locations.len() * 4 != corners.len() || !locations.iter().all(is_box) {
        return Err(refuse(406, "Parameter locations: boxes of longitude and latitude are wanted, southwest first"));
    }
    if track.is_empty() && follow.is_empty() && locations.is_empty() {
        return Err(refuse(406, "No filter parameters found. Expect at least one parameter: follow track locations"));
    }
    if track.iter().any(|phrase| phrase.len() > 60) {
        return Err(refuse(406, "Parameter track: a phrase is longer than 60 bytes"));
    }
    if track.len() > TRACK_MAX || follow.len() > FOLLOW_MAX || locations.len() > LOCATIONS_MAX {
        return Err(refuse(413, "Too many track keywords, follow ids or location boxes"));
    }
    Ok(Wants::V11 { filter: Filter { track, follow, locations }, is_delimited: get("delimited") == "length" })
}

/// The newest stream wins, here and whatever the settings say for v2.
fn make_room(state: &mut State) {
    let (max, now) = (state.settings.connections_max, state.now());
    let mut streams: Vec<&mut Line> =
        state.counted_lines().filter(|line| matches!(line.reader.wants, Wants::V11 { .. })).collect();
    if streams.len() >= max {
        let why = json!({ "disconnect": { "code": 7, "stream_name": "simulated", "reason": "admin logout" } });
        streams[0].say(&why.to_string());
        streams[0].end(Piece::End, now, "a newer connection");
    }
}
