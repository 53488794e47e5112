//! `json`: an API that lists trades. They come one at each step, with ids that are not in order, in every way of paging that
//! APIs have, as JSON, lines of JSON, a table and XML, and with whatever faults are asked for.
//!
//! `/trades?since=ID&limit=N&page=P|offset=O|cursor=C` gives those that came after the one with this id, the oldest first;
//! with `late=N` up to N of them are seen only later, so that a greater id is seen before a smaller one. Two more speak as
//! servers do that presets are for.

mod hacker_news;
pub mod usgs;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::faults::{Fault, Faults};
pub use super::server::Server as Site;
use super::server::{Answer, Handler, Reply, Request};
use super::time::{Pace, now};
use super::{Options, Simulator, Starting, starting};

/// Its line in the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "json",
    about: "an API of trades at /trades, in pages, with a parameter since; summaries of the USGS, Hacker News's search",
    port: 8095,
    paths: &[
        "/trades",
        "/trades?limit=2&format=csv",
        "/trades?limit=2&format=xml",
        "/earthquakes/feed/v1.0/summary/all_day.geojson",
        "/api/v1/search_by_date?tags=story",
    ],
    start: from_options,
};

/// The first id; beyond what a float holds exactly.
pub const FIRST_ID: u64 = 9_007_199_254_740_993;
const EPOCH: i64 = 1_795_428_000;

fn from_options(options: &Options) -> Result<Starting, String> {
    let api = Api { step: options.step, seed: options.seed, faults: options.faults.parse()? };
    Ok(starting(Site::start_at(options.listen, api.handler())))
}

/// An API that is about to run.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// How often a trade comes; zero is at each request without a page.
    pub step: Duration,
    /// What the chances are made of.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
}

impl Api {
    /// Starts it on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(self, port: u16) -> io::Result<Site> {
        Site::start(port, self.handler()).await
    }

    fn handler(self) -> Handler {
        let (pace, asked, opened_at) = (Pace::new(self.step), AtomicU64::new(0), now().timestamp());
        Arc::new(move |request: &Request| -> Answer {
            let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
            match path {
                "/trades" | hacker_news::PATH => {}
                summary if usgs::is_summary(summary) => {}
                "/health" => return Reply::new(200, "text/plain", "open\n").into(),
                _ => return Reply::new(404, "application/json", "{\"error\":\"no such thing\"}").into(),
            }
            let query: HashMap<&str, String> = query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name, plain(value)))
                .collect();
            let is_page =
                ["page", "offset", "cursor"].iter().any(|name| query.get(name).is_some_and(|value| value != "1"));
            let by_asking =
                || if is_page { asked.load(Ordering::Relaxed) } else { asked.fetch_add(1, Ordering::Relaxed) };
            let step = pace.steps().unwrap_or_else(by_asking);
            let Some(reply) = self.faults.at(self.seed, request.number).and_then(instead) else {
                return match path {
                    "/trades" => self.answer(request, &query, step),
                    hacker_news::PATH => hacker_news::search(&query, step, opened_at),
                    summary => usgs::summary(request, summary, step),
                }
                .into();
            };
            reply.into()
        })
    }

    fn answer(&self, request: &Request, query: &HashMap<&str, String>, step: u64) -> Reply {
        let fault = self.faults.at(self.seed, request.number);
        let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
        let limit = usize::try_from(number("limit").unwrap_or(100)).unwrap_or(100).clamp(1, 1000);
        let mut all = trades(self.seed, step, number("late").unwrap_or(0));
        all.retain(|trade| number("since").is_none_or(|since| *trade > since));
        all.sort_unstable();
        let start = match (number("page"), number("offset"), number("cursor")) {
            (Some(page), _, _) => usize::try_from(page.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(limit),
            (_, Some(offset), _) => usize::try_from(offset).unwrap_or(usize::MAX),
            // A cursor is the id that a page begins behind, so that pages stay what they are while more comes.
            (_, _, Some(cursor)) => all.partition_point(|trade| *trade <= cursor),
            _ => 0,
        };
        let page = &all[start.min(all.len())..(start.saturating_add(limit)).min(all.len())];
        let next = (start + limit < all.len()).then(|| page.last().copied()).flatten();
        let (kind, body) = written(page, next, request, query.get("format").map_or("json", String::as_str));
        let reply = Reply::new(200, kind, body);
        let reply = match next {
            Some(next) => reply.with("Link", format!("<{}>; rel=\"next\"", next_path(request, next))),
            None => reply,
        };
        Fault::deliver(fault, reply)
    }
}

