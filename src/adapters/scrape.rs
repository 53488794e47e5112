//! Pages fetched at set times, CSS selectors, typed fields.
//!
//! The cursor is upstream's validator (`ETag`, `Last-Modified`) of each page, from when it was last wholly understood.
//! Being in the cursor it is saved with the records of its page, and never before: otherwise a crash between the two
//! would be answered "not modified" and the records be lost. A page with rejects leaves no validator, or a broken page
//! would be confirmed for ever.
//!
//! A tick asks for one page, or for many: for each of a list of values (`for_each`, `asks`), page by page (`paging`), and
//! for those that a page links to. `visit` is the way over them, `round` what came of it, `memory` what is taken up of
//! that at the end.

mod amount;
mod asking;
mod asks;
pub mod author;
#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod compounds;
mod contract;
mod convert;
mod css;
mod currency;
mod drift;
mod early;
mod elsewhere;
mod embedded;
mod emit;
mod expect;
mod extract;
mod field;
mod follow;
mod for_each;
mod form;
mod forms;
mod gate;
mod history;
mod keep;
mod locale;
mod login;
mod looks;
mod memory;
mod microdata;
mod near;
mod number;
mod page;
mod paging;
mod place;
mod plain;
mod plan;
mod presence;
mod provenance;
mod reading;
mod refusal;
mod render;
mod round;
mod rows;
mod same;
mod select;
mod selector;
mod served;
mod settings;
mod take;
#[cfg(test)]
mod tests;
mod text;
mod trust;
mod unique;
mod value;
mod visit;

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use self::asks::Ask;
pub use self::emit::{Emit, EmitOn};
pub use self::expect::TestKeys;
pub use self::extract::{Extraction, Row, extract};
pub use self::for_each::{ForEach, InData};
pub use self::locale::Locale;
use self::login::Session;
pub use self::login::{Check, CheckText, Login};
use self::memory::Memory;
use self::paging::Links;
pub use self::paging::{Follow, Paging};
pub use self::plan::Plan;
pub use self::render::Render;
pub use self::settings::{
    Bound, Clocks, Field, FieldType, Fields, Format, HtmlPart, Near, NumberFormat, NumberGrouping, OnMissing, Rows,
    Script, TextPart,
};
pub use self::trust::{AcceptAfter, Jump, Scalar};
pub use self::unique::Unique;
use crate::context::Context;
use crate::cursor::{Cursor, Recall};
use crate::fetch::{AskKeys, Fetcher, page_url};
use crate::item::{Finding, Suggestion};
use crate::parts::Parts;
use crate::source::{Ailment, Batch, Note, PageTest, Problem, SavedPage, Settings, Source, SourceError};
use crate::unique::{Seen, made_hash};

