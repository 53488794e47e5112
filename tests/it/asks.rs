//! Sources that ask for more than one page, against sites that count what they are asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::{Value, json};
use tapline::adapters::scrape::Scrape;
use tapline::context::{Context, SystemClock};
use tapline::cursor::Cursor;
use tapline::source::{Batch, Outcome, Settings, Source, SourceError};
use tokio::net::TcpListener;

use crate::support::tap::Tap;

/// What a site was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// The path with its query, as it came.
    pub target: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A site on a real socket that does what a function says.
pub struct Site {
    pub address: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Site {
    pub async fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::<Mutex<Vec<Asked>>>::default();
        let (answer, kept) = (Arc::new(answer), Arc::clone(&log));
        let site = Router::new().fallback(async move |request: Request| {
            let (parts, body) = request.into_parts();
            let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
            if target == "/robots.txt" {
                return StatusCode::NOT_FOUND.into_response();
            }
            let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
            let asked = Asked { method: parts.method.to_string(), target, headers: parts.headers, body };
            kept.lock().unwrap().push(asked.clone());
            answer(&asked)
        });
        tokio::spawn(crate::manners::serve(listener, site));
        Self { address, log }
    }

    /// What it was asked for since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    pub fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }

    /// A source with these keys; `SITE` is the site's address.
    pub fn source(&self, keys: &Value) -> Box<dyn Source> {
        let settings = self.settings(keys);
        assert_eq!(settings.problems(), []);
        Settings::open(settings, &Context::new(Arc::new(SystemClock))).unwrap()
    }

    pub fn settings(&self, keys: &Value) -> Scrape {
        let keys = serde_json::from_str(&keys.to_string().replace("SITE", &self.address)).unwrap();
        Scrape::read(keys).unwrap_or_else(|problems| panic!("{problems:?}"))
    }
}

pub fn html(text: impl Into<String>) -> Response {
    Html(text.into()).into_response()
}

pub fn data(batch: &Batch) -> Vec<String> {
    batch.items.iter().map(|item| item.data.get().to_owned()).collect()
}

/// What is wrong, page by page.
fn wrong(batch: &Batch) -> Vec<String> {
    let say = |reject: &tapline::item::Reject| {
        format!("{}: {}: {}", reject.page.as_deref().unwrap_or("-"), reject.outcome.as_str(), reject.reason)
    };
    batch.rejects.iter().map(say).collect()
}

pub async fn start(source: &mut dyn Source, cursor: Option<&Cursor>) {
    source.connect(cursor).await.unwrap();
    source.slot("2026-11-23T20:00:00Z".parse().unwrap());
}

