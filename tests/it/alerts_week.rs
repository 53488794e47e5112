//! A week of a person's life with tapline, in paused time: what breaks, and every message that comes of it.
//!
//! Sources have the books that their drivers would have, with every tick of the week; what is wrong is found by the
//! code that finds it in a running service, and goes the whole way to those who are told, through restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tapline::alert::{Destination, Kind, Message, TellError, Teller};
use tapline::commands::alerting::{Alerting, World};
use tapline::config::{self, Active, Schedule, When};
use tapline::context::{Clock, Context};
use tapline::fs::{Disk, Fs};
use tapline::normalise::Normaliser;
use tapline::pipeline::incidents::{Incidents, Look, Rules, Unknown};
use tapline::pipeline::ledger::{Book, Ticks};
use tapline::pipeline::schedule::Slots;
use tapline::pipeline::state::State;
use tapline::pipeline::telling::{Listener, SavedAlerts};
use tapline::pipeline::writer::Ended;
use tapline::report::alerts::Words;
use tapline::report::committed::{Committed, Running};
use tapline::report::conditions::{Declared, conditions, nearly_full, of_service};
use tapline::report::source::File;
use tapline::source::Outcome;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A Monday.
const START: &str = "2026-11-23T00:00:00Z";

const LOOK_EVERY: Duration = Duration::from_secs(30);

const GIB: u64 = 1 << 30;

fn start() -> DateTime<Utc> {
    START.parse().unwrap()
}

/// A moment of the week, as `Tue 02:30`; a second more where one is wanted.
fn at(text: &str) -> DateTime<Utc> {
    let (day, time) = text.split_once(' ').unwrap();
    let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "END"].iter().position(|known| *known == day).unwrap();
    let time: NaiveTime = format!("{time}:00").parse().unwrap();
    start() + TimeDelta::days(i64::try_from(day).unwrap()) + (time - NaiveTime::MIN)
}

fn is_between(now: DateTime<Utc>, from: &str, to: &str) -> bool {
    (at(from)..at(to)).contains(&now)
}

struct WeekClock(Instant);

impl Clock for WeekClock {
    fn now(&self) -> DateTime<Utc> {
        start() + TimeDelta::from_std(self.0.elapsed()).unwrap()
    }
}

/// What becomes of a tick; `None` is good.
type Script = fn(&str, DateTime<Utc>) -> Option<(Outcome, String)>;

