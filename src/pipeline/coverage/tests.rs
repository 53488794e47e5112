//! Accounts of streams and of polled sources, entry by entry.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::entry::Entry;
use super::intervals::{Interval, Intervals};
use super::*;

const BASE: i64 = 1_795_000_000_000_000;

/// The time of a second, as an entry writes it.
fn at(second: i64) -> String {
    crate::record::time_text(&chrono::DateTime::from_timestamp_micros(moment(second)).unwrap())
}

fn moment(second: i64) -> i64 {
    BASE + second * 1_000_000
}

fn seconds(from: i64, to: i64) -> Interval {
    Interval::new(moment(from), moment(to))
}

struct Book(Account, i64);

impl Book {
    fn new() -> Self {
        Self(Account::new(ALWAYS, None), 0)
    }

    /// Adds an entry that was written at this second.
    fn note(&mut self, second: i64, kind: &str, data: &Value) -> &mut Self {
        let id = format!("l_{:x}_mark", self.1);
        self.1 += 1;
        self.0.read(&Entry::new(&id, &at(second), kind, &data.to_string()).unwrap());
        self
    }

    /// Sums up while the service runs, or when the source was last alive at this second.
    fn finish(&mut self, now: i64, runs: bool, alive_at: Option<i64>) -> Coverage {
        let account = std::mem::replace(&mut self.0, Account::new(ALWAYS, None));
        account.finish(&Known { now: moment(now), service_since: runs.then_some(0), alive_at: alive_at.map(moment) })
    }
}

fn times(coverage: &Coverage) -> Vec<(Interval, &str)> {
    coverage.gaps.iter().map(|gap| (gap.time, gap.why.as_str())).collect()
}

fn assert_adds_up(coverage: &Coverage) {
    assert_eq!(coverage.covered() + coverage.uncovered(), coverage.length(), "{coverage:?}");
    assert_eq!(coverage.live() + coverage.filled(), coverage.covered(), "{coverage:?}");
    assert!(coverage.live() >= 0, "{coverage:?}");
    let span = coverage.span.unwrap_or(Interval::new(0, 0));
    let mut end = i64::MIN;
    for gap in &coverage.gaps {
        assert!(gap.time.from >= end.max(span.from) && gap.time.to <= span.to && !gap.time.is_empty(), "{coverage:?}");
        end = gap.time.to;
        assert_eq!(gap.filled_length() + gap.unfilled_length(), gap.time.length(), "{coverage:?}");
        let parts: Intervals = gap.filled.iter().map(|part| part.time).chain(gap.unfilled.iter().copied()).collect();
        assert_eq!(parts.iter().collect::<Vec<_>>(), [gap.time], "{coverage:?}");
    }
}

#[test]
fn a_gap_has_its_bounds_its_cause_and_what_filled_it() {
    let mut book = Book::new();
    book.note(0, "started", &json!({"kind": "x_stream", "version": "v"}))
        .note(1, "connected", &json!({"since": at(1)}))
        .note(25, "lost", &json!({"since": at(20), "why": "silence"}))
        .note(40, "connected", &json!({"since": at(40)}))
        .note(40, "gap", &json!({"from": at(20), "to": at(40), "why": "silence"}))
        .note(41, "filled", &json!({"from": at(15), "to": at(25), "by": "backfill", "records": 7}))
        .note(42, "filled", &json!({"from": at(24), "to": at(30), "by": "backfill", "records": 2}))
        .note(43, "filled", &json!({"from": at(28), "to": at(32), "by": "search", "records": 1}));
    let found = book.finish(100, true, Some(90));
    assert_adds_up(&found);
    assert_eq!(found.span, Some(seconds(1, 100)));
    assert_eq!(times(&found), [(seconds(20, 40), "silence")]);
    let filled: Vec<_> = found.gaps[0].filled.iter().map(|part| (part.time, part.by.as_str())).collect();
    assert_eq!(filled, [(seconds(20, 30), "backfill"), (seconds(30, 32), "search")]);
    assert_eq!(found.gaps[0].unfilled, [seconds(32, 40)]);
    assert_eq!((found.uncovered(), found.filled(), found.filled_records), (8_000_000, 12_000_000, 10));
    assert_eq!(found.kind.as_deref(), Some("x_stream"));
}

