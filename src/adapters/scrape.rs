//! Pages fetched at set times: one GET, CSS selectors, typed fields.
//!
//! The cursor is upstream's validator (`ETag`, `Last-Modified`) of the last page that was wholly understood. Being in
//! the cursor it is saved with the records of its page, and never before: otherwise a crash between the two would be
//! answered "not modified" and the records be lost. A page with rejects leaves no validator, or a broken page would
//! be confirmed for ever.

mod amount;
mod asking;
mod convert;
mod css;
mod currency;
mod embedded;
mod emit;
mod extract;
mod field;
mod forms;
mod gate;
mod keep;
mod locale;
mod microdata;
mod moment;
mod near;
mod number;
mod page;
mod place;
mod plan;
mod refusal;
mod same;
mod select;
mod served;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::asking::{BodyKeys, MethodName, ProxyUrl};
use self::emit::Emitted;
pub use self::emit::{Emit, EmitOn};
pub use self::extract::{Extraction, extract};
use self::keep::Kept;
pub use self::locale::Locale;
pub use self::plan::Plan;
use self::same::{Known, Same};
use self::served::Served;
pub use self::settings::{
    Bound, Clocks, Field, FieldType, Fields, Format, HtmlPart, Near, NumberFormat, NumberGrouping, OnMissing, Rows,
    Script, TextPart, Texts, Timeout, Words,
};
use crate::auth::Auth;
use crate::context::Context;
use crate::cursor::Cursor;
use crate::fetch::{Answer, Body, Fetcher, Manners, Request, Validator, charset, decode};
use crate::item::Finding;
use crate::source::{Batch, Note, Outcome, Problem, Settings, Source, SourceError};
use crate::units::Size;

/// A second complete source file, for pages that hold many records.
pub const STOCKS_EXAMPLE: &str = include_str!("scrape/example_stocks.yaml");
/// Fetches a page at set times and extracts fields by CSS selectors. [scraping.md](../scraping.md) has examples of every
/// kind of field and type.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scrape {
    /// The page's address, http or https.
    pub url: String,
    /// How the page is asked for: `GET`, the default without a body, `POST`, the default with one, or `PUT`.
    #[serde(default)]
    pub method: Option<MethodName>,
    /// What is sent along: `{ form: { … } }`, `{ json: … }` or `{ text: "…", type: "text/plain" }`.
    #[serde(default)]
    pub body: Option<BodyKeys>,
    /// Headers sent with the request, by name. Those that could be keys are not sent to another site on a redirect.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Proves who asks: `{ basic: { user, password } }`, `{ bearer: "${TOKEN}" }`, `{ digest: { user, password } }` or
    /// `{ oauth1: { consumer_key, consumer_secret, token, token_secret } }`. To another site nothing of it is sent.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// What the source calls itself; `tapline/` and the version by default. A site's owner should be able to see who
    /// asks: add an address where you can be reached.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// Whether cookies that sites set are sent back to them. They are this source's own, and forgotten at its end. `true` by
    /// default.
    #[serde(default = "yes")]
    pub cookies: bool,
    /// Goes through this proxy, such as `http://user:${PASSWORD}@proxy:3128` or `socks5h://127.0.0.1:1080`.
    #[serde(default)]
    pub proxy: Option<ProxyUrl>,
    /// Whether the site's certificate is checked. With `false` anybody in between can read and change everything, which is
    /// said at each start. `true` by default.
    #[serde(default = "yes")]
    pub tls_verify: bool,
    /// How long a fetch may take: `30s` in all, or `{ connect: 10s, total: 30s }`, which is the default.
    #[serde(default)]
    pub timeout: Timeout,
    /// The most bytes of a page, before and after decoding.
    #[serde(default = "default_max_body")]
    pub max_body: Size,
    /// How many redirects are followed. A redirect from https to http never is.
    #[serde(default = "default_redirects")]
    #[schemars(range(max = 20))]
    pub redirects: u8,
    /// How the source behaves towards the sites that it asks: robots.txt, how often, how much at once.
    #[serde(default)]
    pub manners: Manners,
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
    /// Which records are written: `all`, the default, `change`, or `{ fields: [price], key: symbol, heartbeat: 1m }` for those
    /// in which one of these fields has changed.
    #[serde(default)]
    pub emit: Emit,
    /// The records' `type`; `page` by default, or `row` where there are `records`.
    #[serde(default, rename = "type")]
    pub record_type: Option<String>,
    /// The field, of type datetime, that says when it happened; it becomes the records' `published_at`.
    #[serde(default)]
    pub published_at: Option<String>,
}

