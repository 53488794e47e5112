//! What is believed of fields where one file asks for many pages: whose last value a value is held against, and when a field
//! of several pages is gone.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tapline::source::{Batch, Settings as _, Source};

use crate::asks::{Asked, Site, data, html, start};

/// What a site shows, by path with query; a tick changes it.
type Shown = Arc<Mutex<Vec<(&'static str, String)>>>;

fn show(shown: &Shown, target: &'static str, page: impl Into<String>) {
    let mut shown = shown.lock().unwrap();
    shown.retain(|(known, _)| *known != target);
    shown.push((target, page.into()));
}

/// Each page has the tag that its text makes.
fn answer(shown: &Shown) -> impl Fn(&Asked) -> Response + Send + Sync + use<> {
    let shown = Arc::clone(shown);
    move |asked| {
        let shown = shown.lock().unwrap();
        let Some((_, page)) = shown.iter().find(|(known, _)| *known == asked.target) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let tag = format!("\"{}\"", blake3::hash(page.as_bytes()));
        if asked.header("if-none-match") == tag {
            return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
        }
        ([("etag", tag)], html(page.clone())).into_response()
    }
}

async fn tick(source: &mut dyn Source) -> Batch {
    source.next().await.unwrap()
}

/// The reject's field and page, of the only one.
fn refused(batch: &Batch) -> (String, String) {
    assert_eq!(batch.rejects.len(), 1, "{:?}", batch.rejects);
    let reject = &batch.rejects[0];
    assert!(reject.reason.contains("is further than"), "{}", reject.reason);
    (reject.field.clone().unwrap_or_default(), reject.page.clone().unwrap_or_default())
}

/// Each symbol is held against itself, over a restart and over an edit of the list.
#[tokio::test]
async fn each_page_of_a_file_has_its_own_last_value() {
    let shown = Shown::default();
    for (target, price) in [("/A", "100"), ("/B", "5"), ("/C", "3000")] {
        show(&shown, target, format!("<b>{price}</b>"));
    }
    let site = Site::start(answer(&shown)).await;
    let keys = |symbols: &[&str]| {
        json!({
            "url": "http://SITE/{symbol}", "for_each": { "symbol": symbols },
            "fields": { "price": { "css": "b", "type": "number", "max_jump": "10%" } },
        })
    };
    let mut source = site.source(&keys(&["A", "B"]));
    start(&mut *source, None).await;
    let first = tick(&mut *source).await;
    assert_eq!(data(&first).len(), 2, "{:?}", first.rejects);
    show(&shown, "/B", "<b>100</b>");
    let mut source = site.source(&keys(&["C", "B", "A"]));
    start(&mut *source, first.cursor.as_ref()).await;
    let batch = tick(&mut *source).await;
    assert_eq!(refused(&batch), ("fields.price".into(), "symbol=B".into()));
    assert_eq!(data(&batch), [r#"{"symbol":"C","price":3000}"#], "A is not modified");
    show(&shown, "/A", "<b>108</b>");
    let batch = tick(&mut *source).await;
    assert_eq!((data(&batch), refused(&batch).1), (vec![r#"{"symbol":"A","price":108}"#.into()], "symbol=B".into()));
}

/// A row is the same one on whichever page of its list it stands.
#[tokio::test]
async fn a_row_that_changes_its_page_is_held_against_itself() {
    let shown = Shown::default();
    let list = |next: &str, rows: &[(&str, u32)]| {
        let rows: String = rows.iter().map(|(s, p)| format!("<p><b>{s}</b><i>{p}</i></p>")).collect();
        format!("{rows}{next}")
    };
    let next = "<a class=next href=/2>";
    show(&shown, "/1", list(next, &[("A", 100), ("B", 200)]));
    show(&shown, "/2", list("", &[("C", 300)]));
    let site = Site::start(answer(&shown)).await;
    let keys = json!({
        "url": "http://SITE/1", "records": "p", "pages": { "next": "a.next" }, "emit": { "on": "all", "key": "s" },
        "fields": { "s": "b", "p": { "css": "i", "type": "number", "max_jump": "10%" } },
    });
    let mut source = site.source(&keys);
    start(&mut *source, None).await;
    assert_eq!(tick(&mut *source).await.items.len(), 3);
    show(&shown, "/1", list(next, &[("A", 101), ("C", 301)]));
    show(&shown, "/2", list("", &[("B", 900)]));
    let batch = tick(&mut *source).await;
    assert_eq!(data(&batch), [r#"{"s":"A","p":101}"#, r#"{"s":"C","p":301}"#]);
    assert_eq!(refused(&batch), ("fields.p".into(), "page=2".into()));
}

/// Pages that are followed are held against themselves, by their whole address; what stands in is said of both together.
#[tokio::test]
async fn rows_and_the_pages_behind_them_are_believed_each() {
    let shown = Shown::default();
    let news = "<li><a href=/a?id=1>one</a><i>7</i><li><a href=/a?id=2>two</a>";
    show(&shown, "/news", news);
    show(&shown, "/a?id=1", "<b>100</b><u>x</u>");
    show(&shown, "/a?id=2", "<b>5</b><u>y</u>");
    let site = Site::start(answer(&shown)).await;
    let keys = json!({
        "url": "http://SITE/news", "records": "li",
        "fields": { "n": "a", "i": { "css": "i", "type": "integer", "on_missing": "default", "default": 0 } },
        "follow": { "css": "a", "fields": {
            "price": { "css": "b", "type": "number", "max_jump": "10%" }, "u": { "css": "u", "on_missing": "last" },
        } },
    });
    assert!(site.settings(&keys).data_names().unwrap().contains(&"stand_ins".to_owned()));
    let mut source = site.source(&keys);
    start(&mut *source, None).await;
    let first = tick(&mut *source).await;
    let one = r#"{"n":"one","i":7,"price":100,"u":"x"}"#;
    assert_eq!(data(&first), [one, r#"{"n":"two","i":0,"price":5,"u":"y","stand_ins":{"i":"default"}}"#]);
    // Over a restart.
    show(&shown, "/a?id=1", "<b>5</b><u>x</u>");
    show(&shown, "/a?id=2", "<b>5.1</b>");
    let mut source = site.source(&keys);
    start(&mut *source, first.cursor.as_ref()).await;
    let batch = tick(&mut *source).await;
    let two = r#"{"n":"two","i":0,"price":5.1,"u":"y","stand_ins":{"i":"default","u":"last"}}"#;
    assert_eq!(data(&batch), [two]);
    assert_eq!(refused(&batch).0, "follow.fields.price");
    let notes: Vec<Value> = source.notes().into_iter().filter(|note| note.kind == "stand_in").map(|n| n.data).collect();
    assert_eq!(notes, [json!({ "field": "follow.fields.u", "selector": "u", "by": "last" })]);
}

/// Some pages of a list never have a field. It is there as long as one of them has it.
#[tokio::test]
async fn a_field_is_gone_when_no_page_of_a_list_has_it() {
    let shown = Shown::default();
    let first = |tick: u32, volume: &str| format!("<b>{tick}</b>{volume}<a class=next href=/2>");
    let site = Site::start(answer(&shown)).await;
    let keys = json!({
        "url": "http://SITE/1", "pages": { "next": "a.next" },
        "fields": {
            "n": "b", "volume": { "css": "i", "on_missing": "null" },
            "stock": { "css": "u", "on_missing": "default", "default": "none" },
        },
    });
    let mut source = site.source(&keys);
    start(&mut *source, None).await;
    let mut said = Vec::new();
    for number in 1..=90 {
        // The second page comes again now and then, and has never had it.
        show(&shown, "/2", format!("<b>x{}</b>", number / 4));
        let has_it = number <= 45;
        show(&shown, "/1", first(number, if has_it { "<i>9</i><u>3</u>" } else { "" }));
        let batch = tick(&mut *source).await;
        assert_eq!(batch.rejects.len(), 0, "{:?}", batch.rejects);
        said.extend(source.notes().into_iter().map(|note| format!("{number} {} {}", note.kind, note.data["field"])));
        assert_eq!(
            source.ailments().is_empty(),
            !said.iter().any(|said| said.contains("vanished")),
            "{number} {said:?}"
        );
    }
    assert_eq!(said[0], r#"1 stand_in "fields.stock""#, "{said:?}");
    let vanished: Vec<&String> = said[1..].iter().collect();
    assert_eq!(vanished.len(), 2, "once each: {said:?}");
    for (said, field) in vanished.iter().zip(["volume", "stock"]) {
        let (number, words) = said.split_once(' ').unwrap();
        assert_eq!(words, format!("vanished \"fields.{field}\""), "{said}");
        assert_eq!(number, "65", "{said}");
    }
}

/// Rows without a name of their own have no last value, and two things cannot have one name.
#[tokio::test]
async fn what_cannot_be_remembered_is_said() {
    let site = Site::start(|_| html("")).await;
    let said = |keys: Value| {
        let problems = site.settings(&keys).problems();
        problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path.join("."), problem.message))
            .collect::<Vec<_>>()
    };
    let jump = json!({ "css": "b", "type": "number", "max_jump": "10%" });
    let of_rows = "fields.p.max_jump: of rows one must know which is which: name the field that tells, as `emit: { on: all, key: symbol }`";
    // The value of `for_each` is that of all rows of a page.
    let keys = json!({ "url": "http://SITE/{s}", "for_each": { "s": ["A", "B"] }, "records": "p", "emit": { "on": "all", "key": "s" }, "fields": { "p": jump } });
    assert_eq!(said(keys), [of_rows]);
    let last = json!({ "css": "u", "on_missing": "last" });
    let keys = json!({ "url": "http://SITE/", "fields": { "stand_ins": "b" }, "follow": { "css": "a", "fields": { "u": last } } });
    assert_eq!(
        said(keys),
        [
            "fields.stand_ins: `stand_ins` is where a record says which of its values were not on the page; choose another name"
        ]
    );
    let keys = json!({ "url": "http://SITE/", "fields": { "a": "b" }, "follow": { "css": "a", "fields": { "p": { "css": "b", "max_jump": 5 } } } });
    assert_eq!(said(keys), ["follow.fields.p.max_jump: `max_jump` needs `type: number, integer, percent or money`"]);
}
