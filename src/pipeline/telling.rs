//! Telling: messages on their way to those who are told, each destination by itself.
//!
//! A message is put into the outbox, which is saved, and only then is anybody told: a restart goes on where it was. Each
//! destination takes the messages in order and at its own pace; one that fails is tried again later and later, and keeps
//! neither the others nor a source. What has waited there for long is told in one message, so that a server that comes
//! back does not bring a storm.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::alert::{Destination, Kind, Message, TellError};
use crate::context::Context;
use crate::secrets;

use super::backoff::FullJitter;
use super::incidents::Incidents;
use super::state::State;

/// So many messages wait for a destination; then the oldest goes.
const OUTBOX_MAX: usize = 100;

/// So many that have waited are told one by one, and more in one.
const FEW: usize = 3;

/// A message that a destination refuses is tried so often: the answer may have been about something else.
const REFUSALS_MAX: u32 = 5;

/// The longest that a destination may ask to be left alone.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// The key of the alerts' state in the commit log.
pub const ALERTS_KEY: &str = "alerts";

/// What is saved of incidents and of messages, in one.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedAlerts {
    /// The incidents.
    pub incidents: Incidents,
    /// The messages that somebody has still to be told.
    pub outbox: Outbox,
}

impl SavedAlerts {
    /// As the committed state has it.
    pub fn read(state: &State) -> Self {
        let Some(saved) = state.get(ALERTS_KEY) else { return Self::default() };
        serde_json::from_str(saved.get())
            .inspect_err(|error| tracing::error!(error = %error, "the saved alerts cannot be read; beginning anew"))
            .unwrap_or_default()
    }
}

/// A message and its place in the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    number: u64,
    message: Arc<Message>,
}

/// The messages that somebody has still to be told, and how far each destination is; as it is saved.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    next: u64,
    messages: VecDeque<Numbered>,
    places: BTreeMap<String, Place>,
}

/// How far a destination is.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Every message before this one has been told, or was not to be.
    next: u64,
    /// Since when it fails, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<(DateTime<Utc>, String)>,
}

impl Outbox {
    /// Takes the destinations that there are now. One that is new is told of what is to come.
    pub fn set_places<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut before = std::mem::take(&mut self.places);
        let of =
            |name: &str| (name.to_owned(), before.remove(name).unwrap_or(Place { next: self.next, failing: None }));
        self.places = names.map(of).collect();
        self.clean();
    }

    /// The number of the next message.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Adds a message.
    pub fn post(&mut self, message: Message) {
        self.messages.push_back(Numbered { number: self.next, message: Arc::new(message) });
        self.next += 1;
        if self.messages.len() > OUTBOX_MAX {
            self.messages.pop_front();
        }
    }

    /// How far each destination is, and how many messages wait for it.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Place, usize)> {
        self.places.iter().map(|(name, place)| {
            let waiting = self.messages.iter().filter(|message| message.number >= place.next).count();
            (name.as_str(), place, waiting)
        })
    }

    /// Takes what is heard of a destination.
    pub fn heard(&mut self, heard: &Heard, now: DateTime<Utc>) {
        let Some(place) = self.places.get_mut(&heard.place) else { return };
        match &heard.what {
            Ok(number) => *place = Place { next: number + 1, failing: None },
            Err(why) => {
                let since = place.failing.as_ref().map_or(now, |(since, _)| *since);
                place.failing = Some((since, why.clone()));
            }
        }
        self.clean();
    }

    /// Forgets what everybody has been told.
    fn clean(&mut self) {
        let first = self.places.values().map(|place| place.next).min().unwrap_or(self.next);
        while self.messages.front().is_some_and(|message| message.number < first) {
            self.messages.pop_front();
        }
    }
}

/// Somebody who is told.
pub struct Listener {
    /// What the destination is called.
    pub name: String,
    /// Its address as it may be shown.
    pub shown: String,
    /// What is told there; everything, when it is empty.
    pub only: Vec<Kind>,
    /// How long it may take.
    pub timeout: Duration,
    /// The destination itself.
    pub destination: Box<dyn Destination>,
}

