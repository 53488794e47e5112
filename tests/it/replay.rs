//! Answers that are kept in WARC files, and the records that are made of them again.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::Write as _;
use tokio::net::TcpListener;

use crate::manners::serve;
use crate::support::tap::{PATIENCE, Tap, wait_until};

#[derive(Clone, Default)]
struct Site {
    asked: Arc<AtomicUsize>,
    keys: Arc<Mutex<Vec<String>>>,
}

/// Prices that move, pages that do not change, refusals, and pages that are broken.
async fn answer(State(site): State<Site>, request: Request) -> Response {
    if request.uri().path() == "/robots.txt" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let key = request.headers().get("x-key").map_or("", |key| key.to_str().unwrap());
    site.keys.lock().unwrap().push(format!("{key} {}", request.uri()));
    let number = site.asked.fetch_add(1, Ordering::SeqCst);
    let page = |number: usize| {
        let html = format!("<!doctype html><p>Price: <b id=price>{},{:03}.50</b></p>", number + 1, number);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(html.as_bytes()).unwrap();
        ([(header::CONTENT_TYPE, "text/html"), (header::CONTENT_ENCODING, "gzip")], packed.finish().unwrap())
    };
    match number % 8 {
        3 => (StatusCode::NOT_MODIFIED, [(header::ETAG, "\"v\"")]).into_response(),
        5 => (StatusCode::INTERNAL_SERVER_ERROR, "<title>Broken</title>").into_response(),
        6 => "<p>no price here".into_response(),
        2 => ([(header::ETAG, "\"v\"")], page(number)).into_response(),
        _ => page(number).into_response(),
    }
}

fn data_of(line: &str) -> Value {
    let mut record: Value = serde_json::from_str(line).unwrap();
    record.as_object_mut().unwrap().remove("observed_at").unwrap();
    for stamp in ["fetched_at", "took_ms"] {
        record["data"]["provenance"].as_object_mut().unwrap().remove(stamp).unwrap();
    }
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn n16_what_was_kept_becomes_the_same_records() {
    let site = Site::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(site.clone());
    tokio::spawn(serve(listener, app));
    let tap = Tap::new();
    let source = format!(
        "kind: scrape\nurl: http://{address}/?key=${{REPLAY_KEY}}\nheaders: {{ X-Key: \"${{REPLAY_KEY}}\" }}\nevery: 200ms\nprovenance: true\n\
         manners: {{ delay: 1ms, adapt: false }}\nfields:\n  price: {{ css: \"#price\", type: number, locale: en }}\n"
    );
    tap.source("prices", &source);
    let kept = tap.path("kept");
    let record = ["run", "--record", kept.to_str().unwrap()];
    for round in 1..=2 {
        // The second is killed while it writes.
        let child = tap.command(&record).env("REPLAY_KEY", "secret-of-the-site").spawn().unwrap();
        let mut process = crate::support::tap::Process(child);
        wait_until("records", PATIENCE, || tap.count("prices") >= 14 * round);
        if round == 1 {
            process.terminate();
        } else {
            process.kill();
        }
    }
    let asked = site.asked.load(Ordering::SeqCst);
    let replay = |arguments: &[&str]| {
        let mut all = vec!["replay", kept.to_str().unwrap()];
        all.extend(arguments);
        tap.command(&all).env("REPLAY_KEY", "secret-of-the-site").output().unwrap()
    };
    let output = replay(&[]);
    assert_eq!(site.asked.load(Ordering::SeqCst), asked, "nobody is asked");
    let again: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(data_of).collect();
    // What was fetched and not yet written when it was killed is kept as well.
    let written = tap.records_so_far("prices");
    let written: Vec<Value> = written.iter().map(|record| data_of(&record.to_string())).collect();
    let same = written.iter().filter(|record| again.contains(record)).count();
    assert!(written.len() >= 28 && again.len() >= same, "{} and {}", written.len(), again.len());
    let before: Vec<&Value> = written.iter().filter(|record| again.contains(record)).collect();
    assert!(
        before.len() >= 28,
        "{} of {} records are made again; {} {}",
        before.len(),
        written.len(),
        written[0],
        again[0]
    );
    assert_eq!(before, again.iter().filter(|record| written.contains(record)).collect::<Vec<_>>(), "in their order");
    assert!(again.len() <= before.len() + 2, "{} more", again.len() - before.len());
    assert_eq!(output.status.code(), Some(1), "some ticks were not good");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("http_status: upstream answered 500") && said.contains("`#price` matched nothing"), "{said}");
    check_provenance(&again[0], address);
    // An edited file makes other records of the same pages.
    tap.source("prices", &source.replace("  price:", "  last:"));
    let output = replay(&["prices"]);
    assert!(String::from_utf8(output.stdout).unwrap().lines().all(|line| line.contains("\"data\":{\"last\":")));
    read_by_others(&kept.join("prices"), asked);
}

fn check_provenance(record: &Value, address: std::net::SocketAddr) {
    let origin = &record["data"]["provenance"];
    assert_eq!(origin["status"], 200);
    assert_eq!(origin["url"], format!("http://{address}/?key=${{…}}"));
    assert_eq!(origin["sha256"].as_str().unwrap().len(), 64);
    assert!(
        origin["scheduled_at"].is_string() && origin["page_time"].is_string() && origin["version"].is_string(),
        "{origin}"
    );
}

/// `warcio` reads them, finds as many answers as the site was asked for, and no secret.
fn read_by_others(folder: &std::path::Path, asked: usize) {
    let script = "import sys, glob\nfrom warcio.archiveiterator import ArchiveIterator\nkinds = {}\nfor name in sorted(glob.glob(sys.argv[1] + '/*.warc.gz')):\n    with open(name, 'rb') as file:\n        try:\n            for record in ArchiveIterator(file):\n                kinds[record.rec_type] = kinds.get(record.rec_type, 0) + 1\n                body = record.content_stream().read()\n                assert b'secret-of-the-site' not in body\n                assert 'secret-of-the-site' not in str(record.rec_headers.headers)\n                if record.rec_type == 'response' and record.http_headers.get_statuscode() == '200':\n                    assert b'price' in body, body\n        except Exception as error:\n            if name != sorted(glob.glob(sys.argv[1] + '/*.warc.gz'))[-1]: raise\nprint(kinds['warcinfo'], kinds['response'])";
    let output = Command::new("target/python/bin/python").args(["-c", script]).arg(folder).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let (files, answers) = said.trim().split_once(' ').unwrap();
    assert_eq!(files, "2");
    let answers: usize = answers.parse().unwrap();
    assert!(answers <= asked && answers + 2 >= asked, "{answers} of {asked}");
}

#[test]
fn without_a_recording_it_says_so() {
    let tap = Tap::new();
    tap.source("prices", "kind: scrape\nurl: http://127.0.0.1:1/\nevery: 1s\nfields: { price: b }\n");
    let empty = tap.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let said = |arguments: &[&str]| String::from_utf8(tap.command(arguments).output().unwrap().stderr).unwrap();
    let folder = empty.to_str().unwrap();
    assert!(said(&["replay", folder]).contains("there is no recording in"), "{}", said(&["replay", folder]));
    assert!(said(&["replay", folder, "prices"]).contains("there is no recording of prices in"));
    assert!(said(&["replay", "/nowhere"]).contains("/nowhere cannot be read"));
}
