//! An answer that comes in pages: which one is the next.

use http::header::{HeaderMap, LINK};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::message::{Place, text_of};
use crate::source::Problem;

/// How the next page is found: one of these.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pages {
    /// The place in the answer that has the next page's address: `/links/next`.
    pub next: Option<Place>,
    /// The relation in the answer's `Link` header that has it (RFC 8288): `next`.
    pub link: Option<String>,
    /// Counts pages by a parameter of the address: `{ param: page, from: 1 }`.
    pub page: Option<PageKeys>,
    /// Counts records by a parameter of the address: `{ param: offset, step: 100 }`.
    pub offset: Option<OffsetKeys>,
    /// Sends back what an answer says: `{ param: cursor, from: /meta/next_cursor }`.
    pub cursor: Option<CursorKeys>,
    /// The most pages of one tick: 100 by default.
    #[schemars(range(min = 1, max = 1000))]
    pub max: u16,
    /// Whether a next page may be on another site. `false` by default.
    pub other_sites: bool,
}

/// Pages by their numbers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageKeys {
    /// The parameter.
    pub param: String,
    /// The first page's number; 1 by default.
    #[serde(default = "one")]
    pub from: u32,
}

/// Pages by how many records are before them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffsetKeys {
    /// The parameter.
    pub param: String,
    /// How many records a page has.
    #[schemars(range(min = 1))]
    pub step: u32,
    /// The parameter that asks for so many, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_param: Option<String>,
}

/// Pages by what the one before says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorKeys {
    /// The parameter.
    pub param: String,
    /// Where its value is in an answer. Without one, or with an empty one, that was the last page.
    pub from: Place,
}

fn one() -> u32 {
    1
}

impl Default for Pages {
    fn default() -> Self {
        Self { next: None, link: None, page: None, offset: None, cursor: None, max: 100, other_sites: false }
    }
}

impl Pages {
    /// What is wrong with it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let ways = [
            self.next.is_some(),
            self.link.is_some(),
            self.page.is_some(),
            self.offset.is_some(),
            self.cursor.is_some(),
        ];
        let mut problems = Vec::new();
        if ways.into_iter().filter(|is_one| *is_one).count() != 1 {
            problems.push(Problem::new(["pages"], "write one of `next`, `link`, `page`, `offset` and `cursor`"));
        }
        if !(1..=1000).contains(&self.max) {
            problems.push(Problem::new(["pages", "max"], "from 1 to 1000"));
        }
        if self.offset.as_ref().is_some_and(|offset| offset.step == 0) {
            problems.push(Problem::new(["pages", "offset", "step"], "a page has one record at least"));
        }
        let places = [("next", self.next.as_ref()), ("cursor", self.cursor.as_ref().map(|cursor| &cursor.from))];
        for (name, _) in places.into_iter().filter(|(_, place)| place.is_some_and(Place::is_many)) {
            problems.push(Problem::new(["pages", name], "this is one value; leave the `*` out"));
        }
        problems
    }

    /// The place in an answer that says where the next page is, where one does.
    pub(super) fn place(&self) -> Option<&Place> {
        self.next.as_ref().or(self.cursor.as_ref().map(|cursor| &cursor.from))
    }

    /// The first page's address.
    pub(super) fn first(&self, mut url: Url) -> Url {
        if let Some(PageKeys { param, from }) = &self.page {
            set(&mut url, param, &from.to_string());
        }
        if let Some(OffsetKeys { step, limit_param, .. }) = &self.offset
            && let Some(limit_param) = limit_param
        {
            set(&mut url, limit_param, &step.to_string());
        }
        url
    }

    /// The address of the page after the one with this index, or `None` at the end. `told` is what stood at [`place`](Self::place)
    /// of its answer; `first` is where the first page was asked for, and `from` where this one was found.
    ///
    /// # Errors
    /// In words, when it leads where it may not.
    pub(super) fn after(
        &self,
        index: u16,
        first: &Url,
        from: &Url,
        headers: &HeaderMap,
        told: Option<&str>,
    ) -> Result<Option<Url>, String> {
        if index + 1 >= self.max {
            return Ok(None);
        }
        let count = u64::from(index) + 1;
        let with = |param: &str, value: &str| {
            let mut url = first.clone();
            set(&mut url, param, value);
            Ok(Some(url))
        };
        if let Some(PageKeys { param, from }) = &self.page {
            return with(param, &(u64::from(*from) + count).to_string());
        }
        if let Some(OffsetKeys { param, step, .. }) = &self.offset {
            return with(param, &(count * u64::from(*step)).to_string());
        }
        let told = told.map(str::trim).filter(|told| !told.is_empty() && *told != "false");
        if let Some(CursorKeys { param, .. }) = &self.cursor {
            return told.map_or(Ok(None), |told| with(param, told));
        }
        let linked = self.link.as_ref().and_then(|relation| link(headers, relation));
        let Some(target) = told.or(linked.as_deref()) else { return Ok(None) };
        let next =
            from.join(target).map_err(|error| format!("bad_next_page: the next page's address is none ({error})"))?;
        if !matches!(next.scheme(), "http" | "https") || !next.username().is_empty() || next.password().is_some() {
            return Err("bad_next_page: the next page's address is not one that is asked".into());
        }
        if next.origin() != first.origin() && !self.other_sites {
            let site = next.origin().ascii_serialization();
            return Err(format!(
                "bad_next_page: the next page is on another site, {site}; allow that with `other_sites: true`"
            ));
        }
        Ok(Some(next))
    }
}

