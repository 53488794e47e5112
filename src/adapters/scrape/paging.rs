//! `pages` and `follow`: what a page leads to, and where that ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::css::Css;
use super::page::Page;
use super::select::{TooSlow, Watch, matches};
use super::settings::{Field, Fields};
use crate::context::shown_url;
use crate::source::Problem;
use crate::words::Texts;

/// The most pages of one list.
const PAGES_MAX: u16 = 100;
/// The most links of one page that are followed.
const LINKS_MAX: u16 = 200;

/// Several pages of one list: by the link to the next one, or by their number.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// A CSS selector of the link to the next page, such as `a.next`. Where there is none the list ends.
    #[serde(default)]
    pub next: Option<String>,
    /// The number of the first page: `{page}` stands for it in `url`, a header or the body. The list ends with the first
    /// page without records, that is not there (404), or that is the one before again.
    #[serde(default)]
    pub from: Option<i64>,
    /// How far it is from one number to the next: 1 by default; 25 where a site counts records and has 25 on a page.
    #[serde(default)]
    pub step: Option<i64>,
    /// The most pages that are asked for at one tick: 10 by default.
    #[serde(default = "default_pages")]
    #[schemars(range(min = 2, max = 100))]
    pub max: u16,
    /// A CSS selector: the list ends with a page that has it.
    #[serde(default)]
    pub stop: Option<String>,
    /// Whether the next page may be on another site. `false` by default; a site's own subdomains are no other.
    #[serde(default)]
    pub other_sites: bool,
}

/// Pages that a page links to, and what is taken of each.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// A CSS selector of the links, such as `a.headline`: within each row where there are `records`, its first match; of
    /// the whole page else, each match is a record.
    #[serde(default)]
    pub css: Option<String>,
    /// The attribute that has the address: `href` by default.
    #[serde(default)]
    pub attr: Option<String>,
    /// Where rows are JSON: the path of the address from there.
    #[serde(default)]
    pub json: Option<String>,
    /// The most links of one page that are followed: 50 by default.
    #[serde(default = "default_links")]
    #[schemars(range(min = 1, max = 200))]
    pub max: u16,
    /// What is taken of each linked page, by name. In the record it stands behind the list's own `fields`.
    pub fields: Fields,
    /// Whether links may lead to another site. `false` by default; a site's own subdomains are no other.
    #[serde(default)]
    pub other_sites: bool,
}

fn default_pages() -> u16 {
    10
}

fn default_links() -> u16 {
    50
}

impl Paging {
    /// Whether pages are asked for by their number.
    pub(super) fn counts(&self) -> bool {
        self.next.is_none()
    }

    /// The number of the first page.
    pub(super) fn first(&self) -> i64 {
        self.from.unwrap_or(1)
    }

    /// The number of the page with this index.
    pub(super) fn number(&self, index: u16) -> i64 {
        self.first().saturating_add(self.step.unwrap_or(1).saturating_mul(index.into()))
    }

    /// What is wrong with it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| problems.push(Problem::new(["pages", key], message));
        if self.next.is_some() {
            let counted = [("from", self.from.is_some()), ("step", self.step.is_some())];
            for (key, _) in counted.into_iter().filter(|(_, is_there)| *is_there) {
                wrong(key, "pages are found by `next`, or counted; leave one of them out".into());
            }
        }
        if self.step == Some(0) {
            wrong("step", "with a step of 0 each page would be the first".into());
        }
        if !(2..=PAGES_MAX).contains(&self.max) {
            wrong("max", format!("from 2 to {PAGES_MAX}"));
        }
        for (key, css) in [("next", &self.next), ("stop", &self.stop)] {
            if let Some(Err(message)) = css.as_deref().map(Css::new) {
                wrong(key, message);
            }
        }
        problems
    }
}

impl Follow {
    /// Which links, for people.
    pub(super) fn shown(&self) -> &str {
        self.css.as_deref().or(self.json.as_deref()).unwrap_or_default()
    }

    /// Where a row has its link, as a field would say it. `None` where the file does not say that in one way.
    pub(super) fn link(&self) -> Option<Field> {
        let attr = self.css.is_some().then(|| Texts(vec![self.attr.clone().unwrap_or("href".into())]));
        let css = self.css.clone().map(|css| Texts(vec![css]));
        (self.css.is_some() != self.json.is_some()).then(|| Field {
            css,
            attr,
            json: self.json.clone(),
            ..Field::default()
        })
    }

