//! What X sends again: backfill, recovery windows, recent search, and prepared posts for measuring.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::answers;
use super::post::{Asked, Post};
use super::rules::Rule;
use super::state::{Line, Logged, State, Wants};
use crate::simulator::line::Out;
use crate::simulator::server::Reply;
use crate::simulator::stream::{Maker, Piece};

/// Search finds nothing younger.
const SEARCH_LAG: TimeDelta = TimeDelta::seconds(10);

/// How long the prepared posts are, about, in bytes.
const FLOOD_BYTES: usize = 2000;

/// How many prepared posts are written at once. Each is a chunk of its own, as X sends it.
const FLOOD_WRITE: u64 = 32;

/// The first id of prepared posts: all of them have 19 digits.
const FLOOD_ID: i64 = 1_800_000_000_000_000_000;

impl State {
    /// Sends what was delivered since `from` to a new stream: oldest first, and some of it twice, as X does.
    pub(super) fn backfill(&mut self, line: &mut Line, from: DateTime<Utc>) {
        let again: Vec<Logged> = self.log.iter().rev().take_while(|logged| logged.at >= from).cloned().collect();
        let now = self.now();
        for (index, logged) in again.iter().rev().enumerate() {
            self.own.usage += 1;
            line.deliver(logged, None, now);
            if index % 10 == 3 {
                line.deliver(logged, None, now);
            }
        }
    }

    /// Sends a window, and ends.
    pub(super) fn window(&mut self, line: &mut Line, from: DateTime<Utc>, to: DateTime<Utc>) {
        let now = self.now();
        let within: Vec<Logged> =
            self.log.iter().filter(|logged| logged.at >= from && logged.at <= to).cloned().collect();
        for logged in within {
            self.own.usage += 1;
            line.deliver(&logged, None, now);
        }
        line.end(Piece::End, now, "the window is over");
    }

    /// A page of recent search.
    pub(super) fn search(&mut self, query: &[(String, String)]) -> Result<Reply, Box<Reply>> {
        let get = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let wrong = |name: &str, why: &str| Box::new(answers::invalid(name, get(name).unwrap_or_default(), why));
        let asked = Asked::parse(query)
            .map_err(|(name, value)| Box::new(answers::invalid(&name, &value, "is not one of the known values")))?;
        let rule = Rule::parse(get("query").unwrap_or_default(), 512.max(self.settings.rule_chars_max))
            .map_err(|why| wrong("query", &why))?;
        let max: usize =
            get("max_results").unwrap_or("10").parse().map_err(|_| wrong("max_results", "is not a number"))?;
        if !(10..=100).contains(&max) {
            return Err(wrong("max_results", "must be between 10 and 100"));
        }
        let now = self.now();
        let time = |name: &str| match get(name) {
            None => Ok(None),
            Some(text) => {
                let at: DateTime<Utc> = text.parse().map_err(|_| wrong(name, "is not a time in ISO 8601"))?;
                if now - at < SEARCH_LAG {
                    return Err(wrong(name, "must be a minimum of 10 seconds prior to the request time"));
                }
                if now - at > TimeDelta::days(7) {
                    return Err(wrong(name, "must be on or after seven days ago"));
                }
                Ok(Some(at))
            }
        };
        let (start, end) = (time("start_time")?, time("end_time")?);
        let id =
            |name: &str| get(name).map(|text| text.parse::<i64>().map_err(|_| wrong(name, "is not an id"))).transpose();
        let (since, until) = (id("since_id")?, id("until_id")?.into_iter().chain(id("next_token")?).min());
        let found: Vec<&Logged> = self
            .log
            .iter()
            .rev()
            .filter(|logged| {
                let at = logged.post.at;
                rule.matches(&logged.post)
                    && start.is_none_or(|start| at >= start)
                    && end.is_none_or(|end| at < end)
                    && since.is_none_or(|since| logged.id > since)
                    && until.is_none_or(|until| logged.id < until)
                    && now - at >= SEARCH_LAG
            })
            .collect();
        let page = &found[..found.len().min(max)];
        self.own.usage += page.len() as u64;
        Ok(answers::json(200, &page_of(page, &asked, found.len() > max)))
    }

    /// Prepared posts, about as long as real ones with some fields; ids count up.
    pub(super) fn flood(&mut self, line: &mut Line, posts: u64) {
        let now = self.now();
        let (mut template, mut places) = (Vec::new(), Vec::new());
        let wanted = FLOOD_ID.to_string();
        let Wants::V2(asked) = &line.reader.wants else { return };
        for index in 0..FLOOD_WRITE {
            let mut post = Post::make(self.settings.seed, index, now);
            post.id = FLOOD_ID;
            let message = post.v2(asked, &[("1".to_owned(), Some("flood".to_owned()))]);
            let message = padded(&message);
            let message = format!("{:x}\r\n{message}\r\n", message.len());
            places.extend(message.match_indices(&wanted).map(|(at, _)| (template.len() + at, index)));
            template.extend_from_slice(message.as_bytes());
        }
        let maker = Maker(Arc::new(move |chunk| {
            let mut bytes = template.clone();
            for (place, index) in &places {
                let id = (FLOOD_ID.unsigned_abs() + chunk * FLOOD_WRITE + index).to_string();
                bytes[*place..*place + id.len()].copy_from_slice(id.as_bytes());
            }
            bytes
        }));
        line.send(Out::Flood(maker, posts / FLOOD_WRITE));
        line.end(Piece::End, now, "the flood is over");
    }
}

/// A message of the length that is wanted, with its line end: the text is what is made longer.
fn padded(message: &str) -> String {
    let missing = FLOOD_BYTES.saturating_sub(message.len());
    let text = format!("\"text\":\"{}", "all work and no play ".repeat(missing / 21));
    message.replacen("\"text\":\"", &text, 1) + "\r\n"
}

fn page_of(page: &[&Logged], asked: &Asked, has_more: bool) -> Value {
    let mut data = Vec::new();
    let mut includes: Map<String, Value> = Map::new();
    for logged in page {
        let (post, own) = logged.post.v2_parts(asked);
        data.push(post);
        for (name, objects) in own.as_object().cloned().unwrap_or_default() {
            let all = includes.entry(name).or_insert_with(|| json!([]));
            let (Some(all), Value::Array(objects)) = (all.as_array_mut(), objects) else { continue };
            for object in objects {
                if !all.contains(&object) {
                    all.push(object);
                }
            }
        }
    }
    let mut body = json!({ "meta": { "result_count": data.len() } });
    if let (Some(first), Some(last)) = (page.first(), page.last()) {
        body["meta"]["newest_id"] = json!(first.id.to_string());
        body["meta"]["oldest_id"] = json!(last.id.to_string());
        body["data"] = Value::Array(data);
        if has_more {
            body["meta"]["next_token"] = json!(last.id.to_string());
        }
    }
    if !includes.is_empty() {
        body["includes"] = Value::Object(includes);
    }
    body
}
