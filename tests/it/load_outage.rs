//! Stores that are gone: what that costs, and whom.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tapline::commands::parts::Parts;
use tapline::config::{self, Compress, Durability, Retain, Rotate};
use tapline::fs::Disk;
use tapline::pipeline::commit::Append;
use tapline::pipeline::load::{Loader, Own, Plan, Select, dead_stream};
use tapline::simulator::quote::Quote;
use tapline::sinks::segments::Spec;
use tapline::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError};
use tapline::units::{Size, Span};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::alone::alone;
use crate::support::tap::{PATIENCE, Tap, wait_until};

const OUTAGE: Duration = Duration::from_hours(6);
const CHILD: &str = "TAPLINE_OUTAGE_RECORDS";

/// A store that is gone until a time, and then takes records in their order only.
struct Gone {
    until: Instant,
    calls: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
}

#[async_trait]
impl Store for Gone {
    async fn connect(&mut self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if Instant::now() < self.until {
            return Err(StoreError::Lost(anyhow::anyhow!("connection refused")));
        }
        Ok(())
    }

    async fn begin(&mut self, _: &Feed) -> Result<Mark, StoreError> {
        Ok(Mark::Unknown)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        for entry in batch.iter() {
            let expected = self.taken.fetch_add(1, Ordering::Relaxed);
            assert_eq!(entry.id().unwrap(), id(expected), "each once, in order");
        }
        Ok(Sent::default())
    }

    fn preview(&self, _: &Batch) -> String {
        String::new()
    }
}

fn id(number: u64) -> String {
    format!("t_{number:010}")
}

fn line(number: u64) -> String {
    format!(
        "{{\"observed_at\":\"2026-11-23T07:04:05.123456Z\",\"source\":\"flood\",\"id\":\"{}\",\"type\":\"trade\",\"data\":{{\"price\":59465.68}}}}\n",
        id(number)
    )
}

/// What the system has given this process, in KiB: now, or the most so far.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits for another thread. Time that is paused runs ahead whenever its runtime has nothing to do, but for work on a
/// thread that may block.
async fn in_real_time<T: Send + 'static>(waiting: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(waiting)).await.unwrap()
}

/// In a process of its own, because what is measured is a process's memory.
#[test]
fn six_hours_and_five_million_records_cost_lag_and_no_memory() {
    let records = if std::env::var_os("TAPLINE_QUICK").is_some() { "500000" } else { "5000000" };
    let said = alone("load_outage::child", &[(CHILD, records)]);
    println!("{}", said.lines().filter(|line| line.starts_with("outage: ")).collect::<String>());
    assert!(said.contains("outage: "), "{said}");
}

