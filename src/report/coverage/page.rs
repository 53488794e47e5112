//! What is said of the coverage of one source: a page for people, or one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::pipeline::coverage::Gap;
use crate::record::time_text;
use crate::report::lengths::{Seconds, many, percent, time, words};
use crate::source::Outcome;

use super::Report;

/// The names are a promise; times are RFC 3339 in UTC, lengths seconds with six decimals.
#[derive(Serialize)]
struct Json<'a> {
    source: &'a str,
    kind: Option<&'a str>,
    runs: bool,
    from: Option<String>,
    to: Option<String>,
    span_seconds: Seconds,
    covered_seconds: Seconds,
    uncovered_seconds: Seconds,
    live_seconds: Seconds,
    filled_seconds: Seconds,
    gaps: Vec<JsonGap<'a>>,
    ticks: &'a BTreeMap<String, u64>,
    ticks_total: u64,
    ticks_good: u64,
    ticks_from: Option<String>,
    ticks_to: Option<String>,
    records: u64,
    rejects: u64,
    filled_records: u64,
    starts: u64,
    throttled: u64,
    problems: u64,
    holes: u64,
    missing: u64,
}

#[derive(Serialize)]
struct JsonGap<'a> {
    from: String,
    to: String,
    seconds: Seconds,
    outcome: Option<&'a str>,
    why: &'a str,
    ticks: u64,
    open: bool,
    filled_seconds: Seconds,
    unfilled_seconds: Seconds,
    filled: Vec<JsonPart<'a>>,
    unfilled: Vec<JsonPart<'a>>,
}

#[derive(Serialize)]
struct JsonPart<'a> {
    from: String,
    to: String,
    seconds: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

fn text(micros: i64) -> String {
    time_text(&time(micros))
}

impl Report {
    /// One line of JSON, without its line feed.
    ///
    /// # Errors
    /// Never, for what the types can hold.
    pub fn json(&self) -> serde_json::Result<String> {
        let coverage = &self.coverage;
        serde_json::to_string(&Json {
            source: &self.source,
            kind: coverage.kind.as_deref(),
            runs: coverage.runs,
            from: coverage.span.map(|span| text(span.from)),
            to: coverage.span.map(|span| text(span.to)),
            span_seconds: Seconds(coverage.length()),
            covered_seconds: Seconds(coverage.covered()),
            uncovered_seconds: Seconds(coverage.uncovered()),
            live_seconds: Seconds(coverage.live()),
            filled_seconds: Seconds(coverage.filled()),
            gaps: coverage.gaps.iter().map(json_gap).collect(),
            ticks: &coverage.ticks,
            ticks_total: coverage.ticks_total(),
            ticks_good: self.good(),
            ticks_from: coverage.ticks_counted.map(|(from, _)| text(from)),
            ticks_to: coverage.ticks_counted.map(|(_, to)| text(to)),
            records: self.records,
            rejects: self.rejects,
            filled_records: coverage.filled_records,
            starts: coverage.starts,
            throttled: coverage.throttled,
            problems: coverage.problems,
            holes: coverage.holes,
            missing: coverage.missing,
        })
    }

    fn good(&self) -> u64 {
        let good = Outcome::ALL.iter().filter(|outcome| outcome.is_good());
        good.filter_map(|outcome| self.coverage.ticks.get(outcome.as_str())).sum()
    }

    /// A page with at most so many gaps: the longest, in order. What it says of a source is as the source said it.
    pub fn page(&self, gaps_max: usize) -> String {
        let coverage = &self.coverage;
        let mut rows = Vec::new();
        if let Some(span) = coverage.span {
            let still = if coverage.runs { ", and runs" } else { "" };
            rows.push(("time", format!("{} to {}{still}", moment(span.from), moment(span.to))));
            rows.push(("covered", self.covered()));
            rows.push(("not covered", self.uncovered()));
        } else {
            rows.push(("time", "none: the ledger does not say when it was read".to_owned()));
        }
        if coverage.ticks_total() > 0 {
            rows.push(("ticks", self.ticks()));
        }
        let replayed = match coverage.filled_records {
            0 => String::new(),
            count => format!(", {} of them replayed into gaps", many(count)),
        };
        rows.push(("records", format!("{}{replayed}", many(self.records))));
        rows.push(("rejects", many(self.rejects)));
        if coverage.holes > 0 {
            let (holes, were) = if coverage.holes == 1 { ("hole", "was") } else { ("holes", "were") };
            let count = many(coverage.holes);
            rows.push((
                "missing",
                format!("{}, by upstream's numbers; there {were} {count} {holes}", many(coverage.missing)),
            ));
        }
        let kind = coverage.kind.as_ref().map_or_else(String::new, |kind| format!(" ({kind})"));
        let mut page = format!("{}{kind}\n", self.source);
        for (name, what) in rows {
            writeln!(page, "  {name:<13}{what}").expect(WRITES);
        }
        page.push_str(&self.gaps(gaps_max));
        page
    }