/// A polled source with its book.
struct Source {
    name: String,
    slots: Slots,
    script: Script,
    book: Book,
    normaliser: Normaliser,
    slot: DateTime<Utc>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Source {
    fn new(name: &str, schedule: &Schedule, script: Script) -> Self {
        Self {
            name: name.into(),
            slots: Slots::new(name, schedule).unwrap(),
            script,
            book: Book::default(),
            normaliser: Normaliser::new(name.into()),
            slot: start(),
            from: start(),
            to: at("END 00:00"),
        }
    }

    /// Has every tick that has fallen due.
    fn live(&mut self, now: DateTime<Utc>) {
        while let Some(run) = self.slots.between(self.slot, now + TimeDelta::microseconds(1)) {
            let (first, last) = ((self.script)(&self.name, run.from), (self.script)(&self.name, run.to));
            // Of ticks that differ, one after the other.
            let (to, count) = if first == last { (run.to, run.count) } else { (run.from, 1) };
            let (outcome, reason) = first.unwrap_or((Outcome::Ok, String::new()));
            self.book.ticks(Ticks { outcome, reason, from: run.from, to, count }, to);
            self.slot = to;
            // As the driver does with each append.
            self.book.saved(0);
            self.book.take_ready(0, &self.normaliser, |_| false);
        }
    }

    fn saved(&self) -> Value {
        json!({ "slot": self.slot, "book": self.book, "tally": { "state": "scheduled" } })
    }
}

fn every(seconds: u64) -> Schedule {
    Schedule { when: When::Every(Duration::from_secs(seconds)), offset: None, active: None }
}

/// The tick of an hour or a day.
fn cron(expression: &str) -> Schedule {
    Schedule {
        when: When::Cron { expression: expression.into(), timezone: chrono_tz::UTC },
        offset: None,
        active: None,
    }
}

fn market() -> Schedule {
    let time = |text: &str| text.parse().unwrap();
    let active = Active {
        days: [true, true, true, true, true, false, false],
        from: time("09:15:00"),
        to: time("15:30:00"),
        timezone: chrono_tz::UTC,
        holidays: Vec::new(),
    };
    Schedule { active: Some(active), ..every(1) }
}

/// Upstream is there, and its own upstream is not.
fn bad_gateway() -> (Outcome, String) {
    (Outcome::Error, "http_status: upstream answered 502 Bad Gateway".into())
}

/// The scripts of the week.
fn sources() -> Vec<Source> {
    let mut all = vec![
        // Fails in the last minutes of Tuesday; its page changes on Wednesday; on Friday it fails until the market closes.
        Source::new("bse", &market(), |_, slot| {
            let is_changed = is_between(slot, "Wed 10:00", "Wed 12:30");
            match () {
                () if is_changed => Some((Outcome::Missing, "price: nothing matches span.red14px".into())),
                () if is_between(slot, "Tue 15:26", "Tue 15:30") => Some(bad_gateway()),
                () if is_between(slot, "Fri 15:10", "Fri 15:30") => Some(bad_gateway()),
                () => None,
            }
        }),
        // On Thursday six minutes bad and six good, from morning to noon.
        Source::new("flappy", &every(10), |_, slot| {
            let is_bad = (slot - at("Thu 06:00")).num_seconds().rem_euclid(720) < 360;
            (is_bad && is_between(slot, "Thu 06:00", "Thu 12:00"))
                .then_some((Outcome::Error, "no_answer: there was no answer after 10s".into()))
        }),
        // One tick of an hour fails, twice in the week: nobody wants to know.
        Source::new("hourly", &cron("0 * * * *"), |_, slot| {
            let is_bad = slot == at("Mon 09:00") || slot == at("Sat 09:00");
            is_bad.then_some((Outcome::Error, "body_cut_off: the page ended after 1000 bytes".into()))
        }),
        // The one tick of Saturday fails.
        Source::new("daily", &cron("0 6 * * *"), |_, slot| {
            (slot == at("Sat 06:00")).then_some((Outcome::Error, "http_status: upstream answered 500".into()))
        }),
        // A login has run out.
        Source::new("login", &every(60), |_, slot| {
            is_between(slot, "Sun 03:00", "Sun 09:00")
                .then_some((Outcome::Blocked, "http_status: upstream answered 403 Forbidden".into()))
        }),
        Source::new("edited", &every(60), |_, _| None),
    ];
    // On Tuesday the network is down for three hours.
    let periods = [10, 30, 60, 300, 900, 3_600];
    for number in 0..200 {
        let script: Script = |name, slot| {
            let number: usize = name[3..].parse().unwrap();
            let host = format!("host{}.example", number % 40);
            let why = match number % 3 {
                0 => format!(
                    "cannot_connect: no connection to https://{host}/p?q=***: dns error: failed to lookup address"
                ),
                1 => format!("no_answer: there was no answer from https://{host}/p after 10s"),
                _ => "cannot_connect: network unreachable (os error 101)".to_owned(),
            };
            is_between(slot, "Tue 02:00", "Tue 05:00").then_some((Outcome::Error, why))
        };
        let source = Source::new(&format!("net{number}"), &every(periods[number % periods.len()]), script);
        all.push(Source { from: at("Tue 01:00"), to: at("Tue 07:00"), slot: at("Tue 01:00"), ..source });
    }
    all
}

/// The world as it is committed.
struct Week {
    clock: Arc<WeekClock>,
    sources: Vec<Source>,
    saved: Option<String>,
    entries: Vec<Value>,
}

impl Week {
    fn state(&mut self, now: DateTime<Utc>) -> (State, BTreeMap<String, File>) {
        let (mut state, mut files) = (State::new(), BTreeMap::new());
        let mut set = |key: String, value: &Value| state.insert(key, to_raw_value(value).unwrap());
        for source in self.sources.iter_mut().filter(|source| (source.from..source.to).contains(&now)) {
            source.live(now);
            set(format!("source/{}", source.name), &source.saved());
            files.insert(
                source.name.clone(),
                File::Good { kind: "scrape".into(), slots: Some(source.slots.clone()), alert_after: None },
            );
        }
        set("source/posts".into(), &posts(now));
        set("source/research".into(), &research(now));
        set("loader/pg".into(), &loader(is_between(now, "Fri 00:00", "Sat 00:00"), "waiting", "Fri 00:00"));
        set("loader/hook".into(), &loader(is_between(now, "Sun 12:00", "Sun 12:20"), "parked", "Sun 12:00"));
        for stream in ["posts", "research"] {
            files.insert(stream.into(), File::Good { kind: "x_stream".into(), slots: None, alert_after: None });
        }
        // Somebody edits: a slip that is mended in three minutes, and one that is not seen.
        if is_between(now, "Fri 09:00", "Fri 09:03") || is_between(now, "Fri 14:00", "Fri 16:00") {
            files.insert(
                "edited".into(),
                File::Broken("sources/edited.yaml:3:1: evrey: unknown key; did you mean `every`?".into()),
            );
        }
        (state, files)
    }
}

/// A stream that has used up its budget on Wednesday evening.
fn posts(now: DateTime<Utc>) -> Value {
    if is_between(now, "Wed 18:00", "Thu 00:00") {
        let why = "the budget of 10000 records a day is used up: 10000 on 2026-11-25 (UTC)";
        return json!({ "tally": { "state": "over_budget", "since": at("Wed 18:00"), "until": at("Thu 00:00"), "why": why } });
    }
    json!({ "alive_at": now, "tally": { "state": "streaming", "since": START } })
}

/// A stream that loses its connection for a minute each hour, and is refused from Friday evening until somebody mends its
/// file on Sunday.
fn research(now: DateTime<Utc>) -> Value {
    if is_between(now, "Fri 20:00", "Sun 10:00") {
        return json!({ "tally": { "state": "refused", "since": at("Fri 20:00"), "why": "402 Payment Required: the plan has ended" } });
    }
    let minute = now.timestamp() / 60 % 60;
    if minute == 30 {
        let lost = DateTime::from_timestamp(now.timestamp() / 60 * 60, 0).unwrap();
        return json!({ "alive_at": lost, "tally": { "state": "waiting", "since": lost, "why": "reset", "lost": { "at": lost, "outcome": "error" } } });
    }
    json!({ "alive_at": now, "tally": { "state": "streaming", "since": START } })
}

fn loader(is_bad: bool, state: &str, since: &str) -> Value {
    let (state, since) = if is_bad { (state, at(since)) } else { ("loading", start()) };
    json!({ "to": "test:", "streams": ["*"], "state": state, "since": since, "retries": 0, "error": "connection refused" })
}

/// Free bytes: on Thursday afternoon the disk fills, until somebody makes room.
fn free(now: DateTime<Utc>) -> u64 {
    let filling = u64::try_from((now - at("Thu 12:00")).num_minutes().max(0)).unwrap();
    if is_between(now, "Thu 12:00", "Thu 15:30") { (3 * GIB).saturating_sub(filling * GIB / 50) } else { 50 * GIB }
}

struct Shared(Arc<Mutex<Week>>);

#[async_trait]
impl World for Shared {
    async fn look(&mut self, incidents: &Incidents) -> Result<Look, Ended> {
        let mut week = self.0.lock().unwrap();
        let now = week.clock.now();
        let free = free(now);
        if free < GIB / 4 {
            let holds = vec![of_service(Kind::DiskFull, format!("{free} B free, and limits.disk_free keeps 256 MiB"))];
            return Ok(Look { now, holds, unknown: Unknown { all: true, ..Unknown::default() } });
        }
        let (state, files) = week.state(now);
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let running = Running { pid: None, since: Some(start()) };
        let committed = Committed::of(fs, Path::new("/nowhere"), state, Some(running), now);
        let declared = ["pg", "hook"].map(|name| Declared { name: name.into(), waits: TimeDelta::zero() });
        let (mut holds, unknown) = conditions(&committed, &files, &declared);
        holds.extend(nearly_full(free, GIB, incidents.is_open(Kind::DiskNearlyFull, "")));
        Ok(Look { now, holds, unknown })
    }

