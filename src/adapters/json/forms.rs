//! Answers that are not JSON, as JSON: lines of JSON, tables (CSV), and XML. Pure, and within limits.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What an answer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One value of JSON.
    #[default]
    Json,
    /// A value of JSON on each line.
    Jsonl,
    /// A table, whose first line has the names of its columns. Values are texts.
    Csv,
    /// An element is an object with its attributes as `@name` and its text as `#text`; one with text alone is that text, and
    /// several of one name are a list.
    Xml,
}

/// How deep elements may stand in each other.
const DEPTH_MAX: usize = 100;
/// The most elements and attributes of a document.
const NODES_MAX: usize = 500_000;
/// The most columns of a table.
const COLUMNS_MAX: usize = 10_000;

/// The messages of an answer, and what of it is none, with its reason.
pub(super) type Messages = (Vec<Box<RawValue>>, Vec<(String, String)>);

/// Reads an answer.
///
/// # Errors
/// In words, when it is not what it should be.
pub(super) fn messages(text: &str, format: Format, delimiter: u8) -> Result<Messages, String> {
    let text = text.trim_start_matches('\u{feff}');
    match format {
        Format::Json => {
            let json =
                serde_json::from_str(text).map_err(|error| format!("not_json: the answer is not JSON: {error}"))?;
            Ok((vec![json], Vec::new()))
        }
        Format::Jsonl => {
            let (mut good, mut bad) = (Vec::new(), Vec::new());
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                match serde_json::from_str(line) {
                    Ok(json) => good.push(json),
                    Err(error) => bad.push((format!("not_json: this line is not JSON: {error}"), line.to_owned())),
                }
            }
            Ok((good, bad))
        }
        Format::Csv => table(text, delimiter),
        Format::Xml => xml(text).map(|value| (vec![raw(&value)], Vec::new())),
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("invariant: a value has a JSON form")
}

fn table(text: &str, delimiter: u8) -> Result<Messages, String> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(true).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| format!("not_csv: the answer is no table: {error}"))?.clone();
    if headers.is_empty() || headers.len() > COLUMNS_MAX {
        return Err(format!("not_csv: a table has from 1 to {COLUMNS_MAX} columns"));
    }
    let mut names: Vec<String> = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let name = header.trim();
        // Columns without a name, and a second one of the same name, go by their numbers.
        let is_new = !name.is_empty() && !names.iter().any(|known| known == name);
        names.push(if is_new { name.to_owned() } else { format!("column_{}", index + 1) });
    }
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for record in reader.records() {
        match record {
            Ok(record) => {
                let mut row = Map::new();
                for (index, name) in names.iter().enumerate() {
                    row.insert(name.clone(), record.get(index).map_or(Value::Null, Value::from));
                }
                for (index, more) in record.iter().enumerate().skip(names.len()).take(COLUMNS_MAX) {
                    row.insert(format!("column_{}", index + 1), more.into());
                }
                rows.push(Value::Object(row));
            }
            Err(error) => bad.push((format!("not_csv: this row cannot be read: {error}"), String::new())),
        }
    }
    Ok((vec![raw(&Value::Array(rows))], bad))
}

/// An element that is open.
struct Open {
    name: String,
    members: Map<String, Value>,
    text: String,
}

/// A document as one object, with its root's name in it.
fn xml(text: &str) -> Result<Value, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("not_xml: the answer is not XML: {why}");
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open = vec![Open { name: String::new(), members: Map::new(), text: String::new() }];
    let mut nodes = 0_usize;
    loop {
        match reader.read_event().map_err(|error| wrong(&error))? {
            Event::Start(start) => {
                if open.len() > DEPTH_MAX {
                    return Err(wrong(&"its elements stand in each other too deep"));
                }
                let element = element(&start, &mut nodes)?;
                open.push(element);
            }
            Event::End(_) => {
                let Some(element) = open.pop().filter(|_| !open.is_empty()) else {
                    return Err(wrong(&"an end has no beginning"));
                };
                let parent = open.last_mut().ok_or_else(|| wrong(&"an end has no beginning"))?;
                let (name, value) = (element.name.clone(), element.value());
                put(&mut parent.members, name, value);
            }
            Event::Text(found) => push(&mut open, &found),
            Event::CData(found) => push(&mut open, &found),
            Event::GeneralRef(found) => {
                if let Some(character) = found.resolve_char_ref().map_err(|error| wrong(&error))? {
                    push(&mut open, character.encode_utf8(&mut [0; 4]));
                } else {
                    let name: &str = &found;
                    match quick_xml::escape::resolve_predefined_entity(name) {
                        Some(text) => push(&mut open, text),
                        // What a document declares is not put in: it may grow without bounds.
                        None => push(&mut open, &format!("&{name};")),
                    }
                }
            }
            Event::Eof => break,
            _ => {}
        }
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(wrong(&"it has too many elements"));
        }
    }
    match (open.len(), open.pop()) {
        (1, Some(root)) if !root.members.is_empty() => Ok(Value::Object(root.members)),
        (1, _) => Err(wrong(&"there is no element in it")),
        _ => Err(wrong(&"it ends before its end")),
    }
}

