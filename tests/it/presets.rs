//! Presets in the real program against simulators that speak as the real servers do; those of websockets are in `websocket`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tapline::simulator::api::{Api, usgs};
use tapline::simulator::sse::{Fault, Settings, Sse};

use crate::support::days::account::assert_exactly;
use crate::support::tap::{Tap, pause, wait_until};

/// Nothing here is about how fast a machine is.
const LONG: Duration = Duration::from_mins(2);

/// What Mastodon's stream has at this number, as the simulator makes it, and the preset wants it.
fn kind(number: u64) -> Option<&'static str> {
    match number {
        _ if number.is_multiple_of(5) => Some("delete"),
        _ if number.is_multiple_of(7) => Some("status.update"),
        _ if number.is_multiple_of(11) || number.is_multiple_of(13) => None,
        _ => Some("update"),
    }
}

/// Publishes so many events; the number of the last one.
fn publish(sse: &Sse, events: usize) -> u64 {
    (0..events).fold(0, |_, _| sse.publish())
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_of_server_sent_events_understand_their_servers() {
    let settings = Settings { comment_every: Duration::from_millis(300), ..Settings::default() };
    let sse = Sse::start(0, settings).await.unwrap();
    let tap = Tap::new();
    let (mastodon, wikimedia) = (sse.url("/api/v1/streaming/public"), sse.url("/v2/stream/recentchange"));
    let with = "with: { host: a.example, token: simulated-token }";
    tap.source("mastodon", &format!("preset: mastodon_sse\n{with}\nurl: {mastodon}\n"));
    tap.source("wiki", &format!("preset: wikimedia\nwith: {{ contact: me@a.example }}\nurl: {wikimedia}\n"));
    let mut process = tap.run();
    let are_open = |count: usize| {
        let connections = sse.connections();
        connections.len() >= count && connections.iter().filter(|known| known.closed_at.is_none()).count() == 2
    };
    wait_until("both are connected", LONG, || are_open(2));
    pause(Duration::from_millis(500));
    publish(&sse, 80);
    let posts = |tap: &Tap| tap.records_so_far("mastodon").len();
    let wanted = (1..=80).filter(|number| kind(*number).is_some()).count();
    wait_until("the posts are there", LONG, || posts(&tap) >= wanted);
    wait_until("the edits are there", LONG, || tap.records_so_far("wiki").len() >= 72);
    sse.fault_now(Fault::TornReset);
    // Nobody listens: Wikimedia sends it again, Mastodon does not.
    publish(&sse, 20);
    wait_until("both are connected again", LONG, || are_open(4));
    pause(Duration::from_millis(500));
    let last = publish(&sse, 11);
    wait_until("the last edit is there", LONG, || {
        tap.records_so_far("wiki").iter().any(|record| record["data"]["id"] == last)
    });
    wait_until("the last posts are there", LONG, || posts(&tap) >= wanted + 8);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());

    let found: Vec<(String, Value)> = tap
        .records("mastodon")
        .into_iter()
        .map(|mut record| (record["type"].as_str().unwrap().to_owned(), record["data"].take()))
        .collect();
    let expected: Vec<&str> = (1..=80).filter_map(kind).collect();
    assert_eq!(found[..wanted].iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), expected, "in order");
    for record in tap.records("mastodon") {
        let (kind, data) = (record["type"].as_str().unwrap(), &record["data"]);
        match kind {
            // A bare number of 18 digits, as it came.
            "delete" => assert!(data.as_u64().is_some_and(|id| id > 100_000_000_000_000_000), "{record}"),
            _ => assert_eq!(record["published_at"].is_string(), data["created_at"].is_string(), "{record}"),
        }
        assert_eq!(kind == "status.update", data["edited_at"].is_string(), "{record}");
    }
    let ids: BTreeSet<String> = tap.records("mastodon").iter().map(|record| record["id"].to_string()).collect();
    assert_eq!(ids.len(), tap.records("mastodon").len(), "an edit has an id of its own");

    let edits = tap.records("wiki");
    let numbers: Vec<u64> = edits.iter().map(|record| record["data"]["id"].as_u64().unwrap()).collect();
    assert_exactly(&numbers, (1..=last).filter(|number| !number.is_multiple_of(10)));
    for record in &edits {
        let id = record["data"]["meta"]["id"].as_str().unwrap();
        assert!(record["id"].as_str().unwrap().contains(id) && record["type"] == "message", "{record}");
        assert!(record["published_at"].is_string() && record["data"]["meta"]["domain"] != "canary", "{record}");
    }
    let asks =
        |request: &tapline::simulator::server::Request| request.header("user-agent") == Some("tapline (me@a.example)");
    assert_eq!(sse.requests().iter().filter(|request| asks(request)).count(), 2, "it says who asks, each time");
    for source in ["mastodon", "wiki"] {
        assert_eq!(tap.count(&format!("_rejected/{source}")), 0, "{source}");
    }
    assert!(!tap.log().contains("simulated-token"), "a token is nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_of_polls_understand_their_servers() {
    let quakes = Api::default().start(0).await.unwrap();
    // A hundred items a second: more than a page of most APIs while it is killed.
    let news = Api { step: Duration::from_millis(10), ..Api::default() }.start(0).await.unwrap();
    let tap = Tap::new();
    let (summary, search) =
        (quakes.url("/earthquakes/feed/v1.0/summary/all_day.geojson"), news.url("/api/v1/search_by_date"));
    let every = "every: 200ms\nmanners: { delay: 0s }\n";
    tap.source("quakes", &format!("preset: usgs\nurl: {summary}\n{every}"));
    tap.source("news", &format!("preset: hacker_news\nurl: {search}\n{every}"));
    let mut process = tap.run();
    let count = |source: &str| tap.records_so_far(source).len();
    wait_until("both bring something", LONG, || count("quakes") >= 12 && count("news") >= 50);
    process.kill();
    let before = count("news");
    pause(Duration::from_secs(3));
    let mut process = tap.run();
    wait_until("they go on", LONG, || count("quakes") >= 30 && count("news") >= before + 350);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());

    // Each request is a step: what was there to be seen, with each revision once.
    let steps = quakes.requests().iter().filter(|request| request.path.ends_with(".geojson")).count() as u64;
    let records = tap.records("quakes");
    let revision = |record: &Value| {
        let data = &record["data"];
        let number: u64 = data["properties"]["code"].as_str().unwrap().parse().unwrap();
        (number, data["properties"]["status"] == "reviewed")
    };
    let found: BTreeSet<(u64, bool)> = records.iter().map(revision).collect();
    assert_eq!(found.len(), records.len(), "each revision once");
    // The answer to the last request, or to one on its way when it was killed, need not have been read.
    let truth: BTreeSet<_> = (0..steps - 1).flat_map(|step| usgs::listed(step, 1440)).collect();
    assert!(truth.is_subset(&found), "lost: {:?}", truth.difference(&found).collect::<Vec<_>>());
    for record in &records {
        let time = record["data"]["properties"]["time"].as_i64().unwrap();
        let published: chrono::DateTime<chrono::Utc> = record["published_at"].as_str().unwrap().parse().unwrap();
        assert!(published.timestamp_millis() == time && record["type"] == "earthquake", "{record}");
    }

    let news_found: Vec<u64> = tap
        .records("news")
        .iter()
        .map(|record| record["data"]["objectID"].as_str().unwrap().parse().unwrap())
        .collect();
    let last = *news_found.iter().max().unwrap();
    assert_exactly(&news_found, 42_000_000..=last);
    for record in tap.records("news") {
        assert!(record["type"] == "story" && record["published_at"].is_string(), "{record}");
    }
    let asked: Vec<String> =
        news.requests().into_iter().map(|request| request.path).filter(|path| path.contains("search")).collect();
    assert!(
        asked.iter().all(|path| path.contains("hitsPerPage=1000") && path.contains("numericFilters=created_at_i%3E")),
        "{asked:?}"
    );
    for source in ["quakes", "news"] {
        assert_eq!(tap.count(&format!("_rejected/{source}")), 0, "{source}");
    }
}
