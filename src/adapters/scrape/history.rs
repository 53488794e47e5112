//! What the last pages said, kept in the cursor: it judges the values of the next one, and lends those that are missing.
//!
//! A value that is too far from the last one is refused, with its record. It is a new level, and no mistake, once the
//! values that follow agree with each other (each within the limit of the one before) and have moved as often as the file
//! asks: a market that has opened elsewhere or a share that was split moves on, while an instalment, a price of last year
//! or a place-holder stands still. Fields of one record that have jumped together need only one of them to move: of a
//! share that was split, the day's opening price stands still too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::contract::{Contracts, STAND_INS, StandIn, Watched};
use super::emit::{hash, members};
use super::extract::Extraction;
use super::number::Decimal;
use super::presence::{Look, Presence, Tick};
use super::rows::with_member;
use super::trust::{AcceptAfter, Limit};
use crate::item::{Item, Reject};
use crate::source::{Ailment, Note, Outcome};

/// Rows that are remembered one by one: the cursor is saved with every tick, and must stay small.
pub(super) const ROWS_MAX: usize = 2000;
/// A longer value is not remembered.
const VALUE_BYTES_MAX: usize = 4096;

/// What is remembered of the pages so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// By a hash of the row's key, what is known of its fields, by their number among those that are watched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rows: BTreeMap<String, BTreeMap<usize, Known>>,
    /// The fields for which something stood in at the last tick.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    standing_in: BTreeSet<usize>,
    #[serde(default, skip_serializing_if = "Presence::is_empty")]
    presence: Presence,
    /// Of this tick: what its pages have, and its rows, as many as are remembered.
    #[serde(skip)]
    tick: Tick,
    #[serde(skip)]
    seen: BTreeSet<String>,
}

/// What a page is held against.
pub(super) struct Scope<'a> {
    pub(super) contracts: &'a Contracts,
    /// Which page it is, where values of one say nothing of those of another.
    pub(super) page: &'a str,
    /// So many rows are remembered.
    pub(super) rows_max: usize,
}

/// What is known of one field of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// The value that was last written, as JSON.
    last: String,
    /// What may become a new level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<Level>,
}

/// Values that are too far from the last one, and agree with each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Level {
    /// The newest of them.
    value: String,
    pages: u32,
    moves: u32,
}

/// What is thought of one value.
enum Verdict {
    Near,
    /// It is too far, and agrees with those before it as often as the file asks, or never will.
    Far {
        level: Level,
        is_new_level: bool,
        reason: String,
    },
}

impl History {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A page is the last one again; `look` is what that had, where it is known.
    pub(super) fn again(&mut self, look: Option<&Look>) {
        self.tick.add(look);
    }

    /// All pages of a tick have been judged: what there is to say of them together.
    pub(super) fn close(&mut self, contracts: &Contracts) -> Vec<Note> {
        let tick = std::mem::take(&mut self.tick);
        self.seen.clear();
        let mut notes = self.presence.count(contracts, &tick);
        self.note_stand_ins(contracts, &tick, &mut notes);
        notes
    }

    /// What is not as it should be, though records come.
    pub(super) fn ailments(&self, contracts: &Contracts) -> Vec<Ailment> {
        self.presence.ailments(contracts)
    }

    /// Judges what a page became: takes out the records that are not believed, and lends values to those that lack some.
    /// `raw` finds the text of a field's value on the page. Also what the page has.
    pub(super) fn judge(
        &mut self,
        scope: &Scope<'_>,
        extraction: &mut Extraction,
        mut raw: impl FnMut(&str, &str) -> Option<String>,
    ) -> (Vec<Note>, Look) {
        let contracts = scope.contracts;
        if contracts.watched.is_empty() {
            return <_>::default();
        }
        let mut notes = Vec::new();
        let mut look = Look::of(contracts, &extraction.rows);
        for mut row in std::mem::take(&mut extraction.rows) {
            let key = key_of(scope, &row.item);
            let known = self.rows.entry(key.clone()).or_default();
            if self.seen.len() < scope.rows_max {
                self.seen.insert(key);
            }
            let judged = lend(contracts, known, &mut row.item).and_then(|lent| {
                believe(contracts, known, &row.item, &lent, &mut notes, &mut raw)?;
                Ok(lent)
            });
            match judged {
                Ok(lent) => {
                    look.stood_in.extend(lent);
                    extraction.rows.push(row);
                }
                Err(reject) => {
                    extraction.reject(reject);
                }
            }
        }
        self.rows.retain(|_, known| !known.is_empty());
        // Those that are not shown any more are forgotten, once there are too many.
        if self.rows.len() > scope.rows_max {
            self.rows.retain(|key, _| self.seen.contains(key));
        }
        self.tick.add(Some(&look));
        (notes, look)
    }

