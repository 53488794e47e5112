//! Telling a person when something breaks: between what is known, the incidents made of it, and those who are told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::alert::{About, Kind, Teller};
use crate::alerts;
use crate::config::{self, Http};
use crate::context::{Context, host_name};
use crate::fs::Fs;
use crate::loaders;
use crate::pipeline::commit::Append;
use crate::pipeline::folder::Files;
use crate::pipeline::incidents::{Incidents, Look, Rules, Told, Unknown};
use crate::pipeline::ledger;
use crate::pipeline::service::Shared;
use crate::pipeline::telling::{ALERTS_KEY, Listener, SavedAlerts, Telling};
use crate::pipeline::writer::{Ended, Status};
use crate::report::alerts::{Words, entry};
use crate::report::committed::{Committed, Running};
use crate::report::conditions::{Declared, conditions, nearly_full, of_service};
use crate::report::source::File;
use crate::units::Size;

use super::parts::Parts;

/// How often it is looked at what is wrong: each second, or where an incident takes long to become one, less often.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(5);
const LOOKS: u32 = 10;

/// A writer that does not answer for so long waits for the disk; for the longer time, it hangs.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const SILENT_MAX: Duration = Duration::from_mins(1);

/// What is told is saved before, unless that takes longer: of a disk that is full somebody must hear.
const SAVE_MAX: Duration = Duration::from_secs(2);

/// How long the process stays, when its disk has failed, to say so.
const LAST_WORDS_MAX: Duration = Duration::from_secs(10);

/// How much of a folder's identity stands in the ids of its messages.
const MARK_LEN: usize = 6;

/// What incidents are made from, and where they are saved.
#[async_trait]
pub trait World: Send {
    /// What is wrong now.
    ///
    /// # Errors
    /// When there is nobody left who would know.
    async fn look(&mut self, incidents: &Incidents) -> Result<Look, Ended>;

    /// Saves how it stands, with entries for the ledger. Returns whether it was taken; it need not be durable if that takes
    /// too long.
    ///
    /// # Errors
    /// When nothing is saved any more.
    async fn save(&mut self, saved: &SavedAlerts, entries: &[Value]) -> Result<bool, Ended>;

    /// Ready once the service has ended by itself.
    async fn ended(&mut self);
}

/// Looks, decides, saves, and has people told.
pub struct Alerting<W> {
    world: W,
    words: Words,
    rules: Rules,
    context: Context,
    saved: SavedAlerts,
    telling: Telling,
    every: Duration,
    /// Entries of the ledger that are not saved yet.
    entries: Vec<Value>,
}

impl<W: World> Alerting<W> {
    /// Goes on where it was `saved`, and looks `every` so often.
    pub fn new(
        world: W,
        words: Words,
        rules: Rules,
        mut saved: SavedAlerts,
        listeners: Vec<Listener>,
        context: Context,
        every: Duration,
    ) -> Self {
        saved.outbox.set_places(listeners.iter().map(|listener| listener.name.as_str()));
        let telling = Telling::start(listeners, &saved.outbox, &context);
        telling.publish(&saved.outbox);
        Self { world, words, rules, context, saved, telling, every, entries: Vec::new() }
    }

    /// Goes on until `stop`, or until the service ends by itself, which is told.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = interval(self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.world.ended() => Err(Ended),
                heard = self.telling.heard() => {
                    self.saved.outbox.heard(&heard, self.context.now());
                    self.save().await
                }
                _ = looks.tick() => self.look().await,
            };
            if done.is_err() {
                if !stop.is_cancelled() {
                    self.say_stopped().await;
                }
                break;
            }
        }
        self.telling.stop().await;
    }

    async fn look(&mut self) -> Result<(), Ended> {
        let look = self.world.look(&self.saved.incidents).await?;
        let told = self.saved.incidents.look(&look, &self.rules);
        for told in &told {
            self.post(told, look.now);
        }
        let is_changed = self.saved.incidents.take_changed();
        if is_changed || !self.entries.is_empty() {
            self.save().await?;
        }
        self.telling.publish(&self.saved.outbox);
        Ok(())
    }

    fn post(&mut self, told: &Told, now: DateTime<Utc>) {
        let message = self.words.message(told, self.saved.outbox.next(), now);
        self.entries.push(entry(told, &message));
        self.saved.outbox.post(message);
    }

    async fn save(&mut self) -> Result<(), Ended> {
        if self.world.save(&self.saved, &self.entries).await? {
            self.entries.clear();
        }
        Ok(())
    }

    /// The service ends by itself: nothing can be saved any more, but told.
    async fn say_stopped(&mut self) {
        let now = self.context.now();
        let why = "nothing can be written any more, so the process ends; its log says why".to_owned();
        let about = vec![About { name: String::new(), since: now, why, missed: None }];
        self.post(&Told::happened(Kind::Stopped, about, now), now);
        self.telling.publish(&self.saved.outbox);
        let told = async {
            while self.saved.outbox.places().any(|(_, _, waiting)| waiting > 0) {
                let heard = self.telling.heard().await;
                self.saved.outbox.heard(&heard, now);
            }
        };
        // Who cannot be reached by then does not keep the process.
        timeout(LAST_WORDS_MAX, told).await.ok();
    }
}

