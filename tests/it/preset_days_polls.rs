//! 24 hours of each preset that is polled against a server with the habits of the real one.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::days::account::{Account, Log, Logged, assert_exactly, assert_polls};
use crate::support::days::net::{Asked, Net, Reply};
use crate::support::days::{Plan, Upstream, live};

fn json_page(body: &Value, headers: Vec<(&'static str, String)>) -> Reply {
    let mut all = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
    all.extend(headers);
    Reply::Page { status: 200, headers: all, body: body.to_string().into() }
}

/// The summaries of the USGS: made anew each minute, kept by caches some of which lag, with quakes that are found late and
/// revised several times. What is older than the summary's time is not in it any more.
struct Usgs {
    quakes: Log,
    reach: TimeDelta,
    /// What was in the answers: a quake and when it was revised.
    served: BTreeSet<(u64, i64)>,
    not_modified: usize,
    asked: u64,
}

/// After how many minutes a quake is in the list, and after how many more it is revised.
const LATE: [i64; 5] = [1, 2, 4, 10, 95];
const REVISED: [i64; 3] = [10, 65, 300];

impl Usgs {
    fn new(reach: TimeDelta) -> Self {
        Self { quakes: Log::new(301), reach, served: BTreeSet::new(), not_modified: 0, asked: 0 }
    }

    /// When a quake was revised last, if it is known by then.
    fn updated(&Logged { number, at }: &Logged, by: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let known = at + TimeDelta::minutes(LATE[usize::try_from(number % 5).unwrap()]);
        let revisions = REVISED.iter().map(|minutes| known + TimeDelta::minutes(*minutes));
        [known].into_iter().chain(revisions).filter(|at| *at <= by).max()
    }

    /// The summary as it was made at this time.
    fn summary(&self, made: DateTime<Utc>) -> Vec<(Logged, DateTime<Utc>)> {
        let listed = self.quakes.all.iter().rev().filter(|quake| quake.at > made - self.reach);
        listed.filter_map(|quake| Some((*quake, Self::updated(quake, made)?))).collect()
    }
}

impl Upstream for Usgs {
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply {
        if asked.path == "/robots.txt" {
            return Reply::status(404, "");
        }
        self.asked += 1;
        // In the thirteenth hour nothing is made anew; an answer now and then comes from a cache that lags.
        let hour = (net.now - crate::support::days::BEGIN.parse::<DateTime<Utc>>().unwrap()).num_hours();
        let step = if hour == 13 { 3600 } else { 60 };
        let lag = if self.asked.is_multiple_of(7) { 2 * step } else { 0 };
        let made = DateTime::from_timestamp(net.now.timestamp().div_euclid(step) * step - lag, 0).unwrap();
        let tag = format!("\"{}\"", made.timestamp());
        let headers = vec![("ETag", tag.clone()), ("Cache-Control", "public, max-age=60".to_owned())];
        if asked.header("if-none-match") == Some(&tag) {
            self.not_modified += 1;
            return Reply::Page { status: 304, headers, body: Vec::new() };
        }
        let features = self.summary(made).into_iter().map(|(Logged { number, at }, updated)| {
            self.served.insert((number, updated.timestamp_millis()));
            json!({ "type": "Feature", "id": format!("us{number:08}"), "geometry": { "type": "Point", "coordinates": [1.5, 2.5, 10] },
                "properties": { "mag": 1.5, "place": "1 km N of A", "time": at.timestamp_millis(), "updated": updated.timestamp_millis(),
                    "status": "automatic", "ids": format!(",us{number:08},"), "type": "earthquake" } })
        });
        let features: Vec<Value> = features.collect();
        let metadata =
            json!({ "generated": made.timestamp_millis(), "status": 200, "api": "1.14.1", "count": features.len() });
        json_page(&json!({ "type": "FeatureCollection", "metadata": metadata, "features": features }), headers)
    }

    fn tick(&mut self, net: &mut Net) {
        self.quakes.come(net.now);
    }
}

/// The quakes that were written, with their revisions, each once.
fn written(account: &Account) -> BTreeSet<(u64, i64)> {
    let one = |record: &Value| {
        let data = &record["data"];
        (data["id"].as_str().unwrap()[2..].parse().unwrap(), data["properties"]["updated"].as_i64().unwrap())
    };
    let all: Vec<(u64, i64)> = account.records.iter().map(one).collect();
    let once: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "a revision is there twice");
    once
}