    /// Says once that something stands in for a field, and once that it does not any more.
    fn note_stand_ins(&mut self, contracts: &Contracts, tick: &Tick, notes: &mut Vec<Note>) {
        for (index, watched) in contracts.watched.iter().enumerate() {
            let (Some(stand_in), Some(is)) = (&watched.stand_in, tick.stands_in(index)) else { continue };
            let has_changed = if is { self.standing_in.insert(index) } else { self.standing_in.remove(&index) };
            if has_changed {
                let by = is.then(|| stand_in.word());
                notes.push(Note::new("stand_in", json!({ "field": watched.path, "selector": watched.rule, "by": by })));
            }
        }
    }
}

/// Which row it is, among those of all pages.
fn key_of(scope: &Scope<'_>, item: &Item) -> String {
    let members = members(item.data.get());
    let key =
        scope.contracts.key.as_ref().map_or("", |key| members.get(key.as_str()).map_or("null", |value| value.get()));
    hash(&[scope.page, key])
}

/// Puts values in for those that are not there, and says in the record which. Returns their numbers.
fn lend(contracts: &Contracts, known: &BTreeMap<usize, Known>, item: &mut Item) -> Result<BTreeSet<usize>, Reject> {
    let mut lent = BTreeSet::new();
    let mut words = serde_json::Map::new();
    let mut data: Option<String> = None;
    for (index, watched) in contracts.watched.iter().enumerate() {
        let Some(stand_in) = &watched.stand_in else { continue };
        let text = data.as_deref().unwrap_or(item.data.get());
        let Some(range) = watched.range_in(text).filter(|range| &text[range.clone()] == "null") else { continue };
        let value = match stand_in {
            StandIn::Default(json) => json,
            StandIn::Last => {
                let Some(known) = known.get(&index) else {
                    let reason =
                        format!("`{}` is not there, and no value came before that could stand in", watched.rule);
                    return Err(Reject::new(Outcome::Missing, Some(watched.path.clone()), reason, text));
                };
                &known.last
            }
        };
        let mut text = text.to_owned();
        text.replace_range(range, value);
        data = Some(text);
        lent.insert(index);
        words.insert(watched.names.join("."), stand_in.word().into());
    }
    if let Some(data) = data {
        let member = format!("\"{STAND_INS}\":{}", serde_json::Value::Object(words));
        item.data = with_member(&data, &member);
    }
    Ok(lent)
}