    /// What else is wrong with it.
    pub(super) fn problems(&self, listed: &Fields) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &[&str], message: String| {
            problems.push(Problem::new(["follow"].iter().chain(path).copied(), message));
        };
        if self.css.is_some() == self.json.is_some() {
            wrong(&[], "say which links: `css` with a selector such as `a.headline`".into());
        }
        if !(1..=LINKS_MAX).contains(&self.max) {
            wrong(&["max"], format!("from 1 to {LINKS_MAX}"));
        }
        for (name, _) in self.fields.0.iter().filter(|(name, _)| listed.has(name)) {
            wrong(&["fields", name], "the list has a field of this name; rename one of them".into());
        }
        problems
    }
}

/// What is looked for on a page beside its records.
#[derive(Default)]
pub(super) struct Links {
    next: Option<Css>,
    stop: Option<Css>,
    /// The links of a page without rows, and the attribute that has their addresses.
    follow: Option<(Css, String)>,
    base: Option<Css>,
}

/// Where a page leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leads {
    /// What its links are relative to, where the page says.
    pub(super) base: Option<String>,
    /// The next page.
    pub(super) next: Option<String>,
    /// The list ends here.
    pub(super) stops: bool,
    /// The links to follow, of a page without rows.
    pub(super) follow: Vec<String>,
}

impl Links {
    /// Of selectors that were checked.
    pub(super) fn new(pages: Option<&Paging>, follow: Option<&Follow>, has_rows: bool) -> Self {
        let css = |text: Option<&String>| text.and_then(|text| Css::new(text).ok());
        let follow = follow.filter(|_| !has_rows).and_then(|follow| {
            Some((css(follow.css.as_ref())?, follow.attr.clone().unwrap_or("href".into()).to_ascii_lowercase()))
        });
        Self {
            next: css(pages.and_then(|pages| pages.next.as_ref())),
            stop: css(pages.and_then(|pages| pages.stop.as_ref())),
            follow,
            base: Css::new("base[href]").ok(),
        }
    }

    /// Looks for them.
    ///
    /// # Errors
    /// When that takes too long.
    pub(super) fn find(&self, page: &Page, links_max: usize) -> Result<Leads, TooSlow> {
        let watch = Watch::start();
        let first = |css: &Option<Css>, attribute: &str| {
            let css = css.as_ref()?;
            matches(page.root(), css, true, &watch).find_map(|found| found.value().attr(attribute).map(str::to_owned))
        };
        let stops = self.stop.as_ref().is_some_and(|css| matches(page.root(), css, true, &watch).next().is_some());
        let follow = self.follow.as_ref().map_or_else(Vec::new, |(css, attribute)| {
            let found = matches(page.root(), css, true, &watch);
            found.filter_map(|found| found.value().attr(attribute).map(str::to_owned)).take(links_max).collect()
        });
        let leads = Leads { base: first(&self.base, "href"), next: first(&self.next, "href"), stops, follow };
        if watch.is_over() { Err(TooSlow) } else { Ok(leads) }
    }
}

/// What a link's text names: an address relative to the page's, without what browsers keep to themselves.
///
/// # Errors
/// In words, when it is none that is followed from `from`, a page of the site of `own`.
pub(super) fn target(link: &str, base: Option<&str>, from: &Url, own: &Url, other_sites: bool) -> Result<Url, String> {
    let base = base.and_then(|base| from.join(base).ok()).unwrap_or_else(|| from.clone());
    let mut url =
        base.join(link.trim()).map_err(|error| format!("bad_link: a link of the page is no address ({error})"))?;
    url.set_fragment(None);
    let shown = shown_url(&url);
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("bad_link: the page links to `{}:`, which is not followed", url.scheme()));
    }
    if from.scheme() == "https" && url.scheme() == "http" {
        return Err(format!("insecure_link: the page links from https to {shown}"));
    }
    // A name and password in a link would be sent as if they were ours.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(format!("bad_link: the page links to {shown}, which is not followed"));
    }
    // Where the site itself has sent us is no other site.
    if !other_sites && !is_same_site(own, &url) && !is_same_site(from, &url) {
        return Err(format!("other_site: the page links to {shown}; if that is meant, write `other_sites: true`"));
    }
    Ok(url)
}

