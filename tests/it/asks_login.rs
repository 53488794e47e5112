//! Sources behind a login, and lists whose things are written once, against sites with a memory.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tapline::report::committed::Committed;
use tapline::source::{Outcome, Source, SourceError};
use url::form_urlencoded;

use crate::asks::{Asked, Site, data, html, start};
use crate::support::tap::{PATIENCE, Tap, pause, wait_until};

/// A site that wants a login with a token, and whose sessions end after so many pages.
#[derive(Default)]
struct Members {
    /// The token that the form has, the one that counts.
    token: usize,
    session: usize,
    left: usize,
    lasts: usize,
    logins: usize,
}

fn members(members: &Arc<Mutex<Members>>, out: &'static str) -> impl Fn(&Asked) -> Response + Send + Sync + use<> {
    let members = Arc::clone(members);
    move |asked| {
        let mut members = members.lock().unwrap();
        let form = |token: usize| {
            format!(
                "<form id=login method=post action=/in/check?x=1><input type=hidden name=csrf value='t&amp;{token}'><input name=user><input type=password name=password></form>"
            )
        };
        match asked.target.as_str() {
            "/login" => {
                members.token += 1;
                html(form(members.token))
            }
            "/in/check?x=1" => {
                members.logins += 1;
                let fields: Vec<(String, String)> =
                    form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
                let has = |name: &str, value: &str| fields.contains(&(name.to_owned(), value.to_owned()));
                let token = format!("t&{}", members.token);
                if asked.method != "POST" || !has("csrf", &token) || !has("user", "me") || !has("password", "pa ss&ü")
                {
                    return html(form(members.token));
                }
                members.session += 1;
                members.left = members.lasts;
                let cookie = format!("sid={}; HttpOnly; Path=/", members.session);
                (StatusCode::SEE_OTHER, [("location", "/home".to_owned()), ("set-cookie", cookie)]).into_response()
            }
            "/home" => html("<p>welcome"),
            page => {
                let is_in = asked.header("cookie") == format!("sid={}", members.session) && members.left > 0;
                if is_in {
                    members.left -= 1;
                    return html(format!("<a class=logout>Log out</a><b>{page}</b>"));
                }
                match out {
                    "401" => StatusCode::UNAUTHORIZED.into_response(),
                    "403" => StatusCode::FORBIDDEN.into_response(),
                    "away" => (StatusCode::FOUND, [("location", "/login")]).into_response(),
                    "form" => html(form(members.token)),
                    _ => html("<b>please log in</b>"),
                }
            }
        }
    }
}

fn behind(check: &Value, password: &str) -> Value {
    let mut keys = json!({
        "url": "http://SITE/{p}", "for_each": { "p": ["a", "b"] }, "fields": { "b": "b" },
        "login": { "url": "http://SITE/login", "fields": { "user": "me", "password": password } },
    });
    if !check.is_null() {
        keys["login"]["check"] = check.clone();
    }
    keys
}