/// Whether all values of a record are believed that the page has; then they are the last ones.
fn believe(
    contracts: &Contracts,
    known: &mut BTreeMap<usize, Known>,
    item: &Item,
    lent: &BTreeSet<usize>,
    notes: &mut Vec<Note>,
    raw: &mut impl FnMut(&str, &str) -> Option<String>,
) -> Result<(), Reject> {
    let data = item.data.get();
    let there = |(index, watched): (usize, &Watched)| {
        let value = &data[watched.range_in(data)?];
        let counts = value != "null" && value.len() <= VALUE_BYTES_MAX && !lent.contains(&index);
        counts.then(|| value.to_owned())
    };
    let values: Vec<Option<String>> = contracts.watched.iter().enumerate().map(there).collect();
    let mut far = Vec::new();
    for (index, (watched, value)) in contracts.watched.iter().zip(&values).enumerate() {
        let (Some((limit, accept_after)), Some(value), Some(before)) = (&watched.jump, value, known.get_mut(&index))
        else {
            continue;
        };
        match verdict(limit, *accept_after, before, value) {
            Verdict::Near => before.level = None,
            Verdict::Far { level, is_new_level, reason } => {
                before.level = Some(level);
                far.push((index, is_new_level, reason));
            }
        }
    }
    let is_new_level = far.iter().any(|(_, is_new_level, _)| *is_new_level);
    if let Some((index, _, reason)) = far.first().filter(|_| !is_new_level) {
        let watched = &contracts.watched[*index];
        let value = values[*index].as_deref().unwrap_or_default();
        let raw = raw(&watched.path, value).unwrap_or_else(|| value.to_owned());
        return Err(Reject::new(Outcome::Invalid, Some(watched.path.clone()), reason.clone(), &raw));
    }
    for (index, _, _) in &far {
        let (watched, before) = (&contracts.watched[*index], &known[index]);
        let pages = before.level.as_ref().map_or(0, |level| level.pages);
        // As texts: whoever reads a ledger with floats has all their digits.
        let note = json!({ "field": watched.path, "before": before.last, "after": values[*index], "pages": pages });
        notes.push(Note::new("new_level", note));
    }
    for (index, (watched, value)) in contracts.watched.iter().zip(values).enumerate() {
        if let Some(value) = value.filter(|_| watched.is_remembered()) {
            known.insert(index, Known { last: value, level: None });
        }
    }
    Ok(())
}

fn verdict(limit: &Limit, accept_after: AcceptAfter, known: &Known, value: &str) -> Verdict {
    let is_far = |before: &str| match (amount(before), amount(value)) {
        (Some((before, of)), Some((now, unit))) => of != unit || limit.is_exceeded(&before, &now),
        _ => true,
    };
    if !is_far(&known.last) {
        return Verdict::Near;
    }
    let level = match &known.level {
        Some(level) if !is_far(&level.value) => Level {
            pages: level.pages.saturating_add(1),
            moves: level.moves.saturating_add(u32::from(level.value != value)),
            value: value.to_owned(),
        },
        _ => Level { value: value.to_owned(), pages: 1, moves: 1 },
    };
    let is_new_level = match accept_after {
        AcceptAfter::Moves(count) => level.moves >= count,
        AcceptAfter::Pages(count) => level.pages >= count,
        AcceptAfter::Never => false,
    };
    let rule = match accept_after {
        AcceptAfter::Never => "; edit the file if it is right".to_owned(),
        accept_after => format!("; it is believed after {accept_after} that agree"),
    };
    let reason = format!("is further than {limit} from {}, the last that was written{rule}", shown(&known.last));
    let reason = format!("`{}` {reason}", shown(value));
    Verdict::Far { level, is_new_level, reason }
}

/// The number that a value is, and its currency.
fn amount(value: &str) -> Option<(Decimal, String)> {
    if !value.starts_with('{') {
        return Some((Decimal::of_json(value).ok()?, String::new()));
    }
    let members = members(value);
    Some((Decimal::of_json(members.get("amount")?.get()).ok()?, members.get("currency")?.get().to_owned()))
}

