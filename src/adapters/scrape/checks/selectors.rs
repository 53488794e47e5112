//! Selectors: what they find, what is said of them, and which are proposed.

use scraper::{ElementRef, Selector};

use super::super::compounds::{alternatives, how_far, links, parts};
use super::super::css::Css;
use super::super::page::Page;
use super::super::select::{Watch, matches};
use super::super::selector::candidates;

/// Of so many elements selectors are proposed; each is tried on the whole page.
const ELEMENTS_MAX: usize = 12;

/// Any text is taken apart into parts of itself, whether it is a selector or not.
pub(in super::super) fn taken_apart(selector: &str, html: &str) {
    let text = selector.trim();
    for range in alternatives(text) {
        let one = &text[range];
        let all = links(one);
        assert!(all.is_sorted_by(|before, after| before.end <= after.start), "{one:?}: {all:?}");
        for link in all {
            let compound = &one[link.start..link.end];
            assert!(!compound.is_empty(), "{one:?}");
            assert!(parts(compound).concat().len() <= compound.len(), "{compound:?}");
        }
    }
    if let Ok(page) = Page::parse(html) {
        how_far(text, page.root(), page.root(), &Watch::start());
    }
}

/// What is found is what scraper finds, in the page's order, whichever way it was looked for.
pub(in super::super) fn found(selector: &str, html: &str) {
    let (Ok(css), Ok(page)) = (Css::new(selector), Page::parse(html)) else { return };
    let watch = Watch::start();
    let found: Vec<ElementRef<'_>> = matches(page.root(), &css, true, &watch).collect();
    if !watch.is_over() {
        assert_eq!(found, all(&page, &css.selector), "{selector} in {html}");
    }
}

fn all<'a>(page: &'a Page, selector: &'a Selector) -> Vec<ElementRef<'a>> {
    let root = page.root();
    // The root itself is not below itself.
    let itself = std::iter::once(root).filter(|root| selector.matches(root));
    itself.chain(root.select(selector).filter(|element| *element != root)).collect()
}

/// Every element of any page has a selector, but for one in a `template`, which no browser shows; and each that is
/// proposed matches it and nothing else.
pub(in super::super) fn proposed(html: &str) {
    let Ok(page) = Page::parse(html) else { return };
    let watch = Watch::start();
    for element in page.root().descendent_elements().take(ELEMENTS_MAX) {
        let proposed = candidates(page.root(), element, &watch);
        if watch.is_over() {
            return;
        }
        let in_template = element.ancestors().any(|above| above.value().is_fragment());
        assert!(in_template || !proposed.is_empty(), "{html}: {:?}", element.value());
        for candidate in proposed {
            let selector = Selector::parse(&candidate.css).expect("what is proposed is a selector");
            assert_eq!(all(&page, &selector), vec![element], "{} in {html}", candidate.css);
        }
    }
}
