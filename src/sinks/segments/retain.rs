//! What is kept: which of a stream's closed segments have become too old, or too many.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::Retain;
use crate::fs::Fs;

use super::name::{self, Form, Name};

/// A closed segment on the disk, in whatever forms it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: u64,
    /// What all its forms take on the disk, in bytes.
    pub bytes: u64,
    /// When it was last written.
    pub modified_at: DateTime<Utc>,
}

/// A stream's closed segments: those before `active`, oldest first.
///
/// # Errors
/// When a folder or a file cannot be read.
pub fn closed(fs: &dyn Fs, root: &Path, stream: &str, active: u64) -> io::Result<Vec<Closed>> {
    let mut found: BTreeMap<u64, Closed> = BTreeMap::new();
    for file in all(fs, root, stream)?.into_iter().filter(|file| file.number < active) {
        let path = name::path(root, stream, file);
        let (bytes, modified_at) = (fs.len(&path)?, fs.modified(&path)?);
        let closed = found.entry(file.number).or_insert(Closed { number: file.number, bytes: 0, modified_at });
        closed.bytes += bytes;
        // The text rendering may be younger or older: the lines are what counts.
        if file.form != Form::Text {
            closed.modified_at = modified_at;
        }
    }
    Ok(found.into_values().collect())
}

/// Removes every file of the segments before `first`, and the folders that this leaves empty.
///
/// # Errors
/// When a file cannot be removed; those removed before it are gone, and the call may be repeated.
pub fn remove_before(fs: &dyn Fs, root: &Path, stream: &str, first: u64) -> io::Result<u64> {
    let mut removed = 0;
    for file in all(fs, root, stream)?.into_iter().filter(|file| file.number < first) {
        fs.remove(&name::path(root, stream, file))?;
        fs.remove_dir(&name::day_dir(root, stream, file.day))?;
        removed += 1;
    }
    Ok(removed)
}

fn all(fs: &dyn Fs, root: &Path, stream: &str) -> io::Result<Vec<Name>> {
    let mut files = Vec::new();
    for dir in fs.list(&root.join(stream))? {
        let Some(day) = name::parse_day(&dir) else { continue };
        let names = fs.list(&name::day_dir(root, stream, day))?;
        files.extend(
            names.iter().filter_map(|file| name::parse(stream, day, file)).filter(|file| file.form != Form::Aside),
        );
    }
    Ok(files)
}

/// Segments of one stream that are to be given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveUp {
    /// The stream.
    pub stream: Arc<str>,
    /// The first segment that is kept.
    pub first: u64,
    /// Whether a loader has not passed all of them: only a limit of size forces that.
    pub is_forced: bool,
}

/// The segments to give up, of streams that share one limit. `needed` is the first segment of a stream that a loader has
/// not passed.
pub fn plan(
    streams: &[(Arc<str>, Vec<Closed>)],
    needed: &dyn Fn(&str) -> Option<u64>,
    retain: Retain,
    now: DateTime<Utc>,
) -> Vec<GiveUp> {
    let mut given_up: BTreeMap<&Arc<str>, (u64, bool)> = BTreeMap::new();
    let mut all: Vec<(bool, &Arc<str>, &Closed)> = Vec::new();
    for (stream, closed) in streams {
        let needed = needed(stream);
        all.extend(closed.iter().map(|closed| (needed.is_some_and(|needed| closed.number >= needed), stream, closed)));
    }
    let mut total: u64 = all.iter().map(|(_, _, closed)| closed.bytes).sum();
    // The oldest first, and before all of them those that nobody needs.
    all.sort_by_key(|(is_needed, stream, closed)| (*is_needed, closed.modified_at, *stream, closed.number));
    let age_max = retain.age.map(|age| TimeDelta::from_std(age.0).unwrap_or(TimeDelta::MAX));
    for (is_needed, stream, closed) in all {
        let too_old = !is_needed && age_max.is_some_and(|age| now - closed.modified_at > age);
        let too_much = retain.size.is_some_and(|size| total > size.0);
        if too_old || too_much {
            total -= closed.bytes;
            let entry = given_up.entry(stream).or_default();
            *entry = (entry.0.max(closed.number + 1), entry.1 || is_needed);
        }
    }
    let all = given_up.into_iter();
    all.map(|(stream, (first, is_forced))| GiveUp { stream: Arc::clone(stream), first, is_forced }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::units::{Size, Span};

    fn now() -> DateTime<Utc> {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    fn segment(number: u64, bytes: u64, hours: i64) -> Closed {
        Closed { number, bytes, modified_at: now() - TimeDelta::hours(hours) }
    }

    fn check(retain: Retain, expected: &[(&str, u64)]) {
        let streams = [
            ("a".into(), vec![segment(1, 10, 50), segment(2, 10, 30), segment(3, 10, 10)]),
            ("b".into(), vec![segment(7, 100, 40), segment(8, 100, 20)]),
        ];
        let planned = plan(&streams, &|_| None, retain, now());
        assert!(planned.iter().all(|give_up| !give_up.is_forced));
        let planned: Vec<(&str, u64)> = planned.iter().map(|give_up| (&*give_up.stream, give_up.first)).collect();
        assert_eq!(planned, expected);
    }

    #[test]
    fn what_a_loader_needs_goes_last_and_only_for_want_of_room() {
        let streams = [
            ("a".into(), vec![segment(1, 10, 50), segment(2, 10, 30), segment(3, 10, 10)]),
            ("b".into(), vec![segment(7, 100, 40), segment(8, 100, 20)]),
        ];
        let needed = |stream: &str| (stream == "a").then_some(2);
        for (age, size, expected) in [
            (Some(5), None, vec![("a", 2, false), ("b", 9, false)]),
            (None, Some(20), vec![("a", 2, false), ("b", 9, false)]),
            (None, Some(19), vec![("a", 3, true), ("b", 9, false)]),
            (Some(5), Some(0), vec![("a", 4, true), ("b", 9, false)]),
        ] {
            let retain = Retain { age: age.map(|hours| Span(Duration::from_hours(hours))), size: size.map(Size) };
            let planned = plan(&streams, &needed, retain, now());
            let planned: Vec<_> = planned.iter().map(|it| (&*it.stream, it.first, it.is_forced)).collect();
            assert_eq!(planned, expected, "{age:?} {size:?}");
        }
    }

    #[test]
    fn without_limits_everything_is_kept() {
        check(Retain::default(), &[]);
    }

    #[test]
    fn by_age() {
        let age = |hours: u64| Retain { age: Some(Span(Duration::from_hours(hours))), size: None };
        check(age(60), &[]);
        check(age(35), &[("a", 2), ("b", 8)]);
        check(age(5), &[("a", 4), ("b", 9)]);
    }

    #[test]
    fn by_size_the_oldest_of_all_streams_go_first() {
        let size = |bytes| Retain { age: None, size: Some(Size(bytes)) };
        check(size(230), &[]);
        check(size(225), &[("a", 2)]);
        check(size(150), &[("a", 2), ("b", 8)]);
        check(size(0), &[("a", 4), ("b", 9)]);
    }

    #[test]
    fn both() {
        let retain = Retain { age: Some(Span(Duration::from_hours(45))), size: Some(Size(130)) };
        check(retain, &[("a", 2), ("b", 8)]);
    }
}
