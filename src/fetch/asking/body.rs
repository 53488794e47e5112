//! What is sent along with a request.

use std::collections::BTreeMap;

use http::Method;
use http::header::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Payload;
use super::Fill;
use crate::auth;

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum MethodName {
    /// Without a body.
    Get,
    /// With a body, as forms and queries are sent.
    Post,
    /// With a body; few sites want it.
    Put,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Get => Self::GET,
            MethodName::Post => Self::POST,
            MethodName::Put => Self::PUT,
        }
    }
}

/// What is sent along: one of `form`, `json` and `text`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BodyKeys {
    /// Parameters, sent as a form is.
    pub form: Option<BTreeMap<String, String>>,
    /// A value, sent as JSON.
    pub json: Option<Value>,
    /// A text, sent as it is.
    pub text: Option<String>,
    /// The `Content-Type` of `text`; `text/plain; charset=utf-8` by default.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
}

impl BodyKeys {
    /// Its texts that may have placeholders.
    pub(super) fn texts<'a>(&'a self, texts: &mut Vec<&'a str>) {
        texts.extend(self.form.iter().flat_map(BTreeMap::values).map(String::as_str));
        texts.extend(self.text.as_deref());
        self.json.iter().for_each(|json| json_texts(json, texts));
    }

    /// What is sent, with each of its texts as `fill` makes it.
    pub(super) fn payload(&self, fill: &Fill<'_>) -> Result<Payload, String> {
        let plain = |content_type: &'static str, text: String| Payload {
            content_type: HeaderValue::from_static(content_type),
            bytes: text.into(),
            form: Vec::new(),
        };
        if self.content_type.is_some() && self.text.is_none() {
            return Err("`type` is for `text`; form and json have their own".into());
        }
        match (&self.form, &self.json, &self.text) {
            (Some(form), None, None) => {
                let filled = form.iter().map(|(name, value)| Ok((name.clone(), fill(value)?)));
                let form = filled.collect::<Result<Vec<(String, String)>, String>>()?;
                let payload = plain("application/x-www-form-urlencoded", auth::form_body(&form));
                Ok(Payload { form, ..payload })
            }
            (None, Some(json), None) => {
                let mut json = json.clone();
                fill_json(&mut json, fill)?;
                Ok(plain("application/json", json.to_string()))
            }
            (None, None, Some(text)) => {
                let payload = plain("text/plain; charset=utf-8", fill(text)?);
                let Some(content_type) = &self.content_type else { return Ok(payload) };
                let content_type =
                    HeaderValue::from_str(content_type).map_err(|_| "`type` is one line of plain text")?;
                Ok(Payload { content_type, ..payload })
            }
            _ => Err("write one of `form: { name: value }`, `json: …` and `text: \"…\"`".into()),
        }
    }
}

fn json_texts<'a>(json: &'a Value, texts: &mut Vec<&'a str>) {
    match json {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| json_texts(item, texts)),
        Value::Object(entries) => entries.values().for_each(|value| json_texts(value, texts)),
        _ => {}
    }
}

/// Fills each text within a value.
fn fill_json(json: &mut Value, fill: &Fill<'_>) -> Result<(), String> {
    match json {
        Value::String(text) => *text = fill(text)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_json(item, fill))?,
        Value::Object(entries) => entries.values_mut().try_for_each(|value| fill_json(value, fill))?,
        _ => {}
    }
    Ok(())
}
