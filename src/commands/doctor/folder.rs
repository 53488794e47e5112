//! The data folder: its format, who writes it, whether the commit log can be read, and whether what it names is there.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Utc};

use crate::fs::{Disk, Fs as _};
use crate::pipeline::commit::OWN_DIR;
use crate::pipeline::format::Stamp;
use crate::pipeline::ledger;
use crate::record::{Line, time_text};
use crate::report::committed::Committed;
use crate::sinks::segments::Saved;
use crate::sinks::segments::name::{self, Form, Name};
use crate::sinks::segments::read::files;

use super::case::Case;
use super::finding::{Finding, counted};

/// How far back the ledger is read for what was damaged.
const LOOKED_BACK: TimeDelta = TimeDelta::days(30);

/// So many streams, or entries, are named.
const NAMED_MAX: usize = 5;

/// What to do about what is not there any more.
const GONE: &str = "see who deletes or changes files there (nobody should but `retain:`), and look at the disk (dmesg, smartctl); what is left is read as before";

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let root = &case.settings.data;
    if !root.join(OWN_DIR).is_dir() {
        return vec![Finding::ok(format!("{} holds no data of tapline yet", root.display()))];
    }
    let committed = match &case.committed {
        Ok(committed) => committed,
        Err(error) => {
            return vec![Finding::bad(
                format!("the commit log cannot be read: {error:#}"),
                "do what is said there; segments stay files of JSON lines that anything reads (docs/format.md)",
            )];
        }
    };
    let mut findings = vec![format(committed), writer(case)];
    findings.extend(streams(committed));
    findings.extend(damage(committed));
    findings
}

fn format(committed: &Committed) -> Finding {
    let stamp = Stamp::read(&Disk, &committed.root().join(OWN_DIR)).ok().flatten();
    let written = stamp.map_or_else(String::new, |stamp| {
        format!("data format {}, last written by tapline {}; ", stamp.format, stamp.tapline)
    });
    let count = |what: &str| counted(committed.names(&format!("{what}/")).count() as u64, what);
    let (streams, sources) = (count("stream"), count("source"));
    Finding::ok(format!("{written}the commit log can be read: {streams}, {sources}"))
}

fn writer(case: &Case) -> Finding {
    let Some(service) = case.service() else { return Finding::ok("nobody writes it just now") };
    let pid = service.pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    let since = service.since.as_ref().map_or_else(String::new, |since| format!(" since {}", time_text(since)));
    Finding::ok(format!("{pid} writes it{since}"))
}

/// Whether the files of each stream are as the commit log says.
fn streams(committed: &Committed) -> Vec<Finding> {
    let (mut findings, mut holes, mut segments, mut lost) = (Vec::new(), BTreeMap::new(), 0, 0);
    for stream in committed.names("stream/") {
        let saved = match committed.saved(stream) {
            Ok(Some(saved)) => saved,
            Ok(None) => continue,
            Err(error) => {
                findings.push(Finding::bad(format!("{error:#}"), GONE));
                continue;
            }
        };
        let found = match files(&Disk, committed.root(), stream) {
            Ok(found) => found,
            Err(error) => {
                findings.push(Finding::bad(format!("the folder of the stream {stream} cannot be read: {error}"), GONE));
                continue;
            }
        };
        segments += found.len();
        if let Some(words) = missing(committed, stream, &saved, found.get(&saved.segment)) {
            lost += 1;
            if lost <= NAMED_MAX {
                findings.push(Finding::bad(words, GONE));
            }
        }
        let holes_of = (saved.first..saved.segment).filter(|number| !found.contains_key(number)).count();
        if holes_of > 0 {
            holes.insert(stream, holes_of);
        }
    }
    if !holes.is_empty() {
        findings.push(of_holes(&holes));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "every stream ends where it was committed; {}",
            counted(segments as u64, "segment")
        )));
    }
    findings
}

/// What is committed of the active segment and is not in its file.
fn missing(committed: &Committed, stream: &str, saved: &Saved, found: Option<&Name>) -> Option<String> {
    if saved.len == 0 {
        return None;
    }
    let Some(found) = found else {
        return Some(format!(
            "the active segment {} of the stream {stream} is gone, with {} committed bytes",
            saved.segment, saved.len
        ));
    };
    // What is compressed was whole before.
    if found.form != Form::Plain {
        return None;
    }
    let len = Disk.len(&name::path(committed.root(), stream, *found)).ok()?;
    (len < saved.len).then(|| {
        format!(
            "the segment {} of the stream {stream} has {len} bytes, and {} were committed",
            saved.segment, saved.len
        )
    })
}

fn of_holes(holes: &BTreeMap<&str, usize>) -> Finding {
    let named: Vec<String> =
        holes.iter().take(NAMED_MAX).map(|(stream, count)| format!("{stream} ({count})")).collect();
    let more = if holes.len() > NAMED_MAX { format!(" and {} more", holes.len() - NAMED_MAX) } else { String::new() };
    Finding::warn(
        format!("segments are not there that `retain:` has not deleted: of {}{more}", named.join(", ")),
        "if nobody moved them away on purpose, see who deletes files there; loaders and exports pass over what is missing, and say so",
    )
}

/// What the ledger says was damaged, lately.
fn damage(committed: &Committed) -> Option<Finding> {
    let since = committed.now - LOOKED_BACK;
    let (mut found, mut last) = (0_u64, None);
    let read = committed.lines(ledger::STREAM, Some(since), &mut |line| {
        let Ok(line) = Line::parse(line) else { return };
        let is_late = line.observed_at.parse::<chrono::DateTime<Utc>>().is_ok_and(|at| at >= since);
        if line.kind == "damage" && is_late {
            found += 1;
            last = Some(format!("{} {}", line.observed_at, line.data.get()));
        }
    });
    if let Err(error) = read {
        return Some(Finding::bad(format!("the ledger cannot be read: {error:#}"), GONE));
    }
    last.map(|last| {
        Finding::warn(
            format!(
                "the ledger says that committed lines were missing, {} in the last 30 days; the last: {last}",
                counted(found, "time")
            ),
            GONE,
        )
    })
}