    async fn save(&mut self, saved: &SavedAlerts, entries: &[Value]) -> Result<bool, Ended> {
        let mut week = self.0.lock().unwrap();
        if free(week.clock.now()) < GIB / 4 {
            return Ok(false);
        }
        week.saved = Some(serde_json::to_string(saved).unwrap());
        week.entries.extend_from_slice(entries);
        Ok(true)
    }

    async fn ended(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// A person's phone, or mailbox: what came, and when.
#[derive(Clone)]
struct Phone {
    clock: Arc<WeekClock>,
    said: Arc<Mutex<Vec<String>>>,
    is_down: fn(DateTime<Utc>) -> bool,
}

#[async_trait]
impl Destination for Phone {
    async fn tell(&mut self, message: &Message) -> Result<(), TellError> {
        let now = self.clock.now();
        if (self.is_down)(now) {
            return Err(TellError::again(anyhow::anyhow!("connection refused")));
        }
        self.said.lock().unwrap().push(format!("{} {}", now.format("%a %H:%M"), message.title));
        Ok(())
    }
}

fn phone(clock: &Arc<WeekClock>, is_down: fn(DateTime<Utc>) -> bool) -> Phone {
    Phone { clock: Arc::clone(clock), said: Arc::default(), is_down }
}

fn listener(name: &str, phone: &Phone) -> Listener {
    let destination = Box::new(phone.clone());
    Listener {
        name: name.into(),
        shown: format!("test:{name}"),
        only: Vec::new(),
        timeout: Duration::from_secs(30),
        destination,
    }
}

/// Lives from one restart to the next.
async fn live_until(end: &str, week: &Arc<Mutex<Week>>, phones: &[(&str, &Phone)]) {
    let (clock, saved) = {
        let week = week.lock().unwrap();
        let saved = week.saved.as_ref().map(|saved| serde_json::from_str(saved).unwrap()).unwrap_or_default();
        (Arc::clone(&week.clock), saved)
    };
    let teller = Teller { name: "web-3".into(), data: "data".into(), page: None };
    let words = Words { teller, mark: "week".into(), sources: "sources".into() };
    let listeners = phones.iter().map(|(name, phone)| listener(name, phone)).collect();
    let rules = Rules::from(&config::Incidents::default());
    let context = Context::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let alerting = Alerting::new(Shared(Arc::clone(week)), words, rules, saved, listeners, context, LOOK_EVERY);
    let stop = CancellationToken::new();
    let running = tokio::spawn(alerting.run(stop.clone()));
    tokio::time::sleep((at(end) - clock.now()).to_std().unwrap()).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_alerts_a_person_would_want_and_no_others() {
    let began = std::time::Instant::now();
    let clock = Arc::new(WeekClock(Instant::now()));
    let week = Week { clock: Arc::clone(&clock), sources: sources(), saved: None, entries: Vec::new() };
    let week = Arc::new(Mutex::new(week));
    let phone_of = phone(&clock, |_| false);
    let mailbox = phone(&clock, |now| is_between(now, "Tue 01:00", "Wed 19:00"));
    // Restarts: in an outage, while a source flaps, while a store is down, while a source is refused, and in quiet hours.
    let restarts =
        ["Mon 12:00", "Tue 03:30", "Wed 10:03", "Thu 08:00", "Fri 12:00", "Fri 12:01", "Sat 15:00", "END 00:00"];
    for end in restarts {
        live_until(end, &week, &[("phone", &phone_of), ("mailbox", &mailbox)]).await;
    }
    println!("the week took {:?}", began.elapsed());
    let said = phone_of.said.lock().unwrap().join("\n");
    insta::assert_snapshot!(said, @r"
    Tue 02:06 101 sources are broken
    Tue 05:06 200 sources are well again
    Wed 10:06 bse: the page has changed
    Wed 12:35 bse is well again
    Wed 18:00 posts: the budget is used up
    Thu 00:05 posts collects again
    Thu 06:06 flappy is broken
    Thu 06:11 flappy is well again
    Thu 06:18 flappy is broken
    Thu 12:04 flappy is well again
    Thu 13:42 the disk is nearly full
    Thu 14:18 the disk is full: nothing is collected
    Thu 15:35 there is room again: collecting goes on
    Thu 15:35 the disk is not nearly full any more
    Fri 00:15 loader pg: the store takes nothing
    Fri 14:05 edited: its YAML cannot be read
    Fri 15:16 bse is broken
    Fri 16:05 edited: the YAML is in order
    Fri 20:00 research is refused for good
    Sat 00:05 loader pg loads again
    Sat 08:00 daily is broken
    Sat 20:00 still: research is refused for good
    Sun 03:06 login is blocked
    Sun 06:05 daily is well again
    Sun 09:06 login is well again
    Sun 10:05 research is well again
    Sun 12:05 loader hook is parked: the store refuses
    Sun 12:25 loader hook loads again
    ");
    // Who was away hears in one what was meanwhile, and then the same.
    let missed = said.lines().position(|line| line.starts_with("Thu")).unwrap();
    let after: Vec<&str> = said.lines().skip(missed).collect();
    let mail = mailbox.said.lock().unwrap();
    assert_eq!(mail[0], format!("Wed 19:00 {missed} messages that could not be delivered before"));
    assert_eq!(mail[1..], after);
    // The ledger has each of them once, in order.
    let week = week.lock().unwrap();
    let titles: Vec<&str> = week.entries.iter().map(|entry| entry["title"].as_str().unwrap()).collect();
    let told: Vec<&str> = said.lines().map(|line| &line["Mon 00:00 ".len()..]).collect();
    assert_eq!(titles, told);
}
