//! The adapter `json` against a simulated API: pages, values that are asked from, faults, restarts and kills.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tapline::adapters::ADAPTERS;
use tapline::context::{Context, SystemClock};
use tapline::cursor::{Cursor, Recall};
use tapline::simulator::api::{Api, FIRST_ID, Site};
use tapline::source::{Batch, Outcome, Source, SourceError};

use crate::support::tap::{Tap, pause};

/// What is saved of a source, as the driver does.
#[derive(Default)]
struct Saved {
    cursor: Option<Cursor>,
    parts: BTreeMap<u32, Box<RawValue>>,
}

impl Saved {
    fn take(&mut self, batch: &mut Batch) {
        self.cursor = batch.cursor.take().or(self.cursor.take());
        for (number, part) in std::mem::take(&mut batch.parts) {
            match part {
                Some(part) => drop(self.parts.insert(number, part)),
                None => drop(self.parts.remove(&number)),
            }
        }
    }

    async fn open(&self, settings: &Value) -> Box<dyn Source> {
        let mut settings = settings.clone();
        settings["manners"] = json!({ "robots": { "ignore": "a test of other things" } });
        let adapter = ADAPTERS.iter().find(|adapter| adapter.kind == "json").unwrap();
        let settings = (adapter.parse)(settings).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut source = settings.open(&Context::new(Arc::new(SystemClock))).unwrap();
        source.recall(Recall { parts: self.parts.clone(), written: Vec::new() });
        source.connect(self.cursor.as_ref()).await.unwrap();
        source
    }
}

fn with(mut keys: Value, more: &Value) -> Value {
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn ids(batch: &Batch) -> Vec<u64> {
    let id = |data: &str| serde_json::from_str::<Value>(data).unwrap()["id"].as_u64().unwrap();
    batch.items.iter().map(|item| id(item.data.get())).collect()
}

fn queries(site: &Site) -> Vec<String> {
    site.requests().iter().map(|request| request.path.split_once('?').unwrap_or_default().1.to_owned()).collect()
}

/// The five ways of paging bring the same, each record once.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_paging_brings_every_page() {
    for pages in [
        json!({ "next": "/next" }),
        json!({ "link": "next" }),
        json!({ "page": { "param": "page" } }),
        json!({ "offset": { "param": "offset", "step": 3, "limit_param": "limit" } }),
        json!({ "cursor": { "param": "cursor", "from": "/cursor" } }),
    ] {
        let site = Api { step: Duration::from_millis(1), ..Api::default() }.start(0).await.unwrap();
        pause(Duration::from_millis(30));
        let keys = json!({ "url": site.url("/trades"), "query": { "limit": 3 }, "records": "/data", "id": "/id", "pages": pages });
        let batch = Saved::default().open(&keys).await.next().await.unwrap();
        let found = ids(&batch);
        assert!(found.len() >= 30 && batch.rejects.is_empty(), "{pages}: {found:?} {:?}", batch.rejects);
        assert_eq!(found, (FIRST_ID..FIRST_ID + found.len() as u64).collect::<Vec<_>>(), "{pages}");
        assert!(batch.items[0].data.get().contains("\"id\":9007199254740993,"), "token for token");
    }
}

