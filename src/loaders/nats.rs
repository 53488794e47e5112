//! NATS `JetStream`: a subject for each stream, a message for each record, published many at a time and each acknowledged.
//!
//! `Nats-Msg-Id` makes a message be there once only within a window, two minutes by default, and a loader may be away for
//! longer. So each message also says where its record stands, and where and behind which message its batch began: the last
//! messages of a subject then tell what is there and what is not (`trace`). Error codes:
//! <https://github.com/nats-io/nats-server/blob/main/server/errors.json>.

mod login;
mod trace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, PublishAckFuture, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, Event};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::context::{Context, install_crypto};
use crate::loaders::tls;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use login::{Login, connect_error};
use trace::{HEADER, Trace};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "nats",
    schemes: &["nats", "nats+tls"],
    about: "NATS JetStream: a message for each record, on a subject for each stream.",
    once: "positions in the messages, and Nats-Msg-Id",
    example: "nats://localhost:4222?jetstream=tapline&subject=tapline.{stream}",
    options: OPTIONS,
    limits: Limits { records: 8_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("subject", "the subject of a stream; `tapline.{stream}` by default"),
    ("jetstream", "the JetStream stream that keeps the messages; `tapline` by default"),
    ("create", "`false` makes no JetStream stream; it must be there"),
    ("creds", "a credentials file (JWT and seed)"),
    ("nkey", "the seed of an NKey"),
    tls::CA,
    tls::CERT,
    tls::KEY,
];

/// How long an answer may take before the connection counts as lost.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How many messages are on their way at once.
const IN_FLIGHT: usize = 4_000;

struct Nats {
    servers: Vec<String>,
    shown: String,
    login: Login,
    subject: String,
    name: String,
    creates: bool,
    connection: Option<Connection>,
}

struct Connection {
    client: Client,
    jetstream: jetstream::Context,
    /// What the server said last that was no answer: that something is not permitted is said only there.
    said: Arc<Mutex<Option<String>>>,
    /// Whether the connection broke: what was on its way may be lost, and what comes after it must not be sent.
    is_broken: watch::Receiver<bool>,
    feeds: HashMap<Arc<Feed>, Trace>,
    message_max: usize,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    install_crypto();
    let shown = target.to_string();
    let subject = target.take("subject").unwrap_or_else(|| "tapline.{stream}".to_owned());
    let name = target.take("jetstream").unwrap_or_else(|| "tapline".to_owned());
    let creates = match target.take("create").as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => anyhow::bail!("`create={other}` is not known; there are: true, false"),
    };
    let is_name = !name.is_empty() && !name.contains(|next: char| next.is_whitespace() || ".*>/\\".contains(next));
    anyhow::ensure!(is_name, "`jetstream={name}` is no name of a stream: it has no space and none of `.*>/\\`");
    let wrong = |part: &str| part.is_empty() || part.contains(|next: char| next.is_whitespace() || "*>".contains(next));
    anyhow::ensure!(!subject.split('.').any(wrong), "`subject={subject}` is no subject to publish on");
    let login = Login::take(&mut target)?;
    target.finish(OPTIONS)?;
    anyhow::ensure!(!target.hosts().is_empty(), "the address names no host; write `nats://localhost`");
    let servers = target.hosts().split(',').map(|host| format!("nats://{host}")).collect();
    Ok(Box::new(Nats { servers, shown, login, subject, name, creates, connection: None }))
}

impl Nats {
    fn subject_of(&self, stream: &str) -> String {
        expand_stream(&self.subject, stream, ".")
    }

    /// What the stream that is made here keeps: the subjects of all streams of ours.
    fn subjects(&self) -> String {
        let rest = if self.subject.ends_with("{stream}") { ">" } else { "*" };
        self.subject.replace("{stream}", rest)
    }

    fn cause(&self, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow::anyhow!("NATS at {}: {what}", self.shown)
    }

    fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(|| StoreError::Lost(self.cause("not connected")))
    }

    /// An answer that did not come: because something is not permitted, which the server says elsewhere, or because the
    /// connection is not what it was.
    fn no_answer(&self, what: impl std::fmt::Display) -> StoreError {
        let said = self
            .connection
            .as_ref()
            .and_then(|connection| connection.said.lock().unwrap_or_else(PoisonError::into_inner).clone());
        match said {
            Some(said) if said.to_lowercase().contains("permissions violation") => StoreError::Stop(self.cause(said)),
            Some(said) => StoreError::Lost(self.cause(format!("{what}: {said}"))),
            None => StoreError::Lost(self.cause(what)),
        }
    }

    /// The stream, made when it is not there. The flag says whether it was made now.
    async fn stream(&self, jetstream: &jetstream::Context) -> Result<(Stream, bool), StoreError> {
        let error = match jetstream.get_stream(&self.name).await {
            Ok(stream) => return Ok((stream, false)),
            Err(error) => error,
        };
        match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            GetStreamErrorKind::JetStream(answer) => return Err(sort(&answer, self.cause(&answer))),
            _ => return Err(self.no_answer(error)),
        }
        if !self.creates {
            let what = format!("there is no JetStream stream `{}`, and `create=false` says not to make it", self.name);
            return Err(StoreError::Stop(self.cause(what)));
        }
        let config = Config {
            name: self.name.clone(),
            subjects: vec![self.subjects()],
            storage: StorageType::File,
            ..Config::default()
        };
        match jetstream.create_stream(config).await {
            Ok(stream) => Ok((stream, true)),
            Err(error) => Err(match error.kind() {
                CreateStreamErrorKind::JetStream(answer) => sort(&answer, self.cause(&answer)),
                CreateStreamErrorKind::JetStreamUnavailable => StoreError::busy(self.cause(error)),
                CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => self.no_answer(error),
                _ => StoreError::Stop(self.cause(error)),
            }),
        }
    }

    /// What one message that was not acknowledged means for the whole batch: it comes again, without those that were.
    fn refused(&self, error: &PublishError) -> StoreError {
        let answer = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (error.kind(), answer) {
            (_, Some(answer)) => sort(answer, self.cause(answer)),
            (PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe, None) => self.no_answer(error),
            // Nobody answers for the subject: JetStream is not up yet, or no stream has it any more.
            (PublishErrorKind::StreamNotFound, None) => StoreError::busy(self.cause(error)),
            (_, None) => StoreError::Lost(self.cause(error)),
        }
    }
}

/// What an error of `JetStream` means for the loop.
fn sort(answer: &jetstream::Error, cause: anyhow::Error) -> StoreError {
    match answer.error_code().0 {
        // Not enabled, sealed, no such consumer or stream to make, names and subjects that do not go together.
        10039 | 10076 | 10109 | 10025 | 10032 | 10052 | 10056 | 10058 | 10065 | 10074 | 10106 => {
            StoreError::Stop(cause)
        }
        _ if matches!(answer.code(), 401 | 403) => StoreError::Stop(cause),
        // No room (10077, 10002, 10023, 10047, 10028), no leader (10008, 10009), no such stream any more (10059) ...
        _ => StoreError::busy(cause),
    }
}

