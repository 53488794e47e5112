//! `/metrics`: what there is to measure, as `OpenMetrics` 1.0. Names and units are a promise; docs/metrics.md lists them.
//!
//! What counts is read off the committed state, so that counters go on over restarts; what is timed comes from the
//! instruments of the process. Labels are names, and nothing that was collected.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State as From;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::pipeline::load::State as LoaderState;
use crate::pipeline::writer::Status;
use crate::report::loaders::{Found, of_service};
use crate::report::saved::Tally;
use crate::report::sources::State;
use crate::secrets;

use super::pages::LAG_BYTES_MAX;
use super::process;
use super::site::Site;
use super::view::View;

/// What the text is (`OpenMetrics` 1.0, section "Content-Type").
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Reals = Family<Labels, Gauge<f64, AtomicU64>>;
type Counts = Family<Labels, Counter>;

/// Everything at this moment.
pub(super) async fn metrics(From(site): From<Arc<Site>>) -> Response {
    let view = match site.look().await {
        Ok(view) => view,
        Err(down) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{down}\n")).into_response(),
    };
    let made = tokio::task::spawn_blocking(move || text(&site, &view)).await;
    match made.map_err(anyhow::Error::from).and_then(|made| made) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], secrets::hide(&text).into_owned()).into_response(),
        Err(error) => {
            tracing::warn!("the metrics cannot be read: {error:#}");
            (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be read; the log says why\n").into_response()
        }
    }
}

