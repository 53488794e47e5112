//! What holds of every input, whoever made it up: asked by the property tests beside each parser, and by the fuzz targets of
//! `fuzzing`, which find inputs that no strategy writes.

pub(super) mod gate;
pub(crate) mod moments;
pub(super) mod numbers;
pub(super) mod pages;
pub(super) mod paths;
pub(super) mod selectors;
pub(super) mod trees;

use super::settings::Field;

/// Any text as a number, declared in one of several ways.
pub(crate) fn any_number(choice: u8, text: &str) {
    numbers::any(choice, text);
}

/// Any text as a moment, declared in one of several ways; of the last of these the text's first line is the pattern.
pub(crate) fn any_moment(choice: u8, text: &str) {
    moments::any(choice, text);
}

/// Any selector, on any page.
pub(crate) fn any_selector(selector: &str, html: &str) {
    selectors::taken_apart(selector, html);
    selectors::found(selector, html);
    selectors::proposed(html);
}

/// Any path, in any JSON.
pub(crate) fn any_path(path: &str, json: &str) {
    paths::found(path, json);
}

/// Any page, before it is parsed.
pub(crate) fn any_tags(html: &str) {
    gate::is_right(html);
}

/// Any page, as a tree.
pub(crate) fn any_tree(html: &str) {
    trees::plain(html);
    trees::watched(html);
}

/// Any page, read in part and whole.
pub(crate) fn any_part(choice: u8, html: &str) {
    pages::any_part(choice, html);
}

/// Any page, as text and as records.
pub(crate) fn any_page(html: &str) {
    pages::texts(html);
    pages::records(html);
    pages::form(html);
}

/// A field as it stands in a source's file.
fn declared(declaration: &str) -> Field {
    serde_saphyr::from_str(declaration).unwrap_or_else(|error| panic!("{declaration}: {error}"))
}
