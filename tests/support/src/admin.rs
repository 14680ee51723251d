//! Administration of a cluster's topics: create, change, delete, and find leaders.
//!
//! It uses librdkafka, which takes milliseconds where Kafka's own tools take a second.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use tokio::runtime;

use super::wait;

/// Timeout of a change. A reply takes milliseconds; an election after a lost broker takes some seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of one metadata request. It is short, so that an unavailable broker does not use up the whole of
/// [`TIMEOUT`].
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that changes topics. It connects when needed; one per test is sufficient.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
}

impl Admin {
    /// A client of the cluster at `bootstrap`.
    pub fn new(bootstrap: &str) -> Admin {
        let client = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            // This client only reads topics; by default an admin client's metadata request creates them.
            .set("allow.auto.create.topics", "false")
            // Tests stop and restart brokers: reconnect soon.
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .expect("an admin client");
        Admin { client }
    }

    /// Creates a topic and returns when each of its partitions has a leader. `replication` −1 is the cluster's default.
    pub fn create_topic(&self, name: &str, partitions: usize, replication: i32, config: &[(&str, &str)]) {
        let count = i32::try_from(partitions).expect("a number of partitions");
        let mut topic = NewTopic::new(name, count, TopicReplication::Fixed(replication));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let made = self.run(self.client.create_topics([&topic], &options()));
        check(&format!("creating {name}"), made);
        self.await_leaders(name, partitions);
    }

    /// Replaces the topic's settings: settings that are not given return to the cluster's default.
    pub fn set_topic_config(&self, name: &str, config: &[(&str, &str)]) {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in config {
            change = change.set(key, value);
        }
        let results = self.run(self.client.alter_configs([&change], &options()));
        for result in results {
            result.unwrap_or_else(|(_, code)| panic!("changing {name}: {code}"));
        }
    }

    /// Raises the number of partitions to `total`; returns when each has a leader.
    pub fn set_partitions(&self, name: &str, total: usize) {
        self.add_partitions(name, total);
        self.await_leaders(name, total);
    }

    /// Does the same without waiting for leaders, for a partition without one.
    pub fn add_partitions(&self, name: &str, total: usize) {
        let change = NewPartitions::new(name, total);
        let made = self.run(self.client.create_partitions([&change], &options()));
        check(&format!("adding partitions to {name}"), made);
    }

    /// Deletes a topic and returns when brokers no longer know it.
    pub fn delete_topic(&self, name: &str) {
        let made = self.run(self.client.delete_topics(&[name], &options()));
        check(&format!("deleting {name}"), made);
        wait::until_true(&format!("{name} is deleted"), TIMEOUT, || {
            self.with_topic(name, |topic| topic.error().is_some() || topic.partitions().is_empty())
                .unwrap_or(false)
        });
    }

    /// The names of all topics except Kafka's own, sorted.
    pub fn topics(&self) -> Vec<String> {
        let metadata = self.client.inner().fetch_metadata(None, TIMEOUT).expect("a broker replies");
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("__")).collect();
        names.sort();
        names
    }

    /// The number of a topic's partitions, and one of its settings.
    pub fn describe(&self, name: &str, setting: &str) -> (usize, String) {
        let partitions = self.with_topic(name, |topic| topic.partitions().len()).expect("a broker replies");
        let asked = [&ResourceSpecifier::Topic(name)];
        let described = self.run(self.client.describe_configs(asked, &options())).remove(0).expect(name);
        let value = described.get(setting).and_then(|entry| entry.value.clone());
        (partitions, value.unwrap_or_default())
    }

    /// The current leader of a partition, if it has one.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.with_topic(topic, |topic| {
            let found = topic.partitions().iter().find(|one| one.id() == partition)?;
            (found.error().is_none() && found.leader() >= 0).then(|| found.leader())
        })?
    }

    /// Waits for a leader other than `old`, and returns it; for a test that has just stopped `old`.
    pub fn await_leader_other_than(&self, old: i32, topic: &str, partition: i32) -> i32 {
        wait::until(&format!("another leader than {old} for {topic}/{partition}"), TIMEOUT, || {
            self.leader(topic, partition).filter(|leader| *leader != old)
        })
    }

    fn await_leaders(&self, topic: &str, partitions: usize) {
        wait::until_true(&format!("{topic} has {partitions} leaders"), TIMEOUT, || {
            self.with_topic(topic, |topic| {
                let led = topic.partitions().iter().filter(|one| one.error().is_none() && one.leader() >= 0);
                led.count() == partitions
            })
            .unwrap_or(false)
        });
    }

    /// Reads a topic's metadata; `None` if no broker replies.
    fn with_topic<T>(&self, name: &str, look: impl FnOnce(&MetadataTopic) -> T) -> Option<T> {
        let metadata = self.client.inner().fetch_metadata(Some(name), METADATA_TIMEOUT).ok()?;
        metadata.topics().first().map(look)
    }

    /// Waits for a request. librdkafka completes it on its own threads.
    fn run<T>(&self, request: impl Future<Output = KafkaResult<T>>) -> T {
        let waiting = runtime::Builder::new_current_thread().build().expect("a runtime");
        waiting.block_on(request).expect("a broker replies")
    }
}

/// A topic name that is unique on any broker: tests share brokers, and a broker may outlive them.
pub fn unique_name(base: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    format!("{base}.{}.{}.{count}", now.as_millis(), process::id())
}

fn options() -> AdminOptions {
    // The reply arrives when the change is done, not when it is recorded.
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}

fn check(what: &str, results: Vec<Result<String, (String, RDKafkaErrorCode)>>) {
    for result in results {
        result.unwrap_or_else(|(_, code)| panic!("{what}: {code}"));
    }
}
