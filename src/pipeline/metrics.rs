//! What is measured while it runs: a few instruments that everybody who works has a handle on. They are touched once per
//! tick, batch or commit, never per record. What is counted for good stands in the saved state instead.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// One label and its value.
pub type Label = [(&'static str, String); 1];

/// Histograms that differ by one label.
pub type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// The instruments. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// How long after its slot a tick's call begins, in seconds, by kind of source.
    pub lateness: Histograms,
    /// How long a tick's call takes, in seconds, by kind of source.
    pub call: Histograms,
    /// How long a driver waits for the writer, in seconds: what is there already is not measured.
    pub wait: Histogram,
    /// How long a commit takes, syncs included, in seconds.
    pub commit: Histogram,
    /// How many bytes of lines a commit has.
    pub commit_size: Histogram,
    /// Bytes of lines that were committed.
    pub committed: Counter,
    /// How long a store takes for a batch, in seconds, by loader.
    pub send: Histograms,
}

/// From a millisecond to a minute: a tick on time, and a site that answers no more.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

/// From a line to all that may be on its way.
fn bytes() -> Histogram {
    Histogram::new((8..24).step_by(2).map(|power| f64::from(1 << power)))
}

impl Default for Metrics {
    fn default() -> Self {
        let by_label = || Family::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            lateness: by_label(),
            call: by_label(),
            wait: seconds(),
            commit: seconds(),
            commit_size: bytes(),
            committed: Counter::default(),
            send: by_label(),
        }
    }
}

impl Metrics {
    /// A tick's call begins so long after its slot.
    pub fn late(&self, kind: &str, late: Duration) {
        self.lateness.get_or_create(&[("kind", kind.to_owned())]).observe(late.as_secs_f64());
    }

    /// A tick's call took so long.
    pub fn called(&self, kind: &str, took: Duration) {
        self.call.get_or_create(&[("kind", kind.to_owned())]).observe(took.as_secs_f64());
    }

    /// So many bytes were committed, which took so long.
    pub fn committed(&self, bytes: usize, took: Duration) {
        self.commit.observe(took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a group is far below 2^53 bytes")]
        self.commit_size.observe(bytes as f64);
        self.committed.inc_by(bytes as u64);
    }

    /// A store took so long for a batch.
    pub fn sent(&self, loader: &str, took: Duration) {
        self.send.get_or_create(&[("loader", loader.to_owned())]).observe(took.as_secs_f64());
    }
}
