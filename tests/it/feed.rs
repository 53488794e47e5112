//! The adapter `feed` against a simulated site and a server that nobody here wrote, over faults, restarts and kills.

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
use tapline::simulator::feed::{News, shown};
use tapline::source::{Batch, Outcome, Source, SourceError};

use crate::support::nginx::Nginx;
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

    /// A source that goes on from here, as after a restart.
    async fn open(&self, settings: &Value) -> Box<dyn Source> {
        let mut settings = settings.clone();
        settings["manners"] = json!({ "robots": { "ignore": "a test of other things" } });
        let adapter = ADAPTERS.iter().find(|adapter| adapter.kind == "feed").unwrap();
        let settings = (adapter.parse)(settings).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut source = settings.open(&Context::new(Arc::new(SystemClock))).unwrap();
        source.recall(Recall { parts: self.parts.clone(), written: Vec::new() });
        source.connect(self.cursor.as_ref()).await.unwrap();
        source
    }
}

fn number(id: &str) -> u64 {
    id.strip_prefix("news-").unwrap().parse().unwrap()
}

/// Whatever goes wrong in between: each item once, in one of three forms, and each edit once.
#[tokio::test(flavor = "multi_thread")]
async fn g13_each_item_comes_once_over_faults_and_restarts() {
    let faults = "5%:500, 4%:torn, 4%:torn-chunked, 4%:reset, 4%:layout, 4%:empty, 5%:garbled, 4%:moved, 4%:charset, 2%:nested, 2%:403";
    for (seed, path) in [(1, "/rss"), (2, "/atom"), (3, "/json")] {
        let news = News { seed, faults: faults.parse().unwrap(), ..News::default() };
        let site = news.start(0).await.unwrap();
        let settings = json!({ "url": site.url(path), "edits": true });
        let mut saved = Saved::default();
        let mut source = saved.open(&settings).await;
        let (mut items, mut edits, mut outcomes) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for tick in 0..300 {
            if tick % 7 == 0 {
                source = saved.open(&settings).await;
            }
            let mut batch = match source.next().await {
                Ok(batch) => batch,
                Err(error) => {
                    *outcomes.entry(format!("{error}")).or_insert(0) += 1;
                    continue;
                }
            };
            *outcomes.entry(batch.outcome().as_str().to_owned()).or_insert(0) += 1;
            saved.take(&mut batch);
            for item in batch.items {
                let data: Value = serde_json::from_str(item.data.get()).unwrap();
                let id = data["id"].as_str().unwrap();
                let is_new = if item.kind == "edit" {
                    assert!(number(id).is_multiple_of(7), "{id} was never edited");
                    edits.insert(number(id))
                } else {
                    assert!(item.published_at.is_some());
                    items.insert(number(id))
                };
                assert!(is_new, "seed {seed}, tick {tick}: {} {id} comes again", item.kind);
                // Of a wrong word about the encoding nothing is seen.
                assert!(data.to_string().contains('Ü'), "{data}");
            }
        }
        println!("{path}: {} items, {} edits, {outcomes:?}", items.len(), edits.len());
        let last = *items.last().unwrap();
        assert_eq!(items.iter().copied().collect::<Vec<_>>(), (0..=last).collect::<Vec<_>>(), "{path}");
        // Some are edited before they are seen for the first time.
        let all: BTreeSet<u64> = (0..=last).filter(|number| number % 7 == 0).collect();
        assert!(edits.is_subset(&all) && edits.len() * 3 > all.len(), "{edits:?}");
        assert!(outcomes.contains_key("invalid") && outcomes.contains_key("ok"), "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_outcome() {
    let settings = |site: &tapline::simulator::feed::Site| json!({ "url": site.url("/rss") });
    let reason = |batch: &Batch| batch.rejects[0].reason.clone();
    for (faults, expected) in [
        ("every 1:layout", "page_instead_of_feed: this is an HTML page; its feeds are SITE/rss"),
        ("every 1:empty", "empty_feed: the answer has nothing in it"),
        ("every 1:nested", "feed_too_deep: the feed nests elements deeper than any feed does"),
    ] {
        let site = News { faults: faults.parse().unwrap(), ..News::default() }.start(0).await.unwrap();
        let batch = Saved::default().open(&settings(&site)).await.next().await.unwrap();
        assert_eq!(batch.outcome(), Outcome::Invalid, "{faults}");
        assert_eq!(reason(&batch), expected.replace("SITE", site.url("").as_str()), "{faults}");
        assert!(!batch.cursor.unwrap().as_json().contains("validator"), "{faults}: it would be confirmed for ever");
    }
    for (faults, is_expected) in [
        ("every 1:403", (|error| matches!(error, SourceError::Blocked(_))) as fn(&SourceError) -> bool),
        ("every 1:500", |error| matches!(error, SourceError::Lost(_))),
        (
            "every 1:429=7",
            |error| matches!(error, SourceError::Throttled { wait, .. } if *wait >= Duration::from_secs(5)),
        ),
        ("every 1:torn", |error| matches!(error, SourceError::Lost(_))),
    ] {
        let site = News { faults: faults.parse().unwrap(), ..News::default() }.start(0).await.unwrap();
        let error = Saved::default().open(&settings(&site)).await.next().await.unwrap_err();
        assert!(is_expected(&error), "{faults}: {error:?}");
    }
}

/// Not modified, unchanged, and left alone for as long as it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_stays_is_left_alone() {
    let news = News { step: Duration::from_hours(1), ttl: Some(30), ..News::default() };
    let site = news.start(0).await.unwrap();
    let settings = json!({ "url": site.url("/rss") });
    let mut saved = Saved::default();
    let mut source = saved.open(&settings).await;
    let mut first = source.next().await.unwrap();
    assert_eq!((first.outcome(), first.items.len(), first.wait), (Outcome::Ok, 1, Duration::from_mins(30)));
    saved.take(&mut first);
    for mut source in [source, saved.open(&settings).await] {
        let again = source.next().await.unwrap();
        assert_eq!(
            (again.outcome(), again.items.len(), again.wait),
            (Outcome::NotModified, 0, Duration::from_mins(30))
        );
    }
    let mut other = saved.open(&json!({ "url": site.url("/rss"), "ttl": false })).await;
    let again = other.next().await.unwrap();
    assert_eq!(
        (again.outcome(), again.items.len(), again.wait),
        (Outcome::Unchanged, 0, Duration::ZERO),
        "another file"
    );
}

const LATIN: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?><rss version=\"2.0\"><channel><title>Caf\xe9 News, d\xe9j\xe0 vu</title><item><title>Caf\xe9 \xe0 la cr\xe8me</title><guid>1</guid></item></channel></rss>";

#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_feeds() {
    let feed = |items: &[u32]| {
        let items: String = items
            .iter()
            .map(|number| format!("<item><title>{number} {}</title><guid>{number}</guid></item>", "x".repeat(500)))
            .collect();
        format!("<rss version=\"2.0\"><channel><title>N</title>{items}</channel></rss>")
    };
    let nginx = Nginx::start(
        &[("feed.xml", feed(&[1, 2]).as_bytes()), ("latin.xml", LATIN)],
        "gzip on; gzip_types *; gzip_min_length 1; charset utf-8; charset_types text/xml application/xml;",
    );
    let settings = json!({ "url": nginx.url("/feed.xml") });
    let mut saved = Saved::default();
    let mut source = saved.open(&settings).await;
    let mut batch = source.next().await.unwrap();
    assert_eq!(batch.items.len(), 2);
    saved.take(&mut batch);
    let mut again = saved.open(&settings).await;
    assert_eq!(again.next().await.unwrap().outcome(), Outcome::NotModified, "over a restart");
    nginx.write("feed.xml", feed(&[3, 2, 1]).as_bytes());
    let batch = again.next().await.unwrap();
    assert_eq!(batch.items.len(), 1);
    assert!(batch.items[0].data.get().contains("\"id\":\"3\""));
    let log = nginx.log_of(3);
    assert!(log[0].contains(" 200 ") && log[1].contains(" 304 ") && log[2].contains(" 200 "), "{log:?}");
    let latin = Saved::default().open(&json!({ "url": nginx.url("/latin.xml") })).await.next().await.unwrap();
    assert!(latin.items[0].data.get().contains("Café à la crème"), "{:?}", latin.items[0]);
}

