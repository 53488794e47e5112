//! Pages that are not the site's but of who guards it: named, and never got around.
//!
//! A vendor is named only by a sign that its own documents or pages carry, and only where the answer is no success or
//! the page has nothing of what was looked for: the same headers stand on every good page of a guarded site.

use std::fmt;

use http::HeaderMap;
use http::header::{HeaderName, SET_COOKIE};

/// How much of a page is looked at: a block page is short, and its signs are in its head.
const BYTES_LOOKED_AT: usize = 64 * 1024;

/// Who refuses, and how one can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Who guards the site.
    pub vendor: &'static str,
    /// What told it: a header, a cookie, a word of the page.
    pub evidence: &'static str,
}

impl fmt::Display for Block {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} (by {})", self.vendor, self.evidence)
    }
}

/// Where a sign is.
enum Sign {
    /// A header of this name, whose value contains this.
    Header(&'static str, &'static str),
    /// A cookie that is set, whose name begins like this.
    Cookie(&'static str),
    /// Words of the page.
    Page(&'static str),
}

/// Where a sign stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Only on what is sent instead of the site's own answer.
    Instead,
    /// On the site's own answers too.
    Always,
}
use Stands::{Always, Instead};

/// From the surest sign to the least; a challenge page before what stands on every answer of its vendor.
const SIGNS: &[(&str, Stands, Sign)] = &[
    ("Cloudflare", Instead, Sign::Header("cf-mitigated", "")),
    ("Cloudflare", Always, Sign::Page("/cdn-cgi/challenge-platform/")),
    ("Cloudflare", Instead, Sign::Page("<title>Just a moment...</title>")),
    ("Cloudflare", Instead, Sign::Page("Attention Required! | Cloudflare")),
    ("AWS WAF", Instead, Sign::Header("x-amzn-waf-action", "")),
    ("AWS WAF", Always, Sign::Page("awsWafCookieDomainList")),
    ("DataDome", Always, Sign::Header("x-datadome", "")),
    ("DataDome", Always, Sign::Header("x-dd-b", "")),
    ("DataDome", Instead, Sign::Page("captcha-delivery.com")),
    ("DataDome", Always, Sign::Cookie("datadome=")),
    ("HUMAN (PerimeterX)", Instead, Sign::Page("px-captcha")),
    ("HUMAN (PerimeterX)", Always, Sign::Page("window._pxAppId")),
    ("Imperva", Always, Sign::Page("_Incapsula_Resource")),
    ("Imperva", Always, Sign::Header("x-iinfo", "")),
    ("Imperva", Always, Sign::Cookie("visid_incap_")),
    ("Kasada", Always, Sign::Header("x-kpsdk-ct", "")),
    ("Kasada", Always, Sign::Page("window.KPSDK")),
    ("Akamai", Instead, Sign::Page("errors.edgesuite.net")),
    ("Akamai", Always, Sign::Header("server", "AkamaiGHost")),
    ("Akamai", Always, Sign::Cookie("ak_bmsc=")),
    ("Sucuri", Always, Sign::Header("x-sucuri-block", "")),
    ("Sucuri", Instead, Sign::Page("Access Denied - Sucuri Website Firewall")),
    ("Google", Instead, Sign::Page("Our systems have detected unusual traffic from your computer network")),
    ("Cloudflare", Always, Sign::Cookie("__cf_bm=")),
    ("Cloudflare", Always, Sign::Header("cf-ray", "")),
    ("a reCAPTCHA", Always, Sign::Page("www.google.com/recaptcha/")),
    ("an hCaptcha", Always, Sign::Page("hcaptcha.com/")),
];

/// Who refuses with this answer, which is no success, if anybody's sign is in it. `page` is its text, as far as it is known.
pub fn named(headers: &HeaderMap, page: &str) -> Option<Block> {
    find(headers, page, |_| true)
}

/// Who has sent this page instead of the site's own, whatever its status says.
pub fn instead(headers: &HeaderMap, page: &str) -> Option<Block> {
    find(headers, page, |stands| stands == Instead)
}

fn find(headers: &HeaderMap, page: &str, counts: impl Fn(Stands) -> bool) -> Option<Block> {
    let page = &page.as_bytes()[..page.len().min(BYTES_LOOKED_AT)];
    let found = SIGNS.iter().find(|(_, stands, sign)| counts(*stands) && sign.is_in(headers, page));
    found.map(|(vendor, _, sign)| Block {
        vendor,
        evidence: match sign {
            Sign::Header(name, _) => name,
            Sign::Cookie(name) => name.trim_end_matches('='),
            Sign::Page(words) => words,
        },
    })
}

/// Whether an answer with this status may be a guard's rather than the site's own.
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403 | 405 | 406 | 429 | 503)
}

impl Sign {
    fn is_in(&self, headers: &HeaderMap, page: &[u8]) -> bool {
        match self {
            Self::Header(name, part) => headers
                .get_all(HeaderName::from_static(name))
                .iter()
                .any(|value| part.is_empty() || value.to_str().is_ok_and(|value| value.contains(part))),
            Self::Cookie(name) => headers
                .get_all(SET_COOKIE)
                .iter()
                .any(|value| value.to_str().is_ok_and(|value| value.trim_start().starts_with(name))),
            Self::Page(words) => memchr::memmem::find(page, words.as_bytes()).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_each_vendor_by_its_signs() {
        for (headers, page, expected) in [
            (&[("cf-mitigated", "challenge"), ("cf-ray", "8c")][..], "", Some("Cloudflare (by cf-mitigated)")),
            (
                &[("server", "cloudflare"), ("set-cookie", "__cf_bm=x; path=/"), ("cf-ray", "8c")],
                "<title>403</title>",
                Some("Cloudflare (by __cf_bm)"),
            ),
            (
                &[],
                "<script src='/cdn-cgi/challenge-platform/h/b/orchestrate'>",
                Some("Cloudflare (by /cdn-cgi/challenge-platform/)"),
            ),
            (&[("server", "AkamaiGHost")], "<H1>Access Denied</H1> Reference #18", Some("Akamai (by server)")),
            (&[("x-datadome", "protected")], "", Some("DataDome (by x-datadome)")),
            (&[("set-cookie", "datadome=abc; Max-Age=31536000")], "", Some("DataDome (by datadome)")),
            (&[("x-amzn-waf-action", "captcha")], "", Some("AWS WAF (by x-amzn-waf-action)")),
            (&[], "<div id=\"px-captcha\">", Some("HUMAN (PerimeterX) (by px-captcha)")),
            (&[], "<iframe src=\"/_Incapsula_Resource?x\">", Some("Imperva (by _Incapsula_Resource)")),
            (&[("server", "nginx")], "<h1>403 Forbidden</h1>", None),
            (&[("set-cookie", "session=datadome=1")], "", None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            if expected.is_some_and(|expected| {
                ["cf-ray", "__cf_bm", "datadome)", "server"].iter().any(|weak| expected.contains(weak))
            }) {
                assert_eq!(instead(&map, page), None, "good pages have it too: {headers:?}");
            }
            assert_eq!(named(&map, page).map(|block| block.to_string()).as_deref(), expected, "{headers:?} {page}");
        }
    }
}
