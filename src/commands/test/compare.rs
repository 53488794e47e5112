//! What a page became beside what was expected of it. Numbers are compared by value, digit by digit, and never as floats.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::report::trial::Report;

/// Something that is not as expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Where: `last`, `2.price`, `outcome`.
    pub(super) at: String,
    /// Which field of a record it is in, where it is in one.
    pub(super) field: Option<String>,
    /// Which record, counted from 1, where there are many.
    pub(super) row: Option<usize>,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Everything in which a page is not what was expected. `names` are the source's fields.
pub(super) fn differences(expect: &Value, report: &Report, names: &[String]) -> Vec<Difference> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let data = report.records.iter().filter_map(|line| Some(serde_json::from_str::<Line<'_>>(line.get()).ok()?.data));
    let records: Vec<&RawValue> = data.collect();
    let mut all = Differences { all: Vec::new(), row: None };
    match expect {
        Value::Array(expected) => {
            if expected.len() != records.len() {
                all.add("records", expected.len().to_string(), records.len().to_string());
            }
            for (index, (expected, found)) in expected.iter().zip(&records).enumerate() {
                all.row = Some(index + 1);
                all.compare(&(index + 1).to_string(), None, expected, found);
            }
            all.row = None;
            if let Some(reject) = report.rejects.first() {
                let field = reject.field.as_deref().unwrap_or("page");
                all.add(
                    "rejects",
                    "none".into(),
                    format!("{}, the first: {field}: {}", report.rejects.len(), reject.reason),
                );
            }
        }
        Value::Object(expected) => {
            let is_field = |name: &str| names.iter().any(|field| field == name);
            let is_of_test = |name: &str| matches!(name, "outcome" | "rejects") && !is_field(name);
            if let Some(Value::String(outcome)) = expected.get("outcome").filter(|_| !is_field("outcome")) {
                let found = report.outcome.as_str();
                if outcome != found {
                    all.add("outcome", outcome.clone(), said(found, report));
                }
            }
            if let Some(rejects) = expected.get("rejects").filter(|_| !is_field("rejects")) {
                all.rejects(rejects, report);
            }
            let fields = expected.iter().filter(|(name, _)| !is_of_test(name)).peekable();
            all.of_one(fields, &records, report);
        }
        _ => {}
    }
    all.all
}

/// A word of what came, with the reason where there is one.
fn said(found: &str, report: &Report) -> String {
    match report.rejects.first() {
        Some(reject) => format!("{found}: {}: {}", reject.field.as_deref().unwrap_or("page"), reject.reason),
        None => found.to_owned(),
    }
}

struct Differences {
    all: Vec<Difference>,
    row: Option<usize>,
}

impl Differences {
    fn add(&mut self, at: &str, expected: String, found: String) {
        self.all.push(Difference { at: at.to_owned(), field: None, row: self.row, expected, found });
    }

    /// Fields of a page that is one record.
    fn of_one<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a String, &'a Value)>,
        records: &[&RawValue],
        report: &Report,
    ) {
        let mut fields = fields.peekable();
        if fields.peek().is_none() {
            return;
        }
        let [record] = records else {
            let found = if records.is_empty() { said("none", report) } else { records.len().to_string() };
            return self.add("records", "1".into(), found);
        };
        let found = members(record);
        for (name, expected) in fields {
            match found.get(name) {
                Some(found) => self.compare(name, Some(name), expected, found),
                None => self.differ(name, Some(name), expected, "nothing"),
            }
        }
    }

    fn rejects(&mut self, expected: &Value, report: &Report) {
        let texts: Vec<String> = report
            .rejects
            .iter()
            .map(|reject| format!("{}: {}", reject.field.as_deref().unwrap_or("page"), reject.reason))
            .collect();
        match expected {
            Value::Array(wanted) => {
                let is_there = |wanted: &&Value| {
                    let wanted = wanted.as_str().unwrap_or_default();
                    !texts.iter().any(|text| text.contains(wanted))
                };
                for gone in wanted.iter().filter(is_there) {
                    self.add("rejects", gone.to_string(), texts.join("; "));
                }
                if wanted.len() != texts.len() {
                    self.add("rejects", wanted.len().to_string(), format!("{} ({})", texts.len(), texts.join("; ")));
                }
            }
            count if count.as_u64() == Some(texts.len() as u64) => {}
            count => self.add("rejects", count.to_string(), format!("{} ({})", texts.len(), texts.join("; "))),
        }
    }

    fn differ(&mut self, at: &str, field: Option<&str>, expected: &Value, found: &str) {
        let (field, expected, found) = (field.map(str::to_owned), expected.to_string(), found.to_owned());
        self.all.push(Difference { at: at.to_owned(), field, row: self.row, expected, found });
    }

    fn compare(&mut self, at: &str, field: Option<&str>, expected: &Value, found: &RawValue) {
        let token = found.get();
        match expected {
            Value::Object(expected) if token.starts_with('{') => {
                let found = members(found);
                for (name, expected) in expected {
                    let (at, field) = (format!("{at}.{name}"), field.unwrap_or(name));
                    match found.get(name) {
                        Some(found) => self.compare(&at, Some(field), expected, found),
                        None => self.differ(&at, Some(field), expected, "nothing"),
                    }
                }
            }
            Value::Array(wanted) if token.starts_with('[') => {
                let found: Vec<&RawValue> = serde_json::from_str(token).unwrap_or_default();
                if found.len() != wanted.len() {
                    return self.differ(at, field, expected, token);
                }
                for (index, (expected, found)) in wanted.iter().zip(found).enumerate() {
                    self.compare(&format!("{at}.{}", index + 1), field, expected, found);
                }
            }
            expected if is_same(expected, token) => {}
            expected => self.differ(at, field, expected, token),
        }
    }
}

