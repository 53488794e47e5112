//! What is said of a page that is not what its source expects.

use super::Pages;
use super::elsewhere;
use super::extract::extract;
use super::history::History;
use super::keep::{self, Kept};
use super::plan::Plan;
use crate::item::{Change, Finding, Reject};
use crate::source::{Ailment, Note};

/// What is said of a page that is not as it should be.
#[derive(Default)]
pub(super) struct Broken {
    /// What it was before, of the first such page.
    pub(super) change: Option<Box<Change>>,
    /// What is to be said of fields until a page is good again, where this is the first such page.
    pub(super) hints: Option<Vec<(String, String)>>,
}

impl Broken {
    /// What there is to say of a page whose last good one is kept here: where its texts have gone, and what it was before.
    /// `change` is [`Kept::change`].
    pub(super) fn of(plan: &Plan, change: Option<Change>, page: &str) -> Self {
        let Some(change) = change else { return Self::default() };
        let before = change.before.as_ref().map(|(_, before)| before);
        let hints = before.map_or_else(Vec::new, |before| elsewhere::hints(plan, before, page));
        Self { change: Some(Box::new(change)), hints: Some(hints) }
    }

    /// Adds to the rejects what is known of their fields, and to the change why there is one.
    pub(super) fn hint(&mut self, kept: &Kept, rejects: &mut [Reject]) {
        let hints = self.hints.as_deref().unwrap_or(kept.hints());
        for reject in &mut *rejects {
            keep::hint(hints, reject);
        }
        if let (Some(change), Some(reject)) = (&mut self.change, rejects.first()) {
            change.why.clone_from(&reject.reason);
        }
    }
}

/// A note with the page that it is of.
pub(super) fn of_page(mut note: Note, page: Option<&str>) -> Note {
    if let (Some(page), Some(data)) = (page, note.data.as_object_mut()) {
        data.insert("page".into(), page.into());
    }
    note
}

/// The text of a value that is not believed, for whoever looks at it: the page is read once more.
pub(super) fn raw_of(plan: &Plan, html: &str, field: &str, value: &str) -> Option<String> {
    let mut found = Vec::new();
    extract(plan, html, Some(&mut found)).ok()?;
    let is_it =
        |finding: &Finding| finding.field == field && finding.value.as_ref().is_some_and(|json| json.get() == value);
    found.into_iter().find(is_it)?.raw
}

impl Pages {
    /// Takes up what is remembered of values after a tick: of each page that the file is written out to, of its lists and of
    /// the pages that are followed.
    pub(super) fn remember(&mut self, histories: Vec<[Option<History>; 2]>) {
        let plans = [Some(&self.plan), self.detail.as_ref()];
        for ((ask, memory), histories) in self.asks.iter().zip(&mut self.memory).zip(histories) {
            for ((kept, new), plan) in memory.histories.iter_mut().zip(histories).zip(plans) {
                let (Some(mut new), Some(plan)) = (new, plan) else { continue };
                let notes = new.close(&plan.contracts).into_iter();
                self.notes.extend(notes.map(|note| of_page(note, ask.label.as_deref())));
                *kept = new;
            }
        }
    }

    /// What is not as it should be, though records come; of each field once, whichever page it is of.
    pub(super) fn all_ailments(&self) -> Vec<Ailment> {
        let mut all: Vec<Ailment> = Vec::new();
        for (ask, memory) in self.asks.iter().zip(&self.memory) {
            let plans = [Some(&self.plan), self.detail.as_ref()];
            for (plan, history) in plans.into_iter().zip(&memory.histories) {
                let ailments = plan.map_or_else(Vec::new, |plan| history.ailments(&plan.contracts));
                for mut ailment in ailments {
                    if all.iter().any(|known| known.about == ailment.about) {
                        continue;
                    }
                    ailment.why.extend(ask.label.iter().map(|label| format!("; page {label}")));
                    all.push(ailment);
                }
            }
        }
        all
    }
}
