//! What this X knows of the account, rules, posts, windows, and how each stream is told of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::faults::Fault;
use super::post::{Asked, Post};
use super::rules::{Filter, Rule};
use super::{Settings, answers, endpoints};
use crate::simulator::line::Out;
use crate::simulator::server::{Answer, Reply, Request};
use crate::simulator::stream::Piece;
use crate::simulator::upstream::{self, HUGE, Kind, Shared};

pub(super) type State = upstream::State<Account>;
pub(super) type Line = upstream::Line<Account>;

/// What becomes of a connection too many: the documentation of X says both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The new one is refused with 429.
    Refuse,
    /// The old one is closed.
    CloseOld,
}

/// A rule that is stored.
#[derive(Debug, Clone)]
pub struct StoredRule {
    /// X's id for it.
    pub id: String,
    /// As it was given.
    pub value: String,
    /// As it was given.
    pub tag: Option<String>,
    /// When it comes into force.
    pub active_at: DateTime<Utc>,
    pub(super) parsed: Arc<Rule>,
}

/// A post that matched.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The post's id.
    pub id: i64,
    /// When it was delivered, or would have been.
    pub at: DateTime<Utc>,
    pub(super) post: Arc<Post>,
    pub(super) matching: Vec<(String, Option<String>)>,
}

/// What a stream brings, and in which form.
pub(super) enum Wants {
    /// What matches the account's rules.
    V2(Asked),
    /// What matches its own filter.
    V11 {
        filter: Filter,
        /// Each message is preceded by its length in bytes.
        is_delimited: bool,
    },
}

/// Who reads a stream.
pub struct Reader {
    /// X's id for the connection.
    pub(super) id: String,
    pub(super) wants: Wants,
    /// It replays a window and gets nothing new.
    pub(super) is_replay: bool,
}

/// What X knows of the account beside the log of posts.
pub struct Account {
    pub(super) rules: Vec<StoredRule>,
    pub(super) usage: u64,
    pub(super) credits_gone: bool,
    /// Those of signed requests.
    pub(super) nonces: HashSet<String>,
    windows: HashMap<&'static str, (DateTime<Utc>, u64)>,
    next_rule: u64,
    next_line: u64,
}

impl Kind for Account {
    type Settings = Settings;
    type Fault = Fault;
    type Logged = Logged;
    type Reader = Reader;

    fn new(_: &Settings) -> Self {
        Self {
            rules: Vec::new(),
            usage: 0,
            credits_gone: false,
            nonces: HashSet::new(),
            windows: HashMap::new(),
            next_rule: 1_165_037_377_523_306_496,
            next_line: 1,
        }
    }

    fn settings(seed: u64, every: Duration) -> Settings {
        Settings { seed, every: Some(every), ..Settings::default() }
    }

    fn every(settings: &Settings) -> Option<Duration> {
        settings.every
    }

    fn now(settings: &Settings) -> DateTime<Utc> {
        (settings.clock)()
    }

    fn answer(state: &Shared<Self>, request: &Request) -> Answer {
        endpoints::answer(state, request)
    }

    fn publish_next(state: &mut State) {
        state.publish_any();
    }

    fn fault_now(state: &mut State, fault: Fault) {
        let now = state.now();
        state.open_lines().for_each(|line| line.go_wrong(fault, Vec::new(), now));
    }
}

impl State {
    pub(super) fn next_rule_id(&mut self) -> String {
        self.own.next_rule += 1;
        self.own.next_rule.to_string()
    }

    pub(super) fn next_line_id(&mut self) -> String {
        self.own.next_line += 1;
        format!("{0:08x}-0000-4000-8000-{0:012x}", self.own.next_line)
    }

    pub(super) fn add_foreign(&mut self, value: &str, tag: Option<&str>) -> String {
        let parsed = Rule::parse(value, self.settings.rule_chars_max).expect("a test adds rules that are right");
        let (id, active_at) = (self.next_rule_id(), self.now());
        let rule = StoredRule {
            id: id.clone(),
            value: value.to_owned(),
            tag: tag.map(str::to_owned),
            active_at,
            parsed: Arc::new(parsed),
        };
        self.own.rules.push(rule);
        id
    }

    /// Counts a request; the answer when it is one too many, and how the window stands.
    pub(super) fn count_request(&mut self, name: &'static str, limit: u64) -> (Option<Reply>, u64, DateTime<Utc>) {
        let now = self.now();
        let window = self.own.windows.entry(name).or_insert((now, 0));
        if now - window.0 >= TimeDelta::minutes(15) {
            *window = (now, 0);
        }
        window.1 += 1;
        let reset = window.0 + TimeDelta::minutes(15);
        let left = limit.saturating_sub(window.1);
        let refused = (window.1 > limit).then(|| answers::with_window(answers::rate_limited(), limit, 0, reset));
        (refused, left, reset)
    }

    /// Whether any rule is in force.
    pub(super) fn has_rules(&self) -> bool {
        let now = self.now();
        self.own.rules.iter().any(|rule| rule.active_at <= now)
    }

    fn matching(&self, post: &Post) -> Vec<(String, Option<String>)> {
        let now = self.now();
        let rules = self.own.rules.iter().filter(|rule| rule.active_at <= now && rule.parsed.matches(post));
        rules.map(|rule| (rule.id.clone(), rule.tag.clone())).collect()
    }

    pub(super) fn publish_any(&mut self) -> i64 {
        let (number, now) = (self.next_number(), self.now());
        let post = Post::make(self.settings.seed, number, now);
        self.publish(post)
    }

