//! The contract between the service and those who tell a person that it breaks.
//!
//! What an incident is, and when it is told, is `pipeline/incidents`; a destination only carries a message, and sorts
//! what it is answered into the words of this file.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Alert;
use crate::context::Context;
use crate::record::time_text;
use crate::store::Target;

/// The version of [`Message::json`]. A key that goes, or changes its meaning, raises it; a new one does not.
pub const SHAPE_VERSION: u32 = 1;

/// Something that a person must act on, or at least know. The most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no room: nothing is written.
    DiskFull,
    /// The service has ended by itself.
    Stopped,
    /// Committed lines are not there any more.
    Damage,
    /// There will soon be no room.
    DiskNearlyFull,
    /// A store refuses a loader.
    LoaderParked,
    /// Upstream refuses a source for good.
    Refused,
    /// A source's fields are not where, or what, they were.
    LayoutChanged,
    /// Upstream refuses a source for now.
    Blocked,
    /// A source fails.
    Broken,
    /// A source does nothing, though it should.
    Stalled,
    /// A store does not take records.
    StoreDown,
    /// A loader does not keep up.
    LoaderBehind,
    /// A YAML file cannot be read.
    BrokenFile,
    /// A source has brought as much as it may.
    OverBudget,
    /// A field that records may do without is gone.
    FieldGone,
}

impl Kind {
    /// Every kind, in the order of this type.
    pub const ALL: [Self; 15] = [
        Self::DiskFull,
        Self::Stopped,
        Self::Damage,
        Self::DiskNearlyFull,
        Self::LoaderParked,
        Self::Refused,
        Self::LayoutChanged,
        Self::Blocked,
        Self::Broken,
        Self::Stalled,
        Self::StoreDown,
        Self::LoaderBehind,
        Self::BrokenFile,
        Self::OverBudget,
        Self::FieldGone,
    ];

    /// The word for it in YAML, JSON and the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::Stopped => "stopped",
            Self::Damage => "damage",
            Self::DiskNearlyFull => "disk_nearly_full",
            Self::LoaderParked => "loader_parked",
            Self::Refused => "refused",
            Self::LayoutChanged => "layout_changed",
            Self::Blocked => "blocked",
            Self::Broken => "broken",
            Self::Stalled => "stalled",
            Self::StoreDown => "store_down",
            Self::LoaderBehind => "loader_behind",
            Self::BrokenFile => "broken_file",
            Self::OverBudget => "over_budget",
            Self::FieldGone => "field_gone",
        }
    }
}

/// What a message says of its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It is there.
    Opened,
    /// It has become another, which does not pass by itself.
    Worse,
    /// It is still there.
    Reminder,
    /// It is over.
    Over,
    /// It has happened, and has no end.
    Happened,
    /// There is more than may be told in an hour.
    HeldBack,
    /// What could not be told before, in one.
    Summary,
    /// Nothing: somebody tries whether messages arrive.
    Test,
}

impl Event {
    /// The word for it in JSON and the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Reminder => "reminder",
            Self::Over => "over",
            Self::Happened => "happened",
            Self::HeldBack => "held_back",
            Self::Summary => "summary",
            Self::Test => "test",
        }
    }
}

/// One of those that a message is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name of the source, loader or stream; empty for the service.
    pub name: String,
    /// Since when it is so.
    pub since: DateTime<Utc>,
    /// Why, in the words of whoever found it.
    pub why: String,
    /// How many ticks have failed, where there are ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

/// Who tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teller {
    /// What this tapline is called.
    pub name: String,
    /// Its data folder.
    pub data: String,
    /// The address of its live page, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// What a person is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same when it comes again.
    pub id: String,
    /// What it says.
    pub event: Event,
    /// Of what kind its incident is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Of what other kinds it was, in messages before: whoever heard of those hears of its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Kind>,
    /// Which incident it is about; the same in all of its messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// When it was decided on.
    pub at: DateTime<Utc>,
    /// When the incident began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Those that it is about, of many the first.
    pub about: Vec<About>,
    /// How many those are in all.
    pub count: u64,
    /// One line.
    pub title: String,
    /// Some lines, without the title.
    pub text: String,
    /// Who tells.
    pub from: Teller,
}

impl Message {
    /// Whether it is for somebody who is told of these kinds only; of all, when there are none.
    pub fn is_for(&self, only: &[Kind]) -> bool {
        let is_wanted = |kind: &Kind| only.contains(kind);
        only.is_empty() || self.kind.as_ref().is_none_or(is_wanted) || self.before.iter().any(is_wanted)
    }

    /// It as an object for programs: what a webhook and a command get.
    pub fn json(&self) -> Value {
        let text = |at: Option<DateTime<Utc>>| at.as_ref().map(time_text);
        let about = self.about.iter().map(|about| {
            json!({ "name": about.name, "since": time_text(&about.since), "why": about.why, "missed": about.missed })
        });
        json!({
            "shape": SHAPE_VERSION,
            "id": self.id,
            "event": self.event,
            "kind": self.kind,
            "incident": self.incident,
            "at": time_text(&self.at),
            "since": text(self.since),
            "until": text(self.until),
            "count": self.count,
            "about": about.collect::<Vec<_>>(),
            "title": self.title,
            "text": self.text,
            "from": { "name": self.from.name, "data": self.from.data, "page": self.from.page },
        })
    }
}