#[async_trait]
impl Store for Nats {
    async fn connect(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        let said = Arc::new(Mutex::new(None));
        let (broken, is_broken) = watch::channel(false);
        let (shared, broken) = (Arc::clone(&said), Arc::new(broken));
        let options = self.login.options().await.map_err(|error| StoreError::Stop(self.cause(error)))?;
        let options = options.name("tapline").connection_timeout(ANSWER_MAX).request_timeout(Some(ANSWER_MAX));
        let options = options.event_callback(move |event| {
            match &event {
                Event::Disconnected | Event::Closed => drop(broken.send_replace(true)),
                Event::ServerError(error) => {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
                _ => {}
            }
            std::future::ready(())
        });
        let client = options.connect(&self.servers).await.map_err(|error| connect_error(&error, self.cause(&error)))?;
        let message_max = client.server_info().max_payload;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(ANSWER_MAX)
            .ack_timeout(ANSWER_MAX)
            .max_ack_inflight(IN_FLIGHT)
            .build(client.clone());
        self.connection = Some(Connection { client, jetstream, said, is_broken, feeds: HashMap::new(), message_max });
        Ok(())
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let (stream, is_new) = self.stream(&self.connection()?.jetstream).await?;
        let config = &stream.cached_info().config;
        let own_max = usize::try_from(config.max_message_size).ok().filter(|most| *most > 0);
        // Where messages go for other reasons than age and room, what is not there says nothing.
        let keeps_all = config.retention == RetentionPolicy::Limits && config.max_messages_per_subject <= 0;
        let subject = self.subject_of(&feed.stream);
        let found =
            if is_new { None } else { trace::find(&stream, &subject).await.map_err(|why| self.no_answer(why))? };
        let (trace, mark) = match found {
            None => (Trace::new(subject), if is_new { Mark::Nothing } else { Mark::Unknown }),
            Some(found) => found.mark(&stream, subject, feed, keeps_all).await.map_err(|why| self.no_answer(why))?,
        };
        let connection = self.connection.as_mut().expect("invariant: it was there a moment ago");
        connection.message_max = own_max.unwrap_or(usize::MAX).min(connection.client.server_info().max_payload);
        connection.feeds.insert(Arc::new(feed.clone()), trace);
        Ok(mark)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let Some(connection) = &mut self.connection else { return Err(StoreError::Lost(self.cause("not connected"))) };
        let trace = connection.feeds.get_mut(batch.feed());
        let trace = trace.ok_or_else(|| StoreError::Moved(anyhow::anyhow!("the stream has not been taken up")))?;
        let mut sent = Sent::default();
        let messages = trace.messages(batch, connection.message_max, &mut sent);
        let subject = async_nats::Subject::from(trace.subject.as_str());
        let (jetstream, mut is_broken) = (&connection.jetstream, connection.is_broken.clone());
        let (sender, mut answers) = tokio::sync::mpsc::channel(IN_FLIGHT);
        let publish = async move {
            for message in messages {
                let of = message.position;
                let answer = jetstream.send_publish(subject.clone(), PublishMessage::from(message)).await;
                let is_wrong = answer.is_err();
                // The other half ends first when it has seen an error.
                if sender.send((of, answer)).await.is_err() || is_wrong {
                    return;
                }
            }
        };
        let gather = async {
            while let Some((of, answer)) = answers.recv().await {
                let answer: Result<PublishAckFuture, PublishError> = answer;
                let answer = answer?.await?;
                sent.exists += u64::from(answer.duplicate);
                trace.stored(of, answer.sequence);
            }
            Ok(())
        };
        let all = async { tokio::join!(publish, gather).1 };
        let ended: Result<(), PublishError> = tokio::select! {
            biased;
            _ = is_broken.wait_for(|is_broken| *is_broken) => return Err(self.no_answer("the connection broke")),
            ended = all => ended,
        };
        ended.map_err(|error| self.refused(&error))?;
        Ok(sent)
    }

    fn preview(&self, batch: &Batch) -> String {
        let mut trace = Trace::new(self.subject_of(batch.stream()));
        let first = trace.messages(batch, usize::MAX, &mut Sent::default()).next();
        let first = first.map_or_else(String::new, |message| {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            format!("Nats-Msg-Id: {}\n{HEADER}: {}\n\n{payload}", message.id, message.header)
        });
        let subject = self.subject_of(batch.stream());
        format!("{}: PUB {subject}, {} messages of which this is the first\n{first}", self.shown, batch.len())
    }
}

/// A record as a message.
struct Message {
    position: crate::sink::Position,
    id: String,
    header: String,
    payload: Bytes,
}

impl From<Message> for PublishMessage {
    fn from(message: Message) -> Self {
        Self::build().payload(message.payload).message_id(&message.id).header(HEADER, message.header.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert!(wrong("nats://h?jetstream=a.b").starts_with("`jetstream=a.b` is no name"));
        assert_eq!(wrong("nats://h?subject=a.>"), "`subject=a.>` is no subject to publish on");
        assert_eq!(wrong("nats://h?creds=a&nkey=b"), "`creds` and `nkey` are two ways to log in; leave one out");
        assert_eq!(wrong("nats://h?cert=a"), "`cert` goes with `cert_key`, a file of the other half");
        assert_eq!(wrong("nats://?create=no"), "`create=no` is not known; there are: true, false");
    }

    #[test]
    fn codes_are_sorted() {
        let of = |text: &str| sort(&serde_json::from_str(text).unwrap(), anyhow::anyhow!("x"));
        assert!(matches!(
            of(r#"{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}"#),
            StoreError::Busy { .. }
        ));
        assert!(matches!(of(r#"{"code":503,"err_code":10039,"description":"not enabled"}"#), StoreError::Stop(_)));
        assert!(matches!(of(r#"{"code":400,"err_code":10065,"description":"overlap"}"#), StoreError::Stop(_)));
    }
}
