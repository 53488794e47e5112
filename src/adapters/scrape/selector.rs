//! Short selectors for an element: by what people and sites name it, before by where it stands.

use std::collections::BTreeSet;

use scraper::ElementRef;

use super::css::Css;
use super::select::{Watch, matches};

/// So many selectors are tried for one element; each is matched against the whole page.
const TRIED_MAX: usize = 60;
/// Elements around it that may give a selector its beginning.
const AROUND_MAX: usize = 6;
/// Classes and attributes of one element that are looked at.
const NAMES_MAX: usize = 12;
/// Longer names are made by machines.
const NAME_CHARS_MAX: usize = 40;

/// How much a selector withstands. The best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// A name that a site gives to this thing: an id, an attribute that is there for programs.
    Named,
    /// Classes.
    Classed,
    /// A tag within something that has a name.
    Within,
    /// A number among its siblings.
    Counted,
}

/// A selector that matches an element and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) css: String,
    pub(super) strength: Strength,
}

/// Attributes that sites give to things so that programs find them.
const NAMING: [&str; 16] = [
    "data-testid",
    "data-test",
    "data-test-id",
    "data-qa",
    "data-cy",
    "data-field",
    "data-name",
    "data-key",
    "data-role",
    "data-col",
    "itemprop",
    "property",
    "name",
    "rel",
    "aria-label",
    "headers",
];

/// Classes that say how something is at the moment, and not what it is.
const STATES: [&str; 26] = [
    "active", "bold", "closed", "current", "disabled", "down", "even", "first", "gain", "green", "hidden", "last",
    "loss", "minus", "neg", "negative", "odd", "open", "plus", "pos", "positive", "red", "selected", "show", "up",
    "visible",
];

/// Selectors that match `element` within `scope` and nothing else there, the strongest first.
pub(super) fn candidates(scope: ElementRef<'_>, element: ElementRef<'_>, watch: &Watch) -> Vec<Candidate> {
    let mut finder = Finder { scope, element, watch, tried: BTreeSet::new(), found: Vec::new() };
    finder.by_itself();
    finder.by_what_is_around();
    finder.by_number();
    finder.found.sort_by_key(|candidate| (candidate.strength, candidate.css.len()));
    finder.found
}

/// The shortest of the strongest.
pub(super) fn best(scope: ElementRef<'_>, element: ElementRef<'_>, watch: &Watch) -> Option<String> {
    candidates(scope, element, watch).into_iter().next().map(|candidate| candidate.css)
}

struct Finder<'a> {
    scope: ElementRef<'a>,
    element: ElementRef<'a>,
    watch: &'a Watch,
    tried: BTreeSet<String>,
    found: Vec<Candidate>,
}

