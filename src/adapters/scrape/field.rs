//! One field: from the places where it may be to its typed value.

use scraper::ElementRef;
use serde_json::value::RawValue;

use super::convert::Value;
use super::embedded::Found;
use super::extract::{Scope, Work, together};
use super::microdata;
use super::near::{self, Beside, Nothing};
use super::place::Place;
use super::plan::{FieldPlan, Make, Pick};
use super::select::matches;
use super::settings::OnMissing;
use super::text::shown_text;
use super::value::{LIST_BYTES_MAX, limit, texts, typed};
use crate::item::{Finding, cut_raw};
use crate::source::Outcome;

/// Why a field has no value.
pub(super) struct Fault {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    /// What was there; for what is missing, what is around it, which is filled in once somebody will see it.
    pub(super) raw: String,
    /// The field's place in the file.
    pub(super) path: String,
    /// Nothing matched, and what the page is like would tell why.
    pub(super) is_nowhere: bool,
}

/// One thing that was found.
pub(super) enum Target<'a> {
    Element(ElementRef<'a>),
    Json(Found<'a>),
    Text(String),
}

/// What one place gave.
struct Attempt {
    matched: usize,
    raw: Option<String>,
    /// Which of several attributes served.
    take: usize,
    value: Result<Value, Fault>,
}

impl<'a> Work<'a, '_> {
    /// The value of a field, from the first of its places that has one.
    pub(super) fn field(&mut self, field: &'a FieldPlan, scope: Scope<'a>, row: Option<usize>) -> Result<Value, Fault> {
        let mut served = 0;
        let mut attempt = self.attempt(field, &field.places[0], scope, row);
        let is_missing = |attempt: &Attempt| matches!(&attempt.value, Err(fault) if fault.outcome == Outcome::Missing);
        if is_missing(&attempt) {
            self.out.is_final = false;
            for (index, place) in field.places.iter().enumerate().skip(1) {
                let other = self.attempt(field, place, scope, row);
                if !is_missing(&other) {
                    (served, attempt) = (index, other);
                    break;
                }
            }
        }
        let rule = served * field.take.ways() + attempt.take;
        if let (Some(number), Ok(_)) = (field.fallback, &attempt.value) {
            let worst = &mut self.out.served[number];
            *worst = (*worst).max(Some(rule));
        }
        let Attempt { matched, raw, value, .. } = attempt;
        let value = value.map_err(|fault| self.complete(field, fault, scope, row));
        if self.findings.is_some() {
            self.explain(field, row, rule, matched, raw, &value);
        }
        value
    }

    fn explain(
        &mut self,
        field: &FieldPlan,
        row: Option<usize>,
        rule: usize,
        matched: usize,
        raw: Option<String>,
        value: &Result<Value, Fault>,
    ) {
        let rules = field.rules();
        let rule = match (rule, value) {
            (0, _) | (_, Err(_)) => rules[0].clone(),
            (rule, Ok(_)) => format!("{} (fall-back {rule} of {}, for {})", rules[rule], rules.len() - 1, rules[0]),
        };
        let finding = Finding {
            page: None,
            row,
            field: field.path.clone(),
            rule,
            matched,
            raw: raw.map(|raw| cut_raw(&raw).to_owned()),
            value: value.as_ref().ok().and_then(|value| RawValue::from_string(value.json.clone()).ok()),
            reason: value.as_ref().err().map(|fault| fault.reason.clone()),
        };
        if let Some(findings) = &mut self.findings {
            findings.push(finding);
        }
    }

    /// Adds to a fault what somebody needs to see who gets it. To walk the page for that takes long, and is not done where
    /// nobody will.
    fn complete(&self, field: &FieldPlan, mut fault: Fault, scope: Scope<'_>, row: Option<usize>) -> Fault {
        let is_seen = field.on_missing == OnMissing::Reject || self.findings.is_some();
        if fault.outcome != Outcome::Missing || fault.path != field.path || !is_seen {
            return fault;
        }
        let others = match field.places.len() {
            1 => "",
            2 => ", nor does its fall-back",
            _ => ", nor do its fall-backs",
        };
        let is_page = matches!(scope, Scope::Element(scope) if self.is_page(scope));
        let around = match (fault.is_nowhere, row) {
            (false, _) => String::new(),
            (true, Some(row)) => format!(" in row {row}"),
            (true, None) if is_page => format!("; {}", self.describe_page()),
            (true, None) => " within".into(),
        };
        let far = match (&field.places[0], scope) {
            (Place::Css(css), Scope::Element(scope)) if fault.is_nowhere => self.how_far(css, scope),
            _ => String::new(),
        };
        fault.reason = fault.reason + others + &far + &around;
        fault.raw = match scope {
            Scope::Element(element) => shown_text(element).unwrap_or_default(),
            Scope::Json(json) => cut_raw(json.raw()).to_owned(),
        };
        fault
    }

    fn is_page(&self, scope: ElementRef<'_>) -> bool {
        scope.id() == self.page.root().id()
    }

    fn attempt(&mut self, field: &'a FieldPlan, place: &'a Place, scope: Scope<'a>, row: Option<usize>) -> Attempt {
        let (matched, targets) = match self.targets(field, place, scope, row) {
            Ok(found) => found,
            Err((matched, fault)) => return Attempt { matched, raw: None, take: 0, value: Err(fault) },
        };
        if let Make::Fields(fields) = &field.make {
            let value = self.objects(field, fields, targets, row);
            return Attempt { matched, raw: None, take: 0, value };
        }
        match texts(field, place, &targets) {
            Err(fault) => Attempt { matched, raw: Some(fault.raw.clone()), take: 0, value: Err(fault) },
            Ok((texts, take)) => {
                let value = typed(field, &texts);
                let raw = self
                    .findings
                    .is_some()
                    .then(|| texts.iter().map(|taken| &*taken.text).collect::<Vec<_>>().join(" | "));
                Attempt { matched, raw, take, value }
            }
        }
    }

    /// How many things a place has, and those that are meant, at least one.
    fn targets(
        &self,
        field: &'a FieldPlan,
        place: &'a Place,
        scope: Scope<'a>,
        row: Option<usize>,
    ) -> Result<(usize, Vec<Target<'a>>), (usize, Fault)> {
        // How many there are in all is worth counting only for somebody who looks.
        let count_all = self.findings.is_some();
        let (matched, targets) = match (place, scope) {
            (Place::Row, Scope::Element(element)) => (1, vec![Target::Element(element)]),
            (Place::Row, Scope::Json(json)) => (1, vec![Target::Json(json)]),
            (Place::Css(css), Scope::Element(scope)) => choose(
                matches(scope, css, self.is_page(scope) && row.is_none(), self.watch).map(Target::Element),
                field.pick,
                count_all,
            ),
            (Place::Near(near), Scope::Element(scope)) => {
                let which = field.has_nth.then_some(field.pick);
                match near::find(scope, near, which, self.watch) {
                    Ok(Beside::Element(element)) => (1, vec![Target::Element(element)]),
                    Ok(Beside::Text(text)) => (1, vec![Target::Text(text)]),
                    Err(nothing) => return Err(field.no_label(place, &nothing)),
                }
            }
            (Place::Meta(name), _) => {
                let found = microdata::metas(self.page.root(), name);
                let found = found.map(|meta| Target::Text(meta.attr("content").unwrap_or_default().to_owned()));
                choose(found, field.pick, count_all)
            }
            (Place::Microdata(property), scope) => {
                let scope = if let Scope::Element(scope) = scope { scope } else { self.page.root() };
                let found = property.find(scope).into_iter().filter_map(microdata::value).map(Target::Text);
                choose(found, field.pick, count_all)
            }
            (Place::Json(json), scope) => {
                let row = if let Scope::Json(row) = scope { Some(row) } else { None };
                let found = self.embedded.find(json, row).map_err(|reason| (0, field.missing(place, &reason)))?;
                choose(found.into_iter().map(Target::Json), field.pick, count_all)
            }
            (Place::Css(_) | Place::Near(_), Scope::Json(_)) => unreachable!("invariant: the plan has no such field"),
        };
        match (matched, targets.is_empty()) {
            (_, false) => Ok((matched, targets)),
            (0, true) => {
                let fault = field.missing(place, "matched nothing");
                Err((0, Fault { is_nowhere: true, ..fault }))
            }
            (count, true) => {
                Err((count, field.missing(place, &format!("matched {count} times, and `nth` asks for more"))))
            }
        }
    }

    /// An object of what is found within each.
    fn objects(
        &mut self,
        field: &FieldPlan,
        fields: &'a [FieldPlan],
        targets: Vec<Target<'a>>,
        row: Option<usize>,
    ) -> Result<Value, Fault> {
        let mut list = Vec::new();
        let mut bytes = 0;
        for target in targets {
            let scope = match target {
                Target::Element(element) => Scope::Element(element),
                Target::Json(json) => Scope::Json(json),
                Target::Text(_) => return Err(field.missing(&field.places[0], "is text, and has nothing within")),
            };
            let object = self.object(fields, scope, row, None);
            match (object.is_dropped, object.faults.is_empty()) {
                (true, _) => {}
                (false, false) => return Err(together(object.faults)),
                (false, true) => list.push(object.json),
            }
            bytes += list.last().map_or(0, String::len);
            if bytes > LIST_BYTES_MAX {
                let reason = format!("`{}` has more than {}", field.rules()[0], limit(LIST_BYTES_MAX));
                return Err(field.invalid(reason, ""));
            }
        }
        if field.pick == Pick::All {
            return Ok(Value { json: format!("[{}]", list.join(",")), moment: None });
        }
        let json =
            list.pop().ok_or_else(|| field.missing(&field.places[0], "lacks a field that says `on_missing: drop`"))?;
        Ok(Value { json, moment: None })
    }
}

