//! AMQP 0.9.1 (`RabbitMQ`): each record is published persistent and mandatory, and confirmed by the broker
//! (<https://www.rabbitmq.com/docs/confirms>).
//!
//! A broker keeps no record that could be asked for, so what was published and not confirmed when tapline was killed is
//! published again: at most one batch. Who must not see a record twice goes by the message's id, which is the record's.

mod confirms;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use amqprs::BasicProperties;
use amqprs::channel::{
    BasicPublishArguments, Channel, ConfirmSelectArguments, ExchangeDeclareArguments, QueueDeclareArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::tls::TlsAdaptor;
use async_trait::async_trait;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::context::Context;
use crate::loaders::tls;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use confirms::{Confirms, Fate, Told};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "amqp",
    schemes: &["amqp", "amqps"],
    about: "RabbitMQ and other AMQP 0.9.1 brokers: a persistent message for each record, confirmed.",
    once: "at least once: the message's id is the record's",
    example: "amqp://guest:guest@localhost:5672/?key=tapline.{stream}",
    options: OPTIONS,
    limits: Limits { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("exchange", "the exchange; the default one, where the key is the name of a queue, unless it is named"),
    ("key", "the routing key of a stream; `tapline.{stream}` by default"),
    ("create", "`false` declares neither queue nor exchange"),
    tls::CA,
    tls::CERT,
    tls::KEY,
];

const PORT: u16 = 5672;
const PORT_TLS: u16 = 5671;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// In seconds: a broker that says nothing for so long is gone.
const HEARTBEAT: u16 = 30;

/// The longest short string of AMQP, in bytes: keys, ids.
const SHORT_MAX: usize = 255;

/// Delivery mode "persistent".
const PERSISTENT: u8 = 2;

struct Amqp {
    arguments: OpenConnectionArguments,
    shown: String,
    exchange: String,
    key: String,
    creates: bool,
    open: Option<Open>,
}

struct Open {
    channel: Channel,
    confirms: Confirms,
    /// Dropped last: the channel is a part of it.
    connection: Connection,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    let shown = target.to_string();
    let exchange = target.take("exchange").unwrap_or_default();
    let key = target.take("key").unwrap_or_else(|| "tapline.{stream}".to_owned());
    let creates = match target.take("create").as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => anyhow::bail!("`create={other}` is not known; there are: true, false"),
    };
    let is_tls = target.scheme() == "amqps";
    let config = if is_tls { Some(tls::config(&mut target)?) } else { None };
    target.finish(OPTIONS)?;
    let vhost = Some(target.take_path()).filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let url = target.url("http")?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port().unwrap_or(if is_tls { PORT_TLS } else { PORT });
    let user = target.user().unwrap_or_else(|| "guest".to_owned());
    let password = target.password().unwrap_or_else(|| "guest".to_owned());
    anyhow::ensure!(
        [&vhost, &exchange].iter().all(|word| word.len() <= SHORT_MAX),
        "names of virtual hosts and exchanges have at most {SHORT_MAX} bytes"
    );
    let mut arguments = OpenConnectionArguments::new(host, port, &user, &password);
    arguments.virtual_host(&vhost).connection_name("tapline").heartbeat(HEARTBEAT);
    if let Some(config) = config {
        arguments.tls_adaptor(TlsAdaptor::new(TlsConnector::from(Arc::new(config)), host.to_owned()));
    }
    Ok(Box::new(Amqp { arguments, shown, exchange, key, creates, open: None }))
}

impl Amqp {
    fn cause(&self, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow::anyhow!("AMQP at {}: {what}", self.shown)
    }

    /// What a call that failed means, of which the broker may have said more elsewhere.
    fn failed(&mut self, error: &amqprs::error::Error) -> StoreError {
        match self.open.as_mut().and_then(|open| open.confirms.closed()) {
            Some(told) => self.closed(&told),
            None => StoreError::Lost(self.cause(error)),
        }
    }

    fn closed(&self, told: &Told) -> StoreError {
        sort(told, self.cause(told))
    }

    async fn try_connect(&self) -> Result<Open, amqprs::error::Error> {
        let connection = Connection::open(&self.arguments).await?;
        let (confirms, of_connection, of_channel) = Confirms::new();
        connection.register_callback(of_connection).await?;
        let channel = connection.open_channel(None).await?;
        channel.register_callback(of_channel).await?;
        channel.confirm_select(ConfirmSelectArguments::default()).await?;
        Ok(Open { channel, confirms, connection })
    }

    fn key_of(&self, stream: &str) -> String {
        expand_stream(&self.key, stream, ".")
    }

    /// The queue that has the key for a name, or the exchange: durable, as the messages are.
    async fn declare(&mut self, key: &str) -> Result<(), StoreError> {
        let Some(open) = &self.open else { return Err(StoreError::Lost(self.cause("not connected"))) };
        let declared = if self.exchange.is_empty() {
            open.channel.queue_declare(QueueDeclareArguments::durable_client_named(key)).await.map(drop)
        } else {
            let arguments = ExchangeDeclareArguments::new(&self.exchange, "topic").durable(true).finish();
            open.channel.exchange_declare(arguments).await
        };
        declared.map_err(|error| self.failed(&error))
    }
}

