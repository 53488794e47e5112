//! Stores over HTTP: the simulated ones, which keep ids and tokens by the rules of the real, and `ClickHouse` itself.

use std::collections::BTreeSet;

use serde_json::Value;
use tapline::simulator::stores::{Faults, Kind, Store};

use crate::support::clickhouse;
use crate::support::loading::{Pile, id, killed, load, load_all};
use crate::support::relay::Relay;
use crate::support::tap::{PATIENCE, Tap, wait_until};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn rounds() -> (usize, usize) {
    if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) }
}

/// Everything that may happen on the way, and often.
const FAULTS: Faults =
    Faults { seed: 7, item_busy: 0, busy: 2, html: 5, cut_before: 20, cut_after: 20, body_max: Some(20_000) };

/// Loads while tapline is killed again and again, and the store a fifth as often.
fn kill_both(pile: &mut Pile, to: &str, relay: &mut Relay) {
    let (kills, each) = rounds();
    let found = killed(pile, to, &["--batch-records", "100"], kills, each, |round| relay.each_time(round));
    println!("{found:?}, {} kills of the other side", relay.kills());
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    assert!(relay.kills() * 7 > kills, "{}: most runs in which it is to be killed have to do with it", relay.kills());
}

/// Replays everything, from the start and with another state, and again.
fn replay(root: &std::path::Path, to: &str) {
    for round in 0..3 {
        load_all(root, to, &["--name", &format!("replay-{round}")]);
    }
}

#[test]
fn elasticsearch_killed_a_hundred_times_every_document_is_there_once() {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(Kind::Elasticsearch, 0, FAULTS)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut relay = Relay::start(&store.address());
    let to = format!("es+http://{}", relay.address());
    let mut pile = Pile::new(&root, "pile");
    kill_both(&mut pile, &to, &mut relay);
    let check = || {
        let state = store.state();
        let documents: Vec<(String, String)> = state
            .documents
            .iter()
            .filter(|(index, _)| index.starts_with("pile-"))
            .flat_map(|(index, documents)| documents.iter().map(move |(id, document)| (index, id, document)))
            .map(|(index, id, document)| {
                let day = document["{\"observed_at\":\"".len()..][..10].replace('-', ".");
                assert_eq!(*index, format!("pile-{day}"), "the index is that of the record's own day");
                (id.clone(), document.clone())
            })
            .collect();
        assert!(documents.iter().map(|(id, _)| id.clone()).eq(pile.ids()), "each once, over all indices");
        let text: String = documents.iter().map(|(_, document)| format!("{document}\n")).collect();
        assert!(text == pile.text(), "each document is the line as it stands");
        assert!(state.documents["_templates"].contains_key("/_index_template/tapline-pile"));
    };
    check();
    store.state().is_well = true;
    replay(&root, &to);
    check();
}

#[test]
fn couchdb_killed_a_hundred_times_every_document_is_there_once() {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(Kind::Couchdb, 0, Faults { item_busy: 0, ..FAULTS })).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut relay = Relay::start(&store.address());
    let to = format!("couchdb+http://{}", relay.address());
    let mut pile = Pile::new(&root, "pile");
    kill_both(&mut pile, &to, &mut relay);
    assert!(store.state().documents["pile"].keys().cloned().eq(pile.ids()));
    store.state().is_well = true;
    replay(&root, &to);
    assert_eq!(store.state().documents["pile"].len(), pile.len());
}

#[test]
fn clickhouse_and_webhook_know_a_batch_by_its_bounds() {
    let runtime = runtime();
    for kind in [Kind::Clickhouse, Kind::Webhook] {
        // A store that goes by batches can refuse one for its length only before it ever took it.
        let store = runtime.block_on(Store::start(kind, 0, Faults { item_busy: 0, ..FAULTS })).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let mut relay = Relay::start(&store.address());
        let (to, rows) = match kind {
            Kind::Clickhouse => (format!("clickhouse+http://{}", relay.address()), "`pile`"),
            _ => (format!("http://{}/in/{{stream}}?key=theirs&tapline.compress=zstd", relay.address()), "/in/pile"),
        };
        let mut pile = Pile::new(&root, "pile");
        kill_both(&mut pile, &to, &mut relay);
        let state = store.state();
        let ids: Vec<String> = state.rows[rows]
            .iter()
            .map(|row| serde_json::from_str::<Value>(row).unwrap()["id"].as_str().unwrap().to_owned())
            .collect();
        assert!(ids.iter().cloned().eq(pile.ids()), "{kind:?}: each once, in order: {} of {}", ids.len(), pile.len());
        if kind == Kind::Webhook {
            assert!(state.rows[rows].join("\n") + "\n" == pile.text());
            assert!(store.requests().last().unwrap().path.ends_with("?key=theirs"), "the query is the receiver's own");
        }
    }
}

