//! Presets: what a source's file says in one line, `preset: bluesky`, written out. Each is a file of YAML over an adapter, and
//! has no code of its own; what the user's file says beside it counts more.
//!
//! In a preset `{name}` is a parameter of `with`: a text that is nothing else becomes the value, whatever it is, and a key
//! whose parameter was not given is left out. An element of a list with `{name*}` in it is there once for each value. A key with
//! a `?` behind it is left out, with all that is in it, where a parameter anywhere in it was not given.

use std::sync::LazyLock;

use crate::source::Problem;

use super::keys::nearest;
use super::read::Reading;
use super::yaml::{self, Entry, Kind, Node, Place};

/// A preset.
pub struct Preset {
    /// What users write.
    pub name: &'static str,
    /// What it brings, in a sentence.
    pub about: String,
    /// What can be said in `with`.
    pub parameters: Vec<Parameter>,
    /// The file, as it is written.
    pub text: &'static str,
    source: Node,
}

/// Something that can be said in `with`.
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Whether it must be said.
    pub is_needed: bool,
    /// What it is where it is not said, as JSON.
    pub default: Option<serde_json::Value>,
    node: Option<Node>,
}

/// To add one: write `presets/<name>.yaml`, then its line here.
const FILES: [(&str, &str); 10] = [
    ("binance", include_str!("presets/binance.yaml")),
    ("bluesky", include_str!("presets/bluesky.yaml")),
    ("bluesky_v2", include_str!("presets/bluesky_v2.yaml")),
    ("coinbase", include_str!("presets/coinbase.yaml")),
    ("finnhub", include_str!("presets/finnhub.yaml")),
    ("hacker_news", include_str!("presets/hacker_news.yaml")),
    ("mastodon", include_str!("presets/mastodon.yaml")),
    ("mastodon_sse", include_str!("presets/mastodon_sse.yaml")),
    ("usgs", include_str!("presets/usgs.yaml")),
    ("wikimedia", include_str!("presets/wikimedia.yaml")),
];

static PRESETS: LazyLock<Vec<Preset>> =
    LazyLock::new(|| FILES.iter().map(|(name, text)| Preset::read(name, text)).collect());

/// Every preset, in alphabetical order.
pub fn all() -> &'static [Preset] {
    &PRESETS
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn text(node: Option<&Node>) -> Option<&str> {
    match node.map(|node| &node.kind) {
        Some(Kind::Text(text)) => Some(text),
        _ => None,
    }
}

impl Preset {
    /// Which kind of source it is.
    pub fn kind(&self) -> &str {
        text(entry(&self.source, "kind")).unwrap_or_default()
    }

    fn read(name: &'static str, file: &'static str) -> Self {
        let tree = yaml::parse(file).map_err(|error| error.message);
        let tree = tree.expect("invariant: a test reads every preset");
        let parameter = |entry_: &Entry| {
            let default = entry(&entry_.value, "default").cloned();
            Parameter {
                name: entry_.key.clone(),
                about: text(entry(&entry_.value, "about")).unwrap_or_default().to_owned(),
                is_needed: entry(&entry_.value, "needed").is_some(),
                default: default.as_ref().map(Node::to_json),
                node: default,
            }
        };
        let parameters = entry(&tree, "with").map(Node::entries).unwrap_or_default();
        Self {
            name,
            about: text(entry(&tree, "about")).unwrap_or_default().to_owned(),
            parameters: parameters.iter().map(parameter).collect(),
            text: file,
            source: entry(&tree, "source").expect("invariant: a test reads every preset").clone(),
        }
    }
}