fn default_max_body() -> Size {
    Size(8 << 20)
}

fn yes() -> bool {
    true
}

fn default_redirects() -> u8 {
    5
}

impl Settings for Scrape {
    const KIND: &'static str = "scrape";
    const ABOUT: &'static str = "a web page, fetched at set times; fields by CSS selectors";
    const EXAMPLE: &'static str = include_str!("scrape/example.yaml");
    const POLLED: bool = true;

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.request().err().unwrap_or_default();
        problems.extend(Plan::compile(self).err().unwrap_or_default());
        problems.extend(self.emit.problems(&self.fields, self.records.is_some()));
        problems
    }

    fn upstream(&self) -> Vec<Url> {
        asking::page_url(&self.url).into_iter().collect()
    }

    fn data_names(&self) -> Option<Vec<String>> {
        Some(self.fields.0.iter().map(|(name, _)| name.clone()).collect())
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let all = |problems: Vec<Problem>| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            anyhow!(messages.join("; "))
        };
        let json = serde_json::to_vec(&self)?;
        Ok(Box::new(Pages {
            request: self.request().map_err(all)?,
            plan: Arc::new(Plan::compile(&self).map_err(all)?),
            encoding: self.encoding.as_deref().and_then(|label| Encoding::for_label(label.as_bytes())),
            fetcher: self.fetcher(context)?,
            context: context.clone(),
            settings: blake3::hash(&json).to_hex()[..16].to_owned(),
            validator: None,
            served: Served::default(),
            notes: Vec::new(),
            max_age: self.manners.max_age,
            emit: self.emit,
            emitted: Emitted::default(),
            same: Same::default(),
            kept: Kept::default(),
        }))
    }
}

/// A source of this kind.
struct Pages {
    request: Request,
    plan: Arc<Plan>,
    encoding: Option<&'static Encoding>,
    fetcher: Fetcher,
    context: Context,
    /// A hash of the settings.
    settings: String,
    validator: Option<Validator>,
    served: Served,
    notes: Vec<Note>,
    /// Whether a page is left alone for as long as it says that it stays as it is.
    max_age: bool,
    emit: Emit,
    emitted: Emitted,
    same: Same,
    kept: Kept,
}

/// The cursor.
#[derive(Serialize, Deserialize)]
struct Position {
    /// After an edit the same page means other records, so its validator no longer counts.
    settings: String,
    validator: Option<Validator>,
    /// So that a start is no change.
    #[serde(default, skip_serializing_if = "Served::is_empty")]
    served: Served,
    #[serde(default, skip_serializing_if = "Emitted::is_empty")]
    emitted: Emitted,
}

