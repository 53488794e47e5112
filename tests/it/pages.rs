//! The documentation, followed: every file that a page shows is written and every line is typed, in a folder of its own,
//! with simulators, stand-ins and servers for the addresses that the page names. What a page shows must come, in shape.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tapline::simulator::quote::{Exchange, Quote};
use tapline::simulator::stores::{Faults, Kind, Store};
use tapline::simulator::websocket::{self, Websocket};
use tapline::simulator::x::{self, X};

use crate::support::loading::Pile;
use crate::support::nginx::Nginx;
use crate::support::page::{Chunk, What, chunks, has_shape, links, mentioned};
use crate::support::server::Server;
use crate::support::stage::Stage;
use crate::support::{clickhouse, tap};

/// The pages that are followed, with who does it; those of the cookbook are all here.
const FOLLOWED: [&str; 12] = [
    "README.md",
    "docs/page.md",
    "docs/loaders.md",
    "docs/export.md",
    "docs/cookbook/stock-index.md",
    "docs/cookbook/x-research.md",
    "docs/cookbook/ten-websites.md",
    "docs/cookbook/public-streams.md",
    "docs/cookbook/rss-to-elasticsearch.md",
    "docs/cookbook/trades-to-clickhouse.md",
    "docs/cookbook/following.md",
    "docs/cookbook/moving.md",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn free() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// An exchange that answers as soon as the page is followed, for sites that the page only names.
fn exchange(runtime: &tokio::runtime::Runtime) -> Exchange {
    runtime.block_on(Quote::new().start(0)).unwrap()
}

fn redis() -> Server {
    Server::start(|dir, port| {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(dir);
        command
    })
}

#[test]
fn the_readme() {
    let runtime = runtime();
    let exchange = exchange(&runtime);
    let x = runtime.block_on(X::start(0, x::Settings::default())).unwrap();
    let bluesky = runtime.block_on(Websocket::start(0, websocket::Settings::default())).unwrap();
    let redis = redis();
    let mut stage = Stage::new(&[
        ("https://www.example.com/markets/sensex", exchange.url("/")),
        ("https://www.example.com/markets/nifty", exchange.url("/")),
        ("--port 8099", format!("--port {}", free())),
        ("redis://localhost", format!("redis://127.0.0.1:{}", redis.port())),
        ("kind: x_stream\n", format!("kind: x_stream\nbase_url: {}\n", x.url(""))),
        ("preset: bluesky\n", format!("preset: bluesky\nurl: {}\n", bluesky.url("/subscribe"))),
    ]);
    stage.follow("README.md");
}

#[test]
fn the_live_page() {
    Stage::new(&[]).follow("docs/page.md");
}

/// A folder with a stream that has closed segments.
fn with_data(stage: &Stage) {
    Pile::new(&stage.path("data"), "bseindex").add_data((0..5_000).map(|price| format!("{{\"price\":{price}.10}}")));
}

#[test]
fn loaders() {
    let mut stage = Stage::new(&[]);
    with_data(&stage);
    // A table that does not take everything, so that there are dead letters.
    let table = "create table bseindex (id text primary key, observed_at text, source text, type text, published_at text, \
                 data text check (data <> '{\"price\":7.10}'));";
    let made = Command::new("sqlite3").arg(stage.path("data/live.db")).arg(table).status().unwrap();
    assert!(made.success());
    stage.follow("docs/loaders.md");
}

#[test]
fn exports() {
    let mut stage = Stage::new(&[]);
    with_data(&stage);
    stage.follow("docs/export.md");
}

#[test]
fn a_stock_index() {
    Stage::new(&[("8099", free())]).follow("docs/cookbook/stock-index.md");
}

#[test]
fn posts_from_x() {
    Stage::new(&[("8097", free())]).follow("docs/cookbook/x-research.md");
}

#[test]
fn ten_websites() {
    Stage::new(&[("8099", free())]).follow("docs/cookbook/ten-websites.md");
}

#[test]
fn public_streams() {
    Stage::new(&[("8096", free()), ("8093", free())]).follow("docs/cookbook/public-streams.md");
}

/// A feed as they are: a title in CDATA, one with an entity, links, dates.
const FEED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>
<title>River news</title><link>https://news.example.org/</link>
<atom:link href="https://news.example.org/feed.xml" rel="self" type="application/rss+xml"/>
<item><title>Flood &amp; more</title><link>https://news.example.org/1</link><guid isPermaLink="false">n-1</guid>
<pubDate>Mon, 23 Nov 2026 07:00:00 GMT</pubDate><description><![CDATA[<p>Water</p>]]></description></item>
<item><title><![CDATA[Low water & more]]></title><link>https://news.example.org/2</link><guid>n-2</guid>
<pubDate>Mon, 23 Nov 2026 06:00:00 GMT</pubDate><description>Dry</description></item>
</channel></rss>"#;

#[test]
fn a_feed_into_elasticsearch() {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(Kind::Elasticsearch, 0, Faults::default())).unwrap();
    let site = Nginx::start(&[("feed.xml", FEED.as_bytes())], "types { application/rss+xml xml; }");
    let mut stage = Stage::new(&[
        ("https://news.example.org/feed.xml", site.url("/feed.xml")),
        ("localhost:9200", store.address()),
        ("every: 5m", "every: 1s".to_owned()),
    ]);
    stage.follow("docs/cookbook/rss-to-elasticsearch.md");
    let state = store.state();
    let documents: Vec<&String> = state
        .documents
        .iter()
        .filter(|(index, _)| index.starts_with("rivers-"))
        .flat_map(|(_, documents)| documents.values())
        .collect();
    let titles = ["\"title\":\"Flood & more\"", "\"title\":\"Low water & more\""];
    for title in titles {
        assert!(documents.iter().any(|document| document.contains(title)), "{title}: {documents:?}");
    }
}

