//! Pages that change under a source, and tools for who writes its file: what is said, what is proposed, what is tested.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapline::adapters::scrape::{Plan, Scrape, extract};
use tapline::simulator::server::{Reply, Request, Server};
use tapline::source::Settings as _;

use crate::support::tap::{PATIENCE, Tap, wait_until};

/// A page of the trade: names of its own for nearly everything.
const PAGE: &str = r#"<!doctype html><html lang="en"><head><title>NIFTY 50</title></head><body>
<nav class="top"><a href="/">Home</a><a href="/markets">Markets</a></nav>
<main id="content">
 <section class="quote"><h1>NIFTY 50</h1>
  <div class="price-box"><span class="price" data-field="last">24,834.85</span><span class="chg">+28.75</span></div>
  <table class="stats"><tr><th>Open</th><td class="open">24,801.10</td></tr><tr><th>Volume</th><td class="vol">1,234,567</td></tr></table>
 </section>
 <section class="news"><h2>News</h2><p class="item">Markets rise by 2 percent</p></section>
</main><footer>&copy; 2026</footer></body></html>"#;

fn settings(fields: &Value) -> Scrape {
    Scrape::read(json!({ "url": "http://localhost/", "fields": fields }))
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Why a page is rejected.
fn reason(fields: &Value, html: &str) -> String {
    let plan = Plan::compile(&settings(fields)).unwrap_or_else(|problems| panic!("{problems:?}"));
    let extraction = extract(&plan, html, None).unwrap();
    let reasons: Vec<String> = extraction.rejects.into_iter().map(|reject| reject.reason).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?} {:?}", extraction.rows);
    reasons.into_iter().next().unwrap()
}

/// Each of these pages breaks the selector at one link; that one is named, and no other.
#[test]
fn n13_ten_mutated_pages_name_the_first_link_that_failed() {
    let selector = "main#content > section.quote div.price-box span.price[data-field=last]";
    let fields = json!({ "last": { "css": selector, "type": "number", "locale": "en" } });
    let swap = |from: &str, to: &str| {
        let page = PAGE.replace(from, to);
        assert_ne!(page, PAGE, "{from}");
        page
    };
    let full = "main#content > section.quote div.price-box span.price[data-field=last]";
    for (page, link) in [
        (swap("id=\"content\"", "id=\"main\""), "main#content"),
        (swap("<main id", "<div id").replace("</main>", "</div>"), "main#content"),
        (swap("class=\"quote\"", "class=\"quote-2\""), "main#content > section.quote"),
        (swap("<section class=\"quote\">", "<div><section class=\"quote\">"), "main#content > section.quote"),
        (swap("<section class=\"quote\">", "<article class=\"quote\">"), "main#content > section.quote"),
        (swap("price-box", "pricebox"), "main#content > section.quote div.price-box"),
        (swap("<div class=\"price-box\">", "<p class=\"price-box\">"), "main#content > section.quote div.price-box"),
        (swap("class=\"price\"", "class=\"value\""), full),
        (swap("data-field=\"last\"", "data-field=\"ltp\""), full),
        (swap("<span class=\"price\"", "<b class=\"price\""), full),
    ] {
        let reason = reason(&fields, &page);
        let failed = format!("`{link}` matches 0");
        assert!(reason.contains(&failed), "{link}: {reason}");
        // Everything before it was found.
        let (before, _) = reason.split_once(&failed).unwrap();
        assert!(!before.contains("matches 0"), "{link}: {reason}");
        assert!(reason.contains("the page has "), "{reason}");
    }
}

/// The pages that come instead of the one that was meant.
#[test]
fn what_came_instead_is_named() {
    let fields = json!({ "last": "span.price" });
    let shell = format!("<div id=root></div>{}", "<script src=x.js></script>".repeat(12));
    for (page, what) in [
        ("<form action=/login><input name=u><input type=password></form>", "a login form"),
        ("<title>Access denied</title><p>Reference #18.7", "a block page"),
        (shell.as_str(), "a shell that JavaScript fills"),
        ("", "an empty page"),
        ("<h1>503 Service Unavailable</h1>", "an error page"),
        ("<h1>Before you continue</h1><p>We use cookies", "a consent wall"),
    ] {
        let reason = reason(&fields, page);
        assert!(reason.contains(&format!("it looks like {what}")), "{what}: {reason}");
    }
}