/// Only what is new is asked for, also after a restart, and also when another page did not come.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_is_asked_for() {
    let site = Api::default().start(0).await.unwrap();
    let keys = json!({
        "url": site.url("/trades"), "records": "/data", "id": "/id", "since": { "param": "since", "from": "/id", "start": "5" },
    });
    let mut saved = Saved::default();
    let mut all = Vec::new();
    for _ in 0..4 {
        let mut batch = saved.open(&keys).await.next().await.unwrap();
        all.extend(ids(&batch));
        saved.take(&mut batch);
    }
    assert_eq!(all, (FIRST_ID..FIRST_ID + 4).collect::<Vec<_>>());
    let expected: Vec<String> =
        [5].into_iter().chain(FIRST_ID..FIRST_ID + 3).map(|since| format!("since={since}")).collect();
    assert_eq!(queries(&site), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_outcome() {
    let open = async |faults: &str, more: Value| {
        let site = Api { faults: faults.parse().unwrap(), ..Api::default() }.start(0).await.unwrap();
        let keys = json!({ "url": site.url("/trades"), "records": "/data", "id": "/id", "error": "/error" });
        let mut source = Saved::default().open(&with(keys, &more)).await;
        source.next().await
    };
    for (faults, outcome, reason) in [
        ("every 1:empty", Outcome::Invalid, "not_json: "),
        ("every 1:layout", Outcome::Invalid, "not_json: "),
        ("every 1:nested", Outcome::Invalid, "not_json: "),
        ("every 1:moved", Outcome::Missing, "no_records: "),
    ] {
        let batch = open(faults, json!({})).await.unwrap();
        assert_eq!(batch.outcome(), outcome, "{faults}");
        assert!(batch.rejects[0].reason.starts_with(reason), "{faults}: {:?}", batch.rejects);
    }
    let error = open("every 1:garbled", json!({})).await.unwrap_err();
    assert!(
        matches!(&error, SourceError::Lost(cause) if cause.to_string() == "api_error: upstream says: status 200"),
        "{error:?}"
    );
    let error = open("every 1:401", json!({})).await.unwrap_err();
    assert!(matches!(&error, SourceError::Blocked(cause) if cause.to_string().contains("status 401")), "{error:?}");
    assert!(matches!(open("every 1:429=3", json!({})).await, Err(SourceError::Throttled { .. })));
    assert!(matches!(open("every 1:torn", json!({})).await, Err(SourceError::Lost(_))));
    let missing = open("every 1000:500", json!({ "id": "/nothing" })).await.unwrap();
    assert_eq!(missing.outcome(), Outcome::Missing);
    assert!(missing.items.is_empty() && missing.rejects[0].reason.starts_with("no_id: "));
}

/// A page of several that did not come: what came is taken, and nothing is asked from beyond what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_did_not_come_is_asked_for_again() {
    let site = Api { step: Duration::from_millis(1), faults: "#3:500".parse().unwrap(), ..Api::default() }
        .start(0)
        .await
        .unwrap();
    pause(Duration::from_millis(30));
    let keys = json!({
        "url": site.url("/trades"), "query": { "limit": 5 }, "records": "/data", "id": "/id",
        "pages": { "cursor": { "param": "cursor", "from": "/cursor" } }, "since": { "param": "since", "from": "/id" },
    });
    let mut saved = Saved::default();
    let mut source = saved.open(&keys).await;
    let mut first = source.next().await.unwrap();
    assert_eq!((first.outcome(), first.items.len()), (Outcome::Error, 10), "{:?}", first.rejects);
    assert_eq!(first.rejects[0].page.as_deref(), Some("page=3"));
    saved.take(&mut first);
    let second = saved.open(&keys).await.next().await.unwrap();
    let found = ids(&second);
    assert_eq!(found[0], FIRST_ID + 10, "and none of those that came comes again");
    assert_eq!(found, (found[0]..found[0] + found.len() as u64).collect::<Vec<_>>());
    let asked = queries(&site);
    assert!(asked[..4].iter().all(|query| !query.contains("since")), "{asked:?}");
    // Without an id nothing is taken of a tick that is not whole.
    let site = Api { step: Duration::from_millis(1), faults: "#3:500".parse().unwrap(), ..Api::default() }
        .start(0)
        .await
        .unwrap();
    pause(Duration::from_millis(30));
    let mut keys = with(keys, &json!({ "url": site.url("/trades") }));
    keys.as_object_mut().unwrap().remove("id");
    assert!(matches!(Saved::default().open(&keys).await.next().await, Err(SourceError::Lost(_))));
}

