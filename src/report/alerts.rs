//! What a person is told, in words: short enough for a phone, and with what to do.

use chrono::{DateTime, Utc};

use crate::alert::{About, Event, Kind, Message, Teller, plain};
use crate::pipeline::incidents::Told;
use crate::record::time_text;
use crate::secrets;

use super::lengths::{many, words};
use super::source::moment;

/// So many are named in a text, and so many in the JSON.
const NAMED_MAX: usize = 10;
const ABOUT_MAX: usize = 50;

/// What is said of a reason, in characters.
const WHY_MAX: usize = 200;

/// Makes messages for one data folder.
pub struct Words {
    /// Who tells.
    pub teller: Teller,
    /// The beginning of the folder's identity, so that ids of several folders differ.
    pub mark: String,
    /// The folder of sources, as it was named.
    pub sources: String,
}

impl Words {
    /// The message that says this. `number` is its place among all messages of the folder.
    pub fn message(&self, told: &Told, number: u64, now: DateTime<Utc>) -> Message {
        let about: Vec<About> = told.about.iter().map(hidden).collect();
        let title = title(told);
        let text = match told.event {
            Event::HeldBack => "No more are sent this hour; what is still so then comes in one.".to_owned(),
            Event::Summary => summary(told, now),
            _ => self.text(told, &about, now),
        };
        let page = self.page(told);
        let text = format!("{text}\n{}", self.look(told, page.as_deref()));
        Message {
            id: format!("a_{}_{number:x}", self.mark),
            event: told.event,
            kind: told.kind,
            before: told.before.clone(),
            incident: told.incident.map(|incident| format!("i_{}_{incident:x}", self.mark)),
            at: now,
            since: told.since,
            until: told.until,
            count: if told.event == Event::HeldBack { told.more } else { (about.len() + told.parts.len()) as u64 },
            about: about.into_iter().take(ABOUT_MAX).collect(),
            title: secrets::hide(&title).into_owned(),
            text: secrets::hide(&text).into_owned(),
            from: Teller { page, ..self.teller.clone() },
        }
    }

    /// A message that says nothing but that messages arrive.
    pub fn test(&self, now: DateTime<Utc>) -> Message {
        let told = Told { event: Event::Test, ..Told::happened(Kind::Stopped, Vec::new(), now) };
        Message {
            id: format!("a_{}_test_{:x}", self.mark, now.timestamp_millis()),
            kind: None,
            since: None,
            title: "a test of tapline's alerts".to_owned(),
            text: format!("Nothing is wrong: somebody has run `tapline alerts --test`.\n{}", self.look(&told, None)),
            ..self.message(&told, 0, now)
        }
    }

    /// What there is to say of one incident.
    fn text(&self, told: &Told, about: &[About], now: DateTime<Utc>) -> String {
        let mut lines = Vec::new();
        match (told.event, told.since, told.until) {
            (Event::Over, Some(since), Some(until)) => {
                let length = words((until - since).num_microseconds().unwrap_or(i64::MAX) / 1_000_000 * 1_000_000);
                lines.push(format!(
                    "It was so for {length}, from {} to {} UTC.",
                    moment(since, now),
                    moment(until, now)
                ));
                let missed: u64 = about.iter().filter_map(|about| about.missed).sum();
                if missed > 0 {
                    lines.push(format!("{} ticks failed.", many(missed)));
                }
            }
            (Event::Happened, _, _) => {}
            (_, Some(since), _) => {
                let length = words((now - since).num_seconds().max(0) * 1_000_000);
                lines.push(format!("Since {} UTC, for {length}.", moment(since, now)));
            }
            _ => {}
        }
        if told.event != Event::Over {
            reasons(about, &mut lines);
            lines.push(format!("To do: {}", self.to_do(told, about)));
        } else if !told.still.is_empty() {
            lines.push(format!("Still not well: {}.", names(&told.still)));
        }
        lines.join("\n")
    }

    /// Where to look, and who tells.
    fn look(&self, told: &Told, page: Option<&str>) -> String {
        let command = match told.kind {
            Some(Kind::LoaderParked | Kind::StoreDown | Kind::LoaderBehind) => "tapline loaders",
            Some(Kind::BrokenFile) => "tapline check",
            Some(_) if told.event != Event::Test => "tapline status",
            _ => "tapline alerts",
        };
        let page = page.map_or_else(String::new, |page| format!(", {page}"));
        format!("{command}{page} (tapline on {})", self.teller.name)
    }