#[test]
fn trades_into_clickhouse() {
    let server = clickhouse::start();
    let mut stage =
        Stage::new(&[("8099", free()), ("8093", free()), ("localhost:8123", format!("127.0.0.1:{}", server.port()))]);
    stage.follow("docs/cookbook/trades-to-clickhouse.md");
}

#[test]
fn reading_along() {
    let runtime = runtime();
    let receiver = runtime.block_on(Store::start(Kind::Webhook, 0, Faults::default())).unwrap();
    let mut stage = Stage::new(&[("8099", free()), ("localhost:9000", receiver.address())]);
    stage.follow("docs/cookbook/following.md");
    tap::wait_until("the receiver has lines", tap::PATIENCE, || !receiver.state().rows.is_empty());
}

#[test]
fn moving() {
    Stage::new(&[("8099", free())]).follow("docs/cookbook/moving.md");
}

fn markdown() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root().join("docs")];
    found.insert("README.md".to_owned(), fs::read_to_string(root().join("README.md")).unwrap());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(found.len() > 15, "{}", found.len());
    found
}

/// A page of the cookbook that nobody follows would be a page that may be wrong.
#[test]
fn every_recipe_is_followed() {
    let recipes: Vec<String> = markdown()
        .into_keys()
        .filter(|name| name.starts_with("docs/cookbook/") && name != "docs/cookbook/README.md")
        .collect();
    assert!(recipes.len() >= 7);
    let own = fs::read_to_string(root().join("tests/it/pages.rs")).unwrap();
    for name in recipes.iter().map(String::as_str).chain(FOLLOWED) {
        assert!(FOLLOWED.contains(&name), "{name} is followed by no test");
        assert!(own.contains(&format!(".follow(\"{name}\")")), "{name} is followed by no test");
    }
    assert!(chunks(&markdown()["docs/cookbook/README.md"]).is_empty(), "the index has nothing to do");
}

/// Every page is in the index, and every link between pages leads somewhere.
#[test]
fn links_lead_somewhere() {
    let pages = markdown();
    for (name, text) in &pages {
        for (line, link) in links(text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            if link.contains("://") {
                continue;
            }
            let dir = Path::new(name).parent().unwrap();
            let target = if path.is_empty() { root().join(name) } else { root().join(dir).join(path) };
            assert!(target.exists(), "{name}:{line}: {link}: there is no such file");
            if !anchor.is_empty() {
                let text = fs::read_to_string(target).unwrap();
                let is_there = text.lines().filter(|line| line.starts_with('#')).any(|head| slug(head) == anchor);
                assert!(is_there, "{name}:{line}: {link}: there is no such heading");
            }
        }
    }
    let index: Vec<String> = links(&pages["docs/README.md"]).into_iter().map(|(_, link)| link).collect();
    for name in pages.keys().filter_map(|name| name.strip_prefix("docs/")).filter(|name| *name != "README.md") {
        let is_there = index.iter().any(|link| link == name) || name.starts_with("cookbook/");
        assert!(is_there, "docs/README.md does not name {name}");
    }
}

/// What a heading is called in addresses: its letters, small, with `-` between.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

/// A promise that names a test which is not there would rest on nothing.
#[test]
fn promises_name_tests_that_are_there() {
    let page = &markdown()["docs/promises.md"];
    let name = regex::Regex::new(r"`([a-z_]+)::([a-z_0-9]+)`").unwrap();
    let mut found = 0;
    for test in name.captures_iter(page) {
        if &test[1] == "module" {
            continue;
        }
        let text = fs::read_to_string(root().join(format!("tests/it/{}.rs", &test[1]))).unwrap_or_default();
        assert!(text.contains(&format!("fn {}(", &test[2])), "docs/promises.md: there is no test {}", &test[0]);
        found += 1;
    }
    assert!(found > 30, "{found}");
}

