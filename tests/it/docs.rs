//! What is generated is up to date, and what is shipped is right.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tapline::commands::{adapters, schema};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn assert_fresh(path: &str, expected: &str, command: &str) {
    let found = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(found == expected, "{path} is not what the code says; run `{command}` and commit it");
}

#[test]
fn pages_are_those_of_the_code() {
    let pages = adapters::pages();
    assert!(!pages.is_empty());
    for (name, page) in pages {
        assert_fresh(&format!("docs/adapters/{name}"), &page, "cargo run -- adapters --write docs/adapters");
    }
}

#[test]
fn schemas_are_those_of_the_code() {
    for (name, text) in schema::files() {
        assert_fresh(&format!("docs/schema/{name}"), &text, "cargo run -- schema --write docs/schema");
    }
}

/// A shipped YAML file as JSON, read by another road than the product's own.
fn yaml(path: &Path) -> Value {
    // As in YAML 1.2, which editors follow: `off` is a word.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(&fs::read_to_string(path).unwrap(), options).unwrap()
}

fn assert_fits(path: &Path, schema: &str) {
    let text = fs::read_to_string(root().join("docs/schema").join(schema)).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&yaml(path)).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    let first = fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        format!("# yaml-language-server: $schema=../docs/schema/{schema}"),
        "{}: editors look there",
        path.display()
    );
}

#[test]
fn shipped_files_fit_their_schemas() {
    let sources: Vec<PathBuf> =
        fs::read_dir(root().join("sources")).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(sources.len() >= 2);
    for source in sources {
        assert_fits(&source, "source.schema.json");
    }
    assert_fits(&root().join("config/tapline.yaml"), "tapline.schema.json");
}

