//! What holds of any answer.

use serde_json::value::RawValue;

use super::settings::Json;
use super::split::Plan;
use crate::source::Settings as _;

const SETTINGS: [&str; 8] = [
    "{}",
    r#"{ "records": "/data", "id": "/id" }"#,
    r#"{ "records": "/data/*", "fields": { "a": "/a", "all": "/*" }, "id": "/id" }"#,
    r#"{ "format": "jsonl", "error": "/error" }"#,
    r#"{ "format": "csv", "id": "/id" }"#,
    r#"{ "format": "xml", "records": "/r/i" }"#,
    r#"{ "format": "xml" }"#,
    r#"{ "records": "/data", "since": { "param": "s", "from": "/id" }, "pages": { "next": "/next" } }"#,
];

/// Any answer, read in one of several ways: whatever it is, it becomes records that are JSON, or rejects with reasons.
pub(crate) fn any(choice: u8, text: &str) {
    let mut settings: serde_json::Value =
        serde_json::from_str(SETTINGS[usize::from(choice) % SETTINGS.len()]).expect("settings");
    settings["url"] = "https://example.com/".into();
    let settings = Json::read(settings).unwrap_or_else(|problems| panic!("{problems:?}"));
    let plan = Plan::new(&settings, "checks").expect("a plan");
    let answered = plan.read(text, true);
    for item in &answered.items {
        let data = item.data.get();
        // Not as values: a number such as 5e4404 is JSON, and kept as it is, though no float can hold it.
        serde_json::from_str::<&RawValue>(data).unwrap_or_else(|error| panic!("{data}: {error}"));
        // What upstream sends is kept as it is.
        let is_own = settings.fields.is_none() && matches!(choice % 8, 0 | 1 | 3 | 7);
        assert!(!is_own || text.contains(data), "{data} was not sent");
    }
    assert!(answered.rejects.iter().all(|reject| !reject.reason.is_empty()));
}