fn push(open: &mut [Open], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(start: &BytesStart<'_>, nodes: &mut usize) -> Result<Open, String> {
    let mut members = Map::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("not_xml: the answer is not XML: {error}"))?;
        let name: &str = attribute.key.as_ref();
        let value = quick_xml::escape::unescape(&attribute.value)
            .map_or_else(|_| attribute.value.to_string(), std::borrow::Cow::into_owned);
        members.insert(format!("@{name}"), value.into());
        *nodes += 1;
    }
    let name: &str = start.name().into_inner();
    Ok(Open { name: name.to_owned(), members, text: String::new() })
}

impl Open {
    fn value(mut self) -> Value {
        let text = self.text.trim();
        if self.members.is_empty() {
            return text.into();
        }
        if !text.is_empty() {
            self.members.insert("#text".to_owned(), text.into());
        }
        Value::Object(self.members)
    }
}

/// Puts an element into its parent; several of one name are a list.
fn put(members: &mut Map<String, Value>, name: String, value: Value) {
    match members.get_mut(&name) {
        None => drop(members.insert(name, value)),
        // An element itself is never a list.
        Some(Value::Array(list)) => list.push(value),
        Some(known) => *known = Value::Array(vec![known.take(), value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: Format) -> String {
        match messages(text, format, b',') {
            Ok((good, bad)) => {
                let good: Vec<&str> = good.iter().map(|json| json.get()).collect();
                let bad: Vec<String> = bad.into_iter().map(|(why, _)| format!(" ! {why}")).collect();
                good.join(" ") + &bad.concat()
            }
            Err(why) => why,
        }
    }

    #[test]
    fn each_form_as_json() {
        for (format, text, expected) in [
            (Format::Json, "\u{feff} {\"a\":1.10}", "{\"a\":1.10}"),
            (Format::Json, "[1", "not_json: the answer is not JSON: EOF while parsing a list at line 1 column 2"),
            (Format::Jsonl, "{\"a\":1}\r\n\n[2]\n", "{\"a\":1} [2]"),
            (
                Format::Jsonl,
                "{\"a\":1}\n{",
                "{\"a\":1} ! not_json: this line is not JSON: EOF while parsing an object at line 1 column 1",
            ),
            (
                Format::Csv,
                "a,b,,a\n1,\"x,\"\"y\n\",3\n4,5,6,7,8\n",
                "[{\"a\":\"1\",\"b\":\"x,\\\"y\\n\",\"column_3\":\"3\",\"column_4\":null},{\"a\":\"4\",\"b\":\"5\",\"column_3\":\"6\",\"column_4\":\"7\",\"column_5\":\"8\"}]",
            ),
            (Format::Csv, "a\n", "[]"),
            (Format::Csv, "", "not_csv: a table has from 1 to 10000 columns"),
            (
                Format::Xml,
                "<?xml version='1.0'?><r n='1 &lt; 2'><i>a &amp; b</i><i/><i k='v'>t</i><c><![CDATA[<x>]]></c></r>",
                "{\"r\":{\"@n\":\"1 < 2\",\"i\":[\"a & b\",\"\",{\"@k\":\"v\",\"#text\":\"t\"}],\"c\":\"<x>\"}}",
            ),
            (Format::Xml, "<!DOCTYPE r [<!ENTITY a \"aaaa\">]><r>&a;</r>", "{\"r\":\"&a;\"}"),
            (
                Format::Xml,
                "<r><i></r>",
                "not_xml: the answer is not XML: ill-formed document: expected `</i>`, but `</r>` was found",
            ),
            (Format::Xml, "<r>", "not_xml: the answer is not XML: it ends before its end"),
            (Format::Xml, " ", "not_xml: the answer is not XML: there is no element in it"),
        ] {
            assert_eq!(read(text, format), expected, "{text}");
        }
        assert!(read(&"<a>".repeat(200), Format::Xml).contains("too deep"));
    }
}
