//! Pages whose content exists only after their scripts have run: a Chromium draws them, over its protocol for tools.
//!
//! The browser never goes to the network itself: its proxy is an address where nobody answers. What the page asks for is
//! held up, fetched by the source's own fetcher, and handed to the browser. So robots.txt, the gate of each host, and the rule
//! where a source may connect to hold for scripts as they do for pages, and a page cannot make the browser reach into a
//! private network. Images, fonts and films are not fetched at all.

mod browser;
mod folder;
mod serve;
mod wire;

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use self::browser::{Browsers, Seat};
use self::serve::{Paused, Served};
use self::wire::{Event, Wire};
use super::css::Css;
use crate::context::{Context, shown_url};
use crate::fetch::{Body, Fetcher, Request};
use crate::source::Problem;
use crate::units::Span;

/// How often a page is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Without `wait_for`, a page is complete when it has asked for nothing for so long.
const IDLE: Duration = Duration::from_millis(500);
/// How much of a page a picture shows, in CSS pixels.
const PICTURE_WIDTH_MAX: f64 = 1280.0;
const PICTURE_HEIGHT_MAX: f64 = 1024.0;
/// A larger picture is made anew at a smaller scale, and one that is too large at the last is left out.
const PICTURE_BYTES_MAX: usize = 512 << 10;
const PICTURE_SCALES: [f64; 3] = [1.0, 0.5, 0.25];
/// How long it may take.
const PICTURE_TIME_MAX: Duration = Duration::from_secs(5);
/// Nothing listens there: the browser is to reach nothing by itself.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A page that needs a browser.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Render {
    /// A CSS selector: the page is taken once this is there, and not empty. Without it, once the page asks for nothing more.
    #[serde(default)]
    pub wait_for: Option<String>,
    /// How long the page may take, once its HTML is there; 20s by default. Then it is taken as it is.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// A browser beside tapline, as `http://chromium:9222`. Without it one of this machine is started.
    #[serde(default)]
    pub browser: Option<String>,
}

fn default_timeout() -> Span {
    Span(Duration::from_secs(20))
}

impl Render {
    /// What is wrong with it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(Err(message)) = self.wait_for.as_deref().map(Css::new) {
            problems.push(Problem::new(["render", "wait_for"], message));
        }
        if self.timeout.0 < Duration::from_secs(1) || self.timeout.0 > Duration::from_mins(2) {
            problems.push(Problem::new(["render", "timeout"], "from 1s to 2m"));
        }
        let is_browser = |address: &str| {
            let is_known = ["http://", "ws://"].iter().any(|scheme| address.starts_with(scheme));
            is_known && url::Url::parse(address).is_ok_and(|url| url.has_host())
        };
        if self.browser.as_deref().is_some_and(|address| !is_browser(address)) {
            let message = "a browser is written as http://chromium:9222 or ws://…; it has no password, so keep its port closed to others";
            problems.push(Problem::new(["render", "browser"], message));
        }
        problems
    }
}

/// A page that a browser has drawn. It is still open, so that it can be looked at, and closed when this is dropped.
pub(super) struct Drawing {
    /// What went wrong meanwhile, in words.
    pub(super) words: Option<String>,
    tab: Tab,
    _seat: Seat,
}

/// The page as it is after its scripts have run.
///
/// # Errors
/// When there is no browser, or it breaks off.
pub(super) async fn page(
    render: &Render,
    body: Body,
    request: &Request,
    fetcher: &mut Fetcher,
    context: &Context,
) -> anyhow::Result<(Body, Drawing)> {
    let browsers = context.shared::<Browsers>();
    let seat = browsers.seat(render.browser.as_deref()).await?;
    let tab = Tab::open(&seat, request).await?;
    let (paused, queue) = mpsc::channel(serve::REQUESTS_MAX);
    let served = Served::new(&body, request)?;
    let deadline = Instant::now() + render.timeout.0;
    let drawn = tokio::select! {
        drawn = tab.draw(render, &body.url, &served, &paused, deadline) => drawn?,
        () = serve::all(&served, queue, fetcher, &tab.wire, &tab.session) => unreachable!("invariant: its queue is open"),
    };
    if drawn.html.len() as u64 > request.body_max {
        let limit = bytesize::ByteSize(request.body_max);
        return Err(anyhow!("body_too_large: the page has more than {limit} when drawn; allow more with `max_body`"));
    }
    let words = [drawn.late, served.failures()].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let body = Body {
        bytes: drawn.html.into_bytes(),
        codings: Vec::new(),
        content_type: Some("text/html; charset=utf-8".into()),
        validator: None,
        ..body
    };
    let words = (!words.is_empty()).then_some(words);
    Ok((body, Drawing { words, tab, _seat: seat }))
}

