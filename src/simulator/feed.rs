//! `feed`: a site with news. One document in three forms (RSS, Atom, JSON Feed) that grows by an item at each step, shows the
//! last twenty in an order that changes, and changes what some of them say; with validators, and whatever faults are asked for.
//!
//! What it shows is a pure function of the step, so that a test can say what must have been seen.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::faults::{Fault, Faults};
pub use super::server::Server as Site;
use super::server::{Answer, Handler, Reply, Request};
use super::time::Pace;
use super::{Options, Simulator, Starting, starting};

/// Its line in the list.
pub const SIMULATOR: Simulator = Simulator {
    name: "feed",
    about: "news as /rss, /atom and /json, with an item more at each step",
    port: 8094,
    paths: &["/rss", "/atom", "/json"],
    start: from_options,
};

/// Items that are shown at once.
pub const WINDOW: u64 = 20;
/// The first item's time.
const EPOCH: i64 = 1_795_428_000;
/// How long after an item comes it says something else, for every seventh.
const EDITED_AFTER: u64 = 3;

fn from_options(options: &Options) -> Result<Starting, String> {
    let news = News { step: options.step, seed: options.seed, faults: options.faults.parse()?, ttl: None };
    Ok(starting(Site::start_at(options.listen, news.handler())))
}

/// A site that is about to run.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// How often an item comes; zero is at each request for the document.
    pub step: Duration,
    /// What the order and the chances are made of.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Minutes for which the document wants to be left alone.
    pub ttl: Option<u32>,
}

impl News {
    /// Starts it on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(self, port: u16) -> io::Result<Site> {
        Site::start(port, self.handler()).await
    }

    fn handler(self) -> Handler {
        let (pace, asked) = (Pace::new(self.step), AtomicU64::new(0));
        Arc::new(move |request: &Request| -> Answer {
            let form = match request.path.split('?').next().unwrap_or_default() {
                "/rss" => Form::Rss,
                "/atom" => Form::Atom,
                "/json" => Form::Json,
                "/health" => return Reply::new(200, "text/plain", "open\n").into(),
                _ => return Reply::new(404, "text/html", "<h1>404</h1><p>There is no such page.</p>").into(),
            };
            let step = pace.steps().unwrap_or_else(|| asked.fetch_add(1, Ordering::Relaxed));
            self.answer(form, request, step).into()
        })
    }

    fn answer(&self, form: Form, request: &Request, step: u64) -> Reply {
        let fault = self.faults.at(self.seed, request.number);
        if let Some(reply) = fault.and_then(instead) {
            return reply;
        }
        let mut body = form.document(&shown(self.seed, step), self.ttl).into_bytes();
        let mut kind = form.kind().to_owned();
        match fault {
            // Bytes that no document may have, and references that none knows.
            Some(Fault::Garbled) => {
                let text = String::from_utf8_lossy(&body);
                let garbled =
                    text.replace(">News<", ">News\u{1} & more&nbsp;<").replace("\"News\"", "\"News & more&nbsp;\"");
                body = garbled.into_bytes();
            }
            // A wrong word about the encoding.
            Some(Fault::Charset) => {
                kind = kind.split(';').next().unwrap_or_default().to_owned() + "; charset=iso-8859-1";
            }
            // Blank lines before the beginning.
            Some(Fault::Moved) => body = [b"\n\n  ", &body[..]].concat(),
            _ => {}
        }
        let etag = format!("\"{}-{step}\"", form.kind().len());
        let known = request.header("if-none-match");
        if fault.is_none() && known == Some(&etag) {
            return Reply::new(304, "text/plain", "").with("ETag", etag);
        }
        let reply = Reply::new(200, &kind, body).with("ETag", etag);
        Fault::deliver(fault, reply)
    }
}