/// The alerts of a running service.
#[derive(Default)]
pub struct Alerts {
    files: watch::Sender<Files>,
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Alerts {
    /// Nobody is told yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to tell those whom the settings name.
    ///
    /// # Errors
    /// When a destination cannot be made, or the writer has ended.
    pub async fn start(&mut self, parts: &Parts, sources: &Path) -> anyhow::Result<()> {
        let settings = &parts.shared.settings;
        if settings.alerts.is_empty() || parts.shared.once {
            return Ok(());
        }
        let shared = parts.shared.clone();
        let listeners = listeners(settings, &shared.context)?;
        let state = shared.writer.state(ALERTS_KEY).await?;
        let saved = SavedAlerts::read(&state);
        let words = words(settings, &shared.folder_id().await?, sources);
        let mut files = self.files.subscribe();
        // They have been looked at before.
        files.mark_changed();
        let world = ServiceWorld {
            fs: Arc::clone(&parts.fs),
            root: parts.root.clone(),
            files,
            known: Arc::default(),
            declared: declared(settings, &shared.context)?,
            since: shared.context.now(),
            silent: None,
            shared: shared.clone(),
        };
        let rules = Rules::from(&settings.incidents);
        let every = (settings.incidents.after.0 / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        let alerting = Alerting::new(world, words, rules, saved, listeners, shared.context, every);
        self.task = Some(tokio::spawn(alerting.run(self.stop.clone())));
        Ok(())
    }

    /// The files of the sources have been looked at.
    pub fn set_files(&self, files: Files) {
        self.files.send_replace(files);
    }

    /// Ends it. A service that was not told to end gets the time to say so.
    pub async fn stop(self, was_told: bool) {
        if was_told {
            self.stop.cancel();
        }
        if let Some(task) = self.task {
            task.await.ok();
        }
    }
}

/// Those who are told.
///
/// # Errors
/// When a destination cannot be made.
pub fn listeners(settings: &config::Service, context: &Context) -> anyhow::Result<Vec<Listener>> {
    let open = |alert| {
        let opened = alerts::open(alert, context).map_err(|(key, why)| why.context(format!("alerts: {key}")))?;
        let alerts::Opened { name, shown, only, timeout, destination, .. } = opened;
        Ok(Listener { name, shown, only, timeout, destination })
    };
    settings.alerts.iter().map(open).collect()
}

/// What messages have in common.
pub fn words(settings: &config::Service, folder: &str, sources: &Path) -> Words {
    let name = settings.incidents.name.clone().unwrap_or_else(host_name);
    let page = match &settings.http {
        Http::On(keys) if keys.listen.port() != 0 => {
            let ip = keys.listen.ip();
            let host = match keys.hosts.first() {
                Some(host) => host.clone(),
                None if ip.is_unspecified() => host_name(),
                None if ip.is_ipv6() => format!("[{ip}]"),
                None => ip.to_string(),
            };
            Some(format!("http://{host}:{}", keys.listen.port()))
        }
        _ => None,
    };
    let teller = Teller { name, data: settings.data.display().to_string(), page };
    Words { teller, mark: folder.chars().take(MARK_LEN).collect(), sources: sources.display().to_string() }
}

/// The loaders that the settings declare.
fn declared(settings: &config::Service, context: &Context) -> anyhow::Result<Arc<[Declared]>> {
    let of = |config: &config::Load| {
        let opened = loaders::open(&config.to, context)?;
        let rotate = TimeDelta::from_std(settings.rotate.every.0).unwrap_or_default();
        let waits = if opened.kind.limits.closed { rotate } else { TimeDelta::zero() };
        Ok(Declared { name: config.name.clone().unwrap_or(opened.name).into(), waits })
    };
    settings.loaders.iter().map(of).collect()
}

/// The service that runs here.
struct ServiceWorld {
    shared: Shared,
    fs: Arc<dyn Fs>,
    root: PathBuf,
    files: watch::Receiver<Files>,
    /// The same, as they are looked at.
    known: Arc<BTreeMap<String, File>>,
    declared: Arc<[Declared]>,
    /// When the service began.
    since: DateTime<Utc>,
    /// Since when the writer does not answer.
    silent: Option<Instant>,
}

impl ServiceWorld {
    fn is_full(&self) -> bool {
        *self.shared.writer.status().borrow() == Status::Full
    }

    /// What can be said when there is no room: of everything else nothing is known.
    fn full(&self, mut look: Look) -> Look {
        let free = self.fs.free(&self.root).map_or_else(|_| "no room".to_owned(), |free| Size(free).to_string());
        let least = self.shared.settings.limits.disk_free;
        let why = format!("{free} free, and limits.disk_free keeps {least}");
        look.holds.push(of_service(Kind::DiskFull, why));
        look.unknown.all = true;
        look
    }

    /// With less free than this the disk is nearly full.
    fn least(&self) -> u64 {
        let settings = &self.shared.settings;
        settings.incidents.disk_free.0.max(settings.limits.disk_free.0.saturating_mul(2))
    }
}

#[async_trait]
impl World for ServiceWorld {
    async fn look(&mut self, incidents: &Incidents) -> Result<Look, Ended> {
        let now = self.shared.context.now();
        let mut look = Look { now, holds: self.shared.take_damage(), unknown: Unknown::default() };
        if self.is_full() {
            return Ok(self.full(look));
        }
        let Ok(state) = timeout(ANSWER_MAX, self.shared.writer.state("")).await else {
            if self.is_full() {
                return Ok(self.full(look));
            }
            look.unknown.all = true;
            if self.silent.get_or_insert_with(Instant::now).elapsed() >= SILENT_MAX {
                look.holds.push(of_service(Kind::Stalled, "the disk does not answer: nothing is written"));
            }
            return Ok(look);
        };
        self.silent = None;
        if self.files.has_changed().unwrap_or(false) {
            let files = Arc::clone(&self.files.borrow_and_update());
            self.known = Arc::new(files.iter().map(|(name, found)| (name.clone(), File::found(found))).collect());
        }
        let running = Running { pid: Some(std::process::id()), since: Some(self.since) };
        let committed = Committed::of(Arc::clone(&self.fs), &self.root, state?, Some(running), now);
        let (known, declared) = (Arc::clone(&self.known), Arc::clone(&self.declared));
        let (least, is_open) = (self.least(), incidents.is_open(Kind::DiskNearlyFull, ""));
        let looked = spawn_blocking(move || {
            let room = committed.free().ok().and_then(|free| nearly_full(free, least, is_open));
            let (mut found, unknown) = conditions(&committed, &known, &declared);
            found.extend(room);
            (found, unknown)
        });
        let Ok((found, unknown)) = looked.await else {
            look.unknown.all = true;
            return Ok(look);
        };
        look.holds.extend(found);
        look.unknown = unknown;
        Ok(look)
    }

    async fn save(&mut self, saved: &SavedAlerts, entries: &[Value]) -> Result<bool, Ended> {
        let mut lines = Vec::new();
        for data in entries {
            self.shared.ledger.line_of("alert", data, &mut lines);
        }
        let lines = if lines.is_empty() { Vec::new() } else { vec![(ledger::STREAM.into(), lines)] };
        let saved = to_raw_value(saved).expect("invariant: our own types have a JSON form");
        let append = Append { lines, state: vec![(ALERTS_KEY.to_owned(), Some(saved))] };
        let Ok(taken) = timeout(SAVE_MAX, self.shared.writer.append(append)).await else { return Ok(false) };
        taken?;
        // What takes longer is durable later, or told again.
        timeout(SAVE_MAX, self.shared.writer.flush()).await.unwrap_or(Ok(()))?;
        Ok(true)
    }

    async fn ended(&mut self) {
        self.shared.writer.status().wait_for(|status| *status == Status::Ended).await.ok();
    }
}
