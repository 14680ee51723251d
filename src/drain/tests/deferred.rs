//! Records with a deferred value: which records wait for them, and which are never sent.

use crate::sync::Mutex;

use super::*;

/// A secret that no record in Kafka may contain.
const SECRET: &str = "hunter2";

/// Holds every result until the test releases it.
#[derive(Default)]
struct ManualResolver(Mutex<Vec<(String, ValueCompletion)>>);

impl ValueResolver for ManualResolver {
    fn resolve(&self, envelope: &Envelope<'_>, answer: ValueCompletion) {
        let value = String::from_utf8(envelope.value.to_vec()).unwrap();
        self.0.lock().push((value, answer));
    }
}

impl ManualResolver {
    fn waiting(&self) -> usize {
        self.0.lock().len()
    }

    /// Releases the held results, the newest first.
    fn complete_all(&self) -> usize {
        let waiting = std::mem::take(&mut *self.0.lock());
        let count = waiting.len();
        waiting.into_iter().rev().for_each(|(value, answer)| answer.complete(hashed(&value)));
        count
    }
}

fn hashed(value: &str) -> Vec<u8> {
    value.replace(SECRET, "hash").into_bytes()
}

impl DrainFixture {
    /// Like `append`. Records selected by `is_deferred` have a secret and a deferred value.
    fn append_mixed(&mut self, numbers: std::ops::Range<u64>, keys: u64, is_sealed: impl Fn(u64) -> bool) {
        let next = self.writer.next_lsn().0;
        let payloads: Vec<_> = numbers
            .enumerate()
            .map(|(at, n)| {
                let (sealed, lsn) = (is_sealed(n), Lsn(next + at as u64));
                let value = if sealed { format!("{n} {SECRET}") } else { n.to_string() };
                record_as(TOPIC, n % keys, value.as_bytes(), lsn, sealed)
            })
            .collect();
        self.commit(&payloads);
    }

    /// Releases results until all records are delivered.
    fn wait_until_drained_with(&self, slow: &ManualResolver) {
        self.wait_until("drained", |fixture| {
            slow.complete_all();
            fixture.log.backlog_stats().backlog == 0
        });
    }

    /// All values of the topic, as they are stored.
    fn values(&self) -> Vec<String> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("group.id", "values")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(TOPIC), LIMIT).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).unwrap() {
            list.add_partition_offset(TOPIC, partition, rdkafka::Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut ends, mut values) = (0, Vec::new());
        while ends < partitions {
            match consumer.poll(LIMIT).unwrap() {
                Ok(message) => {
                    values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
            }
        }
        values
    }

    fn assert_no_secret(&self) {
        let values = self.values();
        assert!(values.iter().all(|value| !value.contains(SECRET)), "an unresolved value was sent");
    }
}

/// A fixture whose values are resolved when the test releases them.
fn with_manual_resolver() -> (DrainFixture, Arc<ManualResolver>) {
    let (mut fixture, slow) = (DrainFixture::new(), Arc::new(ManualResolver::default()));
    fixture.resolver = slow.clone();
    (fixture, slow)
}

#[test]
fn a_deferred_value_parks_only_its_own_key() {
    let (mut fixture, slow) = with_manual_resolver();
    fixture.append_mixed(0..200, 10, |n| n == 0);
    let drain = fixture.drain();
    fixture.wait_until("others passed", |fixture| fixture.log.backlog_stats().backlog == 20);
    let handle = drain.handle();
    fixture.wait_until("parked", |_| handle.parked().get(TOPIC) == Some(&20));
    fixture.append_mixed(200..210, 10, |_| false);
    fixture.wait_until("others passed again", |fixture| fixture.log.backlog_stats().backlog == 21);
    assert_eq!(slow.complete_all(), 1);
    fixture.wait_until_drained();
    fixture.wait_until("gauge back", |_| handle.parked().get(TOPIC) == Some(&0));
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..210, 10, &[]);
    fixture.assert_no_secret();
    assert_eq!(fixture.log.backlog_stats().dead, 0);
}

#[test]
fn deferred_values_keep_key_order_across_a_restart() {
    let (mut fixture, slow) = with_manual_resolver();
    // More than a worker requests in advance, several of each key, and new ones while old ones wait.
    let is_sealed = |n: u64| n.is_multiple_of(3) || n % 7 == 1;
    fixture.append_mixed(0..3000, 150, is_sealed);
    let drain = fixture.drain();
    fixture.wait_until("requested", |_| slow.waiting() > 100);
    fixture.append_mixed(3000..3600, 150, is_sealed);
    fixture.wait_until("some are delivered", |fixture| {
        slow.complete_all();
        fixture.log.backlog_stats().backlog < 2000
    });
    // Results of the earlier run arrive when no worker waits for them any more.
    drain.stop(Instant::now());
    fixture.append_mixed(3600..4000, 150, is_sealed);
    let drain = fixture.drain();
    fixture.wait_until_drained_with(&slow);
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 0);
    fixture.assert_in_order(TOPIC, 0..4000, 150, &[]);
    fixture.assert_no_secret();
}

#[test]
fn a_record_that_is_sent_again_needs_no_second_hash() {
    let (mut fixture, slow) = with_manual_resolver();
    fixture.broker.cluster().create_topic(TOPIC, 1, 1).unwrap();
    fixture.inject_errors(&[NOT_AUTHORIZED; 3]);
    fixture.append_mixed(0..20, 20, |n| n < 10);
    let drain = fixture.drain();
    fixture.wait_until("requested", |_| slow.waiting() == 10);
    assert_eq!(slow.complete_all(), 10);
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(slow.waiting(), 0);
    fixture.assert_in_order(TOPIC, 0..20, 20, &[]);
    fixture.assert_no_secret();
}

#[test]
fn a_missing_result_is_requested_again() {
    let (mut fixture, slow) = with_manual_resolver();
    fixture.append_mixed(0..5, 5, |n| n == 2);
    let drain = fixture.drain();
    fixture.wait_until("requested", |_| slow.waiting() == 1);
    slow.0.lock().clear();
    fixture.wait_until("requested again", |_| slow.waiting() == 1);
    slow.complete_all();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..5, 5, &[]);
}

/// Returns the original value.
struct UnchangedResolver;

impl ValueResolver for UnchangedResolver {
    fn resolve(&self, envelope: &Envelope<'_>, answer: ValueCompletion) {
        answer.complete(envelope.value.to_vec());
    }
}

#[test]
fn an_unresolved_value_is_never_sent() {
    for (resolver, reason) in [
        (Arc::new(UnchangedResolver) as Arc<dyn ValueResolver>, "sealed: not hashed"),
        (Arc::new(NoDeferredValues), "sealed: nobody hashes here"),
    ] {
        let mut fixture = DrainFixture::new();
        fixture.resolver = resolver;
        fixture.append_mixed(0..10, 5, |n| n == 3);
        let drain = fixture.drain();
        fixture.wait_until_drained();
        drain.stop(Instant::now() + LIMIT);
        let wal::RecordState::Dead { reason: found, .. } = fixture.log.record_state(Lsn(4)).unwrap() else {
            panic!("not a dead letter")
        };
        assert_eq!(found, reason);
        fixture.assert_in_order(TOPIC, 0..10, 5, &[3]);
        fixture.assert_no_secret();
        // This log is not encrypted, and neither is its dead-letter store.
        let wal::dead_letters::DeadEntry::Letter(letter) =
            fixture.log.dead_letters().get(Lsn(4)).unwrap().unwrap()
        else {
            panic!("no dead letter")
        };
        assert!(!String::from_utf8_lossy(&letter.payload).contains(SECRET));
    }
}
