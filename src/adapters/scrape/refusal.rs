//! What a page says that is not the one that was asked for.

use http::HeaderMap;
use scraper::Selector;

use super::extract::Extraction;
use super::page::Page;
use super::text::shown_text;
use crate::fetch::block;
use crate::source::Outcome;

/// A page with nothing of what was looked for may be a guard's instead of the site's own: then that is what is said of
/// it, and what became of the tick.
pub(super) fn name_guard(extraction: &mut Extraction, headers: &HeaderMap, html: &str) {
    if extraction.rejects.is_empty() || !extraction.rows.is_empty() {
        return;
    }
    let Some(guard) = block::instead(headers, html) else { return };
    for reject in &mut extraction.rejects {
        reject.outcome = Outcome::Blocked;
        reject.reason = format!("blocked_by: {guard} sent a page instead of the site's; {}", reject.reason);
    }
}

/// The words of an answer that brings no page: its title, or else its text.
pub(super) fn words(html: &str) -> String {
    let Ok(page) = Page::parse(html) else { return String::new() };
    let title = Selector::parse("title").ok().and_then(|title| page.root().select(&title).next());
    let words = title.and_then(shown_text).filter(|words| !words.is_empty());
    words.or_else(|| shown_text(page.root())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_said_before_a_text() {
        assert_eq!(words("<title>Not\n here</title><p>body"), "Not here");
        assert_eq!(words("<p>only &lt; text</p>"), "only < text");
    }
}
