//! The adapter `scrape` against a server that nobody here wrote: values, codings, validators, connections, redirects.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapline::adapters::ADAPTERS;
use tapline::context::{Context, SystemClock};
use tapline::cursor::Cursor;
use tapline::source::{Batch, Outcome, Source, SourceError};

use crate::support::nginx::Nginx;
use crate::support::tap::PATIENCE;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Index</title>\
    <p><span class=red14px>59,465.68</span> <span class=chg>&minus;112.30</span> <span class=name>Société</span>";

/// A source over these settings, with the fields of [`PAGE`] unless it has its own.
fn open(mut settings: Value) -> Box<dyn Source> {
    let fields = json!({
        "price": { "css": "span.red14px", "type": "number", "locale": "en-IN" },
        "change": { "css": "span.chg", "type": "number" },
        "name": "span.name",
    });
    settings.as_object_mut().unwrap().entry("fields").or_insert(fields);
    // What is counted here is pages.
    settings["manners"] = json!({ "robots": { "ignore": "a test of other things" } });
    let adapter = ADAPTERS.iter().find(|adapter| adapter.kind == "scrape").unwrap();
    let settings = (adapter.parse)(settings).unwrap();
    settings.open(&Context::new(Arc::new(SystemClock))).unwrap()
}

async fn fetch(source: &mut dyn Source, cursor: Option<&Cursor>) -> Result<Batch, SourceError> {
    source.connect(cursor).await?;
    source.next().await
}

async fn fetch_once(settings: Value) -> Result<Batch, SourceError> {
    fetch(&mut *open(settings), None).await
}

fn data(batch: &Batch) -> &str {
    batch.items.first().map_or("", |item| item.data.get())
}