impl FieldPlan {
    pub(super) fn missing(&self, place: &Place, reason: &str) -> Fault {
        // How it is taken matters only once it was found.
        let is_found = !["matched", "finds"].iter().any(|before| reason.starts_with(before));
        let how = if is_found { self.take.suffixes().swap_remove(0) } else { String::new() };
        let reason = format!("`{place}{how}` {reason}");
        Fault { outcome: Outcome::Missing, reason, raw: String::new(), path: self.path.clone(), is_nowhere: false }
    }

    pub(super) fn invalid(&self, reason: String, raw: &str) -> Fault {
        let raw = cut_raw(raw).to_owned();
        Fault { outcome: Outcome::Invalid, reason, raw, path: self.path.clone(), is_nowhere: false }
    }

    fn no_label(&self, place: &Place, nothing: &Nothing) -> (usize, Fault) {
        match nothing {
            Nothing::NoLabel => {
                let fault = self.missing(place, "matched nothing: no element has just this text");
                (0, Fault { is_nowhere: true, ..fault })
            }
            Nothing::Fewer(count) => {
                (*count, self.missing(place, &format!("matched {count} labels, and `nth` asks for more")))
            }
            Nothing::NoValue => (1, self.missing(place, "matched its label, and there is no value beside it")),
            Nothing::Several(count) => {
                let reason = format!("`{place}` may be {count} labels, which have the same text; say which with `nth`");
                (*count, self.invalid(reason, ""))
            }
        }
    }
}

/// How many there are, and those that are meant. Without `count_all` it stops where it can.
fn choose<'a>(mut found: impl Iterator<Item = Target<'a>>, pick: Pick, count_all: bool) -> (usize, Vec<Target<'a>>) {
    if let (Pick::FromStart(index), false) = (pick, count_all) {
        let mut passed = 0;
        let chosen = found.by_ref().inspect(|_| passed += 1).nth(index);
        return (passed, chosen.into_iter().collect());
    }
    let mut all: Vec<_> = found.collect();
    let count = all.len();
    let index = match pick {
        Pick::All => return (count, all),
        Pick::FromStart(index) => Some(index),
        Pick::FromEnd(index) => count.checked_sub(index + 1),
    };
    (count, index.filter(|index| *index < count).map(|index| all.swap_remove(index)).into_iter().collect())
}