impl Finder<'_> {
    fn by_itself(&mut self) {
        let (element, tag) = (self.element, self.element.value().name());
        let names = names(element);
        for (name, strength) in &names {
            self.offer(name.clone(), *strength);
            self.offer(format!("{tag}{name}"), *strength);
        }
        let classes: Vec<&String> =
            names.iter().filter(|(_, strength)| *strength == Strength::Classed).map(|(name, _)| name).collect();
        for (index, one) in classes.iter().enumerate() {
            for other in &classes[index + 1..] {
                self.offer(format!("{one}{other}"), Strength::Classed);
            }
        }
        self.offer(tag.to_owned(), Strength::Within);
    }

    /// A name of something around, and what it is within that.
    fn by_what_is_around(&mut self) {
        let (scope, tag) = (self.scope, self.element.value().name());
        let own = names(self.element);
        let around = self.element.ancestors().filter_map(ElementRef::wrap).take_while(|above| *above != scope);
        for above in around.take(AROUND_MAX) {
            for (name, of_above) in names(above) {
                for (own, of_own) in &own {
                    self.offer(format!("{name} {own}"), (*of_own).max(of_above).max(Strength::Classed));
                }
                self.offer(format!("{name} {tag}"), Strength::Within.max(of_above));
                self.offer(format!("{name} > {tag}"), Strength::Within.max(of_above));
            }
        }
    }

    /// Its number among its siblings, from the closest thing that has a name of its own, or from the top.
    fn by_number(&mut self) {
        let mut path = String::new();
        let mut at = self.element;
        loop {
            if at == self.scope {
                break;
            }
            let step = step(at);
            path = if path.is_empty() { step } else { format!("{step} > {path}") };
            let Some(above) = at.parent().and_then(ElementRef::wrap) else { break };
            if above != self.scope {
                let unique = names(above).into_iter().map(|(name, _)| name).find(|name| self.is_only(name, above));
                if let Some(name) = unique {
                    self.offer(format!("{name} > {path}"), Strength::Counted);
                    break;
                }
            }
            at = above;
        }
        let is_page = self.scope.parent().is_some_and(|above| above.value().is_document());
        let css = |from: &str| {
            if path.is_empty() { from.to_owned() } else { format!("{from} > {path}") }
        };
        self.offer(css(if is_page { "html" } else { ":scope" }), Strength::Counted);
        if is_page && self.found.is_empty() {
            // Within a drawing there may be another `html`.
            self.offer(css(":root"), Strength::Counted);
        }
    }

    /// Keeps a selector that matches the element and nothing else.
    fn offer(&mut self, css: String, strength: Strength) {
        // One by number is always tried, or there would be none.
        let has_room = self.tried.len() < TRIED_MAX || strength == Strength::Counted;
        if has_room && self.tried.insert(css.clone()) && self.is_only(&css, self.element) {
            self.found.push(Candidate { css, strength });
        }
    }

    fn is_only(&self, css: &str, element: ElementRef<'_>) -> bool {
        let Ok(css) = Css::new(css) else { return false };
        let is_page = self.scope.parent().is_some_and(|above| above.value().is_document());
        let mut found = matches(self.scope, &css, is_page, self.watch);
        let is_first = found.next() == Some(element);
        is_first && found.next().is_none() && !self.watch.is_over()
    }
}

/// The names of an element as selectors: ids, attributes for programs, classes.
fn names(element: ElementRef<'_>) -> Vec<(String, Strength)> {
    let tag = element.value();
    let mut found = Vec::new();
    if let Some(id) = tag.id().filter(|id| is_lasting(id)) {
        found.push((by_name('#', "id", id), Strength::Named));
    }
    for name in NAMING {
        if let Some(value) = tag.attr(name).filter(|value| is_lasting(value) || is_words(value)) {
            found.push((by_attribute(name, "=", value), Strength::Named));
        }
    }
    let classes: BTreeSet<&str> = tag.classes().collect();
    let classes = classes.into_iter().filter(|class| is_lasting(class) && !is_state(class));
    found.extend(classes.map(|class| (by_name('.', "class", class), Strength::Classed)));
    found.truncate(NAMES_MAX);
    found
}

/// A step of a path: the tag, and which of its kind it is among its siblings.
fn step(element: ElementRef<'_>) -> String {
    let tag = element.value().name();
    let is_alike = |other: &ElementRef<'_>| other.value().name() == tag;
    let before = element.prev_siblings().filter_map(ElementRef::wrap).filter(is_alike).count();
    let is_alone = before == 0 && !element.next_siblings().filter_map(ElementRef::wrap).any(|other| is_alike(&other));
    let tag = if is_identifier(tag) { tag } else { "*" };
    match (is_alone, tag) {
        (_, "*") => {
            let number = element.prev_siblings().filter_map(ElementRef::wrap).count() + 1;
            format!(":nth-child({number})")
        }
        (true, tag) => tag.to_owned(),
        (false, tag) => format!("{tag}:nth-of-type({})", before + 1),
    }
}

