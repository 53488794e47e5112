//! Everything that this X knows: rules, posts, connections, windows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::UnboundedSender;

use super::Settings;
use super::answers;
use super::faults::{Fault, Faults};
use super::line::Out;
use super::post::{Asked, Post};
use super::rules::{Filter, Rule};
use crate::simulator::server::Reply;
use crate::simulator::stream::Piece;

/// How many posts are remembered.
const LOG_MAX: usize = 2_000_000;

/// A line of 10 MB.
const HUGE: usize = 10_000_000;

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

/// A connection, as a test sees it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// X's id for it.
    pub id: String,
    /// What was asked for.
    pub query: Vec<(String, String)>,
    /// When it was accepted.
    pub opened_at: DateTime<Utc>,
    /// When it ended, as far as X has noticed.
    pub closed_at: Option<DateTime<Utc>>,
    /// Why.
    pub why: Option<String>,
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

pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) wants: Wants,
    pub(super) sender: UnboundedSender<Out>,
    /// It replays a window and gets nothing new.
    pub(super) is_replay: bool,
}

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) rules: Vec<StoredRule>,
    pub(super) log: VecDeque<Logged>,
    pub(super) lines: Vec<Line>,
    pub(super) faults: Faults,
    pub(super) refusals: VecDeque<Reply>,
    pub(super) flood: Option<u64>,
    pub(super) usage: u64,
    pub(super) credits_gone: bool,
    /// Those of signed requests.
    pub(super) nonces: HashSet<String>,
    windows: HashMap<&'static str, (DateTime<Utc>, u64)>,
    number: u64,
    next_rule: u64,
    next_line: u64,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            rules: Vec::new(),
            log: VecDeque::new(),
            lines: Vec::new(),
            faults: Faults::default(),
            refusals: VecDeque::new(),
            flood: None,
            usage: 0,
            credits_gone: false,
            nonces: HashSet::new(),
            windows: HashMap::new(),
            number: 0,
            next_rule: 1_165_037_377_523_306_496,
            next_line: 1,
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        (self.settings.clock)()
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn next_rule_id(&mut self) -> String {
        self.next_rule += 1;
        self.next_rule.to_string()
    }

    pub(super) fn next_line_id(&mut self) -> String {
        self.next_line += 1;
        format!("{:08x}-0000-4000-8000-{:012x}", self.next_line, self.next_line)
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
        self.rules.push(rule);
        id
    }

    /// Counts a request; the answer when it is one too many, and how the window stands.
    pub(super) fn count_request(&mut self, name: &'static str, limit: u64) -> (Option<Reply>, u64, DateTime<Utc>) {
        let now = self.now();
        let window = self.windows.entry(name).or_insert((now, 0));
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
        self.rules.iter().any(|rule| rule.active_at <= now)
    }

    fn matching(&self, post: &Post) -> Vec<(String, Option<String>)> {
        let now = self.now();
        let rules = self.rules.iter().filter(|rule| rule.active_at <= now && rule.parsed.matches(post));
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
            self.log.push_back(logged.clone());
            if self.log.len() > LOG_MAX {
                self.log.pop_front();
            }
        }
        self.notice_gone();
        let now = self.now();
        let mut wanting: Vec<&mut Line> = self.lines.iter_mut().filter(|line| line.wants(&logged)).collect();
        // A fault goes with a post that somebody gets.
        let fault = if wanting.is_empty() { None } else { self.faults.next() };
        for line in &mut wanting {
            self.usage += 1;
            line.deliver(&logged, fault, now);
        }
        id
    }

    pub(super) fn say(&self, json: &str) {
        for line in self.lines.iter().filter(|line| line.is_open()) {
            line.say(json);
        }
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        for line in self.lines.iter().filter(|line| line.is_open()) {
            line.send(Out::Message(bytes.to_vec()));
        }
    }

    pub(super) fn fault_now(&mut self, fault: Fault) {
        let now = self.now();
        for line in self.lines.iter_mut().filter(|line| line.is_open()) {
            line.go_wrong(fault, Vec::new(), now);
        }
    }

    /// Notices clients that have gone away.
    pub(super) fn notice_gone(&mut self) {
        let now = self.now();
        for line in &mut self.lines {
            if line.connection.closed_at.is_none() && line.sender.is_closed() {
                line.close(now, "the client went away");
            }
        }
    }

    pub(super) fn connections(&mut self) -> Vec<Connection> {
        self.notice_gone();
        self.lines.iter().map(|line| line.connection.clone()).collect()
    }

    /// The streams that count against the limit.
    pub(super) fn open_lines(&mut self) -> Vec<&mut Line> {
        self.notice_gone();
        self.lines.iter_mut().filter(|line| !line.is_replay && line.is_open()).collect()
    }
}