fn text(site: &Site, view: &View) -> anyhow::Result<String> {
    let mut registry = Registry::with_prefix("tapline");
    registry.register("build", "The version that runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    add_sources(&mut registry, view);
    add_loaders(&mut registry, &of_service(&view.committed, LAG_BYTES_MAX)?, view.committed.now);
    add_writer(&mut registry, site);
    add_disk(&mut registry, view)?;
    let mut own = Registry::default();
    process::add(&mut own, site.parts.since);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    // Both are one text, which ends once.
    text.truncate(text.trim_end().trim_end_matches("# EOF").len());
    encode(&mut text, &own)?;
    Ok(text)
}

fn add_sources(registry: &mut Registry, view: &View) {
    let of = Sources::default();
    for state in &view.states {
        of.add(state, view);
    }
    of.register(registry);
}

/// What is said of sources, each with the label `source`.
#[derive(Default)]
struct Sources {
    well: Reals,
    stalled: Reals,
    state: Reals,
    records: Counts,
    rejects: Counts,
    duplicates: Counts,
    ignored: Counts,
    ticks: Counts,
    missed: Counts,
    connects: Counts,
    record_at: Reals,
    slot: Reals,
    lag: Reals,
    today: Reals,
    this_month: Reals,
}

impl Sources {
    fn add(&self, state: &State, view: &View) {
        let now = view.committed.now;
        let labels: Labels = vec![("source", state.facts.name.clone())];
        let with = |name, value: &str| {
            let mut labels = labels.clone();
            labels.push((name, value.to_owned()));
            labels
        };
        set(&self.well, &labels, f64::from(u8::from(state.is_well)));
        set(&self.stalled, &labels, f64::from(u8::from(state.facts.stalled(now).is_some())));
        let Some(saved) = &state.facts.saved else { return };
        let tally = &saved.tally;
        if let Some(word) = &tally.state {
            set(&self.state, &with("state", word), 1.0);
        }
        for (counts, count) in [
            (&self.records, tally.records),
            (&self.rejects, tally.rejects),
            (&self.duplicates, tally.duplicates),
            (&self.missed, tally.missed.or(saved.slot.map(|_| 0))),
            (&self.connects, tally.connects),
        ] {
            if let Some(count) = count {
                counts.get_or_create(&labels).inc_by(count);
            }
        }
        for (key, count) in tally.ignored.iter() {
            self.ignored.get_or_create(&with("key", key)).inc_by(count);
        }
        for (outcome, count) in &tally.outcomes {
            self.ticks.get_or_create(&with("outcome", outcome)).inc_by(*count);
        }
        for (reals, value) in [
            (&self.record_at, tally.record_at.map(seconds)),
            (&self.slot, saved.slot.map(seconds)),
            (&self.lag, Tally::lag(tally)),
        ] {
            if let Some(value) = value {
                set(reals, &labels, value);
            }
        }
        if let Some(spent) = &tally.spent {
            set(&self.today, &labels, real(spent.today));
            set(&self.this_month, &labels, real(spent.this_month));
        }
    }

    fn register(self, registry: &mut Registry) {
        registry.register("source_well", "1 where nobody has to do anything about the source", self.well);
        registry.register("source_stalled", "1 where it does nothing though it should", self.stalled);
        registry.register("source_state", "1 for the state that the source is in", self.state);
        registry.register("source_records", "Records written", self.records);
        registry.register("source_rejects", "Items that could not become a record", self.rejects);
        registry.register("source_duplicates", "Records that upstream sent again, not written again", self.duplicates);
        registry.register("source_ignored", "What came and is not wanted, by the key that says so", self.ignored);
        registry.register("source_ticks", "Ticks of a polled source by outcome, as the ledger has them", self.ticks);
        registry.register("source_ticks_missed", "Ticks that nobody was there for", self.missed);
        registry.register("source_connects", "Connections of a stream that showed life", self.connects);
        let at = Unit::Seconds;
        registry.register_with_unit(
            "source_last_record_timestamp",
            "When the last record was observed, since 1970",
            at,
            self.record_at,
        );
        let at = Unit::Seconds;
        registry.register_with_unit(
            "source_last_tick_timestamp",
            "The slot of the last tick, since 1970",
            at,
            self.slot,
        );
        registry.register_with_unit(
            "source_lag",
            "How long the last record took from upstream",
            Unit::Seconds,
            self.lag,
        );
        registry.register(
            "source_records_today",
            "Records of this day (UTC): what a budget is held against",
            self.today,
        );
        registry.register("source_records_this_month", "Records of this month (UTC)", self.this_month);
    }
}

fn add_loaders(registry: &mut Registry, found: &[Found], now: DateTime<Utc>) {
    let [well, parked, lag_records, lag_bytes, lag_seconds] = [(); 5].map(|()| Reals::default());
    let [records, exists, dead, retries] = [(); 4].map(|()| Counts::default());
    for loader in found {
        let labels: Labels = vec![("loader", loader.name.clone())];
        set(&well, &labels, f64::from(u8::from(loader.is_well)));
        set(&parked, &labels, f64::from(u8::from(loader.health.state == LoaderState::Parked)));
        set(&lag_records, &labels, real(loader.lag_records()));
        set(&lag_bytes, &labels, real(loader.sum(|stream| stream.lag.map_or(0, |lag| lag.bytes))));
        let since = loader.behind_since().map_or(0.0, |since| (seconds(now) - seconds(since)).max(0.0));
        set(&lag_seconds, &labels, since);
        for (counts, count) in [
            (&records, loader.sum(|stream| stream.loaded.records)),
            (&exists, loader.sum(|stream| stream.loaded.exists)),
            (&dead, loader.sum(|stream| stream.loaded.dead)),
            (&retries, loader.health.retries),
        ] {
            counts.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("loader_well", "1 where nobody has to do anything about the loader", well);
    registry.register("loader_parked", "1 where it waits for somebody to act", parked);
    registry.register(
        "loader_lag_records",
        "Records that wait to be loaded, counted up to 16 MiB of each stream",
        lag_records,
    );
    registry.register_with_unit(
        "loader_lag",
        "What waits to be loaded, counted up to 16 MiB of each stream",
        Unit::Bytes,
        lag_bytes,
    );
    registry.register_with_unit("loader_behind", "Age of the oldest record that waits", Unit::Seconds, lag_seconds);
    registry.register("loader_records", "Records that the store took or had", records);
    registry.register("loader_exists", "Records of these that it had already", exists);
    registry.register("loader_dead_letters", "Records that the store will never take", dead);
    registry.register("loader_retries", "How often something was sent again, or connected again", retries);
}

fn add_writer(registry: &mut Registry, site: &Site) {
    let (writer, live) = (&site.parts.writer, site.parts.writer.metrics().clone());
    let is_full = Gauge::<f64, AtomicU64>::default();
    is_full.set(f64::from(u8::from(site.writer_status() == Status::Full)));
    registry.register("writer_full", "1 while the disk has no room and nothing is written", is_full);
    let (used, most) = writer.queue();
    for (name, help, value) in [
        ("writer_queue", "What is on its way to the writer", used),
        ("writer_queue_limit", "What may be on its way to the writer; then sources wait", most),
    ] {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(real(value));
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    }
    registry.register_with_unit("writer_committed", "Lines committed by this process", Unit::Bytes, live.committed);
    registry.register_with_unit(
        "commit_duration",
        "How long a commit takes, syncs included",
        Unit::Seconds,
        live.commit,
    );
    registry.register_with_unit("commit_size", "Lines in one commit", Unit::Bytes, live.commit_size);
    registry.register_with_unit("source_wait", "How long a source waits for the writer", Unit::Seconds, live.wait);
    registry.register_with_unit("tick_lateness", "How long after its slot a tick begins", Unit::Seconds, live.lateness);
    registry.register_with_unit("tick_duration", "How long a tick's call takes", Unit::Seconds, live.call);
    registry.register_with_unit("loader_send_duration", "How long a store takes for a batch", Unit::Seconds, live.send);
}

fn add_disk(registry: &mut Registry, view: &View) -> anyhow::Result<()> {
    let [len, segments] = [(); 2].map(|()| Reals::default());
    for stream in view.committed.names("stream/") {
        let Some(saved) = view.committed.saved(stream)? else { continue };
        let labels: Labels = vec![("stream", stream.to_owned())];
        set(&len, &labels, real(saved.len));
        set(&segments, &labels, real(saved.segment + 1 - saved.first.min(saved.segment)));
    }
    registry.register_with_unit(
        "stream_active_segment",
        "Committed length of the segment that is written to",
        Unit::Bytes,
        len,
    );
    registry.register("stream_segments", "Segments that are kept", segments);
    // A folder that cannot be looked at has no number.
    if let Ok(free) = view.committed.free() {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(real(free));
        registry.register_with_unit("disk_free", "Room on the data folder's disk", Unit::Bytes, gauge);
    }
    Ok(())
}

fn set(reals: &Reals, labels: &Labels, value: f64) {
    reals.get_or_create(labels).set(value);
}

#[expect(clippy::cast_precision_loss, reason = "a measure")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this century are exact")]
pub(super) fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}