/// Whether a name looks as if somebody had chosen it: those that tools make change with each build.
fn is_lasting(name: &str) -> bool {
    let is_made = ["css-", "sc-", "jsx-", "svelte-", "emotion-", "makeStyles", "_ngcontent", "ember", "yui_", "gtm-"]
        .iter()
        .any(|start| name.starts_with(start));
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_hash = name.split(['-', '_']).any(looks_like_a_hash);
    let is_short = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX;
    is_short && !is_made && !is_hash && digits <= 3 && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A label that is written for programs or for those who cannot see, and has no number in it that would change.
fn is_words(text: &str) -> bool {
    let is_short = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    is_short && text.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-' | '_' | ':' | '.'))
}

/// Letters that change between small and capital without being words, as in `bdVaJaXq`, or letters mixed with digits.
fn looks_like_a_hash(part: &str) -> bool {
    let bytes = part.as_bytes();
    let turns = bytes.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    let capitals = bytes.iter().skip(1).filter(|byte| byte.is_ascii_uppercase()).count();
    let vowels = bytes.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    let is_odd = bytes.len() >= 5 && (turns >= 3 || capitals * 3 > bytes.len());
    is_odd || bytes.len() >= 6 && vowels == 0 && bytes.iter().all(u8::is_ascii_alphanumeric)
}

fn is_state(class: &str) -> bool {
    let lower = class.to_ascii_lowercase();
    let word = ["is-", "has-", "js-"].iter().find_map(|start| lower.strip_prefix(start)).unwrap_or(&lower);
    STATES.contains(&word) || lower.starts_with("is-")
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn by_name(mark: char, attribute: &str, name: &str) -> String {
    if is_identifier(name) {
        return format!("{mark}{name}");
    }
    by_attribute(attribute, if mark == '.' { "~=" } else { "=" }, name)
}

fn by_attribute(name: &str, how: &str, value: &str) -> String {
    format!("[{name}{how}\"{}\"]", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scraper::Selector;

    use super::super::checks::selectors::proposed;
    use super::super::page::Page;
    use super::*;

    fn of(html: &str, css: &str) -> Vec<String> {
        let page = Page::parse(html).unwrap();
        let element = page.root().select(&Selector::parse(css).unwrap()).next().unwrap();
        candidates(page.root(), element, &Watch::start()).into_iter().map(|candidate| candidate.css).collect()
    }

    #[test]
    fn names_come_before_places() {
        let page = "<div id=quote class='css-1x2y3z box'><span class='red14px up' data-field=last>1</span><span>2</span></div><p id=a1b2c3d4e5>x";
        assert_eq!(of(page, "span.up")[..2], ["[data-field=\"last\"]", "span[data-field=\"last\"]"]);
        assert!(of(page, "span.up").contains(&".red14px".to_owned()));
        let second = of(page, "span:nth-of-type(2)");
        assert_eq!(second, ["#quote > span:nth-of-type(2)"], "{second:?}");
        assert!(!of(page, "p").iter().any(|css| css.contains("a1b2")), "a name that a tool has made");
        assert_eq!(of(page, "div")[0], "#quote");
        assert!(of(page, "div").iter().all(|css| !css.contains("css-")));
        assert_eq!(of("<b id='a:b'>1</b><b>2</b>", "b")[0], "[id=\"a:b\"]");
        // There is another `html` within the drawing.
        let drawn = Page::parse("<p>1<svg><html>2</html></svg><b>3").unwrap();
        assert_eq!(best(drawn.root(), drawn.root(), &Watch::start()).as_deref(), Some(":root"));
    }

    #[test]
    fn names_that_last() {
        for name in ["price", "red14px", "last-price", "quote_value", "h1", "col-2", "PriceBox", "lastPrice"] {
            assert!(is_lasting(name), "{name}");
        }
        for name in ["", "css-1x2y3z", "sc-bdVaJa", "_3xYzQ", "a1b2c3d4", "jsx-1234", "bcdfghjk", "item-12345", "a b"] {
            assert!(!is_lasting(name), "{name}");
        }
        assert!(is_state("up") && is_state("is-open") && !is_state("price"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Every element of any page has a selector, and each that is proposed matches it and nothing else.
        #[test]
        fn what_is_proposed_is_that_element_alone(html in "(<(div|p|span|td|tr|table|b)( id=[a-c\"1:é]| class='[a-c]( up)?( x-1)?'| data-field=[\\\\\"'a]{0,2}| itemprop=\"p q\")?>|text|</div>|</p>|</span>|</table>|<svg><a:b>){0,25}") {
            proposed(&html);
        }
    }
}
