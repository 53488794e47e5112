//! Incidents: from what is wrong at each look to what a person is told. Pure: the time and the facts are given.
//!
//! A condition that has held for long enough opens an incident; flapping keeps it open; when all has been well for long
//! enough it is over. A person hears of it once when it opens and once when it is over, however often it is looked at and
//! however often the service is started again in between. What breaks together for one reason is one incident, and more
//! messages than an hour may have are held back and told in one, later.

mod group;
mod incident;
mod quota;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::alert::{About, Event, Kind};

pub use self::rules::Rules;
use incident::{Incident, Member, Recent};
use quota::Quota;

/// Something that is wrong at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What.
    pub kind: Kind,
    /// The source, loader or stream that it is about; empty for the service.
    pub name: String,
    /// Since when, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// The last sign of it; `None` when that is this moment.
    pub last: Option<DateTime<Utc>>,
    /// Of how many ticks in a row, where there are ticks; else zero.
    pub count: u64,
    /// Of how many it is told at once, where its file says so.
    #[serde(default)]
    pub enough: Option<u64>,
    /// Why, in one line.
    pub why: String,
}

impl Condition {
    /// What goes wrong in several ways is one thing: a source that fails and is then refused is one incident.
    fn key(&self) -> String {
        key(self.kind, &self.name)
    }
}

/// What is one thing for a person: the key of everything here.
fn key(kind: Kind, name: &str) -> String {
    match kind {
        Kind::DiskFull | Kind::Stopped => "disk".to_owned(),
        Kind::DiskNearlyFull => "room".to_owned(),
        Kind::Damage => format!("data/{name}"),
        Kind::LoaderParked | Kind::StoreDown | Kind::LoaderBehind => format!("loader/{name}"),
        Kind::BrokenFile => format!("file/{name}"),
        Kind::FieldGone => format!("field/{name}"),
        Kind::Refused | Kind::LayoutChanged | Kind::Blocked | Kind::Broken | Kind::Stalled | Kind::OverBudget => {
            format!("source/{name}")
        }
    }
}

/// Of what nobody knows how it is at this moment: there, nothing opens and nothing is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Everything but a disk that is full, which is why nothing else is known.
    pub all: bool,
    /// Loaders that have just been started.
    pub loaders: BTreeSet<String>,
}

impl Unknown {
    fn has(&self, key: &str) -> bool {
        let loader = key.strip_prefix("loader/");
        (self.all && key != "disk") || loader.is_some_and(|loader| self.loaders.contains(loader))
    }
}

/// What is wrong at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    /// The moment.
    pub now: DateTime<Utc>,
    /// Everything that is wrong.
    pub holds: Vec<Condition>,
    /// What is not known.
    pub unknown: Unknown,
}

/// What a person is to be told, before it is put into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What happened to the incident.
    pub event: Event,
    /// Its kind; of one that is over, the last that was told.
    pub kind: Option<Kind>,
    /// What it was told as before.
    pub before: Vec<Kind>,
    /// Its number.
    pub incident: Option<u64>,
    /// When it began.
    pub since: Option<DateTime<Utc>>,
    /// When all was well.
    pub until: Option<DateTime<Utc>>,
    /// Those that it is about.
    pub about: Vec<About>,
    /// Those that are not well though most are: they go on as an incident of their own, and are told by this.
    pub still: Vec<About>,
    /// What a summary sums up.
    pub parts: Vec<Told>,
    /// How many are held back, or have come and gone untold.
    pub more: u64,
}

impl Told {
    /// Something that has happened, and has no end.
    pub fn happened(kind: Kind, about: Vec<About>, now: DateTime<Utc>) -> Self {
        Self { kind: Some(kind), since: Some(now), about, ..Self::new(Event::Happened) }
    }

    fn new(event: Event) -> Self {
        Self {
            event,
            kind: None,
            before: Vec::new(),
            incident: None,
            since: None,
            until: None,
            about: Vec::new(),
            still: Vec::new(),
            parts: Vec::new(),
            more: 0,
        }
    }
}

/// Every incident, as it is saved.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Incidents {
    /// The number of the next one.
    next: u64,
    /// Those that are open, or whose end has not been told.
    open: Vec<Incident>,
    /// What has happened, and has not been told.
    happened: Vec<Condition>,
    /// What was over not long ago.
    recent: BTreeMap<String, Recent>,
    /// Those that were not asked since all others are well, and the last sign of trouble there.
    excused: BTreeMap<String, DateTime<Utc>>,
    quota: Quota,
    /// Since when each condition is seen that does not know it itself.
    #[serde(skip)]
    seen: BTreeMap<String, DateTime<Utc>>,
    /// Those that are incidents, and wait for others; since when.
    #[serde(skip)]
    due: BTreeMap<String, DateTime<Utc>>,
    /// Whether there is something to save since it was last asked.
    #[serde(skip)]
    is_changed: bool,
}

/// An incident that is open, for those who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its number.
    pub number: u64,
    /// Its kind.
    pub kind: Kind,
    /// When it began.
    pub since: DateTime<Utc>,
    /// Whether anybody was told.
    pub is_told: bool,
    /// Those that it is about.
    pub about: Vec<About>,
}

impl Incidents {
    /// Looks at what is wrong, and returns what is to be told now, in order.
    pub fn look(&mut self, look: &Look, rules: &Rules) -> Vec<Told> {
        let now = look.now;
        let mut holds = BTreeMap::new();
        for condition in &look.holds {
            if condition.kind == Kind::Damage {
                self.happened.push(condition.clone());
                self.is_changed = true;
                continue;
            }
            let urgent: &mut Condition = holds.entry(condition.key()).or_insert_with(|| condition.clone());
            if condition.kind < urgent.kind {
                *urgent = condition.clone();
            }
        }
        self.forget(&holds, look, rules);
        for incident in &mut self.open {
            self.is_changed |= incident.follow(&mut holds, &look.unknown, now);
        }
        self.open_due(holds, now, rules);
        self.close(now, rules);
        self.tell(now, rules)
    }