#[test]
fn a_schema_refuses_what_is_wrong() {
    let text = fs::read_to_string(root().join("docs/schema/source.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let wrong = serde_json::json!({ "kind": "scrape", "url": "http://localhost/", "every": "1s", "fields": { "a": "b" }, "colour": "red" });
    assert!(!validator.is_valid(&wrong));
}

/// The shipped settings say what the defaults are, so they must be the defaults.
#[test]
fn the_shipped_settings_are_the_defaults() {
    let shipped = tapline::config::load_service(
        &root().join("config/tapline.yaml"),
        true,
        &|_| None,
        &|_| Ok(String::new()),
        &|_| Ok(String::new()),
    )
    .unwrap();
    let defaults = tapline::config::Service::default();
    assert_eq!(serde_json::to_value(shipped).unwrap(), serde_json::to_value(defaults).unwrap());
}

/// Every YAML block of the README that is a whole file passes `check`.
#[test]
fn the_readme_tells_the_truth() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let start = readme.find("    # sources/bseindex.yaml\n").expect("the README shows a first source");
    let block: String = readme[start..]
        .lines()
        .take_while(|line| line.starts_with("    ") || line.is_empty())
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bseindex.yaml");
    fs::write(&file, block).unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tapline")).arg("check").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for command in
        ["demo", "run", "check", "try", "tail", "load", "loaders", "redrive", "simulate", "schema", "adapters"]
    {
        let help =
            std::process::Command::new(env!("CARGO_BIN_EXE_tapline")).args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(
            help.contains(&format!("tapline {command}")) && help.contains("Example"),
            "{command} --help has an example"
        );
        assert!(readme.contains(&format!("tapline {command}")), "the README names {command}");
    }
}

/// The blocks of a page that are YAML: indented ones whose first line is a key. What is no whole file is added to `base`.
fn blocks(page: &str, base: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let is_code = |line: &&str| line.starts_with("    ");
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let last = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(code) => last.extend([code, "\n"]),
            None if !last.is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    assert!(text.lines().filter(is_code).count() > 10, "{page} has examples");
    let is_yaml = |block: &String| block.split_once(':').is_some_and(|(key, _)| !key.contains([' ', '<', '|']));
    let is_whole = |block: &str| block.starts_with("kind:") || block.starts_with("preset:");
    let whole = |block: String| if is_whole(&block) { block } else { format!("{base}{block}") };
    blocks.into_iter().filter(is_yaml).map(whole).collect()
}

/// What the guides show of live streams, polls and transforms are sources, and each is read without a complaint.
#[test]
fn examples_of_guides_are_right() {
    let json = "kind: json\nevery: 1m\nurl: https://api.example.com/v1\n";
    let websocket = "kind: websocket\nurl: wss://example.com/ws\n";
    for (page, base, at_least) in [("docs/polling.md", json, 4), ("docs/streams.md", websocket, 4)] {
        let blocks = blocks(page, base);
        assert!(blocks.len() >= at_least, "{page}: {blocks:?}");
        for block in blocks {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("example.yaml");
            fs::write(&file, &block).unwrap();
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_tapline"))
                .arg("check")
                .arg(&file)
                .envs([("KEY", "k"), ("GITHUB_TOKEN", "t")])
                .current_dir(dir.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{page}:\n{block}\n{said}");
        }
    }
}

/// Every store stands in `docs/loaders.md` with its schemes and options, and `config/tapline.yaml` is not told otherwise.
#[test]
fn every_store_is_explained() {
    let page = fs::read_to_string(root().join("docs/loaders.md")).unwrap();
    for kind in tapline::loaders::STORES {
        for scheme in kind.schemes {
            assert!(page.contains(&format!("`{scheme}:")), "docs/loaders.md has the scheme {scheme}");
        }
        for (option, _) in kind.options {
            let is_there = [format!("`?{option}="), format!("&{option}="), format!("`{option}=")];
            assert!(is_there.iter().any(|form| page.contains(form)), "docs/loaders.md has {option} of {}", kind.name);
        }
    }
}

/// `docs/alerts.md` has every way of telling, every kind, every event and every key, and its examples are right.
#[test]
fn alerts_are_explained() {
    let page = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    for kind in tapline::alerts::DESTINATIONS {
        for scheme in kind.schemes {
            let is_there =
                [format!("`{scheme}:"), format!("\"{scheme}:")].iter().any(|form| page.contains(form.as_str()));
            assert!(is_there || scheme.ends_with("+http"), "docs/alerts.md has the scheme {scheme}");
        }
        for (option, _) in kind.options {
            assert!(
                [format!("`?{option}="), format!("`&{option}=")].iter().any(|form| page.contains(form.as_str())),
                "{option}"
            );
        }
        assert!(kind.keys.iter().all(|key| page.contains(&format!("`{key}`"))), "{}", kind.name);
    }
    for kind in tapline::alert::Kind::ALL {
        assert!(page.contains(&format!("| `{}` |", kind.word())), "docs/alerts.md has the kind {}", kind.word());
    }
    let block = |start: &str| -> String {
        let from = page.find(start).unwrap_or_else(|| panic!("the page has {start}"));
        let lines = page[from..].lines().take_while(|line| line.starts_with("    ") || line.is_empty());
        lines.map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let (file, sources) = (dir.path().join("tapline.yaml"), dir.path().join("sources"));
    fs::create_dir(&sources).unwrap();
    let destinations = block("    # config/tapline.yaml\n").split("\n\n").next().unwrap().to_owned();
    fs::write(&file, destinations + "\n" + &block("    incidents:\n")).unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tapline"))
        .args(["check", "--config", file.to_str().unwrap(), "--sources", sources.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let keys =
        serde_json::to_value(tapline::config::Incidents { name: Some("x".into()), ..Default::default() }).unwrap();
    let shown: Value = yaml(&file)["incidents"].clone();
    assert_eq!(
        shown.as_object().unwrap().keys().collect::<Vec<_>>(),
        keys.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    assert_eq!(shown["per_hour"], keys["per_hour"], "what the page shows are the defaults");
    // The JSON of a message, with the keys that it has.
    let json: Value = serde_json::from_str(&block("    {\n      \"shape\"")).unwrap();
    let message: tapline::alert::Message = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(message.json(), json);
}

/// Every kind of entry that the code can write stands in `docs/ledger.md`, and nothing else does.
#[test]
fn every_entry_of_the_ledger_is_explained() {
    let page = fs::read_to_string(root().join("docs/ledger.md")).unwrap();
    let explained: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            line.split('|').nth(1).unwrap().split(',').map(|kind| kind.trim().trim_matches('`').to_owned())
        })
        .collect();
    let mut written = BTreeSet::new();
    for (_, text) in product_files(&root().join("src")) {
        let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
        for before in [".note(", ".line_of(", "Note::new(", "Self::new(", ".complete(", "Self { kind: "] {
            for (at, _) in code.match_indices(before) {
                let rest = code[at + before.len()..].trim_start();
                let kind = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
                written.extend(kind.map(|(kind, _)| kind.to_owned()));
            }
        }
    }
    // One call writes either of these.
    let service = fs::read_to_string(root().join("src/pipeline/service.rs")).unwrap();
    assert!(service.contains("{ \"edited\" } else { \"removed\" }"), "the service says what became of a file");
    written.extend(["edited".to_owned(), "removed".to_owned()]);
    assert!(written.len() > 15, "{written:?}");
    assert_eq!(explained, written, "docs/ledger.md, and what the code writes");
}

fn product_files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(product_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}
