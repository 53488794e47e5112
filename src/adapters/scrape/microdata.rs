//! Values that a page marks for machines: microdata, and the `meta` of its head.

use scraper::ElementRef;

use super::text::shown_text;

/// A property of an item, such as `Product.offers.price`.
pub(super) struct Property {
    /// As written.
    pub(super) text: String,
    kind: String,
    names: Vec<String>,
}

impl Property {
    /// Reads what a source's file says.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::to_owned);
        let kind = parts.next().unwrap_or_default();
        let names: Vec<String> = parts.collect();
        if kind.is_empty() || names.is_empty() || names.iter().any(String::is_empty) {
            return Err("is the type of an item and its property, as `Product.price` or `Product.offers.price`".into());
        }
        Ok(Self { text: text.to_owned(), kind, names })
    }

    /// The elements that hold it, below `scope` or of items that are it, in the page's order.
    pub(super) fn find<'a>(&self, scope: ElementRef<'a>) -> Vec<ElementRef<'a>> {
        let is_kind = |element: &ElementRef<'_>| {
            let kinds = element.attr("itemtype").unwrap_or_default();
            let mut kinds = kinds.split_ascii_whitespace();
            element.attr("itemscope").is_some()
                && kinds.any(|kind| kind.rsplit(['/', '#']).next() == Some(self.kind.as_str()))
        };
        let items = scope.descendent_elements().filter(is_kind);
        items.flat_map(|item| self.names.iter().fold(vec![item], |items, name| properties(&items, name))).collect()
    }
}

/// The properties of this name of each item: those that stand in no other item in between.
fn properties<'a>(items: &[ElementRef<'a>], name: &str) -> Vec<ElementRef<'a>> {
    let mut found = Vec::new();
    for item in items {
        // A property that is no item itself has no properties.
        if item.attr("itemscope").is_none() {
            continue;
        }
        let mut open = item.children().rev().filter_map(ElementRef::wrap).collect::<Vec<_>>();
        while let Some(element) = open.pop() {
            let names = element.attr("itemprop").unwrap_or_default();
            if names.split_ascii_whitespace().any(|own| own == name) {
                found.push(element);
            }
            if element.attr("itemscope").is_none() {
                open.extend(element.children().rev().filter_map(ElementRef::wrap));
            }
        }
    }
    found
}

/// The value of a property: what HTML says, and `content` on any element, which most pages write.
pub(super) fn value(element: ElementRef<'_>) -> Option<String> {
    let attribute = match element.value().name() {
        "a" | "area" | "link" => "href",
        "audio" | "embed" | "iframe" | "img" | "source" | "track" | "video" => "src",
        "data" | "meter" => "value",
        "time" => "datetime",
        "object" => "data",
        _ => "content",
    };
    let marked = element.attr("content").or_else(|| element.attr(attribute));
    marked.map(str::to_owned).or_else(|| shown_text(element))
}

/// The elements `meta` with this name, in the page's order.
pub(super) fn metas<'a>(root: ElementRef<'a>, name: &'a str) -> impl Iterator<Item = ElementRef<'a>> {
    root.descendent_elements().filter(move |element| {
        let is_name = |key| element.attr(key).is_some_and(|own| own.trim().eq_ignore_ascii_case(name));
        element.value().name() == "meta" && ["name", "property", "itemprop"].into_iter().any(is_name)
    })
}
