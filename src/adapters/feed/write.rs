//! Writing an item out anew.

use super::entity::push_escaped;

/// Whether an element of an item has text, and markup in it is a part of that.
pub(super) fn has_text(prefix: &str, local: &str) -> bool {
    match prefix {
        "" => matches!(
            local,
            "title"
                | "description"
                | "summary"
                | "content"
                | "guid"
                | "id"
                | "pubDate"
                | "published"
                | "updated"
                | "category"
                | "comments"
                | "rights"
        ),
        "content" => local == "encoded",
        "dc" => true,
        "itunes" => matches!(local, "summary" | "subtitle" | "author" | "title"),
        _ => false,
    }
}

/// Writes the end of an element.
pub(super) fn close(xml: &mut String, name: &str) {
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

/// Writes an attribute.
pub(super) fn push_attribute(xml: &mut String, name: &str, value: &str) {
    xml.push(' ');
    xml.push_str(name);
    xml.push_str("=\"");
    push_escaped(xml, value);
    xml.push('"');
}