/// A second complete source file, for pages that hold many records.
pub const STOCKS_EXAMPLE: &str = include_str!("scrape/example_stocks.yaml");
/// Fetches a page at set times and extracts fields by CSS selectors. [scraping.md](../scraping.md) has examples of every
/// kind of field and type.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scrape {
    /// The page's address, http or https. In braces stands what is put in: a name of `for_each`, `{page}` of `pages`, and
    /// `{date:%Y-%m-%d}`, the day of the tick in the source's zone, or `{date:%Y%m%d,-1d}`, the one before.
    pub url: String,
    /// Sends a form before pages are asked for: `{ url, fields: { user: me, password: "${PASSWORD}" }, check: "a.logout" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Asks for a page for each of these: `{ symbol: [NIFTY50, BANKNIFTY] }`, of several names all combinations, or a list of
    /// maps, `[{ symbol: NIFTY50, market: nse }, …]`. A text with several lines is a list, so that a file may be one.
    #[serde(default, skip_serializing)]
    pub for_each: Option<ForEach>,
    /// Whether records have the values of `for_each`, before their fields: `true` by default; a list names those that they
    /// have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_in_data: Option<InData>,
    /// Several pages of one list: `{ next: "a.next" }` by a link, `{ from: 1 }` by a number, `{page}` in `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Paging>,
    /// Fetches the pages that this one links to, and takes fields of them: `{ css: "a.headline", fields: { … } }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<Follow>,
    /// How pages are asked for.
    #[serde(skip_deserializing)]
    #[schemars(flatten, !skip_deserializing)]
    pub ask: AskKeys,
    /// The page's encoding, such as `windows-1251`, where the page itself says a wrong one.
    #[serde(default)]
    pub encoding: Option<String>,
    /// What one record is, where a page holds many: a CSS selector of its rows, or `{ jsonld: PATH }`, `{ next_data: PATH }`,
    /// `{ script: { find, path } }` where they are data of the page. Fields are then looked for within each row. Without
    /// it the whole page is one record.
    #[serde(default)]
    pub records: Option<Rows>,
    /// What is taken, by name: `price: "span.price"`, or a map. The names are the keys of `data`.
    pub fields: Fields,
    /// For a page whose content is there only after its scripts have run: a browser draws it, `{ wait_for: "span.price" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<Render>,
    /// Whether records say where they come from: `provenance`, an object with the times, the address, the status and a hash of
    /// the page. `false` by default.
    #[serde(default)]
    pub provenance: bool,
    /// Which records are written: `all`, the default, `change`, or `{ fields: [price], key: symbol, heartbeat: 1m }` for those
    /// in which one of these fields has changed.
    #[serde(default)]
    pub emit: Emit,
    /// Writes each record once, however long the page shows it: the field that tells one from another, such as `link`, or
    /// several, or `{ key: link, remember: 100000, keep: 30d }`. It holds over restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// The records' `type`; `page` by default, or `row` where there are `records`.
    #[serde(default, rename = "type")]
    pub record_type: Option<String>,
    /// The field, of type datetime, that says when it happened; it becomes the records' `published_at`.
    #[serde(default)]
    pub published_at: Option<String>,
    /// Pages that were saved, with what they must become: `tapline test` compares, without asking anybody.
    #[serde(default, skip_serializing)]
    pub tests: Vec<TestKeys>,
}

impl Settings for Scrape {
    const KIND: &'static str = "scrape";
    const ABOUT: &'static str = "a web page, fetched at set times; fields by CSS selectors";
    const EXAMPLE: &'static str = include_str!("scrape/example.yaml");
    const POLLED: bool = true;

    fn read(value: serde_json::Value) -> Result<Self, Vec<Problem>> {
        let mut parts = Parts::of(value);
        let ask = parts.take();
        let own: Option<Self> = parts.rest();
        parts.end(ask.zip(own).map(|(ask, own)| Self { ask, ..own }))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.asking_problems();
        problems.extend(self.plans().err().unwrap_or_default());
        problems.extend(self.pages.iter().flat_map(Paging::problems));
        problems.extend(self.render.iter().flat_map(Render::problems));
        problems.extend(self.provenance_problem());
        problems.extend(self.stand_ins_problem());
        problems.extend(expect::problems(self));
        problems.extend(self.login.iter().flat_map(|login| login.problems(self.ask.cookies)));
        let has_rows = self.records.is_some();
        problems.extend(self.follow.iter().flat_map(|follow| follow.problems(&self.fields)));
        problems.extend(self.unique.iter().flat_map(|unique| unique.problems(&self.names_in_data())));
        if self.unique.is_some() && self.emit.on == EmitOn::Change {
            problems
                .push(Problem::new(["emit"], "with `unique` each record is written once; leave one of the two out"));
        }
        problems.extend(self.emit.problems(&self.names_in_data(), has_rows || self.follow.is_some()));
        problems
    }

    fn upstream(&self) -> Vec<Url> {
        let login = self.login.as_ref().and_then(Login::address);
        page_url(&self.url).into_iter().chain(login).collect()
    }

    fn data_names(&self) -> Option<Vec<String>> {
        Some(self.names_in_data())
    }

    fn tests(&self) -> Vec<PageTest> {
        self.tests.iter().map(TestKeys::test).collect()
    }

