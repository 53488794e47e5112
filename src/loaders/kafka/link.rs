//! One transactional producer, and the group that its positions are kept in. Every call here waits.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::sink::Position;
use crate::store::{Batch, Sent};

/// How long the brokers may take to answer who they are.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// How long a call of a transaction may take.
const CALL_MAX: Duration = Duration::from_mins(1);

/// A transactional producer and its group.
pub(super) struct Link {
    producer: ThreadedProducer<Watch>,
    consumer: BaseConsumer<Watch>,
}

/// Why a call failed.
pub(super) struct Failed {
    pub(super) code: Code,
    pub(super) words: String,
}

/// Hears what the client says aside: the calls themselves only say that time is up.
#[derive(Default)]
struct Watch {
    /// What was wrong last.
    trouble: Mutex<Option<(Code, String)>>,
    /// Messages of the transaction at hand that the brokers did not take.
    refused: Mutex<Vec<(usize, KafkaError)>>,
}

impl ClientContext for Watch {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" comes behind what says why.
        if code != Code::AllBrokersDown || trouble.is_none() {
            *trouble = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Watch {}

impl ProducerContext for Watch {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        if let Err((error, _)) = result {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).push((index, error.clone()));
        }
    }
}

impl Watch {
    /// What a failure of a call means, with what was heard aside where that says more.
    fn failed(&self, error: &KafkaError) -> Failed {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let heard = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        match heard {
            Some((heard, why)) if is_vague(code) => Failed { code: heard, words: format!("{why} ({error})") },
            Some((_, why)) => Failed { code, words: format!("{error}; {why}") },
            None => Failed { code, words: fenced(code).unwrap_or_else(|| error.to_string()) },
        }
    }
}

/// A code that only says that it did not work.
fn is_vague(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::MessageTimedOut
            | Code::Unknown
    )
}

fn fenced(code: Code) -> Option<String> {
    matches!(code, Code::ProducerFenced | Code::Fenced | Code::InvalidProducerEpoch).then(|| {
        "another loader of this data folder writes to these topics, and has taken over; stop one of the two".to_owned()
    })
}

/// Asks the brokers who they are.
pub(super) fn probe(config: &ClientConfig) -> Result<(), Failed> {
    let consumer: BaseConsumer<Watch> = created(config.create_with_context(Watch::default()))?;
    match consumer.fetch_metadata(None, PROBE_MAX) {
        Ok(_) => Ok(()),
        Err(error) => {
            // Errors aside are heard by polling.
            consumer.poll(Duration::ZERO);
            Err(consumer.client().context().failed(&error))
        }
    }
}

fn created<T>(made: KafkaResult<T>) -> Result<T, Failed> {
    made.map_err(|error| Failed { code: Code::InvalidConfig, words: error.to_string() })
}

impl Link {
    /// Opens the producer of this transactional id and the group of the same name.
    pub(super) fn open(config: &ClientConfig, name: &str) -> Result<Self, Failed> {
        let mut producing = config.clone();
        producing.set("transactional.id", name);
        let producer: ThreadedProducer<Watch> = created(producing.create_with_context(Watch::default()))?;
        let mut reading = config.clone();
        reading.remove("compression.type");
        // What a transaction of another is about to commit is waited for, not overlooked.
        reading.set("group.id", name).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        let consumer = created(reading.create_with_context(Watch::default()))?;
        let link = Self { producer, consumer };
        link.producer.init_transactions(CALL_MAX).map_err(|error| link.failed(&error))?;
        Ok(link)
    }

    fn watch(&self) -> &Watch {
        self.producer.client().context()
    }

    fn failed(&self, error: &KafkaError) -> Failed {
        self.watch().failed(error)
    }

    /// How far a topic is filled, as its last transaction said.
    pub(super) fn position(&self, topic: &str) -> Result<Option<Position>, Failed> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, 0);
        let found = self.consumer.committed_offsets(asked, CALL_MAX).map_err(|error| self.failed(&error))?;
        let found = found.find_partition(topic, 0).filter(|found| found.offset() != Offset::Invalid);
        let Some(found) = found else { return Ok(None) };
        found.error().map_err(|error| self.failed(&error))?;
        // Another's group of this name would be strange, and its offset no position.
        Ok(serde_json::from_str(found.metadata()).ok())
    }

    /// One transaction: the messages, and the position behind them.
    pub(super) fn send(&self, topic: &str, batch: &Batch) -> Result<Sent, Failed> {
        self.watch().refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.producer.begin_transaction().map_err(|error| self.failed(&error))?;
        let mut sent = Sent::default();
        let stored = self.put(topic, batch, &mut sent).and_then(|()| self.commit(topic, batch.to()));
        match stored {
            Ok(()) => Ok(sent),
            Err(error) => {
                let refused = std::mem::take(&mut *self.watch().refused.lock().unwrap_or_else(PoisonError::into_inner));
                // Should that fail too, whoever connects again aborts it.
                self.producer.abort_transaction(CALL_MAX).ok();
                let of_message = refused.first().and_then(|(index, error)| {
                    let code = error.rdkafka_error_code().filter(|code| !is_purged(*code))?;
                    Some(Failed { code, words: format!("message {index} of the batch: {error}") })
                });
                Err(of_message.unwrap_or_else(|| self.failed(&error)))
            }
        }
    }

    fn put(&self, topic: &str, batch: &Batch, sent: &mut Sent) -> KafkaResult<()> {
        for (index, entry) in batch.iter().enumerate() {
            let id = match entry.id() {
                Ok(id) => id,
                Err(why) => {
                    sent.dead.push((index, why));
                    continue;
                }
            };
            let record = BaseRecord::with_opaque_to(topic, index).key(id.as_bytes()).payload(entry.line);
            match self.producer.send(record) {
                Ok(()) => {}
                Err((error, _)) if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) => {
                    let bytes = entry.line.len();
                    sent.dead.push((index, format!("{bytes} bytes are more than the brokers take; see `max_message`")));
                }
                Err((error, _)) => return Err(error),
            }
        }
        Ok(())
    }

    fn commit(&self, topic: &str, to: Position) -> KafkaResult<()> {
        let metadata = serde_json::to_string(&to).expect("invariant: two numbers are JSON");
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition(topic, 0).set_metadata(&metadata);
        // The number itself only has to be one.
        offsets.set_partition_offset(topic, 0, Offset::Offset(i64::try_from(to.segment).unwrap_or(i64::MAX)))?;
        let group = self.consumer.group_metadata().expect("invariant: the consumer has a group");
        self.producer.send_offsets_to_transaction(&offsets, &group, CALL_MAX)?;
        self.producer.commit_transaction(CALL_MAX)
    }
}

/// A message that was only dropped because its transaction was.
fn is_purged(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight)
}
