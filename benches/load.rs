//! How many records the loader loop carries by itself: `cargo bench --bench load`.
//!
//! Records of 200 bytes from closed and open segments, plain and compressed, into a store that takes whatever it is given:
//! what is left is reading, framing, tracking and saving positions. Also beside copying the same files with plain reads.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints what it measured")]

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tapline::commands::parts::Parts;
use tapline::config::{self, Compress, Durability, Retain, Rotate};
use tapline::fs::Disk;
use tapline::pipeline::commit::Append;
use tapline::pipeline::load::{Loader, Own, Plan, Select, dead_stream};
use tapline::record::Record;
use tapline::sinks::segments::name::Form;
use tapline::sinks::segments::{Spec, compress, name, read};
use tapline::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError};
use tapline::units::{Size, Span};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const RECORDS: usize = 5_000_000;
const LINE_BYTES: usize = 200;

/// Takes everything, and looks at nothing but where each record begins and ends.
struct Nowhere {
    bytes: u64,
}

#[async_trait]
impl Store for Nowhere {
    async fn connect(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn begin(&mut self, _: &Feed) -> Result<Mark, StoreError> {
        Ok(Mark::Unknown)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        self.bytes += batch.iter().map(|entry| entry.line.len() as u64).sum::<u64>();
        Ok(Sent::default())
    }

    fn preview(&self, _: &Batch) -> String {
        String::new()
    }
}

fn main() {
    // `cargo test` runs benchmarks too, to see that they run.
    let records = if std::env::args().any(|argument| argument == "--bench") { RECORDS } else { 20_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{records} records of {LINE_BYTES} bytes");
    println!("{:>8} {:>14} {:>14} {:>10} {:>14}", "form", "records/s", "CPU s per 1M", "MB/s", "reads alone/s");
    for form in [Form::Plain, Form::Zstd, Form::Gzip] {
        let dir = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
        runtime.block_on(fill(dir.path(), records));
        compress_all(dir.path(), form);
        let alone = read_alone(dir.path());
        let (cpu, began) = (cpu_seconds(), Instant::now());
        runtime.block_on(load(dir.path(), records));
        let (cpu, seconds) = (cpu_seconds() - cpu, began.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let (count, bytes) = (records as f64, (records * LINE_BYTES) as f64);
        println!(
            "{:>8} {:>14.0} {:>14.2} {:>10.0} {:>14.0}",
            form.ending().trim_start_matches("jsonl").trim_start_matches('.'),
            count / seconds,
            cpu * 1e6 / count,
            bytes / seconds / 1e6,
            count / alone
        );
    }
}

async fn parts(root: &Path) -> Parts {
    let settings =
        config::Service { data: root.to_owned(), durability: Durability::Process, ..config::Service::default() };
    Parts::start(Arc::new(Disk), settings, false, &CancellationToken::new()).await.unwrap().unwrap()
}

async fn fill(root: &Path, records: usize) {
    let parts = parts(root).await;
    let writer = &parts.shared.writer;
    let spec = Spec {
        name: "bench".into(),
        rotate: Rotate { size: Size(64 << 20), every: Span(Duration::from_hours(10_000)) },
        compress: Compress::Off,
        retain: Retain::default(),
        timezone: chrono_tz::Tz::UTC,
        link: None,
    };
    writer.open(spec).await.unwrap();
    let mut lines = Vec::with_capacity(LINE_BYTES * 1_000);
    for number in 0..records {
        record(number).write_line(&mut lines);
        if (number + 1) % 1_000 == 0 {
            let append = Append { lines: vec![("bench".into(), std::mem::take(&mut lines))], state: Vec::new() };
            writer.append(append).await.unwrap();
        }
    }
    writer.flush().await.unwrap();
    parts.end().await.unwrap();
}

fn compress_all(root: &Path, form: Form) {
    let files = read::files(&Disk, root, "bench").unwrap();
    let last = *files.keys().max().unwrap();
    for file in files.values().filter(|file| file.number < last && form != Form::Plain) {
        compress::compress(&Disk, root, "bench", *file, form).unwrap();
    }
}

/// How long it takes to read and decompress the files, and nothing else, in seconds.
fn read_alone(root: &Path) -> f64 {
    let began = Instant::now();
    let mut chunk = vec![0; 1 << 20];
    for file in read::files(&Disk, root, "bench").unwrap().values() {
        let path = name::path(root, "bench", *file);
        let mut lines = compress::decode(Box::new(std::fs::File::open(path).unwrap()), file.form).unwrap();
        while lines.read(&mut chunk).unwrap() > 0 {}
    }
    began.elapsed().as_secs_f64()
}

async fn load(root: &Path, records: usize) {
    let parts = parts(root).await;
    parts.shared.open_own_stream("bench").await.unwrap();
    parts.shared.open_own_stream(&dead_stream("nowhere")).await.unwrap();
    let over = CancellationToken::new();
    over.cancel();
    let supply = Own::new(parts.shared.writer.clone(), "here".into(), watch::channel(None).1, over);
    let plan = Plan {
        name: "nowhere".into(),
        to: "nowhere:".into(),
        streams: Select(vec!["bench".into()]),
        limits: Limits { records: 10_000, bytes: 8 << 20, wait: Duration::ZERO, closed: false },
        between: (None, None),
        park: None,
    };
    let (writer, context) = (parts.shared.writer.clone(), parts.shared.context.clone());
    let store = Box::new(Nowhere { bytes: 0 });
    let loader = Loader::new(plan, store, Box::new(supply), writer, context, CancellationToken::new()).await.unwrap();
    let progress = loader.progress();
    loader.run().await.unwrap();
    assert_eq!(progress.borrow().records, records as u64);
    parts.end().await.unwrap();
}

/// A record whose line has [`LINE_BYTES`] bytes.
fn record(number: usize) -> Record {
    let data = format!("{{\"price\":\"59465.68\",\"number\":{number:010},\"text\":\"{:1$}\"}}", "", 24);
    let data = data.replace("number\":0", "number\":1");
    Record {
        observed_at: "2026-11-23T07:04:05.123456Z".parse().unwrap(),
        source: "bench".into(),
        id: format!("r_{number:010x}_0_cuaunv3ihph02"),
        kind: "trade".into(),
        published_at: None,
        data: serde_json::value::RawValue::from_string(data).unwrap(),
    }
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap()).collect();
    // The unit is a hundredth of a second on every Linux that tapline runs on.
    ticks.iter().sum::<f64>() / 100.0
}