/// Each goal names tests that are there and that carry its name, or says that it is not reached.
#[test]
fn goals_name_tests_that_are_there() {
    let page = &markdown()["docs/goals.md"];
    let name = regex::Regex::new("`([gn][0-9]+_[a-z_0-9]+)`").unwrap();
    let code: String = ["src", "tests/it"].iter().flat_map(|folder| sources(&root().join(folder))).collect();
    let rows =
        (1..=21).chain(28..=34).map(|number| format!("G{number}")).chain((1..=18).map(|number| format!("N{number}")));
    for row in rows {
        let line = page.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect(&row);
        let tests: Vec<&str> = name.captures_iter(line).map(|test| test.get(1).unwrap().as_str()).collect();
        let shown_otherwise = ["not here yet", "scripts/bench-ticks"].iter().any(|word| line.contains(word));
        assert!(!tests.is_empty() || shown_otherwise, "{row} names no test");
        for test in tests {
            assert!(test.starts_with(&format!("{}_", row.to_lowercase())), "{row} names {test}");
            assert!(code.contains(&format!("fn {test}(")), "docs/goals.md: there is no test {test}");
        }
    }
}

/// The text of every file of code in a folder.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

/// Commands that stand within sentences and tables have the names and options that the program has.
#[test]
fn commands_in_sentences_are_commands() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut looked_at = 0;
    for (name, text) in markdown() {
        for (line, command) in mentioned(&text) {
            // A message that begins with the name.
            if command.starts_with("tapline was killed") {
                continue;
            }
            let mut words = command.split_whitespace().skip(1).map(|word| word.trim_matches(['[', ']', '…', ',']));
            let Some(subcommand) = words.next().filter(|word| word.starts_with(char::is_lowercase)) else { continue };
            let help = known.entry(subcommand.to_owned()).or_insert_with(|| help(subcommand));
            assert!(!help.is_empty(), "{name}:{line}: `{command}`: there is no command {subcommand}");
            for option in words.filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap();
                assert!(
                    help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
                    "{name}:{line}: `{command}`: there is no option {option}"
                );
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 50, "{looked_at}");
}

fn help(subcommand: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tapline")).args([subcommand, "--help"]).output().unwrap();
    if output.status.success() { String::from_utf8(output.stdout).unwrap() } else { String::new() }
}

/// The reader of pages can fail: what it does not know is an error, and what is shown must be alike.
#[test]
fn a_page_is_read_and_compared() {
    let page = "# Title\n\n    # sources/a.yaml\n    kind: scrape\n\ntext\n\n    tapline run \\\n        --once   # why\n    cat > x <<'END'\n    tail\n    END\n\n    1 line\n";
    let found = chunks(page);
    let expected = [
        (3, What::File("sources/a.yaml".into(), "# sources/a.yaml\nkind: scrape\n".into())),
        (8, What::Shell(vec!["tapline run \\\n    --once   # why".into(), "cat > x <<'END'\ntail\nEND".into()])),
        (14, What::Output(vec!["1 line".into()])),
    ];
    assert_eq!(found, expected.map(|(line, what)| Chunk { line, what }));
    let two_outputs = "text\n\n    tapline check\n\n    1 source\n\n    2 errors\n";
    for unknown in [
        "text\n\n    rm -rf data\n",
        "text\n\n    every: 1s\n",
        "text\n\n    ls\n    rm -rf data\n",
        "```sh\ntapline run\n```\n",
        two_outputs,
    ] {
        assert!(std::panic::catch_unwind(|| chunks(unknown)).is_err(), "{unknown}");
    }
    let alike = |shown: &str, sample: &str| has_shape(shown, &[sample.to_owned()]).is_ok();
    assert!(alike("x\n  12 records, 0 dead\n", "  3 records,  0 dead"));
    assert!(!alike("  12 record, 0 dead\n", "  3 records,  0 dead"));
    assert!(alike("0", "0") && alike("12", "2") && alike("2", "0") && !alike("0", "2"), "something is not nothing");
    assert!(alike("05:20:34PM, 1.5", "09:15:01AM, 59465.68"));
    assert!(alike("{\"a\":1,\"b\":{\"c\":\"x\"}}", "{\"a\":2.5,\"b\":{\"c\":\"…\"}}"));
    for other in ["{\"a\":1}", "{\"a\":\"1\",\"b\":{\"c\":\"x\"}}", "{\"b\":{\"c\":\"x\"},\"a\":1}", "a"] {
        assert!(!alike(other, "{\"a\":2.5,\"b\":{\"c\":\"…\"}}"), "{other}");
    }
    assert!(
        alike("http://h/login?token=abc", "http://h/login?token=…") && !alike("http://h/", "http://h/login?token=…")
    );
    assert!(has_shape("b\na\n", &["a".to_owned(), "b".to_owned()]).is_err(), "in order");
}
