//! Pages a second, from the socket to the committed line: `cargo bench --bench pages -- URL PAGES TASKS DATA_DIR`.
//!
//! The adapter, the normaliser and the writer as the service has them; only the schedule is left out, because it would
//! wait. `scripts/bench-peers` runs it beside others.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tapline::adapters::ADAPTERS;
use tapline::config::{Compress, Durability, Retain, Rotate};
use tapline::context::{Clock, Context, SystemClock};
use tapline::fs::{Disk, Fs};
use tapline::normalise::Normaliser;
use tapline::pipeline::commit::{Append, Commits};
use tapline::pipeline::writer::{Options, Writer};
use tapline::sinks::segments::Spec;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [url, pages, tasks, dir] = &arguments[..] else {
        println!("usage: cargo bench --bench pages -- URL PAGES TASKS DATA_DIR; see scripts/bench-peers");
        return;
    };
    let (pages, tasks) = (pages.parse().unwrap(), tasks.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let began = Instant::now();
    runtime.block_on(fetch_all(url, pages, tasks, Path::new(dir)));
    println!("{}", json!({ "pages": pages, "seconds": began.elapsed().as_secs_f64() }));
}

async fn fetch_all(url: &str, pages: u64, tasks: usize, dir: &Path) {
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let commits = Commits::open(Arc::clone(&fs), dir, Durability::Commit, clock.now()).unwrap();
    let options =
        Options { every: Duration::from_millis(200), bytes: 1 << 20, durability: Durability::Commit, disk_free_min: 0 };
    let (writer, thread) = Writer::start(commits, fs, dir, Arc::clone(&clock), options).unwrap();
    let stream: Arc<str> = "pages".into();
    let spec = Spec {
        name: Arc::clone(&stream),
        rotate: Rotate::default(),
        compress: Compress::Off,
        retain: Retain::default(),
        timezone: chrono_tz::Tz::UTC,
        link: None,
    };
    writer.open(spec).await.unwrap();
    let context = Context::new(clock);
    let left = Arc::new(AtomicU64::new(pages));
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        running.spawn(fetch(
            url.to_owned(),
            task,
            context.clone(),
            writer.clone(),
            Arc::clone(&stream),
            Arc::clone(&left),
        ));
    }
    running.join_all().await;
    writer.flush().await.unwrap();
    writer.stop();
    thread.join().unwrap();
}

/// One source at full speed, until no page is left.
async fn fetch(url: String, task: usize, context: Context, writer: Writer, stream: Arc<str>, left: Arc<AtomicU64>) {
    let adapter = ADAPTERS.iter().find(|adapter| adapter.kind == "scrape").unwrap();
    let settings = json!({
        "url": url,
        "fields": {
            "price": { "css": "span.red14px", "type": "number", "locale": "en-IN" },
            "change": { "css": "span.chg", "type": "number", "locale": "en-IN" },
            "status": "td#status",
        },
    });
    let mut source = (adapter.parse)(settings).unwrap().open(&context).unwrap();
    let normaliser = Normaliser::new(format!("task{task}").into());
    source.connect(None).await.unwrap();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let batch = source.next().await.unwrap();
        assert!(batch.rejects.is_empty(), "{:?}", batch.rejects);
        let now = context.now();
        let mut lines = Vec::new();
        for (ordinal, item) in batch.items.into_iter().enumerate() {
            normaliser.record(item, now, ordinal, now).write_line(&mut lines);
        }
        writer.append(Append { lines: vec![(Arc::clone(&stream), lines)], state: Vec::new() }).await.unwrap();
    }
}
