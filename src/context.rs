//! What an adapter needs from the world: the time, chance, and an HTTP client.
//!
//! Only this file touches the wall clock and randomness, so that a test can hold both still. Waiting goes through
//! `tokio::time`, which tests pause.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use data_encoding::HEXLOWER;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::reach::{Forbidden, Guard, Reach};
use crate::seal::Key;

/// The most headers that an answer may have, and the most bytes of them over HTTP/2. Over HTTP/1 the bytes are
/// bounded by hyper's read buffer (400 KiB).
const ANSWER_HEADERS_MAX: usize = 100;
const ANSWER_HEADER_BYTES_MAX: u32 = 64 * 1024;
/// How long a connection is kept without being used: longer than the period of most sources, so that they keep theirs.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Idle connections kept for one host. A source uses one at a time; several sources may ask one host at once.
const IDLE_PER_HOST_MAX: usize = 8;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// The time now, in UTC. It may jump: callers that need a steady clock use `tokio::time::Instant`.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// HTTP clients, by what distinguishes them.
type Clients = HashMap<(HttpOptions, Option<Guard>), reqwest::Client>;

/// What adapters are given. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Context {
    clock: Arc<dyn Clock>,
    clients: Arc<Mutex<Clients>>,
    reach: Reach,
    /// One value of a type, for all who ask for it.
    shared: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
    /// One permit for each core: more parsers at once would only take turns.
    computing: Arc<Semaphore>,
    /// What still ends though its source is gone.
    endings: TaskTracker,
    source: Arc<str>,
    version: Arc<str>,
    timezone: Tz,
}

/// What distinguishes one HTTP client from another. Sources with the same options share one client, and with it
/// one kept-alive connection per host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpOptions {
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// Requests go through this proxy (`http`, `https`, `socks5`, `socks5h`).
    pub proxy: Option<Url>,
    /// Certificates are not looked at: whoever is in between can read and change everything.
    pub unverified: bool,
    /// Connections are those of HTTP/1.1, which alone can become something else: a websocket.
    pub only_http1: bool,
}

impl HttpOptions {
    /// A client that verifies who answers, without a proxy.
    pub fn plain(connect_timeout: Duration) -> Self {
        Self { connect_timeout, proxy: None, unverified: false, only_http1: false }
    }
}

impl Context {
    /// A context with the given clock and no connections yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let computing = Arc::new(Semaphore::new(cores));
        let endings = TaskTracker::new();
        // Else nobody could wait for it; it takes tasks all the same.
        endings.close();
        Self {
            clock,
            clients: Arc::default(),
            reach: Reach::anywhere(),
            shared: Arc::default(),
            computing,
            endings,
            source: "".into(),
            version: "".into(),
            timezone: Tz::UTC,
        }
    }

    /// The same for the source of this name, whose days begin and end in this zone.
    #[must_use]
    pub fn of_source(&self, name: &Arc<str>, version: &str, timezone: Tz) -> Self {
        Self { source: Arc::clone(name), version: version.into(), timezone, ..self.clone() }
    }

    /// What the source's file is called in the version that it has now: the `version` of its `started` in the ledger.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The name of the source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The zone of the source.
    pub fn timezone(&self) -> Tz {
        self.timezone
    }

    /// The same for one source, which may connect to no other places than these.
    #[must_use]
    pub fn reaching(&self, reach: Reach) -> Self {
        Self { reach, ..self.clone() }
    }

    /// Whether a request may go to this URL; what its name leads to is checked by the client itself.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        self.reach.check(url)
    }

    /// The one value of this type that everybody shares who has this context, or a clone of it.
    pub fn shared<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let value = shared.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(value).downcast().expect("invariant: the value is of the type that is its key")
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The clock itself.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// A word that nobody can guess and that never comes twice: 32 hexadecimal digits from the system's own chance.
    pub fn random_token(&self) -> String {
        HEXLOWER.encode(&random::<16>())
    }

    /// A number from 0 to 1, never 1, of the system's own chance.
    pub fn chance(&self) -> f64 {
        let digits = self.random_token();
        let number = u32::from_str_radix(&digits[..8], 16).unwrap_or_default();
        f64::from(number) / (f64::from(u32::MAX) + 1.0)
    }

    /// The shared HTTP client for these options.
    ///
    /// It follows no redirects and decodes no bodies: an adapter checks each hop, and counts bytes as it decodes.
    ///
    /// # Errors
    /// When the machine has no usable certificate store.
    pub fn http(&self, options: HttpOptions) -> anyhow::Result<reqwest::Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // A proxy resolves names by itself, so that there is nothing to guard.
        let key = (options, self.reach.guard());
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        install_crypto();
        let (options, guard) = &key;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .http1_max_headers(ANSWER_HEADERS_MAX)
            .http2_max_header_list_size(ANSWER_HEADER_BYTES_MAX)
            .tls_danger_accept_invalid_certs(options.unverified);
        if options.only_http1 {
            builder = builder.http1_only();
        }
        if let Some(proxy) = &options.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).context("the proxy cannot be used")?);
        } else if let Some(guard) = guard {
            builder = builder.dns_resolver(Arc::new(*guard));
        }
        let client = builder
            .build()
            .context("cannot set up the HTTP client; is there a certificate store (package ca-certificates)?")?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Carries on with what has to come to an end, though its source is gone already. Where no runtime is left it is dropped, as
    /// it is by the end of the runtime.
    pub fn ending(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.endings.spawn_on(work, &runtime);
        }
    }

    /// Waits until all of that has come to its end. Whoever calls this has a bound for it.
    pub async fn ended(&self) {
        self.endings.wait().await;
    }

    /// Runs `work` aside, on a thread that may be busy for long: as many at once as there are cores.
    ///
    /// Work that has begun runs to its end even when the returned future is dropped, and keeps its place until then.
    ///
    /// # Errors
    /// When `work` panicked.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let permit = Arc::clone(&self.computing).acquire_owned().await?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        task.await.context("the work on what was fetched broke off")
    }
}

