//! 24 hours of each preset of posts and edits against a server with the habits of the real one.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::days::account::{Account, Log, Logged, Policy, USUAL, assert_exactly, assert_policy};
use crate::support::days::net::{Asked, Door, Net, Reply};
use crate::support::days::{Act, Plan, Upstream, live, misfortunes};

/// Mastodon, by websocket or by server-sent events: nothing is ever sent again, a restart comes with each release.
struct Mastodon {
    posts: Log,
    is_sse: bool,
    thumped: Option<DateTime<Utc>>,
}

const MASTODON_ID: u64 = 109_000_000_000_000_000;

impl Mastodon {
    fn new(is_sse: bool) -> Self {
        Self { posts: Log::new(10), is_sse, thumped: None }
    }

    /// The type of an event, and what it carries.
    fn event(Logged { number, at }: Logged) -> (&'static str, String) {
        let post = |number: u64, edited_at: Value| {
            let time = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            json!({ "id": (MASTODON_ID + number).to_string(), "uri": format!("https://a.example/users/u/statuses/{number}"),
                "created_at": time, "edited_at": edited_at, "content": "<p>text</p>", "account": { "id": "1", "acct": "u" } })
        };
        match number {
            _ if number.is_multiple_of(10) => ("delete", (MASTODON_ID + number - 1).to_string()),
            _ if number.is_multiple_of(7) => ("status.update", post(number - 1, at.to_rfc3339().into()).to_string()),
            _ => ("update", post(number, Value::Null).to_string()),
        }
    }

    /// The numbers of the events that were written.
    fn numbers(account: &Account) -> Vec<u64> {
        let number = |record: &Value| {
            let data = &record["data"];
            let id = data["id"].as_str().map_or_else(|| data.to_string().trim_matches('"').parse::<u64>(), str::parse);
            let number = id.unwrap_or_else(|_| panic!("no id: {record}")) - MASTODON_ID;
            if record["type"] == "update" { number } else { number + 1 }
        };
        account.records.iter().map(number).collect()
    }
}

impl Upstream for Mastodon {
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply {
        if asked.header("authorization") != Some("Bearer t0ken") {
            net.offend("it has no token");
            return Reply::status(401, "");
        }
        match asked.path.as_str() {
            "/api/v1/streaming/public" if self.is_sse => Reply::events(":)\n"),
            "/api/v1/streaming" if asked.parameter("stream") == Some("public") => Reply::Upgrade { protocol: None },
            _ => Reply::status(404, "Not found"),
        }
    }

    fn said(&mut self, _: usize, text: &str, net: &mut Net) {
        net.offend(format!("it said {text}"));
    }

    fn tick(&mut self, net: &mut Net) {
        let (now, open) = (net.now, net.open());
        if self.is_sse {
            if self.thumped.is_none_or(|at| now - at >= TimeDelta::seconds(15)) {
                self.thumped = Some(now);
                for line in &open {
                    net.send(*line, ":thump\n");
                }
            }
        } else {
            // Who has not answered the last one when the next is due is left.
            net.pings = Some((TimeDelta::seconds(30), TimeDelta::seconds(29)));
        }
        for logged in self.posts.come(now) {
            let (event, payload) = Self::event(logged);
            for line in &open {
                if self.is_sse {
                    net.send(*line, format!("event: {event}\ndata: {payload}\n\n"));
                } else {
                    let message = json!({ "stream": ["public"], "event": event, "payload": payload });
                    net.send_text(*line, &message.to_string());
                }
            }
        }
    }
}

fn a_day_of(mastodon: Mastodon, file: &str) {
    let day = live(&Plan::of(file, 24, misfortunes()), mastodon);
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let truth = &day.world.upstream.posts.all;
    let written = account.assert_once_or_in_gap(&Mastodon::numbers(&account), truth);
    println!("{written} of {} events", truth.len());
    assert!(written > truth.len() * 9 / 10);
}

#[test]
fn a_day_of_mastodon() {
    a_day_of(
        Mastodon::new(false),
        "preset: mastodon\nwith: { host: a.example, token: t0ken }\nurl: ws://URL/api/v1/streaming\n",
    );
}