#[tokio::test(start_paused = true)]
#[ignore = "the test above starts it"]
async fn child() {
    let records: u64 = std::env::var(CHILD).unwrap().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut settings =
        config::Service { data: dir.path().to_owned(), durability: Durability::Process, ..Default::default() };
    settings.limits.disk_free.0 = 1 << 20;
    let parts = Parts::start(Arc::new(Disk), settings, false, &CancellationToken::new()).await.unwrap().unwrap();
    parts.shared.open_own_stream(&dead_stream("gone")).await.unwrap();
    let writer = parts.shared.writer.clone();
    let spec = Spec {
        name: "flood".into(),
        rotate: Rotate { size: Size(64 << 20), every: Span(Duration::from_hours(10_000)) },
        compress: Compress::Off,
        retain: Retain::default(),
        timezone: chrono_tz::Tz::UTC,
        link: None,
    };
    writer.open(spec).await.unwrap();
    let (calls, taken) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let began = Instant::now();
    // A little longer than the flood: at its end the store is still gone.
    let store =
        Gone { until: began + OUTAGE + Duration::from_secs(90), calls: Arc::clone(&calls), taken: Arc::clone(&taken) };
    let (flooded, stop) = (CancellationToken::new(), CancellationToken::new());
    let supply = Own::new(writer.clone(), "here".into(), watch::channel(None).1, flooded.clone());
    let plan = Plan {
        name: "gone".into(),
        to: "gone:".into(),
        streams: Select(vec!["flood".into()]),
        limits: Limits { records: 5_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
        between: (None, None),
        park: Plan::PARK,
    };
    let context = parts.shared.context.clone();
    let loader = Loader::new(plan, Box::new(store), Box::new(supply), writer.clone(), context, stop).await.unwrap();
    let loader = tokio::spawn(loader.run());
    // A source that delivers every second, for as long as the store is gone.
    let seconds = OUTAGE.as_secs();
    let mut baseline = None;
    let mut next = 0;
    for second in 0..seconds {
        let until = records * (second + 1) / seconds;
        let lines = (next..until).flat_map(|number| line(number).into_bytes()).collect();
        next = until;
        let (append, writer) = (Append { lines: vec![("flood".into(), lines)], state: Vec::new() }, writer.clone());
        in_real_time(async move { writer.append(append).await }).await.unwrap();
        tokio::time::sleep_until(began + Duration::from_secs(second + 1)).await;
        if second == 60 {
            baseline = Some(memory("VmHWM:"));
        }
    }
    let flush = writer.clone();
    in_real_time(async move { flush.flush().await }).await.unwrap();
    let baseline = baseline.unwrap();
    let while_gone = memory("VmHWM:");
    assert_eq!(taken.load(Ordering::Relaxed), 0, "it was gone");
    let tries = calls.load(Ordering::Relaxed);
    assert!((200..3_000).contains(&tries), "{tries} tries in six hours");
    flooded.cancel();
    loader.await.unwrap().unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), records, "then drained");
    let most = memory("VmHWM:");
    println!(
        "outage: {records} records, {tries} tries, memory {baseline} KiB before, {while_gone} while it was gone, {most} at most"
    );
    assert!(while_gone - baseline <= 16 << 10, "{} KiB more while the store was gone", while_gone - baseline);
    // Of batches of 4 MiB a few are on their way at once, and each thread that reads may keep one's room: 10 MiB on a machine
    // that does nothing else, and up to 23 on a busy one. The records are 800 MB.
    assert!(most - baseline <= 40 << 10, "{} KiB more at most, while batches of 4 MiB are sent", most - baseline);
    parts.end().await.unwrap();
}

fn loader(tap: &Tap, name: &str) -> Value {
    let output = tap.command(&["loaders", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.into_iter().find(|loader| loader["loader"] == name).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_are_gone_or_say_nothing_hold_up_nobody() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    // One that takes connections and never answers, one that refuses them, one that works.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = silent.local_addr().unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = silent.accept() {
            socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            // Whatever it says, it gets no answer.
            let _heard = socket.read(&mut [0; 64]);
            held.push(socket);
        }
    });
    let tap = Tap::new();
    let file = tap.path("out.db");
    tap.settings(&format!(
        "loaders:\n  - {{ to: 'redis://{silence}', name: silent }}\n  - {{ to: 'nats://{refusing}', name: refusing }}\n  - {{ to: 'sqlite:{}', name: works }}\n",
        file.display()
    ));
    let fields = "fields:\n  price: { css: span.red14px, type: number, locale: en-IN }\n";
    tap.source("bse", &format!("kind: scrape\nurl: {}\nevery: 200ms\n{fields}", exchange.url("/")));
    let mut process = tap.start();
    tap.wait_for_lines("bse", 40);
    wait_until("the one that works has them", PATIENCE, || loader(&tap, "works")["records"].as_u64() >= Some(40));
    wait_until("the others say why they have not", PATIENCE, || {
        loader(&tap, "refusing")["error"].as_str().is_some_and(|why| why.contains("refused"))
            && loader(&tap, "silent")["state"].as_str().is_some_and(|state| state != "loading")
    });
    assert_eq!(loader(&tap, "silent")["records"], 0);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
}