/// Prices that a test sets; each page has its tag, and says when it has not changed.
fn priced(prices: &Arc<Mutex<Vec<(&'static str, String)>>>) -> impl Fn(&Asked) -> Response + Send + Sync + use<> {
    let prices = Arc::clone(prices);
    move |asked| {
        let symbol = asked.target.rsplit('/').next().unwrap().to_owned();
        let prices = prices.lock().unwrap();
        let Some((_, price)) = prices.iter().find(|(known, _)| *known == symbol) else {
            return (StatusCode::NOT_FOUND, Html("<title>no such symbol</title>")).into_response();
        };
        let tag = format!("\"{symbol}-{price}\"");
        if asked.header("if-none-match") == tag {
            return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
        }
        ([("etag", tag)], Html(format!("<b>{price}</b>"))).into_response()
    }
}

fn set(prices: &Mutex<Vec<(&'static str, String)>>, symbol: &'static str, price: &str) {
    let mut prices = prices.lock().unwrap();
    prices.retain(|(known, _)| *known != symbol);
    prices.push((symbol, price.to_owned()));
}

fn symbols(symbols: &[&str]) -> Value {
    json!({
        "url": "http://SITE/{symbol}", "for_each": { "symbol": symbols },
        "fields": { "price": { "css": "b", "type": "number" } },
    })
}

/// Each page has its own validator, over a restart and over an edit of the list; one that fails stops no other.
#[tokio::test]
async fn g14_each_symbol_is_a_page_of_its_own() {
    let prices = Arc::<Mutex<Vec<(&'static str, String)>>>::default();
    for symbol in ["A", "B", "C"] {
        set(&prices, symbol, "1");
    }
    let site = Site::start(priced(&prices)).await;
    let mut source = site.source(&symbols(&["A", "B"]));
    start(&mut *source, None).await;
    let batch = source.next().await.unwrap();
    assert_eq!(data(&batch), [r#"{"symbol":"A","price":1}"#, r#"{"symbol":"B","price":1}"#]);
    assert_eq!(batch.outcome(), Outcome::Ok);
    let batch = source.next().await.unwrap();
    assert_eq!((data(&batch).len(), batch.outcome()), (0, Outcome::NotModified));
    set(&prices, "B", "2");
    let batch = source.next().await.unwrap();
    assert_eq!((data(&batch), batch.outcome()), (vec![r#"{"symbol":"B","price":2}"#.to_owned()], Outcome::Ok));
    site.asked();
    // Another source of the file, with a symbol more: the tags of the others are still known.
    let mut source = site.source(&symbols(&["C", "A", "gone", "B"]));
    start(&mut *source, batch.cursor.as_ref()).await;
    let batch = source.next().await.unwrap();
    let sent: Vec<(String, String)> =
        site.asked().iter().map(|asked| (asked.target.clone(), asked.header("if-none-match").to_owned())).collect();
    let expected = [("/C", ""), ("/A", "\"A-1\""), ("/gone", ""), ("/B", "\"B-2\"")];
    assert_eq!(sent, expected.map(|(target, tag)| (target.to_owned(), tag.to_owned())));
    assert_eq!(data(&batch), [r#"{"symbol":"C","price":1}"#]);
    assert_eq!(
        wrong(&batch),
        [r#"symbol=gone: error: http_status: upstream answered 404 Not Found: "no such symbol""#]
    );
    assert_eq!(batch.outcome(), Outcome::Error);
    // What is on a page and wrong names the page, too, and leaves it no tag.
    set(&prices, "A", "much");
    let batch = source.next().await.unwrap();
    assert!(wrong(&batch)[0].starts_with("symbol=A: invalid: "), "{:?}", wrong(&batch));
    assert!(batch.change.is_some(), "the last good page and the first bad one");
    site.asked();
    source.next().await.unwrap();
    let sent: Vec<String> = site.asked().iter().map(|asked| asked.header("if-none-match").to_owned()).collect();
    assert_eq!(sent, ["\"C-1\"", "", "", "\"B-2\""]);
}

/// What did not change is not written, page by page, over a restart, and all of it with a heartbeat.
#[tokio::test]
async fn changes_are_each_pages_own() {
    let prices = Arc::<Mutex<Vec<(&'static str, String)>>>::default();
    set(&prices, "A", "1");
    set(&prices, "B", "1");
    let answer = priced(&prices);
    let site = Site::start(move |asked| {
        let mut plain = asked.clone();
        plain.headers.remove("if-none-match");
        answer(&plain)
    })
    .await;
    let mut keys = symbols(&["A", "B"]);
    keys["emit"] = json!("change");
    let mut source = site.source(&keys);
    start(&mut *source, None).await;
    assert_eq!(source.next().await.unwrap().items.len(), 2);
    let batch = source.next().await.unwrap();
    assert_eq!((batch.items.len(), batch.outcome()), (0, Outcome::Unchanged));
    let mut source = site.source(&keys);
    start(&mut *source, batch.cursor.as_ref()).await;
    set(&prices, "B", "2");
    let batch = source.next().await.unwrap();
    assert_eq!(data(&batch), [r#"{"symbol":"B","price":2}"#]);
    keys["for_each"]["symbol"] = json!(["B", "A", "C"]);
    set(&prices, "C", "3");
    let mut source = site.source(&keys);
    start(&mut *source, batch.cursor.as_ref()).await;
    assert_eq!(data(&source.next().await.unwrap()), [r#"{"symbol":"C","price":3}"#]);
}

/// Placeholders in every place, with values that would be something else there.
#[tokio::test]
async fn values_are_put_in_where_they_belong() {
    let site = Site::start(|_| html("<b>1</b>")).await;
    let mut source = site.source(&json!({
        "url": "http://SITE/x/{s}?q={s}&day={date:%Y%m%d,-1d}", "for_each": { "s": ["a&b/../c#d"] }, "values_in_data": false,
        "headers": { "X-S": "{s} {other} {date}" }, "body": { "json": { "query": "{ hero { name } }", "s": ["{s}"] } },
        "fields": { "b": "b" },
    }));
    start(&mut *source, None).await;
    assert_eq!(data(&source.next().await.unwrap()), [r#"{"b":"1"}"#]);
    let asked = site.asked().remove(0);
    assert_eq!(asked.target, "/x/a%26b%2F..%2Fc%23d?q=a%26b%2F..%2Fc%23d&day=20261122");
    assert_eq!(asked.header("x-s"), "a&b/../c#d {other} 2026-11-23");
    assert_eq!(asked.body, r#"{"query":"{ hero { name } }","s":["a&b/../c#d"]}"#);
}

/// When nothing comes, the tick fails as one page does, and when upstream wants quiet, nothing more is asked for.
#[tokio::test]
async fn a_tick_without_a_page_is_a_failure() {
    let site = Site::start(|asked| match asked.target.as_str() {
        "/busy" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "").into_response(),
        "/fine" => html("<b>1</b>"),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
    .await;
    let mut source = site.source(&symbols(&["x", "y", "z"]));
    start(&mut *source, None).await;
    let Err(SourceError::Lost(cause)) = source.next().await else { panic!("nothing came") };
    assert_eq!(
        cause.to_string(),
        "http_status: upstream answered 500 Internal Server Error; page symbol=x, and 2 others"
    );
    assert_eq!(site.targets(), ["/x", "/y", "/z"]);
    // What fails makes the gate of the host careful, so that another host is asked.
    let site = Site::start(|asked| match asked.target.as_str() {
        "/busy" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "").into_response(),
        _ => html("<b>1</b>"),
    })
    .await;
    let mut source = site.source(&symbols(&["fine", "busy", "more"]));
    start(&mut *source, None).await;
    let batch = source.next().await.unwrap();
    assert_eq!(data(&batch), [r#"{"symbol":"fine","price":1}"#]);
    assert_eq!((batch.outcome(), batch.wait.as_secs()), (Outcome::Blocked, 7));
    assert!(
        wrong(&batch)[0].starts_with("symbol=busy: blocked: http_status: upstream answered 429"),
        "{:?}",
        wrong(&batch)
    );
    assert_eq!((site.targets().len(), batch.rejects.len()), (2, 1), "of the rest nothing is asked, and nothing said");
}

/// A tick that is cut off in the middle is as if it had not been: nothing of it is taken for written.
#[tokio::test]
async fn a_tick_that_is_cut_off_loses_nothing() {
    let stalls = Arc::new(AtomicBool::new(true));
    let stalling = Arc::clone(&stalls);
    let site = Site::start(move |asked| {
        let page = ([("etag", "\"t\"")], html("<b>1</b>")).into_response();
        if asked.target == "/B" && stalling.load(Ordering::SeqCst) {
            // A body that never comes.
            let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
            return axum::body::Body::from_stream(never).into_response();
        }
        if asked.header("if-none-match") == "\"t\"" { StatusCode::NOT_MODIFIED.into_response() } else { page }
    })
    .await;
    for more in [json!({ "emit": "change" }), json!({ "unique": "symbol" })] {
        stalls.store(true, Ordering::SeqCst);
        let mut keys = symbols(&["A", "B"]);
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut source = site.source(&keys);
        start(&mut *source, None).await;
        site.asked();
        let cut_off = tokio::time::timeout(std::time::Duration::from_millis(500), source.next()).await;
        assert!(cut_off.is_err());
        assert_eq!(site.targets(), ["/A", "/B"], "A has come");
        stalls.store(false, Ordering::SeqCst);
        assert_eq!(source.next().await.unwrap().items.len(), 2, "{more}");
    }
}

/// A fall-back that serves one of the pages is noted once, with the page.
#[tokio::test]
async fn fall_backs_are_noted_by_page() {
    let site = Site::start(|asked| if asked.target == "/A" { html("<b>1</b>") } else { html("<i>1</i>") }).await;
    let mut keys = symbols(&["A", "B"]);
    keys["fields"] = json!({ "price": { "css": ["b", "i"] } });
    let mut source = site.source(&keys);
    start(&mut *source, None).await;
    let batch = source.next().await.unwrap();
    let notes = source.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].data, json!({ "field": "fields.price", "selector": "i", "before": "b", "page": "symbol=B" }));
    let mut source = site.source(&keys);
    start(&mut *source, batch.cursor.as_ref()).await;
    source.next().await.unwrap();
    assert_eq!(source.notes(), []);
}

/// `/list/1` to `/list/3`, linked; what `after` the last one stands there.
fn list(last: &'static str) -> impl Fn(&Asked) -> Response + Send + Sync {
    move |asked| {
        let number: usize = asked.target.rsplit('/').next().unwrap().parse().unwrap();
        let next = if number < 3 { format!("<a class=next href={}>", number + 1) } else { last.to_owned() };
        html(format!("<p>{number}a</p><p>{number}b</p>{next}"))
    }
}

fn paged(pages: &Value) -> Value {
    json!({ "url": "http://SITE/list/1", "records": "p", "pages": pages, "fields": { "n": {} } })
}

#[tokio::test]
async fn g14_a_list_is_read_to_its_end() {
    let all = ["1a", "1b", "2a", "2b", "3a", "3b"].map(|n| format!("{{\"n\":\"{n}\"}}"));
    for (last, pages, asked, records) in [
        ("", json!({ "next": "a.next" }), 3, 6),
        ("<a class=next>no link</a>", json!({ "next": "a.next" }), 3, 6),
        // In a circle, by another spelling of an address, and to itself.
        ("<a class=next href=/list/1>", json!({ "next": "a.next" }), 3, 6),
        ("<a class=next href=/x/../list/1#top>", json!({ "next": "a.next" }), 3, 6),
        ("<a class=next href=3>", json!({ "next": "a.next" }), 3, 6),
        ("", json!({ "next": "a.next", "max": 2 }), 2, 4),
        ("", json!({ "next": "a.next", "stop": "a[href='3']" }), 2, 4),
    ] {
        let site = Site::start(list(last)).await;
        let mut source = site.source(&paged(&pages));
        start(&mut *source, None).await;
        let batch = source.next().await.unwrap();
        assert_eq!(batch.outcome(), Outcome::Ok, "{last} {pages}: {:?}", wrong(&batch));
        assert_eq!(data(&batch), all[..records], "{last} {pages}");
        assert_eq!(site.targets().len(), asked, "{last} {pages}");
        // And once more: nothing of it depends on what was seen.
        assert_eq!(source.next().await.unwrap().items.len(), records);
    }
}

/// A page that fails in the middle, and a link that leads away: what came before is there, and the page is named.
#[tokio::test]
async fn a_list_that_breaks_off_is_an_outcome() {
    for (last, expected) in [
        ("<a class=next href=/gone/4>", "page=4: error: http_status: upstream answered 503 Service Unavailable"),
        (
            "<a class=next href=http://other.example/4>",
            "page=3: error: other_site: the page links to http://other.example/4; if that is meant, write `other_sites: true`",
        ),
        (
            "<a class=next href=mailto:me>",
            "page=3: error: bad_link: the page links to `mailto:`, which is not followed",
        ),
    ] {
        let answer = list(last);
        let site = Site::start(move |asked| match asked.target.as_str() {
            "/gone/4" => StatusCode::BAD_GATEWAY.into_response(),
            _ => answer(asked),
        })
        .await;
        let mut source = site.source(&paged(&json!({ "next": "a.next" })));
        start(&mut *source, None).await;
        let batch = source.next().await.unwrap();
        assert_eq!(batch.items.len(), 6);
        assert_eq!(wrong(&batch), [expected.replace("503 Service Unavailable", "502 Bad Gateway")]);
        assert_eq!(batch.outcome(), Outcome::Error);
    }
}

/// Pages by number: the end is a page that is not there, one without rows, or the last one again. A first page like that
/// is a fault.
#[tokio::test]
async fn a_list_is_counted_to_its_end() {
    let end = Arc::new(Mutex::new("missing"));
    let how = Arc::clone(&end);
    let site = Site::start(move |asked| {
        let number: usize = asked.target.rsplit('=').next().unwrap().parse().unwrap();
        match (number, *how.lock().unwrap()) {
            (0..=20, _) => html(format!("<p>{number}")),
            (_, "missing") => StatusCode::NOT_FOUND.into_response(),
            (_, "empty") => html("<i>none"),
            (_, _) => html("<p>20"),
        }
    })
    .await;
    let keys = |from: i64| json!({ "url": "http://SITE/?from={page}", "records": "p", "pages": { "from": from, "step": 10 }, "fields": { "n": {} } });
    for how in ["missing", "empty", "again"] {
        *end.lock().unwrap() = how;
        let mut source = site.source(&keys(0));
        start(&mut *source, None).await;
        let batch = source.next().await.unwrap();
        assert_eq!(data(&batch), [r#"{"n":"0"}"#, r#"{"n":"10"}"#, r#"{"n":"20"}"#], "{how}");
        assert_eq!((batch.outcome(), batch.rejects.len()), (Outcome::Ok, 0), "{how}");
        assert_eq!(site.targets(), ["/?from=0", "/?from=10", "/?from=20", "/?from=30"]);
    }
    *end.lock().unwrap() = "empty";
    let mut source = site.source(&keys(100));
    start(&mut *source, None).await;
    assert_eq!(source.next().await.unwrap().outcome(), Outcome::Missing);
    *end.lock().unwrap() = "missing";
    assert!(source.next().await.is_err());
}

/// A page that has not changed leads where it led.
#[tokio::test]
async fn an_unchanged_page_still_leads_on() {
    let answer = list("");
    let second = Arc::new(Mutex::new("\"2\""));
    let tag_of_second = Arc::clone(&second);
    let site = Site::start(move |asked| {
        let tag = if asked.target == "/list/2" { *tag_of_second.lock().unwrap() } else { "\"x\"" };
        if asked.header("if-none-match") == tag {
            return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
        }
        ([("etag", tag)], answer(asked)).into_response()
    })
    .await;
    let keys = paged(&json!({ "next": "a.next" }));
    let mut source = site.source(&keys);
    start(&mut *source, None).await;
    assert_eq!(source.next().await.unwrap().items.len(), 6);
    let batch = source.next().await.unwrap();
    assert_eq!((batch.outcome(), batch.items.len()), (Outcome::NotModified, 0));
    site.asked();
    *second.lock().unwrap() = "\"2 new\"";
    assert_eq!(source.next().await.unwrap().items.len(), 2, "only of the page that has changed");
    assert_eq!(site.targets(), ["/list/1", "/list/2", "/list/3"]);
    // After a start nobody knows where they lead, so that all is asked for whole.
    let mut source = site.source(&keys);
    start(&mut *source, batch.cursor.as_ref()).await;
    assert_eq!(source.next().await.unwrap().items.len(), 6);
}

fn news(asked: &Asked) -> Response {
    match asked.target.as_str() {
        "/news" => html(
            "<base href=/a/><li><a href=1>one</a><i>x</i><li><a href=2>two</a><i>y</i><li><i>no link</i><li><a href=1>again</a><i>z</i>",
        ),
        "/a/1" => html("<h1>First</h1><time>2026-11-23T07:00:00Z</time>"),
        "/a/2" => html("<h1>Second</h1>"),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Each row with its page; a page that lacks something rejects its row and no other.
#[tokio::test]
async fn rows_and_the_pages_that_they_link_to() {
    let site = Site::start(news).await;
    let mut source = site.source(&json!({
        "url": "http://SITE/news", "records": "li", "published_at": "at", "fields": { "link": { "css": "a", "on_missing": "null" }, "i": "i" },
        "headers": { "X-Key": "k" },
        "follow": { "css": "a", "fields": { "title": "h1", "at": { "css": "time", "type": "datetime" } } },
    }));
    start(&mut *source, None).await;
    let (batch, findings) = source.explain().await.unwrap();
    assert_eq!(
        data(&batch),
        [
            r#"{"link":"one","i":"x","title":"First","at":"2026-11-23T07:00:00.000000Z"}"#,
            r#"{"link":"again","i":"z","title":"First","at":"2026-11-23T07:00:00.000000Z"}"#
        ]
    );
    assert!(batch.items.iter().all(|item| item.published_at.is_some() && item.kind == "row"));
    let said = wrong(&batch);
    assert_eq!(said.len(), 2, "{said:?}");
    let page = format!("http://{}/a/2", site.address);
    assert!(said.iter().any(|said| said.starts_with(&format!("{page}: missing: `time` matched nothing"))), "{said:?}");
    assert!(
        said.iter().any(|said| said.contains("`a` matched nothing in a row, so that there is nothing to follow")),
        "{said:?}"
    );
    assert!(batch.rejects.iter().any(|reject| reject.field.as_deref() == Some("follow.fields.at")));
    let found = findings.iter().find(|finding| finding.field == "follow.fields.title").unwrap();
    assert_eq!(found.page.as_deref(), Some(format!("http://{}/a/1", site.address).as_str()));
    let asked = site.asked();
    let targets: Vec<&str> = asked.iter().map(|asked| asked.target.as_str()).collect();
    assert_eq!(targets, ["/news", "/a/1", "/a/2"], "each page once");
    assert!(asked.iter().all(|asked| asked.header("x-key") == "k"));
}

/// Links without rows; and a link to another site, which is told nothing of ours.
#[tokio::test]
async fn g14_links_of_a_page_are_followed() {
    let other = Site::start(|_| html("<h1>Elsewhere</h1>")).await;
    let away = other.address.clone();
    let site = Site::start(move |asked| match asked.target.as_str() {
        "/" => html(format!(
            "<a class=h href=/1>1</a><a class=h href=/1#x>1</a><a class=h href=http://{away}/>2</a><b>B</b>"
        )),
        _ => html("<h1>Here</h1>"),
    })
    .await;
    let keys = |others: bool| {
        json!({
            "url": "http://SITE/", "fields": { "b": "b" }, "headers": { "X-Key": "k" }, "auth": { "bearer": "token" },
            "follow": { "css": "a.h", "fields": { "title": "h1" }, "other_sites": others },
        })
    };
    let mut source = site.source(&keys(true));
    start(&mut *source, None).await;
    let batch = source.next().await.unwrap();
    let here = r#"{"b":"B","title":"Here"}"#;
    assert_eq!(data(&batch), [here, here, r#"{"b":"B","title":"Elsewhere"}"#]);
    assert_eq!(site.targets(), ["/", "/1"]);
    let asked = other.asked();
    assert_eq!((asked[0].header("x-key"), asked[0].header("authorization")), ("", ""));
    let mut source = site.source(&keys(false));
    start(&mut *source, None).await;
    let batch = source.next().await.unwrap();
    assert_eq!((batch.items.len(), batch.outcome(), other.asked().len()), (2, Outcome::Error, 0));
}

/// Pages that say they have not changed are not sent again, and their records are written as the others'.
#[tokio::test]
async fn unchanged_pages_are_not_sent_again() {
    let site = Site::start(|asked| {
        if asked.header("if-none-match") == "\"t\"" {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        ([("etag", "\"t\"")], if asked.target == "/" { html("<a href=/1>1</a>") } else { html("<h1>Here</h1>") })
            .into_response()
    })
    .await;
    let mut source = site
        .source(&json!({ "url": "http://SITE/", "fields": {}, "follow": { "css": "a", "fields": { "title": "h1" } } }));
    start(&mut *source, None).await;
    for _ in 0..3 {
        assert_eq!(data(&source.next().await.unwrap()), [r#"{"title":"Here"}"#]);
    }
    let asked = site.asked();
    let conditions: Vec<&str> = asked.iter().map(|asked| asked.header("if-none-match")).collect();
    assert_eq!(conditions, ["", "", "\"t\"", "\"t\"", "\"t\"", "\"t\""]);
}

/// The date in an address is the tick's own scheduled time, which is also what ids are made of.
#[tokio::test(flavor = "multi_thread")]
async fn g14_dates_are_those_of_the_schedule() {
    let site = Site::start(|asked| html(format!("<b>{}</b>", asked.target.trim_start_matches('/')))).await;
    let tap = Tap::new();
    tap.source(
        "clock",
        &format!("kind: scrape\nurl: http://{}/{{date:%s%3f}}\nevery: 200ms\nfields: {{ ms: {{ css: b, type: integer }} }}\n", site.address),
    );
    let mut process = tap.start();
    tap.wait_for_lines("clock", 5);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    for record in tap.records("clock") {
        let slot = record["id"].as_str().unwrap().split('_').nth(1).unwrap();
        let micros = i64::from_str_radix(slot, 16).unwrap();
        assert_eq!(record["data"]["ms"].as_i64().unwrap(), micros / 1000, "{record}");
    }
}

/// `tapline try` says which page each thing is of.
#[tokio::test(flavor = "multi_thread")]
async fn trying_names_the_pages() {
    let site = Site::start(|asked| match asked.target.as_str() {
        "/B" => html("<i>2</i>"),
        "/C" => StatusCode::NOT_FOUND.into_response(),
        _ => html("<b>1</b>"),
    })
    .await;
    let tap = Tap::new();
    let mut keys = symbols(&["A", "B", "C"]);
    keys["kind"] = json!("scrape");
    keys["every"] = json!("1m");
    tap.source("one", &keys.to_string().replace("SITE", &site.address));
    let output = tap.command(&["try", tap.path("sources/one.yaml").to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "fields.price, page symbol=A\n  rule     b\n  matched  1\n",
        "fields.price, page symbol=B\n  rule     b\n  matched  0\n",
        "reject   fields.price: `b` matched nothing",
        "; page symbol=B\n",
        "reject   page: http_status: upstream answered 404 Not Found; page symbol=C\n",
        r#""data":{"symbol":"A","price":1}}"#,
        "outcome  error\n",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
}

/// What is wrong with the keys, with line and column.
#[test]
fn what_is_wrong_with_the_keys_has_its_place() {
    let tap = Tap::new();
    let check = |yaml: &str| {
        tap.source("one", &format!("kind: scrape\nevery: 1m\n{yaml}"));
        let output = tap.command(&["check", tap.path("sources/one.yaml").to_str().unwrap()]).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let folder = format!("{}/", tap.path("sources").display());
        said.replace(&folder, "").lines().filter(|line| line.starts_with("one.yaml")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(check("url: https://a.example/{symbl}\nfor_each: { symbol: [A] }\nfields: { a: b }\n"), @"one.yaml:3:1: url: `{symbl}` at character 19 is no placeholder; did you mean `{symbol}`?");
    insta::assert_snapshot!(check("url: https://a.example/{page}\nfor_each: { symbol: [A, A] }\nfields: { a: b }\n"), @r"
    one.yaml:3:1: url: `{page}` at character 19 counts pages; say which with `pages: { from: 1 }`
    one.yaml:4:25: for_each.symbol.1: this is in the list twice; leave one out
    ");
    insta::assert_snapshot!(check("url: https://a.example/\nfor_each: { symbol: [A] }\nheaders: { X: '{symbl}' }\nfields: { a: b }\n"), @r"
    one.yaml:4:13: for_each.symbol: `{symbol}` stands nowhere; put it into `url`, a header or the body
    one.yaml:5:12: headers.X: `{symbl}` at character 1 is no placeholder; did you mean `{symbol}`?
    ");
    insta::assert_snapshot!(check("url: https://a.example/\nfor_each: { symbol: [A] }\nfields: { a: b }\n"), @"one.yaml:4:13: for_each.symbol: `{symbol}` stands nowhere; put it into `url`, a header or the body");
    insta::assert_snapshot!(check("url: https://a.example/{s}/x\nfor_each: { s: [A, ..] }\nfields: { a: b }\n"), @"one.yaml:3:1: url: a part of a path that is `.` or `..` would lead to another page; with s=..");
    insta::assert_snapshot!(check("url: https://a.example/\nfollow: { css: 'a:', fields: { c: 'b:', a: b } }\npages: { next: x, from: 1, stopp: y }\nfields: { a: b }\n"), @r"
    one.yaml:4:11: follow.css: `a:` is not a CSS selector: unexpected EOL
    one.yaml:4:35: follow.fields.c.css: `b:` is not a CSS selector: unexpected EOL
    one.yaml:4:41: follow.fields.a: the list has a field of this name; rename one of them
    one.yaml:5:28: pages.stopp: unknown key; did you mean `stop`?
    ");
    insta::assert_snapshot!(check("url: https://a.example/\nrecords: { next_data: $.a }\nfollow: { json: a.b, fields: {} }\npages: { }\nfields: { a: { json: $.a } }\n"), @r#"
    one.yaml:5:11: follow.json: `a.b` is not a JSONPath (RFC 9535), such as `$.offers.price`
    one.yaml:5:22: follow.fields: a source needs at least one field, such as `price: "span.price"`
    one.yaml:6:1: pages: `{page}` stands nowhere; put it into `url` or the body, or write `next`
    "#);
    insta::assert_snapshot!(check("url: https://a.example/\nunique: { key: [lnk], remember: 5 }\nemit: change\nlogin: { url: nowhere, form: 'f:', fields: {}, check: { text: '' } }\ncookies: false\nfields: { link: b }\n"), @r#"
    one.yaml:4:1: unique: `lnk` is no field of this source
    one.yaml:4:23: unique.remember: from 1000 to 1000000
    one.yaml:5:1: emit: with `unique` each record is written once; leave one of the two out
    one.yaml:6:10: login.url: not a URL (relative URL without a base); write it whole, such as https://example.com/page
    one.yaml:6:24: login.form: `f:` is not a CSS selector: unexpected EOL
    one.yaml:6:36: login.fields: a login needs fields, such as `{ user: me, password: "${PASSWORD}" }`
    one.yaml:6:48: login.check: an empty text is on every page
    one.yaml:7:1: cookies: a login is kept by cookies; leave this out
    "#);
}
