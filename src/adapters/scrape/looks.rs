//! What a page looks like in which a field was looked for in vain: it may be no page of the kind at all.

use scraper::ElementRef;

use super::text::{own_text, shown_text};

/// Below this much text, a page with scripts is likely to be filled by them.
const SHELL_TEXT_BYTES: usize = 1024;
/// From this many scripts on, the reader is told that they may be what fills the page.
const SCRIPTS_MANY: usize = 10;
/// A page that only says that there is none has less text than this.
const NOTICE_BYTES: usize = 4096;
/// Ids of the elements that scripts fill.
const ROOTS: [&str; 8] = ["root", "app", "__next", "__nuxt", "___gatsby", "app-root", "react-root", "main-app"];

/// What pages say that are sent instead of the site's own. Lower case.
const BLOCKED: [&str; 10] = [
    "captcha",
    "verify you are human",
    "verify that you are human",
    "are you a robot",
    "not a robot",
    "access denied",
    "unusual traffic",
    "just a moment",
    "you have been blocked",
    "request blocked",
];
const ERRORS: [&str; 6] = [
    "not found",
    "internal server error",
    "service unavailable",
    "temporarily unavailable",
    "something went wrong",
    "maintenance",
];
const CONSENT: [&str; 6] =
    ["before you continue", "accept all", "accept cookies", "cookie settings", "we use cookies", "your privacy"];

/// What there is to count in a page.
#[derive(Default)]
struct Seen<'a> {
    scripts: usize,
    has_password: bool,
    /// An element that scripts fill, and have not filled.
    empty_root: Option<&'a str>,
    has_consent_form: bool,
    /// The page's title and its headings, in lower case.
    headings: String,
}

/// What somebody needs to know whose selector matched nothing.
pub(super) fn describe(root: ElementRef<'_>) -> String {
    let text = shown_text(root);
    // What is longer than any text may be is no notice.
    let bytes = text.as_ref().map_or(usize::MAX, String::len);
    let seen = look(root);
    let may_need = seen.scripts >= SCRIPTS_MANY || (seen.scripts > 0 && bytes < SHELL_TEXT_BYTES);
    let hint = if may_need { ", and may need JavaScript" } else { "" };
    let plural = if seen.scripts == 1 { "" } else { "s" };
    let size = match &text {
        Some(text) => bytesize::ByteSize(text.len() as u64).to_string(),
        None => "more than a MiB".to_owned(),
    };
    let like = like(&seen, &text.unwrap_or_default(), bytes)
        .map_or_else(String::new, |what| format!("; it looks like {what}"));
    format!("the page has {size} of text and {} script{plural}{hint}{like}", seen.scripts)
}

fn like(seen: &Seen<'_>, text: &str, bytes: usize) -> Option<String> {
    let is_short = bytes < NOTICE_BYTES;
    let words = text.to_lowercase();
    let says = |all: &[&str], text: &str| all.iter().any(|words| text.contains(words));
    if is_short && (says(&BLOCKED, &words) || says(&BLOCKED, &seen.headings)) {
        return Some("a block page".into());
    }
    if seen.has_password {
        return Some("a login form".into());
    }
    if is_short && (seen.has_consent_form || says(&CONSENT, &words) && words.contains("cookie")) {
        return Some("a consent wall".into());
    }
    let is_status = |line: &str| ["404", "410", "500", "502", "503"].iter().any(|status| line.starts_with(status));
    if is_short && (says(&ERRORS, &seen.headings) || seen.headings.lines().any(is_status)) {
        return Some("an error page".into());
    }
    if let Some(id) = seen.empty_root.filter(|_| is_short && seen.scripts > 0) {
        return Some(format!("a shell that JavaScript fills, in `#{id}`"));
    }
    (bytes == 0 && seen.scripts == 0).then(|| "an empty page".into())
}

fn look(root: ElementRef<'_>) -> Seen<'_> {
    let mut seen = Seen::default();
    for element in root.descendent_elements() {
        let tag = element.value();
        match tag.name() {
            "script" => seen.scripts += 1,
            "input" => {
                let is_password = tag.attr("type").is_some_and(|kind| kind.eq_ignore_ascii_case("password"));
                seen.has_password |= is_password;
            }
            "form" => seen.has_consent_form |= tag.attr("action").is_some_and(|action| action.contains("consent")),
            "title" | "h1" | "h2" if seen.headings.len() < NOTICE_BYTES => {
                let text = if tag.name() == "title" { own_text(element) } else { shown_text(element) };
                seen.headings.push_str(&text.unwrap_or_default().to_lowercase());
                seen.headings.push('\n');
            }
            _ => {}
        }
        if let Some(id) = tag.attr("id").and_then(|id| ROOTS.iter().copied().find(|root| *root == id))
            && element.child_elements().next().is_none()
        {
            seen.empty_root = seen.empty_root.or(Some(id));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::super::page::Page;
    use super::*;

    #[test]
    fn pages_that_are_none() {
        let describe = |html: &str| describe(Page::parse(html).unwrap().root());
        let scripts = |count: usize| "<script src=a></script>".repeat(count);
        for (html, expected) in [
            ("<form><input name=u><input type=PASSWORD></form>".to_owned(), Some("a login form")),
            ("<title>Access Denied</title><p>You don't have permission".to_owned(), Some("a block page")),
            ("<p>Please verify you are human</p><script></script>".to_owned(), Some("a block page")),
            (format!("<div id=root></div>{}", scripts(31)), Some("a shell that JavaScript fills, in `#root`")),
            ("<p> </p>".to_owned(), Some("an empty page")),
            ("<h1>404 - Page not found</h1>".to_owned(), Some("an error page")),
            ("<p>We use cookies</p><button>Accept all</button>".to_owned(), Some("a consent wall")),
            (
                "<form action=https://consent.example/save><button>Yes</button></form>".to_owned(),
                Some("a consent wall"),
            ),
            ("<p>59,465.68</p>".to_owned(), None),
            ("<h1>NIFTY 500</h1><p>24,834".to_owned(), None),
            (format!("<h1>Market maintenance costs</h1><p>{}</p>", "word ".repeat(2000)), None),
            (format!("<div id=root><p>1</p></div>{}", scripts(2)), None),
        ] {
            let said = describe(&html);
            let like = said.split_once("it looks like ").map(|(_, what)| what);
            assert_eq!(like, expected, "{html}: {said}");
        }
        insta::assert_snapshot!(describe(&format!("<div id=app></div>{}", scripts(31))), @"the page has 0 B of text and 31 scripts, and may need JavaScript; it looks like a shell that JavaScript fills, in `#app`");
        insta::assert_snapshot!(describe("<p>x</p>"), @"the page has 1 B of text and 0 scripts");
    }
}
