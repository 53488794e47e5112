//! Kafka, and what speaks its protocol: a message for each record, in transactions.
//!
//! An idempotent producer recognises what it sends twice itself, and nothing after a restart. So each batch is one
//! transaction (KIP-98) that also commits, as the metadata of a group's offset, the position that the batch ends at: the
//! messages and the position are there together or not at all, and the position is asked for before anything is sent.
//! The transactional id is made of the data folder, so that what a killed tapline has left open is aborted, and one that
//! only seems dead is fenced off. Who reads with `isolation.level=read_committed` sees every record once; other readers
//! may see records of aborted transactions too.
//!
//! The protocol is librdkafka's (C), which is why it is behind a feature. `kafka-tls` links OpenSSL for TLS and SCRAM.

mod link;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;

use crate::context::Context;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use super::tls;
use link::{Failed, Link};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "kafka",
    schemes: &["kafka", "kafkas"],
    about: "Kafka, Redpanda and others of its protocol: a message for each record, keyed by its id.",
    once: "transactions that commit the position too; readers of `read_committed` see each record once",
    example: "kafka://localhost:9092,localhost:9093/?topic=tapline.{stream}",
    options: OPTIONS,
    limits: Limits { records: 5_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("topic", "the topic of a stream; `tapline.{stream}` by default"),
    ("compression", "`lz4` (default), `zstd`, `snappy` or `none`"),
    ("max_message", "the largest message that the brokers take, in bytes; 1000000 by default"),
    ("sasl", "how to log in: `PLAIN` (default where there is a user), `SCRAM-SHA-256`, `SCRAM-SHA-512`"),
    tls::CA,
    tls::CERT,
    tls::KEY,
];

/// Data folders and files whose producers are kept, each with its threads.
const LINKS_MAX: usize = 8;

/// The longest name of a topic.
const TOPIC_MAX: usize = 249;

struct Kafka {
    config: ClientConfig,
    shown: String,
    topic: String,
    /// A producer for each origin of feeds; the first is the one that was used longest ago.
    links: Vec<(Arc<str>, Arc<Link>)>,
    topics: HashMap<Arc<str>, String>,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    let shown = target.to_string();
    let topic = target.take("topic").unwrap_or_else(|| "tapline.{stream}".to_owned());
    anyhow::ensure!(topic.contains("{stream}"), "`topic={topic}` lacks {{stream}}: each stream has a topic of its own");
    let config = config(&mut target)?;
    target.finish(OPTIONS)?;
    Ok(Box::new(Kafka { config, shown, topic, links: Vec::new(), topics: HashMap::new() }))
}

/// The client's settings (<https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>).
fn config(target: &mut Target) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", target.hosts()).set("client.id", "tapline");
    let compression = target.take("compression").unwrap_or_else(|| "lz4".to_owned());
    anyhow::ensure!(
        ["lz4", "zstd", "snappy", "none"].contains(&compression.as_str()),
        "`compression={compression}` is not known; there are: lz4, zstd, snappy, none"
    );
    config.set("compression.type", compression);
    if let Some(most) = target.take("max_message") {
        let most: u32 = most.parse().map_err(|_| anyhow::anyhow!("`max_message={most}` is no count of bytes"))?;
        config.set("message.max.bytes", most.to_string());
    }
    let is_tls = target.scheme() == "kafkas";
    let mechanism = target.take("sasl");
    let (user, password) = (target.user(), target.password());
    anyhow::ensure!(mechanism.is_none() || user.is_some(), "`sasl` goes with a user and a password in the address");
    let mechanism = mechanism.unwrap_or_else(|| "PLAIN".to_owned());
    anyhow::ensure!(
        ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str()),
        "`sasl={mechanism}` is not known; there are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"
    );
    let needs_openssl = is_tls || (user.is_some() && mechanism != "PLAIN");
    anyhow::ensure!(
        !needs_openssl || cfg!(feature = "kafka-tls"),
        "this build of tapline has no TLS and no SCRAM for Kafka; build it with `--features kafka-tls`, or take the released image"
    );
    config.set(
        "security.protocol",
        match (is_tls, user.is_some()) {
            (false, false) => "PLAINTEXT",
            (false, true) => "SASL_PLAINTEXT",
            (true, false) => "SSL",
            (true, true) => "SASL_SSL",
        },
    );
    if let Some(user) = user {
        config.set("sasl.mechanisms", mechanism);
        config.set("sasl.username", user).set("sasl.password", password.unwrap_or_default());
    }
    let files = [("ca", "ssl.ca.location"), ("cert", "ssl.certificate.location"), ("cert_key", "ssl.key.location")];
    for (option, key) in files {
        let Some(file) = target.take(option) else { continue };
        anyhow::ensure!(is_tls, "`{option}` goes with TLS: write kafkas:// for it");
        config.set(key, file);
    }
    Ok(config)
}

impl Kafka {
    fn cause(&self, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow::anyhow!("Kafka at {}: {what}", self.shown)
    }

    fn sorted(&self, failed: &Failed) -> StoreError {
        sort(failed.code, self.cause(&failed.words))
    }

