//! The state of a source in words, and whether all is well with it. Pure: the time and the facts are given.

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::Kind;
use crate::config::SourceConfig;
use crate::pipeline::folder::Found;
use crate::pipeline::incidents::Condition;
use crate::pipeline::ledger::Failing;
use crate::pipeline::schedule::Slots;
use crate::source::Outcome;

use super::committed::Running;
use super::lengths::words;
use super::saved::{SavedSource, Tally, Unreliable};

/// A driver gives a call five minutes, and a stream saves each minute that it is alive: one that says nothing for
/// longer has stalled.
const CALL_MAX: TimeDelta = TimeDelta::minutes(6);

/// Ticks fail now and then. For so long is trouble.
const FAILING_MAX: TimeDelta = TimeDelta::minutes(5);

/// It is worth a word that no record came for so long, when so many would have.
const QUIET_MIN: TimeDelta = TimeDelta::minutes(2);
const RECORDS_MISSED_MAX: f64 = 10.0;

/// A source is started within two seconds of its file's being there.
const START_MAX: TimeDelta = TimeDelta::seconds(10);

/// The minutes that a rate is taken over.
const RATE_MINUTES: i64 = 5;

/// The YAML file of a source.
#[derive(Debug, Clone)]
pub enum File {
    /// In order.
    Good {
        /// The kind of source.
        kind: String,
        /// When it falls due, if it is polled.
        slots: Option<Slots>,
        /// How many failed ticks in a row are told at once, where the file says so.
        alert_after: Option<u64>,
    },
    /// It says `enabled: false`.
    Disabled,
    /// It has this error, and perhaps more.
    Broken(String),
    /// There is none.
    Gone,
}

impl File {
    /// What a file that is in order is.
    pub fn of(config: &SourceConfig) -> Self {
        if !config.enabled {
            return Self::Disabled;
        }
        let slots = config.schedule.as_ref().map(|schedule| Slots::new(&config.name, schedule));
        let alert_after = config.drift.alert_after;
        Self::Good { kind: config.kind.to_owned(), slots: slots.and_then(Result::ok), alert_after }
    }

    /// What the folder of sources holds there.
    pub fn found(found: &Found) -> Self {
        match found {
            Found::Good(config) => Self::of(config),
            Found::Broken { why, .. } => Self::Broken(why.clone()),
        }
    }

    /// The word for it in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Good { .. } => "good",
            Self::Disabled => "disabled",
            Self::Broken(_) => "broken",
            Self::Gone => "gone",
        }
    }

    /// The kind of source, where it is known.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Good { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

/// What is wrong with a source that runs.
struct Trouble {
    condition: Condition,
    /// What the state alone does not say of it.
    words: Option<String>,
    /// Whether it is more than what happens now and then.
    is_long: bool,
}

/// What is known of a source.
#[derive(Debug)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its YAML file.
    pub file: File,
    /// What its driver has saved.
    pub saved: Option<SavedSource>,
    /// The service that runs.
    pub service: Option<Running>,
}

impl Tally {
    /// Records in a minute, over the last whole ones. `None` when nothing is known of them.
    pub fn rate(&self, now: DateTime<Utc>) -> Option<f64> {
        let this = now.timestamp().div_euclid(60);
        // One that is not in the list had no record, unless it is before the first.
        self.rate_in(self.minutes.first()?.0.max(this - RATE_MINUTES), this)
    }

    /// Records in a minute while they came, over every minute that is known.
    fn rate_then(&self) -> Option<f64> {
        self.rate_in(self.minutes.first()?.0, self.minutes.last()?.0 + 1)
    }

    fn rate_in(&self, first: i64, end: i64) -> Option<f64> {
        let records: u64 =
            self.minutes.iter().filter(|(minute, _)| (first..end).contains(minute)).map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        (end > first).then(|| records as f64 / (end - first) as f64)
    }

    /// How long the last record took from upstream to here, in seconds.
    pub fn lag(&self) -> Option<f64> {
        let lag = self.record_at? - self.published_at?;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of any real lag are exact")]
        lag.num_microseconds().map(|micros| micros as f64 / 1e6)
    }
}

impl Facts {
    /// Whether the service that runs has this source among its own, as far as its state tells.
    pub fn runs(&self) -> bool {
        let is_over = matches!(self.state(), Some("stopped" | "refused" | "finished"));
        self.service.is_some() && self.saved.is_some() && !is_over && !matches!(self.file, File::Disabled | File::Gone)
    }

