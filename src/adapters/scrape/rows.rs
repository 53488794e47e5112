//! Records of two pages: a row of a list, and the page that it links to.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::paging::link_key;
use crate::item::Item;

/// A row of a list without its link, and the link.
pub(super) fn split(item: &Item) -> (Item, Option<String>) {
    let data = item.data.get();
    let key = link_key();
    // It is the last member. Within a text the quotes of this key would be escaped.
    let Some(at) = data.rfind(&key) else { return (item.clone(), None) };
    let link = data[at + key.len()..].trim_end_matches('}');
    let rest = format!("{}}}", data[..at].trim_end_matches(','));
    let rest = RawValue::from_string(rest).expect("invariant: an object without its last member is one");
    (Item { data: rest, ..item.clone() }, serde_json::from_str::<Option<String>>(link).ok().flatten())
}

/// The record of a row and of the page that it links to.
pub(super) fn merged(row: &Item, detail: &Item) -> Item {
    let [row_data, detail_data] = [row, detail].map(|item| {
        let data = item.data.get();
        data.strip_prefix('{').and_then(|data| data.strip_suffix('}')).expect("invariant: data is an object")
    });
    let comma = if row_data.is_empty() || detail_data.is_empty() { "" } else { "," };
    let data = RawValue::from_string(format!("{{{row_data}{comma}{detail_data}}}"))
        .expect("invariant: members behind members are an object");
    Item { id: None, kind: Cow::clone(&row.kind), published_at: row.published_at.or(detail.published_at), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(data: &str) -> Item {
        Item { id: None, kind: "row".into(), published_at: None, data: RawValue::from_string(data.into()).unwrap() }
    }

    #[test]
    fn a_row_and_its_link() {
        for (data, rest, link) in [
            (r#"{"a":1,"\u0000link":"/x"}"#, r#"{"a":1}"#, Some("/x")),
            (r#"{"\u0000link":"/}"}"#, "{}", Some("/}")),
            (r#"{"a":"\"\\u0000link\":","\u0000link":null}"#, r#"{"a":"\"\\u0000link\":"}"#, None),
            (r#"{"a":1}"#, r#"{"a":1}"#, None),
        ] {
            let (row, found) = split(&item(data));
            assert_eq!((row.data.get(), found.as_deref()), (rest, link), "{data}");
        }
    }

    #[test]
    fn two_become_one() {
        for (row, detail, expected) in [
            (r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#),
            ("{}", r#"{"b":2}"#, r#"{"b":2}"#),
            (r#"{"a":1}"#, "{}", r#"{"a":1}"#),
        ] {
            assert_eq!(merged(&item(row), &item(detail)).data.get(), expected);
        }
    }
}
