//! One gate per host, which all sources of that host go through.
//!
//! Whatever slows requests down (a source's own `delay`, `Crawl-delay`, slow answers, `Retry-After`, refusals) moves
//! one number: the moment at which the next request may begin. How slow answers do that are the rules of
//! Scrapy's `AutoThrottle` (its documentation, "Throttling algorithm"): the delay moves half the way towards latency divided by the number of
//! requests that may run at once, at once where that is more, and an answer that is no success never makes it shorter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use url::{Host as UrlHost, Url};

use super::manners::Manners;
use super::robots::Known;

/// How many hosts are remembered before those are forgotten that no source asks.
const HOSTS_MAX: usize = 4096;
/// How long a source waits for its turn, beside what the delays of all who may be before it take.
const PATIENCE: Duration = Duration::from_mins(1);
const DELAY_PUBLIC: Duration = Duration::from_millis(100);
const CONCURRENCY_PUBLIC: u8 = 4;
const CONCURRENCY_PRIVATE: u8 = 16;
/// Slow answers make the delay no longer than this.
const ADAPTED_MAX: Duration = Duration::from_mins(1);
/// How long a host is left alone after its first refusal that names no time; each further one doubles it.
const REST_FIRST: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_mins(30);

/// The gates of all hosts; one for a whole service.
#[derive(Debug, Default)]
pub struct Gates {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

impl Gates {
    /// The gate of this URL's host. The usual ports of http and https are one host.
    pub(super) fn host(&self, url: &Url) -> Arc<Host> {
        let name = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let mut hosts = lock(&self.hosts);
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let is_private = match url.host() {
            Some(UrlHost::Ipv4(address)) => address.is_loopback() || address.is_private(),
            Some(UrlHost::Ipv6(address)) => address.is_loopback(),
            Some(UrlHost::Domain(name)) => !name.contains('.'),
            None => false,
        };
        let host = hosts.entry(name.clone()).or_insert_with(|| Arc::new(Host::new(name, is_private)));
        Arc::clone(host)
    }
}

/// One host, and what is known of it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    is_private: bool,
    state: Mutex<State>,
    /// Who holds it is the next in: first come, first served.
    door: tokio::sync::Mutex<()>,
    /// Somebody left, or something changed.
    changed: Notify,
    /// Its robots.txt, by origin; held while it is fetched, so that it is fetched once.
    pub(super) robots: tokio::sync::Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Default)]
struct State {
    /// What each source of the host asks for.
    members: HashMap<u64, Terms>,
    next_member: u64,
    /// `Crawl-delay` of its robots.txt.
    crawl_delay: Duration,
    /// What slow answers made of the delay.
    adapted: Duration,
    running: u8,
    /// When the last request began.
    last: Option<Instant>,
    /// Until then the host is left alone, and why.
    resting: Option<(Instant, String)>,
    /// Refusals without a success in between.
    refusals: u32,
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    delay: Option<Duration>,
    concurrency: Option<u8>,
    adapt: bool,
}

/// A source's place among those of a host: while it is there, its manners count.
#[derive(Debug)]
pub(super) struct Member {
    host: Arc<Host>,
    number: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.host.state).members.remove(&self.number);
        self.host.changed.notify_waiters();
    }
}

/// Leave to send one request; ends when it is dropped, which is when the answer has been read.
#[derive(Debug)]
pub(super) struct Turn {
    host: Arc<Host>,
    adapt: bool,
    began: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.host.state).running -= 1;
        self.host.changed.notify_waiters();
    }
}

/// Why there is no turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    /// The host asked to be left alone.
    #[error("host_resting: {host} is left alone, because {why}")]
    Resting { host: String, wait: Duration, why: String },
    /// Too many wait before.
    #[error("host_crowded: no turn at {host} within {}: {sources} sources ask it, at most {concurrency} at once and \
             {} apart; ask less often, or say more under `manners`", humantime::format_duration(*.patience),
             humantime::format_duration(*.delay))]
    Crowded { host: String, sources: usize, concurrency: u8, delay: Duration, patience: Duration },
}

/// What an answer's head says to the gate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) status: u16,
    /// What it asks for by `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// From 0 to 1: where in a range of waits this one is.
    pub(super) chance: f64,
}

impl Host {
    fn new(name: String, is_private: bool) -> Self {
        Self {
            name,
            is_private,
            state: Mutex::default(),
            door: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            robots: tokio::sync::Mutex::default(),
        }
    }

    /// Takes part, with these manners.
    pub(super) fn join(self: &Arc<Self>, manners: &Manners) -> Member {
        let terms =
            Terms { delay: manners.delay.map(|delay| delay.0), concurrency: manners.concurrency, adapt: manners.adapt };
        let mut state = lock(&self.state);
        let number = state.next_member;
        state.next_member += 1;
        state.members.insert(number, terms);
        Member { host: Arc::clone(self), number }
    }