    fn state(&self) -> Option<&str> {
        self.saved.as_ref()?.tally.state.as_deref()
    }

    /// Its state in words, and whether all is well.
    pub fn words(&self, now: DateTime<Utc>) -> (String, bool) {
        let (mut text, is_well) = self.present(now);
        if let File::Broken(wrong) = &self.file {
            let still = if self.saved.is_some() { format!("; {text}") } else { String::new() };
            text = format!("its file is broken: {wrong}{still}");
            return (text, false);
        }
        (text, is_well)
    }

    fn present(&self, now: DateTime<Utc>) -> (String, bool) {
        let Some(saved) = &self.saved else { return self.unknown(now) };
        let tally = &saved.tally;
        let gone = match self.file {
            File::Gone => "its file is gone",
            File::Disabled => "disabled",
            _ if self.service.is_none() => "not running",
            _ => "",
        };
        if !gone.is_empty() {
            let was = Self::what(saved, now);
            // A source that was taken away is no trouble; a service that does not run is.
            let word = if tally.state.as_deref() == Some("stopped") { "" } else { "was " };
            return (format!("{gone}; {word}{was}"), self.service.is_some());
        }
        let trouble = self.trouble(saved, now);
        let is_well = trouble.as_ref().is_none_or(|trouble| !trouble.is_long);
        let mut parts = vec![Self::what(saved, now)];
        parts.extend(trouble.and_then(|trouble| trouble.words));
        parts.extend(tally.ailments.keys().map(|about| format!("{about} is gone")));
        if !matches!(tally.state.as_deref(), Some("refused" | "over_budget" | "stopped" | "finished")) {
            parts.extend(last_record(tally, now));
            // Where nothing else comes, that is worth a look.
            let ignored =
                Some(&tally.ignored).filter(|_| tally.record_at.is_none()).filter(|ignored| !ignored.is_empty());
            parts.extend(ignored.map(|ignored| format!("ignored: {ignored}")));
        }
        (parts.join(", "), is_well)
    }

    fn unknown(&self, now: DateTime<Utc>) -> (String, bool) {
        match (&self.file, &self.service) {
            (File::Disabled, _) => ("disabled".to_owned(), true),
            (_, None) => ("not running, and has not run yet".to_owned(), false),
            (_, Some(service)) => {
                let is_new = service.since.is_some_and(|since| now - since < START_MAX);
                (if is_new { "starting" } else { "has not started; is it among those that run?" }.to_owned(), is_new)
            }
        }
    }

    /// The state itself.
    fn what(saved: &SavedSource, now: DateTime<Utc>) -> String {
        let tally = &saved.tally;
        let since = tally.since.map_or_else(String::new, |at| format!(" since {}", moment(at, now)));
        let why = tally.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        match tally.state.as_deref() {
            Some("waiting") => {
                let until = tally.until.map_or_else(String::new, |at| format!(" until {}", moment(at, now)));
                format!("waiting{until}{why}")
            }
            Some("over_budget") => {
                let until = tally.until.map_or_else(String::new, |at| format!(" until {}", moment(at, now)));
                format!("over budget{until}{why}")
            }
            Some(state) => format!("{state}{since}{why}"),
            // Of an older version.
            None => match (saved.slot, saved.alive_at) {
                (Some(slot), _) => format!("scheduled, last slot {}", moment(slot, now)),
                (None, Some(alive_at)) => format!("streaming, last alive {}", moment(alive_at, now)),
                (None, None) => "started".to_owned(),
            },
        }
    }

    /// What is wrong with it, for those who are told: nothing, while the service does not run or the source is not to.
    pub fn conditions(&self, now: DateTime<Utc>) -> Vec<Condition> {
        let mut found = Vec::new();
        if self.service.is_none() || matches!(self.file, File::Disabled | File::Gone) {
            return found;
        }
        if let File::Broken(wrong) = &self.file {
            let still = if self.saved.is_some() { "; its last good version still runs" } else { "; it does not run" };
            found.push(self.condition(Kind::BrokenFile, None, format!("{wrong}{still}")));
        }
        match &self.saved {
            Some(saved) => {
                found.extend(self.trouble(saved, now).map(|trouble| trouble.condition));
                found.extend(self.ailing(saved));
            }
            None if found.is_empty() && !self.unknown(now).1 => {
                found.push(self.condition(Kind::Stalled, None, "it has not started".to_owned()));
            }
            None => {}
        }
        found
    }