/// Killed before its first entries were written: the gap after it is all that is known of that run.
#[test]
fn a_gap_before_the_first_connection_that_is_known_counts() {
    let mut book = Book::new();
    book.note(31, "started", &json!({"kind": "x_stream"})).note(31, "connected", &json!({"since": at(30)})).note(
        31,
        "gap",
        &json!({"from": at(10), "to": at(30), "why": NOT_RUNNING}),
    );
    let found = book.finish(50, true, None);
    assert_eq!(found.span, Some(seconds(10, 50)));
    assert_eq!(times(&found), [(seconds(10, 30), NOT_RUNNING)]);
}

#[test]
fn a_loss_without_an_end_is_open_until_now() {
    let mut book = Book::new();
    book.note(0, "connected", &json!({})).note(10, "lost", &json!({"why": "reset"}));
    let found = book.finish(25, true, Some(9));
    assert_eq!(times(&found), [(seconds(10, 25), "reset")]);
    assert!(found.gaps[0].is_open);
    assert_adds_up(&found);
}

#[test]
fn a_kill_ends_the_span_when_it_was_last_alive_and_a_restart_makes_it_a_gap() {
    let mut book = Book::new();
    book.note(0, "started", &json!({})).note(1, "connected", &json!({"since": at(1)}));
    let found = book.finish(500, false, Some(60));
    assert_eq!((found.span, found.gaps.len()), (Some(seconds(1, 60)), 0));

    let mut book = Book::new();
    book.note(0, "started", &json!({})).note(1, "connected", &json!({"since": at(1)})).note(100, "started", &json!({}));
    let found = book.finish(120, true, Some(60));
    assert_eq!(times(&found), [(seconds(60, 120), NOT_RUNNING)], "not connected again yet");

    let mut book = Book::new();
    book.note(0, "started", &json!({}))
        .note(1, "connected", &json!({"since": at(1)}))
        .note(100, "started", &json!({}))
        .note(101, "connected", &json!({"since": at(101)}))
        .note(101, "gap", &json!({"from": at(60), "to": at(101), "why": NOT_RUNNING}));
    let found = book.finish(120, true, Some(119));
    assert_eq!(times(&found), [(seconds(60, 101), NOT_RUNNING)]);
    assert_adds_up(&found);
}

#[test]
fn an_orderly_stop_ends_the_span_and_a_refusal_does_not() {
    let mut book = Book::new();
    book.note(0, "started", &json!({})).note(1, "connected", &json!({"since": at(1)})).note(
        50,
        "stopped",
        &json!({"why": "told to"}),
    );
    assert_eq!(book.finish(500, true, Some(49)).span, Some(seconds(1, 49)));

    let mut book = Book::new();
    book.note(0, "started", &json!({}))
        .note(1, "connected", &json!({"since": at(1)}))
        .note(50, "refused", &json!({"why": "402"}))
        .note(50, "stopped", &json!({"why": "refused by upstream"}));
    let found = book.finish(500, true, Some(49));
    assert_eq!(times(&found), [(seconds(50, 500), "refused: 402")]);
}

#[test]
fn an_entry_counts_once_however_often_it_is_there() {
    let mut account = Account::new(ALWAYS, None);
    let tick = json!({"outcome": "error", "reason": "x", "from": at(0), "to": at(9), "count": 10}).to_string();
    for id in ["l_3_mark", "l_3_mark", "other", "other"] {
        account.read(&Entry::new(id, &at(10), "outcome", &tick).unwrap());
    }
    let found = account.finish(&Known { now: moment(100), ..Known::default() });
    assert_eq!(found.ticks_total(), 20);
    assert_eq!(found.uncovered(), 10_000_000);
}

#[test]
fn ticks_stand_for_the_time_to_the_next() {
    let mut book = Book::new();
    // One bad tick among good ones, a run over the minute's end, then a downtime.
    book.note(12, "outcome", &json!({"outcome": "error", "reason": "500", "from": at(10), "to": at(10), "count": 1}))
        .note(60, "outcomes", &json!({"from": at(0), "to": at(54), "ok": 50, "unchanged": 4}))
        .note(65, "outcome", &json!({"outcome": "blocked", "reason": "b", "from": at(55), "to": at(64), "count": 10}))
        .note(90, "gap", &json!({"from": at(70), "to": at(89), "missed": 20, "why": NOT_RUNNING}))
        .note(120, "outcomes", &json!({"from": at(65), "to": at(119), "ok": 35}));
    let found = book.finish(10_000, false, None);
    assert_adds_up(&found);
    assert_eq!(found.span, Some(seconds(0, 120)));
    assert_eq!(times(&found), [(seconds(10, 11), "500"), (seconds(55, 65), "b"), (seconds(70, 90), NOT_RUNNING)]);
    assert_eq!(found.ticks_total(), 120);
    assert_eq!(found.ticks["missed"], 20);
    assert_eq!(found.uncovered(), 31_000_000);
}