    /// What its robots.txt asks for.
    pub(super) fn set_crawl_delay(&self, delay: Duration) {
        lock(&self.state).crawl_delay = delay;
    }

    fn delay(&self, state: &State) -> Duration {
        let asked = state.members.values().filter_map(|terms| terms.delay).max();
        let own = asked.unwrap_or(if self.is_private { Duration::ZERO } else { DELAY_PUBLIC });
        own.max(state.crawl_delay).max(state.adapted)
    }

    /// A turn for each source is waited for, however far apart these are: who is told to come every two minutes is late
    /// by that, and skips ticks, but has not failed.
    fn patience(&self, state: &State) -> Duration {
        let members = u32::try_from(state.members.len()).unwrap_or(u32::MAX);
        self.delay(state).saturating_mul(members).saturating_add(PATIENCE)
    }

    fn concurrency(&self, state: &State) -> u8 {
        let asked = state.members.values().filter_map(|terms| terms.concurrency).min();
        asked.unwrap_or(if self.is_private { CONCURRENCY_PRIVATE } else { CONCURRENCY_PUBLIC })
    }
}

impl Member {
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Waits until a request may be sent.
    ///
    /// # Errors
    /// When the host is to be left alone for now, or too many wait before.
    pub(super) async fn turn(&self) -> Result<Turn, Closed> {
        let host = &self.host;
        let waiting = async {
            let _door = host.door.lock().await;
            loop {
                // Taken before the look: what changes after it is not missed.
                let changed = host.changed.notified();
                match self.look()? {
                    Look::Go(turn) => return Ok(turn),
                    Look::Full => changed.await,
                    Look::At(moment) => tokio::select! {
                        () = sleep_until(moment) => {}
                        () = changed => {}
                    },
                }
            }
        };
        let patience = host.patience(&lock(&host.state));
        timeout(patience, waiting).await.unwrap_or_else(|_| Err(self.crowded(patience)))
    }

    fn look(&self) -> Result<Look, Closed> {
        let host = &self.host;
        let mut state = lock(&host.state);
        let now = Instant::now();
        if let Some((until, why)) = state.resting.clone().filter(|(until, _)| *until > now) {
            return Err(Closed::Resting { host: host.name.clone(), wait: until - now, why });
        }
        if state.running >= host.concurrency(&state) {
            return Ok(Look::Full);
        }
        let from = state.last.map_or(now, |last| last + host.delay(&state));
        if from > now {
            return Ok(Look::At(from));
        }
        state.running += 1;
        state.last = Some(now);
        let adapt = state.members.get(&self.number).is_none_or(|terms| terms.adapt);
        Ok(Look::Go(Turn { host: Arc::clone(host), adapt, began: now }))
    }

    fn crowded(&self, patience: Duration) -> Closed {
        let state = lock(&self.host.state);
        Closed::Crowded {
            host: self.host.name.clone(),
            sources: state.members.len(),
            concurrency: self.host.concurrency(&state),
            delay: self.host.delay(&state),
            patience,
        }
    }
}

enum Look {
    Go(Turn),
    Full,
    At(Instant),
}

impl Turn {
    /// The same for a live stream: when its headers come may tell when it has something to say, and not how busy the host
    /// is.
    pub(super) fn for_live(mut self) -> Self {
        self.adapt = false;
        self
    }

    /// Takes note of an answer. Returns for how long the host is to be left alone now, if it is.
    pub(super) fn heard(&self, heard: Heard) -> Option<Duration> {
        let mut state = lock(&self.host.state);
        let is_good = heard.status < 400;
        if self.adapt {
            let concurrency = u32::from(self.host.concurrency(&state));
            state.adapted = adapted(state.adapted, self.began.elapsed() / concurrency, is_good);
        }
        if !matches!(heard.status, 429 | 503) {
            state.refusals = if is_good { 0 } else { state.refusals };
            return None;
        }
        let doubled = REST_FIRST.saturating_mul(1 << state.refusals.min(16)).min(REST_MAX);
        state.refusals += 1;
        let wait = heard.retry_after.unwrap_or(doubled.mul_f64(heard.chance.mul_add(0.25, 1.0)));
        let until = Instant::now() + wait;
        // Who was told to come later does not come earlier because somebody else was told so.
        if state.resting.as_ref().is_none_or(|(resting, _)| *resting < until) {
            state.resting = Some((until, format!("it answered {}", heard.status)));
        }
        Some(wait)
    }
}