    fn condition(&self, kind: Kind, since: Option<DateTime<Utc>>, why: String) -> Condition {
        Condition { kind, name: self.name.clone(), since, last: None, count: 0, enough: None, why }
    }

    /// What is wrong with it.
    fn trouble(&self, saved: &SavedSource, now: DateTime<Utc>) -> Option<Trouble> {
        let Tally { since, why, .. } = &saved.tally;
        let why = why.clone().unwrap_or_default();
        let of_state = |kind| Trouble { condition: self.condition(kind, *since, why), words: None, is_long: true };
        match saved.tally.state.as_deref() {
            Some("refused") => Some(of_state(Kind::Refused)),
            Some("over_budget") => Some(of_state(Kind::OverBudget)),
            Some("stopped" | "finished") => None,
            _ => {
                let stalled = self.stalled(now).map(|words| Trouble {
                    condition: self.condition(Kind::Stalled, saved.slot.or(saved.alive_at), words.clone()),
                    words: Some(words),
                    is_long: true,
                });
                stalled.or_else(|| self.ticks_fail(saved, now)).or_else(|| self.lost(saved, now))
            }
        }
    }

    /// What it should have done by now and has not, in words: it hangs, and not what it asks. `None` for one that is not
    /// to run.
    pub fn stalled(&self, now: DateTime<Utc>) -> Option<String> {
        if self.service.is_none() || matches!(self.file, File::Disabled | File::Gone) {
            return None;
        }
        let saved = self.saved.as_ref()?;
        let state = saved.tally.state.as_deref();
        if matches!(state, Some("waiting" | "over_budget" | "stopped" | "finished" | "refused")) {
            return None;
        }
        // What fell due while nobody ran it is no fault of this run's; it is accounted for with the next tick.
        let begun = self.service.as_ref().and_then(|service| service.since);
        if let File::Good { slots: Some(slots), .. } = &self.file {
            let slot = saved.slot?;
            let late = now - slots.next(begun.map_or(slot, |begun| slot.max(begun)))?;
            return (late > CALL_MAX).then(|| format!("stalled: no tick for {}", length(now - slot)));
        }
        let alive_at = saved.alive_at?;
        let silent = now - begun.map_or(alive_at, |begun| alive_at.max(begun));
        let is_silent = matches!(state, None | Some("streaming")) && silent > CALL_MAX;
        is_silent.then(|| format!("stalled: no sign of life for {}", length(silent)))
    }

    /// That ticks fail: all of them for a while, or too many of the last ones. What began first is what is wrong.
    fn ticks_fail(&self, saved: &SavedSource, now: DateTime<Utc>) -> Option<Trouble> {
        let found = [self.failing(saved, now), self.unreliable(saved, now)];
        found.into_iter().flatten().min_by_key(|trouble| trouble.condition.since)
    }

    /// That too few of the last ticks were good.
    fn unreliable(&self, saved: &SavedSource, now: DateTime<Utc>) -> Option<Trouble> {
        let Unreliable { since, failed, of, outcome, reason } = saved.tally.unreliable.clone()?;
        let why = format!("{failed} of the last {of} ticks failed, the last with {}: {reason}", outcome.as_str());
        let words = Some(why.clone());
        let condition = self.condition(kind_of(outcome), Some(since), why);
        Some(Trouble { condition, words, is_long: now - since >= FAILING_MAX })
    }

    /// That fields are gone that records may do without.
    fn ailing(&self, saved: &SavedSource) -> Option<Condition> {
        let since = saved.tally.ailments.values().map(|ailing| ailing.since).min()?;
        let why: Vec<String> =
            saved.tally.ailments.iter().map(|(about, ailing)| format!("{about}: {}", ailing.why)).collect();
        Some(self.condition(Kind::FieldGone, Some(since), why.join("; and ")))
    }

    /// That no tick has been good since one failed.
    fn failing(&self, saved: &SavedSource, now: DateTime<Utc>) -> Option<Trouble> {
        let Failing { since, last, count, outcome, reason } = saved.book.as_ref()?.failing()?;
        let why =
            if reason.is_empty() { outcome.as_str().to_owned() } else { format!("{}: {reason}", outcome.as_str()) };
        let words = format!("failing for {}: {why}", length(now - since));
        let enough = if let File::Good { alert_after, .. } = &self.file { *alert_after } else { None };
        let condition = self.condition(kind_of(outcome), Some(since), reason);
        let condition = Condition { last: Some(last), count, enough, ..condition };
        Some(Trouble { condition, words: Some(words), is_long: now - since >= FAILING_MAX })
    }

