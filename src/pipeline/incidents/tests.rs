//! Incidents against worlds that break and mend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use chrono::TimeDelta;

use super::*;
use crate::config;

fn start() -> DateTime<Utc> {
    "2026-11-23T00:00:00Z".parse().unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(seconds)
}

fn rules() -> Rules {
    Rules::from(&config::Incidents::default())
}

/// A condition that began then, and is seen at every moment since.
fn condition(kind: Kind, name: &str, since: i64, why: &str) -> Condition {
    Condition { kind, name: name.into(), since: Some(at(since)), last: None, count: 0, enough: None, why: why.into() }
}

/// A polled source whose ticks, `every` so many seconds, fail from the first on.
fn failing(name: &str, since: i64, now: i64, every: i64, why: &str) -> Condition {
    let count = (now - since) / every + 1;
    Condition {
        last: Some(at(since + (count - 1) * every)),
        count: u64::try_from(count).unwrap(),
        ..condition(Kind::Broken, name, since, why)
    }
}

/// What was told, and when, in words for a comparison.
struct Story {
    incidents: Incidents,
    rules: Rules,
    lines: Vec<String>,
}

impl Story {
    fn new() -> Self {
        Self { incidents: Incidents::default(), rules: rules(), lines: Vec::new() }
    }

    /// Looks each ten seconds from one moment to another.
    fn look(&mut self, from: i64, to: i64, holds: impl Fn(i64) -> Vec<Condition>) {
        self.look_with(from, to, holds, &Unknown::default());
    }

    fn look_with(&mut self, from: i64, to: i64, holds: impl Fn(i64) -> Vec<Condition>, unknown: &Unknown) {
        for second in (from..to).step_by(10) {
            let look = Look { now: at(second), holds: holds(second), unknown: unknown.clone() };
            for told in self.incidents.look(&look, &self.rules) {
                let (minutes, seconds) = (second / 60, second % 60);
                self.lines.push(format!("{minutes}:{seconds:02} {}", words(&told)));
            }
        }
    }

    fn restart(&mut self) {
        let saved = serde_json::to_string(&self.incidents).unwrap();
        self.incidents = serde_json::from_str(&saved).unwrap();
    }

    fn said(&mut self) -> String {
        std::mem::take(&mut self.lines).join("\n")
    }
}

fn words(told: &Told) -> String {
    let names: Vec<String> = told
        .about
        .iter()
        .map(|about| about.missed.map_or_else(|| about.name.clone(), |missed| format!("{}({missed})", about.name)))
        .collect();
    let kind = told.kind.map_or("", Kind::word);
    let mut text = format!("{} {kind} {}", told.event.word(), names.join(","));
    if !told.still.is_empty() {
        let still: Vec<&str> = told.still.iter().map(|about| about.name.as_str()).collect();
        write!(text, "; still {}", still.join(",")).unwrap();
    }
    if told.more > 0 {
        write!(text, "; {} more", told.more).unwrap();
    }
    if !told.parts.is_empty() {
        write!(text, " [{}]", told.parts.iter().map(words).collect::<Vec<_>>().join(" | ")).unwrap();
    }
    text
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

#[test]
fn one_message_when_it_opens_and_one_when_it_is_over() {
    let mut story = Story::new();
    story.look(0, 4 * 60, |now| vec![failing("bse", 0, now, 1, "500")]);
    story.look(240, HOUR, |_| Vec::new());
    assert_eq!(story.said(), "", "four minutes are nothing");
    story.look(HOUR, 2 * HOUR, |now| vec![failing("bse", HOUR, now, 1, "500")]);
    story.look(2 * HOUR, 3 * HOUR, |_| Vec::new());
    assert_eq!(story.said(), "65:30 opened broken bse(331)\n125:00 over broken bse(3591)");
}

#[test]
fn a_source_that_asks_seldom_is_told_in_time_and_one_that_rests_is_not_told() {
    let mut story = Story::new();
    story.look(0, DAY, |now| vec![failing("daily", 0, now, DAY, "500")]);
    assert_eq!(story.said(), "120:30 opened broken daily(1)");
    let mut story = Story::new();
    // The last ticks of Friday fail, and the market opens again on Monday.
    story.look(240, 60 * HOUR, |_| vec![failing("market", 0, 239, 1, "500")]);
    assert_eq!(story.said(), "");
}

#[test]
fn flapping_keeps_it_open_and_what_comes_back_needs_longer_to_be_over() {
    let mut story = Story::new();
    // Six minutes bad, two minutes good.
    let flap =
        |now: i64| if now % 480 < 360 { vec![condition(Kind::Broken, "x", now - now % 480, "lost")] } else { vec![] };
    story.look(0, 4 * HOUR, flap);
    assert_eq!(story.said(), "5:30 opened broken x");
    story.look(4 * HOUR, 5 * HOUR, |_| Vec::new());
    assert_eq!(story.said(), "243:00 over broken x");
    // Six minutes bad, seven good, for a day.
    let mut story = Story::new();
    let flap =
        |now: i64| if now % 780 < 360 { vec![condition(Kind::Broken, "x", now - now % 780, "lost")] } else { vec![] };
    story.look(0, DAY, flap);
    assert_eq!(story.said(), "5:30 opened broken x\n11:00 over broken x\n18:30 opened broken x");
}

#[test]
fn a_network_that_is_down_is_one_message() {
    let mut story = Story::new();
    let periods = [1, 10, 60, 300, 900, 3_600];
    let why = |source: i64| match source % 3 {
        0 => format!("cannot_connect: no connection to https://s{source}.example/: dns error"),
        1 => "no_answer: there was no answer after 10s".to_owned(),
        _ => "cannot_connect: network unreachable (os error 101)".to_owned(),
    };
    // Each source fails at its next tick after the network went, and is well at its first after it came.
    let world = |now: i64| {
        let of = |source: i64| {
            let every = periods[usize::try_from(source).unwrap() % periods.len()];
            let (first, last) = (source % every, (3 * HOUR - 1 - source % every) / every * every + source % every);
            let is_mended = now > last + every;
            (now >= first && !is_mended)
                .then(|| failing(&format!("s{source}"), first, now.min(last), every, &why(source)))
        };
        (0..200).filter_map(of).collect()
    };
    story.look(0, 6 * HOUR, world);
    let said = story.said();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("6:30 opened broken s0"), "{said}");
    assert!(lines[1].starts_with("188:20 over broken s0"), "{said}");
    let missed = lines[1].matches('(').count();
    assert!(missed > 190, "{missed} of 200 are named");
    assert!(story.incidents.all_open().is_empty());
}

