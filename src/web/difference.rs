//! What is different between two pages, piece by piece.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// So many pieces are shown.
const LINES_MAX: usize = 200;

/// So many unchanged pieces stand around a change.
const AROUND: usize = 2;

/// A longer piece is cut, in characters.
const LINE_MAX: usize = 300;

/// Where this is not enough the difference is coarser, and still right.
const TIME_MAX: Duration = Duration::from_millis(300);

/// A piece of a page.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// `same`, `gone` or `new`.
    pub(super) class: &'static str,
    pub(super) mark: &'static str,
    pub(super) text: String,
}

/// What is different, with what is around it; no more than a person reads.
pub(super) fn difference(before: &str, after: &str) -> Vec<Line> {
    let (before, after) = (in_pieces(before), in_pieces(after));
    let mut config = TextDiff::configure();
    config.timeout(TIME_MAX);
    let diff = config.diff_lines(&before, &after);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if index > 0 {
            lines.push(Line { class: "same", mark: " ", text: "…".to_owned() });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (class, mark) = match change.tag() {
                ChangeTag::Equal => ("same", " "),
                ChangeTag::Delete => ("gone", "−"),
                ChangeTag::Insert => ("new", "+"),
            };
            lines.push(Line { class, mark, text: cut(change.value().trim_end()) });
        }
        if lines.len() > LINES_MAX {
            break;
        }
    }
    lines.truncate(LINES_MAX);
    lines
}

/// Pages often have no line breaks: each tag begins a piece of its own.
fn in_pieces(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 8);
    for piece in page.split_inclusive(['\n', '>']) {
        for part in piece.split_inclusive('\n') {
            let (text, tag) = part.find('<').map_or((part, ""), |at| part.split_at(at));
            for line in [text.trim(), tag.trim()].into_iter().filter(|line| !line.is_empty()) {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> String {
        difference(before, after).iter().flat_map(|line| [line.mark, &line.text, "\n"]).collect()
    }

    #[test]
    fn what_changed_is_shown_with_what_is_around_it() {
        let before = "<html><body><h1>Index</h1><p>a<p>b<span class=red14px>59,465.68</span><p>c</body>";
        let after = "<html><body><h1>Index</h1><p>a<p>b<div class=price>59,470.00</div><p>c</body>";
        insta::assert_snapshot!(shown(before, after), @r"
         <p>
         b
        −<span class=red14px>
        −59,465.68
        −</span>
        +<div class=price>
        +59,470.00
        +</div>
         <p>
         c
        ");
        assert!(difference(before, before).is_empty());
    }

    #[test]
    fn no_page_makes_it_endless() {
        let (before, after) = ("<a>".repeat(80_000), "<b>".repeat(80_000));
        assert_eq!(difference(&before, &after).len(), LINES_MAX);
        let long = "x".repeat(1 << 20);
        assert!(difference(&long, "y").iter().all(|line| line.text.chars().count() <= LINE_MAX + 1));
    }
}