/// The text of a parameter, as far as this server is asked with it.
fn plain(value: &str) -> String {
    value.replace("%3A", ":").replace("%3E", ">").replace('+', " ")
}

/// The address of the page that begins behind an id.
fn next_path(request: &Request, next: u64) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let others: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
    format!("{path}?{}{}cursor={next}", others.join("&"), if others.is_empty() { "" } else { "&" })
}

/// The answer of a fault that has nothing to do with trades.
fn instead(fault: Fault) -> Option<Reply> {
    let error = |status: u16| Reply::new(status, "application/json", format!("{{\"error\":\"status {status}\"}}"));
    Some(match fault {
        // An error with a good status.
        Fault::Garbled => error(200),
        Fault::Empty => Reply::new(200, "application/json", ""),
        Fault::Layout => Reply::new(200, "text/html", "<!doctype html><title>Maintenance</title>"),
        Fault::Moved => Reply::new(200, "application/json", "{\"result\":{}}"),
        Fault::Nested => Reply::new(200, "application/json", "[".repeat(200_000)),
        _ => return fault.instead(error),
    })
}

/// The ids of the trades that are seen at a step. With `late`, each is seen up to so many steps after it came.
pub fn trades(seed: u64, step: u64, late: u64) -> Vec<u64> {
    let is_seen = |number: &u64| {
        let chance = (seed ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        number + chance % (late + 1) <= step
    };
    (0..=step).filter(is_seen).map(|number| FIRST_ID + number).collect()
}

fn time(id: u64) -> String {
    let seconds = i64::try_from(id - FIRST_ID).unwrap_or(0);
    chrono::DateTime::from_timestamp(EPOCH + seconds, 0).unwrap_or_default().to_rfc3339()
}

fn written(page: &[u64], next: Option<u64>, request: &Request, format: &str) -> (&'static str, String) {
    let mut out = String::new();
    let put = |out: &mut String, text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("invariant: writing to a string cannot fail");
    };
    let object = |out: &mut String, id: u64| {
        put(
            out,
            format_args!(
                "{{\"id\":{id},\"time\":\"{}\",\"price\":{}.50,\"name\":\"Z\u{fc}rich\"}}",
                time(id),
                id % 1000
            ),
        );
    };
    match format {
        "jsonl" => {
            for id in page {
                object(&mut out, *id);
                out.push('\n');
            }
            ("application/x-ndjson", out)
        }
        "csv" => {
            out.push_str("id,time,price,name\n");
            for id in page {
                put(&mut out, format_args!("{id},{},{}.50,Z\u{fc}rich\n", time(*id), id % 1000));
            }
            ("text/csv; charset=utf-8", out)
        }
        "xml" => {
            out.push_str("<?xml version=\"1.0\"?><trades>");
            for id in page {
                put(
                    &mut out,
                    format_args!(
                        "<trade id=\"{id}\"><time>{}</time><price>{}.50</price></trade>",
                        time(*id),
                        id % 1000
                    ),
                );
            }
            out.push_str("</trades>");
            ("application/xml", out)
        }
        _ => {
            out.push_str("{\"data\":[");
            for (index, id) in page.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                object(&mut out, *id);
            }
            match next {
                Some(next) => {
                    put(&mut out, format_args!("],\"cursor\":\"{next}\",\"next\":\"{}\"}}", next_path(request, next)));
                }
                None => out.push_str("],\"cursor\":null,\"next\":null}"),
            }
            ("application/json", out)
        }
    }
}