    /// Whether an incident about this is open.
    pub fn is_open(&self, kind: Kind, name: &str) -> bool {
        let key = key(kind, name);
        self.open.iter().any(|incident| incident.over.is_none() && incident.members.contains_key(&key))
    }

    /// Those that are open.
    pub fn all_open(&self) -> Vec<Open> {
        let open = self.open.iter().filter(|incident| incident.over.is_none());
        let of = |incident: &Incident| Open {
            number: incident.number,
            kind: incident.kind(),
            since: incident.since,
            is_told: incident.told_at.is_some(),
            about: incident.about(),
        };
        open.map(of).collect()
    }

    /// Whether there is something to save since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Forgets what has no meaning any more.
    fn forget(&mut self, holds: &BTreeMap<String, Condition>, look: &Look, rules: &Rules) {
        self.recent.retain(|_, recent| !recent.is_past(look.now, rules));
        self.excused.retain(|key, _| holds.contains_key(key) || look.unknown.has(key));
        self.seen.retain(|key, _| holds.contains_key(key));
        for (key, condition) in holds {
            if condition.since.is_none() {
                self.seen.entry(key.clone()).or_insert(look.now);
            }
        }
    }

    /// Opens incidents of what has held for long enough.
    fn open_due(&mut self, mut holds: BTreeMap<String, Condition>, now: DateTime<Utc>, rules: &Rules) {
        holds.retain(|key, condition| {
            let since = *condition.since.get_or_insert_with(|| self.seen.get(key).copied().unwrap_or(now));
            let is_excused = self.excused.get(key).is_some_and(|last| condition.last.unwrap_or(now) <= *last);
            !is_excused && rules.is_due(condition, since, now)
        });
        self.due.retain(|key, _| holds.contains_key(key));
        let mut by_kind: BTreeMap<Kind, Vec<(String, Condition)>> = BTreeMap::new();
        for (key, condition) in holds {
            self.due.entry(key.clone()).or_insert(now);
            by_kind.entry(condition.kind).or_default().push((key, condition));
        }
        for (kind, all) in by_kind {
            let since = |key: &str| self.due.get(key).copied().unwrap_or(now);
            let first = all.iter().map(|(key, _)| since(key)).min().unwrap_or(now);
            let last = all.iter().map(|(key, _)| since(key)).max().unwrap_or(now);
            if rules.is_whole(first, last, now) || rules::is_urgent(kind) {
                self.open_all(all, now);
            }
        }
    }

    /// Opens incidents of one kind, as few as there are reasons.
    fn open_all(&mut self, all: Vec<(String, Condition)>, now: DateTime<Utc>) {
        self.is_changed = true;
        let mut alone = Vec::new();
        for (key, condition) in all {
            self.due.remove(&key);
            match self.open.iter_mut().find(|incident| incident.takes(&condition, now)) {
                Some(incident) => incident.add(key, &condition, now),
                None => alone.push((key, condition)),
            }
        }
        for group in group::groups(alone) {
            let mut incident = Incident::new(self.next, now);
            self.next += 1;
            for (key, condition) in group {
                incident.add(key, &condition, now);
            }
            let before = incident.members.keys().filter_map(|key| self.recent.get(key));
            incident.returns = before.map(|recent| recent.returns + 1).max().unwrap_or(0);
            self.open.push(incident);
        }
    }

    /// Ends incidents where all has been well for long enough.
    fn close(&mut self, now: DateTime<Utc>, rules: &Rules) {
        let mut rest = Vec::new();
        for incident in &mut self.open {
            let Some(verdict) = incident.verdict(now, rules) else { continue };
            self.is_changed = true;
            for (key, last) in verdict.not_asked {
                self.excused.insert(key, last);
            }
            if !verdict.still.is_empty() {
                let mut child = Incident::new(self.next, now);
                self.next += 1;
                // Whoever heard of the one has heard of its parts.
                child.parent = incident.told_at.is_some().then_some(incident.number);
                (child.told_at, child.said_at) = (incident.told_at, incident.said_at);
                child.told_as.clone_from(&incident.told_as);
                for key in verdict.still {
                    if let Some(member) = incident.members.remove(&key) {
                        child.take(key, member);
                    }
                }
                rest.push(child);
            }
            incident.over = Some(verdict.until);
        }
        self.open.extend(rest);
        // Nobody was told of these, so nobody wants to hear that they are over.
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|incident| incident.over.is_none() || incident.told_at.is_some());
        self.open = kept;
        for incident in gone {
            self.quota.passed += 1;
            self.bury(&incident, now);
        }
    }

    /// An incident has come to its end.
    fn bury(&mut self, incident: &Incident, now: DateTime<Utc>) {
        for key in incident.members.keys() {
            self.recent.insert(key.clone(), Recent { at: now, returns: incident.returns });
        }
        // What its end would have told of is told by itself.
        for child in self.open.iter_mut().filter(|child| child.parent == Some(incident.number)) {
            child.parent = None;
        }
    }

    fn incident(&mut self, number: u64) -> Option<&mut Incident> {
        self.open.iter_mut().find(|incident| incident.number == number)
    }
}

/// One member as others see it.
fn about(member: &Member) -> About {
    let missed = member.missed();
    About {
        name: member.name.clone(),
        since: member.since,
        why: member.why.clone(),
        missed: (missed > 0).then_some(missed),
    }
}
