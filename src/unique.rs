//! What was written once already: each thing of a list is, however long the list shows it.
//!
//! A thing is known by its id, of 64 bits of hash: one that is made here of what tells it from others, or upstream's own.
//! By its id it is known again in whatever the process left behind. Which were written is remembered as hashes of 64 bits, in generations: whatever is still shown goes over into the youngest, and the
//! oldest is forgotten whole, once there are enough others, or once it is too old. The hashes are saved in small parts beside
//! the cursor: a tick saves only the parts that it changed, in the same frame as its lines.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::{BASE32HEX_NOPAD, BASE64_NOPAD};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::source::Problem;
use crate::units::Span;

/// How many keys are remembered at least, where the file does not say.
pub const REMEMBER: u32 = 100_000;
/// The fewest and the most. A page may have some thousand rows, which all have to be remembered; a million take some
/// 50 MB.
const REMEMBER_MIN: u32 = 1000;
const REMEMBER_MAX: u32 = 1_000_000;
/// What is forgotten sooner is shown again by the next page.
const KEEP_MIN: Duration = Duration::from_mins(1);
/// Longer is for ever.
const KEEP_MAX: Duration = Duration::from_hours(24 * 3660);
/// Where keys are forgotten after a time, a generation is so much of it: that exactly are they forgotten.
const GENERATIONS: i32 = 8;
/// Hashes in one part: what is saved again when one is added is at most 3 KB.
const PART_HASHES: usize = 256;
/// How ids of such records begin.
const LETTER: &str = "u_";

/// How much is remembered of what was written.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// How many are remembered at least.
    pub remember: u32,
    /// How long each is remembered at most that is not shown any more.
    pub keep: Option<Span>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { remember: REMEMBER, keep: None }
    }
}

impl Limits {
    /// What is wrong with them, each with its path below `key`.
    pub fn problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(REMEMBER_MIN..=REMEMBER_MAX).contains(&self.remember) {
            problems.push(Problem::new([key, "remember"], format!("from {REMEMBER_MIN} to {REMEMBER_MAX}")));
        }
        if self.keep.is_some_and(|keep| !(KEEP_MIN..=KEEP_MAX).contains(&keep.0)) {
            problems.push(Problem::new([key, "keep"], "from 1m to ten years; leave it out for longer"));
        }
        problems
    }
}

/// The keys that were written.
pub struct Seen {
    limits: Limits,
    /// The source's name: equal keys of two sources are two records.
    source: String,
    /// What tells parts of another key from those of this.
    mark: String,
    /// The youngest is the last. A key is in one of them.
    generations: VecDeque<Generation>,
    /// The time of the tick.
    now: DateTime<Utc>,
    /// The number of the part that grows, what is in it, and whether it is to be saved.
    last: u32,
    part: Vec<u64>,
    is_changed: bool,
    /// The parts that are full and are to be saved.
    full: Vec<(u32, u64, Vec<u64>)>,
    /// The parts that are or will be saved, and the generation of each.
    saved: BTreeMap<u32, u64>,
    /// Those that are to be forgotten.
    gone: Vec<u32>,
}

/// Keys that were shown last at about one time.
struct Generation {
    number: u64,
    /// When it began: what is in the one before was shown last before that.
    begun: DateTime<Utc>,
    hashes: HashSet<u64>,
}

/// A part as it is saved.
#[derive(Serialize, Deserialize)]
struct Part {
    key: String,
    generation: u64,
    /// When that began, where time counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun: Option<DateTime<Utc>>,
    /// In base 64, 8 bytes each.
    hashes: String,
}

impl Seen {
    /// Nothing was written yet. `by` says what tells one thing from another: what was remembered by something else does
    /// not count. Equal things of two sources are two.
    pub fn new(by: &str, source: &str, limits: Limits) -> Self {
        let mark = blake3::hash(by.as_bytes()).to_hex()[..8].to_owned();
        Self {
            limits,
            source: source.to_owned(),
            mark,
            generations: VecDeque::from([Generation::new(0, DateTime::UNIX_EPOCH)]),
            now: DateTime::UNIX_EPOCH,
            last: 0,
            part: Vec::new(),
            is_changed: false,
            full: Vec::new(),
            saved: BTreeMap::new(),
            gone: Vec::new(),
        }
    }

