//! Fields that a record may do without: a word when one that was always there is gone for good.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::contract::{Contracts, Watched};
use super::extract::Row;
use crate::source::{Ailment, Note};

/// So many ticks in a row with the field make it one that is always there, and so many without it one that is gone.
const PAGES: u32 = 20;

/// How each of them has been, by its number among those that are watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Presence(BTreeMap<usize, Been>);

/// How a field has been.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Been {
    /// Ticks in a row whose pages had it, or had it not.
    run: u32,
    /// Whether the run is of those that had it.
    is_there: bool,
    /// Whether it was always there before it was missing.
    was_steady: bool,
    /// Whether it has been said that it is gone.
    is_gone: bool,
}

/// What a page, or all pages of a tick together, have of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether there were records; a page without them says nothing about their fields.
    has_records: bool,
    /// The fields that a record may do without, and whether one had them.
    there: BTreeMap<usize, bool>,
    /// The fields for which something stood in.
    pub(super) stood_in: BTreeSet<usize>,
}

impl Look {
    /// Looks at the records of a page before anything stands in for what they lack.
    pub(super) fn of(contracts: &Contracts, rows: &[Row]) -> Self {
        let mut look = Self { has_records: !rows.is_empty(), ..Self::default() };
        for (index, watched) in contracts.watched.iter().enumerate().filter(|(_, watched)| watched.is_optional) {
            // An object around it that is missing is said to be missing itself.
            let data = rows.iter().map(|row| row.item.data.get());
            let values = data.filter_map(|data| Some(&data[watched.range_in(data)?]));
            if let Some(is_there) = values.map(|value| value != "null").reduce(|all, is_there| all | is_there) {
                look.there.insert(index, is_there);
            }
        }
        look
    }
}

/// What the pages of a tick have said so far: a list of several pages is one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tick {
    all: Look,
    /// Whether one of them is the last one again, of which nobody knows any more what it had.
    is_partly: bool,
}

impl Tick {
    /// Adds a page; `None` for one that is the last one again, of which nobody knows any more what it had.
    pub(super) fn add(&mut self, look: Option<&Look>) {
        let Some(look) = look else {
            self.is_partly = true;
            return;
        };
        self.all.has_records |= look.has_records;
        self.all.stood_in.extend(&look.stood_in);
        for (index, is_there) in &look.there {
            *self.all.there.entry(*index).or_default() |= is_there;
        }
    }

    /// Whether something stands in for a field. `None` where that is not known.
    pub(super) fn stands_in(&self, index: usize) -> Option<bool> {
        let stands_in = self.all.stood_in.contains(&index);
        (stands_in || self.all.has_records && !self.is_partly).then_some(stands_in)
    }
}

impl Presence {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts a tick. `Some` of those that are gone for good from here on, or there again.
    pub(super) fn count(&mut self, contracts: &Contracts, tick: &Tick) -> Vec<Note> {
        let step = |(index, watched): (usize, &Watched)| {
            let is_there = match tick.all.there.get(&index) {
                Some(false) if tick.is_partly => return None,
                Some(is_there) => *is_there,
                // The only page is the last one again: the field is there, or not, once more.
                None if tick.is_partly && !tick.all.has_records => self.0.get(&index)?.is_there,
                None => return None,
            };
            Some(note(watched, self.0.entry(index).or_default().step(is_there)?))
        };
        contracts.watched.iter().enumerate().filter(|(_, watched)| watched.is_optional).filter_map(step).collect()
    }

    /// Those that are gone.
    pub(super) fn ailments(&self, contracts: &Contracts) -> Vec<Ailment> {
        let gone = self.0.iter().filter(|(_, been)| been.is_gone);
        let ailment = |watched: &Watched| Ailment {
            about: watched.path.clone(),
            why: format!("`{}` was on every page, and has been on none of the last {PAGES}", watched.rule),
        };
        gone.filter_map(|(index, _)| contracts.watched.get(*index).map(ailment)).collect()
    }
}

fn note(watched: &Watched, is_gone: bool) -> Note {
    let data = json!({ "field": watched.path, "selector": watched.rule, "pages": PAGES });
    if is_gone { Note::new("vanished", data) } else { Note::new("returned", data) }
}

impl Been {
    /// Counts one tick. `Some` when it is gone for good from here on, or there again.
    fn step(&mut self, is_there: bool) -> Option<bool> {
        if is_there == self.is_there {
            self.run = self.run.saturating_add(1).min(PAGES);
        } else {
            self.was_steady = self.is_there && self.run >= PAGES;
            (self.run, self.is_there) = (1, is_there);
        }
        let is_gone = !is_there && (self.is_gone || self.was_steady && self.run >= PAGES);
        let has_changed = is_gone != self.is_gone;
        self.is_gone = is_gone;
        has_changed.then_some(is_gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, after which page.
    fn said(pages: &[(bool, u32)]) -> Vec<(u32, bool)> {
        let (mut been, mut number, mut said) = (Been::default(), 0, Vec::new());
        for (is_there, count) in pages {
            for _ in 0..*count {
                number += 1;
                said.extend(been.step(*is_there).map(|is_gone| (number, is_gone)));
                // As over a restart, each time.
                been = serde_json::from_str(&serde_json::to_string(&been).unwrap()).unwrap();
            }
        }
        said
    }

    #[test]
    fn what_was_always_there_and_is_gone_is_said_once() {
        assert_eq!(said(&[(true, 20), (false, 100)]), [(40, true)]);
        assert_eq!(said(&[(true, 50), (false, 30), (true, 3), (false, 100)]), [(70, true), (81, false)]);
        assert_eq!(said(&[(true, 19), (false, 100)]), [], "it was not always there");
        assert_eq!(said(&[(false, 100)]), [], "it never was");
        assert_eq!(said(&[(true, 20), (false, 19), (true, 20), (false, 19)]), [], "it comes and goes");
        assert_eq!(
            said(&[(true, 20), (false, 10), (true, 1), (false, 100)]),
            [],
            "it has become one that comes and goes"
        );
    }
}