#[test]
fn a_day_of_mastodon_by_sse() {
    a_day_of(
        Mastodon::new(true),
        "preset: mastodon_sse\nwith: { host: a.example, token: t0ken }\nurl: http://URL/api/v1/streaming/public\n",
    );
}

/// Wikimedia's `EventStreams`: its edge ends each connection after a quarter of an hour and allows two at once; it goes on from
/// the moments in the last id, of which it sends again what happened at them; canaries; errors in the stream.
struct Wikimedia {
    edits: Log,
    /// Of each connection: up to when each topic was sent.
    lines: BTreeMap<usize, [Option<i64>; 2]>,
    failed: bool,
}

const TOPICS: [&str; 2] = ["codfw.mediawiki.recentchange", "eqiad.mediawiki.recentchange"];

impl Wikimedia {
    fn topic(logged: &Logged) -> usize {
        usize::from(logged.number % 3 == 1)
    }

    fn is_canary(number: u64) -> bool {
        number.is_multiple_of(30)
    }

    fn send(&mut self, line: usize, logged: Logged, net: &mut Net) {
        let place = self.lines.get_mut(&line).unwrap();
        place[Self::topic(&logged)] = Some(logged.at.timestamp_millis());
        let id: Vec<Value> = TOPICS
            .iter()
            .zip(place)
            .map(|(topic, at)| match at {
                Some(at) => json!({ "topic": topic, "partition": 0, "timestamp": at }),
                None => json!({ "topic": topic, "partition": 0, "offset": -1 }),
            })
            .collect();
        let id = Value::from(id).to_string();
        // Two happen at the same moment.
        for part in 0..2 {
            let number = logged.number * 2 + part;
            let domain = if Self::is_canary(logged.number) { "canary" } else { "en.wikipedia.org" };
            let dt = logged.at.to_rfc3339_opts(SecondsFormat::Millis, true);
            let data = json!({ "meta": { "id": format!("{number:08x}-0000-4000-8000-000000000000"), "dt": dt, "domain": domain },
                "id": number, "type": "edit", "title": "T" });
            net.send(line, format!("event: message\nid: {id}\ndata: {data}\n\n"));
        }
    }
}

impl Upstream for Wikimedia {
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply {
        if !asked.header("user-agent").is_some_and(|agent| agent.contains("me@a.example")) {
            net.offend("it does not say who asks");
        }
        if asked.path != "/v2/stream/recentchange" {
            return Reply::status(404, "not found");
        }
        if net.open().len() >= 2 {
            return Reply::status(429, "Too Many Concurrent Connections From Your Client IP");
        }
        Reply::events(":ok\n\n")
    }

    fn opened(&mut self, line: usize, asked: &Asked, net: &mut Net) {
        let mut place = [None; 2];
        if let Some(id) = asked.header("last-event-id") {
            let id: Vec<Value> = serde_json::from_str(id).unwrap_or_else(|_| panic!("another id than was sent: {id}"));
            for (place, at) in place.iter_mut().zip(id) {
                *place = at["timestamp"].as_i64();
            }
        }
        self.lines.insert(line, place);
        let is_missed =
            |logged: &&Logged| place[Self::topic(logged)].is_some_and(|at| logged.at.timestamp_millis() >= at);
        let missed: Vec<Logged> = self.edits.all.iter().filter(is_missed).copied().collect();
        for logged in missed {
            self.send(line, logged, net);
        }
    }

    fn tick(&mut self, net: &mut Net) {
        let (now, open) = (net.now, net.open());
        for logged in self.edits.come(now) {
            for line in &open {
                self.send(*line, logged, net);
            }
        }
        for line in open {
            if now - net.lines[line].opened >= TimeDelta::minutes(15) {
                net.end(line, 0);
            } else if self.edits.all.len() > 9000 && !self.failed {
                self.failed = true;
                net.send(
                    line,
                    "event: error\ndata: {\"message\":\"Local: Broker transport failure\",\"code\":-195}\n\n",
                );
                net.end(line, 0);
            }
        }
    }
}

/// Every gap was filled, as the ledger says.
fn assert_filled(account: &Account) {
    let filled: Vec<_> = account.of_kind("filled").into_iter().map(crate::support::days::account::span).collect();
    for (from, to) in &account.gaps {
        let is_filled = filled.iter().any(|(filled_from, filled_to)| filled_from <= from && filled_to >= to);
        assert!(is_filled, "the gap from {from} to {to} is not said to be filled: {filled:?}");
    }
    assert_eq!(account.of_kind("not_filled").len(), 0);
}