#[test]
fn each_flavour_finds_the_record_that_does_not_fit() {
    let runtime = runtime();
    for (kind, scheme) in [
        (Kind::Elasticsearch, "es+http"),
        (Kind::Couchdb, "couchdb+http"),
        (Kind::Clickhouse, "clickhouse+http"),
        (Kind::Webhook, "http"),
    ] {
        // Where items have outcomes of their own, some are to come again besides.
        let item_busy = if kind == Kind::Elasticsearch { 5 } else { 0 };
        let store = runtime.block_on(Store::start(kind, 0, Faults { item_busy, ..Faults::default() })).unwrap();
        let tap = Tap::new();
        let mut pile = Pile::new(&tap.data(), "pile");
        pile.add(1);
        pile.add_data([r#"{"strict_number":"x"}"#.to_owned()]);
        pile.add(500);
        pile.add_data([r#"{"strict_number":"y"}"#.to_owned()]);
        pile.add(300);
        let to = format!("{scheme}://{}", store.address());
        let output = load(&tap.data(), &to, &["--name", "store"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{kind:?}: {said}");
        assert!(said.contains("801 records loaded, 2 could not be stored"), "{kind:?}: {said}");
        let state = store.state();
        let there: BTreeSet<String> = match kind {
            Kind::Elasticsearch | Kind::Couchdb => {
                let all = state.documents.iter().filter(|(name, _)| !name.starts_with('_'));
                all.flat_map(|(_, documents)| documents.keys().cloned()).collect()
            }
            _ => state
                .rows
                .values()
                .flatten()
                .map(|row| serde_json::from_str::<Value>(row).unwrap()["id"].as_str().unwrap().to_owned())
                .collect(),
        };
        assert_eq!(there.len(), 801, "{kind:?}");
        assert!(!there.contains(&id(1)) && !there.contains(&id(502)), "{kind:?}");
    }
}

#[test]
fn who_is_refused_parks_and_drops_nothing() {
    let runtime = runtime();
    let store = runtime.block_on(Store::start(Kind::Elasticsearch, 0, Faults::default())).unwrap();
    let tap = Tap::new();
    let mut pile = Pile::new(&tap.data(), "pile");
    pile.add(100);
    for status in [401, 403, 404, 301] {
        store.state().refuse = Some(status);
        let to = format!("es+http://me:secret-word@{}", store.address());
        let output = load(&tap.data(), &to, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&status.to_string()) && said.contains("somebody must act"), "{said}");
        assert!(!said.contains("secret-word"), "{said}");
    }
    // In the service it goes on by itself once it is let in.
    store.state().refuse = Some(403);
    tap.settings(&format!("loaders: [{{ to: 'es+http://{}', name: es }}]\n", store.address()));
    let process = tap.run();
    let loader = || -> Value {
        let output = tap.command(&["loaders", "--json"]).output().unwrap();
        let all = String::from_utf8(output.stdout).unwrap();
        let all = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.into_iter().find(|loader| loader["loader"] == "es").unwrap_or_default()
    };
    wait_until("it is parked", PATIENCE, || loader()["state"] == "parked");
    assert!(loader()["error"].as_str().unwrap().contains("403"), "{}", loader());
    store.state().refuse = None;
    wait_until("it goes on by itself", PATIENCE, || loader()["records"] == 100);
    assert_eq!(loader()["dead"], 0);
    drop(process);
}

#[test]
fn the_first_request_is_shown_and_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    Pile::new(&root, "pile").add(3);
    for (to, expected) in [
        (
            "es+http://me:word@localhost:1",
            "POST http://localhost:1/_bulk?filter_path=***\ncontent-type: application/x-ndjson\n\n{\"create\":{\"_index\":\"pile-2026.11.22\",\"_id\":\"t_00000000\"}}\n{\"observed_at\"",
        ),
        ("couchdb+http://localhost:1", "POST http://localhost:1/pile/_bulk_docs\n"),
        ("https://localhost:1/in?token=word", "POST https://localhost:1/in?token=***\n"),
        ("clickhouse+http://localhost:1", "POST http://localhost:1/?query=***"),
        ("redis://:word@localhost:1", "MULTI, 3 commands of which this is the first, EXEC\nXADD pile 1-"),
        (
            "postgres://me:word@localhost:1/live",
            "COPY \"pile\" (id, observed_at, source, type, published_at, data) FROM STDIN; … COMMIT\nt_00000000\t2026",
        ),
        ("sqlite:x.db", "INSERT INTO \"pile\""),
    ] {
        let output = load(&root, to, &["--dry-run"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{to}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(expected), "{to}: {said}");
        assert!(!said.contains("word"), "{to}: {said}");
    }
}

/// The version that Debian has, which knows neither tokens nor microseconds.
#[test]
fn a_real_clickhouse_takes_tables_and_rows() {
    let server = clickhouse::start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut pile = Pile::new(&root, "pile");
    pile.add(3_000);
    pile.add_data([r#"{"big":18446744073709551615,"nul":"\u0000","q":"\"\\"}"#.to_owned()]);
    let to = format!("clickhouse+http://default@127.0.0.1:{}?table=t_{{stream}}", server.port());
    let ask = |query: &str| {
        let url = format!("http://127.0.0.1:{}/?query={}", server.port(), query.replace(' ', "+").replace('\'', "%27"));
        tapline::context::install_crypto();
        runtime().block_on(async {
            reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap().text().await.unwrap()
        })
    };
    load_all(&root, &to, &["--batch-records", "500"]);
    assert_eq!(ask("SELECT count(), uniq(id) FROM t_pile").trim(), "3001\t3001");
    let data = ask("SELECT data FROM t_pile WHERE id = 't_00003000' FORMAT TabSeparatedRaw");
    assert_eq!(data.trim_end(), r#"{"big":18446744073709551615,"nul":"\u0000","q":"\"\\"}"#);
    // Without tokens a replay is there twice until the next merge, and once in what asks for the last.
    load_all(&root, &to, &["--name", "again"]);
    assert_eq!(ask("SELECT count() FROM t_pile FINAL").trim(), "3001");
    let output = load(&root, &to.replace("t_{stream}", "nowhere"), &["--name", "x"]).arg("--dry-run").output().unwrap();
    assert!(output.status.success());
    let to = format!("clickhouse+http://default@127.0.0.1:{}?table=nowhere&create=false", server.port());
    let output = load(&root, &to, &["--name", "y"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Code: 60") && said.contains("somebody must act"), "{said}");
}
