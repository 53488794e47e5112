//! One incident: those that it is about, and whether it is over.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::alert::{About, Kind, plain};

use super::group::{MANY, cause};
use super::{Condition, Rules, Unknown, about};

/// What is kept of a reason, in characters.
const WHY_MAX: usize = 300;

/// So many reasons of an incident are remembered.
const CAUSES_MAX: usize = 20;

/// Who begins to fail so soon after the others belongs to them, whatever is said there.
const TOGETHER: TimeDelta = TimeDelta::minutes(15);

/// Who fails for the same reason belongs to them for so long: a source that asks each hour sees it late.
const LATE: TimeDelta = TimeDelta::hours(2);

/// Once most are well, the others get so much longer before they are an incident of their own.
const SETTLE: TimeDelta = TimeDelta::minutes(10);

/// An incident that comes back needs twice as long to be over, so often and no longer than this.
const RETURNS_MAX: u32 = 6;
const CALM_MAX: TimeDelta = TimeDelta::hours(2);

/// One that comes back within so long comes back.
const RETURN_WITHIN: TimeDelta = TimeDelta::hours(2);

/// An incident.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Incident {
    pub(super) number: u64,
    /// When it was opened, which is some time after it began.
    opened_at: DateTime<Utc>,
    pub(super) since: DateTime<Utc>,
    /// The kinds that it was told as, the last one last.
    #[serde(default)]
    pub(super) told_as: Vec<Kind>,
    /// When its opening was told.
    #[serde(default)]
    pub(super) told_at: Option<DateTime<Utc>>,
    /// When anything of it was last told.
    #[serde(default)]
    pub(super) said_at: Option<DateTime<Utc>>,
    /// When all was well, once that is certain.
    #[serde(default)]
    pub(super) over: Option<DateTime<Utc>>,
    /// The incident that it was a part of, whose end tells of this one too.
    #[serde(default)]
    pub(super) parent: Option<u64>,
    /// How often it has come back.
    #[serde(default)]
    pub(super) returns: u32,
    pub(super) members: BTreeMap<String, Member>,
    /// Why, without what differs.
    #[serde(default)]
    causes: BTreeSet<String>,
}

/// One of those that an incident is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) since: DateTime<Utc>,
    pub(super) why: String,
    /// The last sign of it.
    last: DateTime<Utc>,
    /// Since when it is well.
    #[serde(default)]
    well_since: Option<DateTime<Utc>>,
    /// Ticks of the row that goes on, and those of earlier ones.
    #[serde(default)]
    count: u64,
    #[serde(default)]
    before: u64,
    /// It does not pass by itself any more, which has not been told.
    #[serde(default)]
    pub(super) is_worse: bool,
}

/// What was over not long ago.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recent {
    pub(super) at: DateTime<Utc>,
    pub(super) returns: u32,
}

/// That an incident is over.
pub(super) struct Verdict {
    /// When all was well.
    pub(super) until: DateTime<Utc>,
    /// Those that were not asked since, and the last sign of trouble there.
    pub(super) not_asked: Vec<(String, DateTime<Utc>)>,
    /// Those that were, and are not well.
    pub(super) still: Vec<String>,
}

impl Recent {
    pub(super) fn is_past(&self, now: DateTime<Utc>, rules: &Rules) -> bool {
        now - self.at > RETURN_WITHIN.max(calm(self.returns, rules))
    }
}

/// For how long all must have been well.
fn calm(returns: u32, rules: &Rules) -> TimeDelta {
    let doubled = rules.over_after * (1 << returns.min(RETURNS_MAX));
    doubled.min(CALM_MAX.max(rules.over_after))
}

impl Member {
    fn new(condition: &Condition, now: DateTime<Utc>) -> Self {
        Self {
            kind: condition.kind,
            name: condition.name.clone(),
            since: condition.since.unwrap_or(now),
            why: plain(&condition.why, WHY_MAX).into_owned(),
            last: condition.last.unwrap_or(now),
            well_since: None,
            count: condition.count,
            before: 0,
            is_worse: false,
        }
    }

    /// How many ticks have failed.
    pub(super) fn missed(&self) -> u64 {
        self.before + self.count
    }

    fn follow(&mut self, condition: &Condition, now: DateTime<Utc>) {
        self.well_since = None;
        self.last = condition.last.unwrap_or(now);
        if condition.count < self.count {
            self.before += self.count;
        }
        self.count = condition.count;
        self.is_worse |= condition.kind != self.kind && matches!(condition.kind, Kind::Refused | Kind::LoaderParked);
        self.kind = condition.kind;
        self.why = plain(&condition.why, WHY_MAX).into_owned();
    }
}

