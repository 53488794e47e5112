//! The endpoints: who may ask, what is asked, what is answered.

use std::sync::{Arc, Mutex};

use super::faults::Fault;
use super::line::{self, Manner, Out};
use super::state::{Connection, Line, Shape, State, cut};
use super::{flood, lock, mastodon, plain, wikimedia};
use crate::simulator::server::{Answer, Reply, Request};
use crate::simulator::stream::{Piece, Stream};

/// Mastodon's streams, each below the one path.
const TIMELINES: [&str; 9] = [
    "user",
    "user/notification",
    "public",
    "public/local",
    "public/remote",
    "hashtag",
    "hashtag/local",
    "list",
    "direct",
];

/// Answers a request.
pub(super) fn answer(shared: &Arc<Mutex<State>>, request: &Request) -> Answer {
    let mut state = lock(shared);
    let fault = state.faults.next_of_connections();
    let refused = state.refusals.pop_front().or_else(|| fault?.refusal());
    let shape = match refused.map_or_else(|| shape(&mut state, request), Err) {
        Ok(shape) => shape,
        Err(reply) => return reply.into(),
    };
    let (number, after) = (state.lines.len(), state.settings.cut_after);
    let answer = open(&mut state, request, shape, fault);
    if let Some(after) = after {
        tokio::spawn(cut(Arc::clone(shared), number, after));
    }
    answer
}

/// What is asked for, unless there is a reason not to answer.
fn shape(state: &mut State, request: &Request) -> Result<Shape, Reply> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut query = url::form_urlencoded::parse(query.as_bytes());
    if request.method != "GET" {
        return Err(Reply::new(405, "text/plain", "only GET"));
    }
    if path == "/plain" {
        return Ok(Shape::Plain);
    }
    if path == "/api/v1/streaming/health" {
        return Err(Reply::new(200, "text/plain", "OK"));
    }
    if let Some(timeline) = path.strip_prefix("/api/v1/streaming/") {
        let is_right = request.header("authorization") == Some(&format!("Bearer {}", state.settings.token));
        return match TIMELINES.contains(&timeline) {
            true if is_right => Ok(Shape::Mastodon),
            true => Err(mastodon::unauthorized()),
            false => Err(Reply::new(404, "application/json", r#"{"error":"Not found"}"#)),
        };
    }
    if let Some(streams) = path.strip_prefix("/v2/stream/") {
        state.notice_gone();
        let is_open = |line: &&Line| matches!(line.shape, Shape::Wikimedia(_)) && line.is_open();
        if state.lines.iter().filter(is_open).count() >= state.settings.connections_max {
            return Err(wikimedia::too_many_connections());
        }
        let since = query.find(|(name, _)| name == "since").map(|(_, value)| value.into_owned());
        let id = request.header("last-event-id").filter(|id| !id.is_empty());
        return wikimedia::Assignment::new(streams, since.as_deref(), id).map(Shape::Wikimedia);
    }
    Err(Reply::new(404, "text/plain", "not found"))
}

/// Begins a stream, with what it replays.
fn open(state: &mut State, request: &Request, shape: Shape, fault: Option<Fault>) -> Answer {
    let settings = state.settings.clone();
    let last_event_id = request.header("last-event-id").map(str::to_owned);
    let comment = match shape {
        Shape::Plain => Some((": still here\n", settings.comment_every)),
        Shape::Mastodon => Some((mastodon::THUMP, settings.comment_every)),
        Shape::Wikimedia(_) => None,
    };
    let accepts_gzip = request.header("accept-encoding").is_some_and(|coding| coding.contains("gzip"));
    // Prepared events are for measuring how they are read, not how they are unpacked.
    let gzip = accepts_gzip && state.flood.is_none();
    let (sender, pieces) = line::start(Manner {
        comment,
        coding: if let Some(Fault::Written(coding)) = fault { coding } else { settings.coding },
        gzip,
        unflushed: fault == Some(Fault::Unflushed),
        seed: settings.seed.wrapping_add(request.number),
    });
    let connection = Connection {
        path: request.path.clone(),
        last_event_id: last_event_id.clone(),
        opened_at: state.now(),
        closed_at: None,
        why: None,
        events: 0,
    };
    let mut line = Line { connection, shape, sender, late: None };
    begin(state, &mut line, last_event_id.as_deref(), fault);
    state.lines.push(line);
    let mut headers = vec![
        ("Content-Type".to_owned(), "text/event-stream; charset=utf-8".to_owned()),
        ("Cache-Control".to_owned(), "no-cache".to_owned()),
    ];
    if gzip {
        headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    }
    Answer::Stream(Stream { headers, pieces, patience: settings.patience })
}

/// What comes first: a greeting, and what was missed.
fn begin(state: &mut State, line: &mut Line, last_event_id: Option<&str>, fault: Option<Fault>) {
    if fault == Some(Fault::Mark) {
        line.send(Out::Bytes("\u{feff}".into()));
    }
    if fault == Some(Fault::Flap) {
        let now = state.now();
        return line.end(Piece::End, now, "flap");
    }
    match &line.shape {
        Shape::Plain => {
            if let Some(retry) = state.settings.retry {
                line.send(Out::Bytes(format!("retry: {retry}\n\n").into_bytes()));
            }
            if let Some(events) = state.flood.take() {
                let now = state.now();
                line.send(Out::Flood(flood::maker(), events / flood::EVENTS as u64));
                return line.end(Piece::End, now, "all of it");
            }
            if let Some(from) = plain::from(&state.settings, last_event_id) {
                state.replay(line, |logged| logged.number >= from);
            }
        }
        Shape::Mastodon => line.send(Out::Bytes(mastodon::HELLO.to_vec())),
        Shape::Wikimedia(assignment) => {
            let before = assignment.clone();
            line.send(Out::Bytes(wikimedia::HELLO.to_vec()));
            state.replay(line, |logged| before.missed(logged));
        }
    }
}