    /// The page that shows it.
    fn page(&self, told: &Told) -> Option<String> {
        let page = self.teller.page.as_ref()?;
        let of_loader = matches!(told.kind, Some(Kind::LoaderParked | Kind::StoreDown | Kind::LoaderBehind));
        let of_source = told.kind.is_some_and(is_of_source);
        Some(match told.about.as_slice() {
            [one] if of_source && !one.name.is_empty() => format!("{page}/source/{}", one.name),
            _ if of_loader => format!("{page}/loaders"),
            _ => format!("{page}/"),
        })
    }

    /// What mends it.
    fn to_do(&self, told: &Told, about: &[About]) -> String {
        let name = match about {
            [one] => one.name.as_str(),
            _ => "NAME",
        };
        let file = format!("{}/{name}.yaml", self.sources);
        match told.kind.unwrap_or(Kind::Broken) {
            Kind::DiskFull => "make room, or set `retain`; it goes on by itself.".to_owned(),
            Kind::Stopped => "see to the disk and start it again; it recovers by itself.".to_owned(),
            Kind::Damage => "see to the disk; the ledger says what is missing, and a backup may have it.".to_owned(),
            Kind::DiskNearlyFull => "make room, or set `retain`, before nothing can be written.".to_owned(),
            Kind::LoaderParked => "mend what the store says; it is tried again by itself.".to_owned(),
            Kind::Refused => format!("mend what upstream says (login, plan, rights), then save {file} again."),
            Kind::LayoutChanged => format!("`tapline try {file}` shows what is found; mend `fields`."),
            Kind::Blocked => format!("ask less often, or get permission; `tapline try {file}` shows the answer."),
            Kind::Broken if about.len() > 1 => {
                "is the network there? `tapline doctor` shows what can be reached.".to_owned()
            }
            Kind::Broken => format!("`tapline try {file}` shows what comes; it is tried again by itself."),
            Kind::Stalled => "see the log; a restart of tapline loses nothing.".to_owned(),
            Kind::StoreDown => "is the store there? Nothing is lost, and it is tried again by itself.".to_owned(),
            Kind::LoaderBehind => {
                "the store is too slow for what comes; nothing is lost until `retain` says so.".to_owned()
            }
            Kind::BrokenFile => "`tapline check` shows everything that is wrong with it.".to_owned(),
            Kind::OverBudget => {
                "nothing, or a larger `budget`; it goes on by itself when the time has come.".to_owned()
            }
            Kind::FieldGone => format!("records come without it; `tapline try {file}` shows what is found."),
        }
    }
}

fn is_of_source(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Refused
            | Kind::LayoutChanged
            | Kind::Blocked
            | Kind::Broken
            | Kind::Stalled
            | Kind::OverBudget
            | Kind::FieldGone
            | Kind::BrokenFile
    )
}

/// What is said of one, without secrets and without what a terminal would obey.
fn hidden(about: &About) -> About {
    let why = secrets::hide(&about.why);
    About { why: plain(&why, WHY_MAX).into_owned(), ..about.clone() }
}

/// Why, for each of a few.
fn reasons(about: &[About], lines: &mut Vec<String>) {
    if let [one] = about {
        if !one.why.is_empty() {
            lines.push(one.why.clone());
        }
        if let Some(missed) = one.missed.filter(|missed| *missed > 1) {
            lines.push(format!("{} ticks in a row failed.", many(missed)));
        }
    } else {
        lines.extend(about.iter().take(NAMED_MAX).map(|about| format!("- {}: {}", about.name, about.why)));
        let more = about.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            lines.push(format!("- and {} more", many(more as u64)));
        }
    }
}

fn names(about: &[About]) -> String {
    let mut names: Vec<&str> = about.iter().take(NAMED_MAX).map(|about| about.name.as_str()).collect();
    let more = about.len().saturating_sub(NAMED_MAX);
    let more_words = format!("{} more", many(more as u64));
    if more > 0 {
        names.push(&more_words);
    }
    names.join(", ")
}