    /// That a stream has no connection.
    fn lost(&self, saved: &SavedSource, now: DateTime<Utc>) -> Option<Trouble> {
        let lost = saved.tally.lost?;
        let is_long = now - lost.at >= FAILING_MAX;
        let why = saved.tally.why.clone().unwrap_or_default();
        let words = is_long.then(|| format!("not connected for {}", length(now - lost.at)));
        Some(Trouble { condition: self.condition(kind_of(lost.outcome), Some(lost.at), why), words, is_long })
    }
}

/// What a person is told of ticks that have this outcome.
fn kind_of(outcome: Outcome) -> Kind {
    match outcome {
        Outcome::Missing | Outcome::Invalid => Kind::LayoutChanged,
        Outcome::Blocked => Kind::Blocked,
        _ => Kind::Broken,
    }
}

/// When the last record came, and how many come.
fn last_record(tally: &Tally, now: DateTime<Utc>) -> Option<String> {
    let age = now - tally.record_at?;
    let then = tally.rate_then().filter(|rate| *rate > 0.0);
    let lag =
        tally.lag().filter(|lag| *lag >= 0.0).map_or_else(String::new, |lag| format!(", {lag:.1} s behind upstream"));
    if let Some(rate) = then {
        #[expect(clippy::cast_precision_loss, reason = "a comparison for people")]
        let expected = age.num_seconds() as f64 / 60.0 * rate;
        if age > QUIET_MIN && expected > RECORDS_MISSED_MAX {
            return Some(format!("no record for {} (was {})", length(age), per_minute(rate)));
        }
    }
    let rate = tally.rate(now).map_or_else(String::new, |rate| format!(", {}", per_minute(rate)));
    Some(format!("last record {} ago{rate}{lag}", length(age)))
}

/// A rate for people: `12/min`, `0.4/min`.
pub fn per_minute(rate: f64) -> String {
    if rate >= 10.0 || rate == 0.0 { format!("{rate:.0}/min") } else { format!("{rate:.1}/min") }
}

fn length(time: TimeDelta) -> String {
    // Whole seconds, because what is shown is already old.
    if time.num_seconds() < 1 { "0s".to_owned() } else { words(time.num_seconds() * 1_000_000) }
}