impl Line {
    pub(super) fn is_open(&self) -> bool {
        self.connection.closed_at.is_none() && !self.sender.is_closed()
    }

    pub(super) fn send(&self, out: Out) {
        // A client that is gone is noticed elsewhere.
        self.sender.send(out).ok();
    }

    pub(super) fn close(&mut self, now: DateTime<Utc>, why: &str) {
        self.connection.closed_at = Some(now);
        self.connection.why = Some(why.to_owned());
    }

    pub(super) fn end(&mut self, piece: Piece, now: DateTime<Utc>, why: &str) {
        self.send(Out::End(piece));
        self.close(now, why);
    }

    /// Whether it is to get this post.
    fn wants(&self, logged: &Logged) -> bool {
        let is_meant = match &self.wants {
            Wants::V2(_) => !logged.matching.is_empty() && !self.is_replay,
            Wants::V11 { filter, .. } => filter.matches(&logged.post),
        };
        is_meant && self.is_open()
    }

    /// Sends a post as it is, or with what goes wrong.
    pub(super) fn deliver(&mut self, logged: &Logged, fault: Option<Fault>, now: DateTime<Utc>) {
        let message = match &self.wants {
            Wants::V2(asked) => logged.post.v2(asked, &logged.matching),
            Wants::V11 { .. } => logged.post.v11(),
        };
        let line = self.framed(&message);
        let is_v2 = matches!(self.wants, Wants::V2(_));
        match fault {
            None => self.send(Out::Message(line)),
            // These are about what only v2 has.
            Some(Fault::PartialError | Fault::NumericIds | Fault::NullTag | Fault::BareLineFeed) if !is_v2 => {
                self.send(Out::Message(line));
            }
            Some(Fault::PartialError) => {
                let error = r#","errors":[{"value":"1","detail":"Could not find tweet with referenced_tweets.id: [1].","title":"Not Found Error","resource_type":"tweet","parameter":"referenced_tweets.id","resource_id":"1","type":"https://api.x.com/2/problems/resource-not-found"}]}"#;
                let open = message.strip_suffix('}').unwrap_or(&message);
                self.send(Out::Message(format!("{open}{error}\r\n").into_bytes()));
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
            Some(Fault::BareLineFeed) => self.send(Out::Message(format!("{message}\n").into_bytes())),
            Some(Fault::Twice) => {
                self.send(Out::Message(line.clone()));
                self.send(Out::Message(line));
            }
            Some(fault) => self.go_wrong(fault, line, now),
        }
    }

    /// A message as it goes over the wire. A length counts bytes, and the line end with them.
    fn framed(&self, message: &str) -> Vec<u8> {
        match self.wants {
            Wants::V11 { is_delimited: true, .. } => format!("{}\r\n{message}\r\n", message.len() + 2).into_bytes(),
            _ => format!("{message}\r\n").into_bytes(),
        }
    }

    pub(super) fn say(&self, message: &str) {
        self.send(Out::Message(self.framed(message)));
    }

    /// Something goes wrong, with a post at hand or without.
    pub(super) fn go_wrong(&mut self, fault: Fault, line: Vec<u8>, now: DateTime<Utc>) {
        let half = || if line.is_empty() { b"{\"data\":".to_vec() } else { line[..line.len() / 2].to_vec() };
        match fault {
            Fault::TornClose => {
                self.send(Out::Torn(half(), Piece::Close));
                return self.close(now, "torn");
            }
            Fault::TornReset => {
                self.send(Out::Torn(half(), Piece::Reset));
                return self.close(now, "reset");
            }
            Fault::HalfOpen => return self.end(Piece::Hang, now, "half-open"),
            Fault::OnlyKeepAlives => return self.send(Out::OnlyKeepAlives),
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
        for bytes in [before, line] {
            if !bytes.is_empty() {
                self.send(Out::Message(bytes));
            }
        }
        match fault {
            Fault::End => self.end(Piece::End, now, "ended in order"),
            Fault::Disconnect(kind) | Fault::BareDisconnect(kind) => {
                let is_wrapped = matches!(fault, Fault::Disconnect(_));
                self.send(Out::Message(answers::disconnect(kind, is_wrapped)));
                self.end(Piece::End, now, kind);
            }
            _ => {}
        }
    }
}
