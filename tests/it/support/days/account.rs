//! What a day's ledger and its server's log say, against each other.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::Day;
use crate::driver::records;
use crate::support::gaps::time;

/// Something that happened upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    pub number: u64,
    pub at: DateTime<Utc>,
}

/// Everything that happened upstream: something each so many seconds, whether anybody listens or not.
pub struct Log {
    every: TimeDelta,
    pub all: Vec<Logged>,
    next: Option<DateTime<Utc>>,
}

impl Log {
    pub fn new(seconds: i64) -> Self {
        Self { every: TimeDelta::seconds(seconds), all: Vec::new(), next: None }
    }

    /// What has happened until now and was not asked for before.
    pub fn come(&mut self, now: DateTime<Utc>) -> Vec<Logged> {
        let before = self.all.len();
        let mut next = self.next.unwrap_or(now + self.every);
        while next <= now {
            self.all.push(Logged { number: self.all.len() as u64 + 1, at: now });
            next += self.every;
        }
        self.next = Some(next);
        self.all[before..].to_vec()
    }
}

/// From one moment to another.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// How far a moment of the ledger may be from one of the server: a step of time, and what a step of the driver takes.
const NEAR: TimeDelta = TimeDelta::seconds(2);

/// How often a client may come, as its server's policy and its own ladders say.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Answered requests in any minute.
    pub per_minute: usize,
    /// Connections in any quarter of an hour.
    pub per_quarter: usize,
    /// All requests in any minute, with those on which the server broke the connection: a ladder of quarters of a second.
    pub broken_per_minute: usize,
}

/// The one of nearly all.
pub const USUAL: Policy = Policy { per_minute: 5, per_quarter: 15, broken_per_minute: 23 };

/// What the ledger says of a day.
pub struct Account {
    pub entries: Vec<Value>,
    pub records: Vec<Value>,
    pub gaps: Vec<Span>,
    pub connected: Vec<Span>,
}

pub fn span(data: &Value) -> Span {
    (time(&data["from"]), time(&data["to"]))
}

impl Account {
    pub fn of<U>(day: &Day<U>) -> Self {
        let entries = records(day.dir(), "_ledger");
        let of = |kind: &'static str| entries.iter().filter(move |entry| entry["type"] == kind);
        let gaps = of("gap").map(|entry| span(&entry["data"])).collect();
        let mut lost: Vec<_> = of("lost").map(|entry| time(&entry["data"]["since"])).collect();
        lost.push(day.end);
        let made = of("connected").map(|entry| time(&entry["data"]["since"]));
        let connected = made.zip(lost).collect();
        let rejected = records(day.dir(), "_rejected/day");
        assert!(rejected.is_empty(), "{} rejects, the first of which is {}", rejected.len(), rejected[0]);
        Self { gaps, connected, records: records(day.dir(), "day"), entries }
    }

    /// The number at this place of each record.
    pub fn numbers(&self, place: &str) -> Vec<u64> {
        let number = |record: &Value| {
            let value = record["data"].pointer(place).unwrap_or_else(|| panic!("no {place}: {record}"));
            value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
        };
        self.records.iter().map(number).collect()
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.entries.iter().filter(|entry| entry["type"] == kind).map(|entry| &entry["data"]).collect()
    }

    /// What there was to be had by somebody who has these numbers: what was before the first connection is nobody's.
    pub fn since_first<'a>(&self, truth: &'a [Logged], found: &[u64]) -> impl Iterator<Item = &'a Logged> {
        let (began, first) = (self.connected[0].0, found.iter().copied().min().unwrap_or_default());
        truth.iter().skip_while(move |logged| logged.number < first && logged.at <= began + NEAR)
    }

    /// Whether nobody was listening at this moment, by the ledger.
    pub fn is_in_gap(&self, at: DateTime<Utc>) -> bool {
        self.gaps.iter().any(|(from, to)| at >= *from - NEAR && at <= *to + NEAR)
    }

    /// Every moment of the day is connected or in a gap.
    pub fn assert_whole<U>(&self, day: &Day<U>) {
        let sum = |spans: &[Span]| spans.iter().map(|(from, to)| *to - *from).sum::<TimeDelta>();
        let (missing, connected) = (sum(&self.gaps), sum(&self.connected));
        let off = (missing + connected - (day.end - day.begin)).abs();
        println!(
            "{} gaps of {} s, connected {} s, off by {off}",
            self.gaps.len(),
            missing.num_seconds(),
            connected.num_seconds()
        );
        assert!(off <= TimeDelta::seconds(5), "{off}: {:?} {:?}", self.gaps, self.connected);
        assert!(self.of_kind("refused").is_empty(), "{:?}", self.of_kind("refused"));
    }

    /// Each message is written once, or happened while nobody was listening. How many were written.
    pub fn assert_once_or_in_gap(&self, found: &[u64], truth: &[Logged]) -> usize {
        let counts = once(found);
        let lost = self.since_first(truth, found).filter(|logged| !counts.contains(&logged.number));
        for Logged { number, at } in lost {
            assert!(self.is_in_gap(*at), "number {number} of {at} is missing, and in no gap of {:?}", self.gaps);
        }
        let known: BTreeSet<u64> = truth.iter().map(|logged| logged.number).collect();
        assert!(counts.is_subset(&known), "something was made up");
        counts.len()
    }
}

