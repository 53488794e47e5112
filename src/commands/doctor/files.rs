//! The service's file and the sources, as `tapline check` judges them.

use crate::config::Diagnostic;

use super::case::Case;
use super::finding::{Finding, counted};

/// More errors are left to `tapline check`.
const ERRORS_MAX: usize = 5;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let (config, sources) = (case.global.config.display(), case.global.sources.display());
    let mut findings = Vec::new();
    let mut wrong: Vec<&Diagnostic> = case.wrong_settings.iter().collect();
    if wrong.is_empty() {
        let is_there = case.global.config.exists();
        findings.push(Finding::ok(if is_there {
            format!("{config} is in order")
        } else {
            format!("there is no {config}: everything has its default")
        }));
    }
    wrong.extend(&case.sources.wrong);
    let (all, good) = (case.sources.files.len(), case.sources.good.len());
    if all == 0 && case.sources.wrong.is_empty() {
        findings.push(Finding::warn(
            format!("there is no source in {sources}"),
            "put a YAML file there, or name another folder with --sources; `tapline adapters scrape` shows how one looks",
        ));
    } else if case.sources.wrong.is_empty() {
        let disabled = case.sources.good.iter().filter(|source| !source.enabled).count();
        let disabled = if disabled == 0 { String::new() } else { format!(", {disabled} of them disabled") };
        findings.push(Finding::ok(format!("{} in {sources}, all in order{disabled}", counted(good as u64, "source"))));
    }
    let shown = wrong.iter().take(ERRORS_MAX);
    findings.extend(shown.map(|wrong| {
        Finding::bad(
            wrong.to_string(),
            "mend the file; it is taken up within two seconds, and until then its last good version runs",
        )
    }));
    if wrong.len() > ERRORS_MAX {
        let more = wrong.len() - ERRORS_MAX;
        findings.push(Finding::bad(format!("{more} more errors in the files"), "`tapline check` says all of them"));
    }
    findings
}