#[test]
fn a_day_of_wikimedia() {
    let file = "preset: wikimedia\nwith: { contact: me@a.example }\nurl: http://URL/v2/stream/recentchange\n";
    let upstream = Wikimedia { edits: Log::new(6), lines: BTreeMap::new(), failed: false };
    let day = live(&Plan::of(file, 24, misfortunes()), upstream);
    let account = Account::of(&day);
    account.assert_whole(&day);
    // The preset says `connects: { max: 30, per: 15m }`.
    assert_policy(&day, Policy { per_quarter: 30, ..USUAL });
    let found = account.numbers("/id");
    let edits: Vec<u64> = found.iter().map(|number| number / 2).collect();
    let truth = account.since_first(&day.world.upstream.edits.all, &edits);
    let truth = truth.filter(|logged| !Wikimedia::is_canary(logged.number));
    let truth: Vec<u64> = truth.flat_map(|logged| [logged.number * 2, logged.number * 2 + 1]).collect();
    assert_exactly(&found, truth.iter().copied());
    assert_filled(&account);
    let refused = day.world.net.asked.iter().filter(|asked| asked.status == 429).count();
    println!("{} edits over {} connections, refused {refused} times", truth.len(), day.world.net.lines.len());
    assert!(day.world.net.lines.len() > 24 * 4 - 8 && day.world.upstream.failed && refused <= 2);
}

/// Jetstream of either version: it goes on with the event of the cursor itself, pings each half minute, is restarted, and
/// sends some events of the first version out of order.
struct Jetstream {
    events: Log,
    is_v2: bool,
    ready: BTreeSet<usize>,
    /// An event that comes after the next one, and when.
    late: Option<(Logged, DateTime<Utc>)>,
    /// When a client is told that it is too slow.
    too_slow: Vec<u64>,
}

impl Jetstream {
    fn new(is_v2: bool) -> Self {
        Self { events: Log::new(2), is_v2, ready: BTreeSet::new(), late: None, too_slow: vec![5000, 22_000] }
    }

    fn send(&self, line: usize, Logged { number, at }: Logged, net: &mut Net) {
        let (did, us) = (format!("did:plc:{:024x}", number % 7), at.timestamp_micros());
        let time = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let is_identity = number.is_multiple_of(11);
        let commit = json!({ "rev": format!("3k{number:011}"), "operation": "create", "collection": "app.bsky.feed.post",
            "rkey": format!("3l{number:011}"), "record": { "text": "t", "createdAt": time }, "cid": "bafy" });
        let identity = json!({ "did": did, "seq": number, "time": time });
        let message = match (self.is_v2, is_identity) {
            (false, true) => {
                json!({ "did": did, "time_us": us, "kind": "identity", "identity": identity, "n": number })
            }
            (false, false) => json!({ "did": did, "time_us": us, "kind": "commit", "commit": commit, "n": number }),
            (true, _) => {
                let (kind, part) = if is_identity { ("identity", identity) } else { ("commit", commit) };
                let mut payload = json!({ "$type": format!("network.bsky.jetstream.subscribeEvents#{kind}"), "seq": number,
                    "did": did, "time": time, "n": number });
                payload[kind] = part;
                json!({ "$type": "message", "payload": payload })
            }
        };
        net.send_text(line, &message.to_string());
    }
}

impl Upstream for Jetstream {
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply {
        let cursor = asked.parameter("cursor").map(str::parse::<u64>);
        if matches!(cursor, Some(Err(_))) {
            net.offend(format!("{:?}", asked.parameter("cursor")));
            return Reply::status(400, "invalid cursor");
        }
        match asked.path.as_str() {
            "/subscribe" if asked.parameter("wantedCollections") == Some("app.bsky.feed.post") => {
                Reply::Upgrade { protocol: None }
            }
            "/xrpc/network.bsky.jetstream.subscribeEvents" => Reply::Upgrade { protocol: Some("xrpc.v1.json") },
            _ => Reply::status(400, "not this"),
        }
    }

