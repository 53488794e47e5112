//! Getting what was missed, beside the stream: a window replayed on a connection of its own, or recent search.
//!
//! A job runs as a task and hands over what it finds through a short queue, so that it is never ahead of what is
//! written by more than that. It ends with its task when the adapter is dropped; the cursor tells where it was.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{Ask, Client};
use super::frames::{Frame, Frames};
use super::message::{Message, id_at, time_of};
use super::posts::Posts;
use super::recover::{Job, SETTLED, times};
use super::rules::Existing;
use super::settings::Recover;
use super::v2::bearer;
use crate::item::{Item, Reject};
use crate::source::SourceError;

/// How much may wait between a job and the writer.
const QUEUE: usize = 4;

/// The most posts on a page of search.
const PAGE: &str = "100";

/// What a job hands over.
pub(super) enum Found {
    /// Some of what was missed, and the job as it stands after it.
    Some { items: Vec<Item>, rejects: Vec<Reject>, job: Job },
    /// That was all.
    All,
    /// It cannot go on.
    Failed(SourceError),
}

/// A job that runs.
pub(super) struct Running {
    pub(super) found: mpsc::Receiver<Found>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What every job needs.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) client: Client,
    pub(super) token: String,
    /// Fields and expansions, as for the stream.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) posts: Posts,
    pub(super) idle: Duration,
    /// The account's rules.
    pub(super) rules: Vec<Existing>,
}

impl Running {
    /// Starts a job, after `wait`.
    pub(super) fn start(tools: Tools, job: Job, wait: Duration) -> Self {
        let (sender, found) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let settles = (job.interval.to + SETTLED - tools.client.context().now()).to_std().unwrap_or_default();
            tokio::time::sleep(settles).await;
            let result = match job.by {
                Recover::Window => tools.window(job, &sender).await,
                Recover::Search | Recover::Backfill => tools.search(job, &sender).await,
            };
            // When nobody listens any more, the adapter is gone.
            sender.send(result.map_or_else(Found::Failed, |()| Found::All)).await.ok();
        });
        Self { found, task }
    }
}

impl Tools {
    fn ask<'a>(&self, path: &'a str, query: &'a [(String, String)]) -> Ask<'a> {
        Ask { method: Method::GET, path, query, authorization: bearer(&self.token), body: None }
    }

    /// The window is replayed, and then the connection closes.
    async fn window(&self, job: Job, sender: &mpsc::Sender<Found>) -> Result<(), SourceError> {
        const PATH: &str = "/2/tweets/search/stream";
        let mut query = self.parameters.clone();
        query.extend(times(job.interval));
        let stream = self.client.stream(self.ask(PATH, &query), self.idle).await;
        let mut body = stream.map_err(|failure| failure.into_error("the recovery window", self.client.context()))?;
        let mut frames = Frames::default();
        while let Some(bytes) = body.read().await? {
            frames.push(bytes);
            let (mut items, mut rejects) = (Vec::new(), Vec::new());
            while let Some(frame) = frames.next() {
                let Frame::Message(bytes) = frame else { continue };
                match self.posts.read(bytes) {
                    Ok((item, Message::Post { .. } | Message::Unknown)) => items.extend(item),
                    Ok((_, Message::Disconnect(why) | Message::Notice(why))) => {
                        return Err(SourceError::Failing(anyhow::anyhow!("the recovery window: {why}")));
                    }
                    Err(reject) => rejects.push(reject),
                }
            }
            if !(items.is_empty() && rejects.is_empty()) {
                sender.send(Found::Some { items, rejects, job: job.clone() }).await.ok();
            }
        }
        if frames.rest().is_empty() {
            Ok(())
        } else {
            Err(SourceError::Lost(anyhow::anyhow!("the recovery window ended in the middle of a message")))
        }
    }