impl Incident {
    pub(super) fn new(number: u64, now: DateTime<Utc>) -> Self {
        Self {
            number,
            opened_at: now,
            since: now,
            told_as: Vec::new(),
            told_at: None,
            said_at: None,
            over: None,
            parent: None,
            returns: 0,
            members: BTreeMap::new(),
            causes: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, key: String, condition: &Condition, now: DateTime<Utc>) {
        self.take(key, Member::new(condition, now));
    }

    pub(super) fn take(&mut self, key: String, member: Member) {
        self.since = self.since.min(member.since);
        if self.causes.len() < CAUSES_MAX {
            self.causes.insert(cause(&member.why));
        }
        self.members.insert(key, member);
    }

    /// The most urgent of its kinds.
    pub(super) fn kind(&self) -> Kind {
        self.members.values().map(|member| member.kind).min().unwrap_or(Kind::Broken)
    }

    pub(super) fn about(&self) -> Vec<About> {
        self.members.values().map(about).collect()
    }

    fn are_many(&self) -> bool {
        self.members.len() >= MANY
    }

    /// Whether what breaks now belongs to this.
    pub(super) fn takes(&self, condition: &Condition, now: DateTime<Utc>) -> bool {
        let is_of_kind = self.over.is_none() && self.are_many() && self.kind() == condition.kind;
        let is_together = condition.since.unwrap_or(now) <= self.since + TOGETHER;
        let is_late = now - self.opened_at <= LATE && self.causes.contains(&cause(&condition.why));
        is_of_kind && (is_together || is_late)
    }

    /// Takes from what is wrong that which is known here, and notes what is well. Returns whether it goes on after an end
    /// that nobody was told of.
    pub(super) fn follow(
        &mut self,
        holds: &mut BTreeMap<String, Condition>,
        unknown: &Unknown,
        now: DateTime<Utc>,
    ) -> bool {
        let mut goes_on = false;
        for (key, member) in &mut self.members {
            match holds.remove(key) {
                Some(condition) => {
                    member.follow(&condition, now);
                    goes_on |= self.over.take().is_some();
                }
                None if unknown.has(key) => member.well_since = None,
                None => {
                    member.well_since.get_or_insert(now);
                }
            }
        }
        goes_on
    }

    /// Whether it is over.
    pub(super) fn verdict(&self, now: DateTime<Utc>, rules: &Rules) -> Option<Verdict> {
        if self.over.is_some() {
            return None;
        }
        let calm = calm(self.returns, rules);
        let is_well = |member: &Member| member.well_since.is_some_and(|since| now - since >= calm);
        let mut well: Vec<DateTime<Utc>> =
            self.members.values().filter(|member| is_well(member)).filter_map(|member| member.well_since).collect();
        well.sort_unstable();
        let until = well.last().copied().unwrap_or(now);
        if well.len() == self.members.len() {
            return Some(Verdict { until, not_asked: Vec::new(), still: Vec::new() });
        }
        // When three of four were well.
        let turned = well.get((self.members.len() * 3).div_ceil(4) - 1).copied().filter(|_| self.are_many())?;
        let others = self.members.iter().filter(|(_, member)| !is_well(member));
        let (not_asked, still): (Vec<_>, Vec<_>) =
            others.partition(|(_, member)| member.well_since.is_none() && member.last <= turned);
        if !still.is_empty() && now - turned < calm + SETTLE {
            return None;
        }
        let not_asked = not_asked.into_iter().map(|(key, member)| (key.clone(), member.last)).collect();
        Some(Verdict { until, not_asked, still: still.into_iter().map(|(key, _)| key.clone()).collect() })
    }

    /// Whether it is time to say that it goes on: long after it was last spoken of, and not without a sign of it for most
    /// of that time. Of a market that is closed there is nothing to say.
    pub(super) fn is_worth_a_reminder(&self, now: DateTime<Utc>, rules: &Rules) -> bool {
        let Some(said_at) = self.said_at.filter(|at| now - *at >= rules.remind_every) else { return false };
        let signs = self.members.values().filter(|member| member.well_since.is_none()).map(|member| member.last);
        signs.max().is_some_and(|last| last - said_at > rules.remind_every / 2)
    }
}
