//! Which part of a selector stopped matching: a selector is a chain, and the first link that finds nothing is named.

use scraper::ElementRef;

use super::css::Css;
use super::select::{Watch, matches};

/// Of longer chains only the beginning is looked at.
const LINKS_MAX: usize = 12;

/// One link of a selector: where its text ends in the whole, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// How far a selector gets within `scope`, whose page is `root`: how many elements its links match, up to the first that
/// matches none, and which part of that one it is. `None` for one that has no parts, or when the time is over.
pub(super) fn how_far(text: &str, root: ElementRef<'_>, scope: ElementRef<'_>, watch: &Watch) -> Option<String> {
    let tries = alternatives(text).into_iter().filter_map(|range| {
        let counts = counts(&text[range], root, scope, watch)?;
        Some((counts.len(), counts))
    });
    let (_, counts) = tries.max_by_key(|(length, _)| *length)?;
    let words: Vec<String> = counts.into_iter().map(|(part, count)| format!("`{part}` matches {count}")).collect();
    (!words.is_empty() && !watch.is_over()).then(|| words.join(", "))
}

/// What each beginning of a selector matches, up to the first that matches nothing; then the parts of the link that did it.
fn counts(text: &str, root: ElementRef<'_>, scope: ElementRef<'_>, watch: &Watch) -> Option<Vec<(String, usize)>> {
    let links = links(text);
    let mut found = Vec::new();
    for link in links.iter().take(LINKS_MAX) {
        let count = count(&text[..link.end], root, scope, watch)?;
        // That the whole matches nothing is known.
        if links.len() > 1 {
            found.push((text[..link.end].to_owned(), count));
        }
        if count == 0 {
            let parts = parts(&text[link.start..link.end]);
            if parts.len() > 1 {
                for part in parts {
                    let alone = format!("{}{part}", &text[..link.start]);
                    let count = self::count(&alone, root, scope, watch)?;
                    found.push((alone, count));
                }
            }
            break;
        }
    }
    Some(found)
}

/// How many elements a selector matches, in `scope` and around it: its first links may stand outside.
fn count(text: &str, root: ElementRef<'_>, scope: ElementRef<'_>, watch: &Watch) -> Option<usize> {
    let css = Css::new(text).ok()?;
    let around = scope.ancestors().filter_map(ElementRef::wrap).filter(|element| css.selector.matches(element)).count();
    let within = matches(scope, &css, scope.id() == root.id(), watch).take_while(|_| !watch.is_over()).count();
    Some(around + within)
}

/// The selectors between the commas.
pub(super) fn alternatives(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, what) in outside(text) {
        if what == ',' {
            found.push(start..at);
            start = at + 1;
        }
    }
    found.push(start..text.len());
    let trimmed = found.into_iter().map(|range| {
        let part = &text[range.clone()];
        let start = range.start + (part.len() - part.trim_start().len());
        start..start + part.trim().len()
    });
    trimmed.filter(|range| !range.is_empty()).collect()
}

/// The compounds of a selector, in their order.
pub(super) fn links(text: &str) -> Vec<Link> {
    let mut found: Vec<Link> = Vec::new();
    let mut open: Option<usize> = None;
    let combinators: Vec<usize> = outside(text)
        .filter(|(_, c)| c.is_ascii_whitespace() || matches!(c, '>' | '+' | '~'))
        .map(|(at, _)| at)
        .collect();
    for (at, _) in text.char_indices() {
        match (combinators.binary_search(&at).is_ok(), open) {
            (true, Some(start)) => {
                found.push(Link { start, end: at });
                open = None;
            }
            (false, None) => open = Some(at),
            _ => {}
        }
    }
    found.extend(open.map(|start| Link { start, end: text.len() }));
    found
}

/// The simple selectors of a compound: `tr.last:first-child` is `tr`, `.last` and `:first-child`.
pub(super) fn parts(compound: &str) -> Vec<&str> {
    let starts = outside(compound).filter(|(_, c)| matches!(c, '.' | '#' | '[' | ':')).map(|(at, _)| at);
    let mut bounds: Vec<usize> = std::iter::once(0).chain(starts).chain(std::iter::once(compound.len())).collect();
    bounds.dedup();
    bounds.windows(2).map(|pair| &compound[pair[0]..pair[1]]).filter(|part| *part != ":").collect()
}

/// The characters that stand in no brackets, no quotes, and are not escaped. Of brackets the opening one stands outside.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    text.char_indices().filter(move |(_, c)| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match (*c, quote) {
            ('\\', _) => {
                is_escaped = true;
                false
            }
            (c, Some(open)) => {
                if c == open {
                    quote = None;
                }
                false
            }
            ('"' | '\'', None) => {
                quote = Some(*c);
                false
            }
            ('(' | '[', None) => {
                depth += 1;
                depth == 1
            }
            (')' | ']', None) => {
                depth = depth.saturating_sub(1);
                false
            }
            _ => depth == 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checks::selectors::taken_apart;
    use super::super::page::Page;
    use super::*;

    fn far(selector: &str, html: &str) -> String {
        let page = Page::parse(html).unwrap();
        how_far(selector, page.root(), page.root(), &Watch::start()).unwrap_or_default()
    }

    #[test]
    fn the_first_link_that_finds_nothing_is_named() {
        let page = "<table class=quotes><tr class=row><td>1<td class=p>2</table><div id=x><b>3</b></div>";
        insta::assert_snapshot!(far("table.quotes tr.last td", page), @"`table.quotes` matches 1, `table.quotes tr.last` matches 0, `table.quotes tr` matches 1, `table.quotes .last` matches 0");
        insta::assert_snapshot!(far("table.prices td.p", page), @"`table.prices` matches 0, `table` matches 1, `.prices` matches 0");
        insta::assert_snapshot!(far("#x > i", page), @"`#x` matches 1, `#x > i` matches 0");
        insta::assert_snapshot!(far("#y b, #x>b+i", page), @"`#x` matches 1, `#x>b` matches 1, `#x>b+i` matches 0");
        insta::assert_snapshot!(far("td[class=\"a b, c\"]:first-child", page), @r#"`td` matches 2, `[class="a b, c"]` matches 0, `:first-child` matches 7"#);
        assert_eq!(far("em", page), "", "there is nothing to take apart");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(selector in "([a-c]|\\.|#|\\[|\\]|\\(|\\)|:|\"|'|\\\\|,| |>|\\+|~|é|has|not|nth-child){0,20}") {
            taken_apart(&selector, "<a class=b><b id=c>x");
        }
    }
}
