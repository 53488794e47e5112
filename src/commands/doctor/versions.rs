//! What this program is.

use crate::pipeline::format::OURS;

use super::case::Case;
use super::finding::Finding;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let kernel = case.machine.read("proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = if kernel.is_empty() { String::new() } else { format!(" {}", kernel.trim()) };
    let kafka = if cfg!(feature = "kafka") { "with Kafka" } else { "without Kafka" };
    vec![Finding::ok(format!(
        "tapline {} ({kafka}) on {}{kernel} {}; data format {}, takes up formats from {} on",
        OURS.tapline,
        std::env::consts::OS,
        std::env::consts::ARCH,
        OURS.format,
        OURS.oldest(),
    ))]
}
