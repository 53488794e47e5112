//! 24 hours of each preset of an exchange against a server with the habits of the real one.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::days::account::{Account, Log, Logged, USUAL, assert_policy, once, span};
use crate::support::days::net::{Asked, Net, Reply};
use crate::support::days::{BEGIN, Plan, Upstream, live, misfortunes};

/// Binance: pings each 20 s and wants them answered within a minute, takes five frames a second and 300 connections in five
/// minutes, ends each connection after a day.
struct Binance {
    trades: Log,
    ready: BTreeSet<usize>,
    /// When it says that it will shut down, after which it does ten minutes later.
    shutdowns: Vec<DateTime<Utc>>,
    leaving: Vec<(usize, DateTime<Utc>)>,
    cuts: usize,
}

impl Binance {
    fn new(shutdowns: &[i64]) -> Self {
        let begin: DateTime<Utc> = BEGIN.parse().unwrap();
        let shutdowns = shutdowns.iter().map(|at| begin + TimeDelta::seconds(*at)).collect();
        Self { trades: Log::new(7), ready: BTreeSet::new(), shutdowns, leaving: Vec::new(), cuts: 0 }
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
    let day = live(&Plan::of(BINANCE, 24, misfortunes()), Binance::new(&shutdowns));
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let (found, truth) = (account.numbers("/t"), &day.world.upstream.trades.all);
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
    let day = live(&Plan::of(BINANCE, 49, Vec::new()), Binance::new(&[]));
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let truth: BTreeSet<u64> = day.world.upstream.trades.all.iter().map(|logged| logged.number).collect();
    let found = once(&account.numbers("/t"));
    assert!(truth == found, "each trade of two days is there once");
    let lines: Vec<_> = day.world.net.lines.iter().map(|line| line.closed.unwrap_or(day.end) - line.opened).collect();
    println!("connections lived for {lines:?}");
    assert!(lines.len() == 3 && lines.iter().all(|age| *age < TimeDelta::hours(24)), "{lines:?}");
    assert_eq!((account.gaps.len(), account.of_kind("lost").len(), account.of_kind("hole").len()), (0, 0, 0));
    assert_eq!(day.world.upstream.cuts, 0);
}

/// Coinbase: leaves who has not subscribed within five seconds, says that it lives each second, numbers the messages of each
/// connection, begins with what was traded last.
struct Coinbase {
    trades: Log,
    /// Of each connection: the next number, and whether trades are wanted.
    lines: BTreeMap<usize, (u64, bool)>,
    beats: u64,
    second: Option<DateTime<Utc>>,
    /// Messages that are never sent, though they have their numbers.
    dropped: Vec<u64>,
}

impl Coinbase {
    fn send(&mut self, line: usize, mut message: Value, is_dropped: bool, net: &mut Net) {
        let next = &mut self.lines.get_mut(&line).unwrap().0;
        message["sequence_num"] = (*next).into();
        if is_dropped && !net.lines[line].is_dead {
            self.dropped.push(*next);
        }
        *next += 1;
        if !is_dropped {
            net.send_text(line, &message.to_string());
        }
    }

    fn trade(Logged { number, at }: Logged) -> Value {
        json!({ "trade_id": number.to_string(), "product_id": "BTC-USD", "price": "1.10", "size": "0.1", "side": "BUY", "time": at.to_rfc3339() })
    }

    fn message(kind: &str, trades: &[Value]) -> Value {
        json!({ "channel": "market_trades", "client_id": "", "events": [{ "type": kind, "trades": trades }] })
    }
}

impl Upstream for Coinbase {
    fn asked(&mut self, _: &Asked, _: &mut Net) -> Reply {
        Reply::Upgrade { protocol: None }
    }

    fn opened(&mut self, line: usize, _: &Asked, _: &mut Net) {
        self.lines.insert(line, (0, false));
    }

    fn said(&mut self, line: usize, text: &str, net: &mut Net) {
        let said: Value = serde_json::from_str(text).unwrap();
        let agreed = json!({ "channel": "subscriptions", "events": [{ "subscriptions": {} }] });
        match said["channel"].as_str() {
            Some("heartbeats") => self.send(line, agreed, false, net),
            Some("market_trades") if said["product_ids"] == json!(["BTC-USD"]) => {
                let last: Vec<Value> = self.trades.all.iter().rev().take(5).map(|trade| Self::trade(*trade)).collect();
                self.send(line, agreed, false, net);
                self.send(line, Self::message("snapshot", &last), false, net);
                self.lines.get_mut(&line).unwrap().1 = true;
            }
            _ => net.offend(format!("it said {text}")),
        }
    }