/// Writes the preset out that the file names, if it names one.
pub(super) fn expand(reading: &mut Reading<'_>) {
    let Some(named) = entry(&reading.tree, "preset").cloned() else {
        if entry(&reading.tree, "with").is_some() {
            reading.add([Problem::new(["with"], "this belongs to a `preset`, and there is none")]);
            if let Kind::Map(entries) = &mut reading.tree.kind {
                entries.retain(|entry| entry.key != "with");
            }
        }
        return;
    };
    let Some(preset) = text(Some(&named)).and_then(|name| all().iter().find(|preset| preset.name == name)) else {
        let known = || all().iter().map(|preset| preset.name);
        let message = match text(Some(&named)).map(|name| (name, nearest(name, known()))) {
            Some((name, Some(near))) => format!("`{name}` is no preset; did you mean `{near}`?"),
            _ => format!("a preset is one of: {}", known().collect::<Vec<_>>().join(", ")),
        };
        return reading.add([Problem::new(["preset"], message)]);
    };
    if entry(&reading.tree, "kind").is_some() {
        return reading
            .add([Problem::new(["kind"], "a preset says itself what kind of source it is; leave the key out")]);
    }
    match values(preset, entry(&reading.tree, "with"), named.place) {
        Err(problems) => reading.add(problems),
        Ok(values) => {
            let mut source = preset.source.clone();
            stand_at(&mut source, named.place);
            fill(&mut source, &values);
            let Kind::Map(own) = &mut reading.tree.kind else { return };
            own.retain(|entry| entry.key != "preset" && entry.key != "with");
            merge(&mut source, std::mem::take(own));
            reading.tree.kind = source.kind;
            reading.filled = Some(Filled { preset: preset.name, place: named.place, tree: reading.tree.clone() });
        }
    }
}

/// A file with its preset written out. What stands at `place`, where the preset is named, is the preset's own; everything else
/// is where the user wrote it.
pub(super) struct Filled {
    pub(super) preset: &'static str,
    pub(super) place: Place,
    pub(super) tree: Node,
}

type Values = Vec<(String, Option<Node>)>;

