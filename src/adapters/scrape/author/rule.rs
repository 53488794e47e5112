//! Rules of a field as they would stand in a file, and what they find.

use serde_json::{Map, Value, json};

use super::super::Scrape;
use super::super::extract::extract;
use super::super::plan::Plan;
use crate::source::Settings as _;

/// A word that YAML takes for itself only in quotes.
const NO_WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "none"];

/// The keys of a field, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rule(pub(super) Vec<(String, Value)>);

impl Rule {
    pub(super) fn new(key: &str, value: impl Into<Value>) -> Self {
        Self(vec![(key.to_owned(), value.into())])
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    fn json(&self) -> Value {
        Value::Object(self.0.iter().cloned().collect::<Map<_, _>>())
    }

    /// As it stands in a file: a selector alone, or a map.
    pub(super) fn yaml(&self) -> String {
        if let [(key, value)] = &self.0[..]
            && key == "css"
        {
            return scalar(value);
        }
        let parts: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}: {}", scalar(value))).collect();
        format!("{{ {} }}", parts.join(", "))
    }

    /// The text that it finds in a page, of rows in the first, and in how many rows it finds one.
    pub(super) fn texts(&self, html: &str, records: Option<&str>) -> Vec<String> {
        let mut settings = json!({ "url": "http://localhost/", "fields": { "it": self.json() } });
        if let Some(records) = records {
            settings["records"] = records.into();
        }
        let plan = Scrape::read(settings).ok().and_then(|settings| Plan::compile(&settings).ok());
        let mut found = Vec::new();
        if plan.is_none_or(|plan| extract(&plan, html, Some(&mut found)).is_err()) {
            return Vec::new();
        }
        let texts = found.into_iter().filter(|finding| finding.value.is_some()).filter_map(|finding| finding.raw);
        // An empty text is a text, and no value that anybody looked for.
        texts.filter(|text| !text.trim().is_empty()).collect()
    }
}

/// A value as YAML has it within braces.
pub(super) fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !NO_WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_word {
        return text.clone();
    }
    // Every text of JSON is one of YAML. What would be a reference is none of ours.
    json!(text.replace("${", "$${")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_they_stand_in_a_file() {
        assert_eq!(Rule::new("css", "#a > b").yaml(), "\"#a > b\"");
        assert_eq!(Rule::new("css", "b").with("type", "number").yaml(), "{ css: b, type: number }");
        assert_eq!(
            Rule::new("near", "No").with("nth", 2).with("x", "a${b}").yaml(),
            "{ near: \"No\", nth: 2, x: \"a$${b}\" }"
        );
        assert_eq!(Rule::new("css", "b").texts("<b>1</b>", None), ["1"]);
        assert_eq!(Rule::new("css", "i").texts("<p><i>1</i><p><i>2</i><p>", Some("p")), ["1", "2"]);
        assert!(Rule::new("css", "i:").texts("<b>1</b>", None).is_empty());
    }
}
