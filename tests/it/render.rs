//! Pages that a real Chromium draws: what is there only after a script has run, and where scripts may not go.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use data_encoding::BASE64;
use tokio::net::TcpListener;

use crate::manners::serve;
use crate::support::tap::{PATIENCE, Process, Tap, wait_until};

/// A browser takes its time to start where tests run beside each other.
const PATIENCE_WITH_BROWSER: Duration = Duration::from_mins(3);

/// A site whose pages are nothing without their scripts, and what it was asked.
#[derive(Clone, Default)]
struct Site {
    asked: Arc<Mutex<Vec<String>>>,
    /// Where the page's scripts try to go, and must not.
    elsewhere: Arc<Mutex<String>>,
    robots: Arc<Mutex<String>>,
}

async fn answer(State(site): State<Site>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let agent = request.headers().get(header::USER_AGENT).map(|value| value.to_str().unwrap().to_owned());
    let cookie = request.headers().get(header::COOKIE).map(|value| value.to_str().unwrap().to_owned());
    let number = {
        let mut asked = site.asked.lock().unwrap();
        asked.push(format!("{path} {} {}", agent.unwrap_or_default(), cookie.unwrap_or_default()));
        asked.len()
    };
    let elsewhere = site.elsewhere.lock().unwrap().clone();
    let html = |text: String| ([(header::CONTENT_TYPE, "text/html")], text).into_response();
    match path.as_str() {
        "/robots.txt" => site.robots.lock().unwrap().clone().into_response(),
        "/" => {
            let page = html(format!(
                "<!doctype html><title>Shop</title><img src=/pixel.png><p>Price: <b id=price></b></p>\
                 <iframe src=http://{elsewhere}/frame></iframe><script src=/app.js></script>"
            ));
            ([(header::SET_COOKIE, "session=7")], page).into_response()
        }
        "/app.js" => {
            let script = format!(
                "for (const url of ['http://{elsewhere}/fetch', 'http://169.254.169.254/latest']) fetch(url, {{ mode: 'no-cors' }}).catch(() => 0);\
                 new Image().src = 'http://{elsewhere}/image'; new WebSocket('ws://{elsewhere}/socket'); alert('hello');\
                 fetch('/api/price').then(answer => answer.json()).then(it => {{ document.querySelector('#price').textContent = it.price; }});"
            );
            ([(header::CONTENT_TYPE, "text/javascript")], script).into_response()
        }
        "/api/price" => {
            ([(header::CONTENT_TYPE, "application/json")], format!("{{\"price\":\"1,234.{:02}\"}}", number % 100))
                .into_response()
        }
        // A price, and from the tenth request of the site on another page, in red from one end to the other.
        "/breaks" | "/tells" if number < 10 => html("<b id=price>1</b>".into()),
        "/breaks" => html("<body style='margin:0;background:#f00'><script>document.title = 'Sorry'</script>".into()),
        "/tells" => html("<i>hush-hush-token</i>".into()),
        "/endless" => html("<b id=price>1</b><script>for (;;) {}</script>".into()),
        "/never" => html("<b id=price></b>".into()),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

struct Served {
    site: Site,
    address: SocketAddr,
    /// Where nobody may come.
    strangers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Served {
    async fn start() -> Self {
        let site = Site::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(site.clone());
        tokio::spawn(serve(listener, app));
        let other = TcpListener::bind("127.0.0.2:0").await.unwrap();
        *site.elsewhere.lock().unwrap() = other.local_addr().unwrap().to_string();
        let strangers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&strangers);
        tokio::spawn(async move {
            while let Ok((_, from)) = other.accept().await {
                seen.lock().unwrap().push(from);
            }
        });
        Self { site, address, strangers }
    }

    fn asked(&self, path: &str) -> usize {
        self.site.asked.lock().unwrap().iter().filter(|asked| asked.split(' ').next() == Some(path)).count()
    }

    fn source(&self, path: &str, render: &str) -> String {
        format!(
            "kind: scrape\nurl: http://{}{path}\nevery: 1s\nrender: {render}\nuser_agent: tapline-test\nmanners: {{ delay: 1ms }}\n\
             fields:\n  price: {{ css: \"#price\", type: number, locale: en }}\n",
            self.address
        )
    }
}

/// The browsers that a process has started.
fn browsers(process: &Process) -> Vec<u32> {
    children(process.0.id())
}

fn children(pid: u32) -> Vec<u32> {
    let children = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(children).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// All processes that descend from one, as they are now.
fn family(pid: u32) -> Vec<u32> {
    let own = children(pid);
    let more: Vec<u32> = own.iter().flat_map(|child| family(*child)).collect();
    own.into_iter().chain(more).collect()
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_what_a_script_puts_there_is_found_and_goes_nowhere_else() {
    let served = Served::start().await;
    let tap = Tap::new();
    tap.source("shop", &served.source("/", "{ wait_for: \"#price\" }"));
    let mut process = tap.start();
    wait_until("two prices", PATIENCE_WITH_BROWSER, || tap.count("shop") >= 2);
    let pids = browsers(&process);
    assert_eq!(pids.len(), 1, "one browser for all");
    // One that dies is started again.
    assert!(Command::new("kill").args(["-9", &pids[0].to_string()]).status().unwrap().success());
    let before = tap.count("shop");
    wait_until("a price after that", PATIENCE_WITH_BROWSER, || tap.count("shop") > before + 1);
    let pids = browsers(&process);
    process.terminate();
    wait_until("no browser is left behind", PATIENCE, || !pids.iter().any(|pid| is_alive(*pid)));
    for record in tap.records("shop") {
        let price = record["data"]["price"].to_string();
        assert!(price.starts_with("1234."), "{price}");
    }
    assert_eq!(*served.strangers.lock().unwrap(), [], "nobody went where no source may go");
    assert_eq!(served.asked("/pixel.png"), 0, "pictures are not fetched");
    assert!(served.asked("/robots.txt") > 0);
    let asked = served.site.asked.lock().unwrap();
    assert!(asked.iter().all(|asked| asked.contains(" tapline-test ")), "{asked:?}");
    assert!(asked.iter().any(|asked| asked.starts_with("/api/price") && asked.ends_with("session=7")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_obey_robots_and_pages_that_do_not_end_are_given_up() {
    let served = Served::start().await;
    *served.site.robots.lock().unwrap() = "User-agent: *\nDisallow: /api/\n".into();
    let tap = Tap::new();
    tap.source("shop", &served.source("/", "{ wait_for: \"#price\", timeout: 3s }"));
    tap.source("never", &served.source("/never", "{ timeout: 5s }"));
    tap.source("endless", &served.source("/endless", "{ wait_for: \"#price\", timeout: 2s }"));
    let mut process = tap.start();
    wait_until("rejects", PATIENCE_WITH_BROWSER, || {
        tap.count("_rejected/shop") >= 1 && tap.count("_rejected/never") >= 1
    });
    wait_until("the endless page is given up", PATIENCE_WITH_BROWSER, || tap.log().contains("page_not_drawn"));
    process.terminate();
    let reject = tap.records("_rejected/shop")[0]["data"]["reason"].to_string();
    for part in ["`#price` was not there after 3s", "/api/price", "robots.txt"] {
        assert!(reject.contains(part), "{part} in {reject}");
    }
    let never = tap.records("_rejected/never")[0]["data"]["reason"].to_string();
    assert!(!never.contains("was not there"), "a page that asks for nothing more is complete: {never}");
    assert_eq!(served.asked("/api/price"), 0);
}

/// Killed, tapline can put nothing in order: its browser ends by itself, and its folder goes with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_tapline_that_is_killed_leaves_no_browser_behind() {
    let served = Served::start().await;
    let tap = Tap::new();
    tap.source("shop", &served.source("/", "{ wait_for: \"#price\" }"));
    let temp = tap.path("temp");
    fs::create_dir(&temp).unwrap();
    let start = || {
        let mut command = tap.command(&["run"]);
        command.env("TMPDIR", &temp).stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    };
    let folders = || -> Vec<PathBuf> {
        let all = fs::read_dir(&temp).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tapline-browser-")).collect()
    };
    let mut process = start();
    wait_until("a price", PATIENCE_WITH_BROWSER, || tap.count("shop") >= 1);
    let browser = family(process.0.id());
    assert!(browser.len() > 3, "a browser is a family of processes: {browser:?}");
    let left = folders();
    assert_eq!(left.len(), 1, "{left:?}");
    process.kill();
    wait_until("every process of the browser has ended", PATIENCE, || !browser.iter().any(|pid| is_alive(*pid)));
    assert_eq!(folders(), left, "nobody was there to remove it");

    let before = tap.count("shop");
    let mut process = start();
    wait_until("a price after that", PATIENCE_WITH_BROWSER, || tap.count("shop") > before);
    let used = folders();
    assert!(used.len() == 1 && used != left, "{used:?} instead of {left:?}");
    assert_eq!(process.terminate().0, Some(0));
}

/// What the browser showed when a page broke is kept, shown, and never where it could show a secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_is_kept_with_a_picture() {
    let served = Served::start().await;
    let tap = Tap::new();
    tap.source("shop", &served.source("/breaks", "{ timeout: 5s }"));
    let (mut process, address) = crate::web::start(&tap, &[]);
    wait_until("it breaks", PATIENCE_WITH_BROWSER, || tap.count("_changed/shop") >= 1);
    let changed = &tap.records("_changed/shop")[0]["data"];
    assert!(changed["before"][1].as_str().unwrap().contains("id=\"price\""), "{changed}");
    let picture = BASE64.decode(changed["screen"].as_str().unwrap().as_bytes()).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.len() <= 512 << 10, "{}", picture.len());
    let side = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    assert!((300..=1280).contains(&side(16)) && (300..=1024).contains(&side(20)), "{} x {}", side(16), side(20));

    let (_, page) = crate::web::get(address, "/source/shop", &[]);
    let shown = page
        .split("<figure class=\"screen\"><img src=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap()
        .to_owned();
    assert!(shown.starts_with("/source/shop/screen?at=20"), "{shown}");
    tapline::context::install_crypto();
    let answer = reqwest::get(format!("http://{address}{shown}")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.bytes().await.unwrap(), picture);
    assert_eq!(crate::web::get(address, "/source/nobody/screen", &[]).0, 404);
    assert_eq!(process.terminate().0, Some(0));

    let served = Served::start().await;
    let tap = Tap::new();
    let yaml = served.source("/tells", "{ timeout: 5s }") + "headers: { x-token: \"${TELLS}\" }\n";
    tap.source("shop", &yaml);
    let mut command = tap.command(&["run"]);
    command.env("TELLS", "hush-hush-token").stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    wait_until("it breaks", PATIENCE_WITH_BROWSER, || tap.count("_changed/shop") >= 1);
    assert_eq!(process.terminate().0, Some(0));
    let changed = &tap.records("_changed/shop")[0]["data"];
    assert!(changed["screen"].is_null() && changed["after"].as_str().unwrap().contains("<i>${…}</i>"), "{changed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_without_a_browser_it_says_so() {
    let served = Served::start().await;
    let tap = Tap::new();
    tap.source("shop", &served.source("/", "{}"));
    let output =
        tap.command(&["try", tap.path("sources/shop.yaml").to_str().unwrap()]).env("PATH", "").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("no_browser: `render` needs a Chromium") && said.contains("install the package chromium"),
        "{said}"
    );
    tap.source("shop", &served.source("/", "{ browser: \"http://127.0.0.1:1\" }"));
    let output = tap.command(&["try", tap.path("sources/shop.yaml").to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("no_browser: the browser at `render.browser` cannot be reached"), "{said}");
}

/// A browser that somebody else has started.
struct Beside(Child, tempfile::TempDir);

impl Beside {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let find = |name: &str| PathBuf::from("/usr/bin").join(name);
        let program = ["chromium", "google-chrome"].map(find).into_iter().find(|file| file.exists()).unwrap();
        let child = Command::new(program)
            .args(["--headless=new", "--remote-debugging-port=0", "--no-sandbox", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child, folder)
    }

    /// It writes down where it listens.
    fn port(&self) -> String {
        let file = self.1.path().join("DevToolsActivePort");
        wait_until("the browser listens", PATIENCE_WITH_BROWSER, || {
            fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 1)
        });
        fs::read_to_string(file).unwrap().lines().next().unwrap().to_owned()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_a_browser_beside_it_does_as_well() {
    let served = Served::start().await;
    let beside = Beside::start();
    let port = beside.port();
    let tap = Tap::new();
    tap.source(
        "shop",
        &served.source("/", &format!("{{ wait_for: \"#price\", browser: \"http://127.0.0.1:{port}\", timeout: 1m }}")),
    );
    let began = Instant::now();
    let output = tap.command(&["try", tap.path("sources/shop.yaml").to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("outcome  ok") && said.contains("1234."), "{said}; after {:?}", began.elapsed());
    assert_eq!(*served.strangers.lock().unwrap(), [], "nobody went where no source may go");
}
