//! Reading one page: what it becomes, and where it leads.

use std::sync::Arc;

use encoding_rs::Encoding;

use super::extract::extract;
use super::history::{History, Scope};
use super::paging::Links;
use super::plan::Plan;
use super::round::Read;
use super::{drift, keep, refusal};
use crate::fetch::{Body, charset, decode};
use crate::item::Finding;

/// All that reading a page needs, so that it can be done aside.
pub(super) struct Reading {
    pub(super) plan: Arc<Plan>,
    pub(super) links: Option<Arc<Links>>,
    pub(super) links_max: usize,
    pub(super) encoding: Option<&'static Encoding>,
    pub(super) body_max: u64,
    /// A good page is wanted.
    pub(super) wants: bool,
    pub(super) explains: bool,
    pub(super) hash: blake3::Hash,
    /// What the pages before said, which of them count, and how much is remembered of them.
    pub(super) history: History,
    pub(super) scope: String,
    pub(super) rows_max: usize,
    /// What went wrong while a browser drew it, in words.
    pub(super) drawn: Option<String>,
}

impl Reading {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read within its limits.
    pub(super) fn read(mut self, body: Body) -> anyhow::Result<(Read, Vec<Finding>)> {
        let mut found = Vec::new();
        let bytes = decode::decode(body.bytes, &body.codings, self.body_max)?;
        let html = charset::text(&bytes, self.encoding, body.content_type.as_deref());
        let mut extraction = extract(&self.plan, &html, self.explains.then_some(&mut found))?;
        let raw = |field: &str, value: &str| drift::raw_of(&self.plan, &html, field, value);
        let scope = Scope { contracts: &self.plan.contracts, page: &self.scope, rows_max: self.rows_max };
        let (notes, look) = self.history.judge(&scope, &mut extraction, raw);
        let leads = self.links.as_ref().map(|links| links.find(&html, self.links_max)).transpose()?;
        if let Some(words) = body.content_type.as_deref().and_then(not_html) {
            extraction.rejects.iter_mut().for_each(|reject| reject.reason.push_str(&words));
        }
        if let Some(words) = self.drawn.map(|words| format!("; {words}")) {
            extraction.rejects.iter_mut().for_each(|reject| reject.reason.push_str(&words));
        }
        refusal::name_guard(&mut extraction, &body.headers, &html);
        let is_good = extraction.rejects.is_empty();
        let packed = if is_good && self.wants { keep::pack(&html) } else { None };
        let fetched = self.explains.then(|| html.clone());
        let bad = (!is_good).then_some(html);
        let (hash, history) = (self.hash, self.history);
        Ok((Read { hash, extraction, leads, packed, bad, broken: None, history, look, notes, fetched }, found))
    }
}

/// What to say about an answer that does not call itself HTML. It is read all the same: many servers are careless.
fn not_html(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_html = matches!(essence.as_str(), "" | "text/html" | "application/xhtml+xml");
    (!is_html).then(|| format!("; upstream calls it {}, not HTML", essence.escape_debug()))
}