    /// Takes up what was saved, and records that are written and were not saved with it: the hashes of their ids.
    pub fn recall(
        &mut self,
        parts: &BTreeMap<u32, Box<RawValue>>,
        written: impl IntoIterator<Item = u64>,
        now: DateTime<Utc>,
    ) {
        self.now = now;
        let mut all: BTreeMap<u64, Generation> = BTreeMap::new();
        for (number, part) in parts {
            self.last = self.last.max(*number);
            let part = serde_json::from_str::<Part>(part.get()).ok();
            let Some(part) = part.filter(|part| part.key == self.mark) else {
                self.gone.push(*number);
                continue;
            };
            let hashes = hashes_of(&part);
            let new = || Generation::new(part.generation, part.begun.unwrap_or(now));
            all.entry(part.generation).or_insert_with(new).hashes.extend(&hashes);
            self.saved.insert(*number, part.generation);
            // The last one goes on growing.
            self.part = hashes;
        }
        self.generations = all.into_values().collect();
        if self.generations.is_empty() {
            self.generations.push_back(Generation::new(0, now));
        }
        // What has gone over into a younger one is still in the saved parts of the older.
        for young in (1..self.generations.len()).rev() {
            let hashes = std::mem::take(&mut self.generations[young].hashes);
            self.generations.range_mut(..young).for_each(|old| old.hashes.retain(|hash| !hashes.contains(hash)));
            self.generations[young].hashes = hashes;
        }
        if self.saved.get(&self.last) != Some(&self.young().number) || self.part.len() >= PART_HASHES {
            self.last += 1;
            self.part.clear();
        }
        self.forget();
        for hash in written {
            self.admit(hash);
        }
    }

    /// A tick begins. What has not been shown for too long is forgotten.
    pub fn begin(&mut self, now: DateTime<Utc>) {
        self.now = now;
        let Some(keep) = self.keep() else { return };
        if !self.young().hashes.is_empty() && now - self.young().begun >= keep / GENERATIONS {
            self.grow_old();
        }
        while self.generations.get(1).is_some_and(|next| now - next.begun >= keep) {
            self.generations.pop_front();
        }
        self.forget();
    }

    fn keep(&self) -> Option<TimeDelta> {
        self.limits.keep.and_then(|keep| TimeDelta::from_std(keep.0).ok())
    }

    fn young(&self) -> &Generation {
        self.generations.back().expect("invariant: there is one")
    }