    fn tick(&mut self, net: &mut Net) {
        let (now, open) = (net.now, net.open());
        for line in &open {
            let is_late = now - net.lines[*line].opened > TimeDelta::seconds(5);
            if is_late && !net.lines[*line].is_dead && !self.lines[line].1 {
                net.offend("nothing was subscribed to within 5 s");
                net.end(*line, 1008);
            }
        }
        let wanted: Vec<usize> = open.into_iter().filter(|line| self.lines[line].1).collect();
        if self.second.is_none_or(|second| now - second >= TimeDelta::seconds(1)) {
            self.second = Some(now);
            self.beats += 1;
            let beat = json!({ "channel": "heartbeats", "events": [{ "heartbeat_counter": self.beats }] });
            for line in &wanted {
                self.send(*line, beat.clone(), false, net);
            }
        }
        for logged in self.trades.come(now) {
            let is_dropped = logged.number.is_multiple_of(1000);
            let message = Self::message("update", &[Self::trade(logged)]);
            for line in &wanted {
                self.send(*line, message.clone(), is_dropped, net);
            }
        }
    }
}

#[test]
fn a_day_of_coinbase() {
    let file = "preset: coinbase\nwith: { products: [BTC-USD] }\nurl: ws://URL/\n";
    let upstream =
        Coinbase { trades: Log::new(9), lines: BTreeMap::new(), beats: 0, second: None, dropped: Vec::new() };
    let day = live(&Plan::of(file, 24, misfortunes()), upstream);
    let mut account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let Coinbase { dropped, trades, .. } = &day.world.upstream;
    assert!(dropped.len() >= 7, "{dropped:?}");
    let holes = account.of_kind("hole");
    let noted: Vec<_> =
        holes.iter().map(|hole| (hole["first"].as_u64().unwrap(), hole["last"].as_u64().unwrap())).collect();
    assert_eq!(
        noted,
        dropped.iter().map(|number| (*number, *number)).collect::<Vec<_>>(),
        "each hole is known by its number"
    );
    // What was traded in a hole is accounted for as what was traded in a gap is.
    let holes: Vec<_> = holes.into_iter().map(span).collect();
    account.gaps.extend(holes);
    let written = account.assert_once_or_in_gap(&account.numbers("/trade_id"), &trades.all);
    println!("{written} of {} trades, {} holes", trades.all.len(), dropped.len());
}

/// Finnhub: a key has one connection, and a second one is refused until the first is known to be gone.
struct Finnhub {
    trades: Log,
    ready: BTreeSet<usize>,
    pinged: Option<DateTime<Utc>>,
    /// Since when a connection has been dead.
    dead: BTreeMap<usize, DateTime<Utc>>,
    refused: usize,
}

impl Upstream for Finnhub {
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply {
        if asked.parameter("token") != Some("k3y") {
            net.offend("it has no key");
            return Reply::status(401, "Invalid API key");
        }
        if net.open().is_empty() {
            return Reply::Upgrade { protocol: None };
        }
        self.refused += 1;
        Reply::status(429, "Too many connections")
    }

    fn said(&mut self, line: usize, text: &str, net: &mut Net) {
        let said: Value = serde_json::from_str(text).unwrap();
        if said == json!({ "type": "subscribe", "symbol": "AAPL" }) {
            self.ready.insert(line);
        } else {
            net.offend(format!("it said {text}"));
        }
    }

    fn tick(&mut self, net: &mut Net) {
        let (now, open) = (net.now, net.open());
        for line in &open {
            if net.lines[*line].is_dead && now - *self.dead.entry(*line).or_insert(now) > TimeDelta::minutes(3) {
                net.end(*line, 1001);
            }
        }
        if self.pinged.is_none_or(|at| now - at >= TimeDelta::seconds(50)) {
            self.pinged = Some(now);
            for line in &open {
                net.send_text(*line, r#"{"type":"ping"}"#);
            }
        }
        for Logged { number, at } in self.trades.come(now) {
            let trade = |part: u64| json!({ "s": "AAPL", "p": 1.5, "t": at.timestamp_millis(), "v": number * 2 + part, "c": ["1"] });
            let message = json!({ "type": "trade", "data": [trade(0), trade(1)] }).to_string();
            open.iter().filter(|line| self.ready.contains(line)).for_each(|line| net.send_text(*line, &message));
        }
    }
}

#[test]
fn a_day_of_finnhub() {
    let file = "preset: finnhub\nwith: { token: k3y, symbols: [AAPL] }\nurl: ws://URL/\n";
    let (ready, dead) = (BTreeSet::new(), BTreeMap::new());
    let upstream = Finnhub { trades: Log::new(11), ready, pinged: None, dead, refused: 0 };
    let day = live(&Plan::of(file, 24, misfortunes()), upstream);
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let Finnhub { trades, refused, .. } = &day.world.upstream;
    assert!((1..=6).contains(refused), "refused {refused} times, because the old connection was not known to be gone");
    let found = account.numbers("/v");
    assert!(found.chunks(2).all(|pair| pair[0] + 1 == pair[1]), "both trades of a message are there, in order");
    let found: Vec<u64> = found.chunks(2).map(|pair| pair[0] / 2).collect();
    let written = account.assert_once_or_in_gap(&found, &trades.all);
    println!("{written} of {} messages, refused {refused} times", trades.all.len());
}
