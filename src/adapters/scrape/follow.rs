//! The way over the pages that a page links to.

use std::collections::{HashMap, HashSet};

use http::Method;
use url::Url;

use super::Pages;
use super::extract::Row;
use super::paging::{Follow, Leads, target};
use super::round::Visit;
use super::rows::merged;
use super::visit::{Target, Trip};
use crate::context::shown_url;
use crate::fetch::Request;
use crate::item::{Item, Reject};
use crate::source::Outcome;

/// The rows of a list with their links.
struct Rows<'a> {
    ask: usize,
    /// The request for the list, and where it was found.
    list: &'a Request,
    from: Url,
    page: Option<&'a str>,
    base: Option<String>,
    all: Vec<Row>,
}

impl Pages {
    /// Takes a page of a list into the round, with the pages that its rows link to. Whether others are asked for.
    pub(super) async fn take_visit(&mut self, mut visit: Visit, request: &Request, trip: &mut Trip<'_>) -> bool {
        let mut goes_on = true;
        if let Some(follow) = self.scrape.follow.clone() {
            let leads = self.leads_of(&visit);
            let page = visit.page.clone();
            let rows = self.rows_of(&visit, &leads, &follow, trip);
            let (from, page) = (visit.url.clone(), page.as_deref());
            let rows = Rows { ask: visit.ask, list: request, from, page, base: leads.base, all: rows };
            let (items, more) = self.follow(rows, &follow, trip).await;
            (visit.followed, goes_on) = (Some(items), more);
        }
        trip.round.visits.push(visit);
        goes_on
    }

    /// The rows of a list, each with its link. What has none is rejected.
    fn rows_of(&self, visit: &Visit, leads: &Leads, follow: &Follow, trip: &mut Trip<'_>) -> Vec<Row> {
        let records = self.records_of(visit);
        let max = usize::from(follow.max);
        if self.scrape.records.is_some() {
            let mut rows = Vec::new();
            for row in records {
                match self.is_known(visit.ask, &row.item) {
                    Some(hash) => trip.round.known.push(hash),
                    None => rows.push(row.clone()),
                }
            }
            rows.truncate(max);
            rows
        } else {
            // Each link of the page, once, with what the page itself says.
            let mut once = HashSet::new();
            let links = leads.follow.iter().filter(|link| once.insert(link.as_str())).take(max);
            let rows: Vec<Row> = records.first().map_or_else(Vec::new, |Row { item, .. }| {
                links.map(|link| Row { item: item.clone(), link: Some(link.clone()) }).collect()
            });
            if rows.is_empty() && !records.is_empty() {
                let reason = format!("`{}` matched nothing, so that there is nothing to follow", follow.shown());
                let reject = Reject::new(Outcome::Missing, Some("follow".into()), reason, "");
                trip.round.reject_row(Reject { page: visit.page.clone(), ..reject });
            }
            rows
        }
    }

    /// Fetches the pages that rows link to: the records of both, and whether others are asked for.
    async fn follow(&mut self, rows: Rows<'_>, follow: &Follow, trip: &mut Trip<'_>) -> (Vec<Item>, bool) {
        let Rows { ask, list, from, page, base, all } = rows;
        let mut items = Vec::new();
        // Two rows may link to one page.
        let mut details: HashMap<Url, Vec<Item>> = HashMap::new();
        for Row { item: row, link } in all {
            let Some(link) = link else {
                let reason =
                    format!("`{}` matched nothing in a row, so that there is nothing to follow", follow.shown());
                let reject = Reject::new(Outcome::Missing, Some("follow".into()), reason, row.data.get());
                trip.round.reject_row(Reject { page: page.map(str::to_owned), ..reject });
                continue;
            };
            let url = match target(&link, base.as_deref(), &from, &self.site(), follow.other_sites) {
                Ok(url) => url,
                Err(why) => {
                    trip.round.reject(Outcome::Error, why, page);
                    continue;
                }
            };
            let detail = match details.get(&url) {
                Some(detail) => detail.clone(),
                None => match self.detail(ask, &linked(list, url.clone()), page, trip).await {
                    Ok(detail) => detail,
                    Err(goes_on) if goes_on => continue,
                    Err(_) => return (items, false),
                },
            };
            items.extend(detail.iter().map(|detail| merged(&row, detail)));
            details.insert(url, detail);
        }
        (items, true)
    }

    /// What a page that another links to became; otherwise whether others are asked for.
    async fn detail(
        &mut self,
        ask: usize,
        request: &Request,
        list: Option<&str>,
        trip: &mut Trip<'_>,
    ) -> Result<Vec<Item>, bool> {
        let name = list.map_or_else(String::new, |list| format!("{list} ")) + &shown_url(&request.url);
        if !trip.round.takes_one(Some(&name)) {
            return Err(false);
        }
        let target = Target { ask, request, page: Some(&name), is_detail: true, may_end: false };
        match self.visit(&target, trip).await {
            Ok(Some(visit)) => {
                let items = self.records_of(&visit).iter().map(|row| row.item.clone()).collect();
                trip.round.visits.push(visit);
                Ok(items)
            }
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(trip.round.failed(error, Some(&name))),
        }
    }
}

/// The request for a page that another links to. What the user wrote for one site no other is told.
pub(super) fn linked(request: &Request, url: Url) -> Request {
    let is_own = url.origin() == request.url.origin();
    let mut headers = request.headers.clone();
    if !is_own {
        headers = request.harmless_headers();
    }
    let auth = request.auth.clone().filter(|_| is_own);
    Request { method: Method::GET, url, payload: None, headers, auth, ..request.clone() }
}