    /// Calls something that waits, on a thread that may.
    async fn wait<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::task::spawn_blocking(call).await {
            Ok(done) => done.map_err(|failed| self.sorted(&failed)),
            Err(error) => Err(StoreError::Lost(self.cause(error))),
        }
    }

    fn link(&mut self, origin: &Arc<str>) -> Option<Arc<Link>> {
        let place = self.links.iter().position(|(known, _)| known == origin)?;
        let used = self.links.remove(place);
        let link = Arc::clone(&used.1);
        self.links.push(used);
        Some(link)
    }

    /// The producer of an origin. What an earlier one of its name has left open is then aborted.
    async fn open_link(&mut self, origin: &Arc<str>) -> Result<Arc<Link>, StoreError> {
        if let Some(link) = self.link(origin) {
            return Ok(link);
        }
        let config = self.config.clone();
        // Two loaders of one folder into other topics do not fence each other off.
        let mark = blake3::hash(self.topic.as_bytes()).to_hex();
        let name = format!("tapline-{origin}-{}", &mark[..8]);
        let link = self.wait(move || Link::open(&config, &name)).await?;
        if self.links.len() == LINKS_MAX {
            self.links.remove(0);
        }
        self.links.push((Arc::clone(origin), Arc::new(link)));
        Ok(Arc::clone(&self.links[self.links.len() - 1].1))
    }

    fn topic_of(&self, stream: &str) -> String {
        expand_stream(&self.topic, stream, ".")
    }
}

/// What a code means to the loop (<https://kafka.apache.org/protocol#protocol_error_codes>; those below zero are
/// librdkafka's own).
fn sort(code: Code, cause: anyhow::Error) -> StoreError {
    match code {
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::SSL
        | Code::UnsupportedSASLMechanism
        | Code::SecurityDisabled
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::InvalidConfig
        | Code::InvalidTransactionTimeout
        | Code::OffsetMetadataTooLarge
        | Code::InvalidGroupId => StoreError::Stop(cause),
        // A message that the brokers will not have; the transaction is aborted with the others.
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => StoreError::Shrink(cause),
        Code::InvalidRecord | Code::InvalidMessage | Code::InvalidTimestamp => StoreError::Refused(cause),
        Code::ThrottlingQuotaExceeded | Code::QueueFull | Code::NotEnoughReplicas | Code::ISRInsufficient => {
            StoreError::busy(cause)
        }
        _ => StoreError::Lost(cause),
    }
}

#[async_trait]
impl Store for Kafka {
    async fn connect(&mut self) -> Result<(), StoreError> {
        self.links.clear();
        let config = self.config.clone();
        self.wait(move || link::probe(&config)).await
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let topic = self.topic_of(&feed.stream);
        let is_name = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_name || topic.len() > TOPIC_MAX {
            let what =
                format!("{topic:?} cannot be a topic: ASCII letters, digits, `.`, `_` and `-`, at most {TOPIC_MAX}");
            return Err(StoreError::Stop(self.cause(what)));
        }
        let link = self.open_link(&feed.origin).await?;
        self.topics.insert(Arc::clone(&feed.stream), topic.clone());
        let at = self.wait(move || link.position(&topic)).await?;
        // A group that nobody uses is forgotten after `offsets.retention.minutes`: no answer does not mean an empty topic.
        Ok(at.map_or(Mark::Unknown, Mark::At))
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let (Some(link), Some(topic)) = (self.link(&batch.feed().origin), self.topics.get(batch.stream()).cloned())
        else {
            return Err(StoreError::Lost(self.cause("not connected")));
        };
        let batch = batch.clone();
        self.wait(move || link.send(&topic, &batch)).await
    }

    /// The brokers' position counts; should they have forgotten it, ours is no more than a batch behind.
    fn doubles(&self) -> bool {
        true
    }

    fn preview(&self, batch: &Batch) -> String {
        let first =
            batch.iter().next().map_or_else(String::new, |entry| String::from_utf8_lossy(entry.line).into_owned());
        format!(
            "{}: one transaction with {} messages to the topic {}, of which this is the first\n{first}",
            self.shown,
            batch.len(),
            self.topic_of(batch.stream())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_brokers_say_is_sorted() {
        let of = |code| sort(code, anyhow::anyhow!("x"));
        for code in [Code::TopicAuthorizationFailed, Code::Authentication, Code::UnknownTopicOrPartition] {
            assert!(matches!(of(code), StoreError::Stop(_)), "{code:?}");
        }
        assert!(matches!(of(Code::MessageSizeTooLarge), StoreError::Shrink(_)));
        assert!(matches!(of(Code::InvalidRecord), StoreError::Refused(_)));
        assert!(matches!(of(Code::NotEnoughReplicas), StoreError::Busy { .. }));
        for code in [Code::BrokerTransportFailure, Code::OperationTimedOut, Code::ProducerFenced, Code::Fatal] {
            assert!(matches!(of(code), StoreError::Lost(_)), "{code:?}");
        }
    }

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert_eq!(wrong("kafka://h?topic=all"), "`topic=all` lacks {stream}: each stream has a topic of its own");
        assert_eq!(wrong("kafka://h?sasl=PLAIN"), "`sasl` goes with a user and a password in the address");
        assert!(wrong("kafka://u:secret@h?sasl=GSSAPI").contains("`sasl=GSSAPI` is not known"));
        assert_eq!(wrong("kafka://h?ca=x"), "`ca` goes with TLS: write kafkas:// for it");
        assert_eq!(wrong("kafka://h?max_message=1MB"), "`max_message=1MB` is no count of bytes");
        if !cfg!(feature = "kafka-tls") {
            assert!(wrong("kafkas://h").contains("--features kafka-tls"));
            assert!(wrong("kafka://u:secret@h?sasl=SCRAM-SHA-512").contains("--features kafka-tls"));
        }
    }
}