    /// The id of what these values together tell from others, and its hash.
    pub fn made<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> (String, u64) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.source.as_bytes());
        for value in values {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value.as_bytes());
        }
        let hash = hasher.finalize();
        let mut id = format!("{LETTER}{}", BASE32HEX_NOPAD.encode(&hash.as_bytes()[..10]).to_ascii_lowercase());
        if let Some(keep) = self.keep() {
            // What was forgotten is another record when it comes again, which is later by this at least.
            let day = self.now.timestamp().div_euclid(keep.num_seconds());
            id.extend(["_", &format!("{day:x}")]);
        }
        let short = made_hash(&id).expect("invariant: an id of ours has its hash");
        (id, short)
    }

    /// Whether a key was written already.
    pub fn has(&self, hash: u64) -> bool {
        self.generations.iter().any(|generation| generation.hashes.contains(&hash))
    }

    /// Whether a key is new. It is not the next time.
    pub fn admit(&mut self, hash: u64) -> bool {
        if self.young().hashes.contains(&hash) {
            return false;
        }
        // What is still shown is taken along into the youngest generation.
        let is_new = !self.generations.iter_mut().any(|generation| generation.hashes.remove(&hash));
        if self.young().hashes.len() >= self.limits.remember as usize {
            self.grow_old();
        }
        let young = self.generations.back_mut().expect("invariant: there is one");
        young.hashes.insert(hash);
        let generation = young.number;
        if self.part.len() >= PART_HASHES {
            self.begin_part();
        }
        self.part.push(hash);
        self.is_changed = true;
        self.saved.insert(self.last, generation);
        is_new
    }

    fn begin_part(&mut self) {
        let part = std::mem::take(&mut self.part);
        if std::mem::take(&mut self.is_changed) {
            self.full.push((self.last, self.young().number, part));
        }
        self.last += 1;
    }

    fn grow_old(&mut self) {
        self.begin_part();
        self.generations.push_back(Generation::new(self.young().number + 1, self.now));
        self.forget();
    }

    /// Forgets the oldest generations, as long as the others are enough, and what was saved of those that are forgotten.
    fn forget(&mut self) {
        let mut all: usize = self.generations.iter().map(|generation| generation.hashes.len()).sum();
        while self.generations.len() > 1 && all - self.generations[0].hashes.len() >= self.limits.remember as usize {
            all -= self.generations[0].hashes.len();
            self.generations.pop_front();
        }
        let oldest = self.generations[0].number;
        let gone = &mut self.gone;
        self.saved.retain(|number, generation| {
            let is_kept = *generation >= oldest;
            gone.extend((!is_kept).then_some(*number));
            is_kept
        });
    }

    /// The parts that are to be saved with the records that were admitted; `None` forgets one.
    pub fn parts(&mut self) -> Vec<(u32, Option<Box<RawValue>>)> {
        let mut parts: Vec<_> = std::mem::take(&mut self.gone).into_iter().map(|number| (number, None)).collect();
        for (number, generation, hashes) in std::mem::take(&mut self.full) {
            if self.saved.contains_key(&number) {
                parts.push((number, Some(self.packed(generation, &hashes))));
            }
        }
        if std::mem::take(&mut self.is_changed) {
            parts.push((self.last, Some(self.packed(self.young().number, &self.part))));
        }
        parts
    }

    fn packed(&self, generation: u64, hashes: &[u64]) -> Box<RawValue> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        let is_it = |known: &&Generation| known.number == generation && self.limits.keep.is_some();
        let begun = self.generations.iter().find(is_it).map(|known| known.begun);
        let part = Part { key: self.mark.clone(), generation, begun, hashes: BASE64_NOPAD.encode(&bytes) };
        to_raw_value(&part).expect("invariant: our own types have a JSON form")
    }
}

impl Generation {
    fn new(number: u64, begun: DateTime<Utc>) -> Self {
        Self { number, begun, hashes: HashSet::new() }
    }
}

fn hashes_of(part: &Part) -> Vec<u64> {
    let bytes = BASE64_NOPAD.decode(part.hashes.as_bytes()).unwrap_or_default();
    bytes.chunks_exact(8).map(|hash| u64::from_le_bytes(hash.try_into().expect("invariant: chunks of eight"))).collect()
}

