//! How many records the writer takes: `cargo bench --bench writer`.
//!
//! Records of 200 bytes, handed over in batches of 100 as a busy stream would, into one stream and over 64, with every
//! commit on the disk and with none. One thread hands over, the writer's thread writes; what is counted is committed.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tapline::config::{Compress, Durability, Retain, Rotate};
use tapline::context::{Clock, SystemClock};
use tapline::fs::{Disk, Fs};
use tapline::pipeline::commit::{Append, Commits};
use tapline::pipeline::writer::{Options, Writer};
use tapline::record::Record;
use tapline::sinks::segments::Spec;

const RECORDS: usize = 2_000_000;
const BATCH: usize = 100;
const LINE_BYTES: usize = 200;

fn main() {
    // `cargo test` runs benchmarks too, to see that they run.
    let records = if std::env::args().any(|argument| argument == "--bench") { RECORDS } else { 2_000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{records} records of {LINE_BYTES} bytes in batches of {BATCH}");
    println!("{:>8} {:>10} {:>14} {:>14} {:>10}", "streams", "durability", "records/s", "CPU s per 1M", "MB/s");
    for streams in [1, 64] {
        for durability in [Durability::Commit, Durability::Process] {
            let cpu = cpu_seconds();
            let began = Instant::now();
            runtime.block_on(write(streams, durability, records));
            let seconds = began.elapsed().as_secs_f64();
            let cpu = cpu_seconds() - cpu;
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let (count, bytes) = (records as f64, (records * LINE_BYTES) as f64);
            println!(
                "{streams:>8} {:>10} {:>14.0} {:>14.2} {:>10.0}",
                format!("{durability:?}").to_lowercase(),
                count / seconds,
                cpu * 1e6 / count,
                bytes / seconds / 1e6
            );
        }
    }
}

async fn write(streams: usize, durability: Durability, records: usize) {
    // On the disk that the project is built on: a folder in memory would measure no sync.
    let dir = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let commits = Commits::open(Arc::clone(&fs), dir.path(), durability, clock.now()).unwrap();
    let options = Options { every: Duration::from_millis(200), bytes: 1 << 20, durability, disk_free_min: 0 };
    let (writer, thread) = Writer::start(commits, fs, dir.path(), Arc::clone(&clock), options).unwrap();
    let names: Vec<Arc<str>> = (0..streams).map(|stream| format!("bench{stream}").into()).collect();
    for name in &names {
        let spec = Spec {
            name: Arc::clone(name),
            rotate: Rotate::default(),
            compress: Compress::Off,
            retain: Retain::default(),
            timezone: chrono_tz::Tz::UTC,
            link: None,
        };
        writer.open(spec).await.unwrap();
    }
    let record = record(clock.now());
    for batch in 0..records / BATCH {
        // Rendered anew each time: that is part of what a record costs.
        let mut lines = Vec::with_capacity(BATCH * LINE_BYTES);
        (0..BATCH).for_each(|_| record.write_line(&mut lines));
        let append = Append { lines: vec![(Arc::clone(&names[batch % streams]), lines)], state: Vec::new() };
        writer.append(append).await.unwrap();
    }
    writer.flush().await.unwrap();
    writer.stop();
    thread.join().unwrap();
}

/// A record whose line has [`LINE_BYTES`] bytes.
fn record(now: chrono::DateTime<chrono::Utc>) -> Record {
    let with = |padding: usize| Record {
        observed_at: now,
        source: "bench".into(),
        id: "r_660efba98eef8_0_cuaunv3ihph02".into(),
        kind: "trade".into(),
        published_at: None,
        data: serde_json::value::to_raw_value(&serde_json::json!({ "price": "59465.68", "text": "x".repeat(padding) }))
            .unwrap(),
    };
    let padding = LINE_BYTES - with(0).to_line().len();
    with(padding)
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap()).collect();
    // The unit is a hundredth of a second on every Linux that tapline runs on.
    ticks.iter().sum::<f64>() / 100.0
}
