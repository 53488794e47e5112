//! `quote`: a small stock exchange on the web. An index, a table of thirty stocks in Indian number format, prices that
//! move, validators, compression, and whatever faults are asked for.
//!
//! Prices are a pure function of seed and tick, so that a test can say what must have been seen.

mod pages;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::faults::{Coding, Fault, Faults};
use super::server::{Delivery, Reply, Request, Server};
use super::time::Pace;
use super::{Options, Running, Simulator, Starting, starting};

pub use pages::price_at;

/// Its line in the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "quote",
    about: "a stock exchange's web pages: an index, thirty stocks, prices that move",
    port: 8099,
    paths: &["/", "/stocks", "/stock/1", "/charset/windows-1252", "/health"],
    start,
};

fn start(options: &Options) -> Result<Starting, String> {
    let quote = Quote::new().seed(options.seed).step(options.step).faults(options.faults.parse()?);
    Ok(starting(quote.start_at(options.listen)))
}

/// An exchange that is about to open.
#[derive(Debug, Clone)]
pub struct Quote {
    seed: u64,
    step: Duration,
    faults: Faults,
}

impl Default for Quote {
    fn default() -> Self {
        Self { seed: 1, step: Duration::from_secs(1), faults: Faults::none() }
    }
}

impl Quote {
    /// Prices that change each second, and no faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What prices and chances are made of.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How often prices change; zero is with every request.
    #[must_use]
    pub fn step(mut self, step: Duration) -> Self {
        self.step = step;
        self
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Opens on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(self, port: u16) -> io::Result<Exchange> {
        self.start_at((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// Opens at an address.
    ///
    /// # Errors
    /// When the port is taken, or the machine does not have the address.
    pub async fn start_at(self, address: SocketAddr) -> io::Result<Exchange> {
        let faults = Arc::new(Mutex::new(self.faults));
        let desk =
            Desk { seed: self.seed, pace: Pace::new(self.step), faults: Arc::clone(&faults), bombs: Mutex::default() };
        let server = Server::start_at(address, Arc::new(move |request| desk.answer(request).into())).await?;
        Ok(Exchange { server, faults })
    }
}

/// An open exchange; it closes when this is dropped.
pub struct Exchange {
    server: Server,
    faults: Arc<Mutex<Faults>>,
}

impl Exchange {
    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Changes what goes wrong, from the next request on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }
}

impl Running for Exchange {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// What answers.
struct Desk {
    seed: u64,
    pace: Pace,
    faults: Arc<Mutex<Faults>>,
    /// Made once for each coding: making one costs more than everything else here.
    bombs: Mutex<HashMap<Coding, Arc<Vec<u8>>>>,
}

impl Desk {
    fn answer(&self, request: &Request) -> Reply {
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).at(self.seed, request.number);
        let path = request.path.split('?').next().unwrap_or_default();
        // Faults are the pages'. A site whose robots.txt fails may not be asked for anything (RFC 9309), for a minute at least.
        if path == "/robots.txt" {
            return Reply::new(200, "text/plain", "User-agent: *\nAllow: /\n");
        }
        if let Some(reply) = fault.and_then(|fault| self.instead(fault, request)) {
            return reply;
        }
        let tick = self.tick(request.number);
        let html = match path {
            "/" | "/index" => pages::index(self.seed, tick, fault),
            "/stocks" => pages::stocks(self.seed, tick, fault),
            "/health" => return Reply::new(200, "text/plain", "open\n"),
            _ => match self.other_page(path, tick, fault) {
                Ok(html) => html,
                Err(reply) => return reply,
            },
        };
        let reply = with_validator(request, html.into_bytes(), tick);
        Fault::deliver(fault, reply)
    }

    /// A stock's own page, or else a reply that has no validator.
    fn other_page(&self, path: &str, tick: u64, fault: Option<Fault>) -> Result<String, Reply> {
        let stock = path.strip_prefix("/stock/").and_then(|series| series.parse().ok());
        if let Some(html) = stock.and_then(|series| pages::stock(self.seed, series, tick, fault)) {
            return Ok(html);
        }
        Err(match path.strip_prefix("/charset/").and_then(pages::in_charset) {
            Some((content_type, body)) => Reply::new(200, content_type, body),
            None => Reply::new(404, "text/html", "<h1>404</h1><p>There is no such page.</p>"),
        })
    }

    fn tick(&self, number: u64) -> u64 {
        self.pace.steps().unwrap_or(number)
    }

    /// The answer of a fault that has nothing to do with the page.
    fn instead(&self, fault: Fault, request: &Request) -> Option<Reply> {
        let html = "text/html; charset=utf-8";
        let error =
            |status: u16| Reply::new(status, html, format!("<title>Error {status}</title><h1>Error {status}</h1>"));
        Some(match fault {
            Fault::Status(..) | Fault::Hang | Fault::Reset => return fault.instead(error),
            Fault::RetryAfterDate => error(503).with("Retry-After", pages::http_date(2)),
            Fault::Block => {
                Reply::new(403, html, pages::BLOCK).with("Server", "cloudflare").with("CF-RAY", "8f00ba4-SIM")
            }
            Fault::RedirectLoop => error(302).with("Location", request.path.clone()),
            Fault::Bomb(coding) => self.bomb(coding),
            Fault::Endless => Reply::new(200, html, pages::FILLER).delivered(Delivery::Endless),
            Fault::Line => Reply::new(200, html, pages::long_line()),
            Fault::Nested => Reply::new(200, html, pages::nested()),
            Fault::Hostile => Reply::new(200, html, pages::HOSTILE),
            Fault::Empty => Reply::new(200, html, ""),
            Fault::HugeHeader => error(200).with("X-Huge", "x".repeat(1 << 20)),
            Fault::Charset => {
                Reply::new(200, "text/html; charset=utf-16le", pages::index(self.seed, self.tick(request.number), None))
            }
            Fault::Slow(_)
            | Fault::Drip
            | Fault::Torn
            | Fault::TornChunked
            | Fault::Layout
            | Fault::Moved
            | Fault::Garbled => return None,
        })
    }

    fn bomb(&self, coding: Coding) -> Reply {
        let mut bombs = self.bombs.lock().unwrap_or_else(PoisonError::into_inner);
        let body = bombs.entry(coding).or_insert_with(|| Arc::new(pages::bomb(coding)));
        let reply = Reply::new(200, "text/html", "").with("Content-Encoding", coding.name());
        Reply { body: Arc::clone(body), ..reply }
    }
}

/// The page with its `ETag`, compressed as the client likes, or 304.
fn with_validator(request: &Request, body: Vec<u8>, tick: u64) -> Reply {
    let etag = format!("\"{:016x}\"", pages::hash(&body));
    let headers = |reply: Reply| {
        reply.with("ETag", etag.clone()).with("Cache-Control", "no-cache").with("X-Tick", tick.to_string())
    };
    if request.header("if-none-match").is_some_and(|known| known.split(',').any(|known| known.trim() == etag)) {
        return headers(Reply::new(304, "text/html", ""));
    }
    let accepted = request.header("accept-encoding").unwrap_or_default();
    let coding = Coding::ALL.into_iter().find(|coding| accepted.split(',').any(|name| name.trim() == coding.name()));
    let reply = |body| headers(Reply::new(200, "text/html; charset=utf-8", body).with("Vary", "Accept-Encoding"));
    match coding {
        Some(coding) => reply(pages::compress(coding, &body)).with("Content-Encoding", coding.name()),
        None => reply(body),
    }
}