/// The real program is killed at random moments, and started again each time on the same folder.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_each_item_is_there_once() {
    let seed = std::env::var("TAPLINE_SEED").ok().map_or(11, |seed| seed.parse().unwrap());
    let kills = if std::env::var_os("TAPLINE_QUICK").is_some() { 15 } else { 150 };
    println!("TAPLINE_SEED={seed} cargo test --test it feed::killed -- --nocapture");
    // Two folders at once, 300 kills in all.
    let runs = [("/rss", 0), ("/json", 1)].map(|(path, folder)| {
        tokio::spawn(async move {
            let news = News { step: Duration::ZERO, seed, ..News::default() };
            let site = news.start(0).await.unwrap();
            let url = site.url(path);
            tokio::task::spawn_blocking(move || {
                let mut random = StdRng::seed_from_u64(seed + folder);
                let tap = Tap::new();
                tap.settings("rotate: { size: 4KiB, every: 1h }\ncommit: { every: 40ms, size: 1MiB }\n");
                tap.source("news", &format!("kind: feed\nurl: {url}\nevery: 100ms\nedits: true\n"));
                for kill in 0..kills {
                    let before = tap.count("news");
                    let mut process = tap.run();
                    if kill % 2 == 1 {
                        tap.wait_for_lines("news", before + 1);
                    }
                    pause(Duration::from_millis(random.random_range(0..500)));
                    process.kill();
                }
                let mut process = tap.start();
                tap.wait_for_lines("news", tap.count("news") + 5);
                assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
                let (mut ids, mut items) = (BTreeSet::new(), BTreeSet::new());
                for record in tap.records("news") {
                    let id = record["id"].as_str().unwrap().to_owned();
                    assert!(ids.insert(id), "{record} is there twice");
                    if record["type"] == "item" {
                        assert!(
                            items.insert(number(record["data"]["id"].as_str().unwrap())),
                            "{record} is there twice"
                        );
                    }
                }
                let (first, last) = (*items.first().unwrap(), *items.last().unwrap());
                println!("{} items, {} records", items.len(), ids.len());
                tap.assert_counted("news");
                assert_eq!(items.len() as u64, last - first + 1, "none is missing: {items:?}");
                assert!(items.len() > kills / 4, "the kills left time for only {} items", items.len());
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

/// The simulator itself: each step shows one more, and nothing vanishes that was not shown twenty times.
#[test]
fn the_site_shows_what_it_should() {
    for step in 0..100 {
        let numbers: BTreeSet<u64> = shown(5, step).into_iter().map(|piece| piece.number).collect();
        assert_eq!(numbers, ((step + 1).saturating_sub(20)..=step).collect());
    }
}
