//! What the process itself costs, by the names that every exporter uses. Linux only; elsewhere there are fewer.

use std::fs;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::{real, seconds};

type Real = Gauge<f64, AtomicU64>;

/// Adds what the system tells.
pub(super) fn add(registry: &mut Registry, since: DateTime<Utc>) {
    let mut add = |name: &str, help: &str, unit: Option<Unit>, value: f64| {
        let gauge = Real::default();
        gauge.set(value);
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, gauge),
            None => registry.register(name, help, gauge),
        }
    };
    add("process_start_time", "When the service took the data folder, since 1970", Some(Unit::Seconds), seconds(since));
    if let Some(memory) = resident() {
        add("process_resident_memory", "Memory that the system has given it", Some(Unit::Bytes), real(memory));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        add("process_open_fds", "Open file descriptors", None, real(open.count() as u64));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        add("process_max_fds", "How many file descriptors it may have open", None, real(limit));
    }
    if let Some(used) = processor_seconds() {
        let counter = Counter::<f64, AtomicU64>::default();
        counter.inc_by(used);
        registry.register_with_unit(
            "process_cpu",
            "Time of processors, of the user and of the system",
            Unit::Seconds,
            counter,
        );
    }
}

/// In bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, behind the name in brackets, which may hold anything.
fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(real(user + system) / real(rustix::param::clock_ticks_per_second()))
}