/// A value for people.
fn shown(value: &str) -> String {
    match amount(value) {
        Some((amount, unit)) if !unit.is_empty() => format!("{amount} {}", unit.trim_matches('"')),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::extract::Row;
    use super::super::plan::Plan;
    use super::*;

    /// A source, and what it remembers.
    struct Story {
        plan: Plan,
        history: History,
    }

    impl Story {
        fn new(settings: Value) -> Self {
            let mut settings = settings;
            settings["url"] = json!("http://localhost/");
            let settings = serde_json::from_value(settings).unwrap();
            let plan = Plan::compile(&settings).unwrap_or_else(|problems| panic!("{problems:?}"));
            Self { plan, history: History::default() }
        }

        /// What becomes of a page with these records: lines, rejects, and notes.
        fn page(&mut self, records: &[Value]) -> String {
            let item = |record: &Value| Item {
                id: None,
                kind: "page".into(),
                published_at: None,
                data: serde_json::value::RawValue::from_string(record.to_string()).unwrap(),
            };
            let row = |record: &Value| Row { item: item(record), link: None };
            let mut extraction = Extraction { rows: records.iter().map(row).collect(), ..Extraction::default() };
            // As over a restart, each time.
            let saved = serde_json::to_string(&self.history).unwrap();
            self.history = serde_json::from_str(&saved).unwrap();
            let raw = |_: &str, value: &str| Some(format!("₹{value}"));
            let scope = Scope { contracts: &self.plan.contracts, page: "", rows_max: ROWS_MAX };
            let (mut notes, _) = self.history.judge(&scope, &mut extraction, raw);
            notes.extend(self.history.close(&self.plan.contracts));
            let items = extraction.rows.iter().map(|row| row.item.data.get().to_owned());
            let rejects = extraction.rejects.iter().map(|reject| {
                let field = reject.field.as_deref().unwrap_or_default();
                format!("{} {field}: {} ({})", reject.outcome.as_str(), reject.reason, reject.raw)
            });
            let notes = notes.iter().map(|note| format!("{} {}", note.kind, note.data));
            items.chain(rejects).chain(notes).collect::<Vec<_>>().join("\n")
        }

        /// Whether a price becomes a record.
        fn takes(&mut self, price: &str) -> bool {
            let price: Value = serde_json::from_str(price).unwrap();
            self.page(&[json!({ "price": price })]).starts_with('{')
        }
    }

    fn price(max_jump: &Value) -> Story {
        Story::new(json!({ "fields": { "price": { "css": "b", "type": "number", "max_jump": max_jump } } }))
    }

    #[test]
    fn n12_an_instalment_is_flagged_and_never_believed() {
        let mut story = price(&json!("10%"));
        assert!(story.takes("24834.85") && story.takes("24900.00"));
        insta::assert_snapshot!(story.page(&[json!({ "price": 2079.5 })]), @"invalid fields.price: `2079.5` is further than 10% from 24900.0, the last that was written; it is believed after 5 moves that agree (₹2079.5)");
        // It stands still, however long.
        assert!((0..500).all(|_| !story.takes("2079.50")));
        assert!(story.takes("24950.00"), "the price is back");
        assert!(!story.takes("2079.50"));
    }

    #[test]
    fn a_market_that_has_opened_elsewhere_is_a_new_level() {
        let mut story = price(&json!("10%"));
        assert!(story.takes("100"));
        let taken: Vec<bool> =
            ["50", "50.1", "50.1", "50.2", "50.15", "50.3", "50.4"].iter().map(|price| story.takes(price)).collect();
        assert_eq!(taken, [false, false, false, false, false, true, true]);
        // What does not agree with itself is no level.
        assert!(["100", "20", "90", "30", "110", "25", "95", "10"].iter().all(|price| !story.takes(price)));
        let mut story = price(&json!("10%"));
        assert!(story.takes("100") && !story.takes("50") && !story.takes("51"));
        assert!(story.takes("101"), "a spike");
        let mut pages = ["50", "51", "50", "51"].iter();
        assert!(pages.all(|price| !story.takes(price)), "the count began anew");
        insta::assert_snapshot!(story.page(&[json!({ "price": 50 })]), @r#"
        {"price":50}
        new_level {"field":"fields.price","before":"101","after":"50","pages":5}
        "#);
    }

    #[test]
    fn the_rule_is_the_file_s() {
        let mut story = price(&json!({ "by": 10, "accept_after": "3 pages" }));
        let taken: Vec<bool> =
            ["100", "110", "121", "121", "121", "122"].iter().map(|price| story.takes(price)).collect();
        assert_eq!(taken, [true, true, false, false, true, true]);
        let mut story = price(&json!({ "by": "0.5", "accept_after": "never" }));
        assert!(story.takes("1") && (2..500).all(|price| !story.takes(&price.to_string())));
        assert!(story.takes("1.5"));
    }

    #[test]
    fn fields_that_have_jumped_together_need_one_that_moves() {
        let field = json!({ "css": "b", "type": "number", "max_jump": "20%" });
        let mut story = Story::new(json!({ "fields": { "open": field, "last": field } }));
        let mut page = |open: f64, last: f64| story.page(&[json!({ "open": open, "last": last })]).starts_with('{');
        assert!(page(100.0, 101.0));
        let taken: Vec<bool> = (0..6).map(|n| page(50.0, 50.0 + f64::from(n))).collect();
        assert_eq!(taken, [false, false, false, false, true, true]);
    }

    #[test]
    fn rows_are_held_against_themselves() {
        let mut story = Story::new(json!({
            "records": "tr", "emit": { "on": "all", "key": "s" },
            "fields": { "s": "b", "p": { "css": "i", "type": "money", "max_jump": "10%" } },
        }));
        let row = |s: &str, p: f64, unit: &str| json!({ "p": { "amount": p, "currency": unit }, "s": s });
        story.page(&[row("A", 10.5, "INR"), row("B", 1000.5, "INR")]);
        insta::assert_snapshot!(story.page(&[row("B", 1001.5, "INR"), row("A", 1000.5, "INR"), row("C", 7.5, "INR")]), @r#"
        {"p":{"amount":1001.5,"currency":"INR"},"s":"B"}
        {"p":{"amount":7.5,"currency":"INR"},"s":"C"}
        invalid fields.p: `1000.5 INR` is further than 10% from 10.5 INR, the last that was written; it is believed after 5 moves that agree (₹{"amount":1000.5,"currency":"INR"})
        "#);
        insta::assert_snapshot!(story.page(&[row("B", 1001.5, "USD")]), @r#"invalid fields.p: `1001.5 USD` is further than 10% from 1001.5 INR, the last that was written; it is believed after 5 moves that agree (₹{"amount":1001.5,"currency":"USD"})"#);
    }

    #[test]
    fn what_stands_in_is_marked() {
        let mut story = Story::new(json!({ "fields": {
            "a": { "css": "a", "type": "number", "on_missing": "last", "max_jump": "10%" },
            "b": { "css": "b", "type": "number", "on_missing": "default", "default": 0, "max_jump": "10%" },
            "o": { "css": "o", "fields": { "t": { "css": "t", "on_missing": "last" } } },
        } }));
        let null = Value::Null;
        let page = |a: Value, b: Value, t: Value| json!({ "a": a, "b": b, "o": { "t": t } });
        insta::assert_snapshot!(story.page(&[page(null.clone(), null.clone(), "x".into())]), @r#"missing fields.a: `a` is not there, and no value came before that could stand in ({"a":null,"b":null,"o":{"t":"x"}})"#);
        insta::assert_snapshot!(story.page(&[page(1.5.into(), null.clone(), "x\"y".into())]), @r#"
        {"a":1.5,"b":0,"o":{"t":"x\"y"},"stand_ins":{"b":"default"}}
        stand_in {"field":"fields.b","selector":"b","by":"default"}
        "#);
        insta::assert_snapshot!(story.page(&[page(null.clone(), 7.into(), null.clone())]), @r#"
        {"a":1.5,"b":7,"o":{"t":"x\"y"},"stand_ins":{"a":"last","o.t":"last"}}
        stand_in {"field":"fields.a","selector":"a","by":"last"}
        stand_in {"field":"fields.b","selector":"b","by":null}
        stand_in {"field":"fields.o.fields.t","selector":"t","by":"last"}
        "#);
        // What stood in is no value to be held against.
        assert!(story.page(&[page(1.6.into(), null, "z".into())]).starts_with('{'));
        assert!(story.page(&[page(1.6.into(), 8.into(), "z".into())]).starts_with("invalid fields.b"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut story = Story::new(json!({
            "records": "tr", "emit": { "key": "s" }, "fields": { "s": "b", "p": { "css": "i", "type": "number", "max_jump": "10%" } },
        }));
        for from in (0..5 * ROWS_MAX).step_by(500) {
            let rows: Vec<Value> = (from..from + 500).map(|s| json!({ "p": 1, "s": s })).collect();
            story.page(&rows);
            assert!(story.history.rows.len() <= ROWS_MAX);
        }
        let rows: Vec<Value> = (0..3 * ROWS_MAX).map(|s| json!({ "p": 1, "s": s })).collect();
        story.page(&rows);
        assert_eq!(story.history.rows.len(), ROWS_MAX);
    }
}
