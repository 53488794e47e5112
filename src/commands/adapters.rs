//! `tapline adapters`: the kinds of source, and their pages in `docs/`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::adapters::ADAPTERS;
use crate::cli::Global;
use crate::config::preset::{self, Preset};
use crate::config::{nearest, schema};
use crate::source::Adapter;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline adapters                         the kinds and presets, a line each
  tapline adapters scrape                  one kind: its keys and an example
  tapline adapters wikimedia               one preset: what it wants to know, and what it stands for
  tapline adapters --write docs/adapters   a page for each")]
pub struct Adapters {
    /// One kind or preset
    kind: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Write a page for each kind, and one for the keys of all sources, into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

impl Adapters {
    /// Carries out the command.
    ///
    /// # Errors
    /// When there is no such kind, or a file or standard output cannot be written.
    pub fn run(self, _global: &Global) -> anyhow::Result<ExitCode> {
        if let Some(dir) = &self.write {
            for (name, page) in pages() {
                let path = dir.join(name);
                std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = std::io::stdout().lock();
        match &self.kind {
            Some(name) => out.write_all(page_of(name)?.as_bytes())?,
            None if self.json => writeln!(out, "{}", all_as_json())?,
            None => {
                for adapter in ADAPTERS {
                    writeln!(out, "{:<12} {}", adapter.kind, adapter.about)?;
                }
                writeln!(out, "\nPresets, each a public source in a line (`preset: NAME`):\n")?;
                for preset in preset::all() {
                    writeln!(out, "{:<12} {}", preset.name, preset.about)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The page of a kind or a preset.
fn page_of(name: &str) -> anyhow::Result<String> {
    let (adapter, preset) =
        (ADAPTERS.iter().find(|adapter| adapter.kind == name), preset::all().iter().find(|preset| preset.name == name));
    match (adapter, preset) {
        (Some(adapter), _) => Ok(page(adapter)),
        (None, Some(preset)) => Ok(preset_page(preset, 1)),
        (None, None) => {
            let known =
                ADAPTERS.iter().map(|adapter| adapter.kind).chain(preset::all().iter().map(|preset| preset.name));
            let hint = nearest(name, known)
                .map_or_else(|| "`tapline adapters` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            anyhow::bail!("{name} is no kind of source and no preset; {hint}")
        }
    }
}

/// Kinds, and presets with the kind that each is of.
fn all_as_json() -> Value {
    let kinds = ADAPTERS
        .iter()
        .map(|adapter| json!({ "kind": adapter.kind, "about": adapter.about, "polled": adapter.polled }));
    let presets = preset::all().iter().map(|preset| {
        let with = preset.parameters.iter().map(|parameter| {
            json!({ "name": parameter.name, "about": parameter.about, "needed": parameter.is_needed, "default": parameter.default })
        });
        let polled = ADAPTERS.iter().find(|adapter| adapter.kind == preset.kind()).map(|adapter| adapter.polled);
        json!({ "preset": preset.name, "kind": preset.kind(), "about": preset.about, "polled": polled,
            "with": with.collect::<Value>() })
    });
    kinds.chain(presets).collect()
}

/// Every generated page, by file name.
pub fn pages() -> Vec<(String, String)> {
    let pages = ADAPTERS.iter().map(|adapter| (format!("{}.md", adapter.kind), page(adapter)));
    pages.chain([("presets.md".to_owned(), presets())]).collect()
}

/// The page of all presets.
fn presets() -> String {
    let mut page = String::from(
        "# presets\n\nA preset says in one line what a public source is: `preset: NAME`, with its parameters in `with`. \
         Any key of its kind may stand beside, and counts more. Each is written out below, as the YAML that it stands for.\n",
    );
    for preset in preset::all() {
        put(&mut page, &format!("\n{}", preset_page(preset, 2)));
    }
    page
}

/// What there is to say of one preset, under a heading of this level.
fn preset_page(preset: &Preset, level: usize) -> String {
    let mut page = format!("{} {}\n\n{}.\n\n", "#".repeat(level), preset.name, sentence(&preset.about));
    put(&mut page, "| in `with` | default | |\n|---|---|---|\n");
    for parameter in &preset.parameters {
        let default = match (&parameter.default, parameter.is_needed) {
            (_, true) => "needed".to_owned(),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => String::new(),
        };
        let about = parameter.about.replace('|', "\\|");
        put(&mut page, &format!("| `{}` | {default} | {about} |\n", parameter.name));
    }
    let source = preset.text.split_once("\nsource:\n").map_or(preset.text, |(_, source)| source);
    let lines: Vec<&str> = source.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    put(&mut page, &format!("\n```yaml\n{}\n```\n", lines.join("\n")));
    page
}

/// The page of one kind, generated from the docs of its settings.
fn page(adapter: &Adapter) -> String {
    let schema = schema::of_source(adapter);
    let own = (adapter.schema)().to_value();
    let mut page = format!("# {}\n\n{}.\n\n", adapter.kind, sentence(adapter.about));
    if let Some(description) = own.get("description").and_then(Value::as_str) {
        put(&mut page, &format!("{description}\n\n"));
    }
    put(&mut page, &format!("```yaml\n{}```\n\n## Keys of this kind\n\n", adapter.example));
    let is_own = |key: &str| own.pointer("/properties").and_then(|keys| keys.get(key)).is_some();
    let all = schema["properties"].as_object().cloned().unwrap_or_default();
    let (own_keys, shared): (Map<String, Value>, Map<String, Value>) =
        all.into_iter().partition(|(key, _)| is_own(key));
    put(&mut page, &table(&own_keys, &schema, &schema));
    let mut maps = Vec::new();
    nested(&own_keys, &schema, &mut maps);
    put(&mut page, "\n## Keys of every source\n\n");
    put(&mut page, &table(&shared, &schema, &schema));
    nested(&shared, &schema, &mut maps);
    for name in maps {
        let Some(map) = schema.pointer(&format!("/$defs/{name}")) else { continue };
        let keys = map["properties"].as_object().cloned().unwrap_or_default();
        put(
            &mut page,
            &format!("\n### {name}\n\n{}", description(map).map_or(String::new(), |text| format!("{text}\n\n"))),
        );
        put(&mut page, &table(&keys, map, &schema));
    }
    page
}

fn put(page: &mut String, text: &str) {
    page.write_str(text).expect("invariant: writing to a string cannot fail");
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A table of the keys of a map: name, form, default, what it is.
fn table(keys: &Map<String, Value>, map: &Value, schema: &Value) -> String {
    let required: Vec<&str> = map["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut table = "| key | form | default | |\n|---|---|---|---|\n".to_owned();
    for (key, value) in keys {
        let default = match value.get("default") {
            Some(Value::Null) | None if required.contains(&key.as_str()) => "needed".to_owned(),
            Some(Value::Null) | None => String::new(),
            Some(default) => format!("`{default}`"),
        };
        let text = description(value)
            .or_else(|| description(resolve(value, schema)))
            .unwrap_or_default()
            .replace('\n', " ")
            .replace('|', "\\|");
        put(&mut table, &format!("| `{key}` | {} | {default} | {text} |\n", form(value, schema)));
    }
    table
}

fn description(schema: &Value) -> Option<&str> {
    schema.get("description").and_then(Value::as_str)
}

/// The form of a value, in a word or two.
fn form(value: &Value, schema: &Value) -> String {
    if let Some(constant) = value.get("const") {
        return format!("`{constant}`");
    }
    if let Some(name) = reference(value) {
        let resolved = resolve(value, schema);
        return match resolved.get("properties") {
            Some(_) => format!("[{name}](#{})", name.to_lowercase()),
            None => form(resolved, schema),
        };
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(forms) = value.get(word).and_then(Value::as_array) {
            let mut forms: Vec<String> = forms
                .iter()
                .filter(|form| form.get("type") != Some(&json!("null")))
                .map(|value| form(value, schema))
                .collect();
            forms.dedup();
            return forms.join(" or ");
        }
    }
    if let Some(words) = value.get("enum").and_then(Value::as_array) {
        return words
            .iter()
            .filter(|word| !word.is_null())
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match value.get("type") {
        Some(Value::String(kind)) => plain_kind(kind).to_owned(),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").map(plain_kind);
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    }
}

fn plain_kind(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "integer" => "whole number",
        "boolean" => "true or false",
        "array" => "list",
        "object" => "map",
        other => other,
    }
}

fn reference(value: &Value) -> Option<&str> {
    value.get("$ref").and_then(Value::as_str)?.strip_prefix("#/$defs/")
}

fn resolve<'a>(value: &'a Value, schema: &'a Value) -> &'a Value {
    reference(value).and_then(|name| schema.pointer(&format!("/$defs/{name}"))).unwrap_or(value)
}

/// The names of maps with keys of their own that these keys lead to, each once, in order.
fn nested(keys: &Map<String, Value>, schema: &Value, found: &mut Vec<String>) {
    for value in keys.values() {
        let mut waiting = vec![value];
        while let Some(value) = waiting.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(name) = reference(value) {
                        let resolved = resolve(value, schema);
                        let is_new = !found.iter().any(|known| known == name);
                        if is_new && resolved.get("properties").is_some() {
                            found.push(name.to_owned());
                            nested(
                                resolved["properties"].as_object().expect("invariant: properties are a map"),
                                schema,
                                found,
                            );
                        } else if is_new {
                            waiting.extend(resolved.as_object().into_iter().flat_map(Map::values));
                        }
                    }
                    waiting.extend(map.values());
                }
                Value::Array(list) => waiting.extend(list),
                _ => {}
            }
        }
    }
}
