//! Counting lines per source, as fast as the disk gives them.
//!
//! A line of ours begins with `{"observed_at":"` and a time of fixed length, then the source: that is all that counting
//! needs, so a line is parsed as JSON only where it begins otherwise.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::record::{Line, time_text};

const BEFORE_TIME: &[u8] = b"{\"observed_at\":\"";
const TIME_BYTES: usize = "2026-11-23T07:04:05.123456Z".len();
const BEFORE_SOURCE: &[u8] = b"\",\"source\":\"";

/// Counts the lines of each source that were observed in a time.
#[derive(Debug)]
pub(super) struct Counter {
    /// Times of one form sort as their texts do.
    since: Option<String>,
    until: Option<String>,
    counts: HashMap<String, u64>,
    /// Lines that are no records.
    pub(super) unreadable: u64,
}

impl Counter {
    /// Counts lines from `since` on and before `until`.
    pub(super) fn new(since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Self {
        let [since, until] = [since, until].map(|at| at.as_ref().map(time_text));
        Self { since, until, counts: HashMap::new(), unreadable: 0 }
    }

    /// Takes one line.
    pub(super) fn take(&mut self, line: &[u8]) {
        if let Some((time, source)) = head(line) {
            self.count(time, source);
        } else if let Ok(line) = Line::parse(line) {
            let time = line.observed_at.parse().map(|at| time_text(&at));
            self.count(time.as_deref().unwrap_or(&line.observed_at), &line.source);
        } else {
            self.unreadable += 1;
        }
    }

    fn count(&mut self, time: &str, source: &str) {
        let is_early = self.since.as_ref().is_some_and(|since| time < since.as_str());
        if is_early || self.until.as_ref().is_some_and(|until| time >= until.as_str()) {
            return;
        }
        match self.counts.get_mut(source) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(source.to_owned(), 1)),
        }
    }

    /// How many lines a source has.
    pub(super) fn of(&self, source: &str) -> u64 {
        self.counts.get(source).copied().unwrap_or(0)
    }

    /// Every source that has any.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.counts.keys().map(String::as_str)
    }
}

/// The time and the source of a line that begins as we write it; `None` for one that is to be parsed.
pub(super) fn head(line: &[u8]) -> Option<(&str, &str)> {
    let (time, rest) = line.strip_prefix(BEFORE_TIME)?.split_at_checked(TIME_BYTES)?;
    let source = rest.strip_prefix(BEFORE_SOURCE)?;
    let source = &source[..memchr::memchr(b'"', source)?];
    if !time.ends_with(b"Z") || memchr::memchr(b'\\', source).is_some() {
        return None;
    }
    Some((std::str::from_utf8(time).ok()?, std::str::from_utf8(source).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;

    fn line(source: &str, second: i64) -> Vec<u8> {
        let record = Record {
            observed_at: DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap(),
            source: source.into(),
            id: "r_1".into(),
            kind: "page".into(),
            published_at: None,
            data: serde_json::value::to_raw_value("\",\"source\":\"other").unwrap(),
        };
        record.to_line().trim_end().as_bytes().to_vec()
    }

    #[test]
    fn lines_of_another_form_count_as_well() {
        let mut counter = Counter::new(Some(DateTime::from_timestamp(1_795_000_000, 0).unwrap()), None);
        let foreign =
            br#"{ "source": "one", "observed_at": "2026-11-18T12:26:40+00:00", "id": "a", "type": "b", "data": 1 }"#;
        for line in [&line("one", 0)[..], &line("one", -1), foreign, b"{}", b"torn"] {
            counter.take(line);
        }
        assert_eq!((counter.of("one"), counter.unreadable), (2, 2));
    }

    proptest! {
        #[test]
        fn a_head_is_what_the_whole_line_says(source in ".*", second in -9_i64..9) {
            let line = line(&source, second);
            let parsed = Line::parse(&line).unwrap();
            if let Some(head) = head(&line) {
                prop_assert_eq!(head, (&*parsed.observed_at, &*parsed.source));
            }
            let mut counter = Counter::new(None, None);
            counter.take(&line);
            prop_assert_eq!(counter.of(&source), 1);
        }
    }
}