fn words(result: Result<Batch, SourceError>) -> String {
    format!("{:#}", anyhow::Error::new(result.expect_err("it fails")))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_arrive_compressed_and_are_exact() {
    let nginx = Nginx::start(&[("index.html", PAGE.as_bytes())], "");
    let batch = fetch_once(json!({ "url": nginx.url("/index.html") })).await.unwrap();
    assert_eq!(data(&batch), r#"{"price":59465.68,"change":-112.30,"name":"Société"}"#);
    assert_eq!(batch.outcome(), Outcome::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn g4_a_page_that_did_not_change_is_not_sent_again() {
    let nginx = Nginx::start(&[("index.html", PAGE.as_bytes())], "gzip off;");
    let settings = json!({ "url": nginx.url("/index.html") });
    let first = fetch_once(settings.clone()).await.unwrap();
    let cursor = first.cursor.expect("the validator is the cursor");
    // Another process, as after a restart.
    let second = fetch(&mut *open(settings.clone()), Some(&cursor)).await.unwrap();
    assert_eq!((second.outcome(), second.items.len()), (Outcome::NotModified, 0));
    let log = nginx.log_of(2);
    assert!(log[1].contains(" 304 ") && log[1].contains("\\x22"), "the validator goes back with its quotes: {log:?}");
    nginx.write("index.html", PAGE.replace("59,465.68", "1,60,000.00").as_bytes());
    let third = fetch(&mut *open(settings), Some(&cursor)).await.unwrap();
    assert!(data(&third).contains("160000.00"), "{third:?}");
    assert_ne!(third.cursor, Some(cursor), "a new page has a new validator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_broke_is_asked_for_again() {
    let nginx = Nginx::start(&[("index.html", b"<p>We have moved</p>")], "gzip off;");
    let settings = json!({ "url": nginx.url("/index.html") });
    let broken = fetch_once(settings.clone()).await.unwrap();
    assert_eq!(broken.outcome(), Outcome::Missing);
    let again = fetch(&mut *open(settings), broken.cursor.as_ref()).await.unwrap();
    assert_eq!(again.outcome(), Outcome::Missing, "a validator must not hide that it is still broken");
}

#[tokio::test(flavor = "multi_thread")]
async fn g3_fetches_use_one_connection() {
    let nginx = Nginx::start(&[("index.html", PAGE.as_bytes())], "etag off; add_header Last-Modified \"\";");
    let mut source = open(json!({ "url": nginx.url("/index.html") }));
    source.connect(None).await.unwrap();
    // A connection is given back a moment after its answer was read. Ticks are never closer than ten milliseconds; but
    // a busy machine may be late with it, and then another is made, so sixty in a row are what is looked for.
    let (began, mut fetches) = (Instant::now(), 0);
    loop {
        assert_eq!(source.next().await.unwrap().outcome(), Outcome::Ok);
        tokio::time::sleep(Duration::from_millis(10)).await;
        fetches += 1;
        let log = nginx.log_of(fetches);
        let connections: BTreeSet<&str> =
            log.iter().rev().take(60).map(|line| line.split(' ').next().unwrap()).collect();
        if fetches >= 60 && connections.len() == 1 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_within_limits() {
    let nginx = Nginx::start(
        &[("index.html", PAGE.as_bytes())],
        "location /301 { return 301 /index.html; } location /302 { return 302 /301; } location /307 { return 307 /302; }\n\
         location /loop { return 302 /loop; } location /ftp { return 302 ftp://localhost/; } location /relative { return 302 index.html; }\n\
         location ~ ^/far/(\\d+)$ { return 302 /far/1$1; }",
    );
    for path in ["/301", "/302", "/307", "/relative"] {
        let batch = fetch_once(json!({ "url": nginx.url(path) })).await.unwrap();
        assert!(data(&batch).contains("59465.68"), "{path}");
    }
    for (path, word) in [("/loop", "redirect"), ("/far/1", "redirect"), ("/ftp", "ftp")] {
        let said = words(fetch_once(json!({ "url": nginx.url(path) })).await);
        assert!(said.to_lowercase().contains(word), "{path}: {said}");
    }
    let said = words(fetch_once(json!({ "url": nginx.url("/307"), "redirects": 1 })).await);
    assert!(said.contains("redirect"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_outcomes_with_words() {
    let nginx = Nginx::start(
        &[],
        "location /500 { return 500; } location /403 { return 403; } location /410 { return 410; }\n\
         location /503 { add_header Retry-After 17 always; return 503; }",
    );
    for path in ["/404", "/410", "/500"] {
        let result = fetch_once(json!({ "url": nginx.url(path) })).await;
        assert!(matches!(result, Err(SourceError::Lost(_))), "{path}: {result:?}");
        assert!(words(result).contains(&path[1..]), "{path}");
    }
    assert!(matches!(fetch_once(json!({ "url": nginx.url("/403") })).await, Err(SourceError::Blocked(_))));
    match fetch_once(json!({ "url": nginx.url("/503") })).await {
        Err(SourceError::Throttled { wait, .. }) => assert_eq!(wait.as_secs(), 17),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn charsets_are_those_of_the_page() {
    let latin = b"<meta charset=iso-8859-2><span class=name>\xa3\xf3d\xbc</span>";
    let header = b"<span class=name>\xa3\xf3d\xbc</span>";
    let nginx =
        Nginx::start(&[("meta.html", latin), ("header.html", header)], "location /header.html { charset iso-8859-2; }");
    for page in ["/meta.html", "/header.html"] {
        let batch = fetch_once(json!({ "url": nginx.url(page), "fields": { "name": "span.name" } })).await.unwrap();
        assert_eq!(data(&batch), r#"{"name":"Łódź"}"#, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_its_limit_after_decoding() {
    let large = format!("{PAGE}{}", " ".repeat(2_000_000));
    let nginx = Nginx::start(&[("index.html", large.as_bytes())], "");
    assert!(fetch_once(json!({ "url": nginx.url("/index.html") })).await.is_ok());
    let said = words(fetch_once(json!({ "url": nginx.url("/index.html"), "max_body": "1MiB" })).await);
    assert!(said.contains("body_too_large") && said.contains("max_body"), "{said}");
}

/// TLS is verified: a certificate that nobody vouches for is refused, and said to be that.
#[tokio::test(flavor = "multi_thread")]
async fn n4_a_certificate_that_nobody_signed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed; scripts/setup does it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls = format!("ssl_certificate {}; ssl_certificate_key {};", certificate.display(), key.display());
    let nginx = Nginx::start_on("ssl http2", &[("index.html", PAGE.as_bytes())], &tls);
    let url = format!("https://127.0.0.1:{}/index.html", nginx.port());
    let said = words(fetch_once(json!({ "url": url })).await);
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    assert!(nginx.log().is_empty(), "nothing was asked over a connection that is not trusted");
    let unchecked = fetch_once(json!({ "url": url, "tls_verify": false })).await.unwrap();
    assert!(data(&unchecked).contains("59465.68"), "who is told not to look does not");
    // The same server is spoken to over HTTP/2 by somebody who was told to trust it.
    let trusted = std::env::temp_dir().join(format!("tapline-{}.pem", std::process::id()));
    std::fs::copy(&certificate, &trusted).unwrap();
    let source = dir.path().join("one.yaml");
    std::fs::write(&source, format!("kind: scrape\nurl: {url}\nevery: 1s\nfields: {{ price: span.red14px }}\n"))
        .unwrap();
    let tried = Command::new(env!("CARGO_BIN_EXE_tapline"))
        .arg("try")
        .arg(&source)
        .env("SSL_CERT_FILE", &trusted)
        .output()
        .unwrap();
    std::fs::remove_file(trusted).unwrap();
    let asked = nginx.log_of(3);
    assert!(asked.len() == 3 && asked[1].contains("/robots.txt"), "nobody else has asked: {asked:?}");
    assert!(
        tried.status.success(),
        "{}{}",
        String::from_utf8_lossy(&tried.stdout),
        String::from_utf8_lossy(&tried.stderr)
    );
}