#[test]
fn those_that_are_not_well_though_most_are_go_on_by_themselves() {
    let mut story = Story::new();
    story.look(0, HOUR, |_| (0..8).map(|source| condition(Kind::Broken, &format!("s{source}"), 0, "lost")).collect());
    story.look(HOUR, 3 * HOUR, |_| vec![condition(Kind::Broken, "s3", 0, "lost")]);
    story.look(3 * HOUR, 4 * HOUR, |_| Vec::new());
    assert_eq!(
        story.said(),
        "5:30 opened broken s0,s1,s2,s3,s4,s5,s6,s7\n75:00 over broken s0,s1,s2,s4,s5,s6,s7; still s3\n185:00 over broken s3"
    );
}

#[test]
fn two_that_break_for_two_reasons_are_two() {
    let mut story = Story::new();
    let one = || condition(Kind::Broken, "one", 0, "http_status: 500");
    let other = || condition(Kind::Broken, "other", 0, "body_cut_off: the page ended");
    story.look(0, HOUR, |_| vec![one(), other(), condition(Kind::LayoutChanged, "third", 0, "price: nothing matches")]);
    story.look(HOUR, 2 * HOUR, |_| vec![other()]);
    assert_eq!(
        story.said(),
        "5:30 opened layout_changed third\n5:30 opened broken one\n5:30 opened broken other\n65:00 over layout_changed third\n65:00 over broken one"
    );
}

#[test]
fn what_gets_worse_is_said_once() {
    let mut story = Story::new();
    story.look(0, HOUR, |_| vec![condition(Kind::StoreDown, "pg", 0, "connection refused")]);
    story.look(HOUR, 2 * HOUR, |_| vec![condition(Kind::LoaderParked, "pg", HOUR, "no such database")]);
    story.look(2 * HOUR, 3 * HOUR, |_| Vec::new());
    assert_eq!(story.said(), "15:30 opened store_down pg\n60:00 worse loader_parked pg\n125:00 over loader_parked pg");
}

#[test]
fn what_goes_on_is_said_once_a_day_while_there_are_signs_of_it() {
    let mut story = Story::new();
    story.look(0, 3 * DAY, |_| vec![condition(Kind::Refused, "x", 0, "402")]);
    assert_eq!(
        story.said(),
        "0:30 opened refused x\n1440:30 reminder refused x\n2880:30 reminder refused x",
        "and no more often"
    );
    // Of a weekend on which nobody asks there is nothing to say.
    let mut story = Story::new();
    story.look(0, 3 * DAY, |now| vec![failing("market", 0, now.min(HOUR), 1, "500")]);
    assert_eq!(story.said(), "5:30 opened broken market(331)");
    story.look(3 * DAY, 3 * DAY + HOUR, |now| vec![failing("market", 0, now, 1, "500")]);
    assert_eq!(story.said(), "4320:00 reminder broken market(259201)");
}

