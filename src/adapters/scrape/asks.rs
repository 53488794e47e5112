//! The pages that one file is written out to.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::contract;
use super::convert::json_string;
use super::for_each::ForEach;
use super::paging::Links;
use super::plan::Plan;
use super::provenance;
use super::unique::Key;
use super::{Pages, Scrape};
use crate::item::Item;
use crate::source::Problem;

/// One of them.
pub(super) struct Ask {
    /// The values of `for_each`.
    pub(super) values: Vec<String>,
    /// What it is called: `symbol=NIFTY50`. `None` where the file is about one.
    pub(super) label: Option<String>,
    /// What it is saved by: a hash, because values may be secrets.
    pub(super) key: String,
    /// What records have of the values: members of an object.
    members: String,
}

impl Ask {
    /// All that the file is written out to.
    pub(super) fn all(scrape: &Scrape) -> Vec<Self> {
        let Some(for_each) = &scrape.for_each else {
            return vec![Self { values: Vec::new(), label: None, key: String::new(), members: String::new() }];
        };
        let put = for_each.in_data(scrape.values_in_data.as_ref());
        for_each.all.iter().map(|values| Self::of(for_each, &put, values)).collect()
    }

    /// The one that is asked for with these values; `put` are the indexes of those that records have.
    fn of(for_each: &ForEach, put: &[usize], values: &[String]) -> Self {
        let label = for_each.label(values);
        let member =
            |index: &usize| format!("{}:{}", json_string(&for_each.names[*index]), json_string(&values[*index]));
        Self {
            values: values.to_vec(),
            key: blake3::hash(label.as_bytes()).to_hex()[..16].to_owned(),
            label: Some(label),
            members: put.iter().map(member).collect::<Vec<_>>().join(","),
        }
    }

    /// The one that is asked for with values of these names, where all of them are there.
    pub(super) fn with(scrape: &Scrape, values: &BTreeMap<String, String>) -> Option<Self> {
        let for_each = scrape.for_each.as_ref()?;
        let put = for_each.in_data(scrape.values_in_data.as_ref());
        let values: Option<Vec<String>> = for_each.names.iter().map(|name| values.get(name).cloned()).collect();
        Some(Self::of(for_each, &put, &values?))
    }

    /// The record with the values that it has.
    pub(super) fn put_into(&self, item: Item) -> Item {
        if self.members.is_empty() {
            return item;
        }
        let own = item.data.get().strip_prefix('{').expect("invariant: a record's data is an object");
        let comma = if own == "}" { "" } else { "," };
        let data = format!("{{{}{comma}{own}", self.members);
        let data = RawValue::from_string(data).expect("invariant: members before members are an object");
        Item { data, ..item }
    }
}

impl Scrape {
    /// The names that a record's data has, in their order.
    pub(super) fn names_in_data(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        if let Some(for_each) = &self.for_each {
            let put = for_each.in_data(self.values_in_data.as_ref());
            names.extend(put.into_iter().map(|index| for_each.names[index].clone()));
        }
        let fields = || self.fields.0.iter().chain(self.follow.iter().flat_map(|follow| &follow.fields.0));
        names.extend(fields().map(|(name, _)| name.clone()));
        let has_stand_in = fields().any(|(_, field)| field.has_stand_in());
        names.extend(has_stand_in.then(|| contract::STAND_INS.to_owned()));
        names.extend(self.provenance.then(|| provenance::NAME.to_owned()));
        names
    }

    /// What is looked for on a page beside its records; nothing, where no other page follows from it by a link.
    pub(super) fn links(&self) -> Option<Links> {
        let leads =
            self.follow.is_some() || self.pages.as_ref().is_some_and(|pages| !pages.counts() || pages.stop.is_some());
        leads.then(|| Links::new(self.pages.as_ref(), self.follow.as_ref(), self.records.is_some()))
    }

    /// How records are taken of a page, and of those that it links to.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn plans(&self) -> Result<(Plan, Option<Plan>), Vec<Problem>> {
        let Some(follow) = &self.follow else { return Plan::compile(self).map(|plan| (plan, None)) };
        let is_followed = |name: &String| follow.fields.has(name);
        let [published_at, followed_at] =
            [false, true].map(|followed| self.published_at.clone().filter(|name| is_followed(name) == followed));
        let list = Self { published_at, ..self.clone() };
        let detail = Self {
            published_at: followed_at,
            records: None,
            follow: None,
            fields: follow.fields.clone(),
            ..self.clone()
        };
        match (Plan::compile(&list), Plan::compile_below(&detail, &["follow"])) {
            (Ok(list), Ok(detail)) => Ok((list, Some(detail))),
            (list, detail) => {
                let mut problems: Vec<Problem> = list.err().unwrap_or_default();
                // What both have in common is said once.
                let is_own = |key: &String| key == "follow" || key == "published_at";
                let detail = detail.err().unwrap_or_default().into_iter();
                problems.extend(detail.filter(|problem| problem.path.first().is_some_and(is_own)));
                Err(problems)
            }
        }
    }
}

impl Pages {
    /// Whether the record of a row, as far as it is there before its link is followed, was written already.
    pub(super) fn is_known(&self, ask: usize, row: &Item) -> Option<u64> {
        let unique = self.scrape.unique.as_ref().filter(|unique| {
            // What is only known of the linked page does not tell before.
            let followed = self.scrape.follow.as_ref();
            !unique.key.iter().any(|name| followed.is_some_and(|follow| follow.fields.has(name)))
        })?;
        let seen = self.unique.as_ref()?;
        match unique.of(seen, &self.asks[ask].put_into(row.clone())) {
            Key::Of(_, hash) if seen.has(hash) => Some(hash),
            _ => None,
        }
    }

    /// Whether a page is of no use without knowing where it leads.
    pub(super) fn needs_leads(&self) -> bool {
        self.links.is_some()
    }
}
