//! MQTT 5: each record is published on a topic of its stream, many at a time, and each acknowledged.
//!
//! A broker keeps no record that could be asked for, so what was published and not acknowledged when tapline was killed is
//! published again: at most one batch. Who must not see a record twice goes by its `id`. Version 5 because before it a
//! broker that does not permit a topic acknowledges and drops (section 3.4.2.1 of
//! <https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html> has the reasons).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAckReason, PubCompReason, PubRecReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, Incoming, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::context::Context;
use crate::loaders::tls;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "mqtt",
    schemes: &["mqtt", "mqtts"],
    about: "An MQTT 5 broker: a message for each record, on a topic for each stream.",
    once: "at least once: the id stands in the record",
    example: "mqtt://localhost:1883?topic=tapline/{stream}",
    options: OPTIONS,
    limits: Limits { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("topic", "the topic of a stream; `tapline/{stream}` by default"),
    ("qos", "`1` (default) or `2`"),
    ("retain", "`true` has the broker keep the last record of each topic"),
    ("client_id", "how the broker knows us; made of the address by default"),
    tls::CA,
    tls::CERT,
    tls::KEY,
];

const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

const CONNECT_MAX: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How many messages are on their way at once, if the broker takes so many.
const IN_FLIGHT: u16 = 500;

struct Mqtt {
    options: MqttOptions,
    shown: String,
    topic: String,
    qos: QoS,
    retain: bool,
    connection: Option<Connection>,
}

struct Connection {
    client: AsyncClient,
    events: mpsc::UnboundedReceiver<Happened>,
    /// The longest packet that the broker takes, in bytes.
    packet_max: usize,
    /// Answers the broker's pings too while nothing is sent.
    _driver: AbortOnDropHandle<()>,
}

/// What matters of what happens on a connection.
enum Happened {
    Connected(usize),
    /// A message was given this number and sent.
    Sent(u16),
    Acknowledged(u16, Result<(), Refusal>),
    Broken(ConnectionError),
}

/// A message that the broker did not take.
struct Refusal {
    words: String,
    passes: bool,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    let shown = target.to_string();
    let topic = target.take("topic").unwrap_or_else(|| "tapline/{stream}".to_owned());
    anyhow::ensure!(
        !topic.is_empty() && !topic.contains(['+', '#', '\0']),
        "`topic={topic}` is no topic to publish on"
    );
    let qos = match target.take("qos").as_deref() {
        None | Some("1") => QoS::AtLeastOnce,
        Some("2") => QoS::ExactlyOnce,
        Some(other) => anyhow::bail!("`qos={other}` is not known; there are: 1, 2 (0 would lose records)"),
    };
    let retain = match target.take("retain").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => anyhow::bail!("`retain={other}` is not known; there are: true, false"),
    };
    let hash = blake3::hash(shown.as_bytes()).to_hex();
    let client_id = target.take("client_id").unwrap_or_else(|| format!("tapline-{}", &hash[..10]));
    let is_tls = target.scheme() == "mqtts";
    let transport = if is_tls {
        Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls::config(&mut target)?)))
    } else {
        Transport::Tcp
    };
    target.finish(OPTIONS)?;
    let url = target.url("http")?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    // The library has the usual port of HTTP for none.
    let port =
        if target.hosts().ends_with(":80") { 80 } else { url.port().unwrap_or(if is_tls { PORT_TLS } else { PORT }) };
    let mut options = MqttOptions::new(client_id, host, port);
    options.set_transport(transport).set_keep_alive(KEEP_ALIVE).set_connection_timeout(CONNECT_MAX.as_secs());
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT).set_clean_start(true);
    if let Some(user) = target.user() {
        options.set_credentials(user, target.password().unwrap_or_default());
    }
    Ok(Box::new(Mqtt { options, shown, topic, qos, retain, connection: None }))
}

impl Mqtt {
    fn cause(&self, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow::anyhow!("MQTT at {}: {what}", self.shown)
    }

    fn broken(&self, error: &ConnectionError) -> StoreError {
        let cause = self.cause(error);
        if is_final(error) { StoreError::Stop(cause) } else { StoreError::Lost(cause) }
    }
}

/// Whether an error of a connection does not pass by itself.
fn is_final(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => !matches!(
            code,
            ConnectReturnCode::ServerBusy
                | ConnectReturnCode::ServiceUnavailable
                | ConnectReturnCode::ServerUnavailable
                | ConnectReturnCode::QuotaExceeded
                | ConnectReturnCode::ConnectionRateExceeded
                | ConnectReturnCode::UnspecifiedError
                | ConnectReturnCode::ImplementationSpecificError
        ),
        ConnectionError::Tls(error) => error.to_string().contains("certificate"),
        _ => false,
    }
}

/// Carries a connection on, and says what matters, until it breaks.
async fn drive(mut events: rumqttc::v5::EventLoop, sender: mpsc::UnboundedSender<Happened>) {
    loop {
        let happened = match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(number))) => Happened::Sent(number),
            Ok(Event::Incoming(Incoming::ConnAck(ack))) => {
                let most = ack.properties.and_then(|properties| properties.max_packet_size);
                Happened::Connected(most.map_or(usize::MAX, |most| most as usize))
            }
            Ok(Event::Incoming(Incoming::PubAck(ack))) => Happened::Acknowledged(ack.pkid, of_ack(ack.reason)),
            Ok(Event::Incoming(Incoming::PubRec(ack))) => match of_rec(ack.reason) {
                // The broker has it, and says so once more in the end.
                Ok(()) => continue,
                Err(refusal) => Happened::Acknowledged(ack.pkid, Err(refusal)),
            },
            Ok(Event::Incoming(Incoming::PubComp(ack))) => {
                let is_there = ack.reason == PubCompReason::Success;
                let refusal = || Refusal { words: format!("{:?}", ack.reason), passes: true };
                Happened::Acknowledged(ack.pkid, if is_there { Ok(()) } else { Err(refusal()) })
            }
            Ok(_) => continue,
            Err(error) => {
                // Whoever listened may have gone.
                sender.send(Happened::Broken(error)).ok();
                return;
            }
        };
        if sender.send(happened).is_err() {
            return;
        }
    }
}