/// Of many messages in one so many are named.
const NAMED_MAX: usize = 20;

impl Message {
    /// Several messages, none of which could be delivered, in one.
    pub fn in_one(all: &[&Self], now: DateTime<Utc>) -> Self {
        let last = all.last().expect("invariant: who asks has some");
        let mut lines: Vec<String> =
            all.iter().map(|message| format!("{}  {}", time_text(&message.at), message.title)).collect();
        let more = lines.len().saturating_sub(NAMED_MAX);
        // The latest tell how it is now.
        lines.drain(..more);
        if more > 0 {
            lines.insert(0, format!("{more} more before these"));
        }
        Self {
            id: format!("{}_all", last.id),
            event: Event::Summary,
            kind: None,
            before: Vec::new(),
            incident: None,
            at: now,
            since: all.first().map(|message| message.at),
            until: None,
            about: Vec::new(),
            count: all.len() as u64,
            title: format!("{} messages that could not be delivered before", all.len()),
            text: lines.join("\n"),
            from: last.from.clone(),
        }
    }
}

/// A place where somebody is told.
///
/// No retry loop, no sleep and no log line: those are the telling's.
#[async_trait]
pub trait Destination: Send {
    /// Brings one message there. The same message may come again, after a failure and after a restart. When the future is
    /// dropped, because it took too long, whatever it began ends.
    ///
    /// # Errors
    /// Each variant of [`TellError`] is an instruction.
    async fn tell(&mut self, message: &Message) -> Result<(), TellError>;
}

/// Why a message was not taken, named by what is done about it. Every variant keeps its cause, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// Nobody was reached, or whoever was is busy, or does not let us in: told again later.
    #[error("not taken")]
    Again {
        /// How long they want to be left alone, if they said so.
        wait: Option<Duration>,
        /// What happened.
        #[source]
        cause: anyhow::Error,
    },
    /// Some of those who are told there have it, and others will not: not told again.
    #[error("not taken by all")]
    Partly(#[source] anyhow::Error),
    /// This message they will not have, however often it comes; another may do.
    #[error("refused")]
    Refused(#[source] anyhow::Error),
}

impl TellError {
    /// Another time, whenever that is.
    pub fn again(cause: impl Into<anyhow::Error>) -> Self {
        Self::Again { wait: None, cause: cause.into() }
    }
}

/// What is wrong with a destination's keys: the key, and why.
pub type Wrong = (&'static str, anyhow::Error);

/// Makes a destination of what the service's file says. No network yet.
pub type OpenDestination = fn(&Alert, Target, &Context) -> Result<Box<dyn Destination>, Wrong>;

/// One way of telling: a line of the list in `alerts/mod.rs`.
pub struct DestinationKind {
    /// Its name, in one word.
    pub name: &'static str,
    /// The schemes of its addresses.
    pub schemes: &'static [&'static str],
    /// One sentence for lists.
    pub about: &'static str,
    /// An entry of `alerts:`. A test opens it, and the docs print it.
    pub example: &'static str,
    /// The keys that only some destinations have, and this one does.
    pub keys: &'static [&'static str],
    /// What may stand in the address's query that is ours: name, and what it is for.
    pub options: &'static [(&'static str, &'static str)],
    /// Whether the rest of the query belongs to whoever is told.
    pub has_query: bool,
    /// The address as it may be shown: for some the path alone lets anybody in.
    pub shown: fn(&Target) -> String,
    /// Makes it.
    pub open: OpenDestination,
}

/// A text from anywhere as a part of a message: one line, without what moves a cursor or turns a line around, and of
/// `chars_max` characters at most.
pub fn plain(text: &str, chars_max: usize) -> Cow<'_, str> {
    // Control characters, and those that Unicode has for the direction of text.
    let is_plain = |next: char| {
        !next.is_control()
            && !matches!(next, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if text.chars().all(is_plain) && text.chars().count() <= chars_max {
        return Cow::Borrowed(text);
    }
    let mut plain: String = text.chars().map(|next| if is_plain(next) { next } else { ' ' }).take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        plain.pop();
        plain.push('…');
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_event_has_one_word() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
        assert!(Kind::ALL.is_sorted(), "the order is that of the type");
        for event in [
            Event::Opened,
            Event::Worse,
            Event::Reminder,
            Event::Over,
            Event::Happened,
            Event::HeldBack,
            Event::Summary,
            Event::Test,
        ] {
            assert_eq!(serde_json::to_value(event).unwrap(), event.word());
        }
    }

    #[test]
    fn a_text_from_anywhere_is_one_plain_line() {
        for (text, expected) in [
            ("as it is: ü \"x\"", "as it is: ü \"x\""),
            ("a\nb\u{1b}[31m\u{202e}c", "a b [31m c"),
            ("0123456789012345678901234", "0123456789012345678…"),
            ("01234567890123456789", "01234567890123456789"),
        ] {
            assert_eq!(plain(text, 20), expected);
        }
    }
}