/// The text of a scalar.
pub(super) fn told(value: Option<&serde_json::value::RawValue>) -> Option<String> {
    value.and_then(text_of).map(std::borrow::Cow::into_owned)
}

/// Sets a parameter of an address, in place of one that it has.
pub(super) fn set(url: &mut Url, param: &str, value: &str) {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != param)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(param, value);
}

/// The target of a link with this relation.
fn link(headers: &HeaderMap, relation: &str) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let mut rest = value;
        while let Some((_, after)) = rest.split_once('<') {
            let (target, after) = after.split_once('>')?;
            let end = after.find(",<").or_else(|| after.find(", <")).unwrap_or(after.len());
            let is_it = |parameter: &str| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                let mut relations = value.trim().trim_matches('"').split_whitespace();
                name.trim().eq_ignore_ascii_case("rel") && relations.any(|own| own.eq_ignore_ascii_case(relation))
            };
            if after[..end].split(';').any(is_it) {
                return Some(target.to_owned());
            }
            rest = &after[end..];
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pages(keys: serde_json::Value) -> Pages {
        let pages: Pages = serde_json::from_value(keys).unwrap();
        assert_eq!(pages.problems(), []);
        pages
    }

    fn after(pages: &Pages, index: u16, headers: &[&str], told: Option<&str>) -> Result<Option<String>, String> {
        let url: Url = "https://a.example/v1/list?x=1".parse().unwrap();
        let headers = headers.iter().map(|value| (LINK, value.parse().unwrap())).collect();
        pages.after(index, &pages.first(url.clone()), &url, &headers, told).map(|next| next.map(String::from))
    }

    #[test]
    fn each_way_to_the_next_page() {
        let page = pages(json!({ "page": { "param": "page" }, "max": 3 }));
        assert_eq!(after(&page, 0, &[], None), Ok(Some("https://a.example/v1/list?x=1&page=2".into())));
        assert_eq!(after(&page, 2, &[], None), Ok(None), "the most");
        let offset = pages(json!({ "offset": { "param": "offset", "step": 50, "limit_param": "limit" } }));
        assert_eq!(after(&offset, 1, &[], None), Ok(Some("https://a.example/v1/list?x=1&limit=50&offset=100".into())));
        let cursor = pages(json!({ "cursor": { "param": "c", "from": "/next" } }));
        assert_eq!(after(&cursor, 0, &[], Some("a b&=")), Ok(Some("https://a.example/v1/list?x=1&c=a+b%26%3D".into())));
        for end in [None, Some(""), Some("false")] {
            assert_eq!(after(&cursor, 0, &[], end), Ok(None));
        }
        let next = pages(json!({ "next": "/next" }));
        assert_eq!(after(&next, 0, &[], Some("?p=2")), Ok(Some("https://a.example/v1/list?p=2".into())));
        assert_eq!(after(&next, 0, &[], Some("/v1/list/2")), Ok(Some("https://a.example/v1/list/2".into())));
        for elsewhere in
            ["https://b.example/2", "http://a.example/2", "//b.example/", "ftp://a.example/", "https://u:p@a.example/"]
        {
            assert!(after(&next, 0, &[], Some(elsewhere)).unwrap_err().starts_with("bad_next_page"), "{elsewhere}");
        }
        let other = pages(json!({ "next": "/next", "other_sites": true }));
        assert_eq!(after(&other, 0, &[], Some("https://b.example/2")), Ok(Some("https://b.example/2".into())));
    }

    #[test]
    fn links_in_headers() {
        let link = pages(json!({ "link": "next" }));
        for (header, expected) in [
            ("<https://a.example/2>; rel=\"next\"", Some("https://a.example/2")),
            ("</1>; rel=prev, </3>; title=\"a, b\"; rel=\"next last\"", Some("https://a.example/3")),
            ("</1?a,b>; rel=first,</2>;REL=NEXT", Some("https://a.example/2")),
            ("</1>; rel=nextish", None),
            ("<", None),
            ("", None),
        ] {
            assert_eq!(after(&link, 0, &[header], None), Ok(expected.map(str::to_owned)), "{header}");
        }
        assert_eq!(
            after(&link, 0, &["</1>; rel=prev", "</2>; rel=next"], None),
            Ok(Some("https://a.example/2".into()))
        );
    }

    #[test]
    fn one_way_is_wanted() {
        for keys in [
            json!({}),
            json!({ "link": "next", "next": "/a" }),
            json!({ "link": "next", "max": 0 }),
            json!({ "next": "/*" }),
        ] {
            let pages: Pages = serde_json::from_value(keys.clone()).unwrap();
            assert_eq!(pages.problems().len(), 1, "{keys}");
        }
    }
}
