//! Broken YAML files, and the words for what is wrong with them: an error text is a user's only help, so it is held here.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use insta::assert_snapshot;
use proptest::prelude::*;

use crate::support::tap::PATIENCE;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources")).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn tapline(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
        command.current_dir(self.0.path()).args(arguments).env_clear().env("SECRET_TOKEN", "s3cr3t-value");
        command.output().unwrap()
    }

    /// What `tapline check` says on standard error.
    fn check(&self) -> String {
        let output = self.tapline(&["check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!said.is_empty())), "{said}");
        said
    }
}

/// What is said of one source file of this text.
fn check(text: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    folder.write("sources/one.yaml", text);
    folder.check()
}

/// The same with a source that is right but for the lines added to it.
fn with(more: &str) -> String {
    check(format!("kind: scrape\nurl: http://localhost/\nevery: 1s\nfields: {{ price: span }}\n{more}"))
}

#[test]
fn a_file_that_is_right_is_not_spoken_of() {
    assert_eq!(with(""), "");
    assert_eq!(
        with(
            "active: { days: sat-mon, from: \"09:15\", to: \"15:30\", timezone: Asia/Kolkata, holidays: [2026-01-26] }\n"
        ),
        ""
    );
    assert_eq!(
        check(
            "\u{feff}kind: scrape\r\nurl: http://localhost/\r\ncron: \"*/5 9-15 * * Mon-Fri\"\r\nfields: { price: span }\r\n"
        ),
        ""
    );
}

/// A source is meant by its file or by its name.
#[test]
fn a_name_does_for_a_file() {
    let folder = Folder::new();
    folder.write("sources/one.yaml", "kind: scrape\nurl: http://127.0.0.1:1/\nevery: 1s\nfields: { price: span }\n");
    let out = |arguments: &[&str]| {
        let output = folder.tapline(arguments);
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(out(&["check", "one"]), "1 source, 0 errors\n");
    assert!(out(&["test", "one"]).starts_with("0 tests"), "{}", out(&["test", "one"]));
    assert!(out(&["try", "one"]).contains("outcome  error"), "{}", out(&["try", "one"]));
    assert!(out(&["try", "two"]).starts_with("two: cannot be read"), "{}", out(&["try", "two"]));
}

#[test]
fn keys() {
    assert_snapshot!(with("colour: red\n"), @"sources/one.yaml:5:1: colour: unknown key; allowed here: active, allow_private, auth, body, connects, cookies, cron, drift, emit, enabled, encoding, every, fields, follow, for_each, headers, kind, login, manners, max_body, method, offset, output, pages, provenance, proxy, published_at, query, records, redirects, render, tests, timeout, timezone, tls_verify, transform, type, unique, url, user_agent, values_in_data");
    assert_snapshot!(with("evry: 1s\n"), @"sources/one.yaml:5:1: evry: unknown key; did you mean `every`?");
    assert_snapshot!(with("output: { lnik: a.out }\n"), @"sources/one.yaml:5:11: output.lnik: unknown key; did you mean `link`?");
    assert_snapshot!(check("url: http://localhost/\n"), @"sources/one.yaml:1:1: kind: the key is missing; it says what kind of source this is: exec, feed, json, scrape, sse, websocket, x_stream");
    assert_snapshot!(check("kind: scarpe\nurl: http://localhost/\n"), @"sources/one.yaml:1:1: kind: `scarpe` is not a kind of source; did you mean `scrape`?");
    assert_snapshot!(check("kind: [scrape]\n"), @"sources/one.yaml:1:1: kind: a text is wanted, one of: exec, feed, json, scrape, sse, websocket, x_stream");
    assert_snapshot!(check("kind: scrape\nevery: 1s\n"), @"sources/one.yaml:1:1: url: the key is missing");
    assert_snapshot!(with("every: 2s\n"), @"sources/one.yaml:5:1: duplicate mapping key `every` is not allowed here");
    assert_snapshot!(check("kind: scrape\nurl: http://localhost/\nevery: 1s\nfields: { price: { cs: span } }\n"), @"sources/one.yaml:4:20: fields.price.cs: unknown key; did you mean `css`?");
}

#[test]
fn forms() {
    assert_snapshot!(with("output: [a]\n"), @"sources/one.yaml:5:1: output: this is a list, but a map of keys and values is wanted");
    assert_snapshot!(with("enabled: maybe\n"), @"sources/one.yaml:5:1: enabled: this is a text, but true or false is wanted");
    assert_snapshot!(with("offset: soon\n"), @"sources/one.yaml:5:1: offset: `soon` is not a duration; write a number with a unit, such as 200ms, 1s, 5m, 1h 30m or 90d");
    assert_snapshot!(with("timezone: Asia/Kolkatta\n"), @"sources/one.yaml:5:1: timezone: `Asia/Kolkatta` is not a time zone; did you mean `Asia/Kolkata`?");
    assert_snapshot!(with("active: { days: someday }\n"), @"sources/one.yaml:5:11: active.days: `someday` is not a day; write mon, tue, wed, thu, fri, sat, sun, a span such as mon-fri, or all");
    assert_snapshot!(with("active: { from: \"25:00\" }\n"), @r#"sources/one.yaml:5:11: active.from: `25:00` is not a time of day; write "09:15" or "09:15:30""#);
    assert_snapshot!(with("active: { holidays: [26.1.2026] }\n"), @"sources/one.yaml:5:11: active.holidays: `26.1.2026` is not a date; write 2026-01-26");
    assert_snapshot!(with("output: { rotate: { size: 64, every: 1h } }\n"), @"sources/one.yaml:5:21: output.rotate.size: 64 B is too small; at least 4KiB");
    assert_snapshot!(with("output: { compress: zst }\n"), @"sources/one.yaml:5:11: output.compress: `zst` is not known here; allowed: zstd, gzip, off; did you mean `zstd`?");
    assert_snapshot!(with("output: { format: \"{price\" }\n"), @"sources/one.yaml:5:11: output.format: `{` at character 1 is not closed; write `{{` for the brace itself");
    assert_snapshot!(with("output: { format: \"{observed_at:%H}, {prcie}\" }\n"), @"sources/one.yaml:5:11: output.format: no field is named `prcie`; did you mean `price`?");
    assert_snapshot!(with("output: { format: \"{data.volume|0}\" }\n"), @"sources/one.yaml:5:11: output.format: no field is named `volume`; there are: price, observed_at, published_at, source, id, type");
    // Of a stream of several sources another may have it.
    assert_eq!(with("output: { stream: all, format: \"{price|-} {volume|-} {id}\" }\n"), "");
    assert_snapshot!(with("output: { stream: all, format: \"{volume}\" }\n"), @"sources/one.yaml:5:24: output.format: no field is named `volume`; there are: price, observed_at, published_at, source, id, type");
    assert_snapshot!(with("output: { stream: ../escape }\n"), @"sources/one.yaml:5:11: output.stream: this cannot be a name here: it must begin with a letter or a digit");
    assert_snapshot!(with("max_body: big\n"), @"sources/one.yaml:5:1: max_body: `big` is not a size; write a number with a unit, such as 64KiB, 64MiB or 50GiB");
}

#[test]
fn schedules() {
    let source =
        |schedule: &str| check(format!("kind: scrape\nurl: http://localhost/\nfields: {{ price: span }}\n{schedule}"));
    assert_snapshot!(source(""), @r#"sources/one.yaml:1:1: every: a source of kind scrape asks at set times; write `every: 1s`, or `cron: "*/5 * * * *"`"#);
    assert_snapshot!(source("every: 1s\ncron: \"* * * * *\"\n"), @"sources/one.yaml:5:1: cron: a source has `every` or `cron`, not both; leave one out");
    assert_snapshot!(source("every: 50ms\n"), @"sources/one.yaml:4:1: every: 50ms is out of range; from 100ms to 366days is possible");
    assert_snapshot!(source("every: 1\n"), @"sources/one.yaml:4:1: every: `1` is not a duration; write a number with a unit, such as 200ms, 1s, 5m, 1h 30m or 90d");
    assert_snapshot!(source("cron: \"61 * * * *\"\n"), @"sources/one.yaml:4:1: cron: `61 * * * *` is not a cron expression (component error: number out of bounds); write five fields (minute, hour, day of month, month, day of week) or six with seconds first, such as `*/5 9-15 * * mon-fri`");
    assert_snapshot!(source("cron: \"0 3 * * *\"\nactive: { from: \"09:00\", to: \"10:00\" }\n"), @"sources/one.yaml:4:1: cron: this never falls into `active`; change one of them");
    assert_snapshot!(source("every: 1s\noffset: 2s\n"), @"sources/one.yaml:5:1: offset: an offset goes with `every`, and is shorter than it");
}

#[test]
fn selectors_and_addresses() {
    let fields = |fields: &str| check(format!("kind: scrape\nurl: http://localhost/\nevery: 1s\nfields:\n{fields}"));
    assert_snapshot!(fields("  price: \"span:\"\n"), @"sources/one.yaml:5:10: fields.price.css: `span:` is not a CSS selector: unexpected EOL");
    assert_snapshot!(fields("  price: { css: span, type: price }\n"), @"sources/one.yaml:5:23: fields.price.type: `price` is not known here; allowed: text, number, integer, percent, money, bool, datetime");
    assert_snapshot!(fields("  price: { css: [span, \"b:\"] }\n"), @"sources/one.yaml:5:24: fields.price.css.1: `b:` is not a CSS selector: unexpected EOL");
    assert_snapshot!(fields("  price: { css: span, fields: { a: { css: b, typ: number } } }\n"), @"sources/one.yaml:5:46: fields.price.fields.a.typ: unknown key; did you mean `type`?");
    assert_snapshot!(fields("  price: { css: span, regex: \"(\" }\n"), @"sources/one.yaml:5:23: fields.price.regex: not a regular expression: unclosed group");
    assert_snapshot!(fields("  a: { css: span, typ: number }\n  b: { css: 5 }\n  c: { css: p, nth: first }\n"), @r"
    sources/one.yaml:5:19: fields.a.typ: unknown key; did you mean `type`?
    sources/one.yaml:6:8: fields.b.css: this is the number 5, but a text, or a list of texts is wanted
    sources/one.yaml:7:16: fields.c.nth: this is a text, but a whole number is wanted
    ");
    assert_snapshot!(check("kind: scrape\nurl: localhost\nevery: 1s\nfields: { a: b }\n"), @"sources/one.yaml:2:1: url: not a URL (relative URL without a base); write it whole, such as https://example.com/page");
}

#[test]
fn references() {
    assert_snapshot!(with("user_agent: \"${NOT_SET}\"\n"), @"sources/one.yaml:5:1: user_agent: the environment has no NOT_SET; set it, or give a default: ${NOT_SET:-…}");
    assert_snapshot!(with("user_agent: \"${file:/nowhere/token}\"\n"), @"sources/one.yaml:5:1: user_agent: cannot read /nowhere/token: No such file or directory (os error 2)");
    assert_snapshot!(with("user_agent: \"${SECRET_TOKEN\"\n"), @"sources/one.yaml:5:1: user_agent: `${` without its `}`; write `$${` for the two characters themselves");
    assert_eq!(with("user_agent: \"${NOT_SET:-tester} $${x}\"\n"), "");
    let said = with(
        "offset: \"${SECRET_TOKEN}\"\noutput: { compress: \"${SECRET_TOKEN}\", link: \"/${SECRET_TOKEN}\" }\nrecords: \"${SECRET_TOKEN}:\"\n",
    );
    assert!(!said.contains("s3cr3t"), "{said}");
    assert_snapshot!(said, @r#"
sources/one.yaml:5:1: offset: `${…}` is not a duration; write a number with a unit, such as 200ms, 1s, 5m, 1h 30m or 90d
sources/one.yaml:6:11: output.compress: `${…}` is not known here; allowed: zstd, gzip, off
sources/one.yaml:6:40: output.link: this cannot be a name here: it must begin with a letter or a digit
sources/one.yaml:7:1: records: `${…}:` is not a CSS selector: unexpected EOL
"#);
}

#[test]
fn what_is_not_yaml() {
    assert_snapshot!(check(""), @"sources/one.yaml: the file is empty");
    assert_snapshot!(check("- kind: scrape\n"), @"sources/one.yaml:1:1: the file must be a map of keys and values, such as `kind: scrape`");
    assert_snapshot!(check("kind: scrape\n\turl: x\n"), @"sources/one.yaml:2:1: a tab; YAML is indented with spaces");
    for (text, place) in [
        ("kind: scrape\nfields:\n\tprice: span\n", "3:1"),
        ("kind: scrape\nfields:\n  price: span\n\tchange: span\n", "4:1"),
        ("fields:\n  price:\n  \tcss: span\n  \ttype: number\n", "3:3"),
        ("\tkind: scrape\nurl: x\n", "1:1"),
    ] {
        assert_eq!(check(text), format!("sources/one.yaml:{place}: a tab; YAML is indented with spaces\n"), "{text:?}");
    }
    // Where YAML allows for one, nothing is wrong with it.
    assert_eq!(with("enabled:\ttrue\n"), "");
    assert_snapshot!(with("enabled: [\n"), @"sources/one.yaml:5:10: unclosed bracket '['");
    assert_snapshot!(check("kind: scrape\nkind: scrape\n"), @"sources/one.yaml:2:1: duplicate mapping key `kind` is not allowed here");
    assert_snapshot!(check("kind: [scrape\n"), @"sources/one.yaml:1:7: unclosed bracket '['");
    assert_snapshot!(check("kind: a\n---\nkind: b\n"), @"sources/one.yaml:2:1: a file holds one document; take out the second `---` and what follows");
    assert_snapshot!(check(b"kind: scrape\nurl: \"\xff\"\n"), @"sources/one.yaml: is not UTF-8: byte 20 is wrong; save the file as UTF-8");
}

#[test]
fn bombs_are_refused_at_once() {
    let began = Instant::now();
    let lol = (1..10).fold("a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned(), |text, level| {
        let below = format!("*a{}", level - 1);
        text + &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(","))
    });
    assert_snapshot!(check(lol), @"sources/one.yaml:5:14: too many values for a file of settings; at most 20,000");
    assert_snapshot!(check("[".repeat(10_000)), @"sources/one.yaml:1:256: nested too deeply; at most 32 levels");
    assert_snapshot!(check(format!("a: {}1{}\n", "[".repeat(40), "]".repeat(40))), @"sources/one.yaml:1:35: nested too deeply; at most 32 levels");
    assert_snapshot!(check(format!("a: &x 1\nb: [{}]\n", vec!["*x"; 10_000].join(","))), @"sources/one.yaml:2:305: too many aliases; at most 100");
    assert_snapshot!(check(vec![b'x'; 50_000_000]), @"sources/one.yaml: is larger than 1 MiB; a file of settings is not");
    // Read to the end, the first alone is four hundred million values. A minute is for machines that are busy.
    println!("five of them took {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn g18_every_error_of_every_file_at_once() {
    let folder = Folder::new();
    folder.write(
        "sources/a.yaml",
        "kind: scrape\nurl: nowhere\nevery: soon\nfileds: { a: b }\noutput: { compress: rar, link: .x }\n",
    );
    folder.write("sources/b.yaml", "kind: scrape\n");
    folder.write("sources/c d.yaml", "kind: scrape\n");
    folder.write("sources/.hidden.yaml", "[");
    folder.write("sources/notes.txt", "[");
    fs::create_dir(folder.0.path().join("config")).unwrap();
    folder.write(
        "config/tapline.yaml",
        "rotate: { size: 1KiB }\nhttp: { listen: \"0.0.0.0:8080\" }\nloaders: [{ to: 'sqlit:h' }, { to: 'sqlite:a.db', stream: x }, { to: 'sqlite:a.db' }]\ndurabilty: each\n",
    );
    assert_snapshot!(folder.check(), @r#"
config/tapline.yaml:1:11: rotate.size: 1.0 KiB is too small; at least 4KiB
config/tapline.yaml:2:9: http.listen: `0.0.0.0:8080` is reached from other machines, and the page shows everything: set `token`, or `token_file` to have one made; or listen on 127.0.0.1
config/tapline.yaml:3:13: loaders.0.to: `sqlit` is no store; did you mean `sqlite`?
config/tapline.yaml:3:51: loaders.1.stream: unknown key; did you mean `streams`?
config/tapline.yaml:3:64: loaders.2.name: there is a loader `sqlite-a-db` already; give this one a `name` of its own
config/tapline.yaml:4:1: durabilty: unknown key; did you mean `durability`?
sources/a.yaml:3:1: every: `soon` is not a duration; write a number with a unit, such as 200ms, 1s, 5m, 1h 30m or 90d
sources/a.yaml:4:1: fileds: unknown key; did you mean `fields`?
sources/a.yaml:5:11: output.compress: `rar` is not known here; allowed: zstd, gzip, off
sources/a.yaml:5:26: output.link: this cannot be a name here: it must begin with a letter or a digit
sources/b.yaml:1:1: every: a source of kind scrape asks at set times; write `every: 1s`, or `cron: "*/5 * * * *"`
sources/b.yaml:1:1: url: the key is missing
sources/c d.yaml: `c d` cannot be a source's name: only letters, digits, `.`, `_` and `-` are allowed; rename the file
"#);
}

#[test]
fn what_is_wrong_with_a_stream_of_x() {
    let v2 = "kind: x_stream\nauth: { bearer: \"has space\" }\nrules:\n  - { value: cat, tag: a }\n  - { value: cat }\n  - value: ''\n\
              tweet_fields: [created_at, autor_id]\nplace_fields: [x]\nrecover: [backfil]\nbudget: { per_day: 3 }\nevery: 1s\n\
              base_url: http://127.0.0.1/?x=1\n";
    assert_snapshot!(check(v2), @r#"
sources/one.yaml:2:9: auth.bearer: this cannot be a token: it is empty, or has a space or other characters in it
sources/one.yaml:5:7: rules.1.value: the same rule is there twice; leave one out
sources/one.yaml:6:5: rules.2.value: a rule is some words and operators, such as `research lang:en`
sources/one.yaml:7:28: tweet_fields.1: X has no `autor_id`; did you mean `author_id`?
sources/one.yaml:8:16: place_fields.0: X has no `x`; there are: contained_within, country, country_code, full_name, geo, id, name, place_type
sources/one.yaml:9:11: recover.0: `backfil` is not known here; allowed: backfill, window, search; did you mean `backfill`?
sources/one.yaml:10:11: budget.per_day: unknown key; allowed here: posts_per_day, posts_per_month
sources/one.yaml:11:1: every: a source of kind x_stream is a stream and has no schedule; leave the key out
sources/one.yaml:12:1: base_url: an address is wanted such as https://api.x.com, without a query or a user
"#);
    let v11 = "kind: x_stream\napi: v1.1\nauth: { bearer: x }\nflatten: true\nfilter: { track: ['a,b'], locations: [[1, 2, 3]] }\n";
    assert_snapshot!(check(v11), @r#"
sources/one.yaml:3:1: auth: v1.1 wants `{ oauth1: { consumer_key, consumer_secret, token, token_secret } }`, and nothing else
sources/one.yaml:4:1: flatten: v1.1 has no such thing; leave the key out
sources/one.yaml:5:19: filter.track.0: a comma stands between two phrases; write them as two entries
sources/one.yaml:5:39: filter.locations.0: a box is four numbers: west, south, east, north, such as [-122.75, 36.8, -121.75, 37.8]
"#);
    let connects = "kind: x_stream\nauth: { bearer: x }\nconnects: { max: 0 }\n";
    assert_snapshot!(check(connects), @"sources/one.yaml:3:13: connects.max: 0 is too small; at least 1");
    assert_eq!(check("kind: x_stream\nauth: { consumer_key: a, consumer_secret: b }\n"), "");
}

#[test]
fn what_is_wrong_with_a_stream_of_events() {
    let sse = "kind: sse\nurl: ftp://example.com/\nidle: 10ms\nevents: [a, '']\nmax_event: 1GiB\nlast_event_id: off\n\
               start: { id: \"7\", query: { since: now-then, limit: 7 } }\nheaders: { Host: a }\nevery: 1s\n";
    assert_snapshot!(check(sse), @r"
sources/one.yaml:2:1: url: `ftp:` is not fetched; write an address with https: or http:
sources/one.yaml:3:1: idle: too short; at least 1s, and servers send a comment each 15s or so
sources/one.yaml:4:1: events: name types of events, such as `update`; `message` is the usual one
sources/one.yaml:5:1: max_event: from 1 byte to 64MiB
sources/one.yaml:7:10: start.id: it would be sent as Last-Event-ID, which is `off`
sources/one.yaml:7:28: start.query.since: write `now`, or a time before it such as `now-1h`, or a date
sources/one.yaml:8:12: headers.Host: `host` is set by tapline itself; leave it out
sources/one.yaml:9:1: every: a source of kind sse is a stream and has no schedule; leave the key out
");
    let keys = "kind: sse\nurl: http://localhost/\nlast_event_id: cookie\nevent: a\nidle: soon\n";
    assert_snapshot!(check(keys), @r"
sources/one.yaml:3:1: last_event_id: `cookie` is not known here; allowed: header, off
sources/one.yaml:4:1: event: unknown key; did you mean `events`?
sources/one.yaml:5:1: idle: `soon` is not a duration; write a number with a unit, such as 200ms, 1s, 5m, 1h 30m or 90d
");
    assert_eq!(check("kind: sse\nurl: http://localhost/\n"), "");
}

#[test]
fn what_no_file_alone_shows() {
    let folder = Folder::new();
    let source = "kind: scrape\nurl: http://localhost/\nevery: 1s\nfields: { price: span }\n";
    folder.write("sources/a.yaml", source);
    folder.write("sources/a.yml", source);
    folder.write("sources/b.yaml", format!("{source}output: {{ link: a.out }}\n"));
    folder.write("sources/c.yaml", format!("{source}output: {{ stream: a, format: \"{{price}}\" }}\n"));
    folder.write("sources/d.yaml", format!("{source}output: {{ link: a }}\n"));
    folder.write("sources/e.yaml", format!("{source}output: {{ stream: a.out, link: e.out }}\n"));
    folder.write("sources/f.yaml", format!("{source}output: {{ link: f }}\n"));
    assert_snapshot!(folder.check(), @r#"
sources/a.yml: a source of this name is already in sources/a.yaml; rename one of them
sources/b.yaml: `output.link` a.out already points at the stream a of sources/a.yaml; give one of them another
sources/c.yaml: the stream a is rendered otherwise by sources/a.yaml; sources of one stream share one `output.format`
sources/d.yaml: the link a would stand where the stream a of sources/a.yaml has its folder; give one of them another name, by `output.link` or `output.stream`
sources/e.yaml: the stream a.out would have its folder where the link a.out of sources/a.yaml stands; give one of them another name, by `output.link` or `output.stream`
sources/f.yaml: `output.link` f is the name of the stream's folder; give the link another
"#);
    let json = String::from_utf8(folder.tapline(&["check", "--json"]).stdout).unwrap();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["file"], "sources/a.yml");
}

/// A service that waited for a file of that name would look like one that works.
#[test]
fn a_source_that_was_named_must_be_there() {
    let folder = Folder::new();
    let said = |arguments: &[&str]| {
        let output = folder.tapline(arguments);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_snapshot!(said(&["run", "--source", "bseindex"]), @"tapline: there is no source `bseindex` in sources; there are: none at all");
    folder.write("sources/bseindex.yaml", "kind: scrape\n");
    folder.write("sources/stocks.yml", "kind: scrape\n");
    assert_snapshot!(said(&["run", "--source", "stocks", "--source", "bsindex"]), @"tapline: there is no source `bsindex` in sources; did you mean `bseindex`? There are: bseindex, stocks");
    assert_snapshot!(said(&["run", "--source", "weather"]), @"tapline: there is no source `weather` in sources; there are: bseindex, stocks");
}

#[test]
fn a_service_file_that_was_named_must_be_there() {
    let folder = Folder::new();
    let output = folder.tapline(&["check", "--config", "gone.yaml"]);
    assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"gone.yaml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(output.status.code(), Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a file says, it is read or refused in words.
    #[test]
    fn no_text_makes_it_panic(text in "(kind: scrape\n|url: |every: |fields:|[ {}\\[\\]:,&*#|>'\"$a-z0-9\n-]|\\PC){0,60}") {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("one.yaml");
        fs::write(&file, &text).unwrap();
        let outside = tapline::config::Outside { adapters: tapline::adapters::ADAPTERS, environment: &|_| None, schedule: &|_, _| Ok(()) };
        if let Err(wrong) = tapline::config::load_source(&file, &outside) {
            prop_assert!(!wrong.is_empty());
            for diagnostic in wrong {
                let said = diagnostic.to_string();
                prop_assert!(!said.contains(char::is_control), "{}", said);
            }
        }
    }
}
