//! How late ticks are, and what they cost: many one-second sources that fetch nothing, for ten seconds each.
//!
//! `cargo bench --bench schedule`. Processor time and memory are read from `/proc/self`.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::sync::Arc;
use std::time::Duration;

use tapline::config::{Schedule, When};
use tapline::context::SystemClock;
use tapline::pipeline::schedule::{Scheduler, Ticker};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

const SPAN: Duration = Duration::from_secs(10);
/// The kernel counts processor time in hundredths of a second, on every architecture that Rust's Linux targets have.
const JIFFIES_PER_SECOND: f64 = 100.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!(
        "{:<18} {:>8} {:>10} {:>10} {:>10} {:>8} {:>8} {:>10}",
        "sources", "ticks", "p50 ms", "p99 ms", "max ms", "missed", "cpu s", "peak MiB"
    );
    let every = Schedule { when: When::Every(Duration::from_secs(1)), offset: None, active: None };
    for sources in [1, 1_000, 10_000] {
        measure(&format!("{sources} every 1s"), sources, |_| every.clone()).await?;
    }
    // A hundred different expressions, each of every second.
    let cron = |source: usize| Schedule {
        when: When::Cron { expression: format!("* * * * * {}0-6", "0-6,".repeat(source)), timezone: chrono_tz::UTC },
        offset: None,
        active: None,
    };
    measure("100 cron", 100, cron).await
}

/// What one source saw.
struct Seen {
    late: Vec<Duration>,
    missed: u64,
}

async fn measure(name: &str, sources: usize, schedule: impl Fn(usize) -> Schedule) -> anyhow::Result<()> {
    let scheduler = Scheduler::new(Arc::new(SystemClock));
    let mut tickers = Vec::new();
    for source in 0..sources {
        tickers.push(scheduler.ticker(&format!("source-{source}"), &schedule(source), None).await?);
    }
    let cpu = cpu_seconds()?;
    let end = Instant::now() + SPAN;
    let mut tasks: JoinSet<Seen> = tickers.into_iter().map(|ticker| watch(ticker, end)).collect();
    let (mut late, mut missed) = (Vec::new(), 0);
    while let Some(seen) = tasks.join_next().await {
        let seen = seen?;
        late.extend(seen.late);
        missed += seen.missed;
    }
    scheduler.shutdown().await;
    late.sort_unstable();
    let at = |share: usize| {
        late.get(late.len().saturating_sub(1) * share / 100).map_or(0.0, |late| late.as_secs_f64() * 1e3)
    };
    println!(
        "{name:<18} {:>8} {:>10.3} {:>10.3} {:>10.3} {missed:>8} {:>8.2} {:>10.1}",
        late.len(),
        at(50),
        at(99),
        at(100),
        cpu_seconds()? - cpu,
        peak_mebibytes()?
    );
    Ok(())
}

async fn watch(mut ticker: Ticker, end: Instant) -> Seen {
    let mut seen = Seen { late: Vec::new(), missed: 0 };
    while let Ok(tick) = timeout_at(end, ticker.next()).await {
        seen.late.push(tick.late);
        seen.missed += tick.skipped.map_or(0, |skipped| skipped.count);
    }
    seen
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in brackets, may hold spaces; the times are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let times: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(times.iter().sum::<f64>() / JIFFIES_PER_SECOND)
}

/// The most memory this process ever held.
fn peak_mebibytes() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    Ok(peak.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}
