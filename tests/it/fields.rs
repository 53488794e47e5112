//! Fields of pages, as their users meet them: the guide's examples, a page that changes, and what a browser shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tapline::adapters::scrape::{Plan, Scrape, extract};
use tapline::context::{Context, SystemClock};
use tapline::simulator::quote::Quote;
use tapline::source::Settings;

use crate::support::tap::Tap;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The records and rejects that a source makes of a page.
fn extracted(settings: Value, html: &str) -> (Vec<String>, Vec<String>) {
    let settings: Scrape = serde_json::from_value(settings).unwrap();
    let plan = Plan::compile(&settings).unwrap_or_else(|problems| panic!("{problems:?}"));
    let extraction = extract(&plan, html, None).unwrap();
    let items = extraction.rows.iter().map(|row| row.item.data.get().to_owned()).collect();
    (items, extraction.rejects.into_iter().map(|reject| reject.reason).collect())
}

/// What a site is asked for, and sends.
type Site = BTreeMap<String, String>;

/// The records that a source makes of a site's pages in one tick, at noon of a day.
async fn asked(settings: &Value, pages: &Site) -> Vec<String> {
    let pages = Arc::new(pages.clone());
    let site = Router::new().fallback(async move |request: Request| {
        let asked = request.uri().path_and_query().map(|asked| asked.as_str().to_owned()).unwrap_or_default();
        match pages.get(&asked) {
            Some(page) => axum::response::Html(page.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(crate::manners::serve(listener, site));
    let text = settings.to_string().replace("https://example.com", &own);
    let settings: Scrape = serde_json::from_str(&text).unwrap();
    assert_eq!(settings.problems(), []);
    let mut source = Settings::open(settings, &Context::new(Arc::new(SystemClock))).unwrap();
    source.connect(None).await.unwrap();
    source.slot("2026-11-23T12:00:00Z".parse().unwrap());
    let batch = source.next().await.unwrap();
    assert!(batch.rejects.is_empty(), "{text}: {:?}", batch.rejects);
    serving.abort();
    batch.items.iter().map(|item| item.data.get().to_owned()).collect()
}

/// Each example of `docs/scraping.md` is a page or several, the keys of a source, and what becomes of it: all three are
/// true.
#[tokio::test]
async fn the_guide_tells_the_truth() {
    let page = fs::read_to_string(root().join("docs/scraping.md")).unwrap();
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((kind.to_owned(), text.join("\n")));
    }
    let mut examples = 0;
    let (mut html, mut site) = (String::new(), Site::new());
    let mut settings = Value::Null;
    for (kind, text) in blocks {
        match kind.as_str() {
            "html" => html = text,
            "yaml" => {
                let options = serde_saphyr::options! { strict_booleans: true };
                settings = serde_saphyr::from_str_with_options(&text, options).unwrap();
                if site.is_empty() {
                    settings["url"] = json!("https://example.com/");
                }
            }
            "json" if !site.is_empty() => {
                assert_eq!(asked(&settings, &site).await.join("\n"), text, "{settings}");
                site.clear();
                examples += 1;
            }
            "json" => {
                let (items, rejects) = extracted(settings.clone(), &html);
                assert_eq!(items.join("\n"), text, "{settings}: {rejects:?}");
                examples += 1;
            }
            "text" => {
                let (_, rejects) = extracted(settings.clone(), &html);
                assert_eq!(rejects.join("\n"), text, "{settings}");
                examples += 1;
            }
            other => match other.strip_prefix("html ") {
                Some(path) => drop(site.insert(path.to_owned(), text)),
                // Where a password or a browser is wanted nothing is asked for; that the keys are right is looked at.
                None if other.starts_with("yaml ") => {
                    let mut keys: Value = serde_saphyr::from_str(&text).unwrap();
                    keys["url"] = json!("https://example.com/");
                    keys["fields"] = json!({ "a": "b" });
                    let settings: Scrape = serde_json::from_value(keys).unwrap();
                    assert_eq!(settings.problems(), []);
                    examples += 1;
                }
                None => panic!("the guide has a block of {other}"),
            },
        }
    }
    assert!(examples >= 10, "{examples}");
    let schema = serde_json::to_value(schemars::schema_for!(Scrape)).unwrap();
    let keys = schema["$defs"]["Field"]["properties"].as_object().unwrap();
    for key in keys.keys() {
        assert!(
            ["`", "\"", ""].iter().any(|mark| page.contains(&format!("{mark}{key}{mark}: ")))
                || page.contains(&format!("`{key}")),
            "the guide has {key}"
        );
    }
}

/// A selector that no longer matches, and its fall-back: the ledger says so once, and not again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_is_noted_once() {
    let exchange = Quote::new().step(Duration::ZERO).start(0).await.unwrap();
    let tap = Tap::new();
    let source = format!(
        "kind: scrape\nurl: {}\nevery: 100ms\nfields:\n  price: {{ css: [span.gone, span.red14px], type: number, locale: en-IN }}\n",
        exchange.url("/")
    );
    tap.source("index", &source);
    for lines in [5, 10] {
        let mut process = tap.start();
        tap.wait_for_lines("index", lines);
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    }
    let notes: Vec<Value> = tap.ledger("index").into_iter().filter(|entry| entry["type"] == "fallback").collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let expected = json!({ "field": "fields.price", "selector": "span.red14px", "before": "span.gone" });
    assert_eq!(notes[0]["data"], expected);
    let tried =
        Command::new(env!("CARGO_BIN_EXE_tapline")).arg("try").arg(tap.path("sources/index.yaml")).output().unwrap();
    let said = String::from_utf8(tried.stdout).unwrap();
    assert!(said.contains("span.red14px (fall-back 1 of 1, for span.gone)"), "{said}");
}

/// Pieces of pages; `innerText` of the whole is what is compared.
const SNIPPETS: &[&str] = &[
    "<b>59,465</b>.68",
    "  a \n\t b  ",
    "<i>a </i> <b> b</b>",
    "a<br>b",
    "a<br><br>b<br>",
    "<p>a</p><p>b</p>",
    "<div>a</div>b<div>c</div>",
    "<div><div>a</div><div>b</div></div>",
    "<table><tr><td>1<td>2<tr><td>3</table>",
    "<table><caption>C</caption><thead><tr><th>A<th>B</thead><tbody><tr><td>1<td></tbody><tfoot><tr><td>f</tfoot></table>",
    "<table><tr><td>a</td>\n<td>b</td></tr></table>after",
    "a<script>var x</script>b<style>p{}</style>c<!-- d -->",
    "a<template>x</template>b",
    "a<noscript>x</noscript>b",
    "1&nbsp;234&#8239;567",
    "a&nbsp; b",
    "&lt;b&gt; &amp; &euro;",
    "a<span></span>b",
    "a<span> </span>b",
    "a <span> b</span>",
    "a<wbr>b&shy;c&#8203;d",
    "<ul><li>a<li>b</ul>",
    "<ol><li>a</li><li>b</li></ol>c",
    "<dl><dt>a<dd>b</dl>",
    "<h1>a</h1>b<hr>c",
    "<pre>a\n  b\tc</pre>",
    "<textarea>a b</textarea>x",
    "a<input value=x>b",
    "a<img alt=x>b",
    "a<button>b</button>c",
    "<select><option>a<option selected>b</select>",
    "a<select><optgroup label=g><option>a</option></optgroup></select>b",
    "<details><summary>s</summary>hidden</details>",
    "<details open><summary>s</summary>shown</details>",
    "<dialog>x</dialog>a",
    "<p hidden>x</p>a",
    "a<span style='display:none'>x</span>b",
    "a<span style='color: red; DISPLAY : none !important'>x</span>b",
    "a<span style='visibility:hidden'>x</span>b",
    "a<datalist><option>x</datalist>b",
    "<ruby>a<rp>(</rp><rt>b</rt><rp>)</rp></ruby>",
    "a<q>b</q>c",
    "a<sup>2</sup>b<sub>3</sub>",
    "<fieldset><legend>l</legend>a</fieldset>",
    "<svg><title>t</title><text>s</text></svg>a",
    "a<video>fallback</video>b",
    "a<canvas>fallback</canvas>b<audio>x</audio>c",
    "a<iframe>x</iframe>b",
    "a<object>x</object>b",
    "<center>a</center>b",
    "<label>a</label><label>b</label>",
    "<form>a</form><form>b</form>",
    "<section>a</section><article>b</article><aside>c</aside><nav>d</nav><main>e</main>",
    "<figure><figcaption>a</figcaption>b</figure>",
    "<blockquote>a</blockquote><address>b</address>",
    "<menu><li>a</menu><hgroup>b</hgroup><search>c</search>",
    "<p>a <b>b</b> <i>c</i></p>",
    "<span>a</span>\n<span>b</span>",
    "<div>a <!-- x --> b</div>",
    "<map><area alt=x></map>a<progress>x</progress>b<meter>y</meter>c",
];

/// The text of a field is what a browser shows, but for the kind of white space between words.
#[test]
fn text_is_what_a_browser_shows() {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "playwright is not installed; run scripts/setup");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snippets.json");
    fs::write(&file, serde_json::to_string(SNIPPETS).unwrap()).unwrap();
    let script: &Path = &root().join("tests/fixtures/web/inner_text.py");
    let output = Command::new(python).arg(script).arg(&file).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    // Which white space stands between words, a browser decides by its style sheets; that there is some is what counts.
    let words =
        |text: &str| text.split([' ', '\n', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut wrong = Vec::new();
    for (snippet, shown) in SNIPPETS.iter().zip(&shown) {
        let settings = json!({ "url": "https://example.com/", "fields": { "t": "body" } });
        let (items, _) = extracted(settings, &format!("<!doctype html><body>{snippet}</body>"));
        let read: Value = serde_json::from_str(&items[0]).unwrap();
        if words(read["t"].as_str().unwrap()) != words(shown) {
            wrong.push(format!("{snippet}\n  browser {:?}\n  tapline {}", words(shown), read["t"]));
        }
    }
    assert!(shown.len() == SNIPPETS.len() && wrong.is_empty(), "{}", wrong.join("\n"));
}