    /// Each rule of the account, page by page, newest first.
    async fn search(&self, mut job: Job, sender: &mpsc::Sender<Found>) -> Result<(), SourceError> {
        while let Some(rule) = self.rules.get(job.rule) {
            let page = self.page(&job, rule).await?;
            let posts = page.posts(rule).into_iter().filter(|post| is_within(post, &job));
            let (mut items, mut rejects, mut oldest) = (Vec::new(), Vec::new(), None::<i64>);
            for post in posts {
                oldest = post.id.parse().ok().into_iter().chain(oldest).min();
                match self.posts.read(post.message.as_bytes()) {
                    Ok((item, _)) => items.extend(item),
                    Err(reject) => rejects.push(reject),
                }
            }
            // Oldest first, as a stream would have brought them.
            items.reverse();
            if let Some(oldest) = oldest.filter(|_| page.meta.next_token.is_some()) {
                job.until_id = Some(oldest.to_string());
            } else {
                (job.rule, job.until_id) = (job.rule + 1, None);
            }
            if sender.send(Found::Some { items, rejects, job: job.clone() }).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn page(&self, job: &Job, rule: &Existing) -> Result<Page, SourceError> {
        const PATH: &str = "/2/tweets/search/recent";
        let mut query = self.parameters.clone();
        query.push(("query".into(), rule.value.clone()));
        query.push(("max_results".into(), PAGE.into()));
        // Ids rather than times: they are exact, and a search that was broken off goes on at one.
        let [start, end] = times(job.interval);
        match &job.until_id {
            Some(id) => query.extend([("until_id".into(), id.clone()), ("since_id".into(), since_id(job).to_string())]),
            None => query.extend([start, end]),
        }
        let page = self.client.json(self.ask(PATH, &query)).await;
        page.map_err(|failure| failure.into_error("recent search", self.client.context()))
    }
}

fn since_id(job: &Job) -> i64 {
    id_at(job.interval.from).saturating_sub(1)
}

/// Search rounds to seconds; what is outside was not missed.
fn is_within(post: &Post, job: &Job) -> bool {
    let slack = TimeDelta::seconds(1);
    time_of(&post.id).is_none_or(|at| at >= job.interval.from - slack && at <= job.interval.to + slack)
}

/// A page of recent search.
#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    includes: Option<std::collections::BTreeMap<String, Vec<Box<RawValue>>>>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    next_token: Option<String>,
}

/// A post of a page as the stream would have sent it.
struct Post {
    id: String,
    message: String,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Key {
    #[serde(alias = "media_key")]
    id: String,
}

impl Page {
    fn posts(&self, rule: &Existing) -> Vec<Post> {
        let ids = self.data.iter().map(|post| serde_json::from_str::<Id>(post.get()).ok());
        let posts = self.data.iter().zip(ids).filter_map(|(post, id)| {
            let id = id?.id;
            Some(Post { message: self.message(post, rule), id })
        });
        posts.collect()
    }

    /// `data`, what of `includes` it refers to, and the rule that found it: each token as it came.
    fn message(&self, post: &RawValue, rule: &Existing) -> String {
        let mut text = post.get().to_owned();
        let mut includes = String::new();
        // Referenced posts first: what they refer to is part of it too.
        let parts = self.includes.iter().flatten();
        let (tweets, others): (Vec<_>, Vec<_>) = parts.partition(|(name, _)| *name == "tweets");
        for (name, objects) in tweets.into_iter().chain(others) {
            let wanted: Vec<&str> =
                objects.iter().map(|object| object.get()).filter(|object| is_named(object, &text)).collect();
            if wanted.is_empty() {
                continue;
            }
            if name == "tweets" {
                text.extend(wanted.iter().copied());
            }
            let comma = if includes.is_empty() { "" } else { "," };
            let name = serde_json::to_string(name).expect("invariant: a string has a JSON form");
            includes.extend([comma, &name, ":[", &wanted.join(","), "]"]);
        }
        let includes = if includes.is_empty() { includes } else { format!(",\"includes\":{{{includes}}}") };
        let rule = serde_json::json!([{ "id": rule.id, "tag": rule.tag }]);
        format!("{{\"data\":{}{includes},\"matching_rules\":{rule}}}", post.get())
    }
}

/// Whether an object of `includes` is referred to in `text`, by its id as a string, or its name for a mention.
fn is_named(object: &str, text: &str) -> bool {
    let Ok(Key { id }) = serde_json::from_str(object) else { return false };
    text.contains(&format!("\"{id}\""))
}

/// When a job that failed is tried again; `None` when that cannot help.
pub(super) fn again_after(job: &Job, error: &SourceError) -> Option<Duration> {
    const FAILURES_MAX: u32 = 5;
    if job.failures >= FAILURES_MAX {
        return None;
    }
    match error {
        SourceError::Refused(_) | SourceError::Ended => None,
        SourceError::Throttled { wait, .. } => Some(*wait),
        _ => Some(Duration::from_secs(15 << job.failures.min(6))),
    }
}

/// The end of an interval in the words of a note.
pub(super) fn text(at: DateTime<Utc>) -> String {
    crate::record::time_text(&at)
}

#[cfg(test)]
mod tests {
    use super::super::message::classify;
    use super::*;

    #[test]
    fn a_post_that_was_found_looks_as_it_would_have_come() {
        let page: Page = serde_json::from_str(
            r#"{"data":[{"id":"20","author_id":"7","referenced_tweets":[{"type":"quoted","id":"19"}],"x":1.50},{"id":"18","author_id":"9"}],
                "includes":{"users":[{"id":"7","name":"a"},{"id":"8","name":"b"},{"id":"9","name":"c"}],"tweets":[{"id":"19","author_id":"8"}],"media":[{"media_key":"3_1"}]},
                "meta":{"result_count":2}}"#,
        )
        .unwrap();
        let rule = Existing { id: "1".into(), value: "cats".into(), tag: None };
        let posts = page.posts(&rule);
        assert_eq!(
            posts[0].message,
            r#"{"data":{"id":"20","author_id":"7","referenced_tweets":[{"type":"quoted","id":"19"}],"x":1.50},"includes":{"tweets":[{"id":"19","author_id":"8"}],"users":[{"id":"7","name":"a"},{"id":"8","name":"b"}]},"matching_rules":[{"id":"1","tag":null}]}"#
        );
        assert!(posts[1].message.contains(r#""includes":{"users":[{"id":"9","name":"c"}]}"#), "{}", posts[1].message);
        assert!(matches!(classify(serde_json::from_str(&posts[0].message).unwrap()), Message::Post { .. }));
    }
}
