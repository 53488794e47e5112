//! Which of a field's rules serves, and word of each change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::Fallback;
use crate::source::Note;

/// The fields that a fall-back serves, by their place in the file, with its number. The first rule has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Served(BTreeMap<String, usize>);

impl Served {
    /// Whether every field is where it should be.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes up what served a page, and says what has changed since the one before. Where there are several, `page` is
    /// what it is called.
    pub(super) fn update(&mut self, fallbacks: &[Fallback], served: &[Option<usize>], page: Option<&str>) -> Vec<Note> {
        let mut notes = Vec::new();
        for (Fallback { path, rules }, rule) in fallbacks.iter().zip(served) {
            // A page without the field says nothing about its rules.
            let Some(rule) = *rule else { continue };
            let before = self.0.get(path).copied().unwrap_or(0);
            if rule == before {
                continue;
            }
            if rule == 0 {
                self.0.remove(path);
            } else {
                self.0.insert(path.clone(), rule);
            }
            let [now, was] = [rule, before].map(|rule| rules.get(rule));
            let mut data = serde_json::json!({ "field": path, "selector": now, "before": was });
            if let Some(page) = page {
                data["page"] = page.into();
            }
            notes.push(Note::new("fallback", data));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let fallbacks = [Fallback { path: "fields.price".into(), rules: vec!["a".into(), "b".into(), "c".into()] }];
        let mut served = Served::default();
        let mut say = |rule| {
            let notes = served.update(&fallbacks, &[rule], None);
            let texts: Vec<String> = notes.iter().map(|note| format!("{} {}", note.kind, note.data)).collect();
            (texts.join("\n"), serde_json::to_string(&served).unwrap())
        };
        assert_eq!(say(Some(0)), (String::new(), "{}".into()));
        let (note, kept) = say(Some(1));
        insta::assert_snapshot!(note, @r#"fallback {"field":"fields.price","selector":"b","before":"a"}"#);
        assert_eq!(kept, r#"{"fields.price":1}"#);
        for rule in [Some(1), None, Some(1)] {
            assert_eq!(say(rule).0, "", "{rule:?}");
        }
        insta::assert_snapshot!(say(Some(2)).0, @r#"fallback {"field":"fields.price","selector":"c","before":"b"}"#);
        let (note, kept) = say(Some(0));
        insta::assert_snapshot!(note, @r#"fallback {"field":"fields.price","selector":"a","before":"c"}"#);
        assert_eq!(kept, "{}");
    }
}
