//! Streams of posts from X: the filtered stream of the API v2, and the older `statuses/filter` for servers that speak it.
//!
//! Facts: docs.x.com, "Filtered stream", "Consuming streaming data", "Handling disconnections", "Recovery and redundancy
//! features", and the `OpenAPI` description that it is made of. The cursor of a v2 stream is the time until which nothing
//! is missing, with what is still to be got of the time before it; v1.1 has none.

mod client;
mod fields;
mod flatten;
mod frames;
mod jobs;
mod legacy;
mod message;
mod posts;
mod reconcile;
mod recover;
mod refusal;
mod rules;
mod settings;
mod v11;
mod v2;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use self::client::Client;
use self::fields::PARAMETERS;
pub use self::legacy::{Filter, FilterLevel, UserId};
pub use self::settings::{Api, BudgetKeys, Compression, Recover, Rule, StreamAuth};
use self::v2::V2;
use self::v11::V11;
use crate::context::Context;
use crate::source::{Budget, Problem, Settings, Source};
use crate::units::Span;

/// X's own API.
const BASE_URL: &str = "https://api.x.com";

/// Where the older protocol was.
const BASE_URL_V11: &str = "https://stream.twitter.com";

/// Signs of life come each 20 s, and a little late (tweepy waits for 21 s, and that was too little for some).
const IDLE: Duration = Duration::from_secs(25);

/// Three times the 30 s of v1.1.
const IDLE_V11: Duration = Duration::from_secs(90);

/// The longest rule of any account.
const RULE_CHARS_MAX: usize = 2048;

/// The filtered stream of X: posts that match rules, as they are posted. What was missed while there was no connection
/// is got again as far as the account allows, and what is not stands in the ledger.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XStream {
    /// The API's address; X's own by default.
    #[serde(default)]
    pub base_url: Option<String>,
    /// `{ bearer }`, or `{ consumer_key, consumer_secret }`, of which a bearer token is made; for v1.1
    /// `{ oauth1: { consumer_key, consumer_secret, token, token_secret } }`. Write them as `${NAME}`.
    pub auth: StreamAuth,
    /// Which protocol: `v2`, or `v1.1` for servers that speak the older one.
    #[serde(default)]
    pub api: Api,
    /// Which posts come: `{ value, tag }` each. The account's rules are made to be these, at each start and each edit of
    /// the file. Rules that this source has not declared are left alone.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Whether all other rules of the account are deleted.
    #[serde(default)]
    pub exclusive: bool,
    /// Which posts come, with v1.1: words, users or places.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// What comes with each post beside `id`, `text` and `edit_history_tweet_ids`; X's `tweet.fields`.
    #[serde(default)]
    pub tweet_fields: Vec<String>,
    /// Which objects a post refers to come with it; X's `expansions`. Users are billed.
    #[serde(default)]
    pub expansions: Vec<String>,
    /// What comes of each user; X's `user.fields`.
    #[serde(default)]
    pub user_fields: Vec<String>,
    /// What comes of each picture or video; X's `media.fields`.
    #[serde(default)]
    pub media_fields: Vec<String>,
    /// What comes of each place; X's `place.fields`.
    #[serde(default)]
    pub place_fields: Vec<String>,
    /// What comes of each poll; X's `poll.fields`.
    #[serde(default)]
    pub poll_fields: Vec<String>,
    /// How what was missed is got, of what the account may use: `backfill` (the last five minutes), `window` (the last
    /// day), `search` (the last week; billed). By default nothing is.
    #[serde(default)]
    pub recover: Vec<Recover>,
    /// How many posts may come, since each is billed: `{ posts_per_day, posts_per_month }`. At the end of it the
    /// connection is closed until the next day or month of UTC.
    #[serde(default)]
    pub budget: BudgetKeys,
    /// Whether a record is the post alone, with author, media, places, polls and referenced posts put into it, instead
    /// of X's whole message.
    #[serde(default)]
    pub flatten: bool,
    /// How the stream is coded on its way: `off` or `gzip`.
    #[serde(default)]
    pub compression: Compression,
    /// After how long without a byte the connection is dead: 25s by default, and 90s with v1.1.
    #[serde(default)]
    pub idle: Option<Span>,
}

impl XStream {
    fn idle(&self) -> Duration {
        let default = if self.api == Api::V11 { IDLE_V11 } else { IDLE };
        self.idle.map_or(default, |idle| idle.0)
    }

    fn base(&self) -> Result<Url, Problem> {
        let default = if self.api == Api::V11 { BASE_URL_V11 } else { BASE_URL };
        let text = self.base_url.as_deref().unwrap_or(default);
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        match url {
            Some(url) if url.query().is_none() && url.fragment().is_none() && url.username().is_empty() => Ok(url),
            _ => Err(Problem::new(
                ["base_url"],
                "an address is wanted such as https://api.x.com, without a query or a user",
            )),
        }
    }

    fn words_of(&self, key: &str) -> &[String] {
        match key {
            "tweet_fields" => &self.tweet_fields,
            "expansions" => &self.expansions,
            "user_fields" => &self.user_fields,
            "media_fields" => &self.media_fields,
            "place_fields" => &self.place_fields,
            _ => &self.poll_fields,
        }
    }

    /// The query of the stream and of everything that stands in for it.
    fn parameters(&self) -> Vec<(String, String)> {
        let parameters = PARAMETERS.iter().map(|parameter| (parameter.name, self.words_of(parameter.key)));
        let given = parameters.filter(|(_, words)| !words.is_empty());
        given.map(|(name, words)| (name.to_owned(), words.join(","))).collect()
    }

