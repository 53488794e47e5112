//! Reading one page: what it becomes, and where it leads.

use std::sync::Arc;

use encoding_rs::Encoding;

use super::extract::{extract, extract_from};
use super::history::{History, Scope};
use super::page::Page;
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
        let findings = self.explains.then_some(&mut found);
        let (mut extraction, leads) = match &self.links {
            None => (extract(&self.plan, &html, findings)?, None),
            // Where it leads may stand anywhere, so that it is read whole.
            Some(links) => {
                let page = Page::parse(&html)?;
                (extract_from(&self.plan, &page, findings)?, Some(links.find(&page, self.links_max)?))
            }
        };
        let raw = |field: &str, value: &str| drift::raw_of(&self.plan, &html, field, value);
        let scope = Scope { contracts: &self.plan.contracts, page: &self.scope, rows_max: self.rows_max };
        let (notes, look) = self.history.judge(&scope, &mut extraction, raw);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode};
    use serde_json::json;

    use super::super::page::PARSED;
    use super::super::{Scrape, same};
    use super::*;

    /// A page that leads to others is parsed once for its records and its links.
    #[test]
    fn a_page_is_parsed_once() {
        let page =
            "<base href=/x/><p class=price>1</p><li><a href=a>A</a></li><li>B</li><a class=next href=?p=2>more</a>";
        for keys in [
            json!({ "fields": { "price": "p.price" } }),
            json!({ "fields": { "price": "p.price" }, "pages": { "next": "a.next" } }),
            json!({ "records": "li", "fields": { "name": {} }, "follow": { "css": "a", "fields": { "text": "p" } } }),
        ] {
            let mut settings = keys.clone();
            settings["url"] = json!("http://localhost/");
            let settings: Scrape = serde_json::from_value(settings).unwrap();
            let body = Body {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                bytes: page.into(),
                codings: Vec::new(),
                content_type: Some("text/html".into()),
                validator: None,
                fresh: Duration::ZERO,
                rest: None,
                url: "http://localhost/".parse().unwrap(),
            };
            let (plan, _) = settings.plans().unwrap_or_else(|problems| panic!("{problems:?}"));
            let reading = Reading {
                plan: Arc::new(plan),
                links: settings.links().map(Arc::new),
                links_max: 10,
                encoding: None,
                body_max: 1 << 20,
                wants: false,
                explains: false,
                hash: same::hash(&body),
                history: History::default(),
                scope: String::new(),
                rows_max: 10,
                drawn: None,
            };
            let before = PARSED.get();
            let (read, _) = reading.read(body).unwrap();
            assert_eq!(PARSED.get() - before, 1, "{keys}");
            assert_eq!(read.extraction.rejects.len(), 0, "{keys}");
            if let Some(leads) = read.leads {
                assert_eq!(leads.base.as_deref(), Some("/x/"), "{keys}");
            }
            let links: Vec<Option<&str>> = read.extraction.rows.iter().map(|row| row.link.as_deref()).collect();
            let expected = if settings.follow.is_some() { vec![Some("a"), None] } else { vec![None] };
            assert_eq!(links, expected, "{keys}");
            assert!(read.extraction.rows.iter().all(|row| !row.item.data.get().contains("link")), "{keys}");
        }
    }
}
