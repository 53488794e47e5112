//! The endpoints: who may ask, what is asked, what is answered.

use std::sync::Arc;

use super::faults::Fault;
use super::state::{Events, Line, Reader, Shape, State, cut};
use super::{flood, mastodon, plain, wikimedia};
use crate::simulator::line::{Manner, Out, Quiet};
use crate::simulator::server::{Answer, Reply, Request};
use crate::simulator::stream::{Piece, Stream};
use crate::simulator::upstream::{Shared, lock};

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
pub(super) fn answer(shared: &Shared<Events>, request: &Request) -> Answer {
    let mut state = lock(shared);
    let fault = state.faults.next_of_connections();
    let shape = match state.refusal(fault).map_or_else(|| shape(&mut state, request), Err) {
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
        let open = state.open_lines().filter(|line| matches!(line.reader.shape, Shape::Wikimedia(_))).count();
        if open >= state.settings.connections_max {
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
    let comment = match shape {
        Shape::Plain => Some(": still here\n"),
        Shape::Mastodon => Some(mastodon::THUMP),
        Shape::Wikimedia(_) => None,
    };
    let manner = Manner {
        quiet: comment.map(|text| Quiet { text, every: settings.comment_every, late: None }),
        coding: if let Some(Fault::Written(coding)) = fault { coding } else { settings.coding },
        // Prepared events are for measuring how they are read, not how they are unpacked.
        gzip: state.flood.is_none() && request.accepts_gzip(),
        unflushed: fault == Some(Fault::Unflushed),
        seed: settings.seed.wrapping_add(request.number),
    };
    let (mut line, pieces) = state.line(request, manner, Reader { shape, late: None });
    begin(state, &mut line, fault);
    state.lines.push(line);
    let mut headers = vec![
        ("Content-Type".to_owned(), "text/event-stream; charset=utf-8".to_owned()),
        ("Cache-Control".to_owned(), "no-cache".to_owned()),
    ];
    if manner.gzip {
        headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    }
    Answer::Stream(Stream { headers, pieces, patience: settings.patience })
}

/// What comes first: a greeting, and what was missed.
fn begin(state: &mut State, line: &mut Line, fault: Option<Fault>) {
    if fault == Some(Fault::Mark) {
        line.write("\u{feff}".into());
    }
    if fault == Some(Fault::Flap) {
        let now = state.now();
        return line.end(Piece::End, now, "flap");
    }
    match &line.reader.shape {
        Shape::Plain => {
            if let Some(retry) = state.settings.retry {
                line.write(format!("retry: {retry}\n\n").into_bytes());
            }
            if let Some(events) = state.flood.take() {
                let now = state.now();
                line.send(Out::Flood(flood::maker(), events / flood::EVENTS as u64));
                return line.end(Piece::End, now, "all of it");
            }
            if let Some(from) = plain::from(&state.settings, line.connection.last_event_id.as_deref()) {
                state.replay(line, |logged| logged.number >= from);
            }
        }
        Shape::Mastodon => line.write(mastodon::HELLO.to_vec()),
        Shape::Wikimedia(assignment) => {
            let before = assignment.clone();
            line.write(wikimedia::HELLO.to_vec());
            state.replay(line, |logged| before.missed(logged));
        }
    }
}
