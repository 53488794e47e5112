//! The filtered stream of the X API v2.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::XStream;
use super::client::{Ask, Client, Failure};
use super::frames::{Frame, Frames};
use super::jobs::{Found, Running, Tools, again_after, text};
use super::message::Message;
use super::posts::Posts;
use super::recover::{Interval, Job, plan};
use super::rules::Existing;
use crate::cursor::Cursor;
use crate::fetch::live::Live;
use crate::item::Reject;
use crate::source::{Batch, Note, Outcome, Source, SourceError};

const STREAM: &str = "/2/tweets/search/stream";

/// A post made this long after the connection says that the backfill before it is over: posts come seven seconds late.
const BACKFILL_OVER: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

/// How long after a connection is there a post may be missing from it.
const CONNECTING: chrono::TimeDelta = chrono::TimeDelta::seconds(1);

/// How often it is looked whether somebody has made rules.
const NO_RULES: Duration = Duration::from_mins(1);

/// Where the source stands: the cursor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    /// Until then nothing is missing that could be had.
    pub(super) heard_at: Option<DateTime<Utc>>,
    /// What is still to be got.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<Job>,
    /// The ids of the rules that this source has declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) own_rules: Vec<String>,
}

/// The `Authorization` of a bearer token.
pub(super) fn bearer(token: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or(HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// The source.
pub(super) struct V2 {
    pub(super) settings: XStream,
    pub(super) client: Client,
    pub(super) token: Option<String>,
    pub(super) place: Option<Place>,
    /// The account's rules are as the YAML says.
    pub(super) reconciled: bool,
    /// The account's rules, once they are known.
    pub(super) rules: Vec<Existing>,
    pub(super) notes: Vec<Note>,
    body: Option<Live>,
    frames: Frames,
    /// What the connection is replaying.
    backfilling: Option<Interval>,
    job: Option<Running>,
    /// What the next call says: how the connection ended, after what came before.
    ending: Option<SourceError>,
}

#[async_trait]
impl Source for V2 {
    async fn connect(&mut self, cursor: Option<&Cursor>) -> Result<(), SourceError> {
        self.body = None;
        self.ending = None;
        if self.place.is_none() {
            self.place = Some(cursor.and_then(|cursor| cursor.read().ok()).unwrap_or_default());
        }
        let mut minted = false;
        loop {
            match self.try_connect().await {
                // The token may have been made invalid: another is asked for once.
                Err(failure)
                    if failure.status() == Some(StatusCode::UNAUTHORIZED) && !minted && self.forget_token() =>
                {
                    minted = true;
                }
                Err(failure) => return Err(self.refused(failure)),
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        if let Some(error) = self.ending.take() {
            self.body = None;
            return Err(error);
        }
        self.start_job();
        let Some(body) = &mut self.body else { return Err(SourceError::Lost(anyhow::anyhow!("not connected"))) };
        let found = async {
            match &mut self.job {
                Some(job) => job.found.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = body.read() => match read {
                Ok(Some(bytes)) => {
                    self.frames.push(bytes);
                    Ok(self.take_frames())
                }
                Ok(None) => self.ended(),
                Err(error) => self.broke(error),
            },
            found = found => Ok(self.take_found(found)),
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        Cursor::new(self.place.as_ref()?).ok()
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}

impl V2 {
    pub(super) fn new(settings: XStream, client: Client) -> Self {
        Self {
            token: settings.auth.bearer.clone(),
            settings,
            client,
            place: None,
            reconciled: false,
            rules: Vec::new(),
            notes: Vec::new(),
            body: None,
            frames: Frames::default(),
            backfilling: None,
            job: None,
            ending: None,
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.client.context().now()
    }

    pub(super) fn place(&mut self) -> &mut Place {
        self.place.get_or_insert_default()
    }

    async fn try_connect(&mut self) -> Result<(), Failure> {
        self.mint().await.map_err(Failure::Error)?;
        if !self.reconciled {
            self.reconcile().await?;
            self.note_usage().await;
        }
        let asked_at = self.now();
        let recovery = self.place().heard_at.map(|from| {
            let missed = Interval { from, to: asked_at };
            plan(missed, &self.settings.recover)
        });
        let recovery = recovery.unwrap_or_default();
        let mut query = self.settings.parameters();
        query.extend(recovery.backfill_minutes.map(|minutes| ("backfill_minutes".into(), minutes.to_string())));
        let ask = self.ask(Method::GET, STREAM, &query);
        let idle = self.settings.idle();
        let body = self.client.stream(ask, idle).await?;
        self.frames = Frames::default();
        self.body = Some(body);
        self.backfilling = recovery.backfilled;
        let now = self.now();
        // What the connection replays is not had before it is: until then the place stays where it was.
        let is_replaying = recovery.backfilled.is_some();
        let place = self.place();
        for mut job in recovery.jobs {
            // What came while the connection was made may have been missed too. What comes twice is dropped by its id.
            if job.interval.to == asked_at {
                job.interval.to = now + CONNECTING;
            }
            add(&mut place.jobs, job);
        }
        place.heard_at = if is_replaying { recovery.backfilled.map(|interval| interval.from) } else { Some(now) };
        Ok(())
    }

    pub(super) fn ask<'a>(&self, method: Method, path: &'a str, query: &'a [(String, String)]) -> Ask<'a> {
        let authorization = bearer(self.token.as_deref().unwrap_or_default());
        Ask { method, path, query, authorization, body: None }
    }

    async fn mint(&mut self) -> Result<(), SourceError> {
        let auth = &self.settings.auth;
        if let (None, Some(key), Some(secret)) = (&self.token, &auth.consumer_key, &auth.consumer_secret) {
            self.token = Some(self.client.mint(key, secret).await?);
        }
        Ok(())
    }

    /// Whether another token can be had.
    fn forget_token(&mut self) -> bool {
        let can_mint = self.settings.auth.consumer_key.is_some();
        if can_mint {
            self.token = None;
        }
        can_mint
    }

    fn refused(&mut self, failure: Failure) -> SourceError {
        if let Failure::Refused(refusal) = &failure
            && refusal.is_without_rules()
        {
            // Somebody may have deleted them.
            self.reconciled = false;
            if self.rules.is_empty() {
                let cause = anyhow::anyhow!("{STREAM}: the account has no rules: add `rules`, or make some elsewhere");
                return SourceError::Throttled { wait: NO_RULES, cause };
            }
        }
        failure.into_error(STREAM, self.client.context())
    }

    /// Makes a batch of every message that is whole.
    fn take_frames(&mut self) -> Batch {
        let mut batch = Batch::default();
        let posts = Posts { flatten: self.settings.flatten };
        let now = self.client.context().now();
        while let Some(frame) = self.frames.next() {
            let bytes = match frame {
                Frame::KeepAlive => {
                    // Nothing is on its way.
                    note_backfilled(&mut self.backfilling, now, &mut self.notes);
                    continue;
                }
                Frame::TooLong(len, head) => {
                    let why = format!("the message is too long: {len} bytes");
                    batch.rejects.push(Reject::new(Outcome::Invalid, None, why, &String::from_utf8_lossy(head)));
                    continue;
                }
                Frame::Message(bytes) => bytes,
            };
            match posts.read(bytes) {
                Ok((items, message)) => {
                    match message {
                        Message::Post { created_at, .. } => {
                            let is_over =
                                |interval: &Interval| created_at.is_some_and(|at| at > interval.to + BACKFILL_OVER);
                            if self.backfilling.as_ref().is_some_and(is_over) {
                                note_backfilled(&mut self.backfilling, now, &mut self.notes);
                            }
                        }
                        Message::Disconnect(why) => {
                            self.notes.push(Note::new("control", json!({ "why": why, "ends": true })));
                            self.ending = Some(SourceError::Lost(anyhow::anyhow!("X ended the stream: {why}")));
                            if why.starts_with("InvalidRules") || why.starts_with("ClientApplicationStateDegraded") {
                                self.reconciled = false;
                            }
                        }
                        Message::Notice(why) => {
                            self.notes.push(Note::new("control", json!({ "why": why, "ends": false })));
                        }
                        Message::Unknown => {}
                    }
                    batch.items.extend(items);
                }
                Err(reject) => batch.rejects.extend(posts.in_pieces(bytes, &mut batch.items).err().map(|()| reject)),
            }
        }
        if self.backfilling.is_none() {
            self.place().heard_at = Some(now);
        }
        batch.cursor = self.cursor();
        batch
    }

    /// The body has ended. What there is of a message is kept as a reject: it will not come again.
    fn ended(&mut self) -> Result<Batch, SourceError> {
        self.broke(SourceError::Lost(anyhow::anyhow!("X closed the connection")))
    }

    fn broke(&mut self, error: SourceError) -> Result<Batch, SourceError> {
        self.body = None;
        let rest = self.frames.rest();
        if rest.is_empty() {
            return Err(error);
        }
        let raw = String::from_utf8_lossy(rest).into_owned();
        self.frames = Frames::default();
        self.ending = Some(error);
        let reject = Reject::new(Outcome::Invalid, None, "the connection ended in the middle of this message", &raw);
        Ok(Batch { rejects: vec![reject], ..Batch::default() })
    }

    /// Starts the next job that waits.
    fn start_job(&mut self) {
        if self.job.is_some() {
            return;
        }
        let Some(job) = self.place().jobs.first().cloned() else { return };
        // One that failed waits longer each time; the first time it starts at once.
        let wait = if job.failures == 0 { Duration::ZERO } else { Duration::from_secs(15 << job.failures.min(6)) };
        let tools = Tools {
            client: self.client.clone(),
            token: self.token.clone().unwrap_or_default(),
            parameters: self.settings.parameters(),
            posts: Posts { flatten: self.settings.flatten },
            idle: self.settings.idle(),
            rules: self.rules.clone(),
        };
        self.job = Some(Running::start(tools, job, wait));
    }

    fn take_found(&mut self, found: Option<Found>) -> Batch {
        let mut batch = Batch::default();
        match found {
            Some(Found::Some { items, rejects, job }) => {
                (batch.items, batch.rejects) = (items, rejects);
                if let Some(first) = self.place().jobs.first_mut() {
                    *first = job;
                }
            }
            Some(Found::All) => {
                self.job = None;
                let job = self.place().jobs.remove(0);
                self.notes.push(Note::filled(job.interval.from, job.interval.to, way(&job)));
            }
            // A task that panicked says nothing.
            None => self.job_failed(&SourceError::Lost(anyhow::anyhow!("the recovery broke off"))),
            Some(Found::Failed(error)) => self.job_failed(&error),
        }
        batch.cursor = self.cursor();
        batch
    }

    fn job_failed(&mut self, error: &SourceError) {
        self.job = None;
        let job = &mut self.place().jobs[0];
        job.failures += 1;
        let (job, again) = (job.clone(), again_after(job, error).is_some());
        let why = std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{cause:#}"));
        let Interval { from, to } = job.interval;
        let data = json!({ "from": text(from), "to": text(to), "by": way(&job), "why": why, "again": again });
        self.notes.push(Note::new("not_filled", data));
        if !again {
            self.place().jobs.remove(0);
        }
    }
}

/// Adds a job. While one waits, what borders on it is added to that, so that a connection that breaks all the time does
/// not leave hundreds. The first may be running.
fn add(jobs: &mut Vec<Job>, job: Job) {
    match jobs.iter_mut().skip(1).find(|known| known.by == job.by && known.interval.to >= job.interval.from) {
        Some(known) => known.interval.to = known.interval.to.max(job.interval.to),
        None => jobs.push(job),
    }
}

fn way(job: &Job) -> &'static str {
    match job.by {
        super::settings::Recover::Window => "recovery",
        super::settings::Recover::Search => "search",
        super::settings::Recover::Backfill => "backfill",
    }
}

/// The replay is over, and with it all is there that came before `now`.
fn note_backfilled(backfilling: &mut Option<Interval>, now: DateTime<Utc>, notes: &mut Vec<Note>) {
    notes.extend(backfilling.take().map(|interval| Note::filled(interval.from, now, "backfill")));
}