impl Drawing {
    /// What the browser shows of the page's beginning: a PNG in base 64. `None` where it cannot say. No page is worth a
    /// failure here, because a picture is for people only.
    pub(super) async fn picture(&self) -> Option<String> {
        timeout(PICTURE_TIME_MAX, self.tab.picture()).await.ok()?.inspect_err(|error| tracing::debug!("{error:#}")).ok()
    }
}

/// What became of a page.
struct Drawn {
    html: String,
    /// What was not there in time.
    late: Option<String>,
}

/// One page in the browser, with cookies and storage of its own. It is closed when it is dropped.
struct Tab {
    wire: Wire,
    /// The browser's word for what keeps its cookies apart.
    realm: String,
    session: String,
    events: tokio::sync::Mutex<mpsc::Receiver<Event>>,
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.wire.forget(&self.session);
        let (wire, realm) = (self.wire.clone(), std::mem::take(&mut self.realm));
        tokio::spawn(async move {
            let done = wire.command(None, "Target.disposeBrowserContext", json!({ "browserContextId": realm }));
            // A browser that is gone has closed it.
            done.await.ok();
        });
    }
}

impl Tab {
    async fn open(seat: &Seat, request: &Request) -> anyhow::Result<Self> {
        let wire = seat.wire.clone();
        let text = |value: &Value, key: &str| {
            let text = value.get(key).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("browser_refused: its answer has no `{key}`"))
        };
        let realm = json!({ "disposeOnDetach": true, "proxyServer": NOWHERE, "proxyBypassList": "<-loopback>" });
        let realm = text(&wire.command(None, "Target.createBrowserContext", realm).await?, "browserContextId")?;
        let mut tab = Self { wire, realm, session: String::new(), events: tokio::sync::Mutex::new(mpsc::channel(1).1) };
        let root = |method, params| tab.wire.command(None, method, params);
        root("Browser.setDownloadBehavior", json!({ "behavior": "deny", "browserContextId": tab.realm })).await?;
        let target = json!({ "url": "about:blank", "browserContextId": tab.realm });
        let target = text(&root("Target.createTarget", target).await?, "targetId")?;
        let attached = root("Target.attachToTarget", json!({ "targetId": target, "flatten": true })).await?;
        tab.session = text(&attached, "sessionId")?;
        *tab.events.get_mut() = tab.wire.listen(&tab.session);
        let agent = request.user_agent.to_str().unwrap_or_default();
        tab.command("Network.setUserAgentOverride", json!({ "userAgent": agent })).await?;
        tab.command("Page.enable", json!({})).await?;
        tab.command("Fetch.enable", json!({ "patterns": [{ "urlPattern": "*" }] })).await?;
        Ok(tab)
    }

    async fn command(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.wire.command(Some(&self.session), method, params).await
    }

    /// Lets the browser draw the page, until it is complete or the time is over.
    async fn draw(
        &self,
        render: &Render,
        url: &url::Url,
        served: &Served,
        paused: &mpsc::Sender<Paused>,
        deadline: Instant,
    ) -> anyhow::Result<Drawn> {
        let mut events = self.events.lock().await;
        let navigate = self.command("Page.navigate", json!({ "url": url.as_str() }));
        let mut navigate = std::pin::pin!(navigate);
        let mut has_answered = false;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => {
                    let event = event.ok_or_else(|| anyhow!("browser_gone: the page was closed, or did more than can be followed"))?;
                    self.take(event, served, paused).await?;
                }
                answer = &mut navigate, if !has_answered => {
                    has_answered = true;
                    if let Some(error) = answer?.get("errorText").and_then(Value::as_str) {
                        return Err(anyhow!("page_not_drawn: the browser cannot show {}: {error}", shown_url(url)));
                    }
                }
                _ = looks.tick(), if has_answered => {
                    let is_late = Instant::now() >= deadline;
                    if is_late || self.is_complete(render, served, deadline).await? {
                        return self.html(render, is_late).await;
                    }
                }
                () = tokio::time::sleep_until(deadline), if !has_answered => {
                    return Err(anyhow!("page_not_drawn: the browser did not show the page in {}", humantime::format_duration(render.timeout.0)));
                }
            }
        }
    }

    async fn take(&self, event: Event, served: &Served, paused: &mpsc::Sender<Paused>) -> anyhow::Result<()> {
        match event.method.as_str() {
            "Fetch.requestPaused" => {
                let Some(request) = Paused::read(&event.params) else { return Ok(()) };
                served.began();
                if served.is_wanted(&request) && paused.try_send(request.clone()).is_ok() {
                    return Ok(());
                }
                served.ended();
                self.wire.command(Some(&self.session), "Fetch.failRequest", request.refusal("BlockedByClient")).await?;
            }
            // Somebody would have to click it away.
            "Page.javascriptDialogOpening" => {
                self.command("Page.handleJavaScriptDialog", json!({ "accept": false })).await.ok();
            }
            "Inspector.targetCrashed" => {
                return Err(anyhow!(
                    "page_not_drawn: the page has crashed the browser's process; it may need too much memory"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    async fn is_complete(&self, render: &Render, served: &Served, deadline: Instant) -> anyhow::Result<bool> {
        let question = match &render.wait_for {
            Some(css) => format!(
                "(() => {{ const e = document.querySelector({}); return !!e && (e.textContent.trim() !== '' || e.children.length > 0 || !!e.value); }})()",
                Value::String(css.clone())
            ),
            None if served.is_idle_for(IDLE) => "document.readyState === 'complete'".into(),
            None => return Ok(false),
        };
        // A script that never ends lets nothing be asked.
        let asked = timeout_at(deadline, self.evaluate(&question)).await;
        asked.map_or(Ok(false), |answer| Ok(answer? == Value::Bool(true)))
    }

    async fn html(&self, render: &Render, is_late: bool) -> anyhow::Result<Drawn> {
        let question = "(document.doctype ? '<!doctype html>' : '') + document.documentElement.outerHTML";
        let at_most = Instant::now() + Duration::from_secs(5);
        let html = timeout_at(at_most, self.evaluate(question)).await;
        let html = html.map_err(|_| anyhow!("page_not_drawn: a script of the page does not end"))??;
        let Value::String(html) = html else { return Err(anyhow!("browser_refused: it gives no HTML")) };
        let late = is_late.then(|| {
            let time = humantime::format_duration(render.timeout.0);
            match &render.wait_for {
                Some(css) => format!("`{css}` was not there after {time}"),
                None => format!("the page still asked for more after {time}"),
            }
        });
        Ok(Drawn { html, late })
    }

    async fn picture(&self) -> anyhow::Result<String> {
        let metrics = self.command("Page.getLayoutMetrics", json!({})).await?;
        let side = |name: &str, most: f64| {
            let found = metrics.pointer(&format!("/cssLayoutViewport/{name}")).and_then(Value::as_f64);
            found.filter(|pixels| *pixels >= 1.0).map_or(most, |pixels| pixels.min(most))
        };
        let (width, height) = (side("clientWidth", PICTURE_WIDTH_MAX), side("clientHeight", PICTURE_HEIGHT_MAX));
        for scale in PICTURE_SCALES {
            let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": scale });
            let picture = self.command("Page.captureScreenshot", json!({ "format": "png", "clip": clip })).await?;
            let picture =
                picture.get("data").and_then(Value::as_str).context("browser_refused: it gives no picture")?;
            // Four letters are three bytes.
            if picture.len() / 4 * 3 <= PICTURE_BYTES_MAX {
                return Ok(picture.to_owned());
            }
        }
        Err(anyhow!("the picture of a page has more than {}", bytesize::ByteSize(PICTURE_BYTES_MAX as u64)))
    }

    async fn evaluate(&self, expression: &str) -> anyhow::Result<Value> {
        let answer =
            self.command("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true })).await?;
        Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
    }
}
