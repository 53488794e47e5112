//! What a user may write about a stream of X.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::Oauth1;

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Api {
    /// The filtered stream of the X API v2.
    #[default]
    #[serde(rename = "v2")]
    V2,
    /// The older `statuses/filter`, which X itself has switched off and compatible servers speak.
    #[serde(rename = "v1.1")]
    V11,
}

/// How the account shows who it is.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamAuth {
    /// The app's bearer token, as X shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// The app's key; with its secret a bearer token is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_key: Option<String>,
    /// The app's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_secret: Option<String>,
    /// The four keys with which each request of v1.1 is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth1: Option<Oauth1>,
}

/// A rule: which posts come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What a post must match, in X's own operators: `research lang:en -is:retweet`.
    pub value: String,
    /// A name that comes with each post that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// A way to get what was missed. The account must have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recover {
    /// The last five minutes at most, with the connection itself (`backfill_minutes`).
    Backfill,
    /// Any time of the last 24 hours, on a connection of its own (`start_time`, `end_time`).
    Window,
    /// Recent search of the last seven days, with the same rules. Each post that is found is billed.
    Search,
}

/// How much may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetKeys {
    /// Posts in one day of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posts_per_day: Option<u64>,
    /// Posts in one month of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posts_per_month: Option<u64>,
}

/// How what X sends is coded on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    Off,
    /// gzip, if the server will.
    Gzip,
}