#[test]
fn what_is_not_known_neither_opens_nor_ends() {
    let mut story = Story::new();
    let unknown = Unknown { all: true, ..Unknown::default() };
    story.look(0, HOUR, |_| vec![condition(Kind::Broken, "x", 0, "lost"), condition(Kind::StoreDown, "pg", 0, "gone")]);
    assert_eq!(story.said(), "5:30 opened broken x\n15:30 opened store_down pg");
    let full = |_| vec![condition(Kind::DiskFull, "", HOUR, "0 B free")];
    story.look_with(HOUR, 2 * HOUR, full, &unknown);
    assert_eq!(story.said(), "60:00 opened disk_full ");
    let started = Unknown { loaders: BTreeSet::from(["pg".to_owned()]), ..Unknown::default() };
    story.look_with(2 * HOUR, 3 * HOUR, |_| Vec::new(), &started);
    assert_eq!(story.said(), "125:00 over disk_full \n125:00 over broken x");
    story.look(3 * HOUR, 4 * HOUR, |_| Vec::new());
    assert_eq!(story.said(), "185:00 over store_down pg");
}

#[test]
fn damage_is_said_once_and_has_no_end() {
    let mut story = Story::new();
    story.look(0, 10, |_| vec![condition(Kind::Damage, "bse", 0, "committed lines are missing")]);
    story.look(10, HOUR, |_| Vec::new());
    assert_eq!(story.said(), "0:00 happened damage bse");
}

#[test]
fn a_restart_repeats_nothing_and_forgets_nothing() {
    let mut story = Story::new();
    story.look(0, HOUR, |now| vec![failing("x", 0, now, 1, "500")]);
    story.restart();
    story.look(HOUR, 2 * HOUR, |now| vec![failing("x", 0, now, 1, "500")]);
    story.restart();
    story.look(2 * HOUR, 3 * HOUR, |_| Vec::new());
    assert_eq!(story.said(), "5:30 opened broken x(331)\n125:00 over broken x(7191)");
}

#[test]
fn more_than_an_hour_may_have_is_held_back_and_told_in_one() {
    let mut story = Story::new();
    // One more breaks each two minutes, each for a reason of its own.
    let why = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
    let broken = |now: i64| {
        let of = |(source, why): (usize, &&str)| {
            let since = i64::try_from(source).unwrap() * 120;
            (now >= since).then(|| condition(Kind::Broken, &format!("s{source}"), since, why))
        };
        why.iter().enumerate().filter_map(of).collect::<Vec<_>>()
    };
    story.look(0, 3 * HOUR, broken);
    let said = story.said();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 10, "{said}");
    assert!(lines[..8].iter().all(|line| line.contains(" opened broken s")), "{said}");
    assert_eq!(lines[8], "21:30 held_back  ; 1 more");
    assert!(lines[9].starts_with("71:30 summary   [opened broken s8 | opened broken s9 | "), "{said}");
    assert!(lines[9].ends_with("opened broken s19]"), "{said}");
    // A disk that is full is told even so.
    let mut story = Story::new();
    story.look(0, 40 * 60, |now| {
        let full = (now >= 30 * 60).then(|| condition(Kind::DiskFull, "", 30 * 60, "full"));
        broken(now).into_iter().chain(full).collect()
    });
    assert!(story.said().ends_with("30:00 opened disk_full "));
}

/// A world in which things break and mend: when each of its things is broken, how it breaks, and when somebody restarts.
#[derive(Debug, Clone)]
struct World {
    spells: Vec<(usize, i64, i64, Kind)>,
    restarts: BTreeSet<i64>,
}

const KINDS: [Kind; 7] = [
    Kind::Broken,
    Kind::Blocked,
    Kind::LayoutChanged,
    Kind::Refused,
    Kind::StoreDown,
    Kind::LoaderParked,
    Kind::DiskFull,
];

fn worlds() -> impl Strategy<Value = World> {
    let spell = (0..12_usize, 0..400_i64, 1..80_i64, 0..KINDS.len());
    let spells = prop::collection::vec(spell, 1..60);
    (spells, prop::collection::btree_set(0..600_i64, 0..8)).prop_map(|(spells, restarts)| World {
        spells: spells
            .into_iter()
            .map(|(thing, from, length, kind)| (thing, from, from + length, KINDS[kind]))
            .collect(),
        restarts,
    })
}