    fn auth_problems(&self) -> Vec<Problem> {
        let StreamAuth { bearer, consumer_key, consumer_secret, oauth1 } = &self.auth;
        let wrong = |message: &str| vec![Problem::new(["auth"], message)];
        match (self.api, bearer, consumer_key, consumer_secret, oauth1) {
            (Api::V2, Some(bearer), None, None, None) => {
                let is_token = !bearer.is_empty() && bearer.bytes().all(|byte| byte.is_ascii_graphic());
                let message = "this cannot be a token: it is empty, or has a space or other characters in it";
                if is_token { Vec::new() } else { vec![Problem::new(["auth", "bearer"], message)] }
            }
            (Api::V2, None, Some(key), Some(secret), None) if !key.is_empty() && !secret.is_empty() => Vec::new(),
            (Api::V2, None, None, None, Some(_)) => wrong(
                "the stream of v2 takes no signed requests; write `{ bearer }`, or `{ consumer_key, consumer_secret }`",
            ),
            (Api::V2, ..) => {
                wrong("write `{ bearer: \"${X_BEARER_TOKEN}\" }`, or `{ consumer_key, consumer_secret }` with both")
            }
            (Api::V11, None, None, None, Some(oauth1)) => {
                let problems = oauth1.problems().into_iter();
                let at = |path: Vec<String>| ["auth".to_owned(), "oauth1".to_owned()].into_iter().chain(path);
                problems.map(|problem| Problem::new(at(problem.path), problem.message)).collect()
            }
            (Api::V11, ..) => wrong(
                "v1.1 wants `{ oauth1: { consumer_key, consumer_secret, token, token_secret } }`, and nothing else",
            ),
        }
    }

    /// Keys that belong to the other protocol, and what is wrong with `filter`.
    fn api_problems(&self) -> Vec<Problem> {
        let given = [
            ("rules", !self.rules.is_empty()),
            ("exclusive", self.exclusive),
            ("recover", !self.recover.is_empty()),
            ("flatten", self.flatten),
        ];
        match (self.api, &self.filter) {
            (Api::V2, Some(_)) => {
                vec![Problem::new(["filter"], "this key belongs to `api: v1.1`; v2 has `rules`")]
            }
            (Api::V2, None) => Vec::new(),
            (Api::V11, None) => vec![Problem::new(
                ["filter"],
                "v1.1 wants to know which posts: `filter: { track: [cats] }`, or `follow`, or `locations`",
            )],
            (Api::V11, Some(filter)) => {
                let words =
                    PARAMETERS.iter().map(|parameter| (parameter.key, !self.words_of(parameter.key).is_empty()));
                let wrong = given.into_iter().chain(words).filter(|(_, given)| *given);
                let wrong = wrong.map(|(key, _)| Problem::new([key], "v1.1 has no such thing; leave the key out"));
                let filter = filter.problems().into_iter().map(|problem| {
                    Problem::new(["filter".to_owned()].into_iter().chain(problem.path), problem.message)
                });
                wrong.chain(filter).collect()
            }
        }
    }

    fn rule_problems(&self) -> Vec<Problem> {
        let at = |index: usize| ["rules".to_owned(), index.to_string(), "value".to_owned()];
        let rules = self.rules.iter().enumerate().filter_map(|(index, rule)| {
            let chars = rule.value.chars().count();
            if rule.value.trim().is_empty() {
                Some(Problem::new(at(index), "a rule is some words and operators, such as `research lang:en`"))
            } else if chars > RULE_CHARS_MAX {
                Some(Problem::new(at(index), format!("{chars} characters are too many; at most {RULE_CHARS_MAX}")))
            } else if self.rules[..index].iter().any(|other| other.value == rule.value) {
                Some(Problem::new(at(index), "the same rule is there twice; leave one out"))
            } else {
                None
            }
        });
        rules.collect()
    }
}

impl Settings for XStream {
    const KIND: &'static str = "x_stream";
    const ABOUT: &'static str = "posts of X as they are posted, filtered by rules";
    const EXAMPLE: &'static str = include_str!("x_stream/example.yaml");
    const POLLED: bool = false;
    const REPLAYS: bool = true;

    fn read(value: serde_json::Value) -> Result<Self, Vec<Problem>> {
        crate::parts::whole(value)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.base().err().into_iter().chain(self.auth_problems()).collect();
        problems.extend(self.api_problems());
        problems.extend(self.rule_problems());
        for parameter in &PARAMETERS {
            problems.extend(parameter.problems(self.words_of(parameter.key)));
        }
        if self.idle.is_some_and(|idle| idle.0 < Duration::from_secs(1)) {
            problems.push(Problem::new(["idle"], "too short; at least 1s, and X sends a sign of life each 20s"));
        }
        problems
    }

    fn budget(&self) -> Budget {
        Budget { per_day: self.budget.posts_per_day, per_month: self.budget.posts_per_month }
    }

    fn upstream(&self) -> Vec<Url> {
        self.base().into_iter().collect()
    }

    fn open(self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        let base = self.base().map_err(|problem| anyhow::anyhow!(problem.message))?;
        let client = Client::new(context, base, self.compression == Compression::Gzip)?;
        if self.api == Api::V2 {
            return Ok(Box::new(V2::new(self, client)));
        }
        let (Some(oauth1), Some(filter)) = (self.auth.oauth1.clone(), self.filter.clone()) else {
            anyhow::bail!("v1.1 without `auth.oauth1` or `filter`");
        };
        Ok(Box::new(V11::new(self, client, oauth1, filter.form())))
    }
}