/// A page that would cost much costs no more when it is broken than its limits allow.
#[test]
fn a_hostile_page_is_diagnosed_in_bounded_time() {
    let fields = json!({ "last": "div:has(b) ~ p.x > i:nth-last-child(2n+1) span.y:not(:has(em)) u" });
    let deep = "<div>".repeat(400) + &"<p class=x><i>".repeat(50);
    let wide = "<div><b></b></div>".repeat(20_000) + &"<p class=x>".repeat(20_000);
    let many = format!("<p class=\"{}\">", "a ".repeat(100_000));
    for page in [deep, wide, many, "<table>".repeat(400)] {
        let plan = Plan::compile(&settings(&fields)).unwrap_or_else(|problems| panic!("{problems:?}"));
        let began = Instant::now();
        // That the time is over is an answer too.
        drop(extract(&plan, &page, None));
        settings(&fields).suggest(&page, Some(PAGE), &[("last".into(), "1".into())]).unwrap().ok();
        assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    }
}

/// A site that gives a source another page from some request on.
async fn site(page: impl Fn(u64) -> String + Send + Sync + 'static) -> (Server, String) {
    let answer = move |request: &Request| {
        if request.path.starts_with("/robots.txt") {
            return Reply::new(404, "text/plain", "").into();
        }
        Reply::new(200, "text/html", page(request.number)).into()
    };
    let server = Server::start(0, Arc::new(answer)).await.unwrap();
    let url = format!("http://{}/", server.address());
    (server, url)
}