    /// Delivers a post to every open stream, with what goes wrong.
    pub(super) fn publish(&mut self, post: Post) -> i64 {
        let (id, matching) = (post.id, self.matching(&post));
        let logged = Logged { id, at: self.now(), post: Arc::new(post), matching };
        if !logged.matching.is_empty() {
            self.remember(logged.clone());
        }
        self.notice_gone();
        let now = self.now();
        let mut wanting: Vec<&mut Line> = self.lines.iter_mut().filter(|line| line.wants(&logged)).collect();
        // A fault goes with a post that somebody gets.
        let fault = if wanting.is_empty() { None } else { self.faults.next() };
        for line in &mut wanting {
            self.own.usage += 1;
            line.deliver(&logged, fault, now);
        }
        id
    }

    /// The streams that count against the limit.
    pub(super) fn counted_lines(&mut self) -> impl Iterator<Item = &mut Line> {
        self.open_lines().filter(|line| !line.reader.is_replay)
    }
}

impl Line {
    /// Whether it is to get this post.
    fn wants(&self, logged: &Logged) -> bool {
        let is_meant = match &self.reader.wants {
            Wants::V2(_) => !logged.matching.is_empty() && !self.reader.is_replay,
            Wants::V11 { filter, .. } => filter.matches(&logged.post),
        };
        is_meant && self.is_open()
    }

    /// Sends a post as it is, or with what goes wrong.
    pub(super) fn deliver(&mut self, logged: &Logged, fault: Option<Fault>, now: DateTime<Utc>) {
        let message = match &self.reader.wants {
            Wants::V2(asked) => logged.post.v2(asked, &logged.matching),
            Wants::V11 { .. } => logged.post.v11(),
        };
        let line = self.framed(&message);
        let is_v2 = matches!(self.reader.wants, Wants::V2(_));
        match fault {
            None => self.write(line),
            // These are about what only v2 has.
            Some(Fault::PartialError | Fault::NumericIds | Fault::NullTag | Fault::BareLineFeed) if !is_v2 => {
                self.write(line);
            }
            Some(Fault::PartialError) => {
                let error = r#","errors":[{"value":"1","detail":"Could not find tweet with referenced_tweets.id: [1].","title":"Not Found Error","resource_type":"tweet","parameter":"referenced_tweets.id","resource_id":"1","type":"https://api.x.com/2/problems/resource-not-found"}]}"#;
                let open = message.strip_suffix('}').unwrap_or(&message);
                self.write(format!("{open}{error}\r\n").into_bytes());
            }
            Some(Fault::NumericIds) => {
                let id = logged.id;
                self.say(&message.replace(&format!("\"id\":\"{id}\""), &format!("\"id\":{id}")));
            }
            Some(Fault::NullTag) => {
                let tags = logged.matching.iter().filter_map(|(_, tag)| tag.as_ref());
                let nulled =
                    tags.fold(message, |message, tag| message.replace(&format!("\"tag\":\"{tag}\""), "\"tag\":null"));
                self.say(&nulled);
            }
            Some(Fault::BareLineFeed) => self.write(format!("{message}\n").into_bytes()),
            Some(Fault::Twice) => {
                self.write(line.clone());
                self.write(line);
            }
            Some(fault) => self.go_wrong(fault, line, now),
        }
    }

    /// A message as it goes over the wire. A length counts bytes, and the line end with them.
    fn framed(&self, message: &str) -> Vec<u8> {
        match self.reader.wants {
            Wants::V11 { is_delimited: true, .. } => format!("{}\r\n{message}\r\n", message.len() + 2).into_bytes(),
            _ => format!("{message}\r\n").into_bytes(),
        }
    }

    pub(super) fn say(&self, message: &str) {
        self.write(self.framed(message));
    }

    /// Something goes wrong, with a post at hand or without.
    fn go_wrong(&mut self, fault: Fault, line: Vec<u8>, now: DateTime<Utc>) {
        let half = || if line.is_empty() { b"{\"data\":".to_vec() } else { line[..line.len() / 2].to_vec() };
        match fault {
            Fault::TornClose => return self.tear(half(), Piece::Close, now, "torn"),
            Fault::TornReset => return self.tear(half(), Piece::Reset, now, "reset"),
            Fault::HalfOpen => return self.end(Piece::Hang, now, "half-open"),
            Fault::OnlyKeepAlives => return self.send(Out::OnlyQuiet),
            _ => {}
        }
        let before: Vec<u8> = match fault {
            Fault::Unknown => b"{\"type\":\"connection_metadata\",\"datacenter\":\"atla\"}\r\n".to_vec(),
            Fault::HugeLine => {
                let text = "x".repeat(HUGE);
                format!("{{\"data\":{{\"id\":\"1\",\"text\":\"{text}\"}}}}\r\n").into_bytes()
            }
            Fault::InvalidUtf8 => b"{\"data\":{\"id\":\"1\",\"text\":\"\xff\xfe\"}}\r\n".to_vec(),
            Fault::LoneSurrogate => b"{\"data\":{\"id\":\"1\",\"text\":\"\\ud83d\"}}\r\n".to_vec(),
            Fault::BadJson => b"{\"data\":{\"id\":\"1\",,}\r\n".to_vec(),
            Fault::KeepAlives => b"\r\n".repeat(5),
            _ => Vec::new(),
        };
        self.write(before);
        self.write(line);
        match fault {
            Fault::End => self.end(Piece::End, now, "ended in order"),
            Fault::Disconnect(kind) | Fault::BareDisconnect(kind) => {
                let is_wrapped = matches!(fault, Fault::Disconnect(_));
                self.write(answers::disconnect(kind, is_wrapped));
                self.end(Piece::End, now, kind);
            }
            _ => {}
        }
    }
}
