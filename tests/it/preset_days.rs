//! 24 hours of each preset of an exchange against a server with the habits of the real one.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::days::account::{Account, Logged, USUAL, assert_policy};
use crate::support::days::net::{Asked, Net, Reply};
use crate::support::days::{Act, Plan, Upstream, live, misfortunes};

/// What happens on an exchange: a trade now and then, whether anybody listens or not.
struct Trades {
    every: TimeDelta,
    log: Vec<Logged>,
    next: Option<DateTime<Utc>>,
}

impl Trades {
    fn new(every: i64) -> Self {
        Self { every: TimeDelta::seconds(every), log: Vec::new(), next: None }
    }

    /// The trades until now.
    fn come(&mut self, now: DateTime<Utc>) -> Vec<Logged> {
        let mut new = Vec::new();
        let mut next = self.next.unwrap_or(now + self.every);
        while next <= now {
            new.push(Logged { number: (self.log.len() + new.len()) as u64 + 1, at: now });
            next += self.every;
        }
        self.next = Some(next);
        self.log.extend(&new);
        new
    }
}

/// Binance: pings each 20 s and wants them answered within a minute, takes five frames a second and 300 connections in five
/// minutes, ends each connection after a day.
struct Binance {
    trades: Trades,
    ready: BTreeSet<usize>,
    /// When it says that it will shut down, after which it does ten minutes later.
    shutdowns: Vec<DateTime<Utc>>,
    leaving: Vec<(usize, DateTime<Utc>)>,
    cuts: usize,
}

impl Binance {
    fn new(shutdowns: &[i64]) -> Self {
        let begin: DateTime<Utc> = crate::support::days::BEGIN.parse().unwrap();
        let shutdowns = shutdowns.iter().map(|at| begin + TimeDelta::seconds(*at)).collect();
        Self { trades: Trades::new(7), ready: BTreeSet::new(), shutdowns, leaving: Vec::new(), cuts: 0 }
    }
}

impl Upstream for Binance {
    fn asked(&mut self, asked: &Asked, _: &mut Net) -> Reply {
        if asked.path == "/ws" { Reply::Upgrade { protocol: None } } else { Reply::status(404, "") }
    }

    fn said(&mut self, line: usize, text: &str, net: &mut Net) {
        let said: Value = serde_json::from_str(text).unwrap();
        if said["method"] == "SUBSCRIBE" && said["params"] == json!(["btcusdt@trade"]) {
            net.send_text(line, &json!({ "result": null, "id": said["id"] }).to_string());
            self.ready.insert(line);
        } else {
            net.offend(format!("it said {text}"));
        }
    }

    fn tick(&mut self, net: &mut Net) {
        net.pings = Some((TimeDelta::seconds(20), TimeDelta::seconds(60)));
        net.frames_max = 5;
        let (now, open) = (net.now, net.open());
        if self.shutdowns.first().is_some_and(|at| *at <= now) {
            self.shutdowns.remove(0);
            for line in &open {
                net.send_text(*line, &json!({ "e": "serverShutdown", "E": now.timestamp_millis() }).to_string());
                self.leaving.push((*line, now + TimeDelta::minutes(10)));
            }
        }
        for Logged { number, at } in self.trades.come(now) {
            let ms = at.timestamp_millis();
            let trade = json!({ "e": "trade", "E": ms, "s": "BTCUSDT", "t": number, "p": "0.01", "q": "100", "T": ms, "m": true, "M": true });
            for line in open.iter().filter(|line| self.ready.contains(line)) {
                net.send_text(*line, &trade.to_string());
            }
        }
        for line in open {
            let is_leaving = self.leaving.iter().any(|(leaving, at)| *leaving == line && *at <= now);
            let is_old = now - net.lines[line].opened >= TimeDelta::hours(24);
            if is_leaving || is_old {
                self.cuts += 1;
                net.end(line, 1001);
            }
        }
    }
}

const BINANCE: &str = "preset: binance\nwith: { symbols: [btcusdt] }\nurl: ws://URL/ws\n";

fn plan(file: &str, hours: i64, acts: Vec<(i64, Act)>) -> Plan<'_> {
    Plan { file, length: TimeDelta::hours(hours), step: Duration::from_secs(1), is_polled: false, acts }
}

fn numbers(account: &Account, place: &str) -> Vec<u64> {
    let number = |record: &Value| {
        let value = record["data"].pointer(place).unwrap();
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
    };
    account.records.iter().map(number).collect()
}

/// Each missing number stands in a hole of the ledger, and no other.
fn assert_holes(account: &Account, missing: &BTreeSet<u64>) {
    let mut noted = BTreeSet::new();
    for hole in account.of_kind("hole") {
        let (first, last) = (hole["first"].as_u64().unwrap(), hole["last"].as_u64().unwrap());
        assert!((first..=last).all(|number| noted.insert(number)), "twice in the ledger: {hole}");
        assert_eq!(hole["missing"].as_u64().unwrap(), last - first + 1);
    }
    assert_eq!(&noted, missing);
}

#[test]
fn a_day_of_binance() {
    // Half past six in the evening: the connections that the server announces to end are replaced before.
    let shutdowns = [7 * 3600, 18 * 3600 + 1800];
    let day = live(&plan(BINANCE, 24, misfortunes()), Binance::new(&shutdowns));
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let (found, truth) = (numbers(&account, "/t"), &day.world.upstream.trades.log);
    let written = account.assert_once_or_in_gap(&found, truth);
    println!("{written} of {} trades", truth.len());
    let first = found[0];
    let missing = truth.iter().map(|logged| logged.number).filter(|number| *number > first && !found.contains(number));
    assert_holes(&account, &missing.collect());
    let replaced = account.of_kind("control").len();
    assert_eq!((replaced, day.world.upstream.cuts), (2, 0), "those that were announced to end were left before");
}

/// A connection of Binance lives for a day at most; it is replaced before, and nobody notices.
#[test]
fn binance_is_left_before_it_leaves() {
    let day = live(&plan(BINANCE, 49, Vec::new()), Binance::new(&[]));
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let truth: BTreeSet<u64> = day.world.upstream.trades.log.iter().map(|logged| logged.number).collect();
    let found = crate::support::days::account::once(&numbers(&account, "/t"));
    assert!(truth == found, "each trade of two days is there once");
    let lines: Vec<_> = day.world.net.lines.iter().map(|line| line.closed.unwrap_or(day.end) - line.opened).collect();
    println!("connections lived for {lines:?}");
    assert!(lines.len() == 3 && lines.iter().all(|age| *age < TimeDelta::hours(24)), "{lines:?}");
    assert_eq!((account.gaps.len(), account.of_kind("lost").len(), account.of_kind("hole").len()), (0, 0, 0));
    assert_eq!(day.world.upstream.cuts, 0);
}