/// The text has moved: the reason says where it is now, on each page alike, and the change is kept with it.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_text_has_gone_is_said() {
    let (_server, url) =
        site(|number| if number < 6 { PAGE.into() } else { PAGE.replace("class=\"price\"", "class=\"value\"") }).await;
    let tap = Tap::new();
    let yaml = format!(
        "kind: scrape\nurl: {url}\nevery: 100ms\nfields:\n  last: {{ css: span.price, type: number, locale: en }}\n"
    );
    tap.source("nifty", &yaml);
    let mut process = tap.start();
    tap.wait_for_lines("_rejected/nifty", 5);
    tap.wait_for_lines("_changed/nifty", 1);
    assert_eq!(process.terminate().0, Some(0));
    let rejects = tap.records("_rejected/nifty");
    let reasons: std::collections::BTreeSet<&str> =
        rejects.iter().map(|reject| reject["data"]["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 1, "one run of the ledger: {reasons:?}");
    let reason = reasons.first().unwrap();
    let hint = "; the last text of fields.last, `24,834.85`, is now in `[data-field=\"last\"]`";
    assert!(reason.ends_with(hint), "{reason}");
    let changed = &tap.records("_changed/nifty")[0]["data"];
    assert_eq!(changed["why"].as_str(), Some(*reason));

    // The page that it kept is what selectors are proposed from.
    let said = text(&run(&tap, &["try", tap.path("sources/nifty.yaml").to_str().unwrap(), "--suggest"]));
    assert!(
        said.contains("fields.last, which was 24,834.85") && said.contains("last: \"[data-field=\\\"last\\\"]\""),
        "{said}"
    );
    assert_eq!(fs::read_to_string(tap.path("sources/nifty.yaml")).unwrap(), yaml, "nothing is changed");
}

fn run(tap: &Tap, arguments: &[&str]) -> Output {
    tap.command(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A price that jumps is refused over a restart too, and one that moves on is the new level.
#[tokio::test(flavor = "multi_thread")]
async fn what_jumps_is_held_against_the_last_value_over_restarts() {
    let phase = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let now = Arc::clone(&phase);
    let (_server, url) = site(move |number| match now.load(std::sync::atomic::Ordering::SeqCst) {
        0 => format!("<b>{}.25</b>", 24_800 + number % 7),
        1 => "<b>2079.50</b>".to_owned(),
        _ => format!("<b>{}.75</b>", 12_400 + number),
    })
    .await;
    let tap = Tap::new();
    tap.source(
        "index",
        &format!(
            "kind: scrape\nurl: {url}\nevery: 100ms\nfields:\n  last: {{ css: b, type: number, max_jump: 10% }}\n"
        ),
    );
    let mut process = tap.start();
    tap.wait_for_lines("index", 3);
    assert_eq!(process.terminate().0, Some(0));
    phase.store(1, std::sync::atomic::Ordering::SeqCst);
    let mut process = tap.start();
    tap.wait_for_lines("_rejected/index", 12);
    assert_eq!(process.terminate().0, Some(0));
    let last = |record: &Value| record["data"]["last"].to_string();
    assert!(tap.records("index").iter().all(|record| last(record).starts_with("248")), "an instalment is no record");
    let reject = &tap.records("_rejected/index")[0]["data"];
    assert_eq!((reject["raw"].as_str(), reject["outcome"].as_str()), (Some("2079.50"), Some("invalid")));
    assert!(reject["reason"].as_str().unwrap().contains("is further than 10% from 248"), "{reject}");
    phase.store(2, std::sync::atomic::Ordering::SeqCst);
    let before = tap.count("index");
    let mut process = tap.start();
    tap.wait_for_lines("index", before + 3);
    assert_eq!(process.terminate().0, Some(0));
    let notes: Vec<Value> = tap.ledger("index").into_iter().filter(|entry| entry["type"] == "new_level").collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0]["data"]["after"].as_str().unwrap().starts_with("124"), "{notes:?}");
}

/// Fails every third time: no ticks in a row do, and somebody is told all the same. A field that goes for good is told too.
#[tokio::test(flavor = "multi_thread")]
async fn g17_a_source_that_fails_now_and_then_is_told() {
    let (_server, url) = site(|number| match number {
        number if number % 3 == 0 => "<p>nothing</p>".into(),
        ..45 => "<b>1</b><i>2</i>".into(),
        _ => "<b>1</b>".into(),
    })
    .await;
    let tap = Tap::new();
    tap.source(
        "index",
        &format!("kind: scrape\nurl: {url}\nevery: 100ms\ndrift: {{ hit_rate: 95%/20 }}\nfields:\n  last: b\n  volume: {{ css: i, on_missing: \"null\" }}\n"),
    );
    let mut process = tap.start();
    let status = || text(&run(&tap, &["status", "--json"]));
    wait_until("too few ticks are good", PATIENCE, || status().contains("of the last 20 ticks failed"));
    wait_until("a field is gone", PATIENCE, || status().contains("fields.volume is gone"));
    assert_eq!(process.terminate().0, Some(0));
    let gone: Vec<Value> = tap.ledger("index").into_iter().filter(|entry| entry["type"] == "vanished").collect();
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!(gone[0]["data"]["field"], "fields.volume");
}

/// The way of an author: a draft of what is seen, a page that is kept, a test of it, and one that fails.
#[tokio::test(flavor = "multi_thread")]
async fn n15_from_what_is_seen_to_a_file_with_tests() {
    let (server, url) = site(|_| PAGE.into()).await;
    let tap = Tap::new();
    let new = |more: &[&str]| run(&tap, &[&["new", "scrape", &url, "--name", "nifty"], more].concat());
    let made = new(&["--find", "last=24834.85", "--find", "24,801.10", "--find", "1,234,567"]);
    assert!(made.status.success(), "{}", text(&made));
    let file = tap.path("sources/nifty.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    assert!(yaml.contains("  open: { near: Open, type: number, locale: en }"), "{yaml}");
    assert!(text(&made).contains("\"last\":24834.85,\"open\":24801.10,\"volume\":1234567"), "{}", text(&made));
    let again = new(&["--find", "24,834.85"]);
    assert!(!again.status.success() && text(&again).contains("is there already"), "{}", text(&again));
    assert_eq!(fs::read_to_string(&file).unwrap(), yaml);
    let gone = run(&tap, &["new", "scrape", &url, "--name", "other", "--find", "99,999.99"]);
    assert!(!gone.status.success() && text(&gone).contains("is not on the page"), "{}", text(&gone));
    let tried = run(&tap, &["try", file.to_str().unwrap()]);
    assert!(tried.status.success(), "{}", text(&tried));

    // The page is kept, and becomes a test.
    fs::create_dir(tap.path("sources/fixtures")).unwrap();
    let page = tap.path("sources/fixtures/nifty.html");
    let tests = "tests:\n- { page: fixtures/nifty.html, expect: { last: 24834.85, open: 24801.1 } }\n- { page: fixtures/login.html, expect: { outcome: missing, rejects: [\"a login form\"] } }\n";
    fs::write(&file, format!("{yaml}{tests}")).unwrap();
    let checked = run(&tap, &["check", file.to_str().unwrap()]);
    assert!(
        !checked.status.success() && text(&checked).contains("tests.0.page: there is no page"),
        "{}",
        text(&checked)
    );
    let saved = run(&tap, &["try", file.to_str().unwrap(), "--save", page.to_str().unwrap()]);
    assert!(saved.status.success() && fs::read_to_string(&page).unwrap().ends_with("</html>"), "{}", text(&saved));
    let twice = run(&tap, &["try", file.to_str().unwrap(), "--save", page.to_str().unwrap()]);
    assert!(!twice.status.success() && text(&twice).contains("a file that is there is kept"), "{}", text(&twice));
    fs::write(tap.path("sources/fixtures/login.html"), "<form><input type=password></form>").unwrap();
    assert!(run(&tap, &["check", file.to_str().unwrap()]).status.success());
    drop(server);
    let offline = run(&tap, &["try", file.to_str().unwrap(), "--page", page.to_str().unwrap()]);
    assert!(offline.status.success() && text(&offline).contains("24834.85"), "{}", text(&offline));
    let tested = run(&tap, &["test", file.to_str().unwrap()]);
    assert!(tested.status.success() && text(&tested).contains("2 tests, 0 failed"), "{}", text(&tested));

    // One that fails names the field, what was expected and what was found, and how it came about.
    fs::write(&page, PAGE.replace("24,834.85", "24,834.80")).unwrap();
    let failed = run(&tap, &["test"]);
    let said = text(&failed);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    for words in ["last\n  - expected  24834.85\n  + found     24834.80", "raw      24,834.80", "2 tests, 1 failed"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// A test of a page of `for_each`, and of the pages that one links to.
#[test]
fn a_test_may_say_which_values_and_which_pages_belong_to_it() {
    let tap = Tap::new();
    fs::create_dir(tap.path("sources/fixtures")).unwrap();
    let file = |name: &str, text: &str| fs::write(tap.path("sources/fixtures").join(name), text).unwrap();
    file("quote.html", "<b>24,834.85</b>");
    file("news.html", "<li><a href=/news/1>Rain</a><li><a href=/news/2>Sun</a>");
    file("one.html", "<article>It rains.</article>");
    file("links.html", "<h1>News</h1><a class=x href=n/1>Rain</a>");
    let quote = |test: &str| {
        tap.source("quote", &format!("kind: scrape\nurl: http://localhost/{{symbol}}/{{n}}\nevery: 1m\nfor_each: {{ symbol: [NIFTY 50, MRF], n: [5] }}\nvalues_in_data: [symbol]\nfields: {{ last: {{ css: b, type: number, locale: en }} }}\ntests:\n- {{ page: fixtures/quote.html, {test} }}\n"));
    };
    let news = |test: &str| {
        tap.source("news", &format!("kind: scrape\nurl: http://localhost/\nevery: 1m\nrecords: li\nfields: {{ title: a }}\nfollow: {{ css: a, fields: {{ text: article }} }}\ntests:\n- {{ page: fixtures/news.html, {test} }}\n"));
    };
    quote("values: { symbol: NIFTY 50, n: 5 }, expect: { symbol: NIFTY 50, last: 24834.85 }");
    news("follow: { /news/1: fixtures/one.html }, expect: [{ title: Rain, text: It rains. }]");
    tap.source("links", "kind: scrape\nurl: http://localhost/\nevery: 1m\nfields: { list: h1 }\nfollow: { css: a.x, fields: { text: article } }\ntests:\n- { page: fixtures/links.html, follow: { n/1: fixtures/one.html }, expect: { list: News, text: It rains. } }\n");
    let checked = run(&tap, &["check"]);
    assert!(checked.status.success(), "{}", text(&checked));
    let tested = run(&tap, &["test"]);
    assert!(tested.status.success() && text(&tested).contains("3 tests, 0 failed"), "{}", text(&tested));

    // What is not so fails, and says where.
    quote("values: { symbol: MRF, n: 5 }, expect: { symbol: NIFTY 50, last: 24834.85 }");
    news("follow: { /news/1: fixtures/one.html }, expect: [{ title: Rain, text: It shines. }]");
    let said = text(&run(&tap, &["test"]));
    for words in [
        "symbol\n  - expected  \"NIFTY 50\"\n  + found     \"MRF\"",
        "1.text\n  - expected  \"It shines.\"\n  + found     \"It rains.\"",
        "3 tests, 2 failed",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    news("follow: { /news/9: fixtures/one.html }, expect: []");
    assert!(text(&run(&tap, &["test"])).contains("the page has no link `/news/9` that is followed"));
    // What cannot be meant is said before.
    for (test, words) in [
        ("values: { symbl: A }, expect: { last: 1 }", "tests.0.values.symbl: `symbl` is no name of `for_each`"),
        ("values: { symbol: A }, expect: { last: 1 }", "tests.0.values: `n` of `for_each` is missing"),
        (
            "follow: { /a: fixtures/one.html }, expect: { last: 1 }",
            "tests.0.follow: this source follows no links; leave it out",
        ),
        ("expect: { symbol: A }", "tests.0.expect.symbol: `symbol` is no field of this source"),
    ] {
        quote(test);
        let said = text(&run(&tap, &["check", tap.path("sources/quote.yaml").to_str().unwrap()]));
        assert!(said.contains(words), "{words}: {said}");
    }
    news("follow: { /news/1: fixtures/none.html }, expect: []");
    let said = text(&run(&tap, &["check", tap.path("sources/news.yaml").to_str().unwrap()]));
    assert!(
        said.contains("tests.0.follow./news/1: there is no page ") && said.contains("none.html beside the file"),
        "{said}"
    );
}

/// Two texts of different rows make a list.
#[tokio::test(flavor = "multi_thread")]
async fn two_rows_are_a_list() {
    let page = "<html lang=en><ul class=movers><li class=row><b class=sym>RELIANCE</b> <i class=px>2,456.70</i><li class=row><b class=sym>MRF</b> <i class=px>90,001.00</i><li class=row><b class=sym>TCS</b> <i class=px>3,001.00</i></ul>";
    let (_server, url) = site(move |_| page.into()).await;
    let tap = Tap::new();
    let made =
        run(&tap, &["new", "scrape", &url, "--name", "movers", "--find", "RELIANCE", "--find", "price=3,001.00"]);
    assert!(made.status.success(), "{}", text(&made));
    let yaml = fs::read_to_string(tap.path("sources/movers.yaml")).unwrap();
    assert!(
        yaml.contains("records: \".row\"") && yaml.contains("price: { css: \".px\", type: number, locale: en }"),
        "{yaml}"
    );
    assert!(text(&made).contains("\"sym\":\"MRF\",\"price\":90001.00"), "{}", text(&made));
}

/// Pages as sites change them, each with the element that is the price now: the first proposal is that one in at least seven
/// of ten.
#[test]
fn n14_the_first_proposal_is_right_in_most_of_the_mutations() {
    let fields = json!({
        "last": { "css": "span.price", "type": "number", "locale": "en" },
        "open": { "css": "td.open", "type": "number", "locale": "en" },
    });
    // The market has moved meanwhile.
    let later = PAGE.replace("24,834.85", "24,911.40").replace("+28.75", "+105.30").replace("1,234,567", "1,301,222");
    let swap = |from: &str, to: &str| {
        let page = later.replace(from, to);
        assert_ne!(page, later, "{from}");
        page
    };
    let mutations: Vec<(String, &str, &str)> = vec![
        (swap("class=\"price\"", "class=\"value\""), "last", "24,911.40"),
        (swap("class=\"price\" data-field=\"last\"", "class=\"css-1q2w3e\""), "last", "24,911.40"),
        (swap("<span class=\"price\" data-field=\"last\">24,911.40</span>", "<b class=ltp>24,911.40</b>"), "last", "24,911.40"),
        (swap("<span class=\"price\" data-field=\"last\">", "<strong>").replace("</span><span class=\"chg\"", "</strong><span class=\"chg\""), "last", "24,911.40"),
        (swap("price-box", "pb").replace("class=\"price\"", "class=\"p\""), "last", "24,911.40"),
        (swap("<div class=\"price-box\"><span class=\"price\" data-field=\"last\">24,911.40</span><span class=\"chg\">+105.30</span></div>", "").replace("</main>", "<div class=\"hero\"><span class=\"big\">24,911.40</span></div></main>"), "last", "24,911.40"),
        (swap("class=\"price\"", "class=\"price-v2\"").replace("class=\"quote\"", "class=\"q\""), "last", "24,911.40"),
        (swap("<span class=\"price\" data-field=\"last\">24,911.40", "<span class=\"lbl\">Last <em class=\"n\">24,911.40</em>"), "last", "24,911.40"),
        (swap("class=\"open\"", "class=\"o\""), "open", "24,801.10"),
        (swap("<td class=\"open\">", "<td>"), "open", "24,801.10"),
        (swap("<tr><th>Open</th><td class=\"open\">24,801.10</td></tr>", "").replace("</table>", "<tr><th>Open</th><td>24,801.10</td></tr></table>"), "open", "24,801.10"),
        (swap("<tr><th>Open</th><td class=\"open\">24,801.10</td></tr>", "").replace("</table>", "</table><dl><dt>Open<dd>24,801.10</dl>"), "open", "24,801.10"),
        (swap("<th>Open</th><td class=\"open\">", "<th>Opening price</th><td>"), "open", "24,801.10"),
    ];
    let settings = settings(&fields);
    let mut wrong = Vec::new();
    for (page, name, expected) in &mutations {
        let found = settings.suggest(page, Some(PAGE), &[]).unwrap().unwrap();
        let of = found.iter().find(|suggestion| suggestion.field == format!("fields.{name}"));
        let of = of.unwrap_or_else(|| panic!("{name} is missing, and nothing is said: {found:?}"));
        let first = of.proposals.first().map(|proposal| proposal.text.as_str());
        if first != Some(expected) {
            wrong.push(format!("{name} {expected}: {:?}", of.proposals));
        }
        // Everything that is proposed finds what it says.
        for proposal in &of.proposals {
            assert!(!proposal.text.is_empty() && !proposal.rule.is_empty());
        }
    }
    println!("{} of {} first proposals are right", mutations.len() - wrong.len(), mutations.len());
    assert!(wrong.len() * 10 <= mutations.len() * 3, "{}", wrong.join("\n"));
    // What is on the page now may be named.
    let found = settings.suggest(&mutations[0].0, None, &[("last".into(), "24911.40".into())]).unwrap().unwrap();
    assert_eq!(found[0].proposals[0].text, "24,911.40");
}

/// A page of rows, of this many each with its text and number.
fn table(class: &str, rows: &[(&str, &str)]) -> String {
    let row = |(name, price): &(&str, &str)| format!("<tr><td class=s>{name}</td><td class=p>{price}</td></tr>");
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<ul class=nav><li>Home</li><li>Markets</li></ul><table class={class}><tr><th>Symbol<th>Price</tr>{rows}</table>\
         <ul class=foot><li>Terms</li><li>Privacy</li></ul>"
    )
}

/// Rows that are gone are proposed, and fields as they would be in these rows.
#[test]
fn rows_that_have_moved_are_found_again() {
    let settings: Scrape = serde_json::from_value(json!({
        "url": "http://localhost/", "records": "table.quotes tr:has(td)",
        "fields": { "symbol": "td.s", "price": { "css": "td.p", "type": "number", "locale": "en" } },
    }))
    .unwrap();
    let was = table("quotes", &[("RELIANCE", "2,456.70"), ("MRF", "98,001.00"), ("TCS", "3,001.00")]);
    let later = [("TCS", "3,044.10"), ("RELIANCE", "2,460.05"), ("MRF", "98,120.00")];
    let cards = later.map(|(name, price)| format!("<div class=card><b class=n>{name}</b><i class=v>{price}</i></div>"));
    let others = table("q2", &[("INFY", "1,500.00"), ("WIPRO", "251.10"), ("ITC", "420.05")]);
    let suggest = |now: &str, was: Option<&str>, values: &[(String, String)]| {
        let found = settings.suggest(now, was, values).unwrap().unwrap();
        let said = found.iter().map(|suggestion| {
            let was = suggestion.was.as_deref().unwrap_or("-");
            let first =
                suggestion.proposals.first().map(|proposal| format!(" {} finds {}", proposal.rule, proposal.text));
            format!("{} ({was}):{}", suggestion.field, first.unwrap_or_default())
        });
        said.collect::<Vec<_>>().join("\n")
    };
    // The table is called otherwise: what is in its rows is where it was.
    insta::assert_snapshot!(suggest(&table("prices", &later), Some(&was), &[]), @r#"records (3 rows): ".prices tr:has(td)" finds 3 rows, the first: TCS 3,044.10"#);
    insta::assert_snapshot!(suggest(&format!("<section id=all>{}</section><p>RELIANCE falls</p>", cards.concat()), Some(&was), &[]), @r#"
    records (3 rows): ".card" finds 3 rows, the first: TCS3,044.10
    fields.symbol (RELIANCE): ".n" finds TCS
    fields.price (2,456.70): ".v" finds 3,044.10
    "#);
    // Nothing of it is the same but its form.
    insta::assert_snapshot!(suggest(&others, Some(&was), &[]), @r#"records (3 rows): ".q2 tr:has(td)" finds 3 rows, the first: INFY 1,500.00"#);
    // Two that somebody sees there.
    let values = [("symbol".to_owned(), "TCS".to_owned()), ("symbol".to_owned(), "MRF".to_owned())];
    insta::assert_snapshot!(suggest(&table("prices", &later), None, &values), @r#"
    records (-): ".prices tr:has(td)" finds 3 rows, the first: TCS 3,044.10
    fields.symbol (-): ".s" finds TCS
    "#);
    assert_eq!(suggest(&was, Some(&was), &[]), "");
    insta::assert_snapshot!(suggest("<p>gone", Some(&was), &[]), @"
    records (3 rows):
    fields.symbol (RELIANCE):
    fields.price (2,456.70):
    ");
}

/// A page in an encoding of its own is the same again when it was saved.
#[test]
fn a_saved_page_is_read_in_its_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.yaml");
    fs::write(&file, "kind: scrape\nurl: http://localhost/\nevery: 1s\nfields: { name: b }\n").unwrap();
    let page = dir.path().join("p.html");
    fs::write(&page, b"<meta charset=windows-1251><b>\xcf\xf0\xe8\xe2\xe5\xf2</b>").unwrap();
    let tried = |page: &Path| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tapline")).arg("try").arg(&file).arg("--page").arg(page).output().unwrap();
        text(&output)
    };
    assert!(tried(&page).contains("Привет"), "{}", tried(&page));
    assert!(tried(&dir.path().join("none.html")).contains("cannot read the page"));
}
