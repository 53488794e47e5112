//! Everything that is wrong at one moment, for those who are told: sources, loaders, the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::Kind;
use crate::pipeline::commit::source_key;
use crate::pipeline::incidents::{Condition, Unknown};
use crate::pipeline::load::{Health, Loaded, Select, State, loaded_key, loader_key};
use crate::record::Line;
use crate::sink::{self, Position};
use crate::units::Size;

use super::committed::Committed;
use super::lengths::words;
use super::saved::SavedSource;
use super::source::{Facts, File};

/// A loader that has less to do than this keeps up.
const LAG_MIN: TimeDelta = TimeDelta::minutes(1);

/// To tell how far behind a loader is, no more of its streams are looked into than these: the furthest.
const STREAMS_MAX: usize = 8;

/// What there must be more free than the least, for the disk not to be nearly full any more: a tenth of it.
const MARGIN: u64 = 10;

/// A loader that the service's file declares.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name.
    pub name: Arc<str>,
    /// How old what it has not loaded may be without its being late: it takes closed segments only.
    pub waits: TimeDelta,
}

/// What is wrong with sources and loaders, and of which loaders it is not known.
pub fn conditions(
    committed: &Committed,
    files: &BTreeMap<String, File>,
    declared: &[Declared],
) -> (Vec<Condition>, Unknown) {
    let mut found = sources(committed, files);
    let mut unknown = Unknown::default();
    for loader in declared {
        match of_loader(committed, loader) {
            Some(condition) => found.extend(condition),
            None => {
                unknown.loaders.insert(loader.name.to_string());
            }
        }
    }
    (found, unknown)
}

fn sources(committed: &Committed, files: &BTreeMap<String, File>) -> Vec<Condition> {
    let saved = committed.names("source/").map(str::to_owned);
    let names: BTreeSet<String> = saved.chain(files.keys().cloned()).collect();
    let of = |name: String| {
        let saved = committed.state().get(&source_key(&name)).map(|saved| SavedSource::read(saved));
        let file = files.get(&name).cloned().unwrap_or(File::Gone);
        let facts = Facts { name, file, saved, service: committed.service.clone() };
        facts.conditions(committed.now)
    };
    names.into_iter().flat_map(of).collect()
}

/// What is wrong with a loader; `None` when it is not known yet.
#[expect(clippy::option_option, reason = "not known, well, or wrong")]
fn of_loader(committed: &Committed, loader: &Declared) -> Option<Option<Condition>> {
    let name = &loader.name;
    let health: Health = serde_json::from_str(committed.state().get(&loader_key(name))?.get()).ok()?;
    let kind = match health.state {
        State::Connecting | State::Stopped => return None,
        State::Parked => Kind::LoaderParked,
        State::Waiting => Kind::StoreDown,
        State::Loading => return Some(behind(committed, loader, &health)),
    };
    let why = health.error.unwrap_or_default();
    Some(Some(Condition {
        kind,
        name: name.to_string(),
        since: Some(health.since),
        last: None,
        count: 0,
        enough: None,
        why,
    }))
}

/// That a loader does not keep up.
fn behind(committed: &Committed, loader: &Declared, health: &Health) -> Option<Condition> {
    let since = behind_since(committed, &loader.name, &Select(health.streams.clone()))? + loader.waits;
    let lag = committed.now - since;
    let why = format!("what came {} ago is not in {} yet", words(lag.num_seconds().max(0) * 1_000_000), health.to);
    let name = loader.name.to_string();
    (lag > LAG_MIN).then_some(Condition {
        kind: Kind::LoaderBehind,
        name,
        since: Some(since),
        last: None,
        count: 0,
        enough: None,
        why,
    })
}

/// When the first record was observed that a loader has not loaded.
fn behind_since(committed: &Committed, name: &str, select: &Select) -> Option<DateTime<Utc>> {
    let mut lanes: Vec<(u64, &str, Position, sink::Committed)> = Vec::new();
    for stream in committed.names("stream/").filter(|stream| select.takes(stream)) {
        let Ok(Some(saved)) = committed.saved(stream) else { continue };
        let committed_to = sink::Committed::from(&saved);
        let loaded = committed.state().get(&loaded_key(name, stream));
        let loaded = loaded.and_then(|loaded| serde_json::from_str::<Loaded>(loaded.get()).ok());
        let at = loaded.map_or(Position::start_of(saved.first), |loaded| loaded.at);
        if at < committed_to.end {
            lanes.push((committed_to.end.segment.saturating_sub(at.segment), stream, at, committed_to));
        }
    }
    lanes.sort_by_key(|(segments, ..)| std::cmp::Reverse(*segments));
    let first = |(_, stream, at, committed_to): (u64, &str, Position, sink::Committed)| {
        let mut line = Vec::new();
        committed.reader(stream, at).read(committed_to, 1, &mut line).ok()??;
        let first = line.split(|byte| *byte == b'\n').next()?;
        Line::parse(first).ok()?.observed_at.parse::<DateTime<Utc>>().ok()
    };
    lanes.into_iter().take(STREAMS_MAX).filter_map(first).min()
}

/// That the disk is nearly full: less than `least` is free, or not much more once that was said.
pub fn nearly_full(free: u64, least: u64, is_open: bool) -> Option<Condition> {
    let least_now = if is_open { least.saturating_add(least / MARGIN) } else { least };
    let why = format!("{} are free; less than {} is little", Size(free), Size(least));
    (free < least_now).then(|| of_service(Kind::DiskNearlyFull, why))
}