fn members(object: &RawValue) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(object.get()).unwrap_or_default()
}

/// Whether a value is the expected one. A number that is expected as text must have these very digits.
fn is_same(expected: &Value, token: &str) -> bool {
    match expected {
        Value::Number(number) => decimal(token).is_some_and(|found| decimal(&number.to_string()) == Some(found)),
        Value::String(text) if !token.starts_with('"') => text == token,
        Value::String(text) => serde_json::from_str::<String>(token).is_ok_and(|found| found == *text),
        Value::Null => token == "null",
        Value::Bool(is_true) => token == if *is_true { "true" } else { "false" },
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// A number of JSON as its sign, its digits, and where its mark stands, so that equal numbers are equal.
fn decimal(token: &str) -> Option<(bool, String, i64)> {
    let (digits, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let exponent: i64 = exponent.trim_start_matches('+').parse().ok()?;
    let (is_negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{integer}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let places = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let significant = all.trim_end_matches('0');
    let places = places.checked_sub(i64::try_from(all.len() - significant.len()).ok()?)?;
    let significant = significant.trim_start_matches('0').to_owned();
    if significant.is_empty() {
        return Some((false, significant, 0));
    }
    Some((is_negative, significant, places))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::item::Reject;
    use crate::source::Outcome;

    fn said(expect: &Value, records: &[&str], rejects: &[(&str, &str)]) -> String {
        let line = |data: &&str| RawValue::from_string(format!("{{\"id\":\"r\",\"data\":{data}}}")).unwrap();
        let reject = |(field, reason): &(&str, &str)| Reject::new(Outcome::Missing, Some((*field).into()), *reason, "");
        let report = Report {
            source: "s".into(),
            outcome: if rejects.is_empty() { Outcome::Ok } else { Outcome::Missing },
            error: None,
            fields: vec![],
            records: records.iter().map(line).collect(),
            rejects: rejects.iter().map(reject).collect(),
            ignored: crate::item::Ignored::default(),
        };
        let found = differences(expect, &report, &["last".into(), "o".into()]);
        let words = found.iter().map(|one| format!("{}: {} / {}", one.at, one.expected, one.found));
        words.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn one_record() {
        let record = r#"{"last":24834.850,"name":"NIFTY 50","o":{"at":[1,2]},"open":true,"gone":null}"#;
        for same in [
            json!({}),
            json!({ "last": 24834.85 }),
            json!({ "last": "24834.850", "name": "NIFTY 50", "open": true, "gone": null }),
            json!({ "o": { "at": [1, 2] }, "outcome": "ok", "rejects": 0 }),
        ] {
            assert_eq!(said(&same, &[record], &[]), "", "{same}");
        }
        let other =
            json!({ "last": 24834.86, "name": "nifty", "o": { "at": [1, 3], "b": 1 }, "volume": 1, "gone": false });
        insta::assert_snapshot!(said(&other, &[record], &[]), @r#"
        last: 24834.86 / 24834.850
        name: "nifty" / "NIFTY 50"
        o.at.2: 3 / 2
        o.b: 1 / nothing
        volume: 1 / nothing
        gone: false / null
        "#);
        insta::assert_snapshot!(said(&json!({ "last": "24834.85" }), &[record], &[]), @r#"last: "24834.85" / 24834.850"#);
        insta::assert_snapshot!(said(&json!({ "last": 1 }), &[], &[("fields.last", "`b` matched nothing")]), @"records: 1 / none: fields.last: `b` matched nothing");
    }

    #[test]
    fn many_records_and_what_is_wrong() {
        let (a, b) = (r#"{"s":"A","p":1}"#, r#"{"s":"B","p":2}"#);
        assert_eq!(said(&json!([{ "s": "A" }, { "p": 2 }]), &[a, b], &[]), "");
        insta::assert_snapshot!(said(&json!([{ "s": "B" }]), &[a, b], &[("fields.p", "gone")]), @r#"
        records: 1 / 2
        1.s: "B" / "A"
        rejects: none / 1, the first: fields.p: gone
        "#);
        let gone = [("fields.p", "`b` matched nothing")];
        assert_eq!(said(&json!({ "outcome": "missing", "rejects": ["fields.p: `b`"] }), &[], &gone), "");
        insta::assert_snapshot!(said(&json!({ "outcome": "ok", "rejects": ["fields.q", "fields.p"] }), &[], &gone), @r#"
        outcome: ok / missing: fields.p: `b` matched nothing
        rejects: "fields.q" / fields.p: `b` matched nothing
        rejects: 2 / 1 (fields.p: `b` matched nothing)
        "#);
    }

    proptest! {
        #[test]
        fn numbers_are_equal_when_they_are(a in -100_000_i64..100_000, b in -100_000_i64..100_000, zeros in 0_usize..5) {
            let text = |value: i64| format!("{}{}.{:02}{}", if value < 0 { "-" } else { "" }, value.abs() / 100, value.abs() % 100, "0".repeat(zeros));
            prop_assert_eq!(decimal(&text(a)) == decimal(&text(b)), a == b);
            prop_assert_eq!(decimal(&format!("{a}e-2")), decimal(&text(a)));
        }

        #[test]
        fn never_panics(token in "[-+0-9.eE]{0,12}") {
            decimal(&token);
        }
    }
}