/// What is heard of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub place: String,
    /// The number of the last message that was told there, or why it fails.
    pub what: Result<u64, String>,
}

type Board = Arc<[Numbered]>;

/// Those who are told, each in a task of its own.
pub struct Telling {
    board: watch::Sender<Board>,
    heard: mpsc::Receiver<Heard>,
    tasks: JoinSet<()>,
}

impl Telling {
    /// Starts to tell everybody what waits for them.
    pub fn start(listeners: Vec<Listener>, outbox: &Outbox, context: &Context) -> Self {
        let (board, seen) = watch::channel(Board::from([]));
        let (sender, heard) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let next = outbox.places.get(&listener.name).map_or(outbox.next, |place| place.next);
            let attended = Attended {
                jitter: FullJitter::new(seed_of(&listener.name)),
                listener,
                next,
                refusals: 0,
                is_failing: false,
                context: context.clone(),
            };
            tasks.spawn(attended.run(seen.clone(), sender.clone()));
        }
        Self { board, heard, tasks }
    }

    /// Tells everybody what is in the outbox, and has not been told.
    pub fn publish(&self, outbox: &Outbox) {
        let board: Board = outbox.messages.iter().cloned().collect();
        self.board.send_if_modified(|before| {
            let is_new = *before != board;
            *before = board;
            is_new
        });
    }

    /// What is heard next. Never ready while nobody is told.
    pub async fn heard(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// Ends it. What is on its way is told again by the next start.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// One destination, and how it does.
struct Attended {
    listener: Listener,
    next: u64,
    jitter: FullJitter,
    refusals: u32,
    is_failing: bool,
    context: Context,
}

impl Attended {
    async fn run(mut self, mut board: watch::Receiver<Board>, heard: mpsc::Sender<Heard>) {
        loop {
            let waiting: Vec<Numbered> =
                board.borrow_and_update().iter().filter(|message| message.number >= self.next).cloned().collect();
            let Some(last) = waiting.last().map(|message| message.number) else {
                if board.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let what = match self.choose(&waiting) {
                Some((message, number)) => self.tell(&message).await.map(|()| number),
                None => Ok(last),
            };
            if let Ok(number) = &what {
                self.next = number + 1;
            }
            let wait = what.as_ref().err().map(|(_, wait)| *wait);
            let what = what.map_err(|(why, _)| why);
            // Only who ends does not hear it.
            heard.send(Heard { place: self.listener.name.clone(), what }).await.ok();
            if let Some(wait) = wait {
                sleep(wait).await;
            }
        }
    }

    /// What is told next of what waits, and the number of its last; `None` when nothing of it is for this destination.
    fn choose(&self, waiting: &[Numbered]) -> Option<(Arc<Message>, u64)> {
        let only = &self.listener.only;
        let wanted: Vec<&Numbered> = waiting.iter().filter(|waiting| waiting.message.is_for(only)).collect();
        let (first, last) = (wanted.first()?, wanted.last()?);
        if self.is_failing && wanted.len() > FEW {
            let all: Vec<&Message> = wanted.iter().map(|waiting| &*waiting.message).collect();
            return Some((Arc::new(Message::in_one(&all, self.context.now())), last.number));
        }
        Some((Arc::clone(&first.message), first.number))
    }

    /// Tells a message. Who fails is said once, until all is well there again.
    async fn tell(&mut self, message: &Message) -> Result<(), (String, Duration)> {
        let Listener { name, shown, timeout: at_most, .. } = &self.listener;
        let (name, shown, at_most) = (name.clone(), shown.clone(), *at_most);
        let told = timeout(at_most, self.listener.destination.tell(message)).await;
        let told = told.unwrap_or_else(|_| {
            Err(TellError::again(anyhow::anyhow!("no answer within {}", humantime::format_duration(at_most))))
        });
        let (why, wait) = match told {
            Ok(()) => {
                self.is_well();
                return Ok(());
            }
            Err(TellError::Partly(cause)) => {
                tracing::warn!(destination = %name, to = %shown, "an alert did not reach everybody there: {cause:#}");
                self.is_well();
                return Ok(());
            }
            Err(TellError::Refused(cause)) => {
                self.refusals += 1;
                if self.refusals >= REFUSALS_MAX {
                    tracing::error!(destination = %name, to = %shown, message = %message.title, "an alert is given up, because the destination refuses it: {cause:#}");
                    self.refusals = 0;
                    return Ok(());
                }
                (format!("{cause:#}"), self.jitter.wait(None))
            }
            Err(TellError::Again { wait, cause }) => {
                (format!("{cause:#}"), self.jitter.wait(wait.map(|wait| wait.min(ASKED_MAX))))
            }
        };
        let why = secrets::hide(&why).into_owned();
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::error!(destination = %name, to = %shown, "alerts do not arrive; they wait, and are tried again: {why}");
        }
        Err((why, wait))
    }

    fn is_well(&mut self) {
        self.jitter.reset();
        self.refusals = 0;
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(destination = %self.listener.name, to = %self.listener.shown, "alerts arrive again");
        }
    }
}