#[test]
fn a_day_of_usgs() {
    let file = "preset: usgs\nurl: http://URL/all_day.geojson\n";
    let day = live(&Plan::of_polls(file), Usgs::new(TimeDelta::hours(24)));
    let account = Account::of(&day);
    assert_polls(&day, &account);
    let (usgs, written) = (&day.world.upstream, written(&account));
    assert!(written == usgs.served, "what was shown is written");
    // Outages and all, each quake is there that was known some minutes ago, as it was revised last.
    let last = usgs.summary(day.end - TimeDelta::minutes(5));
    let lost: Vec<_> =
        last.iter().filter(|(quake, updated)| !written.contains(&(quake.number, updated.timestamp_millis()))).collect();
    assert!(lost.is_empty() && last.len() > 250, "lost: {lost:?}");
    println!("{} quakes, {} with revisions, {} times not modified", last.len(), written.len(), usgs.not_modified);
    assert!(usgs.not_modified > 20);
}

/// What the preset says of summaries of an hour: what is known or revised later, or happens in a longer outage, is not in them.
#[test]
fn a_summary_of_an_hour_loses_what_that_of_a_day_does_not() {
    let file = "preset: usgs\nwith: { feed: all_hour }\nurl: http://URL/all_hour.geojson\n";
    let day = live(&Plan::of_polls(file), Usgs::new(TimeDelta::hours(1)));
    let written = written(&Account::of(&day));
    assert!(written == day.world.upstream.served);
    let lost =
        day.world.upstream.quakes.all.iter().filter(|quake| !written.iter().any(|(number, _)| *number == quake.number));
    assert!(lost.count() >= 50, "a fifth of the quakes is known after more than an hour");
}

/// Algolia's search of Hacker News: the newest first, a thousand at most, some of it found late.
struct HackerNews {
    items: Log,
}

impl HackerNews {
    fn is_known(Logged { number, at }: &Logged, by: DateTime<Utc>) -> bool {
        let late = if number.is_multiple_of(9) { TimeDelta::minutes(17) } else { TimeDelta::seconds(20) };
        *at + late <= by
    }
}

impl Upstream for HackerNews {
    fn asked(&mut self, asked: &Asked, net: &mut Net) -> Reply {
        if asked.path != "/api/v1/search_by_date" {
            return Reply::status(404, "");
        }
        if asked.parameter("tags") != Some("comment") {
            net.offend(format!("it asks for {:?}", asked.query));
        }
        let whole = |name: &str| asked.parameter(name).map(|value| value.parse::<usize>().unwrap());
        let (per_page, page) = (whole("hitsPerPage").unwrap_or(20).min(1000), whole("page").unwrap_or(0));
        let after = asked.parameter("numericFilters").map(|filter| {
            let seconds = filter.strip_prefix("created_at_i>").and_then(|seconds| seconds.parse::<i64>().ok());
            seconds.unwrap_or_else(|| panic!("no filter that Algolia knows: {filter}"))
        });
        let is_found =
            |item: &&Logged| Self::is_known(item, net.now) && after.is_none_or(|after| item.at.timestamp() > after);
        let found: Vec<&Logged> = self.items.all.iter().rev().filter(is_found).collect();
        let hits = found.iter().take(1000).skip(page * per_page).take(per_page).map(|Logged { number, at }| {
            json!({ "objectID": number.to_string(), "created_at": at.format("%Y-%m-%dT%H:%M:%SZ").to_string(), "created_at_i": at.timestamp(),
                "author": "a", "comment_text": "text", "story_id": 1, "_tags": ["comment", "author_a", "story_1"] })
        });
        let hits: Vec<Value> = hits.collect();
        json_page(
            &json!({ "hits": hits, "nbHits": found.len(), "page": page, "nbPages": 1, "hitsPerPage": per_page }),
            Vec::new(),
        )
    }

    fn tick(&mut self, net: &mut Net) {
        self.items.come(net.now);
    }
}

#[test]
fn a_day_of_hacker_news() {
    let file = "preset: hacker_news\nwith: { tags: comment }\nurl: http://URL/api/v1/search_by_date\n";
    let day = live(&Plan::of_polls(file), HackerNews { items: Log::new(15) });
    let account = Account::of(&day);
    assert_polls(&day, &account);
    // What the last request could find.
    let asked = day.world.net.asked.last().unwrap().at;
    let known = day.world.upstream.items.all.iter().filter(|item| HackerNews::is_known(item, asked));
    let known: Vec<u64> = known.map(|item| item.number).collect();
    assert_exactly(&account.numbers("/objectID"), known.iter().copied());
    println!("{} items", known.len());
}
