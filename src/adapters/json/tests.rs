//! Answers and what comes of them; the adapter at the socket is tested with a simulator in `tests/it/json_api.rs`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::checks;
use super::settings::Json;
use super::split::Plan;
use crate::source::{Problem, Settings as _};

fn settings(mut keys: Value) -> Result<Json, String> {
    keys["url"] = keys.get("url").cloned().unwrap_or("https://example.com/api".into());
    let found = Json::read(keys);
    let problems = match found {
        Ok(json) if json.problems().is_empty() => return Ok(json),
        Ok(json) => json.problems(),
        Err(problems) => problems,
    };
    let said = |problem: &Problem| format!("{}: {}", problem.path.join("."), problem.message);
    Err(problems.iter().map(said).collect::<Vec<_>>().join("\n"))
}

/// What comes of an answer, each on a line.
fn read(keys: Value, answer: &str) -> String {
    let json = settings(keys).unwrap();
    let answered = Plan::new(&json, "api").unwrap().read(answer, true);
    let mut lines: Vec<String> = Vec::new();
    for item in answered.items {
        let id = item.id.map(|id| id.rsplit_once('_').unwrap().0.to_owned() + " ").unwrap_or_default();
        lines.push(format!("{id}{}", item.data));
    }
    lines.extend(answered.rejects.iter().map(|reject| format!("! {} {}", reject.outcome.as_str(), reject.reason)));
    lines.extend(answered.told.map(|told| format!("next {told}")));
    lines.extend(answered.since.map(|since| format!("since {since}")));
    lines.extend(answered.error.map(|error| format!("error {error}")));
    lines.join("\n")
}

#[test]
fn records_are_where_the_file_says_token_for_token() {
    assert_eq!(read(json!({}), r#"{"a": 1.10}"#), r#"{"a": 1.10}"#);
    assert_eq!(read(json!({}), r#"[{"id": 12345678901234567890}, 1.0]"#), "{\"id\": 12345678901234567890}\n1.0");
    let data = r#"{"data": [{"id": "a", "n": 1e400}, {"id": "b"}], "next": "/p2"}"#;
    let two = "m_a {\"id\": \"a\", \"n\": 1e400}\nm_b {\"id\": \"b\"}";
    for records in ["/data", "/data/*", "$.data", "$.data[*]"] {
        assert_eq!(read(json!({ "records": records, "id": "/id" }), data), two, "{records}");
    }
    assert_eq!(read(json!({ "records": "/data" }), r#"{"data": {"one": true}}"#), r#"{"one": true}"#);
    assert_eq!(read(json!({ "records": "/data" }), r#"{"data": []}"#), "");
    assert_eq!(read(json!({ "records": "/data" }), r#"{"data": null}"#), "");
    assert_eq!(
        read(json!({ "records": "/data" }), r#"{"other": 1}"#),
        "! missing no_records: there is nothing at `/data`"
    );
}

#[test]
fn fields_ids_and_values_to_ask_from() {
    let keys = json!({
        "records": "/data", "id": "/id", "fields": { "price": "/p/last", "all": "/tags/*", "none": "/x" },
        "since": { "param": "after", "from": "/id" }, "pages": { "next": "/links/next" },
    });
    let answer =
        r#"{"data":[{"id":9,"p":{"last":1.50},"tags":["a","b"]},{"id":10}],"links":{"next":"https://example.com/2"}}"#;
    insta::assert_snapshot!(read(keys, answer), @r#"
    m_9 {"price":1.50,"all":["a","b"],"none":null}
    m_10 {"price":null,"all":null,"none":null}
    next https://example.com/2
    since 10
    "#);
}

#[test]
fn an_error_within_a_good_answer_is_one() {
    let keys = || json!({ "records": "/data", "error": "/error" });
    assert_eq!(read(keys(), r#"{"error":{"code":7}}"#), "error {\"code\":7}");
    assert_eq!(read(keys(), r#"{"error":"no such key"}"#), "error no such key");
    for none in ["null", "false", "\"\"", "[]", "0"] {
        assert_eq!(read(keys(), &format!("{{\"error\":{none},\"data\":[1]}}")), "1", "{none}");
    }
}

#[test]
fn tables_lines_and_xml() {
    insta::assert_snapshot!(read(json!({ "format": "csv", "delimiter": ";", "id": "/id" }), "id;price\n1;1,50\n2;\n"), @r#"
    m_1 {"id":"1","price":"1,50"}
    m_2 {"id":"2","price":""}
    "#);
    assert_eq!(
        read(json!({ "format": "jsonl", "id": "/id" }), "{\"id\":1}\n{\"id\":2}\n"),
        "m_1 {\"id\":1}\nm_2 {\"id\":2}"
    );
    for answer in ["<r><i id='1'/></r>", "<r><i id='1'/><i id='2'/></r>"] {
        let found = read(json!({ "format": "xml", "records": "/r/i", "id": "/@id" }), answer);
        assert_eq!(
            found.lines().count(),
            answer.matches("id=").count(),
            "one element is a record, and so are several: {found}"
        );
    }
}

#[test]
fn wrong_settings_are_said_at_their_place() {
    let wrong = |keys| settings(keys).err().unwrap();
    let all = json!({
        "url": "x", "pages": {}, "once": true, "delimiter": ",", "fields": {}, "since": { "param": "a", "from": "/*" },
    });
    insta::assert_snapshot!(wrong(all), @r"
    url: not a URL (relative URL without a base); write it whole, such as https://example.com/page
    pages: write one of `next`, `link`, `page`, `offset` and `cursor`
    once: a record is known by its `id`; say where that is
    fields: name a field, or leave this out for all that upstream sends
    delimiter: it is one ASCII character between values of a table (`format: csv`)
    since: this is one value; leave the `*` out
    ");
    assert!(wrong(json!({ "records": "data" })).starts_with("records: `data` is no place in a message"));
    assert!(wrong(json!({ "recrods": "/data" })).starts_with("recrods: unknown field `recrods`"));
    assert!(settings(json!({ "id": "/id", "once": { "remember": 1 } })).is_err());
}

proptest! {
    #[test]
    fn any_answer_is_read(choice in 0_u8..8, text in "([{}\\[\\]:,<>/&;\"]|\"(id|data|next|a)\"|<r>|</r>|<i>|</i>|1|null|\n| |é){0,30}") {
        checks::any(choice, &text);
    }

    #[test]
    fn any_text_is_read(choice in 0_u8..8, text in ".{0,100}") {
        checks::any(choice, &text);
    }
}
