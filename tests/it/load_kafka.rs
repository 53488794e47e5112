//! Kafka: against the mock cluster of librdkafka, which speaks the protocol and keeps positions, and by address against a
//! real one.
//!
//! The mock shows records of aborted transactions to every reader, and forgets positions that are committed in one (2.12.1):
//! that each record is there once is shown on a real cluster only, `TAPLINE_TEST_KAFKA=host:port`. What the mock shows is
//! that nothing is lost, that no more than the batch at hand comes again, and what is made of errors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::alone::alone;
use crate::support::loading::{Pile, killed, load, load_all};
use crate::support::tap::{PATIENCE, wait_until};

const TOPIC: &str = "tapline.pile";

/// Three brokers, and the topic with one partition, so that order can be asked for.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 1, 3).unwrap();
    cluster
}

fn url(servers: &str) -> String {
    format!("kafka://{servers}/")
}

/// Reads a topic as it grows: the mock forgets what is more than a few megabytes.
struct Reading {
    found: Arc<Mutex<Vec<(String, String)>>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reading {
    fn start(servers: &str) -> Self {
        let (found, over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("group.id", "test").set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
        consumer.assign(&from).unwrap();
        let (into, until) = (Arc::clone(&found), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
                let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                into.lock().unwrap().push((text(message.key()), text(message.payload())));
            }
        });
        Self { found, over, thread: Some(thread) }
    }

    /// What there is once it has all of these.
    fn all(&self, pile: &Pile) -> Vec<(String, String)> {
        let last = pile.ids().last().unwrap();
        let has_last = || self.found.lock().unwrap().iter().any(|(key, _)| *key == last);
        wait_until("the last record is read", PATIENCE, has_last);
        self.found.lock().unwrap().clone()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn killed_a_hundred_times_nothing_is_lost_and_a_batch_at_most_comes_again() {
    let real = std::env::var("TAPLINE_TEST_KAFKA").ok();
    let mock = real.is_none().then(cluster);
    let servers = real.clone().unwrap_or_else(|| mock.as_ref().unwrap().bootstrap_servers());
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let reading = Reading::start(&servers);
    let (kills, each) = if std::env::var_os("TAPLINE_QUICK").is_some() { (10, 300) } else { (100, 1_000) };
    let mut pile = Pile::new(&root, "pile");
    let found = killed(&mut pile, &url(&servers), &["--batch-records", "200"], kills, each, |_| {});
    println!("{found:?}");
    assert!(found.at_work * 2 > kills, "{found:?}: most runs are to be killed at work");
    let records = reading.all(&pile);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (key, _) in &records {
        *counts.entry(key).or_default() += 1;
    }
    assert_eq!(counts.len(), pile.len(), "every record is there");
    let again = records.len() - pile.len();
    println!("{again} records came again");
    let most = if real.is_some() { 0 } else { 200 * found.at_work };
    assert!(again <= most, "{again} records came again, and {most} may");
    let text = pile.text();
    let lines: HashMap<&str, &str> = text.lines().map(|line| (line.split('"').nth(11).unwrap(), line)).collect();
    assert!(
        records.iter().all(|(key, record)| lines[key.as_str()] == record),
        "each under its id, as it stands in its file"
    );
    for _ in 0..if real.is_some() { 3 } else { 0 } {
        std::fs::remove_dir_all(root.join(".tapline/load")).unwrap();
        let said = load_all(&root, &url(&servers), &[]);
        assert!(String::from_utf8_lossy(&said.stderr).contains(" 0 records loaded"), "{said:?}");
    }
}

/// In a process of its own, which starts none meanwhile: between its fork and its program a process has all the sockets of the
/// one it comes from, so that a broker that goes down has not let go of its port, and the mock ends the process when it
/// cannot have it again.
#[test]
fn brokers_go_and_come_and_refuse() {
    alone("load_kafka::child", &[]);
}

#[test]
#[ignore = "the test above starts it"]
fn child() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let reading = Reading::start(&servers);
    let mut pile = Pile::new(&root, "pile");
    pile.add_data([format!(r#""{}""#, "x".repeat(1_200_000))]);
    pile.add(2_000);
    // A record that is larger than brokers take is dead, the others are there.
    let output = load(&root, &url(&servers), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("1 could not be stored"), "{said}");
    assert_eq!(reading.all(&pile).len(), 2_000);
    // A batch that is refused is halved, and what the brokers have no room for comes again.
    pile.add(2_000);
    let produce = RDKafkaApiKey::Produce;
    cluster.request_errors(produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    load_all(&root, &url(&servers), &["--batch-records", "500"]);
    let before = reading.all(&pile).len();
    assert!(before >= 4_000, "{before}");
    // No right: said, and nothing is lost.
    pile.add(10);
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED; 5],
    );
    let output = load(&root, &url(&servers), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody must act") && said.to_lowercase().contains("authoriz"), "{said}");
    cluster.clear_request_errors(RDKafkaApiKey::InitProducerId);
    // Every broker is gone for a while.
    pile.add(1_000);
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    let mut child = load(&root, &url(&servers), &[]).spawn().unwrap();
    crate::support::tap::pause(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
    assert!(child.wait().unwrap().success());
    assert!(reading.all(&pile).len() > before);
}