#[async_trait]
impl Source for Pages {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        let position = cursor.and_then(|cursor| cursor.read::<Position>().ok());
        let position = position.filter(|position| position.settings == self.settings);
        (self.validator, self.served, self.emitted) =
            position.map(|position| (position.validator, position.served, position.emitted)).unwrap_or_default();
        Ok(())
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
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
        // "Not modified" brings no records, and so not the ones of a heartbeat.
        let is_beat = self.emit.heartbeat.is_some() && self.emitted.is_beat(&self.emit, self.context.now());
        let validator = self.validator.as_ref().filter(|_| !is_beat);
        let (fresh, batch) = match self.fetcher.fetch(&self.request, validator).await? {
            Answer::NotModified { validator, fresh } => {
                self.validator = Some(validator);
                (fresh, Batch { outcome: Some(Outcome::NotModified), ..Batch::default() })
            }
            Answer::Refused(status, body) => {
                let error = self.context.compute(move || refusal::source_error(status, body)).await;
                return Err(error.unwrap_or_else(SourceError::Lost));
            }
            Answer::Page(body) => (body.fresh, self.page(body, findings).await.map_err(SourceError::Lost)?),
        };
        // A page with rejects is asked for again as soon as may be.
        let wait = if self.max_age && batch.rejects.is_empty() { fresh } else { Duration::ZERO };
        let (settings, validator, served) = (self.settings.clone(), self.validator.clone(), self.served.clone());
        let position = Position { settings, validator, served, emitted: self.emitted.clone() };
        let cursor = Cursor::new(&position).map_err(|error| SourceError::Lost(error.into()))?;
        Ok(Batch { cursor: Some(cursor), wait, ..batch })
    }

    /// What a page became: records that are to be written, and what is wrong with it.
    async fn page(&mut self, mut body: Body, findings: Option<&mut Vec<Finding>>) -> anyhow::Result<Batch> {
        let now = self.context.now();
        let hash = same::hash(&body);
        let known = if findings.is_some() { Known::Nothing } else { self.same.look(hash) };
        let is_same = matches!(known, Known::Again(_));
        let mut batch = match known {
            Known::Again(_) if self.emit.on == EmitOn::Change && !self.emitted.is_beat(&self.emit, now) => {
                self.validator = body.validator.take();
                return Ok(Batch { outcome: Some(Outcome::Unchanged), ..Batch::default() });
            }
            Known::Again(Some(items)) => {
                self.validator = body.validator.take();
                Batch { items, ..Batch::default() }
            }
            _ => self.extract(body, findings).await?,
        };
        if !batch.rejects.is_empty() {
            self.same.forget();
        } else if !is_same {
            self.same.understood(hash, &batch.items);
        }
        let had_items = !batch.items.is_empty();
        batch.items = self.emitted.pick(&self.emit, batch.items, now);
        if had_items && batch.items.is_empty() && batch.rejects.is_empty() {
            batch.outcome = Some(Outcome::Unchanged);
        }
        Ok(batch)
    }

    async fn extract(&mut self, mut body: Body, findings: Option<&mut Vec<Finding>>) -> anyhow::Result<Batch> {
        let validator = body.validator.take();
        let (plan, encoding, body_max) = (Arc::clone(&self.plan), self.encoding, self.request.body_max);
        let explains = findings.is_some();
        let now = self.context.now();
        let wants = self.kept.wants(now);
        let work = move || {
            let mut found = Vec::new();
            let bytes = decode::decode(body.bytes, &body.codings, body_max)?;
            let html = charset::text(&bytes, encoding, body.content_type.as_deref());
            let mut extraction = extract(&plan, &html, explains.then_some(&mut found))?;
            if let Some(words) = body.content_type.as_deref().and_then(not_html) {
                extraction.rejects.iter_mut().for_each(|reject| reject.reason.push_str(&words));
            }
            let outcome = refusal::name_guard(&mut extraction, &body.headers, &html);
            let is_good = extraction.rejects.is_empty();
            let packed = if is_good && wants { keep::pack(&html) } else { None };
            let bad = (!is_good).then_some(html);
            anyhow::Ok((extraction, found, packed, bad, outcome))
        };
        let (extraction, found, packed, bad, outcome) = self.context.compute(work).await??;
        self.notes.extend(self.served.update(&self.plan.fallbacks, &extraction.served));
        let change = bad.and_then(|page| self.kept.bad(&page)).map(Box::new);
        if extraction.rejects.is_empty() {
            self.kept.good(packed, now);
        }
        if let Some(findings) = findings {
            *findings = found;
        }
        self.validator = validator.filter(|_| extraction.rejects.is_empty());
        Ok(Batch { items: extraction.items, rejects: extraction.rejects, change, outcome, ..Batch::default() })
    }
}

/// What to say about an answer that does not call itself HTML. It is read all the same: many servers are careless.
fn not_html(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_html = matches!(essence.as_str(), "" | "text/html" | "application/xhtml+xml");
    (!is_html).then(|| format!("; upstream calls it {}, not HTML", essence.escape_debug()))
}