/// What was held back: how it is now, one line each.
fn summary(told: &Told, now: DateTime<Utc>) -> String {
    let mut lines: Vec<String> = told
        .parts
        .iter()
        .take(2 * NAMED_MAX)
        .map(|part| {
            let since = part.since.map_or_else(String::new, |since| format!(", since {} UTC", moment(since, now)));
            format!("- {}{since}", title(part))
        })
        .collect();
    let more = told.parts.len().saturating_sub(2 * NAMED_MAX);
    if more > 0 {
        lines.push(format!("- and {} more", many(more as u64)));
    }
    if told.more > 0 {
        lines.push(format!("{} more came and went.", many(told.more)));
    }
    lines.join("\n")
}

/// One line that says what happened.
fn title(told: &Told) -> String {
    match told.event {
        Event::HeldBack => return format!("{} more messages are held back", many(told.more)),
        Event::Summary => return format!("{} messages that were held back", many(told.parts.len() as u64)),
        _ => {}
    }
    let kind = told.kind.unwrap_or(Kind::Broken);
    let who = who(kind, told);
    let (is, are) = (told.about.len() == 1, told.about.len() != 1);
    let be = if is { "is" } else { "are" };
    let its = if is { "its" } else { "their" };
    match told.event {
        Event::Over => over(kind, &who, are),
        Event::Reminder => format!("still: {}", opened(kind, &who, be, its)),
        Event::Worse => format!("worse: {}", opened(kind, &who, be, its)),
        _ => opened(kind, &who, be, its),
    }
}

fn who(kind: Kind, told: &Told) -> String {
    let of_loader = matches!(kind, Kind::LoaderParked | Kind::StoreDown | Kind::LoaderBehind);
    let all = told.about.len() + told.still.len();
    match (told.about.as_slice(), of_loader) {
        ([one], _) if one.name.is_empty() => "tapline".to_owned(),
        ([one], true) => format!("loader {}", one.name),
        ([one], false) => one.name.clone(),
        (about, _) => {
            let what = match kind {
                _ if of_loader => "loaders",
                Kind::Damage => "streams",
                _ => "sources",
            };
            let of = if told.still.is_empty() { String::new() } else { format!(" of {}", many(all as u64)) };
            format!("{}{of} {what}", many(about.len() as u64))
        }
    }
}

fn opened(kind: Kind, who: &str, be: &str, its: &str) -> String {
    match kind {
        Kind::DiskFull => "the disk is full: nothing is collected".to_owned(),
        Kind::Stopped => "tapline has stopped".to_owned(),
        Kind::Damage => format!("lines of {who} are missing"),
        Kind::DiskNearlyFull => "the disk is nearly full".to_owned(),
        Kind::LoaderParked => format!("{who} {be} parked: the store refuses"),
        Kind::Refused => format!("{who} {be} refused for good"),
        Kind::LayoutChanged => format!("{who}: the page has changed"),
        Kind::Blocked => format!("{who} {be} blocked"),
        Kind::Broken => format!("{who} {be} broken"),
        Kind::Stalled => format!("{who} {be} stalled"),
        Kind::StoreDown => format!("{who}: the store takes nothing"),
        Kind::LoaderBehind => format!("{who} {be} far behind"),
        Kind::BrokenFile => format!("{who}: {its} YAML cannot be read"),
        Kind::OverBudget => format!("{who}: the budget is used up"),
        Kind::FieldGone => format!("{who}: a field is gone"),
    }
}

fn over(kind: Kind, who: &str, are: bool) -> String {
    let (be, s) = if are { ("are", "") } else { ("is", "s") };
    match kind {
        Kind::DiskFull => "there is room again: collecting goes on".to_owned(),
        Kind::DiskNearlyFull => "the disk is not nearly full any more".to_owned(),
        Kind::LoaderParked | Kind::StoreDown => format!("{who} load{s} again"),
        Kind::LoaderBehind => format!("{who} {be} caught up"),
        Kind::BrokenFile => format!("{who}: the YAML is in order"),
        Kind::OverBudget => format!("{who} collect{s} again"),
        Kind::FieldGone => format!("{who}: the field is there again"),
        _ => format!("{who} {be} well again"),
    }
}