    fn opened(&mut self, line: usize, asked: &Asked, net: &mut Net) {
        self.ready.insert(line);
        let Some(cursor) = asked.parameter("cursor").and_then(|cursor| cursor.parse::<u64>().ok()) else { return };
        let place = |logged: &Logged| {
            if self.is_v2 { logged.number } else { u64::try_from(logged.at.timestamp_micros()).unwrap() }
        };
        let missed: Vec<Logged> = self.events.all.iter().filter(|logged| place(logged) >= cursor).copied().collect();
        for logged in missed {
            self.send(line, logged, net);
        }
        // It was among them.
        self.late = None;
    }

    fn said(&mut self, line: usize, text: &str, net: &mut Net) {
        net.offend(format!("it said {text}"));
        net.end(line, 1008);
    }

    fn tick(&mut self, net: &mut Net) {
        net.pings = Some((TimeDelta::seconds(30), TimeDelta::seconds(60)));
        let now = net.now;
        if let Some((late, _)) = self.late.take_if(|(_, due)| *due <= now) {
            net.open().into_iter().for_each(|line| self.send(line, late, net));
        }
        for logged in self.events.come(now) {
            let open = net.open();
            if !self.is_v2 && logged.number % 2 == 1 {
                self.late = Some((logged, now + TimeDelta::seconds(3)));
                continue;
            }
            for line in &open {
                self.send(*line, logged, net);
            }
            if self.is_v2 && self.too_slow.first() == Some(&logged.number) {
                self.too_slow.remove(0);
                for line in open {
                    net.send_text(line, r#"{"$type":"error","error":"ConsumerTooSlow","message":"too slow"}"#);
                    net.end(line, 1008);
                }
            }
        }
    }
}

fn a_day_of_jetstream(is_v2: bool, file: &str) {
    let mut acts = misfortunes();
    // Many short breaks, so that some fall between two events that come out of order.
    acts.extend((1..20).map(|number| (60 * 60 + number * 301, Act::Restart(1001))));
    acts.sort_by_key(|(at, _)| *at);
    let day = live(&Plan::of(file, 24, acts), Jetstream::new(is_v2));
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, USUAL);
    let truth = &day.world.upstream.events.all;
    // One of the last may not have been sent yet.
    let last = truth.len() as u64 - 4;
    let found: Vec<u64> = account.numbers("/n").into_iter().filter(|number| *number <= last).collect();
    let truth = account.since_first(truth, &found).map(|logged| logged.number).filter(|number| *number <= last);
    assert_exactly(&found, truth);
    assert_filled(&account);
    println!("{last} events over {} connections", day.world.net.lines.len());
}

#[test]
fn a_day_of_bluesky() {
    let with = "with: { collections: [app.bsky.feed.post] }";
    a_day_of_jetstream(false, &format!("preset: bluesky\n{with}\nurl: ws://URL/subscribe\n"));
}

#[test]
fn a_day_of_bluesky_v2() {
    let url = "ws://URL/xrpc/network.bsky.jetstream.subscribeEvents";
    a_day_of_jetstream(true, &format!("preset: bluesky_v2\nwith: {{ host: a.example }}\nurl: {url}\n"));
}

/// An hour of a server that replays a word and ends the connection, each time: what the file allows in a quarter of an hour is not
/// used up faster, and nothing is lost.
#[test]
fn a_server_that_says_a_word_and_leaves_is_left_alone() {
    let acts = vec![(3600, Act::Door(Door::Brief)), (3600, Act::Restart(1001)), (7200, Act::Door(Door::Open))];
    let url = "ws://URL/xrpc/network.bsky.jetstream.subscribeEvents";
    let file = format!("preset: bluesky_v2\nwith: {{ host: a.example }}\nurl: {url}\n");
    let day = live(&Plan::of(&file, 3, acts), Jetstream::new(true));
    let account = Account::of(&day);
    account.assert_whole(&day);
    assert_policy(&day, Policy { per_minute: 15, ..USUAL });
    let opened = day.world.net.lines.len();
    assert!((50..=80).contains(&opened), "{opened} connections: fifteen in each quarter of the hour, and a few");
    let (truth, found) = (&day.world.upstream.events.all, account.numbers("/n"));
    assert_exactly(&found, account.since_first(truth, &found).map(|logged| logged.number));
}
