//! CSS selectors, compiled and with a guard against those that a page could make slow.

use scraper::Selector;

/// Longer selectors are generated, and would be matched against every element.
const SELECTOR_BYTES_MAX: usize = 1024;

/// A selector with its text, which messages show.
pub(super) struct Css {
    pub(super) text: String,
    pub(super) selector: Selector,
    /// Whether a page can make it take the square of its length: siblings are counted or walked, or descendants are
    /// looked for. Taking a harmless selector for such a one costs little.
    pub(super) is_costly: bool,
    /// Whether what comes after an element cannot change that it matches.
    pub(super) is_forward: bool,
    /// A text without which no page has a match: a class or an id.
    pub(super) needle: Option<String>,
}

impl Css {
    /// Compiles a selector.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(format!("the selector is longer than {SELECTOR_BYTES_MAX} bytes"));
        }
        if has_nested_has(text) {
            return Err("a `:has()` within a `:has()` would be tried on every pair of elements; write it apart".into());
        }
        match Selector::parse(text) {
            Ok(selector) => Ok(Self {
                text: text.to_owned(),
                selector,
                is_costly: text.contains([':', '~']),
                is_forward: is_forward(text),
                needle: needle(text),
            }),
            Err(_) if text.contains("::") => {
                Err(format!("`{text}` has a pseudo-element; `attr: NAME` takes an attribute, and text is the default"))
            }
            Err(error) => {
                let reason = error.to_string();
                // For some mistakes scraper knows no better than to ask for a report.
                let reason = if reason.contains("report this") {
                    "there is a mistake in it".into()
                } else {
                    lower_first(&reason)
                };
                Err(format!("`{text}` is not a CSS selector: {reason}"))
            }
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Only the brackets count: a `:has(` in a quoted value makes it more careful than it needs to be, never less.
fn has_nested_has(selector: &str) -> bool {
    let lower = selector.to_ascii_lowercase();
    let mut open: Vec<bool> = Vec::new();
    for (index, byte) in lower.bytes().enumerate() {
        match byte {
            b'(' => {
                let is_has = lower[..index].ends_with(":has");
                if is_has && open.contains(&true) {
                    return true;
                }
                open.push(is_has);
            }
            b')' => drop(open.pop()),
            _ => {}
        }
    }
    false
}

/// The pseudo-classes that look only backwards. Any other, and a colon anywhere else, makes it more careful than it needs to be.
fn is_forward(selector: &str) -> bool {
    let backwards = ["first-child", "first-of-type", "nth-child(", "nth-of-type("];
    let mut parts = selector.split(':');
    let mut before = parts.next().unwrap_or_default();
    parts.all(|part| {
        let is_escaped = before.ends_with('\\');
        before = part;
        is_escaped || backwards.iter().any(|name| part.starts_with(name) && !part.contains(" of "))
    })
}

/// The last class or id of a selector, where that is written plainly.
fn needle(selector: &str) -> Option<String> {
    if selector.contains([',', '(', '[', '\\', '"', '\'']) {
        return None;
    }
    let (_, name) = selector.rsplit_once(['.', '#'])?;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(name.len());
    (end > 0).then(|| name[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_that_look_back_alone() {
        for (selector, is_back) in [
            ("td.price", true),
            ("#a > b + i ~ u", true),
            ("li:first-child a:nth-child(2n+1)", true),
            (".md\\:flex", true),
            ("li:last-child", false),
            ("li:first-child:empty", false),
            ("li:nth-child(1 of .a)", false),
            ("li:nth-last-child(2)", false),
            ("div:has(b)", false),
            ("div:not(.a)", false),
            ("a[href='x:y']", false),
        ] {
            assert_eq!(is_forward(selector), is_back, "{selector}");
        }
    }

    #[test]
    fn a_text_that_has_to_be_there() {
        for (selector, wanted) in [
            ("td.price", Some("price")),
            ("#a .b > c", Some("b")),
            (".a.b-c_d:first-child", Some("b-c_d")),
            ("td", None),
            (".a, .b", None),
            ("[class='a.b']", None),
            (".a:not(.b)", None),
        ] {
            assert_eq!(needle(selector).as_deref(), wanted, "{selector}");
        }
    }
}