/// Why a connection could not be opened, in words: the library shows the broker's as it shows a structure.
fn opening(error: &str) -> String {
    let told = error.split_once("reply_text: ").and_then(|(_, rest)| rest.split('"').nth(1));
    match told {
        Some(told) => told.to_owned(),
        // That is all a broker does of a login that it refuses, after a while.
        None if ["reset by peer", "peer shutdown", "shutdown by peer"].iter().any(|word| error.contains(word)) => {
            format!("{error}; perhaps user or password is wrong: a broker says no more than that")
        }
        None => error.to_owned(),
    }
}

/// What it means that the broker closed the channel or the connection
/// (<https://www.rabbitmq.com/amqp-0-9-1-reference#constants>).
fn sort(told: &Told, cause: anyhow::Error) -> StoreError {
    match told.code {
        // No right, no exchange, a declaration that does not go with what is there, not allowed, not implemented.
        403..=406 | 530 | 540 => StoreError::Stop(cause),
        311 => StoreError::Shrink(cause),
        _ => StoreError::Lost(cause),
    }
}

#[async_trait]
impl Store for Amqp {
    async fn connect(&mut self) -> Result<(), StoreError> {
        if let Some(open) = self.open.take() {
            // It is gone, or of no use any more.
            timeout(CONNECT_MAX, open.connection.close()).await.ok();
        }
        match timeout(CONNECT_MAX, self.try_connect()).await {
            Ok(Ok(open)) => {
                self.open = Some(open);
                Ok(())
            }
            Ok(Err(error)) => {
                let words = opening(&error.to_string());
                let cause = self.cause(&words);
                let is_refused =
                    ["ACCESS_REFUSED", "NOT_ALLOWED", "certificate"].iter().any(|word| words.contains(word));
                Err(if is_refused { StoreError::Stop(cause) } else { StoreError::Lost(cause) })
            }
            Err(_) => Err(StoreError::Lost(self.cause("no answer"))),
        }
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let key = self.key_of(&feed.stream);
        if key.len() > SHORT_MAX {
            return Err(StoreError::Stop(self.cause(format!("the key {key} is longer than {SHORT_MAX} bytes"))));
        }
        if self.creates {
            self.declare(&key).await?;
        }
        Ok(Mark::Unknown)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let key = self.key_of(batch.stream());
        let Some(open) = &mut self.open else { return Err(StoreError::Lost(self.cause("not connected"))) };
        let mut arguments = BasicPublishArguments::new(&self.exchange, &key);
        arguments.mandatory(true);
        let mut published = Vec::with_capacity(batch.len());
        let mut failed = None;
        for (index, entry) in batch.iter().enumerate() {
            let mut properties = BasicProperties::default();
            properties.with_content_type("application/json").with_delivery_mode(PERSISTENT).with_app_id("tapline");
            if let Some(id) = entry.id().ok().filter(|id| id.len() <= SHORT_MAX) {
                properties.with_message_id(&id);
            }
            if let Err(error) = open.channel.basic_publish(properties, entry.line.to_vec(), arguments.clone()).await {
                failed = Some(error);
                break;
            }
            published.push(index);
        }
        if let Some(error) = failed {
            return Err(self.failed(&error));
        }
        let fates = open.confirms.wait(published.len()).await.map_err(|told| match told {
            Some(told) => self.closed(&told),
            None => StoreError::Lost(self.cause("the connection ended")),
        })?;
        let unroutable: HashSet<usize> =
            fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Returned).map(|(place, _)| place).collect();
        if !unroutable.is_empty() {
            let exchange = if self.exchange.is_empty() { "the default exchange" } else { &self.exchange };
            let what = format!("no queue takes the key {key} of {exchange}: bind one, and it goes on");
            return Err(StoreError::Stop(self.cause(what)));
        }
        let refused = fates.iter().zip(published).filter(|(fate, _)| **fate == Fate::Refused);
        let retry = refused.map(|(_, index)| (index, "the broker could not take it (nack)".to_owned())).collect();
        Ok(Sent { retry, ..Sent::default() })
    }

    fn doubles(&self) -> bool {
        true
    }

    fn preview(&self, batch: &Batch) -> String {
        let first =
            batch.iter().next().map_or_else(String::new, |entry| String::from_utf8_lossy(entry.line).into_owned());
        format!(
            "{}: publish to exchange {:?} with key {}, {} messages of which this is the first\n{first}",
            self.shown,
            self.exchange,
            self.key_of(batch.stream()),
            batch.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_says_is_sorted() {
        let of = |code| sort(&Told { code, words: "x".into() }, anyhow::anyhow!("x"));
        for code in [403, 404, 405, 406, 530] {
            assert!(matches!(of(code), StoreError::Stop(_)), "{code}");
        }
        assert!(matches!(of(320), StoreError::Lost(_)));
        assert!(matches!(of(311), StoreError::Shrink(_)));
    }

    #[test]
    fn openings_in_words() {
        let shown = r#"failed: Close(M { class_id: 10 }, Close { reply_code: 530, reply_text: ShortStr(37, "NOT_ALLOWED - vhost x not found"), class_id: 10 })"#;
        assert_eq!(opening(shown), "NOT_ALLOWED - vhost x not found");
        assert!(opening("Connection reset by peer (os error 104)").ends_with("says no more than that"));
        assert_eq!(opening("Connection refused"), "Connection refused");
    }

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert_eq!(
            wrong("amqp://h?queue=a"),
            "`queue` in the address means nothing; there are: exchange, key, create, ca, cert, cert_key"
        );
        assert_eq!(wrong("amqps://h?cert=a"), "`cert` goes with `cert_key`, a file of the other half");
    }
}
