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
            Ok(selector) => Ok(Self { text: text.to_owned(), selector, is_costly: text.contains([':', '~']) }),
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