/// The answer of a fault that has nothing to do with the document.
fn instead(fault: Fault) -> Option<Reply> {
    let error = |status: u16| Reply::new(status, "text/html", format!("<title>Error {status}</title>"));
    Some(match fault {
        Fault::Empty => Reply::new(200, "application/rss+xml", ""),
        Fault::Layout => Reply::new(
            200,
            "text/html",
            "<!doctype html><title>Maintenance</title><link rel=alternate type=application/rss+xml href=/rss><p>Soon.",
        ),
        Fault::Nested => Reply::new(200, "application/rss+xml", format!("<rss>{}", "<channel>".repeat(200_000))),
        _ => return fault.instead(error),
    })
}

/// An item as it is shown at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Counted from 0; its guid is `news-` and this.
    pub number: u64,
    /// Whether it says something else than at first.
    pub is_edited: bool,
}

/// What is shown at a step, in the order in which it is.
pub fn shown(seed: u64, step: u64) -> Vec<Piece> {
    let first = (step + 1).saturating_sub(WINDOW);
    let mut all: Vec<Piece> = (first..=step)
        .map(|number| Piece { number, is_edited: number % 7 == 0 && step >= number + EDITED_AFTER })
        .collect();
    match (seed ^ step) % 4 {
        0 => all.reverse(),
        1 => {
            let middle = all.len() / 2;
            all.rotate_left(middle);
        }
        2 => all.sort_by_key(|piece| piece.number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        _ => {}
    }
    all
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Rss,
    Atom,
    Json,
}

impl Form {
    fn kind(self) -> &'static str {
        match self {
            Self::Rss => "application/rss+xml; charset=utf-8",
            Self::Atom => "application/atom+xml",
            Self::Json => "application/feed+json",
        }
    }

    fn document(self, pieces: &[Piece], ttl: Option<u32>) -> String {
        let mut out = String::new();
        let put = |out: &mut String, text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("invariant: writing to a string cannot fail");
        };
        match self {
            Self::Rss => {
                let ttl = ttl.map_or(String::new(), |ttl| format!("<ttl>{ttl}</ttl>"));
                put(
                    &mut out,
                    format_args!(
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\"><channel><title>News</title><link>https://example.com/</link>{ttl}\n"
                    ),
                );
                for piece in pieces {
                    let (number, title, at) = (piece.number, piece.title(), piece.time().to_rfc2822());
                    put(
                        &mut out,
                        format_args!(
                            "<item><title>{title}</title><link>https://example.com/{number}</link><guid isPermaLink=\"false\">news-{number}</guid><pubDate>{at}</pubDate><description>&lt;p&gt;Über {number}&lt;/p&gt;</description></item>\n"
                        ),
                    );
                }
                out.push_str("</channel></rss>\n");
            }
            Self::Atom => {
                out.push_str("<?xml version=\"1.0\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>News</title><link href=\"https://example.com/\"/><id>urn:news</id>\n");
                for piece in pieces {
                    let (number, title, at) = (piece.number, piece.title(), piece.time().to_rfc3339());
                    put(
                        &mut out,
                        format_args!(
                            "<entry><title>{title}</title><link href=\"https://example.com/{number}\"/><id>news-{number}</id><published>{at}</published><updated>{at}</updated><summary>Über {number}</summary></entry>\n"
                        ),
                    );
                }
                out.push_str("</feed>\n");
            }
            Self::Json => {
                out.push_str("{\"version\":\"https://jsonfeed.org/version/1.1\",\"title\":\"News\",\"items\":[");
                for (index, piece) in pieces.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let (number, title, at) = (piece.number, piece.title(), piece.time().to_rfc3339());
                    put(
                        &mut out,
                        format_args!(
                            "{comma}\n{{\"id\":\"news-{number}\",\"url\":\"https://example.com/{number}\",\"title\":\"{title}\",\"content_text\":\"Über {number}\",\"date_published\":\"{at}\"}}"
                        ),
                    );
                }
                out.push_str("]}\n");
            }
        }
        out
    }
}

impl Piece {
    fn title(&self) -> String {
        format!("News of {}{}", self.number, if self.is_edited { " (corrected)" } else { "" })
    }

    fn time(&self) -> chrono::DateTime<chrono::Utc> {
        let seconds = i64::try_from(self.number).unwrap_or(0);
        chrono::DateTime::from_timestamp(EPOCH + seconds * 60, 0).unwrap_or_default()
    }
}