/// The entry of the ledger that says that this was told: how many, and the first of them by name.
pub fn entry(told: &Told, message: &Message) -> serde_json::Value {
    let names: Vec<&str> = told.about.iter().take(NAMED_MAX).map(|about| about.name.as_str()).collect();
    serde_json::json!({
        "event": told.event,
        "kind": told.kind,
        "incident": message.incident,
        "message": message.id,
        "names": names,
        "count": message.count,
        "since": told.since.as_ref().map(time_text),
        "until": told.until.as_ref().map(time_text),
        "title": message.title,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn about(name: &str, why: &str, missed: u64) -> About {
        About {
            name: name.into(),
            since: at("2026-11-23T10:04:00Z"),
            why: why.into(),
            missed: (missed > 0).then_some(missed),
        }
    }

    fn told(event: Event, kind: Kind, about: Vec<About>) -> Told {
        Told {
            event,
            incident: Some(4),
            since: Some(at("2026-11-23T10:04:00Z")),
            ..Told::happened(kind, about, at("2026-11-23T10:04:00Z"))
        }
    }

    fn said(told: &Told) -> String {
        let teller =
            Teller { name: "web-3".into(), data: "/srv/data".into(), page: Some("http://127.0.0.1:8080".into()) };
        let words = Words { teller, mark: "k3f9".into(), sources: "sources".into() };
        let message = words.message(told, 17, at("2026-11-23T10:10:00Z"));
        format!("{}\n{}", message.title, message.text)
    }

    #[test]
    fn what_a_person_reads() {
        let why = "cannot_connect: no connection to https://example.com/quote?symbol=***: dns error";
        insta::assert_snapshot!(said(&told(Event::Opened, Kind::Broken, vec![about("bse", why, 360)])), @r"
        bse is broken
        Since 10:04 UTC, for 6m.
        cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        360 ticks in a row failed.
        To do: `tapline try sources/bse.yaml` shows what comes; it is tried again by itself.
        tapline status, http://127.0.0.1:8080/source/bse (tapline on web-3)
        ");
        let over = Told {
            until: Some(at("2026-11-23T13:09:10Z")),
            ..told(Event::Over, Kind::Broken, vec![about("bse", why, 11_110)])
        };
        insta::assert_snapshot!(said(&over), @r"
        bse is well again
        It was so for 3h 5m, from 10:04 to 13:09:10 UTC.
        11,110 ticks failed.
        tapline status, http://127.0.0.1:8080/source/bse (tapline on web-3)
        ");
        let all = (0..200).map(|source| about(&format!("s{source}"), why, 3)).collect();
        insta::assert_snapshot!(said(&told(Event::Opened, Kind::Broken, all)), @r"
        200 sources are broken
        Since 10:04 UTC, for 6m.
        - s0: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s1: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s2: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s3: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s4: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s5: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s6: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s7: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s8: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - s9: cannot_connect: no connection to https://example.com/quote?symbol=***: dns error
        - and 190 more
        To do: is the network there? `tapline doctor` shows what can be reached.
        tapline status, http://127.0.0.1:8080/ (tapline on web-3)
        ");
        let most = (0..7).map(|source| about(&format!("s{source}"), why, 100)).collect();
        let still = vec![about("s7", why, 100)];
        let over = Told { still, until: Some(at("2026-11-23T10:09:00Z")), ..told(Event::Over, Kind::Broken, most) };
        insta::assert_snapshot!(said(&over), @r"
        7 of 8 sources are well again
        It was so for 5m, from 10:04 to 10:09 UTC.
        700 ticks failed.
        Still not well: s7.
        tapline status, http://127.0.0.1:8080/ (tapline on web-3)
        ");
    }

    /// One title and one thing to do for each kind.
    #[test]
    fn what_each_kind_says() {
        let mut page = String::new();
        for kind in Kind::ALL {
            let is_of_all = matches!(kind, Kind::DiskFull | Kind::DiskNearlyFull | Kind::Stopped);
            let name = if is_of_all { "" } else { "x" };
            let opened = said(&told(Event::Opened, kind, vec![about(name, "", 0)]));
            let over = said(&told(Event::Over, kind, vec![about(name, "", 0)]));
            let to_do = opened.lines().find(|line| line.starts_with("To do")).unwrap();
            page.extend([format!(
                "{}\n  {to_do}\n  {}\n",
                opened.lines().next().unwrap(),
                over.lines().next().unwrap()
            )]);
        }
        insta::assert_snapshot!(page, @r"
        the disk is full: nothing is collected
          To do: make room, or set `retain`; it goes on by itself.
          there is room again: collecting goes on
        tapline has stopped
          To do: see to the disk and start it again; it recovers by itself.
          tapline is well again
        lines of x are missing
          To do: see to the disk; the ledger says what is missing, and a backup may have it.
          x is well again
        the disk is nearly full
          To do: make room, or set `retain`, before nothing can be written.
          the disk is not nearly full any more
        loader x is parked: the store refuses
          To do: mend what the store says; it is tried again by itself.
          loader x loads again
        x is refused for good
          To do: mend what upstream says (login, plan, rights), then save sources/x.yaml again.
          x is well again
        x: the page has changed
          To do: `tapline try sources/x.yaml` shows what is found; mend `fields`.
          x is well again
        x is blocked
          To do: ask less often, or get permission; `tapline try sources/x.yaml` shows the answer.
          x is well again
        x is broken
          To do: `tapline try sources/x.yaml` shows what comes; it is tried again by itself.
          x is well again
        x is stalled
          To do: see the log; a restart of tapline loses nothing.
          x is well again
        loader x: the store takes nothing
          To do: is the store there? Nothing is lost, and it is tried again by itself.
          loader x loads again
        loader x is far behind
          To do: the store is too slow for what comes; nothing is lost until `retain` says so.
          loader x is caught up
        x: its YAML cannot be read
          To do: `tapline check` shows everything that is wrong with it.
          x: the YAML is in order
        x: the budget is used up
          To do: nothing, or a larger `budget`; it goes on by itself when the time has come.
          x collects again
        x: a field is gone
          To do: records come without it; `tapline try sources/x.yaml` shows what is found.
          x: the field is there again
        ");
    }

    #[test]
    fn what_is_held_back_and_what_goes_on() {
        let held = Told { more: 3, kind: None, since: None, ..told(Event::HeldBack, Kind::Broken, vec![]) };
        insta::assert_snapshot!(said(&held), @r"
        3 more messages are held back
        No more are sent this hour; what is still so then comes in one.
        tapline alerts, http://127.0.0.1:8080/ (tapline on web-3)
        ");
        let parts = vec![
            told(Event::Opened, Kind::LayoutChanged, vec![about("bse", "", 0)]),
            told(Event::Over, Kind::StoreDown, vec![about("pg", "", 0)]),
        ];
        let summary = Told { parts, more: 2, kind: None, since: None, ..told(Event::Summary, Kind::Broken, vec![]) };
        insta::assert_snapshot!(said(&summary), @r"
        2 messages that were held back
        - bse: the page has changed, since 10:04 UTC
        - loader pg loads again, since 10:04 UTC
        2 more came and went.
        tapline alerts, http://127.0.0.1:8080/ (tapline on web-3)
        ");
        let day = TimeDelta::days(1);
        let old = Told {
            since: Some(at("2026-11-23T10:10:00Z") - day),
            ..told(Event::Reminder, Kind::Refused, vec![about("x", "402 Payment Required", 0)])
        };
        insta::assert_snapshot!(said(&old), @r"
        still: x is refused for good
        Since 2026-11-22 10:10 UTC, for 1d.
        402 Payment Required
        To do: mend what upstream says (login, plan, rights), then save sources/x.yaml again.
        tapline status, http://127.0.0.1:8080/source/x (tapline on web-3)
        ");
    }

    #[test]
    fn nothing_that_upstream_says_moves_a_cursor() {
        let text =
            said(&told(Event::Opened, Kind::Broken, vec![about("x", "\u{1b}[2J\u{202e}evil\nTo do: nothing", 0)]));
        assert!(text.contains("\n [2J evil To do: nothing\n"), "{text:?}");
        assert!(!text.contains(|next: char| next.is_control() && next != '\n'));
    }
}