#[test]
fn a_period_that_is_declared_counts_before_one_that_is_shown() {
    let mut account = Account::new(ALWAYS, Some(("v".into(), 5_000_000)));
    let tick = json!({"outcome": "error", "reason": "x", "from": at(0), "to": at(0), "count": 1});
    for (id, kind, data) in [("l_0_m", "started", json!({"version": "v"})), ("l_1_m", "outcome", tick)] {
        account.read(&Entry::new(id, &at(1), kind, &data.to_string()).unwrap());
    }
    let found = account.finish(&Known { now: moment(100), ..Known::default() });
    assert_eq!(found.uncovered(), 5_000_000);
}

#[test]
fn a_time_that_is_asked_for_cuts_and_extends() {
    let asked = |from, to| {
        let mut account = Account::new(seconds(from, to), None);
        let entries = [
            (0, "connected", json!({"since": at(0)})),
            (30, "lost", json!({"since": at(20), "why": "reset"})),
            (40, "connected", json!({"since": at(40)})),
        ];
        for (second, kind, data) in entries {
            account.read(&Entry::new("", &at(second), kind, &data.to_string()).unwrap());
        }
        account.finish(&Known { now: moment(1000), service_since: None, alive_at: Some(moment(60)) })
    };
    assert_eq!(times(&asked(25, 50)), [(seconds(25, 40), "reset")]);
    assert_eq!(asked(25, 50).span, Some(seconds(25, 50)));
    assert_eq!(times(&asked(50, 100)), [(seconds(60, 100), NOT_RUNNING)]);
    assert_eq!(asked(50, 100).span, Some(seconds(50, 100)));
    assert_eq!(asked(-20, 10).span, Some(seconds(0, 10)));
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let mut book = Book::new();
    book.note(0, "connected", &json!({"since": 7}))
        .note(1, "gap", &json!({"from": "x"}))
        .note(2, "outcomes", &json!({}))
        .note(3, "filled", &json!([]))
        .note(4, "brand_new", &json!("text"))
        .note(5, "gap", &json!({"from": at(9), "to": at(3), "why": "reversed"}));
    let found = book.finish(10, true, None);
    assert_eq!(found.span, Some(seconds(0, 10)));
    assert_eq!(found.gaps, []);
}

/// Entries in any order with any times: a clock that leaps, entries of several versions.
fn entries() -> impl Strategy<Value = Vec<(i64, usize, i64, i64, u64)>> {
    proptest::collection::vec((0_i64..300, 0_usize..11, -20_i64..320, -5_i64..60, 0_u64..9), 0..40)
}

proptest! {
    #[test]
    fn it_adds_up_whatever_the_ledger_says(
        entries in entries(), from in -10_i64..310, length in 0_i64..310, all in any::<bool>(),
        runs in any::<bool>(), alive in proptest::option::of(0_i64..310), now in 300_i64..400,
    ) {
        let within = if all { ALWAYS } else { seconds(from, from + length) };
        let mut account = Account::new(within, None);
        let mut expected = 0;
        for (number, (second, kind, from, length, count)) in entries.into_iter().enumerate() {
            let (kind, extra) = [
                ("started", ""), ("stopped", ""), ("connected", ""), ("lost", ""), ("gap", ""), ("filled", ""),
                ("outcome", "error"), ("outcomes", "ok"), ("gap", "missed"), ("refused", ""), ("outcome", "blocked"),
            ][kind];
            let mut data = json!({"since": at(from), "from": at(from), "to": at(from + length), "why": "w", "by": "b"});
            match (kind, extra) {
                ("outcome", outcome) => { data["outcome"] = outcome.into(); data["count"] = count.into(); }
                (_, "") => {}
                (_, key) => data[key] = count.into(),
            }
            let is_counted = moment(from + length) >= within.from && moment(from) < within.to;
            expected += if extra.is_empty() || !is_counted { 0 } else { count };
            let id = format!("l_{number:x}_m");
            account.read(&Entry::new(&id, &at(second), kind, &data.to_string()).unwrap());
        }
        let known = Known { now: moment(now), service_since: runs.then_some(0), alive_at: alive.map(moment) };
        let found = account.finish(&known);
        assert_adds_up(&found);
        prop_assert_eq!(found.ticks_total(), expected);
    }
}