    fn read_page(&self, page: &SavedPage) -> Option<anyhow::Result<(Batch, Vec<Finding>)>> {
        Some(expect::read_page(self, page))
    }

    fn suggest(
        &self,
        now: &str,
        was: Option<&str>,
        values: &[(String, String)],
    ) -> Option<anyhow::Result<Vec<Suggestion>>> {
        Some(author::suggest(self, now, was, values))
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let all = |problems: Vec<Problem>| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            anyhow!(messages.join("; "))
        };
        let json = serde_json::to_vec(&self)?;
        let (plan, detail) = self.plans().map_err(all)?;
        let asks = Ask::all(&self);
        Ok(Box::new(Pages {
            plan: Arc::new(plan),
            detail: detail.map(Arc::new),
            links: self.links().map(Arc::new),
            encoding: self.encoding.as_deref().and_then(|label| Encoding::for_label(label.as_bytes())),
            fetcher: self.ask.fetcher(context, page_url(&self.url).ok().as_ref())?,
            context: context.clone(),
            fingerprint: blake3::hash(&json).to_hex()[..16].to_owned(),
            memory: asks.iter().map(|_| Memory::default()).collect(),
            asks,
            session: self.login.as_ref().and_then(Session::new),
            has_old_session: false,
            unique: self.unique.as_ref().map(|unique| unique.seen(context.source())),
            slot: None,
            notes: Vec::new(),
            fetched: None,
            scrape: self,
        }))
    }
}

/// A source of this kind.
struct Pages {
    scrape: Scrape,
    plan: Arc<Plan>,
    /// Of the pages that are followed.
    detail: Option<Arc<Plan>>,
    /// What is looked for on a page beside its records, where it leads to others.
    links: Option<Arc<Links>>,
    encoding: Option<&'static Encoding>,
    fetcher: Fetcher,
    /// How the login stands, where there is one.
    session: Option<Session>,
    /// A session is saved, and the file has no login any more.
    has_old_session: bool,
    context: Context,
    /// A hash of the settings.
    fingerprint: String,
    /// The pages that the file is written out to.
    asks: Vec<Ask>,
    /// What is remembered of each of them.
    memory: Vec<Memory>,
    /// The keys of what was written, where each is written once.
    unique: Option<Seen>,
    /// The scheduled time of the tick.
    slot: Option<DateTime<Utc>>,
    notes: Vec<Note>,
    /// The first page that was last explained.
    fetched: Option<String>,
}

#[async_trait]
impl Source for Pages {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        self.take_up(cursor);
        Ok(())
    }

    fn recall(&mut self, mut recall: Recall) {
        match (recall.parts.remove(&login::PART), &mut self.session) {
            (Some(part), Some(session)) => session.recall(&part, &mut self.fetcher, &self.context),
            (Some(_), None) => self.has_old_session = true,
            (None, _) => {}
        }
        if let Some(unique) = &mut self.unique {
            let written = recall.written.iter().filter_map(|id| made_hash(id));
            unique.recall(&recall.parts, written, self.context.now());
        }
    }

    fn slot(&mut self, slot: DateTime<Utc>) {
        self.slot = Some(slot);
        self.fetcher.slot(slot);
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn fetched(&mut self) -> Option<String> {
        self.fetched.take()
    }

    fn ailments(&self) -> Vec<Ailment> {
        self.all_ailments()
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        self.tick(None).await
    }

    async fn explain(&mut self) -> Result<(Batch, Vec<Finding>), SourceError> {
        let mut findings = Vec::new();
        let batch = self.tick(Some(&mut findings)).await?;
        Ok((batch, findings))
    }
}

impl Pages {
    async fn tick(&mut self, findings: Option<&mut Vec<Finding>>) -> Result<Batch, SourceError> {
        let now = self.context.now();
        if let Some(unique) = &mut self.unique {
            unique.begin(now);
        }
        let round = self.round(now, findings).await?;
        self.settle(round, now)
    }
}