/// The values of a preset's parameters.
fn values(preset: &Preset, with: Option<&Node>, place: Place) -> Result<Values, Vec<Problem>> {
    let mut problems = Vec::new();
    let given = with.map(Node::entries).unwrap_or_default();
    let known = || preset.parameters.iter().map(|parameter| parameter.name.as_str());
    if with.is_some_and(|with| !matches!(with.kind, Kind::Map(_))) {
        problems.push(Problem::new(["with"], "a map of names and values is wanted"));
    }
    for Entry { key, .. } in given.iter().filter(|entry| !known().any(|known| known == entry.key)) {
        let message = match nearest(key, known()) {
            Some(near) => format!("`{}` has no such parameter; did you mean `{near}`?", preset.name),
            None => format!(
                "`{}` has no such parameter; there are: {}",
                preset.name,
                known().collect::<Vec<_>>().join(", ")
            ),
        };
        problems.push(Problem::new(["with", key], message));
    }
    let mut values = Vec::new();
    for parameter in &preset.parameters {
        let value = given.iter().find(|entry| entry.key == parameter.name).map(|entry| entry.value.clone());
        if value.is_none() && parameter.is_needed {
            let message = format!("`{}` needs `{}`: {}", preset.name, parameter.name, parameter.about);
            problems.push(Problem::new(["with"], message));
        }
        let default = || {
            let mut node = parameter.node.clone()?;
            stand_at(&mut node, place);
            Some(node)
        };
        values.push((parameter.name.clone(), value.or_else(default)));
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

/// Puts values into a preset. Whether there is anything left of this part of it.
fn fill(node: &mut Node, values: &Values) -> bool {
    let own = node.place;
    match &mut node.kind {
        Kind::Map(entries) => {
            entries.retain_mut(|entry| {
                let whole = entry.key.strip_suffix('?').map(str::to_owned);
                let is_whole = whole.is_none() || !lacks(&entry.value, values);
                entry.key = whole.unwrap_or_else(|| std::mem::take(&mut entry.key));
                let is_there = is_whole && fill(&mut entry.value, values);
                if !matches!(entry.value.kind, Kind::Map(_)) {
                    // What is wrong with a parameter is said where it is.
                    entry.place = entry.value.place;
                }
                is_there
            });
            true
        }
        Kind::List(items) => {
            *items = std::mem::take(items).into_iter().flat_map(|item| each(item, values)).collect();
            true
        }
        Kind::Text(text) => {
            let whole = values.iter().find(|(name, _)| *text == format!("{{{name}}}"));
            if let Some((_, value)) = whole {
                return value.as_ref().is_some_and(|value| {
                    *node = value.clone();
                    true
                });
            }
            for (name, value) in values {
                let mark = format!("{{{name}}}");
                if text.contains(&mark) {
                    let Some(value) = value else { return false };
                    *text = text.replace(&mark, &shown(value));
                    if node.place == own {
                        node.place = value.place;
                    }
                }
            }
            true
        }
        _ => true,
    }
}

/// Whether a parameter in this part of a preset has no value.
fn lacks(node: &Node, values: &Values) -> bool {
    match &node.kind {
        Kind::Text(text) => values.iter().any(|(name, value)| value.is_none() && text.contains(&format!("{{{name}}}"))),
        Kind::Map(entries) => entries.iter().any(|entry| lacks(&entry.value, values)),
        Kind::List(items) => items.iter().any(|item| lacks(item, values)),
        _ => false,
    }
}

/// An element of a list, once for each value that is named in it.
fn each(item: Node, values: &Values) -> Vec<Node> {
    let list = values.iter().find(|(name, _)| is_each(&item, &format!("{{{name}*}}")));
    let Some((name, value)) = list else {
        let mut item = item;
        return if fill(&mut item, values) { vec![item] } else { Vec::new() };
    };
    let one_by_one: Vec<Node> = match value {
        Some(Node { kind: Kind::List(items), .. }) => items.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let made = one_by_one.into_iter().filter_map(|value| {
        let mut item = item.clone();
        let own = vec![(format!("{name}*"), Some(value))];
        (fill(&mut item, &own) && fill(&mut item, values)).then_some(item)
    });
    made.collect()
}

/// Whether an element has this mark itself; one in a list within it is that list's.
fn is_each(item: &Node, mark: &str) -> bool {
    match &item.kind {
        Kind::Text(text) => text.contains(mark),
        Kind::Map(entries) => entries.iter().any(|entry| is_each(&entry.value, mark)),
        _ => false,
    }
}

fn shown(value: &Node) -> String {
    match &value.kind {
        Kind::Text(text) => text.clone(),
        Kind::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        _ => value.to_json().to_string(),
    }
}

/// What is wrong with a preset's own keys is said where it is named.
fn stand_at(node: &mut Node, place: Place) {
    node.place = place;
    match &mut node.kind {
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.place = place;
            stand_at(&mut entry.value, place);
        }),
        Kind::List(items) => items.iter_mut().for_each(|item| stand_at(item, place)),
        _ => {}
    }
}

/// Lays a file's own keys over a preset's. Maps go together, everything else takes the place of what was there.
fn merge(preset: &mut Node, own: Vec<Entry>) {
    let Kind::Map(entries) = &mut preset.kind else { return };
    for entry in own {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => match (&known.value.kind, entry.value.kind) {
                (Kind::Map(_), Kind::Map(own)) => merge(&mut known.value, own),
                (_, kind) => {
                    known.value = Node { place: entry.value.place, kind };
                    known.place = entry.place;
                }
            },
            None => entries.push(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::adapters::ADAPTERS;
    use crate::config::{Diagnostic, Outside, SourceConfig, read_source};

    fn read(text: &str) -> Result<SourceConfig, Vec<Diagnostic>> {
        let outside = Outside { adapters: ADAPTERS, environment: &|_| None, schedule: &|_, _| Ok(()) };
        read_source(Path::new("s.yaml"), text, &outside)
    }

    fn wrong(text: &str) -> String {
        let wrong = read(text).err().expect("something is wrong");
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_preset_is_a_source() {
        for preset in all() {
            let needed = preset.parameters.iter().filter(|parameter| parameter.is_needed);
            let with: Vec<String> = needed.map(|parameter| format!("{}: [a.example]", parameter.name)).collect();
            // Where a text is wanted, a list of one is written as one.
            let text = format!(
                "preset: {}\nwith: {{ {} }}\n",
                preset.name,
                with.join(", ").replace("token: [a.example]", "token: abc")
            );
            let config = read(&text).unwrap_or_else(|wrong| panic!("{}: {}", preset.name, wrong[0]));
            assert!(!config.settings.upstream().is_empty(), "{}", preset.name);
            assert!(
                !preset.about.is_empty() && preset.parameters.iter().all(|known| !known.about.is_empty()),
                "{}",
                preset.name
            );
        }
        assert!(all().is_sorted_by_key(|preset| preset.name));
    }

    fn expanded(text: &str) -> String {
        let mut reading = Reading::begin_text(Path::new("s.yaml"), text.to_owned(), &|_| None).ok().unwrap();
        expand(&mut reading);
        assert!(reading.is_right());
        reading.tree.to_json().to_string()
    }

    #[test]
    fn a_preset_is_written_out_with_its_parameters_and_what_stands_beside() {
        let text = expanded("preset: binance\nwith: { symbols: [a, b] }\nidle: 90s\noutput: { stream: t }\n");
        assert!(text.contains(r#""params":["a@trade","b@trade"]"#) && text.contains(r#""idle":"90s""#), "{text}");
        assert!(text.contains(r#""output":{"stream":"t"}"#) && !text.contains("preset"), "{text}");
        let text = expanded("preset: finnhub\nwith: { symbols: [a, b], token: t }\n");
        assert!(text.contains(r#"[{"type":"subscribe","symbol":"a"},{"type":"subscribe","symbol":"b"}]"#), "{text}");
        let text = expanded("preset: bluesky\nwith: { collections: [x] }\nquery: { cursor: \"5\" }\n");
        assert!(text.contains(r#""query":{"wantedCollections":["x"],"cursor":"5"}"#), "{text}");
        assert!(!text.contains("dictionary"), "all of it is left out: {text}");
        let text = expanded("preset: bluesky\nwith: { dictionary: d.zdict }\n");
        assert!(text.contains(r#""dictionary":{"from":"d.zdict","query":"compress","value":"true"}"#), "{text}");
        let text = expanded("preset: wikimedia\nwith: { contact: me@example.com, streams: [a, b] }\n");
        assert!(text.contains("/v2/stream/a,b") && text.contains("tapline (me@example.com)"), "{text}");
        assert!(text.contains(r#""start":{"query":{}}"#), "what was not given is left out: {text}");
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        let all: Vec<String> = [
            "preset: blusky",
            "preset: [a]",
            "preset: binance\nwith: { symbol: [a] }",
            "preset: usgs\nkind: json",
            "preset: usgs\nwith: all_day",
            "kind: sse\nurl: http://a/\nwith: { a: b }",
            "preset: usgs\nevery: 1m\nurll: x",
            "preset: bluesky\nwith:\n  host: \"a b\"\n",
            "preset: bluesky_v2\nwith:\n  host: h\nbinary: gzip\n",
            "preset: bluesky\nwith:\n  dictionary: 7\n",
        ]
        .map(wrong)
        .into();
        insta::assert_snapshot!(all.join("\n"), @r"
        s.yaml:1:1: preset: `blusky` is no preset; did you mean `bluesky`?
        s.yaml:1:1: preset: a preset is one of: binance, bluesky, bluesky_v2, coinbase, finnhub, hacker_news, mastodon, mastodon_sse, usgs, wikimedia
        s.yaml:2:1: with: `binance` needs `symbols`: pairs in small letters, such as [btcusdt, ethusdt]
        s.yaml:2:9: with.symbol: `binance` has no such parameter; did you mean `symbols`?
        s.yaml:2:1: kind: a preset says itself what kind of source it is; leave the key out
        s.yaml:2:1: with: a map of names and values is wanted
        s.yaml:3:1: with: this belongs to a `preset`, and there is none
        s.yaml:3:1: urll: unknown key; did you mean `url`?
        s.yaml:3:9: url: not a URL (invalid international domain name); write it whole, such as https://example.com/page
        s.yaml:1:9: dictionary: a dictionary belongs to `binary: zstd`; the key comes from the preset `bluesky_v2`
        s.yaml:3:15: dictionary.from: this is the number 7, but a text is wanted
        ");
    }
}