    fn covered(&self) -> String {
        let coverage = &self.coverage;
        let share = percent(wide(coverage.covered()), wide(coverage.length()));
        let filled = coverage.filled();
        let filled = if filled > 0 { format!(", {} of it filled afterwards", words(filled)) } else { String::new() };
        format!("{share} of {}{filled}", words(coverage.length()))
    }

    fn uncovered(&self) -> String {
        let gaps = &self.coverage.gaps;
        let unfilled = gaps.iter().filter(|gap| !gap.unfilled.is_empty()).count();
        match (unfilled, gaps.len()) {
            (_, 0) => "nothing".to_owned(),
            (0, 1) => "nothing; 1 gap, filled".to_owned(),
            (0, all) => format!("nothing; {all} gaps, all filled"),
            (unfilled, all) => {
                let filled = if all > unfilled { format!("; {} more filled", all - unfilled) } else { String::new() };
                let gaps = if unfilled == 1 { "gap" } else { "gaps" };
                format!("{} in {} {gaps}{filled}", words(self.coverage.uncovered()), many(unfilled as u64))
            }
        }
    }

    fn ticks(&self) -> String {
        let coverage = &self.coverage;
        let counts: Vec<String> =
            coverage.ticks.iter().map(|(outcome, count)| format!("{} {outcome}", many(*count))).collect();
        let good = percent(self.good().into(), coverage.ticks_total().into());
        format!("{}, {good} good: {}", many(coverage.ticks_total()), counts.join(", "))
    }

    fn gaps(&self, gaps_max: usize) -> String {
        let gaps = &self.coverage.gaps;
        let mut longest: Vec<&Gap> = gaps.iter().collect();
        longest.sort_by_key(|gap| (std::cmp::Reverse(gap.unfilled_length()), std::cmp::Reverse(gap.time.length())));
        longest.truncate(gaps_max);
        longest.sort_by_key(|gap| gap.time);
        let mut table = String::new();
        if longest.len() < gaps.len() && !longest.is_empty() {
            let all = many(gaps.len() as u64);
            writeln!(table, "  the {} longest of {all} gaps (--all shows every one):", longest.len()).expect(WRITES);
        }
        if !longest.is_empty() {
            let (from, to) = ("from", "to");
            writeln!(table, "    {from:<23}  {to:<23}  {:>8}  why", "length").expect(WRITES);
        }
        for gap in longest {
            write_gap(&mut table, gap).expect(WRITES);
        }
        table
    }
}

const WRITES: &str = "invariant: writing to a string cannot fail";

/// One gap: from, to, length, cause, what filled it; and below it what is missing, if that is not all of it.
fn write_gap(out: &mut String, gap: &Gap) -> std::fmt::Result {
    let from = moment(gap.time.from);
    let to = if gap.is_open { "still open".to_owned() } else { moment(gap.time.to) };
    write!(out, "    {from}  {to:<23}  {:>8}  ", words(gap.time.length()))?;
    if let Some(outcome) = &gap.outcome {
        let ticks = if gap.ticks == 1 { "tick" } else { "ticks" };
        write!(out, "{} {ticks} {outcome}: ", many(gap.ticks))?;
    }
    out.push_str(&gap.why);
    let mut by: Vec<&str> = gap.filled.iter().map(|part| part.by.as_str()).collect();
    by.dedup();
    let by = by.join(", ");
    match (gap.filled.is_empty(), gap.unfilled.is_empty()) {
        (true, _) => return writeln!(out),
        (false, true) => return writeln!(out, "; filled by {by}"),
        (false, false) => writeln!(out, "; {} filled by {by}, but for", words(gap.filled_length()))?,
    }
    for part in &gap.unfilled {
        writeln!(out, "    {}  {}  {:>8}", moment(part.from), moment(part.to), words(part.length()))?;
    }
    Ok(())
}

/// A moment for people, to the millisecond.
fn moment(micros: i64) -> String {
    time(micros).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn wide(length: i64) -> u128 {
    u128::try_from(length).unwrap_or(0)
}

fn json_gap(gap: &Gap) -> JsonGap<'_> {
    let part = |from, to, by| JsonPart { from: text(from), to: text(to), seconds: Seconds(to - from), by };
    JsonGap {
        from: text(gap.time.from),
        to: text(gap.time.to),
        seconds: Seconds(gap.time.length()),
        outcome: gap.outcome.as_deref(),
        why: &gap.why,
        ticks: gap.ticks,
        open: gap.is_open,
        filled_seconds: Seconds(gap.filled_length()),
        unfilled_seconds: Seconds(gap.unfilled_length()),
        filled: gap.filled.iter().map(|each| part(each.time.from, each.time.to, Some(each.by.as_str()))).collect(),
        unfilled: gap.unfilled.iter().map(|each| part(each.from, each.to, None)).collect(),
    }
}