/// Destinations have different seeds, so that they are not tried together.
fn seed_of(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("invariant: a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::alert::{Event, Teller};
    use crate::context::SystemClock;

    fn message(title: &str, kind: Option<Kind>) -> Message {
        Message {
            id: format!("a_{title}"),
            event: Event::Opened,
            kind,
            before: Vec::new(),
            incident: None,
            at: "2026-11-23T07:04:05Z".parse().unwrap(),
            since: None,
            until: None,
            about: Vec::new(),
            count: 1,
            title: title.into(),
            text: String::new(),
            from: Teller { name: "web-3".into(), data: "/srv/data".into(), page: None },
        }
    }

    /// Takes messages, unless the script says otherwise.
    #[derive(Clone, Default)]
    struct Scripted {
        said: Arc<Mutex<Vec<String>>>,
        script: Arc<Mutex<VecDeque<Step>>>,
    }

    #[derive(Clone, Copy)]
    enum Step {
        Busy(u64),
        Refuse,
        Hang,
    }

    #[async_trait]
    impl Destination for Scripted {
        async fn tell(&mut self, message: &Message) -> Result<(), TellError> {
            let step = self.script.lock().unwrap().pop_front();
            match step {
                Some(Step::Busy(wait)) => {
                    Err(TellError::Again { wait: Some(Duration::from_secs(wait)), cause: anyhow::anyhow!("busy") })
                }
                Some(Step::Refuse) => Err(TellError::Refused(anyhow::anyhow!("400"))),
                Some(Step::Hang) => std::future::pending().await,
                None => {
                    self.said.lock().unwrap().push(message.title.clone());
                    Ok(())
                }
            }
        }
    }

    fn listener(name: &str, destination: &Scripted, only: &[Kind]) -> Listener {
        Listener {
            name: name.into(),
            shown: format!("test:{name}"),
            only: only.to_vec(),
            timeout: Duration::from_secs(30),
            destination: Box::new(destination.clone()),
        }
    }

    fn context() -> Context {
        Context::new(Arc::new(SystemClock))
    }

    fn now() -> DateTime<Utc> {
        "2026-11-23T07:04:05Z".parse().unwrap()
    }

    async fn hear(telling: &mut Telling, outbox: &mut Outbox, count: usize) {
        for _ in 0..count {
            let heard = telling.heard().await;
            outbox.heard(&heard, now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_keeps_no_other() {
        let (good, bad) = (Scripted::default(), Scripted::default());
        bad.script.lock().unwrap().extend([Step::Hang, Step::Busy(600)]);
        let mut outbox = Outbox::default();
        outbox.set_places(["good", "bad"].into_iter());
        let mut telling =
            Telling::start(vec![listener("good", &good, &[]), listener("bad", &bad, &[])], &outbox, &context());
        let began = Instant::now();
        outbox.post(message("one", None));
        telling.publish(&outbox);
        hear(&mut telling, &mut outbox, 1).await;
        assert_eq!((*good.said.lock().unwrap()).clone(), ["one"]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        hear(&mut telling, &mut outbox, 2).await;
        let failing: Vec<_> = outbox
            .places()
            .filter_map(|(name, place, waiting)| Some((name.to_owned(), place.failing.clone()?.1, waiting)))
            .collect();
        assert_eq!(failing, [("bad".to_owned(), "busy".to_owned(), 1)]);
        hear(&mut telling, &mut outbox, 1).await;
        assert_eq!((*bad.said.lock().unwrap()).clone(), ["one"]);
        assert!(
            began.elapsed() >= Duration::from_secs(630) && began.elapsed() < Duration::from_mins(15),
            "{:?}",
            began.elapsed()
        );
        assert!(outbox.messages.is_empty() && outbox.places().all(|(_, place, _)| place.failing.is_none()));
        telling.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_is_told_in_one_and_what_is_not_wanted_not_at_all() {
        let destination = Scripted::default();
        destination.script.lock().unwrap().push_back(Step::Busy(60));
        let mut outbox = Outbox::default();
        outbox.set_places(["one"].into_iter());
        let mut telling = Telling::start(vec![listener("one", &destination, &[Kind::Broken])], &outbox, &context());
        for title in ["a", "b", "c", "d", "e"] {
            outbox.post(message(title, Some(Kind::Broken)));
            outbox.post(message("not wanted", Some(Kind::OverBudget)));
        }
        telling.publish(&outbox);
        hear(&mut telling, &mut outbox, 3).await;
        assert_eq!((*destination.said.lock().unwrap()).clone(), ["5 messages that could not be delivered before"]);
        assert!(outbox.messages.is_empty());
        outbox.post(message("f", Some(Kind::Broken)));
        outbox.post(message("g", None));
        telling.publish(&outbox);
        hear(&mut telling, &mut outbox, 2).await;
        assert_eq!(destination.said.lock().unwrap()[1..], ["f", "g"]);
        telling.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_does_not_keep_what_follows() {
        let destination = Scripted::default();
        destination.script.lock().unwrap().extend([Step::Refuse; REFUSALS_MAX as usize]);
        let mut outbox = Outbox::default();
        outbox.set_places(["one"].into_iter());
        let mut telling = Telling::start(vec![listener("one", &destination, &[])], &outbox, &context());
        outbox.post(message("bad", None));
        outbox.post(message("good", None));
        telling.publish(&outbox);
        hear(&mut telling, &mut outbox, REFUSALS_MAX as usize + 1).await;
        assert_eq!((*destination.said.lock().unwrap()).clone(), ["good"]);
        telling.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_goes_on_where_it_was_and_memory_is_bounded() {
        let destination = Scripted::default();
        let mut outbox = Outbox::default();
        outbox.set_places(["one", "gone"].into_iter());
        for number in 0..OUTBOX_MAX + 50 {
            outbox.post(message(&number.to_string(), None));
        }
        assert_eq!(outbox.messages.len(), OUTBOX_MAX);
        outbox.heard(&Heard { place: "one".into(), what: Ok(140) }, now());
        let mut read: Outbox = serde_json::from_str(&serde_json::to_string(&outbox).unwrap()).unwrap();
        read.set_places(["one", "new"].into_iter());
        assert_eq!(read.messages.len(), 9, "what only somebody waits for who is gone goes");
        let new = Scripted::default();
        let mut telling =
            Telling::start(vec![listener("one", &destination, &[]), listener("new", &new, &[])], &read, &context());
        telling.publish(&read);
        hear(&mut telling, &mut read, 9).await;
        let expected: Vec<String> = (141..150).map(|number| number.to_string()).collect();
        assert_eq!(*destination.said.lock().unwrap(), expected);
        assert!(new.said.lock().unwrap().is_empty(), "what was before is not for who is new");
        telling.stop().await;
    }
}
