//! What is told, and what is held back: so many messages in an hour, the most urgent first.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::alert::{About, Event, Kind};

use super::rules::is_urgent;
use super::{Incidents, Rules, Told, about};

const HOUR: TimeDelta = TimeDelta::hours(1);

/// What was told in the last hour.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Quota {
    sent: VecDeque<DateTime<Utc>>,
    /// There was more, which was said.
    is_holding: bool,
    /// How many incidents have come and gone meanwhile.
    pub(super) passed: u64,
}

/// Something that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    kind: Kind,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Happened,
    Opened(u64),
    Worse(u64),
    Over(u64),
    Reminder(u64),
}

impl Quota {
    /// How many were told in the hour before `now`. One of a clock that was set back is none.
    fn used(&mut self, now: DateTime<Utc>) -> usize {
        self.sent.retain(|at| (now - *at).abs() < HOUR);
        self.sent.len()
    }
}

impl Incidents {
    /// What is to be told now, within the quota.
    pub(super) fn tell(&mut self, now: DateTime<Utc>, rules: &Rules) -> Vec<Told> {
        let mut items = self.items(now, rules);
        let used = self.quota.used(now);
        if !self.quota.is_holding {
            self.quota.passed = 0;
        } else if used <= rules.per_hour / 2 {
            self.quota.is_holding = false;
            return self.summary(items, now);
        }
        let mut told = Vec::new();
        // One place is for saying that there is more, and one for what is urgent.
        let places = rules.per_hour.saturating_sub(2);
        let mut held = 0;
        items.retain(|item| {
            let used = self.quota.sent.len();
            let is_open =
                if is_urgent(item.kind) { used < rules.per_hour } else { !self.quota.is_holding && used < places };
            if is_open {
                told.extend(self.told(item.what, now));
                self.quota.sent.push_back(now);
            } else if !matches!(item.what, What::Reminder(_)) {
                held += 1;
            }
            !is_open
        });
        if held > 0 && !self.quota.is_holding && self.quota.sent.len() < rules.per_hour {
            self.quota.is_holding = true;
            self.quota.sent.push_back(now);
            told.push(Told { more: held, ..Told::new(Event::HeldBack) });
        }
        self.is_changed |= !told.is_empty();
        told
    }

    /// Everything that is to be told, the most urgent first.
    fn items(&self, now: DateTime<Utc>, rules: &Rules) -> Vec<Item> {
        let happened = self.happened.first().map(|condition| Item { kind: condition.kind, what: What::Happened });
        let mut items: Vec<Item> = happened.into_iter().collect();
        for incident in &self.open {
            let number = incident.number;
            let what = match (incident.told_at, incident.over) {
                (None, None) => What::Opened(number),
                (Some(_), Some(_)) => What::Over(number),
                (Some(_), None) if incident.members.values().any(|member| member.is_worse) => What::Worse(number),
                (Some(_), None) if incident.is_worth_a_reminder(now, rules) => What::Reminder(number),
                _ => continue,
            };
            items.push(Item { kind: incident.kind(), what });
        }
        items.sort_by_key(|item| (item.kind, item.what));
        items
    }

    /// What was held back, in one message.
    fn summary(&mut self, items: Vec<Item>, now: DateTime<Utc>) -> Vec<Told> {
        self.is_changed = true;
        let mut parts: Vec<Told> = Vec::new();
        for item in items.into_iter().filter(|item| !matches!(item.what, What::Reminder(_))) {
            parts.extend(self.told(item.what, now));
        }
        let passed = std::mem::take(&mut self.quota.passed);
        if parts.is_empty() && passed == 0 {
            return Vec::new();
        }
        self.quota.sent.push_back(now);
        let is_one = parts.len() == 1 && passed == 0;
        if is_one { parts } else { vec![Told { parts, more: passed, ..Told::new(Event::Summary) }] }
    }

    /// Takes an item as told.
    fn told(&mut self, what: What, now: DateTime<Utc>) -> Option<Told> {
        match what {
            What::Happened => Some(self.told_happened(now)),
            What::Opened(number) => {
                let incident = self.incident(number)?;
                incident.told_at = Some(now);
                incident.said_at = Some(now);
                incident.told_as = vec![incident.kind()];
                incident.members.values_mut().for_each(|member| member.is_worse = false);
                Some(of(incident, Event::Opened, incident.about()))
            }
            What::Worse(number) => {
                let incident = self.incident(number)?;
                incident.said_at = Some(now);
                let worse = incident.members.values().filter(|member| member.is_worse).map(about).collect();
                incident.members.values_mut().for_each(|member| member.is_worse = false);
                let told = of(incident, Event::Worse, worse);
                incident.told_as.push(incident.kind());
                Some(told)
            }
            What::Reminder(number) => {
                let incident = self.incident(number)?;
                incident.said_at = Some(now);
                Some(of(incident, Event::Reminder, incident.about()))
            }
            What::Over(number) => {
                let at = self.open.iter().position(|incident| incident.number == number)?;
                let incident = self.open.remove(at);
                let mut told = of(&incident, Event::Over, incident.about());
                told.until = incident.over;
                for child in self.open.iter_mut().filter(|child| child.parent == Some(number)) {
                    child.parent = None;
                    child.said_at = Some(now);
                    told.still.extend(child.about());
                }
                self.bury(&incident, now);
                Some(told)
            }
        }
    }

    /// Everything that has happened, in one.
    fn told_happened(&mut self, now: DateTime<Utc>) -> Told {
        let happened = std::mem::take(&mut self.happened);
        let about = |condition: &super::Condition| About {
            name: condition.name.clone(),
            since: condition.since.unwrap_or(now),
            why: condition.why.clone(),
            missed: None,
        };
        let kind = happened.first().map_or(Kind::Damage, |condition| condition.kind);
        Told::happened(kind, happened.iter().map(about).collect(), now)
    }
}

fn of(incident: &super::Incident, event: Event, about: Vec<About>) -> Told {
    // An end, or a reminder, is of what was told, whatever it has turned into; what is worse is of its new kind.
    let kind = if event == Event::Worse { None } else { incident.told_as.last().copied() };
    let before = incident.told_as.iter().copied().filter(|told| Some(*told) != kind).collect();
    Told {
        kind: Some(kind.unwrap_or_else(|| incident.kind())),
        before,
        incident: Some(incident.number),
        since: Some(incident.since),
        about,
        ..Told::new(event)
    }
}
