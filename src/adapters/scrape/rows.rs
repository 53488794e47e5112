//! Records of two pages: a row of a list, and the page that it links to.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::contract::STAND_INS;
use super::emit::members;
use crate::item::Item;

/// Data with one more member, which is its last.
pub(super) fn with_member(data: &str, member: &str) -> Box<RawValue> {
    let own = data.strip_suffix('}').expect("invariant: a record's data is an object");
    let comma = if own == "{" { "" } else { "," };
    RawValue::from_string(format!("{own}{comma}{member}}}")).expect("invariant: members behind members are an object")
}

/// What stands between the braces of an object.
fn inner(object: &str) -> Option<&str> {
    object.strip_prefix('{')?.strip_suffix('}')
}

/// The members of data without what it says of values that stand in, and the members of that.
fn apart(data: &str) -> (&str, &str) {
    let within = inner(data).expect("invariant: data is an object");
    let stand_ins = members(data).get(STAND_INS).map_or("", |value| value.get());
    // It is the last member, unless a field is called so.
    let rest = within.strip_suffix(stand_ins).and_then(|rest| rest.strip_suffix(&format!(",\"{STAND_INS}\":")));
    rest.zip(inner(stand_ins)).unwrap_or((within, ""))
}

/// The record of a row and of the page that it links to.
pub(super) fn merged(row: &Item, detail: &Item) -> Item {
    let ((row_data, row_ins), (detail_data, detail_ins)) = (apart(row.data.get()), apart(detail.data.get()));
    let joined = |parts: [&str; 2]| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
    let stand_ins = joined([row_ins, detail_ins]);
    let stand_ins = if stand_ins.is_empty() { stand_ins } else { format!("\"{STAND_INS}\":{{{stand_ins}}}") };
    let data = joined([&joined([row_data, detail_data]), &stand_ins]);
    let data = RawValue::from_string(format!("{{{data}}}")).expect("invariant: members behind members are an object");
    Item { id: None, kind: Cow::clone(&row.kind), published_at: row.published_at.or(detail.published_at), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(data: &str) -> Item {
        Item { id: None, kind: "row".into(), published_at: None, data: RawValue::from_string(data.into()).unwrap() }
    }

    #[test]
    fn a_member_more() {
        for (data, expected) in
            [("{}", r#"{"b":2}"#), (r#"{"a":{}}"#, r#"{"a":{},"b":2}"#), (r#"{"a":"}"}"#, r#"{"a":"}","b":2}"#)]
        {
            assert_eq!(with_member(data, "\"b\":2").get(), expected);
        }
    }

    #[test]
    fn two_become_one() {
        for (row, detail, expected) in [
            (r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#),
            ("{}", r#"{"b":2}"#, r#"{"b":2}"#),
            (r#"{"a":1}"#, "{}", r#"{"a":1}"#),
            ("{}", "{}", "{}"),
            (
                r#"{"a":1,"stand_ins":{"a":"last"}}"#,
                r#"{"b":{"c":2}}"#,
                r#"{"a":1,"b":{"c":2},"stand_ins":{"a":"last"}}"#,
            ),
            (
                r#"{"a":{"c":1}}"#,
                r#"{"b":2,"stand_ins":{"b":"last"}}"#,
                r#"{"a":{"c":1},"b":2,"stand_ins":{"b":"last"}}"#,
            ),
            (
                r#"{"a":1,"stand_ins":{"a":"last"}}"#,
                r#"{"b":2,"stand_ins":{"b":"default"}}"#,
                r#"{"a":1,"b":2,"stand_ins":{"a":"last","b":"default"}}"#,
            ),
            (r#"{"stand_ins":"x","a":1}"#, r#"{"b":2}"#, r#"{"stand_ins":"x","a":1,"b":2}"#),
            (
                r#"{"a":1,"stand_ins":"x"}"#,
                r#"{"b":",\"stand_ins\":{}"}"#,
                r#"{"a":1,"stand_ins":"x","b":",\"stand_ins\":{}"}"#,
            ),
        ] {
            assert_eq!(merged(&item(row), &item(detail)).data.get(), expected);
        }
    }
}