/// The hash of an id that was made by [`Seen::made`].
pub fn made_hash(id: &str) -> Option<u64> {
    let digits = id.strip_prefix(LETTER)?.split('_').next()?.to_ascii_uppercase();
    let bytes = BASE32HEX_NOPAD.decode(digits.as_bytes()).ok()?;
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

/// The hash of any id: of one that was made here, its own.
pub fn hash(id: &str) -> u64 {
    made_hash(id).unwrap_or_else(|| {
        let hash = blake3::hash(id.as_bytes());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("invariant: eight of 32 bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Store = BTreeMap<u32, Box<RawValue>>;

    fn seen(remember: u32) -> Seen {
        Seen::new("link", "news", Limits { remember, keep: None })
    }

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + hour * 3600, 0).unwrap()
    }

    /// Saves as the driver does; how many bytes that were.
    fn save(seen: &mut Seen, store: &mut Store) -> usize {
        let parts = seen.parts();
        let bytes = parts.iter().filter_map(|(_, part)| part.as_ref()).map(|part| part.get().len()).sum();
        for (number, part) in parts {
            match part {
                Some(part) => drop(store.insert(number, part)),
                None => drop(store.remove(&number)),
            }
        }
        bytes
    }

    fn restarted(store: &Store, remember: u32) -> Seen {
        let mut seen = seen(remember);
        seen.recall(store, [], at(0));
        seen
    }

    #[test]
    fn a_key_is_new_once_over_restarts() {
        let mut store = Store::new();
        let mut all = seen(1000);
        for round in 0..20_u64 {
            for hash in round * 100..(round + 1) * 100 {
                assert!(all.admit(hash), "{hash}");
                assert!(!all.admit(hash), "{hash}");
            }
            assert!(save(&mut all, &mut store) < 8000, "only what has changed is saved");
            if round % 3 == 0 {
                all = restarted(&store, 1000);
            }
        }
        let mut again = restarted(&store, 1000);
        assert!((1000..2000).all(|hash| !again.admit(hash)), "the last thousand are known");
        assert!(store.values().map(|part| part.get().len()).sum::<usize>() < 40_000, "what is saved is bounded");
    }

    /// What is shown for ever is written once, though ten times as much as is remembered comes and goes.
    #[test]
    fn what_is_still_shown_is_not_forgotten() {
        let (mut store, mut all) = (Store::new(), seen(1000));
        assert!(all.admit(7));
        for hash in 1000..20_000 {
            all.admit(hash);
            assert!(!all.admit(7), "{hash}");
            if hash % 500 == 0 {
                save(&mut all, &mut store);
                all = restarted(&store, 1000);
            }
        }
        assert!(all.generations.iter().map(|generation| generation.hashes.len()).sum::<usize>() <= 2000);
        assert!(all.admit(1000), "the oldest are forgotten");
    }

    #[test]
    fn what_is_written_and_not_saved_is_known() {
        let mut all = seen(1000);
        let (id, hash) = all.made(["/a"]);
        all.recall(&Store::new(), [id, "r_1_0_abc".into()].iter().filter_map(|id| made_hash(id)), at(0));
        assert!(!all.admit(hash));
        assert_eq!(all.parts().len(), 1, "and is saved with the next");
    }

    #[test]
    fn another_key_forgets_the_parts_of_this() {
        let (mut store, mut all) = (Store::new(), seen(1000));
        all.admit(7);
        save(&mut all, &mut store);
        let mut other = Seen::new("title", "news", Limits { remember: 1000, keep: None });
        other.recall(&store, [], at(0));
        assert!(other.admit(7));
        save(&mut other, &mut store);
        assert_eq!(store.len(), 1);
        assert!(!restarted(&store, 1000).has(7));
    }

    #[test]
    fn a_made_id_is_of_its_values_and_its_source() {
        let [one, other] = ["one", "other"].map(|source| Seen::new("a", source, Limits::default()));
        let (first, hash) = one.made(["x", "1"]);
        assert!(first.starts_with("u_") && first.len() == 18, "{first}");
        assert_eq!(super::hash(&first), hash);
        for other in [other.made(["x", "1"]), one.made(["x1"]), one.made(["1", "x"]), one.made(["x", "1", ""])] {
            assert_ne!(first, other.0);
        }
        assert_ne!(super::hash("x_1"), super::hash("x_2"));
        assert_eq!(made_hash("x_1"), None);
    }

    /// As `seen`, for a day.
    fn seen_for_a_day(remember: u32) -> Seen {
        let keep = Some(Span(Duration::from_hours(24)));
        Seen::new("link", "news", Limits { remember, keep })
    }

    /// Shown until the fifth hour, over restarts: it is known for a day after that, and forgotten three hours later.
    #[test]
    fn what_is_not_shown_any_more_is_forgotten_after_its_time() {
        let (mut store, mut all) = (Store::new(), seen_for_a_day(1000));
        let mut is_new = Vec::new();
        for hour in 0..72 {
            all.begin(at(hour));
            if hour <= 5 || hour == 29 || hour > 29 + 27 {
                is_new.extend(all.admit(7).then_some(hour));
            }
            // Something else that is shown all the time, and things that come and go.
            assert_eq!(all.admit(8), hour == 0, "{hour}");
            assert!(all.admit(1000 + u64::try_from(hour).unwrap()));
            save(&mut all, &mut store);
            if hour % 7 == 0 {
                all = seen_for_a_day(1000);
                all.recall(&store, [], at(hour));
            }
        }
        assert_eq!(is_new, [0, 29 + 28], "in the 29th hour it is known, and after 28 hours more it is new");
        assert!(all.generations.len() <= 10, "{}", all.generations.len());
        let kept: usize = all.generations.iter().map(|generation| generation.hashes.len()).sum();
        assert!((24..=30).contains(&kept), "what came within a day, and little more: {kept}");
        let hashes: usize =
            store.values().map(|part| hashes_of(&serde_json::from_str(part.get()).unwrap()).len()).sum();
        assert!(hashes <= 50, "nor is more saved: {hashes}");
        // Nothing at all is shown for two days.
        all.begin(at(72 + 48));
        all.begin(at(72 + 96));
        assert!(!all.has(8));
    }

    /// One that is forgotten and comes again is another record: stores know records by their ids.
    #[test]
    fn what_comes_again_has_another_id() {
        let mut all = seen_for_a_day(1000);
        let mut hours = 0..;
        let mut id = |hour| {
            hours.by_ref().take_while(|at_hour| *at_hour < hour).for_each(|hour| all.begin(at(hour)));
            all.begin(at(hour));
            let (id, hash) = all.made(["/a"]);
            assert_eq!(made_hash(&id), Some(hash), "{id}");
            (all.admit(hash), id)
        };
        let ids = [id(0), id(20), id(44 + 25), id(44 + 26)];
        assert_eq!(ids.each_ref().map(|(is_new, _)| *is_new), [true, false, true, false]);
        assert_ne!(ids[0].1, ids[2].1);
        // The same over a restart, whichever day it was written on.
        let mut again = seen_for_a_day(1000);
        again.recall(&Store::new(), made_hash(&ids[0].1), at(70));
        let (_, hash) = again.made(["/a"]);
        assert!(!again.admit(hash));
    }

    /// A file that says `keep` from now on begins with what it knows.
    #[test]
    fn a_time_may_be_said_later() {
        let (mut store, mut all) = (Store::new(), seen(1000));
        all.admit(7);
        save(&mut all, &mut store);
        let mut all = seen_for_a_day(1000);
        all.recall(&store, [], at(100));
        all.begin(at(123));
        assert!(all.has(7));
        all.begin(at(148));
        assert!(!all.has(7));
    }

    fn places(seen: &Seen) -> usize {
        seen.generations.iter().map(|generation| generation.hashes.capacity()).sum()
    }

    /// The same with a time: a million keys a day, and a day is what is kept.
    #[test]
    fn a_million_keys_a_day_take_bounded_memory() {
        let mut all = seen_for_a_day(REMEMBER_MAX);
        let (mut most, mut saved) = (0, 0);
        for hour in 0..24 * 4 {
            all.begin(at(hour));
            for number in 0..42_000_u64 {
                let hash = u64::try_from(hour).unwrap() * 42_000 + number;
                assert!(all.admit(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            }
            all.parts();
            most = most.max(places(&all));
            saved = saved.max(all.saved.len());
        }
        assert!(most <= 4_000_000, "{most} places");
        assert!(saved <= 2 * REMEMBER_MAX as usize / PART_HASHES + 20, "{saved} parts");
    }

    /// The pass test of a long life: a million keys, and memory that does not grow with more.
    #[test]
    fn g16_a_million_keys_take_bounded_memory() {
        let mut all = seen(REMEMBER_MAX);
        for hash in 0..3_000_000_u64 {
            // As a driver does, now and then.
            if hash % 100_000 == 0 {
                all.parts();
            }
            assert!(all.admit(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        }
        assert!(places(&all) <= 4_000_000, "two tables of two million places");
        assert!(all.saved.len() <= 2 * REMEMBER_MAX as usize / PART_HASHES + 2);
        assert!(all.full.len() <= 100_000 / PART_HASHES + 1);
    }
}