/// Whatever goes wrong, over restarts, with ids that are seen late: each record once.
#[tokio::test(flavor = "multi_thread")]
async fn each_record_comes_once_over_faults_and_restarts() {
    let faults =
        "5%:500, 4%:torn, 4%:torn-chunked, 4%:reset, 4%:layout, 4%:empty, 4%:garbled, 4%:moved, 2%:nested, 2%:403";
    for (seed, format, records, id) in [
        (1, "json", "/data", "/id"),
        (2, "jsonl", "", "/id"),
        (3, "csv", "", "/id"),
        (4, "xml", "/trades/trade", "/@id"),
    ] {
        let site = Api { seed, faults: faults.parse().unwrap(), ..Api::default() }.start(0).await.unwrap();
        let mut keys = json!({
            "url": site.url("/trades"), "query": { "late": 5, "format": format, "limit": 1000 }, "format": format, "id": id,
            "error": "/error",
        });
        if !records.is_empty() {
            keys["records"] = records.into();
        }
        let mut saved = Saved::default();
        let mut source = saved.open(&keys).await;
        let (mut found, mut outcomes) = (BTreeSet::new(), BTreeMap::new());
        for tick in 0..150 {
            if tick % 7 == 0 {
                source = saved.open(&keys).await;
            }
            let mut batch = match source.next().await {
                Ok(batch) => batch,
                Err(error) => {
                    *outcomes.entry(error.to_string()).or_insert(0) += 1;
                    continue;
                }
            };
            *outcomes.entry(batch.outcome().as_str().to_owned()).or_insert(0) += 1;
            saved.take(&mut batch);
            for item in batch.items {
                assert!(found.insert(item.id.clone().unwrap()), "{format}, tick {tick}: {item:?} comes again");
            }
        }
        println!("{format}: {} records, {outcomes:?}", found.len());
        let number = |id: &String| id.split('_').nth(1).unwrap().parse::<u64>().unwrap();
        let numbers: BTreeSet<u64> = found.iter().map(number).collect();
        let last = *numbers.last().unwrap();
        // The last few may be seen only later.
        assert!((FIRST_ID..last - 6).all(|id| numbers.contains(&id)), "{format}: {numbers:?}");
        assert!(numbers.len() > 100, "{format}");
    }
}

/// The real program is killed at random moments, and started again each time on the same folder.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_each_record_is_there_once() {
    let seed = std::env::var("TAPLINE_SEED").ok().map_or(13, |seed| seed.parse().unwrap());
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 15 } else { 150 };
    println!("TAPLINE_SEED={seed} cargo test --test it json_api::killed -- --nocapture");
    // With an overlap that only ids tell, and without one: 300 kills in all.
    let runs = [("since", 0), ("overlap", 1)].map(|(way, folder)| {
        tokio::spawn(async move {
            let site = Api { seed, ..Api::default() }.start(0).await.unwrap();
            let url = site.url("/trades");
            tokio::task::spawn_blocking(move || {
                let mut random = StdRng::seed_from_u64(seed + folder);
                let tap = Tap::new();
                tap.settings("rotate: { size: 4KiB, every: 1h }\ncommit: { every: 40ms, size: 1MiB }\n");
                let since = if way == "since" { "since: { param: since, from: /id }\n" } else { "" };
                tap.source(
                    "trades",
                    &format!(
                        "kind: json\nurl: {url}\nevery: 100ms\nquery: {{ limit: 50 }}\nrecords: /data\nid: /id\npublished_at: /time\n{since}pages: {{ cursor: {{ param: cursor, from: /cursor }} }}\n"
                    ),
                );
                for kill in 0..kills {
                    let before = tap.count("trades");
                    let mut process = tap.run();
                    if kill % 2 == 1 {
                        tap.wait_for_lines("trades", before + 1);
                    }
                    pause(Duration::from_millis(random.random_range(0..500)));
                    process.kill();
                }
                let mut process = tap.start();
                tap.wait_for_lines("trades", tap.count("trades") + 5);
                assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
                let mut found = BTreeSet::new();
                for record in tap.records("trades") {
                    let id = record["data"]["id"].as_u64().unwrap();
                    assert!(found.insert(id), "{record} is there twice");
                }
                println!("{way}: {} records", found.len());
                tap.assert_counted("trades");
                let last = *found.last().unwrap();
                assert_eq!(found.len() as u64, last - FIRST_ID + 1, "{way}: none is missing");
                assert!(found.len() > kills / 4, "the kills left time for only {} records", found.len());
            })
            .await
            .unwrap();
            drop(site);
        })
    });
    for run in runs {
        run.await.unwrap();
    }
}
