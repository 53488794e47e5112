//! Stores that speak HTTP and that no package brings: Elasticsearch, `CouchDB`, `ClickHouse` with its tokens, and somebody's
//! webhook. They keep what they are given by the rules of the real ones, and fail when they are told to.

mod bulk;
mod insert;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::server::{Answer, Delivery, Reply, Request, Server};

/// Which store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Elasticsearch or `OpenSearch`: the bulk API.
    Elasticsearch,
    /// `CouchDB`: databases and `_bulk_docs`.
    Couchdb,
    /// `ClickHouse` over HTTP, of a version that knows deduplication tokens.
    Clickhouse,
    /// A receiver that takes each `Idempotency-Key` once.
    Webhook,
}

/// What goes wrong, each with its chance in a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The seed of chance.
    pub seed: u64,
    /// 429 for each item by itself, with this chance in a thousand items.
    pub item_busy: u32,
    /// 429 for the whole request, with `Retry-After: 1`.
    pub busy: u32,
    /// 503 with a page of HTML.
    pub html: u32,
    /// The connection ends before anything was done.
    pub cut_before: u32,
    /// The connection ends after everything was done.
    pub cut_after: u32,
    /// Requests longer than this many bytes are refused with 413.
    pub body_max: Option<usize>,
}

/// A running store; it ends when this is dropped.
pub struct Store {
    server: Server,
    state: Arc<Mutex<State>>,
}

/// What it has.
#[derive(Default)]
pub struct State {
    /// Documents by index, database or table, and by id there.
    pub documents: BTreeMap<String, BTreeMap<String, String>>,
    /// Rows by table, or lines by path, in the order in which they came.
    pub rows: BTreeMap<String, Vec<String>>,
    /// What batches were told apart by, and what they held.
    pub tokens: BTreeMap<String, Vec<u8>>,
    /// A fixed answer to everything instead, such as 403.
    pub refuse: Option<u16>,
    /// Whether nothing goes wrong any more.
    pub is_well: bool,
    /// How many requests brought records.
    pub batches: u64,
}

impl Store {
    /// Starts one on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(kind: Kind, port: u16, faults: Faults) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let random = Mutex::new(StdRng::seed_from_u64(faults.seed));
        let shared = Arc::clone(&state);
        let handler = move |request: &Request| -> Answer {
            let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            answer(kind, &faults, &mut random, &mut state, request).into()
        };
        Ok(Self { server: Server::start(port, Arc::new(handler)).await?, state })
    }

    /// Its address without a scheme: host and port.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// What it has, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests that came.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }
}

fn answer(kind: Kind, faults: &Faults, random: &mut StdRng, state: &mut State, request: &Request) -> Reply {
    if let Some(status) = state.refuse {
        return Reply::new(status, "application/json", r#"{"error":"refused","reason":"as the script says"}"#);
    }
    let brings = request.method == "POST" && request.body.len() > 2;
    if !brings || state.is_well {
        return carried_out(kind, &Faults::default(), random, state, request);
    }
    if faults.body_max.is_some_and(|most| request.body.len() > most) {
        return Reply::new(413, "text/plain", "too large");
    }
    let mut happens = |in_thousand: u32| random.random_range(0..1_000) < in_thousand;
    if happens(faults.busy) {
        return Reply::new(429, "application/json", "{}").with("Retry-After", "1");
    }
    if happens(faults.html) {
        return Reply::new(503, "text/html", "<html><body><h1>503 Service Unavailable</h1></body></html>");
    }
    if happens(faults.cut_before) {
        return Reply::new(200, "text/plain", "").delivered(Delivery::Reset);
    }
    let is_cut = happens(faults.cut_after);
    state.batches += 1;
    let reply = carried_out(kind, faults, random, state, request);
    if is_cut { reply.delivered(Delivery::Reset) } else { reply }
}

fn carried_out(kind: Kind, faults: &Faults, random: &mut StdRng, state: &mut State, request: &Request) -> Reply {
    match kind {
        Kind::Elasticsearch => bulk::elasticsearch(faults, random, state, request),
        Kind::Couchdb => bulk::couchdb(state, request),
        Kind::Clickhouse => insert::clickhouse(state, request),
        Kind::Webhook => insert::webhook(state, request),
    }
}

/// The path of a request, and the values of its query.
fn parts(request: &Request) -> (String, BTreeMap<String, String>) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    (path.to_owned(), query)
}