/// Something that is wrong with the service as a whole.
pub fn of_service(kind: Kind, why: impl Into<String>) -> Condition {
    Condition { kind, name: String::new(), since: None, last: None, count: 0, enough: None, why: why.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;
    use crate::fs::Disk;
    use crate::pipeline::state;
    use crate::report::committed::Running;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// What is wrong at noon, in words, and which loaders are not known.
    fn wrong(root: &std::path::Path, entries: &[(&str, Value)], waits: TimeDelta) -> (Vec<String>, Vec<String>) {
        let state: state::State =
            entries.iter().map(|(key, value)| ((*key).to_owned(), to_raw_value(value).unwrap())).collect();
        let now = at("2026-11-23T12:00:00Z");
        let running = Running { pid: None, since: Some(at("2026-11-23T00:00:00Z")) };
        let committed = Committed::of(Arc::new(Disk), root, state, Some(running), now);
        let declared = [Declared { name: "pg".into(), waits }];
        let (found, unknown) = conditions(&committed, &BTreeMap::new(), &declared);
        let words = |condition: &Condition| {
            let since = condition.since.map(|at| at.format("%H:%M").to_string()).unwrap_or_default();
            format!("{} {} since {since}: {}", condition.kind.word(), condition.name, condition.why)
        };
        (found.iter().map(words).collect(), unknown.loaders.into_iter().collect())
    }

    fn loader(state: &str) -> Value {
        json!({ "to": "postgres://h/db", "streams": ["*"], "state": state, "since": "2026-11-23T10:00:00Z", "retries": 3, "error": "refused" })
    }

    #[test]
    fn a_loader_is_parked_or_waits_or_is_not_known_yet() {
        let dir = tempfile::tempdir().unwrap();
        for (state, expected) in [
            ("parked", &["loader_parked pg since 10:00: refused"][..]),
            ("waiting", &["store_down pg since 10:00: refused"]),
            ("loading", &[]),
        ] {
            let (found, unknown) = wrong(dir.path(), &[("loader/pg", loader(state))], TimeDelta::zero());
            assert_eq!(
                (found.as_slice(), unknown.is_empty()),
                (&*expected.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), true),
                "{state}"
            );
        }
        for state in ["connecting", "stopped"] {
            assert_eq!(
                wrong(dir.path(), &[("loader/pg", loader(state))], TimeDelta::zero()),
                (vec![], vec!["pg".to_owned()]),
                "{state}"
            );
        }
        assert_eq!(wrong(dir.path(), &[], TimeDelta::zero()), (vec![], vec!["pg".to_owned()]), "nothing is saved yet");
        // One that the settings do not name any more is nobody's business.
        let (found, _) = wrong(
            dir.path(),
            &[("loader/pg", loader("loading")), ("loader/gone", loader("parked"))],
            TimeDelta::zero(),
        );
        assert_eq!(found, [] as [String; 0]);
    }

    #[test]
    fn a_loader_is_as_far_behind_as_the_first_record_that_it_has_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let line = |time: &str| {
            format!(
                "{{\"observed_at\":\"2026-11-23T{time}.000000Z\",\"source\":\"x\",\"id\":\"r_{time}\",\"type\":\"t\",\"data\":1}}\n"
            )
        };
        let lines = [line("09:00:00"), line("10:30:00"), line("11:59:30")];
        let day = dir.path().join("x/dt=2026-11-23");
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join("x-000000000001.jsonl"), lines.concat()).unwrap();
        let saved = json!({
            "first": 1, "segment": 1, "day": "2026-11-23", "len": lines.concat().len(), "lines": 3,
            "begun_at": "2026-11-23T09:00:00Z", "closed": false,
        });
        let behind = |lines_loaded: usize, waits: TimeDelta| {
            let offset: usize = lines[..lines_loaded].iter().map(String::len).sum();
            let loaded = json!({ "at": { "segment": 1, "offset": offset }, "records": 0, "exists": 0, "dead": 0 });
            let entries = [("loader/pg", loader("loading")), ("stream/x", saved.clone()), ("loaded/pg/x", loaded)];
            wrong(dir.path(), &entries, waits).0
        };
        let none = TimeDelta::zero();
        assert_eq!(behind(0, none), ["loader_behind pg since 09:00: what came 3h ago is not in postgres://h/db yet"]);
        assert_eq!(
            behind(1, none),
            ["loader_behind pg since 10:30: what came 1h 30m ago is not in postgres://h/db yet"]
        );
        assert_eq!(behind(2, none), [] as [String; 0], "half a minute is nothing");
        assert_eq!(behind(3, none), [] as [String; 0]);
        // One that takes closed segments only is not late by what it waits for.
        assert_eq!(behind(0, TimeDelta::hours(2)).len(), 1);
        assert_eq!(behind(1, TimeDelta::hours(2)), [] as [String; 0]);
    }

    #[test]
    fn a_disk_that_was_nearly_full_needs_a_little_more() {
        for (free, is_open, expected) in [(99, false, true), (100, false, false), (109, true, true), (110, true, false)]
        {
            assert_eq!(nearly_full(free, 100, is_open).is_some(), expected, "{free} {is_open}");
        }
        assert!(nearly_full(u64::MAX, u64::MAX, true).is_none());
    }
}
