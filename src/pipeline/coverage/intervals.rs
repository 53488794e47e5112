//! Sets of time: half-open intervals in microseconds since 1970, and the arithmetic that makes sums exact.
//!
//! Whole numbers only, so that what is covered and what is not add up to the whole to the microsecond.

use std::collections::BTreeMap;

/// The time from `from` up to, and without, `to`; in microseconds since 1970. Empty unless `from` is before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The first microsecond.
    pub from: i64,
    /// The first microsecond after it.
    pub to: i64,
}

impl Interval {
    /// The interval between two times.
    pub fn new(from: i64, to: i64) -> Self {
        Self { from, to }
    }

    /// Whether there is no time in it.
    pub fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// Its length in microseconds.
    pub fn length(self) -> i64 {
        if self.is_empty() { 0 } else { self.to.saturating_sub(self.from) }
    }

    /// What it has in common with another; empty when that is nothing.
    #[must_use]
    pub fn clipped(self, to: Self) -> Self {
        Self { from: self.from.max(to.from), to: self.to.min(to.to) }
    }
}

/// A set of times, kept as intervals that neither overlap nor touch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Intervals(BTreeMap<i64, i64>);

impl Intervals {
    /// Adds an interval, and returns those parts of it that were not there before, in order.
    pub fn insert(&mut self, interval: Interval) -> Vec<Interval> {
        if interval.is_empty() {
            return Vec::new();
        }
        let new = self.outside(interval);
        let mut merged = interval;
        while let Some((&from, &to)) = self.0.range(..=merged.to).next_back().filter(|(_, to)| **to >= merged.from) {
            merged = Interval { from: merged.from.min(from), to: merged.to.max(to) };
            self.0.remove(&from);
        }
        self.0.insert(merged.from, merged.to);
        new
    }

    /// The parts of `interval` that are in the set, in order.
    pub fn inside(&self, interval: Interval) -> Vec<Interval> {
        let first = self.0.range(..=interval.from).next_back().map_or(interval.from, |(from, _)| *from);
        let near = self.0.range(first..interval.to.max(first)).map(|(&from, &to)| Interval { from, to });
        near.map(|each| each.clipped(interval)).filter(|each| !each.is_empty()).collect()
    }

    /// The parts of `interval` that are not in the set, in order.
    pub fn outside(&self, interval: Interval) -> Vec<Interval> {
        let mut parts = Vec::new();
        let mut from = interval.from;
        for inside in self.inside(interval) {
            parts.push(Interval { from, to: inside.from });
            from = inside.to;
        }
        parts.push(Interval { from, to: interval.to });
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// What is in this set, in the other, or in both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.iter().flat_map(|each| other.inside(each)).collect()
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.iter().flat_map(|each| other.outside(each)).collect()
    }

    /// The time in it, in microseconds.
    pub fn length(&self) -> i64 {
        self.iter().map(Interval::length).sum()
    }

    /// Its intervals in order. No two of them touch.
    pub fn iter(&self) -> impl Iterator<Item = Interval> {
        self.0.iter().map(|(&from, &to)| Interval { from, to })
    }
}

impl FromIterator<Interval> for Intervals {
    fn from_iter<I: IntoIterator<Item = Interval>>(intervals: I) -> Self {
        let mut set = Self::default();
        for interval in intervals {
            set.insert(interval);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The microseconds themselves: what the sets stand for.
    fn moments(set: &Intervals) -> BTreeSet<i64> {
        set.iter().flat_map(|each| each.from..each.to).collect()
    }

    fn apart(set: &Intervals) -> bool {
        let all: Vec<Interval> = set.iter().collect();
        all.iter().all(|each| !each.is_empty()) && all.windows(2).all(|pair| pair[0].to < pair[1].from)
    }

    fn interval() -> impl Strategy<Value = Interval> {
        // Empty ones and reversed ones are among them: a clock that was set back makes those.
        (-40_i64..40, -3_i64..12).prop_map(|(from, length)| Interval { from, to: from + length })
    }

    fn intervals() -> impl Strategy<Value = Vec<Interval>> {
        proptest::collection::vec(interval(), 0..12)
    }

    proptest! {
        #[test]
        fn sets_are_what_their_moments_are(one in intervals(), other in intervals(), asked in interval()) {
            let (a, b): (Intervals, Intervals) = (one.iter().copied().collect(), other.iter().copied().collect());
            let (in_a, in_b) = (moments(&a), moments(&b));
            let expected: BTreeSet<i64> = one.iter().flat_map(|each| each.from..each.to).collect();
            prop_assert_eq!(&in_a, &expected);
            for set in [&a, &b, &a.union(&b), &a.intersection(&b), &a.difference(&b)] {
                prop_assert!(apart(set), "{:?}", set);
            }
            prop_assert_eq!(moments(&a.union(&b)), in_a.union(&in_b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(moments(&a.intersection(&b)), in_a.intersection(&in_b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(moments(&a.difference(&b)), in_a.difference(&in_b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(a.length(), i64::try_from(in_a.len()).unwrap());
            prop_assert_eq!(a.intersection(&b).length() + a.difference(&b).length(), a.length());
            let (inside, outside) = (a.inside(asked), a.outside(asked));
            let lengths = |parts: &[Interval]| parts.iter().map(|part| part.length()).sum::<i64>();
            prop_assert_eq!(lengths(&inside) + lengths(&outside), asked.length());
            prop_assert!(inside.iter().all(|part| (part.from..part.to).all(|moment| in_a.contains(&moment))));
            prop_assert!(outside.iter().all(|part| (part.from..part.to).all(|moment| !in_a.contains(&moment))));
        }

        #[test]
        fn what_is_new_is_told_once(all in intervals()) {
            let mut set = Intervals::default();
            let mut told = 0;
            for each in all {
                told += set.insert(each).into_iter().map(Interval::length).sum::<i64>();
                prop_assert_eq!(set.insert(each), []);
            }
            prop_assert_eq!(told, set.length());
        }
    }
}