/// Each minute of a day has one outcome, and nobody was asked more often, nor while they wanted to be left alone.
pub fn assert_polls<U>(day: &Day<U>, account: &Account) {
    let mut sums = BTreeMap::<String, u64>::new();
    for data in account.of_kind("outcome") {
        *sums.entry(data["outcome"].as_str().unwrap().to_owned()).or_default() += data["count"].as_u64().unwrap();
    }
    for data in account.of_kind("outcomes") {
        for outcome in ["ok", "unchanged", "not_modified"] {
            *sums.entry(outcome.to_owned()).or_default() += data[outcome].as_u64().unwrap_or(0);
        }
    }
    let asked: Vec<_> = day.world.net.asked.iter().filter(|asked| asked.path != "/robots.txt").collect();
    let times: Vec<_> = asked.iter().map(|asked| asked.at).collect();
    let (minute, hour) = (most_within(&times, TimeDelta::minutes(1)), most_within(&times, TimeDelta::hours(1)));
    println!("{} requests, at most {minute} in a minute and {hour} in an hour: {sums:?}", asked.len());
    assert!((1439..=1441).contains(&sums.values().sum::<u64>()), "one outcome for each minute");
    assert!(minute <= 2 && hour <= 61, "{minute} in a minute, {hour} in an hour");
    for pair in asked.windows(2) {
        let wait = pair[1].at - pair[0].at;
        assert!(pair[0].retry_after.is_none_or(|asked| wait >= asked), "asked again after {wait}: {:?}", pair[0]);
    }
    assert!(asked.iter().any(|asked| asked.retry_after.is_some()));
    assert!(day.world.net.offences.is_empty(), "{:?}", day.world.net.offences);
}

/// Each of the numbers, none of which is there twice.
pub fn once(found: &[u64]) -> BTreeSet<u64> {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for number in found {
        *counts.entry(*number).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    counts.into_keys().collect()
}

/// Each of what happened is there once, and nothing else.
pub fn assert_exactly(found: &[u64], truth: impl IntoIterator<Item = u64>) {
    let (found, truth) = (once(found), truth.into_iter().collect::<BTreeSet<u64>>());
    let lost: Vec<_> = truth.difference(&found).take(5).collect();
    let more: Vec<_> = found.difference(&truth).take(5).collect();
    assert!(lost.is_empty() && more.is_empty(), "of {}, lost: {lost:?}, made up: {more:?}", truth.len());
}

/// The most of these in any time of this length.
pub fn most_within(times: &[DateTime<Utc>], window: TimeDelta) -> usize {
    let within =
        |(index, at): (usize, &DateTime<Utc>)| times[index..].iter().take_while(|other| **other - *at < window).count();
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// Nobody came more often than is allowed, nor did anything else that the server does not want.
pub fn assert_policy<U>(day: &Day<U>, policy: Policy) {
    let net = &day.world.net;
    let all: Vec<_> = net.asked.iter().map(|asked| asked.at).collect();
    let answered: Vec<_> = net.asked.iter().filter(|asked| asked.status != 0).map(|asked| asked.at).collect();
    let opened: Vec<_> = net.lines.iter().map(|line| line.opened).collect();
    let (minute, quarter) = (TimeDelta::minutes(1), TimeDelta::minutes(15));
    let (most, broken, connected) =
        (most_within(&answered, minute), most_within(&all, minute), most_within(&opened, quarter));
    println!(
        "{} requests, {} of them answered, {} connections; at most {most} answers ({broken} with broken ones) in a minute, {connected} connections in a quarter of an hour",
        all.len(),
        answered.len(),
        opened.len()
    );
    assert!(most <= policy.per_minute, "{most} requests in a minute");
    assert!(broken <= policy.broken_per_minute, "{broken} attempts in a minute");
    assert!(connected <= policy.per_quarter, "{connected} connections in a quarter of an hour");
    assert!(
        net.offences.is_empty(),
        "{} offences: {:?}",
        net.offences.len(),
        &net.offences[..net.offences.len().min(5)]
    );
}