/// Whether a page is on the same site: the same host and port, or a host below it; `www.` makes no difference.
pub(super) fn is_same_site(own: &Url, other: &Url) -> bool {
    let plain = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        host.strip_prefix("www.").unwrap_or(host).to_owned()
    };
    let (host, other_host) = (plain(own), plain(other));
    let is_below = matches!(own.host(), Some(url::Host::Domain(_))) && other_host.ends_with(&format!(".{host}"));
    let ports = [own, other].map(|url| (url.port(), url.scheme()));
    // From http to https a site's port changes, and the site does not.
    let same_port = ports[0].0 == ports[1].0;
    (host == other_host || is_below) && same_port
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn links_lead_to_their_own_site() {
        let page: Url = "https://www.a.example/news/list?p=1".parse().unwrap();
        let to = |link: &str, base: Option<&str>, others| {
            target(link, base, &page, &page, others).map_or_else(|why| why, Url::into)
        };
        for (link, base, expected) in [
            ("2", None, "https://www.a.example/news/2"),
            (" ?p=2#top ", None, "https://www.a.example/news/list?p=2"),
            ("/x", Some("/deep/"), "https://www.a.example/x"),
            ("x", Some("/deep/"), "https://www.a.example/deep/x"),
            ("//a.example/x", None, "https://a.example/x"),
            ("https://m.a.example/x", None, "https://m.a.example/x"),
            ("https://me:secret@a.example/x", None, "https://a.example/x"),
            (
                "https://b.example/x",
                None,
                "other_site: the page links to https://b.example/x; if that is meant, write `other_sites: true`",
            ),
            (
                "https://nota.example/x",
                None,
                "other_site: the page links to https://nota.example/x; if that is meant, write `other_sites: true`",
            ),
            (
                "https://a.example:8443/x",
                None,
                "other_site: the page links to https://a.example:8443/x; if that is meant, write `other_sites: true`",
            ),
            ("http://a.example/x", None, "insecure_link: the page links from https to http://a.example/x"),
            ("javascript:next()", None, "bad_link: the page links to `javascript:`, which is not followed"),
            ("https://", None, "bad_link: a link of the page is no address (empty host)"),
        ] {
            assert_eq!(to(link, base, false), expected);
        }
        assert_eq!(to("https://b.example/x", None, true), "https://b.example/x");
    }

    #[test]
    fn what_a_page_leads_to() {
        let pages: Paging = serde_json::from_value(json!({ "next": "a.next", "stop": ".none" })).unwrap();
        let follow: Follow = serde_json::from_value(json!({ "css": "a.item", "fields": { "a": "b" } })).unwrap();
        let links = Links::new(Some(&pages), Some(&follow), false);
        let find = |html: &str, max| links.find(&Page::parse(html).unwrap(), max).unwrap();
        let page = "<base href=/x/><a class=item href=1>1</a><a class=item>-</a><a class=item href=2>2</a><a class=next>gone</a><a class=next href=?p=2>";
        let leads = find(page, 10);
        assert_eq!(leads.base.as_deref(), Some("/x/"));
        assert_eq!(leads.next.as_deref(), Some("?p=2"));
        assert_eq!((leads.follow, leads.stops), (vec!["1".to_owned(), "2".to_owned()], false));
        assert_eq!(find(page, 1).follow.len(), 1);
        assert!(find("<p class=none>", 1).stops);
    }

    #[test]
    fn words_for_what_is_wrong() {
        let pages = |value| {
            let pages: Paging = serde_json::from_value(value).unwrap();
            let problems = pages.problems();
            let words = problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message));
            words.collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(pages(json!({ "next": "a:", "from": 1, "step": 0, "max": 1, "stop": "b::x" })), @r"
        pages.from: pages are found by `next`, or counted; leave one of them out
        pages.step: pages are found by `next`, or counted; leave one of them out
        pages.step: with a step of 0 each page would be the first
        pages.max: from 2 to 100
        pages.next: `a:` is not a CSS selector: unexpected EOL
        pages.stop: `b::x` has a pseudo-element; `attr: NAME` takes an attribute, and text is the default
        ");
        assert_eq!(pages(json!({ "from": 0, "step": 25 })), "");
        let listed: Fields = serde_json::from_value(json!({ "a": "b" })).unwrap();
        let follow = |value| {
            let follow: Follow = serde_json::from_value(value).unwrap();
            let problems = follow.problems(&listed);
            let words = problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message));
            words.collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(follow(json!({ "css": "a:", "max": 0, "fields": { "a": "b" } })), @r"
        follow.max: from 1 to 200
        follow.fields.a: the list has a field of this name; rename one of them
        ");
        insta::assert_snapshot!(follow(json!({ "fields": { "c": "b" } })), @"follow: say which links: `css` with a selector such as `a.headline`");
    }
}