/// A login with a hidden token, when the session ends in the middle of a tick, however the site shows that.
#[tokio::test]
async fn g9_a_login_is_made_again_when_it_has_ended() {
    for (out, check) in [
        ("401", Value::Null),
        ("403", Value::Null),
        ("away", Value::Null),
        ("form", Value::Null),
        ("page", json!("a.logout")),
        ("page", json!({ "text": "Log out" })),
    ] {
        let state = Arc::new(Mutex::new(Members { lasts: 3, ..Members::default() }));
        let site = Site::start(members(&state, out)).await;
        let mut source = site.source(&behind(&check, "pa ss&ü"));
        start(&mut *source, None).await;
        for _ in 0..4 {
            let batch = source.next().await.unwrap();
            assert_eq!(data(&batch), [r#"{"p":"a","b":"/a"}"#, r#"{"p":"b","b":"/b"}"#], "{out}");
            assert_eq!(batch.outcome(), Outcome::Ok, "{out}: {:?}", batch.rejects);
        }
        assert_eq!(state.lock().unwrap().logins, 3, "{out}: eight pages, of which a session gives three");
        let posts: Vec<Asked> = site.asked().into_iter().filter(|asked| asked.method == "POST").collect();
        assert!(posts.iter().all(|post| post.header("content-type") == "application/x-www-form-urlencoded"));
    }
}

async fn failure(source: &mut dyn Source) -> String {
    match source.next().await.unwrap_err() {
        SourceError::Throttled { wait, cause } => format!("{}s {cause:#}", wait.as_secs()),
        SourceError::Refused(cause) => format!("refused {cause:#}"),
        SourceError::Lost(cause) => format!("lost {cause:#}"),
        other => panic!("{other:?}"),
    }
}

/// A wrong password is sent three times and no more, and nothing that is said shows it.
#[tokio::test]
async fn a_wrong_password_locks_no_account() {
    let state = Arc::new(Mutex::new(Members { lasts: 3, ..Members::default() }));
    let site = Site::start(members(&state, "401")).await;
    let mut source = site.source(&behind(&Value::Null, "wrong-secret"));
    start(&mut *source, None).await;
    let mut said = Vec::new();
    for _ in 0..3 {
        said.push(failure(&mut *source).await);
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    60s login_failed: the site shows the form again; it has failed once, and is tried again in 1m; page p=a
    600s login_failed: the site shows the form again; it has failed 2 times, and is tried again in 10m; page p=a
    refused login_refused: the site shows the form again; it has failed 3 times, and is not tried again, so that the account is not locked; mend `login` in the source's file; page p=a
    ");
    assert_eq!(state.lock().unwrap().logins, 3);
    // A password that is taken, and pages that are not given all the same.
    let state = Arc::new(Mutex::new(Members { lasts: 0, ..Members::default() }));
    let site = Site::start(members(&state, "page")).await;
    let mut source = site.source(&behind(&json!("a.logout"), "pa ss&ü"));
    start(&mut *source, None).await;
    insta::assert_snapshot!(failure(&mut *source).await, @"60s login_failed: after it the page has not what `check` says; it has failed once, and is tried again in 1m; page p=a");
}

/// Forms that no password is sent with.
#[tokio::test]
async fn a_form_that_leads_elsewhere_is_not_sent() {
    for (form, expected) in [
        (
            "<form method=post action=http://other.example/><input name=user><input type=password name=password>",
            "other_site: the page links to http://other.example/",
        ),
        (
            "<form><input name=user><input type=password name=password>",
            "login_form: the form would put the password into an address",
        ),
        (
            "<form method=post><input name=login><input type=password name=password>",
            "login_form: the form has no field `user`",
        ),
        ("<p>nothing", "login_form: `form:has(input[type=password])` matches no form of the login page"),
    ] {
        let site = Site::start(move |_| html(form)).await;
        let mut source = site.source(&behind(&Value::Null, "wrong-secret"));
        start(&mut *source, None).await;
        let said = failure(&mut *source).await;
        assert!(said.contains(expected) && !said.contains("wrong-secret"), "{said}");
        assert!(site.asked().iter().all(|asked| asked.method == "GET"), "{said}");
    }
}

/// A session outlasts a restart, readable by nobody who reads the data folder; one that has ended meanwhile is made anew, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_log_in_again() {
    let state = Arc::new(Mutex::new(Members { lasts: 1000, ..Members::default() }));
    let site = Site::start(members(&state, "401")).await;
    let tap = Tap::new();
    let source = |password: &str| {
        let mut yaml = behind(&Value::Null, password);
        yaml["kind"] = json!("scrape");
        yaml["every"] = json!("100ms");
        yaml["manners"] = json!({ "delay": "1ms" });
        tap.source("inside", &yaml.to_string().replace("SITE", &site.address));
    };
    source("pa ss&ü");
    let run = |more: usize, kills: bool| {
        let before = tap.count("inside");
        let mut process = tap.start();
        wait_until("records", PATIENCE, || tap.count("inside") >= before + more);
        if kills {
            process.kill();
        } else {
            assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
        }
    };
    let logins = || state.lock().unwrap().logins;
    run(6, true);
    run(2, false);
    run(2, false);
    assert_eq!(logins(), 1, "one for three starts");

    // What the folder has of it says nothing without the key, which is its owner's alone.
    let own = tap.data().join(".tapline");
    let mode = std::fs::metadata(own.join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut all = String::new();
    for file in std::fs::read_dir(&own).unwrap() {
        all += &String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap());
    }
    assert!(all.contains("\"part/inside/4294967295\"") && all.contains("sealed"), "{all}");
    assert!(!all.contains("sid=") && !all.contains("sid\\u"), "{all}");
    assert!(!tap.log().contains("sid="));

    state.lock().unwrap().left = 0;
    run(4, false);
    assert_eq!(logins(), 2, "the site has ended the session, and one login is enough");
    std::fs::remove_file(own.join("key")).unwrap();
    run(2, false);
    assert_eq!(logins(), 3, "without its key a session is nobody's");
    run(2, false);
    assert_eq!(logins(), 3);
    // Somebody else's login is not somebody else's session.
    let asked = logins();
    source("another");
    let mut process = tap.start();
    wait_until("a login", PATIENCE, || logins() > asked);
    assert_eq!(process.terminate().0, Some(0));

    let is_saved = || Committed::look(&tap.data()).unwrap().names("part/inside/").count() > 0;
    assert!(is_saved(), "it may be that login's once more");
    tap.source(
        "inside",
        &format!("kind: scrape\nurl: http://{}/home\nevery: 100ms\nfields: {{ p: p }}\n", site.address),
    );
    let mut process = tap.start();
    wait_until("without a login nothing of one is kept", PATIENCE, || !is_saved());
    assert_eq!(process.terminate().0, Some(0));
}

/// A list of news, newest first: one more with each request, of which a page shows ten.
fn churn(count: &Arc<Mutex<usize>>) -> impl Fn(&Asked) -> Response + Send + Sync + use<> {
    let count = Arc::clone(count);
    move |asked| {
        if let Some(number) = asked.target.strip_prefix("/item/") {
            return html(format!("<h1>item {number}</h1>"));
        }
        let mut count = count.lock().unwrap();
        *count += 1;
        let items = (0..=*count).rev().take(10).map(|number| format!("<li><a href=/item/{number}>{number}</a>"));
        html(items.collect::<String>())
    }
}

fn listed(more: &Value) -> Value {
    let mut keys = json!({
        "url": "http://SITE/", "records": "li", "unique": "link",
        "fields": { "link": { "css": "a", "attr": "href" }, "n": { "css": "a", "type": "integer" } },
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

/// What is new is written; what was is not fetched again, and ends the way over the pages.
#[tokio::test]
async fn what_was_written_is_not_asked_for_again() {
    let site = Site::start(churn(&Arc::default())).await;
    let mut source = site.source(&listed(&json!({ "follow": { "css": "a", "fields": { "title": "h1" } } })));
    start(&mut *source, None).await;
    assert_eq!(source.next().await.unwrap().items.len(), 2);
    let batch = source.next().await.unwrap();
    assert_eq!(data(&batch), [r#"{"link":"/item/2","n":2,"title":"item 2"}"#]);
    assert!(batch.items[0].id.as_deref().unwrap().starts_with("u_"));
    assert_eq!(batch.parts.len(), 1);
    assert_eq!(site.targets(), ["/", "/item/1", "/item/0", "/", "/item/2"]);

    let news = Arc::new(Mutex::new(0_usize));
    let shown = Arc::clone(&news);
    let site = Site::start(move |asked| {
        let page: usize = asked.target.rsplit('=').next().unwrap().parse().unwrap();
        let first = 100 + *shown.lock().unwrap() - page * 3;
        html((first - 3..first).rev().map(|n| format!("<li><a href=/item/{n}>{n}</a>")).collect::<String>())
    })
    .await;
    let paged = listed(&json!({ "url": "http://SITE/?p={page}", "pages": { "from": 0, "max": 5 } }));
    let mut source = site.source(&paged);
    start(&mut *source, None).await;
    assert_eq!(source.next().await.unwrap().items.len(), 15);
    site.asked();
    let batch = source.next().await.unwrap();
    assert_eq!((batch.items.len(), batch.outcome()), (0, Outcome::Unchanged));
    assert_eq!(site.targets(), ["/?p=0"]);
    *news.lock().unwrap() = 4;
    assert_eq!(source.next().await.unwrap().items.len(), 4);
    assert_eq!(site.targets(), ["/?p=0", "/?p=1", "/?p=2"]);
}

/// A list with churn, and a process that is killed at any moment, ten times: each thing is there once.
#[tokio::test(flavor = "multi_thread")]
async fn each_thing_is_written_once_whatever_dies() {
    let count = Arc::<Mutex<usize>>::default();
    let site = Site::start(churn(&count)).await;
    let tap = Tap::new();
    let mut yaml =
        listed(&json!({ "kind": "scrape", "every": "100ms", "manners": { "robots": { "ignore": "a test" } } }));
    yaml["url"] = json!(format!("http://{}/", site.address));
    tap.source("news", &yaml.to_string());
    for round in 0..10_u64 {
        let before = *count.lock().unwrap();
        let mut process = tap.run();
        wait_until("some pages", PATIENCE, || *count.lock().unwrap() > before + 3);
        pause(Duration::from_millis(round * 37 % 300));
        if round == 9 {
            assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
        } else {
            process.kill();
        }
    }
    let records = tap.records("news");
    let links: Vec<&str> = records.iter().map(|record| record["data"]["link"].as_str().unwrap()).collect();
    let once: BTreeSet<&str> = links.iter().copied().collect();
    assert_eq!(links.len(), once.len(), "each once");
    // Each page shows ten, and each start asks before ten are new, so that none is missing.
    let last = records.iter().map(|record| record["data"]["n"].as_u64().unwrap()).max().unwrap();
    assert_eq!(once.len() as u64, last + 1, "and none is missing");
    assert!(last > 30, "{last}");
}

/// A crash between a line and the frame that has its key: the line is kept, and its thing is known by the line's id. The
/// commit log from before the line is what such a crash leaves behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_its_key_is_known_by_its_id() {
    let count = Arc::new(Mutex::new(3_usize));
    let shown = Arc::clone(&count);
    let site = Site::start(move |_| {
        let items = (1..=*shown.lock().unwrap()).map(|number| format!("<li><a href=/item/{number}>{number}</a>"));
        html(items.collect::<String>())
    })
    .await;
    let tap = Tap::new();
    let mut yaml = listed(&json!({ "kind": "scrape", "every": "100ms", "cookies": true }));
    yaml["url"] = json!(format!("http://{}/", site.address));
    tap.source("news", &yaml.to_string());
    let run = |lines: usize| {
        let mut process = tap.start();
        tap.wait_for_lines("news", lines);
        let mut more = 0;
        wait_until("some more pages", PATIENCE, || {
            more += site.asked().len();
            more > 3
        });
        assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    };
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::remove_dir_all(to).ok();
        std::fs::create_dir(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    run(3);
    copy(&tap.data().join(".tapline"), &tap.path("before"));
    *count.lock().unwrap() = 4;
    run(4);
    copy(&tap.path("before"), &tap.data().join(".tapline"));
    run(4);
    assert_eq!(tap.count("news"), 4, "{:?}", tap.lines("news"));
    *count.lock().unwrap() = 5;
    run(5);
    assert_eq!(tap.count("news"), 5, "{:?}", tap.lines("news"));
}