/// The delay after an answer that took `target` times the number of requests at once.
fn adapted(now: Duration, target: Duration, is_good: bool) -> Duration {
    let next = target.max((now + target) / 2).min(ADAPTED_MAX);
    if is_good { next } else { next.max(now) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn host(url: &str) -> Arc<Host> {
        Gates::default().host(&url.parse().unwrap())
    }

    fn manners(delay: Option<u64>, concurrency: Option<u8>) -> Manners {
        let delay = delay.map(|delay| Span(Duration::from_millis(delay)));
        Manners { delay, concurrency, ..Manners::default() }
    }

    fn good() -> Heard {
        Heard { status: 200, retry_after: None, chance: 0.0 }
    }

    #[tokio::test(start_paused = true)]
    async fn the_strictest_manners_count_while_their_source_is_there() {
        let host = host("https://example.com/");
        let began = Instant::now();
        let mild = host.join(&manners(None, None));
        drop(mild.turn().await.unwrap());
        drop(mild.turn().await.unwrap());
        assert_eq!(began.elapsed(), DELAY_PUBLIC);
        let strict = host.join(&manners(Some(2000), Some(1)));
        let turn = mild.turn().await.unwrap();
        assert_eq!(began.elapsed(), DELAY_PUBLIC + Duration::from_secs(2));
        assert!(timeout(Duration::from_secs(30), mild.turn()).await.is_err(), "one at a time");
        drop(turn);
        drop(mild.turn().await.unwrap());
        drop(strict);
        let now = Instant::now();
        drop(mild.turn().await.unwrap());
        assert_eq!(now.elapsed(), DELAY_PUBLIC);
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let host = host("http://127.0.0.1:9/");
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = host.join(&manners(Some(100), None)).turn().await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let (host, order) = (Arc::clone(&host), Arc::clone(&order));
            tasks.spawn(async move {
                let member = host.join(&manners(Some(100), None));
                drop(member.turn().await.unwrap());
                lock(&order).push(number);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        tasks.join_all().await;
        assert_eq!(*lock(&order), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_why() {
        let host = host("https://example.com/");
        let member = host.join(&manners(Some(90_000), Some(1)));
        let began = Instant::now();
        drop(member.turn().await.unwrap());
        let turn = member.turn().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 90, "who is told to come seldom waits that long");
        let closed = member.turn().await.unwrap_err();
        insta::assert_snapshot!(closed, @"host_crowded: no turn at example.com within 2m 30s: 1 sources ask it, at most 1 at once and 1m 30s apart; ask less often, or say more under `manners`");
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_is_left_alone_by_all() {
        let host = host("https://example.com/");
        let (one, other) = (host.join(&manners(None, None)), host.join(&manners(None, None)));
        let refused = |status, retry_after| Heard { status, retry_after, chance: 1.0 };
        let waits = async |heard| one.turn().await.unwrap().heard(heard);
        assert_eq!(waits(refused(429, Some(Duration::from_secs(7)))).await, Some(Duration::from_secs(7)));
        let closed = other.turn().await.unwrap_err();
        insta::assert_snapshot!(closed, @"host_resting: example.com is left alone, because it answered 429");
        tokio::time::sleep(Duration::from_secs(7)).await;
        // The second refusal in a row, and the third: each doubles what the first would have had.
        let mut rung = 60.0;
        for _ in 0..8 {
            let wait = waits(refused(503, None)).await.unwrap();
            assert_eq!(wait, Duration::from_secs_f64(f64::min(rung, 1800.0) * 1.25));
            tokio::time::sleep(wait).await;
            rung *= 2.0;
        }
        assert_eq!(waits(good()).await, None);
        assert_eq!(waits(refused(503, None)).await, Some(REST_FIRST.mul_f64(1.25)), "a success starts anew");
    }

    #[test]
    fn g5_the_rules_of_autothrottle() {
        let ms = Duration::from_millis;
        for (now, target, is_good, expected) in [
            (0, 400, true, 400),
            (400, 200, true, 300),
            (400, 200, false, 400),
            (400, 800, false, 800),
            (400, 800, true, 800),
            (400, 10_000_000, true, 60_000),
        ] {
            assert_eq!(adapted(ms(now), ms(target), is_good), ms(expected), "{now} {target} {is_good}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_nobody_asks_are_forgotten() {
        let gates = Gates::default();
        let url = |number: usize| format!("http://h{number}.example/").parse().unwrap();
        let kept = gates.host(&url(0));
        for number in 0..3 * HOSTS_MAX {
            gates.host(&url(number));
        }
        assert!(lock(&gates.hosts).len() <= HOSTS_MAX);
        assert!(Arc::ptr_eq(&kept, &gates.host(&url(0))));
        let https = gates.host(&"https://h0.example/".parse().unwrap());
        assert!(Arc::ptr_eq(&kept, &https), "one host, two schemes");
    }
}