fn of_ack(reason: PubAckReason) -> Result<(), Refusal> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        other => Err(Refusal {
            words: format!("{other:?}"),
            passes: !matches!(other, PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid),
        }),
    }
}

fn of_rec(reason: PubRecReason) -> Result<(), Refusal> {
    match reason {
        PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Ok(()),
        other => Err(Refusal {
            words: format!("{other:?}"),
            passes: !matches!(other, PubRecReason::NotAuthorized | PubRecReason::TopicNameInvalid),
        }),
    }
}

#[async_trait]
impl Store for Mqtt {
    async fn connect(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        let (client, events) = AsyncClient::new(self.options.clone(), usize::from(IN_FLIGHT));
        let (sender, mut events_of) = mpsc::unbounded_channel();
        let driver = AbortOnDropHandle::new(tokio::spawn(drive(events, sender)));
        match events_of.recv().await {
            Some(Happened::Connected(packet_max)) => {
                self.connection = Some(Connection { client, events: events_of, packet_max, _driver: driver });
                Ok(())
            }
            Some(Happened::Broken(error)) => Err(self.broken(&error)),
            _ => Err(StoreError::Lost(self.cause("it ended before it began"))),
        }
    }

    async fn begin(&mut self, _: &Feed) -> Result<Mark, StoreError> {
        Ok(Mark::Unknown)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let topic = expand_stream(&self.topic, batch.stream(), "/");
        let (qos, retain) = (self.qos, self.retain);
        let Some(connection) = &mut self.connection else { return Err(StoreError::Lost(self.cause("not connected"))) };
        let mut sent = Sent::default();
        let (mut waiting, mut messages) = (VecDeque::new(), Vec::with_capacity(batch.len()));
        for (index, entry) in batch.iter().enumerate() {
            let length = entry.line.len() + topic.len() + 16;
            if length > connection.packet_max {
                let most = connection.packet_max;
                sent.dead.push((index, format!("as a message it has {length} bytes, and the broker takes {most}")));
            } else {
                waiting.push_back(index);
                messages.push(Bytes::copy_from_slice(entry.line));
            }
        }
        let client = connection.client.clone();
        let publish = async {
            for message in messages {
                // It ends only when the connection does, which the other half hears too.
                client.publish_bytes(topic.as_str(), qos, retain, message).await.ok();
            }
        };
        let ((), ended) = tokio::join!(publish, gather(&mut connection.events, waiting, &mut sent));
        match ended {
            Ok(None) => Ok(sent),
            Ok(Some(refusal)) => {
                let cause = self.cause(format!("the broker refuses to publish on {topic}: {}", refusal.words));
                Err(if refusal.passes { StoreError::busy(cause) } else { StoreError::Stop(cause) })
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn doubles(&self) -> bool {
        true
    }

    fn preview(&self, batch: &Batch) -> String {
        let topic = expand_stream(&self.topic, batch.stream(), "/");
        let first =
            batch.iter().next().map_or_else(String::new, |entry| String::from_utf8_lossy(entry.line).into_owned());
        format!("{}: PUBLISH {topic}, {} messages of which this is the first\n{first}", self.shown, batch.len())
    }
}

/// Waits until everything that was published is answered for. Numbers are given in the order in which it was.
async fn gather(
    events: &mut mpsc::UnboundedReceiver<Happened>,
    mut waiting: VecDeque<usize>,
    sent: &mut Sent,
) -> Result<Option<Refusal>, ConnectionError> {
    let mut under_way: HashMap<u16, usize> = HashMap::new();
    let mut refused = None;
    while !waiting.is_empty() || !under_way.is_empty() {
        match events.recv().await {
            Some(Happened::Sent(number)) => {
                let index = waiting.pop_front();
                under_way.extend(index.map(|index| (number, index)));
            }
            Some(Happened::Acknowledged(number, outcome)) => {
                let Some(index) = under_way.remove(&number) else { continue };
                if let Err(refusal) = outcome {
                    sent.retry.push((index, refusal.words.clone()));
                    refused = Some(refusal).filter(|refusal| !refusal.passes).or(refused);
                }
            }
            Some(Happened::Broken(error)) => return Err(error),
            Some(Happened::Connected(_)) => {}
            None => return Err(ConnectionError::RequestsDone),
        }
    }
    sent.retry.sort_unstable();
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert_eq!(wrong("mqtt://h?topic=a/%23"), "`topic=a/#` is no topic to publish on");
        assert!(wrong("mqtt://h?qos=0").starts_with("`qos=0` is not known"));
        assert_eq!(wrong("mqtts://h?cert_key=a"), "`cert_key` goes with `cert`, a file of the other half");
    }

    #[test]
    fn refusals_are_sorted() {
        let of = |code| is_final(&ConnectionError::ConnectionRefused(code));
        assert!(of(ConnectReturnCode::NotAuthorized) && of(ConnectReturnCode::BadUserNamePassword));
        assert!(!of(ConnectReturnCode::ServerBusy));
        assert!(of_ack(PubAckReason::NotAuthorized).is_err_and(|refusal| !refusal.passes));
        assert!(of_ack(PubAckReason::QuotaExceeded).is_err_and(|refusal| refusal.passes));
        assert!(of_ack(PubAckReason::NoMatchingSubscribers).is_ok());
    }
}