impl World {
    fn holds(&self, minute: i64) -> Vec<Condition> {
        let now = self.spells.iter().filter(|(_, from, to, _)| (*from..*to).contains(&minute));
        let of = |(thing, from, _, kind): &(usize, i64, i64, Kind)| {
            condition(*kind, &format!("t{thing}"), from * 60, if thing % 2 == 0 { "dns error" } else { "status" })
        };
        now.map(of).collect()
    }
}

/// What a person believes, from messages alone.
#[derive(Default)]
struct Person {
    /// What was said to be broken, and by which incident.
    broken: BTreeMap<String, u64>,
    /// Every incident that was said to be over.
    over: BTreeSet<u64>,
    times: Vec<DateTime<Utc>>,
}

impl Person {
    fn hears(&mut self, told: &Told, now: DateTime<Utc>) {
        self.times.push(now);
        for part in std::iter::once(told).chain(&told.parts) {
            let Some(incident) = part.incident else { continue };
            assert!(!self.over.contains(&incident), "{part:?} after its end");
            for about in &part.about {
                let key = key(part.kind.unwrap(), &about.name);
                match part.event {
                    Event::Opened => {
                        let before = self.broken.insert(key, incident);
                        assert_eq!(before, None, "{part:?} was open already");
                    }
                    Event::Over => {
                        self.broken.remove(&key);
                    }
                    _ => {}
                }
            }
            if part.event == Event::Over {
                self.over.insert(incident);
            }
        }
    }

    fn check_quota(&self, per_hour: usize) {
        for (index, at) in self.times.iter().enumerate() {
            let within = self.times[index..].iter().filter(|other| **other - *at < TimeDelta::hours(1)).count();
            assert!(within <= per_hour, "{within} messages in an hour");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever breaks, mends and is restarted: no opening without an end before, no message after the end, never more
    /// than the quota, and in the end a person knows that all is well.
    #[test]
    fn a_person_is_never_told_twice_and_always_told_the_end(world in worlds(), per_hour in 3_usize..12) {
        let rules = Rules::from(&config::Incidents { per_hour, ..config::Incidents::default() });
        let mut incidents = Incidents::default();
        let mut person = Person::default();
        for minute in 0..1_200 {
            if world.restarts.contains(&minute) {
                incidents = serde_json::from_str(&serde_json::to_string(&incidents).unwrap()).unwrap();
            }
            for half in [0, 30] {
                let look = Look { now: at(minute * 60 + half), holds: world.holds(minute), unknown: Unknown::default() };
                for told in incidents.look(&look, &rules) {
                    person.hears(&told, look.now);
                }
            }
        }
        person.check_quota(per_hour);
        prop_assert!(person.broken.is_empty(), "{:?} is still broken for who was told", person.broken);
        prop_assert!(incidents.all_open().is_empty() && incidents.happened.is_empty());
    }

    /// What stays broken is told, however much else there is.
    #[test]
    fn what_stays_broken_is_told(world in worlds(), per_hour in 3_usize..12) {
        let rules = Rules::from(&config::Incidents { per_hour, ..config::Incidents::default() });
        let mut incidents = Incidents::default();
        let mut heard = BTreeSet::new();
        for minute in 0..900 {
            let mut holds = world.holds(minute);
            holds.push(condition(Kind::OverBudget, "stays", 3_600, "used up"));
            let look = Look { now: at(minute * 60), holds, unknown: Unknown::default() };
            for told in incidents.look(&look, &rules) {
                let parts = std::iter::once(&told).chain(&told.parts);
                heard.extend(parts.flat_map(|part| &part.about).map(|about| about.name.clone()));
            }
        }
        prop_assert!(heard.contains("stays"));
    }
}

/// A source's own file says how many failed ticks in a row are enough, whatever the service's says.
#[test]
fn g17_a_source_may_say_how_many_ticks_are_enough() {
    let rules = rules();
    let of = |count: u64, enough: Option<u64>| Condition {
        count,
        enough,
        last: Some(at(0)),
        ..condition(Kind::LayoutChanged, "x", 0, "")
    };
    assert!(!rules.is_due(&of(5, Some(6)), at(0), at(0)));
    assert!(rules.is_due(&of(6, Some(6)), at(0), at(0)), "at once");
    assert!(!rules.is_due(&of(5, Some(6)), at(0), at(100_000)), "and not by time alone");
    assert!(!rules.is_due(&of(6, None), at(0), at(0)));
    assert!(rules.is_due(&condition(Kind::FieldGone, "x", 0, ""), at(0), at(0)));
}