/// A moment as somebody at the terminal says it: the time today, the date and the time otherwise. UTC.
pub fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let form = if at.date_naive() != now.date_naive() {
        "%Y-%m-%d %H:%M"
    } else if at > now {
        "%H:%M:%S"
    } else {
        "%H:%M"
    };
    at.format(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    fn now() -> DateTime<Utc> {
        "2026-11-23T12:00:30Z".parse().unwrap()
    }

    fn facts(saved: &Value, slots: bool) -> Facts {
        let schedule = crate::config::Schedule {
            when: crate::config::When::Every(std::time::Duration::from_secs(1)),
            offset: Some(std::time::Duration::ZERO),
            active: None,
        };
        let slots = slots.then(|| Slots::new("one", &schedule).unwrap());
        Facts {
            name: "one".into(),
            file: File::Good { kind: "x_stream".into(), slots, alert_after: None },
            saved: (!saved.is_null()).then(|| SavedSource::read(&to_raw_value(saved).unwrap())),
            service: Some(Running { pid: Some(7), since: Some(now() - TimeDelta::hours(9)) }),
        }
    }

    fn minutes(last: i64, rate: u64) -> Value {
        let this = now().timestamp() / 60;
        (0..10).map(|minute| json!([this - last - 9 + minute, rate])).collect()
    }

    #[test]
    fn states_in_words() {
        let tally = |tally: Value| json!({"alive_at": "2026-11-23T12:00:27Z", "tally": tally});
        let since = "2026-11-23T07:04:05Z";
        for (saved, expected) in [
            (
                tally(json!({"state": "streaming", "since": since, "record_at": "2026-11-23T12:00:27Z",
                    "published_at": "2026-11-23T12:00:26.500000Z", "minutes": minutes(0, 12)})),
                ("streaming since 07:04, last record 3s ago, 12/min, 0.5 s behind upstream", true),
            ),
            (
                tally(
                    json!({"state": "streaming", "since": since, "record_at": "2026-11-23T10:00:30Z", "minutes": minutes(120, 12)}),
                ),
                ("streaming since 07:04, no record for 2h (was 12/min)", true),
            ),
            (
                tally(
                    json!({"state": "waiting", "since": since, "until": "2026-11-23T12:20:11Z", "why": "rate limit (429)"}),
                ),
                ("waiting until 12:20:11: rate limit (429)", true),
            ),
            (tally(json!({"state": "refused", "since": since, "why": "402"})), ("refused since 07:04: 402", false)),
            (
                tally(json!({"state": "over_budget", "until": "2026-11-24T00:00:00Z", "why": "1,000 posts a day"})),
                ("over budget until 2026-11-24 00:00: 1,000 posts a day", false),
            ),
            (
                json!({"alive_at": "2026-11-23T11:00:00Z", "tally": {"state": "streaming", "since": since}}),
                ("streaming since 07:04, stalled: no sign of life for 1h", false),
            ),
            (json!({"alive_at": "2026-11-23T12:00:00Z"}), ("streaming, last alive 12:00", true)),
            (json!({}), ("started", true)),
            (Value::Null, ("has not started; is it among those that run?", false)),
        ] {
            let found = facts(&saved, false).words(now());
            assert_eq!((found.0.as_str(), found.1), expected, "{saved}");
        }
    }

    #[test]
    fn a_polled_source_fails_and_stalls() {
        let run = json!({"outcome": "error", "reason": "status 500", "from": "2026-11-23T11:50:00Z", "to": "2026-11-23T12:00:29Z", "count": 9});
        let failing =
            json!({"slot": "2026-11-23T12:00:29Z", "book": {"next": 1, "run": run}, "tally": {"state": "scheduled"}});
        let expected = ("scheduled, failing for 10m 30s: error: status 500".to_owned(), false);
        assert_eq!(facts(&failing, true).words(now()), expected);
        let late = json!({"slot": "2026-11-23T11:00:29Z", "tally": {"state": "scheduled"}});
        assert_eq!(facts(&late, true).words(now()), ("scheduled, stalled: no tick for 1h".to_owned(), false));
        assert_eq!(facts(&late, true).stalled(now()).as_deref(), Some("stalled: no tick for 1h"));
        let well = json!({"slot": "2026-11-23T12:00:29Z"});
        assert_eq!(facts(&well, true).words(now()), ("scheduled, last slot 12:00".to_owned(), true));
    }

    #[test]
    fn what_passed_while_nobody_ran_it_does_not_count_as_stalled() {
        let since = |source: &mut Facts, length| {
            source.service = Some(Running { pid: Some(7), since: Some(now() - length) });
        };
        let polled = json!({"slot": "2026-11-23T02:00:00Z", "tally": {"state": "scheduled"}});
        let stream = json!({"alive_at": "2026-11-23T02:00:00Z", "tally": {"state": "streaming"}});
        for (saved, is_polled) in [(&polled, true), (&stream, false)] {
            let mut source = facts(saved, is_polled);
            since(&mut source, TimeDelta::minutes(5));
            assert_eq!(source.stalled(now()), None, "{saved}: it was started five minutes ago");
            since(&mut source, TimeDelta::minutes(7));
            assert!(source.stalled(now()).is_some(), "{saved}");
            source.file = File::Disabled;
            assert_eq!(source.stalled(now()), None, "{saved}: it is not to run");
        }
    }

    #[test]
    fn a_stream_without_a_connection_is_no_better_than_ticks_that_fail() {
        let saved = |at: &str| {
            json!({"alive_at": at, "tally": {"state": "waiting", "why": "refused", "until": "2026-11-23T12:20:11Z",
                "lost": {"at": at, "outcome": "error"}}})
        };
        let short = facts(&saved("2026-11-23T11:59:00Z"), false);
        assert_eq!(short.words(now()), ("waiting until 12:20:11: refused".to_owned(), true));
        let long = facts(&saved("2026-11-23T10:00:00Z"), false);
        let expected = "waiting until 12:20:11: refused, not connected for 2h".to_owned();
        assert_eq!(long.words(now()), (expected, false));
    }

    /// What is told comes out of what is shown.
    #[test]
    fn what_is_wrong_for_those_who_are_told() {
        let since = "2026-11-23T07:04:05Z";
        let ticks = |outcome: &str| {
            let run = json!({"outcome": outcome, "reason": "status 500", "from": since, "to": "2026-11-23T12:00:29Z", "count": 9});
            json!({"slot": "2026-11-23T12:00:29Z", "book": {"next": 1, "run": run}, "tally": {"state": "scheduled"}})
        };
        let state = |state: &str| json!({"tally": {"state": state, "since": since, "why": "402"}});
        let lost = |outcome: &str| json!({"tally": {"state": "waiting", "lost": {"at": since, "outcome": outcome}}});
        for (saved, slots, expected) in [
            (ticks("error"), true, Some(Kind::Broken)),
            (ticks("missing"), true, Some(Kind::LayoutChanged)),
            (ticks("invalid"), true, Some(Kind::LayoutChanged)),
            (ticks("blocked"), true, Some(Kind::Blocked)),
            (ticks("skipped"), true, None),
            (state("refused"), false, Some(Kind::Refused)),
            (state("over_budget"), false, Some(Kind::OverBudget)),
            (state("finished"), false, None),
            (lost("error"), false, Some(Kind::Broken)),
            (lost("blocked"), false, Some(Kind::Blocked)),
            (json!({"alive_at": since, "tally": {"state": "streaming"}}), false, Some(Kind::Stalled)),
            (Value::Null, false, Some(Kind::Stalled)),
        ] {
            let found = facts(&saved, slots).conditions(now());
            assert_eq!(found.iter().map(|condition| condition.kind).next(), expected, "{saved}");
            assert!(found.len() < 2);
            let mut gone = facts(&saved, slots);
            gone.file = File::Gone;
            assert!(gone.conditions(now()).is_empty(), "{saved}");
        }
        let mut broken = facts(&ticks("error"), true);
        broken.file = File::Broken("one.yaml:2:1: unknown key".into());
        let found = broken.conditions(now());
        assert_eq!((found[0].kind, found[1].kind), (Kind::BrokenFile, Kind::Broken));
        assert_eq!(found[0].why, "one.yaml:2:1: unknown key; its last good version still runs");
        assert_eq!((found[1].count, found[1].last), (9, Some("2026-11-23T12:00:29Z".parse().unwrap())));
    }

    #[test]
    fn a_source_that_fails_now_and_then_and_a_field_that_is_gone_are_told_too() {
        let since = "2026-11-23T11:40:00Z";
        let unreliable = json!({"since": since, "failed": 7, "of": 20, "outcome": "missing", "reason": "fields.price: `b` matched nothing"});
        let ailing = json!({"fields.volume": {"since": since, "why": "`.v` was on every page"}});
        let run = json!({"outcome": "error", "reason": "status 500", "from": "2026-11-23T12:00:29Z", "to": "2026-11-23T12:00:29Z", "count": 1});
        let tally = json!({"state": "scheduled", "unreliable": unreliable, "ailments": ailing});
        let source =
            facts(&json!({"slot": "2026-11-23T12:00:29Z", "book": {"next": 1, "run": run}, "tally": tally}), true);
        let words: Vec<String> = source
            .conditions(now())
            .iter()
            .map(|condition| {
                format!("{} {}: {}", condition.kind.word(), condition.since.unwrap().format("%H:%M"), condition.why)
            })
            .collect();
        assert_eq!(
            words,
            [
                "layout_changed 11:40: 7 of the last 20 ticks failed, the last with missing: fields.price: `b` matched nothing",
                "field_gone 11:40: fields.volume: `.v` was on every page",
            ]
        );
        let (words, is_well) = source.words(now());
        assert_eq!(
            words,
            "scheduled, 7 of the last 20 ticks failed, the last with missing: fields.price: `b` matched nothing, fields.volume is gone"
        );
        assert!(!is_well);
        let mut source = source;
        source.saved.as_mut().unwrap().tally.unreliable = None;
        source.file = File::Good { kind: "scrape".into(), slots: None, alert_after: Some(6) };
        let found = source.conditions(now());
        assert_eq!((found[0].kind, found[0].count, found[0].enough), (Kind::Broken, 1, Some(6)));
    }

    #[test]
    fn what_does_not_run_says_what_it_was() {
        let saved = || json!({"tally": {"state": "streaming", "since": "2026-11-20T07:04:05Z"}});
        let mut stopped = facts(&saved(), false);
        stopped.service = None;
        assert_eq!(stopped.words(now()), ("not running; was streaming since 2026-11-20 07:04".to_owned(), false));
        let mut gone = facts(&saved(), false);
        gone.file = File::Gone;
        assert_eq!(gone.words(now()), ("its file is gone; was streaming since 2026-11-20 07:04".to_owned(), true));
        let mut broken = facts(&saved(), false);
        broken.file = File::Broken("one.yaml:2:1: unknown key".into());
        let (words, is_well) = broken.words(now());
        assert_eq!(words, "its file is broken: one.yaml:2:1: unknown key; streaming since 2026-11-20 07:04");
        assert!(!is_well);
    }
}