/// A key that nobody can guess.
pub fn random_key() -> Key {
    random()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("invariant: the system gives random bytes once it has started");
    bytes
}

/// The machine's name; empty where it has none.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes ring the program's cryptography. Without a choice rustls panics at the first client.
pub fn install_crypto() {
    // An error says that a choice was made before, by an earlier call.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A URL as it may be shown: without user and password, and with the values of its query masked, because keys and
/// tokens are found there.
///
/// ```
/// let url = "https://me:secret@example.com/quote?symbol=ABC&key=secret#top".parse().unwrap();
/// assert_eq!(tapline::context::shown_url(&url), "https://example.com/quote?symbol=***&key=***");
/// ```
pub fn shown_url(url: &Url) -> String {
    let mut shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
    for (index, (key, _)) in url.query_pairs().enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        shown.extend(url::form_urlencoded::byte_serialize(key.as_bytes()));
        shown.push_str("=***");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn work_aside_is_bounded_and_a_panic_is_an_error() {
        let context = Context::new(Arc::new(SystemClock));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (running, most, context) = (Arc::clone(&running), Arc::clone(&most), context.clone());
            let busy = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                (0..100).for_each(|_| thread::yield_now());
                running.fetch_sub(1, Ordering::SeqCst);
            };
            async move { context.compute(busy).await }
        };
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            tasks.spawn(work());
        }
        for result in tasks.join_all().await {
            result.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= thread::available_parallelism().unwrap().get());
        assert!(context.compute(|| panic!("on purpose")).await.is_err());
        assert_eq!(context.compute(|| 7).await.unwrap(), 7, "a panic gives its place back");
    }

    #[test]
    fn equal_options_share_a_client() {
        let context = Context::new(Arc::new(SystemClock));
        let options = HttpOptions::plain(Duration::from_secs(1));
        context.http(options.clone()).unwrap();
        context.clone().http(options.clone()).unwrap();
        context.http(HttpOptions::plain(Duration::from_secs(2))).unwrap();
        assert_eq!(context.clients.lock().unwrap().len(), 2);
        let reach = |url: &str| Reach::of([url.parse().unwrap()], false);
        context.reaching(reach("http://a.example/")).http(options.clone()).unwrap();
        context.reaching(reach("http://b.example/")).http(options).unwrap();
        assert_eq!(context.clients.lock().unwrap().len(), 3, "sources share a guarded one");
    }

    #[test]
    fn shown_urls_keep_no_secret() {
        for (url, expected) in [
            ("https://me:pw@example.com:8443/a?b=c&d#e", "https://example.com:8443/a?b=***&d=***"),
            ("http://[::1]/\u{202e}", "http://[::1]/%E2%80%AE"),
            ("http://a/?k\u{9b}=v", "http://a/?k%C2%9B=***"),
        ] {
            assert_eq!(shown_url(&url.parse().unwrap()), expected);
        }
    }
}
